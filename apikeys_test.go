package userapi_test

import (
	"context"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/userapi/userapi"
)

// key makes an API key as the actor.
func (w *world) key(actor userapi.Actor, owner, name string, scopes ...string) (userapi.APIKey, userapi.Secret) {
	w.t.Helper()
	k, secret, err := w.Keys.Create(ctx, actor, owner, userapi.NewAPIKey{Name: name, Scopes: scopes})
	require.NoError(w.t, err)
	return k, secret
}

func (w *world) keyHolds(api *userapi.API, secret userapi.Secret) *userapi.Identity {
	w.t.Helper()
	id, err := api.Auth.AuthenticateKey(ctx, anonymous(), secret)
	require.NoError(w.t, err)
	return id
}

func (w *world) keyRefused(api *userapi.API, secret userapi.Secret) {
	w.t.Helper()
	_, err := api.Auth.AuthenticateKey(ctx, anonymous(), secret)
	require.Equal(w.t, userapi.ErrInvalidKey, err)
}

// forged gives a key its own prefix and checksum with another secret.
func forged(key userapi.Secret) userapi.Secret {
	body := []byte(key[:len(key)-7])
	for i := range body[13:] {
		body[13+i] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[i%32]
	}
	sum := binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(body))
	return userapi.Secret(body) + userapi.Secret(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum))
}

// reading counts what is asked of keys and accounts, and may show an old state, as a node that lags behind does.
type reading struct {
	userapi.Store
	reads, touches, feeds atomic.Int64
	old                   atomic.Pointer[userapi.KeyAccount]
	before                func() // what happens between a decision about a key and its write
	oldSession            atomic.Pointer[userapi.SessionAccount]
	fails                 atomic.Bool
	after                 func() // the next read of a key or session
}

// read runs what happens between a read and the use of it.
func (r *reading) read() {
	if after := r.after; after != nil {
		r.after = nil
		after()
	}
}

func (r *reading) FindKey(ctx context.Context, scope userapi.Scope, by userapi.KeyRef) (userapi.KeyAccount, error) {
	r.reads.Add(1)
	if r.fails.Load() {
		return userapi.KeyAccount{}, userapi.ErrUnavailable
	}
	if old := r.old.Load(); old != nil {
		return *old, nil
	}
	defer r.read()
	return r.Store.FindKey(ctx, scope, by)
}

func (r *reading) AccountByID(ctx context.Context, scope userapi.Scope, id string) (userapi.Account, error) {
	r.reads.Add(1)
	return r.Store.AccountByID(ctx, scope, id)
}

func (r *reading) SessionByID(ctx context.Context, id string) (userapi.SessionAccount, error) {
	r.reads.Add(1)
	if r.fails.Load() {
		return userapi.SessionAccount{}, userapi.ErrUnavailable
	}
	if old := r.oldSession.Load(); old != nil {
		return *old, nil
	}
	defer r.read()
	return r.Store.SessionByID(ctx, id)
}

func (r *reading) InsertKey(ctx context.Context, w userapi.KeyInsert) error {
	r.before()
	return r.Store.InsertKey(ctx, w)
}

func (r *reading) ChangeKey(ctx context.Context, w userapi.KeyUpdate) error {
	r.before()
	return r.Store.ChangeKey(ctx, w)
}

func (r *reading) TouchKey(ctx context.Context, id string, at time.Time, every time.Duration) error {
	r.touches.Add(1)
	return r.Store.TouchKey(ctx, id, at, every)
}

func (r *reading) Revocations(ctx context.Context, since int64) ([]userapi.Revocation, int64, error) {
	r.feeds.Add(1)
	if r.fails.Load() {
		return nil, 0, userapi.ErrUnavailable
	}
	return r.Store.Revocations(ctx, since)
}

// node is another node of the world whose reads are counted.
func (w *world) node(change func(*userapi.Config)) (*userapi.API, *reading) {
	r := &reading{Store: w.store}
	return w.second(func(c *userapi.Config) {
		c.Store = r
		if change != nil {
			change(c)
		}
	}), r
}

