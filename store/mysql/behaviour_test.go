package mysql_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/internal/drivertest"
	"github.com/userapi/userapi/store/mysql"
)

func freshDatabase(t *testing.T) drivertest.Handle {
	config := server.Database(t)
	return func() (drivertest.Store, *sql.DB) {
		db := drivertest.Open(t, config)
		return mysql.New(db), db
	}
}

func TestMigrations(t *testing.T) { drivertest.Migrations(t, freshDatabase) }

func TestTransactions(t *testing.T) { drivertest.Transactions(t, freshDatabase) }

func TestHostTransactions(t *testing.T) { drivertest.HostTransactions(t, freshDatabase) }

func TestErasure(t *testing.T) { drivertest.Erasure(t, freshDatabase) }

func insert(id string) userapi.UserInsert {
	return userapi.UserInsert{Account: drivertest.User(id, "c"), Event: userapi.Event{ID: "event of " + id, At: time.Now()}}
}

// Every setting a host may choose: what is written under one is read under every other.
func TestDataSourceNames(t *testing.T) {
	base := server.Database(t)
	settings := map[string]func(*driver.Config){
		"plain":             func(*driver.Config) {},
		"clientFoundRows":   func(c *driver.Config) { c.ClientFoundRows = true },
		"parseTime":         func(c *driver.Config) { c.ParseTime = true },
		"interpolateParams": func(c *driver.Config) { c.InterpolateParams = true },
		"all of them":       func(c *driver.Config) { c.ClientFoundRows, c.ParseTime, c.InterpolateParams = true, true, true },
		"multiStatements":   func(c *driver.Config) { c.MultiStatements = true },
		"a time zone": func(c *driver.Config) {
			c.Loc = time.FixedZone("x", -7*3600)
			c.Params = map[string]string{"time_zone": "'-07:00'"}
		},
		"another collation":    func(c *driver.Config) { c.Collation = "utf8mb4_general_ci" },
		"german messages":      func(c *driver.Config) { c.Params = map[string]string{"lc_messages": "'de_DE'"} },
		"no backslash escapes": func(c *driver.Config) { c.Params = map[string]string{"sql_mode": "'NO_BACKSLASH_ESCAPES,ANSI_QUOTES'"} },
		"serializable":         func(c *driver.Config) { c.Params = map[string]string{"tx_isolation": "'SERIALIZABLE'"} },
	}
	stores := map[string]*mysql.Store{}
	for name, set := range settings {
		config := base.Clone()
		set(config)
		stores[name] = migrated(t, config)
	}
	require.NoError(t, stores["plain"].InsertCustomer(t.Context(), drivertest.Customer("c")))
	for name, st := range stores {
		w := insert("ÄÖ\\'\"\x00%_ " + name)
		require.NoError(t, st.InsertUser(t.Context(), w), name)
		w.Account.EmailKey, w.Event.ID = "x", "another event of "+name
		assert.ErrorIs(t, st.InsertUser(t.Context(), w), userapi.ErrIDTaken, name)
		w.Account.ID += "2"
		assert.ErrorIs(t, st.InsertUser(t.Context(), w), userapi.ErrUsernameTaken, name)
		for reader, other := range stores {
			a, err := other.AccountByID(t.Context(), userapi.Scope{Customer: "c"}, insert("ÄÖ\\'\"\x00%_ "+name).Account.ID)
			require.NoError(t, err)
			assert.Equal(t, w.Account.CreatedAt, a.CreatedAt, "%s read under %s", name, reader)
			_, err = other.AccountByIdentifier(t.Context(), userapi.Scope{All: true},
				userapi.Identifier{Kind: userapi.UsernameIdentifier, Value: strings.ToUpper(a.UsernameKey)})
			assert.ErrorIs(t, err, userapi.ErrNotFound, "compared as bytes")
		}
		_, now, err := st.Revocations(t.Context(), 0)
		require.NoError(t, err)
		assert.WithinDuration(t, time.Now(), time.UnixMilli(now), 5*time.Second, name)
	}
}

func TestWithoutAutocommitIsRefused(t *testing.T) {
	config := server.Database(t)
	config.Params = map[string]string{"autocommit": "0"}
	st := mysql.New(drivertest.Open(t, config))
	assert.ErrorContains(t, st.Migrate(t.Context()), "autocommit=0")
}

// Nothing takes a second connection while it holds one.
func TestOneConnection(t *testing.T) {
	db := drivertest.Open(t, server.Database(t))
	db.SetMaxOpenConns(1)
	st := mysql.New(db)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, st.Migrate(ctx))
	require.NoError(t, st.InsertCustomer(ctx, drivertest.Customer("c")))
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			assert.NoError(t, st.InsertUser(ctx, insert(fmt.Sprint(i))))
			_, err := st.AccountByID(ctx, userapi.Scope{All: true}, fmt.Sprint(i))
			assert.NoError(t, err)
		})
	}
	wg.Wait()
}

