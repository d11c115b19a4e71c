CREATE TABLE IF NOT EXISTS userapi_grants (
	user_id    VARBINARY(64) NOT NULL,
	name       VARBINARY(64) NOT NULL,
	value      BIGINT        NOT NULL,
	expires_at BIGINT        NULL,
	PRIMARY KEY (user_id, name)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;
