package storetest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/userapi/userapi"
)

func (s suite) sessions(t *testing.T) {
	db := s.database(t)

	t.Run("a session comes back as it was given, with its account", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add(func(a *userapi.Account) { a.Roles = []userapi.Role{f.role(f.key("b")), f.role(f.key("a"))} })
		odd := time.Date(2031, 2, 3, 4, 5, 6, 789_999_999, time.FixedZone("far east", 9*3600))
		open := f.session(a.ID)
		open.CreatedAt, open.LastSeenAt, open.ExpiresAt = odd, odd.Add(time.Hour), odd.Add(24*time.Hour)
		open.AuthTime, open.RotatedAt, open.Counter = odd, odd.Add(time.Minute), 1<<40
		open.Methods = []string{"otp", "pwd", "a", "b", "c", "d", "e", "f"}
		open.Address = "2001:db8:1234:5678:9abc:def0:1234:5678%eth0"
		ended, err := f.InsertSession(t.Context(), f.login(open, a.Epoch))
		must(t, err)
		same(t, len(ended), 0, "sessions ended")
		got, err := f.SessionByID(t.Context(), open.ID)
		must(t, err)
		same(t, got.Session, keptSession(open), "session")
		a.LastLogin = stamp(open.CreatedAt)
		same(t, got.Account, a, "account: same version, new last login")
		same(t, f.sessionsOf(a.ID), []userapi.Session{keptSession(open)}, "sessions in the list")
	})

	t.Run("user agents come back byte for byte", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add()
		for _, agent := range append(slices.Clone(awkward), "", "\x01\x1f\x7f", "\u2028\ufeff\uffff", strings.Repeat("x", 255), strings.Repeat("é", 127)) {
			open := f.session(a.ID)
			open.UserAgent = agent
			_, err := f.InsertSession(t.Context(), f.login(open, a.Epoch))
			must(t, err)
			got, err := f.SessionByID(t.Context(), open.ID)
			must(t, err)
			same(t, got.Session.UserAgent, agent, "user agent")
			must(t, f.RotateSession(t.Context(), rotation(open, a.Epoch, f.now)))
			got, err = f.SessionByID(t.Context(), open.ID)
			must(t, err)
			same(t, got.Session.UserAgent, agent, "user agent after a refresh")
		}
	})

	t.Run("sessions share no memory with the caller", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add(func(a *userapi.Account) { a.Roles = []userapi.Role{f.role(f.key("r"))} })
		open := f.session(a.ID)
		want := keptSession(open)
		want.Methods = []string{"pwd"}
		_, err := f.InsertSession(t.Context(), f.login(open, a.Epoch))
		must(t, err)
		open.Methods[0] = "changed"
		for range 2 {
			got, err := f.SessionByID(t.Context(), open.ID)
			must(t, err)
			same(t, got.Session, want, "session")
			same(t, got.Account.Roles, a.Roles, "roles")
			got.Session.Methods[0], got.Account.Roles[0].Name = "changed", "changed"
			listed := f.sessionsOf(a.ID)
			same(t, listed, []userapi.Session{want}, "sessions")
			listed[0].Methods[0] = "changed"
		}
	})

	t.Run("a session needs an active account at the epoch it was checked under", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add(func(a *userapi.Account) { a.Epoch = 5 })
		off := f.add(func(a *userapi.Account) { a.Active = false })
		for _, try := range []struct {
			user  string
			epoch int64
		}{{a.ID, 4}, {a.ID, 6}, {a.ID, 0}, {off.ID, off.Epoch}, {newID(), 1}, {"", 1}} {
			_, err := f.InsertSession(t.Context(), f.login(f.session(try.user), try.epoch))
			is(t, err, userapi.ErrChanged)
		}
		same(t, f.read(a.ID), a, "account")
		same(t, f.read(off.ID), off, "inactive account")
		same(t, len(f.sessionsOf(a.ID))+len(f.sessionsOf(off.ID)), 0, "sessions")
	})

	t.Run("a refused session ends no other", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add()
		f.open(a)
		before := f.state(a.ID)
		w := f.login(f.session(a.ID), a.Epoch+1)
		w.Cap = 1
		ended, err := f.InsertSession(t.Context(), w)
		is(t, err, userapi.ErrChanged)
		same(t, len(ended), 0, "sessions ended")
		same(t, f.state(a.ID), before, "what a refused write left behind")
	})

	t.Run("a login changes neither version nor epoch", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add()
		f.open(a)
		last := f.open(a)
		got := f.read(a.ID)
		same(t, got.LastLogin, last.CreatedAt, "last login")
		a.LastLogin = last.CreatedAt
		same(t, got, a, "account")
		a.Name = "still at the version that was read"
		must(t, f.ChangeUser(t.Context(), f.update(a)))
	})

	t.Run("beyond the cap the oldest sessions end", func(t *testing.T) {
		f := db.tenant(t)
		a, other := f.add(), f.add()
		theirs := f.open(other)
		var open []userapi.Session
		for range 5 {
			open = append(open, f.open(a))
		}
		capped := func(session userapi.Session, most int) []string {
			w := f.login(session, a.Epoch)
			w.Cap, w.EndedFor = most, 90*time.Second
			ended, err := f.InsertSession(t.Context(), w)
			must(t, err)
			slices.Sort(ended)
			return ended
		}
		first := f.session(a.ID)
		same(t, len(capped(first, 6)), 0, "sessions ended within the cap")
		want := []string{open[0].ID, open[1].ID, open[2].ID, open[3].ID}
		slices.Sort(want)
		last := f.session(a.ID)
		same(t, capped(last, 3), want, "sessions ended")
		same(t, sessionIDs(f.sessionsOf(a.ID)), []string{last.ID, first.ID, open[4].ID}, "sessions left")
		same(t, sessionIDs(f.sessionsOf(other.ID)), []string{theirs.ID}, "sessions of somebody else")
		rows, _, err := f.Revocations(t.Context(), 0)
		must(t, err)
		for _, id := range want {
			i := slices.IndexFunc(rows, func(r userapi.Revocation) bool { return r.Kind == userapi.RevokeSession && r.Subject == id })
			if i < 0 || rows[i].Lives <= time.Minute || rows[i].Lives > 90*time.Second {
				t.Fatalf("no revocation for 90 s of the ended session %s in %+v", id, rows)
			}
		}
	})

	t.Run("the session that pushes others out is never the one to go", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add()
		young := f.session(a.ID)
		young.CreatedAt = f.now.Add(time.Hour) // by the clock of a node that is ahead
		for _, open := range []userapi.Session{young, f.session(a.ID)} {
			w := f.login(open, a.Epoch)
			w.Cap = 1
			_, err := f.InsertSession(t.Context(), w)
			must(t, err)
			same(t, sessionIDs(f.sessionsOf(a.ID)), []string{open.ID}, "sessions")
		}
	})

	t.Run("a refresh counts one up and says when and where", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add()
		open := f.open(a)
		for i := range 3 {
			w := rotation(open, a.Epoch, f.now.Add(time.Duration(i)*time.Hour+1500*time.Microsecond))
			w.Address, w.UserAgent = "198.51.100.7", "Another Agent"
			must(t, f.RotateSession(t.Context(), w))
			is(t, f.RotateSession(t.Context(), w), userapi.ErrChanged)
			open.Counter, open.RotatedAt, open.LastSeenAt = open.Counter+1, stamp(w.At), stamp(w.At)
			open.Address, open.UserAgent = w.Address, w.UserAgent
			got, err := f.SessionByID(t.Context(), open.ID)
			must(t, err)
			same(t, got.Session, open, "session")
			same(t, got.Account.Version, a.Version, "version of the account")
		}
	})

	t.Run("a refresh that looks like the one before still counts", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add()
		open := f.open(a)
		for range 3 {
			must(t, f.RotateSession(t.Context(), rotation(open, a.Epoch, open.LastSeenAt)))
			open.Counter++
		}
	})

	t.Run("a refresh holds only for the session, user, counter and epoch it was checked under", func(t *testing.T) {
		f := db.tenant(t)
		a, other := f.add(), f.add()
		open := f.open(a)
		good := rotation(open, a.Epoch, f.now.Add(time.Hour))
		for _, edit := range []func(*userapi.SessionRotation){
			func(w *userapi.SessionRotation) { w.ID = newID() },
			func(w *userapi.SessionRotation) { w.UserID = other.ID },
			func(w *userapi.SessionRotation) { w.Counter = 1 },
			func(w *userapi.SessionRotation) { w.Counter = -1 },
			func(w *userapi.SessionRotation) { w.IfEpoch = a.Epoch + 1 },
			func(w *userapi.SessionRotation) { w.IfEpoch = a.Epoch - 1 },
		} {
			w := good
			edit(&w)
			f.refused(userapi.ErrChanged, func() error { return f.RotateSession(t.Context(), w) }, a.ID, other.ID)
		}
		a = f.read(a.ID)
		a.Active = false
		must(t, f.ChangeUser(t.Context(), f.update(a)))
		f.refused(userapi.ErrChanged, func() error { return f.RotateSession(t.Context(), good) }, a.ID)
		a.Active, a.Version = true, a.Version+1
		must(t, f.ChangeUser(t.Context(), f.update(a)))
		must(t, f.RotateSession(t.Context(), good))
	})

	t.Run("sessions are listed newest first", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add()
		one, two, three := f.open(a), f.open(a), f.open(a)
		same(t, f.sessionsOf(a.ID), []userapi.Session{three, two, one}, "sessions")
		open, err := f.ListSessions(t.Context(), f.scope(), a.ID)
		must(t, err)
		same(t, len(open), 3, "sessions within the scope")
		same(t, len(f.sessionsOf(newID())), 0, "sessions of nobody")
	})

	t.Run("a session ends once, and only for its user", func(t *testing.T) {
		f := db.tenant(t)
		a, other := f.add(), f.add()
		open, stays := f.open(a), f.open(a)
		end := func(id, user string) userapi.SessionEnd {
			return userapi.SessionEnd{
				Scope: f.scope(), ID: id, UserID: user, Event: f.event(userapi.EventSessionEnded),
				Revoke: userapi.Revocation{Kind: userapi.RevokeSession, Subject: id, Lives: time.Hour},
			}
		}
		for _, w := range []userapi.SessionEnd{end(open.ID, other.ID), end(newID(), a.ID), end(open.ID, ""), end(strings.ToUpper(open.ID), a.ID)} {
			f.refused(userapi.ErrNotFound, func() error { return f.EndSession(t.Context(), w) }, a.ID, other.ID)
		}
		for _, scope := range []userapi.Scope{{}, {Customer: newID()}} {
			w := end(open.ID, a.ID)
			w.Scope = scope
			f.refused(userapi.ErrNotFound, func() error { return f.EndSession(t.Context(), w) }, a.ID)
		}
		must(t, f.EndSession(t.Context(), end(open.ID, a.ID)))
		_, err := f.SessionByID(t.Context(), open.ID)
		is(t, err, userapi.ErrNotFound)
		if !f.hasRevocation(userapi.RevokeSession, open.ID) {
			t.Fatal("the revocation is missing")
		}
		same(t, sessionIDs(f.sessionsOf(a.ID)), []string{stays.ID}, "sessions left")
		f.refused(userapi.ErrNotFound, func() error { return f.EndSession(t.Context(), end(open.ID, a.ID)) }, a.ID)
		is(t, f.RotateSession(t.Context(), rotation(open, a.Epoch, f.now)), userapi.ErrChanged)
		same(t, f.read(a.ID).Version, a.Version, "version")

		other = f.add()
		f.pose(userapi.PurposeEmailChange, a.ID)
		kept, foreign := f.pose(userapi.PurposeReset, a.ID), f.pose(userapi.PurposeEmailChange, other.ID)
		w := end(stays.ID, a.ID)
		w.Voids = []userapi.Purpose{userapi.PurposeEmailChange, userapi.PurposePhone}
		must(t, f.EndSession(t.Context(), w))
		f.leaves(kept, foreign)
		same(t, f.read(a.ID).Version, a.Version+1, "version after challenges were void")
		w.Event = f.event(userapi.EventSessionEnded)
		f.refused(userapi.ErrNotFound, func() error { return f.EndSession(t.Context(), w) }, a.ID)
	})
}

// rotation is the refresh of a session as it stands.
func rotation(open userapi.Session, epoch int64, at time.Time) userapi.SessionRotation {
	return userapi.SessionRotation{
		ID: open.ID, UserID: open.UserID, Counter: open.Counter, IfEpoch: epoch, At: at, Address: open.Address, UserAgent: open.UserAgent,
	}
}
