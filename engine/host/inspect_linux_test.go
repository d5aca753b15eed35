package host

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ringcast/testenv"
	"ringcast/testenv/lab"
)

// attachTo attaches a program that passes everything, in a mode and loaded with flags.
func attachTo(index int, mode link.XDPAttachFlags, flags uint32) (link.Link, error) {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "MIT", Name: "passes_all", Flags: flags,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}, // XDP_PASS
	})
	if err != nil {
		return nil, err
	}
	defer program.Close()
	return link.AttachXDP(link.XDPOptions{Program: program, Interface: index, Flags: mode})
}

// An inspection of one interface, with nothing attached and with each kind of program.
type inspection struct{ Bare, Native, Generic Report }

var inspect = lab.Register("inspect", func(_ context.Context, name string, _ func()) (i inspection, err error) {
	i.Bare = Inspect(name)
	device, err := net.InterfaceByName(name)
	if err != nil {
		return i, err
	}
	for _, mode := range []struct {
		flags  link.XDPAttachFlags
		report *Report
	}{{link.XDPDriverMode, &i.Native}, {link.XDPGenericMode, &i.Generic}} {
		attached, err := attachTo(device.Index, mode.flags, 0)
		if err != nil {
			return i, err
		}
		*mode.report = Inspect(name)
		if err := attached.Close(); err != nil {
			return i, err
		}
	}
	return i, nil
})

