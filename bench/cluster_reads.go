package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/userapi/userapi"
)

// missed is what became of reads at another node right after an acknowledged write.
type missed struct {
	asked int
	late  []float64 // ns from the acknowledgement until the read found it, of those that missed it at first
	first []float64 // ns of the first read
}

func (m *missed) row(name string) Row {
	text := fmt.Sprintf("%.3g %% of %s", 100*float64(len(m.late))/float64(max(1, m.asked)), count(float64(m.asked)))
	if len(m.late) > 0 {
		text += fmt.Sprintf(", there after %s, p99 %s, at most %s", span(median(m.late)), span(quantile(m.late, 0.99)), span(slices.Max(m.late)))
	}
	return Figure(name, text)
}

// until asks until it is found, and counts.
func (m *missed) until(find func() (bool, error)) error {
	began := time.Now()
	for first := true; ; first = false {
		at := time.Now()
		ok, err := find()
		if err != nil {
			return err
		}
		if first {
			m.asked++
			m.first = append(m.first, float64(time.Since(at)))
		}
		if ok {
			if !first {
				m.late = append(m.late, float64(time.Since(began)))
			}
			return nil
		}
		if time.Since(began) > 30*time.Second {
			return errors.New("it is not there after half a minute")
		}
	}
}

// behind writes at one node and reads at the next, at once.
func behind(r *Run, c *galera) error {
	for _, load := range []int{0, loadWriters} {
		rows, err := c.behind(r, load)
		if err != nil {
			return err
		}
		title := "What the next node does not see yet, nothing else running"
		if load > 0 {
			title = fmt.Sprintf("What the next node does not see yet, under a load of %d writers", load)
		}
		r.Add(Section{Title: title, Rows: rows, Text: `A write is acknowledged at one node, and what it wrote is read at the next node at once, in turns with each setting of wsrep_sync_wait. What is missed
is asked for until it is there. A commit is acknowledged when all nodes have it and agreed on its place; they apply it after that. A refresh at a node that does not know the session yet
is answered as one of an ended session: its owner has to log in again.`})
	}
	return nil
}

