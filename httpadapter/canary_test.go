package httpadapter_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
)

// canaries are the secrets of a test, and all that was said while they were used.
type canaries struct {
	secrets map[string]string // by what they are
	said    map[string]string // by who said it
}

func (c *canaries) add(what string, secret string) string {
	if secret == "" {
		panic(what + " is empty")
	}
	name := fmt.Sprintf("%s %d", what, len(c.secrets))
	for _, other := range c.secrets {
		if other == secret {
			return secret
		}
	}
	c.secrets[name] = secret
	return secret
}

// found names each secret that somebody said, as it is or as bytes are written.
func (c *canaries) found() (hits []string) {
	said := map[string]string{}
	for who, text := range c.said {
		said[who] = strings.ToLower(text)
	}
	for what, secret := range c.secrets {
		for _, form := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%v", []byte(secret)), base64.StdEncoding.EncodeToString([]byte(secret))} {
			for who, text := range said {
				if strings.Contains(text, strings.ToLower(form)) {
					hits = append(hits, who+" says "+what)
				}
			}
		}
	}
	return hits
}

// Everything that a client can do with a secret is done, rightly and wrongly. The secret is in the answer that gives it, and
// nowhere else: not in another answer, in the log at debug level, in an error, in what a hook gets or in the database, which has the
// audit trail.
func TestCanary_L01_secrets_are_nowhere_but_in_their_answer(t *testing.T) {
	on, dir := onSQLite(t)
	c := &canaries{secrets: map[string]string{}, said: map[string]string{}}
	hook := func(name string) func(context.Context, userapi.User) {
		return func(_ context.Context, u userapi.User) { c.said["hook"] += fmt.Sprintf("%s %+v %#v\n", name, u, u) }
	}
	w := newWorld(t, everything, on, options{api: func(cfg *userapi.Config) {
		cfg.Registration = userapi.Registration{Policy: userapi.RegistrationVerify, Customer: "acme"}
		cfg.Limits, cfg.Scopes, cfg.SecondFactor = userapi.DefaultLimits(), []string{"orders:read"}, asksBob{}
		cfg.Hooks = userapi.Hooks{
			UserCreated: hook("created"), UserUpdated: hook("updated"), UserDeleted: hook("deleted"),
			BeforeUserUpdated: func(ctx context.Context, before, after userapi.User) error { hook("before")(ctx, after); return nil },
		}
		cfg.Verification.ActivationLink, cfg.Verification.ResetLink = "https://app.example/a#{token}", "https://app.example/r#{token}"
	}})
	handler := http.NewServeMux()
	handler.Handle("/api/", w.mux)
	handler.Handle("/host", w.web.IsConnected(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		id := userapi.IdentityFrom(r.Context())
		c.said["identity"] += fmt.Sprintf("%+v %#v %+v", id, *id, w.web.Actor(r))
	})))
	step := 0
	// do keeps what was answered, without what gives these secrets.
	do := func(method, path string, body any, born []string, how ...set) *answer {
		t.Helper()
		step++
		w.clock.advance(time.Second)
		a := w.send(handler, method, path, body, how...)
		var answered bytes.Buffer
		for _, name := range born {
			if text := a.text(name); text != "" {
				c.add(name, text)
			}
		}
		for name, values := range a.Header() {
			if name != "Set-Cookie" || len(born) == 0 {
				fmt.Fprintln(&answered, name, values)
			}
		}
		if len(born) == 0 {
			answered.Write(a.Body.Bytes())
		}
		c.said[fmt.Sprintf("answer %d to %s %s", step, method, path)] = answered.String()
		return a
	}
	tokens := []string{"access_token", "refresh_token"}
	sent := func(to string) userapi.Message {
		t.Helper()
		for _, m := range w.delivered() {
			c.said["message"] += fmt.Sprintf("%+v %#v\n", m, m)
			if m.Token != "" {
				c.add("link token", string(m.Token))
			}
			if m.To == to && m.Purpose != userapi.PurposeNotice {
				return m
			}
		}
		require.Fail(t, "nothing was sent to "+to)
		return userapi.Message{}
	}
	pw := func(text string) string { return c.add("password", "canary "+text+" Zq8!") }

	// A password: given wrongly, too weak, changed, reset.
	do("POST", "/api/auth/login", object{"email": "ann@acme.example", "password": pw("wrong")}, nil).is(401, "")
	do("POST", "/api/auth/login", object{"email": "nobody@acme.example", "password": pw("of nobody")}, nil).is(401, "")
	do("POST", "/api/auth/login", object{"email": "ann@acme.example", "password": pw("x"), "extra": pw("unknown field")}, nil).is(422, "")
	do("POST", "/api/auth/login", `{"email":"ann@acme.example","password":"`+pw("broken")+`"`, nil).is(422, "")
	do("POST", "/api/auth/login?password="+strings.ReplaceAll(pw("query"), " ", "%20"), object{"email": "ann@acme.example", "password": password}, tokens).is(200, "")
	in := do("POST", "/api/users/login", object{"email": "ann@acme.example", "password": password}, tokens).is(200, "")
	ann := bearer(in.text("access_token"))
	do("POST", "/api/password/change", object{"old_password": pw("not old"), "new_password": pw("new")}, nil, ann).is(403, "")
	do("POST", "/api/password/change", object{"old_password": password, "new_password": pw("one"), "verify_password": pw("other")}, nil, ann).is(422, "")
	in = do("POST", "/api/password/change", object{"old_password": password, "new_password": pw("changed")}, tokens, ann).is(200, "")
	do("GET", "/api/auth/whoami", nil, nil, ann).is(401, "TOKEN_REVOKED")
	ann = bearer(in.text("access_token"))
	do("POST", "/api/users/current/set_password", object{"password": pw("set"), "current_password": pw("bad")}, nil, ann).is(403, "")
	do("POST", "/api/users/current/set_password", object{"password": pw("set"), "current_password": pw("changed")}, tokens, ann).is(200, "")
	do("POST", "/api/password/reset", object{"email": "ann@acme.example"}, nil).is(200, "")
	link := string(sent("ann@acme.example").Token)
	do("POST", "/api/password/reset/confirm", object{"token": link + "x", "new_password": pw("reset")}, nil).is(400, "")
	do("POST", "/api/password/reset/confirm", object{"token": link, "new_password": "short"}, nil).is(422, "")
	do("POST", "/api/password/reset/confirm", object{"token": link, "new_password": pw("reset")}, nil).is(200, "")
	do("POST", "/api/password/reset/confirm", object{"token": link, "new_password": pw("reset")}, nil).is(400, "")

	// Tokens: checked, refreshed, used twice, given up.
	in = do("POST", "/api/auth/login", object{"email": "ann@acme.example", "password": pw("reset")}, tokens).is(200, "")
	refresh := in.text("refresh_token")
	do("POST", "/api/auth/refresh", object{"refresh_token": refresh}, tokens).is(200, "")
	w.clock.advance(time.Minute)
	do("POST", "/api/auth/refresh", object{"refresh_token": refresh}, nil).is(401, "")
	do("POST", "/api/auth/refresh", object{"refresh_token": refresh + "x"}, nil).is(401, "")
	do("GET", "/api/auth/whoami", nil, nil, bearer(in.text("access_token")+"x")).is(401, "")
	do("GET", "/api/auth/whoami?access_token="+in.text("access_token"), nil, nil).is(401, "")
	do("GET", "/api/"+in.text("access_token"), nil, nil).is(404, "")
	in = do("POST", "/api/auth/login", object{"email": "ann@acme.example", "password": pw("reset")}, tokens).is(200, "")
	ann = bearer(in.text("access_token"))
	for _, path := range []string{"/api/auth/verify_token", "/api/auth/whoami", "/api/users/token", "/api/users/current", "/api/users/current/sessions", "/api/users/current/data", "/api/keys", "/host"} {
		do("GET", path, nil, nil, ann).is(200, "")
	}

	// An API key.
	made := do("POST", "/api/keys", object{"name": "deploy", "scopes": []string{"full"}}, []string{"key"}, ann).is(201, "")
	key := made.text("key")
	_, half, _ := strings.Cut(key, ".")
	c.add("half of a key", half)
	do("GET", "/api/auth/whoami", nil, nil, apiKey(key)).is(200, "")
	do("GET", "/host", nil, nil, apiKey(key)).is(200, "")
	do("GET", "/api/auth/whoami", nil, nil, apiKey(key[:len(key)-1])).is(401, "")
	do("GET", "/api/keys", nil, nil, ann).is(200, "")
	do("PATCH", "/api/keys/"+made.text("id"), object{"name": "other"}, nil, ann).is(200, "")
	do("GET", "/api/users/current/data", nil, nil, ann).is(200, "")

	// Codes and links.
	do("POST", "/api/verification/phone", object{"phone": "+4930901820"}, nil, ann).is(200, "")
	code := string(sent("+4930901820").Code)
	do("POST", "/api/verification/phone/confirm", object{"phone": "+4930901820", "code": "x" + code}, nil, ann).is(400, "")
	before := w.log.String()
	do("POST", "/api/verification/phone/confirm", object{"phone": "+4930901820", "code": code}, nil, ann).is(200, "")
	assert.NotContains(t, strings.TrimPrefix(w.log.String(), before), `"`+code+`"`)
	do("POST", "/api/verification/email", object{"email": "new@acme.example", "current_password": pw("reset")}, nil, ann).is(200, "")
	do("POST", "/api/verification/email/confirm", object{"token": string(sent("new@acme.example").Token)}, tokens, ann).is(200, "")
	do("POST", "/api/users", object{"email": "zoe@acme.example", "password": pw("registered")}, nil).is(202, "")
	link = string(sent("zoe@acme.example").Token)
	do("POST", "/api/auth/activate", object{"token": link, "password": pw("not registered")}, nil).is(401, "")
	do("POST", "/api/auth/activate", object{"token": link, "password": pw("registered")}, nil).is(200, "")
	do("POST", "/api/auth/login", object{"email": "zoe@acme.example", "password": pw("registered")}, tokens).is(200, "")
	step1 := do("POST", "/api/auth/login", object{"email": "bob@acme.example", "password": password}, tokens).is(200, "")
	do("GET", "/api/auth/whoami", nil, nil, bearer(step1.text("access_token"))).is(403, "SECOND_FACTOR_REQUIRED")

	// An admin gives and takes.
	admin := bearer(do("POST", "/api/auth/login", object{"username": "admin", "password": password}, tokens).is(200, "").text("access_token"))
	do("POST", "/api/users", object{"email": "ben@acme.example", "name": "Ben", "active": true, "roles": []string{}, "password": pw("given")}, nil, admin)
	do("POST", "/api/users/reset-password", object{"email": "zoe@acme.example", "password": pw("admin's")}, nil, admin).is(200, "")
	do("PUT", "/api/users/"+w.ids["bob"], object{"email": "bob@acme.example", "name": "B", "active": true, "password": pw("put")}, nil, admin).is(200, "")
	do("GET", "/api/users", nil, nil, admin).is(200, "")
	in = do("POST", "/api/auth/login", object{"email": "zoe@acme.example", "password": pw("admin's")}, tokens).is(200, "")
	do("POST", "/api/auth/erase", object{"current_password": pw("not mine")}, nil, bearer(in.text("access_token"))).is(403, "")
	do("POST", "/api/auth/erase", object{"current_password": pw("admin's")}, nil, bearer(in.text("access_token"))).is(204, "")
	do("POST", "/api/auth/logout", object{"refresh_token": in.text("refresh_token")}, nil).is(204, "")
	do("POST", "/api/auth/logout-all", nil, nil, admin).is(204, "")

	// The nouns themselves: what they return, and the errors of a database that is away.
	ctx, anyone := context.Background(), userapi.Anonymous().From("192.0.2.1", "test")
	gone, cancel := context.WithCancel(ctx)
	cancel()
	print := func(values ...any) {
		for _, v := range values {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
				c.said["noun"] += fmt.Sprintf(verb, v) + "\n"
			}
		}
	}
	login := userapi.LoginRequest{Identifier: "new@acme.example", Password: userapi.Secret(pw("reset"))}
	for _, ctx := range []context.Context{ctx, gone} {
		u, issued, err := w.api.Auth.Login(ctx, anyone, login)
		print(u, issued, err, login)
		next, err := w.api.Auth.Refresh(ctx, anyone, issued.Refresh)
		print(next, err)
		id, err := w.api.Auth.Authenticate(ctx, string(next.Access))
		print(id, err)
		u, issued, err = w.api.Passwords.Set(ctx, userapi.System(), w.ids["bob"], userapi.Secret(pw("noun")), "")
		print(u, issued, err)
		print(w.api.Passwords.Reset(ctx, anyone, userapi.Secret(link), userapi.Secret(pw("noun"))))
		k, secret, err := w.api.Keys.Create(ctx, userapi.System(), w.ids["bob"], userapi.NewAPIKey{Name: "k " + fmt.Sprint(ctx == gone)})
		print(k, secret, err)
		if secret != "" {
			c.add("key", string(secret))
			c.add("access", string(next.Access))
			c.add("refresh", string(next.Refresh))
		}
		id, err = w.api.Auth.AuthenticateKey(ctx, anyone, secret)
		print(id, err)
		data, err := w.api.Users.Data(ctx, userapi.System(), w.ids["bob"])
		print(data, err)
	}
	c.add("signing secret", string(testSecret))
	c.add("password of all", password)
	print(w.api, *w.api, w.api.Auth, w.web)
	c.said["log"] = w.log.String()
	var stored bytes.Buffer
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, f := range files {
		raw, err := os.ReadFile(filepath.Join(dir, f.Name()))
		require.NoError(t, err)
		stored.Write(raw)
	}
	c.said["database"] = stored.String()
	require.Contains(t, c.said["database"], "password.refused", "the audit trail is in it")
	require.Greater(t, len(c.secrets), 40)
	assert.Empty(t, c.found())
	c.said["log"] += pw("changed")
	assert.Len(t, c.found(), 1, "it would be found")
}

