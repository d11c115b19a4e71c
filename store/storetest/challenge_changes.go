package storetest

import (
	"testing"
	"time"

	"github.com/userapi/userapi"
)

// challengeChanges are changes of accounts that end challenges or pose them.
func (s suite) challengeChanges(t *testing.T) {
	db := s.database(t)

	t.Run("a change consumes a challenge of its account, with its messages", func(t *testing.T) {
		f := db.tenant(t)
		a, other := f.add(), f.add()
		out := f.pose(userapi.PurposeReset, a.ID)
		stay := []userapi.Outgoing{f.pose(userapi.PurposeEmail, a.ID), f.pose(userapi.PurposeReset, other.ID), f.notice(a.ID)}
		must(t, f.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) { w.Consumes, w.Account.PasswordHash = out.Challenge.ID, "new" })))
		f.leaves(stay...)
		same(t, f.read(a.ID).PasswordHash, "new", "hash")
		f.noTry(byID(out))
		a.Version++
		must(t, f.ChangeUser(t.Context(), f.update(a)))
		f.leaves(stay...)
	})

	t.Run("a change is refused when the challenge it consumes is gone, another account's or nobody's", func(t *testing.T) {
		f := db.tenant(t)
		holder := f.add(func(a *userapi.Account) { a.EmailKey = f.key("@x") })
		a, other := f.add(), f.add()
		f.open(a)
		ended, theirs := f.pose(userapi.PurposeEmail, a.ID), f.pose(userapi.PurposeReset, other.ID)
		must(t, f.EndChallenge(t.Context(), userapi.ChallengeEnd{ID: ended.Challenge.ID, Event: f.event(userapi.EventPhoneProved)}))
		nobodys := f.outgoing(userapi.PurposeReset, "", func(ch *userapi.Challenge) { ch.Subject = a.ID })
		must(t, f.send(nobodys))
		f.pose(userapi.PurposePhone, a.ID)
		full := f.addCustomer(1)
		f.add(func(a *userapi.Account) { a.CustomerID = full })
		for _, id := range []string{ended.Challenge.ID, theirs.Challenge.ID, nobodys.Challenge.ID, newID()} {
			w := f.update(a, func(w *userapi.UserUpdate) {
				w.Consumes, w.Account.Name, w.Voids, w.Outgoing = id, "late", []userapi.Purpose{userapi.PurposePhone}, f.outgoing(userapi.PurposeReset, a.ID)
				w.EndSessions, w.Revoke = true, f.revocations(a.ID)
			})
			f.refused(userapi.ErrInvalidCode, func() error { return f.ChangeUser(t.Context(), w) }, a.ID, other.ID)
			for _, also := range []func(*userapi.UserUpdate){ // whatever else forbids the change is said to who has the code
				func(w *userapi.UserUpdate) { w.Account.EmailKey = holder.EmailKey },
				func(w *userapi.UserUpdate) { w.Account.CustomerID, w.TakesPlace = full, true },
				func(w *userapi.UserUpdate) { w.KeepAdmin = true },
				func(w *userapi.UserUpdate) { w.Replaces = newID() },
			} {
				w := w
				also(&w)
				f.refused(userapi.ErrInvalidCode, func() error { return f.ChangeUser(t.Context(), w) }, a.ID)
			}
			w.IfVersion++
			f.refused(userapi.ErrChanged, func() error { return f.ChangeUser(t.Context(), w) }, a.ID)
			w.Scope = userapi.Scope{Customer: newID()}
			f.refused(userapi.ErrNotFound, func() error { return f.ChangeUser(t.Context(), w) }, a.ID)
			same(t, f.recorded(w.Event), false, "L05: whether a refused change left its event")
		}
	})

	t.Run("a change that is refused consumes, voids, releases and poses nothing", func(t *testing.T) {
		f := db.tenant(t)
		holder := f.add(func(a *userapi.Account) { a.EmailKey, a.Phone, a.PhoneVerified = f.key("@x"), "+4941"+digits(), true })
		full := f.addCustomer(1)
		f.add(func(a *userapi.Account) { a.CustomerID = full })
		a := f.add(func(a *userapi.Account) { a.Roles = []userapi.Role{f.role(userapi.RoleAdmin)} })
		consumed := f.pose(userapi.PurposePhone, a.ID)
		f.pose(userapi.PurposeReset, a.ID)
		for name, refusal := range map[string]struct {
			wanted error
			edit   func(*userapi.UserUpdate)
		}{
			"e-mail":   {userapi.ErrEmailTaken, func(w *userapi.UserUpdate) { w.Account.EmailKey = holder.EmailKey }},
			"username": {userapi.ErrUsernameTaken, func(w *userapi.UserUpdate) { w.Account.UsernameKey = holder.UsernameKey }},
			"quota":    {userapi.ErrQuota, func(w *userapi.UserUpdate) { w.Account.CustomerID, w.TakesPlace = full, true }},
			"admin":    {userapi.ErrLastAdmin, func(w *userapi.UserUpdate) { w.KeepAdmin = true }},
			"version":  {userapi.ErrChanged, func(w *userapi.UserUpdate) { w.IfVersion++ }},
			"session":  {userapi.ErrChanged, func(w *userapi.UserUpdate) { w.EndSessions, w.Replaces = true, newID() }},
			"roles": {userapi.ErrInvalid, func(w *userapi.UserUpdate) {
				w.SetRoles, w.Account.Roles = true, []userapi.Role{{ID: newID(), Code: "none"}}
			}},
			"phone": {userapi.ErrPhoneTaken, func(w *userapi.UserUpdate) { w.Releases = nil }},
		} {
			t.Run(name, func(t *testing.T) {
				f.t = t
				w := f.update(a, func(w *userapi.UserUpdate) {
					w.Account.Phone, w.Account.PhoneVerified, w.Releases = holder.Phone, true, f.release(holder)
					w.Consumes, w.Voids, w.Outgoing = consumed.Challenge.ID, []userapi.Purpose{userapi.PurposeReset}, f.outgoing(userapi.PurposeEmail, a.ID)
					refusal.edit(w)
				})
				f.refused(refusal.wanted, func() error { return f.ChangeUser(t.Context(), w) }, a.ID, holder.ID)
				same(t, f.recorded(w.Event), false, "L05: whether a refused change left its event")
			})
		}
		f.t = t
	})

	t.Run("a change voids challenges of its account, and of the purposes it names", func(t *testing.T) {
		f := db.tenant(t)
		a, other := f.add(), f.add()
		reset, activation, email := f.pose(userapi.PurposeReset, a.ID), f.pose(userapi.PurposeActivation, a.ID), f.pose(userapi.PurposeEmail, a.ID)
		number := f.outgoing(userapi.PurposeReset, a.ID, func(ch *userapi.Challenge) { ch.Subject = "+4942" + digits() })
		must(t, f.send(number))
		stay := []userapi.Outgoing{f.pose(userapi.PurposeReset, other.ID), f.notice(a.ID), f.poseTo(f.key("n")), activation}
		for _, purposes := range [][]userapi.Purpose{nil, {}, {userapi.PurposePhone}, {"RESET", "", "%"}} {
			must(t, f.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) { w.Voids = purposes })))
			a.Version++
			f.leaves(append(stay, reset, email, number)...)
		}
		must(t, f.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) {
			w.Voids = []userapi.Purpose{userapi.PurposeReset, userapi.PurposeEmail, userapi.PurposeReset}
		})))
		f.leaves(stay...)
	})

	t.Run("what a change poses is not voided by it", func(t *testing.T) {
		f := db.tenant(t)
		a, other := f.add(), f.add()
		consumed := f.pose(userapi.PurposePhone, a.ID)
		f.pose(userapi.PurposeReset, a.ID)
		posed := f.outgoing(userapi.PurposeReset, a.ID)
		posed.Messages = append(posed.Messages, f.message(other.ID, ""))
		must(t, f.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) {
			w.Consumes, w.Outgoing = consumed.Challenge.ID, posed
			w.Voids = []userapi.Purpose{userapi.PurposeReset, userapi.PurposePhone}
		})))
		f.leaves(posed)
		f.wantTry(bySubject(posed), posed, 1)
		next := f.outgoing(userapi.PurposeReset, a.ID)
		a.Version++
		must(t, f.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) { w.Outgoing = next })))
		posed.Challenge, posed.Messages = nil, posed.Messages[1:]
		f.leaves(posed, next)
	})

	t.Run("a verified number passes from one account to another", func(t *testing.T) {
		f := db.tenant(t)
		holder := f.add(func(a *userapi.Account) {
			a.EmailKey, a.Phone, a.PhoneVerified, a.EmailVerified, a.LastLogin = f.key("@x"), "+4943"+digits(), true, true, f.now
			a.Roles = []userapi.Role{f.role(f.key("r"))}
		})
		open, code := f.open(holder), f.pose(userapi.PurposePhone, holder.ID)
		holder = f.read(holder.ID)
		a := f.add()
		w := f.update(a, func(w *userapi.UserUpdate) {
			w.Account.Phone, w.Account.PhoneVerified, w.Releases = holder.Phone, true, f.release(holder)
		})
		must(t, f.ChangeUser(t.Context(), w))
		same(t, []bool{f.recorded(w.Event), f.recorded(w.Releases.Event)}, []bool{true, true}, "whether both events are there")
		holder.PhoneVerified, holder.Version = false, holder.Version+1
		same(t, f.read(holder.ID), holder, "the account that held the number")
		same(t, sessionIDs(f.sessionsOf(holder.ID)), []string{open.ID}, "its sessions")
		f.leaves(code)
		for _, id := range append(identifiersOf(holder), identifiersOf(w.Account)...) {
			got, err := f.AccountByIdentifier(t.Context(), f.scope(), id)
			must(t, err)
			same(t, got.ID == a.ID, id.Kind == userapi.PhoneIdentifier || id.Value == a.UsernameKey, "who is found by "+id.Value)
		}
		must(t, f.ChangeUser(t.Context(), f.update(holder)))
	})

	t.Run("a number is released only as it was read", func(t *testing.T) {
		f := db.tenant(t)
		phone := "+4944" + digits()
		holder, a := f.add(func(a *userapi.Account) { a.Phone, a.PhoneVerified = phone, true }), f.add()
		bystander := f.add(func(a *userapi.Account) { a.Phone, a.PhoneVerified = "+4945"+digits(), true })
		unproven := f.add(func(a *userapi.Account) { a.Phone = phone })
		must(t, f.ChangeUser(t.Context(), f.update(holder)))
		current := f.read(holder.ID)
		for _, r := range []*userapi.PhoneRelease{
			f.release(holder), {UserID: holder.ID, Phone: phone, IfVersion: 3}, {UserID: holder.ID, Phone: bystander.Phone, IfVersion: 2},
			{UserID: holder.ID, IfVersion: 2}, {UserID: newID(), Phone: phone, IfVersion: 2}, {UserID: newID(), Phone: phone}, f.release(unproven),
			{UserID: bystander.ID, Phone: phone, IfVersion: 1},
		} {
			r.Event = f.event(userapi.EventPhoneReleased)
			w := f.update(a, func(w *userapi.UserUpdate) { w.Account.Phone, w.Account.PhoneVerified, w.Releases = phone, true, r })
			f.refused(userapi.ErrChanged, func() error { return f.ChangeUser(t.Context(), w) }, a.ID, holder.ID, bystander.ID, unproven.ID)
			same(t, []bool{f.recorded(w.Event), f.recorded(r.Event)}, []bool{false, false}, "whether a refused change left events")
		}
		// Another's number does not make the one that is taken free.
		f.refused(userapi.ErrPhoneTaken, func() error {
			return f.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) {
				w.Account.Phone, w.Account.PhoneVerified, w.Releases = phone, true, f.release(bystander)
			}))
		}, a.ID, holder.ID, bystander.ID)
		must(t, f.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) { w.Releases = f.release(current) })))
		_, err := f.AccountByIdentifier(t.Context(), f.scope(), userapi.Identifier{Kind: userapi.PhoneIdentifier, Value: phone})
		is(t, err, userapi.ErrNotFound) // released, and taken by nobody yet
		must(t, f.ChangeUser(t.Context(), f.update(unproven, func(w *userapi.UserUpdate) { w.Account.PhoneVerified = true })))
	})

	t.Run("registration poses a challenge with the same write", func(t *testing.T) {
		f := db.tenant(t)
		a := f.account(func(a *userapi.Account) { a.Active, a.Pending = false, true })
		out := f.outgoing(userapi.PurposeActivation, a.ID)
		must(t, f.InsertUser(t.Context(), userapi.UserInsert{Account: a, Outgoing: out, Event: f.event(userapi.EventUserRegistered)}))
		f.leaves(out)
		f.wantTry(bySubject(out), out, 1)
		notice := userapi.Outgoing{Messages: []userapi.SealedMessage{f.message("", "")}}
		must(t, f.InsertUser(t.Context(), userapi.UserInsert{Account: f.account(), Outgoing: notice, Event: f.event(userapi.EventUserRegistered)}))
		f.leaves(out, notice)
		b := f.account(func(b *userapi.Account) { b.UsernameKey = a.UsernameKey })
		w := userapi.UserInsert{Account: b, Outgoing: f.outgoing(userapi.PurposeActivation, b.ID), Event: f.event(userapi.EventUserRegistered)}
		w.Outgoing.Challenge.Subject = a.ID // would take the place of the first
		f.refused(userapi.ErrUsernameTaken, func() error { return f.InsertUser(t.Context(), w) }, a.ID)
		same(t, f.recorded(w.Event), false, "whether a refused registration left its event")
	})

	t.Run("deleting an account erases its challenges and messages", func(t *testing.T) {
		f := db.tenant(t)
		a, other := f.add(), f.add()
		reset := f.outgoing(userapi.PurposeReset, a.ID)
		reset.Messages = append(reset.Messages, f.message("", reset.Challenge.ID), f.message(other.ID, reset.Challenge.ID))
		must(t, f.send(reset))
		number := f.outgoing(userapi.PurposePhone, a.ID, func(ch *userapi.Challenge) { ch.Subject = "+4946" + digits() })
		must(t, f.send(number))
		f.notice(a.ID)
		stay := []userapi.Outgoing{f.pose(userapi.PurposeReset, other.ID), f.notice(other.ID), f.notice(""), f.poseTo(a.ID)}
		for _, w := range []userapi.UserDelete{f.deletion(f.account(), false), {Scope: f.scope(), ID: a.ID, IfVersion: 2, Event: f.event(userapi.EventUserDeleted)}} {
			before := f.left()
			if f.DeleteUser(t.Context(), w) == nil {
				t.Fatal("an account was deleted that was not read")
			}
			same(t, f.left(), before, "what a refused deletion left behind")
		}
		must(t, f.DeleteUser(t.Context(), f.deletion(a, false)))
		f.leaves(stay...)
		f.noTry(bySubject(reset))
		f.add(func(b *userapi.Account) { b.ID = a.ID })
		f.leaves(stay...)
	})

	t.Run("an account is pending until a change says otherwise", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add(func(a *userapi.Account) { a.Active, a.Pending = false, true })
		for _, pending := range []bool{true, false, true, false} {
			a.Pending, a.UpdatedAt = pending, a.UpdatedAt.Add(time.Second)
			must(t, f.ChangeUser(t.Context(), f.update(a)))
			a.Version++
			same(t, f.read(a.ID), a, "account")
		}
	})
}

// release takes the number from the account as it was read.
func (f *tenant) release(holder userapi.Account) *userapi.PhoneRelease {
	return &userapi.PhoneRelease{UserID: holder.ID, Phone: holder.Phone, IfVersion: holder.Version, Event: f.event(userapi.EventPhoneReleased)}
}
