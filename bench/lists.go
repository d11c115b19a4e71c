package main

import (
	"database/sql"
	"errors"
	"fmt"

	"github.com/userapi/userapi"
)

var listsPart = Part{
	Name: "lists", Title: "Look-ups and lists",
	Intro: `Users are looked up and listed by an admin of a customer, through the API, in a database of 10,000 users and one of a million; half of
each are in the large customer, 500 in the small one. What is listed is measured against the same in the small database: a page has to cost
the same. Databases are filled once and kept in the folder of ` + "`-data`" + `; nothing is measured while they are.`,
	Run: runLists,
}

func runLists(r *Run) error {
	for _, e := range engines {
		few, err := e.filled(r, r.Few(10_000, 2_000))
		if err != nil {
			return err
		}
		many, err := e.filled(r, r.Few(1_000_000, 4_000))
		if err != nil {
			return err
		}
		for _, part := range []func(*Run, *database, *database) error{lookups, pages, filters, rareFilter, withRoles, rowSizes} {
			if err := part(r, few, many); err != nil {
				return err
			}
		}
	}
	return nil
}

// lookups stand beside the same SELECT on the same pool, prepared and read with database/sql alone.
func lookups(r *Run, _, d *database) error {
	api, err := d.api()
	if err != nil {
		return err
	}
	admin, err := d.admin(r, api, large)
	if err != nil {
		return err
	}
	i := 0
	next := func() int { i = (i + 7_919*2) % d.users; return i / 2 * 2 } // one of the large customer
	bare := func(column string, key func(int) string) func() error {
		st, err := d.db.Prepare(d.places(`SELECT u.id, u.customer_id, COALESCE(u.email_key, '') AS email_key, u.email, COALESCE(u.username_key, '') AS username_key,
			u.username, u.phone, u.name, u.first_name, u.last_name, u.active, u.email_verified, u.phone_verified,
			u.last_login, u.created_at, u.updated_at, u.name_key, u.password_hash, u.must_change, u.pending_since IS NOT NULL AS pending, u.epoch, u.version,
			r.id AS role_id, r.code AS role_code, r.name AS role_name
			FROM userapi_users u LEFT JOIN userapi_user_roles ur ON ur.user_id = u.id LEFT JOIN userapi_roles r ON r.id = ur.role_id
			WHERE ` + column + ` = ? AND u.customer_id = ?`))
		return func() error {
			if err != nil {
				return err
			}
			want := next()
			rows, err := st.QueryContext(r, key(want), large)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var id, customer, emailKey, email, usernameKey, username, phone, name, firstName, lastName, nameKey, hash string
				var active, emailVerified, phoneVerified, mustChange, pending bool
				var lastLogin sql.NullInt64
				var created, updated, epoch, version int64
				var roleID, roleCode, roleName sql.NullString
				if err := rows.Scan(&id, &customer, &emailKey, &email, &usernameKey, &username, &phone, &name, &firstName, &lastName, &active, &emailVerified,
					&phoneVerified, &lastLogin, &created, &updated, &nameKey, &hash, &mustChange, &pending, &epoch, &version, &roleID, &roleCode, &roleName); err != nil {
					return err
				}
				if id != userID(want) {
					return fmt.Errorf("%q instead of %q", id, userID(want))
				}
			}
			return rows.Err()
		}
	}
	ours := func(find func(want int) (userapi.User, error)) func() error {
		return func() error {
			want := next()
			u, err := find(want)
			if err == nil && u.ID != userID(want) {
				err = fmt.Errorf("%q instead of %q", u.ID, userID(want))
			}
			return err
		}
	}
	byID := &Case{Name: "by id: the same SELECT", Do: bare("u.id", userID)}
	byEmail := &Case{Name: "by e-mail address: the same SELECT", Do: bare("u.email_key", email)}
	_, err = r.Measure(Contest{
		Title: d.title("look-ups"), Rates: true,
		Text: "The limit is the same SELECT with its joins for the roles, prepared, through database/sql, on the same pool.",
		Cases: []*Case{
			byID,
			{Name: "by id: Users.ByID", Do: ours(func(i int) (userapi.User, error) { return api.Users.ByID(r, admin, userID(i)) }), Most: 1 / 0.8, Target: "≥ 0.8 × the rate"},
			byEmail,
			{Name: "by e-mail address: Users.ByEmail", Do: ours(func(i int) (userapi.User, error) { return api.Users.ByEmail(r, admin, email(i)) }),
				Against: byEmail, Most: 1 / 0.8, Target: "≥ 0.8 × the rate",
				Why: "where nobody is called so another account is read in its place, so that the time of an answer does not tell who has one; looking for both is one statement, and one more look-up"},
		},
	})
	return err
}