func (c *galera) behind(r *Run, load int) (rows []Row, err error) {
	hows := []string{wait0, wait1, wait7}
	apis := map[string][]*userapi.API{}
	for _, how := range hows {
		if apis[how], err = c.apis(r, how); err != nil {
			return nil, err
		}
	}
	caller := userapi.Anonymous().From("192.0.2.1", "bench")
	register := func(i int) (userapi.User, error) {
		u := c.newcomer(c.anyCustomer())
		u.PasswordHash, u.Password = "", password
		return apis[wait7][i].Users.Create(r, userapi.System(), u)
	}
	found := func(err, missing error) (bool, error) {
		if errors.Is(err, missing) {
			return false, nil
		}
		return err == nil, err
	}
	kinds := []struct {
		name string
		ask  func(i, j int, how string, m *missed) error
	}{
		{"a look-up of who has just registered", func(i, j int, how string, m *missed) error {
			u, err := register(i)
			if err != nil {
				return err
			}
			return m.until(func() (bool, error) {
				_, err := apis[how][j].Users.ByID(r, userapi.System(), u.ID)
				return found(err, userapi.ErrNotFound)
			})
		}},
		{"a login of who has just registered", func(i, j int, how string, m *missed) error {
			u, err := register(i)
			if err != nil {
				return err
			}
			return m.until(func() (bool, error) {
				_, _, err := apis[how][j].Auth.Login(r, caller, userapi.LoginRequest{Identifier: u.Username, Password: password})
				return found(err, userapi.ErrBadCredentials)
			})
		}},
		{"a refresh of a session that has just begun", func(i, j int, how string, m *missed) error {
			_, tokens, err := apis[wait7][i].Auth.IssueTokens(r, userapi.System(), userID(rand.IntN(1000)), "pwd")
			if err != nil {
				return err
			}
			return m.until(func() (bool, error) {
				_, err := apis[how][j].Auth.Refresh(r, caller, tokens.Refresh)
				return found(err, userapi.ErrTokenRevoked) // as of a session that has ended
			})
		}},
		{"the feed's row of a logout", func(i, j int, how string, m *missed) error {
			_, tokens, err := apis[wait7][i].Auth.IssueTokens(r, userapi.System(), userID(rand.IntN(1000)), "pwd")
			if err != nil {
				return err
			}
			id, err := apis[wait7][i].Auth.Authenticate(r, string(tokens.Access))
			if err != nil {
				return err
			}
			since := time.Now().Add(-time.Second).UnixMilli()
			if err := apis[wait7][i].Auth.Logout(r, caller, tokens.Refresh); err != nil {
				return err
			}
			d, err := c.at(r, j, how)
			if err != nil {
				return err
			}
			return m.until(func() (bool, error) {
				live, _, err := d.store.Revocations(r, since)
				return slices.ContainsFunc(live, func(v userapi.Revocation) bool { return v.Subject == id.SessionID() }), err
			})
		}},
		{"a change of a session that has just begun, by one statement of the store", func(i, j int, how string, m *missed) error {
			user := userID(rand.IntN(1000))
			_, tokens, err := apis[wait7][i].Auth.IssueTokens(r, userapi.System(), user, "pwd")
			if err != nil {
				return err
			}
			id, err := apis[wait7][i].Auth.Authenticate(r, string(tokens.Access))
			if err != nil {
				return err
			}
			rotation, err := c.rotation(r, i, user, id.SessionID())
			if err != nil {
				return err
			}
			d, err := c.at(r, j, how)
			if err != nil {
				return err
			}
			return m.until(func() (bool, error) {
				err := d.store.RotateSession(r, rotation)
				return found(err, userapi.ErrChanged)
			})
		}},
	}
	work := func() error {
		for _, kind := range kinds {
			by := map[string]*missed{}
			for _, how := range hows {
				by[how] = &missed{}
			}
			for n := range r.Few(r.Rounds, 2) {
				order := slices.Clone(hows)
				rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
				for _, how := range order {
					if err := kind.ask(n%galeraNodes, (n+1)%galeraNodes, how, by[how]); err != nil {
						return fmt.Errorf("%s, %s: %w", kind.name, how, err)
					}
				}
			}
			for _, how := range hows {
				row := by[how].row(kind.name + ", " + how)
				if how == wait7 {
					row = row.Aim("none is missed", len(by[how].late) == 0, "")
				}
				rows = append(rows, row)
			}
		}
		return nil
	}
	return rows, c.under(r, load, work)
}

// rotation is the next one of a session.
func (c *galera) rotation(r *Run, i int, user, session string) (next userapi.SessionRotation, err error) {
	d, err := c.at(r, i, wait7)
	if err == nil {
		next = userapi.SessionRotation{ID: session, UserID: user, At: time.Now()}
		err = d.db.QueryRowContext(r, `SELECT s.counter, u.epoch FROM userapi_sessions s JOIN userapi_users u ON u.id = s.user_id WHERE s.id = ?`, []byte(session)).Scan(&next.Counter, &next.IfEpoch)
	}
	return next, err
}

