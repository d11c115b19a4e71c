package userapi

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Access tokens are JWTs (RFC 7519) of type at+jwt, checked under the rules of RFC 8725: a key carries its one
// algorithm, issuer and audience match exactly, exp is mandatory. Refresh tokens are opaque and live as long as their
// session; only a keyed MAC makes them, so a dump of the database holds nothing that could be replayed.

const (
	accessType = "at+jwt"
	maxAccess  = 8 << 10 // bytes; a token is measured before it is split (CVE-2025-30204)
	maxRefresh = 256
	// maxSkew is how far ahead another node's clock may be. It never extends a token's life.
	maxSkew = time.Minute
)

// Tokens are what a login gives.
type Tokens struct {
	Access           Secret    // JWT; for the Authorization header or the access cookie
	ExpiresAt        time.Time // of Access
	Refresh          Secret    // opaque; for Auth.Refresh and Auth.Logout alone; "" = the one the caller has goes on
	RefreshExpiresAt time.Time // the latest moment Refresh can be used: the session's absolute end
	Step             LoginStep // what the login still lacks, "" = nothing: until then Access is good for that alone, and Refresh is ""
}

// IsZero reports whether no tokens were issued.
func (t Tokens) IsZero() bool { return t.Access == "" }

// accessClaims are the claims of an access token. Wrong JSON types are refused by the decoder, not skipped.
type accessClaims struct {
	Issuer    string    `json:"iss"`
	Audience  string    `json:"aud,omitempty"`
	Subject   string    `json:"sub"`
	Session   string    `json:"sid"`
	Customer  string    `json:"cid"`
	Roles     []string  `json:"roles"`
	Epoch     int64     `json:"ep"`
	Methods   []string  `json:"amr"`
	Step      LoginStep `json:"step,omitempty"`
	AuthTime  int64     `json:"auth_time"`
	IssuedAt  int64     `json:"iat"`
	NotBefore int64     `json:"nbf,omitempty"`
	ExpiresAt int64     `json:"exp"`
}

func numericDate(unix int64) (*jwt.NumericDate, error) {
	return jwt.NewNumericDate(time.Unix(unix, 0)), nil
}

// The methods of jwt.Claims. The parser does not validate claims: verifyAccess and Authenticate do.
func (c *accessClaims) GetExpirationTime() (*jwt.NumericDate, error) { return numericDate(c.ExpiresAt) }
func (c *accessClaims) GetIssuedAt() (*jwt.NumericDate, error)       { return numericDate(c.IssuedAt) }
func (c *accessClaims) GetNotBefore() (*jwt.NumericDate, error)      { return numericDate(c.NotBefore) }
func (c *accessClaims) GetIssuer() (string, error)                   { return c.Issuer, nil }
func (c *accessClaims) GetSubject() (string, error)                  { return c.Subject, nil }
func (c *accessClaims) GetAudience() (jwt.ClaimStrings, error) {
	return jwt.ClaimStrings{c.Audience}, nil
}

// tokenKeys signs and verifies.
type tokenKeys struct {
	issuer, audience string
	newest           string                // the kid of the newest secret
	hmac             map[string]*accessKey // by kid, newest and old secrets; empty with ring
	ring             *Keyring              // nil: HS256
	refresh          map[string][]byte     // by kid
	opaque           map[string][]byte     // by kid
	challenge        map[string][]byte     // by kid
	outbox           map[string][]byte     // by kid
	credential       map[string][]byte     // by kid
	cursorKey        []byte
	limitKey         []byte
	parser           *jwt.Parser
	seen             *recent[verifiedToken] // nil: every token is verified each time
}

// derive makes the key for one purpose, so that no key is ever used for two.
func derive(secret Secret, purpose string, size int) ([]byte, error) {
	return hkdf.Key(sha256.New, []byte(secret), nil, "userapi "+purpose+" v1", size)
}

