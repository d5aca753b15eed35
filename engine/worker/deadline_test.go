package worker

import (
	"math/rand/v2"
	"testing"

	"ringcast/engine/port"
)

// The heap against a scan of all sessions, under random changes.
func TestDeadlinesAgainstModel(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	var h deadlines
	sessions := make([]*session, 60)
	for i := range sessions {
		sessions[i] = &session{live: &live{timers: newTimers()}}
	}
	removed := make(map[*session]bool)
	for step := range 20_000 {
		s := sessions[r.IntN(len(sessions))]
		switch r.IntN(8) {
		case 0:
			h.remove(s)
			removed[s] = true
		case 1, 2:
			if !removed[s] {
				h.set(s, deadline(r.IntN(int(numDeadlines))), port.Never)
			}
		default:
			if removed[s] { // as a session that is opened again
				s.timers = newTimers()
				delete(removed, s)
			}
			h.set(s, deadline(r.IntN(int(numDeadlines))), port.Time(r.Int64N(1000)))
		}
		agrees(t, step, h, sessions, removed)
	}
}

// agrees fails unless the heap has the earliest deadline of each session that was not removed, in order.
func agrees(t *testing.T, step int, h deadlines, sessions []*session, removed map[*session]bool) {
	t.Helper()
	want := port.Never
	n := 0
	for _, s := range sessions {
		if removed[s] {
			if s.timers.slot >= 0 {
				t.Fatalf("step %d: a removed session has a slot", step)
			}
			continue
		}
		least := port.Never
		for _, at := range s.timers.at {
			least = min(least, at)
		}
		if least != s.timers.next {
			t.Fatalf("step %d: a session's earliest deadline is %d; expected %d", step, s.timers.next, least)
		}
		if (least != port.Never) != (s.timers.slot >= 0) {
			t.Fatalf("step %d: a session with deadline %d has slot %d", step, least, s.timers.slot)
		}
		if least != port.Never {
			n++
		}
		want = min(want, least)
	}
	if h.next() != want || len(h) != n {
		t.Fatalf("step %d: the next deadline is %d of %d; expected %d of %d", step, h.next(), len(h), want, n)
	}
	for i, s := range h {
		if s.timers.slot != i {
			t.Fatalf("step %d: slot %d holds the session of slot %d", step, i, s.timers.slot)
		}
		if parent := h[max(0, i-1)/2]; parent.timers.next > s.timers.next {
			t.Fatalf("step %d: slot %d is due before its parent", step, i)
		}
	}
}

func TestDeadlinesOfNobody(t *testing.T) {
	var h deadlines
	if h.next() != port.Never {
		t.Errorf("no sessions are due at %d", h.next())
	}
	s := &session{live: &live{timers: newTimers()}}
	h.remove(s)
	h.set(s, nackDeadline, port.Never)
	if len(h) != 0 || h.next() != port.Never {
		t.Error("a session without a deadline is in the heap")
	}
}
