package verification_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/userapi/userapi"
	"github.com/userapi/userapi/verification"
)

// The tests below run in bubbles with a clock of their own: no test waits, and what the clock says is exact.

var errBroken = errors.New("broken")

// gateway is a Backend that does as the test says.
type gateway struct {
	mu    sync.Mutex
	do    func(ctx context.Context, m userapi.Message) error // nil = take it
	asked int
	took  []userapi.Message
}

func (g *gateway) Send(ctx context.Context, m userapi.Message) error {
	g.mu.Lock()
	g.asked++
	do := g.do
	g.mu.Unlock()
	if do != nil {
		if err := do(ctx, m); err != nil {
			return err
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.took = append(g.took, m)
	return nil
}

func (g *gateway) will(do func(ctx context.Context, m userapi.Message) error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.do = do
}

func (g *gateway) fails(err error) {
	g.will(func(context.Context, userapi.Message) error { return err })
}

// times is how often the gateway was asked since the last call.
func (g *gateway) times() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.asked
	g.asked = 0
	return n
}

func (g *gateway) hang(ctx context.Context, _ userapi.Message) error {
	<-ctx.Done()
	return ctx.Err()
}

// pair is a router over the gateways "one" and "two".
type pair struct {
	*verification.Router
	one, two gateway
	log      bytes.Buffer
}

func newPair(t *testing.T, change func(*verification.RouterConfig)) *pair {
	t.Helper()
	p := &pair{}
	cfg := verification.RouterConfig{
		Gateways: []verification.Gateway{{Name: "one", Backend: &p.one}, {Name: "two", Backend: &p.two}},
		Logger:   slog.New(slog.NewJSONHandler(&p.log, nil)),
	}
	if change != nil {
		change(&cfg)
	}
	r, err := verification.NewRouter(cfg)
	require.NoError(t, err)
	p.Router = r
	return p
}

func bubble(t *testing.T, change func(*verification.RouterConfig), test func(t *testing.T, p *pair)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newPair(t, change)) })
}

const german = "+4915123456789"

func sms(to string) userapi.Message {
	return userapi.Message{ID: "m-1", Channel: userapi.ChannelSMS, To: to, Purpose: userapi.PurposePhone, Code: "471147"}
}

func TestRouter_asks_in_order_and_in_words(t *testing.T) {
	bubble(t, nil, func(t *testing.T, p *pair) {
		require.NoError(t, p.Send(t.Context(), sms(german)))
		require.Len(t, p.one.took, 1)
		assert.Equal(t, "Your security code is: 471147", string(p.one.took[0].Text))
		assert.Zero(t, p.two.times())
		assert.Empty(t, p.log.String())
	})
}

func TestRouter_uses_its_templates(t *testing.T) {
	templates, err := verification.ParseTemplates(nil, verification.TemplateOptions{Product: "Shop"})
	require.NoError(t, err)
	bubble(t, func(c *verification.RouterConfig) { c.Templates = templates }, func(t *testing.T, p *pair) {
		require.NoError(t, p.Send(t.Context(), sms(german)))
		assert.Equal(t, "Your Shop security code is: 471147", string(p.one.took[0].Text))
		unknown := sms(german)
		unknown.Purpose = "nonsense"
		assert.ErrorContains(t, p.Send(t.Context(), unknown), "nonsense")
		assert.Len(t, p.one.took, 1)
	})
}

func TestRouter_round_robin(t *testing.T) {
	change := func(c *verification.RouterConfig) { c.RoundRobin, c.Tries = true, 1 }
	bubble(t, change, func(t *testing.T, p *pair) {
		for range 20 {
			require.NoError(t, p.Send(t.Context(), sms(german)))
		}
		assert.Len(t, p.one.took, 10)
		assert.Len(t, p.two.took, 10)
		p.one.fails(errBroken)
		for range 20 {
			require.NoError(t, p.Send(t.Context(), sms(german)))
		}
		assert.Len(t, p.two.took, 30)
	})
	bubble(t, change, func(t *testing.T, p *pair) {
		p.two.fails(errBroken)
		for range 20 {
			require.NoError(t, p.Send(t.Context(), sms(german)), "behind the last comes the first")
		}
		assert.Len(t, p.one.took, 20)
	})
}

