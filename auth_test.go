package userapi_test

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/userapi/userapi"
	"github.com/userapi/userapi/legacyhash"
	"github.com/userapi/userapi/store/memory"
)

func TestLogin_by_every_spelling_and_identifier(t *testing.T) {
	w := newWorld(t, nil)
	_, err := w.Users.Create(ctx, userapi.System(), userapi.NewUser{
		Email: "Anna@Example.COM", Username: "Anna", Phone: "+49 30 901820", PhoneVerified: true, Password: password, Active: true, CustomerID: "default",
	})
	require.NoError(t, err)
	for _, identifier := range []string{"anna@example.com", " ANNA@example.com ", "anna", "ＡＮＮＡ", "+4930901820", "+49 (0)30 90 18 20"} {
		user, tokens, err := w.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: identifier, Password: password})
		require.NoError(t, err, identifier)
		assert.Equal(t, "Anna@Example.COM", user.Email, "shown as typed")
		assert.Equal(t, w.clock.Now().Truncate(time.Millisecond), user.LastLogin)
		w.accepted(tokens)
	}
}

func TestLogin_F08_an_unproven_phone_is_no_login(t *testing.T) {
	w := newWorld(t, nil)
	for range 2 { // and two may claim one number
		_, err := w.Users.Create(ctx, userapi.System(), userapi.NewUser{Phone: "+4930901820", Password: password, Active: true, CustomerID: "default"})
		require.NoError(t, err)
	}
	_, _, err := w.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "+4930901820", Password: password})
	assert.ErrorIs(t, err, userapi.ErrBadCredentials)
}

func TestLogin_E01_all_refusals_are_the_same(t *testing.T) {
	w := newWorld(t, func(c *userapi.Config) { c.Limits = userapi.Limits{} })
	w.user("default", "anna")
	inactive := w.user("default", "ivan")
	_, err := w.Users.Deactivate(ctx, userapi.System(), inactive.ID)
	require.NoError(t, err)
	_, err = w.Users.Create(ctx, userapi.System(), userapi.NewUser{Username: "nopw", Active: true, CustomerID: "default"})
	require.NoError(t, err)
	_, err = w.Users.Create(ctx, userapi.System(), userapi.NewUser{Username: "garbage", PasswordHash: "correct horse battery", Active: true, CustomerID: "default"})
	require.NoError(t, err)
	for _, r := range []userapi.LoginRequest{
		{Identifier: "nobody", Password: password}, {Identifier: "anna", Password: another}, {Identifier: "ivan", Password: password},
		{Identifier: "ivan", Password: another}, {Identifier: "nopw", Password: password}, {Identifier: "nopw", Password: "None"},
		{Identifier: "garbage", Password: password}, {Identifier: "not@an@address", Password: password}, {Identifier: "", Password: password},
		{Identifier: strings.Repeat("x", 100_000), Password: password}, {Identifier: "\x00", Password: password}, {Identifier: inactive.ID, Password: password},
	} {
		_, tokens, err := w.Auth.Login(ctx, anonymous(), r)
		assert.Equal(t, userapi.ErrBadCredentials, err, r.Identifier[:min(len(r.Identifier), 20)])
		assert.True(t, tokens.IsZero())
	}
	user, err := w.Users.ByID(ctx, userapi.System(), inactive.ID)
	require.NoError(t, err)
	assert.Zero(t, user.LastLogin, "a refused login leaves last_login alone")
}

func TestLogin_C03_C05_what_can_be_no_password_is_refused_before_any_look_up(t *testing.T) {
	w := newWorld(t, nil)
	for _, p := range []userapi.Secret{"", userapi.Secret(strings.Repeat("x", 1025)), "nul\x00", "\xff"} {
		_, _, err := w.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "admin", Password: p})
		assert.ErrorIs(t, err, userapi.ErrInvalid)
	}
}

func TestLogin_the_number_one_is_nobodys_id(t *testing.T) {
	w := newWorld(t, nil)
	w.customer("two", 0)
	_, err := w.Users.Create(ctx, userapi.System(), userapi.NewUser{ID: "1", Username: "first", Password: password, Active: true, CustomerID: "default"})
	require.NoError(t, err)
	_, err = w.Users.Create(ctx, userapi.System(), userapi.NewUser{ID: "2", Username: "1", Password: password, Active: true, CustomerID: "two"})
	require.NoError(t, err)
	_, actor := w.login("1", password)
	assert.Equal(t, "2", actor.UserID())
	assert.Equal(t, "two", actor.CustomerID())
}

func TestLogin_budget_is_one_for_all_spellings_and_outlasts_the_right_password(t *testing.T) {
	w := newWorld(t, nil)
	w.user("default", "anna")
	spellings := []string{"anna", "ANNA", "anna@example.com", " Anna@EXAMPLE.com", "ａnna"}
	for _, s := range spellings {
		_, _, err := w.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: s, Password: another})
		require.ErrorIs(t, err, userapi.ErrBadCredentials)
	}
	for range 20 {
		_, _, err := w.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "anna", Password: password})
		require.ErrorIs(t, err, userapi.ErrRateLimited)
		assert.Equal(t, 10*time.Minute, userapi.AsError(err).RetryAfter)
	}
	kinds := map[userapi.EventKind]int{}
	for _, e := range w.store.Events() {
		kinds[e.Kind]++
	}
	assert.Equal(t, 5, kinds[userapi.EventLoginFailed])
	assert.Equal(t, 1, kinds[userapi.EventLoginLimited], "refusals do not fill the audit trail")
	w.clock.add(10 * time.Minute)
	w.login("anna", password)
}

func TestLogin_J08_refusals_of_made_up_names_leave_one_event_for_an_address(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 200 {
		_, _, err := w.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: fmt.Sprint("ghost", i), Password: another})
		require.Error(t, err)
	}
	limited := 0
	for _, e := range w.store.Events() {
		if e.Kind == userapi.EventLoginLimited {
			limited++
		}
	}
	assert.Equal(t, 1, limited)
}

