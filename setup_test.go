package userapi_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/userapi/userapi"
	"github.com/userapi/userapi/store/memory"
)

const (
	secret   userapi.Secret = "a secret of more than thirty-two bytes, made for tests"
	password userapi.Secret = "correct horse battery"
	another  userapi.Secret = "staple and something"
)

// clock is the time of a world.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// world is an API over a fresh memory store with an admin "admin" in the customer "default".
type world struct {
	*userapi.API
	t     *testing.T
	clock *clock
	store *memory.Store
}

var ctx = context.Background()

func newWorld(t *testing.T, change func(*userapi.Config)) *world {
	t.Helper()
	w := &world{t: t, clock: &clock{now: time.Date(2027, 1, 2, 3, 4, 5, 678_000_000, time.UTC)}, store: memory.New()}
	w.API = w.second(change)
	_, err := w.Bootstrap(ctx, userapi.Bootstrap{Username: "admin", Password: password})
	require.NoError(t, err)
	return w
}

// second is another API value (another node) on the same store.
func (w *world) second(change func(*userapi.Config)) *userapi.API {
	w.t.Helper()
	cfg := userapi.Config{Store: w.store, Secret: secret, Now: w.clock.Now, Password: userapi.PasswordPolicy{
		Argon2id: userapi.Argon2id{MemoryKiB: 64, Passes: 1, Threads: 1}, Workers: 4,
	}}
	if change != nil {
		change(&cfg)
	}
	api, err := userapi.New(cfg)
	require.NoError(w.t, err)
	return api
}

func anonymous() userapi.Actor { return userapi.Anonymous().From("192.0.2.1", "test") }

// login opens a session and gives it with the actor it makes.
func (w *world) login(identifier string, password userapi.Secret) (userapi.Tokens, userapi.Actor) {
	w.t.Helper()
	_, tokens, err := w.Auth.Login(ctx, anonymous(), userapi.LoginRequest{Identifier: identifier, Password: password})
	require.NoError(w.t, err)
	return tokens, w.actor(tokens)
}

func (w *world) actor(tokens userapi.Tokens) userapi.Actor {
	w.t.Helper()
	id, err := w.Auth.Authenticate(ctx, string(tokens.Access))
	require.NoError(w.t, err)
	return id.Actor().From("192.0.2.1", "test")
}

// user creates an active user with the test password.
func (w *world) user(customer, username string, roles ...string) userapi.User {
	w.t.Helper()
	n := userapi.NewUser{Username: username, Email: username + "@example.com", Password: password, Active: true, CustomerID: customer}
	for _, code := range roles {
		n.Roles = append(n.Roles, userapi.RoleRef{Code: code})
	}
	u, err := w.Users.Create(ctx, userapi.System(), n)
	require.NoError(w.t, err)
	return u
}

func (w *world) customer(id string, quota int) {
	w.t.Helper()
	_, err := w.Customers.Create(ctx, userapi.System(), userapi.Customer{ID: id, Name: id, Quota: quota})
	require.NoError(w.t, err)
}

func (w *world) role(code string) {
	w.t.Helper()
	_, err := w.Roles.Create(ctx, userapi.System(), userapi.Role{Code: code})
	require.NoError(w.t, err)
}

func (w *world) refused(tokens userapi.Tokens) {
	w.t.Helper()
	_, err := w.Auth.Authenticate(ctx, string(tokens.Access))
	require.ErrorIs(w.t, err, userapi.ErrTokenRevoked)
}

func (w *world) accepted(tokens userapi.Tokens) {
	w.t.Helper()
	_, err := w.Auth.Authenticate(ctx, string(tokens.Access))
	require.NoError(w.t, err)
}

func (w *world) refreshes(tokens userapi.Tokens) userapi.Tokens {
	w.t.Helper()
	next, err := w.Auth.Refresh(ctx, anonymous(), tokens.Refresh)
	require.NoError(w.t, err)
	return next
}

func (w *world) refreshRefused(tokens userapi.Tokens) {
	w.t.Helper()
	_, err := w.Auth.Refresh(ctx, anonymous(), tokens.Refresh)
	require.ErrorIs(w.t, err, userapi.ErrTokenRevoked)
}

func ptr[T any](v T) *T { return &v }
