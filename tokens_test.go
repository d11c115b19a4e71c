package userapi

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const testSecret Secret = "a secret of more than thirty-two bytes, made for tests"

var tokenTime = time.Unix(1_800_000_000, 0)

func keysFor(t testing.TB, change func(*Config)) *tokenKeys {
	t.Helper()
	cfg := Config{Store: &feedStore{}, Secret: testSecret}
	if change != nil {
		change(&cfg)
	}
	require.NoError(t, cfg.complete())
	k, err := newTokenKeys(cfg)
	require.NoError(t, err)
	return k
}

func goodClaims() *accessClaims {
	return &accessClaims{
		Subject: "anna", Session: "s1", Customer: "c1", Roles: []string{"admin"}, Epoch: 3, Methods: []string{"pwd"},
		AuthTime: tokenTime.Unix(), IssuedAt: tokenTime.Unix(), ExpiresAt: tokenTime.Unix() + 900,
	}
}

// forge signs any header and claims with the real HS256 key.
func forge(k *tokenKeys, header, claims any) string {
	h, _ := json.Marshal(header)
	c, _ := json.Marshal(claims)
	return seal(k, string(h), string(c))
}

func seal(k *tokenKeys, header, claims string) string {
	b64 := base64.RawURLEncoding.EncodeToString
	body := b64([]byte(header)) + "." + b64([]byte(claims))
	mac := hmac.New(sha256.New, k.hmac[k.newest].sign.([]byte))
	mac.Write([]byte(body))
	return body + "." + b64(mac.Sum(nil))
}

func header(k *tokenKeys, change func(map[string]any)) map[string]any {
	h := map[string]any{"alg": "HS256", "typ": accessType, "kid": k.newest}
	if change != nil {
		change(h)
	}
	return h
}

func claims(change func(map[string]any)) map[string]any {
	text, _ := json.Marshal(goodClaims())
	var m map[string]any
	_ = json.Unmarshal(text, &m)
	m["iss"] = "userapi"
	for _, number := range []string{"ep", "iat", "exp", "auth_time"} {
		m[number] = json.Number(fmt.Sprintf("%.0f", m[number]))
	}
	if change != nil {
		change(m)
	}
	return m
}

func TestAccessToken_round_trip(t *testing.T) {
	k := keysFor(t, nil)
	token, err := k.signAccess(goodClaims())
	require.NoError(t, err)
	id, err := k.verifyAccess(string(token), tokenTime)
	require.NoError(t, err)
	assert.Equal(t, "anna", id.UserID())
	assert.Equal(t, "c1", id.CustomerID())
	assert.Equal(t, []string{"admin"}, id.Roles())
	assert.Equal(t, tokenTime.UTC(), id.AuthTime())

	_, err = k.verifyAccess(forge(k, header(k, nil), claims(nil)), tokenTime)
	assert.NoError(t, err, "the forger of the tests below can make a good one")
}

