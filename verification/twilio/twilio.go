// Package twilio sends SMS through Twilio (Programmable Messaging, the Messages resource).
//
//	sms, err := twilio.New(twilio.Config{
//		AccountSID: "AC…",
//		APIKeySID:  "SK…", // a key of its own can be revoked without touching the account
//		Secret:     userapi.Secret(os.Getenv("TWILIO_SECRET")),
//		From:       "+4915735981000",
//	})
//	api, err := userapi.New(userapi.Config{…, Verification: userapi.Verification{SMS: sms}})
//
// A message is taken for sent when Twilio has queued it; what the carrier makes of it later is not asked. An answer that
// was lost is not looked up, so a repeat may send the same code twice: the Messages resource has no idempotency key.
//
// What Twilio says of the recipient (no valid number, a landline, a short code, opted out) is userapi.ErrUndeliverable.
// What it says of the account, such as a region that is not enabled or a trial, is not: another gateway may get
// through.
package twilio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/verification"
	"github.com/userapi/userapi/verification/internal/gateway"
)

// Config is how to reach Twilio.
type Config struct {
	AccountSID string         // "AC" and 32 hexadecimal digits
	APIKeySID  string         // "SK" and 32 hexadecimal digits; "" = Secret is the account's auth token
	Secret     userapi.Secret // of the API key, or the auth token

	// One of the two: who it comes from, as a number in E.164, a short code or an alphanumeric sender ID (at most 11
	// characters), or a messaging service ("MG" and 32 hexadecimal digits), which chooses a sender.
	From                string
	MessagingServiceSID string

	Templates *verification.Templates // default: the defaults of package verification
	Client    *http.Client            // default: one of its own, which waits 10 seconds; redirects are never followed
	BaseURL   string                  // default "https://api.twilio.com"; another region's, or a test's
}

// Backend is a verification.Backend. Its Send may be called from any number of goroutines.
type Backend struct {
	gateway   *gateway.Client
	templates *verification.Templates
	target    string
	sender    url.Values
	authorize func(*http.Request) // hides the secret: a print would show it in a field
}

var _ verification.Backend = (*Backend)(nil)

var (
	accountSID = regexp.MustCompile(`^AC[0-9a-fA-F]{32}$`)
	keySID     = regexp.MustCompile(`^SK[0-9a-fA-F]{32}$`)
	serviceSID = regexp.MustCompile(`^MG[0-9a-fA-F]{32}$`)
	from       = regexp.MustCompile(`^(\+[1-9][0-9]{6,14}|[0-9]{3,8}|[0-9A-Za-z &_+-]{1,11})$`)
)

// New makes a Backend. It asks Twilio nothing, so wrong credentials show when the first message is sent.
func New(cfg Config) (*Backend, error) {
	if cfg.BaseURL == "" {
		cfg.BaseURL = "https://api.twilio.com"
	}
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("twilio: %w", err)
	}
	user := cfg.AccountSID
	if cfg.APIKeySID != "" {
		user = cfg.APIKeySID
	}
	sender := url.Values{"From": {cfg.From}}
	if cfg.MessagingServiceSID != "" {
		sender = url.Values{"MessagingServiceSid": {cfg.MessagingServiceSID}}
	}
	return &Backend{
		gateway:   gateway.New("twilio", cfg.Client),
		templates: cfg.Templates,
		target:    strings.TrimSuffix(cfg.BaseURL, "/") + "/2010-04-01/Accounts/" + cfg.AccountSID + "/Messages.json",
		sender:    sender,
		authorize: func(r *http.Request) { r.SetBasicAuth(user, string(cfg.Secret)) },
	}, nil
}

func (cfg Config) check() error {
	switch {
	case !accountSID.MatchString(cfg.AccountSID):
		return errors.New(`Config.AccountSID has to be "AC" and 32 hexadecimal digits`)
	case cfg.APIKeySID != "" && !keySID.MatchString(cfg.APIKeySID):
		return errors.New(`Config.APIKeySID has to be "SK" and 32 hexadecimal digits`)
	case cfg.Secret == "":
		return errors.New("Config.Secret is missing: the secret of the API key, or the account's auth token")
	case (cfg.From == "") == (cfg.MessagingServiceSID == ""):
		return errors.New("Config: one of From and MessagingServiceSID is needed")
	case cfg.From != "" && !from.MatchString(cfg.From):
		return errors.New("Config.From is not a number in E.164, a short code, or a sender ID of at most 11 characters")
	case cfg.MessagingServiceSID != "" && !serviceSID.MatchString(cfg.MessagingServiceSID):
		return errors.New(`Config.MessagingServiceSID has to be "MG" and 32 hexadecimal digits`)
	case strings.Contains(cfg.BaseURL, "?"):
		return errors.New("Config.BaseURL has a query")
	}
	if err := gateway.Target(cfg.BaseURL); err != nil {
		return fmt.Errorf("Config.BaseURL: %w", err)
	}
	return nil
}

// Send implements verification.Backend.
func (b *Backend) Send(ctx context.Context, m userapi.Message) error {
	text, err := b.gateway.Text(b.templates, m)
	if err != nil {
		return err
	}
	// "Messages resource", twilio.com/docs/messaging/api/message-resource, "Create a Message resource".
	form := url.Values{"To": {m.To}, "Body": {text}}
	for name, values := range b.sender {
		form[name] = values
	}
	answer, err := b.gateway.Post(ctx, b.target, "application/x-www-form-urlencoded", form.Encode(), b.authorize)
	if err != nil {
		return err
	}
	return b.outcome(answer)
}

// permanent are the errors about the recipient alone. Each has its page at twilio.com/docs/api/errors/<code>.
var permanent = []int{
	21211, // invalid "To" phone number
	21265, // "To" number cannot be a short code
	21610, // the recipient has opted out ("unsubscribed")
	21614, // "To" number is not a valid mobile number
	21635, // "To" number cannot be a landline
}

func (b *Backend) outcome(a gateway.Answer) error {
	if !a.Accepted() {
		// "Twilio API responses", twilio.com/docs/usage/twilios-response: {"code", "message", "more_info", "status"}.
		var refused struct {
			Code int `json:"code"`
		}
		if json.Unmarshal(a.Body, &refused) != nil {
			refused.Code = 0
		}
		return b.gateway.Refused(a, refused.Code, a.Status/100 == 4 && slices.Contains(permanent, refused.Code))
	}
	var queued struct {
		SID       string `json:"sid"`
		Status    string `json:"status"`
		ErrorCode int    `json:"error_code"` // null when all is well
	}
	if json.Unmarshal(a.Body, &queued) != nil || queued.SID == "" {
		return b.gateway.Unclear(a)
	}
	if queued.ErrorCode != 0 || slices.Contains([]string{"failed", "undelivered", "canceled"}, queued.Status) {
		return b.gateway.Refused(a, queued.ErrorCode, slices.Contains(permanent, queued.ErrorCode))
	}
	return nil
}
