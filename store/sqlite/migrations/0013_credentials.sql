CREATE TABLE IF NOT EXISTS userapi_credentials (
	kind     TEXT    NOT NULL,
	cred_key TEXT    NOT NULL,
	user_id  TEXT    NOT NULL,
	data     BLOB    NOT NULL,
	version  INTEGER NOT NULL,
	PRIMARY KEY (kind, cred_key)
) WITHOUT ROWID;
-- the credentials of a user
CREATE INDEX IF NOT EXISTS userapi_credentials_by_user ON userapi_credentials (user_id, kind, cred_key);
