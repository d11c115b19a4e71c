package storetest

import (
	"testing"
	"time"

	"github.com/userapi/userapi"
)

func (s suite) changes(t *testing.T) {
	db := s.database(t)

	t.Run("a change replaces the row but first creation and last login", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add(func(a *userapi.Account) { a.EmailKey, a.LastLogin = f.key("@x"), f.now.Add(-time.Hour) })
		b := f.account()
		b.ID, b.Version = a.ID, a.Version
		b.Email, b.EmailKey, b.Phone, b.EmailVerified, b.PhoneVerified = "New@x", f.key("new@x"), "+4935"+digits(), true, true
		b.Name, b.FirstName, b.LastName, b.NameKey = "New", "First", "Last", "new"
		b.Active, b.PasswordHash, b.MustChange, b.Epoch = false, "another hash", true, 7
		b.CreatedAt, b.LastLogin, b.UpdatedAt = f.now.Add(time.Hour), f.now.Add(2*time.Hour), f.now.Add(3*time.Hour+999*time.Microsecond)
		must(t, f.ChangeUser(t.Context(), f.update(b)))
		want := kept(b)
		want.Version, want.CreatedAt, want.LastLogin = 2, a.CreatedAt, a.LastLogin
		same(t, f.read(a.ID), want, "account")
		for _, old := range identifiersOf(a) {
			_, err := f.AccountByIdentifier(t.Context(), f.scope(), old)
			is(t, err, userapi.ErrNotFound)
		}
		for _, id := range identifiersOf(b) {
			_, err := f.AccountByIdentifier(t.Context(), f.scope(), id)
			must(t, err)
		}
	})

	t.Run("awkward texts replace each other byte for byte", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add()
		for _, text := range awkward {
			a.Name, a.UsernameKey, a.NameKey = text, f.key(text), text
			must(t, f.ChangeUser(t.Context(), f.update(a)))
			a.Version++
			same(t, f.read(a.ID), a, "account")
		}
	})

	t.Run("the same values twice are two changes", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add(func(a *userapi.Account) { a.Roles = []userapi.Role{f.role(f.key("one"))} })
		for version := int64(1); version <= 3; version++ {
			a.Version = version
			must(t, f.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) { w.SetRoles, w.EndSessions = true, true })))
			same(t, f.read(a.ID).Version, version+1, "version")
		}
	})

	t.Run("only what was read is changed", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add()
		f.open(a)
		must(t, f.ChangeUser(t.Context(), f.update(a)))
		for _, version := range []int64{0, 1, 3, -1} {
			f.refused(userapi.ErrChanged, func() error {
				return f.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) {
					w.IfVersion, w.Account.Name, w.EndSessions, w.Revoke = version, "late", true, f.revocations(a.ID)
				}))
			}, a.ID)
		}
		is(t, f.ChangeUser(t.Context(), f.update(f.account())), userapi.ErrNotFound)
	})

	t.Run("the version a caller puts in the account does not count", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add()
		a.Version = 99
		must(t, f.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) { w.IfVersion = 1 })))
		same(t, f.read(a.ID).Version, int64(2), "version")
	})

	t.Run("roles are replaced when asked for and kept otherwise", func(t *testing.T) {
		f := db.tenant(t)
		one, two, three := f.role(f.key("1")), f.role(f.key("2")), f.role(f.key("3"))
		a := f.add(func(a *userapi.Account) { a.Roles = []userapi.Role{two, one} })
		for _, step := range []struct {
			set         bool
			given, want []userapi.Role
		}{
			{false, nil, []userapi.Role{one, two}},
			{false, []userapi.Role{three}, []userapi.Role{one, two}},
			{true, []userapi.Role{three, two}, []userapi.Role{two, three}},
			{true, []userapi.Role{three, two}, []userapi.Role{two, three}},
			{true, nil, nil},
			{true, []userapi.Role{one}, []userapi.Role{one}},
		} {
			a.Roles = step.given
			must(t, f.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) { w.SetRoles = step.set })))
			a = f.read(a.ID)
			same(t, a.Roles, step.want, "roles")
		}
		a.Roles = []userapi.Role{two, {ID: newID(), Code: f.key("gone")}}
		before := f.state(a.ID)
		isField(t, f.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) { w.SetRoles, w.EndSessions = true, true })), "roles")
		same(t, f.state(a.ID), before, "what a refused write left behind")
	})

	t.Run("a change ends the sessions of the account, and may open one in place of another", func(t *testing.T) {
		f := db.tenant(t)
		a, other := f.add(), f.add()
		first, second, third := f.open(a), f.open(a), f.open(a)
		theirs := f.open(other)
		a = f.read(a.ID)
		must(t, f.ChangeUser(t.Context(), f.update(a)))
		same(t, sessionIDs(f.sessionsOf(a.ID)), []string{third.ID, second.ID, first.ID}, "sessions where none was to end")
		a.Version++
		next := f.session(a.ID)
		replace := func(id string) func(*userapi.UserUpdate) {
			return func(w *userapi.UserUpdate) { w.EndSessions, w.Session, w.Replaces = true, &next, id }
		}
		for _, ended := range []string{newID(), theirs.ID} {
			f.refused(userapi.ErrChanged, func() error { return f.ChangeUser(t.Context(), f.update(a, replace(ended))) }, a.ID, other.ID)
		}
		must(t, f.ChangeUser(t.Context(), f.update(a, replace(second.ID))))
		a.Version++
		f.refused(userapi.ErrChanged, func() error {
			return f.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) { w.EndSessions, w.Replaces = true, second.ID }))
		}, a.ID)
		a.Version--
		same(t, f.sessionsOf(a.ID), []userapi.Session{next}, "the session in place of another")
		a.Version++
		must(t, f.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) { w.EndSessions = true })))
		same(t, len(f.sessionsOf(a.ID)), 0, "sessions where all were to end")
		same(t, sessionIDs(f.sessionsOf(other.ID)), []string{theirs.ID}, "sessions of somebody else")
	})

	t.Run("a refused change changes nothing at all", func(t *testing.T) {
		f := db.tenant(t)
		holder := f.add(func(a *userapi.Account) { a.EmailKey, a.Phone, a.PhoneVerified = f.key("@x"), "+4936"+digits(), true })
		full := f.addCustomer(1)
		f.add(func(a *userapi.Account) { a.CustomerID = full })
		role, admin := f.role(f.key("role")), f.role(userapi.RoleAdmin)
		a := f.add(func(a *userapi.Account) { a.Roles = []userapi.Role{role, admin} })
		f.open(a)
		a = f.read(a.ID)
		for name, refusal := range map[string]struct {
			wanted error
			edit   func(*userapi.UserUpdate)
		}{
			"e-mail":   {userapi.ErrEmailTaken, func(w *userapi.UserUpdate) { w.Account.EmailKey = holder.EmailKey }},
			"username": {userapi.ErrUsernameTaken, func(w *userapi.UserUpdate) { w.Account.UsernameKey = holder.UsernameKey }},
			"phone":    {userapi.ErrPhoneTaken, func(w *userapi.UserUpdate) { w.Account.Phone, w.Account.PhoneVerified = holder.Phone, true }},
			"quota":    {userapi.ErrQuota, func(w *userapi.UserUpdate) { w.Account.CustomerID, w.TakesPlace = full, true }},
			"admin":    {userapi.ErrLastAdmin, func(w *userapi.UserUpdate) { w.KeepAdmin = true }},
			"version":  {userapi.ErrChanged, func(w *userapi.UserUpdate) { w.IfVersion++ }},
			"customer": {userapi.ErrInvalid, func(w *userapi.UserUpdate) { w.Account.CustomerID, w.TakesPlace = newID(), true }},
			"roles":    {userapi.ErrInvalid, func(w *userapi.UserUpdate) { w.Account.Roles = []userapi.Role{{ID: newID(), Code: "none"}} }},
		} {
			t.Run(name, func(t *testing.T) {
				f.t = t
				w := f.update(a, func(w *userapi.UserUpdate) {
					w.Account.Name, w.Account.Epoch, w.Account.PasswordHash = "changed", a.Epoch+1, "changed"
					w.SetRoles, w.Account.Roles, w.EndSessions, w.Revoke = true, []userapi.Role{role}, true, f.revocations(a.ID)
					refusal.edit(w)
				})
				f.refused(refusal.wanted, func() error { return f.ChangeUser(t.Context(), w) }, a.ID, holder.ID)
				same(t, f.recorded(w.Event), false, "L05: whether a refused change left its event")
			})
		}
		f.t = t
		w := f.update(a, func(w *userapi.UserUpdate) {
			w.SetRoles, w.Account.Roles, w.EndSessions, w.Revoke = true, []userapi.Role{role}, true, f.revocations(a.ID)
		})
		must(t, f.ChangeUser(t.Context(), w))
		same(t, f.recorded(w.Event), true, "L05: whether the event is there")
		if !f.hasRevocation(userapi.RevokeUser, a.ID) {
			t.Fatal("the revocation is missing")
		}
		same(t, len(f.sessionsOf(a.ID)), 0, "sessions")
	})

	t.Run("an account keeps its own keys", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add(func(a *userapi.Account) { a.EmailKey, a.Phone, a.PhoneVerified = f.key("@x"), "+4937"+digits(), true })
		a.Name = "Changed"
		must(t, f.ChangeUser(t.Context(), f.update(a)))
		freed := a.EmailKey
		a.Version, a.EmailKey = 2, ""
		must(t, f.ChangeUser(t.Context(), f.update(a)))
		f.add(func(a *userapi.Account) { a.EmailKey = freed })
	})

	t.Run("changes share no memory with the caller", func(t *testing.T) {
		f := db.tenant(t)
		role := f.role(f.key("shared"))
		a := f.add()
		given := []userapi.Role{role}
		a.Roles = given
		must(t, f.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) { w.SetRoles = true })))
		given[0] = userapi.Role{}
		same(t, f.read(a.ID).Roles, []userapi.Role{role}, "roles after the input changed")
	})

	t.Run("an account moves to another customer", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add()
		there := f.addCustomer(0)
		a.CustomerID = there
		must(t, f.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) { w.TakesPlace = true })))
		_, err := f.AccountByID(t.Context(), f.scope(), a.ID)
		is(t, err, userapi.ErrNotFound)
		got, err := f.AccountByID(t.Context(), userapi.Scope{Customer: there}, a.ID)
		must(t, err)
		same(t, got.CustomerID, there, "customer")
		off := f.add(func(a *userapi.Account) { a.Active = false })
		off.CustomerID = newID()
		isField(t, f.ChangeUser(t.Context(), f.update(off)), "customer")
	})

	t.Run("the last active admin stays", func(t *testing.T) {
		f := db.tenant(t)
		admin, other := f.role(userapi.RoleAdmin), f.role(f.key("other"))
		a := f.add(func(a *userapi.Account) { a.Roles = []userapi.Role{admin} })
		elsewhere := f.addCustomer(0)
		f.add(func(a *userapi.Account) { a.Roles, a.CustomerID = []userapi.Role{admin}, elsewhere })
		f.add(func(a *userapi.Account) { a.Roles = []userapi.Role{other} })
		deputy := f.add(func(a *userapi.Account) { a.Roles, a.Active = []userapi.Role{admin}, false })
		writes := map[string]func() error{
			"demoted": func() error {
				return f.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) { w.KeepAdmin, w.SetRoles, w.Account.Roles = true, true, nil }))
			},
			"deactivated": func() error {
				return f.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) { w.KeepAdmin, w.Account.Active = true, false }))
			},
			"moved": func() error {
				return f.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) { w.KeepAdmin, w.TakesPlace, w.Account.CustomerID = true, true, elsewhere }))
			},
			"deleted": func() error { return f.DeleteUser(t.Context(), f.deletion(a, true)) },
		}
		for _, write := range writes {
			f.refused(userapi.ErrLastAdmin, write, a.ID)
		}
		deputy.Active = true
		must(t, f.ChangeUser(t.Context(), f.update(deputy, func(w *userapi.UserUpdate) { w.TakesPlace = true })))
		must(t, writes["demoted"]())
		deputy.Version++
		is(t, f.DeleteUser(t.Context(), f.deletion(deputy, true)), userapi.ErrLastAdmin)
		must(t, f.DeleteUser(t.Context(), f.deletion(deputy, false)))
	})
}
