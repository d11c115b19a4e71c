package vonage_test

import (
	"context"
	"fmt"
	"os"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/verification/vonage"
)

func Example() {
	sms, err := vonage.New(vonage.Config{
		APIKey:    os.Getenv("VONAGE_API_KEY"),
		APISecret: userapi.Secret(os.Getenv("VONAGE_API_SECRET")),
		From:      "ExampleApp",
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
