package httpadapter_test

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/httpadapter"
)

var b64 = base64.RawURLEncoding

// forge is a world whose tokens are signed with a key the test knows, so that a token has one fault and no other.
type forge struct {
	*world
	key     ed25519.PrivateKey
	header  object
	payload object
	good    string
}

func newForge(t *testing.T, o ...options) *forge {
	key := ed25519.NewKeyFromSeed([]byte("seed seed seed seed seed seed 32"))
	ring, err := userapi.NewKeyring(userapi.Key{ID: "k1", Key: key})
	require.NoError(t, err)
	f := &forge{key: key}
	f.world = newWorld(t, append([]options{{api: func(c *userapi.Config) { c.Keys, c.Audience = ring, "app" }}}, o...)...)
	f.good = f.login("ann").text("access_token")
	part := strings.Split(f.good, ".")
	for i, into := range []*object{&f.header, &f.payload} {
		raw, err := b64.DecodeString(part[i])
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(raw, into))
	}
	return f
}

// with copies o and sets or (nil) removes members.
func with(o object, changes object) object {
	out := object{}
	for k, v := range o {
		out[k] = v
	}
	for k, v := range changes {
		if out[k] = v; v == nil {
			delete(out, k)
		}
	}
	return out
}

func (f *forge) sign(header, payload any) string {
	part := func(v any) string {
		raw, ok := v.(string)
		if !ok {
			b, err := json.Marshal(v)
			require.NoError(f.t, err)
			raw = string(b)
		}
		return b64.EncodeToString([]byte(raw))
	}
	text := part(header) + "." + part(payload)
	return text + "." + b64.EncodeToString(ed25519.Sign(f.key, []byte(text)))
}

func (f *forge) refused(t *testing.T, token string) {
	t.Helper()
	a := f.do("GET", "/auth/whoami", nil, bearer(token))
	require.Equal(t, 401, a.Code, a.Body.String())
	require.Equal(t, "Bearer", a.Header().Get("WWW-Authenticate"))
	require.NotContains(t, a.Body.String(), "ann@")
}

