package httpadapter

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/userapi/userapi"
)

// IsConnected lets a request through that brings a valid credential, with the identity in its context
// (userapi.IdentityFrom, Adapter.Actor). Others get 401, a browser without any credential Config.LoginURL. An unsafe
// request that a cookie authenticates has to come from the same origin: else 403 CROSS_ORIGIN.
//
// An API key needs a scope that the host declared (userapi.Config.Scopes), whichever, or userapi.ScopeFull: one that is good
// for the routes of this module alone gets 403 SCOPE_MISSING, here and from all middleware below.
func (a *Adapter) IsConnected(next http.Handler) http.Handler {
	return a.guards(func(*userapi.Identity, *http.Request) error { return nil })(next)
}

// RequireScopes is IsConnected for API keys that hold every one of the scopes; without scopes it is IsConnected. Whoever is
// logged in needs none. 403 SCOPE_MISSING tells the missing ones.
func (a *Adapter) RequireScopes(scopes ...string) func(http.Handler) http.Handler {
	if len(scopes) == 0 {
		return a.IsConnected
	}
	return func(next http.Handler) http.Handler {
		return a.guarded(next, func(id *userapi.Identity, _ *http.Request) error {
			var missing []string
			for _, scope := range scopes {
				if !id.HasScope(scope) {
					missing = append(missing, scope)
				}
			}
			if missing != nil {
				return userapi.ErrScopeMissing.Field("missing", missing...)
			}
			return nil
		})
	}
}

// hostScope refuses an API key that was made for something else than the host's routes.
func (a *Adapter) hostScope(id *userapi.Identity) error {
	if id.HasScope(userapi.ScopeFull) {
		return nil
	}
	declared := a.api.Keys.Scopes()
	if slices.ContainsFunc(declared, id.HasScope) {
		return nil
	}
	return userapi.ErrScopeMissing.Field("missing", append(declared, userapi.ScopeFull)...)
}

// HasRoles is IsConnected for holders of every one of the roles; without codes, for everybody who is connected. 403
// ROLE_MISSING tells the missing ones. The roles of an API key are its owner's.
func (a *Adapter) HasRoles(codes ...string) func(http.Handler) http.Handler {
	return a.guards(func(id *userapi.Identity, _ *http.Request) error {
		var missing []string
		for _, code := range codes {
			if !id.HasRole(code) {
				missing = append(missing, code)
			}
		}
		if missing != nil {
			return userapi.ErrRoleMissing.Field("missing", missing...)
		}
		return nil
	})
}

// HasAnyRole is IsConnected for holders of at least one of the roles; without codes, for nobody.
func (a *Adapter) HasAnyRole(codes ...string) func(http.Handler) http.Handler {
	return a.guards(func(id *userapi.Identity, _ *http.Request) error { return anyRole(id, codes) })
}

// IsSelfOrHasAnyRole is IsConnected for the user whose id userID finds in the request ("current" is the caller), and
// for holders of one of the roles. Roles are those of the caller's own customer: the route has to see to it that the
// user belongs to it, for instance by asking the API with Adapter.Actor.
func (a *Adapter) IsSelfOrHasAnyRole(userID func(*http.Request) string, codes ...string) func(http.Handler) http.Handler {
	return a.guards(func(id *userapi.Identity, r *http.Request) error {
		if asked := userID(r); asked == current || asked == id.UserID() {
			return nil
		}
		return anyRole(id, codes)
	})
}

// RequireFresh is IsConnected for who proved who they are within the last d, by password, second factor or another provider: a
// refresh does not count. Else 403 NOT_FRESH: the client has its user log in again.
func (a *Adapter) RequireFresh(d time.Duration) func(http.Handler) http.Handler {
	return a.guards(func(id *userapi.Identity, _ *http.Request) error {
		if id.SessionID() == "" || !a.api.Auth.FreshWithin(id, d) {
			return userapi.ErrNotFresh
		}
		return nil
	})
}

// RequireStep lets only a login through that lacks this step, for the route that takes it; everywhere else such a login is
// refused. A whole session, too, is userapi.ErrForbidden here.
func (a *Adapter) RequireStep(step userapi.LoginStep) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id, err := a.authenticateStep(r, step)
			if err == nil && id.Step() != step {
				err = a.refused(r, id, userapi.ErrForbidden, r.Pattern)
			}
			if err != nil {
				a.WriteError(w, r, err)
				return
			}
			next.ServeHTTP(w, a.remember(r, id))
		})
	}
}

// HasRoleOn is IsConnected for those who have at least this level (userapi.MembershipConfig) on the resource whose id
// idOf finds in the request; on "" nobody has any. It reads the row each time, so that a level given or taken counts at once. 403
// ROLE_MISSING tells "<resource>-<id>-<level>". The level is that of a user of the caller's own customer: where two customers use the
// same id for two things, the route has to tell those apart itself.
func (a *Adapter) HasRoleOn(resource, level string, idOf func(*http.Request) string) func(http.Handler) http.Handler {
	return a.guards(func(caller *userapi.Identity, r *http.Request) error {
		return a.api.Memberships.Check(r.Context(), caller.Actor(), resource, idOf(r), level)
	})
}

func anyRole(id *userapi.Identity, codes []string) error {
	for _, code := range codes {
		if id.HasRole(code) {
			return nil
		}
	}
	return userapi.ErrRoleMissing.Field("missing", append([]string{}, codes...)...)
}

