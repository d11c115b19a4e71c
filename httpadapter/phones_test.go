package httpadapter_test

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

const number = "+4930901820"

// anyPhone lets callers without credential have a number proven.
var anyPhone = options{sends: true, api: func(c *userapi.Config) { c.Verification.AnonymousPhone = true }}

func (w *world) confirmPhone(phone, code string, how ...set) *answer {
	w.t.Helper()
	return w.do("POST", "/verification/phone/confirm", object{"phone": phone, "code": code}, how...)
}

func TestFlow_ProofOfAPhone(t *testing.T) { onEveryStore(t, proofOfAPhone) }

func proofOfAPhone(t *testing.T, on options) {
	w := newWorld(t, sending, on)
	ann := w.as("ann")
	w.do("POST", "/auth/login", object{"username": number, "password": password}).is(401, "UNAUTHORIZED")
	asked := w.do("POST", "/verification/phone/", object{"phone": "+49 (30) 901820", "resend": nil}, ann).is(200, "")
	assert.Equal(t, []string{"message"}, keys(asked.JSON))
	m := w.message(number, userapi.PurposePhone)
	assert.Equal(t, userapi.ChannelSMS, m.Channel)
	assert.Regexp(t, `^[0-9]{6}$`, string(m.Code))
	assert.False(t, m.Resend)
	assert.NotContains(t, fmt.Sprint(asked.Header(), asked.Body), string(m.Code))
	for _, body := range []object{{"resend": true}, {"resend": false}} {
		w.do("POST", "/verification/phone", with(object{"phone": number}, body), ann).is(200, "")
		m = w.message(number, userapi.PurposePhone)
		assert.Equal(t, body["resend"], m.Resend)
	}
	done := w.confirmPhone("0049 30 901820", "x", ann)
	assert.Equal(t, 422, done.Code, "national forms need a region")
	done = w.confirmPhone("+49 30/901820", string(m.Code), ann).is(200, "")
	assert.Equal(t, number, done.text("phone"))
	assert.Equal(t, true, done.JSON["phone_verified"])
	assert.Contains(t, done.JSON, "roles")
	assert.NotContains(t, done.JSON, "access_token")
	w.do("GET", "/auth/whoami", nil, ann).is(200, "") // nothing ends
	w.confirmPhone(number, string(m.Code), ann).is(400, "INVALID_CODE")
	in := w.do("POST", "/auth/login", object{"username": number, "password": password}).is(200, "")
	assert.Equal(t, w.ids["ann"], in.text("id"))
	assert.NotContains(t, w.log.String(), string(m.Code)+`"`)
}

func TestF08_AMovedPhoneIsTheNewHolders(t *testing.T) { onEveryStore(t, aMovedPhoneIsTheNewHolders) }

func aMovedPhoneIsTheNewHolders(t *testing.T, on options) {
	w := newWorld(t, sending, on)
	ann, bob := w.as("ann"), w.as("bob")
	w.confirmPhone(number, w.phoneCode(number, ann), ann).is(200, "")
	w.confirmPhone(number, w.phoneCode(number, bob), bob).is(200, "")
	a := w.do("GET", "/users/current", nil, ann)
	assert.Equal(t, number, a.text("phone"))
	assert.Equal(t, false, a.JSON["phone_verified"])
	assert.Equal(t, true, w.do("GET", "/users/current", nil, bob).JSON["phone_verified"])
	in := w.do("POST", "/auth/login", object{"username": number, "password": password}).is(200, "")
	assert.Equal(t, w.ids["bob"], in.text("id"))
	// A number that is only written down is nobody's name: neither to log in nor to reset by.
	w.do("PATCH", "/users/current", object{"phone": "+4989123456"}, ann).is(200, "")
	w.do("POST", "/auth/login", object{"username": "+4989123456", "password": password}).is(401, "UNAUTHORIZED")
	w.do("POST", "/password/reset", object{"username": "+4989123456"}).is(200, "")
	assert.Empty(t, w.delivered())
	w.do("POST", "/password/reset", object{"username": number}).is(200, "")
	w.message("bob@acme.example", userapi.PurposeReset) // of a proven one the link goes to the mailbox all the same
}

