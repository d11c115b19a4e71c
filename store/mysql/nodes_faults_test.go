package mysql_test

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"encoding/json"
	"io"
	"log"
	"math"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/internal/drivertest"
	"github.com/userapi/userapi/store/mysql"
)

func quiet(configs ...*driver.Config) []*driver.Config {
	for _, c := range configs {
		c.Logger = log.New(io.Discard, "", 0)
	}
	return configs
}

func pool(t *testing.T, configs ...*driver.Config) (*mysql.Nodes, *sql.DB) {
	n, err := mysql.NewNodes(configs...)
	require.NoError(t, err)
	db := sql.OpenDB(n)
	db.SetMaxIdleConns(8)
	t.Cleanup(func() { db.Close() })
	return n, db
}

func idle(t *testing.T, db *sql.DB, n int) {
	var all []*sql.Conn
	for range n {
		c, err := db.Conn(t.Context())
		require.NoError(t, err)
		all = append(all, c)
	}
	for _, c := range all {
		c.Close()
	}
}

func ask(t *testing.T, db *sql.DB, within time.Duration) error {
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	var one int
	return db.QueryRowContext(ctx, "SELECT 1").Scan(&one)
}

func silent(ctx context.Context, _, _ string) (net.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func private(t *testing.T) *drivertest.MariaDB {
	m, err := drivertest.Private()
	require.NoError(t, err)
	t.Cleanup(m.Stop)
	return m
}

// callers with less than Timeout never leave a preferred node that is silent.
func TestNodesWithShortDeadlines(t *testing.T) {
	t.Parallel()
	m := server
	dead := m.Config("")
	dead.DialFunc = silent
	_, db := pool(t, quiet(dead, m.Config(""))...)
	var err error
	for begin := time.Now(); time.Since(begin) < 6*time.Second; {
		if err = ask(t, db, 600*time.Millisecond); err == nil {
			return
		}
	}
	require.NoError(t, err, "for six seconds nobody was served, though the second node is well")
}

// with all nodes failed, two of them silent, callers with 1.5 s never find that the third is back.
func TestNodesWhoseLastComesBack(t *testing.T) {
	t.Parallel()
	m := server
	a, b, c := m.Config(""), m.Config(""), m.Config("")
	a.DialFunc, b.DialFunc = silent, silent
	var up atomic.Bool
	c.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if !up.Load() {
			return nil, syscall.ECONNREFUSED
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	_, db := pool(t, quiet(a, b, c)...)
	require.Error(t, ask(t, db, 5*time.Second))
	up.Store(true)
	var err error
	for begin := time.Now(); time.Since(begin) < 10*time.Second; {
		if err = ask(t, db, 1900*time.Millisecond); err == nil {
			return
		}
	}
	require.NoError(t, err, "the third node serves for ten seconds already")
}

// what fails here and not at the node (no file descriptors, no answer of DNS) must not throw away connections that are good.
func TestNodesKeepGoodConnectionsWhenThisMachineFails(t *testing.T) {
	t.Parallel()
	m := server
	for name, fault := range map[string]error{"descriptors": &net.OpError{Op: "dial", Err: syscall.EMFILE}, "dns": &net.DNSError{Err: "server misbehaving", IsTemporary: true}} {
		for _, nodes := range []int{0, 1, 2} { // 0 = the driver's own connector
			var failing atomic.Bool
			var configs []*driver.Config
			for range max(nodes, 1) {
				c := m.Config("")
				c.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
					if failing.Load() {
						return nil, fault
					}
					return new(net.Dialer).DialContext(ctx, network, addr)
				}
				configs = append(configs, quiet(c)...)
			}
			var db *sql.DB
			if nodes == 0 {
				db = drivertest.Open(t, configs[0])
				db.SetMaxIdleConns(8)
			} else {
				_, db = pool(t, configs...)
			}
			var all []*sql.Conn
			for range 8 {
				c, err := db.Conn(t.Context())
				require.NoError(t, err)
				all = append(all, c)
			}
			failing.Store(true)
			require.Error(t, ask(t, db, time.Second)) // the ninth
			for _, c := range all {
				c.Close()
			}
			assert.Equal(t, 8, db.Stats().Idle, "%s, nodes %d", name, nodes)
			assert.NoError(t, ask(t, db, time.Second), "%s, nodes %d", name, nodes)
		}
	}
}

// State waits longer than its context, and calls a node that is silent well.
func TestNodesStateKeepsToItsContext(t *testing.T) {
	t.Parallel()
	m := server
	dead := m.Config("")
	dead.DialFunc, dead.Timeout = silent, 4*time.Second
	n, _ := pool(t, quiet(m.Config(""), dead)...)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	states := n.State(ctx)
	assert.Error(t, states[1].Err, "the node says nothing")

	go n.State(context.Background()) // another /readyz
	time.Sleep(1100 * time.Millisecond)
	begin := time.Now()
	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	n.State(ctx)
	assert.Less(t, time.Since(begin), time.Second)
}

// callers of State that go away keep a node that is back from being found.
func TestNodesStateWithoutTimeIsNoLook(t *testing.T) {
	t.Parallel()
	m := server
	first := m.Config("")
	var up atomic.Bool
	first.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if !up.Load() {
			return nil, syscall.ECONNREFUSED
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	n, db := pool(t, quiet(first, m.Config(""))...)
	require.NoError(t, ask(t, db, time.Second))
	up.Store(true)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	var states []mysql.NodeState
	for begin := time.Now(); time.Since(begin) < 8*time.Second; time.Sleep(100 * time.Millisecond) {
		states = n.State(gone)
		require.NoError(t, ask(t, db, time.Second))
		if states[0].Err == nil {
			return
		}
	}
	assert.NoError(t, states[0].Err, "it serves for eight seconds")
}

// a list of one behaves as it always does.
func TestNodesListOfOne(t *testing.T) {
	t.Parallel()
	m := private(t)
	admin := drivertest.Open(t, m.Config(""))
	for _, q := range []string{"CREATE DATABASE app", "CREATE TABLE app.x (i INT)", "CREATE USER app IDENTIFIED BY 's'", "GRANT ALL ON app.* TO app"} {
		_, err := admin.Exec(q)
		require.NoError(t, err)
	}
	for _, what := range []string{"kill", "read-only", "slow"} {
		for _, wrapped := range []bool{false, true} {
			c := m.Config("app")
			c.User, c.Passwd = "app", "s"
			c.ReadTimeout = time.Second
			var said strings.Builder
			quiet(c)
			var db *sql.DB
			if wrapped {
				c.Logger = log.New(&said, "", 0)
				_, db = pool(t, c)
			} else {
				db = drivertest.Open(t, c)
				db.SetMaxIdleConns(8)
			}
			idle(t, db, 8)
			switch what {
			case "kill":
				c, err := db.Conn(t.Context())
				require.NoError(t, err)
				var id int
				require.NoError(t, c.QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&id))
				_, err = admin.Exec("KILL ?", id)
				require.NoError(t, err)
				time.Sleep(100 * time.Millisecond)
				_, err = c.ExecContext(t.Context(), "DO 1")
				require.Error(t, err)
				c.Close()
			case "slow":
				_, err := db.Exec("DO SLEEP(2)")
				require.Error(t, err)
			case "read-only":
				_, err := admin.Exec("SET GLOBAL read_only=1")
				require.NoError(t, err)
				for range 3 {
					_, err = db.Exec("INSERT INTO x VALUES (1)")
					require.Error(t, err)
				}
				_, err = admin.Exec("SET GLOBAL read_only=0")
				require.NoError(t, err)
			}
			closed := db.Stats()
			var all []*sql.Conn
			before := connections(t, admin)
			for range 7 {
				c, err := db.Conn(t.Context())
				require.NoError(t, err)
				all = append(all, c)
			}
			opened := connections(t, admin) - before
			for _, c := range all {
				c.Close()
			}
			assert.LessOrEqual(t, opened, 1, "%s, in a list: %v; new connections; idle before %d; log %s", what, wrapped, closed.Idle, said.String())
		}
	}
}

// all nodes read-only is no defect of the program: 503.
func TestNodesAllReadOnly(t *testing.T) {
	t.Parallel()
	m := private(t)
	_, db := pool(t, quiet(m.Config(""), m.Config(""))...)
	admin := drivertest.Open(t, m.Config(""))
	_, err := admin.Exec("SET GLOBAL read_only=1")
	require.NoError(t, err)
	err = mysql.New(db).Ping(t.Context())
	assert.ErrorIs(t, err, userapi.ErrUnavailable)
	_, err = mysql.New(db).SessionByID(t.Context(), "x")
	assert.ErrorIs(t, err, userapi.ErrUnavailable)
}

// 1290 says more than read-only.
func TestNodesRefusedOptionIsNoFailure(t *testing.T) {
	t.Parallel()
	m, err := drivertest.In(t.TempDir(), "--secure-file-priv=/tmp")
	require.NoError(t, err)
	t.Cleanup(m.Stop)
	n, db := pool(t, quiet(m.Config(""), m.Config(""))...)
	n.State(t.Context())
	_, err = db.Exec("SELECT 1 INTO OUTFILE '/var/tmp/x'")
	require.Error(t, err)
	assert.NoError(t, n.State(t.Context())[0].Err)
}

// what COMMIT of a host's transaction says is learned.
func TestNodesLearnFromCommit(t *testing.T) {
	t.Parallel()
	n := newTwoNodes(t)
	tx, err := n.db.Begin()
	require.NoError(t, err)
	_, err = tx.Exec("INSERT INTO which VALUES (5)")
	require.NoError(t, err)
	require.NoError(t, n.nodes[0].Signal(syscall.SIGSTOP))
	t.Cleanup(func() { n.nodes[0].Signal(syscall.SIGCONT) })
	time.Sleep(100 * time.Millisecond)
	require.Error(t, tx.Commit()) // after a second
	node, err := n.which()        // and nobody else waits for that long
	require.NoError(t, err)
	assert.Equal(t, 1, node)
}

// types and results are the driver's own.
func TestNodesTypesAndResults(t *testing.T) {
	t.Parallel()
	m := server
	config := m.Database(t)
	config.ParseTime, config.MultiStatements = true, true
	for _, interpolate := range []bool{false, true} {
		c := config.Clone()
		c.InterpolateParams = interpolate
		for _, wrapped := range []bool{false, true} {
			var db *sql.DB
			if wrapped {
				_, db = pool(t, c, c)
			} else {
				db = drivertest.Open(t, c)
			}
			_, err := db.Exec("DROP TABLE IF EXISTS x; CREATE TABLE x (i BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, d DATETIME(6), j JSON, u BIGINT UNSIGNED, b BOOL)")
			require.NoError(t, err)
			at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
			r, err := db.Exec("INSERT INTO x (d, j, u, b) VALUES (?, ?, ?, ?), (?, ?, ?, ?)", at, json.RawMessage(`{"a":1}`), uint64(math.MaxUint64), true, at, json.RawMessage(`{}`), uint64(1)<<63, false)
			require.NoError(t, err)
			id, err := r.LastInsertId()
			require.NoError(t, err)
			rows, err := r.RowsAffected()
			require.NoError(t, err)
			assert.Equal(t, []int64{1, 2}, []int64{id, rows})
			s, err := db.Prepare("SELECT d, j, u, b FROM x WHERE u = ? AND d = ?")
			require.NoError(t, err)
			var d time.Time
			var j json.RawMessage
			var u uint64
			var b bool
			require.NoError(t, s.QueryRow(uint64(math.MaxUint64), at).Scan(&d, &j, &u, &b))
			assert.Equal(t, at, d)
			assert.Equal(t, uint64(math.MaxUint64), u)
			_, err = db.Exec("INSERT INTO x (i) VALUES (?)", sql.Named("a", 1))
			assert.Error(t, err)
			multi, err := db.Query("SELECT 1; SELECT 2")
			require.NoError(t, err)
			sets := 1
			for multi.Next() {
			}
			for multi.NextResultSet() {
				sets++
			}
			require.NoError(t, multi.Err())
			assert.Equal(t, 2, sets)
			conn, err := db.Conn(t.Context())
			require.NoError(t, err)
			require.NoError(t, conn.Raw(func(c any) error {
				e := c.(sqldriver.ExecerContext)
				r, err := e.ExecContext(t.Context(), "UPDATE x SET b=0; UPDATE x SET b=1", nil)
				require.NoError(t, err)
				assert.Len(t, r.(driver.Result).AllRowsAffected(), 2)
				return nil
			}))
			conn.Close()
			s.Close()
		}
	}
}

// no part of a password in an error.
func TestNodesNoPasswordInErrors(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{"u:geheim/sec%zzret@tcp(a,b)", "u:geheim/sec%zzret@tcp(a,b", "u:ge?x=heim/geheim%zz@tcp(a)"} {
		_, err := mysql.ParseNodes(dsn)
		require.Error(t, err)
		assert.NotContains(t, err.Error(), "zzret")
		assert.NotContains(t, err.Error(), "geheim")
	}
}

// configurations stay as they were.
func TestNodesConfigurationsStayAsTheyWere(t *testing.T) {
	t.Parallel()
	c := driver.NewConfig()
	c.Addr, c.Net = "a", "tcp"
	c.Params = map[string]string{"wsrep_sync_wait": "3"}
	other := c.Clone()
	_, err := mysql.NewNodes(c, c, other)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"wsrep_sync_wait": "3"}, c.Params)
	assert.Equal(t, "a", c.Addr)
	assert.Zero(t, c.Timeout)
	p, err := mysql.ParseNodes("u:p@tcp(a,b)/db?wsrep_sync_wait=3")
	require.NoError(t, err)
	_, err = mysql.NewNodes(p...)
	require.NoError(t, err)
	assert.Equal(t, "3", p[1].Params["wsrep_sync_wait"])
}

