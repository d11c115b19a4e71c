package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	neturl "net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// outbox reads what was appended to an outbox file so far.
func (p place) outbox(t *testing.T, name string) []map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, name))
	require.NoError(t, err)
	var lines []map[string]string
	for line := range strings.Lines(string(text)) {
		var m map[string]string
		require.NoError(t, json.Unmarshal([]byte(line), &m), line)
		lines = append(lines, m)
	}
	return lines
}

// message waits for the newest line of the outbox with a purpose, and checks its form. None of its secrets may be seen
// in the server's output.
func (s *server) message(p place, purpose, to string) map[string]string {
	s.t.Helper()
	var found map[string]string
	require.Eventually(s.t, func() bool {
		for _, line := range p.outbox(s.t, "outbox.jsonl") {
			if line["purpose"] == purpose && line["to"] == to {
				found = line
			}
		}
		return found != nil
	}, 30*time.Second, 20*time.Millisecond, "%s for %s", purpose, to)
	_, err := time.Parse(time.RFC3339, found["time"])
	require.NoError(s.t, err)
	keys := map[string][]string{
		"phone":  {"code", "kind", "purpose", "text", "time", "to"},
		"notice": {"kind", "purpose", "text", "time", "to"},
	}
	want, known := keys[purpose]
	if !known {
		want = []string{"kind", "link", "purpose", "text", "time", "to", "token"}
	}
	require.Equal(s.t, want, slices.Sorted(maps.Keys(found)))
	require.Equal(s.t, map[bool]string{true: "sms", false: "email"}[purpose == "phone"], found["kind"])
	for _, key := range []string{"token", "code", "link", "to"} {
		if found[key] != "" {
			s.secrets = append(s.secrets, found[key])
		}
	}
	return found
}

const links = `{"product": "Example", "links": {"reset": "https://app.example.org/reset#token={token}",
	"activation": "https://app.example.org/activate#token={token}", "email": "https://app.example.org/email#token={token}"}}`

func TestRegistrationByMail(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "USERAPI_REGISTRATION=verify", "USERAPI_SENDING=s.json")
	p.write(t, "s.json", links)
	s := p.serve(t)
	assert.Contains(t, s.out.String(), "Mail is appended to outbox.jsonl.\nSMS are appended to outbox.jsonl.\n")
	info, err := os.Stat(filepath.Join(p.dir, "outbox.jsonl"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	const password = "ada-Lovelace-1815"
	register := map[string]string{"email": "Ada@example.org", "name": "Ada", "password": password}
	status, body := s.call("POST", "/api/users", "", register)
	require.Equal(t, http.StatusAccepted, status, "%v", body)
	mail := s.message(p, "activation", "ada@example.org")
	assert.Equal(t, "https://app.example.org/activate#token="+mail["token"], mail["link"])
	assert.Contains(t, mail["text"], mail["link"])
	assert.Contains(t, mail["text"], "Example")

	login := map[string]string{"email": "ada@example.org", "password": password}
	status, _ = s.call("POST", "/api/users/login", "", login)
	require.Equal(t, http.StatusUnauthorized, status, "not active yet")
	status, body = s.call("POST", "/api/auth/activate", "", map[string]string{"token": mail["token"], "password": password})
	require.Equal(t, http.StatusOK, status, "%v", body)
	token := s.login("ada@example.org", password)
	assert.Equal(t, http.StatusOK, s.whoami(token))
}

func TestResetByMail(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "USERAPI_ADMIN_EMAIL=root@example.org", "USERAPI_ADMIN_PASSWORD="+canary)
	p.write(t, "s.json", links)
	s := p.serve(t, "--sending", "s.json")
	before := s.login("root@example.org", canary)
	status, known := s.call("POST", "/api/password/reset", "", map[string]string{"email": "root@example.org"})
	require.Equal(t, http.StatusOK, status)
	status, unknown := s.call("POST", "/api/password/reset", "", map[string]string{"email": "nobody@example.org"})
	require.Equal(t, http.StatusOK, status)
	assert.Equal(t, known, unknown)

	mail := s.message(p, "reset", "root@example.org")
	const password = "another-Canary-2291"
	confirm := map[string]string{"token": mail["token"], "new_password": password}
	status, body := s.call("POST", "/api/password/reset/confirm", "", confirm)
	require.Equal(t, http.StatusOK, status, "%v", body)
	assert.Equal(t, http.StatusUnauthorized, s.whoami(before))
	s.login("root@example.org", password)
	s.message(p, "notice", "root@example.org")
	status, _ = s.call("POST", "/api/password/reset/confirm", "", confirm)
	assert.Equal(t, http.StatusBadRequest, status)
	for _, line := range p.outbox(t, "outbox.jsonl") {
		assert.Equal(t, "root@example.org", line["to"], "who has no account gets no mail")
	}
}

