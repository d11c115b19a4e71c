package userapi

import (
	"context"
	"time"
)

// Store keeps what the nouns decide. A store decides nothing itself: each method is one statement or one
// transaction, applied whole or not at all. store/storetest holds every implementation to the contract below.
//
// For every method: the context's end is honoured (the error is one for errors.Is with the context's); texts and identifiers come back byte for byte; what is
// to be kept is valid UTF-8 without NUL, though anything may be asked for; times come back in UTC, truncated to milliseconds; nothing returned shares memory with the store or the caller. Errors are the
// values of errors.go where a method names them, ErrUnavailable with the cause where the database cannot be
// asked, and anything else for defects. "Not found" is never inferred from the number of rows an UPDATE reports,
// unless the statement always changes the row: MariaDB counts changed rows.
//
// A write that carries an Event stores it in the same transaction. A write that carries Revocations stores them in
// the same transaction, with the database's clock in written_at. A store repeats a whole write on deadlock or
// write conflict, boundedly; after a lost connection it looks the Event up by its id before it repeats anything.
// A write is over, one way or the other, within WriteDeadline.
type Store interface {
	UserStore
	PasswordStore
	SessionStore
	RoleStore
	MembershipStore
	CustomerStore
	RevocationStore
	LimitStore
	ChallengeStore
	OutboxStore
	CredentialStore
	KeyStore
	GrantStore
	EventStore
	MaintenanceStore
}

// WriteDeadline bounds every transaction of a store. The revocation feed relies on it: a row appears at most this
// long after its written_at.
const WriteDeadline = 10 * time.Second

// TxStore is a Store inside a transaction of the host. It never retries, never commits and never rolls back.
type TxStore interface {
	Store
	// Base is the Store that made it.
	Base() Store
}

// Scope is the tenant condition that stands in every statement about users: the rows of one customer, or all.
// The zero Scope holds no row at all.
type Scope struct {
	Customer string
	All      bool
}

// Holds reports whether rows of the customer are in scope.
func (s Scope) Holds(customer string) bool {
	return s.All || (s.Customer != "" && s.Customer == customer)
}

// Account is a user as stored: what everybody may see, the canonical forms that are unique, and what proves it.
type Account struct {
	User
	EmailKey     string // canonical e-mail, globally unique; "" = none
	UsernameKey  string // canonical username, globally unique; "" = none
	NameKey      string // case-folded name for search and order, at most 2,560 bytes
	PasswordHash string // "" = no password
	MustChange   bool   // the password: until then a login by it is good for nothing else
	Pending      bool   // registered by whoever asked and never activated: Sweep erases it in the end
	Epoch        int64  // tokens of an earlier epoch are dead
	Version      int64  // grows with every change of the row or its roles, but not with LastLogin
}

// IdentifierKind tells the name spaces of Identifier apart.
type IdentifierKind uint8

const (
	EmailIdentifier    IdentifierKind = iota + 1 // canonical e-mail
	UsernameIdentifier                           // canonical username
	PhoneIdentifier                              // E.164; finds only the account that proved it
)

// Identifier is what somebody logs in with, in canonical form.
type Identifier struct {
	Kind  IdentifierKind
	Value string
}

// UserStore keeps accounts.
type UserStore interface {
	// AccountByID reads the account with its roles (ordered by code), in one snapshot. ErrNotFound outside the scope.
	AccountByID(ctx context.Context, scope Scope, id string) (Account, error)
	// AccountByIdentifier is the same by e-mail, username or verified phone. ErrNotFound outside the scope.
	AccountByIdentifier(ctx context.Context, scope Scope, id Identifier) (Account, error)
	// ListUsers reads at most f.Limit users.
	ListUsers(ctx context.Context, f UserFilter) ([]User, error)
	// InsertUser adds an account. It first changes the customer's row (ErrInvalid with field "customer" when there
	// is none), then, for an active account, counts: ErrQuota. ErrIDTaken, ErrEmailTaken, ErrUsernameTaken,
	// ErrPhoneTaken (a verified one). ErrInvalid with field "roles" when a role is gone.
	InsertUser(ctx context.Context, w UserInsert) error
	// ChangeUser replaces the account's row, but CreatedAt and, unless w.LogsIn, LastLogin, and ends the account's challenges whose purpose is
	// in w.Voids, with their messages, and with w.EndKeys its API keys. ErrNotFound outside the scope, ErrChanged when the row is no longer at w.IfVersion,
	// then ErrInvalidCode when the challenge w.Consumes is gone, else as InsertUser (an account never moves to a customer
	// that is not there); ErrLastAdmin with w.KeepAdmin.
	ChangeUser(ctx context.Context, w UserUpdate) error
	// DeleteUser erases the account with all that hangs on it. Its events stay, without the addresses and user agents of what
	// the user, or nobody in particular, did. ErrNotFound, ErrChanged, ErrLastAdmin.
	DeleteUser(ctx context.Context, w UserDelete) error
}

