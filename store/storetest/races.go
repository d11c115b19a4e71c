package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/userapi/userapi"
)

const (
	racers    = 64 // goroutines released at once
	rounds    = 3  // of every race of a store; one with -short
	apiRounds = 2  // of every race of an API, where a round is many writes
)

// race releases n goroutines at once, half of them on each handle, and gives what each returned.
func (d database) race(n int, run func(i int, st userapi.Store) error) []error {
	results := make([]error, n)
	var ready, done sync.WaitGroup
	start := make(chan struct{})
	ready.Add(n)
	for i := range n {
		st := d.first
		if i%2 == 1 {
			st = d.second
		}
		done.Go(func() {
			ready.Done()
			<-start
			results[i] = run(i, st)
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
	return results
}

// winners counts the nils. Any error but the documented ones fails: a deadlock or busy database must not leak.
func winners(t *testing.T, results []error, documented ...error) int {
	t.Helper()
	won := 0
	for i, err := range results {
		switch {
		case err == nil:
			won++
		case !slices.ContainsFunc(documented, func(known error) bool { return errors.Is(err, known) }):
			t.Fatalf("goroutine %d got an error that nobody documented: %v", i, err)
		}
	}
	return won
}

// every runs a race in several rounds, each with a tenant of its own.
func (d database) every(t *testing.T, name string, round func(t *testing.T, f *tenant)) {
	t.Run(name, func(t *testing.T) {
		n := d.rounds
		if testing.Short() {
			n = 1
		}
		for range n {
			round(t, d.tenant(t))
		}
	})
}

// one wants exactly one winner.
func one(t *testing.T, results []error, documented ...error) {
	t.Helper()
	same(t, winners(t, results, documented...), 1, "winners")
}

func (s suite) races(t *testing.T) {
	db := s.database(t)
	db.every(t, "F06 one e-mail address, one account", func(t *testing.T, f *tenant) {
		accounts := f.accounts(racers, func(a *userapi.Account) { a.EmailKey = f.key("@x") })
		one(t, db.race(racers, func(i int, st userapi.Store) error {
			return st.InsertUser(t.Context(), userapi.UserInsert{Account: accounts[i], Event: f.event(userapi.EventUserCreated)})
		}), userapi.ErrEmailTaken)
		same(t, len(f.list(userapi.UserFilter{})), 1, "accounts")
	})

	db.every(t, "F06 one username, one account", func(t *testing.T, f *tenant) {
		accounts := f.accounts(racers, func(a *userapi.Account) { a.UsernameKey = f.key("name") })
		one(t, db.race(racers, func(i int, st userapi.Store) error {
			return st.InsertUser(t.Context(), userapi.UserInsert{Account: accounts[i], Event: f.event(userapi.EventUserCreated)})
		}), userapi.ErrUsernameTaken)
		same(t, len(f.list(userapi.UserFilter{})), 1, "accounts")
	})

	db.every(t, "one id, one account", func(t *testing.T, f *tenant) {
		id := newID()
		accounts := f.accounts(racers, func(a *userapi.Account) { a.ID = id })
		one(t, db.race(racers, func(i int, st userapi.Store) error {
			return st.InsertUser(t.Context(), userapi.UserInsert{Account: accounts[i], Event: f.event(userapi.EventUserCreated)})
		}), userapi.ErrIDTaken)
	})

	db.every(t, "F06 many prove one phone, one has it", func(t *testing.T, f *tenant) {
		phone := "+4939" + digits()
		accounts := f.accounts(racers/4, func(a *userapi.Account) { a.Phone = phone })
		for i := range accounts {
			must(t, f.insert(accounts[i]))
			accounts[i].PhoneVerified = true
		}
		one(t, db.race(len(accounts), func(i int, st userapi.Store) error {
			return st.ChangeUser(t.Context(), f.update(accounts[i]))
		}), userapi.ErrPhoneTaken)
	})

	db.every(t, "one code, one role", func(t *testing.T, f *tenant) {
		writes := make([]userapi.RoleWrite, racers)
		for i := range writes {
			writes[i] = userapi.RoleWrite{Role: userapi.Role{ID: newID(), Code: f.key("role")}, Event: f.event(userapi.EventRoleCreated)}
		}
		one(t, db.race(racers, func(i int, st userapi.Store) error { return st.InsertRole(t.Context(), writes[i]) }), userapi.ErrRoleTaken)
		defined, err := f.Roles(t.Context(), nil, []string{f.key("role")})
		must(t, err)
		same(t, len(defined), 1, "definitions")
	})

	db.every(t, "one id, one customer", func(t *testing.T, f *tenant) {
		one(t, db.race(racers, func(_ int, st userapi.Store) error {
			return st.InsertCustomer(t.Context(), userapi.CustomerWrite{Customer: userapi.Customer{ID: f.key("c")}, Event: f.event(userapi.EventCustomerCreated)})
		}), userapi.ErrIDTaken)
	})

	db.every(t, "a role is given or deleted, not both", func(t *testing.T, f *tenant) {
		role := f.role(f.key("role"))
		accounts := f.accounts(racers)
		for i := range accounts {
			if i%8 >= 4 {
				must(t, f.insert(accounts[i]))
			}
			accounts[i].Roles = []userapi.Role{role}
		}
		results := db.race(racers, func(i int, st userapi.Store) error {
			if i%8 == 0 {
				return st.DeleteRole(t.Context(), userapi.RoleWrite{Role: role, Event: f.event(userapi.EventRoleDeleted)})
			}
			if i%8 < 4 {
				return st.InsertUser(t.Context(), userapi.UserInsert{Account: accounts[i], Event: f.event(userapi.EventUserCreated)})
			}
			return st.ChangeUser(t.Context(), f.update(accounts[i], func(w *userapi.UserUpdate) { w.SetRoles = true }))
		})
		winners(t, results, userapi.ErrRoleInUse, userapi.ErrNotFound, userapi.ErrInvalid)
		defined, err := f.Roles(t.Context(), []string{role.ID}, nil)
		must(t, err)
		for i, err := range results {
			if i%8 == 0 && err == nil {
				same(t, len(defined), 0, "definitions after one was deleted")
			}
			if i%8 != 0 && err == nil {
				same(t, f.read(accounts[i].ID).Roles, defined, "roles of an account that was given one")
				same(t, len(defined), 1, "definitions while an account holds one")
			}
		}
	})

	db.every(t, "of one change at one version, one is done", func(t *testing.T, f *tenant) {
		a := f.add()
		results := db.race(racers, func(i int, st userapi.Store) error {
			return st.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) { w.Account.Name = fmt.Sprint(i) }))
		})
		one(t, results, userapi.ErrChanged)
		got := f.read(a.ID)
		same(t, got.Name, fmt.Sprint(slices.Index(results, nil)), "name")
		same(t, got.Version, a.Version+1, "version")
	})

	db.every(t, "of many upgrades of one hash, one is done", func(t *testing.T, f *tenant) {
		a := f.add()
		results := db.race(racers, func(i int, st userapi.Store) error {
			done, err := st.UpgradeHash(t.Context(), userapi.HashUpgrade{
				UserID: a.ID, Old: a.PasswordHash, New: fmt.Sprint(i), Event: f.event(userapi.EventPasswordUpgraded),
			})
			if err == nil && !done {
				return userapi.ErrChanged
			}
			return err
		})
		one(t, results, userapi.ErrChanged)
		same(t, f.read(a.ID).PasswordHash, fmt.Sprint(slices.Index(results, nil)), "hash")
	})

	db.every(t, "C10 a hash upgrade never undoes a password change", func(t *testing.T, f *tenant) {
		a := f.add()
		results := db.race(racers, func(i int, st userapi.Store) error {
			if i%16 == 5 {
				return st.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) { w.Account.PasswordHash = "changed" }))
			}
			_, err := st.UpgradeHash(t.Context(), userapi.HashUpgrade{
				UserID: a.ID, Old: a.PasswordHash, New: "upgraded", Event: f.event(userapi.EventPasswordUpgraded),
			})
			return err
		})
		winners(t, results, userapi.ErrChanged)
		want := "upgraded"
		for i := 5; i < racers; i += 16 {
			if results[i] == nil {
				want = "changed"
			}
		}
		same(t, f.read(a.ID).PasswordHash, want, "hash")
	})

	db.every(t, "a quota is never exceeded by newcomers", func(t *testing.T, f *tenant) {
		const room = 10
		f.setQuota(f.customer, room)
		accounts := f.accounts(racers)
		same(t, winners(t, db.race(racers, func(i int, st userapi.Store) error {
			return st.InsertUser(t.Context(), userapi.UserInsert{Account: accounts[i], Event: f.event(userapi.EventUserCreated)})
		}), userapi.ErrQuota), room, "accounts that got in")
		same(t, len(f.list(userapi.UserFilter{})), room, "accounts")
	})

	db.every(t, "a quota is never exceeded by newcomers, those activated and those who move in", func(t *testing.T, f *tenant) {
		const room = 5
		accounts := f.accounts(racers / 2)
		elsewhere := f.addCustomer(0)
		for i, a := range accounts {
			switch i % 3 {
			case 1:
				a.Active = false
				must(t, f.insert(a))
			case 2:
				a.CustomerID = elsewhere
				must(t, f.insert(a))
			}
		}
		f.setQuota(f.customer, room)
		same(t, winners(t, db.race(len(accounts), func(i int, st userapi.Store) error {
			if i%3 == 0 {
				return st.InsertUser(t.Context(), userapi.UserInsert{Account: accounts[i], Event: f.event(userapi.EventUserCreated)})
			}
			return st.ChangeUser(t.Context(), f.update(accounts[i], func(w *userapi.UserUpdate) { w.Scope, w.TakesPlace = userapi.Scope{All: true}, true }))
		}), userapi.ErrQuota), room, "accounts that got in")
		active := true
		same(t, len(f.list(userapi.UserFilter{Active: &active})), room, "active accounts")
	})

	db.every(t, "H06 an admin stays, whoever removes whom", func(t *testing.T, f *tenant) {
		const admins = 16
		role, elsewhere := f.role(userapi.RoleAdmin), f.addCustomer(0)
		accounts := f.accounts(admins, func(a *userapi.Account) { a.Roles = []userapi.Role{role} })
		for _, a := range accounts {
			must(t, f.insert(a))
		}
		results := db.race(racers, func(i int, st userapi.Store) error {
			a := accounts[i%admins]
			if i/admins == 3 {
				return st.DeleteUser(t.Context(), f.deletion(a, true))
			}
			return st.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) {
				w.KeepAdmin = true
				switch i / admins {
				case 0:
					w.SetRoles, w.Account.Roles = true, nil
				case 1:
					w.Account.Active = false
				case 2:
					w.Account.CustomerID, w.TakesPlace = elsewhere, true
				}
			}))
		})
		same(t, winners(t, results, userapi.ErrLastAdmin, userapi.ErrChanged, userapi.ErrNotFound), admins-1, "admins removed")
		left := 0
		active := true
		for _, u := range f.list(userapi.UserFilter{Active: &active}) {
			if f.read(u.ID).HasRole(userapi.RoleAdmin) {
				left++
			}
		}
		same(t, left, 1, "active admins left")
	})

	db.every(t, "H06 two admins who remove each other leave one", func(t *testing.T, f *tenant) {
		role := f.role(userapi.RoleAdmin)
		pair := []userapi.Account{
			f.add(func(a *userapi.Account) { a.Roles = []userapi.Role{role} }), f.add(func(a *userapi.Account) { a.Roles = []userapi.Role{role} }),
		}
		one(t, db.race(2, func(i int, st userapi.Store) error {
			return st.ChangeUser(t.Context(), f.update(pair[i], func(w *userapi.UserUpdate) { w.KeepAdmin, w.SetRoles, w.Account.Roles = true, true, nil }))
		}), userapi.ErrLastAdmin)
	})

	db.every(t, "writes to one customer's users do not fail each other", func(t *testing.T, f *tenant) {
		accounts := f.accounts(racers/2, func(a *userapi.Account) { a.Roles = []userapi.Role{f.role(f.key("r"))} })
		for _, a := range accounts {
			must(t, f.insert(a))
		}
		fresh := f.accounts(racers/2, func(a *userapi.Account) { a.Roles = []userapi.Role{f.role(f.key("r"))} })
		same(t, winners(t, db.race(racers, func(i int, st userapi.Store) error {
			if i >= racers/2 {
				return st.InsertUser(t.Context(), userapi.UserInsert{Account: fresh[i-racers/2], Event: f.event(userapi.EventUserCreated)})
			}
			return st.ChangeUser(t.Context(), f.update(accounts[i], func(w *userapi.UserUpdate) {
				w.SetRoles, w.TakesPlace, w.EndSessions, w.Revoke = true, true, true, f.revocations(accounts[i].ID)
			}))
		})), racers, "writes")
	})
}

// accounts makes accounts without storing them.
func (f *tenant) accounts(n int, edits ...func(*userapi.Account)) []userapi.Account {
	list := make([]userapi.Account, n)
	for i := range list {
		list[i] = f.account(edits...)
	}
	return list
}
