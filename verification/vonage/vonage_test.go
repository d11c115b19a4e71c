package vonage_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/verification"
	"github.com/userapi/userapi/verification/internal/gateway/gatewaytest"
	"github.com/userapi/userapi/verification/vonage"
)

const (
	secret    = userapi.Secret("abcdef0123456789")
	signature = userapi.Secret("the signature secret")
)

func config(base string) vonage.Config {
	return vonage.Config{APIKey: "abcd1234", APISecret: secret, From: "ExampleApp", BaseURL: base}
}

// statuses is how Vonage answers: HTTP 200, and a status for each part of the message.
func statuses(each ...string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		var parts []string
		for _, status := range each {
			part := `{"to": "4915112345678", "message-id": "0C000000217B7F02", "status": "0", "remaining-balance": "15.5", "message-price": "0.03", "network": "26201"}`
			if status != "0" {
				part = fmt.Sprintf(`{"to": "4915112345678", "status": %q, "error-text": "4915112345678: Your security code is: 482913"}`, status)
			}
			parts = append(parts, part)
		}
		fmt.Fprintf(w, `{"message-count": "%d", "messages": [%s]}`, len(each), strings.Join(parts, ","))
	}
}

func TestGateway(t *testing.T) {
	for _, signed := range []bool{false, true} {
		gatewaytest.Test(t, gatewaytest.Case{
			Vendor: "vonage",
			Open: func(t *testing.T, base string, client *http.Client) userapi.Sender {
				cfg := config(base)
				cfg.Client = client
				if signed {
					cfg.APISecret, cfg.SignatureSecret = "", signature
				}
				backend, err := vonage.New(cfg)
				require.NoError(t, err)
				return backend
			},
			Accepted: statuses("0"), Reads: true, Secrets: []string{string(secret), string(signature)},
		})
	}
}

// request is what the double received.
type request struct {
	method, path, query string
	header              http.Header
	form                url.Values
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
		*last = request{r.Method, r.URL.Path, r.URL.RawQuery, r.Header, form}
		answer(w)
	}))
	t.Cleanup(server.Close)
	return server.URL, last
}

func open(t *testing.T, cfg vonage.Config) *vonage.Backend {
	t.Helper()
	backend, err := vonage.New(cfg)
	require.NoError(t, err)
	return backend
}

func TestWhatVonageReceives(t *testing.T) {
	base, last := double(t, statuses("0"))
	cfg := config(base)
	cfg.From = "+4915735981000"
	require.NoError(t, open(t, cfg).Send(t.Context(), gatewaytest.Message()))
	assert.Equal(t, "POST", last.method)
	assert.Equal(t, "/sms/json", last.path)
	assert.Empty(t, last.query)
	assert.Equal(t, "application/x-www-form-urlencoded", last.header.Get("Content-Type"))
	assert.Empty(t, last.header.Get("Authorization"))
	assert.Equal(t, url.Values{
		"api_key": {"abcd1234"}, "api_secret": {string(secret)}, "from": {"4915735981000"}, "to": {"4915112345678"},
		"text": {"Your security code is: 482913"},
	}, last.form)
}

func TestSignedRequests(t *testing.T) {
	base, last := double(t, statuses("0"))
	cfg := config(base)
	cfg.APISecret, cfg.SignatureSecret = "", signature
	m := gatewaytest.Message()
	m.Text = "A&B = 482913 für dich"
	require.NoError(t, open(t, cfg).Send(t.Context(), m))
	assert.NotContains(t, last.form, "api_secret", "Vonage refuses both together")
	assert.Equal(t, "A&B = 482913 für dich", last.form.Get("text"), "sent as it is")

	seconds := last.form.Get("timestamp")
	sent, err := time.Parse("2006", "1970")
	require.NoError(t, err)
	age, err := time.ParseDuration(seconds + "s")
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now(), sent.Add(age), time.Hour)

	mac := hmac.New(sha256.New, []byte(signature))
	mac.Write([]byte("&api_key=abcd1234&from=ExampleApp&text=A_B _ 482913 für dich&timestamp=" + seconds + "&to=4915112345678"))
	assert.Equal(t, hex.EncodeToString(mac.Sum(nil)), last.form.Get("sig"))
}

