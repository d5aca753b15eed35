package nexthop

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ringcast/engine/port"
)

// entry is a route of the main table as a test writes it: a prefix and a way, or nothing for elsewhere.
func entry(prefix string, metric uint32, w way) route {
	p := netip.MustParsePrefix(prefix)
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	return route{first: p.Addr().As16(), bits: bits, rank: bits, metric: metric, way: w}
}

// local is one of the local table.
func local(prefix string) route {
	r := entry(prefix, 0, way{reach: ourOwn})
	r.rank += rankLocal
	return r
}

func via(gateway string) way {
	return way{reach: viaGateway, gateway: netip.MustParseAddr(gateway).As16()}
}

func (w way) String() string {
	switch w.reach {
	case onLink:
		return "link"
	case ourOwn:
		return "own"
	case viaGateway:
		return netip.AddrFrom16(w.gateway).Unmap().String()
	}
	return "elsewhere"
}

func TestLongestPrefix(t *testing.T) {
	table := flatten([]route{
		entry("0.0.0.0/0", 0, via("198.18.0.254")),
		entry("198.18.0.0/24", 0, way{reach: onLink}),
		entry("198.18.0.128/25", 0, way{}), // by another interface
		entry("198.18.0.200/32", 0, way{reach: onLink}),
		entry("198.18.1.0/24", 100, via("198.18.0.2")),
		entry("198.18.1.0/24", 50, via("198.18.0.3")),
		entry("198.18.1.0/24", 200, via("198.18.0.4")),
		entry("198.18.2.0/24", 7, via("198.18.0.5")), // the first of equals
		entry("198.18.2.0/24", 7, via("198.18.0.6")),
		entry("255.255.255.255/32", 0, way{}),
		local("198.18.0.1/32"),
		local("198.18.3.0/24"),
		entry("198.18.3.7/32", 0, way{reach: onLink}), // main, so after local
		entry("fd00::/64", 256, way{reach: onLink}),
		entry("fd00:1::/32", 1024, via("fe80::1")),
		entry("fd00:1:2::/48", 1024, via("fe80::2")),
		entry("ff00::/8", 256, way{}),
		local("fd00::1/128"),
	})
	for _, c := range []struct{ addr, want string }{
		{"0.0.0.0", "198.18.0.254"},
		{"198.17.255.255", "198.18.0.254"},
		{"198.18.0.0", "link"},
		{"198.18.0.1", "own"},
		{"198.18.0.2", "link"},
		{"198.18.0.127", "link"},
		{"198.18.0.128", "elsewhere"},
		{"198.18.0.199", "elsewhere"},
		{"198.18.0.200", "link"},
		{"198.18.0.201", "elsewhere"},
		{"198.18.0.255", "elsewhere"},
		{"198.18.1.0", "198.18.0.3"},
		{"198.18.1.255", "198.18.0.3"},
		{"198.18.2.9", "198.18.0.5"},
		{"198.18.3.7", "own"},
		{"198.18.4.0", "198.18.0.254"},
		{"255.255.255.254", "198.18.0.254"},
		{"255.255.255.255", "elsewhere"},
		{"::", "elsewhere"},
		{"fd00::1", "own"},
		{"fd00::2", "link"},
		{"fd00::1:0:0:0", "link"},
		{"fd00:0:0:1::", "elsewhere"},
		{"fd00:1::5", "fe80::1"},
		{"fd00:1:2::5", "fe80::2"},
		{"fd00:1:3::5", "fe80::1"},
		{"ff02::1", "elsewhere"},
		{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "elsewhere"},
	} {
		if got := table.find(netip.MustParseAddr(c.addr).As16()).String(); got != c.want {
			t.Errorf("%s: %s, want %s", c.addr, got, c.want)
		}
	}
}

// IPv6's default route is none for IPv4.
func TestFamiliesApart(t *testing.T) {
	four, six := netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("fd00::1")
	for _, c := range []struct {
		routes       []route
		want4, want6 string
	}{
		{nil, "elsewhere", "elsewhere"},
		{[]route{entry("::/0", 0, via("fe80::1"))}, "elsewhere", "fe80::1"},
		{[]route{entry("0.0.0.0/0", 0, via("fe80::2"))}, "fe80::2", "elsewhere"},
		{[]route{entry("0.0.0.0/0", 1<<32-1, via("fe80::2")), entry("::/0", 0, via("fe80::1"))}, "fe80::2", "fe80::1"},
	} {
		table := flatten(c.routes)
		if got4, got6 := table.find(four.As16()).String(), table.find(six.As16()).String(); got4 != c.want4 || got6 != c.want6 {
			t.Errorf("%v: %s %s, want %s %s", c.routes, got4, got6, c.want4, c.want6)
		}
	}
}

