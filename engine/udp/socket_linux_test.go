package udp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/engine/port/porttest"
	"ringcast/engine/port/tally"
	"ringcast/testenv"
)

// Tests of features that only the Linux implementation has.

func openLinux(t testing.TB, cfg Config) (*rig, *Port) {
	t.Helper()
	r := openRig(t, openSubject, cfg)
	return r, r.subject.(*Port)
}

// needSegmentation skips a test where the kernel lacks UDP_SEGMENT or UDP_GRO, and fails it where only the
// port does without.
func needSegmentation(t testing.TB, p *Port) {
	t.Helper()
	testenv.Need(t, testenv.UDPSegmentation)
	if !p.socket.gso || !p.socket.gro {
		t.Fatalf("the kernel has UDP_SEGMENT and UDP_GRO, the port uses them: %t, %t", p.socket.gso, p.socket.gro)
	}
}

// countMessages counts what the kernel is offered.
func countMessages(p *Port) *int {
	n := new(int)
	p.interpose(func(int) error {
		*n++
		return nil
	})
	return n
}

// sizesOf is n times size, then the others.
func sizesOf(n, size int, others ...int) []int {
	return append(slices.Repeat([]int{size}, n), others...)
}

func TestRunsLeaveAsOneMessage(t *testing.T) {
	for _, c := range []struct {
		sizes []int
		want  int
	}{
		{sizesOf(7, 1200), 1},
		{sizesOf(6, 1200, 800), 1},
		{sizesOf(6, 1200, 1201), 2},
		{sizesOf(3, 1200, 800, 800, 800), 2},
		{sizesOf(64, 100), 1},
		{sizesOf(65, 100), 2},
		{sizesOf(44, port.MaxDatagram), 1}, // 64,768 bytes
		{sizesOf(45, port.MaxDatagram), 2},
		{[]int{0, 0, 5, 0}, 4},
	} {
		for _, how := range []Batching{Segmented, Messages, Single} {
			t.Run(fmt.Sprint(c.sizes, how), func(t *testing.T) {
				r, p := openLinux(t, Config{Batching: how})
				needSegmentation(t, p)
				count := countMessages(p)
				peer := newPeer(t, loopback4)
				r.route(0, peer.Addr, loopback4)
				for i, size := range c.sizes {
					r.Add(0, Now(), porttest.Payload(i, size))
				}
				r.Send(Now(), defaultFrames)
				want := c.want
				if how != Segmented {
					want = len(c.sizes)
				}
				if *count != want {
					t.Errorf("%d messages, want %d", *count, want)
				}
				calls := int(p.Stats()[port.Calls])
				if how == Single && calls != want || how == Messages && want > 1 && calls == want {
					t.Errorf("%d messages in %d calls", want, calls)
				}
				if (how != Segmented) != errors.Is(r.Segmentation(), ErrNoSegmentation) {
					t.Errorf("segmentation: %v", r.Segmentation())
				}
			})
		}
	}
}

func TestBatchesAreBounded(t *testing.T) {
	r, p := openLinux(t, Config{})
	needSegmentation(t, p)
	peer := newPeer(t, loopback4)
	var want [][]byte
	most := 0
	p.out.sendmmsg = func(fd int, messages []mmsghdr) (int, unix.Errno) {
		frames := 0
		for _, m := range messages[:len(messages)-1] {
			frames += int(m.header.Iovlen)
		}
		if len(messages) > batchMessages || frames >= batchFrames {
			t.Errorf("a batch of %d messages with %d frames before the last", len(messages), frames)
		}
		most = max(most, len(messages))
		return sendmmsg(fd, messages[:1+len(messages)/2]) // a kernel that accepts half of them
	}
	r.route(0, peer.Addr, loopback4)
	r.route(1, peer.Addr, loopback4)
	for i := range defaultFrames {
		want = append(want, porttest.Payload(i, 100+i%3))
		r.Add(port.Route(i/5%2), Now(), want[i])
	}
	r.Send(Now(), defaultFrames)
	peer.Expect(want...)
	if most != batchMessages {
		t.Errorf("at most %d messages a call, want %d", most, batchMessages)
	}
}

