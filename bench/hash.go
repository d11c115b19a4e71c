package main

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/crypto/argon2"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/store/sqlite"
)

var hashPart = Part{
	Name: "hash", Title: "Logins",
	Intro: "A login costs one hash of the password, argon2id with 19 MiB and 2 passes, by intent. What matters is that it costs nothing much beside, " +
		"that many logins at once need bounded memory, and that everybody else hardly notices. All of it goes through the API and a SQLite file, limits " +
		"lifted; each figure comes from processes of their own, in turns, so that the peak of their memory can be told. Unlimited hashing is the same " +
		"with as many workers as there are logins.",
	Run: func(r *Run) error {
		if err := loginRates(r); err != nil {
			return err
		}
		return checksMeanwhile(r)
	},
}

// flood is what a child does: so many logins, by so many goroutines at once.
type flood struct {
	Logins, Parallel int
	Workers          int  // Config.Password.Workers; 0 = the default
	Pure             bool // hashes alone, by as many goroutines as Workers
	Checks           bool // a token is checked every millisecond meanwhile
	MayFail          bool // logins may be answered that the service is not available; else that is an error
	Cheap            bool // a hash that costs nothing, for a smoke test
}

// flooded is what came of it.
type flooded struct {
	Rate      float64   // logins or hashes per second, those that succeeded
	Failed    float64   // share of those that were answered that the service is not available
	Peak      float64   // bytes
	CPU       float64   // core-seconds by login
	Latencies []float64 // of checks, ns
}

const password = userapi.Secret("correct horse battery")

func floodChild(ctx context.Context, args []byte) (any, error) {
	var f flood
	if err := json.Unmarshal(args, &f); err != nil {
		return nil, err
	}
	params := userapi.Argon2id{MemoryKiB: 19 * 1024, Passes: 2, Threads: 1} // the default
	if f.Cheap {
		params = userapi.Argon2id{MemoryKiB: 64, Passes: 1, Threads: 1}
	}
	if f.Pure {
		salt := []byte("0123456789abcdef")
		return f.run(ctx, f.Workers, nil, func(int) error {
			argon2.IDKey([]byte(password), salt, params.Passes, params.MemoryKiB, params.Threads, 32)
			return nil
		})
	}
	dir, err := os.MkdirTemp("", "userapi-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	db, err := sql.Open("sqlite", sqlite.DSN(filepath.Join(dir, "users.db")))
	if err != nil {
		return nil, err
	}
	defer db.Close()
	st := sqlite.New(db)
	if err := st.Migrate(ctx); err != nil {
		return nil, err
	}
	if _, err := db.ExecContext(ctx, `DELETE FROM userapi_revocations`); err != nil { // the database is older than a day
		return nil, err
	}
	s, err := newSite(ctx, st, userapi.Config{
		Limits: userapi.Limits{}, Password: userapi.PasswordPolicy{Argon2id: params, Workers: f.Workers, QueueTimeout: 5 * time.Minute},
	})
	if err != nil {
		return nil, err
	}
	if err := accounts(ctx, s, st, f.Parallel); err != nil {
		return nil, err
	}
	from := userapi.Anonymous().From("192.0.2.1", "bench")
	login := func(i int, pw userapi.Secret) error {
		_, t, err := s.api.Auth.Login(ctx, from, userapi.LoginRequest{Identifier: fmt.Sprint("user", i), Password: pw})
		if err == nil && t.IsZero() {
			err = errors.New("a login without tokens")
		}
		return err
	}
	if err := login(0, "correct horse batterx"); !errors.Is(err, userapi.ErrBadCredentials) {
		return nil, fmt.Errorf("the harness is not to be trusted: a wrong password gives %v", err)
	}
	if err := login(0, password); err != nil {
		return nil, err
	}
	var check func() error
	if f.Checks {
		t, err := s.tokens(ctx, jwt.SigningMethodHS256, hmacKey())
		if err != nil {
			return nil, err
		}
		h, prove, err := guarded(ctx, s, t)
		if err == nil {
			err = prove()
		}
		if err != nil {
			return nil, err
		}
		check = h.do
	}
	return f.run(ctx, f.Parallel, check, func(i int) error { return login(i%f.Parallel, password) })
}

// accounts makes users of the same password without hashing it for each.
func accounts(ctx context.Context, s *site, st userapi.Store, n int) error {
	create := func(u userapi.NewUser) (userapi.User, error) {
		u.Active, u.CustomerID = true, "default"
		return s.api.Users.Create(ctx, userapi.System(), u)
	}
	first, err := create(userapi.NewUser{Username: "user0", Password: password})
	if err != nil {
		return err
	}
	acc, err := st.AccountByID(ctx, userapi.Scope{All: true}, first.ID)
	for i := 1; i < n && err == nil; i++ {
		_, err = create(userapi.NewUser{Username: fmt.Sprint("user", i), PasswordHash: acc.PasswordHash})
	}
	return err
}

// run has the work done by so many goroutines, and with check asks it once a millisecond meanwhile.
func (f flood) run(ctx context.Context, goroutines int, check func() error, work func(i int) error) (flooded, error) {
	var next, unavailable atomic.Int64
	var wg sync.WaitGroup
	failed := make(chan error, goroutines+1)
	began, cpu := time.Now(), processorTime()
	for range goroutines {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= f.Logins || ctx.Err() != nil {
					return
				}
				err := work(i)
				if f.MayFail && errors.Is(err, userapi.ErrUnavailable) {
					unavailable.Add(1)
					err = nil
				}
				if err != nil {
					failed <- err
					return
				}
			}
		})
	}
	var result flooded
	done, checked := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(checked)
		if check == nil {
			return
		}
		// Each check has its time, and is late by whatever kept it or those before it: a client does not wait either.
		for due := began; ; {
			select {
			case <-done:
				return
			default:
			}
			due = due.Add(time.Millisecond)
			time.Sleep(time.Until(due))
			if err := check(); err != nil && !f.MayFail { // else the revocations could not be read in time: late all the same
				failed <- err
				return
			}
			result.Latencies = append(result.Latencies, float64(time.Since(due)))
		}
	}()
	wg.Wait()
	took := time.Since(began)
	close(done)
	<-checked
	close(failed)
	succeeded := max(1, float64(f.Logins)-float64(unavailable.Load()))
	result.Rate, result.Failed = succeeded/took.Seconds(), float64(unavailable.Load())/float64(f.Logins)
	result.CPU = (processorTime() - cpu).Seconds() / succeeded
	result.Peak = peakMemory()
	return result, <-failed
}

