package candidate

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// on is an address with its network on a link.
func on(link, prefix string, traits Traits) Address {
	p := netip.MustParsePrefix(prefix)
	return Address{Addr: p.Addr(), Network: p.Masked(), Link: link, Traits: traits}
}

func addr(s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(s)
}

var (
	lo4      = on("lo", "127.0.0.1/8", Loopback)
	lo6      = on("lo", "::1/128", Loopback)
	lan4     = on("eth0", "192.168.1.5/24", 0)
	lan6     = on("eth0", "2001:db8:1::5/64", 0)
	wide4    = on("eth1", "203.0.113.7/24", 0)
	docker   = on("docker0", "172.17.0.1/16", Inner)
	tunnel   = on("wg0", "10.8.0.1/24", PointToPoint)
	zeroconf = on("eth0", "169.254.7.7/16", 0)
)

func TestChoose(t *testing.T) {
	const anybody = "198.51.100.9"
	for _, row := range []struct {
		name   string
		all    []Address
		only4  bool
		source string
		want   string
	}{
		{"nothing", nil, false, anybody, ""},
		{"loopback is not for others", []Address{lo4, lo6, lan4, lan6}, false, anybody, "192.168.1.5 2001:db8:1::5"},
		{
			"loopback for peers of this machine",
			[]Address{lo4, lo6, lan4, lan6},
			false, "127.0.0.1",
			"192.168.1.5 2001:db8:1::5 127.0.0.1 ::1",
		},
		{"by IPv6", []Address{lo4, lo6, lan4, lan6}, false, "::1", "192.168.1.5 2001:db8:1::5 127.0.0.1 ::1"},
		{"by any loopback address", []Address{lo4, lan4}, false, "127.0.0.53", "192.168.1.5 127.0.0.1"},
		{"by a mapped one", []Address{lo4, lan4}, false, "::ffff:127.0.0.1", "192.168.1.5 127.0.0.1"},
		{
			"by the machine's own address",
			[]Address{lo4, lan4, lan6},
			false, "192.168.1.5",
			"192.168.1.5 2001:db8:1::5 127.0.0.1",
		},
		{"hidden by a proxy", []Address{lo4, lo6, lan4, wide4}, false, "::", "203.0.113.7 192.168.1.5"},
		{"source unknown", []Address{lo4, lan4}, false, "", "192.168.1.5 127.0.0.1"},
		{"without a network", []Address{lo4, lo6}, false, "127.0.0.1", "127.0.0.1 ::1"},
		{"without a network, from elsewhere", []Address{lo4, lo6}, false, anybody, "127.0.0.1 ::1"},

		{"IPv4 only", []Address{lo4, lo6, lan4, lan6}, true, "127.0.0.1", "192.168.1.5 127.0.0.1"},
		{"IPv6 only host", []Address{lo4, lo6, lan6}, false, anybody, "2001:db8:1::5"},
		{"twice", []Address{lan4, lan4}, false, anybody, "192.168.1.5"},

		{
			"the peer's network first",
			[]Address{tunnel, wide4, lan4},
			false, "192.168.1.9",
			"192.168.1.5 10.8.0.1 203.0.113.7",
		},
		{"a peer of the VPN", []Address{wide4, lan4, tunnel}, false, "10.8.0.2", "10.8.0.1 192.168.1.5 203.0.113.7"},
		{"public for public", []Address{lan4, tunnel, wide4}, false, anybody, "203.0.113.7 192.168.1.5 10.8.0.1"},
		{"private for private", []Address{wide4, tunnel, lan4}, false, "10.99.0.1", "192.168.1.5 10.8.0.1 203.0.113.7"},
		{"IPv4 first all the same", []Address{lan6, lan4}, false, "2001:db8:1::9", "192.168.1.5 2001:db8:1::5"},

		{"containers' bridge is not for others", []Address{docker, lan4}, false, anybody, "192.168.1.5"},
		{"nor for this machine", []Address{docker, lan4, lo4}, false, "127.0.0.1", "192.168.1.5 127.0.0.1"},
		{"a container", []Address{lan4, docker}, false, "172.17.0.2", "172.17.0.1 192.168.1.5"},
		{"nothing but containers", []Address{lo4, docker}, false, "172.17.0.2", "172.17.0.1"},
		{"nothing but containers, for others", []Address{lo4, docker}, false, anybody, "172.17.0.1"},
		{
			"nothing but containers, for this machine",
			[]Address{lo4, docker},
			false, "127.0.0.1",
			"172.17.0.1 127.0.0.1",
		},
		{"containers beside link-local IPv4", []Address{lo4, zeroconf, docker}, false, anybody, "172.17.0.1"},
		{"nothing but link-local IPv4", []Address{lo4, lo6, zeroconf}, false, anybody, "169.254.7.7"},
		{"link-local IPv4 is for its network", []Address{zeroconf, lan4}, false, anybody, "192.168.1.5"},
		{"and its network", []Address{lan4, zeroconf}, false, "169.254.9.9", "169.254.7.7 192.168.1.5"},
		{"link-local IPv6 needs a zone", []Address{lan4, on("eth0", "fe80::5/64", 0)}, false, "fe80::9", "192.168.1.5"},

		{"down", []Address{lan4, on("wlan0", "192.168.2.5/24", Down)}, false, anybody, "192.168.1.5"},
		{
			"without a carrier",
			[]Address{on("eth0", "198.51.100.5/24", Silent), lan4, lan6},
			false, anybody,
			"192.168.1.5 198.51.100.5 2001:db8:1::5",
		},
		{
			"without a carrier, alone",
			[]Address{lo4, on("eth0", "192.168.1.5/24", Silent)},
			false, anybody,
			"192.168.1.5",
		},
		{
			"own, though down",
			[]Address{lo4, lan4, on("wlan0", "192.168.2.5/24", Down)},
			false, "192.168.2.5",
			"192.168.1.5 127.0.0.1",
		},
		{"tentative", []Address{lan4, on("eth0", "2001:db8:1::6/64", Tentative)}, false, anybody, "192.168.1.5"},
		{
			"deprecated beside another",
			[]Address{on("eth0", "2001:db8:2::5/64", Deprecated), lan6},
			false, anybody,
			"2001:db8:1::5",
		},
		{
			"deprecated alone",
			[]Address{lan4, on("eth0", "2001:db8:2::5/64", Deprecated)},
			false, anybody,
			"192.168.1.5 2001:db8:2::5",
		},
		{
			"deprecated beside a private one",
			[]Address{on("eth0", "2001:db8:2::5/64", Deprecated), on("eth0", "fd00::5/64", 0)},
			false, "2001:db8:9::1",
			"2001:db8:2::5 fd00::5",
		},
		{
			"temporary beside stable",
			[]Address{on("eth0", "2001:db8:1::aaaa/64", Temporary), lan6},
			false, anybody,
			"2001:db8:1::5",
		},
		{
			"temporary alone",
			[]Address{on("eth0", "2001:db8:1::aaaa/64", Temporary)},
			false, anybody,
			"2001:db8:1::aaaa",
		},
		{
			"temporary of another network",
			[]Address{on("eth0", "2001:db8:2::aaaa/64", Temporary), lan6},
			false,
			anybody, "2001:db8:2::aaaa 2001:db8:1::5",
		},

		{
			"anycast on the loopback",
			[]Address{lo4, on("lo", "203.0.113.99/32", Loopback), lan4},
			false, anybody,
			"203.0.113.99 192.168.1.5",
		},
		{
			"a private address on the loopback",
			[]Address{lo4, on("lo", "10.255.255.254/32", Loopback), lan4},
			false,
			anybody, "192.168.1.5",
		},
		{
			"no addresses of a host",
			[]Address{on("eth0", "224.0.0.1/4", 0), on("eth0", "::/0", 0), on("eth0", "fec0::1/64", 0), lan4},
			false,
			anybody, "192.168.1.5",
		},
	} {
		s := choose(row.all, row.only4)
		var got []string
		for _, a := range s.forSource(addr(row.source)) {
			got = append(got, a.String())
		}
		if got := strings.Join(got, " "); got != row.want {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
	}
}

// An operator's addresses are for everybody, in the operator's order.
func TestFixed(t *testing.T) {
	s := choose([]Address{lo4, lan4}, false)
	s.fixed = []netip.Addr{addr("2001:db8::1"), addr("127.0.0.1"), addr("192.0.2.1")}
	for _, source := range []string{"", "127.0.0.1", "192.168.1.5", "198.51.100.9"} {
		if got := s.forSource(addr(source)); !slices.Equal(got, s.fixed) {
			t.Errorf("from %q: got %v, want %v", source, got, s.fixed)
		}
	}
	if got := s.all(); !slices.Equal(got, s.fixed) {
		t.Errorf("all: got %v, want %v", got, s.fixed)
	}
}

// On any machine loopback is last, and no stranger with a choice is offered it.
func TestLoopbackIsLast(t *testing.T) {
	pool := []Address{lo4, lo6, lan4, lan6, wide4, docker, tunnel, zeroconf}
	for mask := range 1 << len(pool) {
		var all []Address
		other := false
		for i, a := range pool {
			if mask>>i&1 == 1 {
				all = append(all, a)
				other = other || !a.loopback()
			}
		}
		s := choose(all, false)
		for _, source := range []string{"", "127.0.0.1", "192.168.1.5", "172.17.0.2", "198.51.100.9", "2001:db8::9"} {
			got := s.forSource(addr(source))
			i := slices.IndexFunc(got, netip.Addr.IsLoopback)
			if i >= 0 && slices.ContainsFunc(got[i:], func(a netip.Addr) bool { return !a.IsLoopback() }) {
				t.Fatalf("%v from %q: loopback is not last: %v", all, source, got)
			}
			if i >= 0 && other && source == "198.51.100.9" {
				t.Fatalf("%v from %q: loopback for a stranger: %v", all, source, got)
			}
			if len(got) == 0 && len(all) > 0 {
				t.Fatalf("%v from %q: nothing", all, source)
			}
		}
		if all := fmt.Sprint(s.all()); len(s.all()) != len(s.open)+len(s.confined) {
			t.Fatalf("all lists %s of %d", all, len(s.open)+len(s.confined))
		}
	}
}
