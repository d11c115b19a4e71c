package userapi_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
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

// stage is a world in which everything is switched on, with anna and an admin who are logged in.
type stage struct {
	*office
	log     bytes.Buffer
	told    []userapi.Event
	factor  *factor
	anna    userapi.User
	tokens  userapi.Tokens
	actor   userapi.Actor
	admin   userapi.Actor
	names   map[string]string // of ids
	secrets []string
	errs    []error
	from    int // where the events of the case begin
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{names: map[string]string{}}
	var wire func(*userapi.Config)
	s.factor, wire = withFactor()
	s.office = newOffice(t, func(c *userapi.Config) {
		wire(c)
		c.External, c.Memberships.Levels = userapi.ExternalAuto, []string{"member"}
		c.Memberships.Owns = func(context.Context, string, string, string) (bool, error) { return true, nil }
		c.Verification.AnonymousPhone = true
		c.Logger = slog.New(slog.NewJSONHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		c.LogEvents = true
		c.Hooks.Event = func(_ context.Context, e userapi.Event) { s.told = append(s.told, e) }
		c.Limits = userapi.Limits{
			userapi.LimitLogin: {{Max: 3, Window: time.Hour, Per: userapi.PerAccount}}, userapi.LimitPassword: {{Max: 3, Window: time.Hour, Per: userapi.PerAccount}},
			userapi.LimitSecondFactor: {{Max: 3, Window: time.Hour, Per: userapi.PerAccount}}, userapi.LimitConfirm: {{Max: 3, Window: time.Hour, Per: userapi.PerAccount}, {Max: 3, Window: time.Hour, Per: userapi.PerAddress}},
			userapi.LimitRefresh: {{Max: 3, Window: time.Hour, Per: userapi.PerAddress}}, userapi.LimitKey: {{Max: 3, Window: time.Hour, Per: userapi.PerAddress}},
		}
	})
	s.anna = s.user("default", "anna")
	s.tokens, s.actor = s.login("anna", password)
	_, s.admin = s.login("admin", password)
	s.names[s.anna.ID], s.names[s.admin.UserID()] = "anna", "admin"
	s.hide(secret, password, another, s.tokens.Access, s.tokens.Refresh, userapi.Secret(s.account("anna").PasswordHash))
	s.begin()
	return s
}

// hide notes what nothing may tell.
func (s *stage) hide(secrets ...userapi.Secret) {
	for _, one := range secrets {
		if one != "" {
			s.secrets = append(s.secrets, string(one))
		}
	}
}

// begin is where what a case is about begins.
func (s *stage) begin() { s.from = len(s.store.Events()) }

func (s *stage) ok(err error) {
	s.t.Helper()
	require.NoError(s.t, err)
}

func (s *stage) fails(err, wanted error) {
	s.t.Helper()
	require.ErrorIs(s.t, err, wanted)
	s.errs = append(s.errs, err)
}

// bob makes a user who is called so in the events.
func (s *stage) bob(roles ...string) userapi.User {
	s.t.Helper()
	u := s.user("default", "bob", roles...)
	s.names[u.ID] = "bob"
	s.begin()
	return u
}

// message is what was sent, and is hidden.
func (s *stage) message(to string, purpose userapi.Purpose) userapi.Message {
	s.t.Helper()
	m := s.receive(to, purpose)
	s.hide(m.Token, m.Code, m.Link)
	return m
}

// left are the events of the case: "kind actor user customer", by name.
func (s *stage) left() []string {
	s.t.Helper()
	name := func(id, none string) string {
		switch {
		case id == "":
			return none
		case s.names[id] != "":
			return s.names[id]
		}
		return "somebody"
	}
	out := []string{}
	for _, e := range s.store.Events()[s.from:] {
		kind := "user"
		if e.ActorID == "" {
			kind = e.ActorKind
		}
		require.Equal(s.t, kind, e.ActorKind)
		customer := e.CustomerID
		if customer == "" {
			customer = "-"
		}
		out = append(out, fmt.Sprintf("%s: %s, %s, %s", e.Kind, name(e.ActorID, e.ActorKind), name(e.UserID, "-"), customer))
	}
	return out
}

// check looks whether what was stored was told, once, and tells no secret, at any level.
func (s *stage) check() {
	s.t.Helper()
	stored := s.store.Events()
	require.Equal(s.t, stored, s.told, "the hook is told of each event once, in order")
	var logged []string
	for line := range strings.Lines(s.log.String()) {
		var entry struct {
			Msg   string
			Event struct{ ID string }
		}
		require.NoError(s.t, json.Unmarshal([]byte(line), &entry))
		if entry.Msg == "event" {
			logged = append(logged, entry.Event.ID)
		}
	}
	require.Equal(s.t, ids(stored), logged, "so is the log")
	kept, err := json.Marshal(stored)
	s.ok(err)
	for _, hidden := range s.secrets {
		for _, text := range []string{hidden, strings.TrimPrefix(hidden, "https://")} {
			require.NotContains(s.t, string(kept), text)
			require.NotContains(s.t, s.log.String(), text)
			for _, err := range s.errs {
				require.NotContains(s.t, err.Error(), text)
			}
		}
	}
}

func ids(events []userapi.Event) []string {
	var out []string
	for _, e := range events {
		out = append(out, e.ID)
	}
	return out
}

// reads are the methods that change nothing worth an event: who looks leaves none.
var reads = []string{
	"Audit.List", "Auth.Authenticate", "Auth.AuthenticateStep", "Auth.FreshWithin", "Auth.OpaqueLogins", "Auth.PublicKeys", "Contacts.AnonymousPhone",
	"Credentials.Find", "Credentials.Of", "Customers.ByID", "Customers.List", "Grants.List", "Grants.Value", "Keys.ByID", "Keys.List", "Keys.Scopes",
	"Memberships.Check", "Memberships.Get", "Memberships.Level", "Memberships.OfResource", "Memberships.OfUser", "Memberships.Roles",
	"Roles.ByCode", "Roles.List", "Sessions.List", "Users.ByEmail", "Users.ByID", "Users.ByUsername", "Users.Data", "Users.List", "Users.RegistrationPolicy",
	"API.Committed", "API.Ping", "API.Run", "API.SecondFactor", "API.WithStore",
	"API.Sweep", // what has expired was over before
}

// acts are all other methods, each as often as there are ways in which it ends, and the events that it leaves.
var acts = map[string]struct {
	do   func(s *stage)
	want []string
}{
	"API.Bootstrap": {func(s *stage) {
		_, err := s.Bootstrap(ctx, userapi.Bootstrap{Customer: "fresh", Username: "root", Password: another})
		s.ok(err)
	}, []string{"customer.created: system, -, fresh", "user.created: system, somebody, fresh"}},
	"API.Deliver: never": {func(s *stage) {
		s.requestReset("anna")
		s.box.fail = func(m userapi.Message) error {
			s.hide(m.Token, m.Link)
			return fmt.Errorf("%w: %s %s", userapi.ErrUndeliverable, m.Token, m.Link)
		}
		s.begin()
		_, err := s.Deliver(ctx)
		s.ok(err)
	}, []string{"message.failed: system, anna, default"}},
	"API.Deliver": {func(s *stage) {
		s.requestReset("anna")
		s.begin()
		s.message("anna@example.com", userapi.PurposeReset)
	}, []string{}},

	"Audit.Denied": {func(s *stage) {
		for range 3 {
			s.ok(s.Audit.Denied(ctx, s.actor, "GET /users/"))
		}
		s.ok(s.Audit.Denied(ctx, s.actor, "GET /roles/"))
		s.clock.add(10 * time.Minute)
		s.ok(s.Audit.Denied(ctx, s.actor, "GET /users/"))
	}, []string{"access.denied: anna, anna, default", "access.denied: anna, anna, default", "access.denied: anna, anna, default"}},
	"Audit.Prune": {func(s *stage) {
		s.clock.add(time.Hour)
		s.told = nil // the trail begins anew
		s.log.Reset()
		_, err := s.Audit.Prune(ctx, userapi.System(), s.clock.Now())
		s.ok(err)
		s.from = 0
	}, []string{"events.pruned: system, -, -"}},

	"Auth.Activate": {func(s *stage) {
		m := s.registered()
		_, err := s.Auth.Activate(ctx, anonymous(), m.Token, password)
		s.ok(err)
	}, []string{"user.activated: anonymous, bob, default"}},
	"Auth.Activate: wrong password": {func(s *stage) {
		m := s.registered()
		_, err := s.Auth.Activate(ctx, anonymous(), m.Token, another)
		s.fails(err, userapi.ErrBadCredentials)
	}, []string{"login.failed: anonymous, bob, default"}},
	"Auth.AuthenticateKey: no key": {func(s *stage) {
		k, key := s.key(s.actor, s.anna.ID, "key", userapi.ScopeFull)
		s.hide(key)
		s.ok(s.Keys.Delete(ctx, s.actor, k.ID))
		s.begin()
		for i := range 5 {
			_, err := s.Auth.AuthenticateKey(ctx, anonymous(), key)
			s.fails(err, []error{userapi.ErrInvalidKey, userapi.ErrRateLimited}[i/3])
		}
	}, []string{"limit.reached: anonymous, -, -"}},
	"Auth.CompleteLogin": {func(s *stage) {
		started := s.started()
		_, tokens, err := s.Auth.CompleteLogin(ctx, started, "otp", says(true))
		s.ok(err)
		s.hide(tokens.Access, tokens.Refresh)
	}, []string{"login.started: anonymous, anna, default", "login: anna, anna, default"}},
	"Auth.CompleteLogin: wrong code": {func(s *stage) {
		started := s.started()
		for i := range 5 {
			_, _, err := s.Auth.CompleteLogin(ctx, started, "otp", says(false))
			s.fails(err, []error{userapi.ErrInvalidCode, userapi.ErrRateLimited}[i/3])
		}
	}, []string{"login.started: anonymous, anna, default", "second_factor.failed: anna, anna, default", "second_factor.failed: anna, anna, default",
		"second_factor.failed: anna, anna, default", "limit.reached: anna, anna, default"}},
	"Auth.IssueTokens": {func(s *stage) {
		_, tokens, err := s.Auth.IssueTokens(ctx, userapi.System(), s.anna.ID, "sso")
		s.ok(err)
		s.hide(tokens.Access, tokens.Refresh)
	}, []string{"tokens.issued: system, anna, default"}},
	"Auth.Login": {func(s *stage) {
		tokens, _ := s.login("anna", password)
		s.hide(tokens.Access, tokens.Refresh)
	}, []string{"login: anonymous, anna, default"}},
	"Auth.Login: wrong": {func(s *stage) {
		for i, want := range []error{userapi.ErrBadCredentials, userapi.ErrBadCredentials, userapi.ErrBadCredentials, userapi.ErrRateLimited, userapi.ErrRateLimited} {
			_, _, err := s.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: []string{"anna", "anna@example.com"}[i%2], Password: another})
			s.fails(err, want)
		}
		_, _, err := s.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: string(another), Password: password})
		s.fails(err, userapi.ErrBadCredentials)
	}, []string{"login.failed: anonymous, anna, default", "login.failed: anonymous, anna, default", "login.failed: anonymous, anna, default",
		"limit.reached: anonymous, anna, default", "login.limited: anonymous, anna, default", "login.failed: anonymous, -, -"}},
	"Auth.Login: upgrade": {func(s *stage) {
		api := s.second(func(c *userapi.Config) {
			s.wire(c, nil)
			c.Password.Argon2id.Passes, c.LogEvents, c.Logger = 2, true, slog.New(slog.NewJSONHandler(&s.log, nil))
			c.Hooks.Event = func(_ context.Context, e userapi.Event) { s.told = append(s.told, e) }
		})
		_, _, err := api.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "anna", Password: password})
		s.ok(err)
		s.hide(userapi.Secret(s.account("anna").PasswordHash))
	}, []string{"password.upgraded: anonymous, anna, default", "login: anonymous, anna, default"}},
	"Auth.Login: unreadable": {func(s *stage) {
		_, err := s.Users.Create(ctx, userapi.System(), userapi.NewUser{Username: "bob", Active: true, CustomerID: "default", PasswordHash: "$unheard$of"})
		s.ok(err)
		s.hide("$unheard$of")
		s.begin()
		_, _, err = s.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "bob", Password: password})
		s.fails(err, userapi.ErrBadCredentials)
	}, []string{"password.unusable: anonymous, somebody, default"}},
	"Auth.LoginExternal": {func(s *stage) {
		for range 2 {
			_, _, err := s.external(identity("canary-subject", "carl@example.com"))
			s.ok(err)
		}
		s.hide("canary-subject")
	}, []string{"user.created: system, somebody, default", "credential.changed: anonymous, somebody, default", "login: anonymous, somebody, default", "login: anonymous, somebody, default"}},
	"Auth.LoginExternal: refused": {func(s *stage) {
		_, _, err := s.external(identity("1", "anna@example.com"))
		s.fails(err, userapi.ErrExternalRefused)
	}, []string{"login.failed: anonymous, anna, default"}},
	"Auth.Logout": {func(s *stage) {
		for range 2 {
			s.ok(s.Auth.Logout(ctx, anonymous(), s.tokens.Access, s.tokens.Refresh))
		}
	}, []string{"logout: anonymous, anna, default"}},
	"Auth.Refresh": {func(s *stage) {
		next := s.refreshes(s.tokens)
		s.hide(next.Access, next.Refresh)
	}, []string{}},
	"Auth.Refresh: reused": {func(s *stage) {
		next := s.refreshes(s.tokens)
		s.hide(next.Access, next.Refresh)
		s.clock.add(time.Minute)
		_, err := s.Auth.Refresh(ctx, anonymous(), s.tokens.Refresh)
		s.fails(err, userapi.ErrTokenRevoked)
	}, []string{"refresh.reused: anonymous, anna, default"}},
	"Auth.Refresh: no token": {func(s *stage) {
		for i := range 5 {
			_, err := s.Auth.Refresh(ctx, anonymous(), "canary-refresh")
			s.fails(err, []error{userapi.ErrInvalidToken, userapi.ErrRateLimited}[i/3])
		}
		s.hide("canary-refresh")
	}, []string{"limit.reached: anonymous, -, -"}},
	"Auth.TrySecondFactor": {func(s *stage) {
		s.ok(s.Auth.TrySecondFactor(ctx, s.actor, says(true)))
		s.fails(s.Auth.TrySecondFactor(ctx, s.actor, says(false)), userapi.ErrInvalidCode)
	}, []string{"second_factor.failed: anna, anna, default"}},

	"Contacts.RequestEmail": {func(s *stage) {
		s.ok(s.Contacts.RequestEmail(ctx, s.actor, userapi.EmailRequest{}))
		s.message("anna@example.com", userapi.PurposeEmail)
	}, []string{"email.requested: anna, anna, default"}},
	"Contacts.ConfirmEmail": {func(s *stage) {
		s.ok(s.Contacts.RequestEmail(ctx, s.actor, userapi.EmailRequest{}))
		s.begin()
		_, tokens, err := s.Contacts.ConfirmEmail(ctx, s.actor, s.message("anna@example.com", userapi.PurposeEmail).Token)
		s.ok(err)
		s.hide(tokens.Access, tokens.Refresh)
	}, []string{"email.verified: anna, anna, default"}},
	"Contacts.ConfirmEmail: change": {func(s *stage) {
		s.ok(s.Contacts.RequestEmail(ctx, s.actor, userapi.EmailRequest{Email: "new@example.com"}))
		s.begin()
		_, _, err := s.Contacts.ConfirmEmail(ctx, anonymous(), s.message("new@example.com", userapi.PurposeEmailChange).Token)
		s.ok(err)
	}, []string{"email.changed: anonymous, anna, default"}},
	"Contacts.ConfirmEmail: wrong": {func(s *stage) {
		s.ok(s.Contacts.RequestEmail(ctx, s.actor, userapi.EmailRequest{}))
		id, _, _ := strings.Cut(string(s.message("anna@example.com", userapi.PurposeEmail).Token), ".")
		s.begin()
		for i := range 5 {
			_, _, err := s.Contacts.ConfirmEmail(ctx, anonymous(), userapi.Secret(id+".canary-token"))
			s.fails(err, []error{userapi.ErrInvalidLink, userapi.ErrRateLimited}[i/3])
		}
		s.hide("canary-token")
	}, []string{"code.refused: anonymous, anna, default", "code.refused: anonymous, anna, default", "code.refused: anonymous, anna, default", "limit.reached: anonymous, -, -"}},
	"Contacts.RequestPhone": {func(s *stage) { s.hide(s.code(s.actor, "+4930901820")) }, []string{"phone.requested: anna, anna, default"}},
	"Contacts.ConfirmPhone": {func(s *stage) {
		code := s.code(s.actor, "+4930901820")
		s.hide(code)
		s.begin()
		_, err := s.Contacts.ConfirmPhone(ctx, s.actor, "+4930901820", code)
		s.ok(err)
		code = s.code(s.admin, "+4930901820")
		s.hide(code)
		_, err = s.Contacts.ConfirmPhone(ctx, s.admin, "+4930901820", code)
		s.ok(err)
	}, []string{"phone.verified: anna, anna, default", "phone.requested: admin, admin, default", "phone.released: admin, anna, default", "phone.verified: admin, admin, default"}},
	"Contacts.ConfirmPhone: wrong": {func(s *stage) {
		code := s.code(s.actor, "+4930901820")
		s.hide(code)
		s.begin()
		for i := range 5 {
			_, err := s.Contacts.ConfirmPhone(ctx, s.actor, "+4930901820", wrong(code))
			s.fails(err, []error{userapi.ErrInvalidCode, userapi.ErrRateLimited}[i/3])
		}
	}, []string{"code.refused: anna, anna, default", "code.refused: anna, anna, default", "code.refused: anna, anna, default", "limit.reached: anna, anna, default"}},
	"Contacts.ConfirmPhone: nobody's": {func(s *stage) {
		code := s.code(anonymous(), "+4930901820")
		s.hide(code)
		_, err := s.Contacts.ConfirmPhone(ctx, anonymous(), "+4930901820", code)
		s.ok(err)
	}, []string{"phone.requested: anonymous, -, -", "phone.proved: anonymous, -, -"}},

	"Credentials.Put": {func(s *stage) {
		_, err := s.Credentials.Put(ctx, userapi.System(), userapi.Credential{UserID: s.anna.ID, Kind: "totp", Key: "canary-key", Data: []byte("canary-data")}, "")
		s.ok(err)
		s.hide("canary-key", "canary-data")
	}, []string{"credential.changed: system, anna, default"}},
	"Credentials.Delete": {func(s *stage) {
		cred, err := s.Credentials.Put(ctx, userapi.System(), userapi.Credential{UserID: s.anna.ID, Kind: "totp", Key: "k", Data: []byte("x")}, "")
		s.ok(err)
		s.begin()
		s.ok(s.Credentials.Delete(ctx, userapi.System(), cred, ""))
	}, []string{"credential.deleted: system, anna, default"}},
	"Customers.Create": {func(s *stage) { s.customer("rival", 0) }, []string{"customer.created: system, -, rival"}},
	"Customers.Change": {func(s *stage) {
		_, err := s.Customers.Change(ctx, userapi.System(), userapi.Customer{ID: "default", Name: "D"})
		s.ok(err)
	}, []string{"customer.updated: system, -, default"}},
	"Grants.Set": {func(s *stage) {
		s.ok(s.Grants.Set(ctx, userapi.System(), s.anna.ID, userapi.GrantAPIKeys, 7, time.Time{}))
	}, []string{"grant.set: system, anna, default"}},
	"Grants.Delete": {func(s *stage) {
		s.ok(s.Grants.Set(ctx, userapi.System(), s.anna.ID, userapi.GrantAPIKeys, 7, time.Time{}))
		s.begin()
		s.ok(s.Grants.Delete(ctx, userapi.System(), s.anna.ID, userapi.GrantAPIKeys))
	}, []string{"grant.deleted: system, anna, default"}},
	"Keys.Create": {func(s *stage) {
		_, key := s.key(s.actor, s.anna.ID, "key", userapi.ScopeFull)
		s.hide(key, userapi.Secret(strings.Split(string(key), ".")[1]))
		_, err := s.Auth.AuthenticateKey(ctx, anonymous(), key)
		s.ok(err)
	}, []string{"key.created: anna, anna, default"}},
	"Keys.Change": {func(s *stage) {
		k, _ := s.key(s.actor, s.anna.ID, "key", userapi.ScopeFull)
		s.begin()
		_, err := s.Keys.Change(ctx, s.admin, k.ID, userapi.APIKeyChange{Active: ptr(false)})
		s.ok(err)
	}, []string{"key.changed: admin, anna, default"}},
	"Keys.Delete": {func(s *stage) {
		k, _ := s.key(s.actor, s.anna.ID, "key", userapi.ScopeFull)
		s.begin()
		s.ok(s.Keys.Delete(ctx, s.actor, k.ID))
	}, []string{"key.deleted: anna, anna, default"}},
	"Memberships.Set": {func(s *stage) {
		_, err := s.Memberships.Set(ctx, s.admin, userapi.Membership{UserID: s.anna.ID, Resource: "doc", ResourceID: "7", Level: "member"})
		s.ok(err)
	}, []string{"membership.set: admin, anna, default"}},
	"Memberships.Remove": {func(s *stage) {
		s.give("7", s.anna, "member")
		s.begin()
		s.ok(s.Memberships.Remove(ctx, s.admin, s.anna.ID, "doc", "7"))
	}, []string{"membership.removed: admin, anna, default"}},
	"Memberships.DeleteResource": {func(s *stage) {
		s.ok(s.Memberships.DeleteResource(ctx, userapi.System(), "doc", "7"))
	}, []string{"resource.deleted: system, -, -"}},

	"Passwords.Change": {func(s *stage) {
		_, tokens, err := s.Passwords.Change(ctx, s.actor, password, another)
		s.ok(err)
		s.hide(tokens.Access, tokens.Refresh)
	}, []string{"password.changed: anna, anna, default"}},
	"Passwords.Change: wrong": {func(s *stage) {
		for i := range 5 {
			_, _, err := s.Passwords.Change(ctx, s.actor, "canary-password", another)
			s.fails(err, []error{userapi.ErrWrongPassword, userapi.ErrRateLimited}[i/3])
		}
		s.hide("canary-password")
	}, []string{"password.refused: anna, anna, default", "password.refused: anna, anna, default", "password.refused: anna, anna, default", "limit.reached: anna, anna, default"}},
	"Passwords.RequestReset": {func(s *stage) {
		s.requestReset("anna")
		s.requestReset("nobody at all")
		s.message("anna@example.com", userapi.PurposeReset)
	}, []string{"reset.requested: anonymous, anna, default", "reset.requested: anonymous, -, -"}},
	"Passwords.Reset": {func(s *stage) {
		s.requestReset("anna")
		s.begin()
		s.ok(s.Passwords.Reset(ctx, anonymous(), s.message("anna@example.com", userapi.PurposeReset).Token, another))
	}, []string{"password.reset: anonymous, anna, default"}},
	"Passwords.Set": {func(s *stage) {
		_, _, err := s.Passwords.Set(ctx, s.admin, s.anna.ID, another, "")
		s.ok(err)
	}, []string{"password.changed: admin, anna, default"}},
	"Passwords.SetByIdentifier": {func(s *stage) {
		_, _, err := s.Passwords.SetByIdentifier(ctx, s.admin, "anna@example.com", another, "")
		s.ok(err)
	}, []string{"password.changed: admin, anna, default"}},

	"Roles.Create": {func(s *stage) {
		_, err := s.Roles.Create(ctx, s.admin, userapi.Role{Code: "editor"})
		s.ok(err)
	}, []string{"role.created: admin, -, -"}},
	"Roles.Rename": {func(s *stage) {
		_, err := s.Roles.Rename(ctx, s.admin, "service", "S")
		s.ok(err)
	}, []string{"role.renamed: admin, -, -"}},
	"Roles.Delete": {func(s *stage) {
		s.role("editor")
		s.begin()
		s.ok(s.Roles.Delete(ctx, s.admin, "editor"))
	}, []string{"role.deleted: admin, -, -"}},
	"Sessions.End": {func(s *stage) { s.ok(s.Sessions.End(ctx, s.actor, s.anna.ID, s.actorSession(s.tokens))) }, []string{"session.ended: anna, anna, default"}},
	"Sessions.EndAll": {func(s *stage) {
		s.ok(s.Sessions.EndAll(ctx, s.admin, s.anna.ID))
	}, []string{"sessions.ended: admin, anna, default"}},
	"Sessions.RevokeAll": {func(s *stage) { s.ok(s.Sessions.RevokeAll(ctx, userapi.System())) }, []string{"sessions.revoked_all: system, -, -"}},

	"Users.Create": {func(s *stage) {
		_, err := s.Users.Create(ctx, s.admin, userapi.NewUser{Username: "carl", Password: another})
		s.ok(err)
	}, []string{"user.created: admin, somebody, default"}},
	"Users.Change": {func(s *stage) {
		for _, ch := range []userapi.UserChange{
			{Name: ptr("canary-name")}, {Phone: ptr("+4930901820")}, {Email: ptr("canary@example.com")}, {Roles: &[]userapi.RoleRef{{Code: "service"}}},
			{Password: ptr(another)}, {Active: ptr(false)}, {Active: ptr(true)}, {MustChangePassword: ptr(true)},
		} {
			_, _, err := s.Users.Change(ctx, s.admin, s.anna.ID, ch)
			s.ok(err)
		}
		s.hide("canary-name", "4930901820", "canary@example.com")
	}, []string{"user.updated: admin, anna, default", "user.updated: admin, anna, default", "user.updated: admin, anna, default", "user.updated: admin, anna, default",
		"password.changed: admin, anna, default", "user.deactivated: admin, anna, default", "user.updated: admin, anna, default", "user.updated: admin, anna, default"}},
	"Users.Deactivate": {func(s *stage) {
		_, err := s.Users.Deactivate(ctx, s.admin, s.anna.ID)
		s.ok(err)
	}, []string{"user.deactivated: admin, anna, default"}},
	"Users.Delete": {func(s *stage) {
		bob := s.bob()
		s.ok(s.Users.Delete(ctx, s.admin, bob.ID))
	}, []string{"user.deleted: admin, bob, default"}},
	"Users.DeleteSelf": {func(s *stage) {
		s.bob()
		tokens, bob := s.login("bob", password)
		s.hide(tokens.Access, tokens.Refresh)
		s.told = nil // what is told of bob forgets nothing, what is kept does
		s.begin()
		s.ok(s.Users.DeleteSelf(ctx, bob, password))
		s.told = append(s.store.Events()[:s.from:s.from], s.told...)
	}, []string{"user.deleted: bob, bob, default"}},
	"Users.Register": {func(s *stage) {
		for _, email := range []string{"carl@example.com", "carl@example.com", "anna@example.com"} {
			_, _, err := s.Users.Register(ctx, anonymous(), userapi.SelfRegistration{Email: email, Password: another})
			s.ok(err)
		}
		s.message("carl@example.com", userapi.PurposeActivation)
	}, []string{"user.registered: anonymous, somebody, default", "registration.repeated: anonymous, somebody, default", "registration.repeated: anonymous, anna, default"}},
	"Users.SendActivation": {func(s *stage) {
		s.registered()
		s.ok(s.Users.SendActivation(ctx, s.admin, s.byEmail("bob@example.com").ID))
	}, []string{"activation.requested: admin, bob, default"}},
}

