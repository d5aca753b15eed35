package nexthop

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"ringcast/testenv/lab"
)

// kernelLimit is the hop limit that a datagram of a's own kernel has when it arrives at an address of b.
func kernelLimit(t *testing.T, a, b *host, at netip.Addr) uint8 {
	t.Helper()
	var conn *net.UDPConn
	b.inside(func() (err error) {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, 50000)))
		return err
	})
	defer conn.Close()
	if err := lab.ShowMarks(conn); err != nil {
		t.Fatal(err)
	}
	a.send(conn.LocalAddr().String())
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	_, marks, err := lab.ReadMarks(conn, make([]byte, 64))
	if err != nil {
		t.Fatal(err)
	}
	return marks.HopLimit
}

// The hop limit is the one that arrives from the kernel: its settings', which change without a word, or a route's.
func TestHopLimitIsTheKernels(t *testing.T) {
	a, b := pair(t)
	b.ip("addr", "add", "198.18.10.2/32", "dev", "v")
	b.ip("addr", "add", "fd00:10::2/128", "dev", "v")
	a.ip("route", "add", "198.18.10.0/24", "via", "198.18.0.2", "hoplimit", "7")
	a.ip("route", "add", "fd00:10::/64", "via", "fd00::2", "hoplimit", "9")
	w := a.watch("v", Config{Refresh: 10 * time.Millisecond})
	for _, c := range []struct {
		name       string
		settings   []string
		ipv4, ipv6 uint8
	}{
		{"as it comes", nil, 64, 64},
		{"of IPv4", []string{"net/ipv4/ip_default_ttl=77"}, 77, 64},
		{"of the interface", []string{"net/ipv6/conf/v/hop_limit=99"}, 77, 99},
		{"of another interface", []string{"net/ipv6/conf/lo/hop_limit=33"}, 77, 99},
		{"the largest", []string{"net/ipv4/ip_default_ttl=255", "net/ipv6/conf/v/hop_limit=255"}, 255, 255},
	} {
		a.set(c.settings...)
		for _, p := range []struct {
			local, remote string
			want          uint8
		}{
			{"198.18.0.1", "198.18.0.2", c.ipv4},
			{"fd00::1", "fd00::2", c.ipv6},
			{"198.18.0.1", "198.18.10.2", 7},
			{"fd00::1", "fd00:10::2", 9},
		} {
			remote := netip.MustParseAddr(p.remote)
			if kernel := kernelLimit(t, a, b, remote); kernel != p.want {
				t.Fatalf("%s: the kernel sends to %v with hop limit %d, want %d", c.name, remote, kernel, p.want)
			}
			at := path(p.local, netip.AddrPortFrom(remote, 50000).String())
			w.await(c.name, func() bool {
				hop, got := w.resolve(at)
				return got == Usable && hop.HopLimit == p.want
			})
		}
	}
}
