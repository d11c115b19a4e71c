package totp_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
)

func limited(c *userapi.Config) { c.Limits = nil }

// resetToken is the token of a mailed reset.
func (w *world) resetToken(email string) string {
	w.t.Helper()
	w.mail.Reset()
	w.do("POST", "/password/reset", object{"email": email}).is(200, "")
	_, err := w.api.Deliver(w.t.Context())
	require.NoError(w.t, err)
	for _, m := range w.mail.Messages() {
		if m.To == email && m.Purpose == userapi.PurposeReset {
			return string(m.Token)
		}
	}
	w.t.Fatal("no reset was mailed")
	return ""
}

func TestD08_AResetSkipsNoSecondFactor(t *testing.T) { onEveryStore(t, aResetSkipsNoSecondFactor) }

func aResetSkipsNoSecondFactor(t *testing.T, open handles) {
	w := newWorld(t, open)
	app, recovery := w.enrolled("ann")
	half := w.started("ann")
	session := bearer(w.complete("ann", app.code()).is(200, "").text("access_token"))
	w.advance(30 * time.Second)
	reset := w.do("POST", "/password/reset/confirm", object{"token": w.resetToken("ann@acme.example"), "new_password": another}).is(200, "")
	assert.Empty(t, reset.text("access_token"))
	assert.Empty(t, reset.Result().Cookies())
	w.do("POST", "/totp/login", object{"code": app.code()}, half).is(401, "TOKEN_REVOKED")
	w.do("POST", "/totp/enrol", object{"code": app.code()}, session).is(401, "TOKEN_REVOKED")
	in := w.do("POST", "/auth/login", object{"email": "ann@acme.example", "password": another}).is(200, "")
	require.Equal(t, "second_factor", in.text("step"))
	half = bearer(in.text("access_token"))
	w.do("GET", "/auth/whoami", nil, half).is(403, "SECOND_FACTOR_REQUIRED")
	w.do("POST", "/password/change", object{"old_password": another, "new_password": password}, half).is(403, "SECOND_FACTOR_REQUIRED")
	w.do("POST", "/totp/login", object{"code": app.code()}, half).is(200, "") // none of the refusals used it up
	in = w.do("POST", "/auth/login", object{"email": "ann@acme.example", "password": another}).is(200, "")
	w.do("POST", "/totp/login", object{"code": recovery[0]}, bearer(in.text("access_token"))).is(200, "")
}

// Whoever registers with a stranger's address locks them out with no second factor of theirs, not even one under way.
func TestB13_TheFirstProofOfTheMailboxDropsSecondFactors(t *testing.T) {
	onEveryStore(t, theFirstProofOfTheMailboxDropsSecondFactors)
}

func theFirstProofOfTheMailboxDropsSecondFactors(t *testing.T, open handles) {
	w := newWorld(t, open, func(c *userapi.Config) {
		c.Registration = userapi.Registration{Policy: userapi.RegistrationOpen, Customer: "default"}
	})
	for i, enrols := range []string{"on", "pending"} {
		victim := fmt.Sprintf("victim%d@acme.example", i)
		in := w.do("POST", "/users", object{"email": victim, "password": "the attacker's phrase"}).is(201, "")
		attacker, id := bearer(in.text("access_token")), in.text("id")
		app := w.scan(w.do("POST", "/totp/enrol", nil, attacker).is(200, "").text("secret"))
		if enrols == "on" {
			w.do("POST", "/totp/confirm", object{"code": app.code()}, attacker).is(200, "")
		}
		w.do("POST", "/password/reset/confirm", object{"token": w.resetToken(victim), "new_password": another}).is(200, "")
		kept, err := w.store.CredentialsOf(t.Context(), id, "")
		require.NoError(t, err)
		assert.Empty(t, kept, enrols)
		w.do("POST", "/totp/confirm", object{"code": app.code()}, attacker).is(401, "TOKEN_REVOKED")
		in = w.do("POST", "/auth/login", object{"email": victim, "password": another}).is(200, "")
		assert.Empty(t, in.text("step"))
		w.do("POST", "/totp/confirm", object{"code": app.code()}, bearer(in.text("access_token"))).is(400, "INVALID_CODE")
	}
}

// The attacker confirms at the very moment of the proof: before it the factor goes with it, after it there is none to confirm.
func TestB13_NoConfirmationOutlivesTheProof(t *testing.T) {
	onEveryStore(t, noConfirmationOutlivesTheProof)
}

