package userapi

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/mail"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// Every parser of what comes from outside has a target: `go test -run - -fuzz FuzzEmail -fuzztime 10m .`. What they look for
// is more than a panic: what is taken is bounded, has one spelling, and reads the same a second time.

func FuzzAccessToken(f *testing.F) {
	k := keysFor(f, nil)
	good, _ := k.signAccess(goodClaims())
	part := strings.Split(string(good), ".")
	for _, seed := range []string{"", "..", string(good), string(good) + "=", part[0] + "." + part[1] + ".", strings.Repeat("a.", 20), forge(k, header(k, nil), claims(nil)),
		`{"payload":"` + part[1] + `"}`, "l1." + k.newest + ".s1.AAAA"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, err := k.verifyAccess(text, tokenTime)
		if (id == nil) == (err == nil) {
			t.Fatal("an identity or an error")
		}
		if err != nil && AsError(err).Kind != Unauthenticated {
			t.Errorf("%v", err)
		}
		// A second reading of RFC 7515, without the library and without the claims.
		part := strings.Split(text, ".")
		signed := len(part) == 3 && strings.HasSuffix(seal(k, decoded(part[0]), decoded(part[1])), "."+part[2]) && seal(k, decoded(part[0]), decoded(part[1])) == text
		if id != nil && !signed {
			t.Errorf("taken without our signature: %q", text)
		}
	})
}

func decoded(segment string) string {
	raw, _ := base64.RawURLEncoding.DecodeString(segment)
	return string(raw)
}

// Whatever header and claims are under a right signature, only an access token is one.
func FuzzAccessClaims(f *testing.F) {
	k := keysFor(f, nil)
	for _, change := range []func(m map[string]any){
		nil,
		func(m map[string]any) { m["exp"] = json.Number("1e400") },
		func(m map[string]any) { m["nbf"] = -1 },
		func(m map[string]any) { m["roles"] = nil },
		func(m map[string]any) { m["step"] = "password" },
		func(m map[string]any) { m["sub"] = "current" },
		func(m map[string]any) { m["aud"] = []string{""} },
	} {
		f.Add(mustJSON(header(k, nil)), mustJSON(claims(change)))
	}
	f.Add(`{"alg":"none","alg":"HS256","typ":"at+jwt","kid":"`+k.newest+`","crit":null}`, `{"SUB":"x","sub":"y"}`)
	f.Fuzz(func(t *testing.T, head, body string) {
		id, err := k.verifyAccess(seal(k, head, body), tokenTime)
		if err != nil {
			return
		}
		var h map[string]any
		if json.Unmarshal([]byte(head), &h) != nil || h["alg"] != "HS256" || h["typ"] != accessType || h["kid"] != k.newest {
			t.Errorf("header %s", head)
		}
		if _, there := h["crit"]; there {
			t.Error("an extension that nobody understands")
		}
		c := id.c
		if !ValidID(c.Subject) || !ValidID(c.Session) || !ValidID(c.Customer) || c.Issuer != "userapi" || c.Audience != "" || c.Epoch < 1 || c.ExpiresAt <= 0 ||
			c.IssuedAt > tokenTime.Unix()+60 || c.NotBefore > tokenTime.Unix()+60 || c.Step != "" && c.Step.missing() == nil {
			t.Errorf("claims %+v", c)
		}
		again, err := k.signAccess(&c)
		if err != nil {
			t.Fatal(err)
		}
		if other, err := k.verifyAccess(string(again), tokenTime); len(again) <= maxAccess && (err != nil || !reflect.DeepEqual(*other, *id)) {
			t.Errorf("signed again: %v %+v", err, other)
		}
	})
}

func FuzzRefreshToken(f *testing.F) {
	k := keysFor(f, nil)
	good := string(k.signRefresh("s1", 41))
	for _, seed := range []string{"", "....", good, good + "\n", strings.Replace(good, ".41.", ".041.", 1), strings.Replace(good, "r1", "l1", 1), string(k.signOpaque("s1"))} {
		f.Add(seed, int64(7))
	}
	f.Add(strings.Repeat("s", 300), int64(-1))
	f.Fuzz(func(t *testing.T, text string, counter int64) {
		if session, n, ok := k.verifyRefresh(text); ok && (string(k.signRefresh(session, n)) != text || len(text) > maxRefresh) {
			t.Errorf("a second spelling: %q", text)
		}
		signed := string(k.signRefresh(text, counter)) // text as the id of a session
		session, n, ok := k.verifyRefresh(signed)
		if wanted := len(signed) <= maxRefresh && !strings.Contains(text, "."); ok != wanted || ok && (session != text || n != counter) {
			t.Errorf("%q %d came back as %q %d %t", text, counter, session, n, ok)
		}
		if _, ok := k.verifyOpaque(signed); ok {
			t.Error("taken for an opaque key")
		}
	})
}

