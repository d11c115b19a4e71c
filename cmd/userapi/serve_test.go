package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/userapi/userapi"
	"github.com/userapi/userapi/legacyhash"
)

func TestFirstStartPrintsThePasswordOnce(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	first := p.serve(t)
	password := first.shown()
	require.NotEmpty(t, password)
	assert.Contains(t, first.out.String(), "Development mode")
	token := first.login("admin", password)
	assert.Equal(t, http.StatusOK, first.whoami(token))
	first.stop()

	for _, name := range []string{"userapi.db", "userapi.db.secret"} {
		info, err := os.Stat(filepath.Join(p.dir, name))
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm(), name)
	}

	second := p.serve(t)
	assert.Empty(t, second.shown())
	assert.Equal(t, http.StatusOK, second.whoami(token), "the secret was kept")
	second.login("admin", password)
}

// H17
func TestTwoFirstStartsAtOnce(t *testing.T) {
	t.Parallel()
	for range 3 {
		p := newPlace(t)
		a, b := p.launch(t), p.launch(t)
		a.ready()
		b.ready()
		password := a.shown() + b.shown()
		require.True(t, (a.shown() == "") != (b.shown() == ""), "one password is printed: %q %q", a.shown(), b.shown())
		token := a.login("admin", password)
		assert.Equal(t, http.StatusOK, b.whoami(token), "both have one secret")
		b.login("admin", password)
		a.stop()
		b.stop()
	}
}

func TestProductionFirstAccount(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "USERAPI_SECRET="+secretA)
	code, _, stderr := p.run(t, "", "serve", "--addr", "127.0.0.1:0", "--admin-email", "Root@example.org")
	assert.Equal(t, 2, code)
	assert.Contains(t, stderr, "USERAPI_ADMIN_PASSWORD")

	s := p.with("USERAPI_ADMIN_PASSWORD="+canary).serve(t, "--admin-email", "Root@example.org")
	s.login("root@example.org", canary)
	assert.NotContains(t, s.out.String(), "Development mode")
	s.stop()
	for line := range strings.Lines(s.out.String()) {
		assert.True(t, strings.HasPrefix(line, "{"), "in production every line is JSON: %s", line)
	}

	// An existing account is never changed, and its password need not stay in the environment.
	s = p.with("USERAPI_ADMIN_PASSWORD=another-Password-88").serve(t, "--admin-email", "root@example.org")
	s.login("root@example.org", canary)
	s.stop()
	p.serve(t, "--admin-email", "root@example.org").login("root@example.org", canary)
}

func TestProductionWithoutAccountStarts(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "USERAPI_SECRET="+secretA)
	s := p.serve(t)
	assert.Empty(t, s.shown())
	p.ok(t, canary+"\n", "user", "add", "--username", "root", "--role", "admin")
	s.login("root", canary)
	assert.NoFileExists(t, filepath.Join(p.dir, "userapi.db.secret"))
}

func TestAccountsThatMovedInKeepTheirPasswords(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.serve(t).stop()
	hash := legacyhash.Knlambert("5f4d21582527cf28a40555b5648e1b0c", "4f2b1f1ec80ce7963410edcde1dd333885e2ef85af59186723d24c01f69d269e")
	err := Database{DB: "sqlite:" + filepath.Join(p.dir, "userapi.db")}.use(t.Context(), func(api *userapi.API) error {
		_, err := api.Users.Create(t.Context(), userapi.System(), userapi.NewUser{Username: "anna", PasswordHash: hash, Active: true, CustomerID: "default"})
		return err
	})
	require.NoError(t, err)
	s := p.serve(t)
	for range 2 { // the second time it is argon2id
		assert.Equal(t, http.StatusOK, s.whoami(s.login("anna", "Correct horse 1")))
	}
}

