package userapi

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// Change changes an account. What it ends: a change of the roles ends the user's access tokens; a change of e-mail or
// password, an e-mail address marked as proven, deactivation and a move to another customer end all sessions, and with them
// all pending codes and links; that move ends all memberships too, an address marked as proven the API keys, and a password that has
// to be changed from now on all sessions. Where it is the actor's own account and the actor stays, the returned Tokens take the place of theirs: of a new session where all
// have ended, else an access token alone. Otherwise they are zero.
//
// Where mail is wired (Verification.Mail), one's own new e-mail address has to be proven first: the old one stays, and a
// link goes to the new one, as with Contacts.RequestEmail. Whoever's password or e-mail address was changed is told by mail.
//
// An API key needs ScopePassword to change a password, an e-mail address, a username or a phone number: ErrScopeMissing. It
// gets no tokens.
//
// Oneself may change e-mail, username, phone, names and password; a service the same of users it ranks above, and the
// names of all who hold neither admin nor service; admins and System also Active, Roles and MustChangePassword; System also CustomerID and
// the verified marks.
//
// Errors: ErrNotFound, ErrForbidden (also: the user holds a role the actor may not grant), ErrTokenRevoked (the session
// in which the own account was to be changed has ended), ErrNotFresh, ErrWrongPassword, ErrRateLimited, ErrInvalid,
// ErrInvalidPhone, ErrWeakPassword, ErrEmailTaken, ErrUsernameTaken, ErrPhoneTaken, ErrQuota, ErrLastAdmin.
func (u *Users) Change(ctx context.Context, actor Actor, id string, ch UserChange) (User, Tokens, error) {
	return u.change(ctx, actor, id, ch)
}

// change reads, decides and writes, again when somebody else was faster: what was decided on is what is written over.
func (c *core) change(ctx context.Context, actor Actor, id string, ch UserChange) (User, Tokens, error) {
	if err := actor.reaching(id); err != nil {
		return User{}, Tokens{}, err
	}
	if err := ch.allowed(actor); err != nil {
		return User{}, Tokens{}, err
	}
	if ch.Password != nil {
		if err := actor.scoped(ScopePassword); err != nil {
			return User{}, Tokens{}, err
		}
		if err := wellFormedPassword(*ch.Password); err != nil {
			return User{}, Tokens{}, err
		}
	}
	if len(ch.CurrentPassword) > maxPassword {
		return User{}, Tokens{}, ErrInvalid.Field("current_password", "at most 1,024 bytes")
	}
	run := changing{core: c, actor: actor, ch: ch, proof: ownerProof{current: ch.CurrentPassword}}
	defer run.mail.end(ctx)
	for range maxTries {
		user, tokens, err := run.once(ctx, id)
		if !c.again(err) {
			return user, tokens, err
		}
	}
	return User{}, Tokens{}, ErrUnavailable
}

// allowed refuses what the kind of actor may never change.
func (ch UserChange) allowed(actor Actor) error {
	if !actor.isSystem() && (ch.CustomerID != nil || ch.EmailVerified != nil || ch.PhoneVerified != nil) {
		return ErrForbidden
	}
	if !actor.isSystem() && !actor.isAdmin() && (ch.Active != nil || ch.Roles != nil || ch.MustChangePassword != nil) {
		return ErrForbidden
	}
	return nil
}

// onlyNames reports whether nothing changes that somebody is known or logs in by.
func (ch UserChange) onlyNames() bool {
	ch.Name, ch.FirstName, ch.LastName, ch.CurrentPassword = nil, nil, nil, ""
	return ch == UserChange{}
}

// changing is one call of change, over its tries.
type changing struct {
	*core
	actor Actor
	ch    UserChange

	proof   ownerProof
	mail    taken // for the link to a new address of one's own
	newHash string
	before  Account
}

