package userapi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
)

func TestChange_J07_a_refused_request_gives_no_budget_back(t *testing.T) {
	o := newOffice(t, func(c *userapi.Config) { c.Limits = userapi.DefaultLimits() })
	u := o.user("default", "mallory")
	_, mallory := o.login("mallory", password)
	sent := 0
	for i := range 60 { // within one second of the clock: 1 a minute, 10 a day to one mailbox are allowed
		_, _, err := o.Users.Change(ctx, mallory, u.ID, userapi.UserChange{Email: ptr("victim@example.org")})
		switch {
		case err == nil:
			sent++
			_, err := o.Deliver(ctx)
			require.NoError(t, err)
		default:
			require.ErrorIs(t, err, userapi.ErrRateLimited, "try %d", i)
		}
	}
	assert.Equal(t, 1, sent, "accepted requests within one cool-down of a minute")
	assert.Equal(t, 1, len(o.box.all("victim@example.org", userapi.PurposeEmailChange)), "mails to the victim")
}

func TestDeactivate_a_registration_that_was_banned_is_not_activated(t *testing.T) {
	o := newOffice(t, nil)
	_, _, err := o.Users.Register(ctx, anonymous(), userapi.SelfRegistration{Email: "bad@example.com", Password: password})
	require.NoError(t, err)
	token := o.receive("bad@example.com", userapi.PurposeActivation).Token
	u, err := o.Users.ByEmail(ctx, userapi.System(), "bad@example.com")
	require.NoError(t, err)
	_, admin := o.login("admin", password)
	_, err = o.Users.Deactivate(ctx, admin, u.ID) // "Deactivate ends all trust in a user until they are activated again by Change"
	require.NoError(t, err)
	_, err = o.Auth.Activate(ctx, anonymous(), token, password)
	assert.ErrorIs(t, err, userapi.ErrInvalidLink)
	assert.False(t, o.byID(u.ID).Active)
}

func TestDeactivate_an_invitation_that_was_taken_back_is_not_activated(t *testing.T) {
	o := newOffice(t, nil)
	u, err := o.Users.Create(ctx, userapi.System(), userapi.NewUser{Email: "x@example.com", CustomerID: "default"})
	require.NoError(t, err)
	_, admin := o.login("admin", password)
	require.NoError(t, o.Users.SendActivation(ctx, admin, u.ID))
	token := o.receive("x@example.com", userapi.PurposeActivation).Token
	_, err = o.Users.Deactivate(ctx, admin, u.ID) // the admin thinks better of it
	require.NoError(t, err)
	_, err = o.Auth.Activate(ctx, anonymous(), token, password)
	assert.ErrorIs(t, err, userapi.ErrInvalidLink)
}

func TestReset_a_role_that_forbids_it_counts_when_the_link_comes_back(t *testing.T) {
	o := newOffice(t, func(c *userapi.Config) { c.Verification.DenyResetRoles = []string{userapi.RoleAdmin} })
	u := o.user("default", "ada")
	token := o.resetToken("ada@example.com")
	_, _, err := o.Users.Change(ctx, userapi.System(), u.ID, userapi.UserChange{Roles: &[]userapi.RoleRef{{Code: userapi.RoleAdmin}}})
	require.NoError(t, err)
	assert.ErrorIs(t, o.Passwords.Reset(ctx, anonymous(), token, another), userapi.ErrInvalidLink)
}

func TestSessions_RevokeAll_ends_links(t *testing.T) {
	o := newOffice(t, nil)
	o.user("default", "ada")
	_, ada := o.login("ada", password)
	token := o.resetToken("ada@example.com")
	require.NoError(t, o.Contacts.RequestEmail(ctx, ada, userapi.EmailRequest{Email: "thief@example.com"}))
	change := o.receive("thief@example.com", userapi.PurposeEmailChange).Token
	o.requestReset("ada") // waits in the outbox; in a restored one, for the second time
	require.NoError(t, o.Sessions.RevokeAll(ctx, userapi.System()))
	_, _, err := o.Contacts.ConfirmEmail(ctx, anonymous(), change)
	assert.ErrorIs(t, err, userapi.ErrInvalidLink, "a pending change of the address")
	n, err := o.Deliver(ctx)
	require.NoError(t, err)
	assert.Zero(t, n, "messages of before")
	assert.ErrorIs(t, o.Passwords.Reset(ctx, anonymous(), token, another), userapi.ErrInvalidLink)
}

