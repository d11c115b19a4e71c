package userapi_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
)

func TestContacts_the_own_address_is_proven(t *testing.T) {
	o := newOffice(t, func(c *userapi.Config) { c.Verification.EmailLink = "https://app.example.com/email#{token}" })
	u := o.user("default", "ada")
	elsewhere, _ := o.login("ada", password)
	tokens, ada := o.login("ada", password)
	require.NoError(t, o.Contacts.RequestEmail(ctx, ada, userapi.EmailRequest{}))
	m := o.receive("ada@example.com", userapi.PurposeEmail)
	assert.Equal(t, "https://app.example.com/email#"+string(m.Token), string(m.Link))
	assert.False(t, o.byID(u.ID).EmailVerified)

	after, fresh, err := o.Contacts.ConfirmEmail(ctx, ada, m.Token)
	require.NoError(t, err)
	assert.True(t, after.EmailVerified)
	o.refused(elsewhere)
	o.refreshRefused(elsewhere)
	o.refused(tokens) // replaced
	o.accepted(fresh)
	o.refreshes(fresh)
	_, _, err = o.Contacts.ConfirmEmail(ctx, ada, m.Token)
	assert.ErrorIs(t, err, userapi.ErrInvalidLink)

	// Once more, already proven: nothing ends.
	require.NoError(t, o.Contacts.RequestEmail(ctx, o.actor(fresh), userapi.EmailRequest{Email: "ADA@example.com"}))
	_, none, err := o.Contacts.ConfirmEmail(ctx, anonymous(), o.receive("ada@example.com", userapi.PurposeEmail).Token)
	require.NoError(t, err)
	assert.True(t, none.IsZero())
	o.accepted(fresh)
}

func TestContacts_B13_a_proof_ends_what_was_opened_before(t *testing.T) {
	o := newOffice(t, nil)
	o.user("default", "victim")
	stolen, attacker := o.login("victim", password)
	require.NoError(t, o.Contacts.RequestEmail(ctx, attacker, userapi.EmailRequest{}))
	_, tokens, err := o.Contacts.ConfirmEmail(ctx, anonymous(), o.receive("victim@example.com", userapi.PurposeEmail).Token)
	require.NoError(t, err)
	assert.True(t, tokens.IsZero())
	o.refused(stolen)
	o.refreshRefused(stolen)
	o.user("default", "other")
	_, other := o.login("other", password)
	require.NoError(t, o.Contacts.RequestEmail(ctx, o.actor(loginAgain(o, "victim")), userapi.EmailRequest{Email: "new@example.com"}))
	_, tokens, err = o.Contacts.ConfirmEmail(ctx, other, o.receive("new@example.com", userapi.PurposeEmailChange).Token)
	require.NoError(t, err)
	assert.True(t, tokens.IsZero(), "another's session has no part in it")
	_, err = o.Users.ByID(ctx, other, other.UserID())
	assert.NoError(t, err)
}

func TestContacts_a_session_that_has_ended_does_not_keep_a_proof_from_counting(t *testing.T) {
	o := newOffice(t, nil)
	u := o.user("default", "ada")
	tokens, ada := o.login("ada", password)
	require.NoError(t, o.Contacts.RequestEmail(ctx, ada, userapi.EmailRequest{}))
	require.NoError(t, o.Auth.Logout(ctx, anonymous(), tokens.Refresh))
	_, none, err := o.Contacts.ConfirmEmail(ctx, ada, o.receive("ada@example.com", userapi.PurposeEmail).Token)
	require.NoError(t, err)
	assert.True(t, none.IsZero())
	assert.True(t, o.byID(u.ID).EmailVerified)
}

func loginAgain(o *office, name string) userapi.Tokens {
	tokens, _ := o.login(name, password)
	return tokens
}

func TestContacts_D07_a_new_address_is_proven_and_the_old_one_told(t *testing.T) {
	o := newOffice(t, nil)
	u := o.user("default", "ada")
	elsewhere, _ := o.login("ada", password)
	_, ada := o.login("ada", password)
	require.NoError(t, o.Contacts.RequestEmail(ctx, ada, userapi.EmailRequest{Email: "first@example.com"}))
	first := o.receive("first@example.com", userapi.PurposeEmailChange).Token
	require.NoError(t, o.Contacts.RequestEmail(ctx, ada, userapi.EmailRequest{Email: "Second@example.com"}))
	second := o.receive("second@example.com", userapi.PurposeEmailChange).Token
	assert.Equal(t, "ada@example.com", o.byID(u.ID).Email, "until it is proven")
	_, _, err := o.Contacts.ConfirmEmail(ctx, ada, first)
	assert.ErrorIs(t, err, userapi.ErrInvalidLink, "the first was superseded")
	after, tokens, err := o.Contacts.ConfirmEmail(ctx, ada, second)
	require.NoError(t, err)
	assert.Equal(t, "Second@example.com", after.Email)
	assert.True(t, after.EmailVerified)
	o.refused(elsewhere)
	o.accepted(tokens)
	assert.Equal(t, userapi.NoticeEmailChanged, o.receive("ada@example.com", userapi.PurposeNotice).Notice)
	_, _ = o.login("second@example.com", password)
}

