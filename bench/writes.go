package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/userapi/userapi"
)

var writesPart = Part{
	Name: "writes", Title: "Refreshes, registrations and top-ups of the feed",
	Intro: `Refreshes run against a database of a million users and sessions, registrations against one of 10,000. Every commit is on the disk before
it is answered (SQLite: synchronous=FULL; MariaDB: innodb-flush-log-at-trx-commit=1; PostgreSQL: its defaults), for us and for the limit alike. [statements.md](statements.md) tells how
often a request asks the database.`,
	Run: runWrites,
}

func runWrites(r *Run) error {
	for _, e := range engines {
		many, err := e.filled(r, r.Few(1_000_000, 4_000))
		if err != nil {
			return err
		}
		if err := refreshes(r, many); err != nil {
			return err
		}
		few, err := e.open(r, "registrations")
		if err != nil {
			return err
		}
		few.users = r.Few(10_000, 1_000)
		if err := few.fill(r, few.users); err != nil { // anew in every run
			return err
		}
		if err := registrations(r, few); err != nil {
			return err
		}
		if err := topUps(r, few); err != nil {
			return err
		}
	}
	return nil
}

// login is an open session, used by one at a time.
type login struct {
	session string
	token   userapi.Secret
	counter int64
}

// logins opens sessions of different users.
func (d *database) logins(r *Run, api *userapi.API, n int) (chan *login, error) {
	free := make(chan *login, n)
	for i := range n {
		id := userID(2 * (i*37%(d.users/4) + d.users/8))
		_, t, err := api.Auth.IssueTokens(r, userapi.System(), id, "pwd")
		if err != nil {
			return nil, err
		}
		open, err := d.store.ListSessions(r, userapi.Scope{All: true}, id)
		if err != nil {
			return nil, err
		}
		free <- &login{session: open[0].ID, token: t.Refresh, counter: open[0].Counter}
	}
	return free, nil
}

func refreshes(r *Run, d *database) error {
	api, err := d.api()
	if err != nil {
		return err
	}
	caller := userapi.Anonymous().From("192.0.2.1", "bench")
	var cases []*Case
	for _, workers := range []int{0, 16} {
		how := "one after the other"
		if workers > 0 {
			how = fmt.Sprintf("%d at once", workers)
		}
		bareFree, err := d.logins(r, api, max(1, workers))
		if err != nil {
			return err
		}
		ourFree, err := d.logins(r, api, max(1, workers))
		if err != nil {
			return err
		}
		update, err := d.db.Prepare(d.places(`UPDATE userapi_sessions SET counter = counter + 1, rotated_at = ?, last_seen_at = ?, address = ?, user_agent = ? WHERE id = ? AND counter = ?`))
		if err != nil {
			return err
		}
		var alone sync.Mutex // SQLite has one writer: who waits for it in the pool does not poll the file
		bare := &Case{Name: "a conditional UPDATE by primary key, " + how, Workers: workers, Do: func() error {
			l := <-bareFree
			defer func() { bareFree <- l }()
			if d.driver == "sqlite" {
				alone.Lock()
				defer alone.Unlock()
			}
			now := time.Now().UnixMilli()
			done, err := update.ExecContext(r, now, now, "192.0.2.1", "bench", l.session, l.counter)
			if err != nil {
				return err
			}
			l.counter++
			if n, _ := done.RowsAffected(); n != 1 {
				return fmt.Errorf("%d rows changed", n)
			}
			return nil
		}}
		ours := &Case{Name: "Auth.Refresh, " + how, Workers: workers, Against: bare, Most: 1 / 0.6, Target: "≥ 0.6 × the rate",
			Why: "It asks twice, reads and then writes, where the limit asks once; the write looks at the account besides. Where a commit waits for a disk that counts less.",
			Do: func() error {
				l := <-ourFree
				defer func() { ourFree <- l }()
				t, err := api.Auth.Refresh(r, caller, l.token)
				if err == nil {
					l.token = t.Refresh
				}
				return err
			},
			Prove: func() error {
				if _, err := api.Auth.Refresh(r, caller, "v1.not.a.token"); !errors.Is(err, userapi.ErrInvalidToken) {
					return fmt.Errorf("a forged token: %w", err)
				}
				return nil
			}}
		cases = append(cases, bare, ours)
	}
	if _, err := r.Measure(Contest{
		Title: d.title("refresh"), Cases: cases, Rates: true, NoAllocs: true, Rounds: 60, Chart: true,
		Text: "A refresh verifies the token, reads the session with its account and roles, rotates the counter, and signs two tokens. The limit is the one write of it.",
	}); err != nil {
		return err
	}
	return d.unhindered(r, api)
}

