package networktest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
)

const (
	callers   = 16
	impatient = 300 * time.Millisecond // the deadline of every second caller, while there is trouble

	// What the stores promise: see readDeadline and rollbackFor there.
	reads, writes, rollback = 5 * time.Second, userapi.WriteDeadline, time.Second
	// feed is the default of Config.FeedTimeout: who reads the revocations for all does not end with the own deadline.
	feed = 2 * time.Second
	// margin is for a machine that does much else.
	margin = 4 * time.Second
)

// bounds are how long a call may last: what it reads and writes one after the other.
var bounds = map[string]time.Duration{
	"registration": reads + writes, "login": reads + writes, "refresh": reads + writes, "logout": reads + writes, "list": reads, "check": feed,
}

// ledger is what the callers were told: what was acknowledged has to be there in the end, and what was ended has to stay so.
type ledger struct {
	mu       sync.Mutex
	trouble  bool
	users    map[string]bool // username → acknowledged; false = the outcome is unknown
	live     []userapi.Tokens
	ended    []userapi.Secret // access tokens whose logout was acknowledged
	done     map[string]int
	refused  map[string]int // ErrUnavailable
	longest  map[string]time.Duration
	surprise []string
}

func newLedger() *ledger {
	return &ledger{users: map[string]bool{}, done: map[string]int{}, refused: map[string]int{}, longest: map[string]time.Duration{}}
}

// call makes one call and notes its outcome. Where there is trouble ErrUnavailable is one; nothing else is, but what the call expects.
func (l *ledger) call(hurried bool, what string, do func(ctx context.Context) error, expected ...error) (ok bool) {
	l.mu.Lock()
	trouble := l.trouble
	l.mu.Unlock()
	ctx, bound, kind := context.Background(), bounds[what], what
	if trouble && hurried {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, impatient)
		defer cancel()
		if kind += " in a hurry"; what != "check" {
			bound = impatient + rollback
		}
	}
	began := time.Now()
	err := do(ctx)
	took := time.Since(began).Round(time.Millisecond)
	l.mu.Lock()
	defer l.mu.Unlock()
	trouble = trouble || l.trouble // it began meanwhile
	l.longest[kind] = max(l.longest[kind], took)
	if took > bound+margin {
		l.surprise = append(l.surprise, fmt.Sprintf("%s took %v", kind, took))
	}
	for _, e := range expected {
		if errors.Is(err, e) {
			err = nil
		}
	}
	switch {
	case err == nil:
		l.done[what]++
		return true
	case errors.Is(err, userapi.ErrUnavailable) && trouble:
		l.refused[what]++
	default:
		l.surprise = append(l.surprise, fmt.Sprintf("%s: %v", what, err))
	}
	return false
}

