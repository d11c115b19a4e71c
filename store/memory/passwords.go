package memory

import (
	"context"
	"strings"

	"github.com/userapi/userapi"
)

// AccountForLogin implements userapi.PasswordStore.
func (s *Store) AccountForLogin(ctx context.Context, id userapi.Identifier, marks [2]string) (m userapi.MarkedAccount, err error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return m, err
	}
	defer unlock()
	a, ok := s.accounts[s.taken[id]]
	if !ok {
		return m, userapi.ErrNotFound
	}
	m.Account = s.read(a)
	of := userapi.MarksOf(a.ID)
	for i, mark := range marks {
		m.Until[i] = s.counters[of+mark].ends
	}
	for key := range s.counters {
		if strings.HasPrefix(key, of) {
			m.Marked++
		}
	}
	return m, nil
}

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
