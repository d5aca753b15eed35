package xdp

import (
	"net"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ringcast/testenv"
	"ringcast/testenv/lab"
)

// twoCards is a server with two network cards, eth0 and eth1, on one router, and a client on the router's other side.
// Packets from the address of eth1 leave by it, as amazon-ec2-net-utils configures a second card. The main table
// prefers eth0.
func twoCards(t *testing.T) (server, client *lab.Host) {
	t.Helper()
	testenv.Need(t, testenv.NetworkNamespaces, testenv.XDP)
	l := testenv.NewLab(t)
	server, router, client, err := l.Routed(lab.Link{Queues: 2})
	must(t, err)
	prefix := func(s string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(s)} }
	_, err = l.Connect(lab.End{Host: server, Name: "eth1", Addrs: prefix("198.18.3.2/24")},
		lab.End{Host: router, Name: "south1", Addrs: prefix("198.18.3.1/24")}, lab.Link{Queues: 2})
	must(t, err)
	const table = 10001
	must(t, server.Netlink().RouteAdd(&netlink.Route{
		LinkIndex: server.Device("eth1").Index, Gw: net.IPv4(198, 18, 3, 1), Table: table,
	}))
	rule := netlink.NewRule()
	rule.Family, rule.Priority, rule.Table = unix.AF_INET, table, table
	rule.Src = &net.IPNet{IP: net.IPv4(198, 18, 3, 2), Mask: net.CIDRMask(32, 32)}
	must(t, server.Netlink().RuleAdd(rule))
	return server, client
}

// detours are the metrics of datagrams that left by the companion although their peer is outside.
var detours = []string{"no_next_hop", "routed_elsewhere", "too_long"}

// shares waits until so many datagrams for peers outside have left, and returns how many by AF_XDP, how many by the
// companion for each reason.
func (g *stage) shares(datagrams float64) (xdp float64, detoured map[string]float64) {
	g.t.Helper()
	before := g.server.Metrics(g.t)
	until(g.t, "media sent", func() bool {
		grown := g.server.Metrics(g.t).Sub(before)
		xdp, detoured = grown.Sum("ringcast_xdp_queue_sent_frames"), map[string]float64{}
		all := xdp
		for _, reason := range detours {
			detoured[reason] = grown[`ringcast_xdp_detour_datagrams_total{reason="`+reason+`"}`]
			all += detoured[reason]
		}
		return all >= datagrams
	})
	g.t.Logf("by AF_XDP %v, by the companion %v", xdp, detoured)
	return xdp, detoured
}

// On the second card, media leaves by AF_XDP, since the rules lead there.
func TestSecondCard(t *testing.T) {
	server, client := twoCards(t)
	g := newStage(t, server, func(binary string) *exec.Cmd {
		return exec.Command(binary, "--io", "xdp", "--interface", "eth1")
	})
	flows := g.flows(client, netip.MustParseAddr("198.18.3.2"), client.IPv4())
	xdp, detoured := g.shares(1000)
	all := xdp
	for _, n := range detoured {
		all += n
	}
	if xdp < 0.99*all {
		t.Errorf("%v of %v datagrams left by AF_XDP, want 99 %%", xdp, all)
	}
	for _, f := range flows {
		f.view.flows(t, f.feed)
	}
}

// Packets of the first card that the rules send by the second one are left to the kernel, and counted as such. A frame
// that left by the wrong card would be dropped where sources are checked.
func TestWrongCard(t *testing.T) {
	server, client := twoCards(t)
	g := newStage(t, server, func(binary string) *exec.Cmd {
		return exec.Command(binary, "--io", "xdp", "--interface", "eth0")
	})
	pub := g.publish(server, loopback, loopback, "out")
	view, err := g.watch(deadline(t, patience), client, client.IPv4(), netip.MustParseAddr("198.18.3.2"), "out")
	f := g.flow("out", pub, view, err)
	xdp, detoured := g.shares(500)
	if xdp > 0 || detoured["routed_elsewhere"] < 500 {
		t.Errorf("%v datagrams by AF_XDP, %v elsewhere; want 0, all", xdp, detoured["routed_elsewhere"])
	}
	f.view.flows(t, f.feed)
}

