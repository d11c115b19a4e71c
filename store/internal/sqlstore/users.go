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
	var verified, pendingSince any
	if a.PhoneVerified {
		verified = orNull(a.Phone)
	}
	if a.Pending {
		pendingSince = millis(a.UpdatedAt)
	}
	return []any{
		a.CustomerID, a.Email, orNull(a.EmailKey), a.Username, orNull(a.UsernameKey), a.Phone, verified,
		a.Name, a.FirstName, a.LastName, a.NameKey, a.Active, a.EmailVerified, a.PhoneVerified,
		a.PasswordHash, a.MustChange, a.Epoch, millis(a.UpdatedAt), pendingSince,
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
			name, first_name, last_name, name_key, active, email_verified, phone_verified, password_hash, must_change, epoch, updated_at, pending_since,
			id, version, login_count, last_login, created_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, 0, ?, ?)`,
			append(values(a), a.ID, lastLogin, millis(a.CreatedAt))...)
		if err != nil {
			return s.taken(err)
		}
		if err := s.setRoles(ctx, q, a); err != nil {
			return err
		}
		if w.Session != nil {
			if err := insertSession(ctx, q, *w.Session); err != nil {
				return err
			}
		}
		return s.insertOutgoing(ctx, q, w.Outgoing)
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
	case Oversize:
		return errNameTooLong
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
		if err := s.replaceAccount(ctx, q, w); err != nil {
			return err
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
		if w.EndMemberships {
			if _, err := q.exec(ctx, `DELETE FROM userapi_memberships WHERE user_id = ?`, a.ID); err != nil {
				return err
			}
		}
		if len(w.Voids) > 0 {
			if err := s.voidChallenges(ctx, q, []string{a.ID}, w.Voids...); err != nil {
				return err
			}
		}
		if w.EndCredentials {
			if _, err := q.exec(ctx, `DELETE FROM userapi_credentials WHERE user_id = ?`, a.ID); err != nil {
				return err
			}
		}
		if w.EndKind != "" {
			if _, err := q.exec(ctx, `DELETE FROM userapi_credentials WHERE user_id = ? AND kind = ?`, a.ID, w.EndKind); err != nil {
				return err
			}
		}
		if w.EndKeys {
			if _, err := q.exec(ctx, `DELETE FROM userapi_keys WHERE user_id = ?`, a.ID); err != nil {
				return err
			}
		}
		if err := s.insertOutgoing(ctx, q, w.Outgoing); err != nil {
			return err
		}
		return s.revoke(ctx, q, w.Revoke...)
	})
}

// replaceAccount replaces the row, where it is still as the caller read it, and ends the challenge that this is the answer to.
// What forbids the change is told in one order: whose challenge is gone does not learn what is taken.
func (s *Store) replaceAccount(ctx context.Context, q conn, w userapi.UserUpdate) error {
	released, err := releasePhone(ctx, q, w)
	if err != nil {
		return err
	}
	cond, scope := scoped(w.Scope)
	set, args := "", values(w.Account)
	if w.LogsIn {
		set, args = `, last_login = ?`, append(args, millis(w.Session.CreatedAt))
	}
	n := 0
	replace := func() (err error) {
		n, err = q.exec(ctx, `UPDATE userapi_users AS u`+s.d.Index("PRIMARY")+` SET customer_id = ?, email = ?, email_key = ?, username = ?, username_key = ?,
			phone = ?, verified_phone = ?, name = ?, first_name = ?, last_name = ?, name_key = ?,
			active = ?, email_verified = ?, phone_verified = ?, password_hash = ?, must_change = ?, epoch = ?, updated_at = ?, pending_since = ?,
			version = version + 1`+set+`
			WHERE u.id = ? AND u.version = ?`+cond, append(append(args, w.Account.ID, w.IfVersion), scope...)...)
		return err
	}
	if w.Consumes != "" { // whose end is looked for whatever comes of this
		err = q.inside(ctx, replace)
	} else {
		err = replace()
	}
	switch {
	case err == nil && n == 0:
		return s.goneOrChanged(ctx, q, w.Scope, w.Account.ID)
	case err != nil && s.d.Violated(err) == "":
		return err
	}
	if gone := consumeChallenge(ctx, q, w.Consumes, w.Account.ID); gone != nil {
		return gone
	}
	switch {
	case !released:
		return userapi.ErrChanged
	case err != nil:
		return s.taken(err)
	}
	return nil
}

// releasePhone takes the verified number from its holder before it is given away: it is unique. It reports whether the holder
// was as the caller read it.
func releasePhone(ctx context.Context, q conn, w userapi.UserUpdate) (bool, error) {
	r := w.Releases
	if r == nil {
		return true, nil
	}
	if w.Account.ID < r.UserID {
		// Both rows in one order: else two accounts that take each other's number wait for each other.
		if _, err := q.exec(ctx, `UPDATE userapi_users SET login_count = login_count + 1 WHERE id = ?`, w.Account.ID); err != nil {
			return false, err
		}
	}
	n, err := q.exec(ctx, `UPDATE userapi_users SET verified_phone = NULL, phone_verified = 0, version = version + 1
		WHERE id = ? AND version = ? AND phone = ? AND phone_verified = 1`, r.UserID, r.IfVersion, r.Phone)
	if err != nil || n == 0 {
		return false, err
	}
	return true, addEvent(ctx, q, r.Event)
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
		// The row changes before anything else, so that no session, role or challenge is added any more.
		n, err := q.exec(ctx, `UPDATE userapi_users AS u`+s.d.Index("PRIMARY")+` SET version = version + 1 WHERE u.id = ? AND u.version = ?`+cond,
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
		if err := s.eraseUsers(ctx, q, []string{w.ID}); err != nil {
			return err
		}
		return s.revoke(ctx, q, w.Revoke...)
	})
}

// eraseUsers deletes accounts with all that hangs on them, and the personal data in their events. The transaction has changed their rows.
func (s *Store) eraseUsers(ctx context.Context, q conn, ids []string) error {
	if err := s.voidChallenges(ctx, q, ids); err != nil {
		return err
	}
	for _, erase := range []string{
		`DELETE FROM userapi_outbox WHERE user_id IN (?)`,
		`DELETE FROM userapi_sessions WHERE user_id IN (?)`,
		`DELETE FROM userapi_credentials WHERE user_id IN (?)`,
		`DELETE FROM userapi_keys WHERE user_id IN (?)`,
		`DELETE FROM userapi_grants WHERE user_id IN (?)`,
		`DELETE FROM userapi_user_roles WHERE user_id IN (?)`,
		`DELETE FROM userapi_memberships WHERE user_id IN (?)`,
		`DELETE FROM userapi_users WHERE id IN (?)`,
		// The audit trail keeps the ids, and from where others acted: those are not the user's data.
		`UPDATE userapi_events SET address = '', user_agent = '' WHERE user_id IN (?) AND (actor_id = '' OR actor_id = user_id)`,
	} {
		if err := deleteAll(ctx, q, erase, ids); err != nil {
			return err
		}
	}
	for _, id := range ids {
		of := userapi.MarksOf(id)
		if _, err := q.exec(ctx, `DELETE FROM userapi_limits WHERE limit_key >= ? AND limit_key < ?`, of, behindPrefix(of)); err != nil {
			return err
		}
	}
	return nil
}
