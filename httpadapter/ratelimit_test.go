package httpadapter_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/httpadapter"
)

var plain = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })

// limited serves a handler behind n requests a minute, at the clock of the world.
func (w *world) limited(n int, h http.Handler) func(how ...set) *answer {
	w.web.At(w.clock.now)
	h = w.web.RateLimit(n, time.Minute)(h)
	return func(how ...set) *answer { return w.send(h, "GET", "/", nil, how...) }
}

// at sends a request from an address with its port.
func at(address string) set { return func(r *hr) { r.RemoteAddr = address } }

// passed counts how many of the requests pass, one after the other.
func passed(get func(how ...set) *answer, times int, how ...set) int {
	n := 0
	for range times {
		if get(how...).Code == http.StatusOK {
			n++
		}
	}
	return n
}

func TestRateLimit_EachUserAndKeyForItself(t *testing.T) {
	w := newWorld(t)
	get := w.limited(3, plain)
	_, key := w.key("ann", "full")
	ann, again, bob := w.as("ann"), w.as("ann"), w.as("bob")
	assert.Equal(t, 2, passed(get, 2, ann))
	assert.Equal(t, 1, passed(get, 5, again), "another session is the same user")
	assert.Equal(t, 3, passed(get, 5, bob), "at the same address")
	assert.Equal(t, 3, passed(get, 5, apiKey(key)), "a key has its own")
	assert.Equal(t, 3, passed(get, 5), "so has the address")
	w.clock.advance(59*time.Second + time.Millisecond)
	a := get(ann).is(429, "RATE_LIMITED")
	assert.Equal(t, "1", a.Header().Get("Retry-After"))
	w.clock.advance(time.Second)
	assert.Equal(t, 3, passed(get, 5, ann), "in the next window")
}

func TestRateLimit_J05_ExactlyNInParallel(t *testing.T) {
	w := newWorld(t)
	get := w.limited(20, plain)
	for _, how := range [][]set{{w.as("ann")}, {at("203.0.113.7:1")}} {
		for range 2 { // windows
			codes := make([]int, 64)
			var all sync.WaitGroup
			for i := range codes {
				all.Go(func() { codes[i] = get(how...).Code })
			}
			all.Wait()
			count := map[int]int{}
			for _, code := range codes {
				count[code]++
			}
			assert.Equal(t, map[int]int{200: 20, 429: 44}, count)
			w.clock.advance(time.Minute)
		}
	}
}

// S: whoever wrote a name into a header used up the budget of the user of that name.
func TestRateLimit_J02_AForgedCredentialChargesNoVictim(t *testing.T) {
	w := newWorld(t)
	get := w.limited(5, plain)
	_, key := w.key("ann", "full")
	token := w.login("ann").text("access_token")
	parts := strings.Split(token, ".")
	stranger := at("203.0.113.9:1")
	prefix, _, _ := strings.Cut(key, ".")
	n := 0
	for _, forged := range []set{
		bearer(parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2]))), bearer("junk"), apiKey(key[:len(key)-1] + "x"), apiKey(prefix),
		header("Authorization", "Basic "+"YW5uQGFjbWUuZXhhbXBsZTp4"), header("X-Forwarded-For", "192.0.2.1"), cookie(httpadapter.DefaultAccessCookie, "junk"),
	} {
		n += passed(get, 3, stranger, forged)
	}
	assert.Equal(t, 5, n, "all of it was charged to where it came from")
	assert.Equal(t, 5, passed(get, 6, bearer(token)), "the user's own budget is whole")
	assert.Equal(t, 5, passed(get, 6, apiKey(key)), "and that of the key")
}

