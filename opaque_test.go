package userapi_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
)

func opaque(c *userapi.Config) { c.OpaqueLogins = true }

func TestOpaqueLogin_one_key_for_each_login(t *testing.T) {
	w := newWorld(t, opaque)
	w.user("default", "anna", userapi.RoleService)
	one, actor := w.login("anna", password)
	two, _ := w.login("anna", password)
	assert.NotEqual(t, one.Access, two.Access)
	assert.Empty(t, one.Refresh)
	assert.Equal(t, w.clock.Now().Truncate(time.Millisecond).Add(24*time.Hour), one.ExpiresAt)
	assert.True(t, actor.HasRole(userapi.RoleService))
	id, err := w.Auth.Authenticate(ctx, string(one.Access))
	require.NoError(t, err)
	assert.Equal(t, []string{"pwd"}, id.Methods())
	assert.NotEmpty(t, id.SessionID())
	stored, err := w.store.SessionByID(ctx, id.SessionID())
	require.NoError(t, err)
	secretPart := string(one.Access)[strings.LastIndexByte(string(one.Access), '.')+1:]
	assert.Len(t, secretPart, 43, "256 bits")
	assert.NotContains(t, fmt.Sprintf("%#v", stored), secretPart, "B07: nothing of it is stored")

	require.NoError(t, w.Auth.Logout(ctx, anonymous(), one.Access))
	w.refused(one)
	w.accepted(two)
	w.clock.add(24*time.Hour - time.Second)
	w.accepted(two)
	_, err = w.Sweep(ctx)
	require.NoError(t, err)
	w.accepted(two)
	w.clock.add(time.Second)
	_, err = w.Auth.Authenticate(ctx, string(two.Access))
	assert.ErrorIs(t, err, userapi.ErrTokenExpired)
}

func TestOpaqueLogin_is_not_read_anew_but_ends_and_changes_at_once(t *testing.T) {
	w := newWorld(t, opaque)
	anna := w.user("default", "anna")
	w.role("editor")
	tokens, _ := w.login("anna", password)
	api, r := w.node(func(c *userapi.Config) {
		opaque(c)
		c.Staleness = time.Minute
	})
	for range 50 {
		_, err := api.Auth.Authenticate(ctx, string(tokens.Access))
		require.NoError(t, err)
	}
	assert.EqualValues(t, 1, r.reads.Load(), "sessions read")
	for i, step := range []time.Duration{time.Minute, -2 * time.Minute} { // and at once when the clock went back
		w.clock.add(step)
		_, err := api.Auth.Authenticate(ctx, string(tokens.Access))
		require.NoError(t, err)
		assert.EqualValues(t, i+2, r.reads.Load(), "after %s", step)
	}

	_, _, err := w.Users.Change(ctx, userapi.System(), anna.ID, userapi.UserChange{Roles: &[]userapi.RoleRef{{Code: "editor"}}})
	require.NoError(t, err)
	assert.True(t, w.actor(tokens).HasRole("editor"), "roles are those of this moment")
	for name, end := range map[string]func(session string){
		"session ended": func(session string) { require.NoError(t, w.Sessions.End(ctx, userapi.System(), anna.ID, session)) },
		"deactivated": func(string) {
			_, err := w.Users.Deactivate(ctx, userapi.System(), anna.ID)
			require.NoError(t, err)
			_, _, err = w.Users.Change(ctx, userapi.System(), anna.ID, userapi.UserChange{Active: ptr(true)})
			require.NoError(t, err)
		},
		"password set": func(string) {
			_, _, err := w.Passwords.Set(ctx, userapi.System(), anna.ID, password, "")
			require.NoError(t, err)
		},
		"everything": func(string) { require.NoError(t, w.Sessions.RevokeAll(ctx, userapi.System())) },
	} {
		tokens, _ := w.login("anna", password)
		id, err := w.Auth.Authenticate(ctx, string(tokens.Access))
		require.NoError(t, err)
		end(id.SessionID())
		_, err = w.Auth.Authenticate(ctx, string(tokens.Access))
		assert.ErrorIs(t, err, userapi.ErrTokenRevoked, name)
	}
}

