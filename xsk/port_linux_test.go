package xsk

import (
	"math"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/xsk/frame"
)

// What the port owes its worker, with a kernel that does as it is told.

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

// In zerocopy mode the NIC takes frames when it likes: they are sent once submitted, nothing is taken back, and
// the NIC is woken only when it sleeps.
func TestZeroCopy(t *testing.T) {
	k := newKernel(2, testRing, math.MaxUint32-20)
	k.bundle.info.ZeroCopy = true
	r := newRig(t, k, rigConfig())
	r.route(0, to(0))
	r.route(1, to(1))
	q := k.sockets[0]
	wakeups, answer := 0, unix.Errno(0)
	r.Port.out.kick = func(fd int) unix.Errno {
		if fd != 0 {
			t.Errorf("queue %d was woken", fd)
		}
		wakeups++
		return answer
	}
	asleep, awake := uint32(unix.XDP_RING_NEED_WAKEUP), uint32(0)
	q.socket.tx.shared.flags = &awake
	k.sockets[1].socket.tx.shared.flags = &awake
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
	if !r.Details().Queues[0].Waiting {
		t.Error("not told to wait for a NIC that reads nothing")
	}
	q.kick() // the NIC, on its own
	r.revoke(1)
	r.transmit(testFrames) // takes nothing back
	q.kick()
	r.expectSent(q, want...)
	r.transmit(testFrames)
	if r.Details().Queues[0].Waiting {
		t.Error("told to wait for a NIC that reads everything")
	}

	// It sleeps, and cannot be woken at once.
	q.socket.tx.shared.flags = &asleep
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
	r.expect(port.Stats{port.Sent: 8, port.SentBytes: r.Stats()[port.SentBytes]})

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
	q.socket.tx.shared.flags = &awake
	r.transmit(testFrames)
	q.kick()
	r.expectSent(q, want...)
}
