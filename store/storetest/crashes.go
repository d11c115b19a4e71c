package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/userapi/userapi"
)

// failure is what happens at one call of the store.
type failure string

const (
	failsBefore failure = "fails before"      // nothing was written
	failsAfter  failure = "fails after"       // all of it was, and nobody knows
	leftBefore  failure = "finds nobody"      // the caller is gone when it begins
	leftAfter   failure = "answers to nobody" // the caller is gone when it is done
)

// flow is a method of a noun, as whoever calls it sees it.
type flow struct {
	name string
	// again are what a second call may answer, besides success, where the first was done and got no answer.
	again []error
	// closed: no call may fail and be passed over.
	closed bool
	// begin prepares users, of whom state tells. run makes the call; done reports whether it had its effect.
	begin func(n *nodes) (ids []string, run func(ctx context.Context, api *userapi.API) (userapi.Tokens, error), done func() bool)
}

type runner = func(ctx context.Context, api *userapi.API) (userapi.Tokens, error)

// member is a user, with an admin of the same customer, both logged in.
type member struct {
	userapi.User
	tokens       userapi.Tokens
	actor, admin userapi.Actor
}

func (n *nodes) member() member {
	m := member{User: n.user(newID())}
	m.tokens = n.loggedIn(m.User)
	m.actor, m.admin = n.actor(m.tokens), n.admin()
	return m
}

func (n *nodes) canLogIn(u userapi.User, password userapi.Secret) bool {
	_, err := n.login(n.apis[1], u, password)
	return err == nil
}

