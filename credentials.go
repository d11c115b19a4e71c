package userapi

import (
	"context"
	"errors"
	"strings"
)

// Credentials keeps what a feature of the host's knows of accounts: the secret of a second factor, the name somebody has at
// another provider. Data is sealed with a key derived from Config.Secret (AES-256-GCM, bound to kind, key and account); it
// goes with the account, and with whoever proves the account's mailbox for the first time, since somebody else may have put it there before.
//
// Only System may: a feature acts for the host, and decides itself what its callers may do.
type Credentials struct{ *core }

const (
	maxCredentialKey  = 128
	maxCredentialData = 8000 // bytes; sealed, it is a little more
)

// Find reads the one credential of a kind with this key, whosever it is. ErrNotFound.
func (c *Credentials) Find(ctx context.Context, actor Actor, kind, key string) (Credential, error) {
	if err := actor.hosting(); err != nil {
		return Credential{}, err
	}
	if !validKind(kind) || key == "" || len(key) > maxCredentialKey {
		return Credential{}, ErrNotFound
	}
	cred, err := c.store.Credential(ctx, kind, key)
	if err != nil {
		return Credential{}, err
	}
	return c.opened(cred)
}

// Of reads the credentials of an account and a kind, ordered by key.
func (c *Credentials) Of(ctx context.Context, actor Actor, userID, kind string) ([]Credential, error) {
	if err := actor.hosting(); err != nil {
		return nil, err
	}
	if !ValidID(userID) || !validKind(kind) {
		return nil, nil
	}
	all, err := c.store.CredentialsOf(ctx, userID, kind)
	for i := range all {
		if err == nil {
			all[i], err = c.opened(all[i])
		}
	}
	return all, err
}

// Put stores a credential: a new one with Version 0, else in place of the one that is at this Version, which goes up by one.
// Of any number of callers who read the same, one gets nil, so what is good once may be kept in it. tell, unless "", is mailed to
// the owner.
//
// Kind is 1 to 32 of a-z 0-9 _ . and Key 1 to 128 bytes, unique in its kind; Data is at most 8,000 bytes. ErrInvalid, ErrNotFound (no such
// account), ErrChanged; ErrTokenRevoked when the session that the actor is Within has ended.
func (c *Credentials) Put(ctx context.Context, actor Actor, cred Credential, tell Notice) (Credential, error) {
	w, err := c.write(ctx, actor, cred, tell, EventCredentialChanged)
	if err != nil {
		return Credential{}, err
	}
	if w.Credential.Data, err = c.tokens.sealData(c.tokens.credential, cred.Data, credentialBound(cred)); err != nil {
		return Credential{}, err
	}
	if err := c.stored(ctx, actor, c.store.PutCredential(ctx, w)); err != nil {
		return Credential{}, err
	}
	c.queued(ctx, w.Outgoing)
	cred.Version++
	return cred, nil
}

// Delete deletes a credential that is at this Version. tell as for Put. ErrNotFound (no such account), ErrChanged, ErrTokenRevoked.
func (c *Credentials) Delete(ctx context.Context, actor Actor, cred Credential, tell Notice) error {
	w, err := c.write(ctx, actor, cred, tell, EventCredentialDeleted)
	if err != nil {
		return err
	}
	if err := c.stored(ctx, actor, c.store.DeleteCredential(ctx, w)); err != nil {
		return err
	}
	c.queued(ctx, w.Outgoing)
	return nil
}

func (c *Credentials) write(ctx context.Context, actor Actor, cred Credential, tell Notice, kind EventKind) (w CredentialWrite, err error) {
	if err := actor.hosting(); err != nil {
		return w, err
	}
	switch {
	case !validKind(cred.Kind):
		return w, ErrInvalid.Field("kind", "1 to 32 of a-z 0-9 _ .")
	case cred.Key == "" || len(cred.Key) > maxCredentialKey:
		return w, ErrInvalid.Field("key", "1 to 128 bytes")
	case len(cred.Data) > maxCredentialData:
		return w, ErrInvalid.Field("data", "at most 8,000 bytes")
	case cred.Version < 0:
		return w, ErrChanged
	}
	acc, err := c.account(ctx, actor, cred.UserID)
	if err != nil {
		return w, err
	}
	w = CredentialWrite{Credential: cred, IfSession: actor.within, Event: c.event(actor, kind, acc.User, cred.Kind)}
	if tell != "" {
		w.Outgoing.Messages, err = c.notify(ctx, actor, acc.User, acc.EmailKey, tell)
	}
	return w, err
}

// stored tells the end of the session that the actor is Within from a change of the credential.
func (c *Credentials) stored(ctx context.Context, actor Actor, err error) error {
	if errors.Is(err, ErrChanged) && actor.within != "" {
		if _, gone := c.store.SessionByID(ctx, actor.within); errors.Is(gone, ErrNotFound) {
			err = ErrTokenRevoked
		}
	}
	return err
}

func (c *Credentials) opened(cred Credential) (Credential, error) {
	plain, err := c.tokens.openData(c.tokens.credential, cred.Data, credentialBound(cred))
	cred.Data = plain
	return cred, err
}

// credentialBound is what a sealed credential belongs to: moved to another account, it cannot be opened.
func credentialBound(cred Credential) []byte {
	return []byte(cred.Kind + "\x00" + cred.Key + "\x00" + cred.UserID)
}

func validKind(kind string) bool {
	return kind != "" && len(kind) <= 32 && strings.Trim(kind, "abcdefghijklmnopqrstuvwxyz0123456789_.") == ""
}
