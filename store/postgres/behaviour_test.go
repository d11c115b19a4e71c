package postgres_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/internal/drivertest"
	"github.com/userapi/userapi/store/postgres"
)

func freshDatabase(t *testing.T) drivertest.Handle {
	url := server.Database(t)
	return func() (drivertest.Store, *sql.DB) {
		db := open(t, url)
		return postgres.New(db), db
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
func TestSettings(t *testing.T) {
	url := server.Database(t)
	settings := map[string]string{
		"plain":                 "",
		"for PgBouncer":         "&default_query_exec_mode=exec",
		"the simple protocol":   "&default_query_exec_mode=simple_protocol",
		"describing first":      "&default_query_exec_mode=describe_exec",
		"a time zone":           "&timezone=America/Los_Angeles",
		"serializable":          "&default_transaction_isolation=serializable",
		"repeatable read":       "&default_transaction_isolation=repeatable%20read",
		"the old way of quotes": "&backslash_quote=on&bytea_output=escape",
	}
	stores := map[string]*postgres.Store{}
	for name, set := range settings {
		stores[name] = migrated(t, open(t, url+set))
	}
	require.NoError(t, stores["plain"].InsertCustomer(t.Context(), drivertest.Customer("c")))
	for name, st := range stores {
		w := insert("ÄÖ\\'\"%_?$1 " + name)
		w.Outgoing.Messages = []userapi.SealedMessage{{ID: "m " + name, Sealed: []byte{0, 0xff, '\\', '\''}, ExpiresAt: time.Now().Add(time.Hour)}}
		require.NoError(t, st.InsertUser(t.Context(), w), name)
		leased, err := st.LeaseMessages(t.Context(), 1, time.Hour)
		require.NoError(t, err, name)
		require.Len(t, leased, 1)
		assert.Equal(t, w.Outgoing.Messages[0].Sealed, leased[0].Sealed, name)
		w.Account.EmailKey, w.Event.ID, w.Outgoing = "x", "another event of "+name, userapi.Outgoing{}
		assert.ErrorIs(t, st.InsertUser(t.Context(), w), userapi.ErrIDTaken, name)
		w.Account.ID += "2"
		assert.ErrorIs(t, st.InsertUser(t.Context(), w), userapi.ErrUsernameTaken, name)
		for reader, other := range stores {
			a, err := other.AccountByID(t.Context(), userapi.Scope{Customer: "c"}, insert("ÄÖ\\'\"%_?$1 "+name).Account.ID)
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

func TestAnotherEncodingIsRefused(t *testing.T) {
	db := open(t, server.Database(t))
	name := fmt.Sprint("userapi_test_latin1_", time.Now().UnixNano())
	_, err := db.Exec("CREATE DATABASE " + name + " TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = db.ExecContext(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)") })
	assert.ErrorContains(t, postgres.New(open(t, server.URL(name))).Migrate(t.Context()), "LATIN1")
}

// An index takes rows of 2,700 bytes: what is longer, and cannot be compressed, is refused as a name is.
func TestNameThatNoIndexTakes(t *testing.T) {
	st := migrated(t, open(t, server.Database(t)))
	require.NoError(t, st.InsertCustomer(t.Context(), drivertest.Customer("c")))
	w := insert("u")
	var name strings.Builder
	for i := 0; name.Len() < 2550; i++ {
		name.WriteRune(rune(0x10000 + i*7919%0x8000))
	}
	w.Account.NameKey, w.Account.EmailKey = name.String(), strings.Repeat("e", 200)+"@example.com"
	w.Account.ID = strings.Repeat("i", 64)
	err := st.InsertUser(t.Context(), w)
	require.ErrorIs(t, err, userapi.ErrInvalid)
	assert.Contains(t, userapi.AsError(err).Fields, "name")
}

// Nothing takes a second connection while it holds one.
func TestOneConnection(t *testing.T) {
	db := open(t, server.Database(t))
	db.SetMaxOpenConns(1)
	st := postgres.New(db)
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
	c := drivertest.Wrap(t, "pgx", server.Database(t))
	db := c.Pool(t)
	return postgres.New(db), db, c
}

func TestLostCommits(t *testing.T) { drivertest.LostCommits(t, breakable) }

func TestLostCommitsOfChallenges(t *testing.T) { drivertest.LostCommitsOfChallenges(t, breakable) }

// Where the network is gone nobody tells the server: what it waits to hear of ends by itself, early enough to be repeated.
func TestTransactionThatNobodyEnds(t *testing.T) {
	c := drivertest.Wrap(t, "pgx", server.Database(t))
	st := migrated(t, c.Pool(t))
	require.NoError(t, st.InsertCustomer(t.Context(), drivertest.Customer("c")))
	c.Break(drivertest.SilentCommit)
	require.NoError(t, st.InsertUser(t.Context(), insert("u")))
	assert.True(t, c.Broke())
}

// An event's id that is used twice is a defect of the caller, never taken for success.
func TestEventTwice(t *testing.T) {
	st := migrated(t, open(t, server.Database(t)))
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
	own, err := drivertest.PrivatePostgres()
	require.NoError(t, err)
	t.Cleanup(own.Stop)
	st := migrated(t, open(t, own.Database(t)))
	require.NoError(t, st.InsertCustomer(t.Context(), drivertest.Customer("c")))
	require.NoError(t, st.InsertUser(t.Context(), insert("before")))

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
	time.Sleep(500 * time.Millisecond)
	require.NoError(t, own.Kill())
	_, err = st.AccountByID(t.Context(), userapi.Scope{All: true}, "before")
	assert.ErrorIs(t, err, userapi.ErrUnavailable)
	assert.ErrorIs(t, st.Ping(t.Context()), userapi.ErrUnavailable)
	assert.ErrorIs(t, st.RotateSession(t.Context(), userapi.SessionRotation{ID: "s"}), userapi.ErrUnavailable)

	require.NoError(t, own.Start())
	require.NoError(t, st.Ping(t.Context()))
	require.NoError(t, st.InsertUser(t.Context(), insert("after")))
	close(stop)
	wg.Wait()
	require.Greater(t, len(answered), 5)
	for _, id := range answered {
		_, err := st.AccountByID(t.Context(), userapi.Scope{All: true}, id)
		assert.NoError(t, err, "%s was answered and is gone", id)
	}
}

// Connections that are ended behind the pool's back, and servers that are not there or are full, are no defects.
func TestConnectionsAreEnded(t *testing.T) {
	url := server.Database(t)
	st, other := migrated(t, open(t, url)), open(t, url)
	require.NoError(t, st.InsertCustomer(t.Context(), drivertest.Customer("c")))
	for i := range 5 {
		_, err := other.Exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
		require.NoError(t, err)
		require.NoError(t, st.InsertUser(t.Context(), insert(fmt.Sprint(i))))
	}
	nobody := postgres.New(open(t, "postgres://x@127.0.0.1:1/x?sslmode=disable"))
	assert.ErrorIs(t, nobody.Ping(t.Context()), userapi.ErrUnavailable)
	assert.ErrorIs(t, nobody.InsertCustomer(t.Context(), drivertest.Customer("d")), userapi.ErrUnavailable)
	assert.ErrorIs(t, nobody.Migrate(t.Context()), userapi.ErrUnavailable)
	readOnly := postgres.New(open(t, url+"&default_transaction_read_only=on"))
	assert.ErrorIs(t, readOnly.InsertCustomer(t.Context(), drivertest.Customer("d")), userapi.ErrUnavailable)
}

// A caller that goes away while a row is locked by somebody else leaves nothing behind.
func TestCancelledWrite(t *testing.T) {
	url := server.Database(t)
	st := migrated(t, open(t, url))
	require.NoError(t, st.InsertCustomer(t.Context(), drivertest.Customer("c")))
	tx, err := open(t, url).Begin()
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

// A login counts the sessions in a statement of their own, once it has the account's row.
func TestLoginStatements(t *testing.T) {
	c := drivertest.Wrap(t, "pgx", server.Database(t))
	drivertest.LoginStatements(t, migrated(t, c.Pool(t)), c, 7)
}

// What a host's transaction counts is what there is, or it fails and is to be repeated: its snapshot alone decides nothing.
func TestGuardsInATransactionThatLooksAtThePast(t *testing.T) {
	url := server.Database(t)
	db := open(t, url)
	st := migrated(t, db)
	full := drivertest.Customer("full")
	full.Customer.Quota = 1
	require.NoError(t, st.InsertCustomer(t.Context(), full))
	tx, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	require.NoError(t, err)
	defer tx.Rollback()
	bound := st.WithTx(tx)
	_, err = bound.CustomerByID(t.Context(), "full")
	require.NoError(t, err)
	require.NoError(t, st.InsertUser(t.Context(), userapi.UserInsert{Account: drivertest.User("first", "full"), Event: userapi.Event{ID: "1"}}))
	err = bound.InsertUser(t.Context(), userapi.UserInsert{Account: drivertest.User("second", "full"), Event: userapi.Event{ID: "2"}})
	require.ErrorIs(t, err, userapi.ErrUnavailable)
}

// What a challenge is consumed for and cannot be has to be told in order, in an own transaction and in one of the host's.
func TestWhoseChallengeIsGoneDoesNotLearnWhatIsTaken(t *testing.T) {
	db := open(t, server.Database(t))
	st := migrated(t, db)
	require.NoError(t, st.InsertCustomer(t.Context(), drivertest.Customer("c")))
	require.NoError(t, st.InsertUser(t.Context(), insert("holder")))
	require.NoError(t, st.InsertUser(t.Context(), insert("u")))
	a := drivertest.User("u", "c")
	a.UsernameKey = "holder"
	change := userapi.UserUpdate{Scope: userapi.Scope{All: true}, Account: a, IfVersion: 1, CustomerBefore: "c", Consumes: "none", Event: userapi.Event{ID: "change"}}
	assert.ErrorIs(t, st.ChangeUser(t.Context(), change), userapi.ErrInvalidCode)
	tx, err := db.Begin()
	require.NoError(t, err)
	defer tx.Rollback()
	assert.ErrorIs(t, st.WithTx(tx).ChangeUser(t.Context(), change), userapi.ErrInvalidCode)
}

// Of tables as small as these PostgreSQL rather reads all rows and sorts them: told not to, it does so only where no index serves.
func TestStatementsUseAnIndex(t *testing.T) {
	c := drivertest.Wrap(t, "pgx", server.Database(t))
	db := c.Pool(t)
	drivertest.Plans(t, migrated(t, db), db, c, "VACUUM ANALYZE", func(s drivertest.Statement) (plan string, faults []string) {
		plan, faults, err := explain(db, s)
		require.NoError(t, err, s.Query)
		return plan, faults
	})
}

func explain(db *sql.DB, s drivertest.Statement) (plan string, faults []string, err error) {
	tx, err := db.Begin()
	if err != nil {
		return "", nil, err
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.Exec("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off"); err != nil {
		return "", nil, err
	}
	var text string
	if err := tx.QueryRow("EXPLAIN (FORMAT JSON) "+s.Query, s.Args...).Scan(&text); err != nil {
		return "", nil, err
	}
	var top []struct{ Plan step }
	if err := json.Unmarshal([]byte(text), &top); err != nil {
		return "", nil, err
	}
	plan, faults = top[0].Plan.faults(strings.Contains(s.Query, "u.id > $"))
	return plan, faults, nil
}

// step is a node of a plan.
type step struct {
	Type   string `json:"Node Type"`
	Table  string `json:"Relation Name"`
	Alias  string
	Index  string  `json:"Index Name"`
	Cond   string  `json:"Index Cond"`
	Filter string  `json:"Filter"`
	Rows   float64 `json:"Plan Rows"`
	Plans  []step
}

func (s step) faults(pages bool) (plan string, faults []string) {
	plan = fmt.Sprintln(s.Type, s.Table, s.Alias, s.Index, s.Cond, "| filter", s.Filter, s.Rows)
	whole := s.Type == "Seq Scan" || strings.Contains(s.Type, "Index") && s.Cond == "" && s.Type != "BitmapAnd" && s.Type != "BitmapOr"
	switch {
	case whole && s.Table != "userapi_roles": // which are few: by id or by code takes a bitmap
		faults = append(faults, drivertest.Scans)
	case s.Type == "Sort":
		faults = append(faults, drivertest.Sorts)
	case pages && s.Index == "userapi_users_by_customer" && !strings.Contains(s.Cond, "id >"):
		faults = append(faults, drivertest.Walks)
	}
	for _, below := range s.Plans {
		text, more := below.faults(pages)
		plan, faults = plan+"  "+strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n  ")+"\n", append(faults, more...)
	}
	return plan, faults
}

// A key that is made in a session while everything ends is there before the session ends, and becomes inactive, or is not made.
func TestEndEverythingWaitsForTheKeysOfASession(t *testing.T) {
	db := open(t, server.Database(t))
	st := migrated(t, db)
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
		err := db.QueryRow(`SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waiting)
		return err == nil && waiting > 0
	}, 10*time.Second, 50*time.Millisecond)
	_, err = tx.Exec(`INSERT INTO userapi_keys (id, user_id, name, name_key, prefix, hash, scopes, active, created_at, version)
		VALUES ('k', 'u', '', '', '', '', '', 1, 0, 1)`)
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	require.NoError(t, <-ended)
	k, err := st.FindKey(t.Context(), userapi.Scope{All: true}, userapi.KeyRef{ID: "k"})
	require.NoError(t, err)
	assert.False(t, k.Key.Active)
	_, err = st.SessionByID(t.Context(), "s")
	assert.ErrorIs(t, err, userapi.ErrNotFound)
}
