package memory

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/userapi/userapi"
)

type credentialKey struct{ kind, key string }

// Credential implements userapi.CredentialStore.
func (s *Store) Credential(ctx context.Context, kind, key string) (userapi.Credential, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return userapi.Credential{}, err
	}
	defer unlock()
	c, ok := s.credentials[credentialKey{kind, key}]
	if !ok {
		return userapi.Credential{}, userapi.ErrNotFound
	}
	return copyCredential(c), nil
}

// CredentialsOf implements userapi.CredentialStore.
func (s *Store) CredentialsOf(ctx context.Context, userID, kind string) ([]userapi.Credential, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var found []userapi.Credential
	for _, c := range s.credentials {
		if c.UserID == userID && (kind == "" || c.Kind == kind) {
			found = append(found, copyCredential(c))
		}
	}
	slices.SortFunc(found, func(a, b userapi.Credential) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Key, b.Key))
	})
	return found, nil
}

// PutCredential implements userapi.CredentialStore.
func (s *Store) PutCredential(ctx context.Context, w userapi.CredentialWrite) error {
	unlock, err := s.lock(ctx, w.Event)
	if err != nil {
		return err
	}
	defer unlock()
	c := copyCredential(w.Credential)
	a, ok := s.accounts[c.UserID]
	if !ok {
		return userapi.ErrNotFound
	}
	key := credentialKey{c.Kind, c.Key}
	old, ok := s.credentials[key]
	if old.Version != c.Version || ok && old.UserID != c.UserID || !s.inside(w.IfSession) || w.IfVersion != 0 && a.Version != w.IfVersion {
		return userapi.ErrChanged
	}
	if w.IfVersion != 0 {
		a.Version++
		s.accounts[a.ID] = a
	}
	c.Version++
	s.credentials[key] = c
	s.give(w.Outgoing)
	s.record(w.Event)
	return nil
}

// DeleteCredential implements userapi.CredentialStore.
func (s *Store) DeleteCredential(ctx context.Context, w userapi.CredentialWrite) error {
	unlock, err := s.lock(ctx, w.Event)
	if err != nil {
		return err
	}
	defer unlock()
	key := credentialKey{w.Credential.Kind, w.Credential.Key}
	old, ok := s.credentials[key]
	if !ok || old.Version != w.Credential.Version || old.UserID != w.Credential.UserID || !s.inside(w.IfSession) {
		return userapi.ErrChanged
	}
	delete(s.credentials, key)
	s.give(w.Outgoing)
	s.record(w.Event)
	return nil
}

// endCredentials deletes those that are over.
func (s *Store) endCredentials(over func(userapi.Credential) bool) {
	maps.DeleteFunc(s.credentials, func(_ credentialKey, c userapi.Credential) bool { return over(c) })
}

func copyCredential(c userapi.Credential) userapi.Credential {
	c.Data = slices.Clone(c.Data)
	return c
}
