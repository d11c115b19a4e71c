package memory

import (
	"cmp"
	"context"
	"slices"

	"github.com/userapi/userapi"
)

// InsertSession implements userapi.SessionStore.
func (s *Store) InsertSession(ctx context.Context, w userapi.SessionInsert) ([]string, error) {
	unlock, err := s.lock(ctx, w.Event)
	if err != nil {
		return nil, err
	}
	defer unlock()
	a, ok := s.accounts[w.Session.UserID]
	if !ok || !a.Active || a.Epoch != w.IfEpoch {
		return nil, userapi.ErrChanged
	}
	if w.Replaces != "" && s.sessions[w.Replaces].UserID != a.ID {
		return nil, userapi.ErrChanged
	}
	delete(s.sessions, w.Replaces)
	if w.Session.Step == "" {
		a.LastLogin = stamp(w.Session.CreatedAt)
		s.accounts[a.ID] = a
	}
	var ended []string
	open := slices.DeleteFunc(s.sessionsOf(a.ID), func(other userapi.Session) bool { return other.Step != w.Session.Step })
	for len(open) > max(w.Cap-1, 0) {
		oldest := open[len(open)-1].ID
		delete(s.sessions, oldest)
		s.revoke(userapi.Revocation{Kind: userapi.RevokeSession, Subject: oldest, Lives: w.EndedFor})
		ended, open = append(ended, oldest), open[:len(open)-1]
	}
	s.putSession(w.Session)
	s.returnLimits(w.Returns)
	s.record(w.Event)
	return ended, nil
}

// SessionByID implements userapi.SessionStore.
func (s *Store) SessionByID(ctx context.Context, id string) (userapi.SessionAccount, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return userapi.SessionAccount{}, err
	}
	defer unlock()
	open, ok := s.sessions[id]
	if !ok {
		return userapi.SessionAccount{}, userapi.ErrNotFound
	}
	return userapi.SessionAccount{Session: copySession(open), Account: s.read(s.accounts[open.UserID])}, nil
}

// RotateSession implements userapi.SessionStore.
func (s *Store) RotateSession(ctx context.Context, w userapi.SessionRotation) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	open, ok := s.sessions[w.ID]
	a := s.accounts[open.UserID]
	if !ok || open.UserID != w.UserID || open.Counter != w.Counter || !a.Active || a.Epoch != w.IfEpoch {
		return userapi.ErrChanged
	}
	open.Counter++
	open.RotatedAt, open.LastSeenAt = w.At, w.At
	open.Address, open.UserAgent = w.Address, w.UserAgent
	s.putSession(open)
	return nil
}

// ListSessions implements userapi.SessionStore.
func (s *Store) ListSessions(ctx context.Context, scope userapi.Scope, userID string) ([]userapi.Session, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	a, ok := s.accounts[userID]
	if !ok || !scope.Holds(a.CustomerID) {
		return nil, nil
	}
	return s.sessionsOf(userID), nil
}

// EndSession implements userapi.SessionStore.
func (s *Store) EndSession(ctx context.Context, w userapi.SessionEnd) error {
	unlock, err := s.lock(ctx, w.Event)
	if err != nil {
		return err
	}
	defer unlock()
	if open, ok := s.sessions[w.ID]; !ok || open.UserID != w.UserID || !w.Scope.Holds(s.accounts[w.UserID].CustomerID) {
		return userapi.ErrNotFound
	}
	delete(s.sessions, w.ID)
	if len(w.Voids) > 0 {
		a := s.accounts[w.UserID]
		a.Version++
		s.accounts[a.ID] = a
		s.endChallenges(func(ch userapi.Challenge) bool { return ch.UserID == a.ID && slices.Contains(w.Voids, ch.Purpose) })
	}
	s.revoke(w.Revoke)
	s.record(w.Event)
	return nil
}

// sessionsOf copies the sessions of a user, newest first.
func (s *Store) sessionsOf(userID string) []userapi.Session {
	var open []userapi.Session
	for _, one := range s.sessions {
		if one.UserID == userID {
			open = append(open, copySession(one))
		}
	}
	slices.SortFunc(open, func(a, b userapi.Session) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(b.ID, a.ID))
	})
	return open
}

// endSessions deletes the sessions that are over.
func (s *Store) endSessions(over func(userapi.Session) bool) {
	for id, open := range s.sessions {
		if over(open) {
			delete(s.sessions, id)
		}
	}
}

func (s *Store) putSession(one userapi.Session) {
	one = copySession(one)
	one.CreatedAt, one.LastSeenAt, one.ExpiresAt = stamp(one.CreatedAt), stamp(one.LastSeenAt), stamp(one.ExpiresAt)
	one.AuthTime, one.RotatedAt = stamp(one.AuthTime), stamp(one.RotatedAt)
	s.sessions[one.ID] = one
}

func copySession(one userapi.Session) userapi.Session {
	one.Methods = slices.Clone(one.Methods)
	return one
}
