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

func TestCreate_by_an_admin_lands_in_the_admins_customer(t *testing.T) {
	w := newWorld(t, nil)
	w.role("editor")
	_, admin := w.login("admin", password)
	u, err := w.Users.Create(ctx, admin, userapi.NewUser{
		Email: "Anna@Example.com", Name: "Anna", Password: password, Active: true, Roles: []userapi.RoleRef{{Code: "editor"}, {Code: "editor"}},
	})
	require.NoError(t, err)
	assert.Equal(t, "default", u.CustomerID)
	assert.Equal(t, []string{"editor"}, codes(u))
	assert.False(t, u.EmailVerified)
	for name, n := range map[string]userapi.NewUser{
		"another customer": {Username: "x", CustomerID: "two"}, "an id": {Username: "x", ID: "7"}, "a hash": {Username: "x", PasswordHash: "$"},
		"a time of creation": {Username: "x", CreatedAt: time.Unix(1, 0)}, "a last login": {Username: "x", LastLogin: time.Unix(1, 0)},
		"a mark": {Username: "x", EmailVerified: true}, "another mark": {Username: "x", PhoneVerified: true},
	} {
		_, err := w.Users.Create(ctx, admin, n)
		assert.ErrorIs(t, err, userapi.ErrForbidden, name)
	}
}

func codes(u userapi.User) []string {
	var out []string
	for _, r := range u.Roles {
		out = append(out, r.Code)
	}
	return out
}

func TestCreate_refuses_and_saves_nothing(t *testing.T) {
	w := newWorld(t, nil)
	w.user("default", "anna")
	for name, c := range map[string]struct {
		n    userapi.NewUser
		want error
	}{
		"no identifier":                {userapi.NewUser{Name: "x"}, userapi.ErrInvalid},
		"blank identifier":             {userapi.NewUser{Username: "  "}, userapi.ErrInvalid},
		"F01 e-mail in another case":   {userapi.NewUser{Email: "ANNA@example.com"}, userapi.ErrEmailTaken},
		"F01 username in another":      {userapi.NewUser{Username: "ANNA"}, userapi.ErrUsernameTaken},
		"F09 username like an address": {userapi.NewUser{Username: "x@y.z"}, userapi.ErrInvalid},
		"F09 username like a phone":    {userapi.NewUser{Username: "+4930901820"}, userapi.ErrInvalid},
		"bad e-mail":                   {userapi.NewUser{Email: "x"}, userapi.ErrInvalid},
		"bad phone":                    {userapi.NewUser{Username: "x", Phone: "12"}, userapi.ErrInvalidPhone},
		"F10 a name of a megabyte":     {userapi.NewUser{Username: "x", Name: strings.Repeat("n", 1<<20)}, userapi.ErrInvalid},
		"F04 a line break in a name":   {userapi.NewUser{Username: "x", FirstName: "a\r\nb"}, userapi.ErrInvalid},
		"weak password":                {userapi.NewUser{Username: "x", Password: "short"}, userapi.ErrWeakPassword},
		"unknown role code":            {userapi.NewUser{Username: "x", Roles: []userapi.RoleRef{{Code: "nothing"}}}, userapi.ErrInvalid},
		"unknown role id":              {userapi.NewUser{Username: "x", Roles: []userapi.RoleRef{{ID: "404"}}}, userapi.ErrInvalid},
		"a role with a comma":          {userapi.NewUser{Username: "x", Roles: []userapi.RoleRef{{Code: "a,b"}}}, userapi.ErrInvalid},
		"one role of two unknown":      {userapi.NewUser{Username: "x", Roles: []userapi.RoleRef{{Code: "admin"}, {Code: "nothing"}}}, userapi.ErrInvalid},
		"an id of a route":             {userapi.NewUser{Username: "x", ID: "current"}, userapi.ErrInvalid},
		"an unknown customer":          {userapi.NewUser{Username: "x", CustomerID: "nowhere"}, userapi.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			if c.n.CustomerID == "" {
				c.n.CustomerID = "default"
			}
			_, err := w.Users.Create(ctx, userapi.System(), c.n)
			assert.ErrorIs(t, err, c.want)
			page, err := w.Users.List(ctx, userapi.System(), userapi.UserQuery{})
			require.NoError(t, err)
			assert.Len(t, page.Users, 2)
		})
	}
}

func TestCreate_F10_texts_are_kept_literally(t *testing.T) {
	w := newWorld(t, nil)
	for i, name := range []string{"None", "null", "<script>alert(1)</script>", "=cmd()", "O'Brien \"x\" \\", "\u202eevil", "😀", "%_"} {
		u, err := w.Users.Create(ctx, userapi.System(), userapi.NewUser{Username: fmt.Sprint("u", i), Name: name, FirstName: name, CustomerID: "default"})
		require.NoError(t, err)
		got, err := w.Users.ByID(ctx, userapi.System(), u.ID)
		require.NoError(t, err)
		assert.Equal(t, name, got.Name)
		assert.Equal(t, name, got.FirstName)
	}
}

