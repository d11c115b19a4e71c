package userapi

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"
)

// Auth answers who somebody is: it issues credentials, checks them and ends them.
type Auth struct{ *core }

// LoginRequest is what somebody logs in with.
type LoginRequest struct {
	Identifier string // with an @ an e-mail address, with a leading + a verified phone number, else a username
	Password   Secret
}

// Login checks a password and opens a session. Where Config.SecondFactor asks for more, or the password has to be changed,
// the Tokens say which Step is left, and are good for it alone.
//
// Unknown, inactive, without a password, wrong password: all are ErrBadCredentials after the work of one hash, so
// neither the answer nor its time tells which (OWASP ASVS 6.3.8). A login that failed counts against the account,
// existing or not, the actor's address and the process: ErrRateLimited (see Limit). A password that can be none (empty, above 1,024 bytes, not
// UTF-8, with a NUL) is ErrInvalid before anything is looked up. ErrUnavailable when the store or the hash workers
// cannot answer in time.
func (a *Auth) Login(ctx context.Context, actor Actor, r LoginRequest) (User, Tokens, error) {
	if err := actor.some(); err != nil {
		return User{}, Tokens{}, err
	}
	if a.bound != nil {
		return User{}, Tokens{}, ErrInTx
	}
	if err := wellFormedPassword(r.Password); err != nil {
		return User{}, Tokens{}, err
	}
	var attempt taken
	var checked string // the hash the password was checked against
	for try := range maxTries {
		found, subject, err := a.loginAccount(ctx, actor, r.Identifier)
		if err != nil {
			return User{}, Tokens{}, err
		}
		acc := found.Account
		if try == 0 {
			if attempt, err = a.takeLogin(ctx, actor, found, subject); err != nil {
				return User{}, Tokens{}, a.limited(ctx, actor, acc.User, LimitLogin, subject, err)
			}
			defer attempt.end(ctx)
		}
		if try == 0 || acc.PasswordHash != checked {
			ok, upgraded, err := a.hashes.check(ctx, acc.PasswordHash, r.Password)
			if err != nil {
				return User{}, Tokens{}, err
			}
			if !ok {
				attempt.verdict = failed
				return User{}, Tokens{}, a.refused(ctx, actor, acc, EventLoginFailed, ErrBadCredentials)
			}
			checked = acc.PasswordHash
			if acc.Active && upgraded != "" {
				a.upgrade(ctx, actor, acc, upgraded)
			}
		}
		if !acc.Active {
			attempt.verdict = failed
			return User{}, Tokens{}, a.refused(ctx, actor, acc, EventLoginFailed, ErrBadCredentials)
		}
		step, err := a.lacks(ctx, acc, true)
		if err != nil {
			return User{}, Tokens{}, err
		}
		tokens, err := a.openSession(ctx, actor, &acc, opening{methods: []string{"pwd"}, step: step, kind: EventLogin, attempt: &attempt})
		if errors.Is(err, ErrChanged) {
			continue // what the password was checked against is no longer true: look again
		}
		if err != nil {
			return User{}, Tokens{}, err
		}
		return acc.User, tokens, nil
	}
	return User{}, Tokens{}, ErrUnavailable
}

// loginAccount finds the account of an identifier and the one text its attempts are counted under: whatever the
// spelling, and whichever of the account's identifiers, so that an account has one budget and not three. (Whoever uses
// one up can see which other identifiers are used up with it; that is the price.) It also reads whether the account knows
// the actor's address. An unknown identifier gives a zero MarkedAccount.
func (c *core) loginAccount(ctx context.Context, actor Actor, identifier string) (MarkedAccount, string, error) {
	id, ok := parseIdentifier(identifier)
	if !ok {
		return MarkedAccount{}, "?" + foldForSearch(cutText(identifier, 320)), nil
	}
	block := actor.AddressBlock()
	acc, err := c.store.AccountForLogin(ctx, id, [2]string{c.mark(block, knownByLogin), c.mark(block, knownByReset)})
	if errors.Is(err, ErrNotFound) {
		return MarkedAccount{}, "?" + id.Value, nil
	}
	return acc, "#" + acc.ID, err
}