// worker calls until ctx ends. Its accounts and sessions are its own, so it knows what to expect.
func (l *ledger) worker(ctx context.Context, api *userapi.API, id int) {
	dice := rand.New(rand.NewPCG(7, uint64(id)))
	caller := userapi.Anonymous().From(fmt.Sprintf("192.0.2.%d", id), "test")
	call := func(what string, do func(ctx context.Context) error, expected ...error) bool {
		return l.call(id%2 == 1, what, do, expected...)
	}
	var names, doubtful []string
	var sessions []userapi.Tokens
	var ended []userapi.Secret
	for n := 0; ctx.Err() == nil; n++ {
		switch chance := dice.IntN(12); {
		case chance < 3 || len(names) == 0:
			name, again := fmt.Sprintf("user-%d-%d", id, n), []error(nil)
			if len(doubtful) > 0 && chance == 0 { // it may be there
				name, doubtful, again = doubtful[0], doubtful[1:], []error{userapi.ErrUsernameTaken}
			}
			ok := call("registration", func(ctx context.Context) error {
				_, err := api.Users.Create(ctx, userapi.System(), userapi.NewUser{
					Username: name, Password: password, Active: true, CustomerID: "default", Roles: []userapi.RoleRef{{Code: "editor"}},
				})
				return err
			}, again...)
			if ok {
				names = append(names, name)
			} else {
				doubtful = append(doubtful, name)
			}
			l.mu.Lock()
			l.users[name] = ok
			l.mu.Unlock()
		case chance < 5 || len(sessions) == 0:
			call("login", func(ctx context.Context) error {
				_, tokens, err := api.Auth.Login(ctx, caller, userapi.LoginRequest{Identifier: names[dice.IntN(len(names))], Password: password})
				if err == nil {
					sessions = append(sessions, tokens)
				}
				return err
			})
		case chance < 7:
			i := dice.IntN(len(sessions))
			call("refresh", func(ctx context.Context) error {
				tokens, err := api.Auth.Refresh(ctx, caller, sessions[i].Refresh)
				if err == nil { // else the same token is tried again, within its grace
					sessions[i] = tokens
				}
				return err
			})
		case chance < 8:
			i := dice.IntN(len(sessions))
			if call("logout", func(ctx context.Context) error { return api.Auth.Logout(ctx, caller, sessions[i].Refresh) }) {
				ended = append(ended, sessions[i].Access)
			}
			sessions = append(sessions[:i], sessions[i+1:]...) // after an unknown outcome nobody knows
		case chance < 9:
			call("list", func(ctx context.Context) error {
				_, err := api.Users.List(ctx, userapi.System(), userapi.UserQuery{Limit: 5, WithRoles: true})
				return err
			})
		case chance < 10 && len(ended) > 0:
			call("check", func(ctx context.Context) error {
				_, err := api.Auth.Authenticate(ctx, string(ended[dice.IntN(len(ended))]))
				if err == nil {
					return errors.New("a token whose session has ended was let in")
				}
				return err
			}, userapi.ErrTokenRevoked)
		default:
			i := dice.IntN(len(sessions))
			call("check", func(ctx context.Context) error {
				_, err := api.Auth.Authenticate(ctx, string(sessions[i].Access))
				return err
			})
		}
		time.Sleep(time.Duration(20+dice.IntN(80)) * time.Millisecond)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live, l.ended = append(l.live, sessions...), append(l.ended, ended...)
}

func (l *ledger) set(trouble bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trouble = trouble
}

// through has callers call all the time: before, during and after a trouble, which begin starts and end ends.
func (s *site) through(lasts time.Duration, begin, end func(p *proxy)) *ledger {
	s.t.Helper()
	l := newLedger()
	load, stop := context.WithCancel(s.t.Context())
	defer stop()
	var workers sync.WaitGroup
	for id := range callers {
		workers.Go(func() { l.worker(load, s.api, id) })
	}
	time.Sleep(time.Second)
	l.set(true)
	begin(s.proxy)
	most := 0
	for began := time.Now(); time.Since(began) < lasts; time.Sleep(200 * time.Millisecond) {
		most = max(most, s.count(s.data.connections))
		assert.LessOrEqual(s.t, s.pool.Stats().OpenConnections, poolSize)
	}
	end(s.proxy)
	ended := time.Now()
	s.recovers(ended)
	time.Sleep(500 * time.Millisecond)
	stop()
	workers.Wait()
	s.t.Logf("done %v, refused %v, longest %v; at most %d connections at the server", l.done, l.refused, l.longest, most)
	assert.Empty(s.t, l.surprise)
	return l
}

// recoversWithin is how soon all is well after a trouble, whatever it was: the server gives up what a lost connection waited for, and then
// what it held.
const recoversWithin = 2 * userapi.WriteDeadline

// recovers waits until calls of every kind succeed again.
func (s *site) recovers(ended time.Time) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return s.round(context.Background()) == nil }, recoversWithin+margin, 20*time.Millisecond)
	s.t.Logf("all is well %v after the end", time.Since(ended).Round(time.Millisecond))
}

var rounds sync.Map // so that no two rounds register one name

