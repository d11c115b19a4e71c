package storetest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/userapi/userapi"
)

// mailbox is a userapi.Sender that keeps what it is given.
type mailbox struct {
	mu   sync.Mutex
	last map[string]userapi.Message // by recipient; notices are left out
}

func (b *mailbox) Send(_ context.Context, m userapi.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if m.Purpose != userapi.PurposeNotice {
		b.last[m.To] = m
	}
	return nil
}

// proof is a way of proving something, as far as a test can tell it from others.
type proof struct {
	name    string
	refusal error
	// begin prepares an account. ask has a secret sent to the recipient, answer brings it back, done reports whether that
	// had its effect.
	begin func(n *proving) (recipient string, ask, answer func(api *userapi.API) error, done func() bool)
}

// proving is nodes whose messages arrive in a mailbox.
type proving struct {
	*nodes
	box *mailbox
}

func (f *tenant) proving(edits ...func(*userapi.Config)) *proving {
	box := &mailbox{last: map[string]userapi.Message{}}
	edits = append(edits, func(c *userapi.Config) {
		c.Verification = userapi.Verification{Mail: box, SMS: box, AnonymousPhone: true}
		c.Registration.Policy = userapi.RegistrationVerify
	})
	return &proving{f.nodes(edits...), box}
}

// receive sends what waits and gives the last message of a recipient.
func (p *proving) receive(to string) userapi.Message {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 30*time.Second)
	defer cancel()
	for ; ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		_, err := p.apis[0].Deliver(ctx)
		must(p.t, err)
		p.box.mu.Lock()
		m, ok := p.box.last[to]
		p.box.mu.Unlock()
		if ok {
			return m
		}
	}
	p.t.Fatal("no message arrived")
	return userapi.Message{}
}

// mailed creates an active user with an e-mail address who logs in with the old password.
func (p *proving) mailed(verified bool) (userapi.User, userapi.Actor) {
	p.t.Helper()
	u, err := p.apis[0].Users.Create(p.t.Context(), userapi.System(), userapi.NewUser{
		Username: newID(), Email: newID() + "@example.com", EmailVerified: verified, Password: oldPassword, Active: true, CustomerID: p.customer,
	})
	must(p.t, err)
	return u, p.actor(p.loggedIn(u))
}

func (p *proving) user(id string) userapi.User {
	p.t.Helper()
	u, err := p.apis[1].Users.ByID(p.t.Context(), userapi.System(), id)
	must(p.t, err)
	return u
}

var proofs = []proof{
	{"a reset", userapi.ErrInvalidLink, func(p *proving) (string, func(*userapi.API) error, func(*userapi.API) error, func() bool) {
		u, _ := p.mailed(true)
		return u.Email, func(api *userapi.API) error {
				return api.Passwords.RequestReset(p.t.Context(), userapi.Anonymous(), userapi.ResetRequest{Identifier: u.Email})
			}, func(api *userapi.API) error {
				return api.Passwords.Reset(p.t.Context(), userapi.Anonymous(), p.receive(u.Email).Token, newPassword)
			}, func() bool {
				_, err := p.login(p.apis[0], u, newPassword)
				return err == nil
			}
	}},
	{"an activation", userapi.ErrInvalidLink, func(p *proving) (string, func(*userapi.API) error, func(*userapi.API) error, func() bool) {
		r := userapi.SelfRegistration{Email: newID() + "@example.com", Username: newID(), Password: oldPassword}
		return r.Email, func(api *userapi.API) error {
				_, _, err := api.Users.Register(p.t.Context(), userapi.Anonymous(), r)
				return err
			}, func(api *userapi.API) error {
				_, err := api.Auth.Activate(p.t.Context(), userapi.Anonymous(), p.receive(r.Email).Token, oldPassword)
				return err
			}, func() bool {
				_, err := p.login(p.apis[1], userapi.User{Username: r.Username}, oldPassword)
				return err == nil
			}
	}},
	{"an e-mail address", userapi.ErrInvalidLink, func(p *proving) (string, func(*userapi.API) error, func(*userapi.API) error, func() bool) {
		u, actor := p.mailed(false)
		return u.Email, func(api *userapi.API) error {
				return api.Contacts.RequestEmail(p.t.Context(), actor, userapi.EmailRequest{})
			}, func(api *userapi.API) error {
				_, _, err := api.Contacts.ConfirmEmail(p.t.Context(), userapi.Anonymous(), p.receive(u.Email).Token)
				return err
			}, func() bool { return p.user(u.ID).EmailVerified }
	}},
	{"a new e-mail address", userapi.ErrInvalidLink, func(p *proving) (string, func(*userapi.API) error, func(*userapi.API) error, func() bool) {
		u, actor := p.mailed(true)
		fresh := newID() + "@example.org"
		return fresh, func(api *userapi.API) error {
				return api.Contacts.RequestEmail(p.t.Context(), actor, userapi.EmailRequest{Email: fresh})
			}, func(api *userapi.API) error {
				_, _, err := api.Contacts.ConfirmEmail(p.t.Context(), userapi.Anonymous(), p.receive(fresh).Token)
				return err
			}, func() bool { return p.user(u.ID).Email == fresh }
	}},
	{"a phone number", userapi.ErrInvalidCode, func(p *proving) (string, func(*userapi.API) error, func(*userapi.API) error, func() bool) {
		u, actor := p.mailed(true)
		holder, holding := p.mailed(true) // has it until then
		phone := "+4930" + digits()
		must(p.t, p.provePhone(holding, phone))
		return phone, func(api *userapi.API) error {
				return api.Contacts.RequestPhone(p.t.Context(), actor, userapi.PhoneRequest{Phone: phone})
			}, func(api *userapi.API) error {
				_, err := api.Contacts.ConfirmPhone(p.t.Context(), actor, phone, p.receive(phone).Code)
				return err
			}, func() bool {
				has := p.user(u.ID)
				if has.PhoneVerified == p.user(holder.ID).PhoneVerified {
					p.t.Fatalf("the number has %v holders", has.PhoneVerified)
				}
				return has.PhoneVerified && has.Phone == phone
			}
	}},
}

