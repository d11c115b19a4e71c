package storetest

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/userapi/userapi"
)

// behindOld is greater than the id of every event that old makes, and less than any other.
const behindOld = "."

// old is an event to be pruned.
func (f *tenant) old() userapi.Event {
	e := f.event(userapi.EventLogin)
	e.ID = "-" + e.ID[1:]
	return e
}

// trail reads the events of a filter in pages, and wants each page but the last to be full.
func (f *tenant) trail(q userapi.EventFilter) []userapi.Event {
	f.t.Helper()
	var all []userapi.Event
	for {
		page, err := f.ListEvents(f.t.Context(), q)
		must(f.t, err)
		if all = append(all, page...); len(page) < q.Limit {
			return all
		}
		if len(page) > q.Limit {
			f.t.Fatalf("%d events in a page of %d", len(page), q.Limit)
		}
		q.Before = page[len(page)-1].ID
	}
}

func (s suite) events(t *testing.T) {
	db := s.database(t)

	t.Run("an event comes back as it was stored, whatever its texts", func(t *testing.T) {
		f := db.tenant(t)
		must(t, f.AddEvent(t.Context(), f.event(userapi.EventLogin)))
		for _, text := range append([]string{"", strings.Repeat("x", 255)}, awkward...) {
			e := f.event(userapi.EventLoginFailed)
			e.ActorKind, e.ActorID, e.ActorFrom, e.SessionID, e.KeyID, e.UserID = "user", newID(), newID(), newID(), newID(), newID()
			e.Address, e.UserAgent, e.Detail = "2001:db8::1", text, text
			must(t, f.AddEvent(t.Context(), e))
			same(t, f.trail(userapi.EventFilter{Scope: f.scope(), UserID: e.UserID, Limit: 5}), []userapi.Event{e}, "events about a user")
		}
	})

	t.Run("an event may be about somebody who does not exist", func(t *testing.T) {
		f := db.tenant(t)
		e := f.event(userapi.EventLoginFailed)
		e.ActorID, e.SessionID, e.UserID, e.CustomerID = newID(), newID(), newID(), newID()
		must(t, f.AddEvent(t.Context(), e))
		same(t, f.trail(userapi.EventFilter{Scope: userapi.Scope{Customer: e.CustomerID}, Limit: 5}), []userapi.Event{e}, "events")
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
		w := f.deletion(a, false)
		w.Event.UserID = a.ID
		must(t, f.DeleteUser(t.Context(), w))
		got := f.trail(userapi.EventFilter{Scope: f.scope(), UserID: a.ID, Limit: 5})
		same(t, sorted(got), sorted([]userapi.Event{e, w.Event}), "events")
	})

	t.Run("a filter finds what fits it and nothing of other customers, page by page, the greatest id first", func(t *testing.T) {
		f := db.tenant(t)
		there := f.addCustomer(0)
		users := []string{newID(), newID(), ""}
		kinds := []userapi.EventKind{userapi.EventLogin, userapi.EventLoginFailed, userapi.EventLogout}
		all := f.trail(userapi.EventFilter{Scope: userapi.Scope{All: true}, Limit: 100})
		for i := range 90 {
			e := f.event(kinds[i%3])
			e.UserID, e.CustomerID = users[i/3%3], []string{f.customer, there, ""}[i/9%3]
			must(t, f.AddEvent(t.Context(), e))
			all = append(all, e)
		}
		all = sorted(all)
		middle := all[len(all)/2].ID
		many := slices.Repeat([]userapi.EventKind{"unheard.of"}, 15)
		for _, scope := range []userapi.Scope{f.scope(), {Customer: there}, {Customer: newID()}, {All: true}, {}} {
			for _, user := range []string{"", users[0], newID()} {
				for _, of := range [][]userapi.EventKind{nil, kinds[:1], kinds[:2], many, append(many, kinds[2])} {
					for _, bounds := range [][2]string{{}, {middle, ""}, {"", middle}, {middle, all[0].ID}, {middle, middle}} {
						for _, limit := range []int{1, 7, 100} {
							q := userapi.EventFilter{Scope: scope, UserID: user, Kinds: of, From: bounds[0], Before: bounds[1], Limit: limit}
							if limit == 1 && (user == "" || scope.All) {
								continue // many pages tell no more
							}
							var want []userapi.Event
							for _, e := range all {
								if scope.Holds(e.CustomerID) && (user == "" || e.UserID == user) && (of == nil || slices.Contains(of, e.Kind)) &&
									e.ID >= q.From && (q.Before == "" || e.ID < q.Before) {
									want = append(want, e)
								}
							}
							same(t, f.trail(q), want, "events")
						}
					}
				}
			}
		}
	})

	t.Run("the oldest are pruned first, in batches, each with its event", func(t *testing.T) {
		f := s.database(t).tenant(t)
		var old []string
		for range 7 {
			e := f.old()
			must(t, f.AddEvent(t.Context(), e))
			old = append(old, e.ID)
		}
		slices.Sort(old)
		left := func() []string {
			return ids(f.trail(userapi.EventFilter{Scope: userapi.Scope{All: true}, Before: behindOld, Limit: 100}), func(e userapi.Event) string { return e.ID })
		}
		others := len(f.trail(userapi.EventFilter{Scope: userapi.Scope{All: true}, From: behindOld, Limit: 100}))
		for gone, batch := range []struct {
			before string
			pruned int
		}{{old[0], 0}, {old[5], 3}, {old[5], 2}, {old[5], 0}, {behindOld, 2}, {behindOld, 0}} {
			w := userapi.EventPrune{Before: batch.before, Limit: 3, Event: f.event(userapi.EventEventsPruned)}
			n, err := f.PruneEvents(t.Context(), w)
			must(t, err)
			same(t, n, batch.pruned, "events pruned")
			same(t, f.recorded(w.Event), n > 0, "whether the event is there")
			same(t, len(left()), []int{7, 4, 2, 2, 0, 0}[gone], "events left")
			for i, id := range left() {
				same(t, id, old[len(old)-1-i], "the youngest stay")
			}
		}
		must(t, f.AddEvent(t.Context(), f.old()))
		n, err := f.PruneEvents(t.Context(), userapi.EventPrune{Before: behindOld, Limit: 3})
		must(t, err)
		same(t, n, 1, "events pruned without an event about it")
		same(t, len(f.trail(userapi.EventFilter{Scope: userapi.Scope{All: true}, Limit: 100})), others+6, "events that no prune was about, or that were about one")
	})

	t.Run("a change with two events has both or does not happen", func(t *testing.T) {
		f := db.tenant(t)
		stored := f.event(userapi.EventLogin)
		must(t, f.AddEvent(t.Context(), stored))
		holder, a := f.add(func(a *userapi.Account) { a.Phone, a.PhoneVerified = "+4951"+digits(), true }), f.add()
		before := f.state(a.ID, holder.ID)
		w := f.update(a, func(w *userapi.UserUpdate) {
			w.Account.Phone, w.Account.PhoneVerified, w.Releases = holder.Phone, true, f.release(holder)
			w.Releases.Event.ID = stored.ID
		})
		if f.ChangeUser(t.Context(), w) == nil {
			t.Fatal("it was done without one of its events")
		}
		same(t, f.state(a.ID, holder.ID), before, "what a refused change left behind")
		same(t, f.recorded(w.Event), false, "whether it left its event")
	})

	db.every(t, "events are pruned once", func(t *testing.T, f *tenant) {
		for range 50 {
			must(t, f.AddEvent(t.Context(), f.old()))
		}
		pruned, told := make([]int, racers), make([]userapi.Event, racers)
		for i := range told {
			told[i] = f.event(userapi.EventEventsPruned)
		}
		winners(t, db.race(racers, func(i int, st userapi.Store) (err error) {
			pruned[i], err = st.PruneEvents(t.Context(), userapi.EventPrune{Before: behindOld, Limit: 5, Event: told[i]})
			return err
		}))
		left, gone := len(f.trail(userapi.EventFilter{Scope: f.scope(), Before: behindOld, Limit: 100})), 0
		for i, n := range pruned {
			gone += n
			same(t, f.recorded(told[i]), n > 0, "whether the event is there")
		}
		same(t, gone, 50-left, "events that somebody says they pruned")
		_, err := f.PruneEvents(t.Context(), userapi.EventPrune{Before: behindOld, Limit: 50})
		must(t, err)
	})
}

// sorted is events in the order of a list.
func sorted(events []userapi.Event) []userapi.Event {
	return slices.SortedFunc(slices.Values(events), func(a, b userapi.Event) int { return cmp.Compare(b.ID, a.ID) })
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
