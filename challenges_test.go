package userapi_test

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

	"github.com/userapi/userapi"
)

// postbox is a Sender that keeps what it is given, or refuses it.
type postbox struct {
	mu   sync.Mutex
	got  []userapi.Message
	fail func(m userapi.Message) error
}

func (b *postbox) Send(_ context.Context, m userapi.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		if err := b.fail(m); err != nil {
			return err
		}
	}
	b.got = append(b.got, m)
	return nil
}

func (b *postbox) all(to string, purpose userapi.Purpose) []userapi.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []userapi.Message
	for _, m := range b.got {
		if m.To == to && m.Purpose == purpose {
			found = append(found, m)
		}
	}
	return found
}

// office is a world whose messages arrive in a postbox.
type office struct {
	*world
	box    *postbox
	events func() []userapi.Event
}

func newOffice(t *testing.T, change func(*userapi.Config)) *office {
	t.Helper()
	box := &postbox{}
	o := &office{box: box}
	o.world = newWorld(t, func(c *userapi.Config) { o.wire(c, change) })
	o.events = o.store.Events
	return o
}

func (o *office) wire(c *userapi.Config, change func(*userapi.Config)) {
	c.Verification.Mail, c.Verification.SMS = o.box, o.box
	c.Registration = userapi.Registration{Policy: userapi.RegistrationVerify, Customer: "default"}
	c.Limits = userapi.Limits{}
	if change != nil {
		change(c)
	}
}

// receive sends what waits, and gives the last message for a purpose.
func (o *office) receive(to string, purpose userapi.Purpose) userapi.Message {
	o.t.Helper()
	_, err := o.Deliver(ctx)
	require.NoError(o.t, err)
	found := o.box.all(to, purpose)
	require.NotEmpty(o.t, found, "a message for %s to %s", purpose, to)
	return found[len(found)-1]
}

func (o *office) silent(to string, purpose userapi.Purpose) {
	o.t.Helper()
	_, err := o.Deliver(ctx)
	require.NoError(o.t, err)
	assert.Empty(o.t, o.box.all(to, purpose))
}

func (o *office) count(kind userapi.EventKind) int {
	n := 0
	for _, e := range o.events() {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

func (o *office) requestReset(identifier string) {
	o.t.Helper()
	require.NoError(o.t, o.Passwords.RequestReset(ctx, anonymous(), userapi.ResetRequest{Identifier: identifier}))
}

func (o *office) resetToken(email string) userapi.Secret {
	o.t.Helper()
	o.requestReset(email)
	return o.receive(email, userapi.PurposeReset).Token
}

func (o *office) code(actor userapi.Actor, phone string) userapi.Secret {
	o.t.Helper()
	require.NoError(o.t, o.Contacts.RequestPhone(ctx, actor, userapi.PhoneRequest{Phone: phone}))
	return o.receive(phone, userapi.PurposePhone).Code
}

func (o *office) byID(id string) userapi.User {
	o.t.Helper()
	u, err := o.Users.ByID(ctx, userapi.System(), id)
	require.NoError(o.t, err)
	return u
}

// wrong is a code of six digits that is not this one.
func wrong(code userapi.Secret) userapi.Secret {
	if code == "000000" {
		return "000001"
	}
	return "000000"
}

func TestReset(t *testing.T) {
	updated := 0
	o := newOffice(t, func(c *userapi.Config) {
		c.Hooks.UserUpdated = func(context.Context, userapi.User) { updated++ }
		c.Verification.ResetLink = "https://app.example.com/reset#token={token}"
	})
	u := o.user("default", "ada")
	tokens, _ := o.login("ada", password)

	o.requestReset("ADA@example.com ")
	_, _ = o.login("ada", password) // the request alone changes nothing
	m := o.receive("ada@example.com", userapi.PurposeReset)
	assert.Equal(t, "https://app.example.com/reset#token="+string(m.Token), string(m.Link))
	assert.Equal(t, o.clock.Now().Add(time.Hour).Truncate(time.Millisecond), m.ExpiresAt)

	for _, weak := range []userapi.Secret{"short", "password123", "ada@example.com"} {
		assert.ErrorIs(t, o.Passwords.Reset(ctx, anonymous(), m.Token, weak), userapi.ErrWeakPassword)
	}
	for _, none := range []userapi.Secret{"", userapi.Secret(strings.Repeat("x", 1025)), "nul\x00"} {
		assert.ErrorIs(t, o.Passwords.Reset(ctx, anonymous(), m.Token, none), userapi.ErrInvalid)
	}
	for range 10 { // more than there are tries: a weak password is none
		require.ErrorIs(t, o.Passwords.Reset(ctx, anonymous(), m.Token, "short"), userapi.ErrWeakPassword)
	}
	updated = 0
	require.NoError(t, o.Passwords.Reset(ctx, anonymous(), m.Token, another))
	assert.Equal(t, 1, updated)
	o.refused(tokens)
	o.refreshRefused(tokens)
	_, _, err := o.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "ada", Password: password})
	assert.ErrorIs(t, err, userapi.ErrBadCredentials)
	_, _ = o.login("ada", another)
	assert.True(t, o.byID(u.ID).EmailVerified, "the token came back: the mailbox is proven")
	assert.Equal(t, userapi.NoticePasswordChanged, o.receive("ada@example.com", userapi.PurposeNotice).Notice)

	assert.ErrorIs(t, o.Passwords.Reset(ctx, anonymous(), m.Token, password), userapi.ErrInvalidLink, "it is good once")
	assert.Equal(t, 1, o.count(userapi.EventResetAsked))
	assert.Equal(t, 1, o.count(userapi.EventPasswordReset))
}

