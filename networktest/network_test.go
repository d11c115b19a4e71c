// Package networktest puts a proxy between a store and its server, and lets the network fail short of death. It is a module of its own: the proxy
// is nothing that a host should pay for.
package networktest

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/httpadapter"
	"github.com/userapi/userapi/internal/drivertest"
	mysqlstore "github.com/userapi/userapi/store/mysql"
	"github.com/userapi/userapi/store/postgres"
)

const (
	password userapi.Secret = "seven green bottles"

	conns     = 8           // of a pool: fewer than there are callers
	staleness = time.Second // Config.Staleness
	short     = 300 * time.Millisecond
	slack     = 2 * time.Second // for a machine that does other things besides

	// answeredWithin is the longest that a call lasts: what a write and a read may take, and the hash between.
	answeredWithin = userapi.WriteDeadline + 5*time.Second + slack
)

// engine is one kind of server, reached by one driver.
type engine struct {
	name  string
	start func(t *testing.T) (address string, open func(t *testing.T, address string) (userapi.Store, *sql.DB))
	// busy counts the transactions that are open in the server, beside the one that asks.
	busy string
}

type migrating interface {
	userapi.Store
	Migrate(context.Context) error
}

func mariadb(with func(*mysql.Config)) func(t *testing.T) (string, func(*testing.T, string) (userapi.Store, *sql.DB)) {
	return func(t *testing.T) (string, func(*testing.T, string) (userapi.Store, *sql.DB)) {
		m, err := drivertest.Shared()
		require.NoError(t, err)
		t.Cleanup(m.Stop)
		config := m.Database(t)
		return config.Addr, func(t *testing.T, address string) (userapi.Store, *sql.DB) {
			at := config.Clone()
			at.Addr, at.Net = address, "tcp"
			with(at)
			nodes, err := mysqlstore.NewNodes(at)
			require.NoError(t, err)
			db := sql.OpenDB(nodes)
			return migrated(t, mysqlstore.New(db)), db
		}
	}
}

func migrated(t *testing.T, st migrating) userapi.Store {
	t.Helper()
	require.NoError(t, st.Migrate(t.Context()))
	return st
}

const mariadbBusy = "SELECT COUNT(*) FROM information_schema.innodb_trx"

var engines = []engine{
	{"MariaDB", mariadb(func(*mysql.Config) {}), mariadbBusy},
	{"MariaDB with the timeouts of a list", mariadb(func(c *mysql.Config) {
		c.Timeout, c.ReadTimeout, c.WriteTimeout = time.Second, 5*time.Second, 5*time.Second
	}), mariadbBusy},
	{"PostgreSQL", func(t *testing.T) (string, func(*testing.T, string) (userapi.Store, *sql.DB)) {
		server, err := drivertest.SharedPostgres()
		require.NoError(t, err)
		t.Cleanup(server.Stop)
		url := server.Database(t)
		address := url[strings.Index(url, "@")+1:]
		address = address[:strings.IndexAny(address, "/?")]
		return address, func(t *testing.T, at string) (userapi.Store, *sql.DB) {
			db, err := sql.Open("pgx", strings.Replace(url, "@"+address, "@"+at, 1))
			require.NoError(t, err)
			return migrated(t, postgres.New(db)), db
		}
	}, "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"},
}

var proxies = toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.New(os.Stderr).Level(zerolog.Disabled))

// proxy is the network between a store and its server.
type proxy struct {
	*toxiproxy.Proxy
	t *testing.T
}

func newProxy(t *testing.T, upstream string) *proxy {
	t.Helper()
	p := &proxy{toxiproxy.NewProxy(proxies, t.Name(), "127.0.0.1:0", upstream), t}
	require.NoError(t, p.Start())
	t.Cleanup(p.Stop)
	return p
}

// add makes both directions bad, or one. attributes is JSON.
func (p *proxy) add(kind, attributes string, directions ...string) {
	if directions == nil {
		directions = []string{"upstream", "downstream"}
	}
	for _, direction := range directions {
		_, err := p.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(`{"type": %q, "stream": %q, "attributes": %s}`, kind, direction, attributes)))
		require.NoError(p.t, err)
	}
}

func (p *proxy) heal() { p.Toxics.ResetToxics(context.Background()) }

// again closes all connections, and listens at the same address.
func (p *proxy) again() {
	p.Stop()
	require.Eventually(p.t, func() bool { return p.Start() == nil }, 5*time.Second, 10*time.Millisecond)
}

