package drivertest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
)

// Fault is what happens to a connection at COMMIT.
type Fault int32

const (
	None          Fault = iota
	BeforeCommit        // it breaks, and the server never sees the COMMIT
	AfterCommit         // the server commits, but the answer is lost
	DuringCommit        // it breaks, and the server commits 300 ms later
	RefusedCommit       // the server answers with a deadlock and rolls back
	SilentCommit        // the server never sees it, and does not learn that the connection is gone
)

// Connector opens connections that write down what they are asked, and that break once when they are told to.
type Connector struct {
	driver.Connector
	lost, refused error // what the driver says of a connection that broke, and of a COMMIT that the server refused

	next atomic.Int32

	mu        sync.Mutex
	recording bool
	asked     []Statement
	times     map[string]int
	rows      int
}

// Statement is what a connection was asked.
type Statement struct {
	Query string
	Args  []any
}

// Wrap makes a Connector of a driver's name and a data source name.
func Wrap(t testing.TB, name, dsn string) *Connector {
	t.Helper()
	c, err := NewConnector(name, dsn)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// NewConnector is Wrap outside of tests.
func NewConnector(name, dsn string) (*Connector, error) {
	db, err := sql.Open(name, dsn)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	c := &Connector{Connector: dsnConnector{db.Driver(), dsn}, lost: mysql.ErrInvalidConn, refused: &mysql.MySQLError{Number: 1213, Message: "Deadlock found"}}
	if name == "pgx" {
		c.lost, c.refused = io.ErrUnexpectedEOF, &pgconn.PgError{Severity: "ERROR", Code: "40P01", Message: "deadlock detected"}
	}
	if d, ok := db.Driver().(driver.DriverContext); ok {
		c.Connector, err = d.OpenConnector(dsn)
	}
	return c, err
}

type dsnConnector struct {
	driver driver.Driver
	dsn    string
}

func (c dsnConnector) Connect(context.Context) (driver.Conn, error) { return c.driver.Open(c.dsn) }

func (c dsnConnector) Driver() driver.Driver { return c.driver }

// Pool opens a pool that is closed at the end of the test.
func (c *Connector) Pool(t testing.TB) *sql.DB {
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(postgresConns)
	db.SetMaxIdleConns(postgresConns)
	t.Cleanup(func() { db.Close() })
	return db
}

// Break makes the next COMMIT on any connection fail.
func (c *Connector) Break(f Fault) { c.next.Store(int32(f)) }

// Broke reports whether that happened.
func (c *Connector) Broke() bool { return Fault(c.next.Load()) == None }

// Record returns what the connections are asked while run runs, each query once.
func (c *Connector) Record(run func()) []Statement {
	c.mu.Lock()
	c.recording, c.asked, c.times, c.rows = true, nil, map[string]int{}, 0
	c.mu.Unlock()
	run()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recording = false
	return c.asked
}

// Times is how often each query was asked while Record ran the last time.
func (c *Connector) Times() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.times
}

// Rows is how many rows were read while Record ran the last time.
func (c *Connector) Rows() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rows
}

func (c *Connector) record(query string, args []driver.NamedValue) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.recording {
		c.times[query]++
	}
	if !c.recording || slices.ContainsFunc(c.asked, func(s Statement) bool { return s.Query == query }) {
		return
	}
	s := Statement{Query: query}
	for _, a := range args {
		s.Args = append(s.Args, a.Value)
	}
	c.asked = append(c.asked, s)
}

// Connect opens a connection.
func (c *Connector) Connect(ctx context.Context) (driver.Conn, error) {
	inner, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: inner, c: c}, nil
}

// conn passes on all that database/sql may ask of a driver's connection.
type conn struct {
	driver.Conn
	c    *Connector
	gone bool
}

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if c.gone {
		return nil, c.c.lost
	}
	c.c.record(query, args)
	exec := func(ctx context.Context, query string) (driver.Result, error) {
		return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
	}
	if query != "COMMIT" {
		return exec(ctx, query)
	}
	switch Fault(c.c.next.Swap(int32(None))) {
	case BeforeCommit:
		c.gone = true
		c.Conn.Close()
		return nil, c.c.lost
	case AfterCommit:
		c.gone = true
		_, _ = exec(ctx, query)
		c.Conn.Close()
		return nil, c.c.lost
	case DuringCommit:
		c.gone = true
		go func() {
			time.Sleep(300 * time.Millisecond)
			_, _ = exec(context.Background(), query)
			c.Conn.Close()
		}()
		return nil, c.c.lost
	case SilentCommit:
		c.gone = true
		return nil, c.c.lost
	case RefusedCommit:
		_, _ = exec(ctx, "ROLLBACK")
		return nil, c.c.refused
	}
	return exec(ctx, query)
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	all, err := c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
	if !errors.Is(err, driver.ErrSkip) {
		c.c.record(query, args)
	}
	return c.c.counted(all, err)
}

func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	s, err := c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return &stmt{Stmt: s, c: c, query: query}, nil
}

func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
}

func (c *conn) CheckNamedValue(v *driver.NamedValue) error {
	if checker, ok := c.Conn.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

func (c *conn) ResetSession(ctx context.Context) error {
	if c.gone {
		return driver.ErrBadConn
	}
	if resetter, ok := c.Conn.(driver.SessionResetter); ok {
		return resetter.ResetSession(ctx)
	}
	return nil
}

func (c *conn) IsValid() bool {
	v, ok := c.Conn.(driver.Validator)
	return !c.gone && (!ok || v.IsValid())
}

// Close leaves a connection that is gone to what happens to it.
func (c *conn) Close() error {
	if c.gone {
		return nil
	}
	return c.Conn.Close()
}

type stmt struct {
	driver.Stmt
	c     *conn
	query string
}

func (s *stmt) Close() error {
	if s.c.gone {
		return nil
	}
	return s.Stmt.Close()
}

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	s.c.c.record(s.query, args)
	return s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	s.c.c.record(s.query, args)
	return s.c.c.counted(s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args))
}

func (s *stmt) CheckNamedValue(v *driver.NamedValue) error {
	if checker, ok := s.Stmt.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

// rows are counted as they are read.
type rows struct {
	driver.Rows
	c *Connector
}

func (c *Connector) counted(all driver.Rows, err error) (driver.Rows, error) {
	if err != nil {
		return nil, err
	}
	return rows{all, c}, nil
}

func (r rows) Next(into []driver.Value) error {
	err := r.Rows.Next(into)
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	if err == nil && r.c.recording {
		r.c.rows++
	}
	return err
}
