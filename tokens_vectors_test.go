package userapi

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// vectorKey is a JWK of the vectors.
type vectorKey struct {
	Kty, Use, Alg, Kid, Crv, K, N, E, X, Y string

	KeyOps []string `json:"key_ops"`
}

// vectorExceptions are the cases that we judge otherwise than the vectors do, and why we do.
var vectorExceptions = map[string]string{
	"valid, an empty payload":                "an access token has claims",
	"valid, an algorithm that is none of us": "HS256, EdDSA, ES256 and RS256 are the four",
	"valid, a character of no alphabet":      "a token has one spelling",
	"invalid, the JWK forbids it":            "hosts give keys, not JWKs: an RSA key is one of RS256, and what a key is for is theirs to know",
	"invalid, the same text is valid":        "the padding that it is about is not in the file",
}

// Every case of the vectors, those of algorithms that we do not take too: of EdDSA the file has none.
func TestAccessToken_A05_A18_Wycheproof(t *testing.T) {
	dir := os.Getenv("USERAPI_TEST_VECTORS")
	if dir == "" {
		t.Skip("USERAPI_TEST_VECTORS names no folder with wycheproof_jws.json")
	}
	raw, err := os.ReadFile(filepath.Join(dir, "wycheproof_jws.json"))
	require.NoError(t, err)
	var file struct {
		NumberOfTests int
		TestGroups    []struct {
			Comment         string
			Private, Public *vectorKey
			Tests           []struct {
				TcID    int
				Comment string
				JWS     any
				Result  string
			}
		}
	}
	require.NoError(t, json.Unmarshal(raw, &file))

	valid, judged := map[any]bool{}, map[string]int{}
	for _, group := range file.TestGroups {
		for _, one := range group.Tests {
			if text, ok := one.JWS.(string); ok && one.Result == "valid" {
				valid[text] = true
			}
		}
	}
	for _, group := range file.TestGroups {
		key := group.Public
		if key == nil {
			key = group.Private
		}
		k := key.keys(t)
		for _, one := range group.Tests {
			text, ok := one.JWS.(string)
			if !ok { // the JSON serialisation
				whole, _ := json.Marshal(one.JWS)
				text = string(whole)
			}
			_, err := k.verifyAccess(text, tokenTime)
			assert.ErrorIs(t, err, ErrInvalidToken, "%d: none has the claims of an access token", one.TcID)

			accepted, wanted := k.accepts(text), one.Result == "valid"
			except := ""
			switch alg := headerOf(text)["alg"]; {
			case wanted && strings.Contains(text, ".."):
				except = "valid, an empty payload"
			case wanted && strings.Contains(text, "?"):
				except = "valid, a character of no alphabet"
			case wanted && alg != "HS256" && alg != "ES256" && alg != "RS256" && alg != "EdDSA":
				except = "valid, an algorithm that is none of us"
			case !wanted && (key.Use == "enc" || slices.Equal(key.KeyOps, []string{"encrypt"}) || key.Alg == "PS512" && alg == "RS256"):
				except = "invalid, the JWK forbids it"
			case !wanted && valid[text]:
				except = "invalid, the same text is valid"
			}
			if except != "" {
				require.Contains(t, vectorExceptions, except)
				wanted = !wanted
			}
			assert.Equal(t, wanted, accepted, "%d of %s: %s (%s) %s", one.TcID, group.Comment, one.Comment, one.Result, text)
			if except == "" {
				except = one.Result
			}
			judged[except]++
		}
	}
	assert.Equal(t, map[string]int{
		"valid": 17, "invalid": 348, "valid, an empty payload": 6, "valid, an algorithm that is none of us": 21,
		"valid, a character of no alphabet": 2, "invalid, the JWK forbids it": 5, "invalid, the same text is valid": 2,
	}, judged)
}

// accepts applies all that verifyAccess does before it reads the claims: none of the vectors has some.
func (k *tokenKeys) accepts(text string) bool {
	if len(text) > maxAccess || !threeSegments(text) {
		return false
	}
	part := strings.Split(text, ".")
	token := &jwt.Token{Raw: text}
	header, err := k.parser.DecodeSegment(part[0])
	if err != nil || json.Unmarshal(header, &token.Header) != nil {
		return false
	}
	alg, _ := token.Header["alg"].(string)
	if token.Method = jwt.GetSigningMethod(alg); token.Method == nil {
		return false
	}
	_, key, err := k.keyOf(token, time.Unix(1<<40, 0))
	if err != nil {
		return false
	}
	_, payload := k.parser.DecodeSegment(part[1])
	signature, err := k.parser.DecodeSegment(part[2])
	return payload == nil && err == nil && token.Method.Verify(part[0]+"."+part[1], signature, key.verify) == nil
}

func headerOf(text string) (header map[string]any) {
	raw, _ := base64.RawURLEncoding.DecodeString(strings.Split(text, ".")[0])
	_ = json.Unmarshal(raw, &header)
	return header
}

// keys hold the key alone, under its own id; none if it is one that we refuse.
func (v *vectorKey) keys(t *testing.T) *tokenKeys {
	t.Helper()
	k := keysFor(t, nil)
	part := func(text string) []byte {
		raw, err := base64.RawURLEncoding.DecodeString(text)
		require.NoError(t, err)
		return raw
	}
	if v.Kty == "oct" {
		k.hmac = map[string]*accessKey{v.Kid: {alg: "HS256", verify: part(v.K)}}
		return k
	}
	var public any = &rsa.PublicKey{N: new(big.Int).SetBytes(part(v.N)), E: int(new(big.Int).SetBytes(part(v.E)).Int64())}
	if v.Kty == "EC" {
		curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-521": elliptic.P521()}[v.Crv]
		require.NotNil(t, curve)
		size := (curve.Params().BitSize + 7) / 8
		point := make([]byte, 1+2*size)
		point[0] = 4
		new(big.Int).SetBytes(part(v.X)).FillBytes(point[1 : 1+size])
		new(big.Int).SetBytes(part(v.Y)).FillBytes(point[1+size:])
		key, err := ecdsa.ParseUncompressedPublicKey(curve, point)
		require.NoError(t, err)
		public = key
	}
	k.ring = new(Keyring)
	set := &keySet{keys: map[string]*accessKey{}}
	if key, _, err := readKey(Key{ID: "k", Key: public}); err == nil {
		set.keys[v.Kid] = key
	}
	k.ring.set.Store(set)
	return k
}
