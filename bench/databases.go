package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/internal/drivertest"
	"github.com/userapi/userapi/store/mysql"
	"github.com/userapi/userapi/store/postgres"
	"github.com/userapi/userapi/store/sqlite"
)

var dataDir = flag.String("data", filepath.Join(os.TempDir(), "userapi-bench"), "where filled databases are kept for the next run")

// filling is raised with whatever changes what is in the filled databases.
const filling = 1

// engine is a kind of database. open gives a database of its own by its name, migrated; fill runs where it is new.
type engine struct {
	name string
	open func(r *Run, database string) (*database, error)
}

type database struct {
	engine string
	db     *sql.DB
	store  interface {
		userapi.Store
		Migrate(context.Context) error
	}
	driver, dsn string
	file        string                    // of SQLite
	hint        func(index string) string // makes the planner use an index
	fresh       bool
	done        func() error // marks it as filled
	users       int
}

// connections is how many each database gets: as many as ask at once.
const connections = 64

var sqliteEngine = engine{"SQLite", func(r *Run, name string) (*database, error) {
	dir, err := r.data("sqlite")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, name+".db")
	mark := path + ".filled"
	d := &database{engine: "SQLite", driver: "sqlite", dsn: sqlite.DSN(path), file: path, hint: func(index string) string { return " INDEXED BY " + index }}
	if _, err := os.Stat(mark); err != nil {
		d.fresh = true
		for _, tail := range []string{"", "-wal", "-shm"} {
			_ = os.Remove(path + tail)
		}
	}
	d.done = func() error { return os.WriteFile(mark, nil, 0o600) }
	if d.db, err = sql.Open(d.driver, d.dsn); err != nil {
		return nil, err
	}
	d.store = sqlite.New(d.db)
	return d, d.ready(r)
}}

var mariaServer *drivertest.MariaDB

var mariaEngine = engine{"MariaDB", func(r *Run, name string) (*database, error) {
	if mariaServer == nil {
		dir, err := r.data("mariadb")
		if err != nil {
			return nil, err
		}
		args := []string{"--innodb-flush-log-at-trx-commit=1"}
		if !r.Short {
			args = append(args, "--innodb-buffer-pool-size=3G", "--innodb-log-file-size=512M")
		}
		if mariaServer, err = drivertest.In(dir, args...); err != nil {
			mariaServer = nil
			return nil, err
		}
		r.Cleanup(func() { mariaServer.Stop(); mariaServer = nil })
	}
	admin, err := sql.Open("mysql", mariaServer.Config("").FormatDSN())
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	d := &database{engine: "MariaDB", driver: "mysql", dsn: mariaServer.Config(name).FormatDSN(), hint: func(index string) string { return " FORCE INDEX (" + index + ")" }}
	var filled int
	if err := admin.QueryRow(`SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = ?`, name+"_filled").Scan(&filled); err != nil {
		return nil, err
	}
	if d.fresh = filled == 0; d.fresh {
		if _, err := admin.Exec("DROP DATABASE IF EXISTS " + name); err != nil {
			return nil, err
		}
	}
	if _, err := admin.Exec("CREATE DATABASE IF NOT EXISTS " + name); err != nil {
		return nil, err
	}
	d.done = func() error { _, err := d.db.Exec("CREATE DATABASE " + name + "_filled"); return err }
	if d.db, err = sql.Open(d.driver, d.dsn); err != nil {
		return nil, err
	}
	var version string
	if err := d.db.QueryRow("SELECT VERSION()").Scan(&version); err != nil {
		return nil, err
	}
	r.Version("MariaDB", version+", one server, innodb-flush-log-at-trx-commit=1, buffer pool 3 GiB")
	d.store = mysql.New(d.db)
	return d, d.ready(r)
}}

var postgresServer *drivertest.Postgres

