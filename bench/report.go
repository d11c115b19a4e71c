package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// Section is a table of a page, with what has to be said before it and the plots below.
type Section struct {
	Title, Text string
	Rows        []Row
	Rates       bool
	Charts      []Chart
}

// Row is a line of a table: a time, or with Value any other figure.
type Row struct {
	Name              string
	Median, Least     float64 // ns per operation
	Ratio, LeastRatio float64 // to the limit, or to Against
	Against           string
	Allocs, Bytes     float64 // per operation; below 0 = not measured
	CPU               float64 // ns of all cores per operation; below 0 = not measured
	Value             string
	Target            string
	Note, Why         string

	judged, missed bool
}

// Figure is a row without a time.
func Figure(name, value string) Row {
	return Row{Name: name, Value: value, Allocs: -1, Bytes: -1, CPU: -1}
}

// Meets says whether a target is reached. A row with several reaches all or none.
func (r *Row) Meets(ok bool) { r.judged, r.missed = true, r.missed || !ok }

// Aim is Figure with a target: whether it is reached, and else what stands in the way.
func (r Row) Aim(target string, ok bool, why string) Row {
	r.Target, r.Why = target, why
	r.Meets(ok)
	return r
}

func (r Row) reached() string {
	switch {
	case !r.judged:
		return ""
	case r.missed:
		return "**no**"
	}
	return "yes"
}

func (r Row) brief() string {
	text := r.Value
	if text == "" {
		text = span(r.Median)
	}
	if r.Ratio > 0 {
		text += fmt.Sprintf("  %.3g ×", r.Ratio)
	}
	if r.Allocs >= 0 {
		text += fmt.Sprintf("  %.1f allocs %.0f B", r.Allocs, r.Bytes)
	}
	if r.judged {
		text += "  " + r.Target + ": " + r.reached()
	}
	return text
}

// span writes a duration with three digits.
func span(ns float64) string {
	switch {
	case ns < 1e3:
		return fmt.Sprintf("%.0f ns", ns)
	case ns < 1e6:
		return fmt.Sprintf("%.3g µs", ns/1e3)
	case ns < 1e9:
		return fmt.Sprintf("%.3g ms", ns/1e6)
	}
	return fmt.Sprintf("%.3g s", ns/1e9)
}

// size writes a number of bytes.
func size(n float64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%.0f B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.3g KiB", n/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.4g MiB", n/(1<<20))
	}
	return fmt.Sprintf("%.3g GiB", n/(1<<30))
}

