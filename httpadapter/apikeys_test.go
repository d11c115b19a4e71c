package httpadapter_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/httpadapter"
)

// key makes an API key of a user of the world.
func (w *world) key(name string, scopes ...string) (id, key string) {
	w.t.Helper()
	k, secret, err := w.api.Keys.Create(context.Background(), userapi.System(), w.ids[name], userapi.NewAPIKey{Name: rand.Text(), Scopes: scopes})
	require.NoError(w.t, err)
	return k.ID, string(secret)
}

func apiKey(key string) set { return header("X-Api-Key", key) }

// orders is a host that declares scopes of its own.
var orders = options{api: func(c *userapi.Config) {
	c.Scopes, c.Grants = []string{"orders:read", "orders:write"}, map[string]int64{"apikeys": 100}
}}

func TestKeys_OnEveryStore(t *testing.T) {
	sqlite, _ := onSQLite(t)
	for name, on := range map[string]options{"memory": {}, "sqlite": sqlite, "mariadb": onMariaDB(t), "postgres": onPostgres(t)} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, on)
			ann := w.as("ann")
			a := w.do("POST", "/keys", object{"name": " Deploy ", "scopes": []string{"users:password", "userapi:read"}, "expires": "2026-03-31"}, ann).is(201, "")
			key, id := a.text("key"), a.text("id")
			a.JSON["created_at"], a.JSON["id"], a.JSON["key"], a.JSON["prefix"] = "", "", "", ""
			want := object{"id": "", "name": "Deploy", "prefix": "", "scopes": []any{"users:password", "userapi:read"}, "active": true,
				"expires": "2026-03-31T23:59:59.999Z", "created_at": "", "last_used_at": nil, "key": ""}
			assert.Equal(t, want, a.JSON)
			prefix, secret, _ := strings.Cut(key, ".")
			assert.GreaterOrEqual(t, len(prefix), 8)
			assert.GreaterOrEqual(t, len(secret), 32)
			assert.LessOrEqual(t, len(key), 96)

			for range 3 {
				w.clock.advance(time.Second)
				assert.Equal(t, w.ids["ann"], w.do("GET", "/auth/whoami", nil, apiKey(key)).is(200, "").text("id"))
			}
			list := w.do("GET", "/keys", nil, ann).is(200, "")
			one := list.JSON["keys"].([]any)[0].(object)
			assert.Equal(t, prefix, one["prefix"])
			assert.Equal(t, "2026-03-01T12:00:01.000Z", one["last_used_at"], "to within some minutes")
			same := w.do("GET", "/keys/"+id, nil, ann).is(200, "")
			assert.Equal(t, one, same.JSON)
			for _, body := range []string{list.Body.String(), same.Body.String(), w.log.String()} {
				assert.NotContains(t, body, secret, "H10 shown once")
				assert.NotContains(t, body, "hash", "H15")
			}

			w.do("PATCH", "/keys/"+id, object{"name": "Other", "scopes": []string{}}, ann).is(200, "")
			w.do("GET", "/auth/whoami", nil, apiKey(key)).is(403, "SCOPE_MISSING")
			w.do("PATCH", "/keys/"+id, object{"scopes": []string{"full"}}, ann).is(200, "")
			w.do("GET", "/auth/whoami", nil, apiKey(key)).is(200, "")
			assert.Equal(t, false, w.do("PATCH", "/keys/"+id, object{"active": false}, ann).is(200, "").JSON["active"])
			w.do("GET", "/auth/whoami", nil, apiKey(key)).is(401, "UNAUTHORIZED")
			w.do("PATCH", "/keys/"+id, object{"active": true}, ann).is(200, "")
			w.do("GET", "/auth/whoami", nil, apiKey(key)).is(200, "")
			w.do("DELETE", "/keys/"+id, nil, ann).is(204, "")
			w.do("GET", "/auth/whoami", nil, apiKey(key)).is(401, "UNAUTHORIZED")
			w.do("GET", "/keys/"+id, nil, ann).is(404, "NOT_FOUND")
			assert.Equal(t, object{"keys": []any{}}, w.do("GET", "/keys", nil, ann).is(200, "").JSON)
		})
	}
}

