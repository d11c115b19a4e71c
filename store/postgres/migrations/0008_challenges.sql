-- replaced: the id of the challenge that this one took the place of.
CREATE TABLE IF NOT EXISTS userapi_challenges (
	purpose    TEXT COLLATE "C" NOT NULL,
	subject    TEXT COLLATE "C" NOT NULL,
	id         TEXT COLLATE "C" NOT NULL,
	replaced   TEXT COLLATE "C" NOT NULL,
	user_id    TEXT COLLATE "C" NOT NULL,
	target     TEXT COLLATE "C" NOT NULL,
	display    TEXT COLLATE "C" NOT NULL,
	mac        TEXT COLLATE "C" NOT NULL,
	tries      BIGINT           NOT NULL,
	max_tries  BIGINT           NOT NULL,
	expires_at BIGINT           NOT NULL,
	PRIMARY KEY (purpose, subject)
);
-- what a link names
CREATE UNIQUE INDEX IF NOT EXISTS userapi_challenges_by_id ON userapi_challenges (id);
-- the challenges of a user
CREATE INDEX IF NOT EXISTS userapi_challenges_by_user ON userapi_challenges (user_id, purpose);
-- what has expired
CREATE INDEX IF NOT EXISTS userapi_challenges_by_end ON userapi_challenges (expires_at);
