CREATE TABLE IF NOT EXISTS userapi_migrations (
	id         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	checksum   TEXT COLLATE "C" NOT NULL,
	applied_at BIGINT           NOT NULL
);
CREATE TABLE IF NOT EXISTS userapi_migration_lease (
	id         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	owner      TEXT COLLATE "C" NOT NULL,
	expires_at BIGINT           NOT NULL,
	version    BIGINT           NOT NULL
);
