package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/userapi/userapi"
)

func (s suite) challengeRaces(t *testing.T) {
	db := s.database(t)
	db.every(t, "D01 a challenge is consumed by one change", func(t *testing.T, f *tenant) {
		a := f.add()
		out := f.pose(userapi.PurposeReset, a.ID)
		results := db.race(racers, func(i int, st userapi.Store) error {
			return st.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) { w.Consumes, w.Account.Epoch = out.Challenge.ID, int64(100+i) }))
		})
		one(t, results, userapi.ErrChanged, userapi.ErrInvalidCode)
		same(t, f.read(a.ID).Epoch, int64(100+slices.Index(results, nil)), "epoch")
		f.leaves()
	})

	db.every(t, "a challenge is consumed or ended, once", func(t *testing.T, f *tenant) {
		a := f.add()
		out := f.pose(userapi.PurposeReset, a.ID)
		one(t, db.race(racers, func(i int, st userapi.Store) error {
			if i%4 < 2 {
				return st.EndChallenge(t.Context(), userapi.ChallengeEnd{ID: out.Challenge.ID, Event: f.event(userapi.EventPhoneProved)})
			}
			return st.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) { w.Consumes = out.Challenge.ID }))
		}), userapi.ErrNotFound, userapi.ErrChanged, userapi.ErrInvalidCode)
		f.leaves()
	})

	db.every(t, "D03 tries are handed out as often as there are, each with its number", func(t *testing.T, f *tenant) {
		const most = 7
		out := f.outgoing(userapi.PurposePhone, f.add().ID, func(ch *userapi.Challenge) { ch.MaxTries = most })
		must(t, f.send(out))
		tries := make([]int, racers)
		results := db.race(racers, func(i int, st userapi.Store) error {
			by := []func(userapi.Outgoing) userapi.ChallengeTry{byID, bySubject}[i/2%2]
			got, err := st.TryChallenge(t.Context(), f.try(by(out)))
			tries[i] = got.Tries
			return err
		})
		same(t, winners(t, results, userapi.ErrNotFound), most, "tries")
		slices.Sort(tries)
		same(t, tries[racers-most:], []int{1, 2, 3, 4, 5, 6, 7}, "numbers of the tries")
	})

	db.every(t, "tries count right while some are taken back", func(t *testing.T, f *tenant) {
		out := f.outgoing(userapi.PurposePhone, "", func(ch *userapi.Challenge) { ch.MaxTries = racers + 1 })
		must(t, f.send(out))
		same(t, winners(t, db.race(racers, func(i int, st userapi.Store) error {
			_, err := st.TryChallenge(t.Context(), f.try(byID(out)))
			if err == nil && i%4 < 2 {
				err = st.ReturnTry(t.Context(), out.Challenge.ID)
			}
			return err
		})), racers, "tries")
		f.wantTry(byID(out), out, racers/2+1)
	})

	for name, account := range map[string]bool{"an account": true, "no account": false} {
		db.every(t, "of many challenges for one subject of "+name+" one stays, with its message", func(t *testing.T, f *tenant) {
			a := f.add()
			userID := ""
			if account {
				userID = a.ID
			}
			posed := f.outgoings(racers, userapi.PurposePhone, userID, func(ch *userapi.Challenge) { ch.Subject = a.ID })
			same(t, winners(t, db.race(racers, func(i int, st userapi.Store) error {
				return st.InsertChallenge(t.Context(), userapi.ChallengeInsert{Outgoing: posed[i], IfVersion: a.Version, Event: f.event(userapi.EventPhoneAsked)})
			})), racers, "challenges posed")
			last, err := f.TryChallenge(t.Context(), f.try(bySubject(posed[0])))
			must(t, err)
			f.leaves(posed[slices.IndexFunc(posed, func(out userapi.Outgoing) bool { return out.Challenge.ID == last.ID })])
			same(t, f.read(a.ID), a, "the account")
		})
	}

	db.every(t, "D06 no challenge outlives the change that voids it", func(t *testing.T, f *tenant) {
		a := f.add()
		posed := f.posedInTurn(a)
		change := f.update(a, func(w *userapi.UserUpdate) { w.Voids = []userapi.Purpose{userapi.PurposeReset, userapi.PurposeEmail} })
		results := db.race(racers, func(i int, st userapi.Store) error {
			if i == racers/2 {
				return st.ChangeUser(t.Context(), change)
			}
			return st.InsertChallenge(t.Context(), posed[i])
		})
		winners(t, results, userapi.ErrChanged)
		must(t, results[racers/2]) // a challenge is no change that the change could lose against
		f.leaves()
	})

	db.every(t, "no challenge outlives its account", func(t *testing.T, f *tenant) {
		a := f.add()
		posed := f.posedInTurn(a)
		results := db.race(racers, func(i int, st userapi.Store) error {
			if i == racers/2 {
				return st.DeleteUser(t.Context(), f.deletion(a, false))
			}
			return st.InsertChallenge(t.Context(), posed[i])
		})
		winners(t, results, userapi.ErrChanged)
		must(t, results[racers/2])
		f.leaves()
	})
	s.messageRaces(t, db)
	s.phoneRaces(t, db)
}

