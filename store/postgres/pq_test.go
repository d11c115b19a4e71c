package postgres_test

import (
	"testing"

	_ "github.com/lib/pq"

	"github.com/userapi/userapi/store/storetest"
)

// The other driver has its own way with bytes, errors and connections that break.
func TestStoreOnPQ(t *testing.T) {
	storetest.Test(t, twoPools("postgres", ""))
}
