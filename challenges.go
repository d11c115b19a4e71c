package userapi

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Purpose is what a challenge or a message is for. A code or token is good for its one purpose.
type Purpose string

const (
	PurposeReset       Purpose = "reset"        // set a new password
	PurposeActivation  Purpose = "activation"   // activate an account
	PurposeEmail       Purpose = "email"        // prove the account's e-mail address
	PurposeEmailChange Purpose = "email_change" // prove the address it shall have
	PurposePhone       Purpose = "phone"        // prove a phone number
	PurposeNotice      Purpose = "notice"       // of messages alone: nothing is asked, something is told
)

// allPurposes are those of challenges; what only who is logged in can ask for are sessionPurposes: when somebody is shut out,
// it may be they who asked.
var (
	allPurposes     = []Purpose{PurposeReset, PurposeActivation, PurposeEmail, PurposeEmailChange, PurposePhone}
	sessionPurposes = []Purpose{PurposeEmail, PurposeEmailChange, PurposePhone}
)

// Generator makes the secrets of challenges. The default makes codes of Verification.CodeDigits decimal digits, uniform
// and with their leading zeros, and tokens of 256 bits in base64url, all from crypto/rand.
type Generator interface {
	// Code makes what a person reads off a phone and types in: at least 4 characters that survive being typed, since
	// spaces, dashes and case are taken out of what comes back.
	Code(purpose Purpose) (Secret, error)
	// Token makes the secret part of a link: at least 128 random bits in A-Z a-z 0-9 - _.
	Token(purpose Purpose) (Secret, error)
}

// Verification says how codes and links are made, and how they reach their recipients (the package verification has
// Senders). Without Mail and SMS nothing can be proven or recovered: the methods that would send answer ErrNoSender. With
// them messages wait in the outbox until API.Run, or API.Deliver, sends them.
type Verification struct {
	Mail Sender
	SMS  Sender

	// The links of mails, with {token} once, after the host: "https://app.example.com/reset#token={token}". Behind a # it
	// reaches no server's log. Default "": the mail holds the token itself.
	ResetLink      string
	ActivationLink string
	EmailLink      string // also of a change of the e-mail address
	// LinkOrigins are the origins ("https://app.example.com") that a caller's own link template may have. Whoever asks
	// chooses path and query then: an origin with a page that redirects anywhere gives tokens away. Default: none.
	LinkOrigins []string

	CodeLifetime time.Duration // default 10 minutes, the most OWASP ASVS 6.5.5 has
	LinkLifetime time.Duration // default 1 hour, at most 24
	MaxTries     int           // of one code or token; default 5, at most 10
	CodeDigits   int           // default 6, 6 to 12
	Generator    Generator     // default as described there

	// DenyResetRoles are the codes of roles whose holders cannot reset their password by mail. Default: none.
	DenyResetRoles []string
	// AnonymousPhone lets callers without credential have a number proven. It marks no account: see Hooks.PhoneProved.
	AnonymousPhone bool
	// Locale says which language to write to a user in: "de", "de-AT". ctx is that of the call, for instance of the request,
	// where middleware of the host may have put what the browser asks for. u is zero for somebody without account: it is
	// asked all the same. Default: "".
	Locale func(ctx context.Context, u User) string

	// ExemptPhones get no SMS; their code is fixed: number (E.164) → code. For the tests of clients; New refuses them
	// unless Development.
	ExemptPhones map[string]Secret
	Development  bool // allows ExemptPhones, and nothing else
}

// The one engine of codes and links. A secret is made, stored as a keyed hash that is bound to challenge, purpose,
// account and address, and sent; when it comes back, the try is counted before anything is compared, and the
// challenge ends in the same write as that which it was for.

func (v *Verification) complete(require func(ok bool, text string)) {
	if v.CodeLifetime == 0 {
		v.CodeLifetime = 10 * time.Minute
	}
	if v.LinkLifetime == 0 {
		v.LinkLifetime = time.Hour
	}
	if v.MaxTries == 0 {
		v.MaxTries = 5
	}
	if v.CodeDigits == 0 {
		v.CodeDigits = 6
	}
	if v.Generator == nil {
		v.Generator = randomSecrets{v.CodeDigits}
	}
	require(v.CodeLifetime >= time.Second && v.CodeLifetime <= 10*time.Minute, "Verification.CodeLifetime has to be between 1 s and 10 minutes")
	require(v.LinkLifetime >= time.Second && v.LinkLifetime <= 24*time.Hour, "Verification.LinkLifetime has to be between 1 s and 24 h")
	require(v.MaxTries >= 1 && v.MaxTries <= 10, "Verification.MaxTries has to be between 1 and 10")
	require(v.CodeDigits >= 6 && v.CodeDigits <= 12, "Verification.CodeDigits has to be between 6 and 12")
	for name, template := range map[string]string{"ResetLink": v.ResetLink, "ActivationLink": v.ActivationLink, "EmailLink": v.EmailLink} {
		if template != "" {
			_, err := linkOrigin(template)
			require(err == nil, fmt.Sprintf("Verification.%s: %v", name, err))
		}
	}
	for _, origin := range v.LinkOrigins {
		got, err := linkOrigin(origin + "/{token}")
		require(err == nil && got == origin, "Verification.LinkOrigins holds what is no origin such as https://app.example.com, in lower case")
	}
	require(len(v.ExemptPhones) == 0 || v.Development, "Verification.ExemptPhones are for Development only")
	for phone, code := range v.ExemptPhones {
		e164, err := NormalizePhone(phone, "")
		require(err == nil && e164 == phone && len(plainCode(code)) >= minCode, "Verification.ExemptPhones holds a number that is not E.164, or a code of less than 4 characters")
	}
}

