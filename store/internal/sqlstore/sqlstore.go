// Package sqlstore keeps users in a SQL database. It is the one copy of the SQL and of the rules about transactions,
// retries and time limits; what differs between databases stands in a Dialect.
package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/userapi/userapi"
)

// readDeadline bounds every read, retries included.
const readDeadline = 5 * time.Second

// Dialect is what one kind of database does in its own way.
type Dialect struct {
	Driver     string // a driver's name that sqlx knows: it decides about placeholders
	Migrations fs.FS  // see Migrate
	Now        string // expression: Unix milliseconds by the database's clock
	Share      string // tail of a SELECT that makes it a locking read; "" = not needed
	Ping       string // a statement that only a database which serves can do

	Upsert   func(key string) string      // what stands between INSERT and the assignments of an upsert
	Excluded func(column string) string   // the value that the upsert would have inserted
	Concat   func(texts ...string) string // expression: its arguments, joined
	Find     func(text string) string     // expression: where its argument begins in a text, 0 = nowhere
	// Returning reports whether this server's INSERT can return the rows as they are then; nil = it can.
	Returning func(ctx context.Context, db *sql.DB) (bool, error)
	// Index is a hint behind a table that makes the planner use an index: for pages, and for writes, which lock what they
	// go through. Two that reach a row by different indexes can wait for each other.
	Index func(name string) string

	Begin    func(ctx context.Context, c *sql.Conn) error // begins a transaction for writing
	Fault    func(err error) Fault                        // what an error says about the transaction
	Violated func(err error) string                       // the column of the unique key err is about, Reference, Oversize, or ""
	Check    func(ctx context.Context, db *sql.DB) error  // refuses a database that cannot work
	Repeated func(err error) bool                         // err says that a step ran before; nil = steps ask for that themselves, by IF NOT EXISTS

	Embedded bool // a file of this process: one writer at a time, and a COMMIT is never in doubt
	Binary   bool // texts are columns of bytes, so they are passed as bytes
	Strict   bool // a number takes no truth value, and a text neither NUL nor invalid UTF-8
	Aborts   bool // an error is the end of its transaction, but for a savepoint
	// Stale: what a statement reads beside the row that it waited for and changes is as it was before it waited.
	Stale    bool
	Prepared bool // what goes to the pool is prepared once: it saves parsing and round trips
}

// What Dialect.Violated calls a foreign key, and a row that does not fit into an index.
const (
	Reference = "reference"
	Oversize  = "oversize"
)

// Fault says what is left of a transaction after an error.
type Fault uint8

const (
	Defect   Fault = iota // nobody knows this error: it is passed on
	Conflict              // rolled back or not begun, because of others: repeat it
	Lost                  // the connection is gone; if that was at COMMIT, nobody knows what became of it
	Down                  // the database answers, but does not serve now
)

// Store is a userapi.Store on a SQL database, or on one transaction of the host.
type Store struct {
	d      Dialect
	db     *sqlx.DB
	reads  conn       // the pool
	host   *conn      // the host's transaction, else nil
	writer chan *turn // of an embedded database: who holds the turn writes

	returns *atomic.Pointer[bool] // what Dialect.Returning said
}

// New makes a Store. It does not touch the database.
func New(db *sql.DB, d Dialect) *Store {
	x := sqlx.NewDb(db, d.Driver)
	s := &Store{d: d, db: x, returns: new(atomic.Pointer[bool])}
	s.reads = s.on(x)
	if d.Prepared {
		s.reads.prepared = &statements{db: x}
	}
	if d.Embedded {
		s.writer = make(chan *turn, 1)
		s.writer <- new(turn)
	}
	return s
}

// WithTx binds a Store to a transaction of the host. base is what Base returns.
func (s *Store) WithTx(tx *sql.Tx, base userapi.Store) userapi.TxStore {
	bound := *s
	in := &sqlx.Tx{Tx: tx, Mapper: s.db.Mapper}
	host := s.on(in)
	bound.host = &host
	if s.d.Embedded { // elsewhere that is not safe: see literal
		bound.host.prepared = &statements{db: in}
	}
	return &txStore{Store: &bound, base: base}
}

type txStore struct {
	*Store
	base userapi.Store
}

// Base implements userapi.TxStore.
func (s *txStore) Base() userapi.Store { return s.base }

// share is the lock of reads that a guard rests on. In our own transactions the row changed before them does, and every
// statement sees what is committed by then; a transaction of the host may look at an old snapshot.
func (s *Store) share() string {
	if s.host == nil {
		return ""
	}
	return s.d.Share
}

// failed turns what a database said into an error of the contract.
func (s *Store) failed(ctx context.Context, err error) error {
	switch {
	case err == nil || isAnswer(err):
		return err
	case ctx.Err() != nil:
		return userapi.ErrUnavailable.Wrap(fmt.Errorf("%w: %w", ctx.Err(), err))
	case s.d.Fault(err) != Defect:
		return userapi.ErrUnavailable.Wrap(err)
	}
	return fmt.Errorf("userapi: %w", err)
}

// millis is a time as it is stored, and moment the way back.
func millis(t time.Time) int64 { return t.UnixMilli() }

func moment(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// orNull keeps empty texts out of unique keys.
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}