func (s *stage) byEmail(email string) userapi.User {
	s.t.Helper()
	u, err := s.Users.ByEmail(ctx, userapi.System(), email)
	s.ok(err)
	return u
}

// registered is the message to bob, who has registered.
func (s *stage) registered() userapi.Message {
	s.t.Helper()
	_, _, err := s.Users.Register(ctx, anonymous(), userapi.SelfRegistration{Email: "bob@example.com", Password: password})
	s.ok(err)
	s.names[s.byEmail("bob@example.com").ID] = "bob"
	m := s.message("bob@example.com", userapi.PurposeActivation)
	s.begin()
	return m
}

// started is anna, whose login lacks a second factor.
func (s *stage) started() userapi.Actor {
	s.t.Helper()
	s.factor.of["anna"] = true
	tokens, actor := s.start("anna", userapi.StepSecondFactor)
	s.hide(tokens.Access)
	return actor
}

func TestAudit_L03_L01_everything_that_changes_something_leaves_its_event_and_no_secret(t *testing.T) {
	done := map[string]bool{}
	for name, act := range acts {
		method, _, _ := strings.Cut(name, ":")
		done[method] = true
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			act.do(s)
			assert.Equal(t, act.want, s.left())
			s.check()
		})
	}
	api := reflect.ValueOf(*newWorld(t, nil).API)
	nouns := map[string]reflect.Type{"API": reflect.TypeFor[*userapi.API]()}
	for i := range api.NumField() {
		if f := api.Type().Field(i); f.IsExported() {
			nouns[f.Name] = f.Type
		}
	}
	all := map[string]bool{}
	for noun, kind := range nouns {
		for i := range kind.NumMethod() {
			method := noun + "." + kind.Method(i).Name
			all[method] = true
			assert.True(t, done[method] || slices.Contains(reads, method), "%s is expected to do nothing", method)
		}
	}
	for method := range maps.Keys(done) {
		assert.True(t, all[method], "there is no %s", method)
		assert.NotContains(t, reads, method)
	}
	for _, method := range reads {
		assert.True(t, all[method] || method == "Auth.AuthenticateKey", "there is no %s", method)
	}
}

