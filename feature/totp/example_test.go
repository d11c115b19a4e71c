package totp_test

import (
	"context"
	"fmt"
	"net/http"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/feature/totp"
	"github.com/userapi/userapi/httpadapter"
	"github.com/userapi/userapi/store/memory"
)

func Example() {
	factor, err := totp.New(totp.Config{Issuer: "Acme"})
	if err != nil {
		panic(err)
	}
	api, err := userapi.New(userapi.Config{
		Store:        memory.New(),
		Secret:       "thirty-two random bytes or more, from the environment",
		SecondFactor: factor,
	})
	if err != nil {
		panic(err)
	}
	if err := factor.Bind(api); err != nil {
		panic(err)
	}
	web, err := httpadapter.New(httpadapter.Config{API: api})
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	web.Mount(mux, "/api", web.Handler())
	web.Mount(mux, "/api/totp", factor.Handler(web))

	// Somebody who lost phone and recovery codes, and has proven to the host who they are, is let in again.
	ctx := context.Background()
	user, err := api.Users.ByUsername(ctx, userapi.System(), "ann")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(factor.Disable(ctx, userapi.System(), user.ID))
	// Output: NOT_FOUND: Not found.
}
