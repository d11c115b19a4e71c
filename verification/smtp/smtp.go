// Package smtp sends mail to an SMTP server, as a rule the submission port of a mail provider.
//
//	mail, err := smtp.New(smtp.Config{
//		Host:     "smtp.example.com",
//		Username: "app",
//		Password: userapi.Secret(os.Getenv("SMTP_PASSWORD")),
//		From:     "Example <no-reply@example.com>",
//	})
//	api, err := userapi.New(userapi.Config{…, Verification: userapi.Verification{Mail: mail}})
//
// The connection is encrypted, and the server's certificate verified: by default with STARTTLS on port 587, without which
// nothing is sent, neither credentials nor mail; with Security TLS from the first byte, on port 465. Each message has
// a connection of its own, which is closed when Send returns.
//
// A mail is text with an HTML alternative, to one recipient, and says that it was made by a machine, so that
// out-of-office notices do not answer it. Its Message-ID is the same at each attempt: a mailbox can drop the second copy
// of a mail whose first was accepted when the connection broke.
//
// A mail is taken for sent when the server has accepted it. Only what the server says of the recipient is
// userapi.ErrUndeliverable: 550, 551, 553 and 556 to RCPT TO, unless the enhanced status code (RFC 3463) lays it to the
// sender (5.1.7, 5.1.8), to a full mailbox (5.2.2) or to policy (5.7: no relaying, a blocked network). All else is tried
// again. No error repeats what the server said but its codes.
package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/verification"
)

// Security is how the connection is encrypted.
type Security string

const (
	StartTLS Security = "starttls" // after the greeting; port 587
	TLS      Security = "tls"      // from the first byte; port 465
	None     Security = "none"     // not at all; port 25
)

// AuthMethod is a SASL mechanism, as servers spell it.
type AuthMethod string

const (
	ScramSHA256 AuthMethod = "SCRAM-SHA-256"
	Plain       AuthMethod = "PLAIN"
	Login       AuthMethod = "LOGIN"
)

// Config is how to reach the server, and who the mail is from.
type Config struct {
	Host     string   // name or IP address, without port
	Port     int      // default that of Security
	Security Security // default StartTLS; None goes to this very machine only, unless AllowUnencrypted

	// AllowUnencrypted lets None go to other machines, where the network itself is trusted. Such a connection has no
	// Username.
	AllowUnencrypted bool

	Username string // "" = no authentication
	Password userapi.Secret
	Auth     AuthMethod // default: the first of ScramSHA256, Plain and Login that the server offers

	From    string // "no-reply@example.com" or "Example <no-reply@example.com>"; also the address that bounces go to
	ReplyTo string // the same form; default: none
	HELO    string // how the client names itself; default: the machine's host name

	Timeout   time.Duration           // of one message, from dialing on; default 10 seconds
	Templates *verification.Templates // default: the defaults of package verification
	TLSConfig *tls.Config             // for a private CA (RootCAs), a client certificate, …; default: verified by the system's CAs, TLS 1.2 or later
}

// Backend is a verification.Backend. Its Send may be called from any number of goroutines.
type Backend struct {
	host, address string
	security      Security
	tls           *tls.Config
	login         *login // nil = none
	from          netmail.Address
	replyTo       *netmail.Address // nil = none
	helo          string
	timeout       time.Duration
	templates     *verification.Templates
}

var _ verification.Backend = (*Backend)(nil)

// New makes a Backend. It does not connect, so wrong credentials show when the first mail is sent.
func New(cfg Config) (*Backend, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("smtp: %w", err)
	}
	b := &Backend{
		host: cfg.Host, address: net.JoinHostPort(cfg.Host, strconv.Itoa(cfg.Port)), security: cfg.Security,
		tls: cfg.TLSConfig, helo: cfg.HELO, timeout: cfg.Timeout, templates: cfg.Templates,
	}
	from, err := address(cfg.From)
	if err != nil {
		return nil, fmt.Errorf("smtp: Config.From: %w", err)
	}
	b.from = *from
	if cfg.ReplyTo != "" {
		if b.replyTo, err = address(cfg.ReplyTo); err != nil {
			return nil, fmt.Errorf("smtp: Config.ReplyTo: %w", err)
		}
	}
	if cfg.Username != "" {
		b.login = newLogin(cfg)
	}
	return b, nil
}

