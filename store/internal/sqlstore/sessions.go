package sqlstore

import (
	"context"
	"strings"

	"github.com/userapi/userapi"
)

const sessionColumns = `s.id AS session_id, s.user_id AS session_user, s.created_at AS session_created, s.last_seen_at, s.expires_at,
	s.auth_time, s.methods, s.address, s.user_agent, s.step, s.counter, s.rotated_at`

// The names differ from those of accountRow: one statement reads both.
type sessionRow struct {
	ID         string `db:"session_id"`
	UserID     string `db:"session_user"`
	CreatedAt  int64  `db:"session_created"`
	LastSeenAt int64  `db:"last_seen_at"`
	ExpiresAt  int64  `db:"expires_at"`
	AuthTime   int64  `db:"auth_time"`
	Methods    string `db:"methods"`
	Address    string `db:"address"`
	UserAgent  string `db:"user_agent"`
	Step       string `db:"step"`
	Counter    int64  `db:"counter"`
	RotatedAt  int64  `db:"rotated_at"`
}

func (r sessionRow) session() userapi.Session {
	s := userapi.Session{
		ID: r.ID, UserID: r.UserID, CreatedAt: moment(r.CreatedAt), LastSeenAt: moment(r.LastSeenAt), ExpiresAt: moment(r.ExpiresAt),
		AuthTime: moment(r.AuthTime), Address: r.Address, UserAgent: r.UserAgent, Step: userapi.LoginStep(r.Step), Counter: r.Counter, RotatedAt: moment(r.RotatedAt),
	}
	if r.Methods != "" {
		s.Methods = strings.Split(r.Methods, ",")
	}
	return s
}

