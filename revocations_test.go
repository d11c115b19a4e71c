package userapi

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// feedStore answers Revocations as a test wants. Its clock is the bubble's.
type feedStore struct {
	Store
	mu     sync.Mutex
	rows   []writtenRevocation
	delay  time.Duration
	hang   bool
	err    error
	reads  atomic.Int64
	sinces []int64
}

type writtenRevocation struct {
	Revocation
	at int64
}

func (s *feedStore) write(r Revocation) { s.writeAt(r, time.Now()) }

func (s *feedStore) writeAt(r Revocation, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows = append(s.rows, writtenRevocation{r, at.UnixMilli()})
}

func (s *feedStore) Revocations(ctx context.Context, since int64) ([]Revocation, int64, error) {
	s.reads.Add(1)
	s.mu.Lock()
	delay, hang, err := s.delay, s.hang, s.err
	s.sinces = append(s.sinces, since)
	s.mu.Unlock()
	if hang {
		<-ctx.Done()
		return nil, 0, ctx.Err()
	}
	now := time.Now().UnixMilli()
	var out []Revocation
	s.mu.Lock()
	for _, r := range s.rows {
		if r.at >= since && r.at+r.Lives.Milliseconds() > now {
			r.Revocation.Lives -= time.Duration(now-r.at) * time.Millisecond
			out = append(out, r.Revocation)
		}
	}
	s.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	return out, now, err
}

func (s *feedStore) set(change func(*feedStore)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

var (
	ofAnna      = &accessClaims{Subject: "anna", Session: "s1", Epoch: 1, IssuedAt: 1 << 40}
	annaRevoked = Revocation{Kind: RevokeUser, Subject: "anna", Below: 2, Lives: 17 * time.Minute}
)

// inFeed runs a test in a bubble with its own time.
func inFeed(t *testing.T, staleness time.Duration, test func(t *testing.T, f *feed, s *feedStore)) {
	synctest.Test(t, func(t *testing.T) {
		s := &feedStore{}
		test(t, newFeed(s, time.Now, staleness, 2*time.Second), s)
	})
}

// A login that lacks a step has a token that may live longer than an access token.
func TestRevocationLives_no_token_outlives_what_ends_it(t *testing.T) {
	for access, lives := range map[time.Duration]time.Duration{
		time.Second: 7 * time.Minute, 5 * time.Minute: 7 * time.Minute, 15 * time.Minute: 17 * time.Minute, 24 * time.Hour: 24*time.Hour + 2*time.Minute,
	} {
		c := &core{cfg: Config{AccessLifetime: access}}
		assert.Equal(t, lives, c.revocationLives(), access)
	}
}

func TestFeed_another_nodes_revocation_is_known_within_the_bound(t *testing.T) {
	inFeed(t, time.Second, func(t *testing.T, f *feed, s *feedStore) {
		for offset := time.Duration(0); offset < 3*time.Second; offset += 70 * time.Millisecond {
			require.NoError(t, f.fresh(t.Context()))
			require.False(t, f.dead(ofAnna))
			time.Sleep(70 * time.Millisecond)
		}
		s.write(annaRevoked)
		written := time.Now()
		for !f.dead(ofAnna) {
			require.Less(t, time.Since(written), time.Second+70*time.Millisecond, "the bound was passed")
			time.Sleep(10 * time.Millisecond)
			require.NoError(t, f.fresh(t.Context()))
		}
		assert.False(t, f.dead(&accessClaims{Subject: "anna", Session: "s2", Epoch: 2, IssuedAt: 1 << 40}), "a later epoch lives")
	})
}

func TestFeed_reads_nothing_while_it_is_young(t *testing.T) {
	inFeed(t, time.Second, func(t *testing.T, f *feed, s *feedStore) {
		for range 1000 {
			require.NoError(t, f.fresh(t.Context()))
		}
		assert.EqualValues(t, 1, s.reads.Load())
		time.Sleep(499 * time.Millisecond)
		require.NoError(t, f.fresh(t.Context()))
		assert.EqualValues(t, 1, s.reads.Load())
	})
}

func TestFeed_past_half_of_its_age_one_caller_reads_and_the_others_go_on(t *testing.T) {
	inFeed(t, time.Second, func(t *testing.T, f *feed, s *feedStore) {
		require.NoError(t, f.fresh(t.Context()))
		s.set(func(s *feedStore) { s.delay = 300 * time.Millisecond })
		time.Sleep(600 * time.Millisecond)
		go func() { assert.NoError(t, f.fresh(t.Context())) }()
		synctest.Wait() // it is inside the store now
		before := time.Now()
		for range 50 {
			require.NoError(t, f.fresh(t.Context()))
		}
		assert.Zero(t, time.Since(before), "nobody else waited")
		assert.EqualValues(t, 2, s.reads.Load())
		time.Sleep(time.Second)
	})
}

func TestFeed_past_its_age_all_wait_for_one_read(t *testing.T) {
	inFeed(t, time.Second, func(t *testing.T, f *feed, s *feedStore) {
		s.set(func(s *feedStore) { s.delay = 500 * time.Millisecond })
		s.write(annaRevoked)
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				assert.NoError(t, f.fresh(t.Context()))
				assert.True(t, f.dead(ofAnna))
			})
		}
		wg.Wait()
		assert.EqualValues(t, 1, s.reads.Load())
	})
}

