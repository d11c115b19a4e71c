package totp_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/feature/totp"
	"github.com/userapi/userapi/httpadapter"
	"github.com/userapi/userapi/store/memory"
)

// documented are the routes of docs/two-step-login.md: method, path, who.
func documented(t *testing.T) [][]string {
	t.Helper()
	page, err := os.ReadFile("../../docs/two-step-login.md")
	require.NoError(t, err)
	rows := regexp.MustCompile(`(?m)^\| (GET|POST|DELETE) \| (\S+) \| ([^|]+) \|`).FindAllStringSubmatch(string(page), -1)
	for i := range rows {
		rows[i] = rows[i][1:]
	}
	return rows
}

func TestRoutes_are_those_of_the_docs(t *testing.T) {
	w := newWorld(t, onMemory(t))
	rows := documented(t)
	require.Len(t, rows, 6)
	allowed := map[string]string{}
	for _, row := range rows {
		method, path := row[0], row[1]
		for _, p := range []string{path, strings.TrimSuffix(path, "/"), strings.TrimSuffix(path, "/") + "/"} {
			w.do(method, "/totp"+p, nil).is(401, "UNAUTHORIZED")
		}
		allowed[path] = w.do("OPTIONS", "/totp"+path, nil).is(204, "").Header().Get("Allow")
		a := w.do("PATCH", "/totp"+path, nil).is(405, "METHOD_NOT_ALLOWED")
		assert.Equal(t, allowed[path], a.Header().Get("Allow"))
		assert.Equal(t, "no-store", a.Header().Get("Cache-Control"))
	}
	assert.Equal(t, map[string]string{"/": "DELETE, GET, OPTIONS", "/enrol": "OPTIONS, POST", "/confirm": "OPTIONS, POST", "/login": "OPTIONS, POST", "/recovery": "OPTIONS, POST"}, allowed)
	for _, path := range []string{"/x", "/login/x", "/login%2f", "/LOGIN"} {
		w.do("POST", "/totp"+path, nil, w.as("ann")).is(404, "NOT_FOUND")
	}
	assert.Empty(t, w.do("HEAD", "/totp", nil, w.as("ann")).is(200, "").Body.String())
}

// Who may ask: what the docs say of each route, for every kind of caller. 0 = let in.
func TestRoutes_H01_every_route_and_caller(t *testing.T) {
	want := map[string]map[string]int{
		"session":              {"session": 0, "old session": 0, "login without code": 403, "expired": 401, "revoked": 401, "API key": 401, "nobody": 401},
		"session of 5 minutes": {"session": 0, "old session": 403, "login without code": 403, "expired": 401, "revoked": 401, "API key": 401, "nobody": 401},
		"login without code":   {"session": 403, "old session": 403, "login without code": 0, "expired": 401, "revoked": 401, "API key": 401, "nobody": 401},
	}
	for _, row := range documented(t) {
		w := newWorld(t, onMemory(t))
		_, recovery := w.enrolled("ann")
		expired := w.as("bob")
		w.advance(time.Hour)
		gone := w.as("bob")
		w.do("POST", "/auth/logout", nil, gone).is(204, "")
		old := bearer(w.complete("ann", recovery[0]).is(200, "").text("access_token"))
		w.advance(5 * time.Minute)
		callers := map[string]set{
			"session": bearer(w.complete("ann", recovery[1]).is(200, "").text("access_token")), "old session": old,
			"login without code": w.started("ann"), "expired": expired, "revoked": gone, "API key": header("X-Api-Key", "a.b"), "nobody": func(*http.Request) {},
		}
		for caller, status := range want[row[2]] {
			a := w.do(row[0], "/totp"+row[1], object{"code": "000000"}, callers[caller])
			if status == 0 {
				assert.NotContains(t, []int{401, 403}, a.Code, "%v %s %s", row, caller, a.Body)
			} else {
				assert.Equal(t, status, a.Code, "%v %s %s", row, caller, a.Body)
			}
		}
		require.Len(t, want[row[2]], len(callers), "%v", row)
	}
}

