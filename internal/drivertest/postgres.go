package drivertest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // "pgx"
)

// PostgresEnv names a server by a URL, whose user may create databases.
const PostgresEnv = "USERAPI_TEST_POSTGRES"

// Postgres is a running server.
type Postgres struct {
	url    url.URL
	dir    string // "" = somebody else's server
	keep   bool   // the data outlives the server
	args   []string
	as     *syscall.SysProcAttr
	port   int
	server *leased
	number atomic.Int64
}

// SharedPostgres is the server of PostgresEnv, or else a private one.
func SharedPostgres() (*Postgres, error) {
	env := os.Getenv(PostgresEnv)
	if env == "" {
		return PrivatePostgres()
	}
	at, err := url.Parse(env)
	if err != nil {
		return nil, fmt.Errorf("%s is no URL", PostgresEnv) // the error would repeat the password
	}
	return &Postgres{url: *at}, nil
}

// PrivatePostgres starts a server in a directory of its own, within a few seconds. Stop ends it.
func PrivatePostgres() (*Postgres, error) {
	dir, err := os.MkdirTemp("", "userapi-postgres-")
	if err != nil {
		return nil, err
	}
	p := &Postgres{dir: dir, args: []string{"-F"}} // nobody needs these data after a power cut
	return p, p.begin()
}

// PostgresIn starts a server with its data in dir, where they stay after Stop.
func PostgresIn(dir string, args ...string) (*Postgres, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	p := &Postgres{dir: dir, keep: true, args: args}
	return p, p.begin()
}

// begin makes the data, if there are none, and starts the server. It refuses to be root, so root lets nobody run it.
func (p *Postgres) begin() (err error) {
	defer func() {
		if err != nil && !p.keep {
			os.RemoveAll(p.dir)
		}
	}()
	p.as = &syscall.SysProcAttr{}
	if os.Geteuid() == 0 {
		nobody, err := user.Lookup("nobody")
		if err != nil {
			return err
		}
		uid, _ := strconv.Atoi(nobody.Uid)
		gid, _ := strconv.Atoi(nobody.Gid)
		p.as.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(p.dir, uid, gid); err != nil {
			return err
		}
	}
	if _, err := os.Stat(p.data()); err != nil {
		initdb, err := postgresProgram("initdb")
		if err != nil {
			return err
		}
		setup := exec.Command(initdb, "-D", p.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
		setup.SysProcAttr, setup.Dir = p.as, p.dir
		if out, err := setup.CombinedOutput(); err != nil {
			return fmt.Errorf("initdb: %w\n%s", err, out)
		}
	}
	if p.port, err = freePort(); err != nil {
		return err
	}
	p.url = url.URL{Scheme: "postgres", User: url.User("postgres"), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)), Path: "/postgres", RawQuery: "sslmode=disable"}
	return p.Start()
}

func (p *Postgres) data() string { return filepath.Join(p.dir, "data") }

// postgresProgram finds a program that Debian keeps out of the PATH.
func postgresProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) == 0 {
		return "", fmt.Errorf("these tests need PostgreSQL: install the package postgresql, or set %s to a server where databases may be created: %w", PostgresEnv, err)
	}
	return found[len(found)-1], nil
}

// Start starts a private server that was killed, on the same data and port.
func (p *Postgres) Start() error {
	program, err := postgresProgram("postgres")
	if err != nil {
		return err
	}
	args := append([]string{program, "-D", p.data(), "-p", strconv.Itoa(p.port), "-h", "127.0.0.1", "-k", p.dir, "-N", "300"}, p.args...)
	if p.server, err = lease(p.dir, p.as, syscall.SIGQUIT, args...); err != nil {
		return err
	}
	return p.server.answers("pgx", p.url.String())
}

// Kill ends a private server at once, as a crash does: it writes nothing any more, and begins with its log.
func (p *Postgres) Kill() error {
	if p.dir == "" {
		return errors.New("drivertest: this server is not ours to kill")
	}
	p.server.end()
	return nil
}

// Stop ends a private server and removes its data, if they are not to stay.
func (p *Postgres) Stop() {
	if p.dir == "" {
		return
	}
	p.server.end()
	if !p.keep {
		os.RemoveAll(p.dir)
	}
}

// URL says how to reach a database of the server.
func (p *Postgres) URL(name string) string {
	at := p.url
	at.Path = "/" + name
	return at.String()
}

// Database makes an empty database that lives as long as the test, and returns how to reach it.
func (p *Postgres) Database(t testing.TB) string {
	t.Helper()
	admin, err := sql.Open("pgx", p.url.String())
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("userapi_test_%d_%d", os.Getpid(), p.number.Add(1))
	if _, err := admin.Exec("CREATE DATABASE " + name + " TEMPLATE template0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_, _ = admin.ExecContext(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
		admin.Close()
	})
	return p.URL(name)
}

// OpenPostgres opens a pool that is closed at the end of the test.
func OpenPostgres(t testing.TB, driver, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, url)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(postgresConns)
	db.SetMaxIdleConns(postgresConns)
	t.Cleanup(func() { db.Close() })
	return db
}

const postgresConns = 24
