package totp_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
)

func TestFlow_FromEnrolmentToSwitchingOff(t *testing.T) {
	onEveryStore(t, fromEnrolmentToSwitchingOff)
}

func fromEnrolmentToSwitchingOff(t *testing.T, open handles) {
	w := newWorld(t, open)
	session := w.as("ann")
	off := object{"enabled": false, "recovery_codes_left": 0.0, "created_at": nil}
	assert.Equal(t, off, w.do("GET", "/totp", nil, session).is(200, "").JSON)

	begun := w.do("POST", "/totp/enrol", nil, session).is(200, "")
	secret := begun.text("secret")
	app := w.scan(secret)
	assert.Equal(t, "otpauth://totp/Acme%20%26%20S%C3%B6hne:ann%40acme.example?secret="+secret+"&issuer=Acme%20%26%20S%C3%B6hne&algorithm=SHA1&digits=6&period=30", begun.text("uri"))
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(begun.text("qr"), "data:image/png;base64,"))
	require.NoError(t, err)
	_, err = png.Decode(bytes.NewReader(raw))
	require.NoError(t, err)
	assert.Equal(t, off, w.do("GET", "/totp", nil, session).JSON)
	w.as("ann") // a pending enrolment is not asked for

	w.do("POST", "/totp/confirm", object{"code": app.wrong()}, session).is(400, "INVALID_CODE")
	assert.Empty(t, w.told("ann"))
	confirmed := w.now()
	recovery := w.do("POST", "/totp/confirm", object{"code": app.code()}, session).is(200, "").codes()
	assert.Equal(t, []userapi.Notice{userapi.NoticeSecondFactorOn}, w.told("ann"))
	on := object{"enabled": true, "recovery_codes_left": 10.0, "created_at": confirmed.Format("2006-01-02T15:04:05.000Z")}
	assert.Equal(t, on, w.do("GET", "/totp", nil, session).is(200, "").JSON, "the session goes on")

	w.complete("ann", app.code()).is(400, "INVALID_CODE") // the code of the enrolment is used up
	w.advance(30 * time.Second)
	half := w.started("ann")
	w.do("GET", "/totp", nil, half).is(403, "SECOND_FACTOR_REQUIRED")
	w.do("POST", "/totp/login", object{"code": app.wrong()}, half).is(400, "INVALID_CODE")
	in := w.do("POST", "/totp/login", object{"code": app.code()}, half).is(200, "")
	assert.Equal(t, "ann@acme.example", in.text("email"))
	assert.Empty(t, in.text("step"))
	assert.Equal(t, []string{"pwd", "otp"}, methods(t, in.text("access_token")))
	w.do("GET", "/auth/whoami", nil, bearer(in.text("access_token"))).is(200, "")
	w.do("POST", "/totp/login", object{"code": recovery[0]}, half).is(401, "TOKEN_REVOKED")
	next := w.do("POST", "/auth/refresh", object{"refresh_token": in.text("refresh_token")}).is(200, "")
	assert.Equal(t, []string{"pwd", "otp"}, methods(t, next.text("access_token")), "a refresh keeps how they proved who they are")

	w.complete("ann", app.code()).is(400, "INVALID_CODE") // a replay
	w.complete("ann", app.at(w.now().Add(-30*time.Second))).is(400, "INVALID_CODE")
	w.complete("ann", app.at(w.now().Add(30*time.Second))).is(200, "") // a phone that is ahead
	w.complete("ann", app.code()).is(400, "INVALID_CODE")              // older than one that was used

	by := w.complete("ann", strings.ToLower(strings.ReplaceAll(recovery[3], "-", " "))).is(200, "")
	assert.Equal(t, []string{"pwd", "otp"}, methods(t, by.text("access_token")))
	w.complete("ann", recovery[3]).is(400, "INVALID_CODE")
	w.complete("ann", recovery[4]).is(200, "") // the others are still good
	session = bearer(by.text("access_token"))
	assert.EqualValues(t, 8, w.do("GET", "/totp", nil, session).JSON["recovery_codes_left"])

	w.do("POST", "/totp/recovery", object{"code": recovery[4]}, session).is(400, "INVALID_CODE")
	fresh := w.do("POST", "/totp/recovery", object{"code": recovery[5]}, session).is(200, "").codes()
	w.complete("ann", recovery[6]).is(400, "INVALID_CODE") // the former are void
	w.complete("ann", fresh[0]).is(200, "")
	assert.Empty(t, w.told("ann"))

	w.do("DELETE", "/totp", object{"code": recovery[6]}, session).is(400, "INVALID_CODE")
	w.do("DELETE", "/totp", nil, session).is(415, "WRONG_PAYLOAD_FORMAT")
	w.advance(time.Minute)
	assert.Equal(t, off, w.do("DELETE", "/totp", object{"code": app.code()}, session).is(200, "").JSON)
	assert.Equal(t, []userapi.Notice{userapi.NoticeSecondFactorOff}, w.told("ann"))
	w.as("ann")
	kept, err := w.store.CredentialsOf(t.Context(), w.ids["ann"], "")
	require.NoError(t, err)
	assert.Empty(t, kept)
	w.do("DELETE", "/totp", object{"code": fresh[1]}, session).is(400, "INVALID_CODE")
}