// peakMemory is the most that this process had in memory at once.
func peakMemory() float64 {
	if f, err := os.Open("/proc/self/status"); err == nil {
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			var kib float64
			if _, err := fmt.Sscanf(s.Text(), "VmHWM: %f kB", &kib); err == nil {
				return kib * 1024
			}
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.Sys)
}

// inTurns runs the floods one after the other, several times, and gives what each came to.
func inTurns(r *Run, rounds int, floods ...flood) ([][]flooded, error) {
	all := make([][]flooded, len(floods))
	for range rounds {
		for i, f := range floods {
			if r.Short {
				f.Logins, f.Parallel, f.Cheap = 16, min(f.Parallel, 8), true
			}
			var one flooded
			if err := inChild(r, "flood", f, &one); err != nil {
				return nil, err
			}
			all[i] = append(all[i], one)
		}
	}
	return all, nil
}

func medianOf(all []flooded, of func(flooded) float64) float64 {
	var values []float64
	for _, f := range all {
		values = append(values, of(f))
	}
	return median(values)
}

const parallel = 64

func loginRates(r *Run) error {
	cores := runtime.GOMAXPROCS(0)
	all, err := inTurns(r, min(7, 1+r.Rounds/50),
		flood{Logins: 192, Workers: cores, Pure: true},
		flood{Logins: 192, Parallel: parallel, Workers: cores},
		flood{Logins: 192, Parallel: parallel},
		flood{Logins: 128, Parallel: parallel, Workers: parallel, MayFail: true},
	)
	if err != nil {
		return err
	}
	names := []string{
		fmt.Sprintf("argon2id alone, %d goroutines", cores),
		fmt.Sprintf("userapi, Workers = %d, the cores", cores),
		fmt.Sprintf("userapi, default Workers = %d", max(1, cores-1)),
		"unlimited hashing",
	}
	rates := Section{Title: fmt.Sprintf("%d logins at once", parallel), Rates: true,
		Text: "Time by login is that of all by their number. The limit is what so many goroutines hash when they do nothing else."}
	memory := Section{Title: fmt.Sprintf("Peak memory of %d logins at once", parallel), Text: "Of the whole process: runtime, SQLite and the rest among it."}
	chart := Bars{Title: memory.Title, Axis: "peak of resident memory", Log: true}
	for i, name := range names {
		perLogin := func(f flooded) float64 { return 1e9 / f.Rate }
		row := Row{Name: name, Median: medianOf(all[i], perLogin), Allocs: -1, Bytes: -1}
		var times, ratios []float64
		for j, f := range all[i] {
			times = append(times, perLogin(f))
			ratios = append(ratios, perLogin(f)/perLogin(all[0][j]))
		}
		row.Least = quantile(times, 0)
		if i > 0 {
			row.Ratio = median(ratios)
		}
		peak := medianOf(all[i], func(f flooded) float64 { return f.Peak })
		most := Figure(name, size(peak))
		bar := Bar{Name: name, Value: peak, Label: size(peak), Kind: "theirs"}
		switch i {
		case 0:
			bar.Kind = "limit"
		case 1:
			row.Target, bar.Kind = "≥ 0.95 × its rate", "ours"
			row.Meets(row.Ratio <= 1/0.95)
			row.Why = "the six statements of a login and its two commits, each of which waits for the disk, take place on the cores that hash"
			allowed := float64(64+20*cores) * (1 << 20)
			most = most.Aim("≤ 64 MiB + 20 MiB a worker: "+size(allowed), peak <= allowed,
				"each hash takes its memory anew and leaves it to the garbage collector, which lets the heap double before it begins; so does argon2id alone")
			r.AddCost("1,000 logins: "+name, 1000*medianOf(all[i], func(f flooded) float64 { return f.CPU }))
		case 2:
			bar.Kind = "ours"
			row.Note = "one core stays free for everything else; see the checks below"
		case 3:
			row.Note = "as many hashes at once as there are logins"
			if share := medianOf(all[i], func(f flooded) float64 { return f.Failed }); share > 0 {
				row.Note += fmt.Sprintf("; %.0f %% of them came to nothing, because the database was not reached in time", 100*share)
			}
			r.AddCost("1,000 logins: "+name, 1000*medianOf(all[i], func(f flooded) float64 { return f.CPU }))
		}
		rates.Rows, memory.Rows, chart.Bars = append(rates.Rows, row), append(memory.Rows, most), append(chart.Bars, bar)
	}
	rates.Charts, memory.Charts = []Chart{ratioBars(rates.Title, rates.Rows)}, []Chart{chart}
	r.Add(rates)
	r.Add(memory)
	return nil
}

