package userapi_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
)

// resources says whose they are: by resource and id, such as "doc 1", the customer.
type resources map[string]string

func (r resources) owns(_ context.Context, customer, resource, id string) (bool, error) {
	return r[resource+" "+id] == customer, nil
}

// library is a world with documents: 1 and 2 are of the customer default, 3 of rival.
func library(t *testing.T, changes ...func(*userapi.Config)) (*world, resources) {
	t.Helper()
	owned := resources{"doc 1": "default", "doc 2": "default", "doc 3": "rival"}
	w := newWorld(t, func(c *userapi.Config) {
		c.Memberships = userapi.MembershipConfig{Levels: []string{"reader", "writer", "owner"}, Owns: owned.owns}
		for _, change := range changes {
			change(c)
		}
	})
	w.customer("rival", 0)
	return w, owned
}

func on(id string, u userapi.User, level string) userapi.Membership {
	return userapi.Membership{UserID: u.ID, Resource: "doc", ResourceID: id, Level: level}
}

func (w *world) give(id string, u userapi.User, level string) {
	w.t.Helper()
	_, err := w.Memberships.Set(ctx, userapi.System(), on(id, u, level))
	require.NoError(w.t, err)
}

// members are all of a document.
func (w *world) members(id string) []userapi.Membership {
	w.t.Helper()
	page, err := w.Memberships.OfResource(ctx, userapi.System(), "doc", id, 0, "")
	require.NoError(w.t, err)
	return page.Memberships
}

func TestNewChecksLevels(t *testing.T) {
	many := make([]string, 17)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	for _, levels := range [][]string{many, {""}, {"a", "b", "a"}, {"Reader"}, {"read-only"}, {"a b"}, {strings.Repeat("x", 65)}} {
		_, err := userapi.New(userapi.Config{Secret: secret, Store: newWorld(t, nil).store, Memberships: userapi.MembershipConfig{Levels: levels}})
		assert.ErrorContains(t, err, "Memberships.Levels", levels)
	}
	levels := append(slices.Clone(many[:15]), strings.Repeat("x", 64))
	w := newWorld(t, func(c *userapi.Config) { c.Memberships.Levels = levels })
	u := w.user("default", "ann")
	last := levels[15]
	levels[15] = "changed by the host"
	w.give("1", u, last)
	roles, err := w.Memberships.Roles(ctx, userapi.System(), u.ID)
	require.NoError(t, err)
	assert.Len(t, roles, 16)
}