func TestEnrolment_waits_ten_minutes_and_gives_way_to_the_next(t *testing.T) {
	w := newWorld(t, onMemory(t))
	session := w.as("ann")
	w.do("POST", "/totp/confirm", object{"code": "000000"}, session).is(400, "INVALID_CODE") // none is under way
	first := w.scan(w.do("POST", "/totp/enrol", nil, session).is(200, "").text("secret"))
	second := w.scan(w.do("POST", "/totp/enrol", nil, session).is(200, "").text("secret"))
	w.do("POST", "/totp/confirm", object{"code": first.code()}, session).is(400, "INVALID_CODE")
	w.advance(10 * time.Minute)
	w.do("POST", "/totp/confirm", object{"code": second.code()}, session).is(400, "INVALID_CODE")
	session = w.as("ann")
	third := w.scan(w.do("POST", "/totp/enrol", nil, session).is(200, "").text("secret"))
	w.advance(10*time.Minute - time.Millisecond)
	w.do("POST", "/totp/confirm", object{"code": third.code()}, session).is(200, "").codes()
	w.do("POST", "/totp/confirm", object{"code": third.at(w.now().Add(30 * time.Second))}, session).is(400, "INVALID_CODE") // once
}

func TestEnrolment_B13_takes_a_fresh_session(t *testing.T) {
	w := newWorld(t, onMemory(t))
	in := w.login("ann")
	w.advance(5 * time.Minute)
	next := w.do("POST", "/auth/refresh", object{"refresh_token": in.text("refresh_token")}).is(200, "")
	for _, a := range []*answer{in, next} {
		w.do("POST", "/totp/enrol", nil, bearer(a.text("access_token"))).is(403, "NOT_FRESH")
	}
	app := w.scan(w.do("POST", "/totp/enrol", nil, w.as("ann")).is(200, "").text("secret"))
	w.do("POST", "/totp/confirm", object{"code": app.code()}, bearer(next.text("access_token"))).is(200, "")
}

// A thief of a session, however fresh, has no code, and so neither replaces the phone nor gets at recovery codes.
func TestEnrolment_anew_takes_a_code(t *testing.T) {
	w := newWorld(t, onMemory(t))
	old, recovery := w.enrolled("ann")
	session := bearer(w.complete("ann", old.code()).is(200, "").text("access_token"))
	w.told("ann")
	w.do("POST", "/totp/enrol", nil, session).is(422, "WRONG_DOCUMENT_FORMAT")
	w.do("POST", "/totp/enrol", object{}, session).is(422, "WRONG_DOCUMENT_FORMAT")
	w.do("POST", "/totp/enrol", object{"code": old.code()}, session).is(400, "INVALID_CODE")
	next := w.scan(w.do("POST", "/totp/enrol", object{"code": recovery[0]}, session).is(200, "").text("secret"))
	w.complete("ann", recovery[0]).is(400, "INVALID_CODE")
	w.advance(30 * time.Second)
	w.complete("ann", next.code()).is(400, "INVALID_CODE") // not yet
	w.complete("ann", old.code()).is(200, "")
	w.do("POST", "/totp/confirm", object{"code": old.at(w.now().Add(30 * time.Second))}, session).is(400, "INVALID_CODE")
	anew := w.do("POST", "/totp/confirm", object{"code": next.code()}, session).is(200, "").codes()
	assert.Equal(t, []userapi.Notice{userapi.NoticeSecondFactorOn}, w.told("ann"), "an owner who did not do it has to know")
	w.advance(30 * time.Second)
	w.complete("ann", old.code()).is(400, "INVALID_CODE")
	w.complete("ann", recovery[1]).is(400, "INVALID_CODE")
	w.complete("ann", next.code()).is(200, "")
	w.complete("ann", anew[0]).is(200, "")
}