func TestF07_OneNumberInManySpellings(t *testing.T) {
	w := newWorld(t, sending, options{api: func(c *userapi.Config) { c.DefaultRegion = "DE" }})
	ann := w.as("ann")
	for _, spelling := range []string{"+49 (0)30 901820", "0049 30 901820", "030 901820", "030/90-18.20", " +4930901820 ", "＋４９ ３０ ９０１８２０"} {
		w.do("POST", "/verification/phone", object{"phone": spelling}, ann).is(200, "")
		code := string(w.message(number, userapi.PurposePhone).Code)
		w.confirmPhone("(030) 901820", code, ann).is(200, "")
	}
	for _, none := range []string{
		"", " ", "x", "+", "+49", "+49 30 901820 ext. 5", "+49 30 901820;ext=5", "+1234567890123456", "+4930901820\n+4930901821", "+49\x0030901820", "0",
		"1-800-FLOWERS", strings.Repeat("1", 10_000), "ann@acme.example", "tel:+4930901820", "+999123456789",
	} {
		w.do("POST", "/verification/phone", object{"phone": none}, ann).is(422, "INVALID_PHONE")
		a := w.confirmPhone(none, "123456", ann).is(422, "INVALID_PHONE")
		assert.Equal(t, []string{"phone"}, keys(a.payload()))
	}
	assert.Empty(t, w.delivered())
}

func TestE06_WithoutCredentialANumberTellsNothing(t *testing.T) { onEveryStore(t, aNumberTellsNothing) }

func aNumberTellsNothing(t *testing.T, on options) {
	var proved []string
	w := newWorld(t, anyPhone, on, options{api: func(c *userapi.Config) {
		c.Limits = userapi.Limits{userapi.LimitPhone: {{Max: 1, Window: time.Minute, Per: userapi.PerRecipient}}}
		c.Hooks.PhoneProved = func(_ context.Context, u userapi.User, number string) {
			if u.ID == "" {
				proved = append(proved, number)
			}
		}
	}})
	ann := w.as("ann")
	w.confirmPhone(number, w.phoneCode(number, ann), ann).is(200, "")
	w.clock.advance(time.Minute)
	before := w.do("GET", "/users/current", nil, ann).Body.String()
	asked, limited, wrong, right, again := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	note := func(set map[string]bool, a *answer) { set[fmt.Sprint(a.Code, a.Header(), a.Body)] = true }
	for _, phone := range []string{number, "+4989123456"} {
		note(asked, w.do("POST", "/verification/phone", object{"phone": phone}).is(200, ""))
		note(limited, w.do("POST", "/verification/phone", object{"phone": phone}).is(429, "RATE_LIMITED"))
		code := string(w.message(phone, userapi.PurposePhone).Code)
		note(wrong, w.confirmPhone(phone, wrongCode(code)).is(400, "INVALID_CODE"))
		note(right, w.confirmPhone(phone, code).is(200, ""))
		note(again, w.confirmPhone(phone, code).is(400, "INVALID_CODE"))
	}
	for _, answers := range []map[string]bool{asked, limited, wrong, right, again} {
		assert.Len(t, answers, 1)
	}
	assert.Equal(t, wrong, again, "nor whether there was a code")
	assert.Equal(t, []string{number, "+4989123456"}, proved)
	assert.Equal(t, before, w.do("GET", "/users/current", nil, ann).Body.String(), "it marks no account")
}

// wrongCode is another code of as many digits.
func wrongCode(code string) string {
	last := code[len(code)-1]
	return code[:len(code)-1] + string('0'+(last-'0'+1)%10)
}

func TestWhoMayHaveANumberProven(t *testing.T) {
	body, confirm := object{"phone": number}, object{"phone": number, "code": "123456"}
	for _, c := range []struct {
		on        options
		anonymous int
	}{{sending, 401}, {anyPhone, 200}} {
		w := newWorld(t, c.on)
		ann := w.as("ann")
		assert.Equal(t, c.anonymous, w.do("POST", "/verification/phone", body).Code)
		assert.Equal(t, map[int]int{401: 401, 200: 400}[c.anonymous], w.do("POST", "/verification/phone/confirm", confirm).Code)
		for _, bad := range [][]set{
			{bearer("x")}, {header("Authorization", "Basic YTpi")}, {header("X-Api-Key", "k.s")}, {w.cookieOf("ann"), w.cookieOf("ann")}, {ann, header("X-Api-Key", "k.s")},
			{cookie("__Host-user-api-credentials", "x")},
		} {
			w.do("POST", "/verification/phone", body, bad...).is(401, "UNAUTHORIZED") // never passed over
			w.do("POST", "/verification/phone/confirm", confirm, bad...).is(401, "UNAUTHORIZED")
		}
		if c.anonymous == 401 {
			w.do("POST", "/verification/phone", "{").is(401, "UNAUTHORIZED") // refused before anything is read
		}
		w.do("POST", "/verification/phone", body, w.cookieOf("ann"), crossSite).is(403, "CROSS_ORIGIN")
		w.do("POST", "/verification/phone/confirm", confirm, w.cookieOf("ann"), crossSite).is(403, "CROSS_ORIGIN")
		w.delivered()

		// A code proves its number for whoever asked for it, and for nobody else.
		anns := w.phoneCode(number, ann)
		w.confirmPhone(number, anns, w.as("bob")).is(400, "INVALID_CODE")
		w.confirmPhone(number, anns, w.as("eve")).is(400, "INVALID_CODE")
		if c.anonymous == 200 {
			w.confirmPhone(number, anns).is(400, "INVALID_CODE")
			nobodys := w.phoneCode(number)
			w.confirmPhone(number, nobodys, ann).is(400, "INVALID_CODE")
			a := w.confirmPhone(number, nobodys).is(200, "")
			assert.Equal(t, []string{"message"}, keys(a.JSON))
			assert.Empty(t, a.Result().Cookies())
		}
		w.confirmPhone(number, anns, ann).is(200, "")
		require.NoError(t, w.api.Users.Delete(t.Context(), userapi.System(), w.ids["ann"]))
		w.do("POST", "/verification/phone", body, ann).is(401, "TOKEN_REVOKED")
	}
}

