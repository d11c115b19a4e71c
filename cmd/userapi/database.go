package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	sqlitedriver "modernc.org/sqlite"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/store/mysql"
	"github.com/userapi/userapi/store/postgres"
	"github.com/userapi/userapi/store/sqlite"
)

const (
	defaultFile = "userapi.db"

	// connectWithin bounds how long a start waits for the database.
	connectWithin = 5 * time.Second

	serverConns    = 32
	serverConnLife = 4 * time.Minute  // below the idle limits of usual proxies and servers
	serverConnIdle = 30 * time.Second // below what mysqlSession allows
)

// Database is the flag every command has.
type Database struct {
	DB string `name:"db" env:"USERAPI_DB" default:"sqlite:userapi.db" placeholder:"sqlite:PATH|mysql:DSN|postgres:URL" help:"Database: sqlite:PATH, mysql:USER:PASSWORD@tcp(HOST:PORT,...)/NAME with the nodes of a cluster in the order of preference, or postgres://USER:PASSWORD@HOST:PORT/NAME."`
}

// database is an open database.
type database struct {
	name  string // for people: without credentials
	file  string // of SQLite; else ""
	pool  *sql.DB
	nodes *mysql.Nodes // of a cluster; else nil
	store interface {
		userapi.Store
		Migrate(context.Context) error
		Drop(context.Context) error
		WithTx(*sql.Tx) userapi.TxStore
	}
}

// describe reads the flag and refuses what names no database, before anything is touched.
func (f Database) describe() (*database, error) {
	kind, rest, _ := strings.Cut(f.DB, ":")
	switch kind {
	case "sqlite":
		if rest == "" || strings.HasPrefix(rest, ":memory:") {
			return nil, wrongUsef("--db sqlite:PATH needs the path of a file")
		}
		return &database{name: "SQLite database " + rest, file: rest}, nil
	case "mysql":
		// The driver's own words may repeat a part of the password, so they are not shown.
		nodes, err := mysql.ParseNodes(rest)
		if err != nil || nodes[0].DBName == "" {
			return nil, wrongUsef("--db mysql:DSN needs USER:PASSWORD@tcp(HOST:PORT)/NAME, with the name of a database")
		}
		var addresses []string
		for _, node := range nodes {
			addresses = append(addresses, node.Addr)
		}
		return &database{name: fmt.Sprintf("MySQL database %s at %s", nodes[0].DBName, strings.Join(addresses, ", "))}, nil
	case "postgres", "postgresql":
		cfg, err := postgresConfig(rest)
		if err != nil || cfg.Database == "" {
			return nil, wrongUsef("--db postgres:URL needs postgres://USER:PASSWORD@HOST:PORT/NAME, with the name of a database")
		}
		addresses := []string{fmt.Sprintf("%s:%d", cfg.Host, cfg.Port)}
		for _, next := range cfg.Fallbacks { // with and without TLS
			addresses = append(addresses, fmt.Sprintf("%s:%d", next.Host, next.Port))
		}
		return &database{name: fmt.Sprintf("PostgreSQL database %s at %s", cfg.Database, strings.Join(slices.Compact(addresses), ", "))}, nil
	}
	return nil, wrongUsef("--db has to begin with sqlite:, mysql: or postgres:")
}

// open connects. With create a SQLite file is made where there is none.
func (f Database) open(ctx context.Context, log *slog.Logger, create bool) (*database, error) {
	d, err := f.describe()
	if err != nil {
		return nil, err
	}
	switch kind, rest, _ := strings.Cut(f.DB, ":"); kind {
	case "sqlite":
		err = d.openFile(create)
	case "mysql":
		err = d.openMySQL(rest, log)
	default:
		err = d.openPostgres(rest)
	}
	if err != nil {
		return nil, err
	}
	asking, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	err = d.pool.PingContext(asking)
	for busy(err) && asking.Err() == nil {
		time.Sleep(20 * time.Millisecond)
		err = d.pool.PingContext(asking)
	}
	if err != nil {
		d.pool.Close()
		return nil, fmt.Errorf("cannot reach the %s: %w", d.name, err)
	}
	return d, nil
}

// busy reports whether another process has the SQLite file locked. Where two make the file a write-ahead log at once,
// SQLite refuses one of them without waiting.
func busy(err error) bool {
	const sqliteBusy = 5 // the primary result code; extended ones have it in the low byte
	var refused *sqlitedriver.Error
	return errors.As(err, &refused) && refused.Code()&0xff == sqliteBusy
}