func TestRegister_E04_no_hook_tells_who_is_registered(t *testing.T) {
	ran := 0
	o := newOffice(t, func(c *userapi.Config) {
		count := func(context.Context, userapi.User) { ran++ }
		c.Hooks.UserCreated, c.Hooks.UserUpdated, c.Hooks.UserDeleted = count, count, count
	})
	o.user("default", "known")
	ran = 0
	for _, email := range []string{"known@example.com", "new@example.com", "new@example.com"} {
		_, _, err := o.Users.Register(ctx, anonymous(), userapi.SelfRegistration{Email: email, Password: password})
		require.NoError(t, err)
	}
	assert.Zero(t, ran, "a hook that takes its time would show")
	pending, err := o.Users.ByEmail(ctx, userapi.System(), "new@example.com")
	require.NoError(t, err)
	require.NoError(t, o.Users.Delete(ctx, userapi.System(), pending.ID))
	assert.Zero(t, ran, "nobody was told that it came, so nobody is told that it goes")
}

func TestContacts_J06_numbers_of_no_country_have_a_budget(t *testing.T) {
	o := newOffice(t, func(c *userapi.Config) {
		c.Verification.AnonymousPhone = true
		c.Limits = userapi.Limits{
			userapi.LimitPhone:    {{Max: 3, Window: time.Hour, Per: userapi.PerCountry}},
			userapi.LimitUnproven: {{Max: 3, Window: time.Hour, Per: userapi.PerCountry}},
		}
	})
	for _, prefix := range []string{"+1200555%04d", "+1555555%04d", "+4470000%05d", "+7000000%04d"} {
		passed := 0
		for i := range 20 {
			err := o.Contacts.RequestPhone(ctx, anonymous(), userapi.PhoneRequest{Phone: fmt.Sprintf(prefix, i)})
			if err == nil {
				passed++
			} else if !errors.Is(err, userapi.ErrRateLimited) {
				t.Logf("%s: %v", prefix, err)
				break
			}
		}
		assert.LessOrEqual(t, passed, 3, prefix)
	}
}

func TestContacts_a_refused_change_erases_nobody(t *testing.T) {
	o := newOffice(t, func(c *userapi.Config) {
		c.Hooks.BeforeUserUpdated = func(context.Context, userapi.User, userapi.User) error { return userapi.ErrForbidden }
	})
	o.user("default", "mallory")
	_, _, err := o.Users.Register(ctx, anonymous(), userapi.SelfRegistration{Email: "victim@example.org", Password: another})
	require.NoError(t, err)
	_, mallory := o.login("mallory", password)
	require.NoError(t, o.Contacts.RequestEmail(ctx, mallory, userapi.EmailRequest{Email: "victim@example.org"}))
	link := o.receive("victim@example.org", userapi.PurposeEmailChange).Token
	_, _, err = o.Contacts.ConfirmEmail(ctx, anonymous(), link)
	require.ErrorIs(t, err, userapi.ErrForbidden)
	_, err = o.Users.ByEmail(ctx, userapi.System(), "victim@example.org")
	assert.NoError(t, err, "nothing was changed, but the registration is gone")
}

func TestDeliver_L01_what_a_Sender_says_is_logged_without_secrets(t *testing.T) {
	var log bytes.Buffer
	o := newOffice(t, func(c *userapi.Config) {
		c.Logger = slog.New(slog.NewJSONHandler(&log, nil))
		c.Verification.ResetLink = "https://app.example.com/#{token}"
	})
	o.user("default", "ada")
	var link string
	o.box.fail = func(m userapi.Message) error {
		link = string(m.Link)
		return fmt.Errorf("550 message %q refused", link)
	}
	o.requestReset("ada")
	_, err := o.Deliver(ctx)
	require.NoError(t, err)
	require.NotEmpty(t, link)
	assert.NotContains(t, log.String(), link)
}

func TestSendActivation_J02_a_stranger_keeps_no_admin_from_inviting(t *testing.T) {
	o := newOffice(t, func(c *userapi.Config) { c.Limits = userapi.DefaultLimits() })
	u, err := o.Users.Create(ctx, userapi.System(), userapi.NewUser{Email: "x@example.com", CustomerID: "default"})
	require.NoError(t, err)
	for range 5 {
		_, _, err := o.Users.Register(ctx, userapi.Anonymous().From("203.0.113.7", ""), userapi.SelfRegistration{Email: "x@example.com"})
		require.NoError(t, err)
		o.clock.add(61 * time.Second)
	}
	assert.NoError(t, o.Users.SendActivation(ctx, userapi.System(), u.ID))
}

func TestContacts_J02_a_stranger_keeps_no_owner_from_proving(t *testing.T) {
	o := newOffice(t, func(c *userapi.Config) { c.Limits = userapi.DefaultLimits() })
	o.user("default", "owner")
	o.user("default", "mallory")
	_, mallory := o.login("mallory", password)
	for range 10 {
		require.NoError(t, o.Contacts.RequestEmail(ctx, mallory, userapi.EmailRequest{Email: "owner@example.com", CurrentPassword: password}))
		o.clock.add(61 * time.Second)
	}
	_, owner := o.login("owner", password)
	assert.NoError(t, o.Contacts.RequestEmail(ctx, owner, userapi.EmailRequest{}))
}

