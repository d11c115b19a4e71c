-- replaced: the id of the challenge that this one took the place of.
CREATE TABLE IF NOT EXISTS userapi_challenges (
	purpose    TEXT    NOT NULL,
	subject    TEXT    NOT NULL,
	id         TEXT    NOT NULL,
	replaced   TEXT    NOT NULL,
	user_id    TEXT    NOT NULL,
	target     TEXT    NOT NULL,
	display    TEXT    NOT NULL,
	mac        TEXT    NOT NULL,
	tries      INTEGER NOT NULL,
	max_tries  INTEGER NOT NULL,
	expires_at INTEGER NOT NULL,
	PRIMARY KEY (purpose, subject)
) WITHOUT ROWID;
-- what a link names
CREATE UNIQUE INDEX IF NOT EXISTS userapi_challenges_by_id ON userapi_challenges (id);
-- the challenges of a user
CREATE INDEX IF NOT EXISTS userapi_challenges_by_user ON userapi_challenges (user_id, purpose);
-- what has expired
CREATE INDEX IF NOT EXISTS userapi_challenges_by_end ON userapi_challenges (expires_at);
