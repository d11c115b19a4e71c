package userapi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var cheap = Argon2id{MemoryKiB: 64, Passes: 1, Threads: 1}

func poolFor(t *testing.T, change func(*PasswordPolicy)) *hashPool {
	t.Helper()
	p := PasswordPolicy{Argon2id: cheap}
	if change != nil {
		change(&p)
	}
	p.complete(2)
	pool, err := newHashPool(p)
	require.NoError(t, err)
	return pool
}

func TestHash_round_trips(t *testing.T) {
	pool := poolFor(t, nil)
	for _, password := range []Secret{
		"plain text", "  spaces kept  ", "пароль длинный", "😀😀😀😀😀😀😀😀", "with\ttab and\nbreak", Secret(strings.Repeat("x", 1024)), "p$a$s$s",
	} {
		first, err := pool.hash(t.Context(), password)
		require.NoError(t, err)
		second, _ := pool.hash(t.Context(), password)
		assert.NotEqual(t, first, second, "salted")
		ok, upgraded, err := pool.check(t.Context(), first, password)
		require.NoError(t, err)
		assert.True(t, ok)
		assert.Empty(t, upgraded)
		for _, wrong := range []Secret{password + "x", password[1:], password[:len(password)-1], Secret(strings.TrimSpace(string(password))) + " "} {
			ok, _, err := pool.check(t.Context(), first, wrong)
			require.NoError(t, err)
			assert.False(t, ok)
		}
	}
}

func TestHash_C01_every_byte_counts(t *testing.T) {
	pool := poolFor(t, nil)
	long := strings.Repeat("a", 72)
	hash, _ := pool.hash(t.Context(), Secret(long+"1"))
	ok, _, _ := pool.check(t.Context(), hash, Secret(long+"2"))
	assert.False(t, ok)
}

func TestHash_composed_and_decomposed_are_one_password(t *testing.T) {
	pool := poolFor(t, nil)
	hash, _ := pool.hash(t.Context(), "caf\u00e9 au lait")
	ok, _, _ := pool.check(t.Context(), hash, "cafe\u0301 au lait")
	assert.True(t, ok, "NFC is the one transformation")
	ok, _, _ = pool.check(t.Context(), hash, "ｃafé au lait")
	assert.False(t, ok, "NFKC is not")
}

func TestHash_E02_C04_one_live_hash_whatever_is_stored(t *testing.T) {
	pool := poolFor(t, nil)
	older := poolFor(t, func(p *PasswordPolicy) { p.Argon2id = Argon2id{MemoryKiB: 32, Passes: 2, Threads: 1} })
	good, _ := pool.hash(t.Context(), "the password")
	old, _ := older.hash(t.Context(), "the password")
	n := 0
	pool.onLive = func() { n++ }
	for name, c := range map[string]struct {
		stored   string
		password Secret
		ok       bool
		upgraded bool
	}{
		"right":                 {good, "the password", true, false},
		"wrong":                 {good, "another", false, false},
		"unknown user":          {"", "the password", false, false},
		"old parameters, right": {old, "the password", true, true},
		"old parameters, wrong": {old, "another", false, false},
		"plain text":            {"the password", "the password", false, false},
		"truncated":             {good[:len(good)-10], "the password", false, false},
		"empty salt":            {"$argon2id$v=19$m=64,t=1,p=1$$" + strings.Repeat("A", 43), "the password", false, false},
		"empty hash":            {"$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$", "", false, false},
		"C13 m of 4 GiB":        {strings.Replace(good, "m=64", "m=4194304", 1), "the password", false, false},
		"C13 1 GiB 64 times":    {strings.Replace(good, "m=64,t=1", "m=1048576,t=64", 1), "the password", false, false},
		"C13 t of 2^31":         {strings.Replace(good, "t=1", "t=2147483648", 1), "the password", false, false},
		"C13 p of 0":            {strings.Replace(good, "p=1", "p=0", 1), "the password", false, false},
		"C13 p of 257":          {strings.Replace(good, "p=1", "p=257", 1), "the password", false, false},
		"m with a leading zero": {strings.Replace(good, "m=64", "m=064", 1), "the password", false, false},
		"another version":       {strings.Replace(good, "v=19", "v=16", 1), "the password", false, false},
		"another variant":       {strings.Replace(good, "argon2id", "argon2i", 1), "the password", false, false},
		"a bcrypt hash":         {"$2a$31$abcdefghijklmnopqrstuuMZ0Q0ZqS1kY1Z6uE0w5pW6s1hC2y3zW", "the password", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			n = 0
			ok, upgraded, err := pool.check(t.Context(), c.stored, c.password)
			require.NoError(t, err)
			assert.Equal(t, c.ok, ok)
			assert.Equal(t, c.upgraded, upgraded != "")
			assert.Equal(t, 1, n, "one hash of the live parameters")
		})
	}
}

