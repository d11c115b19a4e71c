package userapi

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Limits says how many attempts pass, by the name of what is attempted. A name that is not there is unlimited.
type Limits map[string][]Limit

// Limit is one budget: at most Max attempts in a Window for each of what Per names. The window begins with the first
// attempt. PerProcess is a bucket instead: Max at once, and then one more each Window / Max.
//
// Of LimitLogin, LimitPassword and LimitSecondFactor the windows per account grow while attempts fail in a row: twice as long for each
// Max of them, up to an hour, and from the hundredth on a day (NIST SP 800-63B); a right one, or a day without any, begins anew. From an
// address that the account logged in from within the last 30 days they have a budget of their own, so that nobody locks an owner
// out from elsewhere.
type Limit struct {
	Max    int // 1 to 1,000,000
	Window time.Duration
	Per    LimitPer
}

// LimitPer says whose budget it is.
type LimitPer string

const (
	PerAccount LimitPer = "account" // whether or not the account exists
	PerAddress LimitPer = "address" // the network address; IPv6 by its /64

	PerRecipient LimitPer = "recipient" // the mailbox or phone number that is written to
	PerCountry   LimitPer = "country"   // of the phone number
	PerInstance  LimitPer = "instance"  // everybody together, on all nodes
	PerProcess   LimitPer = "process"   // everybody together on this node, but for addresses that an account is known to log in from; kept in memory
)

// What is attempted.
const (
	LimitLogin    = "login"    // counts logins that failed
	LimitPassword = "password" // counts own passwords given wrongly
	LimitRefresh  = "refresh"  // counts refresh tokens that did not hold; those that do are not limited
	LimitKey      = "key"      // counts API keys that were looked up and did not hold; those that do are not limited
	LimitRegister = "register" // counts registrations

	LimitSecondFactor = "second_factor" // counts codes of a second factor that were wrong

	// What is sent; the first window of each is the cool-down between two messages.
	LimitReset      = "reset"
	LimitActivation = "activation" // also counts what is written to an address that is registered already
	LimitEmail      = "email"      // proofs and changes of an e-mail address
	LimitPhone      = "phone"
	// LimitUnproven counts codes sent to a country; each that is proven gives back two. Where fewer than half come back,
	// somebody is paid for SMS that nobody reads: when it is used up, the country gets no more until the window ends.
	LimitUnproven = "unproven"
	// LimitNotice counts what owners are told of their account at an address that nobody has proven. One too many is left out; what it was to tell of
	// happens all the same.
	LimitNotice = "notice"

	LimitConfirm = "confirm" // counts wrong codes and link tokens
)

const (
	minute = time.Minute
	hour   = time.Hour
	day    = 24 * time.Hour
)

// DefaultLimits is
//
//	login=5/10m/account,20/m/address,600/m/process;password=5/10m/account;second_factor=5/10m/account,50/d/account,20/m/address;
//	refresh=100/m/address;key=100/m/address;confirm=10/h/account,30/10m/address;
//	reset=1/m/account,10/d/account,30/h/address;activation=1/m/recipient,5/d/recipient,30/h/address;
//	email=1/m/account,10/d/account,10/d/recipient;notice=5/h/recipient;unproven=100/15m/country;register=100/h/address;
//	phone=1/m/recipient,10/d/recipient,20/h/account,30/h/address,500/h/country,5000/d/instance
func DefaultLimits() Limits {
	return Limits{
		LimitLogin:        {{5, 10 * minute, PerAccount}, {20, minute, PerAddress}, {600, minute, PerProcess}},
		LimitPassword:     {{5, 10 * minute, PerAccount}},
		LimitSecondFactor: {{5, 10 * minute, PerAccount}, {50, day, PerAccount}, {20, minute, PerAddress}},
		LimitRefresh:      {{100, minute, PerAddress}},
		LimitKey:          {{100, minute, PerAddress}},
		LimitConfirm:      {{10, hour, PerAccount}, {30, 10 * minute, PerAddress}},
		LimitReset:        {{1, minute, PerAccount}, {10, day, PerAccount}, {30, hour, PerAddress}},
		LimitActivation:   {{1, minute, PerRecipient}, {5, day, PerRecipient}, {30, hour, PerAddress}},
		LimitEmail:        {{1, minute, PerAccount}, {10, day, PerAccount}, {10, day, PerRecipient}},
		LimitPhone: {{1, minute, PerRecipient}, {10, day, PerRecipient}, {20, hour, PerAccount}, {30, hour, PerAddress},
			{500, hour, PerCountry}, {5000, day, PerInstance}},
		LimitUnproven: {{100, 15 * minute, PerCountry}},
		LimitNotice:   {{5, hour, PerRecipient}},
		LimitRegister: {{100, hour, PerAddress}},
	}
}

