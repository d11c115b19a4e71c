package mysql_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi/internal/drivertest"
	"github.com/userapi/userapi/store/mysql"
)

func TestParseNodes(t *testing.T) {
	for dsn, addresses := range map[string]string{
		"u:p@tcp(a:1,b:2,c)/db":               "a:1 b:2 c:3306",
		"u:p@tcp(a, b:2)/db?tls=true":         "a:3306 b:2",
		"u:p@tcp([::1]:1,[::2]:2,[::3]:3)/db": "[::1]:1 [::2]:2 [::3]:3",
		"u:p,q/r@tcp(x)@s@tcp(a:1,b:2)/db":    "a:1 b:2",
		"u:p@tcp(a:1)/db":                     "a:1",
		"u:p@tcp/db":                          "127.0.0.1:3306",
		"/db":                                 "127.0.0.1:3306",
		"u@unix(/run/a.sock,/run/b.sock)/db":  "/run/a.sock /run/b.sock",
		"u:p@tcp(a:1,b:2)/db?readTimeout=1ms": "a:1 b:2",
	} {
		configs, err := mysql.ParseNodes(dsn)
		require.NoError(t, err, dsn)
		var got []string
		for _, c := range configs {
			got = append(got, c.Addr)
			assert.Equal(t, "db", c.DBName)
		}
		assert.Equal(t, addresses, strings.Join(got, " "), dsn)
	}
	for _, dsn := range []string{"u:p@tcp(a,,b)/db", "u:p@tcp(a,b/db", "u:p@tcp(a,b)", "u:p@tcp(,)/db", "u:p@tcp(a,b)/db?timeout=never"} {
		_, err := mysql.ParseNodes(dsn)
		assert.Error(t, err, dsn)
	}
	several, err := mysql.ParseNodes("u@tcp(a,b)/db?writeTimeout=7s")
	require.NoError(t, err)
	for _, c := range several {
		assert.Equal(t, []time.Duration{time.Second, 5 * time.Second, 7 * time.Second}, []time.Duration{c.Timeout, c.ReadTimeout, c.WriteTimeout})
	}
	assert.True(t, several[1].InterpolateParams)
	several, err = mysql.ParseNodes("u@tcp(a,b)/db?interpolateParams=false")
	require.NoError(t, err)
	assert.False(t, several[1].InterpolateParams)
	one, err := mysql.ParseNodes("u@tcp(a)/db")
	require.NoError(t, err)
	assert.Zero(t, one[0].ReadTimeout)
	assert.False(t, one[0].InterpolateParams)
	_, err = mysql.NewNodes()
	assert.Error(t, err)
}

func FuzzParseNodes(f *testing.F) {
	f.Add("u:p@tcp(a:1,b:2)/db?x=y")
	f.Fuzz(func(t *testing.T, dsn string) { // it never panics, and one address is read as the driver reads it
		configs, err := mysql.ParseNodes(dsn)
		if alone, failed := driver.ParseDSN(dsn); failed == nil && !strings.Contains(alone.Addr, ",") && err == nil && len(configs) == 1 {
			alone.Logger, configs[0].Logger = nil, nil
			assert.Equal(t, alone.FormatDSN(), configs[0].FormatDSN())
		}
	})
}

// room is how many connections a server of twoNodes lets in.
const room = 12

// twoNodes are two servers that know nothing of each other; a row tells which is which.
type twoNodes struct {
	t     *testing.T
	nodes [2]*drivertest.MariaDB
	list  *mysql.Nodes
	db    *sql.DB
	mu    sync.Mutex
	log   strings.Builder
}

func (n *twoNodes) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.log.Write(p)
}

func newTwoNodes(t *testing.T) *twoNodes {
	n := &twoNodes{t: t}
	var configs []*driver.Config
	for i := range n.nodes {
		m, err := drivertest.Private()
		require.NoError(t, err)
		t.Cleanup(m.Stop)
		n.nodes[i] = m
		admin := drivertest.Open(t, m.Config(""))
		for _, query := range []string{"CREATE DATABASE app", "CREATE TABLE app.which (node INT)", fmt.Sprintf("INSERT INTO app.which VALUES (%d)", i),
			fmt.Sprintf("CREATE USER app IDENTIFIED BY 'secret' WITH MAX_USER_CONNECTIONS %d", room), "GRANT ALL ON app.* TO app"} {
			_, err := admin.Exec(query)
			require.NoError(t, err)
		}
		config := m.Config("app")
		config.User, config.Passwd, config.Timeout, config.ReadTimeout = "app", "secret", 300*time.Millisecond, time.Second
		config.Logger = log.New(n, "", 0)
		configs = append(configs, config)
	}
	var err error
	n.list, err = mysql.NewNodes(configs...)
	require.NoError(t, err)
	n.db = sql.OpenDB(n.list)
	t.Cleanup(func() { n.db.Close() })
	n.db.SetMaxIdleConns(8)
	n.fill()
	return n
}