func TestAccessTokens(t *testing.T) {
	f := newForge(t)
	head, body, unsigned := f.header, f.payload, func(h object) string {
		text := f.sign(h, f.payload)
		return text[:strings.LastIndexByte(text, '.')+1]
	}
	f.do("GET", "/auth/whoami", nil, bearer(f.sign(head, body))).is(200, "")

	t.Run("A01 none is no algorithm", func(t *testing.T) {
		for _, alg := range []string{"none", "None", "noNE", ""} {
			f.refused(t, unsigned(with(head, object{"alg": alg})))
			f.refused(t, f.sign(with(head, object{"alg": alg}), body))
		}
		f.refused(t, unsigned(head))
	})
	t.Run("A02 a key has its one algorithm", func(t *testing.T) {
		for _, alg := range []string{"HS256", "HS384", "ES256", "RS256", "PS256"} {
			f.refused(t, f.sign(with(head, object{"alg": alg}), body))
		}
		text := f.sign(with(head, object{"alg": "HS256"}), body)
		text = text[:strings.LastIndexByte(text, '.')]
		mac := hmac.New(sha256.New, f.key.Public().(ed25519.PublicKey))
		mac.Write([]byte(text))
		f.refused(t, text+"."+b64.EncodeToString(mac.Sum(nil)))
	})
	t.Run("A03 no key travels in a token", func(t *testing.T) {
		_, other, err := ed25519.GenerateKey(nil)
		require.NoError(t, err)
		stranger := &forge{world: f.world, key: other}
		jwk := object{"kty": "OKP", "crv": "Ed25519", "x": b64.EncodeToString(other.Public().(ed25519.PublicKey))}
		for name, v := range (object{"jwk": jwk, "jku": "http://127.0.0.1:1/keys", "x5u": "http://127.0.0.1:1/x", "x5c": []string{"AA=="}}) {
			f.refused(t, stranger.sign(with(head, object{name: v}), body))
		}
		f.refused(t, f.sign(with(head, object{"crit": []string{"exp"}}), body))
	})
	t.Run("A04 kid is a name in memory", func(t *testing.T) {
		for _, kid := range []any{"../../dev/null", "' OR 1=1 --", "k1\x00", strings.Repeat("k", 3000), []string{"k1"}, nil, "k2", 1} {
			f.refused(t, f.sign(with(head, object{"kid": kid}), body))
		}
	})
	t.Run("A05 a token has one spelling", func(t *testing.T) {
		part := strings.Split(f.good, ".")
		tampered, err := json.Marshal(with(body, object{"sub": f.ids["admin"]}))
		require.NoError(t, err)
		last := part[2][len(part[2])-1]
		other := map[byte]byte{'A': 'B', 'Q': 'R', 'g': 'h', 'w': 'x'}[last]
		for _, token := range []string{
			part[0] + "." + b64.EncodeToString(tampered) + "." + part[2],
			f.good[:len(f.good)-4], part[0] + "." + part[1], f.good + "." + part[2], f.good + ".", "." + f.good,
			f.good + "=", strings.Replace(f.good, ".", "\t.", 1), strings.Replace(f.good, ".", " .", 1), part[0] + ".." + part[2],
			f.good[:len(f.good)-1] + string(other), `{"payload":"` + part[1] + `"}`, "",
		} {
			f.refused(t, token)
		}
	})
	t.Run("A06 exp is a number and there", func(t *testing.T) {
		exp := int64(body["exp"].(float64))
		for _, v := range []any{nil, "9999999999", -1, 0, exp - 900, []int64{exp}, true, object{}} {
			f.refused(t, f.sign(head, with(body, object{"exp": v})))
		}
		for _, text := range []string{"1e400", "99999999999999999999999", "1.5e300"} {
			raw, _ := json.Marshal(with(body, object{"exp": "EXP"}))
			f.refused(t, f.sign(head, strings.Replace(string(raw), `"EXP"`, text, 1)))
		}
	})
	t.Run("A07 clocks may differ by a minute", func(t *testing.T) {
		now := f.clock.now().Unix()
		for _, claim := range []string{"iat", "nbf"} {
			f.do("GET", "/auth/whoami", nil, bearer(f.sign(head, with(body, object{claim: now + 60})))).is(200, "")
			f.refused(t, f.sign(head, with(body, object{claim: now + 61})))
		}
	})
	t.Run("A08 issuer and audience match exactly", func(t *testing.T) {
		for claim, values := range map[string][]any{
			"iss": {nil, "", "userap", "userapi ", "evil", []string{"userapi"}},
			"aud": {nil, "", "ap", "apps", []string{"app"}, []string{"app", "x"}},
		} {
			for _, v := range values {
				f.refused(t, f.sign(head, with(body, object{claim: v})))
			}
		}
	})
	t.Run("A13 length is measured first", func(t *testing.T) {
		for _, token := range []string{strings.Repeat(".", 1<<20), strings.Repeat("a", 1<<20), "a." + strings.Repeat("a", 1<<20) + ".a"} {
			f.refused(t, token)
			f.do("GET", "/auth/whoami", nil, cookie(httpadapter.DefaultAccessCookie, token)).is(401, "UNAUTHORIZED")
		}
	})
	t.Run("A15 a token in the query or a form is none", func(t *testing.T) {
		f.do("GET", "/auth/whoami?access_token="+f.good+"&token="+f.good, nil).is(401, "UNAUTHORIZED")
		f.do("POST", "/auth/logout-all", "access_token="+f.good, header("Content-Type", "application/x-www-form-urlencoded")).is(401, "UNAUTHORIZED")
	})
}

func TestA06_ExpiryHasNoLeeway(t *testing.T) {
	w := newWorld(t)
	in := w.login("ann")
	token := bearer(in.text("access_token"))
	left := time.Unix(int64(in.JSON["exp"].(float64)), 0).Sub(w.clock.now())
	w.clock.advance(left - time.Second)
	w.do("GET", "/auth/whoami", nil, token).is(200, "")
	w.clock.advance(time.Second)
	w.do("GET", "/auth/whoami", nil, token).is(401, "TOKEN_EXPIRED")
}

func TestA09_ATokenServesOnePurpose(t *testing.T) {
	w := newWorld(t)
	in := w.login("ann")
	w.do("GET", "/auth/whoami", nil, bearer(in.text("refresh_token"))).is(401, "UNAUTHORIZED")
	w.do("POST", "/auth/refresh", object{"refresh_token": in.text("access_token")}).is(401, "UNAUTHORIZED")
	w.do("GET", "/auth/whoami", nil, cookie(httpadapter.DefaultAccessCookie, in.text("refresh_token"))).is(401, "UNAUTHORIZED")
	w.do("GET", "/auth/whoami", nil, cookie(httpadapter.DefaultRefreshCookie, in.text("refresh_token"))).is(401, "UNAUTHORIZED")
}

