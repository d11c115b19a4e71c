package httpadapter_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/httpadapter"
)

var update = flag.Bool("update", false, "write the documents instead of comparing them")

func TestErrorBodies(t *testing.T) {
	w := newWorld(t)
	type canary struct{ error }
	for _, c := range []struct {
		err    error
		status int
		body   string
		header map[string]string
	}{
		{userapi.ErrNoCredentials, 401, `{"message":"No credentials supplied.","error_code":"UNAUTHORIZED"}`, map[string]string{"WWW-Authenticate": "Bearer"}},
		{userapi.ErrTokenExpired, 401, `{"message":"The token has expired.","error_code":"TOKEN_EXPIRED"}`, map[string]string{"WWW-Authenticate": "Bearer"}},
		{userapi.ErrForbidden, 403, `{"message":"You may not do this.","error_code":"FORBIDDEN"}`, nil},
		{userapi.ErrRoleMissing.Field("missing", "b", "a"), 403, `{"message":"A role is missing.","error_code":"ROLE_MISSING","payload":{"missing":["b","a"]}}`, nil},
		{userapi.ErrNotFound.Wrap(errors.New("canary")), 404, `{"message":"Not found.","error_code":"NOT_FOUND"}`, nil},
		{userapi.ErrEmailTaken, 409, `{"message":"This e-mail address is in use.","error_code":"CONFLICT","payload":{"email":["already in use"]}}`, nil},
		{userapi.ErrInvalid.Field("name", "required field"), 422, `{"message":"Some fields are wrong.","error_code":"WRONG_DOCUMENT_FORMAT","payload":{"name":["required field"]}}`, nil},
		{userapi.ErrRateLimited.After(1500 * time.Millisecond), 429, `{"message":"Too many attempts; try again later.","error_code":"RATE_LIMITED"}`, map[string]string{"Retry-After": "2"}},
		{userapi.ErrRateLimited.After(0), 429, `{"message":"Too many attempts; try again later.","error_code":"RATE_LIMITED"}`, map[string]string{"Retry-After": "1"}},
		{fmt.Errorf("host: %w", userapi.ErrUnavailable.Wrap(errors.New("canary"))), 503, `{"message":"The service cannot answer right now; try again.","error_code":"UNAVAILABLE"}`, map[string]string{"Retry-After": "1"}},
		{&userapi.Error{Kind: userapi.Invalid, Code: "INVALID_CODE", Message: "The code is wrong."}, 400, `{"message":"The code is wrong.","error_code":"INVALID_CODE"}`, nil},
		{&userapi.Error{Kind: userapi.Conflict, Code: "TOO_LARGE", Message: "A host's own."}, 409, `{"message":"A host's own.","error_code":"TOO_LARGE"}`, nil},
		{userapi.ErrInTx, 500, `{"message":"Internal error.","error_code":"INTERNAL"}`, nil},
		{&userapi.Error{Code: "X", Message: "canary", Fields: map[string][]string{"canary": {"x"}}}, 500, `{"message":"Internal error.","error_code":"INTERNAL"}`, nil},
		{canary{errors.New("canary: SELECT * FROM users")}, 500, `{"message":"Internal error.","error_code":"INTERNAL"}`, nil},
		{nil, 500, `{"message":"Internal error.","error_code":"INTERNAL"}`, nil},
	} {
		rec := httptest.NewRecorder()
		w.web.WriteError(rec, httptest.NewRequest("GET", "/", nil), c.err)
		assert.Equal(t, c.status, rec.Code, c.err)
		assert.Equal(t, c.body+"\n", rec.Body.String())
		for name, value := range c.header {
			assert.Equal(t, value, rec.Header().Get(name), c.err)
		}
		assert.Equal(t, "application/json", rec.Header().Get("Content-Type"))
	}
}

func TestL04_K05_DefectsTellNothing(t *testing.T) {
	w := newWorld(t)
	for name, broken := range map[string]func(*http.Request) error{
		"error":         func(*http.Request) error { return errors.New("canary: table users, key 0x17") },
		"panic":         func(*http.Request) error { panic("canary") },
		"runtime panic": func(r *http.Request) error { return []error{nil}[len(r.Method)] },
		"nil panic":     func(*http.Request) error { var e *userapi.Error; panic(e) },
	} {
		t.Run(name, func(t *testing.T) {
			w.log.Reset()
			a := w.send(w.web.Broken(broken), "GET", "/", nil)
			a.is(500, "INTERNAL")
			assert.Equal(t, `{"message":"Internal error.","error_code":"INTERNAL"}`+"\n", a.Body.String())
			assert.Contains(t, w.log.String(), `"level":"ERROR"`)
			assert.Equal(t, name == "error", strings.Contains(w.log.String(), "canary: table"))
			if name == "panic" {
				assert.NotContains(t, w.log.String(), `"canary"`)
			}
		})
	}
	assert.PanicsWithValue(t, http.ErrAbortHandler, func() {
		w.send(w.web.Broken(func(*http.Request) error { panic(http.ErrAbortHandler) }), "GET", "/", nil)
	})
	t.Run("a client that went away is no failure", func(t *testing.T) {
		w.log.Reset()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		w.send(w.web.Broken(func(r *http.Request) error { return r.Context().Err() }), "GET", "/", nil, func(r *hr) { *r = *r.WithContext(ctx) }).is(500, "INTERNAL")
		assert.NotContains(t, w.log.String(), "ERROR")
	})
	t.Run("a hook's refusal is the host's to word", func(t *testing.T) {
		var refusal error
		w := newWorld(t, options{api: func(c *userapi.Config) {
			c.Hooks.BeforeUserUpdated = func(context.Context, userapi.User, userapi.User) error { return refusal }
		}})
		admin := w.as("admin")
		refusal = errors.New("canary")
		w.do("PATCH", "/users/"+w.ids["ann"], object{"name": "X"}, admin).is(500, "INTERNAL")
		refusal = &userapi.Error{Kind: userapi.Conflict, Code: "FROZEN", Message: "Not in August."}
		w.do("PATCH", "/users/"+w.ids["ann"], object{"name": "X"}, admin).is(409, "FROZEN")
		assert.Equal(t, "Ann", w.do("GET", "/users/"+w.ids["ann"], nil, admin).text("name"))
	})
}

