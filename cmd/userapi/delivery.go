package main

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	deliverEvery = 2 * time.Second
	// lastChance is what messages get that still wait when the program is asked to stop.
	lastChance = 5 * time.Second
)

// delivery sends what waits in the outbox.
type delivery struct {
	deliver func(context.Context) (int, error) // API.Deliver
	log     *slog.Logger
	wake    chan struct{}
	closing chan struct{}
	running sync.WaitGroup
	cancel  context.CancelFunc
	failing bool
}

func newDelivery(log *slog.Logger) *delivery {
	return &delivery{log: log, wake: make(chan struct{}, 1), closing: make(chan struct{}), cancel: func() {}}
}

// queued is Hooks.MessageQueued. It never waits.
func (d *delivery) queued(context.Context) {
	select {
	case d.wake <- struct{}{}:
	default: // somebody is being woken already
	}
}

// start delivers until stop is called.
func (d *delivery) start(deliver func(context.Context) (int, error)) {
	var ctx context.Context
	ctx, d.cancel = context.WithCancel(context.Background())
	d.deliver = deliver
	d.running.Go(func() { d.run(ctx) })
}

func (d *delivery) run(ctx context.Context) {
	tick := time.NewTicker(deliverEvery)
	defer tick.Stop()
	for closing := false; !closing; {
		d.once(ctx)
		select {
		case <-d.wake:
		case <-tick.C:
		case <-d.closing:
			closing = true
		}
	}
	d.once(ctx) // what the last requests left
}

// once logs where a failure begins and no more: a database that is away fails every time.
func (d *delivery) once(ctx context.Context) {
	_, err := d.deliver(ctx)
	if ctx.Err() != nil {
		return
	}
	if err != nil && !d.failing {
		d.log.Warn("could not deliver", "error", err.Error())
	}
	d.failing = err != nil
}

// stop gives what still waits its last chance. The rest waits for the next start.
func (d *delivery) stop() {
	close(d.closing)
	ended := make(chan struct{})
	go func() {
		d.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(lastChance):
	}
	d.cancel()
	select {
	case <-ended: // a moment, to note what became of those that were cut off
	case <-time.After(2 * time.Second):
	}
}
