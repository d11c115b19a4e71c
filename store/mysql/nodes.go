package mysql

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"
)

const (
	connectWithin = time.Second     // to one node, where the configuration does not say
	answerWithin  = 5 * time.Second // a statement, where it does not say
	lookAgain     = 2 * time.Second // at a node that failed
	lookedFor     = time.Second     // what a look found is taken as known

	syncWait = "wsrep_sync_wait"
)

// Nodes connects to the first node of a list that serves, as driver.Connector for sql.OpenDB. A pool on it goes on when a node
// of a Galera cluster dies, leaves the cluster (error 1047), shuts down or becomes read-only: connections to that node are not used again, and
// the next node of the list gets new ones. While connections are used, earlier nodes that failed are asked again every two seconds, at no caller's expense, and when
// one serves, connections move back to it. So the first of the list is where an instance works as long as it can.
//
// With one node in the list a pool behaves as with the driver's own connector.
//
// What an instance wrote or another one acknowledged has to be seen on any node, so each connection sets wsrep_sync_wait=7 unless its
// configuration gives another value; servers that do not know that variable are left alone.
type Nodes struct{ nodes []*node }

// NodeState is what is known of one node.
type NodeState struct {
	Address string
	Err     error // why it does not serve; nil = it does
}

// ParseNodes reads a data source name of go-sql-driver/mysql whose address is a list:
//
//	user:password@tcp(db1:3306,db2:3306,db3:3306)/name?parameters
//
// It returns the configuration of each, in the order of the list, which is the order of preference. With more than one address, what the name
// does not give is not the driver's default: a timeout is 1 s to connect, and 5 s to read or write, so that a silent node is given up; and
// interpolateParams is on, so that no transaction of the host's is committed by half (see Store.WithTx).
func ParseNodes(dsn string) ([]*mysql.Config, error) {
	// The driver looks for these from the end, too: a password may have any of them.
	path := strings.LastIndexByte(dsn, '/')
	if path < 0 {
		path = len(dsn)
	}
	host := strings.LastIndexByte(dsn[:path], '@') + 1
	list, open := "", strings.IndexByte(dsn[host:path], '(')+host+1
	if open > host && dsn[path-1] == ')' {
		list = dsn[open : path-1]
	}
	var configs []*mysql.Config
	for address := range strings.SplitSeq(list, ",") {
		one := dsn
		if list != "" {
			if address = strings.TrimSpace(address); address == "" {
				return nil, errors.New("userapi: an address in the list of nodes is empty")
			}
			one = dsn[:open] + address + dsn[path-1:]
		}
		config, err := mysql.ParseDSN(one)
		if err != nil { // the driver's words may repeat a part of the password
			return nil, errors.New("userapi: the data source name is not USER:PASSWORD@tcp(ADDRESS,...)/NAME?PARAMETERS as go-sql-driver/mysql reads it")
		}
		configs = append(configs, config)
	}
	if len(configs) > 1 {
		for _, c := range configs {
			c.Timeout = cmp.Or(c.Timeout, connectWithin)
			c.ReadTimeout = cmp.Or(c.ReadTimeout, answerWithin)
			c.WriteTimeout = cmp.Or(c.WriteTimeout, answerWithin)
			c.InterpolateParams = c.InterpolateParams || !strings.Contains(dsn[path:], "interpolateParams=")
		}
	}
	return configs, nil
}

// NewNodes connects by these configurations, the preferred one first. Config.Timeout bounds the whole of connecting to a node, with all
// addresses of its name and the handshake; 0 is no bound for one node, and 1 s for more. Config.Logger is told when a node fails and when it serves again. An
// error names what is wrong with a configuration.
func NewNodes(configs ...*mysql.Config) (*Nodes, error) {
	if len(configs) == 0 {
		return nil, errors.New("userapi: a list of nodes needs at least one")
	}
	n := &Nodes{}
	for _, given := range configs {
		config := given.Clone()
		at := &node{address: config.Addr, within: max(config.Timeout, 0), wait: "7", alone: len(configs) == 1, log: config.Logger, looking: make(chan struct{}, 1)}
		if !at.alone {
			at.within = cmp.Or(at.within, connectWithin)
		}
		for name, value := range config.Params {
			if strings.TrimPrefix(strings.TrimPrefix(strings.ToLower(name), "@@"), "session.") == syncWait {
				// Not before it is known that the node serves: one that waits for others would look like one that is dead.
				at.wait = value
				delete(config.Params, name)
			}
		}
		var err error
		if at.connector, err = mysql.NewConnector(config); err != nil {
			return nil, fmt.Errorf("userapi: %w", err)
		}
		n.nodes = append(n.nodes, at)
	}
	return n, nil
}

// Driver implements driver.Connector.
func (n *Nodes) Driver() driver.Driver { return n.nodes[0].connector.Driver() }