func noConfirmationOutlivesTheProof(t *testing.T, open handles) {
	w := newWorld(t, open, func(c *userapi.Config) {
		c.Registration = userapi.Registration{Policy: userapi.RegistrationOpen, Customer: "default"}
	})
	for i := range 5 {
		victim := fmt.Sprintf("victim%d@acme.example", i)
		in := w.do("POST", "/users", object{"email": victim, "password": "the attacker's phrase"}).is(201, "")
		attacker := bearer(in.text("access_token"))
		app := w.scan(w.do("POST", "/totp/enrol", nil, attacker).is(200, "").text("secret"))
		token := w.resetToken(victim)
		w.atOnce(func(i int, n *node) *answer {
			if i == 0 {
				return w.ask(n, "POST", "/password/reset/confirm", object{"token": token, "new_password": another}).is(200, "")
			}
			return w.ask(n, "POST", "/totp/confirm", object{"code": app.code()}, attacker)
		})
		in = w.do("POST", "/auth/login", object{"email": victim, "password": another}).is(200, "")
		assert.Empty(t, in.text("step"))
	}
}

// A session that another node has just ended, within Config.Staleness, binds no phone.
func TestA11_AnEndedSessionEnrolsNothing(t *testing.T) {
	w := newWorld(t, onMemory(t))
	thief := w.as("ann")
	app := w.scan(w.do("POST", "/totp/enrol", nil, thief).is(200, "").text("secret"))
	w.ask(w.nodes[1], "POST", "/auth/logout-all", nil, w.as("ann")).is(204, "")
	w.do("POST", "/totp/confirm", object{"code": app.code()}, thief).is(401, "TOKEN_REVOKED")
	w.do("POST", "/totp/enrol", nil, thief).is(401, "TOKEN_REVOKED")
	w.as("ann")
}

// Nor does one that ends between the look at it and the write, here by the reset of its owner, who could not log in any more.
func TestA11_ASessionThatEndsMeanwhileEnrolsNothing(t *testing.T) {
	onEveryStore(t, aSessionThatEndsMeanwhileEnrolsNothing)
}

func aSessionThatEndsMeanwhileEnrolsNothing(t *testing.T, open handles) {
	w := newWorld(t, open)
	st := &interposed{Store: w.store}
	late := w.serve(st)
	thief := w.as("ann")
	app := w.scan(w.do("POST", "/totp/enrol", nil, thief).is(200, "").text("secret"))
	token := w.resetToken("ann@acme.example")
	st.before = func() {
		w.do("POST", "/password/reset/confirm", object{"token": token, "new_password": another}).is(200, "")
	}
	w.ask(late, "POST", "/totp/confirm", object{"code": app.code()}, thief).is(401, "TOKEN_REVOKED")
	assert.Nil(t, st.before)
	in := w.do("POST", "/auth/login", object{"email": "ann@acme.example", "password": another}).is(200, "")
	assert.Empty(t, in.text("step"))

	app, codes := w.enrolled("bob")
	session := bearer(w.complete("bob", app.code()).is(200, "").text("access_token"))
	st.before = func() { w.do("POST", "/auth/logout-all", nil, session).is(204, "") }
	w.ask(late, "POST", "/totp/recovery", object{"code": codes[0]}, session).is(401, "TOKEN_REVOKED")
	w.complete("bob", codes[0]).is(200, "") // it was not used up
}

// Nor is a login completed that stands on what another node has just changed; and its code is not used up.
func TestA11_ALoginOfAnotherEpochIsNotCompleted(t *testing.T) {
	w := newWorld(t, onMemory(t))
	app, _ := w.enrolled("ann")
	half := w.started("ann")
	w.do("GET", "/totp", nil, half).is(403, "SECOND_FACTOR_REQUIRED")
	roles := []userapi.RoleRef{{Code: "admin"}}
	_, _, err := w.nodes[1].api.Users.Change(t.Context(), userapi.System(), w.ids["ann"], userapi.UserChange{Roles: &roles})
	require.NoError(t, err)
	w.do("POST", "/totp/login", object{"code": app.code()}, half).is(401, "TOKEN_REVOKED")
	w.complete("ann", app.code()).is(200, "")
}

