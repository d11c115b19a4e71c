package drivertest

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/userapi/userapi"
)

// Statements fills a migrated database with so many rows that a scan of a table would be a bad plan, calls every method
// that a request may lead to, and returns the statements that look for rows.
func Statements(t *testing.T, st Store, db *sql.DB, c *Connector) []Statement {
	t.Helper()
	fill(t, db)
	var all []Statement
	for _, s := range c.Record(func() { callAll(t, st) }) {
		verb, _, _ := strings.Cut(s.Query, " ")
		if (verb == "SELECT" || verb == "UPDATE" || verb == "DELETE") && strings.Contains(s.Query, "userapi_") {
			all = append(all, s)
		}
	}
	if len(all) < 70 {
		t.Fatalf("only %d statements were asked", len(all))
	}
	return all
}

const filled = 2000

// fill asks no Store: a database of the released version is filled too. What a release no longer writes has a default by then.
func fill(t *testing.T, db *sql.DB) {
	t.Helper()
	insert := func(table, columns, row string) {
		rows := make([]string, filled)
		for i := range rows {
			rows[i] = strings.NewReplacer("#", fmt.Sprintf("%05d", i), "%", fmt.Sprint(i%20)).Replace(row)
		}
		run(t, db, `INSERT INTO `+table+` (`+columns+`) VALUES `+strings.Join(rows, ", "))
	}
	for i := range 20 {
		run(t, db, fmt.Sprintf(`INSERT INTO userapi_customers (id, name, quota, version) VALUES ('c%02d', 'c%02d', 0, 1)`, i, i))
		run(t, db, fmt.Sprintf(`INSERT INTO userapi_roles (id, code, name, version) VALUES ('r%02d', 'role%02d', '', 1)`, i, i))
	}
	run(t, db, `INSERT INTO userapi_roles (id, code, name, version) VALUES ('admin', '`+userapi.RoleAdmin+`', '', 1)`)
	run(t, db, `UPDATE userapi_customers SET quota = 1000000 WHERE id = 'c01'`)
	insert("userapi_users", `id, customer_id, email, email_key, username, username_key, phone, verified_phone, name, first_name, last_name,
		name_key, active, email_verified, phone_verified, password_hash, must_change, epoch, version, login_count, last_login, created_at, updated_at, pending_since`,
		`('u#', 'c0%', '', 'u#@example.com', '', 'user#', '+1#', '+1#', '', '', '', 'name#', 1, 1, 1, 'hash', 0, 1, 1, 0, NULL, 0, 0, NULL)`)
	run(t, db, `UPDATE userapi_users SET pending_since = 1 WHERE id = 'u01999'`)
	run(t, db, `UPDATE userapi_users SET customer_id = 'c01' WHERE customer_id LIKE 'c01%'`)
	insert("userapi_user_roles", `user_id, role_id`, `('u#', 'r01')`)
	insert("userapi_memberships", `user_id, resource, resource_id, level`, `('u#', 'doc', '%', 'member')`)
	insert("userapi_sessions", `id, user_id, created_at, last_seen_at, expires_at, auth_time, methods, address, user_agent, step, counter, rotated_at`,
		`('s#', 'u#', #, 9999999999999, 9999999999999, 0, 'pwd', '', '', '', 0, 0)`)
	run(t, db, `UPDATE userapi_sessions SET last_seen_at = 1 WHERE id = 's01999'`)
	insert("userapi_credentials", `kind, cred_key, user_id, data, version`, `('totp', 'k#', 'u#', 'data', 1)`)
	insert("userapi_revocations", `id, kind, subject, below_epoch, written_at, expires_at`, `('v#', 2, 'u#', 2, #, 9999999999999)`)
	insert("userapi_limits", `limit_key, hits, streak, ends_at, kept_until`, `('l#', 1, 0, 9999999999999, 9999999999999)`)
	insert("userapi_challenges", `purpose, subject, id, replaced, user_id, target, display, mac, tries, max_tries, expires_at`,
		`('reset', 'u#', 'h#', '', 'u#', '', '', '', 0, 5, 9999999999999)`)
	insert("userapi_outbox", `id, challenge_id, user_id, sealed, attempt, lease, due_at, expires_at`,
		`('m#', 'h#', 'u#', '', 0, '', 99999999#, 9999999999999)`)
	insert("userapi_events", `id, happened_at, kind, actor_kind, actor_id, actor_from, session_id, key_id, user_id, customer_id, address, user_agent, detail`,
		`('e#', 0, 'login', 'user', '', '', '', '', 'u#', 'c0%', '', '', '')`)
	run(t, db, `UPDATE userapi_events SET customer_id = 'c01' WHERE customer_id LIKE 'c01%'`)
	insert("userapi_keys", `id, user_id, name, name_key, prefix, hash, scopes, active, expires_at, created_at, last_used_at, version`,
		`('k#', 'u#', 'name', 'name', 'prefix#', 'hash', '', 1, NULL, 0, NULL, 1)`)
	insert("userapi_grants", `user_id, name, value, expires_at`, `('u#', 'apikeys', 5, NULL)`)
}

