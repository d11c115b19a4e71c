package storetest

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/userapi/userapi"
)

// nodes are two API values on one database, as in two processes: they share nothing but the store and the secret.
type nodes struct {
	*tenant
	apis    []*userapi.API
	start   func(st userapi.Store, staleness time.Duration) *userapi.API
	late    func() *userapi.API  // a node that starts now: it reads the revocations once, for all of a round's tokens
	admin   func() userapi.Actor // of the tenant, who is made when first asked for
	created atomic.Int64         // calls of the hook UserCreated
}

const (
	oldPassword userapi.Secret = "seven green bottles"
	newPassword userapi.Secret = "hanging on the wall"
)

func (f *tenant) nodes(edits ...func(*userapi.Config)) *nodes {
	f.t.Helper()
	n := &nodes{tenant: f}
	secret := userapi.Secret(rand.Text() + rand.Text())
	n.start = func(st userapi.Store, staleness time.Duration) *userapi.API {
		cfg := userapi.Config{
			Store: st, Secret: secret, Staleness: staleness, Limits: userapi.Limits{},
			Password:     userapi.PasswordPolicy{Argon2id: userapi.Argon2id{MemoryKiB: 8, Passes: 1, Threads: 1}},
			Registration: userapi.Registration{Policy: userapi.RegistrationOpen, Customer: f.customer},
			Hooks:        userapi.Hooks{UserCreated: func(context.Context, userapi.User) { n.created.Add(1) }},
		}
		for _, edit := range edits {
			edit(&cfg)
		}
		api, err := userapi.New(cfg)
		must(f.t, err)
		return api
	}
	n.apis = []*userapi.API{n.start(f.db.first, userapi.ReadAlways), n.start(f.db.second, userapi.ReadAlways)}
	n.admin = sync.OnceValue(func() userapi.Actor { return n.actor(n.loggedIn(n.user("admin", n.role(userapi.RoleAdmin)))) })
	n.late = func() *userapi.API { return n.start(f.db.second, time.Minute) }
	return n
}

// race is database.race over the two API values.
func (n *nodes) race(racers int, run func(i int, api *userapi.API) error) []error {
	return n.db.race(racers, func(i int, _ userapi.Store) error { return run(i, n.apis[i%2]) })
}

// user creates an active user who logs in with the old password.
func (n *nodes) user(name string, roles ...userapi.Role) userapi.User {
	n.t.Helper()
	u := userapi.NewUser{Username: n.key(name), Password: oldPassword, Active: true, CustomerID: n.customer}
	for _, r := range roles {
		u.Roles = append(u.Roles, userapi.RoleRef{Code: r.Code})
	}
	created, err := n.apis[0].Users.Create(n.t.Context(), userapi.System(), u)
	must(n.t, err)
	return created
}

func (n *nodes) login(api *userapi.API, u userapi.User, password userapi.Secret) (userapi.Tokens, error) {
	_, tokens, err := api.Auth.Login(n.t.Context(), userapi.Anonymous(), userapi.LoginRequest{Identifier: u.Username, Password: password})
	return tokens, err
}

func (n *nodes) loggedIn(u userapi.User) userapi.Tokens {
	n.t.Helper()
	tokens, err := n.login(n.apis[0], u, oldPassword)
	must(n.t, err)
	return tokens
}

// actor is the user of an access token.
func (n *nodes) actor(tokens userapi.Tokens) userapi.Actor {
	n.t.Helper()
	identity, err := n.apis[0].Auth.Authenticate(n.t.Context(), string(tokens.Access))
	must(n.t, err)
	return identity.Actor()
}

// dead wants that no token opens anything: each is shown to a node that starts now, the last to all nodes.
func (n *nodes) dead(issued ...userapi.Tokens) {
	n.t.Helper()
	late := n.late()
	for i, tokens := range issued {
		if tokens.IsZero() {
			continue
		}
		apis := []*userapi.API{late}
		if i == len(issued)-1 {
			apis = append(apis, n.apis...)
		}
		for _, api := range apis {
			_, err := api.Auth.Authenticate(n.t.Context(), string(tokens.Access))
			is(n.t, err, userapi.ErrTokenRevoked)
			_, err = api.Auth.Refresh(n.t.Context(), userapi.Anonymous(), tokens.Refresh)
			is(n.t, err, userapi.ErrTokenRevoked)
		}
	}
}

