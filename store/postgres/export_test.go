package postgres

import (
	"database/sql"
	"io/fs"

	"github.com/userapi/userapi/store/internal/sqlstore"
)

// Version is New of another version of this package, whose migrations are these.
func Version(db *sql.DB, migrations fs.FS) *Store {
	d := dialect
	d.Migrations = migrations
	return &Store{sqlstore.New(db, d)}
}
