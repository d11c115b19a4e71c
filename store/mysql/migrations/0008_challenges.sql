-- by_user: the challenges of a user. by_end: what has expired. replaced: the id of the challenge that this one took the
-- place of. An upsert locks no gap of a primary key, but may of another unique one: so purpose and subject are the first.
CREATE TABLE IF NOT EXISTS userapi_challenges (
	purpose    VARBINARY(32)   NOT NULL,
	subject    VARBINARY(64)   NOT NULL,
	id         VARBINARY(64)   NOT NULL,
	replaced   VARBINARY(64)   NOT NULL,
	user_id    VARBINARY(64)   NOT NULL,
	target     VARBINARY(254)  NOT NULL,
	display    VARBINARY(1024) NOT NULL,
	mac        VARBINARY(128)  NOT NULL,
	tries      BIGINT          NOT NULL,
	max_tries  BIGINT          NOT NULL,
	expires_at BIGINT          NOT NULL,
	PRIMARY KEY (purpose, subject),
	UNIQUE KEY userapi_challenges_by_id (id),
	KEY userapi_challenges_by_user (user_id, purpose),
	KEY userapi_challenges_by_end (expires_at)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;
