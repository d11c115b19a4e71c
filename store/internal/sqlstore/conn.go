package sqlstore

import (
	"context"
	"database/sql"
	"sync"

	"github.com/jmoiron/sqlx"
)

// conn is where statements go: the pool, one connection of it or a transaction of the host.
type conn struct {
	q        querier
	prepared *statements // nil = none
	binary   bool
}

type querier interface {
	sqlx.QueryerContext
	sqlx.ExecerContext
}

// exec runs a statement and returns how many rows it changed.
func (c conn) exec(ctx context.Context, query string, args ...any) (int, error) {
	var r sql.Result
	var err error
	args = c.bind(args)
	if stmt := c.prepared.get(ctx, query); stmt != nil {
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
	args = c.bind(args)
	if stmt := c.prepared.get(ctx, query); stmt != nil {
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

func (c conn) bind(args []any) []any {
	if !c.binary {
		return args
	}
	out := make([]any, len(args))
	for i, a := range args {
		if s, ok := a.(string); ok {
			a = []byte(s)
		}
		out[i] = a
	}
	return out
}

// maxStatements bounds the prepared statements, which the server pays for on every connection.
const maxStatements = 64

// statements prepares each query once. Only for the pool: who holds a connection and asks for another to prepare a
// statement on can wait for ever.
type statements struct {
	db    *sqlx.DB
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
	fresh, err := s.db.PreparexContext(ctx, query)
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
