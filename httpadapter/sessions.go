package httpadapter

import "github.com/userapi/userapi"

type sessionOut struct {
	ID         string `json:"id"`
	CreatedAt  string `json:"created_at"`
	LastSeenAt string `json:"last_seen_at"`
	Address    string `json:"address"`
	UserAgent  string `json:"user_agent"`
	Current    bool   `json:"current"` // the session of the credential that asks
}

func listSessions(c *call) error {
	sessions, err := c.api.Sessions.List(c.r.Context(), c.actor, c.path["id"])
	if err != nil {
		return err
	}
	return c.answer(map[string][]sessionOut{"sessions": each(sessions, c.plainSession)})
}

func (c *call) plainSession(s userapi.Session) sessionOut {
	return sessionOut{
		ID: s.ID, CreatedAt: stamp(s.CreatedAt), LastSeenAt: stamp(s.LastSeenAt), Address: s.Address, UserAgent: s.UserAgent,
		Current: s.ID == c.identity.SessionID(),
	}
}

func endSessions(c *call) error {
	if err := c.api.Sessions.EndAll(c.r.Context(), c.actor, c.path["id"]); err != nil {
		return err
	}
	if c.path["id"] == c.identity.UserID() {
		c.clearCookies(c.w)
	}
	return c.done()
}

func endSession(c *call) error {
	if err := c.api.Sessions.End(c.r.Context(), c.actor, c.path["id"], c.path["sid"]); err != nil {
		return err
	}
	if c.path["sid"] == c.identity.SessionID() {
		c.clearCookies(c.w)
	}
	return c.done()
}
