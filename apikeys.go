package userapi

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The scopes this module knows. Hosts declare others in Config.Scopes.
const (
	ScopeRead     = "userapi:read"   // reading routes of this module
	ScopeWrite    = "userapi:write"  // all others, but those that take ScopePassword
	ScopePassword = "users:password" // passwords, e-mail addresses, usernames and phone numbers, one's own too
	ScopeFull     = "full"           // holds every scope
)

// APIKey is a credential for programs. It acts as its owner, with the roles the owner has at the moment, as far as its scopes go.
type APIKey struct {
	ID         string
	UserID     string   // the owner
	Name       string   // 2 to 32 code points, unique among the owner's keys regardless of case
	Prefix     string   // how the key begins: what it is recognised by in lists
	Scopes     []string // at most 32, in the order they were given
	Active     bool
	ExpiresAt  time.Time // refused from then on; zero = never
	CreatedAt  time.Time
	LastUsedAt time.Time // to within 5 minutes; zero = never
}

// NewAPIKey is an API key to make.
type NewAPIKey struct {
	Name      string
	Scopes    []string
	ExpiresAt time.Time // zero = never; it cannot be changed later
}

// APIKeyChange says what changes; a nil field stays as it is.
type APIKeyChange struct {
	Name   *string
	Scopes *[]string // the whole new set
	Active *bool
}

// Keys makes API keys and looks after them: everybody their own, admins those of the users they rank above, System all. An
// API key may do none of it (OWASP ASVS 7.5.1): ErrForbidden. The key of somebody else is ErrNotFound.
type Keys struct{ *core }

// Scopes are those that the host declared in Config.Scopes.
func (k *Keys) Scopes() []string { return slices.Clone(k.cfg.Scopes) }

// Create makes an API key. The Secret is the whole key, "prefix.secret", at most 96 bytes: it is shown this once, of the
// secret part only a hash is kept. An owner has as many usable keys (active, not expired) as the grant "apikeys" says, and room for
// 100 more that are not.
//
// ErrForbidden, ErrNotFound; ErrInvalid with field "name", "scopes", "expires", or "user_id" for an inactive owner; ErrKeyQuota,
// with the number in the field "allowed"; ErrKeyNameTaken; ErrTokenRevoked when the actor's session has ended.
func (k *Keys) Create(ctx context.Context, actor Actor, userID string, n NewAPIKey) (APIKey, Secret, error) {
	fail := func(err error) (APIKey, Secret, error) { return APIKey{}, "", err }
	if err := actor.managingKeys(); err != nil {
		return fail(err)
	}
	for range maxTries {
		acc, err := k.owner(ctx, actor, userID)
		if err == nil {
			err = k.mayTouch(actor, acc.User)
		}
		if err == nil {
			err = k.standing(ctx, actor)
		}
		if err != nil {
			return fail(err)
		}
		if !acc.Active {
			return fail(ErrInvalid.Field("user_id", "not active"))
		}
		key, secret, err := k.newKey(acc.ID, n)
		if err != nil {
			return fail(err)
		}
		most, err := k.granted(ctx, acc.ID, GrantAPIKeys)
		if err != nil {
			return fail(err)
		}
		err = k.store.InsertKey(ctx, KeyInsert{
			Scope: actor.scope(), Key: key, IfEpoch: acc.Epoch, IfSession: actor.identity.SessionID(), Cap: most,
			CapAll: min(most, math.MaxInt64-maxUnusable) + maxUnusable,
			Event:  k.keyEvent(actor, EventKeyCreated, acc.User, key.ID, strings.Join(key.Scopes, ",")),
		})
		switch {
		case err == nil:
			return key.APIKey, secret, nil
		case !k.again(err) && !errors.Is(err, ErrIDTaken):
			return fail(roomFor(most, err))
		}
	}
	return fail(ErrUnavailable)
}

// managingKeys refuses API keys: who finds one must not make others of it.
func (a Actor) managingKeys() error {
	if err := a.known(); err != nil {
		return err
	}
	if a.isKey() {
		return ErrForbidden
	}
	return nil
}

// roomFor says how many keys there may be, where that is what err is about.
func roomFor(most int64, err error) error {
	if errors.Is(err, ErrKeyQuota) {
		return ErrKeyQuota.Field("allowed", strconv.FormatInt(most, 10))
	}
	return err
}