// count writes a number with commas.
func count(n float64) string {
	text := fmt.Sprintf("%.0f", n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// writePage writes the page of a part, its plots, and its lines of the index.
func writePage(dir string, p Part, r *Run) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	old, _ := filepath.Glob(filepath.Join(dir, p.Name+"-*.svg"))
	for _, name := range old {
		_ = os.Remove(name)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\nWritten by `make bench`; [README.md](README.md) says how to read it.\n\n%s\n\n%s", p.Title, p.Intro, machine(p, r))
	plots := 0
	for _, s := range r.sections {
		fmt.Fprintf(&b, "\n## %s\n\n", s.Title)
		if s.Text != "" {
			fmt.Fprintf(&b, "%s\n\n", s.Text)
		}
		b.WriteString(s.table())
		for _, c := range s.Charts {
			plots++
			name := fmt.Sprintf("%s-%d.svg", p.Name, plots)
			if err := os.WriteFile(filepath.Join(dir, name), []byte(c.SVG()), 0o644); err != nil {
				return err
			}
			fmt.Fprintf(&b, "\n![%s](%s)\n", s.Title, name)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, p.Name+".md"), []byte(b.String()), 0o644); err != nil {
		return err
	}
	return writeIndex(filepath.Join(dir, "README.md"), p, r)
}

// table leaves out the columns that no row fills.
func (s Section) table() string {
	type column struct {
		head string
		cell func(Row) string
	}
	some := func(ok bool, text string) string {
		if ok {
			return text
		}
		return ""
	}
	columns := []column{
		{"case", func(r Row) string { return r.Name }},
		{"median", func(r Row) string { return some(r.Median > 0, span(r.Median)) }},
		{"least", func(r Row) string { return some(r.Least > 0, span(r.Least)) }},
		{"figure", func(r Row) string { return r.Value }},
		{"per second", func(r Row) string { return some(s.Rates && r.Median > 0, count(1e9/r.Median)) }},
		{"× limit", func(r Row) string { return some(r.Ratio > 0, fmt.Sprintf("%.3g", r.Ratio)) }},
		{"× limit, least", func(r Row) string { return some(r.LeastRatio > 0, fmt.Sprintf("%.3g", r.LeastRatio)) }},
		{"limit, if not the first", func(r Row) string { return r.Against }},
		{"allocations", func(r Row) string { return some(r.Allocs >= 0, fmt.Sprintf("%.3g", r.Allocs)) }},
		{"bytes", func(r Row) string { return some(r.Bytes >= 0, count(r.Bytes)) }},
		{"target", func(r Row) string { return strings.TrimPrefix(r.Target, ", ") }},
		{"reached", Row.reached},
	}
	columns = slices.DeleteFunc(columns, func(c column) bool {
		return !slices.ContainsFunc(s.Rows, func(r Row) bool { return c.cell(r) != "" })
	})
	var b strings.Builder
	line := func(cell func(column) string) {
		for _, c := range columns {
			b.WriteString("| " + cell(c) + " ")
		}
		b.WriteString("|\n")
	}
	line(func(c column) string { return c.head })
	line(func(c column) string {
		if c.head == "case" || c.head == "target" || strings.HasPrefix(c.head, "limit") {
			return "---"
		}
		return "---:"
	})
	for _, r := range s.Rows {
		line(func(c column) string { return c.cell(r) })
	}
	below := func(head, text string) {
		if text != "" {
			fmt.Fprintf(&b, "- *%s*: %s\n", head, text)
		}
	}
	b.WriteString("\n")
	for _, r := range s.Rows {
		below(r.Name, r.Note)
	}
	var names []string // of one reason
	for i, r := range s.Rows {
		if !r.missed {
			continue
		}
		names = append(names, r.Name)
		if next := slices.IndexFunc(s.Rows[i+1:], func(r Row) bool { return r.missed }); next < 0 || s.Rows[i+1+next].Why != r.Why {
			below("Not reached: "+strings.Join(names, "; "), r.Why)
			names = nil
		}
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// machine says where and by what it was measured.
func machine(p Part, r *Run) string {
	cpu := "unknown processor"
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if m := regexp.MustCompile(`model name\s*: (.*)`).FindSubmatch(info); m != nil {
			cpu = string(bytes.TrimSpace(m[1]))
		}
	}
	memory := ""
	if info, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kib float64
		if _, err := fmt.Sscanf(string(info), "MemTotal: %f kB", &kib); err == nil {
			memory = ", " + size(kib*1024) + " of memory"
		}
	}
	system := runtime.GOOS + "/" + runtime.GOARCH
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		system += ", kernel " + strings.TrimSpace(string(release))
	}
	lines := []string{
		"| | |", "|---|---|",
		fmt.Sprintf("| machine | %s, %d cores%s; %s |", cpu, runtime.NumCPU(), memory, system),
		fmt.Sprintf("| Go | %s, GOMAXPROCS %d |", runtime.Version(), runtime.GOMAXPROCS(0)),
		"| modules | " + strings.Join(modules(), ", ") + " |",
	}
	for _, note := range r.versions {
		lines = append(lines, "| "+note[0]+" | "+note[1]+" |")
	}
	lines = append(lines,
		fmt.Sprintf("| command | `make bench`, here `cd bench && go run . -part %s -rounds %d -slice %v` |", p.Name, r.Rounds, r.Slice),
		fmt.Sprintf("| when | %s, in %.0f s |", r.began.UTC().Format(time.DateOnly), time.Since(r.began).Seconds()))
	return strings.Join(lines, "\n") + "\n"
}

// compared are the modules whose versions a reader needs.
var compared = []string{
	"github.com/golang-jwt/jwt/v5", "github.com/go-chi/jwtauth/v5", "github.com/lestrrat-go/jwx/v2", "github.com/auth0/go-jwt-middleware/v2",
	"gopkg.in/go-jose/go-jose.v2", "github.com/appleboy/gin-jwt/v2", "github.com/golang-jwt/jwt/v4", "github.com/gin-gonic/gin", "github.com/alexedwards/scs/v2",
	"golang.org/x/crypto", "modernc.org/sqlite", "github.com/mattn/go-sqlite3", "github.com/go-sql-driver/mysql", "github.com/jackc/pgx/v5", "github.com/jmoiron/sqlx",
}

func modules() []string {
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return nil
	}
	var all []string
	for _, m := range info.Deps {
		if slices.Contains(compared, m.Path) {
			all = append(all, m.Path+" "+m.Version)
		}
	}
	return all
}