func TestLogin_D05_codes_are_of_one_user(t *testing.T) {
	w := newWorld(t, onMemory(t))
	ann, hers := w.enrolled("ann")
	bob, his := w.enrolled("bob")
	w.advance(30 * time.Second)
	w.complete("bob", ann.code()).is(400, "INVALID_CODE")
	w.complete("bob", hers[0]).is(400, "INVALID_CODE")
	w.complete("ann", bob.code()).is(400, "INVALID_CODE")
	w.complete("bob", bob.code()).is(200, "")
	w.complete("ann", ann.code()).is(200, "")
	w.complete("bob", his[0]).is(200, "")
	w.complete("ann", hers[0]).is(200, "")
}

// What a user has set moved to another row cannot be opened there.
func TestStored_D11_a_credential_is_bound_to_its_account(t *testing.T) {
	w := newWorld(t, onMemory(t))
	w.enrolled("ann")
	hers, err := w.store.CredentialsOf(t.Context(), w.ids["ann"], "totp")
	require.NoError(t, err)
	require.Len(t, hers, 1)
	require.NoError(t, w.store.PutCredential(t.Context(), userapi.CredentialWrite{
		Credential: userapi.Credential{UserID: w.ids["bob"], Kind: "totp", Key: w.ids["bob"], Data: hers[0].Data}, Event: userapi.Event{ID: "planted", At: w.now()},
	}))
	w.do("POST", "/auth/login", object{"email": "bob@acme.example", "password": password}).is(500, "INTERNAL") // and nobody is let in without a factor
}

func TestStored_D11_neither_data_nor_log_nor_answers_hold_a_secret(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t, onFile(t, dir))
	session := w.as("ann")
	secret := w.do("POST", "/totp/enrol", nil, session).is(200, "").text("secret")
	app := w.scan(secret)
	secrets := w.do("POST", "/totp/confirm", object{"code": app.code()}, session).is(200, "").codes()
	w.advance(30 * time.Second)
	secrets = append(secrets, secret, string(app.key), base64.StdEncoding.EncodeToString(app.key))
	for _, code := range []string{app.code(), secrets[0], "wrong-" + secret} {
		a := w.complete("ann", code)
		assert.NotContains(t, a.Body.String(), code)
	}
	pending := w.do("POST", "/totp/enrol", object{"code": secrets[1]}, bearer(w.complete("ann", secrets[2]).is(200, "").text("access_token"))).is(200, "").text("secret")
	secrets = append(secrets, pending)
	for _, m := range w.mail.Messages() {
		secrets = append(secrets, string(m.Text))
	}
	dump := w.log.Bytes()
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, f := range files {
		raw, err := os.ReadFile(filepath.Join(dir, f.Name()))
		require.NoError(t, err)
		dump = append(dump, raw...)
	}
	require.Contains(t, string(dump), "ann@acme.example", "this is the data")
	for i, s := range secrets {
		assert.False(t, bytes.Contains(dump, []byte(s)) || bytes.Contains(dump, []byte(strings.ReplaceAll(s, "-", ""))), fmt.Sprint("secret ", i))
	}
	assert.NotContains(t, fmt.Sprintf("%+v %#v", w.factor, w.factor), secret)
}

