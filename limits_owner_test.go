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

const (
	home  = "2001:db8:1:2::3"
	again = "2001:db8:1:2:ffff::9" // the same /64
	away  = "198.51.100.7"
)

func at(address string) userapi.Actor { return userapi.Anonymous().From(address, "test") }

// tries logs in and gives what came of it.
func (w *world) tries(address, identifier string, password userapi.Secret) error {
	_, _, err := w.Auth.Login(ctx, at(address), userapi.LoginRequest{Identifier: identifier, Password: password})
	return err
}

// exhaust gives wrong passwords from many addresses until no more are judged, and returns how many were.
func (w *world) exhaust(identifier string) int {
	w.t.Helper()
	for i := range 100 {
		err := w.tries(fmt.Sprintf("203.0.113.%d", i), identifier, another)
		if errors.Is(err, userapi.ErrRateLimited) {
			return i
		}
		require.ErrorIs(w.t, err, userapi.ErrBadCredentials)
	}
	w.t.Fatal("there is no budget")
	return 0
}

func limitedFor(t *testing.T, err error) time.Duration {
	t.Helper()
	require.ErrorIs(t, err, userapi.ErrRateLimited)
	return userapi.AsError(err).RetryAfter
}

func TestLogin_J02_nobody_is_locked_out_from_elsewhere(t *testing.T) {
	w := newWorld(t, nil)
	w.user("default", "anna")
	require.NoError(t, w.tries(home, "anna", password))
	for range 10 { // the attack goes on
		w.exhaust("anna")
		require.NoError(t, w.tries(home, "anna", password))
		require.NoError(t, w.tries(again, "ANNA@example.com", password), "by whatever name, from the same network")
		assert.Positive(t, limitedFor(t, w.tries(away, "anna", password)), "elsewhere the right one has to wait, too")
		w.clock.add(time.Hour)
	}
}

func TestLogin_J02_J03_what_fails_at_a_known_address_counts_there_alone(t *testing.T) {
	w := newWorld(t, nil)
	w.user("default", "anna")
	require.NoError(t, w.tries(home, "anna", password))
	for range 5 {
		require.ErrorIs(t, w.tries(home, "anna", another), userapi.ErrBadCredentials)
	}
	assert.Equal(t, 10*time.Minute, limitedFor(t, w.tries(again, "anna", password)))
	require.NoError(t, w.tries(away, "anna", password), "the budget of everybody else is whole; and now this address is known")
	assert.Equal(t, 5, w.exhaust("anna"))
	require.NoError(t, w.tries(away, "anna", password))
	limitedFor(t, w.tries(home, "anna", password))
	limitedFor(t, w.tries("203.0.113.200", "anna", password))
}

func TestLogin_J02_an_address_is_known_for_30_days_and_of_a_whole_login(t *testing.T) {
	_, wire := withFactor("bea")
	w := newWorld(t, wire)
	w.user("default", "anna")
	w.user("default", "bea")
	require.NoError(t, w.tries(home, "anna", password))
	require.NoError(t, w.tries(home, "bea", password), "a second factor is missing")
	w.exhaust("bea")
	limitedFor(t, w.tries(home, "bea", password))

	w.clock.add(30*24*time.Hour - time.Minute)
	w.exhaust("anna")
	require.NoError(t, w.tries(home, "anna", password)) // and is for another 30
	w.clock.add(30*24*time.Hour - time.Minute)
	w.exhaust("anna")
	require.NoError(t, w.tries(home, "anna", password))
	w.clock.add(30 * 24 * time.Hour)
	w.exhaust("anna")
	limitedFor(t, w.tries(home, "anna", password))
}

func TestLogin_J02_J08_twenty_addresses_of_an_account_are_known(t *testing.T) {
	w := newWorld(t, nil)
	w.user("default", "anna")
	for i := range 25 {
		require.NoError(t, w.tries(fmt.Sprintf("192.0.2.%d", i), "anna", password))
		w.clock.add(time.Second)
	}
	require.NoError(t, w.tries("192.0.2.100", "admin", password))
	w.exhaust("anna")
	for i := range 25 {
		err := w.tries(fmt.Sprintf("192.0.2.%d", i), "anna", password)
		assert.Equal(t, i >= 5, err == nil, "address %d: %v", i, err)
	}
	w.exhaust("admin")
	require.NoError(t, w.tries("192.0.2.100", "admin", password), "those of others stay")
}

