package main

import (
	"context"
	"crypto/rand"
	"errors"
	"os"

	"github.com/userapi/userapi"
)

const (
	adminUsername = "admin"
	firstCustomer = "default"
)

// Admin says what the first account is.
type Admin struct {
	AdminEmail string `env:"USERAPI_ADMIN_EMAIL" placeholder:"ADDRESS" help:"E-mail address of the first account, instead of the username admin. Its password: USERAPI_ADMIN_PASSWORD. An existing account is never changed."`
}

// firstAccount is what bootstrap did.
type firstAccount struct {
	name     string
	created  bool
	password string // the random one, to be shown once; else ""
}

// bootstrap makes what is missing of roles, first customer and first account. A password that nobody gave is made up
// only where random is true, which means that the caller shows it: otherwise an account that was asked for is wrong use
// and no account is made.
func (a Admin) bootstrap(ctx context.Context, api *userapi.API, random bool) (firstAccount, error) {
	b := userapi.Bootstrap{Customer: firstCustomer, Email: a.AdminEmail, Password: userapi.Secret(os.Getenv("USERAPI_ADMIN_PASSWORD"))}
	account := firstAccount{name: a.AdminEmail}
	if a.AdminEmail == "" {
		b.Username, account.name = adminUsername, adminUsername
	}
	if b.Password == "" && random {
		account.password = rand.Text()
		b.Password = userapi.Secret(account.password)
	}
	if b.Password == "" {
		if a.AdminEmail != "" {
			_, err := api.Users.ByEmail(ctx, userapi.System(), a.AdminEmail)
			if errors.Is(err, userapi.ErrNotFound) {
				return account, wrongUsef("--admin-email: there is no such account yet, and USERAPI_ADMIN_PASSWORD is not set")
			}
			if err != nil {
				return account, err
			}
		}
		b.Username, b.Email = "", ""
	}
	var err error
	if account.created, err = api.Bootstrap(ctx, b); err != nil || !account.created {
		account.password = ""
	}
	return account, err
}
