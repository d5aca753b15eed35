package xdp

import (
	"net"
	"net/netip"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/lab"
	"ringcast/testenv/server"
)

// pair is a server on AF_XDP with two workers on two queues, and a client, at the ends of one cable.
func pair(t *testing.T, args ...string) (g *stage, cable *lab.Cable, client *lab.Host) {
	t.Helper()
	return pairOf(t, lab.Link{Queues: 2}, func(binary string) *exec.Cmd {
		return exec.Command(binary, append([]string{"--io", "xdp", "--interface", "eth0"}, args...)...)
	})
}

// pairOf is pair with a cable and a command line of the caller's.
func pairOf(
	t *testing.T, link lab.Link, command func(binary string) *exec.Cmd) (g *stage, cable *lab.Cable, client *lab.Host,
) {
	t.Helper()
	testenv.Need(t, testenv.NetworkNamespaces, testenv.XDP)
	l := testenv.NewLab(t)
	host, err := l.AddHost("server")
	must(t, err)
	client, err = l.AddHost("client")
	must(t, err)
	end := func(h *lab.Host, addrs ...string) lab.End {
		e := lab.End{Host: h, Name: "eth0"}
		for _, a := range addrs {
			e.Addrs = append(e.Addrs, netip.MustParsePrefix(a))
		}
		return e
	}
	cable, err = l.Connect(end(host, "198.18.0.1/24", "fd00::1/64"), end(client, "198.18.0.2/24", "fd00::2/64"), link)
	must(t, err)
	return newStage(t, host, command), cable, client
}

// families runs a test over IPv4 and IPv6.
func families(t *testing.T, test func(t *testing.T, of func(*lab.Host) netip.Addr)) {
	t.Run("IPv4", func(t *testing.T) { test(t, (*lab.Host).IPv4) })
	t.Run("IPv6", func(t *testing.T) { test(t, (*lab.Host).IPv6) })
}

// mend is the longest outage beyond the fault itself. Most of it is not ours: the kernels of both ends look for their
// neighbours again, and repeat a lost request after a second.
const mend = 1500 * time.Millisecond

// settled is how long after binding a port a link that is down is given time to come back by itself.
const settled = 3 * time.Second

func TestLinkFlap(t *testing.T) {
	families(t, func(t *testing.T, of func(*lab.Host) netip.Addr) {
		g, cable, client := pair(t)
		flows := g.flows(client, of(g.here), of(client))
		let(t, settled)
		const span = 500 * time.Millisecond
		g.measure("link down and up after 500 ms", flows, span+mend, func() {
			g.gone()
			must(t, cable.A.Down())
			let(t, span)
			g.home()
			must(t, cable.A.Up())
		})
		g.onQueues()
	})
}

func TestCarrierLoss(t *testing.T) {
	families(t, func(t *testing.T, of func(*lab.Host) netip.Addr) {
		g, cable, client := pair(t)
		flows := g.flows(client, of(g.here), of(client))
		const span = 500 * time.Millisecond
		g.measure("peer down and up after 500 ms", flows, span+mend, func() {
			g.gone()
			must(t, cable.B.Down())
			let(t, span)
			g.home()
			must(t, cable.B.Up())
		})
		g.onQueues()
	})
}

// A flap shorter than the ports wait leaves them their queues.
func TestShortFlap(t *testing.T) {
	g, cable, client := pair(t)
	flows := g.flows(client, g.here.IPv4(), client.IPv4())
	const span = 20 * time.Millisecond
	g.measure("link down and up after 20 ms", flows, span+mend, func() {
		g.gone()
		must(t, cable.A.Down())
		let(t, span)
		g.home()
		must(t, cable.A.Up())
	})
	g.onQueues()
}

// The sessions outlive the interface: nobody posts again.
func TestInterfaceRecreated(t *testing.T) {
	families(t, func(t *testing.T, of func(*lab.Host) netip.Addr) {
		g, cable, client := pair(t)
		flows := g.flows(client, of(g.here), of(client))
		const span = time.Second
		g.measure("interface deleted, and another after 1 s", flows, span+mend, func() {
			g.gone()
			must(t, cable.Remove())
			let(t, span)
			g.home()
			must(t, cable.Insert())
		})
		g.onQueues()
	})
}

// The process stands still while the interface is made again, as in a paused virtual machine: it learns everything at
// once. It must give up the old queues before it sets the new ones. Otherwise giving up removes the new ones.
func TestStandstill(t *testing.T) {
	g, cable, client := pair(t, "--cpus", "0,1")
	flows := g.flows(client, g.here.IPv4(), client.IPv4())
	for range 8 {
		outages := g.server.Metrics(t)["ringcast_xdp_outages_total"]
		must(t, syscall.Kill(g.server.PID(), syscall.SIGSTOP))
		must(t, cable.Remove())
		must(t, cable.Insert())
		must(t, syscall.Kill(g.server.PID(), syscall.SIGCONT))
		until(t, "another outage", func() bool { return g.server.Metrics(t)["ringcast_xdp_outages_total"] > outages })
		until(t, "AF_XDP in use", func() bool { return g.server.Metrics(t)["ringcast_xdp_suspended_workers"] == 0 })
		for _, f := range flows {
			f.view.flows(t, f.feed)
		}
		before := g.server.Metrics(t)
		for _, f := range flows {
			f.view.flows(t, f.feed)
		}
		g.onQueues()
		if n := g.server.Metrics(t).Sub(before)[`ringcast_xdp_packets_total{reason="pass_no_socket"}`]; n > 0 {
			t.Errorf("%v packets found no socket in their queue, want 0", n)
		}
	}
}

