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
-- what was issued before the database began does not hold in it: a secret may outlive a database
INSERT IGNORE INTO userapi_revocations (id, kind, subject, below_epoch, written_at, expires_at)
SELECT 'beginning', 4, 'beginning', now.ms, now.ms, now.ms + 86700000
FROM (SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000 AS ms) AS now;
