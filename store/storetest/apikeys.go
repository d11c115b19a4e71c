package storetest

import (
	"context"
	"crypto/rand"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/userapi/userapi"
)

// apiKey makes a key of the user; each is a second younger than the one before.
func (f *tenant) apiKey(userID string, edits ...func(*userapi.StoredKey)) userapi.StoredKey {
	f.n++
	name := fmt.Sprint("key ", f.n)
	k := userapi.StoredKey{APIKey: userapi.APIKey{
		ID: newID(), UserID: userID, Name: name, Prefix: strings.ToUpper(f.key(fmt.Sprint("P", f.n))), Scopes: []string{"userapi:read", "orders:read"},
		Active: true, CreatedAt: f.now.Add(time.Duration(f.n) * time.Second),
	}, NameKey: name, Hash: "hash of " + name, Version: 1}
	for _, edit := range edits {
		edit(&k)
	}
	return k
}

func (f *tenant) keyInsert(k userapi.StoredKey, a userapi.Account, edits ...func(*userapi.KeyInsert)) userapi.KeyInsert {
	w := userapi.KeyInsert{Scope: f.scope(), Key: k, IfEpoch: a.Epoch, Cap: 1000, CapAll: 1000, Event: f.event(userapi.EventKeyCreated)}
	for _, edit := range edits {
		edit(&w)
	}
	return w
}

// addKey makes and stores a key of the account, and returns it as it is kept.
func (f *tenant) addKey(a userapi.Account, edits ...func(*userapi.StoredKey)) userapi.StoredKey {
	f.t.Helper()
	k := f.apiKey(a.ID, edits...)
	must(f.t, f.InsertKey(f.t.Context(), f.keyInsert(k, a)))
	return keptKey(k)
}

func (f *tenant) keyUpdate(k userapi.StoredKey, edits ...func(*userapi.KeyUpdate)) userapi.KeyUpdate {
	w := userapi.KeyUpdate{
		Scope: f.scope(), Key: k, IfVersion: k.Version, Cap: 1000, Now: f.now, Event: f.event(userapi.EventKeyChanged),
		Revoke: userapi.Revocation{Kind: userapi.RevokeKey, Subject: k.ID, Below: k.Version + 1, Lives: time.Hour},
	}
	for _, edit := range edits {
		edit(&w)
	}
	return w
}

func (f *tenant) keyDelete(k userapi.StoredKey) userapi.KeyDelete {
	return userapi.KeyDelete{
		Scope: f.scope(), ID: k.ID, UserID: k.UserID, Event: f.event(userapi.EventKeyDeleted),
		Revoke: userapi.Revocation{Kind: userapi.RevokeKey, Subject: k.ID, Below: math.MaxInt64, Lives: time.Hour},
	}
}

func (f *tenant) keysOf(userID string) []userapi.APIKey {
	f.t.Helper()
	keys, err := f.ListKeys(f.t.Context(), userapi.Scope{All: true}, userID)
	must(f.t, err)
	for i := range keys {
		keys[i] = keptKey(userapi.StoredKey{APIKey: keys[i]}).APIKey
	}
	return keys
}

func (f *tenant) findKey(id string) (userapi.KeyAccount, error) {
	ka, err := f.FindKey(f.t.Context(), userapi.Scope{All: true}, userapi.KeyRef{ID: id})
	ka.Key, ka.Account = keptKey(ka.Key), plain(ka.Account)
	return ka, err
}

// keptKey is the key as a store gives it back; whether no scopes are nil or an empty slice is its own affair.
func keptKey(k userapi.StoredKey) userapi.StoredKey {
	k.ExpiresAt, k.CreatedAt, k.LastUsedAt = stamp(k.ExpiresAt), stamp(k.CreatedAt), stamp(k.LastUsedAt)
	if len(k.Scopes) == 0 {
		k.Scopes = nil
	}
	return k
}

func keyIDs(keys []userapi.APIKey) []string {
	return ids(keys, func(k userapi.APIKey) string { return k.ID })
}

