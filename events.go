package userapi

import (
	"context"
	"encoding/binary"
	"log/slog"
	"time"

	"github.com/google/uuid"
)

// Event is one entry of the audit trail. It holds no secret, and of personal data only ids, address and user agent.
type Event struct {
	ID         string // UUIDv7; its time is At
	At         time.Time
	Kind       EventKind
	ActorKind  string // "user", "anonymous" or "system"
	ActorID    string // user id of the actor, if one
	ActorFrom  string // customer of that user
	SessionID  string // session of the actor, if one
	KeyID      string // API key of the actor, if one, or the one it is about
	UserID     string // the user it is about, if one
	CustomerID string // the customer of that user, at the time
	Address    string
	UserAgent  string
	Detail     string // short and free of secrets: what changed, a role code
}

// EventKind names what happened.
type EventKind string

const (
	EventLogin              EventKind = "login"
	EventLoginFailed        EventKind = "login.failed"
	EventLoginLimited       EventKind = "login.limited"
	EventLimitReached       EventKind = "limit.reached" // attempts that failed have used a budget up; Detail names the limit; once for an account, or address, and window
	EventLogout             EventKind = "logout"
	EventRefreshReused      EventKind = "refresh.reused"
	EventSessionEnded       EventKind = "session.ended"
	EventSessionsEnded      EventKind = "sessions.ended"
	EventEverythingEnded    EventKind = "sessions.revoked_all"
	EventUserCreated        EventKind = "user.created"
	EventUserRegistered     EventKind = "user.registered"
	EventUserUpdated        EventKind = "user.updated"
	EventUserDeactivated    EventKind = "user.deactivated"
	EventUserDeleted        EventKind = "user.deleted"
	EventPasswordChanged    EventKind = "password.changed"
	EventPasswordUpgraded   EventKind = "password.upgraded"
	EventPasswordRefused    EventKind = "password.refused"
	EventRoleCreated        EventKind = "role.created"
	EventRoleRenamed        EventKind = "role.renamed"
	EventRoleDeleted        EventKind = "role.deleted"
	EventMembershipSet      EventKind = "membership.set"
	EventMembershipRemoved  EventKind = "membership.removed"
	EventResourceDeleted    EventKind = "resource.deleted" // with all its memberships
	EventCustomerCreated    EventKind = "customer.created"
	EventCustomerUpdated    EventKind = "customer.updated"
	EventPasswordUnusable   EventKind = "password.unusable"
	EventTokensIssued       EventKind = "tokens.issued"
	EventUserActivated      EventKind = "user.activated"
	EventActivationAsked    EventKind = "activation.requested"
	EventRegisteredAgain    EventKind = "registration.repeated" // for an address that is registered already
	EventResetAsked         EventKind = "reset.requested"
	EventPasswordReset      EventKind = "password.reset"
	EventEmailAsked         EventKind = "email.requested"
	EventEmailVerified      EventKind = "email.verified"
	EventEmailChanged       EventKind = "email.changed"
	EventPhoneAsked         EventKind = "phone.requested"
	EventPhoneVerified      EventKind = "phone.verified"
	EventPhoneReleased      EventKind = "phone.released" // another account proved it
	EventPhoneProved        EventKind = "phone.proved"   // without an account
	EventCodeRefused        EventKind = "code.refused"
	EventCountryStopped     EventKind = "sms.country_stopped" // too few of the codes sent there come back
	EventMessageFailed      EventKind = "message.failed"
	EventLoginStarted       EventKind = "login.started"        // the password was right, a step is left
	EventCredentialChanged  EventKind = "credential.changed"   // Detail names the kind
	EventCredentialDeleted  EventKind = "credential.deleted"   // likewise
	EventSecondFactorFailed EventKind = "second_factor.failed" // a wrong code
	EventKeyCreated         EventKind = "key.created"
	EventKeyChanged         EventKind = "key.changed"
	EventKeyDeleted         EventKind = "key.deleted"
	EventGrantSet           EventKind = "grant.set"
	EventGrantDeleted       EventKind = "grant.deleted"
	EventAccessDenied       EventKind = "access.denied" // Detail names the route; once for a user, route and 10 minutes
	EventEventsPruned       EventKind = "events.pruned" // Detail says before when
)

