package userapi

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// Actor is on whose behalf something happens. Every method that touches an account takes one. The zero Actor may do
// nothing, so a forgotten one is an error and not a privilege.
type Actor struct {
	kind      actorKind
	identity  *Identity
	address   string
	userAgent string
	within    string // a session; "" = none
}

type actorKind uint8

const (
	nobody actorKind = iota
	anonymous
	user
	stepping // a user whose login lacks a step
	system
)

// System is the host itself: command lines, jobs, start-up. It acts in every customer and is bound by no role.
func System() Actor { return Actor{kind: system} }

// Anonymous is a caller without credentials. It may log in, refresh, log out and register, ask for a reset, bring the token
// of a link, and have a phone number proven where Verification.AnonymousPhone allows it.
func Anonymous() Actor { return Actor{kind: anonymous} }

// From returns a with the address and user agent it acts from, for limits, sessions and the audit trail.
func (a Actor) From(address, userAgent string) Actor {
	a.address, a.userAgent = cutText(address, 64), cutText(userAgent, 255)
	return a
}

// Within returns a, acting in the session of by, or in the login of by that lacks a step: what a feature does for somebody as
// System stands in their session in the audit trail, and Credentials.Put and Credentials.Delete are refused once it has ended.
// Without a session, such as with an API key, it changes nothing.
func (a Actor) Within(by Actor) Actor {
	a.within = by.identity.SessionID()
	return a
}

// cutText keeps at most n bytes of s, as valid UTF-8 without control characters.
func cutText(s string, n int) string {
	out := make([]rune, 0, min(len(s), n))
	size := 0
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == 0xfffd {
			continue
		}
		size += len(string(r))
		if size > n {
			break
		}
		out = append(out, r)
	}
	return string(out)
}

// UserID is the id of the user who acts, "" for System and Anonymous.
func (a Actor) UserID() string { return a.identity.UserID() }

// CustomerID is the customer the actor is bound to, "" for System and Anonymous.
func (a Actor) CustomerID() string { return a.identity.CustomerID() }

// HasRole reports whether the actor's credential carries the role. System has every role.
func (a Actor) HasRole(code string) bool { return a.kind == system || a.identity.HasRole(code) }

func (a Actor) isSystem() bool  { return a.kind == system }
func (a Actor) isUser() bool    { return a.kind == user }
func (a Actor) isAdmin() bool   { return a.kind == user && a.identity.HasRole(RoleAdmin) }
func (a Actor) isKey() bool     { return a.kind == user && a.identity.KeyID() != "" }
func (a Actor) isService() bool { return a.kind == user && a.identity.HasRole(RoleService) }

// is reports whether the actor is this user.
func (a Actor) is(userID string) bool {
	return a.kind == user && userID != "" && a.identity.UserID() == userID
}

// scope is the tenant condition of everything the actor does.
func (a Actor) scope() Scope {
	if a.kind == system {
		return Scope{All: true}
	}
	return Scope{Customer: a.CustomerID()}
}

// some refuses the zero Actor: it stands for a host that forgot to say who acts.
func (a Actor) some() error {
	switch a.kind {
	case nobody:
		return errZeroActor
	case stepping:
		return a.identity.Step().missing()
	}
	return nil
}

// known refuses whoever brought no credential.
func (a Actor) known() error {
	if err := a.some(); err != nil {
		return err
	}
	if a.kind == anonymous {
		return ErrNoCredentials
	}
	return nil
}

// owning refuses all but users, for what concerns oneself.
func (a Actor) owning() error {
	if err := a.known(); err != nil {
		return err
	}
	if !a.isUser() {
		return ErrForbidden
	}
	return nil
}

// managing refuses all but admins and System.
func (a Actor) managing() error {
	if err := a.known(); err != nil {
		return err
	}
	if !a.isSystem() && !a.isAdmin() {
		return ErrForbidden
	}
	return nil
}