// Against a search through all routes, on tables that are dense in nested and repeated prefixes.
func TestFlattenAgainstSearch(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	search := func(routes []route, a address) way {
		best := &mapped
		if slices.Compare(a[:12], mapped.first[:12]) != 0 {
			best = &route{rank: -1}
		}
		for i := range routes {
			r := &routes[i]
			last := r.last()
			if slices.Compare(a[:], r.first[:]) >= 0 && slices.Compare(a[:], last[:]) <= 0 && r.before(best) {
				best = r
			}
		}
		return best.way
	}
	for round := range 300 {
		var routes []route
		for i := range random.IntN(60) {
			var a [4]byte
			binary.BigEndian.PutUint32(a[:], random.Uint32()&0xc3000c03)
			bits := random.IntN(33)
			p := netip.PrefixFrom(netip.AddrFrom4(a), bits).Masked()
			if random.IntN(3) == 0 { // the same in IPv6
				var b [16]byte
				copy(b[random.IntN(13):], a[:])
				p = netip.PrefixFrom(netip.AddrFrom16(b), random.IntN(129)).Masked()
			}
			if p.Addr().Is4In6() {
				continue
			}
			r := entry(p.String(), random.Uint32N(3), way{reach: onLink, mtu: i + 1})
			if random.IntN(4) == 0 {
				r.rank += rankLocal
			}
			routes = append(routes, r)
		}
		table := flatten(routes)
		if !slices.IsSortedFunc(table.starts, func(a, b key) int {
			if a.less(b) {
				return -1
			}
			return 1
		}) || table.starts[0] != (key{}) || len(table.starts) != len(table.ways) {
			t.Fatalf("round %d: not a table: %v", round, table.starts)
		}
		probe := func(a address) {
			if got, want := *table.find(a), search(routes, a); got != want {
				t.Fatalf("round %d: %v: %+v, want %+v, of\n%v", round, netip.AddrFrom16(a), got, want, routes)
			}
		}
		probe(address{})
		for i := range routes {
			// Where ranges begin and end, and one beside.
			first, last := netip.AddrFrom16(routes[i].first), netip.AddrFrom16(routes[i].last())
			for _, a := range []netip.Addr{first, last, first.Prev(), last.Next()} {
				if a.IsValid() {
					probe(a.As16())
				}
			}
		}
	}
}

// bench is a host with routes for many networks and neighbours on its link.
func bench(tb testing.TB, routes, neighbours int) (*snapshot, []port.Path) {
	tb.Helper()
	list := []route{
		local("198.18.0.1/32"), local("fd00::1/128"),
		entry("0.0.0.0/0", 0, via("198.18.0.2")), entry("198.18.0.0/16", 0, way{reach: onLink}), entry("fd00::/64", 256, way{reach: onLink}),
	}
	for i := len(list); i < routes; i++ {
		list = append(list, entry(fmt.Sprintf("10.%d.%d.0/24", i/256, i%256), 0, via(fmt.Sprintf("198.18.0.%d", 2+i%200))))
	}
	known := map[address]*neighbour{}
	var paths []port.Path
	for i := range neighbours {
		addr := netip.AddrFrom4([4]byte{198, 18, byte((i + 2) / 256), byte(i + 2)})
		own := netip.MustParseAddr("198.18.0.1")
		if i%2 == 1 {
			addr, own = netip.AddrFrom16([16]byte{0: 0xfd, 14: byte((i + 2) / 256), 15: byte(i + 2)}), netip.MustParseAddr("fd00::1")
		}
		if i < 400 { // the gateways, of IPv4
			addr, own = netip.AddrFrom4([4]byte{198, 18, byte((i + 2) / 256), byte(i + 2)}), netip.MustParseAddr("198.18.0.1")
		}
		known[addr.As16()] = newNeighbour(nil, [6]byte{2, 0, 0, 0, byte(i >> 8), byte(i)}, 0)
		paths = append(paths, port.Path{Remote: netip.AddrPortFrom(addr, 50000), Local: own})
		if i%4 == 0 { // and somebody behind a gateway
			behind := netip.AddrFrom4([4]byte{10, byte(i % routes / 256), byte(i % routes), 9})
			paths = append(paths, port.Path{Remote: netip.AddrPortFrom(behind, 50000), Local: netip.MustParseAddr("198.18.0.1")})
		}
	}
	link := Link{Index: 3, Address: [6]byte{2, 1}, MTU: 1500, Up: true}
	return newSnapshot(1, "eth0", link, flatten(list), known), paths
}

