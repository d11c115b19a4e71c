package drivertest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/userapi/userapi"
)

// breaking is a store whose connections break at COMMIT, with a user "u" and the holder "h" of a number.
type breaking struct {
	Store
	*Connector
	db     *sql.DB
	t      *testing.T
	fault  Fault
	events int
}

func newBreaking(t *testing.T, open func(t *testing.T) (Store, *sql.DB, *Connector), fault Fault) *breaking {
	st, db, c := open(t)
	b := &breaking{Store: st, Connector: c, db: db, t: t, fault: fault}
	must(t, b.Migrate(t.Context()))
	must(t, b.InsertCustomer(t.Context(), Customer("c")))
	holder := User("h", "c")
	holder.Phone, holder.PhoneVerified = "+4930", true
	for _, a := range []userapi.Account{holder, User("u", "c")} {
		must(t, b.InsertUser(t.Context(), userapi.UserInsert{Account: a, Event: b.event()}))
	}
	return b
}

func (b *breaking) event() userapi.Event {
	b.events++
	return userapi.Event{ID: fmt.Sprint("event ", b.events), At: time.Now()}
}

// breaks runs a write whose COMMIT breaks.
func (b *breaking) breaks(write func() error) error {
	b.t.Helper()
	b.Break(b.fault)
	err := write()
	if !b.Broke() {
		b.t.Error("no COMMIT broke")
	}
	return err
}

// pose inserts a challenge and its message.
func (b *breaking) pose(id string) error {
	end := time.Now().Add(time.Hour)
	return b.InsertChallenge(b.t.Context(), userapi.ChallengeInsert{IfVersion: 1, Event: b.event(), Outgoing: userapi.Outgoing{
		Challenge: &userapi.Challenge{ID: id, Purpose: userapi.PurposePhone, Subject: "u", UserID: "u", MaxTries: 5, ExpiresAt: end},
		Messages:  []userapi.SealedMessage{{ID: "of " + id, ChallengeID: id, ExpiresAt: end}},
	}})
}

// left wants so many challenges and messages, and the event of every write.
func (b *breaking) left(challenges, messages int) {
	b.t.Helper()
	for table, wanted := range map[string]int{"userapi_challenges": challenges, "userapi_outbox": messages, "userapi_events": 1 + b.events} {
		var n int
		must(b.t, b.db.QueryRow(`SELECT COUNT(*) FROM `+table).Scan(&n))
		if n != wanted {
			b.t.Fatalf("%s has %d rows, wanted %d", table, n, wanted)
		}
	}
}

// LostCommitsOfChallenges tests that what is single-use is used once, and told to whom it was: an end that took effect is not taken for
// somebody else's. Tries and leases have no event to look for, so the caller is told that nobody knows. Neither does harm: a try may have
// counted, and a lease ends. open makes a fresh database without tables.
func LostCommitsOfChallenges(t *testing.T, open func(t *testing.T) (Store, *sql.DB, *Connector)) {
	for name, fault := range Faults {
		t.Run(name, func(t *testing.T) { lostEnds(newBreaking(t, open, fault)) })
		t.Run(name+", of a try or lease", func(t *testing.T) { lostTries(newBreaking(t, open, fault)) })
	}
}

func lostEnds(b *breaking) {
	t := b.t
	for _, id := range []string{"1", "2"} {
		must(t, b.breaks(func() error { return b.pose(id) }))
	}
	b.left(1, 1)
	failed := userapi.MessageEnd{ID: "of 2", Void: true, Event: b.event()}
	must(t, b.breaks(func() error { return b.EndMessage(t.Context(), failed) }))
	b.left(0, 0)

	must(t, b.pose("3"))
	proved := userapi.ChallengeEnd{ID: "3", Event: b.event()}
	must(t, b.breaks(func() error { return b.EndChallenge(t.Context(), proved) }))
	b.left(0, 0)

	must(t, b.pose("4"))
	a := User("u", "c")
	a.Phone, a.PhoneVerified = "+4930", true
	change := userapi.UserUpdate{
		Scope: userapi.Scope{All: true}, Account: a, IfVersion: 1, CustomerBefore: "c", Consumes: "4", Event: b.event(),
		Releases: &userapi.PhoneRelease{UserID: "h", Phone: "+4930", IfVersion: 1, Event: b.event()},
	}
	must(t, b.breaks(func() error { return b.ChangeUser(t.Context(), change) }))
	b.left(0, 0)
}

func lostTries(b *breaking) {
	t := b.t
	must(t, b.pose("1"))
	try := func() error {
		_, err := b.TryChallenge(t.Context(), userapi.ChallengeTry{ID: "1", Now: time.Now()})
		return err
	}
	lease := func() error {
		_, err := b.LeaseMessages(t.Context(), 8, time.Millisecond)
		return err
	}
	for _, write := range []func() error{try, lease} {
		if err := b.breaks(write); b.fault == RefusedCommit {
			must(t, err)
		} else if !errors.Is(err, userapi.ErrUnavailable) {
			t.Fatalf("error is %v", err)
		}
	}
	must(t, try())
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		leased, err := b.LeaseMessages(context.Background(), 8, time.Hour)
		must(t, err)
		if len(leased) == 1 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the lease does not end")
		}
	}
}
