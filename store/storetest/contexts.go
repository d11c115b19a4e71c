package storetest

import (
	"context"
	"reflect"
	"testing"
	"time"

	"github.com/userapi/userapi"
)

func (s suite) contexts(t *testing.T) {
	db := s.database(t)

	t.Run("K01 L05 a write whose caller has gone, or whose event cannot be stored, is not done", func(t *testing.T) {
		f := db.tenant(t)
		a, gone := f.add(), f.add()
		open, ended := f.open(a), f.open(a)
		role, free := f.role(f.key("role")), f.role(f.key("free"))
		fresh, opened := f.account(), f.session(a.ID)
		limit := []userapi.LimitTake{{Key: f.key("l"), Max: 1, Window: time.Hour}}
		taken := []userapi.LimitTake{{Key: f.key("t"), Max: 1, Window: time.Hour}}
		_, err := f.TakeLimits(t.Context(), f.now, taken)
		must(t, err)
		stillTaken := func(t *testing.T) {
			wait, err := f.TakeLimits(t.Context(), f.now, taken)
			must(t, err)
			same(t, wait, time.Hour, "wait on a counter that nobody returned")
		}
		f.give(f.add(), f.key("gone"), "member")
		freshKey := f.apiKey(a.ID)
		a = f.read(a.ID)
		once := func(ch *userapi.Challenge) { ch.MaxTries = 1 }
		posed, unused, used := f.outgoing(userapi.PurposePhone, ""), f.outgoing(userapi.PurposeReset, a.ID, once), f.outgoing(userapi.PurposeEmail, a.ID, once)
		must(t, f.send(unused))
		must(t, f.send(used))
		f.wantTry(byID(used), used, 1)
		f.empty()
		credential := userapi.Credential{UserID: a.ID, Kind: "totp", Key: f.key("c"), Data: []byte("x")}
		must(t, f.AddEvent(t.Context(), f.old()))
		queued := f.pose(userapi.PurposePhone, a.ID)
		message := queued.Messages[0].ID

		stored := f.event(userapi.EventLoginFailed)
		must(t, f.AddEvent(t.Context(), stored))

		// Each write runs with a context that is over, and with an event whose id is stored already, then once more as it should: had
		// one before been done, it could not be. Where it could, undone looks.
		for _, write := range []struct {
			name   string
			do     func(ctx context.Context) error
			undone func(t *testing.T)
			steps  bool // some of it may be done before the write with the event
		}{
			{name: "RotateSession", do: func(ctx context.Context) error { return f.RotateSession(ctx, rotation(open, a.Epoch, f.now)) }},
			{name: "InsertUser", do: func(ctx context.Context) error {
				return f.InsertUser(ctx, userapi.UserInsert{Account: fresh, Event: f.event(userapi.EventUserCreated)})
			}},
			{name: "InsertSession", do: func(ctx context.Context) error {
				_, err := f.InsertSession(ctx, f.login(opened, a.Epoch))
				return err
			}, undone: func(t *testing.T) {
				_, err := f.SessionByID(t.Context(), opened.ID)
				is(t, err, userapi.ErrNotFound)
			}},
			{name: "EndSession", do: func(ctx context.Context) error {
				return f.EndSession(ctx, userapi.SessionEnd{Scope: userapi.Scope{All: true}, ID: ended.ID, UserID: a.ID, Event: f.event(userapi.EventLogout),
					Revoke: userapi.Revocation{Kind: userapi.RevokeSession, Subject: ended.ID, Lives: time.Hour}})
			}, undone: func(t *testing.T) {
				if f.hasRevocation(userapi.RevokeSession, ended.ID) {
					t.Fatal("the session was revoked")
				}
			}},
			{name: "ChangeUser", do: func(ctx context.Context) error {
				return f.ChangeUser(ctx, f.update(a, func(w *userapi.UserUpdate) { w.EndSessions, w.Revoke = true, f.revocations(a.ID) }))
			}, undone: func(t *testing.T) {
				if f.hasRevocation(userapi.RevokeUser, a.ID) || len(f.sessionsOf(a.ID)) == 0 {
					t.Fatal("sessions ended or tokens were revoked")
				}
			}},
			{name: "UpgradeHash", do: func(ctx context.Context) error {
				done, err := f.UpgradeHash(ctx, userapi.HashUpgrade{UserID: a.ID, Old: a.PasswordHash, New: "new", Event: f.event(userapi.EventPasswordUpgraded)})
				if err == nil && !done {
					return userapi.ErrChanged
				}
				return err
			}},
			{name: "DeleteUser", do: func(ctx context.Context) error { return f.DeleteUser(ctx, f.deletion(gone, false)) }},
			{name: "InsertRole", do: func(ctx context.Context) error {
				return f.InsertRole(ctx, userapi.RoleWrite{Role: userapi.Role{ID: f.key("new"), Code: f.key("new")}, Event: f.event(userapi.EventRoleCreated)})
			}},
			{name: "RenameRole", do: func(ctx context.Context) error {
				return f.RenameRole(ctx, userapi.RoleWrite{Role: userapi.Role{Code: role.Code, Name: "renamed"}, Event: f.event(userapi.EventRoleRenamed)})
			}, undone: func(t *testing.T) { same(t, f.role(role.Code), role, "role") }},
			{name: "DeleteRole", do: func(ctx context.Context) error {
				return f.DeleteRole(ctx, userapi.RoleWrite{Role: free, Event: f.event(userapi.EventRoleDeleted)})
			}},
			{name: "InsertCustomer", do: func(ctx context.Context) error {
				return f.InsertCustomer(ctx, userapi.CustomerWrite{Customer: userapi.Customer{ID: f.key("new")}, Event: f.event(userapi.EventCustomerCreated)})
			}},
			{name: "ChangeCustomer", do: func(ctx context.Context) error {
				return f.ChangeCustomer(ctx, userapi.CustomerWrite{Customer: userapi.Customer{ID: f.customer, Name: "renamed", Quota: 1000}, Event: f.event(userapi.EventCustomerUpdated)})
			}, undone: func(t *testing.T) {
				c, err := f.CustomerByID(t.Context(), f.customer)
				must(t, err)
				same(t, c.Quota, 0, "quota")
			}},
			{name: "SetMembership", do: func(ctx context.Context) error {
				return f.SetMembership(ctx, f.membership(f.read(a.ID), "1", "member"))
			},
				undone: func(t *testing.T) { same(t, len(f.membershipsOf(a.ID)), 0, "memberships") }},
			{name: "RemoveMembership", do: func(ctx context.Context) error { return f.RemoveMembership(ctx, f.membership(f.read(a.ID), "1", "")) }},
			{name: "EndResource", do: func(ctx context.Context) error {
				return f.EndResource(ctx, userapi.ResourceEnd{Resource: "doc", ResourceID: f.key("gone"), Event: f.event(userapi.EventResourceDeleted)})
			}, undone: func(t *testing.T) { same(t, len(f.members(f.onDoc(f.key("gone")))), 1, "members") }, steps: true},
			{name: "TakeLimits", do: func(ctx context.Context) error {
				wait, err := f.TakeLimits(ctx, f.now, limit)
				if err == nil && wait > 0 {
					return userapi.ErrRateLimited
				}
				return err
			}},
			{name: "ReturnLimits", do: func(ctx context.Context) error {
				return f.ReturnLimits(ctx, []userapi.LimitReturn{{Key: taken[0].Key}})
			}, undone: stillTaken},
			{name: "ReturnLimits with Clear", do: func(ctx context.Context) error {
				return f.ReturnLimits(ctx, []userapi.LimitReturn{{Key: taken[0].Key, Clear: true}})
			}},
			{name: "ReturnLimits with a mark", do: func(ctx context.Context) error {
				return f.ReturnLimits(ctx, []userapi.LimitReturn{{Key: f.key("m"), Mark: &userapi.LimitMark{Until: f.now.Add(time.Hour), Of: f.key("m"), Cap: 1}}})
			}, undone: func(t *testing.T) {
				counts, err := f.ReadLimits(t.Context(), f.now, []string{f.key("m")})
				must(t, err)
				same(t, len(counts), 0, "marks")
			}},
			{name: "LeaseMessages", do: func(ctx context.Context) error {
				got, err := f.LeaseMessages(ctx, 100, long)
				if err == nil && len(got) == 0 {
					return userapi.ErrNotFound
				}
				return err
			}},
			{name: "DelayMessage", do: func(ctx context.Context) error {
				return f.DelayMessage(ctx, userapi.MessageDelay{ID: message, Attempt: 1})
			}, undone: func(*testing.T) { f.nothingDue() }},
			{name: "EndMessage", do: func(ctx context.Context) error {
				return f.EndMessage(ctx, userapi.MessageEnd{ID: message, Event: f.event(userapi.EventMessageFailed)})
			}, undone: func(t *testing.T) { same(t, len(f.outbox()), 1, "messages") }},
			{name: "InsertChallenge", do: func(ctx context.Context) error {
				return f.InsertChallenge(ctx, userapi.ChallengeInsert{Outgoing: posed, Event: f.event(userapi.EventPhoneAsked)})
			}, undone: func(t *testing.T) { f.noTry(byID(posed)) }},
			{name: "TryChallenge", do: func(ctx context.Context) error {
				_, err := f.TryChallenge(ctx, f.try(byID(unused)))
				return err
			}},
			{name: "ReturnTry", do: func(ctx context.Context) error { return f.ReturnTry(ctx, used.Challenge.ID) }, undone: func(*testing.T) { f.noTry(byID(used)) }},
			{name: "EndChallenge", do: func(ctx context.Context) error {
				return f.EndChallenge(ctx, userapi.ChallengeEnd{ID: queued.Challenge.ID, Event: f.event(userapi.EventPhoneProved)})
			}},
			{name: "PutCredential", do: func(ctx context.Context) error { return f.PutCredential(ctx, f.credential(credential)) }},
			{name: "DeleteCredential", do: func(ctx context.Context) error {
				return f.DeleteCredential(ctx, f.credential(userapi.Credential{UserID: a.ID, Kind: credential.Kind, Key: credential.Key, Version: 1}))
			}},
			{name: "InsertKey", do: func(ctx context.Context) error { return f.InsertKey(ctx, f.keyInsert(freshKey, a)) }},
			{name: "TouchKey", do: func(ctx context.Context) error { return f.TouchKey(ctx, freshKey.ID, f.now, time.Hour) }, undone: func(t *testing.T) {
				got, err := f.findKey(freshKey.ID)
				must(t, err)
				same(t, got.Key.LastUsedAt.IsZero(), true, "whether the key was never used")
			}},
			{name: "ChangeKey", do: func(ctx context.Context) error { return f.ChangeKey(ctx, f.keyUpdate(freshKey)) }},
			{name: "DeleteKey", do: func(ctx context.Context) error { return f.DeleteKey(ctx, f.keyDelete(freshKey)) }},
			{name: "SetGrant", do: func(ctx context.Context) error { return f.SetGrant(ctx, f.grant(a.ID, "apikeys", 5)) }, undone: func(t *testing.T) {
				same(t, len(f.grantsOf(a.ID)), 0, "grants")
			}},
			{name: "DeleteGrant", do: func(ctx context.Context) error { return f.DeleteGrant(ctx, f.grant(a.ID, "apikeys", 5)) }},
			{name: "PruneEvents", do: func(ctx context.Context) error {
				n, err := f.PruneEvents(ctx, userapi.EventPrune{Before: behindOld, Limit: 10, Event: f.event(userapi.EventEventsPruned)})
				if err == nil && n != 1 {
					return userapi.ErrNotFound
				}
				return err
			}},
			{name: "AddEvent", do: func(ctx context.Context) error { return f.AddEvent(ctx, f.event(userapi.EventLoginFailed)) }},
			{name: "Sweep", do: func(ctx context.Context) error {
				n, err := f.Sweep(ctx, userapi.SweepBefore{Now: f.now.Add(1000 * 24 * time.Hour), Idle: time.Hour, Batch: 100})
				if err == nil && n == 0 {
					t.Error("there was nothing left to sweep")
				}
				return err
			}},
			{name: "EndEverything", do: func(ctx context.Context) error {
				return f.EndEverything(ctx, userapi.EverythingEnd{Event: f.event(userapi.EventEverythingEnded),
					Revoke: userapi.Revocation{Kind: userapi.RevokeAll, Below: 1, Lives: time.Hour}})
			}, undone: func(t *testing.T) {
				if f.hasRevocation(userapi.RevokeAll, "") {
					t.Fatal("everything was revoked")
				}
			}},
		} {
			t.Run(write.name, func(t *testing.T) {
				var made []userapi.Event
				f.t, f.made = t, &made
				over, cancel := context.WithCancel(t.Context())
				cancel()
				is(t, write.do(over), context.Canceled)
				if write.undone != nil {
					write.undone(t)
				}
				late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
				defer cancel()
				is(t, write.do(late), context.DeadlineExceeded)
				if len(made) > 0 {
					f.known = stored.ID
					if write.do(t.Context()) == nil {
						t.Fatal("it was done without its event")
					}
					f.known = ""
					if write.undone != nil && !write.steps {
						write.undone(t)
					}
				}
				made = nil
				must(t, write.do(t.Context()))
				for _, e := range made {
					same(t, f.recorded(e), true, "whether the event is there")
				}
			})
		}
	})

	t.Run("a read whose caller has gone is not answered", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add()
		open := f.open(a)
		over, cancel := context.WithCancel(t.Context())
		cancel()
		for name, read := range map[string]func() error{
			"AccountByID":         func() error { _, err := f.AccountByID(over, f.scope(), a.ID); return err },
			"AccountByIdentifier": func() error { _, err := f.AccountByIdentifier(over, f.scope(), identifiersOf(a)[0]); return err },
			"ListUsers":           func() error { _, err := f.ListUsers(over, userapi.UserFilter{Scope: f.scope(), Limit: 1}); return err },
			"SessionByID":         func() error { _, err := f.SessionByID(over, open.ID); return err },
			"ListSessions":        func() error { _, err := f.ListSessions(over, f.scope(), a.ID); return err },
			"FindKey":             func() error { _, err := f.FindKey(over, f.scope(), userapi.KeyRef{ID: "x"}); return err },
			"ListKeys":            func() error { _, err := f.ListKeys(over, f.scope(), a.ID); return err },
			"ListGrants":          func() error { _, err := f.ListGrants(over, f.scope(), a.ID); return err },
			"Credential":          func() error { _, err := f.Credential(over, "totp", "x"); return err },
			"CredentialsOf":       func() error { _, err := f.CredentialsOf(over, a.ID, ""); return err },
			"ListMemberships": func() error {
				_, err := f.ListMemberships(over, userapi.MembershipFilter{Scope: f.scope(), UserID: a.ID, Limit: 1})
				return err
			},
			"ListEvents": func() error {
				_, err := f.ListEvents(over, userapi.EventFilter{Scope: f.scope(), Limit: 1})
				return err
			},
			"Roles":         func() error { _, err := f.Roles(over, []string{"x"}, nil); return err },
			"ListRoles":     func() error { _, err := f.ListRoles(over, 0, 1); return err },
			"CustomerByID":  func() error { _, err := f.CustomerByID(over, f.customer); return err },
			"ListCustomers": func() error { _, err := f.ListCustomers(over, "", 1); return err },
			"Revocations":   func() error { _, _, err := f.Revocations(over, 0); return err },
			"ReadLimits":    func() error { _, err := f.ReadLimits(over, f.now, []string{"x"}); return err },
			"Ping":          func() error { return f.Ping(over) },
		} {
			t.Run(name, func(t *testing.T) { is(t, read(), context.Canceled) })
		}
	})

	t.Run("K01 a write cut short is whole or absent", func(t *testing.T) {
		f := db.tenant(t)
		roles := []userapi.Role{f.role(f.key("1")), f.role(f.key("2"))}
		for i := range 30 {
			f.empty()
			f.posed, f.queued = nil, nil // of the round before
			a := f.add(func(a *userapi.Account) { a.Roles = roles[:1] })
			f.open(a)
			a = f.read(a.ID)
			code, posed := f.pose(userapi.PurposePhone, a.ID), f.outgoing(userapi.PurposeReset, a.ID)
			holder := f.add(func(a *userapi.Account) { a.Phone, a.PhoneVerified = "+4950"+digits(), true })
			old := f.state(a.ID, holder.ID)
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i*i)*10*time.Microsecond)
			err := f.ChangeUser(ctx, f.update(a, func(w *userapi.UserUpdate) {
				w.Account.Name, w.Account.Roles, w.SetRoles, w.EndSessions = "changed", roles, true, true
				w.Account.Phone, w.Account.PhoneVerified, w.Releases = holder.Phone, true, f.release(holder)
				w.Revoke, w.Consumes, w.Outgoing = f.revocations(a.ID), code.Challenge.ID, posed
			}))
			cancel()
			whole := func() bool {
				now := f.state(a.ID, holder.ID)
				if err != nil && reflect.DeepEqual(now, old) {
					return true
				}
				changed := now.Accounts[0]
				return now.Left[code.Challenge.ID] == nil && now.Left[posed.Challenge.ID] != nil && now.Left[posed.Messages[0].ID] != nil &&
					changed.PhoneVerified && !now.Accounts[1].PhoneVerified && changed.Name == "changed" && len(changed.Roles) == 2 && changed.Version == a.Version+1 &&
					len(now.Sessions[0]) == 0 && f.hasRevocation(userapi.RevokeUser, a.ID)
			}
			// A server may go on for a moment with what a client has given up, between two of our reads.
			for try := 0; !whole(); try++ {
				if try == 100 {
					t.Fatalf("after %v half of the change is there: %+v", err, f.state(a.ID, holder.ID))
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
	})
}
