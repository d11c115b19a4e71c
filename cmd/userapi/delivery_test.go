package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi/internal/drivertest"
)

func listenHTTP(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL + "/"
}

// hang answers nothing while the caller waits.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func askForCode(t *testing.T, s *server, number string) {
	t.Helper()
	status, body := s.call("POST", "/api/verification/phone", "", map[string]any{"phone": number})
	require.Equal(t, http.StatusOK, status, "%v", body)
}

// A request that was under way when the program was asked to stop still has its message sent.
func TestTerminateSendsWhatTheLastRequestQueued(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "USERAPI_ANONYMOUS_PHONE=1")
	s := p.serve(t)
	finish := s.terminateDuring("/api/verification/phone", `{"phone":"+4915112345678"}`)
	assert.Empty(t, p.outbox(t, "outbox.jsonl"))
	finish()
	<-s.done
	assert.Zero(t, s.cmd.ProcessState.ExitCode())
	assert.Len(t, p.outbox(t, "outbox.jsonl"), 1)
	s.checkOutput()
}

// A message sets out when it is queued: one after the other these would otherwise wait for 20 ticks.
func TestMessagesDoNotWaitForATick(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "USERAPI_ANONYMOUS_PHONE=1", "USERAPI_LIMITS=off")
	s := p.serve(t)
	const messages = 20
	ctx, cancel := context.WithTimeout(t.Context(), messages*time.Second) // API.Run looks every 2 s
	defer cancel()
	for i := range messages {
		askForCode(t, s, fmt.Sprintf("+49151123450%02d", i))
		for len(p.outbox(t, "outbox.jsonl")) <= i {
			require.NoError(t, ctx.Err(), "message %d", i)
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// A gateway that hangs keeps neither the program from stopping nor the message from being sent after the next start.
func TestTerminateWhileTheGatewayHangs(t *testing.T) {
	t.Parallel()
	hangs, works := newGateway(t, hang), newGateway(t, nil)
	p := newPlace(t, "USERAPI_ANONYMOUS_PHONE=1")
	p.write(t, "s.json", settings(hangs))
	s := p.serve(t, "--sending", "s.json")
	askForCode(t, s, "+4915112345678")
	sms := hangs.next(t, 30*time.Second)
	s.stop()
	assert.Contains(t, s.out.String(), `"msg":"stopped"`)

	p.write(t, "s.json", settings(works))
	p.serve(t, "--sending", "s.json")
	again := works.next(t, 30*time.Second)
	assert.Equal(t, sms["message"], again["message"], "with the same code")
	assert.Equal(t, true, again["retry"])
}

// The lease of a message that was being sent ends 40 s after a crash.
func TestKilledBetweenCommitAndSend(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a lease to end")
	}
	t.Parallel()
	hangs, works := newGateway(t, hang), newGateway(t, nil)
	p := newPlace(t, "USERAPI_ANONYMOUS_PHONE=1")
	p.write(t, "s.json", settings(hangs))
	s := p.serve(t, "--sending", "s.json")
	askForCode(t, s, "+4915112345678")
	sms := hangs.next(t, 30*time.Second)
	require.NoError(t, s.cmd.Process.Kill())
	<-s.done

	p.write(t, "s.json", settings(works))
	s = p.serve(t, "--sending", "s.json")
	again := works.next(t, 60*time.Second)
	assert.Equal(t, sms["message"], again["message"])
	s.stop()
	assert.Empty(t, works.got, "once")
}

// Two servers on one database share the work: each message leaves one of them, once.
func TestTwoServersSendEachMessageOnce(t *testing.T) {
	m, err := drivertest.Shared()
	require.NoError(t, err)
	t.Cleanup(m.Stop)
	p := newPlace(t, "USERAPI_SECRET="+secretA, "USERAPI_DEV=1", "USERAPI_DB="+newDatabase(t, m), "USERAPI_ANONYMOUS_PHONE=1", "USERAPI_LIMITS=off")
	a, b := p.serve(t, "--outbox", "a.jsonl"), p.serve(t, "--outbox", "b.jsonl")
	const messages = 60
	for i := range messages {
		askForCode(t, []*server{a, b}[i%2], fmt.Sprintf("+49151123450%02d", i))
	}
	all := func() map[string]int {
		times := map[string]int{}
		for _, line := range append(p.outbox(t, "a.jsonl"), p.outbox(t, "b.jsonl")...) {
			times[line["to"]]++
		}
		return times
	}
	require.Eventually(t, func() bool { return len(all()) == messages }, 60*time.Second, 50*time.Millisecond)
	a.stop()
	b.stop()
	for to, times := range all() {
		assert.Equal(t, 1, times, to)
	}
}
