package mysql_test

import (
	"database/sql"
	"io/fs"
	"os"
	"slices"
	"sync/atomic"
	"testing"

	driver "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/internal/drivertest"
	"github.com/userapi/userapi/store/mysql"
	"github.com/userapi/userapi/store/storetest"
)

// clusters says that the tests which start a Galera cluster are to run: make cluster-test.
const clusters = "USERAPI_TEST_CLUSTER"

func startCluster(t *testing.T) *drivertest.Cluster {
	t.Helper()
	if os.Getenv(clusters) == "" {
		t.Skip(clusters + " is not set")
	}
	c, err := drivertest.NewCluster(3)
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	return c
}

// What rests on a lock or a snapshot alone passes on one server, and fails here.
func TestClusterStore(t *testing.T) {
	c := startCluster(t)
	var turn atomic.Int64
	storetest.Test(t, func(t *testing.T) (userapi.Store, userapi.Store) {
		list := c.Database(t)
		first := int(turn.Add(1)) % 3
		list = slices.Concat(list[first:], list[:first])
		return nodesStore(t, list...), nodesStore(t, list[1], list[2], list[0])
	})
}

// One node's callers go on while a newer version migrates at another: every node alters its tables then, and what was begun there is aborted.
func TestClusterTwoVersions(t *testing.T) {
	c := startCluster(t)
	list := c.Database(t)
	at, other := list[0], list[1]
	for _, config := range []*driver.Config{at, other} {
		config.Params = map[string]string{"wsrep_sync_wait": "15"}
	}
	e := engine
	e.Database = func(t *testing.T) *drivertest.Connector { return drivertest.Wrap(t, "mysql", at.FormatDSN()) }
	e.New = func(db *sql.DB, migrations fs.FS) drivertest.Store {
		if names, _ := fs.Glob(migrations, "9*.sql"); len(names) > 0 {
			db = drivertest.Open(t, other)
		}
		return mysql.Version(db, migrations)
	}
	drivertest.TwoVersions(t, e)
}
