package storetest

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/userapi/userapi"
)

// tenant is a customer of its own for one subtest, so that subtests share a database and stay apart.
type tenant struct {
	userapi.Store // the first handle
	db            database
	t             *testing.T
	customer      string
	tag           string // begins every name of this tenant; itself with u
	now           time.Time
	n             int
	posed         []userapi.Challenge     // all that were made, stored or not
	queued        []userapi.SealedMessage // likewise
	made          *[]userapi.Event        // all events that were made, where somebody asks
	known         string                  // the id of every event that is made from now on; "" = one of its own
}

func (d database) tenant(t *testing.T) *tenant {
	f := &tenant{Store: d.first, db: d, t: t, tag: "u" + strings.ToLower(rand.Text()[:8]), now: time.Now().UTC().Truncate(time.Millisecond)}
	f.customer = f.addCustomer(0)
	return f
}

// newID makes ids in the form of the service: the text of a UUID.
func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x70, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// key makes a text that no other tenant has.
func (f *tenant) key(name string) string { return f.tag + name }

func (f *tenant) scope() userapi.Scope { return userapi.Scope{Customer: f.customer} }

// event is a fresh one: an event's id is what a store recognises a write by.
func (f *tenant) event(kind userapi.EventKind) userapi.Event {
	e := userapi.Event{ID: cmp.Or(f.known, newID()), At: f.now, Kind: kind, ActorKind: "system", CustomerID: f.customer}
	if f.made != nil {
		*f.made = append(*f.made, e)
	}
	return e
}

func (f *tenant) addCustomer(quota int) string {
	f.t.Helper()
	id := newID()
	must(f.t, f.InsertCustomer(f.t.Context(), userapi.CustomerWrite{
		Customer: userapi.Customer{ID: id, Name: "Customer of " + f.tag, Quota: quota}, Event: f.event(userapi.EventCustomerCreated),
	}))
	return id
}

func (f *tenant) setQuota(customer string, quota int) {
	f.t.Helper()
	must(f.t, f.ChangeCustomer(f.t.Context(), userapi.CustomerWrite{
		Customer: userapi.Customer{ID: customer, Name: "Customer", Quota: quota}, Event: f.event(userapi.EventCustomerUpdated),
	}))
}

// role is the role with this code, defined when it is not yet.
func (f *tenant) role(code string) userapi.Role {
	f.t.Helper()
	known, err := f.Roles(f.t.Context(), nil, []string{code})
	must(f.t, err)
	if len(known) > 0 {
		return known[0]
	}
	r := userapi.Role{ID: newID(), Code: code, Name: "Role " + code}
	must(f.t, f.InsertRole(f.t.Context(), userapi.RoleWrite{Role: r, Event: f.event(userapi.EventRoleCreated)}))
	return r
}

// account makes an active account that nothing else is like.
func (f *tenant) account(edits ...func(*userapi.Account)) userapi.Account {
	f.n++
	name := f.key(fmt.Sprintf("user%d", f.n))
	a := userapi.Account{
		User: userapi.User{
			ID: newID(), Username: name, Name: name, Active: true, CustomerID: f.customer, CreatedAt: f.now, UpdatedAt: f.now,
		},
		UsernameKey: name, NameKey: name, PasswordHash: "hash of " + name, Epoch: 1, Version: 1,
	}
	for _, edit := range edits {
		edit(&a)
	}
	return a
}

// insert stores the account.
func (f *tenant) insert(a userapi.Account) error {
	return f.InsertUser(f.t.Context(), userapi.UserInsert{Account: a, Event: f.event(userapi.EventUserCreated)})
}

// add makes and stores an account, and returns it as it is kept.
func (f *tenant) add(edits ...func(*userapi.Account)) userapi.Account {
	f.t.Helper()
	a := f.account(edits...)
	must(f.t, f.insert(a))
	return kept(a)
}

// read is the account as the store has it now.
func (f *tenant) read(id string) userapi.Account {
	f.t.Helper()
	a, err := f.AccountByID(f.t.Context(), userapi.Scope{All: true}, id)
	must(f.t, err)
	return plain(a)
}