func (s suite) messageRaces(t *testing.T, db database) {
	db.every(t, "every message is leased by one", func(t *testing.T, f *tenant) {
		f.empty()
		const most = 4
		var out userapi.Outgoing
		for range racers / 3 {
			out.Messages = append(out.Messages, f.message("", ""))
		}
		must(t, f.send(out))
		leased := make([][]userapi.SealedMessage, racers)
		winners(t, db.race(racers, func(i int, st userapi.Store) error {
			for range racers {
				got, err := st.LeaseMessages(t.Context(), most, long)
				if err != nil || len(got) == 0 {
					return err
				}
				leased[i] = append(leased[i], got...)
			}
			return nil
		}))
		rest, err := f.LeaseMessages(t.Context(), 2*racers, long)
		must(t, err)
		given := slices.Concat(append(leased, rest)...)
		for _, m := range given {
			same(t, m.Attempt, 1, "attempt")
		}
		got, want := ids(given, messageID), ids(out.Messages, messageID)
		slices.Sort(got)
		slices.Sort(want)
		same(t, got, want, "messages leased")
	})

	db.every(t, "a message ends once, and leaves one event", func(t *testing.T, f *tenant) {
		out := f.pose(userapi.PurposeReset, f.add().ID)
		ends := make([]userapi.MessageEnd, racers)
		for i := range ends {
			ends[i] = userapi.MessageEnd{ID: out.Messages[0].ID, Void: true, Event: f.event(userapi.EventMessageFailed)}
		}
		same(t, winners(t, db.race(racers, func(i int, st userapi.Store) error { return st.EndMessage(t.Context(), ends[i]) }), userapi.ErrNotFound), 1, "ends")
		events := 0
		for _, w := range ends {
			if f.recorded(w.Event) {
				events++
			}
		}
		same(t, events, 1, "events")
		f.leaves()
	})

	db.every(t, "a registration is activated or swept, never halfway", func(t *testing.T, f *tenant) {
		roles := []userapi.Role{f.role(f.key("1")), f.role(f.key("2"))}
		accounts := f.accounts(racers/4, func(a *userapi.Account) {
			a.Active, a.Pending, a.UpdatedAt, a.Roles = false, true, f.now.Add(-24*time.Hour), roles
		})
		posed := make([]userapi.Outgoing, len(accounts))
		for i, a := range accounts {
			posed[i] = f.outgoing(userapi.PurposeActivation, a.ID)
			must(t, f.InsertUser(t.Context(), userapi.UserInsert{Account: a, Outgoing: posed[i], Event: f.event(userapi.EventUserRegistered)}))
			accounts[i].Active, accounts[i].Pending, accounts[i].UpdatedAt = true, false, f.now
		}
		results := db.race(2*len(accounts), func(i int, st userapi.Store) error {
			if i%4 < 2 {
				_, err := st.Sweep(t.Context(), userapi.SweepBefore{Now: f.now, Idle: 1000 * time.Hour, Batch: 3, PendingBefore: f.now.Add(-time.Hour)})
				return err
			}
			mine := i/4*2 + i%2
			return st.ChangeUser(t.Context(), f.update(accounts[mine], func(w *userapi.UserUpdate) { w.Consumes, w.TakesPlace = posed[mine].Challenge.ID, true }))
		})
		winners(t, results, userapi.ErrNotFound, userapi.ErrChanged, userapi.ErrInvalidCode)
		_, err := f.Sweep(t.Context(), userapi.SweepBefore{Now: f.now, Idle: 1000 * time.Hour, Batch: racers, PendingBefore: f.now})
		must(t, err)
		for i, a := range accounts {
			got, err := f.AccountByID(t.Context(), f.scope(), a.ID)
			if results[i/2*4+2+i%2] != nil {
				is(t, err, userapi.ErrNotFound)
				continue
			}
			must(t, err)
			a.Version++
			same(t, got, kept(a), "the activated account")
		}
		f.leaves()
	})
}

