package sqlstore

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

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
	_, err := q.exec(ctx, `INSERT INTO userapi_events (`+eventColumns+`)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		e.ID, millis(e.At), string(e.Kind), e.ActorKind, e.ActorID, e.ActorFrom, e.SessionID, e.KeyID, e.UserID, e.CustomerID, e.Address, e.UserAgent, e.Detail)
	return err
}

const eventColumns = `id, happened_at, kind, actor_kind, actor_id, actor_from, session_id, key_id, user_id, customer_id, address, user_agent, detail`

type eventRow struct {
	ID         string `db:"id"`
	At         int64  `db:"happened_at"`
	Kind       string `db:"kind"`
	ActorKind  string `db:"actor_kind"`
	ActorID    string `db:"actor_id"`
	ActorFrom  string `db:"actor_from"`
	SessionID  string `db:"session_id"`
	KeyID      string `db:"key_id"`
	UserID     string `db:"user_id"`
	CustomerID string `db:"customer_id"`
	Address    string `db:"address"`
	UserAgent  string `db:"user_agent"`
	Detail     string `db:"detail"`
}

// ListEvents implements userapi.EventStore.
func (s *Store) ListEvents(ctx context.Context, f userapi.EventFilter) ([]userapi.Event, error) {
	query, args := s.events(f)
	var found []userapi.Event
	err := s.read(ctx, func(ctx context.Context, q conn) error {
		var rows []eventRow
		if err := q.query(ctx, &rows, query, args...); err != nil {
			return err
		}
		slices.SortFunc(rows, func(a, b eventRow) int { return cmp.Compare(b.ID, a.ID) }) // newest first
		found = nil
		for _, r := range rows {
			found = append(found, userapi.Event{
				ID: r.ID, At: moment(r.At), Kind: userapi.EventKind(r.Kind), ActorKind: r.ActorKind, ActorID: r.ActorID, ActorFrom: r.ActorFrom,
				SessionID: r.SessionID, KeyID: r.KeyID, UserID: r.UserID, CustomerID: r.CustomerID, Address: r.Address, UserAgent: r.UserAgent, Detail: r.Detail,
			})
		}
		return nil
	})
	return found, err
}

const (
	behindAllIDs = "~"
	manyKinds    = 16
)

// events finds the ids of the page in an index that covers its conditions, and only then reads the rows. It has few forms, whatever is
// asked for, since each is prepared once.
func (s *Store) events(f userapi.EventFilter) (query string, args []any) {
	var where conditions
	where.sql, where.args = scopedOn("e", f.Scope)
	index := "userapi_events_by_customer"
	switch {
	case f.UserID != "":
		index = "userapi_events_by_user"
		where.and(`e.user_id = ?`, f.UserID)
	case f.Scope.All:
		index = "PRIMARY"
	}
	where.and(`e.id >= ? AND e.id < ?`, f.From, cmp.Or(f.Before, behindAllIDs))
	if n := len(f.Kinds); n > 0 {
		kinds := make([]any, manyKinds)
		for i := range kinds {
			kinds[i] = string(f.Kinds[min(i, n-1)])
		}
		where.and(`e.kind IN (?`+strings.Repeat(`, ?`, len(kinds)-1)+`)`, kinds...)
	}
	page := `SELECT e.id AS found FROM userapi_events e` + s.d.Index(index) + ` WHERE 1 = 1` + where.sql + ` ORDER BY e.id DESC LIMIT ?`
	return `SELECT ` + eventColumns + ` FROM (` + page + `) page JOIN userapi_events ON id = page.found`, append(where.args, f.Limit)
}

// PruneEvents implements userapi.EventStore.
func (s *Store) PruneEvents(ctx context.Context, w userapi.EventPrune) (pruned int, err error) {
	err = s.write(ctx, w.Event, func(ctx context.Context, q conn) error {
		var ids []string
		err := q.query(ctx, &ids, `SELECT id FROM userapi_events`+s.d.Index("PRIMARY")+` WHERE id < ? ORDER BY id LIMIT ?`, w.Before, w.Limit)
		if err != nil || len(ids) == 0 {
			return cmp.Or(err, errNothing)
		}
		query, args, err := in(`DELETE FROM userapi_events WHERE id IN (?)`, ids)
		if err != nil {
			return err
		}
		if pruned, err = q.exec(ctx, query, args...); err == nil && pruned == 0 { // others were faster
			err = errNothing
		}
		return err
	})
	switch {
	case errors.Is(err, errNothing):
		return 0, nil
	case err != nil:
		return 0, err
	}
	return pruned, nil
}