func TestTextsOfOtherCharactersAreUnicode(t *testing.T) {
	base, last := double(t, statuses("0"))
	backend := open(t, config(base))
	for text, want := range map[string]string{
		"Your security code is: 482913":                "",
		"Größe @£$¥ èéùìòÇ \r\n ΔΦΓΛΩΠΨΣΘΞ ^{}[~]|€\\": "",
		"ваш код: 482913":                              "unicode",
		"code`482913":                                  "unicode", // the backtick is not in GSM 7 bit
		"ç 482913":                                     "unicode", // only the capital is
		"482913 😀":                                     "unicode",
	} {
		m := gatewaytest.Message()
		m.Text = userapi.Secret(text)
		require.NoError(t, backend.Send(t.Context(), m))
		assert.Equal(t, text, last.form.Get("text"))
		assert.Equal(t, want, last.form.Get("type"), text)
	}
}

func TestWordsComeFromTheTemplates(t *testing.T) {
	base, last := double(t, statuses("0"))
	m := gatewaytest.Message()
	m.Text = ""
	require.NoError(t, open(t, config(base)).Send(t.Context(), m))
	want, err := (*verification.Templates)(nil).Render(m)
	require.NoError(t, err)
	assert.Equal(t, string(want.Text), last.form.Get("text"))
	assert.Contains(t, last.form.Get("text"), "482913")
}

func TestWhatVonageRefuses(t *testing.T) {
	never := map[string]bool{"6": true, "7": true, "33": true}
	later := map[string]bool{"1": true, "10": true}
	for _, status := range []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "14", "15", "22", "23", "29", "32", "33", "99"} {
		base, _ := double(t, statuses(status))
		err := open(t, config(base)).Send(t.Context(), gatewaytest.Message())
		require.Error(t, err, status)
		var retry *verification.RetryError
		assert.Equal(t, never[status], errors.Is(err, userapi.ErrUndeliverable), status)
		assert.Equal(t, later[status], errors.As(err, &retry), status)
		assert.Contains(t, err.Error(), "vonage: HTTP 200, error "+status)
		gatewaytest.Case{Secrets: []string{string(secret)}}.Discreet(t, err)
	}
}

func TestAllPartsOfAMessageHaveToBeAccepted(t *testing.T) {
	for want, each := range map[string][]string{
		"":                          {"0", "0", "0"},
		"vonage: HTTP 200, error 9": {"0", "0", "9"},
		"vonage: HTTP 200, error 5": {"0", "5", "9"},
		"vonage: HTTP 200, error 33: " + userapi.ErrUndeliverable.Error(): {"33", "33"},
		"vonage: HTTP 200, and an answer that is not as documented":       {"0", ""},
		"try again in 0s: vonage: HTTP 200, error 1":                      {"0", "1"},
	} {
		base, _ := double(t, statuses(each...))
		err := open(t, config(base)).Send(t.Context(), gatewaytest.Message())
		if want == "" {
			assert.NoError(t, err)
		} else {
			assert.EqualError(t, err, want)
		}
	}
}

func TestNewRefusesAWrongConfiguration(t *testing.T) {
	for want, change := range map[string]func(*vonage.Config){
		"Config.APIKey":                        func(c *vonage.Config) { c.APIKey = "" },
		"one of APISecret and SignatureSecret": func(c *vonage.Config) { c.APISecret = "" },
		"one of APISecret":                     func(c *vonage.Config) { c.SignatureSecret = signature },
		"Config.From":                          func(c *vonage.Config) { c.From = "a name that is too long" },
		"Config.From is":                       func(c *vonage.Config) { c.From = "" },
		"Config.BaseURL: plain http":           func(c *vonage.Config) { c.BaseURL = "http://rest.nexmo.com" },
		"Config.BaseURL has a query":           func(c *vonage.Config) { c.BaseURL = "https://rest.nexmo.com?x" },
	} {
		cfg := config("")
		change(&cfg)
		_, err := vonage.New(cfg)
		if assert.ErrorContains(t, err, want) {
			assert.NotContains(t, err.Error(), string(secret))
		}
	}
	_, err := vonage.New(config(""))
	assert.NoError(t, err)
}