// limited records a refusal by a limit, once for each account or, where there is no such account, address, and window:
// an attacker must not be able to fill the audit trail with refusals of names made up.
func (c *core) limited(ctx context.Context, actor Actor, user User, limit, subject string, err error) error {
	kind, detail, lasts := EventLimitReached, limit, AsError(err).RetryAfter
	if limit == LimitLogin {
		kind, detail = EventLoginLimited, ""
	}
	switch {
	case errors.Is(err, errBusy):
		user, subject, lasts = User{}, "process", minute
	case user.ID == "":
		subject = "@" + actor.AddressBlock()
	}
	if errors.Is(err, ErrRateLimited) && c.gate.first(limit+subject, c.cfg.Now(), lasts) {
		if e := c.store.AddEvent(ctx, c.event(actor, kind, user, detail)); e != nil {
			c.log.WarnContext(ctx, "could not store an event", slog.String("error", e.Error()))
		}
	}
	return err
}

// refused records a wrong password. A hash nobody can read is told apart for the host, not for the caller.
func (c *core) refused(ctx context.Context, actor Actor, acc Account, kind EventKind, refusal error) error {
	if acc.PasswordHash != "" && !c.hashes.readable(acc.PasswordHash) {
		kind = EventPasswordUnusable
		c.log.ErrorContext(ctx, "the stored password hash of a user cannot be read", slog.String("user", acc.ID))
	}
	if err := c.store.AddEvent(ctx, c.event(actor, kind, acc.User, "")); err != nil {
		return err
	}
	return refusal
}

// upgrade stores a hash with the present parameters. Of parallel logins one wins, and none fails because of it.
func (c *core) upgrade(ctx context.Context, actor Actor, acc Account, hash string) {
	_, err := c.store.UpgradeHash(ctx, HashUpgrade{
		UserID: acc.ID, Old: acc.PasswordHash, New: hash, Event: c.event(actor, EventPasswordUpgraded, acc.User, ""),
	})
	if err != nil {
		c.log.WarnContext(ctx, "could not upgrade a password hash", slog.String("user", acc.ID), slog.String("error", err.Error()))
	}
}

// opening is how a session begins.
type opening struct {
	methods  []string
	step     LoginStep // what the login still lacks
	replaces string    // the session of the login that this one completes
	kind     EventKind
	attempt  *taken // what was counted for it: a right one, once the session is there; nil = nothing
}

// newSession is a session that begins now.
func (c *core) newSession(actor Actor, u User, o opening) Session {
	now, lives := c.nowMillis(), c.lifetimes(u).Session
	switch o.step {
	case StepNewPassword:
		lives = min(lives, newPasswordWithin)
	case StepSecondFactor:
		lives = min(lives, secondFactorWithin)
	}
	return Session{
		ID: newID(), UserID: u.ID, CreatedAt: now, LastSeenAt: now, AuthTime: now, RotatedAt: now,
		ExpiresAt: now.Add(lives), Methods: o.methods, Step: o.step, Address: actor.address, UserAgent: actor.userAgent, Counter: 1,
	}
}

// openSession inserts a session if the account is still what acc says, and issues its first tokens.
func (c *core) openSession(ctx context.Context, actor Actor, acc *Account, o opening) (Tokens, error) {
	s := c.newSession(actor, acc.User, o)
	w := SessionInsert{
		Session: s, IfEpoch: acc.Epoch, Replaces: o.replaces, Cap: c.cfg.SessionsPerUser, EndedFor: c.revocationLives(),
		Returns: c.settles(actor, s, o.attempt), Event: c.event(actor, o.kind, acc.User, ""),
	}
	if s.Step != "" {
		w.Cap, w.Event.Kind, w.Event.Detail = maxStarted, EventLoginStarted, string(s.Step)
	}
	w.Event.SessionID = s.ID
	_, err := c.store.InsertSession(ctx, w)
	if err != nil {
		return Tokens{}, err
	}
	if o.attempt != nil {
		o.attempt.verdict, o.attempt.settled = succeeded, true
	}
	if s.Step == "" {
		acc.LastLogin = s.CreatedAt
	}
	return c.issue(*acc, s)
}

// issue makes the tokens of a session. Epoch and roles are of one snapshot: that of acc.
func (c *core) issue(acc Account, s Session) (Tokens, error) {
	end := c.end(s, acc.User)
	if c.cfg.OpaqueLogins && s.Step == "" {
		return Tokens{Access: c.tokens.signOpaque(s.ID), ExpiresAt: end}, nil
	}
	claims := c.claims(acc, s)
	access, err := c.tokens.signAccess(claims)
	if err != nil {
		return Tokens{}, err
	}
	t := Tokens{Access: access, ExpiresAt: time.Unix(claims.ExpiresAt, 0).UTC(), Step: s.Step}
	if s.Step == "" {
		t.Refresh, t.RefreshExpiresAt = c.tokens.signRefresh(s.ID, s.Counter), end
	}
	return t, nil
}

