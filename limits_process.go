package userapi

import (
	"errors"
	"sync"
	"time"
)

// bucket is a budget of this process (PerProcess). It is in memory since one hot row would serialise every login of all nodes.
type bucket struct {
	limit Limit
	mu    sync.Mutex
	full  time.Time // when it will be full again
}

type bucketKey struct {
	name  string
	limit Limit
}

func newBuckets(all Limits) map[bucketKey]*bucket {
	buckets := map[bucketKey]*bucket{}
	for name, limits := range all {
		for _, limit := range limits {
			if limit.Per == PerProcess {
				buckets[bucketKey{name, limit}] = &bucket{limit: limit}
			}
		}
	}
	return buckets
}

// take takes one out, or returns how long until there is one.
func (b *bucket) take(now time.Time) (wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	full, whole := b.full, time.Duration(b.limit.Max)*b.each()
	if full.Before(now) {
		full = now
	}
	full = earlier(full, now.Add(whole)).Add(b.each()) // the clock may have been set back
	if wait = full.Sub(now) - whole; wait > 0 {
		return wait
	}
	b.full = full
	return 0
}

func (b *bucket) refill() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.full = b.full.Add(-b.each())
}

func (b *bucket) each() time.Duration { return max(b.limit.Window/time.Duration(b.limit.Max), 1) }

// errBusy is the cause of a refusal that no account and no address brought about.
var errBusy = errors.New("userapi: too many attempts on this node")

// takeProcess takes one out of every bucket, or out of none.
func (c *core) takeProcess(t *taken) error {
	buckets := t.process
	t.process = nil
	for _, b := range buckets {
		if wait := b.take(c.cfg.Now()); wait > 0 {
			t.refill()
			return ErrRateLimited.After(wait).Wrap(errBusy)
		}
		t.process = append(t.process, b)
	}
	return nil
}

// refill puts back what was taken out.
func (t *taken) refill() {
	for _, b := range t.process {
		b.refill()
	}
	t.process = nil
}