func TestKeys_a_key_is_its_owner_as_far_as_its_scopes_go(t *testing.T) {
	w := newWorld(t, nil)
	w.role("editor")
	anna := w.user("default", "anna", "editor")
	_, actor := w.login("anna", password)
	k, secret := w.key(actor, anna.ID, "  My key ", userapi.ScopeRead)
	assert.Equal(t, userapi.APIKey{
		ID: k.ID, UserID: anna.ID, Name: "My key", Prefix: string(secret)[:12], Scopes: []string{userapi.ScopeRead}, Active: true,
		CreatedAt: w.clock.Now().Truncate(time.Millisecond),
	}, k)
	id := w.keyHolds(w.API, secret)
	assert.Equal(t, []any{anna.ID, "default", k.ID, "", []string{"editor"}, []string{userapi.ScopeRead}},
		[]any{id.UserID(), id.CustomerID(), id.KeyID(), id.SessionID(), id.Roles(), id.Scopes()})
	assert.True(t, id.HasRole("editor") && id.HasScope(userapi.ScopeRead))
	assert.False(t, id.HasScope(userapi.ScopeWrite))
	assert.True(t, id.AuthTime().IsZero() && id.ExpiresAt().IsZero())
	assert.Empty(t, id.Methods())
	id.Scopes()[0] = userapi.ScopeFull
	assert.False(t, w.keyHolds(w.API, secret).HasScope(userapi.ScopeFull), "immutable")

	var nobody *userapi.Identity
	assert.False(t, nobody.HasScope(userapi.ScopeRead))
	tokens, _ := w.login("anna", password)
	session, err := w.Auth.Authenticate(ctx, string(tokens.Access))
	require.NoError(t, err)
	assert.True(t, session.HasScope("whatever"))

	last := w.store.Events()
	var about []string
	for _, e := range last {
		if e.KeyID != "" {
			about = append(about, fmt.Sprint(e.Kind, " ", e.KeyID == k.ID, " ", e.ActorID == anna.ID, " ", e.SessionID != ""))
		}
	}
	assert.Equal(t, []string{"key.created true true true"}, about)
	_, _, err = w.Users.Change(ctx, userapi.System(), anna.ID, userapi.UserChange{Name: ptr("Anna")})
	require.NoError(t, err)
	_, full := w.key(userapi.System(), anna.ID, "full", userapi.ScopeFull)
	byKey := w.keyHolds(w.API, full)
	_, _, err = w.Users.Change(ctx, byKey.Actor(), anna.ID, userapi.UserChange{Name: ptr("Anne")})
	require.NoError(t, err)
	events := w.store.Events()
	assert.Equal(t, byKey.KeyID(), events[len(events)-1].KeyID, "the audit trail tells by which key")
}

func TestKeys_H10_a_key_that_was_just_checked_costs_no_read(t *testing.T) {
	w := newWorld(t, nil)
	anna := w.user("default", "anna")
	_, secret := w.key(userapi.System(), anna.ID, "key", userapi.ScopeFull)
	_, second := w.key(userapi.System(), anna.ID, "second", userapi.ScopeFull)
	api, r := w.node(func(c *userapi.Config) { c.Staleness = time.Minute })
	w.keyHolds(api, secret)
	first := r.reads.Load() + r.feeds.Load()
	for range 100 {
		w.keyHolds(api, secret)
	}
	assert.Equal(t, first, r.reads.Load()+r.feeds.Load())
	assert.EqualValues(t, 1, r.touches.Load())

	more, feeds := w.node(nil)
	w.keyHolds(more, secret)
	for range 5 {
		w.clock.add(time.Second)
		w.keyHolds(more, secret)
	}
	assert.Equal(t, []int64{1, 6}, []int64{feeds.reads.Load(), feeds.feeds.Load()}, "what is known of the feed already ends nothing")

	// It is checked as a whole all the same: that it was good a moment ago makes nothing else good.
	prefix, _, _ := strings.Cut(string(secret), ".")
	_, other, _ := strings.Cut(string(second), ".")
	for _, bad := range []userapi.Secret{"", "a", "a.b", "a.b.c", userapi.Secret(prefix + "." + other), secret + "A", secret[1:], userapi.Secret(strings.ToLower(string(secret)))} {
		w.keyRefused(api, bad)
		w.keyHolds(api, secret)
	}
	assert.Equal(t, first, r.reads.Load()+r.feeds.Load(), "what is no key is found out before anything is read")
	for range 2 { // nor does its prefix
		w.keyRefused(api, forged(secret))
		w.keyHolds(api, secret)
	}
	w.clock.add(30 * time.Second)
	w.keyHolds(api, secret)
	w.clock.add(30 * time.Second)
	before := r.reads.Load()
	w.keyHolds(api, secret)
	assert.Equal(t, before+1, r.reads.Load(), "and once a minute it is read")
}

func TestKeys_the_cache_is_bounded(t *testing.T) {
	w := newWorld(t, func(c *userapi.Config) { c.Grants = map[string]int64{userapi.GrantAPIKeys: 100} })
	anna := w.user("default", "anna")
	var all []userapi.Secret
	for i := range 20 {
		_, secret := w.key(userapi.System(), anna.ID, fmt.Sprint("key ", i), userapi.ScopeFull)
		all = append(all, secret)
	}
	api, r := w.node(func(c *userapi.Config) { c.Staleness, c.KeyCache = time.Minute, 4 })
	for range 3 {
		for _, secret := range all {
			w.keyHolds(api, secret)
		}
	}
	assert.EqualValues(t, 60, r.reads.Load(), "twenty in turn are too many for four places")
	for _, secret := range all {
		w.keyHolds(api, secret)
		w.keyHolds(api, all[0])
	}
	assert.LessOrEqual(t, r.reads.Load(), int64(60+22), "what is in use stays")
}