// the variable in another spelling keeps its value.
func TestNodesSyncWaitInAnySpelling(t *testing.T) {
	t.Parallel()
	m := server
	for _, spelling := range []string{"wsrep_sync_wait", "WSREP_SYNC_WAIT", "@@wsrep_sync_wait", "@@session.wsrep_sync_wait"} {
		c := m.Config("")
		c.Params = map[string]string{spelling: "1"}
		_, db := pool(t, c, c)
		var got string
		require.NoError(t, db.QueryRow("SELECT @@wsrep_sync_wait").Scan(&got))
		assert.Equal(t, "1", got, spelling)
	}
}

// a negative timeout is the driver's "none".
func TestNodesNegativeTimeoutIsNone(t *testing.T) {
	t.Parallel()
	m := server
	c := m.Config("")
	c.Timeout = -1
	_, db := pool(t, c)
	assert.NoError(t, ask(t, db, 5*time.Second))
	assert.NoError(t, ask(t, drivertest.Open(t, c), 5*time.Second), "the driver alone")
}

// transactions and prepared statements go through when a better node comes back in the middle.
func TestNodesTransactionsWhileABetterNodeComesBack(t *testing.T) {
	t.Parallel()
	n := newTwoNodes(t)
	s, err := n.db.Prepare("SELECT node FROM which WHERE node < ?")
	require.NoError(t, err)
	require.NoError(t, n.nodes[0].Kill())
	n.soon(1)
	tx, err := n.db.Begin()
	require.NoError(t, err)
	_, err = tx.Exec("INSERT INTO which VALUES (50)")
	require.NoError(t, err)
	conn, err := n.db.Conn(t.Context())
	require.NoError(t, err)
	require.NoError(t, n.nodes[0].Start())
	n.soon(0)
	_, err = tx.Exec("INSERT INTO which VALUES (51)")
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	var node int
	require.NoError(t, conn.QueryRowContext(t.Context(), "SELECT node FROM which WHERE node<9").Scan(&node))
	assert.Equal(t, 1, node)
	require.NoError(t, conn.Close())
	for range 10 {
		require.NoError(t, s.QueryRow(9).Scan(&node))
		assert.Equal(t, 0, node)
	}
	n.soon(0)
}