func FuzzOpaqueKey(f *testing.F) {
	k := keysFor(f, nil)
	good := string(k.signOpaque("s1"))
	for _, seed := range []string{"", "...", good, good + "=", "l1.." + good, strings.Replace(good, "l1", "r1", 1), string(k.signRefresh("s1", 1)), strings.Repeat("l1.", 100)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if session, ok := k.verifyOpaque(text); ok && (string(k.signOpaque(session)) != text || len(text) > maxRefresh || !isOpaque(text)) {
			t.Errorf("a second spelling: %q", text)
		}
		signed := string(k.signOpaque(text))
		session, ok := k.verifyOpaque(signed)
		if wanted := len(signed) <= maxRefresh && !strings.Contains(text, "."); ok != wanted || ok && session != text {
			t.Errorf("%q came back as %q %t", text, session, ok)
		}
		if _, _, ok := k.verifyRefresh(signed); ok {
			t.Error("taken for a refresh token")
		}
	})
}

func FuzzEmail(f *testing.F) {
	for _, seed := range []string{"a@x.io", " A@X.COM ", "a@bücher.example", "a@xn--bcher-kva.example", "a@[127.0.0.1]", "mi\u212ae@x.io", "a\uff20x.io", "a@x\u3002io", `"a b"@x.io`,
		"a@x.io\r\nBcc: b@x.io", "a@ß.example", "a@\u200dx.io", "a@1", "a@xn--a", "a@İ.example"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		typed, key, err := NormalizeEmail(in)
		if err != nil {
			if typed+key != "" {
				t.Error("parts of what is none")
			}
			return
		}
		if len(key) > 254 || strings.Count(key, "@") != 1 || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r >= 0x7f || r >= 'A' && r <= 'Z' }) {
			t.Errorf("%q is %q", in, key)
		}
		if a, err := mail.ParseAddress(key); err != nil || a.Address != key {
			t.Errorf("a mailer reads %v of %q", a, key)
		}
		for _, spelling := range []string{key, typed, " " + key + "\t", strings.ToUpper(key)} {
			if _, again, err := NormalizeEmail(spelling); err != nil || again != key {
				t.Errorf("%q is %q, %q is %q %v", in, key, spelling, again, err)
			}
		}
		if id, ok := parseIdentifier(in); !ok || id != (Identifier{EmailIdentifier, key}) {
			t.Errorf("%q logs in as %v", in, id)
		}
	})
}

func FuzzUsername(f *testing.F) {
	for _, seed := range []string{"ann", " Ann ", "ＲＡＣＥＲ", "straße", "ᏣᎳᎩ", "ꮳꮃꭹ", "ŉ", "a\u0345\u0301", "\u1e9e", "＠", "＋1", "x\u2028y", "ﬃ", "\u03c2", "İ", "K", "\u00a0a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		typed, key, err := NormalizeUsername(in)
		if err != nil {
			if typed+key != "" {
				t.Error("parts of what is none")
			}
			return
		}
		if !utf8.ValidString(key) || utf8.RuneCountInString(key) > 128 || key == "" || strings.Contains(key, "@") || strings.HasPrefix(key, "+") || !plainText(key) {
			t.Errorf("%q is %q", in, key)
		}
		for _, spelling := range []string{key, typed, " " + key} {
			if _, again, err := NormalizeUsername(spelling); err != nil || again != key {
				t.Errorf("%q is %q, %q is %q %v", in, key, spelling, again, err)
			}
			if id, ok := parseIdentifier(spelling); !ok || id != (Identifier{UsernameIdentifier, key}) {
				t.Errorf("%q logs in as %v", spelling, id)
			}
		}
	})
}

