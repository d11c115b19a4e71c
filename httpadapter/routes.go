package httpadapter

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/userapi/userapi"
)

// route is one line of the table that everything is made from: the router, the guards, docs/routes.md, the test of
// every route with every kind of caller.
type route struct {
	method, section, pattern string
	guard                    guard
	body                     string // of the request, for the docs
	status                   int    // of success
	handle                   handler
	summary                  string
	optIn                    optIn
	credentials              bool     // it is about passwords, e-mail addresses or phone numbers: see scope
	query                    []string // parameters; where there are any, all others are refused
}

// handler decodes a request, calls a noun once and encodes the result. It returns an error instead of writing one.
type handler func(c *call) error

// optIn says which option of Config a route needs.
type optIn string

const (
	always      optIn = ""
	logoutByGET optIn = "LogoutByGET"
	editRoles   optIn = "EditRoles"
	eraseSelf   optIn = "EraseSelf"
)

func (o optIn) in(cfg Config) bool {
	return o == always || o == logoutByGET && cfg.LogoutByGET || o == editRoles && cfg.EditRoles || o == eraseSelf && cfg.EraseSelf
}

// current, in place of a user's id, is the caller.
const current = "current"

var routeTable = []route{
	{method: "POST", section: "users", pattern: "/login", guard: public, body: "{email | username, password}", status: 200, handle: login, summary: "Log in. email may hold a username or a verified phone number. User with roles, exp, tokens; sets cookies. With step (new_password, second_factor) the login is not complete: its access_token is good for that step alone, and there is no refresh_token."},
	{method: "POST", section: "users", pattern: "/logout", guard: logoutGuard, body: "{refresh_token?}, or none", status: 200, handle: logout, summary: "Log out; clears cookies."},
	{method: "GET", section: "users", pattern: "/logout", guard: logoutGuard, status: 200, handle: logout, optIn: logoutByGET, summary: "Log out; clears cookies."},
	{method: "GET", section: "users", pattern: "/token", guard: connected, status: 200, handle: token, summary: "The caller with roles, and exp of the credential."},
	{method: "POST", section: "users", pattern: "/reset-password", guard: connected, body: "{email, password, current_password?}", status: 200, handle: resetPassword, credentials: true, summary: "Set one's own password; another's as an admin."},
	{method: "POST", section: "users", pattern: "/", guard: registration, body: "admin: {email | username | phone, name, active, password?, roles?, first_name?, last_name?, must_change_password?}; self: {email | username, password, phone?, name?, first_name?, last_name?}", status: 201, handle: createUser, summary: "Create a user with roles, in the admin's customer; register oneself, which logs in. Under RegistrationVerify email is required, password is not, and the answer is 202 with a message, whether or not the address is registered."},
	{method: "GET", section: "users", pattern: "/", guard: admin, status: 200, handle: listUsers, query: []string{"email", "name", "match", "prefix", "active", "limit", "offset", "cursor", "roles"}, summary: "A page of users, with roles=true each with roles."},
	{method: "GET", section: "users", pattern: "/{id}", guard: selfAdminService, status: 200, handle: getUser, summary: "A user with roles."},
	{method: "PUT", section: "users", pattern: "/{id}", guard: admin, body: "{email | username | phone, name, active, password?, current_password?, roles?, first_name?, last_name?, must_change_password?}", status: 200, handle: replaceUser, summary: "Change a user. Absent fields stay; roles is the whole new set."},
	{method: "PATCH", section: "users", pattern: "/{id}", guard: selfAdminService, body: "{email?, username?, phone?, name?, first_name?, last_name?, active?, must_change_password?, current_password?}", status: 200, handle: changeUser, summary: "Change fields of a user; null clears. active, must_change_password: admin only. Where mail is wired, one's own new e-mail address gets a link, and the old one stays until POST /verification/email/confirm."},
	{method: "DELETE", section: "users", pattern: "/{id}", guard: admin, status: 204, handle: deleteUser, query: []string{"force"}, summary: "Deactivate a user; with force=true erase them."},
	{method: "GET", section: "users", pattern: "/{id}/role", guard: selfAdminService, status: 200, handle: getUserRoles, summary: "The roles of a user."},
	{method: "PATCH", section: "users", pattern: "/{id}/role", guard: admin, body: "[code | {id} | {code}, …]", status: 200, handle: changeUserRoles, summary: "Replace the roles of a user."},
	{method: "POST", section: "users", pattern: "/{id}/set_password", guard: selfAdminService, body: "{password, current_password?}", status: 200, handle: setPassword, credentials: true, summary: "Set a password. User with roles."},
	{method: "GET", section: "users", pattern: "/{id}/data", guard: selfOrAdmin, status: 200, handle: userData, summary: "All that is kept about a user, without secrets: user, sessions, API keys, memberships, grants, kinds of credentials."},
	{method: "GET", section: "users", pattern: "/{id}/sessions", guard: selfOrAdmin, status: 200, handle: listSessions, summary: "The sessions of a user, newest first."},
	{method: "DELETE", section: "users", pattern: "/{id}/sessions", guard: selfOrAdmin, status: 204, handle: endSessions, summary: "End all sessions of a user."},
	{method: "DELETE", section: "users", pattern: "/{id}/sessions/{sid}", guard: selfOrAdmin, status: 204, handle: endSession, summary: "End one session of a user."},
	{method: "GET", section: "users", pattern: "/{id}/memberships", guard: selfOrAdmin, status: 200, handle: listMemberships, query: []string{"limit", "cursor"}, summary: "The levels of a user on resources, 100 to a page unless limit says less; cursor, where there are more."},
	{method: "GET", section: "users", pattern: "/{id}/memberships/{resource}/{rid}", guard: selfOrAdmin, status: 200, handle: getMembership, summary: "The level of a user on a resource."},
	{method: "PUT", section: "users", pattern: "/{id}/memberships/{resource}/{rid}", guard: admin, body: "{level}", status: 200, handle: setMembership, summary: "Give a user a level on a resource of the admin's customer, in place of the one before."},
	{method: "DELETE", section: "users", pattern: "/{id}/memberships/{resource}/{rid}", guard: admin, status: 204, handle: removeMembership, summary: "Take a user's level on a resource of the admin's customer."},

	{method: "POST", section: "auth", pattern: "/login", guard: public, body: "{email | username, password}", status: 200, handle: login, summary: "As POST /users/login."},
	{method: "POST", section: "auth", pattern: "/refresh", guard: public, body: "{refresh_token}, or none with the cookie", status: 200, handle: refresh, summary: "Exchange a refresh token for new tokens; sets cookies."},
	{method: "POST", section: "auth", pattern: "/logout", guard: logoutGuard, body: "{refresh_token?}, or none", status: 204, handle: logout, summary: "Log out; clears cookies."},
	{method: "POST", section: "auth", pattern: "/logout-all", guard: bySession, status: 204, handle: logoutAll, summary: "End all sessions of the caller; clears cookies."},
	{method: "POST", section: "auth", pattern: "/erase", guard: bySession, body: "{current_password?}, or none", status: 204, handle: eraseOwn, optIn: eraseSelf, summary: "Erase the caller's own account for good, by password or a login within the last 5 minutes; clears cookies."},
	{method: "GET", section: "auth", pattern: "/verify_token", guard: connected, status: 200, handle: verifyToken, summary: "The claims of the access token."},
	{method: "GET", section: "auth", pattern: "/whoami", guard: connected, status: 200, handle: whoAmI, summary: "The caller with roles."},
	{method: "POST", section: "auth", pattern: "/activate", guard: cookieless, body: "{token, password}", status: 200, handle: activate, summary: "Activate an account by a mailed token, with the password it was registered with, else with its first. User with roles; no login."},
	{method: "GET", section: "auth", pattern: "/jwks.json", guard: public, status: 200, handle: publicKeys, summary: "The public keys that access tokens are signed with (RFC 7517)."},

	{method: "POST", section: "password", pattern: "/change", guard: passwordChange, body: "{old_password, new_password, verify_password?}", status: 200, handle: changePassword, credentials: true, summary: "Change one's own password; completes a login whose step is new_password. User with roles, exp, new tokens."},

	{method: "POST", section: "password", pattern: "/reset", guard: cookieless, body: "{email | username, url_template?}", status: 200, handle: requestReset, summary: "Have a reset link mailed to an account's address. The same message for all."},
	{method: "POST", section: "password", pattern: "/reset/confirm", guard: cookieless, body: "{token, new_password, verify_password?}", status: 200, handle: confirmReset, summary: "Set a new password by a mailed token; ends all sessions. A message; no login."},

	{method: "POST", section: "verification", pattern: "/phone", guard: phoneProof, body: "{phone, resend?}", status: 200, handle: requestPhone, credentials: true, summary: "Have a code sent to a phone number. The same message for all."},
	{method: "POST", section: "verification", pattern: "/phone/confirm", guard: phoneProof, body: "{phone, code}", status: 200, handle: confirmPhone, credentials: true, summary: "The number becomes the caller's own, proven. User with roles; without a credential a message that the code is right."},
	{method: "POST", section: "verification", pattern: "/email", guard: connected, body: "{email?, current_password?}, or none", status: 200, handle: requestEmail, credentials: true, summary: "Have a link mailed that proves one's own e-mail address, or changes to another."},
	{method: "POST", section: "verification", pattern: "/email/confirm", guard: recognised, body: "{token}", status: 200, handle: confirmEmail, credentials: true, summary: "Prove or change an e-mail address by a mailed token. To the owner whose session goes on: user with roles, exp, new tokens. Else a message."},

	{method: "GET", section: "keys", pattern: "/", guard: bySession, status: 200, handle: listKeys, query: []string{"user_id"}, summary: "The caller's API keys, oldest first; another's as an admin."},
	{method: "POST", section: "keys", pattern: "/", guard: bySession, body: "{name, scopes, expires?, user_id?}", status: 201, handle: createKey, summary: "Make an API key, for another as an admin. The answer holds the whole key, this once. expires is a time (RFC 3339) or a date, which is the end of that day in UTC."},
	{method: "GET", section: "keys", pattern: "/{id}", guard: bySession, status: 200, handle: getKey, summary: "An API key."},
	{method: "PATCH", section: "keys", pattern: "/{id}", guard: bySession, body: "{name?, scopes?, active?}", status: 200, handle: changeKey, summary: "Rename an API key, replace its scopes, disable or enable it."},
	{method: "DELETE", section: "keys", pattern: "/{id}", guard: bySession, status: 204, handle: deleteKey, summary: "Delete an API key."},

	{method: "GET", section: "roles", pattern: "/", guard: admin, status: 200, handle: listRoles, query: []string{"limit", "offset"}, summary: "A page of role definitions."},
	{method: "POST", section: "roles", pattern: "/", guard: admin, body: "{code, name?}", status: 201, handle: createRole, optIn: editRoles, summary: "Define a role."},
	{method: "GET", section: "roles", pattern: "/{code}", guard: admin, status: 200, handle: getRole, optIn: editRoles, summary: "A role definition."},
	{method: "PATCH", section: "roles", pattern: "/{code}", guard: admin, body: "{name}", status: 200, handle: renameRole, optIn: editRoles, summary: "Rename a role; its code stays."},
	{method: "DELETE", section: "roles", pattern: "/{code}", guard: admin, status: 204, handle: deleteRole, optIn: editRoles, summary: "Delete a role nobody holds."},

	{method: "GET", section: "audit", pattern: "/", guard: admin, status: 200, handle: listEvents, query: []string{"user_id", "kind", "since", "until", "limit", "cursor"}, summary: "A page of the audit trail of the admin's customer, newest first. kind: one or several (at most 16), separated by commas. since and until: times (RFC 3339), the first included, the second not."},
}

