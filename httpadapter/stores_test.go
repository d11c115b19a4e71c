package httpadapter_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/internal/drivertest"
	"github.com/userapi/userapi/store/mysql"
	"github.com/userapi/userapi/store/postgres"
	"github.com/userapi/userapi/store/sqlite"
)

// onSQLite puts a world on a file, whose folder comes back.
func onSQLite(t *testing.T) (options, string) {
	t.Helper()
	dir := t.TempDir()
	db, err := sql.Open("sqlite", sqlite.DSN(filepath.Join(dir, "users.db")))
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	st := sqlite.New(db)
	require.NoError(t, st.Migrate(t.Context()))
	return options{api: func(c *userapi.Config) { c.Store = st }}, dir
}

// The servers are started by the first test that needs them.
var (
	server *drivertest.MariaDB
	start  = sync.OnceValue(func() (err error) {
		server, err = drivertest.Shared()
		return err
	})
	other      *drivertest.Postgres
	startOther = sync.OnceValue(func() (err error) {
		other, err = drivertest.SharedPostgres()
		return err
	})
)

func TestMain(m *testing.M) {
	code := m.Run()
	if server != nil {
		server.Stop()
	}
	if other != nil {
		other.Stop()
	}
	os.Exit(code)
}

// onMariaDB puts a world on a database of its own.
func onMariaDB(t *testing.T) options {
	t.Helper()
	require.NoError(t, start())
	st := mysql.New(drivertest.Open(t, server.Database(t)))
	require.NoError(t, st.Migrate(t.Context()))
	return options{api: func(c *userapi.Config) { c.Store = st }}
}

// onPostgres puts a world on a database of its own.
func onPostgres(t *testing.T) options {
	t.Helper()
	require.NoError(t, startOther())
	st := postgres.New(drivertest.OpenPostgres(t, "pgx", other.Database(t)))
	require.NoError(t, st.Migrate(t.Context()))
	return options{api: func(c *userapi.Config) { c.Store = st }}
}

func TestCreateUser_F06_one_identifier_in_many_spellings_at_once(t *testing.T) {
	on, _ := onSQLite(t)
	w := newWorld(t, on, options{api: func(c *userapi.Config) {
		c.Registration = userapi.Registration{Policy: userapi.RegistrationOpen, Customer: "acme"}
	}})
	admin := w.as("admin")
	for field, spellings := range map[string][]string{
		"email": {"Race@acme.example", "rACE@ACME.example", " race@acme.example "}, "username": {"Racer", "ＲＡＣＥＲ", "racer "},
	} {
		var wg sync.WaitGroup
		codes := make([]int, 64)
		for i := range codes {
			body := object{field: spellings[i%3], "name": "R", "password": password}
			how := []set{}
			if i%2 == 0 { // half of them an admin's, half self-registrations
				body["active"], how = true, []set{admin}
			}
			wg.Go(func() { codes[i] = w.do("POST", "/users", body, how...).Code })
		}
		wg.Wait()
		count := map[int]int{}
		for _, code := range codes {
			count[code]++
		}
		assert.Equal(t, map[int]int{201: 1, 409: 63}, count, field)
	}
}

func TestStoredData_B07_holds_nothing_that_could_be_replayed(t *testing.T) {
	on, dir := onSQLite(t)
	w := newWorld(t, on)
	secrets := []string{password, string(testSecret)}
	for _, name := range []string{"one", "two"} {
		key := w.do("POST", "/keys", object{"name": name, "scopes": []string{"full"}}, w.as("ann")).is(201, "").text("key")
		_, secret, _ := strings.Cut(key, ".")
		w.do("GET", "/auth/whoami", nil, apiKey(key)).is(200, "")
		secrets = append(secrets, key, secret, secret[:32])
	}
	for range 3 {
		a := w.login("ann")
		for range 2 {
			secrets = append(secrets, a.text("access_token"), a.text("refresh_token"))
			parts := strings.Split(a.text("refresh_token"), ".")
			secrets = append(secrets, parts[len(parts)-1])
			a = w.do("POST", "/auth/refresh", object{"refresh_token": a.text("refresh_token")}).is(200, "")
		}
	}
	var dump bytes.Buffer
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, f := range files {
		raw, err := os.ReadFile(filepath.Join(dir, f.Name()))
		require.NoError(t, err)
		dump.Write(raw)
	}
	require.Contains(t, dump.String(), "ann@acme.example", "this is the data")
	require.Contains(t, dump.String(), "$argon2id$")
	for i, secret := range secrets {
		require.NotEmpty(t, secret)
		assert.False(t, bytes.Contains(dump.Bytes(), []byte(secret)), fmt.Sprint("secret ", i))
	}
}
