package userapi

import (
	"context"
	"errors"
)

// UserData is what is kept about a user: for whoever asks for a copy of their own (GDPR, articles 15 and 20). It holds no
// secret.
type UserData struct {
	User        User
	Sessions    []Session
	Keys        []APIKey
	Memberships []Membership
	Grants      []Grant      // that hold now
	Credentials []Credential // of features, without their Data
}

// Data reads what is kept about a user. Oneself, admins, System. ErrForbidden, ErrNotFound.
func (u *Users) Data(ctx context.Context, actor Actor, id string) (UserData, error) {
	acc, err := u.owner(ctx, actor, id)
	if err != nil {
		return UserData{}, err
	}
	d, scope := UserData{User: acc.User}, actor.scope()
	if d.Sessions, err = u.store.ListSessions(ctx, scope, acc.ID); err != nil {
		return UserData{}, err
	}
	if d.Keys, err = u.store.ListKeys(ctx, scope, acc.ID); err != nil {
		return UserData{}, err
	}
	if d.Grants, err = u.grants(ctx, acc.ID); err != nil {
		return UserData{}, err
	}
	if d.Credentials, err = u.store.CredentialsOf(ctx, acc.ID, ""); err != nil {
		return UserData{}, err
	}
	for i := range d.Credentials {
		d.Credentials[i].Data = nil
	}
	if d.Memberships, err = u.memberships(ctx, MembershipFilter{Scope: scope, UserID: acc.ID}); err != nil {
		return UserData{}, err
	}
	return d, nil
}

// DeleteSelf erases the actor's own account, as Delete does, for good. current is their password; without it they must have
// logged in within the last 5 minutes. An API key cannot.
//
// ErrForbidden for an actor who is no user, or a key; ErrNotFresh, ErrWrongPassword, ErrRateLimited; ErrTokenRevoked when the session
// has ended; ErrLastAdmin.
func (u *Users) DeleteSelf(ctx context.Context, actor Actor, current Secret) error {
	if err := actor.owning(); err != nil {
		return err
	}
	if actor.isKey() {
		return ErrForbidden
	}
	if len(current) > maxPassword {
		return ErrInvalid.Field("current_password", "at most 1,024 bytes")
	}
	proof := ownerProof{current: current}
	for range maxTries {
		acc, err := u.account(ctx, actor, actor.UserID())
		if errors.Is(err, ErrNotFound) {
			err = ErrTokenRevoked
		}
		if err == nil {
			err = u.prove(ctx, actor, acc, &proof)
		}
		if err == nil { // a thief who is being shut out does not take the account along
			err = u.standing(ctx, actor)
		}
		if err != nil {
			return err
		}
		if err := u.erase(ctx, actor, acc); !u.again(err) {
			return err
		}
	}
	return ErrUnavailable
}

// erase erases an account as it was read. ErrChanged when it is another by now.
func (u *Users) erase(ctx context.Context, actor Actor, a Account) error {
	event := u.event(actor, EventUserDeleted, a.User, "")
	if actor.is(a.ID) { // from where they did it goes with them
		event.Address, event.UserAgent = "", ""
	}
	err := u.store.DeleteUser(ctx, UserDelete{
		Scope: actor.scope(), ID: a.ID, Customer: a.CustomerID, IfVersion: a.Version,
		KeepAdmin: a.Active && a.HasRole(RoleAdmin), Revoke: u.revokeUser(a.ID, a.Epoch+1), Event: event,
	})
	if err != nil {
		return err
	}
	if !a.Pending {
		u.userDeleted(ctx, a.User)
	}
	return nil
}
