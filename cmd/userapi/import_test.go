package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/userapi/userapi"
)

func jsonl(t *testing.T, p place, name string, lines ...string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, name), []byte(strings.Join(lines, "\n")), 0o600))
}

func TestImportLines(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "NAME_OF_SOMETHING=canary-environment")
	p.ok(t, "", "init")
	hash, _ := vector(t, "bcrypt", horse)
	jsonl(t, p, "users.jsonl",
		`{"id":"9007199254740993","email":"Ada@Example.com","username":"Ada L.","phone":"+49 30 901820","name":"Ada","first_name":"A","last_name":"L","active":true,`+
			`"roles":["editor","admin"],"customer":"default","password_hash":"`+hash+`","created_at":"2001-02-03T04:05:06.789+01:00","last_login":"2024-01-01T00:00:00Z","email_verified":true,"must_change_password":true}`,
		``,
		"\t{\"email\":\"only@example.com\",\"active\":false}\r",
		`{"username":"env:NAME_OF_SOMETHING","active":true,"roles":[]}`,
		`{"id":"1","email":"ada@example.com","active":true}`,
		`{"id":"2","username":"`+strings.Repeat("é", 129)+`","active":true}`,
		`{"id":"3","username":"three","name":"`+strings.Repeat("n", 256)+`","active":true}`,
		`{"id":"a/b","username":"four","active":true}`,
		`{"id":"current","username":"five","active":true}`,
		`{"id":"6","username":"six"}`,
		`{"id":"7","username":"seven","active":true,"password":"canary"}`,
		`{"id":"8","username":"eight","active":true,"username":"eight"}`,
		`{"id":"9","username":"nine","active":true,"Name":"nine"}`,
		`{"id":"10","username":null,"active":true}`,
		`{"id":"11","username":"eleven","active":"true"}`,
		`{"id":"12","username":"twelve","active":true} {}`,
		`{"id":"13","username":"thir`,
		"{\"id\":\"14\",\"username\":\"\xff\",\"active\":true}",
		`{"id":"15","username":"fifteen","active":true,"customer":"nowhere"}`,
		`{"id":"16","username":"sixteen","active":true,"created_at":"yesterday"}`,
		`{"id":"17","username":"seventeen","active":true,"created_at":"1969-01-01T00:00:00Z"}`,
		`{"phone":"+4930901820","active":true}`,
		`{"id":"19","username":"nineteen","active":true,"roles":["No Code"]}`,
		`{"id":"20","username":"twenty","name":"`+strings.Repeat("x", 1<<20)+`","active":true}`,
		`[]`,
		`{"id":"\u001b[2J","username":"esc","active":true,"\u001b[2J":1}`,
		`{"id":"27","username":"plain","active":true,"password_hash":"canary"}`,
		`{"id":"28","phone":"+4930901820","active":true}`,
	)
	args := []string{"import", "--from", "jsonl", "--source", "users.jsonl"}
	dry := p.ok(t, "", append(args, "--dry-run")...)
	assert.Empty(t, p.exported(t))
	out := p.ok(t, "", args...)
	assert.Contains(t, out, counted("27", "5", "0", "22", "4"))
	assert.Equal(t, strings.Replace(dry, "note: this was a dry run, nothing was written\n", "", 1), out)
	for _, says := range []string{
		"conflict: line 5: This e-mail address is in use.", "conflict: line 6: Some fields are wrong. username: at most 128 characters",
		"conflict: line 7: Some fields are wrong. name: at most 255 characters", "conflict: line 8: Some fields are wrong. id: ", "conflict: line 9: Some fields are wrong. id: ",
		"conflict: line 10: active is required", "conflict: line 11: there is no key password", "conflict: line 12: username is there twice",
		"conflict: line 13: there is no key Name", "conflict: line 14: username has to be a text", "conflict: line 15: active has to be true or false",
		"conflict: line 16: there is something behind its end", "conflict: line 17: is no JSON", "conflict: line 18: is no valid UTF-8",
		"conflict: line 19: Some fields are wrong. customer: no such customer", "conflict: line 20: created_at has to be a time",
		"conflict: line 21: Some fields are wrong. created_at: 1970 to 9999", "conflict: line 22: one of id, email and username is required",
		"conflict: line 23: Some fields are wrong. roles: unknown role", "conflict: line 24: the line is longer than 1 MiB", "conflict: line 25: it has to be an object",
		"conflict: line 26: there is no key \uFFFD[2J", "note: line 27: its password is left out",
	} {
		assert.Contains(t, out, says)
	}
	users := p.exported(t, "--with-hashes")
	yes := true
	assert.Equal(t, userLine{ID: "9007199254740993", Email: "Ada@Example.com", Username: "Ada L.", Phone: "+4930901820", Name: "Ada", FirstName: "A", LastName: "L", Active: &yes,
		Roles: []string{"admin", "editor"}, Customer: "default", PasswordHash: hash, CreatedAt: "2001-02-03T03:05:06.789Z", LastLogin: "2024-01-01T00:00:00Z", EmailVerified: true, MustChange: true},
		users["9007199254740993"])
	assert.Contains(t, p.ok(t, "", "user", "list"), "env:NAME_OF_SOMETHING", "a text is what it says")
	assert.Empty(t, users["27"].PasswordHash)
	p.importedTwice(t, "27", "5", "22", args...)

	// What export prints goes in elsewhere, through standard input.
	all := p.ok(t, "", "export", "--with-hashes")
	other := newPlace(t)
	other.ok(t, "", "init")
	assert.Contains(t, other.ok(t, all+"\n", "import", "--from", "jsonl", "--source", "-"), counted("5", "5", "0", "0", "4"))
	assert.Equal(t, all, other.ok(t, "", "export", "--with-hashes"))
	s := other.serve(t)
	s.login("Ada L.", horse)
}

