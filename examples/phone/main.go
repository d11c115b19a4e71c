// Command phone has phone numbers proven by SMS, through two gateways: when the first one fails, the second takes over.
//
//	go run ./examples/phone
//	curl 127.0.0.1:8081/phone -H 'Content-Type: application/json' -d '{"phone": "+4915112345678"}'
//	curl 127.0.0.1:8081/phone/confirm -H 'Content-Type: application/json' -d '{"phone": "+4915112345678", "code": "…"}'
//
// FIRST_SMS and SECOND_SMS are the URLs of gateways that take what package webhook posts. Without them two stand-ins are
// used: one that always fails, and one that prints the SMS.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/httpadapter"
	"github.com/userapi/userapi/store/memory"
	"github.com/userapi/userapi/verification"
	"github.com/userapi/userapi/verification/webhook"
)

func main() {
	const address, standIn = "127.0.0.1:8081", "http://127.0.0.1:8081/stand-in/"
	server, err := newServer(context.Background(), cmp.Or(os.Getenv("FIRST_SMS"), standIn+"fails"), cmp.Or(os.Getenv("SECOND_SMS"), standIn+"prints"))
	if err != nil {
		log.Fatal(err)
	}
	log.Println("listening on http://" + address)
	log.Fatal((&http.Server{Addr: address, Handler: server, ReadHeaderTimeout: 10 * time.Second}).ListenAndServe())
}

func newServer(ctx context.Context, firstURL, secondURL string) (http.Handler, error) {
	first, err1 := webhook.New(webhook.Config{URL: firstURL, From: "Example"})
	second, err2 := webhook.New(webhook.Config{URL: secondURL, From: "Example"})
	if err := cmp.Or(err1, err2); err != nil {
		return nil, err
	}
	sms, err := verification.NewRouter(verification.RouterConfig{
		Gateways: []verification.Gateway{{Name: "first", Backend: first}, {Name: "second", Backend: second}}, Logger: slog.Default(),
	})
	if err != nil {
		return nil, err
	}
	api, err := userapi.New(userapi.Config{
		Store: memory.New(), Secret: userapi.Secret(rand.Text() + rand.Text()), // real ones stay over a restart
		Logger:       slog.Default(),
		Verification: userapi.Verification{SMS: sms, AnonymousPhone: true},
		Hooks:        userapi.Hooks{PhoneProved: func(_ context.Context, _ userapi.User, number string) { log.Println("proven:", number) }},
	})
	if err != nil {
		return nil, err
	}
	web, err := httpadapter.New(httpadapter.Config{API: api})
	if err != nil {
		return nil, err
	}
	go api.Run(ctx) // nothing is sent without it
	mux := http.NewServeMux()
	web.Mount(mux, "/", web.Verification())
	mux.HandleFunc("/stand-in/fails", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	mux.HandleFunc("/stand-in/prints", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(os.Stdout, r.Body)
		fmt.Println()
	})
	return mux, nil
}
