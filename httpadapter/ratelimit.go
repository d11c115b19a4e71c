package httpadapter

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/userapi/userapi"
)

// RateLimit lets each caller through n times per window, exactly, and answers others 429 RATE_LIMITED with Retry-After. It lets everybody
// in else: whether they may ask at all is a guard's affair, best put around it, web.IsConnected(web.RateLimit(600, time.Minute)(h)).
//
// A caller is the user of a token or the API key, each only after it was checked: a name, a forged token or a key that does not hold
// is charged to the network address it comes from (IPv6 by its /64; see Config.TrustedProxies), as is who brings nothing. The window
// begins with the first request. Each call of RateLimit makes budgets of its own; routes that share what it returned share them.
//
// Budgets are kept in the memory of this process, those of at most 50,000 users and keys and 50,000 addresses. Beyond that who has been
// silent for longest is forgotten, and begins anew: the limit then lets more through, and shuts nobody out; and nobody pushes a user
// out who is none. When a credential cannot be checked now, its address is charged. It panics unless n and window are positive.
func (a *Adapter) RateLimit(n int, window time.Duration) func(http.Handler) http.Handler {
	if n < 1 || window <= 0 {
		panic("httpadapter: RateLimit needs a positive number and window")
	}
	principals, addresses := newBudgets(n, window), newBudgets(n, window)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id, err := a.authenticate(r)
			if a.known(r) == nil { // a guard inside need not check it again
				r = r.WithContext(context.WithValue(r.Context(), checkedKey{}, &checked{a, id, err}))
			}
			budgets, caller := principals, ""
			if err == nil {
				caller = principal(id)
			} else {
				budgets, caller = addresses, userapi.Anonymous().From(a.ClientAddress(r), "").AddressBlock()
			}
			if wait := budgets.take(caller, a.now()); wait > 0 {
				a.WriteError(w, r, userapi.ErrRateLimited.After(wait))
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// principal names a key or a user: neither has the other's id with this in front.
func principal(id *userapi.Identity) string {
	if key := id.KeyID(); key != "" {
		return "key " + key
	}
	return "user " + id.UserID()
}

// checked is what was found out about a request's credential, for guards further in. It lets nobody in: Actor does not look at it.
type checked struct {
	by       *Adapter
	identity *userapi.Identity
	err      error
}

type checkedKey struct{}

// maxCallers bounds how many callers of a kind a RateLimit remembers.
const maxCallers = 50_000

// budgets counts requests by caller. When the younger half is full, or a window old, the older one goes: a live budget has moved to the
// younger by then if its caller came back, and is over if it is that old.
type budgets struct {
	n      int
	window time.Duration

	mu         sync.Mutex
	young, old map[string]*budget
	turned     time.Time
}

type budget struct {
	used int
	ends time.Time
}

func newBudgets(n int, window time.Duration) *budgets {
	return &budgets{n: n, window: window, young: map[string]*budget{}}
}

// take counts one request, or returns how long to wait.
func (b *budgets) take(caller string, now time.Time) (wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	one := b.young[caller]
	if one == nil {
		if one = b.old[caller]; one == nil {
			one = &budget{}
		}
		delete(b.old, caller)
		if len(b.young) >= maxCallers/2 || now.Sub(b.turned) >= b.window {
			b.old, b.young, b.turned = b.young, map[string]*budget{}, now
		}
		b.young[caller] = one
	}
	if !now.Before(one.ends) {
		*one = budget{ends: now.Add(b.window)}
	}
	if one.used >= b.n {
		return one.ends.Sub(now)
	}
	one.used++
	return 0
}