// Every method of a store that takes an event tells it when it was stored, and only then.
func TestAudit_L05_what_a_store_has_stored_is_told(t *testing.T) {
	store := reflect.TypeFor[userapi.Store]()
	event := reflect.TypeFor[userapi.Event]()
	var writes []string
	for i := range store.NumMethod() {
		m := store.Method(i)
		for j := range m.Type.NumIn() {
			in := m.Type.In(j)
			if in.Kind() == reflect.Struct && in != event {
				if f, ok := in.FieldByName("Event"); !ok || f.Type != event {
					continue
				}
			} else if in != event {
				continue
			}
			writes = append(writes, m.Name)
		}
	}
	require.Greater(t, len(writes), 20)
	file, err := parser.ParseFile(token.NewFileSet(), "written.go", nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	var tells []string
	for _, decl := range file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && f.Recv != nil {
			tells = append(tells, f.Name.Name)
		}
	}
	for _, name := range writes {
		assert.Contains(t, tells, name, "a write with an event that nobody is told of")
	}
}

func TestEventHook_K03(t *testing.T) {
	var told []string
	var bounded, left bool
	leave := func() {}
	w := newWorld(t, func(c *userapi.Config) {
		c.Hooks.UserCreated = func(context.Context, userapi.User) { told = append(told, "hook") }
		c.Hooks.Event = func(ctx context.Context, e userapi.Event) {
			leave()
			_, bounded = ctx.Deadline()
			left = ctx.Err() != nil
			told = append(told, string(e.Kind))
			e.Kind = "scribbled"
			panic("a secret")
		}
	})
	told = nil
	gone, cancel := context.WithCancel(ctx)
	leave = cancel
	u, err := w.Users.Create(gone, userapi.System(), userapi.NewUser{Username: "anna", Active: true, CustomerID: "default"})
	require.NoError(t, err, "a panic in a hook does not fail the request")
	assert.Equal(t, []string{"user.created", "hook"}, told)
	assert.True(t, bounded)
	assert.False(t, left)
	_, err = w.Users.Create(ctx, userapi.System(), userapi.NewUser{Username: "anna", CustomerID: "default"})
	require.ErrorIs(t, err, userapi.ErrUsernameTaken)
	_, err = w.Users.Deactivate(ctx, userapi.System(), u.ID)
	require.NoError(t, err)
	assert.Equal(t, []string{"user.created", "hook", "user.deactivated"}, told, "what did not happen is not told")
	assert.Equal(t, 1, w.count("user.deactivated"))
}