// Each route has a turn of its own: else messages of two countries in alternation would always meet the same gateways.
func TestRouter_round_robin_by_route(t *testing.T) {
	change := func(c *verification.RouterConfig) {
		c.RoundRobin, c.Routes = true, map[string][]string{"DE": {"one", "two"}}
	}
	bubble(t, change, func(t *testing.T, p *pair) {
		for range 10 {
			require.NoError(t, p.Send(t.Context(), sms(german)))
			require.NoError(t, p.Send(t.Context(), sms("+33612345678")))
		}
		assert.Len(t, p.one.took, 10)
		assert.Len(t, p.two.took, 10)
	})
}

func TestRouter_tries_twice_then_the_next(t *testing.T) {
	bubble(t, nil, func(t *testing.T, p *pair) {
		p.one.fails(errBroken)
		require.NoError(t, p.Send(t.Context(), sms(german)))
		assert.Equal(t, 2, p.one.times())
		assert.Len(t, p.two.took, 1)
		assert.Equal(t, 2, strings.Count(p.log.String(), `"level":"WARN"`), p.log.String())
		assert.Contains(t, p.log.String(), `"gateway":"one","error":"broken"`)
	})
	bubble(t, nil, func(t *testing.T, p *pair) {
		p.one.will(func(context.Context, userapi.Message) error {
			p.one.fails(nil)
			return errBroken
		})
		require.NoError(t, p.Send(t.Context(), sms(german)))
		assert.Equal(t, 2, p.one.times(), "the second try helped")
		assert.Zero(t, p.two.times())
	})
}

func TestRouter_no_gateway_took_it(t *testing.T) {
	bubble(t, nil, func(t *testing.T, p *pair) {
		p.one.fails(errBroken)
		p.two.fails(errors.New("out of order"))
		err := p.Send(t.Context(), sms(german))
		assert.EqualError(t, err, "verification: no gateway took the message: one: broken; two: out of order")
		assert.NotErrorIs(t, err, userapi.ErrUndeliverable)
	})
}

func TestRouter_undeliverable_is_final_and_an_answer(t *testing.T) {
	change := func(c *verification.RouterConfig) { c.Tries, c.BreakAfter = 1, 2 }
	bubble(t, change, func(t *testing.T, p *pair) {
		none := fmt.Errorf("no such number: %w", userapi.ErrUndeliverable)
		for _, answer := range []error{none, none, none, errBroken, none, errBroken, none} {
			p.one.fails(answer)
			p.two.fails(nil)
			err := p.Send(t.Context(), sms(german))
			assert.Equal(t, 1, p.one.times(), "no second try, and the breaker stays closed")
			if answer == none {
				assert.ErrorIs(t, err, userapi.ErrUndeliverable)
				assert.ErrorContains(t, err, "gateway one: no such number")
				assert.Zero(t, p.two.times())
			} else {
				assert.NoError(t, err)
				p.two.times()
			}
		}
		assert.Equal(t, 2, strings.Count(p.log.String(), "WARN"), "it is no failure")
	})
}

func TestRouter_breaker_opens_and_recovers(t *testing.T) {
	change := func(c *verification.RouterConfig) { c.Tries = 1 }
	bubble(t, change, func(t *testing.T, p *pair) {
		p.one.fails(errBroken)
		for range 5 {
			require.NoError(t, p.Send(t.Context(), sms(german)))
		}
		assert.Equal(t, 5, p.one.times())
		assert.Contains(t, p.log.String(), `"breaker":"open"`)
		require.NoError(t, p.Send(t.Context(), sms(german)))
		assert.Zero(t, p.one.times(), "open")

		time.Sleep(31 * time.Second)
		require.NoError(t, p.Send(t.Context(), sms(german)))
		require.NoError(t, p.Send(t.Context(), sms(german)))
		assert.Equal(t, 1, p.one.times(), "one try, and open again")

		time.Sleep(31 * time.Second)
		p.one.fails(nil)
		for range 3 {
			require.NoError(t, p.Send(t.Context(), sms(german)))
		}
		assert.Equal(t, 3, p.one.times(), "closed")
		assert.Len(t, p.two.took, 8)
	})
}

