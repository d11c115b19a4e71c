package drivertest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/userapi/userapi"
)

// Store is what the SQL stores have in common beyond userapi.Store.
type Store interface {
	userapi.Store
	Migrate(ctx context.Context) error
	Drop(ctx context.Context) error
	WithTx(tx *sql.Tx) userapi.TxStore
}

// Handle is one more pool on a database, closed at the end of the test.
type Handle func() (Store, *sql.DB)

// Migrations tests Migrate and Drop. open makes a fresh database without tables.
func Migrations(t *testing.T, open func(t *testing.T) Handle) {
	t.Run("once more changes nothing", func(t *testing.T) {
		st, db := open(t)()
		must(t, st.Migrate(t.Context()))
		before := records(t, db)
		must(t, st.Migrate(t.Context()))
		if after := records(t, db); after != before || before == "" {
			t.Fatalf("records before %s, after %s", before, after)
		}
	})

	t.Run("K08 ten at once", func(t *testing.T) {
		handle := open(t)
		var wg sync.WaitGroup
		errs := make([]error, 10)
		for i := range errs {
			st, _ := handle()
			wg.Go(func() { errs[i] = st.Migrate(t.Context()) })
		}
		wg.Wait()
		must(t, errors.Join(errs...))
		st, _ := handle()
		must(t, st.InsertCustomer(t.Context(), Customer("c")))
	})

	t.Run("what an interrupted start left is finished", func(t *testing.T) {
		st, db := open(t)()
		must(t, st.Migrate(t.Context()))
		run(t, db, `DELETE FROM userapi_migrations WHERE id >= '0004'`)
		run(t, db, `DROP TABLE userapi_events`)
		must(t, st.Migrate(t.Context()))
		must(t, st.InsertCustomer(t.Context(), Customer("c")))
	})

	t.Run("a changed file is refused", func(t *testing.T) {
		st, db := open(t)()
		must(t, st.Migrate(t.Context()))
		run(t, db, `UPDATE userapi_migrations SET checksum = 'other' WHERE id = '0003_users.sql:1'`)
		says(t, st.Migrate(t.Context()), "0003_users.sql:1")
	})

	t.Run("the lease of a dead holder runs out", func(t *testing.T) {
		st, db := open(t)()
		must(t, st.Migrate(t.Context()))
		run(t, db, `DELETE FROM userapi_migrations WHERE id = '0007_events.sql:1'`)
		end := time.Now().Add(700 * time.Millisecond)
		run(t, db, fmt.Sprintf(`UPDATE userapi_migration_lease SET owner = 'dead', expires_at = %d`, end.UnixMilli()))
		must(t, st.Migrate(t.Context()))
		if time.Now().Before(end.Add(-5 * time.Millisecond)) {
			t.Fatal("did not wait for the lease")
		}
	})

	t.Run("a live holder is waited for as long as the caller likes", func(t *testing.T) {
		st, db := open(t)()
		must(t, st.Migrate(t.Context()))
		run(t, db, `DELETE FROM userapi_migrations WHERE id = '0007_events.sql:1'`)
		run(t, db, fmt.Sprintf(`UPDATE userapi_migration_lease SET owner = 'alive', expires_at = %d`, time.Now().Add(time.Hour).UnixMilli()))
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if err := st.Migrate(ctx); !errors.Is(err, userapi.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error is %v", err)
		}
	})

	t.Run("dropped and made again", func(t *testing.T) {
		st, db := open(t)()
		must(t, st.Migrate(t.Context()))
		must(t, st.InsertCustomer(t.Context(), Customer("c")))
		run(t, db, `CREATE TABLE of_the_host (id INT)`)
		must(t, st.Drop(t.Context()))
		must(t, st.Drop(t.Context()))
		run(t, db, `INSERT INTO of_the_host (id) VALUES (1)`)
		must(t, st.Migrate(t.Context()))
		if _, err := st.CustomerByID(t.Context(), "c"); !errors.Is(err, userapi.ErrNotFound) {
			t.Fatalf("error is %v", err)
		}
	})
}

