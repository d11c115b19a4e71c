package userapi_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
)

func TestCredentials_are_sealed_and_bound_to_their_account(t *testing.T) {
	w := newWorld(t, nil)
	anna, bob := w.user("default", "anna"), w.user("default", "bob")
	cred := userapi.Credential{UserID: anna.ID, Kind: "totp", Key: anna.ID, Data: []byte("a secret of the feature's")}
	put, err := w.Credentials.Put(ctx, userapi.System(), cred, "")
	require.NoError(t, err)
	assert.EqualValues(t, 1, put.Version)
	got, err := w.Credentials.Find(ctx, userapi.System(), "totp", anna.ID)
	require.NoError(t, err)
	assert.Equal(t, put, got)
	all, err := w.Credentials.Of(ctx, userapi.System(), anna.ID, "totp")
	require.NoError(t, err)
	assert.Equal(t, []userapi.Credential{put}, all)

	stored, err := w.store.Credential(ctx, "totp", anna.ID)
	require.NoError(t, err)
	assert.NotContains(t, string(stored.Data), "secret of the feature", "B07: a dump holds nothing")
	moved := stored
	moved.UserID, moved.Key, moved.Version = bob.ID, bob.ID, 0
	require.NoError(t, w.store.PutCredential(ctx, userapi.CredentialWrite{Credential: moved}))
	_, err = w.Credentials.Find(ctx, userapi.System(), "totp", bob.ID)
	assert.Error(t, err, "whoever can write to the database gives nobody another's factor")
	for name, steal := range map[string]func(*userapi.Credential){
		"to another account":       func(c *userapi.Credential) { c.UserID = bob.ID },
		"to another kind":          func(c *userapi.Credential) { c.Kind = "other" },
		"to another of the user's": func(c *userapi.Credential) { c.Key = "other" },
	} {
		moved, back := stored, stored
		steal(&moved)
		require.NoError(t, w.store.DeleteCredential(ctx, userapi.CredentialWrite{Credential: stored}))
		moved.Version, back.Version = 0, 0
		require.NoError(t, w.store.PutCredential(ctx, userapi.CredentialWrite{Credential: moved}))
		_, err = w.Credentials.Find(ctx, userapi.System(), moved.Kind, moved.Key)
		assert.Error(t, err, name)
		moved.Version = 1
		require.NoError(t, w.store.DeleteCredential(ctx, userapi.CredentialWrite{Credential: moved}))
		require.NoError(t, w.store.PutCredential(ctx, userapi.CredentialWrite{Credential: back}))
		_, err = w.Credentials.Find(ctx, userapi.System(), "totp", anna.ID)
		assert.NoError(t, err)
	}
	stored.Data[len(stored.Data)-1] ^= 1
	require.NoError(t, w.store.PutCredential(ctx, userapi.CredentialWrite{Credential: stored}))
	_, err = w.Credentials.Find(ctx, userapi.System(), "totp", anna.ID)
	assert.Error(t, err, "touched")
	_, err = w.Credentials.Of(ctx, userapi.System(), anna.ID, "totp")
	assert.Error(t, err)
}

func TestCredentials_outlive_a_change_of_the_secret(t *testing.T) {
	w := newWorld(t, nil)
	anna := w.user("default", "anna")
	_, err := w.Credentials.Put(ctx, userapi.System(), userapi.Credential{UserID: anna.ID, Kind: "totp", Key: "k", Data: []byte("data")}, "")
	require.NoError(t, err)
	next := w.second(func(c *userapi.Config) { c.Secret, c.OldSecrets = secret+" anew", []userapi.Secret{secret} })
	got, err := next.Credentials.Find(ctx, userapi.System(), "totp", "k")
	require.NoError(t, err)
	assert.Equal(t, "data", string(got.Data))
	_, err = next.Credentials.Put(ctx, userapi.System(), got, "")
	require.NoError(t, err)
	last := w.second(func(c *userapi.Config) { c.Secret = secret + " anew" })
	_, err = last.Credentials.Find(ctx, userapi.System(), "totp", "k")
	require.NoError(t, err, "sealed anew when it changed")
	_, err = w.Credentials.Find(ctx, userapi.System(), "totp", "k")
	assert.Error(t, err, "by a secret this one does not know")
}

