package memory

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/userapi/userapi"
)

// counter counts the attempts of one window, and remembers those of the windows before; or it is a mark.
type counter struct {
	attempts, streak int
	ends, kept       time.Time
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
	c, ok := s.counters[t.Key]
	if ok && now.Before(c.ends) {
		return c
	}
	fresh := counter{}
	if ok && now.Before(c.kept) {
		fresh.streak = c.streak + c.attempts
	}
	fresh.ends = now.Add(t.Lasts(fresh.streak))
	fresh.kept = fresh.ends.Add(t.Remembers())
	return fresh
}

// ReturnLimits implements userapi.LimitStore.
func (s *Store) ReturnLimits(ctx context.Context, returns []userapi.LimitReturn) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	s.returnLimits(returns)
	return nil
}

func (s *Store) returnLimits(returns []userapi.LimitReturn) {
	for _, r := range returns {
		c, ok := s.counters[r.Key]
		switch {
		case r.Mark != nil:
			s.mark(r.Key, *r.Mark)
		case !ok:
		case r.Clear:
			delete(s.counters, r.Key)
		case c.attempts > 0:
			c.attempts--
			s.counters[r.Key] = c
		}
	}
}

// mark sets a mark, and makes room for it.
func (s *Store) mark(key string, m userapi.LimitMark) {
	until := stamp(m.Until)
	s.counters[key] = counter{attempts: 1, ends: until, kept: until}
	if m.Cap < 1 {
		return
	}
	var keys []string
	for key := range s.counters {
		if strings.HasPrefix(key, m.Of) {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b string) int {
		return cmp.Or(s.counters[b].ends.Compare(s.counters[a].ends), cmp.Compare(b, a))
	})
	for _, key := range keys[min(m.Cap, len(keys)):] {
		delete(s.counters, key)
	}
}

// ReadLimits implements userapi.LimitStore.
func (s *Store) ReadLimits(ctx context.Context, now time.Time, keys []string) ([]userapi.LimitCount, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var counts []userapi.LimitCount
	for _, key := range keys {
		if c, ok := s.counters[key]; ok && stamp(now).Before(c.ends) {
			counts = append(counts, userapi.LimitCount{Key: key, Hits: c.attempts, EndsAt: c.ends})
		}
	}
	return counts, nil
}
