package storetest

import (
	"math"
	"testing"
	"time"

	"github.com/userapi/userapi"
)

func (f *tenant) grant(userID, name string, value int64) userapi.GrantWrite {
	return userapi.GrantWrite{UserID: userID, Grant: userapi.Grant{Name: name, Value: value}, Event: f.event(userapi.EventGrantSet)}
}

func (f *tenant) grantsOf(userID string) []userapi.Grant {
	f.t.Helper()
	grants, err := f.ListGrants(f.t.Context(), userapi.Scope{All: true}, userID)
	must(f.t, err)
	return grants
}

func (s suite) grants(t *testing.T) {
	db := s.database(t)

	t.Run("grants come back as they were given, ordered by name", func(t *testing.T) {
		f := db.tenant(t)
		a, other := f.add(), f.add()
		must(t, f.SetGrant(t.Context(), f.grant(other.ID, "b", 7)))
		w := f.grant(a.ID, "b", math.MaxInt64)
		w.Grant.ExpiresAt = time.Date(2031, 2, 3, 4, 5, 6, 789_999_999, time.FixedZone("far east", 9*3600))
		must(t, f.SetGrant(t.Context(), w))
		must(t, f.SetGrant(t.Context(), f.grant(a.ID, "a", 0)))
		w.Grant.ExpiresAt = stamp(w.Grant.ExpiresAt)
		same(t, f.grantsOf(a.ID), []userapi.Grant{{Name: "a"}, w.Grant}, "grants")
		same(t, f.read(a.ID), a, "account")
		same(t, len(f.grantsOf(newID())), 0, "grants of nobody")
		for _, scope := range []userapi.Scope{{Customer: f.addCustomer(0)}, {}} {
			grants, err := f.ListGrants(t.Context(), scope, a.ID)
			must(t, err)
			same(t, len(grants), 0, "grants outside the scope")
		}
	})

	t.Run("a grant takes the place of the one before, and goes", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add()
		w := f.grant(a.ID, "apikeys", 5)
		w.Grant.ExpiresAt = f.now
		must(t, f.SetGrant(t.Context(), w))
		for range 2 { // the same once more is no error
			must(t, f.SetGrant(t.Context(), f.grant(a.ID, "apikeys", 6)))
		}
		same(t, f.grantsOf(a.ID), []userapi.Grant{{Name: "apikeys", Value: 6}}, "grants")
		is(t, f.DeleteGrant(t.Context(), f.grant(a.ID, "other", 0)), userapi.ErrNotFound)
		must(t, f.DeleteGrant(t.Context(), f.grant(a.ID, "apikeys", 0)))
		is(t, f.DeleteGrant(t.Context(), f.grant(a.ID, "apikeys", 0)), userapi.ErrNotFound)
		same(t, len(f.grantsOf(a.ID)), 0, "grants")
	})

	t.Run("nobody is granted nothing", func(t *testing.T) {
		f := db.tenant(t)
		id := newID()
		is(t, f.SetGrant(t.Context(), f.grant(id, "apikeys", 5)), userapi.ErrNotFound)
		must(t, f.insert(f.account(func(a *userapi.Account) { a.ID = id })))
		same(t, len(f.grantsOf(id)), 0, "grants")
	})

	db.every(t, "of many grants of one name one is left", func(t *testing.T, f *tenant) {
		a := f.add()
		same(t, winners(t, db.race(racers, func(i int, st userapi.Store) error {
			return st.SetGrant(t.Context(), f.grant(a.ID, "apikeys", int64(i)))
		})), racers, "grants set")
		same(t, len(f.grantsOf(a.ID)), 1, "grants")
	})
}