// The way to a viewer has a smaller MTU than the link, and only the router after the first hop knows. Once the kernel
// has learned it, longer packets leave by the companion, in fragments, and nothing is lost. The others leave by AF_XDP.
func TestLearnedPathMTU(t *testing.T) {
	families(t, func(t *testing.T, of func(*lab.Host) netip.Addr) {
		testenv.Need(t, testenv.NetworkNamespaces, testenv.XDP)
		server, router, client := testenv.Routed(t, lab.Link{Queues: 2})
		for _, d := range []*lab.Device{router.Device("north"), client.Device("eth0")} {
			link, err := d.Host.Netlink().LinkByIndex(d.Index)
			must(t, err)
			must(t, d.Host.Netlink().LinkSetMTU(link, 1400))
		}
		g := newStage(t, server, func(binary string) *exec.Cmd {
			return exec.Command(binary, "--io", "xdp", "--interface", "eth0")
		})
		flows := map[string]*flow{}
		for name, size := range map[string]int{"short": payloadSize, "long": 1400} {
			home := loopback
			pub := g.publish(server, home, home, name)
			view, err := g.watch(deadline(t, patience), client, of(client), of(server), name)
			must(t, err)
			flows[name] = &flow{name: name, feed: g.feedOf(pub, size), view: view}
		}
		tooLong := `ringcast_xdp_detour_datagrams_total{reason="too_long"}`
		begun, first := time.Now(), flows["long"].feed.number()
		until(t, "the path's MTU is known", func() bool { return g.server.Metrics(t)[tooLong] > 0 })
		t.Logf("known %v after the first long packet, of which %d were sent until then",
			time.Since(begun).Round(time.Millisecond), flows["long"].feed.number()-first)
		for _, f := range flows {
			f.view.flows(t, f.feed)
			f.begun = f.feed.number()
		}
		xdp, detoured := g.shares(1000)
		if xdp < 400 || detoured["too_long"] < 400 || detoured["no_next_hop"]+detoured["routed_elsewhere"] > 0 {
			t.Errorf("%v by AF_XDP, %v by the companion; want half each, and those for their length", xdp, detoured)
		}
		for _, f := range flows {
			end := f.feed.number()
			f.view.flows(t, f.feed)
			if lost := f.view.lost(f.begun, end); lost > 0 {
				t.Errorf("%s: %d of %d packets lost, want none", f.name, lost, end-f.begun)
			}
		}
	})
}

// Packets from outside that say they come from this host are dropped before anybody answers them.
func TestOwnSources(t *testing.T) {
	g, cable, client := pair(t, "--guard", "off")
	flows := g.flows(client, g.here.IPv4(), client.IPv4())
	second := netip.MustParsePrefix("198.18.9.1/24")
	must(t, cable.A.AddAddr(second)) // which the server is not told of at its start
	for _, source := range []netip.Addr{g.here.IPv4(), second.Addr()} {
		before := g.server.Metrics(t)
		call, err := forge.Start(deadline(t, patience), client, flood{
			Device: "eth0", Source: [6]byte(cable.B.MAC), Target: [6]byte(cable.A.MAC),
			From: netip.AddrPortFrom(source, 5000), To: netip.AddrPortFrom(g.here.IPv4(), 7000), Rate: 1000, Seconds: 1,
		}, 1)
		must(t, err)
		sent, err := call.Wait()
		must(t, err)
		want := float64(sent.Media + sent.DTLS + sent.STUN)
		until(t, "all are counted", func() bool {
			return g.server.Metrics(t).Sub(before)["ringcast_xdp_own_source_datagrams_total"] >= want
		})
		if grown := g.server.Metrics(t).Sub(before); grown.Sum("ringcast_packets_dropped") > 0 {
			t.Errorf("from %v: a worker looked at them:\n%s", source, grown.List("ringcast_packets_dropped"))
		}
	}
	for _, f := range flows {
		f.view.flows(t, f.feed)
	}
}
