package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/userapi/userapi/store/sqlite"
)

func TestTheBootstrappedAccountReachesTheGuardedRoutes(t *testing.T) {
	db, err := sql.Open("sqlite", sqlite.DSN(t.TempDir()+"/app.db"))
	require.NoError(t, err)
	defer db.Close()
	server, err := newServer(context.Background(), db, "correct horse battery")
	require.NoError(t, err)
	call := func(method, path, token, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		if body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		return w
	}
	login := call("POST", "/api/users/login", "", `{"email":"admin","password":"correct horse battery"}`)
	require.Equal(t, http.StatusOK, login.Code, login.Body)
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	require.NoError(t, json.Unmarshal(login.Body.Bytes(), &answer))
	for _, path := range []string{"/dummy", "/hello"} {
		assert.Equal(t, http.StatusUnauthorized, call("GET", path, "", "").Code)
		assert.Equal(t, http.StatusOK, call("GET", path, answer.AccessToken, "").Code)
	}
	made := call("POST", "/api/users/", answer.AccessToken, `{"email":"anna@example.com","name":"Anna","active":true,"roles":[],"password":"correct horse battery"}`)
	require.Equal(t, http.StatusCreated, made.Code, made.Body)
	login = call("POST", "/api/auth/login/", "", `{"email":"anna@example.com","password":"correct horse battery"}`)
	require.NoError(t, json.Unmarshal(login.Body.Bytes(), &answer))
	assert.Equal(t, http.StatusOK, call("GET", "/dummy", answer.AccessToken, "").Code)
	assert.Equal(t, http.StatusForbidden, call("GET", "/hello", answer.AccessToken, "").Code)
}
