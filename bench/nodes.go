package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/userapi/userapi"
)

var nodesPart = Part{
	Name: "nodes", Title: "What a second node adds",
	Intro: `The ready-made program in one and in two processes against one MariaDB, under a load of a fixed rate: 32 clients, each with a session of its own,
together 400 requests a second, of which 97 in 100 have a token checked (` + "`GET /auth/verify_token`" + `), 2 refresh and 1 logs in. With two processes every client
changes from one to the other with each request. All of it, load and database included, shares the cores of one machine, so a second process brings
no capacity here: what is told is what it costs.`,
	Run: runNodes,
}

const (
	nodeClients = 32
	nodeRate    = 400 // requests per second, all clients together
)

func runNodes(r *Run) error {
	d, err := mariaEngine.open(r, "nodes")
	if err != nil {
		return err
	}
	program, err := buildProgram(r)
	if err != nil {
		return err
	}
	secret := strings.Repeat("0123456789abcdef", 4)
	api, err := userapi.New(userapi.Config{Store: d.store, Secret: userapi.Secret(secret)})
	if err != nil {
		return err
	}
	if _, err := api.Bootstrap(r, userapi.Bootstrap{Username: "admin", Password: password}); err != nil {
		return err
	}
	names := make([]string, nodeClients)
	for i := range names {
		names[i] = fmt.Sprintf("client%02d", i)
		_, err := api.Users.Create(r, userapi.System(), userapi.NewUser{Username: names[i], Password: password, Active: true, CustomerID: "default"})
		if err != nil && !errors.Is(err, userapi.ErrUsernameTaken) {
			return err
		}
	}
	sums := map[int]*nodeFigures{1: {}, 2: {}}
	for range r.Few(3, 1) {
		for _, n := range []int{1, 2} {
			if err := sums[n].measure(r, d, program, secret, names, n); err != nil {
				return fmt.Errorf("%d processes: %w", n, err)
			}
		}
	}
	for _, n := range []int{1, 2} {
		what := map[int]string{1: "One process", 2: "Two processes"}[n]
		r.Add(Section{Title: what, Rows: sums[n].rows()})
	}
	return nil
}

// nodeFigures are those of all rounds.
type nodeFigures struct {
	checks, refreshes, logins []float64 // ns by request
	cpu, asked, idle          []float64 // by round: ns of the processes by request, questions by request, questions a second without requests
	seen                      []float64 // ns from the answer of a logout until another process refuses
	late                      int       // logouts that were not seen within the bound
}

func (f *nodeFigures) rows() []Row {
	tail := func(of []float64) string {
		return fmt.Sprintf("%s, p99 %s", span(median(of)), span(quantile(of, 0.99)))
	}
	rows := []Row{
		Figure("token check, from request to answer", tail(f.checks)),
		Figure("refresh", tail(f.refreshes)),
		Figure("login", tail(f.logins)),
		Figure("processor time of the processes by 1,000 requests", fmt.Sprintf("%.2f core-seconds", median(f.cpu)*1000/1e9)),
		Figure("questions to the database by 1,000 requests, BEGIN and COMMIT included", count(median(f.asked)*1000)),
		Figure("questions a second while nobody asks anything", fmt.Sprintf("%.1f", median(f.idle))),
	}
	if len(f.seen) > 0 {
		row := Figure("a logout at one process is refused by the other after", tail(f.seen)+", at most "+span(slices.Max(f.seen)))
		rows = append(rows, row.Aim("≤ 1 s (Config.Staleness)", f.late == 0, fmt.Sprintf("%d were seen later", f.late)))
	}
	return rows
}

func (f *nodeFigures) measure(r *Run, d *database, program, secret string, names []string, n int) error {
	var nodes []*node
	defer func() {
		for _, one := range nodes {
			one.stop()
		}
	}()
	for range n {
		one, err := startNode(r, program, secret, d.dsn)
		if err != nil {
			return err
		}
		nodes = append(nodes, one)
	}
	clients := make([]*nodeClient, len(names))
	for i, name := range names {
		clients[i] = &nodeClient{nodes: nodes, name: name}
		if err := clients[i].login(r); err != nil {
			return err
		}
	}
	lasts := time.Duration(r.Few(10, 1)) * time.Second
	began, asked := nodeTimes(nodes), questions(d)
	var wg sync.WaitGroup
	failed := make(chan error, len(clients))
	for i, c := range clients {
		wg.Go(func() {
			if err := c.work(r, lasts, rand.New(rand.NewPCG(1, uint64(i)))); err != nil {
				failed <- err
			}
		})
	}
	wg.Wait()
	close(failed)
	if err := <-failed; err != nil {
		return err
	}
	total := 0
	for _, c := range clients {
		f.checks, f.refreshes, f.logins = append(f.checks, c.took[0]...), append(f.refreshes, c.took[1]...), append(f.logins, c.took[2]...)
		total += len(c.took[0]) + len(c.took[1]) + len(c.took[2])
	}
	f.cpu = append(f.cpu, float64(nodeTimes(nodes)-began)/float64(total))
	f.asked = append(f.asked, float64(questions(d)-asked)/float64(total))

	asked = questions(d)
	quiet := time.Duration(r.Few(3, 1)) * time.Second
	time.Sleep(quiet)
	f.idle = append(f.idle, float64(questions(d)-asked-1)/quiet.Seconds()) // but the question itself
	if n < 2 {
		return nil
	}
	for range r.Few(20, 1) {
		c := clients[rand.IntN(len(clients))]
		if err := c.login(r); err != nil {
			return err
		}
		if err := c.seesLogout(r, f); err != nil {
			return err
		}
	}
	return nil
}