// uncutter answers segmented messages as a kernel or NIC does that cannot cut them.
func uncutter(errno unix.Errno, uncut *int) func(int) error {
	return func(segments int) error {
		if segments > 1 {
			*uncut++
			return errno
		}
		return nil
	}
}

func TestSegmentationRejected(t *testing.T) {
	for _, c := range []struct {
		errno unix.Errno
		uncut int
	}{
		{unix.EIO, 2},
		{unix.EINVAL, 2},
		{unix.EMSGSIZE, 2},
	} {
		t.Run(c.errno.Error(), func(t *testing.T) {
			var log bytes.Buffer
			warnings := slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})
			r, p := openLinux(t, Config{Log: slog.New(warnings)})
			needSegmentation(t, p)
			uncut := 0
			r.interpose(uncutter(c.errno, &uncut))
			peers := []*porttest.Peer{newPeer(t, loopback4), newPeer(t, loopback4)}
			for v, peer := range peers {
				r.route(port.Route(v), peer.Addr, loopback4)
			}
			var want [2][][]byte
			send := func() {
				for i := range 40 { // runs of 5, and some alone before them
					v := i / 5 % 2
					data := porttest.Payload(i, 300)
					want[v] = append(want[v], data)
					r.Add(port.Route(v), Now(), data)
				}
				r.Send(Now(), defaultFrames)
			}
			send()
			send()
			for v, peer := range peers {
				peer.Expect(want[v]...)
			}
			if uncut != c.uncut {
				t.Errorf("%d segmented messages were offered, want %d", uncut, c.uncut)
			}
			r.Expect(port.Stats{port.Sent: 80, port.SentBytes: 80 * 300})
			about := strings.Contains(log.String(), "route=0 segments=5 size=300")
			if n := strings.Count(log.String(), "level=WARN"); n != 1 || !about {
				t.Errorf("%d warnings, want 1 about route 0: %s", n, log.String())
			}
			if s := r.Stats(); s[port.Unsegmented] != 2 {
				t.Errorf("%d routes without segmentation counted, want 2", s[port.Unsegmented])
			}
			if r.Segmentation() != nil {
				t.Errorf("segmentation of the port: %v, want none lost", r.Segmentation())
			}

			// A new path is given a new chance.
			before := uncut
			r.route(0, peers[0].Addr, loopback4)
			r.Add(0, Now(), porttest.Payload(1, 10))
			r.Add(0, Now(), porttest.Payload(1, 10))
			r.Send(Now(), defaultFrames)
			peers[0].Expect(porttest.Payload(1, 10), porttest.Payload(1, 10))
			if uncut == before {
				t.Error("segmentation was not tried on a new path")
			}
		})
	}
}

func TestInterruptedSend(t *testing.T) {
	r, p := openLinux(t, Config{})
	peer := newPeer(t, loopback4)
	interrupts := 0
	p.out.sendmmsg = func(fd int, messages []mmsghdr) (int, unix.Errno) {
		if interrupts++; interrupts%3 != 0 {
			return 0, unix.EINTR
		}
		return sendmmsg(fd, messages)
	}
	r.route(0, peer.Addr, loopback4)
	r.Add(0, Now(), porttest.Payload(1, 10))
	r.Send(Now(), defaultFrames)
	peer.Expect(porttest.Payload(1, 10))

	// Not for ever: the frame is kept, and Wait comes back to it.
	p.out.sendmmsg = func(int, []mmsghdr) (int, unix.Errno) { return 0, unix.EINTR }
	r.Add(0, Now(), porttest.Payload(2, 10))
	r.Send(Now(), defaultFrames-1)
	r.Wait(port.Never)
	p.out.sendmmsg = sendmmsg
	r.Send(Now(), defaultFrames)
	peer.Expect(porttest.Payload(2, 10))
}

func TestReceiveErrorsAreSurvived(t *testing.T) {
	r, p := openLinux(t, Config{})
	peer := newPeer(t, loopback4)
	peer.Send(r.at(loopback4), porttest.Payload(1, 10))
	calls := 0
	p.in.recvmmsg = func(fd int, messages []mmsghdr) (int, unix.Errno) {
		calls++
		switch calls {
		case 1:
			return 0, unix.EINTR
		case 2:
			return 0, unix.ECONNREFUSED
		}
		return recvmmsg(fd, messages)
	}
	r.Collect(1)
	p.in.recvmmsg = func(int, []mmsghdr) (int, unix.Errno) {
		calls++
		return 0, unix.EINTR
	}
	calls = 0
	if n := r.Receive(Now(), &r.In); n != 0 || calls != receiveRetries {
		t.Errorf("%d datagrams after %d calls", n, calls)
	}
}

