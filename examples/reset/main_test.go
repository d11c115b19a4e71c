package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/userapi/userapi"
	"github.com/userapi/userapi/verification/dummy"
	"github.com/userapi/userapi/verification/outboxfile"
	"github.com/userapi/userapi/verification/smtp"
)

func TestAForgottenPasswordIsReset(t *testing.T) {
	sent := dummy.New()
	server, err := newServer(t.Context(), sent, "correct horse battery")
	require.NoError(t, err)
	post := func(path, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		return w
	}
	login := func(password string) int {
		return post("/api/auth/login", `{"email": "admin@example.com", "password": "`+password+`"}`).Code
	}
	require.Equal(t, http.StatusOK, login("correct horse battery"))
	w := post("/api/password/reset", `{"email": "Admin@example.com"}`)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	var mail userapi.Message
	require.Eventually(t, func() (ok bool) { mail, ok = sent.Last("admin@example.com"); return ok }, 30*time.Second, 20*time.Millisecond)
	assert.Contains(t, string(mail.Text), "http://127.0.0.1:8081/reset.html#token="+string(mail.Token))

	body := `{"token": "` + string(mail.Token) + `", "new_password": "another long password"}`
	w = post("/api/password/reset/confirm", body)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	assert.Equal(t, http.StatusUnauthorized, login("correct horse battery"))
	assert.Equal(t, http.StatusOK, login("another long password"))
	assert.Equal(t, http.StatusBadRequest, post("/api/password/reset/confirm", body).Code, "once")
}

func TestMailGoesToTheServerOrToTheFile(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("SMTP_HOST", "")
	mail, err := mailer()
	require.NoError(t, err)
	assert.IsType(t, &outboxfile.File{}, mail)
	assert.FileExists(t, "outbox.jsonl")

	t.Setenv("SMTP_HOST", "smtp.example.com")
	_, err = mailer()
	require.ErrorContains(t, err, "From")
	t.Setenv("MAIL_FROM", "app@example.com")
	mail, err = mailer()
	require.NoError(t, err)
	assert.IsType(t, &smtp.Backend{}, mail)
}
