package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	_ "modernc.org/sqlite"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/store/sqlite"
)

// The revocation feed: what a check costs when very much is revoked, and what keeping up costs a node and the database.

const lives = 17 * time.Minute // how long a revocation is kept under the default lifetime of access tokens

// revoked makes a database with n live revocations, spread evenly over the time that they live.
func revoked(r *Run, n int) (*sqlite.Store, *sql.DB, *counter, error) {
	dir, err := os.MkdirTemp("", "userapi-bench-")
	if err != nil {
		return nil, nil, nil, err
	}
	r.Cleanup(func() { _ = os.RemoveAll(dir) })
	db, counts, err := counted("sqlite", sqlite.DSN(filepath.Join(dir, "users.db")))
	if err != nil {
		return nil, nil, nil, err
	}
	r.Cleanup(func() { _ = db.Close() })
	st := sqlite.New(db)
	if err := st.Migrate(r); err != nil {
		return nil, nil, nil, err
	}
	// The database is older than a day: the row of its beginning has gone.
	if _, err := db.ExecContext(r, `DELETE FROM userapi_revocations`); err != nil {
		return nil, nil, nil, err
	}
	return st, db, counts, spread(r, db, n)
}

func spread(ctx context.Context, db *sql.DB, n int) error {
	if _, err := db.ExecContext(ctx, `DELETE FROM userapi_revocations`); err != nil {
		return err
	}
	now := time.Now().UnixMilli()
	for done := 0; done < n; {
		var rows []string
		for ; done < n && len(rows) < 1000; done++ {
			at := now - int64(float64(done)/float64(n)*float64(lives.Milliseconds()))
			// Half are of sessions, half of users; an hour longer, so that they outlast the run.
			rows = append(rows, fmt.Sprintf("('r%08d', %d, '0198c0de-1111-7000-8000-%012d', 2, %d, %d)", done, 1+done%2, done, at, at+(lives+time.Hour).Milliseconds()))
		}
		if _, err := db.ExecContext(ctx, `INSERT INTO userapi_revocations (id, kind, subject, below_epoch, written_at, expires_at) VALUES `+strings.Join(rows, ", ")); err != nil {
			return err
		}
	}
	return nil
}

func revocations(r *Run) error {
	n := r.Few(100_000, 200)
	var cases []*Case
	var full *sqlite.Store
	var db *sql.DB
	var counts *counter
	for _, live := range []int{0, n} {
		st, base, c, err := revoked(r, live)
		if err != nil {
			return err
		}
		full, db, counts = st, base, c
		s, err := newSite(r, st, userapi.Config{})
		if err != nil {
			return err
		}
		t, err := s.tokens(r, jwt.SigningMethodHS256, hmacKey())
		if err != nil {
			return err
		}
		h, prove, err := guarded(r, s, t)
		if err != nil {
			return err
		}
		cases = append(cases, &Case{Name: fmt.Sprintf("userapi HasRoles, %s live revocations", count(float64(live))), Do: h.do, Prove: prove})
	}
	cases[1].Most = 1.1
	if _, err := r.Measure(Contest{
		Title: "A check while many revocations live",
		Text: fmt.Sprintf("%s of them, as after so many logouts and changes of roles within %v, in SQLite. The first request of half a second reads what is "+
			"new; that is in the next table and not in this one.", count(float64(n)), lives),
		Cases: cases,
	}); err != nil {
		return err
	}
	if err := spread(r, db, n); err != nil { // what was revoked a moment ago was one second old then
		return err
	}
	return nodes(r, full, db, counts, n)
}

