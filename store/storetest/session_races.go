package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/userapi/userapi"
)

func (s suite) sessionRaces(t *testing.T) {
	db := s.database(t)
	db.every(t, "B02 of many refreshes with one counter, one is done", func(t *testing.T, f *tenant) {
		a := f.add()
		open := f.open(a)
		one(t, db.race(racers, func(_ int, st userapi.Store) error {
			return st.RotateSession(t.Context(), rotation(open, a.Epoch, open.RotatedAt))
		}), userapi.ErrChanged)
		got, err := f.SessionByID(t.Context(), open.ID)
		must(t, err)
		same(t, got.Session.Counter, open.Counter+1, "counter")
	})

	db.every(t, "B04 a session is ended once, and refreshed no more", func(t *testing.T, f *tenant) {
		a := f.add()
		open := f.open(a)
		results := db.race(racers, func(i int, st userapi.Store) error {
			if i < racers/2 {
				return st.RotateSession(t.Context(), rotation(open, a.Epoch, open.RotatedAt))
			}
			return st.EndSession(t.Context(), userapi.SessionEnd{
				Scope: f.scope(), ID: open.ID, UserID: a.ID, Event: f.event(userapi.EventLogout),
				Revoke: userapi.Revocation{Kind: userapi.RevokeSession, Subject: open.ID, Lives: time.Hour},
			})
		})
		if won := winners(t, results[:racers/2], userapi.ErrChanged); won > 1 {
			t.Fatalf("%d refreshes with one counter", won)
		}
		one(t, results[racers/2:], userapi.ErrNotFound)
		_, err := f.SessionByID(t.Context(), open.ID)
		is(t, err, userapi.ErrNotFound)
	})

	db.every(t, "J05 a limit lets exactly its number pass", func(t *testing.T, f *tenant) {
		takes := []userapi.LimitTake{{Key: f.key("a"), Max: 20, Window: time.Hour}, {Key: f.key("b"), Max: 7, Window: time.Hour}}
		passed := db.race(racers, func(i int, st userapi.Store) error {
			mine := slices.Clone(takes)
			if i%3 == 0 {
				slices.Reverse(mine) // the order of counters must not matter, nor deadlock
			}
			wait, err := st.TakeLimits(t.Context(), f.now, mine)
			if err == nil && wait > 0 {
				return userapi.ErrRateLimited
			}
			return err
		})
		same(t, winners(t, passed, userapi.ErrRateLimited), 7, "attempts that passed both counters")
		passed = db.race(racers, func(_ int, st userapi.Store) error {
			wait, err := st.TakeLimits(t.Context(), f.now, takes[:1])
			if err == nil && wait > 0 {
				return userapi.ErrRateLimited
			}
			return err
		})
		same(t, winners(t, passed, userapi.ErrRateLimited), 13, "attempts left on the wide counter")
	})

	db.every(t, "a limit counts right while attempts are taken back", func(t *testing.T, f *tenant) {
		take := []userapi.LimitTake{{Key: f.key("l"), Max: racers, Window: time.Hour}}
		same(t, winners(t, db.race(racers, func(i int, st userapi.Store) error {
			wait, err := st.TakeLimits(t.Context(), f.now, take)
			if err == nil && wait > 0 {
				return userapi.ErrRateLimited
			}
			if err == nil && i%2 == 0 {
				return st.ReturnLimits(t.Context(), []userapi.LimitReturn{{Key: take[0].Key}})
			}
			return err
		})), racers, "attempts")
		take[0].Max = racers/2 + 1
		for _, want := range []bool{true, false} {
			wait, err := f.TakeLimits(t.Context(), f.now, take)
			must(t, err)
			same(t, wait == 0, want, "whether another attempt passes")
		}
	})

	db.every(t, "A11 no session outlives the epoch it was opened under", func(t *testing.T, f *tenant) {
		a := f.add()
		open := f.openings(a, racers)
		old := f.open(a)
		change := f.update(f.read(a.ID), func(w *userapi.UserUpdate) {
			w.Account.Epoch, w.Account.PasswordHash, w.EndSessions, w.Revoke = a.Epoch+1, "changed", true, f.revocations(a.ID)
		})
		results := db.race(racers, func(i int, st userapi.Store) error {
			switch {
			case i == racers/2:
				return st.ChangeUser(t.Context(), change)
			case i%4 == 1:
				return st.RotateSession(t.Context(), rotation(old, a.Epoch, f.now))
			}
			_, err := st.InsertSession(t.Context(), open[i])
			return err
		})
		winners(t, results, userapi.ErrChanged)
		must(t, results[racers/2]) // a login is no change that the change could lose against
		same(t, len(f.sessionsOf(a.ID)), 0, "sessions opened under the old epoch")
		is(t, f.RotateSession(t.Context(), rotation(old, a.Epoch, f.now)), userapi.ErrChanged)
	})

	db.every(t, "A10 no session is opened for an account that is deactivated or deleted meanwhile", func(t *testing.T, f *tenant) {
		off, gone := f.add(), f.add()
		open := append(f.openings(off, racers/2), f.openings(gone, racers/2)...)
		results := db.race(racers, func(i int, st userapi.Store) error {
			switch i {
			case racers / 4:
				return st.ChangeUser(t.Context(), f.update(off, func(w *userapi.UserUpdate) { w.Account.Active, w.EndSessions = false, true }))
			case racers * 3 / 4:
				return st.DeleteUser(t.Context(), f.deletion(gone, false))
			}
			_, err := st.InsertSession(t.Context(), open[i])
			return err
		})
		winners(t, results, userapi.ErrChanged)
		same(t, len(f.sessionsOf(off.ID))+len(f.sessionsOf(gone.ID)), 0, "sessions")
		for _, w := range open {
			_, err := f.SessionByID(t.Context(), w.Session.ID)
			is(t, err, userapi.ErrNotFound)
		}
	})

	db.every(t, "B12 the cap of sessions holds, and every session pushed out is revoked", func(t *testing.T, f *tenant) {
		const most = 5
		a := f.add()
		open := f.openings(a, racers)
		ended := make([][]string, racers)
		results := db.race(racers, func(i int, st userapi.Store) (err error) {
			open[i].Cap = most
			ended[i], err = st.InsertSession(t.Context(), open[i])
			return err
		})
		same(t, winners(t, results), racers, "logins")
		left := f.sessionsOf(a.ID)
		same(t, len(left), most, "sessions left")
		out := slices.Concat(ended...)
		same(t, len(out), racers-most, "sessions pushed out, each once")
		revoked := f.revoked()
		for _, w := range open {
			stays := slices.Contains(sessionIDs(left), w.Session.ID)
			dead := slices.ContainsFunc(revoked, func(r userapi.Revocation) bool { return r.Subject == w.Session.ID })
			if stays == slices.Contains(out, w.Session.ID) || stays == dead {
				t.Fatalf("session %s: left %v, revoked %v", w.Session.ID, stays, dead)
			}
		}
	})
}

// openings makes logins of the account as it stands.
func (f *tenant) openings(a userapi.Account, n int) []userapi.SessionInsert {
	list := make([]userapi.SessionInsert, n)
	for i := range list {
		list[i] = f.login(f.session(a.ID), a.Epoch)
	}
	return list
}
