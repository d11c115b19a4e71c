package userapi

import (
	"crypto/sha256"
	"sync"
)

// recent remembers what was made of credentials that were checked, by the hash of the whole credential: those last used, at least
// as many as it is made for, and at most twice as many. When the younger generation is full the older one goes: whatever is in use
// has moved to the younger by then, and nothing is ever searched for. A nil one remembers nothing.
type recent[T any] struct{ parts []recentPart[T] }

// recentPart has a lock of its own, so that many cores do not wait for one, and what it needs of memory for itself.
type recentPart[T any] struct {
	size       int
	mu         sync.RWMutex
	young, old map[[sha256.Size]byte]*T
	_          [64]byte // the next part's lock is in another cache line
}

// recentParts is a power of two. Few credentials are kept in one part: many would not be spread evenly.
const recentParts = 64

func newRecent[T any](size int) *recent[T] {
	if size < 1 {
		return nil
	}
	n := 1
	if size >= 64*recentParts {
		n = recentParts
	}
	c := &recent[T]{parts: make([]recentPart[T], n)}
	for i := range c.parts {
		c.parts[i].size, c.parts[i].young = (size+n-1)/n, map[[sha256.Size]byte]*T{}
	}
	return c
}

// wholeHash is what recent knows a credential by. The copy keeps all but the longest off the heap.
func wholeHash(credential string) [sha256.Size]byte {
	var room [1024]byte
	return sha256.Sum256(append(room[:0], credential...))
}

func (c *recent[T]) part(whole *[sha256.Size]byte) *recentPart[T] {
	return &c.parts[int(whole[0])&(len(c.parts)-1)]
}

// get returns nil for what is not known.
func (c *recent[T]) get(whole *[sha256.Size]byte) *T {
	if c == nil {
		return nil
	}
	p := c.part(whole)
	p.mu.RLock()
	k := p.young[*whole]
	if k != nil {
		p.mu.RUnlock()
		return k
	}
	k = p.old[*whole]
	p.mu.RUnlock()
	if k != nil {
		p.put(whole, k)
	}
	return k
}

func (c *recent[T]) put(whole *[sha256.Size]byte, k *T) {
	if c != nil {
		c.part(whole).put(whole, k)
	}
}

func (p *recentPart[T]) put(whole *[sha256.Size]byte, k *T) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, there := p.young[*whole]; !there && len(p.young) >= p.size {
		p.old, p.young = p.young, make(map[[sha256.Size]byte]*T, p.size)
	}
	p.young[*whole] = k
}
