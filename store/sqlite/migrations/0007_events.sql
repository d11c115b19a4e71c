CREATE TABLE IF NOT EXISTS userapi_events (
	id          TEXT    NOT NULL PRIMARY KEY,
	happened_at INTEGER NOT NULL,
	kind        TEXT    NOT NULL,
	actor_kind  TEXT    NOT NULL,
	actor_id    TEXT    NOT NULL,
	session_id  TEXT    NOT NULL,
	key_id      TEXT    NOT NULL,
	user_id     TEXT    NOT NULL,
	customer_id TEXT    NOT NULL,
	address     TEXT    NOT NULL,
	user_agent  TEXT    NOT NULL,
	detail      TEXT    NOT NULL
);
-- what is kept about a user
CREATE INDEX IF NOT EXISTS userapi_events_by_user ON userapi_events (user_id, id);
