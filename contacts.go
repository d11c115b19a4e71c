package userapi

import (
	"context"
	"errors"
)

// Contacts has e-mail addresses and phone numbers proven, and changes an e-mail address to one that is.
type Contacts struct{ *core }

// EmailRequest asks for a link that proves an e-mail address.
type EmailRequest struct {
	Email           string // "" or the address one has: to prove that; another: to change to it
	CurrentPassword Secret // proves, for a change, that it is the owner; without it a login within the last 5 minutes does
}

// RequestEmail mails a link to the address that the actor has, or shall have: the old one stays until ConfirmEmail. A link
// asked for before is void. Where another account has the address, its owner is told, and the answer is the same.
//
// ErrForbidden for an actor who is no user; ErrScopeMissing for an API key without ScopePassword; ErrInvalid; ErrNotFresh, ErrWrongPassword, ErrTokenRevoked (a change, in a
// session that has ended); ErrRateLimited; ErrNoSender.
func (c *Contacts) RequestEmail(ctx context.Context, actor Actor, r EmailRequest) error {
	if err := actor.owning(); err != nil {
		return err
	}
	if err := actor.scoped(ScopePassword); err != nil {
		return err
	}
	if c.cfg.Verification.Mail == nil {
		return ErrNoSender
	}
	if len(r.CurrentPassword) > maxPassword {
		return ErrInvalid.Field("current_password", "at most 1,024 bytes")
	}
	proof := ownerProof{current: r.CurrentPassword}
	var attempt *taken
	for range maxTries {
		acc, err := c.account(ctx, actor, actor.UserID())
		if err != nil {
			return err
		}
		q := asked{purpose: PurposeEmail, user: acc.User, target: acc.EmailKey}
		if r.Email != "" {
			typed, key, err := NormalizeEmail(r.Email)
			if err != nil {
				return ErrInvalid.Field("email", err.Error())
			}
			if key != acc.EmailKey {
				q = asked{purpose: PurposeEmailChange, user: acc.User, target: key, display: typed}
			}
		}
		if q.target == "" {
			return ErrInvalid.Field("email", "required: the account has none")
		}
		if q.purpose == PurposeEmailChange {
			if err := c.prove(ctx, actor, acc, &proof); err != nil {
				return err
			}
		}
		if attempt == nil {
			who := counted{account: "#" + acc.ID}
			if q.purpose == PurposeEmailChange { // what others have sent to one's own address is no matter here
				who.recipient = q.target
			}
			t, err := c.take(ctx, LimitEmail, actor, who)
			if err != nil {
				return err
			}
			attempt = &t
			defer attempt.end(ctx)
		}
		out, err := c.poseEmail(ctx, actor, q)
		if err != nil {
			return err
		}
		err = c.put(ctx, ChallengeInsert{
			Outgoing: out, IfVersion: acc.Version, Event: c.event(actor, EventEmailAsked, acc.User, string(q.purpose)),
		})
		if errors.Is(err, ErrChanged) {
			continue
		}
		if err != nil {
			return err
		}
		attempt.verdict = failed // it counts
		return nil
	}
	return ErrUnavailable
}

// poseEmail makes the challenge of an e-mail address. Where another account has it, its owner gets a notice in place of the
// token.
func (c *core) poseEmail(ctx context.Context, actor Actor, q asked) (Outgoing, error) {
	out, err := c.pose(ctx, actor, q)
	if err != nil || q.purpose != PurposeEmailChange {
		return out, err
	}
	// A thief who is just being shut out must not get a link that moves the account: the session is looked up after the
	// account was read, and the write is refused when that has changed.
	if err := c.standing(ctx, actor); err != nil {
		return out, err
	}
	owner, err := c.store.AccountByIdentifier(ctx, Scope{All: true}, Identifier{EmailIdentifier, q.target})
	taken := err == nil && !owner.Pending // what was never activated gives way to a proof
	if err != nil && !errors.Is(err, ErrNotFound) {
		return out, err
	}
	notice, err := c.notify(ctx, actor, owner.User, q.target, NoticeEmailTaken) // made either way: that takes time
	if taken {
		out.Messages = notice
	}
	return out, err
}

