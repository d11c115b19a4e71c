package smtp_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/verification/smtp"
)

const (
	username = "app"
	password = userapi.Secret("the password of the mailbox")
	code     = "tok-en_482913"
)

// message is a mail with words of its own.
func message() userapi.Message {
	return userapi.Message{
		ID: "0193508e-7a3f-7000-8000-000000000001", Channel: userapi.ChannelEmail, To: "anna@example.org",
		Purpose: userapi.PurposeReset, Token: code, Attempt: 1, Name: "You won\r\nBcc: eve@example.net",
		Subject: "Grüße", Text: "Größe: " + code + "\n.\nEnde", HTML: "<p>Größe: " + code + "</p>",
	}
}

// certificate is one for 127.0.0.1 and example.com, and who vouches for it.
func certificate(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	web := httptest.NewTLSServer(nil)
	web.Close()
	pool := x509.NewCertPool()
	pool.AddCert(web.Certificate())
	return &tls.Config{Certificates: web.TLS.Certificates}, &tls.Config{RootCAs: pool}
}

// received is a mail as the server got it.
type received struct {
	from, data string
	to         []string
	user, by   string // by is the mechanism
	encrypted  bool
	helo       string
	utf8       bool
}

// mailServer is a real SMTP server. Set its errors before the first mail.
type mailServer struct {
	tls, client                                *tls.Config
	mechanisms                                 []string
	authError, mailError, rcptError, dataError error
	address                                    string

	mu    sync.Mutex
	mails []received
}

func (s *mailServer) all() []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]received(nil), s.mails...)
}

// serve starts it, with or without TLS from the first byte.
func (s *mailServer) serve(t *testing.T, implicit bool) *mailServer {
	t.Helper()
	s.tls, s.client = certificate(t)
	server := gosmtp.NewServer(gosmtp.BackendFunc(func(c *gosmtp.Conn) (gosmtp.Session, error) {
		return &session{server: s, conn: c}, nil
	}))
	server.Domain, server.AllowInsecureAuth, server.EnableSMTPUTF8 = "mx.example.com", true, true
	server.ErrorLog = quiet{}
	server.TLSConfig = s.tls
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	if s.address = listener.Addr().String(); implicit {
		listener = tls.NewListener(listener, s.tls)
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return s
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

type session struct {
	server *mailServer
	conn   *gosmtp.Conn
	mail   received
}

func (s *session) AuthMechanisms() []string { return s.server.mechanisms }

func (s *session) Auth(mechanism string) (sasl.Server, error) {
	check := func(user, pass string) error {
		if s.server.authError != nil {
			return s.server.authError
		}
		if user != username || pass != string(password) {
			return gosmtp.ErrAuthFailed
		}
		s.mail.user, s.mail.by = user, mechanism
		return nil
	}
	if mechanism == sasl.Login {
		return &loginServer{check: check}, nil
	}
	return sasl.NewPlainServer(func(_, user, pass string) error { return check(user, pass) }), nil
}

// loginServer asks for the username, then for the password.
type loginServer struct {
	check func(user, pass string) error
	said  []string
}

func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	if response != nil {
		l.said = append(l.said, string(response))
	}
	switch len(l.said) {
	case 0:
		return []byte("Username:"), false, nil
	case 1:
		return []byte("Password:"), false, nil
	}
	return nil, true, l.check(l.said[0], l.said[1])
}

func (s *session) Mail(from string, options *gosmtp.MailOptions) error {
	if s.server.mailError != nil {
		return s.server.mailError
	}
	_, s.mail.encrypted = s.conn.TLSConnectionState()
	s.mail.from, s.mail.to, s.mail.helo, s.mail.utf8 = from, nil, s.conn.Hostname(), options.UTF8
	return nil
}

func (s *session) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	s.mail.to = append(s.mail.to, to)
	return s.server.rcptError
}

func (s *session) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if s.server.dataError != nil {
		return s.server.dataError
	}
	s.mail.data = string(data)
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.server.mails = append(s.server.mails, s.mail)
	return nil
}

func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }

// config reaches the server at address.
func config(t *testing.T, address string, client *tls.Config) smtp.Config {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	number, err := net.LookupPort("tcp", port)
	require.NoError(t, err)
	return smtp.Config{
		Host: host, Port: number, Username: username, Password: password, TLSConfig: client,
		From: "Example & Söhne <No-Reply@example.com>", HELO: "app.example.com",
	}
}

func open(t *testing.T, cfg smtp.Config) *smtp.Backend {
	t.Helper()
	backend, err := smtp.New(cfg)
	require.NoError(t, err)
	return backend
}

// script is a server that talks as it is told, on one connection. lines is what the client said, once it has hung up.
type script struct {
	address string
	done    chan struct{}
	lines   []string
}

// talk answers each line of the client with what answer gives for it; an answer of hangUp ends the connection, silence
// is none. greeting is said first.
func talk(t *testing.T, greeting string, answer func(line string) string) *script {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &script{address: listener.Addr().String(), done: make(chan struct{})}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		defer close(s.done)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_ = listener.Close()
		if greeting == hangUp {
			return
		}
		_, _ = io.WriteString(conn, greeting)
		for lines := bufio.NewReader(conn); ; {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			line = strings.TrimRight(line, "\r\n")
			s.lines = append(s.lines, line)
			said := answer(line)
			if said == hangUp {
				return
			}
			_, _ = io.WriteString(conn, said)
		}
	}()
	return s
}

const (
	silence = ""
	hangUp  = "\x00"
)

// said waits until the client has hung up, which it has to in every case.
func (s *script) said(t *testing.T) []string {
	t.Helper()
	select {
	case <-s.done:
	case <-time.After(20 * time.Second):
		require.Fail(t, "the client never closed the connection")
	}
	return s.lines
}

// obliging answers as a server without STARTTLS that takes everything, but for what differs.
func obliging(differ map[string]string) func(string) string {
	data := false
	return func(line string) string {
		verb, _, _ := strings.Cut(line, " ")
		if data {
			if verb = line; line != "." {
				return silence
			}
			data = false
		}
		said, ok := differ[verb]
		switch {
		case ok:
		case verb == "EHLO":
			said = "250-mx.example.com\r\n250 AUTH PLAIN LOGIN\r\n"
		case verb == "AUTH":
			said = "235 2.7.0 welcome\r\n"
		case verb == "DATA":
			said = "354 go ahead\r\n"
		case verb == "QUIT":
			said = "221 bye\r\n"
		default:
			said = "250 2.0.0 ok\r\n"
		}
		data = verb == "DATA" && strings.HasPrefix(said, "354")
		return said
	}
}

const welcome = "220 mx.example.com ESMTP\r\n"

// leak is what a server says that repeats what it was sent.
const leak = "<anna@example.org>: " + code

// plain checks that err is one after which the mail is tried again, and that it repeats nothing.
func plain(t *testing.T, err error) {
	t.Helper()
	require.Error(t, err)
	assert.False(t, errors.Is(err, userapi.ErrUndeliverable), "%v", err)
	discreet(t, err)
}

func discreet(t *testing.T, err error) {
	t.Helper()
	assert.Contains(t, err.Error(), "smtp: ")
	for _, secret := range []string{"anna", "example.org", code, "482913", string(password), username + " ", "free text"} {
		assert.NotContains(t, err.Error(), secret)
	}
}