// Transactions tests WithTx. open makes a fresh database without tables.
func Transactions(t *testing.T, open func(t *testing.T) Handle) {
	st, db := open(t)()
	must(t, st.Migrate(t.Context()))
	run(t, db, `CREATE TABLE of_the_host (id INT)`)
	rows := func(table string) (n int) {
		must(t, db.QueryRow(`SELECT COUNT(*) FROM `+table).Scan(&n))
		return n
	}
	for _, commits := range []bool{false, true} {
		name := fmt.Sprint("commits is ", commits)
		tx, err := db.BeginTx(t.Context(), nil)
		must(t, err)
		bound := st.WithTx(tx)
		if bound.Base() != userapi.Store(st) {
			t.Fatal("Base is not the store that made it")
		}
		_, err = tx.Exec(`INSERT INTO of_the_host (id) VALUES (1)`)
		must(t, err)
		c := Customer(name)
		must(t, bound.InsertCustomer(t.Context(), c))
		_, err = bound.CustomerByID(t.Context(), c.Customer.ID)
		must(t, err)
		role := userapi.Role{ID: "role " + name, Code: name}
		must(t, bound.InsertRole(t.Context(), userapi.RoleWrite{Role: role, Event: event()}))
		a := User("user "+name, c.Customer.ID)
		a.Roles = []userapi.Role{role}
		must(t, bound.InsertUser(t.Context(), userapi.UserInsert{Account: a, Event: event()}))
		a.Name, a.Active = "changed", false
		must(t, bound.ChangeUser(t.Context(), userapi.UserUpdate{
			Scope: userapi.Scope{All: true}, Account: a, IfVersion: 1, CustomerBefore: c.Customer.ID, TakesPlace: true, SetRoles: true,
			EndSessions: true, Revoke: []userapi.Revocation{{Kind: userapi.RevokeUser, Subject: a.ID, Below: 2, Lives: time.Hour}}, Event: event(),
		}))
		for _, id := range []string{"1", "2", "3"} { // and one of them stays
			must(t, bound.SetMembership(t.Context(), member(a.ID, id, 2)))
		}
		must(t, bound.RemoveMembership(t.Context(), member(a.ID, "1", 2)))
		must(t, bound.EndResource(t.Context(), userapi.ResourceEnd{Resource: "doc", ResourceID: "2", Event: event()}))
		if err := bound.SetMembership(t.Context(), member(a.ID, "4", 1)); !errors.Is(err, userapi.ErrChanged) {
			t.Fatalf("error is %v", err)
		}
		proofs(t, bound, c.Customer.ID)
		if err := bound.EndSession(t.Context(), userapi.SessionEnd{Scope: userapi.Scope{All: true}, ID: "none", UserID: a.ID, Event: event()}); !errors.Is(err, userapi.ErrNotFound) {
			t.Fatalf("error is %v", err)
		}
		wanted := map[string]int{"of_the_host": 0, "userapi_customers": 0, "userapi_users": 0, "userapi_user_roles": 0, "userapi_revocations": 1, "userapi_events": 0, "userapi_challenges": 0, "userapi_outbox": 0, "userapi_memberships": 0}
		if commits {
			must(t, tx.Commit())
			wanted = map[string]int{"of_the_host": 1, "userapi_customers": 1, "userapi_users": 3, "userapi_user_roles": 1, "userapi_revocations": 2, "userapi_events": 18, "userapi_challenges": 1, "userapi_outbox": 1, "userapi_memberships": 1}
		} else {
			must(t, tx.Rollback())
		}
		for table, n := range wanted {
			if got := rows(table); got != n {
				t.Fatalf("%s: %s has %d rows, wanted %d", name, table, got, n)
			}
		}
	}

	t.Run("guards see what others committed", func(t *testing.T) {
		full := Customer("full")
		full.Customer.Quota = 1
		must(t, st.InsertCustomer(t.Context(), full))
		tx, err := db.BeginTx(t.Context(), nil)
		must(t, err)
		defer tx.Rollback()
		bound := st.WithTx(tx)
		_, err = bound.CustomerByID(t.Context(), "full") // an old snapshot, where the database has such
		must(t, err)
		other := userapi.UserInsert{Account: User("first", "full"), Event: event()}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if err := st.InsertUser(ctx, other); errors.Is(err, userapi.ErrUnavailable) {
			t.Skip("the transaction of the host keeps all others out")
		} else {
			must(t, err)
		}
		err = bound.InsertUser(t.Context(), userapi.UserInsert{Account: User("second", "full"), Event: event()})
		if !errors.Is(err, userapi.ErrQuota) {
			t.Fatalf("error is %v, wanted ErrQuota", err)
		}
	})
}

