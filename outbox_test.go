package userapi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
)

// senderFunc is a Sender that is a function.
type senderFunc func(ctx context.Context, m userapi.Message) error

func (f senderFunc) Send(ctx context.Context, m userapi.Message) error { return f(ctx, m) }

func TestDeliver_K04_a_gateway_that_fails_changes_no_answer_and_loses_no_message(t *testing.T) {
	var log bytes.Buffer
	o := newOffice(t, func(c *userapi.Config) { c.Logger = slog.New(slog.NewJSONHandler(&log, nil)) })
	o.user("default", "ada")
	failures := []func(m userapi.Message) error{
		func(m userapi.Message) error { return fmt.Errorf("no luck with %v %s", m.Token, m.Token) },
		func(userapi.Message) error { panic("a defect") },
	}
	o.requestReset("ada")
	var tried []userapi.Message
	for _, fail := range failures {
		o.box.fail = func(m userapi.Message) error { tried = append(tried, m); return fail(m) }
		before := len(tried)
		deadline := time.Now().Add(30 * time.Second)
		for len(tried) == before && time.Now().Before(deadline) {
			sent, err := o.Deliver(ctx)
			require.NoError(t, err)
			require.Zero(t, sent)
			time.Sleep(10 * time.Millisecond)
		}
	}
	o.box.fail = nil
	require.Eventually(t, func() bool {
		sent, err := o.Deliver(ctx)
		return err == nil && sent == 1
	}, 30*time.Second, 10*time.Millisecond)
	m := o.box.got[0]
	require.Len(t, tried, 2)
	for i, earlier := range tried {
		assert.Equal(t, i+1, earlier.Attempt)
		assert.Equal(t, m.Token, earlier.Token, "the same token each time")
		assert.Equal(t, m.ID, earlier.ID)
	}
	assert.Equal(t, 3, m.Attempt)
	assert.NotContains(t, log.String(), string(m.Token))
	assert.NotContains(t, log.String(), "ada@example.com")
	require.NoError(t, o.Passwords.Reset(ctx, anonymous(), m.Token, another))
}

func TestDeliver_what_can_never_arrive_is_void_and_told(t *testing.T) {
	o := newOffice(t, nil)
	o.user("default", "ada")
	_, ada := o.login("ada", password)
	var lost userapi.Message
	o.box.fail = func(m userapi.Message) error {
		lost = m
		return fmt.Errorf("no such number: %w", userapi.ErrUndeliverable)
	}
	require.NoError(t, o.Contacts.RequestPhone(ctx, ada, userapi.PhoneRequest{Phone: "+4930123456"}))
	sent, err := o.Deliver(ctx)
	require.NoError(t, err)
	assert.Zero(t, sent)
	_, err = o.Contacts.ConfirmPhone(ctx, ada, "+4930123456", lost.Code)
	assert.ErrorIs(t, err, userapi.ErrInvalidCode)
	assert.Equal(t, 1, o.count(userapi.EventMessageFailed))
	o.box.fail = nil
	o.silent("+4930123456", userapi.PurposePhone)
}

func TestDeliver_gives_up_when_the_code_has_expired(t *testing.T) {
	o := newOffice(t, nil)
	o.user("default", "ada")
	o.requestReset("ada")
	o.clock.add(time.Hour)
	o.silent("ada@example.com", userapi.PurposeReset)
	assert.Equal(t, 1, o.count(userapi.EventMessageFailed))
	o.silent("ada@example.com", userapi.PurposeReset)
	assert.Equal(t, 1, o.count(userapi.EventMessageFailed), "once")
}

func TestDeliver_by_many_at_once_sends_each_message_once(t *testing.T) {
	o := newOffice(t, func(c *userapi.Config) { c.Verification.AnonymousPhone = true })
	for i := range 100 {
		require.NoError(t, o.Contacts.RequestPhone(ctx, anonymous(), userapi.PhoneRequest{Phone: fmt.Sprintf("+4930%07d", i)}))
	}
	other := o.second(func(c *userapi.Config) { o.wire(c, nil) })
	var total atomic.Int64
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			sent, err := []*userapi.API{o.API, other}[i%2].Deliver(ctx)
			assert.NoError(t, err)
			total.Add(int64(sent))
		})
	}
	all.Wait()
	assert.EqualValues(t, 100, total.Load())
	seen := map[string]bool{}
	for _, m := range o.box.got {
		assert.False(t, seen[m.To], "twice")
		seen[m.To] = true
	}
	assert.Len(t, seen, 100)
}

