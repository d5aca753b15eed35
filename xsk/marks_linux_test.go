package xsk

import (
	"net/netip"
	"strings"
	"testing"

	"ringcast/engine/port"
	"ringcast/engine/port/porttest"
	"ringcast/testenv/lab"
)

// marks reads n datagrams and returns their marks, which must be the same.
func marks(p *porttest.Peer, n int) lab.Marks {
	p.TB.Helper()
	var first lab.Marks
	for i := range n {
		_, m, err := lab.ReadMarks(p.UDPConn, make([]byte, 2048))
		if err != nil {
			p.TB.Fatal(err)
		}
		if i > 0 && m != first {
			p.TB.Errorf("datagram %d came with %+v, the first one with %+v", i, m, first)
		}
		first = m
	}
	return first
}

// The peer's kernel reads in our headers the codepoint, the next hop's hop limit, and over IPv6 a label for each flow.
func TestMarks(t *testing.T) {
	for _, addresses := range [][2]string{{"198.18.0.1", "198.18.0.2"}, {"fd00::1", "fd00::2"}} {
		local, remote := netip.MustParseAddr(addresses[0]), netip.MustParseAddr(addresses[1])
		s := newSite(t, 1)
		l := s.newPort(s.mustOpen(bundleConfig(Auto)), with(func(c *Config) { c.DSCP = 46 }))
		hop := s.hop()
		hop.HopLimit = 33
		l.hops.set(hop)
		labels := make(map[uint32]bool)
		for v := range 4 {
			p := s.newPeer(remote)
			if err := lab.ShowMarks(p.UDPConn); err != nil {
				t.Fatal(err)
			}
			l.Route(port.Route(v), port.Path{Remote: p.Addr, Local: local})
			for i := range 3 {
				l.add(port.Route(v), make([]byte, 100*i))
			}
			l.flush()
			got := marks(p, 3)
			if got.TrafficClass != 46<<2 || got.HopLimit != 33 {
				t.Errorf("to %v: %+v, want class %#x and hop limit 33", remote, got, 46<<2)
			}
			labels[got.FlowLabel] = true
		}
		if want := map[bool]int{true: 1, false: 4}[local.Is4()]; len(labels) != want || labels[0] != local.Is4() {
			t.Errorf("to %v: labels %v of 4 flows, want %d of them, none zero over IPv6", remote, labels, want)
		}
		if d := l.port.Details(); d.Counts[CompanionSent] != 0 {
			t.Errorf("%d datagrams by the companion, want none", d.Counts[CompanionSent])
		}
	}
}

func TestTooLargeDSCP(t *testing.T) {
	_, err := New(with(func(c *Config) {
		c.NextHops, c.Companion, c.Now = newHops(), new(notes), now
		c.LocalPort, c.DSCP = testPort, 64
	}))
	if err == nil || !strings.Contains(err.Error(), "DSCP is 64") {
		t.Errorf("made with DSCP 64: %v, want a refusal", err)
	}
}
