package userapi

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/sync/semaphore"
	"golang.org/x/text/unicode/norm"
)

// PasswordPolicy says what a password has to be and how it is kept.
type PasswordPolicy struct {
	MinLength    int  // code points; default 8
	ThreeClasses bool // three of lower case, upper case, digit, other

	// Check may refuse a password for a reason of the host's, such as a breach service; a plain error refuses it as
	// ErrWeakPassword. It runs after the rules here.
	Check func(ctx context.Context, password Secret) error

	// Argon2id is what new hashes are made with, and what old ones are upgraded to at login. Default 19 MiB, 2 passes,
	// 1 lane (OWASP Password Storage Cheat Sheet).
	Argon2id Argon2id
	// Workers is how many hashes are computed at once. Default GOMAXPROCS − 1, at least 1: one core stays free for
	// everything else.
	Workers int
	// QueueTimeout is how long a hash waits for a worker. Default 10 s; then ErrUnavailable.
	QueueTimeout time.Duration

	// Legacy reads the hashes of other systems, such as legacyhash.All(); the first that knows one verifies it. The first
	// login that succeeds replaces it by argon2id. Until then its verification comes on top of what every login costs, and
	// that time tells whoever measures it that there is an account.
	Legacy []LegacyHasher
}

// LegacyHasher reads a stored hash of another system, at most 512 bytes. Of a text that it does not know, or with
// parameters that would cost too much, it returns nil: that hash is then unreadable, and no password is right. Otherwise it
// returns what compares a password with it, in constant time, and the KiB of memory that this takes. It runs as one of
// PasswordPolicy.Workers, alone where it needs more memory than they have, and cannot be cancelled: it has to bound itself.
//
// The password comes as it was typed, 1 to 1,024 bytes of UTF-8 without NUL; where that is not right, once more in NFC if
// that differs.
type LegacyHasher func(stored string) (matches func(password Secret) bool, memoryKiB uint32)

// Argon2id are the parameters of RFC 9106.
type Argon2id struct {
	MemoryKiB uint32 // 8 × Threads to 1 GiB; times Passes, at most 4 GiB
	Passes    uint32 // 1 to 64
	Threads   uint8  // 1 to 16
}

func (p *PasswordPolicy) complete(cores int) {
	if p.MinLength == 0 {
		p.MinLength = 8
	}
	if p.Argon2id == (Argon2id{}) {
		p.Argon2id = Argon2id{MemoryKiB: 19 * 1024, Passes: 2, Threads: 1}
	}
	if p.Workers == 0 {
		p.Workers = max(1, cores-1)
	}
	if p.QueueTimeout == 0 {
		p.QueueTimeout = 10 * time.Second
	}
}

// maxPassword bounds a password in bytes, on every path and before anything else happens (OWASP ASVS 6.2.9, 15.2.2).
const maxPassword = 1024

// wellFormedPassword refuses what can be no password. Nothing is ever trimmed or cut.
func wellFormedPassword(p Secret) error {
	switch {
	case p == "":
		return ErrInvalid.Field("password", "required")
	case len(p) > maxPassword:
		return ErrInvalid.Field("password", "at most 1,024 bytes")
	case !utf8.ValidString(string(p)), strings.ContainsRune(string(p), 0):
		return ErrInvalid.Field("password", "valid UTF-8 without NUL")
	}
	return nil
}

//go:embed common_passwords.txt
var commonPasswordList string

var commonPasswords = sync.OnceValue(func() map[string]struct{} {
	set := make(map[string]struct{}, 10_000)
	for line := range strings.Lines(commonPasswordList) {
		set[strings.TrimSuffix(line, "\n")] = struct{}{}
	}
	return set
})

