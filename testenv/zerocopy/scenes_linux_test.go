package zerocopy

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"ringcast/engine/host"
	"ringcast/testenv"
)

// Metrics of the server.
const (
	queueSent     = "ringcast_xdp_queue_sent_frames_total"
	queueReceived = "ringcast_xdp_queue_received_frames_total"
	queueKicks    = "ringcast_xdp_queue_kicks_total"
	companionSent = "ringcast_companion_sent_datagrams_total"
)

// socketsOfQueue is how many AF_XDP sockets a queue has: one for reports, one for the rest.
const socketsOfQueue = 2

// doctor: the doctor says zero-copy, on all queues.
func (g *stage) doctor(t *testing.T) {
	d := consult(t, "nic0")
	if d.Taken() != host.ZeroCopy || d.Queues != g.queues {
		t.Errorf("the doctor takes %q on %d queues, want %q on %d", d.Taken(), d.Queues, host.ZeroCopy, g.queues)
	}
}

// socket: a server has its sockets on each queue, and server and kernel agree that they go without copies.
func (g *stage) socket(t *testing.T) {
	s, err := start("--io", "xdp", "--interface", "nic0")
	must(t, err)
	s.EndWith(g.t)
	g.server = s
	t.Logf("\n%s", s.Log())
	if want := `msg="AF_XDP open"`; strings.Count(s.Log(), want) != 1 || !strings.Contains(s.Log(), "zerocopy=true") {
		t.Errorf("the log does not say %q once with zerocopy=true, as getsockopt does:\n%s", want, s.Log())
	}
	if n := s.Metrics(t)[`ringcast_port_info{io="xdp-zerocopy"}`]; n != 1 {
		t.Errorf("the metric of the rung xdp-zerocopy is %g, want 1", n)
	}
	want := socketsOfQueue * g.queues
	if all, zerocopy := sockets(t); all != want || zerocopy != want {
		t.Errorf("%d of %d sockets go without copies, want %d of %d", zerocopy, all, want, want)
	}
}

// media: a stream comes in and goes out to viewers, all of it by the queues.
func (g *stage) media(t *testing.T) {
	g.mustServe(t)
	before := g.server.Metrics(t)
	sent, got := g.start(t, g.server, "4", 10*time.Second).end(t, false)
	whole(t, 4, sent, got)
	grown := g.server.Metrics(t).Sub(before)
	t.Logf("the server's counts:\n%s", grown.List("ringcast_xdp_", "ringcast_companion", "ringcast_port_"))
	t.Logf("%g kicks for %g frames", grown.Sum(queueKicks), grown.Sum(queueSent))
	onQueues(t, grown, got.All.Packets)
}

// everyQueue: the NIC spreads clients over its queues by their addresses, and each queue serves. The client takes
// addresses until each had something, and keeps one of the last queue's. The hash of an address is linear (Toeplitz
// with a random key), so addresses differ in a bit each. With neighbours, none of the bits in which they differ
// might count.
func (g *stage) everyQueue(t *testing.T) {
	g.mustServe(t)
	served := map[int]bool{}
	h := g.client.Netlink()
	peer, err := h.LinkByName("peer0")
	must(t, err)
	server := &net.IPNet{IP: net.ParseIP(serverAddress), Mask: net.CIDRMask(32, 32)}
	for bit := 2; bit < 16; bit++ {
		from := fmt.Sprintf("198.18.%d.%d", 1<<bit>>8, 1<<bit&0xff|2)
		must(t, h.AddrAdd(peer, address(t, from)))
		must(t, h.RouteReplace(&netlink.Route{LinkIndex: peer.Attrs().Index, Dst: server, Src: net.ParseIP(from)}))
		before := g.server.Metrics(t)
		sent, got := g.start(t, g.server, "1", time.Second).end(t, false)
		whole(t, 1, sent, got)
		grown := g.server.Metrics(t).Sub(before)
		last := 0
		for queue := range g.queues {
			labels := fmt.Sprintf(`{interface="nic0",queue="%d"}`, queue)
			in, out := grown[queueReceived+labels], grown[queueSent+labels]
			if in >= 50 && out >= 50 {
				t.Logf("a client at %s: queue %d received %g frames and sent %g", from, queue, in, out)
				served[queue], last = true, queue
			}
		}
		if len(served) == g.queues && last == g.queues-1 {
			return
		}
	}
	t.Errorf("the queues %v had clients, want all %d, and the last one at the end", served, g.queues)
}

