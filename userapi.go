// Package userapi keeps users, roles, customers (tenants) and sessions, and issues and revokes their tokens, inside
// the host's own server and database.
//
// A host makes one API value from a Config and calls its nouns (Users, Auth, Sessions, Roles, Memberships, Customers, Passwords, Contacts, Keys, Grants, Credentials, Audit), each with an
// Actor that says on whose behalf. The package httpadapter serves the same nouns over HTTP; the packages under store
// keep the data. Nothing here starts a goroutine behind the host's back, reads a global or writes to the process: the
// host owns database, mux, logger and clock.
//
//	api, err := userapi.New(userapi.Config{Store: sqlite.New(db), Secret: secret})
//	go api.Run(ctx)
//
// Passwords are reset, accounts activated, mailboxes and phones proven by codes and links: see Verification. Those wait in
// an outbox until API.Run, or API.Deliver, sends them.
//
// Errors of the nouns are of type *Error; compare them with errors.Is against the values declared here, or act on
// Error.Kind. Besides what a method lists, each may give ErrNoCredentials and ErrForbidden (an actor who may not),
// ErrUnavailable (the store does not answer) and, for the zero Actor, an Internal one. What is wrong with a
// configuration (New, NewKeyring, ParseLimits) is a plain error.
package userapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	mathrand "math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Config says what an API is made of. Store and Secret are required; New reports everything that is wrong.
type Config struct {
	Store Store

	// Secret is what every key of this API is derived from (HKDF-SHA256, one key per purpose): at least 32 bytes,
	// random. Whoever knows it can be anybody.
	Secret Secret
	// OldSecrets verify, and do not sign: put the former Secret here while tokens made with it live, 30 days or so, and what
	// Credentials sealed with it: that is sealed anew when it changes, a second factor whenever it is used. On
	// several nodes put the new one here first, on all of them, and make it the Secret afterwards: a node that does not
	// know a secret takes what was made with it for wrong.
	OldSecrets []Secret

	// Keys sign access tokens with asymmetric keys instead of the Secret. Nil = HS256.
	Keys *Keyring

	// Issuer is the claim iss. Default "userapi". APIs that share a Secret need different issuers.
	Issuer string
	// Audience is the claim aud, required in every token. Default "": none.
	Audience string

	// OpaqueLogins makes logins give one opaque key instead of an access and a refresh token: Tokens.Access, good until the
	// session ends. Clients need no refresh; a check reads the session, and remembers it for a minute (KeyCache says how many). What
	// ends the session, or changes its user's roles, counts as soon as for an access token.
	OpaqueLogins bool

	AccessLifetime  time.Duration // of an access token; default 15 minutes, at most 24 hours
	SessionLifetime time.Duration // the absolute end of a session; default 30 days, with OpaqueLogins 24 hours
	SessionIdle     time.Duration // a session not refreshed for so long has ended; default 14 days; none with OpaqueLogins
	SessionsPerUser int           // the oldest end beyond it; default 100
	// RoleLifetimes shortens those for holders of a role, by its code: {"admin": {Session: 15 * time.Minute}}.
	RoleLifetimes map[string]Lifetimes

	Registration Registration
	// External says who may log in by Auth.LoginExternal without being known here. Default ExternalClosed.
	External ExternalPolicy
	// Verification is how codes and links are made and sent.
	Verification Verification
	// MayGrant says whether the actor ranks above a role: may give it, take it, and change a user who holds it.
	// Default: admin above every role, nobody else above any.
	MayGrant func(actor Actor, role string) bool
	// Memberships are roles that count on one resource of the host's alone.
	Memberships MembershipConfig
	Password    PasswordPolicy
	// SecondFactor is asked at every login. Nil: the password is enough.
	SecondFactor SecondFactor
	// Limits bounds attempts. Nil = DefaultLimits; an empty map lifts them all.
	Limits Limits
	// DefaultRegion is the country (ISO 3166, "DE") that national phone numbers are read in. Default "": only the
	// international form.
	DefaultRegion string

	// Scopes are those that API keys may hold besides the ones of this module: what routes of the host ask for. Each has 1 to 64
	// of a-z 0-9 _ . : -
	Scopes []string
	// KeyCache is how many API keys that were just checked are remembered: those last used, at most twice as many. Default 10,000.
	KeyCache int
	// TokenCache is how many access tokens whose signature was verified are remembered, likewise: each takes about 1 KiB, and its
	// checks then cost a look-up instead of a signature. Default 10,000; NoTokenCache remembers none.
	TokenCache int
	// Grants are the limits of users by name (1 to 64 of a-z 0-9 _ . : -), each 0 or more; Grants.Set makes exceptions. "apikeys",
	// how many usable API keys a user may have, is 2 by default.
	Grants map[string]int64

	// Staleness bounds how long another node's revocation may go unnoticed. Default 1 s; ReadAlways asks the
	// database on every check.
	Staleness time.Duration
	// FeedTimeout bounds how long a check waits for that. Default 2 s; then ErrUnavailable.
	FeedTimeout time.Duration

	Hooks  Hooks
	Logger *slog.Logger // what Senders and the store say when they fail, and more; default: no log
	// LogEvents also writes every event of the audit trail to Logger, once it is stored: level Info, message "event", the fields
	// of Event in the group "event". What is erased in the trail is not erased there: addresses stay as long as the log does.
	LogEvents bool
	Now       func() time.Time // default time.Now
}