func (s suite) phoneRaces(t *testing.T, db database) {
	db.every(t, "F08 many prove the phone of another, one gets it", func(t *testing.T, f *tenant) {
		holder := f.add(func(a *userapi.Account) { a.Phone, a.PhoneVerified = "+4947"+digits(), true })
		accounts := f.accounts(racers/4, func(a *userapi.Account) { a.Phone, a.PhoneVerified = "+4948"+digits(), true })
		for i := range accounts {
			must(t, f.insert(accounts[i]))
			accounts[i].Phone = holder.Phone
		}
		results := db.race(len(accounts), func(i int, st userapi.Store) error {
			return st.ChangeUser(t.Context(), f.update(accounts[i], func(w *userapi.UserUpdate) { w.Releases = f.release(holder) }))
		})
		one(t, results, userapi.ErrChanged, userapi.ErrPhoneTaken)
		got, err := f.AccountByIdentifier(t.Context(), f.scope(), userapi.Identifier{Kind: userapi.PhoneIdentifier, Value: holder.Phone})
		must(t, err)
		same(t, got.ID, accounts[slices.Index(results, nil)].ID, "who has the phone")
		holder.PhoneVerified, holder.Version = false, holder.Version+1
		same(t, f.read(holder.ID), holder, "the account that held it")
	})

	db.every(t, "two prove each other's phones, one gets the other's", func(t *testing.T, f *tenant) {
		f.proveInRings(t, racers, 2)
	})

	db.every(t, "a ring in which each proves the next one's phone", func(t *testing.T, f *tenant) {
		f.proveInRings(t, racers/2, racers/4)
	})
}

// proveInRings has n accounts prove the phone of the next one in their ring, all at once: each row is changed by one write
// and released by another, in every order there is.
func (f *tenant) proveInRings(t *testing.T, n, size int) {
	accounts := f.accounts(n, func(a *userapi.Account) { a.Phone, a.PhoneVerified = "+4949"+digits(), true })
	for _, a := range accounts {
		must(t, f.insert(a))
	}
	next := func(i int) int { return i - i%size + (i%size+1)%size }
	results := f.db.race(n, func(i int, st userapi.Store) error {
		return st.ChangeUser(t.Context(), f.update(accounts[i], func(w *userapi.UserUpdate) {
			w.Account.Phone, w.Releases = accounts[next(i)].Phone, f.release(accounts[next(i)])
		}))
	})
	winners(t, results, userapi.ErrChanged, userapi.ErrPhoneTaken)
	for ring := 0; ring < n; ring += size {
		if size == 2 {
			one(t, results[ring:ring+size], userapi.ErrChanged, userapi.ErrPhoneTaken)
		}
		if !slices.Contains(results[ring:ring+size], nil) {
			t.Fatal("nobody in a ring got a phone")
		}
	}
	for i, a := range accounts {
		before := (i - i%size) + (i%size+size-1)%size // whose write releases this one
		if results[i] == nil {
			a.Phone, a.Version = accounts[next(i)].Phone, a.Version+1
		}
		if results[before] == nil {
			a.PhoneVerified, a.Version = false, a.Version+1
		}
		if results[i] == nil && results[before] == nil {
			t.Fatal("an account was changed and released, both at the version it had")
		}
		same(t, f.read(a.ID), kept(a), "the account, as the writes that were done leave it")
	}
}

// posedInTurn are challenges for the account as it stands, of two purposes and several subjects.
func (f *tenant) posedInTurn(a userapi.Account) []userapi.ChallengeInsert {
	list := make([]userapi.ChallengeInsert, racers)
	for i := range list {
		purpose := []userapi.Purpose{userapi.PurposeReset, userapi.PurposeEmail}[i/2%2]
		out := f.outgoing(purpose, a.ID, func(ch *userapi.Challenge) {
			if i%8 >= 4 {
				ch.Subject = f.key(string(rune('a' + i/8)))
			}
		})
		list[i] = userapi.ChallengeInsert{Outgoing: out, IfVersion: a.Version, Event: f.event(userapi.EventEmailAsked)}
	}
	return list
}
