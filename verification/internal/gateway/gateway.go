// Package gateway is what the SMS gateways share: one bounded request, and what its answer means for the outbox.
package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/verification"
)

const (
	timeout   = 10 * time.Second
	maxAnswer = 64 << 10
	maxAfter  = 24 * time.Hour
)

// Client sends requests to one vendor. Its errors name vendor, status and error code, and nothing else that the vendor
// said: that may repeat the message, the number or the credentials.
type Client struct {
	vendor string
	http   http.Client
}

// New makes a Client whose errors begin with vendor. host is the host's own HTTP client, of which a copy is used; nil
// gives one that waits 10 seconds at most. No redirect is followed: message and credentials would go elsewhere.
func New(vendor string, host *http.Client) *Client {
	c := &Client{vendor: vendor}
	if host != nil {
		c.http = *host
	} else {
		c.http = http.Client{Timeout: timeout, Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: timeout / 2}).DialContext,
			TLSHandshakeTimeout:    timeout / 2,
			ForceAttemptHTTP2:      true,
			MaxIdleConnsPerHost:    8, // as many as the outbox sends at once
			IdleConnTimeout:        90 * time.Second,
			MaxResponseHeaderBytes: maxAnswer,
		}}
	}
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c
}

// Answer is what a vendor said.
type Answer struct {
	Status     int
	Body       []byte // the first 64 KiB
	retryAfter string
}

// Accepted reports whether the status is one of success.
func (a Answer) Accepted() bool { return a.Status/100 == 2 }

// Post sends body to target and reads the answer, whatever its status. prepare adds headers. An error says that there was
// no answer, or not all of it: whether the message is on its way is unknown then.
func (c *Client) Post(ctx context.Context, target, contentType, body string, prepare func(*http.Request)) (Answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(body))
	if err != nil {
		return Answer{}, fmt.Errorf("%s: no request can be made of the configuration", c.vendor)
	}
	req.Header.Set("Accept", "application/json")
	prepare(req)
	req.Header.Set("Content-Type", contentType)
	resp, err := c.http.Do(req)
	if err != nil {
		return Answer{}, fmt.Errorf("%s: no answer: %w", c.vendor, cause(err))
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // to its end, so that the connection is used again
	if err != nil {
		return Answer{}, fmt.Errorf("%s: HTTP %d, and the answer broke off: %w", c.vendor, resp.StatusCode, cause(err))
	}
	return Answer{Status: resp.StatusCode, Body: said, retryAfter: resp.Header.Get("Retry-After")}, nil
}

// cause keeps what is known to hold no more than names and addresses of hosts. The error of net/http would tell the URL,
// and some of those below it repeat what the server sent.
func cause(err error) error {
	var wrapped *url.Error
	var network net.Error
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	switch {
	case errors.As(err, &network):
		return network
	case errors.As(err, &certificate):
		return certificate
	}
	for _, known := range []error{context.Canceled, context.DeadlineExceeded, io.ErrUnexpectedEOF, io.EOF} {
		if errors.Is(err, known) {
			return known
		}
	}
	return errors.New("the connection failed, or what came was not HTTP")
}

// Refused is the error of an answer that is no success. code is the vendor's error code, 0 if there is none; permanent
// says that the vendor documents it as lasting for this recipient.
func (c *Client) Refused(a Answer, code int, permanent bool) error {
	err := fmt.Errorf("%s: HTTP %d", c.vendor, a.Status)
	if code != 0 {
		err = fmt.Errorf("%w, error %d", err, code)
	}
	switch {
	case permanent:
		return fmt.Errorf("%w: %w", err, userapi.ErrUndeliverable)
	case a.Status == http.StatusTooManyRequests, a.Status == http.StatusServiceUnavailable && a.retryAfter != "":
		return &verification.RetryError{After: after(a.retryAfter, time.Now()), Err: err}
	}
	return err
}

// Unclear is the error of a success that cannot be read.
func (c *Client) Unclear(a Answer) error {
	return fmt.Errorf("%s: HTTP %d, and an answer that is not as documented", c.vendor, a.Status)
}

// after reads a Retry-After, which has seconds or a date (RFC 9110 10.2.3). What is neither, or past, is 0.
func after(text string, now time.Time) time.Duration {
	wait := time.Duration(0)
	if seconds, err := strconv.ParseUint(text, 10, 64); err == nil {
		wait = time.Duration(min(seconds, uint64(maxAfter/time.Second))) * time.Second
	} else if date, err := http.ParseTime(text); err == nil {
		wait = date.Sub(now)
	}
	return min(max(wait, 0), maxAfter)
}

var e164 = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)

// Text gives the words for m, whose recipient has to be a number in E.164. templates may be nil.
func (c *Client) Text(templates *verification.Templates, m userapi.Message) (string, error) {
	if !e164.MatchString(m.To) {
		return "", fmt.Errorf("%s: the recipient is not a phone number: %w", c.vendor, userapi.ErrUndeliverable)
	}
	m, err := templates.Render(m)
	if err != nil {
		return "", fmt.Errorf("%s: %w", c.vendor, err)
	}
	return string(m.Text), nil
}

// Target checks a URL that messages are sent to: https, or http to this very machine. Its error does not repeat it.
func Target(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("not an https URL with a host")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return errors.New("plain http goes to this machine only: use https")
	case u.User != nil:
		return errors.New("no credentials in the URL: it ends up in logs")
	case strings.Contains(raw, "#"):
		return errors.New("no fragment in the URL: it is never sent")
	}
	return nil
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
