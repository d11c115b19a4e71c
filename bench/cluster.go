package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/internal/drivertest"
	"github.com/userapi/userapi/store/mysql"
)

var clusterPart = Part{
	Name: "cluster", Title: "A Galera cluster of three nodes",
	Intro: `What the settings of [cluster.md](../cluster.md) buy and cost, and what a cluster costs beside one server. Three MariaDB nodes, and the one server they are held
against, run on the loopback addresses of one machine with the callers, so all of them share its cores and its disk: a cluster of three machines is faster than this one, and its
messages take longer. Ratios within a table were measured in turns. Passwords are hashed by an argon2id that costs next to nothing (64 KiB), so that it is the database that is measured.
It takes minutes, and needs the packages mariadb-server, galera-4 and rsync: without them ` + "`make bench`" + ` leaves this page as it is.`,
	Run:   runCluster,
	Ready: func() error { _, err := drivertest.ClusterLibrary(); return err },
}

func runCluster(r *Run) error {
	c, err := startGalera(r)
	if err != nil {
		return err
	}
	for _, part := range []func(*Run, *galera) error{behind, waits, halves, stalls, stopped, flushes, oneServer} {
		if err := part(r, c); err != nil {
			return err
		}
	}
	return nil
}

const (
	galeraNodes = 3
	galeraName  = "userapi_bench"
	loadWriters = 6 // of the write load that runs beside something
)

// serverArgs are those of the nodes, and of the one server beside them.
var serverArgs = []string{"--innodb-flush-log-at-trx-commit=1", "--innodb-buffer-pool-size=256M"}

// galera is the running cluster with pools on its nodes.
type galera struct {
	*drivertest.Cluster
	pools     map[string]*database
	customers []string     // 64
	number    atomic.Int64 // of new accounts
}

func startGalera(r *Run) (*galera, error) {
	cluster, err := drivertest.StartCluster(galeraNodes, drivertest.ClusterSettings{Provider: "gcache.size=256M", Server: serverArgs})
	if err != nil {
		return nil, err
	}
	r.Cleanup(cluster.Stop)
	c := &galera{Cluster: cluster, pools: map[string]*database{}, customers: others()[:64]}
	if err := runAt(c.Nodes[0], "CREATE DATABASE "+galeraName); err != nil {
		return nil, err
	}
	d, err := c.at(r, 0, wait0)
	if err != nil {
		return nil, err
	}
	var version string
	if err := d.db.QueryRow("SELECT CONCAT(VERSION(), ', Galera ', (SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'wsrep_provider_version'))").Scan(&version); err != nil {
		return nil, err
	}
	r.Version("MariaDB", version+"; where nothing else is said innodb_flush_log_at_trx_commit=1, wsrep_sync_wait=7")
	if err := d.store.Migrate(r); err != nil {
		return nil, err
	}
	return c, d.fill(r, r.Few(10_000, 1_000))
}

// How a pool is opened.
const (
	wait0   = "wsrep_sync_wait=0"
	wait1   = "wsrep_sync_wait=1"
	wait7   = "wsrep_sync_wait=7"
	hurried = wait7 + "&timeout=1s&readTimeout=5s&writeTimeout=5s" // as docs/cluster.md recommends
)

// at is a pool beside node i; how is of the DSN.
func (c *galera) at(r *Run, i int, how string) (*database, error) {
	key := fmt.Sprint(i, how)
	if d := c.pools[key]; d != nil {
		return d, nil
	}
	d, err := openMaria(r, c.Nodes[i], galeraName, how)
	if err == nil {
		d.users = r.Few(10_000, 1_000)
		c.pools[key] = d
	}
	return d, err
}

func openMaria(r *Run, server *drivertest.MariaDB, name, how string) (*database, error) {
	d := &database{engine: "MariaDB", driver: "mysql", dsn: server.Config(name).FormatDSN() + "?" + how}
	config, err := driver.ParseDSN(d.dsn)
	if err != nil {
		return nil, err
	}
	config.Logger = &driver.NopLogger{} // servers die here on purpose
	connector, err := driver.NewConnector(config)
	if err != nil {
		return nil, err
	}
	d.db = sql.OpenDB(connector)
	d.db.SetMaxOpenConns(32)
	d.db.SetMaxIdleConns(32)
	r.Cleanup(func() { _ = d.db.Close() })
	d.store = mysql.New(d.db)
	return d, nil
}

// unlimitedAPI has no budgets: what misses is asked again at once.
func (d *database) unlimitedAPI() (*userapi.API, error) {
	return userapi.New(userapi.Config{Store: d.store, Secret: secret, Limits: userapi.Limits{}, Password: userapi.PasswordPolicy{Argon2id: userapi.Argon2id{MemoryKiB: 64, Passes: 1, Threads: 1}}})
}

// apis are those beside every node.
func (c *galera) apis(r *Run, how string) (apis []*userapi.API, err error) {
	for i := range c.Nodes {
		d, err := c.at(r, i, how)
		if err != nil {
			return nil, err
		}
		api, err := d.unlimitedAPI()
		if err != nil {
			return nil, err
		}
		apis = append(apis, api)
	}
	return apis, nil
}

// runAt runs a statement as the server's administrator.
func runAt(server *drivertest.MariaDB, query string) error {
	db, err := sql.Open("mysql", server.Config("").FormatDSN())
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.Exec(query)
	return err
}