func TestExport(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.ok(t, "", "init")
	id := p.ok(t, canary+"\n", "user", "add", "--email", "ada@example.com", "--name", "<Ada>", "--role", "admin")
	p.ok(t, "", "user", "add", "--username", "bob", "--no-password")
	one := p.ok(t, "", "export", "--user", id)
	assert.Regexp(t, `^{"id":"`+id+`","email":"ada@example.com","name":"<Ada>","active":true,"roles":\["admin"\],"customer":"default","created_at":"[0-9TZ:.-]+"}$`, one)
	assert.Len(t, p.exported(t), 2)
	assert.NotContains(t, p.ok(t, "", "export"), "argon2")
	assert.Contains(t, p.exported(t, "--with-hashes")[id].PasswordHash, "$argon2id$")
	other := newPlace(t)
	other.ok(t, "", "init")
	assert.Contains(t, other.ok(t, p.ok(t, "", "export", "--with-hashes"), "import", "--from", "jsonl", "--source", "-"), counted("2", "2", "0", "0", "1"))
	other.serve(t).login("ada@example.com", canary)
	code, out, stderr := p.run(t, "", "export", "--user", "nobody")
	assert.Equal(t, 1, code, stderr)
	assert.Empty(t, out)
	code, _, _ = p.run(t, "", "export", "--user", id, "--with-hashes")
	assert.Equal(t, 2, code)
}

// Who registered and never proved the mailbox is in nobody's way, and in no export.
func TestImportAndExportOfRegistrationsThatWereNeverActivated(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := p.serve(t, "--registration", "verify")
	for _, body := range []map[string]string{{"email": "victim@example.com"}, {"email": "other@example.com", "username": "victim"}} {
		body["password"] = canary + "-of-somebody-else"
		status, _ := s.call("POST", "/api/users", "", body)
		require.Equal(t, 202, status)
	}
	s.stop()
	assert.Len(t, p.exported(t), 1, "the admin")
	// Nobody is erased for a user who cannot be stored.
	p.ok(t, "", "user", "add", "--username", "real", "--no-password")
	assert.Contains(t, p.ok(t, `{"id":"1","email":"victim@example.com","username":"real","active":true}`, "import", "--from", "jsonl", "--source", "-"),
		"conflict: line 1: This username is in use.")
	assert.Contains(t, p.ok(t, "", "user", "list"), "victim@example.com")
	jsonl(t, p, "users.jsonl", `{"id":"1","email":"victim@example.com","username":"victim","active":true}`)
	args := []string{"import", "--from", "jsonl", "--source", "users.jsonl"}
	assert.Contains(t, p.ok(t, "", append(args, "--dry-run")...), counted("1", "1", "0", "0", "1"))
	assert.Len(t, p.exported(t), 2)
	assert.Contains(t, p.ok(t, "", args...), counted("1", "1", "0", "0", "1"))
	assert.Equal(t, "victim", p.exported(t)["1"].Username)
}

func TestImportOfAnIDThatIsAnothers(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.ok(t, "", "init")
	args := []string{"import", "--from", "jsonl", "--source", "-"}
	p.ok(t, `{"id":"1","email":"one@example.com","active":true}`, args...)
	out := p.ok(t, `{"id":"1","email":"two@example.com","active":true}`+"\n"+`{"id":"1","email":"ONE@example.com","active":false}`, args...)
	assert.Contains(t, out, "conflict: line 1: This id is in use.")
	assert.Contains(t, out, counted("2", "0", "1", "1", "0"))
	assert.True(t, *p.exported(t)["1"].Active, "what is there is never changed")

	// With a prefix it is another id. The customer of a line is one that is here.
	p.ok(t, `{"id":"1","email":"two@example.com","active":true,"customer":"default"}`, append(args, "--id-prefix", "x-")...)
	assert.Equal(t, "default", p.exported(t)["x-1"].Customer)
}