func TestLogout_does_bounded_work(t *testing.T) {
	w := newWorld(t, nil)
	tokens, _ := w.login("admin", password)
	before := len(w.store.Events())
	many := make([]userapi.Secret, 1000)
	for i := range many {
		many[i] = tokens.Access
	}
	require.NoError(t, w.Auth.Logout(ctx, anonymous(), many...))
	assert.Len(t, w.store.Events(), before+1)
	w.refused(tokens)
}

func TestAuthenticate_a_lagging_read_shuts_nobody_out_for_long(t *testing.T) {
	w := newWorld(t, nil)
	w.clock.now = time.Now().Add(-time.Hour)
	store := &faulty{Store: w.store, sessionByID: func() error { return userapi.ErrNotFound }}
	node := w.second(func(c *userapi.Config) { c.Store = store })
	tokens, _ := w.login("admin", password)
	_, err := node.Auth.Authenticate(ctx, string(tokens.Access))
	require.ErrorIs(t, err, userapi.ErrTokenRevoked)
	store.sessionByID = nil
	_, err = node.Auth.Authenticate(ctx, string(tokens.Access))
	require.NoError(t, err)
}

func TestLogin_E07_an_unknown_name_is_limited_like_a_known_one(t *testing.T) {
	w := newWorld(t, nil)
	for range 5 {
		_, _, err := w.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "nobody", Password: another})
		require.ErrorIs(t, err, userapi.ErrBadCredentials)
	}
	_, _, err := w.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "NoBody", Password: another})
	require.ErrorIs(t, err, userapi.ErrRateLimited)
}

func TestLogin_J03_a_success_clears_the_accounts_counter_not_the_addresss(t *testing.T) {
	w := newWorld(t, func(c *userapi.Config) {
		c.Limits = userapi.Limits{userapi.LimitLogin: {{Max: 3, Window: time.Minute, Per: userapi.PerAccount}, {Max: 5, Window: time.Minute, Per: userapi.PerAddress}}}
	})
	w.user("default", "anna")
	bad := func(who string) error {
		_, _, err := w.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: who, Password: another})
		return err
	}
	require.ErrorIs(t, bad("anna"), userapi.ErrBadCredentials)
	require.ErrorIs(t, bad("anna"), userapi.ErrBadCredentials)
	w.login("anna", password) // does not count, clears anna's two
	require.ErrorIs(t, bad("anna"), userapi.ErrBadCredentials)
	require.ErrorIs(t, bad("anna"), userapi.ErrBadCredentials)
	require.ErrorIs(t, bad("admin"), userapi.ErrBadCredentials) // the fifth of this address
	require.ErrorIs(t, bad("admin"), userapi.ErrRateLimited)
	_, _, err := w.Auth.Login(ctx, userapi.Anonymous().From("192.0.2.99", ""), userapi.LoginRequest{Identifier: "admin", Password: password})
	require.NoError(t, err, "elsewhere the same account is free")
}

func TestAccessToken_expiry_boundary(t *testing.T) {
	w := newWorld(t, nil)
	tokens, _ := w.login("admin", password)
	w.clock.add(tokens.ExpiresAt.Sub(w.clock.Now()) - time.Nanosecond)
	w.accepted(tokens)
	w.clock.add(time.Nanosecond)
	_, err := w.Auth.Authenticate(ctx, string(tokens.Access))
	assert.ErrorIs(t, err, userapi.ErrTokenExpired)
}

func TestRefresh_rotates_and_keeps_auth_time(t *testing.T) {
	w := newWorld(t, nil)
	first, actor := w.login("admin", password)
	w.clock.add(20 * time.Minute)
	second := w.refreshes(first)
	assert.NotEqual(t, string(first.Refresh), string(second.Refresh))
	id, err := w.Auth.Authenticate(ctx, string(second.Access))
	require.NoError(t, err)
	assert.Equal(t, actor.UserID(), id.UserID())
	assert.Equal(t, []string{"pwd"}, id.Methods())
	assert.Equal(t, 20*time.Minute, id.IssuedAt().Sub(id.AuthTime()))
}

func TestRefresh_B03_a_lost_answer_is_given_again_for_30_seconds(t *testing.T) {
	w := newWorld(t, nil)
	first, _ := w.login("admin", password)
	second := w.refreshes(first)
	w.clock.add(30 * time.Second)
	again := w.refreshes(first)
	assert.Equal(t, string(second.Refresh), string(again.Refresh), "the same successor")
	w.clock.add(time.Millisecond)
	w.refreshRefused(first)
	w.refreshRefused(second)
	w.refused(second)
}

func TestRefresh_B01_an_older_token_ends_the_session(t *testing.T) {
	w := newWorld(t, nil)
	other, _ := w.login("admin", password)
	first, _ := w.login("admin", password)
	third := w.refreshes(w.refreshes(first))
	w.refreshRefused(first)
	w.refreshRefused(third)
	w.refused(third)
	w.accepted(other)
	w.refreshes(other)
}

func TestRefresh_B02_64_at_once_get_one_successor(t *testing.T) {
	w := newWorld(t, nil)
	first, _ := w.login("admin", password)
	var wg sync.WaitGroup
	got := make([]userapi.Secret, 64)
	for i := range got {
		wg.Go(func() {
			next, err := w.Auth.Refresh(ctx, anonymous(), first.Refresh)
			assert.NoError(t, err)
			got[i] = next.Refresh
		})
	}
	wg.Wait()
	for _, one := range got {
		assert.Equal(t, string(got[0]), string(one))
	}
	w.refreshes(userapi.Tokens{Refresh: got[0]})
}

