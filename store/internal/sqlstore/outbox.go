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
		var due []string
		err := s.read(ctx, func(ctx context.Context, q conn) (err error) {
			due, err = s.dueMessages(ctx, q, min(limit, 1))
			return err
		})
		if err != nil || len(due) == 0 {
			return nil, err
		}
		var leased []userapi.SealedMessage
		err = s.write(ctx, userapi.Event{}, func(ctx context.Context, q conn) (err error) {
			leased, err = s.leaseMessages(ctx, q, limit, lease)
			return err
		})
		switch {
		case err == nil:
			return leased, nil
		case !errors.Is(err, errNothing):
			return nil, err
		}
		// Others were faster with all that was found: what is due behind it?
	}
}

func (s *Store) dueMessages(ctx context.Context, q conn, limit int) (ids []string, err error) {
	err = q.query(ctx, &ids, `SELECT id FROM userapi_outbox WHERE due_at <= `+s.d.Now+` ORDER BY due_at, id LIMIT ?`+s.share(), max(limit, 0))
	return ids, err
}

// leaseMessages looks for messages and leases those that nobody else leases meanwhile: changing their rows decides, and
// their lease then tells which they are. errNothing when there are none.
func (s *Store) leaseMessages(ctx context.Context, q conn, limit int, lease time.Duration) ([]userapi.SealedMessage, error) {
	ids, err := s.dueMessages(ctx, q, limit)
	if err != nil || len(ids) == 0 {
		return nil, cmp.Or(err, errNothing)
	}
	token := rand.Text()
	update, args, err := in(`UPDATE userapi_outbox`+s.d.Index("PRIMARY")+` SET attempt = attempt + 1, lease = ?, due_at = `+s.d.Now+` + ?
		WHERE id IN (?) AND due_at <= `+s.d.Now, token, lease.Milliseconds(), ids)
	if err != nil {
		return nil, err
	}
	if n, err := q.exec(ctx, update, args...); err != nil || n == 0 {
		return nil, cmp.Or(err, errNothing)
	}
	query, args, err := in(`SELECT id, challenge_id, user_id, sealed, attempt, expires_at FROM userapi_outbox
		WHERE id IN (?) AND lease = ?`, ids, token)
	if err != nil {
		return nil, err
	}
	var rows []messageRow
	if err := q.query(ctx, &rows, query, args...); err != nil {
		return nil, err
	}
	slices.SortFunc(rows, func(a, b messageRow) int { return cmp.Compare(slices.Index(ids, a.ID), slices.Index(ids, b.ID)) })
	leased := make([]userapi.SealedMessage, len(rows))
	for i, r := range rows {
		leased[i] = r.message()
	}
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
			return endMessage(ctx, q, w.ID)
		})
	}
	return s.write(ctx, w.Event, func(ctx context.Context, q conn) error {
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
		if err := endMessage(ctx, q, w.ID); err != nil {
			return err
		}
		return deleteMessages(ctx, q, challenges)
	})
}

func endMessage(ctx context.Context, q conn, id string) error {
	n, err := q.exec(ctx, `DELETE FROM userapi_outbox WHERE id = ?`, id)
	if err == nil && n == 0 {
		err = userapi.ErrNotFound
	}
	return err
}
