// Command hosttx creates a user and a row of the host's own table in one transaction: both are there afterwards, or
// neither.
//
//	go run ./examples/hosttx
package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/store/sqlite"
	_ "modernc.org/sqlite"
)

func main() {
	if err := run(context.Background(), "shop.db"); err != nil {
		log.Fatal(err)
	}
}

var errNoCarts = errors.New("no more carts")

func run(ctx context.Context, file string) error {
	db, err := sql.Open("sqlite", sqlite.DSN(file))
	if err != nil {
		return err
	}
	defer db.Close()
	st := sqlite.New(db)
	_, err = db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS carts (user_id TEXT NOT NULL)`)
	if err := errors.Join(err, st.Migrate(ctx)); err != nil {
		return err
	}
	created := func(_ context.Context, u userapi.User) { fmt.Println("created:", u.Username) }
	api, err := userapi.New(userapi.Config{
		Store: st, Secret: userapi.Secret(rand.Text() + rand.Text()), Hooks: userapi.Hooks{UserCreated: created},
	})
	if err != nil {
		return err
	}
	if _, err = api.Customers.Create(ctx, userapi.System(), userapi.Customer{ID: "shop"}); errors.Is(err, userapi.ErrIDTaken) {
		err = nil // not the first run
	}
	for name, carts := range map[string]int{"anna": 0, "bert": 1} {
		if e := createWithCart(ctx, db, st, api, name, carts); !errors.Is(e, errNoCarts) && !errors.Is(e, userapi.ErrUsernameTaken) {
			err = errors.Join(err, e)
		}
	}
	return err // only bert was created
}

func createWithCart(ctx context.Context, db *sql.DB, st *sqlite.Store, api *userapi.API, name string, carts int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	bound := api.WithStore(st.WithTx(tx))
	user, err := bound.Users.Create(ctx, userapi.System(), userapi.NewUser{Username: name, CustomerID: "shop", Active: true})
	if err != nil {
		return err
	}
	if carts == 0 {
		return errNoCarts // the user vanishes with the rollback
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO carts (user_id) VALUES (?)`, user.ID); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	bound.Committed(ctx) // now the hooks run
	return nil
}
