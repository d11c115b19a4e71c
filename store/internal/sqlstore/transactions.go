package sqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/userapi/userapi"
)

const (
	maxLost     = 4                     // how often a lost connection is replaced
	maxPause    = 40 * time.Millisecond // between two tries, at most
	embedPause  = 2 * time.Millisecond  // the same for an embedded database, whose lock is polled for
	rollbackFor = time.Second
)

// errNothing rolls a write back that found nothing to do.
var errNothing = errors.New("nothing to write")

// errEventKnown is also what becomes of two events with one id.
var errEventKnown = errors.New("an event with this id is stored already")

// isAnswer reports whether err is what an intent found out, and no failure.
func isAnswer(err error) bool {
	var known *userapi.Error
	return errors.As(err, &known) || errors.Is(err, errNothing)
}

// read runs an intent that changes nothing. It may run more than once.
func (s *Store) read(ctx context.Context, intent func(ctx context.Context, q conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, readDeadline)
	defer cancel()
	if s.host != nil {
		return s.failed(ctx, intent(ctx, *s.host))
	}
	for try, lost := 0, 0; ; try++ {
		err := intent(ctx, s.reads)
		if err == nil || isAnswer(err) {
			return err
		}
		fault := s.d.Fault(err)
		if fault == Lost {
			lost++
		}
		if !s.again(ctx, fault, try, lost) {
			return s.failed(ctx, err)
		}
	}
}

// write runs an intent in a transaction, with its event, and repeats the whole of it on a conflict.
//
// The event is written first: its id is the primary key of an append-only table, so it is what tells a repetition that
// the try before it took effect after all, even one whose COMMIT is still on its way: the insert waits for that.
func (s *Store) write(ctx context.Context, e userapi.Event, intent func(ctx context.Context, q conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, userapi.WriteDeadline)
	defer cancel()
	if s.host != nil {
		err := intent(ctx, *s.host)
		if err == nil {
			err = addEvent(ctx, *s.host, e)
		}
		return s.failed(ctx, err)
	}
	inDoubt := false
	for try, lost := 0, 0; ; try++ {
		committing, err := s.attempt(ctx, e, intent)
		switch {
		case err == nil, inDoubt && errors.Is(err, errEventKnown):
			return nil
		case isAnswer(err):
			return err
		}
		fault := s.d.Fault(err)
		if fault != Conflict && committing && !s.d.Embedded {
			if e.ID == "" {
				return userapi.ErrUnavailable.Wrap(fmt.Errorf("the outcome of COMMIT is unknown: %w", err))
			}
			inDoubt, fault = true, Lost
		}
		if fault == Lost {
			lost++
		}
		if !s.again(ctx, fault, try, lost) {
			if inDoubt {
				return userapi.ErrUnavailable.Wrap(fmt.Errorf("the outcome of COMMIT is unknown: %w", err))
			}
			return s.failed(ctx, err)
		}
	}
}

// statement runs an intent of one statement without an event. It is a transaction by itself, so a database is asked once. In an embedded
// database it waits for another process as long as the host's busy_timeout says, and nobody cuts it short: its outcome is never in doubt.
func (s *Store) statement(ctx context.Context, intent func(ctx context.Context, q conn) error) error {
	if s.host != nil {
		return s.write(ctx, userapi.Event{}, intent)
	}
	ctx, cancel := context.WithTimeout(ctx, userapi.WriteDeadline)
	defer cancel()
	for try := 0; ; try++ {
		err := s.alone(ctx, intent)
		if err == nil || s.d.Fault(err) != Conflict || !s.pause(ctx, try) {
			return s.failed(ctx, err)
		}
	}
}

func (s *Store) alone(ctx context.Context, intent func(ctx context.Context, q conn) error) error {
	if s.writer != nil {
		done, err := s.turn(ctx)
		if err != nil {
			return err
		}
		defer done()
		if err := ctx.Err(); err != nil {
			return err
		}
		ctx = context.WithoutCancel(ctx)
	}
	return intent(ctx, s.reads)
}

// attempt is one transaction on a connection of its own. committing tells that err came from COMMIT.
func (s *Store) attempt(ctx context.Context, e userapi.Event, intent func(ctx context.Context, q conn) error) (committing bool, err error) {
	if s.writer != nil {
		done, err := s.turn(ctx)
		if err != nil {
			return false, err
		}
		defer done()
	}
	c, err := s.db.Connx(ctx)
	if err != nil {
		return false, err
	}
	defer c.Close()
	committed := false // a panic leaves no transaction on the connection either
	defer func() {
		if !committed {
			s.rollback(ctx, c)
		}
	}()
	if err = s.d.Begin(ctx, c.Conn); err != nil {
		return false, err
	}
	q := s.on(c)
	if err = addEvent(ctx, q, e); err != nil {
		if s.d.Violated(err) == "id" {
			err = errEventKnown
		}
		return false, err
	}
	if err = intent(ctx, q); err != nil {
		return false, err
	}
	if err = ctx.Err(); err != nil {
		return false, err
	}
	err = s.commit(ctx, c)
	committed = err == nil
	return true, err
}

// turn lets other processes write to an embedded database: they poll for its lock, and would not find it free while
// the writers here hand it to each other.
type turn struct{ began, ended time.Time }

const (
	turnLasts = 200 * time.Millisecond
	turnPause = 8 * time.Millisecond // a Store of another process looks at least that often
)

// turn waits for the turn to write. Who has it calls done.
func (s *Store) turn(ctx context.Context) (done func(), err error) {
	select {
	case t := <-s.writer:
		t.makeWay()
		return func() { t.ended = time.Now(); s.writer <- t }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// makeWay pauses when writers of this process have followed each other for long.
func (t *turn) makeWay() {
	now := time.Now()
	if now.Sub(t.ended) > turnPause {
		t.began = now
	}
	if now.Sub(t.began) > turnLasts {
		time.Sleep(turnPause)
		t.began = time.Now()
	}
}

// commit is not ended by the caller: who goes away now would leave the outcome in doubt.
func (s *Store) commit(ctx context.Context, c *sqlx.Conn) error {
	end := context.WithoutCancel(ctx)
	if deadline, ok := ctx.Deadline(); ok && !s.d.Embedded {
		var cancel context.CancelFunc
		end, cancel = context.WithDeadline(end, deadline)
		defer cancel()
	}
	_, err := c.ExecContext(end, "COMMIT")
	return err
}

// rollback leaves nothing of a transaction on the connection, or throws the connection away.
func (s *Store) rollback(ctx context.Context, c *sqlx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackFor)
	defer cancel()
	if _, err := c.ExecContext(ctx, "ROLLBACK"); err != nil && !strings.Contains(err.Error(), "no transaction is active") {
		_ = c.Raw(func(any) error { return driver.ErrBadConn })
	}
}

// again waits and reports whether another try makes sense.
func (s *Store) again(ctx context.Context, fault Fault, try, lost int) bool {
	return (fault == Conflict || fault == Lost && lost < maxLost) && s.pause(ctx, try)
}

// pause waits a random moment that grows with the tries. false: there is no time left.
func (s *Store) pause(ctx context.Context, try int) bool {
	most := min(time.Millisecond<<min(try, 10), maxPause)
	if s.d.Embedded {
		most = embedPause
	}
	timer := time.NewTimer(rand.N(most) + 1) // #nosec G404 -- jitter
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
