CREATE TABLE IF NOT EXISTS userapi_customers (
	id      TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	name    TEXT COLLATE "C" NOT NULL,
	quota   BIGINT           NOT NULL,
	version BIGINT           NOT NULL
);