func TestMembershipsByWhomAndOfWhom(t *testing.T) {
	w, _ := library(t)
	ann := w.user("default", "ann")
	w.user("rival", "eve", "admin")
	w.user("default", "service", "service")
	w.give("1", ann, "reader")
	_, admin := w.login("admin", password)
	_, service := w.login("service", password)
	_, own := w.login("ann", password)
	_, foreign := w.login("eve", password)
	type errs struct{ set, remove, get, list, roles, level, check, members, end error }
	no, none := userapi.ErrForbidden, userapi.ErrNotFound
	for name, c := range map[string]struct {
		actor userapi.Actor
		want  errs
	}{
		"anonymous": {anonymous(), errs{userapi.ErrNoCredentials, userapi.ErrNoCredentials, userapi.ErrNoCredentials, userapi.ErrNoCredentials,
			userapi.ErrNoCredentials, userapi.ErrNoCredentials, userapi.ErrNoCredentials, userapi.ErrNoCredentials, userapi.ErrNoCredentials}},
		"oneself":       {own, errs{no, no, nil, nil, nil, nil, nil, no, no}},
		"service":       {service, errs{no, no, no, no, no, nil, userapi.ErrRoleMissing, no, no}},
		"admin":         {admin, errs{nil, nil, nil, nil, nil, nil, userapi.ErrRoleMissing, nil, no}},
		"foreign admin": {foreign, errs{none, none, none, none, none, nil, userapi.ErrRoleMissing, none, no}},
		"system":        {userapi.System(), errs{nil, nil, nil, nil, nil, no, nil, nil, nil}},
	} {
		t.Run(name, func(t *testing.T) {
			m, a := w.Memberships, c.actor
			var got errs
			_, got.set = m.Set(ctx, a, on("2", ann, "writer"))
			got.remove = m.Remove(ctx, a, ann.ID, "doc", "2")
			_, got.get = m.Get(ctx, a, ann.ID, "doc", "1")
			_, got.list = m.OfUser(ctx, a, ann.ID, 0, "")
			_, got.roles = m.Roles(ctx, a, ann.ID)
			_, got.level = m.Level(ctx, a, "doc", "1")
			got.check = m.Check(ctx, a, "doc", "1", "reader")
			_, got.members = m.OfResource(ctx, a, "doc", "1", 0, "")
			got.end = m.DeleteResource(ctx, a, "doc", "9")
			for what, pair := range map[string][2]error{
				"set": {got.set, c.want.set}, "remove": {got.remove, c.want.remove}, "get": {got.get, c.want.get}, "list": {got.list, c.want.list},
				"roles": {got.roles, c.want.roles}, "level": {got.level, c.want.level}, "check": {got.check, c.want.check},
				"members": {got.members, c.want.members}, "end": {got.end, c.want.end},
			} {
				assert.ErrorIs(t, pair[0], pair[1], what)
			}
		})
	}
	assert.Equal(t, []userapi.Membership{on("1", ann, "reader")}, w.members("1"))
	assert.Empty(t, w.members("2"))

	t.Run("the zero actor may do nothing", func(t *testing.T) {
		m, a := w.Memberships, userapi.Actor{}
		_, set := m.Set(ctx, a, on("1", ann, "owner"))
		_, get := m.Get(ctx, a, ann.ID, "doc", "1")
		_, list := m.OfUser(ctx, a, ann.ID, 0, "")
		_, roles := m.Roles(ctx, a, ann.ID)
		_, level := m.Level(ctx, a, "doc", "1")
		_, members := m.OfResource(ctx, a, "doc", "1", 0, "")
		for _, err := range []error{
			set, get, list, roles, level, members, m.Remove(ctx, a, ann.ID, "doc", "1"), m.Check(ctx, a, "doc", "1", "reader"), m.DeleteResource(ctx, a, "doc", "1"),
		} {
			require.Error(t, err)
			assert.Equal(t, userapi.Internal, userapi.AsError(err).Kind)
		}
	})

	t.Run("without Owns only System gives, takes and lists members", func(t *testing.T) {
		w, _ := library(t, func(c *userapi.Config) { c.Memberships.Owns = nil })
		ann := w.user("default", "ann")
		_, admin := w.login("admin", password)
		_, err := w.Memberships.Set(ctx, admin, on("1", ann, "reader"))
		assert.ErrorIs(t, err, userapi.ErrForbidden)
		w.give("1", ann, "reader")
		assert.ErrorIs(t, w.Memberships.Remove(ctx, admin, ann.ID, "doc", "1"), userapi.ErrForbidden)
		_, err = w.Memberships.OfResource(ctx, admin, "doc", "1", 0, "")
		assert.ErrorIs(t, err, userapi.ErrForbidden)
		require.NoError(t, w.Memberships.Remove(ctx, userapi.System(), ann.ID, "doc", "1"))
	})

	t.Run("nobody is given a level by an admin who ranks below them", func(t *testing.T) {
		w, _ := library(t, func(c *userapi.Config) {
			c.MayGrant = func(a userapi.Actor, role string) bool { return a.HasRole("admin") && role != "boss" }
		})
		w.role("boss")
		boss := w.user("default", "boss", "boss")
		w.give("1", boss, "reader")
		_, admin := w.login("admin", password)
		_, err := w.Memberships.Set(ctx, admin, on("1", boss, "owner"))
		assert.ErrorIs(t, err, userapi.ErrForbidden)
		assert.ErrorIs(t, w.Memberships.Remove(ctx, admin, boss.ID, "doc", "1"), userapi.ErrForbidden)
		assert.Equal(t, []userapi.Membership{on("1", boss, "reader")}, w.members("1"))
	})
}

