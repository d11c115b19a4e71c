package sqlite_test

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/store/sqlite"
	"github.com/userapi/userapi/store/storetest"
)

// openDB opens one more pool on the file, as another process would.
func openDB(t *testing.T, driver, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, sqlite.DSN(path))
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

func migrated(t *testing.T, db *sql.DB) *sqlite.Store {
	t.Helper()
	st := sqlite.New(db)
	require.NoError(t, st.Migrate(t.Context()))
	return st
}

func twoHandles(driver string) func(t *testing.T) (first, second userapi.Store) {
	return func(t *testing.T) (first, second userapi.Store) {
		path := filepath.Join(t.TempDir(), "users.db")
		return migrated(t, openDB(t, driver, path)), migrated(t, openDB(t, driver, path))
	}
}

func TestStore(t *testing.T) {
	storetest.Test(t, twoHandles("sqlite"))
}

// Nothing takes a second connection while it holds one. Where there is a C compiler it is the other driver's turn: under the
// race detector it is ten times as fast. And on the tables of a later version.
func TestStoreOnOneConnection(t *testing.T) {
	driver := "sqlite"
	if hasDriver("sqlite3") {
		driver = "sqlite3"
	}
	storetest.Test(t, func(t *testing.T) (first, second userapi.Store) {
		db := openDB(t, driver, filepath.Join(t.TempDir(), "users.db"))
		db.SetMaxOpenConns(1)
		later(t, db)
		st := migrated(t, db)
		return st, st
	})
}