var flows = []flow{
	{"a login", nil, false, func(n *nodes) ([]string, runner, func() bool) {
		u := n.user(newID())
		return []string{u.ID}, func(ctx context.Context, api *userapi.API) (userapi.Tokens, error) {
			_, tokens, err := api.Auth.Login(ctx, userapi.Anonymous(), userapi.LoginRequest{Identifier: u.Username, Password: oldPassword})
			return tokens, err
		}, func() bool { return len(n.sessionsOf(u.ID)) > 0 }
	}},
	{"a registration", []error{userapi.ErrUsernameTaken}, false, func(n *nodes) ([]string, runner, func() bool) {
		r := userapi.SelfRegistration{Username: newID(), Password: oldPassword}
		return nil, func(ctx context.Context, api *userapi.API) (userapi.Tokens, error) {
			_, tokens, err := api.Users.Register(ctx, userapi.Anonymous(), r)
			return tokens, err
		}, func() bool { return n.canLogIn(userapi.User{Username: r.Username}, oldPassword) }
	}},
	{"a second factor", []error{userapi.ErrTokenRevoked}, false, func(n *nodes) ([]string, runner, func() bool) {
		u := n.user("second-factor-" + newID())
		half, err := n.apis[0].Auth.AuthenticateStep(n.t.Context(), string(n.loggedIn(u).Access), userapi.StepSecondFactor)
		must(n.t, err)
		return []string{u.ID}, func(ctx context.Context, api *userapi.API) (userapi.Tokens, error) {
			_, tokens, err := api.Auth.CompleteLogin(ctx, half.Actor(), "otp", func(context.Context, userapi.User) (bool, error) { return true, nil })
			return tokens, err
		}, func() bool { open := n.sessionsOf(u.ID); return len(open) == 1 && open[0].Step == "" }
	}},
	{"a refresh", nil, false, func(n *nodes) ([]string, runner, func() bool) {
		m := n.member()
		return []string{m.ID}, func(ctx context.Context, api *userapi.API) (userapi.Tokens, error) {
			return api.Auth.Refresh(ctx, userapi.Anonymous(), m.tokens.Refresh)
		}, func() bool { return n.sessionsOf(m.ID)[0].Counter == 2 }
	}},
	{"a refresh token that comes back", []error{userapi.ErrTokenRevoked}, false, func(n *nodes) ([]string, runner, func() bool) {
		m := n.member()
		for next := m.tokens; n.sessionsOf(m.ID)[0].Counter < 3; {
			var err error
			next, err = n.apis[0].Auth.Refresh(n.t.Context(), userapi.Anonymous(), next.Refresh)
			must(n.t, err)
		}
		return []string{m.ID}, func(ctx context.Context, api *userapi.API) (userapi.Tokens, error) {
			tokens, err := api.Auth.Refresh(ctx, userapi.Anonymous(), m.tokens.Refresh)
			if errors.Is(err, userapi.ErrTokenRevoked) { // is what it should answer
				err = nil
			}
			return tokens, err
		}, func() bool { return len(n.sessionsOf(m.ID)) == 0 }
	}},
	{"a check of an access token", nil, true, func(n *nodes) ([]string, runner, func() bool) {
		m := n.member()
		checked := false
		return []string{m.ID}, func(ctx context.Context, api *userapi.API) (userapi.Tokens, error) {
			_, err := api.Auth.Authenticate(ctx, string(m.tokens.Access))
			checked = checked || err == nil
			return userapi.Tokens{}, err
		}, func() bool { return checked }
	}},
	{"a check of an API key", nil, false, func(n *nodes) ([]string, runner, func() bool) {
		m := n.member()
		key, err := n.keyOf(n.apis[0], m.actor, m.User, userapi.ScopeRead)
		must(n.t, err)
		checked := false
		return nil, func(ctx context.Context, api *userapi.API) (userapi.Tokens, error) {
			_, err := api.Auth.AuthenticateKey(ctx, userapi.Anonymous(), key)
			checked = checked || err == nil
			return userapi.Tokens{}, err
		}, func() bool { return checked }
	}},
	{"a logout", nil, false, func(n *nodes) ([]string, runner, func() bool) {
		m := n.member()
		return []string{m.ID}, func(ctx context.Context, api *userapi.API) (userapi.Tokens, error) {
			return userapi.Tokens{}, api.Auth.Logout(ctx, userapi.Anonymous(), m.tokens.Refresh, m.tokens.Access)
		}, func() bool { return len(n.sessionsOf(m.ID)) == 0 }
	}},
	{"the end of all sessions", nil, false, func(n *nodes) ([]string, runner, func() bool) {
		m := n.member()
		return []string{m.ID}, func(ctx context.Context, api *userapi.API) (userapi.Tokens, error) {
			return userapi.Tokens{}, api.Sessions.EndAll(ctx, m.admin, m.ID)
		}, func() bool { return len(n.sessionsOf(m.ID)) == 0 }
	}},
	{"a change of the own password", []error{userapi.ErrWrongPassword, userapi.ErrTokenRevoked}, false, func(n *nodes) ([]string, runner, func() bool) {
		m := n.member()
		return []string{m.ID}, func(ctx context.Context, api *userapi.API) (userapi.Tokens, error) {
			_, tokens, err := api.Passwords.Change(ctx, m.actor, oldPassword, newPassword)
			return tokens, err
		}, func() bool { return n.canLogIn(m.User, newPassword) }
	}},
	{"a change of roles", nil, false, func(n *nodes) ([]string, runner, func() bool) {
		m := n.member()
		epoch := n.read(m.ID).Epoch
		return []string{m.ID}, func(ctx context.Context, api *userapi.API) (userapi.Tokens, error) {
			_, _, err := api.Users.Change(ctx, m.admin, m.ID, userapi.UserChange{Roles: &[]userapi.RoleRef{{Code: userapi.RoleAdmin}}})
			return userapi.Tokens{}, err
		}, func() bool { a := n.read(m.ID); return len(a.Roles) == 1 && a.Epoch > epoch }
	}},
	{"a deactivation", nil, false, func(n *nodes) ([]string, runner, func() bool) {
		m := n.member()
		return []string{m.ID}, func(ctx context.Context, api *userapi.API) (userapi.Tokens, error) {
			_, err := api.Users.Deactivate(ctx, m.admin, m.ID)
			return userapi.Tokens{}, err
		}, func() bool { return !n.read(m.ID).Active && len(n.sessionsOf(m.ID)) == 0 }
	}},
	{"a new API key", []error{userapi.ErrKeyNameTaken}, false, func(n *nodes) ([]string, runner, func() bool) {
		m := n.member()
		return []string{m.ID}, func(ctx context.Context, api *userapi.API) (userapi.Tokens, error) {
			_, key, err := api.Keys.Create(ctx, m.actor, m.ID, userapi.NewAPIKey{Name: "one", Scopes: []string{userapi.ScopeRead}})
			if (key == "") != (err != nil) {
				n.t.Fatalf("a key, or an error: %v", err)
			}
			return userapi.Tokens{}, err
		}, func() bool { return len(n.keysOf(m.ID)) == 1 }
	}},
	{"an API key disabled", nil, false, func(n *nodes) ([]string, runner, func() bool) {
		m := n.member()
		k := n.addKey(n.read(m.ID))
		return []string{m.ID}, func(ctx context.Context, api *userapi.API) (userapi.Tokens, error) {
			_, err := api.Keys.Change(ctx, m.actor, k.ID, userapi.APIKeyChange{Active: new(bool)})
			return userapi.Tokens{}, err
		}, func() bool { return !n.keysOf(m.ID)[0].Active && n.hasRevocation(userapi.RevokeKey, k.ID) }
	}},
	{"the end of an API key", []error{userapi.ErrNotFound}, false, func(n *nodes) ([]string, runner, func() bool) {
		m := n.member()
		k := n.addKey(n.read(m.ID))
		return []string{m.ID}, func(ctx context.Context, api *userapi.API) (userapi.Tokens, error) {
			return userapi.Tokens{}, api.Keys.Delete(ctx, m.actor, k.ID)
		}, func() bool { return len(n.keysOf(m.ID)) == 0 && n.hasRevocation(userapi.RevokeKey, k.ID) }
	}},
	{"a membership", nil, false, func(n *nodes) ([]string, runner, func() bool) {
		m := n.member()
		return []string{m.ID}, func(ctx context.Context, api *userapi.API) (userapi.Tokens, error) {
			_, err := api.Memberships.Set(ctx, m.admin, userapi.Membership{UserID: m.ID, Resource: "doc", ResourceID: "1", Level: "member"})
			return userapi.Tokens{}, err
		}, func() bool { return len(n.membershipsOf(m.ID)) == 1 }
	}},
	{"the end of a membership", []error{userapi.ErrNotFound}, false, func(n *nodes) ([]string, runner, func() bool) {
		m := n.member()
		n.give(n.read(m.ID), "1", "member")
		return []string{m.ID}, func(ctx context.Context, api *userapi.API) (userapi.Tokens, error) {
			return userapi.Tokens{}, api.Memberships.Remove(ctx, m.admin, m.ID, "doc", "1")
		}, func() bool { return len(n.membershipsOf(m.ID)) == 0 }
	}},
	{"the end of the own account", []error{userapi.ErrTokenRevoked}, false, func(n *nodes) ([]string, runner, func() bool) {
		m := n.member()
		return nil, func(ctx context.Context, api *userapi.API) (userapi.Tokens, error) {
			return userapi.Tokens{}, api.Users.DeleteSelf(ctx, m.actor, oldPassword)
		}, func() bool { return !n.canLogIn(m.User, oldPassword) }
	}},
}

