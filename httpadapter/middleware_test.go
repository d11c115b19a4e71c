package httpadapter_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/httpadapter"
)

var invalidPrefix netip.Prefix

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, text := range texts {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

// counted is a host's handler that tells who came.
type counted struct {
	calls int
	user  string
}

func (c *counted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.calls++
	c.user = userapi.IdentityFrom(r.Context()).UserID()
	_, _ = w.Write([]byte("host"))
}

func TestIsConnected(t *testing.T) {
	w := newWorld(t)
	h := new(counted)
	guarded := w.web.IsConnected(h)
	for _, how := range [][]set{nil, {bearer("x")}, {header("Authorization", "Basic x")}, {cookie(httpadapter.DefaultAccessCookie, "x")}, {header("X-Api-Key", "k.s"), w.as("ann")}} {
		a := w.send(guarded, "GET", "/dummy", nil, how...).is(401, "UNAUTHORIZED")
		assert.Equal(t, "Bearer", a.Header().Get("WWW-Authenticate"))
		assert.Equal(t, "application/json", a.Header().Get("Content-Type"))
	}
	assert.Zero(t, h.calls)
	a := w.send(guarded, "POST", "/dummy", nil, w.as("ann"))
	assert.Equal(t, "host", a.Body.String())
	assert.Equal(t, counted{1, w.ids["ann"]}, *h)
	assert.Empty(t, a.Header().Get("Cache-Control"), "the host's own answer is left alone")
}

func TestLoginURL(t *testing.T) {
	w := newWorld(t, options{http: func(c *httpadapter.Config) { c.LoginURL = "/login" }})
	h := new(counted)
	for _, guarded := range []http.Handler{w.web.IsConnected(h), w.web.HasRoles("admin")(h)} {
		for _, accept := range []string{"text/html", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", "application/json, text/html;q=0.1"} {
			a := w.send(guarded, "GET", "/dummy?next=//evil", nil, header("Accept", accept))
			assert.Equal(t, 302, a.Code, accept)
			assert.Equal(t, "/login", a.Header().Get("Location"))
			assert.Equal(t, "no-store", a.Header().Get("Cache-Control"))
			w.send(guarded, "GET", "/dummy", nil, header("Accept", accept), bearer("bad")).is(401, "UNAUTHORIZED")
			w.send(guarded, "GET", "/dummy", nil, header("Accept", accept), cookie(httpadapter.DefaultAccessCookie, "bad")).is(401, "UNAUTHORIZED")
		}
		for _, accept := range []string{"", "*/*", "application/json", "text/html;q=0", "text/html;q=0.0", "text/htmlx"} {
			w.send(guarded, "GET", "/dummy", nil, header("Accept", accept)).is(401, "UNAUTHORIZED")
		}
	}
	assert.Zero(t, h.calls)
	w.do("GET", "/auth/whoami", nil, header("Accept", "text/html")).is(401, "UNAUTHORIZED") // our routes never redirect
	w.send(w.web.HasRoles("admin")(h), "GET", "/", nil, header("Accept", "text/html"), w.as("ann")).is(403, "ROLE_MISSING")
}

func TestRolesOfHosts(t *testing.T) {
	w := newWorld(t)
	w.add("both", userapi.NewUser{Username: "both", CustomerID: "acme", Roles: []userapi.RoleRef{{Code: "editor"}, {Code: "service"}}})
	all := func(codes ...string) func(http.Handler) http.Handler { return w.web.HasRoles(codes...) }
	one := func(codes ...string) func(http.Handler) http.Handler { return w.web.HasAnyRole(codes...) }
	for _, c := range []struct {
		what    string
		guard   func(http.Handler) http.Handler
		who     string
		missing []any // nil = let in
	}{
		{"all of none", all(), "ann", nil},
		{"all, has none", all("z", "editor", "a"), "ann", []any{"z", "editor", "a"}},
		{"all, has one", all("z", "editor", "a"), "both", []any{"z", "a"}},
		{"all, has all", all("service", "editor"), "both", nil},
		{"admin is no other role", all("editor"), "admin", []any{"editor"}},
		{"one of none", one(), "admin", []any{}},
		{"one, has none", one("editor", "x"), "ann", []any{"editor", "x"}},
		{"one, has one", one("x", "editor"), "both", nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			h := new(counted)
			a := w.send(c.guard(h), "GET", "/", nil, w.as(c.who))
			if c.missing == nil {
				require.Equal(t, 200, a.Code)
				return
			}
			a.is(403, "ROLE_MISSING")
			assert.Equal(t, object{"missing": c.missing}, a.payload())
			assert.Zero(t, h.calls)
			w.send(c.guard(h), "GET", "/", nil).is(401, "UNAUTHORIZED")
		})
	}
}

func TestIsSelfOrHasAnyRole(t *testing.T) {
	w := newWorld(t)
	guard := w.web.IsSelfOrHasAnyRole(func(r *hr) string { return r.URL.Query().Get("id") }, "admin")
	for _, c := range []struct {
		who, id string
		status  int
	}{
		{"ann", w.ids["ann"], 200}, {"ann", "current", 200}, {"ann", w.ids["bob"], 403}, {"ann", "", 403}, {"admin", w.ids["bob"], 200}, {"admin", "", 200}, {"service", w.ids["ann"], 403},
	} {
		assert.Equal(t, c.status, w.send(guard(new(counted)), "GET", "/?id="+c.id, nil, w.as(c.who)).Code, c)
	}
	w.send(guard(new(counted)), "GET", "/?id=", nil).is(401, "UNAUTHORIZED")
}

