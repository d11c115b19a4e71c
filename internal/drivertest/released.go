package drivertest

import (
	"bytes"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/userapi/userapi"
)

// Release is what the released version asks of a database, one of each kind of statement, with arguments that go well on what fill makes.
type Release struct {
	Through    string // the number of its last migration
	Statements []Statement
}

// Released fails for a migration that the released version cannot live with: where it would not start any more, or would be refused what
// it asks. With update it takes this version for the released one, and writes down in testdata what that asks.
func Released(t *testing.T, e Engine, update bool) {
	for _, fault := range Additions(e.Name, e.Migrations) {
		t.Error(fault)
	}
	if update {
		record(t, e).write(t)
	}
	for _, fault := range e.Broken(t, release(t), e.Migrations) {
		t.Error(fault)
	}
}

// written is where a Release stands: the number, and a statement on each line.
var written = filepath.Join("testdata", "released.jsonl")

func release(t *testing.T) (r Release) {
	t.Helper()
	text, err := os.ReadFile(written)
	must(t, err)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	must(t, json.Unmarshal([]byte(lines[0]), &r.Through))
	for _, line := range lines[1:] {
		var s Statement
		must(t, json.Unmarshal([]byte(line), &s))
		r.Statements = append(r.Statements, s)
	}
	if len(r.Statements) < 100 {
		t.Fatalf("only %d statements are written down", len(r.Statements))
	}
	return r
}

func (r Release) write(t *testing.T) {
	t.Helper()
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	out.SetEscapeHTML(false)
	must(t, out.Encode(r.Through))
	for _, s := range r.Statements {
		must(t, out.Encode(s))
	}
	must(t, os.MkdirAll(filepath.Dir(written), 0o755))
	must(t, os.WriteFile(written, b.Bytes(), 0o644))
}

// record asks all that this version asks, and keeps one statement of each kind.
func record(t *testing.T, e Engine) Release {
	t.Helper()
	c := e.Database(t)
	db := c.Pool(t)
	st := e.New(db, e.Migrations)
	must(t, st.Migrate(t.Context()))
	fill(t, db)
	names := slices.Sorted(maps.Keys(texts(e.Migrations)))
	r := Release{Through: number(names[len(names)-1])}
	known := map[string]bool{}
	for _, s := range c.Record(func() {
		callAll(t, st)
		must(t, st.EndEverything(t.Context(), userapi.EverythingEnd{Revoke: userapi.Revocation{Kind: userapi.RevokeAll, Subject: "all"}, Event: event()}))
	}) {
		if kind := values.ReplaceAllString(s.Query, "?"); strings.Contains(s.Query, "userapi_") && !strings.HasPrefix(s.Query, "SAVEPOINT") &&
			!strings.HasPrefix(s.Query, "ROLLBACK") && !known[kind] {
			known[kind] = true
			r.Statements = append(r.Statements, s)
		}
	}
	return r
}

// values are what stands in a statement that is not prepared, and the places of those that is.
var values = regexp.MustCompile(`x'[0-9a-f]*'|\b\d+\b|NULL`)

func number(file string) string {
	n, _, _ := strings.Cut(file, "_")
	return n
}

// Broken says what of a release goes wrong once its database is filled and has had these migrations.
func (e Engine) Broken(t *testing.T, r Release, migrations fs.FS) (faults []string) {
	t.Helper()
	db := e.Database(t).Pool(t)
	before := fstest.MapFS{}
	for name, text := range texts(e.Migrations) {
		if number(name) <= r.Through {
			before[name] = &fstest.MapFile{Data: []byte(text)}
		}
	}
	released := e.New(db, before)
	must(t, released.Migrate(t.Context()))
	fill(t, db)
	plans := e.plans(t, db, r)
	if err := e.New(db, migrations).Migrate(t.Context()); err != nil {
		return []string{fmt.Sprintf("a filled database of the released version cannot be migrated: %v", err)}
	}
	if err := released.Migrate(t.Context()); err != nil {
		faults = append(faults, fmt.Sprintf("the released version does not start any more: %v", err))
	}
	for i, plan := range e.plans(t, db, r) {
		if len(plan) > len(plans[i]) {
			faults = append(faults, fmt.Sprintf("the released version lacks an index, its plan now %s\n%s", strings.Join(plan, " and "), r.Statements[i].Query))
		}
	}
	for _, s := range r.Statements {
		if err := s.try(t, db); err != nil {
			faults = append(faults, fmt.Sprintf("the released version fails: %v\n%s", err, s.Query))
		}
	}
	return faults
}

// plans are what there is against the plan of each statement, once the planner knows all tables: with what it happens to know plans differ.
// A statement without a plan has nothing against it: it fails by itself.
func (e Engine) plans(t *testing.T, db *sql.DB, r Release) [][]string {
	t.Helper()
	all := make([][]string, len(r.Statements))
	if e.Explain == nil {
		return all
	}
	run(t, db, "VACUUM ANALYZE")
	for i, s := range r.Statements {
		if !strings.HasPrefix(s.Query, "INSERT") {
			all[i] = e.Explain(db, s)
		}
	}
	return all
}

