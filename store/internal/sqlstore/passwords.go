package sqlstore

import (
	"context"
	"errors"

	"github.com/userapi/userapi"
)

// AccountForLogin implements userapi.PasswordStore.
func (s *Store) AccountForLogin(ctx context.Context, id userapi.Identifier, names [2]string) (m userapi.MarkedAccount, err error) {
	column := identifierColumns[id.Kind]
	if column == "" || id.Value == "" {
		return m, userapi.ErrNotFound
	}
	of := s.d.Concat(`'known/'`, `u.id`, `'/'`)
	mark := `COALESCE((SELECT ends_at FROM userapi_limits WHERE limit_key = ` + s.d.Concat(of, `?`) + `), 0)`
	err = s.read(ctx, func(ctx context.Context, q conn) error {
		var rows []struct {
			accountRow
			First  int64 `db:"first_mark"`
			Second int64 `db:"second_mark"`
			Marked int   `db:"marked"`
		}
		err := q.query(ctx, &rows, `SELECT `+accountColumns+`, `+mark+` AS first_mark, `+mark+` AS second_mark,
			(SELECT COUNT(*) FROM userapi_limits WHERE limit_key > `+of+` AND limit_key < `+s.d.Concat(`'known/'`, `u.id`, `'0'`)+`) AS marked
			FROM userapi_users u `+joinRoles+` WHERE u.id = `+called(column), names[0], names[1], id.Value)
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
		if m = (userapi.MarkedAccount{Account: account(accounts), Marked: rows[0].Marked}); !isCalled(m.Account, id) {
			m = userapi.MarkedAccount{}
			return userapi.ErrNotFound
		}
		for i, until := range []int64{rows[0].First, rows[0].Second} {
			if until > 0 {
				m.Until[i] = moment(until)
			}
		}
		return nil
	})
	return m, err
}

// UpgradeHash implements userapi.PasswordStore.
func (s *Store) UpgradeHash(ctx context.Context, w userapi.HashUpgrade) (bool, error) {
	err := s.write(ctx, w.Event, func(ctx context.Context, q conn) error {
		// The version goes up, so that nobody who read the old hash writes it back.
		n, err := q.exec(ctx, `UPDATE userapi_users SET password_hash = ?, version = version + 1
			WHERE id = ? AND password_hash = ?`, w.New, w.UserID, w.Old)
		if err == nil && n == 0 {
			err = errNothing
		}
		return err
	})
	if errors.Is(err, errNothing) {
		return false, nil
	}
	return err == nil, err
}