func TestPhoneBySMS(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "USERAPI_ADMIN_PASSWORD="+canary, "USERAPI_ANONYMOUS_PHONE=1")
	p.write(t, "s.json", `{"default_region": "DE", "exempt_phones": {"+4915100000000": "111111"}}`)
	s := p.serve(t, "--sending", "s.json")
	prove := func(token, typed, number, code string) (int, map[string]any) {
		status, body := s.call("POST", "/api/verification/phone", token, map[string]string{"phone": typed})
		require.Equal(t, http.StatusOK, status, "%v", body)
		if code == "" {
			code = s.message(p, "phone", number)["code"]
		}
		return s.call("POST", "/api/verification/phone/confirm", token, map[string]string{"phone": typed, "code": code})
	}
	status, user := prove(s.login("admin", canary), "0151 12345678", "+4915112345678", "")
	require.Equal(t, http.StatusOK, status, "%v", user)
	assert.Equal(t, "+4915112345678", user["phone"])
	assert.Equal(t, true, user["phone_verified"])

	status, body := prove("", "+4915112345679", "+4915112345679", "")
	require.Equal(t, http.StatusOK, status, "%v", body)
	assert.Equal(t, []string{"message"}, slices.Collect(maps.Keys(body)))
	status, _ = prove("", "+4915100000000", "+4915100000000", "111111")
	assert.Equal(t, http.StatusOK, status)
	for _, line := range p.outbox(t, "outbox.jsonl") {
		assert.NotEqual(t, "+4915100000000", line["to"], "exempt numbers get none")
	}
}

func TestPhoneNeedsACredentialByDefault(t *testing.T) {
	t.Parallel()
	s := newPlace(t).serve(t)
	status, _ := s.call("POST", "/api/verification/phone", "", map[string]string{"phone": "+4915112345678"})
	assert.Equal(t, http.StatusUnauthorized, status)
}

func TestProductionWithoutSettingsSendsNothing(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "USERAPI_SECRET="+secretA, "USERAPI_ADMIN_EMAIL=root@example.org", "USERAPI_ADMIN_PASSWORD="+canary)
	s := p.serve(t, "--registration", "verify", "--anonymous-phone")
	token := s.login("root@example.org", canary)
	for _, c := range []struct {
		path, token string
		body        map[string]string
	}{
		{"/api/password/reset", "", map[string]string{"email": "root@example.org"}},
		{"/api/users", "", map[string]string{"email": "ada@example.org", "password": "ada-Lovelace-1815"}},
		{"/api/verification/phone", "", map[string]string{"phone": "+4915112345678"}},
		{"/api/verification/phone", token, map[string]string{"phone": "+4915112345678"}},
		{"/api/verification/email", token, map[string]string{}},
	} {
		status, body := s.call("POST", c.path, c.token, c.body)
		assert.Equal(t, http.StatusServiceUnavailable, status, "%s %v", c.path, body)
		assert.Equal(t, "UNAVAILABLE", body["error_code"], c.path)
	}
	s.stop()
	assert.NoFileExists(t, filepath.Join(p.dir, "outbox.jsonl"))
	assert.Contains(t, s.out.String(), `"level":"WARN","msg":"Mail is not sent`)
	assert.Contains(t, s.out.String(), `"level":"WARN","msg":"SMS are not sent`)
}

// gateway is a double of an SMS gateway that gets what the webhook backend posts.
type gateway struct {
	url  string
	got  chan map[string]any
	then http.HandlerFunc // nil = it takes the message
}

func newGateway(t *testing.T, then http.HandlerFunc) *gateway {
	t.Helper()
	g := &gateway{got: make(chan map[string]any, 1000), then: then}
	g.url = listenHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		var body map[string]any
		_ = json.NewDecoder(r.Body).Decode(&body)
		g.got <- body
		if g.then != nil {
			g.then(w, r)
		}
	})
	return g
}

