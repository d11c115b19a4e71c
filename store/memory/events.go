package memory

import (
	"context"
	"slices"

	"github.com/userapi/userapi"
)

// AddEvent implements userapi.EventStore.
func (s *Store) AddEvent(ctx context.Context, e userapi.Event) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	s.record(e)
	return nil
}

// Events returns the audit trail, oldest first: what a test of a host wants to see. It grows until the process ends.
func (s *Store) Events() []userapi.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

func (s *Store) record(e userapi.Event) {
	e.At = stamp(e.At)
	s.events = append(s.events, e)
}
