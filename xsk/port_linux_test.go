package xsk

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/xsk/frame"
	"ringcast/xsk/nexthop"
)

// What the port owes its worker, with a kernel that does as it is told.

// gate lets n frames pass, then answers errno.
type gate struct {
	n     int
	errno unix.Errno
}

func (g *gate) verdict() unix.Errno {
	if g.n == 0 {
		return g.errno
	}
	g.n--
	return 0
}

func TestEverythingLeavesInOrderAcrossTheWrap(t *testing.T) {
	for _, start := range []uint32{0, math.MaxUint32 - 100} {
		t.Run(fmt.Sprint(start), func(t *testing.T) {
			k := newKernel(1, testRing, start)
			r := newRig(t, k, Config{})
			for v := range 5 {
				r.route(port.Route(v), to(v))
			}
			number := 0
			for range 40 {
				var want [][2]int
				for range testFrames {
					r.add(port.Route(number%5), payload(number))
					want = append(want, [2]int{number % 5, number})
					number++
				}
				r.transmit(testFrames)
				r.expectSent(k.queues[0], want...)
			}
			if next := k.queues[0].q.tx.next; next != start+uint32(number) {
				t.Errorf("the TX ring is at %d after %d frames from %d on", next, number, start)
			}
			if s := r.Stats(); s.Sent != uint64(number) || s.Calls != 40 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestReceiveAcrossTheWrap(t *testing.T) {
	const start = math.MaxUint32 - 100
	k := newKernel(1, testRing, start)
	r := newRig(t, k, Config{Batch: 7})
	tpl := frame.Make([6]byte{2}, [6]byte{3}, to(1), testPort, frame.Options{})
	sent, got := 0, 0
	for range 100 {
		for range 5 {
			chunk := append(make([]byte, frame.Headroom), payload(sent)...)
			start := tpl.Put(chunk, len(payload(sent)), 0)
			if !k.queues[0].receive(chunk[start:]) {
				t.Fatalf("no room after %d", sent)
			}
			sent++
		}
		n := r.Receive(r.clock, &r.in)
		if n > 7 || n != len(r.in.Packets) {
			t.Fatalf("%d of %d in a batch of 7", n, len(r.in.Packets))
		}
		for _, in := range r.in.Packets {
			if want := payload(got); !slices.Equal(in.Data, want) || cap(in.Data) != len(want) || in.Arrival != r.clock {
				t.Fatalf("datagram %d: %x", got, in.Data[:4])
			}
			clear(in.Data)
			got++
		}
	}
	if got != sent {
		t.Errorf("%d of %d", got, sent)
	}
	r.expect(port.Stats{Received: uint64(got)})
	// Every chunk is in the fill ring again, or handed out.
	r.Receive(r.clock, &r.in)
	if q := k.queues[0]; q.q.fill.next-q.fillCons != testRing {
		t.Errorf("%d chunks in the fill ring", q.q.fill.next-q.fillCons)
	}
}

func TestMalformedFramesAreCountedAndTheirMemoryReturned(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, Config{})
	for range 3 * testRing {
		if !k.queues[0].receive([]byte{1, 2, 3}) {
			t.Fatal("no room")
		}
		if n := r.Receive(r.clock, &r.in); n != 0 {
			t.Fatalf("%d datagrams", n)
		}
	}
	r.expect(port.Stats{Malformed: 3 * testRing})
}

func TestQueuesTakeTurns(t *testing.T) {
	k := newKernel(2, testRing, 0)
	r := newRig(t, k, Config{Batch: 4})
	tpl := frame.Make([6]byte{2}, [6]byte{3}, to(1), testPort, frame.Options{})
	chunk := make([]byte, frame.Headroom+1)
	start := tpl.Put(chunk, 1, 0)
	for _, q := range k.queues {
		for range 20 {
			q.receive(chunk[start:])
		}
	}
	for range 4 {
		if n := r.Receive(r.clock, &r.in); n != 4 {
			t.Fatalf("%d datagrams", n)
		}
	}
	for _, q := range r.Details().Queues {
		if q.Received != 8 {
			t.Errorf("queue %d: %d received of 16", q.Queue, q.Received)
		}
	}
}

func TestCompanionIsReadNowAndThen(t *testing.T) {
	r := newRig(t, newKernel(1, testRing, 0), Config{ReadsCompanion: true})
	stray := port.Inbound{Path: to(1), Data: payload(3), Arrival: 1}
	r.notes.arrived = []port.Inbound{stray, stray}
	if n := r.Receive(r.clock, &r.in); n != 2 || r.in.Packets[1].Path != to(1) {
		t.Fatalf("%d datagrams", n)
	}
	asked := r.notes.asked
	for range 1000 { // 0.9 ms of busy turns
		r.Receive(r.clock, &r.in)
		r.clock += port.Millisecond / 1100
	}
	if r.notes.asked != asked+1 {
		t.Errorf("asked %d times in a millisecond", r.notes.asked-asked)
	}
	r.clock += port.Millisecond
	r.notes.arrived = []port.Inbound{stray}
	if n := r.Receive(r.clock, &r.in); n != 1 {
		t.Errorf("%d datagrams a millisecond later", n)
	}
	r.expect(port.Stats{Received: 3})
	if d := r.Details(); d.CompanionReceived != 3 {
		t.Errorf("%+v", d)
	}
}

func TestFullSocketKeepsOrder(t *testing.T) {
	k := newKernel(1, testRing, math.MaxUint32-20)
	r := newRig(t, k, Config{})
	r.route(0, to(0))
	r.route(1, to(1))
	g := &gate{n: 10, errno: unix.EAGAIN}
	q := k.queues[0]
	q.verdict = g.verdict
	var want [][2]int
	number := 0
	add := func(v, n int) {
		for range n {
			r.add(port.Route(v), payload(number))
			want = append(want, [2]int{v, number})
			number++
		}
	}
	add(0, 5)
	add(1, 5)
	add(0, 3)
	add(1, 4)
	r.transmit(testFrames - 7)

	// Nothing goes before its time, more comes.
	kicks := q.kicks
	add(0, testFrames-7)
	r.transmit(0)
	if q.kicks != kicks {
		t.Error("kicked again at once")
	}
	if r.out.Reserve() != nil {
		t.Fatal("a frame is lent while all are kept")
	}
	r.clock += retryAtMost
	g.n = 7
	r.transmit(7)
	add(1, 2)
	r.transmit(5)
	g.n = 1000
	r.clock += retryAtMost
	r.transmit(testFrames)
	r.expectSent(q, want...)
	if s := r.Stats(); s.Sent != uint64(number) {
		t.Errorf("%+v", s)
	}
}

// A peer that takes nothing for a second: the kicks are few, and what waits gets stale.
func TestBlockedPeer(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, Config{})
	r.route(0, to(0))
	q := k.queues[0]
	g := &gate{errno: unix.EAGAIN}
	q.verdict = g.verdict
	end := r.clock + port.Second
	number := 0
	for r.clock < end {
		for r.out.Free() > 0 {
			r.add(0, payload(number))
			number++
		}
		r.Transmit(r.clock, &r.out)
		next := r.Port.out.next(r.now)
		if next <= r.clock {
			t.Fatalf("Wait would return at once, at %d", r.clock)
		}
		r.clock = min(next, r.clock+port.Millisecond)
	}
	r.audit()
	// Ten generations of frames get stale; each is passed over by a kick per frame.
	if q.kicks > 1500 {
		t.Errorf("%d kicks in a second", q.kicks)
	}
	if s := r.Stats(); s.Stale == 0 || s.Stale+uint64(testFrames) < uint64(number) {
		t.Errorf("%d frames, %+v", number, s)
	}
	if len(q.sent) > 0 {
		t.Fatalf("%d left", len(q.sent))
	}
	// Unblocked: nothing stale leaves.
	g.n = 1000
	r.clock += 2 * port.StaleAfter
	fresh := number
	for r.out.Free() > 0 {
		r.add(0, payload(number))
		number++
	}
	r.transmit(testFrames)
	for i, d := range q.payloads(t) {
		if !slices.Equal(d.data, payload(fresh+i)) {
			t.Fatalf("datagram %d is number %x", i, d.data[:4])
		}
	}
}

func TestStaleFramesAreDropped(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, Config{})
	r.route(0, to(0))
	q := k.queues[0]
	g := &gate{errno: unix.EAGAIN}
	q.verdict = g.verdict
	born := r.clock
	r.add(0, payload(1))
	r.addBorn(0, born+port.Millisecond, payload(2))
	r.transmit(testFrames - 2)
	r.clock = born + port.StaleAfter
	r.transmit(testFrames - 2)
	r.expect(port.Stats{})
	g.n = 1000
	r.clock++
	r.addBorn(0, born, payload(3)) // as old, but never tried
	r.clock += retryAtMost - 2
	r.transmit(testFrames)
	r.expectSent(q, [2]int{0, 2}, [2]int{0, 3})
	r.expect(port.Stats{Stale: 1, Sent: 2, SentBytes: uint64(len(payload(2)) + len(payload(3)))})
}

func TestRevokedRoutes(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, Config{})
	q := k.queues[0]
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
	r.add(77, payload(4)) // never heard of
	r.transmit(testFrames)
	r.expectSent(q, [2]int{10, 2}, [2]int{20, 3})
	r.expect(port.Stats{Unroutable: 2, Sent: 2, SentBytes: uint64(len(payload(2)) + len(payload(3)))})

	r.revoke(1)
	r.add(1, payload(5))
	r.add(0, payload(6))
	r.transmit(testFrames)
	r.expectSent(q, [2]int{20, 6})
}