// check is what a middleware asks of who is connected.
type check func(id *userapi.Identity, r *http.Request) error

// guards makes the middleware that any API key of the host's passes, as far as ask lets it.
func (a *Adapter) guards(ask check) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return a.guarded(next, func(id *userapi.Identity, r *http.Request) error {
			if err := a.hostScope(id); err != nil {
				return err
			}
			return ask(id, r)
		})
	}
}

func (a *Adapter) guarded(next http.Handler, ask check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := a.authenticate(r)
		if err == nil {
			err = a.refused(r, id, ask(id, r), r.Pattern)
		}
		switch {
		case errors.Is(err, userapi.ErrNoCredentials) && a.cfg.LoginURL != "" && wantsHTML(r):
			secureHeaders(w)
			w.Header().Set("Location", a.cfg.LoginURL)
			w.WriteHeader(http.StatusFound)
		case err != nil:
			a.WriteError(w, r, err)
		default:
			next.ServeHTTP(w, a.remember(r, id))
		}
	})
}

// wantsHTML tells a person in a browser from a program, which says */* or application/json.
func wantsHTML(r *http.Request) bool {
	for _, part := range strings.Split(strings.Join(r.Header.Values("Accept"), ","), ",") {
		kind, params, err := mime.ParseMediaType(part)
		refused := params["q"] != "" && strings.Trim(params["q"], "0.") == ""
		if err == nil && kind == "text/html" && !refused {
			return true
		}
	}
	return false
}

// letIn is the context of a request that was let in. The identity is kept in it, so that nested guards ask once; only the Adapter
// that put it there reads it here, since another's API may not know the user at all. It is a type of its own because every request
// pays for it.
type letIn struct {
	context.Context // hosts find the identity there: userapi.IdentityFrom
	by              *Adapter
	identity        *userapi.Identity
}

type letInKey struct{}

// Value implements context.Context.
func (c *letIn) Value(key any) any {
	if key == (letInKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// known is the identity that this Adapter let r in with; nil = none.
func (a *Adapter) known(r *http.Request) *userapi.Identity {
	if c, _ := r.Context().Value(letInKey{}).(*letIn); c != nil && c.by == a {
		return c.identity
	}
	return nil
}

func (a *Adapter) remember(r *http.Request, id *userapi.Identity) *http.Request {
	if a.known(r) == id {
		return r
	}
	return r.WithContext(&letIn{userapi.ContextWithIdentity(r.Context(), id), a, id})
}

// authenticate finds out who sent r. ErrNoCredentials itself when there is no credential at all.
func (a *Adapter) authenticate(r *http.Request) (*userapi.Identity, error) {
	return a.authenticateStep(r, "")
}

// authenticateStep is authenticate that also knows logins which lack this step.
func (a *Adapter) authenticateStep(r *http.Request, step userapi.LoginStep) (*userapi.Identity, error) {
	if id := a.known(r); id != nil && id.Step() == "" {
		return id, nil
	}
	if c, _ := r.Context().Value(checkedKey{}).(*checked); c != nil && c.by == a && step == "" {
		return c.identity, c.err
	}
	return a.identify(r, step)
}

// identify checks the first kind of credential that is there, and no other: were a bad one passed over for the next, a
// request would act as somebody its sender did not mean.
func (a *Adapter) identify(r *http.Request, step userapi.LoginStep) (*userapi.Identity, error) {
	if hasAPIKey(r) {
		key := r.Header[apiKeyHeader]
		if len(key) != 1 {
			return nil, userapi.ErrInvalidKey
		}
		from := userapi.Anonymous().From(a.ClientAddress(r), r.UserAgent())
		return a.api.Auth.AuthenticateKey(r.Context(), from, userapi.Secret(key[0]))
	}
	token, byCookie, err := a.presented(r)
	if err == nil && byCookie {
		err = a.sameOrigin(r)
	}
	if err != nil {
		return nil, err
	}
	return a.api.Auth.AuthenticateStep(r.Context(), token, step)
}

// presented gives the access token a request brings.
func (a *Adapter) presented(r *http.Request) (token string, byCookie bool, err error) {
	if header, ok := r.Header["Authorization"]; ok {
		if len(header) != 1 {
			return "", false, userapi.ErrInvalidToken
		}
		scheme, token, _ := strings.Cut(header[0], " ")
		token = strings.TrimLeft(token, " ")
		if !strings.EqualFold(scheme, "Bearer") || token == "" {
			return "", false, userapi.ErrInvalidToken
		}
		return token, false, nil
	}
	value, found, err := oneCookie(r, a.cfg.AccessCookie)
	if err == nil && !found {
		return "", false, userapi.ErrNoCredentials
	}
	if err == nil {
		token, err = openCookie(value)
	}
	return token, true, err
}

const apiKeyHeader = "X-Api-Key"

func hasAPIKey(r *http.Request) bool {
	_, ok := r.Header[apiKeyHeader]
	return ok
}

// sameOrigin refuses an unsafe request that a foreign page made the browser send. What sends neither Sec-Fetch-Site
// nor Origin is no browser.
func (a *Adapter) sameOrigin(r *http.Request) error {
	if err := a.cfg.CrossOrigin.Check(r); err != nil {
		return errCrossOrigin.Wrap(err)
	}
	return nil
}
