package userapi

import (
	"context"
	"errors"
	"time"
)

// OpaqueLogins is Config.OpaqueLogins: whether a whole login is one opaque key, and no refresh token.
func (a *Auth) OpaqueLogins() bool { return a.cfg.OpaqueLogins }

// checkedLogin is a session of an active account, when it was read for its opaque key.
type checkedLogin struct {
	identity *Identity
	readAt   time.Time
	seen     int64 // feed.allSeen before it was read
}

func (l *checkedLogin) holds(f *feed, now time.Time) bool {
	age := now.Sub(l.readAt)
	return age >= 0 && age < keyFor && l.seen == f.allSeen.Load() && !f.dead(&l.identity.c)
}

// authenticateOpaque checks the opaque key of a session. Roles are those of the account at this moment.
func (a *Auth) authenticateOpaque(ctx context.Context, token string) (*Identity, error) {
	session, ok := a.tokens.verifyOpaque(token)
	if !ok {
		return nil, ErrInvalidToken
	}
	if err := a.feed.fresh(ctx); err != nil {
		return nil, err
	}
	whole, now := wholeHash(token), a.cfg.Now()
	l := a.logins.get(&whole)
	known := l != nil && l.holds(a.feed, now)
	if !known {
		var err error
		if l, err = a.readLogin(ctx, session, now); err != nil {
			return nil, err
		}
	}
	if now.Unix() >= l.identity.c.ExpiresAt {
		return nil, ErrTokenExpired
	}
	if !known {
		a.logins.put(&whole, l)
	}
	return l.identity, nil
}

// readLogin reads a session. Where it, or its account, is known to have changed since, it is read again, as with API keys.
func (a *Auth) readLogin(ctx context.Context, session string, now time.Time) (*checkedLogin, error) {
	for range maxTries {
		seen := a.feed.allSeen.Load() // before the look-up: it does not speak for what is revoked after it
		sa, err := a.store.SessionByID(ctx, session)
		switch {
		case errors.Is(err, ErrNotFound), err == nil && (!sa.Account.Active || sa.Session.Step != ""):
			return nil, ErrTokenRevoked
		case err != nil:
			return nil, err
		}
		l := &checkedLogin{identity: &Identity{c: *a.claims(sa.Account, sa.Session)}, readAt: now, seen: seen}
		if !a.feed.dead(&l.identity.c) {
			return l, nil
		}
	}
	return nil, ErrUnavailable
}
