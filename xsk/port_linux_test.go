package xsk

import (
	"math"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/xsk/frame"
)

// The port with a kernel that does as it is told.

func TestSuspendAndResume(t *testing.T) {
	k := newKernel(2, testRing, 0)
	r := newRig(t, k, rigConfig())
	r.route(0, to(0))
	r.route(1, to(1))
	g := &gate{n: 1, errno: unix.EAGAIN}
	for _, q := range k.sockets {
		q.verdict = g.verdict
		q.hold = true
	}
	tpl := frame.Make([6]byte{2}, [6]byte{3}, to(1), testPort, frame.Options{})
	chunk := append(make([]byte, frame.Headroom), payload(5)...)
	k.sockets[0].receive(chunk[tpl.Put(chunk, len(payload(5)), 0):])
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
	if d := r.Details(); !d.Suspended || d.Queues[0].Counts[QueueAbandoned] != 1 || d.Counts[CompanionSent] != 5 {
		t.Errorf("%+v", d)
	}
	if s := r.Stats(); s[port.Stale] != 1 {
		t.Errorf("%+v", s)
	}
	<-r.Suspend() // there is nothing to suspend
	resume(t, r)
}

// resume gives a suspended port a bundle.
func resume(t *testing.T, r *rig) {
	t.Helper()
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
	r.expectSent(again.sockets[0], [2]int{1, 10})
	if d := r.Details(); d.Suspended {
		t.Errorf("%+v", d)
	}
}