func (run *changing) once(ctx context.Context, id string) (User, Tokens, error) {
	fail := func(err error) (User, Tokens, error) { return User{}, Tokens{}, err }
	before, err := run.account(ctx, run.actor, id)
	if err != nil {
		return fail(err)
	}
	if run.actor.isService() && !run.actor.isAdmin() && run.ch.onlyNames() {
		err = run.actor.mayRead(before.User)
	} else {
		err = run.mayTouch(run.actor, before.User)
	}
	if err != nil {
		return fail(err)
	}
	after, err := run.apply(ctx, before)
	if err != nil {
		return fail(err)
	}
	if after.Email != before.Email || after.Username != before.Username || after.Phone != before.Phone {
		if err := run.actor.scoped(ScopePassword); err != nil {
			return fail(err)
		}
	}
	self := run.actor.is(id)
	if self && (run.ch.Password != nil || after.EmailKey != before.EmailKey) {
		if err := run.prove(ctx, run.actor, before, &run.proof); err != nil {
			return fail(err)
		}
	}
	if self && run.ch.Password != nil {
		if before.MustChange {
			same, _, err := run.hashes.check(ctx, before.PasswordHash, *run.ch.Password)
			if err == nil && same {
				err = ErrWeakPassword.Field("password", "not the one that has to be changed")
			}
			if err != nil {
				return fail(err)
			}
		}
		after.MustChange = false
	}
	var outgoing Outgoing
	if self && after.EmailKey != before.EmailKey && after.EmailKey != "" && run.cfg.Verification.Mail != nil {
		if outgoing, err = run.proveFirst(ctx, before, &after); err != nil {
			return fail(err)
		}
	}
	if run.ch.Password != nil {
		if run.newHash == "" {
			if run.newHash, err = run.hashNew(ctx, *run.ch.Password, after); err != nil {
				return fail(err)
			}
		}
		after.PasswordHash = run.newHash
	}
	if hook := run.hooks.BeforeUserUpdated; hook != nil {
		if err := hook(ctx, before.User.clone(), after.User.clone()); err != nil {
			return fail(err)
		}
	}
	w := run.write(before, after)
	run.before = before
	if outgoing.Challenge != nil {
		w.Event.Detail = strings.Replace(w.Event.Detail, "email", "email requested", 1)
	}
	if w.Outgoing, err = run.tell(ctx, before, after, outgoing); err != nil {
		return fail(err)
	}
	return run.commit(ctx, w, self)
}

// commit writes the change, and gives tokens to an actor whose own have ended with it.
func (run *changing) commit(ctx context.Context, w UserUpdate, self bool) (User, Tokens, error) {
	own, err := run.ownSession(ctx, run.actor, &w, self, run.proof.checked != "")
	if err != nil {
		return User{}, Tokens{}, err
	}
	user := w.Account.User
	if err := run.store.ChangeUser(ctx, w); err != nil {
		if run.actor.managing() == nil {
			err = run.makeWay(ctx, run.actor, run.actor.scope(), w.Account, err)
		}
		return User{}, Tokens{}, err
	}
	run.mail.verdict = failed // it counts, if there is one
	run.queued(ctx, w.Outgoing)
	run.changed(ctx, run.before, w.Account)
	if own.ID == "" {
		return user, Tokens{}, nil
	}
	tokens, err := run.issue(w.Account, own)
	if w.Session == nil && run.cfg.OpaqueLogins {
		return user, Tokens{}, err // its key goes on
	}
	if w.Session == nil { // the session goes on, and so does its refresh token, whatever its counter is by now
		tokens.Refresh, tokens.RefreshExpiresAt = "", time.Time{}
	}
	return user, tokens, err
}

// proveFirst leaves the own e-mail address as it is, and has the new one proven: see Contacts.ConfirmEmail.
func (run *changing) proveFirst(ctx context.Context, before Account, after *Account) (Outgoing, error) {
	q := asked{purpose: PurposeEmailChange, user: before.User, target: after.EmailKey, display: after.Email}
	after.Email, after.EmailKey, after.EmailVerified = before.Email, before.EmailKey, before.EmailVerified
	if run.mail.core == nil && run.bound == nil {
		var err error
		if run.mail, err = run.take(ctx, LimitEmail, run.actor, counted{account: "#" + before.ID, recipient: q.target}); err != nil {
			return Outgoing{}, err
		}
	}
	return run.poseEmail(ctx, run.actor, q)
}

