package udp

import (
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/engine/port/porttest"
	"ringcast/testenv/lab"
)

// marks reads n datagrams and returns their marks, which must be the same.
func marks(c *porttest.Peer, n int) lab.Marks {
	c.TB.Helper()
	var first lab.Marks
	for i := range n {
		_, m, err := lab.ReadMarks(c.UDPConn, make([]byte, 2048))
		if err != nil {
			c.TB.Fatal(err)
		}
		if i > 0 && m != first {
			c.TB.Errorf("datagram %d came with %+v, the first one with %+v", i, m, first)
		}
		first = m
	}
	return first
}

// Every datagram carries the codepoint, in runs and alone, of either family; and the kernel's own marks are untouched.
func TestDSCP(t *testing.T) {
	forAll(t, func(t *testing.T, open func(Config) (subject, error)) {
		for _, c := range []struct {
			bind   netip.AddrPort
			local  netip.Addr
			labels bool
		}{
			{wildcard6, loopback4, false},
			{wildcard4, loopback4, false},
			{wildcard6, loopback6, true},
		} {
			for _, dscp := range []uint8{0, 34, 46, 63} {
				need(t, c.local)
				r := openRig(t, open, Config{Address: c.bind, DSCP: dscp})
				peer := newPeer(t, c.local)
				if err := lab.ShowMarks(peer.UDPConn); err != nil {
					t.Fatal(err)
				}
				r.route(0, peer.Addr, c.local)
				for i, size := range []int{300, 300, 300, 200, 250} {
					r.Add(0, Now(), porttest.Payload(i, size))
				}
				r.Send(Now(), defaultFrames)
				got := marks(peer, 5)
				if got.TrafficClass != dscp<<2 || got.HopLimit == 0 || c.labels != (got.FlowLabel != 0) {
					t.Errorf("%v to %v with DSCP %d: %+v, want class %#x, and a flow label: %t",
						c.bind, c.local, dscp, got, dscp<<2, c.labels)
				}
			}
		}
	})
}

func TestDSCPOfTheCompanion(t *testing.T) {
	for _, local := range []netip.Addr{loopback4, loopback6} {
		need(t, local)
		c, err := OpenCompanion(Config{Address: wildcard6, DSCP: 46})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		peer := newPeer(t, local)
		if err := lab.ShowMarks(peer.UDPConn); err != nil {
			t.Fatal(err)
		}
		if err := c.Send(port.Path{Remote: peer.Addr, Local: local}, porttest.Payload(1, 100)); err != nil {
			t.Fatal(err)
		}
		if got := marks(peer, 1); got.TrafficClass != 46<<2 {
			t.Errorf("to %v: %+v, want class %#x", local, got, 46<<2)
		}
	}
}

// Without a codepoint the socket sets no option: the setting of the administrator or of a cgroup program stays.
func TestNoDSCPSetsNothing(t *testing.T) {
	s, err := openSocket(wildcard6, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(s.fd)
	for name, option := range map[string][2]int{
		"IP_TOS": {unix.IPPROTO_IP, unix.IP_TOS}, "IPV6_TCLASS": {unix.IPPROTO_IPV6, unix.IPV6_TCLASS},
	} {
		if got, err := unix.GetsockoptInt(s.fd, option[0], option[1]); err != nil || got != 0 {
			t.Errorf("%s is %d, want 0; %v", name, got, err)
		}
	}
}

func TestTooLargeDSCP(t *testing.T) {
	if _, err := Open(Config{DSCP: 64}); err == nil || !strings.Contains(err.Error(), "DSCP is 64") {
		t.Errorf("opened with DSCP 64: %v, want an error", err)
	}
}
