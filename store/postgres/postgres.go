// Package postgres keeps users in PostgreSQL.
//
// It imports no driver. The host opens the database with github.com/jackc/pgx/v5/stdlib or github.com/lib/pq and hands it over. The
// tables begin with "userapi_", so they live beside those of the host, in the schema that is the first of the search_path. Texts are
// ordered and compared as bytes and times are numbers, so no collation, time zone or isolation level of the host's changes a meaning.
//
// Nothing rests on a session: no lock, setting or prepared statement of ours outlives its transaction. So a pooler that gives each
// transaction another session (PgBouncer: pool_mode = transaction) may stand between, if the driver prepares nothing either: with pgx add
// default_query_exec_mode=exec to the URL, with lib/pq binary_parameters=yes (and ignore_startup_parameters = extra_float_digits to
// PgBouncer's settings). Leave plan_cache_mode at auto: a plan that is made without the arguments can make a page of users a hundred times slower.
//
// Where a network may stall take pgx: lib/pq ends no read when the deadline of its call has passed.
package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/store/internal/sqlstore"
)

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

// Store is a userapi.Store in a PostgreSQL database. Its methods may be called from any number of goroutines.
type Store struct{ *core }

var _ userapi.Store = (*Store)(nil)

// New makes a Store. The host keeps db and closes it after the last use of the Store. A connection is a process of the server: limit them
// (SetMaxOpenConns), and keep as many idle (SetMaxIdleConns), or they are opened anew for every burst. Give the URL connect_timeout: without
// it the pool may wait for ever for a server that takes a connection and says nothing.
func New(db *sql.DB) *Store {
	return &Store{sqlstore.New(db, dialect)}
}

// Migrate makes the tables or brings them up to date. Any number of processes may call it at once, also of two versions of this module:
// docs/migrations.md. It is an error when a newer version has taken away what this one needs, and when the encoding is not UTF8. The user needs
// CREATE on the schema, and has to own the tables, only if something is to be done.
func (s *Store) Migrate(ctx context.Context) error { return s.core.Migrate(ctx) }

// WithTx returns a store whose statements run in the host's transaction, for userapi's API.WithStore. It never retries, commits or rolls
// back: after an error part of a write may stand in the transaction, and most errors have aborted it, so the host has to roll it back (or
// back to a savepoint of its own), and after userapi.ErrUnavailable may try the whole of it again. Any isolation level will do; above READ
// COMMITTED that happens more often.
func (s *Store) WithTx(tx *sql.Tx) userapi.TxStore { return s.core.WithTx(tx, s) }

// Drop removes the tables of this module with all that is in them. It is an error when a newer version has made more of them.
func (s *Store) Drop(ctx context.Context) error { return s.core.Drop(ctx) }

var dialect = sqlstore.Dialect{
	Driver:     "postgres",
	Migrations: Migrations(),
	// Of the statement, and not clock_timestamp(): no index is searched for what changes while it is searched.
	Now: "FLOOR(EXTRACT(EPOCH FROM statement_timestamp()) * 1000)::BIGINT",
	// Share is not needed: where a host's transaction looks at an old snapshot, changing the row that a guard hangs on fails.
	Upsert:   func(key string) string { return "ON CONFLICT (" + key + ") DO UPDATE SET" },
	Excluded: func(column string) string { return "excluded." + column },
	Concat:   func(texts ...string) string { return "(" + strings.Join(texts, " || ") + ")" },
	Find:     func(text string) string { return "strpos(" + text + ", ?)" },
	Index:    func(string) string { return "" },
	Ping:     "SELECT 1",
	Begin:    begin,
	Fault:    fault,
	Violated: violated,
	Check:    check,
	Strict:   true,
	Aborts:   true,
	Stale:    true,
}

// begin does not take the host's isolation level: guards need to see what was committed while they waited for a row. Where the network is gone
// the server does not learn that nobody waits for a transaction any more, whose locks all nodes would wait for. So it ends one that hears nothing,
// and a statement that takes longer than any caller waits: of those that queue for a row each would get it, and keep it.
func begin(ctx context.Context, c *sql.Conn) error {
	_, err := c.ExecContext(ctx, beginWrite)
	return err
}

var beginWrite = fmt.Sprintf("BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = %d; SET LOCAL statement_timeout = %d",
	(userapi.WriteDeadline / 2).Milliseconds(), userapi.WriteDeadline.Milliseconds())

// answer is an error of the server's, in either driver.
type answer interface {
	error
	SQLState() string
}

// faults go by the code or by its class, the first two characters. What is not named here is a defect of ours or of the set-up.
var faults = map[string]sqlstore.Fault{
	"40":    sqlstore.Conflict, // serialization failure, deadlock
	"55P03": sqlstore.Conflict, // lock_timeout
	"42P07": sqlstore.Conflict, // of two that make a table where there is none, the other was faster
	"42710": sqlstore.Conflict, // the same, told of the table's type
	"08":    sqlstore.Lost,     // connection; PgBouncer says so too when its server is gone
	"25P03": sqlstore.Lost,     // idle in a transaction for too long
	"40003": sqlstore.Lost,     // nobody knows whether the statement completed
	"57P01": sqlstore.Lost,     // the server shuts down, or somebody ended the connection
	"57P02": sqlstore.Lost,     // the server crashed
	"57P03": sqlstore.Lost,     // it starts, or stops
	"57P05": sqlstore.Lost,     // idle for too long
	"25006": sqlstore.Down,     // read only, as a stand-by is
	"53":    sqlstore.Down,     // disk or memory full, too many connections
	"57014": sqlstore.Down,     // statement_timeout
	"57P04": sqlstore.Down,     // the database was dropped
	"58":    sqlstore.Down,     // the server's operating system
}

func fault(err error) sqlstore.Fault {
	var a answer
	switch {
	case !errors.As(err, &a) || len(a.SQLState()) != 5:
		if strings.Contains(err.Error(), "conn closed") { // pgx exports its value in a package of the driver
			return sqlstore.Lost
		}
		return sqlstore.ConnFault(err)
	case a.SQLState() == uniqueViolation && strings.Contains(a.Error(), "pg_"):
		return sqlstore.Conflict // the same as 42P07, in the server's own tables
	}
	if f, known := faults[a.SQLState()]; known {
		return f
	}
	return faults[a.SQLState()[:2]]
}

const uniqueViolation = "23505"

// constraint finds a name in a message, whose words and quotes depend on the server's language.
var constraint = regexp.MustCompile(`userapi_\w+?_(?:unique_(\w+)|pkey)`)

func violated(err error) string {
	var a answer
	if !errors.As(err, &a) {
		return ""
	}
	switch a.SQLState() {
	case "23503", "23001":
		return sqlstore.Reference
	case "54000":
		return sqlstore.Oversize
	case uniqueViolation:
		found := constraint.FindStringSubmatch(a.Error())
		switch {
		case found == nil:
			return "other"
		case found[1] == "":
			return "id"
		}
		return found[1]
	}
	return ""
}

func check(ctx context.Context, db *sql.DB) error {
	var encoding string
	if err := db.QueryRowContext(ctx, "SELECT current_setting('server_encoding')").Scan(&encoding); err != nil {
		return err
	}
	if encoding != "UTF8" {
		return fmt.Errorf("the database has the encoding %s: it has to be UTF8", encoding)
	}
	return nil
}