func TestA10_EndedAccountsHaveNoTokens(t *testing.T) {
	for name, end := range map[string]string{"deactivated": "", "deleted": "?force=true"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ann, in := w.as("ann"), w.login("ann")
			w.do("DELETE", "/users/"+w.ids["ann"]+end, nil, w.as("admin")).is(204, "")
			w.do("GET", "/auth/whoami", nil, ann).is(401, "TOKEN_REVOKED")
			w.do("POST", "/auth/refresh", object{"refresh_token": in.text("refresh_token")}).is(401, "TOKEN_REVOKED")
			w.do("POST", "/auth/login", object{"email": "ann@acme.example", "password": password}).is(401, "UNAUTHORIZED")
		})
	}
	t.Run("activated again, the old token stays dead", func(t *testing.T) {
		w := newWorld(t)
		ann, admin := w.as("ann"), w.as("admin")
		w.do("PATCH", "/users/"+w.ids["ann"], object{"active": false}, admin).is(200, "")
		w.do("PATCH", "/users/"+w.ids["ann"], object{"active": true}, admin).is(200, "")
		w.do("GET", "/auth/whoami", nil, ann).is(401, "TOKEN_REVOKED")
		w.login("ann")
	})
}

func TestA11_WhatDiesWhen(t *testing.T) {
	for name, end := range map[string]func(w *world, own set) (other bool, next string){
		"logout": func(w *world, own set) (bool, string) {
			w.do("POST", "/auth/logout", nil, own).is(204, "")
			return true, ""
		},
		"logout-all": func(w *world, own set) (bool, string) {
			w.do("POST", "/auth/logout-all", nil, own).is(204, "")
			return false, ""
		},
		"own password": func(w *world, own set) (bool, string) {
			a := w.do("POST", "/password/change", object{"old_password": password, "new_password": "another fine phrase"}, own).is(200, "")
			return false, a.text("access_token")
		},
		"password by an admin": func(w *world, _ set) (bool, string) {
			w.do("POST", "/users/"+w.ids["ann"]+"/set_password", object{"password": "another fine phrase"}, w.as("admin")).is(200, "")
			return false, ""
		},
		"own e-mail": func(w *world, own set) (bool, string) {
			a := w.do("PATCH", "/users/current", object{"email": "new@acme.example", "current_password": password}, own).is(200, "")
			return false, a.text("access_token")
		},
		"sessions ended by an admin": func(w *world, _ set) (bool, string) {
			w.do("DELETE", "/users/"+w.ids["ann"]+"/sessions", nil, w.as("admin")).is(204, "")
			return false, ""
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			own, second := w.as("ann"), w.as("ann")
			otherLives, next := end(w, own)
			w.do("GET", "/auth/whoami", nil, own).is(401, "TOKEN_REVOKED")
			if otherLives {
				w.do("GET", "/auth/whoami", nil, second).is(200, "")
			} else {
				w.do("GET", "/auth/whoami", nil, second).is(401, "TOKEN_REVOKED")
			}
			if next != "" {
				w.do("GET", "/auth/whoami", nil, bearer(next)).is(200, "")
			}
		})
	}
}

func TestA17_WeakSecretsMakeNoServer(t *testing.T) {
	for _, secret := range []userapi.Secret{"", "short", userapi.Secret(strings.Repeat("a", 64)), "changemechangemechangemechangeme"} {
		_, err := userapi.New(userapi.Config{Secret: secret})
		require.Error(t, err)
	}
}