func TestLevels(t *testing.T) {
	w, _ := library(t)
	ann := w.user("default", "ann")
	_, own := w.login("ann", password)
	level := func() string {
		got, err := w.Memberships.Level(ctx, own, "doc", "1")
		require.NoError(t, err)
		return got
	}
	assert.Equal(t, "", level())
	w.give("1", ann, "writer")
	assert.Equal(t, "writer", level())
	roles := func() []string {
		got, err := w.Memberships.Roles(ctx, own, ann.ID)
		require.NoError(t, err)
		return got
	}
	assert.Equal(t, []string{"doc-1-reader", "doc-1-writer"}, roles())
	for asked, missing := range map[string]string{"reader": "", "writer": "", "owner": "doc-1-owner", "": "doc-1-?", "no-level": "doc-1-?", "public": "doc-1-public"} {
		err := w.Memberships.Check(ctx, own, "doc", "1", asked)
		if missing == "" {
			assert.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, userapi.ErrRoleMissing, asked)
		assert.Equal(t, []string{missing}, userapi.AsError(err).Fields["missing"])
	}
	for _, bad := range []userapi.Membership{{}, {Resource: "doc"}, {ResourceID: "1"}, {Resource: "doc-1", ResourceID: "1"}, {Resource: "doc", ResourceID: "a/b"}} {
		got, err := w.Memberships.Level(ctx, own, bad.Resource, bad.ResourceID)
		require.NoError(t, err)
		assert.Empty(t, got)
		assert.ErrorIs(t, w.Memberships.Check(ctx, own, bad.Resource, bad.ResourceID, "reader"), userapi.ErrRoleMissing)
		bad.UserID, bad.Level = ann.ID, "reader"
		_, err = w.Memberships.Set(ctx, userapi.System(), bad)
		assert.ErrorIs(t, err, userapi.ErrInvalid)
		assert.ErrorIs(t, w.Memberships.DeleteResource(ctx, userapi.System(), bad.Resource, bad.ResourceID), userapi.ErrInvalid)
		assert.ErrorIs(t, w.Memberships.Remove(ctx, userapi.System(), ann.ID, bad.Resource, bad.ResourceID), userapi.ErrNotFound)
	}

	t.Run("an inactive user has none, whatever credential they still show", func(t *testing.T) {
		_, err := w.Users.Deactivate(ctx, userapi.System(), ann.ID)
		require.NoError(t, err)
		assert.Equal(t, "", level())
		assert.ErrorIs(t, w.Memberships.Check(ctx, own, "doc", "1", "reader"), userapi.ErrRoleMissing)
		assert.Empty(t, roles())
		_, _, err = w.Users.Change(ctx, userapi.System(), ann.ID, userapi.UserChange{Active: ptr(true)})
		require.NoError(t, err)
		assert.Equal(t, "writer", level())
	})

	t.Run("a level that the host no longer names is none", func(t *testing.T) {
		later := w.second(func(c *userapi.Config) { c.Memberships.Levels = []string{"reader", "owner"} })
		got, err := later.Memberships.Level(ctx, own, "doc", "1")
		require.NoError(t, err)
		assert.Empty(t, got)
		assert.ErrorIs(t, later.Memberships.Check(ctx, own, "doc", "1", "reader"), userapi.ErrRoleMissing)
		all, err := later.Memberships.Roles(ctx, own, ann.ID)
		require.NoError(t, err)
		assert.Empty(t, all)
		kept, err := later.Memberships.Get(ctx, own, ann.ID, "doc", "1")
		require.NoError(t, err)
		assert.Equal(t, on("1", ann, "writer"), kept, "it is there to be replaced or taken")
	})

	t.Run("without levels nobody has any", func(t *testing.T) {
		off := w.second(nil)
		_, err := off.Memberships.Set(ctx, userapi.System(), on("1", ann, "writer"))
		assert.ErrorIs(t, err, userapi.ErrInvalid)
		assert.ErrorIs(t, off.Memberships.Check(ctx, own, "doc", "1", "writer"), userapi.ErrRoleMissing)
	})

	t.Run("a user of another customer has none, whatever credential they still show", func(t *testing.T) {
		bob := w.user("default", "bob")
		_, stale := w.login("bob", password)
		_, _, err := w.Users.Change(ctx, userapi.System(), bob.ID, userapi.UserChange{CustomerID: ptr("rival")})
		require.NoError(t, err)
		w.give("1", bob, "owner")
		assert.ErrorIs(t, w.Memberships.Check(ctx, stale, "doc", "1", "reader"), userapi.ErrRoleMissing)
	})

	t.Run("all roles, however many", func(t *testing.T) {
		for i := range 1001 {
			w.give(fmt.Sprintf("many.%04d", i), ann, "reader")
		}
		all := roles()
		assert.Len(t, all, 1003)
		assert.True(t, slices.IsSorted(all))
	})
}