// ConfirmEmail takes the token of a mailed link: the address is the account's, and proven. All sessions that were opened
// before end with all API keys, pending codes and links, since somebody else may have registered with the address; so does the mark of
// a number proven before, and every second factor. The actor's own session goes on, if it is the account's (the returned Tokens take the place of
// theirs), and so do the mark and the second factors then. A proof of what was proven already ends nothing. After a change the old address is told.
//
// ErrInvalidLink for a token that is unknown, used, expired or void; ErrEmailTaken; ErrRateLimited.
func (c *Contacts) ConfirmEmail(ctx context.Context, actor Actor, token Secret) (User, Tokens, error) {
	fail := func(err error) (User, Tokens, error) { return User{}, Tokens{}, err }
	if err := actor.some(); err != nil {
		return fail(err)
	}
	if err := actor.scoped(ScopePassword); err != nil {
		return fail(err)
	}
	t, err := c.tryToken(ctx, actor, token, PurposeEmail, PurposeEmailChange)
	if err != nil {
		return fail(err)
	}
	defer t.end(ctx)
	kind := map[Purpose]EventKind{PurposeEmail: EventEmailVerified, PurposeEmailChange: EventEmailChanged}[t.Purpose]
	return c.fulfil(ctx, actor, t, fulfilment{kind: kind, refusal: ErrInvalidLink, asSelf: true, decide: func(before Account, w *UserUpdate) error {
		a := &w.Account
		if !before.Active || t.Purpose == PurposeEmail && before.EmailKey != t.Target {
			return ErrInvalidCode
		}
		if w.EndSessions = !before.EmailVerified; w.EndSessions {
			// The first proof: whoever opened sessions, asked for changes or had a number proven before may have been somebody
			// else, who registered with this address.
			w.EndKeys, w.Voids = true, allPurposes
			own := actor.is(before.ID)
			if own {
				err := c.standing(ctx, actor)
				if err != nil && !errors.Is(err, ErrTokenRevoked) {
					return err
				}
				own = err == nil
			}
			a.PhoneVerified, w.EndCredentials = a.PhoneVerified && own, !own
		}
		if t.Purpose == PurposeEmailChange {
			a.Email, a.EmailKey = t.Display, t.Target
			w.EndSessions, w.Voids = true, allPurposes
			w.Outgoing.Messages, err = c.notify(ctx, actor, before.User, before.EmailKey, NoticeEmailChanged)
		}
		a.EmailVerified = true
		return err
	}})
}

// standing refuses a user whose session, or API key, has ended since it was checked. ErrTokenRevoked.
func (c *core) standing(ctx context.Context, actor Actor) error {
	if !actor.isUser() {
		return nil
	}
	var err error
	if actor.isKey() {
		var ka KeyAccount
		ka, err = c.store.FindKey(ctx, actor.scope(), KeyRef{ID: actor.identity.KeyID()})
		if err == nil && !ka.Key.Active {
			err = ErrNotFound
		}
	} else {
		_, err = c.store.SessionByID(ctx, actor.identity.SessionID())
	}
	if errors.Is(err, ErrNotFound) {
		return ErrTokenRevoked
	}
	return err
}

// AnonymousPhone is Verification.AnonymousPhone: whether callers without credential may have a number proven.
func (c *Contacts) AnonymousPhone() bool { return c.cfg.Verification.AnonymousPhone }

// PhoneRequest asks for a code that proves a phone number.
type PhoneRequest struct {
	Phone  string // international form, or national in Config.DefaultRegion
	Resend bool   // it was asked for before: gateways may want to know
}

// RequestPhone sends a code to a number: for the actor's account, or for nobody's, where Verification.AnonymousPhone lets
// callers without credential. A code asked for before, by the same account or for the same number, is void. The answer is
// the same whoever has the number.
//
// ErrInvalidPhone (also: not a number that is served); ErrNoCredentials, ErrForbidden, ErrScopeMissing; ErrRateLimited; ErrNoSender.
func (c *Contacts) RequestPhone(ctx context.Context, actor Actor, r PhoneRequest) error {
	number, err := c.phone(actor, r.Phone)
	if err != nil {
		return err
	}
	v := &c.cfg.Verification
	if _, exempt := v.ExemptPhones[number]; !exempt {
		if v.SMS == nil {
			return ErrNoSender
		}
		if s, ok := v.SMS.(interface{ Serves(number string) bool }); ok && !s.Serves(number) {
			return ErrInvalidPhone.Field("phone", "not a number that messages are sent to")
		}
	}
	who := counted{recipient: number, country: phoneCountry(number)}
	if actor.isUser() {
		who.account = "#" + actor.UserID()
	}
	attempt, err := c.take(ctx, LimitPhone, actor, who)
	if err != nil {
		return err
	}
	defer attempt.end(ctx)
	unproven, err := c.take(ctx, LimitUnproven, actor, who)
	if err != nil {
		return c.countryStopped(ctx, who.country, err)
	}
	defer unproven.end(ctx)
	err = c.requestPhone(ctx, actor, number, r.Resend)
	if err == nil {
		attempt.verdict, unproven.verdict = failed, failed // they count
	}
	return err
}

func (c *Contacts) requestPhone(ctx context.Context, actor Actor, number string, resend bool) error {
	for range maxTries {
		q, version := asked{purpose: PurposePhone, subject: number, target: number, resend: resend}, int64(0)
		if actor.isUser() {
			acc, err := c.account(ctx, actor, actor.UserID())
			if err != nil {
				return err
			}
			q.user, q.subject, version = acc.User, acc.ID, acc.Version
		}
		out, err := c.pose(ctx, actor, q)
		if err != nil {
			return err
		}
		err = c.put(ctx, ChallengeInsert{Outgoing: out, IfVersion: version, Event: c.event(actor, EventPhoneAsked, q.user, "")})
		if !errors.Is(err, ErrChanged) {
			return err
		}
	}
	return ErrUnavailable
}

