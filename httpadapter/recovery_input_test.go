package httpadapter_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestRecoveryInput(t *testing.T) {
	w := newWorld(t, verifying, anyPhone)
	bob := w.as("bob")
	type wrong map[string][]string // by field: values as JSON
	anyText := []string{"1", "1.5", "true", "{}", "[]", `["x"]`}
	for route, c := range map[string]struct {
		good     map[string]string
		required []string
		wrong    wrong
	}{
		"/password/reset": {
			map[string]string{"email": `"nobody@acme.example"`}, []string{"email"},
			wrong{"email": append(anyText, "null", `""`, `" "`, `"no address@"`, `"a@b@c.example"`, `"nul\u0000@acme.example"`), "url_template": append(anyText, `""`, `"x"`), "username": {`"both"`, "1"}},
		},
		"/password/reset/confirm": {
			map[string]string{"token": `"a.b"`, "new_password": `"another fine phrase"`}, []string{"token", "new_password"},
			wrong{"token": append(anyText, "null", `""`), "new_password": append(anyText, "null", `""`), "verify_password": append(anyText, `""`, `"differs"`)},
		},
		"/auth/activate": {
			map[string]string{"token": `"a.b"`, "password": `"another fine phrase"`}, []string{"token", "password"},
			wrong{"token": append(anyText, "null", `""`), "password": append(anyText, "null", `""`, `"nul\u0000"`)},
		},
		"/verification/phone": {
			map[string]string{"phone": `"+4930901820"`}, []string{"phone"},
			wrong{"phone": append(anyText, "null"), "resend": {"1", `"true"`, "{}", "[]"}},
		},
		"/verification/phone/confirm": {
			map[string]string{"phone": `"+4930901820"`, "code": `"123456"`}, []string{"phone", "code"},
			wrong{"phone": append(anyText, "null"), "code": append(anyText, "123456", "null", `""`)},
		},
		"/verification/email": {
			map[string]string{}, nil,
			wrong{"email": append(anyText, `""`, `" "`, `"x"`), "current_password": append(anyText, `""`, `"`+strings.Repeat("x", 1025)+`"`)},
		},
		"/verification/email/confirm": {map[string]string{"token": `"a.b"`}, []string{"token"}, wrong{"token": append(anyText, "null", `""`)}},
	} {
		post := func(doc map[string]string, how ...set) *answer {
			parts := []string{}
			for k, v := range doc {
				parts = append(parts, fmt.Sprintf("%q:%s", k, v))
			}
			return w.do("POST", route, "{"+strings.Join(parts, ",")+"}", append(how, bob)...)
		}
		change := func(field, value string) map[string]string {
			doc := map[string]string{field: value}
			for k, v := range c.good {
				if k != field {
					doc[k] = v
				}
			}
			return doc
		}
		assert.Contains(t, []int{200, 400}, post(c.good).Code, route)
		for field, values := range c.wrong {
			for _, v := range values {
				a := post(change(field, v))
				assert.Equal(t, 422, a.Code, "%s %s=%.40s: %s", route, field, v, a.Body)
				assert.Equal(t, []string{field}, keys(a.payload()), "%s %s=%.40s", route, field, v)
			}
		}
		for _, field := range c.required {
			doc := change(field, "")
			delete(doc, field)
			a := post(doc).is(422, "WRONG_DOCUMENT_FORMAT")
			assert.Equal(t, object{field: []any{"required field"}}, a.payload(), route)
		}
		a := post(change("colour", "1")).is(422, "WRONG_DOCUMENT_FORMAT")
		assert.Equal(t, object{"colour": []any{"unknown field"}}, a.payload(), route)
		for field := range c.wrong { // G05: nor in another case
			upper := strings.ToUpper(field)
			assert.Contains(t, post(change(upper, `"x"`)).is(422, "WRONG_DOCUMENT_FORMAT").payload(), upper)
			a := w.do("POST", route, fmt.Sprintf(`{"%s":null,"%s":null}`, field, field), bob).is(422, "WRONG_DOCUMENT_FORMAT")
			assert.Equal(t, []any{"given more than once"}, a.payload()[field], route)
		}
		for _, body := range []string{"null", "[]", `"x"`, "1", "{", "{} {}", "\ufeff{}", `{"token":"\ud800"}`, "{\"token\":\"\xff\"}"} {
			w.do("POST", route, body, bob).is(422, "WRONG_PAYLOAD")
		}
		w.do("POST", route, `{"token":"`+strings.Repeat("x", 1<<20)+`"}`, bob).is(413, "TOO_LARGE")
		w.do("POST", route, "{}", noType, bob).is(415, "WRONG_PAYLOAD_FORMAT")
		if len(c.required) > 0 {
			w.do("POST", route, nil, bob).is(415, "WRONG_PAYLOAD_FORMAT")
			w.do("POST", route, "", bob).is(422, "WRONG_PAYLOAD")
		} else {
			w.do("POST", route, nil, bob).is(200, "")
			w.do("POST", route, "", noType, bob).is(200, "")
		}
	}
	assert.NotContains(t, w.log.String(), `"level":"ERROR"`)
}
