-- by_user: the credentials of a user.
CREATE TABLE IF NOT EXISTS userapi_credentials (
	kind     VARBINARY(32)   NOT NULL,
	cred_key VARBINARY(128)  NOT NULL,
	user_id  VARBINARY(64)   NOT NULL,
	data     VARBINARY(8192) NOT NULL,
	version  BIGINT          NOT NULL,
	PRIMARY KEY (kind, cred_key),
	KEY userapi_credentials_by_user (user_id, kind, cred_key)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;