// newKey validates n and makes a key of it.
func (k *Keys) newKey(owner string, n NewAPIKey) (StoredKey, Secret, error) {
	now := k.nowMillis()
	key := StoredKey{APIKey: APIKey{
		ID: newID(), UserID: owner, Active: true, ExpiresAt: storedTime(n.ExpiresAt), CreatedAt: now,
	}, Version: 1}
	bad := k.setKey(&key, &n.Name, &n.Scopes)
	if !n.ExpiresAt.IsZero() && (!key.ExpiresAt.After(now) || key.ExpiresAt.Year() > 9999) {
		bad = bad.Field("expires", "in the future, at most in the year 9999")
	}
	if bad != ErrInvalid {
		return StoredKey{}, "", bad
	}
	text := makeKey()
	key.Prefix, key.Hash, _ = parseKey(text)
	return key, Secret(text), nil
}

// setKey puts a name and scopes into key, normalised. What is wrong with them becomes a field of ErrInvalid, which comes back
// itself when nothing is.
func (k *Keys) setKey(key *StoredKey, name *string, scopes *[]string) *Error {
	bad := ErrInvalid
	if name != nil {
		normal, err := normalizeName(*name)
		if n := utf8.RuneCountInString(normal); err == nil && (n < 2 || n > 32) {
			err = errors.New("2 to 32 characters")
		}
		if err != nil {
			bad = bad.Field("name", err.Error())
		}
		key.Name, key.NameKey = normal, foldForSearch(normal)
	}
	if scopes != nil {
		if wrong := k.wrongScopes(*scopes); wrong != "" {
			bad = bad.Field("scopes", wrong)
		}
		key.Scopes = append([]string{}, *scopes...)
	}
	return bad
}

// maxUnusable bounds the keys that are kept for nothing: making and disabling them must not fill the database.
const maxUnusable = 100

// maxScopes bounds what one key may hold.
const maxScopes = 32

func (k *Keys) wrongScopes(scopes []string) string {
	if len(scopes) > maxScopes {
		return "at most 32"
	}
	for i, scope := range scopes {
		switch {
		case !ourScope(scope) && !slices.Contains(k.cfg.Scopes, scope):
			return "unknown scope"
		case slices.Contains(scopes[:i], scope):
			return "each at most once"
		}
	}
	return ""
}

func ourScope(scope string) bool {
	return slices.Contains([]string{ScopeRead, ScopeWrite, ScopePassword, ScopeFull}, scope)
}

// List reads the API keys of a user, oldest first. ErrForbidden, ErrNotFound.
func (k *Keys) List(ctx context.Context, actor Actor, userID string) ([]APIKey, error) {
	if err := actor.managingKeys(); err != nil {
		return nil, err
	}
	acc, err := k.owner(ctx, actor, userID)
	if err == nil {
		err = k.mayTouch(actor, acc.User)
	}
	if err != nil {
		return nil, err
	}
	return k.store.ListKeys(ctx, actor.scope(), acc.ID)
}

// ByID reads an API key. ErrForbidden, ErrNotFound.
func (k *Keys) ByID(ctx context.Context, actor Actor, id string) (APIKey, error) {
	ka, err := k.find(ctx, actor, id)
	return ka.Key.APIKey, err
}

// find reads a key that the actor may look after.
func (k *Keys) find(ctx context.Context, actor Actor, id string) (KeyAccount, error) {
	if err := actor.managingKeys(); err != nil {
		return KeyAccount{}, err
	}
	if !ValidID(id) {
		return KeyAccount{}, ErrNotFound
	}
	ka, err := k.store.FindKey(ctx, actor.scope(), KeyRef{ID: id})
	if err == nil && !actor.isSystem() && !actor.isAdmin() && !actor.is(ka.Account.ID) {
		err = ErrNotFound
	}
	if err == nil {
		err = k.mayTouch(actor, ka.Account.User)
	}
	if err != nil {
		return KeyAccount{}, err
	}
	return ka, nil
}

// Change changes an API key; all nodes heed it within a second. To enable a key takes room as to make one does.
//
// ErrForbidden, ErrNotFound; ErrInvalid with field "name" or "scopes"; ErrKeyQuota, with the number in the field "allowed";
// ErrKeyNameTaken; ErrTokenRevoked when the actor's session has ended.
func (k *Keys) Change(ctx context.Context, actor Actor, id string, ch APIKeyChange) (APIKey, error) {
	for range maxTries {
		ka, err := k.find(ctx, actor, id)
		if err == nil {
			err = k.standing(ctx, actor)
		}
		if err != nil {
			return APIKey{}, err
		}
		w, err := k.keyUpdate(ctx, actor, ka, ch)
		if err != nil {
			return APIKey{}, err
		}
		if err = k.store.ChangeKey(ctx, w); !k.again(err) {
			if err != nil {
				return APIKey{}, roomFor(w.Cap, err)
			}
			return w.Key.APIKey, nil
		}
	}
	return APIKey{}, ErrUnavailable
}