// next waits for a message.
func (g *gateway) next(t *testing.T, within time.Duration) map[string]any {
	t.Helper()
	select {
	case got := <-g.got:
		return got
	case <-time.After(within):
		require.FailNow(t, "no message came")
		return nil
	}
}

func settings(gateways ...*gateway) string {
	var list []string
	for i, g := range gateways {
		list = append(list, fmt.Sprintf(`{"name": "gateway-%d", "webhook": {"url": %q}}`, i+1, g.url))
	}
	return `{"product": "Example", "sms": {"gateways": [` + strings.Join(list, ", ") + `]}}`
}

func TestTheSecondGatewayTakesOver(t *testing.T) {
	t.Parallel()
	first := newGateway(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	second := newGateway(t, nil)
	p := newPlace(t, "USERAPI_SECRET="+secretA, "USERAPI_ANONYMOUS_PHONE=1")
	p.write(t, "s.json", settings(first, second))
	s := p.serve(t, "--sending", "s.json")
	status, _ := s.call("POST", "/api/verification/phone", "", map[string]any{"phone": "+4915112345678"})
	require.Equal(t, http.StatusOK, status)
	first.next(t, 30*time.Second)
	sms := second.next(t, 30*time.Second)
	assert.Equal(t, "+4915112345678", sms["phone"])
	text := fmt.Sprint(sms["message"])
	code := text[strings.LastIndex(text, " ")+1:]
	status, body := s.call("POST", "/api/verification/phone/confirm", "", map[string]any{"phone": "+4915112345678", "code": strings.Trim(code, ".")})
	require.Equal(t, http.StatusOK, status, "%q %v", text, body)
	s.stop()
	assert.Contains(t, s.out.String(), "gateway-1")
	assert.NotContains(t, s.out.String(), "15112345678")
	assert.NotContains(t, s.out.String(), code)
}

func TestOutboxComesBeforeTheSettings(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	p := newPlace(t, "USERAPI_ANONYMOUS_PHONE=1")
	p.write(t, "s.json", settings(g))
	p.write(t, "words/phone.txt", "Type {{.Code}}!")
	p.write(t, "s.json", strings.Replace(settings(g), `{"product"`, `{"templates": "words", "product"`, 1))
	s := p.serve(t, "--sending", "s.json", "--outbox", "outbox.jsonl")
	assert.Contains(t, s.out.String(), "SMS are appended to outbox.jsonl.")
	status, _ := s.call("POST", "/api/verification/phone", "", map[string]any{"phone": "+4915112345678"})
	require.Equal(t, http.StatusOK, status)
	sms := s.message(p, "phone", "+4915112345678")
	assert.Equal(t, "Type "+sms["code"]+"!", sms["text"], "the templates still apply")
	s.stop()
	assert.Empty(t, g.got)

	// Without --outbox they are really sent, and what there is no way for goes to the file.
	s = p.serve(t, "--sending", "s.json")
	assert.Contains(t, s.out.String(), "Mail is appended to outbox.jsonl.\nSMS are sent through gateway-1.\n")
	status, _ = s.call("POST", "/api/verification/phone", "", map[string]any{"phone": "+4915112345679"})
	require.Equal(t, http.StatusOK, status)
	assert.Equal(t, "+4915112345679", g.next(t, 30*time.Second)["phone"])
}

// What the settings say of a gateway is what it gets.
func TestEveryKindOfGateway(t *testing.T) {
	t.Parallel()
	for kind, c := range map[string]struct{ settings, answer, want string }{
		"twilio": {`{"account_sid": "AC0123456789abcdef0123456789abcdef", "api_key_sid": "SK0123456789abcdef0123456789abcdef",
			"secret": "env:SMS_SECRET", "messaging_service_sid": "MG0123456789abcdef0123456789abcdef", "base_url": "URL"}`,
			`{"sid": "SM1", "status": "queued"}`,
			"SK0123456789abcdef0123456789abcdef:canary-sms MessagingServiceSid=MG0123456789abcdef0123456789abcdef&To=%2B4915112345678"},
		"vonage": {`{"api_key": "abcd1234", "api_secret": "env:SMS_SECRET", "from": "Example", "base_url": "URL"}`, `{"messages": [{"status": "0"}]}`,
			": api_key=abcd1234&api_secret=canary-sms&from=Example&to=4915112345678"},
		"webhook": {`{"url": "URL", "from": "Example", "service_id": "accounts", "headers": {"Authorization": "env:SMS_AUTH"},
			"signing_secret": "whsec_Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5"}`, ``, "app:canary-sms signed from=Example&phone=%2B4915112345678&retry=false&service_id=accounts&user_id="},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			got := make(chan string, 10)
			url := listenHTTP(t, func(w http.ResponseWriter, r *http.Request) {
				user, password, _ := r.BasicAuth()
				fields := map[string]any{}
				if kind == "webhook" {
					_ = json.NewDecoder(r.Body).Decode(&fields)
				} else if r.ParseForm() == nil {
					for name := range r.PostForm {
						fields[name] = r.PostForm.Get(name)
					}
				}
				form := neturl.Values{}
				for name, value := range fields {
					form.Set(name, fmt.Sprint(value))
				}
				for _, text := range []string{"Body", "text", "message"} {
					form.Del(text)
				}
				signed := map[bool]string{true: " signed"}[r.Header.Get("Webhook-Signature") != ""]
				got <- strings.Join([]string{user + ":" + password + signed, form.Encode()}, " ")
				w.WriteHeader(map[bool]int{true: http.StatusCreated, false: http.StatusOK}[kind == "twilio"])
				_, _ = w.Write([]byte(c.answer))
			})
			p := newPlace(t, "USERAPI_ANONYMOUS_PHONE=1", "SMS_SECRET=canary-sms", "SMS_AUTH=Basic "+base64.StdEncoding.EncodeToString([]byte("app:canary-sms")))
			p.write(t, "s.json", `{"sms": {"gateways": [{"name": "one", "`+kind+`": `+strings.Replace(c.settings, "URL", url, 1)+`}]}}`)
			s := p.serve(t, "--sending", "s.json")
			askForCode(t, s, "+4915112345678")
			select {
			case request := <-got:
				assert.Equal(t, c.want, request)
			case <-time.After(30 * time.Second):
				require.FailNow(t, "no message came")
			}
			s.stop()
			assert.NotContains(t, s.out.String(), "could not be sent")
		})
	}
}