// Revocations count on this node before anybody is told why.
func TestEventHook_runs_when_trust_has_ended(t *testing.T) {
	var w *world
	var tokens userapi.Tokens
	var seen error
	w = newWorld(t, func(c *userapi.Config) {
		c.Hooks.Event = func(_ context.Context, e userapi.Event) {
			if e.Kind == userapi.EventLogout {
				_, seen = w.Auth.Authenticate(ctx, string(tokens.Access))
			}
		}
	})
	tokens, _ = w.login("admin", password)
	require.NoError(t, w.Auth.Logout(ctx, anonymous(), tokens.Access))
	assert.ErrorIs(t, seen, userapi.ErrTokenRevoked)
}

// slower is a store in which somebody else is always faster to upgrade a hash.
type slower struct{ userapi.Store }

func (slower) UpgradeHash(context.Context, userapi.HashUpgrade) (bool, error) { return false, nil }

func TestAudit_L05_an_upgrade_that_did_not_happen_is_not_told(t *testing.T) {
	w := newWorld(t, nil)
	var told []string
	api := w.second(func(c *userapi.Config) {
		c.Store, c.Password.Argon2id.Passes = slower{w.store}, 2
		c.Hooks.Event = func(_ context.Context, e userapi.Event) { told = append(told, string(e.Kind)) }
	})
	_, _, err := api.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "admin", Password: password})
	require.NoError(t, err)
	assert.Equal(t, []string{"login"}, told)
}

