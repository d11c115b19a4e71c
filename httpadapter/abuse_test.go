package httpadapter_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/httpadapter"
	"github.com/userapi/userapi/store/memory"
)

func peer(address string) set { return func(r *hr) { r.RemoteAddr = "[" + address + "]:40000" } }

// The limits are those that a host gets without a word.
func TestJ01_GuessingIsCountedByAccountAndByAddress(t *testing.T) {
	w := newWorld(t, options{api: func(c *userapi.Config) { c.Limits = nil }})
	login := func(email, word string, how set) *answer {
		return w.do("POST", "/auth/login", object{"email": email, "password": word}, how)
	}
	t.Run("many users from one place", func(t *testing.T) {
		for i := range 20 {
			login(fmt.Sprintf("user%d@acme.example", i), "wrong password", peer(fmt.Sprintf("2001:db8:0:1::%x", i))).is(401, "UNAUTHORIZED")
		}
		a := login("bob@acme.example", password, peer("2001:db8:0:1:ffff::1")).is(429, "RATE_LIMITED")
		assert.NotEmpty(t, a.Header().Get("Retry-After"))
		login("bob@acme.example", password, peer("2001:db8:0:2::1")).is(200, "")
		w.clock.advance(time.Minute)
		login("bob@acme.example", password, peer("2001:db8:0:1::1")).is(200, "")
	})
	t.Run("one user from many places", func(t *testing.T) {
		for i := range 5 {
			login("ann@acme.example", "wrong password", peer(fmt.Sprintf("2001:db8:1:%x::1", i))).is(401, "UNAUTHORIZED")
		}
		login("ANN@acme.example", "wrong password", peer("2001:db8:1:ffff::1")).is(429, "RATE_LIMITED")
		w.clock.advance(10 * time.Minute)
		login("ann@acme.example", password, peer("2001:db8:1:ffff::1")).is(200, "")
	})
}

func TestJ05_OfManyGuessesAtOnceFivePass(t *testing.T) {
	w := newWorld(t, options{api: func(c *userapi.Config) { c.Limits = nil }})
	answers := map[int]*atomic.Int64{401: {}, 429: {}}
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			a := w.do("POST", "/auth/login", object{"email": "ann@acme.example", "password": "wrong password"}, peer(fmt.Sprintf("2001:db8:%x::1", i)))
			if n := answers[a.Code]; assert.NotNil(t, n, a.Code) {
				n.Add(1)
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, 5, answers[401].Load())
	assert.EqualValues(t, 59, answers[429].Load())
}

func TestI07_NothingThatIsSentBecomesAHeader(t *testing.T) {
	const marked = "injected\r\nX-Injected: 1"
	escaped := url.PathEscape(marked)
	w := newWorld(t, everything, options{http: func(c *httpadapter.Config) { c.LoginURL = "/login?next=" }})
	admin := w.as("admin")
	clean := func(a *answer) {
		t.Helper()
		for name, values := range a.Header() {
			assert.NotContains(t, name+strings.Join(values, " "), "njected")
			assert.False(t, strings.ContainsAny(name+strings.Join(values, ""), "\r\n"), name)
		}
	}
	noise := []set{
		header("Origin", "http://"+marked), header("Host", marked), header("Accept", "text/html, "+marked), header("User-Agent", marked),
		header("X-Forwarded-For", marked), header("X-Forwarded-Host", marked), header("X-Request-Id", marked), header("Referer", marked), header("If-None-Match", marked),
	}
	for _, rt := range w.web.Routes() {
		key := rt.Method + " " + rt.Path
		body := bodies[key]
		if fields, ok := body.(object); ok {
			hostile := object{}
			for name, value := range fields {
				hostile[name] = value
				if _, text := value.(string); text {
					hostile[name] = marked
				}
			}
			body = hostile
		}
		hostile := strings.NewReplacer("{id}", escaped, "{sid}", escaped, "{code}", escaped, "{resource}", escaped, "{rid}", escaped).Replace(rt.Path)
		fine := strings.NewReplacer("{id}", w.ids["ann"], "{sid}", "s", "{code}", "editor", "{resource}", "doc", "{rid}", "1").Replace(rt.Path)
		for _, path := range []string{hostile, fine, fine + "?name=" + escaped + "&cursor=" + escaped, fine + escaped} {
			for _, who := range []set{func(*hr) {}, admin, bearer(marked), apiKey(marked), cookie(httpadapter.DefaultAccessCookie, marked), cookie(httpadapter.DefaultRefreshCookie, marked)} {
				clean(w.do(rt.Method, path, body, append(noise, who)...))
			}
		}
		clean(w.do("OPTIONS", hostile, nil, noise...))
	}
	guarded := w.web.IsConnected(w.mux)
	a := w.send(guarded, "GET", "/"+escaped+"?next="+escaped, nil, noise...)
	a.is(302, "")
	clean(a)
	assert.Equal(t, "/login?next=", a.Header().Get("Location"))
}

