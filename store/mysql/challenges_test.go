package mysql_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/internal/drivertest"
	"github.com/userapi/userapi/store/mysql"
)

// breaking is a store whose connections break at COMMIT, with a user "u" and the holder "h" of a number.
type breaking struct {
	*mysql.Store
	*drivertest.Connector
	db     *sql.DB
	t      *testing.T
	fault  drivertest.Fault
	events int
}

func newBreaking(t *testing.T, fault drivertest.Fault) *breaking {
	c := drivertest.Wrap(t, "mysql", server.Database(t).FormatDSN())
	db := c.Pool(t)
	b := &breaking{Store: mysql.New(db), Connector: c, db: db, t: t, fault: fault}
	require.NoError(t, b.Migrate(t.Context()))
	require.NoError(t, b.InsertCustomer(t.Context(), drivertest.Customer("c")))
	holder := drivertest.User("h", "c")
	holder.Phone, holder.PhoneVerified = "+4930", true
	for _, a := range []userapi.Account{holder, drivertest.User("u", "c")} {
		require.NoError(t, b.InsertUser(t.Context(), userapi.UserInsert{Account: a, Event: b.event()}))
	}
	return b
}

func (b *breaking) event() userapi.Event {
	b.events++
	return userapi.Event{ID: fmt.Sprint("event ", b.events), At: time.Now()}
}

// breaks runs a write whose COMMIT breaks.
func (b *breaking) breaks(write func() error) error {
	b.Break(b.fault)
	err := write()
	assert.True(b.t, b.Broke())
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
		require.NoError(b.t, b.db.QueryRow(`SELECT COUNT(*) FROM `+table).Scan(&n))
		require.Equal(b.t, wanted, n, table)
	}
}

func eachFault(t *testing.T, test func(t *testing.T, b *breaking)) {
	for name, fault := range drivertest.Faults {
		t.Run(name, func(t *testing.T) { test(t, newBreaking(t, fault)) })
	}
}

// What is single-use is used once, and told to whom it was: an end that took effect is not taken for somebody else's.
func TestLostCommitsOfChallenges(t *testing.T) {
	eachFault(t, func(t *testing.T, b *breaking) {
		for _, id := range []string{"1", "2"} {
			require.NoError(t, b.breaks(func() error { return b.pose(id) }))
		}
		b.left(1, 1)
		failed := userapi.MessageEnd{ID: "of 2", Void: true, Event: b.event()}
		require.NoError(t, b.breaks(func() error { return b.EndMessage(t.Context(), failed) }))
		b.left(0, 0)

		require.NoError(t, b.pose("3"))
		proved := userapi.ChallengeEnd{ID: "3", Event: b.event()}
		require.NoError(t, b.breaks(func() error { return b.EndChallenge(t.Context(), proved) }))
		b.left(0, 0)

		require.NoError(t, b.pose("4"))
		a := drivertest.User("u", "c")
		a.Phone, a.PhoneVerified = "+4930", true
		change := userapi.UserUpdate{
			Scope: userapi.Scope{All: true}, Account: a, IfVersion: 1, CustomerBefore: "c", Consumes: "4", Event: b.event(),
			Releases: &userapi.PhoneRelease{UserID: "h", Phone: "+4930", IfVersion: 1, Event: b.event()},
		}
		require.NoError(t, b.breaks(func() error { return b.ChangeUser(t.Context(), change) }))
		b.left(0, 0)
	})
}

// Tries and leases have no event to look for, so the caller is told that nobody knows. Neither does harm: a try may have
// counted, and a lease ends.
func TestLostCommitsOfTriesAndLeases(t *testing.T) {
	eachFault(t, func(t *testing.T, b *breaking) {
		require.NoError(t, b.pose("1"))
		try := func() error {
			_, err := b.TryChallenge(t.Context(), userapi.ChallengeTry{ID: "1", Now: time.Now()})
			return err
		}
		lease := func() error {
			_, err := b.LeaseMessages(t.Context(), 8, time.Millisecond)
			return err
		}
		for _, write := range []func() error{try, lease} {
			if err := b.breaks(write); b.fault == drivertest.RefusedCommit {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, userapi.ErrUnavailable)
			}
		}
		require.NoError(t, try())
		assert.EventuallyWithT(t, func(t *assert.CollectT) {
			leased, err := b.LeaseMessages(context.Background(), 8, time.Hour)
			assert.NoError(t, err)
			assert.Len(t, leased, 1)
		}, 20*time.Second, 5*time.Millisecond)
	})
}