func TestContacts_J02_wrong_codes_without_a_code_cost_nobody_anything(t *testing.T) {
	o := newOffice(t, func(c *userapi.Config) {
		c.Verification.AnonymousPhone = true
		c.Limits = userapi.DefaultLimits()
	})
	for range 10 {
		_, err := o.Contacts.ConfirmPhone(ctx, userapi.Anonymous().From("203.0.113.7", ""), "+4930123456", "000000")
		require.ErrorIs(t, err, userapi.ErrInvalidCode)
	}
	code := o.code(anonymous(), "+4930123456")
	_, err := o.Contacts.ConfirmPhone(ctx, anonymous(), "+4930123456", code)
	assert.NoError(t, err)
}

func TestRegister_a_refused_registration_costs_no_hash(t *testing.T) {
	checks, before := 0, 0
	o := newOffice(t, func(c *userapi.Config) {
		c.Limits = userapi.DefaultLimits()
		c.Password.Check = func(context.Context, userapi.Secret) error { checks++; return nil }
		c.Hooks.BeforeUserCreated = func(context.Context, userapi.User) error { before++; return nil }
	})
	checks, before = 0, 0
	refused := 0
	for range 50 {
		_, _, err := o.Users.Register(ctx, anonymous(), userapi.SelfRegistration{Email: "new@example.com", Password: password})
		if errors.Is(err, userapi.ErrRateLimited) {
			refused++
		}
	}
	require.Equal(t, 49, refused)
	assert.Equal(t, 1, checks, "passwords checked and hashed")
	assert.Equal(t, 1, before, "calls of BeforeUserCreated")
}

func TestRegister_J09_what_was_never_activated_gives_way(t *testing.T) {
	o := newOffice(t, nil)
	squat := func(email string) {
		_, _, err := o.Users.Register(ctx, anonymous(), userapi.SelfRegistration{Email: email, Username: "boss"})
		require.NoError(t, err)
	}
	for range 20 {
		squat("victim@example.com")
		o.clock.add(70 * time.Hour)
		_, err := o.Sweep(ctx)
		require.NoError(t, err)
	}
	_, err := o.Users.Create(ctx, userapi.System(), userapi.NewUser{Email: "victim@example.com", CustomerID: "default"})
	assert.NoError(t, err, "an admin creates the victim's account")
	_, err = o.Users.Create(ctx, userapi.System(), userapi.NewUser{Username: "boss", CustomerID: "default"})
	assert.NoError(t, err, "a username that nobody uses, after two months")
}

func TestContacts_B13_an_ended_session_keeps_no_mark(t *testing.T) {
	o := newOffice(t, nil)
	u := o.user("default", "ada")
	tokens, ada := o.login("ada", password)
	_, err := o.Contacts.ConfirmPhone(ctx, ada, "+4930111111", o.code(ada, "+4930111111"))
	require.NoError(t, err)
	require.NoError(t, o.Contacts.RequestEmail(ctx, ada, userapi.EmailRequest{}))
	link := o.receive("ada@example.com", userapi.PurposeEmail).Token
	require.NoError(t, o.Auth.Logout(ctx, anonymous(), tokens.Access))
	_, fresh, err := o.Contacts.ConfirmEmail(ctx, ada, link)
	require.NoError(t, err)
	require.True(t, fresh.IsZero())
	assert.False(t, o.byID(u.ID).PhoneVerified, `"The actor's own session goes on … and so does the mark then"`)
}

func TestNotices_J07_have_a_budget(t *testing.T) {
	o := newOffice(t, func(c *userapi.Config) {
		c.Registration.Policy, c.Limits = userapi.RegistrationOpen, userapi.DefaultLimits()
	})
	u, tokens, err := o.Users.Register(ctx, anonymous(), userapi.SelfRegistration{Email: "victim@example.com", Password: password})
	require.NoError(t, err)
	mallory := o.actor(tokens)
	for i := range 40 {
		_, tokens, err := o.Passwords.Set(ctx, mallory, u.ID, userapi.Secret(fmt.Sprintf("another password %d", i)), "")
		require.NoError(t, err)
		mallory = o.actor(tokens)
	}
	_, err = o.Deliver(ctx)
	require.NoError(t, err)
	assert.Len(t, o.box.all("victim@example.com", userapi.PurposeNotice), 5, "mails to an address nobody proved, within a second")

	// Where the address is proven, its owner hears of everything.
	_, _, err = o.Users.Change(ctx, userapi.System(), u.ID, userapi.UserChange{EmailVerified: ptr(true)})
	require.NoError(t, err)
	for i := range 7 {
		_, _, err := o.Passwords.Set(ctx, userapi.System(), u.ID, userapi.Secret(fmt.Sprintf("password of a thief %d", i)), "")
		require.NoError(t, err)
	}
	_, err = o.Deliver(ctx)
	require.NoError(t, err)
	assert.Len(t, o.box.all("victim@example.com", userapi.PurposeNotice), 5+7)
}

