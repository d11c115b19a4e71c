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
	returning, err := s.returning(ctx)
	if err != nil {
		return 0, err
	}
	err = s.write(ctx, userapi.Event{}, func(ctx context.Context, q conn) error {
		wait = 0
		var rows []limitRow
		if err := readCounted(ctx, q, &rows, returning, upsert, args, keys); err != nil {
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

const limitColumns = `limit_key, hits, streak, ends_at`

// readCounted counts up and reads how the counters stand then.
func readCounted(ctx context.Context, q conn, rows *[]limitRow, returning bool, upsert string, args []any, keys []string) error {
	if returning {
		return q.query(ctx, rows, upsert+` RETURNING `+limitColumns, args...)
	}
	if _, err := q.exec(ctx, upsert, args...); err != nil {
		return err
	}
	query, args, err := in(`SELECT `+limitColumns+` FROM userapi_limits WHERE limit_key IN (?)`, keys)
	if err != nil {
		return err
	}
	return q.query(ctx, rows, query, args...)
}

// returning is Dialect.Returning, asked once.
func (s *Store) returning(ctx context.Context) (bool, error) {
	if s.d.Returning == nil {
		return true, nil
	}
	if known := s.returns.Load(); known != nil {
		return *known, nil
	}
	ctx, cancel := context.WithTimeout(ctx, readDeadline)
	defer cancel()
	can, err := s.d.Returning(ctx, s.db.DB)
	if err != nil {
		return false, s.failed(ctx, err)
	}
	s.returns.Store(&can)
	return can, nil
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

// returnLimits is part of two writes, and the last of each: others wait for the counter of a busy address. All of it is one statement, in
// the order of the keys, each of them once. The rows it would insert say what is to become of those that are there: with hits below 0 so
// many attempts are taken back; others replace the row, by a mark, or by a counter that is over and swept some day.
func (s *Store) returnLimits(ctx context.Context, q conn, returns []userapi.LimitReturn) error {
	if len(returns) == 0 {
		return nil
	}
	returns = slices.Clone(returns)
	slices.SortStableFunc(returns, func(a, b userapi.LimitReturn) int { return cmp.Compare(a.Key, b.Key) })
	var rows []limitRow
	for _, r := range returns {
		row := limitRow{Key: r.Key, Hits: -1}
		switch {
		case r.Mark != nil:
			row.Hits, row.EndsAt = 1, millis(r.Mark.Until)
		case r.Clear:
			row.Hits = 0
		}
		switch last := len(rows) - 1; {
		case last < 0 || rows[last].Key != r.Key:
			rows = append(rows, row)
		case row.Hits >= 0:
			rows[last] = row
		case rows[last].Hits != 0:
			rows[last].Hits--
		}
	}
	var args []any
	for _, r := range rows {
		args = append(args, r.Key, r.Hits, r.EndsAt, r.EndsAt)
	}
	hits := s.d.Excluded("hits")
	kept := func(column string) string {
		return column + ` = CASE WHEN ` + hits + ` < 0 THEN userapi_limits.` + column + ` ELSE ` + s.d.Excluded(column) + ` END`
	}
	_, err := q.exec(ctx, `INSERT INTO userapi_limits (limit_key, hits, streak, ends_at, kept_until) VALUES `+
		strings.TrimSuffix(strings.Repeat(`(?, ?, 0, ?, ?), `, len(rows)), ", ")+` `+s.d.Upsert("limit_key")+`
		hits = CASE WHEN `+hits+` >= 0 THEN `+hits+` WHEN userapi_limits.hits + `+hits+` > 0 THEN userapi_limits.hits + `+hits+` ELSE 0 END, `+
		kept("streak")+`, `+kept("ends_at")+`, `+kept("kept_until"), args...)
	if err != nil {
		return err
	}
	for _, r := range returns {
		if r.Mark != nil && r.Mark.Cap > 0 {
			if err := makeRoomForMark(ctx, q, *r.Mark); err != nil {
				return err
			}
		}
	}
	return nil
}

// makeRoomForMark ends the marks that are one too many.
func makeRoomForMark(ctx context.Context, q conn, m userapi.LimitMark) error {
	var over []string
	err := q.query(ctx, &over, `SELECT limit_key FROM userapi_limits WHERE limit_key >= ? AND limit_key < ?
		ORDER BY ends_at DESC, limit_key DESC LIMIT ? OFFSET ?`, m.Of, behindPrefix(m.Of), maxEnded, m.Cap)
	if err != nil {
		return err
	}
	return deleteAll(ctx, q, `DELETE FROM userapi_limits WHERE limit_key IN (?)`, over)
}

// ReadLimits implements userapi.LimitStore.
func (s *Store) ReadLimits(ctx context.Context, now time.Time, keys []string) (counts []userapi.LimitCount, err error) {
	if len(keys) == 0 {
		return nil, nil
	}
	query, args, err := in(`SELECT `+limitColumns+` FROM userapi_limits WHERE limit_key IN (?) AND ends_at > ?`, keys, millis(now))
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
