package httpadapter_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// onEveryStore runs a flow on a store in memory and on those that are a database.
func onEveryStore(t *testing.T, flow func(*testing.T, options)) {
	t.Run("memory", func(t *testing.T) { flow(t, options{}) })
	t.Run("sqlite", func(t *testing.T) {
		on, _ := onSQLite(t)
		flow(t, on)
	})
	t.Run("mariadb", func(t *testing.T) { flow(t, onMariaDB(t)) })
	t.Run("postgres", func(t *testing.T) { flow(t, onPostgres(t)) })
}

// The flow of knlambert/user-api's README: an admin runs the users of a customer.
func TestFlow_AnAdminRunsTheUsers(t *testing.T) { onEveryStore(t, anAdminRunsTheUsers) }

func anAdminRunsTheUsers(t *testing.T, on options) {
	w := newWorld(t, on)
	mux := http.NewServeMux()
	w.web.Mount(mux, "/api/users", w.web.Users())
	w.web.Mount(mux, "/api/roles", w.web.Roles())
	hello := new(counted)
	mux.Handle("GET /dummy", w.web.IsConnected(hello))
	mux.Handle("GET /hello", w.web.HasRoles("admin")(hello))
	do := func(method, path string, body any, how ...set) *answer {
		return w.send(mux, method, path, body, how...)
	}

	in := do("POST", "/api/users/login", object{"email": "admin", "password": password}).is(200, "")
	assert.Equal(t, "admin", in.text("username"))
	jar := cookie("__Host-user-api-credentials", in.cookie("__Host-user-api-credentials").Value)
	me := do("GET", "/api/users/token", nil, jar).is(200, "")
	assert.Equal(t, in.JSON["exp"], me.JSON["exp"])
	assert.Equal(t, me.Body.String(), do("GET", "/api/users/token/", nil, bearer(in.text("access_token"))).Body.String())

	editor := do("GET", "/api/roles/?limit=1", nil, jar).is(200, "").JSON["roles"].([]any)[0].(object)
	made := do("POST", "/api/users/", object{
		"email": "someone@acme.example", "name": "Someone", "active": true, "password": "first phrase of someone", "roles": []object{{"id": editor["id"]}},
	}, jar).is(201, "")
	assert.Equal(t, []any{editor}, made.JSON["roles"])
	do("POST", "/api/users/", object{"email": "Someone@acme.example", "name": "S", "active": true, "roles": []object{}}, jar).is(409, "CONFLICT")

	list := do("GET", "/api/users/?email=someone&name=admin&limit=20&offset=0", nil, jar).is(200, "")
	assert.Len(t, list.JSON["users"], 2) // either of the two filters
	assert.Equal(t, false, list.JSON["has_next"])
	id := "/api/users/" + made.text("id")
	put := do("PUT", id, object{"email": "someone@acme.example", "name": "Someone Else", "active": true, "roles": []object{}}, jar).is(200, "")
	assert.Equal(t, "Someone Else", put.text("name"))
	assert.Equal(t, []any{}, put.JSON["roles"])
	do("POST", "/api/users/reset-password", object{"email": "someone@acme.example", "password": "second phrase of someone"}, jar).is(200, "")
	someone := do("POST", "/api/users/login", object{"email": "someone@acme.example", "password": "second phrase of someone"}).is(200, "")

	theirs := bearer(someone.text("access_token"))
	require.Equal(t, 200, do("GET", "/dummy", nil, theirs).Code)
	do("GET", "/hello", nil, theirs).is(403, "ROLE_MISSING")
	require.Equal(t, 200, do("GET", "/hello", nil, jar).Code)
	do("GET", "/api/users/", nil, theirs).is(403, "FORBIDDEN")
	do("POST", "/api/users/logout", nil, theirs).is(200, "")
	do("GET", "/dummy", nil, theirs).is(401, "TOKEN_REVOKED")
}

