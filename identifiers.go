package userapi

import (
	"cmp"
	"errors"
	"net/mail"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/nyaruka/phonenumbers"
	"golang.org/x/net/idna"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// One function normalises each identifier, on every path: an identifier that was stored is found again however it
// is spelt, and two spellings are never two accounts (OWASP: CVE-2019-19844). Comparison is by the bytes of the
// canonical form, so no collation of a database has a say.

// ReservedIDs are ids no account may have, because a route has the same name.
func ReservedIDs() []string { return slices.Clone(reservedIDs) }

var reservedIDs = []string{"current", "login", "logout", "token", "reset-password"}

// ValidID reports whether id can be the id of an account, a customer, a role or a session: 1 to 64 of A-Z a-z 0-9
// . _ : -, not only dots, and not one of ReservedIDs.
func ValidID(id string) bool { return opaqueID(id) && !slices.Contains(reservedIDs, id) }

// opaqueID is ValidID for what no route has a word for.
func opaqueID(id string) bool {
	if len(id) == 0 || len(id) > 64 || strings.Trim(id, ".") == "" {
		return false
	}
	for i := range len(id) {
		if !idByte(id[i]) {
			return false
		}
	}
	return true
}

func idByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || strings.IndexByte("._:-", b) >= 0
}

// newID makes a UUIDv7: ordered by time, so that inserts stay at the end of an index.
func newID() string { return uuid.Must(uuid.NewV7()).String() }

// NormalizeEmail gives an e-mail address as it was typed (trimmed) and in its canonical form: lower case, the domain
// in punycode. The local part is ASCII, at most 64 bytes, and kept whole (a plus tag is never stripped); the address
// has at most 254 bytes (RFC 5321 4.5.3.1, RFC 3696 erratum 1690).
func NormalizeEmail(in string) (typed, canonical string, err error) {
	typed = strings.TrimSpace(in)
	if len(typed) > 1024 {
		return "", "", errors.New("at most 254 bytes")
	}
	// It is shown as it was typed, so what cannot be seen has no place in it.
	if !utf8.ValidString(typed) || strings.ContainsFunc(typed, func(r rune) bool { return unicode.In(r, unicode.C, unicode.Zl, unicode.Zp) }) {
		return "", "", errors.New("no control or invisible characters")
	}
	local, domain, ok := strings.Cut(typed, "@")
	if !ok || local == "" || domain == "" {
		return "", "", errors.New("not an e-mail address")
	}
	if len(local) > 64 {
		return "", "", errors.New("at most 64 bytes before the @")
	}
	ascii, err := idna.Lookup.ToASCII(domain)
	if err != nil || !hostName(ascii) {
		return "", "", errors.New("not an e-mail address: its domain is none")
	}
	canonical = asciiLower(local) + "@" + ascii
	if len(canonical) > 254 {
		return "", "", errors.New("at most 254 bytes")
	}
	for i := range len(canonical) {
		if c := canonical[i]; c <= ' ' || c >= 0x7f {
			return "", "", errors.New("not an e-mail address: the part before the @ has to be ASCII without spaces")
		}
	}
	if parsed, err := mail.ParseAddress(canonical); err != nil || parsed.Address != canonical || parsed.Name != "" {
		return "", "", errors.New("not an e-mail address")
	}
	return typed, canonical, nil
}

// hostName refuses what idna lets pass: a trailing dot (a second spelling), an empty label, an IP address.
func hostName(ascii string) bool {
	labels := strings.Split(ascii, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 {
			return false
		}
	}
	last := labels[len(labels)-1]
	return strings.Trim(last, "0123456789") != "" && len(ascii) <= 253
}

func asciiLower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// NormalizeUsername gives a username as it was typed (trimmed) and in its canonical form: NFKC, case-folded. It has 1
// to 128 code points, no control or invisible formatting characters, no @ and no leading +, so that it can never be
// taken for an e-mail address or a phone number.
func NormalizeUsername(in string) (typed, canonical string, err error) {
	typed = strings.TrimSpace(in)
	if len(typed) > 1024 || utf8.RuneCountInString(typed) > 128 {
		return "", "", errors.New("at most 128 characters")
	}
	if !utf8.ValidString(typed) {
		return "", "", errors.New("not valid UTF-8")
	}
	canonical = strings.TrimSpace(norm.NFKC.String(fold(norm.NFKC.String(typed))))
	if canonical == "" {
		return "", "", errors.New("at least one character")
	}
	if utf8.RuneCountInString(canonical) > 128 {
		return "", "", errors.New("at most 128 characters")
	}
	for _, text := range []string{typed, canonical} {
		for _, r := range text {
			if unicode.In(r, unicode.C, unicode.Zl, unicode.Zp) {
				return "", "", errors.New("no control or invisible characters")
			}
		}
		if strings.Contains(text, "@") || strings.HasPrefix(text, "+") {
			return "", "", errors.New("no @, and no + in front")
		}
	}
	return typed, canonical, nil
}