func TestKeys_H09_they_die_with_their_owner_and_go_where_the_owner_goes(t *testing.T) {
	w := newWorld(t, nil)
	w.customer("two", 0)
	w.role("editor")
	anna := w.user("default", "anna", "editor")
	_, secret := w.key(userapi.System(), anna.ID, "key", userapi.ScopeFull)
	api, _ := w.node(func(c *userapi.Config) { c.Staleness = userapi.ReadAlways })
	both := []*userapi.API{w.API, api}
	change := func(ch userapi.UserChange) {
		t.Helper()
		_, _, err := w.Users.Change(ctx, userapi.System(), anna.ID, ch)
		require.NoError(t, err)
	}
	for _, api := range both {
		assert.True(t, w.keyHolds(api, secret).HasRole("editor"))
	}
	change(userapi.UserChange{Roles: &[]userapi.RoleRef{}})
	for _, api := range both {
		assert.Empty(t, w.keyHolds(api, secret).Roles(), "the key goes on with what the owner has left")
	}
	change(userapi.UserChange{Active: ptr(false)})
	for _, api := range both {
		w.keyRefused(api, secret)
	}
	change(userapi.UserChange{Active: ptr(true), CustomerID: ptr("two")})
	for _, api := range both {
		assert.Equal(t, "two", w.keyHolds(api, secret).CustomerID(), "a deactivation ends no key for good")
	}
	change(userapi.UserChange{Password: ptr(another)})
	for _, api := range both {
		w.keyHolds(api, secret)
	}
	require.NoError(t, w.Users.Delete(ctx, userapi.System(), anna.ID))
	for _, api := range both {
		w.keyRefused(api, secret)
	}
}

func TestKeys_H09_scopes_never_exceed_what_is_declared(t *testing.T) {
	w := newWorld(t, func(c *userapi.Config) { c.Scopes = []string{"orders:read"} })
	anna := w.user("default", "anna")
	k, key := w.key(userapi.System(), anna.ID, "key", "orders:read")
	_, err := w.Keys.Change(ctx, userapi.System(), k.ID, userapi.APIKeyChange{Scopes: &[]string{"orders:write"}})
	require.ErrorIs(t, err, userapi.ErrInvalid)
	_, err = w.Keys.Change(ctx, w.keyHolds(w.API, key).Actor(), k.ID, userapi.APIKeyChange{Scopes: &[]string{userapi.ScopeFull}})
	require.Equal(t, userapi.ErrForbidden, err, "no key widens itself")
	assert.Equal(t, []string{"orders:read"}, w.keyHolds(w.API, key).Scopes())
	assert.Equal(t, []string{"orders:read"}, w.Keys.Scopes())
	_, err = w.Keys.Change(ctx, userapi.System(), k.ID, userapi.APIKeyChange{Scopes: &[]string{}})
	require.NoError(t, err)
	assert.Empty(t, w.keyHolds(w.API, key).Scopes(), "known at once")
	for _, bad := range [][]string{{"full"}, {"Orders"}, {""}, {"a", "a"}, {strings.Repeat("x", 65)}, {"a,b"}} {
		_, err := userapi.New(userapi.Config{Store: w.store, Secret: secret, Scopes: bad})
		assert.ErrorContains(t, err, "Scopes", bad)
	}
	for name, bad := range map[string]userapi.Config{"KeyCache": {KeyCache: -1}, "Grants": {Grants: map[string]int64{"x": -1}}} {
		bad.Store, bad.Secret = w.store, secret
		_, err := userapi.New(bad)
		assert.ErrorContains(t, err, name)
	}
}

func TestKeys_a_node_that_lags_behind_is_not_believed(t *testing.T) {
	for name, change := range map[string]func(w *world, k userapi.APIKey){
		"disabled": func(w *world, k userapi.APIKey) {
			_, err := w.Keys.Change(ctx, userapi.System(), k.ID, userapi.APIKeyChange{Active: ptr(false)})
			require.NoError(w.t, err)
		},
		"deleted": func(w *world, k userapi.APIKey) { require.NoError(w.t, w.Keys.Delete(ctx, userapi.System(), k.ID)) },
		"owner deactivated": func(w *world, k userapi.APIKey) {
			_, err := w.Users.Deactivate(ctx, userapi.System(), k.UserID)
			require.NoError(w.t, err)
		},
		"owner erased": func(w *world, k userapi.APIKey) {
			require.NoError(w.t, w.Users.Delete(ctx, userapi.System(), k.UserID))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			anna := w.user("default", "anna")
			k, secret := w.key(userapi.System(), anna.ID, "key", userapi.ScopeFull)
			api, r := w.node(func(c *userapi.Config) { c.Staleness = userapi.ReadAlways })
			w.keyHolds(api, secret)
			old, err := w.store.FindKey(ctx, userapi.Scope{All: true}, userapi.KeyRef{ID: k.ID})
			require.NoError(t, err)
			change(w, k)
			r.old.Store(&old)
			for range 3 {
				_, err = api.Auth.AuthenticateKey(ctx, anonymous(), secret)
				require.ErrorIs(t, err, userapi.ErrUnavailable)
			}
			r.old.Store(nil)
			w.keyRefused(api, secret)
		})
	}
}