const (
	hold = `{"latency": 3600000}` // nothing passes until it is taken away, and then everything
	drop = `{"timeout": 0}`       // nothing passes, and what was on its way is lost
)

// troubles are what a network does short of dying. run lasts as long as the trouble does, and the proxy is healed after it.
var troubles = []struct {
	name     string
	run      func(p *proxy)
	harmless bool // callers see waits at most
}{
	{"latency of 50 to 150 ms each way", add("latency", `{"latency": 100, "jitter": 50}`, 3*time.Second), false},
	{"packets of ten bytes", add("slicer", `{"average_size": 10, "size_variation": 9, "delay": 10}`, 2*time.Second), true},
	{"some 4 KB a second", add("slicer", `{"average_size": 64, "size_variation": 32, "delay": 15000}`, 3*time.Second), false},
	{"nothing passes for 1 s, and then everything", add("latency", hold, time.Second), true},
	{"nothing passes for 11 s, and then everything", add("latency", hold, 11*time.Second), false},
	{"no answer comes back for 6 s", add("latency", hold, 6*time.Second, "downstream"), false},
	{"no answer comes back, ever", add("timeout", drop, 6*time.Second, "downstream"), false},
	{"nothing arrives, ever", add("timeout", drop, 6*time.Second, "upstream"), false},
	{"connections cut in the middle of an answer", func(p *proxy) { cut(p, "downstream") }, false},
	{"connections cut in the middle of a request", func(p *proxy) { cut(p, "upstream") }, false},
	{"connections that are reset", add("reset_peer", `{"timeout": 100}`, 2*time.Second), false},
	{"connections that are refused", func(p *proxy) { p.Stop(); time.Sleep(2 * time.Second); p.again() }, false},
	{"connections that are taken, and never answered", func(p *proxy) { p.add("timeout", drop); p.again(); time.Sleep(6 * time.Second) }, false},
}

// add makes one kind of trouble for a while.
func add(kind, attributes string, lasts time.Duration, directions ...string) func(p *proxy) {
	return func(p *proxy) {
		p.add(kind, attributes, directions...)
		time.Sleep(lasts)
	}
}

// cut ends connections after some bytes, again and again, so in the middle of everything.
func cut(p *proxy, direction string) {
	for range 60 {
		p.add("limit_data", fmt.Sprintf(`{"bytes": %d}`, rand.IntN(3000)), direction)
		time.Sleep(50 * time.Millisecond)
		p.heal()
	}
}

// world is an instance behind a bad network, another behind a good one, and what callers of the first were told.
type world struct {
	api, beside *userapi.API

	mu        sync.Mutex
	made      map[string]bool // username → acknowledged
	ended     []ended
	wrong     []string
	longest   time.Duration
	impatient int // calls whose own time was too short
	failed    int // calls that had time enough
	succeeded int
}

type ended struct {
	access userapi.Secret
	at     time.Time
}

func newAPI(t *testing.T, st userapi.Store) *userapi.API {
	t.Helper()
	api, err := userapi.New(userapi.Config{
		Store: st, Secret: "a secret of more than thirty-two bytes, made for tests", Limits: userapi.Limits{}, Staleness: staleness,
		Password: userapi.PasswordPolicy{Argon2id: userapi.Argon2id{MemoryKiB: 64, Passes: 1, Threads: 1}},
	})
	require.NoError(t, err)
	return api
}

