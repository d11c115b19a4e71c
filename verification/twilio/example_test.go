package twilio_test

import (
	"context"
	"fmt"
	"os"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/verification/twilio"
)

func Example() {
	sms, err := twilio.New(twilio.Config{
		AccountSID:          os.Getenv("TWILIO_ACCOUNT_SID"),
		APIKeySID:           os.Getenv("TWILIO_API_KEY_SID"),
		Secret:              userapi.Secret(os.Getenv("TWILIO_API_KEY_SECRET")),
		MessagingServiceSID: os.Getenv("TWILIO_MESSAGING_SERVICE_SID"),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	// The library calls Send for you, once sms is in userapi.Config.Verification.SMS.
	err = sms.Send(context.Background(), userapi.Message{
		ID: "1", Channel: userapi.ChannelSMS, To: "+4915112345678", Purpose: userapi.PurposePhone, Code: "123456",
	})
	fmt.Println(err)
}