var postgresEngine = engine{"PostgreSQL", func(r *Run, name string) (*database, error) {
	if postgresServer == nil {
		dir, err := r.data("postgres")
		if err != nil {
			return nil, err
		}
		args := []string{"-F"} // a short run is no measurement
		if !r.Short {
			if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil { // where root starts it, it runs as somebody else
				return nil, err
			}
			args = []string{"-c", "shared_buffers=3GB", "-c", "max_wal_size=4GB"}
		}
		if postgresServer, err = drivertest.PostgresIn(dir, args...); err != nil {
			postgresServer = nil
			return nil, err
		}
		r.Cleanup(func() { postgresServer.Stop(); postgresServer = nil })
	}
	admin, err := sql.Open("pgx", postgresServer.URL("postgres"))
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	d := &database{engine: "PostgreSQL", driver: "pgx", dsn: postgresServer.URL(name), hint: func(string) string { return "" }}
	there := func(name string) (n int, err error) {
		err = admin.QueryRow(`SELECT COUNT(*) FROM pg_database WHERE datname = $1`, name).Scan(&n)
		return n, err
	}
	filled, err := there(name + "_filled")
	if err != nil {
		return nil, err
	}
	if d.fresh = filled == 0; d.fresh {
		if _, err := admin.Exec("DROP DATABASE IF EXISTS " + name + " WITH (FORCE)"); err != nil {
			return nil, err
		}
		if _, err := admin.Exec("CREATE DATABASE " + name); err != nil {
			return nil, err
		}
	}
	d.done = func() error { _, err := d.db.Exec("CREATE DATABASE " + name + "_filled"); return err }
	if d.db, err = sql.Open(d.driver, d.dsn); err != nil {
		return nil, err
	}
	var version string
	if err := d.db.QueryRow("SHOW server_version").Scan(&version); err != nil {
		return nil, err
	}
	r.Version("PostgreSQL", version+", one server, fsync=on, synchronous_commit=on, shared_buffers 3 GiB")
	d.store = postgres.New(d.db)
	return d, d.ready(r)
}}

var engines = []engine{sqliteEngine, mariaEngine, postgresEngine}

// places writes the question marks of a query as the driver takes them.
func (d *database) places(query string) string {
	if d.driver != "pgx" {
		return query
	}
	var b strings.Builder
	for i, part := range strings.Split(query, "?") {
		if i > 0 {
			b.WriteString("$" + strconv.Itoa(i))
		}
		b.WriteString(part)
	}
	return b.String()
}

// data is a folder for databases: one that stays, or in a short run one that goes.
func (r *Run) data(kind string) (string, error) {
	if r.Short {
		dir, err := os.MkdirTemp("", "userapi-bench-")
		r.Cleanup(func() { _ = os.RemoveAll(dir) })
		return dir, err
	}
	dir := filepath.Join(*dataDir, kind)
	return dir, os.MkdirAll(dir, 0o700)
}

func (d *database) ready(r *Run) error {
	d.db.SetMaxOpenConns(connections)
	d.db.SetMaxIdleConns(connections)
	r.Cleanup(func() { _ = d.db.Close() })
	return d.store.Migrate(r)
}

// The tenants of a filled database. Half of the users are in the largest, the rest in a hundred others.
const (
	large = "large" // half of all users
	small = "small" // 500 users
)

// filled opens a database of n users, and fills it if it is new.
func (e engine) filled(r *Run, n int) (*database, error) {
	d, err := e.open(r, fmt.Sprintf("users_%d_%d", n, filling))
	if err != nil {
		return nil, err
	}
	if d.users = n; !d.fresh {
		return d, nil
	}
	log.Printf("%s: %s users are made, for this run and the next", e.name, count(float64(n)))
	if err := d.fill(r, n); err != nil {
		return nil, err
	}
	return d, d.done()
}

func userID(i int) string    { return fmt.Sprintf("0190%04x-%04x-7abc-8def-%012x", i>>16, i&0xffff, i) }
func sessionID(i int) string { return fmt.Sprintf("0191%04x-%04x-7abc-8def-%012x", i>>16, i&0xffff, i) }
func email(i int) string {
	return fmt.Sprintf("%s.%s.%d@%s.example", pick(first, i, 0), pick(last, i, 1), i, pick(last, i, 2))
}

// name and username are of different words, as those of people are.
func name(i int) string {
	if i%2 == 0 && i/2 == rare {
		return "quetzal quincunx"
	}
	return pick(first, i, 0) + " " + pick(last, i, 1)
}
func username(i int) string { return fmt.Sprintf("%s%d", pick(last, i, 3), i) }

// rare is half the number of a user of the large tenant whose name no other has: where the walk has come half the way.
const rare = 2_500

func pick(words []string, i, salt int) string {
	return words[rand.New(rand.NewPCG(uint64(i), uint64(salt))).IntN(len(words))]
}

