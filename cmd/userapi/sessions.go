package main

import (
	"context"

	"github.com/userapi/userapi"
)

type sessionsRevokeAll struct {
	Database
}

// Run ends every session and every token issued so far. Running servers refuse them within a second.
func (c *sessionsRevokeAll) Run(ctx context.Context) error {
	return c.use(ctx, func(api *userapi.API) error {
		return api.Sessions.RevokeAll(ctx, userapi.System())
	})
}
