package userapi

import (
	"context"
	"errors"
	"time"
)

// LoginStep is what a login still lacks after the password was right. The token of such a login is good for that step
// alone: everything else answers ErrNewPasswordRequired or ErrSecondFactorRequired. It has no refresh token.
type LoginStep string

const (
	StepNewPassword  LoginStep = "new_password"  // the password has to be changed: Passwords.Change, within 5 minutes
	StepSecondFactor LoginStep = "second_factor" // Auth.CompleteLogin, within 2 minutes
)

const (
	newPasswordWithin  = 5 * time.Minute
	secondFactorWithin = 2 * time.Minute
	// maxStarted bounds the logins of a user that lack a step: whoever knows a password alone pushes no whole session out.
	maxStarted = 5
)

// known reports whether a token may carry the step.
func (s LoginStep) known() bool { return s == "" || s == StepNewPassword || s == StepSecondFactor }

// missing is what every other call answers to a login that lacks the step.
func (s LoginStep) missing() error {
	if s == StepNewPassword {
		return ErrNewPasswordRequired
	}
	return ErrSecondFactorRequired
}

// SecondFactor says at every login by password, and by LoginExternal, whether the user has to show something more, such as
// a code. Then the login gives a token that is good for nothing but Auth.CompleteLogin. Package feature/totp is one.
type SecondFactor interface {
	Required(ctx context.Context, u User) (bool, error)
}

// lacks says which step is left when the password was right, or another provider vouched for the user.
func (c *core) lacks(ctx context.Context, acc Account, byPassword bool) (LoginStep, error) {
	if c.cfg.SecondFactor != nil {
		required, err := c.cfg.SecondFactor.Required(ctx, acc.User.clone())
		if err != nil {
			return "", err
		}
		if required {
			return StepSecondFactor, nil
		}
	}
	return mustChange(acc, byPassword), nil
}

func mustChange(acc Account, byPassword bool) LoginStep {
	if acc.MustChange && byPassword {
		return StepNewPassword
	}
	return ""
}

// AuthenticateStep is Authenticate for the one route that takes a step: it also lets a token through whose login lacks just
// that. Its Identity says so (Identity.Step), and its Actor may take that step and nothing else.
func (a *Auth) AuthenticateStep(ctx context.Context, access string, step LoginStep) (*Identity, error) {
	id, err := a.authenticate(ctx, access)
	if err != nil {
		return nil, err
	}
	if id.c.Step != "" && id.c.Step != step {
		return nil, id.c.Step.missing()
	}
	return id, nil
}

// FreshWithin reports whether the identity's user proved who they are within the last d; a refresh does not count.
func (a *Auth) FreshWithin(id *Identity, d time.Duration) bool {
	return id != nil && a.cfg.Now().Sub(id.AuthTime()) < d
}

// CompleteLogin opens the session of a login that lacked its second factor: actor is that of its token. verify looks at what
// the user showed, and uses it up; it is called once at most, after the attempt was counted (LimitSecondFactor). method goes into
// the claim amr (RFC 8176: "otp"). The token is good for one completion.
//
// ErrForbidden for an actor who lacks no second factor; ErrInvalidCode when verify says no; ErrTokenRevoked when the login has
// ended meanwhile; ErrRateLimited; and what verify returns.
func (a *Auth) CompleteLogin(ctx context.Context, actor Actor, method string, verify func(ctx context.Context, u User) (bool, error)) (User, Tokens, error) {
	fail := func(err error) (User, Tokens, error) { return User{}, Tokens{}, err }
	id := actor.identity
	switch {
	case actor.kind != stepping || id.Step() != StepSecondFactor:
		if err := actor.some(); err != nil {
			return fail(err)
		}
		return fail(ErrForbidden)
	case a.bound != nil:
		return fail(ErrInTx)
	case !ValidID(method):
		return fail(ErrInvalid.Field("method", "1 to 64 of A-Z a-z 0-9 . _ : -"))
	}
	sa, err := a.store.SessionByID(ctx, id.SessionID()) // a login that was completed already uses up no second code
	acc := sa.Account
	if errors.Is(err, ErrNotFound) || err == nil && (acc.ID != id.UserID() || !acc.Active || acc.Epoch != id.Epoch()) {
		return fail(ErrTokenRevoked)
	}
	if err != nil {
		return fail(err)
	}
	attempt, err := a.trySecondFactor(ctx, actor, acc, verify)
	if err != nil {
		return fail(err)
	}
	defer attempt.end(ctx)
	step := mustChange(acc, id.byPassword())
	tokens, err := a.openSession(ctx, actor, &acc, opening{
		methods: append(id.Methods(), method), step: step, replaces: id.SessionID(), kind: EventLogin, attempt: &attempt,
	})
	if errors.Is(err, ErrChanged) {
		err = ErrTokenRevoked
	}
	if err != nil {
		return fail(err)
	}
	return acc.User, tokens, nil
}

// TrySecondFactor counts an attempt to show a second factor in a session that is open already, such as the first code of a
// new device. See CompleteLogin for verify. ErrInvalidCode, ErrRateLimited, ErrForbidden for all but users, and for API keys; ErrTokenRevoked when the
// session has ended on whichever node. It may end while verify runs: what verify stores, it stores as System Within actor, or a thief who is
// just being shut out binds the account to a device of theirs.
func (a *Auth) TrySecondFactor(ctx context.Context, actor Actor, verify func(ctx context.Context, u User) (bool, error)) error {
	if err := actor.owning(); err != nil {
		return err
	}
	if actor.isKey() {
		return ErrForbidden
	}
	acc, err := a.account(ctx, actor, actor.UserID())
	if err != nil {
		return err
	}
	if err := a.standing(ctx, actor); err != nil {
		return err
	}
	attempt, err := a.trySecondFactor(ctx, actor, acc, verify)
	attempt.end(ctx)
	return err
}

// trySecondFactor counts an attempt and has it judged. The caller ends the one that was right.
func (a *Auth) trySecondFactor(ctx context.Context, actor Actor, acc Account, verify func(ctx context.Context, u User) (bool, error)) (attempt taken, err error) {
	if attempt, err = a.takeOwn(ctx, LimitSecondFactor, actor, acc); err != nil {
		return attempt, err
	}
	defer func() {
		if attempt.verdict != succeeded { // verify may panic
			attempt.end(ctx)
			attempt = taken{}
		}
	}()
	ok, err := verify(ctx, acc.User.clone())
	if err != nil {
		return attempt, err
	}
	if !ok {
		attempt.verdict = failed
		if err := a.store.AddEvent(ctx, a.event(actor, EventSecondFactorFailed, acc.User, "")); err != nil {
			return attempt, err
		}
		return attempt, ErrInvalidCode
	}
	attempt.verdict = succeeded
	return attempt, nil
}
