package userapi

import (
	"context"
	"time"
)

// Session is one login on one device.
type Session struct {
	ID         string
	UserID     string
	CreatedAt  time.Time
	LastSeenAt time.Time // the last refresh
	ExpiresAt  time.Time // the absolute end
	AuthTime   time.Time // when the user proved who they are; survives a refresh
	Methods    []string  // how (RFC 8176: "pwd"); at least one, at most 8, none with a comma
	Address    string    // of the last login or refresh
	UserAgent  string    // likewise, at most 255 bytes

	Step      LoginStep // what the login still lacks; "" = nothing
	Counter   int64     // the refresh counter
	RotatedAt time.Time // when it last went up; CreatedAt at first
}

// Sessions lists and ends sessions.
type Sessions struct{ *core }

// List reads the sessions of a user, newest first, but those of logins that lack a step. Oneself, admins, System. ErrForbidden, ErrNotFound.
func (s *Sessions) List(ctx context.Context, actor Actor, userID string) ([]Session, error) {
	acc, err := s.owner(ctx, actor, userID)
	if err != nil {
		return nil, err
	}
	all, err := s.store.ListSessions(ctx, actor.scope(), acc.ID)
	now := s.nowMillis()
	live := all[:0:0]
	for _, one := range all {
		if !s.over(one, acc.User, now) && one.Step == "" {
			live = append(live, one)
		}
	}
	return live, err
}

// owner reads the user whose sessions, memberships, API keys or grants these are; a service has no business with them.
func (c *core) owner(ctx context.Context, actor Actor, userID string) (Account, error) {
	if err := actor.known(); err != nil {
		return Account{}, err
	}
	if !actor.isSystem() && !actor.isAdmin() && !actor.is(userID) {
		return Account{}, ErrForbidden
	}
	return c.account(ctx, actor, userID)
}

// End ends one session of a user, and what may have been asked for in it: codes and links that prove a phone number or an
// e-mail address. Oneself; admins who rank above the user; System. ErrForbidden, ErrNotFound.
func (s *Sessions) End(ctx context.Context, actor Actor, userID, sessionID string) error {
	acc, err := s.owner(ctx, actor, userID)
	if err != nil {
		return err
	}
	if err := s.mayTouch(actor, acc.User); err != nil {
		return err
	}
	if !ValidID(sessionID) {
		return ErrNotFound
	}
	return s.endSession(ctx, actor, acc.User, sessionID, EventSessionEnded)
}

// EndAll ends every session and every token of a user, the actor's own included, and codes and links as End. Oneself; admins who rank above the
// user; System. ErrForbidden, ErrNotFound.
func (s *Sessions) EndAll(ctx context.Context, actor Actor, userID string) error {
	for range maxTries {
		acc, err := s.owner(ctx, actor, userID)
		if err != nil {
			return err
		}
		if err := s.mayTouch(actor, acc.User); err != nil {
			return err
		}
		acc.Epoch++
		err = s.store.ChangeUser(ctx, UserUpdate{
			Scope: actor.scope(), Account: acc, IfVersion: acc.Version, CustomerBefore: acc.CustomerID,
			EndSessions: true, Revoke: s.revokeUser(acc.ID, acc.Epoch), Event: s.event(actor, EventSessionsEnded, acc.User, ""),
			Voids: sessionPurposes,
		})
		if !s.again(err) {
			return err
		}
	}
	return ErrUnavailable
}

// RevokeAll ends everything that was issued before this moment, for everybody, codes, links and what waits to be sent
// included: after the database was restored from a backup, or when a secret leaked. API keys become inactive; their owners may
// enable them again. Only System. Sessions opened afterwards live.
func (s *Sessions) RevokeAll(ctx context.Context, actor Actor) error {
	if err := actor.hosting(); err != nil {
		return err
	}
	revoke := Revocation{Kind: RevokeAll, Subject: newID(), Below: s.cfg.Now().UnixMilli(), Lives: s.revocationLives() + maxSkew}
	return s.store.EndEverything(ctx, EverythingEnd{Revoke: revoke, Event: s.event(actor, EventEverythingEnded, User{}, "")})
}
