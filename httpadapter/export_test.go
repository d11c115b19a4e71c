package httpadapter

import (
	"net/http"
	"time"

	"github.com/userapi/userapi"
)

// Status is what an error becomes.
func Status(e *userapi.Error) int { return status(e) }

// OpenCookie reads an access cookie.
var OpenCookie = openCookie

// Broken serves one route whose handler does what a handler should not.
func (a *Adapter) Broken(handle func(r *http.Request) error) http.Handler {
	root := new(node)
	root.add("/", &route{method: "GET", section: "x", pattern: "/", guard: public, status: 200, summary: "x", handle: func(c *call) error { return handle(c.r) }})
	return a.serve(root)
}

// CheckRoute reports whether New would take a route with this guard.
func CheckRoute(g uint8) error {
	return route{method: "GET", section: "x", pattern: "/", guard: guard(g), status: 200, summary: "x", handle: func(*call) error { return nil }}.check()
}

// AdmitUnknown asks a guard that does not exist.
func AdmitUnknown(g uint8) error { return guard(g).admit(&call{}) }

// At makes the clock of RateLimit another.
func (a *Adapter) At(now func() time.Time) { a.now = now }

// MaxCallers bounds what RateLimit remembers.
const MaxCallers = maxCallers

// Remembered makes budgets and tells how many callers they remember.
func Remembered(n int, window time.Duration) (take func(caller string, now time.Time) time.Duration, size func() int) {
	b := newBudgets(n, window)
	return b.take, func() int { return len(b.young) + len(b.old) }
}
