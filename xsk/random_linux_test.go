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

// Whatever kernel, routes, next hops and outages do: no memory is lost or used twice, nothing leaves twice, out of
// order, late, or to somebody else, and every frame is counted once.
func TestAnythingGoes(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { anything(t, rand.New(rand.NewPCG(seed, 0))) })
	}
}

func anything(t *testing.T, random *rand.Rand) {
	const routes = 7
	var (
		r         *rig
		submitted uint64
		born      = make(map[uint32]port.Time)
		sentTo    = make(map[uint32]int)  // which peer a frame was meant for when it was filled
		route     = make(map[uint32]int)  // which route
		left      = make(map[uint32]bool) // has left
		newest    [routes]uint32          // of the frames that have left
		peer      [routes]int             // -1: revoked
		epoch     [routes]int             // how often it was revoked
		inEpoch   = make(map[uint32]int)
		hidden    int // frames that the device dropped in a poll, which does not tell
	)
	leave := func(d datagram) {
		number := binary.BigEndian.Uint32(d.data)
		v := route[number]
		switch {
		case left[number]:
			t.Fatalf("frame %d left twice", number)
		case number < newest[v]:
			t.Fatalf("frame %d of route %d left after %d", number, v, newest[v])
		case r.clock-born[number] > port.StaleAfter+retryAtMost:
			t.Fatalf("frame %d left %d ns after it was filled", number, r.clock-born[number])
		case d.path != to(sentTo[number]) && (epoch[v] != inEpoch[number] || d.path != to(peer[v])):
			t.Fatalf("frame %d of peer %d went to %v", number, sentTo[number], d.path)
		}
		left[number] = true
		newest[v] = number
	}

	var k *kernel
	fresh := func() *kernel {
		k := newKernel(1+random.IntN(3), 128, math.MaxUint32-uint32(random.IntN(500)))
		k.watch = func(f []byte) { leave(parseSent(t, f)) }
		for _, q := range k.sockets {
			q.hold = random.IntN(2) == 0
			mood := unix.Errno(0)
			q.verdict = func() unix.Errno {
				if random.IntN(20) == 0 {
					mood = []unix.Errno{0, unix.EAGAIN, unix.EBUSY, unix.ENOBUFS}[random.IntN(4)]
				}
				return mood
			}
			outage := unix.Errno(0)
			q.whole = func() unix.Errno {
				if random.IntN(50) == 0 {
					outage = []unix.Errno{0, unix.ENETDOWN, unix.EINTR, unix.ENXIO}[random.IntN(4)]
				}
				return outage
			}
		}
		return k
	}
	k = fresh()
	r = newRig(t, k, rigConfig())
	kick := func(fd int) unix.Errno { return k.kick(fd) }
	r.Port.out.kick = kick
	r.notes.watch = leave
	next := 0
	for v := range routes {
		peer[v] = next
		r.route(port.Route(v), to(next))
		next++
	}
	r.Transmit(r.clock, &r.out)

	suspended := false
	var done <-chan struct{}
	for range 3000 {
		switch random.IntN(30) {
		case 0:
			v := random.IntN(routes)
			peer[v] = -1
			epoch[v]++
			r.revoke(port.Route(v))
			fallthrough
		case 1:
			v := random.IntN(routes)
			peer[v] = next
			r.route(port.Route(v), to(next))
			next++
		case 2:
			r.hops.set(&nexthop.Hop{MTU: 1500})
		case 3:
			r.hops.set(nil)
		case 4:
			if done == nil && !suspended {
				done = r.Suspend()
			}
		case 5:
			if suspended {
				again := fresh()
				if err := r.Resume(again.bundle); err != nil {
					t.Fatal(err)
				}
				k = again
				suspended = false
			}
		case 6, 7:
			for _, q := range k.sockets { // a poll
				if !suspended && done == nil && q.kick() == unix.EBUSY {
					hidden++
				}
			}
		case 8, 9, 10:
			for _, q := range k.sockets {
				q.letGo()
			}
		}
		for range min(random.IntN(12), r.out.Free()) {
			v := random.IntN(routes)
			number := uint32(submitted)
			submitted++
			born[number], route[number], sentTo[number], inEpoch[number] = r.clock, v, peer[v], epoch[v]
			r.add(port.Route(v), binary.BigEndian.AppendUint32(nil, number))
		}
		r.Transmit(r.clock, &r.out)
		r.audit()
		r.Receive(r.clock, &r.in)
		if done != nil {
			select {
			case <-done:
				done = nil
				suspended = true
			default:
			}
		}
		r.clock += port.Time(random.Int64N(int64(port.Millisecond)))
		if random.IntN(100) == 0 {
			r.clock += port.StaleAfter
		}
	}
	s := r.Stats()
	kept := uint64(r.Port.out.lender.kept)
	if sum := s[port.Sent] + s[port.Stale] + s[port.Rejected] + s[port.Unroutable] + kept; sum != submitted {
		t.Errorf("%d frames, %d accounted for: %+v, %d kept", submitted, sum, s, kept)
	}
	if uint64(len(left)+hidden) != s[port.Sent] {
		t.Errorf("%d left and %d were dropped without a word, %d counted as sent", len(left), hidden, s[port.Sent])
	}
	if s[port.Sent] < submitted/20 {
		t.Errorf("hardly anything was sent: %+v", s)
	}
}