// Row 34: which credential counts.
func TestCredentialOrder(t *testing.T) {
	w := newWorld(t)
	name := httpadapter.DefaultAccessCookie
	ann, bob := w.login("ann").text("access_token"), w.login("bob").text("access_token")
	std := base64.StdEncoding.EncodeToString
	for _, c := range []struct {
		what string
		how  []set
		who  string // "" = 401
	}{
		{"nothing", nil, ""},
		{"header", []set{bearer(ann)}, "ann"},
		{"lower-case scheme", []set{header("Authorization", "bearer "+ann)}, "ann"},
		{"mixed-case scheme, two spaces", []set{header("Authorization", "bEaReR  "+ann)}, "ann"},
		{"cookie", []set{cookie(name, std([]byte(bob)))}, "bob"},
		{"cookie of the other alphabet", []set{cookie(name, b64.EncodeToString([]byte(bob)))}, "bob"},
		{"header before cookie", []set{bearer(ann), cookie(name, std([]byte(bob)))}, "ann"},
		{"a bad header is not passed over", []set{bearer("x"), cookie(name, std([]byte(bob)))}, ""},
		{"another scheme is not passed over", []set{header("Authorization", "Basic YTpi"), cookie(name, std([]byte(bob)))}, ""},
		{"an empty header is not passed over", []set{header("Authorization", ""), cookie(name, std([]byte(bob)))}, ""},
		{"scheme only", []set{header("Authorization", "Bearer")}, ""},
		{"token without scheme", []set{header("Authorization", ann)}, ""},
		{"two tokens", []set{header("Authorization", "Bearer "+ann+" "+ann)}, ""},
		{"two tokens with a comma", []set{header("Authorization", "Bearer "+ann+", Bearer "+ann)}, ""},
		{"two headers", []set{bearer(ann), bearer(ann)}, ""},
		{"I09 two cookies", []set{cookie(name, std([]byte(bob))), cookie(name, std([]byte(bob)))}, ""},
		{"I09 two cookies in one header", []set{header("Cookie", name+"="+std([]byte(bob))+"; "+name+"=x")}, ""},
		{"I09 a second cookie of another case is another", []set{header("Cookie", strings.ToLower(name)+"=x; "+name+"="+std([]byte(bob)))}, "bob"},
		{"not base64", []set{cookie(name, "!!!")}, ""},
		{"the token itself", []set{cookie(name, ann)}, ""},
		{"empty cookie", []set{cookie(name, "")}, ""},
		{"the plain-HTTP name", []set{cookie("user-api-credentials", std([]byte(bob)))}, ""},
		{"API key before all", []set{header("X-Api-Key", "k.s"), bearer(ann)}, ""},
		{"empty API key", []set{header("X-Api-Key", ""), bearer(ann)}, ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			for _, path := range []string{"/auth/whoami", "/users/token", "/auth/verify_token", "/users/current"} {
				a := w.do("GET", path, nil, c.how...)
				if c.who == "" {
					a.is(401, "UNAUTHORIZED")
					assert.Equal(t, "Bearer", a.Header().Get("WWW-Authenticate"))
					continue
				}
				a.is(200, "")
				assert.Contains(t, a.Body.String(), w.ids[c.who])
			}
		})
	}
}

func TestA05_ACookieHasOneSpelling(t *testing.T) {
	for _, value := range []string{"QQ", "QQ==", "Pz8_", "Pz8/"} {
		_, err := httpadapter.OpenCookie(value)
		assert.NoError(t, err, value)
	}
	for _, value := range []string{"", "=", "QR", "QR==", "Q", "Q Q", "QQ==QQ", "Pz8.", "\"QQ==\""} {
		_, err := httpadapter.OpenCookie(value)
		assert.ErrorIs(t, err, userapi.ErrInvalidToken, value)
	}
}

func TestA10_ErasedMeanwhileIsUnauthenticated(t *testing.T) {
	// Another node erased the account, and this one has not heard of it yet.
	w := newWorld(t, sending)
	ann := w.as("ann")
	w.do("GET", "/auth/whoami", nil, ann).is(200, "")
	elsewhere, err := userapi.New(userapi.Config{
		Store: w.store, Secret: testSecret, Now: w.clock.now,
		Password: userapi.PasswordPolicy{Argon2id: userapi.Argon2id{MemoryKiB: 64, Passes: 1, Threads: 1}},
	})
	require.NoError(t, err)
	require.NoError(t, elsewhere.Users.Delete(context.Background(), userapi.System(), w.ids["ann"]))
	for _, path := range []string{"/auth/whoami", "/users/token"} {
		w.do("GET", path, nil, ann).is(401, "TOKEN_REVOKED")
	}
	w.do("POST", "/auth/logout-all", nil, ann).is(401, "TOKEN_REVOKED")
	w.do("POST", "/password/change", object{"old_password": password, "new_password": "another fine phrase"}, ann).is(401, "TOKEN_REVOKED")
	w.do("POST", "/verification/email", nil, ann).is(401, "TOKEN_REVOKED")
	w.do("POST", "/verification/phone", object{"phone": "+4930901820"}, ann).is(401, "TOKEN_REVOKED")
	w.do("POST", "/verification/phone/confirm", object{"phone": "+4930901820", "code": "123456"}, ann).is(400, "INVALID_CODE")
	w.clock.advance(time.Second) // Config.Staleness: from now on the token itself is known to be dead
	w.do("GET", "/auth/verify_token", nil, ann).is(401, "TOKEN_REVOKED")
}

func BenchmarkIsConnected(b *testing.B) {
	w := newWorld(new(testing.T))
	h := w.web.IsConnected(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r := httptest.NewRequest("GET", "/", nil)
	w.as("ann")(r)
	rec := httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(rec, r)
	}
	if rec.Code != 200 {
		b.Fatal(fmt.Sprint(rec.Code))
	}
}
