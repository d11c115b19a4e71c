package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"github.com/userapi/userapi"
)

// converse hands the mail over. It uses the protocol's client of go-mail and not the one above it, which reports a mail
// as failed when only the words after it did (RSET, QUIT), and keeps a connection open on which the greeting failed.
func (b *Backend) converse(ctx context.Context, conn net.Conn, to string, message *mail.Msg) error {
	client, err := b.greet(conn)
	if err != nil {
		return failed(ctx, "greeting", err)
	}
	if b.security == StartTLS {
		if offered, _ := client.Extension("STARTTLS"); !offered {
			return errors.New("smtp: the server offers no STARTTLS, so nothing was sent")
		}
		if err := client.StartTLS(b.tls); err != nil {
			return failed(ctx, "STARTTLS", err)
		}
	}
	if b.login != nil {
		if err := b.login.in(client); err != nil {
			return failed(ctx, "AUTH", err)
		}
	}
	if err := client.Mail("<" + b.from.Address + ">"); err != nil {
		return failed(ctx, "MAIL FROM", err)
	}
	if err := client.Rcpt("<" + to + ">"); err != nil {
		if noSuchMailbox(err) {
			return fmt.Errorf("%w: %w", failed(ctx, "RCPT TO", err), userapi.ErrUndeliverable)
		}
		return failed(ctx, "RCPT TO", err)
	}
	if err := write(client, message); err != nil {
		return failed(ctx, "DATA", err)
	}
	_ = conn.SetDeadline(time.Now().Add(time.Second)) // the mail is accepted: a farewell that fails changes nothing
	_ = client.Quit()
	return nil
}

func (b *Backend) greet(conn net.Conn) (*smtp.Client, error) {
	client, err := smtp.NewClient(conn, b.host)
	if err != nil {
		return nil, err
	}
	// The addresses are ASCII. With SMTPUTF8 the mail could not be passed on to servers that lack it (RFC 6531 3.6).
	client.SkipSMTPUTF8(true)
	return client, client.Hello(b.helo)
}

func write(client *smtp.Client, message *mail.Msg) error {
	w, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := message.WriteTo(w); err != nil {
		return err
	}
	return w.Close()
}

// login is how the client authenticates.
type login struct {
	methods []AuthMethod                      // in order of preference
	as      func(method AuthMethod) smtp.Auth // hides the password: a print would show it in a field
}

func newLogin(cfg Config) *login {
	methods := []AuthMethod{ScramSHA256, Plain, Login}
	if cfg.Auth != "" {
		methods = []AuthMethod{cfg.Auth}
	}
	plain := cfg.Security == None // the server is this very machine then
	return &login{methods: methods, as: func(method AuthMethod) smtp.Auth {
		switch method {
		case ScramSHA256:
			return smtp.ScramSHA256Auth(cfg.Username, string(cfg.Password))
		case Plain:
			return smtp.PlainAuth("", cfg.Username, string(cfg.Password), cfg.Host, plain)
		}
		return smtp.LoginAuth(cfg.Username, string(cfg.Password), cfg.Host, plain)
	}}
}

var errNoMethod = errors.New("the server offers no method of authentication that is configured")

func (l *login) in(client *smtp.Client) error {
	_, offered := client.Extension("AUTH")
	for _, method := range l.methods {
		if slices.Contains(strings.Fields(strings.ToUpper(offered)), string(method)) {
			return client.Auth(l.as(method))
		}
	}
	return errNoMethod
}

var enhancedCode = regexp.MustCompile(`^[245]\.[0-9]{1,3}\.[0-9]{1,3}\b`)

// noSuchMailbox reports whether the answer to RCPT TO is about the recipient and for good: RFC 5321 4.2.3, RFC 7504, and
// RFC 3463 3 for what the enhanced code adds.
func noSuchMailbox(err error) bool {
	var answer *textproto.Error
	if !errors.As(err, &answer) || !slices.Contains([]int{550, 551, 553, 556}, answer.Code) {
		return false
	}
	code := enhancedCode.FindString(answer.Msg)
	ours := slices.Contains([]string{"5.1.7", "5.1.8", "5.2.2"}, code) || strings.HasPrefix(code, "5.7.")
	return !ours && !strings.HasPrefix(code, "4.")
}

// failed puts an error into words, without those of the server: they may repeat the address or the message.
func failed(ctx context.Context, step string, err error) error {
	var answer *textproto.Error
	var network net.Error
	var certificate *tls.CertificateVerificationError
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case errors.As(err, &answer):
		err = fmt.Errorf("the server answered %s", strings.TrimSpace(fmt.Sprint(answer.Code, " ", enhancedCode.FindString(answer.Msg))))
	case errors.As(err, &network):
		err = network
	case errors.As(err, &certificate):
		err = certificate
	case errors.Is(err, errNoMethod):
		err = errNoMethod
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = io.ErrUnexpectedEOF
	default:
		err = errors.New("the server did not speak as SMTP has it")
	}
	return fmt.Errorf("smtp: %s: %w", step, err)
}
