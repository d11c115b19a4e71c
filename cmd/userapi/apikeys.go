package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/userapi/userapi"
)

// keyOwner is how these commands name a user.
type keyOwner struct {
	User string `required:"" placeholder:"USER" help:"E-mail address, username or id of the owner."`
	ID   bool   `name:"id" help:"USER is an id, whatever it looks like."`
}

func (o keyOwner) find(ctx context.Context, api *userapi.API) (userapi.User, error) {
	return Named(o).find(ctx, api)
}

type keyAdd struct {
	Database
	keyOwner
	Name    string   `required:"" help:"Name of the key, 2 to 32 characters."`
	Scope   []string `placeholder:"SCOPE" help:"What the key may be used for: userapi:read, userapi:write, users:password, or full; may be repeated."`
	Expires string   `placeholder:"DATE|TIME" help:"When the key ends: the end of a day (2030-12-31, UTC) or a time (2030-12-31T12:00:00Z). Default: never."`
}

// Run makes the key and prints it, which nobody can do again.
func (c *keyAdd) Run(ctx context.Context) error {
	n := userapi.NewAPIKey{Name: c.Name, Scopes: c.Scope}
	if c.Expires != "" {
		at, err := userapi.ParseExpiry(c.Expires)
		if err != nil {
			return wrongUsef("--expires: %v", err)
		}
		n.ExpiresAt = at
	}
	return c.use(ctx, func(api *userapi.API) error {
		user, err := c.find(ctx, api)
		if err != nil {
			return err
		}
		_, key, err := api.Keys.Create(ctx, userapi.System(), user.ID, n)
		if err != nil {
			return err
		}
		fmt.Println(string(key))
		return nil
	})
}

type keyList struct {
	Database
	keyOwner
}

// Run prints the keys of a user.
func (c *keyList) Run(ctx context.Context) error {
	return c.use(ctx, func(api *userapi.API) error {
		user, err := c.find(ctx, api)
		if err != nil {
			return err
		}
		keys, err := api.Keys.List(ctx, userapi.System(), user.ID)
		if err != nil {
			return err
		}
		out := newTable("ID", "NAME", "PREFIX", "SCOPES", "STATE", "EXPIRES", "LAST USED")
		for _, k := range keys {
			out.row(k.ID, k.Name, k.Prefix, strings.Join(k.Scopes, ","), keyState(k), day(k.ExpiresAt), day(k.LastUsedAt))
		}
		return out.Flush()
	})
}

func keyState(k userapi.APIKey) string {
	switch {
	case !k.Active:
		return "disabled"
	case !k.ExpiresAt.IsZero() && !time.Now().Before(k.ExpiresAt):
		return "expired"
	}
	return "active"
}

// keyNamed is how commands name a key.
type keyNamed struct {
	Key string `arg:"" help:"Id of the key, as list prints it."`
}

func (n keyNamed) set(ctx context.Context, db Database, active bool) error {
	return db.use(ctx, func(api *userapi.API) error {
		_, err := api.Keys.Change(ctx, userapi.System(), n.Key, userapi.APIKeyChange{Active: &active})
		return n.explain(err)
	})
}

func (n keyNamed) explain(err error) error {
	return insteadOfNotFound(err, fmt.Errorf("there is no key with the id %q", n.Key))
}

type keyDisable struct {
	Database
	keyNamed
}

// Run disables the key. Running servers refuse it within a second.
func (c *keyDisable) Run(ctx context.Context) error { return c.set(ctx, c.Database, false) }

type keyEnable struct {
	Database
	keyNamed
}

// Run enables the key.
func (c *keyEnable) Run(ctx context.Context) error { return c.set(ctx, c.Database, true) }

type keyDelete struct {
	Database
	keyNamed
}

// Run deletes the key. Running servers refuse it within a second.
func (c *keyDelete) Run(ctx context.Context) error {
	return c.use(ctx, func(api *userapi.API) error {
		return c.explain(api.Keys.Delete(ctx, userapi.System(), c.Key))
	})
}
