package httpadapter_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestFlow_AllThatIsKeptAndItsEnd(t *testing.T) { onEveryStore(t, allThatIsKeptAndItsEnd) }

func allThatIsKeptAndItsEnd(t *testing.T, on options) {
	w := newWorld(t, everything, on)
	in := w.login("ann")
	own := bearer(in.text("access_token"))
	made := w.do("POST", "/keys", object{"name": "billing", "scopes": []string{"userapi:read"}}, own).is(201, "")
	w.do("PUT", "/users/"+w.ids["ann"]+"/memberships/doc/7", object{"level": "member"}, w.as("admin"))
	data := w.do("GET", "/users/current/data", nil, own).is(200, "")
	assert.ElementsMatch(t, []string{"user", "sessions", "keys", "memberships", "grants", "credentials"}, keysOf(data.JSON))
	assert.Equal(t, "ann@acme.example", data.JSON["user"].(object)["email"])
	assert.Len(t, data.JSON["sessions"], 1)
	assert.Equal(t, "billing", data.JSON["keys"].([]any)[0].(object)["name"])
	assert.Equal(t, []any{object{"name": "apikeys", "value": 2.0, "expires": nil}}, data.JSON["grants"])
	assert.Equal(t, []any{}, data.JSON["credentials"])
	assert.NotContains(t, data.Body.String(), made.text("key")[13:], "no secret") // H15
	w.do("GET", "/users/"+w.ids["ann"]+"/data", nil, w.as("bob")).is(403, "FORBIDDEN")
	w.do("GET", "/users/"+w.ids["ann"]+"/data", nil, w.as("eve")).is(404, "NOT_FOUND")

	key := header("X-Api-Key", made.text("key"))
	w.do("POST", "/auth/erase", nil, key).is(403, "FORBIDDEN")
	w.clock.advance(5 * time.Minute)
	w.do("POST", "/auth/erase", nil, own).is(403, "NOT_FRESH")
	w.do("POST", "/auth/erase", object{"current_password": "wrong"}, own).is(403, "FORBIDDEN")
	jar := cookie("__Host-user-api-credentials", in.cookie("__Host-user-api-credentials").Value)
	w.do("POST", "/auth/erase", object{"current_password": password}, jar, crossSite).is(403, "CROSS_ORIGIN")
	done := w.do("POST", "/auth/erase", object{"current_password": password}, jar).is(204, "")
	assert.Equal(t, -1, done.cookie("__Host-user-api-credentials").MaxAge)
	w.do("GET", "/auth/whoami", nil, own).is(401, "TOKEN_REVOKED")
	w.do("GET", "/users/current", nil, key).is(401, "UNAUTHORIZED")
	w.do("POST", "/auth/login", object{"email": "ann@acme.example", "password": password}).is(401, "UNAUTHORIZED")
	w.do("GET", "/users/"+w.ids["ann"], nil, w.as("admin")).is(404, "NOT_FOUND")
	w.do("POST", "/auth/erase", object{"current_password": password}, w.as("admin")).is(409, "LAST_ADMIN")
}

func TestEraseSelfIsOptedInTo(t *testing.T) {
	w := newWorld(t)
	w.do("POST", "/auth/erase", nil, w.as("ann")).is(404, "NOT_FOUND")
}

func keysOf(o object) []string {
	var names []string
	for name := range o {
		names = append(names, name)
	}
	return names
}