// UserFilter selects users. The tenant condition is always AND. Texts are compared literally: stores escape them.
type UserFilter struct {
	Scope     Scope
	EmailPart string // substring of EmailKey; "" = any
	NamePart  string // substring of NameKey; "" = any
	MatchAll  bool   // both parts must match, not one of them
	// NameKey or UsernameKey starts with it. It orders: first come those whose NameKey does, by (NameKey, id), then those whose UsernameKey
	// alone does, by that.
	Prefix    string
	Active    *bool
	AfterID   string // keyset: rows behind this one, in order
	AfterName string // with Prefix: the NameKey of that row
	AfterUser string // with Prefix, in place of both: the UsernameKey of that row, whose NameKey does not start with it
	Offset    int
	Limit     int
	WithRoles bool // ordered by code; else users come without
}

// UserInsert is a new account (Version 1) with its roles, the first session where registration logs in, and what is to be
// sent where it does not. LastLogin is stored as it is given.
type UserInsert struct {
	Account  Account
	Session  *Session
	Outgoing Outgoing
	Event    Event
}

// UserUpdate is a changed account. Everything in it happens or nothing does. Account.Version is ignored: the
// stored one becomes IfVersion + 1.
type UserUpdate struct {
	Scope          Scope
	Account        Account
	IfVersion      int64
	SetRoles       bool     // replace the roles by Account.Roles
	CustomerBefore string   // the customer the account was read in
	KeepAdmin      bool     // change CustomerBefore's row, then ErrLastAdmin unless another active admin is in it
	TakesPlace     bool     // change Account.Customer's row, then count as InsertUser does
	EndSessions    bool     // end the sessions of the account
	Replaces       string   // with EndSessions: ErrChanged when the account's session with this id has ended already; "" = none
	Session        *Session // with EndSessions and Replaces: open this one in its place
	LogsIn         bool     // with Session: a login is complete with it, so LastLogin becomes its CreatedAt
	EndCredentials bool     // delete the credentials of the account
	EndKind        string   // delete those of this kind; "" = none
	EndMemberships bool     // end the memberships of the account
	Consumes       string   // ErrInvalidCode unless the account's challenge with this id is there; it ends with the write. "" = none
	Voids          []Purpose
	EndKeys        bool // delete the API keys of the account
	Releases       *PhoneRelease
	Outgoing       Outgoing // after Voids
	Revoke         []Revocation
	Event          Event
}

// PhoneRelease takes a verified number from the account that held it, in the write that gives it to another. Its phone
// stays, unverified; its Version goes up by one. ErrChanged unless the account is at IfVersion and its verified phone is
// Phone.
type PhoneRelease struct {
	UserID    string
	Phone     string
	IfVersion int64
	Event     Event
}

// UserDelete erases an account.
type UserDelete struct {
	Scope     Scope
	ID        string
	Customer  string
	IfVersion int64
	KeepAdmin bool
	Revoke    []Revocation
	Event     Event
}

// MarkedAccount is an account, and what is marked of it.
type MarkedAccount struct {
	Account
	Until  [2]time.Time // when the marks that were asked for end; zero = it is not there
	Marked int          // how many marks there are of the account, ended ones too
}

// PasswordStore finds the account that somebody wants to log in to, and keeps its password hash up to date.
type PasswordStore interface {
	// AccountForLogin is AccountByIdentifier over all customers that also reads, in the same statement, until when each of these
	// marks of the account lasts, and how many it has: see MarksOf.
	AccountForLogin(ctx context.Context, id Identifier, marks [2]string) (MarkedAccount, error)
	// UpgradeHash replaces the hash if it is still w.Old, and reports whether it did. It raises the account's Version.
	UpgradeHash(ctx context.Context, w HashUpgrade) (bool, error)
}

// HashUpgrade replaces a hash by one of the same password.
type HashUpgrade struct {
	UserID   string
	Old, New string
	Event    Event
}

