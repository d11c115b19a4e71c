package networktest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
)

// A connection that is cut anywhere in a write, within a COMMIT and its answer too, costs nobody anything: the store finds out what became of it.
func TestCutAnywhere(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e engine) {
		s := newSite(t, e)
		caller := userapi.Anonymous().From("192.0.2.1", "test")
		create := func(name string) error {
			_, err := s.api.Users.Create(t.Context(), userapi.System(), userapi.NewUser{
				Username: name, Password: password, Active: true, CustomerID: "default", Roles: []userapi.RoleRef{{Code: "editor"}},
			})
			return err
		}
		require.NoError(t, create("ann"))
		for _, d := range []stream.Direction{stream.Upstream, stream.Downstream} {
			for where, cut := range map[string]struct {
				by   func(d stream.Direction, after int64) func() bool
				step int64
			}{"from the start": {s.proxy.cut, 29}, "from COMMIT": {s.proxy.cutAtCommit, 1}} {
				cuts := 0
				for after := int64(0); ; after += cut.step {
					name := strings.ReplaceAll(fmt.Sprintf("%s-%s-%d", d, where, after), " ", "-")
					happened := cut.by(d, after)
					require.NoError(t, create(name), "cut %s after %d bytes %s", d, after, where)
					if !happened() {
						break
					}
					cuts++
					require.ErrorIs(t, create(name), userapi.ErrUsernameTaken, "cut %s after %d bytes %s", d, after, where)
				}
				t.Logf("%s: registrations cut at %d places %s", d, cuts, where)
				assert.Greater(t, cuts, 4)
			}
			_, tokens, err := s.api.Auth.Login(t.Context(), caller, userapi.LoginRequest{Identifier: "ann", Password: password})
			require.NoError(t, err)
			for after := int64(0); ; after += 29 {
				happened := s.proxy.cut(d, after)
				next, err := s.api.Auth.Refresh(t.Context(), caller, tokens.Refresh)
				if err != nil { // one statement, without an event that would tell
					require.ErrorIs(t, err, userapi.ErrUnavailable, "cut %s after %d bytes", d, after)
				}
				done := happened()
				if err != nil {
					next, err = s.api.Auth.Refresh(t.Context(), caller, tokens.Refresh)
					require.NoError(t, err, "the same token again, cut %s after %d bytes", d, after)
				}
				tokens = next
				if !done {
					break
				}
			}
			for after := int64(0); ; after += 29 {
				_, tokens, err := s.api.Auth.Login(t.Context(), caller, userapi.LoginRequest{Identifier: "ann", Password: password})
				require.NoError(t, err)
				happened := s.proxy.cut(d, after)
				require.NoError(t, s.api.Auth.Logout(t.Context(), caller, tokens.Refresh), "cut %s after %d bytes", d, after)
				done := happened()
				_, err = s.api.Auth.Authenticate(t.Context(), string(tokens.Access))
				require.ErrorIs(t, err, userapi.ErrTokenRevoked)
				if !done {
					break
				}
			}
		}
		s.settled()
		newLedger().holds(s)
	})
}

// The answer to a COMMIT does not come. The caller is told that nobody knows, and asks again.
func TestAnswerToCommitStalls(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e engine) {
		s := newSite(t, e)
		ann := userapi.NewUser{Username: "ann", Password: password, Active: true, CustomerID: "default", Roles: []userapi.RoleRef{{Code: "editor"}}}
		committing := s.proxy.turnAtCommit(true, false)
		began := time.Now()
		_, err := s.api.Users.Create(t.Context(), userapi.System(), ann)
		require.ErrorIs(t, err, userapi.ErrUnavailable)
		assert.ErrorContains(t, err, "the outcome of COMMIT is unknown")
		assert.Less(t, time.Since(began), writes+margin)
		<-committing
		_, err = s.other.Users.ByUsername(t.Context(), userapi.System(), "ann")
		require.NoError(t, err, "the COMMIT has arrived")
		s.proxy.turn(true, true)
		_, err = s.api.Users.Create(t.Context(), userapi.System(), ann)
		require.ErrorIs(t, err, userapi.ErrUsernameTaken)
		s.settled()
		newLedger().holds(s)
	})
}