func TestReset_is_for_active_accounts_with_a_mailbox(t *testing.T) {
	o := newOffice(t, func(c *userapi.Config) { c.Verification.DenyResetRoles = []string{"root"} })
	o.role("root")
	o.user("default", "rooted", "root")
	gone := o.user("default", "gone")
	_, err := o.Users.Deactivate(ctx, userapi.System(), gone.ID)
	require.NoError(t, err)
	_, _, err = o.Users.Register(ctx, anonymous(), userapi.SelfRegistration{Email: "pending@example.com", Password: password})
	require.NoError(t, err)
	for _, email := range []string{"rooted@example.com", "gone@example.com", "pending@example.com", "nobody@example.com"} {
		o.requestReset(email)
		o.silent(email, userapi.PurposeReset)
	}
	o.requestReset("admin") // has no address
	for _, none := range []string{"", "a@b@c", "@", "no\x00name", "+49"} {
		err := o.Passwords.RequestReset(ctx, anonymous(), userapi.ResetRequest{Identifier: none})
		assert.ErrorIs(t, err, userapi.ErrInvalid, "%q", none)
	}
}

func TestReset_a_password_less_account_gets_its_first(t *testing.T) {
	o := newOffice(t, nil)
	_, err := o.Users.Create(ctx, userapi.System(), userapi.NewUser{Email: "invited@example.com", Active: true, CustomerID: "default"})
	require.NoError(t, err)
	require.NoError(t, o.Passwords.Reset(ctx, anonymous(), o.resetToken("invited@example.com"), another))
	_, _ = o.login("invited@example.com", another)
}

func TestReset_without_a_sender_nothing_can_be_sent(t *testing.T) {
	w := newWorld(t, func(c *userapi.Config) {
		c.Registration = userapi.Registration{Policy: userapi.RegistrationVerify, Customer: "default"}
	})
	w.user("default", "ada")
	_, ada := w.login("ada", password)
	assert.ErrorIs(t, w.Passwords.RequestReset(ctx, anonymous(), userapi.ResetRequest{Identifier: "ada"}), userapi.ErrNoSender)
	assert.ErrorIs(t, w.Contacts.RequestEmail(ctx, ada, userapi.EmailRequest{}), userapi.ErrNoSender)
	assert.ErrorIs(t, w.Contacts.RequestPhone(ctx, ada, userapi.PhoneRequest{Phone: "+4930123456"}), userapi.ErrNoSender)
	_, _, err := w.Users.Register(ctx, anonymous(), userapi.SelfRegistration{Email: "new@example.com", Password: password})
	assert.ErrorIs(t, err, userapi.ErrNoSender)
	_, err = w.Deliver(ctx)
	assert.ErrorIs(t, err, userapi.ErrNoSender)
}

func TestReset_B13_a_first_proof_of_the_mailbox_takes_back_what_was_proven_before(t *testing.T) {
	o := newOffice(t, nil)
	victim := o.user("default", "victim") // registered by an attacker, who knows the password
	stolen, attacker := o.login("victim", password)
	_, err := o.Contacts.ConfirmPhone(ctx, attacker, "+4930111111", o.code(attacker, "+4930111111"))
	require.NoError(t, err)
	require.NoError(t, o.Contacts.RequestEmail(ctx, attacker, userapi.EmailRequest{Email: "attacker@example.com"}))
	change := o.receive("attacker@example.com", userapi.PurposeEmailChange).Token
	code := o.code(attacker, "+4930222222")

	require.NoError(t, o.Passwords.Reset(ctx, anonymous(), o.resetToken("victim@example.com"), another))
	o.refused(stolen)
	o.refreshRefused(stolen)
	_, _, err = o.Contacts.ConfirmEmail(ctx, anonymous(), change)
	assert.ErrorIs(t, err, userapi.ErrInvalidLink)
	_, err = o.Contacts.ConfirmPhone(ctx, attacker, "+4930222222", code)
	assert.ErrorIs(t, err, userapi.ErrInvalidCode)
	after := o.byID(victim.ID)
	assert.Equal(t, "victim@example.com", after.Email)
	assert.False(t, after.PhoneVerified)

	// An owner who had both proven keeps both.
	owner := o.user("default", "owner")
	_, actor := o.login("owner", password)
	require.NoError(t, o.Contacts.RequestEmail(ctx, actor, userapi.EmailRequest{}))
	_, tokens, err := o.Contacts.ConfirmEmail(ctx, actor, o.receive("owner@example.com", userapi.PurposeEmail).Token)
	require.NoError(t, err)
	actor = o.actor(tokens)
	_, err = o.Contacts.ConfirmPhone(ctx, actor, "+4930333333", o.code(actor, "+4930333333"))
	require.NoError(t, err)
	require.NoError(t, o.Passwords.Reset(ctx, anonymous(), o.resetToken("owner@example.com"), another))
	assert.True(t, o.byID(owner.ID).PhoneVerified)
}

