package userapi

import (
	"context"
	"errors"
	"slices"
	"strings"
)

// Membership is the level a user has on one resource of the host's: a document, a list, a group.
type Membership struct {
	UserID     string
	Resource   string // its kind: 1 to 64 of a-z 0-9 _ . :
	ResourceID string // 1 to 64 of A-Z a-z 0-9 . _ : -, not only dots
	Level      string // one of MembershipConfig.Levels
}

// MembershipConfig says which levels there are, and whose resources are.
type MembershipConfig struct {
	// Levels are named from the lowest to the highest: at most 16, each 1 to 64 of a-z 0-9 _ . :. Who has one has those
	// below it too. What everybody may do without a membership ("public") is no level. Default: none, and then nobody has any.
	Levels []string

	// Owns says whether a resource is there and belongs to the customer. It is asked whenever an admin gives or takes a
	// level or lists members, since the ids are the host's and may be known to all its customers: an admin must not put
	// themselves on another's. Nil = only System does any of this. An error refuses, as that of a Before… hook.
	Owns func(ctx context.Context, customerID, resource, resourceID string) (bool, error)
}

const maxLevels = 16

func (m *MembershipConfig) complete(require func(ok bool, text string)) {
	m.Levels = slices.Clone(m.Levels)
	require(len(m.Levels) <= maxLevels, "Memberships.Levels are more than 16")
	for i, level := range m.Levels {
		require(validResource(level), "Memberships.Levels are 1 to 64 of a-z 0-9 _ . : each")
		require(!slices.Contains(m.Levels[:i], level), "Memberships.Levels holds a level twice")
	}
}

// upTo are the levels that somebody has with this one. A level the host no longer names is none.
func (m *MembershipConfig) upTo(level string) []string {
	return m.Levels[:slices.Index(m.Levels, level)+1]
}

// validResource is for levels too. Without a dash in either, "<resource>-<id>-<level>" reads one way.
func validResource(name string) bool {
	return len(name) > 0 && len(name) <= 64 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_.:") == ""
}

// valid names what is wrong with where a membership is.
func (one Membership) valid() error {
	bad := ErrInvalid
	if !validResource(one.Resource) {
		bad = bad.Field("resource", "1 to 64 of a-z 0-9 _ . :")
	}
	if !opaqueID(one.ResourceID) {
		bad = bad.Field("resource_id", "1 to 64 of A-Z a-z 0-9 . _ : -, not only dots")
	}
	if bad != ErrInvalid {
		return bad
	}
	return nil
}

// role is how a level on a resource is written. What came with a request is not repeated unless it is well formed.
func (one Membership) role(level string) string {
	part := func(ok bool, text string) string {
		if ok {
			return text
		}
		return "?"
	}
	return part(validResource(one.Resource), one.Resource) + "-" + part(opaqueID(one.ResourceID), one.ResourceID) + "-" + part(validResource(level), level)
}

// MembershipPage is one page of memberships.
type MembershipPage struct {
	Memberships []Membership
	Cursor      string // of the next page; "" when there is none
}

// Memberships gives users levels on resources: roles that count for one thing alone. They stand in no token: each check
// reads the row, so that a change is in force at once, in sessions that are open too.
//
// Whatever erases a user or moves them to another customer ends their memberships. When a resource ends, or passes to another
// customer, the host calls DeleteResource: a later one with the same id inherits nothing.
type Memberships struct{ *core }

// Set gives a user a level on a resource, in place of the one they may have there. Admins who rank above the user, on a
// resource of their customer (MembershipConfig.Owns), and System. Once more is no error. A user who is inactive may be given
// a level, but has none until they are active.
//
// ErrForbidden; ErrInvalid (fields resource, resource_id, level); ErrNotFound for a user or a resource of another customer.
func (m *Memberships) Set(ctx context.Context, actor Actor, one Membership) (Membership, error) {
	if err := actor.managing(); err != nil {
		return Membership{}, err
	}
	if err := one.valid(); err != nil {
		return Membership{}, err
	}
	if levels := m.cfg.Memberships.Levels; !slices.Contains(levels, one.Level) {
		return Membership{}, ErrInvalid.Field("level", "one of: "+strings.Join(levels, ", "))
	}
	if err := m.write(ctx, actor, one, EventMembershipSet, m.store.SetMembership); err != nil {
		return Membership{}, err
	}
	// The resource may have ended between the look and the write. Its end has removed what was written before; what was
	// written after sees it gone now, whether or not the caller is still there.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), hookDeadline)
	defer cancel()
	err := m.owned(ctx, actor, one)
	if errors.Is(err, ErrNotFound) {
		if err := m.write(ctx, System(), one, EventMembershipRemoved, m.store.RemoveMembership); err != nil {
			return Membership{}, err
		}
	}
	if err != nil {
		return Membership{}, err
	}
	return one, nil
}

