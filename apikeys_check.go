package userapi

import (
	"context"
	"crypto/subtle"
	"errors"
	"sync/atomic"
	"time"
)

const (
	// keyFor is how long an API key, or that of an opaque login, is remembered after it was read, at most: well below how long revocations are known, and
	// it bounds what a read from a node that lags behind can do.
	keyFor = time.Minute
	// touchEvery is how often the use of a key is written down.
	touchEvery = 5 * time.Minute
)

// AuthenticateKey checks an API key as a whole: its form, its secret, that it is active and has not expired, and that its
// owner is active. The identity has the owner's roles of this moment. actor says from where the key comes.
//
// A key that was just checked is remembered by its SHA-256 (Config.KeyCache); then no row of it is read, and what ends or changes
// it, or its owner's trust, is known as for an access token: see Authenticate.
//
// ErrInvalidKey, whatever is wrong; ErrRateLimited for a wrong key from an address with too many of them;
// ErrUnavailable when key or revocations cannot be read, or what was read is older than what is known to have been revoked:
// it fails closed.
func (a *Auth) AuthenticateKey(ctx context.Context, actor Actor, key Secret) (*Identity, error) {
	if err := actor.some(); err != nil {
		return nil, err
	}
	if a.bound != nil {
		return nil, ErrInTx
	}
	if len(key) != keyLength {
		return nil, ErrInvalidKey
	}
	whole := wholeHash(string(key))
	k := a.keys.get(&whole) // by all of the key, so its secret is the right one
	if k == nil {
		if _, _, ok := parseKey(string(key)); !ok {
			return nil, ErrInvalidKey
		}
	}
	if err := a.feed.fresh(ctx); err != nil {
		return nil, err
	}
	now := a.cfg.Now()
	if k == nil || !k.holds(a.feed, now) {
		prefix, hash, _ := parseKey(string(key))
		var err error
		if k, err = a.readKey(ctx, prefix, now); err != nil {
			if errors.Is(err, ErrInvalidKey) {
				err = a.failed(ctx, LimitKey, actor, err)
			}
			return nil, err
		}
		if subtle.ConstantTimeCompare([]byte(hash), []byte(k.hash)) != 1 {
			return nil, a.failed(ctx, LimitKey, actor, ErrInvalidKey)
		}
		a.keys.put(&whole, k)
	}
	if k.key.expired(now) {
		return nil, a.failed(ctx, LimitKey, actor, ErrInvalidKey)
	}
	a.used(ctx, k, now)
	return k.identity, nil
}

// checkedKey is a key that was active, of an active owner, when it was read.
type checkedKey struct {
	key      APIKey
	hash     string
	version  int64
	identity *Identity
	readAt   time.Time
	seen     int64 // feed.allSeen before it was read
	usedAt   atomic.Int64
}

// holds reports whether what was read is still good.
func (k *checkedKey) holds(f *feed, now time.Time) bool {
	age := now.Sub(k.readAt)
	return age >= 0 && age < keyFor && k.seen == f.allSeen.Load() && !f.outdated(k.key.ID, k.version, k.key.UserID, k.identity.Epoch())
}

// readKey reads a key that is active, of an owner who is. When it is known to have changed since it is read again; a node of a
// cluster that lags behind may go on having what is over, and then nobody can tell.
func (a *Auth) readKey(ctx context.Context, prefix string, now time.Time) (*checkedKey, error) {
	for range maxTries {
		seen := a.feed.allSeen.Load() // before the look-up: it does not speak for what is revoked after it
		ka, err := a.store.FindKey(ctx, Scope{All: true}, KeyRef{Prefix: prefix})
		switch {
		case errors.Is(err, ErrNotFound), err == nil && !(ka.Key.Active && ka.Account.Active):
			return nil, ErrInvalidKey
		case err != nil:
			return nil, err
		case !a.feed.outdated(ka.Key.ID, ka.Key.Version, ka.Account.ID, ka.Account.Epoch):
			return a.checked(ka, now, seen), nil
		}
	}
	return nil, ErrUnavailable
}

func (a *Auth) checked(ka KeyAccount, now time.Time, seen int64) *checkedKey {
	id := &Identity{key: ka.Key.ID, scopes: ka.Key.Scopes, c: accessClaims{
		Issuer: a.tokens.issuer, Audience: a.tokens.audience, Subject: ka.Account.ID, Customer: ka.Account.CustomerID,
		Roles: ka.Account.roleCodes(), Epoch: ka.Account.Epoch, IssuedAt: ka.Key.CreatedAt.Unix(),
	}}
	if end := ka.Key.ExpiresAt; !end.IsZero() {
		id.c.ExpiresAt = end.Unix()
	}
	k := &checkedKey{key: ka.Key.APIKey, hash: ka.Key.Hash, version: ka.Key.Version, identity: id, readAt: now, seen: seen}
	if last := ka.Key.LastUsedAt; !last.IsZero() {
		k.usedAt.Store(last.UnixMilli())
	}
	return k
}

// used writes down that a key was used, now and then. Of many requests at once one does.
func (a *Auth) used(ctx context.Context, k *checkedKey, now time.Time) {
	last, ms := k.usedAt.Load(), now.UnixMilli()
	if ms-last < touchEvery.Milliseconds() || !k.usedAt.CompareAndSwap(last, ms) {
		return
	}
	a.bestEffort(ctx, "could not note the use of an API key", func(ctx context.Context) error {
		return a.store.TouchKey(ctx, k.key.ID, a.nowMillis(), touchEvery)
	})
}
