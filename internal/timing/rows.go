package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	mrand "math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/httpadapter"
	"github.com/userapi/userapi/store/sqlite"
	"github.com/userapi/userapi/verification/dummy"
	_ "modernc.org/sqlite"
)

// row is two kinds of requests whose answers are alike.
type row struct {
	name    string
	a, b    class
	status  int     // of both answers
	control control // "" = none
	naive   bool    // the host looks the account up before a login, and its sessions where there is one
	small   bool    // only with a small hash: none is computed, or it would hide what there is to see
}

type control string

const (
	positive control = "positive" // the two do differ
	negative control = "negative" // the two are one
)

// class is one kind of request.
type class struct {
	name string
	next func() *http.Request
}

// each is how many accounts of a kind there are; each request is about one of them, drawn by chance.
const each = 100

const password, wrong = "seven green bottles", "seven brown bottles"

// world is a server with accounts of all kinds, on a SQLite file of its own.
type world struct {
	dir     string
	db      *sql.DB
	api     *userapi.API
	web     http.Handler
	caller  string   // access token of somebody who asks
	refresh []string // tokens of sessions that are open
	keys    []string // API keys that are good
	gone    []string // API keys that were deleted
	fresh   int      // addresses that were made up
}

// live are the default parameters.
var live, small = userapi.Argon2id{MemoryKiB: 19456, Passes: 2, Threads: 1}, userapi.Argon2id{MemoryKiB: 64, Passes: 1, Threads: 1}

// newWorld makes one whose hashes have these parameters.
func newWorld(hash userapi.Argon2id) (w *world, err error) {
	w = &world{}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.dir, err = os.MkdirTemp("", "timing"); err != nil {
		return w, err
	}
	if w.db, err = sql.Open("sqlite", sqlite.DSN(filepath.Join(w.dir, "users.db"))); err != nil {
		return w, err
	}
	st, ctx := sqlite.New(w.db), context.Background()
	if err = st.Migrate(ctx); err != nil {
		return w, err
	}
	limits := userapi.DefaultLimits() // everything is counted, and nothing used up
	for _, all := range limits {
		for i := range all {
			all[i].Max = 1_000_000
		}
	}
	cfg := userapi.Config{
		Store: st, Secret: userapi.Secret(rand.Text() + rand.Text()), Limits: limits, AccessLifetime: time.Hour,
		Password:     userapi.PasswordPolicy{Argon2id: hash},
		Registration: userapi.Registration{Policy: userapi.RegistrationVerify, Customer: "default"},
		Verification: userapi.Verification{Mail: dummy.New(), SMS: dummy.New()},
	}
	if w.api, err = userapi.New(cfg); err != nil {
		return w, err
	}
	cfg.Password.Argon2id.Passes++
	old, err := userapi.New(cfg)
	if err != nil {
		return w, err
	}
	web, err := httpadapter.New(httpadapter.Config{API: w.api})
	if err != nil {
		return w, err
	}
	w.web = web.Handler()
	if _, err = w.api.Bootstrap(ctx, userapi.Bootstrap{Username: "admin", Password: password}); err != nil {
		return w, err
	}
	return w, w.fill(ctx, old)
}