func TestE01_RefusedLoginsLookAlike(t *testing.T) {
	w := newWorld(t)
	_, err := w.api.Users.Create(context.Background(), userapi.System(), userapi.NewUser{Email: "none@acme.example", CustomerID: "acme", Active: true})
	require.NoError(t, err)
	w.add("off", userapi.NewUser{Email: "off@acme.example", CustomerID: "acme"})
	_, err = w.api.Users.Deactivate(context.Background(), userapi.System(), w.ids["off"])
	require.NoError(t, err)
	for _, path := range []string{"/auth/login", "/users/login"} {
		first := ""
		for _, body := range []object{
			{"email": "nobody@acme.example", "password": password}, {"email": "ann@acme.example", "password": "wrong password"}, {"email": "off@acme.example", "password": password},
			{"email": "none@acme.example", "password": password}, {"username": "nobody", "password": password}, {"username": "+4930901820", "password": password},
			{"email": "not an address@", "password": password}, {"email": "", "password": password}, {"email": w.ids["ann"], "password": password}, {"email": strings.Repeat("x", 10_000), "password": password},
		} {
			a := w.do("POST", path, body).is(401, "UNAUTHORIZED")
			all := fmt.Sprint(a.Code, a.Header(), a.Body)
			if first == "" {
				first = all
			}
			assert.Equal(t, first, all, body)
		}
	}
}

func TestE07_LimitsKnowNobody(t *testing.T) {
	w := newWorld(t, options{api: func(c *userapi.Config) {
		c.Limits = userapi.Limits{userapi.LimitLogin: {{Max: 3, Window: time.Minute, Per: userapi.PerAccount}}}
	}})
	var last []string
	for _, email := range []string{"bob@acme.example", "nobody@acme.example"} {
		for range 3 {
			w.do("POST", "/auth/login", object{"email": email, "password": "wrong password"}).is(401, "UNAUTHORIZED")
		}
		a := w.do("POST", "/auth/login", object{"email": strings.ToUpper(email), "password": password}).is(429, "RATE_LIMITED")
		seconds, err := strconv.Atoi(a.Header().Get("Retry-After"))
		require.NoError(t, err)
		assert.Equal(t, 60, seconds)
		last = append(last, fmt.Sprint(a.Header(), a.Body))
	}
	assert.Equal(t, last[0], last[1])
	w.clock.advance(time.Minute)
	w.login("bob")
}

func TestLimitsCountTheClientNotTheProxy(t *testing.T) {
	w := newWorld(t, options{
		api: func(c *userapi.Config) {
			c.Limits = userapi.Limits{userapi.LimitLogin: {{Max: 2, Window: time.Minute, Per: userapi.PerAddress}}}
		},
		http: func(c *httpadapter.Config) { c.TrustedProxies = prefixes("192.0.2.0/24") },
	})
	wrong := func(client string) int {
		return w.do("POST", "/auth/login", object{"email": "x@acme.example", "password": "wrong password"}, header("X-Forwarded-For", "spoofed, "+client)).Code
	}
	assert.Equal(t, []int{401, 401, 429, 401}, []int{wrong("203.0.113.1"), wrong("203.0.113.1"), wrong("::ffff:203.0.113.1"), wrong("203.0.113.2")})
}