func (w *world) say(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

// call runs one call, which succeeds, or finds the store unavailable, within the time it has. A caller with little time is answered soon after,
// but for a COMMIT, whose outcome is waited for.
func (w *world) call(what string, writes bool, do func(ctx context.Context) error) bool {
	ctx, within, impatient := context.Background(), answeredWithin, rand.IntN(2) == 0
	if impatient {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, short)
		defer cancel()
		if !writes {
			within = short + slack
		}
	}
	began := time.Now()
	err := do(ctx)
	took := time.Since(began)
	switch {
	case took > within:
		w.say("%s took %v: %v", what, took, err)
	case err != nil && !errors.Is(err, userapi.ErrUnavailable):
		w.say("%s: %v", what, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.longest = max(w.longest, took)
	switch {
	case err == nil:
		w.succeeded++
	case impatient:
		w.impatient++
	default:
		w.failed++
	}
	return err == nil
}

// work is one caller.
func (w *world) work(load context.Context) {
	caller := userapi.Anonymous().From("192.0.2.1", "test")
	var names []string
	var sessions []userapi.Tokens
	for load.Err() == nil {
		switch chance := rand.IntN(10); {
		case chance < 2 || len(names) == 0:
			name := fmt.Sprint("user", rand.Uint64())
			ok := w.call("registration", true, func(ctx context.Context) error {
				_, err := w.api.Users.Create(ctx, userapi.System(), userapi.NewUser{
					Username: name, Password: password, Active: true, CustomerID: "default", Roles: []userapi.RoleRef{{Code: "editor"}},
				})
				return err
			})
			w.mu.Lock()
			w.made[name] = ok
			w.mu.Unlock()
			if ok {
				names = append(names, name)
			}
		case chance < 4 || len(sessions) == 0:
			var tokens userapi.Tokens
			if w.call("login", true, func(ctx context.Context) (err error) {
				_, tokens, err = w.api.Auth.Login(ctx, caller, userapi.LoginRequest{Identifier: names[rand.IntN(len(names))], Password: password})
				return err
			}) {
				sessions = append(sessions, tokens)
			}
		case chance < 5:
			w.call("read", false, func(ctx context.Context) error {
				_, err := w.api.Users.ByUsername(ctx, userapi.System(), names[rand.IntN(len(names))])
				return err
			})
		case chance < 6:
			w.call("list", false, func(ctx context.Context) error {
				_, err := w.api.Users.List(ctx, userapi.System(), userapi.UserQuery{Limit: 20})
				return err
			})
		case chance < 7:
			w.call("check", false, func(ctx context.Context) error {
				_, err := w.api.Auth.Authenticate(ctx, string(sessions[rand.IntN(len(sessions))].Access))
				return err
			})
		default:
			i := rand.IntN(len(sessions))
			s := sessions[i]
			sessions = slices.Delete(sessions, i, i+1) // after an unknown outcome nobody knows
			if chance < 9 {
				if w.call("refresh", true, func(ctx context.Context) (err error) {
					s, err = w.api.Auth.Refresh(ctx, caller, s.Refresh)
					return err
				}) {
					sessions = append(sessions, s)
				}
			} else if w.call("logout", true, func(ctx context.Context) error { return w.api.Auth.Logout(ctx, caller, s.Refresh) }) {
				w.mu.Lock()
				w.ended = append(w.ended, ended{s.Access, time.Now()})
				w.mu.Unlock()
			}
		}
		time.Sleep(rand.N(10 * time.Millisecond))
	}
}

// endBeside ends sessions at the instance behind the good network. The other may let nobody in for them, once it may no more.
func (w *world) endBeside(load context.Context) {
	ctx, caller := context.Background(), userapi.Anonymous().From("192.0.2.2", "test")
	var all []ended
	for load.Err() == nil {
		_, tokens, err := w.beside.Auth.Login(ctx, caller, userapi.LoginRequest{Identifier: "admin", Password: password})
		if err == nil {
			err = w.beside.Auth.Logout(ctx, caller, tokens.Refresh)
		}
		if err != nil {
			w.say("beside: %v", err)
			return
		}
		all = append(all, ended{tokens.Access, time.Now()})
		for _, e := range all[max(0, len(all)-10):] {
			began := time.Now()
			if _, err := w.api.Auth.Authenticate(ctx, string(e.access)); err == nil && began.Sub(e.at) > staleness {
				w.say("a token was taken %v after its end", began.Sub(e.at))
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// goesOn waits until calls succeed.
func (w *world) goesOn(t *testing.T, when string) {
	t.Helper()
	count := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.succeeded
	}
	until := count() + 100
	require.Eventually(t, func() bool { return count() >= until }, 20*time.Second, 10*time.Millisecond, "%s: nothing goes on", when)
}

// Whatever the network does: a call has an answer in its time, what was acknowledged is there, nothing is there by half, no token is taken after its
// end, and when the network is well again so are the pool, the server and the goroutines.
func TestNetworkTrouble(t *testing.T) {
	before := len(goroutines())
	t.Run("on", func(t *testing.T) {
		for _, e := range engines {
			t.Run(e.name, func(t *testing.T) {
				t.Parallel()
				e.suffer(t)
			})
		}
	})
	if !assert.Eventually(t, func() bool { return len(goroutines()) <= before+1 }, 30*time.Second, 100*time.Millisecond) { // and the one that asks
		t.Log("goroutines are left:\n", strings.Join(goroutines(), "\n\n"))
	}
}

// goroutines are the stacks of all that live, but for the proxy's, which leaves some behind where trouble ends in the middle of a packet.
func goroutines() []string {
	text := make([]byte, 16<<20)
	all := strings.Split(string(text[:runtime.Stack(text, true)]), "\n\n")
	return slices.DeleteFunc(all, func(stack string) bool { return strings.Contains(stack, "Shopify/toxiproxy") })
}

func (e engine) suffer(t *testing.T) {
	address, open := e.start(t)
	st, good := open(t, address)
	defer good.Close()
	p := newProxy(t, address)
	behind, db := open(t, p.Listen)
	defer db.Close()
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	w := &world{api: newAPI(t, behind), beside: newAPI(t, st), made: map[string]bool{}}
	_, err := w.beside.Bootstrap(t.Context(), userapi.Bootstrap{Username: "admin", Password: password})
	require.NoError(t, err)
	_, err = w.beside.Roles.Create(t.Context(), userapi.System(), userapi.Role{Code: "editor", Name: "Editor"})
	require.NoError(t, err)
	running, endRun := context.WithCancel(t.Context())
	var background sync.WaitGroup
	background.Go(func() { _ = w.api.Run(running) })
	for _, trouble := range troubles {
		load, stop := context.WithCancel(t.Context())
		var callers sync.WaitGroup
		for range 16 {
			callers.Go(func() { w.work(load) })
		}
		callers.Go(func() { w.endBeside(load) })
		w.goesOn(t, "before "+trouble.name)
		trouble.run(p)
		p.heal()
		w.goesOn(t, "after "+trouble.name)
		stop()
		callers.Wait()

		t.Logf("%-52s unavailable for %3d calls, and %3d with little time; longest %v", trouble.name, w.failed, w.impatient, w.longest.Round(time.Millisecond))
		assert.Empty(t, w.wrong, trouble.name)
		if trouble.harmless {
			assert.Zero(t, w.failed, trouble.name)
		}
		w.wrong, w.failed, w.impatient, w.longest = nil, 0, 0, 0
		assert.Eventually(t, func() bool { return db.Stats().InUse == 0 }, 10*time.Second, 10*time.Millisecond, "connections in use after %s", trouble.name)
		assert.LessOrEqual(t, db.Stats().OpenConnections, conns)
		assert.Eventually(t, func() bool {
			var n int
			return good.QueryRow(e.busy).Scan(&n) == nil && n == 0
		}, 20*time.Second, 20*time.Millisecond, "transactions open in the server after %s", trouble.name)
	}
	w.compare(t, good)
	endRun()
	background.Wait()
}

// compare holds what callers were told against the database.
func (w *world) compare(t *testing.T, db *sql.DB) {
	time.Sleep(staleness + 100*time.Millisecond)
	for _, e := range w.ended {
		_, err := w.beside.Auth.Authenticate(t.Context(), string(e.access))
		assert.ErrorIs(t, err, userapi.ErrTokenRevoked)
	}
	rows, err := db.Query(`SELECT u.username_key, (SELECT COUNT(*) FROM userapi_user_roles r WHERE r.user_id = u.id),
		(SELECT COUNT(*) FROM userapi_events e WHERE e.user_id = u.id AND e.kind = 'user.created') FROM userapi_users u WHERE u.username_key <> 'admin'`)
	require.NoError(t, err)
	defer rows.Close()
	there := map[string]bool{}
	for rows.Next() {
		var name string
		var roles, events int
		require.NoError(t, rows.Scan(&name, &roles, &events))
		assert.Equal(t, 1, roles, "%s is half there", name)
		assert.Equal(t, 1, events, "%s in the audit trail", name)
		there[name] = true
	}
	require.NoError(t, rows.Err())
	acknowledged := 0
	for name, was := range w.made {
		if was {
			acknowledged++
			assert.True(t, there[name], "%s was acknowledged, and is not there", name)
		}
		delete(there, name)
	}
	assert.Empty(t, there, "accounts that nobody made")
	t.Logf("%d accounts acknowledged of %d, %d logouts", acknowledged, len(w.made), len(w.ended))
	assert.Greater(t, acknowledged, 100)
}

// A list of nodes goes on with the second when the network to the first is silent, which no connection tells, and comes back.
func TestSilentNetworkToTheFirstNode(t *testing.T) {
	t.Parallel()
	m, err := drivertest.Shared()
	require.NoError(t, err)
	t.Cleanup(m.Stop)
	config := m.Database(t)
	var network [2]*proxy
	var nodes []*mysql.Config
	for i := range network {
		network[i] = newProxy(t, config.Addr)
		at := config.Clone()
		at.Addr, at.Timeout, at.ReadTimeout, at.WriteTimeout = network[i].Listen, time.Second, 5*time.Second, 5*time.Second
		nodes = append(nodes, at)
	}
	list, err := mysqlstore.NewNodes(nodes...)
	require.NoError(t, err)
	db := sql.OpenDB(list)
	defer db.Close()
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	api := newAPI(t, migrated(t, mysqlstore.New(db)))
	failed := 0
	soon := func(what string) {
		t.Helper()
		began := time.Now()
		require.Eventually(t, func() bool {
			var callers sync.WaitGroup
			var errs [conns]error
			for i := range errs {
				callers.Go(func() { _, errs[i] = api.Users.List(t.Context(), userapi.System(), userapi.UserQuery{}) })
			}
			callers.Wait()
			if err := errors.Join(errs[:]...); err != nil {
				require.ErrorIs(t, err, userapi.ErrUnavailable)
				failed++
				return false
			}
			return true
		}, 30*time.Second, time.Millisecond, what)
		t.Logf("%s: served after %v", what, time.Since(began).Round(time.Millisecond))
	}
	soon("both are well")
	network[0].add("timeout", drop)
	soon("silence to the first")
	assert.LessOrEqual(t, failed, 2, "calls at once, that is: each connection of the pool is not found out for itself")
	network[0].heal()
	require.Eventually(t, func() bool { return list.State(t.Context())[0].Err == nil }, 10*time.Second, 50*time.Millisecond)
	soon("the first is well again")
	network[1].add("timeout", drop) // where nothing should be
	failed = 0
	for range 20 {
		soon("silence to the second")
	}
	assert.Zero(t, failed, "connections stay with the second")
}

// What callers of the HTTP API see of a database that does not answer: 503, when to come again, and in time. The program itself is well.
func TestSilentDatabaseOverHTTP(t *testing.T) {
	t.Parallel()
	e := engines[0]
	address, open := e.start(t)
	p := newProxy(t, address)
	st, db := open(t, p.Listen)
	defer db.Close()
	api := newAPI(t, st)
	_, err := api.Bootstrap(t.Context(), userapi.Bootstrap{Username: "admin", Password: password})
	require.NoError(t, err)
	web, err := httpadapter.New(httpadapter.Config{API: api, Development: true})
	require.NoError(t, err)
	server := httptest.NewServer(web.Handler())
	defer server.Close()
	ask := func(method, path, token, body string) (*http.Response, string) {
		r, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
		require.NoError(t, err)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+token)
		began := time.Now()
		answer, err := server.Client().Do(r)
		require.NoError(t, err)
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		assert.Less(t, time.Since(began), answeredWithin)
		return answer, string(text)
	}
	const login = `{"username": "admin", "password": "` + string(password) + `"}`
	_, text := ask("POST", "/auth/login", "", login)
	var tokens struct {
		Access string `json:"access_token"`
	}
	require.NoError(t, json.Unmarshal([]byte(text), &tokens))
	requests := [][2]string{{"GET", "/auth/verify_token"}, {"GET", "/auth/whoami"}, {"GET", "/users"}, {"POST", "/auth/login"}, {"POST", "/auth/logout-all"}}
	p.add("latency", hold)
	time.Sleep(staleness)
	var all sync.WaitGroup
	for range 3 {
		for _, request := range requests {
			all.Go(func() {
				answer, text := ask(request[0], request[1], tokens.Access, login)
				assert.Equal(t, http.StatusServiceUnavailable, answer.StatusCode, "%v %s", request, text)
				assert.Equal(t, "1", answer.Header.Get("Retry-After"))
			})
		}
	}
	all.Wait()
	p.heal()
	require.Eventually(t, func() bool {
		answer, _ := ask("GET", "/auth/whoami", tokens.Access, "")
		return answer.StatusCode == http.StatusOK || answer.StatusCode == http.StatusUnauthorized // the logout may have arrived
	}, 20*time.Second, 50*time.Millisecond)
	answer, text := ask("POST", "/auth/login", "", login)
	assert.Equal(t, http.StatusOK, answer.StatusCode, text)
}
