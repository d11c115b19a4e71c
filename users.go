package userapi

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// User is what the world may know of an account. It holds no secret. It has no JSON form of its own: that of the routes
// is made by package httpadapter.
type User struct {
	ID       string
	Email    string // as typed, trimmed; unique in its canonical form; "" = none
	Username string // as typed, trimmed; unique in its canonical form; "" = none
	Phone    string // E.164; "" = none; unique once verified

	Name      string
	FirstName string
	LastName  string

	Active        bool
	EmailVerified bool
	PhoneVerified bool
	CustomerID    string
	Roles         []Role // ordered by code; nil in lists without UserQuery.WithRoles

	LastLogin time.Time // zero = never
	CreatedAt time.Time
	UpdatedAt time.Time
}

// DisplayName is Name, else first and last name, else the username, else "".
func (u User) DisplayName() string {
	if u.Name != "" {
		return u.Name
	}
	if full := strings.TrimSpace(u.FirstName + " " + u.LastName); full != "" {
		return full
	}
	return u.Username
}

// HasRole reports whether the user holds the role with this code.
func (u User) HasRole(code string) bool {
	return slices.ContainsFunc(u.Roles, func(r Role) bool { return r.Code == code })
}

func (u User) clone() User {
	u.Roles = slices.Clone(u.Roles)
	return u
}

func (u User) roleCodes() []string {
	codes := make([]string, len(u.Roles))
	for i, r := range u.Roles {
		codes[i] = r.Code
	}
	return codes
}

// NewUser is an account to create. One of Email, Username and Phone is required.
type NewUser struct {
	Email     string // 3 to 254 bytes
	Username  string // 1 to 128 code points
	Phone     string // international form, or national in Config.DefaultRegion
	Name      string // each name at most 255 code points
	FirstName string
	LastName  string
	Password  Secret // "" = none: the account cannot log in by password
	Active    bool
	Roles     []RoleRef // at most 64
	// MustChangePassword makes the first login good for a change of the password alone.
	MustChangePassword bool

	// What only System() may say; anybody else gets ErrForbidden.
	ID            string // "" = made here; 1 to 64 of A-Z a-z 0-9 . _ : - to keep the id of another system
	CustomerID    string // required from System(); everybody else creates in their own customer
	EmailVerified bool
	PhoneVerified bool
	// PasswordHash is a stored hash instead of a password, at most 512 bytes: argon2id in PHC form, or what one of
	// PasswordPolicy.Legacy reads. With any other no password is right.
	PasswordHash string
	// When the account came to be, and when it was last logged in to, in the system it comes from: 1970 to 9999, kept to the
	// millisecond. Zero = now, and never.
	CreatedAt, LastLogin time.Time
}

// UserChange says what changes; a nil field stays as it is. A pointer to "" clears an optional text.
type UserChange struct {
	Email     *string
	Username  *string
	Phone     *string
	Name      *string
	FirstName *string
	LastName  *string
	Active    *bool
	Password  *Secret
	Roles     *[]RoleRef // the whole new set, at most 64; empty = none
	// MustChangePassword makes logins by password good for its change alone, until its owner has changed it or a reset has.
	MustChangePassword *bool

	// CurrentPassword proves that it is the owner who changes the own e-mail address or password. Without it the
	// caller must have logged in within the last 5 minutes.
	CurrentPassword Secret

	// What only System() may say.
	CustomerID    *string
	EmailVerified *bool
	PhoneVerified *bool
}

// Users creates, finds, changes and ends accounts.
//
// Every method applies the actor's customer: what lies in another customer is ErrNotFound. Admins (role "admin") act
// on all users of their customer, the role "service" reads users who hold neither "admin" nor "service" and changes as
// much of them as Change says, everybody reads and changes themselves; System() acts everywhere.
type Users struct{ *core }

// Create adds an account. Only admins and System may; the customer is the actor's. A registration there that was never
// activated gives up its e-mail address or username for it.
//
// An API key needs ScopePassword to give a password: ErrScopeMissing.
//
// Errors: ErrForbidden, ErrInvalid (with fields), ErrInvalidPhone, ErrWeakPassword, ErrEmailTaken, ErrUsernameTaken,
// ErrPhoneTaken, ErrIDTaken, ErrQuota. Unknown roles are ErrInvalid with the field "roles".
func (u *Users) Create(ctx context.Context, actor Actor, n NewUser) (User, error) {
	if err := actor.managing(); err != nil {
		return User{}, err
	}
	if !actor.isSystem() {
		if n.ID != "" || n.CustomerID != "" || n.EmailVerified || n.PhoneVerified || n.PasswordHash != "" || !n.CreatedAt.IsZero() || !n.LastLogin.IsZero() {
			return User{}, ErrForbidden
		}
		n.CustomerID = actor.CustomerID()
	}
	if n.Password != "" {
		if err := actor.scoped(ScopePassword); err != nil {
			return User{}, err
		}
	}
	a, err := u.newAccount(ctx, n)
	if err != nil {
		return User{}, err
	}
	for _, role := range a.Roles {
		if !u.mayGrant(actor, role.Code) {
			return User{}, ErrForbidden
		}
	}
	if err := u.beforeCreated(ctx, a.User); err != nil {
		return User{}, err
	}
	for range maxTries {
		err = u.store.InsertUser(ctx, UserInsert{Account: a, Event: u.event(actor, EventUserCreated, a.User, "")})
		if err = u.makeWay(ctx, actor, actor.scope(), a, err); !errors.Is(err, ErrChanged) {
			break
		}
	}
	switch {
	case errors.Is(err, ErrChanged):
		return User{}, ErrUnavailable
	case err != nil:
		return User{}, err
	}
	u.userCreated(ctx, a.User)
	return a.User, nil
}

