package userapi

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"strconv"
	"strings"
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
	NoticePhoneChanged      Notice = "phone_changed"      // the account has another verified phone number now

	NoticeSecondFactorOn  Notice = "second_factor_on"  // logins ask for a second factor from now on
	NoticeSecondFactorOff Notice = "second_factor_off" // logins ask for none any more

	NoticeLoginLimited        Notice = "login_limited"         // logins with a wrong password were too many, and are slowed down for a while
	NoticePasswordLimited     Notice = "password_limited"      // somebody who is logged in gave a wrong current password too often
	NoticeSecondFactorLimited Notice = "second_factor_limited" // wrong codes were: somebody knows the password
)

// Message is one mail or SMS. It holds secrets, all of type Secret, so that no log shows them.
type Message struct {
	ID      string // the same at each attempt at sending it, for gateways that take an idempotency key
	Channel Channel
	To      string // canonical e-mail address, or E.164
	Purpose Purpose
	Notice  Notice // with PurposeNotice
	// Unproven, with a notice, says that nobody has proven the address: it may be a stranger's.
	Unproven bool

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

// Sender takes messages to mailboxes or phones. It is called by API.Deliver alone, from up to 8 goroutines of each Deliver
// that runs, and has to heed its context.
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

// compose seals a message for the outbox: what waits there can be read with the secret of the API alone.
func (c *core) compose(ctx context.Context, actor Actor, user User, m Message, challengeID string) (SealedMessage, error) {
	m.ID, m.UserID, m.Name, m.Address = newID(), user.ID, user.DisplayName(), actor.address
	if locale := c.cfg.Verification.Locale; locale != nil {
		m.Locale = locale(ctx, user.clone())
	}
	sealed, err := c.tokens.seal(m)
	return SealedMessage{ID: m.ID, ChallengeID: challengeID, UserID: user.ID, Sealed: sealed, ExpiresAt: m.ExpiresAt}, err
}

// noticeLives is how long a notice is news.
const noticeLives = 24 * time.Hour

// notify makes a notice to an address of an account. Without mail there is none.
func (c *core) notify(ctx context.Context, actor Actor, user User, to string, n Notice) ([]SealedMessage, error) {
	if c.cfg.Verification.Mail == nil || to == "" {
		return nil, nil
	}
	m, err := c.compose(ctx, actor, user, Message{
		Channel: ChannelEmail, To: to, Purpose: PurposeNotice, Notice: n, Unproven: !user.EmailVerified, ExpiresAt: c.nowMillis().Add(noticeLives),
	}, "")
	return []SealedMessage{m}, err
}

// sealedFields is a Message with its secrets in the open. It exists sealed alone.
type sealedFields struct {
	Message
	Code, Token, Link, Text, HTML string
}

// seal encrypts a message (AES-256-GCM), bound to the row it is stored in.
func (k *tokenKeys) seal(m Message) ([]byte, error) {
	plain, err := json.Marshal(sealedFields{m, string(m.Code), string(m.Token), string(m.Link), string(m.Text), string(m.HTML)})
	if err != nil {
		return nil, err
	}
	return k.sealData(k.outbox, plain, []byte(m.ID))
}

// sealData encrypts with the newest of the keys (AES-256-GCM), for one place alone: bound.
func (k *tokenKeys) sealData(keys map[string][]byte, plain, bound []byte) ([]byte, error) {
	gcm, err := sealer(keys[k.newest])
	if err != nil {
		return nil, err
	}
	return gcm.Seal([]byte(k.newest), nil, plain, bound), nil // #nosec G407 -- the AEAD makes its own random nonce
}

// openData reads what sealData made. It fails on anything that was made with an unknown secret, for another place, or touched.
func (k *tokenKeys) openData(keys map[string][]byte, sealed, bound []byte) ([]byte, error) {
	size := len(k.newest)
	if len(sealed) < size || keys[string(sealed[:size])] == nil {
		return nil, errors.New("userapi: sealed with a secret that is not known here")
	}
	gcm, err := sealer(keys[string(sealed[:size])])
	if err != nil {
		return nil, err
	}
	return gcm.Open(nil, nil, sealed[size:], bound)
}

// open reads what seal made.
func (k *tokenKeys) open(id string, sealed []byte) (Message, error) {
	plain, err := k.openData(k.outbox, sealed, []byte(id))
	if err != nil {
		return Message{}, err
	}
	var f sealedFields
	err = json.Unmarshal(plain, &f)
	m := f.Message
	m.Code, m.Token, m.Link, m.Text, m.HTML = Secret(f.Code), Secret(f.Token), Secret(f.Link), Secret(f.Text), Secret(f.HTML)
	return m, err
}

func sealer(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// queued wakes Run.
func (c *core) queued(ctx context.Context, out Outgoing) {
	if len(out.Messages) == 0 {
		return
	}
	c.afterCommit(ctx, func(context.Context) {
		select {
		case c.wake <- struct{}{}:
		default: // somebody is being woken already
		}
	})
}

const (
	deliverAtOnce = 8
	// sendFor bounds one attempt, and leaseFor is longer: another node takes a message over only when this one is gone.
	sendFor  = 25 * time.Second
	leaseFor = 40 * time.Second
	maxDelay = time.Minute
	// lookEvery is how long a message waits at most while others are being sent.
	lookEvery = 200 * time.Millisecond
)

// Deliver sends what waits in the outbox and is due, at most 8 messages at once, and returns how many were sent when
// nothing is due any more. A message that could not be sent is due again after a second, then two, and so on up to a
// minute, until its code or token expires. Nothing else sends: see Run, or call it every second or so, from one node or from
// all (a message is given to one of them at a time). A process that ends between sending and
// noting it sends the same message again after 40 s.
//
// ErrNoSender without any Sender; ErrUnavailable. What a Sender says is logged to Config.Logger, and is no error here.
func (a *API) Deliver(ctx context.Context) (sent int, err error) {
	c := a.core
	if c.bound != nil {
		return 0, ErrInTx
	}
	if c.cfg.Verification.Mail == nil && c.cfg.Verification.SMS == nil {
		return 0, ErrNoSender
	}
	var failures error
	under := 0 // how many are under way
	done := make(chan delivered)
	for {
		if ctx.Err() == nil && under < deliverAtOnce {
			due, err := c.store.LeaseMessages(ctx, deliverAtOnce-under, leaseFor)
			failures = errors.Join(failures, err)
			for _, row := range due {
				under++
				go c.deliverSafely(ctx, row, done)
			}
		}
		if under == 0 {
			break
		}
		failures = errors.Join(failures, collect(ctx, done, &under, &sent))
	}
	if failures != nil {
		return sent, AsError(failures)
	}
	return sent, nil
}

// delivered is what became of one message.
type delivered struct {
	sent bool
	err  error // the store's
}

// collect waits until a message is through. Not for long: others may have come, and must not wait for a gateway that hangs.
func collect(ctx context.Context, done <-chan delivered, under, sent *int) error {
	look := time.NewTimer(lookEvery)
	defer look.Stop()
	stopped := ctx.Done()
	for {
		select {
		case d := <-done:
			*under--
			if d.sent {
				*sent++
			}
			return d.err
		case <-stopped:
			stopped = nil // those under way are being stopped, too
		case <-look.C:
			return nil
		}
	}
}

// deliverSafely keeps whatever a Sender, its errors and a store do to one message from the others.
func (c *core) deliverSafely(ctx context.Context, row SealedMessage, done chan<- delivered) {
	d := delivered{err: errors.New("userapi: a Sender ended its goroutine")}
	defer func() {
		if p := recover(); p != nil {
			d.err = fmt.Errorf("userapi: delivering a message panicked: %T", p)
		}
		done <- d
	}()
	d = c.deliver(ctx, row)
}

// deliver sends one message, and notes what became of it even if the caller is being stopped.
func (c *core) deliver(ctx context.Context, row SealedMessage) delivered {
	note := context.WithoutCancel(ctx)
	m, err := c.tokens.open(row.ID, row.Sealed)
	expired := !c.cfg.Now().Before(row.ExpiresAt)
	switch {
	case err != nil && !expired:
		// Another node may know the secret it was sealed with: one to which a new secret came first.
		c.log.ErrorContext(ctx, "a message in the outbox cannot be read", slog.String("message", row.ID), slog.String("error", err.Error()))
		return delivered{err: c.store.DelayMessage(note, MessageDelay{ID: row.ID, Attempt: row.Attempt, After: maxDelay / 4})}
	case err == nil && m.To == "": // a decoy
		return delivered{err: c.endMessage(note, MessageEnd{ID: row.ID})}
	case expired:
		// Its challenge ends by itself: the clock of this node may be the one that is wrong.
		return delivered{err: c.giveUp(note, row, false, "expired after "+strconv.Itoa(row.Attempt-1)+" attempts")}
	}
	m.Attempt = row.Attempt
	if m.Attempt == 1 && m.Unproven && ownersNotices[m.Notice] {
		if err := c.noticeBudget(ctx, m); errors.Is(err, ErrRateLimited) {
			return delivered{err: c.endMessage(note, MessageEnd{ID: row.ID})}
		} else if err != nil {
			return delivered{err: err} // due again when the lease ends
		}
	}
	err = c.send(ctx, m)
	about := []any{slog.String("message", row.ID), slog.String("purpose", string(m.Purpose)), slog.Int("attempt", row.Attempt), slog.String("error", whatSenderSaid(err, m))}
	switch {
	case err == nil:
		return delivered{true, c.endMessage(note, MessageEnd{ID: row.ID})}
	case errors.Is(err, ErrUndeliverable):
		c.log.WarnContext(ctx, "a message can never be delivered", about...)
		return delivered{err: c.giveUp(note, row, true, string(m.Purpose)+" undeliverable")}
	}
	delay := min(time.Second<<min(max(row.Attempt-1, 0), 10), maxDelay)
	delay = delay/2 + mathrand.N(delay/2) // #nosec G404 -- apart from the other messages that failed with it
	if ctx.Err() != nil {
		delay = 0 // stopped, not failed: the next process may send at once
	} else {
		c.log.WarnContext(ctx, "a message could not be sent", append(about, slog.Duration("again", delay))...)
	}
	return delivered{err: c.store.DelayMessage(note, MessageDelay{ID: row.ID, Attempt: row.Attempt, After: delay})}
}

// ownersNotices tell an owner what happened to the account. What strangers cause has the budgets of what they asked for.
var ownersNotices = map[Notice]bool{NoticePasswordChanged: true, NoticeEmailChanged: true, NoticePhoneChanged: true,
	NoticeSecondFactorOn: true, NoticeSecondFactorOff: true, NoticeLoginLimited: true, NoticePasswordLimited: true, NoticeSecondFactorLimited: true}

// noticeBudget counts such a notice to an address that nobody has proven: the account may be somebody's way to fill a
// stranger's mailbox. At a proven one nothing is left out.
func (c *core) noticeBudget(ctx context.Context, m Message) error {
	budget, err := c.take(ctx, LimitNotice, System(), counted{recipient: m.To})
	if err == nil {
		budget.verdict = failed // it counts
		budget.end(ctx)
	}
	return err
}

// whatSenderSaid is an error for the log: a Sender may repeat in it what it was given.
func whatSenderSaid(err error, m Message) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	number := strings.TrimPrefix(m.To, "+") // gateways write it either way
	for _, secret := range []Secret{m.Text, m.HTML, m.Link, m.Token, m.Code, Secret(number)} {
		if secret != "" {
			text = strings.ReplaceAll(text, string(secret), redacted)
		}
	}
	return cutText(text, 500)
}

// giveUp ends a message that will not arrive, and, if it is void, the challenge nobody will ever answer.
func (c *core) giveUp(ctx context.Context, row SealedMessage, void bool, detail string) error {
	return c.endMessage(ctx, MessageEnd{ID: row.ID, Void: void, Event: c.event(System(), EventMessageFailed, c.about(ctx, row.UserID), detail)})
}

// send hands a message to its Sender. A panic is a failure of the Sender, not of the process.
func (c *core) send(ctx context.Context, m Message) (err error) {
	sender := c.cfg.Verification.Mail
	if m.Channel == ChannelSMS {
		sender = c.cfg.Verification.SMS
	}
	if sender == nil {
		return ErrNoSender
	}
	ctx, cancel := context.WithTimeout(ctx, sendFor)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the Sender panicked: %T", p)
		}
	}()
	return sender.Send(ctx, m)
}

// endMessage ends a message, if nobody else has meanwhile.
func (c *core) endMessage(ctx context.Context, w MessageEnd) error {
	if err := c.store.EndMessage(ctx, w); !errors.Is(err, ErrNotFound) {
		return err
	}
	return nil
}
