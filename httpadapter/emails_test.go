package httpadapter_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/httpadapter"
	"github.com/userapi/userapi/store/memory"
)

func TestFlow_ProofOfAnAddress(t *testing.T) { onEveryStore(t, proofOfAnAddress) }

func proofOfAnAddress(t *testing.T, on options) {
	w := newWorld(t, sending, on)
	in, elsewhere := w.login("ann"), w.login("ann")
	own := bearer(in.text("access_token"))
	asked := w.do("POST", "/verification/email/", nil, own).is(200, "")
	assert.Equal(t, []string{"message"}, keys(asked.JSON))
	m := w.message("ann@acme.example", userapi.PurposeEmail)
	assert.Equal(t, false, w.do("GET", "/users/current", nil, own).JSON["email_verified"])

	body := object{"token": string(m.Token)}
	done := w.do("POST", "/verification/email/confirm/", body, own).is(200, "")
	assert.Equal(t, true, done.JSON["email_verified"])
	assert.Subset(t, keys(done.JSON), []string{"id", "roles", "exp", "access_token", "refresh_token"})
	assert.Len(t, done.Result().Cookies(), 2)
	w.do("GET", "/auth/whoami", nil, bearer(done.text("access_token"))).is(200, "") // the session that posts it goes on
	w.refresh(done.text("refresh_token")).is(200, "")
	w.do("GET", "/auth/whoami", nil, own).is(401, "TOKEN_REVOKED") // with new tokens
	w.refresh(in.text("refresh_token")).is(401, "TOKEN_REVOKED")
	w.do("GET", "/auth/whoami", nil, bearer(elsewhere.text("access_token"))).is(401, "TOKEN_REVOKED") // all others end
	w.refresh(elsewhere.text("refresh_token")).is(401, "TOKEN_REVOKED")
	w.do("POST", "/verification/email/confirm", body, bearer(done.text("access_token"))).is(400, "INVALID_TOKEN")
	assert.Empty(t, w.delivered())
	assert.NotContains(t, w.log.String(), string(m.Token))

	in = w.login("ann") // a second proof of what is proven ends nothing
	again := w.do("POST", "/verification/email/confirm", object{"token": w.emailToken(bearer(in.text("access_token")), "ann@acme.example")}, bearer(in.text("access_token"))).is(200, "")
	assert.Equal(t, []string{"message"}, keys(again.JSON))
	w.do("GET", "/auth/whoami", nil, bearer(in.text("access_token"))).is(200, "")
}

func TestFlow_D07_ChangeOfAnAddress(t *testing.T) {
	for name, route := range map[string]string{"verification": "POST /verification/email", "PATCH": "PATCH /users/current"} {
		t.Run(name, func(t *testing.T) {
			onEveryStore(t, func(t *testing.T, on options) { changeOfAnAddress(t, route, on) })
		})
	}
}

func changeOfAnAddress(t *testing.T, route string, on options) {
	w := newWorld(t, sending, on)
	method, path, _ := strings.Cut(route, " ")
	in, elsewhere := w.login("ann"), w.login("ann")
	own := bearer(in.text("access_token"))
	ask := func(how object) *answer {
		return w.do(method, path, with(object{"email": "New@acme.example"}, how), own)
	}
	w.clock.advance(5 * time.Minute) // re-authentication is needed
	ask(nil).is(403, "NOT_FRESH")
	ask(object{"current_password": "not the password"}).is(403, "FORBIDDEN")
	assert.Empty(t, w.delivered())
	ask(object{"current_password": password}).is(200, "")
	m := w.message("new@acme.example", userapi.PurposeEmailChange)
	assert.Equal(t, "ann@acme.example", w.do("GET", "/users/current", nil, own).is(200, "").text("email"))
	w.do("POST", "/auth/login", object{"email": "new@acme.example", "password": password}).is(401, "UNAUTHORIZED")
	pending := w.resetToken("ann@acme.example")

	done := w.do("POST", "/verification/email/confirm", object{"token": string(m.Token)}, own).is(200, "")
	assert.Equal(t, "New@acme.example", done.text("email"))
	assert.Equal(t, true, done.JSON["email_verified"])
	assert.Equal(t, map[string]userapi.Notice{"ann@acme.example": userapi.NoticeEmailChanged}, told(w.delivered()))
	w.do("GET", "/auth/whoami", nil, bearer(done.text("access_token"))).is(200, "")
	w.do("GET", "/auth/whoami", nil, bearer(elsewhere.text("access_token"))).is(401, "TOKEN_REVOKED")
	w.do("POST", "/auth/login", object{"email": "ann@acme.example", "password": password}).is(401, "UNAUTHORIZED")
	w.do("POST", "/auth/login", object{"email": "new@acme.example", "password": password}).is(200, "")
	w.do("POST", "/password/reset/confirm", object{"token": pending, "new_password": another}).is(400, "INVALID_TOKEN") // D06
	w.do("POST", "/verification/email/confirm", object{"token": string(m.Token)}).is(400, "INVALID_TOKEN")
}

