-- by_customer: pages ordered by id, and their substring filters. by_name, by_username:
-- pages of a prefix, ordered by name. active: the active users of a customer, for its quota. pending: who was never
-- activated, the oldest first. The keys fit the 3072 bytes that InnoDB allows.
-- pending_since: updated_at while the account is pending. login_count: grows where a change of the row has to conflict
-- with others and version must stay.
CREATE TABLE IF NOT EXISTS userapi_users (
	id             VARBINARY(64)   NOT NULL PRIMARY KEY,
	customer_id    VARBINARY(64)   NOT NULL,
	email          VARBINARY(1024) NOT NULL,
	email_key      VARBINARY(254)  NULL,
	username       VARBINARY(1024) NOT NULL,
	username_key   VARBINARY(512)  NULL,
	phone          VARBINARY(32)   NOT NULL,
	verified_phone VARBINARY(32)   NULL,
	name           VARBINARY(1024) NOT NULL,
	first_name     VARBINARY(1024) NOT NULL,
	last_name      VARBINARY(1024) NOT NULL,
	name_key       VARBINARY(2560) NOT NULL,
	active         TINYINT         NOT NULL,
	email_verified TINYINT         NOT NULL,
	phone_verified TINYINT         NOT NULL,
	password_hash  VARBINARY(1024) NOT NULL,
	must_change    TINYINT         NOT NULL,
	epoch          BIGINT          NOT NULL,
	version        BIGINT          NOT NULL,
	login_count    BIGINT          NOT NULL,
	last_login     BIGINT          NULL,
	created_at     BIGINT          NOT NULL,
	updated_at     BIGINT          NOT NULL,
	pending_since  BIGINT          NULL,
	UNIQUE KEY email_key (email_key),
	UNIQUE KEY username_key (username_key),
	UNIQUE KEY verified_phone (verified_phone),
	KEY userapi_users_by_customer (customer_id, id, email_key, name_key, active),
	KEY userapi_users_by_name (customer_id, name_key, id, active),
	KEY userapi_users_by_username (customer_id, username_key, id),
	KEY userapi_users_active (customer_id, active, id),
	KEY userapi_users_pending (pending_since)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;
-- The reference makes a role's end conflict with its being given, on every node of a cluster.
CREATE TABLE IF NOT EXISTS userapi_user_roles (
	user_id VARBINARY(64) NOT NULL,
	role_id VARBINARY(64) NOT NULL,
	PRIMARY KEY (user_id, role_id),
	KEY userapi_user_roles_by_role (role_id, user_id),
	CONSTRAINT userapi_user_roles_role FOREIGN KEY (role_id) REFERENCES userapi_roles (id) ON DELETE RESTRICT
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;