// round makes one call of every kind.
func (s *site) round(ctx context.Context) error {
	n, _ := rounds.LoadOrStore(s, new(int))
	*n.(*int)++
	name, caller := fmt.Sprint("round-", *n.(*int)), userapi.Anonymous().From("192.0.2.99", "test")
	_, err := s.api.Users.Create(ctx, userapi.System(), userapi.NewUser{Username: name, Password: password, Active: true, CustomerID: "default", Roles: []userapi.RoleRef{{Code: "editor"}}})
	if err != nil {
		return err
	}
	_, tokens, err := s.api.Auth.Login(ctx, caller, userapi.LoginRequest{Identifier: name, Password: password})
	if err == nil {
		tokens, err = s.api.Auth.Refresh(ctx, caller, tokens.Refresh)
	}
	if err == nil {
		_, err = s.api.Auth.Authenticate(ctx, string(tokens.Access))
	}
	if err == nil {
		_, err = s.api.Users.List(ctx, userapi.System(), userapi.UserQuery{Limit: 5})
	}
	if err == nil {
		err = s.api.Auth.Logout(ctx, caller, tokens.Refresh)
	}
	return err
}

// settled: nothing is left over, neither in the pool nor at the server.
func (s *site) settled() {
	s.t.Helper()
	assert.Eventually(s.t, func() bool { return s.pool.Stats().InUse == 0 }, recoversWithin, 50*time.Millisecond, "a connection is in use")
	assert.Eventually(s.t, s.unlocked, recoversWithin, 50*time.Millisecond, "a lock is held, or a transaction open")
	s.proxy.release() // by now the server would have learned of connections that are lost
	assert.Eventually(s.t, func() bool {
		return s.count(s.data.connections) <= s.pool.Stats().OpenConnections+s.direct.Stats().OpenConnections-1
	}, recoversWithin, 50*time.Millisecond, "the server keeps connections that the pool does not have")
}

// holds compares the ledger with the database.
func (l *ledger) holds(s *site) {
	t := s.t
	t.Helper()
	time.Sleep(1100 * time.Millisecond) // Config.Staleness
	for name, acknowledged := range l.users {
		u, err := s.other.Users.ByUsername(t.Context(), userapi.System(), name)
		if err == nil {
			assert.Len(t, u.Roles, 1, "%s is half there", name)
		} else if acknowledged || !errors.Is(err, userapi.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, access := range l.ended {
		for _, api := range []*userapi.API{s.api, s.other} {
			_, err := api.Auth.Authenticate(t.Context(), string(access))
			assert.ErrorIs(t, err, userapi.ErrTokenRevoked)
		}
	}
	for _, session := range l.live {
		id, err := s.other.Auth.Authenticate(t.Context(), string(session.Access))
		if assert.NoError(t, err) {
			_, err = s.near.SessionByID(t.Context(), id.SessionID())
			assert.NoError(t, err, "a session whose login was acknowledged")
		}
	}
	const events = `(SELECT COUNT(*) FROM userapi_events WHERE kind = '%s')`
	count := func(query string) int { return s.count("SELECT " + query) }
	assert.Zero(t, count(`COUNT(*) FROM (SELECT user_id FROM userapi_events WHERE kind = 'user.created' GROUP BY user_id HAVING COUNT(*) > 1) twice`), "an account has two events")
	assert.Equal(t, count(`COUNT(*) FROM userapi_users`), count(fmt.Sprintf(events, "user.created")), "an event for each account")
	assert.Equal(t, count(`COUNT(*) FROM userapi_sessions`), count(fmt.Sprintf(events+" - "+events, "login", "logout")), "events for each session")
}

// leaks are goroutines that outlive all tests. pgx takes up to 15 s to end a connection.
func leaks() (left []string) {
	for range 100 {
		text := make([]byte, 4<<20)
		left = nil
		for _, g := range strings.Split(string(text[:runtime.Stack(text, true)]), "\n\n") {
			for _, of := range []string{"database/sql", "go-sql-driver", "jackc/pgx", "userapi/userapi.", "userapi/store"} {
				if strings.Contains(g, of) {
					left = append(left, g)
					break
				}
			}
		}
		if len(left) == 0 {
			break
		}
		time.Sleep(200 * time.Millisecond)
	}
	return left
}