// hosting refuses all but System.
func (a Actor) hosting() error {
	if err := a.known(); err != nil {
		return err
	}
	if !a.isSystem() {
		return ErrForbidden
	}
	return nil
}

// reaching refuses callers who may not even ask about this user; it is decided before any look-up, so that it tells
// nothing about who exists.
func (a Actor) reaching(userID string) error {
	if err := a.known(); err != nil {
		return err
	}
	if !a.isSystem() && !a.isAdmin() && !a.isService() && !a.is(userID) {
		return ErrForbidden
	}
	return nil
}

// scoped refuses an API key that lacks a scope.
func (a Actor) scoped(scope string) error {
	if a.kind == user && !a.identity.HasScope(scope) {
		return ErrScopeMissing.Field("missing", scope)
	}
	return nil
}

// fresh reports whether the actor logged in within the last 5 minutes; an API key never did.
func (a Actor) fresh(now time.Time) bool {
	return a.kind == user && a.identity.SessionID() != "" && now.Sub(a.identity.AuthTime()) < freshFor
}

const freshFor = 5 * time.Minute

// mayRead applies rank to reading: a service never sees an admin or another service.
func (a Actor) mayRead(target User) error {
	if a.isService() && !a.isAdmin() && !a.is(target.ID) && (target.HasRole(RoleAdmin) || target.HasRole(RoleService)) {
		return ErrForbidden
	}
	return nil
}

// mayTouch applies rank to changing: nobody changes a user whose roles they may not grant, so that nobody takes over
// an account that may do more than their own.
func (c *core) mayTouch(actor Actor, target User) error {
	if actor.isSystem() || actor.is(target.ID) {
		return nil
	}
	if err := actor.mayRead(target); err != nil {
		return err
	}
	for _, role := range target.Roles {
		if !c.mayGrant(actor, role.Code) {
			return ErrForbidden
		}
	}
	return nil
}

func (c *core) mayGrant(actor Actor, role string) bool {
	if actor.isSystem() {
		return true
	}
	return c.cfg.MayGrant(actor, role)
}

// defaultMayGrant: an admin ranks above every role, nobody else above any. So a service changes the credentials of
// users without a role alone: it cannot know what a role of the host's is worth.
func defaultMayGrant(actor Actor, _ string) bool { return actor.isAdmin() }

// user is who acts, as far as the credential tells.
func (a Actor) user() User { return User{ID: a.UserID(), CustomerID: a.CustomerID()} }

// about is the user that an event is about, with the customer, whose admins are to see it.
func (c *core) about(ctx context.Context, userID string) User {
	if userID != "" {
		if acc, err := c.store.AccountByID(ctx, Scope{All: true}, userID); err == nil {
			return acc.User
		}
	}
	return User{ID: userID}
}

// event describes what actor did to target.
func (c *core) event(actor Actor, kind EventKind, target User, detail string) Event {
	at := c.nowMillis()
	e := Event{
		ID: newEventID(at), At: at, Kind: kind, ActorKind: "anonymous",
		ActorID: actor.UserID(), ActorFrom: actor.CustomerID(), SessionID: cmp.Or(actor.identity.SessionID(), actor.within), KeyID: actor.identity.KeyID(),
		UserID: target.ID, CustomerID: target.CustomerID,
		Address: actor.address, UserAgent: actor.userAgent, Detail: cutText(detail, 255),
	}
	switch actor.kind {
	case system:
		e.ActorKind = "system"
	case user, stepping:
		e.ActorKind = "user"
	}
	return e
}

// Identity is who a valid credential belongs to. It is immutable and may be shared; a nil Identity is nobody, and all
// its methods give the zero value.
type Identity struct {
	c      accessClaims
	key    string // id of the API key; then c has no session, no methods and no times but perhaps an end
	scopes []string
}

// UserID is the user's id (claim sub).
func (i *Identity) UserID() string {
	if i == nil {
		return ""
	}
	return i.c.Subject
}

// CustomerID is the user's customer (claim cid).
func (i *Identity) CustomerID() string {
	if i == nil {
		return ""
	}
	return i.c.Customer
}