func TestMergedDatagramsAreSplit(t *testing.T) {
	for _, local := range []netip.Addr{loopback4, loopback6} {
		t.Run(local.String(), func(t *testing.T) {
			need(t, local)
			sender, p := openLinux(t, Config{})
			needSegmentation(t, p)
			receiver, q := openLinux(t, Config{Batch: 10})
			messages := 0
			q.in.recvmmsg = func(fd int, m []mmsghdr) (int, unix.Errno) {
				n, errno := recvmmsg(fd, m)
				messages += n
				return n, errno
			}
			sender.route(0, receiver.at(local), local)
			var want [][]byte
			for i, size := range sizesOf(31, 1000, sizesOf(1, 400, sizesOf(44, 1472, 1, 2)...)...) {
				want = append(want, porttest.Payload(i, size))
				sender.Add(0, Now(), want[i])
			}
			sender.Send(Now(), defaultFrames)

			got := 0
			for got < len(want) {
				receiver.Wait(Now() + port.Time(porttest.Patience)) // must not wait while some are left over
				n := receiver.Receive(Now(), &receiver.In)
				if n == 0 {
					t.Fatalf("Wait returned after %d datagrams without another", got)
				}
				for _, in := range receiver.In.Packets[:n] {
					if !bytes.Equal(in.Data, want[got]) || cap(in.Data) != len(in.Data) {
						t.Fatalf("datagram %d: %s, capacity %d, want %s",
							got, porttest.Brief(in.Data), cap(in.Data), porttest.Brief(want[got]))
					}
					if in.Path != (port.Path{Remote: sender.at(local), Local: local}) {
						t.Errorf("path %v", in.Path)
					}
					got++
				}
			}
			if messages != 3 {
				t.Errorf("%d messages carried %d datagrams, want 3", messages, got)
			}
		})
	}
}

func TestMergedDatagramsThatAreTooLong(t *testing.T) {
	sender, p := openLinux(t, Config{})
	needSegmentation(t, p)
	receiver, _ := openLinux(t, Config{})
	// Past the transmitter's own limit: 3 × 2,000 bytes and 100, in one message.
	if err := unix.SetsockoptInt(p.socket.fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 2000); err != nil {
		t.Fatal(err)
	}
	to := &unix.SockaddrInet6{Port: int(receiver.LocalPort()), Addr: netip.AddrFrom4(loopback4.As4()).As16()}
	if err := unix.Sendto(p.socket.fd, porttest.Payload(1, 6100), 0, to); err != nil {
		t.Fatal(err)
	}
	if got := receiver.Collect(1)[0]; len(got.Data) != 100 {
		t.Errorf("got %s", porttest.Brief(got.Data))
	}
	receiver.Expect(port.Stats{port.Received: 1, port.Malformed: 3})
	_ = sender
}