func (d *database) title(what string) string {
	return fmt.Sprintf("%s, %s users: %s", d.engine, count(float64(d.users)), what)
}

// tenant asks for pages as an admin of one customer of one database.
type tenant struct {
	*database
	r        *Run
	api      *userapi.API
	admin    userapi.Actor
	customer string
}

func newTenant(r *Run, d *database, customer string) (t tenant, err error) {
	t = tenant{database: d, r: r, customer: customer}
	if t.api, err = d.api(); err == nil {
		t.admin, err = d.admin(r, t.api, customer)
	}
	return t, err
}

func (t tenant) name(what string) string {
	size := t.users / 2
	if t.customer == small {
		size = smallSize(t.users)
	}
	return fmt.Sprintf("%s, customer of %s in %s", what, count(float64(size)), count(float64(t.users)))
}

// page is an operation: one page, which has to have so many users.
func (t tenant) page(q userapi.UserQuery, want int) func() error {
	return func() error {
		page, err := t.api.Users.List(t.r, t.admin, q)
		if err == nil && len(page.Users) != want {
			err = fmt.Errorf("%s: a page of %d users instead of %d: %+v", t.name(t.engine), len(page.Users), want, q)
		}
		return err
	}
}

// deep is a query for the page behind the middle of the customer.
func (t tenant) deep() (userapi.UserQuery, error) {
	half := t.users / 4
	if t.customer == small {
		half = smallSize(t.users) / 2
	}
	page, err := t.api.Users.List(t.r, t.admin, userapi.UserQuery{Limit: 20, Offset: half})
	return userapi.UserQuery{Limit: 20, Cursor: page.Cursor}, err
}

// pageWhy is what stands in the way of a page that costs the same in both databases.
var pageWhy = map[string]string{
	"pgx": "PostgreSQL keeps a plan for the small database and plans each call anew for the large one, 0.2 ms; where it is told to plan always (plan_cache_mode=force_custom_plan) both take 0.4 ms",
}

// flat measures queries in both databases and both customers. The large database's may cost at most half as much again.
func flat(r *Run, few, many *database, customers []string, title, text string, queries func(tenant) (names []string, all []userapi.UserQuery, wants []int, err error)) error {
	var cases []*Case
	for _, customer := range customers {
		var at []*Case
		for _, d := range []*database{few, many} {
			t, err := newTenant(r, d, customer)
			if err != nil {
				return err
			}
			names, all, wants, err := queries(t)
			if err != nil {
				return err
			}
			for i, q := range all {
				k := &Case{Name: t.name(names[i]), Do: t.page(q, wants[i])}
				if d == few {
					at = append(at, k)
				} else {
					k.Against, k.Most, k.Why = at[i], 1.5, pageWhy[d.driver]
				}
				cases = append(cases, k)
			}
		}
	}
	_, err := r.Measure(Contest{Title: many.title(title), Text: text, Cases: cases, NoAllocs: true, Rounds: 60, Chart: true})
	return err
}

func pages(r *Run, few, many *database) error {
	return flat(r, few, many, []string{small, large}, "a page of 20", "", func(t tenant) ([]string, []userapi.UserQuery, []int, error) {
		yes := true
		deep, err := t.deep()
		return []string{"first page", "by cursor, in the middle", "active users", "prefix of a name", "prefix of usernames alone"},
			[]userapi.UserQuery{{Limit: 20}, deep, {Limit: 20, Active: &yes}, {Limit: 5, Prefix: "ada"}, {Limit: 5, Prefix: "kn"}}, []int{20, 20, 20, 5, 5}, err
	})
}