func (s suite) apiKeys(t *testing.T) {
	db := s.database(t)

	t.Run("a key comes back as it was given, with its owner", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add(func(a *userapi.Account) { a.Roles = []userapi.Role{f.role(f.key("b")), f.role(f.key("a"))} })
		odd := time.Date(2031, 2, 3, 4, 5, 6, 789_999_999, time.FixedZone("far east", 9*3600))
		for _, edit := range []func(*userapi.StoredKey){
			func(*userapi.StoredKey) {},
			func(k *userapi.StoredKey) { k.Scopes, k.Active = nil, false },
			func(k *userapi.StoredKey) {
				k.Name, k.NameKey, k.ExpiresAt, k.CreatedAt, k.LastUsedAt = strings.Repeat("☃", 32), strings.Repeat("☃", 32), odd, odd, odd
				k.Scopes = nil
				for i := range 32 {
					k.Scopes = append(k.Scopes, fmt.Sprintf("%064d", i))
				}
			},
		} {
			k := f.addKey(a, edit)
			got, err := f.findKey(k.ID)
			must(t, err)
			same(t, got, userapi.KeyAccount{Key: k, Account: a}, "key and owner: whose version stays")
			got, err = f.FindKey(t.Context(), f.scope(), userapi.KeyRef{Prefix: k.Prefix})
			must(t, err)
			same(t, keptKey(got.Key), k, "key by its prefix")
		}
	})

	t.Run("keys share no memory with the caller", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add()
		k := f.apiKey(a.ID)
		must(t, f.InsertKey(t.Context(), f.keyInsert(k, a)))
		want := keptKey(k)
		want.Scopes = []string{"userapi:read", "orders:read"}
		k.Scopes[0] = "changed"
		for range 2 {
			got, err := f.findKey(k.ID)
			must(t, err)
			same(t, got.Key, want, "key")
			got.Key.Scopes[0] = "changed"
			listed := f.keysOf(a.ID)
			same(t, listed, []userapi.APIKey{want.APIKey}, "keys")
			listed[0].Scopes[0] = "changed"
		}
		change := []string{"full"}
		must(t, f.ChangeKey(t.Context(), f.keyUpdate(want, func(w *userapi.KeyUpdate) { w.Key.Scopes = change })))
		change[0] = "changed"
		got, err := f.findKey(k.ID)
		must(t, err)
		same(t, got.Key.Scopes, []string{"full"}, "scopes")
	})

	t.Run("keys are found by their exact bytes, within the scope", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add()
		k := f.addKey(a)
		elsewhere := userapi.Scope{Customer: f.addCustomer(0)}
		for _, by := range []userapi.KeyRef{{ID: strings.ToUpper(k.ID)}, {Prefix: strings.ToLower(k.Prefix)}, {ID: k.ID + " "}, {Prefix: k.Prefix + " "}, {}, {ID: newID(), Prefix: k.Prefix}} {
			_, err := f.FindKey(t.Context(), userapi.Scope{All: true}, by)
			is(t, err, userapi.ErrNotFound)
		}
		for _, by := range []userapi.KeyRef{{ID: k.ID}, {Prefix: k.Prefix}} {
			for _, scope := range []userapi.Scope{elsewhere, {}} {
				_, err := f.FindKey(t.Context(), scope, by)
				is(t, err, userapi.ErrNotFound)
			}
		}
		for _, scope := range []userapi.Scope{elsewhere, {}} {
			keys, err := f.ListKeys(t.Context(), scope, a.ID)
			must(t, err)
			same(t, len(keys), 0, "keys outside the scope")
			f.refused(userapi.ErrNotFound, func() error {
				return f.ChangeKey(t.Context(), f.keyUpdate(k, func(w *userapi.KeyUpdate) { w.Scope, w.Key.Active = scope, false }))
			}, a.ID)
			f.refused(userapi.ErrNotFound, func() error {
				w := f.keyDelete(k)
				w.Scope = scope
				return f.DeleteKey(t.Context(), w)
			}, a.ID)
			f.refused(userapi.ErrChanged, func() error {
				return f.InsertKey(t.Context(), f.keyInsert(f.apiKey(a.ID), a, func(w *userapi.KeyInsert) { w.Scope = scope }))
			}, a.ID)
		}
	})

	t.Run("a list has the keys of one user, oldest first", func(t *testing.T) {
		f := db.tenant(t)
		a, other := f.add(), f.add()
		f.addKey(other)
		first, second := f.addKey(a), f.addKey(a)
		early := f.addKey(a, func(k *userapi.StoredKey) { k.CreatedAt, k.Active = f.now.Add(-time.Hour), false })
		same(t, f.keysOf(a.ID), []userapi.APIKey{early.APIKey, first.APIKey, second.APIKey}, "keys")
		same(t, len(f.keysOf(newID())), 0, "keys of nobody")
	})

	t.Run("a key needs an active owner at the epoch it was decided under", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add(func(a *userapi.Account) { a.Epoch = 5 })
		off := f.add(func(a *userapi.Account) { a.Active = false })
		for _, try := range []struct {
			user  string
			epoch int64
		}{{a.ID, 4}, {a.ID, 6}, {off.ID, off.Epoch}, {newID(), 1}, {"", 1}} {
			f.refused(userapi.ErrChanged, func() error {
				return f.InsertKey(t.Context(), f.keyInsert(f.apiKey(try.user), userapi.Account{Epoch: try.epoch}))
			}, a.ID, off.ID)
		}
	})

	t.Run("a key needs the session it is made or changed in, whoever's that is", func(t *testing.T) {
		f := db.tenant(t)
		a, admin := f.add(), f.add()
		k := f.addKey(a)
		for _, open := range []userapi.Session{f.open(a), f.open(admin)} {
			inside := func(w *userapi.KeyInsert) { w.IfSession = open.ID }
			for range 2 {
				must(t, f.InsertKey(t.Context(), f.keyInsert(f.apiKey(a.ID), a, inside)))
				must(t, f.ChangeKey(t.Context(), f.keyUpdate(k, func(w *userapi.KeyUpdate) { w.IfSession = open.ID })))
				k.Version++
			}
			a, admin = f.read(a.ID), f.read(admin.ID)
			got, err := f.SessionByID(t.Context(), open.ID)
			must(t, err)
			same(t, got.Session, keptSession(open), "session")
			must(t, f.EndSession(t.Context(), userapi.SessionEnd{Scope: f.scope(), ID: open.ID, UserID: open.UserID, Event: f.event(userapi.EventLogout),
				Revoke: userapi.Revocation{Kind: userapi.RevokeSession, Subject: open.ID, Lives: time.Hour}}))
			f.refused(userapi.ErrChanged, func() error {
				return f.InsertKey(t.Context(), f.keyInsert(f.apiKey(a.ID), a, inside))
			}, a.ID, admin.ID)
			f.refused(userapi.ErrChanged, func() error {
				return f.ChangeKey(t.Context(), f.keyUpdate(k, func(w *userapi.KeyUpdate) { w.IfSession, w.Key.Scopes = open.ID, []string{"full"} }))
			}, a.ID, admin.ID)
		}
	})

	t.Run("names are unique for one owner, ids and prefixes for all", func(t *testing.T) {
		f := db.tenant(t)
		a, other := f.add(), f.add()
		k, second := f.addKey(a), f.addKey(a)
		insert := func(who userapi.Account, edit func(*userapi.StoredKey)) error {
			return f.InsertKey(t.Context(), f.keyInsert(f.apiKey(who.ID, edit), who))
		}
		f.refused(userapi.ErrKeyNameTaken, func() error { return insert(a, func(n *userapi.StoredKey) { n.NameKey = k.NameKey }) }, a.ID)
		f.refused(userapi.ErrIDTaken, func() error { return insert(other, func(n *userapi.StoredKey) { n.ID = k.ID }) }, other.ID)
		f.refused(userapi.ErrIDTaken, func() error { return insert(other, func(n *userapi.StoredKey) { n.Prefix = k.Prefix }) }, other.ID)
		must(t, insert(other, func(n *userapi.StoredKey) { n.NameKey = k.NameKey }))
		must(t, insert(a, func(n *userapi.StoredKey) { n.NameKey = strings.ToUpper(k.NameKey) }))
		f.refused(userapi.ErrKeyNameTaken, func() error {
			return f.ChangeKey(t.Context(), f.keyUpdate(second, func(w *userapi.KeyUpdate) { w.Key.NameKey = k.NameKey }))
		}, a.ID)
		must(t, f.ChangeKey(t.Context(), f.keyUpdate(k))) // its own name is no other's
	})

	t.Run("the cap counts usable keys", func(t *testing.T) {
		f := db.tenant(t)
		a, other := f.add(), f.add()
		now := f.now.Add(time.Hour)
		capped := func(w *userapi.KeyInsert) { w.Cap, w.Key.CreatedAt = 2, now }
		f.addKey(other)
		f.addKey(a, func(k *userapi.StoredKey) { k.Active = false })
		f.addKey(a, func(k *userapi.StoredKey) { k.ExpiresAt = now })
		f.addKey(a, func(k *userapi.StoredKey) { k.ExpiresAt = now.Add(time.Millisecond) })
		must(t, f.InsertKey(t.Context(), f.keyInsert(f.apiKey(a.ID), a, capped)))
		f.refused(userapi.ErrKeyQuota, func() error { return f.InsertKey(t.Context(), f.keyInsert(f.apiKey(a.ID), a, capped)) }, a.ID)
		f.refused(userapi.ErrKeyQuota, func() error {
			return f.InsertKey(t.Context(), f.keyInsert(f.apiKey(other.ID), other, func(w *userapi.KeyInsert) { w.Cap = 0 }))
		}, other.ID)
		must(t, f.InsertKey(t.Context(), f.keyInsert(f.apiKey(a.ID), a, capped, func(w *userapi.KeyInsert) { w.Cap = 3 })))
	})

	t.Run("another cap counts all keys", func(t *testing.T) {
		f := db.tenant(t)
		a, other := f.add(), f.add()
		all := func(w *userapi.KeyInsert) { w.CapAll = 3 }
		f.addKey(other)
		f.addKey(a)
		f.addKey(a, func(k *userapi.StoredKey) { k.Active = false })
		inserts := make([]userapi.KeyInsert, racers)
		for i := range inserts {
			inserts[i] = f.keyInsert(f.apiKey(a.ID, func(k *userapi.StoredKey) { k.Active = false }), a, all)
		}
		one(t, db.race(racers, func(i int, st userapi.Store) error { return st.InsertKey(t.Context(), inserts[i]) }), userapi.ErrKeyQuota)
		same(t, len(f.keysOf(a.ID)), 3, "keys")
		f.refused(userapi.ErrKeyQuota, func() error { return f.InsertKey(t.Context(), f.keyInsert(f.apiKey(a.ID), a, all)) }, a.ID)
		f.addKey(a)
	})

	t.Run("those that are inactive or have expired have a cap with the others", func(t *testing.T) {
		f := db.tenant(t)
		a, other := f.add(), f.add()
		f.addKey(other)
		f.addKey(a, func(k *userapi.StoredKey) { k.Active = false })
		f.addKey(a, func(k *userapi.StoredKey) { k.ExpiresAt = f.now })
		capped := func(most int64) userapi.KeyInsert {
			return f.keyInsert(f.apiKey(a.ID), a, func(w *userapi.KeyInsert) { w.CapAll = most })
		}
		f.refused(userapi.ErrKeyQuota, func() error { return f.InsertKey(t.Context(), capped(2)) }, a.ID)
		must(t, f.InsertKey(t.Context(), capped(3)))
		f.refused(userapi.ErrKeyQuota, func() error { return f.InsertKey(t.Context(), capped(3)) }, a.ID)
	})

	t.Run("enabling a key counts like making one", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add()
		f.addKey(a)
		off := f.addKey(a, func(k *userapi.StoredKey) { k.Active = false })
		enable := func(most int64) userapi.KeyUpdate {
			return f.keyUpdate(off, func(w *userapi.KeyUpdate) { w.Key.Active, w.TakesPlace, w.Cap = true, true, most })
		}
		f.refused(userapi.ErrKeyQuota, func() error { return f.ChangeKey(t.Context(), enable(1)) }, a.ID)
		must(t, f.ChangeKey(t.Context(), enable(2)))
		off.Version++
		must(t, f.ChangeKey(t.Context(), enable(2))) // it is not counted beside itself
	})

	t.Run("a change replaces name, scopes and state, and raises both versions", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add()
		k := f.addKey(a, func(k *userapi.StoredKey) { k.ExpiresAt = f.now.Add(time.Hour) })
		w := f.keyUpdate(k, func(w *userapi.KeyUpdate) {
			w.Key.Name, w.Key.NameKey, w.Key.Scopes, w.Key.Active = "New", "new", nil, false
			w.Key.Prefix, w.Key.Hash, w.Key.ExpiresAt, w.Key.CreatedAt, w.Key.LastUsedAt = "other", "other", f.now, f.now, f.now
		})
		must(t, f.ChangeKey(t.Context(), w))
		got, err := f.findKey(k.ID)
		must(t, err)
		k.Name, k.NameKey, k.Scopes, k.Active, k.Version = "New", "new", nil, false, 2
		same(t, got.Key, k, "key: what else it has stays")
		same(t, got.Account.Version, a.Version+1, "version of the owner")
		same(t, f.hasRevocation(userapi.RevokeKey, k.ID), true, "whether it was revoked")
		k.Version = 1
		f.refused(userapi.ErrChanged, func() error { return f.ChangeKey(t.Context(), f.keyUpdate(k)) }, a.ID)
		k.Version = 2
		must(t, f.ChangeKey(t.Context(), f.keyUpdate(k))) // even one that changes nothing
		gone := f.apiKey(a.ID)
		f.refused(userapi.ErrNotFound, func() error { return f.ChangeKey(t.Context(), f.keyUpdate(gone)) }, a.ID)
		k.UserID = f.add().ID
		f.refused(userapi.ErrNotFound, func() error { return f.ChangeKey(t.Context(), f.keyUpdate(k)) }, a.ID, k.UserID)
	})

	t.Run("a key is deleted once", func(t *testing.T) {
		f := db.tenant(t)
		a, other := f.add(), f.add()
		k, stays := f.addKey(a), f.addKey(a)
		foreign := k
		foreign.UserID = other.ID
		f.refused(userapi.ErrNotFound, func() error { return f.DeleteKey(t.Context(), f.keyDelete(foreign)) }, a.ID, other.ID)
		must(t, f.DeleteKey(t.Context(), f.keyDelete(k)))
		same(t, f.keysOf(a.ID), []userapi.APIKey{stays.APIKey}, "keys left")
		same(t, f.read(a.ID).Version, a.Version+1, "version of the owner")
		same(t, f.hasRevocation(userapi.RevokeKey, k.ID), true, "whether it was revoked")
		f.refused(userapi.ErrNotFound, func() error { return f.DeleteKey(t.Context(), f.keyDelete(k)) }, a.ID)
	})

	t.Run("its use is noted now and then, and is no change", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add()
		k, other := f.addKey(a), f.addKey(a)
		used := func(at, want time.Time) {
			t.Helper()
			must(t, f.TouchKey(t.Context(), k.ID, at, time.Minute))
			got, err := f.findKey(k.ID)
			must(t, err)
			k.LastUsedAt = want
			same(t, got, userapi.KeyAccount{Key: k, Account: a}, "key and owner")
		}
		used(f.now, f.now)
		used(f.now.Add(59_999*time.Millisecond), f.now)
		used(f.now.Add(time.Minute), f.now.Add(time.Minute))
		used(f.now, f.now.Add(time.Minute))
		must(t, f.TouchKey(t.Context(), newID(), f.now, time.Minute))
		same(t, f.keysOf(a.ID)[1], other.APIKey, "another key")
	})

	t.Run("a change of the account ends its keys only when told to", func(t *testing.T) {
		f := db.tenant(t)
		a, other := f.add(), f.add()
		mine, theirs := f.addKey(a), f.addKey(other)
		must(t, f.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) { w.EndSessions, w.Account.Active = true, false })))
		same(t, f.keysOf(a.ID), []userapi.APIKey{mine.APIKey}, "keys of a deactivated user")
		a = f.read(a.ID)
		stale := f.update(a, func(w *userapi.UserUpdate) { w.EndKeys, w.IfVersion = true, a.Version-1 })
		f.refused(userapi.ErrChanged, func() error { return f.ChangeUser(t.Context(), stale) }, a.ID)
		must(t, f.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) { w.EndKeys = true })))
		same(t, len(f.keysOf(a.ID)), 0, "keys")
		same(t, keyIDs(f.keysOf(other.ID)), []string{theirs.ID}, "keys of somebody else")
	})

	t.Run("L06 an erased account leaves no keys and no grants", func(t *testing.T) {
		f := db.tenant(t)
		pending := f.add(func(a *userapi.Account) { a.Pending, a.UpdatedAt = true, f.now.Add(-time.Hour) })
		a, other := f.add(), f.add()
		var keys []userapi.StoredKey
		for _, who := range []userapi.Account{pending, a, other} {
			keys = append(keys, f.addKey(who))
			must(t, f.SetGrant(t.Context(), f.grant(who.ID, "apikeys", 5)))
		}
		must(t, f.DeleteUser(t.Context(), f.deletion(a, false)))
		_, err := f.Sweep(t.Context(), userapi.SweepBefore{Now: f.now, Idle: time.Hour, Batch: 1000, PendingBefore: f.now})
		must(t, err)
		for i, who := range []userapi.Account{pending, a} {
			_, err = f.findKey(keys[i].ID)
			is(t, err, userapi.ErrNotFound)
			who.Version = 1
			must(t, f.insert(who)) // again, with the id that nothing should hang on
			same(t, len(f.keysOf(who.ID)), 0, "keys")
			same(t, len(f.grantsOf(who.ID)), 0, "grants")
		}
		same(t, len(f.keysOf(other.ID))+len(f.grantsOf(other.ID)), 2, "keys and grants of somebody else")
	})

	t.Run("when everything ends all keys are inactive", func(t *testing.T) {
		f := s.database(t).tenant(t)
		a, b := f.add(), f.add()
		on, off := f.addKey(a), f.addKey(b, func(k *userapi.StoredKey) { k.Active = false })
		must(t, f.EndEverything(t.Context(), userapi.EverythingEnd{Event: f.event(userapi.EventEverythingEnded),
			Revoke: userapi.Revocation{Kind: userapi.RevokeAll, Subject: newID(), Below: f.now.UnixMilli(), Lives: time.Hour}}))
		on.Active, on.Version = false, 2
		for _, want := range []userapi.StoredKey{on, off} {
			got, err := f.findKey(want.ID)
			must(t, err)
			same(t, got.Key, want, "key")
		}
		must(t, f.ChangeKey(t.Context(), f.keyUpdate(on, func(w *userapi.KeyUpdate) { w.Key.Active = true })))
	})
}