// claims are what a session's credential says. One that is to last as long as its session is not bounded by the lifetime of access
// tokens.
func (c *core) claims(acc Account, s Session) *accessClaims {
	now, end := c.cfg.Now().UTC(), c.end(s, acc.User)
	claims := &accessClaims{
		Issuer: c.tokens.issuer, Audience: c.tokens.audience,
		Subject: acc.ID, Session: s.ID, Customer: acc.CustomerID, Roles: acc.roleCodes(), Epoch: acc.Epoch, Step: s.Step,
		Methods: s.Methods, AuthTime: s.AuthTime.Unix(), IssuedAt: now.Unix(), ExpiresAt: end.Unix(),
	}
	switch {
	case s.Step != "":
		claims.Roles = []string{}
	case !c.cfg.OpaqueLogins:
		claims.ExpiresAt = earlier(now.Add(c.lifetimes(acc.User).Access), end).Unix()
	}
	return claims
}

// end is the absolute end of a session.
func (c *core) end(s Session, u User) time.Time {
	return earlier(s.ExpiresAt, s.CreatedAt.Add(c.lifetimes(u).Session))
}

// past reports whether an end has come; the zero time is none.
func past(end, now time.Time) bool { return !end.IsZero() && !now.Before(end) }

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// IssueTokens opens a session for a user who proved who they are in a way the host knows (single sign-on, a second
// factor). methods say how (RFC 8176). The session is whole: neither Config.SecondFactor nor a password that has to be
// changed is asked about. Only System. ErrNotFound; ErrBadCredentials for an inactive user.
func (a *Auth) IssueTokens(ctx context.Context, actor Actor, userID string, methods ...string) (User, Tokens, error) {
	if err := actor.hosting(); err != nil {
		return User{}, Tokens{}, err
	}
	if a.bound != nil {
		return User{}, Tokens{}, ErrInTx
	}
	if len(methods) == 0 || len(methods) > 8 {
		return User{}, Tokens{}, ErrInvalid.Field("methods", "one to eight")
	}
	for _, m := range methods {
		if !ValidID(m) {
			return User{}, Tokens{}, ErrInvalid.Field("methods", "1 to 64 of A-Z a-z 0-9 . _ : -")
		}
	}
	for range maxTries {
		acc, err := a.account(ctx, actor, userID)
		if err != nil {
			return User{}, Tokens{}, err
		}
		if !acc.Active {
			return User{}, Tokens{}, ErrBadCredentials
		}
		tokens, err := a.openSession(ctx, actor, &acc, opening{methods: methods, kind: EventTokensIssued})
		if errors.Is(err, ErrChanged) {
			continue
		}
		if err != nil {
			return User{}, Tokens{}, err
		}
		return acc.User, tokens, nil
	}
	return User{}, Tokens{}, ErrUnavailable
}

// Authenticate checks an access token: form, signature, claims, expiry (refused from exp on, without leeway), and
// that its trust has not ended. It reads no database unless the revocations known here are older than
// Config.Staleness; only of a token issued before everything was revoked (or the database began), or within a minute
// after, it reads the session, once a minute.
//
// ErrInvalidToken, ErrTokenExpired, ErrTokenRevoked; ErrNewPasswordRequired and ErrSecondFactorRequired for the token of a login
// that lacks a step; ErrUnavailable when the revocations cannot be read: it fails closed.
func (a *Auth) Authenticate(ctx context.Context, access string) (*Identity, error) {
	return a.AuthenticateStep(ctx, access, "")
}

func (a *Auth) authenticate(ctx context.Context, access string) (*Identity, error) {
	if a.bound != nil {
		return nil, ErrInTx
	}
	if isOpaque(access) {
		return a.authenticateOpaque(ctx, access)
	}
	now := a.cfg.Now()
	id, err := a.tokens.verifyAccess(access, now)
	if err != nil {
		return nil, err
	}
	if now.Unix() >= id.c.ExpiresAt {
		return nil, ErrTokenExpired
	}
	if err := a.feed.fresh(ctx); err != nil {
		return nil, err
	}
	if a.feed.dead(&id.c) {
		return nil, ErrTokenRevoked
	}
	if a.feed.doubtful(&id.c) {
		if err := a.vouch(ctx, id); err != nil {
			return nil, err
		}
	}
	return id, nil
}

