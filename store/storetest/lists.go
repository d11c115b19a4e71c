package storetest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/userapi/userapi"
)

// list reads one page; the limit is 100 where the filter has none.
func (f *tenant) list(q userapi.UserFilter) []userapi.User {
	f.t.Helper()
	if q.Scope == (userapi.Scope{}) {
		q.Scope = f.scope()
	}
	if q.Limit == 0 {
		q.Limit = 100
	}
	users, err := f.ListUsers(f.t.Context(), q)
	must(f.t, err)
	if len(users) > q.Limit {
		f.t.Fatalf("%d users in a page of %d", len(users), q.Limit)
	}
	return users
}

// finds wants exactly these accounts, in whatever order.
func (f *tenant) finds(q userapi.UserFilter, wanted ...userapi.Account) {
	f.t.Helper()
	want := ids(wanted, func(a userapi.Account) string { return a.ID })
	got := userIDs(f.list(q))
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		f.t.Fatalf("filter %+v finds %v, wanted %v", q, got, want)
	}
}

func (s suite) lists(t *testing.T) {
	db := s.database(t)

	t.Run("a list gives users as they are stored, without roles", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add(func(a *userapi.Account) {
			a.Email, a.EmailKey, a.Phone, a.Roles = "E@x", f.key("e@x"), "+4938"+digits(), []userapi.Role{f.role(f.key("r"))}
			a.LastLogin = f.now
		})
		want := a.User
		want.Roles = nil
		users := f.list(userapi.UserFilter{})
		same(t, users, []userapi.User{want}, "users")
		users[0].Name = "changed"
		same(t, f.list(userapi.UserFilter{}), []userapi.User{want}, "users after the output changed")
		same(t, f.list(userapi.UserFilter{WithRoles: true}), []userapi.User{a.User}, "users with roles")
		f.finds(userapi.UserFilter{Scope: userapi.Scope{All: true}, NamePart: f.tag}, a)
		f.finds(userapi.UserFilter{Scope: userapi.Scope{Customer: f.addCustomer(0)}})
	})

	t.Run("a page with roles has its users in order, and the roles of each", func(t *testing.T) {
		f := db.tenant(t)
		first, second := f.role(f.key("a")), f.role(f.key("b"))
		for i, roles := range [][]userapi.Role{{second, first}, nil, {second}, {first}} {
			f.add(func(a *userapi.Account) {
				a.ID, a.NameKey, a.Roles = fmt.Sprintf("%s-%d", f.tag, i), fmt.Sprint("n", 9-i), roles
			})
		}
		held := func(q userapi.UserFilter) (all []string) {
			for _, u := range f.list(q) {
				line := strings.TrimPrefix(u.ID, f.tag)
				for _, r := range u.Roles {
					line += " " + strings.TrimPrefix(r.Code, f.tag)
				}
				all = append(all, line)
			}
			return all
		}
		same(t, held(userapi.UserFilter{WithRoles: true, Limit: 3}), []string{"-0 a b", "-1", "-2 b"}, "roles by id")
		same(t, held(userapi.UserFilter{WithRoles: true, Limit: 3, Prefix: "n"}), []string{"-3 a", "-2 b", "-1"}, "roles by name")
	})

	t.Run("filters find a part of the key, byte for byte", func(t *testing.T) {
		f := db.tenant(t)
		named := func(name, email string) userapi.Account {
			return f.add(func(a *userapi.Account) { a.NameKey, a.EmailKey = name, f.key(email) })
		}
		percent, underscore, backslash := named("100% sure", "%@x"), named("snake_case", "_@x"), named(`back\slash`, `\@x`)
		plainest, quoted, glob := named("100 sure", "a@x"), named(`it's "quoted"`, "'@x"), named("star * [a-z] ?", "*@x")
		upper, accent, wide := named("ANN", "B@x"), named("ánn", "á@x"), named("\U0001F600 ann", "\U0001F600@x")
		f.finds(userapi.UserFilter{}, percent, underscore, backslash, plainest, quoted, glob, upper, accent, wide)
		for part, wanted := range map[string][]userapi.Account{
			"%": {percent}, "_": {underscore}, `\`: {backslash}, "0%": {percent}, `k\s`: {backslash}, `\\`: nil, "%%": nil, `\%`: nil,
			"100": {percent, plainest}, "'": {quoted}, `"`: {quoted}, "*": {glob}, "[a-z]": {glob}, "?": {glob}, "[": {glob},
			"ann": {wide}, "ANN": {upper}, "ánn": {accent}, "nn": {accent, wide}, "\U0001F600": {wide}, "\U0001F601": nil, "100%sure": nil, "e ": nil,
		} {
			f.finds(userapi.UserFilter{NamePart: part}, wanted...)
		}
		for part, wanted := range map[string][]userapi.Account{
			"%": {percent}, "_": {underscore}, `\`: {backslash}, "*": {glob}, "'": {quoted}, "b@": nil, "B@": {upper}, "á@": {accent}, "\U0001F600": {wide},
		} {
			f.finds(userapi.UserFilter{EmailPart: part}, wanted...)
		}
		for prefix, wanted := range map[string][]userapi.Account{
			"%": nil, "100%": {percent}, "100": {percent, plainest}, "_": nil, "snake_": {underscore}, `back\`: {backslash}, "it's": {quoted},
			"star *": {glob}, "*": nil, "A": {upper}, "a": nil, "á": {accent}, "\U0001F600": {wide}, "sure": nil,
		} {
			f.finds(userapi.UserFilter{Prefix: prefix}, wanted...)
		}
	})

	t.Run("e-mail or name, both on demand, and the customer always", func(t *testing.T) {
		f := db.tenant(t)
		add := func(customer, name, email string, active bool) userapi.Account {
			return f.add(func(a *userapi.Account) {
				a.CustomerID, a.NameKey, a.EmailKey, a.Active = customer, name, f.key(email), active
			})
		}
		foreign := f.addCustomer(0)
		both, name := add(f.customer, "ann", "ann@x", true), add(f.customer, "ann", "bob@x", true)
		email, off := add(f.customer, "bob", "ann2@x", true), add(f.customer, "ann", "ann3@x", false)
		add(f.customer, "bob", "bob2@x", true)
		there := add(foreign, "ann", "ann4@x", true)
		yes, no := true, false
		f.finds(userapi.UserFilter{EmailPart: "ann", NamePart: "ann"}, both, name, email, off)
		f.finds(userapi.UserFilter{EmailPart: "ann", NamePart: "ann", MatchAll: true}, both, off)
		f.finds(userapi.UserFilter{EmailPart: "ann", NamePart: "ann", Active: &yes}, both, name, email)
		f.finds(userapi.UserFilter{EmailPart: "ann", NamePart: "ann", Active: &no}, off)
		f.finds(userapi.UserFilter{EmailPart: "ann", NamePart: "ann", Prefix: "ann", Active: &yes}, both, name)
		f.finds(userapi.UserFilter{EmailPart: "ann", NamePart: "nobody"}, both, email, off)
		f.finds(userapi.UserFilter{EmailPart: "nobody", NamePart: "nobody"})
		f.finds(userapi.UserFilter{EmailPart: "ann", MatchAll: true}, both, email, off)
		f.finds(userapi.UserFilter{NamePart: "ann"}, both, name, off)
		f.finds(userapi.UserFilter{Scope: userapi.Scope{Customer: foreign}, EmailPart: "ann", NamePart: "ann"}, there)
		f.finds(userapi.UserFilter{Scope: userapi.Scope{All: true}, EmailPart: f.tag, MatchAll: true, NamePart: "ann"}, both, name, off, there)
	})

	t.Run("no key is no key that contains anything", func(t *testing.T) {
		f := db.tenant(t)
		bare := f.add(func(a *userapi.Account) { a.NameKey, a.Name = "", "" })
		f.finds(userapi.UserFilter{}, bare)
		f.finds(userapi.UserFilter{EmailPart: "x", NamePart: "x"})
		f.finds(userapi.UserFilter{EmailPart: "x"})
		f.finds(userapi.UserFilter{Prefix: f.tag}, bare)
	})

	t.Run("a prefix is of the name or the username alone, and orders by them", func(t *testing.T) {
		f := db.tenant(t)
		var want []userapi.Account
		for i, name := range []string{"", "pa", "pa ", "paZ", "pab", "pab", "pab", "pá", "p\U0010FFFF", "zz"} {
			want = append(want, f.add(func(a *userapi.Account) {
				a.ID, a.NameKey, a.UsernameKey = fmt.Sprintf("%s-%d", f.tag, 9-i), name, f.key("other")+fmt.Sprint(i)
				if name == "" || name == "zz" {
					a.UsernameKey = "p" + f.tag + name
				}
			}))
		}
		f.add(func(a *userapi.Account) { a.NameKey = "xpa" })
		f.add(func(a *userapi.Account) { a.NameKey, a.UsernameKey = "P", "P"+f.tag })
		slices.SortFunc(want, func(a, b userapi.Account) int {
			if named := strings.HasPrefix(a.NameKey, "p"); named != strings.HasPrefix(b.NameKey, "p") {
				return map[bool]int{true: -1, false: 1}[named]
			} else if !named {
				return strings.Compare(a.UsernameKey, b.UsernameKey)
			}
			return cmp.Or(strings.Compare(a.NameKey, b.NameKey), strings.Compare(a.ID, b.ID))
		})
		all := ids(want, func(a userapi.Account) string { return a.ID })
		same(t, userIDs(f.list(userapi.UserFilter{Prefix: "p"})), all, "users in the order of their names")
		same(t, f.walk(userapi.UserFilter{Prefix: "p", Limit: 2}, nil), all, "the same page by page")
		for offset := range all {
			same(t, userIDs(f.list(userapi.UserFilter{Prefix: "p", Offset: offset, Limit: 4})), all[offset:min(offset+4, len(all))], fmt.Sprint("the same from ", offset))
		}
		same(t, len(f.list(userapi.UserFilter{Prefix: "p", Offset: len(all)})), 0, "users behind the end")
	})

	t.Run("pages are complete and in order, whatever is added or deleted meanwhile", func(t *testing.T) {
		for _, prefix := range []string{"", "n"} {
			f := db.tenant(t)
			add := func(place int) userapi.Account {
				return f.add(func(a *userapi.Account) {
					a.ID, a.NameKey = fmt.Sprintf("%s-%03d", f.tag, place), fmt.Sprintf("n%03d", place/3)
				})
			}
			var stay []string
			doomed := map[int]userapi.Account{}
			for place := 10; place < 50; place += 2 {
				if a := add(place); place%8 == 0 {
					doomed[place] = a
				} else {
					stay = append(stay, a.ID)
				}
			}
			page := 0
			got := f.walk(userapi.UserFilter{Prefix: prefix, Limit: 3}, func() {
				page++
				if page < 7 {
					add(page)        // before everything
					add(11 + 6*page) // somewhere between
				}
				add(900 - page)                    // behind everything
				if a, ok := doomed[8+8*page]; ok { // read already, or not yet
					must(t, f.DeleteUser(t.Context(), f.deletion(a, false)))
				}
			})
			if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
				t.Fatalf("pages out of order or with a row twice: %v", got)
			}
			for _, id := range stay {
				if !slices.Contains(got, id) {
					t.Fatalf("%s was there all the time and is on no page: %v", id, got)
				}
			}
		}
	})

	t.Run("a page goes on behind a row that is gone", func(t *testing.T) {
		f := db.tenant(t)
		var all []userapi.Account
		for i := range 4 {
			all = append(all, f.add(func(a *userapi.Account) { a.ID, a.NameKey = fmt.Sprintf("%s-%d", f.tag, i), "same" }))
		}
		must(t, f.DeleteUser(t.Context(), f.deletion(all[1], false)))
		f.finds(userapi.UserFilter{AfterID: all[1].ID}, all[2], all[3])
		f.finds(userapi.UserFilter{Prefix: "same", AfterID: all[1].ID, AfterName: "same"}, all[2], all[3])
		f.finds(userapi.UserFilter{Prefix: "same", AfterID: "", AfterName: ""}, all[0], all[2], all[3])
		f.finds(userapi.UserFilter{AfterID: all[3].ID})
	})

	t.Run("offsets walk a list in the order of ids", func(t *testing.T) {
		f := db.tenant(t)
		var want, got []string
		for range 7 {
			want = append(want, f.add().ID)
		}
		slices.Sort(want)
		for offset := 0; offset < 9; offset += 3 {
			got = append(got, userIDs(f.list(userapi.UserFilter{Offset: offset, Limit: 3}))...)
		}
		same(t, got, want, "ids by offset")
		same(t, len(f.list(userapi.UserFilter{Offset: 1 << 30})), 0, "users behind the end")
		same(t, f.walk(userapi.UserFilter{Limit: 1}, nil), want, "ids by keyset")
	})
}

// walk reads page after page, each behind the last row of the one before, and calls between in between.
func (f *tenant) walk(q userapi.UserFilter, between func()) []string {
	f.t.Helper()
	var all []string
	for {
		users := f.list(q)
		if len(users) == 0 {
			return all
		}
		all = append(all, userIDs(users)...)
		if len(all) > 1000 {
			f.t.Fatal("pages without end")
		}
		last := users[len(users)-1]
		if q.AfterID = last.ID; q.Prefix != "" {
			a := f.read(last.ID)
			if q.AfterName = a.NameKey; !strings.HasPrefix(a.NameKey, q.Prefix) {
				q.AfterID, q.AfterName, q.AfterUser = "", "", a.UsernameKey
			}
		}
		if between != nil {
			between()
		}
	}
}
