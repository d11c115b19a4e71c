package networktest

import (
	"testing"
	"time"
)

// Whatever the network does: callers are answered in time, with success or ErrUnavailable; who was told that something was done finds it done,
// what was refused is not half there; and afterwards all is well, with nothing left over.
func TestTrouble(t *testing.T) {
	for _, trouble := range []struct {
		name       string
		lasts      time.Duration
		begin, end func(p *proxy)
	}{
		{"delay", 4 * time.Second, func(p *proxy) {
			both(func(stream string) { p.add("latency", stream, attributes{"latency": 125, "jitter": 75}) })
		}, func(p *proxy) { both(func(stream string) { p.remove("latency", stream) }) }},
		{"trickle", 4 * time.Second, func(p *proxy) {
			both(func(stream string) {
				p.add("slicer", stream, attributes{"average_size": 20, "size_variation": 10})
				p.add("bandwidth", stream, attributes{"rate": 2})
			})
		}, func(p *proxy) {
			both(func(stream string) { p.remove("bandwidth", stream); p.remove("slicer", stream) })
		}},
		{"stall", 12 * time.Second, func(p *proxy) { p.turn(false, false) }, func(p *proxy) { p.turn(true, true) }},
		{"answers stall", 12 * time.Second, func(p *proxy) { p.turn(true, false) }, func(p *proxy) { p.turn(true, true) }},
		{"cuts", 3 * time.Second, func(p *proxy) {
			p.add("limit_data", "upstream", attributes{"bytes": 3000})
			p.add("limit_data", "downstream", attributes{"bytes": 5000})
		}, func(p *proxy) { both(func(stream string) { p.remove("limit_data", stream) }) }},
		{"resets", 3 * time.Second, func(p *proxy) {
			both(func(stream string) { p.add("reset_peer", stream, attributes{"timeout": 20}) })
		}, func(p *proxy) { both(func(stream string) { p.remove("reset_peer", stream) }) }},
		{"black hole", 4 * time.Second, func(p *proxy) {
			both(func(stream string) { p.add("timeout", stream, attributes{"timeout": 0}) })
		}, func(p *proxy) { both(func(stream string) { p.remove("timeout", stream) }) }},
		{"black hole that keeps what it has", 4 * time.Second, func(p *proxy) { p.turn(false, false) }, func(p *proxy) { p.abandon() }},
		{"refused", 3 * time.Second, func(p *proxy) { p.Stop() }, func(p *proxy) { p.soon(p.Start) }},
	} {
		t.Run(trouble.name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, e engine) {
				s := newSite(t, e)
				l := s.through(trouble.lasts, trouble.begin, trouble.end)
				s.settled()
				l.holds(s)
			})
		})
	}
}
