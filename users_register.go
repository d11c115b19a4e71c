package userapi

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// SelfRegistration is what somebody may say of an account of their own.
type SelfRegistration struct {
	Email     string
	Username  string
	Phone     string
	Name      string
	FirstName string
	LastName  string
	Password  Secret // required; under RegistrationVerify it may be set with Auth.Activate
}

// RegistrationPolicy is Config.Registration.Policy: who may call Register with success.
func (u *Users) RegistrationPolicy() RegistrationPolicy { return u.cfg.Registration.Policy }

// Register creates an account for whoever asks, under Config.Registration. The customer and the roles are the
// configuration's. Every registration counts against the actor's address.
//
// Under RegistrationOpen it logs in. An ErrEmailTaken or ErrUsernameTaken tells that there is such an account.
//
// Under RegistrationVerify the account is inactive, and its mailbox gets a link for Auth.Activate; User and Tokens are zero.
// They are so for an address that is registered already: then its owner is told, and nothing changes, unless the account
// was never activated; then the new registration replaces all of the old. A username in use is told to the mailbox too.
//
// ErrNoCredentials when registration is closed; ErrRateLimited; ErrNoSender; else as Create.
func (u *Users) Register(ctx context.Context, actor Actor, r SelfRegistration) (User, Tokens, error) {
	fail := func(err error) (User, Tokens, error) { return User{}, Tokens{}, err }
	if err := actor.some(); err != nil {
		return fail(err)
	}
	verify := u.cfg.Registration.Policy == RegistrationVerify
	switch {
	case u.cfg.Registration.Policy == RegistrationClosed:
		return fail(ErrNoCredentials)
	case verify && u.cfg.Verification.Mail == nil:
		return fail(ErrNoSender)
	}
	if err := r.check(verify); err != nil {
		return fail(err)
	}
	attempt, err := u.take(ctx, LimitRegister, actor, counted{})
	if err != nil {
		return fail(err)
	}
	attempt.verdict = failed // every registration counts
	defer attempt.end(ctx)
	n := NewUser{
		Email: r.Email, Username: r.Username, Phone: r.Phone, Name: r.Name, FirstName: r.FirstName, LastName: r.LastName,
		Password: r.Password, Active: !verify, CustomerID: u.cfg.Registration.Customer,
	}
	for _, code := range u.cfg.Registration.Roles {
		n.Roles = append(n.Roles, RoleRef{Code: code})
	}
	if verify {
		return fail(u.registerByMail(ctx, actor, n))
	}
	a, err := u.newAccount(ctx, n)
	if err != nil {
		return fail(ofTheHost(err))
	}
	if err := u.beforeCreated(ctx, a.User); err != nil {
		return fail(err)
	}
	s := u.newSession(actor, a.User, opening{methods: []string{"pwd"}})
	a.LastLogin = s.CreatedAt
	event := u.event(actor, EventUserRegistered, a.User, "")
	event.ActorID, event.SessionID = a.ID, s.ID
	if err := u.store.InsertUser(ctx, UserInsert{Account: a, Session: &s, Event: event}); err != nil {
		return fail(ofTheHost(err))
	}
	u.userCreated(ctx, a.User)
	tokens, err := u.issue(a, s)
	return a.User, tokens, err
}

// registerByMail does the same work whoever the address belongs to, and none where the mailbox has had enough.
func (u *Users) registerByMail(ctx context.Context, actor Actor, n NewUser) error {
	_, key, err := NormalizeEmail(n.Email)
	if err != nil {
		return ErrInvalid.Field("email", err.Error())
	}
	mail, err := u.take(ctx, LimitActivation, actor, counted{recipient: key})
	if err != nil {
		return err
	}
	defer mail.end(ctx)
	if n.Password == "" { // a hash is made either way: beside it, what is written for whom takes no time
		if _, err := u.hashes.hash(ctx, "none"); err != nil {
			return err
		}
	}
	a, err := u.newAccount(ctx, n)
	if err != nil {
		return ofTheHost(err)
	}
	if err := u.beforeCreated(ctx, a.User); err != nil {
		return err
	}
	if err := u.registerPending(ctx, actor, a); err != nil {
		return ofTheHost(err)
	}
	mail.verdict = failed // it counts
	return nil
}

// ofTheHost tells a configured customer or role that does not exist from what whoever registers got wrong.
func ofTheHost(err error) error {
	if errors.Is(err, ErrInvalid) {
		fields := AsError(err).Fields
		if fields["customer"] != nil || fields["roles"] != nil {
			return errUnclassified.Wrap(fmt.Errorf("userapi: Config.Registration: %w", err))
		}
	}
	return err
}

// check refuses what no registration can do without.
func (r SelfRegistration) check(verify bool) error {
	email := strings.TrimSpace(r.Email)
	switch {
	case verify && email == "":
		return ErrInvalid.Field("email", "required")
	case email == "" && strings.TrimSpace(r.Username) == "":
		// Nobody logs in by a phone number that is not proven yet: the account would be lost with the session.
		return ErrInvalid.Field("email", "an e-mail address or a username is required")
	case verify && r.Password == "":
		return nil
	}
	return wellFormedPassword(r.Password)
}