// SessionID is the session (claim sid); "" for an API key.
func (i *Identity) SessionID() string {
	if i == nil {
		return ""
	}
	return i.c.Session
}

// KeyID is the id of the API key, "" for an access token.
func (i *Identity) KeyID() string {
	if i == nil {
		return ""
	}
	return i.key
}

// Scopes are those of the API key; nil for an access token, which needs none.
func (i *Identity) Scopes() []string {
	if i == nil {
		return nil
	}
	return slices.Clone(i.scopes)
}

// HasScope reports whether the credential may be used for this: an access token may for everything, an API key for what
// its scopes name, and with ScopeFull for everything. Roles are asked for besides.
func (i *Identity) HasScope(scope string) bool {
	return i != nil && (i.key == "" || slices.Contains(i.scopes, scope) || slices.Contains(i.scopes, ScopeFull))
}

// Roles are the codes of the roles the credential carries, in order (claim roles). Those of an API key are its owner's.
func (i *Identity) Roles() []string {
	if i == nil {
		return nil
	}
	return slices.Clone(i.c.Roles)
}

// HasRole reports whether the credential carries the role.
func (i *Identity) HasRole(code string) bool {
	return i != nil && slices.Contains(i.c.Roles, code)
}

// Methods says how the user proved who they are (claim amr, RFC 8176).
func (i *Identity) Methods() []string {
	if i == nil {
		return nil
	}
	return slices.Clone(i.c.Methods)
}

// AuthTime is when the user proved who they are (claim auth_time); a refresh does not move it. Zero for an API key.
func (i *Identity) AuthTime() time.Time {
	if i == nil {
		return time.Time{}
	}
	return claimTime(i.c.AuthTime)
}

// claimTime reads a NumericDate; 0 stands for none.
func claimTime(unix int64) time.Time {
	if unix == 0 {
		return time.Time{}
	}
	return time.Unix(unix, 0).UTC()
}

// byPassword reports whether the login was by password.
func (i *Identity) byPassword() bool { return slices.Contains(i.c.Methods, "pwd") }

// Step is what the login of the credential still lacks, "" for nothing: only Auth.AuthenticateStep gives others.
func (i *Identity) Step() LoginStep {
	if i == nil {
		return ""
	}
	return i.c.Step
}

// IssuedAt is when the credential was issued (claim iat).
func (i *Identity) IssuedAt() time.Time {
	if i == nil {
		return time.Time{}
	}
	return claimTime(i.c.IssuedAt)
}

// ExpiresAt is the moment from which on the credential is refused (claim exp); zero for an API key that does not expire.
func (i *Identity) ExpiresAt() time.Time {
	if i == nil {
		return time.Time{}
	}
	return claimTime(i.c.ExpiresAt)
}

// Epoch is the user's epoch the credential was issued in (claim ep).
func (i *Identity) Epoch() int64 {
	if i == nil {
		return 0
	}
	return i.c.Epoch
}

// Issuer is who issued the credential (claim iss).
func (i *Identity) Issuer() string {
	if i == nil {
		return ""
	}
	return i.c.Issuer
}

// Audience is whom the credential is for (claim aud), "" where none is configured.
func (i *Identity) Audience() string {
	if i == nil {
		return ""
	}
	return i.c.Audience
}

// Actor lets the identity act.
func (i *Identity) Actor() Actor {
	if i == nil {
		return Actor{}
	}
	if i.c.Step != "" {
		return Actor{kind: stepping, identity: i}
	}
	return Actor{kind: user, identity: i}
}

type identityKey struct{}

// ContextWithIdentity puts an identity into the context. Middleware calls it.
func ContextWithIdentity(ctx context.Context, i *Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, i)
}

// IdentityFrom is the identity a middleware put into the context; nil when there is none.
func IdentityFrom(ctx context.Context) *Identity {
	i, _ := ctx.Value(identityKey{}).(*Identity)
	return i
}
