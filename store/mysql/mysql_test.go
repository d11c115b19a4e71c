package mysql_test

import (
	"database/sql"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/internal/drivertest"
	"github.com/userapi/userapi/store/mysql"
	"github.com/userapi/userapi/store/storetest"

	driver "github.com/go-sql-driver/mysql"
)

// server is the one of this package's tests.
var server *drivertest.MariaDB

func TestMain(m *testing.M) {
	var err error
	if server, err = drivertest.Shared(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	server.Stop()
	os.Exit(code)
}

func migrated(t *testing.T, config *driver.Config) *mysql.Store {
	t.Helper()
	st := mysql.New(drivertest.Open(t, config))
	require.NoError(t, st.Migrate(t.Context()))
	return st
}

func TestStore(t *testing.T) {
	storetest.Test(t, func(t *testing.T) (first, second userapi.Store) {
		config := server.Database(t)
		return migrated(t, config), migrated(t, config)
	})
}

// Through Nodes, on the tables of a later version, and with a setting that changes what the server says of an UPDATE.
func TestStoreWithNodesAndClientFoundRows(t *testing.T) {
	storetest.Test(t, func(t *testing.T) (first, second userapi.Store) {
		config := server.Database(t)
		config.ClientFoundRows = true
		later(t, drivertest.Open(t, config))
		return nodesStore(t, config), nodesStore(t, config)
	})
}

// nodesStore is a migrated store whose connections go to the first of these that serves.
func nodesStore(t *testing.T, nodes ...*driver.Config) *mysql.Store {
	t.Helper()
	list, err := mysql.NewNodes(nodes...)
	require.NoError(t, err)
	db := sql.OpenDB(list)
	t.Cleanup(func() { db.Close() })
	st := mysql.New(db)
	require.NoError(t, st.Migrate(t.Context()))
	return st
}
