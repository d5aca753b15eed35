package xdp

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/lab"
	"ringcast/xsk"
)

// twoInterfaces is a server with two interfaces, and a host at each: first at eth0, second at eth1, whose cable it
// returns.
func twoInterfaces(t *testing.T) (g *stage, cable *lab.Cable, hosts map[string]*lab.Host) {
	t.Helper()
	testenv.Need(t, testenv.NetworkNamespaces, testenv.XDP)
	l := testenv.NewLab(t)
	hosts = map[string]*lab.Host{}
	for _, name := range []string{"server", "first", "second"} {
		h, err := l.AddHost(name)
		must(t, err)
		hosts[name] = h
	}
	end := func(host, device string, addresses ...string) lab.End {
		e := lab.End{Host: hosts[host], Name: device}
		for _, a := range addresses {
			e.Addrs = append(e.Addrs, netip.MustParsePrefix(a))
		}
		return e
	}
	_, err := l.Connect(end("server", "eth0", "198.18.0.1/24"), end("first", "eth0", "198.18.0.2/24"),
		lab.Link{Queues: 2})
	must(t, err)
	viewer := end("second", "eth0", "fd00:1::2/64", "198.18.1.2/24")
	viewer.Gateways = []netip.Addr{netip.MustParseAddr("198.18.1.1")} // to the server's HTTP
	cable, err = l.Connect(end("server", "eth1", "fd00:1::1/64", "198.18.1.1/24"), viewer, lab.Link{})
	must(t, err)
	g = newStage(t, hosts["server"], func(binary string) *exec.Cmd {
		return exec.Command(binary, "--io", "xdp", "--interface", "eth0", "--interface", "eth1")
	})
	return g, cable, hosts
}

// On either of two interfaces, one of IPv4 and one of IPv6, media goes by AF_XDP, from one to the other, too. When one
// is taken away the other notices nothing.
func TestTwoInterfaces(t *testing.T) {
	g, cable, hosts := twoInterfaces(t)
	four, six := hosts["server"].IPv4(), hosts["server"].IPv6()
	first, second := hosts["first"], hosts["second"]

	ctx := deadline(t, 2*patience)
	pub := g.publish(first, first.IPv4(), four, "to-second")
	view, err := g.watch(ctx, second, second.IPv6(), six, "to-second")
	across := g.flow("from eth0 to eth1", pub, view, err)
	pub = g.publish(second, second.IPv6(), six, "to-first")
	view, err = g.watch(ctx, first, first.IPv4(), four, "to-first")
	back := g.flow("from eth1 to eth0", pub, view, err)
	pub = g.publish(first, first.IPv4(), four, "stays")
	view, err = g.watch(ctx, first, first.IPv4(), four, "stays")
	stays := g.flow("on eth0", pub, view, err)

	onBoth := func() {
		t.Helper()
		until(t, "AF_XDP in use", func() bool { return g.server.Metrics(t)["ringcast_xdp_suspended_workers"] == 0 })
		before := g.server.Metrics(t)
		until(t, "media by both interfaces, both ways", func() bool {
			grown := g.server.Metrics(t).Sub(before)
			for _, device := range []string{"eth0", "eth1"} {
				for _, way := range []string{"sent", "received"} {
					if grown.Sum(fmt.Sprintf("ringcast_xdp_queue_%s_frames_total{interface=%q", way, device)) < 50 {
						return false
					}
				}
			}
			return true
		})
	}
	onBoth()
	before := g.server.Metrics(t)
	for _, f := range []*flow{across, back, stays} {
		f.view.flows(t, f.feed)
	}
	if grown := g.server.Metrics(t).Sub(before); grown["ringcast_companion_sent_datagrams_total"] > 0 {
		t.Errorf("media by the companion, want none:\n%s", grown.List("ringcast_companion", "ringcast_xdp_detour"))
	}
	let(t, settled)
	const span = 500 * time.Millisecond
	g.measure("eth1 down for 500 ms", []*flow{across, back, stays}, span+mend, func() {
		must(t, cable.A.Down())
		let(t, span)
		must(t, cable.A.Up())
	})
	if stays.cost.lost > 0 {
		t.Errorf("%d packets lost on eth0 while eth1 was down, want 0", stays.cost.lost)
	}
	onBoth()
}

