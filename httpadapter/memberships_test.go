package httpadapter_test

import (
	"context"
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
	"github.com/userapi/userapi/store/memory"
)

// docs has documents: those whose id begins with "r" are rival's, those that begin with "gone" nobody's, all others acme's.
var docs = options{api: func(c *userapi.Config) {
	c.Memberships = userapi.MembershipConfig{
		Levels: []string{"invitee", "member", "manager", "secret"},
		Owns: func(_ context.Context, customer, resource, id string) (bool, error) {
			owner := "acme"
			if strings.HasPrefix(id, "r") {
				owner = "rival"
			}
			return customer == owner && resource == "doc" && !strings.HasPrefix(id, "gone"), nil
		},
	}
}}

// give gives a user of the world a level on a document.
func (w *world) give(name, id, level string) {
	w.t.Helper()
	_, err := w.api.Memberships.Set(context.Background(), userapi.System(), userapi.Membership{UserID: w.ids[name], Resource: "doc", ResourceID: id, Level: level})
	require.NoError(w.t, err)
}

// onDoc asks a route of the host's that needs a level on the document of the query.
func (w *world) onDoc(level, id string, how ...set) *answer {
	w.t.Helper()
	h := new(counted)
	guard := w.web.HasRoleOn("doc", level, func(r *hr) string { return r.URL.Query().Get("id") })
	a := w.send(guard(h), "GET", "/doc?id="+url.QueryEscape(id), nil, how...)
	assert.Equal(w.t, a.Code == 200, h.calls == 1, "whether the handler ran")
	return a
}

func (w *world) memberships(name string) string { return "/users/" + w.ids[name] + "/memberships" }

func TestFlow_Memberships(t *testing.T) { onEveryStore(t, memberships) }

func memberships(t *testing.T, on options) {
	w := newWorld(t, docs, on)
	admin, ann, bob := w.as("admin"), w.as("ann"), w.as("bob")
	of := w.memberships("ann")
	w.onDoc("invitee", "1", ann).is(403, "ROLE_MISSING")
	for level, passes := range map[string]map[string]bool{
		"invitee": {"invitee": true}, "member": {"invitee": true, "member": true},
		"secret": {"invitee": true, "member": true, "manager": true, "secret": true},
	} {
		a := w.do("PUT", of+"/doc/1", object{"level": level}, admin).is(200, "")
		assert.Equal(t, object{"resource": "doc", "resource_id": "1", "level": level}, a.JSON)
		for _, asked := range []string{"invitee", "member", "manager", "secret", "public", "", "MEMBER"} {
			assert.Equal(t, passes[asked], w.onDoc(asked, "1", ann).Code == 200, "%s where %s is asked for, in a session that was open before", level, asked)
		}
		assert.Equal(t, a.JSON, w.do("GET", "/users/current/memberships/doc/1/", nil, ann).is(200, "").JSON)
	}
	w.do("PUT", of+"/doc/1/", object{"level": "manager"}, admin).is(200, "")
	w.do("PUT", of+"/doc/0", object{"level": "member"}, admin).is(200, "")
	want := object{"memberships": []any{
		object{"resource": "doc", "resource_id": "0", "level": "member"}, object{"resource": "doc", "resource_id": "1", "level": "manager"},
	}}
	assert.Equal(t, want, w.do("GET", of, nil, admin).is(200, "").JSON)
	assert.Equal(t, want, w.do("GET", "/users/current/memberships/", nil, ann).is(200, "").JSON)
	assert.Equal(t, object{"memberships": []any{}}, w.do("GET", "/users/current/memberships", nil, bob).is(200, "").JSON)
	roles, err := w.api.Memberships.Roles(t.Context(), userapi.System(), w.ids["ann"])
	require.NoError(t, err)
	assert.Equal(t, []string{"doc-0-invitee", "doc-0-member", "doc-1-invitee", "doc-1-member", "doc-1-manager"}, roles)
	assert.Equal(t, object{"missing": []any{"doc-1-secret"}}, w.onDoc("secret", "1", ann).is(403, "ROLE_MISSING").payload())

	w.do("DELETE", of+"/doc/1", nil, admin).is(204, "")
	w.onDoc("invitee", "1", ann).is(403, "ROLE_MISSING") // at once, in the same session
	w.onDoc("member", "0", ann).is(200, "")
	w.do("DELETE", of+"/doc/1", nil, admin).is(404, "NOT_FOUND")
	w.do("GET", of+"/doc/1", nil, admin).is(404, "NOT_FOUND")
}