// The token of a login that lacks its code is good for nothing else (seed: pending token on /users 403).
func TestRoutes_H02_a_login_without_code_reaches_nothing_else(t *testing.T) {
	w := newWorld(t, onMemory(t))
	w.enrolled("ann")
	half := w.started("ann")
	guarded := 0
	for _, rt := range w.web.Routes() {
		if strings.HasPrefix(rt.Guard, "public") {
			continue
		}
		guarded++
		path := regexp.MustCompile(`\{\w+\}`).ReplaceAllString(rt.Path, w.ids["ann"])
		assert.Equal(t, 403, w.do(rt.Method, path, object{}, half).is(403, "SECOND_FACTOR_REQUIRED").Code, rt.Path)
	}
	assert.Greater(t, guarded, 20)
	w.do("POST", "/auth/refresh", object{"refresh_token": w.login("ann").text("access_token")}).is(401, "UNAUTHORIZED")
	host := w.web.IsConnected(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached") }))
	r := httptest.NewRequest("GET", "/host", nil)
	half(r)
	rec := httptest.NewRecorder()
	host.ServeHTTP(rec, r)
	assert.Equal(t, 403, rec.Code)
	w.do("GET", "/totp", nil, half).is(403, "SECOND_FACTOR_REQUIRED")
	w.advance(2 * time.Minute)
	w.do("POST", "/totp/login", object{"code": "000000"}, half).is(401, "TOKEN_EXPIRED")
}

func TestBrowser_I01_cookies_carry_both_steps_and_foreign_pages_do_not(t *testing.T) {
	w := newWorld(t, onMemory(t))
	session := cookies(w.login("ann"))
	foreign := header("Sec-Fetch-Site", "cross-site")
	for _, path := range []string{"/totp/enrol", "/totp/confirm", "/totp/recovery"} {
		w.do("POST", path, object{"code": "1"}, session, foreign).is(403, "CROSS_ORIGIN")
	}
	app := w.scan(w.do("POST", "/totp/enrol", nil, session).is(200, "").text("secret"))
	recovery := w.do("POST", "/totp/confirm", object{"code": app.code()}, session).is(200, "").codes()
	w.do("DELETE", "/totp", object{"code": recovery[0]}, session, foreign).is(403, "CROSS_ORIGIN")

	first := w.login("ann")
	half := cookies(first)
	for _, c := range first.Result().Cookies() {
		if c.Name == httpadapter.DefaultRefreshCookie {
			assert.Negative(t, c.MaxAge, "that of an earlier login goes")
		}
	}
	w.do("GET", "/auth/whoami", nil, half).is(403, "SECOND_FACTOR_REQUIRED")
	w.do("POST", "/totp/login", object{"code": recovery[0]}, half, foreign).is(403, "CROSS_ORIGIN")
	in := w.do("POST", "/totp/login", object{"code": recovery[0]}, half, header("Sec-Fetch-Site", "same-origin")).is(200, "")
	require.Len(t, in.Result().Cookies(), 2)
	whole := cookies(in)
	w.do("GET", "/auth/whoami", nil, whole).is(200, "")
	w.do("POST", "/auth/refresh", nil, whole).is(200, "")
}

func TestConfig_wrong_use_is_a_clear_error(t *testing.T) {
	for _, issuer := range []string{"", "a:b", strings.Repeat("x", 65), "a\nb", "\xff"} {
		_, err := totp.New(totp.Config{Issuer: issuer})
		assert.ErrorContains(t, err, "Issuer", issuer)
	}
	factor, err := totp.New(totp.Config{Issuer: "Acme"})
	require.NoError(t, err)
	cfg := userapi.Config{Store: memory.New(), Secret: "0123456789abcdefghijklmnopqrstuvwxyz"}
	forgotten, err := userapi.New(cfg)
	require.NoError(t, err)
	assert.ErrorContains(t, factor.Bind(nil), "needs an API")
	assert.ErrorContains(t, factor.Bind(forgotten), "Config.SecondFactor")
	cfg.SecondFactor = factor
	api, err := userapi.New(cfg)
	require.NoError(t, err)
	require.NoError(t, factor.Bind(api))
	assert.ErrorContains(t, factor.Bind(api), "already")
	assert.PanicsWithValue(t, "totp: Handler needs an Adapter", func() { factor.Handler(nil) })
}

func TestConfig_an_unbound_factor_lets_nobody_in_and_says_why_in_the_log(t *testing.T) {
	w := newWorld(t, onMemory(t))
	session := w.as("ann")
	unbound, err := totp.New(totp.Config{Issuer: "Acme"})
	require.NoError(t, err)
	r := httptest.NewRequest("GET", "/", nil)
	session(r)
	rec := httptest.NewRecorder()
	unbound.Handler(w.web).ServeHTTP(rec, r)
	assert.Equal(t, 500, rec.Code)
	assert.NotContains(t, rec.Body.String(), "Bind")
	assert.Contains(t, w.log.String(), "Factor.Bind was not called")

	_, err = unbound.Required(t.Context(), userapi.User{ID: w.ids["ann"]})
	assert.ErrorContains(t, err, "Bind")
	assert.ErrorContains(t, unbound.Disable(t.Context(), userapi.System(), w.ids["ann"]), "Bind")
	n := w.serve(w.store, func(c *userapi.Config) { // an API that asks another than the one that is bound
		c.SecondFactor = unbound
	})
	w.ask(n, "POST", "/auth/login", object{"email": "ann@acme.example", "password": password}).is(500, "INTERNAL")
}

func TestErrors_repeat_nothing(t *testing.T) {
	w := newWorld(t, onMemory(t))
	w.enrolled("ann")
	for _, body := range []string{`{"code":"hunter2-hunter2"}`, `{"code":["hunter2"]}`, `{"code":"hunter2"`, `{"hunter2-hunter2-hunter2-hunter2-x":1}`} {
		a := w.do("POST", "/totp/login", body, w.started("ann"))
		assert.GreaterOrEqual(t, a.Code, 400)
		assert.NotContains(t, a.Body.String(), "hunter2", body)
	}
	assert.NotContains(t, w.log.String(), "hunter2")
	assert.NotContains(t, fmt.Sprint(w.mail.Messages()), "hunter2")
}
