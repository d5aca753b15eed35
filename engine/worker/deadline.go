package worker

import (
	"slices"

	"ringcast/engine/port"
)

// deadline names why a session wants to be called back.
type deadline uint8

const (
	// consentDeadline: the peer may have gone (RFC 7675).
	consentDeadline deadline = iota
	// pathDeadline: a path is to be given up, or left for another.
	pathDeadline
	// reportDeadline: sender or receiver reports are due.
	reportDeadline
	// feedbackDeadline: transport-wide feedback to a publisher is due.
	feedbackDeadline
	// nackDeadline: a publisher's losses are to be asked for.
	nackDeadline
	// turnDeadline: a subscriber may be sent more after a pause, or its Selector is to decide.
	turnDeadline

	numDeadlines
)

// timers are one session's deadlines and its place in the worker's heap.
type timers struct {
	at   [numDeadlines]port.Time
	next port.Time // the earliest of at
	slot int       // in the heap, -1 outside
}

func newTimers() timers {
	t := timers{next: port.Never, slot: -1}
	for i := range t.at {
		t.at[i] = port.Never
	}
	return t
}

// deadlines is a binary heap of sessions by their earliest deadline. A change of one session's deadline moves only that
// session.
type deadlines []*session

// next is the earliest deadline of all.
func (h deadlines) next() port.Time {
	if len(h) == 0 {
		return port.Never
	}
	return h[0].timers.next
}

// set moves one deadline of a session; port.Never clears it.
func (h *deadlines) set(s *session, d deadline, at port.Time) {
	t := &s.timers
	t.at[d] = at
	next := slices.Min(t.at[:])
	if next == t.next {
		return
	}
	earlier := next < t.next
	t.next = next
	switch {
	case t.slot < 0:
		t.slot = len(*h)
		*h = append(*h, s)
		h.up(t.slot)
	case next == port.Never:
		h.remove(s)
	case earlier:
		h.up(t.slot)
	default:
		h.down(t.slot)
	}
}

// remove takes a session out of the heap.
func (h *deadlines) remove(s *session) {
	i := s.timers.slot
	if i < 0 {
		return
	}
	last := len(*h) - 1
	h.swap(i, last)
	(*h)[last] = nil
	*h = (*h)[:last]
	s.timers.slot = -1
	if i < last {
		h.up(i)
		h.down(i)
	}
}

func (h deadlines) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].timers.slot, h[j].timers.slot = i, j
}

func (h deadlines) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if h[parent].timers.next <= h[i].timers.next {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h deadlines) down(i int) {
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(h); c++ {
			if h[c].timers.next < h[least].timers.next {
				least = c
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}
