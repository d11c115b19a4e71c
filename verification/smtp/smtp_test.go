package smtp_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
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

func TestMailArrivesAsItWasMeant(t *testing.T) {
	for name, c := range map[string]struct {
		implicit   bool
		mechanisms []string
		change     func(*smtp.Config)
		encrypted  bool
		by         string
	}{
		"STARTTLS and PLAIN": {false, []string{sasl.Plain}, func(*smtp.Config) {}, true, sasl.Plain},
		"STARTTLS and LOGIN": {false, []string{sasl.Login}, func(*smtp.Config) {}, true, sasl.Login},
		"LOGIN asked for":    {false, []string{sasl.Plain, sasl.Login}, func(c *smtp.Config) { c.Auth = smtp.Login }, true, sasl.Login},
		"TLS":                {true, []string{sasl.Plain}, func(c *smtp.Config) { c.Security = smtp.TLS }, true, sasl.Plain},
		"TLS and LOGIN":      {true, []string{sasl.Login}, func(c *smtp.Config) { c.Security = smtp.TLS }, true, sasl.Login},
		"none":               {false, []string{sasl.Plain}, func(c *smtp.Config) { c.Security = smtp.None }, false, sasl.Plain},
		"no authentication":  {false, nil, func(c *smtp.Config) { c.Username, c.Password = "", "" }, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			server := (&mailServer{mechanisms: c.mechanisms}).serve(t, c.implicit)
			cfg := config(t, server.address, server.client)
			cfg.ReplyTo = "help@example.com"
			c.change(&cfg)
			require.NoError(t, open(t, cfg).Send(t.Context(), message()))
			require.Len(t, server.all(), 1)
			got := server.all()[0]
			assert.Equal(t, c.encrypted, got.encrypted)
			assert.Equal(t, c.by, got.by)
			assert.Equal(t, cfg.Username, got.user)
			assert.Equal(t, "No-Reply@example.com", got.from)
			assert.Equal(t, []string{"anna@example.org"}, got.to)
			assert.Equal(t, "app.example.com", got.helo)
			assert.False(t, got.utf8, "an ASCII mail needs no SMTPUTF8 of the servers behind")
			readsAsMeant(t, got.data)
		})
	}
}

// readsAsMeant takes the mail apart with the standard library.
func readsAsMeant(t *testing.T, data string) {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(data))
	require.NoError(t, err)
	for header, want := range map[string]string{
		"From": "Example & Söhne <No-Reply@example.com>", "To": "<anna@example.org>", "Reply-To": "<help@example.com>",
		"Subject": "Grüße", "Message-Id": "<0193508e-7a3f-7000-8000-000000000001@example.com>", "Mime-Version": "1.0",
		"Auto-Submitted": "auto-generated", "X-Auto-Response-Suppress": "OOF, AutoReply",
	} {
		if assert.Len(t, m.Header[header], 1, header) {
			got, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get(header))
			require.NoError(t, err)
			assert.Equal(t, want, got, header)
		}
	}
	for _, header := range []string{"Cc", "Bcc", "X-Mailer", "User-Agent"} {
		assert.NotContains(t, m.Header, header)
	}
	date, err := m.Header.Date()
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now(), date, time.Hour)

	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	require.NoError(t, err)
	require.Equal(t, "multipart/alternative", kind)
	parts := multipart.NewReader(m.Body, params["boundary"])
	for _, want := range []struct{ kind, content string }{
		{"text/plain", "Größe: " + code + "\r\n.\r\nEnde"}, {"text/html", "<p>Größe: " + code + "</p>"},
	} {
		part, err := parts.NextPart()
		require.NoError(t, err)
		kind, params, err := mime.ParseMediaType(part.Header.Get("Content-Type"))
		require.NoError(t, err)
		assert.Equal(t, want.kind, kind)
		assert.Equal(t, "utf-8", strings.ToLower(params["charset"]))
		content, err := io.ReadAll(part)
		require.NoError(t, err)
		assert.Equal(t, want.content, strings.TrimSpace(string(content)))
	}
	_, err = parts.NextPart()
	assert.ErrorIs(t, err, io.EOF)
}

