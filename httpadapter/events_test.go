package httpadapter_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
)

// trail is the whole audit trail by id.
func (w *world) trail() map[string]userapi.Event {
	w.t.Helper()
	all := map[string]userapi.Event{}
	for q := (userapi.EventQuery{Limit: 100}); ; {
		page, err := w.api.Audit.List(w.t.Context(), userapi.System(), q)
		require.NoError(w.t, err)
		for _, e := range page.Events {
			all[e.ID] = e
		}
		if q.Cursor = page.Cursor; !page.HasNext {
			return all
		}
	}
}

// routeEvents are the events that unsafe routes leave when ann, or where they may not the admin, asks about ann: kind and actor.
var routeEvents = map[string]string{
	"POST /users/login":                               "login anonymous",
	"POST /users/logout":                              "logout anonymous",
	"GET /users/logout":                               "logout anonymous",
	"POST /users/reset-password":                      "password.changed ann",
	"POST /users/":                                    "user.created admin",
	"PUT /users/{id}":                                 "user.updated admin",
	"PATCH /users/{id}":                               "user.updated ann",
	"DELETE /users/{id}":                              "user.deactivated admin",
	"PATCH /users/{id}/role":                          "user.updated admin",
	"POST /users/{id}/set_password":                   "password.changed ann",
	"DELETE /users/{id}/sessions":                     "sessions.ended ann",
	"DELETE /users/{id}/sessions/{sid}":               "session.ended ann",
	"PUT /users/{id}/memberships/{resource}/{rid}":    "membership.set admin",
	"DELETE /users/{id}/memberships/{resource}/{rid}": "membership.removed admin",
	"POST /auth/login":                                "login anonymous",
	"POST /auth/refresh":                              "", // a successful one leaves none
	"POST /auth/logout":                               "logout anonymous",
	"POST /auth/logout-all":                           "sessions.ended ann",
	"POST /auth/erase":                                "user.deleted ann",
	"POST /auth/activate":                             "user.activated anonymous",
	"POST /password/change":                           "password.changed ann",
	"POST /password/reset":                            "reset.requested anonymous",
	"POST /password/reset/confirm":                    "password.reset anonymous",
	"POST /verification/phone":                        "phone.requested ann",
	"POST /verification/phone/confirm":                "phone.verified ann",
	"POST /verification/email":                        "email.requested ann",
	"POST /verification/email/confirm":                "email.verified ann",
	"POST /keys/":                                     "key.created ann",
	"PATCH /keys/{id}":                                "key.changed ann",
	"DELETE /keys/{id}":                               "key.deleted ann",
	"POST /roles/":                                    "role.created admin",
	"PATCH /roles/{code}":                             "role.renamed admin",
	"DELETE /roles/{code}":                            "role.deleted admin",
}

func TestL03_EveryUnsafeRouteLeavesItsEvent(t *testing.T) {
	for _, rt := range newWorld(t, everything).web.Routes() {
		route := rt.Method + " " + rt.Path
		want, known := routeEvents[route]
		if rt.Method == http.MethodGet && !known {
			continue
		}
		t.Run(route, func(t *testing.T) {
			require.True(t, known, "a route that is expected to leave nothing")
			w := newWorld(t, everything)
			name := "ann"
			if strings.HasSuffix(want, " admin") {
				name = "admin"
			}
			in := w.login(name)
			how, id := bearer(in.text("access_token")), w.ids["ann"]
			w.give("ann", "1", "member")
			if strings.HasPrefix(rt.Path, "/keys") {
				id, _ = w.key("ann", "full")
			}
			session := w.do("GET", "/users/"+w.ids[name]+"/sessions", nil, how).JSON["sessions"].([]any)[0].(object)["id"].(string)
			path := strings.NewReplacer("{id}", id, "{sid}", session, "{code}", "editor", "{resource}", "doc", "{rid}", "1").Replace(rt.Path)
			body := w.withSecret(route, bodies[route], how)
			switch o, _ := body.(object); {
			case o["email"] == "own":
				body = with(o, object{"email": loginName(name)})
			case route == "POST /auth/refresh":
				body = object{"refresh_token": in.text("refresh_token")}
			}
			before := w.trail()
			a := w.do(rt.Method, path, body, how, header("User-Agent", "an agent"))
			require.Equal(t, rt.Status, a.Code, a.Body.String())
			var left []string
			for id, e := range w.trail() {
				if _, old := before[id]; old {
					continue
				}
				actor := e.ActorKind
				if e.ActorID != "" {
					require.Equal(t, w.ids[name], e.ActorID)
					actor = name
				}
				left = append(left, string(e.Kind)+" "+actor)
				if e.Kind != userapi.EventUserDeleted { // from where one left is forgotten
					assert.Equal(t, "an agent", e.UserAgent)
					assert.Equal(t, "192.0.2.1", e.Address)
				}
			}
			if want == "" {
				assert.Empty(t, left)
				return
			}
			assert.Equal(t, []string{want}, left)
		})
	}
}