// questions is how many statements the server was asked so far.
func questions(d *database) int {
	var name string
	var n int
	_ = d.db.QueryRow("SHOW GLOBAL STATUS LIKE 'Questions'").Scan(&name, &n)
	return n
}

// node is a running program.
type node struct {
	cmd  *exec.Cmd
	base string
}

func buildProgram(r *Run) (string, error) {
	dir, err := os.MkdirTemp("", "userapi-bench-")
	if err != nil {
		return "", err
	}
	r.Cleanup(func() { _ = os.RemoveAll(dir) })
	program := filepath.Join(dir, "userapi")
	cmd := exec.CommandContext(r, "go", "build", "-o", program, "./cmd/userapi")
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return program, nil
}

func startNode(r *Run, program, secret, dsn string) (*node, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := l.Addr().String()
	l.Close()
	cmd := exec.CommandContext(r, program, "serve", "--addr", address)
	cmd.Env = append(os.Environ(), "USERAPI_SECRET="+secret, "USERAPI_DB=mysql:"+dsn)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	one := &node{cmd, "http://" + address}
	for range 100 {
		if answer, err := http.Get(one.base + "/readyz"); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return one, nil
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	one.stop()
	return nil, fmt.Errorf("the program does not get ready: %s", said.String())
}

func (n *node) stop() {
	_ = n.cmd.Process.Signal(syscall.SIGTERM)
	_ = n.cmd.Wait()
}

// nodeTimes is the processor time of the processes so far, as Linux tells it in hundredths of a second.
func nodeTimes(nodes []*node) (sum time.Duration) {
	for _, n := range nodes {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.cmd.Process.Pid))
		if err != nil {
			return 0
		}
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])) // the name may hold blanks
		for _, field := range fields[11:13] {
			ticks, _ := strconv.Atoi(field)
			sum += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	return sum
}

// nodeClient is somebody with one session.
type nodeClient struct {
	nodes           []*node
	name            string
	asked           int
	access, refresh string
	took            [3][]float64 // checks, refreshes, logins
}

// ask sends a request to the node whose turn it is.
func (c *nodeClient) ask(ctx context.Context, method, path string, body map[string]string, want int) (map[string]any, error) {
	c.asked++
	return c.askAt(ctx, c.nodes[c.asked%len(c.nodes)], method, path, body, want)
}

func (c *nodeClient) askAt(ctx context.Context, n *node, method, path string, body map[string]string, want int) (map[string]any, error) {
	var text io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		text = bytes.NewReader(raw)
	}
	q, err := http.NewRequestWithContext(ctx, method, n.base+"/api"+path, text)
	if err != nil {
		return nil, err
	}
	if body != nil {
		q.Header.Set("Content-Type", "application/json")
	}
	if c.access != "" && path != "/auth/login" && path != "/auth/refresh" {
		q.Header.Set("Authorization", "Bearer "+c.access)
	}
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != want {
		return nil, fmt.Errorf("%s %s: %s %s", method, path, answer.Status, raw)
	}
	var fields map[string]any
	_ = json.Unmarshal(raw, &fields)
	return fields, nil
}

func (c *nodeClient) take(fields map[string]any, err error) error {
	if err != nil {
		return err
	}
	c.access, _ = fields["access_token"].(string)
	c.refresh, _ = fields["refresh_token"].(string)
	return nil
}

func (c *nodeClient) login(ctx context.Context) error {
	return c.take(c.ask(ctx, "POST", "/auth/login", map[string]string{"username": c.name, "password": string(password)}, http.StatusOK))
}

func (c *nodeClient) work(ctx context.Context, lasts time.Duration, dice *rand.Rand) error {
	every := nodeClients * time.Second / nodeRate
	for end := time.Now().Add(lasts); time.Now().Before(end); {
		time.Sleep(time.Duration(dice.Int64N(int64(2 * every)))) // on the average every
		began, kind := time.Now(), 0
		var err error
		switch chance := dice.IntN(100); {
		case chance == 0:
			kind, err = 2, c.login(ctx)
		case chance <= 2:
			kind, err = 1, c.take(c.ask(ctx, "POST", "/auth/refresh", map[string]string{"refresh_token": c.refresh}, http.StatusOK))
		default:
			_, err = c.ask(ctx, "GET", "/auth/verify_token", nil, http.StatusOK)
		}
		if err != nil {
			return err
		}
		c.took[kind] = append(c.took[kind], float64(time.Since(began)))
	}
	return nil
}

// seesLogout logs out at one node and asks the other until it refuses.
func (c *nodeClient) seesLogout(ctx context.Context, f *nodeFigures) error {
	here, there := c.nodes[0], c.nodes[1]
	for _, n := range c.nodes { // both know the token
		if _, err := c.askAt(ctx, n, "GET", "/auth/verify_token", nil, http.StatusOK); err != nil {
			return err
		}
	}
	time.Sleep(time.Duration(rand.Int64N(int64(time.Second)))) // at any point between two top-ups
	if _, err := c.askAt(ctx, here, "POST", "/auth/logout", nil, http.StatusNoContent); err != nil {
		return err
	}
	began := time.Now()
	for {
		asked := time.Now()
		_, err := c.askAt(ctx, there, "GET", "/auth/verify_token", nil, http.StatusUnauthorized)
		if err == nil {
			f.seen = append(f.seen, float64(time.Since(began)))
			return nil
		}
		if asked.Sub(began) > time.Second { // it was let in after the bound
			f.late++
			return nil
		}
		time.Sleep(time.Millisecond)
	}
}
