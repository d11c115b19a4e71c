package networktest

import (
	"database/sql"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	mysqlstore "github.com/userapi/userapi/store/mysql"
	"github.com/userapi/userapi/verification/dummy"
)

// A list of nodes goes on with the second when the network to the first is silent, which no connection tells, and comes back. Both nodes are one server.
func TestListOfNodes(t *testing.T) {
	t.Parallel()
	config := mariaDB.Database(t)
	var network [2]*proxy
	var nodes []*mysql.Config
	for i := range network {
		network[i] = newProxy(t, config.Addr)
		at := config.Clone()
		at.Addr, at.Timeout, at.ReadTimeout, at.WriteTimeout = network[i].Listen, time.Second, 5*time.Second, 5*time.Second
		nodes = append(nodes, at)
	}
	list, err := mysqlstore.NewNodes(nodes...)
	require.NoError(t, err)
	db := sql.OpenDB(list)
	defer db.Close()
	db.SetMaxOpenConns(poolSize)
	db.SetMaxIdleConns(poolSize)
	st := mysqlstore.New(db)
	require.NoError(t, st.Migrate(t.Context()))
	api := newAPI(t, st, dummy.New())
	failed := 0
	served := func() bool {
		var callers sync.WaitGroup
		var errs [poolSize]error
		for i := range errs {
			callers.Go(func() { _, errs[i] = api.Users.List(t.Context(), userapi.System(), userapi.UserQuery{}) })
		}
		callers.Wait()
		err := errors.Join(errs[:]...)
		if err != nil {
			require.ErrorIs(t, err, userapi.ErrUnavailable)
			failed++
		}
		return err == nil
	}
	soon := func(what string) {
		t.Helper()
		began := time.Now()
		require.Eventually(t, served, 30*time.Second, time.Millisecond, what)
		t.Logf("%s: served after %v", what, time.Since(began).Round(time.Millisecond))
	}
	soon("both are well")
	network[0].turn(false, false)
	soon("silence to the first")
	assert.LessOrEqual(t, failed, 2, "a connection of the pool was not found out by another")
	network[0].turn(true, true)
	require.Eventually(t, func() bool { return list.State(t.Context())[0].Err == nil }, 10*time.Second, 50*time.Millisecond)
	soon("the first is well again")
	network[1].turn(false, false) // where nothing should be
	for range 20 {
		require.True(t, served(), "connections stay with the second")
	}
	network[1].turn(true, true)
}