func TestFeed_K02_fails_closed_when_the_store_hangs(t *testing.T) {
	inFeed(t, time.Second, func(t *testing.T, f *feed, s *feedStore) {
		require.NoError(t, f.fresh(t.Context()))
		s.set(func(s *feedStore) { s.hang = true })
		time.Sleep(1100 * time.Millisecond)
		var wg sync.WaitGroup
		before := time.Now()
		for range 64 {
			wg.Go(func() {
				err := f.fresh(t.Context())
				assert.ErrorIs(t, err, ErrUnavailable)
				assert.Positive(t, AsError(err).RetryAfter)
			})
		}
		wg.Wait()
		assert.Equal(t, 2*time.Second, time.Since(before), "exactly the feed's timeout")
		s.set(func(s *feedStore) { s.hang = false })
		require.NoError(t, f.fresh(t.Context()), "and it recovers")
	})
}

func TestFeed_K02_fails_closed_when_the_store_fails(t *testing.T) {
	inFeed(t, time.Second, func(t *testing.T, f *feed, s *feedStore) {
		broken := errors.New("connection refused")
		s.set(func(s *feedStore) { s.err = broken })
		require.ErrorIs(t, f.fresh(t.Context()), ErrUnavailable)
		s.set(func(s *feedStore) { s.err = nil })
		require.NoError(t, f.fresh(t.Context()))
		s.set(func(s *feedStore) { s.err = broken })
		time.Sleep(700 * time.Millisecond)
		require.NoError(t, f.fresh(t.Context()), "what is known is still young enough")
		time.Sleep(400 * time.Millisecond)
		require.ErrorIs(t, f.fresh(t.Context()), broken, "now it is not; the cause is kept for the log")
	})
}

func TestFeed_a_slow_store_past_the_age_fails_closed_even_for_the_soft_reader(t *testing.T) {
	inFeed(t, time.Second, func(t *testing.T, f *feed, s *feedStore) {
		require.NoError(t, f.fresh(t.Context()))
		s.set(func(s *feedStore) { s.hang = true })
		time.Sleep(600 * time.Millisecond)
		require.ErrorIs(t, f.fresh(t.Context()), ErrUnavailable, "when its read ended the knowledge had grown too old")
	})
	inFeed(t, time.Second, func(t *testing.T, f *feed, s *feedStore) {
		require.NoError(t, f.fresh(t.Context()))
		s.set(func(s *feedStore) { s.delay, s.err = 400*time.Millisecond, errors.New("connection refused") })
		time.Sleep(600 * time.Millisecond)
		require.Error(t, f.fresh(t.Context()), "at its age to the nanosecond, too")
	})
}

func TestFeed_the_read_goes_on_when_its_caller_goes_away(t *testing.T) {
	inFeed(t, time.Second, func(t *testing.T, f *feed, s *feedStore) {
		s.set(func(s *feedStore) { s.delay = time.Second })
		s.write(annaRevoked)
		ctx, leave := context.WithCancel(t.Context())
		go func() { _ = f.fresh(ctx) }()
		synctest.Wait()
		leave()
		require.NoError(t, f.fresh(t.Context()), "who waited for it gets it")
		assert.True(t, f.dead(ofAnna))
		assert.EqualValues(t, 1, s.reads.Load())
	})
}

func TestFeed_a_waiting_caller_may_leave(t *testing.T) {
	inFeed(t, time.Second, func(t *testing.T, f *feed, s *feedStore) {
		s.set(func(s *feedStore) { s.hang = true })
		go func() { _ = f.fresh(t.Context()) }()
		synctest.Wait()
		ctx, leave := context.WithCancel(t.Context())
		leave()
		require.ErrorIs(t, f.fresh(ctx), context.Canceled)
		time.Sleep(3 * time.Second)
	})
}

func TestFeed_a_row_committed_late_is_found(t *testing.T) {
	inFeed(t, time.Second, func(t *testing.T, f *feed, s *feedStore) {
		require.NoError(t, f.fresh(t.Context()))
		written := time.Now()
		for time.Since(written) < WriteDeadline {
			time.Sleep(900 * time.Millisecond)
			require.NoError(t, f.fresh(t.Context()))
		}
		s.writeAt(annaRevoked, written) // its transaction took all the time it may
		time.Sleep(time.Second)
		require.NoError(t, f.fresh(t.Context()))
		assert.True(t, f.dead(ofAnna))
	})
}

