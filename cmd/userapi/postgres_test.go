package main

import (
	"bufio"
	"database/sql"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// postgresEnv names a server by a URL, whose user may create databases.
const postgresEnv = "USERAPI_TEST_POSTGRES"

// newPostgres makes an empty database, on the server of postgresEnv or else on a private one, which lives as long as the
// test. It returns its URL and a pool on it.
func newPostgres(t *testing.T) (string, *sql.DB) {
	t.Helper()
	server := os.Getenv(postgresEnv)
	if server == "" {
		server = startPostgres(t)
	}
	at, err := url.Parse(server)
	require.NoError(t, err)
	admin, err := openOtherPostgres(server)
	require.NoError(t, err)
	t.Cleanup(func() { admin.Close() })
	for end := time.Now().Add(30 * time.Second); admin.Ping() != nil && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	name := fmt.Sprintf("userapi_test_%d", time.Now().UnixNano())
	_, err = admin.Exec("CREATE DATABASE " + name)
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = admin.Exec("DROP DATABASE " + name + " WITH (FORCE)") })
	at.Path = "/" + name
	db, err := openOtherPostgres(at.String())
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return at.String(), db
}

// startPostgres starts a server in a directory of its own. It refuses to be root, so root lets nobody run it.
func startPostgres(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "userapi-postgres-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	as := &syscall.SysProcAttr{}
	if os.Geteuid() == 0 {
		nobody, err := user.Lookup("nobody")
		require.NoError(t, err)
		uid, _ := strconv.Atoi(nobody.Uid)
		gid, _ := strconv.Atoi(nobody.Gid)
		as.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		require.NoError(t, os.Chown(dir, uid, gid))
	}
	data := filepath.Join(dir, "data")
	setup := exec.Command(postgresProgram(t, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
	setup.SysProcAttr, setup.Dir = as, dir
	out, err := setup.CombinedOutput()
	require.NoError(t, err, "%s", out)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := strconv.Itoa(free.Addr().(*net.TCPAddr).Port)
	require.NoError(t, free.Close())
	// The shell outlives nobody: when its standard input ends, it ends the server at once.
	server := exec.Command("sh", "-c", `"$@" >>"$0" 2>&1 & pid=$!; echo; read line; kill -QUIT $pid 2>/dev/null; wait $pid`,
		filepath.Join(dir, "log"), postgresProgram(t, "postgres"), "-D", data, "-p", port, "-h", "127.0.0.1", "-k", dir, "-F")
	server.SysProcAttr, server.Dir = as, dir
	lease, err := server.StdinPipe()
	require.NoError(t, err)
	started, err := server.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, server.Start())
	t.Cleanup(func() {
		lease.Close()
		_ = server.Wait()
	})
	_, err = bufio.NewReader(started).ReadString('\n')
	require.NoError(t, err)
	return "postgres://postgres@127.0.0.1:" + port + "/postgres?sslmode=disable"
}

// postgresProgram finds a program that Debian keeps out of the PATH.
func postgresProgram(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	require.NotEmpty(t, found, strings.TrimSpace("these tests need PostgreSQL: install the package postgresql, or set "+postgresEnv+" to a server where databases may be created"))
	return found[len(found)-1]
}
