package history

// maxBar bounds Squeeze.bar, far above any number of watchers.
const maxBar = 1 << 20

// A Squeeze shortens a worker's logs while the budget is tight, and lets them grow again while it is ample. It works in
// rounds: Adjust is called for each log, then Move once.
type Squeeze struct {
	// tight is set when the budget was tight before this round, found when a log was shortened in it.
	tight, found bool
	// bar is how many watchers a log may have and still be shortened. It rises while there is nothing left to
	// shorten below it.
	bar int
}

// Adjust sets how long a log with some watchers keeps its packets, and reports whether that is less than before.
func (s *Squeeze) Adjust(h *Log, watchers int) bool {
	switch {
	case s.tight && watchers <= s.bar && h.span > Least && h.pages.held() > 1:
		h.span = max(h.span/2, Least)
		s.found = true
		return true
	case h.span < Span && h.memory.budget.Ample():
		h.span = min(2*h.span, Span)
	}
	return false
}

// Move begins the next round, for the logs of one of several workers that share a budget.
func (s *Squeeze) Move(m *Memory, workers int) {
	tight := m.tight(workers)
	switch {
	case !tight:
		s.bar /= 2
	case s.tight && !s.found:
		s.bar = min(2*s.bar+1, maxBar)
	}
	s.tight, s.found = tight, false
}

// Idle reports whether rounds change nothing while the budget is not tight.
func (s *Squeeze) Idle() bool { return s.bar == 0 }
