package networktest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
)

// proxy stands between a store and its server.
type proxy struct {
	*toxiproxy.Proxy
	*valve
	t testing.TB
}

// newProxy begins to listen. All that passes goes through a valve, before what is added.
func newProxy(t testing.TB, upstream string) *proxy {
	t.Helper()
	zerolog.SetGlobalLevel(zerolog.Disabled) // toxics log to the global one
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	p := &proxy{t: t, valve: newValve()}
	p.Proxy = toxiproxy.NewProxy(server, p.id, "127.0.0.1:0", upstream)
	require.NoError(t, p.Start())
	both(func(stream string) { p.add("valve", stream, attributes{"id": p.id, "stream": stream}) })
	t.Cleanup(func() {
		p.release()
		p.Stop()
	})
	return p
}

type attributes map[string]any

// add begins a trouble of Toxiproxy's on all connections, old and new.
func (p *proxy) add(kind, stream string, attrs attributes) {
	p.t.Helper()
	toxic, err := json.Marshal(map[string]any{"name": kind + " " + stream, "type": kind, "stream": stream, "attributes": attrs})
	require.NoError(p.t, err)
	p.soon(func() error {
		_, err := p.Toxics.AddToxicJson(bytes.NewReader(toxic))
		return err
	})
}

func (p *proxy) remove(kind, stream string) {
	p.t.Helper()
	p.soon(func() error { return p.Toxics.RemoveToxic(context.Background(), kind+" "+stream) })
}

// both does something for each direction.
func both(do func(stream string)) {
	do("upstream")
	do("downstream")
}

// soon keeps a test from hanging where the proxy itself does.
func (p *proxy) soon(do func() error) {
	p.t.Helper()
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		require.NoError(p.t, err)
	case <-time.After(30 * time.Second):
		require.Fail(p.t, "the proxy hangs")
	}
}

func (p *proxy) address() (host string, port int) {
	at, err := net.ResolveTCPAddr("tcp", p.Listen)
	require.NoError(p.t, err)
	return at.IP.String(), at.Port
}

// valve is what Toxiproxy has no toxic for: bytes that are held and go on, at once or never, and one connection alone that is cut.
type valve struct {
	id string

	mu       sync.Mutex
	gates    *gates
	lost     []*gates
	cuts     stream.Direction // where a connection is cut
	left     int64            // after so many bytes of all; negative = none is
	atCommit func()           // what happens when a COMMIT comes, before it passes
}

// gates are those of the connections that were opened while they were the valve's. A closed channel is an open gate.
type gates [stream.NumDirections]chan struct{}

func openGates() *gates {
	var g gates
	for d := range g {
		g[d] = make(chan struct{})
		close(g[d])
	}
	return &g
}

func (g *gates) turn(requests, answers bool) {
	for d, open := range map[stream.Direction]bool{stream.Upstream: requests, stream.Downstream: answers} {
		select {
		case <-g[d]:
			if !open {
				g[d] = make(chan struct{})
			}
		default:
			if open {
				close(g[d])
			}
		}
	}
}

var (
	valves  sync.Map // id → *valve: Toxiproxy makes a toxic from its attributes
	valveID atomic.Int64
)

func newValve() *valve {
	v := &valve{id: fmt.Sprint("valve-", valveID.Add(1)), gates: openGates(), left: -1}
	valves.Store(v.id, v)
	return v
}

// turn opens or shuts both directions. What came meanwhile goes on when they open.
func (v *valve) turn(requests, answers bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.gates.turn(requests, answers)
}

// abandon lets new connections through. Nothing passes on the old ones any more.
func (v *valve) abandon() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.gates.turn(false, false)
	v.lost = append(v.lost, v.gates)
	v.gates = openGates()
}

// release opens everything.
func (v *valve) release() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, g := range append(v.lost, v.gates) {
		g.turn(true, true)
	}
}

// cut ends a connection when so many bytes have passed in one direction. The returned function says whether that has happened.
func (v *valve) cut(d stream.Direction, after int64) (happened func() bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.cuts, v.left = d, after
	return func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		done := v.left < 0
		v.left = -1
		return done
	}
}

// turnAtCommit turns both directions when the next COMMIT comes, before it passes. The channel is closed then.
func (v *valve) turnAtCommit(requests, answers bool) <-chan struct{} {
	came := make(chan struct{})
	v.onCommit(func() {
		v.gates.turn(requests, answers)
		close(came)
	})
	return came
}

// cutAtCommit is cut, but for the bytes of a COMMIT and of what follows.
func (v *valve) cutAtCommit(d stream.Direction, after int64) (happened func() bool) {
	v.onCommit(func() { v.cuts, v.left = d, after })
	return func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		done := v.left < 0 && v.atCommit == nil
		v.left, v.atCommit = -1, nil
		return done
	}
}

func (v *valve) onCommit(do func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.atCommit = func() {
		v.atCommit = nil
		do()
	}
}

// commit is the statement, in either protocol.
var commit = regexp.MustCompile("COMMIT(\x00|$)")

// ask is called with what is about to pass. It gives the gate to wait at, and how much passes before the connection is cut, -1 = all.
func (v *valve) ask(g *gates, d stream.Direction, data []byte) (gate <-chan struct{}, most int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if d == stream.Upstream && v.atCommit != nil && commit.Match(data) {
		v.atCommit()
	}
	most = -1
	if v.left >= 0 && v.cuts == d && data != nil {
		if v.left < int64(len(data)) {
			most = v.left
		}
		v.left -= int64(len(data))
	}
	return g[d], most
}

// valveToxic is a valve at one direction.
type valveToxic struct {
	ID     string `json:"id"`
	Stream string `json:"stream"`
}

func init() { toxics.Register("valve", new(valveToxic)) }

func (t *valveToxic) valve() *valve {
	v, _ := valves.Load(t.ID)
	return v.(*valve)
}

// passage is one direction of one connection. What is held when another toxic is added is not lost.
type passage struct {
	gates *gates
	held  *stream.StreamChunk
	has   bool
}

// NewState implements toxics.StatefulToxic.
func (t *valveToxic) NewState() any {
	v := t.valve()
	v.mu.Lock()
	defer v.mu.Unlock()
	return &passage{gates: v.gates}
}

// Pipe implements toxics.Toxic.
func (t *valveToxic) Pipe(stub *toxics.ToxicStub) {
	v, p := t.valve(), stub.State.(*passage)
	d, _ := stream.ParseDirection(t.Stream)
	for {
		if !p.has {
			select {
			case <-stub.Interrupt:
				return
			case p.held = <-stub.Input:
				p.has = true
			}
		}
		var data []byte
		if p.held != nil {
			data = p.held.Data
		}
		gate, most := v.ask(p.gates, d, data)
		select {
		case <-gate:
		case <-stub.Interrupt:
			return
		}
		p.has = false
		if most >= 0 {
			data = data[:most]
		}
		if len(data) > 0 {
			stub.Output <- &stream.StreamChunk{Data: data, Timestamp: p.held.Timestamp}
		}
		if p.held == nil || most >= 0 {
			stub.Close()
			return
		}
	}
}
