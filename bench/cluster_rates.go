package main

import (
	"fmt"
	"math/rand/v2"
	"os"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/internal/drivertest"
)

const clusterCallers = 24

// flushes compares innodb_flush_log_at_trx_commit, one node with three, and one customer with many.
func flushes(r *Run, c *galera) error {
	apis, err := c.apis(r, wait7)
	if err != nil {
		return err
	}
	var cases []*turn
	by := map[string]*turn{}
	for _, flush := range []int{1, 2} {
		for _, customers := range []string{"64 customers", "one customer"} {
			for _, nodes := range []int{1, galeraNodes} {
				key := fmt.Sprint(customers, nodes)
				t := &turn{name: fmt.Sprintf("%s, %s, flush %d", map[int]string{1: "at one node", galeraNodes: "over three nodes"}[nodes], customers, flush), status: c.status}
				t.begin = func() error {
					return c.everywhere(fmt.Sprintf("SET GLOBAL innodb_flush_log_at_trx_commit = %d", flush))
				}
				t.do = func(worker int) error {
					customer := c.anyCustomer()
					if customers == "one customer" {
						customer = large
					}
					_, err := apis[worker%nodes].Users.Create(r, userapi.System(), c.newcomer(customer))
					return err
				}
				if flush == 1 {
					by[key] = t
				} else {
					t.against = by[key]
				}
				cases = append(cases, t)
			}
		}
	}
	if err := c.turns(r, Section{
		Title: fmt.Sprintf("Registrations by %d callers: one node or three, and innodb_flush_log_at_trx_commit", clusterCallers),
		Text: `All write to one node, or a third of them to each. What conflicts is repeated: *transactions* is how many a registration took, *conflicts* are those of certification and
those in which a node took the row from a caller of its own for what another node had committed. A registration changes its customer's row: at one node callers wait for it in turn, and
between nodes the first to commit wins and the others begin anew.`,
	}, clusterCallers, cases); err != nil {
		return err
	}
	return c.everywhere("SET GLOBAL innodb_flush_log_at_trx_commit = 1")
}

// oneServer holds the cluster against one server with the same settings.
func oneServer(r *Run, c *galera) error {
	dir, err := os.MkdirTemp("", "userapi-bench-")
	if err != nil {
		return err
	}
	r.Cleanup(func() { _ = os.RemoveAll(dir) })
	server, err := drivertest.In(dir, serverArgs...)
	if err != nil {
		return err
	}
	r.Cleanup(server.Stop)
	if err := runAt(server, "CREATE DATABASE "+galeraName); err != nil {
		return err
	}
	one, err := openMaria(r, server, galeraName, "")
	if err != nil {
		return err
	}
	if err := one.store.Migrate(r); err != nil {
		return err
	}
	one.users = r.Few(10_000, 1_000)
	if err := one.fill(r, one.users); err != nil {
		return err
	}
	alone, err := one.unlimitedAPI()
	if err != nil {
		return err
	}
	apis, err := c.apis(r, wait7)
	if err != nil {
		return err
	}
	places := []struct {
		name   string
		apis   []*userapi.API
		status func(...string) float64
	}{
		{"one server", []*userapi.API{alone}, func(names ...string) float64 { return serverStatus(server, names...) }},
		{"the cluster, at one node", apis[:1], c.status},
		{"the cluster, over three nodes", apis, c.status},
	}
	caller := userapi.Anonymous().From("192.0.2.1", "bench")
	for _, what := range []string{"Registrations", "Logins", "Refreshes"} {
		var cases []*turn
		for _, p := range places {
			t := &turn{name: p.name, status: p.status}
			var users []string
			var open []userapi.Secret
			if what != "Registrations" {
				for w := range r.Few(480, clusterCallers) {
					u := c.newcomer(c.anyCustomer())
					u.PasswordHash, u.Password = "", password
					made, err := p.apis[0].Users.Create(r, userapi.System(), u)
					if err != nil {
						return err
					}
					users = append(users, made.Username)
					if w < clusterCallers {
						_, tokens, err := p.apis[0].Auth.IssueTokens(r, userapi.System(), made.ID, "pwd")
						if err != nil {
							return err
						}
						open = append(open, tokens.Refresh)
					}
				}
			}
			switch what {
			case "Registrations":
				t.do = func(w int) error {
					_, err := p.apis[w%len(p.apis)].Users.Create(r, userapi.System(), c.newcomer(c.anyCustomer()))
					return err
				}
			case "Logins":
				t.do = func(w int) error {
					_, _, err := p.apis[w%len(p.apis)].Auth.Login(r, caller, userapi.LoginRequest{Identifier: users[rand.IntN(len(users))], Password: password})
					return err
				}
			default:
				t.do = func(w int) error {
					tokens, err := p.apis[w%len(p.apis)].Auth.Refresh(r, caller, open[w])
					if err == nil {
						open[w] = tokens.Refresh
					}
					return err
				}
			}
			cases = append(cases, t)
		}
		if err := c.turns(r, Section{
			Title: fmt.Sprintf("%s by %d callers: one server and the cluster", what, clusterCallers),
			Text:  "A commit has to go to all nodes and be agreed on before it is acknowledged, and each node applies the writes of all: here on the same cores.",
		}, clusterCallers, cases); err != nil {
			return err
		}
	}
	return nil
}