// limitKinds says by what each name can be counted.
var limitKinds = map[string][]LimitPer{
	LimitLogin:      {PerAccount, PerAddress, PerProcess},
	LimitPassword:   {PerAccount, PerAddress, PerProcess},
	LimitRefresh:    {PerAddress},
	LimitKey:        {PerAddress},
	LimitRegister:   {PerAddress, PerProcess},
	LimitReset:      {PerAccount, PerAddress, PerInstance},
	LimitActivation: {PerRecipient, PerAddress, PerInstance},
	LimitEmail:      {PerAccount, PerRecipient, PerAddress, PerInstance},
	LimitPhone:      {PerAccount, PerRecipient, PerAddress, PerCountry, PerInstance},
	LimitUnproven:   {PerCountry},
	LimitNotice:     {PerRecipient},
	LimitConfirm:    {PerAccount, PerAddress, PerProcess},

	LimitSecondFactor: {PerAccount, PerAddress},
}

// ParseLimits reads limits such as "login=5/10m/account,20/m/address;register=100/h/address" and puts them in place
// of those of the same name in base. "off" gives no limit at all. A window is a number and s, m, h or d; without a
// number it is one. A text that is none is a plain error.
func ParseLimits(text string, base Limits) (Limits, error) {
	if strings.TrimSpace(text) == "off" {
		return Limits{}, nil
	}
	out, given := make(Limits, len(base)), map[string]bool{}
	for name, limits := range base {
		out[name] = limits
	}
	for _, entry := range strings.Split(text, ";") {
		if strings.TrimSpace(entry) == "" {
			continue
		}
		name, list, ok := strings.Cut(strings.TrimSpace(entry), "=")
		if !ok {
			return nil, fmt.Errorf("limits: %q has no =", entry)
		}
		if given[name] {
			return nil, fmt.Errorf("limits: %s is there twice", name)
		}
		given[name], out[name] = true, nil
		for _, one := range strings.Split(list, ",") {
			limit, err := parseLimit(strings.TrimSpace(one))
			if err != nil {
				return nil, err
			}
			out[name] = append(out[name], limit)
		}
	}
	return out, out.check()
}

func parseLimit(text string) (Limit, error) {
	part := strings.Split(text, "/")
	if len(part) != 3 {
		return Limit{}, fmt.Errorf("limits: %q is not COUNT/WINDOW/PER, such as 5/10m/account", text)
	}
	count, err := strconv.Atoi(part[0])
	if err != nil {
		return Limit{}, fmt.Errorf("limits: %q is no count", part[0])
	}
	unit := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}
	number, n := part[1], 1
	if number == "" {
		return Limit{}, fmt.Errorf("limits: %q has no window", text)
	}
	size, ok := unit[number[len(number)-1:]]
	if digits := number[:len(number)-1]; digits != "" && ok {
		if n, err = strconv.Atoi(digits); err != nil || n > 1000 {
			ok = false
		}
	}
	if !ok || n < 1 {
		return Limit{}, fmt.Errorf("limits: %q is no window such as 10m", part[1])
	}
	return Limit{Max: count, Window: time.Duration(n) * size, Per: LimitPer(part[2])}, nil
}

func (l Limits) check() error {
	for name, limits := range l {
		kinds, known := limitKinds[name]
		if !known {
			return fmt.Errorf("limits: there is no limit named %q", name)
		}
		for i, limit := range limits {
			if limit.Max < 1 || limit.Max > 1_000_000 || limit.Window <= 0 {
				return fmt.Errorf("limits: %s=%d/%s/%s is none", name, limit.Max, limit.Window, limit.Per)
			}
			if !slices.Contains(kinds, limit.Per) {
				return fmt.Errorf("limits: %s is counted by %v, not by %q", name, kinds, limit.Per)
			}
			for _, other := range limits[:i] {
				if other.Per == limit.Per && other.Window == limit.Window {
					return fmt.Errorf("limits: %s has two budgets per %s for %s", name, limit.Per, limit.Window)
				}
			}
		}
	}
	return nil
}

