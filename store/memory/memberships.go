package memory

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/userapi/userapi"
)

// membership is the key of one.
type membership struct{ user, resource, id string }

func keyOf(m userapi.Membership) membership { return membership{m.UserID, m.Resource, m.ResourceID} }

// SetMembership implements userapi.MembershipStore.
func (s *Store) SetMembership(ctx context.Context, w userapi.MembershipWrite) error {
	unlock, err := s.lock(ctx, w.Event)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := s.at(w.Scope, w.Membership.UserID, w.IfVersion); err != nil {
		return err
	}
	s.memberships[keyOf(w.Membership)] = w.Membership.Level
	s.record(w.Event)
	return nil
}

// RemoveMembership implements userapi.MembershipStore.
func (s *Store) RemoveMembership(ctx context.Context, w userapi.MembershipWrite) error {
	unlock, err := s.lock(ctx, w.Event)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := s.at(w.Scope, w.Membership.UserID, w.IfVersion); err != nil {
		return err
	}
	key := keyOf(w.Membership)
	if _, ok := s.memberships[key]; !ok {
		return userapi.ErrNotFound
	}
	delete(s.memberships, key)
	s.record(w.Event)
	return nil
}

// ListMemberships implements userapi.MembershipStore.
func (s *Store) ListMemberships(ctx context.Context, f userapi.MembershipFilter) ([]userapi.Membership, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	order := func(a, b userapi.Membership) int {
		if f.UserID == "" {
			return cmp.Compare(a.UserID, b.UserID)
		}
		return cmp.Or(cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.ResourceID, b.ResourceID))
	}
	var found []userapi.Membership
	for key, level := range s.memberships {
		m := userapi.Membership{UserID: key.user, Resource: key.resource, ResourceID: key.id, Level: level}
		a := s.accounts[m.UserID]
		wanted := f.UserID == m.UserID || f.UserID == "" && f.Resource != ""
		if f.Resource != "" {
			wanted = wanted && f.Resource == m.Resource && f.ResourceID == m.ResourceID
		}
		behind := f.After == userapi.Membership{} || order(m, f.After) > 0
		if wanted && behind && f.Scope.Holds(a.CustomerID) && (a.Active || !f.Active) {
			found = append(found, m)
		}
	}
	slices.SortFunc(found, order)
	return page(found, 0, f.Limit), nil
}

// EndResource implements userapi.MembershipStore.
func (s *Store) EndResource(ctx context.Context, w userapi.ResourceEnd) error {
	unlock, err := s.lock(ctx, w.Event)
	if err != nil {
		return err
	}
	defer unlock()
	s.endMemberships(func(m membership) bool { return m.resource == w.Resource && m.id == w.ResourceID })
	s.record(w.Event)
	return nil
}

// endMemberships deletes the memberships that are over.
func (s *Store) endMemberships(over func(membership) bool) {
	maps.DeleteFunc(s.memberships, func(m membership, _ string) bool { return over(m) })
}
