package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"slices"

	"github.com/userapi/userapi"
)

// scoped is the tenant condition on userapi_users u.
func scoped(sc userapi.Scope) (string, []any) { return scopedOn("u", sc) }

// scopedOn is the tenant condition on a table, by its alias.
func scopedOn(table string, sc userapi.Scope) (string, []any) {
	switch {
	case sc.All:
		return "", nil
	case sc.Customer == "":
		return " AND 1 = 0", nil
	}
	return " AND " + table + ".customer_id = ?", []any{sc.Customer}
}

const userColumns = `u.id, u.customer_id, COALESCE(u.email_key, '') AS email_key, u.email, COALESCE(u.username_key, '') AS username_key,
	u.username, u.phone, u.name, u.first_name, u.last_name, u.active, u.email_verified, u.phone_verified,
	u.last_login, u.created_at, u.updated_at`

const accountColumns = userColumns + `, u.name_key, u.password_hash, u.must_change, u.pending_since IS NOT NULL AS pending, u.epoch, u.version,
	` + roleColumns

const roleColumns = `r.id AS role_id, r.code AS role_code, r.name AS role_name`

const joinRoles = `LEFT JOIN userapi_user_roles ur ON ur.user_id = u.id LEFT JOIN userapi_roles r ON r.id = ur.role_id`

// accountRow is a user beside one of their roles.
type accountRow struct {
	ID            string        `db:"id"`
	CustomerID    string        `db:"customer_id"`
	Email         string        `db:"email"`
	EmailKey      string        `db:"email_key"`
	Username      string        `db:"username"`
	UsernameKey   string        `db:"username_key"`
	Phone         string        `db:"phone"`
	Name          string        `db:"name"`
	FirstName     string        `db:"first_name"`
	LastName      string        `db:"last_name"`
	NameKey       string        `db:"name_key"`
	Active        bool          `db:"active"`
	EmailVerified bool          `db:"email_verified"`
	PhoneVerified bool          `db:"phone_verified"`
	PasswordHash  string        `db:"password_hash"`
	MustChange    bool          `db:"must_change"`
	Pending       bool          `db:"pending"`
	Epoch         int64         `db:"epoch"`
	Version       int64         `db:"version"`
	LastLogin     sql.NullInt64 `db:"last_login"`
	CreatedAt     int64         `db:"created_at"`
	UpdatedAt     int64         `db:"updated_at"`

	RoleID   sql.NullString `db:"role_id"`
	RoleCode sql.NullString `db:"role_code"`
	RoleName sql.NullString `db:"role_name"`
}

func (r accountRow) user() userapi.User {
	u := userapi.User{
		ID: r.ID, CustomerID: r.CustomerID, Email: r.Email, Username: r.Username, Phone: r.Phone,
		Name: r.Name, FirstName: r.FirstName, LastName: r.LastName,
		Active: r.Active, EmailVerified: r.EmailVerified, PhoneVerified: r.PhoneVerified,
		CreatedAt: moment(r.CreatedAt), UpdatedAt: moment(r.UpdatedAt),
	}
	if r.LastLogin.Valid {
		u.LastLogin = moment(r.LastLogin.Int64)
	}
	return u
}

// account makes one account of its rows, of which there is at least one. The roles are ordered here: for a database it is a temporary
// table more.
func account(rows []accountRow) userapi.Account {
	r := rows[0]
	a := userapi.Account{
		User: r.user(), EmailKey: r.EmailKey, UsernameKey: r.UsernameKey, NameKey: r.NameKey,
		PasswordHash: r.PasswordHash, MustChange: r.MustChange, Pending: r.Pending, Epoch: r.Epoch, Version: r.Version,
	}
	a.Roles = rolesIn(rows)
	return a
}

func rolesIn(rows []accountRow) (roles []userapi.Role) {
	for _, r := range rows {
		if r.RoleID.Valid {
			roles = append(roles, userapi.Role{ID: r.RoleID.String, Code: r.RoleCode.String, Name: r.RoleName.String})
		}
	}
	slices.SortFunc(roles, func(a, b userapi.Role) int { return cmp.Compare(a.Code, b.Code) })
	return roles
}

// AccountByID implements userapi.UserStore.
func (s *Store) AccountByID(ctx context.Context, scope userapi.Scope, id string) (userapi.Account, error) {
	return s.account(ctx, scope, "?", id)
}

// AccountByIdentifier implements userapi.UserStore.
func (s *Store) AccountByIdentifier(ctx context.Context, scope userapi.Scope, id userapi.Identifier) (userapi.Account, error) {
	column := identifierColumns[id.Kind]
	if column == "" || id.Value == "" { // many have no name of a kind
		return userapi.Account{}, userapi.ErrNotFound
	}
	a, err := s.account(ctx, scope, called(column), id.Value)
	if err == nil && !isCalled(a, id) {
		err = userapi.ErrNotFound
	}
	if err != nil {
		return userapi.Account{}, err
	}
	return a, nil
}

var identifierColumns = map[userapi.IdentifierKind]string{
	userapi.EmailIdentifier: "email_key", userapi.UsernameIdentifier: "username_key", userapi.PhoneIdentifier: "verified_phone",
}

// called is the id of the account that is called so. Where nobody is, it is another's, which is read and thrown away: reading one takes
// time, and by it strangers could tell who has an account.
func called(column string) string {
	return `COALESCE((SELECT id FROM userapi_users WHERE ` + column + ` = ?), (SELECT MIN(id) FROM userapi_users))`
}

func isCalled(a userapi.Account, id userapi.Identifier) bool {
	switch id.Kind {
	case userapi.EmailIdentifier:
		return a.EmailKey == id.Value
	case userapi.UsernameIdentifier:
		return a.UsernameKey == id.Value
	}
	return a.PhoneVerified && a.Phone == id.Value
}

// account reads the account of an id, which is ? or an expression on one. One statement is one snapshot of the user and the roles.
func (s *Store) account(ctx context.Context, scope userapi.Scope, id, value string) (a userapi.Account, err error) {
	cond, args := scoped(scope)
	err = s.read(ctx, func(ctx context.Context, q conn) error {
		var rows []accountRow
		err := q.query(ctx, &rows, `SELECT `+accountColumns+` FROM userapi_users u `+joinRoles+
			` WHERE u.id = `+id+cond, append([]any{value}, args...)...)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return userapi.ErrNotFound
		}
		a = account(rows)
		return nil
	})
	return a, err
}

// roleIDs are the ids of the roles, each once.
func roleIDs(roles []userapi.Role) []string {
	ids := make([]string, len(roles))
	for i, r := range roles {
		ids[i] = r.ID
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
