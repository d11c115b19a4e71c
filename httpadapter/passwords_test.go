package httpadapter_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/userapi/userapi"
)

func TestC01_C06_PasswordsAreTakenWhole(t *testing.T) {
	w := newWorld(t, open)
	long := strings.Repeat("p", 72)
	for i, p := range []string{
		long + "one", "  spaces  inside and out  ", "пароль очень длинный", "🔑🔑🔑🔑🔑🔑🔑🔑", strings.Repeat("x1 ", 341) + "z", "nocapsnodigits but long", `quote " and \ back`,
	} {
		email := strings.Repeat("c", i+1) + "@x.example"
		w.do("POST", "/users", object{"email": email, "password": p}).is(201, "")
		w.do("POST", "/auth/login", object{"email": email, "password": p}).is(200, "")
		for _, other := range []string{p + " ", strings.TrimSpace(p) + "x", p[:len(p)-1]} {
			if a := w.do("POST", "/auth/login", object{"email": email, "password": other}); other != p {
				assert.NotEqual(t, 200, a.Code, other)
			}
		}
	}
	w.do("POST", "/auth/login", object{"email": "c@x.example", "password": long + "two"}).is(401, "UNAUTHORIZED")
	for _, short := range []string{"1234567", "🔑🔑🔑🔑🔑🔑🔑", "password", "Password1", "short@x.example"} { // C06, C07
		a := w.do("POST", "/users", object{"email": "short@x.example", "password": short}).is(422, "WEAK_PASSWORD")
		assert.Contains(t, a.payload(), "password")
		if short != "password" { // which is also the name of the field
			assert.NotContains(t, a.Body.String(), short)
		}
	}
}

func TestC03_C05_NoPasswordAndTooMuch(t *testing.T) {
	w := newWorld(t, open)
	huge := strings.Repeat("x", 1025)
	for _, p := range []any{nil, "", huge, strings.Repeat("x", 500_000), "nul\x00inside it", 1, true, []string{password}} {
		w.do("POST", "/auth/login", object{"email": "ann@acme.example", "password": p}).is(422, "WRONG_DOCUMENT_FORMAT")
		w.do("POST", "/users", object{"email": "c03@x.example", "password": p}).is(422, "WRONG_DOCUMENT_FORMAT")
		w.do("POST", "/users/"+w.ids["ann"]+"/set_password", object{"password": p}, w.as("admin")).is(422, "WRONG_DOCUMENT_FORMAT")
	}
	a := w.do("POST", "/auth/login", object{"email": "ann@acme.example", "password": nil}).is(422, "WRONG_DOCUMENT_FORMAT")
	assert.Equal(t, object{"password": []any{"required field"}}, a.payload())
	w.do("POST", "/auth/login", object{"email": "ann@acme.example"}).is(422, "WRONG_DOCUMENT_FORMAT")
	w.do("POST", "/auth/login", object{"password": password}).is(422, "WRONG_DOCUMENT_FORMAT")
	w.do("POST", "/auth/login", object{"email": "ann@acme.example", "username": "ann", "password": password}).is(422, "WRONG_DOCUMENT_FORMAT")
	w.do("POST", "/auth/login", `{"email":"ann@acme.example","password":"`+strings.Repeat("x", 1<<20)+`"}`).is(413, "TOO_LARGE")
	w.do("POST", "/auth/login", object{"email": "ann@acme.example", "password": "   "}).is(401, "UNAUTHORIZED")

	admin := w.as("admin")
	a = w.do("POST", "/users", object{"email": "bare@acme.example", "name": "Bare", "active": true, "password": nil}, admin).is(201, "")
	w.do("POST", "/users", object{"email": "bare2@acme.example", "name": "Bare", "active": true, "password": ""}, admin).is(422, "WRONG_DOCUMENT_FORMAT")
	for _, p := range []string{"None", "null", " ", "\u00a0"} {
		w.do("POST", "/auth/login", object{"email": "bare@acme.example", "password": p}).is(401, "UNAUTHORIZED")
	}
	w.do("PUT", "/users/"+a.text("id"), object{"email": "bare@acme.example", "name": "Bare", "active": true, "password": ""}, admin).is(422, "WRONG_DOCUMENT_FORMAT")
}