// The rank of an actor over a target, for every method that reaches a user.
func TestRank_who_may_do_what_to_whom(t *testing.T) {
	w := newWorld(t, nil)
	w.role("editor")
	w.customer("two", 0)
	target := map[string]userapi.User{
		"plain": w.user("default", "plain"), "editor": w.user("default", "editor", "editor"), "admin": w.user("default", "boss", "admin"),
		"service": w.user("default", "robot", "service"), "foreign": w.user("two", "foreign"),
	}
	w.user("default", "anna")
	w.user("default", "serv", "service")
	w.user("two", "chief", "admin")
	actor := map[string]userapi.Actor{"anonymous": anonymous(), "system": userapi.System()}
	for name, login := range map[string]string{"admin": "admin", "user": "anna", "service": "serv", "foreign admin": "chief"} {
		_, actor[name] = w.login(login, password)
	}
	const yes, no, none, who = "yes", "forbidden", "not found", "no credentials"
	type row struct{ read, patch, password, active, roles, end, erase string }
	want := map[string]map[string]row{
		"anonymous": {"*": {who, who, who, who, who, who, who}},
		"user":      {"*": {no, no, no, no, no, no, no}},
		"system":    {"*": {yes, yes, yes, yes, yes, yes, yes}},
		"admin":     {"*": {yes, yes, yes, yes, yes, yes, yes}, "foreign": {none, none, none, none, none, none, none}},
		"service": {"*": {yes, yes, yes, no, no, no, no}, "editor": {yes, yes, no, no, no, no, no}, "admin": {no, no, no, no, no, no, no}, "service": {no, no, no, no, no, no, no},
			"foreign": {none, none, none, no, no, no, no}},
		"foreign admin": {"*": {none, none, none, none, none, none, none}, "foreign": {yes, yes, yes, yes, yes, yes, yes}},
	}
	verdict := func(err error) string {
		switch {
		case err == nil:
			return yes
		case errors.Is(err, userapi.ErrForbidden):
			return no
		case errors.Is(err, userapi.ErrNotFound):
			return none
		case errors.Is(err, userapi.ErrNoCredentials):
			return who
		}
		return err.Error()
	}
	for by, a := range actor {
		for kind, victim := range target {
			expect, ok := want[by][kind]
			if !ok {
				expect = want[by]["*"]
			}
			change := func(ch userapi.UserChange) string {
				_, _, err := w.Users.Change(ctx, a, victim.ID, ch)
				return verdict(err)
			}
			var got row
			_, err := w.Users.ByID(ctx, a, victim.ID)
			got.read = verdict(err)
			got.patch = change(userapi.UserChange{Name: ptr("Renamed")})
			_, _, err = w.Passwords.Set(ctx, a, victim.ID, another, "")
			got.password = verdict(err)
			got.active = change(userapi.UserChange{Active: ptr(true)})
			refs := []userapi.RoleRef{}
			for _, code := range codes(victim) {
				refs = append(refs, userapi.RoleRef{Code: code})
			}
			got.roles = change(userapi.UserChange{Roles: &refs})
			_, err = w.Sessions.List(ctx, a, victim.ID)
			got.end = verdict(err)
			got.erase = got.active // where it is allowed, the target is still needed here
			if expect.erase != yes {
				got.erase = verdict(w.Users.Delete(ctx, a, victim.ID))
			}
			assert.Equal(t, expect, got, "%s on %s", by, kind)
		}
	}
}

func TestPrivilege_H04_nobody_promotes_themselves(t *testing.T) {
	w := newWorld(t, nil)
	w.role("editor")
	w.user("default", "anna")
	w.user("default", "serv", "service")
	for _, who := range []string{"anna", "serv"} {
		_, a := w.login(who, password)
		for _, ch := range []userapi.UserChange{
			{Roles: &[]userapi.RoleRef{{Code: "admin"}}}, {Roles: &[]userapi.RoleRef{{Code: "editor"}}}, {Active: ptr(true)}, {CustomerID: ptr("two")}, {EmailVerified: ptr(true)}, {PhoneVerified: ptr(true)},
		} {
			_, _, err := w.Users.Change(ctx, a, a.UserID(), ch)
			assert.ErrorIs(t, err, userapi.ErrForbidden)
		}
		_, err := w.Users.Create(ctx, a, userapi.NewUser{Username: "x", Roles: []userapi.RoleRef{{Code: "admin"}}})
		assert.ErrorIs(t, err, userapi.ErrForbidden)
	}
	_, admin := w.login("admin", password)
	_, _, err := w.Users.Change(ctx, admin, admin.UserID(), userapi.UserChange{CustomerID: ptr("two")})
	assert.ErrorIs(t, err, userapi.ErrForbidden, "nor does an admin leave the tenant")
}

func TestPrivilege_H05_MayGrant_ranks_roles_above_an_admin(t *testing.T) {
	w := newWorld(t, func(c *userapi.Config) {
		c.MayGrant = func(a userapi.Actor, role string) bool { return a.HasRole("admin") && role != "owner" }
	})
	w.role("owner")
	owner := w.user("default", "owner", "owner")
	_, admin := w.login("admin", password)
	_, _, err := w.Passwords.Set(ctx, admin, owner.ID, another, "")
	assert.ErrorIs(t, err, userapi.ErrForbidden)
	assert.ErrorIs(t, w.Users.Delete(ctx, admin, owner.ID), userapi.ErrForbidden)
	assert.ErrorIs(t, w.Sessions.EndAll(ctx, admin, owner.ID), userapi.ErrForbidden)
	_, ownerActor := w.login("owner", password)
	list, err := w.Sessions.List(ctx, ownerActor, owner.ID)
	require.NoError(t, err)
	assert.ErrorIs(t, w.Sessions.End(ctx, admin, owner.ID, list[0].ID), userapi.ErrForbidden)
	_, _, err = w.Users.Change(ctx, admin, owner.ID, userapi.UserChange{Roles: &[]userapi.RoleRef{}})
	assert.ErrorIs(t, err, userapi.ErrForbidden)
	_, _, err = w.Users.Change(ctx, admin, admin.UserID(), userapi.UserChange{Roles: &[]userapi.RoleRef{{Code: "admin"}, {Code: "owner"}}})
	assert.ErrorIs(t, err, userapi.ErrForbidden)
	_, err = w.Users.Create(ctx, admin, userapi.NewUser{Username: "x", Roles: []userapi.RoleRef{{Code: "owner"}}})
	assert.ErrorIs(t, err, userapi.ErrForbidden)
	_, err = w.Users.ByUsername(ctx, userapi.System(), "x")
	assert.ErrorIs(t, err, userapi.ErrNotFound)
	w.user("default", "both", "admin", "owner")
	_, both := w.login("both", password)
	_, _, err = w.Users.Change(ctx, both, both.UserID(), userapi.UserChange{Roles: &[]userapi.RoleRef{{Code: "admin"}}})
	assert.ErrorIs(t, err, userapi.ErrForbidden, "nor is one's own taken")
}

func TestChange_only_what_is_given(t *testing.T) {
	w := newWorld(t, nil)
	anna, err := w.Users.Create(ctx, userapi.System(), userapi.NewUser{
		Email: "anna@example.com", EmailVerified: true, Phone: "+4930901820", PhoneVerified: true, Name: "Anna", FirstName: "A", LastName: "K", Active: true, CustomerID: "default",
	})
	require.NoError(t, err)
	w.clock.add(time.Minute)
	u, _, err := w.Users.Change(ctx, userapi.System(), anna.ID, userapi.UserChange{FirstName: ptr("Anya"), LastName: ptr("")})
	require.NoError(t, err)
	want := anna
	want.FirstName, want.LastName, want.UpdatedAt = "Anya", "", w.clock.Now().Truncate(time.Millisecond)
	assert.Equal(t, want, u)
	stored, err := w.Users.ByID(ctx, userapi.System(), anna.ID)
	require.NoError(t, err)
	assert.Equal(t, want.FirstName, stored.FirstName)

	u, _, err = w.Users.Change(ctx, userapi.System(), anna.ID, userapi.UserChange{Email: ptr("ANNA@EXAMPLE.COM"), Phone: ptr("+49 30 901820")})
	require.NoError(t, err)
	assert.True(t, u.EmailVerified && u.PhoneVerified, "another spelling is the same address")
	u, _, err = w.Users.Change(ctx, userapi.System(), anna.ID, userapi.UserChange{Email: ptr("new@example.com"), Phone: ptr("+4930901821")})
	require.NoError(t, err)
	assert.False(t, u.EmailVerified || u.PhoneVerified, "another address is unproven")
	_, _, err = w.Users.Change(ctx, userapi.System(), anna.ID, userapi.UserChange{Email: ptr(""), Phone: ptr("")})
	assert.ErrorIs(t, err, userapi.ErrInvalid, "one identifier has to stay")
}

