package httpadapter_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
)

// odd is a user whose name is an attack on patterns, SQL, spreadsheets and pages.
var odd = userapi.NewUser{Email: "odd@acme.example", Name: `=cmd() %_\ ' or 1=1 -- <script>`, CustomerID: "acme"}

var open = options{api: func(c *userapi.Config) {
	c.Registration = userapi.Registration{Policy: userapi.RegistrationOpen, Customer: "acme", Roles: []string{"editor"}}
}}

func keys(o object) (out []string) {
	for k := range o {
		out = append(out, k)
	}
	return out
}

func TestH15_WhatAUserShows(t *testing.T) {
	w := newWorld(t)
	admin := w.as("admin")
	least := []string{"id", "username", "name", "active", "email_verified", "phone_verified", "customer", "last_login", "created_at", "updated_at", "roles"}
	a := w.do("GET", "/users/"+w.ids["service"], nil, admin).is(200, "")
	assert.ElementsMatch(t, least, keys(a.JSON))
	assert.Nil(t, a.JSON["last_login"])
	assert.Equal(t, object{"id": "acme"}, a.JSON["customer"])
	assert.Equal(t, "2026-03-01T12:00:00.000Z", a.JSON["created_at"])

	full := w.do("POST", "/users", object{
		"email": "Full@Acme.example", "username": "full", "phone": "+49 30 901820", "name": "Full", "first_name": "F", "last_name": "L",
		"password": password, "active": true, "roles": []object{{"code": "editor"}},
	}, admin).is(201, "")
	assert.Equal(t, object{
		"id": full.text("id"), "email": "Full@Acme.example", "username": "full", "phone": "+4930901820", "name": "Full", "first_name": "F", "last_name": "L",
		"active": true, "email_verified": false, "phone_verified": false, "customer": object{"id": "acme"}, "last_login": nil,
		"created_at": "2026-03-01T12:00:00.000Z", "updated_at": "2026-03-01T12:00:00.000Z", "roles": []any{object{"id": "7", "code": "editor", "name": "Editor"}},
	}, full.JSON)

	in := w.login("ann")
	assert.ElementsMatch(t, append([]string{"email", "exp", "access_token", "refresh_token"}, without(least, "username")...), keys(in.JSON))
	assert.Equal(t, "2026-03-01T12:00:00.000Z", in.JSON["last_login"])
	ann := bearer(in.text("access_token"))
	assert.ElementsMatch(t, append([]string{"email", "exp"}, without(least, "username")...), keys(w.do("GET", "/users/token", nil, ann).JSON))
	assert.ElementsMatch(t, append([]string{"email"}, without(least, "username")...), keys(w.do("GET", "/auth/whoami", nil, ann).JSON))
	assert.ElementsMatch(t, []string{"iss", "sub", "sid", "cid", "roles", "ep", "amr", "auth_time", "iat", "exp"}, keys(w.do("GET", "/auth/verify_token", nil, ann).JSON))
	list := w.do("GET", "/users?email=ann", nil, admin).JSON["users"].([]any)
	assert.ElementsMatch(t, append([]string{"email"}, without(least, "username", "roles")...), keys(list[0].(object)))
	sessions := w.do("GET", "/users/current/sessions", nil, ann).JSON["sessions"].([]any)
	assert.ElementsMatch(t, []string{"id", "created_at", "last_seen_at", "address", "user_agent", "current"}, keys(sessions[0].(object)))
	assert.Equal(t, "192.0.2.1", sessions[0].(object)["address"])
	assert.Equal(t, true, sessions[0].(object)["current"])
}

func without(all []string, some ...string) (out []string) {
	for _, s := range all {
		keep := true
		for _, x := range some {
			keep = keep && s != x
		}
		if keep {
			out = append(out, s)
		}
	}
	return out
}