// unhindered shows that a refresh does not wait for the row of another session. A SQLite file has one writer, whatever the rows.
func (d *database) unhindered(r *Run, api *userapi.API) error {
	if d.driver == "sqlite" {
		return nil
	}
	free, err := d.logins(r, api, 2)
	if err != nil {
		return err
	}
	held, other := <-free, <-free
	tx, err := d.db.BeginTx(r, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(r, d.places(`UPDATE userapi_sessions SET counter = counter + 1 WHERE id = ?`), held.session); err != nil {
		return err
	}
	refresh := func(l *login, within time.Duration) error {
		ctx, cancel := context.WithTimeout(r, within)
		defer cancel()
		_, err := api.Auth.Refresh(ctx, userapi.Anonymous().From("192.0.2.1", "bench"), l.token)
		return err
	}
	goesOn, waits := refresh(other, 5*time.Second) == nil, refresh(held, 200*time.Millisecond) != nil
	answer := map[bool]string{true: "goes on", false: "waits"}
	r.Add(Section{Title: d.title("refreshes of different sessions"), Rows: []Row{
		Figure("the row of one session is locked: a refresh of another", answer[goesOn]).Aim("goes on", goesOn, ""),
		Figure("the same: a refresh of this one, which has to wait", answer[!waits]).Aim("waits", waits, ""),
	}})
	return nil
}

const someHash = "$argon2id$v=19$m=64,t=1,p=1$c29tZSBzYWx0IGhlcmUhIQ$MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI"

func registrations(r *Run, d *database) error {
	api, err := d.api()
	if err != nil {
		return err
	}
	insert, err := d.db.Prepare(d.places(`INSERT INTO userapi_users (id, customer_id, email, email_key, username, username_key, phone, verified_phone, name, first_name, last_name, name_key,
		active, email_verified, phone_verified, password_hash, must_change, epoch, version, login_count, last_login, created_at, updated_at)
		VALUES (?, ?, ?, ?, '', NULL, '', NULL, ?, '', '', ?, 1, 0, 0, ?, 0, 1, 1, 0, NULL, ?, ?)`))
	if err != nil {
		return err
	}
	var number atomic.Int64
	address := func() string {
		return strings.ToLower(fmt.Sprintf("%s.%d@new.example", rand.Text()[:8], number.Add(1)))
	}
	var alone sync.Mutex
	bare := func(customer func() string) func() error {
		return func() error {
			email, now := address(), time.Now().UnixMilli()
			if d.driver == "sqlite" {
				alone.Lock()
				defer alone.Unlock()
			}
			_, err := insert.ExecContext(r, fmt.Sprintf("0199%09x-%s", number.Add(1), rand.Text()[:8]), customer(), email, email, "Ada Lovelace", "ada lovelace", someHash, now, now)
			return err
		}
	}
	ours := func(customer func() string) func() error {
		return func() error {
			_, err := api.Users.Create(r, userapi.System(), userapi.NewUser{Email: address(), Name: "Ada Lovelace", PasswordHash: someHash, Active: true, CustomerID: customer()})
			return err
		}
	}
	one := func() string { return large }
	all := others()
	many := func() string { return all[number.Add(1)%64] }
	limit := &Case{Name: "INSERT of the row alone, 64 at once", Workers: 64, Do: bare(many), Prove: d.unique(r, insert)}
	_, err = r.Measure(Contest{
		Title: d.title("registrations, 64 at once"), Rates: true, NoAllocs: true, Rounds: 30,
		Text: `A registration is one transaction: it changes the customer's row, for the quota, and stores the user and the event of the audit trail. The limit is the one INSERT into
the same table, with the same unique keys. No call may fail: a single error ends the run.`,
		Cases: []*Case{
			limit,
			{Name: "Users.Create, 64 at once, 64 customers", Workers: 64, Do: ours(many)},
			{Name: "Users.Create, 64 at once, one customer", Workers: 64, Do: ours(one), Note: "All change the row of the one customer, so one waits for the other: that is what counts a quota exactly, on every node of a cluster."},
		},
	})
	return err
}

// unique shows that the limit has the same constraint.
func (d *database) unique(r *Run, insert *sql.Stmt) func() error {
	return func() error {
		if _, err := insert.ExecContext(r, "twice", large, email(2), email(2), "", "", someHash, 0, 0); err == nil {
			return errors.New("an address is taken twice")
		}
		return nil
	}
}

// topUps is what each node asks twice a second: the revocations of the last 15 seconds, most of which it knows.
func topUps(r *Run, d *database) error {
	const most = 3_000
	base := time.Now().Add(24 * time.Hour).UnixMilli()
	err := d.insert(r, `userapi_revocations (id, kind, subject, below_epoch, written_at, expires_at)`, most, func(i int) []any {
		return []any{fmt.Sprintf("feed%022d", i), 1, sessionID(i), 0, base + int64(i), base + 3600_000}
	})
	if err != nil {
		return err
	}
	var cases []*Case
	for _, n := range []int{0, 30, 300, most} {
		cases = append(cases, &Case{Name: fmt.Sprintf("%s revocations in 15 s, %s a second", count(float64(n)), count(float64(n)/15)), Do: func() error {
			live, _, err := d.store.Revocations(r, base+int64(most-n))
			if err == nil && len(live) != n {
				err = fmt.Errorf("%d rows instead of %d", len(live), n)
			}
			return err
		}})
	}
	_, err = r.Measure(Contest{
		Title: d.title("a top-up of the revocation feed"), Cases: cases, Rates: true, Rounds: 60, NoAllocs: true,
		Text: "Two statements: the clock, and the rows. docs/scaling.md reckons with them.",
	})
	return err
}
