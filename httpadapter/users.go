package httpadapter

import (
	"net/http"
	"strings"
	"time"

	"github.com/userapi/userapi"
)

// userOut is a user as the world sees them. What is not listed here never leaves.
type userOut struct {
	ID            string      `json:"id"`
	Email         string      `json:"email,omitempty"`
	Username      string      `json:"username,omitempty"`
	Name          string      `json:"name"`
	FirstName     string      `json:"first_name,omitempty"`
	LastName      string      `json:"last_name,omitempty"`
	Phone         string      `json:"phone,omitempty"`
	Active        bool        `json:"active"`
	EmailVerified bool        `json:"email_verified"`
	PhoneVerified bool        `json:"phone_verified"`
	Customer      customerOut `json:"customer"`
	LastLogin     *string     `json:"last_login"`
	CreatedAt     string      `json:"created_at"`
	UpdatedAt     string      `json:"updated_at"`
	Roles         *[]roleOut  `json:"roles,omitempty"`
}

type customerOut struct {
	ID string `json:"id"`
}

func plainUser(u userapi.User) userOut {
	return userOut{
		ID: u.ID, Email: u.Email, Username: u.Username, Name: u.Name, FirstName: u.FirstName, LastName: u.LastName, Phone: u.Phone,
		Active: u.Active, EmailVerified: u.EmailVerified, PhoneVerified: u.PhoneVerified, Customer: customerOut{u.CustomerID},
		LastLogin: stampOrNull(u.LastLogin), CreatedAt: stamp(u.CreatedAt), UpdatedAt: stamp(u.UpdatedAt),
	}
}

func userWithRoles(u userapi.User) userOut {
	out := plainUser(u)
	roles := rolesOf(u.Roles)
	out.Roles = &roles
	return out
}

// stamp writes a time as RFC 3339 in UTC, in milliseconds.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

// stampOrNull is stamp for a time that may be none.
func stampOrNull(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	at := stamp(t)
	return &at
}

// tokensOut is what a login adds to the user.
type tokensOut struct {
	Exp          int64  `json:"exp,omitempty"` // Unix seconds
	AccessToken  string `json:"access_token,omitempty"`
	RefreshToken string `json:"refresh_token,omitempty"`
	Step         string `json:"step,omitempty"` // what the login lacks
}

type signedInOut struct {
	userOut
	tokensOut
}

// answerUser answers with a user and, where the noun issued tokens, with those as a login does.
func (c *call) answerUser(u userapi.User, t userapi.Tokens) error {
	out := signedInOut{userOut: userWithRoles(u)}
	if !t.IsZero() {
		var err error
		if out.tokensOut, err = c.deliver(t); err != nil {
			return err
		}
	}
	return c.answer(out)
}

// WriteLogin answers r as a login does: 200 with the user, exp and tokens in the body, in cookies or in both, as
// Config.Tokens says. It is for routes of the host that called Auth.IssueTokens, or a method that gave tokens because the
// caller's own credentials changed. With zero tokens it answers with the user alone. The answer must not have begun.
func (a *Adapter) WriteLogin(w http.ResponseWriter, r *http.Request, u userapi.User, t userapi.Tokens) {
	c := &call{Adapter: a, w: w, r: r, route: &route{status: http.StatusOK}}
	if err := c.answerUser(u, t); err != nil {
		a.WriteError(w, r, err)
	}
}

// userIn is what a request may say of a user. A nil field was not given.
type userIn struct {
	email, username, phone, name, firstName, lastName *string
	active, mustChange                                *bool
	password, currentPassword                         *userapi.Secret
	roles                                             *[]userapi.RoleRef
}

// asUsername takes an e-mail address without an @ as a username: "admin" is one that people log in with.
func (in *userIn) asUsername() error {
	if in.email == nil || strings.TrimSpace(*in.email) == "" || strings.Contains(*in.email, "@") {
		return nil
	}
	if in.username != nil && *in.username != "" {
		return userapi.ErrInvalid.Field("email", "not an e-mail address")
	}
	in.email, in.username = nil, in.email
	return nil
}

func (in *userIn) change() userapi.UserChange {
	return userapi.UserChange{
		Email: in.email, Username: in.username, Phone: in.phone, Name: in.name, FirstName: in.firstName, LastName: in.lastName,
		Active: in.active, Password: in.password, Roles: in.roles, CurrentPassword: value(in.currentPassword),
		MustChangePassword: in.mustChange,
	}
}

// value is what p points to, else the zero value.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func createUser(c *call) error {
	if c.identity == nil {
		return register(c)
	}
	var in userIn
	var name string
	err := c.decode(
		optional("email", &in.email), optional("username", &in.username), optional("phone", &in.phone),
		required(text("name", &name)), optional("first_name", &in.firstName), optional("last_name", &in.lastName),
		optionalSecret("password", &in.password), required(flag("active", &in.active)), roleSet("roles", &in.roles),
		orNull(flag("must_change_password", &in.mustChange)),
	)
	if err == nil {
		err = in.asUsername()
	}
	if err != nil {
		return err
	}
	user, err := c.api.Users.Create(c.r.Context(), c.actor, userapi.NewUser{
		Email: value(in.email), Username: value(in.username), Phone: value(in.phone),
		Name: name, FirstName: value(in.firstName), LastName: value(in.lastName),
		Password: value(in.password), Active: *in.active, Roles: value(in.roles), MustChangePassword: value(in.mustChange),
	})
	if err != nil {
		return err
	}
	return c.answerUser(user, userapi.Tokens{})
}