func TestContacts_D07_a_change_needs_its_owner(t *testing.T) {
	o := newOffice(t, nil)
	u := o.user("default", "ada")
	_, ada := o.login("ada", password)
	o.clock.add(6 * time.Minute)
	assert.ErrorIs(t, o.Contacts.RequestEmail(ctx, ada, userapi.EmailRequest{Email: "new@example.com"}), userapi.ErrNotFresh)
	assert.ErrorIs(t, o.Contacts.RequestEmail(ctx, ada, userapi.EmailRequest{Email: "new@example.com", CurrentPassword: another}), userapi.ErrWrongPassword)
	_, _, err := o.Users.Change(ctx, ada, u.ID, userapi.UserChange{Email: ptr("new@example.com")})
	assert.ErrorIs(t, err, userapi.ErrNotFresh)
	o.silent("new@example.com", userapi.PurposeEmailChange)
	require.NoError(t, o.Contacts.RequestEmail(ctx, ada, userapi.EmailRequest{Email: "new@example.com", CurrentPassword: password}))
	o.receive("new@example.com", userapi.PurposeEmailChange)
	require.NoError(t, o.Contacts.RequestEmail(ctx, ada, userapi.EmailRequest{}), "a proof of the own address changes nothing")
	for _, actor := range []userapi.Actor{anonymous(), userapi.System()} {
		assert.Error(t, o.Contacts.RequestEmail(ctx, actor, userapi.EmailRequest{}))
	}
	admin, _ := o.login("admin", password)
	assert.ErrorIs(t, o.Contacts.RequestEmail(ctx, o.actor(admin), userapi.EmailRequest{}), userapi.ErrInvalid, "it has none")
	assert.ErrorIs(t, o.Contacts.RequestEmail(ctx, ada, userapi.EmailRequest{Email: "no address"}), userapi.ErrInvalid)
}

func TestContacts_E08_an_address_in_use_is_told_to_its_owner_alone(t *testing.T) {
	composed := 0
	o := newOffice(t, func(c *userapi.Config) {
		c.Verification.Locale = func(context.Context, userapi.User) string { composed++; return "" }
	})
	ada := o.user("default", "ada")
	o.user("default", "bob")
	_, actor := o.login("ada", password)
	composed = 0
	require.NoError(t, o.Contacts.RequestEmail(ctx, actor, userapi.EmailRequest{Email: "bob@example.com"}))
	o.silent("bob@example.com", userapi.PurposeEmailChange)
	assert.Equal(t, userapi.NoticeEmailTaken, o.receive("bob@example.com", userapi.PurposeNotice).Notice)
	taken := composed
	composed = 0
	require.NoError(t, o.Contacts.RequestEmail(ctx, actor, userapi.EmailRequest{Email: "free@example.com"}))
	assert.Equal(t, taken, composed, "E08 as much work is done for an address that nobody has")

	// Taken while the link was under way.
	require.NoError(t, o.Contacts.RequestEmail(ctx, actor, userapi.EmailRequest{Email: "carol@example.com"}))
	token := o.receive("carol@example.com", userapi.PurposeEmailChange).Token
	o.user("default", "carol")
	_, _, err := o.Contacts.ConfirmEmail(ctx, actor, token)
	assert.ErrorIs(t, err, userapi.ErrEmailTaken)
	assert.Equal(t, "ada@example.com", o.byID(ada.ID).Email)

	// A registration that was never activated holds nothing against a proof.
	_, _, err = o.Users.Register(ctx, anonymous(), userapi.SelfRegistration{Email: "dora@example.com", Password: password})
	require.NoError(t, err)
	require.NoError(t, o.Contacts.RequestEmail(ctx, actor, userapi.EmailRequest{Email: "dora@example.com"}))
	after, _, err := o.Contacts.ConfirmEmail(ctx, actor, o.receive("dora@example.com", userapi.PurposeEmailChange).Token)
	require.NoError(t, err)
	assert.Equal(t, "dora@example.com", after.Email)
}

func TestChange_the_own_address_stays_until_the_new_one_is_proven(t *testing.T) {
	o := newOffice(t, nil)
	u := o.user("default", "ada")
	tokens, ada := o.login("ada", password)
	after, none, err := o.Users.Change(ctx, ada, u.ID, userapi.UserChange{Email: ptr("New@example.com"), Name: ptr("Ada")})
	require.NoError(t, err)
	assert.Equal(t, "ada@example.com", after.Email)
	assert.Equal(t, "Ada", after.Name)
	assert.True(t, none.IsZero())
	o.accepted(tokens)
	_, _, err = o.Contacts.ConfirmEmail(ctx, anonymous(), o.receive("new@example.com", userapi.PurposeEmailChange).Token)
	require.NoError(t, err)
	assert.Equal(t, "New@example.com", o.byID(u.ID).Email)
	_, ada = o.login("ada", password)
	after, _, err = o.Users.Change(ctx, ada, u.ID, userapi.UserChange{Email: ptr("newer@example.com")})
	require.NoError(t, err)
	assert.True(t, after.EmailVerified, "the old one stays proven")

	// Others' addresses change at once, and the old one is told.
	_, _, err = o.Users.Change(ctx, userapi.System(), u.ID, userapi.UserChange{Email: ptr("third@example.com")})
	require.NoError(t, err)
	assert.Equal(t, "third@example.com", o.byID(u.ID).Email)
	assert.Equal(t, userapi.NoticeEmailChanged, o.receive("new@example.com", userapi.PurposeNotice).Notice)
	_, _, err = o.Passwords.Set(ctx, userapi.System(), u.ID, another, "")
	require.NoError(t, err)
	assert.Equal(t, userapi.NoticePasswordChanged, o.receive("third@example.com", userapi.PurposeNotice).Notice, "C09")
}