// Connect implements driver.Connector. Nodes that are not known to serve come last. The error is of all nodes.
func (n *Nodes) Connect(ctx context.Context) (driver.Conn, error) {
	order := slices.Clone(n.nodes)
	slices.SortStableFunc(order, func(a, b *node) int { return a.rank() - b.rank() })
	var errs []error
	for _, at := range order {
		generation := at.generation.Load()
		c, err := at.connect(ctx)
		if err == nil {
			return &nodeConn{mysqlConn: c, of: n, at: at, generation: generation}, nil
		}
		if errs = append(errs, err); ctx.Err() != nil {
			break
		}
	}
	if ctx.Err() != nil { // the caller had no time for the last and those after it: they are looked at all the same
		for _, at := range order[len(errs)-1:] {
			at.lookSoon(lookedFor)
		}
	}
	if len(errs) == 1 {
		return nil, errs[0]
	}
	return nil, errors.Join(errs...)
}

// State asks every node, each at most once a second, and returns what is known of them in the order of the list. Connections
// go to the first without an error. Of a node that does not answer before ctx ends the error is that of ctx.
func (n *Nodes) State(ctx context.Context) []NodeState {
	var all sync.WaitGroup
	states := make([]NodeState, len(n.nodes))
	for i, at := range n.nodes {
		all.Go(func() { states[i].Err = at.look(ctx) })
	}
	all.Wait()
	for i, at := range n.nodes {
		states[i].Address = at.address
		if f := at.failure.Load(); f != nil {
			states[i].Err = f.err
		}
	}
	return states
}

// better reports whether a node before at serves, and sees to it that those which failed are looked at in time.
func (n *Nodes) better(at *node) bool {
	for _, earlier := range n.nodes {
		f := earlier.failure.Load()
		if earlier == at {
			return false
		}
		if f == nil {
			return true
		}
		earlier.lookSoon(lookAgain)
	}
	return false
}

// node is one of the list. Any number of goroutines share it.
type node struct {
	address   string
	connector driver.Connector
	within    time.Duration // 0 = as long as it takes
	alone     bool          // there is no other to go to
	wait      string        // value of wsrep_sync_wait
	log       mysql.Logger

	failure    atomic.Pointer[failure] // nil = it serves, as far as is known
	generation atomic.Int64            // connections of an earlier one are given up
	doubted    atomic.Bool             // no idle connection is used until a new one tells more
	looking    chan struct{}           // of one
	looked     atomic.Int64            // when, in Unix nanoseconds
}

type failure struct{ err error }

func (at *node) rank() int {
	if at.failure.Load() != nil {
		return 1
	}
	return 0
}

// connect opens a connection to a node that serves, and takes down what it learns of the node.
func (at *node) connect(caller context.Context) (mysqlConn, error) {
	ctx := caller
	if at.within > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(caller, at.within)
		defer cancel()
	}
	opened, err := at.connector.Connect(ctx)
	if err == nil {
		c := opened.(mysqlConn)
		if err = at.prepare(ctx, c); err == nil {
			at.serves()
			return c, nil
		}
		opened.Close()
	}
	if caller.Err() == nil { // too little time says nothing about the node
		at.fails(err)
	}
	return nil, fmt.Errorf("node %s: %w", at.address, err)
}

// prepare refuses a node that answers, but does not serve.
func (at *node) prepare(ctx context.Context, c mysqlConn) error {
	if _, err := c.ExecContext(ctx, ping, nil); err != nil {
		return err
	}
	rows, err := c.QueryContext(ctx, "SELECT IF(CAST(@@read_only AS CHAR) IN ('0', 'OFF'), 'writable', 'read-only')", nil)
	if err != nil {
		return err
	}
	value := make([]driver.Value, 1)
	err = rows.Next(value)
	rows.Close()
	if err != nil {
		return err
	}
	if fmt.Sprintf("%s", value[0]) != "writable" && !at.alone {
		return errReadOnly
	}
	_, err = c.ExecContext(ctx, "SET SESSION "+syncWait+" = "+at.wait, nil)
	if number(err) == 1193 { // unknown variable: MySQL
		return nil
	}
	return err
}

var errReadOnly = &mysql.MySQLError{Number: 1290, Message: "it is --read-only"} // as one says that became so

// ours reports an error of this machine, which says nothing of the connections that are open already.
func ours(err error) bool {
	var name *net.DNSError
	return errors.As(err, &name) || slices.ContainsFunc([]error{
		syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.ENOMEM,
	}, func(e error) bool { return errors.Is(err, e) })
}

// refuses reports that the node will not serve whatever it is asked. 1290 names the option that it is about.
func refuses(err error) bool {
	var answer *mysql.MySQLError
	return errors.As(err, &answer) && slices.Contains(refusals, answer.Number) && (answer.Number != 1290 || strings.Contains(answer.Message, "read-only"))
}

func (at *node) serves() {
	at.doubted.Store(false)
	if was := at.failure.Swap(nil); was != nil {
		at.say("serves again")
	}
}