func TestCutOffIsMalformed(t *testing.T) {
	testenv.Need(t, testenv.UDPSegmentation)
	s, err := openSocket(wildcard6, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptInt(s.fd, unix.IPPROTO_UDP, unix.UDP_GRO, 0); err != nil {
		t.Fatal(err)
	}
	s.gro = false
	cfg, _ := Config{}.withDefaults()
	p, err := newPort(s, cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := openRig(t, func(Config) (subject, error) { return p, nil }, cfg)
	peer := newPeer(t, loopback4)
	peer.Send(r.at(loopback4), porttest.Payload(1, 9000))
	peer.Send(r.at(loopback4), porttest.Payload(2, 100))
	if got := r.Collect(1)[0]; !bytes.Equal(got.Data, porttest.Payload(2, 100)) {
		t.Errorf("got %s", porttest.Brief(got.Data))
	}
	r.Expect(port.Stats{port.Received: 1, port.Malformed: 1})
}

// A datagram's arrival is the kernel's, however late it is read, and for any now of the caller's.
func TestArrivalIsTheKernels(t *testing.T) {
	r, p := openLinux(t, Config{})
	peer := newPeer(t, loopback4)
	before := Now()
	peer.Send(r.at(loopback4), porttest.Payload(1, 10))
	after := Now()
	p.Wait(port.Never)
	const later = 500 * port.Millisecond
	const tolerance = port.Millisecond // between two readings of two clocks
	if n := r.Receive(after+later, &r.In); n != 1 {
		t.Fatalf("%d datagrams", n)
	}
	if got := r.In.Packets[0].Arrival; got < before-tolerance || got > after+tolerance {
		t.Errorf("arrived at %d, sent between %d and %d", got, before, after)
	}

	// A clock that disagrees is not believed.
	for _, c := range []struct{ now, want port.Time }{
		{after - port.Second, after - port.Second},       // never later than now
		{after + 60*port.Second, after + 59*port.Second}, // at most a second before
	} {
		peer.Send(r.at(loopback4), porttest.Payload(1, 10))
		p.Wait(port.Never)
		if n := r.Receive(c.now, &r.In); n != 1 {
			t.Fatalf("%d datagrams", n)
		}
		if got := r.In.Packets[0].Arrival; got != c.want {
			t.Errorf("arrived at %d, want %d", got, c.want)
		}
	}
}

func TestNowIsMonotonic(t *testing.T) {
	var ts unix.Timespec
	before := Now()
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		t.Fatal(err)
	}
	after := Now()
	const tolerance = 50 * port.Microsecond
	if at := port.Time(ts.Nano()); at < before-tolerance || at > after+tolerance {
		t.Errorf("CLOCK_MONOTONIC says %d, Now %d to %d", at, before, after)
	}
}

func TestGroupSharesTheLoad(t *testing.T) {
	ports, err := Open(Config{Workers: 4})
	if err != nil {
		t.Fatal(err)
	}
	var rigs []*rig
	for _, p := range ports {
		if p.LocalPort() != ports[0].LocalPort() {
			t.Fatalf("ports %d and %d in one group", p.LocalPort(), ports[0].LocalPort())
		}
		rigs = append(rigs, openRig(t, func(Config) (subject, error) { return p, nil }, Config{}))
	}

	// A second server is not let in, group or not.
	taken := netip.AddrPortFrom(netip.IPv6Unspecified(), ports[0].LocalPort())
	for workers := 1; workers <= 2; workers++ {
		if second, err := Open(Config{Address: taken, Workers: workers}); !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("%d ports of a second group, %v", len(second), err)
		}
	}

	const clients = 64
	peers := make(map[netip.AddrPort]*porttest.Peer)
	for i := range clients {
		peer := newPeer(t, loopback4)
		peers[peer.Addr] = peer
		peer.Send(rigs[0].at(loopback4), porttest.Payload(i, 20))
	}
	// Loopback delivers before the send returns, so everything is in one of the four buffers.
	total := 0
	for i, r := range rigs {
		n := r.Receive(Now(), &r.In)
		if n == 0 {
			t.Errorf("socket %d received nothing from %d clients", i, clients)
		}
		for j, in := range r.In.Packets[:n] {
			r.route(port.Route(j), in.Path.Remote, in.Path.Local)
			r.Add(port.Route(j), Now(), in.Data)
		}
		r.Send(Now(), defaultFrames)
		total += n
	}
	if total != clients {
		t.Errorf("%d of %d datagrams received", total, clients)
	}
	for _, peer := range peers {
		if _, from := peer.Next(); from != rigs[0].at(loopback4) {
			t.Errorf("answer from %s", from)
		}
	}
}

