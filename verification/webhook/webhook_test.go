package webhook_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/verification"
	"github.com/userapi/userapi/verification/internal/gateway/gatewaytest"
	"github.com/userapi/userapi/verification/webhook"
)

const (
	token   = "a-very-secret-bearer-token"
	signing = userapi.Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
)

func config(url string) webhook.Config {
	return webhook.Config{
		URL: url, From: "ExampleApp", ServiceID: "accounts", SigningSecret: signing,
		Headers: map[string]userapi.Secret{"authorization": "Bearer " + token},
	}
}

func open(t *testing.T, cfg webhook.Config) *webhook.Backend {
	t.Helper()
	backend, err := webhook.New(cfg)
	require.NoError(t, err)
	return backend
}

func TestGateway(t *testing.T) {
	gatewaytest.Test(t, gatewaytest.Case{
		Vendor: "webhook",
		Open: func(t *testing.T, url string, client *http.Client) userapi.Sender {
			cfg := config(url + "/sms?tenant=1")
			cfg.Client = client
			return open(t, cfg)
		},
		Accepted: func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) },
		Secrets:  []string{token, string(signing), strings.TrimPrefix(string(signing), "whsec_"), "tenant=1"},
	})
}

// request is what the double received.
type request struct {
	method, uri string
	header      http.Header
	body        string
}

// double answers with status and keeps the last request.
func double(t *testing.T, status int) (url string, last *request) {
	t.Helper()
	last = &request{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		*last = request{r.Method, r.RequestURI, r.Header, string(body)}
		w.WriteHeader(status)
		fmt.Fprint(w, "free text about +4915112345678")
	}))
	t.Cleanup(server.Close)
	return server.URL, last
}

func TestWhatTheGatewayReceives(t *testing.T) {
	url, last := double(t, http.StatusAccepted)
	backend := open(t, config(url+"/v1/sms?tenant=1"))
	for name, c := range map[string]struct {
		change func(*userapi.Message)
		differ map[string]any
	}{
		"first attempt":   {func(*userapi.Message) {}, nil},
		"second attempt":  {func(m *userapi.Message) { m.Attempt = 2 }, map[string]any{"retry": true}},
		"asked for again": {func(m *userapi.Message) { m.Resend = true }, map[string]any{"retry": true}},
		"of an account":   {func(m *userapi.Message) { m.UserID = "u-1" }, map[string]any{"user_id": "u-1"}},
		"odd characters":  {func(m *userapi.Message) { m.Text = "<\"код\">\n482913" }, map[string]any{"message": "<\"код\">\n482913"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := gatewaytest.Message()
			c.change(&m)
			require.NoError(t, backend.Send(t.Context(), m))
			assert.Equal(t, "POST", last.method)
			assert.Equal(t, "/v1/sms?tenant=1", last.uri)
			assert.Equal(t, "application/json", last.header.Get("Content-Type"))
			assert.Equal(t, "Bearer "+token, last.header.Get("Authorization"))
			assert.Equal(t, m.ID, last.header.Get("Idempotency-Key"))
			want := map[string]any{
				"from": "ExampleApp", "message": "Your security code is: 482913", "phone": "+4915112345678",
				"retry": false, "service_id": "accounts", "user_id": "",
			}
			maps.Copy(want, c.differ)
			var got map[string]any
			require.NoError(t, json.Unmarshal([]byte(last.body), &got))
			assert.Equal(t, want, got)
		})
	}
}