// proofs poses challenges and answers them. It adds two users and 9 events, and leaves one challenge with its message.
func proofs(t *testing.T, st userapi.Store, customer string) {
	ctx, now := t.Context(), time.Now()
	holder, a := User("holder", customer), User("prover", customer)
	holder.Phone, holder.PhoneVerified, a.Pending = "+4930", true, true
	must(t, st.InsertUser(ctx, userapi.UserInsert{Account: holder, Event: event()}))
	must(t, st.InsertUser(ctx, userapi.UserInsert{Account: a, Outgoing: outgoing("activation", a.ID), Event: event()}))
	pose := func(id string, version int64) error {
		return st.InsertChallenge(ctx, userapi.ChallengeInsert{Outgoing: outgoing(id, a.ID), IfVersion: version, Event: event()})
	}
	must(t, pose("reset", 1))
	ch, err := st.TryChallenge(ctx, userapi.ChallengeTry{Purpose: userapi.PurposeReset, Subject: a.ID, Now: now})
	must(t, err)
	if ch.ID != "reset" || ch.Tries != 1 {
		t.Fatalf("challenge is %+v", ch)
	}
	must(t, st.ReturnTry(ctx, ch.ID))
	a.Phone, a.PhoneVerified, a.Pending = holder.Phone, true, false
	must(t, st.ChangeUser(ctx, userapi.UserUpdate{
		Scope: userapi.Scope{All: true}, Account: a, IfVersion: 1, CustomerBefore: customer, Consumes: ch.ID, Voids: []userapi.Purpose{userapi.PurposeReset},
		Releases: &userapi.PhoneRelease{UserID: holder.ID, Phone: holder.Phone, IfVersion: 1, Event: event()},
		Outgoing: outgoing("next", a.ID), Event: event(),
	}))
	leased, err := st.LeaseMessages(ctx, 8, time.Minute)
	must(t, err)
	if len(leased) != 1 || leased[0].ChallengeID != "next" || leased[0].Attempt != 1 {
		t.Fatalf("leased %+v", leased)
	}
	must(t, st.DelayMessage(ctx, userapi.MessageDelay{ID: leased[0].ID, Attempt: 1}))
	must(t, st.EndMessage(ctx, userapi.MessageEnd{ID: leased[0].ID, Void: true, Event: event()}))
	if err := st.EndMessage(ctx, userapi.MessageEnd{ID: leased[0].ID, Void: true, Event: event()}); !errors.Is(err, userapi.ErrNotFound) {
		t.Fatalf("error is %v", err)
	}
	must(t, pose("ended", 2))
	must(t, st.EndChallenge(ctx, userapi.ChallengeEnd{ID: "ended", Event: event()}))
	must(t, pose("left", 2))
}

// Customer is a customer to insert.
func Customer(id string) userapi.CustomerWrite {
	return userapi.CustomerWrite{Customer: userapi.Customer{ID: id, Name: id}, Event: event()}
}

// User is an active account to insert.
func User(id, customer string) userapi.Account {
	now := time.Now().UTC().Truncate(time.Millisecond)
	return userapi.Account{
		User:        userapi.User{ID: id, Username: id, Active: true, CustomerID: customer, CreatedAt: now, UpdatedAt: now},
		UsernameKey: id, NameKey: id, PasswordHash: "hash", Epoch: 1, Version: 1,
	}
}

// member gives the user, at this version, a level on a document.
func member(user, id string, version int64) userapi.MembershipWrite {
	return userapi.MembershipWrite{
		Scope: userapi.Scope{All: true}, IfVersion: version, Event: event(),
		Membership: userapi.Membership{UserID: user, Resource: "doc", ResourceID: id, Level: "member"},
	}
}

func event() userapi.Event {
	return userapi.Event{ID: rand.Text(), At: time.Now(), Kind: userapi.EventUserUpdated, ActorKind: "system"}
}

func records(t *testing.T, db *sql.DB) string {
	t.Helper()
	rows, err := db.Query(`SELECT id, applied_at FROM userapi_migrations ORDER BY id`)
	must(t, err)
	defer rows.Close()
	var all strings.Builder
	for rows.Next() {
		var id string
		var at int64
		must(t, rows.Scan(&id, &at))
		fmt.Fprintln(&all, id, at)
	}
	must(t, rows.Err())
	return all.String()
}

func run(t *testing.T, db *sql.DB, query string) {
	t.Helper()
	if _, err := db.Exec(query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("unexpected error: %v", err)
	}
}

func says(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Fatalf("error %v does not name %s", err, text)
	}
}