func TestRefresh_B06_idle_and_absolute_ends(t *testing.T) {
	w := newWorld(t, nil)
	idle, _ := w.login("admin", password)
	w.clock.add(14*24*time.Hour - time.Millisecond)
	next := w.refreshes(idle)
	w.clock.add(14 * 24 * time.Hour)
	_, err := w.Auth.Refresh(ctx, anonymous(), next.Refresh)
	assert.ErrorIs(t, err, userapi.ErrTokenExpired)

	long, _ := w.login("admin", password)
	end := w.clock.Now().Add(30 * 24 * time.Hour)
	for w.clock.Now().Add(10 * 24 * time.Hour).Before(end) {
		w.clock.add(10 * 24 * time.Hour)
		long = w.refreshes(long)
	}
	w.clock.add(end.Sub(w.clock.Now()) - time.Minute)
	long = w.refreshes(long)
	assert.False(t, long.ExpiresAt.After(end), "an access token never outlives its session")
	w.clock.add(time.Minute)
	_, err = w.Auth.Refresh(ctx, anonymous(), long.Refresh)
	assert.ErrorIs(t, err, userapi.ErrTokenExpired)
}

func TestRefresh_B08_reads_roles_and_state_anew(t *testing.T) {
	w := newWorld(t, nil)
	anna := w.user("default", "anna", "admin")
	tokens, _ := w.login("anna", password)
	_, _, err := w.Users.Change(ctx, userapi.System(), anna.ID, userapi.UserChange{Roles: &[]userapi.RoleRef{}})
	require.NoError(t, err)
	w.refused(tokens)
	next := w.refreshes(tokens)
	assert.Empty(t, w.actor(next).HasRole("admin"))
	_, err = w.Users.Deactivate(ctx, userapi.System(), anna.ID)
	require.NoError(t, err)
	w.refreshRefused(next)
}

func TestLogout(t *testing.T) {
	w := newWorld(t, nil)
	w.user("default", "anna")
	mine, _ := w.login("admin", password)
	other, _ := w.login("admin", password)
	annas, _ := w.login("anna", password)
	out := func(access, refresh userapi.Secret) {
		require.NoError(t, w.Auth.Logout(ctx, anonymous(), access, refresh))
	}

	out(mine.Access, annas.Refresh)
	w.refused(mine)
	w.refreshRefused(mine)
	w.accepted(annas)
	annas = w.refreshes(annas)
	w.accepted(other)

	w.clock.add(time.Hour)
	out(other.Access, "") // an expired access token still ends its session
	w.refreshRefused(other)
	out("", annas.Refresh)
	w.refreshRefused(annas)
	for range 2 {
		out(other.Access, other.Refresh)
		out("nonsense", "nonsense")
		out("", "")
	}
}

func TestLogout_two_credentials_of_one_user_end_both(t *testing.T) {
	w := newWorld(t, nil)
	one, _ := w.login("admin", password)
	two, _ := w.login("admin", password)
	require.NoError(t, w.Auth.Logout(ctx, anonymous(), one.Access, two.Refresh))
	w.refused(one)
	w.refused(two)
}

func TestLogout_reaches_another_node_within_the_bound(t *testing.T) {
	w := newWorld(t, nil)
	node := w.second(nil)
	tokens, _ := w.login("admin", password)
	_, err := node.Auth.Authenticate(ctx, string(tokens.Access))
	require.NoError(t, err)
	require.NoError(t, w.Auth.Logout(ctx, anonymous(), tokens.Access, ""))
	w.clock.add(time.Second)
	_, err = node.Auth.Authenticate(ctx, string(tokens.Access))
	assert.ErrorIs(t, err, userapi.ErrTokenRevoked)
}

func TestLogout_B05_survives_a_restart(t *testing.T) {
	w := newWorld(t, nil)
	tokens, _ := w.login("admin", password)
	require.NoError(t, w.Auth.Logout(ctx, anonymous(), tokens.Access, ""))
	_, err := w.second(nil).Auth.Authenticate(ctx, string(tokens.Access))
	assert.ErrorIs(t, err, userapi.ErrTokenRevoked)
}

func TestSessions_B12_the_oldest_end_beyond_the_cap(t *testing.T) {
	w := newWorld(t, func(c *userapi.Config) { c.SessionsPerUser = 3 })
	var all []userapi.Tokens
	for range 5 {
		tokens, _ := w.login("admin", password)
		all = append(all, tokens)
		w.clock.add(time.Second)
	}
	for _, ended := range all[:2] {
		w.refused(ended)
		w.refreshRefused(ended)
	}
	for _, kept := range all[2:] {
		w.accepted(kept)
	}
}

func TestSessions_B11_are_listed_and_ended_by_their_owner_and_admins(t *testing.T) {
	w := newWorld(t, nil)
	w.user("default", "anna")
	w.user("default", "serv", "service")
	w.customer("two", 0)
	w.user("two", "boss", "admin")
	_, admin := w.login("admin", password)
	_, serv := w.login("serv", password)
	_, boss := w.login("boss", password)
	one, anna := w.login("anna", password)
	two, _ := w.login("anna", password)

	list, err := w.Sessions.List(ctx, anna, anna.UserID())
	require.NoError(t, err)
	require.Len(t, list, 2)
	assert.Equal(t, "192.0.2.1", list[0].Address)
	assert.Equal(t, "test", list[0].UserAgent)

	for who, want := range map[*userapi.Actor]error{&serv: userapi.ErrForbidden, &boss: userapi.ErrNotFound} {
		_, err = w.Sessions.List(ctx, *who, anna.UserID())
		assert.ErrorIs(t, err, want)
		assert.ErrorIs(t, w.Sessions.End(ctx, *who, anna.UserID(), list[0].ID), want)
		assert.ErrorIs(t, w.Sessions.EndAll(ctx, *who, anna.UserID()), want)
	}
	assert.ErrorIs(t, w.Sessions.End(ctx, anna, admin.UserID(), list[0].ID), userapi.ErrForbidden)
	assert.ErrorIs(t, w.Sessions.End(ctx, admin, admin.UserID(), list[0].ID), userapi.ErrNotFound, "another user's session under one's own path")
	w.accepted(one)
	w.accepted(two)

	id, _ := w.Auth.Authenticate(ctx, string(one.Access))
	require.NoError(t, w.Sessions.End(ctx, admin, anna.UserID(), id.SessionID()))
	w.refused(one)
	w.accepted(two)
	require.NoError(t, w.Sessions.EndAll(ctx, w.actor(two), anna.UserID()))
	w.refused(two)
	w.refreshRefused(two)
}

