package httpadapter

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/userapi/userapi"
)

func FuzzAuthorizationHeader(f *testing.F) {
	for _, seed := range []string{"", "Bearer", "Bearer ", "Bearer x", "bEARER  x", "Bearer\tx", "Bearer x y", "Basic x", " Bearer x", "Bearer x,Bearer y"} {
		f.Add(seed)
	}
	a := &Adapter{cfg: Config{AccessCookie: DefaultAccessCookie}}
	form := regexp.MustCompile(`(?is)^bearer +([^ ].*)$`)
	f.Fuzz(func(t *testing.T, text string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.AddCookie(&http.Cookie{Name: DefaultAccessCookie, Value: "eA=="})
		r.Header["Authorization"] = []string{text}
		token, byCookie, err := a.presented(r)
		want := form.FindStringSubmatch(text)
		if byCookie || (err == nil) != (want != nil) || err == nil && token != want[1] || err != nil && (token != "" || !errors.Is(err, userapi.ErrInvalidToken)) {
			t.Errorf("%q gives %q %t %v", text, token, byCookie, err)
		}
		r.Header["Authorization"] = []string{text, text}
		if _, _, err := a.presented(r); err == nil {
			t.Error("two headers")
		}
	})
}

// No cookie that net/http would see is missed: where there are two, none of them counts.
func FuzzCookieHeader(f *testing.F) {
	for _, seed := range []string{"", "a=b", "a=b; a=c", "a=b;a=\"c\"", "a=b ;c=d", "A=b", " a = b", "a", "a==;=a", "b=1; a=b,a=c", "a=b\x00; a=ü"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		r := &http.Request{Header: http.Header{"Cookie": {line}}}
		ours := cookies(r, "a")
		for _, c := range r.CookiesNamed("a") {
			value := c.Value
			if c.Quoted {
				value = `"` + value + `"`
			}
			at := slices.Index(ours, value)
			if at < 0 {
				t.Fatalf("%q: net/http sees %q, and we see %q", line, value, ours)
			}
			ours = slices.Delete(ours, at, at+1)
		}
		_, found, err := oneCookie(r, "a")
		if all := cookies(r, "a"); found != (len(all) > 0) || (err != nil) != (len(all) > 1) {
			t.Errorf("%q: %q are %t %v", line, all, found, err)
		}
	})
}

func FuzzAccessCookie(f *testing.F) {
	for _, seed := range []string{"", "eA==", "eA", "eA=", "eB", "-_+/", "e\nA", "====", strings.Repeat("A", 5000)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if token, err := openCookie(text); err == nil {
			again := base64.RawStdEncoding.EncodeToString([]byte(token))
			if bytesOf := strings.NewReplacer("-", "+", "_", "/", "\r", "", "\n", "").Replace(strings.TrimRight(text, "=")); bytesOf != again || token == "" {
				t.Errorf("%q is %q", text, token)
			}
		}
		for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
			if token, err := openCookie(e.EncodeToString([]byte(text))); text != "" && (err != nil || token != text) {
				t.Errorf("%q came back as %q %v", text, token, err)
			}
		}
	})
}

func FuzzPathID(f *testing.F) {
	for _, seed := range []string{"", "/", "//", "/users/7/role/", "/a%2Fb", "/..%2Fadmin", "/%00", "/%252e%252e", "/.", "/users/\r\n", "/" + strings.Repeat("a", 65), strings.Repeat("/a", 600)} {
		f.Add(seed)
	}
	form := regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`)
	f.Fuzz(func(t *testing.T, path string) {
		u, err := url.Parse(path)
		if err != nil {
			return
		}
		segments, ok := pathSegments(u)
		if !ok {
			return
		}
		for _, one := range segments {
			if !form.MatchString(one) || strings.Trim(one, ".") == "" {
				t.Errorf("%q has the segment %q", path, one)
			}
		}
		// What was unescaped is read the same unescaped: there is no second layer.
		again, ok := pathSegments(&url.URL{Path: "/" + strings.Join(segments, "/")})
		if !ok || !slices.Equal(again, segments) || len(u.EscapedPath()) > maxPath {
			t.Errorf("%q is %q, and that is %q", path, segments, again)
		}
	})
}

// A body that is taken means to encoding/json what it means to us.
func FuzzJSONObject(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":"x","b":null}`, `{"a":"x","a":"y"}`, `{"A":"x"}`, `{"a":"\ud83d\ude00"}`, `{"a":"\ud800"}`, `{"a":"\\u0000"}`, `{"a":"x"}{}`, "\ufeff{}", `{"a":1}`, `{"c":{}}`, `[]`, `{"a":"\u0000"}`,
		strings.Repeat(`{"a":`, 100), `{"\u0061":"x"}`, `{"a":"\ud800\udc00\udc00"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var a, b *string
		r := httptest.NewRequest("POST", "/", bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		c := &call{Adapter: &Adapter{}, w: httptest.NewRecorder(), r: r}
		if err := c.decode(optional("a", &a), optional("b", &b)); err != nil {
			if kind := userapi.AsError(err).Kind; kind != userapi.Invalid {
				t.Errorf("%v", err)
			}
			return
		}
		var want struct {
			A *string `json:"a"`
			B *string `json:"b"`
		}
		strict := json.NewDecoder(bytes.NewReader(body))
		strict.DisallowUnknownFields()
		if err := strict.Decode(&want); err != nil || !reflect.DeepEqual(want.A, a) || !reflect.DeepEqual(want.B, b) || !utf8.Valid(body) {
			t.Errorf("%q: %v", body, err)
		}
		for _, one := range []*string{a, b} {
			if one != nil && strings.ContainsRune(*one, utf8.RuneError) && !bytes.Contains(body, []byte("\ufffd")) && !bytes.Contains(bytes.ToLower(body), []byte(`\ufffd`)) {
				t.Errorf("%q: half a character was taken", body)
			}
		}
	})
}

func FuzzForwardedFor(f *testing.F) {
	for _, seed := range []string{"", "192.0.2.1", "192.0.2.1:80", "[2001:db8::1]:80", "::ffff:10.0.0.1", "fe80::1%eth0", "unknown", "1.2.3.4, 10.0.0.1", ",,", "10.0.0.1,::1"} {
		f.Add(seed)
	}
	trusted, _ := unmapPrefix(netip.MustParsePrefix("::ffff:10.0.0.0/104"))
	a := &Adapter{cfg: Config{TrustedProxies: []netip.Prefix{trusted}}}
	f.Fuzz(func(t *testing.T, text string) {
		if addr, ok := parseAddress(text); ok {
			if again, ok := parseAddress(addr.String()); !ok || again != addr || addr.Is4In6() || addr.Zone() != "" {
				t.Errorf("%q is %v, and that is %v", text, addr, again)
			}
		}
		r := &http.Request{RemoteAddr: "10.0.0.1:4711", Header: http.Header{"X-Forwarded-For": {text}}}
		if addr, ok := parseAddress(a.ClientAddress(r)); !ok {
			t.Errorf("%q gives no address: %v", text, addr)
		}
		r.RemoteAddr = "192.0.2.7:4711" // no proxy of ours: what it says does not count
		if got := a.ClientAddress(r); got != "192.0.2.7" {
			t.Errorf("%q gives %q", text, got)
		}
	})
}
