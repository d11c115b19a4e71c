package main

import (
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi/internal/drivertest"
)

// newPostgres makes an empty database, on a server that lives as long as the test if it is a private one. It returns its URL and a pool on it.
func newPostgres(t *testing.T) (string, *sql.DB) {
	t.Helper()
	server, err := drivertest.SharedPostgres()
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	at := server.Database(t)
	db, err := openOtherPostgres(at)
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return at, db
}
