package main

import (
	"context"
	cryptorand "crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/httpadapter"
	"github.com/userapi/userapi/store/memory"
)

const (
	// A request may wait for a hash worker and for a database that is slow to answer.
	readTimeout    = 15 * time.Second
	writeTimeout   = 60 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10

	drainFor   = 10 * time.Second // how long requests in flight may take after SIGTERM
	sweepEvery = 10 * time.Minute
)

type serve struct {
	Database
	Admin
	Addr                 string         `env:"USERAPI_ADDR" default:"127.0.0.1:8080" help:"Address to listen on."`
	Secret               *string        `placeholder:"FILE" help:"File with the secret that tokens are signed with, at least 32 bytes; several, newest first, separated by commas. Or in USERAPI_SECRET. Default: made and kept beside the database, in development mode."`
	Registration         string         `env:"USERAPI_REGISTRATION" default:"closed" placeholder:"closed|open" help:"Who may create an account for themselves: nobody, or anybody."`
	RegistrationCustomer string         `env:"USERAPI_REGISTRATION_CUSTOMER" default:"default" placeholder:"ID" help:"Customer that new accounts belong to."`
	AnonymousPhone       bool           `env:"USERAPI_ANONYMOUS_PHONE" hidden:""`
	Outbox               string         `env:"USERAPI_OUTBOX" placeholder:"FILE" help:"File for messages in place of sending them; development mode only. This version has no messages to send yet."`
	Limits               string         `env:"USERAPI_LIMITS" placeholder:"LIMITS" help:"Limits of attempts, such as login=5/10m/account,20/m/address; off lifts them, in development mode only."`
	TrustedProxies       []netip.Prefix `env:"USERAPI_TRUSTED_PROXIES" placeholder:"CIDR" help:"Proxies whose X-Forwarded-For counts."`
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
	cfg, err := c.config()
	if err != nil {
		return err
	}
	listener, err := c.listen(ctx)
	if err != nil {
		return err
	}
	defer listener.Close()
	cfg.Logger = slog.New(slog.NewJSONHandler(os.Stdout, nil))

	d, err := c.open(ctx, cfg.Logger, true)
	if err != nil {
		return err
	}
	defer d.pool.Close()
	if cfg.Secret == "" {
		if cfg.Secret, err = keptSecret(d.secretFile()); err != nil {
			return err
		}
	}
	if err := d.migrate(ctx); err != nil {
		return err
	}
	cfg.Store = d.store
	api, err := userapi.New(cfg)
	if err != nil {
		return wrongUse{err.Error()}
	}
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
		cfg.Logger.Warn("there is no account yet: set USERAPI_ADMIN_PASSWORD, or use: userapi user add --role admin")
	}
	if err := c.checkCustomer(ctx, api); err != nil {
		return err
	}
	web, err := httpadapter.New(httpadapter.Config{
		API: api, Development: c.Dev, TrustedProxies: c.TrustedProxies, Logger: cfg.Logger,
	})
	if err != nil {
		return wrongUse{err.Error()}
	}
	if c.Dev { // in production every line is one of the log
		fmt.Println("Development mode: cookies travel over plain HTTP, no mail or SMS is sent. For production give --secret or USERAPI_SECRET.")
		fmt.Printf("Serving http://%s/api\n", listener.Addr())
	}
	cfg.Logger.Info("serving", "address", listener.Addr().String(), "database", d.name, "development", c.Dev)
	return serveUntilDone(ctx, stop, listener, newHandler(api, web, cfg.Logger), api, cfg.Logger)
}

// config refuses wrong use before anything is touched.
func (c *serve) config() (userapi.Config, error) {
	var cfg userapi.Config
	if _, err := c.describe(); err != nil {
		return cfg, err
	}
	secrets, err := givenSecrets(c.Secret)
	if err != nil {
		return cfg, err
	}
	if secrets == nil {
		c.Dev = true
	} else {
		cfg.Secret, cfg.OldSecrets = secrets[0], secrets[1:]
	}
	if c.AnonymousPhone {
		return cfg, wrongUsef("--anonymous-phone is not part of this version")
	}
	switch c.Registration {
	case "closed":
	case "open":
		cfg.Registration = userapi.Registration{Policy: userapi.RegistrationOpen, Customer: c.RegistrationCustomer}
	case "verify":
		return cfg, wrongUsef("--registration verify is not part of this version; use closed or open")
	default:
		return cfg, wrongUsef("--registration is closed or open")
	}
	if err := c.checkOutbox(); err != nil {
		return cfg, err
	}
	if cfg.Limits, err = userapi.ParseLimits(c.Limits, userapi.DefaultLimits()); err != nil {
		return cfg, wrongUsef("--limits: %v", err)
	}
	if len(cfg.Limits) == 0 && !c.Dev {
		return cfg, wrongUsef("--limits off is for development mode only: add --dev")
	}
	if c.AdminEmail != "" {
		if _, _, err := userapi.NormalizeEmail(c.AdminEmail); err != nil {
			return cfg, wrongUsef("--admin-email: %v", err)
		}
	}
	trial := cfg // with a store that costs nothing
	trial.Store = memory.New()
	if trial.Secret == "" {
		trial.Secret = userapi.Secret(cryptorand.Text() + cryptorand.Text()) // it will be made
	}
	if _, err := userapi.New(trial); err != nil {
		return cfg, wrongUse{err.Error()}
	}
	return cfg, nil
}

// checkOutbox refuses a file that messages, once there are some, could not be appended to.
func (c *serve) checkOutbox() error {
	if c.Outbox == "" {
		return nil
	}
	if !c.Dev {
		return wrongUsef("--outbox is for development mode only: add --dev")
	}
	if info, err := os.Stat(c.Outbox); err == nil && !info.Mode().IsRegular() {
		return wrongUsef("--outbox: %s is no file", c.Outbox)
	}
	if info, err := os.Stat(filepath.Dir(c.Outbox)); err != nil || !info.IsDir() {
		return wrongUsef("--outbox: there is no directory %s", filepath.Dir(c.Outbox))
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

// serveUntilDone serves, sweeps, and drains when ctx ends. A second signal ends the program at once.
func serveUntilDone(ctx context.Context, stop func(), listener net.Listener, handler http.Handler, api *userapi.API, log *slog.Logger) error {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	sweeping, endSweep := context.WithCancel(ctx)
	var background sync.WaitGroup
	background.Go(func() { sweep(sweeping, api, log) })
	defer background.Wait()
	defer endSweep()

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
	log.Info("stopped")
	return nil
}

// sweep removes what has expired, now and then; the jitter keeps several servers on one database apart.
func sweep(ctx context.Context, api *userapi.API, log *slog.Logger) {
	for {
		pause := time.NewTimer(sweepEvery/2 + rand.N(sweepEvery))
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
		if n, err := api.Sweep(ctx); err != nil && !errors.Is(err, context.Canceled) {
			log.Warn("could not sweep", "error", err.Error())
		} else if n > 0 {
			log.Info("swept", "rows", n)
		}
	}
}