func TestNestedGuardsAskOnce(t *testing.T) {
	w := newWorld(t)
	h := new(counted)
	// The inner guard sees a request without credential: it trusts what the outer one found out.
	strip := http.HandlerFunc(func(rw http.ResponseWriter, r *hr) {
		r.Header.Del("Authorization")
		w.web.HasRoles()(w.web.IsConnected(h)).ServeHTTP(rw, r)
	})
	w.send(w.web.IsConnected(strip), "GET", "/", nil, w.as("ann"))
	assert.Equal(t, counted{1, w.ids["ann"]}, *h)

	// Another API's identity is nobody here, whoever put it into the context.
	other := newWorld(t, options{api: func(c *userapi.Config) { c.Issuer = "other" }})
	foreignInside := http.HandlerFunc(func(rw http.ResponseWriter, r *hr) {
		r.Header.Del("Authorization")
		assert.Empty(t, other.web.Actor(r).UserID())
		assert.NotEmpty(t, w.web.Actor(r).UserID())
		other.web.IsConnected(h).ServeHTTP(rw, r)
	})
	w.send(w.web.IsConnected(foreignInside), "GET", "/", nil, w.as("admin")).is(401, "UNAUTHORIZED")
	var id *userapi.Identity
	w.send(w.web.IsConnected(http.HandlerFunc(func(_ http.ResponseWriter, r *hr) { id = userapi.IdentityFrom(r.Context()) })), "GET", "/", nil, w.as("admin"))
	require.NotNil(t, id)
	planted := func(r *hr) { *r = *r.WithContext(userapi.ContextWithIdentity(r.Context(), id)) }
	w.do("GET", "/users", nil, planted).is(401, "UNAUTHORIZED")
	assert.Equal(t, 1, h.calls)
}

func TestActor(t *testing.T) {
	w := newWorld(t)
	r := httptest.NewRequest("GET", "/", nil)
	assert.Empty(t, w.web.Actor(r).UserID())
	_, err := w.api.Users.ByID(r.Context(), w.web.Actor(r), w.ids["ann"])
	assert.ErrorIs(t, err, userapi.ErrNoCredentials)
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *hr) {
		_, err := w.api.Users.ByID(r.Context(), w.web.Actor(r), w.ids["ann"])
		assert.NoError(t, err)
	})
	w.send(w.web.IsConnected(h), "GET", "/", nil, w.as("ann"))
}

func TestClientAddress(t *testing.T) {
	w := newWorld(t, options{http: func(c *httpadapter.Config) {
		c.TrustedProxies = prefixes("10.0.0.0/8", "::ffff:172.16.0.0/108", "2001:db8:1::/48")
	}})
	for _, c := range []struct {
		peer      string
		forwarded []string
		want      string
	}{
		{"203.0.113.9:1234", nil, "203.0.113.9"},
		{"203.0.113.9:1234", []string{"1.1.1.1"}, "203.0.113.9"}, // not a proxy of ours
		{"10.0.0.1:1", nil, "10.0.0.1"},
		{"10.0.0.1:1", []string{"1.1.1.1"}, "1.1.1.1"},
		{"10.0.0.1:1", []string{"6.6.6.6, 1.1.1.1"}, "1.1.1.1"}, // what is left of it was written by the client
		{"10.0.0.1:1", []string{"6.6.6.6, 1.1.1.1, 10.2.3.4,172.16.0.9"}, "1.1.1.1"},
		{"10.0.0.1:1", []string{"6.6.6.6", "1.1.1.1", "10.2.3.4"}, "1.1.1.1"},
		{"10.0.0.1:1", []string{"1.1.1.1, unknown, 10.2.3.4"}, "10.2.3.4"},
		{"10.0.0.1:1", []string{"1.1.1.1, , 10.2.3.4"}, "10.2.3.4"},
		{"10.0.0.1:1", []string{"10.1.1.1, 10.2.2.2"}, "10.1.1.1"},
		{"10.0.0.1:1", []string{"garbage"}, "10.0.0.1"},
		{"10.0.0.1:1", []string{"::ffff:1.1.1.1"}, "1.1.1.1"},
		{"10.0.0.1:1", []string{"1.1.1.1:4711"}, "1.1.1.1"},
		{"[::ffff:10.0.0.1]:1", []string{"1.1.1.1"}, "1.1.1.1"},
		{"[2001:db8:1::5%eth0]:1", []string{"[2001:db8:9::1]:80"}, "2001:db8:9::1"},
		{"172.16.5.5:1", []string{"1.1.1.1"}, "1.1.1.1"},
		{"172.32.5.5:1", []string{"1.1.1.1"}, "172.32.5.5"},
		{"@", []string{"1.1.1.1"}, "@"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.peer
		for _, line := range c.forwarded {
			r.Header.Add("X-Forwarded-For", line)
		}
		assert.Equal(t, c.want, w.web.ClientAddress(r), c)
	}
}
