// Package gatewaytest tries the backend of an HTTP gateway against all that a server can do to it. What a vendor documents
// is for the backend's own tests.
package gatewaytest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/verification"
)

// Case is one backend.
type Case struct {
	Vendor   string                                                             // what its errors begin with
	Open     func(t *testing.T, url string, client *http.Client) userapi.Sender // of the server at url
	Accepted func(w http.ResponseWriter)                                        // answers as the vendor does when all is well
	Reads    bool                                                               // the answer's body has a say in what is success
	Secrets  []string                                                           // of the configuration: in no error, and in no print of the backend
}

// Message is the message that is sent; each of its secrets, and the number, may be in no error.
func Message() userapi.Message {
	return userapi.Message{
		ID: "0193508e-7a3f-7000-8000-000000000001", Channel: userapi.ChannelSMS, To: "+4915112345678",
		Purpose: userapi.PurposePhone, Code: "482913", Attempt: 1, Text: "Your security code is: 482913",
	}
}

const leak = "free text with 482913 for +4915112345678" // what a vendor says that repeats what it was sent

// Test runs everything.
func Test(t *testing.T, c Case) {
	t.Run("statuses", c.statuses)
	t.Run("retry later", c.retryLater)
	t.Run("hang", c.hang)
	t.Run("cancelled", c.cancelled)
	t.Run("odd answers", c.oddAnswers)
	t.Run("redirect", c.redirect)
	t.Run("endless answer", c.endlessAnswer)
	t.Run("nobody there", c.nobodyThere)
	t.Run("certificates", c.certificates)
	t.Run("one connection", c.oneConnection)
	t.Run("parallel", c.parallel)
	t.Run("no phone number", c.noPhoneNumber)
	t.Run("print", c.print)
}

// send sends the message to a server that answers with answer.
func (c Case) send(t *testing.T, ctx context.Context, answer http.HandlerFunc) error {
	t.Helper()
	server := httptest.NewServer(answer)
	defer server.Close()
	return c.Open(t, server.URL, nil).Send(ctx, Message())
}

// plain checks that err is one after which the message is tried again, here or elsewhere, at any time.
func (c Case) plain(t *testing.T, what string, err error) {
	t.Helper()
	var retry *verification.RetryError
	switch {
	case err == nil:
		t.Errorf("%s: no error", what)
		return
	case errors.Is(err, userapi.ErrUndeliverable):
		t.Errorf("%s: undeliverable: %v", what, err)
	case errors.As(err, &retry):
		t.Errorf("%s: asks for a pause: %v", what, err)
	case !strings.HasPrefix(err.Error(), c.Vendor+": "):
		t.Errorf("%s: the error does not begin with the vendor: %v", what, err)
	}
	c.Discreet(t, err)
}

// Discreet checks that err repeats neither the message, nor the number, nor credentials, nor what the vendor said.
func (c Case) Discreet(t *testing.T, err error) {
	t.Helper()
	m := Message()
	for _, secret := range append([]string{string(m.Text), string(m.Code), m.To, m.To[1:], leak, "free text", "http://"}, c.Secrets...) {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error tells %q: %v", secret, err)
		}
	}
}

func (c Case) statuses(t *testing.T) {
	for _, status := range []int{302, 304, 401, 402, 403, 405, 500, 502, 503, 504} {
		err := c.send(t, t.Context(), func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			if status != http.StatusNotModified {
				fmt.Fprint(w, leak)
			}
		})
		c.plain(t, fmt.Sprint(status), err)
		if err != nil && !strings.Contains(err.Error(), fmt.Sprint(status)) {
			t.Errorf("the error does not tell the status %d: %v", status, err)
		}
	}
}

func (c Case) retryLater(t *testing.T) {
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		for _, header := range []string{"7", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), "nonsense", ""} {
			if header == "" && status == http.StatusServiceUnavailable {
				continue // an error like others
			}
			err := c.send(t, t.Context(), func(w http.ResponseWriter, _ *http.Request) {
				if header != "" {
					w.Header().Set("Retry-After", header)
				}
				w.WriteHeader(status)
				fmt.Fprint(w, leak)
			})
			var retry *verification.RetryError
			if !errors.As(err, &retry) || errors.Is(err, userapi.ErrUndeliverable) {
				t.Errorf("%d with Retry-After %q: %v", status, header, err)
				continue
			}
			c.Discreet(t, err)
			least, most := time.Duration(0), time.Duration(0)
			switch header {
			case "7":
				least, most = 7*time.Second, 7*time.Second
			case "nonsense", "":
			default:
				least, most = time.Second, time.Hour
			}
			if retry.After < least || retry.After > most {
				t.Errorf("%d with Retry-After %q: after %s", status, header, retry.After)
			}
		}
	}
}