// whole demands that a flow lost and damaged nothing, on either way.
func whole(t *testing.T, viewers int, sent published, got watched) {
	t.Helper()
	if sent.VideoPackets == 0 || sent.Unsent != 0 || sent.Feedback.Lost != 0 {
		t.Errorf("the publisher sent %d packets of which it could not send %d and %d were lost, want some, 0, 0",
			sent.VideoPackets, sent.Unsent, sent.Feedback.Lost)
	}
	s := &got.Sample
	t.Logf("the publisher sent %d packets, of which %d were lost; %d viewers got %d, %d missing, %d damaged",
		sent.VideoPackets, sent.Feedback.Lost, got.Playing, s.Packets, s.Missing, s.Damaged)
	if bad := got.All.Missing + s.Missing + s.Damaged + s.Unopened + s.Unsent; got.Playing != viewers ||
		s.Packets == 0 || bad != 0 {
		t.Errorf("%d viewers play %d packets: %d missing, %d before repair, %d damaged, %d not opened, %d lost "+
			"upstream; "+
			"want %d, some, and 0 of each", got.Playing, s.Packets, got.All.Missing, s.Missing, s.Damaged, s.Unopened,
			s.Unsent, viewers)
	}
}

// onQueues demands that no datagram of media took the kernel's way.
func onQueues(t *testing.T, grown testenv.Metrics, packets uint64) {
	t.Helper()
	sent, received := grown.Sum(queueSent), grown.Sum(queueReceived)
	if sent < float64(packets) || received == 0 {
		t.Errorf("the queues sent %g frames and received %g, want at least %d and some", sent, received, packets)
	}
	if lost := grown.Sum("ringcast_xdp_queue_lost_frames_total"); lost != 0 {
		t.Errorf("%g frames were lost at the queues, want 0", lost)
	}
	// While an address is resolved again, a few packets go through the kernel.
	if around := grown.Sum(companionSent); around > sent/100 {
		t.Errorf("%g datagrams were sent through the kernel, beside %g frames by the queues; want at most 1 %%",
			around, sent)
	}
}

// mustServe ends a scene that has no server.
func (g *stage) mustServe(t *testing.T) {
	t.Helper()
	if g.server == nil {
		t.Fatal("the server did not start")
	}
}

// mustWatch begins the long flow, if that has not begun.
func (g *stage) mustWatch(t *testing.T) {
	t.Helper()
	g.mustServe(t)
	if g.long != nil {
		return
	}
	f := g.start(t, g.server, "1", 0)
	until(t, "a viewer", func() (bool, string) {
		f.mustRun(t, f.viewers, f.got)
		return g.server.Metrics(t)[`ringcast_sessions{role="subscriber",state="connected"}`] == 1, g.server.Log()
	})
	g.long = f
}

// recovered waits until media comes in and goes out by the NIC's queues alone, each with a socket, and demands that
// sessions have lived on. The client's sockets must get what is sent. Without a queue of its own a worker sends through
// the kernel.
func (g *stage) recovered(t *testing.T, queues int, zerocopy bool) {
	t.Helper()
	var grown testenv.Metrics
	before, heard := g.server.Metrics(t), g.heard(t)
	until(t, "100 frames each way by the queues alone", func() (bool, string) {
		g.long.mustRun(t, g.long.viewers, g.long.got)
		g.long.mustRun(t, g.long.publisher, g.long.sent)
		now := g.server.Metrics(t)
		grown = now.Sub(before)
		sent, around := grown.Sum(queueSent), grown.Sum(companionSent)
		if queues < g.queues {
			sent += around
		} else if around > 0 { // an outage, or an address that is being resolved
			before, heard = now, g.heard(t)
		}
		done := sent >= 100 && grown.Sum(queueReceived) >= 100 && g.heard(t)-heard >= 100
		return done, grown.List("ringcast_xdp_", "ringcast_companion", "ringcast_port_") + g.server.Log()
	})
	t.Logf("the queues sent %g frames and received %g, the kernel's socket sent %g; the client's sockets read %d "+
		"datagrams",
		grown.Sum(queueSent), grown.Sum(queueReceived), grown.Sum(companionSent), g.heard(t)-heard)
	if n := g.server.Metrics(t)["ringcast_xdp_suspended_workers"]; int(n) != g.queues-queues {
		t.Errorf("%g workers are suspended, want %d", n, g.queues-queues)
	}
	all, without := sockets(t)
	t.Logf("sock_diag: %d sockets, %d of them go without copies", all, without)
	open := socketsOfQueue * queues
	if want := map[bool]int{true: open}[zerocopy]; all != open || without != want {
		t.Errorf("%d of %d sockets go without copies, want %d of %d", without, all, want, open)
	}
	g.live(t)
}

// heard is how many datagrams the client's sockets have read: InDatagrams of /proc/net/snmp.
func (g *stage) heard(t *testing.T) (n int) {
	t.Helper()
	must(t, g.client.Enter(func() error {
		text, err := os.ReadFile("/proc/thread-self/net/snmp")
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			if _, err := fmt.Sscanf(line, "Udp: %d", &n); err == nil {
				return nil
			}
		}
		return errors.New("no line of UDP")
	}))
	return n
}