// try runs a statement and takes back what it did. An INSERT that inserts nothing would tell nothing.
func (s Statement) try(t *testing.T, db *sql.DB) error {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	must(t, err)
	defer func() { _ = tx.Rollback() }()
	if strings.HasPrefix(s.Query, "SELECT") || strings.Contains(s.Query, "RETURNING") {
		rows, err := tx.Query(s.Query, s.Args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
		}
		return rows.Err()
	}
	result, err := tx.Exec(s.Query, s.Args...)
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err == nil && n == 0 && strings.HasPrefix(s.Query, "INSERT") {
		err = errors.New("nothing was inserted")
	}
	return err
}

// MarshalJSON writes texts with "s:" before them, and bytes with "x:" in hexadecimal digits.
func (s Statement) MarshalJSON() ([]byte, error) {
	args := make([]any, len(s.Args))
	for i, a := range s.Args {
		switch v := a.(type) {
		case nil, bool, int, int64:
			args[i] = v
		case string:
			args[i] = "s:" + v
		case []byte:
			args[i] = "x:" + hex.EncodeToString(v)
		default:
			return nil, fmt.Errorf("an argument of type %T: %s", a, s.Query)
		}
	}
	type plain struct {
		Query string
		Args  []any `json:",omitempty"`
	}
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	out.SetEscapeHTML(false)
	err := out.Encode(plain{s.Query, args})
	return b.Bytes(), err
}

// UnmarshalJSON reads that.
func (s *Statement) UnmarshalJSON(text []byte) error {
	type plain Statement
	in := json.NewDecoder(bytes.NewReader(text))
	in.UseNumber()
	if err := in.Decode((*plain)(s)); err != nil {
		return err
	}
	for i, a := range s.Args {
		switch v := a.(type) {
		case json.Number:
			n, err := v.Int64()
			if err != nil {
				return err
			}
			s.Args[i] = n
		case string:
			kind, rest, _ := strings.Cut(v, ":")
			s.Args[i] = rest
			if kind == "x" {
				b, err := hex.DecodeString(rest)
				if err != nil {
					return err
				}
				s.Args[i] = b
			}
		}
	}
	return nil
}

// firstRelease is the last migration of the first release: those before it were never apart.
const firstRelease = "0013"

// What a file may do that does not say what it needs.
var (
	newTable  = regexp.MustCompile(`^CREATE TABLE IF NOT EXISTS (userapi_\w+) \(.*\)( ENGINE=InnoDB ROW_FORMAT=DYNAMIC| WITHOUT ROWID)?$`)
	newColumn = regexp.MustCompile(`^ALTER TABLE userapi_\w+ ADD COLUMN (IF NOT EXISTS )?\w+ [A-Z]+(\(\d+\))?( COLLATE "C")?( NULL|( NOT NULL)? DEFAULT (-?\d+|'[^']*'))?$`)
	newIndex  = regexp.MustCompile(`^CREATE (UNIQUE )?INDEX (IF NOT EXISTS )?userapi_\w+ ON (userapi_\w+) \([\w, ]+\)( WHERE \w+ IS NOT NULL)?$`)
	newRow    = regexp.MustCompile(`^INSERT (OR IGNORE |IGNORE )?INTO (userapi_\w+) `)

	reference = regexp.MustCompile(`REFERENCES (\w+) \([\w, ]+\)( ON DELETE (CASCADE|SET NULL)\b)?`)
	comment   = regexp.MustCompile(`(?m)^\s*--.*$`)
	fileName  = regexp.MustCompile(`^\d{4}(_[a-z0-9]+)+\.sql$`)
)