func (w *world) sessionOf(tokens userapi.Tokens) string {
	w.t.Helper()
	id, err := w.Auth.Authenticate(ctx, string(tokens.Access))
	require.NoError(w.t, err)
	return id.SessionID()
}

// One's own password gives a new key, one's own roles leave it as it is.
func TestOpaqueLogin_changes_of_oneself(t *testing.T) {
	w := newWorld(t, opaque)
	before, admin := w.login("admin", password)
	w.role("editor")
	_, tokens, err := w.Users.Change(ctx, admin, admin.UserID(), userapi.UserChange{Roles: &[]userapi.RoleRef{{Code: "admin"}, {Code: "editor"}}})
	require.NoError(t, err)
	assert.True(t, tokens.IsZero())
	w.accepted(before)
	_, tokens, err = w.Passwords.Change(ctx, w.actor(before), password, another)
	require.NoError(t, err)
	w.refused(before)
	w.accepted(tokens)
}

func TestOpaqueLogin_A05_A09_nothing_else_passes_for_one(t *testing.T) {
	w := newWorld(t, opaque)
	jwts := w.second(nil)
	tokens, _ := w.login("admin", password)
	_, other, err := jwts.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "admin", Password: password})
	require.NoError(t, err)
	key := string(tokens.Access)
	last := strings.LastIndexByte(key, '.')
	for _, bad := range []string{
		key + "x", key[:len(key)-1], key[:last], key + ".", strings.ToUpper(key), key[:last+1] + strings.Repeat("A", 43),
		"l1." + strings.Repeat("x", 300), "l1...", "l1", string(other.Refresh), strings.Replace(string(other.Refresh), "r1.", "l1.", 1),
		strings.Replace(key, "l1.", "r1.", 1), key + "\n", " " + key,
	} {
		_, err := w.Auth.Authenticate(ctx, bad)
		assert.ErrorIs(t, err, userapi.ErrInvalidToken, bad)
	}
	_, err = w.Auth.Refresh(ctx, anonymous(), tokens.Access)
	assert.ErrorIs(t, err, userapi.ErrInvalidToken, "a key is no refresh token")
	stranger := w.second(func(c *userapi.Config) { c.Secret, c.OpaqueLogins = secret+" of another", true })
	_, err = stranger.Auth.Authenticate(ctx, key)
	assert.ErrorIs(t, err, userapi.ErrInvalidToken)
	elsewhere := w.second(func(c *userapi.Config) { c.Issuer, c.OpaqueLogins = "elsewhere", true })
	_, err = elsewhere.Auth.Authenticate(ctx, key)
	assert.ErrorIs(t, err, userapi.ErrInvalidToken, "A08: another API's")
	rotated := w.second(func(c *userapi.Config) {
		c.Secret, c.OldSecrets, c.OpaqueLogins = secret+" anew", []userapi.Secret{secret}, true
	})
	_, err = rotated.Auth.Authenticate(ctx, key)
	assert.NoError(t, err, "A16")
}

func TestOpaqueLogin_with_a_step(t *testing.T) {
	_, wire := withFactor("anna")
	w := newWorld(t, func(c *userapi.Config) {
		wire(c)
		opaque(c)
	})
	w.user("default", "anna")
	_, pending := w.start("anna", userapi.StepSecondFactor)
	_, whole, err := w.Auth.CompleteLogin(ctx, pending, "otp", says(true))
	require.NoError(t, err)
	w.accepted(whole)
	assert.Empty(t, whole.Refresh)
}

