package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/legacyhash"
)

// keepHash keeps a stored password if somebody can verify it. A plain text never comes over: that system took it for a
// password, and nobody may find it here.
func (n *newcomer) keepHash(stored string) {
	switch {
	case stored == "":
	case readableHash(stored):
		n.user.PasswordHash = stored
	default:
		n.notes = append(n.notes, "its password is left out: it is plain text, or a hash that nothing here can verify")
	}
}

func readableHash(stored string) bool {
	return slices.ContainsFunc(legacyhash.All(), func(read userapi.LegacyHasher) bool {
		matches, _ := read(stored)
		return matches != nil
	})
}

// keepPhone keeps a number that can be read without knowing the country.
func (n *newcomer) keepPhone(phone string) {
	if strings.TrimSpace(phone) == "" {
		return
	}
	if _, err := userapi.NormalizePhone(phone, ""); err != nil {
		n.notes = append(n.notes, "its phone number is left out: it is not in international form")
		return
	}
	n.user.Phone = phone
}

// nothingBefore is a system without customers and role definitions, whose users have one row each.
type nothingBefore struct{}

func (nothingBefore) before(context.Context, *tables) ([]userapi.Customer, []userapi.Role, error) {
	return nil, nil, nil
}
func (nothingBefore) more(row, *newcomer) {}
func (nothingBefore) remarks() []string   { return nil }

// knlambert is https://github.com/knlambert/user-api, version 0.6.0.
type knlambert struct{ nothingBefore }

func (knlambert) query(quote func(string) string) string {
	return `SELECT u.id, u.email, u.name, u.hash, u.salt, u.active, u.customer_id, r.code FROM ` + quote("_user") + ` u
		LEFT JOIN user_has_role ur ON ur.user_id = u.id LEFT JOIN ` + quote("role") + ` r ON r.id = ur.role_id ORDER BY u.id`
}

func (k knlambert) newcomer(r row) (newcomer, error) {
	n := newcomer{at: r.text(0), user: userapi.NewUser{ID: r.text(0), Name: r.text(2), Active: r.truth(5), CustomerID: r.text(6)}}
	n.user.Email, n.user.Username = identifiers(r.text(1))
	if hash, salt := r.text(3), r.text(4); hash != "" {
		n.keepHash(legacyhash.Knlambert(hash, salt))
	}
	k.more(r, &n)
	return n, nil
}

// more is one more role. The table may hold a pair twice.
func (knlambert) more(r row, n *newcomer) {
	if code := r.text(7); code != "" {
		n.user.Roles = append(n.user.Roles, userapi.RoleRef{Code: code})
	}
}