// A gateway that comes back is tried by one message, not by all at once.
func TestRouter_half_open_breaker_lets_one_pass(t *testing.T) {
	change := func(c *verification.RouterConfig) { c.Tries, c.BreakAfter = 1, 1 }
	bubble(t, change, func(t *testing.T, p *pair) {
		p.one.fails(errBroken)
		require.NoError(t, p.Send(t.Context(), sms(german)))
		time.Sleep(31 * time.Second)
		p.one.times()
		p.one.will(func(context.Context, userapi.Message) error { time.Sleep(time.Second); return nil })
		assert.Empty(t, sendAll(p, 20))
		assert.Equal(t, 1, p.one.times())
		assert.Len(t, p.two.took, 20)
	})
}

func TestRouter_all_breakers_open(t *testing.T) {
	change := func(c *verification.RouterConfig) { c.BreakAfter = 2 }
	bubble(t, change, func(t *testing.T, p *pair) {
		p.one.fails(errBroken)
		p.two.fails(errBroken)
		require.Error(t, p.Send(t.Context(), sms(german)))
		p.one.times()
		err := p.Send(t.Context(), sms(german))
		assert.Zero(t, p.one.times())
		assert.ErrorContains(t, err, "one: left alone, its circuit breaker is open; two: left alone")
		time.Sleep(31 * time.Second)
		p.two.fails(nil)
		assert.NoError(t, p.Send(t.Context(), sms(german)))
	})
}

func TestRouter_retry_after(t *testing.T) {
	change := func(c *verification.RouterConfig) { c.BreakAfter = 1 }
	for _, test := range []struct{ says, is time.Duration }{{2 * time.Minute, 2 * time.Minute}, {24 * time.Hour, 15 * time.Minute}} {
		bubble(t, change, func(t *testing.T, p *pair) {
			p.one.fails(fmt.Errorf("one: %w", &verification.RetryError{After: test.says, Err: errors.New("busy")}))
			begun := time.Now()
			require.NoError(t, p.Send(t.Context(), sms(german)))
			assert.Equal(t, begun, time.Now(), "the next one is asked at once")
			assert.Equal(t, 1, p.one.times())
			assert.Contains(t, p.log.String(), `"breaker":"closed"`, "it answered")

			time.Sleep(test.is - time.Second)
			p.one.fails(nil)
			require.NoError(t, p.Send(t.Context(), sms(german)))
			assert.Zero(t, p.one.times(), "left alone")
			p.two.fails(errBroken)
			assert.ErrorContains(t, p.Send(t.Context(), sms(german)), "one: left alone, as it asked to be; two: broken")
			time.Sleep(2 * time.Second)
			require.NoError(t, p.Send(t.Context(), sms(german)))
			assert.Equal(t, 1, p.one.times(), "asked again")
		})
	}
}

// Without a time to come back it is a failure like any other, but for the second try.
func TestRouter_retry_after_nothing_said(t *testing.T) {
	change := func(c *verification.RouterConfig) { c.BreakAfter = 2 }
	bubble(t, change, func(t *testing.T, p *pair) {
		p.one.fails(&verification.RetryError{Err: errBroken})
		for range 3 {
			require.NoError(t, p.Send(t.Context(), sms(german)))
		}
		assert.Equal(t, 2, p.one.times())
	})
}

func TestRouter_gateway_that_hangs(t *testing.T) {
	change := func(c *verification.RouterConfig) { c.BreakAfter = 2 }
	bubble(t, change, func(t *testing.T, p *pair) {
		p.one.will(p.one.hang)
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
		defer cancel()
		require.NoError(t, p.Send(ctx, sms(german)))
		assert.Equal(t, 1, p.one.times(), "no second try")
		require.NoError(t, p.Send(t.Context(), sms(german)))
		require.NoError(t, p.Send(t.Context(), sms(german)))
		assert.Equal(t, 1, p.one.times(), "two that hang open the breaker")
		assert.Contains(t, p.log.String(), "no answer in time")
	})
}

// A gateway that answers each try late and wrongly has used up its time as well.
func TestRouter_slow_failures_share_the_timeout(t *testing.T) {
	change := func(c *verification.RouterConfig) { c.Tries, c.BreakAfter = 5, 100 }
	bubble(t, change, func(t *testing.T, p *pair) {
		p.one.will(func(ctx context.Context, _ userapi.Message) error {
			select {
			case <-time.After(6 * time.Second):
			case <-ctx.Done():
			}
			return errBroken
		})
		ctx, cancel := context.WithTimeout(t.Context(), 11*time.Second)
		defer cancel()
		require.NoError(t, p.Send(ctx, sms(german)))
		assert.Equal(t, 2, p.one.times())
	})
}

