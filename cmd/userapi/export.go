package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/userapi/userapi"
)

type moveOut struct {
	Database
	User       string `placeholder:"ID" help:"Only this user: what there is about one person. Goes without hashes."`
	WithHashes bool   `help:"With the password hashes, so that an import elsewhere takes the passwords over too. Keep the file as safe as the database."`
}

// Run prints a line of JSON for each user, ordered by id. A registration that was never activated is nobody's account yet:
// it is left out unless it is asked for.
func (c *moveOut) Run(ctx context.Context) error {
	if c.User != "" && c.WithHashes {
		return wrongUsef("--with-hashes goes without --user")
	}
	return c.useStore(ctx, func(d *database, api *userapi.API) error {
		out := bufio.NewWriter(os.Stdout)
		if c.User == "" {
			return errors.Join(c.all(ctx, d, api, out), out.Flush())
		}
		account, err := d.store.AccountByID(ctx, userapi.Scope{All: true}, c.User)
		if err != nil {
			return insteadOfNotFound(err, fmt.Errorf("there is no user %q", c.User))
		}
		return errors.Join(writeUser(out, account, false), out.Flush())
	})
}

func (c *moveOut) all(ctx context.Context, d *database, api *userapi.API, out io.Writer) error {
	query := userapi.UserQuery{Limit: 100}
	for {
		page, err := api.Users.List(ctx, userapi.System(), query)
		if err != nil {
			return err
		}
		for _, u := range page.Users {
			account, err := d.store.AccountByID(ctx, userapi.Scope{All: true}, u.ID) // no list holds roles, and no noun a hash
			if errors.Is(err, userapi.ErrNotFound) || err == nil && account.Pending {
				continue
			}
			if err == nil {
				err = writeUser(out, account, c.WithHashes)
			}
			if err != nil {
				return err
			}
		}
		if !page.HasNext {
			return nil
		}
		query.Cursor = page.Cursor
	}
}

func writeUser(out io.Writer, a userapi.Account, withHash bool) error {
	u := userLine{
		ID: a.ID, Email: a.Email, Username: a.Username, Phone: a.Phone, Name: a.Name, FirstName: a.FirstName, LastName: a.LastName,
		Active: &a.Active, Roles: []string{}, Customer: a.CustomerID, EmailVerified: a.EmailVerified, MustChange: a.MustChange,
		CreatedAt: exactly(a.CreatedAt), LastLogin: exactly(a.LastLogin),
	}
	for _, r := range a.Roles {
		u.Roles = append(u.Roles, r.Code)
	}
	if withHash {
		u.PasswordHash = a.PasswordHash
	}
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	return lines.Encode(u)
}

// exactly is a time to the millisecond, "" for none.
func exactly(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}
