CREATE TABLE IF NOT EXISTS userapi_credentials (
	kind     TEXT COLLATE "C" NOT NULL,
	cred_key TEXT COLLATE "C" NOT NULL,
	user_id  TEXT COLLATE "C" NOT NULL,
	data     BYTEA            NOT NULL,
	version  BIGINT           NOT NULL,
	PRIMARY KEY (kind, cred_key)
);
-- the credentials of a user
CREATE INDEX IF NOT EXISTS userapi_credentials_by_user ON userapi_credentials (user_id, kind, cred_key);
