package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"sync/atomic"
)

// counter opens connections of a driver that count what is asked of them, and what they answer.
type counter struct {
	driver.Connector
	Statements, Rows, Bytes atomic.Int64
	last                    atomic.Pointer[string] // the last query
}

// counted makes a pool of counted connections, without changing what driver or database do.
func counted(name, dsn string) (*sql.DB, *counter, error) {
	db, err := sql.Open(name, dsn)
	if err != nil {
		return nil, nil, err
	}
	defer db.Close()
	c := &counter{Connector: dsnConnector{db.Driver(), dsn}}
	if d, ok := db.Driver().(driver.DriverContext); ok {
		if c.Connector, err = d.OpenConnector(dsn); err != nil {
			return nil, nil, err
		}
	}
	return sql.OpenDB(c), c, nil
}

// reset begins anew.
func (c *counter) reset() {
	c.Statements.Store(0)
	c.Rows.Store(0)
	c.Bytes.Store(0)
}

type dsnConnector struct {
	driver driver.Driver
	dsn    string
}

func (c dsnConnector) Connect(context.Context) (driver.Conn, error) { return c.driver.Open(c.dsn) }
func (c dsnConnector) Driver() driver.Driver                        { return c.driver }

func (c *counter) Connect(ctx context.Context) (driver.Conn, error) {
	inner, err := c.Connector.Connect(ctx)
	return &countedConn{inner, c}, err
}

type countedConn struct {
	driver.Conn
	c *counter
}

func (c *countedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	result, err := c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
	if err != driver.ErrSkip {
		c.c.Statements.Add(1)
	}
	return result, err
}

func (c *countedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
	if err != driver.ErrSkip {
		c.c.Statements.Add(1)
		c.c.last.Store(&query)
	}
	return &countedRows{rows, c.c}, err
}

func (c *countedConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	s, err := c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
	return &countedStmt{s, c.c, query}, err
}

func (c *countedConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
}

func (c *countedConn) CheckNamedValue(v *driver.NamedValue) error {
	if checker, ok := c.Conn.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

func (c *countedConn) ResetSession(ctx context.Context) error {
	if resetter, ok := c.Conn.(driver.SessionResetter); ok {
		return resetter.ResetSession(ctx)
	}
	return nil
}

func (c *countedConn) IsValid() bool {
	v, ok := c.Conn.(driver.Validator)
	return !ok || v.IsValid()
}

type countedStmt struct {
	driver.Stmt
	c     *counter
	query string
}

func (s *countedStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	s.c.Statements.Add(1)
	return s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
}

func (s *countedStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	s.c.Statements.Add(1)
	s.c.last.Store(&s.query)
	rows, err := s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
	return &countedRows{rows, s.c}, err
}

func (s *countedStmt) CheckNamedValue(v *driver.NamedValue) error {
	if checker, ok := s.Stmt.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

type countedRows struct {
	driver.Rows
	c *counter
}

// Next counts the bytes of the values; what a protocol adds comes on top.
func (r *countedRows) Next(dest []driver.Value) error {
	err := r.Rows.Next(dest)
	if err != nil {
		return err
	}
	r.c.Rows.Add(1)
	for _, v := range dest {
		switch v := v.(type) {
		case string:
			r.c.Bytes.Add(int64(len(v)))
		case []byte:
			r.c.Bytes.Add(int64(len(v)))
		case nil:
		case int64, float64:
			r.c.Bytes.Add(8)
		default:
			r.c.Bytes.Add(int64(len(fmt.Sprint(v))))
		}
	}
	return nil
}
