// Package totp is two-step login: after the password a code of an authenticator app (TOTP, RFC 6238), or one of ten recovery codes.
//
// A Factor is a userapi.SecondFactor with the routes by which users switch it on for themselves, and complete a login:
//
//	factor, err := totp.New(totp.Config{Issuer: "Acme"})
//	api, err := userapi.New(userapi.Config{…, SecondFactor: factor})
//	err = factor.Bind(api)
//	web.Mount(mux, "/api/totp", factor.Handler(web))
//
// What it knows of a user is one credential of userapi.Credentials, of kind "totp": sealed, changed by compare and swap, so that of any
// number of logins with one code, on any number of nodes, one passes. It goes with the account. docs/two-step-login.md lists the
// routes and tells what a client does.
package totp

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/userapi/userapi"
)

// Config says what a Factor is made of.
type Config struct {
	// Issuer is the name of the service, which the authenticator app shows beside the account: 1 to 64 bytes, no colon.
	Issuer string
	// Now is the clock that codes are checked by. Default time.Now. A code is good from 30 s before its own 30 s until 30 s after
	// them (RFC 6238 5.2), so phone and server may differ by so much; servers keep their time by NTP.
	Now func() time.Time
}

// Factor is two-step login for the users of one API. It is safe for concurrent use.
type Factor struct {
	cfg Config
	api atomic.Pointer[userapi.API]
}

// New makes a Factor: for Config.SecondFactor of the API that is to ask it, and Bind. What is wrong with cfg is a plain error.
func New(cfg Config) (*Factor, error) {
	if cfg.Issuer == "" || len(cfg.Issuer) > 64 || !utf8.ValidString(cfg.Issuer) ||
		strings.ContainsFunc(cfg.Issuer, func(r rune) bool { return r == ':' || unicode.IsControl(r) }) {
		return nil, errors.New("totp: Config.Issuer has to be 1 to 64 bytes without a colon")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Factor{cfg: cfg}, nil
}

// Bind tells the Factor whose users it is for. Until then logins fail with an Internal error, and so do all routes. It refuses
// an API without a second factor, which would let everybody in by password alone, and to be bound twice.
func (f *Factor) Bind(api *userapi.API) error {
	switch {
	case api == nil:
		return errors.New("totp: Bind needs an API")
	case api.SecondFactor() == nil:
		return errors.New("totp: the API has no Config.SecondFactor, so its logins would not ask for a code")
	case !f.api.CompareAndSwap(nil, api):
		return errors.New("totp: this Factor is bound to an API already")
	}
	return nil
}

// errUnbound is for logs: clients get a 500 without text.
var errUnbound = errors.New("totp: Factor.Bind was not called")

func (f *Factor) bound() (*userapi.API, error) {
	if api := f.api.Load(); api != nil {
		return api, nil
	}
	return nil, errUnbound
}

// Required implements userapi.SecondFactor: whether the user has switched two-step login on.
func (f *Factor) Required(ctx context.Context, u userapi.User) (bool, error) {
	s, _, err := f.read(ctx, userapi.System(), u.ID)
	return s.on(), err
}

// Disable switches a user's two-step login off, for those who lost phone and recovery codes; the user is told by mail, and
// sessions stay. Where it is off already that is no error.
//
// Only System: whether an admin may, and for whom, is the host's to say. Users.ByID with the admin's Actor finds users of their
// own customer alone, and refuses a service that asks about an admin. ErrNotFound.
func (f *Factor) Disable(ctx context.Context, actor userapi.Actor, userID string) error {
	api, err := f.bound()
	if err != nil {
		return err
	}
	if _, err := api.Users.ByID(ctx, actor, userID); err != nil {
		return err
	}
	_, err = f.change(ctx, actor, userID, func(s *state) (bool, error) {
		*s = state{}
		return true, nil
	})
	return err
}
