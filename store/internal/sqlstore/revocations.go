package sqlstore

import (
	"context"
	"crypto/rand"
	"math"
	"time"

	"github.com/userapi/userapi"
)

func (s *Store) revoke(ctx context.Context, q conn, revocations ...userapi.Revocation) error {
	for _, r := range revocations {
		_, err := q.exec(ctx, `INSERT INTO userapi_revocations (id, kind, subject, below_epoch, written_at, expires_at)
			VALUES (?, ?, ?, ?, `+s.d.Now+`, `+s.d.Now+` + ?)`, rand.Text(), int(r.Kind), r.Subject, r.Below, r.Lives.Milliseconds())
		if err != nil {
			return err
		}
	}
	return nil
}

type revocationRow struct {
	Kind      uint8  `db:"kind"`
	Subject   string `db:"subject"`
	Below     int64  `db:"below_epoch"`
	ExpiresAt int64  `db:"expires_at"`
}

// Revocations implements userapi.RevocationStore.
func (s *Store) Revocations(ctx context.Context, since int64) (live []userapi.Revocation, now int64, err error) {
	index, recent, args := ``, ``, []any{nil}
	if since > 0 { // all that lives is not gone through twice a second
		index, recent, args = s.d.Index("userapi_revocations_by_time"), ` AND written_at >= ?`, append(args, since)
	}
	query := `SELECT kind, subject, below_epoch, expires_at FROM userapi_revocations` + index + ` WHERE expires_at > ?` + recent
	err = s.read(ctx, func(ctx context.Context, q conn) error {
		// The clock first: what is written after this moment comes with the next call.
		var clock []int64
		if err := q.query(ctx, &clock, `SELECT `+s.d.Now); err != nil {
			return err
		}
		now, args[0] = clock[0], clock[0]
		var rows []revocationRow
		if err := q.query(ctx, &rows, query, args...); err != nil {
			return err
		}
		live = nil
		for _, r := range rows {
			live = append(live, userapi.Revocation{
				Kind: userapi.RevocationKind(r.Kind), Subject: r.Subject, Below: r.Below,
				Lives: time.Duration(r.ExpiresAt-now) * time.Millisecond,
			})
		}
		return nil
	})
	return live, now, err
}

// EndEverything implements userapi.RevocationStore. A million sessions or keys do not go within one transaction's deadline, so
// most of them go before it, in steps: a call that fails on the way has ended some, and is repeated.
func (s *Store) EndEverything(ctx context.Context, w userapi.EverythingEnd) error {
	const steps = 100 * sweepStep
	for n := steps; n == steps; {
		var err error
		if n, err = s.sweep(ctx, steps, "userapi_sessions", "id", "created_at <= ?", millis(w.Event.At)); err != nil {
			return err
		}
	}
	if _, err := s.inSteps(ctx, math.MaxInt, disableKeys, "userapi_keys", "id", "active = 1"); err != nil {
		return err
	}
	return s.write(ctx, w.Event, func(ctx context.Context, q conn) error {
		// The keys after the sessions: in one that is gone none is made or enabled any more.
		for _, end := range []string{`DELETE FROM userapi_sessions`, disableKeys + ` WHERE active = 1`, `DELETE FROM userapi_challenges`, `DELETE FROM userapi_outbox`} {
			if _, err := q.exec(ctx, end); err != nil {
				return err
			}
		}
		return s.revoke(ctx, q, w.Revoke)
	})
}
