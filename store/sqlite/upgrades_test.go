package sqlite_test

import (
	"database/sql"
	"flag"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi/internal/drivertest"
	"github.com/userapi/userapi/store/sqlite"
)

var update = flag.Bool("update", false, "at a release: write down what this version asks of a database")

var engine = drivertest.Engine{
	Name:       "sqlite",
	Migrations: sqlite.Migrations(),
	Database: func(t *testing.T) *drivertest.Connector {
		return drivertest.Wrap(t, "sqlite", sqlite.DSN(filepath.Join(t.TempDir(), "users.db")))
	},
	New: func(db *sql.DB, migrations fs.FS) drivertest.Store { return sqlite.Version(db, migrations) },
}

func TestUpgrades(t *testing.T) { drivertest.Upgrades(t, engine) }

func TestReleasedVersionGoesOn(t *testing.T) { drivertest.Released(t, engine, *update) }

// Where there is a C compiler it is the other driver's turn, which is faster under the race detector.
func TestMigrationsThatBreakAreNoticed(t *testing.T) {
	e := engine
	if hasDriver("sqlite3") {
		e.Database = func(t *testing.T) *drivertest.Connector {
			return drivertest.Wrap(t, "sqlite3", sqlite.DSN(filepath.Join(t.TempDir(), "users.db")))
		}
	}
	drivertest.Breaking(t, e)
}

func TestTwoVersionsAtOnce(t *testing.T) { drivertest.TwoVersions(t, engine) }

// later brings a database to a later version, as seen from this one.
func later(t *testing.T, db *sql.DB) {
	t.Helper()
	require.NoError(t, sqlite.Version(db, engine.Later()).Migrate(t.Context()))
}