func TestChallenge_D04_ends_at_its_moment(t *testing.T) {
	o := newOffice(t, nil)
	o.user("default", "ada")
	_, ada := o.login("ada", password)
	token, code := o.resetToken("ada@example.com"), o.code(ada, "+4930123456")
	o.clock.add(10*time.Minute - time.Millisecond)
	_, err := o.Contacts.ConfirmPhone(ctx, ada, "+4930123456", code)
	require.NoError(t, err)
	code = o.code(ada, "+4930123456")
	o.clock.add(10 * time.Minute)
	_, err = o.Contacts.ConfirmPhone(ctx, ada, "+4930123456", code)
	assert.ErrorIs(t, err, userapi.ErrInvalidCode, "at the very moment")
	o.clock.add(40*time.Minute + time.Millisecond)
	assert.ErrorIs(t, o.Passwords.Reset(ctx, anonymous(), token, another), userapi.ErrInvalidLink)
	token = o.resetToken("ada@example.com")
	o.clock.add(time.Hour - time.Millisecond)
	assert.NoError(t, o.Passwords.Reset(ctx, anonymous(), token, another))
}

func TestChallenge_D05_is_good_for_its_account_purpose_and_address_alone(t *testing.T) {
	o := newOffice(t, nil)
	o.user("default", "ada")
	o.user("default", "bob")
	_, ada := o.login("ada", password)
	_, bob := o.login("bob", password)
	_, _, err := o.Users.Register(ctx, anonymous(), userapi.SelfRegistration{Email: "new@example.com", Password: password})
	require.NoError(t, err)
	require.NoError(t, o.Contacts.RequestEmail(ctx, ada, userapi.EmailRequest{}))
	require.NoError(t, o.Contacts.RequestEmail(ctx, bob, userapi.EmailRequest{Email: "bob@example.org"}))
	tokens := map[userapi.Purpose]userapi.Secret{
		userapi.PurposeReset:       o.resetToken("ada@example.com"),
		userapi.PurposeActivation:  o.receive("new@example.com", userapi.PurposeActivation).Token,
		userapi.PurposeEmail:       o.receive("ada@example.com", userapi.PurposeEmail).Token,
		userapi.PurposeEmailChange: o.receive("bob@example.org", userapi.PurposeEmailChange).Token,
	}
	takes := map[string][]userapi.Purpose{
		"reset": {userapi.PurposeReset}, "activate": {userapi.PurposeActivation},
		"email": {userapi.PurposeEmail, userapi.PurposeEmailChange},
	}
	for name, good := range takes {
		for purpose, token := range tokens {
			if !strings.Contains(fmt.Sprint(good), string(purpose)) {
				var err error
				switch name {
				case "reset":
					err = o.Passwords.Reset(ctx, anonymous(), token, another)
				case "activate":
					_, err = o.Auth.Activate(ctx, anonymous(), token, password)
				case "email":
					_, _, err = o.Contacts.ConfirmEmail(ctx, anonymous(), token)
				}
				assert.ErrorIs(t, err, userapi.ErrInvalidLink, "%s takes a token for %s", name, purpose)
			}
		}
	}

	code := o.code(ada, "+4930123456")
	_, err = o.Contacts.ConfirmPhone(ctx, bob, "+4930123456", code)
	assert.ErrorIs(t, err, userapi.ErrInvalidCode, "another's")
	o.code(bob, "+4930123457")
	_, err = o.Contacts.ConfirmPhone(ctx, bob, "+4930123457", code)
	assert.ErrorIs(t, err, userapi.ErrInvalidCode, "another's")
	_, err = o.Contacts.ConfirmPhone(ctx, ada, "+4930123457", code)
	assert.ErrorIs(t, err, userapi.ErrInvalidCode, "another number")
	next := o.code(ada, "+4930123456")
	if next != code {
		_, err = o.Contacts.ConfirmPhone(ctx, ada, "+4930123456", code)
		assert.ErrorIs(t, err, userapi.ErrInvalidCode, "the one before")
	}
	_, err = o.Contacts.ConfirmPhone(ctx, ada, "+4930123456", next)
	assert.NoError(t, err)

	first := o.resetToken("ada@example.com")
	second := o.resetToken("ada@example.com")
	assert.ErrorIs(t, o.Passwords.Reset(ctx, anonymous(), first, another), userapi.ErrInvalidLink)
	assert.NoError(t, o.Passwords.Reset(ctx, anonymous(), second, another))
}

