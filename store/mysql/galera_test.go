package mysql_test

import (
	"os"
	"strings"
	"testing"

	driver "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/internal/drivertest"
	"github.com/userapi/userapi/store/storetest"
)

// galera names two nodes of a cluster, by data source names with a space between, whose user may create databases.
const galera = "USERAPI_TEST_GALERA"

// What rests on a lock or a snapshot alone passes on one server, and fails here.
func TestStoreOnTwoNodes(t *testing.T) {
	nodes := strings.Fields(os.Getenv(galera))
	if len(nodes) != 2 {
		t.Skip(galera + " names no two nodes of a cluster")
	}
	t.Setenv(drivertest.Env, nodes[0])
	first, err := drivertest.Shared()
	require.NoError(t, err)
	second, err := driver.ParseDSN(nodes[1])
	require.NoError(t, err)
	storetest.Test(t, func(t *testing.T) (userapi.Store, userapi.Store) {
		one := first.Database(t)
		// A node waits until it has what the others committed before it reads, as storetest.Test asks.
		one.Params = map[string]string{"wsrep_sync_wait": "15"}
		two := one.Clone()
		two.Addr, two.User, two.Passwd = second.Addr, second.User, second.Passwd
		return migrated(t, one), migrated(t, two)
	})
}
