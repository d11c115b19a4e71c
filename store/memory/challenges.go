package memory

import (
	"context"

	"github.com/userapi/userapi"
)

// InsertChallenge implements userapi.ChallengeStore.
func (s *Store) InsertChallenge(ctx context.Context, w userapi.ChallengeInsert) error {
	unlock, err := s.lock(ctx, w.Event)
	if err != nil {
		return err
	}
	defer unlock()
	if ch := w.Outgoing.Challenge; ch != nil && ch.UserID != "" {
		if a, ok := s.accounts[ch.UserID]; !ok || a.Version != w.IfVersion {
			return userapi.ErrChanged
		}
	}
	s.give(w.Outgoing)
	s.record(w.Event)
	return nil
}

// TryChallenge implements userapi.ChallengeStore.
func (s *Store) TryChallenge(ctx context.Context, w userapi.ChallengeTry) (userapi.Challenge, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return userapi.Challenge{}, err
	}
	defer unlock()
	ch, ok := s.challenge(w)
	if !ok || !w.Now.Before(ch.ExpiresAt) || ch.Tries >= ch.MaxTries {
		return userapi.Challenge{}, userapi.ErrNotFound
	}
	ch.Tries++
	s.challenges[ch.ID] = ch
	return ch, nil
}

func (s *Store) challenge(w userapi.ChallengeTry) (userapi.Challenge, bool) {
	if w.ID != "" {
		ch, ok := s.challenges[w.ID]
		return ch, ok
	}
	for _, ch := range s.challenges {
		if ch.Purpose == w.Purpose && ch.Subject == w.Subject {
			return ch, true
		}
	}
	return userapi.Challenge{}, false
}

// ReturnTry implements userapi.ChallengeStore.
func (s *Store) ReturnTry(ctx context.Context, id string) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if ch, ok := s.challenges[id]; ok && ch.Tries > 0 {
		ch.Tries--
		s.challenges[id] = ch
	}
	return nil
}

// EndChallenge implements userapi.ChallengeStore.
func (s *Store) EndChallenge(ctx context.Context, w userapi.ChallengeEnd) error {
	unlock, err := s.lock(ctx, w.Event)
	if err != nil {
		return err
	}
	defer unlock()
	if _, ok := s.challenges[w.ID]; !ok {
		return userapi.ErrNotFound
	}
	s.endChallenges(func(ch userapi.Challenge) bool { return ch.ID == w.ID })
	s.record(w.Event)
	return nil
}

// give stores what a write has to send. A new challenge takes the place of the one before it.
func (s *Store) give(out userapi.Outgoing) {
	if out.Challenge != nil {
		ch := *out.Challenge
		s.endChallenges(func(old userapi.Challenge) bool { return old.Purpose == ch.Purpose && old.Subject == ch.Subject })
		ch.ExpiresAt = stamp(ch.ExpiresAt)
		s.challenges[ch.ID] = ch
	}
	s.queue(out.Messages)
}

// endChallenges deletes the challenges that are over, with their messages.
func (s *Store) endChallenges(over func(userapi.Challenge) bool) {
	for id, ch := range s.challenges {
		if over(ch) {
			delete(s.challenges, id)
			s.endMessages(func(m userapi.SealedMessage) bool { return m.ChallengeID == id })
		}
	}
}
