package xsk

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/engine/port/porttest"
)

func TestEcho(t *testing.T) {
	for _, checksum := range []bool{false, true} {
		for _, c := range []struct{ server, client string }{
			{"198.18.0.1", "198.18.0.2"},
			{"fd00::1", "fd00::2"},
			{"fe80::1", "fe80::2"},
		} {
			t.Run(fmt.Sprintf("%s/checksum=%t", c.server, checksum), func(t *testing.T) {
				s := newSite(t, 1)
				l := s.newPort(s.mustOpen(bundleConfig(Auto)), with(func(c *Config) { c.Checksum4 = checksum }))
				server, client := netip.MustParseAddr(c.server), netip.MustParseAddr(c.client)
				asked, from := server, client
				if server.IsLinkLocalUnicast() {
					asked, from = server.WithZone("eth0"), client.WithZone("eth0")
					zone := strconv.Itoa(s.cable.A.Index)
					server, client = server.WithZone(zone), client.WithZone(zone)
				}
				p := s.newPeer(from)
				before := now()
				for _, size := range []int{1, 0, 100, port.MaxDatagram - 20} {
					data := bytes.Repeat([]byte{byte(size)}, size)
					p.Send(netip.AddrPortFrom(asked, testPort), data)
					got := l.Collect(1)[0]
					want := port.Path{Remote: netip.AddrPortFrom(client, p.Addr.Port()), Local: server}
					if got.Path != want {
						t.Fatalf("path %v, want %v", got.Path, want)
					}
					if !bytes.Equal(got.Data, data) || got.Arrival < before || got.Arrival > now() {
						t.Errorf("%d bytes at %d", len(got.Data), got.Arrival)
					}
					l.Route(3, got.Path)
					l.add(3, got.Data)
					l.add(3, data)
					l.flush()
					for range 2 {
						echo, source := p.Next()
						if want := netip.AddrPortFrom(asked, testPort); source != want || !bytes.Equal(echo, data) {
							t.Fatalf("%d bytes from %v, want %v", len(echo), source, want)
						}
					}
				}
				if s := l.Stats(); s[port.Received] != 4 || s[port.Sent] != 8 || s[port.Malformed] != 0 {
					t.Errorf("%+v", s)
				}
				d := l.port.Details()
				d.Queues[0].Counts[KernelTXRingEmpty] = 0 // a poll of the socket looks there first
				kernel := [numKernel]uint64(d.Queues[0].Counts[KernelRXDropped:])
				if d.Counts[CompanionSent] != 0 || d.Counts[CompanionReceived] != 0 || kernel != [numKernel]uint64{} {
					t.Errorf("%+v", d)
				}
			})
		}
	}
}

// Two queues on one UMEM, and chunks of both sizes.
func TestSharedUMEM(t *testing.T) {
	for name, cfg := range map[string]BundleConfig{
		"defaults": bundleConfig(Auto), "2048": bundleConfig(Copy),
		"headroom":  bundleConfig(Auto, func(c *BundleConfig) { c.Headroom, c.HugePages = 64, false }),
		"busy poll": bundleConfig(Auto, func(c *BundleConfig) { c.BusyPoll = 20 * time.Microsecond }),
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, 2)
			l := s.newPort(s.mustOpen(cfg), DefaultConfig())
			const peers, rounds = 32, 8
			for i := range peers {
				p := s.newPeer(netip.MustParseAddr("198.18.0.2"))
				l.Route(port.Route(i), port.Path{Remote: p.Addr, Local: local4})
				l.Transmit(now(), &l.Out)
				for j := range rounds {
					p.Send(netip.AddrPortFrom(local4, testPort), payload(100*i+j))
				}
				for j, got := range l.Collect(rounds) {
					if got.Path.Remote != p.Addr || !bytes.Equal(got.Data, payload(100*i+j)) {
						t.Fatalf("peer %d, datagram %d: %v", i, j, got.Path)
					}
					l.add(port.Route(i), got.Data)
				}
				l.flush()
				for j := range rounds {
					if data, _ := p.Next(); !bytes.Equal(data, payload(100*i+j)) {
						t.Fatalf("echo %d of peer %d: %x", j, i, data[:4])
					}
				}
			}
			var received uint64
			for _, q := range l.port.Details().Queues {
				if q.Counts[QueueReceived] == 0 || q.Counts[QueueSent] != peers*rounds/2 {
					t.Errorf("%+v", q)
				}
				received += q.Counts[QueueReceived]
			}
			if received != peers*rounds {
				t.Errorf("%d received", received)
			}
		})
	}
}

