-- key_count: grows with each API key or credential that is made or changed in the session, so that this conflicts with its end.
CREATE TABLE IF NOT EXISTS userapi_sessions (
	id           TEXT    NOT NULL PRIMARY KEY,
	user_id      TEXT    NOT NULL,
	created_at   INTEGER NOT NULL,
	last_seen_at INTEGER NOT NULL,
	expires_at   INTEGER NOT NULL,
	auth_time    INTEGER NOT NULL,
	methods      TEXT    NOT NULL,
	address      TEXT    NOT NULL,
	user_agent   TEXT    NOT NULL,
	step         TEXT    NOT NULL,
	counter      INTEGER NOT NULL,
	rotated_at   INTEGER NOT NULL,
	key_count    INTEGER NOT NULL DEFAULT 0
);
-- the sessions of a user, newest first
CREATE INDEX IF NOT EXISTS userapi_sessions_by_user ON userapi_sessions (user_id, created_at, id);
-- what has expired
CREATE INDEX IF NOT EXISTS userapi_sessions_by_end ON userapi_sessions (expires_at);
-- what is idle
CREATE INDEX IF NOT EXISTS userapi_sessions_by_seen ON userapi_sessions (last_seen_at);
