package sqlstore

import (
	"context"

	"github.com/userapi/userapi"
)

// maxNameKey is as long as a name can be for the indexes of lists, in bytes.
const maxNameKey = 2560

var (
	errNoCustomer  = userapi.ErrInvalid.Field("customer", "no such customer")
	errNoRole      = userapi.ErrInvalid.Field("roles", "no such role")
	errNameTooLong = userapi.ErrInvalid.Field("name", "too long")
)

// values are the columns of userapi_users that a change replaces, in the order of both statements below.
func values(a userapi.Account) []any {
	var verified any
	if a.PhoneVerified {
		verified = orNull(a.Phone)
	}
	return []any{
		a.CustomerID, a.Email, orNull(a.EmailKey), a.Username, orNull(a.UsernameKey), a.Phone, verified,
		a.Name, a.FirstName, a.LastName, a.NameKey, a.Active, a.EmailVerified, a.PhoneVerified,
		a.PasswordHash, a.Epoch, millis(a.UpdatedAt),
	}
}

// InsertUser implements userapi.UserStore.
func (s *Store) InsertUser(ctx context.Context, w userapi.UserInsert) error {
	a := w.Account
	if len(a.NameKey) > maxNameKey {
		return errNameTooLong
	}
	var lastLogin any
	if !a.LastLogin.IsZero() {
		lastLogin = millis(a.LastLogin)
	}
	return s.write(ctx, w.Event, func(ctx context.Context, q conn) error {
		if err := s.admit(ctx, q, a); err != nil {
			return err
		}
		_, err := q.exec(ctx, `INSERT INTO userapi_users (customer_id, email, email_key, username, username_key, phone, verified_phone,
			name, first_name, last_name, name_key, active, email_verified, phone_verified, password_hash, epoch, updated_at,
			id, version, login_count, last_login, created_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, 0, ?, ?)`,
			append(values(a), a.ID, lastLogin, millis(a.CreatedAt))...)
		if err != nil {
			return s.taken(err)
		}
		if err := s.setRoles(ctx, q, a); err != nil || w.Session == nil {
			return err
		}
		return insertSession(ctx, q, *w.Session)
	})
}

// admit changes the row of the account's customer and looks for room in it.
func (s *Store) admit(ctx context.Context, q conn, a userapi.Account) error {
	missing, err := changeCustomers(ctx, q, a.CustomerID)
	switch {
	case err != nil:
		return err
	case len(missing) > 0:
		return errNoCustomer
	case a.Active:
		return s.hasRoom(ctx, q, a.CustomerID, a.ID)
	}
	return nil
}

// taken says which unique key an INSERT or UPDATE of a user ran into.
func (s *Store) taken(err error) error {
	switch s.d.Violated(err) {
	case "id":
		return userapi.ErrIDTaken
	case "email_key":
		return userapi.ErrEmailTaken
	case "username_key":
		return userapi.ErrUsernameTaken
	case "verified_phone":
		return userapi.ErrPhoneTaken
	}
	return err
}

// setRoles gives roles to an account that has none. A role that is gone inserts no row.
func (s *Store) setRoles(ctx context.Context, q conn, a userapi.Account) error {
	ids := roleIDs(a.Roles)
	if len(ids) == 0 {
		return nil
	}
	query, args, err := in(`INSERT INTO userapi_user_roles (user_id, role_id) SELECT ?, id FROM userapi_roles WHERE id IN (?)`, a.ID, ids)
	if err != nil {
		return err
	}
	n, err := q.exec(ctx, query, args...)
	if err != nil && s.d.Violated(err) == Reference || err == nil && n != len(ids) {
		return errNoRole
	}
	return err
}