// everywhere runs it at every node.
func (c *galera) everywhere(query string) (err error) {
	for _, n := range c.Nodes {
		err = errors.Join(err, runAt(n, query))
	}
	return err
}

// status is the sum of a counter of all nodes.
func (c *galera) status(names ...string) (sum float64) {
	for _, n := range c.Nodes {
		sum += serverStatus(n, names...)
	}
	return sum
}

func serverStatus(server *drivertest.MariaDB, names ...string) (sum float64) {
	db, err := sql.Open("mysql", server.Config("").FormatDSN())
	if err != nil {
		return 0
	}
	defer db.Close()
	for _, name := range names {
		var value float64
		_ = db.QueryRow("SHOW GLOBAL STATUS LIKE '"+name+"'").Scan(&name, &value)
		sum += value
	}
	return sum
}

// even waits until every node has what the others committed.
func (c *galera) even(r *Run) error {
	for i := range c.Nodes {
		d, err := c.at(r, i, wait7)
		if err != nil {
			return err
		}
		var n int
		if err := d.db.QueryRowContext(r, "SELECT COUNT(*) FROM userapi_customers").Scan(&n); err != nil {
			return err
		}
	}
	return nil
}

// newcomer is somebody who registers with a hash made elsewhere.
func (c *galera) newcomer(customer string) userapi.NewUser {
	return userapi.NewUser{Username: fmt.Sprintf("new%d", c.number.Add(1)), Name: "Ada Lovelace", PasswordHash: someHash, Active: true, CustomerID: customer}
}

func (c *galera) anyCustomer() string { return c.customers[rand.IntN(len(c.customers))] }

// under runs a write load at all nodes while work runs: registrations by a few callers, one after the other.
func (c *galera) under(r *Run, writers int, work func() error) error {
	apis, err := c.apis(r, wait7)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(r)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, e := apis[w%len(apis)].Users.Create(ctx, userapi.System(), c.newcomer(c.anyCustomer())); e != nil && ctx.Err() == nil {
					fmt.Fprintln(os.Stderr, "write load:", e)
					time.Sleep(100 * time.Millisecond)
				}
			}
		})
	}
	time.Sleep(time.Duration(r.Few(300, 10)) * time.Millisecond)
	err = work()
	stop()
	wg.Wait()
	return err
}

// turn is a case whose rate is measured, in turns of half a second, each after all nodes got even.
type turn struct {
	name    string
	begin   func() error // untimed
	do      func(worker int) error
	status  func(names ...string) float64
	against *turn // nil = the first

	ns, tries, conflicts, took []float64
	refused                    int
}

// turns measures them with so many callers at once.
func (c *galera) turns(r *Run, s Section, callers int, cases []*turn) error {
	rounds := max(1, r.Rounds/20)
	lasts := time.Duration(r.Few(500, 30)) * time.Millisecond
	order := slices.Clone(cases)
	for range rounds {
		rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, t := range order {
			if err := errors.Join(c.even(r), r.Err()); err != nil {
				return err
			}
			if t.begin != nil {
				if err := t.begin(); err != nil {
					return err
				}
			}
			if err := t.measure(callers, lasts); err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
		}
	}
	for _, t := range cases {
		s.Rows = append(s.Rows, t.row(cases[0]))
	}
	s.Rates = true
	r.Add(s)
	return nil
}

func (t *turn) measure(callers int, lasts time.Duration) error {
	begun, conflicts := t.status("Com_begin"), t.status("wsrep_local_cert_failures", "wsrep_local_bf_aborts")
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	done := 0
	began := time.Now()
	for w := range callers {
		wg.Go(func() {
			for time.Since(began) < lasts {
				at := time.Now()
				err := t.do(w)
				mu.Lock()
				switch {
				case err == nil:
					done++
					t.took = append(t.took, float64(time.Since(at)))
				case errors.Is(err, userapi.ErrUnavailable):
					t.refused++
				default:
					failed = err
				}
				mu.Unlock()
				if failed != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	if failed != nil || done == 0 {
		return fmt.Errorf("%d done: %w", done, failed)
	}
	t.ns = append(t.ns, float64(took)/float64(done))
	t.tries = append(t.tries, (t.status("Com_begin")-begun)/float64(done))
	t.conflicts = append(t.conflicts, (t.status("wsrep_local_cert_failures", "wsrep_local_bf_aborts")-conflicts)/float64(done)*100)
	return nil
}

func (t *turn) row(first *turn) Row {
	row := Row{Name: t.name, Median: median(t.ns), Allocs: -1, Bytes: -1, CPU: -1}
	row.Value = fmt.Sprintf("a call %s, p99 %s", span(median(t.took)), span(quantile(t.took, 0.99)))
	if tries := median(t.tries); tries > 0 {
		row.Value += fmt.Sprintf("; %.2f transactions, %.3g conflicts in 100", tries, median(t.conflicts))
	}
	if t.refused > 0 {
		row.Value += fmt.Sprintf("; %d refused", t.refused)
	}
	against := first
	if t.against != nil {
		against = t.against
		row.Against = against.name
	}
	if against != t {
		var ratios []float64
		for i, ns := range t.ns {
			ratios = append(ratios, ns/against.ns[i])
		}
		row.Ratio = median(ratios)
	}
	return row
}
