package memory

import (
	"context"
	"errors"
	"slices"

	"github.com/userapi/userapi"
)

// errEventKnown is what becomes of two events with one id, here as in the databases.
var errEventKnown = errors.New("userapi: an event with this id is stored already")

// AddEvent implements userapi.EventStore.
func (s *Store) AddEvent(ctx context.Context, e userapi.Event) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if slices.ContainsFunc(s.events, func(known userapi.Event) bool { return known.ID == e.ID }) {
		return errEventKnown
	}
	s.record(e)
	return nil
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
	s.events = append(s.events, e)
}
