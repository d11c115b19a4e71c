package userapi

import (
	"crypto/sha256"
	"sync"
)

// recent remembers what was made of credentials that were checked, by the hash of the whole credential. When the younger
// half is full the older one goes: whatever is in use has moved to the younger by then, and nothing is ever searched for.
type recent[T any] struct {
	half       int
	mu         sync.RWMutex
	young, old map[[sha256.Size]byte]*T
}

func newRecent[T any](size int) *recent[T] {
	return &recent[T]{half: (size + 1) / 2, young: map[[sha256.Size]byte]*T{}}
}

func (c *recent[T]) get(whole [sha256.Size]byte) *T {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if k := c.young[whole]; k != nil {
		return k
	}
	return c.old[whole]
}

func (c *recent[T]) put(whole [sha256.Size]byte, k *T) {
	c.mu.RLock()
	known := c.young[whole] == k
	c.mu.RUnlock()
	if known {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, there := c.young[whole]; !there && len(c.young) >= c.half {
		c.old, c.young = c.young, make(map[[sha256.Size]byte]*T, c.half)
	}
	c.young[whole] = k
}
