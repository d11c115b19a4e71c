package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/userapi/userapi"
)

// membership makes a write that gives the account, as it was read, a level on a document.
func (f *tenant) membership(a userapi.Account, id, level string) userapi.MembershipWrite {
	return userapi.MembershipWrite{
		Scope: f.scope(), Membership: userapi.Membership{UserID: a.ID, Resource: "doc", ResourceID: id, Level: level}, IfVersion: a.Version,
		Event: f.event(userapi.EventMembershipSet),
	}
}

// give stores a membership.
func (f *tenant) give(a userapi.Account, id, level string) userapi.Membership {
	f.t.Helper()
	w := f.membership(a, id, level)
	must(f.t, f.SetMembership(f.t.Context(), w))
	return w.Membership
}

// members reads what the filter selects, of this tenant where it names no scope.
func (f *tenant) members(q userapi.MembershipFilter) []userapi.Membership {
	f.t.Helper()
	if q.Scope == (userapi.Scope{}) {
		q.Scope = f.scope()
	}
	if q.Limit == 0 {
		q.Limit = 100
	}
	found, err := f.ListMemberships(f.t.Context(), q)
	must(f.t, err)
	if len(found) > q.Limit {
		f.t.Fatalf("%d memberships in a page of %d", len(found), q.Limit)
	}
	return append([]userapi.Membership{}, found...)
}

// membershipsOf are all of a user, active or not, in whatever customer.
func (f *tenant) membershipsOf(userID string) []userapi.Membership {
	f.t.Helper()
	return f.members(userapi.MembershipFilter{Scope: userapi.Scope{All: true}, UserID: userID})
}

func (f *tenant) onDoc(id string) userapi.MembershipFilter {
	return userapi.MembershipFilter{Resource: "doc", ResourceID: id}
}

