package httpadapter_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/httpadapter"
)

// B13: what an attacker prepares under somebody else's address ends when its owner comes by the mailbox.
func TestB13_WhatWasOpenedBeforeTheReset(t *testing.T) { onEveryStore(t, whatWasOpenedBeforeTheReset) }

func whatWasOpenedBeforeTheReset(t *testing.T, on options) {
	w := newWorld(t, open, sending, on)
	theirs := object{"email": "victim@acme.example", "password": "the attacker's phrase"}
	in := w.do("POST", "/users", theirs).is(201, "")
	attacker := bearer(in.text("access_token"))
	elsewhere := w.do("POST", "/auth/login", theirs).is(200, "")
	w.confirmPhone(number, w.phoneCode(number, attacker), attacker).is(200, "")
	w.phoneCode("+4989123456", attacker)
	change := w.emailToken(attacker, "mallory@evil.example")
	proof := w.emailToken(attacker, "victim@acme.example")
	w.do("POST", "/password/reset/confirm", object{"token": w.resetToken("victim@acme.example"), "new_password": another}).is(200, "")

	for _, in := range []*answer{in, elsewhere} {
		w.do("GET", "/auth/whoami", nil, bearer(in.text("access_token"))).is(401, "TOKEN_REVOKED")
		w.refresh(in.text("refresh_token")).is(401, "TOKEN_REVOKED")
	}
	for _, token := range []string{change, proof} {
		w.do("POST", "/verification/email/confirm", object{"token": token}).is(400, "INVALID_TOKEN")
	}
	w.do("POST", "/auth/login", theirs).is(401, "UNAUTHORIZED")
	w.do("POST", "/auth/login", object{"username": number, "password": another}).is(401, "UNAUTHORIZED")
	victim := w.do("POST", "/auth/login", with(theirs, object{"password": another})).is(200, "")
	assert.Equal(t, true, victim.JSON["email_verified"])
	assert.Equal(t, false, victim.JSON["phone_verified"])
}

func TestB13_SessionsOpenedBeforeTheProof(t *testing.T) {
	onEveryStore(t, sessionsOpenedBeforeTheProof)
}

func sessionsOpenedBeforeTheProof(t *testing.T, on options) {
	w := newWorld(t, open, sending, on)
	in := w.do("POST", "/users", object{"email": "victim@acme.example", "password": "the attacker's phrase"}).is(201, "")
	mailed := w.emailToken(bearer(in.text("access_token")), "victim@acme.example")
	w.do("POST", "/verification/email/confirm", object{"token": mailed}).is(200, "")
	w.do("GET", "/auth/whoami", nil, bearer(in.text("access_token"))).is(401, "TOKEN_REVOKED")
	w.refresh(in.text("refresh_token")).is(401, "TOKEN_REVOKED")
}

