package sqlite_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/internal/drivertest"
	"github.com/userapi/userapi/store/sqlite"
)

func freshFile(t *testing.T) drivertest.Handle {
	path := filepath.Join(t.TempDir(), "users.db")
	return func() (drivertest.Store, *sql.DB) {
		db := openDB(t, "sqlite", path)
		return sqlite.New(db), db
	}
}

func TestMigrations(t *testing.T) { drivertest.Migrations(t, freshFile) }

func TestTransactions(t *testing.T) { drivertest.Transactions(t, freshFile) }

func TestHostTransactions(t *testing.T) { drivertest.HostTransactions(t, freshFile) }

func TestErasure(t *testing.T) { drivertest.Erasure(t, freshFile) }

func TestDSN(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a ?b#c%20d&e.db")
	for _, driver := range []string{"sqlite", "sqlite3"} {
		if !hasDriver(driver) {
			continue
		}
		t.Run(driver, func(t *testing.T) {
			db := openDB(t, driver, path)
			migrated(t, db)
			for pragma, wanted := range map[string]string{"busy_timeout": "5000", "foreign_keys": "1", "journal_mode": "wal"} {
				var got string
				require.NoError(t, db.QueryRow("PRAGMA "+pragma).Scan(&got))
				assert.Equal(t, wanted, got, pragma)
			}
			_, err := os.Stat(path)
			assert.NoError(t, err, "the file has the name that was given")

			// A transaction of the host locks at once.
			tx, err := db.Begin()
			require.NoError(t, err)
			defer tx.Rollback()
			other := openDB(t, driver, path)
			_, err = other.Exec("PRAGMA busy_timeout = 0; UPDATE userapi_customers SET version = 1")
			assert.ErrorContains(t, err, "locked")
		})
	}
}

func hasDriver(name string) bool {
	for _, d := range sql.Drivers() {
		if d == name {
			return true
		}
	}
	return false
}

func TestPooledMemoryIsRefused(t *testing.T) {
	for _, dsn := range []string{":memory:", "file::memory:", sqlite.DSN(":memory:"), "file:x?mode=memory&cache=shared"} {
		db, err := sql.Open("sqlite", dsn)
		require.NoError(t, err)
		defer db.Close()
		st := sqlite.New(db)
		assert.ErrorContains(t, st.Migrate(t.Context()), "SetMaxOpenConns(1)", dsn)
		db.SetMaxOpenConns(1)
		assert.NoError(t, st.Migrate(t.Context()), dsn)
		assert.NoError(t, st.InsertCustomer(t.Context(), drivertest.Customer("c")), dsn)
	}
}

// A host may open the file without any of DSN's settings.
func TestPlainFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.db")
	var stores []*sqlite.Store
	for range 2 {
		db, err := sql.Open("sqlite", path)
		require.NoError(t, err)
		defer db.Close()
		stores = append(stores, migrated(t, db))
	}
	writeFromAll(t, stores, 20)
}

func writeFromAll(t *testing.T, stores []*sqlite.Store, each int) {
	t.Helper()
	require.NoError(t, stores[0].InsertCustomer(t.Context(), drivertest.Customer("c")))
	var wg sync.WaitGroup
	for i, st := range stores {
		for j := range each {
			wg.Go(func() {
				id := fmt.Sprintf("user-%d-%d", i, j)
				assert.NoError(t, st.InsertUser(t.Context(), userapi.UserInsert{Account: drivertest.User(id, "c")}))
				_, err := st.AccountByID(t.Context(), userapi.Scope{Customer: "c"}, id)
				assert.NoError(t, err)
			})
		}
	}
	wg.Wait()
	users, err := stores[0].ListUsers(t.Context(), userapi.UserFilter{Scope: userapi.Scope{Customer: "c"}, Limit: 1000})
	require.NoError(t, err)
	assert.Len(t, users, each*len(stores))
}

// Another process is this test again, told by its environment what to do.
func TestTwoProcesses(t *testing.T) {
	const each = 40
	if path := os.Getenv("USERAPI_TEST_SQLITE_CHILD"); path != "" {
		writeAsProcess(t, path, os.Getenv("USERAPI_TEST_SQLITE_NAME"), each)
		return
	}
	path := filepath.Join(t.TempDir(), "users.db")
	st := migrated(t, openDB(t, "sqlite", path))
	require.NoError(t, st.InsertCustomer(t.Context(), drivertest.Customer("c")))
	var wg sync.WaitGroup
	for _, name := range []string{"one", "two"} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestTwoProcesses$")
		cmd.Env = append(os.Environ(), "USERAPI_TEST_SQLITE_CHILD="+path, "USERAPI_TEST_SQLITE_NAME="+name)
		wg.Go(func() {
			out, err := cmd.CombinedOutput()
			assert.NoError(t, err, string(out))
		})
	}
	writeAsProcess(t, path, "three", each)
	wg.Wait()
	users, err := st.ListUsers(t.Context(), userapi.UserFilter{Scope: userapi.Scope{Customer: "c"}, Limit: 1000})
	require.NoError(t, err)
	assert.Len(t, users, 3*each)
}

