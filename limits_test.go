package userapi

import (
	"context"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseLimits(t *testing.T) {
	got, err := ParseLimits("login=7/30s/account,100/h/address; register=9/2d/address", DefaultLimits())
	require.NoError(t, err)
	want := DefaultLimits()
	want[LimitLogin] = []Limit{{7, 30 * time.Second, PerAccount}, {100, time.Hour, PerAddress}}
	want[LimitRegister] = []Limit{{9, 48 * time.Hour, PerAddress}}
	assert.Equal(t, want, got)
	off, err := ParseLimits(" off ", DefaultLimits())
	require.NoError(t, err)
	assert.Empty(t, off)
	same, err := ParseLimits(documented(t), Limits{})
	require.NoError(t, err)
	assert.Equal(t, DefaultLimits(), same, "the notation of the documentation is the default")

	_, err = ParseLimits("login=5/1000d/account,20/m/address;reset=3/h/account", DefaultLimits())
	require.NoError(t, err)

	for _, bad := range []string{
		"login", "login=", "login=5", "login=5/10m", "login=5/10m/planet", "login=0/m/account", "login=-1/m/account", "login=x/m/account",
		"login=5/10y/account", "login=5/1001s/account", "login=5//account", "login=5/0m/account", "login=5/-1m/account", "nothing=5/m/account", "login=5/1.5m/account", "login=5/m/account/x",
		"login=5/10m/account,10/10m/account", "login=3/m/account;login=100/m/account", "register=5/m/account", "refresh=5/m/account",
		"login=5/m/recipient", "confirm=5/m/country", "unproven=5/m/account", "reset=5/m/recipient", "phone=5/m/planet",
	} {
		_, err := ParseLimits(bad, DefaultLimits())
		assert.Error(t, err, bad)
	}
}

func TestLimits_of_what_is_not_attempted(t *testing.T) {
	assert.Error(t, Limits{"nothing": nil}.check())
	assert.NoError(t, Limits{LimitLogin: nil}.check())
}

// documented is the notation in the comment of DefaultLimits.
func documented(t *testing.T) string {
	source, err := os.ReadFile("limits.go")
	require.NoError(t, err)
	_, text, _ := strings.Cut(string(source), "// DefaultLimits is\n")
	text, _, ok := strings.Cut(text, "func DefaultLimits")
	require.True(t, ok)
	return strings.NewReplacer("//", "", "\n", "", "\t", "").Replace(text)
}

// The table of docs/limits.md, too.
func TestDefaultLimits_are_those_of_the_documentation(t *testing.T) {
	page, err := os.ReadFile("docs/limits.md")
	require.NoError(t, err)
	var entries []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([0-9][^|]*) \\|").FindAllStringSubmatch(string(page), -1) {
		entries = append(entries, row[1]+"="+row[2])
	}
	table, err := ParseLimits(strings.Join(entries, ";"), Limits{})
	require.NoError(t, err)
	assert.Equal(t, DefaultLimits(), table)
	for name := range limitKinds {
		assert.NotEmpty(t, DefaultLimits()[name], name)
	}
	for name, kinds := range limitKinds {
		if slices.Contains(kinds, PerProcess) {
			assert.Regexp(t, "`process`.*`"+name+"`", string(page))
		}
	}
}

func TestParseLimits_of_a_process(t *testing.T) {
	got, err := ParseLimits("login=300/m/process;register=10/s/process", Limits{})
	require.NoError(t, err)
	assert.Equal(t, Limits{LimitLogin: {{300, time.Minute, PerProcess}}, LimitRegister: {{10, time.Second, PerProcess}}}, got)
	for _, bad := range []string{"refresh=5/m/process", "phone=5/m/process", "login=5/m/process,6/m/process"} {
		_, err := ParseLimits(bad, Limits{})
		assert.Error(t, err, bad)
	}
}

func TestAddressBlock(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
		"2001:db8:1:2::9": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64", "": "", "@": "@",
	} {
		assert.Equal(t, want, addressBlock(in), in)
	}
}

// countless has room for any attempt.
type countless struct{ feedStore }

func (*countless) TakeLimits(context.Context, time.Time, []LimitTake) (time.Duration, error) {
	return 0, nil
}

// Attempts on one account are judged one by one, those from one address a quarter of its budget at a time: or a burst of right
// passwords would be refused for attempts that are merely under way, and a burst of wrong ones would take all hash workers.
func TestTake_J05_how_many_attempts_are_under_way(t *testing.T) {
	api, err := New(Config{Store: &countless{}, Secret: testSecret, Password: PasswordPolicy{QueueTimeout: 300 * time.Millisecond}})
	require.NoError(t, err)
	from := Anonymous().From("192.0.2.1", "")
	take := func(actor Actor, account string) (taken, error) {
		return api.core.take(t.Context(), LimitLogin, actor, counted{account: account})
	}
	var held []taken
	first, err := take(from, "a")
	require.NoError(t, err)
	_, err = take(from, "a")
	assert.ErrorIs(t, err, ErrUnavailable, "the account's turn is taken")
	_, err = take(from.From("192.0.2.2", ""), "a")
	assert.ErrorIs(t, err, ErrUnavailable, "from wherever")
	for _, account := range []string{"b", "c", "d", "e"} { // 20 a minute: 5 at once
		one, err := take(from, account)
		require.NoError(t, err, account)
		held = append(held, one)
	}
	_, err = take(from, "f")
	assert.ErrorIs(t, err, ErrUnavailable, "the address's places are taken")
	other, err := take(from.From("192.0.2.3", ""), "f")
	assert.NoError(t, err, "who waited in vain holds no place")
	first.release()
	again, err := take(from, "a")
	assert.NoError(t, err)
	for _, one := range append(held, other, again) {
		one.release()
	}
	assert.Empty(t, api.core.gate.keys, "J08: nothing is kept of what is over")
}

func TestGate_J08_refusals_that_are_remembered_are_bounded(t *testing.T) {
	g, now := &gate{noted: map[string]time.Time{}}, time.Now()
	for i := range maxNoted {
		require.True(t, g.first(strconv.Itoa(i), now, time.Minute))
	}
	assert.False(t, g.first("one more", now, time.Minute), "none is news while there is no room")
	assert.Len(t, g.noted, maxNoted)
	assert.True(t, g.first("one more", now.Add(time.Minute), time.Minute))
	assert.Len(t, g.noted, 1, "what is over was forgotten")
}
