package userapi_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
)

// factor is a SecondFactor of those who are listed.
type factor struct {
	mu   sync.Mutex
	of   map[string]bool // by username
	fail error
}

func (f *factor) Required(_ context.Context, u userapi.User) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.of[u.Username], f.fail
}

func withFactor(users ...string) (*factor, func(*userapi.Config)) {
	f := &factor{of: map[string]bool{}}
	for _, u := range users {
		f.of[u] = true
	}
	return f, func(c *userapi.Config) { c.SecondFactor = f }
}

// start logs in where a step is left.
func (w *world) start(identifier string, step userapi.LoginStep) (userapi.Tokens, userapi.Actor) {
	w.t.Helper()
	_, tokens, err := w.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: identifier, Password: password})
	require.NoError(w.t, err)
	require.Equal(w.t, step, tokens.Step)
	require.Empty(w.t, tokens.Refresh, "a login that lacks a step goes on by nothing")
	id, err := w.Auth.AuthenticateStep(ctx, string(tokens.Access), step)
	require.NoError(w.t, err)
	require.Equal(w.t, step, id.Step())
	require.Empty(w.t, id.Roles())
	return tokens, id.Actor().From("192.0.2.1", "test")
}

func says(answer bool) func(context.Context, userapi.User) (bool, error) {
	return func(context.Context, userapi.User) (bool, error) { return answer, nil }
}

func TestLogin_with_a_second_factor(t *testing.T) {
	_, wire := withFactor("anna")
	w := newWorld(t, wire)
	anna := w.user("default", "anna", userapi.RoleAdmin)
	answered, _, err := w.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "anna", Password: password})
	require.NoError(t, err)
	assert.Zero(t, answered.LastLogin)
	tokens, pending := w.start("anna", userapi.StepSecondFactor)
	assert.Equal(t, 2*time.Minute, tokens.ExpiresAt.Sub(w.clock.Now().Truncate(time.Second)))
	u, err := w.Users.ByID(ctx, userapi.System(), anna.ID)
	require.NoError(t, err)
	assert.Zero(t, u.LastLogin, "nobody has logged in yet")
	open, err := w.Sessions.List(ctx, userapi.System(), anna.ID)
	require.NoError(t, err)
	assert.Empty(t, open)

	seen := ""
	_, whole, err := w.Auth.CompleteLogin(ctx, pending, "otp", func(_ context.Context, u userapi.User) (bool, error) {
		seen = u.ID
		return true, nil
	})
	require.NoError(t, err)
	assert.Equal(t, anna.ID, seen)
	assert.Empty(t, whole.Step)
	id, err := w.Auth.Authenticate(ctx, string(whole.Access))
	require.NoError(t, err)
	assert.Equal(t, []string{"pwd", "otp"}, id.Methods())
	assert.True(t, id.HasRole(userapi.RoleAdmin))
	w.refreshes(whole)
	_, _, err = w.Auth.CompleteLogin(ctx, pending, "otp", says(true))
	assert.ErrorIs(t, err, userapi.ErrTokenRevoked, "a login is completed once")
	_, admin := w.login("admin", password)
	_, _, err = w.Auth.CompleteLogin(ctx, admin, "otp", says(true))
	assert.ErrorIs(t, err, userapi.ErrForbidden, "who lacks nothing completes nothing")
	for _, nobody := range []userapi.Actor{anonymous(), userapi.System()} {
		_, _, err = w.Auth.CompleteLogin(ctx, nobody, "otp", says(true))
		assert.ErrorIs(t, err, userapi.ErrForbidden)
	}
	_, _, err = w.Auth.CompleteLogin(ctx, userapi.Actor{}, "otp", says(true))
	assert.ErrorContains(t, err, "zero Actor")
}

