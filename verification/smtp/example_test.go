package smtp_test

import (
	"context"
	"fmt"
	"os"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/verification/smtp"
)

func Example() {
	mail, err := smtp.New(smtp.Config{
		Host:     "smtp.example.com",
		Username: os.Getenv("SMTP_USERNAME"),
		Password: userapi.Secret(os.Getenv("SMTP_PASSWORD")),
		From:     "Example <no-reply@example.com>",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	// The library calls Send for you, once mail is in userapi.Config.Verification.Mail.
	err = mail.Send(context.Background(), userapi.Message{
		ID: "1", Channel: userapi.ChannelEmail, To: "anna@example.org", Purpose: userapi.PurposeReset,
		Link: "https://app.example.com/reset#token=…",
	})
	fmt.Println(err)
}