func TestTextAlone(t *testing.T) {
	server := (&mailServer{mechanisms: []string{sasl.Plain}}).serve(t, false)
	m := message()
	m.HTML = ""
	require.NoError(t, open(t, config(t, server.address, server.client)).Send(t.Context(), m))
	got, err := mail.ReadMessage(strings.NewReader(server.all()[0].data))
	require.NoError(t, err)
	kind, _, err := mime.ParseMediaType(got.Header.Get("Content-Type"))
	require.NoError(t, err)
	assert.Equal(t, "text/plain", kind)
	assert.NotContains(t, got.Header, "Reply-To")
}

func TestWordsComeFromTheTemplates(t *testing.T) {
	server := (&mailServer{mechanisms: []string{sasl.Plain}}).serve(t, false)
	backend := open(t, config(t, server.address, server.client))
	m := message()
	m.Subject, m.Text, m.HTML = "", "", ""
	require.NoError(t, backend.Send(t.Context(), m))
	got, err := mail.ReadMessage(strings.NewReader(server.all()[0].data))
	require.NoError(t, err)
	assert.NotEmpty(t, got.Header.Get("Subject"))
	body, err := io.ReadAll(got.Body)
	require.NoError(t, err)
	assert.Contains(t, string(body), code)

	m.Purpose = "unknown"
	plain(t, backend.Send(t.Context(), m))
	assert.Len(t, server.all(), 1)
}

func TestEachAttemptHasTheSameMessageID(t *testing.T) {
	server := (&mailServer{mechanisms: []string{sasl.Plain}}).serve(t, false)
	backend := open(t, config(t, server.address, server.client))
	m := message()
	require.NoError(t, backend.Send(t.Context(), m))
	m.Attempt = 2
	require.NoError(t, backend.Send(t.Context(), m))
	m.ID = "another"
	require.NoError(t, backend.Send(t.Context(), m))
	var ids []string
	for _, r := range server.all() {
		got, err := mail.ReadMessage(strings.NewReader(r.data))
		require.NoError(t, err)
		ids = append(ids, got.Header.Get("Message-Id"))
	}
	assert.Equal(t, ids[0], ids[1])
	assert.Equal(t, "<another@example.com>", ids[2])
}

func TestParallel(t *testing.T) {
	server := (&mailServer{mechanisms: []string{sasl.Plain}}).serve(t, false)
	backend := open(t, config(t, server.address, server.client))
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			m := message()
			m.To = fmt.Sprintf("anna%d@example.org", i)
			assert.NoError(t, backend.Send(t.Context(), m))
		})
	}
	all.Wait()
	assert.Len(t, server.all(), 8)
}

func TestWhatTheServerSaysOfTheRecipient(t *testing.T) {
	for said, never := range map[string]bool{
		"550 5.1.1 no such user": true, "550 no such user": true, "551 5.1.6 moved": true, "553 5.1.3 no": true,
		"556 5.1.10 null MX": true, "550 5.2.1 disabled": true, "550-5.1.1 no\r\n550 5.1.1 such user": true,
		"550 5.1.7 bad sender": false, "550 5.1.8 bad sender's domain": false, "550 5.7.1 relaying denied": false,
		"550 5.7.133 not for you": false, "550 5.2.2 mailbox full": false, "550 4.2.1 try later": false,
		"552 5.2.2 mailbox full": false, "554 5.7.1 blocked": false, "554 no": false, "530 5.7.0 authenticate": false, "503 bad sequence": false,
		"450 4.2.1 greylisted": false, "451 4.3.0 try later": false, "452 4.5.3 too many": false, "421 4.3.2 closing": false,
	} {
		said = strings.ReplaceAll(said, "\r\n", leak+"\r\n") + " " + leak + "\r\n"
		server := talk(t, welcome, obliging(map[string]string{"RCPT": said}))
		cfg := config(t, server.address, nil)
		cfg.Security = smtp.None
		err := open(t, cfg).Send(t.Context(), message())
		require.Error(t, err, said)
		assert.Equal(t, never, errors.Is(err, userapi.ErrUndeliverable), said)
		assert.Contains(t, err.Error(), "smtp: RCPT TO: the server answered "+said[:3])
		discreet(t, err)
		assert.NotContains(t, server.said(t), "DATA")
	}
}

