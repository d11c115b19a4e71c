package drivertest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/userapi/userapi"
)

// Engine is one kind of database, for tests with several versions of the program.
type Engine struct {
	Name       string // "sqlite", "mysql", "postgres"
	Migrations fs.FS
	Database   func(t *testing.T) *Connector            // of a fresh database without tables
	New        func(db *sql.DB, migrations fs.FS) Store // the program, with these migrations
	Explain    func(db *sql.DB, s Statement) []string   // what there is against a plan, as for Plans; nil where a statement fails that lacks its index
}

// more are the statements of a later version that adds a column, an index and a table.
var more = map[string]string{
	"sqlite": `ALTER TABLE userapi_users ADD COLUMN extra TEXT NOT NULL DEFAULT '';
CREATE INDEX IF NOT EXISTS userapi_users_by_extra ON userapi_users (customer_id, extra);
CREATE TABLE IF NOT EXISTS userapi_extras (id TEXT NOT NULL PRIMARY KEY, user_id TEXT);
ALTER TABLE userapi_sessions ADD COLUMN extra INTEGER;
`,
	"mysql": `ALTER TABLE userapi_users ADD COLUMN extra VARBINARY(64) NOT NULL DEFAULT '';
CREATE INDEX userapi_users_by_extra ON userapi_users (customer_id, extra);
CREATE TABLE IF NOT EXISTS userapi_extras (id VARBINARY(64) NOT NULL PRIMARY KEY, user_id VARBINARY(64)) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;
ALTER TABLE userapi_sessions ADD COLUMN extra BIGINT;
`,
	"postgres": `ALTER TABLE userapi_users ADD COLUMN IF NOT EXISTS extra TEXT COLLATE "C" NOT NULL DEFAULT '';
CREATE INDEX IF NOT EXISTS userapi_users_by_extra ON userapi_users (customer_id, extra);
CREATE TABLE IF NOT EXISTS userapi_extras (id TEXT COLLATE "C" NOT NULL PRIMARY KEY, user_id TEXT COLLATE "C");
ALTER TABLE userapi_sessions ADD COLUMN IF NOT EXISTS extra BIGINT;
`,
}

// Later are the migrations of a later version, which adds something to every table that logins use.
func (e Engine) Later() fs.FS { return e.with(map[string]string{"9000_more.sql": more[e.Name]}) }

