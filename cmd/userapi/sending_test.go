package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// write puts a file into the working directory.
func (p place) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(p.dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

const (
	smtpHere    = `{"smtp": {"host": "127.0.0.1", "port": 1, "security": "none", "from": "app@example.org"}}`
	webhookHere = `{"gateways": [{"name": "first", "webhook": {"url": "http://127.0.0.1:1/"}}]}`
)

func TestSettingsOfSending(t *testing.T) {
	t.Parallel()
	const twilio = `{"account_sid": "AC0123456789abcdef0123456789abcdef", "secret": "env:SMS_SECRET", "from": "+4915735981000"}`
	const vonage = `{"api_key": "abcd1234", "api_secret": "env:SMS_SECRET", "from": "Example"}`
	gateways := func(g string) string { return `{"sms": {"gateways": [` + g + `]}}` }
	for _, c := range []struct {
		text string
		env  string
		says string
	}{
		{``, "", "no JSON"},
		{`nonsense`, "", "no JSON, seen at byte"},
		{`{"product": "x"`, "", "no JSON"},
		{`{"product": "x",}`, "", "no JSON"},
		{`{"product" "x"}`, "", "no JSON"},
		{`{} {}`, "", "behind its end"},
		{`{} ]`, "", "behind its end"},
		{`[]`, "", "it has to be an object"},
		{`null`, "", "it has to be an object"},
		{`{"colour": "red"}`, "", "there is no key colour"},
		{`{"Product": "x"}`, "", "there is no key Product"},
		{`{"product": 1}`, "", "product has to be a text"},
		{`{"product": null}`, "", "product has to be a text"},
		{`{"product": "x", "product": "y"}`, "", "product is there twice"},
		{`{"mail": "x"}`, "", "mail has to be an object"},
		{`{"mail": null}`, "", "mail has to be an object"},
		{`{"mail": {}}`, "", "mail needs smtp"},
		{`{"mail": {"smtp": {}}}`, "", "Config.Host"},
		{`{"mail": {"smtp": {"host": "h", "from": "app@example.org", "port": "587"}}}`, "", "mail.smtp.port has to be a whole number"},
		{`{"mail": {"smtp": {"host": "h", "from": "app@example.org", "port": 58.7}}}`, "", "mail.smtp.port has to be a whole number"},
		{`{"mail": {"smtp": {"host": "h", "from": "app@example.org", "port": 1e99}}}`, "", "mail.smtp.port has to be a whole number"},
		{`{"mail": {"smtp": {"host": "h", "from": "app@example.org", "port": 70000}}}`, "", "Config.Port"},
		{`{"mail": {"smtp": {"host": "h"}}}`, "", "Config.From"},
		{`{"mail": {"smtp": {"host": "h", "from": "app@example.org", "security": "ssl"}}}`, "", "Config.Security"},
		{`{"mail": {"smtp": {"host": "h", "from": "app@example.org", "security": "none"}}}`, "", "AllowUnencrypted"},
		{`{"mail": {"smtp": {"host": "h", "from": "app@example.org", "password": "canary"}}}`, "", "Username and Password"},
		{`{"mail": {"smtp": {"host": "h", "from": "env:MAIL_FROM"}}}`, "", "mail.smtp.from: the environment variable MAIL_FROM is not set"},
		{`{"mail": {"smtp": {"host": "h", "from": "env:MAIL_FROM"}}}`, "MAIL_FROM=", "MAIL_FROM is not set"},
		{`{"mail": {"smtp": {"host": "h", "from": "env:"}}}`, "", "is not set"},
		{`{"sms": []}`, "", "sms has to be an object"},
		{strings.Repeat(" ", maxSending) + `{}`, "", "is larger than a settings file can be"},
		{`{"sms": {}}`, "", "Gateways needs one"},
		{`{"sms": {"gateways": {}}}`, "", "sms.gateways has to be a list"},
		{`{"sms": {"gateways": ["x"]}}`, "", "sms.gateways[0] has to be an object"},
		{gateways(`{"name": "a"}`), "", "sms.gateways[0]: needs one of twilio, vonage and webhook"},
		{gateways(`{"name": "a", "vonage": ` + vonage + `, "webhook": {"url": "http://127.0.0.1:1/"}}`), "SMS_SECRET=x", "needs one of"},
		{gateways(`{"webhook": {"url": "http://127.0.0.1:1/"}}`), "", "Name"},
		{gateways(`{"name": "a", "webhook": {}}`), "", "Config.URL"},
		{gateways(`{"name": "a", "webhook": {"url": "http://sms.example.org/"}}`), "", "Config.URL"},
		{gateways(`{"name": "a", "webhook": {"url": "http://127.0.0.1:1/", "signing_secret": "canary"}}`), "", "whsec_"},
		{gateways(`{"name": "a", "webhook": {"url": "http://127.0.0.1:1/", "headers": {"Authorization": 7}}}`), "", "webhook.headers.Authorization has to be a text"},
		{gateways(`{"name": "a", "webhook": {"url": "http://127.0.0.1:1/", "headers": {"X": "a", "X": "b"}}}`), "", "webhook.headers.X is there twice"},
		{gateways(`{"name": "a", "twilio": ` + twilio + `}`), "", "sms.gateways[0].twilio.secret: the environment variable SMS_SECRET"},
		{gateways(`{"name": "a", "twilio": {"secret": "canary"}}`), "", "AccountSID"},
		{gateways(`{"name": "a", "vonage": {"api_key": "abcd1234", "from": "Example"}}`), "", "SignatureSecret"},
		{`{"sms": {"gateways": [{"name": "a", "twilio": ` + twilio + `}, {"name": "a", "vonage": ` + vonage + `}]}}`, "SMS_SECRET=x", `"a" twice`},
		{`{"sms": {"round_robin": "yes"}}`, "", "sms.round_robin has to be true or false"},
		{strings.Replace(`{"sms": `+webhookHere+`}`, `{"gateways"`, `{"countries": ["XX"], "gateways"`, 1), "", `"XX" is no country`},
		{strings.Replace(`{"sms": `+webhookHere+`}`, `{"gateways"`, `{"countries": [], "gateways"`, 1), "", "Countries is empty"},
		{strings.Replace(`{"sms": `+webhookHere+`}`, `{"gateways"`, `{"routes": {"DE": ["second"]}, "gateways"`, 1), "", `no gateway "second"`},
		{`{"templates": "missing"}`, "", "there is no directory missing"},
		{`{"templates": "broken"}`, "", "reset.txt"},
		{`{"links": {"reset": "https://app.example.org/"}}`, "", "ResetLink: needs {token}"},
		{`{"links": {"email": "javascript:{token}"}}`, "", "EmailLink"},
		{`{"links": {"activation": "{token}"}}`, "", "ActivationLink"},
		{`{"links": {"origins": ["https://app.example.org/x"]}}`, "", "LinkOrigins"},
		{`{"links": {"origins": [1]}}`, "", "links.origins[0] has to be a text"},
		{`{"default_region": "Germany"}`, "", "DefaultRegion"},
		{`{"exempt_phones": {"015112345678": "111111"}}`, "", "ExemptPhones"},
		{`{"exempt_phones": {"+4915112345678": 111111}}`, "", "exempt_phones.+4915112345678 has to be a text"},
		{`{"exempt_phones": {"+4915112345678": "111111"}}`, "USERAPI_SECRET=" + secretA, "development mode only"},
	} {
		t.Run(c.text, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, c.env)
			p.write(t, "s.json", c.text)
			p.write(t, "broken/reset.txt", "{{.Nonsense}}")
			code, stdout, stderr := p.run(t, "", "serve", "--addr", "127.0.0.1:0", "--sending", "s.json")
			assert.Equal(t, 2, code, stdout+stderr)
			assert.Contains(t, stderr, c.says)
			files, err := os.ReadDir(p.dir)
			require.NoError(t, err)
			assert.Len(t, files, 2, "nothing was made")
		})
	}
}