// countryStopped tells the host, once in each window, that a country gets no more codes.
func (c *Contacts) countryStopped(ctx context.Context, country string, err error) error {
	if errors.Is(err, ErrRateLimited) && c.gate.first("sms "+country, c.cfg.Now(), AsError(err).RetryAfter) {
		c.log.WarnContext(ctx, "too few of the codes sent to a country come back: it gets no more for now", "country", country)
		if e := c.store.AddEvent(ctx, c.event(System(), EventCountryStopped, User{}, country)); e != nil {
			c.log.WarnContext(ctx, "could not store an event", "error", e.Error())
		}
	}
	return err
}

// phone normalises a number for an actor who may have one proven.
func (c *Contacts) phone(actor Actor, in string) (string, error) {
	if err := actor.some(); err != nil {
		return "", err
	}
	if actor.kind != anonymous || !c.cfg.Verification.AnonymousPhone {
		if err := actor.owning(); err != nil {
			return "", err
		}
	}
	if err := actor.scoped(ScopePassword); err != nil {
		return "", err
	}
	return NormalizePhone(in, c.cfg.DefaultRegion)
}

// ConfirmPhone takes a code. For a user the number becomes their own, verified, and whoever had it verified before has
// it no longer. Without credential it says only whether the code was right; the User is zero. Hooks.PhoneProved runs either way.
//
// ErrInvalidCode for a code that is wrong, used, expired, void or of another number: of each code five tries count (see
// Verification.MaxTries). ErrInvalidPhone, ErrInvalid; ErrNoCredentials, ErrForbidden; ErrRateLimited.
func (c *Contacts) ConfirmPhone(ctx context.Context, actor Actor, phone string, code Secret) (User, error) {
	number, err := c.phone(actor, phone)
	if err != nil {
		return User{}, err
	}
	subject := number
	if actor.isUser() {
		subject = actor.UserID()
	}
	t, err := c.tryCode(ctx, actor, subject, number, code)
	if err != nil {
		return User{}, err
	}
	defer t.end(ctx)
	var user User
	if actor.isUser() {
		user, err = c.provePhone(ctx, actor, t)
	} else {
		err = c.provedByNobody(ctx, actor, t)
	}
	if err == nil {
		c.proofCounts(ctx, number)
		c.phoneProved(ctx, user, number)
	}
	return user, err
}

// provePhone gives the proven number to the account, and takes it from whoever had it.
func (c *Contacts) provePhone(ctx context.Context, actor Actor, t *tried) (User, error) {
	var released User
	user, _, err := c.fulfil(ctx, actor, t, fulfilment{kind: EventPhoneVerified, refusal: ErrInvalidCode, decide: func(before Account, w *UserUpdate) error {
		if !before.Active || !actor.is(before.ID) {
			return ErrInvalidCode
		}
		released = User{}
		holder, err := c.store.AccountByIdentifier(ctx, Scope{All: true}, Identifier{PhoneIdentifier, t.Target})
		switch {
		case errors.Is(err, ErrNotFound):
		case err != nil:
			return err
		case holder.ID != before.ID:
			released = holder.User
			w.Releases = &PhoneRelease{
				UserID: holder.ID, Phone: t.Target, IfVersion: holder.Version, Event: c.event(actor, EventPhoneReleased, holder.User, ""),
			}
		}
		w.Account.Phone, w.Account.PhoneVerified, w.Voids = t.Target, true, []Purpose{PurposePhone}
		if before.PhoneVerified && before.Phone != t.Target {
			w.Outgoing.Messages, err = c.notify(ctx, actor, before.User, before.EmailKey, NoticePhoneChanged)
			return err
		}
		return nil
	}})
	if err == nil && released.ID != "" {
		released.PhoneVerified = false
		c.userUpdated(ctx, released)
	}
	return user, err
}

// provedByNobody ends the challenge of an anonymous proof.
func (c *Contacts) provedByNobody(ctx context.Context, actor Actor, t *tried) error {
	err := c.store.EndChallenge(ctx, ChallengeEnd{ID: t.ID, Event: c.event(actor, EventPhoneProved, User{}, "")})
	switch {
	case errors.Is(err, ErrNotFound):
		t.spent = true
		return ErrInvalidCode
	case err != nil:
		return err
	}
	t.spent = true
	return nil
}

// proofCounts gives two codes back to the country of a number: see LimitUnproven.
func (c *Contacts) proofCounts(ctx context.Context, number string) {
	var returns []LimitReturn
	for _, limit := range c.cfg.Limits[LimitUnproven] {
		if country := phoneCountry(number); country != "" {
			one := LimitReturn{Key: c.limitKey(LimitUnproven, limit, country)}
			returns = append(returns, one, one)
		}
	}
	if len(returns) > 0 {
		c.giveBack(ctx, func(ctx context.Context) error { return c.store.ReturnLimits(ctx, returns) })
	}
}
