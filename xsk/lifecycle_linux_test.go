package xsk

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/engine/port/porttest"
	"ringcast/testenv"
)

// small are frames enough for a test that opens often.
var small = bundleConfig(Auto, func(c *BundleConfig) { c.ReceiveFrames, c.TransmitFrames, c.HugePages = 64, 64, false })

// smallPort is for a port on such a bundle.
func smallPort(b *Bundle) Config {
	return with(func(c *Config) {
		c.Bundle, c.NextHops, c.Companion, c.Now = b, newHops(), new(notes), now
		c.LocalPort, c.Frames = testPort, 32
	})
}

// held is how many descriptors and mappings this process has.
func held(t testing.TB) (descriptors, mappings int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	// The Go runtime's own mappings come and go; a ring's is one of a socket.
	return len(entries), strings.Count(string(maps), "socket:[") + strings.Count(string(maps), "[AF_XDP]")
}

// resident is the memory that this process has in use, in bytes; a UMEM is, from the beginning.
func resident(t testing.TB) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		var kilobytes int
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kilobytes); err == nil {
			return kilobytes << 10
		}
	}
	t.Fatalf("no VmRSS in %s", status)
	return 0
}

// A close takes the kernel tens of milliseconds, so several queues do their cycles at once.
func TestCyclesLeaveNothing(t *testing.T) {
	const queues, cycles = 8, 1000
	s := newSite(t, queues)
	cycle := func(queue int) error {
		cfg := small
		cfg.Queues = []int{queue}
		b, err := s.open(cfg)
		if err != nil {
			return err
		}
		p, err := New(smallPort(b))
		if err != nil {
			return err
		}
		var out port.Outgoing
		p.Transmit(now(), &out)
		return p.Close()
	}
	if err := cycle(0); err != nil {
		t.Fatal(err)
	}
	const all = cycles * (64 + 64) * zeroCopyChunk // bytes of UMEM
	descriptors, mappings := held(t)
	memory := resident(t)
	begin := time.Now()
	errs := make(chan error, queues)
	for q := range queues {
		go func() {
			for range cycles / queues {
				if err := cycle(q); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range queues {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d cycles in %v", cycles, time.Since(begin))
	d, m := held(t)
	for give := time.Now().Add(porttest.Patience); d > descriptors && time.Now().Before(give); {
		d, m = held(t) // the threads that the test was on are ending
	}
	if d > descriptors || m > mappings {
		t.Errorf("%d descriptors and %d ring mappings after %d cycles, want at most %d and %d",
			d, m, cycles, descriptors, mappings)
	}
	if more := resident(t) - memory; more > all/2 { // the race detector needs some
		t.Errorf("%d bytes more are in use than before, where all UMEMs were %d", more, all)
	}
}

func TestRingsAreMapped(t *testing.T) {
	s := newSite(t, 1)
	_, before := held(t)
	b := s.mustOpen(small)
	_, during := held(t)
	b.Close()
	_, after := held(t)
	if during != before+5 || after != before { // four of the first socket, one of the one for reports
		t.Errorf("%d mappings of rings while open, %d before, %d after: the count above counts nothing",
			during, before, after)
	}
}

// The kernel frees a queue some time after its socket was closed; bind waits for that, but not forever.
func TestBusyQueue(t *testing.T) {
	s := newSite(t, 1)
	first := s.mustOpen(small)
	var slept time.Duration
	cfg := small
	cfg.BusyFor = 20 * time.Millisecond
	cfg.Sleep = func(d time.Duration) { slept += d }
	if _, err := s.open(cfg); !errors.Is(err, ErrQueueBusy) || !errors.Is(err, unix.EBUSY) {
		t.Fatalf("%v", err)
	} else {
		t.Log(err)
	}
	if slept != cfg.BusyFor {
		t.Errorf("slept %v", slept)
	}
	cfg.BusyFor = porttest.Patience
	cfg.Sleep = func(d time.Duration) {
		if first != nil {
			if err := first.Close(); err != nil {
				t.Error(err)
			}
			first = nil
		}
		time.Sleep(d)
	}
	b, err := s.open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
}

func TestOpenErrors(t *testing.T) {
	s := newSite(t, 1)
	for _, c := range []struct {
		name string
		want error
		cfg  func(BundleConfig) BundleConfig
	}{
		{"no queue", ErrNoQueue, func(c BundleConfig) BundleConfig { c.Queues = []int{5}; return c }},
		{"no zerocopy", ErrUnsupported, func(c BundleConfig) BundleConfig { c.Mode = ZeroCopy; return c }},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := c.cfg(small)
			cfg.Interface = s.cable.A.Index
			if cfg.Queues == nil {
				cfg.Queues = s.queues
			}
			s.onServer(func() error {
				descriptors, mappings := held(t)
				b, err := Open(cfg)
				if err == nil {
					b.Close()
				}
				if !errors.Is(err, c.want) {
					t.Errorf("%v", err)
				}
				t.Log(err)
				if d, m := held(t); d > descriptors || m > mappings {
					t.Errorf("%d descriptors and %d mappings left", d-descriptors, m-mappings)
				}
				return nil
			})
		})
	}
	t.Run("no interface", func(t *testing.T) {
		cfg := small
		cfg.Interface, cfg.Queues = 99999, []int{0}
		if _, err := Open(cfg); !errors.Is(err, ErrNoInterface) {
			t.Errorf("%v", err)
		}
	})
}

// Open fails where the process lacks a capability.
func TestOpenUnprivileged(t *testing.T) {
	s := newSite(t, 1)
	large := bundleConfig(Auto, func(c *BundleConfig) { c.ReceiveFrames, c.HugePages = 1<<15, false }) // 128 MB
	for _, c := range []struct {
		name       string
		capability int
		want       error
		cfg        BundleConfig
	}{
		{"no privilege", unix.CAP_NET_RAW, ErrPrivilege, small},
		{"no memory to lock", unix.CAP_IPC_LOCK, ErrMemlock, large},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Interface, c.cfg.Queues = s.cable.A.Index, []int{0}
			failed := make(chan error)
			go func() { // on a thread that ends with it
				runtime.LockOSThread()
				if err := unix.Setns(s.server.NetNS(), unix.CLONE_NEWNET); err != nil {
					failed <- err
					return
				}
				if err := dropCapability(c.capability); err != nil {
					failed <- err
					return
				}
				b, err := Open(c.cfg)
				if err == nil {
					b.Close()
				}
				failed <- err
			}()
			if err := <-failed; !errors.Is(err, c.want) {
				t.Errorf("%v", err)
			} else {
				t.Log(err)
			}
		})
	}
}