// crashes lets every call of the store fail in turn, in every way, and asks what the caller is told and what is there then.
func (s suite) crashes(t *testing.T) {
	db := s.database(t)
	for _, one := range flows {
		t.Run(one.name+" is done or not, and a second try tells", func(t *testing.T) {
			n := db.tenant(t).nodes(func(c *userapi.Config) {
				c.Limits, c.SecondFactor = userapi.DefaultLimits(), secondFactor{}
				c.Memberships = userapi.MembershipConfig{Levels: []string{"member"}, Owns: func(context.Context, string, string, string) (bool, error) { return true, nil }}
			})
			ways := []failure{failsAfter, leftBefore}
			if db.first == db.second { // these ask nothing of the store: where it has two handles they only take time
				ways = append(ways, failsBefore, leftAfter)
			}
			for _, how := range ways {
				for at := 1; ; at++ {
					if !one.crash(t, n, how, at) {
						break
					}
				}
			}
		})
	}
}

// secondFactor is asked of those who are named after it.
type secondFactor struct{}

func (secondFactor) Required(_ context.Context, u userapi.User) (bool, error) {
	return strings.Contains(u.Username, "second-factor"), nil
}

// crash runs the flow once and reports whether it came to the call at.
func (one flow) crash(t *testing.T, n *nodes, how failure, at int) bool {
	name := fmt.Sprintf("call %d %s", at, how)
	ids, run, done := one.begin(n)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	store := &crashing{Store: n.Store, at: at, how: how, leave: leave}
	before := n.state(ids...)
	tokens, err := run(ctx, n.start(store, userapi.ReadAlways))

	was := done()
	switch {
	case err == nil && !was:
		t.Fatalf("%s: answered with success, and nothing was done", name)
	case err == nil && one.closed && store.calls >= at && how != leftAfter:
		t.Fatalf("%s: it fails open", name)
	case err != nil && store.calls < at:
		t.Fatalf("%s: nothing failed, and yet: %v", name, err)
	case err != nil && userapi.AsError(err).Kind != userapi.Unavailable:
		t.Fatalf("%s: error is %v", name, err)
	case err != nil && !tokens.IsZero():
		t.Fatalf("%s: tokens with an error", name)
	case !was:
		same(t, n.state(ids...), before, name+": what was not done left this behind")
	}
	n.good(tokens)
	tokens, err = run(t.Context(), n.apis[0]) // once more, as whoever got no answer does
	if err != nil && !(was && slices.ContainsFunc(one.again, func(known error) bool { return errors.Is(err, known) })) {
		t.Fatalf("%s: done is %t, and then: %v", name, was, err)
	}
	same(t, done(), true, name+": done in the end")
	if n.good(tokens); tokens.Refresh != "" {
		_, err = n.apis[1].Auth.Refresh(t.Context(), userapi.Anonymous(), tokens.Refresh)
		must(t, err)
	}
	return store.calls >= at
}

