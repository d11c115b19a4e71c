package sqlstore

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/userapi/userapi"
)

const (
	leaseFor   = 15 * time.Second // a dead holder blocks others no longer than this
	leasePause = 50 * time.Millisecond
)

// step is one statement of a migration file. Running it twice does no harm, or fails as Dialect.Repeated tells: whoever died between a
// step and its record, or outlived its lease, leaves nothing to repair.
type step struct {
	ID  string `db:"id"` // "0003_users.sql:2"
	Sum string `db:"checksum"`
	sql string
}

func (st step) file() string {
	name, _, _ := strings.Cut(st.ID, ":")
	return name
}

func (st step) number() string {
	number, _, _ := strings.Cut(st.ID, "_")
	return number
}

// needs is the number of the file that a program has to have to live with this one, if it takes something away.
func (st step) needs() (number string, contracts bool) {
	_, number, contracts = strings.Cut(strings.TrimSuffix(st.file(), ".sql"), "_needs_")
	return number, contracts
}

// steps reads *.sql in the order of their names. Statements end with a semicolon at the end of a line.
func steps(files fs.FS) ([]step, error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return nil, err
	}
	var all []step
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		for i, query := range strings.Split(strings.TrimSpace(string(text)), ";\n") {
			query = strings.TrimSuffix(strings.TrimSpace(query), ";")
			sum := sha256.Sum256([]byte(query))
			all = append(all, step{ID: fmt.Sprintf("%s:%d", name, i+1), Sum: hex.EncodeToString(sum[:]), sql: query})
		}
	}
	return all, nil
}

// Migrate brings the tables up to date. Any number of processes may start at once: one works, the others wait. The lock
// is a row that its holder leases by the database's clock, because the locks of a server end at the node of a cluster.
//
// Programs of two versions may be at one database. A file adds what an older program need not know, or says in its name which
// file a program has to have to live with it: 0030_drop_names_needs_0027.sql. The name is all that an older program can read.
//
// It is an error when the database has a file that needs one which this program has not, another text of a step it does know, and steps
// that it does not know while it lacks others: they go in one order.
func (s *Store) Migrate(ctx context.Context) error {
	if s.d.Check != nil {
		if err := s.d.Check(ctx, s.db.DB); err != nil {
			return s.failed(ctx, err)
		}
	}
	all, err := steps(s.d.Migrations)
	if err != nil {
		return fmt.Errorf("userapi: %w", err)
	}
	// Most starts find nothing to do, and need no right to change tables.
	if missing, err := s.missing(ctx, all); err == nil && len(missing) == 0 || isRefusal(err) {
		return err
	}
	// The first file makes the tables that Migrate itself needs.
	first := all[0].file()
	for _, st := range all {
		if st.file() == first {
			if err := s.run(ctx, st.sql); err != nil {
				return err
			}
		}
	}
	owner := rand.Text()
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readDeadline)
		defer cancel()
		_ = s.run(ctx, `UPDATE userapi_migration_lease SET expires_at = 0 WHERE owner = ?`, owner)
	}()
	for {
		if err := s.lease(ctx, owner); err != nil {
			return err
		}
		// Looked up for each step: whoever outlived its lease may find that a newer program has gone on since.
		missing, err := s.missing(ctx, all)
		if err != nil || len(missing) == 0 {
			return err
		}
		st := missing[0]
		if err := s.run(ctx, st.sql); err != nil && (s.d.Repeated == nil || !s.d.Repeated(err)) {
			return fmt.Errorf("migration %s: %w", st.ID, err)
		}
		err = s.run(ctx, `INSERT INTO userapi_migrations (id, checksum, applied_at) VALUES (?, ?, `+s.d.Now+`)`, st.ID, st.Sum)
		if err != nil && s.d.Violated(err) != "id" {
			return err
		}
	}
}

// refusal is a database that this program does not go with.
type refusal struct{ text string }

func (r refusal) Error() string { return "userapi: " + r.text }

func isRefusal(err error) bool {
	var r refusal
	return errors.As(err, &r)
}

// applied is what the database records, in order.
func (s *Store) applied(ctx context.Context) (done []step, err error) {
	err = s.read(ctx, func(ctx context.Context, q conn) error {
		done = nil
		return q.query(ctx, &done, `SELECT id, checksum FROM userapi_migrations ORDER BY id`)
	})
	return done, err
}

