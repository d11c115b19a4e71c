package storetest

import (
	"strings"
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
		for _, key := range []string{"k", "K", "k ", "ḱ", "k%", `k\`, "k'", "k\x00", strings.Repeat("k", 128-len(f.tag))} {
			l := userapi.LimitTake{Key: f.key(key), Max: 1, Window: time.Minute}
			same(t, take(f, f.now, l), time.Duration(0), "wait for "+key)
			same(t, take(f, f.now, l), time.Minute, "wait for "+key)
		}
	})
}