func TestMembershipsByPages(t *testing.T) {
	w := newWorld(t, docs)
	ann := w.as("ann")
	for i := range 101 {
		w.give("ann", fmt.Sprintf("%03d", i), "member")
	}
	list := func(query string) *answer { return w.do("GET", "/users/current/memberships?"+query, nil, ann) }
	first := list("").is(200, "")
	assert.Len(t, first.JSON["memberships"], 100)
	rest := list("cursor="+url.QueryEscape(first.text("cursor"))).is(200, "")
	assert.Equal(t, object{"memberships": []any{object{"resource": "doc", "resource_id": "100", "level": "member"}}}, rest.JSON)
	assert.Equal(t, "002", list("limit=1&cursor=" + url.QueryEscape(list("limit=2").text("cursor"))).JSON["memberships"].([]any)[0].(object)["resource_id"])
	for _, bad := range []string{"limit=0", "limit=101", "limit=x", "cursor=x", "offset=1", "cursor=" + url.QueryEscape(first.text("cursor")) + "A"} {
		list(bad).is(422, "WRONG_ARGS")
	}
	w.give("bob", "1", "member")
	w.do("GET", w.memberships("bob")+"?cursor="+url.QueryEscape(first.text("cursor")), nil, w.as("admin")).is(422, "WRONG_ARGS")
}

func TestMembershipInput(t *testing.T) {
	w := newWorld(t, docs)
	admin := w.as("admin")
	put := func(path string, body any) *answer { return w.do("PUT", w.memberships("ann")+path, body, admin) }
	for _, level := range []any{"public", "owner", "", "Member", nil, 3, []string{"member"}} {
		assert.Contains(t, put("/doc/1", object{"level": level}).is(422, "WRONG_DOCUMENT_FORMAT").payload(), "level")
	}
	assert.Contains(t, put("/doc/1", object{}).is(422, "WRONG_DOCUMENT_FORMAT").payload(), "level")
	assert.Contains(t, put("/doc/1", object{"level": "member", "user_id": w.ids["bob"]}).is(422, "WRONG_DOCUMENT_FORMAT").payload(), "user_id")
	for _, resource := range []string{"doc-1", "Doc", "-"} { // a dash would make one name of two resources
		assert.Contains(t, put("/"+resource+"/1", object{"level": "member"}).is(422, "WRONG_DOCUMENT_FORMAT").payload(), "resource")
		w.do("GET", w.memberships("ann")+"/"+resource+"/1", nil, admin).is(404, "NOT_FOUND")
		w.do("DELETE", w.memberships("ann")+"/"+resource+"/1", nil, admin).is(404, "NOT_FOUND")
	}
	for _, path := range []string{"/doc/%2e%2e", "/doc/a%2Fb", "/doc/" + strings.Repeat("x", 65), "/doc/%00", "/doc/1/2", "/doc"} {
		put(path, object{"level": "member"}).is(404, "NOT_FOUND")
	}
	put("/doc/token", object{"level": "member"}).is(200, "") // no word of a route there
	put("/doc/"+strings.Repeat("x", 64), object{"level": "member"}).is(200, "")
}

// H13, H01: a level counts for one user, on one resource, while both are there; and nobody gives one where they have nothing
// to say.
func TestH13_ALevelIsOfOneResource(t *testing.T) { onEveryStore(t, aLevelIsOfOneResource) }