func TestRateLimit_J01_AddressesCountByBlock(t *testing.T) {
	w := newWorld(t, options{http: func(c *httpadapter.Config) { c.TrustedProxies = prefixes("10.0.0.0/8") }})
	get := w.limited(4, plain)
	n := 0
	for i := range 20 {
		n += passed(get, 1, at(fmt.Sprintf("[2001:db8:1:2::%x]:1", i+1)))
	}
	assert.Equal(t, 4, n, "one /64")
	assert.Equal(t, 4, passed(get, 5, at("[2001:db8:1:3::1]:1")), "another")
	assert.Equal(t, 4, passed(get, 5, at("10.0.0.1:1"), header("X-Forwarded-For", "spoofed, 203.0.113.1")))
	assert.Equal(t, 0, passed(get, 1, at("203.0.113.1:1")), "the client behind the proxy")
	assert.Equal(t, 4, passed(get, 5, at("10.0.0.1:1"), header("X-Forwarded-For", "203.0.113.2")))
	assert.Equal(t, 4, passed(get, 5, at("192.0.2.50:1"), header("X-Forwarded-For", "203.0.113.3")), "from no proxy it says nothing")
	assert.Equal(t, 0, passed(get, 1, at("192.0.2.50:1"), header("X-Forwarded-For", "203.0.113.4")))
}

func TestRateLimit_LetsNobodyInAndKeepsNobodyOut(t *testing.T) {
	w := newWorld(t)
	actor := userapi.Actor{}
	seen := http.HandlerFunc(func(rw http.ResponseWriter, r *hr) { actor = w.web.Actor(r); plain(rw, r) })
	get := w.limited(100, seen)
	get(w.as("ann")).is(200, "")
	assert.Empty(t, actor.UserID(), "no guard let her in")
	get(bearer("junk")).is(200, "")
	inside := w.limited(2, w.web.HasRoles("admin")(seen))
	inside(w.as("ann")).is(403, "ROLE_MISSING")
	inside(bearer("junk")).is(401, "UNAUTHORIZED")
	inside().is(401, "UNAUTHORIZED")
	inside(w.as("admin")).is(200, "")
	assert.Equal(t, w.ids["admin"], actor.UserID())
	outside := w.web.IsConnected(w.web.RateLimit(2, time.Minute)(seen))
	for range 5 { // who is not let in is not counted
		w.send(outside, "GET", "/", nil).is(401, "UNAUTHORIZED")
	}
	bob := w.as("bob")
	for _, status := range []int{200, 200, 429} {
		assert.Equal(t, status, w.send(outside, "GET", "/", nil, bob).Code)
	}
}

func TestRateLimit_ACredentialIsCheckedOnce(t *testing.T) {
	w := newWorld(t, options{api: func(c *userapi.Config) {
		c.Limits = userapi.Limits{userapi.LimitKey: {{Max: 2, Window: time.Minute, Per: userapi.PerAddress}}}
	}})
	get := w.limited(100, w.web.IsConnected(plain))
	id, key := w.key("ann", "full")
	w.do("DELETE", "/keys/"+id, nil, w.as("ann")).is(204, "")
	for _, status := range []int{401, 401, 429} { // each wrong key counts once
		assert.Equal(t, status, get(apiKey(key)).Code)
	}
}

func TestRateLimit_EachCallHasItsOwnBudgets(t *testing.T) {
	w := newWorld(t)
	w.web.At(w.clock.now)
	shared := w.web.RateLimit(1, time.Minute)
	for _, h := range []http.Handler{shared(plain), w.web.RateLimit(1, time.Minute)(plain)} {
		w.send(h, "GET", "/", nil).is(200, "")
	}
	w.send(shared(plain), "GET", "/", nil).is(429, "RATE_LIMITED")
	for _, bad := range []func(){func() { w.web.RateLimit(0, time.Minute) }, func() { w.web.RateLimit(1, 0) }, func() { w.web.RateLimit(-1, -1) }} {
		assert.Panics(t, bad)
	}
}

func TestRateLimit_J08_MemoryIsBounded(t *testing.T) {
	take, size := httpadapter.Remembered(2, time.Minute)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i := range 3 * httpadapter.MaxCallers {
		require.Zero(t, take(fmt.Sprint("stranger ", i), now))
		if i%1000 == 0 {
			take("regular", now)
			require.LessOrEqual(t, size(), httpadapter.MaxCallers)
		}
	}
	assert.Equal(t, time.Minute, take("regular", now), "who comes again is not forgotten")
	assert.Zero(t, take("stranger 0", now), "who was silent for longest begins anew")
	for i := range 2 { // twice: the younger half is the older one first
		now = now.Add(time.Minute)
		take(fmt.Sprint("later ", i), now)
	}
	assert.LessOrEqual(t, size(), 2, "what is over goes")
}