// old reads $old$ and a password in plain text, and counts how often that is compared.
type old struct {
	memoryKiB uint32
	during    func()
	compared  []Secret
}

func (o *old) read(stored string) (matches func(Secret) bool, memoryKiB uint32) {
	text, ok := strings.CutPrefix(stored, "$old$")
	if !ok {
		return nil, 0
	}
	return func(password Secret) bool {
		o.compared = append(o.compared, password)
		if o.during != nil {
			o.during()
		}
		return password == Secret(text)
	}, o.memoryKiB
}

func (o *old) pool(t *testing.T, workers int) *hashPool {
	t.Helper()
	other := func(stored string) (func(Secret) bool, uint32) {
		assert.LessOrEqual(t, len(stored), 512)
		return nil, 0
	}
	return poolFor(t, func(p *PasswordPolicy) { p.Workers, p.Legacy = workers, []LegacyHasher{other, o.read} })
}

func TestHash_E02_C04_one_live_hash_besides_a_legacy_one(t *testing.T) {
	o := &old{}
	pool := o.pool(t, 1)
	good, _ := pool.hash(t.Context(), "the password")
	n := 0
	pool.onLive = func() { n++ }
	for name, c := range map[string]struct {
		stored       string
		password     Secret
		ok, upgraded bool
		compared     int
		readable     bool
	}{
		"right":                   {"$old$the password", "the password", true, true, 1, true},
		"wrong":                   {"$old$the password", "another", false, false, 1, true},
		"what is stored":          {"$old$the password", "$old$the password", false, false, 1, true},
		"one of our own":          {good, "the password", true, false, 0, true},
		"nobody reads it":         {"$older$the password", "the password", false, false, 0, false},
		"plain text":              {"the password", "the password", false, false, 0, false},
		"nothing":                 {"", "the password", false, false, 0, false},
		"512 bytes":               {"$old$" + strings.Repeat("x", 507), Secret(strings.Repeat("x", 507)), true, true, 1, true},
		"C13 513 bytes":           {"$old$" + strings.Repeat("x", 508), Secret(strings.Repeat("x", 508)), false, false, 0, false},
		"as it was typed":         {"$old$cafe\u0301", "cafe\u0301", true, true, 1, true},
		"typed another way: NFC":  {"$old$caf\u00e9", "cafe\u0301", true, true, 2, true},
		"NFC alone is tried":      {"$old$cafe\u0301", "caf\u00e9", false, false, 1, true},
		"wrong, and in NFC too":   {"$old$cafe", "cafe\u0301", false, false, 2, true},
		"C13 our own, unreadable": {strings.Replace(good, "m=64", "m=4194304", 1), "the password", false, false, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			n, o.compared = 0, nil
			ok, upgraded, err := pool.check(t.Context(), c.stored, c.password)
			require.NoError(t, err)
			assert.Equal(t, c.ok, ok)
			assert.Equal(t, 1, n, "one hash of the live parameters")
			assert.Len(t, o.compared, c.compared)
			assert.Equal(t, c.readable, pool.readable(c.stored))
			require.Equal(t, c.upgraded, upgraded != "")
			if upgraded != "" {
				ok, again, err := pool.check(t.Context(), upgraded, c.password)
				require.NoError(t, err)
				assert.True(t, ok && again == "", "what is to be stored is of the live parameters")
			}
		})
	}
}

func TestHashPool_C12_a_legacy_hash_takes_what_it_needs_and_never_less_than_a_live_one(t *testing.T) {
	for _, c := range []struct {
		declares uint32
		leaves   int64 // of 3 × 64 KiB
	}{{0, 128}, {4, 128}, {65, 127}, {192, 0}, {1 << 20, 0}} {
		o := &old{memoryKiB: c.declares}
		pool := o.pool(t, 3)
		o.during = func() {
			assert.False(t, pool.room.TryAcquire(c.leaves+1), "%d KiB", c.declares)
			if assert.True(t, pool.room.TryAcquire(c.leaves), "%d KiB", c.declares) {
				pool.room.Release(c.leaves)
			}
		}
		ok, _, err := pool.check(t.Context(), "$old$x", "x")
		require.NoError(t, err)
		assert.True(t, ok)
		assert.Len(t, o.compared, 1)
		assert.True(t, pool.room.TryAcquire(pool.size), "all is given back")
	}
}

