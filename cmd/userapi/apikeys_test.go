package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// byKey asks who a key is.
func (s *server) byKey(key string) int {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), "GET", s.url+"/api/auth/whoami", nil)
	require.NoError(s.t, err)
	r.Header.Set("X-Api-Key", key)
	answer, err := http.DefaultClient.Do(r)
	require.NoError(s.t, err)
	answer.Body.Close()
	return answer.StatusCode
}

func TestKeyCommands(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := p.serve(t)
	p.ok(t, "", "user", "add", "--username", "robot", "--no-password")
	key := p.ok(t, "", "keys", "add", "--user", "robot", "--name", "Deploy", "--scope", "userapi:read", "--scope", "userapi:write", "--expires", "2999-12-31")
	s.secrets = append(s.secrets, key)
	assert.Equal(t, http.StatusOK, s.byKey(key))

	list := p.ok(t, "", "keys", "list", "--user", "robot")
	prefix, secret, _ := strings.Cut(key, ".")
	assert.NotContains(t, list, secret)
	line := strings.Fields(strings.Split(list, "\n")[1])
	assert.Equal(t, []string{"Deploy", prefix, "userapi:read,userapi:write", "active", "2999-12-31T23:59:59Z"}, line[1:6])
	id := line[0]

	p.ok(t, "", "keys", "disable", id)
	assert.Contains(t, p.ok(t, "", "keys", "list", "--user", "robot"), "disabled")
	require.Eventually(t, func() bool { return s.byKey(key) == http.StatusUnauthorized }, 2*time.Second, 50*time.Millisecond)
	p.ok(t, "", "keys", "enable", id)
	assert.Equal(t, http.StatusOK, s.byKey(key))
	p.ok(t, "", "keys", "delete", id)
	require.Eventually(t, func() bool { return s.byKey(key) == http.StatusUnauthorized }, 2*time.Second, 50*time.Millisecond)
	assert.Len(t, strings.Split(p.ok(t, "", "keys", "list", "--user", "robot"), "\n"), 1)
}

func TestKeyCommandsRefuse(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.ok(t, "", "init")
	p.ok(t, "", "user", "add", "--username", "robot", "--no-password")
	p.ok(t, "", "keys", "add", "--user", "robot", "--name", "one")
	p.ok(t, "", "keys", "add", "--user", "robot", "--name", "two")
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"keys add --user robot", 2, "--name"},
		{"keys add --name key", 2, "--user"},
		{"keys add --user nobody --name key", 1, "there is no user"},
		{"keys add --user robot --name x", 2, "name"},
		{"keys add --user robot --name key --scope orders:read", 2, "scopes"},
		{"keys add --user robot --name key --expires tomorrow", 2, "--expires"},
		{"keys add --user robot --name key --expires 2020-01-01", 2, "expires"},
		{"keys add --user robot --name three", 1, "no room"},
		{"keys list", 2, "--user"},
		{"keys disable", 2, "key"},
		{"keys disable none", 1, "there is no key"},
		{"keys enable none", 1, "there is no key"},
		{"keys delete none", 1, "there is no key"},
	} {
		code, stdout, stderr := p.run(t, "", strings.Fields(c.args)...)
		assert.Equal(t, c.code, code, "%s: %s", c.args, stderr)
		assert.Contains(t, stderr, c.says, c.args)
		assert.Empty(t, stdout, c.args)
	}
}
