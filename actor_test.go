package userapi_test

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
)

// actors are the kinds of caller, each in a world of its own where all that the calls name is Ann's.
var actors = []struct {
	name string
	make func(w *cast) userapi.Actor
}{
	{"the zero Actor", func(*cast) userapi.Actor { return userapi.Actor{} }},
	{"anonymous", func(*cast) userapi.Actor { return anonymous() }},
	{"lacks a second factor", func(w *cast) userapi.Actor {
		w.user("default", "second", userapi.RoleAdmin)
		_, a := w.start("second", userapi.StepSecondFactor)
		return a
	}},
	{"lacks a new password", func(w *cast) userapi.Actor {
		u := w.user("default", "third", userapi.RoleAdmin)
		_, _, err := w.Users.Change(ctx, userapi.System(), u.ID, userapi.UserChange{MustChangePassword: ptr(true)})
		require.NoError(w.t, err)
		_, a := w.start("third", userapi.StepNewPassword)
		return a
	}},
	{"Ann's key without scopes", func(w *cast) userapi.Actor { return w.byKey(w.ann.ID) }},
	{"Ann's key", func(w *cast) userapi.Actor { return w.byKey(w.ann.ID, userapi.ScopeFull) }},
	{"Ann", func(w *cast) userapi.Actor { _, a := w.login("ann", password); return a }},
	{"somebody else", func(w *cast) userapi.Actor { w.user("default", "bob"); _, a := w.login("bob", password); return a }},
	{"a service", func(w *cast) userapi.Actor {
		w.user("default", "robot", userapi.RoleService)
		_, a := w.login("robot", password)
		return a
	}},
	{"an admin elsewhere", func(w *cast) userapi.Actor {
		w.user("elsewhere", "eve", userapi.RoleAdmin)
		_, a := w.login("eve", password)
		return a
	}},
	{"an admin", func(w *cast) userapi.Actor { _, a := w.login("admin", password); return a }},
	{"System", func(*cast) userapi.Actor { return userapi.System().From("192.0.2.1", "test") }},
}

// cast is a world with Ann in it, and what is hers.
type cast struct {
	*office
	ann     userapi.User
	session string
	keyID   string
	put     userapi.Credential
	tokens  userapi.Tokens
}

func (w *cast) byKey(owner string, scopes ...string) userapi.Actor {
	_, secret := w.key(userapi.System(), owner, "actor", scopes...)
	return w.keyHolds(w.API, secret).Actor()
}

func newCast(t *testing.T) *cast {
	t.Helper()
	_, factor := withFactor("second")
	w := &cast{office: newOffice(t, func(c *userapi.Config) {
		factor(c)
		c.Verification.AnonymousPhone = true
		c.External, c.Memberships.Levels = userapi.ExternalAuto, []string{"reader"}
		c.Memberships.Owns = func(_ context.Context, customer, _, _ string) (bool, error) { return customer == "default", nil }
		c.Grants = map[string]int64{userapi.GrantAPIKeys: 9}
	})}
	w.customer("elsewhere", 0)
	w.role("boss")
	w.ann = w.user("default", "ann")
	w.tokens, _ = w.login("ann", password)
	id, err := w.Auth.Authenticate(ctx, string(w.tokens.Access))
	require.NoError(t, err)
	w.session = id.SessionID()
	k, _ := w.key(userapi.System(), w.ann.ID, "key")
	w.keyID = k.ID
	_, err = w.Memberships.Set(ctx, userapi.System(), on("1", w.ann, "reader"))
	require.NoError(t, err)
	require.NoError(t, w.Grants.Set(ctx, userapi.System(), w.ann.ID, userapi.GrantAPIKeys, 8, time.Time{}))
	w.put, err = w.Credentials.Put(ctx, userapi.System(), userapi.Credential{UserID: w.ann.ID, Kind: "totp", Key: "k"}, "")
	require.NoError(t, err)
	return w
}

// only drops what a call gives besides its error.
func only[T any](_ T, err error) error { return err }

func only2[T, U any](_ T, _ U, err error) error { return err }