// dropCapability takes a capability from this thread.
func dropCapability(capability int) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	data[capability/32].Effective &^= 1 << (capability % 32)
	return unix.Capset(&header, &data[0])
}

// Info describes a bundle on a veth.
func TestInfo(t *testing.T) {
	s := newSite(t, 1)
	b := s.mustOpen(bundleConfig(Auto, func(c *BundleConfig) { c.BusyPoll = 20 * time.Microsecond }))
	defer b.Close()
	info := b.Info()
	t.Logf("%+v", info)
	if info.ZeroCopy || !errors.Is(info.ZeroCopyRefused, ErrUnsupported) {
		t.Errorf("zerocopy: %v", info.ZeroCopyRefused)
	}
	if info.HugePages == (info.HugePagesRefused != nil) {
		t.Errorf("huge pages: %t, %v", info.HugePages, info.HugePagesRefused)
	}
	if info.BusyPollRefused != nil {
		t.Error(info.BusyPollRefused)
	}
	for option, want := range map[int]int{unix.SO_PREFER_BUSY_POLL: 1, unix.SO_BUSY_POLL: 20} {
		if got, err := unix.GetsockoptInt(b.Entries()[0].FD, unix.SOL_SOCKET, option); got != want {
			t.Errorf("socket option %d is %d, want %d; %v", option, got, want, err)
		}
	}
	if !b.sockets[0].tx.shared.needsWakeup() {
		t.Error("copy mode does not ask for kicks")
	}
}