func TestKeys_Input(t *testing.T) {
	w := newWorld(t, orders)
	ann := w.as("ann")
	good := object{"name": "key", "scopes": []string{"orders:read", "full"}}
	for field, values := range map[string][]any{
		"name":   {nil, "", "x", " x ", strings.Repeat("x", 33), "a\x00b", 7, []string{"x"}},
		"scopes": {nil, "full", []any{7}, []any{nil}, []string{"unknown"}, []string{"full", "full"}, []string{""}, []string{"FULL"}, slices.Repeat([]string{"full"}, 33)},
		"expires": {"", "2026-03-01T12:00:00Z", "2026-02-28", "2025-01-01T00:00:00+05:00", "tomorrow", "2026-02-30", "2026-3-5", "31.12.2026", 1893456000, true,
			"9999-12-31T23:59:59-12:00"},
	} {
		for _, value := range values {
			a := w.do("POST", "/keys", with(good, object{field: value}), ann).is(422, "WRONG_DOCUMENT_FORMAT")
			assert.Contains(t, a.payload(), field, value)
		}
	}
	w.do("POST", "/keys", object{"name": "key"}, ann).is(422, "WRONG_DOCUMENT_FORMAT")
	w.do("POST", "/keys", with(good, object{"active": true}), ann).is(422, "WRONG_DOCUMENT_FORMAT")
	assert.Empty(t, w.do("GET", "/keys", nil, ann).JSON["keys"])
	for expires, want := range map[any]any{
		nil: nil, "2026-03-10": "2026-03-10T23:59:59.999Z", "2026-03-20": "2026-03-20T23:59:59.999Z", "2026-03-30": "2026-03-30T23:59:59.999Z", "2026-03-31": "2026-03-31T23:59:59.999Z",
		"2026-03-01": "2026-03-01T23:59:59.999Z", "2026-03-01T12:00:00.001Z": "2026-03-01T12:00:00.001Z", "2027-01-01T01:00:00+02:00": "2026-12-31T23:00:00.000Z",
	} {
		a := w.do("POST", "/keys", with(good, object{"name": rand.Text(), "expires": expires}), ann).is(201, "")
		assert.Equal(t, want, a.JSON["expires"], expires)
	}
	id, _ := w.key("ann", "full")
	a := w.do("PATCH", "/keys/"+id, object{"expires": "2030-01-01"}, ann).is(422, "WRONG_DOCUMENT_FORMAT")
	assert.Contains(t, a.payload(), "expires")
	for _, body := range []any{object{"active": nil}, object{"name": ""}, object{"name": "x"}, object{"scopes": nil}, object{"scopes": []string{"no"}}, object{"key": "x"}, object{"user_id": "x"}, "[]"} {
		assert.Equal(t, 422, w.do("PATCH", "/keys/"+id, body, ann).Code, body)
	}
	w.do("PATCH", "/keys/"+id, object{}, ann).is(200, "")
	w.do("GET", "/keys?x=1", nil, ann).is(422, "WRONG_ARGS")
	w.do("POST", "/keys", with(good, object{"name": "Twice"}), ann).is(201, "")
	a = w.do("POST", "/keys", with(good, object{"name": "tWICE"}), ann).is(409, "CONFLICT")
	assert.Contains(t, a.payload(), "name")
	w.do("PATCH", "/keys/"+id, object{"name": "TWICE "}, ann).is(409, "CONFLICT")
	w.do("POST", "/keys", with(good, object{"name": "Twice"}), w.as("bob")).is(201, "")
}