// keyOf makes an API key of the user as the actor.
func (n *nodes) keyOf(api *userapi.API, actor userapi.Actor, u userapi.User, scopes ...string) (userapi.Secret, error) {
	_, secret, err := api.Keys.Create(n.t.Context(), actor, u.ID, userapi.NewAPIKey{Name: rand.Text(), Scopes: scopes})
	return secret, err
}

// noKeyHolds wants that no key opens anything, on any node and on one that starts now.
func (n *nodes) noKeyHolds(keys ...userapi.Secret) {
	n.t.Helper()
	for _, api := range append([]*userapi.API{n.late()}, n.apis...) {
		for _, key := range keys {
			if key != "" {
				_, err := api.Auth.AuthenticateKey(n.t.Context(), userapi.Anonymous(), key)
				is(n.t, err, userapi.ErrInvalidKey)
			}
		}
	}
}

func (s suite) apiKeyRaces(t *testing.T) {
	db := s.database(t)
	db.rounds = apiRounds

	db.every(t, "H11 an account has as many keys as it is granted", func(t *testing.T, f *tenant) {
		const most = 5
		n := f.nodes()
		u := n.user("u")
		must(t, n.apis[0].Grants.Set(t.Context(), userapi.System(), u.ID, userapi.GrantAPIKeys, most, time.Time{}))
		actor := n.actor(n.loggedIn(u))
		keys := make([]userapi.Secret, racers)
		same(t, winners(t, n.race(racers, func(i int, api *userapi.API) (err error) {
			keys[i], err = n.keyOf(api, actor, u, userapi.ScopeFull)
			return err
		}), userapi.ErrKeyQuota), most, "keys made")
		holding := 0
		for _, key := range keys {
			if _, err := n.apis[1].Auth.AuthenticateKey(t.Context(), userapi.Anonymous(), key); err == nil {
				holding++
			}
		}
		same(t, holding, most, "keys that hold")
	})

	// A thief makes keys while the owner comes back.
	for name, end := range map[string]func(ctx context.Context, api *userapi.API, id string) error{
		"the proof of the mailbox": func(ctx context.Context, api *userapi.API, id string) error {
			proven := true
			_, _, err := api.Users.Change(ctx, userapi.System(), id, userapi.UserChange{EmailVerified: &proven})
			return err
		},
		"the owner": func(ctx context.Context, api *userapi.API, id string) error {
			return api.Users.Delete(ctx, userapi.System(), id)
		},
		"the end of everything": func(ctx context.Context, api *userapi.API, _ string) error {
			return api.Sessions.RevokeAll(ctx, userapi.System())
		},
	} {
		db.every(t, "B13 no key that was made before outlives "+name, func(t *testing.T, f *tenant) {
			n := f.nodes(func(c *userapi.Config) { c.Grants = map[string]int64{userapi.GrantAPIKeys: 1000} })
			created, err := n.apis[0].Users.Create(t.Context(), userapi.System(), userapi.NewUser{
				Email: f.key("@example.com"), Username: f.key("u"), Password: oldPassword, Active: true, CustomerID: f.customer,
			})
			must(t, err)
			thief := n.actor(n.loggedIn(created))
			keys := make([]userapi.Secret, racers+1)
			keys[racers], err = n.keyOf(n.apis[0], thief, created, userapi.ScopeFull)
			must(t, err)
			results := n.race(racers, func(i int, api *userapi.API) (err error) {
				switch {
				case i == racers/2:
					return end(t.Context(), api, created.ID)
				case i%4 == 0:
					_, err = api.Auth.AuthenticateKey(t.Context(), userapi.Anonymous(), keys[racers])
				default:
					keys[i], err = n.keyOf(api, thief, created, userapi.ScopeFull)
				}
				return err
			})
			winners(t, results, userapi.ErrTokenRevoked, userapi.ErrNotFound, userapi.ErrInvalidKey)
			must(t, results[racers/2])
			n.noKeyHolds(keys...)
			_, err = n.keyOf(n.apis[1], thief, created)
			if err == nil {
				t.Fatal("a key was made in a session that has ended")
			}
		})
	}

	db.every(t, "H07 no key shows a role that was taken before", func(t *testing.T, f *tenant) {
		n := f.nodes()
		role := f.role(f.key("role"))
		u := n.user("u", role)
		key, err := n.keyOf(n.apis[0], userapi.System(), u, userapi.ScopeFull)
		must(t, err)
		var taken atomic.Bool
		results := n.race(racers, func(i int, api *userapi.API) error {
			if i == racers/2 {
				_, _, err := api.Users.Change(t.Context(), userapi.System(), u.ID, userapi.UserChange{Roles: &[]userapi.RoleRef{}})
				taken.Store(true)
				return err
			}
			for range 4 {
				before := taken.Load()
				id, err := api.Auth.AuthenticateKey(t.Context(), userapi.Anonymous(), key)
				if err != nil {
					return err
				}
				if before && id.HasRole(role.Code) {
					return fmt.Errorf("the key shows %v", id.Roles())
				}
			}
			return nil
		})
		same(t, winners(t, results), racers, "checks that went on")
	})
}