func (s suite) memberships(t *testing.T) {
	db := s.database(t)
	none := []userapi.Membership{}

	t.Run("a user has one level on a resource, the last that was given", func(t *testing.T) {
		f := db.tenant(t)
		a, other, doc := f.add(), f.add(), f.key("1")
		for _, level := range []string{"member", "member", "secret", "invitee"} {
			w := f.membership(a, doc, level)
			must(t, f.SetMembership(t.Context(), w))
			same(t, f.membershipsOf(a.ID), []userapi.Membership{w.Membership}, "memberships of the user")
			same(t, f.members(f.onDoc(doc)), []userapi.Membership{w.Membership}, "members of the resource")
			same(t, f.recorded(w.Event), true, "whether the event is there")
		}
		same(t, f.read(a.ID), a, "account: at the same version")
		same(t, f.membershipsOf(other.ID), none, "memberships of somebody else")
		must(t, f.ChangeUser(t.Context(), f.update(a)))
		same(t, len(f.membershipsOf(a.ID)), 1, "memberships after a change of names")
	})

	t.Run("a membership ends alone", func(t *testing.T) {
		f := db.tenant(t)
		a, other, doc := f.add(), f.add(), f.key("1")
		f.give(a, doc, "member")
		stays := []userapi.Membership{f.give(a, doc+"2", "member"), f.give(other, doc, "member")}
		w := f.membership(a, doc, "whatever")
		must(t, f.RemoveMembership(t.Context(), w))
		same(t, f.recorded(w.Event), true, "whether the event is there")
		same(t, append(f.membershipsOf(a.ID), f.membershipsOf(other.ID)...), stays, "memberships left")
		w.Event = f.event(userapi.EventMembershipRemoved)
		f.refused(userapi.ErrNotFound, func() error { return f.RemoveMembership(t.Context(), w) }, a.ID, other.ID)
		same(t, f.recorded(w.Event), false, "whether an end that did not happen left its event")
		same(t, f.read(a.ID), a, "account: at the same version")
	})

	t.Run("one id of two kinds is two resources", func(t *testing.T) {
		f := db.tenant(t)
		a, id := f.add(), f.key("x")
		doc, list := f.membership(a, id, "member"), f.membership(a, id, "owner")
		list.Membership.Resource = "list"
		must(t, f.SetMembership(t.Context(), doc))
		must(t, f.SetMembership(t.Context(), list))
		same(t, f.membershipsOf(a.ID), []userapi.Membership{doc.Membership, list.Membership}, "memberships")
		doc.Event = f.event(userapi.EventMembershipRemoved)
		must(t, f.RemoveMembership(t.Context(), doc))
		same(t, f.membershipsOf(a.ID), []userapi.Membership{list.Membership}, "memberships")
		must(t, f.EndResource(t.Context(), userapi.ResourceEnd{Resource: "doc", ResourceID: id, Event: f.event(userapi.EventResourceDeleted)}))
		same(t, f.membershipsOf(a.ID), []userapi.Membership{list.Membership}, "memberships")
	})

	t.Run("keys are compared byte for byte", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add()
		want := []userapi.Membership{}
		for i, text := range append([]string{"a", "A", "a ", strings.Repeat("x", 64)}, awkward...) {
			text = text[:min(len(text), 64)]
			w := f.membership(a, text, fmt.Sprint(i))
			w.Membership.Resource = text
			must(t, f.SetMembership(t.Context(), w))
			want = append(want, w.Membership)
			same(t, f.members(userapi.MembershipFilter{UserID: a.ID, Resource: text, ResourceID: text}), []userapi.Membership{w.Membership}, "the one there is")
			same(t, f.members(userapi.MembershipFilter{Resource: text, ResourceID: text}), []userapi.Membership{w.Membership}, "members")
		}
		slices.SortFunc(want, func(a, b userapi.Membership) int { return strings.Compare(a.Resource, b.Resource) })
		same(t, f.membershipsOf(a.ID), want, "memberships, ordered by bytes")
		for _, q := range []userapi.MembershipFilter{
			{UserID: strings.ToUpper(a.ID)}, {UserID: a.ID, Resource: "a", ResourceID: "A"}, {Resource: "a", ResourceID: "%"}, {Resource: "%", ResourceID: "a"},
			{Resource: "a"}, {},
		} {
			same(t, f.members(q), none, fmt.Sprintf("memberships by %+v", q))
		}
	})

	t.Run("H01 another customer's user has no membership to see, to give or to take", func(t *testing.T) {
		f := db.tenant(t)
		a, doc := f.add(), f.key("1")
		stranger := f.add(func(a *userapi.Account) { a.CustomerID = f.addCustomer(0) })
		kept := f.give(a, doc, "member")
		theirs := f.membership(stranger, doc, "secret")
		theirs.Scope = userapi.Scope{All: true}
		must(t, f.SetMembership(t.Context(), theirs))
		for _, foreign := range []userapi.Scope{{Customer: stranger.CustomerID}, {Customer: newID()}, {}} {
			for _, w := range []userapi.MembershipWrite{f.membership(a, doc, "secret"), f.membership(a, doc+"2", "secret")} {
				w.Scope = foreign
				f.refused(userapi.ErrNotFound, func() error { return f.SetMembership(t.Context(), w) }, a.ID, stranger.ID)
				f.refused(userapi.ErrNotFound, func() error { return f.RemoveMembership(t.Context(), w) }, a.ID, stranger.ID)
				same(t, f.recorded(w.Event), false, "whether a refused write left its event")
			}
			found, err := f.ListMemberships(t.Context(), userapi.MembershipFilter{Scope: foreign, UserID: a.ID, Limit: 10})
			must(t, err)
			same(t, len(found), 0, "memberships seen from elsewhere")
		}
		nobody := f.membership(userapi.Account{User: userapi.User{ID: newID()}, Version: 1}, doc, "secret")
		is(t, f.SetMembership(t.Context(), nobody), userapi.ErrNotFound)
		same(t, f.membershipsOf(nobody.Membership.UserID), none, "memberships of nobody")
		same(t, f.members(f.onDoc(doc)), []userapi.Membership{kept}, "members that the customer sees")
		all := f.onDoc(doc)
		all.Scope = userapi.Scope{All: true}
		same(t, len(f.members(all)), 2, "members in all customers")
	})

	t.Run("a membership is written under the account as it was read", func(t *testing.T) {
		f := db.tenant(t)
		a, doc := f.add(), f.key("1")
		f.give(a, doc, "member")
		for _, version := range []int64{0, 2} {
			w := f.membership(a, doc, "secret")
			w.IfVersion = version
			f.refused(userapi.ErrChanged, func() error { return f.SetMembership(t.Context(), w) }, a.ID)
			f.refused(userapi.ErrChanged, func() error { return f.RemoveMembership(t.Context(), w) }, a.ID)
		}
		must(t, f.ChangeUser(t.Context(), f.update(a)))
		f.refused(userapi.ErrChanged, func() error { return f.SetMembership(t.Context(), f.membership(a, doc, "secret")) }, a.ID)
	})

	t.Run("of inactive users a filter may take no notice", func(t *testing.T) {
		f := db.tenant(t)
		a, doc := f.add(func(a *userapi.Account) { a.Active = false }), f.key("1")
		one := []userapi.Membership{f.give(a, doc, "member")}
		for _, active := range []bool{false, true, false} {
			for _, q := range []userapi.MembershipFilter{{UserID: a.ID}, f.onDoc(doc), {UserID: a.ID, Resource: "doc", ResourceID: doc}} {
				same(t, f.members(q), one, "memberships, whoever is active")
				q.Active = true
				same(t, len(f.members(q)) == 1, active, "whether an active user has one")
			}
			a.Active = !active
			must(t, f.ChangeUser(t.Context(), f.update(a)))
			a.Version++
		}
	})

	t.Run("pages follow each other by their last row", func(t *testing.T) {
		f := db.tenant(t)
		a, doc := f.add(), f.key("1")
		var want []userapi.Membership
		for _, resource := range []string{"b", "a", "c"} {
			for _, id := range []string{"z", "y", "x"} {
				w := f.membership(a, id, "member")
				w.Membership.Resource = resource
				must(t, f.SetMembership(t.Context(), w))
				want = append(want, w.Membership)
			}
		}
		slices.SortFunc(want, func(a, b userapi.Membership) int {
			return strings.Compare(a.Resource+a.ResourceID, b.Resource+b.ResourceID)
		})
		var members []userapi.Membership
		for range 9 {
			members = append(members, f.give(f.add(), doc, "member"))
		}
		stranger := f.add(func(a *userapi.Account) { a.CustomerID = f.addCustomer(0) })
		w := f.membership(stranger, doc, "member")
		w.Scope = userapi.Scope{All: true}
		must(t, f.SetMembership(t.Context(), w))
		slices.SortFunc(members, func(a, b userapi.Membership) int { return strings.Compare(a.UserID, b.UserID) })
		for q, want := range map[userapi.MembershipFilter][]userapi.Membership{{UserID: a.ID}: want, f.onDoc(doc): members} {
			for _, q.Limit = range []int{1, 2, 4, 9, 10} {
				var got []userapi.Membership
				for q.After = (userapi.Membership{}); ; q.After = got[len(got)-1] {
					page := f.members(q)
					if got = append(got, page...); len(page) < q.Limit {
						break
					}
				}
				same(t, got, want, "memberships by pages")
			}
		}
		if page := f.members(userapi.MembershipFilter{UserID: a.ID, Limit: 9}); len(page) != 9 {
			t.Fatalf("a page of %d", len(page))
		}
		must(t, f.DeleteUser(t.Context(), f.deletion(a, false)))
	})

	t.Run("an account that is erased leaves no membership to the next with its id", func(t *testing.T) {
		f := db.tenant(t)
		a, other, doc := f.add(), f.add(), f.key("1")
		pending := f.add(func(a *userapi.Account) { a.Active, a.Pending, a.UpdatedAt = false, true, f.now.Add(-time.Hour) })
		for _, account := range []userapi.Account{a, pending} {
			f.give(account, doc, "secret")
			f.give(account, doc+"2", "member")
		}
		stays := f.give(other, doc, "member")
		stale := f.deletion(a, false)
		stale.IfVersion++
		f.refused(userapi.ErrChanged, func() error { return f.DeleteUser(t.Context(), stale) }, a.ID)
		must(t, f.DeleteUser(t.Context(), f.deletion(a, false)))
		_, err := f.Sweep(t.Context(), userapi.SweepBefore{Now: f.now, Idle: time.Hour, Batch: 100, PendingBefore: f.now})
		must(t, err)
		for _, gone := range []userapi.Account{a, pending} {
			_, err := f.AccountByID(t.Context(), f.scope(), gone.ID)
			is(t, err, userapi.ErrNotFound)
			f.add(func(b *userapi.Account) { b.ID = gone.ID })
			same(t, f.membershipsOf(gone.ID), none, "memberships of the next account with the id")
		}
		same(t, f.members(f.onDoc(doc)), []userapi.Membership{stays}, "members left")
	})

	t.Run("a change ends the memberships of its account, if it says so", func(t *testing.T) {
		f := db.tenant(t)
		a, other, doc := f.add(), f.add(), f.key("1")
		f.give(a, doc, "secret")
		f.give(a, doc+"2", "secret")
		stays := f.give(other, doc, "member")
		end := func(w *userapi.UserUpdate) { w.EndMemberships = true }
		f.refused(userapi.ErrChanged, func() error {
			return f.ChangeUser(t.Context(), f.update(a, end, func(w *userapi.UserUpdate) { w.IfVersion++ }))
		}, a.ID, other.ID)
		f.refused(userapi.ErrInvalidCode, func() error {
			return f.ChangeUser(t.Context(), f.update(a, end, func(w *userapi.UserUpdate) { w.Consumes = newID() }))
		}, a.ID, other.ID)
		must(t, f.ChangeUser(t.Context(), f.update(a, end)))
		same(t, f.membershipsOf(a.ID), none, "memberships")
		same(t, f.members(f.onDoc(doc)), []userapi.Membership{stays}, "members left")
	})

	t.Run("a resource ends for all its members, and for nothing else", func(t *testing.T) {
		f := db.tenant(t)
		doc := f.key("1")
		stranger := f.add(func(a *userapi.Account) { a.CustomerID = f.addCustomer(0) })
		members := []userapi.Account{stranger, f.add(), f.add(), f.add(func(a *userapi.Account) { a.Active = false })}
		var stays []userapi.Membership
		for _, a := range members {
			for _, place := range [][2]string{{"doc", doc}, {"doc", doc + "1"}, {"doc", doc[1:]}, {"docs", doc}} {
				w := f.membership(a, place[1], "member")
				w.Membership.Resource, w.Scope = place[0], userapi.Scope{All: true}
				must(t, f.SetMembership(t.Context(), w))
				if place != [2]string{"doc", doc} {
					stays = append(stays, w.Membership)
				}
			}
		}
		for range 2 { // once more is no error
			w := userapi.ResourceEnd{Resource: "doc", ResourceID: doc, Event: f.event(userapi.EventResourceDeleted)}
			must(t, f.EndResource(t.Context(), w))
			same(t, f.recorded(w.Event), true, "whether the event is there")
		}
		all := f.onDoc(doc)
		all.Scope = userapi.Scope{All: true}
		same(t, f.members(all), none, "members")
		slices.SortFunc(stays, func(a, b userapi.Membership) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		var left []userapi.Membership
		for _, a := range members {
			left = append(left, f.membershipsOf(a.ID)...)
		}
		slices.SortFunc(left, func(a, b userapi.Membership) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		same(t, left, stays, "memberships left")
	})
}

func (s suite) membershipRaces(t *testing.T) {
	db := s.database(t)
	db.every(t, "of many levels given at once one stays", func(t *testing.T, f *tenant) {
		a, doc := f.add(), f.key("1")
		given := make([]userapi.MembershipWrite, racers)
		for i := range given {
			given[i] = f.membership(a, doc, fmt.Sprint(i))
		}
		same(t, winners(t, db.race(racers, func(i int, st userapi.Store) error { return st.SetMembership(t.Context(), given[i]) })), racers, "writes")
		left := f.membershipsOf(a.ID)
		same(t, len(left), 1, "memberships")
		same(t, slices.ContainsFunc(given, func(w userapi.MembershipWrite) bool { return w.Membership == left[0] }), true, "whether it is one that was given")
	})

	db.every(t, "a membership ends once", func(t *testing.T, f *tenant) {
		a, doc := f.add(), f.key("1")
		f.give(a, doc, "member")
		one(t, db.race(racers, func(i int, st userapi.Store) error {
			return st.RemoveMembership(t.Context(), f.membership(a, doc, ""))
		}), userapi.ErrNotFound)
	})

	for name, end := range map[string]func(f *tenant, st userapi.Store, a userapi.Account) error{
		"erased": func(f *tenant, st userapi.Store, a userapi.Account) error {
			return st.DeleteUser(f.t.Context(), f.deletion(a, false))
		},
		"moved to another customer": func(f *tenant, st userapi.Store, a userapi.Account) error {
			return st.ChangeUser(f.t.Context(), f.update(a, func(w *userapi.UserUpdate) {
				w.Account.CustomerID, w.TakesPlace, w.EndMemberships = "another customer of "+f.tag, true, true
			}))
		},
	} {
		db.every(t, "L06 no membership outlives that its account is "+name, func(t *testing.T, f *tenant) {
			must(t, f.InsertCustomer(t.Context(), userapi.CustomerWrite{
				Customer: userapi.Customer{ID: "another customer of " + f.tag}, Event: f.event(userapi.EventCustomerCreated),
			}))
			a := f.add()
			results := db.race(racers, func(i int, st userapi.Store) error {
				if i == racers/2 {
					return end(f, st, a)
				}
				return st.SetMembership(t.Context(), f.membership(a, fmt.Sprint(i), "member"))
			})
			winners(t, results, userapi.ErrNotFound, userapi.ErrChanged)
			must(t, results[racers/2]) // a membership is no change that the change could lose against
			if name == "erased" {
				f.add(func(b *userapi.Account) { b.ID = a.ID })
			}
			same(t, f.membershipsOf(a.ID), []userapi.Membership{}, "memberships")
		})
	}

	db.every(t, "the end of a resource fails nobody", func(t *testing.T, f *tenant) {
		doc := f.key("1")
		accounts := f.accounts(racers)
		for _, a := range accounts {
			must(t, f.insert(a))
			f.give(a, doc, "member")
		}
		same(t, winners(t, db.race(racers, func(i int, st userapi.Store) error {
			if i%16 == 3 {
				return st.EndResource(t.Context(), userapi.ResourceEnd{Resource: "doc", ResourceID: doc, Event: f.event(userapi.EventResourceDeleted)})
			}
			return st.SetMembership(t.Context(), f.membership(accounts[i], doc, "secret"))
		})), racers, "writes")
		for _, one := range f.members(f.onDoc(doc)) {
			same(t, one.Level, "secret", "level of one that was given afterwards")
		}
	})
}