func TestImportRefuses(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	jsonl(t, p, "one.jsonl", `{"id":"1","username":"one","active":true}`)
	jsonl(t, p, "no.db", "this is no database, but long enough to be looked at as if it were one")
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"import", 2, "--from"},
		{"import --from jsonl", 2, "--source"},
		{"import --from nonsense --source one.jsonl", 2, "--from"},
		{"import --from jsonl --source sqlite:one.jsonl", 2, "FILE"},
		{"import --from affo --source one.jsonl", 2, "sqlite:PATH"},
		{"import --from affo --source sqlite:", 2, "sqlite:PATH"},
		{"import --from affo --source oracle:x", 2, "sqlite:PATH"},
		{"import --from affo --source mysql:canary:canary@nonsense", 2, "DSN"},
		{"import --from affo --source postgres:canary=canary", 2, "postgres://"},
		{"import --from jsonl --source one.jsonl --id-prefix a/b", 2, "--id-prefix"},
		{"import --from jsonl --source one.jsonl --db nonsense", 2, "--db"},
		{"import --from jsonl --source one.jsonl --nonsense", 2, "--nonsense"},
		{"import --from jsonl --source one.jsonl", 1, "init makes one"},
		{"import --from jsonl --source none.jsonl", 1, "none.jsonl"},
		{"import --from knlambert --source sqlite:none.db", 1, "there is no source none.db"},
		{"import --from affo --source mysql:root@tcp(127.0.0.1:1)/none", 1, "cannot reach the source"},
		{"import --from affo --source postgres://nobody@127.0.0.1:1/none", 1, "cannot reach the source"},
		{"export", 1, "init makes one"},
	} {
		code, _, stderr := p.run(t, "", strings.Fields(c.args)...)
		assert.Equal(t, c.code, code, "%s: %s", c.args, stderr)
		assert.Contains(t, stderr, c.says, c.args)
	}
	made, err := filepath.Glob(filepath.Join(p.dir, "*"))
	require.NoError(t, err)
	assert.Len(t, made, 2, "no file is made: %v", made)

	// Nothing is made of an empty file either, where nothing may be written.
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "userapi.db"), nil, 0o600))
	code, _, stderr := p.run(t, "", "import", "--from", "jsonl", "--source", "one.jsonl", "--dry-run")
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "init makes them")
	p.ok(t, "", "init")
	for _, c := range []struct{ args, says string }{
		{"--from jsonl --source one.jsonl --customer nowhere", `there is no customer "nowhere"`},
		{"--from knlambert --source sqlite:no.db", "cannot"},
		{"--from knlambert --source sqlite:userapi.db", "cannot read the source"},
	} {
		code, _, stderr := p.run(t, "", append([]string{"import"}, strings.Fields(c.args)...)...)
		assert.Equal(t, 1, code, c.args)
		assert.Contains(t, stderr, c.says)
	}
	assert.Empty(t, p.exported(t))
}

// manyLines are n users in a file. Some are refused, some hold roles.
func manyLines(t *testing.T, p place, n int) {
	t.Helper()
	lines := make([]string, n)
	for i := range lines {
		email := i
		if i%1000 == 999 {
			email = i - 1
		}
		lines[i] = fmt.Sprintf(`{"id":"u%07d","email":"u%d@example.com","name":"User %d","active":true,"roles":["r%d"],"created_at":"2020-01-01T00:00:00Z"}`, i, email, i, i%7)
	}
	jsonl(t, p, "users.jsonl", lines...)
}