func TestChallenge_D06_is_void_when_the_account_changes(t *testing.T) {
	o := newOffice(t, nil)
	o.customer("elsewhere", 0)
	changes := map[string]func(id string) error{
		"password": func(id string) error {
			_, _, err := o.Passwords.Set(ctx, userapi.System(), id, "a third password", "")
			return err
		},
		"e-mail": func(id string) error {
			_, _, err := o.Users.Change(ctx, userapi.System(), id, userapi.UserChange{Email: ptr(id + "@example.net")})
			return err
		},
		"off and on again": func(id string) error {
			if _, err := o.Users.Deactivate(ctx, userapi.System(), id); err != nil {
				return err
			}
			_, _, err := o.Users.Change(ctx, userapi.System(), id, userapi.UserChange{Active: ptr(true)})
			return err
		},
		"moved": func(id string) error {
			_, _, err := o.Users.Change(ctx, userapi.System(), id, userapi.UserChange{CustomerID: ptr("elsewhere")})
			return err
		},
		"erased": func(id string) error { return o.Users.Delete(ctx, userapi.System(), id) },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			email := strings.ReplaceAll(name, " ", "-") + "@example.com"
			u, err := o.Users.Create(ctx, userapi.System(), userapi.NewUser{Email: email, Password: password, Active: true, CustomerID: "default"})
			require.NoError(t, err)
			_, actor := o.login(email, password)
			token, code := o.resetToken(email), o.code(actor, "+4930123456")
			require.NoError(t, o.Contacts.RequestEmail(ctx, actor, userapi.EmailRequest{Email: "to-" + email}))
			link := o.receive("to-"+email, userapi.PurposeEmailChange).Token
			o.requestReset(email) // not sent yet
			require.NoError(t, change(u.ID))
			sent := len(o.box.all(email, userapi.PurposeReset))
			_, err = o.Deliver(ctx)
			require.NoError(t, err)
			assert.Len(t, o.box.all(email, userapi.PurposeReset), sent, "what was not sent yet never is")
			assert.ErrorIs(t, o.Passwords.Reset(ctx, anonymous(), token, another), userapi.ErrInvalidLink)
			_, _, err = o.Contacts.ConfirmEmail(ctx, anonymous(), link)
			assert.ErrorIs(t, err, userapi.ErrInvalidLink)
			_, err = o.Contacts.ConfirmPhone(ctx, actor, "+4930123456", code)
			assert.ErrorIs(t, err, userapi.ErrInvalidCode)
		})
	}

	u := o.user("default", "ada")
	_, ada := o.login("ada", password)
	token, code := o.resetToken("ada@example.com"), o.code(ada, "+4930123456")
	_, _, err := o.Users.Change(ctx, ada, u.ID, userapi.UserChange{Phone: ptr("+4930999999")})
	require.NoError(t, err)
	_, err = o.Contacts.ConfirmPhone(ctx, ada, "+4930123456", code)
	assert.ErrorIs(t, err, userapi.ErrInvalidCode, "a new phone voids codes for phones")
	assert.NoError(t, o.Passwords.Reset(ctx, anonymous(), token, another), "and nothing else")

	o.user("default", "eve")
	_, eve := o.login("eve", password)
	code = o.code(eve, "+4930123456")
	require.NoError(t, o.Sessions.EndAll(ctx, eve, eve.UserID()))
	_, err = o.Contacts.ConfirmPhone(ctx, eve, "+4930123456", code)
	assert.ErrorIs(t, err, userapi.ErrInvalidCode, "whoever was logged out everywhere may have asked for it")
}

func TestChallenge_D02_a_new_code_brings_no_new_budget(t *testing.T) {
	o := newOffice(t, func(c *userapi.Config) {
		c.Limits = userapi.Limits{userapi.LimitConfirm: userapi.DefaultLimits()[userapi.LimitConfirm]}
	})
	o.user("default", "ada")
	_, ada := o.login("ada", password)
	guess := func(phone string) (last error) {
		code := o.code(ada, phone)
		for range 6 {
			_, last = o.Contacts.ConfirmPhone(ctx, ada, phone, wrong(code))
			require.Error(t, last)
		}
		return last
	}
	assert.ErrorIs(t, guess("+4930111111"), userapi.ErrInvalidCode)
	assert.ErrorIs(t, guess("+4930222222"), userapi.ErrRateLimited, "ten wrong codes an hour, whatever they were for")
	code := o.code(ada, "+4930333333")
	_, err := o.Contacts.ConfirmPhone(ctx, ada, "+4930333333", code)
	assert.ErrorIs(t, err, userapi.ErrRateLimited, "the right one too")
	o.clock.add(time.Hour)
	_, err = o.Contacts.ConfirmPhone(ctx, ada, "+4930333333", o.code(ada, "+4930333333"))
	assert.NoError(t, err)
	assert.Equal(t, 10, o.count(userapi.EventCodeRefused), "five of each code")
}

func TestChallenge_D02_a_right_code_does_not_refill_the_budget(t *testing.T) {
	o := newOffice(t, func(c *userapi.Config) {
		c.Limits = userapi.Limits{userapi.LimitConfirm: {{Max: 4, Window: time.Hour, Per: userapi.PerAccount}}}
	})
	o.user("default", "ada")
	_, ada := o.login("ada", password)
	for range 3 {
		code := o.code(ada, "+4930111111")
		_, err := o.Contacts.ConfirmPhone(ctx, ada, "+4930111111", wrong(code))
		require.ErrorIs(t, err, userapi.ErrInvalidCode)
		_, err = o.Contacts.ConfirmPhone(ctx, ada, "+4930111111", code)
		require.NoError(t, err)
	}
	_, err := o.Contacts.ConfirmPhone(ctx, ada, "+4930111111", wrong(o.code(ada, "+4930111111")))
	require.ErrorIs(t, err, userapi.ErrInvalidCode)
	_, err = o.Contacts.ConfirmPhone(ctx, ada, "+4930111111", o.code(ada, "+4930111111"))
	assert.ErrorIs(t, err, userapi.ErrRateLimited)
}