// linkDown: the link goes away and comes back.
func (g *stage) linkDown(t *testing.T, span time.Duration) {
	g.mustWatch(t)
	nic := named(t, "nic0")
	must(t, netlink.LinkSetDown(nic))
	time.Sleep(span)
	give(t, nic)
	g.recovered(t, g.queues, true)
}

// driver is the directory of a NIC's driver in sysfs, and the device's name there.
func driver(t *testing.T, nic string) (dir, device string) {
	t.Helper()
	path, err := filepath.EvalSymlinks("/sys/class/net/" + nic + "/device")
	must(t, err)
	dir, err = filepath.EvalSymlinks(path + "/driver")
	must(t, err)
	return dir, filepath.Base(path)
}

// rebind: the driver loses the device and gets it back, as at a hot-unplug: another interface, of the same name.
func (g *stage) rebind(t *testing.T) {
	g.mustWatch(t)
	dir, device := driver(t, "nic0")
	must(t, os.WriteFile(dir+"/unbind", []byte(device), 0))
	if _, err := netlink.LinkByName("nic0"); err == nil {
		t.Fatal("nic0 is still there, want none")
	}
	must(t, os.WriteFile(dir+"/bind", []byte(device), 0))
	g.plug(t)
	g.recovered(t, g.queues, true)
}

// fewer: the NIC gets fewer queues, which the kernel lets nobody do while they have sockets.
func (g *stage) fewer(t *testing.T) {
	g.mustWatch(t)
	nic := named(t, "nic0")
	err := setChannels(nic, 1)
	t.Logf("1 channel of 2, with a socket on each: %v", err)
	if err == nil {
		t.Errorf("the kernel took a channel away from under a socket, which it did not before")
	}
	g.recovered(t, g.queues, true)
	for _, n := range []int{1, g.queues} {
		must(t, netlink.LinkSetDown(nic))
		// The server gives the queues up first, and the kernel frees them a little later.
		until(t, "channels are changed", func() (bool, string) {
			err := setChannels(nic, n)
			return err == nil, fmt.Sprint(err, "\n", g.server.Log())
		})
		give(t, nic)
		t.Logf("%d of %d channels", n, g.queues)
		g.recovered(t, n, true)
	}
}

// lesser: another NIC takes the name, and cannot do zero-copy.
func (g *stage) lesser(t *testing.T) {
	g.mustWatch(t)
	dir, device := driver(t, "nic0")
	must(t, os.WriteFile(dir+"/unbind", []byte(device), 0))
	spare := named(t, "spare0")
	must(t, netlink.LinkSetName(spare, "nic0"))
	give(t, named(t, "nic0"))
	g.recovered(t, 1, false)
	spare = named(t, "nic0")
	must(t, netlink.LinkSetDown(spare))
	take(t, spare)
	must(t, netlink.LinkSetName(spare, "spare0"))
	must(t, os.WriteFile(dir+"/bind", []byte(device), 0))
	g.plug(t)
	g.recovered(t, g.queues, true)
}

// sessions: both sessions have lived through all of that, and the server ends well.
func (g *stage) sessions(t *testing.T) {
	g.mustServe(t)
	g.mustWatch(t)
	g.live(t)
	_, got := g.long.end(t, true)
	s := &got.Sample
	t.Logf("the viewer opened %d packets, %d damaged; %d frames, %d keyframes",
		s.Packets, s.Damaged, s.Frames, s.Keyframes)
	if bad := s.Damaged + s.Unopened + s.Restarts; got.Playing != 1 || len(got.Lost) != 0 || bad != 0 {
		t.Errorf("%d play, sessions lost %v, %d packets damaged, %d not opened, %d restarts; want 1, none, 0, 0, 0",
			got.Playing, got.Lost, s.Damaged, s.Unopened, s.Restarts)
	}
	must(t, g.server.Stop())
	t.Logf("\n%s", g.server.Log())
}