// Killed in the middle and run again, everything is as it is after one run that nobody disturbed.
func TestImportIsKilledAndGoesOn(t *testing.T) {
	t.Parallel()
	const n = 3000
	args := []string{"import", "--from", "jsonl", "--source", "users.jsonl"}
	undisturbed := newPlace(t)
	manyLines(t, undisturbed, n)
	undisturbed.ok(t, "", "init")
	assert.Contains(t, undisturbed.ok(t, "", args...), counted("3000", "2997", "0", "3", "2997"))

	p := newPlace(t)
	manyLines(t, p, n)
	p.ok(t, "", "init")
	kills := 0
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGKILL, syscall.SIGINT, syscall.SIGKILL} {
		before := countUsers(t, p)
		if before > n-1000 {
			break // what is left is for the end
		}
		cmd := p.command(context.Background(), args...)
		out := new(output)
		cmd.Stdout = out
		require.NoError(t, cmd.Start())
		for end := time.Now().Add(30 * time.Second); countUsers(t, p) < before+500 && time.Now().Before(end); {
			time.Sleep(20 * time.Millisecond)
		}
		require.NoError(t, cmd.Process.Signal(signal))
		_ = cmd.Wait()
		if cmd.ProcessState.ExitCode() != 0 {
			kills++
		}
		if signal == syscall.SIGINT && cmd.ProcessState.ExitCode() != 0 {
			assert.Equal(t, 1, cmd.ProcessState.ExitCode(), "it ends behind a batch, and says what it did")
			assert.Contains(t, out.String(), "read: ")
		}
	}
	require.Positive(t, kills, "nothing was interrupted")
	out := p.ok(t, "", args...)
	assert.Contains(t, out, "read: 3000\n")
	assert.Contains(t, out, "conflicts: 3\n")
	assert.Equal(t, digest(undisturbed.ok(t, "", "export", "--with-hashes")), digest(p.ok(t, "", "export", "--with-hashes")))
	roles := undisturbed.ok(t, "", "role", "list")
	assert.Len(t, strings.Split(p.ok(t, "", "role", "list"), "\n"), len(strings.Split(roles, "\n")))
	db, err := openOtherFile(filepath.Join(p.dir, "userapi.db"))
	require.NoError(t, err)
	defer db.Close()
	var events int
	require.NoError(t, db.QueryRow(`SELECT COUNT(*) FROM userapi_events WHERE kind = 'user.created'`).Scan(&events))
	assert.Equal(t, 2997, events, "each was created once")
}

func countUsers(t *testing.T, p place) (n int) {
	t.Helper()
	db, err := openOtherFile(filepath.Join(p.dir, "userapi.db"))
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, db.QueryRow(`SELECT COUNT(*) FROM userapi_users`).Scan(&n))
	return n
}

func digest(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

// Two imports of the same users at once, into MariaDB, while one customer's row is what all of them change.
func TestTwoImportsAtOnce(t *testing.T) {
	t.Parallel()
	target, _ := engines["mariadb"].open(t)
	p := newPlace(t, "USERAPI_DB="+target)
	manyLines(t, p, 1500)
	p.ok(t, "", "init")
	outs := make(chan string, 2)
	for range cap(outs) {
		go func() {
			_, out, stderr := p.run(t, "", "import", "--from", "jsonl", "--source", "users.jsonl")
			outs <- out + stderr
		}()
	}
	created := 0
	for range cap(outs) {
		var read, c, skipped int
		out := <-outs
		_, counts, _ := strings.Cut(out, "read: ")
		_, err := fmt.Sscanf("read: "+counts, "read: %d\ncreated: %d\nskipped: %d", &read, &c, &skipped)
		require.NoError(t, err, out)
		assert.Equal(t, 1500, read)
		assert.Equal(t, 1499, c+skipped)
		created += c
	}
	assert.Equal(t, 1499, created)
	assert.Len(t, p.exported(t), 1499)
}

// A batch that the database breaks off is done again from its beginning, with the roles that were gone with it; any other
// failure ends the import.
func TestBatchThatIsBrokenOffIsDoneAgain(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	d, err := Database{DB: "sqlite:" + filepath.Join(t.TempDir(), "userapi.db")}.open(ctx, slog.New(slog.DiscardHandler), true)
	require.NoError(t, err)
	defer d.pool.Close()
	require.NoError(t, d.migrate(ctx))
	api, err := d.api()
	require.NoError(t, err)
	_, err = api.Bootstrap(ctx, userapi.Bootstrap{})
	require.NoError(t, err)
	in := &incoming{d: d, api: api, roles: map[string]bool{}}
	user := newcomer{at: "1", user: userapi.NewUser{ID: "1", Username: "one", CustomerID: "default", Roles: roleRefs([]string{"editor"})}}
	tries := 0
	require.NoError(t, in.transaction(ctx, func() error {
		o, err := in.one(ctx, user)
		require.NoError(t, err)
		require.True(t, o.created)
		if tries++; tries < 3 {
			return userapi.ErrUnavailable
		}
		return nil
	}))
	assert.Equal(t, 3, tries)
	u, err := api.Users.ByID(ctx, userapi.System(), "1")
	require.NoError(t, err)
	assert.True(t, u.HasRole("editor"))

	user.user.ID, user.user.Username = "2", "two"
	err = in.transaction(ctx, func() error {
		_, err := in.one(ctx, user)
		require.NoError(t, err)
		return errors.New("a defect")
	})
	require.EqualError(t, err, "a defect")
	_, err = api.Users.ByID(ctx, userapi.System(), "2")
	assert.ErrorIs(t, err, userapi.ErrNotFound)
}
