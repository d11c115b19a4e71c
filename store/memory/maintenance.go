package memory

import (
	"context"
	"slices"
	"time"

	"github.com/userapi/userapi"
)

// Sweep implements userapi.MaintenanceStore. Revocations go by the clock they were written with, not by w.Now.
func (s *Store) Sweep(ctx context.Context, w userapi.SweepBefore) (int, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	gone := 0
	sessions := w.Batch
	s.endSessions(func(open userapi.Session) bool {
		over := !w.Now.Before(open.ExpiresAt) || !w.Now.Before(open.LastSeenAt.Add(w.Idle))
		return over && took(&sessions, &gone)
	})
	counters := w.Batch
	for key, c := range s.counters {
		if !w.Now.Before(c.ends) && took(&counters, &gone) {
			delete(s.counters, key)
		}
	}
	revocations, now := w.Batch, time.Now().UnixMilli()
	s.revocations = slices.DeleteFunc(s.revocations, func(r revocation) bool {
		return r.expiresAt <= now && took(&revocations, &gone)
	})
	return gone, nil
}

// took takes one out of the batch and counts it, unless the batch is used up.
func took(batch, gone *int) bool {
	if *batch <= 0 {
		return false
	}
	*batch--
	*gone++
	return true
}

// Ping implements userapi.MaintenanceStore.
func (s *Store) Ping(ctx context.Context) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	unlock()
	return nil
}
