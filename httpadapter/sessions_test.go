package httpadapter_test

import (
	"context"
	"encoding/base64"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/httpadapter"
	"github.com/userapi/userapi/store/memory"
)

func (w *world) refresh(token string, how ...set) *answer {
	w.t.Helper()
	return w.do("POST", "/auth/refresh", object{"refresh_token": token}, how...)
}

func TestB01_B03_RefreshReuse(t *testing.T) {
	w := newWorld(t)
	first := w.login("ann").text("refresh_token")
	second := w.refresh(first).is(200, "")
	assert.ElementsMatch(t, []string{"access_token", "refresh_token", "exp"}, keys(second.JSON))
	w.clock.advance(30 * time.Second)
	assert.Equal(t, second.text("refresh_token"), w.refresh(first).is(200, "").text("refresh_token"), "B03: the answer was lost, the client asks again")
	w.clock.advance(time.Millisecond)
	w.refresh(first).is(401, "TOKEN_REVOKED") // B01: and the session with it
	w.refresh(second.text("refresh_token")).is(401, "TOKEN_REVOKED")
	w.do("GET", "/auth/whoami", nil, bearer(second.text("access_token"))).is(401, "TOKEN_REVOKED")
}

func TestB02_ParallelRefreshesGetOneSuccessor(t *testing.T) {
	w := newWorld(t)
	first := w.login("ann").text("refresh_token")
	var mu sync.Mutex
	var wait sync.WaitGroup
	successors := map[string]int{}
	for range 32 {
		wait.Go(func() {
			a := w.refresh(first)
			mu.Lock()
			defer mu.Unlock()
			assert.Equal(t, 200, a.Code)
			successors[a.text("refresh_token")]++
		})
	}
	wait.Wait()
	assert.Len(t, successors, 1)
}

func TestB06_SessionsEnd(t *testing.T) {
	day := 24 * time.Hour
	t.Run("idle", func(t *testing.T) {
		w := newWorld(t)
		token := w.login("ann").text("refresh_token")
		w.clock.advance(14*day - time.Second)
		token = w.refresh(token).is(200, "").text("refresh_token")
		w.clock.advance(14 * day)
		w.refresh(token).is(401, "TOKEN_EXPIRED")
	})
	t.Run("absolute", func(t *testing.T) {
		w := newWorld(t)
		token := w.login("ann").text("refresh_token")
		for range 29 {
			w.clock.advance(day)
			token = w.refresh(token).is(200, "").text("refresh_token")
		}
		w.clock.advance(day - time.Minute)
		a := w.refresh(token).is(200, "")
		assert.Equal(t, w.clock.now().Add(time.Minute).Unix(), int64(a.JSON["exp"].(float64)), "never past the session's end")
		w.clock.advance(time.Minute)
		w.refresh(a.text("refresh_token")).is(401, "TOKEN_EXPIRED")
	})
}

func TestB08_RefreshReadsAnew(t *testing.T) {
	w := newWorld(t)
	token := w.login("bob").text("refresh_token")
	admin := w.as("admin")
	w.do("PATCH", "/users/"+w.ids["bob"]+"/role", []string{"editor"}, admin).is(200, "")
	a := w.refresh(token).is(200, "")
	assert.Equal(t, []any{"editor"}, w.do("GET", "/auth/verify_token", nil, bearer(a.text("access_token"))).JSON["roles"])
	w.do("PATCH", "/users/"+w.ids["bob"], object{"active": false}, admin).is(200, "")
	w.refresh(a.text("refresh_token")).is(401, "TOKEN_REVOKED")
}

