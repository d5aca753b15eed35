package xsk

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/xsk/nexthop"
)

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
			r := newRig(t, k, rigConfig())
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
				r.expectSent(k.sockets[0], want...)
			}
			if next := k.sockets[0].socket.tx.next; next != start+uint32(number) {
				t.Errorf("the TX ring is at %d after %d frames from %d on", next, number, start)
			}
			if s := r.Stats(); s[port.Sent] != uint64(number) || s[port.Calls] != 40 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestFullSocketKeepsOrder(t *testing.T) {
	k := newKernel(1, testRing, math.MaxUint32-20)
	r := newRig(t, k, rigConfig())
	r.route(0, to(0))
	r.route(1, to(1))
	g := &gate{n: 10, errno: unix.EAGAIN}
	q := k.sockets[0]
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
	if s := r.Stats(); s[port.Sent] != uint64(number) {
		t.Errorf("%+v", s)
	}
}

// A peer that takes nothing for a second: the kicks are few, and what waits gets stale.
func TestBlockedPeer(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, rigConfig())
	r.route(0, to(0))
	q := k.sockets[0]
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
	if s := r.Stats(); s[port.Stale] == 0 || s[port.Stale]+uint64(testFrames) < uint64(number) {
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

// While the link is down nothing goes through the companion: the kernel would send it late.
func TestDownNothingIsSent(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, rigConfig())
	r.hops.set(nil)
	r.hops.why = nexthop.Down
	r.route(0, to(1))
	r.add(0, payload(1))
	r.add(0, payload(2))
	r.transmit(testFrames)
	r.expectCompanion()
	r.expect(port.Stats{port.Rejected: 2})

	r.hops.set(&nexthop.Hop{MTU: 1500})
	r.add(0, payload(3))
	r.transmit(testFrames)
	r.expectSent(k.sockets[0], [2]int{1, 3})
	r.expectCompanion()
}

func TestReslicedAndForeignData(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, rigConfig(func(c *Config) { c.Frames = 1 }))
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
	r.expectSent(k.sockets[0], [2]int{1, 7}, [2]int{1, 8}, [2]int{1, 9})
}

// One frame is lost for each EBUSY, and the kernel may not even tell by its index.
func TestBusyDropsOneFrame(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, rigConfig())
	r.route(0, to(0))
	q := k.sockets[0]
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
	sum := uint64(len(payload(2)) + len(payload(6)) + len(payload(7)))
	r.expect(port.Stats{port.Rejected: 5, port.Sent: 3, port.SentBytes: sum})
	if d := r.Details().Queues[0]; d.Counts[QueueBusy] != 5 || d.Counts[QueueSent] != 3 {
		t.Errorf("%+v", d)
	}
}

// Without a carrier every frame that is tried is lost: in few calls, and the rest gets stale.
func TestNoCarrier(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, rigConfig())
	r.route(0, to(0))
	q := k.sockets[0]
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
			r := newRig(t, k, rigConfig())
			r.route(0, to(0))
			q := k.sockets[0]
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

// While the interface is down, pending frames go to the companion. No old frame leaves when the interface is up again.
func TestDownAndUp(t *testing.T) {
	k := newKernel(1, testRing, math.MaxUint32-3)
	r := newRig(t, k, rigConfig())
	r.route(0, to(0))
	q := k.sockets[0]
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

// A poll of the socket may send frames that are on the ring (xsk_poll does, in copy mode). Frames that it consumes
// between two Transmits are consumed.
func TestPollMaySend(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, rigConfig())
	r.route(0, to(0))
	q := k.sockets[0]
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
	if s := r.Stats(); s[port.Stale] != 5 {
		t.Errorf("%+v", s)
	}
}

// Frames that the kernel holds on to are lent to nobody.
func TestFramesInFlight(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, rigConfig())
	r.route(0, to(0))
	q := k.sockets[0]
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
	if s := r.Details().Queues[0]; !s.Waiting || s.Counts[QueueCompleted] != 0 {
		t.Errorf("waiting %v with %d completed, want true with 0", s.Waiting, s.Counts[QueueCompleted])
	}
	q.letGo()
	r.transmit(testFrames)
	if s := r.Details().Queues[0]; s.Waiting || s.Counts[QueueCompleted] != 2*testFrames {
		t.Errorf("waiting %v with %d completed, want false with %d", s.Waiting, s.Counts[QueueCompleted], 2*testFrames)
	}
}

// A frame that waits on a TX ring is dropped when it is too old; one that was never offered still has its chance.
func TestStaleFramesAreDropped(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, rigConfig())
	r.route(0, to(0))
	q := k.sockets[0]
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
	r.expect(port.Stats{port.Stale: 1, port.Sent: 2, port.SentBytes: uint64(len(payload(2)) + len(payload(3)))})
}

func TestTooLongForAnyPathIsRejected(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, rigConfig())
	r.route(0, to(1))
	r.add(0, make([]byte, port.MaxDatagram+1))
	r.add(0, make([]byte, port.MaxDatagram))
	r.add(0, nil)
	r.transmit(testFrames)
	if got := k.sockets[0].payloads(t); len(got) != 2 || len(got[0].data) != port.MaxDatagram || len(got[1].data) != 0 {
		t.Errorf("%d left", len(got))
	}
	r.expect(port.Stats{port.Rejected: 1, port.Sent: 2, port.SentBytes: port.MaxDatagram})
}

func TestForeignFramesPanic(t *testing.T) {
	r := newRig(t, newKernel(1, testRing, 0), rigConfig())
	defer func() {
		if recover() == nil {
			t.Error("frames that the port did not lend were taken")
		}
	}()
	r.Transmit(r.clock, &port.Outgoing{Frames: make([]port.Frame, 3), Filled: 1})
}
