-- by_end: what has expired.
CREATE TABLE IF NOT EXISTS userapi_limits (
	limit_key  VARBINARY(128) NOT NULL PRIMARY KEY,
	hits       BIGINT         NOT NULL,
	streak     BIGINT         NOT NULL,
	ends_at    BIGINT         NOT NULL,
	kept_until BIGINT         NOT NULL,
	KEY userapi_limits_by_end (kept_until)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;