// A server that does not know the secret its credentials were sealed with lets nobody pass for somebody without a second factor.
func TestStored_K_unreadable_fails_closed(t *testing.T) {
	open := onMemory(t)
	w := newWorld(t, open)
	app, recovery := w.enrolled("ann")
	former := func(c *userapi.Config) {
		c.Secret, c.OldSecrets = "another secret of forty characters, all new", []userapi.Secret{c.Secret}
	}
	stranger := w.serve(open(), former, func(c *userapi.Config) { c.OldSecrets = nil })
	w.ask(stranger, "POST", "/auth/login", object{"email": "ann@acme.example", "password": password}).is(500, "INTERNAL")

	rotated := w.serve(open(), former)
	half := bearer(w.ask(rotated, "POST", "/auth/login", object{"email": "ann@acme.example", "password": password}).is(200, "").text("access_token"))
	w.ask(rotated, "POST", "/totp/login", object{"code": app.code()}, half).is(200, "")
	half = bearer(w.ask(stranger, "POST", "/auth/login", object{"email": "ann@acme.example", "password": password}).is(200, "").text("access_token"))
	w.ask(stranger, "POST", "/totp/login", object{"code": recovery[0]}, half).is(200, "") // sealed anew when it was used
}

func TestLogin_a_password_that_has_to_be_changed_comes_after_the_code(t *testing.T) {
	w := newWorld(t, onMemory(t))
	app, _ := w.enrolled("ann")
	yes := true
	_, _, err := w.api.Users.Change(t.Context(), userapi.System(), w.ids["ann"], userapi.UserChange{MustChangePassword: &yes})
	require.NoError(t, err)
	in := w.complete("ann", app.code()).is(200, "")
	require.Equal(t, "new_password", in.text("step"))
	require.Empty(t, in.text("refresh_token"))
	half := bearer(in.text("access_token"))
	w.do("GET", "/totp", nil, half).is(403, "NEW_PASSWORD_REQUIRED")
	w.do("POST", "/totp/login", object{"code": "000000"}, half).is(403, "NEW_PASSWORD_REQUIRED")
	done := w.do("POST", "/password/change", object{"old_password": password, "new_password": another}, half).is(200, "")
	assert.Empty(t, done.text("step"))
	w.do("GET", "/totp", nil, bearer(done.text("access_token"))).is(200, "")
}

func TestDisable_is_for_the_host_alone(t *testing.T) {
	w := newWorld(t, onMemory(t))
	w.enrolled("ann")
	w.told("ann")
	ctx := context.Background()
	admin, err := w.api.Auth.Authenticate(ctx, w.login("admin").text("access_token"))
	require.NoError(t, err)
	for name, actor := range map[string]userapi.Actor{"nobody": {}, "anonymous": userapi.Anonymous(), "admin": admin.Actor()} {
		assert.Error(t, w.factor.Disable(ctx, actor, w.ids["ann"]), name)
	}
	assert.ErrorIs(t, w.factor.Disable(ctx, admin.Actor(), w.ids["ann"]), userapi.ErrForbidden)
	assert.ErrorIs(t, w.factor.Disable(ctx, userapi.System(), "nobody"), userapi.ErrNotFound)
	half := w.started("ann")
	for range 2 { // once more is no error, and no news
		require.NoError(t, w.factor.Disable(ctx, userapi.System(), w.ids["ann"]))
	}
	assert.Equal(t, []userapi.Notice{userapi.NoticeSecondFactorOff}, w.told("ann"))
	w.do("POST", "/totp/login", object{"code": "000000"}, half).is(400, "INVALID_CODE")
	w.as("ann")
	required, err := w.factor.Required(ctx, userapi.User{ID: w.ids["ann"]})
	require.NoError(t, err)
	assert.False(t, required)
}

func TestNotices_and_trail_say_where_from(t *testing.T) {
	w := newWorld(t, onMemory(t))
	w.enrolled("ann")
	_, err := w.api.Deliver(t.Context())
	require.NoError(t, err)
	m, ok := w.mail.Last("ann@acme.example")
	require.True(t, ok)
	assert.Equal(t, "192.0.2.1", m.Address, "that of httptest.NewRequest")
}