// tell adds what the owner of a changed account has to hear of, wherever it was changed (OWASP ASVS 6.3.7).
func (run *changing) tell(ctx context.Context, before, after Account, out Outgoing) (Outgoing, error) {
	for notice, due := range map[Notice]bool{
		NoticePasswordChanged: run.ch.Password != nil,
		NoticeEmailChanged:    after.EmailKey != before.EmailKey,
		NoticePhoneChanged:    before.PhoneVerified && after.Phone != before.Phone,
	} {
		if due {
			m, err := run.notify(ctx, run.actor, before.User, before.EmailKey, notice)
			if err != nil {
				return out, err
			}
			out.Messages = append(out.Messages, m...)
		}
	}
	return out, nil
}

// ownSession is the session that new tokens are issued for, if the change ends the actor's own tokens but not their
// stay. Where all sessions end it is a new one in place of the actor's: whoever else held the old refresh token is out
// (OWASP ASVS 7.2.4). Inside a host's transaction nothing is issued: it may be rolled back.
//
// A change of one's own credentials stands on the session it is made in: when that has ended meanwhile, the change is
// refused, or a thief who is just being shut out could still set a password. The same goes for an API key, which gets no
// session. proved says that the password was given now.
func (c *core) ownSession(ctx context.Context, actor Actor, w *UserUpdate, self, proved bool) (Session, error) {
	if !self || len(w.Revoke) == 0 {
		return Session{}, nil
	}
	if actor.isKey() {
		return Session{}, c.standing(ctx, actor)
	}
	id := actor.identity
	sa, err := c.store.SessionByID(ctx, id.SessionID())
	switch {
	case errors.Is(err, ErrNotFound):
		return Session{}, ErrTokenRevoked
	case err != nil:
		return Session{}, err
	case w.EndSessions:
		w.Replaces = sa.Session.ID
	}
	switch {
	case !w.Account.Active || c.bound != nil:
		return Session{}, nil
	case !w.EndSessions:
		return sa.Session, nil
	}
	s := c.newSession(actor, w.Account.User, opening{methods: id.Methods()})
	if !proved {
		s.AuthTime = sa.Session.AuthTime
	}
	w.Session = &s
	if w.LogsIn = sa.Session.Step != ""; w.LogsIn {
		w.Account.LastLogin = s.CreatedAt
	}
	return s, nil
}

// apply gives the account as it will be.
func (run *changing) apply(ctx context.Context, a Account) (Account, error) {
	ch := run.ch
	a.UpdatedAt = run.nowMillis()
	if err := run.setIdentity(&a, ch); err != nil {
		return a, err
	}
	if ch.Roles != nil {
		roles, err := run.resolveRoles(ctx, *ch.Roles)
		if err != nil {
			return a, err
		}
		if err := run.mayRegrant(a.Roles, roles); err != nil {
			return a, err
		}
		a.Roles = roles
	}
	if ch.Active != nil {
		a.Active, a.Pending = *ch.Active, false // somebody decided
	}
	if ch.MustChangePassword != nil {
		if run.actor.is(a.ID) {
			return a, ErrForbidden // who lays it on themselves would lift it too
		}
		a.MustChange = *ch.MustChangePassword
	}
	if ch.CustomerID != nil {
		a.CustomerID = *ch.CustomerID
	}
	if ch.EmailVerified != nil {
		a.EmailVerified = *ch.EmailVerified && a.EmailKey != ""
	}
	if ch.PhoneVerified != nil {
		a.PhoneVerified = *ch.PhoneVerified && a.Phone != ""
	}
	return a, nil
}