// SessionAccount is a session and its account, read in one snapshot.
type SessionAccount struct {
	Session Session
	Account Account
}

// SessionStore keeps sessions. Deleting a session's row is what ends it.
type SessionStore interface {
	// InsertSession adds a session if the account is active and still at w.IfEpoch, else ErrChanged. It starts by
	// changing the account's row, so that it conflicts with whatever ends trust, on every node of a cluster, and sets
	// LastLogin to the session's CreatedAt, unless the session lacks a Step. Beyond w.Cap (≥ 1) the oldest other sessions
	// that lack the same Step, or none, end, with a Revocation each; their ids come back. ErrChanged also when w.Replaces has
	// ended.
	InsertSession(ctx context.Context, w SessionInsert) (ended []string, err error)
	// SessionByID reads a session and its account. ErrNotFound when it has ended.
	SessionByID(ctx context.Context, id string) (SessionAccount, error)
	// RotateSession counts the session's refresh one up. ErrChanged unless the session is still at w.Counter and
	// its account active and at w.IfEpoch: of any number of callers with one counter, one gets nil.
	RotateSession(ctx context.Context, w SessionRotation) error
	// ListSessions reads the sessions of a user, newest first.
	ListSessions(ctx context.Context, scope Scope, userID string) ([]Session, error)
	// EndSession ends one session of the user. ErrNotFound, and nothing written, when there is none. With w.Voids it also
	// ends the account's challenges of these purposes, with their messages, and raises its Version, so that none is stored
	// any more that was decided on before.
	EndSession(ctx context.Context, w SessionEnd) error
}

// SessionInsert is a new session.
type SessionInsert struct {
	Session  Session
	IfEpoch  int64
	Replaces string // the user's session with this id ends with the write; "" = none
	Cap      int
	EndedFor time.Duration // how long the Revocations of ended sessions live
	Returns  []LimitReturn // as LimitStore.ReturnLimits, in the same transaction
	Event    Event
}

// SessionRotation is one refresh.
type SessionRotation struct {
	ID        string
	UserID    string
	Counter   int64 // as presented; the stored one becomes Counter + 1
	IfEpoch   int64
	At        time.Time // becomes RotatedAt and LastSeenAt
	Address   string
	UserAgent string
}

// SessionEnd ends one session of a user in scope.
type SessionEnd struct {
	Scope  Scope
	ID     string
	UserID string
	Voids  []Purpose
	Revoke Revocation
	Event  Event
}

// RoleStore keeps role definitions. They are shared by all customers.
type RoleStore interface {
	// Roles reads the definitions whose id or code is named, ordered by id. What does not exist is left out.
	Roles(ctx context.Context, ids, codes []string) ([]Role, error)
	// ListRoles reads at most limit definitions, ordered by id.
	ListRoles(ctx context.Context, offset, limit int) ([]Role, error)
	// InsertRole adds a definition. ErrRoleTaken (code), ErrIDTaken.
	InsertRole(ctx context.Context, w RoleWrite) error
	// RenameRole changes the name of the role with this code. ErrNotFound.
	RenameRole(ctx context.Context, w RoleWrite) error
	// DeleteRole removes the role with this code. ErrNotFound; ErrRoleInUse while a user holds it.
	DeleteRole(ctx context.Context, w RoleWrite) error
}

// RoleWrite is a role definition to add, rename or delete.
type RoleWrite struct {
	Role  Role
	Event Event
}

// MembershipStore keeps the levels of users on resources of the host's: at most one for each user, Resource and ResourceID.
type MembershipStore interface {
	// SetMembership adds a membership, or replaces the level of the one that is there. It starts by changing the account's row,
	// so that it conflicts with whatever ends memberships, on every node of a cluster. ErrNotFound when the account is not in the
	// scope, ErrChanged unless that row is at w.IfVersion, which stays as it is.
	SetMembership(ctx context.Context, w MembershipWrite) error
	// RemoveMembership is the same for the end of one; w.Membership.Level does not matter. ErrNotFound, and nothing written,
	// also when there is none.
	RemoveMembership(ctx context.Context, w MembershipWrite) error
	// ListMemberships reads at most f.Limit memberships.
	ListMemberships(ctx context.Context, f MembershipFilter) ([]Membership, error)
	// EndResource ends all memberships of a resource, in whatever customer. It may end them in steps before the write with
	// the Event: when it fails, some have ended.
	EndResource(ctx context.Context, w ResourceEnd) error
}

