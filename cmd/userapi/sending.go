package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/verification"
	"github.com/userapi/userapi/verification/smtp"
	"github.com/userapi/userapi/verification/twilio"
	"github.com/userapi/userapi/verification/vonage"
	"github.com/userapi/userapi/verification/webhook"
)

// sending is the file that --sending names. docs/sending.md tells what its keys mean.
type sending struct {
	Product   string `json:"product"`
	Templates string `json:"templates"`
	Links     struct {
		Reset      string   `json:"reset"`
		Activation string   `json:"activation"`
		Email      string   `json:"email"`
		Origins    []string `json:"origins"`
	} `json:"links"`
	Mail *struct {
		SMTP *smtpServer `json:"smtp"`
	} `json:"mail"`
	SMS           *smsGateways              `json:"sms"`
	DefaultRegion string                    `json:"default_region"`
	ExemptPhones  map[string]userapi.Secret `json:"exempt_phones"`
}

type smtpServer struct {
	Host     string         `json:"host"`
	Port     int            `json:"port"`
	Security string         `json:"security"`
	Username string         `json:"username"`
	Password userapi.Secret `json:"password"`
	From     string         `json:"from"`
	ReplyTo  string         `json:"reply_to"`

	AllowUnencrypted bool `json:"allow_unencrypted"`
}

type smsGateways struct {
	Gateways     []smsGateway        `json:"gateways"`
	RoundRobin   bool                `json:"round_robin"`
	Countries    []string            `json:"countries"`
	Routes       map[string][]string `json:"routes"`
	AllowPremium bool                `json:"allow_premium"`
}

// smsGateway is one of the three.
type smsGateway struct {
	Name   string `json:"name"`
	Twilio *struct {
		AccountSID          string         `json:"account_sid"`
		APIKeySID           string         `json:"api_key_sid"`
		Secret              userapi.Secret `json:"secret"`
		From                string         `json:"from"`
		MessagingServiceSID string         `json:"messaging_service_sid"`
		BaseURL             string         `json:"base_url"`
	} `json:"twilio"`
	Vonage *struct {
		APIKey          string         `json:"api_key"`
		APISecret       userapi.Secret `json:"api_secret"`
		SignatureSecret userapi.Secret `json:"signature_secret"`
		From            string         `json:"from"`
		BaseURL         string         `json:"base_url"`
	} `json:"vonage"`
	Webhook *struct {
		URL           string                    `json:"url"`
		From          string                    `json:"from"`
		ServiceID     string                    `json:"service_id"`
		Headers       map[string]userapi.Secret `json:"headers"`
		SigningSecret userapi.Secret            `json:"signing_secret"`
	} `json:"webhook"`
}

// readSending reads the file; "" is none, and says nothing.
func readSending(path string) (*sending, error) {
	settings, reader := &sending{}, strictJSON{}
	if path == "" {
		return settings, nil
	}
	text, err := readBounded(path)
	if err != nil {
		return nil, err
	}
	if err := reader.read(bytes.NewReader(text), settings); err != nil {
		return nil, err
	}
	if settings.Templates != "" && !filepath.IsAbs(settings.Templates) {
		settings.Templates = filepath.Join(filepath.Dir(path), settings.Templates)
	}
	if reader.secret {
		warnIfReadable(path)
	}
	return settings, nil
}

// maxSending bounds the file.
const maxSending = 1 << 20

func readBounded(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxSending+1))
	if err == nil && len(text) > maxSending {
		err = errors.New("is larger than a settings file can be (1 MiB)")
	}
	return text, err
}