func TestMovedRouteTakesKeptFramesAlong(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, Config{})
	g := &gate{errno: unix.EAGAIN}
	k.queues[0].verdict = g.verdict
	r.route(0, to(1))
	r.add(0, payload(1))
	r.transmit(testFrames - 1)
	g.n = 1
	r.clock += retryAtMost
	r.route(0, to(2))
	r.transmit(testFrames)
	r.expectSent(k.queues[0], [2]int{2, 1})
}

func TestNewNextHopTakesKeptFramesAlong(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, Config{})
	g := &gate{errno: unix.EAGAIN}
	q := k.queues[0]
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
	r := newRig(t, k, Config{})
	r.hops.set(nil)
	r.route(0, to(1))
	r.add(0, payload(1))
	r.add(0, payload(2))
	r.transmit(testFrames)
	r.expectCompanion([2]int{1, 1}, [2]int{1, 2})
	r.expect(port.Stats{Sent: 2, SentBytes: uint64(len(payload(1)) + len(payload(2)))})

	r.hops.set(&nexthop.Hop{MTU: 500})
	r.add(0, payload(500-28-4))
	r.add(0, payload(500-28-3))
	r.transmit(testFrames)
	r.expectSent(k.queues[0], [2]int{1, 500 - 28 - 4})
	r.expectCompanion([2]int{1, 500 - 28 - 3})

	r.notes.err = errors.New("no")
	r.add(0, payload(1399))
	r.transmit(testFrames)
	if d := r.Details(); d.Unresolved != 2 || d.TooLong != 2 || d.CompanionSent != 3 || d.CompanionRefused != 1 {
		t.Errorf("%+v", d)
	}
	if s := r.Stats(); s.Sent != 4 || s.Refused != 1 {
		t.Errorf("%+v", s)
	}
}