func FuzzPhone(f *testing.F) {
	for i, seed := range []string{"+4930901820", "+49 (0)30 901820", "0049 30 901820", "030 901820", "+1 650 253 0000", "650-253-0000", "+49 30 901820 ext. 5", "+٤٩٣٠٩٠١٨٢٠", "+390612345678", "+8823", "tel:+49", "＋４９３０９０１８２０"} {
		f.Add(seed, uint8(i))
	}
	regions := []string{"", "DE", "US", "IT", "GB", "BR"}
	form := regexp.MustCompile(`^\+[1-9][0-9]{3,14}$`)
	f.Fuzz(func(t *testing.T, in string, region uint8) {
		number, err := NormalizePhone(in, regions[int(region)%len(regions)])
		if err != nil {
			if number != "" {
				t.Error("a number that is none")
			}
			return
		}
		if !form.MatchString(number) || phoneCountry(number) == "" {
			t.Errorf("%q is %q of %q", in, number, phoneCountry(number))
		}
		for _, region := range regions { // a canonical number is the same everywhere
			if again, err := NormalizePhone(number, region); err != nil || again != number {
				t.Errorf("%q is %q, and that is %q %v in %s", in, number, again, err, region)
			}
		}
		if id, ok := parseIdentifier(number); !ok || id != (Identifier{PhoneIdentifier, number}) {
			t.Errorf("%q logs in as %v", number, id)
		}
	})
}

func FuzzCursor(f *testing.F) {
	c := &core{tokens: keysFor(f, nil)}
	mine, other := []any{Scope{Customer: "a"}, "x"}, []any{Scope{Customer: "b"}, "x"}
	for _, seed := range []string{"", "AAAA", c.cursor(mine, [2]string{"1", "ann"}), c.cursor(other, [2]string{"1", "ann"}), c.cursor(mine, [2]string{"\x00", "\u2028"}) + "="} {
		f.Add(seed, "id", "näme")
		f.Add(seed[:len(seed)/2]+"\n"+seed[len(seed)/2:], "\xc7", "\x83")
	}
	f.Fuzz(func(t *testing.T, text, id, name string) {
		if key, ok := c.openCursor(mine, text); ok && c.cursor(mine, key) != text {
			t.Errorf("a second spelling: %q", text)
		}
		if key, ok := c.openCursor(mine, c.cursor(mine, [2]string{id, name})); utf8.ValidString(id) && utf8.ValidString(name) && (!ok || key != [2]string{id, name}) {
			t.Errorf("%q %q came back as %q %t", id, name, key, ok)
		}
		if _, ok := c.openCursor(mine, c.cursor(other, [2]string{id, name})); ok {
			t.Error("another's cursor")
		}
	})
}

func FuzzPHC(f *testing.F) {
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Add("$argon2id$v=19$m=4294967295,t=4294967295,p=255$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA")
	f.Add("$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b4dWRWJTmaaJObG")
	f.Add("$argon2id$v=19$m=08,t=+1,p=1$c29tZXNhbHR=$\n")
	f.Add("$argon2id$v=19$m=10,t=1,p=1$00000000000$000000000000\r00000000000")
	f.Fuzz(func(t *testing.T, text string) {
		h, ok := parsePHC(text)
		if !ok {
			return
		}
		p := h.params
		if h.String() != text || len(text) > maxPHC || len(h.salt) < 8 || len(h.sum) < 16 || len(h.salt) > 64 || len(h.sum) > 64 {
			t.Errorf("read %q as %v", text, h)
		}
		if p.MemoryKiB > 1<<20 || p.Passes > 64 || p.Threads > 16 || uint64(p.MemoryKiB)*uint64(p.Passes) > 4<<20 {
			t.Errorf("a login would cost %+v", p)
		}
	})
}

func FuzzURLTemplate(f *testing.F) {
	v := &Verification{LinkOrigins: []string{"https://app.example.com", "http://localhost:3000"}}
	for _, seed := range []string{"https://app.example.com/r?t={token}", "https://app.example.com#{token}", "https://app.example.com{token}", "https://APP.example.com/{token}", "https://app.example.com@evil.example/{token}",
		"https://app.example.com:443/{token}", "https://app.example.com\\@evil.example/{token}", "https://app.example.com./{token}", "http://localhost:3000/%7b{token}%7d", "https://app.example.com/{token}{token}",
		"javascript://app.example.com/{token}", "//app.example.com/{token}", "https:app.example.com/{token}", "https://app.example.com.evil.example/{token}", "https://[::1]/{token}", "https://app.example.com/..//evil.example/{token}"} {
		f.Add(seed)
	}
	const token = "c.A-_a b+&#%" // with what has to be escaped
	f.Fuzz(func(t *testing.T, template string) {
		if template == "" || v.checkTemplate(template) != nil {
			return
		}
		link := string(buildLink(template, token))
		u, err := url.Parse(link)
		if err != nil || !slices.Contains(v.LinkOrigins, strings.ToLower(u.Scheme+"://"+u.Host)) || u.User != nil || u.Opaque != "" {
			t.Errorf("%q leads to %v %v", link, u, err)
		}
		// What a browser reads: the origin goes on to the first of these.
		origin := regexp.MustCompile(`^[^:]*://[^/?#\\]*`).FindString(link)
		if !slices.Contains(v.LinkOrigins, strings.ToLower(origin)) || len(template) > 2048 || strings.Count(link, url.QueryEscape(token)) != 1 || strings.ContainsAny(link, " \r\n\t\"<>\\") && !strings.ContainsAny(template, "\"<>") {
			t.Errorf("%q has the origin %q", link, origin)
		}
	})
}

