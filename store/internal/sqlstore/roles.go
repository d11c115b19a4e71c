package sqlstore

import (
	"context"

	"github.com/userapi/userapi"
)

type roleRow struct {
	ID   string `db:"id"`
	Code string `db:"code"`
	Name string `db:"name"`
}

func (s *Store) roles(ctx context.Context, query string, args ...any) ([]userapi.Role, error) {
	var roles []userapi.Role
	err := s.read(ctx, func(ctx context.Context, q conn) error {
		var rows []roleRow
		if err := q.query(ctx, &rows, query, args...); err != nil {
			return err
		}
		roles = nil
		for _, r := range rows {
			roles = append(roles, userapi.Role(r))
		}
		return nil
	})
	return roles, err
}

// Roles implements userapi.RoleStore.
func (s *Store) Roles(ctx context.Context, ids, codes []string) ([]userapi.Role, error) {
	if len(ids)+len(codes) == 0 {
		return nil, nil
	}
	// IN () is no SQL; no role has an empty id or code.
	query, args, err := in(`SELECT id, code, name FROM userapi_roles WHERE id IN (?) OR code IN (?) ORDER BY id`,
		append([]string{""}, ids...), append([]string{""}, codes...))
	if err != nil {
		return nil, err
	}
	return s.roles(ctx, query, args...)
}

// ListRoles implements userapi.RoleStore.
func (s *Store) ListRoles(ctx context.Context, offset, limit int) ([]userapi.Role, error) {
	return s.roles(ctx, `SELECT id, code, name FROM userapi_roles ORDER BY id LIMIT ? OFFSET ?`, limit, offset)
}

// InsertRole implements userapi.RoleStore.
func (s *Store) InsertRole(ctx context.Context, w userapi.RoleWrite) error {
	return s.write(ctx, w.Event, func(ctx context.Context, q conn) error {
		_, err := q.exec(ctx, `INSERT INTO userapi_roles (id, code, name, version) VALUES (?, ?, ?, 1)`, w.Role.ID, w.Role.Code, w.Role.Name)
		if err != nil {
			switch s.d.Violated(err) {
			case "id":
				return userapi.ErrIDTaken
			case "code":
				return userapi.ErrRoleTaken
			}
		}
		return err
	})
}

// RenameRole implements userapi.RoleStore.
func (s *Store) RenameRole(ctx context.Context, w userapi.RoleWrite) error {
	return s.write(ctx, w.Event, func(ctx context.Context, q conn) error {
		return changeRole(ctx, q, `UPDATE userapi_roles SET name = ?, version = version + 1 WHERE code = ?`, w.Role.Name, w.Role.Code)
	})
}

// DeleteRole implements userapi.RoleStore.
func (s *Store) DeleteRole(ctx context.Context, w userapi.RoleWrite) error {
	return s.write(ctx, w.Event, func(ctx context.Context, q conn) error {
		// The row changes first: nobody is given the role between the look and the end.
		if err := changeRole(ctx, q, `UPDATE userapi_roles SET version = version + 1 WHERE code = ?`, w.Role.Code); err != nil {
			return err
		}
		held, err := q.exists(ctx, `SELECT 1 FROM userapi_user_roles ur JOIN userapi_roles r ON r.id = ur.role_id
			WHERE r.code = ? LIMIT 1`+s.share(), w.Role.Code)
		if err != nil {
			return err
		}
		if held {
			return userapi.ErrRoleInUse
		}
		_, err = q.exec(ctx, `DELETE FROM userapi_roles WHERE code = ?`, w.Role.Code)
		if err != nil && s.d.Violated(err) == Reference {
			return userapi.ErrRoleInUse
		}
		return err
	})
}

func changeRole(ctx context.Context, q conn, query string, args ...any) error {
	n, err := q.exec(ctx, query, args...)
	if err == nil && n == 0 {
		err = userapi.ErrNotFound
	}
	return err
}