// The token of a login that lacks a step, and whoever acts by it, may do nothing else at all.
func TestLogin_A09_a_started_login_is_good_for_its_step_alone(t *testing.T) {
	_, wire := withFactor("anna")
	w := newWorld(t, func(c *userapi.Config) {
		wire(c)
		c.Verification.AnonymousPhone = true
	})
	anna := w.user("default", "anna", userapi.RoleAdmin)
	bob := w.user("default", "bob")
	_, _, err := w.Users.Change(ctx, userapi.System(), bob.ID, userapi.UserChange{MustChangePassword: ptr(true)})
	require.NoError(t, err)
	second, secondActor := w.start("anna", userapi.StepSecondFactor)
	change, changeActor := w.start("bob", userapi.StepNewPassword)
	for _, c := range []struct {
		tokens  userapi.Tokens
		actor   userapi.Actor
		other   userapi.LoginStep
		refusal error
		id      string
	}{
		{second, secondActor, userapi.StepNewPassword, userapi.ErrSecondFactorRequired, anna.ID},
		{change, changeActor, userapi.StepSecondFactor, userapi.ErrNewPasswordRequired, bob.ID},
	} {
		_, err := w.Auth.Authenticate(ctx, string(c.tokens.Access))
		assert.ErrorIs(t, err, c.refusal)
		_, err = w.Auth.AuthenticateStep(ctx, string(c.tokens.Access), c.other)
		assert.ErrorIs(t, err, c.refusal)
		_, err = w.Auth.Refresh(ctx, anonymous(), c.tokens.Access)
		assert.ErrorIs(t, err, userapi.ErrInvalidToken)
		calls := map[string]error{}
		_, calls["ByID"] = w.Users.ByID(ctx, c.actor, c.id)
		_, calls["List"] = w.Users.List(ctx, c.actor, userapi.UserQuery{})
		_, _, calls["Change"] = w.Users.Change(ctx, c.actor, c.id, userapi.UserChange{Name: ptr("X")})
		_, _, calls["Set"] = w.Passwords.Set(ctx, c.actor, c.id, another, password)
		_, _, calls["SetByIdentifier"] = w.Passwords.SetByIdentifier(ctx, c.actor, "anna", another, password)
		_, calls["Create"] = w.Users.Create(ctx, c.actor, userapi.NewUser{Username: "new"})
		calls["Delete"] = w.Users.Delete(ctx, c.actor, bob.ID)
		_, calls["Sessions"] = w.Sessions.List(ctx, c.actor, c.id)
		calls["EndAll"] = w.Sessions.EndAll(ctx, c.actor, c.id)
		_, calls["Roles"] = w.Roles.List(ctx, c.actor, 0, 20)
		_, calls["Customers"] = w.Customers.ByID(ctx, c.actor, "default")
		calls["RequestPhone"] = w.Contacts.RequestPhone(ctx, c.actor, userapi.PhoneRequest{Phone: "+4930901820"})
		_, _, calls["Login"] = w.Auth.Login(ctx, c.actor, userapi.LoginRequest{Identifier: "admin", Password: password})
		_, _, calls["IssueTokens"] = w.Auth.IssueTokens(ctx, c.actor, c.id, "otp")
		calls["TrySecondFactor"] = w.Auth.TrySecondFactor(ctx, c.actor, says(true))
		_, calls["Credentials"] = w.Credentials.Of(ctx, c.actor, c.id, "totp")
		for name, err := range calls {
			assert.ErrorIs(t, err, c.refusal, name)
		}
	}
	_, _, err = w.Passwords.Change(ctx, secondActor, password, another)
	assert.ErrorIs(t, err, userapi.ErrSecondFactorRequired, "a second factor is not skipped by a new password")
	_, _, err = w.Auth.CompleteLogin(ctx, changeActor, "otp", says(true))
	assert.ErrorIs(t, err, userapi.ErrNewPasswordRequired)
}

func TestLogin_a_started_login_ends(t *testing.T) {
	_, wire := withFactor("anna")
	w := newWorld(t, wire)
	anna := w.user("default", "anna")
	for name, end := range map[string]func(tokens userapi.Tokens){
		"deactivated": func(userapi.Tokens) {
			_, err := w.Users.Deactivate(ctx, userapi.System(), anna.ID)
			require.NoError(t, err)
			_, _, err = w.Users.Change(ctx, userapi.System(), anna.ID, userapi.UserChange{Active: ptr(true)})
			require.NoError(t, err)
		},
		"password set": func(userapi.Tokens) {
			_, _, err := w.Passwords.Set(ctx, userapi.System(), anna.ID, password, "")
			require.NoError(t, err)
		},
		"roles given": func(userapi.Tokens) {
			for _, roles := range [][]userapi.RoleRef{{{Code: "service"}}, {}} {
				_, _, err := w.Users.Change(ctx, userapi.System(), anna.ID, userapi.UserChange{Roles: &roles})
				require.NoError(t, err)
			}
		},
		"logged out": func(tokens userapi.Tokens) { require.NoError(t, w.Auth.Logout(ctx, anonymous(), tokens.Access)) },
		"everything": func(userapi.Tokens) { require.NoError(t, w.Sessions.RevokeAll(ctx, userapi.System())) },
	} {
		tokens, pending := w.start("anna", userapi.StepSecondFactor)
		end(tokens)
		_, err := w.Auth.AuthenticateStep(ctx, string(tokens.Access), userapi.StepSecondFactor)
		assert.ErrorIs(t, err, userapi.ErrTokenRevoked, name)
		_, _, err = w.Auth.CompleteLogin(ctx, pending, "otp", says(true))
		assert.ErrorIs(t, err, userapi.ErrTokenRevoked, name)
	}
	tokens, _ := w.start("anna", userapi.StepSecondFactor)
	w.clock.add(2 * time.Minute)
	_, err := w.Auth.AuthenticateStep(ctx, string(tokens.Access), userapi.StepSecondFactor)
	assert.ErrorIs(t, err, userapi.ErrTokenExpired)
}

