package legacyhash

import (
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"strings"

	"github.com/go-crypt/x/crypt"
	"github.com/userapi/userapi"
)

const (
	minSHACrypt     = 1000      // rounds
	maxSHACrypt     = 1_000_000 // rounds
	defaultSHACrypt = 5000      // rounds, where none are given
	maxCrypt        = 512       // bytes of a password; crypt(3) takes no more (CRYPT_MAX_PASSPHRASE_SIZE of libxcrypt)
)

// SHACrypt reads $5$ and $6$ (Ulrich Drepper, "Unix crypt using SHA-256 and SHA-512"), with or without rounds=, 1,000 to 1,000,000, and
// a salt of 1 to 16 characters. A password above 512 bytes never matches: each round hashes it anew.
func SHACrypt(stored string) (matches func(password userapi.Secret) bool, memoryKiB uint32) {
	scheme, field := fields(stored, 2)
	rounds := uint64(defaultSHACrypt)
	if scheme == "" {
		if scheme, field = fields(stored, 3); scheme == "" {
			return nil, 0
		}
		digits, ok1 := strings.CutPrefix(field[0], "rounds=")
		n, ok2 := number(digits, minSHACrypt, maxSHACrypt)
		if !ok1 || !ok2 {
			return nil, 0
		}
		rounds, field = n, field[1:]
	}
	var sha func() hash.Hash
	size := 0 // of the sum, in characters
	switch scheme {
	case "5":
		sha, size = sha256.New, 43
	case "6":
		sha, size = sha512.New, 86
	default:
		return nil, 0
	}
	salt, sum := field[0], field[1]
	odd := func(r rune) bool { return r <= ' ' || r > '~' || r == ':' } // crypt(3) refuses them
	if len(salt) < 1 || len(salt) > 16 || strings.HasPrefix(salt, "rounds=") || strings.ContainsFunc(salt, odd) || len(sum) != size {
		return nil, 0
	}
	return func(password userapi.Secret) bool {
		return len(password) <= maxCrypt && equal(crypt.KeySHACrypt(sha, []byte(password), []byte(salt), int(rounds)), []byte(sum))
	}, 0
}