func TestWhatTheServerSaysOtherwiseIsTriedAgain(t *testing.T) {
	for _, c := range []struct{ verb, answer, want string }{
		{"EHLO", "502 " + leak + "\r\n", ""}, // HELO is tried then, which tells no AUTH
		{"AUTH", "535 5.7.8 " + leak + "\r\n", "AUTH: the server answered 535 5.7.8"},
		{"AUTH", "454 4.7.0 " + leak + "\r\n", "AUTH: the server answered 454 4.7.0"},
		{"AUTH", "334 !!!" + leak + "\r\n", "AUTH: "},
		{"MAIL", "550 5.1.1 " + leak + "\r\n", "MAIL FROM: the server answered 550 5.1.1"},
		{"MAIL", "451 " + leak + "\r\n", "MAIL FROM: the server answered 451"},
		{"RCPT", leak + "\r\n", "RCPT TO: the server did not speak"},
		{"RCPT", "5x0 " + leak + "\r\n", "RCPT TO: the server did not speak"},
		{"DATA", "550 5.1.1 " + leak + "\r\n", "DATA: the server answered 550 5.1.1"},
		{".", "554 5.6.0 " + leak + "\r\n", "DATA: the server answered 554 5.6.0"},
		{".", "550 " + leak + "\r\n", "DATA: the server answered 550"},
		{".", "452 4.2.2 " + leak + "\r\n", "DATA: the server answered 452 4.2.2"},
	} {
		server := talk(t, welcome, obliging(map[string]string{c.verb: c.answer}))
		cfg := config(t, server.address, nil)
		cfg.Security = smtp.None
		err := open(t, cfg).Send(t.Context(), message())
		plain(t, err)
		assert.Contains(t, err.Error(), c.want)
		server.said(t)
	}
	for _, greeting := range []string{"554 5.7.1 " + leak + "\r\n", "421 " + leak + "\r\n", leak + "\r\n", hangUp} {
		server := talk(t, greeting, obliging(nil))
		cfg := config(t, server.address, nil)
		cfg.Security = smtp.None
		plain(t, open(t, cfg).Send(t.Context(), message()))
		server.said(t)
	}
}

func TestCredentialsThatARealServerRefuses(t *testing.T) {
	server := (&mailServer{mechanisms: []string{sasl.Plain}}).serve(t, false)
	cfg := config(t, server.address, server.client)
	cfg.Password = "a wrong password"
	err := open(t, cfg).Send(t.Context(), message())
	plain(t, err)
	assert.Contains(t, err.Error(), "535")
	assert.NotContains(t, err.Error(), "wrong")

	server = (&mailServer{mechanisms: []string{"CRAM-MD5"}}).serve(t, false)
	err = open(t, config(t, server.address, server.client)).Send(t.Context(), message())
	plain(t, err)
	assert.Contains(t, err.Error(), "no method of authentication")
	assert.Empty(t, server.all())
}

func TestErrorsOfARealServer(t *testing.T) {
	for name, c := range map[string]struct {
		server *mailServer
		never  bool
	}{
		"MAIL 550": {&mailServer{mailError: &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: leak}}, false},
		"RCPT 550": {&mailServer{rcptError: &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: leak}}, true},
		"RCPT 450": {&mailServer{rcptError: &gosmtp.SMTPError{Code: 450, EnhancedCode: gosmtp.EnhancedCode{4, 2, 0}, Message: leak}}, false},
		"DATA 554": {&mailServer{dataError: &gosmtp.SMTPError{Code: 554, EnhancedCode: gosmtp.EnhancedCode{5, 6, 0}, Message: leak}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c.server.mechanisms = []string{sasl.Plain}
			server := c.server.serve(t, false)
			err := open(t, config(t, server.address, server.client)).Send(t.Context(), message())
			require.Error(t, err)
			discreet(t, err)
			assert.Equal(t, c.never, errors.Is(err, userapi.ErrUndeliverable), "%v", err)
			assert.Empty(t, server.all())
		})
	}
}

