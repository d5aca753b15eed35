package xsk

import (
	"testing"

	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/xsk/frame"
)

// turn is how long a turn of the worker takes in these tests.
const turn = 2 * port.Microsecond

// spin plays the worker for a second: a frame a millisecond, and a driver that runs delay after it was kicked. It
// returns how many frames were filled, and how many sleeps would have ended at once.
func (r *rig) spin(q *kernelSocket, delay port.Time) (frames, sleepless int) {
	r.t.Helper()
	const interval = port.Millisecond
	due, runs, end := r.clock, port.Never, r.clock+port.Second
	for r.clock < end {
		if r.clock >= due {
			r.add(0, payload(frames))
			frames++
			due += interval
		}
		if r.clock >= runs {
			q.interrupt()
			runs = port.Never
		}
		r.Transmit(r.clock, &r.out)
		if q.raised && runs == port.Never {
			runs = r.clock + delay
		}
		r.clock += turn
		next := r.Port.out.next(r.now)
		if next <= r.clock && next < due {
			sleepless++
		}
		r.clock = max(r.clock, min(next, due, runs))
	}
	q.interrupt()
	return frames, sleepless
}

// A driver that is woken by an interrupt has not run when the kick returns. The kick is not repeated at once, and the
// worker sleeps in between.
func TestKickedDriverIsGivenTime(t *testing.T) {
	for _, c := range []struct {
		name  string
		delay port.Time
		most  int // kicks a frame
	}{
		{"at once", turn, 1},
		{"20 µs", 20 * port.Microsecond, 1},
		{"300 µs", 300 * port.Microsecond, 3}, // at 0, 50 and 150 µs
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newZeroCopy(1)
			r := newRig(t, k, rigConfig())
			r.route(0, to(0))
			q := k.sockets[0]
			frames, sleepless := r.spin(q, c.delay)
			t.Logf("%d frames, %d kicks, %d sleeps of no length", frames, q.kicks, sleepless)
			if len(q.sent) != frames {
				t.Errorf("%d of %d frames left", len(q.sent), frames)
			}
			if q.kicks > c.most*frames {
				t.Errorf("%d kicks for %d frames, want at most %d", q.kicks, frames, c.most*frames)
			}
			if sleepless > 0 {
				t.Errorf("%d sleeps of no length, want none", sleepless)
			}
		})
	}
}

// A driver that never runs is kicked ever more seldom, as a socket that takes nothing is.
func TestDeadDriverIsKickedSeldom(t *testing.T) {
	k := newZeroCopy(1)
	r := newRig(t, k, rigConfig())
	r.route(0, to(0))
	q := k.sockets[0]
	r.add(0, payload(0))
	for end := r.clock + port.Second; r.clock < end; {
		r.Transmit(r.clock, &r.out)
		next := r.Port.out.next(r.now)
		if next <= r.clock {
			t.Fatalf("Wait would return at once, at %d", r.clock)
		}
		r.clock = next
	}
	if q.kicks > 1010 {
		t.Errorf("%d kicks in a second, want one a millisecond", q.kicks)
	}
	q.interrupt()
	r.add(0, payload(1)) // the driver has run, which ends the pause
	before := q.kicks
	r.transmit(testFrames)
	if q.kicks != before+1 {
		t.Errorf("%d kicks after the driver had run, want 1", q.kicks-before)
	}
	q.interrupt()
	r.expectSent(q, [2]int{0, 0}, [2]int{0, 1})
}

// Frames that follow while the driver has not run ride along; those that follow when it has are shown at once.
func TestDriverThatRanIsKickedAtOnce(t *testing.T) {
	k := newZeroCopy(1)
	r := newRig(t, k, rigConfig())
	r.route(0, to(0))
	q := k.sockets[0]
	for i := range 3 {
		r.add(0, payload(i))
		r.transmit(testFrames)
		r.clock += turn
	}
	if q.kicks != 1 {
		t.Errorf("%d kicks while the driver had not run, want 1", q.kicks)
	}
	q.interrupt()
	r.add(0, payload(3))
	r.transmit(testFrames)
	if q.kicks != 2 {
		t.Errorf("%d kicks once the driver had run, want 2", q.kicks)
	}
	q.interrupt()
	r.expectSent(q, [2]int{0, 0}, [2]int{0, 1}, [2]int{0, 2}, [2]int{0, 3})
}

