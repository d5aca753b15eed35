package udp

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/engine/port/porttest"
)

var dialledImplementations = []struct {
	name string
	open func(Config) (dialledSubject, error)
}{
	{"epoll", openEpollDialled},
	{"portable", openPortableDialled},
}

func openEpollDialled(cfg Config) (dialledSubject, error) {
	d, err := OpenDialled(cfg)
	if err != nil {
		return nil, err
	}
	return d, nil
}

func (d *Dialled) number(name netip.Addr) uint16 {
	if s := d.named[name]; s != nil {
		return s.local.Port()
	}
	return 0
}

func (d *Dialled) interpose(verdict func(segments int) error) {
	d.sendmmsg = func(fd int, messages []mmsghdr) (int, unix.Errno) {
		for i := range messages {
			var errno unix.Errno
			errors.As(verdict(1), &errno)
			if errno == 0 {
				_, errno = sendmmsg(fd, messages[i:i+1])
			}
			if errno != 0 && i > 0 {
				return i, 0
			}
			if errno != 0 {
				return 0, errno
			}
		}
		return len(messages), 0
	}
}

func openDialledLinux(t testing.TB, cfg Config) (*dialledRig, *Dialled) {
	t.Helper()
	r := openDialledRig(t, openEpollDialled, cfg)
	return r, r.dialledSubject.(*Dialled)
}

// A socket that is full keeps its own frames, in order, and no others. They go when it has room, or are stale.
func TestFullSocketKeepsItsOwn(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EAGAIN, unix.ENOBUFS} {
		t.Run(errno.Error(), func(t *testing.T) { fullSocketKeepsItsOwn(t, errno) })
	}
}

func fullSocketKeepsItsOwn(t *testing.T, errno unix.Errno) {
	r, d := openDialledLinux(t, Config{})
	slow, quick := newPeer(t, loopback4), newPeer(t, loopback4)
	r.dial(0, slow.Addr, 1)
	r.dial(1, quick.Addr, 2)
	now := Now()
	r.Send(now, defaultFrames)
	room := 0 // of the first socket
	d.sendmmsg = func(fd int, messages []mmsghdr) (int, unix.Errno) {
		if fd != d.named[port.Socket(1)].fd {
			return sendmmsg(fd, messages)
		}
		if room == 0 {
			return 0, errno
		}
		n, errno := sendmmsg(fd, messages[:min(room, len(messages))])
		room -= n
		return n, errno
	}
	var want [2][][]byte
	number := 0
	add := func(to ...port.Route) {
		for _, route := range to {
			want[route] = append(want[route], porttest.Payload(number, 50))
			r.Add(route, now, porttest.Payload(number, 50))
			number++
		}
	}
	add(0, 1, 1, 0, 1, 0, 0, 1)
	r.Send(now, defaultFrames-4)
	add(1, 0, 1)
	r.Send(now, defaultFrames-5)
	quick.Expect(want[1]...)
	room = 3
	r.Send(now, defaultFrames-2)
	slow.Expect(want[0][:3]...)
	r.Wait(port.Never) // ends for a try of the kept frames, although nothing arrives and nobody wakes

	now += port.StaleAfter + port.Millisecond
	room = 100
	add(0)
	r.Send(now, defaultFrames)
	slow.Expect(want[0][5])
	r.Expect(port.Stats{port.Sent: 10, port.SentBytes: 500, port.Stale: 2})
}

// Sockets take turns: none has all of a batch while others are ready, and each is heard within one round.
func TestSocketsTakeTurns(t *testing.T) {
	const sessions, each = 8, 3 * visit
	r, _ := openDialledLinux(t, Config{Batch: 2 * visit})
	peer := newPeer(t, loopback4)
	for s := range sessions {
		r.dial(port.Route(s), peer.Addr, uint64(s))
	}
	r.Send(Now(), defaultFrames)
	for i := range each {
		for s := range sessions {
			peer.Send(r.at(loopback4, uint64(s)), porttest.Payload(i, 50))
		}
	}
	next := map[netip.Addr]int{}
	for received := 0; received < sessions*each; {
		for range sessions / 2 {
			n := r.Receive(Now(), &r.In)
			for _, in := range r.In.Packets[:n] {
				if want := porttest.Payload(next[in.Path.Local], 50); !slices.Equal(in.Data, want) {
					t.Fatalf("got %s by %v, want %s", porttest.Brief(in.Data), in.Path, porttest.Brief(want))
				}
				next[in.Path.Local]++
			}
			received += n
		}
		for s := range uint64(sessions) {
			if got := next[port.Socket(s)]; got != received/sessions {
				t.Fatalf("session %d was heard %d times of %d in all, want an equal share", s, got, received)
			}
		}
	}
}

