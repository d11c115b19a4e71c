-- key_count: grows with each API key or credential that is made or changed in the session, so that this conflicts with its end.
CREATE TABLE IF NOT EXISTS userapi_sessions (
	id           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	user_id      TEXT COLLATE "C" NOT NULL,
	created_at   BIGINT           NOT NULL,
	last_seen_at BIGINT           NOT NULL,
	expires_at   BIGINT           NOT NULL,
	auth_time    BIGINT           NOT NULL,
	methods      TEXT COLLATE "C" NOT NULL,
	address      TEXT COLLATE "C" NOT NULL,
	user_agent   TEXT COLLATE "C" NOT NULL,
	step         TEXT COLLATE "C" NOT NULL,
	counter      BIGINT           NOT NULL,
	rotated_at   BIGINT           NOT NULL,
	key_count    BIGINT           NOT NULL DEFAULT 0
);
-- the sessions of a user, newest first
CREATE INDEX IF NOT EXISTS userapi_sessions_by_user ON userapi_sessions (user_id, created_at, id);
-- what has expired
CREATE INDEX IF NOT EXISTS userapi_sessions_by_end ON userapi_sessions (expires_at);
-- what is idle
CREATE INDEX IF NOT EXISTS userapi_sessions_by_seen ON userapi_sessions (last_seen_at);
