package legacyhash

import (
	"regexp"

	"github.com/userapi/userapi"
	"golang.org/x/crypto/bcrypt"
)

const maxBcrypt = 72 // bytes of a password that the algorithm looks at

// The cost is 4 to 15, each step twice the work.
var bcryptForm = regexp.MustCompile(`^\$2[aby]\$(0[4-9]|1[0-5])\$[./A-Za-z0-9]{53}$`)

// Bcrypt reads $2a$, $2b$ and $2y$ up to cost 15; $2x$, which marks a faulty implementation, is unreadable.
//
// A password above 72 bytes never matches. The algorithm drops what is beyond them, so that any password with the same
// beginning would be right; whoever had such a password sets a new one (OWASP ASVS 6.2.8).
func Bcrypt(stored string) (matches func(password userapi.Secret) bool, memoryKiB uint32) {
	if !bcryptForm.MatchString(stored) {
		return nil, 0
	}
	return func(password userapi.Secret) bool {
		return len(password) <= maxBcrypt && bcrypt.CompareHashAndPassword([]byte(stored), []byte(password)) == nil
	}, 4
}
