package directory

import "time"

// memory is a bounded map whose entries all live equally long. Where it is full, the oldest entry gives its place.
type memory[V any] struct {
	span    time.Duration
	most    int
	entries map[string]remembered[V]
	// order has an element for each put, the oldest first. An element of an entry that was put again, or removed, is
	// stale: its number is not the entry's.
	order []putting
	puts  uint64
}

type remembered[V any] struct {
	value  V
	number uint64
	until  time.Time
}

type putting struct {
	key    string
	number uint64
}

func newMemory[V any](span time.Duration, most int) *memory[V] {
	return &memory[V]{span: span, most: most, entries: make(map[string]remembered[V])}
}

func (m *memory[V]) get(now time.Time, key string) (value V, ok bool) {
	e, ok := m.entries[key]
	if !ok || !now.Before(e.until) {
		return value, false
	}
	return e.value, true
}

// put stores a value for the memory's span.
func (m *memory[V]) put(now time.Time, key string, value V) {
	m.puts++
	m.entries[key] = remembered[V]{value, m.puts, now.Add(m.span)}
	m.order = append(m.order, putting{key, m.puts})
	m.trim(now)
}

func (m *memory[V]) remove(key string) { delete(m.entries, key) }

// trim removes the entries that have expired or are too many. It also removes stale elements where they outnumber the
// others, so that the memory is bounded by its entries.
func (m *memory[V]) trim(now time.Time) {
	n := 0
	for ; n < len(m.order); n++ {
		e, ok := m.entries[m.order[n].key]
		if !ok || e.number != m.order[n].number {
			continue
		}
		if len(m.entries) <= m.most && now.Before(e.until) {
			break
		}
		delete(m.entries, m.order[n].key)
	}
	m.order = m.order[n:]
	if len(m.order) > 2*len(m.entries)+16 {
		live := make([]putting, 0, len(m.entries)+8)
		for _, p := range m.order {
			if e, ok := m.entries[p.key]; ok && e.number == p.number {
				live = append(live, p)
			}
		}
		m.order = live
	}
}