// checksMeanwhile looks at who did not log in.
func checksMeanwhile(r *Run) error {
	all, err := inTurns(r, min(5, 1+r.Rounds/75),
		flood{Logins: 192, Parallel: parallel, Checks: true},
		flood{Logins: 128, Parallel: parallel, Workers: parallel, Checks: true, MayFail: true},
	)
	if err != nil {
		return err
	}
	s := Section{
		Title: fmt.Sprintf("Checks of a token while %d logins at once go on", parallel),
		Text: "A check is due every millisecond, whether or not those before it are done; how late its answer is counts from then. Timers " +
			"of the machine are in it. Medians of the runs.",
	}
	chart := Bars{Title: s.Title + ", p99", Axis: "how late the answer is", Log: true}
	var p99 []float64
	for i, name := range []string{fmt.Sprintf("userapi, default Workers = %d", max(1, runtime.GOMAXPROCS(0)-1)), "unlimited hashing"} {
		for _, q := range []float64{0.5, 0.99, 1} {
			late := medianOf(all[i], func(f flooded) float64 { return quantile(f.Latencies, q) })
			label := map[float64]string{0.5: "p50", 0.99: "p99", 1: "longest"}[q]
			s.Rows = append(s.Rows, Figure(name+", "+label, span(late)))
			if q == 0.99 {
				p99 = append(p99, late)
				chart.Bars = append(chart.Bars, Bar{Name: name, Value: late, Label: span(late), Kind: []string{"ours", "theirs"}[i]})
			}
		}
	}
	s.Rows[1] = s.Rows[1].Aim("≤ 1/50 of that under unlimited hashing", p99[0] <= p99[1]/50,
		"the core that is kept free has other work: on a machine that is busy besides, a check waits for the scheduler as long as in the first row")
	s.Rows[1].Value += fmt.Sprintf(" (%.3g of it)", p99[0]/p99[1])
	s.Charts = []Chart{chart}
	r.Add(s)
	return nil
}
