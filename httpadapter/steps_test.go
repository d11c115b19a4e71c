package httpadapter_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
)

// always is a second factor of everybody whose name is listed.
type always []string

func (f always) Required(_ context.Context, u userapi.User) (bool, error) {
	for _, name := range f {
		if strings.HasPrefix(u.Email+u.Username, name) {
			return true, nil
		}
	}
	return false, nil
}

func factorOf(names ...string) options {
	return options{api: func(c *userapi.Config) { c.SecondFactor = always(names) }}
}

func TestFlow_APasswordThatHasToBeChanged(t *testing.T) { onEveryStore(t, aPasswordThatHasToBeChanged) }

func aPasswordThatHasToBeChanged(t *testing.T, on options) {
	w := newWorld(t, on)
	admin := w.as("admin")
	before := w.as("ann")
	w.do("PATCH", "/users/"+w.ids["ann"], object{"must_change_password": true}, w.as("ann")).is(403, "FORBIDDEN")
	w.do("PATCH", "/users/"+w.ids["ann"], object{"must_change_password": true}, w.as("eve")).is(404, "NOT_FOUND")
	w.do("PATCH", "/users/"+w.ids["ann"], object{"must_change_password": true}, admin).is(200, "")
	w.do("GET", "/auth/whoami", nil, before).is(401, "TOKEN_REVOKED")

	in := w.login("ann")
	assert.Equal(t, "new_password", in.text("step"))
	assert.NotContains(t, in.JSON, "refresh_token")
	assert.Nil(t, in.JSON["must_change_password"], "a user is told as everywhere")
	assert.Equal(t, -1, in.cookie("__Host-user-api-refresh").MaxAge, "the refresh cookie of an earlier login goes")
	mine := bearer(in.text("access_token"))
	w.do("GET", "/users/current", nil, mine).is(403, "NEW_PASSWORD_REQUIRED")
	w.do("POST", "/auth/refresh", object{"refresh_token": in.text("access_token")}).is(401, "UNAUTHORIZED")
	w.do("POST", "/password/change", object{"old_password": "wrong one", "new_password": "another fine phrase"}, mine).is(403, "FORBIDDEN")
	w.do("POST", "/password/change", object{"old_password": password, "new_password": password}, mine).is(422, "WEAK_PASSWORD")
	jar := cookie("__Host-user-api-credentials", in.cookie("__Host-user-api-credentials").Value)
	w.do("POST", "/password/change", object{"old_password": password, "new_password": "another fine phrase"}, jar, crossSite).is(403, "CROSS_ORIGIN")
	done := w.do("POST", "/password/change", object{"old_password": password, "new_password": "another fine phrase"}, jar).is(200, "")
	assert.NotContains(t, done.JSON, "step")
	w.do("GET", "/users/current", nil, bearer(done.text("access_token"))).is(200, "")
	w.do("POST", "/auth/refresh", object{"refresh_token": done.text("refresh_token")}).is(200, "")
	w.do("POST", "/password/change", object{"old_password": "another fine phrase", "new_password": password}, mine).is(401, "TOKEN_REVOKED")

	w.do("POST", "/users", object{"username": "new", "name": "New", "active": true, "password": password, "must_change_password": true}, admin).is(201, "")
	assert.Equal(t, "new_password", w.do("POST", "/auth/login", object{"username": "new", "password": password}).is(200, "").text("step"))
	for _, bad := range []any{"true", 1, "yes", []bool{true}} {
		w.do("PATCH", "/users/"+w.ids["ann"], object{"must_change_password": bad}, admin).is(422, "WRONG_DOCUMENT_FORMAT")
	}
	w.do("PUT", "/users/"+w.ids["bob"], object{"email": "bob@acme.example", "name": "Bob", "active": true, "must_change_password": true}, admin).is(200, "")
	assert.Equal(t, "new_password", w.login("bob").text("step"))
}

