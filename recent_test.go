package userapi

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A cache of verified tokens may only save work: whatever happens to keys and clocks, it answers as if it were not there.
func TestTokenCache_A16_answers_as_without_it(t *testing.T) {
	var pairs []ed25519.PrivateKey
	for range 3 {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		require.NoError(t, err)
		pairs = append(pairs, private)
	}
	rapid.Check(t, func(t *rapid.T) {
		now := tokenTime
		ring := new(Keyring)
		set := func(first int) {
			keys := []Key{{ID: fmt.Sprint("k", first), Key: pairs[first]}}
			for i := range pairs {
				if i != first && rapid.Bool().Draw(t, "kept") {
					k := Key{ID: fmt.Sprint("k", i), Key: pairs[i]}
					if rapid.Bool().Draw(t, "retires") {
						k.RetireAt = now.Add(time.Duration(rapid.IntRange(-2, 120).Draw(t, "in")) * time.Second)
					}
					keys = append(keys, k)
				}
			}
			if err := ring.Set(keys...); err != nil {
				t.Fatal(err)
			}
		}
		set(0)
		keys := func(cache int) *tokenKeys {
			k, err := newTokenKeys(Config{Secret: testSecret, Keys: ring, Issuer: "userapi", TokenCache: cache})
			if err != nil {
				t.Fatal(err)
			}
			return k
		}
		cached, plain := keys(rapid.SampledFrom([]int{1, 2, 5000}).Draw(t, "size")), keys(NoTokenCache)
		var tokens []string
		t.Repeat(map[string]func(*rapid.T){
			"sign": func(t *rapid.T) {
				c := goodClaims()
				c.Session = fmt.Sprint("s", len(tokens))
				c.IssuedAt = now.Unix() + int64(rapid.IntRange(-10, 70).Draw(t, "iat"))
				c.NotBefore = now.Unix() + int64(rapid.IntRange(-10, 70).Draw(t, "nbf"))
				c.ExpiresAt = now.Unix() + int64(rapid.IntRange(-5, 300).Draw(t, "exp"))
				token, err := plain.signAccess(c)
				if err != nil {
					t.Fatal(err)
				}
				tokens = append(tokens, string(token))
			},
			"rotate": func(t *rapid.T) { set(rapid.IntRange(0, len(pairs)-1).Draw(t, "first")) },
			"clock":  func(t *rapid.T) { now = now.Add(time.Duration(rapid.IntRange(-90, 90).Draw(t, "by")) * time.Second) },
			"verify": func(t *rapid.T) {
				if len(tokens) == 0 {
					t.Skip()
				}
				token := rapid.SampledFrom(tokens).Draw(t, "token")
				if rapid.Bool().Draw(t, "forged") {
					at := rapid.IntRange(0, len(token)-1).Draw(t, "at")
					token = token[:at] + rapid.SampledFrom([]string{"", "A", ".", "-"}).Draw(t, "to") + token[at+1:]
				}
				got, gotErr := cached.verifyAccess(token, now)
				want, wantErr := plain.verifyAccess(token, now)
				if (gotErr == nil) != (wantErr == nil) || gotErr == nil && fmt.Sprint(got.c) != fmt.Sprint(want.c) {
					t.Fatalf("with the cache %v, without %v", gotErr, wantErr)
				}
			},
		})
	})
}

func TestTokenCache_A01_remembers_nothing_but_what_holds(t *testing.T) {
	k := keysFor(t, func(c *Config) { c.TokenCache = 1000 })
	held := func() (n int) {
		for i := range k.seen.parts {
			n += len(k.seen.parts[i].young) + len(k.seen.parts[i].old)
		}
		return n
	}
	good, err := k.signAccess(goodClaims())
	require.NoError(t, err)
	for i := range good {
		bad := []byte(good)
		bad[i] ^= 1
		_, _ = k.verifyAccess(string(bad), tokenTime)
	}
	early := goodClaims()
	early.IssuedAt = tokenTime.Add(maxSkew).Unix() + 1
	token, err := k.signAccess(early)
	require.NoError(t, err)
	for range 2 {
		_, err = k.verifyAccess(string(token), tokenTime)
		require.ErrorIs(t, err, ErrInvalidToken, "signed, but from too far ahead: the second time as well")
	}
	over, err := k.signAccess(goodClaims())
	require.NoError(t, err)
	_, err = k.verifyAccess(string(over), time.Unix(goodClaims().ExpiresAt, 0))
	require.NoError(t, err, "Authenticate looks at the expiry")
	assert.LessOrEqual(t, held(), 1, "the one from ahead may be there: its signature holds")

	first, err := k.verifyAccess(string(good), tokenTime)
	require.NoError(t, err)
	second, err := k.verifyAccess(string(good), tokenTime)
	require.NoError(t, err)
	assert.Same(t, first, second)
	assert.LessOrEqual(t, held(), 2)
}

func TestRecent_keeps_what_was_used_last_and_stays_bounded(t *testing.T) {
	for _, size := range []int{1, 3, 100, 64 * recentParts} {
		c := newRecent[int](size)
		for i := range 10 * size {
			whole := wholeHash(fmt.Sprint(i))
			c.put(&whole, &i)
		}
		n, last := 0, 0
		for i := range c.parts {
			n += len(c.parts[i].young) + len(c.parts[i].old)
		}
		for i := 9 * size; i < 10*size; i++ {
			whole := wholeHash(fmt.Sprint(i))
			if v := c.get(&whole); v != nil && *v == i {
				last++
			}
		}
		assert.LessOrEqual(t, n, 2*size+2*len(c.parts), "of %d", size)
		assert.GreaterOrEqual(t, last, size*9/10, "of %d", size) // parts are not filled quite evenly
	}
	none := newRecent[int](NoTokenCache)
	whole := wholeHash("")
	none.put(&whole, new(int))
	assert.Nil(t, none.get(&whole))
}

func TestRecent_K06_by_many_at_once(t *testing.T) {
	c := newRecent[string](8)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for i := range 2000 {
				text := fmt.Sprint(i % 40)
				whole := wholeHash(text)
				if v := c.get(&whole); v == nil {
					c.put(&whole, &text)
				} else if *v != text {
					t.Errorf("%s for %s", *v, text)
				}
			}
		})
	}
	wg.Wait()
}
