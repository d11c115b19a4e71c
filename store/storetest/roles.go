package storetest

import (
	"slices"
	"strings"
	"testing"

	"github.com/userapi/userapi"
)

func (s suite) roles(t *testing.T) {
	db := s.database(t)
	write := func(f *tenant, r userapi.Role) userapi.RoleWrite {
		return userapi.RoleWrite{Role: r, Event: f.event(userapi.EventRoleCreated)}
	}

	t.Run("definitions are found by id or code, ordered by id", func(t *testing.T) {
		f := db.tenant(t)
		a := userapi.Role{ID: f.key("3"), Code: f.key("a"), Name: awkward[0]}
		b := userapi.Role{ID: f.key("1"), Code: f.key("b"), Name: ""}
		c := userapi.Role{ID: f.key("2"), Code: f.key("c"), Name: strings.Repeat("\U0001F600", 255)}
		for _, r := range []userapi.Role{a, b, c} {
			must(t, f.InsertRole(t.Context(), write(f, r)))
		}
		for _, look := range []struct {
			ids, codes []string
			want       []userapi.Role
		}{
			{[]string{a.ID}, []string{b.Code, c.Code}, []userapi.Role{b, c, a}},
			{[]string{a.ID, a.ID}, []string{a.Code}, []userapi.Role{a}},
			{nil, []string{c.Code, f.key("none")}, []userapi.Role{c}},
			{[]string{a.Code, strings.ToUpper(b.ID)}, []string{a.ID, strings.ToUpper(b.Code), "%", ""}, nil},
			{nil, nil, nil},
		} {
			got, err := f.Roles(t.Context(), look.ids, look.codes)
			must(t, err)
			if len(got) != len(look.want) || len(got) > 0 && !slices.Equal(got, look.want) {
				t.Fatalf("roles %v, %v are %v, wanted %v", look.ids, look.codes, got, look.want)
			}
		}
	})

	t.Run("texts come back byte for byte", func(t *testing.T) {
		f := db.tenant(t)
		r := f.role(f.key("texts"))
		for _, text := range awkward {
			r.Name = text
			must(t, f.RenameRole(t.Context(), write(f, r)))
			got, err := f.Roles(t.Context(), []string{r.ID}, nil)
			must(t, err)
			same(t, got, []userapi.Role{r}, "role")
		}
	})

	t.Run("an id and a code are taken once, byte for byte", func(t *testing.T) {
		f := db.tenant(t)
		r := f.role(f.key("code"))
		is(t, f.InsertRole(t.Context(), write(f, userapi.Role{ID: newID(), Code: r.Code})), userapi.ErrRoleTaken)
		is(t, f.InsertRole(t.Context(), write(f, userapi.Role{ID: r.ID, Code: f.key("fresh")})), userapi.ErrIDTaken)
		must(t, f.InsertRole(t.Context(), write(f, userapi.Role{ID: newID(), Code: strings.ToUpper(r.Code)})))
		got, err := f.Roles(t.Context(), []string{r.ID}, []string{r.Code, f.key("fresh")})
		must(t, err)
		same(t, got, []userapi.Role{r}, "roles")
	})

	t.Run("a rename reaches those who hold the role", func(t *testing.T) {
		f := db.tenant(t)
		r := f.role(f.key("renamed"))
		a := f.add(func(a *userapi.Account) { a.Roles = []userapi.Role{r} })
		r.Name = "New name"
		for range 2 {
			must(t, f.RenameRole(t.Context(), write(f, userapi.Role{Code: r.Code, Name: r.Name})))
			got := f.read(a.ID)
			same(t, got.Roles, []userapi.Role{r}, "roles of the account")
			same(t, got.Version, a.Version, "version of the account")
		}
		is(t, f.RenameRole(t.Context(), write(f, userapi.Role{ID: r.ID, Code: f.key("none"), Name: "x"})), userapi.ErrNotFound)
	})

	t.Run("a role is deleted when nobody holds it", func(t *testing.T) {
		f := db.tenant(t)
		r, bystander := f.role(f.key("del")), f.role(f.key("stay"))
		a := f.add(func(a *userapi.Account) { a.Roles, a.Active = []userapi.Role{r}, false })
		is(t, f.DeleteRole(t.Context(), write(f, userapi.Role{Code: r.Code})), userapi.ErrRoleInUse)
		same(t, f.read(a.ID), a, "account")
		a.Roles = nil
		must(t, f.ChangeUser(t.Context(), f.update(a, func(w *userapi.UserUpdate) { w.SetRoles = true })))
		must(t, f.DeleteRole(t.Context(), write(f, userapi.Role{Code: r.Code})))
		is(t, f.DeleteRole(t.Context(), write(f, userapi.Role{Code: r.Code})), userapi.ErrNotFound)
		is(t, f.RenameRole(t.Context(), write(f, r)), userapi.ErrNotFound)
		got, err := f.Roles(t.Context(), []string{r.ID, bystander.ID}, []string{r.Code})
		must(t, err)
		same(t, got, []userapi.Role{bystander}, "roles left")
		must(t, f.InsertRole(t.Context(), write(f, r)))
	})

	t.Run("definitions are listed by id", func(t *testing.T) {
		f := s.database(t).tenant(t)
		none, err := f.ListRoles(t.Context(), 0, 10)
		must(t, err)
		same(t, len(none), 0, "roles in an empty database")
		var want, got []string
		for range 7 {
			want = append(want, f.role(newID()).ID)
		}
		slices.Sort(want)
		for offset := 0; offset < 12; offset += 3 {
			page, err := f.ListRoles(t.Context(), offset, 3)
			must(t, err)
			got = append(got, ids(page, func(r userapi.Role) string { return r.ID })...)
		}
		same(t, got, want, "ids by offset")
		all, err := f.ListRoles(t.Context(), 0, 100)
		must(t, err)
		all[0].Name = "changed"
		again, err := f.ListRoles(t.Context(), 0, 1)
		must(t, err)
		if again[0].Name == "changed" {
			t.Fatal("the list shares memory with the caller")
		}
	})
}