func TestCreateUser(t *testing.T) {
	w := newWorld(t)
	admin := w.as("admin")
	post := func(change object) *answer {
		return w.do("POST", "/users/", with(object{"email": "new@acme.example", "name": "New", "active": true}, change), admin)
	}
	for field, change := range map[string]object{
		"name": {"name": nil}, "active": {"active": nil}, "email": {"email": nil},
		"username": {"username": "a@b"}, "phone": {"phone": "12"},
	} {
		a := post(change)
		require.Equal(t, 422, a.Code)
		assert.Contains(t, a.payload(), field)
	}
	post(object{"email": nil, "phone": "+4930901820"}).is(201, "")
	post(object{"email": nil, "username": "newname"}).is(201, "")
	t.Run("an e-mail address without an @ is a username", func(t *testing.T) {
		a := post(object{"email": "clerk", "password": password}).is(201, "")
		assert.Equal(t, "clerk", a.text("username"))
		assert.NotContains(t, a.JSON, "email")
		w.do("POST", "/users/login", object{"email": "clerk", "password": password}).is(200, "")
		assert.Contains(t, post(object{"email": "clerk2", "username": "other"}).is(422, "WRONG_DOCUMENT_FORMAT").payload(), "email")
		post(object{"email": "clerk"}).is(409, "CONFLICT")
	})
	t.Run("row 6 an unknown role saves nothing", func(t *testing.T) {
		for _, ref := range []object{{"id": 999}, {"code": "nobody"}, {"id": "x' or '1'='1"}, {"id": "7", "code": "admin"}, {"id": "admin", "code": "nobody"}} {
			assert.Contains(t, post(object{"email": "row6@acme.example", "roles": []object{ref}}).is(422, "WRONG_DOCUMENT_FORMAT").payload(), "roles")
		}
		_, err := w.api.Users.ByEmail(context.Background(), userapi.System(), "row6@acme.example")
		assert.ErrorIs(t, err, userapi.ErrNotFound)
	})
	t.Run("G05 nothing else is settable", func(t *testing.T) {
		for _, field := range []string{"id", "customer", "customer_id", "tenant_id", "email_verified", "phone_verified", "password_hash", "hash", "created_at", "is_admin", "epoch", "version", "last_login", "permissions"} {
			a := post(object{"email": "g05@acme.example", field: "rival"}).is(422, "WRONG_DOCUMENT_FORMAT")
			assert.Equal(t, object{field: []any{"unknown field"}}, a.payload())
			w.do("PATCH", "/users/current", object{field: "x"}, admin).is(422, "WRONG_DOCUMENT_FORMAT")
			if put := w.do("PUT", "/users/"+w.ids["ann"], object{"email": "ann@acme.example", "name": "A", "active": true, field: "x"}, admin); field != "id" {
				put.is(422, "WRONG_DOCUMENT_FORMAT")
			} else {
				assert.Equal(t, w.ids["ann"], put.is(200, "").JSON["id"], "G14: the path says who")
			}
		}
		w.do("PATCH", "/users/current", object{"roles": []object{{"code": "admin"}}}, w.as("ann")).is(422, "WRONG_DOCUMENT_FORMAT")
		w.do("PATCH", "/users/current", object{"password": "x"}, w.as("ann")).is(422, "WRONG_DOCUMENT_FORMAT")
		w.do("PATCH", "/users/current", object{"active": false}, w.as("ann")).is(403, "FORBIDDEN")
		w.do("PATCH", "/users/"+w.ids["ann"], object{"active": false}, w.as("service")).is(403, "FORBIDDEN")
	})
}