func TestChange_with_a_new_password_and_a_new_address_the_link_lives(t *testing.T) {
	o := newOffice(t, nil)
	u := o.user("default", "ada")
	_, ada := o.login("ada", password)
	_, tokens, err := o.Users.Change(ctx, ada, u.ID, userapi.UserChange{Email: ptr("new@example.com"), Password: ptr(another)})
	require.NoError(t, err)
	o.accepted(tokens)
	_, _, err = o.Contacts.ConfirmEmail(ctx, anonymous(), o.receive("new@example.com", userapi.PurposeEmailChange).Token)
	require.NoError(t, err)
}

func TestContacts_J07_mail_to_others_has_a_cool_down(t *testing.T) {
	o := newOffice(t, func(c *userapi.Config) { c.Limits = userapi.DefaultLimits() })
	u := o.user("default", "ada")
	_, ada := o.login("ada", password)
	require.NoError(t, o.Contacts.RequestEmail(ctx, ada, userapi.EmailRequest{Email: "x@example.com"}))
	assert.ErrorIs(t, o.Contacts.RequestEmail(ctx, ada, userapi.EmailRequest{Email: "y@example.com"}), userapi.ErrRateLimited)
	_, _, err := o.Users.Change(ctx, ada, u.ID, userapi.UserChange{Email: ptr("y@example.com")})
	assert.ErrorIs(t, err, userapi.ErrRateLimited, "on this way too")
	o.silent("y@example.com", userapi.PurposeEmailChange)
}

func TestContacts_F08_a_new_proof_releases_the_old_holder(t *testing.T) {
	var updated []string
	o := newOffice(t, func(c *userapi.Config) {
		c.Hooks.UserUpdated = func(_ context.Context, u userapi.User) {
			updated = append(updated, fmt.Sprintf("%s %t", u.Username, u.PhoneVerified))
		}
	})
	o.customer("elsewhere", 0)
	old := o.user("elsewhere", "old")
	_, holder := o.login("old", password)
	_, err := o.Contacts.ConfirmPhone(ctx, holder, "+4930123456", o.code(holder, "+4930123456"))
	require.NoError(t, err)
	_, _ = o.login("+49 30 123456", password)

	u, err := o.Users.Create(ctx, userapi.System(), userapi.NewUser{Username: "new", Password: another, Phone: "+4930123456", Active: true, CustomerID: "default"})
	require.NoError(t, err, "an unproven number blocks nobody")
	_, actor := o.login("new", another)
	updated = nil
	after, err := o.Contacts.ConfirmPhone(ctx, actor, "+49 (0)30 123456", o.code(actor, "+4930123456"))
	require.NoError(t, err)
	assert.True(t, after.PhoneVerified)
	assert.ElementsMatch(t, []string{"new true", "old false"}, updated)
	assert.False(t, o.byID(old.ID).PhoneVerified)
	assert.Equal(t, "+4930123456", o.byID(old.ID).Phone)
	_, _, err = o.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "+4930123456", Password: password})
	assert.ErrorIs(t, err, userapi.ErrBadCredentials)
	_, _ = o.login("+4930123456", another)
	assert.Equal(t, u.ID, after.ID)
	assert.Equal(t, 1, o.count(userapi.EventPhoneReleased))
}

func TestContacts_F07_spellings_of_a_number_are_one(t *testing.T) {
	o := newOffice(t, func(c *userapi.Config) { c.DefaultRegion = "DE" })
	o.user("default", "ada")
	_, ada := o.login("ada", password)
	for _, spelling := range []string{"+49 30 123456", "0049 30 123456", "030/123456", "+49 (0)30 123456", " +4930123456 "} {
		code := o.code(ada, "+4930123456")
		after, err := o.Contacts.ConfirmPhone(ctx, ada, spelling, code)
		require.NoError(t, err, spelling)
		assert.Equal(t, "+4930123456", after.Phone)
	}
	for _, none := range []string{"", "+49", "+4930123456 ext 5", "0800FLOWERS", "+49301234567890123", "+٤٩٣٠١٢٣٤٥٦"[:3], "nobody@example.com"} {
		assert.ErrorIs(t, o.Contacts.RequestPhone(ctx, ada, userapi.PhoneRequest{Phone: none}), userapi.ErrInvalidPhone, none)
		_, err := o.Contacts.ConfirmPhone(ctx, ada, none, "123456")
		assert.ErrorIs(t, err, userapi.ErrInvalidPhone, none)
	}
}