// Of two changes the later one counts, and each link only for the address it was mailed to.
func TestD07_TwoChangesInterleaved(t *testing.T) {
	w := newWorld(t, sending)
	in := w.login("ann")
	own := bearer(in.text("access_token"))
	first := w.emailToken(own, "one@acme.example")
	second := w.emailToken(own, "two@acme.example")
	w.do("POST", "/verification/email/confirm", object{"token": first}, own).is(400, "INVALID_TOKEN")
	proof := w.emailToken(own, "ann@acme.example") // the proof of the old address is pending beside the change
	done := w.do("POST", "/verification/email/confirm", object{"token": second}, own).is(200, "")
	assert.Equal(t, "two@acme.example", done.text("email"))
	w.do("POST", "/verification/email/confirm", object{"token": proof}).is(400, "INVALID_TOKEN")
	assert.Equal(t, "two@acme.example", w.do("GET", "/auth/whoami", nil, bearer(done.text("access_token"))).text("email"))
}

// Whoever asks to have somebody else's address learns nothing, and its owner does.
func TestE08_AChangeToAnAddressInUse(t *testing.T) {
	w := newWorld(t, sending)
	own := w.as("ann")
	for _, ask := range []func(email string) *answer{
		func(email string) *answer {
			return w.do("POST", "/verification/email", object{"email": email, "current_password": password}, own)
		},
		func(email string) *answer { return w.do("PATCH", "/users/current", object{"email": email}, own) },
	} {
		free := ask("free@acme.example").is(200, "")
		w.message("free@acme.example", userapi.PurposeEmailChange)
		taken := ask("bob@acme.example").is(200, "")
		assert.Equal(t, fmt.Sprint(free.Header(), free.Body), fmt.Sprint(taken.Header(), taken.Body))
		assert.Equal(t, map[string]userapi.Notice{"bob@acme.example": userapi.NoticeEmailTaken}, told(w.delivered()))
	}
	// Taken between the question and its answer: now it is told, to whoever has proven the mailbox.
	token := w.emailToken(own, "late@acme.example")
	w.add("late", userapi.NewUser{Email: "late@acme.example", CustomerID: "acme"})
	w.do("POST", "/verification/email/confirm", object{"token": token}).is(409, "CONFLICT")
	w.do("GET", "/auth/whoami", nil, own).is(200, "")
}

// What was registered and never activated gives way to a proof.
func TestB13_AChangeToAnAddressNobodyActivated(t *testing.T) {
	w := newWorld(t, verifying)
	w.register("mine@acme.example", "the attacker's phrase")
	pending := string(w.message("mine@acme.example", userapi.PurposeActivation).Token)
	own := w.as("ann")
	a := w.do("POST", "/verification/email/confirm", object{"token": w.emailToken(own, "mine@acme.example")}, own).is(200, "")
	assert.Equal(t, "mine@acme.example", a.text("email"))
	w.do("POST", "/auth/activate", object{"token": pending, "password": "the attacker's phrase"}).is(400, "INVALID_TOKEN")
}

