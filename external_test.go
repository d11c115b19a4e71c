package userapi_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
)

func identity(subject, email string) userapi.ExternalIdentity {
	return userapi.ExternalIdentity{Provider: "corp", Subject: subject, Email: email, EmailVerified: true, Name: "Anna"}
}

func (w *world) external(e userapi.ExternalIdentity) (userapi.User, userapi.Tokens, error) {
	w.t.Helper()
	return w.Auth.LoginExternal(ctx, anonymous(), e)
}

// proven creates an active user whose e-mail address is proven.
func (w *world) proven(username string) userapi.User {
	w.t.Helper()
	u := w.user("default", username)
	u, _, err := w.Users.Change(ctx, userapi.System(), u.ID, userapi.UserChange{EmailVerified: ptr(true)})
	require.NoError(w.t, err)
	return u
}

func TestLoginExternal_finds_the_account_by_its_proven_address_and_then_by_its_link(t *testing.T) {
	w := newWorld(t, nil)
	anna := w.proven("anna")
	for _, email := range []string{"anna@example.com", " ANNA@example.com", "moved@elsewhere.example"} {
		user, tokens, err := w.external(identity("1", email))
		require.NoError(t, err, email)
		assert.Equal(t, anna.ID, user.ID)
		assert.Equal(t, w.clock.Now().Truncate(1e6), user.LastLogin)
		id, err := w.Auth.Authenticate(ctx, string(tokens.Access))
		require.NoError(t, err)
		assert.Equal(t, []string{"ext"}, id.Methods())
		w.refreshes(tokens)
	}
	_, _, err := w.external(identity("2", "anna@example.com"))
	assert.ErrorIs(t, err, userapi.ErrExternalRefused, "the mailbox has changed hands: the provider calls another by it")
	other := identity("2", "anna@example.com")
	other.Provider = "club"
	user, _, err := w.external(other)
	require.NoError(t, err)
	assert.Equal(t, anna.ID, user.ID, "each provider has a link of its own")
}

func TestLoginExternal_lets_nobody_in_who_is_not_vouched_for(t *testing.T) {
	for _, policy := range []userapi.ExternalPolicy{"", userapi.ExternalClosed, userapi.ExternalOpen, userapi.ExternalAuto} {
		w := newWorld(t, func(c *userapi.Config) {
			c.External, c.Registration.Customer = policy, "default"
		})
		w.user("default", "unproven") // by whomever it was registered
		off := w.proven("off")
		_, _, err := w.external(identity("off", "off@example.com"))
		require.NoError(t, err)
		_, err = w.Users.Deactivate(ctx, userapi.System(), off.ID)
		require.NoError(t, err)
		w.proven("anna")
		unverified := identity("9", "anna@example.com")
		unverified.EmailVerified = false
		for name, e := range map[string]userapi.ExternalIdentity{
			"an address nobody has proven here": identity("1", "unproven@example.com"),
			"inactive, by link":                 identity("off", "off@example.com"),
			"inactive, by address":              identity("new", "off@example.com"),
			"not verified by the provider":      unverified,
			"no address":                        identity("3", ""),
			"something else":                    identity("3", "anna"),
		} {
			_, tokens, err := w.external(e)
			assert.ErrorIs(t, err, userapi.ErrExternalRefused, "%s: %s", policy, name)
			assert.True(t, tokens.IsZero())
		}
		for _, e := range []userapi.ExternalIdentity{
			{Subject: "1", Email: "anna@example.com", EmailVerified: true}, {Provider: "corp", Email: "anna@example.com", EmailVerified: true},
			{Provider: "Corp:", Subject: "1", Email: "anna@example.com", EmailVerified: true},
			{Provider: "corp", Subject: strings.Repeat("x", 256), Email: "anna@example.com", EmailVerified: true},
		} {
			_, _, err := w.external(e)
			assert.ErrorIs(t, err, userapi.ErrInvalid)
		}
		_, _, err = w.Auth.LoginExternal(ctx, userapi.Actor{}, identity("1", "anna@example.com"))
		assert.ErrorContains(t, err, "zero Actor")
	}
}

// overtaken does something just before the first write of a credential or an API key, or, where it is early, look at an account.
type overtaken struct {
	userapi.Store
	early  bool // before such a look, and before an account is added, too
	before func()
}

func (s *overtaken) overtake() {
	if before := s.before; before != nil {
		s.before = nil
		before()
	}
}

func (s *overtaken) PutCredential(ctx context.Context, w userapi.CredentialWrite) error {
	s.overtake()
	return s.Store.PutCredential(ctx, w)
}

func (s *overtaken) AccountByID(ctx context.Context, scope userapi.Scope, id string) (userapi.Account, error) {
	if s.early {
		s.overtake()
	}
	return s.Store.AccountByID(ctx, scope, id)
}

func (s *overtaken) InsertUser(ctx context.Context, w userapi.UserInsert) error {
	if s.early {
		s.overtake()
	}
	return s.Store.InsertUser(ctx, w)
}

