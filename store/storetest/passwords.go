package storetest

import (
	"testing"
	"time"

	"github.com/userapi/userapi"
)

func (s suite) passwords(t *testing.T) {
	db := s.database(t)

	upgrade := func(f *tenant, id, old, new string) bool {
		f.t.Helper()
		done, err := f.UpgradeHash(f.t.Context(), userapi.HashUpgrade{UserID: id, Old: old, New: new, Event: f.event(userapi.EventPasswordUpgraded)})
		must(f.t, err)
		return done
	}

	mark := func(f *tenant, id, name string, until time.Time) {
		f.t.Helper()
		of := userapi.MarksOf(id)
		must(f.t, f.ReturnLimits(f.t.Context(), []userapi.LimitReturn{{Key: of + name, Mark: &userapi.LimitMark{Until: until, Of: of}}}))
	}
	find := func(f *tenant, id userapi.Identifier, marks ...string) userapi.MarkedAccount {
		f.t.Helper()
		m, err := f.AccountForLogin(f.t.Context(), id, [2]string(marks))
		must(f.t, err)
		return m
	}

	t.Run("an account is found by each identifier, with its roles and the marks that were asked for", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add(func(a *userapi.Account) {
			a.EmailKey, a.Phone, a.PhoneVerified = f.key("@x"), "+4946"+digits(), true
			a.Roles = []userapi.Role{f.role("x"), f.role("y")}
		})
		other := f.add(func(a *userapi.Account) { a.EmailKey = f.key("@y") })
		hour := f.now.Add(time.Hour)
		mark(f, a.ID, "here", hour)
		mark(f, a.ID, "there", hour.Add(time.Hour))
		mark(f, a.ID, "long gone", f.now.Add(-time.Hour))
		mark(f, a.ID+"0", "here", hour)
		mark(f, a.ID+":", "here", hour)
		mark(f, other.ID, "elsewhere", hour)
		for _, id := range []userapi.Identifier{{Kind: userapi.EmailIdentifier, Value: a.EmailKey}, {Kind: userapi.UsernameIdentifier, Value: a.UsernameKey}, {Kind: userapi.PhoneIdentifier, Value: a.Phone}} {
			m := find(f, id, "here", "there")
			same(t, m.Account, a, "account")
			same(t, m.Until, [2]time.Time{hour, hour.Add(time.Hour)}, "ends of marks")
			same(t, m.Marked, 3, "marks")
		}
		email := userapi.Identifier{Kind: userapi.EmailIdentifier, Value: a.EmailKey}
		same(t, find(f, email, "elsewhere", "there").Until, [2]time.Time{{}, hour.Add(time.Hour)}, "marks")
		same(t, find(f, email, "", "").Until, [2]time.Time{}, "marks without a name")
		stranger := find(f, userapi.Identifier{Kind: userapi.EmailIdentifier, Value: other.EmailKey}, "here", "there")
		same(t, stranger.ID, other.ID, "somebody else")
		same(t, stranger.Until, [2]time.Time{}, "somebody else's marks")
		for _, id := range []userapi.Identifier{{Kind: userapi.EmailIdentifier, Value: "nobody@example.com"}, {Kind: userapi.UsernameIdentifier, Value: a.EmailKey}, {Value: a.EmailKey}} {
			if _, err := f.AccountForLogin(t.Context(), id, [2]string{"here", "there"}); err != userapi.ErrNotFound {
				t.Errorf("%v: %v", id, err)
			}
		}
	})

	t.Run("marks end with their account", func(t *testing.T) {
		f := db.tenant(t)
		a, other := f.add(), f.add()
		for _, id := range []string{a.ID, a.ID + "0", other.ID} {
			mark(f, id, "here", f.now.Add(time.Hour))
		}
		must(t, f.DeleteUser(t.Context(), f.deletion(a, false)))
		counts, err := f.ReadLimits(t.Context(), f.now, []string{userapi.MarksOf(a.ID) + "here", userapi.MarksOf(a.ID+"0") + "here", userapi.MarksOf(other.ID) + "here"})
		must(t, err)
		same(t, len(counts), 2, "marks of others")
	})

	t.Run("a hash is upgraded while it is the one that was verified", func(t *testing.T) {
		f := db.tenant(t)
		a, other := f.add(), f.add(func(a *userapi.Account) { a.PasswordHash = "old" })
		open := f.open(a)
		same(t, upgrade(f, a.ID, a.PasswordHash, "new"), true, "upgraded")
		got := f.read(a.ID)
		want := a
		want.PasswordHash, want.Version, want.LastLogin = "new", a.Version+1, got.LastLogin
		same(t, got, want, "account")
		same(t, sessionIDs(f.sessionsOf(a.ID)), []string{open.ID}, "sessions")
		same(t, f.read(other.ID), other, "somebody else")
	})

	t.Run("a hash that was changed meanwhile stays", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add(func(a *userapi.Account) { a.PasswordHash = "$Old$" })
		for _, old := range []string{"", "another", "$old$", "$Old$ ", "%"} {
			same(t, upgrade(f, a.ID, old, "new"), false, "upgraded")
			same(t, f.read(a.ID), a, "account")
		}
		same(t, upgrade(f, newID(), "$Old$", "new"), false, "upgraded an account that is not")
	})

	t.Run("a change that read the old hash does not bring it back", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add()
		same(t, upgrade(f, a.ID, a.PasswordHash, "new"), true, "upgraded")
		f.refused(userapi.ErrChanged, func() error { return f.ChangeUser(t.Context(), f.update(a)) }, a.ID)
	})
}