func insertSession(ctx context.Context, q conn, s userapi.Session) error {
	_, err := q.exec(ctx, `INSERT INTO userapi_sessions
		(id, user_id, created_at, last_seen_at, expires_at, auth_time, methods, address, user_agent, step, counter, rotated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		s.ID, s.UserID, millis(s.CreatedAt), millis(s.LastSeenAt), millis(s.ExpiresAt), millis(s.AuthTime),
		strings.Join(s.Methods, ","), s.Address, s.UserAgent, string(s.Step), s.Counter, millis(s.RotatedAt))
	return err
}

// InsertSession implements userapi.SessionStore.
func (s *Store) InsertSession(ctx context.Context, w userapi.SessionInsert) (ended []string, err error) {
	err = s.write(ctx, w.Event, func(ctx context.Context, q conn) error {
		room, err := false, error(nil)
		if !s.d.Stale {
			room, err = changeForLogin(ctx, q, w, true)
		}
		if err == nil && !room {
			var found bool
			if found, err = changeForLogin(ctx, q, w, false); err == nil && !found {
				err = userapi.ErrChanged
			}
		}
		if err != nil {
			return err
		}
		if w.Replaces != "" {
			n, err := q.exec(ctx, `DELETE FROM userapi_sessions WHERE id = ? AND user_id = ?`, w.Replaces, w.Session.UserID)
			if err != nil {
				return err
			}
			if n == 0 {
				return userapi.ErrChanged
			}
		}
		if ended = nil; !room {
			if ended, err = s.makeRoom(ctx, q, w); err != nil {
				return err
			}
		}
		if err := insertSession(ctx, q, w.Session); err != nil {
			return err
		}
		return s.returnLimits(ctx, q, w.Returns)
	})
	if err != nil {
		return nil, err
	}
	return ended, nil
}

// changeForLogin changes the account's row, if the account is still what it has to be and, where that is asked for, has room for one
// more session. The sessions are counted once the row is locked, since the count hangs on it.
func changeForLogin(ctx context.Context, q conn, w userapi.SessionInsert, withRoom bool) (bool, error) {
	query, args := `UPDATE userapi_users SET login_count = login_count + 1`, []any{}
	if w.Session.Step == "" {
		query, args = query+`, last_login = ?`, append(args, millis(w.Session.CreatedAt))
	}
	query, args = query+` WHERE id = ? AND epoch = ? AND active = 1`, append(args, w.Session.UserID, w.IfEpoch)
	if withRoom && w.Cap > 0 {
		query += ` AND (SELECT COUNT(*) FROM userapi_sessions s WHERE s.user_id = userapi_users.id AND s.step = ?) < ?`
		args = append(args, string(w.Session.Step), w.Cap)
	}
	n, err := q.exec(ctx, query, args...)
	return n > 0, err
}

// makeRoom ends the oldest sessions of the user, whose row the transaction has changed, so that w.Cap − 1 are left of those
// that lack the same step.
func (s *Store) makeRoom(ctx context.Context, q conn, w userapi.SessionInsert) (ended []string, err error) {
	if w.Cap < 1 {
		return nil, nil
	}
	err = q.query(ctx, &ended, `SELECT id FROM userapi_sessions WHERE user_id = ? AND step = ?
		ORDER BY created_at DESC, id DESC LIMIT ? OFFSET ?`+s.share(), w.Session.UserID, string(w.Session.Step), maxEnded, w.Cap-1)
	if err != nil || len(ended) == 0 {
		return nil, err
	}
	query, args, err := in(`DELETE FROM userapi_sessions WHERE id IN (?)`, ended)
	if err != nil {
		return nil, err
	}
	if _, err := q.exec(ctx, query, args...); err != nil {
		return nil, err
	}
	for _, id := range ended {
		if err := s.revoke(ctx, q, userapi.Revocation{Kind: userapi.RevokeSession, Subject: id, Lives: w.EndedFor}); err != nil {
			return nil, err
		}
	}
	return ended, nil
}

// maxEnded bounds what one login has to end after the cap was lowered.
const maxEnded = 1000

// SessionByID implements userapi.SessionStore.
func (s *Store) SessionByID(ctx context.Context, id string) (sa userapi.SessionAccount, err error) {
	err = s.read(ctx, func(ctx context.Context, q conn) error {
		var rows []struct {
			sessionRow
			accountRow
		}
		err := q.query(ctx, &rows, `SELECT `+sessionColumns+`, `+accountColumns+`
			FROM userapi_sessions s JOIN userapi_users u ON u.id = s.user_id `+joinRoles+` WHERE s.id = ?`, id)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return userapi.ErrNotFound
		}
		accounts := make([]accountRow, len(rows))
		for i, r := range rows {
			accounts[i] = r.accountRow
		}
		sa = userapi.SessionAccount{Session: rows[0].session(), Account: account(accounts)}
		return nil
	})
	return sa, err
}

// RotateSession implements userapi.SessionStore.
func (s *Store) RotateSession(ctx context.Context, w userapi.SessionRotation) error {
	return s.statement(ctx, func(ctx context.Context, q conn) error {
		n, err := q.exec(ctx, `UPDATE userapi_sessions SET counter = counter + 1, rotated_at = ?, last_seen_at = ?, address = ?, user_agent = ?
			WHERE id = ? AND user_id = ? AND counter = ?
			AND EXISTS (SELECT 1 FROM userapi_users WHERE id = ? AND epoch = ? AND active = 1)`,
			millis(w.At), millis(w.At), w.Address, w.UserAgent, w.ID, w.UserID, w.Counter, w.UserID, w.IfEpoch)
		if err == nil && n == 0 {
			err = userapi.ErrChanged
		}
		return err
	})
}

// ListSessions implements userapi.SessionStore.
func (s *Store) ListSessions(ctx context.Context, scope userapi.Scope, userID string) ([]userapi.Session, error) {
	cond, args := scoped(scope)
	var sessions []userapi.Session
	err := s.read(ctx, func(ctx context.Context, q conn) error {
		var rows []sessionRow
		err := q.query(ctx, &rows, `SELECT `+sessionColumns+` FROM userapi_sessions s JOIN userapi_users u ON u.id = s.user_id
			WHERE s.user_id = ?`+cond+` ORDER BY s.created_at DESC, s.id DESC`, append([]any{userID}, args...)...)
		if err != nil {
			return err
		}
		sessions = nil
		for _, r := range rows {
			sessions = append(sessions, r.session())
		}
		return nil
	})
	return sessions, err
}

// EndSession implements userapi.SessionStore.
func (s *Store) EndSession(ctx context.Context, w userapi.SessionEnd) error {
	cond, scope := scoped(w.Scope)
	return s.write(ctx, w.Event, func(ctx context.Context, q conn) error {
		if len(w.Voids) > 0 { // the account comes first, as everywhere
			if _, err := q.exec(ctx, `UPDATE userapi_users SET version = version + 1 WHERE id = ?`, w.UserID); err != nil {
				return err
			}
		}
		n, err := q.exec(ctx, `DELETE FROM userapi_sessions WHERE id = ? AND user_id = ?
			AND EXISTS (SELECT 1 FROM userapi_users u WHERE u.id = ?`+cond+`)`, append([]any{w.ID, w.UserID, w.UserID}, scope...)...)
		if err != nil {
			return err
		}
		if n == 0 {
			return userapi.ErrNotFound
		}
		if len(w.Voids) > 0 {
			if err := s.voidChallenges(ctx, q, []string{w.UserID}, w.Voids...); err != nil {
				return err
			}
		}
		return s.revoke(ctx, q, w.Revoke)
	})
}