func TestFeed_a_row_committed_later_than_our_deadline_is_found_within_a_minute(t *testing.T) {
	inFeed(t, time.Second, func(t *testing.T, f *feed, s *feedStore) {
		require.NoError(t, f.fresh(t.Context()))
		written := time.Now()
		for time.Since(written) < 40*time.Second {
			time.Sleep(900 * time.Millisecond)
			require.NoError(t, f.fresh(t.Context()))
		}
		s.writeAt(annaRevoked, written)
		for time.Since(written) < 62*time.Second {
			time.Sleep(900 * time.Millisecond)
			require.NoError(t, f.fresh(t.Context()))
		}
		assert.True(t, f.dead(ofAnna))
		s.mu.Lock()
		defer s.mu.Unlock()
		whole := 0
		for _, since := range s.sinces {
			if since == 0 {
				whole++
			}
		}
		assert.Equal(t, 2, whole, "the whole set is read at first and after a minute; in between only the overlap")
	})
}

func TestFeed_ReadAlways_reads_for_every_check(t *testing.T) {
	inFeed(t, ReadAlways, func(t *testing.T, f *feed, s *feedStore) {
		for range 5 {
			require.NoError(t, f.fresh(t.Context()))
		}
		assert.EqualValues(t, 5, s.reads.Load())
		s.set(func(s *feedStore) { s.delay = 100 * time.Millisecond })
		go func() { _ = f.fresh(t.Context()) }()
		time.Sleep(50 * time.Millisecond)
		s.write(annaRevoked) // after the read under way has seen the rows
		require.NoError(t, f.fresh(t.Context()))
		assert.True(t, f.dead(ofAnna), "a read that began before the check does not speak for it")
	})
}

func TestFeed_a_write_of_unknown_outcome_makes_the_next_check_read(t *testing.T) {
	inFeed(t, time.Second, func(t *testing.T, f *feed, s *feedStore) {
		require.NoError(t, f.fresh(t.Context()))
		s.write(annaRevoked)
		c := &core{feed: f}
		require.Error(t, c.wrote(ErrUnavailable.Wrap(errors.New("lost the connection at COMMIT"))))
		require.NoError(t, f.fresh(t.Context()))
		assert.True(t, f.dead(ofAnna))
	})
}

func TestFeed_K07_a_clock_that_jumps_back_makes_it_stale(t *testing.T) {
	s := &feedStore{}
	now := time.Unix(1_800_000_000, 0)
	f := newFeed(s, func() time.Time { return now }, time.Second, time.Second)
	require.NoError(t, f.fresh(t.Context()))
	now = now.Add(-time.Hour)
	require.NoError(t, f.fresh(t.Context()))
	assert.EqualValues(t, 2, s.reads.Load())
}

func TestFeed_what_this_node_wrote_outlives_a_read_that_began_before(t *testing.T) {
	inFeed(t, time.Second, func(t *testing.T, f *feed, s *feedStore) {
		s.set(func(s *feedStore) { s.delay = 500 * time.Millisecond })
		go func() { _ = f.fresh(t.Context()) }()
		synctest.Wait() // it has seen the rows
		s.write(annaRevoked)
		f.add([]Revocation{annaRevoked})
		time.Sleep(600 * time.Millisecond)
		assert.True(t, f.dead(ofAnna), "immediate on the node that wrote")
	})
}

func TestFeed_keeps_the_strictest_and_forgets_what_nobody_needs(t *testing.T) {
	inFeed(t, time.Second, func(t *testing.T, f *feed, s *feedStore) {
		require.NoError(t, f.fresh(t.Context()))
		f.add([]Revocation{{Kind: RevokeUser, Subject: "anna", Below: 5, Lives: time.Minute}})
		f.add([]Revocation{{Kind: RevokeUser, Subject: "anna", Below: 3, Lives: time.Minute}})
		f.add([]Revocation{{Kind: RevokeUser, Subject: "dora", Below: 5, Lives: time.Minute}})
		f.add([]Revocation{{Kind: RevokeUser, Subject: "dora", Below: 3, Lives: 3 * time.Minute}})
		assert.True(t, f.dead(&accessClaims{Subject: "anna", Epoch: 4, IssuedAt: 1}))
		f.add([]Revocation{{Kind: RevokeSession, Subject: "s9", Lives: time.Minute}})
		assert.True(t, f.dead(&accessClaims{Subject: "bert", Session: "s9", IssuedAt: 1}))
		f.add([]Revocation{{Kind: RevokeAll, Below: 100_000}})
		for issued, doubtful := range map[int64]bool{1: true, 99: true, 160: true, 161: false} {
			assert.Equal(t, doubtful, f.doubtful(&accessClaims{Subject: "cleo", Session: "s10", IssuedAt: issued}), issued)
		}
		time.Sleep(2 * time.Minute)
		require.NoError(t, f.fresh(t.Context()))
		_, known := f.users.Load("anna")
		assert.False(t, known)
		assert.True(t, f.dead(&accessClaims{Subject: "dora", Epoch: 4, IssuedAt: 1}), "the strictest, for as long as the last")
	})
}