func TestReset_J02_whoever_has_reset_the_password_gets_in(t *testing.T) {
	o := newOffice(t, func(c *userapi.Config) { c.Limits = userapi.DefaultLimits() })
	anna := o.user("default", "anna")
	o.exhaust("anna")
	require.NoError(t, o.Passwords.Reset(ctx, at(home), o.resetToken("anna@example.com"), another))
	for range 4 {
		require.ErrorIs(t, o.tries(away, "anna", password), userapi.ErrBadCredentials, "what was guessed at the old one is void")
	}
	require.NoError(t, o.tries(away, "anna", another))
	_, err := o.Users.Deactivate(ctx, userapi.System(), o.user("default", "off").ID)
	require.NoError(t, err)
	for i := range 30 { // and what is guessed at the new one
		_ = o.tries(fmt.Sprintf("203.0.113.%d", i), "anna", password)
	}
	limitedFor(t, o.tries("198.51.100.8", "anna", another))
	require.NoError(t, o.tries(again, "anna", another), "keeps nobody away from where the link came back")
	assert.NotEmpty(t, anna.ID)
}

func TestPasswords_J02_the_own_password_has_the_owners_own_budget(t *testing.T) {
	w := newWorld(t, nil)
	w.user("default", "anna")
	tokens, _ := w.login("anna", password)
	id, err := w.Auth.Authenticate(ctx, string(tokens.Access))
	require.NoError(t, err)
	change := func(address string, current userapi.Secret) error {
		_, _, err := w.Passwords.Change(ctx, id.Actor().From(address, ""), current, another)
		return err
	}
	for range 5 { // a thief of the session, elsewhere
		require.ErrorIs(t, change(away, "wrong"), userapi.ErrWrongPassword)
	}
	limitedFor(t, change(away, password))
	require.NoError(t, change("192.0.2.1", password))
}

func TestCompleteLogin_J02_D02_the_second_factor_has_the_owners_own_budget(t *testing.T) {
	box := &postbox{}
	_, wire := withFactor("anna")
	w := newWorld(t, func(c *userapi.Config) { wire(c); c.Verification.Mail = box })
	w.user("default", "anna")
	_, pending := w.start("anna", userapi.StepSecondFactor)
	_, _, err := w.Auth.CompleteLogin(ctx, pending, "otp", says(true)) // at 192.0.2.1
	require.NoError(t, err)
	code := func(address string, right bool) error {
		_, pending := w.start("anna", userapi.StepSecondFactor)
		_, _, err := w.Auth.CompleteLogin(ctx, pending.From(address, ""), "otp", says(right))
		return err
	}
	for i := range 5 { // whoever knows the password, wherever they are
		require.ErrorIs(t, code(fmt.Sprintf("203.0.113.%d", i), false), userapi.ErrInvalidCode)
	}
	limitedFor(t, code(away, true))
	require.NoError(t, code("192.0.2.1", true))
	_, err = w.Deliver(ctx)
	require.NoError(t, err)
	told := box.all("anna@example.com", userapi.PurposeNotice)
	require.Len(t, told, 1)
	assert.Equal(t, userapi.NoticeSecondFactorLimited, told[0].Notice)
	assert.Equal(t, "203.0.113.4", told[0].Address)
}

// A mailbox is no second factor: where the password was reset from has no budget of its own for codes.
func TestReset_D02_brings_no_new_budget_for_codes(t *testing.T) {
	_, wire := withFactor("anna")
	o := newOffice(t, func(c *userapi.Config) { wire(c); c.Limits = userapi.DefaultLimits() })
	o.user("default", "anna")
	code := func(password userapi.Secret) error {
		_, tokens, err := o.Auth.Login(ctx, at(home), userapi.LoginRequest{Identifier: "anna", Password: password})
		require.NoError(t, err)
		id, err := o.Auth.AuthenticateStep(ctx, string(tokens.Access), userapi.StepSecondFactor)
		require.NoError(t, err)
		_, _, err = o.Auth.CompleteLogin(ctx, id.Actor().From(home, ""), "otp", says(false))
		return err
	}
	for range 5 {
		require.ErrorIs(t, code(password), userapi.ErrInvalidCode)
	}
	require.NoError(t, o.Passwords.Reset(ctx, at(home), o.resetToken("anna@example.com"), another))
	limitedFor(t, code(another))
}

