package memory

import (
	"context"
	"time"

	"github.com/userapi/userapi"
)

// revocation is a row of the feed; its times are Unix milliseconds of the process's own clock, which here is the
// clock of the database.
type revocation struct {
	userapi.Revocation
	writtenAt int64
	expiresAt int64
}

// beginning is the row a store begins with: what was issued before does not hold in it.
func beginning(now int64) revocation {
	const lives = 24*time.Hour + 5*time.Minute // longer than any token
	return revocation{userapi.Revocation{Kind: userapi.RevokeAll, Subject: "beginning", Below: now}, now, now + lives.Milliseconds()}
}

// Revocations implements userapi.RevocationStore.
func (s *Store) Revocations(ctx context.Context, since int64) ([]userapi.Revocation, int64, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer unlock()
	now := time.Now().UnixMilli()
	var rows []userapi.Revocation
	for _, r := range s.revocations {
		if r.writtenAt >= since && r.expiresAt > now {
			row := r.Revocation
			row.Lives = time.Duration(r.expiresAt-now) * time.Millisecond
			rows = append(rows, row)
		}
	}
	return rows, now, nil
}

// EndEverything implements userapi.RevocationStore.
func (s *Store) EndEverything(ctx context.Context, w userapi.EverythingEnd) error {
	unlock, err := s.lock(ctx, w.Event)
	if err != nil {
		return err
	}
	defer unlock()
	clear(s.sessions)
	clear(s.challenges)
	s.disableKeys()
	s.messages = nil
	s.revoke(w.Revoke)
	s.record(w.Event)
	return nil
}

func (s *Store) revoke(rows ...userapi.Revocation) {
	now := time.Now().UnixMilli()
	for _, r := range rows {
		s.revocations = append(s.revocations, revocation{r, now, now + r.Lives.Milliseconds()})
	}
}