func TestSettingsOfSendingThatAreRight(t *testing.T) {
	t.Parallel()
	const all = `{"product": "Example", "templates": "words", "default_region": "DE",
		"links": {"reset": "https://app.example.org/r#{token}", "activation": "https://app.example.org/a#{token}",
			"email": "https://app.example.org/e#{token}", "origins": ["https://app.example.org"]},
		"mail": {"smtp": {"host": "mail.example.org", "port": 2525, "security": "starttls", "username": "env:MAIL_USER", "password": "env:MAIL_SECRET",
			"from": "Example <app@example.org>", "reply_to": "help@example.org"}},
		"sms": {"gateways": [
			{"name": "one", "twilio": {"account_sid": "AC0123456789abcdef0123456789abcdef", "api_key_sid": "SK0123456789abcdef0123456789abcdef",
				"secret": "env:SMS_SECRET", "messaging_service_sid": "MG0123456789abcdef0123456789abcdef", "base_url": "https://api.example.org"}},
			{"name": "two", "vonage": {"api_key": "abcd1234", "signature_secret": "env:SMS_SECRET", "from": "Example", "base_url": "https://api.example.org"}},
			{"name": "three", "webhook": {"url": "https://sms.example.org/", "from": "x", "service_id": "y", "headers": {"Authorization": "env:SMS_SECRET"},
				"signing_secret": "env:SIGNING_SECRET"}}],
			"round_robin": true, "countries": ["DE", "AT"], "routes": {"AT": ["two", "one"]}, "allow_premium": false}}`
	p := newPlace(t, "USERAPI_SECRET="+secretA, "USERAPI_SENDING=s.json",
		"MAIL_USER=canary-user", "MAIL_SECRET=canary-mail", "SMS_SECRET=canary-sms", "SIGNING_SECRET=whsec_Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5")
	p.write(t, "s.json", all)
	p.write(t, "words/reset.txt", "Reset: {{.Link}}")
	require.NoError(t, os.Chmod(filepath.Join(p.dir, "s.json"), 0o644))
	s := p.serve(t)
	s.stop()
	assert.Contains(t, s.out.String(), `"msg":"Mail is sent through mail.example.org"`)
	assert.Contains(t, s.out.String(), `"msg":"SMS are sent through one, two, three"`)
	assert.NotContains(t, s.stderr.String(), "can be read", "no secret stands in it")

	p.write(t, "s.json", strings.Replace(all, `"env:MAIL_SECRET"`, `"canary-mail"`, 1))
	s = p.serve(t)
	s.stop()
	assert.Contains(t, s.stderr.String(), "s.json can be read by every user")
	require.NoError(t, os.Chmod(filepath.Join(p.dir, "s.json"), 0o600))
	s = p.serve(t)
	s.stop()
	assert.NotContains(t, s.stderr.String(), "can be read")
}

// What the documentation shows is what the program takes.
func TestSettingsOfTheDocumentation(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/sending.md")
	require.NoError(t, err)
	_, example, found := strings.Cut(string(text), "```json\n")
	require.True(t, found)
	example, _, _ = strings.Cut(example, "```")
	example = strings.NewReplacer("AC…", "AC0123456789abcdef0123456789abcdef", "SK…", "SK0123456789abcdef0123456789abcdef").Replace(example)
	p := newPlace(t, "SMTP_PASSWORD=x", "TWILIO_SECRET=x", "VONAGE_SECRET=x", "SMS_TOKEN=x", "USERAPI_SECRET="+secretA)
	p.write(t, "etc/s.json", example)
	p.write(t, "etc/templates/de/phone.txt", "{{.Code}}")
	s := p.serve(t, "--sending", "etc/s.json")
	assert.Contains(t, s.out.String(), "SMS are sent through first, second, third")
}
