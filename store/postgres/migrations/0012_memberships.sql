CREATE TABLE IF NOT EXISTS userapi_memberships (
	user_id     TEXT COLLATE "C" NOT NULL,
	resource    TEXT COLLATE "C" NOT NULL,
	resource_id TEXT COLLATE "C" NOT NULL,
	level       TEXT COLLATE "C" NOT NULL,
	PRIMARY KEY (user_id, resource, resource_id)
);
-- the members of a resource
CREATE INDEX IF NOT EXISTS userapi_memberships_by_resource ON userapi_memberships (resource, resource_id, user_id);