// NoTokenCache, as Config.TokenCache, has every access token verified each time.
const NoTokenCache = -1

// ReadAlways, as Config.Staleness, makes every check of a token read the revocations first.
const ReadAlways time.Duration = -1

// RegistrationPolicy says who may create an account for themselves.
type RegistrationPolicy string

const (
	RegistrationClosed RegistrationPolicy = "closed" // nobody; the default
	RegistrationOpen   RegistrationPolicy = "open"   // anybody; the account is active and logged in at once
	RegistrationVerify RegistrationPolicy = "verify" // anybody with a mailbox: the account is inactive until Auth.Activate
)

// Registration configures Users.Register. Customer and roles have to exist when somebody registers; New does not look.
type Registration struct {
	Policy   RegistrationPolicy
	Customer string   // id of the customer that new accounts belong to, such as "default", which Bootstrap makes; required unless closed
	Roles    []string // codes of the roles they get
	// PendingLifetime is how long an account that was never activated, and not registered anew, keeps its names from
	// others before Sweep erases it. Default 3 days, at least Verification.LinkLifetime.
	PendingLifetime time.Duration
}

// API is the library: one field per noun.
type API struct {
	Users       *Users
	Auth        *Auth
	Sessions    *Sessions
	Roles       *Roles
	Memberships *Memberships
	Customers   *Customers
	Passwords   *Passwords
	Contacts    *Contacts
	Keys        *Keys
	Grants      *Grants
	Credentials *Credentials
	Audit       *Audit

	core *core
}

// core is what the nouns share. All of it is made once, in New.
type core struct {
	cfg    Config
	store  written
	hooks  Hooks
	log    *slog.Logger
	tokens *tokenKeys
	feed   *feed
	keys   *recent[checkedKey]
	logins *recent[checkedLogin]
	hashes *hashPool
	gate   *gate
	// buckets are the budgets PerProcess.
	buckets map[bucketKey]*bucket
	wake    chan struct{} // something was put into the outbox here
	bound   *afterCommit  // of an API inside a host's transaction
}