func TestAccessToken_refuses(t *testing.T) {
	k := keysFor(t, nil)
	other := keysFor(t, func(c *Config) { c.Secret = "another secret of more than thirty-two bytes, for tests" })
	good, _ := k.signAccess(goodClaims())
	part := strings.Split(string(good), ".")
	h := func(change func(map[string]any)) string { return forge(k, header(k, change), claims(nil)) }
	c := func(change func(map[string]any)) string { return forge(k, header(k, nil), claims(change)) }
	setH := func(name string, v any) string { return h(func(m map[string]any) { m[name] = v }) }
	setC := func(name string, v any) string { return c(func(m map[string]any) { m[name] = v }) }
	delC := func(name string) string { return c(func(m map[string]any) { delete(m, name) }) }
	foreign, _ := other.signAccess(goodClaims())

	cases := map[string]string{
		"A01 alg none":                     h(func(m map[string]any) { m["alg"] = "none" }),
		"A01 alg None":                     setH("alg", "None"),
		"A01 alg noNE, no signature":       strings.Join(strings.Split(setH("alg", "noNE"), ".")[:2], ".") + ".",
		"A01 empty signature":              part[0] + "." + part[1] + ".",
		"A01 missing signature":            part[0] + "." + part[1],
		"A02 HS384":                        setH("alg", "HS384"),
		"A02 HS512":                        setH("alg", "HS512"),
		"A02 RS256 header on an HMAC":      setH("alg", "RS256"),
		"A02 alg missing":                  h(func(m map[string]any) { delete(m, "alg") }),
		"A03 crit":                         setH("crit", []string{"exp"}),
		"A03 jwk of the attacker":          forge(other, header(other, func(m map[string]any) { m["jwk"] = map[string]string{"kty": "oct", "k": "AAAA"} }), claims(nil)),
		"A04 kid traversal":                setH("kid", "../../dev/null"),
		"A04 kid SQL":                      setH("kid", "x' OR '1'='1"),
		"A04 kid NUL":                      setH("kid", "\x00"),
		"A04 kid of 10 kB":                 setH("kid", strings.Repeat("k", 10_000)),
		"A04 kid array":                    setH("kid", []string{k.newest}),
		"A04 kid missing":                  h(func(m map[string]any) { delete(m, "kid") }),
		"A04 kid unknown":                  setH("kid", "unknown"),
		"A05 truncated MAC":                string(good[:len(good)-4]),
		"A05 tampered claims":              part[0] + "." + part[1][:len(part[1])-2] + "AA." + part[2],
		"A05 two segments":                 part[0] + "." + part[2],
		"A05 four segments":                string(good) + ".AAAA",
		"A05 JSON serialization":           `{"payload":"` + part[1] + `","protected":"` + part[0] + `","signature":"` + part[2] + `"}`,
		"A05 padding":                      string(good) + "=",
		"A05 newline":                      string(good) + "\n",
		"A05 newline inside":               part[0] + ".\n" + part[1] + "." + part[2],
		"A05 space":                        " " + string(good),
		"A05 standard alphabet":            strings.Replace(part[0], part[0][:1], "+", 1) + "." + part[1] + "." + part[2],
		"A05 empty":                        "",
		"A05 dots":                         "..",
		"A06 exp missing":                  delC("exp"),
		"A06 exp a string":                 setC("exp", "1800000900"),
		"A06 exp negative":                 setC("exp", -1),
		"A06 exp 1e400":                    seal(k, mustJSON(header(k, nil)), strings.Replace(mustJSON(claims(nil)), "1800000900", "1e400", 1)),
		"A06 exp a fraction":               setC("exp", 1800000900.5),
		"A06 exp beyond int64":             setC("exp", json.Number("9223372036854775808")),
		"A06 exp null":                     setC("exp", nil),
		"A07 nbf more than a minute ahead": setC("nbf", tokenTime.Unix()+61),
		"A07 iat missing":                  delC("iat"),
		"A08 iss missing":                  delC("iss"),
		"A08 iss wrong":                    setC("iss", "userapi2"),
		"A08 iss array":                    setC("iss", []string{"userapi"}),
		"A08 aud where none is configured": setC("aud", "shop"),
		"A09 typ JWT":                      setH("typ", "JWT"),
		"A09 typ missing":                  h(func(m map[string]any) { delete(m, "typ") }),
		"A09 a refresh token":              string(k.signRefresh("s1", 1)),
		"A13 a megabyte of dots":           strings.Repeat(".", 1<<20),
		"A13 a megabyte of payload":        part[0] + "." + strings.Repeat("A", 1<<20) + "." + part[2],
		"signed with another secret":       string(foreign),
		"sub missing":                      delC("sub"),
		"sub that can be no id":            setC("sub", "a/b"),
		"sid missing":                      delC("sid"),
		"cid missing":                      delC("cid"),
		"epoch missing":                    delC("ep"),
		"roles a string":                   setC("roles", "admin"),
	}
	for name, token := range cases {
		t.Run(name, func(t *testing.T) {
			id, err := k.verifyAccess(token, tokenTime)
			assert.ErrorIs(t, err, ErrInvalidToken)
			assert.Nil(t, id)
			if len(token) > maxAccess {
				assert.Same(t, ErrInvalidToken, err, "measured, and not parsed")
			}
		})
	}
}

func mustJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func TestAccessToken_A05_every_spelling_but_one_is_refused(t *testing.T) {
	k := keysFor(t, nil)
	good, _ := k.signAccess(goodClaims())
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := len(good) - 1
	passed := 0
	for _, c := range alphabet {
		if _, err := k.verifyAccess(string(good[:last])+string(c), tokenTime); err == nil {
			passed++
		}
	}
	assert.Equal(t, 1, passed, "the last character has spare bits; only the canonical one is taken")
}

func TestAccessToken_A07_skew_at_both_edges(t *testing.T) {
	api, err := New(Config{Store: &feedStore{}, Secret: testSecret, Now: func() time.Time { return tokenTime }})
	require.NoError(t, err)
	k := api.core.tokens
	for ahead, ok := range map[int64]bool{0: true, 59: true, 60: true, 61: false} {
		for _, claim := range []string{"iat", "nbf"} {
			token := forge(k, header(k, nil), claims(func(m map[string]any) { m[claim] = tokenTime.Unix() + ahead }))
			_, err := api.Auth.Authenticate(t.Context(), token)
			assert.Equal(t, ok, err == nil, "%s %d s ahead", claim, ahead)
		}
	}
}

func TestAccessToken_A08_audience_is_matched_exactly(t *testing.T) {
	k := keysFor(t, func(c *Config) { c.Audience = "shop" })
	for aud, ok := range map[string]bool{`"shop"`: true, `"sho"`: false, `"shop "`: false, `["shop"]`: false, `"other"`: false, `null`: false} {
		token := forge(k, header(k, nil), claims(func(m map[string]any) { m["aud"] = json.RawMessage(aud) }))
		_, err := k.verifyAccess(token, tokenTime)
		assert.Equal(t, ok, err == nil, aud)
	}
}

func TestAccessToken_A16_secrets_rotate_without_an_outage(t *testing.T) {
	const newer Secret = "the newer secret, also more than thirty-two bytes"
	before := keysFor(t, nil)
	during := keysFor(t, func(c *Config) { c.Secret, c.OldSecrets = newer, []Secret{testSecret} })
	after := keysFor(t, func(c *Config) { c.Secret = newer })
	old, _ := before.signAccess(goodClaims())
	fresh, _ := during.signAccess(goodClaims())

	_, err := during.verifyAccess(string(old), tokenTime)
	assert.NoError(t, err)
	_, err = after.verifyAccess(string(old), tokenTime)
	assert.ErrorIs(t, err, ErrInvalidToken)
	_, err = after.verifyAccess(string(fresh), tokenTime)
	assert.NoError(t, err)

	_, _, ok := during.verifyRefresh(string(before.signRefresh("s1", 4)))
	assert.True(t, ok)
	_, _, ok = after.verifyRefresh(string(before.signRefresh("s1", 4)))
	assert.False(t, ok)
}

func TestConfig_A17_weak_secrets_are_refused(t *testing.T) {
	for _, secret := range []Secret{"", "short", Secret(strings.Repeat("x", 31)), Secret(strings.Repeat("a", 64)), Secret(strings.Repeat("changeme", 8))} {
		_, err := New(Config{Store: &feedStore{}, Secret: secret})
		assert.Error(t, err, "%d bytes", len(secret))
		_, err = New(Config{Store: &feedStore{}, Secret: testSecret, OldSecrets: []Secret{secret}})
		assert.Error(t, err)
	}
}

func TestKeyring_signs_and_verifies_with_each_kind(t *testing.T) {
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	rs, _ := rsa.GenerateKey(rand.Reader, 2048)
	for name, key := range map[string]any{"EdDSA": ed, "ES256": ec, "RS256": rs} {
		t.Run(name, func(t *testing.T) {
			ring, err := NewKeyring(Key{ID: "k1", Key: key})
			require.NoError(t, err)
			k := keysFor(t, func(c *Config) { c.Keys = ring })
			token, err := k.signAccess(goodClaims())
			require.NoError(t, err)
			_, err = k.verifyAccess(string(token), tokenTime)
			require.NoError(t, err)

			var set struct{ Keys []map[string]string }
			require.NoError(t, json.Unmarshal(ring.JWKS(), &set))
			require.Len(t, set.Keys, 1)
			assert.Equal(t, name, set.Keys[0]["alg"])
			assert.Equal(t, "k1", set.Keys[0]["kid"])
			assert.NotContains(t, set.Keys[0], "d", "no private part")

			hs := keysFor(t, nil)
			hsToken, _ := hs.signAccess(goodClaims())
			_, err = k.verifyAccess(string(hsToken), tokenTime)
			assert.ErrorIs(t, err, ErrInvalidToken, "A02 one family per verifier")
		})
	}
}