func TestSecretsRotate(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "USERAPI_ADMIN_PASSWORD="+canary)
	write := func(text string) {
		require.NoError(t, os.WriteFile(filepath.Join(p.dir, "secret"), []byte(text), 0o600))
	}
	write(secretA + "\n")
	s := p.with("USERAPI_SECRET="+secretB).serve(t, "--secret", "secret") // the flag comes first
	token := s.login("admin", canary)
	s.stop()

	write(secretB + "," + secretA + "\n")
	s = p.serve(t, "--secret", "secret")
	assert.Equal(t, http.StatusOK, s.whoami(token))
	s.stop()

	s = p.with("USERAPI_SECRET=" + secretB).serve(t)
	assert.Equal(t, http.StatusUnauthorized, s.whoami(token))
	s.stop()

	require.NoError(t, os.Chmod(filepath.Join(p.dir, "secret"), 0o644))
	s = p.serve(t, "--secret", "secret")
	assert.Contains(t, s.stderr.String(), "can be read by every user")
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "short"), []byte("canary-too-short\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "text.db"), []byte(strings.Repeat("no database. ", 100)), 0o600))
	production := "USERAPI_SECRET=" + secretA
	const serve = "serve --addr 127.0.0.1:0 "
	for _, c := range []struct {
		args string
		env  string
		code int
		says string
	}{
		{"--help", "", 0, ""},
		{"serve --help", "", 0, ""},
		{"user add --help", "", 0, ""},
		{"init --help", "", 0, ""},
		{"sessions revoke-all --help", "", 0, ""},
		{"", "", 2, "serve"},
		{"nonsense", "", 2, "nonsense"},
		{"user", "", 2, "add"},
		{"serve --nonsense", "", 2, "nonsense"},
		{"user add --username u --password " + canary, "", 2, "unknown flag --password"},
		{"serve --secret-text " + canary, "", 2, "unknown flag"},

		{serve + "--registration sometimes", "", 2, "closed, open or verify"},
		{serve, "USERAPI_REGISTRATION=sometimes", 2, "closed, open or verify"},
		{serve + "--registration verify --registration-customer nobody --db sqlite:nobody.db", "", 2, "nobody"},
		{serve + "--registration open --registration-customer nobody --db sqlite:nobody.db", "", 2, "nobody"},
		{serve + "--limits nonsense", "", 2, "--limits"},
		{serve + "--limits login=0/m/account", "", 2, "--limits"},
		{serve + "--limits off", production, 2, "--dev"},
		{serve, production + " USERAPI_LIMITS=off", 2, "--dev"},
		{serve + "--outbox x.jsonl", production, 2, "--dev"},
		{serve, production + " USERAPI_OUTBOX=x.jsonl", 2, "--dev"},
		{serve + "--outbox .", "", 2, "no file"},
		{serve + "--sending missing.json", "", 2, "missing.json"},
		{serve, "USERAPI_SENDING=missing.json", 2, "missing.json"},
		{serve + "--outbox missing/x.jsonl", "", 2, "missing"},
		{serve + "--trusted-proxies 10.0.0.0", "", 2, "trusted-proxies"},
		{serve, "USERAPI_SECRET=canary-short", 2, "32 bytes"},
		{serve, "USERAPI_SECRET=", 2, "32 bytes"},
		{serve, "USERAPI_SECRET=" + secretA + ",canary-short", 2, "32 bytes"},
		{serve, "USERAPI_SECRET=" + strings.Repeat("ab", 20), 2, "random"},
		{serve + "--secret short", "", 2, "32 bytes"},
		{serve + "--secret missing", "", 2, "missing"},
		{serve + "--admin-email no-address", "", 2, "mail"},
		{serve + "--db sqlite:weak.db", "USERAPI_ADMIN_PASSWORD=12345678", 2, "password"},
		{"serve --addr 0.0.0.0:0", "", 2, "loopback"},
		{"serve --addr :0", "", 2, "loopback"},
		{"serve --addr [::]:0 --dev", production, 2, "loopback"},
		{"serve --addr nonsense", "", 2, "--addr"},
		{"serve --addr 127.0.0.1:99999", "", 2, "--addr"},

		{serve + "--db postgres://u:canary@127.0.0.1:1", "", 2, "name of a database"},
		{serve + "--db postgres://u:canary@localhost:1/d", "", 1, "PostgreSQL database d at localhost:1"},
		{serve + "--db postgres:canary=canary", "", 2, "postgres://"},
		{serve + "--db postgres://u:canary@127.0.0.1:1/d?sslmode=disable", "", 1, "PostgreSQL database d at 127.0.0.1:1"},
		{serve + "--db nonsense", "", 2, "--db"},
		{serve + "--db sqlite:", "", 2, "path"},
		{serve + "--db sqlite::memory:", "", 2, "path"},
		{serve + "--db mysql:root:canary@tcp(127.0.0.1:1)", "", 2, "NAME"},
		{serve + "--db mysql:root:canary@tcp(127.0.0.1:1)/", "", 2, "name of a database"},
		{serve + "--db mysql:root:canary/x", "", 2, "NAME"},
		{serve + "--db mysql:root:canary@tcp(127.0.0.1:1)/x", "", 1, "MySQL database x at 127.0.0.1:1"},
		{serve + "--db sqlite:missing/x.db", "", 1, "missing/x.db"},
		{serve + "--db sqlite:text.db", "", 1, "text.db"},
		{"user list --db sqlite:absent.db", "", 1, "absent.db"},
		{"user list --db postgres:x", "", 2, "postgres://"},
		{"user list", "USERAPI_DB=sqlite:absent.db", 1, "absent.db"},
		{"init --yes", "", 2, "--drop-before"},
		{"init --drop-before", "", 2, "--yes"},
		{"user add --db sqlite:absent.db", "", 2, "--email"},
	} {
		t.Run(fmt.Sprintf("%s %s", c.args, c.env), func(t *testing.T) {
			code, stdout, stderr := p.with(strings.Fields(c.env)...).run(t, "", strings.Fields(c.args)...)
			assert.Equal(t, c.code, code, stdout+stderr)
			if c.code == 0 {
				assert.Contains(t, stdout, "Usage:")
				assert.Empty(t, stderr)
				return
			}
			assert.Contains(t, stderr, c.says)
			assert.True(t, strings.HasPrefix(stderr, "userapi: "), stderr)
			assert.Equal(t, 1, strings.Count(stderr, "\n"), "one sentence: %s", stderr)
		})
	}
	assert.NoFileExists(t, filepath.Join(p.dir, "absent.db"), "a command makes no file")
}

