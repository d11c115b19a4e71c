package networktest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
)

// What works in the background neither hangs on a network that stalls nor gives up: it goes on when the network does, and ends when it is told to.
func TestRun(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e engine) {
		s := newSite(t, e)
		ask := func(api *userapi.API, i int) error {
			name := fmt.Sprint("user-", i)
			_, err := api.Users.Create(t.Context(), userapi.System(), userapi.NewUser{
				Username: name, Email: name + "@example.com", EmailVerified: true, Password: password, Active: true, CustomerID: "default",
			})
			require.NoError(t, err)
			return api.Passwords.RequestReset(t.Context(), userapi.Anonymous().From("192.0.2.1", "test"), userapi.ResetRequest{Identifier: name})
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = s.api.Run(ctx) // what it says is why it ended
		}()
		arrived := func(n int) func() bool { return func() bool { return len(s.mail.Messages()) >= n } }
		require.NoError(t, ask(s.api, 0))
		require.Eventually(t, arrived(1), recoversWithin, 20*time.Millisecond)

		s.proxy.turn(false, false)
		near := newAPI(t, s.near, s.mail) // which does not deliver
		for i := range 5 {
			require.NoError(t, ask(near, i+1))
		}
		time.Sleep(2*time.Second + writes) // it looks every 2 s, and fails
		require.Len(t, s.mail.Messages(), 1)
		s.proxy.turn(true, true)
		require.Eventually(t, arrived(6), recoversWithin, 20*time.Millisecond)

		s.proxy.turn(false, false)
		require.NoError(t, ask(near, 6))
		time.Sleep(3 * time.Second)
		const lastChance = 5 * time.Second // of API.Run
		cancel()
		select {
		case <-ended:
		case <-time.After(lastChance + writes + margin):
			assert.Fail(t, "it does not end")
		}
		s.proxy.turn(true, true)
		s.recovers(time.Now())
		s.settled()
	})
}
