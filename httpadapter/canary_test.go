package httpadapter_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
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
	"github.com/userapi/userapi/feature/totp"
)

// canaries are the secrets of a test on a SQLite file, and all that was said while they were used.
type canaries struct {
	*world
	handler *http.ServeMux
	dir     string            // of the file
	secrets map[string]string // by what they are
	said    map[string]string // by who said it
	step    int
}

// newCanaries makes a world that notes what hooks and a route of the host get.
func newCanaries(t *testing.T, change func(*userapi.Config)) *canaries {
	t.Helper()
	on, dir := onSQLite(t)
	c := &canaries{handler: http.NewServeMux(), dir: dir, secrets: map[string]string{}, said: map[string]string{}}
	hook := func(name string) func(context.Context, userapi.User) {
		return func(_ context.Context, u userapi.User) { c.said["hook"] += fmt.Sprintf("%s %+v %#v\n", name, u, u) }
	}
	c.world = newWorld(t, everything, on, options{api: func(cfg *userapi.Config) {
		cfg.Registration = userapi.Registration{Policy: userapi.RegistrationVerify, Customer: "acme"}
		cfg.Limits, cfg.Scopes = userapi.DefaultLimits(), []string{"orders:read"}
		cfg.Hooks = userapi.Hooks{
			UserCreated: hook("created"), UserUpdated: hook("updated"), UserDeleted: hook("deleted"),
			BeforeUserUpdated: func(ctx context.Context, before, after userapi.User) error { hook("before")(ctx, after); return nil },
			Event:             func(_ context.Context, e userapi.Event) { c.said["event"] += fmt.Sprintf("%+v %#v\n", e, e) },
		}
		cfg.Verification.ActivationLink, cfg.Verification.ResetLink = "https://app.example/a#{token}", "https://app.example/r#{token}"
		change(cfg)
	}})
	c.handler.Handle("/api/", c.mux)
	c.handler.Handle("/host", c.web.IsConnected(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		id := userapi.IdentityFrom(r.Context())
		c.said["identity"] += fmt.Sprintf("%+v %#v %+v", id, *id, c.web.Actor(r))
	})))
	return c
}

// do keeps what was answered, without what gives the secrets that are born by it, whose members these are.
func (c *canaries) do(method, path string, body any, born []string, how ...set) *answer {
	c.t.Helper()
	c.step++
	c.clock.advance(time.Second)
	a := c.send(c.handler, method, path, body, how...)
	var answered bytes.Buffer
	for _, name := range born {
		switch value := a.JSON[name].(type) {
		case string:
			c.add(name, value)
		case []any:
			for _, one := range value {
				c.add(name, one.(string))
			}
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
	c.said[fmt.Sprintf("answer %d to %s %s", c.step, method, path)] = answered.String()
	return a
}

// sent is the newest message to a mailbox or number.
func (c *canaries) sent(to string) userapi.Message {
	c.t.Helper()
	for _, m := range c.delivered() {
		c.said["message"] += fmt.Sprintf("%+v %#v\n", m, m)
		if m.Token != "" {
			c.add("link token", string(m.Token))
		}
		if m.To == to && m.Purpose != userapi.PurposeNotice {
			return m
		}
	}
	require.Fail(c.t, "nothing was sent to "+to)
	return userapi.Message{}
}

func (c *canaries) pw(text string) string { return c.add("password", "canary "+text+" Zq8!") }

// print keeps what the nouns return, in all the ways in which it may be printed.
func (c *canaries) print(values ...any) {
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			c.said["noun"] += fmt.Sprintf(verb, v) + "\n"
		}
	}
}

