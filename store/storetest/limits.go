package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/userapi/userapi"
)

func (s suite) limits(t *testing.T) {
	db := s.database(t)
	take := func(f *tenant, at time.Time, takes ...userapi.LimitTake) time.Duration {
		f.t.Helper()
		wait, err := f.TakeLimits(f.t.Context(), at, takes)
		must(f.t, err)
		return wait
	}
	back := func(f *tenant, returns ...userapi.LimitReturn) {
		f.t.Helper()
		must(f.t, f.ReturnLimits(f.t.Context(), returns))
	}

	t.Run("a counter lets its number pass, and says how long until the next", func(t *testing.T) {
		f := db.tenant(t)
		l := userapi.LimitTake{Key: f.key("n"), Max: 3, Window: time.Minute}
		for i := range 3 {
			same(t, take(f, f.now.Add(time.Duration(i)*10*time.Second), l), time.Duration(0), "wait")
		}
		for _, after := range []time.Duration{20 * time.Second, 59 * time.Second, time.Minute - time.Millisecond} {
			same(t, take(f, f.now.Add(after), l), time.Minute-after, "wait until the window is over that began with the first attempt")
		}
	})

	t.Run("a window that is over counts no more", func(t *testing.T) {
		f := db.tenant(t)
		l := userapi.LimitTake{Key: f.key("w"), Max: 2, Window: time.Minute}
		for _, at := range []time.Duration{0, 50 * time.Second} {
			same(t, take(f, f.now.Add(at), l), time.Duration(0), "wait")
		}
		next := f.now.Add(time.Minute)
		same(t, take(f, next, l), time.Duration(0), "wait when the window is over")
		same(t, take(f, next.Add(59*time.Second), l), time.Duration(0), "wait for the second of the new window")
		same(t, take(f, next.Add(59*time.Second), l), time.Second, "wait in the new window")
	})

	t.Run("refused attempts do not make the window longer", func(t *testing.T) {
		f := db.tenant(t)
		l := userapi.LimitTake{Key: f.key("r"), Max: 1, Window: time.Second}
		same(t, take(f, f.now, l), time.Duration(0), "wait")
		for i := range 5 {
			at := time.Duration(i) * 100 * time.Millisecond
			same(t, take(f, f.now.Add(at), l), time.Second-at, "wait")
		}
		same(t, take(f, f.now.Add(time.Second), l), time.Duration(0), "wait")
	})

	t.Run("several counters are taken together or not at all", func(t *testing.T) {
		f := db.tenant(t)
		wide := userapi.LimitTake{Key: f.key("wide"), Max: 3, Window: time.Hour}
		tight := userapi.LimitTake{Key: f.key("tight"), Max: 1, Window: time.Minute}
		fresh := userapi.LimitTake{Key: f.key("fresh"), Max: 1, Window: time.Minute}
		same(t, take(f, f.now, wide, tight), time.Duration(0), "wait")
		for range 5 {
			same(t, take(f, f.now, wide, tight, fresh), time.Minute, "wait for the full one")
			same(t, take(f, f.now, tight, wide), time.Minute, "wait for the full one, whatever the order")
		}
		same(t, take(f, f.now, wide, fresh), time.Duration(0), "wait for those that were not counted")
		same(t, take(f, f.now, wide), time.Duration(0), "wait for the last of the wide one")
		same(t, take(f, f.now, wide), time.Hour, "wait for the wide one")
		same(t, take(f, f.now), time.Duration(0), "wait for no counter")
	})

	t.Run("an attempt can be taken back", func(t *testing.T) {
		f := db.tenant(t)
		l := userapi.LimitTake{Key: f.key("b"), Max: 2, Window: time.Minute}
		other := userapi.LimitTake{Key: f.key("o"), Max: 1, Window: time.Minute}
		take(f, f.now, l)
		take(f, f.now, l, other)
		back(f, userapi.LimitReturn{Key: l.Key})
		same(t, take(f, f.now, l), time.Duration(0), "wait after one was taken back")
		same(t, take(f, f.now, l), time.Minute, "wait after that")
		same(t, take(f, f.now, other), time.Minute, "wait for the other one")
	})

	t.Run("two attempts on one key can be taken back at once", func(t *testing.T) {
		f := db.tenant(t)
		l := userapi.LimitTake{Key: f.key("b"), Max: 3, Window: time.Minute}
		for range 3 {
			take(f, f.now, l)
		}
		back(f, userapi.LimitReturn{Key: l.Key}, userapi.LimitReturn{Key: f.key("never")}, userapi.LimitReturn{Key: l.Key})
		for range 2 {
			same(t, take(f, f.now, l), time.Duration(0), "wait")
		}
		same(t, take(f, f.now, l), time.Minute, "wait after both were used again")
	})

	t.Run("a counter never falls below zero", func(t *testing.T) {
		f := db.tenant(t)
		l := userapi.LimitTake{Key: f.key("z"), Max: 2, Window: time.Minute}
		take(f, f.now, l)
		for range 5 {
			back(f, userapi.LimitReturn{Key: l.Key}, userapi.LimitReturn{Key: f.key("never")})
		}
		for range 2 {
			same(t, take(f, f.now, l), time.Duration(0), "wait")
		}
		if take(f, f.now, l) == 0 {
			t.Fatal("more than the limit passed after more was taken back than taken")
		}
	})

	t.Run("a counter can be cleared", func(t *testing.T) {
		f := db.tenant(t)
		l := userapi.LimitTake{Key: f.key("c"), Max: 2, Window: time.Minute}
		other := userapi.LimitTake{Key: f.key("o"), Max: 1, Window: time.Minute}
		take(f, f.now, l, other)
		take(f, f.now, l)
		back(f, userapi.LimitReturn{Key: l.Key, Clear: true}, userapi.LimitReturn{Key: f.key("never"), Clear: true})
		for range 2 {
			same(t, take(f, f.now.Add(time.Second), l), time.Duration(0), "wait")
		}
		same(t, take(f, f.now.Add(time.Second), l), time.Minute, "wait in the window that began after")
		same(t, take(f, f.now, other), time.Minute, "wait for the other one")
		back(f)
	})

	t.Run("keys are bytes", func(t *testing.T) {
		f := db.tenant(t)
		for _, key := range []string{"k", "K", "k ", "ḱ", "k%", `k\`, "k'", "k\x01", strings.Repeat("k", 128-len(f.tag))} {
			l := userapi.LimitTake{Key: f.key(key), Max: 1, Window: time.Minute}
			same(t, take(f, f.now, l), time.Duration(0), "wait for "+key)
			same(t, take(f, f.now, l), time.Minute, "wait for "+key)
		}
	})

	streak := func(f *tenant) userapi.LimitTake {
		return userapi.LimitTake{Key: f.key("s"), Max: 2, Window: time.Minute, Longest: 5 * time.Minute}
	}

	t.Run("windows grow while attempts go on, up to the longest", func(t *testing.T) {
		f := db.tenant(t)
		l, at := streak(f), f.now
		for _, lasts := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 5 * time.Minute, 5 * time.Minute} {
			for range 2 {
				same(t, take(f, at, l), time.Duration(0), "wait")
			}
			same(t, take(f, at.Add(time.Second), l), lasts-time.Second, "wait until the grown window is over")
			same(t, take(f, at.Add(lasts-time.Millisecond), l), time.Millisecond, "wait at the end of the grown window")
			at = at.Add(lasts)
		}
	})

	t.Run("attempts that use no window up count for the streak too", func(t *testing.T) {
		f := db.tenant(t)
		l, at := streak(f), f.now
		for range 3 { // one in a window: the third begins after two
			same(t, take(f, at, l), time.Duration(0), "wait")
			at = at.Add(time.Minute)
		}
		same(t, take(f, at, l), time.Duration(0), "wait within the grown window")
		same(t, take(f, at, l), time.Minute, "wait until the grown window is over")
	})

	t.Run("from the hundredth attempt in a row on a window lasts a day", func(t *testing.T) {
		f := db.tenant(t)
		l, at := streak(f), f.now
		l.Max = 60
		for range 2 {
			for range 60 {
				same(t, take(f, at, l), time.Duration(0), "wait")
			}
			at = at.Add(2 * time.Minute)
		}
		same(t, take(f, at, l), time.Duration(0), "wait: it is not for good")
		for range 59 {
			take(f, at, l)
		}
		same(t, take(f, at, l), 24*time.Hour, "wait after 120 in a row")
	})

	t.Run("a streak ends when it is cleared, or a day after a window", func(t *testing.T) {
		f := db.tenant(t)
		l := streak(f)
		fill := func(at time.Time) time.Duration {
			take(f, at, l)
			take(f, at, l)
			return take(f, at, l)
		}
		same(t, fill(f.now), time.Minute, "the first window")
		last := f.now.Add(time.Minute + 24*time.Hour - time.Millisecond)
		same(t, fill(last), 2*time.Minute, "a window within the day")
		back(f, userapi.LimitReturn{Key: l.Key, Clear: true})
		same(t, fill(last), time.Minute, "the window after it was cleared")
		same(t, fill(last.Add(time.Minute+24*time.Hour)), time.Minute, "the window a day later")
	})

	t.Run("what was taken back is in no streak", func(t *testing.T) {
		f := db.tenant(t)
		l := streak(f)
		for range 2 {
			take(f, f.now, l)
			back(f, userapi.LimitReturn{Key: l.Key})
		}
		at := f.now.Add(time.Minute)
		take(f, at, l)
		take(f, at, l)
		same(t, take(f, at, l), time.Minute, "wait")
	})

	read := func(f *tenant, at time.Time, keys ...string) map[string]userapi.LimitCount {
		f.t.Helper()
		counts, err := f.ReadLimits(f.t.Context(), at, keys)
		must(f.t, err)
		found := map[string]userapi.LimitCount{}
		for _, c := range counts {
			found[c.Key] = c
		}
		same(f.t, len(found), len(counts), "counters, each once")
		return found
	}

	t.Run("counters are read as they stand, until their window is over", func(t *testing.T) {
		f := db.tenant(t)
		l, other := streak(f), userapi.LimitTake{Key: f.key("o"), Max: 5, Window: time.Hour}
		take(f, f.now, l, other)
		take(f, f.now.Add(time.Second), l)
		want := userapi.LimitCount{Key: l.Key, Hits: 2, EndsAt: f.now.Add(time.Minute)}
		same(t, read(f, f.now.Add(time.Minute-time.Millisecond), l.Key, f.key("never")), map[string]userapi.LimitCount{l.Key: want}, "counters")
		same(t, len(read(f, f.now.Add(time.Minute), l.Key)), 0, "counters when the window is over")
		same(t, len(read(f, f.now, l.Key, other.Key)), 2, "counters")
		same(t, len(read(f, f.now)), 0, "counters without a key")
	})

	mark := func(f *tenant, group, name string, until time.Time) userapi.LimitReturn {
		return userapi.LimitReturn{Key: f.key(group) + name, Mark: &userapi.LimitMark{Until: until, Of: f.key(group), Cap: 3}}
	}
	marked := func(f *tenant, at time.Time, group string) (names []string) {
		f.t.Helper()
		for _, name := range []string{"1", "2", "3", "4", "5"} {
			if len(read(f, at, f.key(group)+name)) == 1 {
				names = append(names, name)
			}
		}
		return names
	}

	t.Run("a mark lasts until its end, and is set anew", func(t *testing.T) {
		f := db.tenant(t)
		back(f, mark(f, "m:", "1", f.now.Add(time.Hour)))
		same(t, read(f, f.now, f.key("m:1"))[f.key("m:1")], userapi.LimitCount{Key: f.key("m:1"), Hits: 1, EndsAt: f.now.Add(time.Hour)}, "mark")
		same(t, len(marked(f, f.now.Add(time.Hour), "m:")), 0, "marks at the end")
		back(f, mark(f, "m:", "1", f.now.Add(2*time.Hour)))
		same(t, marked(f, f.now.Add(time.Hour), "m:"), []string{"1"}, "marks that were set anew")
	})

	t.Run("of too many marks those go that end first", func(t *testing.T) {
		f := db.tenant(t)
		for _, group := range []string{"m:", "n:"} {
			for i, name := range []string{"3", "1", "2"} {
				back(f, mark(f, group, name, f.now.Add(time.Duration(i+1)*time.Hour)))
			}
		}
		back(f, mark(f, "m:", "4", f.now.Add(90*time.Minute)), mark(f, "m:", "5", f.now.Add(4*time.Hour)))
		same(t, marked(f, f.now, "m:"), []string{"1", "2", "5"}, "marks left")
		same(t, marked(f, f.now, "n:"), []string{"1", "2", "3"}, "marks of others")
	})

	t.Run("a session gives back, clears and marks with its own write", func(t *testing.T) {
		f := db.tenant(t)
		a := f.add()
		l, address := streak(f), userapi.LimitTake{Key: f.key("address"), Max: 5, Window: time.Minute}
		take(f, f.now, l, address)
		take(f, f.now, l, address)
		w := f.login(f.session(a.ID), a.Epoch+1)
		w.Returns = []userapi.LimitReturn{{Key: l.Key, Clear: true}, mark(f, "m:", "1", f.now.Add(time.Hour)), {Key: address.Key}}
		_, err := f.InsertSession(t.Context(), w)
		is(t, err, userapi.ErrChanged)
		found := read(f, f.now, l.Key, address.Key, f.key("m:1"))
		same(t, []int{found[l.Key].Hits, found[address.Key].Hits, len(found)}, []int{2, 2, 2}, "what a refused session left")
		w = f.login(f.session(a.ID), a.Epoch)
		w.Returns = []userapi.LimitReturn{{Key: l.Key, Clear: true}, mark(f, "m:", "1", f.now.Add(time.Hour)), {Key: address.Key}}
		_, err = f.InsertSession(t.Context(), w)
		must(t, err)
		found = read(f, f.now, l.Key, address.Key, f.key("m:1"))
		same(t, []int{found[l.Key].Hits, found[address.Key].Hits, found[f.key("m:1")].Hits}, []int{0, 1, 1}, "counters and mark")
	})

	t.Run("a counter with a streak stays for it, a mark until its end", func(t *testing.T) {
		f := s.database(t).tenant(t)
		sweep := func(at time.Time) int {
			n, err := f.Sweep(t.Context(), userapi.SweepBefore{Now: at, Idle: 1000 * time.Hour, Batch: 100})
			must(t, err)
			return n
		}
		l := streak(f)
		take(f, f.now, l)
		back(f, mark(f, "m:", "1", f.now.Add(time.Hour)))
		same(t, sweep(f.now.Add(time.Hour-time.Millisecond)), 0, "rows gone before")
		same(t, sweep(f.now.Add(time.Hour)), 1, "rows gone at the end of the mark")
		same(t, sweep(f.now.Add(time.Minute+24*time.Hour-time.Millisecond)), 0, "rows gone within a day")
		same(t, sweep(f.now.Add(time.Minute+24*time.Hour)), 1, "rows gone after it")
	})
}

// notices is a userapi.Sender that counts what owners are told, by recipient.
type notices struct {
	mu   sync.Mutex
	told map[string]int
}

func (n *notices) Send(_ context.Context, m userapi.Message) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.told[m.To+" "+string(m.Notice)]++
	return nil
}

func (s suite) limitRaces(t *testing.T) {
	db := s.database(t)

	db.every(t, "a window that grows begins once", func(t *testing.T, f *tenant) {
		l := userapi.LimitTake{Key: f.key("l"), Max: 5, Window: time.Minute, Longest: time.Hour}
		for i, lasts := range []time.Duration{time.Minute, 2 * time.Minute} {
			at := f.now.Add(time.Duration(i) * time.Minute)
			passed := db.race(racers, func(_ int, st userapi.Store) error {
				wait, err := st.TakeLimits(t.Context(), at, []userapi.LimitTake{l})
				if err == nil && wait != 0 && wait != lasts {
					t.Errorf("wait is %v, wanted %v", wait, lasts)
				}
				if err == nil && wait > 0 {
					return userapi.ErrRateLimited
				}
				return err
			})
			same(t, winners(t, passed, userapi.ErrRateLimited), 5, "attempts that passed")
		}
	})

	db.every(t, "as many marks of an account are kept as may be, whoever logs in at once", func(t *testing.T, f *tenant) {
		a := f.add()
		of := f.key("m:")
		open, keys := f.openings(a, racers), make([]string, racers)
		for i := range open {
			keys[i] = of + fmt.Sprint(i)
			open[i].Returns = []userapi.LimitReturn{{Key: keys[i], Mark: &userapi.LimitMark{Until: f.now.Add(time.Hour), Of: of, Cap: 7}}}
		}
		same(t, winners(t, db.race(racers, func(i int, st userapi.Store) error {
			_, err := st.InsertSession(t.Context(), open[i])
			return err
		})), racers, "logins")
		counts, err := f.ReadLimits(t.Context(), f.now, keys)
		must(t, err)
		same(t, len(counts), 7, "marks left")
	})

	db.rounds = apiRounds
	db.every(t, "nobody is shut out from elsewhere, and the owner is told once (J01, J02, J05)", func(t *testing.T, f *tenant) {
		box, now := &notices{told: map[string]int{}}, f.now
		n := f.nodes(func(c *userapi.Config) {
			c.Limits = userapi.Limits{userapi.LimitLogin: {{Max: 5, Window: 10 * time.Minute, Per: userapi.PerAccount}}}
			c.Verification, c.Now = userapi.Verification{Mail: box}, func() time.Time { return now }
			c.Password.QueueTimeout = time.Minute
		})
		ann, err := n.apis[0].Users.Create(t.Context(), userapi.System(), userapi.NewUser{
			Username: n.key("ann"), Email: n.key("ann") + "@example.com", EmailVerified: true, Password: oldPassword, Active: true, CustomerID: n.customer,
		})
		must(t, err)
		login := func(api *userapi.API, name, address string, password userapi.Secret) error {
			_, _, err := api.Auth.Login(t.Context(), userapi.Anonymous().From(address, ""), userapi.LoginRequest{Identifier: name, Password: password})
			return err
		}
		must(t, login(n.apis[0], ann.Username, "2001:db8:1:2::3", oldPassword))
		for _, name := range []string{ann.Username, n.key("nobody")} {
			results := n.race(racers, func(i int, api *userapi.API) error {
				err := login(api, name, fmt.Sprintf("198.51.100.%d", i), newPassword)
				if errors.Is(err, userapi.ErrBadCredentials) {
					return nil // it was judged
				}
				return err
			})
			same(t, winners(t, results, userapi.ErrRateLimited), 5, "attempts that were judged")
		}
		is(t, login(n.apis[0], ann.Username, "198.51.100.200", oldPassword), userapi.ErrRateLimited)
		for _, api := range n.apis { // the same /64, on either node
			must(t, login(api, ann.Username, "2001:db8:1:2::4", oldPassword))
		}
		own := n.race(racers, func(_ int, api *userapi.API) error {
			err := login(api, ann.Username, "2001:db8:1:2::5", newPassword)
			if errors.Is(err, userapi.ErrBadCredentials) {
				return nil
			}
			return err
		})
		same(t, winners(t, own, userapi.ErrRateLimited), 5, "attempts that were judged at an address that is known")
		// A message of the other database's clock may be a moment away from being due.
		for range 100 {
			_, err = n.apis[1].Deliver(t.Context())
			must(t, err)
			if box.told[ann.Email+" login_limited"] == 2 {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		same(t, box.told, map[string]int{ann.Email + " login_limited": 2}, "notices: one for each budget")
	})
}
