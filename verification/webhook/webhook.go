// Package webhook sends SMS through a gateway of your own: it posts each message as JSON to a URL.
//
//	sms, err := webhook.New(webhook.Config{
//		URL:           "https://sms.example.com/send",
//		From:          "ExampleApp",
//		ServiceID:     "accounts",
//		Headers:       map[string]userapi.Secret{"Authorization": "Bearer " + token},
//		SigningSecret: userapi.Secret(os.Getenv("SMS_SIGNING_SECRET")),
//	})
//	api, err := userapi.New(userapi.Config{…, Verification: userapi.Verification{SMS: sms}})
//
// What is posted:
//
//	{"from": "ExampleApp", "message": "Your security code is: 123456", "phone": "+4915112345678",
//	 "retry": false, "service_id": "accounts", "user_id": ""}
//
// retry is true when the requester asked again, and when an attempt before may have arrived; the header Idempotency-Key
// is the same for each attempt at one message. user_id is "" where the number is to be of no account.
//
// Any 2xx is success, and its body does not matter. 400, 404 and 422 mean that there is no such number
// (userapi.ErrUndeliverable), so a gateway of yours has to use others for what is wrong with the request itself: 401 or 403
// for credentials, 429 or 503 with Retry-After for a pause, 500 for the rest.
//
// With a SigningSecret requests are signed as Standard Webhooks has it (github.com/standard-webhooks/standard-webhooks), so
// that the receiver can use one of its libraries: the header Webhook-Signature is "v1," and the base64 of an
// HMAC-SHA256 over the message's id, a dot, the Unix time in seconds, a dot, and the body. The key is what the base64 in
// SigningSecret stands for. Id and time are in Webhook-Id and Webhook-Timestamp; refuse what is older than five minutes.
package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/verification"
	"github.com/userapi/userapi/verification/internal/gateway"
)

// Config is how to reach the gateway.
type Config struct {
	URL       string                    // https, or http to this very machine; without credentials
	From      string                    // what "from" says; may be ""
	ServiceID string                    // what "service_id" says; may be ""
	Headers   map[string]userapi.Secret // sent along, for one {"Authorization": "Bearer …"}

	// SigningSecret signs requests: "whsec_" and the base64 of 24 to 64 random bytes. Default "": no signature.
	SigningSecret userapi.Secret

	Templates *verification.Templates // default: the defaults of package verification
	Client    *http.Client            // default: one of its own, which waits 10 seconds; redirects are never followed
}

// Backend is a verification.Backend. Its Send may be called from any number of goroutines.
type Backend struct {
	gateway         *gateway.Client
	templates       *verification.Templates
	from, serviceID string
	post            func(ctx context.Context, id, body string) (gateway.Answer, error) // hides URL and secrets: a print would show them in a field
}

var _ verification.Backend = (*Backend)(nil)

// New makes a Backend.
func New(cfg Config) (*Backend, error) {
	if err := gateway.Target(cfg.URL); err != nil {
		return nil, fmt.Errorf("webhook: Config.URL: %w", err)
	}
	headers := maps.Clone(cfg.Headers)
	if err := checkHeaders(headers); err != nil {
		return nil, fmt.Errorf("webhook: Config.Headers: %w", err)
	}
	key, err := signingKey(cfg.SigningSecret)
	if err != nil {
		return nil, fmt.Errorf("webhook: Config.SigningSecret: %w", err)
	}
	client := gateway.New("webhook", cfg.Client)
	post := func(ctx context.Context, id, body string) (gateway.Answer, error) {
		return client.Post(ctx, cfg.URL, "application/json", body, func(r *http.Request) {
			for name, value := range headers {
				r.Header.Set(name, string(value))
			}
			r.Header.Set("Idempotency-Key", id)
			if key != nil {
				sign(r.Header, key, id, body, time.Now())
			}
		})
	}
	return &Backend{gateway: client, templates: cfg.Templates, from: cfg.From, serviceID: cfg.ServiceID, post: post}, nil
}

// taken are the headers that the backend or net/http sets.
var taken = []string{"Accept", "Connection", "Content-Length", "Content-Type", "Host", "Idempotency-Key", "Transfer-Encoding", "Webhook-Id", "Webhook-Signature", "Webhook-Timestamp"}

func checkHeaders(headers map[string]userapi.Secret) error {
	for name, value := range headers {
		switch {
		case !httpguts.ValidHeaderFieldName(name):
			return fmt.Errorf("%q cannot be a header's name", name)
		case !httpguts.ValidHeaderFieldValue(string(value)):
			return fmt.Errorf("the value of %s has characters that no header can have", name)
		case slices.Contains(taken, http.CanonicalHeaderKey(name)):
			return fmt.Errorf("%s is not for you to set", name)
		}
	}
	return nil
}

func signingKey(secret userapi.Secret) ([]byte, error) {
	if secret == "" {
		return nil, nil
	}
	text, ok := strings.CutPrefix(string(secret), "whsec_")
	key, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(key) < 24 || len(key) > 64 {
		return nil, errors.New(`has to be "whsec_" and the base64 of 24 to 64 random bytes`)
	}
	return key, nil
}

type request struct {
	From      string `json:"from"`
	Message   string `json:"message"`
	Phone     string `json:"phone"`
	Retry     bool   `json:"retry"`
	ServiceID string `json:"service_id"`
	UserID    string `json:"user_id"`
}

// Send implements verification.Backend.
func (b *Backend) Send(ctx context.Context, m userapi.Message) error {
	text, err := b.gateway.Text(b.templates, m)
	if err != nil {
		return err
	}
	body, err := json.Marshal(request{
		From: b.from, Message: text, Phone: m.To, Retry: m.Resend || m.Attempt > 1, ServiceID: b.serviceID, UserID: m.UserID,
	})
	if err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	answer, err := b.post(ctx, m.ID, string(body))
	if err != nil {
		return err
	}
	switch {
	case answer.Accepted():
		return nil
	case slices.Contains([]int{http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity}, answer.Status):
		return b.gateway.Refused(answer, 0, true)
	}
	return b.gateway.Refused(answer, 0, false)
}

func sign(header http.Header, key []byte, id, body string, now time.Time) {
	timestamp := strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body)
	header.Set("Webhook-Id", id)
	header.Set("Webhook-Timestamp", timestamp)
	header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}