func TestDeliver_a_stop_in_the_middle_leaves_the_message_to_the_next(t *testing.T) {
	o := newOffice(t, nil)
	o.user("default", "ada")
	o.requestReset("ada")
	stopping, stop := context.WithCancel(ctx)
	half := o.second(func(c *userapi.Config) {
		o.wire(c, nil)
		c.Verification.Mail = senderFunc(func(ctx context.Context, _ userapi.Message) error {
			stop()
			<-ctx.Done()
			return ctx.Err()
		})
	})
	sent, _ := half.Deliver(stopping)
	assert.Zero(t, sent)
	o.receive("ada@example.com", userapi.PurposeReset) // at once, and not when a lease has ended
}

func TestDeliver_what_was_sent_is_noted_though_the_caller_stops(t *testing.T) {
	o := newOffice(t, nil)
	o.user("default", "ada")
	o.requestReset("ada")
	stopping, stop := context.WithCancel(ctx)
	api := o.second(func(c *userapi.Config) {
		o.wire(c, nil)
		c.Verification.Mail = senderFunc(func(ctx context.Context, m userapi.Message) error {
			stop()
			return o.box.Send(ctx, m)
		})
	})
	sent, _ := api.Deliver(stopping)
	assert.Equal(t, 1, sent)
	_, err := o.Deliver(ctx)
	require.NoError(t, err)
	assert.Len(t, o.box.all("ada@example.com", userapi.PurposeReset), 1)
	rows, err := o.store.LeaseMessages(ctx, 10, 0)
	require.NoError(t, err)
	assert.Empty(t, rows, "nothing is left of it")
}

func TestDeliver_mail_goes_by_mail_and_SMS_by_SMS(t *testing.T) {
	mail, sms := &postbox{}, &postbox{}
	o := newOffice(t, func(c *userapi.Config) { c.Verification.Mail, c.Verification.SMS = mail, sms })
	o.user("default", "ada")
	_, ada := o.login("ada", password)
	o.requestReset("ada")
	require.NoError(t, o.Contacts.RequestPhone(ctx, ada, userapi.PhoneRequest{Phone: "+4930123456"}))
	sent, err := o.Deliver(ctx)
	require.NoError(t, err)
	assert.Equal(t, 2, sent)
	assert.Len(t, mail.all("ada@example.com", userapi.PurposeReset), 1)
	assert.Len(t, sms.all("+4930123456", userapi.PurposePhone), 1)
}

func TestDeliver_a_message_that_hangs_keeps_no_other_waiting(t *testing.T) {
	o := newOffice(t, func(c *userapi.Config) { c.Verification.AnonymousPhone = true })
	for i := range 7 {
		require.NoError(t, o.Contacts.RequestPhone(ctx, anonymous(), userapi.PhoneRequest{Phone: fmt.Sprintf("+4930%07d", i)}))
	}
	hanging, arrived, stop := make(chan struct{}, 7), make(chan userapi.Message, 1), make(chan struct{})
	api := o.second(func(c *userapi.Config) {
		o.wire(c, nil)
		c.Verification.SMS = senderFunc(func(ctx context.Context, m userapi.Message) error {
			if m.To == "+49307777777" {
				arrived <- m
				return nil
			}
			hanging <- struct{}{}
			<-stop
			return nil
		})
	})
	ended := make(chan int)
	go func() {
		sent, err := api.Deliver(ctx)
		assert.NoError(t, err)
		ended <- sent
	}()
	for range 7 {
		<-hanging
	}
	require.NoError(t, o.Contacts.RequestPhone(ctx, anonymous(), userapi.PhoneRequest{Phone: "+49307777777"}))
	<-arrived
	close(stop)
	assert.Equal(t, 8, <-ended)
}