func TestRegistration(t *testing.T) {
	body := object{"email": "me@acme.example", "password": password, "name": "Me"}
	t.Run("closed: 401 whatever is sent", func(t *testing.T) {
		w := newWorld(t)
		for _, b := range []any{body, "{", nil, object{"x": 1}} {
			w.do("POST", "/users", b).is(401, "UNAUTHORIZED")
		}
	})
	t.Run("open: logged in", func(t *testing.T) {
		w := newWorld(t, open)
		a := w.do("POST", "/users", body).is(201, "")
		assert.Equal(t, []any{object{"id": "7", "code": "editor", "name": "Editor"}}, a.JSON["roles"])
		assert.Equal(t, object{"id": "acme"}, a.JSON["customer"])
		w.do("GET", "/users/current", nil, bearer(a.text("access_token"))).is(200, "")
		w.do("POST", "/users", with(body, object{"email": "ME@ACME.example"})).is(409, "CONFLICT")
	})
	t.Run("G05 H04 C05 refused, and nothing is saved", func(t *testing.T) {
		w := newWorld(t, open)
		for _, change := range []object{
			{"roles": []object{{"code": "admin"}}}, {"roles": []any{}}, {"active": true}, {"customer": "rival"}, {"id": "x"}, {"email_verified": true},
			{"password": nil}, {"password": ""}, {"password": "   "}, {"password": "\u00a0\u00a0\u00a0\u00a0\u00a0\u00a0\u00a0\u00a0\u00a0"}, {"password": 1}, {"email": nil}, {"email": "me"},
		} {
			w.do("POST", "/users", with(body, change)).is(422, "")
		}
		w.do("POST", "/users", `{"email":"me@acme.example","password":null}`).is(422, "WRONG_DOCUMENT_FORMAT")
		_, err := w.api.Users.ByEmail(context.Background(), userapi.System(), "me@acme.example")
		assert.ErrorIs(t, err, userapi.ErrNotFound)
	})
	t.Run("a credential is never passed over", func(t *testing.T) {
		w := newWorld(t, open)
		w.do("POST", "/users", body, bearer("x")).is(401, "UNAUTHORIZED")
		w.do("POST", "/users", body, header("X-Api-Key", "k.s")).is(401, "UNAUTHORIZED")
		w.do("POST", "/users", body, w.as("ann")).is(403, "FORBIDDEN")
		w.do("POST", "/users", body, w.as("service")).is(403, "FORBIDDEN")
		w.do("POST", "/users", body, w.as("admin")).is(422, "WRONG_DOCUMENT_FORMAT") // the admin's own form
	})
	t.Run("H02 the tenant is not the caller's to say", func(t *testing.T) {
		w := newWorld(t, open)
		a := w.do("POST", "/users?customer=rival", body, header("X-Tenant", "rival"), header("X-Customer-Id", "rival"), func(r *hr) { r.Host = "rival.example.com" })
		assert.Equal(t, object{"id": "acme"}, a.is(201, "").JSON["customer"])
	})
}

