package verification

import (
	"embed"
	"fmt"
	htmltemplate "html/template"
	"io"
	"math"
	"strings"
	"sync"
	texttemplate "text/template"
	"time"
	"unicode"

	"github.com/userapi/userapi"
)

//go:embed templates
var embedded embed.FS

// Templates put messages into words. There is one set of files for each message, named after its purpose, a notice after
// its name with notice_ in front:
//
//	reset.subject.txt  reset.txt  reset.html      and so activation, email, email_change
//	notice_password_changed.subject.txt  …        and so every userapi.Notice
//	phone.txt                                     an SMS has neither subject nor HTML
//	layout.html                                   what is around every HTML; {{template "body" .}} is the message
//
// A nil *Templates is the default ones: English, without a product's name. It is safe for concurrent use.
type Templates struct {
	product string
	now     func() time.Time
	locales map[string]map[string]wording // locale → name of a message → its words; "" is the default locale
}

// TemplateOptions are what the default templates leave open.
type TemplateOptions struct {
	Product string           // your product's name, as subjects and texts say it; default "": they name none
	Now     func() time.Time // what the minutes that are left are counted by; default time.Now
}

// SubjectData is what a subject may show: nothing that somebody typed, and no secret.
type SubjectData struct {
	Purpose userapi.Purpose
	Notice  userapi.Notice // with userapi.PurposeNotice
	Product string         // TemplateOptions.Product
	Minutes int            // how long code or token is good, from now, rounded, at least 1; 0 = not said
	Valid   string         // the same in English: "10 minutes", "24 hours"; "" = not said
}

// TemplateData is what a text or HTML template may show. Secrets are in clear here, and only here.
type TemplateData struct {
	SubjectData
	To    string // canonical e-mail address, or E.164
	Code  string // of userapi.PurposePhone
	Token string // of every other purpose but a notice
	Link  string // the whole link; "" = there is none, show the Token
	// Name is what the user calls themselves; may be "". Whoever registers with a stranger's address puts their own words
	// here, so the default templates do not show it. Never show it in activation, notice_already_registered,
	// notice_username_taken and notice_email_taken, which go to addresses nobody has proven.
	Name string
}

// Render fills in Subject, Text and HTML, unless Text is there already. For an SMS there is only Text. The locale "de-AT"
// is looked for as "de-at", then as "de", then the default is taken; a text that is no locale gets the default.
//
// It fails when there is no such message, when a template fails, and when its text shows neither code, token nor link
// although the message has one. No error holds a secret.
func (t *Templates) Render(m userapi.Message) (userapi.Message, error) {
	if m.Text != "" {
		return m, nil
	}
	if t == nil || t.locales == nil {
		t = defaultTemplates()
	}
	name := templateName(m.Purpose, m.Notice)
	words, ok := t.inLocale(m.Locale)[name]
	if !ok {
		return m, fmt.Errorf("verification: there is no template %q", name)
	}
	out, err := words.fill(m, t.data(m))
	if err == nil {
		err = shows(words.text.Name(), out.Text, m)
	}
	if err != nil {
		return m, fmt.Errorf("verification: %s", scrub(err.Error(), m))
	}
	return out, nil
}

// defaultTemplates are made at the first mail of a process that configures none.
var defaultTemplates = sync.OnceValue(func() *Templates {
	t, err := ParseTemplates(nil, TemplateOptions{})
	if err != nil {
		panic(err) // they are embedded: a test parses the same
	}
	return t
})

func (t *Templates) inLocale(locale string) map[string]wording {
	for locale = canonicalLocale(locale); locale != ""; locale = parentLocale(locale) {
		if words, ok := t.locales[locale]; ok {
			return words
		}
	}
	return t.locales[""]
}

func (t *Templates) data(m userapi.Message) TemplateData {
	d := TemplateData{
		SubjectData: SubjectData{Purpose: m.Purpose, Notice: m.Notice, Product: t.product},
		To:          m.To, Name: m.Name, Code: string(m.Code), Token: string(m.Token), Link: string(m.Link),
	}
	if !m.ExpiresAt.IsZero() {
		d.Minutes = max(1, int(math.Round(m.ExpiresAt.Sub(t.now()).Minutes())))
		d.Valid = inEnglish(d.Minutes)
	}
	return d
}

func inEnglish(minutes int) string {
	switch {
	case minutes == 1:
		return "1 minute"
	case minutes < 120:
		return fmt.Sprintf("%d minutes", minutes)
	default:
		return fmt.Sprintf("%d hours", minutes/60)
	}
}

// wording is one message in one locale.
type wording struct {
	subject *texttemplate.Template // nil of an SMS
	text    *texttemplate.Template
	html    *htmltemplate.Template // nil = the mail is plain text

	htmlFile string
}

// fill puts the words into the message. Its errors name the file.
func (w wording) fill(m userapi.Message, data TemplateData) (userapi.Message, error) {
	text, err := execute(w.text, data)
	if err != nil {
		return m, err
	}
	if text == "" {
		return m, fmt.Errorf("template: %s: it says nothing", w.text.Name())
	}
	m.Text = userapi.Secret(text)
	if m.Channel == userapi.ChannelSMS || w.subject == nil {
		return m, nil
	}
	m.Text += "\n"
	subject, err := execute(w.subject, data.SubjectData)
	if err != nil {
		return m, err
	}
	if m.Subject = oneLine(subject); m.Subject == "" {
		return m, fmt.Errorf("template: %s: it says nothing", w.subject.Name())
	}
	if w.html != nil {
		html, err := execute(w.html, data)
		if err != nil {
			return m, err
		}
		m.HTML = userapi.Secret(html + "\n")
	}
	return m, nil
}

// shows fails when a text lacks what the message is sent for.
func shows(file string, text userapi.Secret, m userapi.Message) error {
	has := func(s userapi.Secret) bool { return s != "" && strings.Contains(string(text), string(s)) }
	if m.Code != "" && !has(m.Code) {
		return fmt.Errorf("template: %s: it does not show the code", file)
	}
	if (m.Token != "" || m.Link != "") && !has(m.Token) && !has(m.Link) {
		return fmt.Errorf("template: %s: it shows neither the link nor the token", file)
	}
	return nil
}

// oneLine keeps a header a header: no line breaks, no control characters, single spaces.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
}

// executor is a text or an HTML template.
type executor interface {
	Execute(w io.Writer, data any) error
}

func execute(t executor, data any) (string, error) {
	var b strings.Builder
	if err := t.Execute(&b, data); err != nil {
		return "", err
	}
	return strings.TrimSpace(strings.ReplaceAll(b.String(), "\r\n", "\n")), nil
}
