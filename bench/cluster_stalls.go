package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/internal/drivertest"
)

// stall is what the callers at the other nodes see when one is silent.
type stall struct {
	what     string
	provider string
	signal   syscall.Signal
	lasts    time.Duration // of the silence; 0 = the node does not come back by itself

	gaps    []float64 // ns between two acknowledged writes, the longest of a round
	back    []float64 // ns until it serves again
	left    int       // rounds after which the others were without it
	refused int
	done    int
}

// stalls lets one node fall silent while callers write at the others.
func stalls(r *Run, c *galera) error {
	var cases []*stall
	for _, each := range []struct {
		what   string
		signal syscall.Signal
		lasts  time.Duration
	}{
		{"killed (SIGKILL)", syscall.SIGKILL, 0},
		{"stopped for good (SIGSTOP)", syscall.SIGSTOP, 12 * time.Second},
		{"stopped for 3.5 s", syscall.SIGSTOP, 3500 * time.Millisecond},
		{"stopped for 1 s", syscall.SIGSTOP, time.Second},
	} {
		for _, provider := range []string{drivertest.DefaultWithout, drivertest.SoonWithout} {
			cases = append(cases, &stall{what: each.what, signal: each.signal, lasts: each.lasts, provider: provider})
		}
	}
	if r.Short {
		cases = cases[1:2]
	}
	rounds := max(1, r.Rounds/60)
	for round := range rounds {
		for _, s := range cases {
			if err := c.stall(r, s, round%galeraNodes); err != nil {
				return fmt.Errorf("%s: %w", s.what, err)
			}
		}
	}
	var rows []Row
	for _, s := range cases {
		settings := "Galera's defaults"
		if s.provider == drivertest.SoonWithout {
			settings = "evs.* of cluster.md"
		}
		text := fmt.Sprintf("%s, at most %s; went on without it in %d of %d rounds", span(median(s.gaps)), span(slices.Max(s.gaps)), s.left, rounds)
		if s.refused > 0 {
			text += fmt.Sprintf("; %d calls refused, beside %s done", s.refused, count(float64(s.done)))
		}
		if len(s.back) > 0 {
			text += "; it serves again after " + span(median(s.back))
		}
		row := Figure(s.what+", "+settings, text)
		if s.provider == drivertest.SoonWithout && s.lasts == 0 {
			row = row.Aim("≤ 4 s", slices.Max(s.gaps) <= 4e9, "")
		}
		rows = append(rows, row)
	}
	r.Add(Section{Title: "How long the others stand still when a node is silent", Rows: rows, Text: `Four callers register at each of the two other nodes, with the recommended DSN and a pause of 20 ms between their calls. The figure is the longest time between two writes that were acknowledged
at either of them, median of the rounds. A node that was stopped is told to go on, under the same load; one that was killed is started again without any. A write has to reach all nodes, so all wait until the silent one answers or is left out:
after evs.suspect_timeout, looked at each half second, and another second until the others have agreed.`})
	return nil
}

func (c *galera) stall(r *Run, s *stall, victim int) error {
	if err := c.everywhere("SET GLOBAL wsrep_provider_options = '" + s.provider + "'"); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(r)
	defer stop()
	var wg sync.WaitGroup
	var mu sync.Mutex
	acknowledged := map[int][]time.Time{} // by node
	var failed error
	for i := range c.Nodes {
		if i == victim {
			continue
		}
		d, err := c.at(r, i, hurried)
		if err != nil {
			return err
		}
		api, err := d.unlimitedAPI()
		if err != nil {
			return err
		}
		for range 4 {
			wg.Go(func() {
				for ctx.Err() == nil {
					_, err := api.Users.Create(r, userapi.System(), c.newcomer(c.anyCustomer()))
					mu.Lock()
					switch {
					case err == nil:
						s.done++
						acknowledged[i] = append(acknowledged[i], time.Now())
					case errors.Is(err, userapi.ErrUnavailable):
						s.refused++
					default:
						failed = err
					}
					mu.Unlock()
					time.Sleep(20 * time.Millisecond) // a load under which a node that comes back catches up
				}
			})
		}
	}
	time.Sleep(1500 * time.Millisecond)
	began := time.Now()
	if err := c.silence(s, victim); err != nil {
		return err
	}
	watch := 12 * time.Second
	if s.lasts > 0 {
		watch = s.lasts
	}
	if r.Short {
		watch = 4 * time.Second
	}
	time.Sleep(watch)
	other := (victim + 1) % galeraNodes
	if serverStatus(c.Nodes[other], "wsrep_cluster_size") < galeraNodes {
		s.left++
	}
	woken := time.Now()
	if s.signal == syscall.SIGSTOP { // what its return does to the others is part of it
		if err := c.wake(victim); err != nil {
			return err
		}
		s.back = append(s.back, float64(time.Since(woken)))
		time.Sleep(3*time.Second - time.Since(woken))
	}
	stop()
	wg.Wait()
	if failed != nil {
		return failed
	}
	var gap time.Duration
	for _, at := range acknowledged {
		from := began
		for _, t := range append(at, time.Now()) {
			if t.After(began) {
				gap, from = max(gap, t.Sub(from)), t
			}
		}
	}
	s.gaps = append(s.gaps, float64(gap))
	if s.signal != syscall.SIGKILL {
		return nil
	}
	woken = time.Now()
	if err := c.Nodes[victim].Start(); err != nil {
		return err
	}
	if err := c.whole(victim); err != nil {
		return err
	}
	s.back = append(s.back, float64(time.Since(woken)))
	return nil
}

