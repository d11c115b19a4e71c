CREATE TABLE IF NOT EXISTS userapi_revocations (
	id          TEXT    NOT NULL PRIMARY KEY,
	kind        INTEGER NOT NULL,
	subject     TEXT    NOT NULL,
	below_epoch INTEGER NOT NULL,
	written_at  INTEGER NOT NULL,
	expires_at  INTEGER NOT NULL
);
-- what is new
CREATE INDEX IF NOT EXISTS userapi_revocations_by_time ON userapi_revocations (written_at);
-- what lives, what has expired
CREATE INDEX IF NOT EXISTS userapi_revocations_by_end ON userapi_revocations (expires_at);