// One budget for codes of the app and for recovery, in logins and in sessions, whatever login they are tried in (AuthQuake, 2024).
func TestD02_OneBudgetForAllCodes(t *testing.T) {
	w := newWorld(t, onMemory(t), limited)
	app, recovery := w.enrolled("ann")
	session := bearer(w.complete("ann", recovery[0]).is(200, "").text("access_token"))
	w.complete("ann", app.wrong()).is(400, "INVALID_CODE")
	w.complete("ann", "AAAA-AAAA-AAAA-AAAA").is(400, "INVALID_CODE")
	w.complete("ann", recovery[0]).is(400, "INVALID_CODE")
	w.do("POST", "/totp/recovery", object{"code": app.wrong()}, session).is(400, "INVALID_CODE")
	w.do("DELETE", "/totp", object{"code": app.wrong()}, session).is(400, "INVALID_CODE")
	for path, who := range map[string]set{"/totp/login": w.started("ann"), "/totp/recovery": session, "/totp/enrol": session, "/totp/confirm": session} {
		for _, code := range []string{app.code(), recovery[1]} {
			a := w.ask(w.nodes[1], "POST", path, object{"code": code}, who).is(429, "RATE_LIMITED")
			assert.Equal(t, "600", a.Header().Get("Retry-After"))
		}
	}
	w.advance(10 * time.Minute)
	w.complete("ann", recovery[1]).is(200, "") // the refusals used nothing up
}

func TestD02_WhatIsNoTryCostsNone(t *testing.T) {
	w := newWorld(t, onMemory(t), limited)
	app, _ := w.enrolled("ann")
	half := w.started("ann")
	for _, body := range []any{nil, "{", object{}, object{"code": ""}, object{"code": nil}, object{"code": 123456}, object{"kode": "123456"}, `{"code":"1","code":"2"}`} {
		a := w.do("POST", "/totp/login", body, half)
		assert.Contains(t, []int{415, 422}, a.Code, a.Body.String())
	}
	for _, code := range []string{strings.Repeat("1", 5000), "٠١٢٣٤٥", "\x00", "null"} { // these are
		w.do("POST", "/totp/login", object{"code": code}, half).is(400, "INVALID_CODE")
	}
	w.do("POST", "/totp/login", object{"code": app.code()}, half).is(200, "")
}

func TestD03_TheBudgetHoldsInABurst(t *testing.T) { onEveryStore(t, theBudgetHoldsInABurst) }

func theBudgetHoldsInABurst(t *testing.T, open handles) {
	w := newWorld(t, open, func(c *userapi.Config) {
		c.Limits = userapi.Limits{userapi.LimitSecondFactor: {{Max: 5, Window: 10 * time.Minute, Per: userapi.PerAccount}}}
	})
	app, _ := w.enrolled("ann")
	half, wrong := w.started("ann"), app.wrong()
	count := w.atOnce(func(i int, n *node) *answer {
		code := wrong
		if i%2 == 0 {
			code = fmt.Sprintf("AAAA-AAAA-AAAA-%04d", i)
		}
		return w.ask(n, "POST", "/totp/login", object{"code": code}, half)
	})
	assert.Equal(t, map[int]int{400: 5, 429: 59}, count)
	w.do("POST", "/totp/login", object{"code": app.code()}, half).is(429, "RATE_LIMITED")
}

func TestD01_OneCodeAtOnce(t *testing.T) { onEveryStore(t, oneCodeAtOnce) }

func oneCodeAtOnce(t *testing.T, open handles) {
	w := newWorld(t, open)
	app, recovery := w.enrolled("ann")
	w.advance(30 * time.Second)
	for _, code := range []string{app.code(), recovery[0]} {
		var halves [5]set // as many as a user may have started
		for i := range halves {
			halves[i] = w.started("ann")
		}
		count := w.atOnce(func(i int, n *node) *answer {
			return w.ask(n, "POST", "/totp/login", object{"code": code}, halves[i%5])
		})
		assert.Equal(t, 1, count[200], "%v", count)
		assert.Equal(t, 63, count[400]+count[401], "%v", count) // 401 of the login that is complete
		assert.GreaterOrEqual(t, count[400], 64*4/5-1)
	}
	session := bearer(w.complete("ann", recovery[1]).is(200, "").text("access_token"))
	assert.EqualValues(t, 8, w.do("GET", "/totp", nil, session).JSON["recovery_codes_left"])

	// All at once: each code that is used is used for one thing.
	paths := []string{"/totp/recovery", "/totp/enrol"}
	count := w.atOnce(func(i int, n *node) *answer {
		return w.ask(n, "POST", paths[i%2], object{"code": recovery[2]}, session)
	})
	assert.Equal(t, map[int]int{200: 1, 400: 63}, count)
}