// A socket that does not open costs its own frames. It opens with the next route that names it.
func TestSocketThatDoesNotOpen(t *testing.T) {
	var log strings.Builder
	r, d := openDialledLinux(t, Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
	peer := newPeer(t, loopback4)
	r.dial(0, peer.Addr, 1)
	r.Send(Now(), defaultFrames)
	good := d.cfg.Address
	d.cfg.Address = netip.MustParseAddrPort("203.0.113.77:0")
	r.dial(1, peer.Addr, 2)
	r.dial(2, peer.Addr, 2)
	for route := range port.Route(3) {
		r.Add(route, Now(), porttest.Payload(int(route), 50))
	}
	r.Send(Now(), defaultFrames)
	r.expectSockets(1)
	if n := strings.Count(log.String(), "a dialled session gets no socket"); n != 1 {
		t.Errorf("%d warnings, want 1:\n%s", n, log.String())
	}
	d.cfg.Address = good
	r.dial(2, peer.Addr, 2)
	r.Add(2, Now(), porttest.Payload(3, 50))
	r.Send(Now(), defaultFrames)
	peer.Expect(porttest.Payload(0, 50), porttest.Payload(3, 50))
	r.Revoke(1)
	r.Revoke(2)
	r.Send(Now(), defaultFrames)
	r.expectSockets(1)
	r.Expect(port.Stats{port.Sent: 2, port.SentBytes: 100, port.Rejected: 2})
}

// Neither way allocates per packet, with many sockets.
func TestDialledAllocatesNothing(t *testing.T) {
	r, d := openDialledLinux(t, Config{})
	peer := newPeer(t, loopback4)
	const sessions = 20
	for s := range sessions {
		r.dial(port.Route(s), peer.Addr, uint64(s))
	}
	r.Send(Now(), defaultFrames)
	data := porttest.Payload(1, 1200)
	buf := make([]byte, 2048)
	at := make([]netip.AddrPort, sessions)
	for s := range at {
		at[s] = r.at(loopback4, uint64(s))
	}
	round := func() {
		now := Now()
		for s := range sessions {
			f := r.Out.Reserve()
			f.Data = append(f.Data, data...)
			f.Route, f.Born = port.Route(s), now
			r.Out.Submit()
			if _, err := peer.WriteToUDPAddrPort(data, at[s]); err != nil {
				t.Fatal(err)
			}
		}
		d.Transmit(now, &r.Out)
		for n := 0; n < sessions; n += d.Receive(now, &r.In) {
			d.Wait(now + port.Second)
		}
		for range sessions {
			if _, _, err := peer.ReadFromUDPAddrPort(buf); err != nil {
				t.Fatal(err)
			}
		}
	}
	round()
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations for %d packets each way, want none", n, sessions)
	}
}