// missing is what of this program's steps the database does not record, if this program can live with what it does.
func (s *Store) missing(ctx context.Context, all []step) ([]step, error) {
	done, err := s.applied(ctx)
	if err != nil {
		return nil, err
	}
	return compare(all, done)
}

func compare(all, done []step) (missing []step, err error) {
	known, numbers := map[string]step{}, map[string]bool{}
	for _, st := range all {
		known[st.ID], numbers[st.number()] = st, true
	}
	newer := ""
	for _, d := range done {
		st, ok := known[d.ID]
		needs, contracts := d.needs()
		switch {
		case ok && st.Sum != d.Sum:
			return nil, refusal{fmt.Sprintf("migration %s was changed after it had been applied", d.ID)}
		case !ok && contracts && !numbers[needs]:
			return nil, refusal{fmt.Sprintf("the database has migration %s: only programs that have migration %s can use it, and this one is older", d.ID, needs)}
		case !ok && newer == "":
			newer = d.ID
		}
		delete(known, d.ID)
	}
	for _, st := range all {
		if _, ok := known[st.ID]; ok {
			missing = append(missing, st)
		}
	}
	if newer != "" && len(missing) > 0 {
		return nil, refusal{fmt.Sprintf("the database lacks migration %s and has %s, which this program does not know: a program that has both goes first", missing[0].ID, newer)}
	}
	return missing, nil
}

// lease takes the lock or prolongs it, and waits while somebody else holds it.
func (s *Store) lease(ctx context.Context, owner string) error {
	for {
		held := false
		err := s.run(ctx, `INSERT INTO userapi_migration_lease (id, owner, expires_at, version) VALUES ('migrate', '', 0, 0)`)
		if err != nil && s.d.Violated(err) != "id" {
			return err
		}
		err = s.write(ctx, userapi.Event{}, func(ctx context.Context, q conn) error {
			n, err := q.exec(ctx, `UPDATE userapi_migration_lease SET owner = ?, expires_at = `+s.d.Now+` + ?, version = version + 1
				WHERE id = 'migrate' AND (owner = ? OR expires_at <= `+s.d.Now+`)`, owner, leaseFor.Milliseconds(), owner)
			held = n == 1
			return err
		})
		if err != nil || held {
			return err
		}
		select {
		case <-ctx.Done():
			return s.failed(ctx, errors.New("another process holds the lock of the migrations"))
		case <-time.After(leasePause):
		}
	}
}

// run executes a statement outside a transaction, for as long as it takes, and repeats it on a conflict.
func (s *Store) run(ctx context.Context, query string, args ...any) error {
	for try := 0; ; try++ {
		_, err := s.on(s.db).exec(ctx, query, args...)
		if err == nil {
			return nil
		}
		if s.d.Fault(err) != Conflict || !s.pause(ctx, try) {
			return s.failed(ctx, err)
		}
	}
}

// tables in the order in which they can go.
var tables = []string{
	"userapi_user_roles", "userapi_memberships", "userapi_sessions", "userapi_keys", "userapi_grants", "userapi_users", "userapi_roles",
	"userapi_customers", "userapi_revocations", "userapi_limits", "userapi_challenges", "userapi_outbox", "userapi_credentials", "userapi_events",
	"userapi_migration_lease", "userapi_migrations",
}

// Drop removes the tables, with all that is in them. It is an error when a newer program was here: its tables would be left, with what is in
// them, and its next start would take them for made.
func (s *Store) Drop(ctx context.Context) error {
	all, err := steps(s.d.Migrations)
	if err != nil {
		return fmt.Errorf("userapi: %w", err)
	}
	done, err := s.applied(ctx)
	if errors.Is(err, userapi.ErrUnavailable) {
		return err
	} // else there is no such table any more
	for _, d := range done {
		if !slices.ContainsFunc(all, func(st step) bool { return st.ID == d.ID }) {
			return refusal{fmt.Sprintf("the database has migration %s, which this program does not know: a newer one drops the tables", d.ID)}
		}
	}
	for _, table := range tables {
		if err := s.run(ctx, `DROP TABLE IF EXISTS `+table); err != nil {
			return err
		}
	}
	return nil
}
