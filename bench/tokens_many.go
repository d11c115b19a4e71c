package main

import (
	"fmt"
	mathrand "math/rand/v2"
	"runtime"

	"github.com/golang-jwt/jwt/v5"

	"github.com/userapi/userapi"
	"github.com/userapi/userapi/store/memory"
)

// Tokens by the thousand: those that were never seen, more than the cache holds, and what a million of them leave in memory.

// neverSeen lets many tokens come by, at random as from so many clients, or in turns: then a cache for fewer than half of them never
// holds the next one.
func neverSeen(r *Run) error {
	const all = 50_000
	many, tenth := r.Few(all, 300), r.Few(all/10, 30)
	st := aged{memory.New()}
	var t tokens
	var rotation, drawn []string
	ours := func(name string, cache int, inTurns bool) (*Case, error) {
		s, err := newSite(r, st, userapi.Config{TokenCache: cache})
		if err != nil {
			return nil, err
		}
		if rotation == nil {
			if t, err = s.tokens(r, jwt.SigningMethodHS256, hmacKey()); err != nil {
				return nil, err
			}
			texts, err := more(t.right, many)
			if err != nil {
				return nil, err
			}
			rotation = bearer(texts...)
			dice := mathrand.New(mathrand.NewPCG(1, 2))
			for range 4 * many {
				drawn = append(drawn, rotation[dice.IntN(many)])
			}
		}
		h, prove, err := guarded(r, s, t)
		if err != nil {
			return nil, err
		}
		warm, order := h.rotate(rotation), rotation
		if !inTurns {
			order = drawn
		}
		k := &Case{Name: name, Prove: prove, Do: h.rotate(order)}
		if !inTurns {
			k.Prove = func() error {
				err := prove()
				for range rotation {
					if err == nil {
						err = warm()
					}
				}
				return err
			}
		}
		return k, err
	}
	without, err := ours("userapi, no cache", userapi.NoTokenCache, false)
	if err != nil {
		return err
	}
	fresh, err := ours("userapi, in turns, the default cache: never seen", r.Few(0, 10), true)
	if err != nil {
		return err
	}
	fresh.Most, fresh.Note = 1.2, "all tokens are new to it: each is verified by golang-jwt and takes a place in the cache"
	holdsAll, err := ours("userapi, cache that holds all", many, false)
	if err != nil {
		return err
	}
	holdsAll.Against, holdsAll.Most, holdsAll.Target = without, 0.999, "faster"
	holdsTenth, err := ours("userapi, cache for a tenth", tenth, false)
	if err != nil {
		return err
	}
	holdsTenth.Against, holdsTenth.Most, holdsTenth.Target = without, 1.05, "not slower (≤ 1.05 ×)"
	holdsTenth.Why = "what is found one time in five or ten does not pay for what every other one costs: to hash the token, and to keep it"
	turns, err := ours("userapi, in turns, cache for a tenth", tenth, true)
	if err != nil {
		return err
	}
	turns.Against, turns.Note = without, "in turns a cache for a tenth never holds what is asked for next: it costs and gives nothing, the worst case of its kind"
	fresh.Why = "the route looks at more than a parse: spelling, type and key of the token, who issued it for whom, revocations; it hashes it for the cache, " +
		"which keeps it, and hands the identity on by a context"

	key := hmacKey()
	lean := newHarness(leanParse(key), "Authorization", "Bearer "+t.right)
	floor := newHarness(newLimit(key, false, append(stripped(rotation), t.right)...), "Authorization", "Bearer "+t.right)
	_, err = r.Measure(Contest{
		Title: fmt.Sprintf("%s tokens", count(float64(many))),
		Text: "Where nothing else is said, each request has one of them at random. A token is verified once on each node that sees it, and again when the cache has " +
			"forgotten it; that is held against what golang-jwt takes to parse it into the same claims, with nothing around.",
		Cases: []*Case{
			{Name: "golang-jwt v5, parse into lean claims", Do: lean.rotate(rotation), Prove: lean.prove(bearers(t.forged)), Note: "signature, expiry, role; nothing else"},
			fresh, without, holdsAll, holdsTenth, turns,
			{Name: "HMAC-SHA256, base64, map", Do: floor.rotate(rotation), Prove: floor.prove(map[string]string{"of another signature": "Bearer " + flip(t.right)})},
		},
		Chart: true,
	})
	return err
}

func stripped(bearers []string) []string {
	made := make([]string, len(bearers))
	for i, b := range bearers {
		made[i] = b[len("Bearer "):]
	}
	return made
}

// tokenMemory sends a million different tokens through caches of different sizes.
func tokenMemory(r *Run) error {
	million := r.Few(1_000_000, 500)
	s := Section{
		Title: fmt.Sprintf("Memory after %s different tokens", count(float64(million))),
		Text: "Heap in use after a garbage collection, less what was in use before: what an API with that cache keeps of that much traffic. " +
			"A cache keeps at least as many tokens as it has places, and at most twice as many, so it does not grow with the traffic.",
	}
	chart := Bars{Title: s.Title, Axis: "heap that stays in use"}
	var none float64
	for _, cache := range []int{userapi.NoTokenCache, 0, 100_000, 1_000_000} {
		name := map[int]string{userapi.NoTokenCache: "no cache", 0: "the default cache, 10,000 tokens"}[cache]
		if name == "" {
			name = "a cache for " + count(float64(cache))
		}
		used, err := heapAfter(r, cache, million)
		if err != nil {
			return err
		}
		row := Figure(name, size(used))
		switch cache {
		case userapi.NoTokenCache:
			none = used
		case 0:
			// A half of it may be a map with room for the next half.
			row = row.Aim("≤ 20 MiB", used <= 20<<20, "entries are larger than a KiB")
		}
		s.Rows = append(s.Rows, row)
		if cache > 0 && million > cache/2 {
			s.Rows = append(s.Rows, Figure("by place of it", size((used-none)/float64(min(cache, million)))))
		}
		chart.Bars = append(chart.Bars, Bar{Name: name, Value: max(used, 1), Label: size(used), Kind: "ours"})
	}
	s.Charts = []Chart{chart}
	r.Add(s)
	return nil
}

func heapAfter(r *Run, cache, n int) (float64, error) {
	inUse := func() float64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	st := aged{memory.New()}
	before := inUse()
	s, err := newSite(r, st, userapi.Config{TokenCache: cache})
	if err != nil {
		return 0, err
	}
	t, err := s.tokens(r, jwt.SigningMethodHS256, hmacKey())
	if err != nil {
		return 0, err
	}
	h, prove, err := guarded(r, s, t)
	if err == nil {
		err = prove()
	}
	if err != nil {
		return 0, err
	}
	another, err := mint(t.right)
	if err != nil {
		return 0, err
	}
	header := []string{""}
	h.request.Header["Authorization"] = header
	for i := range n {
		header[0] = "Bearer " + another(i)
		if err := h.do(); err != nil {
			return 0, err
		}
	}
	used := max(0, inUse()-before)
	runtime.KeepAlive(h)
	return used, nil
}