// D02, D03: wrong codes are counted before they are judged, over all logins of the account.
func TestCompleteLogin_D02_D03_wrong_codes_are_counted_for_the_account(t *testing.T) {
	_, wire := withFactor("anna")
	w := newWorld(t, wire)
	w.user("default", "anna")
	for i := range 5 {
		_, pending := w.start("anna", userapi.StepSecondFactor) // a new login brings no new budget
		_, _, err := w.Auth.CompleteLogin(ctx, pending, "otp", says(false))
		require.ErrorIs(t, err, userapi.ErrInvalidCode, i)
	}
	_, pending := w.start("anna", userapi.StepSecondFactor)
	_, _, err := w.Auth.CompleteLogin(ctx, pending, "otp", func(context.Context, userapi.User) (bool, error) {
		t.Error("judged beyond the budget")
		return true, nil
	})
	require.ErrorIs(t, err, userapi.ErrRateLimited)
	w.clock.add(10 * time.Minute)
	_, pending = w.start("anna", userapi.StepSecondFactor)
	_, _, err = w.Auth.CompleteLogin(ctx, pending, "otp", func(context.Context, userapi.User) (bool, error) { return false, userapi.ErrUnavailable })
	require.ErrorIs(t, err, userapi.ErrUnavailable)
	_, whole, err := w.Auth.CompleteLogin(ctx, pending, "otp", says(true))
	require.NoError(t, err, "what could not be judged was not counted, and did not end the login")
	actor := w.actor(whole)
	for range 3 {
		require.ErrorIs(t, w.Auth.TrySecondFactor(ctx, actor, says(false)), userapi.ErrInvalidCode)
	}
	require.NoError(t, w.Auth.TrySecondFactor(ctx, actor, says(true)), "what was right begins the count anew")
	for range 5 {
		require.ErrorIs(t, w.Auth.TrySecondFactor(ctx, actor, says(false)), userapi.ErrInvalidCode)
	}
	require.ErrorIs(t, w.Auth.TrySecondFactor(ctx, actor, says(true)), userapi.ErrRateLimited, "one budget in and before a session")
}

func TestCompleteLogin_at_once_gives_one_session(t *testing.T) {
	_, wire := withFactor("anna")
	w := newWorld(t, func(c *userapi.Config) {
		wire(c)
		c.Limits = userapi.Limits{}
	})
	other := w.second(func(c *userapi.Config) {
		wire(c)
		c.Limits = userapi.Limits{}
	})
	anna := w.user("default", "anna")
	_, pending := w.start("anna", userapi.StepSecondFactor)
	errs := make([]error, 64)
	var all sync.WaitGroup
	for i := range errs {
		api := []*userapi.API{w.API, other}[i%2]
		all.Go(func() { _, _, errs[i] = api.Auth.CompleteLogin(ctx, pending, "otp", says(true)) })
	}
	all.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		assert.ErrorIs(t, err, userapi.ErrTokenRevoked)
	}
	assert.Equal(t, 1, won)
	open, err := w.Sessions.List(ctx, userapi.System(), anna.ID)
	require.NoError(t, err)
	assert.Len(t, open, 1)
}