// While the link is down nothing goes through the companion: the kernel would send it late.
func TestDownNothingIsSent(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, Config{})
	r.hops.set(&nexthop.Hop{Down: true})
	r.route(0, to(1))
	r.add(0, payload(1))
	r.add(0, payload(2))
	r.transmit(testFrames)
	r.expectCompanion()
	r.expect(port.Stats{Refused: 2})

	r.hops.set(&nexthop.Hop{MTU: 1500})
	r.add(0, payload(3))
	r.transmit(testFrames)
	r.expectSent(k.queues[0], [2]int{1, 3})
	r.expectCompanion()
}

func TestTooLongForAnyPathIsRefused(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, Config{})
	r.route(0, to(1))
	r.add(0, make([]byte, port.MaxDatagram+1))
	r.add(0, make([]byte, port.MaxDatagram))
	r.add(0, nil)
	r.transmit(testFrames)
	if got := k.queues[0].payloads(t); len(got) != 2 || len(got[0].data) != port.MaxDatagram || len(got[1].data) != 0 {
		t.Errorf("%d left", len(got))
	}
	r.expect(port.Stats{Refused: 1, Sent: 2, SentBytes: port.MaxDatagram})
}

func TestReslicedAndForeignData(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, Config{Frames: 1})
	r.route(0, to(1))
	f := r.out.Reserve()
	f.Data = append(f.Data, append(make([]byte, 10), payload(7)...)...)[10:]
	r.out.Submit()
	r.transmit(1)
	f = r.out.Reserve()
	f.Data = payload(8)
	r.out.Submit()
	r.transmit(1)
	r.add(0, payload(9)) // checks the capacity
	r.transmit(1)
	r.expectSent(k.queues[0], [2]int{1, 7}, [2]int{1, 8}, [2]int{1, 9})
}