func TestChallenge_D11_what_is_stored_opens_nothing(t *testing.T) {
	box := &postbox{}
	w := newWorld(t, nil)
	store := &recording{Store: w.store}
	api := w.second(func(c *userapi.Config) {
		c.Store, c.Verification.Mail, c.Verification.SMS = store, box, box
		c.Verification.ResetLink = "https://app.example.com/#{token}"
	})
	w.user("default", "ada")
	_, ada := w.login("ada", password)
	require.NoError(t, api.Passwords.RequestReset(ctx, anonymous(), userapi.ResetRequest{Identifier: "ada"}))
	require.NoError(t, api.Contacts.RequestPhone(ctx, ada, userapi.PhoneRequest{Phone: "+4930123456"}))
	_, err := api.Deliver(ctx)
	require.NoError(t, err)
	require.Len(t, box.got, 2)
	require.Len(t, store.written, 2)
	for _, m := range box.got {
		for _, out := range store.written {
			_, secret, _ := strings.Cut(string(m.Token), ".")
			for _, part := range []string{string(m.Code), secret} {
				if part == "" {
					continue
				}
				assert.NotContains(t, fmt.Sprintf("%+v", *out.Challenge), part)
				assert.NotContains(t, string(out.Messages[0].Sealed), part)
			}
			assert.NotContains(t, string(out.Messages[0].Sealed), m.To)
		}
		for _, text := range []string{fmt.Sprint(m), fmt.Sprintf("%+v", m), fmt.Sprintf("%#v", m)} {
			if m.Code != "" {
				assert.NotContains(t, text, string(m.Code))
			} else {
				assert.NotContains(t, text, string(m.Token))
			}
		}
	}
}

// recording keeps what is given to send.
type recording struct {
	userapi.Store
	written []userapi.Outgoing
	calls   []string
}

func (r *recording) InsertChallenge(ctx context.Context, w userapi.ChallengeInsert) error {
	r.written = append(r.written, w.Outgoing)
	r.calls = append(r.calls, fmt.Sprintf("InsertChallenge challenge=%t messages=%d event=%s", w.Outgoing.Challenge != nil, len(w.Outgoing.Messages), w.Event.Kind))
	return r.Store.InsertChallenge(ctx, w)
}

func (r *recording) TakeLimits(ctx context.Context, now time.Time, takes []userapi.LimitTake) (time.Duration, error) {
	r.calls = append(r.calls, fmt.Sprintf("TakeLimits %d", len(takes)))
	return r.Store.TakeLimits(ctx, now, takes)
}

func (r *recording) AccountForLogin(ctx context.Context, id userapi.Identifier, marks [2]string) (userapi.MarkedAccount, error) {
	r.calls = append(r.calls, "AccountForLogin")
	return r.Store.AccountForLogin(ctx, id, marks)
}

func TestReset_E05_known_and_unknown_cost_the_same_writes(t *testing.T) {
	w := newWorld(t, nil)
	w.user("default", "ada")
	off := w.user("default", "off")
	_, err := w.Users.Deactivate(ctx, userapi.System(), off.ID)
	require.NoError(t, err)
	box := &postbox{}
	var calls [][]string
	var sizes []int
	for _, email := range []string{"ada@example.com", "off@example.com", "nix@example.com"} {
		store := &recording{Store: w.store}
		api := w.second(func(c *userapi.Config) { c.Store, c.Verification.Mail = store, box })
		require.NoError(t, api.Passwords.RequestReset(ctx, anonymous(), userapi.ResetRequest{Identifier: email}))
		calls = append(calls, store.calls)
		sizes = append(sizes, len(store.written[0].Messages[0].Sealed))
		_, err := api.Deliver(ctx)
		require.NoError(t, err)
	}
	assert.Equal(t, calls[0], calls[1])
	assert.Equal(t, calls[0], calls[2])
	assert.InDelta(t, sizes[0], sizes[2], 100)
	assert.Len(t, box.got, 1, "and one message is sent")
}

func TestReset_E07_J07_the_cool_down_is_the_same_for_everybody(t *testing.T) {
	o := newOffice(t, func(c *userapi.Config) { c.Limits = userapi.DefaultLimits() })
	o.user("default", "ada")
	for _, names := range [][]string{{"ada@example.com", "ADA@example.com"}, {"ada@example.com", "ada"}, {"nix@example.com", "NIX@example.com"}, {"nobody", "Nobody"}} {
		o.clock.add(time.Minute)
		o.requestReset(names[0])
		err := o.Passwords.RequestReset(ctx, anonymous(), userapi.ResetRequest{Identifier: names[1]})
		require.ErrorIs(t, err, userapi.ErrRateLimited, "%v", names)
		assert.Equal(t, time.Minute, userapi.AsError(err).RetryAfter)
	}
	o.receive("ada@example.com", userapi.PurposeReset)
	for range 8 {
		o.clock.add(time.Minute)
		o.requestReset("ada")
	}
	o.clock.add(time.Minute)
	assert.ErrorIs(t, o.Passwords.RequestReset(ctx, anonymous(), userapi.ResetRequest{Identifier: "ada"}), userapi.ErrRateLimited, "ten a day")
	assert.NoError(t, o.Passwords.Reset(ctx, anonymous(), o.receive("ada@example.com", userapi.PurposeReset).Token, another), "the last link still works")
}

