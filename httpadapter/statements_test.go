package httpadapter_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/internal/drivertest"
	"github.com/userapi/userapi/store/mysql"
	"github.com/userapi/userapi/store/postgres"
	"github.com/userapi/userapi/store/sqlite"
)

// cost is what a request asks a database for, besides BEGIN and COMMIT.
type cost struct{ statements, transactions int }

// requests are made in this order, each after the ones before it. The limits are the default ones.
var requests = []struct {
	what string
	cost cost
	ask  func(w *world) *answer
}{
	{"a host's route behind `IsConnected`, by access token", cost{0, 0}, func(w *world) *answer { return w.do("GET", "/hosted", nil, w.as0("ann")) }},
	{"the same by API key, seen before", cost{0, 0}, func(w *world) *answer { return w.do("GET", "/hosted", nil, apiKey(w.ids["key"])) }},
	{"`POST /auth/login`, from an address where the account logged in before", cost{6, 2}, func(w *world) *answer { return w.login("bob") }},
	{"`POST /auth/login`, from a new address", cost{6, 2}, func(w *world) *answer { return w.login("service") }},
	{"`POST /auth/login`, wrong password", cost{4, 2}, func(w *world) *answer {
		return w.do("POST", "/auth/login", object{"email": "bob@acme.example", "password": "wrong"})
	}},
	{"`POST /auth/refresh`", cost{2, 1}, func(w *world) *answer {
		return w.do("POST", "/auth/refresh", object{"refresh_token": w.ids["refresh"]})
	}},
	{"`POST /auth/logout`", cost{3, 1}, func(w *world) *answer { return w.do("POST", "/auth/logout", nil, bearer(w.ids["second"])) }},
	{"`GET /auth/whoami`", cost{1, 0}, func(w *world) *answer { return w.do("GET", "/auth/whoami", nil, w.as0("ann")) }},
	{"`GET /users/{id}`", cost{1, 0}, func(w *world) *answer { return w.do("GET", "/users/"+w.ids["bob"], nil, w.as0("admin")) }},
	{"`GET /users/`, a page", cost{1, 0}, func(w *world) *answer { return w.do("GET", "/users/?limit=2", nil, w.as0("admin")) }},
	{"`GET /users/{id}/sessions`", cost{2, 0}, func(w *world) *answer {
		return w.do("GET", "/users/"+w.ids["bob"]+"/sessions", nil, w.as0("admin"))
	}},
	{"`POST /users/`, by an admin, with a role", cost{6, 1}, func(w *world) *answer {
		return w.do("POST", "/users/", object{"email": "new@acme.example", "name": "New", "active": true, "password": password, "roles": []object{{"code": "editor"}}}, w.as0("admin"))
	}},
	{"`PATCH /users/{id}/role`", cost{7, 1}, func(w *world) *answer {
		return w.do("PATCH", "/users/"+w.ids["bob"]+"/role", []string{"editor"}, w.as0("admin"))
	}},
	{"`POST /password/change`", cost{12, 3}, func(w *world) *answer {
		return w.do("POST", "/password/change", object{"old_password": password, "new_password": "another horse battery"}, w.as0("ann"))
	}},
}

// as0 is an access token that was there before.
func (w *world) as0(name string) set { return bearer(w.ids["token of "+name]) }

func TestStatements_of_requests(t *testing.T) {
	require.NoError(t, start())
	require.NoError(t, startOther())
	var rows []string
	for _, db := range []struct {
		name string
		open func(c *drivertest.Connector) drivertest.Store
		c    *drivertest.Connector
	}{
		{"SQLite", func(c *drivertest.Connector) drivertest.Store { return sqlite.New(c.Pool(t)) }, drivertest.Wrap(t, "sqlite", sqlite.DSN(filepath.Join(t.TempDir(), "users.db")))},
		{"MariaDB", func(c *drivertest.Connector) drivertest.Store { return mysql.New(c.Pool(t)) }, drivertest.Wrap(t, "mysql", server.Database(t).FormatDSN())},
		{"PostgreSQL", func(c *drivertest.Connector) drivertest.Store { return postgres.New(c.Pool(t)) }, drivertest.Wrap(t, "pgx", other.Database(t))},
	} {
		st := db.open(db.c)
		require.NoError(t, st.Migrate(t.Context()))
		w := newWorld(t, options{api: func(c *userapi.Config) { c.Store, c.Limits = st, userapi.DefaultLimits() }})
		w.mux.Handle("GET /api/hosted", w.web.IsConnected(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
		for _, name := range []string{"ann", "admin", "bob"} {
			a := w.login(name)
			w.ids["token of "+name], w.ids["refresh"] = a.text("access_token"), a.text("refresh_token")
			w.do("GET", "/hosted", nil, w.as0(name)).is(200, "") // by this clock the database is younger than the token
		}
		w.ids["second"] = w.login("bob").text("access_token")
		w.ids["key"] = w.do("POST", "/keys", object{"name": "one", "scopes": []string{"full"}}, w.as0("ann")).is(201, "").text("key")
		w.do("GET", "/hosted", nil, apiKey(w.ids["key"])).is(200, "")
		rows = nil
		for _, one := range requests {
			var got *answer
			db.c.Record(func() { got = one.ask(w) })
			var asked cost
			wrote := 0 // a lone UPDATE is a transaction by itself
			for query, times := range db.c.Times() {
				if strings.Contains(query, "userapi_") && !strings.HasPrefix(query, "SELECT") {
					wrote = 1
				}
				switch {
				case strings.Contains(query, "userapi_"):
					asked.statements += times
				case query == "COMMIT":
					asked.transactions += times
				}
			}
			asked.transactions = max(asked.transactions, wrote)
			want := one.cost
			if db.name == "PostgreSQL" && got.Code == http.StatusOK && strings.Contains(one.what, "/auth/login") {
				want.statements++ // the sessions are counted by themselves
			}
			assert.Equal(t, want, asked, "%s on %s: %d %s\n%v", one.what, db.name, got.Code, got.Body, db.c.Times())
			rows = append(rows, fmt.Sprintf("| %s | %d | %d |\n", one.what, one.cost.statements, one.cost.transactions))
		}
	}
	golden(t, "../docs/performance/statements.md", `# What a request asks the database

Statements besides BEGIN and COMMIT, and transactions among them, with the default limits. It is the same on SQLite and on MariaDB;
PostgreSQL takes one more at a login, to count the sessions, and MySQL, whose INSERT returns no rows, one more where attempts are counted (logins,
password change). Besides, each node reads the revocations that are
new, once every half a second while it is asked anything (`+"`Config.Staleness`"+`): two statements for all its requests, the clock and the rows.

Made by `+"`go test ./httpadapter -run Statements -update`"+`; a test counts them.

| request | statements | transactions |
|---|---|---|
`+strings.Join(rows, ""))
}