// waits is what wsrep_sync_wait costs.
func waits(r *Run, c *galera) error {
	for _, load := range []int{0, loadWriters} {
		var cases []*Case
		for _, what := range []string{"a read (Users.ByID)", "a write (Users.Create)", "a refresh"} {
			var first *Case
			for _, how := range []string{wait0, wait1, wait7} {
				k, err := c.waiting(r, what, how)
				if err != nil {
					return err
				}
				if first == nil {
					first = k
				}
				k.Against = first
				cases = append(cases, k)
			}
		}
		title := "What wsrep_sync_wait costs, nothing else running"
		if load > 0 {
			title = fmt.Sprintf("What wsrep_sync_wait costs, under a load of %d writers", load)
		}
		if err := c.under(r, load, func() error {
			_, err := r.Measure(Contest{Title: title, Cases: cases, NoAllocs: true, Rounds: max(2, r.Rounds/3), Text: "One caller at one node, one call after the other; the write load, if any, is at all three. The ratio is to the same with wsrep_sync_wait=0. Who waits asks the cluster how far it is, and waits until its own node has applied that much: a message when nothing runs, the length of the queue under load. With 1 a SELECT and the beginning of a transaction wait, with 7 also a write of one statement, as is the second half of a refresh."})
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

func (c *galera) waiting(r *Run, what, how string) (*Case, error) {
	d, err := c.at(r, 1, how)
	if err != nil {
		return nil, err
	}
	api, err := d.unlimitedAPI()
	if err != nil {
		return nil, err
	}
	k := &Case{Name: what + ", " + how}
	switch what[:6] {
	case "a read":
		k.Do = func() error { _, err := api.Users.ByID(r, userapi.System(), userID(rand.IntN(1000))); return err }
	case "a writ":
		k.Do = func() error {
			_, err := api.Users.Create(r, userapi.System(), c.newcomer(c.customers[0]))
			return err
		}
	default:
		_, tokens, err := api.Auth.IssueTokens(r, userapi.System(), userID(rand.IntN(1000)), "pwd")
		if err != nil {
			return nil, err
		}
		k.Do = func() (err error) {
			tokens, err = api.Auth.Refresh(r, userapi.Anonymous().From("192.0.2.1", "bench"), tokens.Refresh)
			return err
		}
	}
	return k, nil
}

// halves counts transactions of a host's that were committed by half: they were aborted while one of their SELECTs was prepared.
func halves(r *Run, c *galera) error {
	for _, query := range []string{
		"CREATE TABLE of_the_host (id INT PRIMARY KEY, n INT NOT NULL)", "CREATE TABLE marks_of_the_host (id VARCHAR(40) PRIMARY KEY, counter INT NOT NULL)",
	} {
		d, err := c.at(r, 0, wait7)
		if err != nil {
			return err
		}
		if _, err := d.db.ExecContext(r, query); err != nil {
			return err
		}
	}
	var rows []Row
	for i, how := range []string{wait7, wait7 + "&interpolateParams=true"} {
		acknowledged, half, err := c.halves(r, i, how)
		if err != nil {
			return err
		}
		name := map[int]string{0: "the driver prepares: " + how, 1: how}[i]
		row := Figure(name, fmt.Sprintf("%d by half, beside %s committed", half, count(float64(acknowledged))))
		if i == 1 {
			row = row.Aim("none by half", half == 0, "")
		}
		rows = append(rows, row)
	}
	r.Add(Section{Title: "Transactions of a host's that were committed by half", Rows: rows, Text: `12 callers at three nodes change one row, read it with an argument and insert another, in a transaction of database/sql
(as hosts have them with WithTx). What was inserted without the change is half a transaction: the server aborted it while the driver prepared the SELECT, and did not say so.`})
	return nil
}

func (c *galera) halves(r *Run, counter int, how string) (acknowledged, half int, err error) {
	first, err := c.at(r, 0, how)
	if err != nil {
		return 0, 0, err
	}
	if _, err := first.db.ExecContext(r, fmt.Sprintf("INSERT INTO of_the_host VALUES (%d, 0)", counter)); err != nil {
		return 0, 0, err
	}
	var wg sync.WaitGroup
	var done, number atomic.Int64
	began := time.Now()
	lasts := time.Duration(max(1, r.Rounds/20)) * time.Second
	for w := range 12 {
		d, err := c.at(r, w%galeraNodes, how)
		if err != nil {
			return 0, 0, err
		}
		wg.Go(func() {
			for time.Since(began) < lasts {
				tx, err := d.db.BeginTx(r, nil)
				if err != nil {
					continue
				}
				var n int
				_, err = tx.ExecContext(r, "UPDATE of_the_host SET n = n + 1 WHERE id = ?", counter)
				if err == nil {
					err = tx.QueryRowContext(r, "SELECT n FROM of_the_host WHERE id = ?", counter).Scan(&n)
				}
				if err == nil {
					_, err = tx.ExecContext(r, "INSERT INTO marks_of_the_host VALUES (?, ?)", fmt.Sprintf("%d %d", counter, number.Add(1)), counter)
				}
				if err == nil {
					err = tx.Commit()
				} else {
					_ = tx.Rollback()
				}
				if err == nil {
					done.Add(1)
				}
			}
		})
	}
	wg.Wait()
	var changed, marks int
	err = first.db.QueryRowContext(r, fmt.Sprintf("SELECT (SELECT n FROM of_the_host WHERE id = %d), (SELECT COUNT(*) FROM marks_of_the_host WHERE counter = %d)", counter, counter)).Scan(&changed, &marks)
	return int(done.Load()), marks - changed, err
}
