package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/term"

	"github.com/userapi/userapi"
)

const (
	// batchSize is how many users one transaction takes: enough that a commit costs little, and so few that others who
	// write do not wait for long.
	batchSize = 500
	// batchTries bounds how often a batch is begun anew when the database breaks it off, as a cluster does at will.
	batchTries = 10
	// batchPause lets other processes write to a SQLite file: they look for its lock every few milliseconds.
	batchPause = 8 * time.Millisecond
)

// source is where users come from.
type source interface {
	// before reads what has to be there before the users are: customers and roles, by the ids they have there.
	before(ctx context.Context) ([]userapi.Customer, []userapi.Role, error)
	// each reads the users, one after the other, until take returns an error.
	each(ctx context.Context, take func(newcomer) error) error
	// remarks are what a person has to know besides.
	remarks() []string
	close()
}

// newcomer is a user of another system.
type newcomer struct {
	at    string // for people: the id there, or a line
	user  userapi.NewUser
	wrong string   // why it cannot be stored; "" = it may be
	notes []string // what of it does not come over
}

// incoming puts users into the database, a batch in a transaction. Each user has a savepoint in it, so that one who cannot be
// stored costs nobody else anything. A dry run is the same in one transaction that is rolled back at the end.
type incoming struct {
	d        *database
	api      *userapi.API
	from     source
	dry      bool
	prefix   string
	customer string // of whoever has none; of everybody with single
	single   bool
	theirs   bool            // customers come over, with the prefix
	roles    map[string]bool // codes that are defined for sure

	tx    *sql.Tx
	store userapi.TxStore
	bound *userapi.API

	read, created, skipped, conflicts, passwordless int

	shown time.Time // when the progress was
}

var errInterrupted = errors.New("interrupted: what was imported stays, and the same command goes on from there")

// run imports until the end of the source, or of ctx.
func (in *incoming) run(ctx context.Context) error {
	work := context.WithoutCancel(ctx) // what is under way ends as it should
	if in.dry {
		if err := in.begin(work); err != nil {
			return err
		}
		defer in.tx.Rollback()
	}
	defer in.hideProgress()
	if err := in.prepare(work); err != nil {
		return err
	}
	var batch []newcomer
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := in.write(work, batch)
		batch = batch[:0]
		return err
	}
	err := in.from.each(work, func(n newcomer) error {
		if batch = append(batch, in.adapt(n)); len(batch) < batchSize {
			return nil
		}
		if err := flush(); err != nil {
			return err
		}
		in.showProgress()
		if ctx.Err() != nil {
			return errInterrupted
		}
		return nil
	})
	if err != nil {
		return err
	}
	return flush()
}

// adapt gives a user the id and the customer that they have here.
func (in *incoming) adapt(n newcomer) newcomer {
	if n.user.ID != "" {
		n.user.ID = in.prefix + n.user.ID
	}
	switch {
	case in.single || n.user.CustomerID == "":
		n.user.CustomerID = in.customer
	case in.theirs:
		n.user.CustomerID = in.prefix + n.user.CustomerID
	}
	return n
}

// prepare makes customers, unless all users come to one, and roles.
func (in *incoming) prepare(ctx context.Context) error {
	customers, roles, err := in.from.before(ctx)
	if err != nil {
		return err
	}
	if in.theirs = customers != nil; in.single {
		customers = nil
	}
	return in.transaction(ctx, func() error {
		for _, c := range customers {
			c.ID = in.prefix + c.ID
			err := in.try(ctx, func() error {
				_, err := in.bound.Customers.Create(ctx, userapi.System(), c)
				return err
			})
			if err != nil && !errors.Is(err, userapi.ErrIDTaken) {
				return err
			}
		}
		for _, r := range roles {
			r.ID = in.prefix + r.ID
			if err := in.define(ctx, r); err != nil {
				return err
			}
		}
		return nil
	})
}

