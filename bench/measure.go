package main

import (
	"context"
	"fmt"
	"log"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Run is one run of a part: how much to do, and what came of it.
type Run struct {
	context.Context
	Short  bool // every case once, few of everything: a smoke test
	Rounds int
	Slice  time.Duration

	sections []Section
	costs    []Cost
	versions [][2]string
	cleanups []func()
	began    time.Time
}

// Cleanup runs f at the end of the part.
func (r *Run) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *Run) cleanUp() {
	for _, f := range slices.Backward(r.cleanups) {
		f()
	}
}

// Add puts a section on the part's page.
func (r *Run) Add(s Section) {
	log.Printf("%6.0f s  %s", time.Since(r.began).Seconds(), s.Title)
	for _, row := range s.Rows {
		log.Printf("          %-64s %s", row.Name, row.brief())
	}
	r.sections = append(r.sections, s)
}

// Cost is what the index tells in core-seconds.
type Cost struct {
	What  string  // "1,000 logins …"
	Cores float64 // seconds of processor time
}

// AddCost puts a line into the index.
func (r *Run) AddCost(what string, coreSeconds float64) {
	r.costs = append(r.costs, Cost{what, coreSeconds})
}

// Few is n, or in a short run few.
func (r *Run) Few(n, few int) int {
	if r.Short {
		return few
	}
	return n
}

// Case is one thing that is timed.
type Case struct {
	Name string
	// Do is one operation. It looks at the answer, and fails when that is not the expected one.
	Do func() error
	// Prove shows, before anything is timed, that the case lets the right one through and refuses what it has to. It may be nil
	// where there is nothing to refuse.
	Prove func() error
	// Workers is how many goroutines share the operations of a slice; 0 = the caller's own. With them the time of an operation is
	// that of the slice by the number of operations: one by the rate.
	Workers int

	Against *Case   // what its ratio is to; nil = the first case of the contest
	Most    float64 // the target: at most so many times that; 0 = none
	Target  string  // how the target reads; default "≤ Most ×"

	MaxAllocs, MaxBytes float64 // more targets, 0 = none

	Note string // what it does and does not do; printed below the table
	Why  string // what stands in the way, printed where a target is missed
}

// Contest is a number of cases that are measured in turns, in short slices, so that whatever else the machine does hits all.
type Contest struct {
	Title, Text string
	Cases       []*Case
	Rounds      int  // 0 = the run's
	Rates       bool // tells operations per second, too
	NoAllocs    bool // leaves allocations out, where the work is that of a database
	Chart       bool // a plot of the ratios
}

// result is what was measured of one case.
type result struct {
	ns                 []float64 // per operation, by round
	allocs, bytes, cpu float64
}

// Measure proves and times the cases of a contest and puts them on the page.
func (r *Run) Measure(c Contest) ([]Row, error) {
	for _, k := range c.Cases {
		if k.Prove == nil {
			continue
		}
		if err := k.Prove(); err != nil {
			return nil, fmt.Errorf("%s: the harness is not to be trusted: %w", k.Name, err)
		}
	}
	rounds := c.Rounds
	if rounds == 0 || r.Short {
		rounds = r.Rounds
	}
	size := map[*Case]int{}
	results := map[*Case]*result{}
	for _, k := range c.Cases {
		n, err := r.calibrate(k)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.Name, err)
		}
		size[k], results[k] = n, &result{}
	}
	order := slices.Clone(c.Cases)
	dice := rand.New(rand.NewPCG(1, uint64(len(order))))
	for range rounds {
		if err := r.Err(); err != nil {
			return nil, err
		}
		dice.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, k := range order {
			if err := k.Do(); err != nil { // untimed: it fetches what has gone stale while others had their turn
				return nil, fmt.Errorf("%s: %w", k.Name, err)
			}
			took, err := k.times(size[k])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", k.Name, err)
			}
			res := results[k]
			res.ns = append(res.ns, float64(took.Nanoseconds())/float64(size[k]))
		}
	}
	if !c.NoAllocs {
		for _, k := range c.Cases {
			if err := r.allocations(k, size[k], results[k]); err != nil {
				return nil, err
			}
		}
	}
	rows := c.rows(results)
	s := Section{Title: c.Title, Text: c.Text, Rows: rows, Rates: c.Rates}
	if c.Chart {
		s.Charts = append(s.Charts, ratioBars(c.Title, rows))
	}
	r.Add(s)
	return rows, nil
}