// NormalizePhone gives a phone number in E.164. region is the country (ISO 3166, "DE") that a national number is
// read in; with "" only the international form is taken. A number with an extension is refused: it would be a second
// spelling, and so is one that can be dialled within its area alone. ErrInvalidPhone.
func NormalizePhone(in, region string) (string, error) {
	text := strings.TrimSpace(in)
	if len(text) > 64 || !plainText(text) || strings.ContainsFunc(text, unicode.IsLetter) || strings.LastIndex(text, "+") > 0 {
		return "", ErrInvalidPhone
	}
	number, err := phonenumbers.Parse(text, region)
	if err != nil || number.GetExtension() != "" || phonenumbers.IsPossibleNumberWithReason(number) != phonenumbers.IS_POSSIBLE {
		return "", ErrInvalidPhone
	}
	e164 := phonenumbers.Format(number, phonenumbers.E164)
	if len(e164) > len("+")+15 { // ITU-T E.164; the library's plans allow some longer ones
		return "", ErrInvalidPhone
	}
	// Of some numbers that nobody has, each reading takes away one more zero: they have no canonical form.
	if again, err := phonenumbers.Parse(e164, ""); err != nil || phonenumbers.Format(again, phonenumbers.E164) != e164 {
		return "", ErrInvalidPhone
	}
	return e164, nil
}

// isCountry reports whether numbers can be read in a country (ISO 3166).
func isCountry(code string) bool { return phonenumbers.GetSupportedRegions()[code] }

// phoneCountry is the country (ISO 3166) of a number in E.164; where that is in no country's range, "+" and the country
// code it begins with.
func phoneCountry(e164 string) string {
	number, err := phonenumbers.Parse(e164, "")
	if err != nil {
		return ""
	}
	return cmp.Or(phonenumbers.GetRegionCodeForNumber(number), "+"+strconv.Itoa(int(number.GetCountryCode())))
}

// parseIdentifier reads what somebody logs in with: with an @ an e-mail address, with a leading + a phone number, else
// a username. There is no guessing beyond that, so "1" is never an id.
func parseIdentifier(in string) (Identifier, bool) {
	text := strings.TrimSpace(in)
	switch {
	case strings.Contains(text, "@"):
		_, key, err := NormalizeEmail(text)
		return Identifier{EmailIdentifier, key}, err == nil
	case strings.HasPrefix(text, "+"):
		key, err := NormalizePhone(text, "")
		return Identifier{PhoneIdentifier, key}, err == nil
	default:
		_, key, err := NormalizeUsername(text)
		return Identifier{UsernameIdentifier, key}, err == nil
	}
}

// normalizeName trims a name. It is text of any script, at most 255 code points, without control characters.
func normalizeName(in string) (string, error) {
	name := strings.TrimSpace(in)
	if len(name) > 4*255 || utf8.RuneCountInString(name) > 255 {
		return "", errors.New("at most 255 characters")
	}
	if !plainText(name) {
		return "", errors.New("no control characters")
	}
	return name, nil
}

// plainText reports whether s is valid UTF-8 without control characters (no line breaks, no NUL).
func plainText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// maxNameKey is what a store's indexes hold of a folded name, in bytes. Only texts made to grow under folding pass it.
const maxNameKey = 2560

// foldForSearch makes texts comparable regardless of case and of how accents are composed.
func foldForSearch(s string) string {
	return norm.NFC.String(fold(norm.NFC.String(s)))
}

// fold makes texts comparable regardless of case. The library exchanges the two cases of Cherokee instead of folding
// them; the small letters are taken for both.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 0x13A0 && r <= 0x13EF:
			return r - 0x13A0 + 0xAB70
		case r >= 0x13F0 && r <= 0x13F5:
			return r + 8
		}
		return r
	}, cases.Fold().String(s))
}
