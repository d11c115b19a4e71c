package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheSecondGatewayTakesOver(t *testing.T) {
	var asked atomic.Int32
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusInternalServerError)
	}))
	defer first.Close()
	sent := make(chan string, 10)
	second := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var sms struct{ Phone, Message string }
		_ = json.NewDecoder(r.Body).Decode(&sms)
		sent <- sms.Phone + " " + sms.Message
	}))
	defer second.Close()
	server, err := newServer(t.Context(), first.URL, second.URL)
	require.NoError(t, err)
	post := func(path, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		return w
	}
	w := post("/phone", `{"phone": "+49 1511 2345678"}`)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	var sms string
	select {
	case sms = <-sent:
	case <-time.After(30 * time.Second):
		require.FailNow(t, "no SMS")
	}
	assert.Positive(t, asked.Load(), "the first was asked first")
	require.Contains(t, sms, "+4915112345678 ")
	code := regexp.MustCompile(`\b\d{6}\b`).FindString(sms)
	assert.Equal(t, http.StatusBadRequest, post("/phone/confirm", `{"phone": "+4915112345678", "code": "no-code"}`).Code)
	assert.Equal(t, http.StatusOK, post("/phone/confirm", `{"phone": "+4915112345678", "code": "`+code+`"}`).Code)
	assert.Equal(t, http.StatusBadRequest, post("/phone/confirm", `{"phone": "+4915112345678", "code": "`+code+`"}`).Code, "once")
	assert.Equal(t, http.StatusInternalServerError, post("/stand-in/fails", "").Code)
	assert.Equal(t, http.StatusOK, post("/stand-in/prints", "{}\n").Code)
}

func TestGatewaysNeedAnAddress(t *testing.T) {
	_, err := newServer(t.Context(), "http://127.0.0.1/", "nonsense")
	require.Error(t, err)
}