func (s *overtaken) InsertKey(ctx context.Context, w userapi.KeyInsert) error {
	s.overtake()
	return s.Store.InsertKey(ctx, w)
}

func (s *overtaken) ChangeKey(ctx context.Context, w userapi.KeyUpdate) error {
	s.overtake()
	return s.Store.ChangeKey(ctx, w)
}

// What an account is linked by is what it is at that moment, not what it was when it was found.
func TestLoginExternal_links_no_account_that_changes_meanwhile(t *testing.T) {
	for name, change := range map[string]func(w *world, anna userapi.User){
		"its address is another": func(w *world, anna userapi.User) {
			_, _, err := w.Users.Change(ctx, userapi.System(), anna.ID, userapi.UserChange{Email: ptr("new@example.com")})
			require.NoError(w.t, err)
		},
		"another of the provider's is linked": func(w *world, anna userapi.User) {
			_, _, err := w.external(identity("another", "anna@example.com"))
			require.NoError(w.t, err)
		},
		"it is erased": func(w *world, anna userapi.User) {
			require.NoError(w.t, w.Users.Delete(ctx, userapi.System(), anna.ID))
		},
		"it is inactive": func(w *world, anna userapi.User) {
			_, err := w.Users.Deactivate(ctx, userapi.System(), anna.ID)
			require.NoError(w.t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			anna := w.proven("anna")
			st := &overtaken{Store: w.store, before: func() { change(w, anna) }}
			late := w.second(func(c *userapi.Config) { c.Store = st })
			_, _, err := late.Auth.LoginExternal(ctx, anonymous(), identity("1", "anna@example.com"))
			require.ErrorIs(t, err, userapi.ErrExternalRefused)
			assert.Nil(t, st.before)
			_, _, err = w.external(identity("1", "elsewhere@example.com"))
			assert.ErrorIs(t, err, userapi.ErrExternalRefused, "no link was left")
		})
	}
}

func TestLoginExternal_of_an_account_that_goes_meanwhile(t *testing.T) {
	w := newWorld(t, nil)
	anna := w.proven("anna")
	_, _, err := w.external(identity("1", "anna@example.com"))
	require.NoError(t, err)
	st := &overtaken{Store: w.store, early: true, before: func() { require.NoError(t, w.Users.Delete(ctx, userapi.System(), anna.ID)) }}
	late := w.second(func(c *userapi.Config) { c.Store = st })
	_, _, err = late.Auth.LoginExternal(ctx, anonymous(), identity("1", "anna@example.com"))
	require.ErrorIs(t, err, userapi.ErrExternalRefused)
	assert.Nil(t, st.before)
}

func TestLoginExternal_of_somebody_new_who_comes_twice(t *testing.T) {
	auto := func(c *userapi.Config) { c.External, c.Registration.Customer = userapi.ExternalAuto, "default" }
	w := newWorld(t, auto)
	var first userapi.User
	st := &overtaken{Store: w.store, early: true, before: func() {
		var err error
		first, _, err = w.external(identity("1", "anna@example.com"))
		require.NoError(t, err)
	}}
	late := w.second(func(c *userapi.Config) {
		auto(c)
		c.Store = st
	})
	second, _, err := late.Auth.LoginExternal(ctx, anonymous(), identity("1", "anna@example.com"))
	require.NoError(t, err)
	assert.Equal(t, first.ID, second.ID)
	assert.Nil(t, st.before)
}

