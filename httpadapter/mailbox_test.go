package httpadapter_test

import (
	"context"
	"io"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
)

// sending has mails and SMS put into world.box.
var sending = options{sends: true}

// mailbox is a Sender that keeps what it is given; what fail refuses it does not keep.
type mailbox struct {
	mu   sync.Mutex
	kept []userapi.Message
	fail func(ctx context.Context, m userapi.Message) error
}

// Send implements userapi.Sender.
func (b *mailbox) Send(ctx context.Context, m userapi.Message) error {
	b.mu.Lock()
	fail := b.fail
	b.mu.Unlock()
	if fail != nil {
		if err := fail(ctx, m); err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept = append(b.kept, m)
	return nil
}

// failing makes the mailbox do what fail says from now on; nil = keep everything.
func (b *mailbox) failing(fail func(ctx context.Context, m userapi.Message) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail = fail
}

// taken empties the mailbox.
func (b *mailbox) taken() []userapi.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	kept := b.kept
	b.kept = nil
	return kept
}

// delivered sends what waits, and gives what was sent.
func (w *world) delivered() []userapi.Message {
	w.t.Helper()
	_, err := w.api.Deliver(context.Background())
	require.NoError(w.t, err)
	return w.box.taken()
}

// message is the one message that was to be sent.
func (w *world) message(to string, purpose userapi.Purpose) userapi.Message {
	w.t.Helper()
	all := w.delivered()
	require.Len(w.t, all, 1)
	require.Equal(w.t, to, all[0].To)
	require.Equal(w.t, purpose, all[0].Purpose)
	return all[0]
}

// told are the notices among messages, by address.
func told(messages []userapi.Message) map[string]userapi.Notice {
	notices := map[string]userapi.Notice{}
	for _, m := range messages {
		if m.Purpose == userapi.PurposeNotice {
			notices[m.To] = m.Notice
		}
	}
	return notices
}

// resetToken asks for a reset of an account, and gives the token that was mailed.
func (w *world) resetToken(email string) string {
	w.t.Helper()
	w.do("POST", "/password/reset", object{"email": email}).is(200, "")
	return string(w.message(email, userapi.PurposeReset).Token)
}

// emailToken asks for the proof of an address as somebody, and gives the token that was mailed to it.
func (w *world) emailToken(who set, email string) string {
	w.t.Helper()
	w.do("POST", "/verification/email", object{"email": email}, who).is(200, "")
	all := w.delivered()
	require.Len(w.t, all, 1)
	require.Equal(w.t, email, all[0].To)
	return string(all[0].Token)
}

// phoneCode asks for the proof of a number, and gives the code that was sent to it.
func (w *world) phoneCode(number string, how ...set) string {
	w.t.Helper()
	w.do("POST", "/verification/phone", object{"phone": number}, how...).is(200, "")
	return string(w.message(number, userapi.PurposePhone).Code)
}

// locked is a Writer for many goroutines.
type locked struct {
	io.Writer
	mu sync.Mutex
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Writer.Write(p)
}