// update is the write that stores the account as it stands, if nobody else changed it.
func (f *tenant) update(a userapi.Account, edits ...func(*userapi.UserUpdate)) userapi.UserUpdate {
	w := userapi.UserUpdate{
		Scope: f.scope(), Account: a, IfVersion: a.Version, CustomerBefore: f.customer, Event: f.event(userapi.EventUserUpdated),
	}
	for _, edit := range edits {
		edit(&w)
	}
	return w
}

func (f *tenant) deletion(a userapi.Account, keepAdmin bool) userapi.UserDelete {
	return userapi.UserDelete{
		Scope: f.scope(), ID: a.ID, Customer: f.customer, IfVersion: a.Version, KeepAdmin: keepAdmin, Event: f.event(userapi.EventUserDeleted),
	}
}

// session makes a session of the user; each is a second younger than the one before.
func (f *tenant) session(userID string) userapi.Session {
	f.n++
	at := f.now.Add(time.Duration(f.n) * time.Second)
	return userapi.Session{
		ID: newID(), UserID: userID, CreatedAt: at, LastSeenAt: at, AuthTime: at, RotatedAt: at, ExpiresAt: at.Add(30 * 24 * time.Hour),
		Methods: []string{"pwd"}, Address: "192.0.2.1", UserAgent: "storetest",
	}
}

func (f *tenant) login(s userapi.Session, epoch int64) userapi.SessionInsert {
	return userapi.SessionInsert{Session: s, IfEpoch: epoch, Cap: 100, EndedFor: time.Hour, Event: f.event(userapi.EventLogin)}
}

// open makes and stores a session of the account.
func (f *tenant) open(a userapi.Account) userapi.Session {
	f.t.Helper()
	s := f.session(a.ID)
	_, err := f.InsertSession(f.t.Context(), f.login(s, a.Epoch))
	must(f.t, err)
	return s
}

func (f *tenant) ending(s userapi.Session) userapi.SessionEnd {
	return userapi.SessionEnd{
		Scope: f.scope(), ID: s.ID, UserID: s.UserID, Event: f.event(userapi.EventSessionEnded),
		Revoke: userapi.Revocation{Kind: userapi.RevokeSession, Subject: s.ID, Lives: time.Hour},
	}
}

func (f *tenant) sessionsOf(userID string) []userapi.Session {
	f.t.Helper()
	open, err := f.ListSessions(f.t.Context(), userapi.Scope{All: true}, userID)
	must(f.t, err)
	return open
}

// written leaves out the row that a store begins with.
func (d database) written(rows []userapi.Revocation) []userapi.Revocation {
	return slices.DeleteFunc(rows, func(r userapi.Revocation) bool { return r.Kind == userapi.RevokeAll && r.Below == d.beginning })
}

// revoked gives all live revocations without their age.
func (f *tenant) revoked() []userapi.Revocation {
	f.t.Helper()
	rows, _, err := f.Revocations(f.t.Context(), 0)
	must(f.t, err)
	rows = f.db.written(rows)
	for i := range rows {
		rows[i].Lives = 0
	}
	slices.SortFunc(rows, func(a, b userapi.Revocation) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return rows
}

func (f *tenant) hasRevocation(kind userapi.RevocationKind, subject string) bool {
	f.t.Helper()
	return slices.ContainsFunc(f.revoked(), func(r userapi.Revocation) bool { return r.Kind == kind && r.Subject == subject })
}

// state is all that a refused write on these accounts must leave alone.
type state struct {
	Accounts []userapi.Account
	Sessions [][]userapi.Session
	Members  [][]userapi.Membership
	Keys     [][]userapi.APIKey
	Revoked  []userapi.Revocation
	Left     map[string]any // of the challenges and messages of this tenant
}

func (f *tenant) state(ids ...string) state {
	f.t.Helper()
	st := state{Revoked: f.revoked(), Left: f.left()}
	for _, id := range ids {
		st.Accounts = append(st.Accounts, f.read(id))
		st.Sessions = append(st.Sessions, f.sessionsOf(id))
		st.Members = append(st.Members, f.membershipsOf(id))
		st.Keys = append(st.Keys, f.keysOf(id))
	}
	return st
}

// refused runs a write that has to fail with wanted, and to leave the accounts as they were.
func (f *tenant) refused(wanted error, write func() error, ids ...string) {
	f.t.Helper()
	before := f.state(ids...)
	is(f.t, write(), wanted)
	same(f.t, f.state(ids...), before, "what a refused write left behind")
}
