package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
	"unicode/utf8"

	"github.com/userapi/userapi"
)

// maxJSONLine bounds a line in bytes; what one user may hold is far less.
const maxJSONLine = 1 << 20

// userLine is a user as a line of JSON, which export writes and import reads.
type userLine struct {
	ID            string   `json:"id,omitempty"`
	Email         string   `json:"email,omitempty"`
	Username      string   `json:"username,omitempty"`
	Phone         string   `json:"phone,omitempty"`
	Name          string   `json:"name,omitempty"`
	FirstName     string   `json:"first_name,omitempty"`
	LastName      string   `json:"last_name,omitempty"`
	Active        *bool    `json:"active"`
	Roles         []string `json:"roles"`
	Customer      string   `json:"customer,omitempty"`
	PasswordHash  string   `json:"password_hash,omitempty"`
	CreatedAt     string   `json:"created_at,omitempty"`
	LastLogin     string   `json:"last_login,omitempty"`
	EmailVerified bool     `json:"email_verified,omitempty"`
	MustChange    bool     `json:"must_change_password,omitempty"`
}

// lines is a file of such lines.
type lines struct{ file *os.File }

func openLines(path string) (source, error) {
	if path == "-" {
		return lines{os.Stdin}, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open the source: %w", err)
	}
	return lines{file}, nil
}

func (lines) before(context.Context) ([]userapi.Customer, []userapi.Role, error) {
	return nil, nil, nil
}
func (lines) remarks() []string { return nil }
func (l lines) close()          { l.file.Close() }

func (l lines) each(_ context.Context, take func(newcomer) error) error {
	in := bufio.NewReaderSize(l.file, 64<<10)
	for number := 1; ; number++ {
		text, err := readJSONLine(in)
		ended := errors.Is(err, io.EOF)
		if err != nil && !ended && !errors.Is(err, errLongLine) {
			return fmt.Errorf("cannot read the source: %w", err)
		}
		n := newcomer{at: fmt.Sprintf("line %d", number)}
		if err == nil || ended {
			if text = bytes.TrimSpace(text); len(text) > 0 {
				err = n.readJSON(text)
			}
		}
		if err != nil && !errors.Is(err, io.EOF) {
			n.wrong = err.Error()
		}
		if len(text) > 0 || n.wrong != "" {
			if err := take(n); err != nil {
				return err
			}
		}
		if ended {
			return nil
		}
	}
}

var errLongLine = errors.New("the line is longer than 1 MiB")

// readJSONLine reads a line with its end. Of one that is too long nothing is kept.
func readJSONLine(in *bufio.Reader) (text []byte, err error) {
	long := false
	for {
		part, err := in.ReadSlice('\n')
		if text = append(text, part...); len(text) > maxJSONLine {
			text, long = text[:0], true
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case long && (err == nil || errors.Is(err, io.EOF)):
			return nil, errLongLine // the end of the file comes again
		default:
			return text, err
		}
	}
}

// readJSON reads the user in a line. Its errors never hold a value.
func (n *newcomer) readJSON(text []byte) error {
	if !utf8.Valid(text) {
		return errors.New("is no valid UTF-8")
	}
	var u userLine
	if err := (&strictJSON{plain: true}).read(bytes.NewReader(text), &u); err != nil {
		return err
	}
	if u.Active == nil {
		return errors.New("active is required")
	}
	if u.ID == "" && u.Email == "" && u.Username == "" {
		return errors.New("one of id, email and username is required: nothing else tells, the next time, that it is here already")
	}
	n.user = userapi.NewUser{
		ID: u.ID, Email: u.Email, Username: u.Username, Name: u.Name, FirstName: u.FirstName, LastName: u.LastName,
		Active: *u.Active, CustomerID: u.Customer, EmailVerified: u.EmailVerified, MustChangePassword: u.MustChange, Roles: roleRefs(u.Roles),
	}
	for _, at := range []struct {
		name, text string
		into       *time.Time
	}{{"created_at", u.CreatedAt, &n.user.CreatedAt}, {"last_login", u.LastLogin, &n.user.LastLogin}} {
		var err error
		if *at.into, err = time.Parse(time.RFC3339, at.text); at.text != "" && err != nil {
			return fmt.Errorf("%s has to be a time as in RFC 3339", at.name)
		}
	}
	n.keepPhone(u.Phone)
	n.keepHash(u.PasswordHash)
	return nil
}