func TestForeignFramesPanic(t *testing.T) {
	r := newRig(t, newKernel(1, testRing, 0), Config{})
	defer func() {
		if recover() == nil {
			t.Error("frames that the port did not lend were taken")
		}
	}()
	r.Transmit(r.clock, &port.Outgoing{Frames: make([]port.Frame, 3), Filled: 1})
}

// One frame is lost for each EBUSY, and the kernel may not even tell by its index.
func TestBusyDropsOneFrame(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, Config{})
	r.route(0, to(0))
	q := k.queues[0]
	number, answers := 0, []unix.Errno{unix.EBUSY, unix.EBUSY, 0, unix.EBUSY, unix.EBUSY, unix.EAGAIN, unix.EBUSY, 0, 0}
	q.verdict = func() unix.Errno {
		answer := answers[0]
		answers = answers[1:]
		return answer
	}
	for ; number < 8; number++ {
		r.add(0, payload(number))
	}
	r.transmit(testFrames - 3) // five gone, three kept
	r.clock += retryAtMost
	r.transmit(testFrames)
	r.expectSent(q, [2]int{0, 2}, [2]int{0, 6}, [2]int{0, 7})
	r.expect(port.Stats{Refused: 5, Sent: 3, SentBytes: uint64(len(payload(2)) + len(payload(6)) + len(payload(7)))})
	if d := r.Details().Queues[0]; d.Busy != 5 || d.Sent != 3 {
		t.Errorf("%+v", d)
	}
}

// Without a carrier every frame that is tried is lost: in few calls, and the rest gets stale.
func TestNoCarrier(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, Config{})
	r.route(0, to(0))
	q := k.queues[0]
	carrier := false
	q.verdict = func() unix.Errno {
		if carrier {
			return 0
		}
		return unix.EBUSY
	}
	for range testFrames {
		r.add(0, payload(1))
	}
	r.transmit(dropsAtMost)
	if q.kicks != dropsAtMost {
		t.Errorf("%d kicks", q.kicks)
	}
	for end := r.clock + port.Second; r.clock < end; {
		for r.out.Free() > 0 {
			r.add(0, payload(2))
		}
		r.Transmit(r.clock, &r.out)
		next := r.Port.out.next(r.now)
		if next <= r.clock {
			t.Fatal("Wait would return at once")
		}
		r.clock = min(next, r.clock+port.Millisecond)
	}
	if q.kicks > 2500 {
		t.Errorf("%d kicks in a second", q.kicks)
	}
	carrier = true
	r.clock += retryAtMost
	r.transmit(testFrames)
	if len(q.sent) < testFrames-2 {
		t.Errorf("%d of %d kept frames left when the carrier was back", len(q.sent), testFrames)
	}
}