// keyUpdate decides what a change writes.
func (k *Keys) keyUpdate(ctx context.Context, actor Actor, ka KeyAccount, ch APIKeyChange) (KeyUpdate, error) {
	key, now := ka.Key, k.nowMillis()
	if bad := k.setKey(&key, ch.Name, ch.Scopes); bad != ErrInvalid {
		return KeyUpdate{}, bad
	}
	if ch.Active != nil {
		key.Active = *ch.Active
	}
	var changed []string
	for i, given := range []bool{ch.Name != nil, ch.Scopes != nil, ch.Active != nil} {
		if given {
			changed = append(changed, []string{"name", "scopes", "active"}[i])
		}
	}
	w := KeyUpdate{
		Scope: actor.scope(), Key: key, IfVersion: ka.Key.Version, IfSession: actor.identity.SessionID(), Now: now,
		TakesPlace: key.Active && !ka.Key.Active && !key.expired(now),
		Revoke:     k.revokeKey(key.ID, ka.Key.Version+1),
		Event:      k.keyEvent(actor, EventKeyChanged, ka.Account.User, key.ID, strings.Join(changed, ",")),
	}
	var err error
	if w.TakesPlace {
		w.Cap, err = k.granted(ctx, key.UserID, GrantAPIKeys)
	}
	return w, err
}

func (key APIKey) expired(now time.Time) bool {
	return past(key.ExpiresAt, now)
}

// Delete deletes an API key for good; all nodes heed it within a second. ErrForbidden, ErrNotFound.
func (k *Keys) Delete(ctx context.Context, actor Actor, id string) error {
	ka, err := k.find(ctx, actor, id)
	if err != nil {
		return err
	}
	w := KeyDelete{
		Scope: actor.scope(), ID: id, UserID: ka.Account.ID, Revoke: k.revokeKey(id, math.MaxInt64), // whatever version there is by then
		Event: k.keyEvent(actor, EventKeyDeleted, ka.Account.User, id, ""),
	}
	return k.store.DeleteKey(ctx, w)
}

func (c *core) keyEvent(actor Actor, kind EventKind, owner User, key, detail string) Event {
	e := c.event(actor, kind, owner, detail)
	e.KeyID = key
	return e
}

// The parts of a key: a prefix to look it up by, 260 random bits, and a checksum over both, so that a misspelt key, and most
// of what is none, is found out before anything is read. Its one alphabet is that of base32.
const (
	keyPrefix = 12
	keyRandom = 52
	keySum    = 7
	keyLength = keyPrefix + len(".") + keyRandom + keySum // 72 bytes
)

func makeKey() string {
	random := rand.Text() + rand.Text() + rand.Text() // 26 characters each, of 5 bits
	body := random[:keyPrefix] + "." + random[keyPrefix:keyPrefix+keyRandom]
	return body + keyChecksum(body)
}

func keyChecksum(body string) string {
	sum := binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(body)))
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum)
}

// parseKey gives the prefix of a key and the hash of its secret part. A key is measured before anything else is done with it.
func parseKey(key string) (prefix, hash string, ok bool) {
	if len(key) != keyLength || key[keyPrefix] != '.' || keyChecksum(key[:keyLength-keySum]) != key[keyLength-keySum:] {
		return "", "", false
	}
	prefix, secret := key[:keyPrefix], key[keyPrefix+1:]
	if strings.Trim(prefix+secret, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
		return "", "", false
	}
	sum := sha256.Sum256([]byte(secret))
	return prefix, base64.RawURLEncoding.EncodeToString(sum[:]), true
}

// ParseExpiry reads when something expires: a moment (RFC 3339), or a date, which is the end of that day in UTC. A text that is
// neither is a plain error.
func ParseExpiry(text string) (time.Time, error) {
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return day.AddDate(0, 0, 1).Add(-time.Millisecond), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, errors.New("a date such as 2030-12-31, or a time such as 2030-12-31T23:59:59Z")
	}
	return at.UTC(), nil
}