func TestLogin_started_logins_push_no_session_out(t *testing.T) {
	f, wire := withFactor()
	w := newWorld(t, func(c *userapi.Config) {
		wire(c)
		c.SessionsPerUser = 2
	})
	w.user("default", "anna")
	whole, _ := w.login("anna", password)
	f.of["anna"] = true
	var last userapi.Actor
	for range 8 {
		_, last = w.start("anna", userapi.StepSecondFactor)
	}
	w.accepted(whole)
	w.refreshes(whole)
	open, err := w.store.ListSessions(ctx, userapi.Scope{All: true}, last.UserID())
	require.NoError(t, err)
	assert.Len(t, open, 1+5, "no more than five are under way")
	_, _, err = w.Auth.CompleteLogin(ctx, last, "otp", says(true))
	require.NoError(t, err)
	w.accepted(whole)
}

func TestLogin_K01_a_second_factor_that_cannot_be_asked_lets_nobody_in(t *testing.T) {
	f, wire := withFactor("anna")
	w := newWorld(t, wire)
	w.user("default", "anna")
	f.fail = errors.New("the database of the factor is away")
	_, tokens, err := w.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "anna", Password: password})
	require.Error(t, err)
	assert.True(t, tokens.IsZero())
}

func TestLogin_whose_password_has_to_be_changed(t *testing.T) {
	w := newWorld(t, nil)
	anna, err := w.Users.Create(ctx, userapi.System(), userapi.NewUser{
		Username: "anna", Password: password, Active: true, CustomerID: "default", MustChangePassword: true,
	})
	require.NoError(t, err)
	tokens, pending := w.start("anna", userapi.StepNewPassword)
	started, err := w.Users.ByID(ctx, userapi.System(), anna.ID)
	require.NoError(t, err)
	assert.True(t, started.LastLogin.IsZero())
	assert.Equal(t, 5*time.Minute, tokens.ExpiresAt.Sub(w.clock.Now().Truncate(time.Second)))
	_, _, err = w.Passwords.Change(ctx, pending, another, another)
	require.ErrorIs(t, err, userapi.ErrWrongPassword)
	_, _, err = w.Passwords.Change(ctx, pending, password, password)
	require.ErrorIs(t, err, userapi.ErrWeakPassword, "the same is no change")
	_, _, err = w.Passwords.Change(ctx, pending, password, "short")
	require.ErrorIs(t, err, userapi.ErrWeakPassword)
	user, whole, err := w.Passwords.Change(ctx, pending, password, another)
	require.NoError(t, err)
	assert.Equal(t, anna.ID, user.ID)
	assert.Equal(t, w.clock.Now().Truncate(time.Millisecond), user.LastLogin, "now the login is complete")
	stored, err := w.Users.ByID(ctx, userapi.System(), anna.ID)
	require.NoError(t, err)
	assert.Equal(t, user.LastLogin, stored.LastLogin)
	assert.Empty(t, whole.Step)
	w.accepted(whole)
	w.refreshes(whole)
	_, err = w.Auth.AuthenticateStep(ctx, string(tokens.Access), userapi.StepNewPassword)
	assert.ErrorIs(t, err, userapi.ErrTokenRevoked)
	_, _, err = w.Passwords.Change(ctx, pending, another, password)
	assert.ErrorIs(t, err, userapi.ErrTokenRevoked, "it was good once")
	w.login("anna", another)
}

// Who has to change the password sets another, however the old one is written, and whatever session it is set in.
func TestChange_a_demanded_password_is_another(t *testing.T) {
	w := newWorld(t, func(c *userapi.Config) { c.External = userapi.ExternalAuto; c.Registration.Customer = "default" })
	const composed, decomposed userapi.Secret = "caf\u00e9 au lait", "cafe\u0301 au lait"
	anna, err := w.Users.Create(ctx, userapi.System(), userapi.NewUser{
		Email: "anna@example.com", EmailVerified: true, Password: composed, Active: true, CustomerID: "default", MustChangePassword: true,
	})
	require.NoError(t, err)
	_, tokens, err := w.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "anna@example.com", Password: composed})
	require.NoError(t, err)
	pending, err := w.Auth.AuthenticateStep(ctx, string(tokens.Access), userapi.StepNewPassword)
	require.NoError(t, err)
	_, _, err = w.Passwords.Change(ctx, pending.Actor(), composed, decomposed)
	require.ErrorIs(t, err, userapi.ErrWeakPassword, "the same in other bytes")
	_, tokens, err = w.external(identity("17", "anna@example.com"))
	require.NoError(t, err)
	_, _, err = w.Passwords.Set(ctx, w.actor(tokens), anna.ID, composed, "")
	require.ErrorIs(t, err, userapi.ErrWeakPassword, "the same without the old one, in a fresh session")
	_, _, err = w.Passwords.Set(ctx, w.actor(tokens), anna.ID, another, "")
	require.NoError(t, err)
	w.login("anna@example.com", another)
}

