package postgres_test

import (
	"database/sql"
	"flag"
	"io/fs"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi/internal/drivertest"
	"github.com/userapi/userapi/store/postgres"
)

var update = flag.Bool("update", false, "at a release: write down what this version asks of a database")

var engine = drivertest.Engine{
	Name:       "postgres",
	Migrations: postgres.Migrations(),
	Database: func(t *testing.T) *drivertest.Connector {
		return drivertest.Wrap(t, "pgx", server.Database(t))
	},
	New: func(db *sql.DB, migrations fs.FS) drivertest.Store { return postgres.Version(db, migrations) },
	Explain: func(db *sql.DB, s drivertest.Statement) []string { // no statement names an index, so none fails without it
		_, faults, err := explain(db, s)
		if err != nil {
			return nil
		}
		return faults
	},
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
	require.NoError(t, postgres.Version(db, engine.Later()).Migrate(t.Context()))
}

func TestMigrateWithLocksInTheWay(t *testing.T) {
	url := server.Database(t)
	drivertest.LocksInTheWay(t, engine, drivertest.Wrap(t, "pgx", url), open(t, url+"&lock_timeout=100"), 100*time.Millisecond)
}