// Each step is what a request does, and the event that it leaves: of its kind, about whom and by whom.
func TestL03_WhatHappensLeavesAnEvent(t *testing.T) {
	w := newWorld(t, everything, open)
	store := w.store.(*memory.Store)
	admin, ann, bob := w.as("admin"), w.as("ann"), w.as("bob")
	spare := w.login("bob").text("refresh_token")
	const next = "another fine phrase"
	var id string
	for _, step := range []struct {
		name        string
		do          func()
		kind        userapi.EventKind
		about, from string // names of the world; "" = nobody known
	}{
		{"a wrong password", func() {
			w.do("POST", "/auth/login", object{"email": "ann@acme.example", "password": "wrong password"}).is(401, "")
		}, userapi.EventLoginFailed, "ann", ""},
		{"a name that nobody has", func() {
			w.do("POST", "/auth/login", object{"email": "x@acme.example", "password": password}).is(401, "")
		}, userapi.EventLoginFailed, "", ""},
		{"a login", func() { w.login("ann") }, userapi.EventLogin, "ann", ""},
		{"a used refresh token", func() {
			w.do("POST", "/auth/refresh", object{"refresh_token": spare}).is(200, "")
			w.clock.advance(time.Minute)
			w.do("POST", "/auth/refresh", object{"refresh_token": spare}).is(401, "")
		}, userapi.EventRefreshReused, "bob", ""},
		{"an own password given wrongly", func() {
			w.do("POST", "/password/change", object{"old_password": "wrong password", "new_password": next}, ann).is(403, "")
		}, userapi.EventPasswordRefused, "ann", "ann"},
		{"a reset", func() { w.do("POST", "/password/reset", object{"email": "bob@acme.example"}).is(200, "") }, userapi.EventResetAsked, "bob", ""},
		{"a user made", func() {
			w.ids["dora"] = w.do("POST", "/users", object{"email": "dora@acme.example", "name": "Dora", "active": true}, admin).is(201, "").text("id")
		}, userapi.EventUserCreated, "dora", "admin"},
		{"roles", func() { w.do("PATCH", "/users/"+w.ids["ann"]+"/role", []string{"editor"}, admin).is(200, "") }, userapi.EventUserUpdated, "ann", "admin"},
		{"a key", func() {
			id = w.do("POST", "/keys", object{"name": "billing", "scopes": []string{"full"}}, bob).is(201, "").text("id")
		}, userapi.EventKeyCreated, "bob", "bob"},
		{"a key disabled", func() { w.do("PATCH", "/keys/"+id, object{"active": false}, bob).is(200, "") }, userapi.EventKeyChanged, "bob", "bob"},
		{"a key deleted", func() { w.do("DELETE", "/keys/"+id, nil, bob).is(204, "") }, userapi.EventKeyDeleted, "bob", "bob"},
		{"a level", func() {
			w.do("PUT", "/users/"+w.ids["bob"]+"/memberships/doc/1", object{"level": "member"}, admin).is(200, "")
		}, userapi.EventMembershipSet, "bob", "admin"},
		{"an own password changed", func() {
			w.do("POST", "/password/change", object{"old_password": password, "new_password": next}, bob).is(200, "")
		}, userapi.EventPasswordChanged, "bob", "bob"},
		{"somebody's password set", func() {
			w.do("POST", "/users/"+w.ids["bob"]+"/set_password", object{"password": password}, admin).is(200, "")
		}, userapi.EventPasswordChanged, "bob", "admin"},
		{"sessions ended", func() { w.do("DELETE", "/users/"+w.ids["ann"]+"/sessions", nil, admin).is(204, "") }, userapi.EventSessionsEnded, "ann", "admin"},
		{"a logout", func() { w.do("POST", "/auth/logout", nil, w.as("bob")).is(204, "") }, userapi.EventLogout, "bob", ""},
		{"a user deactivated", func() { w.do("DELETE", "/users/"+w.ids["ann"], nil, admin).is(204, "") }, userapi.EventUserDeactivated, "ann", "admin"},
		{"a user erased", func() { w.do("DELETE", "/users/"+w.ids["ann"]+"?force=true", nil, admin).is(204, "") }, userapi.EventUserDeleted, "ann", "admin"},
	} {
		before := len(store.Events())
		step.do()
		found := false
		for _, e := range store.Events()[before:] {
			found = found || e.Kind == step.kind && e.UserID == w.ids[step.about] && e.ActorID == w.ids[step.from] && e.Address == "192.0.2.1" && !e.At.IsZero()
		}
		require.True(t, found, "%s: %+v", step.name, store.Events()[before:])
	}
	require.NoError(t, w.api.Sessions.RevokeAll(context.Background(), userapi.System()))
	events := store.Events()
	assert.Equal(t, userapi.EventEverythingEnded, events[len(events)-1].Kind)
}