func TestDevelopmentModeTakesItsFlags(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "USERAPI_SECRET="+secretA, "USERAPI_DEV=1", "USERAPI_TRUSTED_PROXIES=127.0.0.0/8,::1/128")
	s := p.serve(t, "--limits", "off", "--outbox", "out.jsonl", "--registration", "open")
	require.NotEmpty(t, s.shown())
	for range 30 {
		status, _ := s.call("POST", "/api/users/login", "", map[string]string{"email": "admin", "password": "wrong"})
		require.Equal(t, http.StatusUnauthorized, status)
	}
	status, body := s.call("POST", "/api/users", "", map[string]string{"email": "ada@example.org", "password": "ada-Lovelace-1815"})
	assert.Equal(t, http.StatusCreated, status, "%v", body)
	assert.NoFileExists(t, filepath.Join(p.dir, "userapi.db.secret"))

	r, err := http.NewRequest("GET", s.url+"/api/users/token?secret=canary", nil)
	require.NoError(t, err)
	r.Header.Set("X-Forwarded-For", "203.0.113.9")
	resp, err := client.Do(r)
	require.NoError(t, err)
	resp.Body.Close()
	require.Eventually(t, func() bool { return strings.Contains(s.out.String(), `"address":"203.0.113.9"`) }, 2*time.Second, 10*time.Millisecond)
	s.stop()
	line := s.out.String()[strings.Index(s.out.String(), `"path":"/api/users/token"`):]
	line, _, _ = strings.Cut(line, "\n")
	for _, field := range []string{`"status":401`, `"duration_ms":`, `"bytes":`} {
		assert.Contains(t, line, field)
	}
}

