package main

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/httpadapter"
	"github.com/userapi/userapi/store/memory"
)

// harness asks a guarded route the way net/http does, without a network: the request is made beforehand, the answer is thrown
// away. All cases have the same surroundings.
type harness struct {
	handler http.Handler
	request *http.Request
	answer  answer
}

// answer is the least http.ResponseWriter.
type answer struct {
	header http.Header
	status int
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) Write(b []byte) (int, error) { return len(b), nil }
func (a *answer) WriteHeader(status int)      { a.status = status }

// hello is the route of the host.
var hello = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })

func newHarness(h http.Handler, header string, value string) *harness {
	r, err := http.NewRequest(http.MethodGet, "http://api.example.com/hello", nil)
	if err != nil {
		panic(err) // the address is a constant
	}
	r.Header = http.Header{header: {value}}
	r.RemoteAddr, r.RequestURI = "192.0.2.1:40000", "/hello"
	return &harness{handler: h, request: r, answer: answer{header: http.Header{}}}
}

func (h *harness) ask() int {
	h.answer.status = 0
	clear(h.answer.header)
	h.handler.ServeHTTP(&h.answer, h.request)
	return h.answer.status
}

// do is one operation: the request is let in, or it is an error.
func (h *harness) do() error {
	if status := h.ask(); status != http.StatusNoContent {
		return fmt.Errorf("answered %d", status)
	}
	return nil
}

// prove shows that the right credential is let in and each of the others is refused, by 401 or 403.
func (h *harness) prove(forged map[string]string) func() error {
	return func() error {
		for header, right := range h.request.Header {
			if err := h.do(); err != nil {
				return fmt.Errorf("the right credential: %w", err)
			}
			for what, value := range forged {
				if value == right[0] || value == "" {
					return fmt.Errorf("the credential that is %s is not", what)
				}
				h.request.Header[header] = []string{value}
				status := h.ask()
				h.request.Header[header] = right
				if status != http.StatusUnauthorized && status != http.StatusForbidden {
					return fmt.Errorf("a credential that is %s is answered %d", what, status)
				}
			}
		}
		return h.do()
	}
}

// rotate makes an operation of asking with one header value after the other.
func (h *harness) rotate(values []string) func() error {
	lists := make([][]string, len(values))
	for i, v := range values {
		lists[i] = []string{v}
	}
	i := 0
	return func() error {
		h.request.Header["Authorization"] = lists[i]
		i = (i + 1) % len(lists)
		return h.do()
	}
}

const (
	secret   = userapi.Secret("a secret of the benchmark, 32 bytes or more")
	audience = "bench" // one of the peers insists on it
)

// hmacKey is what the API makes of secret for access tokens. Tests of the root hold the label; were it another one, every proof
// here would fail.
func hmacKey() []byte {
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, "userapi access token v1", 32)
	if err != nil {
		panic(err) // its length is a constant
	}
	return key
}

// site is an API with its adapter, as a host has it, and two of its users: one with the role admin, and one without any.
type site struct {
	api          *userapi.API
	web          *httpadapter.Adapter
	admin, guest userapi.User
}

// aged is a store that is older than a day: the row of its beginning, by which tokens of its first minute are looked up, has gone.
type aged struct{ *memory.Store }

func (s aged) Revocations(ctx context.Context, since int64) (rows []userapi.Revocation, now int64, err error) {
	all, now, err := s.Store.Revocations(ctx, since)
	for _, r := range all {
		if r.Kind != userapi.RevokeAll {
			rows = append(rows, r)
		}
	}
	return rows, now, err
}

// newSite fills in store, secret and what else all sites share.
func newSite(ctx context.Context, st userapi.Store, cfg userapi.Config) (*site, error) {
	cfg.Store, cfg.Secret, cfg.Audience = st, secret, audience
	cfg.AccessLifetime = 24 * time.Hour // longer than any run
	cfg.Scopes = []string{"hello"}
	api, err := userapi.New(cfg)
	if err != nil {
		return nil, err
	}
	s := &site{api: api}
	if s.web, err = httpadapter.New(httpadapter.Config{API: api}); err != nil {
		return nil, err
	}
	if _, err = api.Bootstrap(ctx, userapi.Bootstrap{Username: "admin", Password: "Tr0ub4dor&3 of the benchmark"}); err != nil {
		return nil, err
	}
	if s.admin, err = api.Users.ByUsername(ctx, userapi.System(), "admin"); err != nil {
		return nil, err
	}
	s.guest, err = api.Users.ByUsername(ctx, userapi.System(), "guest")
	if errors.Is(err, userapi.ErrNotFound) {
		s.guest, err = api.Users.Create(ctx, userapi.System(), userapi.NewUser{Username: "guest", Active: true, CustomerID: "default"})
	}
	return s, err
}

// tokens are one that is right, and others that have to be refused.
type tokens struct {
	right  string
	forged map[string]string
}

// tokens issues some. key, with its method, is what the site signs with.
func (s *site) tokens(ctx context.Context, method jwt.SigningMethod, key any) (tokens, error) {
	issue := func(u userapi.User) (userapi.Tokens, error) {
		_, t, err := s.api.Auth.IssueTokens(ctx, userapi.System(), u.ID, "pwd")
		return t, err
	}
	right, err := issue(s.admin)
	if err != nil {
		return tokens{}, err
	}
	roleless, err := issue(s.guest)
	if err != nil {
		return tokens{}, err
	}
	text := string(right.Access)
	expired, err := resign(text, method, key, func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-time.Minute).Unix() })
	if err != nil {
		return tokens{}, err
	}
	return tokens{text, map[string]string{"of another signature": flip(text), "expired": expired, "without the role": string(roleless.Access)}}, nil
}

// ended is a token of a session that was logged out: the peers know no such thing.
func (s *site) ended(ctx context.Context) (string, error) {
	_, t, err := s.api.Auth.IssueTokens(ctx, userapi.System(), s.admin.ID, "pwd")
	if err != nil {
		return "", err
	}
	return string(t.Access), s.api.Auth.Logout(ctx, userapi.Anonymous().From("192.0.2.1", "bench"), t.Refresh)
}

// flip changes a character in the middle of what is behind the last dot.
func flip(token string) string {
	b := []byte(token)
	at := (strings.LastIndexByte(token, '.') + len(b)) / 2
	if b[at] == 'A' {
		b[at] = 'B'
	} else {
		b[at] = 'A'
	}
	return string(b)
}

// resign makes another token of one: the same header, other claims.
func resign(token string, method jwt.SigningMethod, key any, change func(jwt.MapClaims)) (string, error) {
	claims := jwt.MapClaims{}
	parsed, _, err := jwt.NewParser(jwt.WithJSONNumber()).ParseUnverified(token, claims)
	if err != nil {
		return "", err
	}
	change(claims)
	made := jwt.NewWithClaims(method, claims)
	made.Header = parsed.Header
	return made.SignedString(key)
}
