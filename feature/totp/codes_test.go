package totp

import (
	"bytes"
	"fmt"
	"image/color"
	"image/png"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/boombuler/barcode/qr"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
)

var rfcKey = []byte("12345678901234567890")

// RFC 4226, appendix D.
func TestHOTP_of_the_RFC(t *testing.T) {
	for step, want := range []string{"755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"} {
		assert.Equal(t, want, hotp(rfcKey, int64(step)), step)
	}
}

// RFC 6238, appendix B: the last six of its eight digits.
func TestTOTP_of_the_RFC(t *testing.T) {
	secret := userapi.Secret(secretText.EncodeToString(rfcKey))
	for at, want := range map[int64]string{59: "94287082", 1111111109: "07081804", 1111111111: "14050471", 1234567890: "89005924", 2000000000: "69279037", 20000000000: "65353130"} {
		step, ok := match(secret, want[2:], time.Unix(at, 0), 0)
		assert.True(t, ok, at)
		assert.Equal(t, at/30, step)
	}
}

func TestMatch_D04_one_step_to_either_side_and_none_twice(t *testing.T) {
	secret := userapi.Secret(secretText.EncodeToString(rfcKey))
	code := hotp(rfcKey, 1000)
	for at, want := range map[int64]bool{29_969: false, 29_970: true, 30_000: true, 30_029: true, 30_059: true, 30_060: false} {
		step, ok := match(secret, code, time.Unix(at, 0), 0)
		assert.Equal(t, want, ok, at)
		assert.Equal(t, want, step == 1000, at)
	}
	for after, want := range map[int64]bool{998: true, 999: true, 1000: false, 1001: false, 1 << 40: false} {
		_, ok := match(secret, code, time.Unix(30_000, 0), after)
		assert.Equal(t, want, ok, after)
	}
	for _, wrong := range []string{"", code[:5], code + "0", " " + code, "000000", "-1"} {
		_, ok := match(secret, wrong, time.Unix(30_000, 0), 0)
		assert.False(t, ok, wrong)
	}
	_, ok := match("", code, time.Unix(30_000, 0), 0)
	assert.False(t, ok)
}

// Two neighbouring steps may have one code: then it is used up for both.
func TestMatch_D04_a_code_of_two_steps_is_used_once(t *testing.T) {
	secret := userapi.Secret(secretText.EncodeToString(rfcKey))
	const first = 910_737 // the first such pair of this key
	require.Equal(t, hotp(rfcKey, first), hotp(rfcKey, first+1))
	step, ok := match(secret, hotp(rfcKey, first), time.Unix(first*30, 0), 0)
	require.True(t, ok)
	assert.EqualValues(t, first+1, step)
}

func TestRecoveryCodes_D12_are_80_random_bits(t *testing.T) {
	form := regexp.MustCompile(`^([0-9A-HJKMNP-TV-Z]{4}-){3}[0-9A-HJKMNP-TV-Z]{4}$`)
	seen, first := map[userapi.Secret]bool{}, map[byte]bool{}
	for range 100 {
		var s state
		codes := s.renew()
		require.Len(t, codes, 10)
		require.Len(t, s.Recovery, 10)
		for _, code := range codes {
			assert.Regexp(t, form, string(code))
			assert.False(t, seen[code])
			seen[code], first[code[0]] = true, true
		}
	}
	assert.Len(t, first, 32, "every character is possible")
	assert.Len(t, secretText.EncodeToString(random(secretSize)), 32)
	assert.NotEqual(t, newSecret(), newSecret())
}

func TestCodes_D13_as_people_type_them(t *testing.T) {
	for want, typed := range map[string][]string{
		"012345":           {"012345", " 012 345 ", "012-345", "０１２３４５", "o1234 5", "Oi2345", "0l2345", "012\u00a0345", "012\u200b345", "012–345"},
		"0123456789ABCDEF": {"0123-4567-89AB-CDEF", "0123456789abcdef", "oI23 4567 89ab cdef", "０１２３－４５６７－８９ａｂ－ｃｄｅｆ"},
		"٠١٢٣٤٥":           {"٠١٢٣٤٥"}, // Arabic digits are no code of ours
		"":                 {"", " ", "-", strings.Repeat("1", maxTyped+1)},
	} {
		for _, text := range typed {
			assert.Equal(t, want, plain(text), text)
		}
	}
}