// The kicks that probe whether a socket sends again, after it was down, do not storm either.
func TestRecoveringDriverIsKickedOnce(t *testing.T) {
	k := newZeroCopy(1)
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
	for i := range 20 {
		r.add(0, payload(i))
	}
	r.transmit(testFrames)
	down = false
	q.kicks = 0
	r.clock += retryDown
	r.transmit(testFrames)
	if q.kicks != 1 {
		t.Errorf("%d kicks of a driver that has not run yet, want 1", q.kicks)
	}
	q.interrupt()
	r.clock += retryDown
	r.add(0, payload(20))
	r.transmit(testFrames)
	q.interrupt()
	if got := q.payloads(t); len(got) != 21 {
		t.Errorf("%d frames left, want 20 old ones and 1", len(got))
	}
}

// nic is a driver's receiving side: a ring of size chunks, which it fills when it is woken, and only then. It wants to
// be woken all the time, as ENA's does after each poll that found fewer packets than it may take.
type nic struct {
	*kernelSocket
	size  int
	kicks int
	deaf  int // so many kicks get lost
}

func newNIC(r *rig, q *kernelSocket, size int) *nic {
	n := &nic{kernelSocket: q, size: size}
	need := uint32(unix.XDP_RING_NEED_WAKEUP)
	q.socket.fill.shared.flags = &need
	q.stockUp(size) // as a bind does
	r.Port.in.kick = func(int) {
		n.kicks++
		if n.deaf > 0 {
			n.deaf--
			return
		}
		q.stockUp(size)
	}
	return n
}

// arrive delivers datagrams, and reports how many the NIC had chunks for.
func (n *nic) arrive(datagrams int) (taken int) {
	tpl := frame.Make([6]byte{2}, [6]byte{3}, to(1), testPort, frame.Options{})
	chunk := append(make([]byte, frame.Headroom), payload(1)...)
	data := chunk[tpl.Put(chunk, len(payload(1)), 0):]
	for range datagrams {
		if len(n.stock) > 0 && n.receive(data) {
			taken++
		}
	}
	return taken
}

// A driver is woken for a real refill, not after every datagram.
func TestReceiveKicksForARefill(t *testing.T) {
	k := newZeroCopy(1)
	r := newRig(t, k, rigConfig())
	n := newNIC(r, k.sockets[0], 256)
	const datagrams = 10_000
	got := 0
	for range datagrams {
		if n.arrive(1) != 1 {
			t.Fatalf("the NIC had no chunk after %d datagrams", got)
		}
		got += r.Receive(r.clock, &r.in)
	}
	if got != datagrams {
		t.Errorf("%d datagrams, want %d", got, datagrams)
	}
	if want := datagrams / refillAtLeast; n.kicks > want {
		t.Errorf("%d kicks for %d datagrams, want at most %d", n.kicks, datagrams, want)
	}
}

// A NIC that has few chunks left is woken for any that lie ready, each turn until it takes them.
func TestReceiveNeverStarves(t *testing.T) {
	for _, c := range []struct {
		name        string
		size, burst int
		deaf        int
	}{
		{"small ring", 32, 32, 0},
		{"bursts of a whole ring", 256, 256, 0},
		{"a kick is lost", 256, 256, 1},
		{"many kicks are lost", 256, 64, 50},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newZeroCopy(1)
			r := newRig(t, k, rigConfig())
			n := newNIC(r, k.sockets[0], c.size)
			for round := range 100 {
				n.deaf = c.deaf
				if taken := n.arrive(c.burst); taken != c.burst {
					t.Fatalf("round %d: the NIC had chunks for %d of %d datagrams", round, taken, c.burst)
				}
				for turns := 0; len(n.stock) < min(c.size, refillAtLeast) || r.Port.in.pending(r.clock); turns++ {
					if turns > 2*c.size+c.deaf {
						t.Fatalf("round %d: the NIC still has %d chunks of %d", round, len(n.stock), c.size)
					}
					r.Receive(r.clock, &r.in)
				}
			}
		})
	}
}

// There is no kick if the driver does not ask for one, nor with an empty fill ring.
func TestReceiveKicksForNothingNever(t *testing.T) {
	k := newZeroCopy(1)
	r := newRig(t, k, rigConfig())
	n := newNIC(r, k.sockets[0], 1024)
	for range 100 {
		r.Receive(r.clock, &r.in) // the NIC holds all chunks
	}
	*n.socket.fill.shared.flags = 0
	for range 100 {
		n.arrive(8)
		r.Receive(r.clock, &r.in)
	}
	if n.kicks > 0 {
		t.Errorf("%d kicks, want none", n.kicks)
	}
}