func TestSessions_RevokeAll_ends_what_was_issued_before_and_nothing_after(t *testing.T) {
	w := newWorld(t, nil)
	before, _ := w.login("admin", password)
	require.NoError(t, w.Sessions.RevokeAll(ctx, userapi.System()))
	w.refused(before)
	w.refreshRefused(before)
	after, actor := w.login("admin", password) // within the same second
	w.accepted(after)
	assert.ErrorIs(t, w.Sessions.RevokeAll(ctx, actor), userapi.ErrForbidden)
	w.clock.add(2 * time.Second)
	next := w.refreshes(after)
	w.accepted(next)
	require.NoError(t, w.Auth.Logout(ctx, anonymous(), next.Access))
	w.refused(next) // though its session was looked up a moment ago
}

func TestSessions_RevokeAll_fails_closed_while_sessions_cannot_be_read(t *testing.T) {
	w := newWorld(t, nil)
	store := &faulty{Store: w.store}
	api := w.second(func(c *userapi.Config) { c.Store = store })
	require.NoError(t, w.Sessions.RevokeAll(ctx, userapi.System()))
	after, _ := w.login("admin", password)
	store.sessionByID = func() error { return userapi.ErrUnavailable }
	_, err := api.Auth.Authenticate(ctx, string(after.Access))
	require.ErrorIs(t, err, userapi.ErrUnavailable)
	store.sessionByID = nil
	_, err = api.Auth.Authenticate(ctx, string(after.Access))
	require.NoError(t, err)
	store.sessionByID = func() error { return userapi.ErrUnavailable }
	_, err = api.Auth.Authenticate(ctx, string(after.Access))
	require.NoError(t, err, "asked once")
}

func TestIssueTokens_is_the_hosts_alone(t *testing.T) {
	w := newWorld(t, nil)
	anna := w.user("default", "anna")
	_, admin := w.login("admin", password)
	_, _, err := w.Auth.IssueTokens(ctx, admin, anna.ID, "sso")
	assert.ErrorIs(t, err, userapi.ErrForbidden)
	_, tokens, err := w.Auth.IssueTokens(ctx, userapi.System(), anna.ID, "sso")
	require.NoError(t, err)
	id, err := w.Auth.Authenticate(ctx, string(tokens.Access))
	require.NoError(t, err)
	assert.Equal(t, []string{"sso"}, id.Methods())
	_, _, err = w.Auth.IssueTokens(ctx, userapi.System(), "nobody", "sso")
	assert.ErrorIs(t, err, userapi.ErrNotFound)
	for n, wanted := range map[int]error{0: userapi.ErrInvalid, 8: nil, 9: userapi.ErrInvalid} {
		_, _, err = w.Auth.IssueTokens(ctx, userapi.System(), anna.ID, slices.Repeat([]string{"sso"}, n)...)
		assert.ErrorIs(t, err, wanted, n)
	}
	_, err = w.Users.Deactivate(ctx, userapi.System(), anna.ID)
	require.NoError(t, err)
	_, _, err = w.Auth.IssueTokens(ctx, userapi.System(), anna.ID, "sso")
	assert.ErrorIs(t, err, userapi.ErrBadCredentials)
}

func TestHashUpgrade_C10_happens_at_login_once(t *testing.T) {
	w := newWorld(t, nil)
	w.user("default", "anna")
	stronger := w.second(func(c *userapi.Config) { c.Password.Argon2id.MemoryKiB = 128 })
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			_, _, err := stronger.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "anna", Password: password})
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	account, err := w.store.AccountByIdentifier(ctx, userapi.Scope{All: true}, userapi.Identifier{Kind: userapi.UsernameIdentifier, Value: "anna"})
	require.NoError(t, err)
	assert.Contains(t, account.PasswordHash, "m=128,")
}

const (
	knlambertHash = "5f4d21582527cf28a40555b5648e1b0c"
	knlambertSalt = "4f2b1f1ec80ce7963410edcde1dd333885e2ef85af59186723d24c01f69d269e"

	legacyPassword userapi.Secret = "Correct horse 1"
)

// movedIn is a world with an account anna that has a hash of another system.
func movedIn(t *testing.T, hash string) *world {
	t.Helper()
	w := newWorld(t, func(c *userapi.Config) {
		c.Password.Legacy, c.Limits = legacyhash.All(), userapi.Limits{}
	})
	_, err := w.Users.Create(ctx, userapi.System(), userapi.NewUser{Username: "anna", PasswordHash: hash, Active: true, CustomerID: "default"})
	require.NoError(t, err)
	return w
}

func (w *world) account(username string) userapi.Account {
	w.t.Helper()
	account, err := w.store.AccountByIdentifier(ctx, userapi.Scope{All: true}, userapi.Identifier{Kind: userapi.UsernameIdentifier, Value: username})
	require.NoError(w.t, err)
	return account
}