func newTokenKeys(cfg Config) (*tokenKeys, error) {
	k := &tokenKeys{
		issuer: cfg.Issuer, audience: cfg.Audience, hmac: map[string]*accessKey{}, refresh: map[string][]byte{}, opaque: map[string][]byte{}, ring: cfg.Keys,
		challenge: map[string][]byte{}, outbox: map[string][]byte{}, credential: map[string][]byte{}, seen: newRecent[verifiedToken](cfg.TokenCache),
		parser: jwt.NewParser(jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation(),
			jwt.WithValidMethods([]string{"HS256", "EdDSA", "ES256", "RS256"})),
	}
	for i, secret := range append([]Secret{cfg.Secret}, cfg.OldSecrets...) {
		var made [9][]byte
		for j, purpose := range []string{"key id", "access token", "refresh token", "cursor", "limit", "challenge", "outbox", "credential", "opaque login"} {
			size := 32
			if j == 0 {
				size = 6
			}
			key, err := derive(secret, purpose, size)
			if err != nil {
				return nil, err
			}
			made[j] = key
		}
		id := base64.RawURLEncoding.EncodeToString(made[0])
		if k.ring == nil {
			k.hmac[id] = &accessKey{alg: "HS256", sign: made[1], verify: made[1]}
		}
		k.refresh[id], k.challenge[id], k.outbox[id], k.credential[id], k.opaque[id] = made[2], made[5], made[6], made[7], made[8]
		if i == 0 {
			k.newest, k.cursorKey, k.limitKey = id, made[3], made[4]
		}
	}
	return k, nil
}

// signing gives the key that signs now.
func (k *tokenKeys) signing() (string, *accessKey) {
	if k.ring == nil {
		return k.newest, k.hmac[k.newest]
	}
	set := k.ring.set.Load()
	return set.first, set.keys[set.first]
}

func (k *tokenKeys) verifying(id string) *accessKey {
	if k.ring == nil {
		return k.hmac[id]
	}
	return k.ring.set.Load().keys[id]
}

// signAccess makes an access token.
func (k *tokenKeys) signAccess(c *accessClaims) (Secret, error) {
	c.Issuer, c.Audience = k.issuer, k.audience
	id, key := k.signing()
	t := jwt.NewWithClaims(jwt.GetSigningMethod(key.alg), c)
	t.Header["typ"], t.Header["kid"] = accessType, id
	text, err := t.SignedString(key.sign)
	return Secret(text), err
}

// verifiedToken is an access token whose form, signature and claims were found right, and the key that it hangs on.
type verifiedToken struct {
	identity Identity
	keyID    string
	key      *accessKey
}

// verifyAccess checks form, key, signature and every claim but the expiry. It reads nothing from anywhere. A token that it saw before is
// known by its SHA-256; what may have changed since, the keys and the time, is looked at each time.
func (k *tokenKeys) verifyAccess(token string, now time.Time) (*Identity, error) {
	if len(token) > maxAccess {
		return nil, ErrInvalidToken
	}
	var whole [sha256.Size]byte
	if k.seen != nil {
		whole = wholeHash(token)
	}
	v := k.seen.get(&whole)
	if v == nil || k.verifying(v.keyID) != v.key || v.key.retired(now) {
		var err error
		if v, err = k.readAccess(token, now); err != nil {
			return nil, err
		}
		if now.Unix() < v.identity.c.ExpiresAt { // one that is over is looked at by a logout at most
			k.seen.put(&whole, v)
		}
	}
	if latest, c := now.Add(maxSkew).Unix(), &v.identity.c; c.IssuedAt > latest || c.NotBefore > latest {
		return nil, ErrInvalidToken
	}
	return &v.identity, nil
}

// readAccess does what verifyAccess does with a token that it never saw.
func (k *tokenKeys) readAccess(token string, now time.Time) (*verifiedToken, error) {
	if !threeSegments(token) {
		return nil, ErrInvalidToken
	}
	v := new(verifiedToken)
	c := &v.identity.c
	parsed, err := k.parser.ParseWithClaims(token, c, func(t *jwt.Token) (any, error) {
		if typ, _ := t.Header["typ"].(string); typ != accessType {
			return nil, errors.New("not an access token")
		}
		var err error
		if v.keyID, v.key, err = k.keyOf(t, now); err != nil {
			return nil, err
		}
		return v.key.verify, nil
	})
	if err != nil || !parsed.Valid {
		return nil, ErrInvalidToken.Wrap(err)
	}
	switch {
	case c.Issuer != k.issuer, c.Audience != k.audience,
		!ValidID(c.Subject), !ValidID(c.Session), !ValidID(c.Customer), c.Epoch < 1,
		!c.Step.known(), c.ExpiresAt <= 0, c.IssuedAt <= 0, c.AuthTime <= 0:
		return nil, ErrInvalidToken
	}
	return v, nil
}

