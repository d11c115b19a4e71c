CREATE TABLE IF NOT EXISTS userapi_limits (
	limit_key  TEXT    NOT NULL PRIMARY KEY,
	hits       INTEGER NOT NULL,
	streak     INTEGER NOT NULL,
	ends_at    INTEGER NOT NULL,
	kept_until INTEGER NOT NULL
) WITHOUT ROWID;
-- what has expired
CREATE INDEX IF NOT EXISTS userapi_limits_by_end ON userapi_limits (kept_until);
