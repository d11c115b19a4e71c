package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"

	"github.com/golang-jwt/jwt/v5"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/store/memory"
)

var tokensPart = Part{
	Name: "tokens", Title: "Checks of tokens",
	Intro: "What a guarded route costs before the host's own code begins: the token is read from the request, verified, looked up among the " +
		"revocations, and the role is asked for. The middleware is called with a request made beforehand and an answer that is thrown away, so no " +
		"network and no parsing of HTTP is in the figures; the limit and the peers have the same surroundings. All run in one goroutine. The peers are " +
		"set up as their own documentation says, in the faster way where it gives a choice; `bench/peers.go` has each in some 20 lines. None of " +
		"those that verify tokens knows a logout. Tokens are the same for all: HS256, the claims of ours.",
	Run: func(r *Run) error {
		for _, each := range []func(*Run) error{seenBefore, neverSeen, revocations, tokenMemory} {
			if err := each(r); err != nil {
				return err
			}
		}
		return nil
	},
}

// seen is how many other tokens and sessions are about, in the limit's map as in our cache and the session store.
const seen = 4000

func bearer(tokens ...string) []string {
	made := make([]string, len(tokens))
	for i, t := range tokens {
		made[i] = "Bearer " + t
	}
	return made
}

func bearers(tokens map[string]string) map[string]string {
	made := map[string]string{}
	for what, t := range tokens {
		made[what] = "Bearer " + t
	}
	return made
}

// guarded is the route behind HasRoles, proven and ready.
func guarded(ctx context.Context, s *site, t tokens) (*harness, func() error, error) {
	h := newHarness(s.web.HasRoles("admin")(hello), "Authorization", "Bearer "+t.right)
	forged := bearers(t.forged)
	ended, err := s.ended(ctx)
	forged["of a session that was logged out"] = "Bearer " + ended
	return h, h.prove(forged), err
}

// more makes n different tokens, all of them right.
func more(token string, n int) ([]string, error) {
	another, err := mint(token)
	made := make([]string, n)
	for i := range made {
		if err == nil {
			made[i] = another(i)
		}
	}
	return made, err
}

// mint makes more tokens of the same user, each of a session of its own. It is quick, for there may be a million.
func mint(token string) (func(i int) string, error) {
	parts := strings.Split(token, ".")
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, err
	}
	before, rest, found := strings.Cut(string(claims), `"sid":"`)
	_, after, closed := strings.Cut(rest, `"`)
	if !found || !closed {
		return nil, fmt.Errorf("the claims name no session: %s", claims)
	}
	mac := hmac.New(sha256.New, hmacKey())
	return func(i int) string {
		body := fmt.Sprintf(`%s"sid":"0198c0de-0000-7000-8000-%012d"%s`, before, i, after)
		signed := parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(body))
		mac.Reset()
		mac.Write([]byte(signed))
		return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}, nil
}

