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
		if !w.Now.Before(c.kept) && took(&counters, &gone) {
			delete(s.counters, key)
		}
	}
	challenges := w.Batch
	for id, ch := range s.challenges {
		if !w.Now.Before(ch.ExpiresAt) && took(&challenges, &gone) {
			delete(s.challenges, id) // and not its messages: that they came too late is still to be told
		}
	}
	messages := w.Batch
	s.endMessages(func(m userapi.SealedMessage) bool {
		return !w.Now.Before(m.ExpiresAt.Add(time.Hour)) && took(&messages, &gone)
	})
	pending := w.Batch
	for _, a := range s.accounts {
		if a.Pending && a.UpdatedAt.Before(w.PendingBefore) && took(&pending, &gone) {
			s.erase(a)
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