func TestLogin_J01_waits_grow_but_never_for_good(t *testing.T) {
	w := newWorld(t, nil)
	w.user("default", "anna")
	tried := 0
	for round, wait := range []time.Duration{10, 20, 40, 60, 60, 60} {
		tried += w.exhaust("anna")
		assert.Equal(t, wait*time.Minute, limitedFor(t, w.tries(away, "anna", password)), "round %d", round)
		w.clock.add(wait * time.Minute)
	}
	for ; tried < 100; w.clock.add(time.Hour) {
		tried += w.exhaust("anna")
	}
	assert.Equal(t, 100, tried)
	assert.Equal(t, 5, w.exhaust("anna"))
	assert.Equal(t, 24*time.Hour, limitedFor(t, w.tries(away, "anna", password)), "after a hundred in a row")
	w.clock.add(24 * time.Hour)
	require.NoError(t, w.tries(away, "anna", password))
	w.exhaust("anna")
	w.exhaust("ghost")
	for _, name := range []string{"anna", "ghost"} {
		assert.Equal(t, 10*time.Minute, limitedFor(t, w.tries("198.51.100.9", name, password)), "a right one begins anew")
	}
}

func TestLogin_J01_slow_guesses_make_waits_grow_too(t *testing.T) {
	w := newWorld(t, nil)
	w.user("default", "anna")
	for range 2 { // four of five, so that no budget is used up
		for i := range 4 {
			require.ErrorIs(t, w.tries(fmt.Sprintf("203.0.113.%d", i), "anna", another), userapi.ErrBadCredentials)
		}
		w.clock.add(10 * time.Minute)
	}
	assert.Equal(t, 5, w.exhaust("anna"))
	assert.Equal(t, 20*time.Minute, limitedFor(t, w.tries(away, "anna", password)))
}

func TestLogin_J02_the_owner_is_told_once_for_each_window(t *testing.T) {
	o := newOffice(t, func(c *userapi.Config) { c.Limits = userapi.DefaultLimits() })
	o.user("default", "anna")
	other := o.second(func(c *userapi.Config) { o.wire(c, func(c *userapi.Config) { c.Limits = userapi.DefaultLimits() }) })
	for window := 1; window <= 3; window++ {
		for i := range 5 {
			require.ErrorIs(t, o.tries(fmt.Sprintf("203.0.113.%d", i), "anna", another), userapi.ErrBadCredentials)
		}
		for range 10 {
			limitedFor(t, o.tries(away, "anna", password))
			_, _, err := other.Auth.Login(ctx, at(away), userapi.LoginRequest{Identifier: "anna", Password: password})
			limitedFor(t, err)
		}
		assert.Equal(t, userapi.NoticeLoginLimited, o.receive("anna@example.com", userapi.PurposeNotice).Notice)
		assert.Len(t, o.box.all("anna@example.com", userapi.PurposeNotice), window)
		assert.Equal(t, window, o.count(userapi.EventLimitReached))
		o.clock.add(time.Hour)
	}
}

func TestLogin_J07_a_notice_to_an_unproven_address_has_its_budget(t *testing.T) {
	o := newOffice(t, func(c *userapi.Config) {
		c.Limits = userapi.Limits{
			userapi.LimitLogin:  {{Max: 1, Window: time.Minute, Per: userapi.PerAccount}},
			userapi.LimitNotice: {{Max: 2, Window: 24 * time.Hour, Per: userapi.PerRecipient}},
		}
	})
	o.user("default", "anna")
	for range 4 {
		require.ErrorIs(t, o.tries(away, "anna", another), userapi.ErrBadCredentials)
		o.clock.add(time.Hour)
		_, err := o.Deliver(ctx)
		require.NoError(t, err)
	}
	assert.Len(t, o.box.all("anna@example.com", userapi.PurposeNotice), 2)
}

// judging records what a login asks of the store.
type judging struct {
	recording
}

func (j *judging) ReadLimits(ctx context.Context, now time.Time, keys []string) ([]userapi.LimitCount, error) {
	j.calls = append(j.calls, fmt.Sprintf("ReadLimits %d", len(keys)))
	return j.Store.ReadLimits(ctx, now, keys)
}

func (j *judging) ReturnLimits(ctx context.Context, returns []userapi.LimitReturn) error {
	j.calls = append(j.calls, fmt.Sprintf("ReturnLimits %d", len(returns)))
	return j.Store.ReturnLimits(ctx, returns)
}