// LogValue is e as a group of what is not empty. Nothing in it is more than the trail keeps.
func (e Event) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("id", e.ID), slog.Time("at", e.At), slog.String("kind", string(e.Kind)), slog.String("actor_kind", e.ActorKind)}
	for _, a := range []slog.Attr{
		slog.String("actor_id", e.ActorID), slog.String("actor_from", e.ActorFrom), slog.String("session_id", e.SessionID), slog.String("key_id", e.KeyID), slog.String("user_id", e.UserID),
		slog.String("customer_id", e.CustomerID), slog.String("address", e.Address), slog.String("user_agent", e.UserAgent), slog.String("detail", e.Detail),
	} {
		if a.Value.String() != "" {
			attrs = append(attrs, a)
		}
	}
	return slog.GroupValue(attrs...)
}

// newEventID makes a UUIDv7 of this moment, so that ids are in the order of time and a span of time is a range of ids.
func newEventID(at time.Time) string {
	id := uuid.Must(uuid.NewV7())
	putTime(&id, at)
	return id.String()
}

// firstEventID is not behind the id of any event from this moment on, and behind all earlier ones.
func firstEventID(at time.Time) string {
	id := uuid.UUID{6: 0x70, 8: 0x80}
	putTime(&id, at)
	return id.String()
}

// putTime writes the 48 bits of Unix milliseconds that a UUIDv7 begins with (RFC 9562 5.7).
func putTime(id *uuid.UUID, at time.Time) {
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(max(at.UnixMilli(), 0)))
	copy(id[:6], ms[2:])
}

// EventQuery selects a page of the audit trail.
type EventQuery struct {
	UserID string      // about this user
	Kinds  []EventKind // one of these, at most 16; none = all
	Since  time.Time   // not earlier; milliseconds count; zero = all
	Until  time.Time   // earlier; zero = all
	Limit  int         // 1 to 100; 0 = 20
	Cursor string      // of the page before, with the same query otherwise
}

// EventPage is one page of the audit trail.
type EventPage struct {
	Events  []Event
	HasNext bool
	Cursor  string // of the next page; "" when there is none
}

// Audit reads and prunes the audit trail. Every write that is worth an event stores it in its own transaction: there is no change
// without its event and no event without its change. What merely expires leaves none. Hooks.Event and Config.LogEvents carry the trail elsewhere.
type Audit struct{ *core }

const (
	maxKinds    = 16
	deniedEvery = 10 * time.Minute
)

// List reads a page of the trail, newest first. Admins see the events of their customer: those about users who belonged to it at the time.
// System sees all, also those about nobody: logins of names that do not exist, role definitions, what ended everything. Users see what is
// about themselves, if UserID is their own, and not from where somebody else did it. Of what somebody of another customer did, only System
// sees who it was.
//
// The order is that of the clocks of the nodes that made the events, in milliseconds. An event is seen once its transaction has
// committed, at most WriteDeadline after its time: who reads on from the newest event seen looks back that far, and the difference of the clocks.
//
// ErrForbidden; ErrWrongArgs (user_id, kind, limit, cursor). An unknown user, or one of another customer, has no events.
func (a *Audit) List(ctx context.Context, actor Actor, q EventQuery) (EventPage, error) {
	if err := actor.known(); err != nil {
		return EventPage{}, err
	}
	own := actor.managing() != nil
	if own && !actor.is(q.UserID) {
		return EventPage{}, ErrForbidden
	}
	list := []any{"events", actor.scope(), q.UserID, q.Kinds, q.Since.UnixMilli(), q.Until.UnixMilli()}
	f, err := a.filter(actor, q, list)
	if err != nil {
		return EventPage{}, err
	}
	limit := f.Limit
	f.Limit++ // one more tells whether there is a next page
	events, err := a.store.ListEvents(ctx, f)
	if err != nil {
		return EventPage{}, err
	}
	page := EventPage{Events: events}
	if len(events) > limit {
		page.Events, page.HasNext = events[:limit:limit], true
		page.Cursor = a.cursor(list, [2]string{events[limit-1].ID})
	}
	for i := range page.Events {
		page.Events[i].hide(actor, own)
	}
	return page, nil
}

