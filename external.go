package userapi

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
)

// ExternalIdentity is what another provider (OpenID Connect, LDAP) says of somebody. The host has verified it: signature,
// audience, nonce. It reaches this library through no route.
type ExternalIdentity struct {
	Provider string // the host's name of it: 1 to 32 of a-z 0-9 _ .
	Subject  string // the provider's own id of the user, which never goes to another: 1 to 255 bytes

	Email         string
	EmailVerified bool // the provider vouches for Email; without, nobody is let in

	Name      string // of an account that is made
	FirstName string
	LastName  string
}

// ExternalPolicy says what becomes of somebody whom another provider vouches for and nobody here knows.
type ExternalPolicy string

const (
	ExternalClosed ExternalPolicy = "closed" // refused; the default
	ExternalOpen   ExternalPolicy = "open"   // registered, and active once Users.Change says so or the mailed link came back
	ExternalAuto   ExternalPolicy = "auto"   // registered, active and logged in at once
)

// externalKind is the kind of the credentials that link accounts to providers.
const externalKind = "external"

// LoginExternal opens a session for whom another provider vouches. The account is the one that is linked to Provider and Subject;
// else the one whose proven e-mail address this is, which is linked by it; else Config.External decides, with customer
// and roles of Config.Registration. An address that nobody has proven here finds no account: whoever registered it first may be somebody
// else (they can prove it by a reset). Nor does one that is linked to another Subject of the Provider: the mailbox has changed hands.
//
// The tokens may lack a second factor, as with Login; the claim amr is "ext". Under ExternalOpen User and Tokens are zero for somebody
// new, and a link for Auth.Activate is mailed.
//
// ErrExternalRefused, also for an inactive account; ErrInvalid; ErrNoSender; ErrQuota.
func (a *Auth) LoginExternal(ctx context.Context, actor Actor, e ExternalIdentity) (User, Tokens, error) {
	fail := func(err error) (User, Tokens, error) { return User{}, Tokens{}, err }
	if err := actor.some(); err != nil {
		return fail(err)
	}
	if a.bound != nil {
		return fail(ErrInTx)
	}
	if !validKind(e.Provider) || e.Subject == "" || len(e.Subject) > 255 {
		return fail(ErrInvalid.Field("subject", "needs a provider (1 to 32 of a-z 0-9 _ .) and 1 to 255 bytes"))
	}
	_, key, err := NormalizeEmail(e.Email)
	if err != nil || !e.EmailVerified {
		return fail(ErrExternalRefused)
	}
	for range maxTries {
		acc, err := a.externalAccount(ctx, actor, e, key)
		if err == nil && acc.ID == "" {
			return User{}, Tokens{}, nil // registered, to be activated
		}
		if err == nil && !acc.Active {
			err = a.refusedExternal(ctx, actor, acc.User)
		}
		var tokens Tokens
		if err == nil {
			var step LoginStep
			if step, err = a.lacks(ctx, acc, false); err == nil {
				tokens, err = a.openSession(ctx, actor, &acc, opening{methods: []string{"ext"}, step: step, kind: EventLogin})
			}
		}
		if errors.Is(err, ErrChanged) {
			continue
		}
		if err != nil {
			return fail(err)
		}
		return acc.User, tokens, nil
	}
	return fail(ErrUnavailable)
}

func (a *Auth) refusedExternal(ctx context.Context, actor Actor, u User) error {
	if err := a.store.AddEvent(ctx, a.event(actor, EventLoginFailed, u, "external")); err != nil {
		return err
	}
	return ErrExternalRefused
}

// externalAccount finds, links or makes the account. ErrChanged where somebody else was faster.
func (a *Auth) externalAccount(ctx context.Context, actor Actor, e ExternalIdentity, emailKey string) (Account, error) {
	all := Scope{All: true}
	link, err := a.store.Credential(ctx, externalKind, e.key())
	if err == nil {
		acc, err := a.store.AccountByID(ctx, all, link.UserID)
		if errors.Is(err, ErrNotFound) {
			err = ErrChanged // the link went with the account
		}
		return acc, err
	}
	if !errors.Is(err, ErrNotFound) {
		return Account{}, err
	}
	acc, err := a.store.AccountByIdentifier(ctx, all, Identifier{EmailIdentifier, emailKey})
	switch {
	case errors.Is(err, ErrNotFound), err == nil && acc.Pending:
		return a.registerExternal(ctx, actor, e)
	case err != nil:
		return Account{}, err
	case !acc.EmailVerified || !acc.Active:
		return Account{}, a.refusedExternal(ctx, actor, acc.User)
	}
	return acc, a.link(ctx, actor, acc, e)
}

// link ties the account to the provider's user, unless another of that provider's is tied to it already. ErrChanged when the
// account is no longer what acc says: it is linked by its address, and to one alone.
func (a *Auth) link(ctx context.Context, actor Actor, acc Account, e ExternalIdentity) error {
	links, err := a.store.CredentialsOf(ctx, acc.ID, externalKind)
	if err != nil {
		return err
	}
	for _, other := range links {
		if other.Key == e.key() {
			return ErrChanged // by a login at the same time
		}
		if strings.HasPrefix(other.Key, e.Provider+":") {
			return a.refusedExternal(ctx, actor, acc.User)
		}
	}
	cred := Credential{UserID: acc.ID, Kind: externalKind, Key: e.key()}
	if cred.Data, err = a.tokens.sealData(a.tokens.credential, []byte(e.Subject), credentialBound(cred)); err != nil {
		return err
	}
	err = a.store.PutCredential(ctx, CredentialWrite{Credential: cred, IfVersion: acc.Version, Event: a.event(actor, EventCredentialChanged, acc.User, externalKind+" "+e.Provider)})
	if errors.Is(err, ErrNotFound) {
		err = ErrChanged
	}
	return err
}

// registerExternal makes an account for somebody new.
func (a *Auth) registerExternal(ctx context.Context, actor Actor, e ExternalIdentity) (Account, error) {
	users := Users{a.core}
	n := NewUser{
		Email: e.Email, Name: e.Name, FirstName: e.FirstName, LastName: e.LastName, CustomerID: a.cfg.Registration.Customer,
		Active: a.cfg.External == ExternalAuto, EmailVerified: a.cfg.External == ExternalAuto,
	}
	for _, code := range a.cfg.Registration.Roles {
		n.Roles = append(n.Roles, RoleRef{Code: code})
	}
	switch a.cfg.External {
	case ExternalAuto:
		u, err := users.Create(ctx, System().From(actor.address, actor.userAgent), n)
		if errors.Is(err, ErrEmailTaken) {
			return Account{}, ErrChanged
		}
		if err != nil {
			return Account{}, ofTheHost(err)
		}
		acc, err := a.store.AccountByID(ctx, Scope{All: true}, u.ID)
		if err == nil {
			err = a.link(ctx, actor, acc, e)
		}
		return acc, err
	case ExternalOpen:
		if a.cfg.Verification.Mail == nil {
			return Account{}, ErrNoSender
		}
		return Account{}, users.registerByMail(ctx, actor, n)
	}
	return Account{}, a.refusedExternal(ctx, actor, User{})
}

// key is bounded, and holds no personal data.
func (e ExternalIdentity) key() string {
	sum := sha256.Sum256([]byte(e.Subject))
	return e.Provider + ":" + base64.RawURLEncoding.EncodeToString(sum[:])
}
