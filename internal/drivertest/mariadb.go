// Package drivertest is what only tests with a SQL database need: MariaDB and PostgreSQL servers of their own, and connections that
// break when they are told to.
package drivertest

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

// Env names a server by a go-sql-driver data source name, whose user may create databases.
const Env = "USERAPI_TEST_MYSQL"

// MariaDB is a running server.
type MariaDB struct {
	config *mysql.Config
	dir    string // "" = somebody else's server
	keep   bool   // the data outlives the server
	args   []string
	port   int
	server *leased
	number atomic.Int64
	as     string // see account
}

// Shared is the server of Env, or else a private one.
func Shared() (*MariaDB, error) {
	dsn := os.Getenv(Env)
	if dsn == "" {
		return Private()
	}
	config, err := mysql.ParseDSN(dsn)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", Env, err)
	}
	return &MariaDB{config: config}, nil
}

// Private starts a server in a directory of its own, within a second or two. Stop ends it.
func Private() (*MariaDB, error) {
	dir, err := os.MkdirTemp("", "userapi-mariadb-")
	if err != nil {
		return nil, err
	}
	m := &MariaDB{dir: dir, args: []string{"--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=128M"}}
	return m, m.begin()
}

// In starts a server with its data in dir, where they stay after Stop.
func In(dir string, args ...string) (*MariaDB, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	m := &MariaDB{dir: dir, keep: true, args: args}
	return m, m.begin()
}

// begin makes the data, if there are none, and starts the server.
func (m *MariaDB) begin() (err error) {
	defer func() {
		if err != nil && !m.keep {
			os.RemoveAll(m.dir)
		}
	}()
	for _, program := range []string{"mariadb-install-db", "mariadbd"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("these tests need MariaDB: install the package mariadb-server, or set %s to a server where databases may be created: %w", Env, err)
		}
	}
	if _, err := os.Stat(m.data()); err != nil {
		out, err := exec.Command("mariadb-install-db", "--no-defaults", "--datadir="+m.data(), "--tmpdir="+m.dir, "--user="+m.account(),
			"--auth-root-authentication-method=normal", "--skip-test-db").CombinedOutput()
		if err != nil {
			return fmt.Errorf("mariadb-install-db: %w\n%s", err, out)
		}
	}
	if m.port, err = freePort(); err != nil {
		return err
	}
	return m.Start()
}

// account is the system's user that a server runs as, where it may choose.
func (m *MariaDB) account() string { return cmp.Or(m.as, "root") }

func (m *MariaDB) data() string { return filepath.Join(m.dir, "data") }

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// Start starts a private server that was killed, on the same data and port.
func (m *MariaDB) Start() error {
	// Each has its own tmpdir: what others have there a server removes when it starts.
	args := append([]string{"mariadbd", "--no-defaults", "--datadir=" + m.data(), "--socket=" + filepath.Join(m.dir, "s"), "--tmpdir=" + m.dir,
		"--port=" + strconv.Itoa(m.port), "--bind-address=127.0.0.1", "--user=" + m.account(), "--skip-name-resolve", "--max-connections=500"}, m.args...)
	var err error
	if m.server, err = lease(m.dir, nil, syscall.SIGKILL, args...); err != nil {
		return err
	}
	m.config = mysql.NewConfig()
	m.config.User, m.config.Net, m.config.Addr = "root", "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(m.port))
	return m.server.answers("mysql", m.config.FormatDSN())
}

// Kill ends a private server at once, as a crash does.
func (m *MariaDB) Kill() error {
	if m.dir == "" {
		return errors.New("drivertest: this server is not ours to kill")
	}
	m.server.end()
	return nil
}

// Signal sends a signal to a private server.
func (m *MariaDB) Signal(signal syscall.Signal) error {
	if m.dir == "" {
		return errors.New("drivertest: this server is not ours to signal")
	}
	return syscall.Kill(m.server.pid, signal)
}

// Stop ends a private server and removes its data, if they are not to stay.
func (m *MariaDB) Stop() {
	if m.dir == "" {
		return
	}
	m.server.end()
	if !m.keep {
		os.RemoveAll(m.dir)
	}
}

// Config says how to reach a database of the server.
func (m *MariaDB) Config(name string) *mysql.Config {
	config := m.config.Clone()
	config.DBName = name
	return config
}

// Database makes an empty database that lives as long as the test, and returns how to reach it.
func (m *MariaDB) Database(t testing.TB) *mysql.Config {
	t.Helper()
	admin, err := sql.Open("mysql", m.config.FormatDSN())
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("userapi_test_%d_%d", os.Getpid(), m.number.Add(1))
	if _, err := admin.Exec("CREATE DATABASE " + name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_, _ = admin.ExecContext(ctx, "DROP DATABASE IF EXISTS "+name)
		admin.Close()
	})
	config := m.config.Clone()
	config.DBName = name
	config.Logger = &mysql.NopLogger{} // connections break here on purpose
	return config
}

// Open opens a pool that is closed at the end of the test.
func Open(t testing.TB, config *mysql.Config) *sql.DB {
	t.Helper()
	connector, err := mysql.NewConnector(config)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { db.Close() })
	return db
}