// taken is what one attempt took: to be released when it is over, and given back when it turned out well.
type taken struct {
	core    *core
	account []LimitTake // counters that a success clears
	others  []string
	process []*bucket
	held    []string
	verdict verdict
	settled bool     // it was given back by the write that it was for
	owner   *guarded // whom it concerns, of takeOwn
}

// counted is whom an attempt is counted under, besides the actor's address; "" = nobody.
type counted struct {
	account   string // the same text for every spelling and identifier of one account
	known     bool   // it logged in from this address before: what strangers do to the process does not count
	recipient string
	country   string
}

// subject is what a limit counts by; "" = it does not apply.
func (s counted) subject(per LimitPer, actor Actor) string {
	switch per {
	case PerAccount:
		return s.account
	case PerRecipient:
		return s.recipient
	case PerCountry:
		return s.country
	case PerInstance:
		return "all"
	}
	return addressBlock(actor.address) // without an address (a host that gave none) there is nothing to count by
}

// verdict is how an attempt turned out.
type verdict uint8

const (
	undecided  verdict = iota // it does not count: the store or the hash workers could not answer, the caller left
	failed                    // it counts
	groundless                // it counts for all but the account: there was nothing of it to attempt
	succeeded                 // it clears the account's counter
)

// take counts an attempt. When a budget is used up it answers ErrRateLimited with the time to wait, and nothing is counted. When the store cannot be asked the
// attempt fails: a limiter that is down must not be a way around it.
//
// An attempt is counted before it is judged, or a burst would not be counted at all. So that a burst of right
// passwords is not refused for attempts that are merely under way, those of one account go one by one on this node, and
// of one address (or the like) a quarter of its budget at a time. The caller sets the verdict and ends what it got.
func (c *core) take(ctx context.Context, name string, actor Actor, who counted) (t taken, err error) {
	t.core = c
	if c.bound != nil {
		return t, ErrInTx
	}
	defer func() {
		if err != nil {
			t.release()
			t = taken{} // nothing was counted, so there is nothing to give back
		}
	}()
	waiting, cancel := context.WithTimeout(ctx, c.cfg.Password.QueueTimeout)
	defer cancel()
	// Accounts last: who waits at the gate of a busy address must not keep the owner of an account waiting.
	limits := slices.SortedStableFunc(slices.Values(c.cfg.Limits[name]), func(a, b Limit) int { return cmp.Compare(b.Per, a.Per) })
	var takes []LimitTake
	for _, limit := range limits {
		if limit.Per == PerProcess {
			if !who.known {
				t.process = append(t.process, c.buckets[bucketKey{name, limit}])
			}
			continue
		}
		subject, atOnce := who.subject(limit.Per, actor), 1
		if subject == "" {
			continue
		}
		if limit.Per != PerAccount {
			atOnce = max(1, limit.Max/4)
		}
		key := c.limitKey(name, limit, subject)
		if err := c.gate.enter(waiting, key, atOnce); err != nil {
			return t, err
		}
		t.held = append(t.held, key)
		take := LimitTake{Key: key, Max: limit.Max, Window: limit.Window}
		if limit.Per == PerAccount {
			if ownerNotices[name] != "" {
				take.Longest = longestWait
			}
			t.account = append(t.account, take)
		} else {
			t.others = append(t.others, key)
		}
		takes = append(takes, take)
	}
	if err := c.takeProcess(&t); err != nil || len(takes) == 0 {
		return t, err
	}
	wait, err := c.store.TakeLimits(ctx, c.nowMillis(), takes)
	if err == nil && wait > 0 {
		err = ErrRateLimited.After(wait)
	}
	if err != nil {
		t.refill()
	}
	return t, err
}

// longestWait is as long as a window per account grows, before the hundredth failure in a row.
const longestWait = hour

// release lets the next attempt of the same account or address begin.
func (t *taken) release() {
	for _, key := range t.held {
		t.core.gate.leave(key)
	}
	t.held = nil
}

