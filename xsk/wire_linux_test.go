package xsk

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"testing"
	"time"

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
					p.send(netip.AddrPortFrom(asked, testPort), data)
					got := l.collect(1)[0]
					if want := (port.Path{Remote: netip.AddrPortFrom(client, p.addr.Port()), Local: server}); got.path != want {
						t.Fatalf("path %v, want %v", got.path, want)
					}
					if !bytes.Equal(got.data, data) || got.arrival < before || got.arrival > now() {
						t.Errorf("%d bytes at %d", len(got.data), got.arrival)
					}
					l.route(3, got.path)
					l.add(3, got.data)
					l.add(3, data)
					l.flush()
					for range 2 {
						echo, source := p.read()
						if want := netip.AddrPortFrom(asked, testPort); source != want || !bytes.Equal(echo, data) {
							t.Fatalf("%d bytes from %v, want %v", len(echo), source, want)
						}
					}
				}
				if s := l.Stats(); s[port.Received] != 4 || s[port.Sent] != 8 || s[port.Malformed] != 0 {
					t.Errorf("%+v", s)
				}
				d := l.Details()
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
				l.route(port.Route(i), port.Path{Remote: p.addr, Local: local4})
				l.Transmit(now(), &l.out)
				for j := range rounds {
					p.send(netip.AddrPortFrom(local4, testPort), payload(100*i+j))
				}
				for j, got := range l.collect(rounds) {
					if got.path.Remote != p.addr || !bytes.Equal(got.data, payload(100*i+j)) {
						t.Fatalf("peer %d, datagram %d: %v", i, j, got.path)
					}
					l.add(port.Route(i), got.data)
				}
				l.flush()
				for j := range rounds {
					if data, _ := p.read(); !bytes.Equal(data, payload(100*i+j)) {
						t.Fatalf("echo %d of peer %d: %x", j, i, data[:4])
					}
				}
			}
			var received uint64
			for _, q := range l.Details().Queues {
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

// Everything that the rings can hold, in order, many times over.
func TestFloodArrivesInOrder(t *testing.T) {
	s := newSite(t, 1)
	l := s.newPort(s.mustOpen(bundleConfig(Auto)), DefaultConfig())
	p := s.newPeer(netip.MustParseAddr("198.18.0.2"))
	l.route(0, port.Path{Remote: p.addr, Local: local4})
	l.Transmit(now(), &l.out)
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
		for added < total && added-arrived < 1000 && l.out.Free() > 0 {
			l.add(0, payload(added))
			added++
		}
		l.Transmit(now(), &l.out)
		if added-arrived >= 1000 || added == total {
			if _, ok := <-credit; !ok {
				t.Fatalf("%d of %d arrived: %+v %+v", arrived, total, l.Stats(), l.Details())
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
	t.Logf("%+v", l.Details())
}

// What XDP passes to the kernel (here: all of a queue without a socket) comes through the companion, and so
// goes what has no next hop.
func TestCompanion(t *testing.T) {
	s := newSite(t, 1)
	l := s.newPort(s.mustOpen(bundleConfig(Auto)), with(func(c *Config) { c.ReadsCompanion = true }))
	p := s.newPeer(netip.MustParseAddr("198.18.0.2"))
	if err := s.program.ClearSocket(0); err != nil {
		t.Fatal(err)
	}
	p.send(netip.AddrPortFrom(local4, testPort), payload(1))
	got := l.collect(1)[0]
	if !bytes.Equal(got.data, payload(1)) {
		t.Fatalf("%x", got.data)
	}
	l.hops.set(nil)
	l.route(0, got.path)
	l.add(0, payload(2))
	l.flush()
	if data, from := p.read(); !bytes.Equal(data, payload(2)) || from != netip.AddrPortFrom(local4, testPort) {
		t.Fatalf("%x from %v", data, from)
	}
	// Longer than the path: the kernel knows what to do.
	hop := s.hop()
	hop.MTU = 100
	l.hops.set(hop)
	l.add(0, payload(1000))
	l.flush()
	if data, _ := p.read(); !bytes.Equal(data, payload(1000)) {
		t.Fatalf("%d bytes", len(data))
	}
	if d := l.Details(); d.Counts[CompanionReceived] != 1 || d.Counts[CompanionSent] != 2 || d.Counts[Unresolved] != 1 || d.Counts[TooLong] != 1 {
		t.Errorf("%+v", d)
	}
}

func TestWait(t *testing.T) {
	s := newSite(t, 2)
	l := s.newPort(s.mustOpen(bundleConfig(Auto)), DefaultConfig())
	p := s.newPeer(netip.MustParseAddr("198.18.0.2"))
	porttest.Waits(t, l, now, func() { p.send(netip.AddrPortFrom(local4, testPort), payload(1)) }, func() { l.collect(1) })

	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l.Wake()
}

// The race detector's test: all that is safe from any thread, from another one.
func TestOtherThreads(t *testing.T) {
	s := newSite(t, 1)
	l := s.newPort(s.mustOpen(bundleConfig(Auto)), with(func(c *Config) { c.ReadsCompanion = true }))
	p := s.newPeer(netip.MustParseAddr("198.18.0.2"))
	l.route(0, port.Path{Remote: p.addr, Local: local4})
	failed := make(chan error, 1)
	go func() {
		defer close(failed)
		var last port.Stats
		for range 20 {
			for range 100 {
				s := l.Stats()
				if s[port.Sent] < last[port.Sent] || s[port.Received] < last[port.Received] || s[port.Calls] < last[port.Calls] {
					failed <- fmt.Errorf("from %+v to %+v", last, s)
					return
				}
				last = s
				_ = l.Details()
				l.Wake()
			}
			<-l.Suspend()
			b, err := s.open(bundleConfig(Auto))
			if err == nil {
				err = l.Resume(b)
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
		p.send(netip.AddrPortFrom(local4, testPort), payload(1))
		l.Receive(now(), &l.in)
		for range min(3, l.out.Free()) {
			l.add(0, payload(2))
		}
		l.Transmit(now(), &l.out)
		l.Wait(now() + port.Millisecond)
	}
	st := l.Stats()
	t.Logf("%+v %+v", st, l.Details())
	if st[port.Sent] == 0 || st[port.Received] == 0 {
		t.Errorf("%+v", st)
	}
}
