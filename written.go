package userapi

import (
	"context"
	"log/slog"
)

// written is the store as the nouns see it: what has to follow a write follows each that took effect, whoever made it. This node knows
// its revocations at once, then its event is told.
type written struct {
	Store
	c *core
}

// done is called with the outcome of every write that has an event, but AddEvent.
func (s written) done(ctx context.Context, err error, revoked []Revocation, events ...Event) error {
	if err = s.c.wrote(err, revoked...); err == nil {
		s.c.tell(ctx, events...)
	}
	return err
}

// tell logs events and runs their hook. What the store took for none is none here.
func (c *core) tell(ctx context.Context, events ...Event) {
	for _, e := range events {
		if e.ID == "" {
			continue
		}
		if c.cfg.LogEvents {
			c.after(ctx, "LogEvents", func(ctx context.Context) { c.log.LogAttrs(ctx, slog.LevelInfo, "event", slog.Any("event", e)) })
		}
		if hook := c.hooks.Event; hook != nil {
			c.after(ctx, "Event", func(ctx context.Context) { hook(ctx, e) })
		}
	}
}

func (s written) InsertUser(ctx context.Context, w UserInsert) error {
	return s.done(ctx, s.Store.InsertUser(ctx, w), nil, w.Event)
}

func (s written) ChangeUser(ctx context.Context, w UserUpdate) error {
	var released Event
	if w.Releases != nil {
		released = w.Releases.Event
	}
	return s.done(ctx, s.Store.ChangeUser(ctx, w), w.Revoke, released, w.Event)
}

func (s written) DeleteUser(ctx context.Context, w UserDelete) error {
	return s.done(ctx, s.Store.DeleteUser(ctx, w), w.Revoke, w.Event)
}

func (s written) UpgradeHash(ctx context.Context, w HashUpgrade) (bool, error) {
	ok, err := s.Store.UpgradeHash(ctx, w)
	if !ok {
		w.Event = Event{}
	}
	return ok, s.done(ctx, err, nil, w.Event)
}

func (s written) InsertSession(ctx context.Context, w SessionInsert) (ended []string, err error) {
	ended, err = s.Store.InsertSession(ctx, w)
	revoked := make([]Revocation, len(ended))
	for i, id := range ended {
		revoked[i] = s.c.revokeSession(id)
	}
	return ended, s.done(ctx, err, revoked, w.Event)
}

func (s written) EndSession(ctx context.Context, w SessionEnd) error {
	return s.done(ctx, s.Store.EndSession(ctx, w), []Revocation{w.Revoke}, w.Event)
}

func (s written) InsertRole(ctx context.Context, w RoleWrite) error {
	return s.done(ctx, s.Store.InsertRole(ctx, w), nil, w.Event)
}

func (s written) RenameRole(ctx context.Context, w RoleWrite) error {
	return s.done(ctx, s.Store.RenameRole(ctx, w), nil, w.Event)
}

func (s written) DeleteRole(ctx context.Context, w RoleWrite) error {
	return s.done(ctx, s.Store.DeleteRole(ctx, w), nil, w.Event)
}

func (s written) SetMembership(ctx context.Context, w MembershipWrite) error {
	return s.done(ctx, s.Store.SetMembership(ctx, w), nil, w.Event)
}

func (s written) RemoveMembership(ctx context.Context, w MembershipWrite) error {
	return s.done(ctx, s.Store.RemoveMembership(ctx, w), nil, w.Event)
}

func (s written) EndResource(ctx context.Context, w ResourceEnd) error {
	return s.done(ctx, s.Store.EndResource(ctx, w), nil, w.Event)
}

func (s written) InsertCustomer(ctx context.Context, w CustomerWrite) error {
	return s.done(ctx, s.Store.InsertCustomer(ctx, w), nil, w.Event)
}

func (s written) ChangeCustomer(ctx context.Context, w CustomerWrite) error {
	return s.done(ctx, s.Store.ChangeCustomer(ctx, w), nil, w.Event)
}

func (s written) EndEverything(ctx context.Context, w EverythingEnd) error {
	return s.done(ctx, s.Store.EndEverything(ctx, w), []Revocation{w.Revoke}, w.Event)
}

func (s written) InsertChallenge(ctx context.Context, w ChallengeInsert) error {
	return s.done(ctx, s.Store.InsertChallenge(ctx, w), nil, w.Event)
}

func (s written) EndChallenge(ctx context.Context, w ChallengeEnd) error {
	return s.done(ctx, s.Store.EndChallenge(ctx, w), nil, w.Event)
}

func (s written) EndMessage(ctx context.Context, w MessageEnd) error {
	return s.done(ctx, s.Store.EndMessage(ctx, w), nil, w.Event)
}

func (s written) PutCredential(ctx context.Context, w CredentialWrite) error {
	return s.done(ctx, s.Store.PutCredential(ctx, w), nil, w.Event)
}

func (s written) DeleteCredential(ctx context.Context, w CredentialWrite) error {
	return s.done(ctx, s.Store.DeleteCredential(ctx, w), nil, w.Event)
}

func (s written) InsertKey(ctx context.Context, w KeyInsert) error {
	return s.done(ctx, s.Store.InsertKey(ctx, w), nil, w.Event)
}

func (s written) ChangeKey(ctx context.Context, w KeyUpdate) error {
	return s.done(ctx, s.Store.ChangeKey(ctx, w), []Revocation{w.Revoke}, w.Event)
}

func (s written) DeleteKey(ctx context.Context, w KeyDelete) error {
	return s.done(ctx, s.Store.DeleteKey(ctx, w), []Revocation{w.Revoke}, w.Event)
}

func (s written) SetGrant(ctx context.Context, w GrantWrite) error {
	return s.done(ctx, s.Store.SetGrant(ctx, w), nil, w.Event)
}

func (s written) DeleteGrant(ctx context.Context, w GrantWrite) error {
	return s.done(ctx, s.Store.DeleteGrant(ctx, w), nil, w.Event)
}

func (s written) AddEvent(ctx context.Context, e Event) error {
	err := s.Store.AddEvent(ctx, e) // it ends no trust, so an unknown outcome is no reason to read the revocations
	if err == nil {
		s.c.tell(ctx, e)
	}
	return err
}

func (s written) PruneEvents(ctx context.Context, w EventPrune) (int, error) {
	n, err := s.Store.PruneEvents(ctx, w)
	if n == 0 {
		w.Event = Event{}
	}
	return n, s.done(ctx, err, nil, w.Event)
}