func seenBefore(r *Run) error {
	st := aged{memory.New()}
	main, err := newSite(r, st, userapi.Config{})
	if err != nil {
		return err
	}
	t, err := main.tokens(r, jwt.SigningMethodHS256, hmacKey())
	if err != nil {
		return err
	}
	others, err := more(t.right, r.Few(seen, 10))
	if err != nil {
		return err
	}
	key := hmacKey()
	ours, prove, err := guarded(r, main, t)
	if err != nil {
		return err
	}
	fill := ours.rotate(bearer(others...))
	for range others {
		if err := fill(); err != nil {
			return err
		}
	}
	ours.request.Header["Authorization"] = bearer(t.right)
	hs256 := &Case{
		Name: "userapi HasRoles, HS256", Do: ours.do, Prove: prove, Most: 1.1, MaxAllocs: 3, MaxBytes: 400,
		Note: "signature or cache, all claims, revocations, role; the identity is in the context of the request",
	}
	hs256.Why = "handing the identity on by the context of the request takes a copy of the request in net/http, and the clock is read"
	floor := func(name string, kept bool, note string) *Case {
		h := newHarness(newLimit(key, kept, append(others, t.right)...), "Authorization", "Bearer "+t.right)
		return &Case{Name: name, Do: h.do, Prove: h.prove(map[string]string{"of another signature": "Bearer " + flip(t.right)}), Note: note}
	}
	cases := []*Case{
		floor("the limit: HMAC-SHA256, base64, map", false, "no claims, no expiry, no role, no revocation, nothing in a context"),
		floor("the limit, one HMAC kept for one goroutine", true, "the same, less what it takes to make an HMAC of a key; no server with two goroutines can do that without more"),
		hs256,
	}

	text := t.right
	for _, k := range asymmetric() {
		ring, err := userapi.NewKeyring(userapi.Key{ID: "k1", Key: k.private})
		if err != nil {
			return err
		}
		s, err := newSite(r, st, userapi.Config{Keys: ring})
		if err != nil {
			return err
		}
		t, err := s.tokens(r, k.method, k.private)
		if err != nil {
			return err
		}
		h, prove, err := guarded(r, s, t)
		if err != nil {
			return err
		}
		cases = append(cases, &Case{Name: "userapi HasRoles, " + k.method.Alg(), Do: h.do, Prove: prove, Against: hs256, Most: 1.1,
			Why: fmt.Sprintf("all of it is hashed, signature included: this token has %d bytes where that of HS256 has %d", len(t.right), len(text))})
	}

	k, err := apiKey(r, main)
	if err != nil {
		return err
	}
	cases = append(cases, k)

	jwtAlone := func(name string, handler http.Handler, note string) {
		h := newHarness(handler, "Authorization", "Bearer "+t.right)
		cases = append(cases, &Case{Name: name, Do: h.do, Prove: h.prove(bearers(t.forged)), Note: note})
	}
	jwtAlone("golang-jwt/jwt v5 alone", golangJWT(key), "signature, issuer, audience, times, role; nothing in the context, no revocation")
	gins, err := ginJWT(key)
	if err != nil {
		return err
	}
	jwtAlone("appleboy/gin-jwt v2", gins, "signature, expiry, role; no issuer or audience, no revocation; in gin, whose routing is part of it")
	cookies, cookie, err := scsSessions(r.Few(seen, 10))
	if err != nil {
		return err
	}
	h := newHarness(cookies, "Cookie", cookie.right)
	cases = append(cases, &Case{Name: "alexedwards/scs v2, sessions in memory", Do: h.do, Prove: h.prove(cookie.forged),
		Note: "a random cookie, no signature; what it holds is decoded at each request; one node, for others do not see its memory"})
	middleware, err := auth0Middleware(key)
	if err != nil {
		return err
	}
	jwtAlone("auth0/go-jwt-middleware v2", middleware, "signature, issuer, audience, times, role; no revocation")
	jwtAlone("go-chi/jwtauth v5", chiJWTAuth(key), "signature, issuer, audience, times, role; no revocation")

	rows, err := r.Measure(Contest{
		Title: "A token that was seen before",
		Text: fmt.Sprintf("One token again and again, among %s others that were seen too. The limit is what nobody can do without. The module of "+
			"go-pkgz/auth could not be had where this was measured, so it is not here.", count(float64(r.Few(seen, 10)))),
		Cases: cases, Chart: true,
	})
	if err != nil {
		return err
	}
	r.AddCost("1,000 checks of a token: userapi, HS256, seen before", rows[2].CPU*1000/1e9)
	r.AddCost("1,000 checks of a token: the limit", rows[0].CPU*1000/1e9)
	return nil
}

type signer struct {
	method  jwt.SigningMethod
	private any
}

func asymmetric() []signer {
	_, ed, _ := ed25519.GenerateKey(rand.Reader) // never fails with this reader
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return []signer{{jwt.SigningMethodEdDSA, ed}, {jwt.SigningMethodES256, ec}, {jwt.SigningMethodRS256, rs}}
}

// apiKey is the same route asked with an API key.
func apiKey(ctx context.Context, s *site) (*Case, error) {
	create := func(u userapi.User, name string) (userapi.APIKey, string, error) {
		k, text, err := s.api.Keys.Create(ctx, userapi.System(), u.ID, userapi.NewAPIKey{Name: name, Scopes: []string{"hello"}})
		return k, string(text), err
	}
	_, right, err := create(s.admin, "right")
	if err != nil {
		return nil, err
	}
	off, disabled, err := create(s.admin, "disabled")
	if err != nil {
		return nil, err
	}
	inactive := false
	if _, err := s.api.Keys.Change(ctx, userapi.System(), off.ID, userapi.APIKeyChange{Active: &inactive}); err != nil {
		return nil, err
	}
	_, roleless, err := create(s.guest, "roleless")
	if err != nil {
		return nil, err
	}
	h := newHarness(s.web.HasRoles("admin")(hello), "X-Api-Key", right)
	return &Case{
		Name: "userapi HasRoles, API key", Do: h.do, Most: 1.3,
		Why:   "its checksum is verified, its address read and its hash written as text before the cache is asked",
		Prove: h.prove(map[string]string{"of another secret": flip(right), "disabled": disabled, "without the role": roleless}),
		Note:  "the key's secret, scopes, revocations, the owner's roles",
	}, nil
}
