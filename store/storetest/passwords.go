package storetest

import (
	"testing"

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
