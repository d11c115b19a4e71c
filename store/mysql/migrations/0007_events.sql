-- by_user: what is kept about a user, and a page of it; by_customer: a page of a customer's trail.
CREATE TABLE IF NOT EXISTS userapi_events (
	id          VARBINARY(64)   NOT NULL PRIMARY KEY,
	happened_at BIGINT          NOT NULL,
	kind        VARBINARY(64)   NOT NULL,
	actor_kind  VARBINARY(32)   NOT NULL,
	actor_id    VARBINARY(64)   NOT NULL,
	actor_from  VARBINARY(64)   NOT NULL,
	session_id  VARBINARY(64)   NOT NULL,
	key_id      VARBINARY(64)   NOT NULL,
	user_id     VARBINARY(64)   NOT NULL,
	customer_id VARBINARY(64)   NOT NULL,
	address     VARBINARY(255)  NOT NULL,
	user_agent  VARBINARY(512)  NOT NULL,
	detail      VARBINARY(1024) NOT NULL,
	KEY userapi_events_by_user (user_id, id, kind, customer_id),
	KEY userapi_events_by_customer (customer_id, id, kind)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;