// The token of a login that lacks a step opens no route but the one that takes the step, and no route of the host.
func TestA09_AStartedLoginOnEveryRoute(t *testing.T) {
	for _, step := range []struct {
		name, code, takes string
		how               options
	}{
		{"new_password", "NEW_PASSWORD_REQUIRED", "POST /password/change", options{}},
		{"second_factor", "SECOND_FACTOR_REQUIRED", "", factorOf("ann")},
	} {
		w := newWorld(t, everything, step.how)
		if step.name == "new_password" {
			w.do("PATCH", "/users/"+w.ids["ann"], object{"must_change_password": true}, w.as("admin")).is(200, "")
		}
		in := w.login("ann")
		require.Equal(t, step.name, in.text("step"))
		mine := bearer(in.text("access_token"))
		for _, rt := range w.web.Routes() {
			if strings.HasPrefix(rt.Guard, "public") || rt.Method+" "+rt.Path == step.takes {
				continue
			}
			path := strings.NewReplacer("{id}", w.ids["ann"], "{sid}", "none", "{code}", "editor", "{resource}", "list", "{rid}", "7").Replace(rt.Path)
			a := w.do(rt.Method, path, bodies[rt.Method+" "+rt.Path], mine)
			assert.Equal(t, 403, a.Code, "%s %s", rt.Method, rt.Path)
			assert.Equal(t, step.code, a.text("error_code"), "%s %s", rt.Method, rt.Path)
		}
		hello := new(counted)
		for _, guard := range []func(http.Handler) http.Handler{
			w.web.IsConnected, w.web.HasRoles(), w.web.HasAnyRole("admin"), w.web.RequireFresh(time.Hour),
			w.web.IsSelfOrHasAnyRole(func(*http.Request) string { return w.ids["ann"] }),
		} {
			w.send(guard(hello), "GET", "/", nil, mine).is(403, step.code)
		}
		assert.Zero(t, hello.calls)
		// What a guard for the step let in does not pass the guards inside it.
		nested := w.web.RequireStep(userapi.LoginStep(step.name))(w.web.IsConnected(hello))
		w.send(nested, "GET", "/", nil, mine).is(403, step.code)
		assert.Zero(t, hello.calls)
		// Its cookie bars nobody's way to what is public, such as a mailed link.
		jar := cookie("__Host-user-api-credentials", in.cookie("__Host-user-api-credentials").Value)
		w.do("POST", "/verification/email/confirm", object{"token": "wrong"}, jar).is(400, "INVALID_TOKEN")
	}
}

func TestRequireStep(t *testing.T) {
	w := newWorld(t, factorOf("ann"))
	var who userapi.Actor
	h := w.web.RequireStep(userapi.StepSecondFactor)(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		who = w.web.Actor(r)
		user, tokens, err := w.api.Auth.CompleteLogin(r.Context(), who, "otp", func(context.Context, userapi.User) (bool, error) {
			return r.URL.Query().Get("code") == "right", nil
		})
		if err != nil {
			w.web.WriteError(rw, r, err)
			return
		}
		w.web.WriteLogin(rw, r, user, tokens)
	}))
	in := w.login("ann")
	mine := bearer(in.text("access_token"))
	w.send(h, "POST", "/?code=wrong", nil, mine).is(400, "INVALID_CODE")
	w.send(h, "POST", "/?code=right", nil).is(401, "UNAUTHORIZED")
	hello := new(counted)
	w.send(w.web.RequireStep(userapi.StepSecondFactor)(hello), "POST", "/", nil, w.as("bob")).is(403, "FORBIDDEN")
	assert.Zero(t, hello.calls, "who lacks no step")
	jar := cookie("__Host-user-api-credentials", in.cookie("__Host-user-api-credentials").Value)
	w.send(h, "POST", "/?code=right", nil, jar, crossSite).is(403, "CROSS_ORIGIN")
	done := w.send(h, "POST", "/?code=right", nil, jar).is(200, "")
	assert.Equal(t, w.ids["ann"], who.UserID())
	claims := w.do("GET", "/auth/verify_token", nil, bearer(done.text("access_token"))).is(200, "")
	assert.Equal(t, []any{"pwd", "otp"}, claims.JSON["amr"])
	assert.NotEmpty(t, done.cookie("__Host-user-api-refresh").Value)
	w.send(h, "POST", "/?code=right", nil, mine).is(401, "TOKEN_REVOKED")
}