// makeWay erases a registration that was never activated where it keeps an account from its e-mail address or username:
// within scope it gives way to a proof, and to whoever looks after users. ErrChanged then: it is time to try again.
// Otherwise, and inside a host's transaction, it returns err.
func (c *core) makeWay(ctx context.Context, actor Actor, scope Scope, a Account, err error) error {
	taken := Identifier{EmailIdentifier, a.EmailKey}
	if errors.Is(err, ErrUsernameTaken) {
		taken = Identifier{UsernameIdentifier, a.UsernameKey}
	} else if !errors.Is(err, ErrEmailTaken) {
		return err
	}
	if c.bound != nil {
		return err
	}
	holder, failed := c.store.AccountByIdentifier(ctx, Scope{All: true}, taken)
	switch {
	case errors.Is(failed, ErrNotFound):
		return ErrChanged
	case failed != nil:
		return failed
	case !holder.Pending, !scope.Holds(holder.CustomerID):
		return err
	}
	failed = c.store.DeleteUser(ctx, UserDelete{
		Scope: Scope{All: true}, ID: holder.ID, Customer: holder.CustomerID, IfVersion: holder.Version, Revoke: c.revokeUser(holder.ID, holder.Epoch+1),
		Event: c.event(actor, EventUserDeleted, holder.User, "never activated"),
	})
	if failed != nil && !errors.Is(failed, ErrNotFound) {
		return failed
	}
	return ErrChanged
}

func (u *Users) beforeCreated(ctx context.Context, user User) error {
	if hook := u.hooks.BeforeUserCreated; hook != nil {
		return hook(ctx, user.clone())
	}
	return nil
}

// newAccount validates n and builds the account, its password hashed.
func (u *Users) newAccount(ctx context.Context, n NewUser) (Account, error) {
	now := u.nowMillis()
	a := Account{User: User{
		ID: n.ID, Active: n.Active, CustomerID: n.CustomerID,
		EmailVerified: n.EmailVerified, PhoneVerified: n.PhoneVerified,
		CreatedAt: cmp.Or(storedTime(n.CreatedAt), now), LastLogin: storedTime(n.LastLogin), UpdatedAt: now,
	}, Version: 1, Epoch: now.UnixMilli()} // later than any epoch of a former account with this id
	if a.ID == "" {
		a.ID = newID()
	} else if !ValidID(a.ID) {
		return Account{}, ErrInvalid.Field("id", "1 to 64 of A-Z a-z 0-9 . _ : -, and no word of a route")
	}
	for field, at := range map[string]time.Time{"created_at": a.CreatedAt, "last_login": a.LastLogin} {
		if !at.IsZero() && (at.Year() < 1970 || at.Year() > 9999) {
			return Account{}, ErrInvalid.Field(field, "1970 to 9999")
		}
	}
	err := u.setIdentity(&a, UserChange{
		Email: &n.Email, Username: &n.Username, Phone: &n.Phone, Name: &n.Name, FirstName: &n.FirstName, LastName: &n.LastName,
	})
	if err != nil {
		return Account{}, err
	}
	a.EmailVerified = n.EmailVerified && a.EmailKey != ""
	a.PhoneVerified = n.PhoneVerified && a.Phone != ""
	if a.Roles, err = u.resolveRoles(ctx, n.Roles); err != nil {
		return Account{}, err
	}
	if a.PasswordHash = n.PasswordHash; len(a.PasswordHash) > maxPHC {
		return Account{}, ErrInvalid.Field("password_hash", "at most 512 bytes")
	}
	a.MustChange = n.MustChangePassword
	if n.Password != "" {
		if a.PasswordHash, err = u.hashNew(ctx, n.Password, a); err != nil {
			return Account{}, err
		}
	}
	return a, nil
}

