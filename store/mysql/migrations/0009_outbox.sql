-- by_due: what is due, the longest due first. by_challenge: the messages of a challenge. by_user: the messages to a user.
-- by_end: what has expired. lease: names the call that gave the message out last. due_at: by the database's clock.
CREATE TABLE IF NOT EXISTS userapi_outbox (
	id           VARBINARY(64)    NOT NULL PRIMARY KEY,
	challenge_id VARBINARY(64)    NOT NULL,
	user_id      VARBINARY(64)    NOT NULL,
	sealed       VARBINARY(16384) NOT NULL,
	attempt      BIGINT           NOT NULL,
	lease        VARBINARY(64)    NOT NULL,
	due_at       BIGINT           NOT NULL,
	expires_at   BIGINT           NOT NULL,
	KEY userapi_outbox_by_due (due_at, id),
	KEY userapi_outbox_by_challenge (challenge_id),
	KEY userapi_outbox_by_user (user_id),
	KEY userapi_outbox_by_end (expires_at)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;