func TestContacts_without_credential(t *testing.T) {
	var proved []string
	o := newOffice(t, func(c *userapi.Config) {
		c.Verification.AnonymousPhone = true
		c.Hooks.PhoneProved = func(_ context.Context, u userapi.User, number string) { proved = append(proved, u.ID+number) }
	})
	code := o.code(anonymous(), "+4930123456")
	_, err := o.Contacts.ConfirmPhone(ctx, anonymous(), "+4930123456", wrong(code))
	assert.ErrorIs(t, err, userapi.ErrInvalidCode)
	none, err := o.Contacts.ConfirmPhone(ctx, anonymous(), "+4930123456", code)
	require.NoError(t, err)
	assert.Equal(t, userapi.User{}, none)
	assert.Equal(t, []string{"+4930123456"}, proved)
	_, err = o.Contacts.ConfirmPhone(ctx, anonymous(), "+4930123456", code)
	assert.ErrorIs(t, err, userapi.ErrInvalidCode)

	// What a user asked for is nobody else's, and what nobody asked for is no user's.
	o.user("default", "ada")
	_, ada := o.login("ada", password)
	code = o.code(ada, "+4930123456")
	_, err = o.Contacts.ConfirmPhone(ctx, anonymous(), "+4930123456", code)
	assert.ErrorIs(t, err, userapi.ErrInvalidCode)
	code = o.code(anonymous(), "+4930123457")
	_, err = o.Contacts.ConfirmPhone(ctx, ada, "+4930123457", code)
	assert.ErrorIs(t, err, userapi.ErrInvalidCode)
	_, err = o.Contacts.ConfirmPhone(ctx, ada, "+4930123458", o.code(ada, "+4930123458"))
	require.NoError(t, err)
	assert.Equal(t, []string{"+4930123456", ada.UserID() + "+4930123458"}, proved)

	shut := newOffice(t, nil)
	assert.ErrorIs(t, shut.Contacts.RequestPhone(ctx, anonymous(), userapi.PhoneRequest{Phone: "+4930123456"}), userapi.ErrNoCredentials)
	_, err = shut.Contacts.ConfirmPhone(ctx, anonymous(), "+4930123456", "123456")
	assert.ErrorIs(t, err, userapi.ErrNoCredentials)
}

// picky is a Sender that does not serve every number.
type picky struct{ *postbox }

func (picky) Serves(number string) bool { return number[:3] == "+49" }

func TestContacts_J06_pumping_gets_little(t *testing.T) {
	o := newOffice(t, func(c *userapi.Config) {
		c.Limits, c.Verification.AnonymousPhone = userapi.DefaultLimits(), true
		c.Verification.SMS = picky{c.Verification.SMS.(*postbox)}
	})
	from := func(i int) userapi.Actor { return userapi.Anonymous().From(fmt.Sprintf("2001:db8:%x::1", i), "") }
	ask := func(actor userapi.Actor, phone string) error {
		return o.Contacts.RequestPhone(ctx, actor, userapi.PhoneRequest{Phone: phone})
	}
	assert.ErrorIs(t, ask(from(1), "+37410123456"), userapi.ErrInvalidPhone, "a country that is not served")

	require.NoError(t, ask(from(2), "+4930123456"))
	assert.ErrorIs(t, ask(from(3), "+4930123456"), userapi.ErrRateLimited, "one number, a minute")
	o.clock.add(24 * time.Hour)
	for i := range 30 {
		require.NoError(t, ask(from(4), fmt.Sprintf("+4930%07d", i)))
	}
	assert.ErrorIs(t, ask(from(4), "+49301234567"), userapi.ErrRateLimited, "one address, adjacent numbers")

	o.clock.add(24 * time.Hour)
	sent := 0
	for ; sent < 1000; sent++ {
		if err := ask(from(100+sent), fmt.Sprintf("+4930%07d", 1000+sent)); err != nil {
			require.ErrorIs(t, err, userapi.ErrRateLimited)
			break
		}
	}
	assert.Equal(t, 100, sent, "many senders, nobody proves: the country stops")
	require.ErrorIs(t, ask(from(5000), "+4930999999"), userapi.ErrRateLimited)
	assert.Equal(t, 1, o.count(userapi.EventCountryStopped), "told once")
	o.clock.add(time.Hour)
	assert.NoError(t, ask(from(5001), "+4930888888"))
}

func TestContacts_J06_there_is_an_end_to_all_of_it(t *testing.T) {
	o := newOffice(t, func(c *userapi.Config) {
		c.Limits = userapi.Limits{userapi.LimitPhone: {{Max: 3, Window: time.Hour, Per: userapi.PerInstance}}}
		c.Verification.AnonymousPhone = true
	})
	for i, phone := range []string{"+4930123456", "+12025550123", "+33123456789", "+43123456789"} {
		err := o.Contacts.RequestPhone(ctx, userapi.Anonymous(), userapi.PhoneRequest{Phone: phone})
		if i < 3 {
			require.NoError(t, err)
		} else {
			assert.ErrorIs(t, err, userapi.ErrRateLimited, "whoever asks, for whatever country")
		}
	}
}

