package twilio_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/verification"
	"github.com/userapi/userapi/verification/internal/gateway/gatewaytest"
	"github.com/userapi/userapi/verification/twilio"
)

var (
	accountSID = "AC" + strings.Repeat("0a", 16)
	keySID     = "SK" + strings.Repeat("0b", 16)
	serviceSID = "MG" + strings.Repeat("0c", 16)
	secret     = userapi.Secret("the secret of the account")
)

func config(base string) twilio.Config {
	return twilio.Config{AccountSID: accountSID, Secret: secret, From: "+4915735981000", BaseURL: base}
}

// queued is how Twilio answers when it takes a message.
func queued(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, `{"account_sid": %q, "sid": "SM00000000000000000000000000000001", "status": "queued", "to": "+4915112345678",
		"body": "Your security code is: 482913", "error_code": null, "error_message": null, "num_segments": "1"}`, accountSID)
}

func TestGateway(t *testing.T) {
	gatewaytest.Test(t, gatewaytest.Case{
		Vendor: "twilio",
		Open: func(t *testing.T, base string, client *http.Client) userapi.Sender {
			cfg := config(base)
			cfg.Client = client
			backend, err := twilio.New(cfg)
			require.NoError(t, err)
			return backend
		},
		Accepted: queued, Reads: true, Secrets: []string{string(secret)},
	})
}

// request is what the double received.
type request struct {
	method, path, query, user, password string
	header                              http.Header
	form                                url.Values
}

// double answers with answer and keeps the last request.
func double(t *testing.T, answer func(http.ResponseWriter)) (base string, last *request) {
	t.Helper()
	last = &request{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		form, err := url.ParseQuery(string(body))
		assert.NoError(t, err)
		user, password, _ := r.BasicAuth()
		*last = request{r.Method, r.URL.Path, r.URL.RawQuery, user, password, r.Header, form}
		answer(w)
	}))
	t.Cleanup(server.Close)
	return server.URL, last
}

func TestWhatTwilioReceives(t *testing.T) {
	base, last := double(t, queued)
	for name, c := range map[string]struct {
		change func(*twilio.Config)
		user   string
		form   url.Values
	}{
		"auth token": {func(*twilio.Config) {}, accountSID, url.Values{"From": {"+4915735981000"}}},
		"API key":    {func(c *twilio.Config) { c.APIKeySID = keySID }, keySID, url.Values{"From": {"+4915735981000"}}},
		"service": {func(c *twilio.Config) { c.From, c.MessagingServiceSID = "", serviceSID }, accountSID,
			url.Values{"MessagingServiceSid": {serviceSID}}},
		"slash behind": {func(c *twilio.Config) { c.BaseURL += "/" }, accountSID, url.Values{"From": {"+4915735981000"}}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(base)
			c.change(&cfg)
			backend, err := twilio.New(cfg)
			require.NoError(t, err)
			require.NoError(t, backend.Send(t.Context(), gatewaytest.Message()))
			assert.Equal(t, "POST", last.method)
			assert.Equal(t, "/2010-04-01/Accounts/"+accountSID+"/Messages.json", last.path)
			assert.Empty(t, last.query)
			assert.Equal(t, c.user, last.user)
			assert.Equal(t, string(secret), last.password)
			assert.Equal(t, "application/x-www-form-urlencoded", last.header.Get("Content-Type"))
			c.form.Set("To", "+4915112345678")
			c.form.Set("Body", "Your security code is: 482913")
			assert.Equal(t, c.form, last.form)
		})
	}
}

func TestWordsComeFromTheTemplates(t *testing.T) {
	base, last := double(t, queued)
	backend, err := twilio.New(config(base))
	require.NoError(t, err)
	m := gatewaytest.Message()
	m.Text = ""
	require.NoError(t, backend.Send(t.Context(), m))
	want, err := (*verification.Templates)(nil).Render(m)
	require.NoError(t, err)
	assert.Equal(t, string(want.Text), last.form.Get("Body"))
	assert.Contains(t, last.form.Get("Body"), "482913")
}