func TestLoginExternal_policies(t *testing.T) {
	t.Run("closed", func(t *testing.T) {
		w := newWorld(t, nil)
		_, _, err := w.external(identity("1", "anna@example.com"))
		assert.ErrorIs(t, err, userapi.ErrExternalRefused)
		_, err = w.Users.ByEmail(ctx, userapi.System(), "anna@example.com")
		assert.ErrorIs(t, err, userapi.ErrNotFound)
	})
	t.Run("auto", func(t *testing.T) {
		w := newWorld(t, func(c *userapi.Config) {
			c.External, c.Registration = userapi.ExternalAuto, userapi.Registration{Customer: "default", Roles: []string{"service"}}
		})
		user, tokens, err := w.external(identity("1", "Anna@example.com"))
		require.NoError(t, err)
		w.accepted(tokens)
		assert.True(t, user.Active && user.EmailVerified && user.HasRole("service"))
		assert.Equal(t, []string{"Anna@example.com", "default", "Anna"}, []string{user.Email, user.CustomerID, user.Name})
		again, _, err := w.external(identity("1", "Anna@example.com"))
		require.NoError(t, err)
		assert.Equal(t, user.ID, again.ID)
		_, _, err = w.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "anna@example.com", Password: password})
		assert.ErrorIs(t, err, userapi.ErrBadCredentials, "there is no password")
	})
	t.Run("open", func(t *testing.T) {
		o := newOffice(t, func(c *userapi.Config) {
			c.External, c.Registration.Customer, c.Limits = userapi.ExternalOpen, "default", userapi.Limits{}
		})
		for range 2 { // who has not confirmed is mailed again
			user, tokens, err := o.external(identity("1", "anna@example.com"))
			require.NoError(t, err)
			assert.True(t, tokens.IsZero() && user.ID == "")
		}
		activated, err := o.Auth.Activate(ctx, anonymous(), o.receive("anna@example.com", userapi.PurposeActivation).Token, password)
		require.NoError(t, err)
		user, tokens, err := o.external(identity("1", "anna@example.com"))
		require.NoError(t, err)
		assert.Equal(t, activated.ID, user.ID)
		o.accepted(tokens)
	})
	t.Run("auto takes the place of a registration that was never activated", func(t *testing.T) {
		o := newOffice(t, func(c *userapi.Config) {
			c.External, c.Registration = userapi.ExternalAuto, userapi.Registration{Policy: userapi.RegistrationVerify, Customer: "default"}
		})
		_, _, err := o.Users.Register(ctx, anonymous(), userapi.SelfRegistration{Email: "anna@example.com", Password: another})
		require.NoError(t, err)
		user, _, err := o.external(identity("1", "anna@example.com"))
		require.NoError(t, err)
		assert.True(t, user.Active)
		_, _, err = o.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "anna@example.com", Password: another})
		assert.ErrorIs(t, err, userapi.ErrBadCredentials)
	})
}

// Whoever had the mailbox for a while may have linked an account of theirs: a reset by its owner shuts that out.
func TestLoginExternal_a_reset_ends_the_links(t *testing.T) {
	o := newOffice(t, nil)
	anna := o.proven("anna")
	_, _, err := o.external(identity("of the thief", "anna@example.com"))
	require.NoError(t, err)
	_, err = o.Credentials.Put(ctx, userapi.System(), userapi.Credential{UserID: anna.ID, Kind: "totp", Key: "k"}, "")
	require.NoError(t, err)
	require.NoError(t, o.Passwords.RequestReset(ctx, anonymous(), userapi.ResetRequest{Identifier: "anna"}))
	require.NoError(t, o.Passwords.Reset(ctx, anonymous(), o.receive("anna@example.com", userapi.PurposeReset).Token, another))
	_, _, err = o.external(identity("of the thief", "thief@example.com"))
	assert.ErrorIs(t, err, userapi.ErrExternalRefused)
	user, _, err := o.external(identity("her own", "anna@example.com"))
	require.NoError(t, err)
	assert.Equal(t, anna.ID, user.ID)
	left, err := o.Credentials.Of(ctx, userapi.System(), anna.ID, "totp")
	require.NoError(t, err)
	assert.Len(t, left, 1, "a second factor is not skipped")
}

func TestLoginExternal_does_not_ask_for_a_new_password(t *testing.T) {
	w := newWorld(t, nil)
	anna := w.proven("anna")
	_, _, err := w.Users.Change(ctx, userapi.System(), anna.ID, userapi.UserChange{MustChangePassword: ptr(true)})
	require.NoError(t, err)
	_, tokens, err := w.external(identity("1", "anna@example.com"))
	require.NoError(t, err)
	w.accepted(tokens)
}

func TestLoginExternal_asks_for_the_second_factor(t *testing.T) {
	_, wire := withFactor("anna")
	w := newWorld(t, wire)
	w.proven("anna")
	_, tokens, err := w.external(identity("1", "anna@example.com"))
	require.NoError(t, err)
	require.Equal(t, userapi.StepSecondFactor, tokens.Step)
	id, err := w.Auth.AuthenticateStep(ctx, string(tokens.Access), userapi.StepSecondFactor)
	require.NoError(t, err)
	_, whole, err := w.Auth.CompleteLogin(ctx, id.Actor(), "otp", says(true))
	require.NoError(t, err)
	w.accepted(whole)
}

// Somebody new who logs in many times at once becomes one account with one link.
func TestLoginExternal_at_once(t *testing.T) {
	auto := func(c *userapi.Config) {
		c.External, c.Registration.Customer = userapi.ExternalAuto, "default"
	}
	w := newWorld(t, auto)
	other := w.second(auto)
	ids, errs := make([]string, 64), make([]error, 64)
	var all sync.WaitGroup
	for i := range ids {
		api := []*userapi.API{w.API, other}[i%2]
		all.Go(func() {
			var u userapi.User
			u, _, errs[i] = api.Auth.LoginExternal(ctx, anonymous(), identity("1", "anna@example.com"))
			ids[i] = u.ID
		})
	}
	all.Wait()
	for i := range ids {
		require.NoError(t, errs[i])
		assert.Equal(t, ids[0], ids[i])
	}
	links, err := w.Credentials.Of(ctx, userapi.System(), ids[0], "external")
	require.NoError(t, err)
	assert.Len(t, links, 1)
}