// K04: whatever the gateway does, the answer is the same, and the message arrives when the gateway is back.
func TestK04_AGatewayThatFails(t *testing.T) {
	release := make(chan struct{})
	failures := map[string]func(context.Context, userapi.Message) error{
		"works":  nil,
		"fails":  func(context.Context, userapi.Message) error { return errors.New("gateway: 500, canary") },
		"panics": func(context.Context, userapi.Message) error { panic("canary") },
		"hangs": func(ctx context.Context, _ userapi.Message) error {
			select {
			case <-ctx.Done():
			case <-release:
			}
			return context.Cause(ctx)
		},
	}
	requests := map[string]struct {
		path, to string
		body     object
		signedIn bool
	}{
		"reset":        {"/password/reset", "ann@acme.example", object{"email": "ann@acme.example"}, false},
		"registration": {"/users", "new@acme.example", object{"email": "new@acme.example", "password": password}, false},
		"email":        {"/verification/email", "ann2@acme.example", object{"email": "ann2@acme.example"}, true},
		"phone":        {"/verification/phone", number, object{"phone": number}, true},
	}
	answers := map[string]map[string]bool{}
	for name, fail := range failures {
		for request, r := range requests {
			t.Run(name+" "+request, func(t *testing.T) {
				ctx, stop := context.WithCancel(t.Context())
				var delivering sync.WaitGroup
				w := newWorld(t, verifying)
				delivering.Go(func() { _ = w.api.Run(ctx) })
				w.box.failing(fail)
				var how []set
				if r.signedIn {
					how = append(how, w.as("ann"))
				}
				a := w.do("POST", r.path, r.body, how...)
				if answers[request] == nil {
					answers[request] = map[string]bool{}
				}
				answers[request][fmt.Sprint(a.Code, a.Header(), a.Body)] = true
				assert.Less(t, a.Code, 300)
				stop()
				delivering.Wait()
				w.box.failing(nil)
				var sent []userapi.Message
				require.Eventually(t, func() bool { sent = append(sent, w.delivered()...); return len(sent) > 0 }, 20*time.Second, 20*time.Millisecond)
				require.Len(t, sent, 1)
				assert.Equal(t, r.to, sent[0].To)
				assert.NotContains(t, w.log.String(), `"canary"`)
				w.redeem(sent[0], how...)
				assert.Empty(t, w.delivered())
			})
		}
	}
	for request, different := range answers {
		assert.Len(t, different, 1, request)
	}
}

// redeem takes a message to its route.
func (w *world) redeem(m userapi.Message, how ...set) {
	w.t.Helper()
	token := object{"token": string(m.Token)}
	switch m.Purpose {
	case userapi.PurposeReset:
		w.do("POST", "/password/reset/confirm", with(token, object{"new_password": password})).is(200, "")
		require.Len(w.t, told(w.delivered()), 1)
	case userapi.PurposeActivation:
		w.do("POST", "/auth/activate", with(token, object{"password": password})).is(200, "")
	case userapi.PurposeEmail, userapi.PurposeEmailChange:
		w.do("POST", "/verification/email/confirm", token).is(200, "")
		w.delivered()
	case userapi.PurposePhone:
		w.confirmPhone(m.To, string(m.Code), how...).is(200, "")
	}
}

// What can never arrive is over, and the requester learns nothing of it either.
func TestK04_AMessageThatCanNeverArrive(t *testing.T) {
	w := newWorld(t, sending)
	ann := w.as("ann")
	first := w.do("POST", "/verification/phone", object{"phone": number}, ann).is(200, "")
	code := ""
	w.box.failing(func(_ context.Context, m userapi.Message) error {
		code = string(m.Code)
		return fmt.Errorf("no such number: %w", userapi.ErrUndeliverable)
	})
	assert.Empty(t, w.delivered())
	w.confirmPhone(number, code, ann).is(400, "INVALID_CODE")
	second := w.do("POST", "/verification/phone", object{"phone": number}, ann).is(200, "")
	assert.Equal(t, first.Body.String(), second.Body.String())
	w.box.failing(nil)
	w.confirmPhone(number, string(w.message(number, userapi.PurposePhone).Code), ann).is(200, "")
}

// tokenRoutes are those that need nothing but what was sent, and those that ask for it: no cookie is read or set there.
var tokenRoutes = map[string]object{
	"/password/reset":             {"email": "ann@acme.example"},
	"/password/reset/confirm":     {"token": "a.b", "new_password": another},
	"/auth/activate":              {"token": "a.b", "password": password},
	"/verification/email/confirm": {"token": "a.b"},
	"/verification/phone":         {"phone": number},
	"/verification/phone/confirm": {"phone": number, "code": "123456"},
}

