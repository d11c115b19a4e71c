package main

import (
	"context"
	"fmt"
	"time"

	"github.com/userapi/userapi"
)

type auditList struct {
	Database
	User  string   `placeholder:"USER" help:"Only what is about this user: e-mail address, username or id."`
	ID    bool     `name:"id" help:"USER is an id, perhaps of a user who was erased."`
	Kind  []string `placeholder:"KIND" help:"Only events of this kind, such as login.failed; may be repeated."`
	Since string   `placeholder:"DATE|TIME" help:"Not what was before: a day (2030-12-31, UTC) or a time (2030-12-31T12:00:00Z)."`
	Until string   `placeholder:"DATE|TIME" help:"Only what was before."`
	Limit int      `default:"100" help:"How many at most; 0 = all. Default: ${default}."`
}

// Run prints the events, newest first, page by page.
func (c *auditList) Run(ctx context.Context) (err error) {
	query := userapi.EventQuery{UserID: c.User, Limit: 100}
	if query.Since, err = moment("--since", c.Since); err != nil {
		return err
	}
	if query.Until, err = moment("--until", c.Until); err != nil {
		return err
	}
	if c.Limit < 0 {
		return wrongUsef("--limit is 0 or more")
	}
	for _, kind := range c.Kind {
		query.Kinds = append(query.Kinds, userapi.EventKind(kind))
	}
	return c.use(ctx, func(api *userapi.API) error {
		if c.User != "" && !c.ID {
			user, err := Named{User: c.User}.find(ctx, api)
			if err != nil {
				return err
			}
			query.UserID = user.ID
		}
		out := newTable("AT", "KIND", "ACTOR", "USER", "CUSTOMER", "ADDRESS", "DETAIL", "ID")
		for left := c.Limit; ; left -= query.Limit {
			if c.Limit > 0 {
				query.Limit = min(left, 100)
			}
			page, err := api.Audit.List(ctx, userapi.System(), query)
			if err != nil {
				return err
			}
			for _, e := range page.Events {
				actor := e.ActorID
				if actor == "" {
					actor = e.ActorKind
				}
				out.row(e.At.Format("2006-01-02T15:04:05.000Z07:00"), string(e.Kind), actor, e.UserID, e.CustomerID, e.Address, e.Detail, e.ID)
			}
			if err := out.Flush(); err != nil || !page.HasNext || left == query.Limit {
				return err
			}
			query.Cursor = page.Cursor
		}
	})
}

type auditPrune struct {
	Database
	Before string `required:"" placeholder:"DATE|TIME" help:"Delete what was before: a day (2030-12-31, UTC) or a time (2030-12-31T12:00:00Z)."`
}

// Run deletes the events and prints how many went.
func (c *auditPrune) Run(ctx context.Context) error {
	before, err := moment("--before", c.Before)
	if err != nil {
		return err
	}
	return c.use(ctx, func(api *userapi.API) error {
		n, err := api.Audit.Prune(ctx, userapi.System(), before)
		fmt.Println(n)
		return err
	})
}

// moment reads a flag that is the beginning of a day, or a time; "" is none.
func moment(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.DateOnly, text)
	if err != nil {
		at, err = time.Parse(time.RFC3339, text)
	}
	if err != nil {
		return time.Time{}, wrongUsef("%s: a day such as 2030-12-31, or a time such as 2030-12-31T12:00:00Z", flag)
	}
	return at, nil
}
