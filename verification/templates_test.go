package verification_test

import (
	"fmt"
	"html"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/userapi/userapi"
	"github.com/userapi/userapi/verification"
)

var (
	purposes = []userapi.Purpose{userapi.PurposeReset, userapi.PurposeActivation, userapi.PurposeEmail, userapi.PurposeEmailChange}
	notices  = []userapi.Notice{
		userapi.NoticeAlreadyRegistered, userapi.NoticeUsernameTaken, userapi.NoticeEmailTaken,
		userapi.NoticePasswordChanged, userapi.NoticeEmailChanged, userapi.NoticePhoneChanged, userapi.NoticeSecondFactorOn, userapi.NoticeSecondFactorOff,
		userapi.NoticeLoginLimited, userapi.NoticePasswordLimited, userapi.NoticeSecondFactorLimited,
	}
	noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
)

const attack = "You won! visit http://evil.example"

func mail(p userapi.Purpose) userapi.Message {
	return userapi.Message{
		Channel: userapi.ChannelEmail, To: "anna@example.com", Purpose: p, Name: attack,
		Token: "tok-en_1", Link: "https://app.example.com/#token=tok-en_1&x=1", ExpiresAt: noon.Add(time.Hour - time.Second),
	}
}

func notice(n userapi.Notice) userapi.Message {
	m := mail(userapi.PurposeNotice)
	m.Notice, m.Token, m.Link = n, "", ""
	return m
}

func parse(t *testing.T, files map[string]string) *verification.Templates {
	t.Helper()
	templates, err := verification.ParseTemplates(files2fs(files), verification.TemplateOptions{Now: func() time.Time { return noon }})
	require.NoError(t, err)
	return templates
}

func files2fs(files map[string]string) fs.FS {
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return fsys
}

func render(t *testing.T, templates *verification.Templates, m userapi.Message) (subject, text, htmlText string) {
	t.Helper()
	out, err := templates.Render(m)
	require.NoError(t, err)
	return out.Subject, string(out.Text), string(out.HTML)
}

func TestTemplates_defaults_of_links(t *testing.T) {
	for _, product := range []string{"", "Shop & Co"} {
		templates, err := verification.ParseTemplates(nil, verification.TemplateOptions{Product: product, Now: func() time.Time { return noon }})
		require.NoError(t, err)
		for _, p := range purposes {
			m := mail(p)
			subject, text, page := render(t, templates, m)
			assert.NotEmpty(t, subject)
			assert.Contains(t, text, "\n\n"+string(m.Link)+"\n\n")
			assert.Contains(t, text, "valid for 60 minutes")
			assert.Contains(t, page, `<a href="`+html.EscapeString(string(m.Link))+`">`)
			assert.Contains(t, page, "valid for 60 minutes")
			assert.True(t, strings.HasPrefix(page, "<!doctype html>"))
			assert.Equal(t, product != "", strings.Contains(subject, "Shop & Co: "))
			assert.Equal(t, product != "", strings.Contains(text, "Shop & Co"))
			assert.Equal(t, product != "", strings.Contains(page, "Shop &amp; Co"))

			m.Link, m.ExpiresAt = "", time.Time{}
			_, text, page = render(t, templates, m)
			assert.Contains(t, text, "\n\ntok-en_1\n\n")
			assert.Contains(t, page, "<code>tok-en_1</code>")
			assert.NotContains(t, text+page, "valid for")
			assert.NotContains(t, page, "href")
		}
	}
}

func TestTemplates_defaults_of_notices(t *testing.T) {
	seen := map[string]bool{}
	for _, n := range notices {
		subject, text, page := render(t, nil, notice(n))
		assert.NotEmpty(t, subject)
		assert.Contains(t, page, "<p>"+strings.SplitN(html.EscapeString(text), "\n", 2)[0]+"</p>", "the same words")
		seen[text] = true
	}
	assert.Len(t, seen, len(notices))
}

func TestTemplates_default_of_sms(t *testing.T) {
	out, err := (*verification.Templates)(nil).Render(sms(german))
	require.NoError(t, err)
	assert.Equal(t, "Your security code is: 471147", string(out.Text))
	assert.Empty(t, out.Subject)
	assert.Empty(t, out.HTML)
	out, err = new(verification.Templates).Render(sms(german))
	require.NoError(t, err)
	assert.NotEmpty(t, out.Text)
}