func TestHashPool_C12_a_legacy_hash_waits_as_long_as_any(t *testing.T) {
	o := &old{}
	pool := o.pool(t, 1)
	pool.timeout = 20 * time.Millisecond
	require.NoError(t, pool.room.Acquire(t.Context(), pool.size)) // somebody hashes
	_, _, err := pool.check(t.Context(), "$old$x", "x")
	assert.ErrorIs(t, err, ErrUnavailable)
	assert.Empty(t, o.compared)
	pool.room.Release(pool.size)
	o.during = func() { panic("a host's code") }
	assert.Panics(t, func() { _, _, _ = pool.check(t.Context(), "$old$x", "x") })
	assert.True(t, pool.room.TryAcquire(pool.size), "a panic gives its room back")
}

func TestHashPool_refuses_a_legacy_hasher_that_is_nil(t *testing.T) {
	p := PasswordPolicy{Argon2id: cheap, Legacy: []LegacyHasher{nil}}
	p.complete(2)
	_, err := newHashPool(p)
	assert.Error(t, err)
}

func TestHashPool_C12_a_full_queue_answers_in_time(t *testing.T) {
	pool := poolFor(t, func(p *PasswordPolicy) { p.Workers, p.QueueTimeout = 1, 20*time.Millisecond })
	require.NoError(t, pool.room.Acquire(t.Context(), pool.size)) // somebody hashes
	_, err := pool.hash(t.Context(), "x")
	assert.ErrorIs(t, err, ErrUnavailable)
	pool.room.Release(pool.size)
	_, err = pool.hash(t.Context(), "x")
	assert.NoError(t, err)
}

