CREATE TABLE IF NOT EXISTS userapi_keys (
	id           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	user_id      TEXT COLLATE "C" NOT NULL,
	name         TEXT COLLATE "C" NOT NULL,
	name_key     TEXT COLLATE "C" NOT NULL,
	prefix       TEXT COLLATE "C" NOT NULL CONSTRAINT userapi_keys_unique_prefix UNIQUE,
	hash         TEXT COLLATE "C" NOT NULL,
	scopes       TEXT COLLATE "C" NOT NULL,
	active       SMALLINT         NOT NULL,
	expires_at   BIGINT,
	created_at   BIGINT           NOT NULL,
	last_used_at BIGINT,
	version      BIGINT           NOT NULL
);
-- one name for each key of a user
CREATE UNIQUE INDEX IF NOT EXISTS userapi_keys_unique_name_key ON userapi_keys (name_key, user_id);
-- the keys of a user, oldest first
CREATE INDEX IF NOT EXISTS userapi_keys_by_user ON userapi_keys (user_id, created_at, id);
-- those that are not inactive yet
CREATE INDEX IF NOT EXISTS userapi_keys_active ON userapi_keys (active, id);
