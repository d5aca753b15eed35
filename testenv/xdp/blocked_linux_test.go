package xdp

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"ringcast/testenv"
	"ringcast/testenv/lab"
)

// hold makes a device keep packets from one UDP port unread, as the NIC of a peer with a stuck driver does. The packets
// are redirected to a queue that lets next to nothing out, and still count as the sender's. release drops them, unread
// too.
func hold(t *testing.T, d *lab.Device, port uint16) (release func()) {
	t.Helper()
	h := d.Host
	jam := netlink.NewVeth(netlink.NewLinkAttrs())
	jam.Name, jam.PeerName = "jam", "nowhere"
	must(t, h.Netlink().LinkAdd(jam))
	nowhere, err := h.Netlink().LinkByName("nowhere")
	must(t, err)
	must(t, h.Netlink().LinkSetUp(nowhere)) // else jam has no carrier, and no queue
	made, err := h.Netlink().LinkByName("jam")
	must(t, err)
	must(t, h.Netlink().LinkSetUp(made))
	// A packet a second, and room for all that a sender may have under way.
	must(t, h.Netlink().QdiscAdd(&netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: made.Attrs().Index, Handle: netlink.MakeHandle(1, 0),
			Parent: netlink.HANDLE_ROOT,
		},
		Rate: 1000, Buffer: netlink.Xmittime(1000, 2000), Limit: 64 << 20,
	}))
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "MIT",
		Instructions: asm.Instructions{
			asm.Mov.Reg(asm.R6, asm.R1),
			asm.LoadAbs(12, asm.Half),
			asm.JNE.Imm(asm.R0, 0x0800, "pass"), // IPv4
			asm.LoadAbs(14+20, asm.Half),
			asm.JNE.Imm(asm.R0, int32(port), "pass"),
			asm.Mov.Imm(asm.R1, int32(made.Attrs().Index)),
			asm.Mov.Imm(asm.R2, 0),
			asm.FnRedirect.Call(),
			asm.Return(),
			asm.Mov.Imm(asm.R0, -1).WithSymbol("pass"), // TCX_NEXT
			asm.Return(),
		},
	})
	must(t, err)
	var at link.Link
	must(t, h.Enter(func() (err error) {
		at, err = link.AttachTCX(link.TCXOptions{Interface: d.Index, Program: program, Attach: ebpf.AttachTCXIngress})
		return err
	}))
	return func() {
		must(t, errors.Join(at.Close(), program.Close(), h.Netlink().LinkDel(made)))
	}
}

// A peer takes nothing for two seconds: the frames fill the socket's send buffer and then the TX ring. The server burns
// no core over it and drops stale frames. When the peer takes frames again, it sends those that are new to the port.
// Packets that had no frame yet waited in the stream's history, which keeps about a second for viewers to catch up.
func TestBlockedPeer(t *testing.T) {
	g, cable, client := pair(t)
	flows := g.flows(client, g.here.IPv4(), client.IPv4())
	// Enough for the ring to fill: 250 packets a second each.
	var others []*flow
	for i := range 20 {
		view, err := g.watch(deadline(t, patience), client, client.IPv4(), g.here.IPv4(), down)
		must(t, err)
		view.flows(t, flows[0].feed)
		others = append(others, &flow{name: fmt.Sprintf("down %d", i), feed: flows[0].feed, view: view})
	}
	const span = 2 * time.Second
	var usage, took time.Duration
	var turns testenv.Metrics
	before := g.server.Metrics(t)
	g.measure("a peer that takes nothing for 2 s", append(flows, others...), span+mend, func() {
		release := hold(t, cable.B, 7000)
		metrics, start := g.server.Metrics(t), time.Now()
		begun, err := lab.ReadUsage(g.server.PID(), nil, nil)
		must(t, err)
		let(t, span)
		ended, err := lab.ReadUsage(g.server.PID(), nil, nil)
		must(t, err)
		usage = ended.Sub(begun).Process
		turns, took = g.server.Metrics(t).Sub(metrics), time.Since(start)
		release()
	})
	grown := g.server.Metrics(t).Sub(before)
	stale := grown[`ringcast_port_unsent_datagrams_total{reason="stale"}`]
	t.Logf("the server used %v in %v, dropped %v frames as stale, was answered EAGAIN %v times",
		usage.Round(time.Millisecond), span, stale,
		grown.Sum("ringcast_xdp_queue_kicks")-grown.Sum(`ringcast_xdp_queue_kicks_total{answer="ok"`))
	g.checkTurns(turns, took, 50*time.Microsecond) // one that does not wait for the ring turns in less than ten
	if stale == 0 {
		t.Error("nothing got stale: the ring was not full")
	}
	g.onQueues()
}