var (
	first = strings.Fields("ada alan anna barbara bjarne brian carl dana dennis donald edsger emma erik frances fred grace hedy ida jean john julia karen ken leslie linus lois margaret maria niklaus paul radia richard rosa shafi sophie tim tony ursula vera whitfield")
	last  = strings.Fields("allen backus bartik berners booth brooks cerf church codd cohen curry dahl dijkstra diffie engelbart floyd gosling hamilton hoare hopper kahn kay kernighan knuth lamport liskov lovelace mccarthy meyer milner minsky naur perlis perlman postel ritchie rivest shannon sutherland thompson torvalds turing wirth")
)

func customerOf(i, n int) string {
	switch {
	case i%2 == 0:
		return large
	case i%(n/smallSize(n)) == 1:
		return small
	}
	return fmt.Sprintf("other%02d", i/2%100)
}

// smallSize is how many users are in the small tenant.
func smallSize(n int) int { return min(500, n/4) }

// fill puts n users, each with a session, an event and a counter, and every third with a role, into an empty database.
func (d *database) fill(ctx context.Context, n int) error {
	for _, id := range append([]string{large, small}, others()...) {
		if err := d.store.InsertCustomer(ctx, userapi.CustomerWrite{Customer: userapi.Customer{ID: id}, Event: event("customer " + id)}); err != nil {
			return err
		}
	}
	for _, code := range []string{"editor", "reader"} {
		if err := d.store.InsertRole(ctx, userapi.RoleWrite{Role: userapi.Role{ID: code, Code: code, Name: code}, Event: event("role " + code)}); err != nil {
			return err
		}
	}
	now := time.Now().UnixMilli()
	hash := "$argon2id$v=19$m=19456,t=2,p=1$c29tZSBzYWx0IGhlcmUhIQ$" + strings.Repeat("A", 43)
	tables := []struct {
		into string
		row  func(i int) []any
	}{
		{`userapi_users (id, customer_id, email, email_key, username, username_key, phone, verified_phone, name, first_name, last_name, name_key,
			active, email_verified, phone_verified, password_hash, must_change, epoch, version, login_count, last_login, created_at, updated_at)`, func(i int) []any {
			return []any{userID(i), customerOf(i, n), email(i), email(i), username(i), username(i), "", nil, name(i), "", "", name(i),
				1, 1, 0, hash, 0, now, 1, 0, now, now, now}
		}},
		{`userapi_user_roles (user_id, role_id)`, func(i int) []any {
			if i%3 > 0 {
				return nil
			}
			return []any{userID(i), "editor"}
		}},
		{`userapi_sessions (id, user_id, created_at, last_seen_at, expires_at, auth_time, methods, address, user_agent, step, counter, rotated_at)`, func(i int) []any {
			return []any{sessionID(i), userID(i), now, now + int64(i), now + 30*86400_000 + int64(i), now, "pwd", "198.51.100.17",
				"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "", 0, now}
		}},
		{`userapi_events (id, happened_at, kind, actor_kind, actor_id, actor_from, session_id, key_id, user_id, customer_id, address, user_agent, detail)`, func(i int) []any {
			return []any{"e" + userID(i), now, "login", "user", userID(i), "", sessionID(i), "", userID(i), customerOf(i, n), "198.51.100.17",
				"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", ""}
		}},
		// Of yesterday: those that live are read by every API that begins.
		{`userapi_revocations (id, kind, subject, below_epoch, written_at, expires_at)`, func(i int) []any {
			return []any{fmt.Sprintf("revocation%016d", i), 1, sessionID(i), 0, now - 2*86400_000, now - 86400_000}
		}},
		{`userapi_limits (limit_key, hits, streak, ends_at, kept_until)`, func(i int) []any {
			return []any{fmt.Sprintf("login:%s:%032x", userID(i), i), 1, 0, now + 86400_000, now + 86400_000 + int64(i)}
		}},
	}
	for _, t := range tables {
		began := time.Now()
		if err := d.insert(ctx, t.into, n, t.row); err != nil {
			return fmt.Errorf("%s: %w", t.into, err)
		}
		log.Printf("          %s %s: %.0f s", d.engine, strings.Fields(t.into)[0], time.Since(began).Seconds())
	}
	after := map[string]string{
		"sqlite": "PRAGMA wal_checkpoint(TRUNCATE)",
		"mysql":  "ANALYZE TABLE userapi_users, userapi_sessions, userapi_user_roles, userapi_events, userapi_limits, userapi_revocations",
		"pgx":    "VACUUM (ANALYZE)", // as autovacuum does soon: without it no index is read alone
	}
	_, err := d.db.ExecContext(ctx, after[d.driver])
	return err
}

func others() (ids []string) {
	for i := range 100 {
		ids = append(ids, fmt.Sprintf("other%02d", i))
	}
	return ids
}

// insert writes n rows, many in a statement and many statements in a transaction.
func (d *database) insert(ctx context.Context, into string, n int, row func(i int) []any) error {
	const rows, statements = 500, 40
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	var places []string
	var args []any
	written := 0
	flush := func() error {
		if len(places) == 0 {
			return nil
		}
		if _, err := tx.ExecContext(ctx, d.places("INSERT INTO "+into+" VALUES "+strings.Join(places, ", ")), args...); err != nil {
			return err
		}
		places, args = places[:0], args[:0]
		if written++; written%statements > 0 {
			return nil
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		tx, err = d.db.BeginTx(ctx, nil)
		return err
	}
	for i := range n {
		values := row(i)
		if values == nil {
			continue
		}
		places = append(places, "(?"+strings.Repeat(", ?", len(values)-1)+")")
		args = append(args, values...)
		if len(places) == rows {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return errors.Join(flush(), tx.Commit())
}

var events int

func event(what string) userapi.Event {
	events++
	return userapi.Event{ID: fmt.Sprintf("bench %s %d", what, events), At: time.Now(), Kind: userapi.EventUserUpdated, ActorKind: "system"}
}

// api makes an API on the database, with hashes that cost next to nothing.
func (d *database) api() (*userapi.API, error) {
	return userapi.New(userapi.Config{Store: d.store, Secret: secret, Password: userapi.PasswordPolicy{Argon2id: userapi.Argon2id{MemoryKiB: 64, Passes: 1, Threads: 1}}})
}

// admin is somebody who may list the users of a customer.
func (d *database) admin(ctx context.Context, api *userapi.API, customer string) (userapi.Actor, error) {
	none := userapi.Actor{}
	if _, err := api.Roles.Create(ctx, userapi.System(), userapi.Role{ID: "admin", Code: "admin", Name: "Admin"}); err != nil && !errors.Is(err, userapi.ErrIDTaken) && !errors.Is(err, userapi.ErrRoleTaken) {
		return none, err
	}
	u, err := api.Users.ByUsername(ctx, userapi.System(), "admin of "+customer)
	if errors.Is(err, userapi.ErrNotFound) {
		u, err = api.Users.Create(ctx, userapi.System(), userapi.NewUser{
			ID: "zz-admin-" + customer, Username: "admin of " + customer, Active: true, CustomerID: customer, Roles: []userapi.RoleRef{{Code: "admin"}},
		})
	}
	if err != nil {
		return none, err
	}
	_, tokens, err := api.Auth.IssueTokens(ctx, userapi.System(), u.ID, "pwd")
	if err != nil {
		return none, err
	}
	id, err := api.Auth.Authenticate(ctx, string(tokens.Access))
	if err != nil {
		return none, err
	}
	return id.Actor(), nil
}

// recorded is the database through connections that write down what they are asked.
type recorded struct {
	*database
	connector *drivertest.Connector
}

func (d *database) recorded(r *Run) (recorded, error) {
	c, err := drivertest.NewConnector(d.driver, d.dsn)
	if err != nil {
		return recorded{}, err
	}
	again := *d
	again.db = sql.OpenDB(c)
	switch d.driver {
	case "sqlite":
		again.store = sqlite.New(again.db)
	case "pgx":
		again.store = postgres.New(again.db)
	default:
		again.store = mysql.New(again.db)
	}
	r.Cleanup(func() { _ = again.db.Close() })
	return recorded{&again, c}, nil
}

// statements is how many statements on our tables do asks; that of transactions is told by times.
func (d recorded) statements(do func() error) (n int) {
	d.connector.Record(func() { _ = do() })
	for query, times := range d.connector.Times() {
		if strings.Contains(query, "userapi_") {
			n += times
		}
	}
	return n
}