// provePhone has a number proven for the actor.
func (p *proving) provePhone(actor userapi.Actor, phone string) error {
	if err := p.apis[0].Contacts.RequestPhone(p.t.Context(), actor, userapi.PhoneRequest{Phone: phone}); err != nil {
		return err
	}
	_, err := p.apis[0].Contacts.ConfirmPhone(p.t.Context(), actor, phone, p.receive(phone).Code)
	p.forget(phone)
	return err
}

// forget empties a mailbox.
func (p *proving) forget(to string) {
	p.box.mu.Lock()
	defer p.box.mu.Unlock()
	delete(p.box.last, to)
}

func (s suite) proofs(t *testing.T) {
	db := s.database(t)
	db.rounds = apiRounds
	for _, one := range proofs {
		db.every(t, "D01 races: "+one.name+" is proven once", func(t *testing.T, f *tenant) {
			p := f.proving()
			to, ask, answer, done := one.begin(p)
			must(t, ask(p.apis[0]))
			p.receive(to)
			results := p.race(racers, func(_ int, api *userapi.API) error { return answer(api) })
			same(t, winners(t, results, one.refusal), 1, "winners")
			same(t, done(), true, "done")
		})
		t.Run("K01 crashes: "+one.name+" is proven whole or not at all", func(t *testing.T) { one.crashes(t, db) })
	}
	db.every(t, "races: a number of nobody's is proven once", func(t *testing.T, f *tenant) {
		p := f.proving()
		phone := "+4930" + digits()
		must(t, p.apis[0].Contacts.RequestPhone(t.Context(), userapi.Anonymous(), userapi.PhoneRequest{Phone: phone}))
		code := p.receive(phone).Code
		one(t, p.race(racers, func(_ int, api *userapi.API) error {
			_, err := api.Contacts.ConfirmPhone(t.Context(), userapi.Anonymous(), phone, code)
			return err
		}), userapi.ErrInvalidCode)
	})
	db.every(t, "F08 races: a number that many prove at once has one holder", func(t *testing.T, f *tenant) {
		p := f.proving()
		phone := "+4930" + digits()
		codes, actors, users := make([]userapi.Secret, 8), make([]userapi.Actor, 8), make([]userapi.User, 8)
		for i := range actors {
			users[i], actors[i] = p.mailed(true)
			must(t, p.apis[0].Contacts.RequestPhone(t.Context(), actors[i], userapi.PhoneRequest{Phone: phone}))
			codes[i] = p.receive(phone).Code
			p.forget(phone)
		}
		results := p.race(len(actors), func(i int, api *userapi.API) error {
			_, err := api.Contacts.ConfirmPhone(t.Context(), actors[i], phone, codes[i])
			return err
		})
		same(t, winners(t, results), len(actors), "who proved it")
		holders := 0
		for _, u := range users {
			if p.user(u.ID).PhoneVerified {
				holders++
			}
		}
		same(t, holders, 1, "holders")
	})
	db.every(t, "D03 races: a burst of wrong codes gets five tries", func(t *testing.T, f *tenant) {
		p := f.proving()
		_, actor := p.mailed(true)
		phone := "+4930" + digits()
		must(t, p.apis[0].Contacts.RequestPhone(t.Context(), actor, userapi.PhoneRequest{Phone: phone}))
		code := p.receive(phone).Code
		wrong := userapi.Secret("000000")
		if code == wrong {
			wrong = "000001"
		}
		p.race(racers, func(_ int, api *userapi.API) error {
			_, err := api.Contacts.ConfirmPhone(t.Context(), actor, phone, wrong)
			is(t, err, userapi.ErrInvalidCode)
			return err
		})
		_, err := p.apis[0].Contacts.ConfirmPhone(t.Context(), actor, phone, code)
		is(t, err, userapi.ErrInvalidCode)
	})
}

// crashes lets every call of the store fail in turn, before it did its work and after, while something is asked for and
// while it is answered. Afterwards it is proven and the secret used up, or it is not and the secret is good.
func (one proof) crashes(t *testing.T, db database) {
	for _, how := range []failure{failsBefore, failsAfter} {
		for at := 1; ; at++ {
			name := fmt.Sprintf("call %d %s", at, how)
			p := db.tenant(t).proving()
			to, ask, answer, done := one.begin(p)

			store := &crashing{Store: p.Store, at: at, how: how}
			if err := ask(p.crashingAPI(store)); store.calls < at && err != nil {
				t.Fatalf("%s: nothing failed, and yet: %v", name, err)
			}
			crashed := store.calls >= at
			must(t, ask(p.apis[0])) // once more, as whoever got no answer does
			p.receive(to)

			store = &crashing{Store: p.Store, at: at, how: how}
			err := answer(p.crashingAPI(store))
			proven := done()
			switch {
			case err == nil && !proven:
				t.Fatalf("%s: answered with success, and nothing was done", name)
			case proven:
				is(t, answer(p.apis[0]), one.refusal)
			default:
				must(t, answer(p.apis[0]))
				same(t, done(), true, name+": done at the second time")
			}
			if !crashed && store.calls < at {
				break
			}
		}
	}
}