// fill makes the accounts; old is the same API with other parameters for hashes.
func (w *world) fill(ctx context.Context, old *userapi.API) error {
	add := func(api *userapi.API, kind string, i int, password userapi.Secret) (string, error) {
		u, err := api.Users.Create(ctx, userapi.System(), userapi.NewUser{
			Email: email(kind, i), Username: username(kind, i), Phone: phone(kind, i), PhoneVerified: true,
			Password: password, Active: kind != inactive, CustomerID: "default",
		})
		return u.ID, err
	}
	for i := range each {
		id, err := add(w.api, known, i, password)
		_, err1 := add(w.api, inactive, i, password)
		_, err2 := add(w.api, without, i, "")
		_, err3 := add(old, outdated, i, password)
		_, _, err4 := w.api.Users.Register(ctx, userapi.Anonymous(), userapi.SelfRegistration{Email: email(waiting, i), Password: password})
		_, issued, err5 := w.api.Auth.IssueTokens(ctx, userapi.System(), id, "sso")
		_, good, err6 := w.api.Keys.Create(ctx, userapi.System(), id, userapi.NewAPIKey{Name: "good"})
		k, gone, err7 := w.api.Keys.Create(ctx, userapi.System(), id, userapi.NewAPIKey{Name: "gone"})
		if err := errors.Join(err, err1, err2, err3, err4, err5, err6, err7); err != nil {
			return err
		}
		if err := w.api.Keys.Delete(ctx, userapi.System(), k.ID); err != nil {
			return err
		}
		w.caller, w.refresh = string(issued.Access), append(w.refresh, string(issued.Refresh))
		w.keys, w.gone = append(w.keys, string(good)), append(w.gone, string(gone))
	}
	return nil
}

func (w *world) close() {
	if w.db != nil {
		_ = w.db.Close() // the folder goes, with all that is in it
	}
	_ = os.RemoveAll(w.dir)
}

// Kinds of accounts. All have a password but one.
const (
	known    = "known"
	unknown  = "unknown" // nobody is called so
	inactive = "inactive"
	without  = "without"
	outdated = "outdated" // the hash has other parameters
	waiting  = "waiting"  // registered, and never activated
)

// Names of one kind are as long as those of another.
func email(kind string, i int) string { return fmt.Sprintf("%s@example.com", username(kind, i)) }

func username(kind string, i int) string {
	return fmt.Sprintf("%s%s%03d", kind, strings.Repeat("x", 8-len(kind)), i)
}

func phone(kind string, i int) string {
	return fmt.Sprintf("+4930901%d%03d", slices.Index([]string{known, unknown, inactive, without, outdated}, kind)+1, i)
}

// rows are all that is measured, the controls first.
func (w *world) rows() []row {
	login := func(name, kind, password string, spelt func(string, int) string) class {
		return some(name, func(i int) *http.Request {
			return post("/auth/login", fields{"username": spelt(kind, i), "password": password}, "")
		})
	}
	reset := func(name, kind string, spelt func(string, int) string) class {
		return some(name, func(i int) *http.Request { return post("/password/reset", fields{"username": spelt(kind, i)}, "") })
	}
	register := func(name string, address func(i int) string) class {
		return some(name, func(i int) *http.Request {
			return post("/users", fields{"email": address(i), "password": password}, "")
		})
	}
	of := func(kind string) func(i int) string { return func(i int) string { return email(kind, i) } }
	nobody := login("no such account", unknown, wrong, email)
	wrongly := login("wrong password", known, wrong, email)
	return []row{
		{name: "login by e-mail", a: wrongly, b: login("wrong password of another", known, wrong, email), status: 401, control: negative},
		{name: "login by e-mail", a: login("a hash with other parameters", outdated, wrong, email), b: nobody, status: 401, control: positive},
		{name: "login by e-mail, where a host first reads the account, and its sessions if there is one", a: wrongly, b: nobody, status: 401, control: positive, naive: true, small: true},

		{name: "login by e-mail", a: wrongly, b: nobody, status: 401},
		{name: "login by username", a: login("wrong password", known, wrong, username), b: login("no such account", unknown, wrong, username), status: 401},
		{name: "login by phone", a: login("wrong password", known, wrong, phone), b: login("no such account", unknown, wrong, phone), status: 401},
		{name: "login by e-mail", a: login("inactive, wrong password", inactive, wrong, email), b: nobody, status: 401},
		{name: "login by e-mail", a: login("inactive, right password", inactive, password, email), b: nobody, status: 401},
		{name: "login by e-mail", a: login("without a password", without, wrong, email), b: nobody, status: 401},

		{name: "reset by e-mail", a: reset("an account", known, email), b: reset("no such account", unknown, email), status: 200, small: true},
		{name: "reset by username", a: reset("an account", known, username), b: reset("no such account", unknown, username), status: 200, small: true},
		{name: "reset by e-mail", a: reset("inactive", inactive, email), b: reset("no such account", unknown, email), status: 200, small: true},

		{name: "registration by mailbox", a: register("a taken address", of(known)), b: register("a free address", w.free), status: 202},
		{name: "registration by mailbox", a: register("a taken address", of(known)), b: register("registered before, not activated", of(waiting)), status: 202},

		{name: "code to a phone", a: w.code("a number of somebody else", known), b: w.code("a free number", unknown), status: 200, small: true},
		{name: "change of the e-mail address", a: w.move("a taken address", of(outdated)), b: w.move("a free address", w.free), status: 200},

		{name: "refresh with a wrong MAC", a: some("of an open session", func(i int) *http.Request {
			return post("/auth/refresh", fields{"refresh_token": w.refresh[i][:len(w.refresh[i])-8] + "AAAAAAAA"}, "")
		}), b: some("of no session", func(i int) *http.Request {
			part := strings.Split(w.refresh[i], ".")
			part[2] = part[2][:len(part[2])-8] + "00000000"
			return post("/auth/refresh", fields{"refresh_token": strings.Join(part, ".")}, "")
		}), status: 401, small: true},
		{name: "API key", a: some("a good prefix, a wrong secret", func(i int) *http.Request {
			return withKey(w.keys[i][:12] + w.keys[(i+1)%each][12:65])
		}), b: some("a prefix of no key", func(i int) *http.Request { return withKey(w.gone[i][:65]) }), status: 401, small: true},
	}
}