func aLevelIsOfOneResource(t *testing.T, on options) {
	w := newWorld(t, docs, on)
	ctx := t.Context()
	ann := w.as("ann")
	w.give("ann", "a", "secret")
	w.onDoc("secret", "a", ann).is(200, "")
	for _, id := range []string{"b", "A", "a-", "aa", "a.", "", "a-b", "%", "_", strings.Repeat("a", 65), "a\x00", "a b", "é", ".", ".."} {
		w.onDoc("invitee", id, ann).is(403, "ROLE_MISSING")
	}
	list := w.web.HasRoleOn("list", "invitee", func(*hr) string { return "a" })
	w.send(list(new(counted)), "GET", "/", nil, ann).is(403, "ROLE_MISSING")
	w.onDoc("invitee", "a", w.as("bob")).is(403, "ROLE_MISSING")
	w.onDoc("invitee", "a", w.as("admin")).is(403, "ROLE_MISSING") // an admin has no level but those they are given
	w.onDoc("invitee", "a", w.as("eve")).is(403, "ROLE_MISSING")
	w.onDoc("invitee", "a").is(401, "UNAUTHORIZED")

	t.Run("what came with the request is not repeated", func(t *testing.T) {
		for _, id := range []string{"", "<script>", strings.Repeat("a", 65), "\r\nSet-Cookie: x"} {
			assert.Equal(t, object{"missing": []any{"doc-?-member"}}, w.onDoc("member", id, ann).is(403, "ROLE_MISSING").payload())
		}
	})

	t.Run("the end of a resource leaves nothing to the next of its id", func(t *testing.T) {
		w.give("bob", "a", "member")
		w.give("ann", "b", "member")
		require.NoError(t, w.api.Memberships.DeleteResource(ctx, userapi.System(), "doc", "a"))
		w.onDoc("invitee", "a", ann).is(403, "ROLE_MISSING")
		w.onDoc("member", "b", ann).is(200, "")
		w.do("GET", "/users/current/memberships/doc/a", nil, ann).is(404, "NOT_FOUND")
		w.give("bob", "a", "member")
		w.onDoc("invitee", "a", ann).is(403, "ROLE_MISSING")
		page, err := w.api.Memberships.OfResource(ctx, userapi.System(), "doc", "a", 0, "")
		require.NoError(t, err)
		assert.Equal(t, []userapi.Membership{{UserID: w.ids["bob"], Resource: "doc", ResourceID: "a", Level: "member"}}, page.Memberships)
	})

	t.Run("a deactivated user has no level, and theirs back when they are activated", func(t *testing.T) {
		w.give("bob", "c", "manager")
		yes := true
		_, err := w.api.Users.Deactivate(ctx, userapi.System(), w.ids["bob"])
		require.NoError(t, err)
		roles, err := w.api.Memberships.Roles(ctx, userapi.System(), w.ids["bob"])
		require.NoError(t, err)
		assert.Empty(t, roles)
		w.do("GET", w.memberships("bob")+"/doc/c", nil, w.as("admin")).is(200, "") // it is there to be taken
		_, _, err = w.api.Users.Change(ctx, userapi.System(), w.ids["bob"], userapi.UserChange{Active: &yes})
		require.NoError(t, err)
		w.onDoc("manager", "c", w.as("bob")).is(200, "")
	})

	t.Run("a user who moves to another customer takes none along", func(t *testing.T) {
		w.give("bob", "c", "manager")
		for _, customer := range []string{"rival", "acme"} {
			_, _, err := w.api.Users.Change(ctx, userapi.System(), w.ids["bob"], userapi.UserChange{CustomerID: &customer})
			require.NoError(t, err)
			w.onDoc("invitee", "c", w.as("bob")).is(403, "ROLE_MISSING")
		}
	})
}

func TestH01_NoLevelAcrossCustomers(t *testing.T) { onEveryStore(t, noLevelAcrossCustomers) }

func noLevelAcrossCustomers(t *testing.T, on options) {
	w := newWorld(t, docs, on)
	w.give("ann", "a", "manager")
	eve, admin := w.as("eve"), w.as("admin")
	before := w.do("GET", w.memberships("ann"), nil, admin).is(200, "").JSON
	for _, id := range []string{"a", "r1"} { // on their resource, or on one of her own
		for _, r := range []struct {
			method string
			body   any
		}{{"GET", nil}, {"PUT", object{"level": "secret"}}, {"DELETE", nil}} {
			w.do(r.method, w.memberships("ann")+"/doc/"+id, r.body, eve).is(404, "NOT_FOUND")
		}
	}
	w.do("GET", w.memberships("ann"), nil, eve).is(404, "NOT_FOUND")

	t.Run("an admin puts nobody of their own on another's resource", func(t *testing.T) {
		for _, id := range []string{"a", "b", "gone"} { // whether it is there or not looks the same
			w.do("PUT", w.memberships("eve")+"/doc/"+id, object{"level": "secret"}, eve).is(404, "NOT_FOUND")
			w.do("DELETE", w.memberships("eve")+"/doc/"+id, nil, eve).is(404, "NOT_FOUND")
			w.onDoc("invitee", id, eve).is(403, "ROLE_MISSING")
		}
		_, err := w.api.Memberships.OfResource(t.Context(), w.actor("eve"), "doc", "a", 0, "")
		assert.ErrorIs(t, err, userapi.ErrNotFound)
		w.do("PUT", w.memberships("eve")+"/doc/r1", object{"level": "secret"}, eve).is(200, "")
		w.onDoc("secret", "r1", eve).is(200, "")
	})

	t.Run("nobody but an admin gives or takes", func(t *testing.T) {
		for _, who := range []string{"ann", "bob", "service"} {
			for _, path := range []string{w.memberships("ann") + "/doc/a", "/users/current/memberships/doc/a"} {
				w.do("PUT", path, object{"level": "secret"}, w.as(who)).is(403, "FORBIDDEN")
				w.do("DELETE", path, nil, w.as(who)).is(403, "FORBIDDEN")
			}
		}
	})
	assert.Equal(t, before, w.do("GET", w.memberships("ann"), nil, admin).JSON)

	t.Run("a member of another customer, by the host's own word, is not shown to the owner", func(t *testing.T) {
		w.give("eve", "a", "invitee")
		page, err := w.api.Memberships.OfResource(t.Context(), w.actor("admin"), "doc", "a", 0, "")
		require.NoError(t, err)
		assert.Equal(t, []userapi.Membership{{UserID: w.ids["ann"], Resource: "doc", ResourceID: "a", Level: "manager"}}, page.Memberships)
		w.onDoc("invitee", "a", eve).is(200, "")
	})
}

