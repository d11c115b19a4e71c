package userapi

import (
	"context"
	"time"
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

// Generator makes the secrets of challenges. The default makes codes of Verification.CodeDigits decimal digits, uniform
// and with their leading zeros, and tokens of 256 bits in base64url, all from crypto/rand.
type Generator interface {
	// Code makes what a person reads off a phone and types in: at least 4 characters that survive being typed, since
	// spaces, dashes and case are taken out of what comes back.
	Code(purpose Purpose) (Secret, error)
	// Token makes the secret part of a link: at least 128 random bits in A-Z a-z 0-9 - _.
	Token(purpose Purpose) (Secret, error)
}

// Verification says how codes and links are made, and how they reach their recipients. Without Mail and SMS nothing can
// be proven or recovered: the methods that would send answer ErrNoSender.
type Verification struct {
	Mail Sender
	SMS  Sender

	// The links of mails, with {token} once, after the host: "https://app.example.com/reset#token={token}". Behind a # it
	// reaches no server's log. Default "": the mail holds the token itself.
	ResetLink      string
	ActivationLink string
	EmailLink      string // also of a change of the e-mail address
	// LinkOrigins are the origins ("https://app.example.com") that a caller's own link template may have. Default: none.
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
	// Locale says which language to write to a user in. ctx is that of the call. Default: "".
	Locale func(ctx context.Context, u User) string

	// ExemptPhones get no SMS; their code is fixed: number (E.164) → code. For the tests of clients; New refuses them
	// unless Development.
	ExemptPhones map[string]Secret
	Development  bool
}
