CREATE TABLE IF NOT EXISTS userapi_events (
	id          TEXT    NOT NULL PRIMARY KEY,
	happened_at INTEGER NOT NULL,
	kind        TEXT    NOT NULL,
	actor_kind  TEXT    NOT NULL,
	actor_id    TEXT    NOT NULL,
	actor_from  TEXT    NOT NULL,
	session_id  TEXT    NOT NULL,
	key_id      TEXT    NOT NULL,
	user_id     TEXT    NOT NULL,
	customer_id TEXT    NOT NULL,
	address     TEXT    NOT NULL,
	user_agent  TEXT    NOT NULL,
	detail      TEXT    NOT NULL
);
-- what is kept about a user; a page of it
CREATE INDEX IF NOT EXISTS userapi_events_by_user ON userapi_events (user_id, id, kind, customer_id);
-- a page of a customer's trail
CREATE INDEX IF NOT EXISTS userapi_events_by_customer ON userapi_events (customer_id, id, kind);