// calls are all methods that take an Actor, and how each answers the actors, in their order: . none of the errors below, z the
// zero Actor, c no credentials, 2 and p a step is missing, f forbidden, n not found, s a scope is missing, m the role on a resource,
// x another error, because the call makes no sense.
var calls = map[string]struct {
	answers string
	call    func(w *cast, a userapi.Actor) error
}{
	"Audit.Denied": {"zc2p.......f", func(w *cast, a userapi.Actor) error { return w.Audit.Denied(ctx, a, "GET /") }},
	"Audit.List": {"zc2p...ff...", func(w *cast, a userapi.Actor) error {
		return only(w.Audit.List(ctx, a, userapi.EventQuery{UserID: w.ann.ID}))
	}},
	"Audit.Prune":          {"zc2pfffffff.", func(w *cast, a userapi.Actor) error { return only(w.Audit.Prune(ctx, a, w.clock.Now())) }},
	"Auth.Activate":        {"zx2pxxxxxxxx", func(w *cast, a userapi.Actor) error { return only(w.Auth.Activate(ctx, a, "none", password)) }},
	"Auth.AuthenticateKey": {"zx2pxxxxxxxx", func(w *cast, a userapi.Actor) error { return only(w.Auth.AuthenticateKey(ctx, a, "none")) }},
	"Auth.CompleteLogin":   {"zf.pffffffff", func(w *cast, a userapi.Actor) error { return only2(w.Auth.CompleteLogin(ctx, a, "otp", says(true))) }},
	"Auth.IssueTokens":     {"zc2pfffffff.", func(w *cast, a userapi.Actor) error { return only2(w.Auth.IssueTokens(ctx, a, w.ann.ID, "sso")) }},
	"Auth.Login": {"z.2p........", func(w *cast, a userapi.Actor) error {
		return only2(w.Auth.Login(ctx, a, userapi.LoginRequest{Identifier: "ann", Password: password}))
	}},
	"Auth.LoginExternal": {"z.2p........", func(w *cast, a userapi.Actor) error {
		return only2(w.Auth.LoginExternal(ctx, a, identity("1", "new@example.com")))
	}},
	"Auth.Logout":          {"z.2p........", func(w *cast, a userapi.Actor) error { return w.Auth.Logout(ctx, a, w.tokens.Refresh) }},
	"Auth.Refresh":         {"z.2p........", func(w *cast, a userapi.Actor) error { return only(w.Auth.Refresh(ctx, a, w.tokens.Refresh)) }},
	"Auth.TrySecondFactor": {"zc2pff.....f", func(w *cast, a userapi.Actor) error { return w.Auth.TrySecondFactor(ctx, a, says(true)) }},

	"Contacts.ConfirmEmail": {"zx2psxxxxxxx", func(w *cast, a userapi.Actor) error { return only2(w.Contacts.ConfirmEmail(ctx, a, "none")) }},
	"Contacts.ConfirmPhone": {"zx2psxxxxxxf", func(w *cast, a userapi.Actor) error {
		return only(w.Contacts.ConfirmPhone(ctx, a, "+4930901820", "000000"))
	}},
	"Contacts.RequestEmail": {"zc2ps.....xf", func(w *cast, a userapi.Actor) error { return w.Contacts.RequestEmail(ctx, a, userapi.EmailRequest{}) }},
	"Contacts.RequestPhone": {"z.2ps......f", func(w *cast, a userapi.Actor) error {
		return w.Contacts.RequestPhone(ctx, a, userapi.PhoneRequest{Phone: "+4930901820"})
	}},

	"Credentials.Delete": {"zc2pfffffff.", func(w *cast, a userapi.Actor) error { return w.Credentials.Delete(ctx, a, w.put, "") }},
	"Credentials.Find":   {"zc2pfffffff.", func(w *cast, a userapi.Actor) error { return only(w.Credentials.Find(ctx, a, "totp", "k")) }},
	"Credentials.Of":     {"zc2pfffffff.", func(w *cast, a userapi.Actor) error { return only(w.Credentials.Of(ctx, a, w.ann.ID, "totp")) }},
	"Credentials.Put":    {"zc2pfffffff.", func(w *cast, a userapi.Actor) error { return only(w.Credentials.Put(ctx, a, w.put, "")) }},

	"Customers.ByID": {"zc2pfffffff.", func(w *cast, a userapi.Actor) error { return only(w.Customers.ByID(ctx, a, "default")) }},
	"Customers.Change": {"zc2pfffffff.", func(w *cast, a userapi.Actor) error {
		return only(w.Customers.Change(ctx, a, userapi.Customer{ID: "default"}))
	}},
	"Customers.Create": {"zc2pfffffff.", func(w *cast, a userapi.Actor) error {
		return only(w.Customers.Create(ctx, a, userapi.Customer{Name: "new"}))
	}},
	"Customers.List": {"zc2pfffffff.", func(w *cast, a userapi.Actor) error { return only(w.Customers.List(ctx, a, "", 10)) }},

	"Grants.Delete": {"zc2pfffffff.", func(w *cast, a userapi.Actor) error { return w.Grants.Delete(ctx, a, w.ann.ID, userapi.GrantAPIKeys) }},
	"Grants.List":   {"zc2p...ffn..", func(w *cast, a userapi.Actor) error { return only(w.Grants.List(ctx, a, w.ann.ID)) }},
	"Grants.Set": {"zc2pfffffff.", func(w *cast, a userapi.Actor) error {
		return w.Grants.Set(ctx, a, w.ann.ID, userapi.GrantAPIKeys, 7, time.Time{})
	}},
	"Grants.Value": {"zc2p...ffn..", func(w *cast, a userapi.Actor) error {
		return only(w.Grants.Value(ctx, a, w.ann.ID, userapi.GrantAPIKeys))
	}},

	"Keys.ByID": {"zc2pff.nnn..", func(w *cast, a userapi.Actor) error { return only(w.Keys.ByID(ctx, a, w.keyID)) }},
	"Keys.Change": {"zc2pff.nnn..", func(w *cast, a userapi.Actor) error {
		return only(w.Keys.Change(ctx, a, w.keyID, userapi.APIKeyChange{}))
	}},
	"Keys.Create": {"zc2pff.ffn..", func(w *cast, a userapi.Actor) error {
		return only2(w.Keys.Create(ctx, a, w.ann.ID, userapi.NewAPIKey{Name: "new"}))
	}},
	"Keys.Delete": {"zc2pff.nnn..", func(w *cast, a userapi.Actor) error { return w.Keys.Delete(ctx, a, w.keyID) }},
	"Keys.List":   {"zc2pff.ffn..", func(w *cast, a userapi.Actor) error { return only(w.Keys.List(ctx, a, w.ann.ID)) }},

	"Memberships.Check":          {"zc2p...mmmm.", func(w *cast, a userapi.Actor) error { return w.Memberships.Check(ctx, a, "doc", "1", "reader") }},
	"Memberships.DeleteResource": {"zc2pfffffff.", func(w *cast, a userapi.Actor) error { return w.Memberships.DeleteResource(ctx, a, "doc", "1") }},
	"Memberships.Get":            {"zc2p...ffn..", func(w *cast, a userapi.Actor) error { return only(w.Memberships.Get(ctx, a, w.ann.ID, "doc", "1")) }},
	"Memberships.Level":          {"zc2p.......f", func(w *cast, a userapi.Actor) error { return only(w.Memberships.Level(ctx, a, "doc", "1")) }},
	"Memberships.OfResource":     {"zc2pfffffn..", func(w *cast, a userapi.Actor) error { return only(w.Memberships.OfResource(ctx, a, "doc", "1", 0, "")) }},
	"Memberships.OfUser":         {"zc2p...ffn..", func(w *cast, a userapi.Actor) error { return only(w.Memberships.OfUser(ctx, a, w.ann.ID, 0, "")) }},
	"Memberships.Remove":         {"zc2pfffffn..", func(w *cast, a userapi.Actor) error { return w.Memberships.Remove(ctx, a, w.ann.ID, "doc", "1") }},
	"Memberships.Roles":          {"zc2p...ffn..", func(w *cast, a userapi.Actor) error { return only(w.Memberships.Roles(ctx, a, w.ann.ID)) }},
	"Memberships.Set":            {"zc2pfffffn..", func(w *cast, a userapi.Actor) error { return only(w.Memberships.Set(ctx, a, on("1", w.ann, "reader"))) }},

	"Passwords.Change": {"zc2.s......f", func(w *cast, a userapi.Actor) error { return only2(w.Passwords.Change(ctx, a, password, another)) }},
	"Passwords.RequestReset": {"z.2p........", func(w *cast, a userapi.Actor) error {
		return w.Passwords.RequestReset(ctx, a, userapi.ResetRequest{Identifier: "ann"})
	}},
	"Passwords.Reset": {"zx2pxxxxxxxx", func(w *cast, a userapi.Actor) error { return w.Passwords.Reset(ctx, a, "none", password) }},
	"Passwords.Set": {"zc2ps..f.n..", func(w *cast, a userapi.Actor) error {
		return only2(w.Passwords.Set(ctx, a, w.ann.ID, another, password))
	}},
	"Passwords.SetByIdentifier": {"zc2ps..ffn..", func(w *cast, a userapi.Actor) error {
		return only2(w.Passwords.SetByIdentifier(ctx, a, "ann", another, password))
	}},

	"Roles.ByCode": {"zc2pfffff...", func(w *cast, a userapi.Actor) error { return only(w.Roles.ByCode(ctx, a, "boss")) }},
	"Roles.Create": {"zc2pfffff...", func(w *cast, a userapi.Actor) error { return only(w.Roles.Create(ctx, a, userapi.Role{Code: "new"})) }},
	"Roles.Delete": {"zc2pfffff...", func(w *cast, a userapi.Actor) error { return w.Roles.Delete(ctx, a, "boss") }},
	"Roles.List":   {"zc2pfffff...", func(w *cast, a userapi.Actor) error { return only(w.Roles.List(ctx, a, 0, 0)) }},
	"Roles.Rename": {"zc2pfffff...", func(w *cast, a userapi.Actor) error { return only(w.Roles.Rename(ctx, a, "boss", "Boss")) }},

	"Sessions.End":       {"zc2p...ffn..", func(w *cast, a userapi.Actor) error { return w.Sessions.End(ctx, a, w.ann.ID, w.session) }},
	"Sessions.EndAll":    {"zc2p...ffn..", func(w *cast, a userapi.Actor) error { return w.Sessions.EndAll(ctx, a, w.ann.ID) }},
	"Sessions.List":      {"zc2p...ffn..", func(w *cast, a userapi.Actor) error { return only(w.Sessions.List(ctx, a, w.ann.ID)) }},
	"Sessions.RevokeAll": {"zc2pfffffff.", func(w *cast, a userapi.Actor) error { return w.Sessions.RevokeAll(ctx, a) }},

	"Users.ByEmail":    {"zc2pffff.n..", func(w *cast, a userapi.Actor) error { return only(w.Users.ByEmail(ctx, a, "ann@example.com")) }},
	"Users.ByID":       {"zc2p...f.n..", func(w *cast, a userapi.Actor) error { return only(w.Users.ByID(ctx, a, w.ann.ID)) }},
	"Users.ByUsername": {"zc2pffff.n..", func(w *cast, a userapi.Actor) error { return only(w.Users.ByUsername(ctx, a, "ann")) }},
	"Users.Change": {"zc2ps..f.n..", func(w *cast, a userapi.Actor) error {
		return only2(w.Users.Change(ctx, a, w.ann.ID, userapi.UserChange{Username: ptr("anna")}))
	}},
	"Users.Create": {"zc2pfffff...", func(w *cast, a userapi.Actor) error {
		n := userapi.NewUser{Username: "new"}
		if a == userapi.System().From("192.0.2.1", "test") {
			n.CustomerID = "default"
		}
		return only(w.Users.Create(ctx, a, n))
	}},
	"Users.Deactivate": {"zc2pfffffn..", func(w *cast, a userapi.Actor) error { return only(w.Users.Deactivate(ctx, a, w.ann.ID)) }},
	"Users.Delete":     {"zc2pfffffn..", func(w *cast, a userapi.Actor) error { return w.Users.Delete(ctx, a, w.ann.ID) }},
	"Users.Data":       {"zc2p...ffn..", func(w *cast, a userapi.Actor) error { return only(w.Users.Data(ctx, a, w.ann.ID)) }},
	"Users.DeleteSelf": {"zc2pff...xxf", func(w *cast, a userapi.Actor) error { return w.Users.DeleteSelf(ctx, a, password) }},
	"Users.List":       {"zc2pfffff...", func(w *cast, a userapi.Actor) error { return only(w.Users.List(ctx, a, userapi.UserQuery{})) }},
	"Users.Register": {"z.2p........", func(w *cast, a userapi.Actor) error {
		return only2(w.Users.Register(ctx, a, userapi.SelfRegistration{Email: "new@example.com", Password: password}))
	}},
	"Users.SendActivation": {"zc2pfffffnxx", func(w *cast, a userapi.Actor) error { return w.Users.SendActivation(ctx, a, w.ann.ID) }},
}

