package httpadapter

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/userapi/userapi"
)

type eventOut struct {
	ID        string   `json:"id"`
	At        string   `json:"at"`
	Kind      string   `json:"kind"`
	Actor     actorOut `json:"actor"`
	UserID    string   `json:"user_id,omitempty"`
	SessionID string   `json:"session_id,omitempty"`
	KeyID     string   `json:"key_id,omitempty"`
	Address   string   `json:"address,omitempty"`
	UserAgent string   `json:"user_agent,omitempty"`
	Detail    string   `json:"detail,omitempty"`
}

type actorOut struct {
	Kind string `json:"kind"` // user, anonymous or system
	ID   string `json:"id,omitempty"`
}

func plainEvent(e userapi.Event) eventOut {
	return eventOut{
		ID: e.ID, At: stamp(e.At), Kind: string(e.Kind), Actor: actorOut{e.ActorKind, e.ActorID}, UserID: e.UserID, SessionID: e.SessionID,
		KeyID: e.KeyID, Address: e.Address, UserAgent: e.UserAgent, Detail: e.Detail,
	}
}

func listEvents(c *call) error {
	q := c.args()
	query := userapi.EventQuery{
		UserID: q.values["user_id"], Since: q.time("since"), Until: q.time("until"), Limit: q.integer("limit", 1, 100, 20), Cursor: q.values["cursor"],
	}
	if kinds, given := q.values["kind"]; given {
		for _, kind := range strings.Split(kinds, ",") {
			query.Kinds = append(query.Kinds, userapi.EventKind(kind))
		}
	}
	if err := q.err(); err != nil {
		return err
	}
	page, err := c.api.Audit.List(c.r.Context(), c.actor, query)
	if err != nil {
		return err
	}
	return c.answer(struct {
		Events  []eventOut `json:"events"`
		HasNext bool       `json:"has_next"`
		Cursor  string     `json:"cursor,omitempty"`
	}{each(page.Events, plainEvent), page.HasNext, page.Cursor})
}

// refused records in the audit trail that somebody who is known lacks a right, and gives err back. route is one of few texts, whatever
// the request says: a path or a method that a caller makes up is none.
func (a *Adapter) refused(r *http.Request, who *userapi.Identity, err error, route string) error {
	lacks := errors.Is(err, userapi.ErrForbidden) || errors.Is(err, userapi.ErrRoleMissing) || errors.Is(err, userapi.ErrScopeMissing)
	if who == nil || who.Step() != "" || !lacks {
		return err
	}
	actor := who.Actor().From(a.ClientAddress(r), r.UserAgent())
	if failed := a.api.Audit.Denied(r.Context(), actor, route); failed != nil {
		a.log.LogAttrs(r.Context(), slog.LevelWarn, "could not store an event", slog.String("error", failed.Error()))
	}
	return err
}