func TestMembershipEvents(t *testing.T) {
	w, _ := library(t)
	ann := w.user("default", "ann")
	_, admin := w.login("admin", password)
	before := len(w.store.Events())
	_, err := w.Memberships.Set(ctx, admin, on("1", ann, "writer"))
	require.NoError(t, err)
	require.NoError(t, w.Memberships.Remove(ctx, admin, ann.ID, "doc", "1"))
	require.ErrorIs(t, w.Memberships.Remove(ctx, admin, ann.ID, "doc", "1"), userapi.ErrNotFound)
	require.NoError(t, w.Memberships.DeleteResource(ctx, userapi.System(), "doc", "1"))
	var got []string
	for _, e := range w.store.Events()[before:] {
		got = append(got, fmt.Sprint(e.Kind, " ", e.Detail, " ", e.UserID == ann.ID, " ", e.ActorID == admin.UserID(), " ", e.CustomerID))
	}
	assert.Equal(t, []string{"membership.set doc-1-writer true true default", "membership.removed doc-1 true true default", "resource.deleted doc-1 false false "}, got)
}

// H13: what an admin gives while the resource ends does not outlive it, whichever comes first.
func TestMemberships_H13_a_resource_that_ends_meanwhile(t *testing.T) {
	w, owned := library(t)
	ann := w.user("default", "ann")
	_, admin := w.login("admin", password)
	asked := 0
	api := w.second(func(c *userapi.Config) {
		c.Memberships = userapi.MembershipConfig{Levels: []string{"reader"}, Owns: func(ctx context.Context, customer, resource, id string) (bool, error) {
			ok, err := owned.owns(ctx, customer, resource, id)
			if asked++; asked == 1 { // between the look and the write
				delete(owned, "doc 1")
				require.NoError(t, w.Memberships.DeleteResource(ctx, userapi.System(), "doc", "1"))
			}
			return ok, err
		}}
	})
	_, err := api.Memberships.Set(ctx, admin, on("1", ann, "reader"))
	require.ErrorIs(t, err, userapi.ErrNotFound)
	assert.Empty(t, w.members("1"))
	owned["doc 1"] = "rival"
	_, own := w.login("ann", password)
	assert.ErrorIs(t, w.Memberships.Check(ctx, own, "doc", "1", "reader"), userapi.ErrRoleMissing)
}

// H13: nor where the admin hangs up meanwhile.
func TestMemberships_H13_K01_a_resource_that_ends_while_the_caller_leaves(t *testing.T) {
	w, owned := library(t)
	ann := w.user("default", "ann")
	_, admin := w.login("admin", password)
	leaving, leave := context.WithCancel(ctx)
	asked := 0
	api := w.second(func(c *userapi.Config) {
		c.Store = &afterwards{Store: w.store, then: leave}
		c.Memberships = userapi.MembershipConfig{Levels: []string{"reader"}, Owns: func(ctx context.Context, customer, resource, id string) (bool, error) {
			ok, err := owned.owns(ctx, customer, resource, id)
			if asked++; asked == 1 {
				delete(owned, "doc 1")
				require.NoError(t, w.Memberships.DeleteResource(context.WithoutCancel(ctx), userapi.System(), "doc", "1"))
			}
			return ok, errors.Join(err, ctx.Err())
		}}
	})
	_, err := api.Memberships.Set(leaving, admin, on("1", ann, "reader"))
	require.ErrorIs(t, err, userapi.ErrNotFound)
	assert.Empty(t, w.members("1"))
}

// afterwards lets something happen once a level is stored.
type afterwards struct {
	userapi.Store
	then func()
}

func (a *afterwards) SetMembership(ctx context.Context, w userapi.MembershipWrite) error {
	defer a.then()
	return a.Store.SetMembership(ctx, w)
}