// What was read before everything was revoked does not speak for the time after it; nor does what was read by a clock that
// has jumped back since.
func TestKeys_K07_what_was_read_before_is_not_believed_after(t *testing.T) {
	w := newWorld(t, nil)
	anna := w.user("default", "anna")
	k, secret := w.key(userapi.System(), anna.ID, "key", userapi.ScopeFull)
	api, r := w.node(func(c *userapi.Config) { c.Staleness = time.Minute })
	w.keyHolds(api, secret)
	w.clock.add(time.Minute)
	r.after = func() { require.NoError(t, api.Sessions.RevokeAll(ctx, userapi.System())) }
	w.keyHolds(api, secret) // it came in before
	assert.Nil(t, r.after)
	w.keyRefused(api, secret)
	_, err := w.Keys.Change(ctx, userapi.System(), k.ID, userapi.APIKeyChange{Active: ptr(true)})
	require.NoError(t, err)
	w.clock.add(time.Minute)
	w.keyHolds(api, secret)
	reads := r.reads.Load()
	w.clock.add(-time.Hour)
	w.keyHolds(api, secret)
	assert.Equal(t, reads+1, r.reads.Load())
}

// withSecretOf is a key of this prefix with another's secret, whose checksum is right.
func withSecretOf(prefix, other userapi.Secret) userapi.Secret {
	body := string(prefix[:12] + other[12:65])
	sum := binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(body)))
	return userapi.Secret(body + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum))
}

func TestKeys_H10_the_secret_is_compared(t *testing.T) {
	w := newWorld(t, func(c *userapi.Config) {
		c.Limits = userapi.Limits{userapi.LimitKey: {{Max: 3, Window: time.Minute, Per: userapi.PerAddress}}}
	})
	anna := w.user("default", "anna")
	_, one := w.key(userapi.System(), anna.ID, "one")
	_, two := w.key(userapi.System(), anna.ID, "two")
	w.keyHolds(w.API, withSecretOf(one, one))
	for range 3 { // neither is it remembered
		w.keyRefused(w.API, withSecretOf(one, two))
	}
	_, err := w.Auth.AuthenticateKey(ctx, anonymous(), withSecretOf(two, one))
	assert.ErrorIs(t, err, userapi.ErrRateLimited)
	w.keyHolds(w.API, one)
	w.keyHolds(w.API, two)
}

func TestKeys_wrong_ones_are_counted_for_the_address(t *testing.T) {
	w := newWorld(t, func(c *userapi.Config) {
		c.Limits = userapi.Limits{userapi.LimitKey: {{Max: 3, Window: time.Minute, Per: userapi.PerAddress}}}
	})
	anna := w.user("default", "anna")
	k, secret := w.key(userapi.System(), anna.ID, "key")
	_, other := w.key(userapi.System(), anna.ID, "other")
	_, err := w.Keys.Change(ctx, userapi.System(), k.ID, userapi.APIKeyChange{Active: ptr(false)})
	require.NoError(t, err)
	for range 3 {
		w.keyRefused(w.API, secret)
	}
	_, err = w.Auth.AuthenticateKey(ctx, anonymous(), secret)
	assert.ErrorIs(t, err, userapi.ErrRateLimited)
	w.keyHolds(w.API, other)
	w.clock.add(time.Minute)
	w.keyRefused(w.API, secret)
}

func TestKeys_K02_the_check_fails_closed(t *testing.T) {
	w := newWorld(t, nil)
	anna := w.user("default", "anna")
	_, secret := w.key(userapi.System(), anna.ID, "key", userapi.ScopeFull)
	api, r := w.node(nil)
	w.keyHolds(api, secret)
	r.fails.Store(true)
	w.clock.add(2 * time.Second) // older than may be
	_, err := api.Auth.AuthenticateKey(ctx, anonymous(), secret)
	require.ErrorIs(t, err, userapi.ErrUnavailable)
	r.fails.Store(false)
	w.keyHolds(api, secret)
}

func TestKeys_last_use_is_written_now_and_then(t *testing.T) {
	w := newWorld(t, nil)
	anna := w.user("default", "anna")
	k, secret, err := w.Keys.Create(ctx, userapi.System(), anna.ID, userapi.NewAPIKey{Name: "key", Scopes: nil, ExpiresAt: w.clock.Now().Add(time.Hour)})
	require.NoError(t, err)
	used := func() time.Time {
		t.Helper()
		got, err := w.Keys.ByID(ctx, userapi.System(), k.ID)
		require.NoError(t, err)
		return got.LastUsedAt
	}
	w.keyRefused(w.API, secret[:len(secret)-1])
	assert.True(t, used().IsZero(), "a failure is no use")
	start := w.clock.Now().Truncate(time.Millisecond)
	api, r := w.node(nil)
	for step := range 40 {
		w.keyHolds(api, secret)
		assert.Equal(t, start.Add(time.Duration(step/5)*5*time.Minute), used(), step)
		w.clock.add(time.Minute)
	}
	assert.EqualValues(t, 8, r.touches.Load())
	w.clock.add(time.Hour)
	w.keyRefused(api, secret)
	assert.EqualValues(t, 8, r.touches.Load())
}

