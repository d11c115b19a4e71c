package main

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// mariaDB is a private server, shared by the tests; its databases are not.
type mariaDB struct {
	dir, port string
	cmd       *exec.Cmd
	databases int
}

var (
	mariaMu  sync.Mutex
	theMaria *mariaDB
)

// startMariaDB starts the server at the first call.
func startMariaDB(t *testing.T) *mariaDB {
	t.Helper()
	mariaMu.Lock()
	defer mariaMu.Unlock()
	if theMaria != nil {
		return theMaria
	}
	for _, program := range []string{"mariadb-install-db", "mariadbd"} {
		_, err := exec.LookPath(program)
		require.NoError(t, err, "these tests need MariaDB: install the package mariadb-server")
	}
	dir, err := os.MkdirTemp("", "userapi-mariadb-")
	require.NoError(t, err)
	m := &mariaDB{dir: dir}
	theMaria = m
	out, err := exec.Command("mariadb-install-db", "--no-defaults", "--datadir="+filepath.Join(dir, "data"), "--user=root",
		"--auth-root-authentication-method=normal", "--skip-test-db").CombinedOutput()
	require.NoError(t, err, string(out))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, m.port, _ = net.SplitHostPort(l.Addr().String())
	require.NoError(t, l.Close())
	m.start(t)
	return m
}

func (m *mariaDB) start(t *testing.T) {
	t.Helper()
	m.cmd = exec.Command("mariadbd", "--no-defaults", "--datadir="+filepath.Join(m.dir, "data"), "--socket="+filepath.Join(m.dir, "s"),
		"--port="+m.port, "--bind-address=127.0.0.1", "--user=root", "--skip-name-resolve", "--innodb-flush-log-at-trx-commit=2")
	require.NoError(t, m.cmd.Start())
	db := m.open(t)
	defer db.Close()
	require.Eventually(t, func() bool { return db.PingContext(t.Context()) == nil }, 30*time.Second, 50*time.Millisecond)
}

// kill ends the server at once, as a crash does.
func (m *mariaDB) kill() {
	_ = m.cmd.Process.Kill()
	_ = m.cmd.Wait()
}

func stopMariaDB() {
	if theMaria != nil {
		if theMaria.cmd != nil {
			theMaria.kill()
		}
		os.RemoveAll(theMaria.dir)
	}
}

func (m *mariaDB) open(t *testing.T) *sql.DB {
	t.Helper()
	cfg, err := mysqldriver.ParseDSN("root@tcp(127.0.0.1:" + m.port + ")/")
	require.NoError(t, err)
	cfg.Logger = &mysqldriver.NopLogger{} // it is expected not to answer at first
	connector, err := mysqldriver.NewConnector(cfg)
	require.NoError(t, err)
	return sql.OpenDB(connector)
}

// database makes a database and its user, and returns the --db that reaches it.
func (m *mariaDB) database(t *testing.T) string {
	t.Helper()
	mariaMu.Lock()
	m.databases++
	name := fmt.Sprintf("program%d", m.databases)
	mariaMu.Unlock()
	db := m.open(t)
	defer db.Close()
	for _, query := range []string{"CREATE DATABASE %[1]s", "CREATE USER %[1]s@'127.0.0.1' IDENTIFIED BY '%[2]s'", "GRANT ALL ON %[1]s.* TO %[1]s@'127.0.0.1'"} {
		_, err := db.Exec(fmt.Sprintf(query, name, canary))
		require.NoError(t, err)
	}
	return fmt.Sprintf("mysql:%s:%s@tcp(127.0.0.1:%s)/%s", name, canary, m.port, name)
}

func TestTwoServersOnOneMariaDB(t *testing.T) {
	db := startMariaDB(t).database(t)
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

// A database that dies under load and comes back: until then 503, never 500, and afterwards all is as it was.
func TestMariaDBDiesAndComesBack(t *testing.T) {
	m := startMariaDB(t)
	p := newPlace(t, "USERAPI_SECRET="+secretA, "USERAPI_DB="+m.database(t), "USERAPI_ADMIN_PASSWORD="+canary)
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
	m.kill()
	require.Eventually(t, func() bool { status, _ := s.call("GET", "/readyz", "", nil); return status == 503 }, 10*time.Second, 50*time.Millisecond)
	status, _ := s.call("GET", "/healthz", "", nil)
	assert.Equal(t, http.StatusOK, status, "the program itself is well")
	time.Sleep(time.Second)
	m.start(t)
	require.Eventually(t, func() bool { status, _ := s.call("GET", "/readyz", "", nil); return status == 200 }, 10*time.Second, 50*time.Millisecond)
	require.Eventually(t, func() bool { return s.whoami(token) == http.StatusOK }, 10*time.Second, 50*time.Millisecond)
	s.login("admin", canary)

	// A server that does not say a word is as good as dead.
	require.NoError(t, m.cmd.Process.Signal(syscall.SIGSTOP))
	require.Eventually(t, func() bool {
		begin := time.Now()
		status, _ := s.call("GET", "/readyz", "", nil)
		assert.Less(t, time.Since(begin), 4*time.Second)
		return status == http.StatusServiceUnavailable
	}, 10*time.Second, 50*time.Millisecond)
	require.NoError(t, m.cmd.Process.Signal(syscall.SIGCONT))
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