func TestD05_ACodeIsGoodForOneNumber(t *testing.T) {
	w := newWorld(t, sending)
	ann := w.as("ann")
	first := w.phoneCode("+4989123456", ann)
	second := w.phoneCode(number, ann)
	if first != second {
		w.confirmPhone(number, first, ann).is(400, "INVALID_CODE")
	}
	w.confirmPhone("+4989123456", first, ann).is(400, "INVALID_CODE")  // the newer one took its place
	w.confirmPhone("+4989123456", second, ann).is(400, "INVALID_CODE") // and is not for this number
	w.confirmPhone(number, second, ann).is(200, "")
	assert.Equal(t, number, w.do("GET", "/users/current", nil, ann).text("phone"))
}

func TestD06_ACodeEndsWithWhatItWasAskedFor(t *testing.T) {
	for name, change := range map[string]func(w *world, ann set) set{
		"password changed": func(w *world, ann set) set {
			return bearer(w.do("POST", "/password/change", object{"old_password": password, "new_password": another}, ann).is(200, "").text("access_token"))
		},
		"phone changed": func(w *world, ann set) set {
			w.do("PATCH", "/users/current", object{"phone": "+4989123456"}, ann).is(200, "")
			return ann
		},
		"address changed": func(w *world, ann set) set {
			a := w.do("POST", "/verification/email/confirm", object{"token": w.emailToken(ann, "ann2@acme.example")}, ann).is(200, "")
			return bearer(a.text("access_token"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, sending)
			ann := w.as("ann")
			code := w.phoneCode(number, ann)
			ann = change(w, ann)
			w.confirmPhone(number, code, ann).is(400, "INVALID_CODE")
		})
	}
}

func TestD02_FiveTriesOfACode(t *testing.T) {
	w := newWorld(t, anyPhone)
	for _, how := range [][]set{{w.as("ann")}, nil} {
		code := w.phoneCode(number, how...)
		for range 4 {
			w.confirmPhone(number, wrongCode(code), how...).is(400, "INVALID_CODE")
		}
		w.confirmPhone(number, code, how...).is(200, "")
		code = w.phoneCode(number, how...)
		for range 5 {
			w.confirmPhone(number, wrongCode(code), how...).is(400, "INVALID_CODE")
		}
		w.confirmPhone(number, code, how...).is(400, "INVALID_CODE")
		for _, none := range []string{"None", "null", "0", code} { // where there is no code, no word stands for it
			w.confirmPhone("+4989123456", none, how...).is(400, "INVALID_CODE")
		}
	}
}

// A new code brings no new budget, nor does a new session, another address or another number.
func TestD02_ABudgetAcrossCodes(t *testing.T) {
	for name, own := range map[string]bool{"ann": true, "nobody": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, anyPhone, options{api: func(c *userapi.Config) {
				c.Limits = userapi.Limits{userapi.LimitConfirm: {{Max: 10, Window: time.Hour, Per: userapi.PerAccount}}}
			}})
			how := func(i int) []set {
				from := func(r *hr) { r.RemoteAddr = fmt.Sprintf("203.0.113.%d:1", i+1) }
				if own {
					return []set{from, w.as("ann")}
				}
				return []set{from}
			}
			code := ""
			for i := range 10 {
				if i%4 == 0 {
					code = w.phoneCode(number, how(i)...)
				}
				w.confirmPhone(number, wrongCode(code), how(i)...).is(400, "INVALID_CODE")
			}
			code = w.phoneCode(number, how(20)...)
			a := w.confirmPhone(number, code, how(21)...).is(429, "RATE_LIMITED")
			assert.Equal(t, "3600", a.Header().Get("Retry-After"))
			w.clock.advance(time.Hour)
			w.confirmPhone(number, w.phoneCode(number, how(22)...), how(22)...).is(200, "")
		})
	}
}

