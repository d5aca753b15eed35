package worker

import (
	"testing"
	"unsafe"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
)

// timeouts calls HandleTimeout until nothing is due now. It returns the most that one call did: streams reported,
// sessions with reports to write, and routes revoked.
func (l *lab) timeouts() (told, reports, revoked, calls int) {
	l.Helper()
	for ; l.w.Deadline() <= l.now; calls++ {
		due, routes := len(l.w.due), len(l.w.routes.changes)
		outbox := len(l.w.outbox.control)
		l.w.HandleTimeout(l.now)
		heard := 0
		for _, m := range l.w.outbox.control[outbox:] {
			if m.Kind == bus.KindSessionHeard {
				heard++
			}
		}
		told = max(told, heard)
		reports = max(reports, len(l.w.due)-due)
		revoked = max(revoked, len(l.w.routes.changes)-routes)
		if calls > 100_000 {
			l.Fatal("the deadlines never end")
		}
	}
	return told, reports, revoked, calls
}

// Each stream has its turn twice a second, however many there are, and streams with nothing left to do have none.
func TestChoresTakeTurns(t *testing.T) {
	l := newLab(t, 0, 2)
	var all []*pub
	for i := range 300 {
		all = append(all, l.publish(bus.StreamID(i+1), bus.Generation(i+1), published()...))
	}
	for range 20 {
		l.forget()
		for _, p := range all {
			l.w.sessions[p.spec.ID].heard = l.now
		}
		l.pass(choreInterval)
		if n := len(l.said(bus.KindSessionHeard)); n != len(all) {
			t.Fatalf("within %v s %d publishers of %d were told of", choreInterval.Seconds(), n, len(all))
		}
	}
	for _, p := range all {
		l.tell(closed(p.party))
		l.tell(bus.PublicationClosed(p.spec.Stream, p.generation))
	}
	l.pass(max(port.Second, routeRest))
	if at := l.w.Deadline(); l.w.chores.head != nil || at != port.Never {
		t.Errorf("with nothing published something is due at %d; it is %d", at, l.now)
	}
}

// A stream that another worker owns and nobody here watches is an entry in a table, and wakes nobody.
func TestUnwatchedStreamIsCheap(t *testing.T) {
	if n := unsafe.Sizeof(announcement{}); n > 16 {
		t.Errorf("an announcement has %d bytes; expected 16", n)
	}
	const n = 1000
	l := newLab(t, 1, 2)
	spec := &bus.Session{ID: 1, Role: api.Publisher, Tracks: published()}
	var opened bus.Control
	i := 0
	allocations := testing.AllocsPerRun(n, func() {
		i++
		opened = bus.PublicationOpened(bus.StreamID(i), bus.Generation(i), 0, spec)
		l.w.HandleControl(l.now, &opened)
	})
	if allocations > 0.5 || len(l.w.streams) != 0 || l.w.Deadline() != port.Never {
		t.Errorf("a stream that nobody watches takes %v allocations; %d streams are held, something is due at %d",
			allocations, len(l.w.streams), l.w.Deadline())
	}
	s := l.watch(7, watched(false)...)
	if n := len(l.said(bus.KindFollow)); n != 1 || len(l.w.streams) != 1 {
		t.Errorf("with a viewer of stream 7, %d requests to follow and %d streams; expected one of each",
			n, len(l.w.streams))
	}
	l.tell(closed(s.party))
	if n := len(l.said(bus.KindUnfollow)); n != 1 || len(l.w.streams) != 0 {
		t.Errorf("without the viewer, %d goodbyes and %d streams; expected 1 and 0", n, len(l.w.streams))
	}
	// It is still known, and a later one takes its place.
	l.tell(bus.PublicationOpened(7, 5000, 0, spec))
	l.tell(bus.PublicationClosed(7, 7)) // of the one before
	l.forget()
	l.watch(7, watched(false)...)
	if m := l.said(bus.KindFollow); len(m) != 1 || m[0].Generation != 5000 {
		t.Errorf("follows %+v; expected generation 5000", m)
	}
}