// MembershipWrite is a membership to add, replace or end.
type MembershipWrite struct {
	Scope      Scope
	Membership Membership
	IfVersion  int64 // of the account
	Event      Event
}

// MembershipFilter selects memberships of accounts in Scope: those of a user, ordered by (Resource, ResourceID); those of a
// resource, ordered by user id; or, with both, the one there is.
type MembershipFilter struct {
	Scope                Scope
	UserID               string     // "" = of all
	Resource, ResourceID string     // both or neither
	Active               bool       // of accounts that are active alone
	After                Membership // keyset: those behind this one, in order; of a user's its Resource and ResourceID count, of a resource's its UserID
	Limit                int
}

// ResourceEnd ends a resource.
type ResourceEnd struct {
	Resource, ResourceID string
	Event                Event
}

// CustomerStore keeps customers.
type CustomerStore interface {
	// CustomerByID: ErrNotFound.
	CustomerByID(ctx context.Context, id string) (Customer, error)
	// ListCustomers reads at most limit customers with an id behind after, ordered by id.
	ListCustomers(ctx context.Context, after string, limit int) ([]Customer, error)
	// InsertCustomer: ErrIDTaken.
	InsertCustomer(ctx context.Context, w CustomerWrite) error
	// ChangeCustomer replaces name and quota. ErrNotFound. A quota below the present count refuses only newcomers.
	ChangeCustomer(ctx context.Context, w CustomerWrite) error
}

// CustomerWrite is a customer to add or change.
type CustomerWrite struct {
	Customer Customer
	Event    Event
}

// RevocationKind says what a Revocation's Subject names.
type RevocationKind uint8

const (
	RevokeSession RevocationKind = iota + 1 // Subject: session id
	RevokeUser                              // Subject: user id; tokens with an epoch below Below are dead
	RevokeKey                               // Subject: API key id; what is known of a version below Below is out of date
	RevokeAll                               // Subject: an id of its own; tokens issued before Below (Unix ms) hold only while their session is there
)

// Revocation is one row of the revocation feed.
type Revocation struct {
	Kind    RevocationKind
	Subject string
	Below   int64
	Lives   time.Duration // when written: how long it is kept; when read: how much longer it lives
}

// RevocationStore keeps the feed that carries the end of trust to every node.
type RevocationStore interface {
	// Revocations reads the live rows written at or after since, a time of the database's clock in Unix
	// milliseconds as an earlier call gave it in now; 0 reads all live rows. It reads now before the rows. A fresh store
	// begins with one row, a RevokeAll of that moment that lives 24 hours and 5 minutes: the secret may be older than the
	// store, and what was issued before must not hold in it.
	Revocations(ctx context.Context, since int64) (rows []Revocation, now int64, err error)
	// EndEverything ends every session, challenge and message, makes every API key inactive (its Version goes up by one) and
	// writes the Revocation. It may end them in steps before that: when it fails, some have ended.
	EndEverything(ctx context.Context, w EverythingEnd) error
}

// EverythingEnd ends all trust given before a moment.
type EverythingEnd struct {
	Revoke Revocation
	Event  Event
}

// LimitStore counts attempts. A counter's window begins with its first attempt and is LimitTake.Lasts long.
type LimitStore interface {
	// TakeLimits counts one attempt on every counter, or on none: when one is full it returns how long until that
	// one's window ends (the longest wait, of several). Of any number of parallel callers exactly Max pass.
	//
	// A counter with a Longest also knows its streak: the attempts of the windows before, as long as each began within
	// LimitTake.Remembers of the end of the one before it.
	TakeLimits(ctx context.Context, now time.Time, takes []LimitTake) (wait time.Duration, err error)
	// ReturnLimits takes one attempt back, with Clear all of them and the streak, or sets a mark.
	ReturnLimits(ctx context.Context, returns []LimitReturn) error
	// ReadLimits reads the counters and marks with these keys, in no order. What has ended at now is left out.
	ReadLimits(ctx context.Context, now time.Time, keys []string) ([]LimitCount, error)
}

// LimitTake asks for one attempt on a counter.
type LimitTake struct {
	Key    string // at most 128 bytes
	Max    int
	Window time.Duration
	// Longest, when it is longer than Window, makes the windows of a streak longer.
	Longest time.Duration
}