// H04: rank is decided on the user as written under, not as read before.
func TestMemberships_H04_a_user_who_rises_meanwhile(t *testing.T) {
	w, owned := library(t)
	w.role("boss")
	ann := w.user("default", "ann")
	_, admin := w.login("admin", password)
	asked := 0
	api := w.second(func(c *userapi.Config) {
		c.MayGrant = func(a userapi.Actor, role string) bool { return a.HasRole("admin") && role != "boss" }
		c.Memberships = userapi.MembershipConfig{Levels: []string{"reader"}, Owns: func(ctx context.Context, customer, resource, id string) (bool, error) {
			if asked++; asked == 1 {
				_, _, err := w.Users.Change(ctx, userapi.System(), ann.ID, userapi.UserChange{Roles: &[]userapi.RoleRef{{Code: "boss"}}})
				require.NoError(t, err)
			}
			return owned.owns(ctx, customer, resource, id)
		}}
	})
	_, err := api.Memberships.Set(ctx, admin, on("1", ann, "reader"))
	require.ErrorIs(t, err, userapi.ErrForbidden)
	assert.Empty(t, w.members("1"))
}

func TestMemberships_H13_a_registration_in_place_of_another_inherits_none(t *testing.T) {
	w, _ := library(t, func(c *userapi.Config) {
		c.Registration = userapi.Registration{Policy: userapi.RegistrationVerify, Customer: "default"}
		c.Verification.Mail = new(postbox)
		c.Limits = userapi.Limits{}
	})
	register := func() userapi.User {
		_, _, err := w.Users.Register(ctx, anonymous(), userapi.SelfRegistration{Email: "new@example.com", Password: password})
		require.NoError(t, err)
		u, err := w.Users.ByEmail(ctx, userapi.System(), "new@example.com")
		require.NoError(t, err)
		return u
	}
	first := register()
	w.give("1", first, "owner")
	assert.Equal(t, first.ID, register().ID)
	assert.Empty(t, w.members("1"))
}

func TestMembershipPages(t *testing.T) {
	w, _ := library(t)
	_, admin := w.login("admin", password)
	var want []userapi.Membership
	for i := range 5 {
		u := w.user("default", fmt.Sprint("u", i))
		w.give("1", u, "reader")
		want = append(want, on("1", u, "reader"))
	}
	w.give("1", w.user("rival", "stranger"), "reader")
	slices.SortFunc(want, func(a, b userapi.Membership) int { return strings.Compare(a.UserID, b.UserID) })
	var got []userapi.Membership
	for cursor, first := "", true; first || cursor != ""; first = false {
		page, err := w.Memberships.OfResource(ctx, admin, "doc", "1", 2, cursor)
		require.NoError(t, err)
		got, cursor = append(got, page.Memberships...), page.Cursor
	}
	assert.Equal(t, want, got)
	page, err := w.Memberships.OfResource(ctx, admin, "doc", "1", 2, "")
	require.NoError(t, err)
	for _, foreign := range []func() error{
		func() error { _, err := w.Memberships.OfResource(ctx, admin, "doc", "2", 2, page.Cursor); return err },
		func() error {
			_, err := w.Memberships.OfResource(ctx, userapi.System(), "doc", "1", 2, page.Cursor)
			return err
		},
		func() error { _, err := w.Memberships.OfUser(ctx, admin, admin.UserID(), 2, page.Cursor); return err },
		func() error { _, err := w.Users.List(ctx, admin, userapi.UserQuery{Cursor: page.Cursor}); return err },
		func() error { _, err := w.Memberships.OfResource(ctx, admin, "doc", "1", 101, ""); return err },
		func() error { _, err := w.Memberships.OfResource(ctx, admin, "doc", "1", -1, ""); return err },
	} {
		assert.ErrorIs(t, foreign(), userapi.ErrWrongArgs)
	}
	_, err = w.Memberships.OfResource(ctx, admin, "doc-1", "1", 2, "")
	assert.ErrorIs(t, err, userapi.ErrNotFound)
}

func TestMembershipErrorsOfTheHost(t *testing.T) {
	said := errors.New("canary")
	w, _ := library(t, func(c *userapi.Config) {
		c.Memberships.Owns = func(context.Context, string, string, string) (bool, error) { return true, said }
	})
	ann := w.user("default", "ann")
	_, admin := w.login("admin", password)
	_, err := w.Memberships.Set(ctx, admin, on("1", ann, "reader"))
	assert.ErrorIs(t, err, said)
	assert.Empty(t, w.members("1"))
}