func TestAuditIsListed(t *testing.T) {
	w := newWorld(t)
	w.clock.advance(time.Second)
	began := w.clock.now().Format(time.RFC3339)
	w.do("POST", "/auth/login", object{"email": "ann@acme.example", "password": "wrong wrong"}, header("User-Agent", "an agent")).is(401, "")
	w.clock.advance(time.Second)
	in := w.login("ann")
	w.clock.advance(time.Second)
	w.login("eve")
	w.clock.advance(time.Second)
	admin := w.as("admin")
	list := func(query string) []any {
		t.Helper()
		return w.do("GET", "/audit?"+query, nil, admin).is(200, "").JSON["events"].([]any)
	}
	of := func(events []any) (kinds string) {
		for _, e := range events {
			kinds += e.(object)["kind"].(string) + " "
		}
		return kinds
	}
	assert.Equal(t, "login login login.failed ", of(list("since="+began)))
	mine := "user_id=" + w.ids["ann"] + "&since=" + began
	events := list(mine)
	assert.Equal(t, "login login.failed ", of(events))
	failed := events[1].(object)
	assert.NotEmpty(t, failed["id"])
	delete(failed, "id")
	assert.Equal(t, object{"at": "2026-03-01T12:00:01.000Z", "kind": "login.failed", "actor": object{"kind": "anonymous"}, "user_id": w.ids["ann"],
		"address": "192.0.2.1", "user_agent": "an agent"}, failed)
	sessions := w.do("GET", "/users/current/sessions", nil, bearer(in.text("access_token"))).JSON["sessions"].([]any)
	assert.Equal(t, sessions[0].(object)["id"], events[0].(object)["session_id"])
	assert.Equal(t, "login.failed ", of(list(mine+"&kind=login.failed,logout")))
	assert.Equal(t, "login.failed ", of(list(mine+"&until="+w.clock.now().Add(-2*time.Second).Format(time.RFC3339))))
	assert.Empty(t, list("user_id="+w.ids["eve"]))

	first := w.do("GET", "/audit/?"+mine+"&limit=1", nil, admin).is(200, "")
	assert.Equal(t, true, first.JSON["has_next"])
	next := w.do("GET", "/audit/?"+mine+"&limit=1&cursor="+url.QueryEscape(first.text("cursor")), nil, admin).is(200, "")
	assert.Equal(t, "login.failed ", of(next.JSON["events"].([]any)))
	assert.Equal(t, false, next.JSON["has_next"])
	assert.NotContains(t, next.JSON, "cursor")

	for _, query := range []string{"x=1", "limit=0", "limit=101", "since=yesterday", "until=2026-01-01", "since=0001-01-01T00:00:00Z", "kind=", "kind=A", "kind=" + strings.Repeat("a,", 16) + "a",
		"user_id=a+b", "cursor=x", "cursor=" + url.QueryEscape(first.text("cursor")), "kind=a&kind=b"} {
		w.do("GET", "/audit/?"+query, nil, admin).is(422, "WRONG_ARGS")
	}
	_, reads := w.key("admin", "userapi:read")
	w.do("GET", "/audit/", nil, apiKey(reads)).is(200, "")
	_, writes := w.key("admin", "userapi:write")
	w.do("GET", "/audit/", nil, apiKey(writes)).is(403, "SCOPE_MISSING")
	assert.Equal(t, 200, w.send(w.web.Audit(), "GET", "/", nil, admin).Code, "the section alone")
}

// denied are the routes of the events access.denied, of whom.
func (w *world) denied() map[string]int {
	found := map[string]int{}
	for _, e := range w.trail() {
		if e.Kind == userapi.EventAccessDenied {
			for name, id := range w.ids {
				if id == e.UserID && id == e.ActorID {
					found[name+" "+e.Detail]++
				}
			}
		}
	}
	return found
}

