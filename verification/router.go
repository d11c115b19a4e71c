package verification

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/userapi/userapi"
)

// Gateway is a Backend with a name, for routes, logs and errors.
type Gateway struct {
	Name    string
	Backend Backend
}

// RouterConfig says what a Router is made of. Only Gateways are required; NewRouter reports everything that is wrong.
type RouterConfig struct {
	Gateways   []Gateway // in the order in which they are asked
	RoundRobin bool      // each message begins with the gateway behind that of the one before

	// Countries are the countries (ISO 3166, "DE") whose numbers get SMS. Nil = all. The number decides, not its prefix:
	// "US" is not Canada.
	Countries []string
	// Routes are the names of the gateways for the numbers of a country, in order, in place of all Gateways.
	Routes map[string][]string
	// AllowPremium also serves numbers that somebody may earn by: premium rate, shared cost, company (UAN), personal and
	// voicemail numbers, and those of no country (satellites, international networks, ranges that nobody was given). What
	// a number is comes from the numbering plans built in, so new ranges need an update now and then.
	AllowPremium bool

	Timeout    time.Duration // for all tries at one gateway; default 10 s, at most 20, so that API.Deliver's time is enough for a second one
	Tries      int           // at one gateway, before the next is asked; default 2, at most 5
	BreakAfter int           // tries that failed in a row before a gateway's circuit breaker opens; default 5
	BreakFor   time.Duration // how long it stays open before one try may close it; default 30 s

	Templates *Templates   // nil = the default ones; those of the gateways do not count
	Logger    *slog.Logger // default: no log
}

// Router is a Backend over gateways: it asks one after the other until one takes the message. It is safe for
// concurrent use. Mail servers can be its gateways as well; what is said of countries and numbers holds for SMS alone.
//
// A gateway that fails is tried again after a moment, then the next one is asked. One that does not answer in time, or
// says with a RetryError when to come back, is not tried twice. One whose circuit breaker is open, or that said when to
// come back (15 minutes count at most), is left out. An ErrUndeliverable is final: no other gateway is asked, and since
// the gateway did answer, it is none of its failures. Nor is the end of the caller's context.
//
// A message whose outcome is unknown (a timeout) goes to the next gateway too, so it may arrive twice, with the same
// code.
type Router struct {
	all          *route
	routes       map[string]*route
	countries    map[string]bool // nil = all
	allowPremium bool
	roundRobin   bool
	timeout      time.Duration
	tries        int
	templates    *Templates
	log          *slog.Logger
}

// NewRouter makes a Router. It asks no gateway anything.
func NewRouter(cfg RouterConfig) (*Router, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	r := &Router{
		all: &route{}, routes: map[string]*route{}, allowPremium: cfg.AllowPremium, roundRobin: cfg.RoundRobin,
		timeout: cfg.Timeout, tries: cfg.Tries, templates: cfg.Templates, log: cfg.Logger,
	}
	byName := map[string]*gateway{}
	for _, g := range cfg.Gateways {
		byName[g.Name] = newGateway(g, cfg)
		r.all.gateways = append(r.all.gateways, byName[g.Name])
	}
	for region, names := range cfg.Routes {
		r.routes[region] = &route{}
		for _, name := range names {
			r.routes[region].gateways = append(r.routes[region].gateways, byName[name])
		}
	}
	if cfg.Countries != nil {
		r.countries = map[string]bool{}
		for _, region := range cfg.Countries {
			r.countries[region] = true
		}
	}
	return r, nil
}

// complete fills in the defaults and refuses what cannot work, all of it in one error.
func (cfg *RouterConfig) complete() error {
	var wrong []error
	require := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Errorf("verification: RouterConfig."+format, args...))
		}
	}
	require(len(cfg.Gateways) > 0, "Gateways needs one at least")
	names := map[string]bool{}
	for i, g := range cfg.Gateways {
		require(g.Name != "", "Gateways[%d] has no Name", i)
		require(g.Backend != nil, "Gateways[%d] %q has no Backend", i, g.Name)
		require(g.Name == "" || !names[g.Name], "Gateways has %q twice", g.Name)
		names[g.Name] = true
	}
	require(cfg.Countries == nil || len(cfg.Countries) > 0, "Countries is empty; nil allows all")
	for _, region := range cfg.Countries {
		require(isRegion(region), "Countries: %q is no country such as \"DE\"", region)
	}
	for _, region := range slices.Sorted(maps.Keys(cfg.Routes)) {
		require(isRegion(region), "Routes: %q is no country such as \"DE\"", region)
		require(len(cfg.Routes[region]) > 0, "Routes[%q] names no gateway", region)
		for i, name := range cfg.Routes[region] {
			require(names[name] && name != "", "Routes[%q]: there is no gateway %q", region, name)
			require(!slices.Contains(cfg.Routes[region][:i], name), "Routes[%q] names %q twice", region, name)
		}
	}
	fill(&cfg.Timeout, 10*time.Second)
	fill(&cfg.Tries, 2)
	fill(&cfg.BreakAfter, 5)
	fill(&cfg.BreakFor, 30*time.Second)
	require(cfg.Timeout > 0 && cfg.Timeout <= 20*time.Second, "Timeout has to be positive, at most 20 s")
	require(cfg.Tries > 0 && cfg.Tries <= 5, "Tries has to be 1 to 5")
	require(cfg.BreakAfter > 0 && cfg.BreakAfter <= 1000, "BreakAfter has to be 1 to 1000")
	require(cfg.BreakFor > 0 && cfg.BreakFor <= time.Hour, "BreakFor has to be positive, at most an hour")
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return errors.Join(wrong...)
}

