package worker

import (
	"testing"
	"unsafe"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
)

// timeouts calls HandleTimeout until nothing is due now, and returns what the most expensive call did: streams
// told of, sessions with reports to write, and routes revoked.
func (l *lab) timeouts() (told, reports, revoked, calls int) {
	l.Helper()
	for ; l.w.Deadline() <= l.now; calls++ {
		due, routes := len(l.w.due), len(l.w.routes)
		outbox := len(l.w.outbox)
		l.w.HandleTimeout(l.now)
		told = max(told, len(l.w.outbox)-outbox)
		reports = max(reports, len(l.w.due)-due)
		revoked = max(revoked, len(l.w.routes)-routes)
		if calls > 100_000 {
			l.Fatal("the deadlines never end")
		}
	}
	return told, reports, revoked, calls
}

// However many streams and sessions are due at once, one call visits a few, and the next ones the rest.
func TestTimeoutsAreBounded(t *testing.T) {
	const n = 500
	l := newLab(t, 0, 1)
	var all []*party
	for i := range n {
		p := l.publish(bus.StreamID(i+1), bus.Generation(i+1), published()...)
		p.frame(0, 0, true)
		all = append(all, p.party)
		l.forget()
	}
	l.now += 2 * port.Second // as after a stall
	for _, p := range all {
		l.w.sessions[p.spec.ID].heard = l.now
	}
	told, reports, _, calls := l.timeouts()
	if told > maxChores || reports > maxTimeouts || calls < n/max(maxChores, maxTimeouts) {
		t.Errorf("a call visited up to %d streams and %d sessions; expected at most %d and %d", told, reports, maxChores, maxTimeouts)
	}
	l.poll()
	if n := len(l.said(bus.SessionHeard)); n != len(all) {
		t.Errorf("the controller was told of %d publishers of %d", n, len(all))
	}

	for i, p := range all {
		m := closed(p)
		l.w.HandleMessage(l.now, &m)
		l.w.HandleMessage(l.now, &bus.Message{Kind: bus.PublicationClosed, Stream: bus.StreamID(i + 1), Generation: bus.Generation(i + 1)})
	}
	l.now += routeRest
	if _, _, revoked, _ := l.timeouts(); revoked > maxRecycled {
		t.Errorf("a call revoked %d routes; expected at most %d", revoked, maxRecycled)
	}
	l.poll()
	if len(l.routes) != 0 || len(l.w.streams) != 0 || len(l.w.announced) != 0 {
		t.Errorf("%d routes, %d streams and %d announcements are left", len(l.routes), len(l.w.streams), len(l.w.announced))
	}
}

// Many streams whose viewers wait for a keyframe ask for theirs a few at a time, and each in time.
func TestKeyframeRequestsAreBounded(t *testing.T) {
	const n = 300
	h := newHerd(t, 1, n, n)
	h.open(h.pubs)
	h.open(h.subs)
	for i := range h.pubs {
		h.send(&h.pubs[i], false)
	}
	h.drive()
	w := h.workers[0]
	if len(w.keyframes) != n {
		t.Fatalf("keyframes are wanted of %d layers; expected %d", len(w.keyframes), n)
	}
	for round := range 5 {
		before := w.counters.Counts[SentPLIs]
		h.now += joinKeyframeInterval
		for _, s := range w.sessions {
			s.heard = h.now
		}
		calls := 0
		for ; w.Deadline() <= h.now; calls++ {
			due := len(w.due)
			w.HandleTimeout(h.now)
			if got := len(w.due) - due; got > maxKeyframes+maxTimeouts {
				t.Fatalf("one call asked %d publishers; expected at most %d", got, maxKeyframes+maxTimeouts)
			}
		}
		h.drive()
		if got := w.counters.Counts[SentPLIs] - before; got != n || calls < n/maxKeyframes {
			t.Errorf("round %d: %d requests in %d calls; expected %d in at least %d", round, got, calls, n, n/maxKeyframes)
		}
	}
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
		if n := len(l.said(bus.SessionHeard)); n != len(all) {
			t.Fatalf("within %v s %d publishers of %d were told of", choreInterval.Seconds(), n, len(all))
		}
	}
	for _, p := range all {
		l.tell(closed(p.party))
		l.tell(bus.Message{Kind: bus.PublicationClosed, Stream: p.spec.Stream, Generation: p.generation})
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
	var opened bus.Message
	i := 0
	allocations := testing.AllocsPerRun(n, func() {
		i++
		opened = bus.Message{Kind: bus.PublicationOpened, ID: 1, Stream: bus.StreamID(i), Generation: bus.Generation(i), Session: spec}
		l.w.HandleMessage(l.now, &opened)
	})
	if allocations > 0.5 || len(l.w.streams) != 0 || l.w.Deadline() != port.Never {
		t.Errorf("a stream that nobody watches takes %v allocations; %d streams are held, something is due at %d",
			allocations, len(l.w.streams), l.w.Deadline())
	}
	s := l.watch(7, watched(false)...)
	if n := len(l.said(bus.Follow)); n != 1 || len(l.w.streams) != 1 {
		t.Errorf("with a viewer of stream 7, %d requests to follow and %d streams; expected one of each", n, len(l.w.streams))
	}
	l.tell(closed(s.party))
	if n := len(l.said(bus.Unfollow)); n != 1 || len(l.w.streams) != 0 {
		t.Errorf("without the viewer, %d goodbyes and %d streams; expected 1 and 0", n, len(l.w.streams))
	}
	// It is still known, and a later one takes its place.
	l.tell(bus.Message{Kind: bus.PublicationOpened, ID: 1, Stream: 7, Generation: 5000, Session: spec})
	l.tell(bus.Message{Kind: bus.PublicationClosed, Stream: 7, Generation: 7}) // of the one before
	l.forget()
	l.watch(7, watched(false)...)
	if m := l.said(bus.Follow); len(m) != 1 || m[0].Generation != 5000 {
		t.Errorf("follows %+v; expected generation 5000", m)
	}
}
