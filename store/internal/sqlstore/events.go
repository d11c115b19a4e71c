package sqlstore

import (
	"context"

	"github.com/userapi/userapi"
)

// AddEvent implements userapi.EventStore.
func (s *Store) AddEvent(ctx context.Context, e userapi.Event) error {
	return s.write(ctx, e, func(context.Context, conn) error { return nil })
}

// addEvent is called by write alone. An event without an id is none.
func addEvent(ctx context.Context, q conn, e userapi.Event) error {
	if e.ID == "" {
		return nil
	}
	_, err := q.exec(ctx, `INSERT INTO userapi_events
		(id, happened_at, kind, actor_kind, actor_id, session_id, key_id, user_id, customer_id, address, user_agent, detail)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		e.ID, millis(e.At), string(e.Kind), e.ActorKind, e.ActorID, e.SessionID, e.KeyID, e.UserID, e.CustomerID, e.Address, e.UserAgent, e.Detail)
	return err
}
