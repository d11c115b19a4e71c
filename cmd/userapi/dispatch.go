package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/verification"
	"github.com/userapi/userapi/verification/outboxfile"
)

// defaultOutbox takes, in development mode, what there is no other way for.
const defaultOutbox = "outbox.jsonl"

// dispatch is where messages go.
type dispatch struct {
	mail, sms string // for people: "sent through smtp.example.com"
	templates *verification.Templates
}

// checkOutbox refuses a file that messages could not be appended to.
func (c *serve) checkOutbox() error {
	if c.Outbox != "" && !c.Dev {
		return wrongUsef("--outbox is for development mode only: add --dev")
	}
	file := cmp.Or(c.Outbox, defaultOutbox)
	if info, err := os.Stat(file); err == nil && c.Dev && !info.Mode().IsRegular() {
		return wrongUsef("--outbox: %s is no file", file)
	}
	if info, err := os.Stat(filepath.Dir(file)); err != nil || !info.IsDir() {
		return wrongUsef("--outbox: there is no directory %s", filepath.Dir(file))
	}
	return nil
}

// openOutbox lets a file take messages in development mode: all of them where --outbox is given, otherwise those that
// the settings have no way for.
func (c *serve) openOutbox(v *userapi.Verification, to *dispatch) error {
	if c.Outbox != "" {
		v.Mail, v.SMS = nil, nil
	}
	if !c.Dev || v.Mail != nil && v.SMS != nil {
		return nil
	}
	path := cmp.Or(c.Outbox, defaultOutbox)
	file, err := outboxfile.New(path, to.templates)
	if err != nil {
		return fmt.Errorf("--outbox: %w", err)
	}
	if v.Mail == nil {
		v.Mail, to.mail = file, "appended to "+path
	}
	if v.SMS == nil {
		v.SMS, to.sms = file, "appended to "+path
	}
	return nil
}

// say tells people where messages go: in development mode in plain lines, in production, where every line is one of the
// log, there.
func (d dispatch) say(v userapi.Verification, log *slog.Logger) {
	for _, way := range []struct {
		text   string
		sender userapi.Sender
	}{{"Mail is " + d.mail, v.Mail}, {"SMS are " + d.sms, v.SMS}} {
		switch {
		case v.Development:
			fmt.Println(way.text + ".")
		case way.sender == nil:
			log.Warn(way.text)
		default:
			log.Info(way.text)
		}
	}
}