func TestGenerator_D12_codes_are_uniform_with_their_leading_zeros(t *testing.T) {
	o := newOffice(t, func(c *userapi.Config) { c.Verification.AnonymousPhone = true })
	const codes = 2000
	for i := range codes {
		require.NoError(t, o.Contacts.RequestPhone(ctx, anonymous(), userapi.PhoneRequest{Phone: fmt.Sprintf("+4930%07d", i)}))
	}
	_, err := o.Deliver(ctx)
	require.NoError(t, err)
	var seen [6][10]int
	distinct := map[userapi.Secret]bool{}
	for _, m := range o.box.got {
		require.Len(t, string(m.Code), 6)
		distinct[m.Code] = true
		for at, digit := range string(m.Code) {
			seen[at][digit-'0']++
		}
	}
	require.Len(t, o.box.got, codes)
	assert.Greater(t, len(distinct), codes*99/100)
	for at := range seen {
		for digit, n := range seen[at] { // 200 ± 13: seven deviations
			assert.InDelta(t, codes/10, n, 94, "digit %d at %d", digit, at)
		}
	}
}

// fixed is a Generator of a host.
type fixed struct{ code, token userapi.Secret }

func (f fixed) Code(userapi.Purpose) (userapi.Secret, error)  { return f.code, nil }
func (f fixed) Token(userapi.Purpose) (userapi.Secret, error) { return f.token, nil }

func TestChallenge_D13_codes_as_people_type_them(t *testing.T) {
	for typed, right := range map[userapi.Secret]bool{
		"012345": true, " 012 345 ": true, "012-345": true, "０１２３４５": true, "012–345\n": true, "\u200e012345": true,
		"12345": false, "٠١٢٣٤٥": false, "0123456": false, "": false, "None": false, "null": false, "012.345": false,
		userapi.Secret(strings.Repeat(" ", 300) + "012345"): false,
	} {
		o := newOffice(t, func(c *userapi.Config) { c.Verification.Generator = fixed{code: "012345"} })
		o.user("default", "ada")
		_, ada := o.login("ada", password)
		o.code(ada, "+4930123456")
		_, err := o.Contacts.ConfirmPhone(ctx, ada, "+4930123456", typed)
		if right {
			assert.NoError(t, err, "%q", string(typed))
			continue
		}
		assert.ErrorIs(t, err, userapi.ErrInvalidCode, "%q", string(typed))
		for range 4 {
			_, err = o.Contacts.ConfirmPhone(ctx, ada, "+4930123456", typed)
			require.ErrorIs(t, err, userapi.ErrInvalidCode)
		}
		_, err = o.Contacts.ConfirmPhone(ctx, ada, "+4930123456", "012345")
		assert.ErrorIs(t, err, userapi.ErrInvalidCode, "%q counted as a try", string(typed))
	}
	o := newOffice(t, func(c *userapi.Config) { c.Verification.Generator = fixed{code: "ABC-def"} })
	o.user("default", "ada")
	_, ada := o.login("ada", password)
	o.code(ada, "+4930123456")
	_, err := o.Contacts.ConfirmPhone(ctx, ada, "+4930123456", "abcdef")
	assert.NoError(t, err, "letters in either case")
}

func TestGenerator_what_a_host_makes_has_to_hold(t *testing.T) {
	for _, bad := range []fixed{{"123", "short"}, {" - - ", ""}, {"", "a token with spaces in it, and long enough"}, {"", userapi.Secret(strings.Repeat("x", 200))}} {
		o := newOffice(t, func(c *userapi.Config) { c.Verification.Generator = bad })
		o.user("default", "ada")
		_, ada := o.login("ada", password)
		assert.Error(t, o.Contacts.RequestPhone(ctx, ada, userapi.PhoneRequest{Phone: "+4930123456"}))
		assert.Error(t, o.Passwords.RequestReset(ctx, anonymous(), userapi.ResetRequest{Identifier: "ada"}))
		_, err := o.Deliver(ctx)
		require.NoError(t, err)
		assert.Empty(t, o.box.got)
	}
}

func TestLinks_D10_lead_to_configured_origins_alone(t *testing.T) {
	o := newOffice(t, func(c *userapi.Config) {
		c.Verification.ResetLink = "https://app.example.com/reset?token={token}"
		c.Verification.LinkOrigins = []string{"https://app.example.com", "http://localhost:3000"}
	})
	o.user("default", "ada")
	request := func(template string) error {
		return o.Passwords.RequestReset(ctx, anonymous(), userapi.ResetRequest{Identifier: "ada", LinkTemplate: template})
	}
	for _, template := range []string{
		"https://evil.example/{token}", "https://app.example.com.evil.example/{token}", "https://app.example.com@evil.example/{token}",
		"https://app.example.com:444/{token}", "http://app.example.com/{token}", "https://app.example.com\\@evil.example/{token}",
		"https://{token}.app.example.com/", "https://app.example.com{token}/", "https://app.example.com/", "https://app.example.com/{token}/{token}",
		"//app.example.com/{token}", "/{token}", "javascript:alert('{token}')//https://app.example.com", "https://app.example.com/{token}\r\nX: y",
		"https://app.example.com/ {token}", "https://äpp.example.com/{token}", "https:app.example.com/{token}", "https:///{token}",
		"https://app.example.com/" + strings.Repeat("x", 2048) + "{token}", "https://app.example.com/{token.__class__}", "https://[::1/{token}",
	} {
		err := request(template)
		require.ErrorIs(t, err, userapi.ErrInvalid, template)
		assert.Contains(t, userapi.AsError(err).Fields, "url_template")
	}
	o.silent("ada@example.com", userapi.PurposeReset)
	for template, prefix := range map[string]string{
		"": "https://app.example.com/reset?token=", "https://app.example.com/a/b?x={token.__class__}&t={token}": "https://app.example.com/a/b?x={token.__class__}&t=",
		"HTTPS://APP.example.com/#{token}": "HTTPS://APP.example.com/#", "http://localhost:3000/?{token}": "http://localhost:3000/?",
	} {
		require.NoError(t, request(template), template)
		m := o.receive("ada@example.com", userapi.PurposeReset)
		assert.Equal(t, prefix+string(m.Token), string(m.Link), template)
	}
}