func TestKeys_H11_TheQuotaCountsUsableKeys(t *testing.T) {
	w := newWorld(t)
	ann := w.as("ann")
	add := func(name string, expires any) *answer {
		return w.do("POST", "/keys", object{"name": name, "scopes": []string{}, "expires": expires}, ann)
	}
	first := add("first", nil).is(201, "").text("id")
	add("second", "2026-03-02").is(201, "")
	a := add("third", nil).is(409, "QUOTA")
	assert.Equal(t, object{"allowed": []any{"2"}}, a.payload())
	w.do("PATCH", "/keys/"+first, object{"active": false}, ann).is(200, "")
	third := add("third", nil).is(201, "").text("id")
	a = w.do("PATCH", "/keys/"+first, object{"active": true}, ann).is(409, "QUOTA")
	assert.Equal(t, object{"allowed": []any{"2"}}, a.payload())
	w.do("DELETE", "/keys/"+third, nil, ann).is(204, "")
	w.do("PATCH", "/keys/"+first, object{"active": true}, ann).is(200, "")
	w.clock.advance(48 * time.Hour) // the second has expired
	ann = w.as("ann")
	add("fourth", nil).is(201, "")
	add("fifth", nil).is(409, "QUOTA")
	require.NoError(t, w.api.Grants.Set(t.Context(), userapi.System(), w.ids["ann"], "apikeys", 3, time.Time{}))
	add("fifth", nil).is(201, "")
	assert.Equal(t, object{"allowed": []any{"3"}}, add("sixth", nil).is(409, "QUOTA").payload())
}

// What is disabled or has expired takes no place among the usable keys, but it is stored and listed: there is an end to it.
func TestKeys_H11_UnusableKeysAreBoundedToo(t *testing.T) { onEveryStore(t, unusableKeysAreBoundedToo) }

func unusableKeysAreBoundedToo(t *testing.T, o options) {
	w := newWorld(t, o)
	ann := w.as("ann")
	add := func(n int) *answer {
		return w.do("POST", "/keys", object{"name": fmt.Sprint("key ", n), "scopes": []string{}}, ann)
	}
	last := ""
	for n := range 102 {
		last = add(n).is(201, "").text("id")
		w.do("PATCH", "/keys/"+last, object{"active": false}, ann).is(200, "")
	}
	add(102).is(409, "QUOTA")
	w.do("PATCH", "/keys/"+last, object{"active": true}, ann).is(200, "")
	w.do("DELETE", "/keys/"+last, nil, ann).is(204, "")
	add(102).is(201, "")
	add(103).is(409, "QUOTA")
	w.do("POST", "/keys", object{"name": "of another", "scopes": []string{}}, w.as("bob")).is(201, "")
}