func TestChangeUser(t *testing.T) {
	w := newWorld(t)
	admin := w.as("admin")
	path := "/users/" + w.ids["ann"]
	put := object{"email": "ann@acme.example", "name": "Ann", "active": true}

	t.Run("row 15 PUT: absent, none, set", func(t *testing.T) {
		roles := func(a *answer) any { return a.is(200, "").JSON["roles"] }
		editor := []any{object{"id": "7", "code": "editor", "name": "Editor"}}
		assert.Equal(t, editor, roles(w.do("PUT", path, with(put, object{"roles": []object{{"id": 7}, {"code": "editor"}}}), admin)))
		assert.Equal(t, editor, roles(w.do("PUT", path, put, admin)))
		assert.Equal(t, editor, roles(w.do("PUT", path, with(put, object{"roles": editor}), admin)), "as they were answered")
		assert.Equal(t, []any{}, roles(w.do("PUT", path, with(put, object{"roles": []object{}}), admin)))
		for _, field := range []string{"name", "active", "email"} {
			assert.Contains(t, w.do("PUT", path, with(put, object{field: nil}), admin).is(422, "WRONG_DOCUMENT_FORMAT").payload(), field)
		}
		w.do("PUT", path, `{"email":null,"name":"Ann","active":true}`, admin).is(422, "WRONG_DOCUMENT_FORMAT")
		assert.Equal(t, "+4930901820", w.do("PUT", path, with(put, object{"phone": "+4930901820"}), admin).is(200, "").text("phone"))
		assert.Equal(t, "+4930901820", w.do("PUT", path, put, admin).is(200, "").text("phone"))
		w.do("PUT", "/users/current", put, admin).is(404, "NOT_FOUND")
		w.do("PUT", path, put, w.as("ann")).is(403, "FORBIDDEN")
	})
	t.Run("row 15 a conflict changes nothing", func(t *testing.T) {
		w.do("PUT", path, object{"email": "bob@acme.example", "name": "X", "active": true, "roles": []object{{"code": "editor"}}, "password": "another fine phrase"}, admin).is(409, "CONFLICT")
		a := w.do("GET", path, nil, admin)
		assert.Equal(t, "Ann", a.text("name"))
		assert.Equal(t, []any{}, a.JSON["roles"])
		w.login("ann")
	})
	t.Run("row 16 PATCH: only what is given, null clears", func(t *testing.T) {
		a := w.do("PATCH", "/users/current", object{"first_name": "Null", "last_name": "None"}, w.as("ann")).is(200, "")
		assert.Equal(t, "Null", a.text("first_name"))
		assert.Equal(t, "Ann", a.text("name"))
		assert.Nil(t, a.JSON["access_token"])
		a = w.do("PATCH", path, `{"phone":null,"first_name":null}`, w.as("ann")).is(200, "")
		assert.NotContains(t, a.JSON, "phone")
		assert.NotContains(t, a.JSON, "first_name")
		w.do("PATCH", path, `{"email":null}`, admin).is(422, "WRONG_DOCUMENT_FORMAT") // the last identifier
		w.do("PATCH", path, `{"active":null}`, admin).is(422, "WRONG_DOCUMENT_FORMAT")
		w.do("PATCH", path, object{}, w.as("ann")).is(200, "")
	})
	t.Run("own e-mail: proved, answered as a login", func(t *testing.T) {
		old := w.as("ann")
		w.clock.advance(5 * 60e9)
		w.do("PATCH", "/users/current", object{"email": "ann2@acme.example"}, old).is(403, "NOT_FRESH")
		w.do("PATCH", "/users/current", object{"email": "ann2@acme.example", "current_password": "wrong one"}, old).is(403, "FORBIDDEN")
		a := w.do("PATCH", "/users/current", object{"email": "ann2@acme.example", "current_password": password}, old).is(200, "")
		assert.Subset(t, keys(a.JSON), []string{"email", "roles", "exp", "access_token", "refresh_token"})
		assert.Len(t, a.Result().Cookies(), 2)
		w.do("GET", "/auth/whoami", nil, old).is(401, "TOKEN_REVOKED")
		w.do("GET", "/auth/whoami", nil, bearer(a.text("access_token"))).is(200, "")
	})
	t.Run("rows 14 and 55 the role routes", func(t *testing.T) {
		path, editor := "/users/"+w.ids["bob"]+"/role", []any{object{"id": "7", "code": "editor", "name": "Editor"}}
		list := func(a *answer) string { return strings.TrimSpace(a.is(200, "").Body.String()) }
		const want = `[{"id":"7","code":"editor","name":"Editor"}]`
		admin := w.as("admin")
		for _, set := range []any{[]string{"editor"}, []object{{"id": 7}}, []object{{"id": "7"}}, []any{object{"code": "editor"}, "editor"}} {
			assert.Equal(t, want, list(w.do("PATCH", path, set, admin)))
		}
		assert.Equal(t, want, list(w.do("GET", path, nil, w.as("bob"))))
		assert.Equal(t, want, list(w.do("GET", "/users/current/role/", nil, w.as("bob"))))
		assert.Equal(t, want, list(w.do("GET", path, nil, w.as("service"))))
		assert.Equal(t, editor, w.login("bob").JSON["roles"])
		for _, set := range []any{[]string{"nobody"}, []string{"a,b"}, []string{""}, []any{1}, []any{[]string{}}, []any{nil}} {
			assert.Contains(t, w.do("PATCH", path, set, admin).is(422, "WRONG_DOCUMENT_FORMAT").payload(), "roles")
		}
		for _, set := range []any{object{"roles": []string{}}, "null", `"admin"`, ""} {
			w.do("PATCH", path, set, admin).is(422, "WRONG_PAYLOAD")
		}
		assert.Equal(t, want, list(w.do("GET", path, nil, admin)))
		bob := w.as("bob")
		assert.Equal(t, "[]", list(w.do("PATCH", path, []string{}, admin)))
		w.do("GET", path, nil, bob).is(401, "TOKEN_REVOKED") // row 56: at once
		w.do("PATCH", "/users/current/role", []string{"admin"}, w.as("bob")).is(403, "FORBIDDEN")
	})
}