func TestContacts_J06_a_country_whose_codes_come_back_goes_on(t *testing.T) {
	o := newOffice(t, func(c *userapi.Config) {
		c.Limits = userapi.Limits{userapi.LimitUnproven: {{Max: 5, Window: time.Hour, Per: userapi.PerCountry}}}
		c.Verification.AnonymousPhone = true
	})
	for i := range 40 { // every second one
		phone := fmt.Sprintf("+4930%07d", i)
		code := o.code(anonymous(), phone)
		if i%2 == 0 {
			_, err := o.Contacts.ConfirmPhone(ctx, anonymous(), phone, code)
			require.NoError(t, err)
		}
	}
	for i := range 5 {
		err := o.Contacts.RequestPhone(ctx, anonymous(), userapi.PhoneRequest{Phone: fmt.Sprintf("+4930%07d", 100+i)})
		if i < 4 {
			require.NoError(t, err)
		}
	}
	assert.ErrorIs(t, o.Contacts.RequestPhone(ctx, anonymous(), userapi.PhoneRequest{Phone: "+4930999999"}), userapi.ErrRateLimited)
	assert.NoError(t, o.Contacts.RequestPhone(ctx, anonymous(), userapi.PhoneRequest{Phone: "+12025550123"}), "another country")
}

func TestContacts_a_request_that_fails_costs_no_budget(t *testing.T) {
	o := newOffice(t, nil)
	store := &failingInsert{Store: o.store}
	api := o.second(func(c *userapi.Config) { o.wire(c, nil); c.Limits = userapi.DefaultLimits(); c.Store = store })
	o.user("default", "ada")
	_, ada := o.login("ada", password)
	for range 40 {
		require.Error(t, api.Contacts.RequestPhone(ctx, ada, userapi.PhoneRequest{Phone: "+4930123456"}))
		require.Error(t, api.Contacts.RequestEmail(ctx, ada, userapi.EmailRequest{}))
		require.Error(t, api.Passwords.RequestReset(ctx, anonymous(), userapi.ResetRequest{Identifier: "ada"}))
	}
	store.mended = true
	assert.NoError(t, api.Contacts.RequestPhone(ctx, ada, userapi.PhoneRequest{Phone: "+4930123456"}))
	assert.NoError(t, api.Contacts.RequestEmail(ctx, ada, userapi.EmailRequest{}))
	assert.NoError(t, api.Passwords.RequestReset(ctx, anonymous(), userapi.ResetRequest{Identifier: "ada"}))
}

type failingInsert struct {
	userapi.Store
	mended bool
}

func (f *failingInsert) InsertChallenge(ctx context.Context, w userapi.ChallengeInsert) error {
	if !f.mended {
		return errors.New("a defect")
	}
	return f.Store.InsertChallenge(ctx, w)
}

func TestRegister_verify(t *testing.T) {
	created, updated := 0, 0
	o := newOffice(t, func(c *userapi.Config) {
		c.Hooks.UserCreated = func(context.Context, userapi.User) { created++ }
		c.Hooks.UserUpdated = func(context.Context, userapi.User) { updated++ }
		c.Verification.ActivationLink = "https://app.example.com/activate#{token}"
	})
	created = 0
	r := userapi.SelfRegistration{Email: "New@example.com", Username: "newbie", Name: "New", Password: password}
	none, tokens, err := o.Users.Register(ctx, anonymous(), r)
	require.NoError(t, err)
	assert.Equal(t, userapi.User{}, none)
	assert.True(t, tokens.IsZero())
	assert.Zero(t, created, "not before it is activated: a hook that takes its time would tell who is new")
	m := o.receive("new@example.com", userapi.PurposeActivation)
	assert.Equal(t, "https://app.example.com/activate#"+string(m.Token), string(m.Link))
	_, _, err = o.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "newbie", Password: password})
	assert.ErrorIs(t, err, userapi.ErrBadCredentials, "not yet")

	_, err = o.Auth.Activate(ctx, anonymous(), m.Token, another)
	assert.ErrorIs(t, err, userapi.ErrBadCredentials, "the password that was registered")
	u, err := o.Auth.Activate(ctx, anonymous(), m.Token, password)
	require.NoError(t, err)
	assert.True(t, u.Active && u.EmailVerified)
	assert.Equal(t, 1, created)
	assert.Zero(t, updated)
	_, _ = o.login("newbie", password)
	_, err = o.Auth.Activate(ctx, anonymous(), m.Token, password)
	assert.ErrorIs(t, err, userapi.ErrInvalidLink)
	sessions, err := o.Sessions.List(ctx, userapi.System(), u.ID)
	require.NoError(t, err)
	assert.Len(t, sessions, 1, "activation opens none")

	for _, bad := range []userapi.SelfRegistration{{Username: "x", Password: password}, {Email: "x", Password: password}, {Email: "x@example.com", Password: "short"}} {
		_, _, err := o.Users.Register(ctx, anonymous(), bad)
		assert.Equal(t, userapi.Invalid, userapi.AsError(err).Kind, "%v", err)
	}
}

func TestRegister_a_customer_or_role_that_is_not_there_is_the_hosts_mistake(t *testing.T) {
	o := newOffice(t, nil)
	for _, policy := range []userapi.RegistrationPolicy{userapi.RegistrationOpen, userapi.RegistrationVerify} {
		for _, r := range []userapi.Registration{{Customer: "nowhere"}, {Customer: "default", Roles: []string{"unknown"}}} {
			r.Policy = policy
			api := o.second(func(c *userapi.Config) { o.wire(c, nil); c.Registration = r })
			_, _, err := api.Users.Register(ctx, anonymous(), userapi.SelfRegistration{Email: "new@example.com", Password: password})
			assert.Equal(t, userapi.Internal, userapi.AsError(err).Kind, "%v", err)
		}
	}
}