func fill[T comparable](value *T, preset T) {
	var zero T
	if *value == zero {
		*value = preset
	}
}

// Serves reports whether SMS to the number (E.164) are sent at all: by country, and by what kind of number it is.
func (r *Router) Serves(number string) bool { return r.routeOf(number) != nil }

// routeOf is nil for a number that is not served.
func (r *Router) routeOf(number string) *route {
	region, kind, ok := regionOf(number)
	switch {
	case !ok, r.countries != nil && !r.countries[region]:
		return nil
	case !r.allowPremium && (region == "" || costly[kind]):
		return nil
	case r.routes[region] != nil:
		return r.routes[region]
	}
	return r.all
}

// Send implements Backend. A number that is not served is ErrUndeliverable. When no gateway took the message the error
// names each with its reason. Errors and logs hold neither secrets nor the words of the message nor its recipient in
// full, whatever a gateway's error says.
//
// It is over by the end of ctx, or a second later where a gateway does not heed its context: what such a gateway does
// then goes on without the Router.
func (r *Router) Send(ctx context.Context, m userapi.Message) error {
	route := r.all
	if m.Channel != userapi.ChannelEmail {
		if route = r.routeOf(m.To); route == nil {
			return fmt.Errorf("verification: numbers such as %s are not served: %w", mask(m.To), userapi.ErrUndeliverable)
		}
	}
	m, err := r.templates.Render(m)
	if err != nil {
		return err
	}
	var failed []string
	for _, g := range route.order(r.roundRobin) {
		f := r.ask(ctx, g, m)
		switch {
		case f == nil:
			return nil
		case f.reason == undeliverable:
			return fmt.Errorf("verification: gateway %s: %s: %w", g.name, f.text, userapi.ErrUndeliverable)
		case f.reason == abandoned:
			return fmt.Errorf("verification: stopped at gateway %s: %w", g.name, ctx.Err())
		}
		failed = append(failed, g.name+": "+f.text)
	}
	return errors.New("verification: no gateway took the message: " + strings.Join(failed, "; "))
}

// ask tries one gateway, again where that may help.
func (r *Router) ask(ctx context.Context, g *gateway, m userapi.Message) *failure {
	ctx, cancel := context.WithTimeoutCause(ctx, r.timeout, errHung)
	defer cancel()
	var before *failure
	for try := 1; ; try++ {
		f := g.try(ctx, m)
		switch {
		case f == nil:
			return nil
		case f.reason == skipped && before != nil:
			return before // which opened the circuit breaker
		}
		before = f
		if f.reason.isOfGateway() {
			r.log.WarnContext(ctx, "a gateway failed", slog.String("gateway", g.name), slog.String("error", f.text),
				slog.String("message", m.ID), slog.String("purpose", string(m.Purpose)), slog.String("to", mask(m.To)),
				slog.Int("try", try), slog.String("breaker", g.breaker.State().String()))
		}
		if f.reason != broken || try >= r.tries || !pause(ctx, try) {
			return f
		}
	}
}

// pause waits before the next try at the same gateway: 0.1 to 0.3 s, twice that each time. It reports whether ctx goes
// on.
func pause(ctx context.Context, try int) bool {
	shortest := 100 * time.Millisecond << (try - 1)
	timer := time.NewTimer(shortest + rand.N(2*shortest)) // #nosec G404 -- jitter
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// route is gateways in order.
type route struct {
	gateways []*gateway
	begun    atomic.Uint32 // how many messages took it
}

func (r *route) order(roundRobin bool) []*gateway {
	if !roundRobin {
		return r.gateways
	}
	first := int((r.begun.Add(1) - 1) % uint32(len(r.gateways)))
	return slices.Concat(r.gateways[first:], r.gateways[:first])
}
