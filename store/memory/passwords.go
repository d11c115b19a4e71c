package memory

import (
	"context"

	"github.com/userapi/userapi"
)

// UpgradeHash implements userapi.PasswordStore.
func (s *Store) UpgradeHash(ctx context.Context, w userapi.HashUpgrade) (bool, error) {
	unlock, err := s.lock(ctx, w.Event)
	if err != nil {
		return false, err
	}
	defer unlock()
	a, ok := s.accounts[w.UserID]
	if !ok || a.PasswordHash != w.Old {
		return false, nil
	}
	a.PasswordHash = w.New
	a.Version++
	s.accounts[a.ID] = a
	s.record(w.Event)
	return true, nil
}
