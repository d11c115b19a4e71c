package drivertest

import (
	"database/sql"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/userapi/userapi"
)

// Faults are all that may happen at COMMIT, by what became of it.
var Faults = map[string]Fault{
	"it never arrived": BeforeCommit, "it took effect": AfterCommit, "it takes effect later": DuringCommit, "it was refused": RefusedCommit,
}

// LostCommits tests that what became of a COMMIT whose answer is lost is found out before anything is repeated. open makes a fresh database
// without tables.
func LostCommits(t *testing.T, open func(t *testing.T) (Store, *sql.DB, *Connector)) {
	for name, fault := range Faults {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			st, db, c := open(t)
			must(t, st.Migrate(ctx))
			must(t, st.InsertCustomer(ctx, Customer("c")))
			events := func() (n int) {
				t.Helper()
				must(t, db.QueryRow(`SELECT COUNT(*) FROM userapi_events`).Scan(&n))
				return n
			}
			before := events()

			c.Break(fault)
			must(t, st.InsertUser(ctx, userapi.UserInsert{Account: User("u", "c"), Event: event()}))
			if !c.Broke() || events() != before+1 {
				t.Fatalf("broke: %v, %d events more", c.Broke(), events()-before)
			}

			session := userapi.Session{ID: "s1", UserID: "u", CreatedAt: time.Now(), Methods: []string{"pwd"}}
			login := userapi.SessionInsert{Session: session, IfEpoch: 1, Cap: 1, EndedFor: time.Hour, Event: event()}
			_, err := st.InsertSession(ctx, login)
			must(t, err)
			login.Session.ID, login.Event = "s2", event()
			c.Break(fault)
			ended, err := st.InsertSession(ctx, login)
			must(t, err)
			if !slices.Equal(ended, []string{"s1"}) {
				t.Fatalf("ended %v", ended)
			}

			a, err := st.AccountByID(ctx, userapi.Scope{All: true}, "u")
			must(t, err)
			a.Name = "changed"
			c.Break(fault) // a change that took effect is not taken for somebody else's
			must(t, st.ChangeUser(ctx, userapi.UserUpdate{Scope: userapi.Scope{All: true}, Account: a, IfVersion: 1, CustomerBefore: "c", Event: event()}))
			c.Break(fault)
			upgraded, err := st.UpgradeHash(ctx, userapi.HashUpgrade{UserID: "u", Old: "hash", New: "new", Event: event()})
			must(t, err)
			if !upgraded || events() != before+5 {
				t.Fatalf("upgraded: %v, %d events more", upgraded, events()-before)
			}
			live, _, err := st.Revocations(ctx, 0)
			must(t, err)
			if len(live) != 2 { // one session ended, once, beside the row of the beginning
				t.Fatalf("live are %+v", live)
			}

			// Without an event nobody can tell, so the caller is told that.
			c.Break(fault)
			_, err = st.TakeLimits(ctx, time.Now(), []userapi.LimitTake{{Key: "k", Max: 5, Window: time.Hour}})
			if fault == RefusedCommit {
				must(t, err)
			} else if !errors.Is(err, userapi.ErrUnavailable) {
				t.Fatalf("error is %v", err)
			}
		})
	}
}
