package httpadapter

import (
	"errors"

	"github.com/userapi/userapi"
)

func resetPassword(c *call) error {
	var email string
	var password userapi.Secret
	var old *userapi.Secret
	err := c.decode(required(text("email", &email)), required(secret("password", &password)), optionalSecret("current_password", &old))
	if err != nil {
		return err
	}
	user, tokens, err := c.api.Passwords.SetByIdentifier(c.r.Context(), c.actor, email, password, value(old))
	if err != nil {
		return err
	}
	if tokens.IsZero() {
		return c.answer(plainUser(user))
	}
	return c.answerUser(user, tokens)
}

func setPassword(c *call) error {
	var password userapi.Secret
	var old *userapi.Secret
	if err := c.decode(required(secret("password", &password)), optionalSecret("current_password", &old)); err != nil {
		return err
	}
	user, tokens, err := c.api.Passwords.Set(c.r.Context(), c.actor, c.path["id"], password, value(old))
	if err != nil {
		return err
	}
	return c.answerUser(user, tokens)
}

// changePassword always takes the old password, however fresh the session.
func changePassword(c *call) error {
	var old, password userapi.Secret
	var again *userapi.Secret
	err := c.decode(required(secret("old_password", &old)), required(secret("new_password", &password)), optionalSecret("verify_password", &again))
	if err != nil {
		return err
	}
	if err := repeated(password, again); err != nil {
		return err
	}
	user, tokens, err := c.api.Passwords.Change(c.r.Context(), c.actor, old, password)
	if err != nil {
		return gone(renamed(err, map[string]string{"password": "new_password", "current_password": "old_password"}))
	}
	return c.answerUser(user, tokens)
}

// repeated makes sure that a new password which was typed twice was typed twice the same.
func repeated(password userapi.Secret, again *userapi.Secret) error {
	if again != nil && *again != password {
		return userapi.ErrInvalid.Field("verify_password", "differs from new_password")
	}
	return nil
}

func requestReset(c *call) error {
	var email, username, template *string
	err := c.decode(optional("email", &email), optional("username", &username), filled("url_template", &template))
	if err == nil {
		err = oneOf(email, username)
	}
	if err != nil {
		return err
	}
	err = c.api.Passwords.RequestReset(c.r.Context(), c.actor, userapi.ResetRequest{Identifier: value(email) + value(username), LinkTemplate: value(template)})
	if username != nil {
		err = renamed(err, map[string]string{"email": "username"})
	}
	if err != nil {
		return err
	}
	return c.say("If there is such an account, a message is on its way to its mailbox.")
}

func confirmReset(c *call) error {
	var token, password userapi.Secret
	var again *userapi.Secret
	err := c.decode(required(secret("token", &token)), required(secret("new_password", &password)), optionalSecret("verify_password", &again))
	if err == nil {
		err = repeated(password, again)
	}
	if err != nil {
		return err
	}
	if err := c.api.Passwords.Reset(c.r.Context(), c.actor, token, password); err != nil {
		return renamed(err, map[string]string{"password": "new_password"})
	}
	return c.say("The new password is set. Log in with it.")
}

// renamed gives an error's fields the names they have in the body.
func renamed(err error, names map[string]string) error {
	var e *userapi.Error
	if !errors.As(err, &e) || len(e.Fields) == 0 {
		return err
	}
	out := *e
	out.Fields = map[string][]string{}
	for field, texts := range e.Fields {
		if name, ok := names[field]; ok {
			field = name
		}
		out.Fields[field] = texts
	}
	return &out
}
