package drivertest

import (
	"database/sql"
	_ "embed"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/userapi/userapi"
)

// What a plan may have against it.
const (
	Scans = "reads a whole table or index"
	Sorts = "sorts"
	Walks = "walks a tenant from its beginning"
)

// excused are plans that are as they should be: what of the statement tells it, what may be held against it, and why that is right.
var excused = []struct {
	part   *regexp.Regexp
	faults string
	why    string
}{
	{regexp.MustCompile(`userapi_users u( FORCE INDEX \(PRIMARY\))? WHERE 1 = 1 (AND \(?(INSTR|strpos|u.active).*)?ORDER BY u.id LIMIT`), Scans,
		"the operator's pages of all customers: in the order of the primary key, up to the limit. A filter reads on; no request gets here"},
	{regexp.MustCompile(`userapi_users u WHERE 1 = 1 AND ((INSTR|strpos)\(u.name_key, .+?\) > 0 AND )?u.name_key >= `), Scans + Sorts,
		"the operator's prefix over all customers, which no request asks for: an index for it would cost every registration"},
	{regexp.MustCompile(`userapi_revocations WHERE expires_at > (\?|\$1|\d+)$`), Scans, "all that lives, once a minute"},
	{regexp.MustCompile(`FROM userapi_roles ORDER BY id LIMIT`), Scans, "a page of roles: in the order of the primary key, up to the limit"},
	{regexp.MustCompile(`FROM userapi_roles WHERE id IN`), Sorts, "at most the 64 roles of an account"},
	{regexp.MustCompile(`limit_key >= .* ORDER BY ends_at DESC`), Sorts, "the marks of one account: at most one more than it may have"},
	{regexp.MustCompile(`userapi_keys k JOIN .* ORDER BY k.created_at`), Sorts, "the keys of one user, whose number is limited"},
	{regexp.MustCompile(`userapi_credentials WHERE user_id = `), Sorts, "the credentials of one user"},
}

func excuse(query, fault string) bool {
	query = strings.Join(strings.Fields(query), " ")
	for _, e := range excused {
		if strings.Contains(e.faults, fault) && e.part.MatchString(query) {
			return true
		}
	}
	return false
}

//go:embed statements.go
var scenario string

// Plans holds each statement of the store to the indexes. analyze gathers statistics; explain tells what the plan of a statement is, and
// what there is against it.
func Plans(t *testing.T, st Store, db *sql.DB, c *Connector, analyze string, explain func(s Statement) (plan string, faults []string)) {
	t.Helper()
	for method := range reflect.TypeFor[userapi.Store]().Methods() {
		if method.Name != "EndEverything" && !strings.Contains(scenario, "st."+method.Name+"(") { // which reads everything
			t.Errorf("callAll does not call %s", method.Name)
		}
	}
	statements := Statements(t, st, db, c)
	for _, known := range []bool{false, true} { // a host may never have gathered any
		if known {
			run(t, db, analyze)
		}
		for _, s := range statements {
			plan, faults := explain(s)
			for _, fault := range faults {
				if !excuse(s.Query, fault) {
					t.Errorf("a plan that %s (statistics: %v):\n%s\n%s", fault, known, s.Query, strings.TrimSpace(plan))
				}
			}
		}
	}
}
