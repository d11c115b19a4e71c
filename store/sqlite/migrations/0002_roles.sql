CREATE TABLE IF NOT EXISTS userapi_roles (
	id      TEXT    NOT NULL PRIMARY KEY,
	code    TEXT    NOT NULL UNIQUE,
	name    TEXT    NOT NULL,
	version INTEGER NOT NULL
);
