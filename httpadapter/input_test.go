package httpadapter_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// chunked hides the length of a body.
type chunked struct{ io.Reader }

func TestBodies(t *testing.T) {
	w := newWorld(t)
	admin := w.as("admin")
	post := func(body any, how ...set) *answer { return w.do("POST", "/users", body, append(how, admin)...) }
	const good = `{"email":"new@acme.example","name":"New","active":true}`

	t.Run("G01 too large, zipped", func(t *testing.T) {
		post(`{"email":"`+strings.Repeat("a", 1<<20)+`"}`).is(413, "TOO_LARGE")
		endless := io.MultiReader(strings.NewReader(`{"email":"`), io.LimitReader(zeros{}, 1<<40))
		r := httptest.NewRequest("POST", "/api/users", chunked{endless})
		r.Header.Set("Content-Type", "application/json")
		admin(r)
		rec := httptest.NewRecorder()
		w.mux.ServeHTTP(rec, r)
		assert.Equal(t, 413, rec.Code)
		var zipped bytes.Buffer
		z := gzip.NewWriter(&zipped)
		_, _ = z.Write([]byte(good))
		_ = z.Close()
		post(zipped.String(), header("Content-Encoding", "gzip")).is(415, "WRONG_PAYLOAD_FORMAT")
		post(good, header("Content-Encoding", "identity")).is(415, "WRONG_PAYLOAD_FORMAT")
	})
	t.Run("G02 deep, long, large numbers", func(t *testing.T) {
		for _, body := range []string{
			strings.Repeat(`{"a":`, 10001) + "1" + strings.Repeat("}", 10001),
			`{"roles":` + strings.Repeat("[", 10001) + strings.Repeat("]", 10001) + "}",
		} {
			post(body).is(422, "WRONG_PAYLOAD")
		}
		for _, body := range []string{
			`{"roles":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + "}",
			`{"roles":[` + strings.Repeat("1,", 400_000) + "1]}",
			`{"roles":[` + strings.Repeat(`{"id":1},`, 100_000) + `{"id":1}]}`,
			`{"roles":[{"id":` + strings.Repeat("9", 1_000_000) + "}]}",
			`{"email":` + strings.Repeat("9", 1_000_000) + "}",
			`{` + strings.Repeat(`"x":0,`, 150_000) + `"x":0}`,
		} {
			assert.NotEmpty(t, post(body).is(422, "WRONG_DOCUMENT_FORMAT").payload())
		}
		many := "{"
		for i := range 1000 {
			many += fmt.Sprintf(`"f%d":0,`, i)
		}
		assert.LessOrEqual(t, len(post(many+`"z":0}`).is(422, "WRONG_DOCUMENT_FORMAT").payload()), 20)
	})
	t.Run("G04 unknown fields are named, if they are names", func(t *testing.T) {
		a := post(`{"email":"n@acme.example","name":"N","active":true,"colour":1}`).is(422, "WRONG_DOCUMENT_FORMAT")
		assert.Equal(t, object{"colour": []any{"unknown field"}}, a.payload())
		for _, name := range []string{"<script>", strings.Repeat("x", 33), `\u0000`, "", `a b`, "é"} {
			a := post(`{"email":"n@acme.example","name":"N","active":true,"`+name+`":1}`).is(422, "WRONG_DOCUMENT_FORMAT")
			assert.Equal(t, object{"?": []any{"unknown field"}}, a.payload(), name)
		}
		a = post(`{"Email":"n@acme.example","NAME":"N","active":true}`).is(422, "WRONG_DOCUMENT_FORMAT")
		assert.Equal(t, object{"Email": []any{"unknown field"}, "NAME": []any{"unknown field"}, "name": []any{"required field"}}, a.payload())
	})
	t.Run("G06 one object and nothing else", func(t *testing.T) {
		for _, body := range []string{
			good + good, good + " x", "\ufeff" + good, "", " ", "null", "[]", "[" + good + "]", `"x"`, "1", "true", "{", `{"a"}`, `{'a':1}`,
			`{"a":1,}`, `{"a":NaN}`, `{"a":01}`, "{} // c",
		} {
			post(body).is(422, "WRONG_PAYLOAD")
		}
		post(" \r\n\t"+strings.Replace(good, "new@", "g06@", 1)+"\n").is(201, "")
	})
	t.Run("G06 no key twice", func(t *testing.T) {
		for _, body := range []string{
			`{"email":"a@acme.example","email":"b@acme.example","name":"N","active":true}`,
			`{"email":"a@acme.example","\u0065mail":"b@acme.example","name":"N","active":true}`,
		} {
			a := post(body).is(422, "WRONG_DOCUMENT_FORMAT")
			assert.Equal(t, object{"email": []any{"given more than once"}}, a.payload())
		}
		post(`{"email":"a@acme.example","name":"N","active":true,"roles":[{"id":"7","id":"admin"}]}`).is(422, "WRONG_DOCUMENT_FORMAT")
	})
	t.Run("G07 wrong types", func(t *testing.T) {
		for field, values := range map[string][]string{
			"email":    {"1", "true", "{}", "[]", `["a@b"]`},
			"name":     {"null", "1", "{}"},
			"active":   {"null", "1", "0", `"true"`, "{}"},
			"password": {"1", "{}", "[]", "true", `""`},
			"roles":    {"null", "1", `"admin"`, "{}", "[1]", "[null]", `["admin"]`, "[[]]", "[{}]", `[{"id":true}]`, `[{"name":"x"}]`, `[{"code":1}]`},
		} {
			for _, v := range values {
				doc := map[string]string{"email": `"g07@acme.example"`, "name": `"N"`, "active": "true", field: v}
				parts := []string{}
				for k, v := range doc {
					parts = append(parts, fmt.Sprintf("%q:%s", k, v))
				}
				a := post("{"+strings.Join(parts, ",")+"}").is(422, "WRONG_DOCUMENT_FORMAT")
				assert.Contains(t, a.payload(), field, v)
			}
		}
	})
	t.Run("G08 broken text", func(t *testing.T) {
		for _, name := range []string{"\xff", "\xc0\xaf", "\xed\xa0\x80", `\ud800`, `\udc00`, `\ud800x`, `\ud800\n`, `\ud800\u0041`, `\ud800\ud800`, `\uDBFF`, `\\\ud800`, `\ud800\\udc00`} {
			post(`{"email":"g08@acme.example","active":true,"name":"`+name+`"}`).is(422, "WRONG_PAYLOAD")
		}
		a := post(`{"email":"g08@acme.example","active":true,"name":"\ud83d\ude00 \\ud800 é"}`).is(201, "")
		assert.Equal(t, `😀 \ud800 é`, a.text("name"))
	})
	t.Run("G09 ids are text", func(t *testing.T) {
		for _, id := range []string{"9007199254740993", "9223372036854775808", "-1", "0", "1e3", "1.0", "7.0", `"007"`, "null", `" 7"`} {
			a := post(`{"email":"g09@acme.example","name":"N","active":true,"roles":[{"id":`+id+`}]}`).is(422, "WRONG_DOCUMENT_FORMAT")
			assert.Contains(t, a.payload(), "roles", id)
		}
		for i, id := range []string{"7", `"7"`} {
			a := post(fmt.Sprintf(`{"email":"g09-%d@acme.example","name":"N","active":true,"roles":[{"id":%s}]}`, i, id)).is(201, "")
			assert.Equal(t, []any{object{"id": "7", "code": "editor", "name": "Editor"}}, a.JSON["roles"])
		}
		for _, id := range []string{"9007199254740993", "-1", "0", "1e3", "1.0", "007", "7"} {
			w.do("GET", "/users/"+id, nil, admin).is(404, "NOT_FOUND")
		}
	})
	t.Run("G11 JSON only", func(t *testing.T) {
		for _, kind := range []string{
			"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json; charset=utf-16",
			"application/json; charset=iso-8859-1", "application/json; charset=utf-8; version=1", "application/jsonp", "text/json", "application/json,text/plain", "json", "",
		} {
			post(good, noType, header("Content-Type", kind)).is(415, "WRONG_PAYLOAD_FORMAT")
		}
		post(good, noType).is(415, "WRONG_PAYLOAD_FORMAT")
		post(good, header("Content-Type", "text/plain")).is(415, "WRONG_PAYLOAD_FORMAT")
		for i, kind := range []string{"application/json; charset=utf-8", "Application/JSON", `application/json;charset="UTF-8"`} {
			post(strings.Replace(good, "new@", fmt.Sprintf("g11-%d@", i), 1), noType, header("Content-Type", kind)).is(201, "")
		}
	})
	t.Run("an optional body needs no Content-Type when empty", func(t *testing.T) {
		w.do("POST", "/auth/logout", nil, noType).is(204, "")
		w.do("POST", "/users/logout", "", noType).is(200, "")
		w.do("POST", "/auth/refresh", nil, noType).is(401, "UNAUTHORIZED")
		w.do("POST", "/auth/refresh", "{}", noType).is(415, "WRONG_PAYLOAD_FORMAT")
		w.do("POST", "/auth/logout", `{"token":"x"}`).is(422, "WRONG_DOCUMENT_FORMAT")
		w.do("POST", "/auth/logout", `{"refresh_token":1}`).is(422, "WRONG_DOCUMENT_FORMAT")
	})
	assert.NotContains(t, w.log.String(), `"level":"ERROR"`)
}

// zeros reads as "0000…".
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

func TestG10_Paths(t *testing.T) {
	w := newWorld(t)
	admin := w.as("admin")
	for _, id := range []string{
		"a%2Fb", "..%2Fadmin", "..", ".", "%2e%2e", "%2E", "%00", "a%00", "a%0d%0ab", "%252F", "a%20b", "a+b", "%C3%A9", "%ff", strings.Repeat("a", 65), strings.Repeat("a", 10_000), "a;b", "a%3Bb", "*", "{id}",
	} {
		for _, rest := range []string{"", "/", "/role", "/sessions"} {
			a := w.send(w.web.Users(), "GET", "/"+id+rest, nil, admin)
			assert.Equal(t, 404, a.Code, id+rest)
			assert.Empty(t, a.Header().Get("Location"))
			// Even before the guard: nothing can be asked by it.
			assert.Equal(t, 404, w.send(w.web.Users(), "GET", "/"+id+rest, nil).Code, id+rest)
		}
	}
	ann := w.ids["ann"]
	for path, status := range map[string]int{
		"/" + ann: 200, "/" + ann + "/": 200, "/" + ann + "//": 404, "//" + ann: 404, "/" + ann + "/role": 200, "/" + ann + "/role/": 200,
		"/" + ann + "//role": 404, "": 200, "/": 200, "//": 404, "///": 404, "/%61" + "x": 404, "/" + strings.Replace(ann, "-", "%2D", 1): 200,
		"/" + ann + "/roles": 404, "/token/": 200, "/Token": 404, "/token/role": 404, "/login/sessions": 404, "/" + ann + "/.": 404, "/" + ann + "/../" + ann: 404,
	} {
		a := w.send(w.web.Users(), "GET", "http://example.com"+path, nil, admin)
		assert.Equal(t, status, a.Code, path)
		assert.Equal(t, "application/json", a.Header().Get("Content-Type"), path)
	}
}

func TestMountStripsItsPrefixOnly(t *testing.T) {
	w := newWorld(t)
	admin := w.as("admin")
	mux := http.NewServeMux()
	w.web.Mount(mux, "/people/", w.web.Users())
	w.web.Mount(mux, "/v1/auth", w.web.Auth())
	for path, status := range map[string]int{
		"/people": 200, "/people/": 200, "/people/token": 200, "/people/token/": 200, "/people/" + w.ids["ann"]: 200, "/v1/auth/whoami": 200, "/v1/auth/": 404,
		"/people/a%2Fb": 404, "/%70eople/token": 404, "/people/*": 404,
	} {
		a := w.send(mux, "GET", path, nil, admin)
		assert.Equal(t, status, a.Code, path)
		assert.Equal(t, "application/json", a.Header().Get("Content-Type"), path)
	}
	var careless muxFunc
	w.web.Mount(&careless, "/people", w.web.Users())
	for path, status := range map[string]int{"/people": 401, "/people/token": 401, "/peopletoken": 404, "/other": 404} {
		assert.Equal(t, status, w.send(careless.h, "GET", path, nil).Code, path)
	}
	whole := http.NewServeMux()
	w.web.Mount(whole, "", w.web.Handler())
	w.send(whole, "GET", "/users/token", nil, admin).is(200, "")
	w.send(whole, "GET", "/", nil, admin).is(404, "NOT_FOUND")
	for _, prefix := range []string{"api", "/a b", "/{x}", "/a/*", "http://x/"} {
		assert.Panics(t, func() { w.web.Mount(http.NewServeMux(), prefix, w.web.Users()) }, prefix)
	}
}

// muxFunc is a router that sends everything to the handler it was last given.
type muxFunc struct{ h http.Handler }

func (m *muxFunc) Handle(_ string, h http.Handler) { m.h = h }

func TestG12_Methods(t *testing.T) {
	w := newWorld(t)
	admin := w.as("admin")
	for _, c := range []struct{ path, allow string }{
		{"/users", "GET, HEAD, OPTIONS, POST"},
		{"/users/login", "OPTIONS, POST"},
		{"/users/logout", "OPTIONS, POST"},
		{"/users/token", "GET, HEAD, OPTIONS"},
		{"/users/" + w.ids["ann"], "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"},
		{"/users/current/sessions", "DELETE, GET, HEAD, OPTIONS"},
		{"/auth/jwks.json", "GET, HEAD, OPTIONS"},
		{"/roles", "GET, HEAD, OPTIONS"},
	} {
		for _, method := range []string{"TRACE", "CONNECT", "BREW", "get", "post", "PROPFIND"} {
			a := w.do(method, c.path, nil, admin).is(405, "METHOD_NOT_ALLOWED")
			assert.Equal(t, c.allow, a.Header().Get("Allow"), c.path)
		}
		a := w.do("OPTIONS", c.path, nil).is(204, "")
		assert.Equal(t, c.allow, a.Header().Get("Allow"))
		assert.Empty(t, a.Body.String())
	}
	w.do("OPTIONS", "/nowhere", nil).is(404, "NOT_FOUND")

	for _, path := range []string{"/users", "/users/token", "/auth/jwks.json", "/users/nobody", "/auth/whoami"} {
		get, head := w.do("GET", path, nil, admin), w.do("HEAD", path, nil, admin)
		assert.Equal(t, get.Code, head.Code, path)
		assert.Equal(t, get.Header(), head.Header(), path)
		assert.Empty(t, head.Body.String(), path)
	}
	w.do("HEAD", "/auth/whoami", nil).is(401, "")

	over := []set{admin, header("X-HTTP-Method-Override", "DELETE"), header("X-Method-Override", "DELETE"), header("X-HTTP-Method", "DELETE")}
	w.do("GET", "/users/"+w.ids["ann"]+"?_method=DELETE", nil, over...).is(200, "")
	w.do("POST", "/users/"+w.ids["ann"]+"?_method=DELETE", nil, over...).is(405, "METHOD_NOT_ALLOWED")
	assert.Equal(t, true, w.do("GET", "/users/"+w.ids["ann"], nil, admin).JSON["active"])
}

func TestQueries(t *testing.T) {
	w := newWorld(t)
	admin := w.as("admin")
	list := func(query string) *answer { return w.do("GET", "/users?"+query, nil, admin) }

	t.Run("G14 no parameter twice, none unknown", func(t *testing.T) {
		for query, field := range map[string]string{
			"limit=1&limit=2": "limit", "name=a&name=a": "name", "sort=id": "sort", "Limit=1": "Limit", "customer=rival": "customer", "id=7": "id", "a%20b=1": "?",
			"limit=1;offset=2": "?", "name=%zz": "?",
		} {
			assert.Contains(t, list(query).is(422, "WRONG_ARGS").payload(), field, query)
		}
		w.do("DELETE", "/users/"+w.ids["bob"]+"?force=true&force=false", nil, admin).is(422, "WRONG_ARGS")
		w.do("DELETE", "/users/"+w.ids["bob"]+"?forse=true", nil, admin).is(422, "WRONG_ARGS")
		w.do("DELETE", "/users/"+w.ids["bob"]+"?force=1", nil, admin).is(422, "WRONG_ARGS")
		assert.Equal(t, true, w.do("GET", "/users/"+w.ids["bob"], nil, admin).JSON["active"])
		w.do("GET", "/roles?name=x", nil, admin).is(422, "WRONG_ARGS")
	})
	t.Run("G17 limits, offsets and cursors", func(t *testing.T) {
		for _, v := range []string{"", "0", "-1", "101", "1000000000", "x", "1.0", "1e2", "%2B1", "+1", "01", "0x10", "9223372036854775808", "%D9%A1", "1 "} {
			list("limit="+url.PathEscape(v)).is(422, "WRONG_ARGS")
			w.do("GET", "/roles?limit="+url.PathEscape(v), nil, admin).is(422, "WRONG_ARGS")
		}
		for _, v := range []string{"", "-1", "x", "01", "99999999999999999999", "1.5"} {
			list("offset="+v).is(422, "WRONG_ARGS")
		}
		for _, query := range []string{"active=1", "active=", "active=TRUE", "match=some", "match=", "roles=1", "cursor=x", "cursor=" + strings.Repeat("A", 5000)} {
			list(query).is(422, "WRONG_ARGS")
		}
		assert.Equal(t, false, list("offset=2147483647").is(200, "").JSON["has_next"])
		first := list("limit=1").is(200, "")
		cursor := url.QueryEscape(first.text("cursor"))
		require.NotEmpty(t, cursor)
		list("limit=1&cursor="+cursor).is(200, "")
		list("limit=1&name=a&cursor="+cursor).is(422, "WRONG_ARGS")
		list("limit=1&offset=1&cursor="+cursor).is(422, "WRONG_ARGS")
		w.do("GET", "/users?limit=1&cursor="+cursor, nil, w.as("eve")).is(422, "WRONG_ARGS")
		forged := []byte(first.text("cursor"))
		forged[0] ^= 1
		list("cursor="+url.QueryEscape(string(forged))).is(422, "WRONG_ARGS")
	})
	t.Run("row 24 a walk sees everybody once", func(t *testing.T) {
		for _, next := range []func(page int, cursor string) string{
			func(page int, _ string) string { return fmt.Sprintf("&offset=%d", page) },
			func(_ int, cursor string) string { return "&cursor=" + url.QueryEscape(cursor) },
		} {
			seen, cursor := map[string]bool{}, ""
			for page := 0; ; page++ {
				step := ""
				if page > 0 {
					step = next(page, cursor)
				}
				a := list("limit=1"+step).is(200, "")
				for _, u := range a.JSON["users"].([]any) {
					seen[u.(object)["id"].(string)] = true
					assert.NotContains(t, u, "roles")
				}
				if cursor = a.text("cursor"); a.JSON["has_next"] == false {
					assert.Empty(t, cursor)
					break
				}
			}
			assert.Len(t, seen, 4) // admin, service, ann, bob
			assert.NotContains(t, seen, w.ids["eve"])
		}
	})
	t.Run("roles on demand", func(t *testing.T) {
		for _, u := range list("roles=true&email=ann").is(200, "").JSON["users"].([]any) {
			assert.Equal(t, w.do("GET", "/users/"+w.ids["ann"], nil, admin).JSON, u)
		}
		assert.NotContains(t, list("roles=false&email=ann").is(200, "").JSON["users"].([]any)[0], "roles")
		assert.Len(t, list("roles=true").is(200, "").JSON["users"], 4)
	})
	t.Run("G15 G16 filters are text", func(t *testing.T) {
		w.add("odd", odd)
		names := func(query string) (out []string) {
			for _, u := range list(query).is(200, "").JSON["users"].([]any) {
				out = append(out, u.(object)["name"].(string))
			}
			return out
		}
		assert.Equal(t, []string{odd.Name}, names("name="+url.QueryEscape("%_\\")))
		assert.Equal(t, []string{odd.Name}, names("name="+url.QueryEscape("' or 1=1 --")))
		assert.Empty(t, names("name="+url.QueryEscape("%%%%")))
		assert.Empty(t, names("email="+url.QueryEscape("a_me"))) // would match "acme" as a pattern
		assert.Empty(t, names("email=eve"))
		assert.Empty(t, names("email=rival"))
		assert.Equal(t, []string{"Ann"}, names("email=ANN%40&name="))
		assert.Equal(t, []string{"Ann", "Bob"}, names("email=ann&name=bob"))
		assert.Empty(t, names("email=ann&name=bob&match=all"))
		assert.Equal(t, []string{"Bob"}, names("prefix=b&active=true"))
		assert.Empty(t, names("prefix=b&active=false"))
		list("name="+strings.Repeat("x", 10_000)).is(422, "WRONG_ARGS")
		list("name=%00").is(422, "WRONG_ARGS")
		list("name=%ff").is(422, "WRONG_ARGS")
	})
}