func TestC09_OwnPassword(t *testing.T) {
	const next = "another fine phrase"
	for route, send := range map[string]func(w *world, who set, current any) *answer{
		"set_password": func(w *world, who set, current any) *answer {
			return w.do("POST", "/users/current/set_password", with(object{"password": next}, object{"current_password": current}), who)
		},
		"reset-password": func(w *world, who set, current any) *answer {
			return w.do("POST", "/users/reset-password", with(object{"email": "ANN@acme.example", "password": next}, object{"current_password": current}), who)
		},
	} {
		t.Run(route, func(t *testing.T) {
			w := newWorld(t)
			who, other := w.as("ann"), w.as("ann")
			w.clock.advance(5 * time.Minute)
			send(w, who, nil).is(403, "NOT_FRESH")
			send(w, who, "not the password").is(403, "FORBIDDEN")
			a := send(w, who, password).is(200, "")
			assert.Subset(t, keys(a.JSON), []string{"id", "roles", "exp", "access_token", "refresh_token"})
			assert.Len(t, a.Result().Cookies(), 2)
			w.do("GET", "/auth/whoami", nil, bearer(a.text("access_token"))).is(200, "")
			w.do("GET", "/auth/whoami", nil, who).is(401, "TOKEN_REVOKED")
			w.do("GET", "/auth/whoami", nil, other).is(401, "TOKEN_REVOKED")
			w.do("POST", "/auth/login", object{"email": "ann@acme.example", "password": password}).is(401, "UNAUTHORIZED")
			fresh := w.do("POST", "/auth/login", object{"email": "ann@acme.example", "password": next}).is(200, "")
			send(w, bearer(fresh.text("access_token")), nil).is(200, "") // fresh enough
		})
	}
	t.Run("an admin's PUT of themself", func(t *testing.T) {
		w := newWorld(t)
		admin := w.as("admin")
		w.clock.advance(5 * time.Minute)
		put := object{"username": "admin", "name": "A", "active": true, "password": next}
		w.do("PUT", "/users/"+w.ids["admin"], put, admin).is(403, "NOT_FRESH")
		a := w.do("PUT", "/users/"+w.ids["admin"], with(put, object{"current_password": password}), admin).is(200, "")
		w.do("GET", "/users", nil, bearer(a.text("access_token"))).is(200, "")
	})
	t.Run("change", func(t *testing.T) {
		w := newWorld(t)
		ann := w.as("ann")
		change := func(body object) *answer {
			return w.do("POST", "/password/change", with(object{"old_password": password, "new_password": next}, body), ann)
		}
		for _, field := range []string{"old_password", "new_password"} {
			assert.Contains(t, change(object{field: nil}).is(422, "WRONG_DOCUMENT_FORMAT").payload(), field)
			assert.Contains(t, change(object{field: ""}).is(422, "WRONG_DOCUMENT_FORMAT").payload(), field)
			assert.Contains(t, change(object{field: strings.Repeat("x", 1025)}).is(422, "WRONG_DOCUMENT_FORMAT").payload(), field)
		}
		assert.Contains(t, change(object{"verify_password": "another"}).is(422, "WRONG_DOCUMENT_FORMAT").payload(), "verify_password")
		assert.Contains(t, change(object{"new_password": "12345678"}).is(422, "WEAK_PASSWORD").payload(), "new_password")
		change(object{"old_password": "not the password"}).is(403, "FORBIDDEN")
		a := change(object{"verify_password": next}).is(200, "")
		assert.Subset(t, keys(a.JSON), []string{"id", "roles", "exp", "access_token", "refresh_token"})
		w.do("GET", "/auth/whoami", nil, bearer(a.text("access_token"))).is(200, "")
	})
	t.Run("many tries", func(t *testing.T) {
		w := newWorld(t, options{api: func(c *userapi.Config) {
			c.Limits = userapi.Limits{userapi.LimitPassword: {{Max: 3, Window: time.Minute, Per: userapi.PerAccount}}}
		}})
		ann := w.as("ann")
		wrong := object{"old_password": "not the password", "new_password": next}
		for range 3 {
			w.do("POST", "/password/change", wrong, ann).is(403, "FORBIDDEN")
		}
		assert.Equal(t, "60", w.do("POST", "/password/change", with(wrong, object{"old_password": password}), ann).is(429, "RATE_LIMITED").Header().Get("Retry-After"))
		w.do("POST", "/users/current/set_password", object{"password": next, "current_password": password}, ann).is(429, "RATE_LIMITED")
	})
}

