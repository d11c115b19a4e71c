package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/userapi/userapi"
)

func (s suite) maintenance(t *testing.T) {
	day := 24 * time.Hour
	sweep := func(f *tenant, at time.Time, batch int) int {
		f.t.Helper()
		n, err := f.Sweep(f.t.Context(), userapi.SweepBefore{Now: at, Idle: 14 * day, Batch: batch})
		must(f.t, err)
		return n
	}

	t.Run("the store answers", func(t *testing.T) {
		db := s.database(t)
		must(t, db.first.Ping(t.Context()))
		must(t, db.second.Ping(t.Context()))
	})

	t.Run("an empty store has nothing to sweep", func(t *testing.T) {
		f := s.database(t).tenant(t)
		same(t, sweep(f, f.now.Add(1000*day), 100), 0, "rows gone")
	})

	t.Run("sessions past their absolute or idle end go", func(t *testing.T) {
		f := s.database(t).tenant(t)
		a := f.add()
		add := func(expires, seen time.Duration) userapi.Session {
			open := f.session(a.ID)
			open.ExpiresAt, open.LastSeenAt = f.now.Add(expires), f.now.Add(seen)
			_, err := f.InsertSession(t.Context(), f.login(open, a.Epoch))
			must(t, err)
			return open
		}
		add(-time.Second, -time.Hour)
		add(day, -15*day)
		stays := add(time.Minute, -13*day)
		same(t, sweep(f, f.now, 100), 2, "rows gone")
		same(t, sessionIDs(f.sessionsOf(a.ID)), []string{stays.ID}, "sessions left")
		same(t, sweep(f, f.now, 100), 0, "rows gone the second time")
		same(t, len(f.revoked()), 0, "revocations: what has expired needs none")
	})

	t.Run("a sweep takes a batch of each kind", func(t *testing.T) {
		f := s.database(t).tenant(t)
		a := f.add()
		for i := range 5 {
			open := f.session(a.ID)
			open.ExpiresAt = f.now.Add(-time.Second)
			_, err := f.InsertSession(t.Context(), f.login(open, a.Epoch))
			must(t, err)
			_, err = f.TakeLimits(t.Context(), f.now.Add(-time.Hour), []userapi.LimitTake{{Key: f.key(fmt.Sprint(i)), Max: 1, Window: time.Minute}})
			must(t, err)
		}
		for _, want := range []int{4, 4, 2, 0} {
			same(t, sweep(f, f.now, 2), want, "rows gone")
		}
		same(t, len(f.sessionsOf(a.ID)), 0, "sessions left")
	})

	t.Run("counters stay until their window is over", func(t *testing.T) {
		f := s.database(t).tenant(t)
		l := []userapi.LimitTake{{Key: f.key("l"), Max: 1, Window: time.Minute}}
		_, err := f.TakeLimits(t.Context(), f.now, l)
		must(t, err)
		same(t, sweep(f, f.now.Add(59*time.Second), 100), 0, "rows gone within the window")
		wait, err := f.TakeLimits(t.Context(), f.now.Add(59*time.Second), l)
		must(t, err)
		same(t, wait, time.Second, "wait after the sweep")
		same(t, sweep(f, f.now.Add(61*time.Second), 100), 1, "rows gone after the window")
	})

	t.Run("revocations stay while they live by the database's clock", func(t *testing.T) {
		f := s.database(t).tenant(t)
		a := f.add()
		must(t, f.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) {
			w.Revoke = []userapi.Revocation{
				{Kind: userapi.RevokeSession, Subject: "short", Lives: 30 * time.Millisecond},
				{Kind: userapi.RevokeSession, Subject: "long", Lives: time.Hour},
			}
		})))
		time.Sleep(60 * time.Millisecond)
		// A host whose clock is days ahead must not wake what was revoked.
		same(t, sweep(f, f.now.Add(3*day), 100), 1, "rows gone")
		if !f.hasRevocation(userapi.RevokeSession, "long") {
			t.Fatal("a live revocation was swept")
		}
	})
}
