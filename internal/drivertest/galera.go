package drivertest

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

// Cluster is a Galera cluster of private servers on the loopback addresses.
type Cluster struct {
	Nodes []*MariaDB
	ports []int // where the nodes talk to each other
	dir   string
}

// provider is where distributions put the library that replicates.
var provider = []string{"/usr/lib/galera/libgalera_smm.so", "/usr/lib64/galera-4/libgalera_smm.so", "/usr/lib64/galera/libgalera_smm.so"}

// What Provider may be: how soon the others go on without a node that is silent.
const (
	// SoonWithout leaves a node out that is silent for two seconds, and one that is away for five has left.
	SoonWithout = "evs.keepalive_period=PT0.5S;evs.suspect_timeout=PT2S;evs.inactive_timeout=PT5S;evs.inactive_check_period=PT0.5S"
	// DefaultWithout is Galera's own.
	DefaultWithout = "evs.keepalive_period=PT1S;evs.suspect_timeout=PT5S;evs.inactive_timeout=PT15S;evs.inactive_check_period=PT0.5S"
)

// ClusterSettings are what nodes are started with, beside their addresses.
type ClusterSettings struct {
	Provider string   // options of the library that replicates, separated by semicolons
	Server   []string // arguments of the server
}

// NewCluster starts a cluster of n nodes for tests, within some five seconds for each. Stop ends it.
func NewCluster(n int) (*Cluster, error) {
	return StartCluster(n, ClusterSettings{Provider: SoonWithout + ";gcache.size=64M", Server: []string{"--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=128M"}})
}

// ClusterLibrary is where the library that replicates is, or says what is missing for a cluster.
func ClusterLibrary() (string, error) {
	for _, program := range []string{"mariadbd", "mariadb-install-db", "rsync"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", fmt.Errorf("a cluster needs the packages mariadb-server, galera-4 and rsync: %w", err)
		}
	}
	for _, path := range provider {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("a cluster needs the package galera-4: none of %s is there", strings.Join(provider, ", "))
}

// StartCluster is NewCluster with settings of the caller's.
func StartCluster(n int, with ClusterSettings) (_ *Cluster, err error) {
	library, err := ClusterLibrary()
	if err != nil {
		return nil, err
	}
	c := &Cluster{}
	if c.dir, err = os.MkdirTemp("", "userapi-galera-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.Stop()
		}
	}()
	var members []string
	for range n {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		c.ports = append(c.ports, port)
		members = append(members, fmt.Sprintf("127.0.0.1:%d", port))
	}
	for i := range n {
		incremental, err := freePort()
		if err != nil {
			return nil, err
		}
		whole, err := freePort()
		if err != nil {
			return nil, err
		}
		m := &MariaDB{dir: filepath.Join(c.dir, fmt.Sprint("node", i)), keep: true, args: append([]string{
			"--binlog-format=ROW", "--innodb-autoinc-lock-mode=2",
			"--wsrep-on=ON", "--wsrep-provider=" + library, "--wsrep-cluster-name=userapi", "--wsrep-node-name=" + fmt.Sprint("node", i),
			"--wsrep-cluster-address=gcomm://" + strings.Join(members, ","), "--wsrep-node-address=127.0.0.1",
			fmt.Sprintf("--wsrep-provider-options=base_host=127.0.0.1;base_port=%d;gmcast.listen_addr=tcp://127.0.0.1:%d;ist.recv_addr=127.0.0.1:%d;%s",
				c.ports[i], c.ports[i], incremental, with.Provider),
			"--wsrep-sst-method=rsync", fmt.Sprintf("--wsrep-sst-receive-address=127.0.0.1:%d", whole),
		}, with.Server...)}
		if err := m.home(); err != nil {
			return nil, err
		}
		members := m.args
		if i == 0 {
			m.args = append(members[:len(members):len(members)], "--wsrep-new-cluster")
		}
		c.Nodes = append(c.Nodes, m)
		if err := m.begin(); err != nil {
			return nil, fmt.Errorf("node %d: %w", i, err)
		}
		m.args = members // when it starts again it looks for the others
		if err := c.Synced(i, i+1); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// home makes a node's directory, root's for the user mysql: what copies a node's data does not run as root.
func (m *MariaDB) home() error {
	if err := os.MkdirAll(m.dir, 0o700); err != nil || os.Getuid() != 0 {
		return err
	}
	m.as = "mysql"
	account, err := user.Lookup(m.as)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(account.Uid)
	if err != nil {
		return err
	}
	if err := os.Chmod(filepath.Dir(m.dir), 0o711); err != nil { // #nosec G302 -- the nodes pass through
		return err
	}
	return os.Chown(m.dir, uid, -1)
}

// Database makes an empty database that lives as long as the test, on all nodes, and returns how to reach it at each.
func (c *Cluster) Database(t testing.TB) (at []*mysql.Config) {
	t.Helper()
	first := c.Nodes[0].Database(t)
	for _, n := range c.Nodes {
		config := first.Clone()
		config.Addr = n.Config("").Addr
		db := Open(t, config)
		for end := time.Now().Add(10 * time.Second); db.Ping() != nil; time.Sleep(20 * time.Millisecond) { // it may be a moment behind
			if time.Now().After(end) {
				t.Fatalf("the database is not on node %s", config.Addr)
			}
		}
		at = append(at, config)
	}
	return at
}

// Synced waits until node i is one of n that serve, 30 seconds at most.
func (c *Cluster) Synced(i, n int) error {
	db, err := sql.Open("mysql", c.Nodes[i].Config("").FormatDSN())
	if err != nil {
		return err
	}
	defer db.Close()
	var state, size string
	for range 300 {
		state, size = "", ""
		var name string
		_ = db.QueryRow("SHOW STATUS LIKE 'wsrep_local_state_comment'").Scan(&name, &state)
		_ = db.QueryRow("SHOW STATUS LIKE 'wsrep_cluster_size'").Scan(&name, &size)
		if state == "Synced" && size == fmt.Sprint(n) {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	log, _ := os.ReadFile(filepath.Join(c.Nodes[i].dir, "log"))
	return fmt.Errorf("node %d is %q in a cluster of %q:\n%s", i, state, size, log[max(0, len(log)-4000):])
}

// Restore lets node i serve that has lost the majority: it alone is the cluster then, until others join it.
func (c *Cluster) Restore(i int) error {
	db, err := sql.Open("mysql", c.Nodes[i].Config("").FormatDSN())
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.Exec("SET GLOBAL wsrep_provider_options = 'pc.bootstrap=YES'"); err != nil {
		return err
	}
	return c.Synced(i, 1)
}

// Stop ends all nodes and removes their data.
func (c *Cluster) Stop() {
	for _, m := range c.Nodes {
		if m.server != nil {
			m.Stop()
		}
	}
	os.RemoveAll(c.dir)
}