func answerOf(err error) string {
	for _, known := range []struct {
		err    error
		letter string
	}{
		{userapi.ErrNoCredentials, "c"}, {userapi.ErrSecondFactorRequired, "2"}, {userapi.ErrNewPasswordRequired, "p"}, {userapi.ErrForbidden, "f"},
		{userapi.ErrNotFound, "n"}, {userapi.ErrScopeMissing, "s"}, {userapi.ErrRoleMissing, "m"},
	} {
		if errors.Is(err, known.err) {
			return known.letter
		}
	}
	switch {
	case err == nil:
		return "."
	case userapi.AsError(err).Kind == userapi.Internal && strings.Contains(err.Error(), "zero Actor"):
		return "z"
	}
	return "x"
}

// H03: every method there is answers every kind of caller as its comment says, and a new one has to be put here.
func TestActor_H03_every_method_by_every_kind_of_caller(t *testing.T) {
	actor := reflect.TypeFor[userapi.Actor]()
	nouns := reflect.TypeFor[userapi.API]()
	listed := maps.Clone(calls)
	for i := range nouns.NumField() {
		noun := nouns.Field(i)
		if !noun.IsExported() {
			continue
		}
		for j := range noun.Type.NumMethod() {
			m := noun.Type.Method(j)
			if m.Type.NumIn() > 2 && m.Type.In(2) == actor {
				name := noun.Name + "." + m.Name
				_, known := calls[name]
				assert.True(t, known, "%s has to be put here", name)
				delete(listed, name)
			}
		}
	}
	assert.Empty(t, listed, "there is no such method")
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		c := calls[name]
		got := ""
		for _, a := range actors {
			w := newCast(t)
			got += answerOf(c.call(w, a.make(w)))
		}
		assert.Equal(t, c.answers, got, name)
	}
}