// times runs n operations.
func (k *Case) times(n int) (time.Duration, error) {
	began := time.Now()
	if k.Workers == 0 {
		for range n {
			if err := k.Do(); err != nil {
				return 0, err
			}
		}
		return time.Since(began), nil
	}
	var wg sync.WaitGroup
	failed := make(chan error, k.Workers)
	for w := range k.Workers {
		wg.Go(func() {
			for i := w; i < n; i += k.Workers {
				if err := k.Do(); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	close(failed)
	return took, <-failed
}

// calibrate finds how many operations fill a slice.
func (r *Run) calibrate(k *Case) (int, error) {
	n := max(1, k.Workers)
	for {
		took, err := k.times(n)
		if err != nil {
			return 0, err
		}
		if took >= r.Slice {
			return max(1, k.Workers, int(float64(n)*float64(r.Slice)/float64(took))), nil
		}
		n *= 2
	}
}

// allocations counts what n operations allocate and what they cost all cores. Of several turns the least counts: nothing makes an
// operation allocate less than it does.
func (r *Run) allocations(k *Case, n int, res *result) error {
	res.allocs, res.bytes, res.cpu = -1, -1, -1
	for range r.Few(5, 1) {
		var before, after runtime.MemStats
		runtime.GC()
		cpu := processorTime()
		runtime.ReadMemStats(&before)
		if _, err := k.times(n); err != nil {
			return fmt.Errorf("%s: %w", k.Name, err)
		}
		runtime.ReadMemStats(&after)
		least := func(have *float64, now float64) {
			if *have < 0 || now < *have {
				*have = now
			}
		}
		least(&res.allocs, float64(after.Mallocs-before.Mallocs)/float64(n))
		least(&res.bytes, float64(after.TotalAlloc-before.TotalAlloc)/float64(n))
		least(&res.cpu, float64((processorTime()-cpu).Nanoseconds())/float64(n))
	}
	return nil
}

// processorTime is what this process used of all cores, garbage collection included.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (c Contest) rows(results map[*Case]*result) []Row {
	var rows []Row
	for _, k := range c.Cases {
		res, against := results[k], k.Against
		if against == nil {
			against = c.Cases[0]
		}
		row := Row{Name: k.Name, Median: median(res.ns), Least: slices.Min(res.ns), Allocs: res.allocs, Bytes: res.bytes, CPU: res.cpu, Target: k.Target, Note: k.Note, Why: k.Why}
		if c.NoAllocs {
			row.Allocs, row.Bytes = -1, -1
		}
		if against != k {
			var ratios []float64
			for i, ns := range res.ns {
				ratios = append(ratios, ns/results[against].ns[i])
			}
			row.Ratio, row.LeastRatio = median(ratios), row.Least/slices.Min(results[against].ns)
			if against != c.Cases[0] {
				row.Against = against.Name
			}
		}
		if k.Most > 0 {
			row.Meets(row.Ratio <= k.Most)
			if row.Target == "" {
				row.Target = fmt.Sprintf("≤ %.3g ×", k.Most)
			}
		}
		if k.MaxAllocs > 0 {
			row.Meets(row.Allocs <= k.MaxAllocs+0.05)
			row.Target += fmt.Sprintf(", ≤ %.0f allocations", k.MaxAllocs)
		}
		if k.MaxBytes > 0 {
			row.Meets(row.Bytes <= k.MaxBytes)
			row.Target += fmt.Sprintf(", ≤ %.0f B", k.MaxBytes)
		}
		rows = append(rows, row)
	}
	return rows
}

func median(of []float64) float64 { return quantile(of, 0.5) }

// quantile is the value that the share q of the values does not exceed.
func quantile(of []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