// good wants that tokens, if there are any, are of a session that is there.
func (n *nodes) good(tokens userapi.Tokens) {
	n.t.Helper()
	if tokens.IsZero() {
		return
	}
	id, err := n.late().Auth.Authenticate(n.t.Context(), string(tokens.Access))
	must(n.t, err)
	_, err = n.SessionByID(n.t.Context(), id.SessionID())
	must(n.t, err)
}

// crashing is a store one of whose calls fails.
type crashing struct {
	userapi.Store
	mu    sync.Mutex
	calls int
	at    int // the number of the call
	how   failure
	leave context.CancelFunc // of the caller's context
}

// crashingAPI is a further node with such a store.
func (p *proving) crashingAPI(st userapi.Store) *userapi.API {
	p.t.Helper()
	return p.start(st, userapi.ReadAlways)
}

func (c *crashing) run(work func() error) error {
	c.mu.Lock()
	c.calls++
	now := c.calls == c.at
	c.mu.Unlock()
	if now && c.how == failsBefore {
		return userapi.ErrUnavailable
	}
	if now && c.how == leftBefore {
		c.leave()
	}
	if err := work(); err != nil || !now {
		return err
	}
	if c.how == failsAfter {
		return userapi.ErrUnavailable
	}
	if c.how == leftAfter {
		c.leave()
	}
	return nil
}

func fetch[T any](c *crashing, work func() (T, error)) (got T, err error) {
	err = c.run(func() (err error) { got, err = work(); return })
	if err != nil {
		var none T
		return none, err
	}
	return got, nil
}

func (c *crashing) AccountByID(ctx context.Context, sc userapi.Scope, id string) (userapi.Account, error) {
	return fetch(c, func() (userapi.Account, error) { return c.Store.AccountByID(ctx, sc, id) })
}

func (c *crashing) AccountByIdentifier(ctx context.Context, sc userapi.Scope, id userapi.Identifier) (userapi.Account, error) {
	return fetch(c, func() (userapi.Account, error) { return c.Store.AccountByIdentifier(ctx, sc, id) })
}

func (c *crashing) InsertUser(ctx context.Context, w userapi.UserInsert) error {
	return c.run(func() error { return c.Store.InsertUser(ctx, w) })
}

func (c *crashing) ChangeUser(ctx context.Context, w userapi.UserUpdate) error {
	return c.run(func() error { return c.Store.ChangeUser(ctx, w) })
}

func (c *crashing) DeleteUser(ctx context.Context, w userapi.UserDelete) error {
	return c.run(func() error { return c.Store.DeleteUser(ctx, w) })
}

