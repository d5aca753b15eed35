package xsk

import (
	"errors"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/xsk/nexthop"
)

func TestNewNextHopTakesKeptFramesAlong(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, rigConfig())
	g := &gate{errno: unix.EAGAIN}
	q := k.sockets[0]
	q.verdict = g.verdict
	r.route(0, to(1))
	r.add(0, payload(1))
	r.transmit(testFrames - 1)
	g.n = 100
	r.clock += retryAtMost
	r.hops.set(&nexthop.Hop{Destination: [6]byte{9, 9, 9, 9, 9, 9}, MTU: 1500})
	r.add(0, payload(2))
	r.transmit(testFrames)
	for _, f := range q.sent {
		if [6]byte(f) != [6]byte{9, 9, 9, 9, 9, 9} {
			t.Errorf("sent to %x", f[:6])
		}
	}
	r.expectSent(q, [2]int{1, 1}, [2]int{1, 2})

	// Resolved once for each generation, not for each frame.
	asked := r.hops.asked
	for i := range 10 {
		r.add(0, payload(i))
	}
	r.transmit(testFrames)
	if r.hops.asked != asked {
		t.Errorf("resolved %d times more", r.hops.asked-asked)
	}
}

func TestWithoutNextHopTheCompanionSends(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, rigConfig())
	r.hops.set(nil)
	r.route(0, to(1))
	r.add(0, payload(1))
	r.add(0, payload(2))
	r.transmit(testFrames)
	r.expectCompanion([2]int{1, 1}, [2]int{1, 2})
	r.expect(port.Stats{port.Sent: 2, port.SentBytes: uint64(len(payload(1)) + len(payload(2)))})

	r.hops.set(&nexthop.Hop{MTU: 500})
	r.add(0, payload(500-28-4))
	r.add(0, payload(500-28-3))
	r.transmit(testFrames)
	r.expectSent(k.sockets[0], [2]int{1, 500 - 28 - 4})
	r.expectCompanion([2]int{1, 500 - 28 - 3})

	r.notes.err = errors.New("no")
	r.add(0, payload(1399))
	r.transmit(testFrames)
	want := Counts{Unresolved: 2, TooLong: 2, CompanionSent: 3, CompanionRejected: 1}
	if got := r.Details().Counts; got != want {
		t.Errorf("%v, want %v", got, want)
	}
	if s := r.Stats(); s[port.Sent] != 4 || s[port.Rejected] != 1 {
		t.Errorf("%+v", s)
	}
}

// Datagrams that do not leave by the interface go through the companion, and are counted by the reason.
func TestDetoursAreToldApart(t *testing.T) {
	for why, want := range map[nexthop.Verdict]Details{
		nexthop.Unresolved: {Counts: Counts{Unresolved: 2, CompanionSent: 2}},
		nexthop.Elsewhere:  {Counts: Counts{Elsewhere: 2, CompanionSent: 2}},
		nexthop.Ourselves:  {Counts: Counts{Ourselves: 2, CompanionSent: 2}},
	} {
		r := newRig(t, newKernel(1, testRing, 0), rigConfig())
		r.hops.why = why
		r.hops.set(nil)
		r.route(0, to(1))
		r.add(0, payload(1))
		r.add(0, payload(2))
		r.transmit(testFrames)
		r.expectCompanion([2]int{1, 1}, [2]int{1, 2})
		got := r.Details()
		got.Queues = nil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%v: %+v, want %+v", why, got, want)
		}
	}
}

// A path is followed while a route leads there.
func TestPathsAreFollowedWhileRouted(t *testing.T) {
	r := newRig(t, newKernel(1, testRing, 0), rigConfig())
	for _, c := range []struct {
		change func()
		want   int32
	}{
		{func() { r.route(0, to(1)) }, 1},
		{func() { r.route(5, to(1)) }, 2},
		{func() { r.route(0, to(2)) }, 2}, // moved
		{func() { r.revoke(0) }, 1},
		{func() { r.revoke(0) }, 1},
		{func() { r.revoke(9) }, 1}, // never there
		{func() { r.route(1, to(3)) }, 2},
		{func() { r.Close() }, 0},
	} {
		c.change()
		if c.want > 0 {
			r.transmit(testFrames)
		}
		if got := r.hops.followed.Load(); got != c.want {
			t.Errorf("%d paths are followed, want %d", got, c.want)
		}
	}
}

