-- by_time: what is new. by_end: what lives, what has expired.
CREATE TABLE IF NOT EXISTS userapi_revocations (
	id          VARBINARY(64) NOT NULL PRIMARY KEY,
	kind        TINYINT       NOT NULL,
	subject     VARBINARY(64) NOT NULL,
	below_epoch BIGINT        NOT NULL,
	written_at  BIGINT        NOT NULL,
	expires_at  BIGINT        NOT NULL,
	KEY userapi_revocations_by_time (written_at),
	KEY userapi_revocations_by_end (expires_at)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;