func TestKeys_many_at_once(t *testing.T) {
	w := newWorld(t, nil)
	anna := w.user("default", "anna")
	k, secret := w.key(userapi.System(), anna.ID, "key", userapi.ScopeFull)
	_, other := w.key(userapi.System(), anna.ID, "other", userapi.ScopeRead)
	api, r := w.node(func(c *userapi.Config) { c.KeyCache, c.Limits = 1, userapi.Limits{} })
	var off atomic.Bool
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for range 20 {
				if i == 0 {
					w.clock.add(time.Second)
				}
				if i == 1 && off.CompareAndSwap(false, true) {
					_, err := w.Keys.Change(ctx, userapi.System(), k.ID, userapi.APIKeyChange{Active: ptr(false)})
					assert.NoError(t, err)
				}
				for _, one := range []userapi.Secret{secret, other} {
					id, err := api.Auth.AuthenticateKey(ctx, anonymous(), one)
					if one == secret && err != nil {
						assert.Equal(t, userapi.ErrInvalidKey, err)
						continue
					}
					assert.NoError(t, err)
					assert.Equal(t, one == secret, id.HasScope(userapi.ScopeWrite))
				}
			}
		})
	}
	wg.Wait()
	w.clock.add(time.Second)
	w.keyRefused(api, secret)
	assert.LessOrEqual(t, r.touches.Load(), int64(4))
}

func TestKeys_B13_a_thief_who_was_shut_out_leaves_no_key(t *testing.T) {
	w := newWorld(t, nil)
	anna := w.user("default", "anna")
	_, thief := w.login("anna", password)
	k, secret := w.key(thief, anna.ID, "mine", userapi.ScopeFull)
	owner, _ := w.login("anna", password)
	require.NoError(t, w.Auth.Logout(ctx, anonymous(), owner.Refresh))
	_, _, err := w.Keys.Create(ctx, thief, anna.ID, userapi.NewAPIKey{Name: "more", Scopes: nil})
	require.NoError(t, err, "whose session goes on")
	require.NoError(t, w.Sessions.EndAll(ctx, userapi.System(), anna.ID))
	// The thief's token was checked a moment before.
	_, _, err = w.Keys.Create(ctx, thief, anna.ID, userapi.NewAPIKey{Name: "and more", Scopes: nil})
	require.ErrorIs(t, err, userapi.ErrTokenRevoked)
	_, err = w.Keys.Change(ctx, thief, k.ID, userapi.APIKeyChange{Active: ptr(true)})
	require.ErrorIs(t, err, userapi.ErrTokenRevoked)
	w.keyHolds(w.API, secret)
	byKey := w.keyHolds(w.API, secret).Actor()
	for _, end := range []func() error{
		func() error {
			_, err := w.Keys.Change(ctx, userapi.System(), k.ID, userapi.APIKeyChange{Active: ptr(false)})
			return err
		},
		func() error { return w.Keys.Delete(ctx, userapi.System(), k.ID) },
	} {
		require.NoError(t, end())
		_, _, err = w.Users.Change(ctx, byKey, anna.ID, userapi.UserChange{Password: ptr(another), CurrentPassword: password})
		require.ErrorIs(t, err, userapi.ErrTokenRevoked, "neither does one whose key is gone set a password")
	}
	w.login("anna", password)
}

func TestKeys_B13_a_session_that_ends_in_between_makes_and_changes_no_key(t *testing.T) {
	w := newWorld(t, nil)
	anna := w.user("default", "anna")
	k, secret := w.key(userapi.System(), anna.ID, "key", userapi.ScopeRead)
	api, r := w.node(nil)
	for name, act := range map[string]func(thief userapi.Actor) error{
		"make": func(thief userapi.Actor) error {
			_, _, err := api.Keys.Create(ctx, thief, anna.ID, userapi.NewAPIKey{Name: "more", Scopes: []string{userapi.ScopeFull}})
			return err
		},
		"change": func(thief userapi.Actor) error {
			_, err := api.Keys.Change(ctx, thief, k.ID, userapi.APIKeyChange{Scopes: &[]string{userapi.ScopeFull}})
			return err
		},
	} {
		tokens, thief := w.login("anna", password)
		r.before = func() { require.NoError(t, w.Auth.Logout(ctx, anonymous(), tokens.Refresh)) }
		require.ErrorIs(t, act(thief), userapi.ErrTokenRevoked, name)
	}
	all, err := w.Keys.List(ctx, userapi.System(), anna.ID)
	require.NoError(t, err)
	assert.Len(t, all, 1)
	assert.False(t, w.keyHolds(w.API, secret).HasScope(userapi.ScopeFull))
}

