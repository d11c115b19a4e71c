package httpadapter_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
)

const another = "another fine phrase"

func TestFlow_D08_AForgottenPassword(t *testing.T) { onEveryStore(t, aForgottenPassword) }

func aForgottenPassword(t *testing.T, on options) {
	w := newWorld(t, sending, on)
	in := w.login("ann")
	old := bearer(in.text("access_token"))
	asked := w.do("POST", "/password/reset/", object{"email": " ANN@acme.example"}).is(200, "")
	assert.Equal(t, []string{"message"}, keys(asked.JSON))
	m := w.message("ann@acme.example", userapi.PurposeReset)
	assert.Equal(t, w.clock.now().Add(time.Hour), m.ExpiresAt.UTC())
	w.do("GET", "/auth/whoami", nil, old).is(200, "") // asking alone changes nothing
	w.do("POST", "/auth/login", object{"email": "ann@acme.example", "password": password}).is(200, "")

	body := object{"token": string(m.Token), "new_password": another, "verify_password": another}
	done := w.do("POST", "/password/reset/confirm/", body).is(200, "")
	assert.Equal(t, []string{"message"}, keys(done.JSON), "nobody is logged in")
	assert.Empty(t, done.Result().Cookies())
	assert.Equal(t, map[string]userapi.Notice{"ann@acme.example": userapi.NoticePasswordChanged}, told(w.delivered()))
	w.do("GET", "/auth/whoami", nil, old).is(401, "TOKEN_REVOKED")
	w.refresh(in.text("refresh_token")).is(401, "TOKEN_REVOKED")
	w.do("POST", "/auth/login", object{"email": "ann@acme.example", "password": password}).is(401, "UNAUTHORIZED")
	again := w.do("POST", "/auth/login", object{"email": "ann@acme.example", "password": another}).is(200, "")
	assert.Equal(t, true, again.JSON["email_verified"], "the mailbox was proven")
	w.do("POST", "/password/reset/confirm", body).is(400, "INVALID_TOKEN")
	w.do("GET", "/auth/whoami", nil, bearer(again.text("access_token"))).is(200, "")
	for _, secret := range []string{string(m.Token), another} {
		assert.NotContains(t, w.log.String(), secret)
	}
}

func TestE05_AResetTellsNobodyWhoExists(t *testing.T) { onEveryStore(t, aResetTellsNobodyWhoExists) }

func aResetTellsNobodyWhoExists(t *testing.T, on options) {
	w := newWorld(t, sending, on, options{api: func(c *userapi.Config) {
		c.Limits = userapi.Limits{userapi.LimitReset: {{Max: 1, Window: time.Minute, Per: userapi.PerAccount}}}
		c.Verification.DenyResetRoles = []string{"admin"}
	}})
	w.add("off", userapi.NewUser{Email: "off@acme.example", CustomerID: "acme"})
	_, err := w.api.Users.Deactivate(t.Context(), userapi.System(), w.ids["off"])
	require.NoError(t, err)
	_, err = w.api.Users.Create(t.Context(), userapi.System(), userapi.NewUser{Username: "none", Email: "none@acme.example", CustomerID: "acme", Active: true})
	require.NoError(t, err)
	first, limited := "", ""
	for _, c := range []struct {
		body object
		to   string // "" = nobody
	}{
		{object{"email": "ann@acme.example"}, "ann@acme.example"},
		{object{"email": "nobody@acme.example"}, ""},
		{object{"email": "off@acme.example"}, ""},
		{object{"email": "eve@rival.example"}, ""}, // an admin: DenyResetRoles
		{object{"username": "service"}, ""},        // has no address
		{object{"username": "nobody"}, ""},
		{object{"username": "+4930901820"}, ""},
		{object{"username": "none"}, "none@acme.example"}, // has no password
	} {
		a := w.do("POST", "/password/reset", c.body).is(200, "")
		all := fmt.Sprint(a.Code, a.Header(), a.Body)
		if first == "" {
			first = all
		}
		assert.Equal(t, first, all, c.body)
		var to string
		for _, m := range w.delivered() {
			to += m.To
		}
		assert.Equal(t, c.to, to, c.body)
		b := w.do("POST", "/password/reset", c.body).is(429, "RATE_LIMITED")
		all = fmt.Sprint(b.Code, b.Header(), b.Body)
		if limited == "" {
			limited = all
		}
		assert.Equal(t, limited, all, "E07: limits know nobody")
	}
	for _, field := range []string{"email", "username"} {
		a := w.do("POST", "/password/reset", object{field: "no address@"}).is(422, "WRONG_DOCUMENT_FORMAT")
		assert.Equal(t, []string{field}, keys(a.payload()))
	}
	assert.Empty(t, w.delivered())
}