func TestRefreshToken(t *testing.T) {
	w := newWorld(t)
	name := httpadapter.DefaultRefreshCookie
	in := w.login("ann")
	a := w.do("POST", "/auth/refresh", nil, cookie(name, in.text("refresh_token"))).is(200, "")
	assert.Equal(t, a.text("refresh_token"), a.cookie(name).Value)
	// The body wins, even over a good cookie.
	w.refresh("r1.x.y.1.z", cookie(name, a.text("refresh_token"))).is(401, "UNAUTHORIZED")
	w.do("POST", "/auth/refresh", object{}, cookie(name, a.text("refresh_token"))).is(200, "")
	for _, bad := range []string{"x", "....", "r1....", a.text("access_token"), a.text("refresh_token") + "x", string(make([]byte, 10_000))} {
		w.refresh(bad).is(401, "UNAUTHORIZED")
	}
	w.refresh("").is(422, "WRONG_DOCUMENT_FORMAT")
	// An expired access token beside it does not matter.
	w.clock.advance(time.Hour)
	w.refresh(a.text("refresh_token"), bearer(in.text("access_token"))).is(401, "TOKEN_REVOKED")
}

func TestLogout(t *testing.T) {
	access, refresh := httpadapter.DefaultAccessCookie, httpadapter.DefaultRefreshCookie
	for how, credential := range map[string]func(in *answer) (any, []set){
		"by header":         func(in *answer) (any, []set) { return nil, []set{bearer(in.text("access_token"))} },
		"by access cookie":  func(in *answer) (any, []set) { return nil, []set{cookie(access, in.cookie(access).Value)} },
		"by refresh cookie": func(in *answer) (any, []set) { return nil, []set{cookie(refresh, in.cookie(refresh).Value)} },
		"by body":           func(in *answer) (any, []set) { return object{"refresh_token": in.text("refresh_token")}, nil },
		"by all": func(in *answer) (any, []set) {
			return object{"refresh_token": in.text("refresh_token")}, []set{cookie(access, in.cookie(access).Value), bearer(in.text("access_token"))}
		},
	} {
		t.Run(how, func(t *testing.T) {
			for path, status := range map[string]int{"/auth/logout": 204, "/users/logout/": 200} {
				for _, later := range []time.Duration{0, time.Hour} { // an expired access token ends its session too
					w := newWorld(t)
					in, other := w.login("ann"), w.login("ann")
					w.clock.advance(later)
					body, sets := credential(in)
					a := w.do("POST", path, body, sets...).is(status, "")
					if status == 200 {
						assert.Equal(t, object{"message": "User disconnected."}, a.JSON)
					}
					assert.Empty(t, a.cookie(access).Value)
					assert.Empty(t, a.cookie(refresh).Value)
					w.refresh(in.text("refresh_token")).is(401, "TOKEN_REVOKED")
					w.refresh(other.text("refresh_token")).is(200, "")
					w.do("POST", path, body, sets...).is(status, "") // once more is no error
				}
			}
		})
	}
	t.Run("of nobody", func(t *testing.T) {
		w := newWorld(t)
		for _, how := range [][]set{nil, {bearer("x")}, {header("Authorization", "Basic x")}, {cookie(access, "!")}, {cookie(refresh, "x"), cookie(refresh, "y")}} {
			a := w.do("POST", "/auth/logout", nil, how...).is(204, "")
			assert.Len(t, a.Result().Cookies(), 2)
		}
	})
	t.Run("both of one user, never another's", func(t *testing.T) {
		w := newWorld(t)
		one, two, bob := w.login("ann"), w.login("ann"), w.login("bob")
		w.do("POST", "/auth/logout", object{"refresh_token": bob.text("refresh_token")}, bearer(one.text("access_token"))).is(204, "")
		w.refresh(one.text("refresh_token")).is(401, "TOKEN_REVOKED")
		bobNow := w.refresh(bob.text("refresh_token")).is(200, "")
		three := w.login("ann")
		w.do("POST", "/auth/logout", object{"refresh_token": two.text("refresh_token")}, bearer(three.text("access_token"))).is(204, "")
		w.refresh(two.text("refresh_token")).is(401, "TOKEN_REVOKED")
		w.refresh(three.text("refresh_token")).is(401, "TOKEN_REVOKED")
		w.refresh(bobNow.text("refresh_token")).is(200, "")
	})
	t.Run("all that the request brings, wherever it brings it", func(t *testing.T) {
		w := newWorld(t)
		header := func(a *answer) set { return bearer(a.text("access_token")) }
		accessCookie := func(a *answer) set { return cookie(access, a.cookie(access).Value) }
		refreshCookie := func(a *answer) set { return cookie(refresh, a.cookie(refresh).Value) }
		for name, send := range map[string]func(one, two *answer) (any, []set){
			"body and refresh cookie": func(one, two *answer) (any, []set) {
				return object{"refresh_token": one.text("refresh_token")}, []set{refreshCookie(two)}
			},
			"header and access cookie": func(one, two *answer) (any, []set) { return nil, []set{header(one), accessCookie(two)} },
			"a useless header and cookies": func(one, two *answer) (any, []set) {
				return nil, []set{func(r *hr) { r.Header.Set("Authorization", "Basic x") }, accessCookie(one), refreshCookie(two)}
			},
			"one cookie twice": func(one, two *answer) (any, []set) { return nil, []set{refreshCookie(one), refreshCookie(two)} },
		} {
			one, two := w.login("ann"), w.login("ann")
			body, how := send(one, two)
			w.do("POST", "/auth/logout", body, how...).is(204, "")
			for _, ended := range []*answer{one, two} {
				require.Equal(t, 401, w.refresh(ended.text("refresh_token")).Code, name)
				require.Equal(t, 401, w.do("GET", "/auth/whoami", nil, header(ended)).Code, name)
			}
		}
	})
	t.Run("with an API key: 403, untouched", func(t *testing.T) {
		w := newWorld(t)
		in := w.login("ann")
		for _, path := range []string{"/auth/logout", "/users/logout"} {
			a := w.do("POST", path, object{"refresh_token": in.text("refresh_token")}, header("X-Api-Key", "k.s"), bearer(in.text("access_token"))).is(403, "FORBIDDEN")
			assert.Empty(t, a.Result().Cookies())
		}
		w.refresh(in.text("refresh_token")).is(200, "")
	})
	t.Run("by GET only where the host opts in", func(t *testing.T) {
		w := newWorld(t)
		in := w.login("ann")
		w.do("GET", "/users/logout", nil, bearer(in.text("access_token"))).is(405, "METHOD_NOT_ALLOWED")
		w = newWorld(t, everything)
		in = w.login("ann")
		w.do("HEAD", "/users/logout", nil, bearer(in.text("access_token"))).is(405, "")
		w.do("GET", "/auth/whoami", nil, bearer(in.text("access_token"))).is(200, "")
		w.do("GET", "/users/logout", nil, bearer(in.text("access_token"))).is(200, "")
		w.do("GET", "/auth/whoami", nil, bearer(in.text("access_token"))).is(401, "TOKEN_REVOKED")
	})
}