func (knlambert) before(ctx context.Context, t *tables) (customers []userapi.Customer, roles []userapi.Role, err error) {
	err = t.rows(ctx, `SELECT id FROM customer ORDER BY id`, func(r row) error {
		customers = append(customers, userapi.Customer{ID: r.text(0), Name: "Customer " + r.text(0)})
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	err = t.rows(ctx, `SELECT id, code, name FROM `+t.quote("role")+` ORDER BY id`, func(r row) error {
		roles = append(roles, userapi.Role{ID: r.text(0), Code: r.text(1), Name: r.text(2)})
		return nil
	})
	return customers, roles, err
}

// affo is https://github.com/fossabot/affo-user-service, version 1.0.3.
type affo struct{ nothingBefore }

func (affo) query(quote func(string) string) string {
	return `SELECT id, email, phone, first_name, last_name, password, is_active, last_login, roles, created_at FROM ` + quote("user") + ` ORDER BY id`
}

func (affo) newcomer(r row) (newcomer, error) {
	n := newcomer{at: r.text(0), user: userapi.NewUser{
		ID: r.text(0), FirstName: r.text(3), LastName: r.text(4), Active: r.truth(6), LastLogin: r.moment(7), CreatedAt: r.moment(9),
	}}
	n.user.Email, n.user.Username = identifiers(r.text(1))
	n.keepPhone(r.text(2))
	n.keepHash(r.text(5))
	for code := range strings.SplitSeq(r.text(8), ",") {
		if code != "" { // " admin" is no admin there, and none here
			n.user.Roles = append(n.user.Roles, userapi.RoleRef{Code: code})
		}
	}
	return n, nil
}

// flowserv is https://github.com/scailfin/flowserv-core, version 0.9.4.
type flowserv struct {
	nothingBefore
	openAccess bool // its user without a password was there
}

// openAccessUser stands for whoever uses flowServ without logging in.
const openAccessUser = "00000000"

func (*flowserv) query(func(string) string) string {
	return `SELECT user_id, name, secret, active FROM api_user WHERE user_id <> '` + openAccessUser + `' ORDER BY user_id`
}

func (*flowserv) newcomer(r row) (newcomer, error) {
	n := newcomer{at: r.text(0), user: userapi.NewUser{ID: r.text(0), Active: r.truth(3)}}
	n.user.Email, n.user.Username = identifiers(r.text(1))
	n.keepHash(r.text(2))
	return n, nil
}

func (f *flowserv) before(ctx context.Context, t *tables) ([]userapi.Customer, []userapi.Role, error) {
	return nil, nil, t.rows(ctx, `SELECT 1 FROM api_user WHERE user_id = '`+openAccessUser+`'`, func(row) error {
		f.openAccess = true
		return nil
	})
}

func (f *flowserv) remarks() []string {
	if !f.openAccess {
		return nil
	}
	return []string{"the user " + openAccessUser + ", who stands for access without login, is left out"}
}

// apicrud is https://github.com/instantlinux/apicrud, version 0.3.6.
type apicrud struct {
	nothingBefore
	cipher func(text []byte) // decrypts in place; nil = there is no key
	fits   bool              // the key has opened a password

	strangers, encrypted, totp int
}

// newApicrud takes its DB_AES_SECRET, which may be empty: passwords are encrypted with AES-256-CBC, the key being the SHA-256
// of the secret and the first half of that the IV of all of them (sqlalchemy_utils, AesEngine with the padding pkcs5).
func newApicrud(secret userapi.Secret) *apicrud {
	a := &apicrud{}
	if secret != "" {
		key := sha256.Sum256([]byte(secret))
		block, _ := aes.NewCipher(key[:]) // of 32 bytes it never fails
		a.cipher = func(text []byte) { cipher.NewCBCDecrypter(block, key[:aes.BlockSize]).CryptBlocks(text, text) }
	}
	return a
}

func (*apicrud) query(quote func(string) string) string {
	return `SELECT p.id, p.identity, p.name, p.status, a.name, a.status, a.password, a.password_must_change, a.totp_secret, a.is_admin,
		a.last_login, a.created, c.info
		FROM people p JOIN accounts a ON a.uid = p.id LEFT JOIN contacts c ON c.uid = p.id AND c.type = 'sms' AND c.status <> 'disabled'
		ORDER BY p.id, c.` + quote("rank") + `, c.id`
}

func (a *apicrud) newcomer(r row) (newcomer, error) {
	n := newcomer{at: r.text(0), user: userapi.NewUser{
		ID: r.text(0), Name: r.text(2), Username: r.text(4), Active: r.text(3) == "active" && r.text(5) == "active",
		LastLogin: r.moment(10), CreatedAt: r.moment(11), MustChangePassword: r.truth(7),
	}}
	n.user.Email, _ = identifiers(r.text(1))
	n.keepPhone(r.text(12)) // of several the first in rank
	if r.truth(9) {
		n.user.Roles = []userapi.RoleRef{{Code: userapi.RoleAdmin}}
	}
	if r.text(8) != "" {
		a.totp++
	}
	if a.cipher == nil {
		a.encrypted++
		return n, nil
	}
	stored, err := a.decrypt(r.text(6))
	if err != nil && !a.fits {
		return n, errors.New("USERAPI_IMPORT_KEY does not open the passwords: it has to be the DB_AES_SECRET of that system")
	}
	a.fits = true
	if err != nil {
		stored = "?"
	}
	n.keepHash(stored)
	return n, nil
}

func (a *apicrud) decrypt(stored string) (string, error) {
	text, err := base64.StdEncoding.DecodeString(stored)
	if err != nil || len(text) == 0 || len(text)%aes.BlockSize != 0 {
		return "", errors.New("no encrypted text")
	}
	a.cipher(text)
	padding := int(text[len(text)-1])
	if padding == 0 || padding > aes.BlockSize || strings.Trim(string(text[len(text)-padding:]), string(rune(padding))) != "" {
		return "", errors.New("another key")
	}
	plain := string(text[:len(text)-padding])
	if plain != "" && !readableHash(plain) {
		return plain, errors.New("no hash")
	}
	return plain, nil
}

func (a *apicrud) before(ctx context.Context, t *tables) ([]userapi.Customer, []userapi.Role, error) {
	return nil, nil, t.rows(ctx, `SELECT COUNT(*) FROM people p LEFT JOIN accounts a ON a.uid = p.id WHERE a.uid IS NULL`, func(r row) error {
		_, err := fmt.Sscan(r.text(0), &a.strangers)
		return err
	})
}

func (a *apicrud) remarks() []string {
	var all []string
	say := func(n int, format string) {
		if n > 0 {
			all = append(all, fmt.Sprintf(format, n))
		}
	}
	say(a.strangers, "people without an account are left out: %d")
	say(a.encrypted, "passwords are left out because USERAPI_IMPORT_KEY is not set: %d")
	say(a.totp, "accounts have lost their second factor (TOTP): %d")
	return all
}
