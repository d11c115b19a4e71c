package main

import (
	"context"
	cryptorand "crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/httpadapter"
	"github.com/userapi/userapi/legacyhash"
	"github.com/userapi/userapi/store/memory"
)

const (
	// A request may wait for a hash worker and for a database that is slow to answer.
	readTimeout    = 15 * time.Second
	writeTimeout   = 60 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10

	drainFor   = 10 * time.Second // how long requests in flight may take after SIGTERM
	runEndsFor = 8 * time.Second  // longer than API.Run gives what still waits
)

type serve struct {
	Database
	Admin
	Addr                 string         `env:"USERAPI_ADDR" default:"127.0.0.1:8080" help:"Address to listen on."`
	Secret               *string        `placeholder:"FILE" help:"File with the secret that tokens are signed with, at least 32 bytes; several, newest first, separated by commas. Or in USERAPI_SECRET. Default: made and kept beside the database, in development mode."`
	Registration         string         `env:"USERAPI_REGISTRATION" default:"closed" placeholder:"closed|open|verify" help:"Who may create an account for themselves: nobody, anybody, or whoever proves a mailbox."`
	RegistrationCustomer string         `env:"USERAPI_REGISTRATION_CUSTOMER" default:"default" placeholder:"ID" help:"Customer that new accounts belong to."`
	AnonymousPhone       bool           `env:"USERAPI_ANONYMOUS_PHONE" help:"Phone numbers can be proven without an account."`
	Sending              string         `env:"USERAPI_SENDING" placeholder:"FILE" help:"JSON file that says how mail and SMS are sent; see docs/sending.md."`
	Outbox               string         `env:"USERAPI_OUTBOX" placeholder:"FILE" help:"File to which every mail and SMS is appended in place of sending it; development mode only. Default there: outbox.jsonl, for what --sending has no way for."`
	Limits               string         `env:"USERAPI_LIMITS" placeholder:"LIMITS" help:"Limits of attempts, such as login=5/10m/account,20/m/address; off lifts them, in development mode only."`
	TrustedProxies       []netip.Prefix `env:"USERAPI_TRUSTED_PROXIES" placeholder:"CIDR" help:"Proxies whose X-Forwarded-For counts."`
	LogEvents            bool           `env:"USERAPI_LOG_EVENTS" help:"Write every event of the audit trail to the log, too."`
	Dev                  bool           `env:"USERAPI_DEV" help:"Development mode: cookies over plain HTTP, loopback addresses only. It is on where no secret is given."`
}

// Run serves until SIGTERM or an interrupt.
func (c *serve) Run(ctx context.Context) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	err := c.run(ctx, stop)
	if ctx.Err() != nil {
		return nil // whoever stops a start that is not through gets what they asked for
	}
	return err
}

func (c *serve) run(ctx context.Context, stop func()) error {
	cfg, to, err := c.config()
	if err != nil {
		return err
	}
	listener, err := c.listen(ctx)
	if err != nil {
		return err
	}
	defer listener.Close()
	if err := c.openOutbox(&cfg.Verification, &to); err != nil {
		return err
	}
	d, err := c.open(ctx, cfg.Logger, true)
	if err != nil {
		return err
	}
	defer d.pool.Close()
	if err := d.complete(ctx, &cfg); err != nil {
		return err
	}
	api, err := userapi.New(cfg)
	if err != nil {
		return wrongUse{err.Error()}
	}
	if err := c.prepare(ctx, api, cfg.Logger); err != nil {
		return err
	}
	web, err := httpadapter.New(httpadapter.Config{
		API: api, Development: c.Dev, TrustedProxies: c.TrustedProxies, Logger: cfg.Logger,
	})
	if err != nil {
		return wrongUse{err.Error()}
	}
	if c.Dev { // in production every line is one of the log
		fmt.Println("Development mode: cookies travel over plain HTTP. For production give --secret or USERAPI_SECRET.")
		fmt.Printf("Serving http://%s/api\n", listener.Addr())
	}
	to.say(cfg.Verification, cfg.Logger)
	cfg.Logger.Info("serving", "address", listener.Addr().String(), "database", d.name, "development", c.Dev)
	endRun := startRun(api, cfg.Logger)
	err = serveUntilDone(ctx, stop, listener, newHandler(api, web, d.nodes, cfg.Logger), cfg.Logger)
	endRun() // after the last request, whose message gets a chance too
	if err == nil {
		cfg.Logger.Info("stopped")
	}
	return err
}

// startRun delivers and sweeps until it is told to end, which it does not wait for longer than makes sense.
func startRun(api *userapi.API, log *slog.Logger) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = api.Run(ctx) // what it says is why it ended
	}()
	return func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(runEndsFor):
			log.Warn("what works in the background has not ended; a message that is left behind goes out with the next start")
		}
	}
}

// complete gives cfg the store, with its tables up to date, and the secret kept beside it where none was given.
func (d *database) complete(ctx context.Context, cfg *userapi.Config) (err error) {
	if cfg.Secret == "" {
		if cfg.Secret, err = keptSecret(d.secretFile()); err != nil {
			return err
		}
	}
	cfg.Store = d.store
	return d.migrate(ctx)
}

