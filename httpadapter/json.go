package httpadapter

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/userapi/userapi"
)

// Bodies are read strictly: what a lenient reader and a strict one understand differently is how requests get past
// whoever checked them first. encoding/json alone would fold the case of keys, take the last of two, replace broken
// text and ignore what it does not know.

const (
	maxBody    = 1 << 20 // bytes
	maxUnknown = 16      // unknown fields that an answer names
)

// decode reads the body, a JSON object of these fields. ErrInvalid names all that are wrong.
func (c *call) decode(fields ...field) error {
	body, err := c.document('{')
	if err != nil {
		return err
	}
	return invalid(readObject(body, fields))
}

// ReadObject reads the body of r for a route of the host's or of a feature, as strictly as ours: a JSON object of these
// members, each a string that may be absent. It fails with an error for WriteError.
func (a *Adapter) ReadObject(w http.ResponseWriter, r *http.Request, members map[string]**string) error {
	fields := make([]field, 0, len(members))
	for name, into := range members {
		fields = append(fields, optional(name, into))
	}
	return (&call{Adapter: a, w: w, r: r}).decode(fields...)
}

// WriteJSON answers r as our routes do: no cache keeps it.
func (a *Adapter) WriteJSON(w http.ResponseWriter, r *http.Request, status int, v any) {
	writeJSON(w, r, status, v)
}

// decodeOptional is decode for a body that may be missing. Then its Content-Type may be missing too.
func (c *call) decodeOptional(fields ...field) error {
	if c.r.Method == http.MethodGet || c.r.Body == nil || c.r.Body == http.NoBody {
		return nil
	}
	first := make([]byte, 1)
	n, err := io.ReadFull(c.r.Body, first)
	if n == 0 && errors.Is(err, io.EOF) {
		return nil
	}
	c.r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(first[:n]), c.r.Body), c.r.Body}
	return c.decode(fields...)
}

// document reads a body that is one JSON value beginning with this byte, and checks all but its members.
func (c *call) document(begins byte) (json.RawMessage, error) {
	if !jsonContent(c.r.Header) {
		return nil, errPayloadFormat
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, errTooLarge
	case err != nil, !utf8.Valid(body), !json.Valid(body), !pairedSurrogates(body):
		return nil, errPayload
	}
	body = bytes.Trim(body, " \t\r\n")
	if body[0] != begins {
		return nil, errPayload
	}
	return body, nil
}

// jsonContent accepts application/json, in UTF-8 if a charset is named, and not compressed: what is unpacked has no
// bound.
func jsonContent(h http.Header) bool {
	values := h.Values("Content-Type")
	if _, encoded := h["Content-Encoding"]; encoded || len(values) != 1 {
		return false
	}
	kind, params, err := mime.ParseMediaType(values[0])
	if err != nil || kind != "application/json" {
		return false
	}
	charset, named := params["charset"]
	return len(params) == 0 || len(params) == 1 && named && strings.EqualFold(charset, "utf-8")
}

// pairedSurrogates refuses \ud800 without its other half, which is no character (RFC 8259 8.2); encoding/json would
// put U+FFFD in its place. body is valid JSON, so a backslash stands in a string and is followed by what it escapes.
func pairedSurrogates(body []byte) bool {
	for i := 0; i < len(body); i++ {
		if body[i] != '\\' {
			continue
		}
		i++
		if body[i] != 'u' {
			continue
		}
		unit, _ := strconv.ParseUint(string(body[i+1:i+5]), 16, 32)
		i += 4
		switch {
		case unit >= 0xdc00 && unit <= 0xdfff:
			return false
		case unit >= 0xd800 && unit <= 0xdbff:
			if i+6 >= len(body) || body[i+1] != '\\' || body[i+2] != 'u' {
				return false
			}
			low, err := strconv.ParseUint(string(body[i+3:i+7]), 16, 32)
			if err != nil || low < 0xdc00 || low > 0xdfff {
				return false
			}
			i += 6
		}
	}
	return true
}

// readObject reads the members of a valid JSON object into fields, and says what is wrong with which.
func readObject(object json.RawMessage, fields []field) map[string][]string {
	wrong := map[string][]string{}
	seen := map[string]bool{}
	dec := json.NewDecoder(bytes.NewReader(object))
	_, _ = dec.Token() // {
	for dec.More() {
		key, err := dec.Token()
		var value json.RawMessage
		if err != nil || dec.Decode(&value) != nil {
			break
		}
		name, _ := key.(string)
		f := find(fields, name)
		switch {
		case f == nil:
			if len(wrong) < maxUnknown {
				wrong[printable(name)] = []string{"unknown field"}
			}
		case seen[name]:
			wrong[name] = []string{"given more than once"}
		default:
			seen[name] = true
			if text := f.read(value); text != "" {
				wrong[name] = []string{text}
			}
		}
	}
	for _, f := range fields {
		if f.must && !seen[f.name] {
			wrong[f.name] = []string{requiredField}
		}
	}
	return wrong
}

func find(fields []field, name string) *field {
	for i := range fields {
		if fields[i].name == name {
			return &fields[i]
		}
	}
	return nil
}

// printable is the name of what a request should not hold, if it is one to repeat.
func printable(name string) string {
	if len(name) > 32 || !validSegment(name) {
		return "?"
	}
	return name
}

func invalid(wrong map[string][]string) error { return withFields(userapi.ErrInvalid, wrong) }

func withFields(e *userapi.Error, wrong map[string][]string) error {
	if len(wrong) == 0 {
		return nil
	}
	for name, texts := range wrong {
		e = e.Field(name, texts...)
	}
	return e
}