// handler is what the row is asked of.
func (w *world) handler(r row) http.Handler {
	if !r.naive {
		return w.web
	}
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var asked fields
		raw, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(raw, &asked)
		}
		if err != nil {
			panic(err) // it is a request of ours
		}
		if u, err := w.api.Users.ByEmail(r.Context(), userapi.System(), asked["username"]); err == nil {
			_, _ = w.api.Sessions.List(r.Context(), userapi.System(), u.ID) // what it says does not matter
		}
		r.Body = io.NopCloser(bytes.NewReader(raw))
		w.web.ServeHTTP(rw, r)
	})
}

// free is an address that nobody ever used.
func (w *world) free(int) string {
	w.fresh++
	return fmt.Sprintf("free%07d@example.com", w.fresh)
}

// code asks for a code to a number, as a user who has none.
func (w *world) code(name, kind string) class {
	return some(name, func(i int) *http.Request {
		return post("/verification/phone", fields{"phone": phone(kind, i)}, w.caller)
	})
}

// move asks for another address.
func (w *world) move(name string, address func(i int) string) class {
	return some(name, func(i int) *http.Request {
		return post("/verification/email", fields{"email": address(i), "current_password": password}, w.caller)
	})
}

// some makes requests about one of a kind.
func some(name string, about func(i int) *http.Request) class {
	return class{name, func() *http.Request { return about(mrand.IntN(each)) }} // #nosec G404 -- no secret
}

type fields map[string]string

func post(path string, body fields, token string) *http.Request {
	raw, err := json.Marshal(body)
	if err != nil {
		panic(err) // it is text
	}
	r := request(http.MethodPost, path, bytes.NewReader(raw))
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

// withKey brings an API key whose checksum is right.
func withKey(body string) *http.Request {
	sum := binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(body)))
	r := request(http.MethodGet, "/auth/whoami", http.NoBody)
	r.Header.Set("X-Api-Key", body+base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum))
	return r
}

func request(method, path string, body io.Reader) *http.Request {
	r, err := http.NewRequest(method, path, body)
	if err != nil {
		panic(err) // the paths are constants
	}
	r.RemoteAddr = "192.0.2.1:1234"
	return r
}