// checkPolicy refuses weak passwords. The whole password is compared, not parts of it (OWASP ASVS 6.2.12).
func (p *PasswordPolicy) checkPolicy(ctx context.Context, password Secret, acc Account) error {
	if err := wellFormedPassword(password); err != nil {
		return err
	}
	text := norm.NFC.String(string(password))
	folded := foldForSearch(text)
	var why []string
	if utf8.RuneCountInString(text) < p.MinLength {
		why = append(why, fmt.Sprintf("at least %d characters", p.MinLength))
	}
	if strings.TrimSpace(text) == "" {
		why = append(why, "not only blanks")
	}
	if _, common := commonPasswords()[folded]; common {
		why = append(why, "one of the most common passwords")
	}
	local, _, _ := strings.Cut(acc.EmailKey, "@")
	for _, own := range []string{acc.EmailKey, local, acc.UsernameKey, acc.Phone, acc.Name, acc.FirstName, acc.LastName, acc.NameKey} {
		if own != "" && foldForSearch(own) == folded {
			why = append(why, "not the own name or address")
			break
		}
	}
	if p.ThreeClasses && classes(text) < 3 {
		why = append(why, "three of lower case, upper case, digit and other characters")
	}
	if why != nil {
		return ErrWeakPassword.Field("password", why...)
	}
	if p.Check != nil {
		if err := p.Check(ctx, password); err != nil {
			var known *Error
			if errors.As(err, &known) {
				return err
			}
			return ErrWeakPassword.Wrap(err).Field("password", "refused by a further check")
		}
	}
	return nil
}

func classes(s string) int {
	var lower, upper, digit, other int
	for _, r := range s {
		switch {
		case unicode.IsLower(r):
			lower = 1
		case unicode.IsUpper(r):
			upper = 1
		case unicode.IsDigit(r):
			digit = 1
		default:
			other = 1
		}
	}
	return lower + upper + digit + other
}

// hashNew checks a new password and hashes it.
func (c *core) hashNew(ctx context.Context, password Secret, acc Account) (string, error) {
	if err := c.cfg.Password.checkPolicy(ctx, password, acc); err != nil {
		return "", err
	}
	return c.hashes.hash(ctx, password)
}

// hashPool bounds how much is hashed at once, by memory: a hash larger than the present parameters takes more of it,
// at most all, and then runs alone. A smaller one takes as much as they do, since it takes a core like any other.
type hashPool struct {
	live    Argon2id
	legacy  []LegacyHasher
	size    int64 // KiB
	room    *semaphore.Weighted
	timeout time.Duration

	onLive func() // called for each hash of the live parameters; for tests
}

func newHashPool(p PasswordPolicy) (*hashPool, error) {
	if !p.Argon2id.sane() {
		return nil, errors.New("Config.Password.Argon2id is out of bounds")
	}
	if p.Workers < 1 || p.QueueTimeout <= 0 || p.MinLength < 1 {
		return nil, errors.New("Config.Password: Workers, QueueTimeout and MinLength have to be positive")
	}
	if slices.ContainsFunc(p.Legacy, func(l LegacyHasher) bool { return l == nil }) {
		return nil, errors.New("Config.Password.Legacy holds a nil")
	}
	size := int64(p.Workers) * int64(p.Argon2id.MemoryKiB)
	return &hashPool{
		live: p.Argon2id, legacy: slices.Clone(p.Legacy), size: size, room: semaphore.NewWeighted(size), timeout: p.QueueTimeout, onLive: func() {},
	}, nil
}

// sane bounds parameters: those of a stored hash come from a database, and m = 4 GiB, or 1 GiB 64 times over, would be an attack.
func (a Argon2id) sane() bool {
	return a.Threads >= 1 && a.Threads <= 16 && a.Passes >= 1 && a.Passes <= 64 &&
		a.MemoryKiB >= 8*uint32(a.Threads) && a.MemoryKiB <= 1<<20 && uint64(a.MemoryKiB)*uint64(a.Passes) <= 1<<22
}

// within computes when there is room for it.
func (p *hashPool) within(ctx context.Context, memoryKiB uint32, compute func()) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	weight := min(int64(max(memoryKiB, p.live.MemoryKiB)), p.size)
	if err := p.room.Acquire(ctx, weight); err != nil {
		return ErrUnavailable.Wrap(err)
	}
	defer p.room.Release(weight)
	compute()
	return nil
}