func (w *world) count(kind userapi.EventKind) (n int) {
	for _, e := range w.store.Events() {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

func TestLegacyHash_is_replaced_at_the_first_login(t *testing.T) {
	for _, hash := range []string{
		legacyhash.Knlambert(knlambertHash, knlambertSalt),
		"$pbkdf2-sha256$29000$CiFkLIUwZqy1thYihBAC4A$0T1tAFbbkW.l7uEtRQnoW55zdh0vE1uxgnVHvo5ndDs",
		"$argon2id$v=19$m=102400,t=2,p=8$2Dun1Lp3TmnNmXPuHeOcEw$iyssJKplSOW9eOKzpMgiPg",
		"$5$rounds=535000$Bs5dcvqvjwfbu6f5$//Lc4sIMdX0G2puM8T7T1Z6fxkucvewHk6WbDyN4hx0",
	} {
		w := movedIn(t, hash)
		_, _, err := w.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "anna", Password: "Correct horse 2"})
		require.ErrorIs(t, err, userapi.ErrBadCredentials)
		_, _, err = w.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "anna", Password: userapi.Secret(hash)})
		require.ErrorIs(t, err, userapi.ErrBadCredentials)
		assert.Equal(t, hash, w.account("anna").PasswordHash, "a wrong password changes nothing")
		w.login("anna", legacyPassword)
		assert.Contains(t, w.account("anna").PasswordHash, "$argon2id$v=19$m=64,t=1,p=1$")
		w.login("anna", legacyPassword)
		assert.Equal(t, 1, w.count(userapi.EventPasswordUpgraded), hash)
		assert.Equal(t, 2, w.count(userapi.EventLoginFailed), hash)
	}
}

func TestLegacyHash_C10_of_64_logins_at_once_one_replaces_it_and_none_fails(t *testing.T) {
	w := movedIn(t, legacyhash.Knlambert(knlambertHash, knlambertSalt))
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			_, _, err := w.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "anna", Password: legacyPassword})
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	assert.Contains(t, w.account("anna").PasswordHash, "$argon2id$")
	assert.Equal(t, 1, w.count(userapi.EventPasswordUpgraded))
	w.login("anna", legacyPassword)
}

// readOnly is a store that keeps no new hash.
type readOnly struct{ *memory.Store }

func (readOnly) UpgradeHash(context.Context, userapi.HashUpgrade) (bool, error) {
	return false, userapi.ErrUnavailable
}

func TestLegacyHash_C10_a_login_does_not_fail_because_it_could_not_be_replaced(t *testing.T) {
	w := movedIn(t, legacyhash.Knlambert(knlambertHash, knlambertSalt))
	api := w.second(func(c *userapi.Config) { c.Store, c.Password.Legacy = readOnly{w.store}, legacyhash.All() })
	_, tokens, err := api.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "anna", Password: legacyPassword})
	require.NoError(t, err)
	w.accepted(tokens)
	assert.Contains(t, w.account("anna").PasswordHash, "$knlambert$")
	w.login("anna", legacyPassword)
	assert.Contains(t, w.account("anna").PasswordHash, "$argon2id$")
}

func TestLegacyHash_proves_its_owner(t *testing.T) {
	w := movedIn(t, legacyhash.Knlambert(knlambertHash, knlambertSalt))
	_, tokens, err := w.Auth.IssueTokens(ctx, userapi.System(), w.account("anna").ID, "sso")
	require.NoError(t, err)
	w.clock.add(6 * time.Minute)
	anna := w.actor(tokens)
	_, _, err = w.Passwords.Change(ctx, anna, "Correct horse 2", another)
	require.ErrorIs(t, err, userapi.ErrWrongPassword)
	_, _, err = w.Passwords.Change(ctx, anna, legacyPassword, another)
	require.NoError(t, err)
	w.login("anna", another)
}

func TestLegacyHash_C13_C04_what_nobody_reads_lets_nobody_in_and_tells_the_host(t *testing.T) {
	for _, hash := range []string{
		"Correct horse 1", "$plaintext$Correct horse 1", "$2a$31$" + strings.Repeat("a", 53), "$scrypt$ln=63,r=8,p=1$AAAA$AAAAAAAAAAAAAAAAAAAAAA",
		"$argon2i$v=19$m=4194304,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "$5$rounds=1000000000000$a$" + strings.Repeat("a", 43),
		legacyhash.Knlambert(knlambertHash[1:], knlambertSalt), strings.Repeat("x", 512),
	} {
		w := movedIn(t, hash)
		for _, password := range []userapi.Secret{legacyPassword, userapi.Secret(hash)} {
			_, _, err := w.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "anna", Password: password})
			assert.ErrorIs(t, err, userapi.ErrBadCredentials)
		}
		assert.Equal(t, 2, w.count(userapi.EventPasswordUnusable), hash)
		assert.Equal(t, hash, w.account("anna").PasswordHash)
	}
	w := newWorld(t, nil)
	_, err := w.Users.Create(ctx, userapi.System(), userapi.NewUser{Username: "anna", PasswordHash: strings.Repeat("x", 513), CustomerID: "default"})
	require.ErrorIs(t, err, userapi.ErrInvalid)
	assert.Contains(t, userapi.AsError(err).Fields, "password_hash")
}

