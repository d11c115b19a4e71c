package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/userapi/userapi"
)

type userAdd struct {
	Database
	Email      string   `help:"E-mail address."`
	Username   string   `help:"Username. One of e-mail, username and phone is required."`
	Phone      string   `help:"Phone number, international form."`
	Name       string   `help:"Display name."`
	FirstName  string   `help:"First name."`
	LastName   string   `help:"Last name."`
	Customer   string   `default:"default" help:"Id of the customer the user belongs to. Default: ${default}."`
	Role       []string `placeholder:"CODE" help:"Code of a role to give; may be repeated."`
	Inactive   bool     `help:"The user cannot log in until activated."`
	MustChange bool     `help:"The first login is good for a change of the password alone."`
	NoPassword bool     `help:"Do not ask for a password: the user cannot log in by one."`
}

// Run adds the user.
func (c *userAdd) Run(ctx context.Context) error {
	if c.Email == "" && c.Username == "" && c.Phone == "" {
		return wrongUsef("one of --email, --username and --phone is required")
	}
	n := userapi.NewUser{
		Email: c.Email, Username: c.Username, Phone: c.Phone, Name: c.Name, FirstName: c.FirstName, LastName: c.LastName,
		CustomerID: c.Customer, Active: !c.Inactive, Roles: roleRefs(c.Role), MustChangePassword: c.MustChange,
	}
	return c.use(ctx, func(api *userapi.API) (err error) {
		if !c.NoPassword {
			if n.Password, err = readPassword(); err != nil {
				return err
			}
		}
		user, err := api.Users.Create(ctx, userapi.System(), n)
		if err != nil {
			return err
		}
		fmt.Println(user.ID)
		return nil
	})
}

func roleRefs(codes []string) []userapi.RoleRef {
	refs := []userapi.RoleRef{}
	for _, code := range codes {
		refs = append(refs, userapi.RoleRef{Code: code})
	}
	return refs
}

type userList struct {
	Database
	Email string `help:"Only addresses that contain this."`
	Name  string `help:"Only names that contain this."`
}

// Run prints the users, page by page.
func (c *userList) Run(ctx context.Context) error {
	return c.use(ctx, func(api *userapi.API) error {
		out := newTable("ID", "EMAIL", "USERNAME", "NAME", "ACTIVE", "CUSTOMER", "LAST LOGIN")
		query := userapi.UserQuery{Email: c.Email, Name: c.Name, MatchAll: true, Limit: 100}
		for {
			page, err := api.Users.List(ctx, userapi.System(), query)
			if err != nil {
				return err
			}
			for _, u := range page.Users {
				out.row(u.ID, u.Email, u.Username, u.DisplayName(), fmt.Sprint(u.Active), u.CustomerID, day(u.LastLogin))
			}
			if err := out.Flush(); err != nil || !page.HasNext {
				return err
			}
			query.Cursor = page.Cursor
		}
	})
}

// table prints columns.
type table struct{ *tabwriter.Writer }

func newTable(columns ...string) table {
	t := table{tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)}
	t.row(columns...)
	return t
}

// row adds a line. An empty cell is "-", so that every line has as many words.
func (t table) row(cells ...string) {
	for i, cell := range cells {
		if cell == "" {
			cells[i] = "-"
		}
	}
	fmt.Fprintln(t, strings.Join(cells, "\t"))
}

func day(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339)
}

// Named is how commands name a user.
type Named struct {
	User string `arg:"" help:"E-mail address, username or id of the user."`
	ID   bool   `name:"id" help:"USER is an id, whatever it looks like."`
}

// find reads the user. With an @ it is an e-mail address. A username may look like another user's id: then neither is
// taken, and --id tells.
func (n Named) find(ctx context.Context, api *userapi.API) (userapi.User, error) {
	system := userapi.System()
	missing := fmt.Errorf("there is no user %q", n.User)
	if !n.ID && strings.Contains(n.User, "@") {
		user, err := api.Users.ByEmail(ctx, system, n.User)
		return user, insteadOfNotFound(err, missing)
	}
	byID, idErr := api.Users.ByID(ctx, system, n.User)
	if n.ID {
		return byID, insteadOfNotFound(idErr, missing)
	}
	byName, nameErr := api.Users.ByUsername(ctx, system, n.User)
	switch {
	case idErr == nil && nameErr == nil && byID.ID != byName.ID:
		return userapi.User{}, wrongUsef("%q is the id of one user and the username of another: give an id, and --id", n.User)
	case nameErr == nil:
		return byName, insteadOfNotFound(idErr, nil)
	case errors.Is(nameErr, userapi.ErrNotFound):
		return byID, insteadOfNotFound(idErr, missing)
	}
	return userapi.User{}, nameErr
}

func insteadOfNotFound(err, instead error) error {
	if errors.Is(err, userapi.ErrNotFound) {
		return instead
	}
	return err
}

type userPasswd struct {
	Database
	Named
	MustChange bool `help:"The next login is good for a change of the password alone."`
}

// Run sets the password.
func (c *userPasswd) Run(ctx context.Context) error {
	return c.use(ctx, func(api *userapi.API) error {
		user, err := c.find(ctx, api)
		if err != nil {
			return err
		}
		password, err := readPassword()
		if err != nil {
			return err
		}
		ch := userapi.UserChange{Password: &password}
		if c.MustChange {
			ch.MustChangePassword = &c.MustChange
		}
		_, _, err = api.Users.Change(ctx, userapi.System(), user.ID, ch)
		return err
	})
}

type userRoles struct {
	Database
	Named
	Roles []string `arg:"" optional:"" help:"Codes of the whole new set of roles. Without: print the present ones."`
	None  bool     `help:"Take every role."`
}

// Run prints the roles the user holds, afterwards.
func (c *userRoles) Run(ctx context.Context) error {
	if c.None && len(c.Roles) > 0 {
		return wrongUsef("--none goes without roles")
	}
	return c.use(ctx, func(api *userapi.API) error {
		user, err := c.find(ctx, api)
		if err == nil && (c.None || len(c.Roles) > 0) {
			refs := roleRefs(c.Roles)
			user, _, err = api.Users.Change(ctx, userapi.System(), user.ID, userapi.UserChange{Roles: &refs})
		}
		if err != nil {
			return err
		}
		for _, role := range user.Roles {
			fmt.Println(role.Code)
		}
		return nil
	})
}

type userDeactivate struct {
	Database
	Named
}

// Run deactivates the user: no login, and every session and token ends.
func (c *userDeactivate) Run(ctx context.Context) error {
	return c.use(ctx, func(api *userapi.API) error {
		user, err := c.find(ctx, api)
		if err != nil {
			return err
		}
		_, err = api.Users.Deactivate(ctx, userapi.System(), user.ID)
		return err
	})
}