func (c *crashing) InsertSession(ctx context.Context, w userapi.SessionInsert) ([]string, error) {
	return fetch(c, func() ([]string, error) { return c.Store.InsertSession(ctx, w) })
}

func (c *crashing) SessionByID(ctx context.Context, id string) (userapi.SessionAccount, error) {
	return fetch(c, func() (userapi.SessionAccount, error) { return c.Store.SessionByID(ctx, id) })
}

func (c *crashing) RotateSession(ctx context.Context, w userapi.SessionRotation) error {
	return c.run(func() error { return c.Store.RotateSession(ctx, w) })
}

func (c *crashing) EndSession(ctx context.Context, w userapi.SessionEnd) error {
	return c.run(func() error { return c.Store.EndSession(ctx, w) })
}

func (c *crashing) Roles(ctx context.Context, ids, codes []string) ([]userapi.Role, error) {
	return fetch(c, func() ([]userapi.Role, error) { return c.Store.Roles(ctx, ids, codes) })
}

func (c *crashing) SetMembership(ctx context.Context, w userapi.MembershipWrite) error {
	return c.run(func() error { return c.Store.SetMembership(ctx, w) })
}

func (c *crashing) RemoveMembership(ctx context.Context, w userapi.MembershipWrite) error {
	return c.run(func() error { return c.Store.RemoveMembership(ctx, w) })
}

func (c *crashing) FindKey(ctx context.Context, sc userapi.Scope, by userapi.KeyRef) (userapi.KeyAccount, error) {
	return fetch(c, func() (userapi.KeyAccount, error) { return c.Store.FindKey(ctx, sc, by) })
}

func (c *crashing) InsertKey(ctx context.Context, w userapi.KeyInsert) error {
	return c.run(func() error { return c.Store.InsertKey(ctx, w) })
}

func (c *crashing) ChangeKey(ctx context.Context, w userapi.KeyUpdate) error {
	return c.run(func() error { return c.Store.ChangeKey(ctx, w) })
}

func (c *crashing) DeleteKey(ctx context.Context, w userapi.KeyDelete) error {
	return c.run(func() error { return c.Store.DeleteKey(ctx, w) })
}

func (c *crashing) TouchKey(ctx context.Context, id string, at time.Time, every time.Duration) error {
	return c.run(func() error { return c.Store.TouchKey(ctx, id, at, every) })
}

func (c *crashing) ListGrants(ctx context.Context, sc userapi.Scope, id string) ([]userapi.Grant, error) {
	return fetch(c, func() ([]userapi.Grant, error) { return c.Store.ListGrants(ctx, sc, id) })
}

func (c *crashing) Revocations(ctx context.Context, since int64) (rows []userapi.Revocation, now int64, err error) {
	rows, err = fetch(c, func() (rows []userapi.Revocation, err error) {
		rows, now, err = c.Store.Revocations(ctx, since)
		return
	})
	return rows, now, err
}

func (c *crashing) InsertChallenge(ctx context.Context, w userapi.ChallengeInsert) error {
	return c.run(func() error { return c.Store.InsertChallenge(ctx, w) })
}

func (c *crashing) TryChallenge(ctx context.Context, w userapi.ChallengeTry) (userapi.Challenge, error) {
	return fetch(c, func() (userapi.Challenge, error) { return c.Store.TryChallenge(ctx, w) })
}

func (c *crashing) ReturnTry(ctx context.Context, id string) error {
	return c.run(func() error { return c.Store.ReturnTry(ctx, id) })
}

func (c *crashing) EndChallenge(ctx context.Context, w userapi.ChallengeEnd) error {
	return c.run(func() error { return c.Store.EndChallenge(ctx, w) })
}

func (c *crashing) AddEvent(ctx context.Context, e userapi.Event) error {
	return c.run(func() error { return c.Store.AddEvent(ctx, e) })
}

func (c *crashing) TakeLimits(ctx context.Context, now time.Time, takes []userapi.LimitTake) (time.Duration, error) {
	return fetch(c, func() (time.Duration, error) { return c.Store.TakeLimits(ctx, now, takes) })
}

func (c *crashing) ReturnLimits(ctx context.Context, returns []userapi.LimitReturn) error {
	return c.run(func() error { return c.Store.ReturnLimits(ctx, returns) })
}