// mayRegrant refuses to give or take a role above the actor, their own included.
func (run *changing) mayRegrant(before, after []Role) error {
	for _, role := range slices.Concat(before, after) {
		if slices.Contains(before, role) != slices.Contains(after, role) && !run.mayGrant(run.actor, role.Code) {
			return ErrForbidden
		}
	}
	return nil
}

// ownerProof is how somebody shows that an account is theirs.
type ownerProof struct {
	current Secret // the password; "" = a login within the last 5 minutes has to do
	checked string // the hash it was checked against
}

// prove makes sure that it is the owner who changes the own password or e-mail address.
func (c *core) prove(ctx context.Context, actor Actor, acc Account, p *ownerProof) error {
	if p.current == "" {
		if !actor.fresh(c.cfg.Now()) {
			return ErrNotFresh
		}
		return nil
	}
	if p.checked != "" && p.checked == acc.PasswordHash {
		return nil
	}
	attempt, err := c.takeOwn(ctx, LimitPassword, actor, acc)
	if err != nil {
		return err
	}
	defer attempt.end(ctx)
	ok, _, err := c.hashes.check(ctx, acc.PasswordHash, p.current)
	if err != nil {
		return err
	}
	if !ok {
		attempt.verdict = failed
		return c.refused(ctx, actor, acc, EventPasswordRefused, ErrWrongPassword)
	}
	attempt.verdict = succeeded
	p.checked = acc.PasswordHash
	return nil
}

// write decides what ends with the change ("What dies when") and what has to be counted.
func (run *changing) write(before, after Account) UserUpdate {
	credential := run.ch.Password != nil || after.EmailKey != before.EmailKey
	moved := after.CustomerID != before.CustomerID
	// A proven address ends what was opened before: it may have been somebody else who registered it.
	proven := !before.EmailVerified && after.EmailVerified
	shut := before.Active && !after.Active || moved || proven || !before.MustChange && after.MustChange
	roles := run.ch.Roles != nil && !slices.Equal(before.Roles, after.Roles)
	wasAdmin := before.Active && before.HasRole(RoleAdmin)
	isAdmin := after.Active && after.HasRole(RoleAdmin) && !moved
	w := UserUpdate{
		Scope: run.actor.scope(), Account: after, IfVersion: before.Version, SetRoles: roles, CustomerBefore: before.CustomerID,
		KeepAdmin:   wasAdmin && !isAdmin,
		TakesPlace:  after.Active && (!before.Active || moved),
		EndSessions: credential || shut, EndKeys: proven, EndCredentials: proven, EndMemberships: moved,
		Event: run.event(run.actor, run.kind(before, after), after.User, run.fields(roles)),
	}
	if credential || shut || roles {
		w.Account.Epoch = before.Epoch + 1
		w.Revoke = run.revokeUser(after.ID, w.Account.Epoch)
	}
	switch { // what was asked for under the account as it was
	case credential || moved || proven || run.ch.Active != nil && (before.Active != after.Active || !after.Active):
		w.Voids = allPurposes
	case before.Phone != after.Phone:
		w.Voids = []Purpose{PurposePhone}
	}
	return w
}

func (run *changing) kind(before, after Account) EventKind {
	switch {
	case before.Active && !after.Active:
		return EventUserDeactivated
	case run.ch.Password != nil:
		return EventPasswordChanged
	}
	return EventUserUpdated
}

// fields names what was changed, without the values.
func (run *changing) fields(roles bool) string {
	ch := run.ch
	var names []string
	for name, set := range map[string]bool{
		"email": ch.Email != nil, "username": ch.Username != nil, "phone": ch.Phone != nil, "name": ch.Name != nil,
		"first_name": ch.FirstName != nil, "last_name": ch.LastName != nil, "active": ch.Active != nil, "password": ch.Password != nil, "must_change_password": ch.MustChangePassword != nil,
		"roles": roles, "customer": ch.CustomerID != nil, "email_verified": ch.EmailVerified != nil, "phone_verified": ch.PhoneVerified != nil,
	} {
		if set {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}
