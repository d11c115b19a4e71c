package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTwoUserBasesBehindChi(t *testing.T) {
	dir := t.TempDir()
	router, err := newRouter(context.Background(), dir+"/customers.db", dir+"/staff.db", "correct horse battery")
	require.NoError(t, err)
	call := func(method, path, token, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		router.ServeHTTP(w, r)
		return w
	}
	login := func(path string) string {
		w := call("POST", path, "", `{"email":"admin","password":"correct horse battery"}`)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		var answer struct {
			AccessToken string `json:"access_token"`
		}
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer))
		return answer.AccessToken
	}
	customer, staff := login("/api/users/login"), login("/staff/auth/login/")
	for path, want := range map[string][2]int{
		"/dummy": {200, 401}, "/hello": {401, 200}, "/api/users": {200, 401}, "/v2/people/": {200, 401}, "/v2/people": {200, 401},
		"/v2/people/current": {200, 401}, "/staff/users": {401, 200}, "/staff/auth/whoami": {401, 200}, "/api/nothing": {404, 404},
	} {
		assert.Equal(t, want[0], call("GET", path, customer, "").Code, "%s as a customer", path)
		assert.Equal(t, want[1], call("GET", path, staff, "").Code, "%s as staff", path)
	}
	login("/v2/people/login")
}