// run computes an argon2id hash.
func (p *hashPool) run(ctx context.Context, params Argon2id, password Secret, salt []byte, size uint32) (sum []byte, err error) {
	err = p.within(ctx, params.MemoryKiB, func() {
		if params == p.live {
			p.onLive()
		}
		sum = argon2.IDKey([]byte(normal(password)), salt, params.Passes, params.MemoryKiB, params.Threads, size)
	})
	return sum, err
}

// normal is the one transformation, NFC: the same password typed on two systems is the same bytes (RFC 8265).
func normal(password Secret) Secret { return Secret(norm.NFC.String(string(password))) }

const (
	saltBytes = 16
	hashBytes = 32
)

// hash makes a hash with the live parameters, in PHC form.
func (p *hashPool) hash(ctx context.Context, password Secret) (string, error) {
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // never fails
	sum, err := p.run(ctx, p.live, password, salt, hashBytes)
	if err != nil {
		return "", err
	}
	return phc{p.live, salt, sum}.String(), nil
}

// check compares a password with a stored hash. Whatever is stored (nothing, something unreadable, an old hash, the
// right one), it costs one hash with the live parameters; an old hash, or another system's, costs its own verification
// besides. When the password is right and the hash is one of those, upgraded is the hash to store.
func (p *hashPool) check(ctx context.Context, stored string, password Secret) (ok bool, upgraded string, err error) {
	h, readable := parsePHC(stored)
	if readable {
		sum, err := p.run(ctx, h.params, password, h.salt, uint32(len(h.sum)))
		if err != nil {
			return false, "", err
		}
		ok = subtle.ConstantTimeCompare(sum, h.sum) == 1
		if h.params == p.live {
			return ok, "", nil
		}
	} else if matches, memoryKiB := p.foreign(stored); matches != nil {
		err := p.within(ctx, memoryKiB, func() {
			ok = matches(password) || normal(password) != password && matches(normal(password))
		})
		if err != nil {
			return false, "", err
		}
	}
	upgraded, err = p.hash(ctx, password)
	if err != nil || !ok {
		return false, "", err
	}
	return true, upgraded, nil
}

// phc is a stored argon2id hash: $argon2id$v=19$m=19456,t=2,p=1$salt$hash.
type phc struct {
	params    Argon2id
	salt, sum []byte
}

func (h phc) String() string {
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.params.MemoryKiB, h.params.Passes, h.params.Threads, b64(h.salt), b64(h.sum))
}

// maxPHC bounds a stored hash in bytes.
const maxPHC = 512

// parsePHC reads a stored hash; anything odd, and parameters beyond bounds, make it unreadable.
func parsePHC(text string) (phc, bool) {
	part := strings.Split(text, "$")
	if len(text) > maxPHC || len(part) != 6 || part[0] != "" || part[1] != "argon2id" || part[2] != "v="+strconv.Itoa(argon2.Version) {
		return phc{}, false
	}
	var h phc
	param := strings.Split(part[3], ",")
	if len(param) != 3 {
		return phc{}, false
	}
	var value [3]uint64
	for i, name := range []string{"m=", "t=", "p="} {
		digits, ok := strings.CutPrefix(param[i], name)
		n, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil || strconv.FormatUint(n, 10) != digits {
			return phc{}, false
		}
		value[i] = n
	}
	if value[2] > 255 {
		return phc{}, false
	}
	h.params = Argon2id{MemoryKiB: uint32(value[0]), Passes: uint32(value[1]), Threads: uint8(value[2])}
	strict := base64.RawStdEncoding.Strict()
	var err1, err2 error
	h.salt, err1 = strict.DecodeString(part[4])
	h.sum, err2 = strict.DecodeString(part[5])
	ok := err1 == nil && err2 == nil && h.params.sane() && len(h.salt) >= 8 && len(h.salt) <= 64 && len(h.sum) >= 16 && len(h.sum) <= 64
	return h, ok && h.String() == text // strict decoders, too, pass over line breaks
}