// transaction passes for one of the host's.
type transaction struct{ userapi.Store }

func (tx transaction) Base() userapi.Store { return tx.Store }

// Inside a transaction of the host nothing is issued, checked or counted: it may be rolled back.
func TestWithStore_what_is_refused_in_a_transaction(t *testing.T) {
	var refused []string
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		inTx := false
		for _, a := range actors {
			w := newCast(t)
			actor := a.make(w)
			w.API = w.WithStore(transaction{w.store})
			inTx = errors.Is(calls[name].call(w, actor), userapi.ErrInTx) || inTx
		}
		if inTx {
			refused = append(refused, name)
		}
	}
	assert.Equal(t, []string{
		"Auth.Activate", "Auth.AuthenticateKey", "Auth.CompleteLogin", "Auth.IssueTokens", "Auth.Login", "Auth.LoginExternal", "Auth.Logout", "Auth.Refresh",
		"Auth.TrySecondFactor", "Contacts.ConfirmEmail", "Contacts.ConfirmPhone", "Contacts.RequestEmail", "Contacts.RequestPhone", "Passwords.Change",
		"Passwords.RequestReset", "Passwords.Reset", "Passwords.Set", "Passwords.SetByIdentifier", "Users.DeleteSelf", "Users.Register", // what takes the current password: where it is given
	}, refused)
}
