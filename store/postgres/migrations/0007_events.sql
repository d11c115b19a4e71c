CREATE TABLE IF NOT EXISTS userapi_events (
	id          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	happened_at BIGINT           NOT NULL,
	kind        TEXT COLLATE "C" NOT NULL,
	actor_kind  TEXT COLLATE "C" NOT NULL,
	actor_id    TEXT COLLATE "C" NOT NULL,
	actor_from  TEXT COLLATE "C" NOT NULL,
	session_id  TEXT COLLATE "C" NOT NULL,
	key_id      TEXT COLLATE "C" NOT NULL,
	user_id     TEXT COLLATE "C" NOT NULL,
	customer_id TEXT COLLATE "C" NOT NULL,
	address     TEXT COLLATE "C" NOT NULL,
	user_agent  TEXT COLLATE "C" NOT NULL,
	detail      TEXT COLLATE "C" NOT NULL
);
-- what is kept about a user; a page of it
CREATE INDEX IF NOT EXISTS userapi_events_by_user ON userapi_events (user_id, id, kind, customer_id);
-- a page of a customer's trail
CREATE INDEX IF NOT EXISTS userapi_events_by_customer ON userapi_events (customer_id, id, kind);