// randomSecrets is the default Generator.
type randomSecrets struct{ digits int }

// Code implements Generator.
func (g randomSecrets) Code(Purpose) (Secret, error) {
	code := make([]byte, 0, g.digits)
	for random := make([]byte, 1); len(code) < g.digits; {
		_, _ = rand.Read(random) // never fails
		if random[0] < 250 {     // 250 is the most that ten divides: beyond it some digits would come more often
			code = append(code, '0'+random[0]%10)
		}
	}
	return Secret(code), nil
}

// Token implements Generator.
func (randomSecrets) Token(Purpose) (Secret, error) {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails
	return Secret(base64.RawURLEncoding.EncodeToString(random)), nil
}

const (
	minCode  = 4
	minToken = 22  // 128 bits in base64url
	maxToken = 256 // of what comes back, in bytes
)

// plainCode takes out of a code what people and keyboards put in: spaces, dashes, full-width forms, case. Digits of other
// scripts stay what they are, and so are wrong.
func plainCode(code Secret) string {
	if len(code) > maxToken {
		return ""
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.In(r, unicode.Pd, unicode.Cf) {
			return -1
		}
		return unicode.ToUpper(r)
	}, norm.NFKC.String(string(code)))
}

// asked is what a challenge is to be made of.
type asked struct {
	purpose  Purpose
	user     User   // zero = of no account
	subject  string // "" = user.ID
	target   string
	display  string
	template string // a caller's own link template
	resend   bool
}

// pose makes a challenge and the message with its secret.
func (c *core) pose(ctx context.Context, actor Actor, q asked) (Outgoing, error) {
	v, code := &c.cfg.Verification, q.purpose == PurposePhone
	ch := Challenge{
		ID: newID(), Purpose: q.purpose, Subject: cmp.Or(q.subject, q.user.ID), UserID: q.user.ID, Target: q.target, Display: q.display,
		MaxTries: v.MaxTries, ExpiresAt: c.nowMillis().Add(v.LinkLifetime),
	}
	m := Message{Channel: ChannelEmail, To: q.target, Purpose: q.purpose, Resend: q.resend}
	if code {
		ch.ExpiresAt = c.nowMillis().Add(v.CodeLifetime)
		m.Channel = ChannelSMS
	}
	m.ExpiresAt = ch.ExpiresAt
	exempt, isExempt := v.ExemptPhones[q.target]
	secret, err := exempt, error(nil)
	switch {
	case code && isExempt:
	case code:
		secret, err = v.Generator.Code(q.purpose)
	default:
		secret, err = v.Generator.Token(q.purpose)
	}
	if err != nil {
		return Outgoing{}, fmt.Errorf("userapi: the Generator failed: %w", err)
	}
	if code && len(plainCode(secret)) < minCode || !code && !linkSecret(secret) {
		return Outgoing{}, errors.New("userapi: the Generator made a secret that is too short, too long or hard to type")
	}
	ch.MAC = c.tokens.challengeMAC(c.tokens.challenge[c.tokens.newest], ch, secret)
	out := Outgoing{Challenge: &ch}
	switch {
	case code && isExempt:
		return out, nil
	case code:
		m.Code = secret
	default:
		m.Token = Secret(ch.ID + "." + string(secret))
		m.Link = buildLink(cmp.Or(q.template, v.linkTemplate(q.purpose)), m.Token)
	}
	sealed, err := c.compose(ctx, actor, q.user, m, ch.ID)
	out.Messages = []SealedMessage{sealed}
	return out, err
}

