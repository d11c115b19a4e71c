package main

import (
	"context"

	"github.com/userapi/userapi"
)

type roleAdd struct {
	Database
	Code string `arg:"" help:"Code of the role: 1 to 64 of a-z 0-9 _ . : -"`
	Name string `help:"Name of the role. Default: its code."`
}

// Run defines the role.
func (c *roleAdd) Run(ctx context.Context) error {
	return c.use(ctx, func(api *userapi.API) error {
		_, err := api.Roles.Create(ctx, userapi.System(), userapi.Role{Code: c.Code, Name: c.Name})
		return err
	})
}

type roleList struct {
	Database
}

// Run prints the roles, page by page.
func (c *roleList) Run(ctx context.Context) error {
	const limit = 100
	return c.use(ctx, func(api *userapi.API) error {
		out := newTable("CODE", "NAME", "ID")
		for offset := 0; ; offset += limit {
			page, err := api.Roles.List(ctx, userapi.System(), offset, limit)
			if err != nil {
				return err
			}
			for _, role := range page.Roles {
				out.row(role.Code, role.Name, role.ID)
			}
			if err := out.Flush(); err != nil || !page.HasNext {
				return err
			}
		}
	})
}

type roleRemove struct {
	Database
	Code string `arg:"" help:"Code of the role."`
}

// Run removes the role.
func (c *roleRemove) Run(ctx context.Context) error {
	return c.use(ctx, func(api *userapi.API) error {
		return api.Roles.Delete(ctx, userapi.System(), c.Code)
	})
}
