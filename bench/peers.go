package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"hash"
	"net/http"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/alexedwards/scs/v2"
	ginjwt "github.com/appleboy/gin-jwt/v2"
	jwtmiddleware "github.com/auth0/go-jwt-middleware/v2"
	"github.com/auth0/go-jwt-middleware/v2/validator"
	"github.com/gin-gonic/gin"
	"github.com/go-chi/jwtauth/v5"
	"github.com/golang-jwt/jwt/v5"
	jwx "github.com/lestrrat-go/jwx/v2/jwt"
)

// What is compared. Each is set up as its own documentation says, for the same job: read the token of the Authorization header,
// verify it, ask for the role admin, call the route. Where the documentation gives a choice the faster one is taken.

// limit is what no check of a token can do without, and all it does: the HMAC over the token, the decoded signature compared with
// it, and one look-up in a map. It reads no claim, no clock and no context.
type limit struct {
	// hmac is the HMAC of the key. It is made for each token, as by all who verify tokens here, since they serve many goroutines; or it
	// is one that is kept and serves one goroutine alone, which is the least that the processor can do.
	hmac  func() hash.Hash
	known map[[sha256.Size]byte]string
}

func newLimit(key []byte, kept bool, tokens ...string) http.Handler {
	l := &limit{known: map[[sha256.Size]byte]string{}}
	l.hmac = func() hash.Hash { return hmac.New(sha256.New, key) }
	for _, token := range tokens {
		if sum, ok := l.verify(token); ok {
			l.known[sum] = token
		}
	}
	if kept {
		one := l.hmac()
		l.hmac = func() hash.Hash { one.Reset(); return one }
	}
	return l
}

func (l *limit) verify(token string) (sum [sha256.Size]byte, ok bool) {
	text := unsafe.Slice(unsafe.StringData(token), len(token)) // without a copy; nobody writes to it
	dot := bytes.LastIndexByte(text, '.')
	mac := l.hmac()
	mac.Write(text[:dot])
	mac.Sum(sum[:0])
	var sig [sha256.Size]byte
	n, err := base64.RawURLEncoding.Decode(sig[:], text[dot+1:])
	return sum, err == nil && n == len(sig) && hmac.Equal(sum[:], sig[:])
}

func (l *limit) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sum, ok := l.verify(strings.TrimPrefix(r.Header["Authorization"][0], "Bearer "))
	if ok {
		_, ok = l.known[sum]
	}
	if !ok {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	hello(w, r)
}

// leanClaims are the claims of our access tokens and nothing beside them.
type leanClaims struct {
	Issuer    string   `json:"iss"`
	Audience  string   `json:"aud,omitempty"`
	Subject   string   `json:"sub"`
	Session   string   `json:"sid"`
	Customer  string   `json:"cid"`
	Roles     []string `json:"roles"`
	Epoch     int64    `json:"ep"`
	Methods   []string `json:"amr"`
	AuthTime  int64    `json:"auth_time"`
	IssuedAt  int64    `json:"iat"`
	ExpiresAt int64    `json:"exp"`
}

func (c *leanClaims) GetExpirationTime() (*jwt.NumericDate, error) { return nil, nil }
func (c *leanClaims) GetIssuedAt() (*jwt.NumericDate, error)       { return nil, nil }
func (c *leanClaims) GetNotBefore() (*jwt.NumericDate, error)      { return nil, nil }
func (c *leanClaims) GetIssuer() (string, error)                   { return c.Issuer, nil }
func (c *leanClaims) GetSubject() (string, error)                  { return c.Subject, nil }
func (c *leanClaims) GetAudience() (jwt.ClaimStrings, error)       { return nil, nil }

// leanParse is the parse of golang-jwt into lean claims, with as little else as there can be: signature, expiry, role; no issuer, no
// audience, no revocation, nothing put into a context.
func leanParse(key []byte) http.Handler {
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithoutClaimsValidation())
	keyOf := func(*jwt.Token) (any, error) { return key, nil }
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var claims leanClaims
		_, err := parser.ParseWithClaims(strings.TrimPrefix(r.Header["Authorization"][0], "Bearer "), &claims, keyOf)
		if err != nil || time.Now().Unix() >= claims.ExpiresAt || !slices.Contains(claims.Roles, "admin") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		hello(w, r)
	})
}