func TestRouter_gateway_that_ignores_its_context(t *testing.T) {
	change := func(c *verification.RouterConfig) { c.BreakAfter = 1 }
	bubble(t, change, func(t *testing.T, p *pair) {
		release := make(chan struct{})
		p.one.will(func(context.Context, userapi.Message) error { <-release; return nil })
		require.NoError(t, p.Send(t.Context(), sms(german)))
		require.NoError(t, p.Send(t.Context(), sms(german)))
		assert.Equal(t, 1, p.one.times(), "the breaker keeps others from being left behind")
		assert.Contains(t, p.log.String(), "does not heed its context")
		close(release)
	})
}

func TestRouter_takes_an_answer_of_the_last_moment(t *testing.T) {
	bubble(t, nil, func(t *testing.T, p *pair) {
		p.one.will(func(ctx context.Context, _ userapi.Message) error {
			<-ctx.Done()
			time.Sleep(time.Millisecond)
			return nil
		})
		require.NoError(t, p.Send(t.Context(), sms(german)))
		assert.Len(t, p.one.took, 1)
		assert.Zero(t, p.two.times())
	})
	bubble(t, nil, func(t *testing.T, p *pair) {
		p.one.will(func(ctx context.Context, _ userapi.Message) error {
			<-ctx.Done()
			return userapi.ErrUndeliverable
		})
		assert.ErrorIs(t, p.Send(t.Context(), sms(german)), userapi.ErrUndeliverable)
		assert.Zero(t, p.two.times())
	})
}

func TestRouter_end_of_the_caller_is_no_failure(t *testing.T) {
	change := func(c *verification.RouterConfig) { c.BreakAfter = 1 }
	bubble(t, change, func(t *testing.T, p *pair) {
		p.one.will(p.one.hang)
		for range 3 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			err := p.Send(ctx, sms(german))
			assert.ErrorIs(t, err, context.Canceled)
			assert.Equal(t, 1, p.one.times())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		assert.ErrorIs(t, p.Send(ctx, sms(german)), context.DeadlineExceeded)
		assert.ErrorIs(t, p.Send(ctx, sms(german)), context.DeadlineExceeded)
		assert.Equal(t, 1, p.one.times(), "not asked when ctx is over already")
		assert.Zero(t, p.two.times())
		assert.Empty(t, p.log.String())
	})
}

// The caller may also leave between two tries.
func TestRouter_end_of_the_caller_in_a_pause(t *testing.T) {
	bubble(t, nil, func(t *testing.T, p *pair) {
		p.one.fails(errBroken)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		assert.ErrorIs(t, p.Send(ctx, sms(german)), context.DeadlineExceeded)
		assert.Equal(t, 1, p.one.times())
		assert.Zero(t, p.two.times())
	})
}

func TestRouter_panic_of_a_backend(t *testing.T) {
	for name, do := range map[string]func(context.Context, userapi.Message) error{
		"panic":           func(_ context.Context, m userapi.Message) error { panic(string(m.Text)) },
		"typed nil error": func(context.Context, userapi.Message) error { var e *verification.RetryError; return e },
		"goexit":          func(context.Context, userapi.Message) error { runtime.Goexit(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, p *pair) {
				p.one.will(do)
				p.two.fails(errBroken)
				err := p.Send(t.Context(), sms(german))
				assert.ErrorContains(t, err, "two: broken")
				assert.NotContains(t, err.Error(), "471147")
				assert.NotContains(t, p.log.String(), "471147")
				assert.Contains(t, p.log.String(), `"gateway":"one"`)
			})
		})
	}
}

// sendAll sends n messages in parallel and gives the errors.
func sendAll(p *pair, n int) []error {
	var mu sync.Mutex
	var all sync.WaitGroup
	var failed []error
	for i := range n {
		all.Go(func() {
			m := sms(german)
			m.ID = fmt.Sprint(i)
			if err := p.Send(context.Background(), m); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, err)
			}
		})
	}
	all.Wait()
	return failed
}

func TestRouter_failover_loses_none(t *testing.T) {
	bubble(t, nil, func(t *testing.T, p *pair) {
		p.one.will(func(context.Context, userapi.Message) error {
			time.Sleep(time.Millisecond)
			p.one.mu.Lock()
			defer p.one.mu.Unlock()
			if len(p.one.took) >= 50 { // in the middle of it
				return errBroken
			}
			return nil
		})
		for range 4 {
			assert.Empty(t, sendAll(p, 50))
		}
		assert.Len(t, append(p.one.took, p.two.took...), 200, "each once")
		assert.GreaterOrEqual(t, len(p.one.took), 50)
		assert.GreaterOrEqual(t, len(p.two.took), 100)
	})
}

