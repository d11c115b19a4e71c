package httpadapter_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
)

// atOnce sends a request from 64 goroutines and counts the answers by status.
func atOnce(send func(i int) *answer) map[int]int {
	var all sync.WaitGroup
	begin, codes := make(chan struct{}), make([]int, 64)
	for i := range codes {
		all.Go(func() {
			<-begin
			codes[i] = send(i).Code
		})
	}
	close(begin)
	all.Wait()
	count := map[int]int{}
	for _, code := range codes {
		count[code]++
	}
	return count
}

func TestD01_OneTokenAtOnce(t *testing.T) { onEveryStore(t, oneTokenAtOnce) }

func oneTokenAtOnce(t *testing.T, on options) {
	var updates atomic.Int64
	w := newWorld(t, verifying, anyPhone, on, options{api: func(c *userapi.Config) {
		count := func(context.Context, userapi.User) { updates.Add(1) }
		c.Hooks.UserCreated, c.Hooks.UserUpdated = count, count // an activation is what makes an account
		c.Hooks.PhoneProved = func(_ context.Context, u userapi.User, _ string) {
			if u.ID == "" {
				updates.Add(1)
			}
		}
	}})
	for path, body := range w.mailed() {
		updates.Store(0)
		count := atOnce(func(i int) *answer {
			if path == "/password/reset/confirm" {
				return w.do("POST", path, with(body, object{"new_password": fmt.Sprint("fine phrase ", i)}))
			}
			return w.do("POST", path, body)
		})
		assert.Equal(t, map[int]int{200: 1, 400: 63}, count, path)
		assert.EqualValues(t, 1, updates.Load(), "one change, one hook")
	}
	w.delivered()
	for _, how := range [][]set{{w.as("ann")}, nil} {
		code := w.phoneCode(number, how...)
		updates.Store(0)
		count := atOnce(func(int) *answer { return w.confirmPhone(number, code, how...) })
		assert.Equal(t, map[int]int{200: 1, 400: 63}, count)
		assert.EqualValues(t, 1, updates.Load())
	}
}

// Under the limits of everybody no burst gets further, and nothing breaks.
func TestD01_OneTokenAtOnceUnderLimits(t *testing.T) {
	w := newWorld(t, sending, options{api: func(c *userapi.Config) { c.Limits = nil }})
	body := object{"token": w.resetToken("ann@acme.example"), "new_password": another}
	count := atOnce(func(int) *answer { return w.do("POST", "/password/reset/confirm", body) })
	assert.Equal(t, 1, count[200])
	assert.Equal(t, 63, count[400]+count[429], "%v", count)
	// 30 in 10 minutes from one address: the one that succeeds may be under way, and counted, until the others are over. Of the
	// token's five tries four may have been right but late, which costs nothing.
	assert.GreaterOrEqual(t, count[400], 29)
	assert.LessOrEqual(t, count[400], 34)
}

// Every guess is counted before it is compared: of a burst no more than five are.
func TestD03_ABurstOfGuesses(t *testing.T) { onEveryStore(t, aBurstOfGuesses) }

func aBurstOfGuesses(t *testing.T, on options) {
	w := newWorld(t, anyPhone, on)
	ann := w.as("ann")
	for _, how := range [][]set{{ann}, nil} {
		code := w.phoneCode(number, how...)
		count := atOnce(func(int) *answer { return w.confirmPhone(number, wrongCode(code), how...) })
		assert.Equal(t, map[int]int{400: 64}, count)
		w.confirmPhone(number, code, how...).is(400, "INVALID_CODE")
		w.confirmPhone(number, w.phoneCode(number, how...), how...).is(200, "")
	}
	bob := w.resetToken("bob@acme.example")
	count := atOnce(func(int) *answer {
		return w.do("POST", "/password/reset/confirm", object{"token": bob + "x", "new_password": another})
	})
	assert.Equal(t, map[int]int{400: 64}, count)
	w.do("POST", "/password/reset/confirm", object{"token": bob, "new_password": another}).is(400, "INVALID_TOKEN")
}

// Of many changes asked for and confirmed at once, each confirms the address its own link went to, and no other.
func TestD07_ManyChangesAtOnce(t *testing.T) { onEveryStore(t, manyChangesAtOnce) }

func manyChangesAtOnce(t *testing.T, on options) {
	w := newWorld(t, sending, on)
	own := w.as("ann")
	count := atOnce(func(i int) *answer {
		return w.do("POST", "/verification/email", object{"email": fmt.Sprintf("ann%d@acme.example", i)}, own)
	})
	assert.Equal(t, 64, count[200]+count[503], "%v", count)
	mailed := w.delivered()
	require.Len(t, mailed, 1, "the newest took the place of all others")
	count = atOnce(func(int) *answer {
		return w.do("POST", "/verification/email/confirm", object{"token": string(mailed[0].Token)})
	})
	assert.Equal(t, map[int]int{200: 1, 400: 63}, count)
	u, err := w.api.Users.ByID(context.Background(), userapi.System(), w.ids["ann"])
	require.NoError(t, err)
	assert.Equal(t, mailed[0].To, u.Email)
	assert.Equal(t, map[string]userapi.Notice{"ann@acme.example": userapi.NoticeEmailChanged}, told(w.delivered()))
}

// Two accounts that prove one number at once: one has it in the end.
func TestF08_OneNumberTwoAccountsAtOnce(t *testing.T) { onEveryStore(t, oneNumberTwoAccountsAtOnce) }

func oneNumberTwoAccountsAtOnce(t *testing.T, on options) {
	w := newWorld(t, sending, on)
	ann, bob := w.as("ann"), w.as("bob")
	for range 5 {
		codes := []string{w.phoneCode(number, ann), w.phoneCode(number, bob)}
		count := atOnce(func(i int) *answer { return w.confirmPhone(number, codes[i%2], []set{ann, bob}[i%2]) })
		assert.Equal(t, map[int]int{200: 2, 400: 62}, count)
		verified := 0
		for _, who := range []set{ann, bob} {
			if w.do("GET", "/users/current", nil, who).JSON["phone_verified"] == true {
				verified++
			}
		}
		assert.Equal(t, 1, verified)
	}
}

// Of many registrations of one address there is one account, and one link that works.
func TestF06_OneAddressRegisteredAtOnce(t *testing.T) { onEveryStore(t, oneAddressRegisteredAtOnce) }

func oneAddressRegisteredAtOnce(t *testing.T, on options) {
	w := newWorld(t, verifying, on)
	count := atOnce(func(i int) *answer {
		email := []string{"race@acme.example", "RACE@acme.example", " Race@Acme.Example"}[i%3]
		return w.do("POST", "/users", object{"email": email, "username": fmt.Sprint("racer ", i), "password": fmt.Sprint("fine phrase ", i)})
	})
	assert.Equal(t, 64, count[202]+count[503], "%v", count)
	mailed := w.delivered()
	require.Len(t, mailed, 1)
	u, err := w.api.Users.ByEmail(context.Background(), userapi.System(), "race@acme.example")
	require.NoError(t, err)
	// One whole registration: the password goes with the username.
	own := strings.Replace(u.Username, "racer ", "fine phrase ", 1)
	w.do("POST", "/auth/activate", object{"token": string(mailed[0].Token), "password": own}).is(200, "")
	w.do("POST", "/auth/login", object{"email": "race@acme.example", "password": own}).is(200, "")
	page, err := w.api.Users.List(context.Background(), userapi.System(), userapi.UserQuery{Email: "race@acme.example"})
	require.NoError(t, err)
	assert.Len(t, page.Users, 1)
}
