package userapi

import "time"

// Lifetimes bounds the tokens and sessions of those who hold a role; a zero field bounds nothing.
type Lifetimes struct {
	Access  time.Duration // as Config.AccessLifetime, and no longer
	Session time.Duration // as Config.SessionLifetime, and no longer
	Idle    time.Duration // as Config.SessionIdle, and no longer; at least as long as an access token lives
}

// lifetimes are those of a user: the shortest of their roles'. A role given or taken counts from the next refresh on.
func (c *core) lifetimes(u User) Lifetimes {
	lives := Lifetimes{Access: c.cfg.AccessLifetime, Session: c.cfg.SessionLifetime, Idle: c.cfg.SessionIdle}
	shorten := func(d *time.Duration, by time.Duration) {
		if by > 0 && by < *d {
			*d = by
		}
	}
	for role, bound := range c.cfg.RoleLifetimes {
		if u.HasRole(role) {
			shorten(&lives.Access, bound.Access)
			shorten(&lives.Session, bound.Session)
			shorten(&lives.Idle, bound.Idle)
		}
	}
	return lives
}