func TestRegister_verify_wrong_passwords_use_the_token_up(t *testing.T) {
	o := newOffice(t, nil)
	_, _, err := o.Users.Register(ctx, anonymous(), userapi.SelfRegistration{Email: "new@example.com", Password: password})
	require.NoError(t, err)
	token := o.receive("new@example.com", userapi.PurposeActivation).Token
	for range 5 {
		_, err = o.Auth.Activate(ctx, anonymous(), token, another)
		require.ErrorIs(t, err, userapi.ErrBadCredentials)
	}
	_, err = o.Auth.Activate(ctx, anonymous(), token, password)
	assert.ErrorIs(t, err, userapi.ErrInvalidLink)
}

func TestRegister_verify_wrong_passwords_count_against_the_address(t *testing.T) {
	o := newOffice(t, func(c *userapi.Config) {
		c.Limits = userapi.Limits{userapi.LimitConfirm: {{Max: 2, Window: time.Hour, Per: userapi.PerAddress}}}
	})
	_, _, err := o.Users.Register(ctx, anonymous(), userapi.SelfRegistration{Email: "new@example.com", Password: password})
	require.NoError(t, err)
	token := o.receive("new@example.com", userapi.PurposeActivation).Token
	for range 2 {
		_, err = o.Auth.Activate(ctx, anonymous(), token, another)
		require.ErrorIs(t, err, userapi.ErrBadCredentials)
	}
	_, err = o.Auth.Activate(ctx, anonymous(), token, password)
	assert.ErrorIs(t, err, userapi.ErrRateLimited)
	_, err = o.Auth.Activate(ctx, anonymous().From("192.0.2.2", ""), token, password)
	assert.NoError(t, err)
}

func TestRegister_verify_without_password_sets_the_first_at_activation(t *testing.T) {
	o := newOffice(t, nil)
	_, _, err := o.Users.Register(ctx, anonymous(), userapi.SelfRegistration{Email: "new@example.com"})
	require.NoError(t, err)
	token := o.receive("new@example.com", userapi.PurposeActivation).Token
	for range 7 {
		_, err = o.Auth.Activate(ctx, anonymous(), token, "short")
		require.ErrorIs(t, err, userapi.ErrWeakPassword)
	}
	_, err = o.Auth.Activate(ctx, anonymous(), token, another)
	require.NoError(t, err)
	_, _ = o.login("new@example.com", another)
}

func TestRegister_E04_new_and_taken_look_the_same(t *testing.T) {
	o := newOffice(t, nil)
	ada := o.user("default", "ada")
	for i, r := range []userapi.SelfRegistration{
		{Email: "new@example.com", Password: another}, {Email: "ADA@example.com", Password: another, Name: "Not Ada"},
		{Email: "fresh@example.com", Username: "Ada", Password: another},
	} {
		u, tokens, err := o.Users.Register(ctx, anonymous(), r)
		require.NoError(t, err, i)
		assert.Equal(t, userapi.User{}, u)
		assert.True(t, tokens.IsZero())
	}
	o.receive("new@example.com", userapi.PurposeActivation)
	o.silent("ada@example.com", userapi.PurposeActivation)
	assert.Equal(t, userapi.NoticeAlreadyRegistered, o.receive("ada@example.com", userapi.PurposeNotice).Notice)
	o.silent("fresh@example.com", userapi.PurposeActivation)
	assert.Equal(t, userapi.NoticeUsernameTaken, o.receive("fresh@example.com", userapi.PurposeNotice).Notice)
	assert.Equal(t, ada, o.byID(ada.ID), "untouched")
	off, err := o.Users.Deactivate(ctx, userapi.System(), ada.ID)
	require.NoError(t, err)
	_, _, err = o.Users.Register(ctx, anonymous(), userapi.SelfRegistration{Email: "ada@example.com", Password: another})
	require.NoError(t, err)
	o.silent("ada@example.com", userapi.PurposeActivation)
	assert.Equal(t, off, o.byID(ada.ID), "nobody comes back by registering anew")
}

func TestRegister_E04_costs_one_hash_and_one_write_whoever_is_there(t *testing.T) {
	w := newWorld(t, nil)
	w.user("default", "ada")
	checks := 0
	var hooks []string
	api := w.second(func(c *userapi.Config) {
		c.Registration = userapi.Registration{Policy: userapi.RegistrationVerify, Customer: "default"}
		c.Verification.Mail = &postbox{}
		c.Password.Check = func(context.Context, userapi.Secret) error { checks++; return nil }
		c.Hooks.BeforeUserCreated = func(_ context.Context, u userapi.User) error { hooks = append(hooks, u.Email); return nil }
	})
	for _, email := range []string{"new@example.com", "ada@example.com", "new@example.com"} {
		w.clock.add(time.Minute)
		_, _, err := api.Users.Register(ctx, anonymous(), userapi.SelfRegistration{Email: email, Password: password})
		require.NoError(t, err)
	}
	assert.Equal(t, 3, checks)
	assert.Equal(t, []string{"new@example.com", "ada@example.com", "new@example.com"}, hooks)
}