func TestChange_who_may_demand_a_new_password(t *testing.T) {
	w := newWorld(t, nil)
	w.customer("rival", 0)
	anna := w.user("default", "anna")
	w.user("default", "helper", userapi.RoleService)
	w.user("rival", "eve", userapi.RoleAdmin)
	demand := userapi.UserChange{MustChangePassword: ptr(true)}
	for name, refusal := range map[string]error{"anna": userapi.ErrForbidden, "helper": userapi.ErrForbidden, "eve": userapi.ErrNotFound} {
		_, actor := w.login(name, password)
		_, _, err := w.Users.Change(ctx, actor, anna.ID, demand)
		assert.ErrorIs(t, err, refusal, name)
	}
	_, admin := w.login("admin", password)
	_, _, err := w.Users.Change(ctx, admin, admin.UserID(), demand)
	assert.ErrorIs(t, err, userapi.ErrForbidden, "not of oneself")
	before, _ := w.login("anna", password)
	_, _, err = w.Users.Change(ctx, admin, anna.ID, demand)
	require.NoError(t, err)
	w.refused(before)
	w.refreshRefused(before)
	w.start("anna", userapi.StepNewPassword)
	_, _, err = w.Passwords.Set(ctx, admin, anna.ID, another, "")
	require.NoError(t, err)
	_, tokens, err := w.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "anna", Password: another})
	require.NoError(t, err)
	assert.Equal(t, userapi.StepNewPassword, tokens.Step, "an admin's password is not the owner's own")
	_, _, err = w.Users.Change(ctx, admin, anna.ID, userapi.UserChange{MustChangePassword: ptr(false)})
	require.NoError(t, err)
	w.login("anna", another)
}

func TestReset_takes_the_demand_for_a_new_password_away(t *testing.T) {
	o := newOffice(t, nil)
	anna := o.user("default", "anna")
	_, _, err := o.Users.Change(ctx, userapi.System(), anna.ID, userapi.UserChange{MustChangePassword: ptr(true)})
	require.NoError(t, err)
	require.NoError(t, o.Passwords.RequestReset(ctx, anonymous(), userapi.ResetRequest{Identifier: "anna"}))
	require.NoError(t, o.Passwords.Reset(ctx, anonymous(), o.receive("anna@example.com", userapi.PurposeReset).Token, another))
	o.login("anna", another)
}

// Both steps: the second factor comes first, and the new password does not skip it.
func TestLogin_that_lacks_two_steps(t *testing.T) {
	_, wire := withFactor("anna")
	w := newWorld(t, wire)
	anna := w.user("default", "anna")
	_, _, err := w.Users.Change(ctx, userapi.System(), anna.ID, userapi.UserChange{MustChangePassword: ptr(true)})
	require.NoError(t, err)
	_, pending := w.start("anna", userapi.StepSecondFactor)
	_, tokens, err := w.Auth.CompleteLogin(ctx, pending, "otp", says(true))
	require.NoError(t, err)
	require.Equal(t, userapi.StepNewPassword, tokens.Step)
	id, err := w.Auth.AuthenticateStep(ctx, string(tokens.Access), userapi.StepNewPassword)
	require.NoError(t, err)
	_, whole, err := w.Passwords.Change(ctx, id.Actor(), password, another)
	require.NoError(t, err)
	id, err = w.Auth.Authenticate(ctx, string(whole.Access))
	require.NoError(t, err)
	assert.Equal(t, []string{"pwd", "otp"}, id.Methods())
}

// Of a demand for a new password and a login at once, no whole session is left.
func TestChange_demand_for_a_new_password_against_logins(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 5 {
		anna := w.user("default", fmt.Sprint("anna", i))
		issued := make([]userapi.Tokens, 32)
		var all sync.WaitGroup
		for j := range issued {
			all.Go(func() {
				_, issued[j], _ = w.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: anna.Username, Password: password})
			})
		}
		all.Go(func() {
			_, _, err := w.Users.Change(ctx, userapi.System(), anna.ID, userapi.UserChange{MustChangePassword: ptr(true)})
			assert.NoError(t, err)
		})
		all.Wait()
		for _, tokens := range issued {
			if _, err := w.Auth.Authenticate(ctx, string(tokens.Access)); err == nil {
				t.Fatal("a whole session outlived the demand")
			}
		}
	}
}

