package networktest

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/internal/drivertest"
	mysqlstore "github.com/userapi/userapi/store/mysql"
	"github.com/userapi/userapi/store/postgres"
	"github.com/userapi/userapi/verification/dummy"
)

// poolSize is less than there are callers, so that some wait for a connection.
const poolSize = 8

// store is what the stores of both servers are.
type store interface {
	userapi.Store
	Migrate(context.Context) error
}

// database is one of a server, as a host opens it through a proxy, and the server's own view of it.
type database struct {
	upstream string
	// open opens a pool that goes to an address, with the settings that docs/network.md asks for.
	open func(t testing.TB, host string, port int) (*sql.DB, store)
	// flag is what the program is told.
	flag        func(host string, port int) string
	connections string // a query: how many to this database the server knows of, but for this one
	idle        string // the same for those that are idle in a transaction; "" = it does not say
}

// engine is a kind of server.
type engine struct {
	name     string
	database func(t testing.TB) database
}

var (
	mariaDB    *drivertest.MariaDB
	postgreSQL *drivertest.Postgres
)

func TestMain(m *testing.M) {
	flag.Parse()
	// The tests wait for the network most of the time.
	err := flag.Set("test.parallel", "8")
	if err == nil {
		mariaDB, err = drivertest.Shared()
	}
	if err == nil {
		postgreSQL, err = drivertest.SharedPostgres()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	mariaDB.Stop()
	postgreSQL.Stop()
	if left := leaks(); code == 0 && len(left) > 0 {
		fmt.Fprintf(os.Stderr, "%d goroutines are left over:\n\n%s\n", len(left), left[0])
		code = 1
	}
	os.Exit(code)
}

var engines = []engine{
	{"MariaDB", func(t testing.TB) database {
		config := mariaDB.Database(t)
		var version string
		db := drivertest.Open(t, config)
		require.NoError(t, db.QueryRow("SELECT VERSION()").Scan(&version))
		require.NoError(t, db.Close())
		settings := map[string]string{"idle_write_transaction_timeout": "5", "innodb_lock_wait_timeout": "10"}
		if !strings.Contains(version, "MariaDB") {
			settings = map[string]string{"wait_timeout": "5", "innodb_lock_wait_timeout": "10"}
		}
		at := func(host string, port int) *mysql.Config {
			c := config.Clone()
			c.Addr = fmt.Sprintf("%s:%d", host, port)
			return c
		}
		return database{
			upstream: config.Addr,
			open: func(t testing.TB, host string, port int) (*sql.DB, store) {
				c := at(host, port)
				c.Timeout, c.ReadTimeout, c.WriteTimeout = 2*time.Second, 5*time.Second, 5*time.Second
				c.Params = settings
				db := drivertest.Open(t, c)
				db.SetMaxOpenConns(poolSize)
				db.SetMaxIdleConns(poolSize)
				return db, mysqlstore.New(db)
			},
			flag:        func(host string, port int) string { return "mysql:" + at(host, port).FormatDSN() },
			connections: `SELECT COUNT(*) FROM information_schema.processlist WHERE db = '` + config.DBName + `' AND id <> CONNECTION_ID()`,
		}
	}},
	{"PostgreSQL", func(t testing.TB) database {
		base, err := url.Parse(postgreSQL.Database(t))
		require.NoError(t, err)
		at := func(host string, port int) string {
			u := *base
			u.Host = host + ":" + strconv.Itoa(port)
			return u.String()
		}
		return database{
			upstream: base.Host,
			open: func(t testing.TB, host string, port int) (*sql.DB, store) {
				db := drivertest.OpenPostgres(t, "pgx", at(host, port)+"&connect_timeout=2")
				db.SetMaxOpenConns(poolSize)
				db.SetMaxIdleConns(poolSize)
				return db, postgres.New(db)
			},
			flag:        at,
			connections: `SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`,
			idle:        `SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'idle in transaction'`, // one that is aborted holds no lock
		}
	}},
}

// site is a database with two instances of a host: one reaches it through a proxy, the other, as the server itself, directly.
type site struct {
	t      *testing.T
	proxy  *proxy
	data   database
	pool   *sql.DB // through the proxy
	api    *userapi.API
	direct *sql.DB
	near   store
	other  *userapi.API
	mail   *dummy.Backend // of the one through the proxy
}

const password userapi.Secret = "seven green bottles"

func newSite(t *testing.T, e engine) *site {
	t.Helper()
	s := &site{t: t, data: e.database(t)}
	at, err := url.Parse("tcp://" + s.data.upstream)
	require.NoError(t, err)
	port, err := strconv.Atoi(at.Port())
	require.NoError(t, err)
	var far store
	s.direct, s.near = s.data.open(t, at.Hostname(), port)
	s.proxy = newProxy(t, s.data.upstream)
	host, port := s.proxy.address()
	s.pool, far = s.data.open(t, host, port)
	require.NoError(t, s.near.Migrate(t.Context()))
	s.mail = dummy.New()
	s.api, s.other = newAPI(t, far, s.mail), newAPI(t, s.near, nil)
	_, err = s.other.Bootstrap(t.Context(), userapi.Bootstrap{Username: "admin", Password: password})
	require.NoError(t, err)
	_, err = s.other.Roles.Create(t.Context(), userapi.System(), userapi.Role{Code: "editor", Name: "Editor"})
	require.NoError(t, err)
	return s
}

func newAPI(t testing.TB, st userapi.Store, mail userapi.Sender) *userapi.API {
	t.Helper()
	api, err := userapi.New(userapi.Config{
		Store: st, Verification: userapi.Verification{Mail: mail}, Secret: "a secret of more than thirty-two bytes, made for tests", Limits: userapi.Limits{}, SessionsPerUser: 1000,
		Password: userapi.PasswordPolicy{Argon2id: userapi.Argon2id{MemoryKiB: 64, Passes: 1, Threads: 1}},
	})
	require.NoError(t, err)
	return api
}

// count asks the server itself.
func (s *site) count(query string) int {
	s.t.Helper()
	var n int
	err := s.direct.QueryRow(query).Scan(&n)
	for range 3 { // MariaDB makes a file of the list of its connections, which may fail while they end
		if err != nil {
			err = s.direct.QueryRow(query).Scan(&n)
		}
	}
	require.NoError(s.t, err, query)
	return n
}

// unlocked reports whether nobody holds a lock.
func (s *site) unlocked() bool {
	for _, table := range []string{"customers", "users", "sessions"} {
		if _, err := s.direct.Exec("SELECT id FROM userapi_" + table + " FOR UPDATE NOWAIT"); err != nil {
			return false
		}
	}
	return s.data.idle == "" || s.count(s.data.idle) == 0
}

func each(t *testing.T, run func(t *testing.T, e engine)) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			run(t, e)
		})
	}
}