func filters(r *Run, few, many *database) error {
	return flat(r, few, many, []string{small}, "a part of name or address, small customer", "", func(t tenant) ([]string, []userapi.UserQuery, []int, error) {
		return []string{"common part (every 5th user)", "rare part (no user)"},
			[]userapi.UserQuery{{Limit: 20, Name: "an"}, {Limit: 20, Name: "zzzz"}}, []int{20, 0}, nil
	})
}

// rareFilter is held against reading once what it has to read.
func rareFilter(r *Run, _, d *database) error {
	t, err := newTenant(r, d, large)
	if err != nil {
		return err
	}
	index := "userapi_users_by_customer"
	columns := `MAX(name_key), MAX(email_key)`
	if d.driver == "pgx" {
		columns = `MAX(name_key || ''), MAX(email_key || '')` // else it reads the ends of two indexes
	}
	read := &Case{Name: t.name("reading the covering index once"), Do: func() error {
		var name, email sql.NullString
		return d.db.QueryRowContext(r, d.places(`SELECT `+columns+` FROM userapi_users`+d.hint(index)+` WHERE customer_id = ?`), large).Scan(&name, &email)
	}}
	_, err = r.Measure(Contest{
		Title: d.title("a rare part of a name, large customer"), NoAllocs: true, Rounds: 15,
		Text: "What nobody or almost nobody has costs one walk through the customer's covering index; docs/scaling.md says what would end this growth, and its price.",
		Cases: []*Case{
			read,
			{Name: t.name("one user has it"), Do: t.page(userapi.UserQuery{Limit: 20, Name: "zal quin"}, min(1, d.users/2/rare)), Most: 1.2},
			{Name: t.name("no user has it"), Do: t.page(userapi.UserQuery{Limit: 20, Email: "zzzz"}, 0), Most: 1.2},
			{Name: t.name("every 5th user has it"), Do: t.page(userapi.UserQuery{Limit: 20, Name: "an"}, 20)},
		},
	})
	return err
}

func withRoles(r *Run, _, d *database) error {
	t, err := newTenant(r, d, large)
	if err != nil {
		return err
	}
	recorded, err := d.recorded(r)
	if err != nil {
		return err
	}
	statements := recorded.statements(func() error {
		_, err := recorded.store.ListUsers(r, userapi.UserFilter{Scope: userapi.Scope{Customer: large}, Limit: 101, WithRoles: true})
		return err
	})
	rows, err := r.Measure(Contest{
		Title: d.title("a page with roles"), NoAllocs: true, Rounds: 60,
		Text: fmt.Sprintf("A third of the users has a role. A page of 100 with roles is %d statement.", statements),
		Cases: []*Case{
			{Name: t.name("100 users"), Do: t.page(userapi.UserQuery{Limit: 100}, 100)},
			{Name: t.name("100 users with roles"), Do: t.page(userapi.UserQuery{Limit: 100, WithRoles: true}, 100), Most: 2},
		},
	})
	if err == nil && (statements != 1 || len(rows) == 0) {
		err = errors.New("a query for each user?")
	}
	return err
}

// rowSizes tells what a row costs with all its indexes, for docs/scaling.md.
func rowSizes(r *Run, _, d *database) error {
	var rows []Row
	for _, table := range []string{"users", "sessions", "events", "limits", "revocations"} {
		var bytes float64
		query := map[string]string{
			"sqlite": `SELECT SUM(pgsize) FROM dbstat WHERE name IN (SELECT name FROM sqlite_schema WHERE tbl_name = ?)`,
			"mysql":  `SELECT SUM(data_length + index_length) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?`,
			"pgx":    `SELECT pg_total_relation_size($1::regclass)`,
		}
		if err := d.db.QueryRowContext(r, query[d.driver], "userapi_"+table).Scan(&bytes); err != nil {
			return err
		}
		rows = append(rows, Figure(table, count(bytes/float64(d.users))+" bytes a row"))
	}
	r.Add(Section{Title: d.title("size of a row with its indexes"), Rows: rows})
	return nil
}
