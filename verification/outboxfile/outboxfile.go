// Package outboxfile is a Backend for development: it appends mail and SMS to a file that a developer or a test reads,
// one JSON object a line:
//
//	{"time":"2026-01-02T03:04:05Z","kind":"sms","to":"+4915123456789","purpose":"phone","code":"123456","text":"…"}
//
// time is RFC 3339 in UTC, kind "email" or "sms", purpose a userapi.Purpose; token, code and link are there where the
// message has them. The file holds secrets in clear: it is nothing for production.
package outboxfile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/verification"
)

// File appends messages to a file. It takes mail and SMS alike and is safe for concurrent use, by several processes too.
type File struct {
	path      string
	templates *verification.Templates
	mu        sync.Mutex
}

// New creates the file, readable by its owner alone, unless it is there. Templates may be nil: the default ones.
func New(path string, templates *verification.Templates) (*File, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("outboxfile: %s is no regular file", path)
	}
	f := &File{path: path, templates: templates}
	if err := f.append(nil); err != nil {
		return nil, fmt.Errorf("outboxfile: %w", err)
	}
	return f, nil
}

// line is the JSON of a message. Its keys are a contract.
type line struct {
	Time    string          `json:"time"`
	Kind    userapi.Channel `json:"kind"`
	To      string          `json:"to"`
	Purpose userapi.Purpose `json:"purpose"`
	Token   string          `json:"token,omitempty"`
	Code    string          `json:"code,omitempty"`
	Link    string          `json:"link,omitempty"`
	Text    string          `json:"text"`
}

// Send implements verification.Backend: after a success the line is on the disk. It fails when the file cannot be
// written, and when ctx is over.
func (f *File) Send(ctx context.Context, m userapi.Message) error {
	m, err := f.templates.Render(m)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // links stay what they are
	err = encoder.Encode(line{
		Time: time.Now().UTC().Format(time.RFC3339), Kind: m.Channel, To: m.To, Purpose: m.Purpose,
		Token: string(m.Token), Code: string(m.Code), Link: string(m.Link), Text: string(m.Text),
	})
	if err != nil {
		return fmt.Errorf("outboxfile: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := f.append(b.Bytes()); err != nil {
		return fmt.Errorf("outboxfile: %w", err)
	}
	return nil
}

// append opens the file for each line, so that one that was moved away or whose folder is gone is noticed. One write in
// append mode never mixes with that of another process.
func (f *File) append(line []byte) (err error) {
	file, err := os.OpenFile(f.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := file.Write(line); err != nil {
		return err
	}
	return file.Sync()
}
