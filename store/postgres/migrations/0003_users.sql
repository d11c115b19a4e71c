-- pending_since: updated_at while the account is pending. login_count: grows where a change of the row has to conflict
-- with others and version must stay.
CREATE TABLE IF NOT EXISTS userapi_users (
	id             TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	customer_id    TEXT COLLATE "C" NOT NULL,
	email          TEXT COLLATE "C" NOT NULL,
	email_key      TEXT COLLATE "C" CONSTRAINT userapi_users_unique_email_key UNIQUE,
	username       TEXT COLLATE "C" NOT NULL,
	username_key   TEXT COLLATE "C" CONSTRAINT userapi_users_unique_username_key UNIQUE,
	phone          TEXT COLLATE "C" NOT NULL,
	verified_phone TEXT COLLATE "C" CONSTRAINT userapi_users_unique_verified_phone UNIQUE,
	name           TEXT COLLATE "C" NOT NULL,
	first_name     TEXT COLLATE "C" NOT NULL,
	last_name      TEXT COLLATE "C" NOT NULL,
	name_key       TEXT COLLATE "C" NOT NULL,
	active         SMALLINT         NOT NULL,
	email_verified SMALLINT         NOT NULL,
	phone_verified SMALLINT         NOT NULL,
	password_hash  TEXT COLLATE "C" NOT NULL,
	must_change    SMALLINT         NOT NULL,
	epoch          BIGINT           NOT NULL,
	version        BIGINT           NOT NULL,
	login_count    BIGINT           NOT NULL,
	last_login     BIGINT,
	created_at     BIGINT           NOT NULL,
	updated_at     BIGINT           NOT NULL,
	pending_since  BIGINT
);
-- pages ordered by id, and their substring filters
CREATE INDEX IF NOT EXISTS userapi_users_by_customer ON userapi_users (customer_id, id, email_key, name_key, active);
-- pages of a prefix, ordered by name
CREATE INDEX IF NOT EXISTS userapi_users_by_name ON userapi_users (customer_id, name_key, id, active);
-- who is in such a page by the username alone
CREATE INDEX IF NOT EXISTS userapi_users_by_username ON userapi_users (customer_id, username_key, id);
-- active users of a customer, for its quota
CREATE INDEX IF NOT EXISTS userapi_users_active ON userapi_users (customer_id, active, id);
-- who was never activated, the oldest first
CREATE INDEX IF NOT EXISTS userapi_users_pending ON userapi_users (pending_since) WHERE pending_since IS NOT NULL;
CREATE TABLE IF NOT EXISTS userapi_user_roles (
	user_id TEXT COLLATE "C" NOT NULL,
	role_id TEXT COLLATE "C" NOT NULL REFERENCES userapi_roles (id) ON DELETE RESTRICT,
	PRIMARY KEY (user_id, role_id)
);
-- who holds a role
CREATE INDEX IF NOT EXISTS userapi_user_roles_by_role ON userapi_user_roles (role_id, user_id);
