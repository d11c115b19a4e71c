package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi/internal/drivertest"
)

// newDatabase makes a database and its user, whose password must never be seen, and returns the --db that reaches it.
func newDatabase(t *testing.T, m *drivertest.MariaDB) string {
	t.Helper()
	config := m.Database(t)
	admin := drivertest.Open(t, config)
	for _, query := range []string{"CREATE USER %[1]s@'%%' IDENTIFIED BY '%[2]s'", "GRANT ALL ON %[1]s.* TO %[1]s@'%%'"} {
		_, err := admin.Exec(fmt.Sprintf(query, config.DBName, canary))
		require.NoError(t, err)
	}
	t.Cleanup(func() { _, _ = admin.Exec("DROP USER " + config.DBName + "@'%'") })
	config.User, config.Passwd = config.DBName, canary
	return "mysql:" + config.FormatDSN()
}

func TestTwoServersOnOneMariaDB(t *testing.T) {
	m, err := drivertest.Shared()
	require.NoError(t, err)
	t.Cleanup(m.Stop)
	db := newDatabase(t, m)
	p := newPlace(t, "USERAPI_SECRET="+secretA, "USERAPI_DB="+db, "USERAPI_ADMIN_PASSWORD="+canary)
	a, b := p.launch(t), p.launch(t)
	a.ready()
	b.ready()
	token := a.login("admin", canary)
	require.Equal(t, http.StatusOK, b.whoami(token))
	status, _ := a.call("POST", "/api/auth/logout", token, nil)
	require.Equal(t, http.StatusNoContent, status)
	assert.Equal(t, http.StatusUnauthorized, a.whoami(token), "where it was written it holds at once")
	b.refusesSoon(token)

	token = b.login("admin", canary)
	p.ok(t, "", "sessions", "revoke-all")
	a.refusesSoon(token)
	b.refusesSoon(token)
	assert.Contains(t, p.ok(t, "", "user", "list"), "admin")
	p.ok(t, "", "init", "--drop-before", "--yes")
	p.ok(t, "", "init")
}

// The nodes are two servers that know nothing of each other, which is enough to see where the program goes.
func TestListOfNodes(t *testing.T) {
	var nodes [2]*drivertest.MariaDB
	var addresses []string
	for i := range nodes {
		m, err := drivertest.Private()
		require.NoError(t, err)
		t.Cleanup(m.Stop)
		nodes[i] = m
		addresses = append(addresses, m.Config("").Addr)
		_, err = drivertest.Open(t, m.Config("")).Exec("CREATE DATABASE app")
		require.NoError(t, err)
	}
	// The second is where the tables are: a program that begins while the first is dead serves all the same.
	require.NoError(t, nodes[0].Kill())
	p := newPlace(t, "USERAPI_SECRET="+secretA, "USERAPI_ADMIN_PASSWORD="+canary, "USERAPI_DB=mysql:root@tcp("+strings.Join(addresses, ",")+")/app")
	s := p.serve(t)
	state := func() string {
		_, body := s.call("GET", "/readyz", "", nil)
		return fmt.Sprint(body["nodes"])
	}
	assert.Equal(t, "[map[node:1 status:unavailable] map[node:2 status:ok]]", state())
	s.login("admin", canary)
	require.NoError(t, nodes[0].Start())
	require.Eventually(t, func() bool { return state() == "[map[node:1 status:ok] map[node:2 status:ok]]" }, 10*time.Second, 50*time.Millisecond)
	require.Eventually(t, func() bool {
		status, _ := s.call("POST", "/api/users/login", "", map[string]string{"email": "admin", "password": canary})
		return status >= 500 // the first has no tables
	}, 10*time.Second, 50*time.Millisecond)
	require.NoError(t, nodes[0].Kill())
	s.login("admin", canary)
	s.stop()
	assert.Empty(t, s.stderr.String())
	assert.Contains(t, s.out.String(), "database node "+addresses[0]+" serves again")

	code, _, stderr := p.run(t, "", "user", "list", "--db", "mysql:root:canary@tcp(127.0.0.1:1,127.0.0.1:2)/x")
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "MySQL database x at 127.0.0.1:1, 127.0.0.1:2")
	code, _, stderr = p.run(t, "", "user", "list", "--db", "mysql:root:canary@tcp(127.0.0.1:1,)/x")
	assert.Equal(t, 2, code)
	assert.NotContains(t, stderr, "canary")
}

