package drivertest

import (
	"context"

	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/userapi/userapi"
)

// HostTransactions tests an API that is bound to a transaction of the host. open makes a fresh database without tables.
func HostTransactions(t *testing.T, open func(t *testing.T) Handle) {
	ctx := t.Context()
	st, db := open(t)()
	must(t, st.Migrate(ctx))
	const password userapi.Secret = "seven green bottles"
	var hooks []string
	note := func(what string) func(context.Context, userapi.User) {
		return func(_ context.Context, u userapi.User) { hooks = append(hooks, what+" "+u.Username) }
	}
	api, err := userapi.New(userapi.Config{
		Store: st, Secret: "a secret of more than thirty-two bytes, made for tests",
		Password:    userapi.PasswordPolicy{Argon2id: userapi.Argon2id{MemoryKiB: 64, Passes: 1, Threads: 1}},
		Memberships: userapi.MembershipConfig{Levels: []string{"reader"}},
		Hooks:       userapi.Hooks{UserCreated: note("created"), UserUpdated: note("updated"), UserDeleted: note("deleted")},
	})
	must(t, err)
	_, err = api.Bootstrap(ctx, userapi.Bootstrap{Username: "admin", Password: password})
	must(t, err)
	caller := userapi.Anonymous().From("192.0.2.1", "test")
	login := func() (*userapi.Identity, userapi.Tokens) {
		t.Helper()
		_, tokens, err := api.Auth.Login(ctx, caller, userapi.LoginRequest{Identifier: "admin", Password: password})
		must(t, err)
		id, err := api.Auth.Authenticate(ctx, string(tokens.Access))
		must(t, err)
		return id, tokens
	}
	// inTx runs work in a transaction of the host, which ends as it is told.
	inTx := func(commit bool, work func(bound *userapi.API)) {
		t.Helper()
		hooks = nil
		tx, err := db.BeginTx(ctx, nil)
		must(t, err)
		bound := api.WithStore(st.WithTx(tx))
		work(bound)
		if len(hooks) != 0 {
			t.Fatalf("hooks ran before the commit: %v", hooks)
		}
		if commit {
			must(t, tx.Commit())
			bound.Committed(ctx)
			bound.Committed(ctx) // once more is nothing
		} else {
			must(t, tx.Rollback())
		}
	}
	wantHooks := func(want ...string) {
		t.Helper()
		if !slices.Equal(hooks, want) {
			t.Fatalf("hooks %v, want %v", hooks, want)
		}
	}
	create := func(bound *userapi.API) {
		_, err := bound.Users.Create(ctx, userapi.System(), userapi.NewUser{Username: "anna", Password: password, Active: true, CustomerID: "default"})
		must(t, err)
		_, err = bound.Users.ByUsername(ctx, userapi.System(), "anna")
		must(t, err)
	}

	t.Run("a user vanishes with the rollback, and comes with the commit", func(t *testing.T) {
		inTx(false, create)
		wantHooks()
		if _, err := api.Users.ByUsername(ctx, userapi.System(), "anna"); !errors.Is(err, userapi.ErrNotFound) {
			t.Fatalf("after the rollback: %v", err)
		}
		inTx(true, create)
		wantHooks("created anna")
		_, err := api.Users.ByUsername(ctx, userapi.System(), "anna")
		must(t, err)
	})

	t.Run("revocations count from the commit, and not at all after a rollback", func(t *testing.T) {
		id, tokens := login()
		second := func(bound *userapi.API) {
			_, _, err := bound.Users.Change(ctx, userapi.System(), id.UserID(), userapi.UserChange{Password: ptr(password)})
			must(t, err)
		}
		inTx(false, second)
		_, err := api.Auth.Authenticate(ctx, string(tokens.Access))
		must(t, err)
		inTx(true, second)
		wantHooks("updated admin")
		if _, err := api.Auth.Authenticate(ctx, string(tokens.Access)); !errors.Is(err, userapi.ErrTokenRevoked) {
			t.Fatalf("after the commit: %v", err)
		}
	})

	t.Run("no tokens are issued for what may be rolled back", func(t *testing.T) {
		id, before := login()
		inTx(false, func(bound *userapi.API) {
			_, tokens, err := bound.Passwords.Set(ctx, id.Actor(), id.UserID(), "another green bottle", "")
			must(t, err)
			if !tokens.IsZero() {
				t.Fatal("tokens")
			}
		})
		_, err := api.Auth.Authenticate(ctx, string(before.Access))
		must(t, err)
		_, err = api.Auth.Refresh(ctx, caller, before.Refresh)
		must(t, err)
	})

	t.Run("what needs a transaction of its own is refused", func(t *testing.T) {
		id, tokens := login()
		inTx(false, func(bound *userapi.API) {
			_, _, login := bound.Auth.Login(ctx, caller, userapi.LoginRequest{Identifier: "admin", Password: password})
			_, refresh := bound.Auth.Refresh(ctx, caller, tokens.Refresh)
			_, authenticate := bound.Auth.Authenticate(ctx, string(tokens.Access))
			_, key := bound.Auth.AuthenticateKey(ctx, caller, "key.secret")
			_, _, issue := bound.Auth.IssueTokens(ctx, userapi.System(), id.UserID(), "sso")
			logout := bound.Auth.Logout(ctx, caller, tokens.Access, "")
			_, _, counted := bound.Passwords.Set(ctx, id.Actor(), id.UserID(), "another green bottle", password)
			for i, err := range []error{login, refresh, authenticate, key, issue, logout, counted} {
				if !errors.Is(err, userapi.ErrInTx) {
					t.Errorf("%d: %v", i, err)
				}
			}
		})
	})

	t.Run("a resource that ends in a transaction keeps no member who was given a level until the commit was known", func(t *testing.T) {
		id, _ := login()
		ctx := t.Context()
		on := userapi.Membership{UserID: id.UserID(), Resource: "doc", ResourceID: "1", Level: "reader"}
		tx, err := db.BeginTx(ctx, nil)
		must(t, err)
		bound := api.WithStore(st.WithTx(tx))
		must(t, bound.Memberships.DeleteResource(ctx, userapi.System(), "doc", "1"))
		must(t, tx.Commit())
		_, err = api.Memberships.Set(ctx, userapi.System(), on)
		must(t, err)
		bound.Committed(ctx)
		if _, err := api.Memberships.Get(ctx, userapi.System(), id.UserID(), "doc", "1"); !errors.Is(err, userapi.ErrNotFound) {
			t.Fatalf("after the commit: %v", err)
		}
	})

	t.Run("a transaction of another store is a mistake of the host's", func(t *testing.T) {
		other, db := open(t)()
		must(t, other.Migrate(ctx))
		tx, err := db.BeginTx(ctx, nil)
		must(t, err)
		defer func() { _ = tx.Rollback() }()
		for name, bad := range map[string]userapi.TxStore{"nil": nil, "another store's": other.WithTx(tx)} {
			func() {
				defer func() {
					if recover() == nil {
						t.Error(fmt.Sprint(name, ": no panic"))
					}
				}()
				api.WithStore(bad)
			}()
		}
	})
}

