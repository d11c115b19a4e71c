package legacyhash

import (
	"encoding/base64"

	"github.com/userapi/userapi"
	"golang.org/x/crypto/scrypt"
)

const maxScrypt = 1 << 22 // N × r × p; 512 MiB where p is 1

// Scrypt reads passlib's $scrypt$ln=…,r=…,p=…$. N × r × p is at most 2^22, r at most 32, p at most 16; a salt of 1 to 64 and a
// sum of 16 to 64 bytes.
func Scrypt(stored string) (matches func(password userapi.Secret) bool, memoryKiB uint32) {
	scheme, field := fields(stored, 3)
	if scheme != "scrypt" {
		return nil, 0
	}
	cost, ok1 := named(field[0], param{"ln", 1, 22}, param{"r", 1, 32}, param{"p", 1, 16})
	salt, ok2 := decode(base64.RawStdEncoding, field[1], 1, maxSalt)
	sum, ok3 := decode(base64.RawStdEncoding, field[2], 16, 64)
	if !ok1 || !ok2 || !ok3 {
		return nil, 0
	}
	if cost[1]*cost[2]<<cost[0] > maxScrypt {
		return nil, 0
	}
	n, r, p := 1<<cost[0], int(cost[1]), int(cost[2])
	return func(password userapi.Secret) bool {
		got, err := scrypt.Key([]byte(password), salt, n, r, p, len(sum))
		return err == nil && equal(got, sum)
	}, uint32(n * r / 8)
}
