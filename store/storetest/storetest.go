// Package storetest holds every implementation of userapi.Store to its contract. A store is right when Test passes:
//
//	func TestStore(t *testing.T) {
//		storetest.Test(t, func(t *testing.T) (first, second userapi.Store) {
//			db := openFreshDatabase(t) // closed by t.Cleanup
//			st := mystore.New(db)
//			return st, st
//		})
//	}
//
// Run it with -race. Names of subtests are sentences of the contract; those under "races …" release many goroutines at
// once, half of them on each handle, in several rounds (one with -short).
package storetest

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/userapi/userapi"
)

// Test runs the whole suite. open gives two handles on one fresh and empty database, migrated and ready: two nodes
// of a cluster, two pools, or twice the same value. A read on either handle has to see what a write on the other has
// answered before. open is called about two dozen times; what it opens it closes by t.Cleanup.
func Test(t *testing.T, open func(t *testing.T) (first, second userapi.Store)) {
	s := suite{open}
	t.Run("users", s.users)
	t.Run("changes", s.changes)
	t.Run("lists", s.lists)
	t.Run("passwords", s.passwords)
	t.Run("sessions", s.sessions)
	t.Run("roles", s.roles)
	t.Run("memberships", s.memberships)
	t.Run("customers", s.customers)
	t.Run("revocations", s.revocations)
	t.Run("limits", s.limits)
	t.Run("challenges", s.challenges)
	t.Run("challenges of a change", s.challengeChanges)
	t.Run("outbox", s.outbox)
	t.Run("credentials", s.credentials)
	t.Run("API keys", s.apiKeys)
	t.Run("grants", s.grants)
	t.Run("events", s.events)
	t.Run("maintenance", s.maintenance)
	t.Run("contexts", s.contexts)
	t.Run("races", s.races)
	t.Run("races of sessions and limits", s.sessionRaces)
	t.Run("races of limits", s.limitRaces)
	t.Run("races of challenges and messages", s.challengeRaces)
	t.Run("races of memberships", s.membershipRaces)
	t.Run("races of API keys", s.keyRaces)
	t.Run("races of API keys, of the API", s.apiKeyRaces)
	t.Run("races of the API", s.apiRaces)
	t.Run("proofs of the API", s.proofs)
	t.Run("crashes of the API", s.crashes)
}

type suite struct {
	open func(t *testing.T) (first, second userapi.Store)
}

// database is one database, seen from two sides.
type database struct {
	first, second userapi.Store
	rounds        int   // of every race
	beginning     int64 // Below of the row that a store begins with
}

func (s suite) database(t *testing.T) database {
	first, second := s.open(t)
	if first == nil || second == nil {
		t.Fatal("open gave no store")
	}
	rows, now, err := second.Revocations(t.Context(), 0)
	must(t, err)
	if len(rows) != 1 || rows[0].Kind != userapi.RevokeAll || now-rows[0].Below > time.Minute.Milliseconds() || rows[0].Lives < 24*time.Hour {
		t.Fatalf("a fresh store begins with %+v, and not with a RevokeAll of that moment alone", rows)
	}
	return database{first, second, rounds, rows[0].Below}
}

// kept is the account as a store gives it back.
func kept(a userapi.Account) userapi.Account {
	a.Roles = slices.SortedFunc(slices.Values(a.Roles), func(x, y userapi.Role) int { return strings.Compare(x.Code, y.Code) })
	a.LastLogin, a.CreatedAt, a.UpdatedAt = stamp(a.LastLogin), stamp(a.CreatedAt), stamp(a.UpdatedAt)
	return plain(a)
}

func keptSession(s userapi.Session) userapi.Session {
	s.CreatedAt, s.LastSeenAt, s.ExpiresAt = stamp(s.CreatedAt), stamp(s.LastSeenAt), stamp(s.ExpiresAt)
	s.AuthTime, s.RotatedAt = stamp(s.AuthTime), stamp(s.RotatedAt)
	return s
}

// plain makes no roles one value: whether a store gives nil or an empty slice is its own affair.
func plain(a userapi.Account) userapi.Account {
	if len(a.Roles) == 0 {
		a.Roles = nil
	}
	return a
}

func stamp(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.UnixMilli(t.UnixMilli()).UTC()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("unexpected error: %v", err)
	}
}

func is(t *testing.T, err, wanted error) {
	t.Helper()
	if !errors.Is(err, wanted) {
		t.Fatalf("error is %v, wanted %v", err, wanted)
	}
}

// isField wants ErrInvalid about one field.
func isField(t *testing.T, err error, field string) {
	t.Helper()
	is(t, err, userapi.ErrInvalid)
	if _, ok := userapi.AsError(err).Fields[field]; !ok {
		t.Fatalf("error %v names the fields %v, wanted %q", err, userapi.AsError(err).Fields, field)
	}
}

// same compares exactly: times have to be in UTC, texts equal byte for byte.
func same(t *testing.T, got, wanted any, what string) {
	t.Helper()
	if !reflect.DeepEqual(got, wanted) {
		t.Fatalf("%s:\n   got %+v\nwanted %+v", what, got, wanted)
	}
}

func ids[T any](rows []T, id func(T) string) []string {
	list := make([]string, len(rows))
	for i, row := range rows {
		list[i] = id(row)
	}
	return list
}

func userIDs(users []userapi.User) []string {
	return ids(users, func(u userapi.User) string { return u.ID })
}

func sessionIDs(open []userapi.Session) []string {
	return ids(open, func(s userapi.Session) string { return s.ID })
}
