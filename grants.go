package userapi

import (
	"context"
	"maps"
	"slices"
	"time"
)

// GrantAPIKeys names how many usable API keys a user may have.
const GrantAPIKeys = "apikeys"

// Grant is a named limit of one user.
type Grant struct {
	Name      string    // one of Config.Grants
	Value     int64     // 0 or more
	ExpiresAt time.Time // from then on the default holds again; zero = never, and of a default
}

// Grants gives single users other limits than the defaults of Config.Grants. Hosts may count things of their own by them.
type Grants struct{ *core }

// Set grants a user a limit, in place of any before it. expires is when the default holds again; zero = never. Only System.
// ErrInvalid with field "name" for an unknown name, "value" for a negative one, "expires" for one that is past; ErrNotFound.
func (g *Grants) Set(ctx context.Context, actor Actor, userID, name string, value int64, expires time.Time) error {
	acc, err := g.grantee(ctx, actor, userID, name)
	if err != nil {
		return err
	}
	if value < 0 {
		return ErrInvalid.Field("value", "0 or more")
	}
	grant := Grant{Name: name, Value: value, ExpiresAt: storedTime(expires)}
	if grant.expired(g.nowMillis()) {
		return ErrInvalid.Field("expires", "in the future")
	}
	return g.store.SetGrant(ctx, GrantWrite{UserID: acc.ID, Grant: grant, Event: g.event(actor, EventGrantSet, acc.User, name)})
}

// Delete takes a grant back: the default holds again. Only System. ErrInvalid with field "name"; ErrNotFound when there is none.
func (g *Grants) Delete(ctx context.Context, actor Actor, userID, name string) error {
	acc, err := g.grantee(ctx, actor, userID, name)
	if err != nil {
		return err
	}
	return g.store.DeleteGrant(ctx, GrantWrite{
		UserID: acc.ID, Grant: Grant{Name: name}, Event: g.event(actor, EventGrantDeleted, acc.User, name),
	})
}

// grantee reads the user whose limit System is about to change.
func (g *Grants) grantee(ctx context.Context, actor Actor, userID, name string) (Account, error) {
	if err := actor.hosting(); err != nil {
		return Account{}, err
	}
	if err := g.knownGrant(name); err != nil {
		return Account{}, err
	}
	return g.account(ctx, actor, userID)
}

func (c *core) knownGrant(name string) error {
	if _, ok := c.cfg.Grants[name]; !ok {
		return ErrInvalid.Field("name", "unknown grant")
	}
	return nil
}

// Value is the limit that holds for a user now. Oneself, admins, System. ErrInvalid with field "name"; ErrForbidden, ErrNotFound.
func (g *Grants) Value(ctx context.Context, actor Actor, userID, name string) (int64, error) {
	acc, err := g.owner(ctx, actor, userID)
	if err == nil {
		err = g.knownGrant(name)
	}
	if err != nil {
		return 0, err
	}
	return g.granted(ctx, acc.ID, name)
}

// List gives all limits that hold for a user now, ordered by name. Oneself, admins, System. ErrForbidden, ErrNotFound.
func (g *Grants) List(ctx context.Context, actor Actor, userID string) ([]Grant, error) {
	acc, err := g.owner(ctx, actor, userID)
	if err != nil {
		return nil, err
	}
	return g.grants(ctx, acc.ID)
}

// grants reads what holds for a user: what was granted and has not expired, else the defaults.
func (c *core) grants(ctx context.Context, userID string) ([]Grant, error) {
	given, err := c.store.ListGrants(ctx, Scope{All: true}, userID)
	if err != nil {
		return nil, err
	}
	now := c.nowMillis()
	var all []Grant
	for _, name := range slices.Sorted(maps.Keys(c.cfg.Grants)) {
		holds := Grant{Name: name, Value: c.cfg.Grants[name]}
		for _, one := range given {
			if one.Name == name && !one.expired(now) {
				holds = one
			}
		}
		all = append(all, holds)
	}
	return all, nil
}

func (c *core) granted(ctx context.Context, userID, name string) (int64, error) {
	all, err := c.grants(ctx, userID)
	for _, one := range all {
		if one.Name == name {
			return one.Value, err
		}
	}
	return 0, err
}

func (one Grant) expired(now time.Time) bool {
	return past(one.ExpiresAt, now)
}
