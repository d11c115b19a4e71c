package userapi

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// Change changes an account. What it ends: a change of the roles ends the user's access tokens; a change of e-mail or
// password, an e-mail address marked as proven, deactivation and a move to another customer end all sessions. Where it
// is the actor's own account and the actor stays, the returned Tokens take the place of theirs: of a new session where all
// have ended, else an access token alone. Otherwise they are zero.
//
// Oneself may change e-mail, username, phone, names and password; a service the same of users it ranks above, and the
// names of all who hold neither admin nor service; admins and System also Active and Roles; System also CustomerID and
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
		if err := wellFormedPassword(*ch.Password); err != nil {
			return User{}, Tokens{}, err
		}
	}
	if len(ch.CurrentPassword) > maxPassword {
		return User{}, Tokens{}, ErrInvalid.Field("current_password", "at most 1,024 bytes")
	}
	run := changing{core: c, actor: actor, ch: ch}
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
	if !actor.isSystem() && !actor.isAdmin() && (ch.Active != nil || ch.Roles != nil) {
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

	proved  string // the hash the current password was checked against; "" = a fresh login was proof enough
	newHash string
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
	self := run.actor.is(id)
	credential := run.ch.Password != nil || after.EmailKey != before.EmailKey
	if self && credential {
		if err := run.prove(ctx, before); err != nil {
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

	w := run.write(before, after, credential)
	own, err := run.ownSession(ctx, &w, self)
	if err != nil {
		return fail(err)
	}
	if err := run.wrote(run.store.ChangeUser(ctx, w), w.Revoke...); err != nil {
		return fail(err)
	}
	run.userUpdated(ctx, after.User)
	if own.ID == "" {
		return after.User, Tokens{}, nil
	}
	tokens, err := run.issue(w.Account, own)
	if w.Session == nil { // the session goes on, and so does its refresh token, whatever its counter is by now
		tokens.Refresh, tokens.RefreshExpiresAt = "", time.Time{}
	}
	return after.User, tokens, err
}

// ownSession is the session that new tokens are issued for, if the change ends the actor's own tokens but not their
// stay. Where all sessions end it is a new one in place of the actor's: whoever else held the old refresh token is out
// (OWASP ASVS 7.2.4). Inside a host's transaction nothing is issued: it may be rolled back.
//
// A change of one's own credentials stands on the session it is made in: when that has ended meanwhile, the change is
// refused, or a thief who is just being shut out could still set a password.
func (run *changing) ownSession(ctx context.Context, w *UserUpdate, self bool) (Session, error) {
	if !self || len(w.Revoke) == 0 {
		return Session{}, nil
	}
	id := run.actor.identity
	sa, err := run.store.SessionByID(ctx, id.SessionID())
	switch {
	case errors.Is(err, ErrNotFound):
		return Session{}, ErrTokenRevoked
	case err != nil:
		return Session{}, err
	case w.EndSessions:
		w.Replaces = sa.Session.ID
	}
	switch {
	case !w.Account.Active || run.bound != nil:
		return Session{}, nil
	case !w.EndSessions:
		return sa.Session, nil
	}
	s := run.newSession(run.actor, w.Account.ID, id.Methods())
	if run.proved == "" {
		s.AuthTime = sa.Session.AuthTime
	}
	w.Session = &s
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
		a.Active = *ch.Active
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

// prove makes sure that it is the owner who changes the own password or e-mail address.
func (run *changing) prove(ctx context.Context, acc Account) error {
	current := run.ch.CurrentPassword
	if current == "" {
		if !run.actor.fresh(run.cfg.Now()) {
			return ErrNotFresh
		}
		return nil
	}
	if run.proved != "" && run.proved == acc.PasswordHash {
		return nil
	}
	attempt, err := run.take(ctx, LimitPassword, run.actor, "#"+acc.ID)
	if err != nil {
		return err
	}
	defer attempt.end(ctx)
	ok, _, err := run.hashes.check(ctx, acc.PasswordHash, current)
	if err != nil {
		return err
	}
	if !ok {
		attempt.verdict = failed
		return run.refused(ctx, run.actor, acc, EventPasswordRefused, ErrWrongPassword)
	}
	attempt.verdict = succeeded
	run.proved = acc.PasswordHash
	return nil
}

// write decides what ends with the change ("What dies when") and what has to be counted.
func (run *changing) write(before, after Account, credential bool) UserUpdate {
	moved := after.CustomerID != before.CustomerID
	// A proven address ends what was opened before: it may have been somebody else who registered it.
	proven := !before.EmailVerified && after.EmailVerified
	shut := before.Active && !after.Active || moved || proven
	roles := run.ch.Roles != nil && !slices.Equal(before.Roles, after.Roles)
	wasAdmin := before.Active && before.HasRole(RoleAdmin)
	isAdmin := after.Active && after.HasRole(RoleAdmin) && !moved
	w := UserUpdate{
		Scope: run.actor.scope(), Account: after, IfVersion: before.Version, SetRoles: roles, CustomerBefore: before.CustomerID,
		KeepAdmin:   wasAdmin && !isAdmin,
		TakesPlace:  after.Active && (!before.Active || moved),
		EndSessions: credential || shut,
		Event:       run.event(run.actor, run.kind(before, after), after.User, run.fields(roles)),
	}
	if credential || shut || roles {
		w.Account.Epoch = before.Epoch + 1
		w.Revoke = run.revokeUser(after.ID, w.Account.Epoch)
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
		"first_name": ch.FirstName != nil, "last_name": ch.LastName != nil, "active": ch.Active != nil, "password": ch.Password != nil,
		"roles": roles, "customer": ch.CustomerID != nil, "email_verified": ch.EmailVerified != nil, "phone_verified": ch.PhoneVerified != nil,
	} {
		if set {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}