func TestResolveAllocatesNothing(t *testing.T) {
	s, paths := bench(t, 1000, 5000)
	i := 0
	if n := testing.AllocsPerRun(len(paths), func() {
		if _, ok := s.resolve(paths[i%len(paths)], uint32(i)); !ok {
			t.Fatalf("%v does not resolve", paths[i%len(paths)])
		}
		i++
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestResolveZones(t *testing.T) {
	s, _ := bench(t, 10, 10)
	peer := netip.MustParseAddr("fe80::2")
	s.neighbours[peer.As16()] = newNeighbour(nil, [6]byte{2, 9}, 0)
	s.neighbours[netip.MustParseAddr("198.18.0.9").As16()] = newNeighbour(nil, [6]byte{2, 9}, 0)
	for _, c := range []struct {
		remote, local string
		want          bool
	}{
		{"[fe80::2%eth0]:1", "fd00::1", true},
		{"[fe80::2%3]:1", "fd00::1", true},
		{"[fe80::2]:1", "fd00::1", true},
		{"[fe80::2%4]:1", "fd00::1", false},
		{"[fe80::2%eth1]:1", "fd00::1", false},
		{"[fe80::3%eth0]:1", "fd00::1", false}, // not a neighbour
		{"198.18.0.9:1", "198.18.0.1", true},
		{"198.18.0.9:1", "198.18.0.3", false}, // not our own
		{"198.18.0.1:1", "198.18.0.1", false}, // to ourselves
	} {
		p := port.Path{Remote: netip.MustParseAddrPort(c.remote), Local: netip.MustParseAddr(c.local)}
		if hop, ok := s.resolve(p, 1); ok != c.want || ok && hop != (Hop{Source: [6]byte{2, 1}, Destination: [6]byte{2, 9}, MTU: 1500}) {
			t.Errorf("%v: %+v %v", p, hop, ok)
		}
	}
	if _, ok := s.resolve(port.Path{}, 1); ok {
		t.Error("the zero path resolves")
	}
}

func TestLinkChangeNames(t *testing.T) {
	names := map[string]bool{}
	for c := LinkDown; c <= LinkAddress; c++ {
		names[c.String()] = true
	}
	if len(names) != 5 || names["unknown"] || !strings.Contains(LinkChange(0).String(), "unknown") {
		t.Errorf("%v", names)
	}
}

// BenchmarkResolve is one look-up among 1,000 routes and 5,000 neighbours, each time of another peer.
func BenchmarkResolve(b *testing.B) {
	s, paths := bench(b, 1000, 5000)
	rand.New(rand.NewPCG(7, 8)).Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, ok := s.resolve(paths[i], uint32(i)); !ok {
			b.Fatal("does not resolve")
		}
		if i++; i == len(paths) {
			i = 0
		}
	}
}

// BenchmarkSnapshot is what a change among 5,000 neighbours costs.
func BenchmarkSnapshot(b *testing.B) {
	s, _ := bench(b, 1000, 5000)
	b.ReportAllocs()
	for b.Loop() {
		newSnapshot(2, "eth0", s.link, s.routes, maps.Clone(s.neighbours))
	}
}

// BenchmarkFlatten is what a change of a route costs beside listing.
func BenchmarkFlatten(b *testing.B) {
	var list []route
	for i := range 1000 {
		list = append(list, entry(fmt.Sprintf("10.%d.%d.0/24", i/256, i%256), 0, via("198.18.0.2")))
	}
	b.ReportAllocs()
	for b.Loop() {
		flatten(list)
	}
}
