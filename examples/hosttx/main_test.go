package main

import (
	"context"
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/userapi/userapi"
	"github.com/userapi/userapi/store/sqlite"
)

func TestUserAndCartAreThereOrNeither(t *testing.T) {
	ctx, file := context.Background(), t.TempDir()+"/shop.db"
	require.NoError(t, run(ctx, file))
	db, err := sql.Open("sqlite", sqlite.DSN(file))
	require.NoError(t, err)
	defer db.Close()
	users, err := sqlite.New(db).ListUsers(ctx, userapi.UserFilter{Scope: userapi.Scope{All: true}, Limit: 10})
	require.NoError(t, err)
	require.Len(t, users, 1)
	require.Equal(t, "bert", users[0].Username)
	var owner string
	require.NoError(t, db.QueryRow(`SELECT user_id FROM carts`).Scan(&owner))
	require.Equal(t, users[0].ID, owner)
}
