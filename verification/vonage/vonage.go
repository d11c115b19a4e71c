// Package vonage sends SMS through Vonage, formerly Nexmo (the SMS API).
//
//	sms, err := vonage.New(vonage.Config{
//		APIKey:    "abcd1234",
//		APISecret: userapi.Secret(os.Getenv("VONAGE_SECRET")),
//		From:      "ExampleApp",
//	})
//	api, err := userapi.New(userapi.Config{…, Verification: userapi.Verification{SMS: sms}})
//
// A message is taken for sent when Vonage has queued it; delivery receipts are not asked for. Long texts are sent in several
// parts, and Vonage answers for each. The first part it refused decides: a phone shows a message only when all its
// parts are there, so the whole is sent again then, with the same code, and the parts that went out are paid for in vain.
//
// What Vonage says of the recipient (a number it does not know, barred or de-activated) is userapi.ErrUndeliverable.
// What it says of the account, such as missing credit or a trial's list of numbers, is not: another gateway may get
// through.
package vonage

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/verification"
	"github.com/userapi/userapi/verification/internal/gateway"
)

// Config is how to reach Vonage.
type Config struct {
	APIKey string

	// One of the two. With SignatureSecret each request is signed instead of carrying the secret; the account has to be
	// set to "SHA-256 HMAC signature" then.
	APISecret       userapi.Secret
	SignatureSecret userapi.Secret

	// From is who it comes from: a number in E.164, with or without +, or a name of at most 11 letters and digits, where the
	// recipient's country allows names.
	From string

	Templates *verification.Templates // default: the defaults of package verification
	Client    *http.Client            // default: one of its own, which waits 10 seconds; redirects are never followed
	BaseURL   string                  // default "https://rest.nexmo.com"; a test's
}

// Backend is a verification.Backend. Its Send may be called from any number of goroutines.
type Backend struct {
	gateway   *gateway.Client
	templates *verification.Templates
	target    string
	from      string
	authorize func(form url.Values) // hides the secret: a print would show it in a field
}

var _ verification.Backend = (*Backend)(nil)

var (
	apiKey = regexp.MustCompile(`^[0-9A-Za-z]{1,64}$`)
	from   = regexp.MustCompile(`^(\+?[0-9]{3,15}|[0-9A-Za-z ]{1,11})$`)
)

// New makes a Backend. It asks Vonage nothing, so wrong credentials show when the first message is sent.
func New(cfg Config) (*Backend, error) {
	if cfg.BaseURL == "" {
		cfg.BaseURL = "https://rest.nexmo.com"
	}
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("vonage: %w", err)
	}
	return &Backend{
		gateway:   gateway.New("vonage", cfg.Client),
		templates: cfg.Templates,
		target:    strings.TrimSuffix(cfg.BaseURL, "/") + "/sms/json",
		from:      strings.TrimPrefix(cfg.From, "+"),
		authorize: func(form url.Values) {
			form.Set("api_key", cfg.APIKey)
			if cfg.SignatureSecret != "" {
				sign(form, cfg.SignatureSecret, time.Now())
			} else {
				form.Set("api_secret", string(cfg.APISecret))
			}
		},
	}, nil
}

func (cfg Config) check() error {
	switch {
	case !apiKey.MatchString(cfg.APIKey):
		return errors.New("Config.APIKey has to be letters and digits")
	case (cfg.APISecret == "") == (cfg.SignatureSecret == ""):
		return errors.New("Config: one of APISecret and SignatureSecret is needed")
	case !from.MatchString(cfg.From):
		return errors.New("Config.From is not a number in E.164, or a name of at most 11 letters and digits")
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
	// "SMS API Reference", developer.vonage.com/en/api/sms. Numbers have no + (pattern \d{7,15}).
	form := url.Values{"from": {b.from}, "to": {strings.TrimPrefix(m.To, "+")}, "text": {text}}
	if !gsm7(text) {
		form.Set("type", "unicode")
	}
	b.authorize(form)
	answer, err := b.gateway.Post(ctx, b.target, "application/x-www-form-urlencoded", form.Encode(), func(*http.Request) {})
	if err != nil {
		return err
	}
	return b.outcome(answer)
}

// sign adds timestamp and signature: "Signing Messages", developer.vonage.com/en/getting-started/concepts/signing-messages,
// "Manually generate a signature", with SHA-256 HMAC.
func sign(form url.Values, secret userapi.Secret, now time.Time) {
	form.Set("timestamp", strconv.FormatInt(now.Unix(), 10))
	mac := hmac.New(sha256.New, []byte(secret))
	for _, name := range slices.Sorted(maps.Keys(form)) {
		fmt.Fprintf(mac, "&%s=%s", name, strings.NewReplacer("&", "_", "=", "_").Replace(form.Get(name)))
	}
	form.Set("sig", hex.EncodeToString(mac.Sum(nil)))
}

// The codes that are looked at: "Troubleshooting SMS", developer.vonage.com/en/messaging/sms/guides/troubleshooting-sms,
// "SMS API error codes".
var (
	permanent = []int{
		6,  // invalid message: for one, the number's prefix is unknown
		7,  // number barred
		33, // number de-activated
	}
	later = []int{
		1,  // throttled
		10, // too many existing binds: "back-off and retry"
	}
)

func (b *Backend) outcome(a gateway.Answer) error {
	if !a.Accepted() {
		return b.gateway.Refused(a, 0, false)
	}
	var said struct {
		Messages []struct {
			Status string `json:"status"`
		} `json:"messages"`
	}
	if json.Unmarshal(a.Body, &said) != nil || len(said.Messages) == 0 {
		return b.gateway.Unclear(a)
	}
	for _, part := range said.Messages {
		code, err := strconv.Atoi(part.Status)
		switch {
		case err != nil:
			return b.gateway.Unclear(a)
		case slices.Contains(later, code):
			return &verification.RetryError{Err: b.gateway.Refused(a, code, false)}
		case code != 0:
			return b.gateway.Refused(a, code, slices.Contains(permanent, code))
		}
	}
	return nil
}

// gsm7Characters are those of the GSM 7 bit default alphabet and of its extension table (3GPP TS 23.038 6.2.1). A text
// of others has to be sent as unicode: "Concatenation and Encoding",
// developer.vonage.com/en/messaging/sms/guides/concatenation-and-encoding.
const gsm7Characters = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?" +
	"¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà" + "\f^{}\\[~]|€"

func gsm7(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return !strings.ContainsRune(gsm7Characters, r) })
}