func FuzzLimits(f *testing.F) {
	for _, seed := range []string{"", "off", "login=5/10m/account,20/m/address;register=100/h/address", "reset=1/m/account;reset=1/m/account", "login=", "login=5/10m/account,5/600s/account", "phone=1000000/1000d/instance", "x=1/m/account", "login=1//account", "login=1/\xffm/account"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := ParseLimits(text, DefaultLimits())
		if err != nil {
			return
		}
		var entries []string
		for name, limits := range l {
			var list []string
			for _, one := range limits {
				if one.Max < 1 || one.Max > 1_000_000 || one.Window < time.Second || one.Window > 1000*day || !slices.Contains(limitKinds[name], one.Per) {
					t.Errorf("%s=%+v", name, one)
				}
				unit, n := "s", one.Window/time.Second
				if n > 1000 {
					unit, n = "h", one.Window/time.Hour
				}
				if unit == "h" && n > 1000 {
					unit, n = "d", one.Window/day
				}
				if unit == "h" && one.Window%time.Hour != 0 {
					unit, n = "m", one.Window/time.Minute
				}
				list = append(list, fmt.Sprintf("%d/%d%s/%s", one.Max, n, unit, one.Per))
			}
			entries = append(entries, name+"="+strings.Join(list, ","))
		}
		if again, err := ParseLimits(strings.Join(entries, ";"), nil); len(l) > 0 && (err != nil || !reflect.DeepEqual(again, l)) {
			t.Errorf("%q is %v, and that %v %v", text, l, again, err)
		}
	})
}

func FuzzNames(f *testing.F) {
	for _, seed := range []string{"", "admin", "users:password", "a-b", "A", ".", "..", "current", "ä", "a\n", strings.Repeat("a", 65)} {
		f.Add(seed, "doc", "7-x")
	}
	code, resource, kind := regexp.MustCompile(`^[a-z0-9_.:-]{1,64}$`), regexp.MustCompile(`^[a-z0-9_.:]{1,64}$`), regexp.MustCompile(`^[a-z0-9_.]{1,32}$`)
	id, dots := regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`), regexp.MustCompile(`^\.+$`)
	f.Fuzz(func(t *testing.T, text, res, resID string) {
		for name, differ := range map[string]bool{
			"a role or scope": validRoleCode(text) != code.MatchString(text),
			"a resource":      validResource(text) != resource.MatchString(text),
			"a kind":          validKind(text) != kind.MatchString(text),
			"an id":           opaqueID(text) != (id.MatchString(text) && !dots.MatchString(text)),
			"an account's id": ValidID(text) != (opaqueID(text) && !slices.Contains(ReservedIDs(), text)),
		} {
			if differ {
				t.Errorf("%q is or is not %s", text, name)
			}
		}
		// "<resource>-<id>-<level>" reads one way.
		m := Membership{Resource: res, ResourceID: resID}
		if m.valid() == nil && validResource(text) {
			role := m.role(text)
			first, last := strings.Index(role, "-"), strings.LastIndex(role, "-")
			if role[:first] != res || role[first+1:last] != resID || role[last+1:] != text {
				t.Errorf("%q", role)
			}
		}
	})
}

func FuzzExpiry(f *testing.F) {
	for _, seed := range []string{"2030-12-31", "2030-12-31T23:59:59Z", "2030-12-31T23:59:59.999+14:00", "9999-12-31", "0000-01-01", "2030-02-30", "2030-12-31T24:00:00Z", "2030-12-31T23:59:60Z"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at, err := ParseExpiry(text)
		if err != nil {
			return
		}
		if len(text) > 64 || at.Location() != time.UTC {
			t.Errorf("%q is %v", text, at)
		}
		if again, err := ParseExpiry(at.Format(time.RFC3339Nano)); at.Year() >= 0 && at.Year() <= 9999 && (err != nil || !again.Equal(at)) {
			t.Errorf("%q is %v, and that %v %v", text, at, again, err)
		}
	})
}
