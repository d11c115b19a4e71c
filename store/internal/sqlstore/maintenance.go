package sqlstore

import (
	"context"

	"github.com/userapi/userapi"
)

// sweepStep is how many rows one statement deletes: their locks are held no longer than that takes.
const sweepStep = 500

// Sweep implements userapi.MaintenanceStore.
func (s *Store) Sweep(ctx context.Context, w userapi.SweepBefore) (int, error) {
	now := millis(w.Now)
	swept := 0
	sweep := func(batch int, table, key, cond string, args ...any) (int, error) {
		n, err := s.sweep(ctx, batch, table, key, cond, args...)
		swept += n
		return n, err
	}
	n, err := sweep(w.Batch, "userapi_sessions", "id", "expires_at <= ?", now)
	if err == nil && w.Idle > 0 {
		_, err = sweep(w.Batch-n, "userapi_sessions", "id", "last_seen_at <= ?", millis(w.Now.Add(-w.Idle)))
	}
	if err == nil {
		_, err = sweep(w.Batch, "userapi_limits", "limit_key", "ends_at <= ?", now)
	}
	if err == nil {
		_, err = sweep(w.Batch, "userapi_revocations", "id", "expires_at <= "+s.d.Now)
	}
	return swept, err
}

// sweep deletes at most batch rows for which cond holds. It finds them first and asks again when it deletes: no
// dialect has a DELETE with LIMIT in common with another.
func (s *Store) sweep(ctx context.Context, batch int, table, key, cond string, args ...any) (swept int, err error) {
	for swept < batch {
		var keys []string
		step := min(batch-swept, sweepStep)
		err := s.read(ctx, func(ctx context.Context, q conn) error {
			keys = nil
			return q.query(ctx, &keys, `SELECT `+key+` FROM `+table+` WHERE `+cond+` LIMIT ?`, append(args[:len(args):len(args)], step)...)
		})
		if err != nil || len(keys) == 0 {
			return swept, err
		}
		query, all, err := in(`DELETE FROM `+table+` WHERE `+key+` IN (?) AND `+cond, append([]any{keys}, args...)...)
		if err != nil {
			return swept, err
		}
		n := 0
		err = s.write(ctx, userapi.Event{}, func(ctx context.Context, q conn) error {
			n, err = q.exec(ctx, query, all...)
			return err
		})
		if err != nil {
			return swept, err
		}
		swept += n
		if len(keys) < step {
			break
		}
	}
	return swept, nil
}

// Ping implements userapi.MaintenanceStore.
func (s *Store) Ping(ctx context.Context) error {
	return s.read(ctx, func(ctx context.Context, q conn) error {
		_, err := q.exists(ctx, `SELECT 1`)
		return err
	})
}