// nodes lets ten APIs share a store for some time of a clock of their own: one request each every 10 ms.
func nodes(r *Run, st *sqlite.Store, db *sql.DB, counts *counter, live int) error {
	const number, each = 10, 10 * time.Millisecond
	lasts := time.Duration(r.Few(150, 70)) * time.Second
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	var asked []*harness
	for range number {
		s, err := newSite(r, st, userapi.Config{Now: now, FeedTimeout: time.Minute}) // on a busy machine the bound is not what is measured
		if err != nil {
			return err
		}
		t, err := s.tokens(r, jwt.SigningMethodHS256, hmacKey())
		if err != nil {
			return err
		}
		h := newHarness(s.web.HasRoles("admin")(hello), "Authorization", "Bearer "+t.right)
		if err := h.do(); err != nil {
			return err
		}
		asked = append(asked, h)
	}
	var topUps, whole, topUpRows, wholeRows int64
	var topUpTime, wholeTime time.Duration
	counts.reset()
	begin := now()
	for range lasts / each {
		ahead.Add(int64(each))
		for _, h := range asked {
			statements, rows, began := counts.Statements.Load(), counts.Rows.Load(), time.Now()
			if err := h.do(); err != nil {
				return err
			}
			took := time.Since(began)
			switch rows = counts.Rows.Load() - rows; {
			case counts.Statements.Load() == statements:
			case rows >= int64(live):
				whole, wholeRows, wholeTime = whole+1, wholeRows+rows, wholeTime+took
			default:
				topUps, topUpRows, topUpTime = topUps+1, topUpRows+rows, topUpTime+took
			}
		}
	}
	seconds := now().Sub(begin).Seconds() * number
	all, bytes := counts.Statements.Load(), counts.Bytes.Load()
	for !strings.Contains(*counts.last.Load(), "written_at >= ?") { // the last one may have been that of the minute
		ahead.Add(int64(time.Second))
		if err := asked[0].do(); err != nil {
			return err
		}
	}
	index, err := topUpIndex(r, db, *counts.last.Load())
	if err != nil {
		return err
	}
	by := func(n int64, of int64) float64 { return float64(n) / float64(max(of, 1)) }
	overlap := float64(live) * 15 / lives.Seconds()
	s := Section{
		Title: fmt.Sprintf("Ten nodes and %s live revocations", count(float64(live))),
		Text: fmt.Sprintf("Ten APIs share one SQLite database; each checks a token every %v, for %v of a clock that runs ahead. A top-up reads again the "+
			"last 15 s, for rows that were committed late; once a minute all live rows are read.", each, lasts),
		Rows: []Row{
			Figure("top-ups by node", fmt.Sprintf("%.2f/s", float64(topUps+whole)/seconds)).Aim("≤ 2/s", float64(topUps+whole)/seconds <= 2.05, ""),
			Figure("statements by node", fmt.Sprintf("%.2f/s", float64(all)/seconds)),
			Figure("bytes of values by node", size(float64(bytes)/seconds)+"/s"),
			Figure("rows of a top-up", fmt.Sprintf("%.0f of %s", by(topUpRows, topUps), count(float64(live)))).
				Aim(fmt.Sprintf("the last 15 s: %.0f", overlap), by(topUpRows, topUps) <= overlap*1.1+10, ""),
			Figure("index that a top-up walks", "`"+index+"`").Aim("the one by time of writing", strings.HasSuffix(index, "_by_time"),
				"the database walks all that live and leaves out what is older, so that the time of a top-up grows with their number"),
			Figure("time of a top-up", span(by(int64(topUpTime), topUps))),
			Figure("rows when all are read, once a minute", count(by(wholeRows, whole))),
			Figure("time of that", span(by(int64(wholeTime), whole))),
			Figure("share of a core that a node spends on it", fmt.Sprintf("%.2f %%", 100*(topUpTime+wholeTime).Seconds()/seconds)),
		},
	}
	r.Add(s)
	return nil
}

// topUpIndex is what SQLite finds the rows of a top-up by.
func topUpIndex(ctx context.Context, db *sql.DB, query string) (string, error) {
	var id, parent, unused int
	var plan string
	if err := db.QueryRowContext(ctx, "EXPLAIN QUERY PLAN "+query, 1, 1).Scan(&id, &parent, &unused, &plan); err != nil {
		return "", err
	}
	_, index, _ := strings.Cut(plan, " INDEX ")
	index, _, _ = strings.Cut(index, " ")
	return index, nil
}