func TestChange_a_conflict_leaves_everything_as_it_was(t *testing.T) {
	w := newWorld(t, nil)
	w.user("default", "bert")
	anna := w.user("default", "anna")
	tokens, _ := w.login("anna", password)
	_, _, err := w.Users.Change(ctx, userapi.System(), anna.ID, userapi.UserChange{
		Email: ptr("bert@example.com"), Password: ptr(another), Roles: &[]userapi.RoleRef{{Code: "admin"}}, Name: ptr("Other"),
	})
	require.ErrorIs(t, err, userapi.ErrEmailTaken)
	got, err := w.Users.ByID(ctx, userapi.System(), anna.ID)
	require.NoError(t, err)
	assert.Empty(t, got.Roles)
	assert.Equal(t, anna.Name, got.Name)
	w.accepted(tokens)
	w.refreshes(tokens)
	w.login("anna", password)
}

func TestWhatDiesWhen(t *testing.T) {
	setup := func(t *testing.T) (*world, userapi.User, userapi.Tokens, userapi.Tokens, userapi.Actor) {
		w := newWorld(t, nil)
		w.role("editor")
		w.customer("two", 0)
		anna := w.user("default", "anna")
		mine, actor := w.login("anna", password)
		other, _ := w.login("anna", password)
		return w, anna, mine, other, actor
	}
	change := func(w *world, a userapi.Actor, id string, ch userapi.UserChange) userapi.Tokens {
		w.t.Helper()
		_, tokens, err := w.Users.Change(ctx, a, id, ch)
		require.NoError(w.t, err)
		return tokens
	}
	t.Run("a role given or taken: access tokens die, sessions stay and read the new roles", func(t *testing.T) {
		w, anna, mine, _, _ := setup(t)
		for _, refs := range [][]userapi.RoleRef{{{Code: "editor"}}, {}} {
			change(w, userapi.System(), anna.ID, userapi.UserChange{Roles: &refs})
			w.refused(mine)
			mine = w.refreshes(mine)
			assert.Equal(t, len(refs) == 1, w.actor(mine).HasRole("editor"))
		}
	})
	t.Run("the same roles again: nothing dies", func(t *testing.T) {
		w, anna, mine, _, _ := setup(t)
		change(w, userapi.System(), anna.ID, userapi.UserChange{Roles: &[]userapi.RoleRef{}})
		w.accepted(mine)
	})
	t.Run("a new name: nothing dies", func(t *testing.T) {
		w, anna, mine, _, actor := setup(t)
		tokens := change(w, actor, anna.ID, userapi.UserChange{Name: ptr("Anya"), Username: ptr("anya"), Phone: ptr("+4930901820")})
		assert.True(t, tokens.IsZero())
		w.accepted(mine)
	})
	for name, ch := range map[string]userapi.UserChange{
		"own password": {Password: ptr(another), CurrentPassword: password}, "own e-mail": {Email: ptr("new@example.com"), CurrentPassword: password},
	} {
		t.Run(name+": access tokens and other sessions die, the caller is issued new ones", func(t *testing.T) {
			w, anna, mine, other, actor := setup(t)
			tokens := change(w, actor, anna.ID, ch)
			w.refused(mine)
			w.refused(other)
			w.refreshRefused(other)
			w.accepted(tokens)
			w.refreshes(tokens)
			w.refreshRefused(mine) // B09: whoever else held the old refresh token is out
		})
	}
	for name, ch := range map[string]userapi.UserChange{
		"another's password": {Password: ptr(another)}, "another's e-mail": {Email: ptr("new@example.com")}, "deactivated": {Active: ptr(false)}, "moved": {CustomerID: ptr("two")},
	} {
		t.Run(name+": all sessions and tokens die", func(t *testing.T) {
			w, anna, mine, other, _ := setup(t)
			change(w, userapi.System(), anna.ID, ch)
			for _, tokens := range []userapi.Tokens{mine, other} {
				w.refused(tokens)
				w.refreshRefused(tokens)
			}
		})
	}
	t.Run("B13 an e-mail address is proven: what was opened before ends", func(t *testing.T) {
		w, anna, mine, other, _ := setup(t)
		change(w, userapi.System(), anna.ID, userapi.UserChange{EmailVerified: ptr(true)})
		for _, tokens := range []userapi.Tokens{mine, other} {
			w.refused(tokens)
			w.refreshRefused(tokens)
		}
		again, _ := w.login("anna", password)
		change(w, userapi.System(), anna.ID, userapi.UserChange{EmailVerified: ptr(true)})
		w.accepted(again)
	})
	t.Run("B09 a new session in place of the old one keeps auth_time, unless the password was given", func(t *testing.T) {
		w, anna, _, _, actor := setup(t)
		w.clock.add(time.Minute)
		fresh := change(w, actor, anna.ID, userapi.UserChange{Password: ptr(another)})
		id, err := w.Auth.Authenticate(ctx, string(fresh.Access))
		require.NoError(t, err)
		assert.Equal(t, time.Minute, id.IssuedAt().Sub(id.AuthTime()))
		assert.Equal(t, []string{"pwd"}, id.Methods())
		proved := change(w, id.Actor(), anna.ID, userapi.UserChange{Email: ptr("new@example.com"), CurrentPassword: another})
		again, err := w.Auth.Authenticate(ctx, string(proved.Access))
		require.NoError(t, err)
		assert.Zero(t, again.IssuedAt().Sub(again.AuthTime()))
		assert.NotEqual(t, id.SessionID(), again.SessionID())
	})
	t.Run("a session that has ended is not replaced by a new one", func(t *testing.T) {
		w, anna, mine, _, actor := setup(t)
		require.NoError(t, w.Auth.Logout(ctx, anonymous(), mine.Access, ""))
		_, _, err := w.Users.Change(ctx, actor, anna.ID, userapi.UserChange{Password: ptr(another)})
		require.ErrorIs(t, err, userapi.ErrTokenRevoked)
		w.login("anna", password)
	})
	t.Run("a change of one's own credentials that is under way does not survive being shut out", func(t *testing.T) {
		for name, shut := range map[string]func(w *world, id string) error{
			"reset": func(w *world, id string) error {
				_, _, err := w.Passwords.Set(ctx, userapi.System(), id, "set by somebody else", "")
				return err
			},
			"sessions ended": func(w *world, id string) error { return w.Sessions.EndAll(ctx, userapi.System(), id) },
			"deactivated": func(w *world, id string) error {
				_, err := w.Users.Deactivate(ctx, userapi.System(), id)
				return err
			},
		} {
			w, anna, _, _, thief := setup(t)
			api := w.second(func(c *userapi.Config) {
				c.Password.Check = func(context.Context, userapi.Secret) error { return shut(w, anna.ID) }
			})
			_, _, err := api.Users.Change(ctx, thief, anna.ID, userapi.UserChange{Password: ptr(another)})
			require.ErrorIs(t, err, userapi.ErrTokenRevoked, name)
			account, err := w.store.AccountByID(ctx, userapi.Scope{All: true}, anna.ID)
			require.NoError(t, err)
			_, _, err = w.Users.Change(ctx, userapi.System(), anna.ID, userapi.UserChange{Active: ptr(true)})
			require.NoError(t, err)
			_, _, err = w.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "anna", Password: another})
			require.ErrorIs(t, err, userapi.ErrBadCredentials, "%s: %d", name, account.Epoch)
		}
	})
	t.Run("own roles: the tokens are of the same session", func(t *testing.T) {
		w, anna, _, _, _ := setup(t)
		w.user("default", "second", "admin")
		change(w, userapi.System(), anna.ID, userapi.UserChange{Roles: &[]userapi.RoleRef{{Code: "admin"}}})
		mine, actor := w.login("anna", password)
		tokens := change(w, actor, anna.ID, userapi.UserChange{Roles: &[]userapi.RoleRef{{Code: "admin"}, {Code: "editor"}}})
		w.refused(mine)
		assert.True(t, w.actor(tokens).HasRole("editor"))
		assert.Empty(t, tokens.Refresh, "the one there is goes on")
		w.refreshes(mine)
	})
	t.Run("erased and created anew with the same id: the new account lives, the old tokens do not", func(t *testing.T) {
		w, anna, mine, _, _ := setup(t)
		require.NoError(t, w.Users.Delete(ctx, userapi.System(), anna.ID))
		w.clock.add(time.Millisecond * 10)
		_, err := w.Users.Create(ctx, userapi.System(), userapi.NewUser{ID: anna.ID, Username: "anna", Password: password, Active: true, CustomerID: "default"})
		require.NoError(t, err)
		fresh, _ := w.login("anna", password)
		w.accepted(fresh)
		w.refused(mine)
	})
	t.Run("erased: all die", func(t *testing.T) {
		w, anna, mine, _, _ := setup(t)
		require.NoError(t, w.Users.Delete(ctx, userapi.System(), anna.ID))
		w.refused(mine)
		w.refreshRefused(mine)
		_, err := w.Users.ByID(ctx, userapi.System(), anna.ID)
		assert.ErrorIs(t, err, userapi.ErrNotFound)
	})
	t.Run("A10 reactivated: the old ones stay dead", func(t *testing.T) {
		w, anna, mine, _, _ := setup(t)
		change(w, userapi.System(), anna.ID, userapi.UserChange{Active: ptr(false)})
		change(w, userapi.System(), anna.ID, userapi.UserChange{Active: ptr(true)})
		w.refused(mine)
		w.refreshRefused(mine)
		w.login("anna", password)
	})
}