func (s suite) apiRaces(t *testing.T) {
	db := s.database(t)
	db.rounds = apiRounds

	// Logins and refreshes go on while one write ends the trust they are given under.
	for name, end := range map[string]func(ctx context.Context, api *userapi.API, id string) error{
		"a new password": func(ctx context.Context, api *userapi.API, id string) error {
			_, _, err := api.Passwords.Set(ctx, userapi.System(), id, newPassword, "")
			return err
		},
		"deactivation": func(ctx context.Context, api *userapi.API, id string) error {
			_, err := api.Users.Deactivate(ctx, userapi.System(), id)
			return err
		},
		"deletion": func(ctx context.Context, api *userapi.API, id string) error {
			return api.Users.Delete(ctx, userapi.System(), id)
		},
	} {
		db.every(t, "A11 nothing issued before "+name+" outlives it", func(t *testing.T, f *tenant) {
			n := f.nodes()
			u := n.user("u")
			first := n.loggedIn(u)
			issued := make([]userapi.Tokens, racers)
			results := n.race(racers, func(i int, api *userapi.API) (err error) {
				switch {
				case i == racers/2:
					return end(t.Context(), api, u.ID)
				case i%4 < 2:
					issued[i], err = n.login(api, u, oldPassword)
				default:
					issued[i], err = api.Auth.Refresh(t.Context(), userapi.Anonymous(), first.Refresh)
				}
				return err
			})
			winners(t, results, userapi.ErrBadCredentials, userapi.ErrTokenRevoked)
			must(t, results[racers/2])
			n.dead(append(issued, first)...)
			same(t, len(f.sessionsOf(u.ID)), 0, "sessions")
			for _, api := range n.apis {
				_, err := n.login(api, u, oldPassword)
				is(t, err, userapi.ErrBadCredentials)
			}
		})
	}

	db.every(t, "H07 no token carries a role that was taken before", func(t *testing.T, f *tenant) {
		n := f.nodes()
		role := f.role(f.key("role"))
		u := n.user("u", role)
		sessions := make([]userapi.Tokens, racers)
		for i := range sessions {
			sessions[i] = n.loggedIn(u)
		}
		issued := make([]userapi.Tokens, racers)
		results := n.race(racers, func(i int, api *userapi.API) (err error) {
			if i == racers/2 {
				_, _, err = api.Users.Change(t.Context(), userapi.System(), u.ID, userapi.UserChange{Roles: &[]userapi.RoleRef{}})
				return err
			}
			issued[i], err = api.Auth.Refresh(t.Context(), userapi.Anonymous(), sessions[i].Refresh)
			return err
		})
		same(t, winners(t, results), racers, "refreshes, all of which go on")
		late := n.late()
		lacksRole := func(tokens userapi.Tokens) error {
			identity, err := late.Auth.Authenticate(t.Context(), string(tokens.Access))
			if identity.HasRole(role.Code) {
				t.Fatalf("a token carries %v after the role was taken", identity.Roles())
			}
			return err
		}
		for i, tokens := range issued {
			if i == racers/2 {
				continue
			}
			if err := lacksRole(tokens); err != nil {
				is(t, err, userapi.ErrTokenRevoked)
			}
			next, err := late.Auth.Refresh(t.Context(), userapi.Anonymous(), tokens.Refresh)
			must(t, err)
			must(t, lacksRole(next))
		}
	})

	db.every(t, "B02 of many refreshes with one token all get the same successor", func(t *testing.T, f *tenant) {
		n := f.nodes()
		u := n.user("u")
		tokens := n.loggedIn(u)
		for range 2 {
			issued := make([]userapi.Tokens, racers)
			same(t, winners(t, n.race(racers, func(i int, api *userapi.API) (err error) {
				issued[i], err = api.Auth.Refresh(t.Context(), userapi.Anonymous(), tokens.Refresh)
				return err
			})), racers, "refreshes")
			for _, one := range issued {
				same(t, one.Refresh == issued[0].Refresh, true, "whether the refresh tokens are equal")
			}
			tokens = issued[racers-1]
			n.actor(tokens)
		}
		same(t, len(f.sessionsOf(u.ID)), 1, "sessions")
	})

	db.every(t, "B04 nothing issued in a session outlives its logout", func(t *testing.T, f *tenant) {
		n := f.nodes()
		u := n.user("u")
		first, other := n.loggedIn(u), n.loggedIn(u)
		issued := make([]userapi.Tokens, racers)
		results := n.race(racers, func(i int, api *userapi.API) (err error) {
			if i%16 == 7 {
				return api.Auth.Logout(t.Context(), userapi.Anonymous(), first.Access, first.Refresh)
			}
			issued[i], err = api.Auth.Refresh(t.Context(), userapi.Anonymous(), first.Refresh)
			return err
		})
		winners(t, results, userapi.ErrTokenRevoked)
		for i := 7; i < racers; i += 16 {
			must(t, results[i])
		}
		n.dead(append(issued, first)...)
		n.actor(other)
	})

	db.every(t, "C10 a hash upgrade at login loses against a new password", func(t *testing.T, f *tenant) {
		old := f.nodes(func(cfg *userapi.Config) { cfg.Password.Argon2id.MemoryKiB = 16 })
		u := old.user("u")
		n := f.nodes()
		results := n.race(racers, func(i int, api *userapi.API) error {
			if i == racers/2 {
				_, _, err := api.Passwords.Set(t.Context(), userapi.System(), u.ID, newPassword, "")
				return err
			}
			_, err := n.login(api, u, oldPassword)
			return err
		})
		winners(t, results, userapi.ErrBadCredentials)
		must(t, results[racers/2])
		_, err := n.login(n.apis[0], u, oldPassword)
		is(t, err, userapi.ErrBadCredentials)
		_, err = n.login(n.apis[1], u, newPassword)
		must(t, err)
	})

	db.every(t, "C10 a hash is upgraded once, and no login fails because of it", func(t *testing.T, f *tenant) {
		u := f.nodes(func(cfg *userapi.Config) { cfg.Password.Argon2id.MemoryKiB = 16 }).user("u")
		before := f.read(u.ID)
		n := f.nodes()
		same(t, winners(t, n.race(racers, func(_ int, api *userapi.API) error {
			_, err := n.login(api, u, oldPassword)
			return err
		})), racers, "logins")
		after := f.read(u.ID)
		same(t, after.PasswordHash != before.PasswordHash, true, "whether the hash was upgraded")
		same(t, after.Version, before.Version+1, "version after one upgrade")
	})

	db.every(t, "H06 two admins who demote each other leave one", func(t *testing.T, f *tenant) {
		n := f.nodes()
		admin := f.role(userapi.RoleAdmin)
		users := []userapi.User{n.user("a", admin), n.user("b", admin)}
		actors := []userapi.Actor{n.actor(n.loggedIn(users[0])), n.actor(n.loggedIn(users[1]))}
		off := false
		changes := []userapi.UserChange{{Roles: &[]userapi.RoleRef{}}, {Active: &off}}
		same(t, winners(t, n.race(2, func(i int, api *userapi.API) error {
			_, _, err := api.Users.Change(t.Context(), actors[i], users[1-i].ID, changes[i])
			return err
		}), userapi.ErrLastAdmin), 1, "admins removed")
		left := 0
		for _, u := range users {
			if a := f.read(u.ID); a.Active && a.HasRole(userapi.RoleAdmin) {
				left++
			}
		}
		same(t, left, 1, "admins left")
	})

	db.every(t, "F06 one e-mail address in many spellings registers once", func(t *testing.T, f *tenant) {
		n := f.nodes()
		issued := make([]userapi.Tokens, racers)
		results := n.race(racers, func(i int, api *userapi.API) (err error) {
			email := []byte(f.key("@Example.com"))
			for bit := range 6 {
				if i>>bit&1 == 1 {
					email[bit] = strings.ToUpper(string(email[bit]))[0]
				}
			}
			_, issued[i], err = api.Users.Register(t.Context(), userapi.Anonymous(), userapi.SelfRegistration{Email: string(email), Password: oldPassword})
			return err
		})
		same(t, winners(t, results, userapi.ErrEmailTaken), 1, "registrations")
		users := f.list(userapi.UserFilter{})
		same(t, len(users), 1, "accounts")
		same(t, n.created.Load(), int64(1), "calls of the hook")
		same(t, n.actor(issued[slices.Index(results, nil)]).UserID(), users[0].ID, "who is logged in")
	})

	db.every(t, "H17 many nodes that start at once make one admin", func(t *testing.T, f *tenant) {
		n := f.nodes()
		first := userapi.Bootstrap{Customer: f.key("c"), Username: f.key("admin"), Password: oldPassword}
		made := make([]bool, racers)
		results := n.race(racers, func(i int, api *userapi.API) (err error) {
			made[i], err = api.Bootstrap(t.Context(), first)
			return err
		})
		same(t, winners(t, results), racers, "nodes that started")
		same(t, len(slices.DeleteFunc(made, func(made bool) bool { return !made })), 1, "nodes that made the account")
		users := f.list(userapi.UserFilter{Scope: userapi.Scope{Customer: first.Customer}})
		same(t, len(users), 1, "accounts")
		same(t, f.read(users[0].ID).HasRole(userapi.RoleAdmin), true, "whether it is an admin")
	})

	db.every(t, "B12 the cap of sessions holds for parallel logins", func(t *testing.T, f *tenant) {
		const most = 5
		n := f.nodes(func(cfg *userapi.Config) { cfg.SessionsPerUser = most })
		u := n.user("u")
		issued := make([]userapi.Tokens, racers)
		same(t, winners(t, n.race(racers, func(i int, api *userapi.API) (err error) {
			issued[i], err = n.login(api, u, oldPassword)
			return err
		})), racers, "logins")
		late, alive := n.late(), 0
		for _, tokens := range issued {
			_, err := late.Auth.Authenticate(t.Context(), string(tokens.Access))
			if err == nil {
				alive++
				continue
			}
			is(t, err, userapi.ErrTokenRevoked)
		}
		same(t, alive, most, "access tokens alive")
	})
}