func TestInterruptionsAreRepeatedBounded(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EINTR, unix.ENOBUFS} {
		t.Run(errno.Error(), func(t *testing.T) {
			k := newKernel(1, testRing, 0)
			r := newRig(t, k, Config{})
			r.route(0, to(0))
			q := k.queues[0]
			times := repeatsAtMost - 1
			q.whole = func() unix.Errno {
				if times == 0 {
					return 0
				}
				times--
				return errno
			}
			r.add(0, payload(1))
			r.transmit(testFrames)
			times = math.MaxInt
			q.kicks = 0
			r.add(0, payload(2))
			r.transmit(testFrames - 1)
			if q.kicks != repeatsAtMost {
				t.Errorf("%d kicks", q.kicks)
			}
			times = 0
			r.clock += retryAtMost
			r.transmit(testFrames)
			r.expectSent(q, [2]int{0, 1}, [2]int{0, 2})
		})
	}
}

// Down: what waits goes to the companion, which knows no way either, or does; and nothing old leaves when the
// interface is up again.
func TestDownAndUp(t *testing.T) {
	k := newKernel(1, testRing, math.MaxUint32-3)
	r := newRig(t, k, Config{})
	r.route(0, to(0))
	q := k.queues[0]
	down := true
	q.whole = func() unix.Errno {
		if down {
			return unix.ENETDOWN
		}
		return 0
	}
	for i := range 5 {
		r.add(0, payload(i))
	}
	r.transmit(testFrames)
	r.expectCompanion([2]int{0, 0}, [2]int{0, 1}, [2]int{0, 2}, [2]int{0, 3}, [2]int{0, 4})
	for i := range 100 { // a second in which frames come without end
		r.add(0, payload(i))
		r.transmit(testFrames)
		r.expectCompanion([2]int{0, i})
		r.clock += port.Second / 100
	}
	if q.kicks > 110 {
		t.Errorf("%d kicks in a second", q.kicks)
	}
	down = false
	r.clock += retryDown
	r.add(0, payload(6))
	r.add(0, payload(7))
	r.transmit(testFrames)
	r.expectSent(q, [2]int{0, 6}, [2]int{0, 7})
	if q.invalid != 5 {
		t.Errorf("%d descriptors passed over, want 5", q.invalid)
	}
}

// A poll of the socket may send what is on the ring (xsk_poll does, in copy mode): whatever it takes between
// two Transmits is taken.
func TestPollMaySend(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, Config{})
	r.route(0, to(0))
	q := k.queues[0]
	g := &gate{errno: unix.EAGAIN}
	q.verdict = g.verdict
	for i := range 10 {
		r.add(0, payload(i))
	}
	r.transmit(testFrames - 10)
	g.n = 4
	q.kick()
	r.transmit(testFrames - 6)
	g.errno = unix.EBUSY
	q.kick() // drops one, and does not store its index
	g.errno = unix.EAGAIN
	r.transmit(testFrames - 5)
	g.n = 100
	r.clock += port.StaleAfter + 1
	r.add(0, payload(20))
	r.transmit(testFrames)
	r.expectSent(q, [2]int{0, 0}, [2]int{0, 1}, [2]int{0, 2}, [2]int{0, 3}, [2]int{0, 20})
	if s := r.Stats(); s.Stale != 5 {
		t.Errorf("%+v", s)
	}
}