func TestLifetimes_by_role(t *testing.T) {
	w := newWorld(t, func(c *userapi.Config) {
		c.RoleLifetimes = map[string]userapi.Lifetimes{
			"admin": {Access: 5 * time.Minute, Session: time.Hour}, "auditor": {Session: 2 * time.Hour, Idle: 20 * time.Minute},
		}
	})
	w.role("auditor")
	w.user("default", "anna")
	w.user("default", "ada", "admin", "auditor")
	lives := func(name string) (access, session time.Duration) {
		tokens, _ := w.login(name, password)
		now := w.clock.Now().Truncate(time.Second)
		return tokens.ExpiresAt.Sub(now), tokens.RefreshExpiresAt.Sub(w.clock.Now().Truncate(time.Millisecond))
	}
	access, session := lives("anna")
	assert.Equal(t, []time.Duration{15 * time.Minute, 30 * 24 * time.Hour}, []time.Duration{access, session})
	access, session = lives("ada")
	assert.Equal(t, []time.Duration{5 * time.Minute, time.Hour}, []time.Duration{access, session}, "the shortest of all roles")

	tokens, _ := w.login("ada", password)
	w.clock.add(19 * time.Minute)
	tokens = w.refreshes(tokens)
	w.clock.add(20 * time.Minute)
	_, err := w.Auth.Refresh(ctx, anonymous(), tokens.Refresh)
	assert.ErrorIs(t, err, userapi.ErrTokenExpired, "idle")

	tokens, _ = w.login("ada", password)
	for range 3 {
		w.clock.add(19 * time.Minute)
		tokens = w.refreshes(tokens)
	}
	assert.Equal(t, 3*time.Minute, tokens.ExpiresAt.Sub(w.clock.Now().Truncate(time.Second)), "never past the session's end")
	w.clock.add(3 * time.Minute)
	_, err = w.Auth.Refresh(ctx, anonymous(), tokens.Refresh)
	assert.ErrorIs(t, err, userapi.ErrTokenExpired, "the absolute end")

	// A role that is given shortens the session that is open.
	tokens, anna := w.login("anna", password)
	_, _, err = w.Users.Change(ctx, userapi.System(), anna.UserID(), userapi.UserChange{Roles: &[]userapi.RoleRef{{Code: "admin"}}})
	require.NoError(t, err)
	tokens = w.refreshes(tokens)
	assert.Equal(t, 5*time.Minute, tokens.ExpiresAt.Sub(w.clock.Now().Truncate(time.Second)))
	w.clock.add(time.Hour)
	_, err = w.Auth.Refresh(ctx, anonymous(), tokens.Refresh)
	assert.ErrorIs(t, err, userapi.ErrTokenExpired)
}

func TestNew_lifetimes_by_role_are_no_longer_than_those_for_all(t *testing.T) {
	w := newWorld(t, nil)
	for _, lives := range []userapi.Lifetimes{{Access: 16 * time.Minute}, {Session: 31 * 24 * time.Hour}, {Idle: 15 * 24 * time.Hour}, {Access: -1}} {
		_, err := userapi.New(userapi.Config{Store: w.store, Secret: secret, RoleLifetimes: map[string]userapi.Lifetimes{"admin": lives}})
		assert.ErrorContains(t, err, "RoleLifetimes", lives)
	}
	for lives, ok := range map[userapi.Lifetimes]bool{ // a client refreshes when its token has expired: by then it was idle
		{Idle: 14 * time.Minute}: false, {Idle: 15 * time.Minute}: true,
		{Access: 5 * time.Minute, Idle: 4 * time.Minute}: false, {Access: 4 * time.Minute, Idle: 4 * time.Minute}: true,
		{Session: 4 * time.Minute, Idle: 4 * time.Minute}: true, {Session: 5 * time.Minute, Idle: 4 * time.Minute}: false,
	} {
		_, err := userapi.New(userapi.Config{Store: w.store, Secret: secret, RoleLifetimes: map[string]userapi.Lifetimes{"admin": lives}})
		assert.Equal(t, ok, err == nil, lives)
	}
	_, err := userapi.New(userapi.Config{Store: w.store, Secret: secret, RoleLifetimes: map[string]userapi.Lifetimes{"No Role": {}}})
	assert.ErrorContains(t, err, "RoleLifetimes")
}