// Version puts a line into the table of machine and versions, such as that of a database server.
func (r *Run) Version(what, version string) {
	if v := [2]string{what, version}; !slices.Contains(r.versions, v) {
		r.versions = append(r.versions, v)
	}
}

const indexHead = `# Performance

Written by ` + "`make bench`" + `, which measures the library beside the physical limit and beside its peers, in one process and one run. Only the
pages of the parts that ran are written anew.

How to read the tables:

- Cases are measured in turns, in slices of some 25 ms in random order, hundreds of rounds: whatever else the machine does hits all of them.
- *median* and *least* are those of the slices, by operation. *× limit* is the median, over the rounds, of the ratio to the first case of the
  table (or the one that is named) in the same round; *× limit, least* is the ratio of the least slices. The first is what one
  gets, the second what the code can do when nobody disturbs it: where they differ, the machine was busy.
- Before its first slice every case is shown to let the right one through and to refuse forged ones, or nothing is measured.
- *allocations* and *bytes* are by operation, of the whole process.
- *target* is what we hold ourselves to. Where it is not reached, the lines below the table say what stands in the way.
- Core-seconds are processor time of the whole process, garbage collection included.

Times differ between machines and, a little, between runs; ratios are what to compare. How often a request asks the database is counted by a
test: [statements.md](statements.md). What all of it comes to past one machine is reckoned in [scaling.md](../scaling.md).
`

// writeIndex replaces what the index says about one part and leaves the others as they are.
func writeIndex(path string, p Part, r *Run) error {
	begin, end := "<!-- "+p.Name+" -->\n", "<!-- end of "+p.Name+" -->\n"
	var b strings.Builder
	reached, missed := 0, 0
	for _, s := range r.sections {
		for _, row := range s.Rows {
			if row.judged && row.missed {
				missed++
			} else if row.judged {
				reached++
			}
		}
	}
	fmt.Fprintf(&b, "%s\n## [%s](%s.md)\n\n%d of %d targets are reached. ", begin, p.Title, p.Name, reached, reached+missed)
	fmt.Fprintf(&b, "Measured on:\n\n%s\n", machine(p, r))
	if r.costs != nil {
		b.WriteString("| cost | core-seconds |\n|---|---:|\n")
		for _, c := range r.costs {
			fmt.Fprintf(&b, "| %s | %.3g |\n", c.What, c.Cores)
		}
		b.WriteString("\n")
	}
	b.WriteString(end)
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	text := indexHead
	for _, each := range parts() {
		if each.Name == p.Name {
			text += "\n" + b.String()
			continue
		}
		from, to := "<!-- "+each.Name+" -->\n", "<!-- end of "+each.Name+" -->\n"
		if _, rest, ok := strings.Cut(string(old), from); ok {
			if kept, _, ok := strings.Cut(rest, to); ok {
				text += "\n" + from + kept + to
			}
		}
	}
	return os.WriteFile(path, []byte(text), 0o644)
}
