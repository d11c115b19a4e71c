package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestInit(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.ok(t, "", "init")
	p.ok(t, canary+"\n", "user", "add", "--username", "ada")
	before := p.ok(t, "", "user", "list")
	p.ok(t, "", "init")
	assert.Equal(t, before, p.ok(t, "", "user", "list"), "once more changes nothing")
	assert.Contains(t, p.ok(t, "", "role", "list"), "service")
	assert.Contains(t, p.ok(t, "", "customer", "list"), "default")

	s := p.serve(t)
	assert.NotEmpty(t, s.shown(), "the first account is still missing")
	s.login("admin", s.shown())
	s.stop()

	code, _, _ := p.run(t, "yes\n", "init", "--drop-before")
	assert.Equal(t, 2, code, "a pipe is no terminal")
	assert.Contains(t, p.ok(t, "", "user", "list"), "ada")
	p.ok(t, "", "init", "--drop-before", "--yes")
	assert.NotContains(t, p.ok(t, "", "user", "list"), "ada")
}

func TestInitMakesTheAccountWhosePasswordIsGiven(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "USERAPI_ADMIN_EMAIL=root@example.org")
	code, _, stderr := p.run(t, "", "init")
	assert.Equal(t, 2, code)
	assert.Contains(t, stderr, "USERAPI_ADMIN_PASSWORD")
	p.with("USERAPI_ADMIN_PASSWORD="+canary).ok(t, "", "init")
	p.ok(t, "", "init")
	p.with("USERAPI_ADMIN_PASSWORD=another-Password-88").ok(t, "", "init")
	s := p.serve(t)
	assert.Empty(t, s.shown())
	s.login("root@example.org", canary)
}

func TestSecretsOfAnUnfinishedStart(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "userapi.db.secret"), []byte("half"), 0o600))
	code, _, stderr := p.run(t, "", "serve", "--addr", "127.0.0.1:0")
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "no whole secret")
}

func TestRevokeAllReachesARunningServer(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := p.serve(t)
	token := s.login("admin", s.shown())
	require.Equal(t, http.StatusOK, s.whoami(token))
	p.ok(t, "", "sessions", "revoke-all")
	s.refusesSoon(token)
	assert.Equal(t, http.StatusOK, s.whoami(s.login("admin", s.shown())), "a new login holds")
}

// The secret outlives the database: what was issued by it before must not hold in the next one.
func TestTokensDoNotOutliveTheirDatabase(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "USERAPI_ADMIN_PASSWORD="+canary)
	s := p.serve(t)
	token := s.login("admin", canary)
	require.Equal(t, http.StatusOK, s.listing(token))
	s.stop()
	p.ok(t, "", "init", "--drop-before", "--yes")
	s = p.serve(t)
	s.login("admin", canary)
	assert.Equal(t, http.StatusUnauthorized, s.listing(token))
	s.stop()
	for _, file := range []string{"userapi.db", "userapi.db-wal", "userapi.db-shm"} {
		_ = os.Remove(filepath.Join(p.dir, file))
	}
	s = p.serve(t)
	s.login("admin", canary)
	assert.Equal(t, http.StatusUnauthorized, s.listing(token))
}

// listing asks for what an admin alone may see.
func (s *server) listing(token string) int {
	status, _ := s.call("GET", "/api/users", token, nil)
	return status
}

func TestAnEmptyNameOfASecretIsNoDevelopmentMode(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	code, _, stderr := p.run(t, "", "serve", "--secret", "", "--addr", "127.0.0.1:0")
	assert.Equal(t, 2, code)
	assert.Contains(t, stderr, "--secret")
	_, err := os.Stat(filepath.Join(p.dir, "userapi.db"))
	assert.Error(t, err, "nothing was made")
}

func TestWrongUseTouchesNothing(t *testing.T) {
	t.Parallel()
	for name, env := range map[string]string{
		"a secret that is none": "USERAPI_SECRET=" + strings.Repeat("a", 40), "an address that is none": "USERAPI_ADMIN_EMAIL=nobody",
		"limits that are none": "USERAPI_LIMITS=login=5",
	} {
		p := newPlace(t, env)
		code, _, stderr := p.run(t, "", "serve", "--addr", "127.0.0.1:0")
		assert.Equal(t, 2, code, name)
		assert.NotEmpty(t, stderr, name)
		files, err := os.ReadDir(p.dir)
		require.NoError(t, err)
		assert.Empty(t, files, name)
	}
}