// A database that dies under load and comes back: until then 503, never 500, and afterwards all is as it was.
func TestMariaDBDiesAndComesBack(t *testing.T) {
	m, err := drivertest.Private()
	require.NoError(t, err)
	t.Cleanup(m.Stop)
	p := newPlace(t, "USERAPI_SECRET="+secretA, "USERAPI_DB="+newDatabase(t, m), "USERAPI_ADMIN_PASSWORD="+canary)
	s := p.serve(t, "--dev", "--limits", "off")
	token := s.login("admin", canary)

	ctx, stop := context.WithCancel(t.Context())
	var mu sync.Mutex
	seen := map[string]int{}
	var load sync.WaitGroup
	for i := range 6 {
		load.Go(func() {
			for ctx.Err() == nil {
				var status int
				switch i % 3 {
				case 0:
					status, _ = s.call("POST", "/api/users/login", "", map[string]string{"email": "admin", "password": canary})
				case 1:
					status = s.whoami(token)
				default:
					status, _ = s.call("GET", "/readyz", "", nil)
				}
				mu.Lock()
				seen[fmt.Sprint(i%3, " ", status)]++
				mu.Unlock()
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	time.Sleep(500 * time.Millisecond)
	require.NoError(t, m.Kill())
	require.Eventually(t, func() bool { status, _ := s.call("GET", "/readyz", "", nil); return status == 503 }, 10*time.Second, 50*time.Millisecond)
	status, _ := s.call("GET", "/healthz", "", nil)
	assert.Equal(t, http.StatusOK, status, "the program itself is well")
	time.Sleep(time.Second)
	require.NoError(t, m.Start())
	require.Eventually(t, func() bool { status, _ := s.call("GET", "/readyz", "", nil); return status == 200 }, 10*time.Second, 50*time.Millisecond)
	require.Eventually(t, func() bool { return s.whoami(token) == http.StatusOK }, 10*time.Second, 50*time.Millisecond)
	s.login("admin", canary)

	// A server that does not say a word is as good as dead.
	require.NoError(t, m.Signal(syscall.SIGSTOP))
	require.Eventually(t, func() bool {
		status, _ := s.call("GET", "/readyz", "", nil)
		return status == http.StatusServiceUnavailable
	}, 10*time.Second, 50*time.Millisecond)
	require.NoError(t, m.Signal(syscall.SIGCONT))
	require.Eventually(t, func() bool { status, _ := s.call("GET", "/readyz", "", nil); return status == 200 }, 10*time.Second, 50*time.Millisecond)
	stop()
	load.Wait()
	t.Log(seen)
	for what := range seen {
		_, status, _ := strings.Cut(what, " ")
		assert.Contains(t, []string{"200", "503"}, status)
	}
	s.stop()
	assert.Empty(t, s.stderr.String(), "what the driver has to say goes to the log")
	code, _, stderr := p.run(t, "", "user", "list", "--db", "mysql:root:canary@tcp(127.0.0.1:1)/x")
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "MySQL database x")
}

// The pool opens connections of its own accord, without the deadline of any caller: a server that takes them and says nothing may not hold it up.
func TestServerThatSaysNothing(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	for _, flag := range []string{"mysql:root@tcp(" + l.Addr().String() + ")/x", "postgres://x@" + l.Addr().String() + "/x?sslmode=disable"} {
		t.Run(flag[:5], func(t *testing.T) {
			t.Parallel()
			d, err := Database{DB: flag}.describe()
			require.NoError(t, err)
			kind, rest, _ := strings.Cut(flag, ":")
			if kind == "mysql" {
				err = d.openMySQL(rest, slog.New(slog.DiscardHandler))
			} else {
				err = d.openPostgres(rest)
			}
			require.NoError(t, err)
			t.Cleanup(func() { d.pool.Close() })
			answered := make(chan error, 1)
			go func() { answered <- d.pool.Ping() }()
			select {
			case err := <-answered:
				assert.Error(t, err)
			case <-time.After(4 * connectWithin):
				assert.Fail(t, "it waits for ever")
			}
		})
	}
}

// What the server is told on every connection, so that it ends by itself what a lost client has left.
func TestMariaDBSessionsEnd(t *testing.T) {
	m, err := drivertest.Shared()
	require.NoError(t, err)
	t.Cleanup(m.Stop)
	d, err := Database{DB: newDatabase(t, m)}.open(t.Context(), slog.New(slog.DiscardHandler), false)
	require.NoError(t, err)
	t.Cleanup(func() { d.pool.Close() })
	var version string
	var idle, waits, held int
	require.NoError(t, d.pool.QueryRow("SELECT VERSION(), @@wait_timeout, @@innodb_lock_wait_timeout").Scan(&version, &idle, &waits))
	assert.Equal(t, []int{60, 10}, []int{idle, waits})
	if strings.Contains(version, "MariaDB") {
		require.NoError(t, d.pool.QueryRow("SELECT @@idle_write_transaction_timeout").Scan(&held))
		assert.Equal(t, 5, held)
		for range 10 { // the driver sets them in any order
			own, err := Database{DB: newDatabase(t, m) + "?idle_write_transaction_timeout=30"}.open(t.Context(), slog.New(slog.DiscardHandler), false)
			require.NoError(t, err)
			t.Cleanup(func() { own.pool.Close() })
			require.NoError(t, own.pool.QueryRow("SELECT @@idle_write_transaction_timeout, @@innodb_lock_wait_timeout").Scan(&held, &waits))
			assert.Equal(t, []int{30, 10}, []int{held, waits}, "what is given goes first")
		}
	}
}