// declared finds the errors in a file: name, kind, code, message.
func declared(t *testing.T, file string) (out []userapi.Error) {
	kinds := map[string]userapi.Kind{
		"Internal": userapi.Internal, "Invalid": userapi.Invalid, "Unauthenticated": userapi.Unauthenticated, "Forbidden": userapi.Forbidden,
		"NotFound": userapi.NotFound, "Conflict": userapi.Conflict, "RateLimited": userapi.RateLimited, "Unavailable": userapi.Unavailable,
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	require.NoError(t, err)
	ast.Inspect(parsed, func(n ast.Node) bool {
		lit, ok := n.(*ast.CompositeLit)
		if !ok {
			return true
		}
		e, known := userapi.Error{}, false
		for _, element := range lit.Elts {
			kv, ok := element.(*ast.KeyValueExpr)
			if !ok {
				continue
			}
			switch v := kv.Value.(type) {
			case *ast.BasicLit:
				text, _ := strconv.Unquote(v.Value)
				switch fmt.Sprint(kv.Key) {
				case "Code":
					e.Code = text
				case "Message":
					e.Message = text
				}
			case *ast.Ident:
				if fmt.Sprint(kv.Key) == "Kind" {
					e.Kind, known = kinds[v.Name]
				}
			case *ast.SelectorExpr:
				if fmt.Sprint(kv.Key) == "Kind" {
					e.Kind, known = kinds[v.Sel.Name]
				}
			}
		}
		if known && e.Kind != userapi.Internal {
			out = append(out, e)
		}
		return true
	})
	return out
}

func TestErrorsAreDocumented(t *testing.T) {
	var all []userapi.Error
	for _, file := range []string{"../errors.go", "errors.go"} {
		found := declared(t, file)
		require.NotEmpty(t, found, file)
		all = append(all, found...)
	}
	all = append(all, userapi.Error{Code: "INTERNAL", Message: "Internal error."})
	texts := map[string][]string{}
	for _, e := range all {
		key := fmt.Sprintf("| %d | %s |", httpadapter.Status(&e), e.Code)
		if !slices.Contains(texts[key], e.Message) {
			texts[key] = append(texts[key], e.Message)
		}
	}
	var lines []string
	for key, messages := range texts {
		lines = append(lines, key+" "+strings.Join(messages, " · ")+" |\n")
	}
	slices.Sort(lines)
	golden(t, "../docs/errors.md", `# Errors

Every error has this body, and never repeats what was sent, but for the short plain name of a field that is not known, and the
well-formed id of a resource on which a level is missing:

    {"message": "for people", "error_code": "STABLE_CODE", "payload": {"field": ["what is wrong"]}}

`+"`payload`"+` is there when fields or parameters are meant; of ROLE_MISSING and SCOPE_MISSING it is `+"`missing`"+`: roles and scopes in
the order asked, a level on a resource as `+"`<resource>-<id>-<level>`"+`; of QUOTA for API keys `+"`allowed`"+`, their number. 401 comes with
`+"`WWW-Authenticate: Bearer`"+`, 405 with `+"`Allow`"+`, 429 and 503 with `+"`Retry-After`"+` in seconds. A client tries a refresh once on any 401.

Program against the code. The table is made from the declared errors by `+"`go test ./httpadapter -update`"+`; a test holds them together.

| status | error_code | message |
|---|---|---|
`+strings.Join(lines, ""))
}

func TestGuards(t *testing.T) {
	assert.Error(t, httpadapter.CheckRoute(0), "a route without a guard")
	assert.NoError(t, httpadapter.CheckRoute(1))
	assert.ErrorIs(t, httpadapter.AdmitUnknown(0), userapi.ErrForbidden)
	assert.ErrorIs(t, httpadapter.AdmitUnknown(200), userapi.ErrForbidden)
}

func TestNewRefuses(t *testing.T) {
	api := newWorld(t).api
	for name, change := range map[string]func(*httpadapter.Config){
		"no API":                 func(c *httpadapter.Config) { c.API = nil },
		"one name for both":      func(c *httpadapter.Config) { c.AccessCookie, c.RefreshCookie = "a", "a" },
		"a name that is none":    func(c *httpadapter.Config) { c.AccessCookie = "a b" },
		"__Host- in development": func(c *httpadapter.Config) { c.Development, c.AccessCookie = true, "__Host-a" },
		"unknown delivery":       func(c *httpadapter.Config) { c.Tokens = 9 },
		"an invalid proxy": func(c *httpadapter.Config) {
			c.TrustedProxies = prefixes("10.0.0.0/8")[:1:1]
			c.TrustedProxies = append(c.TrustedProxies, invalidPrefix)
		},
		"a login URL of a script": func(c *httpadapter.Config) { c.LoginURL = "javascript:alert(1)" },
		"a login URL by scheme":   func(c *httpadapter.Config) { c.LoginURL = "//evil.example" },
		"a login URL with \\":     func(c *httpadapter.Config) { c.LoginURL = `/\evil.example` },
		"a relative login URL":    func(c *httpadapter.Config) { c.LoginURL = "login" },
		"a login URL with CRLF":   func(c *httpadapter.Config) { c.LoginURL = "/login\r\nX: y" },
	} {
		cfg := httpadapter.Config{API: api}
		change(&cfg)
		_, err := httpadapter.New(cfg)
		assert.Error(t, err, name)
	}
	for _, ok := range []string{"/login", "https://id.example/login?app=1"} {
		_, err := httpadapter.New(httpadapter.Config{API: api, LoginURL: ok})
		assert.NoError(t, err, ok)
	}
}
