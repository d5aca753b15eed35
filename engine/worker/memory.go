package worker

import "ringcast/engine/budget"

// pageSize is how many bytes of packets histories take and give back at a time: three full datagrams, or a
// second of an ordinary audio track.
const pageSize = 4 << 10

// A page holds packets of one history, each in one piece.
type page [pageSize]byte

// A memory is one worker's part of the budget that the histories of all workers share. Pages that histories
// gave back wait in it for the next, so that a steady stream allocates nothing.
type memory struct {
	budget *budget.Budget
	// used is how many bytes histories hold, their indexes included.
	used int
	free []*page
	// idle is the least number of free pages since the last trim: so many were not needed.
	idle int
}

func newMemory(b *budget.Budget) *memory {
	if b == nil {
		b = budget.New(0)
	}
	return &memory{budget: b}
}

// take returns a page, nil when the budget is used up. What it holds is arbitrary.
func (m *memory) take() *page {
	if n := len(m.free); n > 0 {
		p := m.free[n-1]
		m.free = m.free[:n-1]
		m.idle = min(m.idle, n-1)
		m.used += pageSize
		return p
	}
	if !m.budget.Take(pageSize) {
		return nil
	}
	m.used += pageSize
	return new(page)
}

// overdraw returns a page whatever the budget says.
func (m *memory) overdraw() *page {
	m.budget.Overdraw(pageSize)
	m.used += pageSize
	return new(page)
}

// give takes a page back.
func (m *memory) give(p *page) {
	m.used -= pageSize
	m.free = append(m.free, p)
}

// held reports whether anything is drawn from the budget.
func (m *memory) held() bool { return m.used > 0 || len(m.free) > 0 }

// drawIndex takes n bytes for an index and reports whether they were there to take.
func (m *memory) drawIndex(n int) bool {
	ok := m.budget.Take(n)
	if ok {
		m.used += n
	}
	return ok
}

// overdrawIndex takes them whatever the budget says.
func (m *memory) overdrawIndex(n int) {
	m.budget.Overdraw(n)
	m.used += n
}

// giveIndex gives n bytes of an index back.
func (m *memory) giveIndex(n int) {
	m.budget.Give(n)
	m.used -= n
}

// trim gives back half of the free pages that nothing needed since the last trim, and all of them while the
// budget is tight. To be called a few times a second.
func (m *memory) trim() {
	n := min((m.idle+1)/2, len(m.free))
	if m.budget.Tight() {
		n = len(m.free)
	}
	keep := len(m.free) - n
	clear(m.free[keep:])
	m.free = m.free[:keep]
	m.budget.Give(n * pageSize)
	m.idle = keep
	if c := cap(m.free); c > 64 && c > 4*keep { // a burst's list
		m.free = append(make([]*page, 0, 2*keep), m.free...)
	}
}

// A squeeze shortens histories while the budget is tight, and lets them grow again while it is ample. It works in
// rounds: all histories are adjusted alike, then it moves.
type squeeze struct {
	// tight is whether the budget was before this round, found whether a history was shortened in it.
	tight, found bool
	// bar is how many watchers a history may have and still be shortened. It rises while there is
	// nothing left to shorten below it.
	bar int
}

// adjust sets how long a history with some watchers keeps its packets, and reports whether it is less than
// before.
func (s *squeeze) adjust(h *history, watchers int) bool {
	switch {
	case s.tight && watchers <= s.bar && h.span > historyLeast && h.held() > 1:
		h.span = max(h.span/2, historyLeast)
		s.found = true
		return true
	case h.span < historySpan && h.memory.budget.Ample():
		h.span = min(2*h.span, historySpan)
	}
	return false
}

// move begins the next round.
func (s *squeeze) move(tight bool) {
	switch {
	case !tight:
		s.bar /= 2
	case s.tight && !s.found:
		s.bar = min(2*s.bar+1, 1<<20)
	}
	s.tight, s.found = tight, false
}

// tight reports whether the budget is, and this worker holds no less than its share of what all hold.
func (m *memory) tight(workers int) bool {
	return m.budget.Tight() && int64(m.used)*int64(workers) >= m.budget.Held()
}
