package userapi

import (
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
)

func TestNormalizeEmail(t *testing.T) {
	local64 := strings.Repeat("l", 64)
	domain := strings.Repeat("d", 60) + "." + strings.Repeat("e", 60) + "." + strings.Repeat("f", 60)
	at254 := local64 + "@" + domain + "." + strings.Repeat("g", 254-64-1-len(domain)-1)
	assert.Len(t, at254, 254)
	for in, want := range map[string]string{
		"a@x.io":                   "a@x.io",
		"F01 A@X.COM":              "",
		"A@X.COM":                  "a@x.com",
		"  a@x.IO \t":              "a@x.io",
		"a+tag@x.io":               "a+tag@x.io",
		"a.b.c@gmail.com":          "a.b.c@gmail.com",
		"a@bücher.example":         "a@xn--bcher-kva.example",
		"a@BÜCHER.example":         "a@xn--bcher-kva.example",
		"a@b":                      "a@b",
		"1@x.io":                   "1@x.io",
		local64 + "@x.io":          local64 + "@x.io",
		at254:                      at254,
		"l" + local64 + "@x.io":    "", // F05: 65 octets
		"x" + at254[1:] + "h":      "", // F05: 255 octets
		"":                         "",
		"1":                        "",
		"a":                        "",
		"@x.io":                    "",
		"a@":                       "",
		"a@b@c.io":                 "",
		"a b@x.io":                 "",
		"a@x .io":                  "",
		"a@x.io.":                  "", // a second spelling
		"a@.x.io":                  "",
		"a@x..io":                  "",
		"a..b@x.io":                "",
		".a@x.io":                  "",
		"a@[127.0.0.1]":            "", // F05: IP literal
		"a@127.0.0.1":              "",
		"a\r\nBcc: b@x.io":         "", // F04
		"a@x.io\r\nBcc: b@x.io":    "", // F04
		"a,b@x.io":                 "", // F04
		"a\x00@x.io":               "", // F04
		"A B <a@x.io>":             "",
		"<a@x.io>":                 "",
		`"a b"@x.io`:               "",
		"a@x.io (comment)":         "",
		"mıke@x.io":                "",       // F02: dotless i
		"mi\u212ae@x.io":           "",       // F02: Kelvin sign
		"а@x.io":                   "",       // F02: Cyrillic a
		"a\uff20x.io":              "",       // F02: full-width at sign
		"a@x\u3002io":              "a@x.io", // the ideographic full stop is a dot (UTS 46)
		"a@-x.io":                  "",
		"a@x_y.io":                 "",
		"a\u200b@x.io":             "",
		"a@ex\u200bample.com":      "", // shown as typed
		"a@ex\u00adample.com":      "",
		strings.Repeat("a", 10000): "",
		"\xff@x.io":                "",
	} {
		typed, key, err := NormalizeEmail(in)
		assert.Equal(t, want, key, "%q", in)
		assert.Equal(t, want == "", err != nil, "%q: %v", in, err)
		if want != "" {
			assert.Equal(t, strings.TrimSpace(in), typed)
			_, again, err := NormalizeEmail(key)
			assert.NoError(t, err)
			assert.Equal(t, key, again, "the canonical form is its own")
		}
	}
	_, sharp, err := NormalizeEmail("a@straße.example")
	_, double, _ := NormalizeEmail("a@strasse.example")
	assert.NoError(t, err)
	assert.NotEqual(t, double, sharp, "F02: sharp s is not ss in a domain (IDNA 2008)")
}

func TestNormalizeUsername(t *testing.T) {
	for in, want := range map[string]string{
		"admin": "admin", "  Admin ": "admin", "Straße": "strasse", "ＦＵＬＬ": "full", "İ": "i\u0307", "two words": "two words",
		"a_b%c\\": "a_b%c\\", "'; DROP TABLE users; --": "'; drop table users; --", "e\u0301": "é", "1": "1", "😀": "😀",
		strings.Repeat("x", 128): strings.Repeat("x", 128), strings.Repeat("x", 129): "",
		"": "", "   ": "", "a@b": "", "a\uff20b": "", "+49": "", "\uff0b49": "", "a\nb": "", "a\x00": "", "a\u200bb": "", "\u202eevil": "", "\xff": "", "a\u2028b": "",
	} {
		_, key, err := NormalizeUsername(in)
		assert.Equal(t, want, key, "%q", in)
		assert.Equal(t, want == "", err != nil, "%q", in)
		if want != "" {
			_, again, err := NormalizeUsername(key)
			assert.NoError(t, err)
			assert.Equal(t, key, again)
		}
	}
	_, latin, _ := NormalizeUsername("admin")
	_, cyrillic, _ := NormalizeUsername("аdmin")
	assert.NotEqual(t, latin, cyrillic, "F02: told apart by bytes, whatever a collation thinks")
}

