package storetest

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/userapi/userapi"
)

// awkward are texts that careless stores change: by collation, escaping, padding, normalising or three-byte UTF-8.
var awkward = []string{
	"Zoë O'Neill", "a\u0301", "\u00e1", `back\slash \% \_`, `"quoted" 'twice' ''`, "100 % _sure_", "trailing  ", "  leading",
	"\U0001F600 four bytes \U0010FFFF", "Straße STRASSE ſ ı İ K", "null NULL \\N", "); DROP TABLE users; --", "\u202eright to left", "#{x} ${y} ?1 :n @p",
	"line\nbreak\tand tab",
}

func (s suite) users(t *testing.T) {
	db := s.database(t)

	t.Run("an account comes back as it was given", func(t *testing.T) {
		f := db.tenant(t)
		admin, editor := f.role(userapi.RoleAdmin), f.role(f.key("editor"))
		odd := time.Date(2031, 2, 3, 4, 5, 6, 789_999_999, time.FixedZone("far east", 9*3600))
		a := f.account(func(a *userapi.Account) {
			a.Email, a.EmailKey = "Ann@"+f.key(".Example"), "ann@"+f.key(".example")
			a.Phone, a.EmailVerified, a.PhoneVerified = "+4930"+digits(), true, true
			a.FirstName, a.LastName = "Ann", "Smith"
			a.Roles = []userapi.Role{editor, admin}
			a.LastLogin, a.CreatedAt, a.UpdatedAt = odd, odd.Add(time.Millisecond), odd.Add(2*time.Millisecond)
			a.Epoch, a.MustChange = 1<<40, true
		})
		must(t, f.insert(a))
		same(t, f.read(a.ID), kept(a), "account")
		for _, id := range identifiersOf(a) {
			got, err := f.AccountByIdentifier(t.Context(), f.scope(), id)
			must(t, err)
			same(t, plain(got), kept(a), "account by identifier")
		}
		if second, err := db.second.AccountByID(t.Context(), f.scope(), a.ID); err != nil || second.ID != a.ID {
			t.Fatalf("the second handle reads %v, %v", second.ID, err)
		}
	})

	t.Run("an account without anything optional comes back so", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add(func(a *userapi.Account) { a.Active, a.PasswordHash, a.Name, a.NameKey = false, "", "", "" })
		got := f.read(a.ID)
		same(t, got, a, "account")
		if !got.LastLogin.IsZero() {
			t.Fatalf("who never logged in did so at %v", got.LastLogin)
		}
	})

	t.Run("texts come back byte for byte", func(t *testing.T) {
		f := db.tenant(t)
		for i, text := range awkward {
			a := f.add(func(a *userapi.Account) {
				a.Email, a.Username, a.Name, a.FirstName, a.LastName = text, text, text, text, text
				a.EmailKey, a.UsernameKey, a.NameKey = fmt.Sprintf("%s%d@%s", f.tag, i, text), f.key(text), text
				a.PasswordHash = text
			})
			same(t, f.read(a.ID), a, "account")
			for _, id := range identifiersOf(a) {
				got, err := f.AccountByIdentifier(t.Context(), f.scope(), id)
				must(t, err)
				same(t, got.ID, a.ID, "who is found by "+id.Value)
			}
		}
	})

	t.Run("the longest texts are kept whole", func(t *testing.T) {
		f := db.tenant(t)
		wide := func(n int) string { return strings.Repeat("\U0001F600", n) }
		a := f.add(func(a *userapi.Account) {
			a.ID = f.key(strings.Repeat("i", 64-len(f.tag)))
			a.Email = f.key(strings.Repeat("e", 254-len(f.tag)-9)) + "@e.exampl" // 254 bytes
			a.EmailKey = a.Email
			a.Username = f.tag + wide(128-len(f.tag))
			a.UsernameKey = a.Username
			a.Name, a.FirstName, a.LastName = wide(255), wide(255), wide(255)
			a.NameKey = strings.Repeat("ἀι", 255) + " " + strings.Repeat("ἀι", 255) // first and last name of ᾀ, case-folded
			a.PasswordHash = strings.Repeat("h", 255)
		})
		same(t, f.read(a.ID), a, "account")
	})

	t.Run("what no text can hold is found nowhere", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add()
		for _, none := range []string{"\x00", "\xff", a.ID + "\x00", "\xc3(", "\xed\xa0\x80"} {
			_, err := f.AccountByID(t.Context(), f.scope(), none)
			is(t, err, userapi.ErrNotFound)
			for _, kind := range []userapi.IdentifierKind{userapi.EmailIdentifier, userapi.UsernameIdentifier, userapi.PhoneIdentifier} {
				_, err = f.AccountForLogin(t.Context(), userapi.Identifier{Kind: kind, Value: none}, [2]string{none, none})
				is(t, err, userapi.ErrNotFound)
			}
			_, err = f.SessionByID(t.Context(), none)
			is(t, err, userapi.ErrNotFound)
			_, err = f.CustomerByID(t.Context(), none)
			is(t, err, userapi.ErrNotFound)
			_, err = f.FindKey(t.Context(), f.scope(), userapi.KeyRef{Prefix: none})
			is(t, err, userapi.ErrNotFound)
			_, err = f.TryChallenge(t.Context(), userapi.ChallengeTry{ID: none, Now: f.now})
			is(t, err, userapi.ErrNotFound)
			roles, err := f.Roles(t.Context(), []string{none}, []string{none})
			must(t, err)
			same(t, len(roles), 0, "roles")
			for _, filter := range []userapi.UserFilter{{EmailPart: none}, {Prefix: none}} {
				same(t, len(f.list(filter)), 0, "accounts")
			}
		}
	})

	t.Run("keys are bytes", func(t *testing.T) {
		f := db.tenant(t)
		byKey := map[userapi.Identifier]string{}
		for _, spelling := range []string{"a", "A", "á", "a\u0301", "à", "a ", " a", "ａ", "ª", "ss", "ß", "ſs", "i", "ı", "İ", "a%", "a_", `a\`, "\U0001F600", "\U0001F601"} {
			a := f.add(func(a *userapi.Account) { a.EmailKey, a.UsernameKey = f.key(spelling)+"@x", f.key(spelling) })
			for _, id := range identifiersOf(a) {
				byKey[id] = a.ID
			}
		}
		for id, owner := range byKey {
			got, err := f.AccountByIdentifier(t.Context(), f.scope(), id)
			must(t, err)
			same(t, got.ID, owner, fmt.Sprintf("who holds %q", id.Value))
		}
		lower := f.add(func(a *userapi.Account) { a.ID = f.key("id") })
		upper := f.add(func(a *userapi.Account) { a.ID = strings.ToUpper(f.key("id")) })
		same(t, f.read(lower.ID).Username, lower.Username, "the account with the id in lower case")
		same(t, f.read(upper.ID).Username, upper.Username, "the account with the id in upper case")
	})

	t.Run("what does not exist is not found", func(t *testing.T) {
		f := db.tenant(t)
		f.add(func(a *userapi.Account) { a.UsernameKey, a.EmailKey = "", f.key("@x") })
		f.add()
		all := userapi.Scope{All: true}
		for _, id := range []string{"", newID(), f.key("%"), "%"} {
			_, err := f.AccountByID(t.Context(), all, id)
			is(t, err, userapi.ErrNotFound)
		}
		for _, kind := range []userapi.IdentifierKind{userapi.EmailIdentifier, userapi.UsernameIdentifier, userapi.PhoneIdentifier} {
			for _, value := range []string{"", f.key("nobody"), "%", "_"} {
				_, err := f.AccountByIdentifier(t.Context(), all, userapi.Identifier{Kind: kind, Value: value})
				is(t, err, userapi.ErrNotFound)
			}
		}
	})

	t.Run("identifiers of one kind are no identifiers of another", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add(func(a *userapi.Account) { a.EmailKey = f.key("@x") })
		for _, id := range []userapi.Identifier{
			{Kind: userapi.UsernameIdentifier, Value: a.EmailKey}, {Kind: userapi.EmailIdentifier, Value: a.UsernameKey},
			{Kind: userapi.PhoneIdentifier, Value: a.UsernameKey}, {Kind: userapi.UsernameIdentifier, Value: a.ID},
		} {
			_, err := f.AccountByIdentifier(t.Context(), f.scope(), id)
			is(t, err, userapi.ErrNotFound)
		}
		_, err := f.AccountByID(t.Context(), f.scope(), a.UsernameKey)
		is(t, err, userapi.ErrNotFound)
	})

	t.Run("H01 the scope stands before every account", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add(func(a *userapi.Account) { a.EmailKey, a.Phone, a.PhoneVerified = f.key("@x"), "+4931"+digits(), true })
		f.open(a)
		foreign := userapi.Scope{Customer: f.addCustomer(0)}
		for _, scope := range []userapi.Scope{{}, foreign, {Customer: strings.ToUpper(f.customer)}, {Customer: "%"}} {
			_, err := f.AccountByID(t.Context(), scope, a.ID)
			is(t, err, userapi.ErrNotFound)
			for _, id := range identifiersOf(a) {
				_, err := f.AccountByIdentifier(t.Context(), scope, id)
				is(t, err, userapi.ErrNotFound)
			}
			users, err := f.ListUsers(t.Context(), userapi.UserFilter{Scope: scope, EmailPart: a.EmailKey, Limit: 10})
			must(t, err)
			same(t, len(users), 0, "users listed outside the scope")
			open, err := f.ListSessions(t.Context(), scope, a.ID)
			must(t, err)
			same(t, len(open), 0, "sessions listed outside the scope")
			f.refused(userapi.ErrNotFound, func() error {
				return f.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) {
					w.Scope, w.Account.Name, w.EndSessions, w.Revoke = scope, "taken over", true, f.revocations(a.ID)
				}))
			}, a.ID)
			f.refused(userapi.ErrNotFound, func() error {
				w := f.deletion(a, false)
				w.Scope, w.Revoke = scope, f.revocations(a.ID)
				return f.DeleteUser(t.Context(), w)
			}, a.ID)
		}
		// A customer who writes the foreign account into its own customer gets nothing either.
		f.refused(userapi.ErrNotFound, func() error {
			return f.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) {
				w.Scope, w.Account.CustomerID, w.TakesPlace = foreign, foreign.Customer, true
			}))
		}, a.ID)
	})

	t.Run("an id, e-mail, username or verified phone is taken once", func(t *testing.T) {
		f := db.tenant(t)
		phone := "+4932" + digits()
		a := f.add(func(a *userapi.Account) { a.EmailKey, a.Phone, a.PhoneVerified = f.key("@x"), phone, true })
		elsewhere := f.addCustomer(0)
		for wanted, edit := range map[error]func(*userapi.Account){
			userapi.ErrIDTaken:       func(b *userapi.Account) { b.ID = a.ID },
			userapi.ErrEmailTaken:    func(b *userapi.Account) { b.EmailKey = a.EmailKey },
			userapi.ErrUsernameTaken: func(b *userapi.Account) { b.UsernameKey = a.UsernameKey },
			userapi.ErrPhoneTaken:    func(b *userapi.Account) { b.Phone, b.PhoneVerified = phone, true },
		} {
			b := f.account(edit, func(b *userapi.Account) { b.CustomerID = elsewhere })
			f.refused(wanted, func() error { return f.insert(b) }, a.ID)
			if b.ID != a.ID {
				_, err := f.AccountByID(t.Context(), userapi.Scope{All: true}, b.ID)
				is(t, err, userapi.ErrNotFound)
			}
		}
	})

	t.Run("many accounts lack an optional key", func(t *testing.T) {
		f := db.tenant(t)
		for range 3 {
			f.add(func(a *userapi.Account) { a.UsernameKey, a.EmailKey = "", f.key(newID()) })
			f.add(func(a *userapi.Account) { a.EmailKey, a.Phone, a.PhoneVerified = "", "", false })
			f.add(func(a *userapi.Account) { a.Phone, a.PhoneVerified = "", true })
		}
	})

	t.Run("an unverified phone blocks nobody and finds nobody", func(t *testing.T) {
		f := db.tenant(t)
		phone := "+4933" + digits()
		id := userapi.Identifier{Kind: userapi.PhoneIdentifier, Value: phone}
		squatter := f.add(func(a *userapi.Account) { a.Phone = phone })
		f.add(func(a *userapi.Account) { a.Phone = phone })
		_, err := f.AccountByIdentifier(t.Context(), f.scope(), id)
		is(t, err, userapi.ErrNotFound)
		owner := f.add(func(a *userapi.Account) { a.Phone, a.PhoneVerified = phone, true })
		got, err := f.AccountByIdentifier(t.Context(), f.scope(), id)
		must(t, err)
		same(t, got.ID, owner.ID, "who proved the phone")
		squatter.PhoneVerified = true
		f.refused(userapi.ErrPhoneTaken, func() error { return f.ChangeUser(t.Context(), f.update(squatter)) }, squatter.ID, owner.ID)
		owner.PhoneVerified = false
		must(t, f.ChangeUser(t.Context(), f.update(owner)))
		must(t, f.ChangeUser(t.Context(), f.update(squatter)))
		got, err = f.AccountByIdentifier(t.Context(), f.scope(), id)
		must(t, err)
		same(t, got.ID, squatter.ID, "who proved the phone later")
	})

	t.Run("an account needs a customer and roles that exist", func(t *testing.T) {
		f := db.tenant(t)
		a := f.account(func(a *userapi.Account) { a.CustomerID = newID() })
		isField(t, f.insert(a), "customer")
		b := f.account(func(a *userapi.Account) {
			a.Roles = []userapi.Role{f.role(f.key("real")), {ID: newID(), Code: f.key("gone"), Name: "Gone"}}
		})
		isField(t, f.insert(b), "roles")
		for _, id := range []string{a.ID, b.ID} {
			_, err := f.AccountByID(t.Context(), userapi.Scope{All: true}, id)
			is(t, err, userapi.ErrNotFound)
		}
	})

	t.Run("registration logs in with the same write", func(t *testing.T) {
		f := db.tenant(t)
		a := f.account()
		open := f.session(a.ID)
		a.LastLogin = open.CreatedAt
		must(t, f.InsertUser(t.Context(), userapi.UserInsert{Account: a, Session: &open, Event: f.event(userapi.EventUserRegistered)}))
		same(t, f.sessionsOf(a.ID), []userapi.Session{keptSession(open)}, "sessions")
		same(t, f.read(a.ID), kept(a), "account")
		b := f.account(func(b *userapi.Account) { b.UsernameKey = a.UsernameKey })
		lost := f.session(b.ID)
		is(t, f.InsertUser(t.Context(), userapi.UserInsert{Account: b, Session: &lost, Event: f.event(userapi.EventUserRegistered)}), userapi.ErrUsernameTaken)
		_, err := f.SessionByID(t.Context(), lost.ID)
		is(t, err, userapi.ErrNotFound)
	})

	t.Run("accounts share no memory with the caller", func(t *testing.T) {
		f := db.tenant(t)
		role := f.role(f.key("shared"))
		given := []userapi.Role{role}
		a := f.account(func(a *userapi.Account) { a.Roles = given })
		open := f.session(a.ID)
		a.LastLogin = open.CreatedAt
		want := kept(a)
		must(t, f.InsertUser(t.Context(), userapi.UserInsert{Account: a, Session: &open, Event: f.event(userapi.EventUserCreated)}))
		given[0], open.Address, open.Methods[0] = userapi.Role{}, "changed", "changed"
		same(t, f.read(a.ID), want, "account after its input changed")
		f.read(a.ID).Roles[0].Code = "changed"
		same(t, f.read(a.ID), want, "account after its output changed")
		stored := f.sessionsOf(a.ID)
		same(t, stored[0].Methods, []string{"pwd"}, "methods after the input changed")
	})

	t.Run("deleting erases all that hangs on the account", func(t *testing.T) {
		f := db.tenant(t)
		role := f.role(f.key("held"))
		a := f.add(func(a *userapi.Account) {
			a.EmailKey, a.Phone, a.PhoneVerified, a.Roles = f.key("@x"), "+4934"+digits(), true, []userapi.Role{role}
		})
		open, bystander := f.open(a), f.add()
		kept := f.open(bystander)
		w := f.deletion(a, false)
		w.Revoke = f.revocations(a.ID)
		must(t, f.DeleteUser(t.Context(), w))

		_, err := f.AccountByID(t.Context(), userapi.Scope{All: true}, a.ID)
		is(t, err, userapi.ErrNotFound)
		_, err = f.SessionByID(t.Context(), open.ID)
		is(t, err, userapi.ErrNotFound)
		if !f.hasRevocation(userapi.RevokeUser, a.ID) {
			t.Fatal("the revocation is missing")
		}
		same(t, sessionIDs(f.sessionsOf(bystander.ID)), []string{kept.ID}, "sessions of somebody else")
		must(t, f.DeleteRole(t.Context(), userapi.RoleWrite{Role: role, Event: f.event(userapi.EventRoleDeleted)}))
		is(t, f.DeleteUser(t.Context(), f.deletion(a, false)), userapi.ErrNotFound)

		again := f.account(func(b *userapi.Account) {
			b.EmailKey, b.UsernameKey, b.Phone, b.PhoneVerified = a.EmailKey, a.UsernameKey, a.Phone, true
		})
		must(t, f.insert(again))
		namesake := f.add(func(b *userapi.Account) { b.ID = a.ID })
		same(t, f.read(a.ID), namesake, "the account made anew under the same id")
		same(t, len(f.sessionsOf(a.ID)), 0, "sessions of the account made anew")
	})

	t.Run("only what was read is deleted", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add()
		f.open(a)
		must(t, f.ChangeUser(t.Context(), f.update(a)))
		f.refused(userapi.ErrChanged, func() error {
			w := f.deletion(a, false)
			w.Revoke = f.revocations(a.ID)
			return f.DeleteUser(t.Context(), w)
		}, a.ID)
	})
}

// revocations are rows that kill the tokens of a user.
func (f *tenant) revocations(userID string) []userapi.Revocation {
	return []userapi.Revocation{{Kind: userapi.RevokeUser, Subject: userID, Below: 2, Lives: time.Hour}}
}

// identifiersOf are the identifiers that find the account.
func identifiersOf(a userapi.Account) []userapi.Identifier {
	list := []userapi.Identifier{{Kind: userapi.UsernameIdentifier, Value: a.UsernameKey}}
	if a.EmailKey != "" {
		list = append(list, userapi.Identifier{Kind: userapi.EmailIdentifier, Value: a.EmailKey})
	}
	if a.PhoneVerified {
		list = append(list, userapi.Identifier{Kind: userapi.PhoneIdentifier, Value: a.Phone})
	}
	return list
}

// phones counts the numbers given out.
var phones atomic.Int64

// digits makes the end of a phone number that nobody else has.
func digits() string { return fmt.Sprintf("%08d", phones.Add(1)) }