// prepare makes the first account, and looks whether all is there that requests will need.
func (c *serve) prepare(ctx context.Context, api *userapi.API, log *slog.Logger) error {
	// Not to be interrupted between the account and the word about it.
	account, err := c.bootstrap(context.WithoutCancel(ctx), api, c.Dev)
	if err != nil {
		return fmt.Errorf("the first account: %w", err)
	}
	if account.password != "" {
		// At once: whatever fails from here on, nobody would ever learn it.
		fmt.Printf("The account %s was created. Its password, shown this once: %s\n", account.name, account.password)
	}
	if page, err := api.Users.List(ctx, userapi.System(), userapi.UserQuery{Limit: 1}); err == nil && len(page.Users) == 0 {
		log.Warn("there is no account yet: set USERAPI_ADMIN_PASSWORD, or use: userapi user add --role admin")
	}
	return c.checkCustomer(ctx, api)
}

// config refuses wrong use before anything is touched.
func (c *serve) config() (cfg userapi.Config, to dispatch, err error) {
	cfg.Logger = slog.New(slog.NewJSONHandler(os.Stdout, nil))
	cfg.LogEvents = c.LogEvents
	cfg.Password.Legacy = legacyhash.All() // accounts that moved in keep their passwords
	if _, err := c.describe(); err != nil {
		return cfg, to, err
	}
	secrets, err := givenSecrets(c.Secret)
	if err != nil {
		return cfg, to, err
	}
	if secrets == nil {
		c.Dev = true
	} else {
		cfg.Secret, cfg.OldSecrets = secrets[0], secrets[1:]
	}
	cfg.Memberships = userapi.MembershipConfig{Levels: []string{"invitee", "member", "manager", "secret"}, Owns: namesOfItsOwn}
	policy := userapi.RegistrationPolicy(c.Registration)
	switch policy {
	case userapi.RegistrationClosed:
	case userapi.RegistrationOpen, userapi.RegistrationVerify:
		cfg.Registration = userapi.Registration{Policy: policy, Customer: c.RegistrationCustomer}
	default:
		return cfg, to, wrongUsef("--registration is closed, open or verify")
	}
	if err := c.checkOutbox(); err != nil {
		return cfg, to, err
	}
	if to, err = c.applySending(&cfg); err != nil {
		return cfg, to, wrongUsef("--sending: %v", err)
	}
	if cfg.Limits, err = userapi.ParseLimits(c.Limits, userapi.DefaultLimits()); err != nil {
		return cfg, to, wrongUsef("--limits: %v", err)
	}
	if len(cfg.Limits) == 0 && !c.Dev {
		return cfg, to, wrongUsef("--limits off is for development mode only: add --dev")
	}
	if c.AdminEmail != "" {
		if _, _, err := userapi.NormalizeEmail(c.AdminEmail); err != nil {
			return cfg, to, wrongUsef("--admin-email: %v", err)
		}
	}
	return cfg, to, tryOut(cfg)
}

// namesOfItsOwn: the server holds no resources, so what "doc 1" is each customer says for itself. Nobody reads another's members.
func namesOfItsOwn(_ context.Context, _, _, _ string) (bool, error) { return true, nil }

// tryOut finds what is wrong with cfg in a store that costs nothing.
func tryOut(cfg userapi.Config) error {
	cfg.Store = memory.New()
	if cfg.Secret == "" {
		cfg.Secret = userapi.Secret(cryptorand.Text() + cryptorand.Text()) // it will be made
	}
	if _, err := userapi.New(cfg); err != nil {
		return wrongUse{err.Error()}
	}
	return nil
}

// listen takes the address first, so that a second server on it stops before it touches the database. Development
// mode stays on this machine: its cookies and its outbox are no protection.
func (c *serve) listen(ctx context.Context) (net.Listener, error) {
	addr, err := net.ResolveTCPAddr("tcp", c.Addr)
	if err != nil {
		return nil, wrongUsef("--addr: %v", err)
	}
	if c.Dev && !addr.IP.IsLoopback() {
		return nil, wrongUsef("development mode serves loopback addresses only, such as 127.0.0.1:8080: give --secret or USERAPI_SECRET for production")
	}
	var l net.ListenConfig
	listener, err := l.Listen(ctx, "tcp", addr.String())
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	return listener, nil
}

// checkCustomer refuses registration into a customer that does not exist, which would fail at every request.
func (c *serve) checkCustomer(ctx context.Context, api *userapi.API) error {
	if c.Registration == "closed" {
		return nil
	}
	_, err := api.Customers.ByID(ctx, userapi.System(), c.RegistrationCustomer)
	return insteadOfNotFound(err, wrongUsef("--registration-customer: there is no customer %q", c.RegistrationCustomer))
}

// serveUntilDone serves, and drains when ctx ends. A second signal ends the program at once.
func serveUntilDone(ctx context.Context, stop func(), listener net.Listener, handler http.Handler, log *slog.Logger) error {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	stop()
	log.Info("draining")
	draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainFor)
	defer cancel()
	if err := server.Shutdown(draining); err != nil {
		log.Warn("requests were cut off", "error", err.Error())
		_ = server.Close()
	}
	return nil
}
