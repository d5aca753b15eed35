package xdp

import (
	"fmt"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"ringcast/testenv"
	"ringcast/testenv/lab"
	"ringcast/xsk"
)

// slots finds the map of sockets of the XDP program on a host's interface.
func slots(h *lab.Host, device string) (*ebpf.Map, error) {
	dev, err := h.Netlink().LinkByName(device)
	if err != nil {
		return nil, err
	}
	if dev.Attrs().Xdp == nil || dev.Attrs().Xdp.ProgId == 0 {
		return nil, fmt.Errorf("no XDP program on %s", device)
	}
	program, err := ebpf.NewProgramFromID(ebpf.ProgramID(dev.Attrs().Xdp.ProgId))
	if err != nil {
		return nil, err
	}
	defer program.Close()
	info, err := program.Info()
	if err != nil {
		return nil, err
	}
	ids, _ := info.MapIDs()
	for _, id := range ids {
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			return nil, err
		}
		if m.Type() == ebpf.XSKMap {
			return m, nil
		}
		m.Close()
	}
	return nil, fmt.Errorf("the XDP program on %s has no map of sockets", device)
}

// deafSpan and lookEvery are how long deafness lasts before it is believed, and the time between two looks at it.
const (
	deafSpan  = 2 * time.Second
	lookEvery = 500 * time.Millisecond
)

// A bond runs the program on the queues of its members, and our sockets are the bond's: the kernel drops each packet
// and tells nobody. Here sockets of another interface make it so.
func TestDeaf(t *testing.T) {
	g, _, client := pair(t)
	flows := g.flows(client, g.here.IPv4(), client.IPv4())
	must(t, g.here.Netlink().LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "other0", NumRxQueues: 1, NumTxQueues: 1}, PeerName: "other1",
	}))
	for _, name := range []string{"other0", "other1"} {
		dev, err := g.here.Netlink().LinkByName(name)
		must(t, err)
		must(t, g.here.Netlink().LinkSetUp(dev))
	}
	dev, err := g.here.Netlink().LinkByName("other0")
	must(t, err)
	var stranger *xsk.Bundle
	queue := xsk.DefaultBundleConfig(xsk.Copy)
	queue.Interface, queue.Queues = dev.Attrs().Index, []int{0}
	must(t, g.here.Enter(func() (err error) {
		stranger, err = xsk.Open(queue)
		return err
	}))
	t.Cleanup(func() { must(t, stranger.Close()) })
	m, err := slots(g.here, "eth0")
	must(t, err)
	defer m.Close()

	const found = deafSpan + lookEvery*4
	g.measure("every queue is deaf", flows, found+mend, func() {
		for i := range m.MaxEntries() {
			must(t, m.Put(i, uint32(stranger.Entries()[0].FD)))
		}
		until(t, "deafness is found", func() bool { return g.server.Metrics(t)["ringcast_xdp_deaf_total"] == 1 })
	})
	before := g.server.Metrics(t)
	for _, f := range flows {
		f.view.flows(t, f.feed)
	}
	if grown := g.server.Metrics(t).Sub(before); grown.Sum("ringcast_xdp_queue_") > 0 {
		t.Errorf("queues are in use though they are deaf:\n%s", grown.List("ringcast_xdp_queue_"))
	}
	if got := g.server.Metrics(t)[`ringcast_xdp_interface_info{interface="eth0",io="udp"}`]; got != 1 {
		t.Errorf("the interface is not told to be on sockets:\n%s",
			g.server.Metrics(t).List("ringcast_xdp_interface_info"))
	}
}

// A frame may be longer than any that a socket has room for, though its datagram is not: the kernel drops it, and says
// so. A sender of nothing else must not make the interface look deaf.
func TestTooLongForSockets(t *testing.T) {
	testenv.Need(t, testenv.XDPFrags)
	g, cable, client := pairOf(t, lab.Link{Queues: 2, MTU: 9000}, func(binary string) *exec.Cmd {
		return exec.Command(binary, "--io", "xdp", "--interface", "eth0", "--guard", "off")
	})
	frame := append(forgedFrame(flood{
		Source: [6]byte(cable.B.MAC), Target: [6]byte(cable.A.MAC),
		From: netip.AddrPortFrom(client.IPv4(), 9), To: netip.AddrPortFrom(g.here.IPv4(), 7000),
	}, forgedMedia()), make([]byte, 4000)...)
	for range 3 * (deafSpan + lookEvery) / lookEvery {
		for range 5 {
			must(t, client.Enter(func() error { return cast(cable.B.Index, frame) }))
			let(t, lookEvery/5)
		}
	}
	m := g.server.Metrics(t)
	if m[`ringcast_xdp_packets_total{reason="redirect_unguarded"}`] == 0 ||
		m.Sum("ringcast_xdp_queue_received_frames_total") > 0 {
		t.Errorf("got other than frames which the program hands over and no queue receives:\n%s",
			m.List("ringcast_xdp_packets", "ringcast_xdp_queue"))
	}
	if n := m["ringcast_xdp_outages_total"]; n > 0 {
		t.Errorf("%v outages, want none:\n%s", n, m.List("ringcast_xdp_deaf", "ringcast_xdp_queue_lost"))
	}
}