// define makes a role where there is none with its code. What can be no role is left alone: whoever holds it is refused.
func (in *incoming) define(ctx context.Context, role userapi.Role) error {
	if in.roles[role.Code] {
		return nil
	}
	create := func() error {
		_, err := in.bound.Roles.Create(ctx, userapi.System(), role)
		return err
	}
	err := in.try(ctx, create)
	if errors.Is(err, userapi.ErrIDTaken) || role.ID != "" && !userapi.ValidID(role.ID) {
		role.ID = ""
		err = in.try(ctx, create)
	}
	switch {
	case err == nil, errors.Is(err, userapi.ErrRoleTaken):
		in.roles[role.Code] = true
	case userapi.AsError(err).Kind != userapi.Invalid:
		return err
	}
	return nil
}

// outcome is what became of a user: created, there already, or refused.
type outcome struct {
	created bool
	refused error
}

// write stores a batch. What became of whom is counted and told once it is certain.
func (in *incoming) write(ctx context.Context, batch []newcomer) error {
	var done []outcome
	err := in.transaction(ctx, func() error {
		done = done[:0]
		for _, n := range batch {
			o, err := in.one(ctx, n)
			if err != nil {
				return err
			}
			done = append(done, o)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, o := range done {
		in.tell(batch[i], o)
	}
	return nil
}

// one stores a user. Its error ends the transaction.
func (in *incoming) one(ctx context.Context, n newcomer) (outcome, error) {
	if n.wrong != "" {
		return outcome{refused: errors.New(n.wrong)}, nil
	}
	for _, r := range n.user.Roles {
		if err := in.define(ctx, userapi.Role{Code: r.Code}); err != nil {
			return outcome{}, err
		}
	}
	err := in.create(ctx, n.user)
	if errors.Is(err, userapi.ErrIDTaken) || errors.Is(err, userapi.ErrEmailTaken) || errors.Is(err, userapi.ErrUsernameTaken) {
		return in.settle(ctx, n.user, err)
	}
	return decided(err)
}

// create stores a user in the place of others, or leaves all as it was.
func (in *incoming) create(ctx context.Context, n userapi.NewUser, insteadOf ...string) error {
	return in.try(ctx, func() error {
		for _, id := range slices.Compact(insteadOf) {
			if err := in.bound.Users.Delete(ctx, userapi.System(), id); err != nil {
				return err
			}
		}
		_, err := in.bound.Users.Create(ctx, userapi.System(), n)
		return err
	})
}

// decided tells what is wrong with a user from what is wrong with the database.
func decided(err error) (outcome, error) {
	switch {
	case err == nil:
		return outcome{created: true}, nil
	case userapi.AsError(err).Kind == userapi.Invalid, userapi.AsError(err).Kind == userapi.Conflict:
		return outcome{refused: err}, nil
	}
	return outcome{}, err
}

// settle decides about a user whose id, e-mail address or username is taken: by the same user, who was imported before; by a
// registration that was never activated, which gives way as it does to whoever adds a user; or by somebody else.
func (in *incoming) settle(ctx context.Context, n userapi.NewUser, taken error) (outcome, error) {
	_, email, _ := userapi.NormalizeEmail(n.Email)
	_, username, _ := userapi.NormalizeUsername(n.Username)
	everywhere := userapi.Scope{All: true}
	if n.ID != "" {
		holder, err := in.store.AccountByID(ctx, everywhere, n.ID)
		if err == nil {
			if holder.EmailKey != email || holder.UsernameKey != username {
				return outcome{refused: userapi.ErrIDTaken}, nil
			}
			return outcome{}, nil
		}
		if !errors.Is(err, userapi.ErrNotFound) {
			return outcome{}, err
		}
	}
	var giveWay []string
	for _, id := range []userapi.Identifier{{Kind: userapi.EmailIdentifier, Value: email}, {Kind: userapi.UsernameIdentifier, Value: username}} {
		if id.Value == "" {
			continue
		}
		holder, err := in.store.AccountByIdentifier(ctx, everywhere, id)
		switch {
		case errors.Is(err, userapi.ErrNotFound):
		case err != nil:
			return outcome{}, err
		case holder.Pending:
			giveWay = append(giveWay, holder.ID)
		case n.ID == "" && holder.EmailKey == email && holder.UsernameKey == username:
			return outcome{}, nil // without an id it is its names that tell
		}
	}
	if giveWay == nil {
		return outcome{refused: taken}, nil
	}
	return decided(in.create(ctx, n, giveWay...))
}

// tell counts a user, and prints what a person has to look at.
func (in *incoming) tell(n newcomer, o outcome) {
	in.read++
	switch {
	case o.refused != nil:
		in.conflicts++
		in.line("conflict: " + n.at + ": " + explain(o.refused))
	case o.created:
		in.created++
		if n.user.PasswordHash == "" {
			in.passwordless++
		}
		for _, note := range n.notes {
			in.line("note: " + n.at + ": " + note)
		}
	default:
		in.skipped++
	}
}

// line prints a line. What comes from the source may hold anything, and must not steer a terminal.
func (in *incoming) line(text string) {
	in.hideProgress()
	fmt.Println(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text))
}

// report prints the outcome.
func (in *incoming) report() {
	for _, r := range in.from.remarks() {
		fmt.Println("note: " + r)
	}
	if in.dry {
		fmt.Println("note: this was a dry run, nothing was written")
	}
	fmt.Printf("read: %d\ncreated: %d\nskipped: %d\nconflicts: %d\nwithout password: %d\n",
		in.read, in.created, in.skipped, in.conflicts, in.passwordless)
}

// showProgress rewrites a line on the terminal, if there is one.
func (in *incoming) showProgress() {
	if time.Since(in.shown) < 200*time.Millisecond || !term.IsTerminal(int(os.Stderr.Fd())) {
		return
	}
	in.shown = time.Now()
	fmt.Fprintf(os.Stderr, "\r%d read, %d created, %d skipped, %d conflicts", in.read, in.created, in.skipped, in.conflicts)
}

func (in *incoming) hideProgress() {
	if !in.shown.IsZero() {
		_, _ = io.WriteString(os.Stderr, "\r\x1b[K")
		in.shown = time.Time{}
	}
}

func (in *incoming) begin(ctx context.Context) error {
	tx, err := in.d.pool.BeginTx(ctx, nil)
	if err != nil {
		return userapi.ErrUnavailable.Wrap(err)
	}
	in.tx, in.store = tx, in.d.store.WithTx(tx)
	in.bound = in.api.WithStore(in.store)
	return nil
}

// transaction commits what do writes, or nothing of it, and does it again where the database broke it off. What took effect
// although the answer to its commit was lost is there already the second time.
func (in *incoming) transaction(ctx context.Context, do func() error) error {
	if in.dry {
		return do()
	}
	for try := 1; ; try++ {
		err := in.attempt(ctx, do)
		if err == nil || try == batchTries || userapi.AsError(err).Kind != userapi.Unavailable {
			return err
		}
		time.Sleep(time.Duration(try) * 20 * time.Millisecond)
	}
}

func (in *incoming) attempt(ctx context.Context, do func() error) error {
	if err := in.begin(ctx); err != nil {
		return err
	}
	defer in.tx.Rollback() // after the commit it does nothing
	if err := do(); err != nil {
		clear(in.roles) // some of them may be gone
		return err
	}
	if err := in.tx.Commit(); err != nil {
		clear(in.roles)
		return userapi.ErrUnavailable.Wrap(err)
	}
	in.bound.Committed(ctx)
	if in.d.file != "" {
		time.Sleep(batchPause)
	}
	return nil
}

// try undoes what do wrote if it fails, and nothing else of the transaction.
func (in *incoming) try(ctx context.Context, do func() error) error {
	if _, err := in.tx.ExecContext(ctx, "SAVEPOINT userapi_import"); err != nil {
		return userapi.ErrUnavailable.Wrap(err)
	}
	err := do()
	if err != nil {
		if _, gone := in.tx.ExecContext(ctx, "ROLLBACK TO SAVEPOINT userapi_import"); gone != nil {
			return userapi.ErrUnavailable.Wrap(errors.Join(err, gone)) // the whole transaction is
		}
	}
	if _, gone := in.tx.ExecContext(ctx, "RELEASE SAVEPOINT userapi_import"); gone != nil {
		return userapi.ErrUnavailable.Wrap(errors.Join(err, gone))
	}
	return err
}
