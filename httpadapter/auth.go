package httpadapter

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/userapi/userapi"
)

func login(c *call) error {
	var email, username *string
	var password userapi.Secret
	err := c.decode(optional("email", &email), optional("username", &username), required(secret("password", &password)))
	if err == nil {
		err = oneOf(email, username)
	}
	if err != nil {
		return err
	}
	user, tokens, err := c.api.Auth.Login(c.r.Context(), c.actor, userapi.LoginRequest{Identifier: value(email) + value(username), Password: password})
	if err != nil {
		return err
	}
	return c.answerUser(user, tokens)
}

// oneOf makes sure that an account is named in exactly one of the two fields; each takes any identifier.
func oneOf(email, username *string) error {
	switch {
	case email == nil && username == nil:
		return userapi.ErrInvalid.Field("email", requiredField)
	case email != nil && username != nil:
		return userapi.ErrInvalid.Field("username", "not together with email")
	}
	return nil
}

func refresh(c *call) error {
	var body *userapi.Secret
	if err := c.decodeOptional(optionalSecret("refresh_token", &body)); err != nil {
		return err
	}
	token, err := c.refreshToken(body)
	if err != nil {
		return err
	}
	tokens, err := c.api.Auth.Refresh(c.r.Context(), c.actor, token)
	if err != nil {
		return err
	}
	out, err := c.deliver(tokens)
	if err != nil {
		return err
	}
	return c.answer(out)
}

// logout ends the sessions of all that the request brings, wherever it brings it, as far as they are of one user: the
// cookies are cleared, so nothing of that user's may live on. What is no token does not matter here.
func logout(c *call) error {
	var body *userapi.Secret
	if err := c.decodeOptional(optionalSecret("refresh_token", &body)); err != nil {
		return err
	}
	var all []userapi.Secret
	for _, header := range c.r.Header.Values("Authorization") {
		if _, token, ok := strings.Cut(header, " "); ok {
			all = append(all, userapi.Secret(strings.TrimSpace(token)))
		}
	}
	for _, cookie := range cookies(c.r, c.cfg.AccessCookie) {
		if token, err := openCookie(cookie); err == nil {
			all = append(all, userapi.Secret(token))
		}
	}
	all = append(all, value(body))
	for _, cookie := range cookies(c.r, c.cfg.RefreshCookie) {
		all = append(all, userapi.Secret(cookie))
	}
	if err := c.api.Auth.Logout(c.r.Context(), c.actor, all...); err != nil {
		return err
	}
	c.clearCookies(c.w)
	if c.route.section == "auth" {
		return c.done()
	}
	return c.say("User disconnected.")
}

func logoutAll(c *call) error {
	if err := c.api.Sessions.EndAll(c.r.Context(), c.actor, c.identity.UserID()); err != nil {
		return gone(err)
	}
	c.clearCookies(c.w)
	return c.done()
}

// activate logs nobody in: whoever holds the link need not be whoever registered.
func activate(c *call) error {
	var token, password userapi.Secret
	if err := c.decode(required(secret("token", &token)), required(secret("password", &password))); err != nil {
		return err
	}
	user, err := c.api.Auth.Activate(c.r.Context(), c.actor, token, password)
	if err != nil {
		return err
	}
	return c.answer(userWithRoles(user))
}

// gone is what it means that the caller is not found: the account was erased a moment ago.
func gone(err error) error {
	if errors.Is(err, userapi.ErrNotFound) {
		return userapi.ErrTokenRevoked
	}
	return err
}

func whoAmI(c *call) error {
	user, err := c.api.Users.ByID(c.r.Context(), c.actor, c.identity.UserID())
	if err != nil {
		return gone(err)
	}
	return c.answer(userWithRoles(user))
}

func token(c *call) error {
	user, err := c.api.Users.ByID(c.r.Context(), c.actor, c.identity.UserID())
	if err != nil {
		return gone(err)
	}
	return c.answer(signedInOut{userOut: userWithRoles(user), tokensOut: tokensOut{Exp: unixOrNone(c.identity.ExpiresAt())}})
}

// unixOrNone gives Unix seconds; 0, which is left out of answers, where there is no such time.
func unixOrNone(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// claimsOut are the claims of an access token, under their registered names. Of an API key it is what corresponds to them:
// there is no session, and exp only when the key expires.
type claimsOut struct {
	Issuer    string   `json:"iss"`
	Audience  string   `json:"aud,omitempty"`
	Subject   string   `json:"sub"`
	Session   string   `json:"sid,omitempty"`
	Key       string   `json:"key_id,omitempty"`
	Scopes    []string `json:"scopes,omitempty"`
	Customer  string   `json:"cid"`
	Roles     []string `json:"roles"`
	Epoch     int64    `json:"ep"`
	Methods   []string `json:"amr"`
	AuthTime  int64    `json:"auth_time,omitempty"`
	IssuedAt  int64    `json:"iat"`
	ExpiresAt int64    `json:"exp,omitempty"`
}

func verifyToken(c *call) error {
	id := c.identity
	return c.answer(claimsOut{
		Issuer: id.Issuer(), Audience: id.Audience(), Subject: id.UserID(), Session: id.SessionID(), Customer: id.CustomerID(),
		Key: id.KeyID(), Scopes: id.Scopes(),
		Roles: append([]string{}, id.Roles()...), Epoch: id.Epoch(), Methods: append([]string{}, id.Methods()...),
		AuthTime: unixOrNone(id.AuthTime()), IssuedAt: id.IssuedAt().Unix(), ExpiresAt: unixOrNone(id.ExpiresAt()),
	})
}

func publicKeys(c *call) error { return c.answer(json.RawMessage(c.api.Auth.PublicKeys())) }
