package postgres_test

import (
	"testing"

	_ "github.com/lib/pq"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/internal/drivertest"
	"github.com/userapi/userapi/store/storetest"
)

// The other driver has its own way with bytes, errors and connections that break. And on the tables of a later version.
func TestStoreOnPQ(t *testing.T) {
	storetest.Test(t, func(t *testing.T) (first, second userapi.Store) {
		url := server.Database(t)
		later(t, open(t, url))
		return migrated(t, drivertest.OpenPostgres(t, "postgres", url)), migrated(t, drivertest.OpenPostgres(t, "postgres", url))
	})
}
