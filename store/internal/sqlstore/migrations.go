package sqlstore

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/userapi/userapi"
)

const (
	leaseFor   = 15 * time.Second // a dead holder blocks others no longer than this
	leasePause = 50 * time.Millisecond
)

// step is one statement of a migration file. Running it twice does no harm: whoever died between a step and its
// record, or outlived its lease, leaves nothing to repair.
type step struct {
	ID  string `db:"id"` // "0003_users.sql:2"
	Sum string `db:"checksum"`
	sql string
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
// It is an error when the database knows a step that this program does not, or another text of one it does.
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
	first, _, _ := strings.Cut(all[0].ID, ":")
	for _, st := range all {
		if strings.HasPrefix(st.ID, first+":") {
			if err := s.run(ctx, st.sql); err != nil {
				return err
			}
		}
	}
	owner := rand.Text()
	if err := s.lease(ctx, owner); err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readDeadline)
		defer cancel()
		_ = s.run(ctx, `UPDATE userapi_migration_lease SET expires_at = 0 WHERE owner = ?`, owner)
	}()
	missing, err := s.missing(ctx, all)
	if err != nil {
		return err
	}
	for _, st := range missing {
		if err := s.lease(ctx, owner); err != nil {
			return err
		}
		if err := s.run(ctx, st.sql); err != nil {
			return fmt.Errorf("migration %s: %w", st.ID, err)
		}
		err := s.run(ctx, `INSERT INTO userapi_migrations (id, checksum, applied_at) VALUES (?, ?, `+s.d.Now+`)`, st.ID, st.Sum)
		if err != nil && s.d.Violated(err) != "id" {
			return err
		}
	}
	return nil
}

// refusal is a database that this program does not go with.
type refusal struct{ text string }

func (r refusal) Error() string { return "userapi: " + r.text }

func isRefusal(err error) bool {
	var r refusal
	return errors.As(err, &r)
}

// missing compares what the database records with the steps of this program.
func (s *Store) missing(ctx context.Context, all []step) ([]step, error) {
	known := map[string]step{}
	for _, st := range all {
		known[st.ID] = st
	}
	var done []step
	err := s.read(ctx, func(ctx context.Context, q conn) error {
		done = nil
		return q.query(ctx, &done, `SELECT id, checksum FROM userapi_migrations ORDER BY id`)
	})
	if err != nil {
		return nil, err
	}
	for _, d := range done {
		switch st, ok := known[d.ID]; {
		case !ok:
			return nil, refusal{fmt.Sprintf("the database has migration %s, which this program does not know: a newer one was here", d.ID)}
		case st.Sum != d.Sum:
			return nil, refusal{fmt.Sprintf("migration %s was changed after it had been applied", d.ID)}
		}
		delete(known, d.ID)
	}
	var missing []step
	for _, st := range all {
		if _, ok := known[st.ID]; ok {
			missing = append(missing, st)
		}
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

// Drop removes the tables, with all that is in them.
func (s *Store) Drop(ctx context.Context) error {
	for _, table := range tables {
		if err := s.run(ctx, `DROP TABLE IF EXISTS `+table); err != nil {
			return err
		}
	}
	return nil
}