func TestH01_ForeignObjectsAreNotThere(t *testing.T) {
	w := newWorld(t)
	eve, admin := w.as("eve"), w.as("admin")
	w.login("ann")
	before := w.do("GET", "/users/"+w.ids["ann"], nil, admin).Body.String()
	session := w.do("GET", "/users/"+w.ids["ann"]+"/sessions", nil, admin).JSON["sessions"].([]any)[0].(object)["id"].(string)
	nobody := w.do("GET", "/users/nobody", nil, eve).is(404, "NOT_FOUND").Body.String()
	id := "/users/" + w.ids["ann"]
	for _, c := range []struct {
		method, path string
		body         any
	}{
		{"GET", id, nil}, {"PUT", id, object{"email": "x@acme.example", "name": "X", "active": false}}, {"PATCH", id, object{"name": "X"}}, {"DELETE", id, nil}, {"DELETE", id + "?force=true", nil},
		{"GET", id + "/role", nil}, {"PATCH", id + "/role", []string{"admin"}}, {"POST", id + "/set_password", object{"password": "another fine phrase"}},
		{"GET", id + "/sessions", nil}, {"DELETE", id + "/sessions", nil}, {"DELETE", id + "/sessions/" + session, nil},
		{"POST", "/users/reset-password", object{"email": "ann@acme.example", "password": "another fine phrase"}},
		{"DELETE", "/users/" + w.ids["eve"] + "/sessions/" + session, nil},
	} {
		a := w.do(c.method, c.path, c.body, eve).is(404, "NOT_FOUND")
		assert.Equal(t, nobody, a.Body.String(), c.path) // E08: as if there were none
	}
	assert.Equal(t, before, w.do("GET", id, nil, admin).Body.String())
	w.login("ann")
}

func TestH04_H05_RankHolds(t *testing.T) {
	w := newWorld(t)
	w.add("service2", userapi.NewUser{Username: "service2", CustomerID: "acme", Roles: []userapi.RoleRef{{Code: "service"}}})
	service := w.as("service")
	for _, target := range []string{"admin", "service2"} {
		id := "/users/" + w.ids[target]
		w.do("GET", id, nil, service).is(403, "FORBIDDEN")
		w.do("GET", id+"/role", nil, service).is(403, "FORBIDDEN")
		w.do("PATCH", id, object{"name": "X"}, service).is(403, "FORBIDDEN")
		w.do("POST", id+"/set_password", object{"password": "another fine phrase"}, service).is(403, "FORBIDDEN")
	}
	ann := "/users/" + w.ids["ann"]
	w.do("GET", ann, nil, service).is(200, "")
	w.do("PATCH", ann, object{"name": "Anne"}, service).is(200, "")
	w.do("PATCH", ann+"/role", []string{"editor"}, service).is(403, "FORBIDDEN")
	w.do("PUT", ann, object{"email": "a@acme.example", "name": "A", "active": true}, service).is(403, "FORBIDDEN")
	w.do("DELETE", ann, nil, service).is(403, "FORBIDDEN")
	w.do("GET", ann+"/sessions", nil, service).is(403, "FORBIDDEN")
	w.do("POST", "/users/reset-password", object{"email": "ann@acme.example", "password": "another fine phrase"}, service).is(403, "FORBIDDEN")
	w.do("GET", "/users", nil, service).is(403, "FORBIDDEN")
}

func TestH06_TheLastAdminStays(t *testing.T) {
	w := newWorld(t)
	admin, id := w.as("admin"), "/users/"+w.ids["admin"]
	w.do("DELETE", id, nil, admin).is(409, "LAST_ADMIN")
	w.do("DELETE", id+"?force=true", nil, admin).is(409, "LAST_ADMIN")
	w.do("PATCH", id+"/role", []string{}, admin).is(409, "LAST_ADMIN")
	w.do("PATCH", "/users/current", object{"active": false}, admin).is(409, "LAST_ADMIN")
	w.do("PUT", id, object{"username": "admin", "name": "A", "active": true, "roles": []object{}}, admin).is(409, "LAST_ADMIN")
	w.do("GET", id, nil, admin).is(200, "")
}

func TestH07_RolesEndAtOnce(t *testing.T) {
	w := newWorld(t)
	w.add("second", userapi.NewUser{Username: "second", CustomerID: "acme", Roles: []userapi.RoleRef{{Code: "admin"}}})
	in := w.login("second")
	second := bearer(in.text("access_token"))
	w.do("GET", "/users", nil, second).is(200, "")
	w.do("PATCH", "/users/"+w.ids["second"]+"/role", []string{}, w.as("admin")).is(200, "")
	w.do("GET", "/users", nil, second).is(401, "TOKEN_REVOKED")
	again := w.do("POST", "/auth/refresh", object{"refresh_token": in.text("refresh_token")}).is(200, "") // B08
	w.do("GET", "/users", nil, bearer(again.text("access_token"))).is(403, "FORBIDDEN")

	t.Run("who changes the own roles goes on with new tokens", func(t *testing.T) {
		w.add("third", userapi.NewUser{Username: "third", CustomerID: "acme", Roles: []userapi.RoleRef{{Code: "admin"}}})
		a := w.do("PUT", "/users/"+w.ids["third"], object{"username": "third", "name": "T", "active": true, "roles": []object{{"code": "admin"}, {"code": "editor"}}}, w.as("third")).is(200, "")
		w.do("GET", "/users", nil, bearer(a.text("access_token"))).is(200, "")
		a = w.do("PATCH", "/users/"+w.ids["third"]+"/role", []string{"admin"}, bearer(a.text("access_token"))).is(200, "")
		assert.Len(t, a.Result().Cookies(), 1, "the refresh token goes on")
		w.do("GET", "/users", nil, cookie("__Host-user-api-credentials", a.cookie("__Host-user-api-credentials").Value)).is(200, "")
	})
}