// Additions says what of the migrations an older version may not live with although the file's name does not say so. What is not known to be
// harmless is not.
func Additions(engine string, migrations fs.FS) (faults []string) {
	all := texts(migrations)
	tables, fresh, seen := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		n := number(name)
		if n > firstRelease {
			fresh = map[string]bool{}
		}
		_, needs, takes := strings.Cut(strings.TrimSuffix(name, ".sql"), "_needs_")
		if !fileName.MatchString(name) || seen[n] || takes && !seen[needs] {
			faults = append(faults, name+": the name is not NNNN_what.sql or NNNN_what_needs_NNNN.sql, with a number of its own and an earlier one")
		}
		seen[n] = true
		for i, query := range strings.Split(strings.TrimSpace(comment.ReplaceAllString(all[name], "")), ";\n") {
			query = strings.Join(strings.Fields(strings.TrimSuffix(query, ";")), " ")
			bad := func(why string) { faults = append(faults, fmt.Sprintf("%s:%d: %s: %s", name, i+1, why, query)) }
			if n > "0000" && strings.Contains(query, "userapi_migration") {
				bad("every version reads and writes the tables of migrations")
			}
			again := strings.Contains(query, "IF NOT EXISTS")
			switch table, index, row := newTable.FindStringSubmatch(query), newIndex.FindStringSubmatch(query), newRow.FindStringSubmatch(query); {
			case takes:
			case table != nil:
				fresh[table[1]], tables[table[1]] = fresh[table[1]] || !tables[table[1]], true
				for _, to := range reference.FindAllStringSubmatch(query, -1) {
					if to[2] == "" && !fresh[to[1]] {
						bad("a reference would keep an older version from deleting")
					}
				}
			case index != nil && (index[1] == "" || fresh[index[3]]):
				if again == (engine == "mysql") {
					bad("MySQL has no IF NOT EXISTS for this, and the others need it")
				}
			case newColumn.MatchString(query):
				if again != (engine == "postgres") {
					bad("PostgreSQL needs IF NOT EXISTS for this, and the others have none")
				}
			case row != nil && fresh[row[2]]:
			default:
				bad("this may be more than an older version can live with, so the file's name says what it needs")
			}
		}
	}
	return faults
}

// Breaking tests that Released notices what breaks the released version, also in files that say they need nothing newer.
func Breaking(t *testing.T, e Engine) {
	r := record(t, e) // as if this version were the released one
	if faults := e.Broken(t, r, e.Later()); len(faults) > 0 {
		t.Errorf("what only adds is no fault: %v", faults)
	}
	drop, lost := "DROP INDEX userapi_events_by_user", "no such index: userapi_events_by_user"
	switch e.Name {
	case "mysql":
		drop, lost = drop+" ON userapi_events", "'userapi_events_by_user' doesn't exist"
	case "postgres":
		lost = "lacks an index"
	}
	all := ""
	cases := map[string]struct{ query, says string }{
		"a column is dropped":       {"ALTER TABLE userapi_sessions DROP COLUMN user_agent", "INSERT INTO userapi_sessions"},
		"a column is renamed":       {"ALTER TABLE userapi_customers RENAME COLUMN name TO title", "INSERT INTO userapi_customers"},
		"a table is renamed":        {"ALTER TABLE userapi_credentials RENAME TO userapi_proofs", "INSERT INTO userapi_credentials"},
		"an index is dropped":       {drop, lost},
		"an index becomes unique":   {"CREATE UNIQUE INDEX userapi_memberships_one ON userapi_memberships (user_id)", "INSERT INTO userapi_memberships"},
		"a column has to be filled": {notNull[e.Name], "INSERT INTO userapi_grants"},
	}
	for _, c := range cases {
		all += c.query + ";\n"
	}
	// They touch different tables, so one database does for them.
	faults := strings.Join(e.Broken(t, r, e.with(map[string]string{fmt.Sprintf("9000_less_needs_%s.sql", r.Through): all})), "\n")
	for what, c := range cases {
		if !strings.Contains(faults, c.says) {
			t.Errorf("%s: not in\n%s", what, faults)
		}
		if faults := Additions(e.Name, e.with(map[string]string{"9000_less.sql": c.query + ";\n"})); len(faults) == 0 {
			t.Errorf("%s: the file may say nothing of what it needs", what)
		}
	}
	t.Run("a filled table cannot have it", func(t *testing.T) {
		faults := e.Broken(t, r, e.with(map[string]string{"9000_one.sql": "CREATE UNIQUE INDEX userapi_events_one ON userapi_events (kind);\n"}))
		if len(faults) != 1 || !strings.Contains(faults[0], "cannot be migrated") {
			t.Errorf("faults are %q", faults)
		}
	})
	t.Run("a migration of this version is needed", func(t *testing.T) {
		faults := e.Broken(t, r, e.with(map[string]string{"9000_more.sql": more[e.Name], "9001_less_needs_9000.sql": "SELECT 1;\n"}))
		if len(faults) != 1 || !strings.Contains(faults[0], "does not start any more") {
			t.Errorf("faults are %q", faults)
		}
	})
}

// notNull adds a column that an older version does not fill. SQLite makes a table anew for that.
var notNull = map[string]string{
	"sqlite": `CREATE TABLE userapi_grants2 (user_id TEXT NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL, expires_at INTEGER, extra TEXT NOT NULL, PRIMARY KEY (user_id, name));
INSERT INTO userapi_grants2 SELECT user_id, name, value, expires_at, '' FROM userapi_grants;
DROP TABLE userapi_grants;
ALTER TABLE userapi_grants2 RENAME TO userapi_grants`,
	"mysql": `ALTER TABLE userapi_grants ADD COLUMN extra BIGINT NOT NULL`,
	"postgres": `ALTER TABLE userapi_grants ADD COLUMN extra BIGINT NOT NULL DEFAULT 0;
ALTER TABLE userapi_grants ALTER COLUMN extra DROP DEFAULT`,
}
