package userapi_test

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"
	"pgregory.net/rapid"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/store/memory"
	"github.com/userapi/userapi/store/sqlite"
)

// A model of what a host may rely on: who is there, what they hold, which credential is good. Random calls by random actors of two
// tenants run against it and two nodes of the API; after each, every credential ever issued is shown to both.
// `go test -run Model -rapid.checks 10000 .` goes on for longer.

type modelUser struct {
	id, name, tenant string
	password         userapi.Secret
	gone, inactive   bool
	roles            []string          // sorted
	levels           map[string]string // by resource id
}

func (u *modelUser) admin() bool { return u != nil && slices.Contains(u.roles, "admin") }

func (u *modelUser) email() string { return u.name + "@example.com" }

type modelSession struct {
	of      *modelUser
	over    bool
	refresh []userapi.Secret // the last is the one that counts
	rotated time.Time
}

type modelToken struct {
	in      *modelSession
	text    string
	dead    bool
	expires time.Time
}

type modelKey struct {
	of       *modelUser
	id       string
	text     userapi.Secret
	scopes   []string
	disabled bool
	gone     bool
}

// modelActor is who calls: a user in a session, a user by a key, or System.
type modelActor struct {
	userapi.Actor
	user *modelUser
	in   *modelSession
	key  *modelKey
}

func (a modelActor) may(u *modelUser) bool { return a.user == nil || a.user.admin() || a.user == u }

func (a modelActor) manages() bool { return a.user == nil || a.user.admin() }

func (a modelActor) sees(u *modelUser) bool {
	return !u.gone && (a.user == nil || a.user.tenant == u.tenant)
}

type model struct {
	nodes    [2]*userapi.API
	clock    *clock
	sent     map[string]userapi.Secret // the last token, by address
	mu       sync.Mutex
	n        int
	users    []*modelUser
	sessions []*modelSession
	tokens   []*modelToken
	keys     []*modelKey
}

var modelScopes = []string{userapi.ScopeRead, userapi.ScopeWrite, userapi.ScopePassword, userapi.ScopeFull}

func (m *model) Send(_ context.Context, msg userapi.Message) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if msg.Purpose == userapi.PurposeReset {
		m.sent[msg.To] = msg.Token
	}
	return nil
}

func newModel(t *rapid.T, st userapi.Store) *model {
	m := &model{clock: &clock{now: time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)}, sent: map[string]userapi.Secret{}}
	for i := range m.nodes {
		api, err := userapi.New(userapi.Config{
			Store: st, Secret: secret, Now: m.clock.Now, Staleness: userapi.ReadAlways, Limits: userapi.Limits{},
			Password:     userapi.PasswordPolicy{Argon2id: userapi.Argon2id{MemoryKiB: 8, Passes: 1, Threads: 1}},
			Registration: userapi.Registration{Policy: userapi.RegistrationOpen, Customer: "a"},
			Verification: userapi.Verification{Mail: m, ResetLink: "https://app.example.com/{token}"},
			Memberships: userapi.MembershipConfig{Levels: []string{"reader", "writer"}, Owns: func(_ context.Context, customer, _, id string) (bool, error) {
				return strings.HasPrefix(id, customer), nil
			}},
		})
		must(t, err)
		m.nodes[i] = api
	}
	for _, tenant := range []string{"a", "b"} {
		u := &modelUser{name: "admin" + tenant, tenant: tenant, password: password, roles: []string{"admin"}, levels: map[string]string{}}
		_, err := m.nodes[0].Bootstrap(ctx, userapi.Bootstrap{Customer: tenant, Username: u.name, Email: u.email(), Password: password})
		must(t, err)
		m.add(t, u)
		m.create(t, m.system(), tenant, []string{})
	}
	_, err := m.nodes[0].Roles.Create(ctx, userapi.System(), userapi.Role{Code: "editor"})
	must(t, err)
	return m
}

func must(t *rapid.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("unexpected error: %v", err)
	}
}

// want reports whether the call was to succeed, and fails unless it answered as it was to.
func want(t *rapid.T, err, wanted error) bool {
	t.Helper()
	if !errors.Is(err, wanted) {
		t.Fatalf("error is %v, wanted %v", err, wanted)
	}
	return wanted == nil
}

func (m *model) add(t *rapid.T, u *modelUser) {
	found, err := m.nodes[0].Users.ByUsername(ctx, userapi.System(), u.name)
	must(t, err)
	u.id = found.ID
	m.users = append(m.users, u)
}