func (s suite) keyRaces(t *testing.T) {
	db := s.database(t)

	db.every(t, "H11 an owner never has more keys than the cap, made or enabled", func(t *testing.T, f *tenant) {
		const most = 5
		a := f.add()
		off := make([]userapi.StoredKey, racers)
		for i := range off {
			off[i] = f.addKey(a, func(k *userapi.StoredKey) { k.Active = false })
		}
		inserts := make([]userapi.KeyInsert, racers)
		for i := range inserts {
			inserts[i] = f.keyInsert(f.apiKey(a.ID), a, func(w *userapi.KeyInsert) { w.Cap, w.Key.CreatedAt = most, f.now })
		}
		same(t, winners(t, db.race(racers, func(i int, st userapi.Store) error {
			if i%4 < 2 {
				return st.InsertKey(t.Context(), inserts[i])
			}
			return st.ChangeKey(t.Context(), f.keyUpdate(off[i], func(w *userapi.KeyUpdate) { w.Key.Active, w.TakesPlace, w.Cap = true, true, most }))
		}), userapi.ErrKeyQuota), most, "keys that got in")
		active := 0
		for _, k := range f.keysOf(a.ID) {
			if k.Active {
				active++
			}
		}
		same(t, active, most, "usable keys")
	})

	db.every(t, "one name, one key", func(t *testing.T, f *tenant) {
		a := f.add()
		inserts := make([]userapi.KeyInsert, racers)
		for i := range inserts {
			inserts[i] = f.keyInsert(f.apiKey(a.ID, func(k *userapi.StoredKey) { k.NameKey = "name" }), a)
		}
		one(t, db.race(racers, func(i int, st userapi.Store) error { return st.InsertKey(t.Context(), inserts[i]) }), userapi.ErrKeyNameTaken)
		same(t, len(f.keysOf(a.ID)), 1, "keys")
	})

	// Whoever is being shut out leaves no key behind.
	for name, end := range map[string]func(f *tenant, a userapi.Account, open userapi.Session, st userapi.Store) error{
		"the session it is made in ends": func(f *tenant, a userapi.Account, open userapi.Session, st userapi.Store) error {
			return st.EndSession(f.t.Context(), userapi.SessionEnd{Scope: f.scope(), ID: open.ID, UserID: a.ID, Event: f.event(userapi.EventLogout),
				Revoke: userapi.Revocation{Kind: userapi.RevokeSession, Subject: open.ID, Lives: time.Hour}})
		},
		"all sessions end": func(f *tenant, a userapi.Account, _ userapi.Session, st userapi.Store) error {
			return st.ChangeUser(f.t.Context(), f.update(a, func(w *userapi.UserUpdate) { w.EndSessions, w.Account.Epoch = true, a.Epoch+1 }))
		},
		"the account is deactivated": func(f *tenant, a userapi.Account, _ userapi.Session, st userapi.Store) error {
			return st.ChangeUser(f.t.Context(), f.update(a, func(w *userapi.UserUpdate) {
				w.EndSessions, w.Account.Active, w.Account.Epoch = true, false, a.Epoch+1
			}))
		},
	} {
		db.every(t, "a key is there before "+name+", or not at all", func(t *testing.T, f *tenant) {
			a := f.add()
			open := f.open(a)
			a = f.read(a.ID)
			inserts := make([]userapi.KeyInsert, racers)
			for i := range inserts {
				inserts[i] = f.keyInsert(f.apiKey(a.ID), a, func(w *userapi.KeyInsert) { w.IfSession = open.ID })
			}
			results := db.race(racers, func(i int, st userapi.Store) error {
				if i == racers/2 {
					return end(f, a, open, st)
				}
				return st.InsertKey(t.Context(), inserts[i])
			})
			made := winners(t, results, userapi.ErrChanged) - 1
			must(t, results[racers/2])
			same(t, len(f.keysOf(a.ID)), made, "keys")
			for i := range inserts {
				inserts[i].Event = f.event(userapi.EventKeyCreated)
				inserts[i].Key = f.apiKey(a.ID)
			}
			same(t, winners(t, db.race(racers/4, func(i int, st userapi.Store) error { return st.InsertKey(t.Context(), inserts[i]) }), userapi.ErrChanged), 0, "keys made afterwards")
		})
	}

	db.every(t, "a write that ends the keys of an account ends them all", func(t *testing.T, f *tenant) {
		a, gone := f.add(), f.add()
		k := f.addKey(a)
		inserts := make([]userapi.KeyInsert, racers)
		for i := range inserts {
			who := a
			if i%2 == 1 {
				who = gone
			}
			inserts[i] = f.keyInsert(f.apiKey(who.ID), who)
		}
		results := db.race(racers, func(i int, st userapi.Store) error {
			switch i {
			case racers / 2:
				return st.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) { w.EndKeys, w.EndSessions, w.Account.Epoch = true, true, a.Epoch+1 }))
			case racers/2 + 1:
				return st.DeleteUser(t.Context(), f.deletion(gone, false))
			}
			return st.InsertKey(t.Context(), inserts[i])
		})
		winners(t, results, userapi.ErrChanged)
		must(t, results[racers/2])
		must(t, results[racers/2+1])
		same(t, len(f.keysOf(a.ID)), 0, "keys")
		_, err := f.findKey(k.ID)
		is(t, err, userapi.ErrNotFound)
		must(t, f.insert(gone))
		same(t, len(f.keysOf(gone.ID)), 0, "keys that wait for an id to come back")
	})

	db.every(t, "of one change of a key at one version one is done, and none after its end", func(t *testing.T, f *tenant) {
		a := f.add()
		k, dying := f.addKey(a), f.addKey(a)
		results := db.race(racers, func(i int, st userapi.Store) error {
			switch {
			case i == racers/2:
				return st.DeleteKey(t.Context(), f.keyDelete(dying))
			case i%2 == 0:
				return st.ChangeKey(t.Context(), f.keyUpdate(dying, func(w *userapi.KeyUpdate) { w.Key.Scopes = []string{"full"} }))
			}
			return st.ChangeKey(t.Context(), f.keyUpdate(k, func(w *userapi.KeyUpdate) { w.Key.Scopes = []string{fmt.Sprint(i)} }))
		})
		winners(t, results, userapi.ErrChanged, userapi.ErrNotFound)
		must(t, results[racers/2])
		won := 0
		for i := 1; i < racers; i += 2 {
			if results[i] == nil {
				won++
				got, err := f.findKey(k.ID)
				must(t, err)
				same(t, got.Key.Scopes, []string{fmt.Sprint(i)}, "scopes")
				same(t, got.Key.Version, k.Version+1, "version")
			}
		}
		same(t, won, 1, "changes done")
		_, err := f.findKey(dying.ID)
		is(t, err, userapi.ErrNotFound)
	})
}