func (c Case) hang(t *testing.T) {
	for _, begun := range []bool{false, true} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		err := c.send(t, ctx, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // the server learns of the client's going only then
			if begun {
				w.WriteHeader(http.StatusOK)
				_ = http.NewResponseController(w).Flush()
			}
			<-r.Context().Done()
		})
		cancel()
		c.plain(t, "hang", err)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("hang: %v", err)
		}
	}
}

func (c Case) cancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := c.send(t, ctx, func(w http.ResponseWriter, _ *http.Request) { t.Error("sent after the end of the context") })
	c.plain(t, "cancelled", err)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func (c Case) oddAnswers(t *testing.T) {
	raw := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, text)
			_ = conn.Close()
		}
	}
	for what, answer := range map[string]http.HandlerFunc{
		"cut before the answer": raw(""),
		"cut in the header":     raw("HTTP/1.1 20"),
		"cut in the body":       raw("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{\"messages\":[{\"status\":\"0\""),
		"no HTTP":               raw("482913\r\n\r\n"),
		"a broken status":       raw("HTTP/1.1 482913 OK\r\n\r\n"),
	} {
		c.plain(t, what, c.send(t, t.Context(), answer))
	}
	if !c.Reads {
		return
	}
	for _, body := range []string{"", "{", leak, "[]", "null", "{}", `"` + leak + `"`, `{"messages":[],"sid":""}`, `{"messages":[{"status":"` + leak + `"}],"sid":7}`, `{"messages":"","sid":null}`} {
		for _, status := range []int{http.StatusOK, http.StatusCreated} {
			c.plain(t, body, c.send(t, t.Context(), func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				fmt.Fprint(w, body)
			}))
		}
	}
}

func (c Case) redirect(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		t.Error("credentials and number went elsewhere")
		c.Accepted(w)
	}))
	defer elsewhere.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		c.plain(t, fmt.Sprint(status), c.send(t, t.Context(), func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, status)
		}))
	}
}

func (c Case) endlessAnswer(t *testing.T) {
	ended := make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := c.send(t, ctx, func(w http.ResponseWriter, _ *http.Request) {
		defer close(ended)
		for line := []byte(strings.Repeat("x", 1<<10)); ; {
			if _, err := w.Write(line); err != nil {
				return
			}
		}
	})
	if c.Reads {
		c.plain(t, "endless answer", err)
	}
	if ctx.Err() != nil {
		t.Error("the answer was read without end")
	}
	<-ended
}

func (c Case) nobodyThere(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	c.plain(t, "nobody there", c.Open(t, server.URL, nil).Send(t.Context(), Message()))
}

func (c Case) certificates(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		c.Accepted(w)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	if err := c.Open(t, server.URL, server.Client()).Send(t.Context(), Message()); err != nil {
		t.Errorf("with the host's client: %v", err)
	}
	c.plain(t, "unknown certificate", c.Open(t, server.URL, nil).Send(t.Context(), Message()))
}

func (c Case) oneConnection(t *testing.T) {
	var opened, answered atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if answered.Add(1)%2 == 0 {
			w.WriteHeader(http.StatusInternalServerError)
			fmt.Fprint(w, strings.Repeat(leak, 100))
			return
		}
		c.Accepted(w)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	sender := c.Open(t, server.URL, nil)
	for i := range 6 {
		if err := sender.Send(t.Context(), Message()); (err == nil) != (i%2 == 0) {
			t.Errorf("message %d: %v", i, err)
		}
	}
	if opened.Load() != 1 {
		t.Errorf("%d connections for 6 messages", opened.Load())
	}
}

func (c Case) parallel(t *testing.T) {
	var answered atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answered.Add(1)
		c.Accepted(w)
	}))
	defer server.Close()
	sender := c.Open(t, server.URL, nil)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 4 {
				if err := sender.Send(t.Context(), Message()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if answered.Load() != 32 {
		t.Errorf("%d requests for 32 messages", answered.Load())
	}
}

func (c Case) noPhoneNumber(t *testing.T) {
	for _, to := range []string{"", "4915112345678", "+0915112345678", "+49", "+49 151 12345678", "+4915112345678\n", "+49151123456789012", "anna@example.com", "+4915112345678,+4915112345679"} {
		server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Errorf("sent to %q", to) }))
		m := Message()
		m.To = to
		err := c.Open(t, server.URL, nil).Send(t.Context(), m)
		server.Close()
		if !errors.Is(err, userapi.ErrUndeliverable) {
			t.Errorf("to %q: %v", to, err)
		}
	}
}

func (c Case) print(t *testing.T) {
	sender := c.Open(t, "http://127.0.0.1", nil)
	printed := fmt.Sprintf("%v %+v %#v %s", sender, sender, sender, sender)
	for _, secret := range c.Secrets {
		if strings.Contains(printed, secret) {
			t.Errorf("a print of the backend tells %q", secret)
		}
	}
}
