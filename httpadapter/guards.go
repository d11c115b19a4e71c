package httpadapter

import (
	"errors"

	"github.com/userapi/userapi"
)

// guard says which kinds of caller may ask a route. It decides by the credential alone, before anything is looked up;
// what the caller may do to whom is the noun's to decide.
type guard uint8

const (
	_                guard = iota // a route without a guard does not exist
	public                        // everybody, but no foreign page, since cookies are read or set; no API key
	logoutGuard                   // the same, whatever their credential is worth
	cookieless                    // everybody, since no cookie is read or set; no API key
	recognised                    // the same, but a valid credential is known
	connected                     // a valid credential
	passwordChange                // a valid credential, or a login that lacks nothing but a new password
	phoneProof                    // a valid credential; without any whoever may have a phone number proven
	bySession                     // a valid credential that belongs to a session
	selfOrAdmin                   // the user {id}, or an admin
	selfAdminService              // the user {id}, an admin or a service
	admin                         // an admin
	registration                  // an admin; without any credential whoever may register
)

// String names the guard as docs/routes.md does.
func (g guard) String() string {
	switch g {
	case public, logoutGuard, cookieless:
		return "public"
	case recognised:
		return "public, or connected"
	case connected:
		return "connected"
	case passwordChange:
		return "connected, or a login whose password has to be changed"
	case phoneProof:
		return "connected, or public with Verification.AnonymousPhone"
	case bySession:
		return "connected by session"
	case selfOrAdmin:
		return "self|admin"
	case selfAdminService:
		return "self|admin|service"
	case admin:
		return "admin"
	case registration:
		return "admin, or registration without a credential"
	default:
		return ""
	}
}

// takesKeys reports whether an API key can open a route of this guard.
func (g guard) takesKeys() bool {
	switch g {
	case recognised, connected, passwordChange, phoneProof, selfOrAdmin, selfAdminService, admin, registration:
		return true
	default:
		return false
	}
}

// admit lets the call in, with identity and actor, or says why not.
func (g guard) admit(c *call) error {
	switch g {
	case public, logoutGuard, cookieless:
		return g.admitAnyone(c)
	}
	if !g.takesKeys() && g != bySession {
		return userapi.ErrForbidden
	}
	step := userapi.LoginStep("")
	if g == passwordChange {
		step = userapi.StepNewPassword
	}
	id, err := c.authenticateStep(c.r, step)
	if err != nil {
		return g.admitUnknown(c, err)
	}
	c.r = c.remember(c.r, id)
	c.identity, c.actor = id, c.Actor(c.r)
	if c.identity.KeyID() != "" {
		if err := admitKey(c.route.scope(), c.identity); err != nil {
			return err
		}
	}
	self := false
	if g == selfOrAdmin || g == selfAdminService {
		if c.path["id"] == current {
			c.path["id"] = c.identity.UserID()
		}
		self = c.path["id"] == c.identity.UserID()
	}
	switch {
	case g == recognised, g == connected, g == passwordChange, g == phoneProof, g == bySession, self, c.identity.HasRole(userapi.RoleAdmin):
		return nil
	case g == selfAdminService && c.identity.HasRole(userapi.RoleService):
		return nil
	}
	return userapi.ErrForbidden
}

// admitKey lets an API key in that has the scope of the route.
func admitKey(scope string, key *userapi.Identity) error {
	switch {
	case scope == "":
		return userapi.ErrForbidden
	case !key.HasScope(scope):
		return userapi.ErrScopeMissing.Field("missing", scope)
	}
	return nil
}

// admitUnknown lets those in who can do without the credential that failed as err says.
func (g guard) admitUnknown(c *call, err error) error {
	none := errors.Is(err, userapi.ErrNoCredentials)
	switch {
	case g == registration && none:
		return c.admitRegistration()
	case g == phoneProof && none && c.api.Contacts.AnonymousPhone():
		return cookieless.admitAnyone(c)
	case g == recognised && (userapi.AsError(err).Kind == userapi.Unauthenticated || errors.Is(err, errCrossOrigin) ||
		errors.Is(err, userapi.ErrNewPasswordRequired) || errors.Is(err, userapi.ErrSecondFactorRequired)):
		return cookieless.admitAnyone(c) // a mailed link is opened wherever, with whatever cookie is left there
	}
	return err
}

// admitAnyone guards the routes for whoever comes. Where they set or clear cookies, a foreign page must not log its visitor
// in or out. The credential is not looked at, but an API key is no way to a session.
func (g guard) admitAnyone(c *call) error {
	if hasAPIKey(c.r) {
		if g == logoutGuard {
			return userapi.ErrForbidden
		}
		return userapi.ErrInvalidToken
	}
	c.actor = userapi.Anonymous().From(c.ClientAddress(c.r), c.r.UserAgent())
	if g == cookieless {
		return nil
	}
	return c.sameOrigin(c.r)
}

// admitRegistration refuses before the body is read where nobody may register.
func (c *call) admitRegistration() error {
	if c.api.Users.RegistrationPolicy() == userapi.RegistrationClosed {
		return userapi.ErrNoCredentials
	}
	return registration.admitAnyone(c)
}