func TestRegister_verify_a_new_registration_replaces_one_never_activated(t *testing.T) {
	o := newOffice(t, nil)
	o.role("reader")
	register := func(r userapi.SelfRegistration) {
		_, _, err := o.Users.Register(ctx, anonymous(), r)
		require.NoError(t, err)
	}
	// An attacker registers a victim's address, with a password and a name of the attacker's.
	register(userapi.SelfRegistration{Email: "victim@example.com", Username: "evil", Name: "Evil", Phone: "+4930666666", Password: another})
	old := o.receive("victim@example.com", userapi.PurposeActivation).Token
	register(userapi.SelfRegistration{Email: "victim@example.com", Username: "good", Password: password})
	fresh := o.receive("victim@example.com", userapi.PurposeActivation).Token
	_, err := o.Auth.Activate(ctx, anonymous(), old, another)
	assert.ErrorIs(t, err, userapi.ErrInvalidLink)
	u, err := o.Auth.Activate(ctx, anonymous(), fresh, password)
	require.NoError(t, err)
	assert.Equal(t, "good", u.Username)
	assert.Empty(t, u.Name+u.Phone)
	_, _, err = o.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "victim@example.com", Password: another})
	assert.ErrorIs(t, err, userapi.ErrBadCredentials)
	register(userapi.SelfRegistration{Email: "third@example.com", Password: password})
	readers := o.second(func(c *userapi.Config) { o.wire(c, nil); c.Registration.Roles = []string{"reader"} })
	_, _, err = readers.Users.Register(ctx, anonymous(), userapi.SelfRegistration{Email: "third@example.com", Password: password})
	require.NoError(t, err)
	third, err := o.Users.ByEmail(ctx, userapi.System(), "third@example.com")
	require.NoError(t, err)
	assert.True(t, third.HasRole("reader"), "its roles are those of now")
	register(userapi.SelfRegistration{Email: "other@example.com", Username: "evil", Password: password})
	o.receive("other@example.com", userapi.PurposeActivation) // the name is free again
}

func TestRegister_verify_J09_what_is_never_activated_goes(t *testing.T) {
	o := newOffice(t, nil)
	_, _, err := o.Users.Register(ctx, anonymous(), userapi.SelfRegistration{Email: "new@example.com", Username: "name", Password: password})
	require.NoError(t, err)
	_, err = o.Users.Create(ctx, userapi.System(), userapi.NewUser{Username: "made", Password: password, CustomerID: "default"})
	require.NoError(t, err)
	o.clock.add(72 * time.Hour)
	_, err = o.Sweep(ctx)
	require.NoError(t, err)
	_, err = o.Users.ByUsername(ctx, userapi.System(), "name")
	require.NoError(t, err, "not before its time is over")
	o.clock.add(time.Millisecond)
	_, err = o.Sweep(ctx)
	require.NoError(t, err)
	_, err = o.Users.ByUsername(ctx, userapi.System(), "name")
	assert.ErrorIs(t, err, userapi.ErrNotFound)
	_, err = o.Users.ByUsername(ctx, userapi.System(), "made")
	assert.NoError(t, err, "what an admin made stays")
}

func TestRegister_verify_an_admin_may_activate(t *testing.T) {
	o := newOffice(t, nil)
	_, _, err := o.Users.Register(ctx, anonymous(), userapi.SelfRegistration{Email: "new@example.com", Password: password})
	require.NoError(t, err)
	token := o.receive("new@example.com", userapi.PurposeActivation).Token
	u, err := o.Users.ByEmail(ctx, userapi.System(), "new@example.com")
	require.NoError(t, err)
	for range 2 {
		_, _, err = o.Users.Change(ctx, userapi.System(), u.ID, userapi.UserChange{Active: ptr(true)})
		require.NoError(t, err)
	}
	_, _ = o.login("new@example.com", password)
	_, err = o.Auth.Activate(ctx, anonymous(), token, password)
	assert.ErrorIs(t, err, userapi.ErrInvalidLink)
	_, err = o.Users.Deactivate(ctx, userapi.System(), u.ID)
	require.NoError(t, err)
	o.clock.add(100 * time.Hour)
	_, err = o.Sweep(ctx)
	require.NoError(t, err)
	o.byID(u.ID)
}

func TestActivate_counts_towards_the_quota(t *testing.T) {
	o := newOffice(t, nil)
	o.customer("small", 1)
	api := o.second(func(c *userapi.Config) { o.wire(c, nil); c.Registration.Customer = "small" })
	for _, email := range []string{"a@example.com", "b@example.com"} {
		_, _, err := api.Users.Register(ctx, anonymous(), userapi.SelfRegistration{Email: email, Password: password})
		require.NoError(t, err, "a registration takes no place")
	}
	_, err := o.Auth.Activate(ctx, anonymous(), o.receive("a@example.com", userapi.PurposeActivation).Token, password)
	require.NoError(t, err)
	token := o.receive("b@example.com", userapi.PurposeActivation).Token
	for range 7 {
		_, err = o.Auth.Activate(ctx, anonymous(), token, password)
		require.ErrorIs(t, err, userapi.ErrQuota)
	}
	_, err = o.Customers.Change(ctx, userapi.System(), userapi.Customer{ID: "small", Name: "small", Quota: 2})
	require.NoError(t, err)
	_, err = o.Auth.Activate(ctx, anonymous(), token, password)
	assert.NoError(t, err)
}