// With --io auto an interface that is refused is left to sockets, and the other is served by AF_XDP all the same.
func TestOneOfTwoRefused(t *testing.T) {
	testenv.Need(t, testenv.NetworkNamespaces, testenv.XDP)
	binary, err := testenv.Binary()
	must(t, err)
	l := testenv.NewLab(t)
	server, client, err := l.Pair(lab.Link{})
	must(t, err)
	out, err := server.Run(deadline(t, patience), nil, binary, "--io", "xdp", "--interface", "eth0", "--interface",
		"lo", "--admin", "")
	refused(t, "--io xdp", string(out), err, "lo is the loopback")

	s, err := testenv.StartCommandOn(t.Context(), server, nil,
		exec.Command(binary, "--interface", "eth0", "--interface", "lo"))
	must(t, err)
	s.EndWith(t)
	m := s.Metrics(t)
	if m[`ringcast_xdp_interface_info{interface="eth0",io="xdp-copy"}`] != 1 ||
		m.Sum("ringcast_xdp_interface_info") != 1 {
		t.Errorf("got, want eth0 alone on xdp-copy:\n%s", m.List("ringcast_xdp_interface"))
	}
	if log := s.Log(); !strings.Contains(log,
		"interface=lo io=xdp-zerocopy,xdp-copy,xdp-generic reason=\"lo is the loopback") {
		t.Errorf("the log does not say why lo is refused:\n%s", log)
	}
	g := stageOf(t, server, s)
	home := g.publish(server, loopback, loopback, "home")
	view, err := g.watch(deadline(t, patience), client, client.IPv4(), server.IPv4(), "home")
	f := g.flow("home", home, view, err)
	f.view.flows(t, f.feed)
}

// Queues that went away while the interface was down are not asked for again: those that are left serve.
func TestFewerQueues(t *testing.T) {
	g, cable, client := pair(t)
	flows := g.flows(client, g.here.IPv4(), client.IPv4())
	let(t, settled)
	const span = 500 * time.Millisecond
	g.measure("one queue less", flows, span+mend, func() {
		must(t, cable.A.Down())
		let(t, span)
		must(t, cable.B.SetQueues(1)) // a veth sends on no more queues than its peer receives on
		must(t, cable.A.SetQueues(1))
		must(t, cable.A.Up())
	})
	until(t, "AF_XDP on one queue", func() bool { return g.server.Metrics(t)["ringcast_xdp_suspended_workers"] == 1 })
	before := g.server.Metrics(t)
	until(t, "media by queue 0", func() bool {
		grown := g.server.Metrics(t).Sub(before)
		return grown[`ringcast_xdp_queue_received_frames_total{interface="eth0",queue="0"}`] > 50
	})
	for _, f := range flows {
		f.view.flows(t, f.feed)
	}

	// The link is back before the remaining queue is given up, mostly so soon that no event reports it. (A veth that is
	// up does not run the program on a queue that it gets.)
	must(t, cable.A.Down())
	must(t, cable.A.SetQueues(2))
	must(t, cable.B.SetQueues(2))
	must(t, cable.A.Up())
	g.onQueues()
}

// Another socket takes a queue while the interface is made again. The workers of the others do without it, and still
// give up theirs when the link goes down.
func TestQueueTaken(t *testing.T) {
	g, cable, client := pair(t)
	flows := g.flows(client, g.here.IPv4(), client.IPv4())
	suspended := func() float64 { return g.server.Metrics(t)["ringcast_xdp_suspended_workers"] }
	must(t, syscall.Kill(g.server.PID(), syscall.SIGSTOP))
	must(t, cable.Remove())
	must(t, cable.Insert())
	var stranger *xsk.Bundle
	queue := xsk.DefaultBundleConfig(xsk.Copy)
	queue.Interface, queue.Queues = cable.A.Index, []int{1}
	must(t, g.here.Enter(func() (err error) {
		stranger, err = xsk.Open(queue)
		return err
	}))
	t.Cleanup(func() { must(t, stranger.Close()) })
	must(t, syscall.Kill(g.server.PID(), syscall.SIGCONT))
	until(t, "one worker on AF_XDP", func() bool { return suspended() == 1 })
	for _, f := range flows {
		f.view.flows(t, f.feed)
	}

	must(t, cable.B.Down())
	until(t, "no worker on AF_XDP", func() bool { return suspended() == 2 })
	must(t, cable.B.Up())
	until(t, "one worker on AF_XDP again", func() bool { return suspended() == 1 })
	must(t, stranger.Close())
	until(t, "all workers on AF_XDP", func() bool { return suspended() == 0 })
	for _, f := range flows {
		f.view.flows(t, f.feed)
	}
	g.onQueues()
}