func TestD01_DifferentCodesAtOnceAreAllGood(t *testing.T) { onEveryStore(t, differentCodesAtOnce) }

// What one login uses up, another does not bring back.
func differentCodesAtOnce(t *testing.T, open handles) {
	w := newWorld(t, open)
	_, recovery := w.enrolled("ann")
	var halves [5]set
	for i := range halves {
		halves[i] = w.started("ann")
	}
	var codes [64]int
	w.atOnce(func(i int, n *node) *answer {
		if i >= 5 {
			return w.ask(n, "GET", "/totp", nil, halves[0])
		}
		a := w.ask(n, "POST", "/totp/login", object{"code": recovery[i]}, halves[i])
		codes[i] = a.Code
		return a
	})
	assert.Equal(t, []int{200, 200, 200, 200, 200}, codes[:5])
	for i := range 5 {
		w.complete("ann", recovery[i]).is(400, "INVALID_CODE")
	}
	w.complete("ann", recovery[5]).is(200, "")
}

// interposed does something just before the first write of a credential.
type interposed struct {
	userapi.Store
	before func()
}

func (s *interposed) PutCredential(ctx context.Context, w userapi.CredentialWrite) error {
	if before := s.before; before != nil {
		s.before = nil
		before()
	}
	return s.Store.PutCredential(ctx, w)
}

func TestD01_WhoeverIsOvertakenLooksAgain(t *testing.T) {
	w := newWorld(t, onMemory(t))
	_, recovery := w.enrolled("ann")
	st := &interposed{Store: w.store}
	late := w.serve(st)
	for i, race := range []struct {
		late, first string
		status      int
	}{{recovery[0], recovery[1], 200}, {recovery[2], recovery[2], 400}} {
		half := w.started("ann")
		st.before = func() { w.complete("ann", race.first).is(200, "") }
		assert.Equal(t, race.status, w.ask(late, "POST", "/totp/login", object{"code": race.late}, half).Code, i)
	}
	for _, used := range recovery[:3] {
		w.complete("ann", used).is(400, "INVALID_CODE")
	}
}

func TestD01_OneEnrolmentConfirmedAtOnce(t *testing.T) { onEveryStore(t, oneEnrolmentConfirmedAtOnce) }

func oneEnrolmentConfirmedAtOnce(t *testing.T, open handles) {
	w := newWorld(t, open)
	session := w.as("ann")
	app := w.scan(w.do("POST", "/totp/enrol", nil, session).is(200, "").text("secret"))
	won := make(chan []string, 64)
	count := w.atOnce(func(_ int, n *node) *answer {
		a := w.ask(n, "POST", "/totp/confirm", object{"code": app.code()}, session)
		if a.Code == 200 {
			won <- a.codes()
		}
		return a
	})
	assert.Equal(t, map[int]int{200: 1, 400: 63}, count)
	assert.Equal(t, []userapi.Notice{userapi.NoticeSecondFactorOn}, w.told("ann"))
	w.complete("ann", (<-won)[9]).is(200, "") // the codes that were shown are those that hold
}

func TestDeleted_users_leave_nothing(t *testing.T) { onEveryStore(t, deletedUsersLeaveNothing) }

func deletedUsersLeaveNothing(t *testing.T, open handles) {
	w := newWorld(t, open)
	app, _ := w.enrolled("ann")
	half := w.started("ann")
	session := bearer(w.complete("ann", app.code()).is(200, "").text("access_token"))
	w.advance(30 * time.Second)
	for _, n := range w.nodes {
		w.ask(n, "GET", "/totp", nil, session).is(200, "") // from now on the second looks for what was revoked in a second
	}
	require.NoError(t, w.api.Users.Delete(t.Context(), userapi.System(), w.ids["ann"]))
	kept, err := w.store.CredentialsOf(t.Context(), w.ids["ann"], "")
	require.NoError(t, err)
	assert.Empty(t, kept)
	for _, n := range w.nodes {
		for path, who := range map[string]set{"/totp/login": half, "/totp/recovery": session, "/totp/enrol": session, "/totp/confirm": session} {
			w.ask(n, "POST", path, object{"code": app.code()}, who).is(401, "TOKEN_REVOKED")
		}
	}
}
