package httpadapter

import "github.com/userapi/userapi"

type membershipOut struct {
	Resource   string `json:"resource"`
	ResourceID string `json:"resource_id"`
	Level      string `json:"level"`
}

func plainMembership(m userapi.Membership) membershipOut {
	return membershipOut{Resource: m.Resource, ResourceID: m.ResourceID, Level: m.Level}
}

func listMemberships(c *call) error {
	q := c.args()
	limit := q.integer("limit", 1, 100, 100)
	if err := q.err(); err != nil {
		return err
	}
	page, err := c.api.Memberships.OfUser(c.r.Context(), c.actor, c.path["id"], limit, q.values["cursor"])
	if err != nil {
		return err
	}
	return c.answer(struct {
		Memberships []membershipOut `json:"memberships"`
		Cursor      string          `json:"cursor,omitempty"`
	}{each(page.Memberships, plainMembership), page.Cursor})
}

func getMembership(c *call) error {
	m, err := c.api.Memberships.Get(c.r.Context(), c.actor, c.path["id"], c.path["resource"], c.path["rid"])
	if err != nil {
		return err
	}
	return c.answer(plainMembership(m))
}

func setMembership(c *call) error {
	m := userapi.Membership{UserID: c.path["id"], Resource: c.path["resource"], ResourceID: c.path["rid"]}
	if err := c.decode(required(text("level", &m.Level))); err != nil {
		return err
	}
	m, err := c.api.Memberships.Set(c.r.Context(), c.actor, m)
	if err != nil {
		return err
	}
	return c.answer(plainMembership(m))
}

func removeMembership(c *call) error {
	if err := c.api.Memberships.Remove(c.r.Context(), c.actor, c.path["id"], c.path["resource"], c.path["rid"]); err != nil {
		return err
	}
	return c.done()
}