func TestScramIsPreferred(t *testing.T) {
	offer := map[string]string{"EHLO": "250-mx.example.com\r\n250 AUTH LOGIN PLAIN SCRAM-SHA-256\r\n", "AUTH": "535 no\r\n"}
	server := talk(t, welcome, obliging(offer))
	cfg := config(t, server.address, nil)
	cfg.Security = smtp.None
	plain(t, open(t, cfg).Send(t.Context(), message()))
	assert.Contains(t, strings.Join(server.said(t), "\n"), "\nAUTH SCRAM-SHA-256")
}

// Without STARTTLS, or with a certificate that nobody vouches for, the server learns nothing.
func TestNothingGoesOutUnencrypted(t *testing.T) {
	for name, c := range map[string]struct {
		differ map[string]string
		want   string
	}{
		"stripped":      {nil, "offers no STARTTLS"},
		"not even EHLO": {map[string]string{"EHLO": "502 no\r\n"}, "offers no STARTTLS"},
		"refused":       {map[string]string{"EHLO": "250-mx\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n", "STARTTLS": "454 4.7.0 not now\r\n"}, "STARTTLS: the server answered 454"},
		"no TLS behind": {map[string]string{"EHLO": "250-mx\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n", "STARTTLS": "220 go\r\n250 AUTH PLAIN\r\n250 ok\r\n"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			server := talk(t, welcome, obliging(c.differ))
			cfg := config(t, server.address, nil)
			if c.want == "" {
				cfg.Timeout = 300 * time.Millisecond // it hangs in the handshake
			}
			err := open(t, cfg).Send(t.Context(), message())
			plain(t, err)
			assert.Contains(t, err.Error(), c.want)
			for _, line := range server.said(t) {
				for _, verb := range []string{"AUTH", "MAIL", "RCPT", "DATA"} {
					assert.False(t, strings.HasPrefix(line, verb), line)
				}
			}
		})
	}
}

func TestCertificatesAreVerified(t *testing.T) {
	for _, implicit := range []bool{false, true} {
		server := (&mailServer{mechanisms: []string{sasl.Plain}}).serve(t, implicit)
		cfg := config(t, server.address, nil)
		if implicit {
			cfg.Security = smtp.TLS
		}
		var unverified *tls.CertificateVerificationError
		err := open(t, cfg).Send(t.Context(), message())
		plain(t, err)
		assert.ErrorAs(t, err, &unverified, "nobody vouches for it")

		cfg.TLSConfig = server.client
		cfg.Host = "localhost" // which it is not for
		err = open(t, cfg).Send(t.Context(), message())
		plain(t, err)
		assert.ErrorAs(t, err, &unverified)
		assert.Empty(t, server.client.ServerName, "the host's own configuration is left alone")
		assert.Empty(t, server.all())
	}
}

func TestAServerThatHangs(t *testing.T) {
	for name, start := range map[string]func() *script{
		"before the greeting": func() *script { return talk(t, silence, obliging(nil)) },
		"at EHLO":             func() *script { return talk(t, welcome, obliging(map[string]string{"EHLO": silence})) },
		"at AUTH":             func() *script { return talk(t, welcome, obliging(map[string]string{"AUTH": silence})) },
		"at RCPT":             func() *script { return talk(t, welcome, obliging(map[string]string{"RCPT": silence})) },
		"after the mail":      func() *script { return talk(t, welcome, obliging(map[string]string{".": silence})) },
	} {
		t.Run(name, func(t *testing.T) {
			server := start()
			cfg := config(t, server.address, nil)
			cfg.Security, cfg.Timeout = smtp.None, 50*time.Millisecond
			err := open(t, cfg).Send(t.Context(), message())
			plain(t, err)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			server.said(t)

			server = start()
			cfg = config(t, server.address, nil)
			cfg.Security = smtp.None
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(50*time.Millisecond, cancel)
			err = open(t, cfg).Send(ctx, message())
			plain(t, err)
			assert.ErrorIs(t, err, context.Canceled)
			server.said(t)
		})
	}
}