func TestJ07_ResetsAreFew(t *testing.T) {
	w := newWorld(t, sending, options{api: func(c *userapi.Config) { c.Limits = nil }})
	ask := func(email string) *answer { return w.do("POST", "/password/reset", object{"email": email}) }
	for i := range 10 {
		ask("ann@acme.example").is(200, "")
		if i < 9 {
			assert.Equal(t, "60", ask("ANN@acme.example ").is(429, "RATE_LIMITED").Header().Get("Retry-After"))
		}
		w.clock.advance(time.Minute)
		assert.Len(t, w.delivered(), 1)
	}
	left := ask("ann@acme.example").is(429, "RATE_LIMITED").Header().Get("Retry-After")
	assert.Equal(t, fmt.Sprint(24*60*60-10*60), left, "the day's are used up")
	ask("bob@acme.example").is(200, "")
	w.login("ann") // J02: and nobody is locked out
	w.clock.advance(24 * time.Hour)
	ask("ann@acme.example").is(200, "")
}

// mailed makes a token of each kind, by the path it is posted to, and the body that goes with it.
func (w *world) mailed() map[string]object {
	w.t.Helper()
	w.register("new@acme.example", password)
	return map[string]object{
		"/auth/activate":              {"token": string(w.message("new@acme.example", userapi.PurposeActivation).Token), "password": password},
		"/password/reset/confirm":     {"token": w.resetToken("bob@acme.example"), "new_password": another},
		"/verification/email/confirm": {"token": w.emailToken(w.as("ann"), "ann@acme.example")},
	}
}

func TestD05_ATokenIsGoodForOnePurpose(t *testing.T) {
	for _, tries := range []int{1, 5} {
		for path := range newWorld(t, verifying).mailed() {
			w := newWorld(t, verifying)
			mailed := w.mailed()
			for other, body := range mailed {
				if other == path {
					continue
				}
				for range tries {
					w.do("POST", path, with(mailed[path], object{"token": body["token"]})).is(400, "INVALID_TOKEN")
				}
				if tries == 1 {
					w.do("POST", other, body).is(200, "")
				} else {
					w.do("POST", other, body).is(400, "INVALID_TOKEN") // each was a try
				}
			}
			w.do("POST", path, mailed[path]).is(200, "")
		}
	}
}

func TestD05_ANewTokenEndsTheOldOne(t *testing.T) {
	w := newWorld(t, verifying)
	old, fresh := w.mailed(), w.mailed()
	for path := range old {
		w.do("POST", path, old[path]).is(400, "INVALID_TOKEN")
		w.do("POST", path, fresh[path]).is(200, "")
		w.do("POST", path, fresh[path]).is(400, "INVALID_TOKEN")
	}
}

func TestTokensThatAreNone(t *testing.T) {
	w := newWorld(t, verifying)
	session := w.login("bob")
	for path, body := range w.mailed() {
		right := body["token"].(string)
		id, secret, _ := strings.Cut(right, ".")
		for _, token := range []string{
			" " + right, "\x00" + right, right + strings.Repeat("A", 300), strings.Repeat("a", 300), "x", ".", "..", "a.b", "None", "null", "%", "' or 1=1 --", secret, id, "." + secret,
			"current." + secret, "é." + secret, id + "\n." + secret, session.text("access_token"), session.text("refresh_token"),
		} {
			a := w.do("POST", path, with(body, object{"token": token})).is(400, "INVALID_TOKEN")
			assert.NotContains(t, a.Body.String(), secret)
		}
		for _, token := range []string{right + "\n", right + "\x00", right + "x", right[:len(right)-1]} {
			w.do("POST", path, with(body, object{"token": token})).is(400, "INVALID_TOKEN")
		}
		w.do("POST", path, body).is(200, "") // the fifth try of it
	}
}

// The secret of one's own link does not open somebody else's challenge.
func TestD05_TheSecretOfAnotherAccount(t *testing.T) {
	w := newWorld(t, sending)
	anns, bobs := w.resetToken("ann@acme.example"), w.resetToken("bob@acme.example")
	id, _, _ := strings.Cut(anns, ".")
	_, secret, _ := strings.Cut(bobs, ".")
	for range 5 { // and every try counts
		w.do("POST", "/password/reset/confirm", object{"token": id + "." + secret, "new_password": another}).is(400, "INVALID_TOKEN")
	}
	w.do("POST", "/password/reset/confirm", object{"token": anns, "new_password": another}).is(400, "INVALID_TOKEN")
	w.do("POST", "/password/reset/confirm", object{"token": bobs, "new_password": another}).is(200, "")
	w.login("ann")
	w.do("POST", "/auth/login", object{"email": "bob@acme.example", "password": another}).is(200, "")
}