// forgetful is a store that cannot store events.
type forgetful struct{ userapi.Store }

func (forgetful) AddEvent(context.Context, userapi.Event) error {
	return errors.New("canary of the disk")
}

func TestAudit_L05_a_refusal_that_cannot_be_recorded_is_a_failure(t *testing.T) {
	w := newWorld(t, nil)
	told := 0
	api := w.second(func(c *userapi.Config) {
		c.Store = forgetful{w.store}
		c.Hooks.Event = func(context.Context, userapi.Event) { told++ }
	})
	_, _, err := api.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "admin", Password: another})
	assert.Equal(t, userapi.Internal, userapi.AsError(err).Kind)
	assert.NotContains(t, userapi.AsError(err).Message, "canary", "L04")
	assert.Zero(t, told)
}

// trail reads the kinds of a page, newest first.
func (w *world) trail(actor userapi.Actor, q userapi.EventQuery) []string {
	w.t.Helper()
	page, err := w.Audit.List(ctx, actor, q)
	require.NoError(w.t, err)
	kinds := []string{}
	for _, e := range page.Events {
		kinds = append(kinds, string(e.Kind))
	}
	return kinds
}

// past makes events a second apart, so that their order is known: two users of default, then one of rival.
func past(t *testing.T) (w *world, anna, eve userapi.User, begin time.Time) {
	w = newWorld(t, func(c *userapi.Config) { c.MayGrant = func(userapi.Actor, string) bool { return true } })
	w.customer("rival", 0)
	w.clock.add(time.Second)
	begin = w.clock.Now()
	anna = w.user("default", "anna")
	w.clock.add(time.Second)
	w.login("anna", password)
	w.clock.add(time.Second)
	_, _, err := w.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "anna", Password: another})
	require.ErrorIs(t, err, userapi.ErrBadCredentials)
	w.clock.add(time.Second)
	eve = w.user("rival", "eve", userapi.RoleAdmin)
	w.clock.add(time.Second)
	_, _, err = w.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: "nobody", Password: another})
	require.ErrorIs(t, err, userapi.ErrBadCredentials)
	w.clock.add(time.Second)
	return w, anna, eve, begin
}

