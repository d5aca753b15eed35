package xdp

import (
	"net"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/lab"
)

// aging is the time to find out that a neighbour has silently changed. Its entry is stale after 1.5 s. We tell the
// kernel after 2 s that we use it. It asks after a second and gives up after 0.3 s, and the machine adds some.
const aging = 6 * time.Second

// Viewers and publishers are on a router's other side: frames go to its MAC. The router changes its own, and then the
// gateway is another one on the same network, which the kernel has never asked for.
func TestBehindRouter(t *testing.T) {
	families(t, func(t *testing.T, of func(*lab.Host) netip.Addr) {
		testenv.Need(t, testenv.NetworkNamespaces, testenv.XDP)
		server, router, client := testenv.Routed(t, lab.Link{Queues: 2})
		// A router that announces nothing is found out when its entry gets old: here, sooner than in 30 s.
		for _, family := range []string{"ipv4", "ipv6"} {
			for name, value := range map[string]string{
				"base_reachable_time_ms": "1000", "delay_first_probe_time": "1",
				"retrans_time_ms": "100",
			} {
				must(t, server.Sysctl("net/"+family+"/neigh/eth0/"+name, value))
			}
		}
		g := newStage(t, server, func(binary string) *exec.Cmd {
			return exec.Command(binary, "--io", "xdp", "--interface", "eth0")
		})
		flows := g.flows(client, of(server), of(client))
		g.onQueues()

		south := router.Device("south")
		g.measure("the router's MAC changes", flows, aging, func() {
			must(t, south.SetMAC(net.HardwareAddr{2, 0, 0, 0, 0, 0x52}))
		})
		g.onQueues()

		other := netip.MustParsePrefix("198.18.1.254/24")
		if of(server).Is6() {
			other = netip.MustParsePrefix("fd00:1::254/64")
		}
		must(t, south.AddAddr(other))
		g.measure("another gateway", flows, mend, func() {
			must(t, server.Device("eth0").SetGateway(other.Addr()))
		})
		g.onQueues()
	})
}