func TestKeys_H12_addresses_and_numbers_take_a_scope(t *testing.T) {
	o := newOffice(t, nil)
	anna := o.user("default", "anna")
	_, weak := o.key(userapi.System(), anna.ID, "weak", userapi.ScopeRead, userapi.ScopeWrite)
	strong, secret := o.key(userapi.System(), anna.ID, "strong", userapi.ScopePassword)
	byWeak, byStrong := o.keyHolds(o.API, weak).Actor(), o.keyHolds(o.API, secret).Actor()
	_, _, confirmEmail := o.Contacts.ConfirmEmail(ctx, byWeak, "a.token")
	_, confirmPhone := o.Contacts.ConfirmPhone(ctx, byWeak, "+4930901820", "123456")
	_, _, set := o.Passwords.Set(ctx, byWeak, anna.ID, another, password)
	_, _, change := o.Passwords.Change(ctx, byWeak, password, another)
	for _, err := range []error{
		o.Contacts.RequestEmail(ctx, byWeak, userapi.EmailRequest{}), o.Contacts.RequestPhone(ctx, byWeak, userapi.PhoneRequest{Phone: "+4930901820"}),
		confirmEmail, confirmPhone, set, change,
	} {
		require.ErrorIs(t, err, userapi.ErrScopeMissing)
		assert.Equal(t, map[string][]string{"missing": {userapi.ScopePassword}}, userapi.AsError(err).Fields)
	}
	move := userapi.EmailRequest{Email: "anne@example.com", CurrentPassword: password}
	require.ErrorIs(t, o.Contacts.RequestEmail(ctx, byStrong, userapi.EmailRequest{Email: move.Email}), userapi.ErrNotFresh, "no key is ever fresh")
	require.NoError(t, o.Contacts.RequestEmail(ctx, byStrong, move))
	token := o.receive("anne@example.com", userapi.PurposeEmailChange).Token
	require.NoError(t, o.Keys.Delete(ctx, userapi.System(), strong.ID))
	o.clock.add(2 * time.Minute)
	require.ErrorIs(t, o.Contacts.RequestEmail(ctx, byStrong, move), userapi.ErrTokenRevoked, "nor does one that is gone get a link")
	_, tokens, err := o.Contacts.ConfirmEmail(ctx, byStrong, token)
	require.NoError(t, err, "the link is good for whoever has it")
	assert.True(t, tokens.IsZero())
	o.keyRefused(o.API, weak) // the address was never proven before
}

// The session may end between the look at it and the write.
func TestKeys_B13_a_thief_who_is_just_being_shut_out_leaves_no_key(t *testing.T) {
	w := newWorld(t, nil)
	anna := w.user("default", "anna")
	k, _ := w.key(userapi.System(), anna.ID, "hers", userapi.ScopeRead)
	for _, logout := range []func(userapi.Tokens){
		func(tokens userapi.Tokens) { require.NoError(t, w.Auth.Logout(ctx, anonymous(), tokens.Refresh)) },
		func(userapi.Tokens) { require.NoError(t, w.Sessions.EndAll(ctx, userapi.System(), anna.ID)) },
	} {
		tokens, thief := w.login("anna", password)
		st := &overtaken{Store: w.store, before: func() { logout(tokens) }}
		late := w.second(func(c *userapi.Config) { c.Store = st })
		_, _, err := late.Keys.Create(ctx, thief, anna.ID, userapi.NewAPIKey{Name: "more"})
		require.ErrorIs(t, err, userapi.ErrTokenRevoked)
		tokens, thief = w.login("anna", password)
		st.before = func() { logout(tokens) }
		_, err = late.Keys.Change(ctx, thief, k.ID, userapi.APIKeyChange{Scopes: &[]string{userapi.ScopeFull}})
		require.ErrorIs(t, err, userapi.ErrTokenRevoked)
	}
	keys, err := w.Keys.List(ctx, userapi.System(), anna.ID)
	require.NoError(t, err)
	assert.Equal(t, []userapi.APIKey{k}, keys)
}

func TestKeys_those_that_are_disabled_are_bounded_too(t *testing.T) {
	w := newWorld(t, func(c *userapi.Config) { c.Grants = map[string]int64{userapi.GrantAPIKeys: 1} })
	anna := w.user("default", "anna")
	var last userapi.APIKey
	for i := range 100 {
		last, _ = w.key(userapi.System(), anna.ID, fmt.Sprint("key ", i))
		_, err := w.Keys.Change(ctx, userapi.System(), last.ID, userapi.APIKeyChange{Active: ptr(false)})
		require.NoError(t, err)
	}
	usable, _ := w.key(userapi.System(), anna.ID, "usable")
	_, err := w.Keys.Change(ctx, userapi.System(), usable.ID, userapi.APIKeyChange{Active: ptr(false)})
	require.NoError(t, err)
	_, _, err = w.Keys.Create(ctx, userapi.System(), anna.ID, userapi.NewAPIKey{Name: "one more"})
	require.ErrorIs(t, err, userapi.ErrKeyQuota)
	require.NoError(t, w.Keys.Delete(ctx, userapi.System(), last.ID))
	w.key(userapi.System(), anna.ID, "in its place")
}

func TestKeys_H05_an_admin_has_no_keys_of_those_who_rank_above(t *testing.T) {
	w := newWorld(t, func(c *userapi.Config) {
		c.MayGrant = func(a userapi.Actor, role string) bool { return a.HasRole(userapi.RoleAdmin) && role != "boss" }
	})
	w.role("boss")
	boss := w.user("default", "boss", "boss")
	k, _ := w.key(userapi.System(), boss.ID, "key")
	_, admin := w.login("admin", password)
	_, _, create := w.Keys.Create(ctx, admin, boss.ID, userapi.NewAPIKey{Name: "more"})
	_, list := w.Keys.List(ctx, admin, boss.ID)
	_, read := w.Keys.ByID(ctx, admin, k.ID)
	_, change := w.Keys.Change(ctx, admin, k.ID, userapi.APIKeyChange{})
	for _, err := range []error{create, list, read, change, w.Keys.Delete(ctx, admin, k.ID)} {
		assert.ErrorIs(t, err, userapi.ErrForbidden)
	}
}