func TestKeys_WhoseTheyAre(t *testing.T) {
	w := newWorld(t)
	admin, ann, bob, eve, service := w.as("admin"), w.as("ann"), w.as("bob"), w.as("eve"), w.as("service")
	robot, err := w.api.Users.Create(t.Context(), userapi.System(), userapi.NewUser{Username: "robot", Active: true, CustomerID: "acme", Roles: []userapi.RoleRef{{Code: "editor"}}})
	require.NoError(t, err)
	body := object{"name": "key", "scopes": []string{"full"}}
	a := w.do("POST", "/keys", with(body, object{"user_id": robot.ID}), admin).is(201, "")
	id, key := a.text("id"), a.text("key")
	assert.Equal(t, "robot", w.do("GET", "/auth/whoami", nil, apiKey(key)).is(200, "").text("username"), "a service account has no password")
	assert.Len(t, w.do("GET", "/keys?user_id="+robot.ID, nil, admin).is(200, "").JSON["keys"], 1)
	for who, how := range map[string]set{"ann": ann, "bob": bob, "service": service} {
		w.do("POST", "/keys", with(body, object{"user_id": robot.ID}), how).is(403, "FORBIDDEN")
		w.do("GET", "/keys?user_id="+robot.ID, nil, how).is(403, "FORBIDDEN")
		w.do("POST", "/keys", with(body, object{"user_id": w.ids[who]}), how).is(201, "")
	}
	w.do("POST", "/keys", with(body, object{"user_id": robot.ID}), eve).is(404, "NOT_FOUND")
	w.do("GET", "/keys?user_id="+robot.ID, nil, eve).is(404, "NOT_FOUND")
	w.do("GET", "/keys?user_id=", nil, admin).is(404, "NOT_FOUND")
	w.do("GET", "/keys?user_id=current", nil, admin).is(404, "NOT_FOUND")
	for _, how := range []set{ann, bob, eve, service} {
		for _, id := range []string{id, "unknown", "%2e%2e"} {
			w.do("GET", "/keys/"+id, nil, how).is(404, "NOT_FOUND")
			w.do("PATCH", "/keys/"+id, object{"active": false}, how).is(404, "NOT_FOUND")
			w.do("DELETE", "/keys/"+id, nil, how).is(404, "NOT_FOUND")
		}
	}
	w.do("GET", "/auth/whoami", nil, apiKey(key)).is(200, "")
	w.do("POST", "/keys", with(body, object{"user_id": robot.ID, "name": "KEY"}), admin).is(409, "CONFLICT")
	_, err = w.api.Users.Deactivate(t.Context(), userapi.System(), w.ids["bob"])
	require.NoError(t, err)
	w.do("POST", "/keys", with(body, object{"user_id": w.ids["bob"]}), admin).is(422, "WRONG_DOCUMENT_FORMAT")
	w.do("DELETE", "/keys/"+id, nil, admin).is(204, "")
	w.do("GET", "/auth/whoami", nil, apiKey(key)).is(401, "UNAUTHORIZED")

	// Rank: whoever may not grant a role does not touch the keys of those who hold it.
	w = newWorld(t, options{api: func(c *userapi.Config) {
		c.MayGrant = func(_ userapi.Actor, role string) bool { return role != "editor" }
	}})
	w.add("editor", userapi.NewUser{Username: "editor", CustomerID: "acme", Roles: []userapi.RoleRef{{Code: "editor"}}})
	id, _ = w.key("editor", "full")
	admin = w.as("admin")
	w.do("POST", "/keys", with(body, object{"user_id": w.ids["editor"]}), admin).is(403, "FORBIDDEN")
	w.do("GET", "/keys?user_id="+w.ids["editor"], nil, admin).is(403, "FORBIDDEN")
	w.do("PATCH", "/keys/"+id, object{"active": false}, admin).is(403, "FORBIDDEN")
	w.do("DELETE", "/keys/"+id, nil, admin).is(403, "FORBIDDEN")
}

func TestKeys_H10_OnlyTheWholeKeyHolds(t *testing.T) {
	w := newWorld(t)
	id, key := w.key("ann", "full")
	_, other := w.key("bob", "full")
	prefix, secret, _ := strings.Cut(key, ".")
	_, foreign, _ := strings.Cut(other, ".")
	ann := w.as("ann")
	for _, bad := range []string{"", "a", ".", "a.b.c", prefix, secret, prefix + ".", "." + secret, prefix + "." + foreign, prefix + "." + secret[:len(secret)-1],
		key + ".", key + "x", strings.ToLower(key), " " + key, prefix + ".." + secret, prefix + secret, strings.Repeat("A", 1<<16), key + "," + key, "Bearer " + key, id + "." + secret} {
		w.do("GET", "/auth/whoami", nil, apiKey(key)).is(200, "") // a good use makes no bad one good
		assert.Equal(t, "Bearer", w.do("GET", "/auth/whoami", nil, apiKey(bad), ann).is(401, "UNAUTHORIZED").Header().Get("WWW-Authenticate"), "and nothing else is looked at")
	}
	w.do("GET", "/auth/whoami", nil, apiKey(key), apiKey(key)).is(401, "UNAUTHORIZED")
	w.do("GET", "/auth/whoami", nil, bearer(key)).is(401, "UNAUTHORIZED")
	w.do("GET", "/auth/whoami", nil, apiKey(w.login("ann").text("access_token"))).is(401, "UNAUTHORIZED")
	// The key is who asks, whatever else is there, and no browser sends it by itself.
	a := w.do("GET", "/auth/whoami", nil, apiKey(key), w.as("bob"), w.cookieOf("bob")).is(200, "")
	assert.Equal(t, w.ids["ann"], a.text("id"))
	w.do("PATCH", "/users/current", object{"name": "X"}, apiKey(key), w.cookieOf("bob"), crossSite).is(200, "")
}