// foreign finds who reads a hash of another system; nil if nobody does.
func (p *hashPool) foreign(stored string) (matches func(Secret) bool, memoryKiB uint32) {
	if len(stored) > maxPHC {
		return nil, 0
	}
	for _, read := range p.legacy {
		if matches, memoryKiB = read(stored); matches != nil {
			return matches, memoryKiB
		}
	}
	return nil, 0
}

func (p *hashPool) readable(stored string) bool {
	if _, ok := parsePHC(stored); ok {
		return true
	}
	matches, _ := p.foreign(stored)
	return matches != nil
}

// Passwords changes passwords. Whenever the actor changes their own, whatever the way, the current password or a
// login within the last 5 minutes proves that it is them.
type Passwords struct{ *core }

// Change changes the actor's own password, by the current one. Every other session ends; the returned tokens replace
// the actor's. It is also what the token of a login is good for whose password has to be changed (StepNewPassword): then the
// new password has to be another. ErrWrongPassword, ErrRateLimited after too many of those, ErrWeakPassword, ErrInvalid.
func (p *Passwords) Change(ctx context.Context, actor Actor, current, password Secret) (User, Tokens, error) {
	if actor.kind == stepping && actor.identity.Step() == StepNewPassword {
		actor.kind = user // for this one call
	}
	if err := actor.owning(); err != nil {
		return User{}, Tokens{}, err
	}
	if err := wellFormedPassword(current); err != nil {
		return User{}, Tokens{}, ErrInvalid.Field("current_password", "required, at most 1,024 bytes")
	}
	return p.Set(ctx, actor, actor.UserID(), password, current)
}

// Set sets a user's password: one's own (see Passwords), or another's as an admin, as a service or as System, which
// ends all of their sessions. Errors as Users.Change.
func (p *Passwords) Set(ctx context.Context, actor Actor, userID string, password, current Secret) (User, Tokens, error) {
	return p.change(ctx, actor, userID, UserChange{Password: &password, CurrentPassword: current})
}

// SetByIdentifier is Set for whoever logs in with this identifier. Only admins and System reach others; to everybody
// else a foreign identifier is ErrForbidden, whether or not it exists.
func (p *Passwords) SetByIdentifier(ctx context.Context, actor Actor, identifier string, password, current Secret) (User, Tokens, error) {
	if err := actor.known(); err != nil {
		return User{}, Tokens{}, err
	}
	missing := ErrNotFound
	if actor.managing() != nil {
		missing = ErrForbidden
	}
	id, ok := parseIdentifier(identifier)
	if !ok {
		return User{}, Tokens{}, missing
	}
	acc, err := p.store.AccountByIdentifier(ctx, actor.scope(), id)
	if errors.Is(err, ErrNotFound) || err == nil && missing == ErrForbidden && !actor.is(acc.ID) {
		return User{}, Tokens{}, missing
	}
	if err != nil {
		return User{}, Tokens{}, err
	}
	return p.Set(ctx, actor, acc.ID, password, current)
}

// ResetRequest asks for a link to set a new password with.
type ResetRequest struct {
	Identifier string // as for a login; the link goes to the account's e-mail address alone
	// LinkTemplate takes the place of Verification.ResetLink; its origin has to be among Verification.LinkOrigins.
	LinkTemplate string
}

