-- lease: names the call that gave the message out last. due_at: by the database's clock.
CREATE TABLE IF NOT EXISTS userapi_outbox (
	id           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	challenge_id TEXT COLLATE "C" NOT NULL,
	user_id      TEXT COLLATE "C" NOT NULL,
	sealed       BYTEA            NOT NULL,
	attempt      BIGINT           NOT NULL,
	lease        TEXT COLLATE "C" NOT NULL,
	due_at       BIGINT           NOT NULL,
	expires_at   BIGINT           NOT NULL
);
-- what is due, the longest due first
CREATE INDEX IF NOT EXISTS userapi_outbox_by_due ON userapi_outbox (due_at, id);
-- the messages of a challenge
CREATE INDEX IF NOT EXISTS userapi_outbox_by_challenge ON userapi_outbox (challenge_id);
-- the messages to a user
CREATE INDEX IF NOT EXISTS userapi_outbox_by_user ON userapi_outbox (user_id);
-- what has expired
CREATE INDEX IF NOT EXISTS userapi_outbox_by_end ON userapi_outbox (expires_at);
