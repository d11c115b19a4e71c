package legacyhash

import (
	"crypto/pbkdf2"
	"crypto/sha1" // #nosec G505 -- PBKDF2-HMAC-SHA1 of other systems
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"hash"

	"github.com/userapi/userapi"
	"golang.org/x/text/encoding/charmap"
)

const (
	maxPBKDF2 = 4_000_000 // rounds

	knlambertRounds = 1000
	knlambertBytes  = 16
	knlambertSalt   = 64 // hex characters
)

// passlib writes + as . and leaves the padding out.
var passlibBase64 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789./").WithPadding(base64.NoPadding)

// PBKDF2 reads passlib's $pbkdf2$, $pbkdf2-sha256$ and $pbkdf2-sha512$, Django's pbkdf2_sha1$ and pbkdf2_sha256$, and what
// Knlambert makes. At most 4,000,000 rounds; a salt of 1 to 64 bytes; the sum is a whole digest.
func PBKDF2(stored string) (matches func(password userapi.Secret) bool, memoryKiB uint32) {
	switch scheme, field := fields(stored, 3); scheme {
	case "pbkdf2":
		return passlib(sha1.New, field), 0
	case "pbkdf2-sha256":
		return passlib(sha256.New, field), 0
	case "pbkdf2-sha512":
		return passlib(sha512.New, field), 0
	}
	switch scheme, field := fields("$"+stored, 3); scheme {
	case "pbkdf2_sha1":
		return django(sha1.New, field), 0
	case "pbkdf2_sha256":
		return django(sha256.New, field), 0
	}
	if scheme, field := fields(stored, 2); scheme == "knlambert" {
		return knlambert(field), 0
	}
	return nil, 0
}

func passlib(digest func() hash.Hash, field []string) func(userapi.Secret) bool {
	salt, ok := decode(passlibBase64, field[1], 1, maxSalt)
	if !ok {
		return nil
	}
	return pbkdf2Hash(digest, field[0], salt, passlibBase64, field[2])
}

// django uses the salt as the text it is.
func django(digest func() hash.Hash, field []string) func(userapi.Secret) bool {
	if len(field[1]) < 1 || len(field[1]) > maxSalt {
		return nil
	}
	return pbkdf2Hash(digest, field[0], []byte(field[1]), base64.StdEncoding, field[2])
}

func pbkdf2Hash(digest func() hash.Hash, digits string, salt []byte, enc *base64.Encoding, text string) func(userapi.Secret) bool {
	rounds, ok1 := number(digits, 1, maxPBKDF2)
	sum, ok2 := decode(enc, text, digest().Size(), digest().Size())
	if !ok1 || !ok2 {
		return nil
	}
	return func(password userapi.Secret) bool {
		return pbkdf2Matches(digest, string(password), salt, int(rounds), sum)
	}
}

func pbkdf2Matches(digest func() hash.Hash, password string, salt []byte, rounds int, sum []byte) bool {
	got, err := pbkdf2.Key(digest, password, salt, rounds, len(sum))
	return err == nil && equal(got, sum)
}

// Knlambert makes the one text that PBKDF2 reads of the columns hash and salt of knlambert's user-api: $knlambert$salt$hash.
// What has not the form of those (32 and 64 hexadecimal digits) makes a text that nobody reads.
//
// There a hash is PBKDF2-HMAC-SHA1 of 1,000 rounds and 16 bytes, its salt the 64 digits as text, the password in
// Latin-1. What has no form in Latin-1 could be no password there, and matches nothing.
func Knlambert(hash, salt string) string { return "$knlambert$" + salt + "$" + hash }

func knlambert(field []string) func(userapi.Secret) bool {
	salt := field[0]
	_, err1 := hex.DecodeString(salt)
	sum, err2 := hex.DecodeString(field[1])
	if err1 != nil || err2 != nil || len(salt) != knlambertSalt || len(sum) != knlambertBytes {
		return nil
	}
	return func(password userapi.Secret) bool {
		latin1, err := charmap.ISO8859_1.NewEncoder().String(string(password))
		return err == nil && pbkdf2Matches(sha1.New, latin1, []byte(salt), knlambertRounds, sum)
	}
}
