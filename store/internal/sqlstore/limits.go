package sqlstore

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/userapi/userapi"
)

type limitRow struct {
	Key    string `db:"limit_key"`
	Hits   int    `db:"hits"`
	EndsAt int64  `db:"ends_at"`
}

// TakeLimits implements userapi.LimitStore.
func (s *Store) TakeLimits(ctx context.Context, now time.Time, takes []userapi.LimitTake) (wait time.Duration, err error) {
	if len(takes) == 0 {
		return 0, nil
	}
	// In one order, so that two callers never wait for each other.
	takes = slices.Clone(takes)
	slices.SortFunc(takes, func(a, b userapi.LimitTake) int { return cmp.Compare(a.Key, b.Key) })
	upsert, args := s.upsertLimits(millis(now), takes)
	most, keys := map[string]int{}, make([]string, len(takes))
	for i, t := range takes {
		most[t.Key], keys[i] = t.Max, t.Key
	}
	query, keyArgs, err := in(`SELECT limit_key, hits, ends_at FROM userapi_limits WHERE limit_key IN (?)`, keys)
	if err != nil {
		return 0, err
	}
	err = s.write(ctx, userapi.Event{}, func(ctx context.Context, q conn) error {
		wait = 0
		if _, err := q.exec(ctx, upsert, args...); err != nil {
			return err
		}
		var rows []limitRow
		if err := q.query(ctx, &rows, query, keyArgs...); err != nil {
			return err
		}
		for _, r := range rows {
			if r.Hits > most[r.Key] {
				wait = max(wait, time.Duration(r.EndsAt-millis(now))*time.Millisecond)
			}
		}
		if wait > 0 {
			return errNothing
		}
		return nil
	})
	if errors.Is(err, errNothing) {
		return wait, nil
	}
	return 0, err
}

// upsertLimits counts up, or begins a new window where the old one is over. hits comes before ends_at: MySQL assigns
// from left to right, each seeing the ones before.
func (s *Store) upsertLimits(now int64, takes []userapi.LimitTake) (string, []any) {
	var args []any
	for _, t := range takes {
		args = append(args, t.Key, now+t.Window.Milliseconds())
	}
	return `INSERT INTO userapi_limits (limit_key, hits, ends_at) VALUES ` +
			strings.TrimSuffix(strings.Repeat(`(?, 1, ?), `, len(takes)), ", ") + ` ` + s.d.Upsert("limit_key") + `
		hits = CASE WHEN userapi_limits.ends_at <= ? THEN 1 ELSE userapi_limits.hits + 1 END,
		ends_at = CASE WHEN userapi_limits.ends_at <= ? THEN ` + s.d.Excluded("ends_at") + ` ELSE userapi_limits.ends_at END`,
		append(args, now, now)
}

// ReturnLimits implements userapi.LimitStore.
func (s *Store) ReturnLimits(ctx context.Context, returns []userapi.LimitReturn) error {
	if len(returns) == 0 {
		return nil
	}
	returns = slices.Clone(returns)
	slices.SortFunc(returns, func(a, b userapi.LimitReturn) int { return cmp.Compare(a.Key, b.Key) })
	return s.write(ctx, userapi.Event{}, func(ctx context.Context, q conn) error {
		for _, r := range returns {
			query := `UPDATE userapi_limits SET hits = hits - 1 WHERE limit_key = ? AND hits > 0`
			if r.Clear {
				query = `DELETE FROM userapi_limits WHERE limit_key = ?`
			}
			if _, err := q.exec(ctx, query, r.Key); err != nil {
				return err
			}
		}
		return nil
	})
}