// end gives the attempt back, unless it failed. After a success the account's counter starts anew, and the address's
// loses only this attempt, or an attacker could clear it with an account of their own. An undecided attempt is taken
// back everywhere: a database that was away must not lock out whoever tried the right password meanwhile. It is best
// effort, and does not depend on whether the caller is still there.
func (t *taken) end(ctx context.Context) {
	defer t.release()
	if t.verdict == undecided || t.verdict == succeeded {
		t.refill()
	}
	if returns := t.returns(t.verdict); len(returns) > 0 && !t.settled {
		t.core.giveBack(ctx, func(ctx context.Context) error { return t.core.store.ReturnLimits(ctx, returns) })
	}
	if t.verdict == failed && t.owner != nil {
		t.release() // telling takes its time
		t.tell(ctx)
	}
}

// returns is what goes back after this verdict.
func (t *taken) returns(v verdict) (returns []LimitReturn) {
	if v != failed {
		for _, take := range t.account {
			returns = append(returns, LimitReturn{Key: take.Key, Clear: v == succeeded})
		}
	}
	if v == undecided || v == succeeded {
		for _, key := range t.others {
			returns = append(returns, LimitReturn{Key: key})
		}
	}
	return returns
}

// giveBack takes back what was counted.
func (c *core) giveBack(ctx context.Context, what func(ctx context.Context) error) {
	c.bestEffort(ctx, "could not give an attempt back", what)
}

// bestEffort goes on when the caller is gone, and its failure is nobody's but the log's.
func (c *core) bestEffort(ctx context.Context, failure string, what func(ctx context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), effortDeadline)
	defer cancel()
	if err := what(ctx); err != nil {
		c.log.WarnContext(ctx, failure, slog.String("error", err.Error()))
	}
}

const effortDeadline = 2 * time.Second

// gate bounds how many attempts on one key are under way in this process. It holds no more keys than attempts, and
// remembers at most maxNoted refusals.
type gate struct {
	mu    sync.Mutex
	keys  map[string]*gateKey
	noted map[string]time.Time // subject → until when its refusal is no news
}

const maxNoted = 10_000

// first reports whether a refusal of the subject is news. When too many are remembered none is.
func (g *gate) first(subject string, now time.Time, lasts time.Duration) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if until, ok := g.noted[subject]; ok && now.Before(until) {
		return false
	}
	if len(g.noted) >= maxNoted {
		maps.DeleteFunc(g.noted, func(_ string, until time.Time) bool { return !now.Before(until) })
	}
	if len(g.noted) >= maxNoted {
		return false
	}
	g.noted[subject] = now.Add(lasts)
	return true
}

// left is how much longer a refusal of the subject is no news.
func (g *gate) left(subject string, now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.noted[subject].Sub(now)
}

type gateKey struct {
	places chan struct{}
	users  int
}

func (g *gate) enter(ctx context.Context, key string, places int) error {
	g.mu.Lock()
	k := g.keys[key]
	if k == nil {
		k = &gateKey{places: make(chan struct{}, places)}
		g.keys[key] = k
	}
	k.users++
	g.mu.Unlock()
	select {
	case k.places <- struct{}{}:
		return nil
	case <-ctx.Done():
		g.forget(key, k)
		return ErrUnavailable.Wrap(context.Cause(ctx))
	}
}

func (g *gate) leave(key string) {
	g.mu.Lock()
	k := g.keys[key]
	g.mu.Unlock()
	<-k.places
	g.forget(key, k)
}

func (g *gate) forget(key string, k *gateKey) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if k.users--; k.users == 0 {
		delete(g.keys, key)
	}
}

// limitKey is bounded and holds no personal data: a keyed hash of what is counted.
func (c *core) limitKey(name string, limit Limit, subject string) string {
	return name + ":" + limit.Window.String() + ":" + c.keyed(fmt.Sprintf("%s\x00%s\x00%s", name, limit.Per, subject))
}

// AddressBlock is whom the actor's address stands for where attempts are counted: an IPv4 address, the /64 of an IPv6 address; "" without one.
func (a Actor) AddressBlock() string { return addressBlock(a.address) }

// addressBlock is whom an address stands for: an IPv4 address (however it is written), or the /64 of an IPv6 address,
// which one customer of a provider has for themselves.
func addressBlock(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	prefix, err := ip.Prefix(64)
	if err != nil {
		return address
	}
	return prefix.String()
}
