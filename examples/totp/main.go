// Command totp lets people switch two-step login on for themselves, with an authenticator app.
//
//	ADMIN_PASSWORD='correct horse battery' go run ./examples/totp
//	post() { curl -s -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' 127.0.0.1:8081/api/$1 -d "$2"; }
//	post auth/login '{"username": "admin", "password": "correct horse battery"}'    # TOKEN=… its access_token
//	post totp/enrol                                     # secret: type it into the app; qr: a picture for an <img>
//	post totp/confirm '{"code": "123456"}'              # of the app; answers the recovery codes
//	post auth/login '{"username": "admin", "password": "correct horse battery"}'    # step second_factor; TOKEN=…
//	post totp/login '{"code": "654321"}'                # the next of the app, or a recovery code
package main

import (
	"context"
	"crypto/rand"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/feature/totp"
	"github.com/userapi/userapi/httpadapter"
	"github.com/userapi/userapi/store/memory"
)

func main() {
	server, err := newServer(context.Background(), userapi.Secret(os.Getenv("ADMIN_PASSWORD")))
	if err != nil {
		log.Fatal(err)
	}
	log.Println("listening on http://127.0.0.1:8081")
	log.Fatal((&http.Server{Addr: "127.0.0.1:8081", Handler: server, ReadHeaderTimeout: 10 * time.Second}).ListenAndServe())
}

func newServer(ctx context.Context, pw userapi.Secret) (http.Handler, error) {
	factor, err := totp.New(totp.Config{Issuer: "Example"})
	if err != nil {
		return nil, err
	}
	api, err := userapi.New(userapi.Config{
		Store: memory.New(), Secret: userapi.Secret(rand.Text() + rand.Text()), // real ones stay over a restart
		SecondFactor: factor,
	})
	if err != nil {
		return nil, err
	}
	if err := factor.Bind(api); err != nil {
		return nil, err
	}
	if _, err := api.Bootstrap(ctx, userapi.Bootstrap{Username: "admin", Password: pw}); err != nil {
		return nil, err
	}
	web, err := httpadapter.New(httpadapter.Config{API: api, Development: true})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	web.Mount(mux, "/api", web.Handler())
	web.Mount(mux, "/api/totp", factor.Handler(web))
	return mux, nil
}