func TestKeys_EndAtOnce(t *testing.T) {
	for name, end := range map[string]func(w *world, id string){
		"expired": func(w *world, _ string) { w.clock.advance(time.Hour) },
		"disabled": func(w *world, id string) {
			w.do("PATCH", "/keys/"+id, object{"active": false}, w.as("ann")).is(200, "")
		},
		"deleted": func(w *world, id string) { w.do("DELETE", "/keys/"+id, nil, w.as("admin")).is(204, "") },
		"H09 the owner is deactivated": func(w *world, _ string) {
			w.do("DELETE", "/users/"+w.ids["ann"], nil, w.as("admin")).is(204, "")
		},
		"H09 the owner is erased": func(w *world, _ string) {
			w.do("DELETE", "/users/"+w.ids["ann"]+"?force=true", nil, w.as("admin")).is(204, "")
		},
		"B13 the owner's password is reset": func(w *world, _ string) {
			w.do("POST", "/password/reset/confirm", object{"token": w.resetToken("ann@acme.example"), "new_password": "another fine phrase"}).is(200, "")
		},
		"B13 the owner proves the mailbox for the first time": func(w *world, _ string) {
			w.do("POST", "/verification/email/confirm", object{"token": w.emailToken(w.as("ann"), "ann@acme.example")}).is(200, "")
		},
		"B13 the account is activated": func(w *world, _ string) {
			w.do("DELETE", "/users/"+w.ids["ann"], nil, w.as("admin")).is(204, "")
			require.NoError(w.t, w.api.Users.SendActivation(w.t.Context(), userapi.System(), w.ids["ann"]))
			w.do("POST", "/auth/activate", object{"token": string(w.message("ann@acme.example", userapi.PurposeActivation).Token), "password": password}).is(200, "")
			w.as("ann")
		},
		"everything is revoked": func(w *world, _ string) {
			require.NoError(w.t, w.api.Sessions.RevokeAll(w.t.Context(), userapi.System()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, sending)
			k, secret, err := w.api.Keys.Create(t.Context(), userapi.System(), w.ids["ann"], userapi.NewAPIKey{Name: "key", Scopes: []string{"full"}, ExpiresAt: w.clock.now().Add(time.Hour)})
			require.NoError(t, err)
			w.do("GET", "/auth/whoami", nil, apiKey(string(secret))).is(200, "")
			end(w, k.ID)
			w.do("GET", "/auth/whoami", nil, apiKey(string(secret))).is(401, "UNAUTHORIZED")
		})
	}
}

func TestKeys_H07_RolesAreTheOwnersOfThisMoment(t *testing.T) {
	w := newWorld(t)
	_, key := w.key("admin", "full")
	w.add("second", userapi.NewUser{Username: "second", CustomerID: "acme", Roles: []userapi.RoleRef{{Code: "admin"}}})
	second := w.as("second")
	w.do("GET", "/users", nil, apiKey(key)).is(200, "")
	w.do("PATCH", "/users/"+w.ids["admin"]+"/role", []string{"editor"}, second).is(200, "")
	w.do("GET", "/users", nil, apiKey(key)).is(403, "FORBIDDEN")
	assert.Equal(t, 200, w.send(w.web.HasRoles("editor")(new(counted)), "GET", "/", nil, apiKey(key)).Code)
	w.do("PATCH", "/users/"+w.ids["admin"]+"/role", []string{"admin"}, second).is(200, "")
	w.do("GET", "/users", nil, apiKey(key)).is(200, "")
	// By a key one may change one's own roles; nothing is issued for it.
	a := w.do("PATCH", "/users/"+w.ids["admin"]+"/role", []string{"admin", "editor"}, apiKey(key)).is(200, "")
	assert.Empty(t, a.Result().Cookies())
	w.do("GET", "/users", nil, apiKey(key)).is(200, "")
}

