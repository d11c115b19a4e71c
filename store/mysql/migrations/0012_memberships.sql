-- by_resource: the members of a resource.
CREATE TABLE IF NOT EXISTS userapi_memberships (
	user_id     VARBINARY(64) NOT NULL,
	resource    VARBINARY(64) NOT NULL,
	resource_id VARBINARY(64) NOT NULL,
	level       VARBINARY(64) NOT NULL,
	PRIMARY KEY (user_id, resource, resource_id),
	KEY userapi_memberships_by_resource (resource, resource_id, user_id)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;