func TestHashPool_never_more_at_once_than_workers(t *testing.T) {
	pool := poolFor(t, func(p *PasswordPolicy) { p.Workers = 3 })
	var wg sync.WaitGroup
	var mu sync.Mutex
	now, most := 0, 0
	pool.onLive = func() {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		time.Sleep(time.Millisecond)
		mu.Lock()
		now--
		mu.Unlock()
	}
	for range 64 {
		wg.Go(func() {
			_, err := pool.hash(t.Context(), "x")
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	assert.LessOrEqual(t, most, 3)
	assert.Greater(t, most, 1)
}

func TestHashPool_a_larger_hash_runs_alone_and_does_not_hang(t *testing.T) {
	large := poolFor(t, func(p *PasswordPolicy) { p.Argon2id.MemoryKiB = 1024 })
	stored, _ := large.hash(t.Context(), "x")
	pool := poolFor(t, func(p *PasswordPolicy) { p.Workers = 2 })
	ok, upgraded, err := pool.check(t.Context(), stored, "x")
	require.NoError(t, err)
	assert.True(t, ok)
	assert.Contains(t, upgraded, "m=64,")
}

func TestPolicy(t *testing.T) {
	acc := Account{User: User{Name: "Anna Karenina", FirstName: "Anna", LastName: "Karenina"}, EmailKey: "anna.karenina@example.com", UsernameKey: "annakarenina"}
	plain := PasswordPolicy{Argon2id: cheap}
	plain.complete(2)
	three := plain
	three.ThreeClasses = true
	for _, c := range []struct {
		policy   PasswordPolicy
		password Secret
		want     error
	}{
		{plain, "1234567", ErrWeakPassword},
		{plain, "xq8!vmz", ErrWeakPassword},
		{plain, "xq8!vmzk", nil},
		{plain, "хйц8!вмз", nil},            // 8 code points, more bytes
		{plain, "😀😃😄😁😆😅🤣", ErrWeakPassword}, // 7 code points, 28 bytes
		{plain, "password123", ErrWeakPassword},
		{plain, "PassWord123", ErrWeakPassword},
		{plain, "password123 and more", nil}, // compared whole
		{plain, "          ", ErrWeakPassword},
		{plain, "a sentence with spaces is fine", nil},
		{plain, "Anna Karenina", ErrWeakPassword},
		{plain, "ANNA.KARENINA@EXAMPLE.COM", ErrWeakPassword},
		{plain, "anna.karenina", ErrWeakPassword},
		{plain, "annakarenina", ErrWeakPassword},
		{plain, "", ErrInvalid},
		{plain, "nul\x00inside", ErrInvalid},
		{plain, "invalid \xff utf-8", ErrInvalid},
		{plain, Secret(strings.Repeat("é", 512)), nil},
		{plain, Secret(strings.Repeat("é", 512) + "x"), ErrInvalid},
		{three, "Better@pw2", nil},
		{three, "Aa1", ErrWeakPassword},
		{three, "betterpassw0rd", ErrWeakPassword},
	} {
		err := c.policy.checkPolicy(t.Context(), c.password, acc)
		if c.want == nil {
			assert.NoError(t, err, "%q", string(c.password))
		} else {
			assert.ErrorIs(t, err, c.want, "%q", string(c.password))
			assert.NotEmpty(t, AsError(err).Fields["password"])
		}
	}
}

func TestPolicy_C07_a_check_of_the_hosts_may_refuse(t *testing.T) {
	p := PasswordPolicy{Argon2id: cheap, Check: func(context.Context, Secret) error { return errors.New("breached 3 times") }}
	p.complete(2)
	assert.ErrorIs(t, p.checkPolicy(t.Context(), "a perfectly good one", Account{}), ErrWeakPassword)
	p.Check = func(context.Context, Secret) error { return ErrUnavailable }
	assert.Equal(t, ErrUnavailable, p.checkPolicy(t.Context(), "a perfectly good one", Account{}), "the host decides how it fails")
}

func TestCommonPasswords_are_ten_thousand(t *testing.T) {
	assert.Len(t, commonPasswords(), 10_000)
}

func TestSecret_C11_never_prints_itself(t *testing.T) {
	type holder struct {
		P Secret
		L []Secret
	}
	h := holder{"hunter2-canary", []Secret{"hunter2-canary"}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10s", "%T %v"} {
		out := fmt.Sprintf(verb, h, h.P)
		assert.NotContains(t, out, "canary", verb)
		assert.NotContains(t, strings.ToLower(out), fmt.Sprintf("%x", "canary"), verb)
	}
	text, _ := h.P.MarshalText()
	assert.Equal(t, redacted, string(text))
	assert.NotContains(t, fmt.Sprintf("%+v", Config{Secret: "hunter2-canary"}), "canary")
}

func TestArgon2id_C13_what_a_stored_hash_may_cost(t *testing.T) {
	for params, ok := range map[Argon2id]bool{
		{MemoryKiB: 8, Passes: 1, Threads: 1}: true, {MemoryKiB: 7, Passes: 1, Threads: 1}: false, {MemoryKiB: 8, Passes: 0, Threads: 1}: false, {MemoryKiB: 8, Passes: 1}: false,
		{MemoryKiB: 128, Passes: 64, Threads: 16}: true, {MemoryKiB: 127, Passes: 64, Threads: 16}: false, {MemoryKiB: 128, Passes: 65, Threads: 16}: false, {MemoryKiB: 136, Passes: 1, Threads: 17}: false,
		{MemoryKiB: 1 << 20, Passes: 4, Threads: 1}: true, {MemoryKiB: 1 << 20, Passes: 5, Threads: 1}: false, {MemoryKiB: 1<<20 + 1, Passes: 1, Threads: 1}: false,
	} {
		assert.Equal(t, ok, params.sane(), "%+v", params)
	}
}

func TestPHC_C04_salt_and_sum_have_bounds(t *testing.T) {
	for size, ok := range map[[2]int]bool{{8, 16}: true, {64, 64}: true, {7, 16}: false, {8, 15}: false, {65, 64}: false, {64, 65}: false} {
		_, got := parsePHC(phc{cheap, make([]byte, size[0]), make([]byte, size[1])}.String())
		assert.Equal(t, ok, got, size)
	}
}

func TestHashPool_K01_without_a_worker_no_password_is_wrong(t *testing.T) {
	p := poolFor(t, func(p *PasswordPolicy) { p.QueueTimeout = time.Millisecond })
	stored, err := p.hash(t.Context(), "correct horse")
	require.NoError(t, err)
	require.NoError(t, p.room.Acquire(t.Context(), p.size))
	for _, stored := range []string{stored, "", "unreadable"} {
		_, _, err = p.check(t.Context(), stored, "correct horse")
		assert.ErrorIs(t, err, ErrUnavailable)
	}
}

// What OWASP recommends for argon2id, and one core is left to others.
func TestPasswordPolicy_has_the_documented_defaults(t *testing.T) {
	var p PasswordPolicy
	p.complete(4)
	assert.Equal(t, PasswordPolicy{MinLength: 8, Argon2id: Argon2id{MemoryKiB: 19456, Passes: 2, Threads: 1}, Workers: 3, QueueTimeout: p.QueueTimeout}, p)
	p = PasswordPolicy{}
	p.complete(1)
	assert.Equal(t, 1, p.Workers)
}