// asksBob is a second factor of one user.
type asksBob struct{}

func (asksBob) Required(_ context.Context, u userapi.User) (bool, error) {
	return u.Email == "bob@acme.example", nil
}

func TestLeak_K06_no_goroutine_stays(t *testing.T) {
	require.NoError(t, start()) // the server of MariaDB has goroutines of its own
	before := runtime.NumGoroutine()
	for range 100 {
		time.Sleep(time.Millisecond) // one that was told to end may need a moment
		before = min(before, runtime.NumGoroutine())
	}
	onEveryStore(t, func(t *testing.T, on options) {
		w := newWorld(t, everything, on)
		ctx, stop := context.WithCancel(context.Background())
		ran := make(chan struct{})
		go func() { defer close(ran); _ = w.api.Run(ctx) }()
		in := w.login("ann")
		w.do("GET", "/auth/whoami", nil, bearer(in.text("access_token"))).is(200, "")
		w.do("POST", "/auth/refresh", object{"refresh_token": in.text("refresh_token")}).is(200, "")
		w.do("POST", "/password/reset", object{"email": "ann@acme.example"}).is(200, "")
		gone, leave := context.WithCancel(ctx)
		leave()
		w.do("POST", "/auth/login", object{"email": "ann@acme.example", "password": password}, func(r *http.Request) { *r = *r.WithContext(gone) }).is(503, "")
		stop()
		<-ran
	})
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if runtime.NumGoroutine() > before {
		all := make([]byte, 1<<20)
		t.Errorf("%d goroutines, and %d before:\n%s", runtime.NumGoroutine(), before, all[:runtime.Stack(all, true)])
	}
}