func TestGuard(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, rigConfig())
	k.sockets[0].verdict = func() unix.Errno {
		if r.guard.allowed[to(1)] == 0 {
			t.Error("sent before the peer was allowed")
		}
		return 0
	}
	r.out.Routes = append(r.out.Routes, port.RouteChange{Route: 0, Path: to(1), Rate: 2000})
	r.transmit(testFrames)
	if r.guard.rate != 2000 {
		t.Errorf("allowed %d packets a second, want the route's 2000", r.guard.rate)
	}
	r.route(1, to(1)) // a second session on one path
	r.add(0, payload(1))
	r.transmit(testFrames)
	r.revoke(0)
	r.transmit(testFrames)
	if r.guard.allowed[to(1)] != 1 {
		t.Errorf("%v", r.guard.allowed)
	}
	r.route(1, to(2))
	r.transmit(testFrames)
	if r.guard.allowed[to(1)] != 0 || r.guard.allowed[to(2)] != 1 {
		t.Errorf("%v", r.guard.allowed)
	}
	r.guard.err = errors.New("full")
	r.route(0, to(3))
	r.transmit(testFrames)
	r.guard.err = nil
	r.revoke(0)
	r.transmit(testFrames)
	if d := r.Details(); d.Counts[GuardRejections] != 1 || len(r.guard.allowed) != 1 {
		t.Errorf("%+v, %v", d, r.guard.allowed)
	}
	r.Close()
	if len(r.guard.allowed) != 0 {
		t.Errorf("%v after Close", r.guard.allowed)
	}
}

func TestRoutesSpreadOverQueues(t *testing.T) {
	k := newKernel(2, testRing, 0)
	r := newRig(t, k, rigConfig())
	var want [2][][2]int
	for v := range 6 {
		r.route(port.Route(v), to(v))
	}
	for i := range 12 {
		r.add(port.Route(i%6), payload(i))
		want[i%2] = append(want[i%2], [2]int{i % 6, i})
	}
	// One queue does not wait for the other.
	g := &gate{n: 2, errno: unix.EAGAIN}
	k.sockets[0].verdict = g.verdict
	r.transmit(testFrames - 4)
	r.expectSent(k.sockets[1], want[1]...)
	r.add(1, payload(30))
	r.transmit(testFrames - 4)
	r.expectSent(k.sockets[1], [2]int{1, 30})
	g.n = 10
	r.clock += retryAtMost
	r.transmit(testFrames)
	r.expectSent(k.sockets[0], want[0]...)
}

// This runs without privileges. A frame that waits on a TX ring leaves neither by a revoked route nor
// by the route's next owner.
func TestRevokedRoutes(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, rigConfig())
	q := k.sockets[0]
	g := &gate{errno: unix.EAGAIN}
	q.verdict = g.verdict
	r.route(0, to(10))
	r.route(1, to(10))
	r.add(0, payload(1))
	r.add(1, payload(2))
	r.transmit(testFrames - 2)

	// Route 0 goes to another session in one step: its kept frame must not follow.
	g.n = 1000
	r.clock += retryAtMost
	r.revoke(0)
	r.route(0, to(20))
	r.add(0, payload(3))
	r.add(77, payload(4)) // an unknown route
	r.transmit(testFrames)
	r.expectSent(q, [2]int{10, 2}, [2]int{20, 3})
	r.expect(port.Stats{port.Unroutable: 2, port.Sent: 2, port.SentBytes: uint64(len(payload(2)) + len(payload(3)))})

	r.revoke(1)
	r.add(1, payload(5))
	r.add(0, payload(6))
	r.transmit(testFrames)
	r.expectSent(q, [2]int{20, 6})
}

// A frame that waits on a TX ring goes where its route leads by then.
func TestMovedRouteTakesKeptFramesAlong(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, rigConfig())
	g := &gate{errno: unix.EAGAIN}
	k.sockets[0].verdict = g.verdict
	r.route(0, to(1))
	r.add(0, payload(1))
	r.transmit(testFrames - 1)
	g.n = 1
	r.clock += retryAtMost
	r.route(0, to(2))
	r.transmit(testFrames)
	r.expectSent(k.sockets[0], [2]int{2, 1})
}