func TestOwnPassword_C09_needs_the_old_one_or_a_fresh_login(t *testing.T) {
	w := newWorld(t, nil)
	_, admin := w.login("admin", password)
	set := func(current userapi.Secret) error {
		_, _, err := w.Passwords.Set(ctx, admin, admin.UserID(), another, current)
		return err
	}
	w.clock.add(5 * time.Minute)
	assert.ErrorIs(t, set(""), userapi.ErrNotFresh, "an admin changing the own password is nothing special")
	_, _, err := w.Users.Change(ctx, admin, admin.UserID(), userapi.UserChange{Password: ptr(another)})
	assert.ErrorIs(t, err, userapi.ErrNotFresh)
	_, _, err = w.Users.Change(ctx, admin, admin.UserID(), userapi.UserChange{Email: ptr("me@example.com")})
	assert.ErrorIs(t, err, userapi.ErrNotFresh)
	_, _, err = w.Passwords.SetByIdentifier(ctx, admin, "ADMIN", another, "")
	assert.ErrorIs(t, err, userapi.ErrNotFresh)
	_, _, err = w.Passwords.Change(ctx, admin, "", another)
	assert.ErrorIs(t, err, userapi.ErrInvalid)
	assert.ErrorIs(t, set("wrong"), userapi.ErrWrongPassword)
	for range 4 {
		assert.ErrorIs(t, set("wrong"), userapi.ErrWrongPassword)
	}
	assert.ErrorIs(t, set(password), userapi.ErrRateLimited, "throttled, for the right one too")
	w.clock.add(10 * time.Minute)
	require.NoError(t, set(password))
	w.login("admin", another)
	w.clock.add(w.clock.Now().Truncate(time.Second).Add(time.Second).Sub(w.clock.Now())) // auth_time is in whole seconds
	_, edge := w.login("admin", another)
	w.clock.add(5 * time.Minute)
	_, _, err = w.Passwords.Set(ctx, edge, edge.UserID(), password, "")
	assert.ErrorIs(t, err, userapi.ErrNotFresh)
	_, fresh := w.login("admin", another)
	w.clock.add(5*time.Minute - time.Second)
	_, _, err = w.Passwords.Set(ctx, fresh, fresh.UserID(), password, "")
	require.NoError(t, err)
}

func TestPasswordByIdentifier_tells_strangers_nothing(t *testing.T) {
	w := newWorld(t, nil)
	w.customer("two", 0)
	w.user("default", "anna")
	w.user("default", "bert")
	w.user("two", "carl")
	_, anna := w.login("anna", password)
	_, admin := w.login("admin", password)
	for _, identifier := range []string{"bert", "bert@example.com", "nobody", "carl", "x@", ""} {
		_, _, err := w.Passwords.SetByIdentifier(ctx, anna, identifier, another, "")
		assert.ErrorIs(t, err, userapi.ErrForbidden, identifier)
	}
	w.user("default", "serv", "service")
	_, serv := w.login("serv", password)
	_, _, err := w.Passwords.SetByIdentifier(ctx, serv, "bert", another, "")
	assert.ErrorIs(t, err, userapi.ErrForbidden, "a service names users by id")
	for _, identifier := range []string{"nobody", "carl", "carl@example.com"} {
		_, _, err := w.Passwords.SetByIdentifier(ctx, admin, identifier, another, "")
		assert.ErrorIs(t, err, userapi.ErrNotFound, identifier)
	}
	_, _, err = w.Passwords.SetByIdentifier(ctx, admin, "BERT@example.com", another, "")
	require.NoError(t, err)
	w.login("bert", another)
	_, tokens, err := w.Passwords.SetByIdentifier(ctx, anna, "anna@example.com", another, "")
	require.NoError(t, err, "fresh")
	w.accepted(tokens)
}