func TestATLSHandshakeThatHangs(t *testing.T) {
	server := talk(t, silence, func(string) string { return silence })
	cfg := config(t, server.address, nil)
	cfg.Security, cfg.Timeout = smtp.TLS, 50*time.Millisecond
	err := open(t, cfg).Send(t.Context(), message())
	plain(t, err)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	server.said(t)
}

func TestAServerThatHangsUp(t *testing.T) {
	for _, verb := range []string{"EHLO", "AUTH", "MAIL", "RCPT", "DATA", "."} {
		server := talk(t, welcome, obliging(map[string]string{verb: hangUp}))
		cfg := config(t, server.address, nil)
		cfg.Security = smtp.None
		plain(t, open(t, cfg).Send(t.Context(), message()))
		server.said(t)
	}
	inside := obliging(nil)
	server := talk(t, welcome, func(line string) string {
		if strings.HasPrefix(line, "Subject:") {
			return hangUp
		}
		return inside(line)
	})
	cfg := config(t, server.address, nil)
	cfg.Security = smtp.None
	plain(t, open(t, cfg).Send(t.Context(), message()))

	server.said(t)
	err := open(t, cfg).Send(t.Context(), message()) // the second connection finds nobody
	plain(t, err)
}

// What is accepted is accepted: a farewell that fails would have the mail sent twice.
func TestTheFarewellDoesNotMatter(t *testing.T) {
	for _, answer := range []string{hangUp, silence, "500 what?\r\n"} {
		server := talk(t, welcome, obliging(map[string]string{"QUIT": answer}))
		cfg := config(t, server.address, nil)
		cfg.Security = smtp.None
		assert.NoError(t, open(t, cfg).Send(t.Context(), message()))
		assert.Contains(t, server.said(t), ".")
	}
}

func TestF04_TheHostsAddressesHoldNoHeader(t *testing.T) {
	for _, evil := range []string{"\r\nBcc: eve@example.net", "\nBcc: eve@example.net", "\r", "\x00"} {
		for _, set := range []func(*smtp.Config, string){
			func(c *smtp.Config, evil string) { c.From = "no-reply@example.com" + evil },
			func(c *smtp.Config, evil string) { c.From = "Example" + evil + " <no-reply@example.com>" },
			func(c *smtp.Config, evil string) { c.From = `"Example` + evil + `" <no-reply@example.com>` },
			func(c *smtp.Config, evil string) {
				c.From = mime.QEncoding.Encode("utf-8", "Example"+evil) + " <no-reply@example.com>"
			},
			func(c *smtp.Config, evil string) { c.ReplyTo = "help@example.com" + evil },
			func(c *smtp.Config, evil string) { c.HELO = "app.example.com" + evil },
			func(c *smtp.Config, evil string) { c.Host = "smtp.example.com" + evil },
		} {
			cfg := smtp.Config{Host: "smtp.example.com", From: "no-reply@example.com"}
			set(&cfg, evil)
			_, err := smtp.New(cfg)
			assert.Error(t, err, "%+v", cfg)
		}
	}
}

func TestF04_ARecipientThatIsNoneIsNotWrittenTo(t *testing.T) {
	server := (&mailServer{mechanisms: []string{sasl.Plain}}).serve(t, false)
	backend := open(t, config(t, server.address, server.client))
	for _, to := range []string{
		"", "anna", "anna@", "@example.org", "anna@example.org\r\nBcc: eve@example.net", "anna@example.org\n", "anna@example.org\x00",
		"anna@example.org>\r\nRCPT TO:<eve@example.net", "anna@example.org, eve@example.net", "Anna <anna@example.org>",
		"<anna@example.org>", " anna@example.org", "Anna@example.org", "anna@exämple.org", "änna@example.org",
		`"anna eve"@example.org`, "anna@example.org> NOTIFY=SUCCESS", "+4915112345678",
	} {
		m := message()
		m.To = to
		err := backend.Send(t.Context(), m)
		require.ErrorIs(t, err, userapi.ErrUndeliverable, to)
		discreet(t, err)
	}
	assert.Empty(t, server.all())
}