func TestFold_F02_is_idempotent_for_every_character(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !unicode.IsGraphic(r) {
			continue
		}
		once := foldForSearch(string(r))
		if twice := foldForSearch(once); twice != once {
			t.Errorf("%U: %q, then %q", r, once, twice)
		}
		if _, key, err := NormalizeUsername("a" + string(r) + "b"); err == nil {
			if _, again, err := NormalizeUsername(key); err != nil || again != key {
				t.Errorf("%U: the username %q, then %q (%v)", r, key, again, err)
			}
		}
	}
	_, upper, _ := NormalizeUsername("ᎠᎡ")
	_, lower, _ := NormalizeUsername("ꭰꭱ")
	assert.Equal(t, upper, lower)
}

func TestNormalizePhone_F07(t *testing.T) {
	for _, c := range []struct{ in, region, want string }{
		{"+49 (0)30 901820", "", "+4930901820"},
		{"+49 30 90 18 20", "", "+4930901820"},
		{"+4930901820", "", "+4930901820"},
		{"0049 30 901820", "DE", "+4930901820"},
		{"030 901820", "DE", "+4930901820"},
		{"+1 202-555-0123", "", "+12025550123"},
		{"0049 30 901820", "", ""},
		{"030 901820", "", ""},
		{"+1 202 555 0123 ext. 5", "", ""},
		{"+1 202 555 0123;ext=5", "", ""},
		{"+1 202 555 0123 #5", "", ""},
		{"+1-800-FLOWERS", "", ""},
		{"+49123456789012345", "", ""}, // 17 digits
		{"+1", "", ""}, {"", "", ""}, {"abc", "", ""}, {"+", "", ""}, {"None", "", ""}, {"+99912345678", "", ""},
		{"+49 30 901820\r\n", "", "+4930901820"}, // trimmed
		{"+49 30\r\n901820", "", ""},
	} {
		got, err := NormalizePhone(c.in, c.region)
		assert.Equal(t, c.want, got, "%q", c.in)
		if c.want == "" {
			assert.ErrorIs(t, err, ErrInvalidPhone, "%q", c.in)
		}
	}
}

func TestParseIdentifier_F09_name_spaces_are_disjoint(t *testing.T) {
	for in, want := range map[string]Identifier{
		"A@x.io": {EmailIdentifier, "a@x.io"}, " Admin ": {UsernameIdentifier, "admin"}, "+49 30 901820": {PhoneIdentifier, "+4930901820"}, "1": {UsernameIdentifier, "1"},
	} {
		got, ok := parseIdentifier(in)
		assert.True(t, ok)
		assert.Equal(t, want, got)
	}
	for _, in := range []string{"", " ", "a@", "+", "+abc", "\x00", strings.Repeat("a", 5000)} {
		_, ok := parseIdentifier(in)
		assert.False(t, ok, "%q", in)
	}
}

func TestValidID(t *testing.T) {
	for id, want := range map[string]bool{
		"7": true, "007": true, "u-abc123": true, "0190b2c4-1111-7000-8000-000000000000": true, strings.Repeat("a", 64): true, "a.b": true,
		"": false, strings.Repeat("a", 65): false, "current": false, "token": false, "login": false, ".": false, "..": false,
		"a/b": false, "a b": false, "a%2Fb": false, "\x00": false, "é": false, "a\nb": false,
	} {
		assert.Equal(t, want, ValidID(id), "%q", id)
	}
}

func TestCutText(t *testing.T) {
	assert.Equal(t, "ab", cutText("a\r\nb", 10))
	assert.Equal(t, "😀", cutText("😀😀", 7))
	assert.Equal(t, "x", cutText("x\xff", 7))
}

func TestNormalizePhone_F07_what_is_dialled_within_an_area_is_none(t *testing.T) {
	for in, region := range map[string]string{"5550123": "US", "110": "DE", "112": "DE", "911": "US", "++4930123456": "", "+49+30123456": ""} {
		_, err := NormalizePhone(in, region)
		assert.ErrorIs(t, err, ErrInvalidPhone, in)
	}
}