func (cfg Config) withDefaults() Config {
	if cfg.Security == "" {
		cfg.Security = StartTLS
	}
	if cfg.Port == 0 {
		cfg.Port = map[Security]int{StartTLS: 587, TLS: 465, None: 25}[cfg.Security]
	}
	if cfg.HELO == "" {
		cfg.HELO = "localhost"
		if name, err := os.Hostname(); err == nil && oneWord(name) {
			cfg.HELO = name
		}
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.TLSConfig == nil {
		cfg.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	cfg.TLSConfig = cfg.TLSConfig.Clone()
	if cfg.TLSConfig.ServerName == "" {
		cfg.TLSConfig.ServerName = cfg.Host
	}
	return cfg
}

func (cfg Config) check() error {
	switch {
	case !oneWord(cfg.Host):
		return errors.New("Config.Host is missing, or no host name")
	case strings.Contains(cfg.Host, ":") && net.ParseIP(cfg.Host) == nil:
		return errors.New("Config.Host holds a port: that is for Config.Port")
	case cfg.Security != StartTLS && cfg.Security != TLS && cfg.Security != None:
		return errors.New(`Config.Security has to be "starttls", "tls" or "none"`)
	case cfg.Port < 1 || cfg.Port > 65535:
		return errors.New("Config.Port has to be 1 to 65535")
	case cfg.Security == None && !loopback(cfg.Host) && !cfg.AllowUnencrypted:
		return errors.New("Config.Security: mail goes unencrypted to this machine only, unless AllowUnencrypted")
	case cfg.Security == None && !loopback(cfg.Host) && cfg.Username != "":
		return errors.New("Config.Username: credentials never leave this machine unencrypted")
	case (cfg.Username == "") != (cfg.Password == ""):
		return errors.New("Config: Username and Password go together")
	case cfg.Auth != "" && cfg.Auth != ScramSHA256 && cfg.Auth != Plain && cfg.Auth != Login:
		return errors.New(`Config.Auth has to be "SCRAM-SHA-256", "PLAIN" or "LOGIN"`)
	case !oneWord(cfg.HELO):
		return errors.New("Config.HELO has to be a host name")
	case cfg.Timeout < 0:
		return errors.New("Config.Timeout has to be positive")
	case cfg.TLSConfig.InsecureSkipVerify && cfg.TLSConfig.VerifyConnection == nil && cfg.TLSConfig.VerifyPeerCertificate == nil:
		return errors.New("Config.TLSConfig: InsecureSkipVerify lets anybody read the mail: put the server's CA into RootCAs")
	}
	return nil
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// oneWord refuses what would end a command or begin another one.
func oneWord(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

// address reads the host's own address. Its error does not repeat it.
func address(text string) (*netmail.Address, error) {
	parsed, err := netmail.ParseAddress(text)
	if err != nil || !oneWord(parsed.Address) {
		return nil, errors.New(`has to be "name@example.com" or "Name <name@example.com>", with the domain of international names in punycode`)
	}
	if strings.ContainsFunc(parsed.Name, unicode.IsControl) {
		return nil, errors.New("the name has control characters")
	}
	if _, _, err := userapi.NormalizeEmail(parsed.Address); err != nil {
		return nil, err
	}
	return parsed, nil
}

// Send implements verification.Backend.
func (b *Backend) Send(ctx context.Context, m userapi.Message) error {
	message, err := b.compose(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	conn, err := b.dial(ctx)
	if err != nil {
		return failed(ctx, "connecting", err)
	}
	defer conn.Close()
	// The client of go-mail knows no context: closing the connection under it ends whatever it waits for.
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	return b.converse(ctx, conn, m.To, message)
}

func (b *Backend) dial(ctx context.Context) (net.Conn, error) {
	if b.security == TLS {
		return (&tls.Dialer{Config: b.tls}).DialContext(ctx, "tcp", b.address)
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", b.address)
}
