CREATE TABLE IF NOT EXISTS userapi_grants (
	user_id    TEXT    NOT NULL,
	name       TEXT    NOT NULL,
	value      INTEGER NOT NULL,
	expires_at INTEGER,
	PRIMARY KEY (user_id, name)
) WITHOUT ROWID;
