CREATE TABLE IF NOT EXISTS userapi_memberships (
	user_id     TEXT NOT NULL,
	resource    TEXT NOT NULL,
	resource_id TEXT NOT NULL,
	level       TEXT NOT NULL,
	PRIMARY KEY (user_id, resource, resource_id)
) WITHOUT ROWID;
-- the members of a resource
CREATE INDEX IF NOT EXISTS userapi_memberships_by_resource ON userapi_memberships (resource, resource_id, user_id);