// applySending takes the settings over into cfg. It asks and writes nothing.
func (c *serve) applySending(cfg *userapi.Config) (dispatch, error) {
	const nowhere = "not sent: the settings (--sending) have no way for it"
	to := dispatch{mail: nowhere, sms: nowhere}
	s, err := readSending(c.Sending)
	if err != nil {
		return to, err
	}
	if len(s.ExemptPhones) > 0 && !c.Dev {
		return to, errors.New("exempt_phones are for development mode only: add --dev")
	}
	cfg.DefaultRegion = s.DefaultRegion
	v := userapi.Verification{
		ResetLink: s.Links.Reset, ActivationLink: s.Links.Activation, EmailLink: s.Links.Email, LinkOrigins: s.Links.Origins,
		ExemptPhones: s.ExemptPhones, AnonymousPhone: c.AnonymousPhone, Development: c.Dev,
	}
	if to.templates, err = s.parseTemplates(); err != nil {
		return to, err
	}
	if s.Mail != nil {
		if v.Mail, err = s.mail(to.templates); err != nil {
			return to, err
		}
		to.mail = "sent through " + s.Mail.SMTP.Host
	}
	if s.SMS != nil {
		if v.SMS, err = s.SMS.router(to.templates, cfg.Logger); err != nil {
			return to, err
		}
		to.sms = "sent through " + s.SMS.names()
	}
	cfg.Verification = v
	return to, nil
}

func (s *sending) parseTemplates() (*verification.Templates, error) {
	var overrides fs.FS
	if s.Templates != "" {
		if info, err := os.Stat(s.Templates); err != nil || !info.IsDir() {
			return nil, fmt.Errorf("templates: there is no directory %s", s.Templates)
		}
		overrides = os.DirFS(s.Templates)
	}
	return verification.ParseTemplates(overrides, verification.TemplateOptions{Product: s.Product})
}

func (s *sending) mail(templates *verification.Templates) (userapi.Sender, error) {
	server := s.Mail.SMTP
	if server == nil {
		return nil, errors.New("mail needs smtp")
	}
	backend, err := smtp.New(smtp.Config{
		Host: server.Host, Port: server.Port, Security: smtp.Security(server.Security), Username: server.Username,
		Password: server.Password, From: server.From, ReplyTo: server.ReplyTo, Templates: templates,
		AllowUnencrypted: server.AllowUnencrypted,
	})
	if err != nil {
		return nil, fmt.Errorf("mail: %w", err)
	}
	return backend, nil
}

func (s *smsGateways) router(templates *verification.Templates, log *slog.Logger) (userapi.Sender, error) {
	cfg := verification.RouterConfig{
		RoundRobin: s.RoundRobin, Countries: s.Countries, Routes: s.Routes, AllowPremium: s.AllowPremium, Templates: templates, Logger: log,
	}
	for i, g := range s.Gateways {
		backend, err := g.backend()
		if err != nil {
			return nil, fmt.Errorf("sms.gateways[%d]: %w", i, err)
		}
		cfg.Gateways = append(cfg.Gateways, verification.Gateway{Name: g.Name, Backend: backend})
	}
	router, err := verification.NewRouter(cfg)
	if err != nil {
		return nil, fmt.Errorf("sms: %w", err)
	}
	return router, nil
}

// names are the gateways, for people.
func (s *smsGateways) names() string {
	var names []string
	for _, g := range s.Gateways {
		names = append(names, g.Name)
	}
	return strings.Join(names, ", ")
}

// backend makes the gateway. The router has put its messages into words already.
func (g smsGateway) backend() (verification.Backend, error) {
	kinds := 0
	for _, given := range []bool{g.Twilio != nil, g.Vonage != nil, g.Webhook != nil} {
		if given {
			kinds++
		}
	}
	switch t, v, w := g.Twilio, g.Vonage, g.Webhook; {
	case kinds != 1:
		return nil, errors.New("needs one of twilio, vonage and webhook")
	case t != nil:
		return twilio.New(twilio.Config{
			AccountSID: t.AccountSID, APIKeySID: t.APIKeySID, Secret: t.Secret, From: t.From,
			MessagingServiceSID: t.MessagingServiceSID, BaseURL: t.BaseURL,
		})
	case v != nil:
		return vonage.New(vonage.Config{
			APIKey: v.APIKey, APISecret: v.APISecret, SignatureSecret: v.SignatureSecret, From: v.From, BaseURL: v.BaseURL,
		})
	default:
		return webhook.New(webhook.Config{
			URL: w.URL, From: w.From, ServiceID: w.ServiceID, Headers: w.Headers, SigningSecret: w.SigningSecret,
		})
	}
}
