package smtp

import (
	"fmt"
	netmail "net/mail"
	"net/url"
	"strings"
	"unicode"

	"github.com/wneessen/go-mail"

	"github.com/userapi/userapi"
)

// compose makes the mail. The recipient is canonical, or refused: no form of an address gets through that a server could
// read as two, or as a command.
func (b *Backend) compose(m userapi.Message) (*mail.Msg, error) {
	if _, canonical, err := userapi.NormalizeEmail(m.To); err != nil || canonical != m.To {
		return nil, fmt.Errorf("smtp: the recipient is not a canonical e-mail address: %w", userapi.ErrUndeliverable)
	}
	m, err := b.templates.Render(m)
	if err != nil {
		return nil, fmt.Errorf("smtp: %w", err)
	}
	out := mail.NewMsg(mail.WithNoDefaultUserAgent())
	from := b.from
	out.FromMailAddress(&from)
	if b.replyTo != nil {
		replyTo := *b.replyTo
		out.ReplyToMailAddress(&replyTo)
	}
	out.ToMailAddress(&netmail.Address{Address: m.To})
	out.Subject(oneLine(m.Subject))
	out.SetMessageIDWithValue(b.messageID(m.ID))
	out.SetGenHeader("Auto-Submitted", "auto-generated")                 // RFC 3834 5
	out.SetGenHeader(mail.HeaderXAutoResponseSuppress, "OOF, AutoReply") // the same for Exchange
	out.SetBodyString(mail.TypeTextPlain, string(m.Text))
	if m.HTML != "" {
		out.AddAlternativeString(mail.TypeTextHTML, string(m.HTML))
	}
	return out, nil
}

// messageID is the same for each attempt at one message. Escaped, any id consists of what RFC 5322 3.6.4 allows.
func (b *Backend) messageID(id string) string {
	_, domain, _ := strings.Cut(b.from.Address, "@")
	return url.QueryEscape(id) + "@" + domain
}

// oneLine makes a space of whatever could end a header.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }), " ")
}
