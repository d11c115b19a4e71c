// Package mysql keeps users in MySQL, MariaDB or a Galera cluster of them.
//
// It works with any data source name: texts are stored and compared as bytes and times as numbers, so no collation, time zone or
// setting such as clientFoundRows or parseTime changes a meaning. The tables begin with "userapi_", so they live
// beside those of the host.
//
// The nodes of a cluster are given to NewNodes. A pool that is opened by other means needs wsrep_sync_wait=7 in the data source name there, or it may
// not see what another node has just acknowledged.
package mysql

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"

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

// Store is a userapi.Store in a MySQL or MariaDB database. Its methods may be called from any number of goroutines.
type Store struct{ *core }

var _ userapi.Store = (*Store)(nil)

// New makes a Store. The host keeps db and closes it after the last use of the Store. The Store prepares what it reads,
// at most 64 statements on each connection. Give the data source name timeout and readTimeout: without them the pool may wait for
// ever for a server that takes a connection and says nothing. docs/network.md tells what else helps where networks fail.
func New(db *sql.DB) *Store {
	return &Store{sqlstore.New(db, dialect)}
}

// Migrate makes the tables or brings them up to date. Any number of processes, on any node of a cluster, may call it at
// once, also of two versions of this module: docs/migrations.md. It is an error when a newer version has taken away what this one needs, and when
// the connections do not commit by themselves (autocommit=0). The user needs CREATE, ALTER, DROP, INDEX and REFERENCES only if something is to be
// done.
func (s *Store) Migrate(ctx context.Context) error { return s.core.Migrate(ctx) }

// WithTx returns a store whose statements run in the host's transaction, for userapi's API.WithStore. It never retries,
// commits or rolls back, and sets no savepoint: after an error part of a write may stand in the transaction, so the
// host has to roll it back, and after userapi.ErrUnavailable may try the whole of it again.
//
// On a Galera cluster the host opens its database with interpolateParams=true (as ParseNodes does), or prepares its own SELECTs before it begins: a
// transaction that is aborted while one is being prepared in it is not told so, and its other half is committed.
func (s *Store) WithTx(tx *sql.Tx) userapi.TxStore { return s.core.WithTx(tx, s) }

// Drop removes the tables of this module with all that is in them. It is an error when a newer version has made more of them.
func (s *Store) Drop(ctx context.Context) error { return s.core.Drop(ctx) }

var dialect = sqlstore.Dialect{
	Driver:     "mysql",
	Migrations: Migrations(),
	Now:        "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000",
	Share:      " LOCK IN SHARE MODE",
	Upsert:     func(string) string { return "ON DUPLICATE KEY UPDATE" },
	Excluded:   func(column string) string { return "VALUES(" + column + ")" },
	Concat:     func(texts ...string) string { return "CONCAT(" + strings.Join(texts, ", ") + ")" },
	Find:       func(text string) string { return "INSTR(" + text + ", ?)" },
	Returning:  returning,
	// Without it the planner walks a whole tenant for the first page of it.
	Index:    func(name string) string { return " FORCE INDEX (" + name + ")" },
	Ping:     ping,
	Begin:    begin,
	Fault:    fault,
	Violated: violated,
	Check:    check,
	Repeated: repeated,
	Binary:   true,
	Prepared: true,
}

// ping fails on a node that has left its cluster, which answers a SELECT without tables.
const ping = "DO 1"

// begin does not take the host's isolation level: guards need to see what was committed while they waited for a row.
func begin(ctx context.Context, c *sql.Conn) error {
	if _, err := c.ExecContext(ctx, "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"); err != nil {
		return err
	}
	_, err := c.ExecContext(ctx, "START TRANSACTION")
	return err
}

// returning tells MariaDB, which can since 10.5, from MySQL.
func returning(ctx context.Context, db *sql.DB) (bool, error) {
	var version string
	if err := db.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version); err != nil {
		return false, err
	}
	var major, minor int
	n, _ := fmt.Sscanf(version, "%d.%d", &major, &minor)
	return n == 2 && strings.Contains(version, "MariaDB") && (major > 10 || major == 10 && minor >= 5), nil
}

// The server's error numbers. What is not named here is a defect of ours or of the set-up.
var (
	conflicts = []uint16{
		1020, // record has changed since last read
		1205, // lock wait timeout
		1213, // deadlock; on a cluster also from COMMIT
		1412, // the table was altered since the transaction's snapshot
		1615, // the table was altered again and again while a statement was prepared anew for it
	}
	lost = []uint16{
		1047,                                           // the node is not ready: it has left its cluster
		1053,                                           // server shutdown
		1077, 1079, 1080, 1152, 1158, 1159, 1160, 1161, // the connection was ended
		1180, // error during COMMIT: a node that has just left its cluster
		1927, // connection was killed
		4031, // disconnected for inactivity
	}
	down = []uint16{
		1021, 1037, 1041, 1114, // disk or memory full
		1040, 1129, 1203, 1226, // too many connections
		1290, 1792, 1836, // read only
		1317, 1969, 3024, // the query was interrupted
	}
)

// repeated: MySQL knows no ADD COLUMN IF NOT EXISTS, and neither that for an index.
func repeated(err error) bool {
	var answer *mysql.MySQLError
	return errors.As(err, &answer) && (answer.Number == 1060 || answer.Number == 1061 || answer.Number == 1091) // a column, an index; gone already
}

func fault(err error) sqlstore.Fault {
	var answer *mysql.MySQLError
	switch {
	case errors.Is(err, mysql.ErrInvalidConn), errors.Is(err, mysql.ErrMalformPkt), errors.Is(err, mysql.ErrBusyBuffer):
		return sqlstore.Lost
	case !errors.As(err, &answer):
		return sqlstore.ConnFault(err)
	case slices.Contains(conflicts, answer.Number):
		return sqlstore.Conflict
	case slices.Contains(lost, answer.Number):
		return sqlstore.Lost
	case slices.Contains(down, answer.Number):
		return sqlstore.Down
	}
	return sqlstore.Defect
}

// violated finds the key's name: the last word in quotes, in every language the server may speak. MySQL puts the table in
// front of it.
func violated(err error) string {
	var answer *mysql.MySQLError
	if !errors.As(err, &answer) {
		return ""
	}
	switch answer.Number {
	case 1451, 1452:
		return sqlstore.Reference
	case 1062, 1586:
		words := strings.Split(answer.Message, "'")
		if len(words) < 3 {
			return ""
		}
		key := words[len(words)-2]
		key = key[strings.LastIndexByte(key, '.')+1:]
		if key == "PRIMARY" {
			return "id"
		}
		return key
	}
	return ""
}

func check(ctx context.Context, db *sql.DB) error {
	var autocommit int
	if err := db.QueryRowContext(ctx, "SELECT @@autocommit").Scan(&autocommit); err != nil {
		return err
	}
	if autocommit == 0 {
		return errors.New("the connections have to commit by themselves: remove autocommit=0")
	}
	return nil
}
