CREATE TABLE IF NOT EXISTS userapi_customers (
	id      TEXT    NOT NULL PRIMARY KEY,
	name    TEXT    NOT NULL,
	quota   INTEGER NOT NULL,
	version INTEGER NOT NULL
);