// Remove takes a user's level on a resource. Who may is as with Set. ErrForbidden; ErrNotFound, also where there is none.
func (m *Memberships) Remove(ctx context.Context, actor Actor, userID, resource, resourceID string) error {
	if err := actor.managing(); err != nil {
		return err
	}
	one := Membership{UserID: userID, Resource: resource, ResourceID: resourceID}
	if one.valid() != nil {
		return ErrNotFound
	}
	return m.write(ctx, actor, one, EventMembershipRemoved, m.store.RemoveMembership)
}

// write decides and writes, again when the user was changed meanwhile: rank and customer are those of the row written under.
func (m *Memberships) write(ctx context.Context, actor Actor, one Membership, kind EventKind, store func(context.Context, MembershipWrite) error) error {
	for range maxTries {
		acc, err := m.account(ctx, actor, one.UserID)
		if err == nil {
			err = m.mayTouch(actor, acc.User)
		}
		if err == nil {
			err = m.owned(ctx, actor, one)
		}
		if err != nil {
			return err
		}
		detail := one.Resource + "-" + one.ResourceID
		if kind == EventMembershipSet {
			detail = one.role(one.Level)
		}
		err = store(ctx, MembershipWrite{
			Scope: actor.scope(), Membership: one, IfVersion: acc.Version, Event: m.event(actor, kind, acc.User, detail),
		})
		if !m.again(err) {
			return err
		}
	}
	return ErrUnavailable
}

// owned refuses what is no resource of the actor's customer.
func (m *Memberships) owned(ctx context.Context, actor Actor, one Membership) error {
	if actor.isSystem() {
		return nil
	}
	owns := m.cfg.Memberships.Owns
	if owns == nil {
		return ErrForbidden
	}
	ok, err := owns(ctx, actor.CustomerID(), one.Resource, one.ResourceID)
	if err == nil && !ok {
		err = ErrNotFound
	}
	return err
}

// Get reads a user's membership of a resource, whether the user is active or not. Oneself, admins, System. ErrForbidden;
// ErrNotFound, also where there is none.
func (m *Memberships) Get(ctx context.Context, actor Actor, userID, resource, resourceID string) (Membership, error) {
	acc, err := m.owner(ctx, actor, userID)
	if err != nil {
		return Membership{}, err
	}
	return m.one(ctx, MembershipFilter{Scope: actor.scope(), UserID: acc.ID, Resource: resource, ResourceID: resourceID})
}

func (m *Memberships) one(ctx context.Context, f MembershipFilter) (Membership, error) {
	if (Membership{Resource: f.Resource, ResourceID: f.ResourceID}).valid() != nil {
		return Membership{}, ErrNotFound
	}
	f.Limit = 1
	found, err := m.store.ListMemberships(ctx, f)
	if err == nil && len(found) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return Membership{}, err
	}
	return found[0], nil
}

// OfUser reads a page of a user's memberships, ordered by resource and its id. Oneself, admins, System. limit 1 to 100
// (0 = 100), cursor that of the page before: ErrWrongArgs. ErrForbidden, ErrNotFound.
func (m *Memberships) OfUser(ctx context.Context, actor Actor, userID string, limit int, cursor string) (MembershipPage, error) {
	acc, err := m.owner(ctx, actor, userID)
	if err != nil {
		return MembershipPage{}, err
	}
	return m.page(ctx, MembershipFilter{Scope: actor.scope(), UserID: acc.ID, Limit: limit}, cursor)
}

// OfResource reads a page of a resource's members, ordered by user id. An admin sees those of their customer, on a resource of
// their customer (MembershipConfig.Owns); System all. limit and cursor as with OfUser. ErrForbidden, ErrNotFound, ErrWrongArgs.
func (m *Memberships) OfResource(ctx context.Context, actor Actor, resource, resourceID string, limit int, cursor string) (MembershipPage, error) {
	if err := actor.managing(); err != nil {
		return MembershipPage{}, err
	}
	one := Membership{Resource: resource, ResourceID: resourceID}
	if one.valid() != nil {
		return MembershipPage{}, ErrNotFound
	}
	if err := m.owned(ctx, actor, one); err != nil {
		return MembershipPage{}, err
	}
	return m.page(ctx, MembershipFilter{Scope: actor.scope(), Resource: resource, ResourceID: resourceID, Limit: limit}, cursor)
}

const maxMemberships = 100 // of a page