// check refuses a line that lacks what makes it safe or true.
func (rt route) check() error {
	if rt.guard == 0 || rt.handle == nil || rt.status == 0 || rt.summary == "" || !strings.HasPrefix(rt.pattern, "/") {
		return fmt.Errorf("httpadapter: the route %s %s%s is incomplete", rt.method, rt.section, rt.pattern)
	}
	return nil
}

// scope is what an API key needs besides what the guard asks for; "" = no API key comes in. It follows from what the route is,
// so that none can forget it.
func (rt route) scope() string {
	switch {
	case !rt.guard.takesKeys():
		return ""
	case rt.credentials:
		return userapi.ScopePassword
	case rt.method == http.MethodGet:
		return userapi.ScopeRead
	default:
		return userapi.ScopeWrite
	}
}

// Route describes a route, for documents and tests made from the table.
type Route struct {
	Method  string
	Path    string // below the root of Handler, with {id} and the like
	Guard   string // who may ask, as docs/routes.md explains
	Scope   string // what an API key needs besides; "" = no API key may ask
	Body    string // what the request holds, in short; "" = nothing
	Query   []string
	Status  int    // of success
	OptIn   string // the field of Config the route needs; "" = none
	Summary string
}

// Routes lists the routes this Adapter serves.
func (a *Adapter) Routes() []Route {
	out := make([]Route, len(a.routes))
	for i, rt := range a.routes {
		out[i] = Route{
			Method: rt.method, Path: "/" + rt.section + rt.pattern, Guard: rt.guard.String(), Scope: rt.scope(), Body: rt.body,
			Query: slices.Clone(rt.query), Status: rt.status, OptIn: string(rt.optIn), Summary: rt.summary,
		}
	}
	return out
}