// breakable is a fresh database whose connections break when they are told to.
func breakable(t *testing.T) (drivertest.Store, *sql.DB, *drivertest.Connector) {
	c := drivertest.Wrap(t, "mysql", server.Database(t).FormatDSN())
	db := c.Pool(t)
	return mysql.New(db), db, c
}

func TestLostCommits(t *testing.T) { drivertest.LostCommits(t, breakable) }

func TestLostCommitsOfChallenges(t *testing.T) { drivertest.LostCommitsOfChallenges(t, breakable) }

// Where the network is gone nobody tells the server: what it waits to hear of ends by itself, early enough to be repeated, where the host
// asks for it.
func TestTransactionThatNobodyEnds(t *testing.T) {
	config := server.Database(t)
	config.Params = map[string]string{"idle_write_transaction_timeout": "5"}
	c := drivertest.Wrap(t, "mysql", config.FormatDSN())
	db := c.Pool(t)
	var version string
	if require.NoError(t, drivertest.Open(t, server.Config("")).QueryRow("SELECT VERSION()").Scan(&version)); !strings.Contains(version, "MariaDB") {
		t.Skip("MySQL has no such setting")
	}
	st := mysql.New(db)
	require.NoError(t, st.Migrate(t.Context()))
	require.NoError(t, st.InsertCustomer(t.Context(), drivertest.Customer("c")))
	c.Break(drivertest.SilentCommit)
	require.NoError(t, st.InsertUser(t.Context(), insert("u")))
	assert.True(t, c.Broke())
}

// An event's id that is used twice is a defect of the caller, never taken for success.
func TestEventTwice(t *testing.T) {
	st := migrated(t, server.Database(t))
	require.NoError(t, st.InsertCustomer(t.Context(), drivertest.Customer("c")))
	w := insert("u")
	require.NoError(t, st.InsertUser(t.Context(), w))
	w.Account = drivertest.User("v", "c")
	err := st.InsertUser(t.Context(), w)
	require.Error(t, err)
	assert.Equal(t, userapi.Internal, userapi.AsError(err).Kind)
}

// A server that crashes is unavailable, and after its restart all goes on with the same pool and what was committed.
func TestServerCrash(t *testing.T) {
	own, err := drivertest.Private()
	require.NoError(t, err)
	t.Cleanup(own.Stop)
	config := own.Database(t)
	db := drivertest.Open(t, config)
	st := mysql.New(db)
	require.NoError(t, st.Migrate(t.Context()))
	require.NoError(t, st.InsertCustomer(t.Context(), drivertest.Customer("c")))
	require.NoError(t, st.InsertUser(t.Context(), insert("before")))
	_, err = st.AccountByID(t.Context(), userapi.Scope{All: true}, "before")
	require.NoError(t, err)

	var mu sync.Mutex
	answered := []string{"before"}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for g := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				id := fmt.Sprintf("u-%d-%d", g, i)
				err := st.InsertUser(context.Background(), insert(id))
				if err != nil {
					assert.ErrorIs(t, err, userapi.ErrUnavailable)
					continue
				}
				mu.Lock()
				answered = append(answered, id)
				mu.Unlock()
			}
		})
	}
	time.Sleep(200 * time.Millisecond)
	require.NoError(t, own.Kill())
	began := time.Now()
	_, err = st.AccountByID(t.Context(), userapi.Scope{All: true}, "before")
	assert.ErrorIs(t, err, userapi.ErrUnavailable)
	assert.ErrorIs(t, st.Ping(t.Context()), userapi.ErrUnavailable)
	assert.ErrorIs(t, st.RotateSession(t.Context(), userapi.SessionRotation{ID: "s"}), userapi.ErrUnavailable)
	assert.Less(t, time.Since(began), 3*time.Second)

	require.NoError(t, own.Start())
	require.NoError(t, st.Ping(t.Context()))
	require.NoError(t, st.InsertUser(t.Context(), insert("after")))
	close(stop)
	wg.Wait()
	require.Greater(t, len(answered), 10)
	for _, id := range answered {
		_, err := st.AccountByID(t.Context(), userapi.Scope{All: true}, id)
		assert.NoError(t, err, "%s was answered and is gone", id)
	}
}

func TestNoServer(t *testing.T) {
	config := driver.NewConfig()
	config.Net, config.Addr = "tcp", "127.0.0.1:1"
	st := mysql.New(drivertest.Open(t, config))
	assert.ErrorIs(t, st.Ping(t.Context()), userapi.ErrUnavailable)
	assert.ErrorIs(t, st.InsertCustomer(t.Context(), drivertest.Customer("c")), userapi.ErrUnavailable)
	assert.ErrorIs(t, st.Migrate(t.Context()), userapi.ErrUnavailable)
}