func (m *model) system() modelActor { return modelActor{Actor: userapi.System()} }

func (m *model) node(t *rapid.T) *userapi.API { return rapid.SampledFrom(m.nodes[:]).Draw(t, "node") }

func (m *model) user(t *rapid.T) *modelUser { return rapid.SampledFrom(m.users).Draw(t, "user") }

func (m *model) live(k *modelKey) bool { return !k.gone && !k.disabled && !k.of.gone && !k.of.inactive }

func (m *model) good(tok *modelToken) bool { return !tok.dead && m.clock.Now().Before(tok.expires) }

// actor is somebody whose credential is good.
func (m *model) actor(t *rapid.T) modelActor {
	actors := []modelActor{m.system()}
	for _, tok := range m.tokens {
		if m.good(tok) {
			id, err := m.nodes[0].Auth.Authenticate(ctx, tok.text)
			must(t, err)
			actors = append(actors, modelActor{id.Actor(), tok.in.of, tok.in, nil})
		}
	}
	for _, k := range m.keys {
		if m.live(k) {
			id, err := m.nodes[1].Auth.AuthenticateKey(ctx, userapi.Anonymous(), k.text)
			must(t, err)
			actors = append(actors, modelActor{id.Actor(), k.of, nil, k})
		}
	}
	return rapid.SampledFrom(actors).Draw(t, "actor")
}

// opened notes tokens of a new session.
func (m *model) opened(u *modelUser, tokens userapi.Tokens) {
	s := &modelSession{of: u, refresh: []userapi.Secret{tokens.Refresh}, rotated: m.clock.Now()}
	m.sessions = append(m.sessions, s)
	m.issued(s, tokens)
}

func (m *model) issued(s *modelSession, tokens userapi.Tokens) {
	m.tokens = append(m.tokens, &modelToken{in: s, text: string(tokens.Access), expires: tokens.ExpiresAt})
}

// end ends the sessions that are named, with their tokens.
func (m *model) end(which func(*modelSession) bool) {
	for _, s := range m.sessions {
		s.over = s.over || which(s)
	}
	for _, tok := range m.tokens {
		tok.dead = tok.dead || tok.in.over
	}
}

func (m *model) endUser(u *modelUser) { m.end(func(s *modelSession) bool { return s.of == u }) }

// lastAdmin is the error of what would leave the user's tenant without an active admin.
func (m *model) lastAdmin(u *modelUser) error {
	if !u.admin() || u.inactive || slices.ContainsFunc(m.users, func(o *modelUser) bool {
		return o != u && o.tenant == u.tenant && o.admin() && !o.inactive && !o.gone
	}) {
		return nil
	}
	return userapi.ErrLastAdmin
}

// target is the error of a call about u that admins and System may make, and u themselves where own is set.
func (a modelActor) target(u *modelUser, own bool) error {
	switch {
	case !a.manages() && !(own && a.may(u)):
		return userapi.ErrForbidden
	case !a.sees(u):
		return userapi.ErrNotFound
	}
	return nil
}

func (m *model) Create(t *rapid.T) {
	m.create(t, m.actor(t), rapid.SampledFrom([]string{"a", "b"}).Draw(t, "tenant"), rapid.SampledFrom([][]string{{}, {"editor"}, {"admin"}}).Draw(t, "roles"))
}

func (m *model) create(t *rapid.T, by modelActor, tenant string, roles []string) {
	if len(m.users) > 9 {
		t.Skip("enough")
	}
	m.n++
	u := &modelUser{name: fmt.Sprintf("user%d", m.n), tenant: tenant, password: password, roles: roles, levels: map[string]string{}}
	n := userapi.NewUser{Username: u.name, Email: u.email(), Password: password, Active: true, CustomerID: tenant, Roles: refs(roles)}
	var wanted error
	if by.user != nil {
		n.CustomerID, u.tenant = "", by.user.tenant // of the credential, never of the input
		if by.target(u, false) != nil {
			wanted = userapi.ErrForbidden
		} else if by.key != nil && !by.HasScope(userapi.ScopePassword) {
			wanted = userapi.ErrScopeMissing
		}
	}
	_, err := m.node(t).Users.Create(ctx, by.Actor, n)
	if want(t, err, wanted) {
		m.add(t, u)
	}
}

// HasScope is of the key the actor came with.
func (a modelActor) HasScope(scope string) bool {
	return a.key == nil || slices.Contains(a.key.scopes, scope) || slices.Contains(a.key.scopes, userapi.ScopeFull)
}

