package httpadapter_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
)

// verifying lets everybody with a mailbox register.
var verifying = options{sends: true, api: func(c *userapi.Config) {
	c.Registration = userapi.Registration{Policy: userapi.RegistrationVerify, Customer: "acme", Roles: []string{"editor"}}
}}

// register registers under verifying; without a password when it is nil.
func (w *world) register(email string, password any, more ...object) *answer {
	w.t.Helper()
	body := object{"email": email, "password": password}
	for _, o := range more {
		body = with(body, o)
	}
	return w.do("POST", "/users", body).is(202, "")
}

func TestFlow_RegistrationByMailbox(t *testing.T) { onEveryStore(t, registrationByMailbox) }

func registrationByMailbox(t *testing.T, on options) {
	w := newWorld(t, verifying, on)
	a := w.register("Me@acme.example", another, object{"name": "Me", "username": "me"})
	assert.Equal(t, []string{"message"}, keys(a.JSON))
	assert.Empty(t, a.Result().Cookies())
	assert.Empty(t, a.Header().Get("Location"))
	login := object{"email": "me@acme.example", "password": another}
	w.do("POST", "/auth/login", login).is(401, "UNAUTHORIZED")
	w.do("POST", "/password/reset", object{"email": "me@acme.example"}).is(200, "")
	m := w.message("me@acme.example", userapi.PurposeActivation) // and no reset: it is inactive
	assert.NotContains(t, fmt.Sprint(a.Header(), a.Body), string(m.Token))

	token := object{"token": string(m.Token), "password": another}
	wrong := w.do("POST", "/auth/activate", with(token, object{"password": "not the password"})).is(401, "UNAUTHORIZED")
	assert.Equal(t, "Bearer", wrong.Header().Get("WWW-Authenticate"))
	w.do("POST", "/auth/login", login).is(401, "UNAUTHORIZED")
	done := w.do("POST", "/auth/activate/", token).is(200, "")
	assert.Empty(t, done.Result().Cookies())
	assert.Equal(t, object{
		"id": done.text("id"), "email": "Me@acme.example", "username": "me", "name": "Me", "active": true, "email_verified": true, "phone_verified": false,
		"customer": object{"id": "acme"}, "last_login": nil, "created_at": "2026-03-01T12:00:00.000Z", "updated_at": "2026-03-01T12:00:00.000Z",
		"roles": []any{object{"id": "7", "code": "editor", "name": "Editor"}},
	}, done.JSON, "a user with roles, and no tokens")
	w.do("POST", "/auth/activate", token).is(400, "INVALID_TOKEN")
	in := w.do("POST", "/auth/login", login).is(200, "")
	w.do("GET", "/users/current", nil, bearer(in.text("access_token"))).is(200, "")
	assert.NotContains(t, w.log.String(), string(m.Token))
}

func TestRegistrationWithoutAPassword(t *testing.T) {
	w := newWorld(t, verifying)
	w.do("POST", "/users", object{"email": "me@acme.example"}).is(202, "")
	token := object{"token": string(w.message("me@acme.example", userapi.PurposeActivation).Token)}
	for _, password := range []any{nil, ""} { // C05: nothing is no password
		w.do("POST", "/auth/login", object{"email": "me@acme.example", "password": password}).is(422, "")
		w.do("POST", "/auth/activate", with(token, object{"password": password})).is(422, "WRONG_DOCUMENT_FORMAT")
	}
	for range 6 {
		a := w.do("POST", "/auth/activate", with(token, object{"password": "12345678"})).is(422, "WEAK_PASSWORD")
		assert.Equal(t, []string{"password"}, keys(a.payload()))
	}
	w.do("POST", "/auth/activate", with(token, object{"password": another})).is(200, "")
	w.do("POST", "/auth/login", object{"email": "me@acme.example", "password": another}).is(200, "")

	a := w.do("POST", "/users", object{"email": nil, "username": "nobody"}).is(422, "WRONG_DOCUMENT_FORMAT")
	assert.Contains(t, a.payload(), "email")
	w.do("POST", "/users", object{"email": "x@acme.example", "password": ""}).is(422, "WRONG_DOCUMENT_FORMAT")
	w.do("POST", "/users", object{"email": "x@acme.example", "password": "12345678"}).is(422, "WEAK_PASSWORD")
	assert.Empty(t, w.delivered())
	open := newWorld(t, open, sending)
	for _, body := range []object{{"email": "x@acme.example"}, {"email": "x@acme.example", "password": nil}} {
		assert.Contains(t, open.do("POST", "/users", body).is(422, "WRONG_DOCUMENT_FORMAT").payload(), "password")
	}
}