// Lasts is how long a window lasts that begins after a streak of so many attempts: twice as long for each Max of them, up
// to Longest; from the hundredth on at least a day (NIST SP 800-63B bounds failures in a row by 100).
func (t LimitTake) Lasts(streak int) time.Duration {
	lasts := t.Window
	if t.Longest <= t.Window {
		return lasts
	}
	if streak >= maxStreak {
		return max(t.Longest, day)
	}
	for n := streak / max(t.Max, 1); n > 0 && lasts < t.Longest; n-- {
		lasts = min(2*lasts, t.Longest)
	}
	return lasts
}

const maxStreak = 100

// Remembers is how long after the end of a window its attempts belong to the streak of the next.
func (t LimitTake) Remembers() time.Duration {
	if t.Longest <= t.Window {
		return 0
	}
	return day
}

// LimitReturn gives back what was taken.
type LimitReturn struct {
	Key   string
	Clear bool
	Mark  *LimitMark // set this instead
}

// LimitMark is a key that is remembered for a while. Those whose keys begin with Of are at most Cap: beyond it the ones go
// that end first; 0 = nobody looks. (Where nothing else keeps two writers apart, there may be a few more.)
type LimitMark struct {
	Until time.Time
	Of    string
	Cap   int
}

// MarksOf is what the keys of an account's marks begin with; the names of marks follow. They end with the account.
func MarksOf(userID string) string { return "known/" + userID + "/" }

// LimitCount is a counter or, with one hit, a mark.
type LimitCount struct {
	Key    string
	Hits   int
	EndsAt time.Time
}

// Challenge is a code or a link token that has not come back yet. There is one for each Purpose and Subject: a new one
// takes the place of the old one, whose messages go with it.
type Challenge struct {
	ID        string
	Purpose   Purpose
	Subject   string // whose it is, at most 64 bytes: a user id, or the number of an anonymous proof
	UserID    string // the account it is for; "" = none
	Target    string // the canonical e-mail address or E.164 number it was sent to
	Display   string // of PurposeEmailChange: the address as it was typed
	MAC       string // a keyed hash of the secret, bound to all of the above
	Tries     int    // how many were made
	MaxTries  int
	ExpiresAt time.Time
}

// SealedMessage is a message that waits to be sent, readable only with the secret of the API.
type SealedMessage struct {
	ID          string
	ChallengeID string // the challenge it carries the secret of; "" = none
	UserID      string // "" = of no account
	Sealed      []byte // at most 16 KiB
	Attempt     int    // how often it was leased; 0 when it is written
	ExpiresAt   time.Time
}

// Outgoing is what a write gives to send: a challenge, messages, both or nothing.
type Outgoing struct {
	Challenge *Challenge
	Messages  []SealedMessage
}

// ChallengeStore keeps codes and link tokens until they come back.
type ChallengeStore interface {
	// InsertChallenge stores w.Outgoing. With a challenge that has a UserID it starts by changing the account's row, so that it
	// conflicts with whatever voids challenges, on every node of a cluster; ErrChanged unless that row is at w.IfVersion, which
	// stays as it is.
	InsertChallenge(ctx context.Context, w ChallengeInsert) error
	// TryChallenge counts one try and returns the challenge, the try included. ErrNotFound, and nothing counted, when there is
	// none, when it has expired (w.Now is at or behind ExpiresAt) or MaxTries are used up: of any number of parallel callers
	// MaxTries get it.
	TryChallenge(ctx context.Context, w ChallengeTry) (Challenge, error)
	// ReturnTry takes one try back. No error when the challenge is gone.
	ReturnTry(ctx context.Context, id string) error
	// EndChallenge deletes a challenge and its messages: of any number of callers one gets nil, the others ErrNotFound.
	EndChallenge(ctx context.Context, w ChallengeEnd) error
}

// ChallengeInsert is a new challenge, or messages alone.
type ChallengeInsert struct {
	Outgoing  Outgoing
	IfVersion int64 // of the account, with Challenge.UserID
	Event     Event
}

// ChallengeTry asks for one try: by ID, or, where that is "", by Purpose and Subject.
type ChallengeTry struct {
	ID      string
	Purpose Purpose
	Subject string
	Now     time.Time
}

// ChallengeEnd ends a challenge.
type ChallengeEnd struct {
	ID    string
	Event Event
}