func writeAsProcess(t *testing.T, path, name string, n int) {
	st := migrated(t, openDB(t, "sqlite", path))
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			a := drivertest.User(fmt.Sprintf("%s-%d", name, i), "c")
			assert.NoError(t, st.InsertUser(t.Context(), userapi.UserInsert{Account: a}))
		})
	}
	wg.Wait()
}

// Who waits for a lock that another process keeps gets an answer when the own deadline ends, and leaves nothing behind.
func TestLockedByAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.db")
	db := openDB(t, "sqlite", path)
	st := migrated(t, db)
	other := openDB(t, "sqlite", path)
	tx, err := other.Begin()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	err = st.InsertCustomer(ctx, drivertest.Customer("c"))
	require.ErrorIs(t, err, userapi.ErrUnavailable)
	assert.Less(t, time.Since(began), time.Second, "the file's own 5 s are not waited for")
	_, err = st.CustomerByID(t.Context(), "c")
	require.ErrorIs(t, err, userapi.ErrNotFound, "readers do not wait for writers")
	require.NoError(t, tx.Rollback())
	require.NoError(t, st.InsertCustomer(t.Context(), drivertest.Customer("c")))
}

func TestClosedDatabase(t *testing.T) {
	db := openDB(t, "sqlite", filepath.Join(t.TempDir(), "users.db"))
	st := migrated(t, db)
	require.NoError(t, db.Close())
	assert.ErrorIs(t, st.Ping(t.Context()), userapi.ErrUnavailable)
	assert.ErrorIs(t, st.InsertCustomer(t.Context(), drivertest.Customer("c")), userapi.ErrUnavailable)
}

// A statement that is cut short by the caller's end rolls back, and its connection goes on.
func TestCancelledWrites(t *testing.T) {
	db := openDB(t, "sqlite", filepath.Join(t.TempDir(), "users.db"))
	db.SetMaxOpenConns(2)
	st := migrated(t, db)
	for i := range 200 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*5*time.Microsecond)
		id := fmt.Sprint("c", i)
		err := st.InsertCustomer(ctx, drivertest.Customer(id))
		cancel()
		_, found := st.CustomerByID(t.Context(), id)
		if err == nil {
			require.NoError(t, found)
		} else {
			require.ErrorIs(t, err, userapi.ErrUnavailable)
			require.ErrorIs(t, found, userapi.ErrNotFound)
		}
	}
	assert.Zero(t, db.Stats().InUse)
}

func TestLoginStatements(t *testing.T) {
	c := drivertest.Wrap(t, "sqlite", sqlite.DSN(filepath.Join(t.TempDir(), "users.db")))
	drivertest.LoginStatements(t, migrated(t, c.Pool(t)), c, 6)
}

func TestStatementsUseAnIndex(t *testing.T) {
	c := drivertest.Wrap(t, "sqlite", sqlite.DSN(filepath.Join(t.TempDir(), "users.db")))
	db := c.Pool(t)
	drivertest.Plans(t, migrated(t, db), db, c, "ANALYZE", func(s drivertest.Statement) (plan string, faults []string) {
		rows, err := db.Query("EXPLAIN QUERY PLAN "+s.Query, s.Args...)
		require.NoError(t, err, s.Query)
		defer rows.Close()
		for rows.Next() {
			var id, parent, unused int
			var step string
			require.NoError(t, rows.Scan(&id, &parent, &unused, &step))
			plan += step + "\n"
			switch table, scans := strings.CutPrefix(step, "SCAN "); {
			case scans && !strings.HasPrefix(table, "page") && !strings.HasPrefix(table, "part"), // what was found already
				strings.Contains(step, "AUTOMATIC"), strings.Contains(step, "ANY("):
				faults = append(faults, drivertest.Scans)
			case strings.Contains(step, "TEMP B-TREE"):
				faults = append(faults, drivertest.Sorts)
			case strings.Contains(s.Query, "u.id > ?") && strings.HasSuffix(step, "(customer_id=?)"):
				faults = append(faults, drivertest.Walks)
			}
		}
		return plan, faults
	})
}