// vouch looks whether the session of a doubtful token is there. From then on its end comes by the feed.
func (a *Auth) vouch(ctx context.Context, id *Identity) error {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.FeedTimeout)
	defer cancel()
	seen := a.feed.allSeen.Load() // before the look-up: it does not speak for what is revoked after it
	_, err := a.store.SessionByID(ctx, id.SessionID())
	switch {
	case err == nil:
		a.feed.vouched.Store(id.SessionID(), seen)
		return nil
	case errors.Is(err, ErrNotFound):
		return ErrTokenRevoked // and is asked for again: this node of a cluster may only be behind
	}
	return ErrUnavailable.Wrap(err)
}

// refreshGrace is how long the last refresh token but one still gives the same successor: the client may have lost
// the answer (RFC 9700 4.14.2 leaves room for it).
const refreshGrace = 30 * time.Second

// Refresh exchanges a refresh token for new tokens. Roles and state are read anew. Of any number of calls with one
// token, parallel or within 30 seconds, all get the same successor; a token that is older ends the session, since
// somebody else may hold it.
//
// ErrInvalidToken, ErrTokenExpired (the session was idle too long or has reached its absolute end), ErrTokenRevoked;
// ErrRateLimited for an address with too many bad tokens; ErrUnavailable, after which the same token may be tried again.
func (a *Auth) Refresh(ctx context.Context, actor Actor, refresh Secret) (Tokens, error) {
	if err := actor.some(); err != nil {
		return Tokens{}, err
	}
	if a.bound != nil {
		return Tokens{}, ErrInTx
	}
	id, counter, ok := a.tokens.verifyRefresh(string(refresh))
	if !ok {
		return Tokens{}, a.refreshFailed(ctx, actor, ErrInvalidToken)
	}
	for range maxTries {
		tokens, err := a.refresh(ctx, actor, id, counter)
		if !errors.Is(err, ErrChanged) {
			return tokens, err
		}
	}
	return Tokens{}, ErrUnavailable
}

func (a *Auth) refresh(ctx context.Context, actor Actor, id string, counter int64) (Tokens, error) {
	sa, err := a.store.SessionByID(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return Tokens{}, a.refreshFailed(ctx, actor, ErrTokenRevoked)
	}
	if err != nil {
		return Tokens{}, err
	}
	s, acc, now := sa.Session, sa.Account, a.nowMillis()
	switch {
	case !acc.Active, s.Step != "":
		return Tokens{}, a.refreshFailed(ctx, actor, ErrTokenRevoked)
	case a.over(s, acc.User, now):
		return Tokens{}, a.refreshFailed(ctx, actor, ErrTokenExpired)
	case counter == s.Counter:
		err := a.store.RotateSession(ctx, SessionRotation{
			ID: s.ID, UserID: s.UserID, Counter: counter, IfEpoch: acc.Epoch, At: now, Address: actor.address, UserAgent: actor.userAgent,
		})
		if err != nil {
			return Tokens{}, err
		}
		s.Counter++
		return a.issue(acc, s)
	case counter == s.Counter-1 && now.Sub(s.RotatedAt) <= refreshGrace:
		return a.issue(acc, s)
	default:
		err := a.endSession(ctx, actor, acc.User, s.ID, EventRefreshReused)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return Tokens{}, err
		}
		a.log.WarnContext(ctx, "a used refresh token came back; its session was ended", slog.String("user", acc.ID), slog.String("session", s.ID))
		return Tokens{}, a.refreshFailed(ctx, actor, ErrTokenRevoked)
	}
}

// over reports whether a session has reached its absolute or idle end.
func (c *core) over(s Session, u User, now time.Time) bool {
	return !now.Before(c.end(s, u)) || now.Sub(s.LastSeenAt) >= c.lifetimes(u).Idle && !c.cfg.OpaqueLogins
}

func (a *Auth) refreshFailed(ctx context.Context, actor Actor, refusal error) error {
	return a.failed(ctx, LimitRefresh, actor, refusal)
}

// failed counts a credential that does not hold. What nobody gives back is full until its window ends, so this node remembers
// that: made up credentials cost the store no write each.
func (a *Auth) failed(ctx context.Context, limit string, actor Actor, refusal error) error {
	full, now := limit+" "+actor.AddressBlock(), a.cfg.Now()
	if wait := a.gate.left(full, now); wait > 0 {
		return ErrRateLimited.After(wait)
	}
	attempt, err := a.take(ctx, limit, actor, counted{})
	if errors.Is(err, ErrRateLimited) {
		a.gate.first(full, now, AsError(err).RetryAfter)
	}
	if err != nil {
		return a.limited(ctx, actor, User{}, limit, "", err)
	}
	attempt.verdict = failed
	attempt.end(ctx)
	return refusal
}