func TestZeroActor_may_do_nothing(t *testing.T) {
	w := newWorld(t, nil)
	var zero userapi.Actor
	anna := w.user("default", "anna")
	fails := func(err error) {
		t.Helper()
		require.Error(t, err)
		assert.Equal(t, userapi.Internal, userapi.AsError(err).Kind)
	}
	_, _, err := w.Auth.Login(ctx, zero, userapi.LoginRequest{Identifier: "anna", Password: password})
	fails(err)
	_, err = w.Auth.Refresh(ctx, zero, "x")
	fails(err)
	fails(w.Auth.Logout(ctx, zero, "x", "x"))
	_, err = w.Users.ByID(ctx, zero, anna.ID)
	fails(err)
	_, err = w.Users.List(ctx, zero, userapi.UserQuery{})
	fails(err)
	_, _, err = w.Users.Change(ctx, zero, anna.ID, userapi.UserChange{})
	fails(err)
	fails(w.Users.Delete(ctx, zero, anna.ID))
	_, err = w.Sessions.List(ctx, zero, anna.ID)
	fails(err)
	_, err = w.Roles.List(ctx, zero, 0, 0)
	fails(err)
	_, err = w.Customers.ByID(ctx, zero, "default")
	fails(err)
	var nobody *userapi.Identity
	_, err = w.Users.ByID(ctx, nobody.Actor(), anna.ID)
	fails(err)
	identity := reflect.ValueOf(nobody)
	for i := range identity.NumMethod() {
		if method := identity.Method(i); method.Type().NumIn() == 0 {
			assert.True(t, method.Call(nil)[0].IsZero() || method.Call(nil)[0].Len() == 0, identity.Type().Method(i).Name)
		}
	}
}

// Who is overtaken once tries again; who is overtaken every time says that it did not happen.
func TestNouns_that_are_overtaken(t *testing.T) {
	o := newOffice(t, nil)
	anna := o.user("default", "anna")
	link := o.resetToken("anna@example.com")
	left := 0
	overtaken := func() error {
		if left--; left >= 0 {
			return userapi.ErrChanged
		}
		return nil
	}
	api := o.second(func(c *userapi.Config) {
		c.Store = &faulty{Store: o.store, insertSession: overtaken, changeUser: overtaken}
		c.Verification.Mail = o.box
	})
	for _, call := range []struct {
		name string
		call func() error
	}{
		{"login", func() error {
			_, _, err := api.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "anna", Password: password})
			return err
		}},
		{"issue tokens", func() error {
			_, _, err := api.Auth.IssueTokens(ctx, userapi.System(), anna.ID, "sso")
			return err
		}},
		{"change", func() error {
			_, _, err := api.Users.Change(ctx, userapi.System(), anna.ID, userapi.UserChange{Name: ptr("Anna")})
			return err
		}},
		{"reset", func() error { return api.Passwords.Reset(ctx, anonymous(), link, another) }},
	} {
		left = 1000
		assert.ErrorIs(t, call.call(), userapi.ErrUnavailable, call.name)
		left = 1
		assert.NoError(t, call.call(), call.name)
		assert.Negative(t, left, call.name)
	}
}

func TestSessions_RevokeAll_reaches_what_a_clock_ahead_has_issued(t *testing.T) {
	w := newWorld(t, nil)
	ahead := w.second(func(c *userapi.Config) { c.Now = func() time.Time { return w.clock.Now().Add(45 * time.Second) } })
	_, tokens, err := ahead.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "admin", Password: password})
	require.NoError(t, err)
	w.accepted(tokens)
	require.NoError(t, w.Sessions.RevokeAll(ctx, userapi.System()))
	w.refused(tokens)
	w.clock.add(time.Second)
	_, err = ahead.Auth.Authenticate(ctx, string(tokens.Access))
	assert.ErrorIs(t, err, userapi.ErrTokenRevoked)
	after, _ := w.login("admin", password)
	_, err = ahead.Auth.Authenticate(ctx, string(after.Access))
	assert.NoError(t, err)
	_, err = w.second(nil).Auth.Authenticate(ctx, string(after.Access))
	assert.NoError(t, err, "a node that has just started learns of the moment before it judges the time of issue")
}

// faulty is a store that fails where a test wants.
type faulty struct {
	userapi.Store
	insertSession func() error
	changeUser    func() error
	inserted      func()
	sessionByID   func() error
	rotate        func() error
	revocations   func() error
}

func (f *faulty) InsertSession(ctx context.Context, w userapi.SessionInsert) ([]string, error) {
	if f.insertSession != nil {
		if err := f.insertSession(); err != nil {
			return nil, err
		}
	}
	return f.Store.InsertSession(ctx, w)
}

func (f *faulty) InsertUser(ctx context.Context, w userapi.UserInsert) error {
	err := f.Store.InsertUser(ctx, w)
	if f.inserted != nil {
		f.inserted()
	}
	return err
}

func (f *faulty) SessionByID(ctx context.Context, id string) (userapi.SessionAccount, error) {
	if f.sessionByID != nil {
		if err := f.sessionByID(); err != nil {
			return userapi.SessionAccount{}, err
		}
	}
	return f.Store.SessionByID(ctx, id)
}

func (f *faulty) ChangeUser(ctx context.Context, w userapi.UserUpdate) error {
	if f.changeUser != nil {
		if err := f.changeUser(); err != nil {
			return err
		}
	}
	return f.Store.ChangeUser(ctx, w)
}

func (f *faulty) RotateSession(ctx context.Context, w userapi.SessionRotation) error {
	err := f.Store.RotateSession(ctx, w)
	if f.rotate != nil && err == nil {
		err = f.rotate()
	}
	return err
}

func (f *faulty) Revocations(ctx context.Context, since int64) ([]userapi.Revocation, int64, error) {
	if f.revocations != nil {
		if err := f.revocations(); err != nil {
			return nil, 0, err
		}
	}
	return f.Store.Revocations(ctx, since)
}

func TestLogin_K01_a_store_that_fails_locks_nobody_out(t *testing.T) {
	w := newWorld(t, nil)
	store := &faulty{Store: w.store}
	api := w.second(func(c *userapi.Config) { c.Store = store })
	store.insertSession = func() error { return userapi.ErrUnavailable }
	for range 30 {
		_, tokens, err := api.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "admin", Password: password})
		require.ErrorIs(t, err, userapi.ErrUnavailable)
		require.True(t, tokens.IsZero())
	}
	for range 30 {
		gone, leave := context.WithCancel(ctx)
		store.insertSession = func() error { leave(); return gone.Err() }
		_, _, err := api.Auth.Login(gone, anonymous(), userapi.LoginRequest{Identifier: "admin", Password: password})
		require.ErrorIs(t, err, context.Canceled)
	}
	store.insertSession = nil
	_, _, err := api.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "admin", Password: password})
	require.NoError(t, err)
}