// For an IPv4 destination of an IPv6 socket the kernel accepts either family's control message. The address in IPv6's
// has to be mapped. putSource relies on that.
func TestMappedSource(t *testing.T) {
	testenv.Need(t, testenv.IPv6Loopback)
	r, p := openLinux(t, Config{Address: wildcard6})
	if p.socket.family != unix.AF_INET6 {
		t.Fatal("the machine has IPv6, the socket has not")
	}
	peer := newPeer(t, loopback4)
	to := &unix.SockaddrInet6{Port: int(peer.Addr.Port()), Addr: peer.Addr.Addr().As16()}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		var b [sourceRoom]byte
		n := putSource(b[:], other4, family)
		if err := unix.Sendmsg(p.socket.fd, porttest.Payload(1, 10), b[:n], to, 0); err != nil {
			t.Fatalf("family %d: %v", family, err)
		}
		if _, from := peer.Next(); from != r.at(other4) {
			t.Errorf("family %d: from %s, want %s", family, from, r.at(other4))
		}
	}
}

func TestLinkLocal(t *testing.T) {
	local := linkLocal(t)
	r, _ := openLinux(t, Config{})
	peer := newPeer(t, local) // the kernel routes our own address through loopback
	peer.Send(r.at(local), porttest.Payload(1, 10))
	got := r.Collect(1)[0]
	for _, zone := range []string{got.Path.Local.Zone(), got.Path.Remote.Addr().Zone()} {
		if scopeID(zone) != scopeID(local.Zone()) {
			t.Fatalf("path %v, want zone %s", got.Path, local.Zone())
		}
	}
	r.route(0, got.Path.Remote, got.Path.Local)
	r.Add(0, Now(), got.Data)
	r.Send(Now(), defaultFrames)
	if data, from := peer.Next(); !bytes.Equal(data, got.Data) || from.Addr().WithZone("") != local.WithZone("") {
		t.Errorf("answer %s from %s", porttest.Brief(data), from)
	}
}

func linkLocal(t testing.TB) netip.Addr {
	t.Helper()
	testenv.Need(t, testenv.IPv6LinkLocal)
	local, err := testenv.LinkLocal()
	if err != nil {
		t.Fatal(err)
	}
	return local
}

// Nothing is allocated while datagrams are sent and received, in runs or alone.
func TestSteadyStateAllocatesNothing(t *testing.T) {
	for _, how := range []Batching{Segmented, Messages, Single} {
		for _, local := range []netip.Addr{loopback4, loopback6, {}} {
			t.Run(fmt.Sprint(how, local), func(t *testing.T) {
				if !local.IsValid() {
					local = linkLocal(t)
				}
				need(t, local)
				r, p := openLinux(t, Config{Batching: how})
				self := netip.AddrPortFrom(local, p.LocalPort())
				const routes, each = 8, 7
				for i := range routes {
					r.route(port.Route(i), self, local)
				}
				data := porttest.Payload(1, 1200)
				change := port.RouteChange{Route: 3, Path: port.Path{Remote: self, Local: local}}
				allocations := testing.AllocsPerRun(100, func() {
					now := Now()
					for i := range routes * each {
						f := r.Out.Reserve()
						f.Data = append(f.Data, data...)
						f.Route, f.Born = port.Route(i/each), now
						r.Out.Submit()
					}
					if !local.Is6() || local.Zone() == "" { // a zone's name is looked up per change
						r.Out.Routes = append(r.Out.Routes, change)
					}
					p.Transmit(now, &r.Out)
					for got := 0; got < routes*each; {
						p.Wait(now + port.Second)
						n := p.Receive(Now(), &r.In)
						if n == 0 {
							t.Fatal("a datagram got lost")
						}
						got += n
					}
				})
				if allocations != 0 {
					t.Errorf("%.1f allocations for %d datagrams", allocations, routes*each)
				}
				if s := p.Stats(); how == Segmented && s[port.Sent]/s[port.Calls] < each {
					t.Errorf("%d datagrams a call", s[port.Sent]/s[port.Calls])
				}
			})
		}
	}
}

