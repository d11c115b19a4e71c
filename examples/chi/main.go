// Command chi mounts the same accounts behind a chi router, under two prefixes, and a second, separate user base with
// a store of its own in the same process.
//
//	ADMIN_PASSWORD='correct horse battery' go run ./examples/chi
package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/userapi/userapi"
	"github.com/userapi/userapi/httpadapter"
	"github.com/userapi/userapi/store/sqlite"
	_ "modernc.org/sqlite"
)

func main() {
	router, err := newRouter(context.Background(), "customers.db", "staff.db", userapi.Secret(os.Getenv("ADMIN_PASSWORD")))
	if err != nil {
		log.Fatal(err)
	}
	log.Println("listening on http://127.0.0.1:8081")
	log.Fatal((&http.Server{Addr: "127.0.0.1:8081", Handler: router, ReadHeaderTimeout: 10 * time.Second}).ListenAndServe())
}

func newRouter(ctx context.Context, customersDB, staffDB string, pw userapi.Secret) (http.Handler, error) {
	customers, err := accounts(ctx, customersDB, "customers", pw)
	if err != nil {
		return nil, err
	}
	staff, err := accounts(ctx, staffDB, "staff", pw)
	if err != nil {
		return nil, err
	}
	r := chi.NewRouter()
	customers.Mount(r, "/api", customers.Handler())
	customers.Mount(r, "/v2/people", customers.Users()) // the same users, under a prefix of another shape
	staff.Mount(r, "/staff", staff.Handler())
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "hello", userapi.IdentityFrom(r.Context()).UserID())
	})
	r.With(customers.IsConnected).Method("GET", "/dummy", hello)
	r.With(staff.HasRoles("admin")).Method("GET", "/hello", hello)
	return r, nil
}

// accounts is one user base. Its issuer and secret are its own, so no token of one holds in the other.
func accounts(ctx context.Context, file, issuer string, pw userapi.Secret) (*httpadapter.Adapter, error) {
	db, err := sql.Open("sqlite", sqlite.DSN(file))
	if err != nil {
		return nil, err
	}
	st := sqlite.New(db)
	if err := st.Migrate(ctx); err != nil {
		return nil, err
	}
	api, err := userapi.New(userapi.Config{Store: st, Issuer: issuer, Secret: userapi.Secret(rand.Text() + rand.Text())})
	if err != nil {
		return nil, err
	}
	if _, err := api.Bootstrap(ctx, userapi.Bootstrap{Username: "admin", Password: pw}); err != nil {
		return nil, err
	}
	return httpadapter.New(httpadapter.Config{
		API: api, Development: true, AccessCookie: issuer + "-credentials", RefreshCookie: issuer + "-refresh",
	})
}
