package totp

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/httpadapter"
)

// freshFor is how old a login may be that begins an enrolment: a session left open somewhere must not bind the account to
// another's phone (OWASP ASVS 7.5.1).
const freshFor = 5 * time.Minute

// guard says which kinds of caller may ask.
type guard uint8

const (
	bySession guard = iota // a session, never an API key
	fresh                  // one that began within freshFor
	stepping               // a login that lacks its second factor
)

type route struct {
	method, path string
	guard        guard
	handle       func(c *call) error
}

var routes = []route{
	{"GET", "/", bySession, (*call).show},
	{"POST", "/enrol", fresh, (*call).enrol},
	{"POST", "/confirm", bySession, (*call).confirm},
	{"POST", "/login", stepping, (*call).login},
	{"POST", "/recovery", bySession, (*call).recovery},
	{"DELETE", "/", bySession, (*call).switchOff},
}

var errMethod = &userapi.Error{Kind: userapi.Invalid, Code: "METHOD_NOT_ALLOWED", Message: "This method is not possible here."}

// Handler serves the routes, and expects its own prefix to be stripped: see Adapter.Mount. web has to be an Adapter of the
// API that the Factor is bound to; Handler panics without one.
func (f *Factor) Handler(web *httpadapter.Adapter) http.Handler {
	if web == nil {
		panic("totp: Handler needs an Adapter")
	}
	paths := map[string]map[string]http.Handler{}
	for _, rt := range routes {
		if paths[rt.path] == nil {
			paths[rt.path] = map[string]http.Handler{}
		}
		paths[rt.path][rt.method] = f.guarded(web, rt)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		methods := paths["/"+strings.TrimSuffix(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")]
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		h, ok := methods[method]
		switch {
		case methods == nil:
			web.WriteError(w, r, userapi.ErrNotFound)
		case ok:
			h.ServeHTTP(w, r)
		default:
			w.Header().Set("Allow", allow(methods))
			if r.Method == http.MethodOptions {
				w.WriteHeader(http.StatusNoContent)
				return
			}
			web.WriteError(w, r, errMethod)
		}
	})
}

func allow(methods map[string]http.Handler) string {
	all := []string{http.MethodOptions}
	for method := range methods {
		all = append(all, method)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// call is one request that its guard let in.
type call struct {
	*Factor
	api   *userapi.API
	web   *httpadapter.Adapter
	w     http.ResponseWriter
	r     *http.Request
	actor userapi.Actor
	host  userapi.Actor // writes on the actor's behalf, for the audit trail from where they are, and no longer than their session
}

func (f *Factor) guarded(web *httpadapter.Adapter, rt route) http.Handler {
	admit := map[guard]func(http.Handler) http.Handler{
		bySession: web.IsConnected, fresh: web.RequireFresh(freshFor), stepping: web.RequireStep(userapi.StepSecondFactor),
	}[rt.guard]
	return admit(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		api, err := f.bound()
		if err == nil && userapi.IdentityFrom(r.Context()).SessionID() == "" {
			err = userapi.ErrForbidden
		}
		if err == nil {
			actor := web.Actor(r)
			err = rt.handle(&call{
				Factor: f, api: api, web: web, w: w, r: r, actor: actor,
				host: userapi.System().From(web.ClientAddress(r), r.UserAgent()).Within(actor),
			})
		}
		if errors.Is(err, userapi.ErrNotFound) { // the account was erased a moment ago
			err = userapi.ErrTokenRevoked
		}
		if err != nil {
			web.WriteError(w, r, err)
		}
	}))
}

func (c *call) answer(v any) error {
	c.web.WriteJSON(c.w, c.r, http.StatusOK, v)
	return nil
}

var errCodeMissing = userapi.ErrInvalid.Field("code", "required field")

// code is the member code of the body, made plain.
func (c *call) code() (string, error) {
	var typed *string
	if err := c.web.ReadObject(c.w, c.r, map[string]**string{"code": &typed}); err != nil {
		return "", err
	}
	if typed == nil || *typed == "" {
		return "", errCodeMissing
	}
	return plain(*typed), nil
}

// try counts an attempt, and changes the state of who asks as decide says.
func (c *call) try(decide func(s *state, u userapi.User) (bool, error)) error {
	return c.api.Auth.TrySecondFactor(c.r.Context(), c.actor, func(ctx context.Context, u userapi.User) (bool, error) {
		return c.change(ctx, c.host, u.ID, func(s *state) (bool, error) { return decide(s, u) })
	})
}

// byCode is try for what a code is needed for, besides a session that may be stolen.
func (c *call) byCode(then func(s *state)) error {
	code, err := c.code()
	if err != nil {
		return err
	}
	return c.try(func(s *state, _ userapi.User) (bool, error) {
		if !s.use(code, c.cfg.Now()) {
			return false, nil
		}
		then(s)
		return true, nil
	})
}

type stateOut struct {
	Enabled   bool    `json:"enabled"`
	Left      int     `json:"recovery_codes_left"`
	CreatedAt *string `json:"created_at"`
}

func (c *call) show() error {
	s, _, err := c.read(c.r.Context(), c.host, c.actor.UserID())
	if err != nil {
		return err
	}
	return c.answer(shown(s))
}

func shown(s state) stateOut {
	out := stateOut{Enabled: s.on(), Left: len(s.Recovery)}
	if s.on() {
		at := s.CreatedAt.UTC().Format("2006-01-02T15:04:05.000Z07:00")
		out.CreatedAt = &at
	}
	return out
}

type enrolOut struct {
	Secret string `json:"secret"`
	URI    string `json:"uri"`
	QR     string `json:"qr"`
}

// enrol begins an enrolment. Where two-step login is on it takes a code too: what is replaced is as good as switched off.
func (c *call) enrol() error {
	code, err := "", error(nil)
	if c.r.ContentLength != 0 {
		if code, err = c.code(); err != nil {
			return err
		}
	}
	var secret, uri userapi.Secret
	err = c.try(func(s *state, u userapi.User) (bool, error) {
		now := c.cfg.Now()
		switch {
		case s.on() && code == "":
			return false, errCodeMissing
		case s.on() && !s.use(code, now):
			return false, nil
		}
		s.enrol(now)
		secret, uri = s.Pending, keyURI(c.cfg.Issuer, accountName(u), s.Pending)
		return true, nil
	})
	if err != nil {
		return err
	}
	png, err := picture(uri)
	if err != nil {
		return err
	}
	return c.answer(enrolOut{Secret: string(secret), URI: string(uri), QR: "data:image/png;base64," + base64.StdEncoding.EncodeToString(png)})
}

// accountName is what the app calls the account; cut, since a QR code holds 2 kB.
func accountName(u userapi.User) string {
	name := cmp.Or(u.Email, u.Username, u.Phone, u.ID)
	return strings.ToValidUTF8(name[:min(len(name), 255)], "")
}

type recoveryOut struct {
	Codes []string `json:"recovery_codes"`
}

// recoveryCodesOut lets new recovery codes out, the one time they are there.
func recoveryCodesOut(codes []userapi.Secret) recoveryOut {
	var out recoveryOut
	for _, code := range codes {
		out.Codes = append(out.Codes, string(code))
	}
	return out
}

func (c *call) confirm() error {
	code, err := c.code()
	if err != nil {
		return err
	}
	var codes []userapi.Secret
	err = c.try(func(s *state, _ userapi.User) (bool, error) {
		if !s.confirm(code, c.cfg.Now()) {
			return false, nil
		}
		codes = s.renew()
		return true, nil
	})
	if err != nil {
		return err
	}
	return c.answer(recoveryCodesOut(codes))
}

func (c *call) recovery() error {
	var codes []userapi.Secret
	if err := c.byCode(func(s *state) { codes = s.renew() }); err != nil {
		return err
	}
	return c.answer(recoveryCodesOut(codes))
}

func (c *call) switchOff() error {
	if err := c.byCode(func(s *state) { *s = state{} }); err != nil {
		return err
	}
	return c.answer(shown(state{}))
}

func (c *call) login() error {
	code, err := c.code()
	if err != nil {
		return err
	}
	user, tokens, err := c.api.Auth.CompleteLogin(c.r.Context(), c.actor, "otp", func(ctx context.Context, u userapi.User) (bool, error) {
		return c.change(ctx, c.host, u.ID, func(s *state) (bool, error) { return s.use(code, c.cfg.Now()), nil })
	})
	if err != nil {
		return err
	}
	c.web.WriteLogin(c.w, c.r, user, tokens)
	return nil
}