func (m *Memberships) page(ctx context.Context, f MembershipFilter, cursor string) (MembershipPage, error) {
	list := []any{"memberships", f.Scope, f.UserID, f.Resource, f.ResourceID}
	if f.Limit == 0 {
		f.Limit = maxMemberships
	}
	if f.Limit < 1 || f.Limit > maxMemberships {
		return MembershipPage{}, ErrWrongArgs.Field("limit", "1 to 100")
	}
	if cursor != "" {
		at, ok := m.openCursor(list, cursor)
		if !ok {
			return MembershipPage{}, ErrWrongArgs.Field("cursor", "not a cursor of this list")
		}
		f.After = Membership{UserID: at[0], Resource: at[0], ResourceID: at[1]} // each list looks at its own
	}
	limit := f.Limit
	f.Limit++ // one more tells whether there is a next page
	found, err := m.store.ListMemberships(ctx, f)
	if err != nil {
		return MembershipPage{}, err
	}
	if len(found) <= limit {
		return MembershipPage{Memberships: found}, nil
	}
	last := found[limit-1]
	at := [2]string{last.UserID, ""}
	if f.UserID != "" {
		at = [2]string{last.Resource, last.ResourceID}
	}
	return MembershipPage{Memberships: found[:limit:limit], Cursor: m.cursor(list, at)}, nil
}

// Level is the level that the actor has on a resource at this moment; "" = none. ErrForbidden for System, who has none.
func (m *Memberships) Level(ctx context.Context, actor Actor, resource, resourceID string) (string, error) {
	if err := actor.owning(); err != nil {
		return "", err
	}
	one, err := m.one(ctx, MembershipFilter{
		Scope: actor.scope(), UserID: actor.UserID(), Resource: resource, ResourceID: resourceID, Active: true,
	})
	if errors.Is(err, ErrNotFound) || err == nil && len(m.cfg.Memberships.upTo(one.Level)) == 0 {
		return "", nil
	}
	return one.Level, err
}

// Check lets those through who have this level, or a higher one, on a resource at this moment, and System. ErrRoleMissing,
// whose field "missing" names "<resource>-<id>-<level>"; also for what is no resource, no id (the zero one too) or no level.
func (m *Memberships) Check(ctx context.Context, actor Actor, resource, resourceID, level string) error {
	if actor.isSystem() {
		return nil
	}
	has, err := m.Level(ctx, actor, resource, resourceID)
	if err != nil {
		return err
	}
	if !slices.Contains(m.cfg.Memberships.upTo(has), level) {
		return ErrRoleMissing.Field("missing", Membership{Resource: resource, ResourceID: resourceID}.role(level))
	}
	return nil
}

// Roles are all that a user may do on resources, as "<resource>-<id>-<level>" for each level up to the member's own: none of an
// inactive user, none for a level that the host no longer names. Oneself, admins, System. ErrForbidden, ErrNotFound.
func (m *Memberships) Roles(ctx context.Context, actor Actor, userID string) ([]string, error) {
	acc, err := m.owner(ctx, actor, userID)
	if err != nil {
		return nil, err
	}
	held, err := m.memberships(ctx, MembershipFilter{Scope: actor.scope(), UserID: acc.ID, Active: true})
	if err != nil {
		return nil, err
	}
	roles := []string{}
	for _, one := range held {
		for _, level := range m.cfg.Memberships.upTo(one.Level) {
			roles = append(roles, one.role(level))
		}
	}
	return roles, nil
}

// memberships are all that f lets through, read batch by batch.
func (c *core) memberships(ctx context.Context, f MembershipFilter) ([]Membership, error) {
	var all []Membership
	f.Limit = sweepBatch
	for {
		found, err := c.store.ListMemberships(ctx, f)
		if err != nil {
			return nil, err
		}
		if all = append(all, found...); len(found) < f.Limit {
			return all, nil
		}
		f.After = found[len(found)-1]
	}
}

// DeleteResource removes all members of a resource, in whatever customer: the host calls it when the resource has ended or has
// passed to another customer, after Owns has begun to say so, or in the same transaction (API.WithStore): then API.Committed removes
// once more those who were given a level by somebody who did not see it end yet. Only System. Once more is no error; after an
// error some may be left. ErrInvalid (fields resource, resource_id).
func (m *Memberships) DeleteResource(ctx context.Context, actor Actor, resource, resourceID string) error {
	if err := actor.hosting(); err != nil {
		return err
	}
	if err := (Membership{Resource: resource, ResourceID: resourceID}).valid(); err != nil {
		return err
	}
	w := ResourceEnd{Resource: resource, ResourceID: resourceID, Event: m.event(actor, EventResourceDeleted, User{}, resource+"-"+resourceID)}
	err := m.store.EndResource(ctx, w)
	if tx, ok := m.store.Store.(TxStore); ok && err == nil {
		w.Event = Event{} // it is told of already
		m.afterCommit(ctx, func(ctx context.Context) {
			m.bestEffort(ctx, "could not remove the last members of a resource", func(ctx context.Context) error { return tx.Base().EndResource(ctx, w) })
		})
	}
	return err
}