// A caller that goes away while a row is locked by somebody else leaves nothing behind.
func TestCancelledWrite(t *testing.T) {
	config := server.Database(t)
	st := migrated(t, config)
	require.NoError(t, st.InsertCustomer(t.Context(), drivertest.Customer("c")))
	tx, err := drivertest.Open(t, config).Begin()
	require.NoError(t, err)
	defer tx.Rollback()
	_, err = tx.Exec(`SELECT id FROM userapi_customers WHERE id = 'c' FOR UPDATE`)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	err = st.InsertUser(ctx, insert("u"))
	require.ErrorIs(t, err, userapi.ErrUnavailable)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, tx.Rollback())
	require.NoError(t, st.InsertUser(t.Context(), insert("u")))
}

func TestLoginStatements(t *testing.T) {
	c := drivertest.Wrap(t, "mysql", server.Database(t).FormatDSN())
	st := mysql.New(c.Pool(t))
	require.NoError(t, st.Migrate(t.Context()))
	drivertest.LoginStatements(t, st, c, 6)
}

func TestStatementsUseAnIndex(t *testing.T) {
	c := drivertest.Wrap(t, "mysql", server.Database(t).FormatDSN())
	db := c.Pool(t)
	st := mysql.New(db)
	require.NoError(t, st.Migrate(t.Context()))
	analyze := "ANALYZE TABLE userapi_users, userapi_user_roles, userapi_roles, userapi_customers, userapi_sessions, userapi_revocations, userapi_limits, userapi_challenges, userapi_outbox, userapi_memberships, userapi_keys, userapi_grants, userapi_credentials, userapi_events"
	drivertest.Plans(t, st, db, c, analyze, func(s drivertest.Statement) (plan string, faults []string) {
		rows, err := db.Query("EXPLAIN "+s.Query, s.Args...)
		require.NoError(t, err, s.Query)
		defer rows.Close()
		columns, err := rows.Columns()
		require.NoError(t, err)
		for rows.Next() {
			values := make([]sql.NullString, len(columns))
			into := make([]any, len(columns))
			for i := range values {
				into[i] = &values[i]
			}
			require.NoError(t, rows.Scan(into...))
			step := map[string]string{}
			for i, name := range columns {
				step[name] = values[i].String
			}
			plan += fmt.Sprintln(step["table"], step["type"], step["key"], step["rows"], step["Extra"])
			found := strings.HasPrefix(step["table"], "<") // a page that was found already
			if step["type"] == "ALL" && !found || step["type"] == "index" || strings.Contains(step["Extra"], "join buffer") {
				faults = append(faults, drivertest.Scans)
			}
			if strings.Contains(step["Extra"], "filesort") || strings.Contains(step["Extra"], "temporary") {
				faults = append(faults, drivertest.Sorts)
			}
			if strings.Contains(s.Query, "u.id > ?") && step["table"] == "u" && step["type"] == "ref" {
				faults = append(faults, drivertest.Walks)
			}
		}
		return plan, faults
	})
}

// What a transaction of the host deletes in steps it looks for as it is now: its snapshot goes on showing what others have
// deleted since, and the steps would never end.
func TestStepsInATransactionThatLooksAtThePast(t *testing.T) {
	config := server.Database(t)
	st, db := migrated(t, config), drivertest.Open(t, config)
	require.NoError(t, st.InsertCustomer(t.Context(), drivertest.Customer("c")))
	require.NoError(t, st.InsertUser(t.Context(), insert("u")))
	for query, row := range map[string]string{
		`INSERT INTO userapi_memberships (user_id, resource, resource_id, level) VALUES `:                                   `('u#', 'doc', '1', 'reader')`,
		`INSERT INTO userapi_keys (id, user_id, name, name_key, prefix, hash, scopes, active, created_at, version) VALUES `: `('k#', 'u', '', '#', '#', '', '', 1, 0, 1)`,
		`INSERT INTO userapi_users (id, customer_id, email, username, phone, name, first_name, last_name, name_key, active, email_verified,
			phone_verified, password_hash, must_change, epoch, version, login_count, created_at, updated_at, pending_since) VALUES `: `('p#', 'c', '', '', '', '', '', '', '', 0, 0, 0, '', 0, 1, 1, 0, 0, 0, 1)`,
	} {
		rows := make([]string, 600) // more than one step
		for i := range rows {
			rows[i] = strings.ReplaceAll(row, "#", fmt.Sprintf("%03d", i))
		}
		_, err := db.Exec(query + strings.Join(rows, ", "))
		require.NoError(t, err)
	}
	end := func(st userapi.Store, id string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		require.NoError(t, st.EndResource(ctx, userapi.ResourceEnd{Resource: "doc", ResourceID: "1", Event: userapi.Event{ID: "resource " + id}}))
		require.NoError(t, st.EndEverything(ctx, userapi.EverythingEnd{Revoke: userapi.Revocation{Kind: userapi.RevokeAll, Subject: id}, Event: userapi.Event{ID: "everything " + id}}))
		_, err := st.Sweep(ctx, userapi.SweepBefore{Now: time.Now(), Batch: 1000, PendingBefore: time.Now()})
		require.NoError(t, err)
	}
	tx, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	var n int
	require.NoError(t, tx.QueryRow(`SELECT COUNT(*) FROM userapi_memberships`).Scan(&n))
	end(st, "others")
	end(st.WithTx(tx), "host")
	require.NoError(t, tx.Commit())
}