// OutboxStore keeps messages until they are sent. Its waits are by the database's clock.
type OutboxStore interface {
	// LeaseMessages gives at most limit messages that are due, expired ones too, to this caller alone for the time of the
	// lease: unless they are ended or delayed until then, they are due again. Attempt goes up by one. Those due for longest
	// come first.
	LeaseMessages(ctx context.Context, limit int, lease time.Duration) ([]SealedMessage, error)
	// DelayMessage makes a message due again after a while, unless it was leased again since. No error when it is gone.
	DelayMessage(ctx context.Context, w MessageDelay) error
	// EndMessage deletes a message, and with w.Void the challenge it belongs to with its other messages. ErrNotFound, and nothing written,
	// when it is gone already.
	EndMessage(ctx context.Context, w MessageEnd) error
}

// MessageDelay puts a message off.
type MessageDelay struct {
	ID      string
	Attempt int // as leased
	After   time.Duration
}

// MessageEnd is the end of a message: sent (no Event), or given up.
type MessageEnd struct {
	ID    string
	Void  bool  // its challenge too
	Event Event // without ID: none
}

// Credential is what a feature keeps for an account: a second factor, the name it has at another provider. The store knows
// its bytes only.
type Credential struct {
	UserID  string
	Kind    string // which feature's, at most 32 bytes
	Key     string // unique in its Kind, over all accounts, at most 128 bytes
	Data    []byte // at most 8 KiB
	Version int64  // 1 at first; grows by one with every change
}

// CredentialStore keeps what features know of accounts.
type CredentialStore interface {
	// Credential reads one, whosever it is. ErrNotFound.
	Credential(ctx context.Context, kind, key string) (Credential, error)
	// CredentialsOf reads those of an account and a kind, "" = of all kinds, ordered by kind and key.
	CredentialsOf(ctx context.Context, userID, kind string) ([]Credential, error)
	// PutCredential stores w.Credential: a new one where its Version is 0, else in place of the one that is at that Version.
	// It starts by changing the account's row (ErrNotFound when there is none) and then that of the session w.IfSession, so that it
	// conflicts with whatever ends trust, on every node of a cluster. ErrChanged when that session is not there, the key is taken,
	// or its Version is another by now: of any number of callers who read the same, one gets nil. With w.IfVersion ErrChanged also
	// unless the account is at that version, which goes up by one.
	PutCredential(ctx context.Context, w CredentialWrite) error
	// DeleteCredential deletes the one that is at this Version. ErrChanged when there is none, or the session w.IfSession is not
	// there. w.IfVersion does not matter.
	DeleteCredential(ctx context.Context, w CredentialWrite) error
}

// CredentialWrite is a credential to store or to delete, and what its owner is told of it.
type CredentialWrite struct {
	Credential Credential
	IfSession  string // the session it is changed in; "" = none
	IfVersion  int64  // of the account; 0 = whatever it is
	Outgoing   Outgoing
	Event      Event
}

// StoredKey is an API key as stored. Of its secret there is a hash alone.
type StoredKey struct {
	APIKey
	NameKey string // case-folded name, unique among the keys of its owner, at most 1,024 bytes
	Hash    string // of the secret part, at most 64 bytes
	Version int64  // grows with every change, but not with LastUsedAt
}

// KeyRef names an API key by its ID or, where that is "", by its Prefix.
type KeyRef struct{ ID, Prefix string }

// KeyAccount is an API key and its owner, read in one snapshot.
type KeyAccount struct {
	Key     StoredKey
	Account Account
}

// KeyStore keeps API keys. A key is in the Scope that its owner is in.
type KeyStore interface {
	// FindKey reads a key and its owner. ErrNotFound outside the scope.
	FindKey(ctx context.Context, scope Scope, by KeyRef) (KeyAccount, error)
	// ListKeys reads the keys of a user, oldest first.
	ListKeys(ctx context.Context, scope Scope, userID string) ([]APIKey, error)
	// InsertKey adds a key (Version 1) if its owner is in scope, active and still at w.IfEpoch, and the session w.IfSession is
	// there, else ErrChanged. It starts by changing the owner's row and then that of the session, so that it conflicts with
	// whatever ends trust, on every node of a cluster; the owner's Version stays. Then ErrKeyQuota unless the owner has fewer
	// than w.Cap other keys that are active and have not expired at CreatedAt, and fewer than w.CapAll in all; ErrKeyNameTaken;
	// ErrIDTaken (id or prefix).
	InsertKey(ctx context.Context, w KeyInsert) error
	// ChangeKey replaces name, scopes and Active of the owner's key w.Key.ID. It starts as InsertKey, but raises the owner's Version,
	// so that nothing is done any more that was decided on with the key as it was. ErrNotFound without such a key in scope;
	// ErrChanged when it is not at w.IfVersion, or the session is gone; with w.TakesPlace ErrKeyQuota; ErrKeyNameTaken.
	ChangeKey(ctx context.Context, w KeyUpdate) error
	// DeleteKey deletes the owner's key, and raises the owner's Version. ErrNotFound, and nothing written, when there is none
	// in scope.
	DeleteKey(ctx context.Context, w KeyDelete) error
	// TouchKey sets LastUsedAt, unless it is less than every before at. No error when the key is gone.
	TouchKey(ctx context.Context, id string, at time.Time, every time.Duration) error
}

