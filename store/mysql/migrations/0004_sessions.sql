-- by_user: the sessions of a user, newest first. by_end: what has expired. by_seen: what is idle.
-- key_count: grows with each API key or credential that is made or changed in the session, so that this conflicts with its end.
CREATE TABLE IF NOT EXISTS userapi_sessions (
	id           VARBINARY(64)  NOT NULL PRIMARY KEY,
	user_id      VARBINARY(64)  NOT NULL,
	created_at   BIGINT         NOT NULL,
	last_seen_at BIGINT         NOT NULL,
	expires_at   BIGINT         NOT NULL,
	auth_time    BIGINT         NOT NULL,
	methods      VARBINARY(255) NOT NULL,
	address      VARBINARY(255) NOT NULL,
	user_agent   VARBINARY(512) NOT NULL,
	step         VARBINARY(32)  NOT NULL,
	counter      BIGINT         NOT NULL,
	rotated_at   BIGINT         NOT NULL,
	key_count    BIGINT         NOT NULL DEFAULT 0,
	KEY userapi_sessions_by_user (user_id, created_at, id),
	KEY userapi_sessions_by_end (expires_at),
	KEY userapi_sessions_by_seen (last_seen_at)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;
