package userapi

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// Hooks are the host's callbacks. Every field may be nil.
//
// A Before… hook runs after validation and before the write, outside any transaction of ours (see API.WithStore); its
// error refuses the operation and reaches the caller (a plain error as a 500 without text, an *Error as it is). A past-tense hook runs
// after the commit on the caller's goroutine, under a context that outlives the request but ends after 5 s. It gets
// a copy, runs at most once, and neither its panic nor its slowness beyond the deadline changes the answer. Who may
// not miss one writes in the same transaction: see API.WithStore.
type Hooks struct {
	BeforeUserCreated func(ctx context.Context, u User) error
	BeforeUserUpdated func(ctx context.Context, before, after User) error

	// UserCreated runs once for each new account, however it came to be. A registration under RegistrationVerify is none
	// before it is activated, or an admin decides about it: until then no past-tense hook runs for it.
	UserCreated func(ctx context.Context, u User)
	// UserUpdated runs for every change: fields, roles, (de)activation, verified marks, password.
	UserUpdated func(ctx context.Context, u User)
	// UserDeleted runs when an account was erased.
	UserDeleted func(ctx context.Context, u User)

	// Event runs for each event of the audit trail, once it is stored, whatever it is about: for alerts, or to carry the trail
	// elsewhere. It runs once for a stored event, and not at all where the process ended in between, a commit's outcome stayed unknown or
	// a host's transaction was committed without API.Committed: who has to see all of them reads Audit.List. What it does
	// to the API is in the trail again.
	Event func(ctx context.Context, e Event)

	// PhoneProved runs when a number (E.164) was proven, for the account u, which it belongs to now. u is zero when a caller
	// without credential proved it: see Verification.AnonymousPhone.
	PhoneProved func(ctx context.Context, u User, number string)
}

// hookDeadline bounds a past-tense hook that heeds its context.
const hookDeadline = 5 * time.Second

// after runs a past-tense hook, or queues it on an API bound to a host's transaction.
func (c *core) after(ctx context.Context, name string, run func(ctx context.Context)) {
	c.afterCommit(ctx, func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), hookDeadline)
		defer cancel()
		defer func() {
			if p := recover(); p != nil {
				c.log.ErrorContext(ctx, "a hook panicked", slog.String("hook", name), slog.String("panic", fmt.Sprintf("%T", p)))
			}
		}()
		run(ctx)
	})
}

func (c *core) userCreated(ctx context.Context, u User) {
	if hook := c.hooks.UserCreated; hook != nil {
		c.after(ctx, "UserCreated", func(ctx context.Context) { hook(ctx, u.clone()) })
	}
}

// changed runs the hook of a changed account: one that was only registered is new when it no longer is that.
func (c *core) changed(ctx context.Context, before, after Account) {
	switch {
	case after.Pending:
	case before.Pending:
		c.userCreated(ctx, after.User)
	default:
		c.userUpdated(ctx, after.User)
	}
}

func (c *core) userUpdated(ctx context.Context, u User) {
	if hook := c.hooks.UserUpdated; hook != nil {
		c.after(ctx, "UserUpdated", func(ctx context.Context) { hook(ctx, u.clone()) })
	}
}

func (c *core) phoneProved(ctx context.Context, u User, number string) {
	if hook := c.hooks.PhoneProved; hook != nil {
		c.after(ctx, "PhoneProved", func(ctx context.Context) { hook(ctx, u.clone(), number) })
	}
}

func (c *core) userDeleted(ctx context.Context, u User) {
	if hook := c.hooks.UserDeleted; hook != nil {
		c.after(ctx, "UserDeleted", func(ctx context.Context) { hook(ctx, u.clone()) })
	}
}