func TestKeys_H12_CredentialsTakeAScopeOfTheirOwn(t *testing.T) {
	changes := []struct {
		method, path string
		body         any
	}{
		{"POST", "/users/{id}/set_password", object{"password": "another fine phrase", "current_password": password}},
		{"POST", "/users/reset-password", object{"email": "{login}", "password": "another fine phrase", "current_password": password}},
		{"PATCH", "/users/{id}", object{"email": "new@acme.example", "current_password": password}},
		{"PATCH", "/users/{id}", object{"username": "new"}},
		{"PATCH", "/users/{id}", object{"phone": "+4930901820"}},
		{"POST", "/verification/phone", object{"phone": "+4930901820"}},
	}
	for _, c := range changes {
		for _, who := range []string{"admin", "ann"} {
			if who == "ann" && c.path == "/verification/phone" {
				continue
			}
			t.Run(c.method+" "+c.path+" of "+who, func(t *testing.T) {
				w := newWorld(t, sending)
				_, weak := w.key("admin", "userapi:read", "userapi:write")
				_, strong := w.key("admin", "userapi:write", "users:password")
				path := strings.Replace(c.path, "{id}", w.ids[who], 1)
				body := c.body.(object)
				if body["email"] == "{login}" {
					body = with(body, object{"email": loginName(who)})
				}
				a := w.do(c.method, path, body, apiKey(weak)).is(403, "SCOPE_MISSING")
				assert.Equal(t, object{"missing": []any{"users:password"}}, a.payload())
				a = w.do(c.method, path, body, apiKey(strong)).is(200, "")
				assert.Empty(t, a.text("access_token"))
				assert.Empty(t, a.Result().Cookies(), "a key gets no session")
				w.do("PATCH", "/users/"+w.ids[who], object{"name": "N"}, apiKey(strong)).is(200, "")
			})
		}
	}
	w := newWorld(t)
	_, weak := w.key("admin", "userapi:write")
	_, full := w.key("admin", "full")
	n := object{"email": "n@acme.example", "name": "N", "active": true}
	w.do("POST", "/users", with(n, object{"password": "another fine phrase"}), apiKey(weak)).is(403, "SCOPE_MISSING")
	w.do("POST", "/users", n, apiKey(weak)).is(201, "")
	w.do("PUT", "/users/"+w.ids["ann"], object{"email": "ann@acme.example", "name": "New", "active": true}, apiKey(weak)).is(200, "")
	// One's own password takes the present one, and no key is ever fresh.
	w.do("POST", "/users/current/set_password", object{"password": "another fine phrase"}, apiKey(full)).is(403, "NOT_FRESH")
	w.do("POST", "/password/change", object{"old_password": "wrong", "new_password": "another fine phrase"}, apiKey(full)).is(403, "FORBIDDEN")
	w.do("POST", "/password/change", object{"old_password": password, "new_password": "another fine phrase"}, apiKey(full)).is(200, "")
	w.do("GET", "/users", nil, apiKey(full)).is(200, "") // an own change leaves the keys
	// No key makes, sees or changes keys, nor ends what it has no part in.
	id, _ := w.key("ann", "full")
	for _, rt := range [][2]string{{"GET", "/keys"}, {"POST", "/keys"}, {"GET", "/keys/" + id}, {"PATCH", "/keys/" + id}, {"DELETE", "/keys/" + id}, {"POST", "/auth/logout-all"}} {
		w.do(rt[0], rt[1], object{"name": "key", "scopes": []string{}}, apiKey(full)).is(403, "FORBIDDEN")
	}
}

