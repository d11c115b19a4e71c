// Command timing measures whether the time of an answer tells what the answer does not: who has an account, what is taken, which key there
// is. It prints docs/timing.md, which says how it is done and how to read it. It is no test: a time depends on the machine and on
// whoever else is on it, so nothing fails for one. It ends with status 1 when a control did not come out as it has to, since then the rest says nothing.
//
//	go run ./internal/timing -n 4000 -live 200 -o docs/timing.md
//	go run ./internal/timing -only login
package main

import (
	"bufio"
	_ "embed"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/userapi/userapi"
)

//go:embed page.md
var page string

func main() {
	log.SetFlags(log.Ltime)
	n := flag.Int("n", 4000, "pairs of requests for each row, with a small hash")
	nLive := flag.Int("live", 200, "pairs of requests for each row, with the hash of production")
	only := flag.String("only", "", "rows whose name matches, beside the controls")
	out := flag.String("o", "", "file to write instead of standard output")
	flag.Parse()
	chosen, err := regexp.Compile(*only)
	if err != nil {
		log.Fatal(err)
	}
	text, sound, err := measureAll(*n, *nLive, chosen)
	if err != nil {
		log.Fatal(err)
	}
	text = fmt.Sprintf(page, fmt.Sprintf("-n %d -live %d", *n, *nLive), machine(), text)
	if *out == "" {
		fmt.Print(text)
	} else if err := os.WriteFile(*out, []byte(text), 0o644); err != nil { // #nosec G306 -- a page of the documentation
		log.Fatal(err)
	}
	if !sound {
		log.Fatal("a control did not come out as it has to: this run says nothing")
	}
}

// measureAll makes the table. sound says that the controls came out as they have to.
func measureAll(n, nLive int, chosen *regexp.Regexp) (table string, sound bool, err error) {
	sound = true
	for _, size := range []struct {
		hash  userapi.Argon2id
		pairs int
		title string
	}{
		{small, n, "argon2id of 64 KiB and one pass, so that the hash hides nothing of what is around it"},
		{live, nLive, "argon2id as it is by default: 19 MiB, two passes"},
	} {
		if size.pairs == 0 {
			continue
		}
		w, err := newWorld(size.hash)
		if err != nil {
			return "", false, err
		}
		table += fmt.Sprintf("\n%s; %d requests of each kind:\n\n", size.title, size.pairs) +
			"| what is asked | A | B | median A, µs | median B, µs | A − B, µs (95 %) | \\|t\\| | sees from, µs | |\n|---|---|---|---|---|---|---|---|---|\n"
		for _, r := range w.rows() {
			if r.control == "" && !chosen.MatchString(r.name) || size.hash == live && r.small {
				continue
			}
			c, err := measure(w.handler(r), r, size.pairs)
			if err != nil {
				w.close()
				return "", false, fmt.Errorf("%s, %s and %s: %w", r.name, r.a.name, r.b.name, err)
			}
			verdict := "no evidence"
			if c.differs() {
				verdict = "**differs**"
			}
			if r.control != "" {
				verdict += ", as it " + map[bool]string{true: "has to", false: "MUST NOT"}[c.differs() == (r.control == positive)]
				sound = sound && c.differs() == (r.control == positive)
			}
			table += fmt.Sprintf("| %s | %s | %s | %.0f | %.0f | %+.1f (%+.1f to %+.1f) | %.1f | %.0f | %s |\n", r.name, r.a.name, r.b.name,
				c.medianA, c.medianB, c.diff, c.diff-1.96*c.err, c.diff+1.96*c.err, c.t(), evidence*c.err, verdict)
			log.Printf("%s: %s, %s: %+.1f µs, |t| %.1f, %s", r.name, r.a.name, r.b.name, c.diff, c.t(), verdict)
		}
		w.close()
	}
	return table, sound, nil
}

// measure sends the two kinds of requests in pairs, a coin saying which goes first, so that whatever else the machine does meets both alike.
// The first tenth is left out.
func measure(h http.Handler, r row, pairs int) (comparison, error) {
	runtime.GC()
	var took [2][]float64
	for i := range pairs + pairs/10 {
		first := rand.IntN(2) // #nosec G404 -- a coin
		for _, which := range []int{first, 1 - first} {
			request := [...]class{r.a, r.b}[which].next()
			var answer sink
			begin := time.Now()
			h.ServeHTTP(&answer, request)
			lasted := time.Since(begin)
			if answer.status != r.status {
				return comparison{}, fmt.Errorf("the answer is %d, and not %d: %s", answer.status, r.status, answer.body)
			}
			if i >= pairs/10 {
				took[which] = append(took[which], float64(lasted.Nanoseconds())/1000)
			}
		}
	}
	return compare(took[0], took[1]), nil
}

// sink is a ResponseWriter that keeps what is looked at.
type sink struct {
	header http.Header
	status int
	body   []byte
}

func (s *sink) Header() http.Header {
	if s.header == nil {
		s.header = http.Header{}
	}
	return s.header
}

func (s *sink) WriteHeader(status int) { s.status = status }

func (s *sink) Write(p []byte) (int, error) {
	if s.status == 0 {
		s.status = http.StatusOK
	}
	s.body = append(s.body, p...)
	return len(p), nil
}

// machine says what was measured on.
func machine() string {
	cpu := runtime.GOARCH
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if name, is := strings.CutPrefix(lines.Text(), "model name\t: "); is {
				cpu = name
				break
			}
		}
	}
	return fmt.Sprintf("%s, %d cores, %s, %s", cpu, runtime.NumCPU(), runtime.GOOS, runtime.Version())
}