// linkSecret reports whether a Generator's token is one.
func linkSecret(s Secret) bool {
	return len(s) >= minToken && len(s) <= 128 && !strings.ContainsFunc(string(s), func(r rune) bool {
		return r >= 0x80 || r != '-' && r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
}

// put stores what was posed, and wakes whoever sends it.
func (c *core) put(ctx context.Context, w ChallengeInsert) error {
	err := c.store.InsertChallenge(ctx, w)
	if err == nil {
		c.queued(ctx, w.Outgoing)
	}
	return err
}

func (v *Verification) linkTemplate(p Purpose) string {
	switch p {
	case PurposeReset:
		return v.ResetLink
	case PurposeActivation:
		return v.ActivationLink
	}
	return v.EmailLink
}

// decoy is what is written for somebody who does not exist: as much, and as long, as for somebody who does. Nobody ever
// learns its token, and its message is thrown away.
func (c *core) decoy(ctx context.Context, actor Actor, purpose Purpose, name string) (Outgoing, error) {
	mac := hmac.New(sha256.New, c.tokens.limitKey)
	mac.Write([]byte(name))
	subject := "?" + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:18])
	return c.pose(ctx, actor, asked{purpose: purpose, subject: subject})
}

// challengeMAC binds a secret to all that its challenge is about: what one was made for proves nothing else.
func (k *tokenKeys) challengeMAC(key []byte, ch Challenge, secret Secret) string {
	text := string(secret)
	if ch.Purpose == PurposePhone {
		text = plainCode(secret)
	}
	mac := hmac.New(sha256.New, key)
	for _, part := range []string{k.issuer, ch.ID, string(ch.Purpose), ch.Subject, ch.UserID, ch.Target, ch.Display, text} {
		fmt.Fprintf(mac, "%d:%s", len(part), part)
	}
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// answers reports whether the secret is the challenge's, made with the newest or an old secret of the API.
func (k *tokenKeys) answers(ch Challenge, secret Secret) bool {
	right := false
	for _, key := range k.challenge {
		right = hmac.Equal([]byte(k.challengeMAC(key, ch, secret)), []byte(ch.MAC)) || right
	}
	return right
}

// tried is a challenge whose secret came back right, and what its try took.
type tried struct {
	Challenge
	core    *core
	attempt taken
	spent   bool // the try counts: the challenge is over, or a further secret was wrong
}

// tryToken finds the challenge of a link token. The caller ends what it got.
func (c *core) tryToken(ctx context.Context, actor Actor, token Secret, purposes ...Purpose) (*tried, error) {
	id, secret, ok := strings.Cut(string(token), ".")
	if len(token) > maxToken || !ok || !ValidID(id) {
		id, secret = "", ""
	}
	return c.try(ctx, actor, ChallengeTry{ID: id}, counted{}, Secret(secret), ErrInvalidLink, func(ch Challenge) bool {
		return slices.Contains(purposes, ch.Purpose)
	})
}

// tryCode finds the challenge of a code that was sent to a number.
func (c *core) tryCode(ctx context.Context, actor Actor, subject, number string, code Secret) (*tried, error) {
	who := counted{account: subject} // across all codes of the account: a new one brings no new budget
	w := ChallengeTry{Purpose: PurposePhone, Subject: subject}
	return c.try(ctx, actor, w, who, code, ErrInvalidCode, func(ch Challenge) bool { return ch.Target == number })
}

func (c *core) try(ctx context.Context, actor Actor, w ChallengeTry, who counted, secret Secret, refusal error, fits func(Challenge) bool) (*tried, error) {
	attempt, err := c.take(ctx, LimitConfirm, actor, who)
	if err != nil {
		return nil, c.limited(ctx, actor, actor.user(), LimitConfirm, "#"+actor.UserID(), err)
	}
	w.Now = c.nowMillis()
	ch := Challenge{}
	if w.ID != "" || w.Subject != "" {
		ch, err = c.store.TryChallenge(ctx, w)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		attempt.end(ctx)
		return nil, err
	}
	if ch.ID == "" || !fits(ch) || !c.tokens.answers(ch, secret) {
		attempt.verdict = failed
		if ch.ID == "" { // where there is no code, none can be guessed: a stranger must not use the budget up
			attempt.verdict = groundless
		}
		attempt.end(ctx)
		if ch.ID == "" {
			return nil, refusal
		}
		return nil, c.wrongSecret(ctx, actor, ch, refusal)
	}
	return &tried{Challenge: ch, core: c, attempt: attempt}, nil
}

// wrongSecret records a wrong code or token.
func (c *core) wrongSecret(ctx context.Context, actor Actor, ch Challenge, refusal error) error {
	if err := c.store.AddEvent(ctx, c.event(actor, EventCodeRefused, c.about(ctx, ch.UserID), string(ch.Purpose))); err != nil {
		return err
	}
	return refusal
}

// end gives the try back unless it was spent: a weak password, or a database that was away, must not use a link up.
func (t *tried) end(ctx context.Context) {
	if !t.spent {
		t.core.giveBack(ctx, func(ctx context.Context) error { return t.core.store.ReturnTry(ctx, t.ID) })
	}
	t.attempt.end(ctx)
}

// fulfilment is the change of an account that an answered challenge is for.
type fulfilment struct {
	kind    EventKind
	refusal error // the challenge is void after all
	// decide changes w.Account and says what else happens; before is the account as it is.
	decide func(before Account, w *UserUpdate) error
	// asSelf lets the session of the actor go on, where the actor is the account's owner.
	asSelf bool
}

// fulfil changes the account of an answered challenge, which ends in the same write. Nobody's rank counts here: the
// secret is the authority.
func (c *core) fulfil(ctx context.Context, actor Actor, t *tried, f fulfilment) (User, Tokens, error) {
	for range maxTries {
		user, tokens, err := c.fulfilOnce(ctx, actor, t, f)
		switch {
		case errors.Is(err, ErrChanged), errors.Is(err, ErrPhoneTaken): // a number proven twice at once: the last one has it
			continue
		case errors.Is(err, ErrInvalidCode), errors.Is(err, ErrNotFound):
			t.spent = true
			return User{}, Tokens{}, f.refusal
		case err == nil:
			t.spent = true
		}
		return user, tokens, err
	}
	return User{}, Tokens{}, ErrUnavailable
}

func (c *core) fulfilOnce(ctx context.Context, actor Actor, t *tried, f fulfilment) (User, Tokens, error) {
	fail := func(err error) (User, Tokens, error) { return User{}, Tokens{}, err }
	before, err := c.store.AccountByID(ctx, Scope{All: true}, t.UserID)
	if err != nil {
		return fail(err)
	}
	w := UserUpdate{
		Scope: Scope{All: true}, Account: before, IfVersion: before.Version, CustomerBefore: before.CustomerID, Consumes: t.ID,
		Event: c.event(actor, f.kind, before.User, ""),
	}
	w.Account.UpdatedAt = c.nowMillis()
	if err := f.decide(before, &w); err != nil {
		return fail(err)
	}
	if w.EndSessions {
		w.Account.Epoch = before.Epoch + 1
		w.Revoke = c.revokeUser(before.ID, w.Account.Epoch)
	}
	if hook := c.hooks.BeforeUserUpdated; hook != nil {
		if err := hook(ctx, before.User.clone(), w.Account.User.clone()); err != nil {
			return fail(err)
		}
	}
	own, err := c.ownSession(ctx, actor, &w, f.asSelf && actor.is(before.ID), false)
	if err != nil && !errors.Is(err, ErrTokenRevoked) { // a session that has ended just does not go on
		return fail(err)
	}
	if err := c.store.ChangeUser(ctx, w); err != nil {
		return fail(c.makeWay(ctx, actor, Scope{All: true}, w.Account, err))
	}
	c.queued(ctx, w.Outgoing)
	c.changed(ctx, before, w.Account)
	if own.ID == "" {
		return w.Account.User, Tokens{}, nil
	}
	tokens, err := c.issue(w.Account, own)
	return w.Account.User, tokens, err
}

// linkOrigin checks a link template and gives its origin. A template is text with {token} in it, and nothing in it is
// ever evaluated.
func linkOrigin(template string) (string, error) {
	plain := strings.Replace(template, "{token}", "token", 1)
	if plain == template || strings.Contains(plain, "{token}") {
		return "", errors.New("needs {token}, once")
	}
	for _, r := range template {
		if r <= ' ' || r >= 0x7f || r == '\\' {
			return "", errors.New("holds a character that no address has")
		}
	}
	u, err := url.Parse(plain)
	if err != nil || len(template) > 2048 || u.Opaque != "" || u.User != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" {
		return "", errors.New("is no http or https address")
	}
	origin := strings.ToLower(u.Scheme + "://" + u.Host)
	before, _, _ := strings.Cut(template, "{token}")
	if rest, ok := strings.CutPrefix(strings.ToLower(before), origin); !ok || rest == "" || !strings.Contains("/?#", rest[:1]) {
		return "", errors.New("needs {token} behind the host")
	}
	return origin, nil
}

// checkTemplate refuses a caller's link template that leads anywhere but to the configured origins: whoever reads the
// link's token is the account's owner.
func (v *Verification) checkTemplate(template string) error {
	if template == "" {
		return nil
	}
	origin, err := linkOrigin(template)
	if err != nil {
		return ErrInvalid.Field("url_template", err.Error())
	}
	if !slices.Contains(v.LinkOrigins, origin) {
		return ErrInvalid.Field("url_template", "not an address that links may lead to")
	}
	return nil
}

func buildLink(template string, token Secret) Secret {
	if template == "" {
		return ""
	}
	return Secret(strings.Replace(template, "{token}", url.QueryEscape(string(token)), 1))
}