// outgoing is a challenge for the user and its message.
func outgoing(id, user string) userapi.Outgoing {
	end := time.Now().Add(time.Hour)
	return userapi.Outgoing{
		Challenge: &userapi.Challenge{ID: id, Purpose: userapi.PurposeReset, Subject: user, UserID: user, MaxTries: 5, ExpiresAt: end},
		Messages:  []userapi.SealedMessage{{ID: "message of " + id, ChallengeID: id, UserID: user, Sealed: []byte("sealed"), ExpiresAt: end}},
	}
}

// callProofs calls what deals with challenges and messages. The user "deputy" is at version 1.
func callProofs(t *testing.T, st Store) {
	ctx, now := t.Context(), time.Now()
	read := func(_ any, err error) { t.Helper(); must(t, err) }
	for _, id := range []string{"first", "second"} { // one takes the place of the other
		must(t, st.InsertChallenge(ctx, userapi.ChallengeInsert{Outgoing: outgoing(id, "deputy"), IfVersion: 1, Event: event()}))
	}
	read(st.TryChallenge(ctx, userapi.ChallengeTry{ID: "second", Now: now}))
	read(st.TryChallenge(ctx, userapi.ChallengeTry{Purpose: userapi.PurposeReset, Subject: "deputy", Now: now}))
	must(t, st.ReturnTry(ctx, "second"))
	leased, err := st.LeaseMessages(ctx, 8, time.Minute)
	must(t, err)
	if len(leased) != 1 {
		t.Fatalf("leased %+v", leased)
	}
	must(t, st.DelayMessage(ctx, userapi.MessageDelay{ID: leased[0].ID, Attempt: 1, After: time.Minute}))
	must(t, st.EndMessage(ctx, userapi.MessageEnd{ID: "m00001"}))
	must(t, st.EndMessage(ctx, userapi.MessageEnd{ID: "m00002", Void: true, Event: event()}))
	must(t, st.EndChallenge(ctx, userapi.ChallengeEnd{ID: "h00003", Event: event()}))
	holder, err := st.AccountByIdentifier(ctx, userapi.Scope{All: true}, userapi.Identifier{Kind: userapi.PhoneIdentifier, Value: "+100004"})
	must(t, err)
	b := User("deputy", "c01")
	b.Roles = []userapi.Role{{ID: "admin"}}
	b.Phone, b.PhoneVerified = "+100004", true
	must(t, st.ChangeUser(ctx, userapi.UserUpdate{
		Scope: userapi.Scope{All: true}, Account: b, IfVersion: 1, CustomerBefore: "c01", Consumes: "second", Voids: []userapi.Purpose{userapi.PurposeReset, userapi.PurposeEmail},
		Releases: &userapi.PhoneRelease{UserID: holder.ID, Phone: "+100004", IfVersion: holder.Version, Event: event()},
		Outgoing: outgoing("third", "deputy"), Event: event(),
	}))
}

// callKeys calls what deals with API keys and grants. The user "u00005" is at epoch 1, and "s00005" is theirs.
func callKeys(t *testing.T, st Store) {
	ctx, now, all := t.Context(), time.Now(), userapi.Scope{All: true}
	read := func(_ any, err error) { t.Helper(); must(t, err) }
	k := userapi.StoredKey{APIKey: userapi.APIKey{ID: "new", UserID: "u00005", Prefix: "new", Active: true, CreatedAt: now}, NameKey: "new"}
	must(t, st.InsertKey(ctx, userapi.KeyInsert{Scope: all, Key: k, IfEpoch: 1, IfSession: "s00005", Cap: 5, CapAll: 5, Event: event()}))
	must(t, st.TouchKey(ctx, "new", now, time.Minute))
	revoke := userapi.Revocation{Kind: userapi.RevokeKey, Subject: "new", Below: 2, Lives: time.Hour}
	must(t, st.ChangeKey(ctx, userapi.KeyUpdate{
		Scope: all, Key: k, IfVersion: 1, IfSession: "s00005", TakesPlace: true, Cap: 5, Now: now, Revoke: revoke, Event: event(),
	}))
	if err := st.ChangeKey(ctx, userapi.KeyUpdate{Scope: all, Key: k, IfVersion: 1, Revoke: revoke, Event: event()}); !errors.Is(err, userapi.ErrChanged) {
		t.Fatalf("changed twice at one version: %v", err)
	}
	must(t, st.SetGrant(ctx, userapi.GrantWrite{UserID: "u00005", Grant: userapi.Grant{Name: "apikeys", Value: 6}, Event: event()}))
	for _, sc := range []userapi.Scope{{Customer: "c05"}, all} {
		for _, by := range []userapi.KeyRef{{ID: "k00005"}, {Prefix: "prefix00005"}} {
			read(st.FindKey(ctx, sc, by))
		}
		read(st.ListKeys(ctx, sc, "u00005"))
		read(st.ListGrants(ctx, sc, "u00005"))
	}
	must(t, st.DeleteGrant(ctx, userapi.GrantWrite{UserID: "u00005", Grant: userapi.Grant{Name: "apikeys"}, Event: event()}))
	must(t, st.DeleteKey(ctx, userapi.KeyDelete{Scope: all, ID: "new", UserID: "u00005", Revoke: revoke, Event: event()}))
}

