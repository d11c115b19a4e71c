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

// node is another server on the store of the world.
func (w *world) node(change func(*userapi.Config)) http.Handler {
	w.t.Helper()
	cfg := userapi.Config{
		Store: w.store, Secret: testSecret, Now: w.clock.now, Password: userapi.PasswordPolicy{Argon2id: userapi.Argon2id{MemoryKiB: 64, Passes: 1, Threads: 1}},
	}
	cfg.Verification.Mail = w.box
	change(&cfg)
	api, err := userapi.New(cfg)
	require.NoError(w.t, err)
	web, err := httpadapter.New(httpadapter.Config{API: api})
	require.NoError(w.t, err)
	mux := http.NewServeMux()
	web.Mount(mux, "/api", web.Handler())
	return mux
}

func TestLogin_J01_J02_J03_J05_NobodyLocksAnOwnerOut(t *testing.T) {
	onEveryStore(t, nobodyLocksAnOwnerOut)
}

func nobodyLocksAnOwnerOut(t *testing.T, on options) {
	change := func(c *userapi.Config) {
		c.Limits, c.Password.QueueTimeout = userapi.Limits{userapi.LimitLogin: userapi.DefaultLimits()[userapi.LimitLogin]}, time.Minute
	}
	w := newWorld(t, on, options{sends: true, api: change})
	nodes := [2]http.Handler{w.mux, w.node(change)}
	login := func(i int, address, who, password string) *answer {
		return w.send(nodes[i%2], "POST", "/api/auth/login", object{"email": who, "password": password}, at(address+":1"))
	}
	login(0, "203.0.113.200", "ann@acme.example", password).is(200, "")
	answers := map[string]string{}
	for _, who := range []string{"ann@acme.example", "nobody@acme.example"} {
		codes := make([]int, 64)
		var all sync.WaitGroup
		for i := range codes {
			all.Go(func() { codes[i] = login(i, fmt.Sprintf("198.51.100.%d", i), who, "wrong password").Code })
		}
		all.Wait()
		count := map[int]int{}
		for _, code := range codes {
			count[code]++
		}
		assert.Equal(t, map[int]int{401: 5, 429: 59}, count, who)
		a := login(1, "198.51.100.100", who, password).is(429, "RATE_LIMITED")
		assert.Equal(t, "600", a.Header().Get("Retry-After"))
		answers[who] = fmt.Sprint(a.Header(), a.Body)
	}
	assert.Equal(t, answers["ann@acme.example"], answers["nobody@acme.example"])
	for i := range 2 {
		login(i, "203.0.113.200", strings.ToUpper("ann@acme.example"), password).is(200, "")
		login(i, "198.51.100.101", "ann@acme.example", password).is(429, "RATE_LIMITED") // that success was none of theirs
	}
	_, err := w.api.Deliver(t.Context())
	require.NoError(t, err)
	told := 0
	for _, m := range w.box.taken() {
		if m.Notice == userapi.NoticeLoginLimited {
			told++
			assert.Equal(t, "ann@acme.example", m.To)
		}
	}
	assert.Equal(t, 1, told)
	w.clock.advance(10 * time.Minute)
	login(0, "198.51.100.101", "ann@acme.example", password).is(200, "")
}

func TestChangePassword_J02_FromElsewhereOthersUseNothingUp(t *testing.T) {
	w := newWorld(t, options{api: func(c *userapi.Config) { c.Limits = nil }})
	ann := w.as("ann") // from 192.0.2.1
	change := func(address, current string) *answer {
		return w.do("POST", "/password/change", object{"old_password": current, "new_password": "staple and something"}, ann, at(address+":1"))
	}
	for range 5 {
		change("203.0.113.1", "wrong password").is(403, "FORBIDDEN")
	}
	assert.Equal(t, "600", change("203.0.113.1", password).is(429, "RATE_LIMITED").Header().Get("Retry-After"))
	change("192.0.2.1", password).is(200, "")
}

func TestRefreshAndKeys_J01_WrongOnesHaveABudgetByDefault(t *testing.T) {
	w := newWorld(t, options{api: func(c *userapi.Config) { c.Limits = nil }})
	id, key := w.key("ann", "full")
	_, good := w.key("bob", "full")
	w.do("DELETE", "/keys/"+id, nil, w.as("ann")).is(204, "")
	in := w.login("bob")
	for range 100 {
		w.do("POST", "/auth/refresh", object{"refresh_token": "made up"}).is(401, "UNAUTHORIZED")
		w.do("GET", "/auth/whoami", nil, apiKey(key)).is(401, "UNAUTHORIZED")
	}
	assert.Equal(t, "60", w.do("POST", "/auth/refresh", object{"refresh_token": "made up"}).is(429, "RATE_LIMITED").Header().Get("Retry-After"))
	assert.Equal(t, "60", w.do("GET", "/auth/whoami", nil, apiKey(key)).is(429, "RATE_LIMITED").Header().Get("Retry-After"))
	w.do("POST", "/auth/refresh", object{"refresh_token": in.text("refresh_token")}).is(200, "")
	w.do("GET", "/auth/whoami", nil, apiKey(good)).is(200, "")
}

func TestLogin_J01_TheBudgetOfTheProcess(t *testing.T) {
	w := newWorld(t, options{api: func(c *userapi.Config) {
		limits, err := userapi.ParseLimits("login=5/10m/account,60/m/process", userapi.Limits{})
		require.NoError(t, err)
		c.Limits = limits
	}})
	w.login("ann") // from 192.0.2.1
	judged := 0
	for i := range 200 {
		a := w.do("POST", "/auth/login", object{"email": fmt.Sprintf("victim%d@acme.example", i), "password": "stuffed"}, at(fmt.Sprintf("[2001:db8:%x::1]:1", i)))
		if a.Code == 401 {
			judged++
			continue
		}
		assert.Equal(t, "1", a.is(429, "RATE_LIMITED").Header().Get("Retry-After"))
	}
	assert.Equal(t, 60, judged)
	w.login("ann")
	w.do("POST", "/auth/login", object{"email": "bob@acme.example", "password": password}).is(429, "RATE_LIMITED")
	w.clock.advance(time.Second)
	w.do("POST", "/auth/login", object{"email": "bob@acme.example", "password": password}).is(200, "")
}