// A message that takes another way than usual has no more than there are templates for.
func TestTemplates_on_another_channel(t *testing.T) {
	m := mail(userapi.PurposeReset)
	m.Channel = userapi.ChannelSMS
	out, err := (*verification.Templates)(nil).Render(m)
	require.NoError(t, err)
	assert.Contains(t, string(out.Text), string(m.Link))
	assert.Empty(t, out.Subject)
	assert.Empty(t, out.HTML)
	m = sms(german)
	m.Channel = userapi.ChannelEmail
	out, err = (*verification.Templates)(nil).Render(m)
	require.NoError(t, err)
	assert.Contains(t, string(out.Text), "471147")
	assert.Empty(t, out.HTML)
}

// Whoever registers with a stranger's address writes the name.
func TestTemplates_defaults_show_nothing_typed(t *testing.T) {
	for _, n := range notices {
		subject, text, page := render(t, nil, notice(n))
		assert.NotContains(t, subject+text+page, "evil")
		assert.NotContains(t, subject+text+page, "anna")
	}
	for _, p := range purposes {
		subject, text, page := render(t, nil, mail(p))
		assert.NotContains(t, subject+text+page, "evil")
		assert.NotContains(t, subject+text+page, "anna")
	}
}

// No file lies in templates/ that nothing reads.
func TestTemplates_every_default_file_is_of_a_message(t *testing.T) {
	files := map[string]bool{"phone.txt": true, "layout.html": true}
	add := func(name string) {
		for _, ext := range []string{".txt", ".html", ".subject.txt"} {
			files[name+ext] = true
		}
	}
	for _, p := range purposes {
		add(string(p))
	}
	for _, n := range notices {
		add("notice_" + string(n))
	}
	entries, err := os.ReadDir("templates")
	require.NoError(t, err)
	for _, e := range entries {
		assert.True(t, files[e.Name()], e.Name())
	}
	assert.Len(t, entries, len(files))
}

func TestTemplates_text_that_is_there_stays(t *testing.T) {
	m := mail("whatever")
	m.Text = "as it was"
	out, err := (*verification.Templates)(nil).Render(m)
	require.NoError(t, err)
	assert.Equal(t, m, out)
}

func TestTemplates_overrides(t *testing.T) {
	templates := parse(t, map[string]string{
		"reset.txt":              "{{.Purpose}} {{.To}} {{.Link}} {{.Token}} {{.Minutes}} {{.Name}}\r\nend\n\n",
		"reset.subject.txt":      "Mine",
		"activation.html":        "<i>{{.Token}}</i>",
		"layout.html":            `<main>{{template "body" .}}</main>`,
		"phone.txt":              "{{.Code}}!",
		"README.md":              "no template",
		".hidden.txt":            "{{",
		"..2026/reset.txt":       "{{",
		"notice_email_taken.txt": "{{.Notice}} is {{.Purpose}}",
	})
	subject, text, page := render(t, templates, mail(userapi.PurposeReset))
	assert.Equal(t, "Mine", subject)
	assert.Equal(t, "reset anna@example.com https://app.example.com/#token=tok-en_1&x=1 tok-en_1 60 "+attack+"\nend\n", text)
	assert.Empty(t, page, "the default HTML would say something else")

	subject, text, page = render(t, templates, mail(userapi.PurposeActivation))
	assert.Equal(t, "Activate your account", subject)
	assert.Contains(t, text, "registered")
	assert.Equal(t, "<main><i>tok-en_1</i></main>\n", page)

	_, _, page = render(t, templates, mail(userapi.PurposeEmail))
	assert.Contains(t, page, "<main><p>Please", "the default body in the own layout")
	_, text, _ = render(t, templates, sms(german))
	assert.Equal(t, "471147!", text)
	_, text, _ = render(t, templates, notice(userapi.NoticeEmailTaken))
	assert.Equal(t, "email_taken is notice\n", text)
}

