package worker

import (
	"math/rand/v2"
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/bus"
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
		if (least != port.Never) != (s.timers.slot >= 0) {
			t.Fatalf("step %d: a session with deadline %d has slot %d", step, least, s.timers.slot)
		}
		if least != port.Never {
			if at := h[s.timers.slot].at; at != least {
				t.Fatalf("step %d: a session's earliest deadline is %d; expected %d", step, at, least)
			}
			n++
		}
		want = min(want, least)
	}
	if h.next() != want || len(h) != n {
		t.Fatalf("step %d: the next deadline is %d of %d; expected %d of %d", step, h.next(), len(h), want, n)
	}
	for i, x := range h {
		if x.session.timers.slot != i {
			t.Fatalf("step %d: slot %d holds the session of slot %d", step, i, x.session.timers.slot)
		}
		if parent := h[max(0, i-1)/2]; parent.at > x.at {
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

// Times on the grid are at most its distance later.
func TestDeadlineGrid(t *testing.T) {
	for _, at := range []port.Time{
		0, 1, deadlineGrid - 1, deadlineGrid, 123*deadlineGrid + 1, port.Never - 1, port.Never,
	} {
		got := onGrid(at)
		if at >= port.Never-deadlineGrid {
			if got != at {
				t.Errorf("%d becomes %d; expected no delay", at, got)
			}
		} else if got%deadlineGrid != 0 || got < at || got-at >= deadlineGrid {
			t.Errorf("%d becomes %d; expected the next time on the grid", at, got)
		}
	}
}

// Many viewers wake the worker for their reports no more often than the grid allows.
func TestViewersShareWakes(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	viewers := make([]*sub, 300)
	for i := range viewers {
		viewers[i] = l.watch(1, watched(true)...)
	}
	p.frame(0, 1000, true)
	start := l.now
	wakes := 0
	for l.now < start+port.Second {
		at := l.w.Deadline()
		l.now = max(l.now, at)
		l.w.HandleTimeout(l.now)
		l.poll()
		wakes++
	}
	reports := 0
	for _, s := range viewers {
		reports += len(s.reports())
	}
	if reports < len(viewers) || wakes > len(viewers)/2 {
		t.Errorf("%d wakes for %d reports of %d viewers; expected fewer than a wake for two viewers",
			wakes, reports, len(viewers))
	}
}

// A session that was given up has no deadlines, also if its publication is announced then. A deadline that nothing
// serves would keep the worker awake, and all later ones waiting.
func TestEndingSessionsHaveNoDeadlines(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 0, published()...)
	l.w.end(l.w.sessions[p.spec.ID], api.ReasonFault)
	l.tell(bus.PublicationOpened(1, 1, l.w.address(), p.spec))
	l.now += port.Second
	l.w.HandleTimeout(l.now)
	if at := l.w.Deadline(); at <= l.now {
		t.Errorf("the worker is to be called back at %v again; it is %v", at, l.now)
	}
}

// A worker knows when it was late by itself, and tells Selectors. A deadline that is handled in time is not late.
func TestLate(t *testing.T) {
	l := newLab(t, 0, 1)
	l.watch(1, watched(true)...)
	l.publish(1, 1, simulcast()...)
	sub := l.stream(1).all()[0]
	for _, c := range []struct {
		late port.Time
		want bool
	}{{0, false}, {behindSpan, false}, {behindSpan + 1, true}} {
		l.now = l.w.Deadline() + c.late
		l.w.HandleTimeout(l.now)
		g := l.w.setting(sub, &sub.stream.pub.tracks[0])
		if got := g.Late == l.now; got != c.want {
			t.Errorf("%v after the deadline: late is %t; expected %t", c.late, got, c.want)
		}
		l.poll()
		for l.w.Deadline() <= l.now {
			l.w.HandleTimeout(l.now)
		}
	}
}
