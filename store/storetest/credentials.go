package storetest

import (
	"strings"
	"testing"

	"github.com/userapi/userapi"
)

func (s suite) credentials(t *testing.T) {
	db := s.database(t)

	t.Run("a credential comes back as it was given", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add()
		data := make([]byte, 8<<10)
		for i := range data {
			data[i] = byte(i * 7)
		}
		c := userapi.Credential{UserID: a.ID, Kind: strings.Repeat("k", 32), Key: f.key(strings.Repeat("é", (128-len(f.tag))/2)), Data: data}
		must(t, f.PutCredential(t.Context(), f.credential(c)))
		c.Version = 1
		got, err := db.second.Credential(t.Context(), c.Kind, c.Key)
		must(t, err)
		same(t, got, c, "credential")
		got.Data[0]++
		same(t, f.credentialsOf(a.ID, ""), []userapi.Credential{c}, "credentials, sharing no memory")
		same(t, f.read(a.ID), a, "the account, at the same version")
	})

	t.Run("those of an account are listed by kind and key", func(t *testing.T) {
		f := db.tenant(t)
		a, other := f.add(), f.add()
		b2, b1, a1 := f.hold(a.ID, "b", "2"), f.hold(a.ID, "b", "1"), f.hold(a.ID, "a", "1")
		f.hold(other.ID, "a", "of another")
		same(t, f.credentialsOf(a.ID, ""), []userapi.Credential{a1, b1, b2}, "all")
		same(t, f.credentialsOf(a.ID, "b"), []userapi.Credential{b1, b2}, "of one kind")
		same(t, len(f.credentialsOf(a.ID, "c")), 0, "of none")
		for _, key := range []string{"", "1", strings.ToUpper(b1.Key), b1.Key + " "} {
			_, err := f.Credential(t.Context(), "b", key)
			is(t, err, userapi.ErrNotFound)
		}
		_, err := f.Credential(t.Context(), "a", b2.Key)
		is(t, err, userapi.ErrNotFound)
	})

	t.Run("it is replaced and deleted only as it was read, and by its owner", func(t *testing.T) {
		f := db.tenant(t)
		a, other := f.add(), f.add()
		c := f.hold(a.ID, "totp", "x")
		fails := func(edit func(*userapi.Credential)) {
			t.Helper()
			bad := c
			edit(&bad)
			is(t, f.PutCredential(t.Context(), f.credential(bad)), userapi.ErrChanged)
			if bad.Version != 0 {
				is(t, f.DeleteCredential(t.Context(), f.credential(bad)), userapi.ErrChanged)
			}
			same(t, f.credentialsOf(a.ID, ""), []userapi.Credential{c}, "credentials")
		}
		fails(func(c *userapi.Credential) { c.Version = 0 })
		fails(func(c *userapi.Credential) { c.Version = 2 })
		fails(func(c *userapi.Credential) { c.UserID = other.ID })
		fails(func(c *userapi.Credential) { c.UserID, c.Version = other.ID, 0 })
		fails(func(c *userapi.Credential) { c.Key += "y" })
		next := c
		next.Data = []byte("next")
		w := f.credential(next)
		w.Outgoing = f.outgoing(userapi.PurposeEmail, a.ID)
		must(t, f.PutCredential(t.Context(), w))
		next.Version = 2
		same(t, f.credentialsOf(a.ID, ""), []userapi.Credential{next}, "credentials")
		f.leaves(w.Outgoing)
		added, ended := f.credential(userapi.Credential{UserID: a.ID, Kind: "totp", Key: f.key("z"), Data: []byte("z")}), w
		added.Outgoing = f.outgoing(userapi.PurposePhone, a.ID)
		must(t, f.PutCredential(t.Context(), added))
		f.leaves(w.Outgoing, added.Outgoing)
		ended.Credential, ended.Event = added.Credential, f.event(userapi.EventCredentialDeleted)
		ended.Credential.Version, ended.Outgoing = 1, f.outgoing(userapi.PurposeReset, a.ID)
		must(t, f.DeleteCredential(t.Context(), ended))
		f.leaves(w.Outgoing, added.Outgoing, ended.Outgoing)
		is(t, f.DeleteCredential(t.Context(), f.credential(c)), userapi.ErrChanged)
		must(t, f.DeleteCredential(t.Context(), f.credential(next)))
		is(t, f.DeleteCredential(t.Context(), f.credential(next)), userapi.ErrChanged)
		same(t, len(f.credentialsOf(a.ID, "")), 0, "credentials")
	})

	t.Run("at a version of its account it is stored only then, and that goes up", func(t *testing.T) {
		f := db.tenant(t)
		a, gone := f.add(), f.add()
		write := func(u userapi.Account, version int64) error {
			w := f.credential(userapi.Credential{UserID: u.ID, Kind: "external", Key: f.key(newID()), Data: []byte("x")})
			w.IfVersion = version
			return f.PutCredential(t.Context(), w)
		}
		is(t, write(a, a.Version+1), userapi.ErrChanged)
		must(t, write(a, a.Version))
		is(t, write(a, a.Version), userapi.ErrChanged)
		same(t, len(f.credentialsOf(a.ID, "")), 1, "credentials")
		a.Version++
		same(t, f.read(a.ID), a, "the account")
		must(t, f.DeleteUser(t.Context(), f.deletion(gone, false)))
		is(t, write(gone, gone.Version), userapi.ErrNotFound)
	})

	t.Run("in a session it is stored and deleted only while that is there", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add()
		open := f.open(a)
		w := f.credential(userapi.Credential{UserID: a.ID, Kind: "totp", Key: f.key("x"), Data: []byte("x")})
		w.IfSession = open.ID
		must(t, f.PutCredential(t.Context(), w))
		must(t, f.EndSession(t.Context(), f.ending(open)))
		w.Credential.Version, w.Event = 1, f.event(userapi.EventCredentialChanged)
		is(t, f.PutCredential(t.Context(), w), userapi.ErrChanged)
		is(t, f.DeleteCredential(t.Context(), w), userapi.ErrChanged)
		same(t, f.credentialsOf(a.ID, ""), []userapi.Credential{w.Credential}, "credentials")
		w.Credential.Key, w.Credential.Version = f.key("y"), 0
		is(t, f.PutCredential(t.Context(), w), userapi.ErrChanged)
		same(t, len(f.credentialsOf(a.ID, "")), 1, "credentials")
	})

	t.Run("it goes with its account, and where a change says so", func(t *testing.T) {
		f := db.tenant(t)
		a, gone, other := f.add(), f.add(), f.add()
		f.hold(a.ID, "totp", "a")
		f.hold(gone.ID, "totp", "gone")
		kept := f.hold(other.ID, "totp", "other")
		must(t, f.ChangeUser(t.Context(), f.update(a)))
		same(t, len(f.credentialsOf(a.ID, "")), 1, "after a change of another kind")
		f.hold(a.ID, "external", "a")
		f.hold(other.ID, "external", "other")
		must(t, f.ChangeUser(t.Context(), f.update(f.read(a.ID), func(w *userapi.UserUpdate) { w.EndKind = "external" })))
		same(t, len(f.credentialsOf(a.ID, "external")), 0, "of the kind that ends")
		same(t, len(f.credentialsOf(a.ID, "totp"))+len(f.credentialsOf(other.ID, "external")), 2, "of another kind, and of somebody else")
		must(t, f.ChangeUser(t.Context(), f.update(f.read(a.ID), func(w *userapi.UserUpdate) { w.EndCredentials = true })))
		must(t, f.DeleteUser(t.Context(), f.deletion(gone, false)))
		same(t, len(f.credentialsOf(a.ID, ""))+len(f.credentialsOf(gone.ID, "")), 0, "credentials")
		same(t, f.credentialsOf(other.ID, "totp"), []userapi.Credential{kept}, "of somebody else")
		is(t, f.PutCredential(t.Context(), f.credential(userapi.Credential{UserID: gone.ID, Kind: "totp", Key: f.key("late"), Data: []byte("x")})), userapi.ErrNotFound)
	})

	db.every(t, "of many who change one credential as they read it, one does", func(t *testing.T, f *tenant) {
		a := f.add()
		one(t, db.race(racers, func(i int, st userapi.Store) error {
			return st.PutCredential(t.Context(), f.credential(userapi.Credential{UserID: a.ID, Kind: "totp", Key: f.key("new"), Data: []byte{byte(i)}}))
		}), userapi.ErrChanged)
		c := f.credentialsOf(a.ID, "totp")[0]
		one(t, db.race(racers, func(i int, st userapi.Store) error {
			if i%4 == 0 {
				return st.DeleteCredential(t.Context(), f.credential(c))
			}
			return st.PutCredential(t.Context(), f.credential(userapi.Credential{UserID: a.ID, Kind: "totp", Key: c.Key, Data: []byte{byte(i)}, Version: c.Version}))
		}), userapi.ErrChanged)
	})

	db.every(t, "of many who store one at one version of the account, one does", func(t *testing.T, f *tenant) {
		a := f.add()
		one(t, db.race(racers, func(i int, st userapi.Store) error {
			w := f.credential(userapi.Credential{UserID: a.ID, Kind: "external", Key: f.key(newID()), Data: []byte("x")})
			w.IfVersion = a.Version
			return st.PutCredential(t.Context(), w)
		}), userapi.ErrChanged)
		same(t, len(f.credentialsOf(a.ID, "")), 1, "credentials")
	})

	db.every(t, "no credential is left of an account that goes meanwhile", func(t *testing.T, f *tenant) {
		a := f.add()
		results := db.race(racers, func(i int, st userapi.Store) error {
			if i == racers/2 {
				return st.DeleteUser(t.Context(), f.deletion(a, false))
			}
			return st.PutCredential(t.Context(), f.credential(userapi.Credential{UserID: a.ID, Kind: "totp", Key: f.key(newID()), Data: []byte("x")}))
		})
		winners(t, results, userapi.ErrNotFound)
		must(t, results[racers/2])
		same(t, len(f.credentialsOf(a.ID, "")), 0, "credentials")
	})

	for name, end := range map[string]func(f *tenant, a userapi.Account, open userapi.Session, st userapi.Store) error{
		"the end of the session": func(f *tenant, _ userapi.Account, open userapi.Session, st userapi.Store) error {
			return st.EndSession(f.t.Context(), f.ending(open))
		},
		"a change that ends all sessions": func(f *tenant, a userapi.Account, _ userapi.Session, st userapi.Store) error {
			return st.ChangeUser(f.t.Context(), f.update(a, func(w *userapi.UserUpdate) { w.EndSessions, w.EndCredentials = true, true }))
		},
	} {
		db.every(t, "a credential is stored in a session before "+name+", or not at all", func(t *testing.T, f *tenant) {
			a := f.add()
			open := f.open(a)
			a = f.read(a.ID)
			writes := make([]userapi.CredentialWrite, racers)
			for i := range writes {
				writes[i] = f.credential(userapi.Credential{UserID: a.ID, Kind: "totp", Key: f.key(newID()), Data: []byte("x")})
				writes[i].IfSession = open.ID
			}
			results := db.race(racers, func(i int, st userapi.Store) error {
				if i == racers/2 {
					return end(f, a, open, st)
				}
				return st.PutCredential(t.Context(), writes[i])
			})
			stored := winners(t, results, userapi.ErrChanged) - 1
			must(t, results[racers/2])
			if name == "a change that ends all sessions" {
				stored = 0
			}
			same(t, len(f.credentialsOf(a.ID, "")), stored, "credentials")
			writes[0].Event, writes[0].Credential.Key = f.event(userapi.EventCredentialChanged), f.key(newID())
			is(t, f.PutCredential(t.Context(), writes[0]), userapi.ErrChanged)
		})
	}

	db.every(t, "a login is completed once, and keeps to its own cap", func(t *testing.T, f *tenant) {
		a := f.add()
		whole := f.open(a)
		before := f.read(a.ID).LastLogin
		lacking := f.session(a.ID)
		lacking.Step = userapi.StepSecondFactor
		w := f.login(lacking, a.Epoch)
		w.Cap = 1
		_, err := f.InsertSession(t.Context(), w)
		must(t, err)
		same(t, f.read(a.ID).LastLogin, before, "last login")
		got, err := f.SessionByID(t.Context(), lacking.ID)
		must(t, err)
		same(t, got.Session, keptSession(lacking), "session")
		complete := f.openings(a, racers)
		one(t, db.race(racers, func(i int, st userapi.Store) error {
			complete[i].Replaces = lacking.ID
			_, err := st.InsertSession(t.Context(), complete[i])
			return err
		}), userapi.ErrChanged)
		open := sessionIDs(f.sessionsOf(a.ID))
		same(t, len(open), 2, "sessions")
		same(t, open[1], whole.ID, "the one that was there")
		lacking = f.session(a.ID)
		lacking.Step = userapi.StepSecondFactor
		_, err = f.InsertSession(t.Context(), f.login(lacking, a.Epoch))
		must(t, err)
		w = f.login(f.session(a.ID), a.Epoch)
		w.Cap = 3
		ended, err := f.InsertSession(t.Context(), w)
		must(t, err)
		same(t, len(ended), 0, "sessions ended by a whole one: those that lack a step are not counted")
		must(t, f.EndSession(t.Context(), f.ending(lacking)))
		must(t, f.EndSession(t.Context(), f.ending(w.Session)))
		whole = f.session(a.ID)
		must(t, f.ChangeUser(t.Context(), f.update(f.read(a.ID), func(w *userapi.UserUpdate) {
			w.EndSessions, w.Replaces, w.Session, w.LogsIn = true, open[0], &whole, true
		})))
		same(t, f.read(a.ID).LastLogin, whole.CreatedAt, "last login, when a change completes it")
		same(t, sessionIDs(f.sessionsOf(a.ID)), []string{whole.ID}, "sessions")
		stranger := f.add()
		w = f.login(f.session(stranger.ID), stranger.Epoch)
		w.Replaces = whole.ID
		_, err = f.InsertSession(t.Context(), w)
		is(t, err, userapi.ErrChanged)
		same(t, len(f.sessionsOf(a.ID)), 1, "sessions")
	})
}

func (f *tenant) credential(c userapi.Credential) userapi.CredentialWrite {
	return userapi.CredentialWrite{Credential: c, Event: f.event(userapi.EventCredentialChanged)}
}

// hold stores a credential, whose key no other tenant has.
func (f *tenant) hold(userID, kind, key string) userapi.Credential {
	f.t.Helper()
	c := userapi.Credential{UserID: userID, Kind: kind, Key: f.key(key), Data: []byte("data of " + key)}
	must(f.t, f.PutCredential(f.t.Context(), f.credential(c)))
	c.Version = 1
	return c
}

func (f *tenant) credentialsOf(userID, kind string) []userapi.Credential {
	f.t.Helper()
	found, err := f.CredentialsOf(f.t.Context(), userID, kind)
	must(f.t, err)
	return found
}