func TestD04_CodesEndAfterTenMinutes(t *testing.T) {
	w := newWorld(t, sending)
	code := w.phoneCode(number, w.as("ann"))
	w.clock.advance(10 * time.Minute)
	w.confirmPhone(number, code, w.as("ann")).is(400, "INVALID_CODE")
	code = w.phoneCode(number, w.as("ann"))
	w.clock.advance(10*time.Minute - time.Millisecond)
	w.confirmPhone(number, code, w.as("ann")).is(200, "")
}

// fixedCodes generates one code.
type fixedCodes struct{ userapi.Generator }

func (fixedCodes) Code(userapi.Purpose) (userapi.Secret, error) { return "00a1b2", nil }

func TestD13_CodesAsTheyAreTyped(t *testing.T) {
	w := newWorld(t, sending, options{api: func(c *userapi.Config) { c.Verification.Generator = fixedCodes{} }})
	ann := w.as("ann")
	for _, typed := range []string{"00a1b2", "00A1B2", " 00 a1 b2 ", "00-A1-B2", "００ａ１ｂ２", "00\u2013a1\u00a0b2", "00a1b2\n"} {
		w.phoneCode(number, ann)
		w.confirmPhone(number, typed, ann).is(200, "")
	}
	w.phoneCode(number, ann)
	for _, typed := range []string{"٠٠a١b٢", "0a1b2", "000a1b2", " ", strings.Repeat("0", 10_000)} { // each is a try
		w.confirmPhone(number, typed, ann).is(400, "INVALID_CODE")
	}
	w.confirmPhone(number, "00a1b2", ann).is(400, "INVALID_CODE")
}

// Row 71: numbers of the tests of clients.
func TestExemptPhones(t *testing.T) {
	w := newWorld(t, sending, options{api: func(c *userapi.Config) {
		c.Verification.Development, c.Verification.ExemptPhones = true, map[string]userapi.Secret{"+4915112345678": "1111"}
	}})
	ann := w.as("ann")
	w.do("POST", "/verification/phone", object{"phone": "+49 151 12345678"}, ann).is(200, "")
	assert.Empty(t, w.delivered())
	w.confirmPhone("+4915112345678", "1111", w.as("bob")).is(400, "INVALID_CODE")
	w.confirmPhone("+4915112345678", "1111", ann).is(200, "")
	w.confirmPhone("+12025550123", "1111", ann).is(400, "INVALID_CODE")
}

// unserved refuses numbers before they cost anything.
type unserved struct{ *mailbox }

func (unserved) Serves(number string) bool { return strings.HasPrefix(number, "+49") }

func TestJ06_NumbersThatAreNotServed(t *testing.T) {
	w := newWorld(t, anyPhone, options{api: func(c *userapi.Config) { c.Verification.SMS = unserved{c.Verification.SMS.(*mailbox)} }})
	a := w.do("POST", "/verification/phone", object{"phone": "+882161234567"}).is(422, "INVALID_PHONE")
	assert.Equal(t, []string{"phone"}, keys(a.payload()))
	assert.Empty(t, w.delivered())
	w.confirmPhone(number, w.phoneCode(number)).is(200, "")
}

func TestJ07_NumbersAreWrittenToSeldom(t *testing.T) {
	w := newWorld(t, anyPhone, options{api: func(c *userapi.Config) { c.Limits = nil }})
	ask := func(phone string, how ...set) *answer {
		return w.do("POST", "/verification/phone", object{"phone": phone}, how...)
	}
	sent := 0
	for i := range 24 { // three callers, one number
		how := [][]set{nil, {w.as("ann")}, {w.as("bob")}}[i%3]
		if a := ask(number, how...); a.Code == 200 {
			sent++
			ask("0"+number[3:], how...).is(422, "INVALID_PHONE")
			assert.Equal(t, "RATE_LIMITED", ask("+49 30 901820", w.as("service")).text("error_code"))
		}
		w.clock.advance(time.Minute)
	}
	assert.Equal(t, 10, sent)
	ask("+4989123456").is(200, "")
}

func TestE06_OneCallerAsksForFewNumbers(t *testing.T) {
	w := newWorld(t, anyPhone, options{api: func(c *userapi.Config) { c.Limits = nil }})
	count := map[int]int{}
	for i := range 40 {
		count[w.do("POST", "/verification/phone", object{"phone": fmt.Sprintf("+49301000%02d", i)}).Code]++
	}
	assert.Equal(t, map[int]int{200: 30, 429: 10}, count)
	w.do("POST", "/verification/phone", object{"phone": number}, func(r *hr) { r.RemoteAddr = "203.0.113.1:1" }).is(200, "")
}