func ptr[T any](v T) *T { return &v }

// LoginStatements tests what a login with the right password, from an address that is known, costs a database, and that a wrong one costs
// as much whether or not there is such an account.
func LoginStatements(t *testing.T, st Store, c *Connector, most int) {
	ctx := t.Context()
	const password userapi.Secret = "seven green bottles"
	api, err := userapi.New(userapi.Config{
		Store: st, Secret: "a secret of more than thirty-two bytes, made for tests",
		Password: userapi.PasswordPolicy{Argon2id: userapi.Argon2id{MemoryKiB: 64, Passes: 1, Threads: 1}},
	})
	must(t, err)
	_, err = api.Bootstrap(ctx, userapi.Bootstrap{Username: "admin", Password: password})
	must(t, err)
	login := func() {
		_, _, err := api.Auth.Login(ctx, userapi.Anonymous().From("192.0.2.1", ""), userapi.LoginRequest{Identifier: "admin", Password: password})
		must(t, err)
	}
	login()
	c.Record(login)
	transactions, statements := 0, 0
	for query, times := range c.Times() {
		switch {
		case query == "COMMIT":
			transactions += times
		case strings.Contains(query, "userapi_"):
			statements += times
		}
	}
	if transactions != 2 || statements > most {
		t.Fatalf("%d statements, %d transactions: %v", statements, transactions, c.Times())
	}

	_, err = api.Users.Create(ctx, userapi.System(), userapi.NewUser{
		Username: "ann", Email: "ann@example.com", Phone: "+4930901820", PhoneVerified: true, Password: password, Active: true, CustomerID: "default",
	})
	must(t, err)
	for known, unknown := range map[string]string{"ann": "bob", "ann@example.com": "bob@example.com", "+4930901820": "+4930901821"} {
		var statements, rows [2]int
		for i, identifier := range []string{known, unknown} {
			c.Record(func() {
				_, _, err := api.Auth.Login(ctx, userapi.Anonymous().From("192.0.2.9", ""), userapi.LoginRequest{Identifier: identifier, Password: "seven blue bottles"})
				if !errors.Is(err, userapi.ErrBadCredentials) {
					t.Fatalf("error is %v", err)
				}
			})
			for _, times := range c.Times() {
				statements[i] += times
			}
			rows[i] = c.Rows()
		}
		if statements[0] != statements[1] || rows[0] != rows[1] || rows[0] == 0 {
			t.Fatalf("E02 logins as %s and as %s take %v statements and read %v rows", known, unknown, statements, rows)
		}
	}
}