func TestKeyring_A02_the_public_key_is_no_HMAC_secret(t *testing.T) {
	rs, _ := rsa.GenerateKey(rand.Reader, 2048)
	ring, err := NewKeyring(Key{ID: "k1", Key: rs})
	require.NoError(t, err)
	k := keysFor(t, func(c *Config) { c.Keys = ring })
	c := goodClaims()
	c.Issuer = "userapi"
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, c)
	token.Header["typ"], token.Header["kid"] = accessType, "k1"
	text, err := token.SignedString(rs.N.Bytes())
	require.NoError(t, err)
	_, err = k.verifyAccess(text, tokenTime)
	assert.ErrorIs(t, err, ErrInvalidToken)
}

func TestKeyring_A16_a_retired_key_is_refused_exactly_at_the_cut(t *testing.T) {
	_, first, _ := ed25519.GenerateKey(rand.Reader)
	_, second, _ := ed25519.GenerateKey(rand.Reader)
	ring, err := NewKeyring(Key{ID: "k1", Key: first})
	require.NoError(t, err)
	k := keysFor(t, func(c *Config) { c.Keys = ring })
	old, _ := k.signAccess(goodClaims())
	cut := tokenTime.Add(time.Minute)
	require.NoError(t, ring.Set(Key{ID: "k2", Key: second}, Key{ID: "k1", Key: first.Public(), RetireAt: cut}))
	_, err = k.verifyAccess(string(old), cut.Add(-time.Nanosecond))
	assert.NoError(t, err)
	_, err = k.verifyAccess(string(old), cut)
	assert.ErrorIs(t, err, ErrInvalidToken)
	fresh, _ := k.signAccess(goodClaims())
	_, err = k.verifyAccess(string(fresh), cut)
	assert.NoError(t, err)
}

func TestKeyring_A17_refuses_weak_and_doubtful_keys(t *testing.T) {
	weak, _ := rsa.GenerateKey(rand.Reader, 1024)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	for name, keys := range map[string][]Key{
		"none":              nil,
		"RSA 1024":          {{ID: "k", Key: weak}},
		"P-384":             {{ID: "k", Key: p384}},
		"no id":             {{Key: ed}},
		"twice":             {{ID: "k", Key: ed}, {ID: "k", Key: ed}},
		"public first":      {{ID: "k", Key: ed.Public()}},
		"retired first":     {{ID: "k", Key: ed, RetireAt: tokenTime}},
		"symmetric":         {{ID: "k", Key: []byte(testSecret)}},
		"nil":               {{ID: "k"}},
		"doubtful id":       {{ID: "a/b", Key: ed}},
		"some other signer": {{ID: "k", Key: signer{ed}}},
		"truncated Ed25519": {{ID: "k", Key: ed[:10]}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.NotPanics(t, func() {
				_, err := NewKeyring(keys...)
				assert.Error(t, err)
			})
		})
	}
}

// signer is a key that lives elsewhere.
type signer struct{ crypto.Signer }

func TestKeyring_A17_an_empty_one_is_refused_at_start(t *testing.T) {
	_, err := New(Config{Store: &feedStore{}, Secret: testSecret, Keys: new(Keyring)})
	assert.Error(t, err)
}

func TestRefreshToken_A08_is_bound_to_issuer_and_audience(t *testing.T) {
	token := string(keysFor(t, nil).signRefresh("s1", 1))
	for _, change := range []func(*Config){func(c *Config) { c.Issuer = "other" }, func(c *Config) { c.Audience = "other" }} {
		_, _, ok := keysFor(t, change).verifyRefresh(token)
		assert.False(t, ok)
	}
}

