package httpadapter

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/userapi/userapi"
)

// call is one request on its way through a handler.
type call struct {
	*Adapter
	w        http.ResponseWriter
	r        *http.Request
	route    *route
	path     map[string]string // the values of {id} and the like; "current" is resolved
	identity *userapi.Identity // nil on public routes
	actor    userapi.Actor
}

func (a *Adapter) serve(root *node) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer a.recovered(w, r)
		if err := a.dispatch(root, w, r); err != nil {
			a.WriteError(w, r, err)
		}
	})
}

func (a *Adapter) dispatch(root *node, w http.ResponseWriter, r *http.Request) error {
	segments, ok := pathSegments(r.URL)
	if !ok {
		return userapi.ErrNotFound
	}
	n, values := root.find(segments)
	if n == nil {
		return userapi.ErrNotFound
	}
	rt := n.routes[r.Method]
	if rt == nil {
		w.Header().Set("Allow", n.allow())
		if r.Method != http.MethodOptions {
			return errMethod
		}
		secureHeaders(w)
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	c := &call{Adapter: a, w: w, r: r, route: rt, path: values}
	err := rt.guard.admit(c)
	if err == nil {
		err = rt.handle(c)
	}
	return a.refused(c.r, c.identity, err, rt.method+" /"+rt.section+rt.pattern)
}

// recovered turns a panic of a handler into a 500. Its value may hold anything, so only errors of the runtime are
// logged with their text.
func (a *Adapter) recovered(w http.ResponseWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	text := fmt.Sprintf("%T", p)
	if e, ok := p.(runtime.Error); ok {
		text = e.Error()
	}
	a.log.LogAttrs(r.Context(), slog.LevelError, "a handler panicked", slog.String("panic", text), slog.String("stack", string(debug.Stack())))
	writeJSON(w, r, http.StatusInternalServerError, internalOut)
}

const (
	maxPath    = 1024 // bytes, escaped
	maxSegment = 64   // bytes of one segment: no id and no code is longer
)

// pathSegments splits a path below its prefix and unescapes each segment once. One trailing slash does not count.
// ok is false when a segment can be no id, no code and no word of a route, such as "", "..", "a%2Fb" or 10 kB of
// anything: nothing is looked up by it.
func pathSegments(u *url.URL) (segments []string, ok bool) {
	path := u.EscapedPath()
	if len(path) > maxPath {
		return nil, false
	}
	path = strings.TrimPrefix(path, "/")
	path = strings.TrimSuffix(path, "/")
	if path == "" {
		return nil, u.EscapedPath() != "//"
	}
	for _, raw := range strings.Split(path, "/") {
		segment, err := url.PathUnescape(raw)
		if err != nil || !validSegment(segment) {
			return nil, false
		}
		segments = append(segments, segment)
	}
	return segments, true
}

func validSegment(s string) bool {
	if len(s) == 0 || len(s) > maxSegment || strings.Trim(s, ".") == "" {
		return false
	}
	for i := range len(s) {
		b := s[i]
		if !(b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || strings.IndexByte("._:-", b) >= 0) {
			return false
		}
	}
	return true
}

// answer ends a call with a body and the route's status.
func (c *call) answer(v any) error {
	writeJSON(c.w, c.r, c.route.status, v)
	return nil
}

// say ends a call with a sentence for people.
func (c *call) say(text string) error { return c.answer(messageOut{text}) }

// messageOut is an answer that tells nothing a program could need.
type messageOut struct {
	Message string `json:"message"`
}

// done ends a call without a body.
func (c *call) done() error {
	secureHeaders(c.w)
	c.w.WriteHeader(c.route.status)
	return nil
}
