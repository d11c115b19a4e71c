package sqlstore

import (
	"context"
	"time"

	"github.com/userapi/userapi"
)

// sweepStep is how many rows one statement deletes: their locks are held no longer than that takes.
const sweepStep = 500

// messagesStay is how long a message outlives its end, so that somebody is told of it.
const messagesStay = time.Hour

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
	for _, kind := range []struct {
		table, key, cond string
		args             []any
	}{
		{"userapi_limits", "limit_key", "kept_until <= ?", []any{now}},
		{"userapi_challenges", "id", "expires_at <= ?", []any{now}},
		{"userapi_outbox", "id", "expires_at <= ?", []any{millis(w.Now.Add(-messagesStay))}},
		{"userapi_revocations", "id", "expires_at <= " + s.d.Now, nil},
	} {
		if err == nil {
			_, err = sweep(w.Batch, kind.table, kind.key, kind.cond, kind.args...)
		}
	}
	if err == nil && !w.PendingBefore.IsZero() {
		n, err = s.sweepPending(ctx, w.Batch, millis(w.PendingBefore))
		swept += n
	}
	return swept, err
}

// sweep deletes at most batch rows for which cond holds.
func (s *Store) sweep(ctx context.Context, batch int, table, key, cond string, args ...any) (swept int, err error) {
	return s.inSteps(ctx, batch, `DELETE FROM `+table, table, key, cond, args...)
}

// inSteps runs a DELETE or UPDATE of at most batch rows for which cond holds, until it holds for none. It finds them first and asks
// again when it writes: no dialect has a LIMIT there in common with another.
func (s *Store) inSteps(ctx context.Context, batch int, change, table, key, cond string, args ...any) (swept int, err error) {
	for swept < batch {
		var keys []string
		step := min(batch-swept, sweepStep)
		err := s.read(ctx, func(ctx context.Context, q conn) error {
			keys = nil
			return q.query(ctx, &keys, `SELECT `+key+` FROM `+table+` WHERE `+cond+` LIMIT ?`+s.share(), append(args[:len(args):len(args)], step)...)
		})
		if err != nil || len(keys) == 0 {
			return swept, err
		}
		query, all, err := in(change+` WHERE `+key+` IN (?) AND `+cond, append([]any{keys}, args...)...)
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

// sweepPending erases at most batch accounts that are pending since before a moment.
func (s *Store) sweepPending(ctx context.Context, batch int, before int64) (swept int, err error) {
	const cond = `pending_since < ?`
	for swept < batch {
		var ids []string
		step := min(batch-swept, sweepStep)
		err := s.read(ctx, func(ctx context.Context, q conn) error {
			ids = nil
			return q.query(ctx, &ids, `SELECT id FROM userapi_users WHERE `+cond+` LIMIT ?`+s.share(), before, step)
		})
		if err != nil || len(ids) == 0 {
			return swept, err
		}
		n, err := s.erasePending(ctx, ids, cond, before)
		swept += n
		if err != nil || len(ids) < step {
			return swept, err
		}
	}
	return swept, nil
}

// erasePending erases those of the accounts for which cond still holds. Their rows change first, so that whoever activates
// one conflicts with it.
func (s *Store) erasePending(ctx context.Context, ids []string, cond string, args ...any) (n int, err error) {
	change, changeArgs, err := in(`UPDATE userapi_users`+s.d.Index("PRIMARY")+` SET version = version + 1 WHERE id IN (?) AND `+cond, append([]any{ids}, args...)...)
	if err != nil {
		return 0, err
	}
	query, queryArgs, err := in(`SELECT id FROM userapi_users WHERE id IN (?) AND `+cond+s.share(), append([]any{ids}, args...)...)
	if err != nil {
		return 0, err
	}
	err = s.write(ctx, userapi.Event{}, func(ctx context.Context, q conn) error {
		if _, err := q.exec(ctx, change, changeArgs...); err != nil {
			return err
		}
		var pending []string
		if err := q.query(ctx, &pending, query, queryArgs...); err != nil {
			return err
		}
		if n = len(pending); n == 0 {
			return nil
		}
		return s.eraseUsers(ctx, q, pending)
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// Ping implements userapi.MaintenanceStore.
func (s *Store) Ping(ctx context.Context) error {
	return s.read(ctx, func(ctx context.Context, q conn) error {
		_, err := q.exec(ctx, s.d.Ping)
		return err
	})
}