// Frames that the kernel holds on to are lent to nobody.
func TestFramesInFlight(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, Config{})
	r.route(0, to(0))
	q := k.queues[0]
	q.hold = true
	for range testFrames {
		r.add(0, payload(1))
	}
	r.transmit(testFrames) // the other half of the chunks
	for range testFrames {
		r.add(0, payload(2))
	}
	r.transmit(0)
	if next := r.Port.out.next(r.now); next != r.clock+retryAfter {
		t.Errorf("Wait sleeps until %d, though memory may come back any moment", next)
	}
	q.letGo()
	r.transmit(testFrames)
}

func TestGuard(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, Config{})
	k.queues[0].verdict = func() unix.Errno {
		if r.guard.allowed[to(1)] == 0 {
			t.Error("sent before the peer was allowed")
		}
		return 0
	}
	r.route(0, to(1))
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
	if d := r.Details(); d.GuardRefusals != 1 || len(r.guard.allowed) != 1 {
		t.Errorf("%+v, %v", d, r.guard.allowed)
	}
	r.Close()
	if len(r.guard.allowed) != 0 {
		t.Errorf("%v after Close", r.guard.allowed)
	}
}

func TestRoutesSpreadOverQueues(t *testing.T) {
	k := newKernel(2, testRing, 0)
	r := newRig(t, k, Config{})
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
	k.queues[0].verdict = g.verdict
	r.transmit(testFrames - 4)
	r.expectSent(k.queues[1], want[1]...)
	r.add(1, payload(30))
	r.transmit(testFrames - 4)
	r.expectSent(k.queues[1], [2]int{1, 30})
	g.n = 10
	r.clock += retryAtMost
	r.transmit(testFrames)
	r.expectSent(k.queues[0], want[0]...)
}

func TestSuspendAndResume(t *testing.T) {
	k := newKernel(2, testRing, 0)
	r := newRig(t, k, Config{})
	r.route(0, to(0))
	r.route(1, to(1))
	g := &gate{n: 1, errno: unix.EAGAIN}
	for _, q := range k.queues {
		q.verdict = g.verdict
		q.hold = true
	}
	tpl := frame.Make([6]byte{2}, [6]byte{3}, to(1), testPort, frame.Options{})
	chunk := append(make([]byte, frame.Headroom), payload(5)...)
	k.queues[0].receive(chunk[tpl.Put(chunk, len(payload(5)), 0):])
	if n := r.Receive(r.clock, &r.in); n != 1 {
		t.Fatal(n)
	}
	borrowed := r.in.Packets[0].Data
	r.addBorn(0, r.clock-port.StaleAfter, payload(1)) // leaves and is not completed
	r.addBorn(0, r.clock-port.StaleAfter, payload(2)) // gets stale
	r.add(0, payload(3))
	r.add(1, payload(4))
	r.transmit(testFrames - 3)

	r.add(1, payload(6)) // in the worker's hands
	done := r.Suspend()
	if r.Suspend() != done {
		t.Error("a second Suspend does not wait for the same")
	}
	r.clock++
	r.Wait(port.Never) // there is something to do
	r.transmit(testFrames)
	r.expectCompanion([2]int{0, 3}, [2]int{1, 4}, [2]int{1, 6})
	select {
	case <-done:
		t.Fatal("done while the worker may hold received frames")
	default:
	}
	if !slices.Equal(borrowed, payload(5)) {
		t.Error("a received frame changed")
	}
	r.Wait(port.Never)
	r.add(0, payload(7))
	r.transmit(testFrames)
	r.Receive(r.clock, &r.in)
	<-done
	clear(k.bundle.memory) // nobody uses it any more
	r.add(0, payload(8))
	r.transmit(testFrames)
	r.expectCompanion([2]int{0, 7}, [2]int{0, 8})
	if d := r.Details(); !d.Suspended || d.Queues[0].Abandoned != 1 || d.CompanionSent != 5 {
		t.Errorf("%+v", d)
	}
	if s := r.Stats(); s.Stale != 1 {
		t.Errorf("%+v", s)
	}
	<-r.Suspend() // there is nothing to suspend

	again := newKernel(1, testRing, 0)
	if err := r.Resume(again.bundle); err != nil {
		t.Fatal(err)
	}
	r.Port.out.kick = again.kick
	if err := r.Resume(again.bundle); err == nil {
		t.Error("two bundles")
	}
	r.add(1, payload(9)) // in ordinary memory
	r.transmit(testFrames)
	r.expectCompanion([2]int{1, 9})
	r.add(1, payload(10))
	r.transmit(testFrames)
	r.expectSent(again.queues[0], [2]int{1, 10})
	if d := r.Details(); d.Suspended {
		t.Errorf("%+v", d)
	}
}

