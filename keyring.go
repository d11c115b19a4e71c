package userapi

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"sync/atomic"
	"time"
)

// accessKey is a key with its one algorithm: no token chooses how it is verified (RFC 8725 3.1).
type accessKey struct {
	alg      string
	sign     any
	verify   any
	retireAt time.Time
}

func (k *accessKey) retired(now time.Time) bool {
	return !k.retireAt.IsZero() && !now.Before(k.retireAt)
}

// Key is a key pair that signs access tokens: ed25519.PrivateKey (EdDSA), *ecdsa.PrivateKey on P-256 (ES256) or
// *rsa.PrivateKey of at least 2,048 bits (RS256). A public key of these kinds verifies only.
type Key struct {
	ID       string    // the header kid: 1 to 64 of A-Z a-z 0-9 . _ : -
	Key      any       // the private or public key
	RetireAt time.Time // from then on its tokens are refused; zero = never
}

// Keyring holds asymmetric keys. It may be changed while it is in use.
type Keyring struct{ set atomic.Pointer[keySet] }

type keySet struct {
	first string
	keys  map[string]*accessKey
	jwks  []byte
}

// NewKeyring makes a key ring. The first key signs, all verify.
func NewKeyring(keys ...Key) (*Keyring, error) {
	r := new(Keyring)
	return r, r.Set(keys...)
}

// Set replaces the keys at once. To rotate without an outage over several nodes, first add the new key behind the
// old one everywhere, then put it first, then give the old one a RetireAt one access lifetime ahead.
func (r *Keyring) Set(keys ...Key) error {
	if len(keys) == 0 {
		return errors.New("userapi: a Keyring needs a key")
	}
	set := &keySet{first: keys[0].ID, keys: map[string]*accessKey{}}
	var public []jwk
	for i, key := range keys {
		ak, pub, err := readKey(key)
		if err != nil {
			return fmt.Errorf("userapi: key %d: %w", i, err)
		}
		if set.keys[key.ID] != nil {
			return fmt.Errorf("userapi: key %d: its id is there twice", i)
		}
		if i == 0 && (ak.sign == nil || !key.RetireAt.IsZero()) {
			return errors.New("userapi: the first key has to be a private key without RetireAt")
		}
		set.keys[key.ID] = ak
		public = append(public, pub)
	}
	set.jwks, _ = json.Marshal(map[string][]jwk{"keys": public})
	r.set.Store(set)
	return nil
}

// JWKS is the RFC 7517 set of the public keys, as JSON.
func (r *Keyring) JWKS() []byte {
	if r == nil {
		return []byte(`{"keys":[]}`)
	}
	return r.set.Load().jwks
}

// jwk is a public key in the form of RFC 7517, 7518 and 8037.
type jwk struct {
	Type      string `json:"kty"`
	Use       string `json:"use"`
	ID        string `json:"kid"`
	Algorithm string `json:"alg"`
	Curve     string `json:"crv,omitempty"`
	X         string `json:"x,omitempty"`
	Y         string `json:"y,omitempty"`
	N         string `json:"n,omitempty"`
	E         string `json:"e,omitempty"`
}

func readKey(k Key) (*accessKey, jwk, error) {
	if !ValidID(k.ID) {
		return nil, jwk{}, errors.New("needs an id of 1 to 64 of A-Z a-z 0-9 . _ : -")
	}
	key := &accessKey{retireAt: k.RetireAt}
	if ed, ok := k.Key.(ed25519.PrivateKey); ok && len(ed) != ed25519.PrivateKeySize {
		return nil, jwk{}, errors.New("not an Ed25519 key")
	}
	var public crypto.PublicKey = k.Key
	switch private := k.Key.(type) { // what the JWT library signs with; it cannot use any other crypto.Signer
	case ed25519.PrivateKey:
		key.sign, public = private, private.Public()
	case *ecdsa.PrivateKey:
		key.sign, public = private, private.Public()
	case *rsa.PrivateKey:
		key.sign, public = private, private.Public()
	}
	key.verify = public
	pub := jwk{Use: "sig", ID: k.ID}
	b64 := base64.RawURLEncoding.EncodeToString
	switch p := public.(type) {
	case ed25519.PublicKey:
		if len(p) != ed25519.PublicKeySize {
			return nil, jwk{}, errors.New("not an Ed25519 key")
		}
		key.alg, pub.Type, pub.Curve, pub.X = "EdDSA", "OKP", "Ed25519", b64(p)
	case *ecdsa.PublicKey:
		if p.Curve != elliptic.P256() {
			return nil, jwk{}, errors.New("ES256 needs the curve P-256")
		}
		point, err := p.Bytes()
		if err != nil {
			return nil, jwk{}, err
		}
		key.alg, pub.Type, pub.Curve, pub.X, pub.Y = "ES256", "EC", "P-256", b64(point[1:33]), b64(point[33:])
	case *rsa.PublicKey:
		if p.N.BitLen() < 2048 {
			return nil, jwk{}, errors.New("RS256 needs at least 2,048 bits")
		}
		key.alg, pub.Type, pub.N, pub.E = "RS256", "RSA", b64(p.N.Bytes()), b64(big.NewInt(int64(p.E)).Bytes())
	default:
		return nil, jwk{}, fmt.Errorf("%T is none of the supported kinds", k.Key)
	}
	pub.Algorithm = key.alg
	return key, pub, nil
}