// wrong password / missing database at one node.
func TestNodesMisconfiguredNode(t *testing.T) {
	t.Parallel()
	n := newTwoNodes(t)
	for _, what := range []string{"password", "database"} {
		a, b := n.nodes[0].Config("app"), n.nodes[1].Config("app")
		switch what {
		case "password":
			a.User, a.Passwd = "app", "wrong-geheim"
		case "database":
			a.DBName = "nowhere"
		}
		var said strings.Builder
		var mu sync.Mutex
		a.Logger = log.New(locked{&mu, &said}, "", 0)
		quiet(b)
		_, db := pool(t, a, b)
		db.SetMaxIdleConns(32)
		adminB := drivertest.Open(t, n.nodes[1].Config(""))
		before := connections(t, adminB)
		stop := time.Now().Add(3 * time.Second)
		var all sync.WaitGroup
		var failed atomic.Int64
		for range 20 {
			all.Go(func() {
				for time.Now().Before(stop) {
					ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
					if _, err := db.ExecContext(ctx, "DO SLEEP(0.05)"); err != nil {
						failed.Add(1)
					}
					cancel()
				}
			})
		}
		all.Wait()
		mu.Lock()
		t.Log(what, "failed", failed.Load(), "connections at the second", connections(t, adminB)-before, "\n"+said.String())
		assert.NotContains(t, said.String(), "geheim")
		mu.Unlock()
		assert.Zero(t, failed.Load())
		db.Close()
	}
}

func connections(t *testing.T, admin *sql.DB) (n int) {
	var name string
	require.NoError(t, admin.QueryRow("SHOW GLOBAL STATUS LIKE 'Connections'").Scan(&name, &n))
	return n
}

type locked struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
