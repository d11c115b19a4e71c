package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"golang.org/x/term"
)

type setUp struct {
	Database
	Admin
	DropBefore bool `help:"First remove the tables with all that is in them. Asks on the terminal."`
	Yes        bool `help:"The answer to --drop-before."`
}

// Run makes tables, roles and customer, and the first account where its password is given: a random one is left to
// the first serve in development mode.
func (c *setUp) Run(ctx context.Context) error {
	if c.Yes && !c.DropBefore {
		return wrongUsef("--yes goes with --drop-before")
	}
	if c.DropBefore && !c.Yes {
		if err := c.confirm(); err != nil {
			return err
		}
	}
	d, err := c.open(ctx, slog.New(slog.DiscardHandler), true)
	if err != nil {
		return err
	}
	defer d.pool.Close()
	if c.DropBefore {
		if err := d.store.Drop(ctx); err != nil {
			return fmt.Errorf("cannot remove the tables of the %s: %w", d.name, err)
		}
	}
	if err := d.migrate(ctx); err != nil {
		return err
	}
	api, err := d.api()
	if err != nil {
		return err
	}
	account, err := c.bootstrap(ctx, api, false)
	if err != nil {
		return err
	}
	fmt.Printf("The %s is ready.\n", d.name)
	if account.created {
		fmt.Printf("The account %s was created.\n", account.name)
	}
	return nil
}

// confirm makes sure that somebody wants to lose everything.
func (c *setUp) confirm() error {
	d, err := c.describe()
	if err != nil {
		return err
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return wrongUsef("--drop-before removes every user and needs --yes where there is no terminal to ask on")
	}
	fmt.Fprintf(os.Stderr, "This removes every user, role and session of the %s. Type yes to go on: ", d.name)
	answer, err := readLine(os.Stdin)
	if err != nil {
		return err
	}
	if answer != "yes" {
		return errors.New("nothing was removed")
	}
	return nil
}