func TestB11_Sessions(t *testing.T) {
	w := newWorld(t)
	phone := w.do("POST", "/auth/login", object{"email": "ann@acme.example", "password": password}, header("User-Agent", "phone\x01 1.0"))
	w.clock.advance(time.Second)
	laptop := w.login("ann")
	own := bearer(laptop.text("access_token"))
	list := func(path string, how set) []any {
		return w.do("GET", path, nil, how).is(200, "").JSON["sessions"].([]any)
	}
	all := list("/users/current/sessions", own)
	require.Len(t, all, 2)
	assert.Equal(t, true, all[0].(object)["current"])
	assert.Equal(t, false, all[1].(object)["current"])
	assert.Equal(t, "phone 1.0", all[1].(object)["user_agent"])
	assert.Equal(t, "2026-03-01T12:00:01.000Z", all[0].(object)["created_at"])
	admin := w.as("admin")
	assert.Len(t, list("/users/"+w.ids["ann"]+"/sessions", admin), 2)
	w.do("GET", "/users/"+w.ids["ann"]+"/sessions", nil, w.as("bob")).is(403, "FORBIDDEN")

	of := func(i int) string { return all[i].(object)["id"].(string) }
	w.do("DELETE", "/users/"+w.ids["bob"]+"/sessions/"+of(1), nil, w.as("bob")).is(404, "NOT_FOUND")
	w.do("DELETE", "/users/current/sessions/nothing", nil, own).is(404, "NOT_FOUND")
	a := w.do("DELETE", "/users/current/sessions/"+of(1), nil, own).is(204, "")
	assert.Empty(t, a.Result().Cookies())
	w.do("GET", "/auth/whoami", nil, bearer(phone.text("access_token"))).is(401, "TOKEN_REVOKED")
	w.do("GET", "/auth/whoami", nil, own).is(200, "")
	a = w.do("DELETE", "/users/current/sessions/"+of(0), nil, own).is(204, "")
	assert.Len(t, a.Result().Cookies(), 2, "one's own session: the cookies go")
	w.do("GET", "/auth/whoami", nil, own).is(401, "TOKEN_REVOKED")

	one, two := w.login("ann"), w.login("ann")
	a = w.do("DELETE", "/users/"+w.ids["bob"]+"/sessions", nil, admin).is(204, "")
	assert.Empty(t, a.Result().Cookies(), "another's sessions: the admin's cookies stay")
	a = w.do("DELETE", "/users/current/sessions", nil, bearer(one.text("access_token"))).is(204, "")
	assert.Len(t, a.Result().Cookies(), 2)
	w.refresh(two.text("refresh_token")).is(401, "TOKEN_REVOKED")
	assert.Empty(t, list("/users/"+w.ids["ann"]+"/sessions", admin))
}

