package userapi

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"time"
)

// What guards an account against guessing must not shut its owner out: whoever knows a name can use a budget up. So an address
// that the account logged in from lately has a budget of its own, and the owner is told when one is used up (OWASP ASVS 6.1.1, 6.3.1).

const (
	knownFor   = 30 * day
	knownAfter = 29 * day // a mark that lasts longer than this is as good as new
	// maxKnown bounds the addresses that are remembered of an account.
	maxKnown = 20
)

// ownerNotices are the limits that guard an account, and what its owner is told when a budget of it is used up.
var ownerNotices = map[string]Notice{
	LimitLogin: NoticeLoginLimited, LimitPassword: NoticePasswordLimited, LimitSecondFactor: NoticeSecondFactorLimited,
}

// guarded is what an attempt on an account needs to know of it.
type guarded struct {
	name    string
	actor   Actor
	account Account   // zero = there is none
	known   time.Time // until when the address is known by a login
	full    bool      // perhaps as many addresses are known as may be
}

// takeLogin is take for a login; subject is that of loginAccount. For names that nobody has it does the same.
func (c *core) takeLogin(ctx context.Context, actor Actor, acc MarkedAccount, subject string) (taken, error) {
	now := c.nowMillis()
	known := acc.Until[0].After(now) || acc.Until[1].After(now)
	return c.takeGuarded(ctx, subject, known, guarded{name: LimitLogin, actor: actor, account: acc.Account, known: acc.Until[0], full: acc.Marked >= maxKnown})
}

// takeOwn is take for what else guards an account. A mailbox is no second factor: what is known by a reset does not count.
func (c *core) takeOwn(ctx context.Context, name string, actor Actor, acc Account) (taken, error) {
	if c.bound != nil {
		return taken{core: c}, ErrInTx
	}
	o := guarded{name: name, actor: actor, account: acc, full: true}
	if block := actor.AddressBlock(); block != "" && c.guards(name) {
		marks, err := c.store.ReadLimits(ctx, c.nowMillis(), []string{MarksOf(acc.ID) + c.mark(block, knownByLogin)})
		if err != nil {
			return taken{core: c}, err
		}
		for _, m := range marks {
			o.known = m.EndsAt
		}
	}
	return c.takeGuarded(ctx, "#"+acc.ID, !o.known.IsZero(), o)
}

func (c *core) takeGuarded(ctx context.Context, subject string, known bool, o guarded) (taken, error) {
	who := counted{account: subject, known: known}
	if known {
		who.account += "\x00" + o.actor.AddressBlock()
	}
	t, err := c.take(ctx, o.name, o.actor, who)
	t.owner = &o
	return t, err
}

// guards reports whether somebody could use up what attempts of this name have in common.
func (c *core) guards(name string) bool {
	return slices.ContainsFunc(c.cfg.Limits[name], func(l Limit) bool { return l.Per == PerAccount || l.Per == PerProcess })
}

const (
	knownByLogin = "login" // a whole one
	knownByReset = "reset" // good for logins alone
)

// mark names an address of an account, as limitKey does.
func (c *core) mark(block, how string) string { return c.keyed("address\x00" + how + "\x00" + block) }

// keyed is a hash that nobody makes without the secret: the texts are personal data.
func (c *core) keyed(text string) string {
	mac := hmac.New(sha256.New, c.tokens.limitKey)
	mac.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:18])
}

// remember is the mark of an address, nil where no limit would ask for it. full: there may be no room for it.
func (c *core) remember(actor Actor, userID, how string, full bool) []LimitReturn {
	block := actor.AddressBlock()
	if block == "" || !c.guards(LimitLogin) && !c.guards(LimitPassword) && !c.guards(LimitSecondFactor) {
		return nil
	}
	mark := LimitMark{Until: c.nowMillis().Add(knownFor), Of: MarksOf(userID)}
	if full {
		mark.Cap = maxKnown
	}
	return []LimitReturn{{Key: mark.Of + c.mark(block, how), Mark: &mark}}
}

// settles is what goes back with the write that opens a session, and the mark of where it was opened.
func (c *core) settles(actor Actor, s Session, attempt *taken) (returns []LimitReturn) {
	lasting, full := time.Time{}, true
	if attempt != nil {
		returns = attempt.returns(succeeded)
		if o := attempt.owner; o != nil {
			lasting, full = o.known, o.full
		}
	}
	if s.Step == "" && lasting.Before(c.nowMillis().Add(knownAfter)) {
		returns = append(returns, c.remember(actor, s.UserID, knownByLogin, full)...)
	}
	return returns
}

// letIn lets the owner log in who has just reset the password, whatever others go on doing.
func (c *core) letIn(ctx context.Context, actor Actor, userID string) {
	returns := c.remember(actor, userID, knownByReset, true)
	for _, limit := range c.cfg.Limits[LimitLogin] {
		if limit.Per == PerAccount {
			returns = append(returns, LimitReturn{Key: c.limitKey(LimitLogin, limit, "#"+userID), Clear: true})
		}
	}
	if len(returns) > 0 {
		c.giveBack(ctx, func(ctx context.Context) error { return c.store.ReturnLimits(ctx, returns) })
	}
}

// tell has the owner told where the attempt was the last of a budget of the account: once for each window, whichever node saw it. A name
// that nobody has takes as long.
func (t *taken) tell(ctx context.Context) {
	c, o := t.core, t.owner
	c.bestEffort(ctx, "could not tell an owner of too many attempts", func(ctx context.Context) error {
		now, keys := c.nowMillis(), make([]string, len(t.account))
		for i, take := range t.account {
			keys[i] = take.Key
		}
		counts, err := c.store.ReadLimits(ctx, now, keys)
		if err != nil {
			return err
		}
		var lasts time.Duration
		for _, count := range counts {
			i := slices.IndexFunc(t.account, func(take LimitTake) bool { return take.Key == count.Key })
			if count.Hits >= t.account[i].Max {
				lasts = max(lasts, count.EndsAt.Sub(now))
			}
		}
		if lasts == 0 {
			return nil
		}
		once := LimitTake{Key: "told:" + c.keyed(fmt.Sprint("told\x00", keys)), Max: 1, Window: lasts}
		if wait, err := c.store.TakeLimits(ctx, now, []LimitTake{once}); err != nil || wait > 0 {
			return err
		}
		to, user := "", o.account.User
		if user.Active {
			to = o.account.EmailKey
		}
		w := ChallengeInsert{Event: c.event(o.actor, EventLimitReached, user, o.name)}
		if w.Outgoing.Messages, err = c.tellOrNot(ctx, o.actor, user, to, ownerNotices[o.name]); err != nil {
			return err
		}
		return c.put(ctx, w)
	})
}

// tellOrNot is notify; where there is nobody to tell, it makes a message that is thrown away.
func (c *core) tellOrNot(ctx context.Context, actor Actor, user User, to string, n Notice) ([]SealedMessage, error) {
	if to != "" || c.cfg.Verification.Mail == nil {
		return c.notify(ctx, actor, user, to, n)
	}
	m, err := c.compose(ctx, actor, user, Message{Channel: ChannelEmail, Purpose: PurposeNotice, Notice: n, ExpiresAt: c.nowMillis().Add(noticeLives)}, "")
	return []SealedMessage{m}, err
}
