package httpadapter

import (
	"github.com/userapi/userapi"
)

type roleOut struct {
	ID   string `json:"id"`
	Code string `json:"code"`
	Name string `json:"name"`
}

func rolesOf(roles []userapi.Role) []roleOut {
	out := make([]roleOut, len(roles))
	for i, r := range roles {
		out[i] = roleOut(r)
	}
	return out
}

func getUserRoles(c *call) error {
	user, err := c.api.Users.ByID(c.r.Context(), c.actor, c.path["id"])
	if err != nil {
		return err
	}
	return c.answer(rolesOf(user.Roles))
}

// changeUserRoles answers with the new set. Who changes their own roles gets new tokens in the cookies alone, since a
// list has no room for them; elsewhere a refresh gives them.
func changeUserRoles(c *call) error {
	body, err := c.document('[')
	if err != nil {
		return err
	}
	refs, wrong := readRoles(body, true)
	if wrong != "" {
		return userapi.ErrInvalid.Field("roles", wrong)
	}
	user, tokens, err := c.api.Users.Change(c.r.Context(), c.actor, c.path["id"], userapi.UserChange{Roles: &refs})
	if err != nil {
		return err
	}
	if !tokens.IsZero() {
		if _, err := c.deliver(tokens); err != nil {
			return err
		}
	}
	return c.answer(rolesOf(user.Roles))
}

func listRoles(c *call) error {
	q := c.args()
	limit, offset := q.integer("limit", 1, 100, 20), q.integer("offset", 0, 1<<31-1, 0)
	if err := q.err(); err != nil {
		return err
	}
	page, err := c.api.Roles.List(c.r.Context(), c.actor, offset, limit)
	if err != nil {
		return err
	}
	return c.answer(struct {
		Roles   []roleOut `json:"roles"`
		HasNext bool      `json:"has_next"`
	}{rolesOf(page.Roles), page.HasNext})
}

func createRole(c *call) error {
	var code string
	var name *string
	if err := c.decode(required(text("code", &code)), optional("name", &name)); err != nil {
		return err
	}
	role, err := c.api.Roles.Create(c.r.Context(), c.actor, userapi.Role{Code: code, Name: value(name)})
	if err != nil {
		return err
	}
	return c.answer(roleOut(role))
}

func getRole(c *call) error {
	role, err := c.api.Roles.ByCode(c.r.Context(), c.actor, c.path["code"])
	if err != nil {
		return err
	}
	return c.answer(roleOut(role))
}

func renameRole(c *call) error {
	var name string
	if err := c.decode(required(text("name", &name))); err != nil {
		return err
	}
	role, err := c.api.Roles.Rename(c.r.Context(), c.actor, c.path["code"], name)
	if err != nil {
		return err
	}
	return c.answer(roleOut(role))
}

func deleteRole(c *call) error {
	if err := c.api.Roles.Delete(c.r.Context(), c.actor, c.path["code"]); err != nil {
		return err
	}
	return c.done()
}
