package sqlstore

import (
	"context"
	"database/sql"

	"github.com/userapi/userapi"
)

type grantRow struct {
	Name      string        `db:"name"`
	Value     int64         `db:"value"`
	ExpiresAt sql.NullInt64 `db:"expires_at"`
}

// ListGrants implements userapi.GrantStore.
func (s *Store) ListGrants(ctx context.Context, scope userapi.Scope, userID string) ([]userapi.Grant, error) {
	cond, args := scoped(scope)
	var grants []userapi.Grant
	err := s.read(ctx, func(ctx context.Context, q conn) error {
		var rows []grantRow
		err := q.query(ctx, &rows, `SELECT g.name, g.value, g.expires_at FROM userapi_grants g JOIN userapi_users u ON u.id = g.user_id
			WHERE g.user_id = ?`+cond+` ORDER BY g.name`, append([]any{userID}, args...)...)
		if err != nil {
			return err
		}
		grants = nil
		for _, r := range rows {
			grants = append(grants, userapi.Grant{Name: r.Name, Value: r.Value, ExpiresAt: momentOrZero(r.ExpiresAt)})
		}
		return nil
	})
	return grants, err
}

// SetGrant implements userapi.GrantStore.
func (s *Store) SetGrant(ctx context.Context, w userapi.GrantWrite) error {
	return s.write(ctx, w.Event, func(ctx context.Context, q conn) error {
		n, err := q.exec(ctx, `UPDATE userapi_users SET login_count = login_count + 1 WHERE id = ?`, w.UserID)
		if err != nil {
			return err
		}
		if n == 0 {
			return userapi.ErrNotFound
		}
		_, err = q.exec(ctx, `INSERT INTO userapi_grants (user_id, name, value, expires_at) VALUES (?, ?, ?, ?) `+s.d.Upsert("user_id, name")+
			` value = `+s.d.Excluded("value")+`, expires_at = `+s.d.Excluded("expires_at"),
			w.UserID, w.Grant.Name, w.Grant.Value, millisOrNull(w.Grant.ExpiresAt))
		return err
	})
}

// DeleteGrant implements userapi.GrantStore.
func (s *Store) DeleteGrant(ctx context.Context, w userapi.GrantWrite) error {
	return s.write(ctx, w.Event, func(ctx context.Context, q conn) error {
		n, err := q.exec(ctx, `DELETE FROM userapi_grants WHERE user_id = ? AND name = ?`, w.UserID, w.Grant.Name)
		if err == nil && n == 0 {
			err = userapi.ErrNotFound
		}
		return err
	})
}