func refs(roles []string) []userapi.RoleRef {
	out := []userapi.RoleRef{}
	for _, code := range roles {
		out = append(out, userapi.RoleRef{Code: code})
	}
	return out
}

func (m *model) Register(t *rapid.T) {
	if len(m.users) > 9 {
		t.Skip("enough")
	}
	m.n++
	u := &modelUser{name: fmt.Sprintf("user%d", m.n), tenant: "a", password: password, levels: map[string]string{}}
	_, tokens, err := m.node(t).Users.Register(ctx, anonymous(), userapi.SelfRegistration{Username: u.name, Email: u.email(), Password: password})
	must(t, err)
	m.add(t, u)
	m.opened(u, tokens)
}

var modelPasswords = rapid.SampledFrom([]userapi.Secret{password, another})

func (m *model) Login(t *rapid.T) {
	u, given := m.user(t), modelPasswords.Draw(t, "password")
	var wanted error
	if u.gone || u.inactive || given != u.password {
		wanted = userapi.ErrBadCredentials
	}
	_, tokens, err := m.node(t).Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: u.name, Password: given})
	if want(t, err, wanted) {
		m.opened(u, tokens)
	}
}

func (m *model) Refresh(t *rapid.T) {
	if len(m.sessions) == 0 {
		t.Skip("nobody was logged in")
	}
	s := rapid.SampledFrom(m.sessions).Draw(t, "session")
	back := rapid.IntRange(0, min(2, len(s.refresh)-1)).Draw(t, "back")
	m.clock.add(time.Duration(rapid.SampledFrom([]int{1, 31}).Draw(t, "seconds")) * time.Second) // to both sides of the grace
	tokens, err := m.node(t).Auth.Refresh(ctx, anonymous(), s.refresh[len(s.refresh)-1-back])
	switch again := back == 1 && m.clock.Now().Sub(s.rotated) <= 30*time.Second; {
	case s.over:
		want(t, err, userapi.ErrTokenRevoked)
	case back == 0:
		must(t, err)
		s.refresh, s.rotated = append(s.refresh, tokens.Refresh), m.clock.Now()
		m.issued(s, tokens)
	case again:
		must(t, err)
		if tokens.Refresh != s.refresh[len(s.refresh)-1] {
			t.Fatal("another successor")
		}
		m.issued(s, tokens)
	default:
		want(t, err, userapi.ErrTokenRevoked)
		m.end(func(other *modelSession) bool { return other == s })
	}
}

func (m *model) Logout(t *rapid.T) {
	if len(m.tokens) == 0 {
		t.Skip("nobody was logged in")
	}
	tok := rapid.SampledFrom(m.tokens).Draw(t, "token")
	must(t, m.node(t).Auth.Logout(ctx, anonymous(), userapi.Secret(tok.text)))
	m.end(func(s *modelSession) bool { return s == tok.in })
}

func (m *model) LogoutAll(t *rapid.T) {
	by, u := m.actor(t), m.user(t)
	m.isolated(t, by, func(api *userapi.API) {
		if want(t, api.Sessions.EndAll(ctx, by.Actor, u.id), by.target(u, true)) {
			m.endUser(u)
		}
	})
}

func (m *model) SetRoles(t *rapid.T) {
	by, u := m.actor(t), m.user(t)
	roles := rapid.SampledFrom([][]string{{}, {"editor"}, {"admin"}, {"admin", "editor"}}).Draw(t, "roles")
	m.isolated(t, by, func(api *userapi.API) {
		wanted := by.target(u, false)
		if wanted == nil && !slices.Contains(roles, "admin") {
			wanted = m.lastAdmin(u)
		}
		given := refs(roles)
		_, tokens, err := api.Users.Change(ctx, by.Actor, u.id, userapi.UserChange{Roles: &given})
		if !want(t, err, wanted) {
			return
		}
		if changed := !slices.Equal(roles, u.roles); changed {
			for _, tok := range m.tokens {
				tok.dead = tok.dead || tok.in.of == u
			}
		}
		u.roles = roles
		if !tokens.IsZero() {
			if by.user != u || by.in == nil {
				t.Fatal("tokens for somebody else")
			}
			m.issued(by.in, tokens)
		}
	})
}