// hide takes out what is about somebody else than the reader may see: from where others acted on them, and who in another customer
// did, such as one who has proven a number that was held here.
func (e *Event) hide(reader Actor, own bool) {
	foreign := !reader.isSystem() && e.ActorFrom != "" && e.ActorFrom != reader.CustomerID()
	if foreign {
		e.ActorID, e.ActorFrom = "", ""
	}
	if foreign || own && e.ActorID != "" && !reader.is(e.ActorID) {
		e.SessionID, e.KeyID, e.Address, e.UserAgent = "", "", "", ""
	}
}

func (a *Audit) filter(actor Actor, q EventQuery, list []any) (EventFilter, error) {
	f := EventFilter{Scope: actor.scope(), UserID: q.UserID, Kinds: q.Kinds, Limit: q.Limit}
	bad := ErrWrongArgs
	if q.UserID != "" && !ValidID(q.UserID) {
		bad = bad.Field("user_id", "1 to 64 of A-Z a-z 0-9 . _ : -")
	}
	if len(q.Kinds) > maxKinds {
		bad = bad.Field("kind", "at most 16")
	}
	for _, kind := range q.Kinds {
		if !validRoleCode(string(kind)) {
			bad = bad.Field("kind", "not a kind of event")
		}
	}
	if f.Limit == 0 {
		f.Limit = 20
	}
	if f.Limit < 1 || f.Limit > 100 {
		bad = bad.Field("limit", "1 to 100")
	}
	if !q.Since.IsZero() {
		f.From = firstEventID(q.Since)
	}
	if !q.Until.IsZero() {
		f.Before = firstEventID(q.Until)
	}
	if q.Cursor != "" {
		at, ok := a.openCursor(list, q.Cursor)
		if !ok {
			bad = bad.Field("cursor", "not a cursor of this list")
		}
		f.Before = at[0]
	}
	if bad != ErrWrongArgs {
		return EventFilter{}, bad
	}
	return f, nil
}

// Denied records that a user was refused something for lack of a right (OWASP ASVS 16.3.2), once for each user and what within 10
// minutes on this node, so that nobody fills the trail with it. Package httpadapter calls it for its routes and middleware, with the
// method and pattern of the route; what should be one of few texts, of at most 255 bytes. ErrForbidden for an actor who is no user.
func (a *Audit) Denied(ctx context.Context, actor Actor, what string) error {
	if err := actor.owning(); err != nil {
		return err
	}
	what = cutText(what, 255)
	if !a.gate.first("denied#"+actor.UserID()+" "+what, a.cfg.Now(), deniedEvery) {
		return nil
	}
	return a.store.AddEvent(ctx, a.event(actor, EventAccessDenied, actor.user(), what))
}

// Prune deletes the events before a moment, in bounded batches, the oldest first, and returns how many went. It leaves an event about
// itself in the transaction of the first batch; after an error some are left, and it may be called again. Nothing else ever deletes events. Only System.
// ErrInvalid with field "before" for a moment in the future, or none.
func (a *Audit) Prune(ctx context.Context, actor Actor, before time.Time) (int, error) {
	if err := actor.hosting(); err != nil {
		return 0, err
	}
	if before = storedTime(before); before.IsZero() || before.After(a.nowMillis()) {
		return 0, ErrInvalid.Field("before", "not in the future")
	}
	w := EventPrune{Before: firstEventID(before), Limit: sweepBatch, Event: a.event(actor, EventEventsPruned, User{}, before.Format(time.RFC3339Nano))}
	for total := 0; ; w.Event = (Event{}) {
		n, err := a.store.PruneEvents(ctx, w)
		total += n
		if err != nil || n < w.Limit {
			return total, err
		}
	}
}