// with adds files to the migrations.
func (e Engine) with(extra map[string]string) fs.FS {
	all := fstest.MapFS{}
	for name, text := range texts(e.Migrations) {
		all[name] = &fstest.MapFile{Data: []byte(text)}
	}
	for name, text := range extra {
		all[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return all
}

// texts are the migration files by their names.
func texts(files fs.FS) map[string]string {
	all := map[string]string{}
	names, err := fs.Glob(files, "*.sql")
	for _, name := range names {
		var text []byte
		if text, err = fs.ReadFile(files, name); err != nil {
			break
		}
		all[name] = string(text)
	}
	if err != nil || len(all) == 0 {
		panic(fmt.Sprint("no migrations: ", err)) // they are embedded
	}
	return all
}

// Upgrades tests Migrate and Drop where another version of the program was at the database, or is.
func Upgrades(t *testing.T, e Engine) {
	const adds, takes = "9000_more.sql", "9001_less_needs_9000.sql"
	adding := map[string]string{adds: more[e.Name]}
	drop := "ALTER TABLE userapi_users DROP COLUMN first_name;\n"
	if e.Name == "postgres" {
		drop = "ALTER TABLE userapi_users DROP COLUMN IF EXISTS first_name;\n"
	}
	taking := map[string]string{adds: more[e.Name], takes: drop}
	begin := func(t *testing.T) (version func(extra map[string]string) Store, db *sql.DB) {
		db = e.Database(t).Pool(t)
		return func(extra map[string]string) Store { return e.New(db, e.with(extra)) }, db
	}
	works := func(t *testing.T, st Store) {
		t.Helper()
		must(t, st.InsertCustomer(t.Context(), Customer("c")))
		must(t, st.InsertUser(t.Context(), userapi.UserInsert{Account: User("u", "c"), Event: event()}))
	}

	t.Run("K08 who does not know what was added goes on, and applies nothing", func(t *testing.T) {
		version, db := begin(t)
		must(t, version(adding).Migrate(t.Context()))
		before := records(t, db)
		must(t, version(nil).Migrate(t.Context()))
		if after := records(t, db); after != before {
			t.Fatalf("records before %s, after %s", before, after)
		}
		works(t, version(nil))
	})

	t.Run("K08 what is taken away needs a program that knows the file in its name", func(t *testing.T) {
		version, _ := begin(t)
		must(t, version(taking).Migrate(t.Context()))
		says(t, version(nil).Migrate(t.Context()), takes)
		says(t, version(nil).Migrate(t.Context()), "only programs that have migration 9000")
		must(t, version(adding).Migrate(t.Context()))
	})

	t.Run("who waits for a newer one learns from what it finds then", func(t *testing.T) {
		version, db := begin(t)
		must(t, version(nil).Migrate(t.Context()))
		run(t, db, `DELETE FROM userapi_migrations WHERE id LIKE '0013%'`)
		run(t, db, fmt.Sprintf(`UPDATE userapi_migration_lease SET owner = 'newer', expires_at = %d`, time.Now().Add(time.Hour).UnixMilli()))
		older := make(chan error, 1)
		go func() { older <- version(nil).Migrate(context.WithoutCancel(t.Context())) }()
		time.Sleep(100 * time.Millisecond) // it waits now, or finds all of this done
		run(t, db, `INSERT INTO userapi_migrations (id, checksum, applied_at) VALUES ('`+takes+`:1', '', 0)`)
		run(t, db, `UPDATE userapi_migration_lease SET expires_at = 0`)
		says(t, <-older, takes)
	})

	t.Run("who is not to change anything does not wait for a newer one that does", func(t *testing.T) {
		version, db := begin(t)
		must(t, version(nil).Migrate(t.Context()))
		run(t, db, `INSERT INTO userapi_migrations (id, checksum, applied_at) VALUES ('`+adds+`:1', '', 0)`)
		run(t, db, fmt.Sprintf(`UPDATE userapi_migration_lease SET owner = 'newer', expires_at = %d`, time.Now().Add(time.Hour).UnixMilli()))
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		must(t, version(nil).Migrate(ctx))
	})

	t.Run("what a newer one left half done disturbs nobody, and is finished by another", func(t *testing.T) {
		version, db := begin(t)
		must(t, version(taking).Migrate(t.Context()))
		want := records(t, db)
		run(t, db, `DELETE FROM userapi_migrations WHERE id >= '9000'`) // all of it died before its record
		must(t, version(nil).Migrate(t.Context()))
		must(t, version(taking).Migrate(t.Context()))
		if n, all := len(records(t, db)), len(want); n < all-4 { // but the times
			t.Fatalf("%d bytes of records, %d before", n, all)
		}
	})

	t.Run("who was overtaken does not go on", func(t *testing.T) {
		version, db := begin(t)
		// While its first step runs its lease ends, and a newer one drops what the second would make.
		slow := version(map[string]string{adds: `INSERT INTO userapi_migrations (id, checksum, applied_at) VALUES ('9002_less_needs_9001.sql:1', '', 0);
CREATE TABLE userapi_extras (id INT);
`})
		says(t, slow.Migrate(t.Context()), "9002_less_needs_9001.sql")
		if _, err := db.Exec(`SELECT 1 FROM userapi_extras`); err == nil {
			t.Fatal("the second step ran")
		}
	})

	t.Run("what is lacked beside what is not known is refused", func(t *testing.T) {
		version, db := begin(t)
		must(t, version(adding).Migrate(t.Context()))
		run(t, db, `DELETE FROM userapi_migrations WHERE id = '0013_credentials.sql:1'`)
		says(t, version(nil).Migrate(t.Context()), "lacks migration 0013_credentials.sql:1 and has 9000_more.sql:1")
		must(t, version(adding).Migrate(t.Context()))
		must(t, version(nil).Migrate(t.Context()))
	})

	t.Run("a changed file is refused beside newer ones too", func(t *testing.T) {
		version, db := begin(t)
		must(t, version(adding).Migrate(t.Context()))
		run(t, db, `UPDATE userapi_migrations SET checksum = 'other' WHERE id = '0003_users.sql:1'`)
		says(t, version(nil).Migrate(t.Context()), "0003_users.sql:1 was changed")
	})

	t.Run("only who knows all tables drops them", func(t *testing.T) {
		version, db := begin(t)
		must(t, version(adding).Migrate(t.Context()))
		works(t, version(nil))
		says(t, version(nil).Drop(t.Context()), adds)
		_, err := version(nil).AccountByID(t.Context(), userapi.Scope{All: true}, "u")
		must(t, err)
		must(t, version(adding).Drop(t.Context()))
		if _, err := db.Exec(`SELECT 1 FROM userapi_users`); err == nil {
			t.Fatal("the table is there still")
		}
	})
}

// rounds is how often each caller goes round before a newer version migrates, and after it.
const rounds = 10

// TwoVersions tests that callers of one version notice nothing of another that migrates their database.
func TwoVersions(t *testing.T, e Engine) {
	ctx := t.Context()
	c := e.Database(t)
	pool, other := c.Pool(t), c.Pool(t)
	older, newer := e.New(pool, e.Migrations), e.New(other, e.Later())
	must(t, older.Migrate(ctx))
	api := versionAPI(t, older)
	_, err := api.Bootstrap(ctx, userapi.Bootstrap{Username: "admin", Password: versionPassword})
	must(t, err)

	const callers = 4
	var (
		turns [callers]atomic.Int64
		ended atomic.Bool // callers go on until they are told
		wg    sync.WaitGroup
		fates [callers]map[string]userapi.Tokens // who was not deleted; without tokens, who was
		errs  [callers]error
	)
	wait := func(n int64) {
		t.Helper()
		for i := range turns {
			for turns[i].Load() < n && t.Context().Err() == nil {
				time.Sleep(time.Millisecond)
			}
		}
	}
	for i := range callers {
		fates[i] = map[string]userapi.Tokens{}
		wg.Go(func() {
			for !ended.Load() {
				// Who is disturbed once says so in the end, and goes on so that nobody waits.
				errs[i] = errors.Join(errs[i], oneRound(ctx, api, fmt.Sprintf("user-%d-%d", i, turns[i].Load()), fates[i]))
				turns[i].Add(1)
			}
		})
	}
	wait(rounds)
	failed := newer.Migrate(ctx)
	most := int64(0)
	for i := range turns {
		most = max(most, turns[i].Load())
	}
	wait(most + rounds)
	ended.Store(true)
	wg.Wait()
	must(t, failed)
	must(t, errors.Join(errs[:]...))

	// Whoever was there is there, for both versions, and whoever was deleted is not.
	must(t, older.Migrate(ctx))
	for _, api := range []*userapi.API{api, versionAPI(t, newer), versionAPI(t, e.New(c.Pool(t), e.Migrations))} {
		for _, fate := range fates {
			for name, tokens := range fate {
				_, err := api.Users.ByUsername(ctx, userapi.System(), name)
				if tokens.IsZero() {
					if !errors.Is(err, userapi.ErrNotFound) {
						t.Fatalf("%s was deleted: %v", name, err)
					}
					continue
				}
				must(t, err)
				_, err = api.Auth.Authenticate(ctx, string(tokens.Access))
				must(t, err)
			}
		}
	}
}

const versionPassword userapi.Secret = "seven green bottles"

func versionAPI(t *testing.T, st Store) *userapi.API {
	t.Helper()
	api, err := userapi.New(userapi.Config{
		Store: st, Secret: "a secret of more than thirty-two bytes, made for tests", Limits: userapi.Limits{},
		Password: userapi.PasswordPolicy{Argon2id: userapi.Argon2id{MemoryKiB: 64, Passes: 1, Threads: 1}},
	})
	must(t, err)
	return api
}

// oneRound registers a user, logs in, refreshes and lists; every other user is deleted.
func oneRound(ctx context.Context, api *userapi.API, name string, fates map[string]userapi.Tokens) error {
	u, err := api.Users.Create(ctx, userapi.System(), userapi.NewUser{Username: name, Password: versionPassword, Active: true, CustomerID: "default"})
	if err != nil {
		return err
	}
	caller := userapi.Anonymous().From("192.0.2.1", "test")
	_, tokens, err := api.Auth.Login(ctx, caller, userapi.LoginRequest{Identifier: name, Password: versionPassword})
	if err != nil {
		return err
	}
	id, err := api.Auth.Authenticate(ctx, string(tokens.Access))
	if err != nil {
		return err
	}
	if _, err = api.Sessions.List(ctx, id.Actor(), u.ID); err != nil {
		return err
	}
	if _, err = api.Users.List(ctx, userapi.System(), userapi.UserQuery{}); err != nil {
		return err
	}
	if tokens, err = api.Auth.Refresh(ctx, caller, tokens.Refresh); err != nil {
		return err
	}
	if len(fates)%2 == 0 {
		fates[name] = tokens
		return nil
	}
	fates[name] = userapi.Tokens{}
	return api.Users.Delete(ctx, userapi.System(), u.ID)
}

// LocksInTheWay tests that Migrate tries again where the server ends its wait for a lock, so that callers do not queue behind it. impatient is
// a pool whose waits end within wait.
func LocksInTheWay(t *testing.T, e Engine, c *Connector, impatient *sql.DB, wait time.Duration) {
	db := c.Pool(t)
	must(t, e.New(db, e.Migrations).Migrate(t.Context()))
	tx, err := db.BeginTx(t.Context(), nil)
	must(t, err)
	defer func() { _ = tx.Rollback() }()
	var n int
	must(t, tx.QueryRow(`SELECT COUNT(*) FROM userapi_users`).Scan(&n)) // the table is locked against ALTER now
	done := make(chan error, 1)
	go func() { done <- e.New(impatient, e.Later()).Migrate(t.Context()) }()
	select {
	case err := <-done:
		t.Fatalf("Migrate ended before the transaction: %v", err)
	case <-time.After(2 * wait):
	}
	must(t, tx.Rollback())
	must(t, <-done)
}