// RequestReset mails a link to whoever owns the account, if it is active, has an e-mail address and is not exempt by
// Verification.DenyResetRoles. Whether it is so, neither the answer nor its time tells. Nothing changes until Reset; a link
// asked for before is void.
//
// ErrInvalid for what can be no identifier and for a LinkTemplate that is not allowed; ErrRateLimited within the cool-down,
// whether or not there is such an account; ErrNoSender.
func (p *Passwords) RequestReset(ctx context.Context, actor Actor, r ResetRequest) error {
	if err := actor.some(); err != nil {
		return err
	}
	v := &p.cfg.Verification
	if v.Mail == nil {
		return ErrNoSender
	}
	if _, ok := parseIdentifier(r.Identifier); !ok {
		return ErrInvalid.Field("email", "not an e-mail address or username")
	}
	if err := v.checkTemplate(r.LinkTemplate); err != nil {
		return err
	}
	found, subject, err := p.loginAccount(ctx, actor, r.Identifier)
	if err != nil {
		return err
	}
	acc := found.Account
	attempt, err := p.take(ctx, LimitReset, actor, counted{account: subject})
	if err != nil {
		return err
	}
	defer attempt.end(ctx)
	for range maxTries {
		var out Outgoing
		if acc.Active && acc.EmailKey != "" && p.mayReset(acc) {
			out, err = p.pose(ctx, actor, asked{purpose: PurposeReset, user: acc.User, target: acc.EmailKey, template: r.LinkTemplate})
		} else {
			out, err = p.decoy(ctx, actor, PurposeReset, subject)
		}
		if err != nil {
			return err
		}
		err = p.put(ctx, ChallengeInsert{Outgoing: out, IfVersion: acc.Version, Event: p.event(actor, EventResetAsked, acc.User, "")})
		if errors.Is(err, ErrChanged) {
			if found, _, err = p.loginAccount(ctx, actor, r.Identifier); err != nil {
				return err
			}
			acc = found.Account
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

// mayReset reports whether none of the account's roles forbids a reset by mail.
func (p *Passwords) mayReset(acc Account) bool {
	return !slices.ContainsFunc(p.cfg.Verification.DenyResetRoles, acc.HasRole)
}

// Reset sets a new password by the token that RequestReset mailed. All sessions, tokens and pending challenges of the
// account end with its API keys, and nobody is logged in. That the token came back proves the mailbox, so the address is marked as
// proven; when that is the first proof of it, the mark of a phone number goes, and every second factor: whoever had those may have been
// somebody else. Otherwise a second factor stays, and the next login asks for it (OWASP ASVS 6.4.3). Links to other providers end: the
// next Auth.LoginExternal with this address links anew.
// What others have guessed at the account does not keep its owner from logging in then, from where the token came back.
//
// ErrInvalidLink for a token that is unknown, used, expired or void; ErrWeakPassword and ErrInvalid, which leave the token
// as it is; ErrRateLimited.
func (p *Passwords) Reset(ctx context.Context, actor Actor, token, password Secret) error {
	if err := actor.some(); err != nil {
		return err
	}
	if err := wellFormedPassword(password); err != nil {
		return err
	}
	t, err := p.tryToken(ctx, actor, token, PurposeReset)
	if err != nil {
		return err
	}
	defer t.end(ctx)
	hash := ""
	user, _, err := p.fulfil(ctx, actor, t, fulfilment{kind: EventPasswordReset, refusal: ErrInvalidLink, decide: func(before Account, w *UserUpdate) error {
		if !before.Active || before.EmailKey != t.Target || !p.mayReset(before) {
			return ErrInvalidCode
		}
		if hash == "" {
			if hash, err = p.hashNew(ctx, password, before); err != nil {
				return err
			}
		}
		w.Account.PasswordHash, w.Account.MustChange, w.Account.EmailVerified = hash, false, true
		w.Account.PhoneVerified = before.PhoneVerified && before.EmailVerified
		w.EndSessions, w.EndKeys, w.EndCredentials, w.Voids = true, true, !before.EmailVerified, allPurposes
		w.EndKind = externalKind // whoever had the mailbox for a while may have linked another account of theirs
		w.Outgoing.Messages, err = p.notify(ctx, actor, before.User, before.EmailKey, NoticePasswordChanged)
		return err
	}})
	if err == nil {
		p.letIn(ctx, actor, user.ID)
	}
	return err
}
