// Package dummy is a Backend that sends nothing and remembers everything, for a host's own tests:
//
//	sent := dummy.New()
//	api, err := userapi.New(userapi.Config{…, Verification: userapi.Verification{Mail: sent, SMS: sent}})
//	// … ask for a reset, api.Deliver(ctx) …
//	mail, ok := sent.Last("anna@example.com")
//	token := string(mail.Token)
package dummy

import (
	"context"
	"slices"
	"sync"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/verification"
)

// Backend keeps messages in memory. It takes mail and SMS alike and is safe for concurrent use.
type Backend struct {
	// Templates are the words that messages are kept in; nil = the default ones. Set it before the first message.
	Templates *verification.Templates

	mu       sync.Mutex
	messages []userapi.Message
	fails    error
}

// New makes a Backend that takes every message.
func New() *Backend { return &Backend{} }

// Send implements verification.Backend: it keeps the message, in the words of Templates unless it has some.
// It fails as Fail said, and when ctx is over; then nothing is kept.
func (b *Backend) Send(ctx context.Context, m userapi.Message) error {
	m, err := b.Templates.Render(m)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if b.fails != nil {
		return b.fails
	}
	b.messages = append(b.messages, m)
	return nil
}

// Messages are those taken so far, the oldest first.
func (b *Backend) Messages() []userapi.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.messages)
}

// Last is the newest message to a mailbox or number, in canonical form. It is false when there is none.
func (b *Backend) Last(to string) (userapi.Message, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range slices.Backward(b.messages) {
		if m.To == to {
			return m, true
		}
	}
	return userapi.Message{}, false
}

// Fail makes every Send from now on fail with err; nil lets them succeed again.
func (b *Backend) Fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fails = err
}

// Reset makes the Backend as New made it.
func (b *Backend) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.messages, b.fails = nil, nil
}
