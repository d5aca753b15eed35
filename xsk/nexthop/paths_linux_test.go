package nexthop

import (
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ringcast/engine/port"
)

// Two interfaces, the second with rules of its own, as amazon-ec2-net-utils sets a second network card up. Datagrams
// from its address leave by it, and by no other.
func TestPolicyRules(t *testing.T) {
	a, b := pair(t)
	cable(a, "x", 0x1a, b, "x", 0x1b)
	a.address("x", "198.19.0.1/24", "fd00:19::1/64")
	for _, line := range []string{
		"route add default via 198.18.0.2 dev v metric 512",
		"route add default via 198.19.0.2 dev x metric 513",
		"route add default via fd00::2 dev v metric 512",
		"route add default via fd00:19::2 dev x metric 513",
		"route add 198.19.0.0/24 dev x table 10001",
		"route add default via 198.19.0.2 dev x table 10001",
		"route add default via fd00:19::2 dev x table 10001",
		"neigh add 198.18.0.2 lladdr 02:00:00:00:00:0b dev v nud permanent",
		"neigh add 198.19.0.2 lladdr 02:00:00:00:00:1b dev x nud permanent",
		"neigh add fd00::2 lladdr 02:00:00:00:00:0b dev v nud permanent",
		"neigh add fd00:19::2 lladdr 02:00:00:00:00:1b dev x nud permanent",
	} {
		a.ip(strings.Fields(line)...)
	}
	first, second := a.watch("v", Config{}), a.watch("x", Config{})
	for _, c := range []struct {
		family       string
		first, other port.Path
	}{
		{"-4", path("198.18.0.1", "203.0.113.9:5000"), path("198.19.0.1", "203.0.113.9:5000")},
		{"-6", path("fd00::1", "[fd00:99::9]:5000"), path("fd00:19::1", "[fd00:99::9]:5000")},
	} {
		first.awaitHop(c.first, mac(0xb))
		second.expect(c.first, Elsewhere)
		first.awaitHop(c.other, mac(0xb)) // without a rule, the best default route is for all
		second.expect(c.other, Elsewhere)

		before := second.Generation()
		a.ip(c.family, "rule", "add", "from", c.other.Local.String(), "lookup", "10001", "priority", "10001")
		second.awaitHop(c.other, mac(0x1b))
		first.awaitVerdict(c.other, Elsewhere)
		first.awaitHop(c.first, mac(0xb))
		if second.Generation() == before {
			t.Error("the same generation answers differently")
		}

		a.ip(c.family, "rule", "del", "priority", "10001")
		first.awaitHop(c.other, mac(0xb))
		second.awaitVerdict(c.other, Elsewhere)
	}
}

// Each flow has the one of several next hops that the kernel has chosen for it.
func TestMultipath(t *testing.T) {
	a, _, _ := routers(t)
	a.set("net/ipv4/fib_multipath_hash_policy=1", "net/ipv6/fib_multipath_hash_policy=1")
	for i, number := range []byte{0xb, 0xc} {
		for _, format := range []string{"198.18.0.%d", "fd00::%d"} {
			a.ip("neigh", "add", fmt.Sprintf(format, i+2), "lladdr", mac(number).String(), "dev", "v", "nud",
				"permanent")
		}
	}
	w := a.watch("v", Config{Port: 7000})
	for _, c := range []struct {
		routes      []string
		local, peer string
		gateways    map[string]hardware
	}{
		{
			[]string{"-4 route add 203.0.113.0/24 nexthop via 198.18.0.2 nexthop via 198.18.0.3"},
			"198.18.0.1", "203.0.113.9",
			map[string]hardware{"198.18.0.2": mac(0xb), "198.18.0.3": mac(0xc)},
		},
		{
			[]string{"-6 route add fd00:99::/64 nexthop via fd00::2 nexthop via fd00::3"},
			"fd00::1", "fd00:99::9",
			map[string]hardware{"fd00::2": mac(0xb), "fd00::3": mac(0xc)},
		},
		{ // next hops as objects, and a group of them
			[]string{
				"nexthop add id 2 via 198.18.0.2 dev v", "nexthop add id 3 via 198.18.0.3 dev v",
				"nexthop add id 9 group 2/3",
				"route add 198.51.100.0/24 nhid 9",
			},
			"198.18.0.1", "198.51.100.9",
			map[string]hardware{"198.18.0.2": mac(0xb), "198.18.0.3": mac(0xc)},
		},
	} {
		for _, line := range c.routes {
			a.ip(strings.Fields(line)...)
		}
		used := map[hardware]int{}
		for dport := 50000; dport < 50032; dport++ {
			says := a.ip("route", "get", c.peer, "from", c.local, "ipproto", "udp", "sport", "7000", "dport",
				fmt.Sprint(dport))
			_, after, _ := strings.Cut(says, "via ")
			want, ok := c.gateways[strings.Fields(after)[0]]
			if !ok {
				t.Fatalf("ip route get: %s", says)
			}
			p := port.Path{
				Local:  netip.MustParseAddr(c.local),
				Remote: netip.AddrPortFrom(netip.MustParseAddr(c.peer), uint16(dport)),
			}
			w.awaitHop(p, want)
			used[want]++
		}
		if len(used) != 2 {
			t.Errorf("to %s: the flows use %v, want both", c.peer, used)
		}
	}
}