func TestRouter_routes_by_the_number(t *testing.T) {
	change := func(c *verification.RouterConfig) {
		c.Routes = map[string][]string{"CA": {"two"}, "KZ": {"two", "one"}, "GB": {"two"}}
	}
	bubble(t, change, func(t *testing.T, p *pair) {
		for number, want := range map[string]*gateway{
			"+12025550123":  &p.one, // US
			"+14165550123":  &p.two, // CA
			"+79161234567":  &p.one, // RU
			"+77011234567":  &p.two, // KZ
			"+447400123456": &p.two, // GB
			"+447781123456": &p.one, // Guernsey
			german:          &p.one,
		} {
			require.NoError(t, p.Send(t.Context(), sms(number)))
			assert.Equal(t, 1, want.times(), number)
		}
		p.one.times()
		p.two.fails(errBroken)
		assert.Error(t, p.Send(t.Context(), sms("+14165550123")))
		assert.Zero(t, p.one.times(), "a gateway that is not in the route is not asked")
		assert.NoError(t, p.Send(t.Context(), sms("+77011234567")))
		assert.Equal(t, 1, p.one.times())
	})
}

func TestJ06_countries(t *testing.T) {
	change := func(c *verification.RouterConfig) { c.Countries = []string{"DE", "US", "KZ"} }
	bubble(t, change, func(t *testing.T, p *pair) {
		for number, served := range map[string]bool{
			german: true, "+12025550123": true, "+77011234567": true,
			"+14165550123":  false, // CA, though +1
			"+18765550123":  false, // JM, though +1
			"+79161234567":  false, // RU, though +7
			"+33612345678":  false,
			"+19995550123":  false, // nobody's
			"4915123456789": false, "0151 23456789": false, "": false, "+": false, "anna@example.com": false,
		} {
			assert.Equal(t, served, p.Serves(number), number)
			err := p.Send(t.Context(), sms(number))
			if served {
				assert.NoError(t, err)
			} else {
				assert.ErrorIs(t, err, userapi.ErrUndeliverable, number)
				assert.NotContains(t, err.Error(), "5550123")
			}
		}
		assert.Equal(t, 3, p.one.times(), "no gateway is asked for the others")
	})
}

func TestJ06_numbers_that_earn(t *testing.T) {
	var earning []string
	for _, numbers := range map[string][]string{
		"premium rate": {"+19005551234", "+33899123456"},
		"shared cost":  {"+491801234567", "+448431234567"},
		"company":      {"+443001234567"},
		"personal":     {"+447012345678"},
		"voicemail":    {"+41860123456789"},
		"no country's": {"+97912345678", "+881612345678", "+883510012345", "+80012345678"},
		"nobody's":     {"+19995550123"},
	} {
		earning = append(earning, numbers...)
	}
	bubble(t, nil, func(t *testing.T, p *pair) {
		for _, number := range earning {
			assert.False(t, p.Serves(number), number)
			assert.ErrorIs(t, p.Send(t.Context(), sms(number)), userapi.ErrUndeliverable)
		}
		assert.Zero(t, p.one.times())
		for _, number := range []string{german, "+12025550123", "+33612345678", "+390612345678"} {
			assert.True(t, p.Serves(number), number)
		}
	})
	bubble(t, func(c *verification.RouterConfig) { c.AllowPremium = true }, func(t *testing.T, p *pair) {
		for _, number := range earning {
			assert.True(t, p.Serves(number), number)
			assert.NoError(t, p.Send(t.Context(), sms(number)))
		}
		assert.False(t, p.Serves("+99912345678"), "there is no such country code")
	})
	both := func(c *verification.RouterConfig) { c.AllowPremium, c.Countries = true, []string{"US"} }
	bubble(t, both, func(t *testing.T, p *pair) {
		assert.True(t, p.Serves("+19005551234"))
		assert.False(t, p.Serves("+881612345678"))
	})
}