func TestD04_LinksEndWithTheirHour(t *testing.T) {
	w := newWorld(t, verifying)
	ann := func() set { return w.as("ann") }
	for path, ask := range map[string]func() object{
		"/password/reset/confirm": func() object {
			return object{"token": w.resetToken("ann@acme.example"), "new_password": another}
		},
		"/verification/email/confirm": func() object { return object{"token": w.emailToken(ann(), "ann@acme.example")} },
		"/auth/activate": func() object {
			w.register("new@acme.example", password)
			return object{"token": string(w.message("new@acme.example", userapi.PurposeActivation).Token), "password": password}
		},
	} {
		body := ask()
		w.clock.advance(time.Hour)
		w.do("POST", path, body).is(400, "INVALID_TOKEN")
		body = ask()
		w.clock.advance(time.Hour - time.Millisecond)
		w.do("POST", path, body).is(200, "")
		_, _, err := w.api.Passwords.Set(t.Context(), userapi.System(), w.ids["ann"], password, "")
		require.NoError(t, err)
		w.delivered()
	}
}

// What was asked for under an account as it was ends when the account changes.
func TestD06_AResetEndsWithWhatItWasAskedFor(t *testing.T) {
	for name, change := range map[string]func(w *world, ann set){
		"password changed": func(w *world, ann set) {
			w.do("POST", "/password/change", object{"old_password": password, "new_password": "a third fine phrase"}, ann).is(200, "")
		},
		"address changed by an admin": func(w *world, _ set) {
			w.do("PATCH", "/users/"+w.ids["ann"], object{"email": "ann2@acme.example"}, w.as("admin")).is(200, "")
		},
		"address changed by its proof": func(w *world, ann set) {
			w.do("POST", "/verification/email/confirm", object{"token": w.emailToken(ann, "ann2@acme.example")}).is(200, "")
		},
		"deactivated": func(w *world, _ set) { w.do("DELETE", "/users/"+w.ids["ann"], nil, w.as("admin")).is(204, "") },
		"deactivated and back": func(w *world, _ set) {
			w.do("DELETE", "/users/"+w.ids["ann"], nil, w.as("admin")).is(204, "")
			w.do("PATCH", "/users/"+w.ids["ann"], object{"active": true}, w.as("admin")).is(200, "")
		},
		"erased": func(w *world, _ set) {
			w.do("DELETE", "/users/"+w.ids["ann"]+"?force=true", nil, w.as("admin")).is(204, "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, sending)
			token := w.resetToken("ann@acme.example")
			change(w, w.as("ann"))
			w.do("POST", "/password/reset/confirm", object{"token": token, "new_password": another}).is(400, "INVALID_TOKEN")
			w.do("POST", "/auth/login", object{"email": "ann@acme.example", "password": another}).is(401, "UNAUTHORIZED")
		})
	}
}

// A password that is refused leaves the link as it is, however often.
func TestAWeakPasswordDoesNotUseTheLinkUp(t *testing.T) {
	w := newWorld(t, sending)
	token := w.resetToken("ann@acme.example")
	for range 3 {
		for _, c := range []struct {
			body        object
			code, field string
		}{
			{object{"new_password": "12345678"}, "WEAK_PASSWORD", "new_password"},
			{object{"new_password": "ann@acme.example"}, "WEAK_PASSWORD", "new_password"},
			{object{"new_password": "\u00a0        "}, "WEAK_PASSWORD", "new_password"},
			{object{"new_password": strings.Repeat("x", 1025)}, "WRONG_DOCUMENT_FORMAT", "new_password"},
			{object{"new_password": "nul\x00 in the middle"}, "WRONG_DOCUMENT_FORMAT", "new_password"},
			{object{"new_password": another, "verify_password": another + " "}, "WRONG_DOCUMENT_FORMAT", "verify_password"},
			{object{"new_password": another, "verify_password": ""}, "WRONG_DOCUMENT_FORMAT", "verify_password"},
		} {
			a := w.do("POST", "/password/reset/confirm", with(c.body, object{"token": token})).is(422, c.code)
			assert.Equal(t, []string{c.field}, keys(a.payload()))
		}
	}
	w.do("POST", "/password/reset/confirm", object{"token": token, "new_password": another, "verify_password": nil}).is(200, "")
}

