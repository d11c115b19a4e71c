package totp_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"database/sql"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/feature/totp"
	"github.com/userapi/userapi/httpadapter"
	"github.com/userapi/userapi/internal/drivertest"
	"github.com/userapi/userapi/store/memory"
	"github.com/userapi/userapi/store/mysql"
	"github.com/userapi/userapi/store/postgres"
	"github.com/userapi/userapi/store/sqlite"
	"github.com/userapi/userapi/verification/dummy"
)

const (
	password = "correct horse battery"
	another  = "staple and something"
)

// handles opens one more handle on the database of a test.
type handles func() userapi.Store

func onMemory(*testing.T) handles {
	st := memory.New()
	return func() userapi.Store { return st }
}

func onSQLite(t *testing.T) handles { return onFile(t, t.TempDir()) }

func onFile(t *testing.T, dir string) handles {
	return func() userapi.Store {
		db, err := sql.Open("sqlite", sqlite.DSN(filepath.Join(dir, "users.db")))
		require.NoError(t, err)
		t.Cleanup(func() { _ = db.Close() })
		st := sqlite.New(db)
		require.NoError(t, st.Migrate(t.Context()))
		return st
	}
}

func onMariaDB(t *testing.T) handles {
	require.NoError(t, start())
	config := server.Database(t)
	return func() userapi.Store {
		st := mysql.New(drivertest.Open(t, config))
		require.NoError(t, st.Migrate(t.Context()))
		return st
	}
}

func onPostgres(t *testing.T) handles {
	require.NoError(t, startOther())
	url := other.Database(t)
	return func() userapi.Store {
		st := postgres.New(drivertest.OpenPostgres(t, "pgx", url))
		require.NoError(t, st.Migrate(t.Context()))
		return st
	}
}

func onEveryStore(t *testing.T, flow func(*testing.T, handles)) {
	for name, open := range map[string]func(*testing.T) handles{"memory": onMemory, "sqlite": onSQLite, "mariadb": onMariaDB, "postgres": onPostgres} {
		t.Run(name, func(t *testing.T) { flow(t, open(t)) })
	}
}

// The servers are started by the first test that needs them.
var (
	server *drivertest.MariaDB
	start  = sync.OnceValue(func() (err error) {
		server, err = drivertest.Shared()
		return err
	})
	other      *drivertest.Postgres
	startOther = sync.OnceValue(func() (err error) {
		other, err = drivertest.SharedPostgres()
		return err
	})
)

func TestMain(m *testing.M) {
	code := m.Run()
	if server != nil {
		server.Stop()
	}
	if other != nil {
		other.Stop()
	}
	os.Exit(code)
}

// node is a server.
type node struct {
	api    *userapi.API
	web    *httpadapter.Adapter
	factor *totp.Factor
	mux    *http.ServeMux
}

// world is two servers on one database, and the users admin, ann and bob.
type world struct {
	*node // the first
	t     *testing.T
	nodes [2]*node
	store userapi.Store
	mail  *dummy.Backend
	log   *locked
	mu    sync.Mutex
	at    time.Time
	ids   map[string]string
}

func newWorld(t *testing.T, open handles, change ...func(*userapi.Config)) *world {
	t.Helper()
	w := &world{t: t, mail: dummy.New(), log: new(locked), at: time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC), ids: map[string]string{}}
	for i := range w.nodes {
		w.store = open()
		w.nodes[i] = w.serve(w.store, change...)
	}
	w.node = w.nodes[0]
	_, err := w.api.Bootstrap(t.Context(), userapi.Bootstrap{Username: "admin", Password: password})
	require.NoError(t, err)
	for _, name := range []string{"ann", "bob"} {
		w.add(name, userapi.NewUser{Email: name + "@acme.example", EmailVerified: true})
	}
	return w
}

// serve makes a node on a store.
func (w *world) serve(st userapi.Store, change ...func(*userapi.Config)) *node {
	w.t.Helper()
	factor, err := totp.New(totp.Config{Issuer: "Acme & Söhne", Now: w.now})
	require.NoError(w.t, err)
	logger := slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	cfg := userapi.Config{
		Store: st, Secret: "0123456789abcdefghijklmnopqrstuvwxyz", Now: w.now, Limits: userapi.Limits{}, SecondFactor: factor, Logger: logger,
		Verification: userapi.Verification{Mail: w.mail},
		Password:     userapi.PasswordPolicy{Argon2id: userapi.Argon2id{MemoryKiB: 64, Passes: 1, Threads: 1}, QueueTimeout: time.Minute},
	}
	for _, c := range change {
		c(&cfg)
	}
	api, err := userapi.New(cfg)
	require.NoError(w.t, err)
	require.NoError(w.t, factor.Bind(api))
	web, err := httpadapter.New(httpadapter.Config{API: api, Logger: logger})
	require.NoError(w.t, err)
	n := &node{api: api, web: web, factor: factor, mux: http.NewServeMux()}
	web.Mount(n.mux, "/api/totp", factor.Handler(web))
	web.Mount(n.mux, "/api", web.Handler())
	return n
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = w.at.Add(d)
}

func (w *world) add(name string, n userapi.NewUser) {
	w.t.Helper()
	n.Password, n.Active, n.CustomerID = password, true, "default"
	u, err := w.api.Users.Create(w.t.Context(), userapi.System(), n)
	require.NoError(w.t, err)
	w.ids[name] = u.ID
}

// locked is a log that many goroutines write.
type locked struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

type object = map[string]any

// answer is what came back.
type answer struct {
	*httptest.ResponseRecorder
	t    *testing.T
	JSON object
}