func TestKeys_bounds(t *testing.T) {
	scopes := make([]string, 33)
	for i := range scopes {
		scopes[i] = fmt.Sprint("scope", i)
	}
	w := newWorld(t, func(c *userapi.Config) { c.Scopes, c.Grants = scopes, map[string]int64{userapi.GrantAPIKeys: 9} })
	anna, now := w.user("default", "anna"), w.clock.Now()
	for i, n := range []userapi.NewAPIKey{
		{Name: "ab"}, {Name: strings.Repeat("é", 32)}, {Name: "all", Scopes: scopes[:32]}, {Name: "soon over", ExpiresAt: now.Add(time.Millisecond)},
		{Name: "late", ExpiresAt: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)},
	} {
		_, _, err := w.Keys.Create(ctx, userapi.System(), anna.ID, n)
		assert.NoError(t, err, i)
	}
	for _, bad := range []struct {
		field string
		n     userapi.NewAPIKey
	}{
		{"name", userapi.NewAPIKey{Name: "a"}}, {"name", userapi.NewAPIKey{Name: strings.Repeat("é", 33)}}, {"name", userapi.NewAPIKey{Name: "  a "}},
		{"scopes", userapi.NewAPIKey{Name: "key", Scopes: scopes}}, {"scopes", userapi.NewAPIKey{Name: "key", Scopes: []string{"scope1", "scope1"}}},
		{"scopes", userapi.NewAPIKey{Name: "key", Scopes: []string{"scope33"}}},
		{"expires", userapi.NewAPIKey{Name: "key", ExpiresAt: now}}, {"expires", userapi.NewAPIKey{Name: "key", ExpiresAt: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}},
	} {
		_, _, err := w.Keys.Create(ctx, userapi.System(), anna.ID, bad.n)
		require.ErrorIs(t, err, userapi.ErrInvalid)
		assert.Contains(t, userapi.AsError(err).Fields, bad.field)
	}
	for _, n := range []userapi.NewAPIKey{{Name: "six"}, {Name: "seven"}, {Name: "eight"}, {Name: "nine"}} {
		_, _, err := w.Keys.Create(ctx, userapi.System(), anna.ID, n)
		require.NoError(t, err)
	}
	w.clock.add(time.Millisecond)
	w.key(userapi.System(), anna.ID, "in its place")
	keys, err := w.Keys.List(ctx, userapi.System(), anna.ID)
	require.NoError(t, err)
	for _, k := range keys {
		for _, active := range []bool{false, true} {
			if !k.ExpiresAt.IsZero() && k.ExpiresAt.Year() < 9999 {
				_, err := w.Keys.Change(ctx, userapi.System(), k.ID, userapi.APIKeyChange{Active: &active})
				assert.NoError(t, err, "what is over takes no place")
			}
		}
	}
	_, err = w.Users.Deactivate(ctx, userapi.System(), anna.ID)
	require.NoError(t, err)
	_, _, err = w.Keys.Create(ctx, userapi.System(), anna.ID, userapi.NewAPIKey{Name: "key"})
	require.ErrorIs(t, err, userapi.ErrInvalid)
	assert.Contains(t, userapi.AsError(err).Fields, "user_id")
}

func TestKeys_who_may(t *testing.T) {
	w := newWorld(t, nil)
	anna := w.user("default", "anna")
	k, secret := w.key(userapi.System(), anna.ID, "key", userapi.ScopeFull)
	_, bob := w.login(w.user("default", "bob").Username, password)
	_, service := w.login(w.user("default", "svc", "service").Username, password)
	byKey := w.keyHolds(w.API, secret).Actor()
	for _, c := range []struct {
		actor     userapi.Actor
		all, byID error // of what names the owner, of what names the key
	}{
		{userapi.Anonymous(), userapi.ErrNoCredentials, userapi.ErrNoCredentials},
		{bob, userapi.ErrForbidden, userapi.ErrNotFound}, {service, userapi.ErrForbidden, userapi.ErrNotFound},
		{byKey, userapi.ErrForbidden, userapi.ErrForbidden},
	} {
		_, _, create := w.Keys.Create(ctx, c.actor, anna.ID, userapi.NewAPIKey{Name: "more"})
		_, list := w.Keys.List(ctx, c.actor, anna.ID)
		_, read := w.Keys.ByID(ctx, c.actor, k.ID)
		_, change := w.Keys.Change(ctx, c.actor, k.ID, userapi.APIKeyChange{})
		remove := w.Keys.Delete(ctx, c.actor, k.ID)
		assert.Equal(t, []error{c.all, c.all, c.byID, c.byID, c.byID}, []error{create, list, read, change, remove})
	}
	_, zero := w.Keys.List(ctx, userapi.Actor{}, anna.ID)
	assert.Equal(t, userapi.Internal, userapi.AsError(zero).Kind)
	_, zero = w.Auth.AuthenticateKey(ctx, userapi.Actor{}, secret)
	assert.Equal(t, userapi.Internal, userapi.AsError(zero).Kind)
}