func TestD10_LinksLeadWhereTheHostSays(t *testing.T) {
	w := newWorld(t, sending, options{api: func(c *userapi.Config) {
		c.Verification.ResetLink = "https://app.acme.example/reset#token={token}"
		c.Verification.LinkOrigins = []string{"https://m.acme.example"}
	}})
	poisoned := []set{
		func(r *hr) { r.Host = "evil.example" }, header("X-Forwarded-Host", "evil.example"), header("Forwarded", "host=evil.example"),
		header("Origin", "https://evil.example"), header("Referer", "https://evil.example/"), header("X-Forwarded-Proto", "gopher"),
	}
	ask := func(template any) *answer {
		return w.do("POST", "/password/reset", object{"email": "ann@acme.example", "url_template": template}, poisoned...)
	}
	ask(nil).is(200, "")
	m := w.message("ann@acme.example", userapi.PurposeReset)
	assert.Equal(t, "https://app.acme.example/reset#token="+url.QueryEscape(string(m.Token)), string(m.Link))
	ask("https://m.acme.example/r?t={token}").is(200, "")
	m = w.message("ann@acme.example", userapi.PurposeReset)
	assert.Equal(t, "https://m.acme.example/r?t="+url.QueryEscape(string(m.Token)), string(m.Link))
	for _, template := range []any{
		"", "https://evil.example/{token}", "https://m.acme.example.evil.example/{token}", "https://m.acme.example@evil.example/{token}", "http://m.acme.example/{token}",
		"https://m.acme.example:8443/{token}", "https://m.acme.example/", "https://m.acme.example/{token}{token}", "https://{token}.m.acme.example/", "//m.acme.example/{token}",
		"/{token}", "javascript:alert('{token}')", "https://m.acme.example/{token.__class__}", "https://m.acme.example\\@evil.example/{token}", "https://m.acme.example/\r\n{token}",
		"https://m.acme.example" + strings.Repeat("/x", 2000) + "/{token}", 1, true, []string{"https://m.acme.example/{token}"},
	} {
		a := ask(template).is(422, "WRONG_DOCUMENT_FORMAT")
		assert.Equal(t, []string{"url_template"}, keys(a.payload()), template)
		assert.Empty(t, w.delivered())
	}
}

func TestD16_AnAdminStartsAResetAndSeesNothingOfIt(t *testing.T) {
	w := newWorld(t, sending)
	anonymous := w.do("POST", "/password/reset", object{"email": "ann@acme.example"}).is(200, "")
	w.delivered()
	asked := w.do("POST", "/password/reset", object{"email": "ann@acme.example"}, w.as("admin")).is(200, "")
	assert.Equal(t, anonymous.Body.String(), asked.Body.String())
	m := w.message("ann@acme.example", userapi.PurposeReset)
	assert.NotContains(t, fmt.Sprint(asked.Header(), asked.Body), string(m.Token))
	w.do("POST", "/password/reset/confirm", object{"token": string(m.Token), "new_password": another}, w.as("admin")).is(200, "")
	w.do("POST", "/auth/login", object{"email": "ann@acme.example", "password": another}).is(200, "")
	w.login("admin") // whoever posts it is not whose it is
}

func TestWithoutASenderNothingIsAskedFor(t *testing.T) {
	w := newWorld(t, options{api: func(c *userapi.Config) {
		c.Registration = userapi.Registration{Policy: userapi.RegistrationVerify, Customer: "acme"}
	}})
	for _, email := range []string{"ann@acme.example", "nobody@acme.example"} {
		a := w.do("POST", "/password/reset", object{"email": email}).is(503, "UNAVAILABLE")
		assert.Equal(t, "60", a.Header().Get("Retry-After"))
		w.do("POST", "/users", object{"email": email, "password": password}).is(503, "UNAVAILABLE")
	}
	w.do("POST", "/verification/email", nil, w.as("ann")).is(503, "UNAVAILABLE")
	w.do("POST", "/verification/phone", object{"phone": "+4930901820"}, w.as("ann")).is(503, "UNAVAILABLE")
	for path, body := range map[string]object{
		"/password/reset/confirm": {"token": "a.b", "new_password": another}, "/auth/activate": {"token": "a.b", "password": password}, "/verification/email/confirm": {"token": "a.b"},
	} {
		w.do("POST", path, body).is(400, "INVALID_TOKEN")
	}
	_, err := w.api.Users.ByEmail(context.Background(), userapi.System(), "nobody@acme.example")
	assert.ErrorIs(t, err, userapi.ErrNotFound)
	assert.NotContains(t, w.log.String(), `"level":"ERROR"`)
}