// bond: a bond over the NIC is refused by the doctor, and no server is deaf on it.
func (g *stage) bond(t *testing.T) {
	// The module made a bond0.
	bond := netlink.NewLinkBond(netlink.LinkAttrs{Name: "bond1"})
	bond.Mode, bond.Miimon = netlink.BOND_MODE_ACTIVE_BACKUP, 100
	g.above(t, bond)
	d := consult(t, "bond1")
	why := reasons(d, host.Copy)
	if d.Taken() != host.Sockets || !strings.Contains(strings.Join(why, "; "), "bond1 is a bond") {
		t.Errorf("the doctor takes %q, refused %q; want %q, and a reason that says bond", d.Taken(), why, host.Sockets)
	}
	if d := consult(t, "nic0"); d.Taken() != host.Sockets {
		t.Errorf("the doctor takes %q on a port of the bond, want %q", d.Taken(), host.Sockets)
	}
	cmd := exec.Command("/bin/ringcast", "--io", "xdp", "--interface", "bond1", "--public-ip", serverAddress)
	out, err := cmd.CombinedOutput()
	t.Logf("--io xdp: %v\n%s", err, out)
	if err == nil || !strings.Contains(string(out), "bond1 is a bond") {
		t.Errorf("--io xdp ended with %v, want an error that says bond", err)
	}
	// The address alone leads to the bond. QEMU's igb makes IP fragments where it is asked for segments of UDP.
	s := serve(t, "--io", "auto", "--batching", "messages")
	m := s.Metrics(t)
	if m[`ringcast_port_info{io="udp"}`] != 1 || !strings.Contains(s.Log(), "bond1 is a bond") {
		t.Errorf("not on sockets with the reason:\n%s\n%s", m.List("ringcast_port_info"), s.Log())
	}
	sent, got := g.start(t, s, "1", 2*time.Second).end(t, false)
	whole(t, 1, sent, got)
	must(t, s.Stop())
}

// above puts an interface of software over the NIC until the test ends, and the server's address on it.
func (g *stage) above(t *testing.T, link netlink.Link) {
	t.Helper()
	nic := named(t, "nic0")
	take(t, nic)
	t.Cleanup(func() { g.plug(t) })
	must(t, netlink.LinkSetDown(nic))
	must(t, netlink.LinkAdd(link))
	t.Cleanup(func() { must(t, netlink.LinkDel(link)) })
	switch link.Type() {
	case "bond", "team", "vrf":
		must(t, netlink.LinkSetMaster(nic, link))
	}
	must(t, netlink.LinkSetUp(nic))
	if link.Type() != "team" { // which wants a daemon to choose the port that sends
		give(t, link)
	} else {
		must(t, netlink.LinkSetUp(link))
	}
}

// stacked: the doctor's verdicts on other interfaces over the NIC.
func (g *stage) stacked(t *testing.T) {
	attrs := func(name string) netlink.LinkAttrs {
		a := netlink.NewLinkAttrs()
		a.Name, a.ParentIndex = name, named(t, "nic0").Attrs().Index
		return a
	}
	team := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Name: "team0"}, LinkType: "team"}
	for _, c := range []struct {
		link netlink.Link
		says string
	}{
		{&netlink.Vlan{LinkAttrs: attrs("nic0.5"), VlanId: 5}, "nic0.5 is a VLAN on nic0"},
		{team, "team0 is a team of ports (nic0)"},
		{
			&netlink.Macvlan{LinkAttrs: attrs("macvlan0"), Mode: netlink.MACVLAN_MODE_BRIDGE},
			"macvlan0 is a macvlan on nic0",
		},
		{newVRF(), "vrf0 is a VRF; packets come in by its members (nic0)"},
	} {
		t.Run(c.link.Type(), func(t *testing.T) {
			g.above(t, c.link)
			d := consult(t, c.link.Attrs().Name)
			if why := reasons(d, host.Copy); d.Taken() != host.Sockets ||
				!strings.Contains(strings.Join(why, "; "), c.says) {
				t.Errorf("the doctor takes %q, refused %q; want %q, %q", d.Taken(), why, host.Sockets, c.says)
			}
		})
	}
}

func newVRF() *netlink.Vrf {
	return &netlink.Vrf{LinkAttrs: netlink.LinkAttrs{Name: "vrf0"}, Table: 50}
}

// vrf: a member of a VRF is as good as any interface.
func (g *stage) vrf(t *testing.T) {
	for _, name := range []string{"tcp_l3mdev_accept", "udp_l3mdev_accept"} {
		must(t, os.WriteFile("/proc/sys/net/ipv4/"+name, []byte("1"), 0))
	}
	vrf := newVRF()
	must(t, netlink.LinkAdd(vrf))
	t.Cleanup(func() { must(t, netlink.LinkDel(vrf)) })
	must(t, netlink.LinkSetUp(vrf))
	nic := named(t, "nic0")
	must(t, netlink.LinkSetMaster(nic, vrf))
	give(t, nic)
	if d := consult(t, "nic0"); d.Taken() != host.ZeroCopy {
		t.Errorf("the doctor takes %q, want %q", d.Taken(), host.ZeroCopy)
	}
	s := serve(t, "--io", "xdp", "--interface", "nic0")
	before := s.Metrics(t)
	sent, got := g.start(t, s, "1", 5*time.Second).end(t, false)
	whole(t, 1, sent, got)
	grown := s.Metrics(t).Sub(before)
	t.Logf("the server's counts:\n%s", grown.List("ringcast_xdp_", "ringcast_companion", "ringcast_port_"))
	onQueues(t, grown, got.All.Packets)
	must(t, s.Stop())
}
