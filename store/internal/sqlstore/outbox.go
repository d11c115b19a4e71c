package sqlstore

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/userapi/userapi"
)

type messageRow struct {
	ID          string `db:"id"`
	ChallengeID string `db:"challenge_id"`
	UserID      string `db:"user_id"`
	Sealed      []byte `db:"sealed"`
	Attempt     int    `db:"attempt"`
	ExpiresAt   int64  `db:"expires_at"`
}

func (r messageRow) message() userapi.SealedMessage {
	return userapi.SealedMessage{
		ID: r.ID, ChallengeID: r.ChallengeID, UserID: r.UserID, Sealed: r.Sealed, Attempt: r.Attempt, ExpiresAt: moment(r.ExpiresAt),
	}
}

func (s *Store) insertMessage(ctx context.Context, q conn, m userapi.SealedMessage) error {
	sealed := append([]byte{}, m.Sealed...) // nil would be NULL
	_, err := q.exec(ctx, `INSERT INTO userapi_outbox (id, challenge_id, user_id, sealed, attempt, lease, due_at, expires_at)
		VALUES (?, ?, ?, ?, ?, '', `+s.d.Now+`, ?)`, m.ID, m.ChallengeID, m.UserID, sealed, m.Attempt, millis(m.ExpiresAt))
	return err
}

// deleteMessages deletes what waits to be sent for challenges that are over.
func deleteMessages(ctx context.Context, q conn, challengeIDs []string) error {
	return deleteAll(ctx, q, `DELETE FROM userapi_outbox WHERE challenge_id IN (?)`, challengeIDs)
}

// LeaseMessages implements userapi.OutboxStore. The oldest are those that have been due for longest, so one that fails again and
// again keeps no other waiting. Where nothing is due it is one read. A lease whose COMMIT is in doubt is ErrUnavailable: the
// messages are due again when it runs out.
func (s *Store) LeaseMessages(ctx context.Context, limit int, lease time.Duration) ([]userapi.SealedMessage, error) {
	for {
		due, err := s.dueMessages(ctx, limit)
		if err != nil || len(due) == 0 {
			return nil, err
		}
		leased, err := s.leaseMessages(ctx, due, lease)
		if err != nil || len(leased) > 0 {
			return leased, err
		}
		// Others were faster with all of these: what is due behind them?
	}
}

func (s *Store) dueMessages(ctx context.Context, limit int) (ids []string, err error) {
	err = s.read(ctx, func(ctx context.Context, q conn) error {
		ids = nil
		return q.query(ctx, &ids, `SELECT id FROM userapi_outbox WHERE due_at <= `+s.d.Now+` ORDER BY due_at, id LIMIT ?`+s.share(), max(limit, 0))
	})
	return ids, err
}

// leaseMessages leases those of the messages that nobody else has leased meanwhile. It begins by changing their rows, and
// their lease then tells which they are.
func (s *Store) leaseMessages(ctx context.Context, ids []string, lease time.Duration) (leased []userapi.SealedMessage, err error) {
	token := rand.Text()
	update, updateArgs, err := in(`UPDATE userapi_outbox`+s.d.Index("PRIMARY")+` SET attempt = attempt + 1, lease = ?, due_at = `+s.d.Now+` + ?
		WHERE id IN (?) AND due_at <= `+s.d.Now, token, lease.Milliseconds(), ids)
	if err != nil {
		return nil, err
	}
	query, args, err := in(`SELECT id, challenge_id, user_id, sealed, attempt, expires_at FROM userapi_outbox
		WHERE id IN (?) AND lease = ?`, ids, token)
	if err != nil {
		return nil, err
	}
	err = s.write(ctx, userapi.Event{}, func(ctx context.Context, q conn) error {
		leased = nil
		n, err := q.exec(ctx, update, updateArgs...)
		if err != nil || n == 0 {
			return cmp.Or(err, errNothing)
		}
		var rows []messageRow
		if err := q.query(ctx, &rows, query, args...); err != nil {
			return err
		}
		for _, r := range rows {
			leased = append(leased, r.message())
		}
		return nil
	})
	if err != nil {
		return nil, known(err)
	}
	slices.SortFunc(leased, func(a, b userapi.SealedMessage) int {
		return cmp.Compare(slices.Index(ids, a.ID), slices.Index(ids, b.ID))
	})
	return leased, nil
}

// DelayMessage implements userapi.OutboxStore.
func (s *Store) DelayMessage(ctx context.Context, w userapi.MessageDelay) error {
	return s.statement(ctx, func(ctx context.Context, q conn) error {
		_, err := q.exec(ctx, `UPDATE userapi_outbox SET due_at = `+s.d.Now+` + ? WHERE id = ? AND attempt = ?`,
			w.After.Milliseconds(), w.ID, w.Attempt)
		return err
	})
}

// EndMessage implements userapi.OutboxStore. With w.Void the other messages of the challenge go too.
func (s *Store) EndMessage(ctx context.Context, w userapi.MessageEnd) error {
	if !w.Void && w.Event.ID == "" {
		return s.statement(ctx, func(ctx context.Context, q conn) error {
			_, err := q.exec(ctx, `DELETE FROM userapi_outbox WHERE id = ?`, w.ID)
			return err
		})
	}
	return known(s.write(ctx, w.Event, func(ctx context.Context, q conn) error {
		var challenges []string
		if w.Void {
			err := q.query(ctx, &challenges, `SELECT challenge_id FROM userapi_outbox WHERE id = ? AND challenge_id <> ''`, w.ID)
			if err != nil {
				return err
			}
		}
		// A challenge goes before its messages, as everywhere: two that do so in one order never wait for each other.
		if err := deleteAll(ctx, q, `DELETE FROM userapi_challenges WHERE id IN (?)`, challenges); err != nil {
			return err
		}
		n, err := q.exec(ctx, `DELETE FROM userapi_outbox WHERE id = ?`, w.ID)
		if err != nil || n == 0 {
			return cmp.Or(err, errNothing)
		}
		return deleteMessages(ctx, q, challenges)
	}))
}

// known takes a write that found nothing to do for done.
func known(err error) error {
	if errors.Is(err, errNothing) {
		return nil
	}
	return err
}
