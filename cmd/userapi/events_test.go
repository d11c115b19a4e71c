package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// kinds are the events that audit list prints, newest first.
func (p place) kinds(t *testing.T, args ...string) []string {
	t.Helper()
	var kinds []string
	for _, line := range strings.Split(p.ok(t, "", append([]string{"audit", "list"}, args...)...), "\n")[1:] {
		kinds = append(kinds, strings.Fields(line)[1])
	}
	return kinds
}

func TestAuditCommands(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.ok(t, "", "init")
	id := p.ok(t, canary+"\n", "user", "add", "--username", "ada")
	p.ok(t, canary+"-2\n", "user", "passwd", "ada")
	p.ok(t, "", "user", "deactivate", "ada")
	mine := []string{"user.deactivated", "password.changed", "user.created"}
	assert.Equal(t, mine, p.kinds(t, "--user", "ada"))
	assert.Equal(t, mine, p.kinds(t, "--user", id, "--id", "--limit", "0"))
	assert.Equal(t, mine[:2], p.kinds(t, "--user", "ada", "--limit", "2"))
	assert.Equal(t, mine[2:], p.kinds(t, "--user", "ada", "--kind", "user.created", "--kind", "login"))
	all := p.kinds(t)
	assert.Subset(t, all, append(mine, "role.created", "customer.created"))
	tomorrow := time.Now().AddDate(0, 0, 2).Format(time.DateOnly)
	assert.Empty(t, p.kinds(t, "--since", tomorrow))
	assert.Len(t, p.kinds(t, "--until", tomorrow), len(all))

	now := time.Now().UTC().Add(time.Millisecond)
	time.Sleep(2 * time.Millisecond)
	assert.Equal(t, "0", p.ok(t, "", "audit", "prune", "--before", "1999-12-31"))
	assert.NotEqual(t, "0", p.ok(t, "", "audit", "prune", "--before", now.Format(time.RFC3339Nano)))
	assert.Equal(t, []string{"events.pruned"}, p.kinds(t))
	for _, args := range []string{"audit prune", "audit prune --before yesterday", "audit prune --before " + tomorrow, "audit list --since x", "audit list --limit -1", "audit list --kind A"} {
		code, _, stderr := p.run(t, "", strings.Fields(args)...)
		assert.Equal(t, 2, code, args)
		assert.NotEmpty(t, stderr)
	}
	code, _, _ := p.run(t, "", "audit", "list", "--user", "nobody")
	assert.Equal(t, 1, code)
}

func TestServe_L01_logs_events_where_it_is_told_to(t *testing.T) {
	t.Parallel()
	for _, on := range []bool{false, true} {
		p := newPlace(t, "USERAPI_SECRET="+secretA, "USERAPI_ADMIN_PASSWORD="+canary)
		if on {
			p = p.with("USERAPI_LOG_EVENTS=1")
		}
		s := p.serve(t)
		status, _ := s.call("POST", "/api/users/login", "", map[string]string{"email": "admin", "password": canary + "-wrong"})
		require.Equal(t, http.StatusUnauthorized, status)
		s.login("admin", canary)
		s.stop()
		var kinds []string
		for _, line := range strings.Split(s.out.String(), "\n") {
			var entry struct {
				Msg   string
				Level string
				Event struct {
					Kind, Address string
				}
			}
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "event" {
				assert.Equal(t, "INFO", entry.Level)
				kinds = append(kinds, entry.Event.Kind)
			}
		}
		if !on {
			assert.Empty(t, kinds)
			continue
		}
		assert.Equal(t, []string{"login.failed", "login"}, kinds[len(kinds)-2:])
	}
}
