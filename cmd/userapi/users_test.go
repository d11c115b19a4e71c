package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// refusesSoon: the bound on how long a token may outlive its trust is a second, and a little for the test itself.
func (s *server) refusesSoon(token string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return s.whoami(token) == http.StatusUnauthorized }, 2*time.Second, 50*time.Millisecond)
}

func TestUserCommands(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := p.serve(t)
	id := p.ok(t, canary+"\n", "user", "add", "--email", "Ada@example.org", "--username", "ada", "--name", "Ada L.", "--role", "admin", "--role", "service")
	token := s.login("ada@example.org", canary)
	status, who := s.call("GET", "/api/auth/whoami", token, nil)
	require.Equal(t, http.StatusOK, status)
	assert.Equal(t, id, who["id"])

	list := p.ok(t, "", "user", "list", "--email", "ada@")
	assert.Len(t, strings.Split(list, "\n"), 2)
	assert.Contains(t, list, id)
	assert.Contains(t, list, "Ada@example.org")

	assert.Equal(t, "admin\nservice", p.ok(t, "", "user", "roles", "ada"))
	assert.Equal(t, "service", p.ok(t, "", "user", "roles", id, "service"))
	s.refusesSoon(token)
	assert.Empty(t, p.ok(t, "", "user", "roles", "ada", "--none"))
	code, _, stderr := p.run(t, "", "user", "roles", "ada", "unheard-of")
	assert.Equal(t, 2, code)
	assert.Contains(t, stderr, "unknown role")

	token = s.login("ada", canary)
	p.ok(t, canary+"-2\n", "user", "passwd", "ada@EXAMPLE.org")
	s.refusesSoon(token)
	token = s.login("ada", canary+"-2")

	p.ok(t, "", "user", "deactivate", id)
	s.refusesSoon(token)
	status, _ = s.call("POST", "/api/users/login", "", map[string]string{"email": "ada", "password": canary + "-2"})
	assert.Equal(t, http.StatusUnauthorized, status)
	p.ok(t, "", "user", "deactivate", id)

	code, _, stderr = p.run(t, "", "user", "deactivate", "admin")
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "last active admin")
}

func TestUserAddRefuses(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.ok(t, "", "init")
	p.ok(t, canary+"\n", "user", "add", "--username", "ada")
	for _, c := range []struct {
		args, stdin string
		code        int
		says        string
	}{
		{"user add --username ada", canary, 1, "already in use"},
		{"user add --email nonsense", canary, 2, "email"},
		{"user add --username bob --role nonsense", canary, 2, "roles"},
		{"user add --username bob --customer nonsense", canary, 2, "customer"},
		{"user add --username bob", "12345678", 2, "password"},
		{"user add --username bob", "", 2, "standard input"},
		{"user passwd nobody", canary, 1, "there is no user"},
		{"user passwd nobody@example.org", canary, 1, "there is no user"},
		{"user passwd ada", "12345678", 2, "password"},
		{"user passwd", canary, 2, "user"},
		{"user roles ada admin --none", "", 2, "--none"},
		{"user roles --id ada", "", 1, "there is no user"},
	} {
		code, _, stderr := p.run(t, c.stdin, strings.Fields(c.args)...)
		assert.Equal(t, c.code, code, "%s: %s", c.args, stderr)
		assert.Contains(t, stderr, c.says, c.args)
	}
	p.ok(t, "", "user", "add", "--username", "bob", "--no-password")
	assert.Len(t, strings.Split(p.ok(t, "", "user", "list"), "\n"), 3)
}

// A username that is another user's id must not stand for that user, nor that id for this one.
func TestUsernameThatIsAnID(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.ok(t, "", "init")
	id := p.ok(t, "", "user", "add", "--username", "ada", "--no-password", "--role", "service")
	p.ok(t, "", "user", "add", "--username", id, "--no-password")
	code, _, stderr := p.run(t, "", "user", "deactivate", id)
	assert.Equal(t, 2, code)
	assert.Contains(t, stderr, "--id")
	assert.Equal(t, "service", p.ok(t, "", "user", "roles", "--id", id))
}

func TestListsPage(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := p.serve(t)
	token := s.login("admin", s.shown())
	for i := range 120 {
		status, body := s.call("POST", "/api/users", token, map[string]any{"email": strings.Repeat("u", i%20+1) + time.Duration(i).String() + "@example.org", "name": "u", "active": true, "roles": []any{}})
		require.Equal(t, http.StatusCreated, status, "%v", body)
	}
	assert.Len(t, strings.Split(p.ok(t, "", "user", "list"), "\n"), 122)
}

func TestCustomersAndRoles(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.ok(t, "", "init")
	id := p.ok(t, "", "customer", "add", "--name", "Acme Corporation", "--quota", "1")
	p.ok(t, "", "customer", "add", "--name", "Other", "--id", "other")
	list := p.ok(t, "", "customer", "list")
	for _, word := range []string{id, "Acme Corporation", "other", "default"} {
		assert.Contains(t, list, word)
	}
	code, _, stderr := p.run(t, "", "customer", "add", "--name", "Again", "--id", "other")
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "in use")
	code, _, _ = p.run(t, "", "customer", "add", "--name", "Bad", "--quota=-1")
	assert.Equal(t, 2, code)

	p.ok(t, "", "user", "add", "--customer", id, "--username", "one", "--no-password")
	code, _, stderr = p.run(t, "", "user", "add", "--customer", id, "--username", "two", "--no-password")
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "no room")

	p.ok(t, "", "role", "add", "editor", "--name", "Editor in chief")
	assert.Contains(t, p.ok(t, "", "role", "list"), "Editor in chief")
	p.ok(t, "", "user", "roles", "one", "editor")
	code, _, stderr = p.run(t, "", "role", "remove", "editor")
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "in use")
	p.ok(t, "", "user", "roles", "one", "--none")
	p.ok(t, "", "role", "remove", "editor")
	code, _, _ = p.run(t, "", "role", "remove", "editor")
	assert.Equal(t, 1, code)
	code, _, _ = p.run(t, "", "role", "remove", "admin")
	assert.Equal(t, 1, code)
	code, _, _ = p.run(t, "", "role", "add", "Not A Code")
	assert.Equal(t, 2, code)
}
