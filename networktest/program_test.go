package networktest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// While the network stalls the program is alive, and who asks it something gets 503 and when to come back. It needs no setting to be well again
// on new connections, even if nothing ever comes on the old ones: also on those that were just being made, by more callers than its pool has room for.
func TestProgram(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "userapi")
	build := exec.Command("go", "build", "-o", binary, "./cmd/userapi")
	build.Dir = ".."
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	t.Run("on", func(t *testing.T) {
		each(t, func(t *testing.T, e engine) {
			s := newSite(t, e)
			p := start(t, binary, s.data.flag(s.proxy.address()))
			status, _, token := p.login()
			require.Equal(t, http.StatusOK, status)
			status, _ = p.get("/api/auth/whoami", token)
			require.Equal(t, http.StatusOK, status)

			stop := make(chan struct{})
			var load sync.WaitGroup
			defer load.Wait()
			for range 48 {
				load.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						status, header, _ := p.login()
						if status != http.StatusOK {
							assert.Equal(t, http.StatusServiceUnavailable, status)
							assert.NotEmpty(t, header.Get("Retry-After"))
							time.Sleep(200 * time.Millisecond)
						}
					}
				})
			}
			defer close(stop)
			time.Sleep(time.Second)
			s.proxy.turn(false, false)
			time.Sleep(1500 * time.Millisecond) // the revocations are not known any more
			status, header := p.get("/api/auth/whoami", token)
			assert.Equal(t, http.StatusServiceUnavailable, status)
			assert.NotEmpty(t, header.Get("Retry-After"))
			status, header = p.get("/readyz", "")
			assert.Equal(t, http.StatusServiceUnavailable, status)
			assert.NotEmpty(t, header.Get("Retry-After"))
			status, _ = p.get("/healthz", "")
			assert.Equal(t, http.StatusOK, status)
			time.Sleep(6 * time.Second) // longer than a read waits: its connection is replaced

			s.proxy.abandon()
			ended := time.Now()
			require.Eventually(t, func() bool { status, _ := p.get("/readyz", ""); return status == http.StatusOK }, recoversWithin, 50*time.Millisecond)
			require.Eventually(t, func() bool { status, _, _ := p.login(); return status == http.StatusOK }, recoversWithin, 50*time.Millisecond)
			require.Eventually(t, func() bool { status, _ := p.get("/api/auth/whoami", token); return status == http.StatusOK }, recoversWithin, 50*time.Millisecond)
			t.Logf("all is well %v after the end", time.Since(ended).Round(time.Millisecond))
		})
	})
}

// program is a running one.
type program struct {
	t   *testing.T
	url string
}

func start(t *testing.T, binary, db string) program {
	t.Helper()
	cmd := exec.Command(binary, "serve", "--addr", "127.0.0.1:0", "--limits", "off", "--dev", "--db", db)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "USERAPI_SECRET=a-secret-of-more-than-thirty-two-bytes-made-for-tests")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var said bytes.Buffer
	cmd.Stderr = &said
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			_ = cmd.Wait()
			require.NoError(t, err, said.String())
		}
		if _, url, ok := strings.Cut(line, "Serving "); ok {
			go io.Copy(io.Discard, lines)
			return program{t, strings.TrimSuffix(strings.TrimSpace(url), "/api")}
		}
	}
}

// answersWithin is the longest that a request waits.
const answersWithin = reads + writes + margin

func (p program) do(r *http.Request) (int, http.Header, []byte) {
	client := http.Client{Timeout: answersWithin}
	answer, err := client.Do(r)
	if !assert.NoError(p.t, err) {
		return 0, nil, nil
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	assert.NoError(p.t, err)
	return answer.StatusCode, answer.Header, body
}

func (p program) get(path, token string) (int, http.Header) {
	r, err := http.NewRequest("GET", p.url+path, nil)
	require.NoError(p.t, err)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	status, header, _ := p.do(r)
	return status, header
}

func (p program) login() (int, http.Header, string) {
	r, err := http.NewRequest("POST", p.url+"/api/users/login", bytes.NewBufferString(fmt.Sprintf(`{"email":"admin","password":%q}`, string(password))))
	assert.NoError(p.t, err)
	r.Header.Set("Content-Type", "application/json")
	status, header, body := p.do(r)
	var answer struct {
		Token string `json:"access_token"`
	}
	_ = json.Unmarshal(body, &answer)
	return status, header, answer.Token
}