// actor is a user of the world who has just logged in.
func (w *world) actor(name string) userapi.Actor {
	w.t.Helper()
	id, err := w.api.Auth.Authenticate(context.Background(), w.login(name).text("access_token"))
	require.NoError(w.t, err)
	return id.Actor()
}

func TestL06_AnErasedUserLeavesNoLevel(t *testing.T) { onEveryStore(t, anErasedUserLeavesNoLevel) }

func anErasedUserLeavesNoLevel(t *testing.T, on options) {
	w := newWorld(t, docs, on)
	w.give("ann", "a", "secret")
	w.give("bob", "a", "member")
	w.do("DELETE", "/users/"+w.ids["ann"]+"?force=true", nil, w.as("admin")).is(204, "")
	page, err := w.api.Memberships.OfResource(t.Context(), userapi.System(), "doc", "a", 0, "")
	require.NoError(t, err)
	assert.Equal(t, []userapi.Membership{{UserID: w.ids["bob"], Resource: "doc", ResourceID: "a", Level: "member"}}, page.Memberships)
	w.clock.advance(time.Minute) // whoever has the id next comes later
	w.add("ann", userapi.NewUser{ID: w.ids["ann"], Email: "ann@acme.example", CustomerID: "acme"})
	w.onDoc("invitee", "a", w.as("ann")).is(403, "ROLE_MISSING")
	assert.Equal(t, object{"memberships": []any{}}, w.do("GET", "/users/current/memberships", nil, w.as("ann")).JSON)
}

// noMemberships is a store that cannot be asked for them.
type noMemberships struct{ userapi.Store }

func (noMemberships) ListMemberships(context.Context, userapi.MembershipFilter) ([]userapi.Membership, error) {
	return nil, userapi.ErrUnavailable
}

func TestK02_WithoutMembershipsNobodyIsLetIn(t *testing.T) {
	w := newWorld(t, docs, options{api: func(c *userapi.Config) { c.Store = noMemberships{memory.New()} }})
	a := w.onDoc("invitee", "1", w.as("ann")).is(503, "UNAVAILABLE")
	assert.Equal(t, "1", a.Header().Get("Retry-After"))
	w.do("GET", "/users/current/memberships", nil, w.as("ann")).is(503, "UNAVAILABLE")
}

func TestWhatTheHostSaysOfItsResources(t *testing.T) {
	var says error
	w := newWorld(t, docs, options{api: func(c *userapi.Config) {
		c.Memberships.Owns = func(context.Context, string, string, string) (bool, error) { return true, says }
	}})
	admin := w.as("admin")
	put := func() *answer {
		return w.do("PUT", w.memberships("ann")+"/doc/1", object{"level": "member"}, admin)
	}
	says = errors.New("canary")
	put().is(500, "INTERNAL")
	says = userapi.ErrUnavailable.Wrap(errors.New("canary"))
	assert.NotContains(t, put().is(503, "UNAVAILABLE").Body.String(), "canary")
	w.do("GET", w.memberships("ann")+"/doc/1", nil, admin).is(404, "NOT_FOUND")
	says = nil
	put().is(200, "")
}

func TestHasRoleOnIsAGuardLikeTheOthers(t *testing.T) {
	w := newWorld(t, docs)
	w.give("ann", "1", "member")
	in := w.login("ann")
	h := new(counted)
	guarded := w.web.HasRoleOn("doc", "member", func(r *hr) string { return r.PathValue("id") })(h)
	mux := http.NewServeMux()
	mux.Handle("POST /docs/{id}", guarded)
	own := cookie("__Host-user-api-credentials", in.cookie("__Host-user-api-credentials").Value)
	w.send(mux, "POST", "/docs/1", nil, own, crossSite).is(403, "CROSS_ORIGIN")
	w.send(mux, "POST", "/docs/1", nil, bearer("x")).is(401, "UNAUTHORIZED")
	w.send(mux, "POST", "/docs/2", nil, own).is(403, "ROLE_MISSING")
	assert.Zero(t, h.calls)
	assert.Equal(t, "host", w.send(mux, "POST", "/docs/1", nil, own).Body.String())
	assert.Equal(t, counted{1, w.ids["ann"]}, *h)
}