// A COMMIT does not arrive, for as long as it takes to give up. Its transaction ends then, with its locks, or nobody could end the session from
// elsewhere; and it does not take effect when the network goes on, or other nodes would learn of it too late.
func TestCommitStalls(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, e engine) {
		s := newSite(t, e)
		caller := userapi.Anonymous().From("192.0.2.1", "test")
		_, tokens, err := s.other.Auth.Login(t.Context(), caller, userapi.LoginRequest{Identifier: "admin", Password: password})
		require.NoError(t, err)
		require.NoError(t, s.round(t.Context()))
		committing := s.proxy.turnAtCommit(false, false)
		began := time.Now()
		require.ErrorIs(t, s.api.Auth.Logout(t.Context(), caller, tokens.Refresh), userapi.ErrUnavailable)
		assert.Less(t, time.Since(began), writes+margin)
		<-committing
		require.Eventually(t, func() bool { return s.other.Auth.Logout(t.Context(), caller, tokens.Refresh) == nil },
			recoversWithin, 100*time.Millisecond, "the lock of a transaction whose caller has given up stays")
		time.Sleep(time.Until(began.Add(16 * time.Second))) // longer than a node reads revocations back
		s.proxy.turn(true, true)
		s.recovers(time.Now())
		time.Sleep(1100 * time.Millisecond) // Config.Staleness
		for _, api := range []*userapi.API{s.api, s.other} {
			_, err := api.Auth.Authenticate(t.Context(), string(tokens.Access))
			assert.ErrorIs(t, err, userapi.ErrTokenRevoked)
		}
		s.settled()
		newLedger().holds(s)
	})
}

// A token that was ended elsewhere is let in for no longer than Config.Staleness, however slow the network is, and none is when it is gone.
func TestTokensFailClosed(t *testing.T) {
	t.Parallel()
	const staleness = time.Second // the default
	each(t, func(t *testing.T, e engine) {
		s := newSite(t, e)
		caller := userapi.Anonymous().From("192.0.2.1", "test")
		login := func() userapi.Tokens {
			_, tokens, err := s.other.Auth.Login(t.Context(), caller, userapi.LoginRequest{Identifier: "admin", Password: password})
			require.NoError(t, err)
			return tokens
		}
		check := func(tokens userapi.Tokens) error {
			_, err := s.api.Auth.Authenticate(t.Context(), string(tokens.Access))
			return err
		}
		// ended asks while what a check may answer is only that.
		ended := func(tokens userapi.Tokens, lasts time.Duration, answers ...error) {
			t.Helper()
			require.NoError(t, s.other.Auth.Logout(t.Context(), caller, tokens.Refresh))
			acknowledged := time.Now()
			for time.Since(acknowledged) < lasts {
				began := time.Now()
				err := check(tokens)
				assert.Less(t, time.Since(began), feed+margin)
				if began.Sub(acknowledged) > staleness {
					require.True(t, err != nil, "a token was let in %v after its end", began.Sub(acknowledged))
				}
				if err != nil {
					require.True(t, slices.ContainsFunc(answers, func(a error) bool { return errors.Is(err, a) }), "%v", err)
				}
				time.Sleep(20 * time.Millisecond)
			}
		}
		live := login()
		require.NoError(t, check(live))

		both(func(stream string) { s.proxy.add("latency", stream, attributes{"latency": 150, "jitter": 50}) })
		ended(login(), 3*time.Second, userapi.ErrTokenRevoked)
		both(func(stream string) { s.proxy.remove("latency", stream) })

		s.proxy.turn(true, false)
		gone := login()
		ended(gone, 6*time.Second, userapi.ErrTokenRevoked, userapi.ErrUnavailable)
		assert.ErrorIs(t, check(live), userapi.ErrUnavailable, "nobody knows")
		ctx, cancel := context.WithTimeout(t.Context(), impatient)
		defer cancel()
		_, err := s.api.Auth.Authenticate(ctx, string(live.Access))
		assert.ErrorIs(t, err, userapi.ErrUnavailable)

		s.proxy.turn(true, true)
		require.Eventually(t, func() bool { return check(live) == nil }, recoversWithin, 20*time.Millisecond)
		assert.ErrorIs(t, check(gone), userapi.ErrTokenRevoked)
		s.settled()
	})
}