// New makes an API. It reads nothing from the store and starts nothing.
func New(cfg Config) (*API, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	keys, err := newTokenKeys(cfg)
	if err != nil {
		return nil, fmt.Errorf("userapi: %w", err)
	}
	hashes, err := newHashPool(cfg.Password)
	if err != nil {
		return nil, fmt.Errorf("userapi: %w", err)
	}
	// Keys have been made of them. Under a wrong verb, such as %s for an API, fmt prints what lies below without asking it.
	cfg.Secret, cfg.OldSecrets = "", nil
	c := &core{
		cfg: cfg, hooks: cfg.Hooks, log: cfg.Logger, tokens: keys, hashes: hashes, gate: &gate{keys: map[string]*gateKey{}, noted: map[string]time.Time{}},
		buckets: newBuckets(cfg.Limits), wake: make(chan struct{}, 1), keys: newRecent[checkedKey](cfg.KeyCache), logins: newRecent[checkedLogin](cfg.KeyCache),
		feed: newFeed(cfg.Store, cfg.Now, cfg.Staleness, cfg.FeedTimeout),
	}
	c.store = written{cfg.Store, c}
	return assemble(c), nil
}

func assemble(c *core) *API {
	return &API{
		Users: &Users{c}, Auth: &Auth{c}, Sessions: &Sessions{c}, Roles: &Roles{c}, Memberships: &Memberships{c}, Customers: &Customers{c},
		Passwords: &Passwords{c}, Contacts: &Contacts{c}, Keys: &Keys{c}, Grants: &Grants{c}, Credentials: &Credentials{c}, Audit: &Audit{c}, core: c,
	}
}

