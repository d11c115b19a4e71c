CREATE TABLE IF NOT EXISTS userapi_keys (
	id           TEXT    NOT NULL PRIMARY KEY,
	user_id      TEXT    NOT NULL,
	name         TEXT    NOT NULL,
	name_key     TEXT    NOT NULL,
	prefix       TEXT    NOT NULL UNIQUE,
	hash         TEXT    NOT NULL,
	scopes       TEXT    NOT NULL,
	active       INTEGER NOT NULL,
	expires_at   INTEGER,
	created_at   INTEGER NOT NULL,
	last_used_at INTEGER,
	version      INTEGER NOT NULL
);
-- one name for each key of a user
CREATE UNIQUE INDEX IF NOT EXISTS userapi_keys_by_name ON userapi_keys (name_key, user_id);
-- the keys of a user, oldest first
CREATE INDEX IF NOT EXISTS userapi_keys_by_user ON userapi_keys (user_id, created_at, id);
-- those that are not inactive yet
CREATE INDEX IF NOT EXISTS userapi_keys_active ON userapi_keys (active, id);
