package sqlstore

import (
	"context"
	"math"

	"github.com/userapi/userapi"
)

type membershipRow struct {
	UserID     string `db:"user_id"`
	Resource   string `db:"resource"`
	ResourceID string `db:"resource_id"`
	Level      string `db:"level"`
}

// SetMembership implements userapi.MembershipStore.
func (s *Store) SetMembership(ctx context.Context, w userapi.MembershipWrite) error {
	m := w.Membership
	return s.writeMember(ctx, w, func(ctx context.Context, q conn) error {
		_, err := q.exec(ctx, `INSERT INTO userapi_memberships (user_id, resource, resource_id, level) VALUES (?, ?, ?, ?) `+
			s.d.Upsert("user_id, resource, resource_id")+` level = `+s.d.Excluded("level"), m.UserID, m.Resource, m.ResourceID, m.Level)
		return err
	})
}

// RemoveMembership implements userapi.MembershipStore.
func (s *Store) RemoveMembership(ctx context.Context, w userapi.MembershipWrite) error {
	m := w.Membership
	return s.writeMember(ctx, w, func(ctx context.Context, q conn) error {
		n, err := q.exec(ctx, `DELETE FROM userapi_memberships WHERE user_id = ? AND resource = ? AND resource_id = ?`, m.UserID, m.Resource, m.ResourceID)
		if err == nil && n == 0 {
			err = userapi.ErrNotFound
		}
		return err
	})
}

// writeMember changes the row of the account first: whatever erases or moves it either sees the membership or refuses it.
func (s *Store) writeMember(ctx context.Context, w userapi.MembershipWrite, intent func(ctx context.Context, q conn) error) error {
	cond, scope := scoped(w.Scope)
	return s.write(ctx, w.Event, func(ctx context.Context, q conn) error {
		n, err := q.exec(ctx, `UPDATE userapi_users AS u`+s.d.Index("PRIMARY")+` SET login_count = login_count + 1 WHERE u.id = ? AND u.version = ?`+cond,
			append([]any{w.Membership.UserID, w.IfVersion}, scope...)...)
		if err != nil {
			return err
		}
		if n == 0 {
			return s.goneOrChanged(ctx, q, w.Scope, w.Membership.UserID)
		}
		return intent(ctx, q)
	})
}

// ListMemberships implements userapi.MembershipStore.
func (s *Store) ListMemberships(ctx context.Context, f userapi.MembershipFilter) ([]userapi.Membership, error) {
	query, args := s.members(f)
	var found []userapi.Membership
	err := s.read(ctx, func(ctx context.Context, q conn) error {
		var rows []membershipRow
		if err := q.query(ctx, &rows, query, args...); err != nil {
			return err
		}
		found = nil
		for _, r := range rows {
			found = append(found, userapi.Membership(r))
		}
		return nil
	})
	return found, err
}

// members walks one index in order, and looks the account of each row up by its id.
func (s *Store) members(f userapi.MembershipFilter) (query string, args []any) {
	var where conditions
	index, order := "PRIMARY", "m.resource, m.resource_id"
	if f.UserID != "" {
		where.and(`m.user_id = ?`, f.UserID)
	} else {
		index, order = "userapi_memberships_by_resource", "m.user_id"
	}
	if f.UserID == "" || f.Resource != "" {
		where.and(`m.resource = ? AND m.resource_id = ?`, f.Resource, f.ResourceID)
	}
	switch {
	case f.After == userapi.Membership{}:
	case f.UserID != "":
		where.and(`m.resource >= ? AND (m.resource > ? OR m.resource_id > ?)`, f.After.Resource, f.After.Resource, f.After.ResourceID)
	default:
		where.and(`m.user_id > ?`, f.After.UserID)
	}
	if f.Active {
		where.and(`u.active = 1`)
	}
	cond, scope := scoped(f.Scope)
	return `SELECT m.user_id, m.resource, m.resource_id, m.level FROM userapi_memberships m` + s.d.Index(index) + ` JOIN userapi_users u` + s.d.Index("PRIMARY") +
		` ON u.id = m.user_id WHERE 1 = 1` + where.sql + cond + ` ORDER BY ` + order + ` LIMIT ?`, append(append(where.args, scope...), f.Limit)
}

// EndResource implements userapi.MembershipStore. Many members do not go within one transaction's deadline, so most of them go
// before it, in steps.
func (s *Store) EndResource(ctx context.Context, w userapi.ResourceEnd) error {
	const cond = `resource = ? AND resource_id = ?`
	if _, err := s.sweep(ctx, math.MaxInt, "userapi_memberships", "user_id", cond, w.Resource, w.ResourceID); err != nil {
		return err
	}
	return s.write(ctx, w.Event, func(ctx context.Context, q conn) error {
		_, err := q.exec(ctx, `DELETE FROM userapi_memberships WHERE `+cond, w.Resource, w.ResourceID)
		return err
	})
}
