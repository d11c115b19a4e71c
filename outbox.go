package userapi

import (
	"context"
	"errors"
	"time"
)

// Channel is the way a message takes.
type Channel string

const (
	ChannelEmail Channel = "email"
	ChannelSMS   Channel = "sms"
)

// Notice is what a message of PurposeNotice tells. It carries no secret.
type Notice string

const (
	NoticeAlreadyRegistered Notice = "already_registered" // somebody tried to register with this e-mail address
	NoticeUsernameTaken     Notice = "username_taken"     // a registration with this e-mail address asked for a username in use
	NoticeEmailTaken        Notice = "email_taken"        // another account asked to change to this e-mail address
	NoticePasswordChanged   Notice = "password_changed"   // the account's password was set, by whomever
	NoticeEmailChanged      Notice = "email_changed"      // to the former address: the account has another one now
)

// Message is one mail or SMS. It holds secrets, all of type Secret, so that no log shows them.
type Message struct {
	ID      string // the same at each attempt at sending it, for gateways that take an idempotency key
	Channel Channel
	To      string // canonical e-mail address, or E.164
	Purpose Purpose
	Notice  Notice // with PurposeNotice

	Code      Secret    // what the recipient types in; with PurposePhone
	Token     Secret    // what a link carries; with every other purpose but PurposeNotice
	Link      Secret    // the whole link; "" where Verification has no template for it
	ExpiresAt time.Time // of code or token; of a notice, when it is no news any more

	Resend  bool // the requester asked for it again
	Attempt int  // 1 at first; with more, an attempt before may have arrived all the same

	UserID  string // "" = of no account
	Name    string // User.DisplayName
	Locale  string // as Verification.Locale said; "" = the default
	Address string // the network address of who asked, "" = unknown

	// What templates make of it; a Sender that finds Text empty has to find words of its own.
	Subject string
	Text    Secret
	HTML    Secret // "" = none
}

// Sender takes messages to mailboxes or phones. It is called by API.Deliver alone, from up to 8 goroutines at once, and has
// to heed its context.
//
// An error that is ErrUndeliverable (errors.Is) says that this message can never arrive: its code or token is void
// then. After any other error the message is tried again until code or token expires, so one whose outcome is unknown
// may arrive twice, with the same code.
//
// A Sender of SMS that has a method Serves(number string) bool is asked when somebody wants a code: a number (E.164) it does
// not serve is ErrInvalidPhone at once, and costs nothing.
type Sender interface {
	Send(ctx context.Context, m Message) error
}

// ErrUndeliverable is what a Sender wraps when trying again cannot help: there is no such number or mailbox, or the
// recipient is not to be written to. It never reaches a requester.
var ErrUndeliverable = errors.New("userapi: the message can never be delivered")
