package worker

import (
	"ringcast/engine/port"
	"ringcast/engine/worker/history"
)

// storage is the memory of all histories, which is tended once in a round of chores.
type storage struct {
	memory  *history.Memory
	squeeze history.Squeeze
	at      port.Time // when the next round may end
}

// next is when the memory is to be tended, Never while there is none.
func (s *storage) next() port.Time {
	if s.memory.Drawn() == 0 && s.squeeze.Idle() {
		return port.Never
	}
	return s.at
}

// tend moves the squeeze, and gives back memory that is not needed.
func (s *storage) tend(now port.Time, workers int) {
	s.at = nextChore(now)
	s.squeeze.Move(s.memory, workers)
	s.memory.Trim()
}

// tidy lets a layer's history shrink.
func (w *Worker) tidy(now port.Time, l *layer) {
	h := &l.history
	if w.storage.squeeze.Adjust(h, l.users+l.feeds) {
		w.count(HistoriesShortened)
	}
	h.Tidy(now)
	w.add(HistoryCut, h.TakeCut())
}
