package httpadapter_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/httpadapter"
	"github.com/userapi/userapi/store/memory"
)

const (
	password = "correct horse battery"
	origin   = "http://example.com" // of httptest.NewRequest
	site     = "http://example.com/api"
)

var testSecret = userapi.Secret("0123456789abcdefghijklmnopqrstuvwxyz")

// clock is the present of a test.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// options change what a world is made of.
type options struct {
	sends bool // mails and SMS, to world.box
	api   func(*userapi.Config)
	http  func(*httpadapter.Config)
}

// world is a server with two customers: acme (admin, service, ann, bob) and rival (eve, its admin). All have the same
// password.
type world struct {
	t     *testing.T
	clock *clock
	api   *userapi.API
	web   *httpadapter.Adapter
	mux   *http.ServeMux
	log   *bytes.Buffer
	store userapi.Store
	box   *mailbox
	ids   map[string]string // by name
}

func newWorld(t *testing.T, o ...options) *world {
	t.Helper()
	w := &world{t: t, clock: &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}, mux: http.NewServeMux(), log: new(bytes.Buffer), box: new(mailbox), ids: map[string]string{}}
	logger := slog.New(slog.NewJSONHandler(&locked{Writer: w.log}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	cfg := userapi.Config{
		Store: memory.New(), Secret: testSecret, Now: w.clock.now, Logger: logger, Limits: userapi.Limits{},
		Password: userapi.PasswordPolicy{Argon2id: userapi.Argon2id{MemoryKiB: 64, Passes: 1, Threads: 1}},
	}
	var web httpadapter.Config
	for _, opt := range o {
		if opt.sends {
			cfg.Verification.Mail, cfg.Verification.SMS = w.box, w.box
		}
		if opt.api != nil {
			opt.api(&cfg)
		}
		if opt.http != nil {
			opt.http(&web)
		}
	}
	w.store = cfg.Store
	var err error
	w.api, err = userapi.New(cfg)
	require.NoError(t, err)
	ctx := context.Background()
	_, err = w.api.Bootstrap(ctx, userapi.Bootstrap{Customer: "acme", Username: "admin", Password: password})
	require.NoError(t, err)
	_, err = w.api.Customers.Create(ctx, userapi.System(), userapi.Customer{ID: "rival", Name: "Rival"})
	require.NoError(t, err)
	_, err = w.api.Roles.Create(ctx, userapi.System(), userapi.Role{ID: "7", Code: "editor", Name: "Editor"})
	require.NoError(t, err)
	w.add("service", userapi.NewUser{Username: "service", CustomerID: "acme", Roles: []userapi.RoleRef{{Code: "service"}}})
	w.add("ann", userapi.NewUser{Email: "ann@acme.example", Name: "Ann", CustomerID: "acme"})
	w.add("bob", userapi.NewUser{Email: "bob@acme.example", Name: "Bob", CustomerID: "acme"})
	w.add("eve", userapi.NewUser{Email: "eve@rival.example", Name: "Eve", CustomerID: "rival", Roles: []userapi.RoleRef{{Code: "admin"}}})
	page, err := w.api.Users.List(ctx, userapi.System(), userapi.UserQuery{Name: "admin"})
	require.NoError(t, err)
	w.ids["admin"] = page.Users[0].ID

	web.API, web.Logger = w.api, logger
	w.web, err = httpadapter.New(web)
	require.NoError(t, err)
	w.web.Mount(w.mux, "/api", w.web.Handler())
	return w
}

// add creates an active account with the password of all.
func (w *world) add(name string, n userapi.NewUser) string {
	w.t.Helper()
	n.Password, n.Active = password, true
	u, err := w.api.Users.Create(context.Background(), userapi.System(), n)
	require.NoError(w.t, err)
	w.ids[name] = u.ID
	return u.ID
}

// loginName is what a user of the world logs in with.
func loginName(name string) string {
	switch name {
	case "ann", "bob":
		return name + "@acme.example"
	case "eve":
		return "eve@rival.example"
	}
	return name
}

// answer is what came back.
type answer struct {
	*httptest.ResponseRecorder
	t    *testing.T
	JSON map[string]any
}

func (a *answer) cookie(name string) *http.Cookie {
	for _, c := range a.Result().Cookies() {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// is requires the status, and the error code unless it is "".
func (a *answer) is(status int, code string) *answer {
	a.t.Helper()
	require.Equal(a.t, status, a.Code, a.Body.String())
	if code != "" {
		require.Equal(a.t, code, a.JSON["error_code"], a.Body.String())
	}
	return a
}

func (a *answer) text(name string) string {
	s, _ := a.JSON[name].(string)
	return s
}

func (a *answer) payload() map[string]any {
	p, _ := a.JSON["payload"].(map[string]any)
	return p
}

// set changes a request before it is sent.
type set func(*http.Request)

func bearer(token string) set { return header("Authorization", "Bearer "+token) }

func header(name, value string) set { return func(r *http.Request) { r.Header.Add(name, value) } }

func cookie(name, value string) set { return header("Cookie", name+"="+value) }

func noType(r *http.Request) { r.Header.Del("Content-Type") }

var crossSite = header("Sec-Fetch-Site", "cross-site")

// do sends a request below /api. body is sent as it is when it is a string, else as JSON; nil is none.
func (w *world) do(method, path string, body any, how ...set) *answer {
	w.t.Helper()
	return w.send(w.mux, method, "/api"+path, body, how...)
}

func (w *world) send(h http.Handler, method, path string, body any, how ...set) *answer {
	w.t.Helper()
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		require.NoError(w.t, err)
		reader = bytes.NewReader(raw)
	}
	r := httptest.NewRequest(method, path, reader)
	if reader != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, change := range how {
		change(r)
	}
	a := &answer{ResponseRecorder: httptest.NewRecorder(), t: w.t}
	h.ServeHTTP(a, r)
	_ = json.Unmarshal(a.Body.Bytes(), &a.JSON)
	return a
}

type (
	object = map[string]any
	hr     = http.Request
)

// everything opts in to every route.
var everything = options{sends: true, api: docs.api, http: func(c *httpadapter.Config) { c.EditRoles, c.LogoutByGET, c.EraseSelf = true, true, true }}

var editRolesOn = options{http: func(c *httpadapter.Config) { c.EditRoles = true }}

// login logs a user of the world in.
func (w *world) login(name string) *answer {
	w.t.Helper()
	return w.do("POST", "/auth/login", object{"email": loginName(name), "password": password}).is(200, "")
}

// as is the access token of a new login.
func (w *world) as(name string) set {
	w.t.Helper()
	return bearer(w.login(name).text("access_token"))
}
