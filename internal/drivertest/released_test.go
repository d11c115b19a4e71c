package drivertest

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAdditions(t *testing.T) {
	all := []string{"sqlite", "mysql", "postgres"}
	check := func(engine, name, text string) []string {
		return Additions(engine, fstest.MapFS{
			"0000_first.sql": {Data: []byte("CREATE TABLE IF NOT EXISTS userapi_t (id INT);\n")},
			"0014_more.sql":  {Data: []byte("-- a table; more of it\nCREATE TABLE IF NOT EXISTS userapi_more (id INT,\n\tUNIQUE KEY a (a)) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;\n")},
			name:             {Data: []byte(text)},
		})
	}
	for text, engines := range map[string][]string{
		"ALTER TABLE userapi_t ADD COLUMN IF NOT EXISTS a TEXT COLLATE \"C\";\n":                                                                                 {"postgres"},
		"ALTER TABLE userapi_t ADD COLUMN IF NOT EXISTS a SMALLINT NOT NULL DEFAULT -1":                                                                          {"postgres"},
		"ALTER TABLE userapi_t ADD COLUMN a VARBINARY(64) NULL":                                                                                                  {"sqlite", "mysql"},
		"ALTER TABLE userapi_t ADD COLUMN a VARBINARY(64) NOT NULL DEFAULT ''":                                                                                   {"sqlite", "mysql"},
		"CREATE INDEX IF NOT EXISTS userapi_i ON userapi_t (a, b) WHERE a IS NOT NULL":                                                                           {"sqlite", "postgres"},
		"CREATE INDEX userapi_i ON userapi_t (a, b)":                                                                                                             {"mysql"},
		"CREATE TABLE IF NOT EXISTS userapi_u (id INT);\nCREATE UNIQUE INDEX IF NOT EXISTS userapi_i ON userapi_u (id);\nINSERT INTO userapi_u (id) VALUES (1);": {"sqlite", "postgres"},
		"CREATE TABLE IF NOT EXISTS userapi_u (id INT REFERENCES userapi_t (id) ON DELETE CASCADE);":                                                             all,
	} {
		for _, engine := range engines {
			assert.Empty(t, check(engine, "0015_x.sql", text), engine)
		}
	}
	// What takes something away; and what an older version could not repeat, or its INSERT and DELETE would run into.
	for _, text := range []string{
		"DROP TABLE userapi_t", "DROP INDEX userapi_i", "ALTER TABLE userapi_t DROP COLUMN a", "ALTER TABLE userapi_t RENAME TO userapi_u",
		"ALTER TABLE userapi_t RENAME COLUMN a TO b", "ALTER TABLE userapi_t MODIFY a BIGINT", "ALTER TABLE userapi_t ALTER COLUMN a SET DEFAULT 1",
		"ALTER TABLE userapi_t ADD COLUMN a TEXT NOT NULL", "ALTER TABLE userapi_t ADD COLUMN a TEXT UNIQUE", "ALTER TABLE userapi_t ADD COLUMN a TEXT CHECK (a > 0)",
		"ALTER TABLE userapi_t ADD COLUMN a TEXT, DROP COLUMN b", "ALTER TABLE userapi_t ADD CONSTRAINT c UNIQUE (a)", "ALTER TABLE host_t ADD COLUMN a TEXT",
		"CREATE UNIQUE INDEX IF NOT EXISTS userapi_i ON userapi_t (a)", "CREATE UNIQUE INDEX userapi_i ON userapi_t (a)", "CREATE INDEX IF NOT EXISTS userapi_i ON userapi_t (1 / a)",
		"CREATE UNIQUE INDEX IF NOT EXISTS userapi_i ON userapi_more (id)", "CREATE TABLE IF NOT EXISTS userapi_more (id INT);\nCREATE UNIQUE INDEX userapi_i ON userapi_more (id)",
		"CREATE TABLE userapi_u (id INT)", "CREATE TABLE IF NOT EXISTS userapi_u AS SELECT 1", "CREATE TABLE IF NOT EXISTS userapi_u (id INT REFERENCES userapi_t (id))",
		"CREATE TABLE IF NOT EXISTS userapi_u (id INT REFERENCES userapi_t (id) ON DELETE RESTRICT)", "CREATE TRIGGER userapi_x BEFORE INSERT ON userapi_t BEGIN SELECT 1; END",
		"INSERT INTO userapi_t (id) VALUES (1)", "UPDATE userapi_t SET a = b", "DELETE FROM userapi_t", "SELECT 1", "VACUUM",
	} {
		for _, engine := range all {
			assert.NotEmpty(t, check(engine, "0015_x.sql", text), "%s: %s", engine, text)
			faults := check(engine, "0015_x_needs_0014.sql", text)
			assert.Empty(t, faults, "%s: %s", engine, text)
		}
	}
	for engine, text := range map[string]string{
		"postgres": "ALTER TABLE userapi_t ADD COLUMN a TEXT", "mysql": "ALTER TABLE userapi_t ADD COLUMN IF NOT EXISTS a TEXT", "sqlite": "CREATE INDEX userapi_i ON userapi_t (a)",
	} {
		faults := check(engine, "0015_x.sql", text)
		require.Len(t, faults, 1)
		assert.Contains(t, faults[0], "IF NOT EXISTS")
	}
	for _, text := range []string{"ALTER TABLE userapi_migrations ADD COLUMN a TEXT", "DROP TABLE userapi_migration_lease"} {
		assert.Contains(t, strings.Join(check("sqlite", "0015_x_needs_0014.sql", text), "\n"), "every version")
	}
	for _, name := range []string{"0014_x.sql", "15_x.sql", "0015-x.sql", "0015_x_needs_0015.sql", "0015_x_needs_0016.sql", "0015_x_needs_0013.sql", "0015_needs_14.sql", "0015_X.sql"} {
		assert.Contains(t, strings.Join(check("sqlite", name, "CREATE TABLE IF NOT EXISTS userapi_u (id INT)"), "\n"), "the name", name)
	}
}
