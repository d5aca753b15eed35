package secret

import (
	"sync"
	"time"
)

const (
	// maxUsed is how many tokens are remembered at a time, and usedSpan for how long.
	maxUsed  = 65_536
	usedSpan = 2 * Span
)

// A memory remembers tokens that were used, for usedSpan. No token is good for longer.
type memory struct {
	mu   sync.Mutex
	used map[Nonce]struct{}
	// order has them from the oldest on, from first on.
	order []use
	first int
}

type use struct {
	nonce Nonce
	at    time.Time
}

// enter remembers a token. It fails with Replayed or Full.
func (m *memory) enter(n Nonce, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(now)
	if _, ok := m.used[n]; ok {
		return Replayed
	}
	if len(m.used) >= maxUsed {
		return Full
	}
	if m.used == nil {
		m.used = make(map[Nonce]struct{})
	}
	m.used[n] = struct{}{}
	m.order = append(m.order, use{n, now})
	return nil
}

// forget drops tokens that are no longer good. The caller holds mu.
func (m *memory) forget(now time.Time) {
	for m.first < len(m.order) && now.Sub(m.order[m.first].at) > usedSpan {
		delete(m.used, m.order[m.first].nonce)
		m.first++
	}
	switch {
	case len(m.used) == 0: // the memory of a storm is free again
		m.used, m.order, m.first = nil, nil, 0
	case m.first > len(m.order)/2:
		m.order = append(m.order[:0], m.order[m.first:]...)
		m.first = 0
	}
}