// A queue's second socket on the real kernel: here it gets all datagrams, and the first one none. They wake the port,
// lie in the same chunks, and are counted. So are those that its RX ring has no room for.
func TestReportsSocket(t *testing.T) {
	s := newSite(t, 1)
	b := s.mustOpen(bundleConfig(Auto, func(c *BundleConfig) { c.ReceiveFrames = 256 }))
	l := s.newPort(b, DefaultConfig())
	e := b.Entries()[0]
	if err := s.program.SetSockets(0, e.Reports, e.FD); err != nil {
		t.Fatal(err)
	}
	p := s.newPeer(netip.MustParseAddr("198.18.0.2"))
	l.Route(0, port.Path{Remote: p.Addr, Local: local4})
	l.Transmit(now(), &l.Out)
	to := netip.AddrPortFrom(local4, testPort)
	const rounds, each = 60, 10 // more than there are chunks
	for round := range rounds {
		for i := range each {
			p.Send(to, payload(each*round+i))
		}
		for i, got := range l.Collect(each) {
			if !bytes.Equal(got.Data, payload(each*round+i)) {
				t.Fatalf("round %d, datagram %d: %x", round, i, got.Data)
			}
			l.add(0, got.Data)
		}
		l.flush()
		for i := range each {
			if data, _ := p.Next(); !bytes.Equal(data, payload(each*round+i)) {
				t.Fatalf("round %d, echo %d: %x", round, i, data)
			}
		}
	}
	const sent, room = 200, 256 / reportsRoom
	for i := range sent {
		p.Send(to, payload(i))
	}
	give := now() + port.Time(porttest.Patience)
	for lost := uint64(0); lost != sent-room; lost = l.port.Details().Queues[0].Counts[KernelRXRingFull] {
		if now() > give {
			t.Fatalf("%d datagrams count as lost; expected %d", lost, sent-room)
		}
		l.Transmit(now()+askEvery, &l.Out)
	}
	if got := l.Collect(room); !bytes.Equal(got[0].Data, payload(0)) {
		t.Errorf("the first datagram is %x", got[0].Data)
	}
	l.Transmit(now(), &l.Out)
	if got, want := l.port.Details().Queues[0].Counts[QueueReceived], uint64(rounds*each+room); got != want {
		t.Errorf("the queue received %d; expected %d", got, want)
	}
}

// The two sockets of a queue share its fill ring. Each time that it was empty counts once.
func TestFillRingIsCountedOnce(t *testing.T) {
	s := newSite(t, 1)
	b := s.mustOpen(bundleConfig(Copy, func(c *BundleConfig) { c.ReceiveFrames = 64 }))
	l := s.newPort(b, DefaultConfig())
	p := s.newPeer(netip.MustParseAddr("198.18.0.2"))
	l.Route(0, port.Path{Remote: p.Addr, Local: local4})
	l.Transmit(now(), &l.Out)
	for i := range 200 {
		p.Send(netip.AddrPortFrom(local4, testPort), payload(i))
	}
	give := now() + port.Time(porttest.Patience)
	for {
		kernel, errno := statistics(b.Entries()[0].FD)
		l.Transmit(now()+askEvery, &l.Out)
		again, _ := statistics(b.Entries()[0].FD)
		got := l.port.Details().Queues[0].Counts
		if want := kernel.Rx_fill_ring_empty_descs; errno == 0 && want > 0 && kernel == again {
			if got[KernelFillRingEmpty] != want {
				t.Errorf("the fill ring was empty %d times; expected %d", got[KernelFillRingEmpty], want)
			}
			return
		}
		if now() > give {
			t.Fatalf("the fill ring was never empty: %+v", kernel)
		}
	}
}

// Everything that the rings can hold, in order, many times over.
func TestFloodArrivesInOrder(t *testing.T) {
	s := newSite(t, 1)
	l := s.newPort(s.mustOpen(bundleConfig(Auto)), DefaultConfig())
	p := s.newPeer(netip.MustParseAddr("198.18.0.2"))
	l.Route(0, port.Path{Remote: p.Addr, Local: local4})
	l.Transmit(now(), &l.Out)
	const total = 20_000
	credit := make(chan struct{}, total)
	go func() {
		defer close(credit)
		buf := make([]byte, 4096)
		for i := range total {
			n, err := p.Read(buf)
			if err != nil || !bytes.Equal(buf[:n], payload(i)) {
				t.Errorf("datagram %d: %d bytes, %v", i, n, err)
				return
			}
			credit <- struct{}{}
		}
	}()
	added, arrived := 0, 0
	for arrived < total {
		for added < total && added-arrived < 1000 && l.Out.Free() > 0 {
			l.add(0, payload(added))
			added++
		}
		l.Transmit(now(), &l.Out)
		if added-arrived >= 1000 || added == total {
			if _, ok := <-credit; !ok {
				t.Fatalf("%d of %d arrived: %+v %+v", arrived, total, l.Stats(), l.port.Details())
			}
			arrived++
		}
		for len(credit) > 0 {
			<-credit
			arrived++
		}
	}
	l.flush()
	if s := l.Stats(); s[port.Sent] != total || s[port.Rejected]+s[port.Stale] > 0 {
		t.Errorf("%+v", s)
	}
	t.Logf("%+v", l.port.Details())
}