func TestNeighbourMAC(t *testing.T) {
	families(t, func(t *testing.T, of func(*lab.Host) netip.Addr) {
		g, cable, client := pair(t)
		flows := g.flows(client, of(g.here), of(client))
		g.measure("the viewer's MAC changes", flows, mend, func() {
			must(t, cable.B.SetMAC(net.HardwareAddr{2, 0, 0, 0, 0, 0x42}))
		})
		g.onQueues()
	})
}

// The interface comes back with a foreign program on it. The sessions live on through the kernel, and AF_XDP resumes
// when that program has gone.
func TestFallBack(t *testing.T) {
	g, cable, client := pair(t)
	flows := g.flows(client, g.here.IPv4(), client.IPv4())
	const span = time.Second
	var foreign *lab.Injector
	g.measure("interface deleted, and another after 1 s with a foreign program", flows, span+mend, func() {
		must(t, cable.A.Down()) // the new one will be down too
		g.gone()
		must(t, cable.Remove())
		let(t, span)
		must(t, cable.Insert())
		var err error
		foreign, err = cable.A.Ingress(lab.Fault{})
		must(t, err)
		g.home()
		must(t, cable.A.Up())
	})
	before := g.server.Metrics(t)
	for _, f := range flows {
		f.view.flows(t, f.feed)
	}
	if grown := g.server.Metrics(t).Sub(before); grown.Sum("ringcast_xdp_queue_sent") > 0 {
		t.Errorf("AF_XDP is in use beside another program:\n%s", grown.List("ringcast_xdp"))
	}
	g.measure("the foreign program goes", flows, span+mend, func() {
		must(t, foreign.Remove())
		g.onQueues()
	})
}

// Two servers on an interface: the second is refused, or serves by sockets, and the first's viewers notice nothing.
func TestSecondServer(t *testing.T) {
	g, _, client := pair(t)
	flows := g.flows(client, g.here.IPv4(), client.IPv4())
	binary, err := testenv.Binary()
	must(t, err)
	args := []string{"--interface", "eth0", "--http", ":8081", "--udp", ":7001"}
	g.measure("a second server", flows, 200*time.Millisecond, func() {
		out, err := g.here.Run(deadline(t, patience), nil, binary, append(args, "--admin", "", "--io", "xdp")...)
		refused(t, "--io xdp", string(out), err, "another XDP program (id ")

		second, err := testenv.Wrap(server.Launch{
			URL: "http://" + netip.AddrPortFrom(g.here.IPv4(),
				8081).String(), Admin: "http://" + netip.AddrPortFrom(g.here.IPv4(), 9091).String(),
			Cmd: exec.Command(binary, append(args, "--admin", netip.AddrPortFrom(g.here.IPv4(), 9091).String())...),
			Run: func(cmd *exec.Cmd) (func() error, error) {
				p, err := g.here.Start(t.Context(), cmd)
				if err != nil {
					return nil, err
				}
				return p.Wait, nil
			},
			Client: g.here.Client(),
		}.Start(t.Context()))
		must(t, err)
		onSockets(t, second, "another XDP program (id ")
		other := stageOf(t, g.here, second)
		pub := other.publish(client, client.IPv4(), g.here.IPv4(), "second")
		view, err := other.watch(deadline(t, patience), client, client.IPv4(), g.here.IPv4(), "second")
		f := other.flow("second", pub, view, err)
		f.view.flows(t, f.feed)
		f.feed.stop()
		must(t, second.Stop())
	})
	for _, f := range flows {
		if f.cost.lost > 0 {
			t.Errorf("%s: %d packets lost to the second server", f.name, f.cost.lost)
		}
	}
	g.onQueues()
}

// onQueues demands that the flows use AF_XDP, and it alone on the cable, from now on.
func (g *stage) onQueues() {
	t := g.t
	t.Helper()
	until(t, "AF_XDP in use", func() bool { return g.server.Metrics(t)["ringcast_xdp_suspended_workers"] == 0 })
	before := g.server.Metrics(t)
	until(t, "media through AF_XDP, both ways", func() bool {
		grown := g.server.Metrics(t).Sub(before)
		return grown.Sum("ringcast_xdp_queue_sent_frames") > 50 &&
			grown[`ringcast_xdp_packets_total{reason="redirect_media"}`] > 50
	})
}
