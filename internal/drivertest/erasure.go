package drivertest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/userapi/userapi"
)

// Erasure tests what is left of a user who was erased: rows in the audit trail alone, and of those the ids. open makes a fresh
// database without tables.
func Erasure(t *testing.T, open func(t *testing.T) Handle) {
	ctx := t.Context()
	st, db := open(t)()
	must(t, st.Migrate(ctx))
	api, err := userapi.New(userapi.Config{
		Store: st, Secret: "a secret of more than thirty-two bytes, made for tests", Memberships: userapi.MembershipConfig{Levels: []string{"member"}},
		Password: userapi.PasswordPolicy{Argon2id: userapi.Argon2id{MemoryKiB: 64, Passes: 1, Threads: 1}},
	})
	must(t, err)
	_, err = api.Bootstrap(ctx, userapi.Bootstrap{Username: "admin", Password: "seven green bottles"})
	must(t, err)
	system, caller := userapi.System(), userapi.Anonymous().From("198.51.100.77", "Agent of theirs")
	actor := func(name string) userapi.Actor {
		t.Helper()
		_, tokens, err := api.Auth.Login(ctx, caller, userapi.LoginRequest{Identifier: name, Password: "seven green bottles"})
		must(t, err)
		id, err := api.Auth.Authenticate(ctx, string(tokens.Access))
		must(t, err)
		return id.Actor().From("198.51.100.77", "Agent of theirs")
	}
	users := map[string]userapi.User{}
	for _, name := range []string{"gone", "left"} {
		u, err := api.Users.Create(ctx, system, userapi.NewUser{Username: name, Email: name + "@example.com", Password: "seven green bottles", Active: true, CustomerID: "default"})
		must(t, err)
		users[name] = u
		_, _, err = api.Keys.Create(ctx, system, u.ID, userapi.NewAPIKey{Name: "key", Scopes: []string{userapi.ScopeFull}})
		must(t, err)
		must(t, api.Grants.Set(ctx, system, u.ID, userapi.GrantAPIKeys, 5, time.Time{}))
		_, err = api.Memberships.Set(ctx, system, userapi.Membership{UserID: u.ID, Resource: "doc", ResourceID: "7", Level: "member"})
		must(t, err)
		_, err = api.Credentials.Put(ctx, system, userapi.Credential{UserID: u.ID, Kind: "totp", Key: u.ID, Data: []byte("x")}, "")
		must(t, err)
		_, _, err = api.Auth.Login(ctx, caller, userapi.LoginRequest{Identifier: name, Password: "wrong"})
		if !errors.Is(err, userapi.ErrBadCredentials) {
			t.Fatalf("error is %v", err)
		}
	}
	name := "Gone"
	_, _, err = api.Users.Change(ctx, actor("admin"), users["gone"].ID, userapi.UserChange{Name: &name})
	must(t, err)
	gone, left := users["gone"].ID, users["left"].ID
	traces := func(id string, cond string) (n int) {
		t.Helper()
		must(t, db.QueryRowContext(ctx, `SELECT COUNT(*) FROM userapi_events WHERE user_id = '`+id+`' AND `+cond).Scan(&n))
		return n
	}
	before := traces(left, `address <> ''`)
	own := actor("gone")
	must(t, api.Users.DeleteSelf(context.WithoutCancel(ctx), own, ""))
	for _, table := range []string{"userapi_sessions", "userapi_user_roles", "userapi_keys", "userapi_grants", "userapi_memberships", "userapi_credentials", "userapi_challenges", "userapi_outbox"} {
		var n int
		must(t, db.QueryRowContext(ctx, `SELECT COUNT(*) FROM `+table+` WHERE user_id = '`+gone+`'`).Scan(&n))
		if n != 0 {
			t.Errorf("%s keeps %d rows", table, n)
		}
	}
	if n := traces(gone, `actor_id = user_id AND (address <> '' OR user_agent <> '')`); n != 0 {
		t.Errorf("%d events of the user's own tell from where", n)
	}
	if n := traces(gone, `actor_id = '' AND (address <> '' OR user_agent <> '')`); n != 0 {
		t.Errorf("%d events of somebody who may have been the user tell from where", n)
	}
	if n := traces(gone, `actor_id <> '' AND actor_id <> user_id AND address = '198.51.100.77'`); n != 1 {
		t.Errorf("%d events of the admin's tell from where, wanted 1", n)
	}
	if n := traces(gone, `1 = 1`); n < 8 {
		t.Errorf("the audit trail keeps %d events alone", n)
	}
	if n := traces(left, `address <> ''`); n != before || n == 0 {
		t.Errorf("of another user %d events tell from where, before it were %d", n, before)
	}
	if n := traces(gone, fmt.Sprintf(`kind = '%s'`, userapi.EventUserDeleted)); n != 1 {
		t.Errorf("%d events tell of the end", n)
	}
}
