package webhook_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/verification/webhook"
)

func Example() {
	// The gateway: your own, or a few lines in front of a vendor's.
	gateway := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Println(r.Header.Get("Authorization"), string(body))
	}))
	defer gateway.Close()

	sms, err := webhook.New(webhook.Config{
		URL:       gateway.URL,
		From:      "ExampleApp",
		ServiceID: "accounts",
		Headers:   map[string]userapi.Secret{"Authorization": "Bearer token"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	// The library calls Send for you, once sms is in userapi.Config.Verification.SMS.
	err = sms.Send(context.Background(), userapi.Message{ID: "1", To: "+4915112345678", Text: "Your security code is: 123456"})
	fmt.Println(err)
	// Output:
	// Bearer token {"from":"ExampleApp","message":"Your security code is: 123456","phone":"+4915112345678","retry":false,"service_id":"accounts","user_id":""}
	// <nil>
}
