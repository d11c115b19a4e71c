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
-- what was issued before the database began does not hold in it: a secret may outlive a database
INSERT OR IGNORE INTO userapi_revocations (id, kind, subject, below_epoch, written_at, expires_at)
SELECT 'beginning', 4, 'beginning', now, now, now + 86700000 FROM (SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) AS now);
