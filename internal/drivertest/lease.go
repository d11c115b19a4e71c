package drivertest

import (
	"bufio"
	"database/sql"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// leased is a server that dies when its lease is closed, and so when this process dies.
type leased struct {
	pid  int
	log  string
	held io.Closer
	done chan struct{}
}

// lease starts a server that writes its log into dir.
func lease(dir string, as *syscall.SysProcAttr, signal syscall.Signal, args ...string) (*leased, error) {
	log := filepath.Join(dir, "log")
	// The shell outlives nobody: when its standard input ends, it ends the server.
	script := fmt.Sprintf(`"$@" >>"$0" 2>&1 & pid=$!; echo $pid; read line; kill -%d $pid 2>/dev/null; wait $pid`, signal)
	cmd := exec.Command("sh", append([]string{"-c", script, log}, args...)...)
	if cmd.SysProcAttr = as; as != nil {
		cmd.Dir = dir // whoever it is may not be allowed to look at this one
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return nil, err
	}
	l := &leased{pid: pid, log: log, held: stdin, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(l.done)
	}()
	return l, nil
}

// answers waits until the server does, 30 seconds at most.
func (l *leased) answers(driver, dsn string) error {
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	for range 600 {
		if err = db.Ping(); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("the server does not answer: %w\n%s", err, l.said())
}

// end ends the server and waits for it.
func (l *leased) end() {
	_ = l.held.Close()
	<-l.done
}

func (l *leased) said() string {
	text, _ := os.ReadFile(l.log)
	return string(text)
}
