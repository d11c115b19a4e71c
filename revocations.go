package userapi

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// The revocation feed: what ended trust on any node, kept in memory here, so that a check of a token reads no
// database. It is topped up on demand, by the requests themselves, and fails closed.

const (
	// overlap is how far back a top-up reads again: a row may be committed up to WriteDeadline after its written_at.
	overlap = 15 * time.Second
	// wholeEvery is how often all live rows are read: a host's own transaction may commit later than that.
	wholeEvery = time.Minute
)

type feed struct {
	store     Store
	now       func() time.Time
	staleness time.Duration // 0 = read always
	timeout   time.Duration

	users    sync.Map     // user id → entry
	sessions sync.Map     // session id → entry
	keys     sync.Map     // API key id → entry
	allBelow atomic.Int64 // tokens issued before this time (Unix ms) hold only while their session is there
	allRows  sync.Map     // the subjects of all such revocations
	allSeen  atomic.Int64 // how many they are
	vouched  sync.Map     // session id → allSeen when it was looked up, and found

	fetched atomic.Pointer[time.Time] // when the last successful top-up was asked; nil = stale

	mu       sync.Mutex
	flight   *flight
	since    int64 // database clock, ms
	whole    time.Time
	staleGen uint64 // grows with markStale, so that a top-up under way does not hide it
}

type entry struct {
	below   int64
	expires time.Time // by this node's clock, as the expiry of the tokens it affects
}

// flight is one top-up that any number of callers wait for.
type flight struct {
	asked time.Time
	done  chan struct{}
	err   error
}

func newFeed(store Store, now func() time.Time, staleness, timeout time.Duration) *feed {
	return &feed{store: store, now: now, staleness: max(staleness, 0), timeout: timeout}
}

// dead reports whether the credential's trust has ended. Call fresh first.
func (f *feed) dead(c *accessClaims) bool {
	if e, ok := f.users.Load(c.Subject); ok && c.Epoch < e.(entry).below {
		return true
	}
	_, ok := f.sessions.Load(c.Session)
	return ok
}

// outdated reports whether what was read of an API key and its owner, at this version and this epoch, is known to have
// changed since. Call fresh first.
func (f *feed) outdated(key string, version int64, owner string, epoch int64) bool {
	if e, ok := f.keys.Load(key); ok && version < e.(entry).below {
		return true
	}
	e, ok := f.users.Load(owner)
	return ok && epoch < e.(entry).below
}

// doubtful reports whether a token was issued before everything was revoked, or so shortly after that it may stem from a
// node whose clock is ahead. "Revoke everything" ends every session, so the session's row tells.
func (f *feed) doubtful(c *accessClaims) bool {
	below := f.allBelow.Load()
	if below == 0 || c.IssuedAt*1000 > below+maxSkew.Milliseconds() {
		return false
	}
	seen, ok := f.vouched.Load(c.Session)
	return !ok || seen != f.allSeen.Load()
}

// age is how old the knowledge is; negative ages (a clock that jumped back) count as stale.
func (f *feed) age(now time.Time) (time.Duration, bool) {
	at := f.fetched.Load()
	if at == nil {
		return 0, false
	}
	age := now.Sub(*at)
	return age, age >= 0
}

// fresh returns nil when the feed's knowledge is at most staleness old. Past half of that one caller tops it up
// while the others go on; past all of it everybody waits for that one top-up.
func (f *feed) fresh(ctx context.Context) error {
	asked := f.now()
	age, ok := f.age(asked)
	switch {
	case ok && f.staleness > 0 && age < f.staleness/2:
		return nil
	case ok && f.staleness > 0 && age < f.staleness:
		// Still good: only the caller that starts the top-up pays for it, and its failure harms nobody yet.
		if fl, mine := f.join(true); mine {
			f.topUp(ctx, fl)
			if fl.err != nil {
				if age, ok := f.age(f.now()); !ok || age >= f.staleness {
					return fl.err
				}
			}
		}
		return nil
	}
	timer := time.NewTimer(f.timeout)
	defer timer.Stop()
	for {
		fl, mine := f.join(false)
		if mine {
			f.topUp(ctx, fl)
			return fl.err
		}
		select {
		case <-fl.done:
			if f.covers(fl, asked) {
				return fl.err
			}
			// It was asked too early to speak for this caller: with ReadAlways, or after markStale.
		case <-timer.C:
			return ErrUnavailable
		case <-ctx.Done():
			return ErrUnavailable.Wrap(context.Cause(ctx))
		}
	}
}

