package userapi

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestChallengeMAC_binds_all_that_a_challenge_is_about(t *testing.T) {
	keys, err := newTokenKeys(Config{Secret: "a secret of more than thirty-two bytes, made for tests", Issuer: "here"})
	require.NoError(t, err)
	other, err := newTokenKeys(Config{Secret: "a secret of more than thirty-two bytes, made for tests", Issuer: "there"})
	require.NoError(t, err)
	made := Challenge{ID: "i", Purpose: PurposeEmail, Subject: "s", UserID: "u", Target: "t", Display: "d"}
	made.MAC = keys.challengeMAC(keys.challenge[keys.newest], made, "secret")
	assert.True(t, keys.answers(made, "secret"))
	assert.False(t, keys.answers(made, "Secret"))
	assert.False(t, other.answers(made, "secret"), "another API on the same store and secret")
	for name, change := range map[string]func(*Challenge){
		"id": func(c *Challenge) { c.ID = "j" }, "purpose": func(c *Challenge) { c.Purpose = PurposeReset },
		"subject": func(c *Challenge) { c.Subject = "r" }, "account": func(c *Challenge) { c.UserID = "v" },
		"target": func(c *Challenge) { c.Target = "T" }, "display": func(c *Challenge) { c.Display = "" },
		"one part for another": func(c *Challenge) { c.Subject, c.UserID = "su", "" },
	} {
		changed := made
		change(&changed)
		assert.False(t, keys.answers(changed, "secret"), name)
	}
}

func TestSeal_a_message_opens_in_its_row_alone(t *testing.T) {
	keys, err := newTokenKeys(Config{Secret: "a secret of more than thirty-two bytes, made for tests", Issuer: "here"})
	require.NoError(t, err)
	m := Message{ID: "a", To: "x@example.com", Code: "123456", Token: "t", Link: "l", Text: "x", HTML: "h"}
	sealed, err := keys.seal(m)
	require.NoError(t, err)
	got, err := keys.open("a", sealed)
	require.NoError(t, err)
	assert.Equal(t, m, got)
	_, err = keys.open("b", sealed)
	assert.Error(t, err)
	for i := range sealed {
		touched := append([]byte(nil), sealed...)
		touched[i] ^= 1
		_, err := keys.open("a", touched)
		assert.Error(t, err, "byte %d", i)
		_, err = keys.open("a", sealed[:i])
		assert.Error(t, err, "cut at %d", i)
	}
	again, err := keys.seal(m)
	require.NoError(t, err)
	assert.NotEqual(t, sealed, again)
}

func TestRandomSecrets_D12_every_digit_is_as_likely(t *testing.T) {
	const digits = 1_000_000
	var seen [10]int
	for range digits / 10 {
		code, err := randomSecrets{10}.Code(PurposePhone)
		require.NoError(t, err)
		for _, digit := range string(code) {
			seen[digit-'0']++
		}
	}
	for digit, n := range seen { // 100,000 ± 300; a plain remainder of a byte would give some 1,900 more
		assert.InDelta(t, digits/10, n, 1500, "digit %d", digit)
	}
	a, _ := randomSecrets{}.Token(PurposeReset)
	b, _ := randomSecrets{}.Token(PurposeReset)
	assert.NotEqual(t, string(a), string(b))
	assert.Len(t, string(a), 43)
}