func TestF04_SubjectAndIDHoldNoHeader(t *testing.T) {
	server := (&mailServer{mechanisms: []string{sasl.Plain}}).serve(t, false)
	backend := open(t, config(t, server.address, server.client))
	for _, evil := range []string{"\r\nBcc: eve@example.net\r\n\r\n<html>", "\nBcc: eve@example.net", "\rBcc: eve@example.net", "\x00\v\f\u0085\u2028Bcc: eve@example.net"} {
		m := message()
		m.Subject, m.ID = "Hello"+evil, "1"+evil
		require.NoError(t, backend.Send(t.Context(), m))
		mails := server.all()
		data := mails[len(mails)-1].data
		got, err := mail.ReadMessage(strings.NewReader(data))
		require.NoError(t, err)
		assert.Len(t, got.Header, 9, "%v", got.Header)
		assert.NotContains(t, got.Header, "Bcc")
		subject, err := new(mime.WordDecoder).DecodeHeader(got.Header.Get("Subject"))
		require.NoError(t, err)
		assert.True(t, strings.HasPrefix(subject, "Hello Bcc: eve@example.net"), subject)
		assert.NotContains(t, subject, "\n")
		assert.NotContains(t, got.Header.Get("Message-Id"), " ")
		assert.True(t, strings.HasSuffix(got.Header.Get("Message-Id"), "@example.com>"))
		assert.Equal(t, []string{"anna@example.org"}, mails[len(mails)-1].to)
	}
}

func TestNewRefusesAWrongConfiguration(t *testing.T) {
	for want, change := range map[string]func(*smtp.Config){
		"Config.Host":              func(c *smtp.Config) { c.Host = "" },
		"Config.Security has":      func(c *smtp.Config) { c.Security, c.Port = "ssl", 465 },
		"Config.Port":              func(c *smtp.Config) { c.Port = 70000 },
		"Config.Security: mail":    func(c *smtp.Config) { c.Security, c.Username, c.Password = smtp.None, "", "" },
		"Config.Username":          func(c *smtp.Config) { c.Security, c.AllowUnencrypted = smtp.None, true },
		"Username and Password":    func(c *smtp.Config) { c.Username = "" },
		"Username and Password go": func(c *smtp.Config) { c.Password = "" },
		"Config.Auth":              func(c *smtp.Config) { c.Auth = "CRAM-MD5" },
		"Config.HELO":              func(c *smtp.Config) { c.HELO = "two words" },
		"Config.Timeout":           func(c *smtp.Config) { c.Timeout = -1 },
		"Config.TLSConfig":         func(c *smtp.Config) { c.TLSConfig = &tls.Config{InsecureSkipVerify: true} },
		"Config.From":              func(c *smtp.Config) { c.From = "" },
		"Config.From: has":         func(c *smtp.Config) { c.From = "no-reply@exämple.com" },
		"Config.ReplyTo":           func(c *smtp.Config) { c.ReplyTo = "a@example.com, b@example.com" },
	} {
		cfg := smtp.Config{Host: "smtp.example.com", Username: username, Password: password, From: "no-reply@example.com"}
		change(&cfg)
		_, err := smtp.New(cfg)
		if assert.ErrorContains(t, err, want) {
			assert.NotContains(t, err.Error(), string(password))
		}
	}
	_, err := smtp.New(smtp.Config{Host: "mx:587", From: "a@example.com"})
	require.ErrorContains(t, err, "Config.Port")
	_, err = smtp.New(smtp.Config{Host: "mx", Security: smtp.None, AllowUnencrypted: true, From: "a@example.com"})
	assert.NoError(t, err)
}

func TestAPrintHidesThePassword(t *testing.T) {
	cfg := smtp.Config{Host: "smtp.example.com", Username: username, Password: password, From: "no-reply@example.com"}
	backend := open(t, cfg)
	assert.NotContains(t, fmt.Sprintf("%v %+v %#v %+v", backend, backend, backend, cfg), string(password))
}