func TestL03_WhoLacksARightIsRecorded(t *testing.T) {
	w := newWorld(t, orders)
	ann, bob := w.as("ann"), w.as("bob")
	_, key := w.key("bob", "userapi:read")
	mux := http.NewServeMux()
	mux.Handle("/reports/{name}", w.web.HasRoles("boss")(new(counted)))
	mux.Handle("POST /orders", w.web.RequireScopes("orders:write")(new(counted)))
	mux.Handle("POST /step", w.web.RequireStep(userapi.StepSecondFactor)(new(counted)))
	mux.Handle("POST /fresh", w.web.RequireFresh(time.Minute)(new(counted)))
	for i := range 5 {
		w.do("GET", "/users/"+w.ids["bob"]+fmt.Sprint("x", i), nil, ann).is(403, "FORBIDDEN")
		w.do("DELETE", "/users/"+w.ids["bob"], nil, ann).is(403, "FORBIDDEN")
		w.do("PATCH", "/users/current", object{"active": true}, bob).is(403, "FORBIDDEN") // by the noun
		w.do("PATCH", "/users/current", object{"name": "B"}, apiKey(key)).is(403, "SCOPE_MISSING")
		w.send(mux, fmt.Sprint("MADEUP", i), fmt.Sprint("/reports/", i), nil, ann).is(403, "ROLE_MISSING")
		w.send(mux, "POST", "/orders", nil, apiKey(key)).is(403, "SCOPE_MISSING")
		w.send(mux, "POST", "/step", nil, ann).is(403, "FORBIDDEN")
	}
	want := map[string]int{"ann GET /users/{id}": 1, "ann DELETE /users/{id}": 1, "bob PATCH /users/{id}": 1, "ann /reports/{name}": 1, "bob POST /orders": 1, "ann POST /step": 1}
	assert.Equal(t, want, w.denied())
	w.clock.advance(10 * time.Minute)
	w.do("GET", "/users/"+w.ids["bob"], nil, ann).is(403, "FORBIDDEN")
	want["ann GET /users/{id}"]++
	assert.Equal(t, want, w.denied())

	// What is no lack of a right: a bad credential, a foreign page, a wrong password, what is not fresh, what is not there.
	w.do("GET", "/users/", nil, bearer("x")).is(401, "")
	w.do("POST", "/auth/logout-all", nil, cookie("__Host-user-api-credentials", w.login("ann").cookie("__Host-user-api-credentials").Value), crossSite).is(403, "CROSS_ORIGIN")
	w.do("POST", "/password/change", object{"old_password": "wrong wrong", "new_password": "another fine phrase"}, ann).is(403, "FORBIDDEN")
	w.send(mux, "POST", "/fresh", nil, ann).is(403, "NOT_FRESH")
	w.do("GET", "/users/"+w.ids["eve"], nil, w.as("admin")).is(404, "NOT_FOUND")
	assert.Equal(t, want, w.denied())
}

// A route that refuses answers the same whether or not that can be recorded.
func TestL05_ARefusalStandsThoughItCannotBeRecorded(t *testing.T) {
	w := newWorld(t, options{api: func(c *userapi.Config) { c.Store = &unrecording{Store: c.Store} }})
	ann := w.as("ann")
	w.store.(*unrecording).fails = true
	a := w.do("GET", "/users/", nil, ann).is(403, "FORBIDDEN")
	assert.NotContains(t, a.Body.String(), "canary")
	assert.Contains(t, w.log.String(), "could not store an event")
}

// Canaries through every flow: neither the trail nor the log, at debug level, nor an error tells a secret.
func TestL01_NoSecretInTrailLogAndErrors(t *testing.T) {
	w := newWorld(t, everything, options{api: func(c *userapi.Config) { c.LogEvents = true }})
	in := w.login("ann")
	ann := bearer(in.text("access_token"))
	_, key := w.key("ann", "full")
	secrets := []string{password, string(testSecret), in.text("access_token"), in.text("refresh_token"), key, strings.Split(key, ".")[1]}
	said := ""
	for _, rt := range w.web.Routes() {
		route := rt.Method + " " + rt.Path
		path := strings.NewReplacer("{id}", w.ids["bob"], "{sid}", "x", "{code}", "editor", "{resource}", "doc", "{rid}", "1").Replace(rt.Path)
		for _, how := range []set{ann, apiKey(key), bearer("canary-token"), apiKey("canary.key"), cookie("__Host-user-api-credentials", "canary-cookie")} {
			for _, body := range []any{bodies[route], object{"email": "ann", "password": "canary-password", "token": "canary.token", "code": "canary-code", "new_password": "canary-new", "old_password": "canary-old"}} {
				if a := w.do(rt.Method, path+"?canary=canary-query", body, how); a.Code >= 400 {
					said += a.Body.String()
				}
			}
		}
	}
	messages := w.delivered()
	require.NotEmpty(t, messages)
	for _, m := range messages {
		for _, s := range []userapi.Secret{m.Token, m.Code, m.Text} {
			if s != "" {
				secrets = append(secrets, string(s))
			}
		}
	}
	kept, err := json.Marshal(w.trail())
	require.NoError(t, err)
	assert.Greater(t, len(kept), 1000)
	for _, text := range []string{string(kept), w.log.String(), said} {
		assert.NotContains(t, text, "canary-")
		for _, secret := range secrets {
			assert.NotContains(t, text, secret)
		}
	}
}

// unrecording is a store that, from some moment on, stores no event of its own.
type unrecording struct {
	userapi.Store
	fails bool
}

func (u *unrecording) AddEvent(ctx context.Context, e userapi.Event) error {
	if u.fails {
		return errors.New("canary of the disk")
	}
	return u.Store.AddEvent(ctx, e)
}
