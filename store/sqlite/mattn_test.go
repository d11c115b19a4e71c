//go:build cgo

package sqlite_test

import (
	"testing"

	_ "github.com/mattn/go-sqlite3"

	"github.com/userapi/userapi/store/storetest"
)

func TestStoreOnMattn(t *testing.T) {
	storetest.Test(t, twoHandles("sqlite3"))
}
