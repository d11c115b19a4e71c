package storetest

import (
	"math"
	"testing"
	"time"

	"github.com/userapi/userapi"
)

func (s suite) revocations(t *testing.T) {
	db := s.database(t)
	// revoke stores rows beside a change that does nothing else.
	revoke := func(f *tenant, rows ...userapi.Revocation) {
		f.t.Helper()
		a := f.add()
		must(f.t, f.ChangeUser(f.t.Context(), f.update(a, func(w *userapi.UserUpdate) { w.Revoke = rows })))
	}
	read := func(f *tenant, since int64) ([]userapi.Revocation, int64) {
		f.t.Helper()
		rows, now, err := f.Revocations(f.t.Context(), since)
		must(f.t, err)
		return f.db.written(rows), now
	}

	t.Run("rows come back as they were given, with the rest of their life", func(t *testing.T) {
		f := s.database(t).tenant(t)
		rows, now := read(f, 0)
		same(t, len(rows), 0, "rows in an empty database")
		if now <= 0 {
			t.Fatalf("the database's clock says %d", now)
		}
		given := []userapi.Revocation{
			{Kind: userapi.RevokeSession, Subject: newID(), Lives: time.Minute},
			{Kind: userapi.RevokeUser, Subject: newID(), Below: math.MaxInt64, Lives: time.Hour},
			{Kind: userapi.RevokeUser, Subject: f.key("A"), Below: 3, Lives: 30 * 24 * time.Hour},
			{Kind: userapi.RevokeUser, Subject: f.key("a"), Below: 4, Lives: time.Hour},
			{Kind: userapi.RevokeSession, Subject: f.key("a"), Lives: time.Hour},
			{Kind: userapi.RevokeKey, Subject: newID(), Lives: time.Hour},
			{Kind: userapi.RevokeAll, Below: 1 << 40, Lives: time.Hour},
		}
		revoke(f, given...)
		for _, since := range []int64{0, now} {
			rows, _ := read(f, since)
			same(t, len(rows), len(given), "number of rows")
			for _, want := range given {
				found := false
				for _, got := range rows {
					left := got.Lives
					got.Lives = want.Lives
					found = found || got == want && left <= want.Lives && left > want.Lives-30*time.Second
				}
				if !found {
					t.Fatalf("no %+v in %+v", want, rows)
				}
			}
		}
	})

	t.Run("a top-up brings what was written since", func(t *testing.T) {
		f := db.tenant(t)
		early, late := newID(), newID()
		revoke(f, userapi.Revocation{Kind: userapi.RevokeSession, Subject: early, Lives: time.Hour})
		_, before := read(f, 0)
		time.Sleep(5 * time.Millisecond) // the clock has to leave the millisecond of the first row
		_, since := read(f, before)
		if since <= before {
			t.Fatalf("the database's clock went from %d to %d", before, since)
		}
		revoke(f, userapi.Revocation{Kind: userapi.RevokeSession, Subject: late, Lives: time.Hour})
		rows, _ := read(f, since)
		same(t, len(rows), 1, "number of rows written since")
		same(t, rows[0].Subject, late, "what was written since")
		rows, _, err := db.second.Revocations(t.Context(), since)
		must(t, err)
		same(t, len(rows), 1, "the same on the second handle")
		if !f.hasRevocation(userapi.RevokeSession, early) {
			t.Fatal("the row of before is gone")
		}
	})

	t.Run("a later row of one subject never takes back an earlier one", func(t *testing.T) {
		f := db.tenant(t)
		subject := newID()
		for _, below := range []int64{3, 5, 5, 4} {
			revoke(f, userapi.Revocation{Kind: userapi.RevokeUser, Subject: subject, Below: below, Lives: time.Hour})
		}
		highest := int64(0)
		for _, r := range f.revoked() {
			if r.Subject == subject {
				highest = max(highest, r.Below)
			}
		}
		same(t, highest, int64(5), "tokens below this epoch are dead")
	})

	t.Run("rows that lived long enough are not read", func(t *testing.T) {
		f := db.tenant(t)
		short, long := newID(), newID()
		revoke(f, userapi.Revocation{Kind: userapi.RevokeSession, Subject: short, Lives: 40 * time.Millisecond},
			userapi.Revocation{Kind: userapi.RevokeSession, Subject: long, Lives: time.Hour})
		time.Sleep(80 * time.Millisecond)
		if f.hasRevocation(userapi.RevokeSession, short) || !f.hasRevocation(userapi.RevokeSession, long) {
			t.Fatalf("the short-lived row stayed or the other went: %+v", f.revoked())
		}
	})

	t.Run("rows share no memory with the caller", func(t *testing.T) {
		f := db.tenant(t)
		given := []userapi.Revocation{{Kind: userapi.RevokeSession, Subject: newID(), Lives: time.Hour}}
		subject := given[0].Subject
		revoke(f, given...)
		given[0].Subject = "changed"
		rows, _ := read(f, 0)
		for i := range rows {
			rows[i].Subject = "changed"
		}
		if !f.hasRevocation(userapi.RevokeSession, subject) {
			t.Fatal("the row changed with what the caller holds")
		}
	})

	t.Run("everything ends at once", func(t *testing.T) {
		f := s.database(t).tenant(t)
		a, b := f.add(), f.add()
		f.open(a)
		last := f.open(b)
		f.pose(userapi.PurposeReset, a.ID)
		f.poseTo("+4930123456")
		w := userapi.EverythingEnd{
			Revoke: userapi.Revocation{Kind: userapi.RevokeAll, Below: f.now.Add(time.Hour).UnixMilli(), Lives: time.Hour}, Event: f.event(userapi.EventEverythingEnded),
		}
		must(t, f.EndEverything(t.Context(), w))
		same(t, len(f.sessionsOf(a.ID))+len(f.sessionsOf(b.ID)), 0, "sessions")
		_, err := f.SessionByID(t.Context(), last.ID)
		is(t, err, userapi.ErrNotFound)
		f.leaves()
		same(t, f.revoked(), []userapi.Revocation{{Kind: userapi.RevokeAll, Below: f.now.Add(time.Hour).UnixMilli()}}, "revocations")
		w.Event = f.event(userapi.EventEverythingEnded)
		must(t, f.EndEverything(t.Context(), w))
		f.open(a)
	})
}
