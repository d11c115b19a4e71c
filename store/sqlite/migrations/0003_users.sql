-- pending_since: updated_at while the account is pending. login_count: grows where a change of the row has to conflict
-- with others and version must stay.
CREATE TABLE IF NOT EXISTS userapi_users (
	id             TEXT    NOT NULL PRIMARY KEY,
	customer_id    TEXT    NOT NULL,
	email          TEXT    NOT NULL,
	email_key      TEXT    UNIQUE,
	username       TEXT    NOT NULL,
	username_key   TEXT    UNIQUE,
	phone          TEXT    NOT NULL,
	verified_phone TEXT    UNIQUE,
	name           TEXT    NOT NULL,
	first_name     TEXT    NOT NULL,
	last_name      TEXT    NOT NULL,
	name_key       TEXT    NOT NULL,
	active         INTEGER NOT NULL,
	email_verified INTEGER NOT NULL,
	phone_verified INTEGER NOT NULL,
	password_hash  TEXT    NOT NULL,
	must_change    INTEGER NOT NULL,
	epoch          INTEGER NOT NULL,
	version        INTEGER NOT NULL,
	login_count    INTEGER NOT NULL,
	last_login     INTEGER,
	created_at     INTEGER NOT NULL,
	updated_at     INTEGER NOT NULL,
	pending_since  INTEGER
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
	user_id TEXT NOT NULL,
	role_id TEXT NOT NULL REFERENCES userapi_roles (id) ON DELETE RESTRICT,
	PRIMARY KEY (user_id, role_id)
) WITHOUT ROWID;
-- who holds a role
CREATE INDEX IF NOT EXISTS userapi_user_roles_by_role ON userapi_user_roles (role_id, user_id);