func TestStartsWithoutBundle(t *testing.T) {
	r := newRig(t, nil, rigConfig())
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
	r := newRig(t, k, rigConfig(func(c *Config) { c.ReadsCompanion = true }))
	for v := range 10 {
		r.route(port.Route(v), to(v))
	}
	r.transmit(testFrames)
	tpl := frame.Make([6]byte{2}, [6]byte{3}, to(1), testPort, frame.Options{})
	chunk := append(make([]byte, frame.Headroom), payload(1200)...)
	data := chunk[tpl.Put(chunk, 1204, 0):]
	for _, q := range k.sockets {
		q.sent = make([][]byte, 0, 1<<20)
	}
	payloads := payload(1200)
	kick := r.Port.out.kick
	r.Port.out.kick = func(fd int) unix.Errno { // a kernel that allocates nothing
		q := k.sockets[fd]
		for q.cachedCons != q.socket.tx.next {
			q.complete(q.socket.tx.entries[int(q.cachedCons)&(testRing-1)].Addr)
			q.cachedCons++
		}
		*q.socket.tx.shared.consumer = q.cachedCons
		return 0
	}
	defer func() { r.Port.out.kick = kick }()
	if n := testing.AllocsPerRun(1000, func() {
		for _, q := range k.sockets {
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
	good := with(func(c *Config) {
		c.NextHops, c.Companion, c.Now = newHops(), new(notes), func() port.Time { return 0 }
		c.LocalPort = 1
	})
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
	for name, spoil := range map[string]func(*BundleConfig){
		"no queues":      func(c *BundleConfig) { c.Queues = nil },
		"twice":          func(c *BundleConfig) { c.Queues = []int{1, 1} },
		"negative":       func(c *BundleConfig) { c.Queues = []int{-1} },
		"chunk":          func(c *BundleConfig) { c.ChunkSize = 1024 },
		"headroom":       func(c *BundleConfig) { c.ChunkSize, c.Headroom = 2048, 2000 },
		"receive frames": func(c *BundleConfig) { c.ReceiveFrames = 100 },
		"transmit":       func(c *BundleConfig) { c.TransmitFrames = -4 },
		"busy poll":      func(c *BundleConfig) { c.BusyPoll = -1 },
	} {
		cfg := DefaultBundleConfig(Auto)
		cfg.Queues = []int{0}
		spoil(&cfg)
		if b, err := Open(cfg); err == nil {
			b.Close()
			t.Errorf("%s: no error", name)
		}
	}
}

// idler is a port on a NIC in zerocopy mode, which reads the TX ring of its first socket when the test says so.
type idler struct {
	*rig
	nic     *kernelSocket
	answer  unix.Errno // to kicks
	wakeups int        // kicks
	number  int        // of the next frame
}

func newIdler(t *testing.T) *idler {
	k := newKernel(2, testRing, math.MaxUint32-20)
	k.bundle.info.ZeroCopy = true
	z := &idler{rig: newRig(t, k, rigConfig()), nic: k.sockets[0]}
	z.route(0, to(0))
	z.route(1, to(1))
	z.Port.out.kick = func(fd int) unix.Errno {
		if fd != 0 {
			t.Errorf("queue %d was woken, want none but 0", fd)
		}
		z.wakeups++
		return z.answer
	}
	k.sockets[1].socket.tx.shared.flags = new(uint32)
	z.wake()
	return z
}

// wake makes the NIC read the ring on its own, sleep makes it wait for kicks.
func (z *idler) wake() { z.nic.socket.tx.shared.flags = new(uint32) }

func (z *idler) sleep() {
	asleep := uint32(unix.XDP_RING_NEED_WAKEUP)
	z.nic.socket.tx.shared.flags = &asleep
}

// fill fills n frames.
func (z *idler) fill(n int) (want [][2]int) {
	for range n {
		z.add(0, payload(z.number))
		want = append(want, [2]int{0, z.number})
		z.number++
	}
	return want
}

// In zerocopy mode the NIC reads the ring at any time. Frames are sent once submitted, and never reclaimed. The NIC is
// woken only when it sleeps.
func TestZeroCopy(t *testing.T) {
	z := newIdler(t)
	want := z.fill(5)
	z.transmit(testFrames)
	if z.wakeups != 0 {
		t.Errorf("woken %d times while awake, want 0", z.wakeups)
	}
	z.nic.budget = 3
	if !z.Details().Queues[0].Waiting {
		t.Error("not waiting for a NIC that reads nothing")
	}
	z.nic.kick() // the NIC, on its own
	z.revoke(1)
	z.transmit(testFrames) // reclaims nothing
	z.nic.kick()
	z.expectSent(z.nic, want...)
	z.transmit(testFrames)
	if z.Details().Queues[0].Waiting {
		t.Error("waiting for a NIC that reads everything")
	}

	// It sleeps, and cannot be woken at once.
	z.sleep()
	z.answer = unix.EAGAIN
	want = z.fill(3)
	z.transmit(testFrames)
	if z.wakeups != 1 {
		t.Errorf("woken %d times, want 1", z.wakeups)
	}
	if next := z.Port.out.next(z.now); next > z.clock+retryAfter {
		t.Errorf("Wait until %d, want at most %d", next, z.clock+retryAfter)
	}
	z.clock += retryAfter
	z.answer = 0
	z.transmit(testFrames) // with nothing new
	if z.wakeups != 2 {
		t.Errorf("woken %d times, want 2", z.wakeups)
	}
	z.nic.kick()
	z.expectSent(z.nic, want...)
	z.expect(port.Stats{port.Sent: 8, port.SentBytes: z.Stats()[port.SentBytes]})
}

// While the NIC is down in zerocopy mode, frames on the ring stay there. New ones go another way until the NIC has read
// the ring.
func TestZeroCopyDown(t *testing.T) {
	z := newIdler(t)
	z.sleep()
	z.answer = unix.ENETDOWN
	want := z.fill(2)
	z.transmit(testFrames)
	other := z.fill(2)
	z.clock += retryDown
	z.transmit(testFrames)
	z.expectCompanion(other...)
	z.nic.kick()
	z.expectSent(z.nic, want...)
	z.clock += retryDown
	want = z.fill(1)
	z.wake()
	z.transmit(testFrames)
	z.nic.kick()
	z.expectSent(z.nic, want...)
}