func TestExemptPhones_have_their_code_and_no_message(t *testing.T) {
	_, err := userapi.New(userapi.Config{Store: newWorld(t, nil).store, Secret: secret, Verification: userapi.Verification{
		ExemptPhones: map[string]userapi.Secret{"+4930123456": "1111"},
	}})
	require.ErrorContains(t, err, "Development")
	o := newOffice(t, func(c *userapi.Config) {
		c.Verification.Development, c.Verification.ExemptPhones = true, map[string]userapi.Secret{"+4930123456": "1111"}
	})
	o.user("default", "ada")
	_, ada := o.login("ada", password)
	require.NoError(t, o.Contacts.RequestPhone(ctx, ada, userapi.PhoneRequest{Phone: "+4930123456"}))
	o.silent("+4930123456", userapi.PurposePhone)
	_, err = o.Contacts.ConfirmPhone(ctx, ada, "+4930123456", "1112")
	require.ErrorIs(t, err, userapi.ErrInvalidCode)
	_, err = o.Contacts.ConfirmPhone(ctx, ada, "+4930123456", "1111")
	require.NoError(t, err)
	_, err = o.Contacts.ConfirmPhone(ctx, ada, "+4930123456", "1111")
	assert.ErrorIs(t, err, userapi.ErrInvalidCode, "it has to be asked for")
	require.NoError(t, o.Contacts.RequestPhone(ctx, ada, userapi.PhoneRequest{Phone: "+4930123457"}))
	_, err = o.Contacts.ConfirmPhone(ctx, ada, "+4930123457", "1111")
	assert.ErrorIs(t, err, userapi.ErrInvalidCode, "of that number alone")

	other := newOffice(t, nil)
	other.user("default", "ada")
	_, ada = other.login("ada", password)
	other.code(ada, "+1234567890123"[:12])
	_, err = other.Contacts.ConfirmPhone(ctx, ada, "+12345678901", "1111")
	assert.ErrorIs(t, err, userapi.ErrInvalidCode, "by default there is none")
}

func TestChallenge_configuration_is_checked(t *testing.T) {
	for field, v := range map[string]userapi.Verification{
		"CodeLifetime": {CodeLifetime: 11 * time.Minute}, "LinkLifetime": {LinkLifetime: 25 * time.Hour}, "MaxTries": {MaxTries: 11},
		"CodeDigits": {CodeDigits: 5}, "ResetLink": {ResetLink: "https://app.example.com/"}, "ActivationLink": {ActivationLink: "app/{token}"},
		"EmailLink": {EmailLink: "https://a:b@app.example.com/{token}"}, "LinkOrigins": {LinkOrigins: []string{"https://app.example.com/"}},
		"ExemptPhones": {ExemptPhones: map[string]userapi.Secret{"030 123456": "1111"}, Development: true},
	} {
		_, err := userapi.New(userapi.Config{Store: newWorld(t, nil).store, Secret: secret, Verification: v})
		assert.ErrorContains(t, err, field)
	}
	_, err := userapi.New(userapi.Config{Store: newWorld(t, nil).store, Secret: secret, DefaultRegion: "Germany"})
	assert.ErrorContains(t, err, "DefaultRegion")
}

func TestChallenge_K01_what_fails_uses_nothing_up(t *testing.T) {
	o := newOffice(t, nil)
	o.user("default", "ada")
	token := o.resetToken("ada@example.com")
	store := &faulty{Store: o.store, changeUser: func() error { return errors.New("a defect") }}
	api := o.second(func(c *userapi.Config) { o.wire(c, nil); c.Store = store })
	for range 20 {
		require.Error(t, api.Passwords.Reset(ctx, anonymous(), token, another))
	}
	assert.NoError(t, o.Passwords.Reset(ctx, anonymous(), token, another))
}