func TestIdentifiers(t *testing.T) {
	w := newWorld(t)
	admin := w.as("admin")
	post := func(change object) *answer {
		return w.do("POST", "/users", with(object{"name": "N", "active": true, "password": password}, change), admin)
	}
	login := func(identifier string) *answer {
		return w.do("POST", "/auth/login", object{"email": identifier, "password": password})
	}
	t.Run("F01 one account whatever the case", func(t *testing.T) {
		a := post(object{"email": " F01@X.Example "}).is(201, "")
		assert.Equal(t, "F01@X.Example", a.text("email"))
		post(object{"email": "f01@x.example"}).is(409, "CONFLICT")
		assert.Equal(t, a.text("id"), login(" f01@x.EXAMPLE").is(200, "").text("id"))
	})
	t.Run("F02 look-alikes are others, compatible forms the same", func(t *testing.T) {
		post(object{"email": "m\u0131ke@x.example"}).is(422, "WRONG_DOCUMENT_FORMAT")
		post(object{"email": "mike\uff20x.example"}).is(422, "WRONG_DOCUMENT_FORMAT") // no @ of ours, so a username with an @ behind NFKC
		post(object{"email": "m@b\u00fccher.example"}).is(201, "")
		post(object{"email": "M@xn--bcher-kva.example"}).is(409, "CONFLICT")
		post(object{"username": "Kelvin"}).is(201, "")
		post(object{"username": "\u212aelvin"}).is(409, "CONFLICT")
		post(object{"username": "\uff2belvin"}).is(409, "CONFLICT")
		post(object{"username": "\u041aelvin"}).is(201, "")
	})
	t.Run("F04 F10 control characters", func(t *testing.T) {
		for _, bad := range []string{"a\r\nBcc: x", "a\x00b", "a\nb", "a\x7f"} {
			for _, field := range []string{"name", "first_name", "last_name", "username"} {
				assert.Contains(t, post(object{"email": "f04@x.example", field: bad}).is(422, "WRONG_DOCUMENT_FORMAT").payload(), field)
			}
			post(object{"email": bad + "@x.example"}).is(422, "WRONG_DOCUMENT_FORMAT")
		}
		for _, bad := range []string{"a,b@x.example", "a b@x.example", "<a@x.example>", "A <a@x.example>", "a@x.example,b@x.example", "a@@x.example"} {
			post(object{"email": bad}).is(422, "WRONG_DOCUMENT_FORMAT")
		}
		a := post(object{"email": "f10@x.example", "name": `<script>"=cmd()|' \u202e`}).is(201, "")
		assert.NotContains(t, a.Body.String(), "<script>")
		assert.Equal(t, `<script>"=cmd()|' \u202e`, a.text("name"))
		post(object{"email": "f10b@x.example", "name": strings.Repeat("x", 256)}).is(422, "WRONG_DOCUMENT_FORMAT")
		post(object{"email": "f10b@x.example", "name": strings.Repeat("é", 255)}).is(201, "")
	})
	t.Run("F05 bounds of an address", func(t *testing.T) {
		for _, bad := range []string{strings.Repeat("a", 65) + "@x.example", "a@" + strings.Repeat("b.", 130) + "example", "a@[127.0.0.1]", "a@127.0.0.1", "a@x.example."} {
			post(object{"email": bad}).is(422, "WRONG_DOCUMENT_FORMAT")
		}
		one, two := post(object{"email": "f05+a@x.example"}).is(201, ""), post(object{"email": "f05+b@x.example"}).is(201, "")
		assert.NotEqual(t, one.text("id"), two.text("id"))
	})
	t.Run("F07 F08 phones", func(t *testing.T) {
		for _, spelling := range []string{"+49 (30) 901820", "+49-30-901820", "+4930901820"} {
			a := w.do("PATCH", "/users/"+w.ids["bob"], object{"phone": spelling}, admin).is(200, "")
			assert.Equal(t, "+4930901820", a.text("phone"))
		}
		for _, bad := range []string{"030 901820", "+49", "+1234567890123456", "+49 30 CALLME", "+4930901820;ext=1", "+4930901820 ext 5", "1", "+"} {
			w.do("PATCH", "/users/"+w.ids["bob"], object{"phone": bad}, admin).is(422, "INVALID_PHONE")
		}
		w.do("PATCH", "/users/"+w.ids["ann"], object{"phone": "+4930901820"}, admin).is(200, "") // unproven: blocks nobody
		login("+4930901820").is(401, "UNAUTHORIZED")
		yes := true
		_, _, err := w.api.Users.Change(context.Background(), userapi.System(), w.ids["bob"], userapi.UserChange{PhoneVerified: &yes})
		require.NoError(t, err)
		assert.Equal(t, w.ids["bob"], login("+49 30 901820").is(200, "").text("id"))
	})
	t.Run("F09 row 17 the name spaces are disjoint", func(t *testing.T) {
		for _, bad := range []string{"ann@acme.example", "+4930901820", ""} {
			post(object{"username": bad}).is(422, "WRONG_DOCUMENT_FORMAT")
		}
		post(object{"username": w.ids["ann"]}).is(201, "")
		a := login(w.ids["ann"]).is(200, "")
		assert.NotEqual(t, w.ids["ann"], a.text("id"))
		post(object{"email": "1"}).is(201, "")
		assert.Equal(t, "1", login("1").is(200, "").text("username"))
	})
}