func TestPasswordless_account_never_logs_in_by_password(t *testing.T) {
	w := newWorld(t, nil)
	u, err := w.Users.Create(ctx, userapi.System(), userapi.NewUser{Username: "nopw", Active: true, CustomerID: "default"})
	require.NoError(t, err)
	_, _, err = w.Passwords.Set(ctx, userapi.System(), u.ID, another, "")
	require.NoError(t, err)
	w.login("nopw", another)
}

func TestLastAdmin_H06_always_one_is_left(t *testing.T) {
	w := newWorld(t, nil)
	w.user("default", "anna")
	admins := []userapi.User{}
	page, err := w.Users.List(ctx, userapi.System(), userapi.UserQuery{})
	require.NoError(t, err)
	admins = append(admins, page.Users[0])
	for i := range 7 {
		admins = append(admins, w.user("default", fmt.Sprint("admin", i), "admin"))
	}
	var wg sync.WaitGroup
	for i, a := range admins {
		wg.Go(func() {
			var err error
			switch i % 3 {
			case 0:
				_, err = w.Users.Deactivate(ctx, userapi.System(), a.ID)
			case 1:
				_, _, err = w.Users.Change(ctx, userapi.System(), a.ID, userapi.UserChange{Roles: &[]userapi.RoleRef{}})
			case 2:
				err = w.Users.Delete(ctx, userapi.System(), a.ID)
			}
			if err != nil {
				assert.ErrorIs(t, err, userapi.ErrLastAdmin)
			}
		})
	}
	wg.Wait()
	left := 0
	for _, a := range admins {
		if u, err := w.Users.ByID(ctx, userapi.System(), a.ID); err == nil && u.Active && u.HasRole("admin") {
			left++
		}
	}
	assert.Equal(t, 1, left)
}

func TestLastAdmin_is_not_erased(t *testing.T) {
	w := newWorld(t, nil)
	_, admin := w.login("admin", password)
	require.ErrorIs(t, w.Users.Delete(ctx, admin, admin.UserID()), userapi.ErrLastAdmin)
	w.user("default", "second", "admin")
	require.NoError(t, w.Users.Delete(ctx, admin, admin.UserID()))
}

func TestOwnPassword_is_asked_for_again_when_it_changed_meanwhile(t *testing.T) {
	w := newWorld(t, nil)
	anna := w.user("default", "anna")
	store := &faulty{Store: w.store}
	api := w.second(func(c *userapi.Config) { c.Store = store })
	_, actor := w.login("anna", password)
	store.changeUser = func() error {
		store.changeUser = nil
		_, _, err := w.Passwords.Set(ctx, userapi.System(), anna.ID, "set by somebody else", "")
		return err
	}
	_, _, err := api.Passwords.Set(ctx, actor, anna.ID, another, password)
	require.ErrorIs(t, err, userapi.ErrWrongPassword)
	w.login("anna", "set by somebody else")
}

func TestQuota_counts_active_users(t *testing.T) {
	w := newWorld(t, nil)
	w.customer("small", 2)
	one := w.user("small", "one")
	w.user("small", "two")
	sleeping, err := w.Users.Create(ctx, userapi.System(), userapi.NewUser{Username: "sleeping", CustomerID: "small"})
	require.NoError(t, err, "an inactive user takes no place")
	_, err = w.Users.Create(ctx, userapi.System(), userapi.NewUser{Username: "three", Active: true, CustomerID: "small"})
	assert.ErrorIs(t, err, userapi.ErrQuota)
	_, _, err = w.Users.Change(ctx, userapi.System(), sleeping.ID, userapi.UserChange{Active: ptr(true)})
	assert.ErrorIs(t, err, userapi.ErrQuota)
	outside := w.user("default", "outside")
	_, _, err = w.Users.Change(ctx, userapi.System(), outside.ID, userapi.UserChange{CustomerID: ptr("small")})
	assert.ErrorIs(t, err, userapi.ErrQuota)
	_, err = w.Users.Deactivate(ctx, userapi.System(), one.ID)
	require.NoError(t, err)
	_, _, err = w.Users.Change(ctx, userapi.System(), sleeping.ID, userapi.UserChange{Active: ptr(true)})
	require.NoError(t, err)
}

func TestRegister(t *testing.T) {
	w := newWorld(t, nil)
	_, _, err := w.Users.Register(ctx, anonymous(), userapi.SelfRegistration{Email: "new@example.com", Password: password})
	require.ErrorIs(t, err, userapi.ErrNoCredentials, "closed by default")

	w.role("member")
	w.API = w.second(func(c *userapi.Config) {
		c.Registration = userapi.Registration{Policy: userapi.RegistrationOpen, Customer: "default", Roles: []string{"member"}}
	})
	user, tokens, err := w.Users.Register(ctx, anonymous(), userapi.SelfRegistration{Email: "new@example.com", Password: password})
	require.NoError(t, err)
	assert.Equal(t, []string{"member"}, codes(user))
	assert.True(t, user.Active)
	assert.False(t, user.EmailVerified)
	w.accepted(tokens)
	w.refreshes(tokens)
	w.login("new@example.com", password)
	for r, want := range map[userapi.SelfRegistration]error{
		{Email: "NEW@example.com", Password: password}: userapi.ErrEmailTaken, {Email: "x@example.com"}: userapi.ErrInvalid,
		{Phone: "+4930901820", Password: password}:     userapi.ErrInvalid,
		{Email: "x@example.com", Password: "password"}: userapi.ErrWeakPassword, {Password: password}: userapi.ErrInvalid,
	} {
		_, _, err := w.Users.Register(ctx, anonymous(), r)
		assert.ErrorIs(t, err, want)
	}
}