func TestKeyring_A18_degenerate_ECDSA_signatures(t *testing.T) {
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ring, _ := NewKeyring(Key{ID: "k1", Key: ec})
	k := keysFor(t, func(c *Config) { c.Keys = ring })
	good, _ := k.signAccess(goodClaims())
	body := good[:strings.LastIndex(string(good), ".")+1]
	for name, signature := range map[string][]byte{"r=s=0": make([]byte, 64), "short": make([]byte, 63), "long": make([]byte, 65), "DER-like": {0x30, 6, 2, 1, 0, 2, 1, 0}} {
		_, err := k.verifyAccess(string(body)+base64.RawURLEncoding.EncodeToString(signature), tokenTime)
		assert.ErrorIs(t, err, ErrInvalidToken, name)
	}
}

func TestRefreshToken(t *testing.T) {
	k := keysFor(t, nil)
	token := string(k.signRefresh("s1", 41))
	session, counter, ok := k.verifyRefresh(token)
	require.True(t, ok)
	assert.Equal(t, "s1", session)
	assert.EqualValues(t, 41, counter)
	assert.Equal(t, token, string(k.signRefresh("s1", 41)), "a lost answer can be given again")

	access, _ := k.signAccess(goodClaims())
	part := strings.Split(token, ".")
	for name, bad := range map[string]string{
		"empty": "", "A09 an access token": string(access), "another counter": strings.Replace(token, ".41.", ".42.", 1),
		"another session": strings.Replace(token, ".s1.", ".s2.", 1), "leading zero": strings.Replace(token, ".41.", ".041.", 1),
		"no MAC": strings.Join(part[:4], "."), "empty MAC": strings.Join(part[:4], ".") + ".", "another version": "r2" + token[2:],
		"unknown key": strings.Replace(token, part[1], "AAAAAAAA", 1), "newline": token + "\n", "A13 long": strings.Repeat(".", 1<<20), "truncated": token[:len(token)-1],
	} {
		_, _, ok := k.verifyRefresh(bad)
		assert.False(t, ok, name)
	}
}

func TestKeys_of_different_purposes_differ(t *testing.T) {
	k := keysFor(t, nil)
	seen := map[string]bool{}
	for _, key := range [][]byte{k.hmac[k.newest].sign.([]byte), k.refresh[k.newest], k.cursorKey, k.limitKey, []byte(testSecret)} {
		assert.False(t, seen[string(key)])
		seen[string(key)] = true
	}
}

func TestSessionTokens_A13_are_measured(t *testing.T) {
	k := keysFor(t, nil)
	longest := strings.Repeat("s", maxRefresh-len(k.signRefresh("", 1)))
	_, _, ok := k.verifyRefresh(string(k.signRefresh(longest, 1)))
	assert.True(t, ok)
	_, _, ok = k.verifyRefresh(string(k.signRefresh(longest+"s", 1)))
	assert.False(t, ok)
	longest = strings.Repeat("s", maxRefresh-len(k.signOpaque("")))
	_, ok = k.verifyOpaque(string(k.signOpaque(longest)))
	assert.True(t, ok)
	_, ok = k.verifyOpaque(string(k.signOpaque(longest + "s")))
	assert.False(t, ok)
}

// What was stored and issued is read with keys that a later version derives, so their derivation never changes; and no key has two purposes.
func TestKeys_are_derived_as_ever_and_one_for_each_purpose(t *testing.T) {
	k, err := newTokenKeys(Config{Secret: "a secret of more than thirty-two bytes, made for tests"})
	require.NoError(t, err)
	assert.Equal(t, []string{"lm1A9sve", "784c361f", "5e009d85", "61f1b6cd", "f879ff68", "a4ccdeb2", "7e773466", "c3ac52a2", "3d443311"}, []string{k.newest, short(k.hmac[k.newest].sign.([]byte)), short(k.refresh[k.newest]), short(k.cursorKey), short(k.limitKey),
		short(k.challenge[k.newest]), short(k.outbox[k.newest]), short(k.credential[k.newest]), short(k.opaque[k.newest])})
	assert.Len(t, k.outbox[k.newest], 32)
}

func short(key []byte) string { return fmt.Sprintf("%x", key[:4]) }