func TestH08_RoleDefinitions(t *testing.T) {
	w := newWorld(t)
	admin := w.as("admin")
	a := w.do("GET", "/roles", nil, admin).is(200, "")
	assert.Equal(t, object{"has_next": false, "roles": []any{
		object{"id": "7", "code": "editor", "name": "Editor"}, object{"id": "admin", "code": "admin", "name": "Admin"}, object{"id": "service", "code": "service", "name": "Service"},
	}}, a.JSON)
	a = w.do("GET", "/roles/?limit=1&offset=1", nil, admin).is(200, "")
	assert.Equal(t, object{"has_next": true, "roles": []any{object{"id": "admin", "code": "admin", "name": "Admin"}}}, a.JSON)
	w.do("POST", "/roles", object{"code": "x", "name": "X"}, admin).is(405, "METHOD_NOT_ALLOWED") // not opted in
	w.do("DELETE", "/roles/editor", nil, admin).is(404, "NOT_FOUND")

	w = newWorld(t, editRolesOn)
	admin = w.as("admin")
	a = w.do("POST", "/roles", object{"code": "author", "name": "Author"}, admin).is(201, "")
	assert.ElementsMatch(t, []string{"id", "code", "name"}, keys(a.JSON))
	w.do("POST", "/roles", object{"code": "author"}, admin).is(409, "CONFLICT")
	for _, code := range []string{"", "A", "a b", "a,b", "é", strings.Repeat("a", 65)} {
		w.do("POST", "/roles", object{"code": code}, admin).is(422, "WRONG_DOCUMENT_FORMAT")
	}
	w.do("POST", "/roles", object{"code": "x", "id": "x"}, admin).is(422, "WRONG_DOCUMENT_FORMAT")
	assert.Equal(t, "Writer", w.do("PATCH", "/roles/author", object{"name": "Writer"}, admin).is(200, "").text("name"))
	assert.Equal(t, "Writer", w.do("GET", "/roles/author/", nil, admin).is(200, "").text("name"))
	w.do("PATCH", "/users/"+w.ids["ann"]+"/role", []string{"author"}, admin).is(200, "")
	w.do("DELETE", "/roles/author", nil, admin).is(409, "CONFLICT")
	w.do("PATCH", "/users/"+w.ids["ann"]+"/role", []string{}, admin).is(200, "")
	w.do("DELETE", "/roles/author", nil, admin).is(204, "")
	w.do("GET", "/roles/author", nil, admin).is(404, "NOT_FOUND")
	w.do("DELETE", "/roles/admin", nil, admin).is(409, "CONFLICT")
}
