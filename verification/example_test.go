package verification_test

import (
	"context"
	"errors"
	"fmt"
	"testing/fstest"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/verification"
	"github.com/userapi/userapi/verification/dummy"
)

func ExampleRouter() {
	first, second := dummy.New(), dummy.New() // in earnest: twilio.New(…), vonage.New(…)
	sms, err := verification.NewRouter(verification.RouterConfig{
		Gateways:  []verification.Gateway{{Name: "first", Backend: first}, {Name: "second", Backend: second}},
		Countries: []string{"DE", "FR"},
		Routes:    map[string][]string{"FR": {"second", "first"}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	// userapi.Config{…, Verification: userapi.Verification{SMS: sms}} makes API.Deliver do what follows.
	code := userapi.Message{Channel: userapi.ChannelSMS, Purpose: userapi.PurposePhone, To: "+4915123456789", Code: "471147"}

	first.Fail(errors.New("out of order"))
	fmt.Println(sms.Send(context.Background(), code))
	m, _ := second.Last("+4915123456789")
	fmt.Println(string(m.Text))

	fmt.Println(sms.Serves("+14165550123"))
	// Output:
	// <nil>
	// Your security code is: 471147
	// false
}

func ExampleParseTemplates() {
	// In earnest an embed.FS: overrides, err := fs.Sub(files, "mails").
	overrides := fstest.MapFS{"de/phone.txt": {Data: []byte("Ihr Code für {{.Product}}: {{.Code}}")}}
	templates, err := verification.ParseTemplates(overrides, verification.TemplateOptions{Product: "Example"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, locale := range []string{"de-AT", "fr"} {
		m, err := templates.Render(userapi.Message{Channel: userapi.ChannelSMS, Purpose: userapi.PurposePhone, Code: "471147", Locale: locale})
		fmt.Println(string(m.Text), err)
	}
	// Output:
	// Ihr Code für Example: 471147 <nil>
	// Your Example security code is: 471147 <nil>
}
