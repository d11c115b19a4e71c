package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/internal/drivertest"
)

const (
	// clusters says that the tests which start a Galera cluster are to run: make cluster-test.
	clusters = "USERAPI_TEST_CLUSTER"

	// answeredWithin is the longest that a caller waits for an answer while nodes die: what a write and a read may take, retries included,
	// and the hash between.
	answeredWithin = userapi.WriteDeadline + 8*time.Second

	// refusedWithin is Config.Staleness of the program: from then on no instance takes a token whose end was acknowledged.
	refusedWithin = time.Second
)

// clients are the callers of instances of the program, and what they were told: what was acknowledged has to be there in the end, and what
// ended has to stay so.
type clients struct {
	t         *testing.T
	instances []*server
	outboxes  []string
	admin     string // access token

	mu       sync.Mutex
	phase    string
	answers  map[string]int
	longest  map[string]time.Duration // by phase
	ended    chan endedToken
	accounts map[string]*account // by e-mail address
	wrong    []string
	overdue  time.Duration // the latest that a token was taken after its end was acknowledged
}

type endedToken struct {
	access string
	why    string
	at     time.Time
}

// account belongs to one worker, so its state is known.
type account struct {
	id, email string
	passwords []string // that it may have; one, unless an outcome is unknown
	roles     []string // that it may have: "editor", "" or both
	access    string   // a token that holds the role
	mailed    []string // tokens of resets that were used
	exists    bool     // false = nobody was told that it does
}

type session struct {
	of              *account
	access, refresh string
}