func callAll(t *testing.T, st Store) {
	ctx, tenant, all := t.Context(), userapi.Scope{Customer: "c01"}, userapi.Scope{All: true}
	now := time.Now()
	var live bool
	read := func(_ any, err error) { t.Helper(); must(t, err) }
	for _, sc := range []userapi.Scope{tenant, all} {
		read(st.AccountByID(ctx, sc, "u00001"))
		for kind, value := range map[userapi.IdentifierKind]string{
			userapi.EmailIdentifier: "u00001@example.com", userapi.UsernameIdentifier: "user00001", userapi.PhoneIdentifier: "+100001",
		} {
			read(st.AccountByIdentifier(ctx, sc, userapi.Identifier{Kind: kind, Value: value}))
			read(st.AccountForLogin(ctx, userapi.Identifier{Kind: kind, Value: value}, [2]string{"here", "there"}))
		}
		for _, f := range []userapi.UserFilter{
			{}, {AfterID: "u00100"}, {EmailPart: "1@"}, {EmailPart: "1@", NamePart: "me"}, {EmailPart: "1@", NamePart: "me", MatchAll: true, AfterID: "u00100"},
			{Active: &live}, {Prefix: "user00"}, {Prefix: "name001", AfterName: "name00100", AfterID: "u00100"}, {Prefix: "user00", AfterUser: "user00100"}, {Prefix: "user00", Offset: 3000}, {Prefix: "name", NamePart: "7"}, {WithRoles: true},
		} {
			f.Scope, f.Limit = sc, 21
			read(st.ListUsers(ctx, f))
		}
		read(st.ListSessions(ctx, sc, "u00001"))
		for _, f := range []userapi.MembershipFilter{
			{UserID: "u00001"}, {UserID: "u00001", Active: true, After: userapi.Membership{Resource: "doc", ResourceID: "0"}},
			{Resource: "doc", ResourceID: "1"}, {Resource: "doc", ResourceID: "1", After: userapi.Membership{UserID: "u00100"}},
			{UserID: "u00001", Resource: "doc", ResourceID: "1", Active: true},
		} {
			f.Scope, f.Limit = sc, 21
			read(st.ListMemberships(ctx, f))
		}
		for _, f := range []userapi.EventFilter{
			{}, {From: "e00100", Before: "e01900"}, {Kinds: []userapi.EventKind{"login"}, Before: "e01900"}, {UserID: "u00001"}, {UserID: "u00001", Kinds: []userapi.EventKind{"login", "logout"}},
		} {
			f.Scope, f.Limit = sc, 21
			read(st.ListEvents(ctx, f))
		}
	}
	read(st.SessionByID(ctx, "s00001"))
	read(st.Roles(ctx, []string{"r01"}, []string{"role02"}))
	read(st.ListRoles(ctx, 0, 21))
	read(st.CustomerByID(ctx, "c01"))
	read(st.ListCustomers(ctx, "c03", 5))
	for _, since := range []int64{0, now.Add(-15 * time.Second).UnixMilli()} {
		_, _, err := st.Revocations(ctx, since)
		must(t, err)
	}

	a := User("new", "c01")
	a.Roles = []userapi.Role{{ID: "admin"}}
	must(t, st.InsertUser(ctx, userapi.UserInsert{Account: a, Event: event()}))
	b := User("deputy", "c01")
	b.Roles = a.Roles
	must(t, st.InsertUser(ctx, userapi.UserInsert{Account: b, Event: event()}))
	must(t, st.ChangeUser(ctx, userapi.UserUpdate{
		Scope: tenant, Account: a, IfVersion: 1, SetRoles: true, CustomerBefore: "c01", KeepAdmin: true, TakesPlace: true, EndSessions: true, EndKeys: true, EndCredentials: true, EndKind: "totp", EndMemberships: true, Event: event(),
	}))
	if err := st.ChangeUser(ctx, userapi.UserUpdate{Scope: tenant, Account: a, IfVersion: 1, CustomerBefore: "c01", Event: event()}); err == nil {
		t.Fatal("changed twice at one version")
	}
	read(st.UpgradeHash(ctx, userapi.HashUpgrade{UserID: "u00001", Old: "hash", New: "new", Event: event()}))
	for i := range 3 {
		read(st.InsertSession(ctx, userapi.SessionInsert{
			Session: userapi.Session{ID: fmt.Sprint("new", i), UserID: "u00001", CreatedAt: now, ExpiresAt: now.Add(time.Hour), LastSeenAt: now, Methods: []string{"pwd"}},
			IfEpoch: 1, Cap: 1, EndedFor: time.Hour, Event: event(),
		}))
	}
	must(t, st.RotateSession(ctx, userapi.SessionRotation{ID: "new2", UserID: "u00001", IfEpoch: 1, At: now}))
	must(t, st.EndSession(ctx, userapi.SessionEnd{
		Scope: userapi.Scope{All: true}, ID: "new2", UserID: "u00001", Revoke: userapi.Revocation{Kind: userapi.RevokeSession, Subject: "new2", Lives: time.Hour}, Event: event(),
	}))
	must(t, st.InsertCustomer(ctx, Customer("new")))
	must(t, st.ChangeCustomer(ctx, Customer("new")))
	must(t, st.InsertRole(ctx, userapi.RoleWrite{Role: userapi.Role{ID: "new", Code: "new"}, Event: event()}))
	must(t, st.RenameRole(ctx, userapi.RoleWrite{Role: userapi.Role{Code: "role03", Name: "new"}, Event: event()}))
	must(t, st.DeleteRole(ctx, userapi.RoleWrite{Role: userapi.Role{Code: "role03"}, Event: event()}))
	take := []userapi.LimitTake{{Key: "gone", Max: 5, Window: time.Millisecond}, {Key: "l00001", Max: 5, Window: time.Hour}}
	read(st.TakeLimits(ctx, now, take))
	must(t, st.ReturnLimits(ctx, []userapi.LimitReturn{{Key: "gone"}, {Key: "l00001", Clear: true}}))
	read(st.TakeLimits(ctx, now, take))
	streak := userapi.LimitTake{Key: "streak", Max: 1, Window: time.Millisecond, Longest: time.Hour}
	read(st.TakeLimits(ctx, now, []userapi.LimitTake{streak}))
	read(st.TakeLimits(ctx, now.Add(time.Second), []userapi.LimitTake{streak})) // a window that is lengthened
	for i := range 2 {
		must(t, st.ReturnLimits(ctx, []userapi.LimitReturn{{Key: fmt.Sprint("mark:", i), Mark: &userapi.LimitMark{Until: now.Add(time.Hour), Of: "mark:", Cap: 1}}}))
	}
	read(st.ReadLimits(ctx, now, []string{"mark:1", "l00001"}))
	must(t, st.SetMembership(ctx, member("u00002", "7", 1)))
	must(t, st.RemoveMembership(ctx, member("u00002", "7", 1)))
	must(t, st.EndResource(ctx, userapi.ResourceEnd{Resource: "doc", ResourceID: "3", Event: event()}))
	callProofs(t, st)
	read(st.Credential(ctx, "totp", "k00001"))
	read(st.CredentialsOf(ctx, "u00001", "totp"))
	read(st.CredentialsOf(ctx, "u00001", ""))
	for _, version := range []int64{0, 1, 2} {
		c := userapi.Credential{UserID: "u00001", Kind: "totp", Key: "new", Data: []byte("x"), Version: version}
		must(t, st.PutCredential(ctx, userapi.CredentialWrite{Credential: c, Event: event()}))
		c.Version = version + 1
		if version == 2 {
			must(t, st.DeleteCredential(ctx, userapi.CredentialWrite{Credential: c, Event: event()}))
		}
	}
	callKeys(t, st)
	read(st.PruneEvents(ctx, userapi.EventPrune{Before: "e00005", Limit: 3, Event: event()}))
	read(st.Sweep(ctx, userapi.SweepBefore{
		Now: now.Add(2 * time.Hour).Add(time.Second), Idle: 400 * 24 * time.Hour, Batch: 10, PendingBefore: now,
	}))
	must(t, st.DeleteUser(ctx, userapi.UserDelete{Scope: tenant, ID: "new", Customer: "c01", IfVersion: 2, KeepAdmin: true, Event: event()}))
	must(t, st.AddEvent(ctx, event()))
	must(t, st.Ping(ctx))
}