func (j *judging) AddEvent(ctx context.Context, e userapi.Event) error {
	j.calls = append(j.calls, "AddEvent "+string(e.Kind))
	return j.Store.AddEvent(ctx, e)
}

func (j *judging) InsertSession(ctx context.Context, w userapi.SessionInsert) ([]string, error) {
	j.calls = append(j.calls, fmt.Sprintf("InsertSession returns=%d", len(w.Returns)))
	return j.Store.InsertSession(ctx, w)
}

func TestLogin_E07_J02_known_and_unknown_cost_the_same_until_they_are_refused(t *testing.T) {
	w := newWorld(t, nil)
	w.user("default", "anna")
	off := w.user("default", "off")
	_, err := w.Users.Deactivate(ctx, userapi.System(), off.ID)
	require.NoError(t, err)
	require.NoError(t, w.tries(home, "anna", password))
	box := &postbox{}
	var all [][]string
	for i, name := range []string{"anna", "off", "nobody"} {
		store := &judging{recording{Store: w.store}}
		api := w.second(func(c *userapi.Config) { c.Store, c.Verification.Mail = store, box })
		for range 6 {
			_, _, err := api.Auth.Login(ctx, at(fmt.Sprintf("203.0.113.%d", i)), userapi.LoginRequest{Identifier: name, Password: another})
			store.calls = append(store.calls, fmt.Sprint(err))
		}
		all = append(all, store.calls)
		_, err := api.Deliver(ctx)
		require.NoError(t, err)
	}
	assert.Equal(t, all[0], all[1])
	assert.Equal(t, all[0], all[2])
	assert.Contains(t, all[0], "InsertChallenge challenge=false messages=1 event=limit.reached")
	assert.Len(t, box.got, 1, "and one message is sent")
}

func TestLogin_J02_a_right_password_costs_two_writes(t *testing.T) {
	w := newWorld(t, nil)
	store := &judging{recording{Store: w.store}}
	api := w.second(func(c *userapi.Config) { c.Store = store })
	for _, returns := range []int{3, 2} { // the mark of a new address, and none where there is one
		store.calls = nil
		_, _, err := api.Auth.Login(ctx, at(home), userapi.LoginRequest{Identifier: "admin", Password: password})
		require.NoError(t, err)
		assert.Equal(t, []string{"AccountForLogin", "TakeLimits 2", fmt.Sprintf("InsertSession returns=%d", returns)}, store.calls)
	}
}

func TestLogin_J01_many_addresses_and_accounts_share_the_budget_of_the_process(t *testing.T) {
	w := newWorld(t, func(c *userapi.Config) {
		c.Limits = userapi.Limits{
			userapi.LimitLogin: {{Max: 30, Window: time.Minute, Per: userapi.PerProcess}, {Max: 5, Window: time.Minute, Per: userapi.PerAccount}},
		}
	})
	require.NoError(t, w.tries(home, "admin", password))
	for range 100 {
		require.NoError(t, w.tries(away, "admin", password), "who is right uses nothing up")
	}
	stuff := func(n int) (judged int, wait time.Duration) {
		for i := range n {
			err := w.tries(fmt.Sprintf("203.0.%d.%d", i/250, i%250), fmt.Sprint("victim", i), another)
			if errors.Is(err, userapi.ErrRateLimited) {
				wait = userapi.AsError(err).RetryAfter
				continue
			}
			require.ErrorIs(t, err, userapi.ErrBadCredentials)
			judged++
		}
		return judged, wait
	}
	judged, wait := stuff(200)
	assert.Equal(t, 30, judged)
	assert.Equal(t, 2*time.Second, wait, "until one more is let through")
	w.clock.add(wait - time.Nanosecond)
	judged, _ = stuff(5)
	assert.Zero(t, judged)
	w.clock.add(time.Nanosecond)
	judged, _ = stuff(5)
	assert.Equal(t, 1, judged)
	limitedFor(t, w.tries("198.51.100.99", "admin", password))
	require.NoError(t, w.tries(home, "admin", password), "an owner at a known address is let through")
	w.clock.add(-time.Hour) // a clock that is set back shuts nobody out for an hour
	judged, wait = stuff(5)
	assert.Zero(t, judged)
	assert.Equal(t, 2*time.Second, wait)
	w.clock.add(24 * time.Hour)
	judged, _ = stuff(200)
	assert.Equal(t, 30, judged, "no more than so many at once")
	limited := 0
	for _, e := range w.store.Events() {
		if e.Kind == userapi.EventLoginLimited {
			limited++
		}
	}
	assert.LessOrEqual(t, limited, 3, "refusals do not fill the audit trail")
}