func TestDescriptorsAreClosed(t *testing.T) {
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	ports, err := Open(Config{Workers: 3})
	if err != nil {
		t.Fatal(err)
	}
	during := open()
	taken := netip.AddrPortFrom(netip.IPv6Unspecified(), ports[0].LocalPort())
	if _, err := Open(Config{Address: taken, Workers: 3}); err == nil {
		t.Error("bound twice")
	}
	if n := open(); n != during {
		t.Errorf("a failed Open left %d descriptors", n-during)
	}
	for _, p := range ports {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := during - open(); n != 12 {
		t.Errorf("Close of three ports closed %d descriptors, want 12", n)
	}
}

// receivedControl is control data as the kernel wrote it, for IPv4 and IPv6, merged datagrams among it.
func receivedControl(t testing.TB) (controls, names [][]byte) {
	for _, bind := range []netip.AddrPort{wildcard6, wildcard4} {
		ports, err := Open(Config{Address: bind})
		if err != nil {
			t.Fatal(err)
		}
		p := ports[0]
		defer p.Close()
		var out port.Outgoing
		var in port.Batch
		p.Transmit(0, &out)
		for i, local := range []netip.Addr{loopback4, loopback6} {
			path := port.Path{Remote: netip.AddrPortFrom(local, p.LocalPort()), Local: local}
			out.Routes = append(out.Routes, port.RouteChange{Route: port.Route(i), Path: path})
			for range 2 {
				f := out.Reserve()
				f.Data = append(f.Data, porttest.Payload(1, 100)...)
				f.Route = port.Route(i)
				out.Submit()
			}
		}
		p.Transmit(0, &out)
		p.Receive(Now(), &in)
		for i := range p.in.arrived {
			h := &p.in.headers[i].header
			controls = append(controls, bytes.Clone(p.in.controls[i][:h.Controllen]))
			names = append(names, bytes.Clone(p.in.names[i][:h.Namelen]))
		}
	}
	if len(controls) == 0 {
		t.Fatal("the kernel told nothing")
	}
	return controls, names
}

func FuzzControl(f *testing.F) {
	controls, names := receivedControl(f)
	var z zones
	for _, b := range controls {
		if c := z.parseControl(b); !c.local.IsLoopback() || c.stamp == 0 {
			f.Errorf("%x: parsed as %+v", b, c)
		}
		f.Add(b)
		f.Add(b[:len(b)-1])
		doubled := append(bytes.Clone(b), b...)
		f.Add(doubled)
		binary.NativeEndian.PutUint32(doubled, 1<<31)
		f.Add(doubled)
	}
	for _, b := range names {
		if addr, ok := z.parseAddress(b); !ok || !addr.Addr().IsLoopback() {
			f.Errorf("%x: parsed as %s", b, addr)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var z zones
		c := z.parseControl(b)
		if c.segment < 0 || c.stamp < 0 || c.local.Is4In6() {
			t.Errorf("parsed as %+v", c)
		}
		if addr, ok := z.parseAddress(b); ok {
			// Its meaning comes back, from sockets of either family.
			for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
				var raw rawAddress
				n := putAddress(&raw, addr, family)
				if again, ok := z.parseAddress(raw[:n]); !ok || again != addr {
					t.Errorf("%s became %s", addr, again)
				}
			}
		}
		if len(z.names) > maxZones {
			t.Errorf("%d zones", len(z.names))
		}
	})
}

// Garbage where the kernel's answer belongs harms nothing.
func FuzzReceive(f *testing.F) {
	controls, names := receivedControl(f)
	for i := range controls {
		f.Add(controls[i], names[i], uint32(100), uint32(0))
		f.Add(controls[i], names[i], uint32(200), uint32(unix.MSG_CTRUNC))
		f.Add(controls[i], names[i], uint32(1<<31), uint32(unix.MSG_TRUNC))
	}
	cfg, err := Config{Batch: 4}.withDefaults()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, control, name []byte, size, flags uint32) {
		var c tally.Port
		var r receiver
		r.init(socket{gro: true}, cfg, &c)
		r.recvmmsg = func(_ int, messages []mmsghdr) (int, unix.Errno) {
			h := &messages[0].header
			copy(r.controls[0][:], control)
			h.SetControllen(len(control))
			copy(r.names[0][:], name)
			h.Namelen = uint32(len(name))
			h.Flags = int32(flags)
			messages[0].length = size
			return 1, 0
		}
		total := 0
		n := r.receive(Now())
		for _, in := range r.inbound[:n] {
			total += len(in.Data)
			if !in.Path.Local.IsValid() || in.Path.Remote.Port() == 0 || len(in.Data) > port.MaxDatagram {
				t.Errorf("yielded %+v", in)
			}
		}
		if uint64(total) > uint64(size) {
			t.Errorf("%d bytes of %d", total, size)
		}
	})
}