// Close frees all descriptors, and so does an OpenDialled that fails.
func TestDialledDescriptorsAreClosed(t *testing.T) {
	before := descriptors(t)
	for range 3 {
		d, err := OpenDialled(Config{})
		if err != nil {
			t.Fatal(err)
		}
		changes := []port.RouteChange{
			{Route: 0, Path: port.Path{Remote: netip.AddrPortFrom(loopback4, 9), Local: port.Socket(1)}},
			{Route: 1, Path: port.Path{Remote: netip.AddrPortFrom(loopback4, 9), Local: port.Socket(2)}},
		}
		d.Transmit(Now(), &port.Outgoing{Routes: changes})
		if got, want := descriptors(t), before+6; got != want {
			t.Errorf("%d descriptors with two sockets, want %d", got, want)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if got := d.Sockets(); got != 0 {
			t.Errorf("%d sockets after Close, want 0", got)
		}
	}
	if _, err := OpenDialled(Config{Address: netip.MustParseAddrPort("203.0.113.77:0")}); err == nil {
		t.Error("203.0.113.77 was bound")
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// BenchmarkDialled measures a push's cost in the port: frames of 1,200 bytes by several sockets, in runs. The receiving
// side of the stack runs within the sender's call, and is part of the figure.
func BenchmarkDialled(b *testing.B) {
	for name, run := range map[string]int{"run=1": 1, "run=4": 4, "run=16": 16} {
		b.Run(name, func(b *testing.B) { benchmarkDialled(b, run) })
	}
}

func benchmarkDialled(b *testing.B, run int) {
	r, d := openDialledLinux(b, Config{})
	_, sink := openLinux(b, Config{Address: wildcard6})
	if err := unix.SetsockoptInt(sink.socket.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4096); err != nil {
		b.Fatal(err)
	}
	const sessions = 16
	for s := range sessions {
		r.dial(port.Route(s), (&rig{subject: sink}).at(loopback4), uint64(s))
	}
	d.Transmit(Now(), &r.Out)
	data := porttest.Payload(1, 1200)
	for i := range r.Out.Frames { // the worker's part, done once
		f := &r.Out.Frames[i]
		copy(f.Data[:len(data)], data)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b.ReportAllocs()
	sent, before := 0, threadCPU(b)
	for b.Loop() {
		now := Now()
		for i := range defaultFrames {
			f := r.Out.Reserve()
			f.Data = f.Data[:len(data)]
			f.Route, f.Born = port.Route(i/run%sessions), now
			r.Out.Submit()
		}
		d.Transmit(now, &r.Out)
		sent += defaultFrames
	}
	b.ReportMetric(float64(threadCPU(b)-before)/float64(sent), "cpu-ns/packet")
	s := d.Stats()
	b.ReportMetric(float64(s[port.Sent])/float64(s[port.Calls]), "packets/call")
}

// BenchmarkDialledReceive measures a pull's cost in the port, beside that of an ordinary port. One peer sends bursts
// of 1,200 bytes to several sockets, one after another. "merged" bursts arrive as one message, which UDP_GRO made.
func BenchmarkDialledReceive(b *testing.B) {
	const sessions, burst = 16, 8
	for _, how := range []Batching{Segmented, Messages} {
		name := map[Batching]string{Segmented: "merged", Messages: "alone"}[how]
		b.Run(name+"/dialled", func(b *testing.B) {
			r, d := openDialledLinux(b, Config{})
			var at []netip.AddrPort
			for s := range uint64(sessions) {
				r.dial(port.Route(s), netip.AddrPortFrom(loopback4, 9), s)
			}
			d.Transmit(Now(), &r.Out)
			for s := range uint64(sessions) {
				at = append(at, r.at(loopback4, s))
			}
			benchmarkReceive(b, d, how, at, burst)
		})
		b.Run(name+"/ordinary", func(b *testing.B) {
			r, p := openLinux(b, Config{Address: wildcard6})
			benchmarkReceive(b, p, how, slices.Repeat([]netip.AddrPort{r.at(loopback4)}, sessions), burst)
		})
	}
}

func benchmarkReceive(b *testing.B, p port.Port, how Batching, to []netip.AddrPort, burst int) {
	source, s := openLinux(b, Config{Address: wildcard6, Batching: how})
	for i, at := range to {
		source.route(port.Route(i), at, loopback4)
	}
	s.Transmit(Now(), &source.Out)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	b.ReportAllocs()
	var in port.Batch
	received, spent := 0, int64(0)
	data := porttest.Payload(1, 1200)
	for b.Loop() {
		for i := range burst * len(to) {
			source.Add(port.Route(i/burst), Now(), data)
		}
		s.Transmit(Now(), &source.Out)
		before := threadCPU(b)
		for n := 0; n < burst*len(to); {
			n += p.Receive(Now(), &in)
		}
		spent += threadCPU(b) - before
		received += burst * len(to)
	}
	b.ReportMetric(float64(spent)/float64(received), "cpu-ns/packet")
}

// BenchmarkDialledOpen measures how long opening and closing a session's socket hold the worker up. As in a server, an
// ordinary port is open: the first socket with timestamps changes the kernel's code.
func BenchmarkDialledOpen(b *testing.B) {
	openLinux(b, Config{})
	r, d := openDialledLinux(b, Config{})
	for b.Loop() {
		r.dial(0, netip.AddrPortFrom(loopback4, 9), 1)
		d.Transmit(Now(), &r.Out)
		r.Revoke(0)
		d.Transmit(Now(), &r.Out)
	}
}
