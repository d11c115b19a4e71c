package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"strings"
	"sync"

	"github.com/jmoiron/sqlx"
)

// conn is where statements go: the pool, one connection of it or a transaction of the host.
type conn struct {
	q        querier
	prepared *statements // nil = none
	d        *Dialect
}

func (s *Store) on(q querier) conn { return conn{q: q, d: &s.d} }

type querier interface {
	sqlx.QueryerContext
	sqlx.ExecerContext
}

// exec runs a statement and returns how many rows it changed.
func (c conn) exec(ctx context.Context, query string, args ...any) (int, error) {
	stmt := c.prepared.get(ctx, query)
	query, args, err := c.bind(query, args, stmt != nil)
	if err != nil {
		return 0, err
	}
	var r sql.Result
	if stmt != nil {
		r, err = stmt.ExecContext(ctx, args...)
	} else {
		r, err = c.q.ExecContext(ctx, query, args...)
	}
	if err != nil {
		return 0, err
	}
	n, err := r.RowsAffected()
	return int(n), err
}

// query reads all rows into dest, a pointer to a slice.
func (c conn) query(ctx context.Context, dest any, query string, args ...any) error {
	stmt := c.prepared.get(ctx, query)
	query, args, err := c.bind(query, args, stmt != nil)
	switch {
	case err != nil:
		return err
	case stmt != nil:
		return stmt.SelectContext(ctx, dest, args...)
	}
	return sqlx.SelectContext(ctx, c.q, dest, query, args...)
}

// exists reports whether the query has a row. Its one column is a number.
func (c conn) exists(ctx context.Context, query string, args ...any) (bool, error) {
	var rows []int
	err := c.query(ctx, &rows, query, args...)
	return len(rows) > 0, err
}

// in is for statements with slices among their arguments.
func in(query string, args ...any) (string, []any, error) { return sqlx.In(query, args...) }

// inside runs a statement whose failure is not the end of the transaction.
func (c conn) inside(ctx context.Context, statement func() error) error {
	if !c.d.Aborts {
		return statement()
	}
	if _, err := c.exec(ctx, `SAVEPOINT userapi_statement`); err != nil {
		return err
	}
	err := statement()
	if err == nil {
		return nil
	}
	if _, failed := c.exec(ctx, `ROLLBACK TO SAVEPOINT userapi_statement`); failed != nil {
		return failed
	}
	return err
}

// bind makes the arguments what the database takes: with columns of bytes they are bytes, and stand in the query where it is
// not prepared already.
func (c conn) bind(query string, args []any, prepared bool) (string, []any, error) {
	if sqlx.BindType(c.d.Driver) == sqlx.DOLLAR && len(args) > 0 {
		query = sqlx.Rebind(sqlx.DOLLAR, query)
	}
	if c.d.Strict {
		return query, strict(args), nil
	}
	if !c.d.Binary {
		return query, args, nil
	}
	if !prepared {
		query, err := literal(query, args)
		return query, nil, err
	}
	out := make([]any, len(args))
	for i, a := range args {
		if s, ok := a.(string); ok {
			a = []byte(s)
		}
		out[i] = a
	}
	return query, out, nil
}

// strict makes truth values numbers, and puts U+FFFD for what no text can hold: nothing that is kept has such, but anything is asked for.
func strict(args []any) []any {
	out := make([]any, len(args))
	for i, a := range args {
		switch v := a.(type) {
		case bool:
			a = 0
			if v {
				a = 1
			}
		case string:
			a = strings.ReplaceAll(strings.ToValidUTF8(v, "\uFFFD"), "\x00", "\uFFFD")
		}
		out[i] = a
	}
	return out
}

// literal puts the arguments in place of the question marks. With arguments a driver would prepare the statement first, and
// that is not safe in a transaction: a node of a Galera cluster that aborts the transaction while it prepares a SELECT does not
// say so, and runs what follows outside of it (MariaDB 10.11: one in a hundred, where many change one row). Texts are
// written as hexadecimal digits, so nothing in them is ever read as SQL, whatever the server's modes and character sets.
func literal(query string, args []any) (string, error) {
	parts := strings.Split(query, "?")
	if len(parts) != len(args)+1 {
		return "", fmt.Errorf("%d arguments for %d places", len(args), len(parts)-1)
	}
	var b strings.Builder
	for i, a := range args {
		b.WriteString(parts[i])
		v, err := driver.DefaultParameterConverter.ConvertValue(a)
		if err != nil {
			return "", err
		}
		switch v := v.(type) {
		case nil:
			b.WriteString("NULL")
		case bool, int64:
			fmt.Fprint(&b, v)
		case string, []byte:
			fmt.Fprintf(&b, "x'%x'", v)
		default:
			return "", fmt.Errorf("an argument of type %T", a)
		}
	}
	b.WriteString(parts[len(args)])
	return b.String(), nil
}

// maxStatements bounds the prepared statements, which the server pays for on every connection.
const maxStatements = 64

// statements prepares each query once, on a pool or on the transaction that holds the connection: who holds one and asks the pool for
// another to prepare a statement on can wait for ever.
type statements struct {
	db    sqlx.PreparerContext
	mu    sync.Mutex
	known map[string]*sqlx.Stmt
}

// get returns nil where the query has to go unprepared; its own error then comes from there.
func (s *statements) get(ctx context.Context, query string) *sqlx.Stmt {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	stmt, full := s.known[query], len(s.known) >= maxStatements
	s.mu.Unlock()
	if stmt != nil || full {
		return stmt
	}
	fresh, err := sqlx.PreparexContext(ctx, s.db, query)
	if err != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if stmt := s.known[query]; stmt != nil {
		fresh.Close()
		return stmt
	}
	if s.known == nil {
		s.known = map[string]*sqlx.Stmt{}
	}
	s.known[query] = fresh
	return fresh
}
