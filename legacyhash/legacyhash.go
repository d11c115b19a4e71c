// Package legacyhash verifies password hashes that other systems made, so that accounts can move in with the passwords they
// have: PBKDF2, bcrypt, scrypt, argon2 and SHA-crypt as passlib, Django and crypt(3) write them, and those of knlambert's
// user-api. It makes none: the first login replaces them by argon2id.
//
//	cfg.Password.Legacy = legacyhash.All()
//
// Parameters, salts and sums beyond bounds make a hash unreadable, however it came into the database: no password is right.
// The bounds keep one comparison, which cannot be cancelled, at two seconds of a core in the worst case, and at 1 GiB.
// `go test -run - -bench Worst -benchtime 1x ./legacyhash` measures it; on one core of an AMD EPYC, in seconds:
//
//	PBKDF2      4,000,000 rounds of SHA-1 0.7, SHA-256 0.7, SHA-512 1.8
//	bcrypt      cost 15                                         1.9
//	scrypt      N × r × p of 2^22                               1.5
//	argon2      memory × passes of 1 GiB                        1.5
//	SHA-crypt   1,000,000 rounds of SHA-512 over 512 bytes      1.6
//
// There is no scheme for plain text and none for a bare digest such as MD5, and there will be none.
package legacyhash

import (
	"crypto/subtle"
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/userapi/userapi"
)

// All are the hashers of this package. No text is read by two of them.
func All() []userapi.LegacyHasher {
	return []userapi.LegacyHasher{PBKDF2, Bcrypt, Scrypt, Argon2, SHACrypt}
}

// maxSalt bounds a salt in bytes.
const maxSalt = 64

// fields takes a text such as $scheme$a$b apart, which has to have just so many fields after the scheme.
func fields(stored string, n int) (scheme string, rest []string) {
	part := strings.Split(stored, "$")
	if len(part) != n+2 || part[0] != "" {
		return "", nil
	}
	return part[1], part[2:]
}

// number reads a decimal number in the one form it can have.
func number(digits string, least, most uint64) (uint64, bool) {
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil && strconv.FormatUint(n, 10) == digits && n >= least && n <= most
}

// decode reads least to most bytes. The decoder alone would skip line breaks.
func decode(enc *base64.Encoding, text string, least, most int) ([]byte, bool) {
	b, err := enc.Strict().DecodeString(text)
	return b, err == nil && !strings.ContainsAny(text, "\r\n") && len(b) >= least && len(b) <= most
}

func equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }

type param struct {
	name        string
	least, most uint64
}

// named reads parameters such as ln=16,r=8,p=1: all of them, in this order.
func named(text string, params ...param) ([]uint64, bool) {
	part := strings.Split(text, ",")
	if len(part) != len(params) {
		return nil, false
	}
	values := make([]uint64, len(params))
	for i, p := range params {
		digits, ok1 := strings.CutPrefix(part[i], p.name+"=")
		n, ok2 := number(digits, p.least, p.most)
		if !ok1 || !ok2 {
			return nil, false
		}
		values[i] = n
	}
	return values, true
}