func TestAudit_H03_each_sees_what_they_may(t *testing.T) {
	w, anna, eve, begin := past(t)
	assert.Equal(t, []string{"login.failed", "user.created", "login.failed", "login", "user.created"}, w.trail(userapi.System(), userapi.EventQuery{Since: begin}))
	_, rival := w.login("eve", password)
	w.clock.add(time.Second)
	_, admin := w.login("admin", password)
	_, ann := w.login("anna", password)
	end := w.clock.Now()
	all := userapi.EventQuery{Since: begin, Until: end}
	assert.Equal(t, []string{"login.failed", "login", "user.created"}, w.trail(admin, all), "their customer's, and nothing about names that do not exist")
	assert.Equal(t, []string{"login", "user.created"}, w.trail(rival, all))
	of := func(id string) userapi.EventQuery { q := all; q.UserID = id; return q }
	assert.Equal(t, []string{"login.failed", "login", "user.created"}, w.trail(admin, of(anna.ID)))
	assert.Empty(t, w.trail(admin, of(eve.ID)), "foreign")
	assert.Empty(t, w.trail(admin, of("unheard-of")))
	assert.Equal(t, []string{"login.failed", "login", "user.created"}, w.trail(ann, of(anna.ID)), "oneself")

	w.user("default", "helper", userapi.RoleService)
	_, helper := w.login("helper", password)
	for _, q := range []userapi.EventQuery{all, of(admin.UserID()), of(eve.ID), of("x y")} {
		for _, who := range []userapi.Actor{ann, helper} {
			_, err := w.Audit.List(ctx, who, q)
			assert.ErrorIs(t, err, userapi.ErrForbidden)
		}
		_, err := w.Audit.List(ctx, anonymous(), q)
		assert.ErrorIs(t, err, userapi.ErrNoCredentials)
		_, err = w.Audit.List(ctx, userapi.Actor{}, q)
		assert.ErrorContains(t, err, "zero Actor")
	}
}

