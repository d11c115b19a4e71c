package memory

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/userapi/userapi"
)

// FindKey implements userapi.KeyStore.
func (s *Store) FindKey(ctx context.Context, scope userapi.Scope, by userapi.KeyRef) (userapi.KeyAccount, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return userapi.KeyAccount{}, err
	}
	defer unlock()
	k, ok := s.keys[by.ID]
	if by.ID == "" {
		for _, one := range s.keys {
			if one.Prefix == by.Prefix {
				k, ok = one, true
			}
		}
	}
	if !ok || !scope.Holds(s.accounts[k.UserID].CustomerID) {
		return userapi.KeyAccount{}, userapi.ErrNotFound
	}
	return userapi.KeyAccount{Key: copyKey(k), Account: s.read(s.accounts[k.UserID])}, nil
}

// ListKeys implements userapi.KeyStore.
func (s *Store) ListKeys(ctx context.Context, scope userapi.Scope, userID string) ([]userapi.APIKey, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var keys []userapi.APIKey
	for _, k := range s.keys {
		if k.UserID == userID && scope.Holds(s.accounts[userID].CustomerID) {
			keys = append(keys, copyKey(k).APIKey)
		}
	}
	slices.SortFunc(keys, func(a, b userapi.APIKey) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return keys, nil
}

// InsertKey implements userapi.KeyStore.
func (s *Store) InsertKey(ctx context.Context, w userapi.KeyInsert) error {
	unlock, err := s.lock(ctx, w.Event)
	if err != nil {
		return err
	}
	defer unlock()
	a, ok := s.accounts[w.Key.UserID]
	if !ok || !w.Scope.Holds(a.CustomerID) || !a.Active || a.Epoch != w.IfEpoch || !s.inside(w.IfSession) {
		return userapi.ErrChanged
	}
	if !s.hasRoomForKey(w.Key, w.Key.CreatedAt, w.Cap) || w.CapAll != 0 && s.countKeys(w.Key.UserID) >= w.CapAll {
		return userapi.ErrKeyQuota
	}
	for _, k := range s.keys {
		if k.ID == w.Key.ID || k.Prefix == w.Key.Prefix {
			return userapi.ErrIDTaken
		}
	}
	if s.keyNameTaken(w.Key) {
		return userapi.ErrKeyNameTaken
	}
	w.Key.Version = 1
	s.putKey(w.Key)
	s.record(w.Event)
	return nil
}

// ChangeKey implements userapi.KeyStore.
func (s *Store) ChangeKey(ctx context.Context, w userapi.KeyUpdate) error {
	unlock, err := s.lock(ctx, w.Event)
	if err != nil {
		return err
	}
	defer unlock()
	a := s.accounts[w.Key.UserID]
	k, ok := s.keys[w.Key.ID]
	switch {
	case !ok || k.UserID != a.ID || !w.Scope.Holds(a.CustomerID):
		return userapi.ErrNotFound
	case k.Version != w.IfVersion || !s.inside(w.IfSession):
		return userapi.ErrChanged
	case w.TakesPlace && !s.hasRoomForKey(k, w.Now, w.Cap):
		return userapi.ErrKeyQuota
	case s.keyNameTaken(w.Key):
		return userapi.ErrKeyNameTaken
	}
	k.Name, k.NameKey, k.Scopes, k.Active = w.Key.Name, w.Key.NameKey, w.Key.Scopes, w.Key.Active
	k.Version++
	s.putKey(k)
	a.Version++
	s.accounts[a.ID] = a
	s.revoke(w.Revoke)
	s.record(w.Event)
	return nil
}

// DeleteKey implements userapi.KeyStore.
func (s *Store) DeleteKey(ctx context.Context, w userapi.KeyDelete) error {
	unlock, err := s.lock(ctx, w.Event)
	if err != nil {
		return err
	}
	defer unlock()
	a := s.accounts[w.UserID]
	if k, ok := s.keys[w.ID]; !ok || k.UserID != a.ID || !w.Scope.Holds(a.CustomerID) {
		return userapi.ErrNotFound
	}
	delete(s.keys, w.ID)
	a.Version++
	s.accounts[a.ID] = a
	s.revoke(w.Revoke)
	s.record(w.Event)
	return nil
}

// TouchKey implements userapi.KeyStore.
func (s *Store) TouchKey(ctx context.Context, id string, at time.Time, every time.Duration) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if k, ok := s.keys[id]; ok && (k.LastUsedAt.IsZero() || !k.LastUsedAt.After(at.Add(-every))) {
		k.LastUsedAt = at
		s.putKey(k)
	}
	return nil
}

// inside reports whether the session that something is asked for in, if any, is there.
func (s *Store) inside(session string) bool {
	_, ok := s.sessions[session]
	return ok || session == ""
}

func (s *Store) hasRoomForKey(key userapi.StoredKey, now time.Time, most int64) bool {
	var usable int64
	for _, k := range s.keys {
		if k.UserID == key.UserID && k.ID != key.ID && k.Active && (k.ExpiresAt.IsZero() || k.ExpiresAt.After(now)) {
			usable++
		}
	}
	return usable < most
}

func (s *Store) countKeys(userID string) (n int64) {
	for _, k := range s.keys {
		if k.UserID == userID {
			n++
		}
	}
	return n
}

func (s *Store) keyNameTaken(key userapi.StoredKey) bool {
	for _, k := range s.keys {
		if k.UserID == key.UserID && k.NameKey == key.NameKey && k.ID != key.ID {
			return true
		}
	}
	return false
}

// endKeys deletes the keys of a user.
func (s *Store) endKeys(userID string) {
	for id, k := range s.keys {
		if k.UserID == userID {
			delete(s.keys, id)
		}
	}
}

// disableKeys makes all keys inactive.
func (s *Store) disableKeys() {
	for id, k := range s.keys {
		if k.Active {
			k.Active = false
			k.Version++
			s.keys[id] = k
		}
	}
}

func (s *Store) putKey(k userapi.StoredKey) {
	k = copyKey(k)
	k.ExpiresAt, k.CreatedAt, k.LastUsedAt = stamp(k.ExpiresAt), stamp(k.CreatedAt), stamp(k.LastUsedAt)
	s.keys[k.ID] = k
}

func copyKey(k userapi.StoredKey) userapi.StoredKey {
	k.Scopes = slices.Clone(k.Scopes)
	return k
}
