package userapi_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/store/memory"
)

// exampleAPI is an API whose admin is called "admin".
func exampleAPI(hooks userapi.Hooks) *userapi.API {
	api, err := userapi.New(userapi.Config{Store: memory.New(), Secret: "thirty-two random bytes or more, from the environment", Hooks: hooks})
	if err != nil {
		panic(err)
	}
	_, err = api.Bootstrap(context.Background(), userapi.Bootstrap{Username: "admin", Password: "correct horse battery"})
	if err != nil {
		panic(err)
	}
	return api
}

func ExampleNew() {
	ctx := context.Background()
	api, err := userapi.New(userapi.Config{
		Store:  memory.New(),
		Secret: "thirty-two random bytes or more, from the environment",
		Hooks: userapi.Hooks{
			UserCreated: func(_ context.Context, u userapi.User) { fmt.Println("created", u.Username) },
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	created, err := api.Bootstrap(ctx, userapi.Bootstrap{Username: "admin", Password: "correct horse battery"})
	fmt.Println(created, err)
	created, err = api.Bootstrap(ctx, userapi.Bootstrap{Username: "admin", Password: "correct horse battery"})
	fmt.Println(created, err)
	// Output:
	// created admin
	// true <nil>
	// false <nil>
}

func ExampleAuth() {
	ctx := context.Background()
	api := exampleAPI(userapi.Hooks{})

	caller := userapi.Anonymous().From("192.0.2.1", "curl/8")
	_, tokens, err := api.Auth.Login(ctx, caller, userapi.LoginRequest{Identifier: "Admin", Password: "correct horse battery"})
	fmt.Println("login:", err)

	identity, err := api.Auth.Authenticate(ctx, string(tokens.Access))
	fmt.Println("roles:", identity.Roles(), err)

	next, err := api.Auth.Refresh(ctx, caller, tokens.Refresh)
	fmt.Println("refresh:", err)

	fmt.Println("logout:", api.Auth.Logout(ctx, caller, next.Access, ""))
	_, err = api.Auth.Authenticate(ctx, string(tokens.Access))
	fmt.Println(errors.Is(err, userapi.ErrTokenRevoked))
	// Output:
	// login: <nil>
	// roles: [admin] <nil>
	// refresh: <nil>
	// logout: <nil>
	// true
}

func ExampleUsers() {
	ctx := context.Background()
	api := exampleAPI(userapi.Hooks{
		UserUpdated: func(_ context.Context, u userapi.User) { fmt.Println("updated", u.Email, u.Active) },
	})

	// The host itself acts as System; a handler acts as httpadapter's Actor or Identity.Actor.
	anna, err := api.Users.Create(ctx, userapi.System(), userapi.NewUser{
		Email: "Anna@Example.com", Password: "staple and something", Active: true, CustomerID: "default",
	})
	fmt.Println(anna.Email, err)

	_, err = api.Users.Create(ctx, userapi.System(), userapi.NewUser{Email: "ANNA@example.com", CustomerID: "default"})
	fmt.Println(errors.Is(err, userapi.ErrEmailTaken))

	_, err = api.Users.Deactivate(ctx, userapi.System(), anna.ID)
	fmt.Println(err)
	// Output:
	// Anna@Example.com <nil>
	// true
	// updated Anna@Example.com false
	// <nil>
}

func ExampleAsError() {
	api := exampleAPI(userapi.Hooks{})
	_, err := api.Users.Create(context.Background(), userapi.System(), userapi.NewUser{Email: "nonsense", CustomerID: "default"})
	e := userapi.AsError(err)
	fmt.Println(e.Kind == userapi.Invalid, e.Code, e.Fields)
	// Output: true WRONG_DOCUMENT_FORMAT map[email:[not an e-mail address]]
}

func ExampleParseLimits() {
	limits, err := userapi.ParseLimits("login=10/h/account", userapi.DefaultLimits())
	fmt.Println(limits[userapi.LimitLogin], err)
	// Output: [{10 1h0m0s account}] <nil>
}