func TestTemplates_locales(t *testing.T) {
	templates := parse(t, map[string]string{
		"phone.txt":            "host {{.Code}}",
		"reset.html":           "host {{.Token}}",
		"de/phone.txt":         "de {{.Code}}",
		"de/reset.txt":         "de {{.Token}}",
		"de_AT/phone.txt":      "at {{.Code}}",
		"de_AT/reset.html":     "at {{.Token}}",
		"zh-Hant/phone.txt":    "zh {{.Code}}",
		"de/layout.html":       `[de {{template "body" .}}]`,
		"de/email.subject.txt": "Bestätigen",
	})
	for locale, want := range map[string]string{
		"": "host", "de": "de", "DE": "de", "de-DE": "de", "de-AT": "at", "de_at": "at", "de-AT-1996": "at", "fr": "host", "zh": "host",
		"zh-Hant-TW": "zh", "zh-TW": "host",
		"../de": "host", "de/../de": "host", "de/": "host", "de.": "host", "d": "host", "-de": "host", "de-": "host", "de--AT": "host",
		"de\x00": "host", "de\n": "host", "../../../etc/passwd": "host", "templates": "host", ".": "host", "*": "host",
		"de" + strings.Repeat("-a", 1_000_000): "host",
	} {
		m := sms(german)
		m.Locale = locale
		_, text, _ := render(t, templates, m)
		assert.Equal(t, want+" 471147", text, "%.40q", locale)
	}
	m := mail(userapi.PurposeReset)
	_, _, page := render(t, templates, m)
	assert.Contains(t, page, "host tok-en_1")
	m.Locale = "de"
	_, text, page := render(t, templates, m)
	assert.Equal(t, "de tok-en_1\n", text)
	assert.Empty(t, page, "no HTML in another language than the text")
	m.Locale = "de-AT"
	_, _, page = render(t, templates, m)
	assert.Equal(t, "[de at tok-en_1]\n", page)
	m = mail(userapi.PurposeEmail)
	m.Locale = "de-CH"
	subject, _, _ := render(t, templates, m)
	assert.Equal(t, "Bestätigen", subject)
}

