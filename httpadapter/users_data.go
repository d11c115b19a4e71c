package httpadapter

import "github.com/userapi/userapi"

// dataOut is what is kept about a user, but for the audit trail.
type dataOut struct {
	User        userOut         `json:"user"`
	Sessions    []sessionOut    `json:"sessions"`
	Keys        []keyOut        `json:"keys"`
	Memberships []membershipOut `json:"memberships"`
	Grants      []grantOut      `json:"grants"`
	Credentials []string        `json:"credentials"` // their kinds
}

type grantOut struct {
	Name    string  `json:"name"`
	Value   int64   `json:"value"`
	Expires *string `json:"expires"`
}

func userData(c *call) error {
	d, err := c.api.Users.Data(c.r.Context(), c.actor, c.path["id"])
	if err != nil {
		return err
	}
	return c.answer(dataOut{
		User: userWithRoles(d.User), Sessions: each(d.Sessions, c.plainSession), Keys: each(d.Keys, plainKey), Memberships: each(d.Memberships, plainMembership),
		Grants: each(d.Grants, func(g userapi.Grant) grantOut {
			return grantOut{Name: g.Name, Value: g.Value, Expires: stampOrNull(g.ExpiresAt)}
		}),
		Credentials: each(d.Credentials, func(cred userapi.Credential) string { return cred.Kind }),
	})
}

// each makes output of a list; none is an empty list.
func each[In, Out any](in []In, one func(In) Out) []Out {
	out := make([]Out, len(in))
	for i, v := range in {
		out[i] = one(v)
	}
	return out
}

func eraseOwn(c *call) error {
	var current *userapi.Secret
	if err := c.decodeOptional(optionalSecret("current_password", &current)); err != nil {
		return err
	}
	if err := c.api.Users.DeleteSelf(c.r.Context(), c.actor, value(current)); err != nil {
		return err
	}
	c.clearCookies(c.w)
	return c.done()
}