func TestE04_RegistrationTellsTheMailboxAlone(t *testing.T) {
	onEveryStore(t, registrationTellsTheMailboxAlone)
}

func registrationTellsTheMailboxAlone(t *testing.T, on options) {
	w := newWorld(t, verifying, on, options{api: func(c *userapi.Config) {
		c.Limits = userapi.Limits{userapi.LimitActivation: {{Max: 1, Window: time.Minute, Per: userapi.PerRecipient}}}
	}})
	w.add("off", userapi.NewUser{Email: "off@acme.example", CustomerID: "acme"})
	_, err := w.api.Users.Deactivate(t.Context(), userapi.System(), w.ids["off"])
	require.NoError(t, err)
	w.register("pending@acme.example", password)
	w.delivered()
	w.clock.advance(time.Minute)
	before := w.do("GET", "/users/"+w.ids["ann"], nil, w.as("admin")).Body.String()
	first, limited := "", ""
	for _, c := range []struct {
		body object
		want string
	}{
		{object{"email": "new@acme.example"}, "new@acme.example activation "},
		{object{"email": "ann@acme.example"}, "ann@acme.example notice already_registered"},
		{object{"email": "eve@rival.example"}, "eve@rival.example notice already_registered"},
		{object{"email": "off@acme.example"}, "off@acme.example notice already_registered"},
		{object{"email": "pending@acme.example"}, "pending@acme.example activation "},
		{object{"email": "second@acme.example", "username": "service"}, "second@acme.example notice username_taken"},
		{object{"email": "third@acme.example", "phone": "+4930901820", "password": nil}, "third@acme.example activation "},
	} {
		body := with(object{"password": another, "name": "Mallory"}, c.body)
		a := w.do("POST", "/users", body).is(202, "")
		all := fmt.Sprint(a.Code, a.Header(), a.Body)
		if first == "" {
			first = all
		}
		assert.Equal(t, first, all, c.body)
		b := w.do("POST", "/users", with(body, object{"email": strings.ToUpper(body["email"].(string))})).is(429, "RATE_LIMITED")
		all = fmt.Sprint(b.Code, b.Header(), b.Body)
		if limited == "" {
			limited = all
		}
		assert.Equal(t, limited, all, c.body)
		sent := w.delivered()
		require.Len(t, sent, 1, c.body)
		assert.Equal(t, c.want, fmt.Sprint(sent[0].To, " ", sent[0].Purpose, " ", sent[0].Notice))
		if sent[0].Purpose == userapi.PurposeNotice {
			assert.Empty(t, string(sent[0].Token+sent[0].Link+sent[0].Code))
		}
	}
	w.login("ann")
	w.do("POST", "/auth/login", object{"email": "ann@acme.example", "password": another}).is(401, "UNAUTHORIZED")
	assert.Contains(t, before, `"name":"Ann"`)
	assert.Equal(t, "Ann", w.do("GET", "/users/"+w.ids["ann"], nil, w.as("admin")).text("name"))
}

