package sqlstore

import (
	"cmp"
	"context"
	"slices"
	"unicode/utf8"

	"github.com/userapi/userapi"
)

// ListUsers implements userapi.UserStore.
func (s *Store) ListUsers(ctx context.Context, f userapi.UserFilter) (users []userapi.User, err error) {
	err = s.read(ctx, func(ctx context.Context, q conn) error {
		if f.Prefix == "" {
			users, err = s.page(ctx, q, f, s.byID(f))
			return err
		}
		users, err = s.prefixed(ctx, q, f)
		return err
	})
	return users, err
}

// prefixed asks for those who have the prefix in the username alone only where the page has room for them: each half is a range of an
// index in its order, and a page of the first does not walk the other.
func (s *Store) prefixed(ctx context.Context, q conn, f userapi.UserFilter) (users []userapi.User, err error) {
	if f.AfterUser == "" {
		byName := s.byName(f)
		if users, err = s.page(ctx, q, f, byName); err != nil || len(users) == f.Limit {
			return users, err
		}
		if f.Offset > 0 && len(users) == 0 {
			var skipped []int
			if err := q.query(ctx, &skipped, `SELECT COUNT(*) FROM userapi_users u`+byName.index+` WHERE 1 = 1`+byName.sql, byName.args...); err != nil {
				return nil, err
			}
			f.Offset -= skipped[0]
		} else {
			f.Offset = 0
		}
		f.Limit -= len(users)
	}
	rest, err := s.page(ctx, q, f, s.byUsername(f))
	return append(users, rest...), err
}

// page finds the ids of a page in an index that covers its conditions, and only then reads the rows. They come in any order.
func (s *Store) page(ctx context.Context, q conn, f userapi.UserFilter, r listRange) ([]userapi.User, error) {
	columns, roles := userColumns+`, u.name_key`, ``
	if f.WithRoles {
		columns, roles = columns+`, `+roleColumns, joinRoles
	}
	var rows []accountRow
	err := q.query(ctx, &rows, `SELECT `+columns+` FROM (SELECT u.id FROM userapi_users u`+r.index+` WHERE 1 = 1`+r.sql+
		` ORDER BY `+r.order+` LIMIT ? OFFSET ?) page JOIN userapi_users u ON u.id = page.id `+roles, append(r.args, f.Limit, f.Offset)...)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(rows, func(a, b accountRow) int { return cmp.Or(cmp.Compare(r.key(a), r.key(b)), cmp.Compare(a.ID, b.ID)) })
	var users []userapi.User
	for len(rows) > 0 {
		n := 1
		for n < len(rows) && rows[n].ID == rows[0].ID {
			n++
		}
		u := rows[0].user()
		u.Roles = rolesIn(rows[:n])
		users, rows = append(users, u), rows[n:]
	}
	return users, nil
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

// listRange is a part of an index in its order.
type listRange struct {
	conditions
	index, order string
	key          func(accountRow) string // what the order goes by, before the id
}

func (s *Store) byID(f userapi.UserFilter) listRange {
	where := s.filtered(f)
	if f.AfterID != "" {
		where.and(`u.id > ?`, f.AfterID)
	}
	index := "userapi_users_by_customer"
	if f.Scope.All {
		index = "PRIMARY"
	}
	return listRange{where, s.d.Index(index), `u.id`, func(r accountRow) string { return r.ID }}
}

func (s *Store) byName(f userapi.UserFilter) listRange {
	where := s.filtered(f)
	where.begins(`u.name_key`, f.Prefix)
	if f.AfterID != "" {
		where.and(`u.name_key >= ? AND (u.name_key > ? OR u.id > ?)`, f.AfterName, f.AfterName, f.AfterID)
	}
	index := ""
	if !f.Scope.All { // no index begins with a name
		index = s.d.Index("userapi_users_by_name")
	}
	return listRange{where, index, `u.name_key, u.id`, func(r accountRow) string { return r.NameKey }}
}

func (s *Store) byUsername(f userapi.UserFilter) listRange {
	where := s.filtered(f)
	where.begins(`u.username_key`, f.Prefix)
	var named conditions
	named.begins(`u.name_key`, f.Prefix)
	where.and(`NOT (1 = 1`+named.sql+`)`, named.args...)
	if f.AfterUser != "" {
		where.and(`u.username_key > ?`, f.AfterUser)
	}
	index := s.d.Index("userapi_users_by_username")
	if f.Scope.All {
		index = ""
	}
	return listRange{where, index, `u.username_key`, func(r accountRow) string { return r.UsernameKey }}
}

// begins is the range of texts that begin with prefix.
func (c *conditions) begins(column, prefix string) {
	c.and(column+` >= ?`, prefix)
	if end := behindPrefix(prefix); end != "" {
		c.and(column+` < ?`, end)
	}
}

// filtered is what every page asks for. Dialect.Find compares literally, so nothing has to be escaped.
func (s *Store) filtered(f userapi.UserFilter) conditions {
	var where conditions
	where.sql, where.args = scoped(f.Scope)
	inEmail, inName := s.d.Find(`u.email_key`)+` > 0`, s.d.Find(`u.name_key`)+` > 0`
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

// behindPrefix is the first text behind all that begin with prefix, by code points, whose order is that of the bytes; "" when there is
// none.
func behindPrefix(prefix string) string {
	end := []rune(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] == utf8.MaxRune {
			continue
		}
		if end[i]++; !utf8.ValidRune(end[i]) {
			end[i] = 0xE000 // behind the surrogates, which are no text
		}
		return string(end[:i+1])
	}
	return ""
}
