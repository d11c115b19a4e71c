package httpadapter_test

import (
	"cmp"
	"fmt"
	"os"

	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
)

// The answer each kind of caller gets from each kind of guard when they ask about ann. 0 is "let in": whatever the
// noun says, but neither 401 nor 403.
var matrix = map[string]map[string]int{
	"public": {
		"anonymous": 0, "self": 0, "other": 0, "foreign admin": 0, "service": 0, "admin": 0, "expired": 0, "revoked": 0, "deactivated": 0, "api key": 401, "bad api key": 401,
	},
	"public, or connected": {
		"anonymous": 0, "self": 0, "other": 0, "foreign admin": 0, "service": 0, "admin": 0, "expired": 0, "revoked": 0, "deactivated": 0, "api key": 0, "bad api key": 401,
	},
	"connected": {
		"anonymous": 401, "self": 0, "other": 0, "foreign admin": 0, "service": 0, "admin": 0, "expired": 401, "revoked": 401, "deactivated": 401, "api key": 0, "bad api key": 401,
	},
	"connected, or a login whose password has to be changed": {
		"anonymous": 401, "self": 0, "other": 0, "foreign admin": 0, "service": 0, "admin": 0, "expired": 401, "revoked": 401, "deactivated": 401, "api key": 0,
	},
	"connected, or public with Verification.AnonymousPhone": {
		"anonymous": 401, "self": 0, "other": 0, "foreign admin": 0, "service": 0, "admin": 0, "expired": 401, "revoked": 401, "deactivated": 401, "api key": 0, "bad api key": 401,
	},
	"connected by session": {
		"anonymous": 401, "self": 0, "other": 0, "foreign admin": 0, "service": 0, "admin": 0, "expired": 401, "revoked": 401, "deactivated": 401, "api key": 403, "bad api key": 401,
	},
	"self|admin": {
		"anonymous": 401, "self": 0, "other": 403, "foreign admin": 404, "service": 403, "admin": 0, "expired": 401, "revoked": 401, "deactivated": 401, "api key": 0, "bad api key": 401,
	},
	"self|admin|service": {
		"anonymous": 401, "self": 0, "other": 403, "foreign admin": 404, "service": 0, "admin": 0, "expired": 401, "revoked": 401, "deactivated": 401, "api key": 0, "bad api key": 401,
	},
	"admin": {
		"anonymous": 401, "self": 403, "other": 403, "foreign admin": 404, "service": 403, "admin": 0, "expired": 401, "revoked": 401, "deactivated": 401, "api key": 0, "bad api key": 401,
	},
	"admin, or registration without a credential": {
		"anonymous": 401, "self": 403, "other": 403, "foreign admin": 0, "service": 403, "admin": 0, "expired": 401, "revoked": 401, "deactivated": 401, "api key": 0, "bad api key": 401,
	},
}

// bodies are requests that pass each route's form.
var bodies = map[string]any{
	"POST /users/login":                            object{"email": "bob@acme.example", "password": password},
	"POST /users/logout":                           nil,
	"POST /users/reset-password":                   object{"email": "own", "password": "another fine phrase", "current_password": password},
	"POST /users/":                                 object{"email": "matrix@acme.example", "name": "M", "active": true},
	"PUT /users/{id}":                              object{"email": "ann@acme.example", "name": "M", "active": true},
	"PATCH /users/{id}":                            object{"name": "M"},
	"PATCH /users/{id}/role":                       []string{"editor"},
	"POST /users/{id}/set_password":                object{"password": "another fine phrase", "current_password": password},
	"PUT /users/{id}/memberships/{resource}/{rid}": object{"level": "member"},
	"POST /auth/login":                             object{"email": "bob@acme.example", "password": password},
	"POST /auth/refresh":                           nil,
	"POST /auth/logout":                            nil,
	"POST /auth/logout-all":                        nil,
	"POST /auth/erase":                             nil,
	"POST /auth/activate":                          object{"token": "mailed", "password": password},
	"POST /password/change":                        object{"old_password": password, "new_password": "another fine phrase"},
	"POST /password/reset":                         object{"email": "ann@acme.example"},
	"POST /password/reset/confirm":                 object{"token": "mailed", "new_password": "another fine phrase"},
	"POST /verification/phone":                     object{"phone": "+4930901820"},
	"POST /verification/phone/confirm":             object{"phone": "+4930901820", "code": "sent"},
	"POST /verification/email":                     object{"email": "matrix@acme.example", "current_password": password},
	"POST /verification/email/confirm":             object{"token": "mailed"},
	"POST /keys/":                                  object{"name": "matrix", "scopes": []string{"userapi:read"}},
	"PATCH /keys/{id}":                             object{"active": false},
	"POST /roles/":                                 object{"code": "matrix"},
	"PATCH /roles/{code}":                          object{"name": "M"},
}