func TestStartsWithoutBundle(t *testing.T) {
	r := newRig(t, nil, Config{})
	r.route(0, to(0))
	r.add(0, payload(1))
	r.transmit(testFrames)
	r.expectCompanion([2]int{0, 1})
	k := newKernel(1, testRing, 0)
	r.Port.out.kick = k.kick
	if err := r.Resume(k.bundle); err != nil {
		t.Fatal(err)
	}
	done := r.Suspend() // before the port has noticed
	r.transmit(testFrames)
	r.transmit(testFrames)
	r.Receive(r.clock, &r.in)
	<-done
	if err := r.Resume(newKernel(1, testFrames/2, 0).bundle); err == nil {
		t.Error("a bundle that is too small was taken")
	}
	if err := r.Resume(nil); err == nil {
		t.Error("no bundle was taken")
	}
}

func TestNothingIsAllocated(t *testing.T) {
	k := newKernel(2, testRing, 0)
	r := newRig(t, k, Config{ReadsCompanion: true})
	for v := range 10 {
		r.route(port.Route(v), to(v))
	}
	r.transmit(testFrames)
	tpl := frame.Make([6]byte{2}, [6]byte{3}, to(1), testPort, frame.Options{})
	chunk := append(make([]byte, frame.Headroom), payload(1200)...)
	data := chunk[tpl.Put(chunk, 1204, 0):]
	for _, q := range k.queues {
		q.sent = make([][]byte, 0, 1<<20)
	}
	payloads := payload(1200)
	kick := r.Port.out.kick
	r.Port.out.kick = func(fd int) unix.Errno { // a kernel that allocates nothing
		q := k.queues[fd]
		for q.cachedCons != q.q.tx.next {
			q.complete(q.q.tx.entries[int(q.cachedCons)&(testRing-1)].Addr)
			q.cachedCons++
		}
		*q.q.tx.shared.consumer = q.cachedCons
		return 0
	}
	defer func() { r.Port.out.kick = kick }()
	if n := testing.AllocsPerRun(1000, func() {
		for _, q := range k.queues {
			for range 8 {
				q.receive(data)
			}
		}
		if n := r.Receive(r.clock, &r.in); n != 16 {
			t.Fatal(n)
		}
		for i := range testFrames {
			f := r.out.Reserve()
			f.Data = append(f.Data, payloads...)
			f.Route, f.Born = port.Route(i%10), r.clock
			r.out.Submit()
		}
		r.Transmit(r.clock, &r.out)
		r.clock += port.Millisecond
	}); n != 0 {
		t.Errorf("%g allocations a turn", n)
	}
}

