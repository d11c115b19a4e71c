package storetest

import (
	"errors"
	"strings"
	"testing"

	"github.com/userapi/userapi"
)

func (s suite) events(t *testing.T) {
	db := s.database(t)

	t.Run("an event is stored whatever its texts", func(t *testing.T) {
		f := db.tenant(t)
		for _, text := range append([]string{"", strings.Repeat("x", 255)}, awkward...) {
			e := f.event(userapi.EventLoginFailed)
			e.UserAgent, e.Detail = text, text
			must(t, f.AddEvent(t.Context(), e))
		}
	})

	t.Run("an event may be about somebody who does not exist", func(t *testing.T) {
		f := db.tenant(t)
		e := f.event(userapi.EventLoginFailed)
		e.ActorID, e.SessionID, e.UserID, e.CustomerID = newID(), newID(), newID(), newID()
		must(t, f.AddEvent(t.Context(), e))
	})

	t.Run("an event is stored once", func(t *testing.T) {
		f := db.tenant(t)
		e := f.event(userapi.EventLoginFailed)
		must(t, f.AddEvent(t.Context(), e))
		same(t, f.recorded(e), true, "whether a store says that it knows an event")
		same(t, f.recorded(f.event(userapi.EventLoginFailed)), false, "whether it knows another")
	})

	t.Run("an event outlives the user it is about", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add()
		e := f.event(userapi.EventLogin)
		e.UserID, e.ActorID = a.ID, a.ID
		must(t, f.AddEvent(t.Context(), e))
		must(t, f.DeleteUser(t.Context(), f.deletion(a, false)))
	})
}

// recorded reports whether the event is stored. A store takes no second event of one id, so it is stored afterwards anyway.
func (f *tenant) recorded(e userapi.Event) bool {
	f.t.Helper()
	err := f.AddEvent(f.t.Context(), e)
	if errors.Is(err, userapi.ErrUnavailable) {
		f.t.Fatalf("unexpected error: %v", err)
	}
	return err != nil
}