// learnGateway sends a datagram. Once it has arrived, the server knows the MAC address of one gateway.
func learnGateway(t *testing.T, server, client *lab.Host) {
	t.Helper()
	there, err := client.ListenUDP(netip.AddrPortFrom(client.IPv4(), 9))
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	here, err := server.Dial(t.Context(), "udp", there.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	if _, err := here.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	_ = there.SetReadDeadline(time.Now().Add(time.Minute))
	if _, _, err := there.ReadFromUDPAddrPort(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

func TestInspect(t *testing.T) {
	testenv.Need(t, testenv.NetworkNamespaces, testenv.XDP)
	server, client := testenv.Pair(t, lab.Link{Queues: 3, MTU: 1400})
	learnGateway(t, server, client)
	i, err := inspect.Run(t.Context(), server, "eth0")
	if err != nil {
		t.Fatal(err)
	}
	device, peer := server.Device("eth0"), client.Device("eth0")
	n := i.Bare.NIC
	if n == nil || i.Bare.Failure != "" {
		t.Fatalf("%+v", i.Bare)
	}
	if n.Driver != "veth" || n.Version == "" || !n.Up || !n.Carrier || n.Loopback || n.MTU != 1400 ||
		n.MAC != device.MAC.String() {
		t.Errorf("%+v", n)
	}
	if want := (Queues{3, 3, 3, 3}); n.Queues != want || n.Rings != (Rings{}) {
		t.Errorf("queues %+v, rings %+v", n.Queues, n.Rings)
	}
	if f := n.Features; f == nil || !f.native() || f.ZeroCopy {
		t.Errorf("features %s", f)
	}
	for _, p := range device.Addrs {
		if !slices.Contains(n.Addresses, p) {
			t.Errorf("%s is not among %s", p, n.Addresses)
		}
	}
	if n.Peer != nil {
		t.Errorf("a peer in another namespace: %+v", n.Peer)
	}
	if g := n.Gateways; len(g) != 2 || g[0].Address != client.IPv4() || !g[0].Resolved() ||
		g[0].MAC != peer.MAC.String() ||
		g[1].Address != client.IPv6() || g[1].Resolved() {
		t.Errorf("gateways %+v", g)
	}
	if names := names(i.Bare.Links); !slices.Equal(names, []string{"lo", "eth0"}) || !i.Bare.Links[0].Loopback {
		t.Errorf("links %+v", i.Bare.Links)
	}
	if k := i.Bare.Kernel; k.Release == "" || k.NoAFXDP != "" || k.NoBPF != "" {
		t.Errorf("kernel %+v", k)
	}

	if p := i.Bare.NIC.Program; p != nil {
		t.Errorf("nobody's program: %+v", p)
	}
	for mode, r := range map[string]Report{"native": i.Native, "generic": i.Generic} {
		p := r.NIC.Program
		if p == nil || p.ID == 0 || p.Mode != mode ||
			slices.Contains(r.Process.Capabilities, sysAdmin) && p.Name != "passes_all" {
			t.Errorf("%s program: %+v", mode, p)
		}
		if d := Choose(with(func(c *Config) { c.Generic = true }), "eth0",
			r); d.Taken() != Sockets || d.refusal(Generic).Fact != FactProgram {
			t.Errorf("%s program: %s, %v", mode, d.Taken(), d.Refused)
		}
	}
}

// A pair is a veth with both ends on one host.
type pair struct {
	RX, PeerTX int
	PeerMTU    int
	Down       bool
	OnePiece   bool // as before Linux 5.18, where programs want packets so
}

// A verdict compares Choose with the kernel, for a pair of interfaces.
type verdict struct {
	Refused []Refusal
	Kernel  string // why it attached no program natively
}

var judge = lab.Register("judge", func(_ context.Context, p pair, _ func()) (v verdict, err error) {
	veth := netlink.NewVeth(netlink.NewLinkAttrs())
	veth.Name, veth.PeerName = "v0", "v1"
	veth.NumRxQueues, veth.NumTxQueues = p.RX, 1
	veth.PeerNumRxQueues, veth.PeerNumTxQueues = 1, uint32(p.PeerTX)
	veth.PeerMTU = uint32(p.PeerMTU)
	if err := netlink.LinkAdd(veth); err != nil {
		return v, fmt.Errorf("make a pair: %w", err)
	}
	defer netlink.LinkDel(veth)
	ends := []string{"v0", "v1"}
	if p.Down {
		ends = nil
	}
	for _, name := range ends {
		end, err := netlink.LinkByName(name)
		if err != nil {
			return v, err
		}
		if err := netlink.LinkSetUp(end); err != nil {
			return v, err
		}
	}
	s := Look(with(func(c *Config) { c.Interfaces = []string{"v0"} }))[0]
	r, d := s.Report, s.Decision
	if p.OnePiece {
		r.Kernel.Frags = false
		d = Choose(DefaultConfig(), "v0", r)
	}
	if r.NIC == nil || r.NIC.Peer == nil || r.NIC.Peer.MTU != p.PeerMTU || r.NIC.Peer.TX != p.PeerTX ||
		r.NIC.Queues.RX != p.RX {
		return v, fmt.Errorf("inspected %+v, peer %+v", r.NIC, r.NIC.Peer)
	}
	v.Refused = slices.DeleteFunc(d.Refused, func(r Refusal) bool { return !slices.Contains(r.Rungs, Copy) })
	device, err := net.InterfaceByName("v0")
	if err != nil {
		return v, err
	}
	var flags uint32
	if r.Kernel.Frags {
		flags = unix.BPF_F_XDP_HAS_FRAGS
	}
	attached, err := attachTo(device.Index, link.XDPDriverMode, flags)
	if err != nil {
		v.Kernel = err.Error()
		return v, nil
	}
	return v, attached.Close()
})

// Choose refuses exactly the interfaces that the kernel refuses.
func TestChooseAgreesWithKernel(t *testing.T) {
	testenv.Need(t, testenv.NetworkNamespaces, testenv.XDP)
	h, err := testenv.NewLab(t).AddHost("host")
	if err != nil {
		t.Fatal(err)
	}
	most := os.Getpagesize() - vethOverhead
	onePiece := 1 // refusal, where this kernel has no other
	if inspectKernel().Frags {
		onePiece = 0
	}
	for _, row := range []struct {
		pair
		facts []Fact
		takes bool // the kernel
	}{
		{pair{RX: 1, PeerTX: 1, PeerMTU: 1500}, nil, true},
		{pair{RX: 2, PeerTX: 1, PeerMTU: 1500}, nil, true},
		{pair{RX: 1, PeerTX: 2, PeerMTU: 1500}, []Fact{FactPeer}, false},
		{pair{RX: 1, PeerTX: 1, PeerMTU: most, OnePiece: true}, nil, true},
		{pair{RX: 1, PeerTX: 1, PeerMTU: most + 1, OnePiece: true}, []Fact{FactPeer}, false},
		{pair{RX: 1, PeerTX: 2, PeerMTU: most + 5000, OnePiece: true}, []Fact{FactPeer, FactPeer}, false},
		{pair{RX: 1, PeerTX: 1, PeerMTU: most + 1}, []Fact{FactPeer}[:onePiece], onePiece == 0},
		{pair{RX: 1, PeerTX: 1, PeerMTU: 65535}, []Fact{FactPeer}[:onePiece], onePiece == 0},
		// A program can be attached to an interface that is down, but no socket can be bound.
		{pair{RX: 1, PeerTX: 1, PeerMTU: 1500, Down: true}, []Fact{FactLink}, true},
	} {
		v, err := judge.Run(t.Context(), h, row.pair)
		if err != nil {
			t.Errorf("%+v: %v", row.pair, err)
			continue
		}
		var facts []Fact
		for _, r := range v.Refused {
			facts = append(facts, r.Fact)
		}
		if !slices.Equal(facts, row.facts) || row.takes != (v.Kernel == "") {
			t.Errorf("%+v: refused %v, the kernel says %q", row.pair, v.Refused, v.Kernel)
		}
	}
}
