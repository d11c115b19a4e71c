package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

var importPart = Part{
	Name: "import", Title: "Moving in",
	Intro: "`userapi import --from jsonl --source -` takes over users, a third of them with a role, as a program of its own. The lines come through a pipe, which holds a few hundred of them: so the moments at which it takes them tell how fast it goes on.",
	Run:   runImport,
}

var importUsers = flag.Int("import", 1_000_000, "how many users the part import moves in")

func runImport(r *Run) error {
	dir, err := os.MkdirTemp("", "userapi-bench-")
	if err != nil {
		return err
	}
	r.Cleanup(func() { _ = os.RemoveAll(dir) })
	program := filepath.Join(dir, "userapi")
	if out, err := exec.CommandContext(r, "go", "build", "-C", "..", "-o", program, "./cmd/userapi").CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	for _, e := range engines {
		d, err := e.open(r, "import")
		if err != nil {
			return err
		}
		flag := map[string]string{"sqlite": "sqlite:" + d.file, "mysql": "mysql:" + d.dsn, "pgx": d.dsn}
		if err := d.moveIn(r, program, flag[d.driver]); err != nil {
			return err
		}
	}
	return nil
}

func (d *database) moveIn(r *Run, program, flag string) error {
	n := r.Few(*importUsers, 3_000)
	if out, err := exec.CommandContext(r, program, "init", "--db", flag).CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	cmd := exec.CommandContext(r, program, "import", "--db", flag, "--from", "jsonl", "--source", "-")
	var told bytes.Buffer
	cmd.Stdout, cmd.Stderr = &told, os.Stderr
	lines, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	began := time.Now()
	marks, err := feed(lines, n)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, told.String())
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%w\n%s", err, told.String())
	}
	took := time.Since(began)
	if !strings.Contains(told.String(), fmt.Sprintf("created: %d\n", n)) {
		return fmt.Errorf("not all came over:\n%s", told.String())
	}
	marks[len(marks)-1] = took // behind the last line there is the last commit
	var parts []float64        // seconds for each tenth
	for i, at := range marks {
		from := time.Duration(0)
		if i > 0 {
			from = marks[i-1]
		}
		parts = append(parts, (at - from).Seconds())
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	memory := float64(usage.Maxrss) * 1024
	if runtime.GOOS == "darwin" {
		memory /= 1024
	}
	rate := func(seconds float64) string { return count(float64(n/10)/seconds) + " users a second" }
	rows := []Row{
		Figure("all", count(float64(n)/took.Seconds())+" users a second"),
		Figure("the first tenth", rate(parts[0])),
		Figure("the slowest tenth", rate(slices.Max(parts))),
		Figure("the last tenth, its time to that of the first", fmt.Sprintf("%.2f", parts[9]/parts[0])).Aim("≤ 1.5", parts[9] <= 1.5*parts[0], ""),
		Figure("most memory (RSS)", size(memory)).Aim("≤ 64 MiB", memory <= 64<<20, ""),
		Figure("processor time of the program", fmt.Sprintf("%.0f s", float64(usage.Utime.Nano()+usage.Stime.Nano())/1e9)),
	}
	var each []string
	for _, seconds := range parts {
		each = append(each, count(float64(n/10)/seconds))
	}
	r.Add(Section{Title: fmt.Sprintf("%s: import of %s users", d.engine, count(float64(n))), Rows: rows, Text: "Users a second, tenth after tenth: " + strings.Join(each, ", ") + "."})
	return nil
}

// feed writes n lines, and tells when each tenth of them had been taken.
func feed(to io.WriteCloser, n int) (marks []time.Duration, err error) {
	began := time.Now()
	out := bufio.NewWriter(to)
	for i := range n {
		line := map[string]any{"id": userID(i), "email": email(i), "username": username(i), "name": name(i), "active": true, "roles": []string{}, "password_hash": someHash, "created_at": "2020-01-02T03:04:05Z"}
		if i%3 == 0 {
			line["roles"] = []string{"editor"}
		}
		text, err := json.Marshal(line)
		if err != nil {
			return nil, err
		}
		if _, err := out.Write(append(text, '\n')); err != nil {
			return nil, err
		}
		if (i+1)%(n/10) == 0 {
			marks = append(marks, time.Since(began))
		}
	}
	if err := out.Flush(); err != nil {
		return nil, err
	}
	return marks, to.Close()
}
