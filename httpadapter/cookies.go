package httpadapter

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/userapi/userapi"
)

// maxCookie bounds name and value of a cookie: browsers drop larger ones (RFC 6265bis 5.6).
const maxCookie = 4095

var errCookieTooLarge = errors.New("httpadapter: the access token is too large for a cookie; does the user hold very many roles?")

// setCookies puts tokens into the two cookies. When the access token does not fit, both are cleared instead, so that
// no cookie of an earlier login stays, and errCookieTooLarge tells.
func (a *Adapter) setCookies(w http.ResponseWriter, t userapi.Tokens) error {
	access := base64.StdEncoding.EncodeToString([]byte(t.Access))
	if len(a.cfg.AccessCookie)+1+len(access) > maxCookie {
		a.clearCookies(w)
		return errCookieTooLarge
	}
	http.SetCookie(w, a.cookie(a.cfg.AccessCookie, access, t.ExpiresAt))
	if t.Step != "" || a.api.Auth.OpaqueLogins() { // the refresh cookie of an earlier login would complete this one, or take its place
		a.forget(w, a.cfg.RefreshCookie)
	}
	if t.Refresh != "" {
		http.SetCookie(w, a.cookie(a.cfg.RefreshCookie, string(t.Refresh), t.RefreshExpiresAt))
	}
	return nil
}

// clearCookies makes the browser forget both cookies. Only a cookie with the same attributes replaces the other.
func (a *Adapter) clearCookies(w http.ResponseWriter) {
	a.forget(w, a.cfg.AccessCookie)
	a.forget(w, a.cfg.RefreshCookie)
}

func (a *Adapter) forget(w http.ResponseWriter, name string) {
	c := a.cookie(name, "", time.Unix(1, 0)) // #nosec G124 -- as it was set
	c.MaxAge = -1
	http.SetCookie(w, c)
}

func (a *Adapter) cookie(name, value string, expires time.Time) *http.Cookie {
	c := &http.Cookie{ // #nosec G124 -- Secure but in development, when cookies travel over plain HTTP
		Name: name, Value: value, Path: "/", Expires: expires, HttpOnly: true, Secure: !a.cfg.Development, SameSite: http.SameSiteLaxMode,
	}
	if name == a.cfg.RefreshCookie {
		c.SameSite = http.SameSiteStrictMode
	}
	return c
}

// cookies reads all cookies of a name. It reads the header itself, since net/http leaves out values it does not like.
func cookies(r *http.Request, name string) (values []string) {
	for _, line := range r.Header.Values("Cookie") {
		for _, pair := range strings.Split(line, ";") {
			if n, v, _ := strings.Cut(strings.TrimSpace(pair), "="); strings.TrimSpace(n) == name {
				values = append(values, v)
			}
		}
	}
	return values
}

// oneCookie reads a cookie that may be there once: a second one with its name was planted by somebody, and nobody can
// say which.
func oneCookie(r *http.Request, name string) (value string, found bool, err error) {
	switch values := cookies(r, name); len(values) {
	case 0:
		return "", false, nil
	case 1:
		return values[0], true, nil
	}
	return "", true, userapi.ErrInvalidToken
}

// openCookie gives the access token in an access cookie: base64 of either alphabet, with or without padding.
func openCookie(value string) (string, error) {
	text := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(value, "="))
	token, err := base64.RawStdEncoding.Strict().DecodeString(text)
	if err != nil || len(token) == 0 {
		return "", userapi.ErrInvalidToken
	}
	return string(token), nil
}

// refreshToken is the refresh token of the request: of the body, else of the cookie.
func (c *call) refreshToken(body *userapi.Secret) (userapi.Secret, error) {
	if body != nil {
		return *body, nil
	}
	value, found, err := oneCookie(c.r, c.cfg.RefreshCookie)
	if err == nil && !found {
		err = userapi.ErrNoCredentials
	}
	return userapi.Secret(value), err
}

// deliver gives tokens the way Config.Tokens says.
func (c *call) deliver(t userapi.Tokens) (tokensOut, error) {
	out := tokensOut{Exp: t.ExpiresAt.Unix(), Step: string(t.Step)}
	if c.cfg.Tokens != CookieOnly {
		out.AccessToken, out.RefreshToken = string(t.Access), string(t.Refresh)
	}
	if c.cfg.Tokens == BodyOnly {
		return out, nil
	}
	err := c.setCookies(c.w, t)
	if err != nil && c.cfg.Tokens == BodyAndCookie {
		c.log.WarnContext(c.r.Context(), err.Error())
		err = nil
	}
	return out, err
}