func TestRefresh_K01_an_unknown_outcome_may_be_tried_again(t *testing.T) {
	w := newWorld(t, nil)
	store := &faulty{Store: w.store, rotate: func() error { return userapi.ErrUnavailable }}
	api := w.second(func(c *userapi.Config) { c.Store = store })
	first, _ := w.login("admin", password)
	_, err := api.Auth.Refresh(ctx, anonymous(), first.Refresh)
	require.ErrorIs(t, err, userapi.ErrUnavailable)
	store.rotate = nil
	next, err := api.Auth.Refresh(ctx, anonymous(), first.Refresh)
	require.NoError(t, err, "the same token again: no theft")
	w.refreshes(next)
}

func TestAuthenticate_K02_fails_closed(t *testing.T) {
	w := newWorld(t, nil)
	tokens, _ := w.login("admin", password)
	api := w.second(func(c *userapi.Config) {
		c.Store = &faulty{Store: w.store, revocations: func() error { return userapi.ErrUnavailable }}
	})
	_, err := api.Auth.Authenticate(ctx, string(tokens.Access))
	require.ErrorIs(t, err, userapi.ErrUnavailable)
}

func TestRefresh_B04_a_logout_at_the_same_time_wins(t *testing.T) {
	w := newWorld(t, func(c *userapi.Config) { c.Limits = userapi.Limits{} })
	for range 20 {
		tokens, _ := w.login("admin", password)
		var wg sync.WaitGroup
		var mu sync.Mutex
		var children []userapi.Tokens
		for i := range 32 {
			wg.Go(func() {
				if i == 16 {
					assert.NoError(t, w.Auth.Logout(ctx, anonymous(), tokens.Access, ""))
					return
				}
				next, err := w.Auth.Refresh(ctx, anonymous(), tokens.Refresh)
				if err != nil {
					assert.ErrorIs(t, err, userapi.ErrTokenRevoked)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				children = append(children, next)
			})
		}
		wg.Wait()
		for _, child := range children {
			w.refused(child)
			w.refreshRefused(child)
		}
	}
}

func TestLogin_one_busy_address_keeps_nobody_else_waiting(t *testing.T) {
	w := newWorld(t, func(c *userapi.Config) {
		c.Limits = userapi.Limits{userapi.LimitLogin: {{Max: 5, Window: time.Minute, Per: userapi.PerAccount}, {Max: 4, Window: time.Minute, Per: userapi.PerAddress}}}
	})
	inside, goOn := make(chan struct{}), make(chan struct{})
	store := &faulty{Store: w.store, insertSession: func() error { inside <- struct{}{}; <-goOn; return nil }}
	busy := w.second(func(c *userapi.Config) {
		c.Store = store
		c.Limits = userapi.Limits{userapi.LimitLogin: {{Max: 5, Window: time.Minute, Per: userapi.PerAccount}, {Max: 4, Window: time.Minute, Per: userapi.PerAddress}}}
	})
	w.user("default", "anna")
	var wg sync.WaitGroup
	login := func(address, who string) {
		_, _, err := busy.Auth.Login(ctx, userapi.Anonymous().From(address, ""), userapi.LoginRequest{Identifier: who, Password: password})
		assert.NoError(t, err)
	}
	wg.Go(func() { login("192.0.2.66", "admin") })
	<-inside                                      // the address's one place is taken …
	wg.Go(func() { login("192.0.2.66", "anna") }) // … so this one waits, without holding anna's
	time.Sleep(10 * time.Millisecond)
	wg.Go(func() { login("192.0.2.7", "anna") })
	<-inside // anna is in, from elsewhere
	close(goOn)
	<-inside
	wg.Wait()
}

func TestLogin_an_undecided_attempt_clears_nothing(t *testing.T) {
	w := newWorld(t, nil)
	store := &faulty{Store: w.store}
	api := w.second(func(c *userapi.Config) { c.Store = store })
	try := func(p userapi.Secret) error {
		_, _, err := api.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "admin", Password: p})
		return err
	}
	for range 4 {
		require.ErrorIs(t, try(another), userapi.ErrBadCredentials)
	}
	store.insertSession = func() error { return userapi.ErrUnavailable }
	require.ErrorIs(t, try(password), userapi.ErrUnavailable)
	require.ErrorIs(t, try(another), userapi.ErrBadCredentials, "the fifth")
	require.ErrorIs(t, try(another), userapi.ErrRateLimited)
}

func TestLogin_looks_again_when_the_account_changed_meanwhile(t *testing.T) {
	w := newWorld(t, nil)
	anna := w.user("default", "anna")
	store := &faulty{Store: w.store}
	api := w.second(func(c *userapi.Config) { c.Store = store })
	meanwhile := func(ch userapi.UserChange) error {
		once := true
		store.insertSession = func() error {
			if once {
				once = false
				_, _, err := w.Users.Change(ctx, userapi.System(), anna.ID, ch)
				require.NoError(t, err)
			}
			return nil
		}
		_, tokens, err := api.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "anna", Password: password})
		if err == nil {
			assert.True(t, w.actor(tokens).HasRole("admin"))
		}
		return err
	}
	require.NoError(t, meanwhile(userapi.UserChange{Roles: &[]userapi.RoleRef{{Code: "admin"}}}), "with the roles of now")
	require.ErrorIs(t, meanwhile(userapi.UserChange{Active: ptr(false)}), userapi.ErrBadCredentials)
	_, _, err := w.Users.Change(ctx, userapi.System(), anna.ID, userapi.UserChange{Active: ptr(true)})
	require.NoError(t, err)
	require.ErrorIs(t, meanwhile(userapi.UserChange{Password: ptr(another)}), userapi.ErrBadCredentials)
}