// ask sends a request and takes down what came back, which is one of the statuses that are right, or 503 with the time after which to ask again.
func (c *clients) ask(what string, dice *rand.Rand, method, path, token string, body any, right ...int) (int, map[string]any) {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	i := dice.IntN(len(c.instances))
	r, err := http.NewRequest(method, c.instances[i].url+path, bytes.NewReader(text))
	if err != nil {
		panic(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	began := time.Now()
	answer, err := client.Do(r)
	took := time.Since(began)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.longest[c.phase] = max(c.longest[c.phase], took)
	if err != nil {
		c.wrong = append(c.wrong, fmt.Sprintf("%s: %v", what, err))
		return 0, nil
	}
	defer answer.Body.Close()
	got := map[string]any{}
	_ = json.NewDecoder(answer.Body).Decode(&got)
	c.answers[fmt.Sprint(what, " ", answer.StatusCode)]++
	unavailable := answer.StatusCode == http.StatusServiceUnavailable && answer.Header.Get("Retry-After") != ""
	if !unavailable && !slices.Contains(right, answer.StatusCode) {
		c.wrong = append(c.wrong, fmt.Sprintf("%s, %s: instance %d answered %d %v", c.phase, what, i+1, answer.StatusCode, got))
	}
	return answer.StatusCode, got
}

func (c *clients) end(why string, tokens ...string) {
	for _, token := range tokens {
		if token != "" {
			c.ended <- endedToken{token, why, time.Now()}
		}
	}
}

// insist asks until the outcome is known, as a client does that was told to ask again, or until there is no time left.
func (c *clients) insist(ctx context.Context, ask func() int) int {
	for {
		if status := ask(); status != http.StatusServiceUnavailable || ctx.Err() != nil {
			return status
		}
		time.Sleep(300 * time.Millisecond)
	}
}

// work is one client, with accounts and sessions of its own.
func (c *clients) work(ctx context.Context, id int) {
	dice := rand.New(rand.NewPCG(7, uint64(id)))
	var mine []*account
	var sessions []session
	for n := 0; ctx.Err() == nil; n++ {
		var a *account
		if len(mine) > 0 {
			a = mine[dice.IntN(len(mine))]
		}
		switch chance := dice.IntN(100); {
		case chance < 12 || a == nil:
			if a := c.register(ctx, dice, fmt.Sprintf("u%d-%d@example.org", id, n)); a != nil {
				mine = append(mine, a)
			}
		case chance < 28 || len(sessions) == 0:
			if s, ok := c.login(dice, a); ok {
				sessions = append(sessions, s)
			}
		case chance < 60:
			i := dice.IntN(len(sessions))
			c.insist(ctx, func() int { // the same token is tried again, for as long as that is no theft
				status, got := c.ask("refresh", dice, "POST", "/api/auth/refresh", "", map[string]string{"refresh_token": sessions[i].refresh}, 200)
				if status == http.StatusOK {
					sessions[i].access, sessions[i].refresh = fmt.Sprint(got["access_token"]), fmt.Sprint(got["refresh_token"])
				}
				return status
			})
		case chance < 75:
			i := dice.IntN(len(sessions))
			status := c.insist(ctx, func() int {
				status, _ := c.ask("logout", dice, "POST", "/api/auth/logout", "", map[string]string{"refresh_token": sessions[i].refresh}, 204)
				return status
			})
			if status == http.StatusNoContent {
				c.end("logout", sessions[i].access)
			}
			sessions = slices.Delete(sessions, i, i+1)
		case chance < 95:
			c.changeRole(dice, a)
		default:
			if c.reset(ctx, dice, a) {
				for _, s := range sessions {
					if s.of == a {
						c.end("reset", s.access)
					}
				}
				sessions = slices.DeleteFunc(sessions, func(s session) bool { return s.of == a })
			}
		}
		time.Sleep(time.Duration(dice.IntN(60)) * time.Millisecond)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range mine {
		c.accounts[a.email] = a
	}
}

// register creates an account, repeats what has no known outcome, and logs in elsewhere at once.
func (c *clients) register(ctx context.Context, dice *rand.Rand, email string) *account {
	a := &account{email: email, passwords: []string{"first-" + canary}, roles: []string{""}}
	first := true
	status := c.insist(ctx, func() int {
		right := []int{201, 409}
		if first {
			right = right[:1]
		}
		first = false
		status, got := c.ask("registration", dice, "POST", "/api/users", "", map[string]string{"email": email, "name": email, "password": a.passwords[0]}, right...)
		if status == http.StatusCreated {
			a.id = fmt.Sprint(got["id"])
		}
		return status
	})
	c.mu.Lock()
	c.accounts[email] = a
	c.mu.Unlock()
	if a.exists = status == http.StatusCreated || status == http.StatusConflict; !a.exists {
		return nil
	}
	if _, ok := c.login(dice, a); !ok || a.id == "" {
		return nil // it is looked for in the end
	}
	return a
}

// login succeeds with the password that an account has. Where that is unknown, it becomes known.
func (c *clients) login(dice *rand.Rand, a *account) (session, bool) {
	right := []int{200}
	if len(a.passwords) > 1 {
		right = append(right, 401)
	}
	for _, password := range slices.Clone(a.passwords) {
		status, got := c.ask("login", dice, "POST", "/api/users/login", "", map[string]string{"email": a.email, "password": password}, right...)
		switch status {
		case http.StatusOK:
			a.passwords = []string{password}
			if a.id == "" {
				a.id = fmt.Sprint(got["id"])
			}
			return session{a, fmt.Sprint(got["access_token"]), fmt.Sprint(got["refresh_token"])}, true
		case http.StatusUnauthorized:
			if len(a.passwords) > 1 {
				a.passwords = slices.DeleteFunc(a.passwords, func(p string) bool { return p == password })
			}
		default:
			return session{}, false
		}
	}
	return session{}, false
}

// changeRole gives an account a role or takes it, reads it elsewhere at once, and ends with it the token that held it.
func (c *clients) changeRole(dice *rand.Rand, a *account) {
	has := slices.Contains(a.roles, "editor")
	want, codes := "editor", []string{"editor"}
	if has {
		want, codes = "", []string{}
	}
	status, _ := c.ask("role change", dice, "PATCH", "/api/users/"+a.id+"/role", c.admin, codes, 200)
	switch {
	case status != http.StatusOK:
		if !slices.Contains(a.roles, want) {
			a.roles = append(a.roles, want)
		}
		return
	case has:
		c.end("role change", a.access)
		a.access = ""
	}
	a.roles = []string{want}
	if status, got := c.ask("role read", dice, "GET", "/api/users/"+a.id, c.admin, nil, 200); status == http.StatusOK {
		if roles := fmt.Sprint(got["roles"]); strings.Contains(roles, "editor") != (want == "editor") {
			c.mu.Lock()
			c.wrong = append(c.wrong, fmt.Sprintf("%s: role of %s is %q, read %v", c.phase, a.email, want, roles))
			c.mu.Unlock()
		}
	}
	if want == "editor" && dice.IntN(3) == 0 {
		if s, ok := c.login(dice, a); ok {
			a.access = s.access
		}
	}
}

// reset sets a password by mail, and reports whether all sessions are known to have ended.
func (c *clients) reset(ctx context.Context, dice *rand.Rand, a *account) bool {
	began := time.Now().Truncate(time.Second)
	if status, _ := c.ask("reset", dice, "POST", "/api/password/reset", "", map[string]string{"email": a.email}, 200); status != http.StatusOK {
		return false
	}
	token := c.mail(a, began)
	if token == "" {
		return false
	}
	a.mailed = append(a.mailed, token)
	password := fmt.Sprint(canary, "-", dice.Uint64())
	before := a.passwords
	a.passwords = append(slices.Clone(before), password)
	first := true
	status := c.insist(ctx, func() int {
		right := []int{200, 400} // used already, by a try whose outcome was unknown
		if first {
			right = right[:1]
		}
		first = false
		status, _ := c.ask("reset/confirm", dice, "POST", "/api/password/reset/confirm", "", map[string]string{"token": token, "new_password": password}, right...)
		return status
	})
	if status != http.StatusOK && status != http.StatusBadRequest {
		return false
	}
	a.passwords = []string{password}
	c.end("reset", a.access)
	a.access = ""
	if _, ok := c.login(dice, a); ok {
		c.ask("login with what it was before", dice, "POST", "/api/users/login", "", map[string]string{"email": a.email, "password": before[0]}, 401)
	}
	return true
}

// mail waits for the message that a reset sent since then, which any instance may have sent, and returns its token.
func (c *clients) mail(to *account, since time.Time) string {
	for range 50 {
		for _, file := range c.outboxes {
			text, _ := os.ReadFile(file)
			for line := range bytes.Lines(text) {
				var m map[string]string
				if !bytes.Contains(line, []byte(to.email)) || json.Unmarshal(line, &m) != nil || m["to"] != to.email || m["purpose"] != "reset" {
					continue
				}
				if at, err := time.Parse(time.RFC3339, m["time"]); err == nil && !at.Before(since) && !slices.Contains(to.mailed, m["token"]) {
					return m["token"]
				}
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	return ""
}

// watch shows every token that ended to each instance, until all refuse it, and again at the end.
func (c *clients) watch(all *[]endedToken) {
	var watchers sync.WaitGroup
	for token := range c.ended {
		*all = append(*all, token)
		for i := range c.instances {
			watchers.Go(func() {
				for refused := false; !refused; time.Sleep(50 * time.Millisecond) {
					began := time.Now()
					status := c.instances[i].verify(token.access)
					if refused = status == http.StatusUnauthorized; status == http.StatusOK {
						c.mu.Lock()
						c.overdue = max(c.overdue, began.Sub(token.at))
						c.mu.Unlock()
					}
					if began.Sub(token.at) > time.Minute {
						return // the end finds it
					}
				}
			})
		}
	}
	watchers.Wait()
}

func (s *server) verify(token string) int {
	status, _ := s.call("GET", "/api/auth/verify_token", token, nil)
	return status
}

// Instances of the program, each beside a node of its own, whose list of nodes goes on with the others. Whatever becomes of nodes: who was told that
// something was done finds it done, everywhere; what was refused is not half there; what ended stays ended, and is refused everywhere in time;
// and callers see waits and 503, nothing else.
func TestClusterOfInstances(t *testing.T) {
	if os.Getenv(clusters) == "" {
		t.Skip(clusters + " is not set")
	}
	nodes, err := drivertest.NewCluster(3)
	require.NoError(t, err)
	t.Cleanup(nodes.Stop)
	databases := nodes.Database(t)
	name := databases[0].DBName
	c := &clients{
		t: t, answers: map[string]int{}, longest: map[string]time.Duration{}, ended: make(chan endedToken, 1000), accounts: map[string]*account{},
	}
	p := newPlace(t, "USERAPI_SECRET="+secretA, "USERAPI_ADMIN_PASSWORD="+canary, "USERAPI_SENDING=s.json")
	p.write(t, "s.json", links)
	for i := range nodes.Nodes {
		var list []string
		for j := range nodes.Nodes {
			list = append(list, databases[(i+j)%3].Addr)
		}
		outbox := fmt.Sprintf("outbox-%d.jsonl", i)
		c.outboxes = append(c.outboxes, filepath.Join(p.dir, outbox))
		p := p.with("USERAPI_DB=mysql:root@tcp("+strings.Join(list, ",")+")/"+name, "USERAPI_OUTBOX="+outbox)
		c.instances = append(c.instances, p.launch(t, "--dev", "--limits", "off", "--registration", "open")) // all make the tables at once
	}
	for _, s := range c.instances {
		s.ready()
	}
	p.with("USERAPI_DB=mysql:"+databases[0].FormatDSN()).ok(t, "", "role", "add", "editor")
	c.admin = c.instances[0].login("admin", canary)

	load, stop := context.WithCancel(t.Context())
	defer stop()
	var workers, watcher sync.WaitGroup
	for id := range 12 {
		workers.Go(func() { c.work(load, id) })
	}
	var ended []endedToken
	watcher.Go(func() { c.watch(&ended) })
	phase := func(name string, lasts time.Duration, then func() error) {
		t.Helper()
		c.mu.Lock()
		c.phase = name
		c.mu.Unlock()
		time.Sleep(lasts)
		c.mu.Lock()
		refused := 0
		for what, n := range c.answers {
			if strings.HasSuffix(what, "503") {
				refused += n
			}
		}
		t.Logf("%-40s longest answer %v, 503 so far: %d", name, c.longest[name].Round(time.Millisecond), refused)
		c.mu.Unlock()
		require.NoError(t, then(), name)
	}
	ready := func(want int) error {
		for i, s := range c.instances {
			require.Eventually(t, func() bool { status, _ := s.call("GET", "/readyz", "", nil); return status == want }, 10*time.Second, 50*time.Millisecond,
				"instance %d is to say %d", i+1, want)
		}
		return nil
	}
	again := func(i, n int) error {
		return inTurn(nodes.Nodes[i].Start(), func() error { return nodes.Synced(i, n) })
	}
	phase("all nodes", 5*time.Second, nodes.Nodes[2].Kill)
	phase("one of three is dead", 8*time.Second, func() error { return again(2, 3) })
	phase("it is back", 4*time.Second, nodes.Nodes[0].Kill) // the first of all
	phase("another is dead", 8*time.Second, func() error { return again(0, 3) })
	phase("it is back, too", 4*time.Second, func() error { return nodes.Nodes[1].Signal(syscall.SIGSTOP) })
	phase("a third says nothing", 9*time.Second, func() error {
		return inTurn(nodes.Nodes[1].Signal(syscall.SIGCONT), func() error { return nodes.Synced(1, 3) })
	})
	phase("it speaks again", 4*time.Second, func() error { return inTurn(nodes.Nodes[0].Kill(), nodes.Nodes[1].Kill) })
	phase("two are dead, the third serves nobody", 7*time.Second, func() error { return inTurn(ready(503), func() error { return nodes.Restore(2) }) })
	phase("the third serves alone", 5*time.Second, func() error {
		return inTurn(ready(200), func() error { return inTurn(again(0, 2), func() error { return again(1, 3) }) })
	})
	phase("all are back", 5*time.Second, func() error { return ready(200) })
	stop()
	workers.Wait()
	close(c.ended)
	watcher.Wait()

	t.Log(c.answers)
	assert.Empty(t, c.wrong)
	assert.Less(t, slices.Max(slices.Collect(maps.Values(c.longest))), answeredWithin)
	assert.LessOrEqual(t, c.overdue, refusedWithin, "a token that had ended was taken")
	for _, done := range []string{"registration 201", "login 200", "refresh 200", "logout 204", "role change 200", "reset/confirm 200"} {
		assert.NotZero(t, c.answers[done], done)
	}
	for _, s := range c.instances {
		for _, token := range ended {
			assert.Equal(t, http.StatusUnauthorized, s.verify(token.access), "after %s", token.why)
		}
		s.stop() // nothing sweeps while the nodes are compared
		assert.NotContains(t, s.out.String(), `"status":500`)
		assert.Empty(t, s.stderr.String())
	}
	c.compare(nodes, name)
	t.Logf("%d accounts, %d tokens that ended, the last taken %v after its end", len(c.accounts), len(ended), c.overdue.Round(time.Millisecond))
}

// inTurn goes on where there is no error.
func inTurn(err error, then func() error) error {
	if err != nil {
		return err
	}
	return then()
}

// compare holds what the clients were told against every node.
func (c *clients) compare(nodes *drivertest.Cluster, name string) {
	sums := map[string]string{}
	for i, node := range nodes.Nodes {
		config := node.Config(name)
		config.Params = map[string]string{"wsrep_sync_wait": "15"}
		db := drivertest.Open(c.t, config)
		rows := map[string]string{} // role by address
		for _, row := range query(c.t, db, `SELECT u.email_key, COALESCE(r.code, '') FROM userapi_users u
			LEFT JOIN userapi_user_roles ur ON ur.user_id = u.id LEFT JOIN userapi_roles r ON r.id = ur.role_id WHERE u.email_key IS NOT NULL`) {
			rows[row[0]] = row[1]
		}
		for email, a := range c.accounts {
			role, there := rows[email]
			if a.exists {
				assert.True(c.t, there, "node %d: %s was acknowledged, and is not there", i, email)
				assert.Contains(c.t, a.roles, role, "node %d: the role of %s", i, email)
			}
			delete(rows, email)
		}
		assert.Empty(c.t, rows, "node %d: accounts that nobody made", i)
		assert.Equal(c.t, [][]string{{"0"}}, query(c.t, db, `SELECT COUNT(*) FROM (SELECT user_id FROM userapi_events WHERE kind IN ('user.created', 'user.registered') GROUP BY user_id HAVING COUNT(*) > 1) twice`),
			"accounts that were made twice in the audit trail")
		made := query(c.t, db, `SELECT COUNT(DISTINCT user_id) FROM userapi_events WHERE kind IN ('user.created', 'user.registered') AND user_id <> ''`)
		assert.Equal(c.t, query(c.t, db, `SELECT COUNT(*) FROM userapi_users`), made, "an event for each account")
		assert.Equal(c.t, [][]string{{"0"}}, query(c.t, db, `SELECT COUNT(*) FROM userapi_sessions s LEFT JOIN userapi_users u ON u.id = s.user_id WHERE u.id IS NULL`), "sessions of nobody")
		for _, table := range query(c.t, db, `SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()`) {
			sum := query(c.t, db, "CHECKSUM TABLE "+table[0])[0][1]
			if i == 0 {
				sums[table[0]] = sum
			}
			assert.Equal(c.t, sums[table[0]], sum, "%s differs between nodes", table[0])
		}
	}
	assert.GreaterOrEqual(c.t, len(sums), 10)
}

func query(t *testing.T, db *sql.DB, text string) (all [][]string) {
	t.Helper()
	rows, err := db.Query(text)
	require.NoError(t, err)
	defer rows.Close()
	columns, err := rows.Columns()
	require.NoError(t, err)
	for rows.Next() {
		row := make([]string, len(columns))
		into := make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		require.NoError(t, rows.Scan(into...))
		all = append(all, row)
	}
	require.NoError(t, rows.Err())
	return all
}
