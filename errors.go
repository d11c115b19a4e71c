package userapi

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"
)

// Kind says what a program should do about an error. The set is closed: transports map every Kind, so a new
// failure never needs a new status. The zero value is Internal, so an error nobody classified becomes a plain
// 500 and never tells what went wrong inside.
type Kind uint8

const (
	Internal        Kind = iota // a defect or an unclassified failure: nothing about it may be shown
	Invalid                     // the input is malformed; Fields names what is wrong
	Unauthenticated             // no credential, or one that does not hold
	Forbidden                   // the caller is known and may not
	NotFound                    // there is no such thing in the caller's customer
	Conflict                    // the state of things forbids it: taken, in use, the last one, no room
	RateLimited                 // too often; RetryAfter says when to come back
	Unavailable                 // something this call needs does not answer; retrying is safe
)

// Error is the one error type of this module. Kind is for transports, Code for clients to program against,
// Message for people, Fields for forms. Err is the cause: it is for logs and never leaves the process.
type Error struct {
	Kind       Kind
	Code       string              // stable, upper case: "CONFLICT"
	Message    string              // one sentence, never an echo of the input
	Fields     map[string][]string // field name → what is wrong with it
	RetryAfter time.Duration       // with RateLimited and Unavailable
	Err        error

	of *Error // the declared value this one was derived from
}

// The errors that callers compare with errors.Is. Stores return these same values.
var (
	ErrNoCredentials        = &Error{Kind: Unauthenticated, Code: "UNAUTHORIZED", Message: "No credentials supplied."}
	ErrBadCredentials       = &Error{Kind: Unauthenticated, Code: "UNAUTHORIZED", Message: "Wrong credentials."}
	ErrInvalidToken         = &Error{Kind: Unauthenticated, Code: "UNAUTHORIZED", Message: "Invalid token."}
	ErrTokenExpired         = &Error{Kind: Unauthenticated, Code: "TOKEN_EXPIRED", Message: "The token has expired."}
	ErrTokenRevoked         = &Error{Kind: Unauthenticated, Code: "TOKEN_REVOKED", Message: "The token was revoked."}
	ErrForbidden            = &Error{Kind: Forbidden, Code: "FORBIDDEN", Message: "You may not do this."}
	ErrWrongPassword        = &Error{Kind: Forbidden, Code: "FORBIDDEN", Message: "The current password is wrong."}
	ErrNotFresh             = &Error{Kind: Forbidden, Code: "NOT_FRESH", Message: "Give the current password or log in again first."}
	ErrNewPasswordRequired  = &Error{Kind: Forbidden, Code: "NEW_PASSWORD_REQUIRED", Message: "The password has to be changed first."}
	ErrSecondFactorRequired = &Error{Kind: Forbidden, Code: "SECOND_FACTOR_REQUIRED", Message: "The login is not complete: a second factor is missing."}
	ErrExternalRefused      = &Error{Kind: Forbidden, Code: "EXTERNAL_REFUSED", Message: "This login of another provider cannot be used here."}
	ErrRoleMissing          = &Error{Kind: Forbidden, Code: "ROLE_MISSING", Message: "A role is missing."}
	ErrNotFound             = &Error{Kind: NotFound, Code: "NOT_FOUND", Message: "Not found."}
	ErrEmailTaken           = &Error{Kind: Conflict, Code: "CONFLICT", Message: "This e-mail address is in use.", Fields: map[string][]string{"email": {"already in use"}}}
	ErrUsernameTaken        = &Error{Kind: Conflict, Code: "CONFLICT", Message: "This username is in use.", Fields: map[string][]string{"username": {"already in use"}}}
	ErrPhoneTaken           = &Error{Kind: Conflict, Code: "CONFLICT", Message: "This phone number is in use.", Fields: map[string][]string{"phone": {"already in use"}}}
	ErrIDTaken              = &Error{Kind: Conflict, Code: "CONFLICT", Message: "This id is in use.", Fields: map[string][]string{"id": {"already in use"}}}
	ErrRoleTaken            = &Error{Kind: Conflict, Code: "CONFLICT", Message: "This role code is in use.", Fields: map[string][]string{"code": {"already in use"}}}
	ErrRoleInUse            = &Error{Kind: Conflict, Code: "CONFLICT", Message: "The role is in use."}
	ErrLastAdmin            = &Error{Kind: Conflict, Code: "LAST_ADMIN", Message: "The last active admin of a customer has to stay."}
	ErrQuota                = &Error{Kind: Conflict, Code: "QUOTA", Message: "The customer has no room for another active user."}
	ErrChanged              = &Error{Kind: Conflict, Code: "CONFLICT", Message: "It was changed meanwhile; try again."}
	ErrInvalid              = &Error{Kind: Invalid, Code: "WRONG_DOCUMENT_FORMAT", Message: "Some fields are wrong."}
	ErrWrongArgs            = &Error{Kind: Invalid, Code: "WRONG_ARGS", Message: "Some arguments are wrong."}
	ErrWeakPassword         = &Error{Kind: Invalid, Code: "WEAK_PASSWORD", Message: "The password is too weak."}
	ErrInvalidPhone         = &Error{Kind: Invalid, Code: "INVALID_PHONE", Message: "This phone number cannot be used.", Fields: map[string][]string{"phone": {"not a phone number in international form"}}}
	ErrInvalidCode          = &Error{Kind: Invalid, Code: "INVALID_CODE", Message: "This code is wrong, used or expired."}
	ErrInvalidLink          = &Error{Kind: Invalid, Code: "INVALID_TOKEN", Message: "This link is wrong, used or expired."}
	ErrRateLimited          = &Error{Kind: RateLimited, Code: "RATE_LIMITED", Message: "Too many attempts; try again later."}
	ErrUnavailable          = &Error{Kind: Unavailable, Code: "UNAVAILABLE", Message: "The service cannot answer right now; try again.", RetryAfter: time.Second}
	ErrNoSender             = &Error{Kind: Unavailable, Code: "UNAVAILABLE", Message: "Nothing can be sent from here.", RetryAfter: time.Minute}
	ErrInTx                 = &Error{Kind: Internal, Code: "IN_TRANSACTION", Message: "This call is not possible inside a transaction of the host."}
	errUnclassified         = &Error{Kind: Internal, Code: "INTERNAL", Message: "Internal error."}
	errZeroActor            = &Error{Kind: Internal, Code: "INTERNAL", Message: "Internal error.", Err: errors.New("userapi: the zero Actor may do nothing; use Identity.Actor(), Anonymous() or System()")}
	errNoUserInNewUser      = ErrInvalid.Field("email", "one of email, username and phone is required")
	ErrInvalidKey           = &Error{Kind: Unauthenticated, Code: "UNAUTHORIZED", Message: "Invalid API key."}
	ErrScopeMissing         = &Error{Kind: Forbidden, Code: "SCOPE_MISSING", Message: "The API key lacks a scope."}
	ErrKeyQuota             = &Error{Kind: Conflict, Code: "QUOTA", Message: "The account has no room for another API key."}
	ErrKeyNameTaken         = &Error{Kind: Conflict, Code: "CONFLICT", Message: "Another API key has this name.", Fields: map[string][]string{"name": {"already in use"}}}
)