// narrow is a host and paths to two hosts after a router, whose way takes less than the link does.
func narrow(t *testing.T) (a *host, far4, far6 port.Path) {
	t.Helper()
	a, b, _ := routers(t)
	b.ip("link", "set", "w", "mtu", "1400")
	a.ip("route", "add", "198.18.10.0/24", "via", "198.18.0.2")
	a.ip("route", "add", "fd00:10::/64", "via", "fd00::2")
	return a, path("198.18.0.1", "198.18.10.2:50000"), path("fd00::1", "[fd00:10::2]:50000")
}

// mtu waits until a path takes so much.
func (w *watcher) mtu(p port.Path, want int) {
	w.t.Helper()
	w.await(fmt.Sprintf("%v takes %d", p.Remote, want), func() bool {
		hop, got := w.resolve(p)
		return got == Usable && hop.MTU == want
	})
}

// The path MTU that a router reports is heeded at once, for the destination that it names. Nothing but the router's
// word makes us ask: the table is refreshed next hour.
func TestLearnedPathMTU(t *testing.T) {
	a, far4, far6 := narrow(t)
	w := a.watch("v", Config{Refresh: time.Hour})
	near := path("198.18.0.1", "198.18.0.2:50000")
	for _, p := range []port.Path{far4, far6, near} {
		a.send(p.Remote.String())
		w.mtu(p, 1500)
		before := w.Generation()
		a.sendLong(p.Remote.String(), 1440)
		if p != near {
			w.mtu(p, 1400)
			if w.Generation() == before {
				t.Error("the same generation answers differently")
			}
		}
	}
	w.mtu(near, 1500)
}

// The kernel forgets path MTUs in silence. It is noticed with time.
func TestForgottenPathMTU(t *testing.T) {
	a, far4, _ := narrow(t)
	w := a.watch("v", Config{Refresh: 10 * time.Millisecond})
	a.send(far4.Remote.String())
	w.mtu(far4, 1500)
	a.sendLong(far4.Remote.String(), 1440)
	w.mtu(far4, 1400)
	a.ip("route", "flush", "cache")
	w.mtu(far4, 1500)
}

// Datagrams have the hop limit that the kernel would give them: its default for the family, or the route's.
func TestHopLimits(t *testing.T) {
	a, _ := pair(t)
	a.set("net/ipv4/ip_default_ttl=77", "net/ipv6/conf/v/hop_limit=99")
	w := a.watch("v", Config{})
	for _, c := range []struct {
		path  port.Path
		first uint8
		route string
	}{
		{pathOnLink4, 77, "-4 route add 198.18.0.2/32 dev v hoplimit 33"},
		{pathOnLink6, 99, "-6 route add fd00::2/128 dev v hoplimit 33"},
	} {
		a.send(c.path.Remote.String())
		if hop := w.awaitHop(c.path, mac(0xb)); hop.HopLimit != c.first {
			t.Errorf("%v: %d, want %d", c.path.Remote, hop.HopLimit, c.first)
		}
		a.ip(strings.Fields(c.route)...)
		w.await("the route's", func() bool {
			hop, got := w.resolve(c.path)
			return got == Usable && hop.HopLimit == 33
		})
	}
}