// Logout ends the sessions of the credentials, access tokens (expired ones too) and refresh tokens, as far as they are of
// one user: that of the first that is a token; another user's is left alone. Only the first 8 count. It is idempotent:
// what is no token or has ended already is no error. ErrUnavailable.
func (a *Auth) Logout(ctx context.Context, actor Actor, credentials ...Secret) error {
	if err := actor.some(); err != nil {
		return err
	}
	if a.bound != nil {
		return ErrInTx
	}
	owner, ended := "", map[string]bool{}
	for _, credential := range credentials[:min(len(credentials), maxLogouts)] {
		user, session, err := a.sessionOf(ctx, string(credential))
		if err != nil {
			return err
		}
		if user.ID == "" || owner != "" && owner != user.ID || ended[session] {
			continue
		}
		owner, ended[session] = user.ID, true
		if err := a.endSession(ctx, actor, user, session, EventLogout); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return nil
}

// maxLogouts bounds the work of one logout.
const maxLogouts = 8

// sessionOf is the session that a token is of, and its user; a zero User for what is no token of a session.
func (a *Auth) sessionOf(ctx context.Context, token string) (User, string, error) {
	if id, err := a.tokens.verifyAccess(token, a.cfg.Now()); err == nil {
		return id.Actor().user(), id.SessionID(), nil
	}
	session, _, ok := a.tokens.verifyRefresh(token)
	if !ok {
		session, ok = a.tokens.verifyOpaque(token)
	}
	if !ok {
		return User{}, "", nil
	}
	sa, err := a.store.SessionByID(ctx, session)
	if errors.Is(err, ErrNotFound) {
		return User{}, "", nil
	}
	return sa.Account.User, session, err
}

// endSession ends one session and its access tokens.
func (c *core) endSession(ctx context.Context, actor Actor, owner User, sessionID string, kind EventKind) error {
	revoke := c.revokeSession(sessionID)
	event := c.event(actor, kind, owner, "")
	event.SessionID = sessionID
	w := SessionEnd{Scope: Scope{All: true}, ID: sessionID, UserID: owner.ID, Revoke: revoke, Event: event}
	if actor.isUser() {
		w.Scope = actor.scope()
	}
	if kind != EventLogout {
		w.Voids = sessionPurposes
	}
	return c.store.EndSession(ctx, w)
}

// Activate activates the account of the token that its mailbox was sent, and marks the address as proven. It asks for the
// password that was registered, so that an owner's click does not arm what somebody else registered in their name; where
// none was, it sets the first. It logs nobody in.
//
// ErrInvalidLink for a token that is unknown, used, expired or void; ErrBadCredentials for a wrong password, which counts as
// one of the token's tries; ErrWeakPassword, ErrInvalid and ErrQuota leave the token as it is; ErrRateLimited.
func (a *Auth) Activate(ctx context.Context, actor Actor, token, password Secret) (User, error) {
	if err := actor.some(); err != nil {
		return User{}, err
	}
	if err := wellFormedPassword(password); err != nil {
		return User{}, err
	}
	t, err := a.tryToken(ctx, actor, token, PurposeActivation)
	if err != nil {
		return User{}, err
	}
	defer t.end(ctx)
	var checked, hash string // hash is that of password, to be stored: upgraded, or the first
	user, _, err := a.fulfil(ctx, actor, t, fulfilment{kind: EventUserActivated, refusal: ErrInvalidLink, decide: func(before Account, w *UserUpdate) error {
		if before.EmailKey != t.Target {
			return ErrInvalidCode
		}
		switch {
		case before.PasswordHash == "" && hash == "":
			if hash, err = a.hashNew(ctx, password, before); err != nil {
				return err
			}
		case before.PasswordHash != "" && before.PasswordHash != checked:
			ok, upgraded, err := a.hashes.check(ctx, before.PasswordHash, password)
			if err != nil {
				return err
			}
			if !ok {
				t.spent, t.attempt.verdict = true, failed
				return a.refused(ctx, actor, before, EventLoginFailed, ErrBadCredentials)
			}
			checked, hash = before.PasswordHash, cmp.Or(upgraded, before.PasswordHash)
		}
		w.Account.PasswordHash = hash
		w.Account.Active, w.Account.EmailVerified, w.Account.Pending = true, true, false
		w.TakesPlace, w.EndSessions, w.EndKeys, w.Voids = !before.Active, true, true, allPurposes
		w.EndCredentials = !before.EmailVerified
		return nil
	}})
	return user, err
}

// PublicKeys is the RFC 7517 set of the keys that access tokens are signed with, as JSON; empty with HS256.
func (a *Auth) PublicKeys() []byte { return a.cfg.Keys.JWKS() }