// registerPending keeps a registration until its mailbox is proven. Whoever asks learns nothing from it: the same is
// written, and something is mailed, whatever is there already.
func (u *Users) registerPending(ctx context.Context, actor Actor, a Account) error {
	// One by one here, or of many at once most would only find that another was faster.
	waiting, cancel := context.WithTimeout(ctx, u.cfg.Password.QueueTimeout)
	defer cancel()
	if err := u.gate.enter(waiting, "register "+a.EmailKey, 1); err != nil {
		return err
	}
	defer u.gate.leave("register " + a.EmailKey)
	a.Pending = true
	for range maxTries {
		holder, err := u.store.AccountByIdentifier(ctx, Scope{All: true}, Identifier{EmailIdentifier, a.EmailKey})
		switch {
		case errors.Is(err, ErrNotFound):
			err = u.insertPending(ctx, actor, a)
		case err == nil && holder.Pending:
			err = u.replacePending(ctx, actor, holder, a)
		case err == nil:
			err = u.tellInstead(ctx, actor, holder, a, NoticeAlreadyRegistered)
		}
		if errors.Is(err, ErrUsernameTaken) {
			err = u.tellInstead(ctx, actor, Account{}, a, NoticeUsernameTaken)
		}
		if errors.Is(err, ErrEmailTaken) || errors.Is(err, ErrChanged) || errors.Is(err, ErrNotFound) {
			continue // somebody was faster
		}
		return err
	}
	return ErrUnavailable
}

func (u *Users) insertPending(ctx context.Context, actor Actor, a Account) error {
	out, err := u.pose(ctx, actor, asked{purpose: PurposeActivation, user: a.User, target: a.EmailKey})
	if err != nil {
		return err
	}
	event := u.event(actor, EventUserRegistered, a.User, "")
	if err := u.store.InsertUser(ctx, UserInsert{Account: a, Outgoing: out, Event: event}); err != nil {
		return err
	}
	u.queued(ctx, out)
	return nil
}

// replacePending puts a new registration in the place of one that was never activated.
func (u *Users) replacePending(ctx context.Context, actor Actor, old, a Account) error {
	a.ID, a.CreatedAt, a.Epoch = old.ID, old.CreatedAt, old.Epoch
	out, err := u.pose(ctx, actor, asked{purpose: PurposeActivation, user: a.User, target: a.EmailKey})
	if err != nil {
		return err
	}
	err = u.store.ChangeUser(ctx, UserUpdate{
		Scope: Scope{All: true}, Account: a, IfVersion: old.Version, CustomerBefore: old.CustomerID, SetRoles: true,
		EndMemberships: true, // they were given to who registered before
		Outgoing:       out, Event: u.event(actor, EventRegisteredAgain, a.User, "pending"),
	})
	if err != nil {
		return err
	}
	u.queued(ctx, out)
	return nil
}

// tellInstead mails a notice to the address of a registration that cannot be, and writes what else would be written.
func (u *Users) tellInstead(ctx context.Context, actor Actor, holder, a Account, n Notice) error {
	out, err := u.decoy(ctx, actor, PurposeActivation, a.EmailKey)
	if err != nil {
		return err
	}
	if out.Messages, err = u.notify(ctx, actor, holder.User, a.EmailKey, n); err != nil {
		return err
	}
	return u.put(ctx, ChallengeInsert{Outgoing: out, Event: u.event(actor, EventRegisteredAgain, holder.User, string(n))})
}

// SendActivation mails a link for Auth.Activate to an account that is inactive: to have an account that an admin created
// without password taken over by its owner, for instance. A link sent before is void. Only admins who rank above the user,
// and System.
//
// ErrNotFound, ErrForbidden; ErrInvalid for an account that is active or has no e-mail address; ErrRateLimited;
// ErrNoSender.
func (u *Users) SendActivation(ctx context.Context, actor Actor, id string) error {
	if err := actor.managing(); err != nil {
		return err
	}
	if u.cfg.Verification.Mail == nil {
		return ErrNoSender
	}
	if u.bound == nil {
		attempt, err := u.take(ctx, LimitActivation, actor, counted{}) // by address: what strangers had sent there is no matter
		if err != nil {
			return err
		}
		attempt.verdict = failed // it counts
		defer attempt.end(ctx)
	}
	for range maxTries {
		if err := u.sendActivation(ctx, actor, id); !u.again(err) {
			return err
		}
	}
	return ErrUnavailable
}

func (u *Users) sendActivation(ctx context.Context, actor Actor, id string) error {
	acc, err := u.account(ctx, actor, id)
	if err != nil {
		return err
	}
	if err := u.mayTouch(actor, acc.User); err != nil {
		return err
	}
	if acc.Active || acc.EmailKey == "" {
		return ErrInvalid.Field("email", "only an inactive account with an e-mail address is activated by mail")
	}
	out, err := u.pose(ctx, actor, asked{purpose: PurposeActivation, user: acc.User, target: acc.EmailKey})
	if err != nil {
		return err
	}
	return u.put(ctx, ChallengeInsert{
		Outgoing: out, IfVersion: acc.Version, Event: u.event(actor, EventActivationAsked, acc.User, ""),
	})
}
