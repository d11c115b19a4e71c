package verification

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
	"github.com/userapi/userapi"
)

// gateway is a Backend with what is remembered of it.
type gateway struct {
	name    string
	backend Backend
	breaker *gobreaker.CircuitBreaker[struct{}]
	rests   atomic.Pointer[time.Time] // until when it asked to be left alone; nil = it never did
}

func newGateway(g Gateway, cfg RouterConfig) *gateway {
	return &gateway{name: g.Name, backend: g.Backend, breaker: gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name:        g.Name,
		Timeout:     cfg.BreakFor,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= uint32(cfg.BreakAfter) },
		IsSuccessful: func(err error) bool {
			return err == nil || err.(*failure).reason == undeliverable
		},
		IsExcluded: func(err error) bool {
			return err != nil && (err.(*failure).reason == abandoned || err.(*failure).after > 0)
		},
	})}
}

// reason is why a try did not send the message.
type reason uint8

const (
	broken        reason = iota // any error: trying again may help
	hung                        // no answer in time
	resting                     // the gateway says it wants to be left alone
	undeliverable               // the gateway says it can never be delivered
	skipped                     // the gateway was not asked
	abandoned                   // the caller's context ended
)

func (r reason) isOfGateway() bool { return r <= resting }

// failure is a try that did not send the message. Its text holds nothing of the message.
type failure struct {
	reason reason
	text   string
	after  time.Duration // of resting: how long; 0 = not said
}

// Error implements error, for the circuit breaker.
func (f *failure) Error() string { return f.text }

// errHung is why the context of a gateway ended when the gateway took too long.
var errHung = errors.New("no answer in time")

// ended says why the context of a gateway is over, nil while it is not.
func ended(ctx context.Context) *failure {
	switch {
	case ctx.Err() == nil:
		return nil
	case errors.Is(context.Cause(ctx), errHung):
		return &failure{reason: hung, text: errHung.Error()}
	default:
		return &failure{reason: abandoned}
	}
}

// maxRest bounds how long a gateway may ask to be left alone.
const maxRest = 15 * time.Minute

// try asks the gateway once, unless its circuit breaker or what it said before forbids it.
func (g *gateway) try(ctx context.Context, m userapi.Message) *failure {
	if f := ended(ctx); f != nil {
		return f
	}
	if until := g.rests.Load(); until != nil && time.Now().Before(*until) {
		return &failure{reason: skipped, text: "left alone, as it asked to be"}
	}
	var f *failure
	_, err := g.breaker.Execute(func() (struct{}, error) {
		if f = g.call(ctx, m); f != nil {
			return struct{}{}, f
		}
		return struct{}{}, nil
	})
	if f == nil && err != nil {
		return &failure{reason: skipped, text: "left alone, its circuit breaker is open"}
	}
	if f != nil && f.after > 0 {
		until := time.Now().Add(f.after)
		g.rests.Store(&until)
	}
	return f
}

// grace is what a backend gets after its context has ended, to come back.
const grace = time.Second

// call runs the backend until it answers, or until its context is over and grace too. A backend that stays even longer
// is left behind: the circuit breaker sees to it that these do not grow many.
func (g *gateway) call(ctx context.Context, m userapi.Message) *failure {
	answer := make(chan *failure, 1)
	go func() { answer <- send(ctx, g.backend, m) }()
	var f *failure
	select {
	case f = <-answer:
	case <-ctx.Done():
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case f = <-answer:
		case <-timer.C:
			f = &failure{text: "does not heed its context"}
		}
	}
	if over := ended(ctx); over != nil && f != nil && f.reason == broken {
		over.text += ": " + f.text
		return over
	}
	return f
}

// send calls the backend and judges its error, here, where whatever the backend's code does wrong stays its own error.
func send(ctx context.Context, backend Backend, m userapi.Message) (f *failure) {
	defer func() {
		if p := recover(); p != nil {
			f = &failure{text: fmt.Sprintf("panicked with a %T", p)}
		}
	}()
	err := backend.Send(ctx, m)
	if err == nil {
		return nil
	}
	f = &failure{text: scrub(err.Error(), m)}
	var retry *RetryError
	switch {
	case errors.Is(err, userapi.ErrUndeliverable):
		f.reason = undeliverable
	case errors.As(err, &retry):
		f.reason, f.after = resting, min(max(retry.After, 0), maxRest)
	}
	return f
}
