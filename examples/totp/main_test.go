package main

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestALoginTakesTwoSteps(t *testing.T) {
	server, err := newServer(t.Context(), "correct horse battery")
	require.NoError(t, err)
	var token string
	post := func(path, body string) map[string]any {
		t.Helper()
		r := httptest.NewRequest("POST", "/api/"+path, strings.NewReader(body))
		if body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		var out map[string]any
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &out))
		if access, ok := out["access_token"].(string); ok {
			token = access
		}
		return out
	}
	const login = `{"username": "admin", "password": "correct horse battery"}`
	post("auth/login", login)
	begun := post("totp/enrol", "")
	recovery := post("totp/confirm", `{"code": "`+code(t, begun["secret"].(string))+`"}`)["recovery_codes"].([]any)
	require.Len(t, recovery, 10)
	assert.Equal(t, "second_factor", post("auth/login", login)["step"])
	assert.NotEmpty(t, post("totp/login", `{"code": "`+recovery[0].(string)+`"}`)["refresh_token"])
}

// code is what the app shows now.
func code(t *testing.T, secret string) string {
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret)
	require.NoError(t, err)
	mac := hmac.New(sha1.New, key)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(time.Now().Unix()/30)))
	sum := mac.Sum(nil)
	at := sum[19] & 15
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[at:at+4])&0x7fffffff%1_000_000)
}