// A port that is closed closes what it has and what it was to take over, and takes no more.
func TestCloseWithBundlesInHand(t *testing.T) {
	s := newSite(t, 2)
	one, two := small, small
	one.Queues, two.Queues = []int{0}, []int{1}
	first, second := s.mustOpen(one), s.mustOpen(two)
	p, err := New(smallPort(first))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Resume(second); err != nil {
		t.Fatal(err)
	}
	done := p.Suspend()
	for range 2 {
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	<-done
	<-p.Suspend()
	if !first.closed || !second.closed {
		t.Errorf("closed: %t and %t", first.closed, second.closed)
	}
	third := s.mustOpen(one)
	if err := p.Resume(third); err == nil {
		t.Error("a closed port took a bundle")
	}
	if third.closed {
		t.Error("a bundle that was refused is closed")
	}
	if err := third.Close(); err != nil {
		t.Error(err)
	}
}

// Down and up again: nobody panics, nothing old leaves, all goes on by itself.
func TestLinkDownAndUp(t *testing.T) {
	s := newSite(t, 1)
	l := s.newPort(s.mustOpen(bundleConfig(Auto)), DefaultConfig())
	p := s.newPeer(netip.MustParseAddr("198.18.0.2"))
	l.Route(0, port.Path{Remote: p.Addr, Local: local4})
	l.add(0, payload(1))
	l.flush()
	p.Next()

	if err := s.cable.A.Down(); err != nil {
		t.Fatal(err)
	}
	down := now()
	for i := range 10 {
		l.add(0, payload(100+i))
		l.flush()
	}
	if err := s.cable.A.Up(); err != nil {
		t.Fatal(err)
	}
	up := now()
	// Frames go on, one each millisecond, until one arrives.
	number := 1000
	for arrived := false; !arrived; number++ {
		if now()-up > port.Time(porttest.Patience) {
			t.Fatalf("nothing arrives: %+v %+v", l.Stats(), l.port.Details())
		}
		l.add(0, payload(number))
		l.flush()
		l.Wait(now() + port.Millisecond)
		_ = p.SetReadDeadline(time.Now().Add(time.Millisecond))
		buf := make([]byte, 4096)
		n, _, err := p.ReadFromUDPAddrPort(buf)
		if arrived = err == nil; arrived && n < 1000-100 {
			t.Fatalf("something old arrived: %d bytes", n)
		}
	}
	d := l.port.Details()
	t.Logf("down for %v; %v until a frame arrived, %d frames lost; %+v",
		time.Duration(up-down), time.Duration(now()-up), l.Stats()[port.Rejected], d)
	if d.Queues[0].Counts[QueueDown] == 0 {
		t.Error("the outage was not noticed")
	}
}

// The far end goes down: every frame is lost, and counted.
func TestCarrierLoss(t *testing.T) {
	s := newSite(t, 1)
	l := s.newPort(s.mustOpen(bundleConfig(Auto)), DefaultConfig())
	p := s.newPeer(netip.MustParseAddr("198.18.0.2"))
	l.Route(0, port.Path{Remote: p.Addr, Local: local4})
	if err := s.cable.B.Down(); err != nil {
		t.Fatal(err)
	}
	const frames = 10
	for i := range frames {
		l.add(0, payload(i))
	}
	l.flush()
	if st := l.Stats(); st[port.Rejected] != frames || st[port.Sent] != 0 {
		t.Errorf("%+v %+v", st, l.port.Details())
	}
	if err := s.cable.B.Up(); err != nil {
		t.Fatal(err)
	}
	_ = p.SetReadDeadline(time.Now().Add(porttest.Patience))
	l.add(0, payload(7))
	l.flush()
	for l.Stats()[port.Sent] == 0 { // the carrier comes when it comes
		l.Wait(now() + port.Millisecond)
		l.add(0, payload(7))
		l.flush()
	}
	p.Next()
}

// The interface is deleted and made again. The old bundle is useless, the companion sends, and a new bundle works.
func TestInterfaceDeleted(t *testing.T) {
	s := newSite(t, 1)
	l := s.newPort(s.mustOpen(bundleConfig(Auto)), DefaultConfig())
	peer := func() *porttest.Peer { return s.newPeer(netip.MustParseAddr("198.18.0.2")) }
	p := peer()
	l.Route(0, port.Path{Remote: p.Addr, Local: local4})
	l.add(0, payload(1))
	l.flush()
	p.Next()

	if err := s.cable.Remove(); err != nil {
		t.Fatal(err)
	}
	l.add(0, payload(2))
	l.flush()
	d := l.port.Details()
	failed := d.Queues[0].Counts[QueueFailed] + d.Queues[0].Counts[QueueDown]
	if failed == 0 || d.Counts[CompanionRejected] != 1 {
		t.Errorf("%+v, want failed kicks and one datagram that the companion could not send", d)
	}
	done := l.port.Suspend()
	l.Transmit(now(), &l.Out)
	l.Receive(now(), &l.In)
	<-done
	if err := s.cable.Insert(); err != nil {
		t.Fatal(err)
	}
	l.add(0, payload(3)) // through the kernel, as soon as there is a way
	l.flush()
	if data, _ := p.Next(); len(data) != len(payload(3)) {
		t.Fatalf("%d bytes", len(data))
	}
	s.onServer(s.program.Reattach)
	if err := l.port.Resume(s.mustOpen(bundleConfig(Auto))); err != nil {
		t.Fatal(err)
	}
	l.hops.set(s.hop())
	l.Transmit(now(), &l.Out)
	sent := l.port.Details().Counts[CompanionSent]
	l.add(0, payload(4))
	l.flush()
	if data, _ := p.Next(); len(data) != len(payload(4)) {
		t.Fatalf("%d bytes", len(data))
	}
	p.Send(netip.AddrPortFrom(local4, testPort), payload(5))
	l.Collect(1)
	l.Transmit(now(), &l.Out)
	if d := l.port.Details(); d.Counts[CompanionSent] != sent || d.Queues[0].Counts[QueueReceived] != 1 {
		t.Errorf("%+v", d)
	}
}

// A far end that takes nothing: its receive thread gets no CPU for a while. Kicks are few and cost little, what
// waits gets stale, and all that was counted as sent arrives.
func TestBlockedPeerOnTheWire(t *testing.T) {
	const blocked = 500 * port.Millisecond
	testenv.Need(t, testenv.NetworkNamespaces, testenv.XDP, testenv.Cores(2))
	s := newSite(t, 1)
	sink, err := s.cable.B.Sink(0)
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Remove()
	const cpu, other = 1, 0
	if _, err := s.cable.B.Threaded(cpu); err != nil { // of FIFO priority 50
		t.Fatal(err)
	}
	l := s.newPort(s.mustOpen(bundleConfig(Auto)), DefaultConfig())
	l.Route(0, to(0))
	l.Transmit(now(), &l.Out)

	// The hog starves every thread on its CPU, so all of this process's leave it first.
	runtime.LockOSThread()
	pinProcess(t, other)
	release := occupy(t, cpu)
	begin, turns := now(), uint64(0)
	for now()-begin < blocked {
		for range min(5, l.Out.Free()) {
			l.add(0, payload(1200))
		}
		l.Transmit(now(), &l.Out)
		l.Wait(now() + port.Millisecond)
		turns++
	}
	d, st := l.port.Details().Queues[0].Counts, l.Stats()
	kicks := d[QueueOK] + d[QueueAgain] + d[QueueBusy] + d[QueueNoBuffers] + d[QueueDown] + d[QueueFailed]
	t.Logf("blocked for %v: %d kicks in %d turns, %d frames with the kernel, %d stale; %+v",
		time.Duration(now()-begin), kicks, turns, st[port.Sent], st[port.Stale], d)
	if most := 5 * uint64(blocked/retryAtMost); kicks > most || turns > most {
		t.Errorf("a blocked peer is not met with patience: %d kicks in %d turns, want at most %d of each",
			kicks, turns, most)
	}
	if st[port.Sent] > 600 || st[port.Stale] == 0 {
		t.Errorf("the peer was not blocked: %+v", st)
	}
	release()
	l.flush()
	l.add(0, payload(1200))
	l.flush()
	for give := now() + port.Time(porttest.Patience); ; {
		sunk, err := sink.Sunk()
		if err != nil {
			t.Fatal(err)
		}
		if sunk.Packets == l.Stats()[port.Sent] {
			break
		}
		if now() > give {
			t.Fatalf("%d arrived; %+v", sunk.Packets, l.Stats())
		}
	}
}

// occupy keeps a CPU from every thread of lower priority than FIFO 60 until release is called. It needs a process of
// its own: the Go scheduler would interrupt a goroutine.
func occupy(t *testing.T, cpu int) (release func()) {
	t.Helper()
	// timeout ends it even if this process dies first.
	hog := exec.Command("timeout", "-s", "KILL", "60", "chrt", "-f", "60", "taskset", "-c", strconv.Itoa(cpu),
		"sh", "-c", "echo; while :; do :; done")
	running, err := hog.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	hog.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := hog.Start(); err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() {
		_ = syscall.Kill(-hog.Process.Pid, syscall.SIGKILL)
		_ = hog.Wait() // it was killed
	})
	t.Cleanup(release)
	if _, err := running.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return release
}

// pinProcess keeps all threads of this process, and those they start, on one CPU until the test ends.
func pinProcess(t *testing.T, cpu int) {
	t.Helper()
	var before, only unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	only.Set(cpu)
	pin := func(set *unix.CPUSet) {
		for moved := true; moved; { // a thread that was not moved yet may have started another
			threads, err := os.ReadDir("/proc/self/task")
			if err != nil {
				t.Fatal(err)
			}
			moved = false
			for _, thread := range threads {
				tid, err := strconv.Atoi(thread.Name())
				if err != nil {
					t.Fatal(err)
				}
				var has unix.CPUSet
				if err := unix.SchedGetaffinity(tid, &has); errors.Is(err, unix.ESRCH) || has == *set {
					continue
				}
				if err := unix.SchedSetaffinity(tid, set); err != nil && !errors.Is(err, unix.ESRCH) {
					t.Fatal(err)
				}
				moved = true
			}
		}
	}
	pin(&only)
	t.Cleanup(func() { pin(&before) })
}
