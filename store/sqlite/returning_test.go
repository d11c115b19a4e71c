package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/store/internal/sqlstore"
)

// A server whose INSERT returns no rows (MySQL) is asked once more, and counts alike.
func TestLimitsAreCountedAlikeWithoutReturning(t *testing.T) {
	open := func(can bool) *sqlstore.Store {
		db, err := sql.Open("sqlite", DSN(filepath.Join(t.TempDir(), "users.db")))
		require.NoError(t, err)
		t.Cleanup(func() { db.Close() })
		d := dialect
		d.Returning = func(context.Context, *sql.DB) (bool, error) { return can, nil }
		st := sqlstore.New(db, d)
		require.NoError(t, st.Migrate(t.Context()))
		return st
	}
	with, without := open(true), open(false)
	random, now := rand.New(rand.NewPCG(1, 2)), time.UnixMilli(1_800_000_000_000)
	waited := 0
	for range 400 {
		now = now.Add(time.Duration(random.IntN(40)) * time.Second)
		var takes []userapi.LimitTake
		for k := range 1 + random.IntN(3) {
			takes = append(takes, userapi.LimitTake{Key: fmt.Sprint(k, random.IntN(3)), Max: 1 + random.IntN(3), Window: time.Minute, Longest: time.Duration(random.IntN(2)) * time.Hour})
		}
		want, err := with.TakeLimits(t.Context(), now, takes)
		require.NoError(t, err)
		got, err := without.TakeLimits(t.Context(), now, takes)
		require.NoError(t, err)
		require.Equal(t, want, got)
		if want > 0 {
			waited++
		}
	}
	assert.Greater(t, waited, 50, "some were refused")
	assert.Less(t, waited, 350, "and some not")
}