// Error gives code, message, fields and cause, as far as they are there: it is for logs and terminals, not for clients.
func (e *Error) Error() string {
	text := e.Code + ": " + e.Message
	for i, name := range slices.Sorted(maps.Keys(e.Fields)) {
		text += []string{" ", "; "}[min(i, 1)] + name + ": " + strings.Join(e.Fields[name], ", ")
	}
	if e.Err != nil {
		text += " (" + e.Err.Error() + ")"
	}
	return text
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether e is target or was derived from it by Wrap, Field or After.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && (e == t || e.of == t)
}

// Wrap returns a copy of e with a cause. errors.Is still finds e.
func (e *Error) Wrap(cause error) *Error {
	c := e.derive()
	c.Err = cause
	return c
}

// Field returns a copy of e that also says what is wrong with one field. errors.Is still finds e.
func (e *Error) Field(name string, texts ...string) *Error {
	c := e.derive()
	c.Fields = make(map[string][]string, len(e.Fields)+1)
	for k, v := range e.Fields {
		c.Fields[k] = v
	}
	c.Fields[name] = texts
	return c
}

// After returns a copy of e that says when to try again. errors.Is still finds e.
func (e *Error) After(d time.Duration) *Error {
	c := e.derive()
	c.RetryAfter = d
	return c
}

func (e *Error) derive() *Error {
	c := *e
	if c.of == nil {
		c.of = e
	}
	return &c
}

// AsError finds the Error in err. A foreign error is wrapped as Internal, so that forgetting to classify gives
// a 500 without text, never a leak. AsError(nil) is nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return errUnclassified.Wrap(err)
}