func TestConfig(t *testing.T) {
	good := Config{NextHops: newHops(), Companion: new(notes), Now: func() port.Time { return 0 }, LocalPort: 1}
	for name, spoil := range map[string]func(*Config){
		"NextHops":  func(c *Config) { c.NextHops = nil },
		"Companion": func(c *Config) { c.Companion = nil },
		"Now":       func(c *Config) { c.Now = nil },
		"LocalPort": func(c *Config) { c.LocalPort = 0 },
		"Frames":    func(c *Config) { c.Frames = -1 },
		"Batch":     func(c *Config) { c.Batch = -1 },
		"too small": func(c *Config) { c.Bundle = newKernel(1, 32, 0).bundle; c.Frames = 33 },
	} {
		cfg := good
		spoil(&cfg)
		if p, err := New(cfg); err == nil {
			p.Close()
			t.Errorf("%s: no error", name)
		}
	}
	for name, cfg := range map[string]BundleConfig{
		"no queues":      {},
		"twice":          {Queues: []int{1, 1}},
		"negative":       {Queues: []int{-1}},
		"chunk":          {Queues: []int{0}, ChunkSize: 1024},
		"headroom":       {Queues: []int{0}, Headroom: 2000},
		"receive frames": {Queues: []int{0}, ReceiveFrames: 100},
		"transmit":       {Queues: []int{0}, TransmitFrames: -4},
		"busy poll":      {Queues: []int{0}, BusyPoll: -1},
	} {
		if b, err := Open(cfg); err == nil {
			b.Close()
			t.Errorf("%s: no error", name)
		}
	}
}

// In zerocopy mode the NIC takes frames when it likes: they are sent once submitted, nothing is taken back, and
// the NIC is woken only when it sleeps.
func TestZeroCopy(t *testing.T) {
	k := newKernel(2, testRing, math.MaxUint32-20)
	k.bundle.info.ZeroCopy = true
	r := newRig(t, k, Config{})
	r.route(0, to(0))
	r.route(1, to(1))
	q := k.queues[0]
	wakeups, answer := 0, unix.Errno(0)
	r.Port.out.kick = func(fd int) unix.Errno {
		if fd != 0 {
			t.Errorf("queue %d was woken", fd)
		}
		wakeups++
		return answer
	}
	asleep, awake := uint32(unix.XDP_RING_NEED_WAKEUP), uint32(0)
	q.q.tx.shared.flags = &awake
	k.queues[1].q.tx.shared.flags = &awake
	number := 0
	add := func(n int) (want [][2]int) {
		for range n {
			r.add(0, payload(number))
			want = append(want, [2]int{0, number})
			number++
		}
		return want
	}
	want := add(5)
	r.transmit(testFrames)
	if wakeups != 0 {
		t.Error("woken while awake")
	}
	q.budget = 3
	q.kick() // the NIC, on its own
	r.revoke(1)
	r.transmit(testFrames) // takes nothing back
	q.kick()
	r.expectSent(q, want...)

	// It sleeps, and cannot be woken at once.
	q.q.tx.shared.flags = &asleep
	answer = unix.EAGAIN
	want = add(3)
	r.transmit(testFrames)
	if wakeups != 1 {
		t.Errorf("woken %d times", wakeups)
	}
	if next := r.Port.out.next(r.now); next > r.clock+retryAfter {
		t.Errorf("Wait until %d", next)
	}
	r.clock += retryAfter
	answer = 0
	r.transmit(testFrames) // with nothing new
	if wakeups != 2 {
		t.Errorf("woken %d times", wakeups)
	}
	q.kick()
	r.expectSent(q, want...)
	r.expect(port.Stats{Sent: 8, SentBytes: r.Stats().SentBytes})

	// Down: what is on the ring stays there, what comes goes another way until it is passed.
	answer = unix.ENETDOWN
	want = add(2)
	r.transmit(testFrames)
	other := add(2)
	r.clock += retryDown
	r.transmit(testFrames)
	r.expectCompanion(other...)
	q.kick()
	r.expectSent(q, want...)
	r.clock += retryDown
	want = add(1)
	q.q.tx.shared.flags = &awake
	r.transmit(testFrames)
	q.kick()
	r.expectSent(q, want...)
}
