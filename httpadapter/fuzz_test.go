package httpadapter_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/userapi/userapi/httpadapter"
)

// sound fails on any answer that is our fault, or is not JSON.
func sound(t *testing.T, w *world, r *http.Request) int {
	rec := httptest.NewRecorder()
	w.mux.ServeHTTP(rec, r)
	if rec.Code >= 500 || rec.Header().Get("Content-Type") != "application/json" || !json.Valid(rec.Body.Bytes()) {
		t.Errorf("%d %v %s", rec.Code, rec.Header(), rec.Body)
	}
	return rec.Code
}

func FuzzBody(f *testing.F) {
	for _, seed := range []string{`{"email":"a@b.example","name":"x","active":true,"roles":[{"id":7}]}`, `{"name":"\ud83d\ude00"}`, `{"name":"\ud800"}`, "[", `["editor",{"id":"7"}]`, "{}{}",
		`{"token":"a.b","new_password":"x","verify_password":null}`, `{"email":"ann@acme.example","url_template":"https://x.example/{token}"}`, `{"phone":"+4930901820","code":"１２３"}`} {
		f.Add(seed)
	}
	w := newWorld(new(testing.T), sending)
	admin := w.as("admin")
	f.Fuzz(func(t *testing.T, body string) {
		for _, route := range []string{
			"POST /api/users", "PATCH /api/users/" + w.ids["ann"] + "/role", "POST /api/auth/refresh", "POST /api/auth/activate", "POST /api/password/reset",
			"POST /api/password/reset/confirm", "POST /api/verification/phone", "POST /api/verification/phone/confirm", "POST /api/verification/email", "POST /api/verification/email/confirm",
		} {
			method, path, _ := strings.Cut(route, " ")
			r := httptest.NewRequest(method, path, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			admin(r)
			code := sound(t, w, r)
			if code < 300 && (!utf8.ValidString(body) || !json.Valid([]byte(body))) {
				t.Errorf("taken: %q", body)
			}
		}
	})
}

func FuzzPath(f *testing.F) {
	for _, seed := range []string{"/users/current", "/users/%2e%2e/role", "/users//", "/%00", "/users?limit=1&limit=2", "/users?cursor=%ff"} {
		f.Add(seed)
	}
	w := newWorld(new(testing.T))
	admin, h := w.as("admin"), w.web.Handler()
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.Parse(target)
		if err != nil {
			return
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.URL = u
		admin(r)
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if rec.Code >= 500 || rec.Code/100 == 3 || !json.Valid(rec.Body.Bytes()) {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
	})
}

func FuzzAPIKey(f *testing.F) {
	w := newWorld(new(testing.T))
	_, key := w.key("ann", "full")
	for _, seed := range []string{"", ".", "a", "a.b", "a.b.c", key + "x", key[1:], strings.ToLower(key), strings.Replace(key, ".", "", 1), strings.Repeat("A", 1<<16)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if text == key {
			return
		}
		r := httptest.NewRequest("GET", "/api/auth/whoami", nil)
		r.Header["X-Api-Key"] = []string{text}
		if code := sound(t, w, r); code != 401 {
			t.Errorf("%d", code)
		}
	})
}

func FuzzCredentials(f *testing.F) {
	w := newWorld(new(testing.T))
	token := w.login("ann").text("access_token")
	f.Add("Bearer "+token+"x", httpadapter.DefaultAccessCookie+"=eA==", "for=x")
	f.Add("Basic x", "a=b; ;=;", "1.1.1.1, ::")
	f.Fuzz(func(t *testing.T, authorization, cookies, forwarded string) {
		if strings.Contains(authorization+cookies, token) {
			return
		}
		r := httptest.NewRequest("GET", "/api/auth/whoami", nil)
		r.Header["Authorization"], r.Header["Cookie"], r.Header["X-Forwarded-For"] = []string{authorization}, []string{cookies}, []string{forwarded}
		if code := sound(t, w, r); code != 401 {
			t.Errorf("%d", code)
		}
		delete(r.Header, "Authorization")
		if code := sound(t, w, r); code != 401 {
			t.Errorf("%d", code)
		}
	})
}
