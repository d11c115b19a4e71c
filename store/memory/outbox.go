package memory

import (
	"context"
	"slices"
	"time"

	"github.com/userapi/userapi"
)

// message is a message and when it is due, by the process's own clock, which here is the clock of the database.
type message struct {
	userapi.SealedMessage
	due time.Time
}

// LeaseMessages implements userapi.OutboxStore. The oldest are those that have been due for longest.
func (s *Store) LeaseMessages(ctx context.Context, limit int, lease time.Duration) ([]userapi.SealedMessage, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	now := time.Now()
	var due []*message
	for i := range s.messages {
		if m := &s.messages[i]; !now.Before(m.due) {
			due = append(due, m)
		}
	}
	slices.SortStableFunc(due, func(a, b *message) int { return a.due.Compare(b.due) })
	var leased []userapi.SealedMessage
	for _, m := range page(due, 0, limit) {
		m.Attempt++
		m.due = now.Add(lease)
		leased = append(leased, copyMessage(m.SealedMessage))
	}
	return leased, nil
}

// DelayMessage implements userapi.OutboxStore.
func (s *Store) DelayMessage(ctx context.Context, w userapi.MessageDelay) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	for i := range s.messages {
		if m := &s.messages[i]; m.ID == w.ID && m.Attempt == w.Attempt {
			m.due = time.Now().Add(w.After)
		}
	}
	return nil
}

// EndMessage implements userapi.OutboxStore. With w.Void the challenge's other messages go too.
func (s *Store) EndMessage(ctx context.Context, w userapi.MessageEnd) error {
	unlock, err := s.lock(ctx, w.Event)
	if err != nil {
		return err
	}
	defer unlock()
	i := slices.IndexFunc(s.messages, func(m message) bool { return m.ID == w.ID })
	if i < 0 {
		return userapi.ErrNotFound
	}
	of := s.messages[i].ChallengeID
	s.messages = slices.Delete(s.messages, i, i+1)
	if w.Void {
		s.endChallenges(func(ch userapi.Challenge) bool { return ch.ID == of })
	}
	s.record(w.Event)
	return nil
}

// queue puts messages into the outbox, due at once.
func (s *Store) queue(messages []userapi.SealedMessage) {
	for _, m := range messages {
		m.ExpiresAt = stamp(m.ExpiresAt)
		s.messages = append(s.messages, message{copyMessage(m), time.Now()})
	}
}

// endMessages deletes the messages that are over.
func (s *Store) endMessages(over func(userapi.SealedMessage) bool) {
	s.messages = slices.DeleteFunc(s.messages, func(m message) bool { return over(m.SealedMessage) })
}

func copyMessage(m userapi.SealedMessage) userapi.SealedMessage {
	m.Sealed = slices.Clone(m.Sealed)
	return m
}
