// Package sqlite keeps users in a SQLite file: the embedded default.
//
// It imports no driver. The host opens the database with modernc.org/sqlite or github.com/mattn/go-sqlite3 and hands it
// over; DSN gives the settings that fit. The tables begin with "userapi_", so they live beside those of the host.
//
// SQLite lets one connection write at a time. Within a process the Store lets one write after the other, so nobody
// starves; between processes SQLite's own lock decides, and a write waits for it at most userapi.WriteDeadline.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"regexp"
	"strings"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/store/internal/sqlstore"
)

// DSN is the data source name of a file, relative or absolute, for either driver: it waits 5 s for locks, checks foreign keys,
// keeps a write-ahead log so that readers and the writer do not block each other, and lets a transaction that
// (*sql.DB).BeginTx begins lock at once: one that begins reading and then writes fails whenever another wrote meanwhile.
func DSN(path string) string {
	settings := url.Values{
		"_busy_timeout": {"5000"}, "_foreign_keys": {"1"}, "_journal_mode": {"WAL"}, "_txlock": {"immediate"},
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + settings.Encode()
}

//go:embed migrations/*.sql
var files embed.FS

// Migrations are the files that Migrate applies, for hosts that run migrations with a tool of their own: docs/migrations.md. One called
// NNNN_…_needs_MMMM.sql takes something away that programs without the file MMMM need.
func Migrations() fs.FS {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		panic(err) // the name is a constant
	}
	return sub
}

type core = sqlstore.Store

// Store is a userapi.Store in a SQLite database. Its methods may be called from any number of goroutines.
type Store struct{ *core }

var _ userapi.Store = (*Store)(nil)

// New makes a Store. The host keeps db and closes it after the last use of the Store. One Store for each db.
func New(db *sql.DB) *Store {
	return &Store{sqlstore.New(db, dialect)}
}

// Migrate makes the tables or brings them up to date. Any number of processes may call it at once, also of two versions of
// this module: docs/migrations.md. It is an error when a newer version has taken away what this one needs, and when db is a
// pool of in-memory databases, which are empty for every new connection: use a file, or SetMaxOpenConns(1).
func (s *Store) Migrate(ctx context.Context) error { return s.core.Migrate(ctx) }

// WithTx returns a store whose statements run in the host's transaction, for userapi's API.WithStore. It never retries,
// commits or rolls back, and sets no savepoint: after an error part of a write may stand in the transaction, so the
// host has to roll it back. The host begins the transaction immediate (DSN sees to that) and does not use the Store
// itself before the end of it: that would wait for the lock.
func (s *Store) WithTx(tx *sql.Tx) userapi.TxStore { return s.core.WithTx(tx, s) }

// Drop removes the tables of this module with all that is in them. It is an error when a newer version has made more of them.
func (s *Store) Drop(ctx context.Context) error { return s.core.Drop(ctx) }

var dialect = sqlstore.Dialect{
	Driver:     "sqlite3",
	Migrations: Migrations(),
	Now:        "CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)",
	Upsert:     func(key string) string { return "ON CONFLICT (" + key + ") DO UPDATE SET" },
	Excluded:   func(column string) string { return "excluded." + column },
	Concat:     func(texts ...string) string { return "(" + strings.Join(texts, " || ") + ")" },
	Find:       func(text string) string { return "INSTR(" + text + ", ?)" },
	Index:      index,
	Ping:       "SELECT 1",
	Begin:      begin,
	Fault:      fault,
	Violated:   violated,
	Check:      check,
	Repeated:   repeated,
	Embedded:   true,
	Prepared:   true,
}

// begin takes the lock for writing, or fails soon: SQLite waits for it without looking at the context, so the Store
// waits instead. What the host chose for the connection comes back.
func begin(ctx context.Context, c *sql.Conn) error {
	var wait int
	if err := c.QueryRowContext(ctx, "PRAGMA busy_timeout").Scan(&wait); err != nil {
		return err
	}
	back := fmt.Sprintf("PRAGMA busy_timeout = %d", wait)
	_, err := c.ExecContext(ctx, "PRAGMA busy_timeout = 10; BEGIN IMMEDIATE; "+back)
	if err != nil {
		_, _ = c.ExecContext(context.WithoutCancel(ctx), back)
	}
	return err
}

// index names the index: the planner guesses from statistics that a host may never have gathered.
func index(name string) string {
	if name == "PRIMARY" {
		return ""
	}
	return " INDEXED BY " + name
}

// repeated: there is no ADD COLUMN IF NOT EXISTS. Only DROP COLUMN quotes the name that it does not find.
func repeated(err error) bool {
	return strings.Contains(err.Error(), "duplicate column name: ") || strings.Contains(err.Error(), `no such column: "`)
}

// fault goes by SQLite's own words: each driver has an error type of its own, and none is imported here.
func fault(err error) sqlstore.Fault {
	text := err.Error()
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(text, w) {
				return true
			}
		}
		return false
	}
	switch {
	case has("database is locked", "database table is locked", "database schema is locked", "SQLITE_BUSY", "SQLITE_LOCKED"):
		return sqlstore.Conflict
	case has("disk I/O error", "database or disk is full", "unable to open database file", "attempt to write a readonly database",
		"out of memory"):
		return sqlstore.Down
	}
	return sqlstore.ConnFault(err)
}

var unique = regexp.MustCompile(`UNIQUE constraint failed: \w+\.(\w+)`)

func violated(err error) string {
	text := err.Error()
	if found := unique.FindStringSubmatch(text); found != nil {
		return found[1]
	}
	if strings.Contains(text, "FOREIGN KEY constraint failed") {
		return sqlstore.Reference
	}
	return ""
}

func check(ctx context.Context, db *sql.DB) error {
	var number int
	var name, file sql.NullString
	if err := db.QueryRowContext(ctx, "SELECT seq, name, file FROM pragma_database_list WHERE name = 'main'").Scan(&number, &name, &file); err != nil {
		return err
	}
	if file.String == "" && db.Stats().MaxOpenConnections != 1 {
		return errors.New("an in-memory SQLite database is another one on each connection: use a file or SetMaxOpenConns(1)")
	}
	return nil
}