// storedTime is a moment in UTC and in the precision stores keep.
func storedTime(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// setIdentity puts the identifiers and names of ch into a, normalised, and reports all that is wrong at once.
func (c *core) setIdentity(a *Account, ch UserChange) error {
	bad := ErrInvalid
	set := func(field string, in *string, apply func(string) error) {
		if in == nil {
			return
		}
		if err := apply(*in); err != nil {
			bad = bad.Field(field, err.Error())
		}
	}
	set("email", ch.Email, func(in string) error {
		typed, key, err := NormalizeEmail(in)
		if err != nil && strings.TrimSpace(in) != "" {
			return err
		}
		if key != a.EmailKey {
			a.EmailVerified = false
		}
		a.Email, a.EmailKey = typed, key
		return nil
	})
	set("username", ch.Username, func(in string) error {
		typed, key, err := NormalizeUsername(in)
		if err != nil && strings.TrimSpace(in) != "" {
			return err
		}
		a.Username, a.UsernameKey = typed, key
		return nil
	})
	set("name", ch.Name, func(in string) (err error) { a.Name, err = normalizeName(in); return })
	set("first_name", ch.FirstName, func(in string) (err error) { a.FirstName, err = normalizeName(in); return })
	set("last_name", ch.LastName, func(in string) (err error) { a.LastName, err = normalizeName(in); return })
	if bad != ErrInvalid {
		return bad
	}
	if ch.Phone != nil {
		phone := ""
		if strings.TrimSpace(*ch.Phone) != "" {
			var err error
			if phone, err = NormalizePhone(*ch.Phone, c.cfg.DefaultRegion); err != nil {
				return err
			}
		}
		if phone != a.Phone {
			a.PhoneVerified = false
		}
		a.Phone = phone
	}
	if a.EmailKey == "" && a.UsernameKey == "" && a.Phone == "" {
		return errNoUserInNewUser
	}
	if a.NameKey = foldForSearch(a.DisplayName()); len(a.NameKey) > maxNameKey {
		return ErrInvalid.Field("name", "too long")
	}
	return nil
}

// ByID finds a user by id. Oneself, admins, service, System. ErrNotFound, ErrForbidden.
func (u *Users) ByID(ctx context.Context, actor Actor, id string) (User, error) {
	if err := actor.reaching(id); err != nil {
		return User{}, err
	}
	a, err := u.account(ctx, actor, id)
	return readable(actor, a, err)
}

// readable applies rank to what was read.
func readable(actor Actor, a Account, err error) (User, error) {
	if err == nil {
		err = actor.mayRead(a.User)
	}
	if err != nil {
		return User{}, err
	}
	return a.User, nil
}

// ByEmail finds a user by e-mail address, in any spelling that NormalizeEmail makes one. Admins, service, System.
// ErrNotFound, also for what is no e-mail address; ErrForbidden.
func (u *Users) ByEmail(ctx context.Context, actor Actor, email string) (User, error) {
	_, key, err := NormalizeEmail(email)
	return u.by(ctx, actor, Identifier{EmailIdentifier, key}, err)
}

// ByUsername finds a user by username, in any spelling that NormalizeUsername makes one. Admins, service, System.
// ErrNotFound, also for what is no username; ErrForbidden.
func (u *Users) ByUsername(ctx context.Context, actor Actor, username string) (User, error) {
	_, key, err := NormalizeUsername(username)
	return u.by(ctx, actor, Identifier{UsernameIdentifier, key}, err)
}

func (u *Users) by(ctx context.Context, actor Actor, id Identifier, invalid error) (User, error) {
	if err := actor.reaching(""); err != nil {
		return User{}, err
	}
	if invalid != nil {
		return User{}, ErrNotFound
	}
	a, err := u.store.AccountByIdentifier(ctx, actor.scope(), id)
	return readable(actor, a, err)
}

// account reads a user in the actor's customer. An id no account can have is not asked for.
func (c *core) account(ctx context.Context, actor Actor, id string) (Account, error) {
	if !ValidID(id) {
		return Account{}, ErrNotFound
	}
	return c.store.AccountByID(ctx, actor.scope(), id)
}

// Deactivate ends all trust in a user until they are activated again by Change. Only admins and System. Once more
// is no error. ErrNotFound, ErrForbidden, ErrLastAdmin.
func (u *Users) Deactivate(ctx context.Context, actor Actor, id string) (User, error) {
	no := false
	user, _, err := u.Change(ctx, actor, id, UserChange{Active: &no})
	return user, err
}

// Delete erases a user with their sessions, memberships, API keys, grants and credentials. The audit trail keeps the id, but no address and no
// user agent of what the user did. Only admins and System: for oneself see DeleteSelf. ErrNotFound,
// ErrForbidden, ErrLastAdmin.
func (u *Users) Delete(ctx context.Context, actor Actor, id string) error {
	if err := actor.managing(); err != nil {
		return err
	}
	for range maxTries {
		a, err := u.account(ctx, actor, id)
		if err != nil {
			return err
		}
		if err := u.mayTouch(actor, a.User); err != nil {
			return err
		}
		if err := u.erase(ctx, actor, a); !u.again(err) {
			return err
		}
	}
	return ErrUnavailable
}
