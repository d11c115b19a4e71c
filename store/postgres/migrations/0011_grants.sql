CREATE TABLE IF NOT EXISTS userapi_grants (
	user_id    TEXT COLLATE "C" NOT NULL,
	name       TEXT COLLATE "C" NOT NULL,
	value      BIGINT           NOT NULL,
	expires_at BIGINT,
	PRIMARY KEY (user_id, name)
);
