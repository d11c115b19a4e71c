package memory

import (
	"cmp"
	"context"
	"slices"

	"github.com/userapi/userapi"
)

// Roles implements userapi.RoleStore.
func (s *Store) Roles(ctx context.Context, ids, codes []string) ([]userapi.Role, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return s.rolesWhere(func(r userapi.Role) bool {
		return slices.Contains(ids, r.ID) || slices.Contains(codes, r.Code)
	}), nil
}

// ListRoles implements userapi.RoleStore.
func (s *Store) ListRoles(ctx context.Context, offset, limit int) ([]userapi.Role, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return page(s.rolesWhere(func(userapi.Role) bool { return true }), offset, limit), nil
}

// InsertRole implements userapi.RoleStore.
func (s *Store) InsertRole(ctx context.Context, w userapi.RoleWrite) error {
	unlock, err := s.lock(ctx, w.Event)
	if err != nil {
		return err
	}
	defer unlock()
	if _, ok := s.roles[w.Role.ID]; ok {
		return userapi.ErrIDTaken
	}
	if _, ok := s.roleByCode(w.Role.Code); ok {
		return userapi.ErrRoleTaken
	}
	s.roles[w.Role.ID] = w.Role
	s.record(w.Event)
	return nil
}

// RenameRole implements userapi.RoleStore.
func (s *Store) RenameRole(ctx context.Context, w userapi.RoleWrite) error {
	unlock, err := s.lock(ctx, w.Event)
	if err != nil {
		return err
	}
	defer unlock()
	r, ok := s.roleByCode(w.Role.Code)
	if !ok {
		return userapi.ErrNotFound
	}
	r.Name = w.Role.Name
	s.roles[r.ID] = r
	s.record(w.Event)
	return nil
}

// DeleteRole implements userapi.RoleStore.
func (s *Store) DeleteRole(ctx context.Context, w userapi.RoleWrite) error {
	unlock, err := s.lock(ctx, w.Event)
	if err != nil {
		return err
	}
	defer unlock()
	r, ok := s.roleByCode(w.Role.Code)
	if !ok {
		return userapi.ErrNotFound
	}
	for _, a := range s.accounts {
		if slices.ContainsFunc(a.Roles, func(held userapi.Role) bool { return held.ID == r.ID }) {
			return userapi.ErrRoleInUse
		}
	}
	delete(s.roles, r.ID)
	s.record(w.Event)
	return nil
}

func (s *Store) roleByCode(code string) (userapi.Role, bool) {
	for _, r := range s.roles {
		if r.Code == code {
			return r, true
		}
	}
	return userapi.Role{}, false
}

// rolesWhere selects definitions, ordered by id.
func (s *Store) rolesWhere(wanted func(userapi.Role) bool) []userapi.Role {
	var found []userapi.Role
	for _, r := range s.roles {
		if wanted(r) {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b userapi.Role) int { return cmp.Compare(a.ID, b.ID) })
	return found
}