func TestRow63_PasswordsOfOthers(t *testing.T) {
	w := newWorld(t)
	const next = "another fine phrase"
	admin := w.as("admin")
	a := w.do("POST", "/users/reset-password", object{"email": "ann@acme.example", "password": next}, admin).is(200, "")
	assert.NotContains(t, a.JSON, "access_token")
	assert.NotContains(t, a.JSON, "roles")
	assert.Equal(t, w.ids["ann"], a.text("id"))
	w.do("POST", "/users/reset-password", object{"email": "nobody@acme.example", "password": next}, admin).is(404, "NOT_FOUND")
	a = w.do("POST", "/users/"+w.ids["bob"]+"/set_password", object{"password": next}, w.as("service")).is(200, "")
	assert.Contains(t, a.JSON, "roles")
	assert.NotContains(t, a.JSON, "access_token")
	assert.Empty(t, a.Result().Cookies())
	bob := bearer(w.do("POST", "/auth/login", object{"email": "bob@acme.example", "password": next}).is(200, "").text("access_token"))
	known := w.do("POST", "/users/reset-password", object{"email": "ann@acme.example", "password": next}, bob).is(403, "FORBIDDEN")
	unknown := w.do("POST", "/users/reset-password", object{"email": "nobody@acme.example", "password": next}, bob).is(403, "FORBIDDEN")
	assert.Equal(t, known.Body.String(), unknown.Body.String())
	w.do("POST", "/users/"+w.ids["ann"]+"/set_password", object{"password": next}, bob).is(403, "FORBIDDEN")
}

// C11 L01: what goes in secret comes out nowhere.
func TestC11_SecretsAreNotRepeated(t *testing.T) {
	w := newWorld(t, open, sending)
	const canary = "canary-canary-canary"
	bodies := []any{
		object{"email": "ann@acme.example", "password": canary}, object{"email": canary, "password": canary}, object{"password": canary, canary + "-as-a-key-is-too-long": 1},
		`{"password":"` + canary, object{"refresh_token": canary}, object{"old_password": canary, "new_password": canary}, object{"email": "c11@x.example", "password": canary},
		object{"token": canary}, object{"token": canary, "password": canary}, object{"token": canary, "new_password": canary}, object{"phone": "+4930901820", "code": canary},
		object{"phone": canary}, object{"email": "ann@acme.example", "url_template": canary}, object{"email": "c11@x.example", "current_password": canary},
	}
	for _, rt := range w.web.Routes() {
		path := strings.NewReplacer("{id}", "current", "{sid}", "s", "{code}", "editor", "{resource}", "doc", "{rid}", "1").Replace(rt.Path)
		for _, body := range bodies {
			a := w.do(rt.Method, path, body, bearer(canary))
			assert.NotContains(t, a.Body.String(), canary, path)
			a = w.do(rt.Method, path, body, w.as("bob"))
			assert.NotContains(t, a.Body.String(), canary, path)
			if a.text("access_token") != "" { // the password was really changed: back to the one of all
				_, _, err := w.api.Passwords.Set(t.Context(), userapi.System(), w.ids["bob"], password, "")
				assert.NoError(t, err)
			}
		}
	}
	assert.NotContains(t, w.log.String(), canary)
	assert.NotContains(t, w.log.String(), password)
}

func TestC07_NoWayToSetAWeakPassword(t *testing.T) {
	w := newWorld(t, verifying)
	admin, bob := w.as("admin"), w.as("bob")
	w.register("new@acme.example", nil)
	first := string(w.message("new@acme.example", userapi.PurposeActivation).Token)
	reset := w.resetToken("ann@acme.example")
	for _, weak := range []string{"1234567", "Password1", "bob@acme.example", "          "} {
		own := weak == "bob@acme.example" // whose it is
		for _, set := range []struct {
			method, path string
			body         object
			how          set
			others       bool // of an account that is not bob's
		}{
			{"POST", "/users", object{"email": "made@acme.example", "name": "Made", "active": true, "password": weak}, admin, true},
			{"POST", "/users", object{"email": "self@acme.example", "password": weak}, func(*hr) {}, true},
			{"PUT", "/users/" + w.ids["bob"], object{"email": "bob@acme.example", "name": "Bob", "active": true, "password": weak}, admin, false},
			{"POST", "/users/" + w.ids["bob"] + "/set_password", object{"password": weak}, admin, false},
			{"POST", "/users/current/set_password", object{"password": weak, "current_password": password}, bob, false},
			{"POST", "/users/reset-password", object{"email": "bob@acme.example", "password": weak, "current_password": password}, bob, false},
			{"POST", "/password/change", object{"old_password": password, "new_password": weak}, bob, false},
			{"POST", "/password/reset/confirm", object{"token": reset, "new_password": weak}, func(*hr) {}, true},
			{"POST", "/auth/activate", object{"token": first, "password": weak}, func(*hr) {}, true},
		} {
			if own && set.others {
				continue
			}
			w.do(set.method, set.path, set.body, set.how).is(422, "WEAK_PASSWORD")
		}
	}
	w.login("bob")
	w.do("POST", "/password/reset/confirm", object{"token": reset, "new_password": another}).is(200, "")
	w.do("POST", "/auth/activate", object{"token": first, "password": another}).is(200, "")
}