func TestAudit_says_to_each_from_where_they_acted_themselves(t *testing.T) {
	w, anna, _, begin := past(t)
	_, admin := w.login("admin", password)
	_, rival := w.login("eve", password)
	_, ann := w.login("anna", password)
	w.clock.add(time.Second)
	_, _, err := w.Users.Change(ctx, admin, anna.ID, userapi.UserChange{Name: ptr("Anna")})
	require.NoError(t, err)
	w.clock.add(time.Second)
	to := "rival"
	_, _, err = w.Users.Change(ctx, userapi.System(), anna.ID, userapi.UserChange{CustomerID: &to})
	require.NoError(t, err)
	last := func(actor userapi.Actor, kind userapi.EventKind) userapi.Event {
		page, err := w.Audit.List(ctx, actor, userapi.EventQuery{UserID: anna.ID, Since: begin, Kinds: []userapi.EventKind{kind}})
		require.NoError(t, err)
		require.NotEmpty(t, page.Events)
		return page.Events[len(page.Events)-1]
	}
	assert.Equal(t, "192.0.2.1", last(ann, "login.failed").Address, "somebody, perhaps oneself")
	changed := page(t, w, ann, userapi.EventQuery{UserID: anna.ID, Kinds: []userapi.EventKind{"user.updated"}})
	require.NotEmpty(t, changed)
	byAdmin := changed[len(changed)-1]
	assert.Equal(t, admin.UserID(), byAdmin.ActorID)
	assert.Empty(t, byAdmin.Address+byAdmin.UserAgent+byAdmin.SessionID)
	assert.Equal(t, "192.0.2.1", last(admin, "user.updated").Address)

	// What an actor of another customer did is there, without who it was.
	e := last(userapi.System(), "user.updated")
	e.ID, e.ActorID, e.ActorFrom, e.CustomerID = "z", "foreigner", "elsewhere", "rival"
	require.NoError(t, w.store.AddEvent(ctx, e))
	foreign := page(t, w, rival, userapi.EventQuery{Kinds: []userapi.EventKind{"user.updated"}})[0]
	assert.Equal(t, userapi.Event{ID: "z", At: e.At, Kind: e.Kind, ActorKind: "user", UserID: anna.ID, CustomerID: "rival", Detail: e.Detail}, foreign)
	assert.Equal(t, e, page(t, w, userapi.System(), userapi.EventQuery{Kinds: []userapi.EventKind{"user.updated"}})[0])
}

func page(t *testing.T, w *world, actor userapi.Actor, q userapi.EventQuery) []userapi.Event {
	t.Helper()
	p, err := w.Audit.List(ctx, actor, q)
	require.NoError(t, err)
	return p.Events
}

func TestAudit_pages(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 45 {
		w.clock.add(time.Second)
		w.customer(fmt.Sprint("c", i), 0)
	}
	walk := func(q userapi.EventQuery) (found []string) {
		for {
			p, err := w.Audit.List(ctx, userapi.System(), q)
			require.NoError(t, err)
			assert.Equal(t, p.HasNext, p.Cursor != "")
			for _, e := range p.Events {
				found = append(found, e.CustomerID)
			}
			if q.Cursor = p.Cursor; !p.HasNext {
				return found
			}
			assert.Len(t, p.Events, cmp.Or(q.Limit, 20), "a page that is not the last is full")
		}
	}
	var all []string
	for i := 44; i >= 0; i-- {
		all = append(all, fmt.Sprint("c", i))
	}
	since := w.clock.Now().Add(-44 * time.Second)
	for _, limit := range []int{0, 1, 7, 15, 45, 100} {
		assert.Equal(t, all, walk(userapi.EventQuery{Since: since, Limit: limit}), "limit %d", limit)
	}
	assert.Equal(t, all[1:], walk(userapi.EventQuery{Since: since, Until: w.clock.Now()}))
	assert.Equal(t, all[:44], walk(userapi.EventQuery{Since: since.Add(time.Millisecond)}))

	first := userapi.EventQuery{Kinds: []userapi.EventKind{"customer.created"}, Limit: 5}
	p, err := w.Audit.List(ctx, userapi.System(), first)
	require.NoError(t, err)
	_, admin := w.login("admin", password)
	for name, change := range map[string]func(q *userapi.EventQuery) userapi.Actor{
		"another kind":   func(q *userapi.EventQuery) userapi.Actor { q.Kinds = nil; return userapi.System() },
		"another user":   func(q *userapi.EventQuery) userapi.Actor { q.UserID = "x"; return userapi.System() },
		"another span":   func(q *userapi.EventQuery) userapi.Actor { q.Since = since; return userapi.System() },
		"another caller": func(*userapi.EventQuery) userapi.Actor { return admin },
		"forged":         func(q *userapi.EventQuery) userapi.Actor { q.Cursor += "x"; return userapi.System() },
	} {
		q := first
		q.Cursor = p.Cursor
		_, err := w.Audit.List(ctx, change(&q), q)
		assert.ErrorIs(t, err, userapi.ErrWrongArgs, name)
	}
	for _, q := range []userapi.EventQuery{{Limit: -1}, {Limit: 101}, {UserID: "a b"}, {Kinds: []userapi.EventKind{""}}, {Kinds: []userapi.EventKind{"A"}}, {Kinds: make([]userapi.EventKind, 17)}} {
		_, err := w.Audit.List(ctx, userapi.System(), q)
		assert.ErrorIs(t, err, userapi.ErrWrongArgs)
	}
}