func TestRouter_mail_has_no_country(t *testing.T) {
	change := func(c *verification.RouterConfig) { c.Countries = []string{"DE"} }
	bubble(t, change, func(t *testing.T, p *pair) {
		p.one.fails(errors.New("no room for anna@example.com"))
		require.NoError(t, p.Send(t.Context(), mail(userapi.PurposeReset)))
		require.Len(t, p.two.took, 1)
		assert.NotEmpty(t, p.two.took[0].Subject)
		assert.NotEmpty(t, p.two.took[0].HTML)
		assert.NotContains(t, p.log.String(), "anna")
		assert.Contains(t, p.log.String(), `"to":"***@example.com"`)
	})
}

// Errors of a careless backend, such as those of net/http with the whole URL, reach neither logs nor the outbox.
func TestRouter_no_secret_leaves_it(t *testing.T) {
	m := sms(german)
	m.Token, m.Link, m.Text = "the-token", "https://example.com/#the-token", "Your security code is: 471147"
	for _, is := range []error{errBroken, userapi.ErrUndeliverable, &verification.RetryError{Err: errBroken}} {
		bubble(t, nil, func(t *testing.T, p *pair) {
			leaky := func(_ context.Context, m userapi.Message) error {
				q := url.Values{"to": {m.To}, "text": {string(m.Text)}, "link": {string(m.Link)}}
				return fmt.Errorf("Get %q: %s %s %w %s", "https://sms.example.com/?"+q.Encode(), m.To, string(m.Text), is, strings.Repeat("x", 1000))
			}
			p.one.will(leaky)
			p.two.will(leaky)
			err := p.Send(t.Context(), m)
			require.Error(t, err)
			for _, text := range []string{err.Error(), p.log.String(), fmt.Sprintf("%+v", err)} {
				for _, secret := range []string{"471147", "the-token", german, german[1:], "security code"} {
					assert.NotContains(t, text, secret)
				}
				assert.Less(t, len(text), 4000)
			}
			assert.Contains(t, err.Error(), "https://sms.example.com/")
			if is != userapi.ErrUndeliverable {
				assert.Contains(t, p.log.String(), `"to":"+49*********89"`)
			}
		})
	}
}

func TestNewRouter_says_all_that_is_wrong(t *testing.T) {
	backend := &gateway{}
	_, err := verification.NewRouter(verification.RouterConfig{
		Gateways:  []verification.Gateway{{Name: "one", Backend: backend}, {Name: "one", Backend: backend}, {Backend: backend}, {Name: "none"}},
		Countries: []string{"DE", "de", "XX", "001"}, Routes: map[string][]string{"EN": {"one"}, "FR": {}, "US": {"three", "one", "one"}, "GB": {""}},
		Timeout: time.Minute, Tries: 6, BreakAfter: -1, BreakFor: -time.Second,
	})
	require.Error(t, err)
	for _, text := range []string{
		`has "one" twice`, `Gateways[2] has no Name`, `Gateways[3] "none" has no Backend`,
		`Countries: "de"`, `Countries: "XX"`, `Countries: "001"`,
		`Routes: "EN"`, `Routes["FR"] names no gateway`, `Routes["US"]: there is no gateway "three"`, `Routes["US"] names "one" twice`, `Routes["GB"]: there is no gateway ""`,
		"Timeout", "Tries", "BreakAfter", "BreakFor",
	} {
		assert.ErrorContains(t, err, text)
	}
	assert.NotContains(t, err.Error(), `"DE"`+" is no")

	_, err = verification.NewRouter(verification.RouterConfig{Countries: []string{}})
	assert.ErrorContains(t, err, "Gateways needs one")
	assert.ErrorContains(t, err, "Countries is empty")
}

// The gateways a message meets are those of the configuration as it was.
func TestNewRouter_keeps_no_hold_on_its_config(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := &gateway{}, &gateway{}
		cfg := verification.RouterConfig{Gateways: []verification.Gateway{{Name: "one", Backend: one}}, Countries: []string{"DE"}}
		r, err := verification.NewRouter(cfg)
		require.NoError(t, err)
		cfg.Gateways[0].Backend, cfg.Countries[0] = two, "FR"
		require.NoError(t, r.Send(t.Context(), sms(german)))
		assert.Equal(t, 1, one.times())
		assert.Equal(t, []string{german}, recipients(one.took))
	})
}

func recipients(messages []userapi.Message) []string {
	var to []string
	for _, m := range messages {
		to = append(to, m.To)
	}
	return slices.Sorted(slices.Values(to))
}