func TestCredentials_are_for_the_host_alone(t *testing.T) {
	w := newWorld(t, nil)
	anna := w.user("default", "anna")
	_, admin := w.login("admin", password)
	cred := userapi.Credential{UserID: anna.ID, Kind: "totp", Key: "k"}
	for want, actor := range map[error]userapi.Actor{userapi.ErrForbidden: admin, userapi.ErrNoCredentials: anonymous()} {
		_, err := w.Credentials.Put(ctx, actor, cred, "")
		assert.ErrorIs(t, err, want)
		_, err = w.Credentials.Find(ctx, actor, "totp", "k")
		assert.ErrorIs(t, err, want)
		_, err = w.Credentials.Of(ctx, actor, anna.ID, "totp")
		assert.ErrorIs(t, err, want)
		assert.ErrorIs(t, w.Credentials.Delete(ctx, actor, cred, ""), want)
	}
	system := userapi.System()
	for field, bad := range map[string]userapi.Credential{
		"kind": {UserID: anna.ID, Kind: "TOTP", Key: "k"}, "key": {UserID: anna.ID, Kind: "totp", Key: strings.Repeat("k", 129)},
		"data": {UserID: anna.ID, Kind: "totp", Key: "k", Data: make([]byte, 8001)},
	} {
		_, err := w.Credentials.Put(ctx, system, bad, "")
		require.ErrorIs(t, err, userapi.ErrInvalid)
		assert.Contains(t, userapi.AsError(err).Fields, field)
	}
	_, err := w.Credentials.Put(ctx, system, userapi.Credential{UserID: "nobody", Kind: "totp", Key: "k"}, "")
	assert.ErrorIs(t, err, userapi.ErrNotFound)
	_, err = w.Credentials.Find(ctx, system, "totp", "k")
	assert.ErrorIs(t, err, userapi.ErrNotFound)
	put, err := w.Credentials.Put(ctx, system, userapi.Credential{UserID: anna.ID, Kind: "totp", Key: "k", Data: make([]byte, 8000)}, "")
	require.NoError(t, err)
	_, err = w.Credentials.Put(ctx, system, userapi.Credential{UserID: anna.ID, Kind: "totp", Key: "k"}, "")
	assert.ErrorIs(t, err, userapi.ErrChanged)
	require.NoError(t, w.Credentials.Delete(ctx, system, put, ""))
	assert.ErrorIs(t, w.Credentials.Delete(ctx, system, put, ""), userapi.ErrChanged)
}

func TestCredentials_A11_are_changed_in_a_session_only_while_it_is_there(t *testing.T) {
	w := newWorld(t, nil)
	anna := w.user("default", "anna")
	tokens, actor := w.login("anna", password)
	id, err := w.Auth.Authenticate(ctx, string(tokens.Access))
	require.NoError(t, err)
	within := userapi.System().Within(actor)
	put, err := w.Credentials.Put(ctx, within, userapi.Credential{UserID: anna.ID, Kind: "totp", Key: "k"}, "")
	require.NoError(t, err)
	events := w.store.Events()
	assert.Equal(t, id.SessionID(), events[len(events)-1].SessionID)
	_, err = w.Credentials.Put(ctx, within, userapi.Credential{UserID: anna.ID, Kind: "totp", Key: "k"}, "")
	assert.ErrorIs(t, err, userapi.ErrChanged, "whose session goes on")
	require.NoError(t, w.Sessions.EndAll(ctx, userapi.System(), anna.ID))
	_, err = w.Credentials.Put(ctx, within, put, "")
	assert.ErrorIs(t, err, userapi.ErrTokenRevoked)
	assert.ErrorIs(t, w.Credentials.Delete(ctx, within, put, ""), userapi.ErrTokenRevoked)
	for _, none := range []userapi.Actor{userapi.System(), anonymous(), {}} {
		put, err = w.Credentials.Put(ctx, userapi.System().Within(none), put, "")
		assert.NoError(t, err)
	}
}

