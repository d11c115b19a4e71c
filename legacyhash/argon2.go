package legacyhash

import (
	"encoding/base64"

	xargon2 "github.com/go-crypt/x/argon2" // has argon2d, which x/crypto keeps to itself
	"github.com/userapi/userapi"
	"golang.org/x/crypto/argon2"
)

const maxArgon2 = 1 << 20 // KiB × passes

// Argon2 reads $argon2i$ and $argon2d$ of version 19 in PHC form, and of $argon2id$ what the library itself refuses for its lanes
// or lengths. Memory is at least 8 KiB a lane, and times the passes at most 1 GiB; 1 to 64 lanes; a salt of 8 to 64 and a
// sum of 12 to 128 bytes. Version 16, which has no v= or v=16, and hashes with a key or data are unreadable.
func Argon2(stored string) (matches func(password userapi.Secret) bool, memoryKiB uint32) {
	scheme, field := fields(stored, 4)
	var key func(password, salt []byte, time, memory uint32, threads uint8, size uint32) []byte
	switch scheme {
	case "argon2i":
		key = argon2.Key
	case "argon2id":
		key = argon2.IDKey
	case "argon2d":
		key = func(password, salt []byte, time, memory uint32, threads uint8, size uint32) []byte {
			return xargon2.DKey(password, salt, time, memory, uint32(threads), size)
		}
	default:
		return nil, 0
	}
	cost, ok1 := named(field[1], param{"m", 8, maxArgon2}, param{"t", 1, maxArgon2}, param{"p", 1, 64})
	salt, ok2 := decode(base64.RawStdEncoding, field[2], 8, maxSalt)
	sum, ok3 := decode(base64.RawStdEncoding, field[3], 12, 128)
	if field[0] != "v=19" || !ok1 || !ok2 || !ok3 {
		return nil, 0
	}
	m, t, p := cost[0], cost[1], cost[2]
	if m < 8*p || m*t > maxArgon2 {
		return nil, 0
	}
	return func(password userapi.Secret) bool {
		return equal(key([]byte(password), salt, uint32(t), uint32(m), uint8(p), uint32(len(sum))), sum)
	}, uint32(m)
}
