package udp

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/engine/port/porttest"
	"ringcast/testenv"
)

func openCompanion(t testing.TB, address netip.AddrPort) *Companion {
	t.Helper()
	c, err := OpenCompanion(Config{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// poll waits until the companion has something to receive.
func (c *Companion) poll(t testing.TB) {
	t.Helper()
	if c.in.unread() {
		return
	}
	fds := []unix.PollFd{{Fd: int32(c.FD()), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 5000)
		if err == unix.EINTR {
			continue
		}
		if n != 1 {
			t.Fatalf("nothing arrived: %d, %v", n, err)
		}
		return
	}
}

// A datagram goes from one companion to another and back, from and to the addresses that its path names.
func TestCompanionEcho(t *testing.T) {
	for _, local := range []netip.Addr{loopback4, loopback6} {
		t.Run(local.String(), func(t *testing.T) {
			need(t, local)
			a, b := openCompanion(t, wildcard6), openCompanion(t, wildcard6)
			there := port.Path{Remote: netip.AddrPortFrom(local, b.LocalPort()), Local: local}
			if err := a.Send(there, []byte("ping")); err != nil {
				t.Fatal(err)
			}
			b.poll(t)
			var in port.Batch
			if n := b.Receive(Now(), &in); n != 1 || string(in.Packets[0].Data) != "ping" {
				t.Fatalf("%d datagrams", n)
			}
			back := in.Packets[0].Path
			if want := (port.Path{Remote: netip.AddrPortFrom(local, a.LocalPort()), Local: local}); back != want {
				t.Errorf("came over %v, want %v", back, want)
			}
			if s := a.Stats(); s[port.Sent] != 1 || s[port.SentBytes] != 4 || s[port.Rejected] != 0 {
				t.Errorf("sender counted %+v", s)
			}
			if s := b.Stats(); s[port.Received] != 1 || s[port.ReceivedBytes] != 4 {
				t.Errorf("receiver counted %+v", s)
			}
		})
	}
}

// A datagram that the kernel rejects is an error and a count.
func TestCompanionRejection(t *testing.T) {
	c := openCompanion(t, wildcard6)
	err := c.Send(port.Path{Remote: netip.AddrPortFrom(loopback4, 9), Local: loopback4}, make([]byte, 70_000))
	if !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("sent 70,000 bytes: %v", err)
	}
	if s := c.Stats(); s[port.Rejected] != 1 || s[port.Sent] != 0 {
		t.Errorf("counted %+v", s)
	}
}

// A port that somebody else has is not shared.
func TestCompanionInUse(t *testing.T) {
	c := openCompanion(t, wildcard6)
	_, err := OpenCompanion(Config{Address: netip.AddrPortFrom(netip.IPv6Unspecified(), c.LocalPort())})
	if !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("bound twice: %v", err)
	}
}

func TestCompanionAllocates(t *testing.T) {
	c := openCompanion(t, wildcard6)
	sink, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	p := port.Path{Remote: netip.MustParseAddrPort(sink.LocalAddr().String()), Local: loopback4}
	data := porttest.Payload(1, 1200)
	// The race detector makes pools forget.
	if n := testing.AllocsPerRun(100, func() { _ = c.Send(p, data) }); n != 0 && !testenv.RaceEnabled {
		t.Errorf("%v allocations a datagram", n)
	}
}