func TestCredentials_owners_are_told(t *testing.T) {
	o := newOffice(t, nil)
	anna := o.proven("anna")
	put, err := o.Credentials.Put(ctx, userapi.System(), userapi.Credential{UserID: anna.ID, Kind: "totp", Key: "k"}, userapi.NoticeSecondFactorOn)
	require.NoError(t, err)
	assert.Equal(t, userapi.NoticeSecondFactorOn, o.receive("anna@example.com", userapi.PurposeNotice).Notice)
	require.NoError(t, o.Credentials.Delete(ctx, userapi.System(), put, userapi.NoticeSecondFactorOff))
	assert.Equal(t, userapi.NoticeSecondFactorOff, o.receive("anna@example.com", userapi.PurposeNotice).Notice)
}

// B13: what somebody put there before the mailbox was proven goes with its first proof, and stays with every other.
func TestCredentials_B13_go_with_the_first_proof_of_the_mailbox(t *testing.T) {
	for name, prove := range map[string]func(o *office, anna userapi.User){
		"reset": func(o *office, anna userapi.User) {
			require.NoError(o.t, o.Passwords.RequestReset(ctx, anonymous(), userapi.ResetRequest{Identifier: "anna"}))
			require.NoError(o.t, o.Passwords.Reset(ctx, anonymous(), o.receive("anna@example.com", userapi.PurposeReset).Token, password))
		},
		"activation": func(o *office, anna userapi.User) {
			_, err := o.Users.Deactivate(ctx, userapi.System(), anna.ID)
			require.NoError(o.t, err)
			require.NoError(o.t, o.Users.SendActivation(ctx, userapi.System(), anna.ID))
			_, err = o.Auth.Activate(ctx, anonymous(), o.receive("anna@example.com", userapi.PurposeActivation).Token, password)
			require.NoError(o.t, err)
		},
		"a mark by the host": func(o *office, anna userapi.User) {
			_, _, err := o.Users.Change(ctx, userapi.System(), anna.ID, userapi.UserChange{EmailVerified: ptr(true)})
			require.NoError(o.t, err)
		},
		"e-mail, by a stranger": func(o *office, anna userapi.User) {
			_, actor := o.login("anna", password)
			require.NoError(o.t, o.Contacts.RequestEmail(ctx, actor, userapi.EmailRequest{}))
			_, _, err := o.Contacts.ConfirmEmail(ctx, anonymous(), o.receive("anna@example.com", userapi.PurposeEmail).Token)
			require.NoError(o.t, err)
		},
	} {
		for _, proven := range []bool{false, true} {
			if proven && name != "reset" {
				continue
			}
			o := newOffice(t, nil)
			anna := o.user("default", "anna")
			if proven {
				_, _, err := o.Users.Change(ctx, userapi.System(), anna.ID, userapi.UserChange{EmailVerified: ptr(true)})
				require.NoError(t, err)
			}
			_, err := o.Credentials.Put(ctx, userapi.System(), userapi.Credential{UserID: anna.ID, Kind: "totp", Key: "k"}, "")
			require.NoError(t, err)
			prove(o, anna)
			left, err := o.Credentials.Of(ctx, userapi.System(), anna.ID, "totp")
			require.NoError(t, err)
			assert.Equal(t, proven, len(left) == 1, name)
		}
	}
	o := newOffice(t, nil)
	anna := o.user("default", "anna")
	_, err := o.Credentials.Put(ctx, userapi.System(), userapi.Credential{UserID: anna.ID, Kind: "totp", Key: "k"}, "")
	require.NoError(t, err)
	_, actor := o.login("anna", password)
	require.NoError(t, o.Contacts.RequestEmail(ctx, actor, userapi.EmailRequest{}))
	_, _, err = o.Contacts.ConfirmEmail(ctx, actor, o.receive("anna@example.com", userapi.PurposeEmail).Token)
	require.NoError(t, err)
	left, err := o.Credentials.Of(ctx, userapi.System(), anna.ID, "totp")
	require.NoError(t, err)
	assert.Len(t, left, 1, "the owner's own session posted the proof")
}