// KeyInsert is a new API key.
type KeyInsert struct {
	Scope     Scope
	Key       StoredKey
	IfEpoch   int64  // of the owner
	IfSession string // the session it is made in; "" = none
	Cap       int64
	CapAll    int64 // 0 = any number
	Event     Event
}

// KeyUpdate is a changed API key. Key.Version is ignored: the stored one becomes IfVersion + 1.
type KeyUpdate struct {
	Scope      Scope
	Key        StoredKey
	IfVersion  int64
	IfSession  string // the session it is changed in; "" = none
	TakesPlace bool   // count as InsertKey does, at Now
	Cap        int64
	Now        time.Time
	Revoke     Revocation
	Event      Event
}

// KeyDelete deletes an API key.
type KeyDelete struct {
	Scope  Scope
	ID     string
	UserID string
	Revoke Revocation
	Event  Event
}

// GrantStore keeps limits of single users that differ from the default.
type GrantStore interface {
	// ListGrants reads what was granted to a user, expired or not, ordered by name. None outside the scope.
	ListGrants(ctx context.Context, scope Scope, userID string) ([]Grant, error)
	// SetGrant adds a grant or replaces that of the same name. It starts by changing the user's row, whose Version stays:
	// ErrNotFound when there is none.
	SetGrant(ctx context.Context, w GrantWrite) error
	// DeleteGrant deletes the grant of this name. ErrNotFound.
	DeleteGrant(ctx context.Context, w GrantWrite) error
}

// GrantWrite is a grant to set, or to delete by its name.
type GrantWrite struct {
	UserID string
	Grant  Grant
	Event  Event
}

// EventStore keeps the audit trail: append-only.
type EventStore interface {
	// AddEvent stores an event that belongs to no other write, such as a failed login. An id that is stored already is an
	// error, here as with every write.
	AddEvent(ctx context.Context, e Event) error
	// ListEvents reads at most f.Limit events, the greatest id first.
	ListEvents(ctx context.Context, f EventFilter) ([]Event, error)
	// PruneEvents deletes at most w.Limit events with an id less than w.Before, the least first, and returns how many. When there are
	// none it writes no event either.
	PruneEvents(ctx context.Context, w EventPrune) (int, error)
}

// EventFilter selects events of customers in Scope. Those of no customer are in the Scope of all alone. Ids compare by their bytes,
// and those that API values make begin with the time of the event.
type EventFilter struct {
	Scope  Scope
	UserID string      // about this user; "" = whoever
	Kinds  []EventKind // at most 16; none = all
	From   string      // ids not less than this; "" = all
	Before string      // ids less than this; "" = all
	Limit  int
}

// EventPrune deletes the oldest events.
type EventPrune struct {
	Before string
	Limit  int
	Event  Event // about it; without ID: none
}

// MaintenanceStore keeps the store small and tells whether it is there.
type MaintenanceStore interface {
	// Sweep deletes at most batch rows of each kind that have expired: sessions past their absolute or idle end,
	// counters whose window is over, challenges past their end, messages an hour past theirs (until then LeaseMessages gives
	// them, to be told of), accounts that are Pending and unchanged since w.PendingBefore (with their roles, challenges and messages), and, by the
	// database's clock, revocations nobody needs any more. It returns how many went.
	Sweep(ctx context.Context, w SweepBefore) (int, error)
	// Ping asks the database something.
	Ping(ctx context.Context) error
}

// SweepBefore says what has expired.
type SweepBefore struct {
	Now   time.Time
	Idle  time.Duration // sessions not seen for this long have ended
	Batch int

	PendingBefore time.Time // pending accounts with an earlier UpdatedAt go; zero = none
}