// The store voids what is under way when the account changes; should it not, the change alone is enough.
func TestChallenge_D06_is_void_even_if_the_store_kept_it(t *testing.T) {
	o := newOffice(t, nil)
	behind := func(id string, change func(*userapi.Account)) {
		a, err := o.store.AccountByID(ctx, userapi.Scope{All: true}, id)
		require.NoError(t, err)
		w := userapi.UserUpdate{Scope: userapi.Scope{All: true}, Account: a, IfVersion: a.Version, CustomerBefore: a.CustomerID}
		change(&w.Account)
		require.NoError(t, o.store.ChangeUser(ctx, w))
	}
	for name, change := range map[string]func(*userapi.Account){
		"address":  func(a *userapi.Account) { a.Email, a.EmailKey = "other-"+a.Email, "other-"+a.EmailKey },
		"inactive": func(a *userapi.Account) { a.Active = false },
	} {
		u := o.user("default", name)
		_, actor := o.login(name, password)
		email := name + "@example.com"
		reset := o.resetToken(email)
		require.NoError(t, o.Contacts.RequestEmail(ctx, actor, userapi.EmailRequest{}))
		link := o.receive(email, userapi.PurposeEmail).Token
		code := o.code(actor, "+4930123456")
		behind(u.ID, change)
		assert.ErrorIs(t, o.Passwords.Reset(ctx, anonymous(), reset, another), userapi.ErrInvalidLink, name)
		_, _, err := o.Contacts.ConfirmEmail(ctx, anonymous(), link)
		assert.ErrorIs(t, err, userapi.ErrInvalidLink, name)
		if name == "inactive" {
			_, err = o.Contacts.ConfirmPhone(ctx, actor, "+4930123456", code)
			assert.ErrorIs(t, err, userapi.ErrInvalidCode)
		}
	}
	_, _, err := o.Users.Register(ctx, anonymous(), userapi.SelfRegistration{Email: "new@example.com", Password: password})
	require.NoError(t, err)
	token := o.receive("new@example.com", userapi.PurposeActivation).Token
	u, err := o.Users.ByEmail(ctx, userapi.System(), "new@example.com")
	require.NoError(t, err)
	behind(u.ID, func(a *userapi.Account) { a.Email, a.EmailKey = "moved@example.com", "moved@example.com" })
	_, err = o.Auth.Activate(ctx, anonymous(), token, password)
	assert.ErrorIs(t, err, userapi.ErrInvalidLink)
}

// An invitation is an inactive account that an admin made, with its roles, and a link to its mailbox.
func TestInvitation_H14_is_for_one_mailbox_once_and_within_the_quota(t *testing.T) {
	o := newOffice(t, func(c *userapi.Config) { c.Limits = userapi.Limits{} })
	o.role("editor")
	o.customer("small", 1)
	tokens := map[string]userapi.Secret{}
	for _, name := range []string{"anna", "bob"} {
		u, err := o.Users.Create(ctx, userapi.System(), userapi.NewUser{
			Email: name + "@example.com", CustomerID: "small", Roles: []userapi.RoleRef{{Code: "editor"}},
		})
		require.NoError(t, err)
		require.NoError(t, o.Users.SendActivation(ctx, userapi.System(), u.ID))
		tokens[name] = o.receive(name+"@example.com", userapi.PurposeActivation).Token
	}
	_, stranger := o.login("admin", password)
	errs := make([]error, 64)
	var all sync.WaitGroup
	for i := range errs {
		token := tokens[[]string{"anna", "bob"}[i%2]]
		all.Go(func() {
			_, errs[i] = o.Auth.Activate(ctx, stranger, token, userapi.Secret(fmt.Sprint("fine phrase ", i)))
		})
	}
	all.Wait()
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case errors.Is(err, userapi.ErrInvalidLink), errors.Is(err, userapi.ErrQuota):
		case errors.Is(err, userapi.ErrBadCredentials): // another has set the first password meanwhile
		default:
			t.Errorf("unexpected error: %v", err)
		}
	}
	assert.Equal(t, 1, won, "there is one seat, and each invitation is good once")
	page, err := o.Users.List(ctx, userapi.System(), userapi.UserQuery{Active: ptr(true), Prefix: ""})
	require.NoError(t, err)
	active := 0
	for _, u := range page.Users {
		if u.CustomerID == "small" {
			active++
			got, err := o.Users.ByID(ctx, userapi.System(), u.ID)
			require.NoError(t, err)
			assert.True(t, got.HasRole("editor") && got.EmailVerified, "roles are those of the invitation")
			assert.NotEqual(t, stranger.UserID(), got.ID, "whoever accepts it in a session of their own gets nothing")
		}
	}
	assert.Equal(t, 1, active)
	admin, err := o.Users.ByID(ctx, userapi.System(), stranger.UserID())
	require.NoError(t, err)
	assert.False(t, admin.HasRole("editor"))

	// What is taken back, or changed, accepts nobody.
	late, err := o.Users.Create(ctx, userapi.System(), userapi.NewUser{Email: "carl@example.com", CustomerID: "default"})
	require.NoError(t, err)
	require.NoError(t, o.Users.SendActivation(ctx, userapi.System(), late.ID))
	token := o.receive("carl@example.com", userapi.PurposeActivation).Token
	_, _, err = o.Users.Change(ctx, userapi.System(), late.ID, userapi.UserChange{Email: ptr("other@example.com")})
	require.NoError(t, err)
	_, err = o.Auth.Activate(ctx, anonymous(), token, another)
	assert.ErrorIs(t, err, userapi.ErrInvalidLink, "bound to the address it went to")
	require.NoError(t, o.Users.SendActivation(ctx, userapi.System(), late.ID))
	token = o.receive("other@example.com", userapi.PurposeActivation).Token
	require.NoError(t, o.Users.Delete(ctx, userapi.System(), late.ID))
	_, err = o.Auth.Activate(ctx, anonymous(), token, another)
	assert.ErrorIs(t, err, userapi.ErrInvalidLink)
}
