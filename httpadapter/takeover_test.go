package httpadapter_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
)

// B13: a change of address that an attacker asked for before the owner proved the mailbox must not outlive the proof.
func TestB13_AChangeAskedForBeforeTheProof(t *testing.T) {
	onEveryStore(t, aChangeAskedForBeforeTheProof)
}

func aChangeAskedForBeforeTheProof(t *testing.T, on options) {
	w := newWorld(t, open, sending, on)
	in := w.do("POST", "/users", object{"email": "victim@acme.example", "password": "the attacker's phrase"}).is(201, "")
	attacker := bearer(in.text("access_token"))
	change := w.emailToken(attacker, "mallory@evil.example")
	mailed := w.emailToken(attacker, "victim@acme.example")
	w.do("POST", "/verification/email/confirm", object{"token": mailed}).is(200, "")
	w.do("POST", "/verification/email/confirm", object{"token": change}).is(400, "INVALID_TOKEN")
	w.do("POST", "/auth/login", object{"email": "mallory@evil.example", "password": "the attacker's phrase"}).is(401, "UNAUTHORIZED")
}

// A session that another node has just ended (within Config.Staleness) must not start a change of the address, as it
// must not set a password: the link would hold long after.
func TestA11_AnEndedSessionAsksForNoOtherAddress(t *testing.T) {
	for name, ask := range map[string]func(w *world, own set) *answer{
		"verification": func(w *world, own set) *answer {
			return w.do("POST", "/verification/email", object{"email": "mallory@evil.example"}, own)
		},
		"PATCH": func(w *world, own set) *answer {
			return w.do("PATCH", "/users/current", object{"email": "mallory@evil.example"}, own)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, sending)
			thief := w.as("ann")
			w.do("GET", "/auth/whoami", nil, thief).is(200, "")
			elsewhere, err := userapi.New(userapi.Config{
				Store: w.store, Secret: testSecret, Now: w.clock.now,
				Password: userapi.PasswordPolicy{Argon2id: userapi.Argon2id{MemoryKiB: 64, Passes: 1, Threads: 1}},
			})
			require.NoError(t, err)
			_, _, err = elsewhere.Passwords.Set(t.Context(), userapi.System(), w.ids["ann"], another, "")
			require.NoError(t, err)
			assert.Equal(t, 401, ask(w, thief).Code)
			for _, m := range w.delivered() {
				if m.Purpose == userapi.PurposeEmailChange {
					assert.NotEqual(t, 200, w.do("POST", "/verification/email/confirm", object{"token": string(m.Token)}).Code, "the account is the thief's")
				}
			}
		})
	}
}