func (m *model) SetActive(t *rapid.T) {
	by, u, active := m.actor(t), m.user(t), rapid.Bool().Draw(t, "active")
	m.isolated(t, by, func(api *userapi.API) {
		wanted := by.target(u, false)
		if wanted == nil && !active {
			wanted = m.lastAdmin(u)
		}
		_, tokens, err := api.Users.Change(ctx, by.Actor, u.id, userapi.UserChange{Active: &active})
		if !want(t, err, wanted) {
			return
		}
		if !tokens.IsZero() {
			t.Fatal("tokens for nothing")
		}
		if u.inactive = !active; u.inactive {
			m.endUser(u)
		}
	})
}

func (m *model) SetPassword(t *rapid.T) {
	by, u, current, next := m.actor(t), m.user(t), modelPasswords.Draw(t, "current"), modelPasswords.Draw(t, "new")
	m.isolated(t, by, func(api *userapi.API) {
		wanted := by.target(u, true)
		switch {
		case by.target(u, true) == userapi.ErrForbidden:
		case !by.HasScope(userapi.ScopePassword):
			wanted = userapi.ErrScopeMissing
		case wanted == nil && by.user == u && current != u.password:
			wanted = userapi.ErrWrongPassword
		}
		_, tokens, err := api.Passwords.Set(ctx, by.Actor, u.id, next, current)
		if !want(t, err, wanted) {
			return
		}
		u.password = next
		m.endUser(u)
		if tokens.IsZero() == (by.user == u && by.in != nil) {
			t.Fatal("tokens are for the session of the owner alone")
		}
		if !tokens.IsZero() {
			m.opened(u, tokens)
		}
	})
}

func (m *model) Reset(t *rapid.T) {
	u, next, api := m.user(t), modelPasswords.Draw(t, "new"), m.node(t)
	delete(m.sent, u.email())
	must(t, api.Passwords.RequestReset(ctx, anonymous(), userapi.ResetRequest{Identifier: u.name}))
	_, err := api.Deliver(ctx)
	must(t, err)
	token, ok := m.sent[u.email()]
	if ok == (u.gone || u.inactive) {
		t.Fatalf("a link was sent: %t", ok)
	}
	if !ok {
		return
	}
	must(t, m.node(t).Passwords.Reset(ctx, anonymous(), token, next))
	want(t, m.node(t).Passwords.Reset(ctx, anonymous(), token, next), userapi.ErrInvalidLink)
	u.password = next
	m.endUser(u)
	for _, k := range m.keys {
		k.gone = k.gone || k.of == u
	}
}

// usable counts the keys of a user that take room.
func (m *model) usable(u *modelUser) (n int) {
	for _, k := range m.keys {
		if k.of == u && !k.gone && !k.disabled {
			n++
		}
	}
	return n
}

func (m *model) CreateKey(t *rapid.T) {
	by, u := m.actor(t), m.user(t)
	scopes := rapid.SliceOfNDistinct(rapid.SampledFrom(modelScopes), 0, 3, rapid.ID).Draw(t, "scopes")
	m.n++
	m.isolated(t, by, func(api *userapi.API) {
		wanted := by.target(u, true)
		switch {
		case by.key != nil:
			wanted = userapi.ErrForbidden
		case wanted != nil:
		case u.inactive:
			wanted = userapi.ErrInvalid
		case m.usable(u) >= 2:
			wanted = userapi.ErrKeyQuota
		}
		k, text, err := api.Keys.Create(ctx, by.Actor, u.id, userapi.NewAPIKey{Name: fmt.Sprintf("key %d", m.n), Scopes: scopes})
		if want(t, err, wanted) {
			m.keys = append(m.keys, &modelKey{of: u, id: k.ID, text: text, scopes: scopes})
		}
	})
}

// key is one that was made, and what the actor may do to it.
func (m *model) key(t *rapid.T, by modelActor) (*modelKey, error) {
	if len(m.keys) == 0 {
		t.Skip("there are none")
	}
	k := rapid.SampledFrom(m.keys).Draw(t, "key")
	switch {
	case by.key != nil:
		return k, userapi.ErrForbidden
	case k.gone || !by.sees(k.of) || !by.may(k.of):
		return k, userapi.ErrNotFound
	}
	return k, nil
}

func (m *model) ChangeKey(t *rapid.T) {
	by, active := m.actor(t), rapid.Bool().Draw(t, "active")
	k, wanted := m.key(t, by)
	if wanted == nil && active && k.disabled && m.usable(k.of) >= 2 {
		wanted = userapi.ErrKeyQuota
	}
	m.isolated(t, by, func(api *userapi.API) {
		scopes := rapid.SliceOfNDistinct(rapid.SampledFrom(modelScopes), 0, 3, rapid.ID).Draw(t, "scopes")
		_, err := api.Keys.Change(ctx, by.Actor, k.id, userapi.APIKeyChange{Active: &active, Scopes: &scopes})
		if want(t, err, wanted) {
			k.disabled, k.scopes = !active, scopes
		}
	})
}