// refused is how Twilio answers when it does not take a message.
func refused(status, code int) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"code": %d, "message": "The 'To' number +4915112345678 is not as it should be: 482913",
			"more_info": "https://www.twilio.com/docs/errors/%d", "status": %d}`, code, code, status)
	}
}

func TestWhatTwilioRefuses(t *testing.T) {
	for _, c := range []struct {
		status, code int
		never        bool
	}{
		{400, 21211, true}, {400, 21265, true}, {400, 21610, true}, {400, 21614, true}, {400, 21635, true},
		{401, 20003, false}, {403, 20003, false}, {400, 21408, false}, {400, 21608, false}, {400, 21212, false},
		{400, 21606, false}, {400, 21612, false}, {404, 20404, false}, {400, 30007, false}, {400, 99999, false},
		{500, 20500, false}, {500, 21211, false}, // not an answer about the number
	} {
		base, _ := double(t, refused(c.status, c.code))
		backend, err := twilio.New(config(base))
		require.NoError(t, err)
		err = backend.Send(t.Context(), gatewaytest.Message())
		require.Error(t, err, c.code)
		assert.Equal(t, c.never, errors.Is(err, userapi.ErrUndeliverable), "%d: %v", c.code, err)
		assert.Contains(t, err.Error(), fmt.Sprintf("twilio: HTTP %d, error %d", c.status, c.code))
		gatewaytest.Case{Secrets: []string{string(secret), accountSID}}.Discreet(t, err)
	}
}

func TestTooManyRequests(t *testing.T) {
	base, _ := double(t, refused(http.StatusTooManyRequests, 20429))
	backend, err := twilio.New(config(base))
	require.NoError(t, err)
	var retry *verification.RetryError
	require.ErrorAs(t, backend.Send(t.Context(), gatewaytest.Message()), &retry)
	assert.Zero(t, retry.After)
	assert.EqualError(t, retry.Err, "twilio: HTTP 429, error 20429")
}

func TestAMessageThatFailedAtOnce(t *testing.T) {
	for body, want := range map[string]string{
		`{"sid": "SM1", "status": "failed", "error_code": 21610}`:      "twilio: HTTP 201, error 21610: " + userapi.ErrUndeliverable.Error(),
		`{"sid": "SM1", "status": "queued", "error_code": 30034}`:      "twilio: HTTP 201, error 30034",
		`{"sid": "SM1", "status": "undelivered", "error_code": null}`:  "twilio: HTTP 201",
		`{"sid": "SM1", "status": "canceled"}`:                         "twilio: HTTP 201",
		`{"sid": "SM1", "status": "queued", "error_code": "nonsense"}`: "twilio: HTTP 201, and an answer that is not as documented",
	} {
		base, _ := double(t, func(w http.ResponseWriter) { w.WriteHeader(http.StatusCreated); fmt.Fprint(w, body) })
		backend, err := twilio.New(config(base))
		require.NoError(t, err)
		assert.EqualError(t, backend.Send(t.Context(), gatewaytest.Message()), want)
	}
}

func TestNewRefusesAWrongConfiguration(t *testing.T) {
	for want, change := range map[string]func(*twilio.Config){
		"Config.AccountSID":                   func(c *twilio.Config) { c.AccountSID = "AC../../x" },
		"Config.APIKeySID":                    func(c *twilio.Config) { c.APIKeySID = accountSID },
		"Config.Secret":                       func(c *twilio.Config) { c.Secret = "" },
		"one of From and MessagingServiceSID": func(c *twilio.Config) { c.From = "" },
		"one of From":                         func(c *twilio.Config) { c.MessagingServiceSID = serviceSID },
		"Config.From":                         func(c *twilio.Config) { c.From = "a name that is too long" },
		"Config.MessagingServiceSID":          func(c *twilio.Config) { c.From, c.MessagingServiceSID = "", "MG1" },
		"Config.BaseURL: plain http":          func(c *twilio.Config) { c.BaseURL = "http://api.twilio.com" },
		"Config.BaseURL has a query":          func(c *twilio.Config) { c.BaseURL = "https://api.twilio.com?x" },
	} {
		cfg := config("")
		change(&cfg)
		_, err := twilio.New(cfg)
		if assert.ErrorContains(t, err, want) {
			assert.NotContains(t, err.Error(), string(secret))
		}
	}
	for _, from := range []string{"+4915735981000", "12345", "Example Co"} {
		cfg := config("")
		cfg.From = from
		_, err := twilio.New(cfg)
		assert.NoError(t, err, from)
	}
}
