CREATE TABLE IF NOT EXISTS userapi_migrations (
	id         TEXT    NOT NULL PRIMARY KEY,
	checksum   TEXT    NOT NULL,
	applied_at INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS userapi_migration_lease (
	id         TEXT    NOT NULL PRIMARY KEY,
	owner      TEXT    NOT NULL,
	expires_at INTEGER NOT NULL,
	version    INTEGER NOT NULL
);
