CREATE TABLE IF NOT EXISTS userapi_limits (
	limit_key  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	hits       BIGINT           NOT NULL,
	streak     BIGINT           NOT NULL,
	ends_at    BIGINT           NOT NULL,
	kept_until BIGINT           NOT NULL
);
-- what has expired
CREATE INDEX IF NOT EXISTS userapi_limits_by_end ON userapi_limits (kept_until);
