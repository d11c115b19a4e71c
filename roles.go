package userapi

import (
	"context"
	"slices"
	"strings"
)

// The roles this module knows. Hosts define others.
const (
	RoleAdmin   = "admin"   // manages the users of its customer
	RoleService = "service" // reads and changes users who hold neither admin nor service
)

// Role is a role's definition. Definitions are shared by all customers.
type Role struct {
	ID   string
	Code string // 1 to 64 of a-z 0-9 _ . : -
	Name string // at most 255 code points
}

// RoleRef names a role by id or by code, or by both, which then have to agree.
type RoleRef struct {
	ID   string
	Code string
}

// RolePage is one page of role definitions, ordered by id.
type RolePage struct {
	Roles   []Role
	HasNext bool
}

// Roles defines roles. Who holds them is changed by Users.Change.
type Roles struct{ *core }

// List reads a page of the definitions. Admins and System. limit 1 to 100 (0 = 20), offset ≥ 0: ErrWrongArgs.
func (r *Roles) List(ctx context.Context, actor Actor, offset, limit int) (RolePage, error) {
	if err := actor.managing(); err != nil {
		return RolePage{}, err
	}
	if limit == 0 {
		limit = 20
	}
	if limit < 1 || limit > 100 {
		return RolePage{}, ErrWrongArgs.Field("limit", "1 to 100")
	}
	if offset < 0 || offset > 1<<31 {
		return RolePage{}, ErrWrongArgs.Field("offset", "0 or more")
	}
	roles, err := r.store.ListRoles(ctx, offset, limit+1)
	if err != nil {
		return RolePage{}, err
	}
	if len(roles) > limit {
		return RolePage{Roles: roles[:limit:limit], HasNext: true}, nil
	}
	return RolePage{Roles: roles}, nil
}

// ByCode reads a definition. Admins and System. ErrNotFound.
func (r *Roles) ByCode(ctx context.Context, actor Actor, code string) (Role, error) {
	if err := actor.managing(); err != nil {
		return Role{}, err
	}
	if !validRoleCode(code) {
		return Role{}, ErrNotFound
	}
	roles, err := r.store.Roles(ctx, nil, []string{code})
	if err == nil && len(roles) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return Role{}, err
	}
	return roles[0], nil
}

// Create adds a definition. Admins and System; a host that lets admins do it has to know that definitions are shared
// by all customers. An empty ID is made here; only System may give one. ErrInvalid, ErrRoleTaken, ErrIDTaken.
func (r *Roles) Create(ctx context.Context, actor Actor, role Role) (Role, error) {
	if err := actor.managing(); err != nil {
		return Role{}, err
	}
	role, err := r.valid(role)
	if err != nil {
		return Role{}, err
	}
	if role.ID == "" {
		role.ID = newID()
	} else if !ValidID(role.ID) || !actor.isSystem() {
		return Role{}, ErrInvalid.Field("id", "made by the service")
	}
	err = r.store.InsertRole(ctx, RoleWrite{Role: role, Event: r.event(actor, EventRoleCreated, User{}, role.Code)})
	return role, err
}

// Rename changes a definition's name; its code stays, since hosts' code and tokens name it. Admins and System.
// ErrInvalid, ErrNotFound.
func (r *Roles) Rename(ctx context.Context, actor Actor, code, name string) (Role, error) {
	role, err := r.ByCode(ctx, actor, code)
	if err != nil {
		return Role{}, err
	}
	role.Name = name
	if role, err = r.valid(role); err != nil {
		return Role{}, err
	}
	err = r.store.RenameRole(ctx, RoleWrite{Role: role, Event: r.event(actor, EventRoleRenamed, User{}, code)})
	return role, err
}

// Delete removes a definition nobody holds. Admins and System. ErrNotFound; ErrRoleInUse, for "admin" and "service" too.
func (r *Roles) Delete(ctx context.Context, actor Actor, code string) error {
	role, err := r.ByCode(ctx, actor, code)
	if err != nil {
		return err
	}
	if code == RoleAdmin || code == RoleService {
		return ErrRoleInUse
	}
	return r.store.DeleteRole(ctx, RoleWrite{Role: role, Event: r.event(actor, EventRoleDeleted, User{}, code)})
}

func (r *Roles) valid(role Role) (Role, error) {
	var err error
	if role.Name, err = normalizeName(role.Name); err != nil {
		return role, ErrInvalid.Field("name", err.Error())
	}
	if !validRoleCode(role.Code) {
		return role, ErrInvalid.Field("code", "1 to 64 of a-z 0-9 _ . : -")
	}
	if role.Name == "" {
		role.Name = role.Code
	}
	return role, nil
}

func validRoleCode(code string) bool {
	return len(code) > 0 && len(code) <= 64 && strings.Trim(code, "abcdefghijklmnopqrstuvwxyz0123456789_.:-") == ""
}

// maxRoles bounds how many roles a user may hold: they travel in every token.
const maxRoles = 64

// resolveRoles finds the definitions of refs, ordered by code, each once. An unknown one is an error and never
// ignored: whoever meant to give a role has to learn that they did not.
func (c *core) resolveRoles(ctx context.Context, refs []RoleRef) ([]Role, error) {
	if len(refs) == 0 {
		return []Role{}, nil
	}
	if len(refs) > maxRoles {
		return nil, ErrInvalid.Field("roles", "at most 64")
	}
	var ids, codes []string
	for _, ref := range refs {
		switch {
		case ref.ID != "" && ValidID(ref.ID):
			ids = append(ids, ref.ID)
		case ref.ID == "" && validRoleCode(ref.Code):
			codes = append(codes, ref.Code)
		default:
			return nil, ErrInvalid.Field("roles", "unknown role")
		}
	}
	roles, err := c.store.Roles(ctx, ids, codes)
	if err != nil {
		return nil, err
	}
	for _, ref := range refs {
		if !slices.ContainsFunc(roles, func(r Role) bool {
			return (ref.ID == "" || r.ID == ref.ID) && (ref.Code == "" || r.Code == ref.Code)
		}) {
			return nil, ErrInvalid.Field("roles", "unknown role")
		}
	}
	slices.SortFunc(roles, func(a, b Role) int { return strings.Compare(a.Code, b.Code) })
	return slices.Compact(roles), nil
}