func TestLogin_J01_an_undecided_attempt_uses_nothing_of_the_process_up(t *testing.T) {
	w := newWorld(t, nil)
	store := &faulty{Store: w.store, insertSession: func() error { return userapi.ErrUnavailable }}
	api := w.second(func(c *userapi.Config) {
		c.Store, c.Limits = store, userapi.Limits{userapi.LimitLogin: {{Max: 1, Window: time.Hour, Per: userapi.PerProcess}}}
	})
	for range 3 {
		_, _, err := api.Auth.Login(ctx, at(home), userapi.LoginRequest{Identifier: "admin", Password: password})
		require.ErrorIs(t, err, userapi.ErrUnavailable)
	}
}

// down is a store whose limits cannot be asked.
type down struct {
	userapi.Store
	taken int
}

func (d *down) TakeLimits(context.Context, time.Time, []userapi.LimitTake) (time.Duration, error) {
	d.taken++
	return 0, userapi.ErrUnavailable
}

func TestLimits_J08_a_limiter_that_is_down_lets_nothing_through(t *testing.T) {
	o := newOffice(t, nil)
	anna := o.user("default", "anna")
	tokens, _ := o.login("anna", password)
	made := func(name string) (string, userapi.Secret) {
		k, key, err := o.Keys.Create(ctx, userapi.System(), anna.ID, userapi.NewAPIKey{Name: name, Scopes: []string{"full"}})
		require.NoError(t, err)
		return k.ID, key
	}
	_, key := made("good")
	id, gone := made("gone")
	require.NoError(t, o.Keys.Delete(ctx, userapi.System(), id))
	store := &down{Store: o.store}
	api := o.second(func(c *userapi.Config) {
		o.wire(c, func(c *userapi.Config) { c.Store, c.Limits = store, userapi.DefaultLimits() })
		c.Verification.AnonymousPhone = true
	})
	identity, err := api.Auth.Authenticate(ctx, string(tokens.Access))
	require.NoError(t, err)
	actor := identity.Actor().From(home, "")
	for name, ask := range map[string]func() error{
		"login": func() error {
			_, _, err := api.Auth.Login(ctx, at(home), userapi.LoginRequest{Identifier: "anna", Password: password})
			return err
		},
		"password":      func() error { _, _, err := api.Passwords.Change(ctx, actor, password, another); return err },
		"second_factor": func() error { return api.Auth.TrySecondFactor(ctx, actor, says(true)) },
		"reset": func() error {
			return api.Passwords.RequestReset(ctx, at(home), userapi.ResetRequest{Identifier: "anna"})
		},
		"register": func() error {
			_, _, err := api.Users.Register(ctx, at(home), userapi.SelfRegistration{Email: "new@example.com", Password: password})
			return err
		},
		"email": func() error { return api.Contacts.RequestEmail(ctx, actor, userapi.EmailRequest{}) },
		"phone": func() error {
			return api.Contacts.RequestPhone(ctx, at(home), userapi.PhoneRequest{Phone: "+4930123456"})
		},
		"confirm": func() error { return api.Passwords.Reset(ctx, at(home), "a.b", another) },
		"refresh": func() error { _, err := api.Auth.Refresh(ctx, at(home), "wrong"); return err },
		"key":     func() error { _, err := api.Auth.AuthenticateKey(ctx, at(home), gone); return err },
	} {
		assert.ErrorIs(t, ask(), userapi.ErrUnavailable, name)
	}
	_, err = api.Auth.Refresh(ctx, at(home), tokens.Refresh)
	assert.NoError(t, err, "what holds is not limited")
	_, err = api.Auth.AuthenticateKey(ctx, at(home), key)
	assert.NoError(t, err)
}

