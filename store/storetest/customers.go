package storetest

import (
	"slices"
	"strings"
	"testing"

	"github.com/userapi/userapi"
)

func (s suite) customers(t *testing.T) {
	db := s.database(t)
	write := func(f *tenant, c userapi.Customer) userapi.CustomerWrite {
		return userapi.CustomerWrite{Customer: c, Event: f.event(userapi.EventCustomerUpdated)}
	}

	t.Run("a customer comes back as it was given, changed as it was changed", func(t *testing.T) {
		f := db.tenant(t)
		c := userapi.Customer{ID: f.key("c"), Name: "Customer", Quota: 7}
		must(t, f.InsertCustomer(t.Context(), write(f, c)))
		is(t, f.InsertCustomer(t.Context(), write(f, userapi.Customer{ID: c.ID, Name: "Second"})), userapi.ErrIDTaken)
		for _, name := range append(slices.Clone(awkward), "", strings.Repeat("\U0001F600", 255)) {
			c.Name, c.Quota = name, c.Quota*3%1001
			for range 2 {
				must(t, f.ChangeCustomer(t.Context(), write(f, c)))
				got, err := f.CustomerByID(t.Context(), c.ID)
				must(t, err)
				same(t, got, c, "customer")
			}
		}
		must(t, f.InsertCustomer(t.Context(), write(f, userapi.Customer{ID: strings.ToUpper(c.ID)})))
		got, err := f.CustomerByID(t.Context(), c.ID)
		must(t, err)
		same(t, got, c, "customer beside one whose id differs in case")
	})

	t.Run("what does not exist is not found", func(t *testing.T) {
		f := db.tenant(t)
		for _, id := range []string{"", newID(), "%", f.customer + " "} {
			_, err := f.CustomerByID(t.Context(), id)
			is(t, err, userapi.ErrNotFound)
			is(t, f.ChangeCustomer(t.Context(), write(f, userapi.Customer{ID: id, Name: "x"})), userapi.ErrNotFound)
		}
	})

	t.Run("customers are listed by id, page by page", func(t *testing.T) {
		f := s.database(t).tenant(t)
		want := []string{f.customer}
		for range 6 {
			want = append(want, f.addCustomer(0))
		}
		slices.Sort(want)
		var got []string
		for after := ""; ; {
			page, err := f.ListCustomers(t.Context(), after, 3)
			must(t, err)
			if len(page) == 0 {
				break
			}
			if len(page) > 3 || len(got) > 10 {
				t.Fatalf("page of %d customers after %v", len(page), got)
			}
			got = append(got, ids(page, func(c userapi.Customer) string { return c.ID })...)
			after = got[len(got)-1]
		}
		same(t, got, want, "ids by keyset")
	})

	t.Run("a quota counts active users", func(t *testing.T) {
		f := db.tenant(t)
		f.setQuota(f.customer, 2)
		f.add()
		a := f.add()
		is(t, f.insert(f.account()), userapi.ErrQuota)
		off := f.add(func(a *userapi.Account) { a.Active = false })
		is(t, f.insert(f.account()), userapi.ErrQuota)
		f.add(func(a *userapi.Account) { a.CustomerID = f.addCustomer(1) })

		activate := func() error {
			return f.ChangeUser(t.Context(), f.update(off, func(w *userapi.UserUpdate) { w.TakesPlace, w.Account.Active = true, true }))
		}
		f.refused(userapi.ErrQuota, activate, off.ID)
		a.Active = false
		must(t, f.ChangeUser(t.Context(), f.update(a)))
		must(t, activate())
		is(t, f.insert(f.account()), userapi.ErrQuota)
		must(t, f.DeleteUser(t.Context(), f.deletion(f.read(off.ID), false)))
		f.add()
		is(t, f.insert(f.account()), userapi.ErrQuota)
	})

	t.Run("a change that takes no new place is not counted", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add()
		f.add()
		f.setQuota(f.customer, 1)
		a.Name = "Changed"
		must(t, f.ChangeUser(t.Context(), f.update(a)))
		off := f.add(func(a *userapi.Account) { a.Active = false })
		off.Name = "Changed"
		must(t, f.ChangeUser(t.Context(), f.update(off)))
	})

	t.Run("who moves takes a place there and leaves one here", func(t *testing.T) {
		f := db.tenant(t)
		f.setQuota(f.customer, 1)
		there := f.addCustomer(1)
		a := f.add()
		holder := f.add(func(a *userapi.Account) { a.CustomerID = there })
		move := func(a userapi.Account) error {
			return f.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) { w.TakesPlace, w.Account.CustomerID = true, there }))
		}
		f.refused(userapi.ErrQuota, func() error { return move(a) }, a.ID, holder.ID)
		idle := f.add(func(a *userapi.Account) { a.Active = false })
		must(t, move(idle))
		f.setQuota(there, 2)
		must(t, move(a))
		f.add()
	})

	t.Run("a quota below the present count refuses only newcomers, and zero refuses nobody", func(t *testing.T) {
		f := db.tenant(t)
		for range 3 {
			f.add()
		}
		f.setQuota(f.customer, 1)
		is(t, f.insert(f.account()), userapi.ErrQuota)
		same(t, len(f.list(userapi.UserFilter{})), 3, "users")
		f.setQuota(f.customer, 0)
		f.add()
	})
}