// mailbox is a mail server that takes everything.
type mailbox chan string

// NewSession implements smtp.Backend.
func (m mailbox) NewSession(*smtp.Conn) (smtp.Session, error) { return m, nil }

// Mail implements smtp.Session, and so do the rest.
func (m mailbox) Mail(from string, _ *smtp.MailOptions) error { m <- from; return nil }
func (m mailbox) Rcpt(to string, _ *smtp.RcptOptions) error   { m <- to; return nil }
func (m mailbox) Reset()                                      {}
func (m mailbox) Logout() error                               { return nil }
func (m mailbox) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	m <- string(text)
	return err
}

func TestMailGoesToTheServer(t *testing.T) {
	t.Parallel()
	got := make(mailbox, 10)
	server := smtp.NewServer(got)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })

	p := newPlace(t, "USERAPI_SECRET="+secretA, "USERAPI_ADMIN_EMAIL=root@example.org", "USERAPI_ADMIN_PASSWORD="+canary)
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	p.write(t, "s.json", strings.Replace(links, `{"product"`, `{"mail": {"smtp": {"host": "127.0.0.1", "port": `+port+`,
		"security": "none", "from": "Example <app@example.org>", "reply_to": "help@example.org"}}, "product"`, 1))
	s := p.serve(t, "--sending", "s.json")
	status, _ := s.call("POST", "/api/password/reset", "", map[string]any{"email": "root@example.org"})
	require.Equal(t, http.StatusOK, status)
	for _, want := range []string{"app@example.org", "root@example.org", "Subject: Example: Set a new password"} {
		select {
		case text := <-got:
			assert.Contains(t, text, want)
			if strings.Contains(text, "Subject") {
				assert.Regexp(t, `Reply-To: <?help@example.org`, text)
				assert.Contains(t, text, "https://app.example.org/reset#token")
			}
		case <-time.After(30 * time.Second):
			require.FailNow(t, "no mail came")
		}
	}
}
