package memory

import (
	"cmp"
	"context"
	"slices"

	"github.com/userapi/userapi"
)

// ListGrants implements userapi.GrantStore.
func (s *Store) ListGrants(ctx context.Context, scope userapi.Scope, userID string) ([]userapi.Grant, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if !scope.Holds(s.accounts[userID].CustomerID) {
		return nil, nil
	}
	var grants []userapi.Grant
	for _, g := range s.grants[userID] {
		grants = append(grants, g)
	}
	slices.SortFunc(grants, func(a, b userapi.Grant) int { return cmp.Compare(a.Name, b.Name) })
	return grants, nil
}

// SetGrant implements userapi.GrantStore.
func (s *Store) SetGrant(ctx context.Context, w userapi.GrantWrite) error {
	unlock, err := s.lock(ctx, w.Event)
	if err != nil {
		return err
	}
	defer unlock()
	if _, ok := s.accounts[w.UserID]; !ok {
		return userapi.ErrNotFound
	}
	if s.grants[w.UserID] == nil {
		s.grants[w.UserID] = map[string]userapi.Grant{}
	}
	w.Grant.ExpiresAt = stamp(w.Grant.ExpiresAt)
	s.grants[w.UserID][w.Grant.Name] = w.Grant
	s.record(w.Event)
	return nil
}

// DeleteGrant implements userapi.GrantStore.
func (s *Store) DeleteGrant(ctx context.Context, w userapi.GrantWrite) error {
	unlock, err := s.lock(ctx, w.Event)
	if err != nil {
		return err
	}
	defer unlock()
	if _, ok := s.grants[w.UserID][w.Grant.Name]; !ok {
		return userapi.ErrNotFound
	}
	delete(s.grants[w.UserID], w.Grant.Name)
	s.record(w.Event)
	return nil
}
