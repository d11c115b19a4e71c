package sqlstore

import (
	"context"
	"errors"

	"github.com/userapi/userapi"
)

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