// register has fields of its own: who registers says nothing about roles, activity or the customer. Where an address has to
// be proven first there is one answer for all, whether or not it is registered already.
func register(c *call) error {
	var in userIn
	err := c.decode(
		optional("email", &in.email), optional("username", &in.username), optional("phone", &in.phone),
		optional("name", &in.name), optional("first_name", &in.firstName), optional("last_name", &in.lastName),
		optionalSecret("password", &in.password), // whether it is required is the policy's to say
	)
	if err != nil {
		return err
	}
	user, tokens, err := c.api.Users.Register(c.r.Context(), c.actor, userapi.SelfRegistration{
		Email: value(in.email), Username: value(in.username), Phone: value(in.phone),
		Name: value(in.name), FirstName: value(in.firstName), LastName: value(in.lastName), Password: value(in.password),
	})
	if err != nil {
		return err
	}
	if tokens.IsZero() {
		writeJSON(c.w, c.r, http.StatusAccepted, messageOut{"A message is on its way to this address. It says how to go on."})
		return nil
	}
	return c.answerUser(user, tokens)
}

// listOut is a page of users.
type listOut struct {
	Users   []userOut `json:"users"`
	HasNext bool      `json:"has_next"`
	Cursor  string    `json:"cursor,omitempty"`
}

func listUsers(c *call) error {
	q := c.args()
	query := userapi.UserQuery{
		Email: q.values["email"], Name: q.values["name"], Prefix: q.values["prefix"], Cursor: q.values["cursor"],
		MatchAll: q.choice("match", "any", "all") == "all",
		Limit:    q.integer("limit", 1, 100, 20), Offset: q.integer("offset", 0, 1<<31-1, 0),
	}
	if active := q.choice("active", "true", "false"); active != "" {
		is := active == "true"
		query.Active = &is
	}
	query.WithRoles = q.choice("roles", "true", "false") == "true"
	if err := q.err(); err != nil {
		return err
	}
	page, err := c.api.Users.List(c.r.Context(), c.actor, query)
	if err != nil {
		return err
	}
	out := listOut{Users: make([]userOut, len(page.Users)), HasNext: page.HasNext, Cursor: page.Cursor}
	for i, u := range page.Users {
		if out.Users[i] = plainUser(u); query.WithRoles {
			out.Users[i] = userWithRoles(u)
		}
	}
	return c.answer(out)
}

func getUser(c *call) error {
	user, err := c.api.Users.ByID(c.r.Context(), c.actor, c.path["id"])
	if err != nil {
		return err
	}
	return c.answer(userWithRoles(user))
}

func replaceUser(c *call) error {
	var in userIn
	var name string
	err := c.decode(
		clearable("email", &in.email), clearable("username", &in.username), clearable("phone", &in.phone),
		required(text("name", &name)), clearable("first_name", &in.firstName), clearable("last_name", &in.lastName),
		optionalSecret("password", &in.password), optionalSecret("current_password", &in.currentPassword),
		required(flag("active", &in.active)), roleSet("roles", &in.roles), ignored("id"), // the path says who
		orNull(flag("must_change_password", &in.mustChange)),
	)
	if err == nil {
		err = in.asUsername()
	}
	if err == nil && value(in.email) == "" && value(in.username) == "" && value(in.phone) == "" {
		err = userapi.ErrInvalid.Field("email", "one of email, username and phone is required")
	}
	if err != nil {
		return err
	}
	in.name = &name
	return c.changeUser(in)
}

func changeUser(c *call) error {
	var in userIn
	err := c.decode(
		clearable("email", &in.email), clearable("username", &in.username), clearable("phone", &in.phone),
		clearable("name", &in.name), clearable("first_name", &in.firstName), clearable("last_name", &in.lastName),
		flag("active", &in.active), optionalSecret("current_password", &in.currentPassword), orNull(flag("must_change_password", &in.mustChange)),
	)
	if err != nil {
		return err
	}
	return c.changeUser(in)
}

func (c *call) changeUser(in userIn) error {
	user, tokens, err := c.api.Users.Change(c.r.Context(), c.actor, c.path["id"], in.change())
	if err != nil {
		return err
	}
	return c.answerUser(user, tokens)
}

func deleteUser(c *call) error {
	q := c.args()
	force := q.choice("force", "true", "false") == "true"
	err := q.err()
	switch {
	case err != nil:
	case force:
		err = c.api.Users.Delete(c.r.Context(), c.actor, c.path["id"])
	default:
		_, err = c.api.Users.Deactivate(c.r.Context(), c.actor, c.path["id"])
	}
	if err != nil {
		return err
	}
	return c.done()
}
