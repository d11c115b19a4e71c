// Package memory keeps everything in the memory of one process: for tests and for trying things out. It fulfils the
// whole contract of userapi.Store, but nothing outlives the process and no second process sees it.
package memory

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/userapi/userapi"
)

// Store is a userapi.Store in memory. Any number of goroutines and API values may share one. Every call holds its
// one lock, so it is as slow as its longest scan: lists, quota, session, membership, challenge and API key look-ups walk all rows.
type Store struct {
	mu          sync.Mutex
	accounts    map[string]userapi.Account // by id
	taken       map[userapi.Identifier]string
	sessions    map[string]userapi.Session
	roles       map[string]userapi.Role // by id
	memberships map[membership]string   // their levels
	customers   map[string]userapi.Customer
	revocations []revocation
	counters    map[string]counter
	challenges  map[string]userapi.Challenge
	messages    []message
	credentials map[credentialKey]userapi.Credential
	keys        map[string]userapi.StoredKey        // by id
	grants      map[string]map[string]userapi.Grant // by user id and name
	events      []userapi.Event
	recorded    map[string]bool // the ids of events
}

var _ userapi.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store {
	return &Store{
		accounts:    map[string]userapi.Account{},
		taken:       map[userapi.Identifier]string{},
		sessions:    map[string]userapi.Session{},
		roles:       map[string]userapi.Role{},
		memberships: map[membership]string{},
		customers:   map[string]userapi.Customer{},
		counters:    map[string]counter{},
		challenges:  map[string]userapi.Challenge{},

		recorded:    map[string]bool{},
		credentials: map[credentialKey]userapi.Credential{},
		keys:        map[string]userapi.StoredKey{},
		grants:      map[string]map[string]userapi.Grant{},

		revocations: []revocation{beginning(time.Now().UnixMilli())},
	}
}

// lock waits for the store. The context is asked after the wait: whoever gave up meanwhile writes nothing. Neither does a write
// whose events cannot be stored with it.
func (s *Store) lock(ctx context.Context, events ...userapi.Event) (unlock func(), err error) {
	s.mu.Lock()
	if err := ctx.Err(); err != nil {
		s.mu.Unlock()
		return nil, userapi.ErrUnavailable.Wrap(err)
	}
	for _, e := range events {
		if s.recorded[e.ID] {
			s.mu.Unlock()
			return nil, errEventKnown
		}
	}
	return s.mu.Unlock, nil
}

// stamp is a time as stores give it back.
func stamp(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.UnixMilli(t.UnixMilli()).UTC()
}

// page cuts offset and limit out of sorted rows, and copies them.
func page[T any](rows []T, offset, limit int) []T {
	from := min(max(offset, 0), len(rows))
	return slices.Clone(rows[from:min(from+max(limit, 0), len(rows))])
}
