package httpadapter_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/httpadapter"
)

// foreign are the ways a browser tells that another site's page is behind a request.
var foreign = map[string]set{
	"cross-site":        crossSite,
	"same-site":         header("Sec-Fetch-Site", "same-site"),
	"null origin":       header("Origin", "null"),
	"evil prefix":       header("Origin", "http://evil-example.com"),
	"evil suffix":       header("Origin", "http://example.com.evil"),
	"other port":        header("Origin", "http://example.com:8080"),
	"both, contradicts": func(r *http.Request) { crossSite(r); header("Origin", origin)(r) },
}

func (w *world) cookieOf(name string) set {
	token := w.login(name).text("access_token")
	return cookie(httpadapter.DefaultAccessCookie, base64.StdEncoding.EncodeToString([]byte(token)))
}

func TestI01_ForeignPagesChangeNothing(t *testing.T) {
	w := newWorld(t)
	ann := w.cookieOf("ann")
	for how, from := range foreign {
		t.Run(how, func(t *testing.T) {
			w.do("PATCH", "/users/current", object{"name": "Mallory"}, ann, from).is(403, "CROSS_ORIGIN")
			w.do("POST", "/auth/logout-all", nil, ann, from).is(403, "CROSS_ORIGIN")
			w.do("DELETE", "/users/current/sessions", nil, ann, from).is(403, "CROSS_ORIGIN")
			w.do("PATCH", "/users/current", "name=x", noType, header("Content-Type", "text/plain"), ann, from).is(403, "CROSS_ORIGIN")
			guarded := w.web.IsConnected(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached") }))
			w.send(guarded, "POST", "/host", nil, ann, from).is(403, "CROSS_ORIGIN")
			w.do("GET", "/users/current", nil, ann, from).is(200, "") // safe
		})
	}
	assert.Equal(t, "Ann", w.do("GET", "/users/current", nil, ann).text("name"))
	for _, own := range []set{header("Sec-Fetch-Site", "same-origin"), header("Sec-Fetch-Site", "none"), header("Origin", origin), func(*http.Request) {}} {
		w.do("PATCH", "/users/current", object{"name": "Ann"}, ann, own).is(200, "")
	}
	// A foreign page cannot add the header, so whoever does is no victim.
	w.do("PATCH", "/users/current", object{"name": "Ann"}, w.as("ann"), crossSite).is(200, "")
	w.do("POST", "/users", object{"email": "x@acme.example", "name": "X", "active": true}, w.as("admin"), crossSite).is(201, "")
}

func TestI02_ForeignPagesLogNobodyInOrOut(t *testing.T) {
	w := newWorld(t, options{api: func(c *userapi.Config) {
		c.Registration = userapi.Registration{Policy: userapi.RegistrationOpen, Customer: "acme"}
	}})
	in := w.login("ann")
	credentials := object{"email": "ann@acme.example", "password": password}
	for how, from := range foreign {
		t.Run(how, func(t *testing.T) {
			for _, path := range []string{"/auth/login", "/users/login"} {
				a := w.do("POST", path, credentials, from).is(403, "CROSS_ORIGIN")
				assert.Empty(t, a.Result().Cookies())
			}
			w.do("POST", "/auth/refresh", object{"refresh_token": in.text("refresh_token")}, from).is(403, "CROSS_ORIGIN")
			for _, path := range []string{"/auth/logout", "/users/logout"} {
				a := w.do("POST", path, nil, from, bearer(in.text("access_token"))).is(403, "CROSS_ORIGIN")
				assert.Empty(t, a.Result().Cookies())
			}
			a := w.do("POST", "/users", object{"email": "i02@acme.example", "password": password}, from).is(403, "CROSS_ORIGIN")
			assert.Empty(t, a.Result().Cookies())
		})
	}
	w.do("GET", "/auth/whoami", nil, bearer(in.text("access_token"))).is(200, "")
	w.do("POST", "/auth/refresh", object{"refresh_token": in.text("refresh_token")}).is(200, "") // still the first
	_, err := w.api.Users.ByEmail(context.Background(), userapi.System(), "i02@acme.example")
	assert.ErrorIs(t, err, userapi.ErrNotFound)
}

func TestI02_TrustedOriginsMay(t *testing.T) {
	trusting := http.NewCrossOriginProtection()
	require.NoError(t, trusting.AddTrustedOrigin("https://app.example"))
	w := newWorld(t, options{http: func(c *httpadapter.Config) { c.CrossOrigin = trusting }})
	credentials := object{"email": "ann@acme.example", "password": password}
	w.do("POST", "/auth/login", credentials, header("Origin", "https://app.example")).is(200, "")
	w.do("POST", "/auth/login", credentials, header("Origin", "https://app.example.evil")).is(403, "CROSS_ORIGIN")
}

func TestI03_Cookies(t *testing.T) {
	check := func(t *testing.T, w *world, a *answer, access, refresh string, secure bool) {
		t.Helper()
		require.Len(t, a.Result().Cookies(), 2)
		for name, sameSite := range map[string]http.SameSite{access: http.SameSiteLaxMode, refresh: http.SameSiteStrictMode} {
			c := a.cookie(name)
			require.NotNil(t, c, name)
			assert.Equal(t, "/", c.Path)
			assert.Empty(t, c.Domain)
			assert.True(t, c.HttpOnly)
			assert.Equal(t, secure, c.Secure)
			assert.Equal(t, sameSite, c.SameSite)
			assert.Less(t, len(c.Raw), 4096)
		}
	}
	for _, development := range []bool{false, true} {
		t.Run(fmt.Sprint("development ", development), func(t *testing.T) {
			w := newWorld(t, options{http: func(c *httpadapter.Config) { c.Development = development }})
			access, refresh := "__Host-user-api-credentials", "__Host-user-api-refresh"
			if development {
				access, refresh = "user-api-credentials", "user-api-refresh"
			}
			in := w.login("ann")
			check(t, w, in, access, refresh, !development)
			assert.Equal(t, base64.StdEncoding.EncodeToString([]byte(in.text("access_token"))), in.cookie(access).Value)
			assert.Equal(t, in.text("refresh_token"), in.cookie(refresh).Value)
			assert.Equal(t, int64(in.JSON["exp"].(float64)), in.cookie(access).Expires.Unix())
			assert.Equal(t, w.clock.now().Add(30*24*time.Hour).Unix(), in.cookie(refresh).Expires.Unix())
			out := w.do("POST", "/auth/logout", nil, bearer(in.text("access_token"))).is(204, "")
			check(t, w, out, access, refresh, !development)
			for _, name := range []string{access, refresh} {
				assert.Empty(t, out.cookie(name).Value)
				assert.Negative(t, out.cookie(name).MaxAge)
				assert.True(t, out.cookie(name).Expires.Before(w.clock.now()))
			}
		})
	}
	t.Run("the host names them", func(t *testing.T) {
		w := newWorld(t, options{http: func(c *httpadapter.Config) { c.AccessCookie, c.RefreshCookie = "__Secure-a", "r" }})
		check(t, w, w.login("ann"), "__Secure-a", "r", true)
	})
	t.Run("a token too large for a cookie is in none", func(t *testing.T) {
		for _, delivery := range []httpadapter.TokenDelivery{httpadapter.BodyAndCookie, httpadapter.CookieOnly} {
			w := newWorld(t, options{http: func(c *httpadapter.Config) { c.Tokens = delivery }})
			big := userapi.NewUser{Username: "big", CustomerID: "acme"}
			for i := range 60 {
				role, err := w.api.Roles.Create(context.Background(), userapi.System(), userapi.Role{Code: fmt.Sprintf("%064d", i)})
				require.NoError(t, err)
				big.Roles = append(big.Roles, userapi.RoleRef{ID: role.ID})
			}
			w.add("big", big)
			a := w.do("POST", "/auth/login", object{"username": "big", "password": password})
			require.Len(t, a.Result().Cookies(), 2) // those of an earlier login go
			for _, c := range a.Result().Cookies() {
				assert.Empty(t, c.Value)
			}
			if delivery == httpadapter.CookieOnly {
				a.is(500, "INTERNAL")
				continue
			}
			w.do("GET", "/auth/whoami", nil, bearer(a.is(200, "").text("access_token"))).is(200, "")
		}
	})
}

func TestI04_TokenDelivery(t *testing.T) {
	for delivery, want := range map[httpadapter.TokenDelivery]struct{ body, cookies bool }{
		httpadapter.BodyAndCookie: {true, true}, httpadapter.BodyOnly: {true, false}, httpadapter.CookieOnly: {false, true},
	} {
		t.Run(fmt.Sprint(delivery), func(t *testing.T) {
			w := newWorld(t, sending, options{
				http: func(c *httpadapter.Config) { c.Tokens = delivery },
				api: func(c *userapi.Config) {
					c.Registration = userapi.Registration{Policy: userapi.RegistrationOpen, Customer: "acme"}
				},
			})
			check := func(a *answer) {
				t.Helper()
				assert.Equal(t, want.body, a.JSON["access_token"] != nil)
				assert.Equal(t, want.body, a.JSON["refresh_token"] != nil)
				assert.NotNil(t, a.JSON["exp"])
				assert.Equal(t, want.cookies, len(a.Result().Cookies()) == 2)
				if !want.body {
					for _, c := range a.Result().Cookies() {
						assert.NotContains(t, a.Body.String(), c.Value)
					}
				}
			}
			_, tokens, err := w.api.Auth.Login(context.Background(), userapi.Anonymous(), userapi.LoginRequest{Identifier: "ann@acme.example", Password: password})
			require.NoError(t, err)
			own := bearer(string(tokens.Access))
			check(w.login("ann"))
			check(w.do("POST", "/users/login", object{"email": "ann@acme.example", "password": password}).is(200, ""))
			check(w.do("POST", "/users", object{"email": "i04@acme.example", "password": password}).is(201, ""))
			check(w.do("POST", "/auth/refresh", object{"refresh_token": string(tokens.Refresh)}).is(200, ""))
			_, tokens, err = w.api.Auth.Login(context.Background(), userapi.Anonymous(), userapi.LoginRequest{Identifier: "bob@acme.example", Password: password})
			require.NoError(t, err)
			bobs := bearer(string(tokens.Access))
			check(w.do("POST", "/verification/email/confirm", object{"token": w.emailToken(bobs, "bob@acme.example")}, bobs).is(200, ""))
			check(w.do("POST", "/password/change", object{"old_password": password, "new_password": "another fine phrase"}, own).is(200, ""))
		})
	}
}

func TestI05_NoOriginIsReflected(t *testing.T) {
	w := newWorld(t)
	for _, from := range []string{"null", "https://evil-example.com", "https://example.com.evil", "http://example.com:81", origin} {
		for _, method := range []string{"GET", "POST", "OPTIONS"} {
			a := w.do(method, "/auth/login", object{}, header("Origin", from), header("Access-Control-Request-Method", "POST"))
			for name := range a.Header() {
				assert.False(t, strings.HasPrefix(name, "Access-Control-"), name)
			}
		}
	}
}

func TestI08_EveryAnswerIsSealed(t *testing.T) {
	check := func(a *answer) {
		t.Helper()
		assert.Equal(t, "no-store", a.Header().Get("Cache-Control"))
		assert.Equal(t, "nosniff", a.Header().Get("X-Content-Type-Options"))
		assert.Equal(t, "no-referrer", a.Header().Get("Referrer-Policy"))
		if a.Code != 204 {
			assert.Equal(t, "application/json", a.Header().Get("Content-Type"))
		}
	}
	for _, rt := range newWorld(t, everything).web.Routes() {
		w := newWorld(t, everything)
		path := strings.NewReplacer("{id}", w.ids["ann"], "{sid}", "s", "{code}", "editor", "{resource}", "doc", "{rid}", "1").Replace(rt.Path)
		check(w.do(rt.Method, path, nil))
		check(w.do(rt.Method, path, nil, w.as("ann")))
		check(w.do(rt.Method, path, nil, w.as("admin")))
		check(w.do("OPTIONS", path, nil))
		check(w.do("TRACE", path, nil))
	}
	w := newWorld(t)
	check(w.do("GET", "/nowhere", nil))
	check(w.login("bob"))
	guarded := w.web.IsConnected(http.NotFoundHandler())
	check(w.send(guarded, "GET", "/", nil))
}

func TestI09_AmbiguousCookies(t *testing.T) {
	w := newWorld(t)
	in := w.login("ann")
	name, value := httpadapter.DefaultRefreshCookie, in.text("refresh_token")
	w.do("POST", "/auth/refresh", nil, cookie(name, value), cookie(name, "planted")).is(401, "UNAUTHORIZED")
	w.do("POST", "/auth/refresh", nil, header("Cookie", name+"=planted; "+name+"="+value)).is(401, "UNAUTHORIZED")
	w.do("POST", "/auth/refresh", nil, cookie(name, value)).is(200, "")
}