// is requires the status, and the error code unless it is "".
func (a *answer) is(status int, code string) *answer {
	a.t.Helper()
	require.Equal(a.t, status, a.Code, a.Body.String())
	if code != "" {
		require.Equal(a.t, code, a.JSON["error_code"], a.Body.String())
	}
	return a
}

func (a *answer) text(name string) string {
	s, _ := a.JSON[name].(string)
	return s
}

// codes are the recovery codes of an answer.
func (a *answer) codes() []string {
	a.t.Helper()
	all, _ := a.JSON["recovery_codes"].([]any)
	require.Len(a.t, all, 10, a.Body.String())
	codes := make([]string, len(all))
	for i := range all {
		codes[i], _ = all[i].(string)
	}
	return codes
}

type set func(*http.Request)

func header(name, value string) set { return func(r *http.Request) { r.Header.Set(name, value) } }

func bearer(token string) set { return header("Authorization", "Bearer "+token) }

// do sends a request below /api to the first node. body is sent as it is when it is a string, else as JSON; nil is none.
func (w *world) do(method, path string, body any, how ...set) *answer {
	w.t.Helper()
	return w.ask(w.node, method, path, body, how...)
}

func (w *world) ask(n *node, method, path string, body any, how ...set) *answer {
	w.t.Helper()
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		require.NoError(w.t, err)
		reader = bytes.NewReader(raw)
	}
	r := httptest.NewRequest(method, "/api"+path, reader)
	if reader != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, change := range how {
		change(r)
	}
	a := &answer{ResponseRecorder: httptest.NewRecorder(), t: w.t}
	n.mux.ServeHTTP(a, r)
	_ = json.Unmarshal(a.Body.Bytes(), &a.JSON)
	return a
}

// login gives the answer to the right password.
func (w *world) login(name string) *answer {
	w.t.Helper()
	if name != "admin" {
		name += "@acme.example"
	}
	return w.do("POST", "/auth/login", object{"email": name, "password": password}).is(200, "")
}

// as is a session of somebody without a second factor.
func (w *world) as(name string) set {
	w.t.Helper()
	in := w.login(name)
	require.Empty(w.t, in.text("step"))
	return bearer(in.text("access_token"))
}

// started is a login that lacks its second factor.
func (w *world) started(name string) set {
	w.t.Helper()
	in := w.login(name)
	require.Equal(w.t, "second_factor", in.text("step"))
	require.Empty(w.t, in.text("refresh_token"))
	return bearer(in.text("access_token"))
}

// phone is an authenticator app: an implementation of its own.
type phone struct {
	w   *world
	key []byte
}

func (w *world) scan(secret string) phone {
	w.t.Helper()
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret)
	require.NoError(w.t, err)
	require.Len(w.t, key, 20)
	return phone{w, key}
}

func (p phone) code() string { return p.at(p.w.now()) }

func (p phone) at(when time.Time) string {
	mac := hmac.New(sha1.New, p.key)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(when.Unix()/30)))
	sum := mac.Sum(nil)
	at := sum[19] & 15
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[at:at+4])&0x7fffffff%1_000_000)
}

// wrong is a code that no step near now has.
func (p phone) wrong() string {
	near := map[string]bool{}
	for i := range 9 {
		near[p.at(p.w.now().Add(time.Duration(i-4)*30*time.Second))] = true
	}
	for i := 0; ; i++ {
		if code := fmt.Sprintf("%06d", i); !near[code] {
			return code
		}
	}
}

// enrolled switches two-step login on, and lets the code that did it pass by.
func (w *world) enrolled(name string) (p phone, recovery []string) {
	w.t.Helper()
	session := w.as(name)
	p = w.scan(w.do("POST", "/totp/enrol", nil, session).is(200, "").text("secret"))
	recovery = w.do("POST", "/totp/confirm", object{"code": p.code()}, session).is(200, "").codes()
	w.advance(30 * time.Second)
	return p, recovery
}

// complete is the answer to the second step of a new login.
func (w *world) complete(name, code string) *answer {
	w.t.Helper()
	return w.do("POST", "/totp/login", object{"code": code}, w.started(name))
}

// told are the notices that were sent to somebody since it was asked last.
func (w *world) told(name string) []userapi.Notice {
	w.t.Helper()
	_, err := w.api.Deliver(context.Background())
	require.NoError(w.t, err)
	var notices []userapi.Notice
	for _, m := range w.mail.Messages() {
		if m.Purpose == userapi.PurposeNotice && m.To == name+"@acme.example" {
			notices = append(notices, m.Notice)
		}
	}
	w.mail.Reset()
	return notices
}

// cookies are those of an answer, as a browser sends them back.
func cookies(a *answer) set {
	return func(r *http.Request) {
		for _, c := range a.Result().Cookies() {
			if c.MaxAge >= 0 {
				r.AddCookie(c)
			}
		}
	}
}

// methods are the claim amr of an access token.
func methods(t *testing.T, access string) (amr []string) {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(access, ".")[1])
	require.NoError(t, err)
	var claims struct{ Amr []string }
	require.NoError(t, json.Unmarshal(raw, &claims))
	return claims.Amr
}

// atOnce sends from 64 goroutines, to both nodes in turn, and counts the answers by status.
func (w *world) atOnce(send func(i int, n *node) *answer) map[int]int {
	var all sync.WaitGroup
	begin, codes := make(chan struct{}), make([]int, 64)
	for i := range codes {
		all.Go(func() {
			<-begin
			codes[i] = send(i, w.nodes[i%2]).Code
		})
	}
	close(begin)
	all.Wait()
	count := map[int]int{}
	for _, code := range codes {
		count[code]++
	}
	return count
}