// complete fills in the defaults and refuses what cannot work, all of it in one error.
func (cfg *Config) complete() error {
	var wrong []error
	require := func(ok bool, text string) {
		if !ok {
			wrong = append(wrong, errors.New("userapi: Config."+text))
		}
	}
	fill := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	require(cfg.Store != nil, "Store is required")
	require(len(cfg.Secret) >= minSecret, "Secret needs at least 32 bytes")
	require(!repetitive(cfg.Secret), "Secret is no random text")
	for _, old := range cfg.OldSecrets {
		require(len(old) >= minSecret && !repetitive(old), "OldSecrets need at least 32 random bytes each")
	}
	require(cfg.Keys == nil || cfg.Keys.set.Load() != nil, "Keys is a Keyring without keys; make it with NewKeyring")
	if cfg.Issuer == "" {
		cfg.Issuer = "userapi"
	}
	fill(&cfg.AccessLifetime, 15*time.Minute)
	if cfg.OpaqueLogins {
		fill(&cfg.SessionLifetime, 24*time.Hour)
	}
	fill(&cfg.SessionLifetime, 30*24*time.Hour)
	fill(&cfg.SessionIdle, 14*24*time.Hour)
	if cfg.OpaqueLogins {
		cfg.SessionIdle = cfg.SessionLifetime // Sweep goes by it
	}
	fill(&cfg.FeedTimeout, 2*time.Second)
	require(cfg.AccessLifetime >= time.Second && cfg.AccessLifetime <= 24*time.Hour, "AccessLifetime has to be between 1 s and 24 h")
	require(cfg.SessionLifetime >= cfg.AccessLifetime, "SessionLifetime has to be at least AccessLifetime")
	require(cfg.SessionIdle >= cfg.AccessLifetime, "SessionIdle has to be at least AccessLifetime")
	require(cfg.DefaultRegion == "" || isCountry(cfg.DefaultRegion), `DefaultRegion is no country such as "DE"`)
	require(cfg.FeedTimeout > 0, "FeedTimeout has to be positive")
	switch {
	case cfg.Staleness == 0:
		cfg.Staleness = time.Second
	case cfg.Staleness == ReadAlways:
	default:
		require(cfg.Staleness > 0 && cfg.Staleness <= time.Minute, "Staleness has to be ReadAlways or up to a minute")
	}
	if cfg.SessionsPerUser == 0 {
		cfg.SessionsPerUser = 100
	}
	require(cfg.SessionsPerUser > 0, "SessionsPerUser has to be positive")
	for role, lives := range cfg.RoleLifetimes {
		require(validRoleCode(role) && lives.Access >= 0 && lives.Session >= 0 && lives.Idle >= 0 && lives.Access <= cfg.AccessLifetime &&
			lives.Session <= cfg.SessionLifetime && lives.Idle <= cfg.SessionIdle, "RoleLifetimes names a role and durations no longer than those for all")
		access := min(cmp.Or(lives.Access, cfg.AccessLifetime), cmp.Or(lives.Session, cfg.SessionLifetime))
		require(lives.Idle == 0 || lives.Idle >= access, "RoleLifetimes.Idle has to be at least how long an access token lives")
	}
	cfg.Scopes = slices.Clone(cfg.Scopes)
	for i, scope := range cfg.Scopes {
		require(validRoleCode(scope) && !ourScope(scope) && !slices.Contains(cfg.Scopes[:i], scope), "Scopes need 1 to 64 of a-z 0-9 _ . : - each, no scope of this module, none twice")
	}
	if cfg.KeyCache == 0 {
		cfg.KeyCache = 10_000
	}
	require(cfg.KeyCache > 0, "KeyCache has to be positive")
	if cfg.TokenCache == 0 {
		cfg.TokenCache = 10_000
	}
	require(cfg.TokenCache > 0 || cfg.TokenCache == NoTokenCache, "TokenCache has to be positive or NoTokenCache")
	grants := map[string]int64{GrantAPIKeys: 2}
	maps.Copy(grants, cfg.Grants)
	cfg.Grants = grants
	for name, value := range cfg.Grants {
		require(validRoleCode(name) && value >= 0, "Grants need names of 1 to 64 of a-z 0-9 _ . : - and values of 0 or more")
	}
	switch cfg.Registration.Policy {
	case "":
		cfg.Registration.Policy = RegistrationClosed
	case RegistrationClosed:
	case RegistrationOpen, RegistrationVerify:
		require(cfg.Registration.Customer != "", "Registration.Customer is required unless registration is closed")
	default:
		require(false, "Registration.Policy is none of closed, open and verify")
	}
	switch cfg.External {
	case "":
		cfg.External = ExternalClosed
	case ExternalClosed:
	case ExternalOpen, ExternalAuto:
		require(cfg.Registration.Customer != "", "Registration.Customer is required unless External is closed")
	default:
		require(false, "External is none of closed, open and auto")
	}
	cfg.Verification.complete(require)
	cfg.Memberships.complete(require)
	fill(&cfg.Registration.PendingLifetime, 3*day)
	require(cfg.Registration.PendingLifetime >= cfg.Verification.LinkLifetime, "Registration.PendingLifetime has to be at least Verification.LinkLifetime")
	if cfg.MayGrant == nil {
		cfg.MayGrant = defaultMayGrant
	}
	if cfg.Limits == nil {
		cfg.Limits = DefaultLimits()
	}
	if err := cfg.Limits.check(); err != nil {
		wrong = append(wrong, err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Password.complete(runtime.GOMAXPROCS(0))
	return errors.Join(wrong...)
}

// minSecret is the size of an HS256 key (RFC 7518 3.2), in bytes.
const minSecret = 32

// repetitive refuses secrets such as "aaaa…" or "changeme…changeme": fewer than 8 different bytes are no key.
func repetitive(s Secret) bool {
	var seen [256]bool
	n := 0
	for i := range len(s) {
		if !seen[s[i]] {
			seen[s[i]] = true
			n++
		}
	}
	return n < 8
}

// nowMillis is the present in UTC, in the precision stores keep.
func (c *core) nowMillis() time.Time { return storedTime(c.cfg.Now()) }

// maxTries bounds how often a noun reads and decides anew because somebody else was faster.
const maxTries = 10

// again reports whether a noun should read and decide anew after err. Inside a host's transaction a second read
// would see the same snapshot.
func (c *core) again(err error) bool { return errors.Is(err, ErrChanged) && c.bound == nil }

// wrote is called with the outcome of every intent write. After a success this node knows the revocations at once;
// after an unknown outcome it may have missed one, so the feed has to ask.
func (c *core) wrote(err error, revoked ...Revocation) error {
	switch {
	case err == nil:
		if len(revoked) > 0 {
			c.afterCommit(context.Background(), func(context.Context) { c.feed.add(revoked) })
		}
	case AsError(err).Kind == Unavailable:
		c.feed.markStale()
	}
	return err
}

// afterCommit holds what has to wait for the host's commit.
type afterCommit struct {
	mu    sync.Mutex
	queue []func(context.Context)
}

func (c *core) afterCommit(ctx context.Context, run func(context.Context)) {
	if c.bound == nil {
		run(ctx)
		return
	}
	c.bound.mu.Lock()
	defer c.bound.mu.Unlock()
	c.bound.queue = append(c.bound.queue, run)
}

// WithStore binds the API to a transaction of the host, so that its writes commit or vanish with the host's own:
//
//	bound := api.WithStore(st.WithTx(tx))
//	user, err := bound.Users.Create(ctx, actor, userapi.NewUser{…})
//	// … the host's own statements, tx.Commit() …
//	bound.Committed(ctx)
//
// The bound API never retries and issues no tokens, so whoever changes the own e-mail address or password through it has
// to log in again; Login, Refresh, Authenticate, AuthenticateKey and whatever counts attempts answer ErrInTx. After any error, ErrChanged
// too, the host has to roll back. Until the end of the transaction it uses the bound API alone: on SQLite the other
// would wait for it. Before… hooks run while the host's transaction is open. It panics when tx is not a transaction of this API's own store: such an API would
// write accounts where nobody looks.
func (a *API) WithStore(tx TxStore) *API {
	if tx == nil || tx.Base() != a.core.store.Store {
		panic("userapi: WithStore needs a transaction of the API's own store")
	}
	c := *a.core
	c.store, c.bound = written{tx, &c}, &afterCommit{}
	return assemble(&c)
}

// Committed runs what waited for the host's commit: past-tense hooks, the revocations this node should know at
// once, and what DeleteResource has to look for again. Without it the hooks do not run and this node learns of revocations from the store, as every other. On an API
// that is not bound it does nothing.
func (a *API) Committed(ctx context.Context) {
	b := a.core.bound
	if b == nil {
		return
	}
	b.mu.Lock()
	queue := b.queue
	b.queue = nil
	b.mu.Unlock()
	for _, run := range queue {
		run(ctx)
	}
}

// SecondFactor is Config.SecondFactor: a feature looks whether the API it was given asks it.
func (a *API) SecondFactor() SecondFactor { return a.core.cfg.SecondFactor }

// Ping asks the store whether it answers. ErrUnavailable.
func (a *API) Ping(ctx context.Context) error { return a.core.store.Ping(ctx) }

const (
	deliverEvery = 2 * time.Second  // for what other nodes have queued, and what is due again
	sweepEvery   = 10 * time.Minute // on average
	lastChance   = 5 * time.Second
)

// Run delivers and sweeps until ctx ends: it is what a host gives a goroutine to, on every node,
//
//	go api.Run(ctx)
//
// where it does not call Deliver and Sweep itself. It delivers when something was queued on this node, and every 2 s; it
// sweeps every 10 minutes or so. What fails is logged to Config.Logger and tried again. After the end of ctx, what still
// waits gets a last chance of 5 s; a Sender that does not heed its context holds Run up for longer. It returns the cause of
// the end of ctx.
func (a *API) Run(ctx context.Context) error {
	c := a.core
	if c.bound != nil {
		return ErrInTx
	}
	var sweeping sync.WaitGroup
	sweeping.Go(func() { a.sweepNowAndThen(ctx) })
	defer sweeping.Wait()
	if c.cfg.Verification.Mail == nil && c.cfg.Verification.SMS == nil {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	// Messages under way are not cut off at once: whether they arrived would be unknown.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastChance, cancel) })()
	look := time.NewTicker(deliverEvery)
	defer look.Stop()
	failing := false
	for last := false; ; {
		_, err := a.Deliver(work)
		if err != nil && !failing { // where a failure begins: a database that is away fails every time
			c.log.WarnContext(ctx, "could not deliver", slog.String("error", err.Error()))
		}
		failing = err != nil
		if last {
			return context.Cause(ctx)
		}
		select {
		case <-c.wake:
		case <-look.C:
		case <-ctx.Done():
			last = true
		}
	}
}

// sweepNowAndThen sweeps until ctx ends; the jitter keeps nodes on one database apart.
func (a *API) sweepNowAndThen(ctx context.Context) {
	for {
		pause := time.NewTimer(sweepEvery/2 + mathrand.N(sweepEvery)) // #nosec G404 -- jitter
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
		if n, err := a.Sweep(ctx); err != nil && ctx.Err() == nil {
			a.core.log.WarnContext(ctx, "could not sweep", slog.String("error", err.Error()))
		} else if n > 0 {
			a.core.log.InfoContext(ctx, "swept", slog.Int("rows", n))
		}
	}
}

// sweepBatch bounds one statement of Sweep, so that it never holds locks for long.
const sweepBatch = 1000

// Sweep deletes what has expired, in bounded batches, and returns how many rows went. Nothing else does: see Run, or
// call it every ten minutes or so, from one node or from all. ErrUnavailable.
func (a *API) Sweep(ctx context.Context) (int, error) {
	total := 0
	for {
		n, err := a.core.store.Sweep(ctx, SweepBefore{
			Now: a.core.nowMillis(), Idle: a.core.cfg.SessionIdle, Batch: sweepBatch,
			PendingBefore: a.core.nowMillis().Add(-a.core.cfg.Registration.PendingLifetime),
		})
		total += n
		if err != nil || n < sweepBatch {
			return total, err
		}
	}
}

// Bootstrap describes the first account. Without Username and Email there is none, only roles and customer.
type Bootstrap struct {
	Customer string // id of the first customer; default "default"
	Username string
	Email    string
	Password Secret // required for an account
}

// Bootstrap makes sure there are the roles "admin" and "service" and the customer, and creates the account, active and
// with the role admin, unless there is one with that username or e-mail address: that is left exactly as it is, whatever
// its password, state, roles or customer. Any number of nodes may call it at once. It reports whether the account was
// created by this call.
//
// Errors: ErrInvalid (with fields), ErrWeakPassword, ErrUnavailable.
func (a *API) Bootstrap(ctx context.Context, b Bootstrap) (created bool, err error) {
	if b.Customer == "" {
		b.Customer = "default"
	}
	account := b.Username != "" || b.Email != ""
	if account && b.Password == "" {
		return false, ErrInvalid.Field("password", "required")
	}
	for _, role := range []Role{{ID: RoleAdmin, Code: RoleAdmin, Name: "Admin"}, {ID: RoleService, Code: RoleService, Name: "Service"}} {
		w := RoleWrite{Role: role, Event: a.core.event(System(), EventRoleCreated, User{}, role.Code)}
		if err := a.core.store.InsertRole(ctx, w); err != nil && !errors.Is(err, ErrRoleTaken) && !errors.Is(err, ErrIDTaken) {
			return false, err
		}
	}
	_, err = a.Customers.Create(ctx, System(), Customer{ID: b.Customer, Name: b.Customer})
	if err != nil && !errors.Is(err, ErrIDTaken) {
		return false, err
	}
	if !account {
		return false, nil
	}
	for _, identifier := range []string{b.Username, b.Email} { // before the work of a hash, and whatever the password is
		id, ok := parseIdentifier(identifier)
		if !ok {
			continue
		}
		acc, err := a.core.store.AccountByIdentifier(ctx, Scope{All: true}, id)
		if !errors.Is(err, ErrNotFound) && !acc.Pending {
			return false, err
		}
	}
	_, err = a.Users.Create(ctx, System(), NewUser{
		Email: b.Email, Username: b.Username, Password: b.Password, Active: true,
		CustomerID: b.Customer, Roles: []RoleRef{{Code: RoleAdmin}},
	})
	if errors.Is(err, ErrEmailTaken) || errors.Is(err, ErrUsernameTaken) {
		return false, nil
	}
	return err == nil, err
}