func TestTemplates_broken_ones_are_refused_at_once(t *testing.T) {
	for name, c := range map[string]struct {
		file, text, says string
	}{
		"syntax":               {"reset.txt", "{{.Token", "reset.txt:1"},
		"syntax of HTML":       {"reset.html", "{{.Token}} {{end}}", "reset.html:1"},
		"syntax of the layout": {"layout.html", "{{if}}", "layout.html:1"},
		"syntax of a locale":   {"de-AT/reset.subject.txt", "{{", "de-AT/reset.subject.txt:1"},
		"unknown field":        {"de/phone.txt", "{{.Code}} {{.Password}}", "de/phone.txt:1"},
		"unknown field, HTML":  {"reset.html", "{{.Token}} {{.Password}}", "reset.html:1"},
		"a field seldom there": {"reset.txt", "{{.Link}}{{if not .Link}}{{slice .Token 0 100}}{{end}}", "reset.txt:1"},
		"HTML that is none":    {"reset.html", `{{.Token}}<a href="{{if .Link}}"{{end}}>`, "reset.html"},
		"no code":              {"phone.txt", "Your code", "phone.txt: it does not show the code"},
		"no token":             {"email.txt", "Dear {{.Name}}", "email.txt: it shows neither"},
		"no token in HTML":     {"email.html", "Dear {{.Name}}", "email.html: it shows neither"},
		"no body in layout":    {"layout.html", "<p>Hello</p>", "it shows neither"},
		"nothing":              {"notice_email_taken.txt", " \n", "notice_email_taken.txt: it says nothing"},
		"no subject":           {"reset.subject.txt", "{{/* none */}}", "reset.subject.txt: it says nothing"},
		"typed by a user":      {"reset.subject.txt", "Hello {{.Name}}", "reset.subject.txt:1"},
		"address in subject":   {"reset.subject.txt", "For {{.To}}", "reset.subject.txt:1"},
		"token in subject":     {"reset.subject.txt", "{{.Token}}", "reset.subject.txt:1"},
		"misspelt":             {"rest.txt", "{{.Token}}", "rest.txt is the file of no message"},
		"misspelt in a locale": {"de/phone.html", "{{.Code}}", "de/phone.html is the file of no message"},
		"subject of an SMS":    {"phone.subject.txt", "{{.Code}}", "phone.subject.txt is the file of no message"},
		"no fs.Sub":            {"templates/reset.txt", "{{.Token}}", "the folder templates is no locale"},
	} {
		t.Run(name, func(t *testing.T) {
			templates, err := verification.ParseTemplates(files2fs(map[string]string{c.file: c.text}), verification.TemplateOptions{})
			assert.Nil(t, templates)
			assert.ErrorContains(t, err, c.says)
		})
	}
	_, err := verification.ParseTemplates(files2fs(map[string]string{"reset.txt": "{{", "de/phone.txt": "{{", "fr/email.txt": "Hello"}), verification.TemplateOptions{})
	for _, file := range []string{"template: reset.txt", "template: de/phone.txt", "template: fr/email.txt"} {
		assert.Equal(t, 1, strings.Count(fmt.Sprint(err), file), err)
	}
	_, err = verification.ParseTemplates(files2fs(map[string]string{"de-AT/reset.txt": "{{.Token}}", "de_at/reset.txt": "{{.Token}}"}), verification.TemplateOptions{})
	assert.ErrorContains(t, err, "two folders for the locale de-at")
	_, err = verification.ParseTemplates(os.DirFS("testdata/none"), verification.TemplateOptions{})
	assert.ErrorIs(t, err, fs.ErrNotExist)
	unreadable := t.TempDir()
	require.NoError(t, os.Symlink("nothing", filepath.Join(unreadable, "reset.txt")))
	_, err = verification.ParseTemplates(os.DirFS(unreadable), verification.TemplateOptions{})
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

// A host that has no links needs templates that show the token.
func TestTemplates_a_mail_without_its_secret_is_an_error(t *testing.T) {
	templates := parse(t, map[string]string{"reset.txt": "Open {{.Link}}."})
	_, err := templates.Render(mail(userapi.PurposeReset))
	assert.NoError(t, err)
	m := mail(userapi.PurposeReset)
	m.Link = ""
	out, err := templates.Render(m)
	assert.ErrorContains(t, err, "reset.txt: it shows neither the link nor the token")
	assert.NotContains(t, err.Error(), "tok-en_1")
	assert.Empty(t, out.Text)
}

// What a template's error says may be a value.
func TestTemplates_errors_hold_no_secret(t *testing.T) {
	templates := parse(t, map[string]string{"phone.txt": "{{.Code}}{{if eq .Minutes 7}}{{range .Code}}{{end}}{{end}}"})
	m := sms(german)
	m.ExpiresAt = noon.Add(7 * time.Minute)
	_, err := templates.Render(m)
	assert.ErrorContains(t, err, "range can't iterate over [redacted]")
}

func TestTemplates_unknown_messages(t *testing.T) {
	for _, m := range []userapi.Message{mail("nonsense"), mail(""), mail("../reset"), notice("nonsense"), notice("")} {
		_, err := (*verification.Templates)(nil).Render(m)
		assert.ErrorContains(t, err, "there is no template")
	}
}

func TestTemplates_html_escapes(t *testing.T) {
	templates := parse(t, map[string]string{"reset.html": `<a title="{{.Name}}" href="{{.Link}}">{{.Token}}</a><p>{{.Name}}</p>`})
	m := mail(userapi.PurposeReset)
	m.Name, m.Token, m.Link = `"><script>alert(1)</script>`, `<b>&`, `https://app.example.com/?a=1&t="><script>`
	_, text, page := render(t, templates, m)
	assert.Contains(t, text, string(m.Link), "plain text stays as it is")
	assert.NotContains(t, page, "<script")
	assert.NotContains(t, page, "<b>")
	assert.Contains(t, page, "<p>&#34;&gt;&lt;script&gt;")
	m.Link = "javascript:alert(1)"
	_, _, page = render(t, templates, m)
	assert.NotContains(t, page, `href="javascript`)
}

func TestF04_subject_is_one_line(t *testing.T) {
	templates, err := verification.ParseTemplates(files2fs(map[string]string{
		"reset.subject.txt": "\r\n {{.Product}}\r\nX-Mine: {{.Minutes}}\x00\u0085\u2028 {{.Valid}}\n\n",
	}), verification.TemplateOptions{Product: "Shop\r\nBcc: a@b.example", Now: func() time.Time { return noon }})
	require.NoError(t, err)
	subject, _, _ := render(t, templates, mail(userapi.PurposeReset))
	assert.Equal(t, "Shop Bcc: a@b.example X-Mine: 60 60 minutes", subject)
	subject, _, _ = render(t, templates, mail(userapi.PurposeEmail))
	assert.NotContains(t, subject, "\n")
}

func TestTemplates_say_how_long(t *testing.T) {
	templates := parse(t, map[string]string{"phone.txt": "{{.Code}} {{.Minutes}} {{.Valid}}"})
	for left, want := range map[time.Duration]string{
		10 * time.Minute: "10 10 minutes", 10*time.Minute - 20*time.Second: "10 10 minutes", 9 * time.Minute: "9 9 minutes",
		time.Second: "1 1 minute", -time.Hour: "1 1 minute", time.Hour: "60 60 minutes", 119 * time.Minute: "119 119 minutes",
		2 * time.Hour: "120 2 hours", 24 * time.Hour: "1440 24 hours", 24*time.Hour - time.Minute: "1439 23 hours",
	} {
		m := sms(german)
		m.ExpiresAt = noon.Add(left)
		_, text, _ := render(t, templates, m)
		assert.Equal(t, "471147 "+want, text)
	}
}
