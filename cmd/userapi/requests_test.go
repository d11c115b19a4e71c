package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/httpadapter"
	"github.com/userapi/userapi/store/memory"
)

// panics serves h the way the program serves everything, and returns what it logs.
func panics(t *testing.T, h http.HandlerFunc) (*http.Response, *output, error) {
	t.Helper()
	api, err := userapi.New(userapi.Config{Store: memory.New(), Secret: secretA})
	require.NoError(t, err)
	out := new(output)
	log := slog.New(slog.NewJSONHandler(out, nil))
	web, err := httpadapter.New(httpadapter.Config{API: api, Logger: log})
	require.NoError(t, err)
	srv := httptest.NewServer(logged(recovered(h, web, log), web, log))
	t.Cleanup(srv.Close)
	resp, err := srv.Client().Get(srv.URL + "/path?token=canary")
	if err == nil {
		t.Cleanup(func() { resp.Body.Close() })
	}
	return resp, out, err
}

func TestPanicIsA500WithoutText(t *testing.T) {
	t.Parallel()
	resp, out, err := panics(t, func(http.ResponseWriter, *http.Request) { panic("a canary that nobody may see") })
	require.NoError(t, err)
	var body map[string]any
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&body))
	assert.Equal(t, http.StatusInternalServerError, resp.StatusCode)
	assert.Equal(t, "INTERNAL", body["error_code"])
	assert.Contains(t, out.String(), `"panic":"string"`)
	assert.Contains(t, out.String(), `"status":500`)
	noSecrets(t, out.String())
	for line := range strings.Lines(out.String()) {
		assert.True(t, json.Valid([]byte(line)), line)
	}
}

func TestPanicOfTheRuntimeIsNamed(t *testing.T) {
	t.Parallel()
	_, out, err := panics(t, func(http.ResponseWriter, *http.Request) {
		missing := func() map[string]int { return nil }
		missing()["x"] = 1
	})
	require.NoError(t, err)
	assert.Contains(t, out.String(), "nil map")
}

func TestPanicInTheMiddleCutsTheAnswer(t *testing.T) {
	t.Parallel()
	resp, out, err := panics(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(bytes.Repeat([]byte("x"), 1<<16))
		panic("in the middle")
	})
	if err == nil {
		_, err = new(bytes.Buffer).ReadFrom(resp.Body)
	}
	require.Error(t, err)
	assert.Contains(t, out.String(), "a handler panicked")
}
