-- name_key: one name for each key of a user. by_user: the keys of a user, oldest first. active: those that are not inactive
-- yet.
CREATE TABLE IF NOT EXISTS userapi_keys (
	id           VARBINARY(64)   NOT NULL PRIMARY KEY,
	user_id      VARBINARY(64)   NOT NULL,
	name         VARBINARY(255)  NOT NULL,
	name_key     VARBINARY(1024) NOT NULL,
	prefix       VARBINARY(64)   NOT NULL,
	hash         VARBINARY(64)   NOT NULL,
	scopes       VARBINARY(2560) NOT NULL,
	active       TINYINT         NOT NULL,
	expires_at   BIGINT          NULL,
	created_at   BIGINT          NOT NULL,
	last_used_at BIGINT          NULL,
	version      BIGINT          NOT NULL,
	UNIQUE KEY prefix (prefix),
	UNIQUE KEY name_key (name_key, user_id),
	KEY userapi_keys_by_user (user_id, created_at, id),
	KEY userapi_keys_active (active, id)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;
