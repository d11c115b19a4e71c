package memory

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/userapi/userapi"
)

// errEventKnown is what becomes of two events with one id, here as in the databases.
var errEventKnown = errors.New("userapi: an event with this id is stored already")

// AddEvent implements userapi.EventStore.
func (s *Store) AddEvent(ctx context.Context, e userapi.Event) error {
	unlock, err := s.lock(ctx, e)
	if err != nil {
		return err
	}
	defer unlock()
	s.record(e)
	return nil
}

// ListEvents implements userapi.EventStore.
func (s *Store) ListEvents(ctx context.Context, f userapi.EventFilter) ([]userapi.Event, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var found []userapi.Event
	for _, e := range s.events {
		if f.Scope.Holds(e.CustomerID) && (f.UserID == "" || f.UserID == e.UserID) && (len(f.Kinds) == 0 || slices.Contains(f.Kinds, e.Kind)) &&
			e.ID >= f.From && (f.Before == "" || e.ID < f.Before) {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, func(a, b userapi.Event) int { return cmp.Compare(b.ID, a.ID) })
	return page(found, 0, f.Limit), nil
}

// PruneEvents implements userapi.EventStore.
func (s *Store) PruneEvents(ctx context.Context, w userapi.EventPrune) (int, error) {
	unlock, err := s.lock(ctx, w.Event)
	if err != nil {
		return 0, err
	}
	defer unlock()
	var old []string
	for _, e := range s.events {
		if e.ID < w.Before {
			old = append(old, e.ID)
		}
	}
	slices.Sort(old)
	old = page(old, 0, w.Limit)
	if len(old) == 0 {
		return 0, nil
	}
	s.events = slices.DeleteFunc(s.events, func(e userapi.Event) bool {
		_, gone := slices.BinarySearch(old, e.ID)
		return gone
	})
	for _, id := range old {
		delete(s.recorded, id)
	}
	s.record(w.Event)
	return len(old), nil
}

// Events returns the audit trail, oldest first: what a test of a host wants to see. It grows until the process ends.
func (s *Store) Events() []userapi.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// record stores an event. One without an id is none.
func (s *Store) record(e userapi.Event) {
	if e.ID == "" {
		return
	}
	e.At = stamp(e.At)
	s.recorded[e.ID] = true
	s.events = append(s.events, e)
}