func TestSignature(t *testing.T) {
	url, last := double(t, http.StatusOK)
	m := gatewaytest.Message()
	require.NoError(t, open(t, config(url)).Send(t.Context(), m))
	assert.Equal(t, m.ID, last.header.Get("Webhook-Id"))
	seconds, err := strconv.ParseInt(last.header.Get("Webhook-Timestamp"), 10, 64)
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now(), time.Unix(seconds, 0), time.Hour)

	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(string(signing), "whsec_"))
	require.NoError(t, err)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(m.ID + "." + last.header.Get("Webhook-Timestamp") + "." + last.body))
	assert.Equal(t, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)), last.header.Get("Webhook-Signature"))

	cfg := config(url)
	cfg.SigningSecret = ""
	require.NoError(t, open(t, cfg).Send(t.Context(), m))
	for name := range last.header {
		assert.NotContains(t, name, "Webhook")
	}
}

func TestWordsComeFromTheTemplates(t *testing.T) {
	url, last := double(t, http.StatusOK)
	m := gatewaytest.Message()
	m.Text = ""
	require.NoError(t, open(t, config(url)).Send(t.Context(), m))
	want, err := (*verification.Templates)(nil).Render(m)
	require.NoError(t, err)
	var got struct{ Message string }
	require.NoError(t, json.Unmarshal([]byte(last.body), &got))
	assert.Equal(t, string(want.Text), got.Message)
	assert.Contains(t, got.Message, "482913")
}

func TestWhatTheGatewayRefuses(t *testing.T) {
	for status, never := range map[int]bool{400: true, 404: true, 422: true, 401: false, 403: false, 409: false, 410: false, 429: false, 500: false, 503: false} {
		url, _ := double(t, status)
		err := open(t, config(url)).Send(t.Context(), gatewaytest.Message())
		require.Error(t, err, status)
		assert.Equal(t, never, errors.Is(err, userapi.ErrUndeliverable), status)
		assert.Contains(t, err.Error(), fmt.Sprint("webhook: HTTP ", status))
		gatewaytest.Case{Secrets: []string{token, string(signing)}}.Discreet(t, err)
	}
}

func TestNewRefusesAWrongConfiguration(t *testing.T) {
	header := func(name string, value userapi.Secret) func(*webhook.Config) {
		return func(c *webhook.Config) { c.Headers = map[string]userapi.Secret{name: value} }
	}
	for want, change := range map[string]func(*webhook.Config){
		"Config.URL: not an https URL":                      func(c *webhook.Config) { c.URL = "" },
		"Config.URL: plain http":                            func(c *webhook.Config) { c.URL = "http://sms.example.com" },
		"Config.URL: no credentials":                        func(c *webhook.Config) { c.URL = "https://x:" + token + "@sms.example.com" },
		`Config.Headers: "a b" cannot`:                      header("a b", "x"),
		"Config.Headers: the value of X-Key has characters": header("X-Key", token+"\r\nHost: evil"),
		"Config.Headers: content-type is not for you":       header("content-type", "text/plain"),
		"Config.Headers: Idempotency-Key is not for you":    header("Idempotency-Key", "1"),
		"Config.SigningSecret":                              func(c *webhook.Config) { c.SigningSecret = "hunter2" },
		"Config.SigningSecret: has":                         func(c *webhook.Config) { c.SigningSecret = "whsec_aHVudGVyMg==" },
		`Config.SigningSecret: has to be "whsec_"`:          func(c *webhook.Config) { c.SigningSecret = signing[len("whsec_"):] },
	} {
		cfg := config("https://sms.example.com/send")
		change(&cfg)
		_, err := webhook.New(cfg)
		if assert.ErrorContains(t, err, want) {
			assert.NotContains(t, err.Error(), token)
			assert.NotContains(t, err.Error(), "hunter2")
		}
	}
	_, err := webhook.New(webhook.Config{URL: "https://sms.example.com/send"})
	assert.NoError(t, err)
}

func TestHeadersAreCopied(t *testing.T) {
	url, last := double(t, http.StatusOK)
	cfg := config(url)
	backend := open(t, cfg)
	cfg.Headers["authorization"] = "changed"
	require.NoError(t, backend.Send(t.Context(), gatewaytest.Message()))
	assert.Equal(t, "Bearer "+token, last.header.Get("Authorization"))
}