// exceptions are answers that differ from the guard's, each for a reason.
var exceptions = map[string]int{
	"POST /users/logout api key":         403, // an API key is no session to end
	"GET /users/logout api key":          403,
	"POST /auth/logout api key":          403,
	"POST /users/logout bad api key":     403,
	"GET /users/logout bad api key":      403,
	"POST /auth/logout bad api key":      403,
	"GET /keys/{id} other":               404, // ann's
	"GET /keys/{id} service":             404,
	"GET /keys/{id} foreign admin":       404,
	"PATCH /keys/{id} other":             404,
	"PATCH /keys/{id} service":           404,
	"PATCH /keys/{id} foreign admin":     404,
	"DELETE /keys/{id} other":            404,
	"DELETE /keys/{id} service":          404,
	"DELETE /keys/{id} foreign admin":    404,
	"GET /users/ foreign admin":          0, // their own customer
	"GET /audit/ foreign admin":          0, // likewise
	"GET /roles/ foreign admin":          0, // definitions are shared
	"POST /roles/ foreign admin":         0,
	"GET /roles/{code} foreign admin":    0,
	"PATCH /roles/{code} foreign admin":  0,
	"DELETE /roles/{code} foreign admin": 0,
	"POST /auth/erase admin":             409, // each is the last of their customer
	"POST /auth/erase foreign admin":     409,
	"POST /auth/refresh":                 401, // nobody brings a refresh token here
}

// principal gives the credential of a kind of caller, and the user it is.
func (w *world) principal(kind string) (how set, name string) {
	switch kind {
	case "anonymous":
		return func(*hr) {}, ""
	case "self":
		return w.as("ann"), "ann"
	case "other":
		return w.as("bob"), "bob"
	case "foreign admin":
		return w.as("eve"), "eve"
	case "service", "admin":
		return w.as(kind), kind
	case "expired":
		old := w.as("admin")
		w.clock.advance(15 * time.Minute)
		return old, "admin"
	case "revoked":
		dead := w.as("admin")
		w.do("POST", "/auth/logout", nil, dead).is(204, "")
		return dead, "admin"
	case "deactivated":
		w.add("gone", userapi.NewUser{Username: "gone", CustomerID: "acme", Roles: []userapi.RoleRef{{Code: "admin"}}})
		gone := w.as("gone")
		w.do("DELETE", "/users/"+w.ids["gone"], nil, w.as("admin")).is(204, "")
		return gone, "gone"
	case "api key":
		_, key := w.key("admin", "full")
		return apiKey(key), "admin"
	case "bad api key":
		token := w.as("admin")
		return func(r *hr) { token(r); r.Header.Set("X-Api-Key", "key.secret") }, "admin"
	}
	w.t.Fatalf("no principal %q", kind)
	return nil, ""
}

// withSecret puts into a body the token or the code that its route asks for. A token is good for whoever has it, a code for
// its caller alone.
func (w *world) withSecret(route string, body any, how set) any {
	w.t.Helper()
	o, _ := body.(object)
	switch route {
	case "POST /auth/activate":
		u, err := w.api.Users.Create(w.t.Context(), userapi.System(), userapi.NewUser{Email: "new@acme.example", Password: password, CustomerID: "acme"})
		require.NoError(w.t, err)
		require.NoError(w.t, w.api.Users.SendActivation(w.t.Context(), userapi.System(), u.ID))
		return with(o, object{"token": string(w.message("new@acme.example", userapi.PurposeActivation).Token)})
	case "POST /password/reset/confirm":
		return with(o, object{"token": w.resetToken("ann@acme.example")})
	case "POST /verification/email/confirm":
		return with(o, object{"token": w.emailToken(w.as("ann"), "ann@acme.example")})
	case "POST /verification/phone/confirm":
		if w.do("POST", "/verification/phone", object{"phone": o["phone"]}, how).Code == 200 {
			return with(o, object{"code": string(w.message("+4930901820", userapi.PurposePhone).Code)})
		}
	}
	return body
}

