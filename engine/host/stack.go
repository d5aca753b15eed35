package host

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A stacked is a kind of software interface on which AF_XDP cannot work as it does on hardware. The arguments of the
// formats are the interface and those below it.
type stacked struct {
	rungs          []Rung // refused
	reason, remedy string
}

// remedyOutside is for interfaces whose packets pass through another interface that AF_XDP could use.
const remedyOutside = "give the UDP port an address on a network interface of its own and name that; sockets serve " +
	"on %[1]s"

// remedyWire is for interfaces that no packet of a network passes.
const remedyWire = "--interface names the one by which packets come in; the address may stay on %[1]s"

// stackedKinds has the kinds by their IFLA_INFO_KIND. Generic XDP remains where the kernel runs it on the interface
// itself. Kinds that are missing here offer XDP as hardware does (veth, tap), or the kernel reports that they have
// none.
var stackedKinds = map[string]stacked{
	// bond_xdp_set in drivers/net/bonding/bond_main.c hands the program to the ports. xsk_rcv_check in net/xdp/xsk.c
	// then drops every packet, because the queue belongs to the port and not to the bond.
	"bond": {
		native, "%[1]s is a bond: XDP runs on its ports (%[2]s), and sockets of %[1]s get none of their packets",
		remedyOutside,
	},
	// Neither has an ndo_bpf. Their packets come by the queues of their ports.
	"team":   {native, "%[1]s is a team of ports (%[2]s) and has no XDP of its own", remedyOutside},
	"bridge": {native, "%[1]s is a bridge of ports (%[2]s) and has no XDP of its own", remedyOutside},
	"openvswitch": {
		native, "%[1]s is a port inside Open vSwitch and has no XDP of its own", remedyOutside,
	},
	// XDP on the interface below gets the frames of these, but routes do not lead through it: the answers would go
	// through the kernel. It passes most frames: they are tagged, for another MAC address, or in a tunnel.
	"vlan":      {native, "%[1]s is a VLAN on %[2]s and has no XDP of its own", remedyOutside},
	"macvlan":   {native, "%[1]s is a macvlan on %[2]s and has no XDP of its own", remedyOutside},
	"ipvlan":    {native, "%[1]s is an ipvlan on %[2]s and has no XDP of its own", remedyOutside},
	"vxlan":     {native, "%[1]s is a VXLAN tunnel and has no XDP of its own", remedyOutside},
	"geneve":    {native, "%[1]s is a GENEVE tunnel and has no XDP of its own", remedyOutside},
	"gretap":    {native, "%[1]s is a GRE tunnel and has no XDP of its own", remedyOutside},
	"ip6gretap": {native, "%[1]s is a GRE tunnel and has no XDP of its own", remedyOutside},
	// Another program, which opened /dev/tapN, reads their packets.
	"macvtap": {
		allXDP, "%[1]s is a macvtap, whose packets another program reads",
		"name the interface that has the addresses",
	},
	"ipvtap": {
		allXDP, "%[1]s is an ipvtap, whose packets another program reads",
		"name the interface that has the addresses",
	},
	// No packet of a network passes these.
	"dummy": {allXDP, "%[1]s is a dummy and has no wire", remedyWire},
	"ifb":   {allXDP, "%[1]s is an ifb, which only takes detours of traffic control", remedyWire},
	"vrf":   {allXDP, "%[1]s is a VRF; packets come in by its members (%[2]s)", remedyWire},
}

// checkStack refuses interfaces that stand on others, or that belong to another. It reports whether it refused any
// rung.
func (d *Decision) checkStack(n *NIC, links []Link) bool {
	before := len(d.Refused)
	below := cmp.Or(strings.Join(n.Lower, ", "), "none")
	// Sprintf would report an unused argument in the text, so every format uses the last one.
	fill := func(format string) string { return fmt.Sprintf(format+"%[3]s", n.Name, below, "") }
	kind, known := stackedKinds[n.Kind]
	switch {
	case n.NoEthernet:
		kind = stacked{allXDP, "%[1]s carries no Ethernet frames", remedyOutside}
		if n.Kind != "" {
			kind.reason += " (" + n.Kind + ")"
		}
	case !known && len(n.Lower) > 0:
		kind = stacked{native, "%[1]s stands on %[2]s: packets come by queues of %[2]s, and sockets of %[1]s get " +
			"none of them", remedyOutside}
		// netvsc_vf_setxdp in drivers/net/hyperv/netvsc_bpf.c hands the program to the VF, too
		if n.Driver == "hv_netvsc" {
			kind.remedy = "sockets serve on %[1]s; without accelerated networking AF_XDP copies there"
		}
	}
	if kind.rungs != nil {
		d.refuse(kind.rungs, FactKind, fill(kind.remedy), "%s", fill(kind.reason))
	}
	d.checkMaster(n, links)
	return len(d.Refused) > before
}

// checkMaster refuses ports: their packets are addressed to the master, and routes lead through the master. The members
// of a VRF keep their addresses and routes.
func (d *Decision) checkMaster(n *NIC, links []Link) {
	i := slices.IndexFunc(links, func(l Link) bool { return l.Name == n.Master })
	if i < 0 || links[i].Kind == "vrf" {
		return
	}
	master, remedy := strings.TrimSpace(links[i].Kind+" "+n.Master), ""
	switch links[i].Kind {
	case "": // a VF that the kernel made a port of hv_netvsc
		remedy = "sockets serve on " + n.Master
	case "openvswitch":
		remedy = fmt.Sprintf("take %s out of Open vSwitch and give it an address; sockets serve on ports inside",
			n.Name)
	default:
		remedy = fmt.Sprintf("take %s out of %s and give it an address; sockets serve on %[2]s", n.Name, n.Master)
	}
	d.refuse(allXDP, FactMaster, remedy, "%s belongs to %s, which has the addresses and the routes", n.Name, master)
}
