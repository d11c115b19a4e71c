package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/userapi/userapi"
)

// system is how the users of another system lie in its database.
type system interface {
	// query selects the users, ordered by their id, which is the first column. Further rows of one user follow the first.
	query(quote func(string) string) string
	// newcomer reads the first row of a user; more, the rows behind it.
	newcomer(r row) (newcomer, error)
	more(r row, n *newcomer)

	before(ctx context.Context, t *tables) ([]userapi.Customer, []userapi.Role, error)
	remarks() []string
}

// tables is the database of another system. All of it is read in one transaction, and nothing is written.
type tables struct {
	system
	db    *sql.DB
	tx    *sql.Tx
	quote func(string) string
}

// openSource opens where the users come from. Nothing is made where nothing is.
func (c *moveIn) openSource(ctx context.Context) (source, error) {
	if c.From == "jsonl" {
		return openLines(c.Source)
	}
	t := &tables{quote: func(name string) string { return `"` + name + `"` }}
	switch c.From {
	case "knlambert":
		t.system = knlambert{}
	case "affo":
		t.system = affo{}
	case "flowserv":
		t.system = &flowserv{}
	case "apicrud":
		t.system = newApicrud(userapi.Secret(os.Getenv("USERAPI_IMPORT_KEY")))
	}
	kind, rest, _ := strings.Cut(c.Source, ":")
	snapshot := sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	var err error
	switch kind {
	case "sqlite":
		snapshot.Isolation = sql.LevelDefault // every transaction of SQLite is a snapshot
		t.db, err = openOtherFile(rest)
	case "mysql":
		t.quote = func(name string) string { return "`" + name + "`" }
		t.db, err = openOtherMySQL(rest)
	default:
		t.db, err = openOtherPostgres(rest)
	}
	if err != nil {
		return nil, err
	}
	connecting, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	if err := t.db.PingContext(connecting); err != nil {
		t.db.Close()
		return nil, fmt.Errorf("cannot reach the source: %w", err)
	}
	if t.tx, err = t.db.BeginTx(context.WithoutCancel(ctx), &snapshot); err != nil {
		t.db.Close()
		return nil, fmt.Errorf("cannot read the source: %w", err)
	}
	return t, nil
}

func openOtherFile(path string) (*sql.DB, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no source %s", path)
	}
	if err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("the source %s is no file that can be read", path)
	}
	return sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?mode=ro&_pragma=busy_timeout(5000)")
}

// openOtherMySQL reads times as they stand there, whatever the DSN says: those systems keep UTC. As with --db, nothing of what
// the driver says about a DSN is shown: it may hold a password.
func openOtherMySQL(dsn string) (*sql.DB, error) {
	cfg, err := mysqldriver.ParseDSN(dsn)
	if err != nil || cfg.DBName == "" {
		return nil, wrongUsef("--source mysql:DSN needs USER:PASSWORD@tcp(HOST:PORT)/NAME, with the name of a database")
	}
	cfg.ParseTime, cfg.Logger = false, &mysqldriver.NopLogger{}
	if cfg.Timeout == 0 {
		cfg.Timeout = connectWithin
	}
	if cfg.Params == nil {
		cfg.Params = map[string]string{}
	}
	cfg.Params["time_zone"] = "'+00:00'"
	connector, err := mysqldriver.NewConnector(cfg)
	if err != nil {
		return nil, wrongUsef("--source mysql:DSN cannot be read")
	}
	return sql.OpenDB(connector), nil
}

func openOtherPostgres(rest string) (*sql.DB, error) {
	cfg, err := postgresConfig(rest)
	if err != nil {
		return nil, wrongUsef("--source postgres:URL needs postgres://USER:PASSWORD@HOST:PORT/NAME")
	}
	cfg.RuntimeParams["timezone"] = "UTC"
	return stdlib.OpenDB(*cfg), nil
}

func (t *tables) before(ctx context.Context) ([]userapi.Customer, []userapi.Role, error) {
	customers, roles, err := t.system.before(ctx, t)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the source: %w", err)
	}
	return customers, roles, nil
}

func (t *tables) each(ctx context.Context, take func(newcomer) error) error {
	var last string
	var one *newcomer
	err := t.rows(ctx, t.query(t.quote), func(r row) error {
		if one != nil && r.text(0) == last {
			t.more(r, one)
			return nil
		}
		if one != nil {
			if err := take(*one); err != nil {
				return taken{err}
			}
		}
		n, err := t.newcomer(r)
		one, last = &n, r.text(0)
		return err
	})
	if err == nil && one != nil {
		return take(*one)
	}
	var theirs taken
	if errors.As(err, &theirs) {
		return theirs.error
	}
	if err != nil {
		return fmt.Errorf("cannot read the source: %w", err)
	}
	return nil
}

// taken is an error of whoever takes the users, not of the source.
type taken struct{ error }

// rows hands over row after row as they arrive. A row is good until the next.
func (t *tables) rows(ctx context.Context, query string, take func(row) error) error {
	rows, err := t.tx.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	r, into := make(row, len(columns)), make([]any, len(columns))
	for i := range r {
		into[i] = &r[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if err := take(r); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (t *tables) close() {
	_ = t.tx.Rollback()
	t.db.Close()
}

// row is a row as its driver gives it: each has its own way with truth values and times, and SQLite keeps anything in any
// column.
type row []any

// text is a column as text; NULL is "".
func (r row) text(i int) string {
	switch v := r[i].(type) {
	case nil:
		return ""
	case string:
		return v
	case []byte:
		return string(v)
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	default:
		return fmt.Sprint(v)
	}
}

// truth is a column as a truth value; NULL, and what is none, is false, as the lesser right.
func (r row) truth(i int) bool {
	truth, err := strconv.ParseBool(r.text(i))
	return err == nil && truth
}

// moment is a column as a time in UTC. What is none, such as MySQL's day zero, and what cannot be kept is not known.
func (r row) moment(i int) time.Time {
	at, ok := r[i].(time.Time)
	for _, layout := range []string{time.DateTime, time.RFC3339, "2006-01-02T15:04:05"} { // each with and without fractions
		if parsed, err := time.Parse(layout, r.text(i)); !ok && err == nil {
			at, ok = parsed, true
		}
	}
	if at = at.UTC(); at.Year() < 1970 || at.Year() > 9999 {
		return time.Time{}
	}
	return at
}

// identifiers tells an e-mail address from a username, as a login does.
func identifiers(name string) (email, username string) {
	if strings.Contains(name, "@") {
		return name, ""
	}
	return "", name
}