// covers reports whether a top-up speaks for a caller who asked at this time.
func (f *feed) covers(fl *flight, asked time.Time) bool {
	if fl.err != nil {
		return true
	}
	age, ok := f.age(asked)
	return ok && age <= f.staleness || !fl.asked.Before(asked)
}

// join gives the top-up under way, or starts one that the caller has to carry out. A soft caller gets (nil, false)
// while one is under way.
func (f *feed) join(soft bool) (*flight, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.flight != nil {
		if soft {
			return nil, false
		}
		return f.flight, false
	}
	f.flight = &flight{asked: f.now(), done: make(chan struct{})}
	return f.flight, true
}

// topUp reads what is new. It outlives the caller's context, since others wait for it, but not the feed's timeout.
func (f *feed) topUp(ctx context.Context, fl *flight) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.timeout)
	defer cancel()
	f.mu.Lock()
	since, gen := f.since-overlap.Milliseconds(), f.staleGen
	whole := f.since == 0 || fl.asked.Sub(f.whole) >= wholeEvery || fl.asked.Before(f.whole)
	f.mu.Unlock()
	if whole {
		since = 0
	}
	fl.err = errUnclassified // a panic in the store must not count as a success
	defer func() {
		f.mu.Lock()
		f.flight = nil
		f.mu.Unlock()
		close(fl.done)
	}()
	rows, dbNow, err := f.store.Revocations(ctx, since)
	if err != nil {
		fl.err = ErrUnavailable.Wrap(err)
		return
	}
	f.add(rows)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.since = dbNow
	if whole {
		f.whole = fl.asked
		f.drop(fl.asked)
	}
	fl.err = nil
	if gen == f.staleGen {
		f.fetched.Store(&fl.asked)
	}
}

// add makes revocations known: those read, and at once those this node wrote.
func (f *feed) add(rows []Revocation) {
	now := f.now()
	for _, r := range rows {
		e := entry{below: r.Below, expires: now.Add(r.Lives)}
		switch r.Kind {
		case RevokeUser:
			raise(&f.users, r.Subject, e)
		case RevokeSession:
			raise(&f.sessions, r.Subject, e)
		case RevokeKey:
			raise(&f.keys, r.Subject, e)
		case RevokeAll:
			for {
				old := f.allBelow.Load()
				if r.Below <= old || f.allBelow.CompareAndSwap(old, r.Below) {
					break
				}
			}
			if _, known := f.allRows.LoadOrStore(r.Subject, nil); !known {
				f.allSeen.Add(1)
			}
		}
	}
}

// raise keeps the strictest of what is known about a subject: rows may arrive in any order.
func raise(m *sync.Map, subject string, e entry) {
	for {
		old, loaded := m.LoadOrStore(subject, e)
		if !loaded {
			return
		}
		o := old.(entry)
		merged := entry{below: max(o.below, e.below), expires: o.expires}
		if e.expires.After(merged.expires) {
			merged.expires = e.expires
		}
		if merged == o || m.CompareAndSwap(subject, old, merged) {
			return
		}
	}
}

// drop forgets what no token, and no API key in a cache, can be affected by any more.
func (f *feed) drop(now time.Time) {
	f.vouched.Clear()
	for _, m := range []*sync.Map{&f.users, &f.sessions, &f.keys} {
		m.Range(func(subject, e any) bool {
			if e.(entry).expires.Before(now) {
				m.CompareAndDelete(subject, e)
			}
			return true
		})
	}
}

// markStale makes the next check ask: a write whose outcome is unknown may have revoked something.
func (f *feed) markStale() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.staleGen++
	f.fetched.Store(nil)
}

// revocationLives is how long a revocation has to be known: as long as a token it kills can live, that of a login's step among
// them, a node's clock may be off, and a little more.
func (c *core) revocationLives() time.Duration {
	return max(c.cfg.AccessLifetime, newPasswordWithin) + maxSkew + time.Minute
}

func (c *core) revokeUser(id string, below int64) []Revocation {
	return []Revocation{{Kind: RevokeUser, Subject: id, Below: below, Lives: c.revocationLives()}}
}

func (c *core) revokeSession(id string) Revocation {
	return Revocation{Kind: RevokeSession, Subject: id, Lives: c.revocationLives()}
}

func (c *core) revokeKey(id string, below int64) Revocation {
	return Revocation{Kind: RevokeKey, Subject: id, Below: below, Lives: c.revocationLives()}
}