// The next hop of a path is asked for even if the kernel is sent nothing for it.
func TestNextHopIsAskedFor(t *testing.T) {
	a, _ := pair(t)
	w := a.watch("v", Config{Refresh: 10 * time.Millisecond})
	w.awaitHop(pathOnLink4, mac(0xb))
	w.awaitHop(pathOnLink6, mac(0xb))
}

// A table of 100,000 routes costs nothing: a change makes us ask for the paths in use, and only those. That the routes
// come in a storm makes no more turns than there is time for.
func TestLargeTables(t *testing.T) {
	a, _ := pair(t)
	const routes, ways, settle = 100_000, 10, 10 * time.Millisecond
	var turns, messages, most atomic.Int64
	w := a.watch("v", Config{Refresh: time.Hour, Settle: settle, renewed: func(f *follower) {
		turns.Add(1)
		now := int64(f.ways.asker.taken)
		most.Store(max(most.Load(), now-messages.Swap(now)))
	}})
	a.ip("neigh", "add", "198.18.0.3", "lladdr", mac(3).String(), "dev", "v", "nud", "permanent")
	for i := range ways {
		w.follow(path("198.18.0.1", fmt.Sprintf("198.18.0.2:%d", i+1)))
	}
	var lines []string
	for i := range routes {
		lines = append(lines, fmt.Sprintf("route add 10.%d.%d.%d/32 via 198.18.0.2 dev v", i>>16, i>>8&0xff, i&0xff))
	}
	before, began := turns.Load(), time.Now()
	a.batch(lines)
	took := time.Since(began)
	during := turns.Load() - before
	t.Logf("%d routes in %v: %d turns, at most %d messages in one", routes, took.Round(time.Millisecond), during,
		most.Load())
	if limit := int64(took/settle) + 2; during > limit {
		t.Errorf("%d turns in %v, want at most %d", during, took, limit)
	}
	// One more change, among all of them.
	a.ip("route", "add", "11.0.0.0/8", "via", "198.18.0.3")
	w.awaitHop(path("198.18.0.1", "11.1.1.1:1"), mac(3))
	// Ways, and our own addresses with the ends of four listings: 127.0.0.0/8 and .1, ::1, and those of the link.
	if got, limit := most.Load(), int64(2*(ways+1)+4+10); got > limit {
		t.Errorf("%d messages in a turn, want at most %d", got, limit)
	}
}

// Paths that nobody sends on any more are forgotten.
func TestPathsAreForgotten(t *testing.T) {
	a, _ := pair(t)
	var held atomic.Int64
	w := a.watch("v", Config{
		Refresh: time.Millisecond, renewed: func(f *follower) { held.Store(int64(len(f.ways.all))) },
	})
	kept := w.Follow(pathOnLink4)
	var ways []Way
	for i := range 5000 {
		ways = append(ways, w.Follow(path("198.18.0.1", fmt.Sprintf("198.18.0.2:%d", i+1))))
	}
	w.await("5,001 paths", func() bool { return held.Load() == 5001 })
	for i, way := range ways {
		if i%2 == 0 {
			way.Forget()
		}
	}
	w.await("half of them", func() bool { return held.Load() == 2501 })
	for i, way := range ways {
		if i%2 != 0 {
			way.Forget()
		}
	}
	w.await("one path", func() bool { return held.Load() == 1 })
	if _, got := kept.Resolve(); got == Elsewhere || got == Ourselves {
		t.Errorf("the path that is kept is %v", got)
	}
}

func TestResolveAllocatesNothing(t *testing.T) {
	a, _ := pair(t)
	w := a.watch("v", Config{})
	a.send("198.18.0.2:50000")
	w.awaitHop(pathOnLink4, mac(0xb))
	way := w.follow(pathOnLink4)
	if n := testing.AllocsPerRun(1000, func() {
		way.Resolve()
		w.Generation()
		w.Own(pathOnLink6.Remote.Addr())
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
