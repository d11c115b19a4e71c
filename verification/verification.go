// Package verification is how a code reaches a phone or a mailbox: a Router over SMS gateways that fails over, and the
// Templates that put messages into words. The gateways themselves and SMTP lie in the folders below, so that a host
// imports only what it uses. Nothing here stores anything; what has to outlive the process, limits above all, is the
// root package's.
//
//	sms, err := verification.NewRouter(verification.RouterConfig{Gateways: []verification.Gateway{
//		{Name: "twilio", Backend: twilioBackend}, {Name: "vonage", Backend: vonageBackend},
//	}})
//	api, err := userapi.New(userapi.Config{…, Verification: userapi.Verification{SMS: sms}})
package verification

import (
	"fmt"
	"time"

	"github.com/userapi/userapi"
)

// Backend takes a message to a phone or a mailbox. Write your own to add a gateway; what its errors mean stands at
// userapi.Sender.
type Backend = userapi.Sender

// Generator makes codes and tokens. Write your own to give codes another form, and put it into
// userapi.Verification.Generator.
type Generator = userapi.Generator

// RetryError is the error of a gateway that says when to come back (HTTP 429 or 503 with Retry-After). A Router leaves
// the gateway alone for so long.
type RetryError struct {
	After time.Duration // at least; 0 = the gateway did not say
	Err   error
}

// Error implements error.
func (e *RetryError) Error() string { return fmt.Sprintf("try again in %s: %v", e.After, e.Err) }

// Unwrap gives what the gateway said.
func (e *RetryError) Unwrap() error { return e.Err }