// wake lets a node go on, and waits until it serves. The others are asked first: it does not know yet that they went on without it.
func (c *galera) wake(victim int) error {
	if err := c.Nodes[victim].Signal(syscall.SIGCONT); err != nil {
		return err
	}
	return c.whole(victim)
}

// whole waits until all nodes serve after one was away, two minutes at most.
func (c *galera) whole(victim int) (err error) {
	for range 4 {
		if err = errors.Join(c.Synced((victim+1)%galeraNodes, galeraNodes), c.Synced(victim, galeraNodes)); err == nil {
			return nil
		}
	}
	return err
}

func (c *galera) silence(s *stall, victim int) error {
	if s.signal == syscall.SIGKILL {
		return c.Nodes[victim].Kill()
	}
	return c.Nodes[victim].Signal(s.signal)
}

// stopped is how long callers wait at a node that is gone without a word.
func stopped(r *Run, c *galera) error {
	const victim, most = 2, 12 * time.Second
	type ask struct {
		name string
		how  string
		do   func(*userapi.API, *database) error
		took []float64
	}
	var asks []*ask
	for how, dsn := range map[string]string{wait7: "no timeouts in the DSN", hurried: "the recommended DSN"} {
		asks = append(asks,
			&ask{name: "a read, " + dsn, how: how, do: func(api *userapi.API, _ *database) error {
				_, err := api.Users.ByID(r, userapi.System(), userID(1))
				return err
			}},
			&ask{name: "a write, " + dsn, how: how, do: func(api *userapi.API, _ *database) error {
				_, err := api.Users.Create(r, userapi.System(), c.newcomer(c.anyCustomer()))
				return err
			}},
			&ask{name: "a statement of the host's without a context, " + dsn, how: how, do: func(_ *userapi.API, d *database) error {
				_, err := d.db.Exec("DO 1")
				return err
			}})
	}
	slices.SortFunc(asks, func(a, b *ask) int { return strings.Compare(a.name, b.name) })
	for range max(1, r.Rounds/100) {
		if err := c.Nodes[victim].Signal(syscall.SIGSTOP); err != nil {
			return err
		}
		began := time.Now()
		var wg sync.WaitGroup
		for _, a := range asks {
			d, err := c.at(r, victim, a.how)
			if err != nil {
				return err
			}
			api, err := d.unlimitedAPI()
			if err != nil {
				return err
			}
			wg.Go(func() {
				_ = a.do(api, d) // an error, or an answer after the node went on
				a.took = append(a.took, float64(min(most, time.Since(began))))
			})
		}
		time.Sleep(most)
		if err := c.wake(victim); err != nil {
			return err
		}
		wg.Wait()
	}
	var rows []Row
	for _, a := range asks {
		text := span(median(a.took))
		if median(a.took) == float64(most) {
			text = "still waits after " + text
		}
		rows = append(rows, Figure(a.name, text))
	}
	r.Add(Section{Title: "How long a caller waits at a node that is stopped", Rows: rows, Text: "Until there is an error: of the library's calls it is ErrUnavailable (503). They end by themselves, a read after 5 s and a write after 10 s, whatever the DSN says."})
	return nil
}