// node is a segment of the paths below a prefix. Literal segments win over {…}.
type node struct {
	literal map[string]*node
	param   *node
	name    string            // of the parameter
	routes  map[string]*route // by method
}

func (n *node) add(pattern string, rt *route) {
	for _, segment := range strings.FieldsFunc(pattern, func(r rune) bool { return r == '/' }) {
		if name, ok := strings.CutPrefix(segment, "{"); ok {
			if n.param == nil {
				n.param = &node{name: strings.TrimSuffix(name, "}")}
			}
			n = n.param
			continue
		}
		if n.literal[segment] == nil {
			if n.literal == nil {
				n.literal = map[string]*node{}
			}
			n.literal[segment] = new(node)
		}
		n = n.literal[segment]
	}
	if n.routes == nil {
		n.routes = map[string]*route{}
	}
	n.routes[rt.method] = rt
	if rt.method == http.MethodGet && rt.guard != logoutGuard { // a HEAD has no effect (RFC 9110 9.2.1)
		n.routes[http.MethodHead] = rt
	}
}

// find gives the node of a path and the values of its parameters; nil when there is none.
func (n *node) find(segments []string) (*node, map[string]string) {
	values := map[string]string{}
	for _, segment := range segments {
		next := n.literal[segment]
		if next == nil && n.param != nil {
			next = n.param
			values[next.name] = segment
		}
		if next == nil {
			return nil, nil
		}
		n = next
	}
	if n.routes == nil {
		return nil, nil
	}
	return n, values
}

// allow is the header Allow of a node.
func (n *node) allow() string {
	methods := []string{http.MethodOptions}
	for method := range n.routes {
		methods = append(methods, method)
	}
	slices.Sort(methods)
	return strings.Join(methods, ", ")
}