func FuzzPlain(f *testing.F) {
	for _, seed := range []string{"012 345", "０１２３４５", "oil-OIL", "ß", "\u0130", "①", "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		once := plain(typed)
		if strings.ContainsAny(once, " -OIL\t\n") {
			t.Errorf("%q is left of %q", once, typed)
		}
		ascii := strings.Trim(once, "0123456789ABCDEFGHJKMNPQRSTUVWXYZ") == "" // what a code could be
		if ascii && len(once) < maxTyped-2 && (plain(once) != once || plain("-"+strings.ToLower(once)+" ") != once) {
			t.Errorf("%q is not plain", once)
		}
		var s state
		s.confirm(once, time.Unix(0, 0))
		s = state{Secret: newSecret(), Recovery: []string{recoveryHash("")}}
		if once != "" && s.use(once, time.Unix(1_000_000, 0)) && len(once) != digits {
			t.Errorf("%q was taken", once)
		}
	})
}

func FuzzKeyURI(f *testing.F) {
	f.Add("Größe & Co/1?", "a+b=c&d:e@x.example")
	f.Add("", "%2B%00\n#")
	f.Fuzz(func(t *testing.T, issuer, account string) {
		raw := string(keyURI(issuer, account, "GEZDGNBVGY3TQOJQ"))
		u, err := url.Parse(raw)
		if err != nil || u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/"+issuer+":"+account || strings.ContainsAny(raw, "+ \n") {
			t.Fatalf("%q: %v", raw, err)
		}
		query, err := url.ParseQuery(u.RawQuery)
		if err != nil || len(query) != 5 || query.Get("issuer") != issuer || query.Get("secret") != "GEZDGNBVGY3TQOJQ" {
			t.Errorf("%q: %v", raw, err)
		}
	})
}

func TestState_never_prints_its_secrets(t *testing.T) {
	s := state{Secret: "GEZDGNBVGY3TQOJQ", Pending: "MFRGGZDFMZTWQ2LK"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, v := range []any{s, &s} {
			text := fmt.Sprintf(verb, v)
			assert.NotContains(t, text, "GEZDG")
			assert.NotContains(t, text, "MFRGG")
		}
	}
}

func TestKeyURI_is_what_apps_read(t *testing.T) {
	raw := string(keyURI("Größe & Co/1?", "a+b=c&d:e@x.example", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"))
	assert.NotContains(t, raw, "+", "which some apps show as it is")
	u, err := url.Parse(raw)
	require.NoError(t, err)
	assert.Equal(t, "otpauth", u.Scheme)
	assert.Equal(t, "totp", u.Host)
	assert.Equal(t, "/Größe & Co/1?:a+b=c&d:e@x.example", u.Path)
	assert.Equal(t, url.Values{"secret": {"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"}, "issuer": {"Größe & Co/1?"}, "algorithm": {"SHA1"}, "digits": {"6"}, "period": {"30"}}, u.Query())
}

func TestAccountName_is_bounded(t *testing.T) {
	assert.Equal(t, "a@x.example", accountName(userapi.User{ID: "1", Email: "a@x.example", Username: "a", Phone: "+49"}))
	assert.Equal(t, "a", accountName(userapi.User{ID: "1", Username: "a", Phone: "+49"}))
	assert.Equal(t, "+49", accountName(userapi.User{ID: "1", Phone: "+49"}))
	assert.Equal(t, "1", accountName(userapi.User{ID: "1"}))
	name := accountName(userapi.User{Username: strings.Repeat("é", 200)})
	assert.Equal(t, strings.Repeat("é", 127), name)
	_, err := picture(keyURI(strings.Repeat("é", 32), name, newSecret()))
	assert.NoError(t, err, "the longest there is")
}

// The library's modules, five pixels each, within four modules of white. (That its codes can be read was tried with another's reader.)
func TestPicture(t *testing.T) {
	text := keyURI("Acme", "ann@acme.example", newSecret())
	raw, err := picture(text)
	require.NoError(t, err)
	img, err := png.Decode(bytes.NewReader(raw))
	require.NoError(t, err)
	code, err := qr.Encode(string(text), qr.M, qr.Unicode)
	require.NoError(t, err)
	modules := code.Bounds().Dx()
	require.Equal(t, (modules+8)*5, img.Bounds().Dx())
	require.Equal(t, img.Bounds().Dx(), img.Bounds().Dy())
	dark := 0
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			r, _, _, _ := img.At(x, y).RGBA()
			mx, my := x/5-4, y/5-4
			want := mx >= 0 && my >= 0 && mx < modules && my < modules && code.At(mx, my) == color.Black
			if want != (r == 0) {
				t.Fatalf("pixel %d,%d", x, y)
			}
			if want {
				dark++
			}
		}
	}
	assert.Greater(t, dark, 1000)
	_, err = picture(userapi.Secret(strings.Repeat("x", 3000)))
	assert.Error(t, err)
}