// Who posts the token decides what is answered, never whether it holds.
func TestWhoConfirmsAnAddress(t *testing.T) {
	access := func(in *answer) string {
		return base64.StdEncoding.EncodeToString([]byte(in.text("access_token")))
	}
	jar := func(in *answer) set { return cookie(httpadapter.DefaultAccessCookie, access(in)) }
	for name, c := range map[string]struct {
		how   func(w *world, in *answer) []set
		owner bool
	}{
		"nobody":                    {func(*world, *answer) []set { return nil }, false},
		"the owner":                 {func(_ *world, in *answer) []set { return []set{bearer(in.text("access_token"))} }, true},
		"the owner's cookie":        {func(_ *world, in *answer) []set { return []set{jar(in), header("Sec-Fetch-Site", "same-origin")} }, true},
		"the cookie, from a page":   {func(_ *world, in *answer) []set { return []set{jar(in), crossSite} }, false},
		"the cookie, of null":       {func(_ *world, in *answer) []set { return []set{jar(in), header("Origin", "null")} }, false},
		"two cookies":               {func(_ *world, in *answer) []set { return []set{jar(in), jar(in)} }, false},
		"a broken cookie":           {func(*world, *answer) []set { return []set{cookie(httpadapter.DefaultAccessCookie, "%%%")} }, false},
		"a foreign page":            {func(*world, *answer) []set { return []set{crossSite} }, false},
		"a bad header, good cookie": {func(_ *world, in *answer) []set { return []set{bearer("x"), jar(in)} }, false},
		"another user":              {func(w *world, _ *answer) []set { return []set{w.as("bob")} }, false},
		"an admin":                  {func(w *world, _ *answer) []set { return []set{w.as("admin")} }, false},
		"a session that has ended": {func(w *world, _ *answer) []set {
			dead := w.as("ann")
			w.do("POST", "/auth/logout", nil, dead).is(204, "")
			return []set{dead}
		}, false},
		"an expired token": {func(w *world, in *answer) []set {
			w.clock.advance(15 * time.Minute)
			return []set{bearer(in.text("access_token"))}
		}, false},
		"no bearer": {func(*world, *answer) []set { return []set{header("Authorization", "Basic YTpi")} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, sending)
			in, bob := w.login("ann"), w.as("bob")
			token := object{"token": w.emailToken(bearer(in.text("access_token")), "ann@acme.example")}
			how := c.how(w, in)
			w.do("POST", "/verification/email/confirm", token, append(how, header("X-Api-Key", "k.s"))...).is(401, "UNAUTHORIZED")
			a := w.do("POST", "/verification/email/confirm", token, how...).is(200, "")
			w.do("GET", "/auth/whoami", nil, bearer(in.text("access_token"))).is(401, "")
			if name != "an expired token" {
				w.do("GET", "/auth/whoami", nil, bob).is(200, "")
			}
			if !c.owner {
				assert.Equal(t, []string{"message"}, keys(a.JSON))
				assert.Empty(t, a.Result().Cookies())
				return
			}
			assert.Equal(t, w.ids["ann"], a.text("id"))
			assert.Len(t, a.Result().Cookies(), 2)
			w.do("GET", "/auth/whoami", nil, bearer(a.text("access_token"))).is(200, "")
		})
	}
	t.Run("nobody can say", func(t *testing.T) {
		down := false
		w := newWorld(t, sending, options{api: func(c *userapi.Config) {
			c.Store, c.Staleness = outage{memory.New(), &down}, userapi.ReadAlways
		}})
		own := w.as("ann")
		token := object{"token": w.emailToken(own, "ann@acme.example")}
		down = true
		w.do("POST", "/verification/email/confirm", token, own).is(503, "UNAVAILABLE")
		down = false
		a := w.do("POST", "/verification/email/confirm", token, own).is(200, "")
		w.do("GET", "/auth/whoami", nil, bearer(a.text("access_token"))).is(200, "")
	})
	t.Run("as Config.Tokens says", func(t *testing.T) {
		w := newWorld(t, sending, options{http: func(c *httpadapter.Config) { c.Tokens = httpadapter.CookieOnly }})
		in := w.login("ann")
		own := cookie(httpadapter.DefaultAccessCookie, in.cookie(httpadapter.DefaultAccessCookie).Value)
		a := w.do("POST", "/verification/email/confirm", object{"token": w.emailToken(own, "ann@acme.example")}, own).is(200, "")
		assert.NotContains(t, a.JSON, "access_token")
		own = cookie(httpadapter.DefaultAccessCookie, a.cookie(httpadapter.DefaultAccessCookie).Value)
		w.do("GET", "/auth/whoami", nil, own).is(200, "")
	})
}

func TestAnAddressToProve(t *testing.T) {
	w := newWorld(t, sending)
	own, service := w.as("ann"), w.as("service")
	for _, body := range []any{nil, "{}", object{"email": nil}, object{"email": "ANN@acme.example", "current_password": nil}} {
		w.do("POST", "/verification/email", body, own).is(200, "")
		w.message("ann@acme.example", userapi.PurposeEmail)
	}
	a := w.do("POST", "/verification/email", nil, service).is(422, "WRONG_DOCUMENT_FORMAT")
	assert.Contains(t, a.payload(), "email", "the account has none")
	w.do("POST", "/verification/email", object{"email": "service@acme.example"}, service).is(200, "")
	token := string(w.message("service@acme.example", userapi.PurposeEmailChange).Token)
	a = w.do("POST", "/verification/email/confirm", object{"token": token}, service).is(200, "")
	assert.Equal(t, "service@acme.example", a.text("email"))
	assert.Empty(t, told(w.delivered()), "there is no old address to tell")
	w.do("POST", "/verification/email", nil, cookie(httpadapter.DefaultAccessCookie, "x")).is(401, "UNAUTHORIZED")
	w.do("POST", "/verification/email", nil, w.cookieOf("bob"), crossSite).is(403, "CROSS_ORIGIN")
	_, err := w.api.Users.Deactivate(context.Background(), userapi.System(), w.ids["bob"])
	require.NoError(t, err)
	require.NoError(t, w.api.Users.Delete(context.Background(), userapi.System(), w.ids["ann"]))
	w.do("POST", "/verification/email", nil, own).is(401, "TOKEN_REVOKED")
}

func TestJ07_AddressesAreWrittenToSeldom(t *testing.T) {
	w := newWorld(t, sending, options{api: func(c *userapi.Config) { c.Limits = nil }})
	ask := func(name, email string) *answer {
		return w.do("POST", "/verification/email", object{"email": email, "current_password": password}, w.as(name))
	}
	ask("ann", "one@acme.example").is(200, "")
	assert.Equal(t, "60", ask("ann", "two@acme.example").is(429, "RATE_LIMITED").Header().Get("Retry-After"))
	sent := 0
	for range 12 { // two accounts, one mailbox
		for _, name := range []string{"ann", "bob"} {
			w.clock.advance(time.Minute)
			if ask(name, "victim@other.example").Code == 200 {
				sent++
			}
		}
	}
	assert.Equal(t, 10, sent)
	w.clock.advance(time.Minute)
	w.do("PATCH", "/users/current", object{"email": "victim@other.example"}, w.as("ann")).is(429, "RATE_LIMITED")
	ask("ann", "other@other.example").is(200, "")
}