func TestRoutesOfTheProgram(t *testing.T) {
	t.Parallel()
	s := newPlace(t).serve(t)
	for _, c := range []struct {
		method, path string
		status       int
		code         string
	}{
		{"GET", "/healthz", 200, ""},
		{"GET", "/readyz", 200, ""},
		{"HEAD", "/readyz", 200, ""},
		{"GET", "/", 404, "NOT_FOUND"},
		{"GET", "/nowhere", 404, "NOT_FOUND"},
		{"GET", "/api", 404, "NOT_FOUND"},
		{"GET", "/api/nowhere", 404, "NOT_FOUND"},
		{"GET", "/api//users", 404, "NOT_FOUND"},
		{"GET", "/api/../healthz", 404, "NOT_FOUND"},
		{"GET", "/api/users/", 401, "UNAUTHORIZED"},
		{"GET", "/api/users", 401, "UNAUTHORIZED"},
		{"POST", "/healthz", 405, "METHOD_NOT_ALLOWED"},
		{"GET", "/healthz/", 200, ""},
	} {
		status, body := s.call(c.method, c.path, "", nil)
		assert.Equal(t, c.status, status, "%s %s", c.method, c.path)
		if c.code != "" {
			assert.Equal(t, c.code, body["error_code"], "%s %s", c.method, c.path)
		}
	}
}

// terminateDuring asks the program to stop while half of a request is there. finish sends the rest, which is answered.
func (s *server) terminateDuring(path, body string) (finish func()) {
	s.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	require.NoError(s.t, err)
	s.t.Cleanup(func() { conn.Close() })
	_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body[:5])
	require.NoError(s.t, err)
	time.Sleep(100 * time.Millisecond) // the request has begun
	require.NoError(s.t, s.cmd.Process.Signal(syscall.SIGTERM))
	require.Eventually(s.t, func() bool { return strings.Contains(s.out.String(), `"draining"`) }, 10*time.Second, 10*time.Millisecond)
	return func() {
		_, err := fmt.Fprint(conn, body[5:])
		require.NoError(s.t, err)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(s.t, err)
		defer resp.Body.Close()
		assert.Equal(s.t, http.StatusOK, resp.StatusCode)
	}
}

func TestTerminateDrains(t *testing.T) {
	t.Parallel()
	s := newPlace(t).serve(t)
	finish := s.terminateDuring("/api/users/login", fmt.Sprintf(`{"email":"admin","password":%q}`, s.shown()))
	_, err := net.DialTimeout("tcp", strings.TrimPrefix(s.url, "http://"), time.Second)
	require.Error(t, err, "no new connection is taken")
	finish()
	<-s.done
	assert.Zero(t, s.cmd.ProcessState.ExitCode())
	s.checkOutput()
}

// A start that makes the first account and then fails must not keep its password to itself.
func TestPasswordIsShownThoughTheStartFails(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	code, stdout, _ := p.run(t, "", "serve", "--addr", "127.0.0.1:0", "--registration", "open", "--registration-customer", "nobody")
	assert.Equal(t, 2, code)
	found := shownPassword.FindStringSubmatch(stdout)
	require.NotNil(t, found)
	p.serve(t).login("admin", found[1])
}

func TestAddressInUse(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := p.serve(t)
	other := newPlace(t)
	code, _, stderr := other.run(t, "", "serve", "--addr", strings.TrimPrefix(s.url, "http://"))
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "cannot listen")
	assert.NoFileExists(t, filepath.Join(other.dir, "userapi.db"))
}

func TestLevelsOfTheProgram(t *testing.T) {
	t.Parallel()
	s := newPlace(t).serve(t)
	token := s.login("admin", s.shown())
	status, ada := s.call("POST", "/api/users", token, map[string]any{"email": "ada@example.org", "name": "Ada", "active": true})
	require.Equal(t, http.StatusCreated, status)
	of := "/api/users/" + ada["id"].(string) + "/memberships"
	for level, want := range map[string]int{"invitee": 200, "member": 200, "manager": 200, "secret": 200, "public": 422, "owner": 422} {
		status, body := s.call("PUT", of+"/doc/1", token, map[string]string{"level": level})
		assert.Equal(t, want, status, "%s: %v", level, body)
	}
	status, _ = s.call("PUT", of+"/doc/1", token, map[string]string{"level": "member"})
	require.Equal(t, http.StatusOK, status)
	status, body := s.call("GET", of, token, nil)
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, map[string]any{"memberships": []any{map[string]any{"resource": "doc", "resource_id": "1", "level": "member"}}}, body)
	status, _ = s.call("DELETE", of+"/doc/1", token, nil)
	assert.Equal(t, http.StatusNoContent, status)
}