// Every route with every scope: the table says which one it takes, and no other but full will do.
func TestKeys_H03_EveryRouteForEveryScope(t *testing.T) {
	scopes := []string{"", "userapi:read", "userapi:write", "users:password", "full", "orders:read"}
	w := newWorld(t, everything, orders)
	keys := map[string]string{}
	for _, scope := range scopes {
		if scope == "" {
			_, keys[scope] = w.key("admin")
			continue
		}
		_, keys[scope] = w.key("admin", scope)
	}
	want := func(rt httpadapter.Route) string {
		credential := strings.Contains(rt.Path, "password") || strings.HasPrefix(rt.Path, "/verification")
		switch {
		case rt.Guard == "public" || rt.Guard == "connected by session":
			return ""
		case credential:
			return "users:password"
		case rt.Method == "GET":
			return "userapi:read"
		}
		return "userapi:write"
	}
	for _, rt := range w.web.Routes() {
		assert.Equal(t, want(rt), rt.Scope, "%s %s", rt.Method, rt.Path)
		path := strings.NewReplacer("{id}", "none", "{sid}", "none", "{code}", "none", "{resource}", "doc", "{rid}", "1").Replace(rt.Path)
		methods := []string{rt.Method}
		if rt.Method == "GET" && !strings.HasSuffix(rt.Path, "/logout") {
			methods = append(methods, "HEAD")
		}
		for _, method := range methods {
			for _, scope := range scopes {
				a := w.do(method, path, nil, apiKey(keys[scope]))
				what := method + " " + rt.Path + " with " + scope
				switch {
				case rt.Guard == "public":
					assert.Contains(t, []int{401, 403}, a.Code, what)
				case rt.Scope == "":
					assert.Equal(t, 403, a.Code, what)
				case scope == rt.Scope || scope == "full":
					assert.NotContains(t, []int{401, 403}, a.Code, what)
				default:
					assert.Equal(t, 403, a.Code, what)
					if method != "HEAD" {
						assert.Equal(t, object{"missing": []any{rt.Scope}}, a.is(403, "SCOPE_MISSING").payload(), what)
					}
				}
			}
		}
	}
}

func TestKeys_OnRoutesOfTheHost(t *testing.T) {
	w := newWorld(t, orders)
	_, none := w.key("admin")
	_, ours := w.key("admin", "userapi:read", "userapi:write", "users:password")
	_, read := w.key("admin", "orders:read")
	_, both := w.key("admin", "orders:write", "orders:read")
	_, full := w.key("admin", "full")
	_, plain := w.key("ann", "full")
	need := w.web.RequireScopes("orders:write", "orders:read")
	for _, c := range []struct {
		what    string
		guard   func(http.Handler) http.Handler
		key     string
		missing []any // nil = let in
	}{
		{"connected, no scope", w.web.IsConnected, none, []any{"orders:read", "orders:write", "full"}},
		{"connected, our scopes", w.web.IsConnected, ours, []any{"orders:read", "orders:write", "full"}},
		{"roles, our scopes", w.web.HasRoles("admin"), ours, []any{"orders:read", "orders:write", "full"}},
		{"any role, our scopes", w.web.HasAnyRole("admin"), ours, []any{"orders:read", "orders:write", "full"}},
		{"self, our scopes", w.web.IsSelfOrHasAnyRole(func(*hr) string { return "current" }), ours, []any{"orders:read", "orders:write", "full"}},
		{"no scopes required, our scopes", w.web.RequireScopes(), ours, []any{"orders:read", "orders:write", "full"}},
		{"connected, one of the host's", w.web.IsConnected, read, nil},
		{"connected, full", w.web.IsConnected, full, nil},
		{"roles, one of the host's", w.web.HasRoles("admin"), read, nil},
		{"scopes, none", need, none, []any{"orders:write", "orders:read"}},
		{"scopes, one", need, read, []any{"orders:write"}},
		{"scopes, both", need, both, nil},
		{"scopes, full", need, full, nil},
		{"a scope of ours", w.web.RequireScopes("userapi:read"), ours, nil},
		{"nested", func(h http.Handler) http.Handler { return w.web.IsConnected(need(h)) }, both, nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			h := new(counted)
			a := w.send(c.guard(h), "POST", "/", nil, apiKey(c.key))
			if c.missing == nil {
				require.Equal(t, 200, a.Code)
				assert.Equal(t, counted{1, w.ids["admin"]}, *h)
				return
			}
			assert.Equal(t, object{"missing": c.missing}, a.is(403, "SCOPE_MISSING").payload())
			assert.Zero(t, h.calls)
		})
	}
	w.send(w.web.HasRoles("admin")(new(counted)), "GET", "/", nil, apiKey(plain)).is(403, "ROLE_MISSING") // scopes are no roles
	assert.Equal(t, 200, w.send(need(new(counted)), "GET", "/", nil, w.as("ann")).Code, "whoever is logged in needs no scope")
	w.send(need(new(counted)), "GET", "/", nil).is(401, "UNAUTHORIZED")
	w.send(need(new(counted)), "POST", "/", nil, w.cookieOf("ann"), crossSite).is(403, "CROSS_ORIGIN")
	var id *userapi.Identity
	w.send(need(http.HandlerFunc(func(_ http.ResponseWriter, r *hr) { id = userapi.IdentityFrom(r.Context()) })), "GET", "/", nil, apiKey(both))
	assert.NotEmpty(t, id.KeyID())
	assert.Equal(t, []string{"orders:write", "orders:read"}, id.Scopes())
	assert.False(t, id.HasScope("userapi:read"))
	assert.True(t, id.HasScope("orders:read"))
}