// outage is a store that cannot be asked for revocations.
type outage struct {
	userapi.Store
	down *bool
}

func (o outage) Revocations(ctx context.Context, since int64) ([]userapi.Revocation, int64, error) {
	if *o.down {
		return nil, 0, userapi.ErrUnavailable
	}
	return o.Store.Revocations(ctx, since)
}

func TestK02_WithoutRevocationsNobodyIsLetIn(t *testing.T) {
	down := false
	w := newWorld(t, options{api: func(c *userapi.Config) { c.Store = outage{memory.New(), &down} }})
	in := w.login("ann")
	ann := cookie(httpadapter.DefaultAccessCookie, base64.StdEncoding.EncodeToString([]byte(in.text("access_token"))))
	w.do("GET", "/auth/whoami", nil, ann).is(200, "")
	down = true
	w.clock.advance(2 * time.Second)
	h := new(counted)
	for range 2 {
		assert.Equal(t, "1", w.do("GET", "/auth/whoami", nil, ann).is(503, "UNAVAILABLE").Header().Get("Retry-After"))
		w.send(w.web.IsConnected(h), "GET", "/", nil, ann).is(503, "UNAVAILABLE")
	}
	assert.Zero(t, h.calls)
	assert.Contains(t, w.log.String(), `"level":"WARN"`)
	assert.NotContains(t, w.log.String(), `"level":"ERROR"`)
	down = false
	w.do("GET", "/auth/whoami", nil, ann).is(200, "")
}

// Whoever plants cookies in somebody's browser before they log in has nothing of their session.
func TestB09_ALoginTakesNothingThatWasPlanted(t *testing.T) {
	w := newWorld(t)
	planted := w.login("bob")
	access, refresh := planted.text("access_token"), planted.text("refresh_token")
	before := w.do("GET", "/users/current/sessions", nil, bearer(access)).is(200, "").JSON["sessions"].([]any)[0].(object)["id"]
	in := w.do("POST", "/auth/login", object{"email": "ann@acme.example", "password": password},
		cookie(httpadapter.DefaultAccessCookie, base64.StdEncoding.EncodeToString([]byte(access))), cookie(httpadapter.DefaultRefreshCookie, refresh), bearer(access)).is(200, "")
	own := w.do("GET", "/users/current/sessions", nil, bearer(in.text("access_token"))).is(200, "").JSON["sessions"].([]any)
	assert.Len(t, own, 1)
	assert.NotEqual(t, before, own[0].(object)["id"])
	for _, c := range in.Result().Cookies() {
		assert.NotContains(t, []string{access, base64.StdEncoding.EncodeToString([]byte(access)), refresh}, c.Value)
	}
	assert.Equal(t, w.ids["bob"], w.do("GET", "/auth/whoami", nil, bearer(access)).is(200, "").text("id"))
	next := w.refresh(refresh).is(200, "").text("access_token")
	assert.Equal(t, w.ids["bob"], w.do("GET", "/auth/whoami", nil, bearer(next)).is(200, "").text("id"))
}