func TestRefresh_J01_J08_wrong_tokens_have_a_budget_and_then_cost_no_write(t *testing.T) {
	w := newWorld(t, nil)
	tokens, _ := w.login("admin", password)
	store := &judging{recording{Store: w.store}}
	api := w.second(func(c *userapi.Config) { c.Store = store })
	for range 100 {
		_, err := api.Auth.Refresh(ctx, at(away), "made up")
		require.ErrorIs(t, err, userapi.ErrInvalidToken)
	}
	store.calls = nil
	for range 50 {
		_, err := api.Auth.Refresh(ctx, at(away), "made up")
		assert.Equal(t, time.Minute, limitedFor(t, err))
	}
	assert.Equal(t, []string{"TakeLimits 1", "AddEvent limit.reached"}, store.calls, "after the first refusal, which is recorded, nobody is asked")
	_, err := api.Auth.Refresh(ctx, at(home), "made up")
	require.ErrorIs(t, err, userapi.ErrInvalidToken, "elsewhere")
	_, err = api.Auth.Refresh(ctx, at(away), tokens.Refresh)
	require.NoError(t, err, "a good one is not limited")
	w.clock.add(time.Minute)
	_, err = api.Auth.Refresh(ctx, at(away), "made up")
	require.ErrorIs(t, err, userapi.ErrInvalidToken)
}

func TestSweep_J08_what_limits_remember_goes(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 20 {
		require.ErrorIs(t, w.tries(fmt.Sprintf("203.0.113.%d", i), fmt.Sprint("ghost", i), another), userapi.ErrBadCredentials)
	}
	require.NoError(t, w.tries(home, "admin", password))
	for _, one := range []struct {
		after time.Duration
		gone  int
	}{{time.Minute, 21}, {24*time.Hour + 9*time.Minute, 20}, {24 * time.Hour, 0}} { // the counters of addresses, and those of accounts a day after
		w.clock.add(one.after)
		n, err := w.Sweep(ctx)
		require.NoError(t, err)
		assert.Equal(t, one.gone, n, one.after)
	}
	w.clock.add(29 * 24 * time.Hour)
	n, err := w.Sweep(ctx)
	require.NoError(t, err)
	assert.Positive(t, n, "the mark of the address, and the session")
}

// eventful is a store that does something beside when an event is added.
type eventful struct {
	userapi.Store
	meanwhile func()
}

func (e *eventful) AddEvent(ctx context.Context, event userapi.Event) error {
	if run := e.meanwhile; run != nil {
		e.meanwhile = nil
		run()
	}
	return e.Store.AddEvent(ctx, event)
}

func TestLogin_J02_two_nodes_that_see_a_budget_end_tell_once(t *testing.T) {
	o := newOffice(t, func(c *userapi.Config) { c.Limits = userapi.DefaultLimits() })
	o.user("default", "anna")
	store := &eventful{Store: o.store}
	other := o.second(func(c *userapi.Config) {
		o.wire(c, func(c *userapi.Config) { c.Limits, c.Store = userapi.DefaultLimits(), store })
	})
	for range 3 {
		require.ErrorIs(t, o.tries(away, "anna", another), userapi.ErrBadCredentials)
	}
	store.meanwhile = func() {
		require.ErrorIs(t, o.tries(away, "anna", another), userapi.ErrBadCredentials, "the fifth, during the fourth")
	}
	_, _, err := other.Auth.Login(ctx, at(away), userapi.LoginRequest{Identifier: "anna", Password: another})
	require.ErrorIs(t, err, userapi.ErrBadCredentials)
	o.receive("anna@example.com", userapi.PurposeNotice)
	assert.Len(t, o.box.all("anna@example.com", userapi.PurposeNotice), 1)
}

func TestLogin_J01_what_the_account_refuses_uses_nothing_of_the_process_up(t *testing.T) {
	w := newWorld(t, func(c *userapi.Config) {
		c.Limits = userapi.Limits{
			userapi.LimitLogin: {{Max: 10, Window: time.Minute, Per: userapi.PerProcess}, {Max: 2, Window: time.Minute, Per: userapi.PerAccount}},
		}
	})
	for range 50 {
		require.Error(t, w.tries(away, "ghost", another))
	}
	for i := range 8 {
		require.ErrorIs(t, w.tries(away, fmt.Sprint("ghost", i), another), userapi.ErrBadCredentials)
	}
	limitedFor(t, w.tries(away, "admin", password))
}

func TestLogin_J02_a_known_address_passes_a_busy_process_without_any_other_budget(t *testing.T) {
	w := newWorld(t, func(c *userapi.Config) {
		c.Limits = userapi.Limits{userapi.LimitLogin: {{Max: 1, Window: time.Hour, Per: userapi.PerProcess}}}
	})
	require.NoError(t, w.tries(home, "admin", password))
	require.ErrorIs(t, w.tries(away, "ghost", another), userapi.ErrBadCredentials)
	limitedFor(t, w.tries(away, "admin", password))
	require.NoError(t, w.tries(again, "admin", password))
}
