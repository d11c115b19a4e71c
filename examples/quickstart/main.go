// Command quickstart is a whole server: accounts under /api, one route for whoever is logged in, one for admins.
//
//	ADMIN_PASSWORD='correct horse battery' go run ./examples/quickstart
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

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/httpadapter"
	"github.com/userapi/userapi/store/sqlite"
	_ "modernc.org/sqlite"
)

func main() {
	db, err := sql.Open("sqlite", sqlite.DSN("app.db"))
	if err != nil {
		log.Fatal(err)
	}
	server, err := newServer(context.Background(), db, userapi.Secret(os.Getenv("ADMIN_PASSWORD")))
	if err != nil {
		log.Fatal(err)
	}
	log.Println("listening on http://127.0.0.1:8081")
	log.Fatal((&http.Server{Addr: "127.0.0.1:8081", Handler: server, ReadHeaderTimeout: 10 * time.Second}).ListenAndServe())
}

func newServer(ctx context.Context, db *sql.DB, pw userapi.Secret) (http.Handler, error) {
	st := sqlite.New(db)
	if err := st.Migrate(ctx); err != nil {
		return nil, err
	}
	api, err := userapi.New(userapi.Config{
		Store:  st,
		Secret: userapi.Secret(rand.Text() + rand.Text()), // a real one comes from the environment and stays
		Hooks: userapi.Hooks{
			UserCreated: func(_ context.Context, u userapi.User) { log.Println("created", u.ID) },
			UserUpdated: func(_ context.Context, u userapi.User) { log.Println("updated", u.ID) },
		},
	})
	if err != nil {
		return nil, err
	}
	if _, err := api.Bootstrap(ctx, userapi.Bootstrap{Username: "admin", Password: pw}); err != nil {
		return nil, err
	}
	go api.Run(ctx) // sweeps, and sends where there is something to send
	// Development: cookies over plain HTTP. Leave it out where there is HTTPS.
	web, err := httpadapter.New(httpadapter.Config{API: api, Development: true})
	if err != nil {
		return nil, err
	}

	mux := http.NewServeMux()
	web.Mount(mux, "/api/users", web.Users())
	web.Mount(mux, "/api/auth", web.Auth())
	web.Mount(mux, "/api/roles", web.Roles())
	mux.Handle("GET /dummy", web.IsConnected(http.HandlerFunc(hello)))
	mux.Handle("GET /hello", web.HasRoles("admin")(http.HandlerFunc(hello)))
	return mux, nil
}

func hello(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintln(w, "hello", userapi.IdentityFrom(r.Context()).UserID())
}
