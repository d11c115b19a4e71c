package memory

import (
	"context"
	"time"

	"github.com/userapi/userapi"
)

// counter counts the attempts of one window.
type counter struct {
	attempts int
	ends     time.Time
}

// TakeLimits implements userapi.LimitStore. When several counters are full it returns the longest wait.
func (s *Store) TakeLimits(ctx context.Context, now time.Time, takes []userapi.LimitTake) (time.Duration, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	now = stamp(now)
	var wait time.Duration
	for _, t := range takes {
		if c := s.counter(t, now); c.attempts >= t.Max {
			wait = max(wait, c.ends.Sub(now))
		}
	}
	if wait > 0 {
		return wait, nil
	}
	for _, t := range takes {
		c := s.counter(t, now)
		c.attempts++
		s.counters[t.Key] = c
	}
	return 0, nil
}

// counter is the counter as it stands at now: a fresh one when there is none or its window is over.
func (s *Store) counter(t userapi.LimitTake, now time.Time) counter {
	if c, ok := s.counters[t.Key]; ok && now.Before(c.ends) {
		return c
	}
	return counter{ends: now.Add(t.Window)}
}

// ReturnLimits implements userapi.LimitStore.
func (s *Store) ReturnLimits(ctx context.Context, returns []userapi.LimitReturn) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	for _, r := range returns {
		c, ok := s.counters[r.Key]
		switch {
		case !ok:
		case r.Clear:
			delete(s.counters, r.Key)
		case c.attempts > 0:
			c.attempts--
			s.counters[r.Key] = c
		}
	}
	return nil
}
