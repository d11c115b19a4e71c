// Command reset lets people who forgot their password set a new one, by a link in a mail.
//
//	ADMIN_PASSWORD='correct horse battery' go run ./examples/reset
//	curl 127.0.0.1:8081/api/password/reset -H 'Content-Type: application/json' -d '{"email": "admin@example.com"}'
//	curl 127.0.0.1:8081/api/password/reset/confirm -H 'Content-Type: application/json' -d '{"token": "…", "new_password": "…"}'
//
// It sends through SMTP_HOST, with SMTP_USER, SMTP_PASSWORD and MAIL_FROM. Without SMTP_HOST mail is appended to
// outbox.jsonl: take the token from there.
package main

import (
	"context"
	"crypto/rand"
	"log"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/httpadapter"
	"github.com/userapi/userapi/store/memory"
	"github.com/userapi/userapi/verification/outboxfile"
	"github.com/userapi/userapi/verification/smtp"
)

func main() {
	mail, err := mailer()
	if err != nil {
		log.Fatal(err)
	}
	server, err := newServer(context.Background(), mail, userapi.Secret(os.Getenv("ADMIN_PASSWORD")))
	if err != nil {
		log.Fatal(err)
	}
	log.Println("listening on http://127.0.0.1:8081")
	log.Fatal((&http.Server{Addr: "127.0.0.1:8081", Handler: server, ReadHeaderTimeout: 10 * time.Second}).ListenAndServe())
}

func mailer() (userapi.Sender, error) {
	host := os.Getenv("SMTP_HOST")
	if host == "" {
		return outboxfile.New("outbox.jsonl", nil) // development: it holds secrets
	}
	return smtp.New(smtp.Config{
		Host: host, Username: os.Getenv("SMTP_USER"), Password: userapi.Secret(os.Getenv("SMTP_PASSWORD")), From: os.Getenv("MAIL_FROM"),
	})
}

func newServer(ctx context.Context, mail userapi.Sender, pw userapi.Secret) (http.Handler, error) {
	api, err := userapi.New(userapi.Config{
		Store: memory.New(), Secret: userapi.Secret(rand.Text() + rand.Text()), // real ones stay over a restart
		Logger:       slog.Default(),
		Verification: userapi.Verification{Mail: mail, ResetLink: "http://127.0.0.1:8081/reset.html#token={token}"},
	})
	if err != nil {
		return nil, err
	}
	if _, err := api.Bootstrap(ctx, userapi.Bootstrap{Email: "admin@example.com", Password: pw}); err != nil {
		return nil, err
	}
	go api.Run(ctx) // nothing is sent without it
	web, err := httpadapter.New(httpadapter.Config{API: api, Development: true})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	web.Mount(mux, "/api", web.Handler())
	return mux, nil
}
