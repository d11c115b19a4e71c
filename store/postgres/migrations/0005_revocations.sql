CREATE TABLE IF NOT EXISTS userapi_revocations (
	id          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	kind        SMALLINT         NOT NULL,
	subject     TEXT COLLATE "C" NOT NULL,
	below_epoch BIGINT           NOT NULL,
	written_at  BIGINT           NOT NULL,
	expires_at  BIGINT           NOT NULL
);
-- what is new
CREATE INDEX IF NOT EXISTS userapi_revocations_by_time ON userapi_revocations (written_at);
-- what lives, what has expired
CREATE INDEX IF NOT EXISTS userapi_revocations_by_end ON userapi_revocations (expires_at);
-- what was issued before the database began does not hold in it: a secret may outlive a database
INSERT INTO userapi_revocations (id, kind, subject, below_epoch, written_at, expires_at)
SELECT 'beginning', 4, 'beginning', ms, ms, ms + 86700000 FROM (SELECT FLOOR(EXTRACT(EPOCH FROM statement_timestamp()) * 1000)::BIGINT AS ms) AS now
ON CONFLICT (id) DO NOTHING;