// ChangeUser implements userapi.UserStore.
func (s *Store) ChangeUser(ctx context.Context, w userapi.UserUpdate) error {
	a := w.Account
	if len(a.NameKey) > maxNameKey {
		return errNameTooLong
	}
	var customers []string
	if w.KeepAdmin {
		customers = append(customers, w.CustomerBefore)
	}
	if w.TakesPlace {
		customers = append(customers, a.CustomerID)
	}
	return s.write(ctx, w.Event, func(ctx context.Context, q conn) error {
		missing, err := changeCustomers(ctx, q, customers...)
		if err != nil {
			return err
		}
		cond, scope := scoped(w.Scope)
		n, err := q.exec(ctx, `UPDATE userapi_users AS u SET customer_id = ?, email = ?, email_key = ?, username = ?, username_key = ?,
			phone = ?, verified_phone = ?, name = ?, first_name = ?, last_name = ?, name_key = ?,
			active = ?, email_verified = ?, phone_verified = ?, password_hash = ?, epoch = ?, updated_at = ?,
			version = version + 1
			WHERE u.id = ? AND u.version = ?`+cond, append(append(values(a), a.ID, w.IfVersion), scope...)...)
		if err != nil {
			return s.taken(err)
		}
		if n == 0 {
			return s.goneOrChanged(ctx, q, w.Scope, a.ID)
		}
		if err := s.belongs(ctx, q, w, len(missing) > 0); err != nil {
			return err
		}
		if w.SetRoles {
			if _, err := q.exec(ctx, `DELETE FROM userapi_user_roles WHERE user_id = ?`, a.ID); err != nil {
				return err
			}
			if err := s.setRoles(ctx, q, a); err != nil {
				return err
			}
		}
		if w.KeepAdmin {
			if err := s.hasOtherAdmin(ctx, q, w.CustomerBefore, a.ID); err != nil {
				return err
			}
		}
		if err := s.replaceSessions(ctx, q, w); err != nil {
			return err
		}
		return s.revoke(ctx, q, w.Revoke...)
	})
}

// replaceSessions ends the sessions of a changed account, and opens the one that goes on.
func (s *Store) replaceSessions(ctx context.Context, q conn, w userapi.UserUpdate) error {
	if w.Replaces != "" { // deleting it tells whether it is there, and keeps a rotation under way from bringing it back
		n, err := q.exec(ctx, `DELETE FROM userapi_sessions WHERE id = ? AND user_id = ?`, w.Replaces, w.Account.ID)
		if err != nil {
			return err
		}
		if n == 0 {
			return userapi.ErrChanged
		}
	}
	if !w.EndSessions {
		return nil
	}
	if _, err := q.exec(ctx, `DELETE FROM userapi_sessions WHERE user_id = ?`, w.Account.ID); err != nil || w.Session == nil {
		return err
	}
	return insertSession(ctx, q, *w.Session)
}

// belongs reports whether the changed account may be in its customer.
func (s *Store) belongs(ctx context.Context, q conn, w userapi.UserUpdate, missing bool) error {
	switch {
	case missing:
		return errNoCustomer
	case w.TakesPlace && w.Account.Active:
		return s.hasRoom(ctx, q, w.Account.CustomerID, w.Account.ID)
	case w.TakesPlace || w.Account.CustomerID == w.CustomerBefore:
		return nil
	}
	found, err := q.exists(ctx, `SELECT 1 FROM userapi_customers WHERE id = ?`+s.share(), w.Account.CustomerID)
	if err == nil && !found {
		err = errNoCustomer
	}
	return err
}

// goneOrChanged tells why a guarded statement found no row.
func (s *Store) goneOrChanged(ctx context.Context, q conn, sc userapi.Scope, id string) error {
	cond, args := scoped(sc)
	found, err := q.exists(ctx, `SELECT 1 FROM userapi_users u WHERE u.id = ?`+cond+s.share(), append([]any{id}, args...)...)
	switch {
	case err != nil:
		return err
	case found:
		return userapi.ErrChanged
	}
	return userapi.ErrNotFound
}

// DeleteUser implements userapi.UserStore.
func (s *Store) DeleteUser(ctx context.Context, w userapi.UserDelete) error {
	return s.write(ctx, w.Event, func(ctx context.Context, q conn) error {
		if w.KeepAdmin {
			if _, err := changeCustomers(ctx, q, w.Customer); err != nil {
				return err
			}
		}
		cond, scope := scoped(w.Scope)
		// The row changes before anything else, so that no session or role is added any more.
		n, err := q.exec(ctx, `UPDATE userapi_users AS u SET version = version + 1 WHERE u.id = ? AND u.version = ?`+cond,
			append([]any{w.ID, w.IfVersion}, scope...)...)
		if err != nil {
			return err
		}
		if n == 0 {
			return s.goneOrChanged(ctx, q, w.Scope, w.ID)
		}
		if w.KeepAdmin {
			if err := s.hasOtherAdmin(ctx, q, w.Customer, w.ID); err != nil {
				return err
			}
		}
		for _, erase := range []string{
			`DELETE FROM userapi_sessions WHERE user_id = ?`,
			`DELETE FROM userapi_user_roles WHERE user_id = ?`,
			`DELETE FROM userapi_users WHERE id = ?`,
		} {
			if _, err := q.exec(ctx, erase, w.ID); err != nil {
				return err
			}
		}
		return s.revoke(ctx, q, w.Revoke...)
	})
}
