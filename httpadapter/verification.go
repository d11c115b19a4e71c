package httpadapter

import (
	"github.com/userapi/userapi"
)

func requestPhone(c *call) error {
	var phone string
	var resend *bool
	if err := c.decode(required(text("phone", &phone)), orNull(flag("resend", &resend))); err != nil {
		return err
	}
	err := c.api.Contacts.RequestPhone(c.r.Context(), c.actor, userapi.PhoneRequest{Phone: phone, Resend: value(resend)})
	if err != nil {
		return gone(err)
	}
	return c.say("A code is on its way to this number.")
}

// confirmPhone tells a caller without credential nothing but that the code was right.
func confirmPhone(c *call) error {
	var phone string
	var code userapi.Secret
	if err := c.decode(required(text("phone", &phone)), required(secret("code", &code))); err != nil {
		return err
	}
	user, err := c.api.Contacts.ConfirmPhone(c.r.Context(), c.actor, phone, code)
	if err != nil {
		return err
	}
	if c.identity == nil {
		return c.say("The code is right.")
	}
	return c.answer(userWithRoles(user))
}

func requestEmail(c *call) error {
	var email *string
	var current *userapi.Secret
	if err := c.decodeOptional(filled("email", &email), optionalSecret("current_password", &current)); err != nil {
		return err
	}
	err := c.api.Contacts.RequestEmail(c.r.Context(), c.actor, userapi.EmailRequest{Email: value(email), CurrentPassword: value(current)})
	if err != nil {
		return gone(err)
	}
	return c.say("A message is on its way to this address.")
}

// confirmEmail shows an account to its owner alone: whoever holds the link may be somebody else.
func confirmEmail(c *call) error {
	var token userapi.Secret
	if err := c.decode(required(secret("token", &token))); err != nil {
		return err
	}
	user, tokens, err := c.api.Contacts.ConfirmEmail(c.r.Context(), c.actor, token)
	if err != nil {
		return err
	}
	if tokens.IsZero() {
		return c.say("The address is proven.")
	}
	return c.answerUser(user, tokens)
}
