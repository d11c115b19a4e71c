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
	Streak int    `db:"streak"`
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
	asked, keys := map[string]userapi.LimitTake{}, make([]string, len(takes))
	for i, t := range takes {
		asked[t.Key], keys[i] = t, t.Key
	}
	query, keyArgs, err := in(`SELECT limit_key, hits, streak, ends_at FROM userapi_limits WHERE limit_key IN (?)`, keys)
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
			if r.Hits > asked[r.Key].Max {
				wait = max(wait, time.Duration(r.EndsAt-millis(now))*time.Millisecond)
			}
		}
		if wait > 0 {
			return errNothing
		}
		return lengthen(ctx, q, now, rows, asked)
	})
	if errors.Is(err, errNothing) {
		return wait, nil
	}
	return 0, err
}

// upsertLimits counts up, or begins a new window where the old one is over. The order of the assignments counts: MySQL makes them
// from left to right, each seeing the ones before.
func (s *Store) upsertLimits(now int64, takes []userapi.LimitTake) (string, []any) {
	var args []any
	for _, t := range takes {
		ends := now + t.Window.Milliseconds()
		args = append(args, t.Key, ends, ends+t.Remembers().Milliseconds())
	}
	return `INSERT INTO userapi_limits (limit_key, hits, streak, ends_at, kept_until) VALUES ` +
			strings.TrimSuffix(strings.Repeat(`(?, 1, 0, ?, ?), `, len(takes)), ", ") + ` ` + s.d.Upsert("limit_key") + `
		streak = CASE WHEN userapi_limits.kept_until <= ? THEN 0 WHEN userapi_limits.ends_at <= ? THEN userapi_limits.streak + userapi_limits.hits
			ELSE userapi_limits.streak END,
		hits = CASE WHEN userapi_limits.ends_at <= ? THEN 1 ELSE userapi_limits.hits + 1 END,
		kept_until = CASE WHEN userapi_limits.ends_at <= ? THEN ` + s.d.Excluded("kept_until") + ` ELSE userapi_limits.kept_until END,
		ends_at = CASE WHEN userapi_limits.ends_at <= ? THEN ` + s.d.Excluded("ends_at") + ` ELSE userapi_limits.ends_at END`,
		append(args, now, now, now, now, now)
}

// lengthen makes the windows longer that have just begun within a streak: how long they last, no SQL of all dialects says.
func lengthen(ctx context.Context, q conn, now time.Time, rows []limitRow, asked map[string]userapi.LimitTake) error {
	for _, r := range rows {
		t := asked[r.Key]
		lasts := t.Lasts(r.Streak)
		if r.Hits != 1 || lasts == t.Window || r.EndsAt != millis(now.Add(t.Window)) {
			continue
		}
		ends := now.Add(lasts)
		_, err := q.exec(ctx, `UPDATE userapi_limits SET ends_at = ?, kept_until = ? WHERE limit_key = ?`, millis(ends), millis(ends.Add(t.Remembers())), r.Key)
		if err != nil {
			return err
		}
	}
	return nil
}

// ReturnLimits implements userapi.LimitStore.
func (s *Store) ReturnLimits(ctx context.Context, returns []userapi.LimitReturn) error {
	if len(returns) == 0 {
		return nil
	}
	return s.write(ctx, userapi.Event{}, func(ctx context.Context, q conn) error { return s.returnLimits(ctx, q, returns) })
}

// returnLimits is part of two writes, and the last of each: others wait for the counter of a busy address. What is cleared is over, and
// swept some day; all of it is one statement, in the order of the keys.
func (s *Store) returnLimits(ctx context.Context, q conn, returns []userapi.LimitReturn) error {
	var all, cleared []string
	var marks []userapi.LimitReturn
	for _, r := range returns {
		switch {
		case r.Mark != nil:
			marks = append(marks, r)
			continue
		case r.Clear:
			cleared = append(cleared, r.Key)
		}
		all = append(all, r.Key)
	}
	if len(all) > 0 {
		ends, args := ``, []any{}
		if len(cleared) > 0 {
			ends = `, kept_until = CASE WHEN limit_key IN (?) THEN 0 ELSE kept_until END, ends_at = CASE WHEN limit_key IN (?) THEN 0 ELSE ends_at END`
			args = append(args, cleared, cleared)
		}
		query, args, err := in(`UPDATE userapi_limits`+s.d.Index("PRIMARY")+` SET hits = CASE WHEN hits > 0 THEN hits - 1 ELSE 0 END`+ends+` WHERE limit_key IN (?)`, append(args, all)...)
		if err != nil {
			return err
		}
		if _, err := q.exec(ctx, query, args...); err != nil {
			return err
		}
	}
	for _, m := range marks {
		if err := s.mark(ctx, q, m.Key, *m.Mark); err != nil {
			return err
		}
	}
	return nil
}

// mark sets a mark, and makes room for it.
func (s *Store) mark(ctx context.Context, q conn, key string, m userapi.LimitMark) error {
	until := millis(m.Until)
	_, err := q.exec(ctx, `INSERT INTO userapi_limits (limit_key, hits, streak, ends_at, kept_until) VALUES (?, 1, 0, ?, ?) `+s.d.Upsert("limit_key")+`
		hits = 1, streak = 0, ends_at = `+s.d.Excluded("ends_at")+`, kept_until = `+s.d.Excluded("kept_until"), key, until, until)
	if err != nil {
		return err
	}
	var over []string
	err = q.query(ctx, &over, `SELECT limit_key FROM userapi_limits WHERE limit_key >= ? AND limit_key < ?
		ORDER BY ends_at DESC, limit_key DESC LIMIT ? OFFSET ?`, m.Of, m.Of+"\xff", maxEnded, m.Cap)
	if err != nil || len(over) == 0 {
		return err
	}
	return deleteAll(ctx, q, `DELETE FROM userapi_limits WHERE limit_key IN (?)`, over)
}

// ReadLimits implements userapi.LimitStore.
func (s *Store) ReadLimits(ctx context.Context, now time.Time, keys []string) (counts []userapi.LimitCount, err error) {
	if len(keys) == 0 {
		return nil, nil
	}
	query, args, err := in(`SELECT limit_key, hits, streak, ends_at FROM userapi_limits WHERE limit_key IN (?) AND ends_at > ?`, keys, millis(now))
	if err != nil {
		return nil, err
	}
	err = s.read(ctx, func(ctx context.Context, q conn) error {
		var rows []limitRow
		if err := q.query(ctx, &rows, query, args...); err != nil {
			return err
		}
		counts = nil
		for _, r := range rows {
			counts = append(counts, userapi.LimitCount{Key: r.Key, Hits: r.Hits, EndsAt: moment(r.EndsAt)})
		}
		return nil
	})
	return counts, err
}