// A key that is made in a session while everything ends is there before the session ends, and becomes inactive, or is not made.
func TestEndEverythingWaitsForTheKeysOfASession(t *testing.T) {
	config := server.Database(t)
	st, db := migrated(t, config), drivertest.Open(t, config)
	require.NoError(t, st.InsertCustomer(t.Context(), drivertest.Customer("c")))
	require.NoError(t, st.InsertUser(t.Context(), insert("u")))
	_, err := st.InsertSession(t.Context(), userapi.SessionInsert{
		Session: userapi.Session{ID: "s", UserID: "u", CreatedAt: time.Now(), Methods: []string{"pwd"}}, IfEpoch: 1, Cap: 1, Event: userapi.Event{ID: "login"},
	})
	require.NoError(t, err)
	tx, err := db.Begin() // InsertKey, halfway
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	_, err = tx.Exec(`UPDATE userapi_sessions SET key_count = key_count + 1 WHERE id = 's'`)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() {
		ended <- st.EndEverything(context.Background(), userapi.EverythingEnd{
			Revoke: userapi.Revocation{Kind: userapi.RevokeAll, Subject: "all"}, Event: userapi.Event{ID: "end"}, // at a moment before the session began
		})
	}()
	require.Eventually(t, func() bool {
		var waiting int
		err := db.QueryRow(`SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'`).Scan(&waiting)
		return err == nil && waiting > 0
	}, 10*time.Second, 250*time.Millisecond) // the table is made anew when nobody has looked for 100 ms
	_, err = tx.Exec(`INSERT INTO userapi_keys (id, user_id, name, name_key, prefix, hash, scopes, active, created_at, version)
		VALUES ('k', 'u', '', '', '', '', '', 1, 0, 1)`)
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	require.NoError(t, <-ended)
	k, err := st.FindKey(t.Context(), userapi.Scope{All: true}, userapi.KeyRef{ID: "k"})
	require.NoError(t, err)
	assert.False(t, k.Key.Active)
}

// What a host's transaction counts is what there is, not what its snapshot shows.
func TestKeyQuotaInATransactionThatLooksAtThePast(t *testing.T) {
	config := server.Database(t)
	st, db := migrated(t, config), drivertest.Open(t, config)
	require.NoError(t, st.InsertCustomer(t.Context(), drivertest.Customer("c")))
	require.NoError(t, st.InsertUser(t.Context(), insert("u")))
	key := func(id string, usable, all int64) userapi.KeyInsert {
		return userapi.KeyInsert{
			Scope: userapi.Scope{All: true}, IfEpoch: 1, Cap: usable, CapAll: all, Event: userapi.Event{ID: "key " + id},
			Key: userapi.StoredKey{APIKey: userapi.APIKey{ID: id, UserID: "u", Prefix: id, Active: true, CreatedAt: time.Now()}, NameKey: id},
		}
	}
	for name, late := range map[string]userapi.KeyInsert{"usable": key("late", 1, 100), "all": key("late", 100, 1)} {
		tx, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
		require.NoError(t, err)
		var n int
		require.NoError(t, tx.QueryRow(`SELECT COUNT(*) FROM userapi_keys`).Scan(&n))
		require.NoError(t, st.InsertKey(t.Context(), key(name, 100, 100)))
		assert.ErrorIs(t, st.WithTx(tx).InsertKey(t.Context(), late), userapi.ErrKeyQuota, name)
		require.NoError(t, tx.Rollback())

		tx, err = db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
		require.NoError(t, err)
		require.NoError(t, tx.QueryRow(`SELECT COUNT(*) FROM userapi_keys`).Scan(&n))
		_, err = db.Exec(`DELETE FROM userapi_keys`)
		require.NoError(t, err)
		gone := userapi.KeyUpdate{Scope: userapi.Scope{All: true}, Key: key(name, 1, 1).Key, IfVersion: 1, Event: userapi.Event{ID: "gone " + name}}
		assert.ErrorIs(t, st.WithTx(tx).ChangeKey(t.Context(), gone), userapi.ErrNotFound, name)
		require.NoError(t, tx.Rollback())
	}
}
