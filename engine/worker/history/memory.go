package history

import "ringcast/engine/budget"

// A Memory is one worker's part of the budget that the logs of all workers share. A page that a log gave back waits in
// it for the next log, so that a steady stream allocates nothing.
type Memory struct {
	budget *budget.Budget
	// used is how many bytes logs hold, their indexes included.
	used int
	free []*page
	// idle is the least number of free pages since the last Trim: so many were not needed.
	idle int
}

// NewMemory makes a memory that draws from a budget. nil is no bound.
func NewMemory(b *budget.Budget) *Memory {
	if b == nil {
		b = budget.New(0)
	}
	return &Memory{budget: b}
}

// Used is how many bytes logs hold, their indexes included.
func (m *Memory) Used() int { return m.used }

// Drawn is how many bytes are drawn from the budget: those used, and those of free pages.
func (m *Memory) Drawn() int { return m.used + len(m.free)*pageSize }

// tight reports whether the budget is tight and this worker holds no less than its share of all that is drawn.
func (m *Memory) tight(workers int) bool {
	return m.budget.Tight() && int64(m.used)*int64(workers) >= m.budget.Held()
}

// Trim gives back half of the free pages that nothing needed since the last Trim, and all of them while the budget is
// tight. It is called a few times a second.
func (m *Memory) Trim() {
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

// take returns a page, nil when the budget is used up. The page's contents are arbitrary.
func (m *Memory) take() *page {
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

// overdraw returns a page even if the budget is used up.
func (m *Memory) overdraw() *page {
	m.budget.Overdraw(pageSize)
	m.used += pageSize
	return new(page)
}

// give takes a page back from a log.
func (m *Memory) give(p *page) {
	m.used -= pageSize
	m.free = append(m.free, p)
}

// drawIndex takes n bytes for an index and reports whether the budget had them.
func (m *Memory) drawIndex(n int) bool {
	ok := m.budget.Take(n)
	if ok {
		m.used += n
	}
	return ok
}

// overdrawIndex takes n bytes for an index even if the budget is used up.
func (m *Memory) overdrawIndex(n int) {
	m.budget.Overdraw(n)
	m.used += n
}

// giveIndex gives n bytes of an index back.
func (m *Memory) giveIndex(n int) {
	m.budget.Give(n)
	m.used -= n
}
