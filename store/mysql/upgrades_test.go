package mysql_test

import (
	"database/sql"
	"flag"
	"io/fs"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/internal/drivertest"
	"github.com/userapi/userapi/store/mysql"
)

var update = flag.Bool("update", false, "at a release: write down what this version asks of a database")

var engine = drivertest.Engine{
	Name:       "mysql",
	Migrations: mysql.Migrations(),
	Database: func(t *testing.T) *drivertest.Connector {
		return drivertest.Wrap(t, "mysql", server.Database(t).FormatDSN())
	},
	New: func(db *sql.DB, migrations fs.FS) drivertest.Store { return mysql.Version(db, migrations) },
}

func TestUpgrades(t *testing.T) { drivertest.Upgrades(t, engine) }

func TestReleasedVersionGoesOn(t *testing.T) { drivertest.Released(t, engine, *update) }

func TestMigrationsThatBreakAreNoticed(t *testing.T) {
	drivertest.Breaking(t, engine)
}

func TestTwoVersionsAtOnce(t *testing.T) { drivertest.TwoVersions(t, engine) }

// later brings a database to a later version, as seen from this one.
func later(t *testing.T, db *sql.DB) {
	t.Helper()
	require.NoError(t, mysql.Version(db, engine.Later()).Migrate(t.Context()))
}

// What a newer version makes anew while a transaction of the host looks at the past is to be asked again.
func TestTablesThatChangeUnderATransactionThatLooksAtThePast(t *testing.T) {
	config := server.Database(t)
	st, db := migrated(t, config), drivertest.Open(t, config)
	require.NoError(t, st.InsertCustomer(t.Context(), drivertest.Customer("c")))
	tx, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	_, err = st.WithTx(tx).CustomerByID(t.Context(), "c")
	require.NoError(t, err)
	_, err = db.Exec(`ALTER TABLE userapi_roles ADD COLUMN extra BIGINT, ALGORITHM=COPY`)
	require.NoError(t, err)
	_, err = st.WithTx(tx).ListRoles(t.Context(), 0, 10)
	assert.ErrorIs(t, err, userapi.ErrUnavailable)
}

func TestMigrateWithLocksInTheWay(t *testing.T) {
	config := server.Database(t)
	c := drivertest.Wrap(t, "mysql", config.FormatDSN())
	config.Params = map[string]string{"lock_wait_timeout": "1"} // in seconds
	drivertest.LocksInTheWay(t, engine, c, drivertest.Open(t, config), time.Second)
}