// Whoever holds a link may open it from wherever it was mailed to.
func TestI01_AForeignPageMayBringWhatWasMailed(t *testing.T) {
	w := newWorld(t, verifying, anyPhone)
	for path, body := range tokenRoutes {
		plain := w.do("POST", path, body)
		for name, from := range foreign {
			a := w.do("POST", path, body, from)
			assert.Equal(t, plain.Body.String(), a.Body.String(), path+" "+name)
			assert.Equal(t, plain.Header(), a.Header())
			assert.Empty(t, a.Result().Cookies())
		}
	}
	w.do("POST", "/users", object{"email": "x@acme.example", "password": password}, crossSite).is(403, "CROSS_ORIGIN") // as before
	refresh := cookie(httpadapter.DefaultRefreshCookie, w.login("ann").text("refresh_token"))
	w.do("POST", "/verification/email/confirm", tokenRoutes["/verification/email/confirm"], refresh, crossSite).is(400, "INVALID_TOKEN")
}

func TestAnAPIKeyConfirmsNothing(t *testing.T) {
	w := newWorld(t, verifying, anyPhone)
	for path, body := range w.mailed() {
		w.do("POST", path, body, header("X-Api-Key", "k.s")).is(401, "UNAUTHORIZED")
		w.do("POST", path, body, header("X-Api-Key", "")).is(401, "UNAUTHORIZED")
		w.do("POST", path, body).is(200, "")
	}
	for path, body := range tokenRoutes {
		w.do("POST", path, body, header("X-Api-Key", "k.s")).is(401, "UNAUTHORIZED")
	}
	w.do("POST", "/verification/email", nil, w.as("eve"), header("X-Api-Key", "k.s")).is(401, "UNAUTHORIZED")
}

// D14 D15: a mail scanner that opens a link uses nothing up, and no token is taken from an address.
func TestD14_D15_LooksUseNothingUp(t *testing.T) {
	w := newWorld(t, verifying)
	for path, body := range w.mailed() {
		query := "?token=" + body["token"].(string)
		for _, method := range []string{"GET", "HEAD", "PUT", "DELETE"} {
			a := w.do(method, path+query, nil)
			assert.Equal(t, 405, a.Code, path)
			assert.Equal(t, "OPTIONS, POST", a.Header().Get("Allow"), path)
			assert.Equal(t, "no-referrer", a.Header().Get("Referrer-Policy"))
		}
		w.do("OPTIONS", path+query, nil).is(204, "")
		w.do("POST", path+query, nil).is(415, "WRONG_PAYLOAD_FORMAT")
		a := w.do("POST", path+query, with(body, object{"token": nil})).is(422, "WRONG_DOCUMENT_FORMAT")
		assert.Contains(t, a.payload(), "token")
		form := "token=" + body["token"].(string)
		w.do("POST", path, form, noType, header("Content-Type", "application/x-www-form-urlencoded")).is(415, "WRONG_PAYLOAD_FORMAT")
		w.do("POST", path, with(body, object{"token": "x"}), bearer(body["token"].(string)), cookie("token", body["token"].(string))).is(400, "INVALID_TOKEN")
		done := w.do("POST", path, body).is(200, "")
		assert.Equal(t, "no-referrer", done.Header().Get("Referrer-Policy"))
		assert.Equal(t, "no-store", done.Header().Get("Cache-Control"))
	}
	for path := range tokenRoutes {
		w.do("GET", path, nil).is(405, "METHOD_NOT_ALLOWED")
	}
	w.do("GET", "/verification/email", nil, w.as("ann")).is(405, "METHOD_NOT_ALLOWED")
}

func TestVerificationIsASectionOfItsOwn(t *testing.T) {
	w := newWorld(t, sending)
	ann := w.as("ann")
	w.send(w.web.Verification(), "POST", "/email", nil, ann).is(200, "")
	w.send(w.web.Verification(), "POST", "/email/confirm", object{"token": string(w.message("ann@acme.example", userapi.PurposeEmail).Token)}).is(200, "")
	w.send(w.web.Verification(), "POST", "/verification/email", nil, ann).is(404, "NOT_FOUND")
}
