package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// asProgram makes the test binary be the program: the tests run it as its users do, in a directory of its own, over HTTP
// and by signals, and with -race its races are found too.
const asProgram = "TEST_AS_PROGRAM=1"

func TestMain(m *testing.M) {
	if slices.Contains(os.Environ(), asProgram) {
		main()
	}
	os.Exit(m.Run())
}

// secretA and secretB are canaries too: no output may hold them.
const (
	secretA = "canary-secret-A-5b1e0f8c7d2a49e6b3"
	secretB = "canary-secret-B-0c9d4e7f1a2b3c4d5e"
	canary  = "canary-Password-7391"
)

// place is a working directory and an environment.
type place struct {
	dir string
	env []string
}

func newPlace(t *testing.T, env ...string) place {
	t.Helper()
	var clean []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "USERAPI_") {
			clean = append(clean, v)
		}
	}
	return place{dir: t.TempDir(), env: append(clean, env...)}
}

func (p place) with(env ...string) place {
	return place{dir: p.dir, env: append(append([]string(nil), p.env...), env...)}
}

func (p place) command(ctx context.Context, args ...string) *exec.Cmd {
	binary, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir, cmd.Env = p.dir, append(slices.Clone(p.env), asProgram, "GORACE=atexit_sleep_ms=0")
	return cmd
}

// run runs a command to its end, with stdin on standard input.
func (p place) run(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := p.command(ctx, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		require.NoError(t, err)
	}
	require.NoError(t, ctx.Err(), "%v did not end", args)
	noSecrets(t, out.String()+errs.String())
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// ok runs a command that has to succeed, and returns what it prints.
func (p place) ok(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	code, stdout, stderr := p.run(t, stdin, args...)
	require.Zero(t, code, "%v: %s", args, stderr)
	return strings.TrimSpace(stdout)
}

func noSecrets(t *testing.T, output string) {
	t.Helper()
	for _, secret := range []string{secretA, secretB, canary, "canary"} {
		require.NotContains(t, output, secret)
	}
}

// server is a running program.
type server struct {
	t       *testing.T
	cmd     *exec.Cmd
	url     string
	out     *output
	stderr  *output
	done    chan struct{}
	secrets []string // passwords and tokens that were used: the output may not hold them
}

type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

var servingAt = regexp.MustCompile(`"msg":"serving","address":"([^"]+)"`)

// serve starts the server on a free port and waits until it is ready.
func (p place) serve(t *testing.T, args ...string) *server {
	t.Helper()
	s := p.launch(t, args...)
	s.ready()
	return s
}

func (p place) launch(t *testing.T, args ...string) *server {
	t.Helper()
	s := &server{t: t, out: new(output), stderr: new(output), done: make(chan struct{})}
	s.cmd = p.command(context.Background(), append([]string{"serve", "--addr", "127.0.0.1:0"}, args...)...)
	s.cmd.Stdout, s.cmd.Stderr = s.out, s.stderr
	require.NoError(t, s.cmd.Start())
	go func() {
		_ = s.cmd.Wait()
		close(s.done)
	}()
	t.Cleanup(s.stop)
	return s
}

func (s *server) ready() {
	s.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		select {
		case <-s.done:
			require.FailNow(s.t, "the server ended", "%s%s", s.out, s.stderr)
		default:
		}
		if at := servingAt.FindStringSubmatch(s.out.String()); at != nil {
			s.url = "http://" + at[1]
			if status, _ := s.call("GET", "/readyz", "", nil); status == http.StatusOK {
				return
			}
		}
	}
	require.FailNow(s.t, "the server is not ready", "%s%s", s.out, s.stderr)
}

// stop ends the server as a supervisor does, and holds its output against the rules.
func (s *server) stop() {
	s.t.Helper()
	select {
	case <-s.done:
		return
	default:
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(20 * time.Second):
		_ = s.cmd.Process.Kill()
		require.FailNow(s.t, "SIGTERM did not end the server")
	}
	require.Zero(s.t, s.cmd.ProcessState.ExitCode(), s.stderr)
	s.checkOutput()
}

func (s *server) checkOutput() {
	s.t.Helper()
	_, log, _ := strings.Cut(s.out.String(), `{"time"`)
	for line := range strings.Lines(`{"time"` + log) {
		var entry map[string]any
		require.NoError(s.t, json.Unmarshal([]byte(line), &entry), line)
		require.Contains(s.t, entry, "time")
		require.Contains(s.t, entry, "level")
		require.Contains(s.t, entry, "msg")
	}
	noSecrets(s.t, s.out.String()+s.stderr.String())
	for _, secret := range s.secrets {
		require.NotContains(s.t, log+s.stderr.String(), secret)
	}
}

// call sends a request and decodes the JSON that comes back. Status 0: there was no answer.
func (s *server) call(method, path, token string, body any) (int, map[string]any) {
	var in io.Reader
	if body != nil {
		text, _ := json.Marshal(body)
		in = bytes.NewReader(text)
	}
	r, err := http.NewRequest(method, s.url+path, in)
	if err != nil {
		return 0, nil
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(r)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	out := map[string]any{}
	_ = json.NewDecoder(resp.Body).Decode(&out)
	return resp.StatusCode, out
}

var client = &http.Client{Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// login returns an access token.
func (s *server) login(identifier, password string) string {
	s.t.Helper()
	status, body := s.call("POST", "/api/users/login", "", map[string]string{"email": identifier, "password": password})
	require.Equal(s.t, http.StatusOK, status, "%v", body)
	token, refresh := fmt.Sprint(body["access_token"]), fmt.Sprint(body["refresh_token"])
	require.Greater(s.t, len(token), 20)
	s.secrets = append(s.secrets, password, token, refresh)
	return token
}

func (s *server) whoami(token string) int {
	status, _ := s.call("GET", "/api/auth/whoami", token, nil)
	return status
}

var shownPassword = regexp.MustCompile(`password, shown this once: (\S+)`)

// shown is the password the server printed, "" if none.
func (s *server) shown() string {
	if found := shownPassword.FindStringSubmatch(s.out.String()); found != nil {
		return found[1]
	}
	return ""
}