func TestList_filters_and_tenant(t *testing.T) {
	w := newWorld(t, nil)
	w.customer("two", 0)
	w.user("two", "boss", "admin")
	_, admin := w.login("admin", password)
	_, boss := w.login("boss", password)
	for _, n := range []userapi.NewUser{
		{Email: "a_b@example.com", Name: "Ärger"}, {Email: "axb@example.com", Name: "100%"}, {Email: "c@other.org", Name: `back\slash`, Active: true}, {Username: "dora"},
	} {
		_, err := w.Users.Create(ctx, admin, n)
		require.NoError(t, err)
	}
	list := func(a userapi.Actor, q userapi.UserQuery) []string {
		page, err := w.Users.List(ctx, a, q)
		require.NoError(t, err)
		var out []string
		for _, u := range page.Users {
			assert.Nil(t, u.Roles)
			out = append(out, u.DisplayName())
		}
		return out
	}
	assert.Equal(t, []string{"Ärger"}, list(admin, userapi.UserQuery{Email: "_"}))
	assert.Equal(t, []string{"100%"}, list(admin, userapi.UserQuery{Name: "%"}))
	assert.Equal(t, []string{`back\slash`}, list(admin, userapi.UserQuery{Name: `\`}))
	assert.Equal(t, []string{"Ärger"}, list(admin, userapi.UserQuery{Name: "äRG"}))
	assert.Equal(t, []string{"Ärger", "100%", "dora"}, list(admin, userapi.UserQuery{Email: "EXAMPLE.com", Name: "dora"}), "either")
	assert.Equal(t, []string{"100%"}, list(admin, userapi.UserQuery{Email: "example", Name: "0", MatchAll: true}), "both")
	assert.Equal(t, []string{"admin", `back\slash`}, list(admin, userapi.UserQuery{Active: ptr(true)}))
	assert.Equal(t, []string{"dora"}, list(admin, userapi.UserQuery{Prefix: "DO"}))
	assert.Equal(t, []string{"boss"}, list(boss, userapi.UserQuery{Email: "example.com", Name: "a"}), "a filter never widens the tenant")
	assert.Empty(t, list(boss, userapi.UserQuery{Name: "%"}))
}

func TestList_pages(t *testing.T) {
	w := newWorld(t, nil)
	_, admin := w.login("admin", password)
	for i := range 24 {
		_, err := w.Users.Create(ctx, admin, userapi.NewUser{Username: fmt.Sprintf("u%02d", (i*7)%24)})
		require.NoError(t, err)
	}
	walk := func(q userapi.UserQuery) (names []string) {
		for {
			page, err := w.Users.List(ctx, admin, q)
			require.NoError(t, err)
			assert.Equal(t, page.HasNext, page.Cursor != "")
			for _, u := range page.Users {
				names = append(names, u.Username)
			}
			if q.Cursor = page.Cursor; q.Cursor == "" {
				return names
			}
		}
	}
	all := walk(userapi.UserQuery{Limit: 100})
	assert.Len(t, all, 25)
	for _, limit := range []int{1, 5, 24, 25} {
		assert.Equal(t, all, walk(userapi.UserQuery{Limit: limit}), limit)
	}
	byName := walk(userapi.UserQuery{Prefix: "u", Limit: 7})
	assert.Len(t, byName, 24)
	assert.IsIncreasing(t, byName)
	for i, username := range []string{"uz", "uy", "ux"} { // who has it in the username alone comes last
		w.user("default", username)
		u, err := w.Users.ByUsername(ctx, admin, username)
		require.NoError(t, err)
		_, _, err = w.Users.Change(ctx, admin, u.ID, userapi.UserChange{Name: ptr(fmt.Sprint("name ", i))})
		require.NoError(t, err)
	}
	for _, limit := range []int{1, 5, 24, 25, 26, 27} {
		assert.Equal(t, append(byName[:24:24], "ux", "uy", "uz"), walk(userapi.UserQuery{Prefix: "u", Limit: limit}), limit)
	}
	for _, username := range []string{"ux", "uy", "uz"} {
		u, err := w.Users.ByUsername(ctx, admin, username)
		require.NoError(t, err)
		require.NoError(t, w.Users.Delete(ctx, admin, u.ID))
	}
	page, err := w.Users.List(ctx, admin, userapi.UserQuery{})
	require.NoError(t, err)
	assert.Len(t, page.Users, 20)
	offset, err := w.Users.List(ctx, admin, userapi.UserQuery{Offset: 20})
	require.NoError(t, err)
	assert.Len(t, offset.Users, 5)
	assert.False(t, offset.HasNext)

	w.customer("two", 0)
	w.user("two", "boss", "admin")
	_, boss := w.login("boss", password)
	bad := func(a userapi.Actor, q userapi.UserQuery) {
		t.Helper()
		_, err := w.Users.List(ctx, a, q)
		assert.ErrorIs(t, err, userapi.ErrWrongArgs)
	}
	bad(boss, userapi.UserQuery{Cursor: page.Cursor})             // G17 foreign
	bad(admin, userapi.UserQuery{Cursor: page.Cursor, Name: "x"}) // of another query
	bad(admin, userapi.UserQuery{Cursor: page.Cursor + "A"})      // forged
	bad(admin, userapi.UserQuery{Cursor: "AAAA"})
	bad(admin, userapi.UserQuery{Cursor: page.Cursor, Offset: 1})
	bad(admin, userapi.UserQuery{Limit: -1})
	bad(admin, userapi.UserQuery{Limit: 101})
	bad(admin, userapi.UserQuery{Offset: -1})
	bad(admin, userapi.UserQuery{Name: strings.Repeat("%", 10_000)}) // G16
	_, anna := w.login(w.user("default", "anna").Username, password)
	_, err = w.Users.List(ctx, anna, userapi.UserQuery{})
	assert.ErrorIs(t, err, userapi.ErrForbidden)
}

func TestHooks_K03(t *testing.T) {
	var mu sync.Mutex
	var log []string
	note := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		log = append(log, s)
	}
	took := func() []string {
		mu.Lock()
		defer mu.Unlock()
		out := log
		log = nil
		return out
	}
	refuse := false
	w := newWorld(t, func(c *userapi.Config) {
		c.Hooks = userapi.Hooks{
			BeforeUserCreated: func(context.Context, userapi.User) error {
				if refuse {
					return errors.New("not today")
				}
				return nil
			},
			BeforeUserUpdated: func(_ context.Context, before, after userapi.User) error {
				if refuse {
					return userapi.ErrForbidden
				}
				return nil
			},
			UserCreated: func(ctx context.Context, u userapi.User) {
				_, bounded := ctx.Deadline()
				note(fmt.Sprint("created ", u.Username, " ", bounded, " ", ctx.Err()))
				for i := range u.Roles {
					u.Roles[i].Code = "scribbled"
				}
				if u.Username == "panic" {
					panic("a secret")
				}
			},
			UserUpdated: func(_ context.Context, u userapi.User) { note("updated " + u.Username) },
			UserDeleted: func(_ context.Context, u userapi.User) { note("deleted " + u.Username) },
		}
	})
	assert.Equal(t, []string{"created admin true <nil>"}, took())
	gone, leave := context.WithCancel(ctx)
	u, err := w.Users.Create(gone, userapi.System(), userapi.NewUser{Username: "panic", Active: true, Password: password, CustomerID: "default", Roles: []userapi.RoleRef{{Code: "admin"}}})
	leave()
	require.NoError(t, err, "a panic in a hook does not fail the request")
	assert.Equal(t, []string{"admin"}, codes(u), "a hook gets a copy")
	assert.Equal(t, []string{"created panic true <nil>"}, took())

	for _, ch := range []userapi.UserChange{{Name: ptr("x")}, {Roles: &[]userapi.RoleRef{}}, {Active: ptr(false)}, {Active: ptr(true)}, {Password: ptr(another)}, {EmailVerified: ptr(true)}} {
		_, _, err := w.Users.Change(ctx, userapi.System(), u.ID, ch)
		require.NoError(t, err)
	}
	assert.Len(t, took(), 6)

	_, err = w.Users.Create(ctx, userapi.System(), userapi.NewUser{Username: "panic", CustomerID: "default"})
	require.ErrorIs(t, err, userapi.ErrUsernameTaken)
	refuse = true
	_, err = w.Users.Create(ctx, userapi.System(), userapi.NewUser{Username: "refused", CustomerID: "default"})
	assert.Equal(t, userapi.Internal, userapi.AsError(err).Kind)
	_, _, err = w.Users.Change(ctx, userapi.System(), u.ID, userapi.UserChange{Name: ptr("y")})
	assert.ErrorIs(t, err, userapi.ErrForbidden)
	assert.Empty(t, took())
	_, err = w.Users.ByEmail(ctx, userapi.System(), "refused@example.com")
	assert.ErrorIs(t, err, userapi.ErrNotFound)
	got, err := w.Users.ByID(ctx, userapi.System(), u.ID)
	require.NoError(t, err)
	assert.Equal(t, "x", got.Name)
	require.NoError(t, w.Users.Delete(ctx, userapi.System(), u.ID))
	assert.Equal(t, []string{"deleted panic"}, took())
}

func TestHooks_run_though_the_caller_has_left(t *testing.T) {
	w := newWorld(t, nil)
	gone, leave := context.WithCancel(ctx)
	ran := false
	api := w.second(func(c *userapi.Config) {
		c.Store = &faulty{Store: w.store, inserted: leave}
		c.Hooks.UserCreated = func(ctx context.Context, _ userapi.User) { ran = ctx.Err() == nil }
	})
	_, err := api.Users.Create(gone, userapi.System(), userapi.NewUser{Username: "x", CustomerID: "default"})
	require.NoError(t, err)
	assert.True(t, ran)
}

func TestBootstrap_H17_by_many_at_once_makes_one_admin(t *testing.T) {
	w := newWorld(t, nil)
	var wg sync.WaitGroup
	var mu sync.Mutex
	created := 0
	for range 32 {
		wg.Go(func() {
			did, err := w.second(nil).Bootstrap(ctx, userapi.Bootstrap{Customer: "fresh", Username: "root", Password: password})
			assert.NoError(t, err)
			mu.Lock()
			defer mu.Unlock()
			if did {
				created++
			}
		})
	}
	wg.Wait()
	assert.Equal(t, 1, created)
	did, err := w.Bootstrap(ctx, userapi.Bootstrap{Customer: "fresh", Username: "ROOT", Password: another})
	require.NoError(t, err)
	assert.False(t, did)
	w.login("root", password)
	_, err = w.Bootstrap(ctx, userapi.Bootstrap{Username: "other"})
	assert.ErrorIs(t, err, userapi.ErrInvalid, "no default password")
}

func TestRoles(t *testing.T) {
	w := newWorld(t, nil)
	w.user("default", "anna")
	_, admin := w.login("admin", password)
	_, anna := w.login("anna", password)
	role, err := w.Roles.Create(ctx, admin, userapi.Role{Code: "editor", Name: "Editor"})
	require.NoError(t, err)
	_, err = w.Roles.Create(ctx, admin, userapi.Role{Code: "editor"})
	assert.ErrorIs(t, err, userapi.ErrRoleTaken)
	for _, code := range []string{"", "A", "a b", "a,b", "a/b", strings.Repeat("a", 65)} {
		_, err = w.Roles.Create(ctx, admin, userapi.Role{Code: code})
		assert.ErrorIs(t, err, userapi.ErrInvalid, code)
		_, err = w.Roles.ByCode(ctx, admin, code)
		assert.ErrorIs(t, err, userapi.ErrNotFound, code)
	}
	renamed, err := w.Roles.Rename(ctx, admin, "editor", "Chief editor")
	require.NoError(t, err)
	assert.Equal(t, userapi.Role{ID: role.ID, Code: "editor", Name: "Chief editor"}, renamed)
	page, err := w.Roles.List(ctx, admin, 1, 1)
	require.NoError(t, err)
	assert.Len(t, page.Roles, 1)
	assert.True(t, page.HasNext)
	u := w.user("default", "bert", "editor")
	assert.ErrorIs(t, w.Roles.Delete(ctx, admin, "editor"), userapi.ErrRoleInUse)
	require.NoError(t, w.Users.Delete(ctx, admin, u.ID))
	require.NoError(t, w.Roles.Delete(ctx, admin, "editor"))
	assert.ErrorIs(t, w.Roles.Delete(ctx, admin, "editor"), userapi.ErrNotFound)
	assert.ErrorIs(t, w.Roles.Delete(ctx, admin, "admin"), userapi.ErrRoleInUse)
	assert.ErrorIs(t, w.Roles.Delete(ctx, admin, "service"), userapi.ErrRoleInUse)
	_, err = w.Roles.List(ctx, anna, 0, 0)
	assert.ErrorIs(t, err, userapi.ErrForbidden)
	_, err = w.Roles.Create(ctx, anna, userapi.Role{Code: "x"})
	assert.ErrorIs(t, err, userapi.ErrForbidden)
}

func TestCustomers_are_the_hosts_alone(t *testing.T) {
	w := newWorld(t, nil)
	_, admin := w.login("admin", password)
	_, err := w.Customers.Create(ctx, admin, userapi.Customer{ID: "mine"})
	assert.ErrorIs(t, err, userapi.ErrForbidden)
	_, err = w.Customers.Change(ctx, admin, userapi.Customer{ID: "default", Quota: 1_000_000})
	assert.ErrorIs(t, err, userapi.ErrForbidden)
	_, err = w.Customers.List(ctx, admin, "", 10)
	assert.ErrorIs(t, err, userapi.ErrForbidden)
	c, err := w.Customers.Create(ctx, userapi.System(), userapi.Customer{Name: "Acme"})
	require.NoError(t, err)
	assert.NotEmpty(t, c.ID)
	_, err = w.Customers.Create(ctx, userapi.System(), c)
	assert.ErrorIs(t, err, userapi.ErrIDTaken)
	_, err = w.Customers.Change(ctx, userapi.System(), userapi.Customer{ID: c.ID, Name: "Acme", Quota: -1})
	assert.ErrorIs(t, err, userapi.ErrInvalid)
	_, err = w.Customers.Change(ctx, userapi.System(), userapi.Customer{ID: "404"})
	assert.ErrorIs(t, err, userapi.ErrNotFound)
}

func TestDisplayName_never_prints_what_is_not_there(t *testing.T) {
	for want, u := range map[string]userapi.User{
		"Anna K": {Name: "Anna K", FirstName: "X"}, "A B": {FirstName: "A", LastName: "B"}, "A": {FirstName: "A"}, "B": {LastName: "B"}, "u": {Username: "u"}, "": {},
	} {
		assert.Equal(t, want, u.DisplayName())
	}
}

// An account that comes from another system keeps when it came to be and when it was last logged in to.
func TestCreate_keeps_the_times_of_another_system(t *testing.T) {
	w := newWorld(t, nil)
	created := time.Date(1970, 1, 2, 3, 4, 5, 678_901_234, time.FixedZone("", 3600))
	login := created.AddDate(30, 0, 0)
	u, err := w.Users.Create(ctx, userapi.System(), userapi.NewUser{Username: "old", CustomerID: "default", CreatedAt: created, LastLogin: login})
	require.NoError(t, err)
	read, err := w.Users.ByID(ctx, userapi.System(), u.ID)
	require.NoError(t, err)
	for _, u := range []userapi.User{u, read} {
		assert.Equal(t, created.UTC().Truncate(time.Millisecond), u.CreatedAt)
		assert.Equal(t, login.UTC().Truncate(time.Millisecond), u.LastLogin)
	}
	for name, n := range map[string]userapi.NewUser{
		"created_at": {CreatedAt: time.Date(1969, 12, 31, 23, 59, 59, 0, time.UTC)},
		"last_login": {LastLogin: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		n.Username, n.CustomerID = "new", "default"
		_, err := w.Users.Create(ctx, userapi.System(), n)
		assert.ErrorIs(t, err, userapi.ErrInvalid)
		assert.Contains(t, userapi.AsError(err).Fields, name)
	}
	u, err = w.Users.Create(ctx, userapi.System(), userapi.NewUser{Username: "new", CustomerID: "default"})
	require.NoError(t, err)
	assert.Zero(t, u.LastLogin)
	assert.Equal(t, u.UpdatedAt, u.CreatedAt)
}

func TestChange_L03_the_event_names_what_was_changed(t *testing.T) {
	w := newWorld(t, nil)
	w.role("editor")
	w.customer("other", 0)
	for want, ch := range map[string]userapi.UserChange{
		"email": {Email: ptr("new@example.com")}, "username": {Username: ptr("new")}, "phone": {Phone: ptr("+4930901820")}, "name": {Name: ptr("N")}, "first_name": {FirstName: ptr("F")},
		"last_name": {LastName: ptr("L")}, "active": {Active: ptr(false)}, "password": {Password: ptr(another)}, "must_change_password": {MustChangePassword: ptr(true)},
		"roles": {Roles: &[]userapi.RoleRef{{Code: "editor"}}}, "customer": {CustomerID: ptr("other")}, "email_verified": {EmailVerified: ptr(true)}, "phone_verified": {PhoneVerified: ptr(true)},
		"": {Roles: &[]userapi.RoleRef{}}, "first_name,last_name": {FirstName: ptr("F"), LastName: ptr("L")},
	} {
		u := w.user("default", "anna")
		_, _, err := w.Users.Change(ctx, userapi.System(), u.ID, ch)
		require.NoError(t, err, want)
		events := w.store.Events()
		assert.Equal(t, want, events[len(events)-1].Detail)
		require.NoError(t, w.Users.Delete(ctx, userapi.System(), u.ID))
	}
}

// H05: an admin who is a service besides is bound by rank as an admin.
func TestChange_H05_names_too_are_a_matter_of_rank(t *testing.T) {
	w := newWorld(t, func(c *userapi.Config) {
		c.MayGrant = func(_ userapi.Actor, role string) bool { return role != "owner" }
	})
	w.role("owner")
	owner := w.user("default", "olga", "owner")
	w.user("default", "both", userapi.RoleAdmin, userapi.RoleService)
	w.user("default", "bot", userapi.RoleService)
	_, both := w.login("both", password)
	_, _, err := w.Users.Change(ctx, both, owner.ID, userapi.UserChange{Name: ptr("N")})
	assert.ErrorIs(t, err, userapi.ErrForbidden)
	_, bot := w.login("bot", password)
	_, _, err = w.Users.Change(ctx, bot, owner.ID, userapi.UserChange{Name: ptr("N")})
	assert.NoError(t, err, "what a service is for")
}

// H05: a service reaches no admin and no other service, whatever the host lets it grant.
func TestChange_H05_a_service_is_below_admins_and_services(t *testing.T) {
	w := newWorld(t, func(c *userapi.Config) { c.MayGrant = func(userapi.Actor, string) bool { return true } })
	w.role("editor")
	w.user("default", "bot", userapi.RoleService)
	_, bot := w.login("bot", password)
	for role, want := range map[string]error{userapi.RoleAdmin: userapi.ErrForbidden, userapi.RoleService: userapi.ErrForbidden, "editor": nil} {
		u := w.user("default", "of-"+role, role)
		_, _, err := w.Passwords.Set(ctx, bot, u.ID, another, "")
		assert.ErrorIs(t, err, want, role)
	}
}

// unreachable is a store that finds nobody, since it cannot be asked.
type unreachable struct{ userapi.Store }

func (unreachable) AccountByIdentifier(context.Context, userapi.Scope, userapi.Identifier) (userapi.Account, error) {
	return userapi.Account{}, userapi.ErrUnavailable
}

func TestSetByIdentifier_K01_who_cannot_be_looked_up_is_not_missing(t *testing.T) {
	w := newWorld(t, nil)
	api := w.second(func(c *userapi.Config) { c.Store = unreachable{w.store} })
	_, _, err := api.Passwords.SetByIdentifier(ctx, userapi.System(), "admin", another, "")
	assert.ErrorIs(t, err, userapi.ErrUnavailable)
}