// keyOf is the key that a token has to be signed with, by its header.
func (k *tokenKeys) keyOf(t *jwt.Token, now time.Time) (string, *accessKey, error) {
	if _, ok := t.Header["crit"]; ok { // RFC 7515 4.1.11: we understand no extension
		return "", nil, errors.New("critical extension")
	}
	kid, _ := t.Header["kid"].(string)
	key := k.verifying(kid)
	if key == nil || key.alg != t.Method.Alg() {
		return "", nil, errors.New("unknown key")
	}
	if key.retired(now) {
		return "", nil, errors.New("retired key")
	}
	return kid, key, nil
}

// threeSegments accepts exactly three non-empty runs of the base64url alphabet. Decoders forgive line breaks and
// padding; a token has one spelling (RFC 8725bis 3.14).
func threeSegments(token string) bool {
	dots, run := 0, 0
	for i := range len(token) {
		switch {
		case base64URL[token[i]]:
			run++
		case token[i] == '.' && run > 0:
			dots, run = dots+1, 0
		default:
			return false
		}
	}
	return dots == 2 && run > 0
}

// base64URL is the alphabet of RFC 4648 5.
var base64URL = func() (in [256]bool) {
	for _, b := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		in[b] = true
	}
	return in
}()

const refreshVersion = "r1"

// signRefresh makes the refresh token of a session's counter. It is the same text each time, so that a client whose
// answer got lost is given the successor it missed.
func (k *tokenKeys) signRefresh(session string, counter int64) Secret {
	body := refreshVersion + "." + k.newest + "." + session + "." + strconv.FormatInt(counter, 10)
	return Secret(body + "." + k.refreshMAC(k.refresh[k.newest], body))
}

const opaqueVersion = "l1"

// signOpaque makes the key of a session under Config.OpaqueLogins: 256 bits that nobody else can make, of which nothing is
// stored.
func (k *tokenKeys) signOpaque(session string) Secret {
	body := opaqueVersion + "." + k.newest + "." + session
	return Secret(body + "." + k.refreshMAC(k.opaque[k.newest], body))
}

// isOpaque tells such a key from an access token.
func isOpaque(token string) bool { return strings.HasPrefix(token, opaqueVersion+".") }

// verifyOpaque reads the key of a session.
func (k *tokenKeys) verifyOpaque(token string) (session string, ok bool) {
	part := strings.Split(token[:min(len(token), maxRefresh+1)], ".")
	if len(token) > maxRefresh || len(part) != 4 || part[0] != opaqueVersion {
		return "", false
	}
	key := k.opaque[part[1]]
	body := token[:len(token)-len(part[3])-1]
	return part[2], key != nil && hmac.Equal([]byte(k.refreshMAC(key, body)), []byte(part[3]))
}

// refreshMAC binds a refresh token to issuer and audience too: what one API issued is none of another's that shares
// the secret and the store.
func (k *tokenKeys) refreshMAC(key []byte, body string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(body + "\x00" + k.issuer + "\x00" + k.audience))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// verifyRefresh reads a refresh token. A bad MAC is found out here, before any row is read.
func (k *tokenKeys) verifyRefresh(token string) (session string, counter int64, ok bool) {
	if len(token) > maxRefresh {
		return "", 0, false
	}
	part := strings.Split(token, ".")
	if len(part) != 5 || part[0] != refreshVersion {
		return "", 0, false
	}
	key := k.refresh[part[1]]
	body := token[:len(token)-len(part[4])-1]
	if key == nil || !hmac.Equal([]byte(k.refreshMAC(key, body)), []byte(part[4])) {
		return "", 0, false
	}
	counter, err := strconv.ParseInt(part[3], 10, 64)
	return part[2], counter, err == nil
}
