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

	// dialDeadline: a session that we dial is to send a check. It has the place of consentDeadline, which only sessions
	// have that we do not dial.
	dialDeadline = consentDeadline
	// mediaDeadline: a publication may have paused. It has the place of turnDeadline, which only subscribers have.
	mediaDeadline = turnDeadline
)

// deadlineGrid is the distance of the times at which deadlines in no hurry come due, those of all sessions together. So
// a thousand viewers wake the worker for their reports a hundred times a second, and their reports leave in batches.
const deadlineGrid = 10 * port.Millisecond

// behindSpan is the lateness of a deadline above which the worker is late. Its core was busy otherwise, or there is
// too much to do. Reports waited meanwhile, or were lost: those of thousands of viewers fill a ring of the port.
const behindSpan = 50 * port.Millisecond

// onGrid is the earliest time on the grid from a time on.
func onGrid(at port.Time) port.Time {
	if at >= port.Never-deadlineGrid {
		return at
	}
	return (at + deadlineGrid - 1) / deadlineGrid * deadlineGrid
}

// timers are one session's deadlines and its place in the worker's heap.
type timers struct {
	at   [numDeadlines]port.Time
	slot int // in the heap, -1 outside
}

func newTimers() timers {
	t := timers{slot: -1}
	for i := range t.at {
		t.at[i] = port.Never
	}
	return t
}

// deadlines is a binary heap of sessions by their earliest deadline. A change of one session's deadline moves only that
// session. The deadline lies beside the session: a comparison reads no memory of sessions, which are many.
type deadlines []appointment

// An appointment is the earliest deadline of a session.
type appointment struct {
	at      port.Time
	session *session
}

// next is the earliest deadline of all.
func (h deadlines) next() port.Time {
	if len(h) == 0 {
		return port.Never
	}
	return h[0].at
}

// set moves one deadline of a session, that of reports to the next time on the grid. port.Never clears it. A session
// that was given up has none any more.
func (h *deadlines) set(s *session, d deadline, at port.Time) {
	if s.ending {
		return
	}
	t := &s.timers
	if d == reportDeadline {
		at = onGrid(at)
	}
	t.at[d] = at
	x := appointment{at: slices.Min(t.at[:]), session: s}
	switch i := t.slot; {
	case i < 0 && x.at == port.Never:
	case i < 0:
		*h = append(*h, x)
		h.up(len(*h)-1, x)
	case x.at == port.Never:
		h.remove(s)
	case x.at < (*h)[i].at:
		h.up(i, x)
	case x.at > (*h)[i].at:
		h.down(i, x)
	}
}

// remove takes a session out of the heap.
func (h *deadlines) remove(s *session) {
	i := s.timers.slot
	if i < 0 {
		return
	}
	last := len(*h) - 1
	x := (*h)[last]
	(*h)[last] = appointment{}
	*h = (*h)[:last]
	s.timers.slot = -1
	switch {
	case i == last:
	case i > 0 && x.at < (*h)[(i-1)/2].at:
		h.up(i, x)
	default:
		h.down(i, x)
	}
}

// put places an appointment.
func (h deadlines) put(i int, x appointment) {
	h[i] = x
	x.session.timers.slot = i
}

// up places an appointment at a free slot or above.
func (h deadlines) up(i int, x appointment) {
	for i > 0 {
		parent := (i - 1) / 2
		if h[parent].at <= x.at {
			break
		}
		h.put(i, h[parent])
		i = parent
	}
	h.put(i, x)
}

// down places an appointment at a free slot or below.
func (h deadlines) down(i int, x appointment) {
	for {
		c := 2*i + 1
		if c+1 < len(h) && h[c+1].at < h[c].at {
			c++
		}
		if c >= len(h) || h[c].at >= x.at {
			break
		}
		h.put(i, h[c])
		i = c
	}
	h.put(i, x)
}