func TestSendActivation_invites_who_was_created_without_password(t *testing.T) {
	o := newOffice(t, nil)
	u, err := o.Users.Create(ctx, userapi.System(), userapi.NewUser{Email: "invited@example.com", CustomerID: "default"})
	require.NoError(t, err)
	_, admin := o.login("admin", password)
	require.NoError(t, o.Users.SendActivation(ctx, admin, u.ID))
	_, err = o.Auth.Activate(ctx, anonymous(), o.receive("invited@example.com", userapi.PurposeActivation).Token, password)
	require.NoError(t, err)
	_, actor := o.login("invited@example.com", password)
	assert.ErrorIs(t, o.Users.SendActivation(ctx, admin, u.ID), userapi.ErrInvalid, "it is active")
	assert.ErrorIs(t, o.Users.SendActivation(ctx, actor, u.ID), userapi.ErrForbidden)
	assert.ErrorIs(t, o.Users.SendActivation(ctx, admin, "nobody"), userapi.ErrNotFound)
	mute, err := o.Users.Create(ctx, userapi.System(), userapi.NewUser{Username: "mute", CustomerID: "default"})
	require.NoError(t, err)
	assert.ErrorIs(t, o.Users.SendActivation(ctx, admin, mute.ID), userapi.ErrInvalid, "it has no address")
	o.role("root")
	above, err := o.Users.Create(ctx, userapi.System(), userapi.NewUser{
		Email: "above@example.com", CustomerID: "default", Roles: []userapi.RoleRef{{Code: "root"}},
	})
	require.NoError(t, err)
	low := o.second(func(c *userapi.Config) {
		o.wire(c, nil)
		c.MayGrant = func(_ userapi.Actor, role string) bool { return role != "root" }
	})
	assert.ErrorIs(t, low.Users.SendActivation(ctx, admin, above.ID), userapi.ErrForbidden, "above the admin")
	o.customer("elsewhere", 0)
	foreign := o.user("elsewhere", "foreign")
	assert.ErrorIs(t, o.Users.SendActivation(ctx, admin, foreign.ID), userapi.ErrNotFound)
}

func TestContacts_B13_the_first_proof_takes_back_a_number_that_somebody_else_may_have_proven(t *testing.T) {
	o := newOffice(t, nil)
	prove := func(name string, poster func(userapi.Actor) userapi.Actor) userapi.User {
		u := o.user("default", name)
		_, actor := o.login(name, password)
		phone := "+49301234" + fmt.Sprint(len(name))
		_, err := o.Contacts.ConfirmPhone(ctx, actor, phone, o.code(actor, phone))
		require.NoError(t, err)
		require.NoError(t, o.Contacts.RequestEmail(ctx, actor, userapi.EmailRequest{}))
		_, _, err = o.Contacts.ConfirmEmail(ctx, poster(actor), o.receive(name+"@example.com", userapi.PurposeEmail).Token)
		require.NoError(t, err)
		return o.byID(u.ID)
	}
	assert.False(t, prove("ada", func(userapi.Actor) userapi.Actor { return anonymous() }).PhoneVerified)
	assert.True(t, prove("bobby", func(own userapi.Actor) userapi.Actor { return own }).PhoneVerified)
}

func TestContacts_B13_what_was_asked_for_ends_with_a_session_that_is_shut_out(t *testing.T) {
	o := newOffice(t, nil)
	u := o.user("default", "ada")
	_, owner := o.login("ada", password)
	pose := func() (userapi.Tokens, userapi.Secret) {
		stolen, thief := o.login("ada", password)
		require.NoError(t, o.Contacts.RequestEmail(ctx, thief, userapi.EmailRequest{Email: "thief@example.com"}))
		return stolen, o.receive("thief@example.com", userapi.PurposeEmailChange).Token
	}
	confirm := func(token userapi.Secret) error {
		_, _, err := o.Contacts.ConfirmEmail(ctx, anonymous(), token)
		return err
	}
	stolen, link := pose()
	require.NoError(t, o.Sessions.End(ctx, owner, u.ID, o.actorSession(stolen)))
	assert.ErrorIs(t, confirm(link), userapi.ErrInvalidLink, "ended by its owner")

	stolen, link = pose()
	o.refreshes(stolen)
	o.clock.add(time.Minute)
	o.refreshRefused(stolen) // used twice
	assert.ErrorIs(t, confirm(link), userapi.ErrInvalidLink, "ended because its refresh token was used twice")

	stolen, link = pose()
	require.NoError(t, o.Auth.Logout(ctx, anonymous(), stolen.Refresh))
	assert.NoError(t, confirm(link), "whoever logs out may still follow the link")
}

func (o *office) actorSession(tokens userapi.Tokens) string {
	o.t.Helper()
	id, err := o.Auth.Authenticate(ctx, string(tokens.Access))
	require.NoError(o.t, err)
	return id.SessionID()
}

func TestChange_L03_a_new_address_of_ones_own_is_only_asked_for(t *testing.T) {
	o := newOffice(t, nil)
	_, admin := o.login("admin", password)
	_, _, err := o.Users.Change(ctx, admin, admin.UserID(), userapi.UserChange{Email: ptr("new@example.com"), Name: ptr("N")})
	require.NoError(t, err)
	events := o.events()
	assert.Equal(t, "email requested,name", events[len(events)-1].Detail)
}