func (d *database) openFile(create bool) error {
	flags := os.O_RDWR
	if create {
		flags |= os.O_CREATE
	}
	// Password hashes are in it: nobody else on the machine needs to read it. SQLite gives its other files the same mode.
	file, err := os.OpenFile(d.file, flags, 0o600)
	if errors.Is(err, fs.ErrNotExist) && !create {
		return fmt.Errorf("there is no %s; init makes one", d.name)
	}
	if err != nil {
		return fmt.Errorf("cannot open the %s: %w", d.name, err)
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("cannot open the %s: %w", d.name, err)
	}
	d.pool, err = sql.Open("sqlite", sqlite.DSN(d.file))
	if err != nil {
		return fmt.Errorf("cannot open the %s: %w", d.name, err)
	}
	d.store = sqlite.New(d.pool)
	return nil
}

// mysqlSession has the server end what nobody waits for any more, with its locks: where the network is gone it does not learn that. MySQL does not know
// the last setting, and takes it for a comment.
var mysqlSession = map[string]string{
	"wait_timeout":             "60",
	"innodb_lock_wait_timeout": "10 /*M!100300 , idle_write_transaction_timeout = 5 */",
}

func (d *database) openMySQL(dsn string, log *slog.Logger) error {
	nodes, err := mysql.ParseNodes(dsn)
	if err != nil {
		return wrongUsef("--db mysql:DSN cannot be read")
	}
	for _, node := range nodes {
		// The driver would write plain text to standard error.
		node.Logger = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
		node.Timeout = cmp.Or(node.Timeout, connectWithin)
		settings := maps.Clone(mysqlSession)
		if _, given := node.Params["idle_write_transaction_timeout"]; given {
			settings["innodb_lock_wait_timeout"] = "10"
		}
		maps.Copy(settings, node.Params) // what is given goes first
		node.Params = settings
	}
	connector, err := mysql.NewNodes(nodes...)
	if err != nil {
		return fmt.Errorf("cannot open the %s: %w", d.name, err)
	}
	if len(nodes) > 1 {
		d.nodes = connector
	}
	d.pool = sql.OpenDB(connector)
	d.limitConns()
	d.store = mysql.New(d.pool)
	return nil
}

func (d *database) openPostgres(rest string) error {
	cfg, err := postgresConfig(rest)
	if err != nil {
		return wrongUsef("--db postgres:URL cannot be read")
	}
	d.pool = stdlib.OpenDB(*cfg)
	d.limitConns()
	d.store = postgres.New(d.pool)
	return nil
}

func (d *database) limitConns() {
	d.pool.SetMaxOpenConns(serverConns)
	d.pool.SetMaxIdleConns(serverConns)
	d.pool.SetConnMaxLifetime(serverConnLife)
	d.pool.SetConnMaxIdleTime(serverConnIdle)
}

// postgresConfig reads what is behind "postgres:": a URL, or the rest of the one that the flag is. The driver's own words may repeat a part
// of the password, so they are not shown.
func postgresConfig(rest string) (*pgx.ConnConfig, error) {
	if strings.HasPrefix(rest, "//") {
		rest = "postgres:" + rest
	}
	cfg, err := pgx.ParseConfig(rest)
	if err == nil && !strings.Contains(rest, "://") {
		err = errors.New("no URL")
	}
	if err != nil {
		return nil, err
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectWithin
	}
	return cfg, nil
}

func (d *database) migrate(ctx context.Context) error {
	if err := d.store.Migrate(ctx); err != nil {
		return fmt.Errorf("cannot bring the tables of the %s up to date: %w", d.name, err)
	}
	return nil
}

// api is the library for a command. A command issues and checks no token, so it needs no secret and makes one up.
func (d *database) api() (*userapi.API, error) {
	return userapi.New(userapi.Config{Store: d.store, Secret: userapi.Secret(rand.Text() + rand.Text())})
}

// use runs a command on a database that exists, with its tables up to date.
func (f Database) use(ctx context.Context, do func(api *userapi.API) error) error {
	return f.useStore(ctx, func(_ *database, api *userapi.API) error { return do(api) })
}

// useStore is use for a command that reads what no noun shows.
func (f Database) useStore(ctx context.Context, do func(d *database, api *userapi.API) error) error {
	d, err := f.open(ctx, slog.New(slog.DiscardHandler), false)
	if err != nil {
		return err
	}
	defer d.pool.Close()
	if err := d.migrate(ctx); err != nil {
		return err
	}
	api, err := d.api()
	if err != nil {
		return err
	}
	return do(d, api)
}
