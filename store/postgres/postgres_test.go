package postgres_test

import (
	"database/sql"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/internal/drivertest"
	"github.com/userapi/userapi/store/postgres"
	"github.com/userapi/userapi/store/storetest"
)

// server is the one of this package's tests.
var server *drivertest.Postgres

func TestMain(m *testing.M) {
	var err error
	if server, err = drivertest.SharedPostgres(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	server.Stop()
	os.Exit(code)
}

func open(t *testing.T, url string) *sql.DB {
	t.Helper()
	return drivertest.OpenPostgres(t, "pgx", url)
}

func migrated(t *testing.T, db *sql.DB) *postgres.Store {
	t.Helper()
	st := postgres.New(db)
	require.NoError(t, st.Migrate(t.Context()))
	return st
}

func TestStore(t *testing.T) {
	storetest.Test(t, func(t *testing.T) (first, second userapi.Store) {
		url := server.Database(t)
		return migrated(t, open(t, url)), migrated(t, open(t, url))
	})
}
