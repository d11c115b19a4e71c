CREATE TABLE IF NOT EXISTS userapi_roles (
	id      TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	code    TEXT COLLATE "C" NOT NULL CONSTRAINT userapi_roles_unique_code UNIQUE,
	name    TEXT COLLATE "C" NOT NULL,
	version BIGINT           NOT NULL
);
