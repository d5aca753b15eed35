package xsk

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/xsk/nexthop"
)

// The kernel, routes, next hops and outages do anything. Still no memory is lost or used twice. No datagram leaves
// twice, out of order, late, or to a wrong peer. Every frame is counted once.
func TestAnythingGoes(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			c := newChaos(t, rand.New(rand.NewPCG(seed, 0)))
			for range 3000 {
				c.happen()
				c.turn()
			}
			c.account()
		})
	}
}

const chaosRoutes = 7

// chaos is a port to which anything happens, and a record of its frames by number.
type chaos struct {
	*rig
	random    *rand.Rand
	kernel    *kernel
	suspended bool
	done      <-chan struct{} // of a Suspend under way

	peer  [chaosRoutes]int // -1: revoked
	epoch [chaosRoutes]int // how often it was revoked
	next  int              // peer that no route had yet

	submitted uint64
	filled    map[uint32]fill
	left      map[uint32]bool     // has left
	newest    [chaosRoutes]uint32 // of the frames that have left
	hidden    int                 // frames that the device dropped in a poll, which does not report that
}

// A fill is how things were when a frame was filled.
type fill struct {
	born               port.Time
	route, peer, epoch int
}

func newChaos(t *testing.T, random *rand.Rand) *chaos {
	c := &chaos{random: random, filled: make(map[uint32]fill), left: make(map[uint32]bool)}
	c.kernel = c.newKernel()
	c.rig = newRig(t, c.kernel, rigConfig())
	c.Port.out.kick = func(fd int) unix.Errno { return c.kernel.kick(fd) }
	c.notes.watch = c.leave
	for v := range chaosRoutes {
		c.move(v)
	}
	c.Transmit(c.clock, &c.out)
	return c
}

// newKernel makes a kernel of changing moods.
func (c *chaos) newKernel() *kernel {
	k := newKernel(1+c.random.IntN(3), 128, math.MaxUint32-uint32(c.random.IntN(500)))
	k.watch = func(f []byte) { c.leave(parseSent(c.t, f)) }
	for _, q := range k.sockets {
		q.hold = c.random.IntN(2) == 0
		mood := unix.Errno(0)
		q.verdict = func() unix.Errno {
			if c.random.IntN(20) == 0 {
				mood = []unix.Errno{0, unix.EAGAIN, unix.EBUSY, unix.ENOBUFS}[c.random.IntN(4)]
			}
			return mood
		}
		outage := unix.Errno(0)
		q.whole = func() unix.Errno {
			if c.random.IntN(50) == 0 {
				outage = []unix.Errno{0, unix.ENETDOWN, unix.EINTR, unix.ENXIO}[c.random.IntN(4)]
			}
			return outage
		}
	}
	return k
}

// leave sees a datagram leave.
func (c *chaos) leave(d datagram) {
	number := binary.BigEndian.Uint32(d.data)
	was := c.filled[number]
	v := was.route
	switch {
	case c.left[number]:
		c.t.Fatalf("frame %d left twice", number)
	case number < c.newest[v]:
		c.t.Fatalf("frame %d of route %d left after %d", number, v, c.newest[v])
	case c.clock-was.born > port.StaleAfter+retryAtMost:
		c.t.Fatalf("frame %d left %d ns after it was filled", number, c.clock-was.born)
	case d.path != to(was.peer) && (c.epoch[v] != was.epoch || d.path != to(c.peer[v])):
		c.t.Fatalf("frame %d of peer %d went to %v", number, was.peer, d.path)
	}
	c.left[number] = true
	c.newest[v] = number
}

// move makes a route lead to a new peer.
func (c *chaos) move(v int) {
	c.peer[v] = c.next
	c.route(port.Route(v), to(c.next))
	c.next++
}

// happen lets one thing happen, or none.
func (c *chaos) happen() {
	switch c.random.IntN(30) {
	case 0:
		v := c.random.IntN(chaosRoutes)
		c.peer[v] = -1
		c.epoch[v]++
		c.revoke(port.Route(v))
		fallthrough
	case 1:
		c.move(c.random.IntN(chaosRoutes))
	case 2:
		c.hops.set(&nexthop.Hop{MTU: 1500})
	case 3:
		c.hops.set(nil)
	case 4:
		if c.done == nil && !c.suspended {
			c.done = c.Suspend()
		}
	case 5:
		if c.suspended {
			again := c.newKernel()
			if err := c.Resume(again.bundle); err != nil {
				c.t.Fatal(err)
			}
			c.kernel = again
			c.suspended = false
		}
	case 6, 7:
		for _, q := range c.kernel.sockets { // a poll
			if !c.suspended && c.done == nil && q.kick() == unix.EBUSY {
				c.hidden++
			}
		}
	case 8, 9, 10:
		for _, q := range c.kernel.sockets {
			q.letGo()
		}
	}
}

// turn is a turn of the worker.
func (c *chaos) turn() {
	for range min(c.random.IntN(12), c.out.Free()) {
		v := c.random.IntN(chaosRoutes)
		number := uint32(c.submitted)
		c.submitted++
		c.filled[number] = fill{c.clock, v, c.peer[v], c.epoch[v]}
		c.add(port.Route(v), binary.BigEndian.AppendUint32(nil, number))
	}
	c.Transmit(c.clock, &c.out)
	c.audit()
	c.Receive(c.clock, &c.in)
	if c.done != nil {
		select {
		case <-c.done:
			c.done = nil
			c.suspended = true
		default:
		}
	}
	c.clock += port.Time(c.random.Int64N(int64(port.Millisecond)))
	if c.random.IntN(100) == 0 {
		c.clock += port.StaleAfter
	}
}

// account compares the counts with the frames.
func (c *chaos) account() {
	s := c.Stats()
	kept := uint64(c.Port.out.lender.kept)
	sum := s[port.Sent] + s[port.Stale] + s[port.Rejected] + s[port.Unroutable] + kept
	if sum != c.submitted {
		c.t.Errorf("%d frames accounted for, want %d: %v, %d kept", sum, c.submitted, s, kept)
	}
	if got := uint64(len(c.left) + c.hidden); got != s[port.Sent] {
		c.t.Errorf("%d left and %d were dropped without a word, want the %d counted as sent",
			len(c.left), c.hidden, s[port.Sent])
	}
	if s[port.Sent] < c.submitted/20 {
		c.t.Errorf("%v of %d frames, want at least a twentieth sent", s, c.submitted)
	}
}
