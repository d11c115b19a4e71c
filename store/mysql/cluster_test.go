package mysql_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/internal/drivertest"
	"github.com/userapi/userapi/store/mysql"
)

// answeredWithin is the longest that a caller waits for an answer while nodes die: what a write and a read may take, retries included,
// and the hash between.
const answeredWithin = userapi.WriteDeadline + 8*time.Second

// ledger is what the load was told: what was acknowledged has to be there in the end, and what was ended has to stay so.
type ledger struct {
	mu       sync.Mutex
	users    map[string]bool // username → acknowledged; false = the outcome is unknown
	live     map[string]userapi.Tokens
	ended    []userapi.Secret // access tokens whose logout was acknowledged
	answers  map[string]int
	longest  time.Duration
	surprise []string
}

// note counts an answer. While a node is dead ErrUnavailable is one; nothing else is.
func (l *ledger) note(what string, began time.Time, err error) (ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.longest = max(l.longest, time.Since(began))
	switch {
	case err == nil:
		l.answers[what]++
		return true
	case errors.Is(err, userapi.ErrUnavailable):
		l.answers[what+": unavailable"]++
	default:
		l.surprise = append(l.surprise, fmt.Sprintf("%s: %v", what, err))
	}
	return false
}

// worker asks one node after the other. Its accounts and sessions are its own, so it knows what to expect.
func (l *ledger) worker(ctx context.Context, id int, apis []*userapi.API) {
	dice := rand.New(rand.NewPCG(7, uint64(id)))
	caller := userapi.Anonymous().From(fmt.Sprintf("192.0.2.%d", id), "test")
	names, sessions := []string{}, []userapi.Tokens{}
	for n := 0; ctx.Err() == nil; n++ {
		api, began := apis[dice.IntN(len(apis))], time.Now()
		call := context.WithoutCancel(ctx) // the end of the load interrupts nothing
		switch chance := dice.IntN(10); {
		case chance < 3 || len(names) == 0:
			name := fmt.Sprintf("user-%d-%d", id, n)
			_, err := api.Users.Create(call, userapi.System(), userapi.NewUser{
				Username: name, Password: clusterPassword, Active: true, CustomerID: "default", Roles: []userapi.RoleRef{{Code: "editor"}},
			})
			if ok := l.note("registration", began, err); ok {
				names = append(names, name)
				l.know(name, true)
			} else {
				l.know(name, false)
			}
		case chance < 6 || len(sessions) == 0:
			_, tokens, err := api.Auth.Login(call, caller, userapi.LoginRequest{Identifier: names[dice.IntN(len(names))], Password: clusterPassword})
			if l.note("login", began, err) {
				sessions = append(sessions, tokens)
			}
		case chance < 8:
			i := dice.IntN(len(sessions))
			tokens, err := api.Auth.Refresh(call, caller, sessions[i].Refresh)
			if l.note("refresh", began, err) { // else the same token is tried again, within its grace
				sessions[i] = tokens
			}
		default:
			i := dice.IntN(len(sessions))
			err := api.Auth.Logout(call, caller, sessions[i].Refresh)
			if l.note("logout", began, err) {
				l.mu.Lock()
				l.ended = append(l.ended, sessions[i].Access)
				l.mu.Unlock()
			}
			sessions = append(sessions[:i], sessions[i+1:]...) // after an unknown outcome nobody knows
		}
		time.Sleep(time.Duration(dice.IntN(10)) * time.Millisecond)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, s := range sessions {
		l.live[fmt.Sprint(id, " ", i)] = s
	}
}

func (l *ledger) know(name string, acknowledged bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.users[name] = acknowledged
}

const clusterPassword userapi.Secret = "seven green bottles"

// clusterAPI is an instance beside one node, with the settings that docs/cluster.md recommends.
func clusterAPI(t *testing.T, config *driver.Config) (*userapi.API, *sql.DB) {
	config = config.Clone()
	config.Params = map[string]string{"wsrep_sync_wait": "7"}
	config.Timeout, config.ReadTimeout, config.WriteTimeout = time.Second, 5*time.Second, 5*time.Second
	db := drivertest.Open(t, config)
	db.SetMaxOpenConns(16)
	api, err := userapi.New(userapi.Config{
		Store: mysql.New(db), Secret: "a secret of more than thirty-two bytes, made for tests", Limits: userapi.Limits{},
		Password: userapi.PasswordPolicy{Argon2id: userapi.Argon2id{MemoryKiB: 64, Passes: 1, Threads: 1}},
	})
	require.NoError(t, err)
	return api, db
}

// Whatever becomes of nodes: who was told that something was done finds it done, what was refused is not half there, what ended stays
// ended, and callers see waits and ErrUnavailable, nothing else.
func TestClusterLosesNodes(t *testing.T) {
	c := startCluster(t)
	config := c.Nodes[0].Database(t)
	migrated(t, config)
	var apis []*userapi.API
	for _, n := range c.Nodes {
		at := config.Clone()
		at.Addr = n.Config("").Addr
		require.Eventually(t, func() bool { return drivertest.Open(t, at).PingContext(t.Context()) == nil }, 10*time.Second, 20*time.Millisecond)
		api, _ := clusterAPI(t, at)
		apis = append(apis, api)
	}
	_, err := apis[0].Bootstrap(t.Context(), userapi.Bootstrap{Username: "admin", Password: clusterPassword})
	require.NoError(t, err)
	_, err = apis[0].Roles.Create(t.Context(), userapi.System(), userapi.Role{Code: "editor", Name: "Editor"})
	require.NoError(t, err)

	l := &ledger{users: map[string]bool{}, live: map[string]userapi.Tokens{}, answers: map[string]int{}}
	load, stop := context.WithCancel(t.Context())
	defer stop()
	var workers sync.WaitGroup
	for id := range 12 {
		workers.Go(func() { l.worker(load, id, apis) })
	}
	phase := func(what string, lasts time.Duration, then func() error) {
		t.Helper()
		time.Sleep(lasts)
		l.mu.Lock()
		t.Logf("%-40s %v, longest answer %v", what, l.answers, l.longest.Round(time.Millisecond))
		l.mu.Unlock()
		require.NoError(t, then(), what)
	}
	phase("all nodes", 4*time.Second, c.Nodes[2].Kill)
	phase("one of three is dead", 8*time.Second, func() error { return errors.Join(c.Nodes[2].Start(), c.Synced(2, 3)) })
	phase("it is back", 3*time.Second, c.Nodes[0].Kill) // the first of all
	phase("another is dead", 8*time.Second, func() error { return errors.Join(c.Nodes[0].Start(), c.Synced(0, 3)) })
	phase("it is back", 3*time.Second, func() error { return errors.Join(c.Nodes[0].Kill(), c.Nodes[1].Kill()) })
	phase("two are dead, the third serves nobody", 6*time.Second, func() error { return c.Restore(2) })
	phase("the third serves alone", 4*time.Second, func() error {
		return errors.Join(c.Nodes[0].Start(), c.Synced(0, 2), c.Nodes[1].Start(), c.Synced(1, 3))
	})
	phase("all are back", 4*time.Second, func() error { return nil })
	stop()
	workers.Wait()

	assert.Empty(t, l.surprise)
	assert.Less(t, l.longest, answeredWithin)
	for _, what := range []string{"registration", "login", "refresh", "logout"} {
		assert.NotZero(t, l.answers[what], what)
	}
	assert.NotZero(t, l.answers["login: unavailable"], "nobody noticed that nodes were dead")
	time.Sleep(1100 * time.Millisecond) // Config.Staleness
	lost, found := 0, 0
	for i, api := range apis {
		for name, acknowledged := range l.users {
			u, err := api.Users.ByUsername(t.Context(), userapi.System(), name)
			switch {
			case err == nil:
				found++
				assert.Len(t, u.Roles, 1, "%s is half there on node %d", name, i)
			case acknowledged || !errors.Is(err, userapi.ErrNotFound):
				lost++
				t.Errorf("node %d: %s: %v", i, name, err)
			}
		}
		for _, access := range l.ended {
			_, err := api.Auth.Authenticate(t.Context(), string(access))
			assert.ErrorIs(t, err, userapi.ErrTokenRevoked, "on node %d", i)
		}
	}
	for _, s := range l.live {
		_, err := apis[0].Auth.Refresh(t.Context(), userapi.Anonymous().From("192.0.2.1", "test"), s.Refresh)
		assert.NoError(t, err, "a session whose login was acknowledged")
	}
	_, db := clusterAPI(t, config)
	var twice int
	require.NoError(t, db.QueryRow(`SELECT COUNT(*) FROM (SELECT user_id FROM userapi_events WHERE kind = 'user.created' GROUP BY user_id HAVING COUNT(*) > 1) twice`).Scan(&twice))
	assert.Zero(t, twice, "accounts that were created twice in the audit trail")
	var events, users int
	require.NoError(t, db.QueryRow(`SELECT (SELECT COUNT(*) FROM userapi_events WHERE kind = 'user.created' AND user_id <> ''), (SELECT COUNT(*) FROM userapi_users)`).Scan(&events, &users))
	assert.Equal(t, users, events, "an event for each account")
	t.Logf("%d accounts found %d times on 3 nodes, %d lost; %d logouts hold; %d sessions go on", len(l.users), found, lost, len(l.ended), len(l.live))
}