func TestAudit_Prune(t *testing.T) {
	w, _, _, begin := past(t)
	_, admin := w.login("admin", password)
	for _, who := range []userapi.Actor{admin, anonymous(), {}} {
		_, err := w.Audit.Prune(ctx, who, begin)
		assert.Error(t, err)
	}
	for _, at := range []time.Time{{}, w.clock.Now().Add(time.Millisecond)} {
		_, err := w.Audit.Prune(ctx, userapi.System(), at)
		assert.ErrorIs(t, err, userapi.ErrInvalid)
	}
	told := 0
	hook := w.second(func(c *userapi.Config) { c.Hooks.Event = func(context.Context, userapi.Event) { told++ } })
	before := len(w.store.Events())
	kept := len(page(t, w, userapi.System(), userapi.EventQuery{Since: begin, Limit: 100}))
	n, err := hook.Audit.Prune(ctx, userapi.System(), begin)
	require.NoError(t, err)
	assert.Equal(t, before-kept, n)
	left := w.store.Events()
	require.Len(t, left, kept+1)
	assert.Equal(t, userapi.EventEventsPruned, left[kept].Kind)
	assert.Equal(t, begin.UTC().Format(time.RFC3339Nano), left[kept].Detail)
	n, err = hook.Audit.Prune(ctx, userapi.System(), begin)
	require.NoError(t, err)
	assert.Zero(t, n)
	assert.Equal(t, 1, told)
	assert.Len(t, w.store.Events(), kept+1, "nothing to prune is nothing to tell of")

	for range 2500 { // more than two batches
		require.NoError(t, w.Audit.Denied(ctx, admin, "x"))
		w.clock.add(10 * time.Minute)
	}
	n, err = w.Audit.Prune(ctx, userapi.System(), w.clock.Now())
	require.NoError(t, err)
	assert.Equal(t, kept+1+2500, n)
	assert.Equal(t, []string{"events.pruned"}, w.trail(userapi.System(), userapi.EventQuery{}), "one event about all batches")
}

// Nobody but the host acts as somebody else, and then the trail says so.
func TestAudit_H16_a_session_that_the_host_opens_for_a_user_is_told_apart(t *testing.T) {
	w := newWorld(t, nil)
	anna := w.user("default", "anna")
	_, admin := w.login("admin", password)
	_, _, err := w.Auth.IssueTokens(ctx, admin, anna.ID, "sso")
	require.ErrorIs(t, err, userapi.ErrForbidden)
	_, tokens, err := w.Auth.IssueTokens(ctx, userapi.System().From("192.0.2.9", "desk"), anna.ID, "sso")
	require.NoError(t, err)
	e := page(t, w, admin, userapi.EventQuery{UserID: anna.ID, Kinds: []userapi.EventKind{userapi.EventTokensIssued}})
	require.Len(t, e, 1)
	assert.Equal(t, []string{"system", "192.0.2.9", w.actor(tokens).UserID()}, []string{e[0].ActorKind, e[0].Address, e[0].UserID})
	assert.NotEmpty(t, e[0].SessionID, "what is done in that session is found by it")
}

func TestAudit_B11_who_ended_whose_session(t *testing.T) {
	w := newWorld(t, nil)
	anna := w.user("default", "anna")
	w.login("anna", password)
	_, admin := w.login("admin", password)
	open, err := w.Sessions.List(ctx, admin, anna.ID)
	require.NoError(t, err)
	require.NoError(t, w.Sessions.End(ctx, admin, anna.ID, open[0].ID))
	require.NoError(t, w.Sessions.EndAll(ctx, admin, anna.ID))
	ended := page(t, w, admin, userapi.EventQuery{UserID: anna.ID, Kinds: []userapi.EventKind{userapi.EventSessionEnded, userapi.EventSessionsEnded}})
	require.Len(t, ended, 2)
	for _, e := range ended {
		assert.Equal(t, []string{admin.UserID(), anna.ID, "192.0.2.1"}, []string{e.ActorID, e.UserID, e.Address})
	}
}

func TestAudit_a_host_in_its_transaction_is_told_after_the_commit(t *testing.T) {
	var told []string
	w := newWorld(t, func(c *userapi.Config) {
		c.Hooks.Event = func(_ context.Context, e userapi.Event) { told = append(told, string(e.Kind)) }
	})
	told = nil
	bound := w.WithStore(inTx{w.store})
	_, err := bound.Users.Create(ctx, userapi.System(), userapi.NewUser{Username: "anna", CustomerID: "default"})
	require.NoError(t, err)
	assert.Empty(t, told)
	bound.Committed(ctx)
	bound.Committed(ctx)
	assert.Equal(t, []string{"user.created"}, told)
}

// inTx is a transaction of a store that has none.
type inTx struct{ userapi.Store }

func (tx inTx) Base() userapi.Store { return tx.Store }