func (at *node) fails(err error) {
	at.looked.Store(time.Now().UnixNano())
	at.doubted.Store(false)
	if !at.alone && !ours(err) && (number(err) == 0 || refuses(err)) {
		at.generation.Add(1)
	} // else it answers and lets nobody in, as when it is full: what is open is good
	if was := at.failure.Swap(&failure{err}); was == nil {
		at.say("does not serve: ", err)
	}
}

func (at *node) say(what ...any) {
	if at.log != nil {
		at.log.Print(append([]any{"userapi: database node " + at.address + " "}, what...)...)
	}
}

// lookSoon looks at the node beside its caller, unless that was done less than after ago.
func (at *node) lookSoon(after time.Duration) {
	if time.Since(time.Unix(0, at.looked.Load())) < after {
		return
	}
	select {
	case at.looking <- struct{}{}:
		go at.lookNow()
	default:
	}
}

// look waits until it is known whether the node serves, or the context ends.
func (at *node) look(ctx context.Context) error {
	select {
	case at.looking <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if time.Since(time.Unix(0, at.looked.Load())) < lookedFor {
		<-at.looking
		return nil
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		at.lookNow()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done(): // the look goes on
		return ctx.Err()
	}
}

func (at *node) lookNow() {
	defer func() { <-at.looking }()
	ctx, cancel := context.WithTimeout(context.Background(), cmp.Or(at.within, connectWithin))
	defer cancel()
	if c, err := at.connect(ctx); err == nil {
		c.Close()
	} else if ctx.Err() != nil {
		at.fails(errors.Unwrap(err))
	}
	at.looked.Store(time.Now().UnixNano())
}

// learn takes down what an error of a statement says about its node, and reports whether the connection is of no more use.
func (at *node) learn(err error) (useless bool) {
	switch {
	case err == nil:
	case refuses(err):
		if at.alone {
			return number(err) == 1047 || number(err) == 1053
		}
		at.fails(err)
		return true
	case errors.Is(err, mysql.ErrInvalidConn):
		// It broke, or was silent for longer than it may: the others of the pool are not tried one by one.
		if !at.alone {
			at.doubted.Store(true)
			at.lookSoon(0)
		}
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, context.DeadlineExceeded), slices.Contains(lost, number(err)):
		at.lookSoon(lookedFor)
	}
	return false
}

// refusals are the errors of a node that will not serve whatever it is asked.
var refusals = []uint16{
	1047,       // it has left its cluster
	1053,       // it shuts down
	1290, 1836, // it is read-only
}

func number(err error) uint16 {
	var answer *mysql.MySQLError
	if errors.As(err, &answer) {
		return answer.Number
	}
	return 0
}

// mysqlConn is what the driver's connections can do.
type mysqlConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

type mysqlStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
	driver.NamedValueChecker
}

// nodeConn is a connection that tells its node what it sees. One goroutine at a time uses it.
type nodeConn struct {
	mysqlConn
	of         *Nodes
	at         *node
	generation int64
	useless    bool
}

func (c *nodeConn) learn(err error) error {
	if c.at.learn(err) {
		c.useless = true
	}
	return err
}

// ResetSession implements driver.SessionResetter: the pool asks before it uses the connection again.
func (c *nodeConn) ResetSession(ctx context.Context) error {
	if !c.current() || c.at.doubted.Load() {
		return driver.ErrBadConn
	}
	return c.learn(c.mysqlConn.ResetSession(ctx))
}

// IsValid implements driver.Validator: the pool asks before it keeps the connection.
func (c *nodeConn) IsValid() bool { return c.current() && c.mysqlConn.IsValid() }

func (c *nodeConn) current() bool {
	return !c.useless && c.generation == c.at.generation.Load() && !c.of.better(c.at)
}

func (c *nodeConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	tx, err := c.mysqlConn.BeginTx(ctx, opts)
	if c.learn(err) != nil {
		return nil, err
	}
	return nodeTx{tx, c}, nil
}

type nodeTx struct {
	driver.Tx
	on *nodeConn
}

func (t nodeTx) Commit() error { return t.on.learn(t.Tx.Commit()) }

func (t nodeTx) Rollback() error { return t.on.learn(t.Tx.Rollback()) }

func (c *nodeConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	r, err := c.mysqlConn.ExecContext(ctx, query, args)
	return r, c.learn(err)
}

func (c *nodeConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := c.mysqlConn.QueryContext(ctx, query, args)
	return rows, c.learn(err)
}

func (c *nodeConn) Ping(ctx context.Context) error { return c.learn(c.mysqlConn.Ping(ctx)) }

func (c *nodeConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	s, err := c.mysqlConn.PrepareContext(ctx, query)
	if c.learn(err) != nil {
		return nil, err
	}
	return &nodeStmt{mysqlStmt: s.(mysqlStmt), on: c}, nil
}

type nodeStmt struct {
	mysqlStmt
	on *nodeConn
}

func (s *nodeStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	r, err := s.mysqlStmt.ExecContext(ctx, args)
	return r, s.on.learn(err)
}

func (s *nodeStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := s.mysqlStmt.QueryContext(ctx, args)
	return rows, s.on.learn(err)
}
