package sqlstore

import (
	"cmp"
	"context"
	"slices"

	"github.com/userapi/userapi"
)

// ListUsers implements userapi.UserStore.
func (s *Store) ListUsers(ctx context.Context, f userapi.UserFilter) ([]userapi.User, error) {
	query, args := s.list(f)
	var users []userapi.User
	err := s.read(ctx, func(ctx context.Context, q conn) error {
		var rows []accountRow
		if err := q.query(ctx, &rows, query, args...); err != nil {
			return err
		}
		users = page(f, rows)
		return nil
	})
	return users, err
}

// page orders the rows of a page, which come in any order, and makes one user of those with one id.
func page(f userapi.UserFilter, rows []accountRow) (users []userapi.User) {
	slices.SortFunc(rows, func(a, b accountRow) int {
		if f.Prefix != "" && a.NameKey != b.NameKey {
			return cmp.Compare(a.NameKey, b.NameKey)
		}
		return cmp.Compare(a.ID, b.ID)
	})
	for len(rows) > 0 {
		n := 1
		for n < len(rows) && rows[n].ID == rows[0].ID {
			n++
		}
		u := rows[0].user()
		u.Roles = rolesIn(rows[:n])
		users, rows = append(users, u), rows[n:]
	}
	return users
}

// conditions is a WHERE clause on userapi_users u that grows.
type conditions struct {
	sql  string
	args []any
}

func (c *conditions) and(cond string, args ...any) {
	c.sql += " AND " + cond
	c.args = append(c.args, args...)
}

// list finds the ids of the page in an index that covers its conditions, and only then reads the rows.
func (s *Store) list(f userapi.UserFilter) (query string, args []any) {
	if f.Prefix == "" {
		query, args = s.pageByID(f)
	} else {
		query, args = s.pageByName(f)
	}
	columns, roles := userColumns+`, u.name_key`, ``
	if f.WithRoles {
		columns, roles = columns+`, `+roleColumns, joinRoles
	}
	return `SELECT ` + columns + ` FROM (` + query + `) page JOIN userapi_users u ON u.id = page.id ` + roles, args
}

func (s *Store) pageByID(f userapi.UserFilter) (query string, args []any) {
	where := filtered(f)
	if f.AfterID != "" {
		where.and(`u.id > ?`, f.AfterID)
	}
	index := "userapi_users_by_customer"
	if f.Scope.All {
		index = "PRIMARY"
	}
	return `SELECT u.id FROM userapi_users u` + s.d.Index(index) + ` WHERE 1 = 1` + where.sql + ` ORDER BY u.id LIMIT ? OFFSET ?`,
		append(where.args, f.Limit, f.Offset)
}

// pageByName merges who begins with the prefix by name and who does so by username alone: each is a range of an index.
func (s *Store) pageByName(f userapi.UserFilter) (query string, args []any) {
	byName, byUsername := filtered(f), filtered(f)
	const name, username = `u.name_key >= ?`, `u.username_key >= ?`
	if end := behindPrefix(f.Prefix); end != "" {
		byName.and(name+` AND u.name_key < ?`, f.Prefix, end)
		byUsername.and(username+` AND u.username_key < ? AND NOT (`+name+` AND u.name_key < ?)`, f.Prefix, end, f.Prefix, end)
	} else {
		byName.and(name, f.Prefix)
		byUsername.and(username+` AND NOT (`+name+`)`, f.Prefix, f.Prefix)
	}
	part := func(where conditions, index string) string {
		if f.AfterID != "" {
			where.and(`u.name_key >= ? AND (u.name_key > ? OR u.id > ?)`, f.AfterName, f.AfterName, f.AfterID)
		}
		if f.Scope.All { // no index begins with a name
			index = ""
		} else {
			index = s.d.Index(index)
		}
		args = append(args, append(where.args, f.Limit+f.Offset)...)
		return `SELECT id, name_key FROM (SELECT u.id, u.name_key FROM userapi_users u` + index + ` WHERE 1 = 1` + where.sql +
			` ORDER BY u.name_key, u.id LIMIT ?) part`
	}
	query = `SELECT id FROM (` + part(byName, "userapi_users_by_name") + ` UNION ALL ` + part(byUsername, "userapi_users_by_username") +
		`) parts ORDER BY name_key, id LIMIT ? OFFSET ?`
	return query, append(args, f.Limit, f.Offset)
}

// filtered is what every page asks for. INSTR compares literally, so nothing has to be escaped, and texts are bytes here.
func filtered(f userapi.UserFilter) conditions {
	var where conditions
	where.sql, where.args = scoped(f.Scope)
	const inEmail, inName = `INSTR(u.email_key, ?) > 0`, `INSTR(u.name_key, ?) > 0`
	if f.EmailPart != "" && f.NamePart != "" && !f.MatchAll {
		where.and(`(`+inEmail+` OR `+inName+`)`, f.EmailPart, f.NamePart)
	} else {
		if f.EmailPart != "" {
			where.and(inEmail, f.EmailPart)
		}
		if f.NamePart != "" {
			where.and(inName, f.NamePart)
		}
	}
	if f.Active != nil {
		where.and(`u.active = ?`, *f.Active)
	}
	return where
}

// behindPrefix is the first text behind all that begin with prefix, by bytes; "" when there is none.
func behindPrefix(prefix string) string {
	end := []byte(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return string(end[:i+1])
		}
	}
	return ""
}