// Datagrams that XDP passes to the kernel come through the companion. Here they are those of a queue without a socket.
// Datagrams without next hop leave through it.
func TestCompanion(t *testing.T) {
	s := newSite(t, 1)
	l := s.newPort(s.mustOpen(bundleConfig(Auto)), with(func(c *Config) { c.ReadsCompanion = true }))
	p := s.newPeer(netip.MustParseAddr("198.18.0.2"))
	if err := s.program.ClearSockets(0); err != nil {
		t.Fatal(err)
	}
	p.Send(netip.AddrPortFrom(local4, testPort), payload(1))
	got := l.Collect(1)[0]
	if !bytes.Equal(got.Data, payload(1)) {
		t.Fatalf("%x", got.Data)
	}
	l.hops.set(nil)
	l.Route(0, got.Path)
	l.add(0, payload(2))
	l.flush()
	if data, from := p.Next(); !bytes.Equal(data, payload(2)) || from != netip.AddrPortFrom(local4, testPort) {
		t.Fatalf("%x from %v", data, from)
	}
	// Longer than the path: the kernel knows what to do.
	hop := s.hop()
	hop.MTU = 100
	l.hops.set(hop)
	l.add(0, payload(1000))
	l.flush()
	if data, _ := p.Next(); !bytes.Equal(data, payload(1000)) {
		t.Fatalf("%d bytes", len(data))
	}
	want := Counts{CompanionReceived: 1, CompanionSent: 2, Unresolved: 1, TooLong: 1}
	if counts := l.port.Details().Counts; counts != want {
		t.Errorf("%v, want %v", counts, want)
	}
}

func TestContract(t *testing.T) {
	porttest.Run(t, func(t *testing.T) porttest.Subject {
		s := newSite(t, 2)
		l := s.makePort(s.mustOpen(bundleConfig(Auto)), DefaultConfig())
		kick := l.port.out.kick
		return porttest.Subject{
			Port: l.port, Now: now, Frames: DefaultConfig().Frames, Address: netip.AddrPortFrom(local4, testPort),
			Listen:   func() (*net.UDPConn, error) { return s.listen(netip.MustParseAddr("198.18.0.2")) },
			Block:    func() { l.port.out.kick = func(int) unix.Errno { return unix.EAGAIN } },
			Unblock:  func() { l.port.out.kick = kick },
			Anywhere: func() { _ = l.port.Details() },
		}
	})
}

// The race detector's test: all that is safe from any thread, from another one.
func TestOtherThreads(t *testing.T) {
	s := newSite(t, 1)
	l := s.newPort(s.mustOpen(bundleConfig(Auto)), with(func(c *Config) { c.ReadsCompanion = true }))
	p := s.newPeer(netip.MustParseAddr("198.18.0.2"))
	l.Route(0, port.Path{Remote: p.Addr, Local: local4})
	failed := make(chan error, 1)
	go func() {
		defer close(failed)
		var last port.Stats
		for range 20 {
			for range 100 {
				s := l.Stats()
				for c := range s {
					if s[c] < last[c] {
						failed <- fmt.Errorf("%v: from %d to %d", port.Counter(c), last[c], s[c])
						return
					}
				}
				last = s
				_ = l.port.Details()
				l.Wake()
			}
			<-l.port.Suspend()
			b, err := s.open(bundleConfig(Auto))
			if err == nil {
				err = l.port.Resume(b)
			}
			if err != nil {
				failed <- err
				return
			}
		}
	}()
	for running := true; running; {
		select {
		case err, ok := <-failed:
			if ok {
				t.Fatal(err)
			}
			running = false
		default:
		}
		p.Send(netip.AddrPortFrom(local4, testPort), payload(1))
		l.Receive(now(), &l.In)
		for range min(3, l.Out.Free()) {
			l.add(0, payload(2))
		}
		l.Transmit(now(), &l.Out)
		l.Wait(now() + port.Millisecond)
	}
	st := l.Stats()
	t.Logf("%+v %+v", st, l.port.Details())
	if st[port.Sent] == 0 || st[port.Received] == 0 {
		t.Errorf("%+v", st)
	}
}