// fill leaves eight idle connections in the pool.
func (n *twoNodes) fill() {
	var all []*sql.Conn
	for range 8 {
		c, err := n.db.Conn(n.t.Context())
		require.NoError(n.t, err)
		all = append(all, c)
	}
	for _, c := range all {
		c.Close()
	}
}

func (n *twoNodes) which() (int, error) {
	ctx, cancel := context.WithTimeout(n.t.Context(), 3*time.Second)
	defer cancel()
	node := -1
	err := n.db.QueryRowContext(ctx, "SELECT node FROM which WHERE node < ?", 9).Scan(&node)
	return node, err
}

// soon waits until calls go to a node, and then asks for more than the pool has connections.
func (n *twoNodes) soon(node int) {
	n.t.Helper()
	require.Eventually(n.t, func() bool { got, err := n.which(); return err == nil && got == node }, 15*time.Second, 20*time.Millisecond)
	for range 20 {
		got, err := n.which()
		require.NoError(n.t, err)
		require.Equal(n.t, node, got)
	}
}

func (n *twoNodes) states() (serving [2]bool) {
	n.t.Helper()
	for i, s := range n.list.State(n.t.Context()) {
		assert.Equal(n.t, n.nodes[i].Config("").Addr, s.Address)
		serving[i] = s.Err == nil
	}
	return serving
}

func TestNodesGoOnWithTheNextAndComeBack(t *testing.T) {
	t.Parallel()
	n := newTwoNodes(t)
	n.soon(0)
	assert.Equal(t, [2]bool{true, true}, n.states())

	require.NoError(t, n.nodes[0].Kill())
	n.soon(1)
	time.Sleep(1100 * time.Millisecond) // what was found a moment ago is not asked again
	assert.Equal(t, [2]bool{false, true}, n.states())
	require.NoError(t, n.nodes[0].Start())
	n.soon(0)

	// A node that says nothing is found out by one call, not by one for each connection.
	n.fill()
	require.NoError(t, n.nodes[0].Signal(syscall.SIGSTOP))
	failed := 0
	require.Eventually(t, func() bool {
		got, err := n.which()
		if err != nil {
			failed++
		}
		return err == nil && got == 1
	}, 15*time.Second, time.Millisecond)
	assert.LessOrEqual(t, failed, 2, "calls that waited for a node that says nothing")
	require.NoError(t, n.nodes[0].Signal(syscall.SIGCONT))
	n.soon(0)

	admin := drivertest.Open(t, n.nodes[0].Config(""))
	_, err := admin.Exec("SET GLOBAL read_only = 1")
	require.NoError(t, err)
	_, err = n.db.Exec("INSERT INTO which VALUES (7)")
	require.Error(t, err)
	n.soon(1)
	_, err = admin.Exec("SET GLOBAL read_only = 0")
	require.NoError(t, err)
	n.soon(0)

	// One that has no room for more keeps the connections it has, but gets no new ones.
	got := map[int]int{}
	var all []*sql.Conn
	for range room + 2 {
		c, err := n.db.Conn(t.Context())
		require.NoError(t, err)
		var node int
		require.NoError(t, c.QueryRowContext(t.Context(), "SELECT node FROM which").Scan(&node))
		got[node]++
		all = append(all, c)
	}
	assert.Equal(t, map[int]int{0: room, 1: 2}, got)
	for _, c := range all {
		c.Close()
	}
	assert.Equal(t, 8, n.db.Stats().Idle, "they are good")
	n.mu.Lock()
	defer n.mu.Unlock()
	t.Log(n.log.String())
	assert.Contains(t, n.log.String(), "serves again")
	assert.NotContains(t, n.log.String(), "secret")
}

// With all nodes dead a call says so at once, and the first that lives serves, whichever it is.
func TestNodesWithoutAnyThatServes(t *testing.T) {
	t.Parallel()
	n := newTwoNodes(t)
	for _, m := range n.nodes {
		require.NoError(t, m.Kill())
	}
	require.Eventually(t, func() bool { _, err := n.which(); return err != nil }, 5*time.Second, time.Millisecond)
	_, err := n.which()
	require.Error(t, err)
	for _, m := range n.nodes {
		assert.ErrorContains(t, err, m.Config("").Addr)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	_, err = n.list.Connect(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, n.nodes[1].Start())
	n.soon(1)
	require.NoError(t, n.nodes[0].Start())
	n.soon(0)
}
