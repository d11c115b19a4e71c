package userapi_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
)

func TestData_is_all_that_is_kept_without_secrets(t *testing.T) {
	w := newWorld(t, func(c *userapi.Config) { c.Memberships.Levels = []string{"member"} })
	w.customer("rival", 0)
	anna := w.user("default", "anna")
	bob := w.user("default", "bob")
	_, actor := w.login("anna", password)
	key, _ := w.key(actor, anna.ID, "key", userapi.ScopeRead)
	w.key(userapi.System(), bob.ID, "of bob", userapi.ScopeRead)
	for _, u := range []userapi.User{anna, bob} {
		_, err := w.Memberships.Set(ctx, userapi.System(), userapi.Membership{UserID: u.ID, Resource: "doc", ResourceID: "7", Level: "member"})
		require.NoError(t, err)
		_, err = w.Credentials.Put(ctx, userapi.System(), userapi.Credential{UserID: u.ID, Kind: "totp", Key: u.ID, Data: []byte("secret")}, "")
		require.NoError(t, err)
	}
	require.NoError(t, w.Grants.Set(ctx, userapi.System(), anna.ID, userapi.GrantAPIKeys, 7, time.Time{}))
	d, err := w.Users.Data(ctx, actor, anna.ID)
	require.NoError(t, err)
	assert.Equal(t, anna.ID, d.User.ID)
	assert.Equal(t, []userapi.APIKey{key}, d.Keys)
	assert.Equal(t, []userapi.Membership{{UserID: anna.ID, Resource: "doc", ResourceID: "7", Level: "member"}}, d.Memberships)
	assert.Equal(t, []userapi.Grant{{Name: userapi.GrantAPIKeys, Value: 7}}, d.Grants)
	assert.Equal(t, []userapi.Credential{{UserID: anna.ID, Kind: "totp", Key: anna.ID, Version: 1}}, d.Credentials)
	require.Len(t, d.Sessions, 1)
	assert.Equal(t, "192.0.2.1", d.Sessions[0].Address)

	_, err = w.Users.Data(ctx, actor, bob.ID)
	assert.ErrorIs(t, err, userapi.ErrForbidden)
	_, admin := w.login("admin", password)
	_, err = w.Users.Data(ctx, admin, bob.ID)
	assert.NoError(t, err)
	w.user("rival", "eve", userapi.RoleAdmin)
	_, eve := w.login("eve", password)
	_, err = w.Users.Data(ctx, eve, anna.ID)
	assert.ErrorIs(t, err, userapi.ErrNotFound)
	w.user("default", "helper", userapi.RoleService)
	_, helper := w.login("helper", password)
	_, err = w.Users.Data(ctx, helper, anna.ID)
	assert.ErrorIs(t, err, userapi.ErrForbidden)
}

func TestDeleteSelf_L06_leaves_nothing_but_ids_in_the_audit_trail(t *testing.T) {
	var deleted []string
	w := newWorld(t, func(c *userapi.Config) {
		c.Hooks.UserDeleted = func(_ context.Context, u userapi.User) { deleted = append(deleted, u.ID) }
		c.Memberships.Levels = []string{"member"}
	})
	anna := w.user("default", "anna")
	_, admin := w.login("admin", password)
	_, _, err := w.Users.Change(ctx, admin, anna.ID, userapi.UserChange{Name: ptr("Anna")})
	require.NoError(t, err)
	_, _, err = w.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "anna", Password: another})
	require.ErrorIs(t, err, userapi.ErrBadCredentials)
	tokens, actor := w.login("anna", password)
	_, secret := w.key(actor, anna.ID, "key", userapi.ScopeFull)
	_, err = w.Memberships.Set(ctx, userapi.System(), userapi.Membership{UserID: anna.ID, Resource: "doc", ResourceID: "7", Level: "member"})
	require.NoError(t, err)
	require.NoError(t, w.Users.DeleteSelf(ctx, actor, ""))
	assert.Equal(t, []string{anna.ID}, deleted)
	w.refused(tokens)
	w.refreshRefused(tokens)
	w.keyRefused(w.API, secret)
	left, err := w.Memberships.OfResource(ctx, userapi.System(), "doc", "7", 0, "")
	require.NoError(t, err)
	assert.Empty(t, left.Memberships)
	byAdmin, kept := 0, 0
	for _, e := range w.store.Events() {
		switch {
		case e.UserID != anna.ID:
			continue
		case e.ActorID == admin.UserID():
			byAdmin++
			assert.Equal(t, "192.0.2.1", e.Address, "from where an admin acted is not hers")
		default:
			kept++
			assert.Empty(t, e.Address+e.UserAgent, e.Kind)
		}
	}
	assert.Equal(t, 1, byAdmin)
	assert.GreaterOrEqual(t, kept, 5)
	require.ErrorIs(t, w.Users.DeleteSelf(ctx, actor, ""), userapi.ErrTokenRevoked)
}

func TestDeleteSelf_who_may(t *testing.T) {
	w := newWorld(t, nil)
	anna := w.user("default", "anna")
	_, actor := w.login("anna", password)
	_, secret := w.key(actor, anna.ID, "key", userapi.ScopeFull)
	assert.ErrorIs(t, w.Users.DeleteSelf(ctx, w.keyHolds(w.API, secret).Actor(), password), userapi.ErrForbidden, "H12")
	assert.ErrorIs(t, w.Users.DeleteSelf(ctx, anonymous(), ""), userapi.ErrNoCredentials)
	assert.ErrorIs(t, w.Users.DeleteSelf(ctx, userapi.System(), ""), userapi.ErrForbidden)
	assert.ErrorContains(t, w.Users.DeleteSelf(ctx, userapi.Actor{}, ""), "zero Actor")
	_, admin := w.login("admin", password)
	assert.ErrorIs(t, w.Users.DeleteSelf(ctx, admin, ""), userapi.ErrLastAdmin)
	w.clock.add(5 * time.Minute)
	assert.ErrorIs(t, w.Users.DeleteSelf(ctx, actor, ""), userapi.ErrNotFresh)
	assert.ErrorIs(t, w.Users.DeleteSelf(ctx, actor, another), userapi.ErrWrongPassword)
	ended, thief := w.login("anna", password)
	require.NoError(t, w.Auth.Logout(ctx, anonymous(), ended.Access))
	assert.ErrorIs(t, w.Users.DeleteSelf(ctx, thief, password), userapi.ErrTokenRevoked)
	_, err := w.Users.ByID(ctx, userapi.System(), anna.ID)
	require.NoError(t, err)
	require.NoError(t, w.Users.DeleteSelf(ctx, actor, password))
	_, err = w.Users.ByID(ctx, userapi.System(), anna.ID)
	assert.ErrorIs(t, err, userapi.ErrNotFound)
}

// Two admins who leave at once: one stays.
func TestDeleteSelf_H06_the_last_admin_stays(t *testing.T) {
	w := newWorld(t, nil)
	w.user("default", "second", userapi.RoleAdmin)
	_, one := w.login("admin", password)
	_, two := w.login("second", password)
	errs := make([]error, 2)
	var all sync.WaitGroup
	for i, actor := range []userapi.Actor{one, two} {
		all.Go(func() { errs[i] = w.Users.DeleteSelf(ctx, actor, password) })
	}
	all.Wait()
	assert.True(t, (errs[0] == nil) != (errs[1] == nil))
	for _, err := range errs {
		if err != nil {
			assert.ErrorIs(t, err, userapi.ErrLastAdmin)
		}
	}
}