func TestRequireFresh(t *testing.T) {
	w := newWorld(t)
	in := w.login("ann")
	hello := new(counted)
	h := w.web.RequireFresh(5 * time.Minute)(hello)
	w.send(h, "GET", "/", nil).is(401, "UNAUTHORIZED")
	require.Equal(t, 200, w.send(h, "GET", "/", nil, bearer(in.text("access_token"))).Code)
	w.clock.advance(5*time.Minute - time.Second)
	require.Equal(t, 200, w.send(h, "GET", "/", nil, bearer(in.text("access_token"))).Code)
	w.clock.advance(time.Second)
	w.send(h, "GET", "/", nil, bearer(in.text("access_token"))).is(403, "NOT_FRESH")
	next := w.do("POST", "/auth/refresh", object{"refresh_token": in.text("refresh_token")}).is(200, "")
	w.send(h, "GET", "/", nil, bearer(next.text("access_token"))).is(403, "NOT_FRESH")
	assert.Equal(t, 2, hello.calls)
}

func TestReadObject_and_WriteJSON(t *testing.T) {
	w := newWorld(t)
	h := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var code *string
		if err := w.web.ReadObject(rw, r, map[string]**string{"code": &code}); err != nil {
			w.web.WriteError(rw, r, err)
			return
		}
		w.web.WriteJSON(rw, r, 201, map[string]*string{"got": code})
	})
	a := w.send(h, "POST", "/", object{"code": "123456"}).is(201, "")
	assert.Equal(t, "123456", a.text("got"))
	assert.Equal(t, "no-store", a.Header().Get("Cache-Control"))
	assert.Nil(t, w.send(h, "POST", "/", object{}).is(201, "").JSON["got"])
	w.send(h, "POST", "/", object{"code": 123456}).is(422, "WRONG_DOCUMENT_FORMAT")
	w.send(h, "POST", "/", object{"other": "x"}).is(422, "WRONG_DOCUMENT_FORMAT")
	w.send(h, "POST", "/", `{"code":"1","code":"2"}`).is(422, "")
	w.send(h, "POST", "/", `["code"]`).is(422, "WRONG_PAYLOAD")
	w.send(h, "POST", "/", object{"code": "x"}, noType).is(415, "")
}

// Logins that give one opaque key: in the header, in the cookie, until a logout.
func TestFlow_OpaqueLogins(t *testing.T) { onEveryStore(t, opaqueLogins) }

func opaqueLogins(t *testing.T, on options) {
	w := newWorld(t, everything, on, options{api: func(c *userapi.Config) { c.OpaqueLogins = true }})
	in := w.login("ann")
	assert.NotContains(t, in.JSON, "refresh_token")
	require.NotNil(t, in.cookie("__Host-user-api-refresh"))
	assert.Equal(t, -1, in.cookie("__Host-user-api-refresh").MaxAge, "that of an earlier login, before logins were opaque, may be somebody else's")
	assert.EqualValues(t, w.clock.now().Add(24*time.Hour).Unix(), in.JSON["exp"])
	key, jar := bearer(in.text("access_token")), cookie("__Host-user-api-credentials", in.cookie("__Host-user-api-credentials").Value)
	for _, how := range []set{key, jar} {
		assert.Equal(t, w.ids["ann"], w.do("GET", "/auth/whoami", nil, how).is(200, "").text("id"))
		assert.Equal(t, in.JSON["exp"], w.do("GET", "/users/token", nil, how).is(200, "").JSON["exp"])
	}
	w.do("PATCH", "/users/"+w.ids["ann"]+"/role", []string{"editor"}, w.as("admin")).is(200, "")
	assert.Equal(t, []any{"editor"}, w.do("GET", "/auth/verify_token", nil, key).is(200, "").JSON["roles"])
	w.do("POST", "/auth/refresh", object{"refresh_token": in.text("access_token")}).is(401, "UNAUTHORIZED")
	w.do("POST", "/auth/logout", nil, jar, crossSite).is(403, "CROSS_ORIGIN")
	w.do("POST", "/auth/logout", nil, key).is(204, "")
	w.do("GET", "/auth/whoami", nil, key).is(401, "TOKEN_REVOKED")
	w.do("GET", "/auth/whoami", nil, jar).is(401, "TOKEN_REVOKED")
	w.do("POST", "/auth/logout", nil, key).is(204, "")
}