// end looks for the secrets, in the log and in the database too, which has this event.
func (c *canaries) end(event userapi.EventKind) {
	c.t.Helper()
	c.add("signing secret", string(testSecret))
	c.add("password of all", password)
	c.print(c.api, *c.api, c.api.Auth, c.web)
	c.said["log"] = c.log.String()
	var stored bytes.Buffer
	files, err := os.ReadDir(c.dir)
	require.NoError(c.t, err)
	for _, f := range files {
		raw, err := os.ReadFile(filepath.Join(c.dir, f.Name()))
		require.NoError(c.t, err)
		stored.Write(raw)
	}
	c.said["database"] = stored.String()
	require.Contains(c.t, c.said["database"], string(event), "the audit trail is in it")
	require.Contains(c.t, c.said["event"], string(event))
	assert.Empty(c.t, c.found())
	c.said["log"] += password
	assert.NotEmpty(c.t, c.found(), "it would be found")
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

// found names each secret that somebody said, as it is, without its dashes or as bytes are written.
func (c *canaries) found() (hits []string) {
	said := map[string]string{}
	for who, text := range c.said {
		said[who] = strings.ToLower(text)
	}
	for what, secret := range c.secrets {
		for _, form := range []string{secret, strings.ReplaceAll(secret, "-", ""), fmt.Sprintf("%x", secret), fmt.Sprintf("%v", []byte(secret)), base64.StdEncoding.EncodeToString([]byte(secret))} {
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
	c := newCanaries(t, func(cfg *userapi.Config) { cfg.SecondFactor = asksBob{} })
	w, do, sent, pw, print, tokens := c.world, c.do, c.sent, c.pw, c.print, []string{"access_token", "refresh_token"}

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
	require.Greater(t, len(c.secrets), 40)
	c.end(userapi.EventPasswordRefused)
}

// The same for two-step login, and for logins whose one key lasts.
func TestCanary_L01_two_step_and_opaque_logins(t *testing.T) {
	var factor *totp.Factor
	c := newCanaries(t, func(cfg *userapi.Config) {
		var err error
		factor, err = totp.New(totp.Config{Issuer: "Acme", Now: cfg.Now})
		require.NoError(t, err)
		cfg.SecondFactor, cfg.OpaqueLogins = factor, true
	})
	require.NoError(t, factor.Bind(c.api))
	c.web.Mount(c.mux, "/api/totp", factor.Handler(c.web))
	do, pw, token := c.do, c.pw, []string{"access_token"}
	login := func() *answer {
		t.Helper()
		return do("POST", "/api/auth/login", object{"email": "ann@acme.example", "password": password}, token).is(200, "")
	}

	// One opaque key: shown wherever a token may be, altered, ended.
	in := login()
	key := in.text("access_token")
	require.True(t, strings.HasPrefix(key, "l1."))
	c.add("MAC of an opaque key", key[strings.LastIndexByte(key, '.')+1:])
	ann := bearer(key)
	for _, path := range []string{"/api/auth/verify_token", "/api/auth/whoami", "/api/users/token", "/api/users/current/sessions", "/api/users/current/data", "/host"} {
		do("GET", path, nil, nil, ann).is(200, "")
	}
	do("GET", "/api/auth/whoami", nil, nil, bearer(key+"x")).is(401, "")
	do("GET", "/api/auth/whoami?access_token="+key, nil, nil).is(401, "")
	do("GET", "/api/"+key, nil, nil).is(404, "")
	do("POST", "/api/auth/refresh", object{"refresh_token": key}, nil).is(401, "")
	do("GET", "/api/auth/whoami", nil, nil, apiKey(key)).is(401, "")
	ann = bearer(do("POST", "/api/password/change", object{"old_password": password, "new_password": pw("opaque")}, token, ann).is(200, "").text("access_token"))
	ann = bearer(do("POST", "/api/password/change", object{"old_password": pw("opaque"), "new_password": password}, token, ann).is(200, "").text("access_token"))
	do("GET", "/api/auth/whoami", nil, nil, bearer(key)).is(401, "TOKEN_REVOKED")

	// Two steps: enrolled, completed rightly and wrongly, recovered, enrolled anew, switched off.
	born := []string{"secret", "uri", "qr", "recovery_codes"}
	var shared []byte
	scan := func(a *answer) {
		t.Helper()
		var err error
		shared, err = base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(a.is(200, "").text("secret"))
		require.NoError(t, err)
		c.add("shared key", string(shared))
	}
	code := func() object { // of the next half minute: none is good twice
		c.clock.advance(30 * time.Second)
		mac := hmac.New(sha1.New, shared)
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(c.clock.now().Unix()/30)))
		sum := mac.Sum(nil)
		return object{"code": fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[sum[19]&15:])&0x7fffffff%1_000_000)}
	}
	scan(do("POST", "/api/totp/enrol", nil, born, ann))
	do("POST", "/api/totp/confirm", object{"code": c.add("wrong code", "no code of ann's")}, nil, ann).is(400, "")
	confirmed := do("POST", "/api/totp/confirm", code(), born, ann).is(200, "")
	recovery := func(a *answer, i int) object { return object{"code": a.JSON["recovery_codes"].([]any)[i]} }
	started := func() set { t.Helper(); return bearer(login().text("access_token")) }
	first := started()
	do("GET", "/api/auth/whoami", nil, nil, first).is(403, "SECOND_FACTOR_REQUIRED")
	do("POST", "/api/totp/login", object{"code": "no code of ann's"}, nil, first).is(400, "")
	do("POST", "/api/totp/login", object{"code": recovery(confirmed, 0)["code"].(string) + "X"}, nil, first).is(400, "")
	ann = bearer(do("POST", "/api/totp/login", code(), token, first).is(200, "").text("access_token"))
	do("POST", "/api/totp/login", recovery(confirmed, 0), token, started()).is(200, "")
	do("POST", "/api/totp/login", recovery(confirmed, 0), nil, started()).is(400, "")
	for _, path := range []string{"/api/totp", "/api/auth/whoami", "/api/users/current/sessions", "/api/users/current/data", "/host"} {
		do("GET", path, nil, nil, ann).is(200, "")
	}
	anew := do("POST", "/api/totp/recovery", code(), born, ann).is(200, "")
	scan(do("POST", "/api/totp/enrol", recovery(anew, 0), born, ann))
	do("POST", "/api/totp/confirm", code(), born, ann).is(200, "")
	do("DELETE", "/api/totp", object{"code": "no code of ann's"}, nil, ann).is(400, "")
	do("DELETE", "/api/totp", code(), nil, ann).is(200, "")
	c.delivered() // what the owner was told
	do("POST", "/api/auth/logout", nil, nil, ann).is(204, "")

	// The nouns themselves: what they return, and the errors of a database that is away.
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	for _, ctx := range []context.Context{context.Background(), gone} {
		u, issued, err := c.api.Auth.Login(ctx, userapi.Anonymous(), userapi.LoginRequest{Identifier: "ann@acme.example", Password: password})
		c.print(u, issued, err, factor)
		if err == nil {
			key = c.add("opaque key", string(issued.Access))
		}
		id, err := c.api.Auth.Authenticate(ctx, key)
		c.print(id, err)
	}
	require.Greater(t, len(c.secrets), 40)
	c.end(userapi.EventSecondFactorFailed)
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