func TestDeliver_after_a_change_of_the_secret(t *testing.T) {
	o := newOffice(t, nil)
	o.user("default", "ada")
	o.requestReset("ada")
	fresh := o.second(func(c *userapi.Config) { o.wire(c, nil); c.Secret = "another secret of more than thirty-two bytes" })
	sent, err := fresh.Deliver(ctx)
	require.NoError(t, err)
	assert.Zero(t, sent, "a node that does not know the secret leaves the message to one that does")
	assert.Zero(t, o.count(userapi.EventMessageFailed))
	o.requestReset("ada")
	o.clock.add(time.Hour)
	_, err = fresh.Deliver(ctx)
	require.NoError(t, err)
	assert.Equal(t, 1, o.count(userapi.EventMessageFailed), "until it has expired")

	o.requestReset("ada")
	rotated := o.second(func(c *userapi.Config) {
		o.wire(c, nil)
		c.Secret, c.OldSecrets = "another secret of more than thirty-two bytes", []userapi.Secret{secret}
	})
	sent, err = rotated.Deliver(ctx)
	require.NoError(t, err)
	assert.Equal(t, 1, sent)
	token := o.box.all("ada@example.com", userapi.PurposeReset)[0].Token
	require.NoError(t, rotated.Passwords.Reset(ctx, anonymous(), token, another), "and its tokens hold")
}

func TestRun_sends_what_is_queued_and_gives_the_rest_a_last_chance(t *testing.T) {
	o := newOffice(t, nil)
	o.user("default", "ada")
	under, goOn := make(chan struct{}, 10), make(chan struct{})
	api := o.second(func(c *userapi.Config) {
		o.wire(c, nil)
		c.Verification.Mail = senderFunc(func(ctx context.Context, m userapi.Message) error {
			under <- struct{}{}
			select {
			case <-goOn:
				return o.box.Send(ctx, m)
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	running, end := context.WithCancelCause(ctx)
	ended := make(chan error)
	go func() { ended <- api.Run(running) }()
	require.NoError(t, api.Passwords.RequestReset(ctx, anonymous(), userapi.ResetRequest{Identifier: "ada"}))
	<-under
	reason := errors.New("enough")
	end(reason) // while the message is under way
	require.NoError(t, api.Passwords.RequestReset(ctx, anonymous(), userapi.ResetRequest{Identifier: "ada"}))
	close(goOn)
	assert.Equal(t, reason, <-ended)
	assert.Len(t, o.box.all("ada@example.com", userapi.PurposeReset), 2, "what was under way, and what came last")

	w := newWorld(t, nil)
	stopped, stop := context.WithCancel(ctx)
	stop()
	assert.ErrorIs(t, w.Run(stopped), context.Canceled, "without a Sender it sweeps alone")
}

func TestRun_tells_once_where_a_failure_begins(t *testing.T) {
	o := newOffice(t, nil)
	var log syncBuffer
	tried := make(chan struct{}, 100)
	api := o.second(func(c *userapi.Config) {
		o.wire(c, nil)
		c.Store = &awayOutbox{Store: o.store, tried: tried}
		c.Logger = slog.New(slog.NewJSONHandler(&log, nil))
	})
	o.user("default", "ada")
	running, end := context.WithCancel(ctx)
	ended := make(chan error)
	go func() { ended <- api.Run(running) }()
	for range 3 {
		<-tried
		require.NoError(t, api.Passwords.RequestReset(ctx, anonymous(), userapi.ResetRequest{Identifier: "ada"}))
	}
	end()
	<-ended
	assert.Equal(t, 1, strings.Count(log.String(), "could not deliver"))
}

// awayOutbox is a store that leases nothing.
type awayOutbox struct {
	userapi.Store
	tried chan struct{}
}

func (a *awayOutbox) LeaseMessages(context.Context, int, time.Duration) ([]userapi.SealedMessage, error) {
	a.tried <- struct{}{}
	return nil, userapi.ErrUnavailable
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestMessage_carries_what_templates_and_gateways_need(t *testing.T) {
	o := newOffice(t, func(c *userapi.Config) {
		c.Verification.Locale = func(_ context.Context, u userapi.User) string { return "de-" + u.Username }
		c.DefaultRegion = "DE"
	})
	u := o.user("default", "ada")
	_, ada := o.login("ada", password)
	require.NoError(t, o.Contacts.RequestPhone(ctx, ada, userapi.PhoneRequest{Phone: "030 123456", Resend: true}))
	m := o.receive("+4930123456", userapi.PurposePhone)
	assert.Equal(t, userapi.Message{
		ID: m.ID, Channel: userapi.ChannelSMS, To: "+4930123456", Purpose: userapi.PurposePhone, Code: m.Code,
		ExpiresAt: o.clock.Now().Add(10 * time.Minute).Truncate(time.Millisecond), Resend: true, Attempt: 1,
		UserID: u.ID, Name: "ada", Locale: "de-ada", Address: "192.0.2.1",
	}, m)
}