// The flow of affo-user-service: people register, look after themselves, and stay logged in by refreshing.
func TestFlow_PeopleLookAfterThemselves(t *testing.T) { onEveryStore(t, peopleLookAfterThemselves) }

func peopleLookAfterThemselves(t *testing.T, on options) {
	w := newWorld(t, open, on)
	me := w.do("POST", "/users/", object{"email": "me@acme.example", "password": "first phrase of mine", "first_name": "Zoë", "phone": nil}).is(201, "")
	own := bearer(me.text("access_token"))
	assert.Equal(t, "Zoë", w.do("GET", "/users/current/", nil, own).is(200, "").text("first_name"))
	assert.Equal(t, "Łódź", w.do("PATCH", "/users/current/", object{"last_name": "Łódź"}, own).is(200, "").text("last_name"))
	claims := w.do("GET", "/auth/verify_token/", nil, own).is(200, "")
	assert.Equal(t, me.text("id"), claims.JSON["sub"])
	assert.Equal(t, "acme", claims.JSON["cid"])
	assert.Equal(t, []any{"pwd"}, claims.JSON["amr"])

	w.clock.advance(15 * time.Minute)
	w.do("GET", "/users/current", nil, own).is(401, "TOKEN_EXPIRED")
	next := w.do("POST", "/auth/refresh/", object{"refresh_token": me.text("refresh_token")}).is(200, "")
	own = bearer(next.text("access_token"))
	w.do("GET", "/users/"+me.text("id")+"/role/", nil, own).is(200, "")
	w.do("PATCH", "/users/"+me.text("id")+"/role/", []string{"admin"}, own).is(403, "FORBIDDEN")
	w.do("DELETE", "/users/"+me.text("id")+"/", nil, own).is(403, "FORBIDDEN")
	set := w.do("POST", "/users/current/set_password/", object{"password": "second phrase of mine", "current_password": "first phrase of mine"}, own).is(200, "")
	w.do("GET", "/users/current", nil, own).is(401, "TOKEN_REVOKED")
	own = bearer(set.text("access_token"))
	w.do("POST", "/auth/logout/", nil, own).is(204, "")
	w.do("GET", "/users/current", nil, own).is(401, "TOKEN_REVOKED")
	w.do("POST", "/auth/refresh", object{"refresh_token": set.text("refresh_token")}).is(401, "TOKEN_REVOKED")
	w.do("POST", "/auth/login", object{"email": "me@acme.example", "password": "second phrase of mine"}).is(200, "")
}

// Row 46: who asks who they are is told what is so now, not what the token says.
func TestWhoAmIReadsTheDatabase(t *testing.T) {
	w := newWorld(t)
	in := w.login("ann")
	ann := bearer(in.text("access_token"))
	w.do("PATCH", "/users/current", object{"name": "Anne"}, w.as("ann")).is(200, "")
	for _, path := range []string{"/auth/whoami", "/users/token", "/users/current"} {
		assert.Equal(t, "Anne", w.do("GET", path, nil, ann).is(200, "").text("name"), path)
	}
	assert.JSONEq(t, `{"keys":[]}`, w.do("GET", "/auth/jwks.json", nil).is(200, "").Body.String())
	key := newForge(t).do("GET", "/auth/jwks.json", nil).is(200, "").JSON["keys"].([]any)[0].(object)
	assert.Equal(t, object{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "k1", "x": key["x"]}, key)
}

// Row 20: a refused login leaves no trace in last_login.
func TestLastLogin(t *testing.T) {
	w := newWorld(t)
	admin, path := w.as("admin"), "/users/"+w.ids["ann"]
	w.do("POST", "/auth/login", object{"email": "ann@acme.example", "password": "wrong password"}).is(401, "")
	assert.Nil(t, w.do("GET", path, nil, admin).JSON["last_login"])
	w.clock.advance(90 * time.Second)
	w.login("ann")
	assert.Equal(t, "2026-03-01T12:01:30.000Z", w.do("GET", path, nil, admin).JSON["last_login"])
}
