package userapi

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
)

// UserQuery selects a page of a list.
type UserQuery struct {
	Email    string // substring, ignoring case
	Name     string // substring of name (else first and last name, else username), ignoring case
	MatchAll bool   // both must match; default: one of them
	Prefix   string // name or username starts with it, ignoring case; ordered by name, who has it in the username alone last; else by id
	Active   *bool
	Limit    int    // 1 to 100; 0 = 20
	Offset   int    // ≥ 0; not with Cursor
	Cursor   string // of the page before, with the same query otherwise

	WithRoles bool // each with its roles
}

// UserPage is one page of a list.
type UserPage struct {
	Users   []User
	HasNext bool
	Cursor  string // of the next page; "" when there is none
}

// List reads a page of the users of the actor's customer, or of all with System. Only admins and System.
// ErrForbidden; ErrWrongArgs for a limit, offset or cursor that is none.
func (u *Users) List(ctx context.Context, actor Actor, q UserQuery) (UserPage, error) {
	if err := actor.managing(); err != nil {
		return UserPage{}, err
	}
	f, err := u.filter(actor, q)
	if err != nil {
		return UserPage{}, err
	}
	limit := f.Limit
	f.Limit++ // one more tells whether there is a next page
	users, err := u.store.ListUsers(ctx, f)
	if err != nil {
		return UserPage{}, err
	}
	page := UserPage{Users: users}
	if len(users) > limit {
		page.Users, page.HasNext = users[:limit:limit], true
		last := page.Users[limit-1]
		at := [2]string{last.ID, foldForSearch(last.DisplayName())}
		if !strings.HasPrefix(at[1], f.Prefix) {
			_, username, _ := NormalizeUsername(last.Username)
			at = [2]string{"", username}
		}
		page.Cursor = u.cursor(q.bound(actor), at)
	}
	return page, nil
}

// maxFilter bounds the texts of a list's filters, in bytes.
const maxFilter = 256

func (u *Users) filter(actor Actor, q UserQuery) (UserFilter, error) {
	f := UserFilter{
		Scope: actor.scope(), EmailPart: foldForSearch(strings.TrimSpace(q.Email)), NamePart: foldForSearch(strings.TrimSpace(q.Name)),
		MatchAll: q.MatchAll, Prefix: foldForSearch(q.Prefix), Active: q.Active, Offset: q.Offset, Limit: q.Limit, WithRoles: q.WithRoles,
	}
	bad := ErrWrongArgs
	for name, text := range map[string]string{"email": q.Email, "name": q.Name, "prefix": q.Prefix} {
		if len(text) > maxFilter || !plainText(text) {
			bad = bad.Field(name, "at most 256 bytes of UTF-8 without control characters")
		}
	}
	if f.Limit == 0 {
		f.Limit = 20
	}
	if f.Limit < 1 || f.Limit > 100 {
		bad = bad.Field("limit", "1 to 100")
	}
	if q.Offset < 0 || q.Offset > 1<<31 {
		bad = bad.Field("offset", "0 or more")
	}
	if q.Cursor != "" {
		at, ok := u.openCursor(q.bound(actor), q.Cursor)
		if !ok {
			bad = bad.Field("cursor", "not a cursor of this list")
		}
		if f.AfterID, f.AfterName = at[0], at[1]; f.AfterID == "" {
			f.AfterName, f.AfterUser = "", at[1]
		}
		if q.Offset != 0 {
			bad = bad.Field("offset", "not together with cursor")
		}
	}
	if bad != ErrWrongArgs {
		return UserFilter{}, bad
	}
	return f, nil
}

// bound is what a cursor of this list belongs to: the caller's customer and the query.
func (q UserQuery) bound(actor Actor) []any {
	active := "any"
	if q.Active != nil {
		active = strconv.FormatBool(*q.Active)
	}
	return []any{actor.scope(), q.Email, q.Name, q.MatchAll, q.Prefix, active}
}

// cursor makes the cursor of a list's next page, behind the row with this key. It is bound to what the list is of, so that a
// forged or foreign one is found out.
func (c *core) cursor(list []any, key [2]string) string {
	body, _ := json.Marshal(key)
	return base64.RawURLEncoding.EncodeToString(append(c.cursorMAC(list, body), body...))
}

func (c *core) openCursor(list []any, cursor string) (key [2]string, ok bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || strings.ContainsAny(cursor, "\r\n") || len(raw) < sha256.Size || !hmac.Equal(raw[:sha256.Size], c.cursorMAC(list, raw[sha256.Size:])) {
		return key, false
	}
	err = json.Unmarshal(raw[sha256.Size:], &key)
	return key, err == nil
}

func (c *core) cursorMAC(list []any, body []byte) []byte {
	bound, _ := json.Marshal(list)
	mac := hmac.New(sha256.New, c.tokens.cursorKey)
	mac.Write(bound)
	mac.Write([]byte{0})
	mac.Write(body)
	return mac.Sum(nil)
}
