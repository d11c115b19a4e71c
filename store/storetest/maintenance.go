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
		n, err := f.Sweep(f.t.Context(), userapi.SweepBefore{Now: at, Idle: 14 * day, Batch: batch, PendingBefore: at})
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
			out := f.outgoing(userapi.PurposePhone, "", func(ch *userapi.Challenge) { ch.ExpiresAt = f.now })
			out.Messages[0].ExpiresAt = f.now.Add(-time.Hour)
			must(t, f.send(out))
			f.add(func(a *userapi.Account) { a.Active, a.Pending, a.UpdatedAt = false, true, f.now.Add(-time.Second) })
		}
		for _, want := range []int{10, 10, 5, 0} {
			same(t, sweep(f, f.now, 2), want, "rows gone")
		}
		same(t, len(f.sessionsOf(a.ID)), 0, "sessions left")
		same(t, userIDs(f.list(userapi.UserFilter{})), []string{a.ID}, "accounts left")
		f.leaves()
	})

	t.Run("challenges go when they have expired, messages an hour later", func(t *testing.T) {
		f := s.database(t).tenant(t)
		a := f.add()
		end := f.now.Add(10 * time.Minute)
		add := func(purpose userapi.Purpose, end time.Time) userapi.Outgoing {
			out := f.outgoing(purpose, a.ID, func(ch *userapi.Challenge) { ch.ExpiresAt = end })
			out.Messages[0].ExpiresAt = end
			must(t, f.send(out))
			return out
		}
		gone, stays := add(userapi.PurposeReset, end), add(userapi.PurposeEmail, end.Add(time.Millisecond))
		same(t, sweep(f, end.Add(-time.Millisecond), 100), 0, "rows gone before anything has expired")
		same(t, sweep(f, end, 100), 1, "rows gone when one challenge has expired")
		gone.Challenge = nil
		f.leaves(gone, stays) // nobody was told yet that the message came too late
		same(t, sweep(f, end.Add(time.Hour), 100), 2, "rows gone an hour later")
		stays.Challenge = nil
		f.leaves(stays)
		same(t, sweep(f, end.Add(time.Hour+time.Millisecond), 100), 1, "rows gone after that")
		f.leaves()
	})

	t.Run("accounts that were never activated go, with all that hangs on them", func(t *testing.T) {
		f := s.database(t).tenant(t)
		role := f.role(f.key("held"))
		add := func(active, pending bool, age time.Duration) userapi.Account {
			a := f.add(func(a *userapi.Account) {
				a.Active, a.Pending, a.UpdatedAt, a.CreatedAt = active, pending, f.now.Add(-age), f.now.Add(-10*day)
				a.EmailKey, a.Roles = f.key(fmt.Sprintf("%d@x", f.n)), []userapi.Role{role}
			})
			return a
		}
		gone, edge := add(false, true, day+time.Millisecond), add(false, true, day)
		stay := []userapi.Account{edge, add(false, true, time.Hour), add(false, false, 9*day), add(true, false, 9*day)}
		activated := add(false, true, 9*day)
		activated.Active, activated.Pending = true, false
		must(t, f.ChangeUser(t.Context(), f.update(activated)))
		touched := add(false, true, 9*day)
		touched.UpdatedAt = f.now
		must(t, f.ChangeUser(t.Context(), f.update(touched)))
		activated.Version, touched.Version = 2, 2
		stay = append(stay, activated, touched)
		f.pose(userapi.PurposeActivation, gone.ID)
		f.notice(gone.ID)
		kept := []userapi.Outgoing{f.pose(userapi.PurposeActivation, edge.ID), f.notice(edge.ID)}

		pending := userapi.SweepBefore{Now: f.now, Idle: 14 * day, Batch: 100}
		for _, want := range []int{0, 1, 0} {
			n, err := f.Sweep(t.Context(), pending)
			must(t, err)
			same(t, n, want, "accounts gone before "+pending.PendingBefore.String())
			pending.PendingBefore = f.now.Add(-day)
		}
		_, err := f.AccountByID(t.Context(), f.scope(), gone.ID)
		is(t, err, userapi.ErrNotFound)
		for _, a := range stay {
			same(t, f.read(a.ID), a, "an account that stays")
		}
		f.leaves(kept...)
		f.add(func(a *userapi.Account) { a.ID, a.EmailKey, a.UsernameKey = gone.ID, gone.EmailKey, gone.UsernameKey })
		same(t, len(f.read(gone.ID).Roles), 0, "roles of the account made anew under the same id")
		f.leaves(kept...)
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