func (m *model) DeleteKey(t *rapid.T) {
	by := m.actor(t)
	k, wanted := m.key(t, by)
	m.isolated(t, by, func(api *userapi.API) {
		if want(t, api.Keys.Delete(ctx, by.Actor, k.id), wanted) {
			k.gone = true
		}
	})
}

func (m *model) Membership(t *rapid.T) {
	by, u := m.actor(t), m.user(t)
	doc, level := rapid.SampledFrom([]string{"a1", "b1"}).Draw(t, "doc"), rapid.SampledFrom([]string{"", "reader", "writer"}).Draw(t, "level")
	m.isolated(t, by, func(api *userapi.API) {
		wanted := by.target(u, false)
		if wanted == nil && by.user != nil && doc[:1] != by.user.tenant {
			wanted = userapi.ErrNotFound
		}
		if level != "" {
			_, err := api.Memberships.Set(ctx, by.Actor, userapi.Membership{UserID: u.id, Resource: "doc", ResourceID: doc, Level: level})
			if want(t, err, wanted) {
				u.levels[doc] = level
			}
			return
		}
		if wanted == nil && u.levels[doc] == "" {
			wanted = userapi.ErrNotFound
		}
		if want(t, api.Memberships.Remove(ctx, by.Actor, u.id, "doc", doc), wanted) {
			delete(u.levels, doc)
		}
	})
}

func (m *model) Move(t *rapid.T) {
	by, u, to := m.actor(t), m.user(t), rapid.SampledFrom([]string{"a", "b"}).Draw(t, "to")
	var wanted error
	switch {
	case by.user != nil:
		wanted = userapi.ErrForbidden
	case u.gone:
		wanted = userapi.ErrNotFound
	case to != u.tenant:
		wanted = m.lastAdmin(u)
	}
	_, _, err := m.node(t).Users.Change(ctx, by.Actor, u.id, userapi.UserChange{CustomerID: &to})
	if want(t, err, wanted) && to != u.tenant {
		u.tenant, u.levels = to, map[string]string{}
		m.endUser(u)
	}
}

func (m *model) Delete(t *rapid.T) {
	by, u := m.actor(t), m.user(t)
	m.isolated(t, by, func(api *userapi.API) {
		wanted := by.target(u, false)
		if wanted == nil {
			wanted = m.lastAdmin(u)
		}
		if want(t, api.Users.Delete(ctx, by.Actor, u.id), wanted) {
			m.erased(u)
		}
	})
}

func (m *model) DeleteSelf(t *rapid.T) {
	by, given := m.actor(t), modelPasswords.Draw(t, "password")
	m.isolated(t, by, func(api *userapi.API) {
		var wanted error
		switch {
		case by.user == nil || by.key != nil:
			wanted = userapi.ErrForbidden
		case given != by.user.password:
			wanted = userapi.ErrWrongPassword
		default:
			wanted = m.lastAdmin(by.user)
		}
		if want(t, api.Users.DeleteSelf(ctx, by.Actor, given), wanted) {
			m.erased(by.user)
		}
	})
}

func (m *model) erased(u *modelUser) {
	u.gone = true
	m.endUser(u)
	for _, k := range m.keys {
		k.gone = k.gone || k.of == u
	}
}

func (m *model) Wait(t *rapid.T) {
	m.clock.add(time.Duration(rapid.SampledFrom([]int{1, 20, 600}).Draw(t, "seconds")) * time.Second)
}

// isolated runs a call, and wants that it changes nothing in a tenant that the actor is not of.
func (m *model) isolated(t *rapid.T, by modelActor, call func(api *userapi.API)) {
	api := m.node(t)
	if by.user == nil {
		call(api)
		return
	}
	tenant := by.user.tenant
	before := m.others(t, tenant)
	call(api)
	if after := m.others(t, tenant); !reflect.DeepEqual(before, after) {
		t.Fatalf("another tenant was\n%+v, and is\n%+v", before, after)
	}
}