func TestGrants(t *testing.T) {
	w := newWorld(t, func(c *userapi.Config) { c.Grants = map[string]int64{"widgets": 7} })
	anna, system := w.user("default", "anna"), userapi.System()
	_, actor := w.login("anna", password)
	_, admin := w.login("admin", password)
	_, bob := w.login(w.user("default", "bob").Username, password)
	w.customer("two", 0)
	_, eve := w.login(w.user("two", "eve", "admin").Username, password)
	value := func(name string) int64 {
		t.Helper()
		v, err := w.Grants.Value(ctx, actor, anna.ID, name)
		require.NoError(t, err)
		return v
	}
	assert.Equal(t, []int64{7, 2}, []int64{value("widgets"), value(userapi.GrantAPIKeys)}, "the defaults")
	end := w.clock.Now().Add(time.Hour).Truncate(time.Millisecond)
	require.NoError(t, w.Grants.Set(ctx, system, anna.ID, "widgets", 0, end))
	require.NoError(t, w.Grants.Set(ctx, system, anna.ID, userapi.GrantAPIKeys, 3, time.Time{}))
	require.NoError(t, w.Grants.Set(ctx, system, anna.ID, userapi.GrantAPIKeys, 5, time.Time{}))
	all, err := w.Grants.List(ctx, admin, anna.ID)
	require.NoError(t, err)
	assert.Equal(t, []userapi.Grant{{Name: "apikeys", Value: 5}, {Name: "widgets", ExpiresAt: end}}, all)
	w.clock.add(time.Hour)
	assert.Equal(t, int64(7), value("widgets"), "it has expired")
	require.NoError(t, w.Grants.Delete(ctx, system, anna.ID, userapi.GrantAPIKeys))
	assert.Equal(t, int64(2), value(userapi.GrantAPIKeys))
	require.ErrorIs(t, w.Grants.Delete(ctx, system, anna.ID, userapi.GrantAPIKeys), userapi.ErrNotFound)

	for _, c := range []struct {
		actor      userapi.Actor
		set, value error
	}{
		{actor, userapi.ErrForbidden, nil}, {admin, userapi.ErrForbidden, nil}, {bob, userapi.ErrForbidden, userapi.ErrForbidden},
		{eve, userapi.ErrForbidden, userapi.ErrNotFound}, {userapi.Anonymous(), userapi.ErrNoCredentials, userapi.ErrNoCredentials},
	} {
		_, read := w.Grants.Value(ctx, c.actor, anna.ID, "widgets")
		_, list := w.Grants.List(ctx, c.actor, anna.ID)
		set, remove := w.Grants.Set(ctx, c.actor, anna.ID, "widgets", 1, time.Time{}), w.Grants.Delete(ctx, c.actor, anna.ID, "widgets")
		assert.Equal(t, []error{c.value, c.value, c.set, c.set}, []error{read, list, set, remove})
	}
	for field, err := range map[string]error{
		"name":    w.Grants.Set(ctx, system, anna.ID, "unknown", 1, time.Time{}),
		"value":   w.Grants.Set(ctx, system, anna.ID, "widgets", -1, time.Time{}),
		"expires": w.Grants.Set(ctx, system, anna.ID, "widgets", 1, w.clock.Now()),
	} {
		require.ErrorIs(t, err, userapi.ErrInvalid)
		assert.Contains(t, userapi.AsError(err).Fields, field)
	}
	_, err = w.Grants.Value(ctx, system, anna.ID, "unknown")
	require.ErrorIs(t, err, userapi.ErrInvalid)
	require.ErrorIs(t, w.Grants.Set(ctx, system, "nobody", "widgets", 1, time.Time{}), userapi.ErrNotFound)
}

func TestParseExpiry(t *testing.T) {
	for in, want := range map[string]string{
		"2030-01-10": "2030-01-10T23:59:59.999Z", "2030-01-31": "2030-01-31T23:59:59.999Z", "2028-02-29": "2028-02-29T23:59:59.999Z", "2030-12-31": "2030-12-31T23:59:59.999Z",
		"2030-01-20T01:02:03+04:00": "2030-01-19T21:02:03Z", "2030-01-20T01:02:03.004Z": "2030-01-20T01:02:03.004Z",
	} {
		at, err := userapi.ParseExpiry(in)
		require.NoError(t, err, in)
		assert.Equal(t, want, at.Format(time.RFC3339Nano))
		assert.Equal(t, time.UTC, at.Location())
	}
	for _, in := range []string{"", "2030", "2030-02-30", "2030-1-1", "2030-01-01 00:00:00", "1893456000", "31.12.2030", "2030-01-01T00:00:00"} {
		_, err := userapi.ParseExpiry(in)
		assert.Error(t, err, in)
	}
}