func TestH03_EveryRouteForEveryCaller(t *testing.T) {
	for _, rt := range newWorld(t, everything).web.Routes() {
		route := rt.Method + " " + rt.Path
		t.Run(route, func(t *testing.T) {
			expected, ok := matrix[rt.Guard]
			require.True(t, ok, "a guard without expectations: %q", rt.Guard)
			body, ok := bodies[route]
			require.True(t, ok || rt.Body == "" && (rt.Method == "GET" || rt.Method == "DELETE"), "a route without a body to test it by")
			for kind, want := range expected {
				w := newWorld(t, everything)
				how, name := w.principal(kind)
				if strings.Contains(rt.Path, "{rid}") {
					w.give("ann", "1", "member")
				}
				session := "none"
				if list, ok := w.do("GET", "/users/"+w.ids["ann"]+"/sessions", nil, w.as("admin")).JSON["sessions"].([]any); ok && len(list) > 0 {
					session = list[0].(object)["id"].(string)
				}
				id := w.ids["ann"]
				if strings.HasPrefix(rt.Path, "/keys") {
					id, _ = w.key("ann", "full")
				}
				path := strings.NewReplacer("{id}", id, "{sid}", session, "{code}", "editor", "{resource}", "doc", "{rid}", "1").Replace(rt.Path)
				b := body
				if o, ok := b.(object); ok && o["email"] == "own" && name != "" {
					b = with(o, object{"email": loginName(name)})
				}
				a := w.do(rt.Method, path, w.withSecret(route, b, how), how)
				for _, key := range []string{route, route + " " + kind} {
					if other, ok := exceptions[key]; ok {
						want = other
					}
				}
				if want == 0 {
					ok := a.Code == rt.Status || strings.Contains(path, "/sessions/none") && a.Code == 404
					assert.True(t, ok, "%s as %s: %d %s", route, kind, a.Code, a.Body)
					continue
				}
				assert.Equal(t, want, a.Code, "%s as %s: %s", route, kind, a.Body)
			}
		})
	}
}

// With Verification.AnonymousPhone nobody in particular is let in too, but no credential is passed over.
func TestH03_PhonesWithoutACredential(t *testing.T) {
	for _, path := range []string{"/verification/phone", "/verification/phone/confirm"} {
		want := map[string]int{"anonymous": 200, "self": 200, "other": 200, "foreign admin": 200, "service": 200, "admin": 200, "expired": 401, "revoked": 401, "deactivated": 401, "api key": 200, "bad api key": 401}
		for kind := range want {
			w := newWorld(t, anyPhone)
			how, _ := w.principal(kind)
			body := w.withSecret("POST "+path, object{"phone": "+4930901820"}, how)
			if path == "/verification/phone/confirm" && want[kind] == 401 {
				body = object{"phone": "+4930901820", "code": "123456"}
			}
			assert.Equal(t, want[kind], w.do("POST", path, body, how).Code, path+" as "+kind)
		}
	}
}

func TestReservedIDsAreTheWordsOfRoutes(t *testing.T) {
	words := map[string]bool{"current": true}
	for _, rt := range newWorld(t, everything).web.Routes() {
		part := strings.Split(rt.Path, "/")
		if part[1] == "users" && part[2] != "" && !strings.HasPrefix(part[2], "{") {
			words[part[2]] = true
		}
	}
	reserved := map[string]bool{}
	for _, id := range userapi.ReservedIDs() {
		reserved[id] = true
	}
	assert.Equal(t, words, reserved, "a word of a route below /users, and an id of the same name, hide each other")
}

func TestCurrentIsTheCallerWhereTheContractSaysSelf(t *testing.T) {
	w := newWorld(t)
	admin := w.as("admin")
	w.do("GET", "/users/current", nil, admin).is(200, "")
	w.do("PUT", "/users/current", object{"username": "admin", "name": "A", "active": true}, admin).is(404, "NOT_FOUND")
	w.do("DELETE", "/users/current", nil, admin).is(404, "NOT_FOUND")
	w.do("PATCH", "/users/current/role", []string{"editor"}, admin).is(404, "NOT_FOUND")
	w.do("DELETE", "/users/current", nil, w.as("ann")).is(403, "FORBIDDEN")
	w.do("DELETE", "/users/current/sessions/current", nil, admin).is(404, "NOT_FOUND")
	assert.Equal(t, w.ids["ann"], w.do("GET", "/users/current", nil, w.as("ann")).text("id"))
}