// others is all that can be seen of users outside the tenant.
func (m *model) others(t *rapid.T, tenant string) (all []userapi.UserData) {
	for _, u := range m.users {
		if !u.gone && u.tenant != tenant {
			data, err := m.nodes[1].Users.Data(ctx, userapi.System(), u.id)
			must(t, err)
			all = append(all, data)
		}
	}
	return all
}

func (m *model) Check(t *rapid.T) {
	for _, api := range m.nodes {
		for _, tok := range m.tokens {
			id, err := api.Auth.Authenticate(ctx, tok.text)
			u := tok.in.of
			if (err == nil) != m.good(tok) {
				t.Fatalf("a token of %s is dead: %t, and the answer is %v", u.name, tok.dead, err)
			}
			if err == nil && (id.UserID() != u.id || id.CustomerID() != u.tenant || !slices.Equal(id.Roles(), u.roles)) {
				t.Fatalf("a token of %s says %s %s %v, and it is %+v", u.name, id.UserID(), id.CustomerID(), id.Roles(), u)
			}
		}
		for _, k := range m.keys {
			id, err := api.Auth.AuthenticateKey(ctx, userapi.Anonymous(), k.text)
			if (err == nil) != m.live(k) {
				t.Fatalf("a key of %s is live: %t, and the answer is %v", k.of.name, m.live(k), err)
			}
			if err == nil && (id.CustomerID() != k.of.tenant || !slices.Equal(id.Roles(), k.of.roles) || !slices.Equal(slices.Sorted(slices.Values(id.Scopes())), slices.Sorted(slices.Values(k.scopes)))) {
				t.Fatalf("a key of %s says %s %v %v, and it is %+v %v", k.of.name, id.CustomerID(), id.Roles(), id.Scopes(), k.of, k.scopes)
			}
		}
	}
	admins := map[string]int{}
	for _, u := range m.users {
		data, err := m.nodes[0].Users.Data(ctx, userapi.System(), u.id)
		if u.gone {
			want(t, err, userapi.ErrNotFound)
			continue
		}
		must(t, err)
		codes, levels := []string{}, map[string]string{}
		for _, r := range data.User.Roles {
			codes = append(codes, r.Code)
		}
		for _, one := range data.Memberships {
			levels[one.ResourceID] = one.Level
		}
		open := 0
		for _, s := range m.sessions {
			if s.of == u && !s.over {
				open++
			}
		}
		if data.User.Active == u.inactive || data.User.CustomerID != u.tenant || !slices.Equal(codes, u.roles) || !reflect.DeepEqual(levels, u.levels) || len(data.Sessions) != open {
			t.Fatalf("%s is %+v with %d sessions, and should be %+v with %d", u.name, data, len(data.Sessions), u, open)
		}
		if data.User.Active && data.User.HasRole("admin") {
			admins[data.User.CustomerID]++
		}
	}
	if admins["a"] == 0 || admins["b"] == 0 {
		t.Fatalf("active admins: %v", admins)
	}
	// What is over stays over; a few of them are enough from then on.
	if dead := slices.IndexFunc(m.tokens, func(tok *modelToken) bool { return !m.good(tok) }); len(m.tokens) > 30 && dead >= 0 {
		m.tokens = slices.Delete(m.tokens, dead, dead+1)
	}
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		t.Repeat(rapid.StateMachineActions(newModel(t, memory.New())))
	})
}

// On SQLite each check has a copy of one file. They take longer, and so are a tenth as many.
func TestModel_on_SQLite(t *testing.T) {
	dir, n := t.TempDir(), 0
	open := func(name string) (*sqlite.Store, *sql.DB) {
		db, err := sql.Open("sqlite", sqlite.DSN(filepath.Join(dir, name)))
		require.NoError(t, err)
		return sqlite.New(db), db
	}
	st, db := open("empty")
	require.NoError(t, st.Migrate(ctx))
	require.NoError(t, db.Close())
	empty, err := os.ReadFile(filepath.Join(dir, "empty"))
	require.NoError(t, err)
	checks := flag.Lookup("rapid.checks").Value
	all := checks.String()
	number, err := strconv.Atoi(all)
	require.NoError(t, err)
	require.NoError(t, checks.Set(strconv.Itoa(max(1, number/10))))
	defer func() { _ = checks.Set(all) }()
	rapid.Check(t, func(t *rapid.T) {
		n++
		name := fmt.Sprint(n)
		must(t, os.WriteFile(filepath.Join(dir, name), empty, 0o600))
		st, db := open(name)
		defer db.Close()
		t.Repeat(rapid.StateMachineActions(newModel(t, st)))
	})
}
