package totp

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" // #nosec G505 -- HMAC-SHA-1 is what RFC 6238 and the apps speak
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/userapi/userapi"
)

// What every authenticator app understands: HMAC-SHA-1, 6 digits, steps of 30 s. Nothing known against SHA-1 helps against
// an HMAC (RFC 6238 1.2, RFC 6194 3.3), and apps ignore it when they are asked for another.
const (
	digits     = 6
	period     = 30 // seconds
	secretSize = 20 // bytes; RFC 4226 4 recommends 160 bits
)

var secretText = base32.StdEncoding.WithPadding(base32.NoPadding)

func newSecret() userapi.Secret { return userapi.Secret(secretText.EncodeToString(random(secretSize))) }

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// hotp is the code of a step (RFC 4226 5.3).
func hotp(key []byte, step int64) string {
	mac := hmac.New(sha1.New, key)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(step)))
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 0xf
	return fmt.Sprintf("%0*d", digits, binary.BigEndian.Uint32(sum[at:])&0x7fffffff%1_000_000)
}

// match finds the step whose code this is: that of now, or one to either side, but none up to after, which are used (RFC 6238
// 5.2). Of two steps with the same code it is the later, so that the code is used up for both.
func match(secret userapi.Secret, code string, now time.Time, after int64) (step int64, ok bool) {
	key, err := secretText.DecodeString(string(secret))
	if err != nil || len(key) != secretSize {
		return 0, false
	}
	present := now.Unix() / period
	for s := present - 1; s <= present+1; s++ {
		if s > after && subtle.ConstantTimeCompare([]byte(hotp(key, s)), []byte(code)) == 1 {
			step, ok = s, true
		}
	}
	return step, ok
}

// keyURI is what authenticator apps read from a QR code (the "Key URI Format" of Google Authenticator).
func keyURI(issuer, account string, secret userapi.Secret) userapi.Secret {
	escape := func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
	return userapi.Secret(fmt.Sprintf("otpauth://totp/%s:%s?secret=%s&issuer=%s&algorithm=SHA1&digits=%d&period=%d",
		escape(issuer), escape(account), string(secret), escape(issuer), digits, period))
}

const (
	recoveryCodes = 10
	recoverySize  = 10 // bytes: 80 bits, 16 characters
)

// recoveryText is Crockford's alphabet, without I, L, O and U: what is written down by hand is read back right.
var recoveryText = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding)

func newRecoveryCode() userapi.Secret {
	c := recoveryText.EncodeToString(random(recoverySize))
	return userapi.Secret(c[:4] + "-" + c[4:8] + "-" + c[8:12] + "-" + c[12:])
}

// recoveryHash is what is kept of a recovery code, which has been made plain: it lies sealed, so that a dump of the database offers
// nothing to guess by, and 80 random bits are out of reach for whoever has the key too.
func recoveryHash(code string) string {
	sum := sha256.Sum256([]byte(code))
	return base64.RawStdEncoding.EncodeToString(sum[:])
}

const maxTyped = 256 // bytes

// plain takes out of a code what people and keyboards put in: spaces, dashes, full-width forms, case, and letters that look like
// digits. Digits of other scripts stay what they are, and so are wrong.
func plain(typed string) string {
	if len(typed) > maxTyped {
		return ""
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.In(r, unicode.Pd, unicode.Cf) {
			return -1
		}
		switch r = unicode.ToUpper(r); r {
		case 'O':
			return '0'
		case 'I', 'L':
			return '1'
		}
		return r
	}, norm.NFKC.String(typed))
}