// The contract beside the code is the one hosts read.
func TestRoutesAreDocumented(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# Routes

Made from the table in ` + "`httpadapter/routes.go`" + ` by ` + "`go test ./httpadapter -update`" + `; a test holds them together.

Paths are those of ` + "`Handler()`" + `; a section mounted alone lacks its first word. One trailing slash more or less does not
matter. HEAD is served wherever GET is (but GET /users/logout), OPTIONS answers 204 with ` + "`Allow`" + `, other methods 405.

| who | |
|---|---|
| public | anybody; the credential is not looked at, but an ` + "`X-Api-Key`" + ` is refused (401, on logout 403) |
| public, or connected | the same, but whoever brings a valid access token or API key is known by it; a bad token does not matter, a bad key is 401 |
| connected | a valid access token, or an API key |
| connected, or a login whose password has to be changed | the same; also the access token of a login with ` + "`step: new_password`" + `, which is 403 everywhere else |
| connected, or public with Verification.AnonymousPhone | a valid access token, or an API key; with that option also anybody who brings no credential at all |
| connected by session | a valid access token, never an API key |
| self\|admin | the user {id} (or ` + "`current`" + `), or role ` + "`admin`" + ` in the same customer |
| self\|admin\|service | the same, or role ` + "`service`" + `, never on a user who holds ` + "`admin`" + ` or ` + "`service`" + ` |
| admin | role ` + "`admin`" + ` in the same customer |
| admin, or registration without a credential | role ` + "`admin`" + `; without any credential whoever the registration policy lets in |

An API key needs besides the scope in the column key, or ` + "`full`" + `: else 403 SCOPE_MISSING. "–" means that no key may ask (403; 401 where
the route is public). Whoever changes an e-mail address, a username or a phone number by a key, or gives a new user a password, needs
` + "`users:password`" + ` on every route.

A field with ` + "`?`" + ` may be absent; ` + "`a | b`" + ` asks for at least one of them (a login or a reset for exactly one). Whenever an answer issues
tokens (one's own password, e-mail address or roles changed), it is that of a login: exp, access_token and refresh_token
(not after a change of roles: the one there is goes on) beside the user, and the cookies, as ` + "`Config.Tokens`" + ` says. The answer of PATCH /users/{id}/role is a list and has
room for the cookie only. An access token that is too large for a cookie (4,095 bytes with the name) is in the body alone;
under ` + "`" + `CookieOnly` + "`" + ` such a login fails with 500.

A foreign page (403 CROSS_ORIGIN) cannot log in, refresh, log out or register, and nothing but GET by a cookie. Activation, reset and
phone proof without a credential neither read nor set cookies, so it may ask for those; in POST /verification/email/confirm its
cookie counts as none. What would send is 503 where the host has wired no sender.

| method | path | who | key | body, query | status | |
|---|---|---|---|---|---|---|
`)
	escape := strings.NewReplacer("|", `\|`)
	for _, rt := range newWorld(t, everything).web.Routes() {
		in := rt.Body
		if len(rt.Query) > 0 {
			in = "?" + strings.Join(rt.Query, "=&") + "="
		}
		if in != "" {
			in = "`" + in + "`"
		}
		summary := rt.Summary
		if rt.OptIn != "" {
			summary += fmt.Sprintf(" Only with `Config.%s`.", rt.OptIn)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %d | %s |\n", rt.Method, rt.Path, escape.Replace(rt.Guard), cmp.Or(rt.Scope, "–"), escape.Replace(in), rt.Status, summary)
	}
	golden(t, "../docs/routes.md", b.String())
}

// golden compares with a file, or writes it with -update.
func golden(t *testing.T, file, want string) {
	t.Helper()
	if *update {
		require.NoError(t, os.MkdirAll("../docs", 0o755))
		require.NoError(t, os.WriteFile(file, []byte(want), 0o644))
	}
	got, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, want, string(got), "run: go test ./httpadapter -update")
}