// B13: who registers somebody else's address first has nothing of it when the owner registers too.
func TestB13_ANewRegistrationReplacesWhatWasNeverActivated(t *testing.T) {
	w := newWorld(t, verifying)
	w.register("victim@acme.example", "the attacker's phrase", object{"name": "Mallory", "phone": "+4930901820", "username": "mallory"})
	attackers := string(w.message("victim@acme.example", userapi.PurposeActivation).Token)
	w.register("victim@acme.example", another, object{"name": "Victim"})
	owners := string(w.message("victim@acme.example", userapi.PurposeActivation).Token)
	for _, p := range []string{"the attacker's phrase", another} {
		w.do("POST", "/auth/activate", object{"token": attackers, "password": p}).is(400, "INVALID_TOKEN")
	}
	w.do("POST", "/auth/activate", object{"token": owners, "password": "the attacker's phrase"}).is(401, "UNAUTHORIZED")
	a := w.do("POST", "/auth/activate", object{"token": owners, "password": another}).is(200, "")
	assert.Equal(t, "Victim", a.text("name"))
	assert.NotContains(t, a.JSON, "phone")
	assert.NotContains(t, a.JSON, "username")
	w.do("POST", "/auth/login", object{"email": "victim@acme.example", "password": "the attacker's phrase"}).is(401, "UNAUTHORIZED")
}

// A click of the mailbox's owner does not arm what somebody else registered.
func TestB13_ActivationAsksForThePassword(t *testing.T) {
	w := newWorld(t, verifying)
	w.register("victim@acme.example", "the attacker's phrase")
	token := string(w.message("victim@acme.example", userapi.PurposeActivation).Token)
	for range 5 {
		w.do("POST", "/auth/activate", object{"token": token, "password": another}).is(401, "UNAUTHORIZED")
	}
	w.do("POST", "/auth/activate", object{"token": token, "password": "the attacker's phrase"}).is(400, "INVALID_TOKEN") // D02: each was a try
	w.do("POST", "/auth/login", object{"email": "victim@acme.example", "password": "the attacker's phrase"}).is(401, "UNAUTHORIZED")
}

// An admin's users need no proof, and a credential that is there is not passed over.
func TestRegistrationByMailboxIsForNobodyElse(t *testing.T) {
	w := newWorld(t, verifying)
	a := w.do("POST", "/users", object{"email": "made@acme.example", "name": "Made", "active": true, "password": password}, w.as("admin")).is(201, "")
	assert.Equal(t, true, a.JSON["active"])
	w.do("POST", "/users", object{"email": "x@acme.example", "password": password}, w.as("ann")).is(403, "FORBIDDEN")
	w.do("POST", "/users", object{"email": "x@acme.example", "password": password}, bearer("x")).is(401, "UNAUTHORIZED")
	for _, change := range []object{{"roles": []any{}}, {"active": true}, {"customer": "rival"}, {"email_verified": true}, {"id": "x"}} { // G05
		w.do("POST", "/users", with(object{"email": "x@acme.example", "password": password}, change)).is(422, "WRONG_DOCUMENT_FORMAT")
	}
	assert.Empty(t, w.delivered())
}

func TestActivationHeedsTheQuota(t *testing.T) {
	w := newWorld(t, verifying)
	w.register("me@acme.example", password)
	body := object{"token": string(w.message("me@acme.example", userapi.PurposeActivation).Token), "password": password}
	_, err := w.api.Customers.Change(t.Context(), userapi.System(), userapi.Customer{ID: "acme", Name: "Acme", Quota: 4}) // admin, service, ann, bob
	require.NoError(t, err)
	for range 6 {
		w.do("POST", "/auth/activate", body).is(409, "QUOTA")
	}
	w.do("DELETE", "/users/"+w.ids["bob"], nil, w.as("admin")).is(204, "")
	w.do("POST", "/auth/activate", body).is(200, "")
}

func TestJ07_RegistrationsOfOneAddressAreFew(t *testing.T) {
	w := newWorld(t, verifying, options{api: func(c *userapi.Config) { c.Limits = nil }})
	for _, email := range []string{"ann@acme.example", "new@acme.example"} {
		sent := 0
		for range 12 {
			w.do("POST", "/users", object{"email": email, "password": password})
			w.clock.advance(time.Minute)
			sent += len(w.delivered())
		}
		assert.Equal(t, 5, sent, email)
	}
}