func TestChange_a_proven_number_does_not_go_unnoticed(t *testing.T) {
	o := newOffice(t, nil)
	u := o.user("default", "ada")
	_, ada := o.login("ada", password)
	_, err := o.Contacts.ConfirmPhone(ctx, ada, "+4930111111", o.code(ada, "+4930111111"))
	require.NoError(t, err)
	o.silent("ada@example.com", userapi.PurposeNotice)
	_, _, err = o.Users.Change(ctx, ada, u.ID, userapi.UserChange{Phone: ptr("+4930222222")})
	require.NoError(t, err)
	assert.Equal(t, userapi.NoticePhoneChanged, o.receive("ada@example.com", userapi.PurposeNotice).Notice)
}

func TestRegister_what_was_never_activated_gives_way_to_nobody_else(t *testing.T) {
	o := newOffice(t, nil)
	o.customer("elsewhere", 0)
	_, _, err := o.Users.Register(ctx, anonymous(), userapi.SelfRegistration{Email: "new@example.com", Username: "wanted", Password: password})
	require.NoError(t, err)
	u := o.user("default", "ada")
	_, ada := o.login("ada", password)
	_, _, err = o.Users.Change(ctx, ada, u.ID, userapi.UserChange{Username: ptr("wanted")})
	assert.ErrorIs(t, err, userapi.ErrUsernameTaken, "to a user")
	o.user("elsewhere", "boss", userapi.RoleAdmin)
	_, boss := o.login("boss", password)
	_, err = o.Users.Create(ctx, boss, userapi.NewUser{Email: "new@example.com"})
	assert.ErrorIs(t, err, userapi.ErrEmailTaken, "to an admin of another customer")
	_, admin := o.login("admin", password)
	_, _, err = o.Users.Change(ctx, admin, u.ID, userapi.UserChange{Username: ptr("wanted")})
	assert.NoError(t, err, "to an admin it does")
	created, err := o.Bootstrap(ctx, userapi.Bootstrap{Email: "new@example.com", Password: password})
	require.NoError(t, err)
	assert.True(t, created)
}

func TestDeliver_a_Sender_that_ends_its_goroutine_holds_nobody_up(t *testing.T) {
	o := newOffice(t, nil)
	o.user("default", "ada")
	o.requestReset("ada")
	o.box.fail = func(userapi.Message) error { runtime.Goexit(); return nil }
	_, err := o.Deliver(ctx)
	assert.ErrorContains(t, err, "INTERNAL")
}

// gone is a store in which the sweeper is always faster.
type gone struct{ userapi.Store }

func TestContacts_a_registration_swept_meanwhile_refuses_no_good_link(t *testing.T) {
	o := newOffice(t, nil)
	o.user("default", "ada")
	_, _, err := o.Users.Register(ctx, anonymous(), userapi.SelfRegistration{Email: "new@example.org", Password: another})
	require.NoError(t, err)
	_, ada := o.login("ada", password)
	require.NoError(t, o.Contacts.RequestEmail(ctx, ada, userapi.EmailRequest{Email: "new@example.org"}))
	link := o.receive("new@example.org", userapi.PurposeEmailChange).Token
	api := o.second(func(c *userapi.Config) { o.wire(c, nil); c.Store = gone{o.store} })
	_, _, err = api.Contacts.ConfirmEmail(ctx, anonymous(), link)
	assert.NoError(t, err)
}

func (g gone) DeleteUser(ctx context.Context, w userapi.UserDelete) error {
	if err := g.Store.DeleteUser(ctx, w); err != nil {
		return err
	}
	return userapi.ErrNotFound
}

// typedNil is an error that cannot be asked anything.
type typedNil struct{ text string }

func (e *typedNil) Error() string { return e.text }

func TestDeliver_an_error_that_panics_ends_nothing(t *testing.T) {
	o := newOffice(t, nil)
	o.user("default", "ada")
	o.user("default", "bob")
	o.box.fail = func(m userapi.Message) error {
		if m.To == "ada@example.com" {
			var none *typedNil
			return none
		}
		return nil
	}
	o.requestReset("ada")
	o.requestReset("bob")
	_, err := o.Deliver(ctx)
	assert.ErrorContains(t, err, "INTERNAL")
	assert.Len(t, o.box.all("bob@example.com", userapi.PurposeReset), 1)
}
