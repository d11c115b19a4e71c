package main

import (
	"context"
	"database/sql"
	"net/http"
	neturl "net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi/internal/drivertest"
)

// newPostgres makes an empty database, on a server that lives as long as the test if it is a private one. It returns its URL and a pool on it.
func newPostgres(t *testing.T) (string, *sql.DB) {
	t.Helper()
	server, err := drivertest.SharedPostgres()
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	at := server.Database(t)
	db, err := openOtherPostgres(at)
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return at, db
}

// All of the program on PostgreSQL: two servers, the commands, and an import with users who cannot be stored.
func TestTwoServersAndAnImportOnPostgres(t *testing.T) {
	url, admin := newPostgres(t)
	var name string
	require.NoError(t, admin.QueryRow("SELECT current_database()").Scan(&name))
	_, err := admin.Exec("CREATE USER " + name + " PASSWORD '" + canary + "'; GRANT CREATE ON SCHEMA public TO " + name)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, _ = admin.ExecContext(context.Background(), "DROP OWNED BY "+name+"; DROP USER "+name)
	})
	at, err := neturl.Parse(url)
	require.NoError(t, err)
	at.User = neturl.UserPassword(name, canary)
	p := newPlace(t, "USERAPI_SECRET="+secretA, "USERAPI_DB="+at.String(), "USERAPI_ADMIN_PASSWORD="+canary)
	alone, list := *at, *at
	alone.Host, list.Host = "127.0.0.1:1", "127.0.0.1:1,"+at.Host
	_, _, stderr := p.run(t, "", "user", "list", "--db", alone.String())
	assert.Contains(t, stderr, "PostgreSQL database "+name+" at 127.0.0.1:1:")
	_, _, stderr = p.run(t, "", "user", "list", "--db", strings.Replace(list.String(), at.Port(), "2", 1))
	assert.Contains(t, stderr, name+" at 127.0.0.1:1, 127.0.0.1:2:")
	a, b := p.launch(t), p.launch(t, "--db", list.String()) // whose first host is dead
	a.ready()
	b.ready()
	token := a.login("admin", canary)
	require.Equal(t, http.StatusOK, b.whoami(token))
	status, _ := a.call("POST", "/api/auth/logout", token, nil)
	require.Equal(t, http.StatusNoContent, status)
	b.refusesSoon(token)
	token = b.login("admin", canary)
	p.ok(t, "", "sessions", "revoke-all")
	a.refusesSoon(token)

	jsonl(t, p, "users.jsonl",
		`{"id":"1","email":"ada@example.com","active":true,"roles":["editor"]}`,
		`{"id":"2","email":"ADA@example.com","active":true}`,
		`{"id":"3","username":"admin","active":true}`,
		`{"id":"4","username":"vier","active":true,"roles":["editor"]}`)
	out := p.ok(t, "", "import", "--from", "jsonl", "--source", "users.jsonl", "--dry-run")
	assert.Contains(t, out, counted("4", "2", "0", "2", "2"))
	assert.Len(t, p.exported(t), 1)
	assert.Contains(t, p.ok(t, "", "import", "--from", "jsonl", "--source", "users.jsonl"), counted("4", "2", "0", "2", "2"))
	assert.Contains(t, p.ok(t, "", "import", "--from", "jsonl", "--source", "users.jsonl"), counted("4", "0", "2", "2", "0"))
	assert.Equal(t, "vier", p.exported(t)["4"].Username)
	assert.Contains(t, p.ok(t, "", "user", "list"), "ada@example.com")
	p.ok(t, "", "init", "--drop-before", "--yes")
	p.ok(t, "", "init")
	assert.Empty(t, p.exported(t)["4"].Username)
}