func TestKeys_AsAToken(t *testing.T) {
	w := newWorld(t)
	id, key := w.key("ann", "userapi:read")
	a := w.do("GET", "/auth/verify_token", nil, apiKey(key)).is(200, "")
	assert.Equal(t, object{
		"iss": "userapi", "sub": w.ids["ann"], "key_id": id, "scopes": []any{"userapi:read"}, "cid": "acme", "roles": []any{}, "amr": []any{},
		"ep": a.JSON["ep"], "iat": float64(w.clock.now().Unix()),
	}, a.JSON)
	assert.NotContains(t, w.do("GET", "/users/token", nil, apiKey(key)).is(200, "").JSON, "exp")
	_, secret, err := w.api.Keys.Create(t.Context(), userapi.System(), w.ids["ann"], userapi.NewAPIKey{Name: "ends", Scopes: []string{"full"}, ExpiresAt: w.clock.now().Add(time.Hour)})
	require.NoError(t, err)
	for _, path := range []string{"/auth/verify_token", "/users/token"} {
		assert.EqualValues(t, w.clock.now().Add(time.Hour).Unix(), w.do("GET", path, nil, apiKey(string(secret))).is(200, "").JSON["exp"], path)
	}
}

func TestKeys_WrongOnesCountByAddress(t *testing.T) {
	w := newWorld(t, options{api: func(c *userapi.Config) {
		c.Limits = userapi.Limits{userapi.LimitKey: {{Max: 3, Window: time.Minute, Per: userapi.PerAddress}}}
	}})
	id, key := w.key("ann", "full")
	_, good := w.key("bob", "full")
	w.do("GET", "/auth/whoami", nil, apiKey(key)).is(200, "")
	w.do("DELETE", "/keys/"+id, nil, w.as("ann")).is(204, "")
	for range 3 {
		w.do("GET", "/auth/whoami", nil, apiKey("junk")).is(401, "UNAUTHORIZED") // never looked up, so never counted
		w.do("GET", "/auth/whoami", nil, apiKey(key)).is(401, "UNAUTHORIZED")
	}
	assert.Equal(t, "60", w.do("GET", "/auth/whoami", nil, apiKey(key)).is(429, "RATE_LIMITED").Header().Get("Retry-After"))
	w.do("GET", "/auth/whoami", nil, apiKey(good)).is(200, "")
}
