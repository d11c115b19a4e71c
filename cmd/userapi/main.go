// Command userapi is the ready-made server for users, roles and tokens, and the command line that looks after its
// database.
//
//	userapi serve          # SQLite file and secret in the working directory, http://127.0.0.1:8080/api
//	userapi user add --username ada --role admin
//
// Every command has --help, exits 0 on success, 1 on failure and 2 on wrong use, and says what is wrong on standard
// error. Passwords and secrets come from the environment, a file or a prompt, never from an argument, which other users
// of the machine can read.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/userapi/userapi"
)

// The exit codes besides 0.
const (
	exitFailure  = 1
	exitWrongUse = 2
)

type program struct {
	Serve serve `cmd:"" help:"Serve the API over HTTP."`
	Init  setUp `cmd:"" help:"Make the tables, the first customer and the roles. Once more changes nothing."`
	User  struct {
		Add        userAdd        `cmd:"" help:"Add a user and print the id."`
		List       userList       `cmd:"" help:"List users."`
		Passwd     userPasswd     `cmd:"" help:"Set a user's password, which ends all of their sessions."`
		Roles      userRoles      `cmd:"" help:"Print a user's roles, or replace them."`
		Deactivate userDeactivate `cmd:"" help:"End all trust in a user."`
	} `cmd:"" help:"Look after users."`
	Customer struct {
		Add  customerAdd  `cmd:"" help:"Add a customer and print the id."`
		List customerList `cmd:"" help:"List customers."`
	} `cmd:"" help:"Look after customers, who own users."`
	Role struct {
		Add    roleAdd    `cmd:"" help:"Define a role."`
		List   roleList   `cmd:"" help:"List roles."`
		Remove roleRemove `cmd:"" help:"Remove a role that nobody holds."`
	} `cmd:"" help:"Look after role definitions, which all customers share."`
	Sessions struct {
		RevokeAll sessionsRevokeAll `cmd:"" help:"End everything issued so far, for everybody, and disable all API keys: after a restore from backup, or when the secret leaked."`
	} `cmd:"" help:"Look after sessions."`
	Keys struct {
		Add     keyAdd     `cmd:"" help:"Make an API key and print it, this once."`
		List    keyList    `cmd:"" help:"List a user's API keys."`
		Disable keyDisable `cmd:"" help:"Make an API key inactive."`
		Enable  keyEnable  `cmd:"" help:"Make an API key active again."`
		Delete  keyDelete  `cmd:"" help:"Delete an API key."`
	} `cmd:"" help:"Look after API keys."`
	Audit struct {
		List  auditList  `cmd:"" help:"List the audit trail, newest first."`
		Prune auditPrune `cmd:"" help:"Delete the old part of the audit trail, and print how many events went."`
	} `cmd:"" help:"Look after the audit trail."`
	Import moveIn  `cmd:"" help:"Import the users of another system."`
	Export moveOut `cmd:"" help:"Print users as lines of JSON, which import reads."`
}

func main() { os.Exit(run(context.Background(), os.Args[1:])) }

// run is the program: it returns the exit code.
func run(ctx context.Context, args []string) int {
	parser := kong.Must(&program{},
		kong.Name("userapi"),
		kong.Description("Users, roles and tokens: server and command line."),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	command, err := parser.Parse(args)
	if err == nil {
		err = command.Run()
	}
	if err == nil {
		return 0
	}
	// One line, though a driver that tried several addresses has several.
	text := strings.Join(strings.FieldsFunc(explain(err), func(r rune) bool { return r == '\n' || r == '\t' }), " ")
	fmt.Fprintln(os.Stderr, "userapi: "+strings.TrimPrefix(text, "userapi: "))
	return exitCode(err)
}

// wrongUse is an error of whoever called: exit code 2.
type wrongUse struct{ text string }

func (e wrongUse) Error() string { return e.text }

func wrongUsef(format string, args ...any) error { return wrongUse{fmt.Sprintf(format, args...)} }

func exitCode(err error) int {
	var use wrongUse
	var parse *kong.ParseError
	if errors.As(err, &use) || errors.As(err, &parse) || userapi.AsError(err).Kind == userapi.Invalid {
		return exitWrongUse
	}
	return exitFailure
}

// explain is what a person at a terminal needs: what is wrong with which field, and the cause of a failure, which
// clients of the server never see.
func explain(err error) string {
	var known *userapi.Error
	if !errors.As(err, &known) {
		return err.Error()
	}
	before, _, _ := strings.Cut(err.Error(), known.Error())
	text := before + known.Message
	var fields []string
	for field, what := range known.Fields {
		fields = append(fields, field+": "+strings.Join(what, ", "))
	}
	if slices.Sort(fields); fields != nil {
		text += " " + strings.Join(fields, "; ")
	}
	if known.Err != nil {
		text += " (" + known.Err.Error() + ")"
	}
	return text
}