func TestHashUpgrade_is_not_for_inactive_accounts(t *testing.T) {
	w := newWorld(t, nil)
	anna := w.user("default", "anna")
	_, err := w.Users.Deactivate(ctx, userapi.System(), anna.ID)
	require.NoError(t, err)
	stronger := w.second(func(c *userapi.Config) { c.Password.Argon2id.MemoryKiB = 128 })
	_, _, err = stronger.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "anna", Password: password})
	require.ErrorIs(t, err, userapi.ErrBadCredentials)
	account, err := w.store.AccountByID(ctx, userapi.Scope{All: true}, anna.ID)
	require.NoError(t, err)
	assert.Contains(t, account.PasswordHash, "m=64,")
}

func TestRefresh_A10_of_an_inactive_account_is_refused_though_a_session_is_left(t *testing.T) {
	w := newWorld(t, nil)
	anna := w.user("default", "anna")
	first, _ := w.login("anna", password)
	second := w.refreshes(first)
	account, err := w.store.AccountByID(ctx, userapi.Scope{All: true}, anna.ID)
	require.NoError(t, err)
	account.Active = false // somebody wrote to the database by hand
	require.NoError(t, w.store.ChangeUser(ctx, userapi.UserUpdate{
		Scope: userapi.Scope{All: true}, Account: account, IfVersion: account.Version, CustomerBefore: "default", Event: userapi.Event{ID: "by hand"},
	}))
	w.refreshRefused(second)
	w.refreshRefused(first)
}

func TestLogin_right_passwords_at_once_are_not_refused_for_each_other(t *testing.T) {
	for name, who := range map[string]func(i int) (address, identifier string){
		"of one account": func(i int) (string, string) { return fmt.Sprint("192.0.2.", i), "admin" },
		"of one address": func(i int) (string, string) { return "192.0.2.1", fmt.Sprint("user", i) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			inside, goOn := make(chan struct{}, 64), make(chan struct{})
			store := &faulty{Store: w.store, insertSession: func() error { inside <- struct{}{}; <-goOn; return nil }}
			api := w.second(func(c *userapi.Config) { c.Store = store })
			for i := range 30 {
				w.user("default", fmt.Sprint("user", i))
			}
			var wg sync.WaitGroup
			for i := range 30 {
				wg.Go(func() {
					address, identifier := who(i)
					_, _, err := api.Auth.Login(ctx, userapi.Anonymous().From(address, ""), userapi.LoginRequest{Identifier: identifier, Password: password})
					assert.NoError(t, err)
				})
			}
			<-inside // one is under way; the others wait for it or for their turn
			time.Sleep(50 * time.Millisecond)
			close(goOn)
			wg.Wait()
		})
	}
}

func TestSessions_RevokeAll_twice_ends_what_was_looked_up_between(t *testing.T) {
	w := newWorld(t, nil)
	w.clock.now = time.Now().Add(-time.Hour) // before the store began: every token is looked up
	node := w.second(nil)
	tokens, _ := w.login("admin", password)
	for _, behind := range []time.Duration{0, time.Second, 0} { // the clock of who revokes may be, or say the same twice
		_, err := node.Auth.Authenticate(ctx, string(tokens.Access))
		require.NoError(t, err)
		w.clock.add(-behind)
		require.NoError(t, w.Sessions.RevokeAll(ctx, userapi.System()))
		require.NoError(t, w.Sessions.RevokeAll(ctx, userapi.System()))
		w.clock.add(behind + time.Second)
		_, err = node.Auth.Authenticate(ctx, string(tokens.Access))
		require.ErrorIs(t, err, userapi.ErrTokenRevoked)
		tokens, _ = w.login("admin", password)
	}
}

func TestAuthenticate_a_token_is_none_in_a_store_that_begins_later(t *testing.T) {
	w := newWorld(t, func(c *userapi.Config) { c.Now = nil })
	_, tokens, err := w.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "admin", Password: password})
	require.NoError(t, err)
	w.accepted(tokens)
	fresh := newWorld(t, func(c *userapi.Config) { c.Now = nil })
	fresh.refused(tokens)
	fresh.refreshRefused(tokens)
}

func TestAuthenticate_looks_a_doubtful_session_up_once_a_minute(t *testing.T) {
	w := newWorld(t, nil)
	w.clock.now = time.Now().Add(-time.Hour) // before the store began
	reads := 0
	store := &faulty{Store: w.store, sessionByID: func() error { reads++; return nil }}
	node := w.second(func(c *userapi.Config) { c.Store = store })
	tokens, _ := w.login("admin", password)
	check := func() {
		t.Helper()
		_, err := node.Auth.Authenticate(ctx, string(tokens.Access))
		require.NoError(t, err)
	}
	for range 10 {
		check()
		w.clock.add(5 * time.Second)
	}
	assert.Equal(t, 1, reads)
	w.clock.add(15 * time.Second)
	check()
	check()
	assert.Equal(t, 2, reads)
}

// Columns of a database have as many.
func TestActor_says_where_from_in_bounds(t *testing.T) {
	w := newWorld(t, nil)
	anna := w.user("default", "anna")
	from := userapi.Anonymous().From(strings.Repeat("a", 100), strings.Repeat("ü", 300))
	_, _, err := w.Auth.Login(ctx, from, userapi.LoginRequest{Identifier: "anna", Password: password})
	require.NoError(t, err)
	open, err := w.Sessions.List(ctx, userapi.System(), anna.ID)
	require.NoError(t, err)
	require.Len(t, open, 1)
	assert.Equal(t, []string{strings.Repeat("a", 64), strings.Repeat("ü", 127)}, []string{open[0].Address, open[0].UserAgent})
}