// As with API keys: no read speaks for the time after it, and none from a node that lags behind is believed.
func TestOpaqueLogin_K07_what_was_read_before_is_not_believed_after(t *testing.T) {
	w := newWorld(t, opaque)
	anna := w.user("default", "anna")
	api, r := w.node(func(c *userapi.Config) {
		opaque(c)
		c.Staleness = time.Minute
	})
	check := func(tokens userapi.Tokens) error {
		_, err := api.Auth.Authenticate(ctx, string(tokens.Access))
		return err
	}
	tokens, _ := w.login("anna", password)
	require.NoError(t, check(tokens))
	w.clock.add(time.Minute)
	r.after = func() { require.NoError(t, api.Sessions.RevokeAll(ctx, userapi.System())) }
	require.NoError(t, check(tokens), "it came in before")
	require.Nil(t, r.after)
	require.ErrorIs(t, check(tokens), userapi.ErrTokenRevoked)

	tokens, _ = w.login("anna", password)
	require.NoError(t, check(tokens))
	for _, d := range []time.Duration{time.Minute, -time.Hour} {
		reads := r.reads.Load()
		w.clock.add(d)
		require.NoError(t, check(tokens))
		require.NoError(t, check(tokens))
		assert.Equal(t, reads+1, r.reads.Load(), "read anew after %s", d)
	}

	old, err := w.store.SessionByID(ctx, w.sessionOf(tokens))
	require.NoError(t, err)
	r.oldSession.Store(&old)
	require.NoError(t, api.Sessions.EndAll(ctx, userapi.System(), anna.ID))
	require.ErrorIs(t, check(tokens), userapi.ErrUnavailable)
	r.oldSession.Store(nil)
	require.ErrorIs(t, check(tokens), userapi.ErrTokenRevoked)
	tokens, _ = w.login("anna", password)
	old, err = w.store.SessionByID(ctx, w.sessionOf(tokens))
	require.NoError(t, err)
	old.Account.Active = false
	r.oldSession.Store(&old)
	require.ErrorIs(t, check(tokens), userapi.ErrTokenRevoked)
}

func TestOpaqueLogin_K02_the_check_fails_closed(t *testing.T) {
	w := newWorld(t, opaque)
	tokens, _ := w.login("admin", password)
	api, r := w.node(opaque)
	_, err := api.Auth.Authenticate(ctx, string(tokens.Access))
	require.NoError(t, err)
	r.fails.Store(true)
	w.clock.add(2 * time.Second)
	_, err = api.Auth.Authenticate(ctx, string(tokens.Access))
	assert.ErrorIs(t, err, userapi.ErrUnavailable)
}

func TestOpaqueLogin_K02_fails_closed(t *testing.T) {
	w := newWorld(t, opaque)
	w.user("default", "anna")
	read, _ := w.login("anna", password)
	tokens, _ := w.login("anna", password)
	api, r := w.node(func(c *userapi.Config) {
		opaque(c)
		c.Staleness = time.Minute
	})
	_, err := api.Auth.Authenticate(ctx, string(read.Access)) // and the revocations are known
	require.NoError(t, err)
	r.fails.Store(true)
	id, err := api.Auth.Authenticate(ctx, string(tokens.Access))
	assert.ErrorIs(t, err, userapi.ErrUnavailable)
	assert.Nil(t, id)
	r.fails.Store(false)
	_, err = api.Auth.Authenticate(ctx, string(tokens.Access))
	assert.NoError(t, err)
}

// lagging is a store that shows sessions as they were.
type lagging struct {
	userapi.Store
	was userapi.SessionAccount
}

func (l *lagging) SessionByID(context.Context, string) (userapi.SessionAccount, error) {
	return l.was, nil
}

func TestOpaqueLogin_K02_what_is_older_than_its_end_opens_nothing(t *testing.T) {
	w := newWorld(t, opaque)
	anna := w.user("default", "anna")
	tokens, actor := w.login("anna", password)
	sessions, err := w.Sessions.List(ctx, actor, anna.ID)
	require.NoError(t, err)
	was, err := w.store.SessionByID(ctx, sessions[0].ID)
	require.NoError(t, err)
	require.NoError(t, w.Sessions.EndAll(ctx, actor, anna.ID))
	api := w.second(func(c *userapi.Config) {
		opaque(c)
		c.Store = &lagging{w.store, was}
	})
	id, err := api.Auth.Authenticate(ctx, string(tokens.Access))
	assert.ErrorIs(t, err, userapi.ErrUnavailable)
	assert.Nil(t, id)
}