// golangJWT is golang-jwt/jwt as its guide shows it: registered claims with one more, and the options that a server should set.
// Signature, method, issuer, audience, expiry and role are checked; it knows no revocation, and puts nothing into a context.
func golangJWT(key []byte) http.Handler {
	type claims struct {
		Roles []string `json:"roles"`
		jwt.RegisteredClaims
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer("userapi"), jwt.WithAudience(audience), jwt.WithExpirationRequired())
	keyOf := func(*jwt.Token) (any, error) { return key, nil }
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var c claims
		_, err := parser.ParseWithClaims(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), &c, keyOf)
		if err != nil || !slices.Contains(c.Roles, "admin") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		hello(w, r)
	})
}

// chiJWTAuth is go-chi/jwtauth: its Verify, told to look at the header alone, and an authenticator of one's own, as its README
// proposes, that reads the token of the context without making a map of it. Signature, times and role are checked; it knows no
// revocation.
func chiJWTAuth(key []byte) http.Handler {
	auth := jwtauth.New("HS256", key, nil, jwx.WithIssuer("userapi"), jwx.WithAudience(audience))
	authenticator := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err, _ := r.Context().Value(jwtauth.ErrorCtxKey).(error)
		token, _ := r.Context().Value(jwtauth.TokenCtxKey).(jwx.Token)
		if err != nil || token == nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		roles, _ := token.Get("roles")
		if list, _ := roles.([]any); !slices.Contains(list, any("admin")) {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		hello(w, r)
	})
	return jwtauth.Verify(auth, jwtauth.TokenFromHeader)(authenticator)
}

// auth0Claims ask for the role where that library wants it asked: in Validate of the custom claims.
type auth0Claims struct {
	Roles []string `json:"roles"`
}

func (c *auth0Claims) Validate(context.Context) error {
	if !slices.Contains(c.Roles, "admin") {
		return errors.New("not an admin")
	}
	return nil
}

// auth0Middleware is auth0/go-jwt-middleware with its validator. Signature, method, issuer, audience, times and role are checked; it
// knows no revocation. Its answer to any refusal is 401.
func auth0Middleware(key []byte) (http.Handler, error) {
	v, err := validator.New(func(context.Context) (any, error) { return key, nil }, validator.HS256, "userapi", []string{audience},
		validator.WithCustomClaims(func() validator.CustomClaims { return new(auth0Claims) }))
	if err != nil {
		return nil, err
	}
	return jwtmiddleware.New(v.ValidateToken).CheckJWT(hello), nil
}

// ginJWT is appleboy/gin-jwt in a gin engine with this one route, for it runs nowhere else. Signature, expiry and role (its
// Authorizator) are checked; it checks no issuer or audience, and knows no revocation.
func ginJWT(key []byte) (http.Handler, error) {
	gin.SetMode(gin.ReleaseMode)
	mw, err := ginjwt.New(&ginjwt.GinJWTMiddleware{
		Key: key, IdentityKey: "sub",
		Authorizator: func(_ any, c *gin.Context) bool {
			roles, _ := ginjwt.ExtractClaims(c)["roles"].([]any)
			return slices.Contains(roles, any("admin"))
		},
	})
	if err != nil {
		return nil, err
	}
	engine := gin.New()
	engine.GET("/hello", mw.MiddlewareFunc(), func(c *gin.Context) { c.Status(http.StatusNoContent) })
	return engine, nil
}

// scsSessions is alexedwards/scs with its store in memory: a random cookie is looked up, what the session holds is decoded, the role
// is one of its values. There is no signature. A session that was destroyed is over at once, on this node; several nodes need
// one of its database stores, which is a query for each request. others are there besides, as in the limit's map.
func scsSessions(others int) (http.Handler, tokens, error) {
	sessions := scs.New()
	sessions.Lifetime = 24 * time.Hour
	open := func(role string) (string, error) {
		ctx, err := sessions.Load(context.Background(), "")
		if err != nil {
			return "", err
		}
		sessions.Put(ctx, "user", "0198c0de-0000-7000-8000-000000000001")
		sessions.Put(ctx, "role", role)
		token, _, err := sessions.Commit(ctx)
		return token, err
	}
	right, err := open("admin")
	for range others {
		if err == nil {
			_, err = open("admin")
		}
	}
	if err != nil {
		return nil, tokens{}, err
	}
	guest, err := open("guest")
	if err != nil {
		return nil, tokens{}, err
	}
	data, _, err := sessions.Store.Find(right)
	if err == nil {
		err = sessions.Store.Commit("expired", data, time.Now().Add(-time.Minute))
	}
	cookie := func(token string) string { return sessions.Cookie.Name + "=" + token }
	handler := sessions.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if sessions.GetString(r.Context(), "role") != "admin" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		hello(w, r)
	}))
	return handler, tokens{cookie(right), map[string]string{
		"made up": cookie(flip(right)), "expired": cookie("expired"), "without the role": cookie(guest),
	}}, err
}
