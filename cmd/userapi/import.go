package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/userapi/userapi"
)

type moveIn struct {
	Database
	From     string `required:"" enum:"knlambert,affo,flowserv,apicrud,jsonl" placeholder:"knlambert|affo|flowserv|apicrud|jsonl" help:"What the users come from: the database of one of these systems, or lines of JSON. See docs/moving-in.md."`
	Source   string `required:"" env:"USERAPI_IMPORT_SOURCE" placeholder:"sqlite:PATH|mysql:DSN|postgres:URL|FILE" help:"Where they are: the database, or for jsonl a file; - is standard input. In USERAPI_IMPORT_KEY apicrud's DB_AES_SECRET, without which its users have no password."`
	Customer string `placeholder:"ID" help:"Customer that all of them come to. Default: the customer default, else the first; knlambert's come with theirs."`
	IDPrefix string `name:"id-prefix" placeholder:"TEXT" help:"What is put in front of every id, to keep the users of two systems apart."`
	DryRun   bool   `help:"Write nothing, and report what would happen. It holds the lock of who writes, so a running server cannot meanwhile."`
}

// Run imports the users, and prints what became of them. An interrupt ends it behind the batch that is under way; a second
// one ends the program at once.
func (c *moveIn) Run(ctx context.Context) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	if err := c.check(); err != nil {
		return err
	}
	from, err := c.openSource(ctx)
	if err != nil {
		return err
	}
	defer from.close()
	d, err := c.open(ctx, slog.New(slog.DiscardHandler), false)
	if err != nil {
		return err
	}
	defer d.pool.Close()
	if !c.DryRun {
		if err := d.migrate(ctx); err != nil {
			return err
		}
	}
	api, err := d.api()
	if err != nil {
		return err
	}
	in := &incoming{d: d, api: api, from: from, dry: c.DryRun, prefix: c.IDPrefix, roles: map[string]bool{}}
	if err := c.chooseCustomer(ctx, api, in); err != nil {
		return err
	}
	err = in.run(ctx)
	in.report()
	return err
}

// check refuses wrong use before anything is opened.
func (c *moveIn) check() error {
	if _, err := c.describe(); err != nil {
		return err
	}
	if c.IDPrefix != "" && (len(c.IDPrefix) > 32 || !userapi.ValidID(c.IDPrefix+"1")) {
		return wrongUsef("--id-prefix: 1 to 32 of A-Z a-z 0-9 . _ : -")
	}
	kind, rest, scheme := strings.Cut(c.Source, ":")
	scheme = scheme && (kind == "sqlite" || kind == "mysql" || kind == "postgres" || kind == "postgresql")
	switch {
	case c.From == "jsonl" && (scheme || c.Source == ""):
		return wrongUsef("--from jsonl needs --source FILE, or - for standard input")
	case c.From != "jsonl" && (!scheme || rest == ""):
		return wrongUsef("--from %s needs --source sqlite:PATH, mysql:DSN or postgres:URL", c.From)
	}
	return nil
}

// chooseCustomer decides who the users come to, before anything is written.
func (c *moveIn) chooseCustomer(ctx context.Context, api *userapi.API, in *incoming) error {
	if c.Customer != "" {
		_, err := api.Customers.ByID(ctx, userapi.System(), c.Customer)
		in.customer, in.single = c.Customer, true
		return insteadOfNotFound(readyTables(err), fmt.Errorf("--customer: there is no customer %q", c.Customer))
	}
	_, err := api.Customers.ByID(ctx, userapi.System(), firstCustomer)
	if err == nil {
		in.customer = firstCustomer
		return nil
	}
	if !errors.Is(err, userapi.ErrNotFound) {
		return readyTables(err)
	}
	first, err := api.Customers.List(ctx, userapi.System(), "", 1)
	switch {
	case err != nil:
		return readyTables(err)
	case len(first) > 0:
		in.customer = first[0].ID
	case c.From != "knlambert":
		return errors.New("there is no customer that the users could come to: init makes one, or customer add")
	}
	return nil
}

// readyTables tells what to do about tables that are not there: a dry run makes none.
func readyTables(err error) error {
	if err == nil || errors.Is(err, userapi.ErrNotFound) || userapi.AsError(err).Kind != userapi.Internal {
		return err
	}
	return fmt.Errorf("the tables are not there, or not up to date; init makes them: %w", err)
}
