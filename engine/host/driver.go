package host

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// What drivers take off a page for the largest MTU with an XDP program that wants packets in one piece:
// 256 bytes of headroom, 320 for struct skb_shared_info at the page's end, and what comes around the IP
// packet. Of pages of 4,096 bytes this leaves 3,498 and 3,506.
const (
	enaOverhead    = 256 + 320 + 14 + 4 + 4 // Ethernet, VLAN tag, checksum: ENA_XDP_MAX_MTU in ena_netdev.h
	vethOverhead   = 256 + 320 + 14         // Ethernet: veth_xdp_set in drivers/net/veth.c; of the peer's MTU
	virtioOverhead = 256 + 320 + 14         // Ethernet: virtnet_xdp_set in drivers/net/virtio_net.c
)

// enaMaxPage is the largest page that ENA uses (ENA_PAGE_SIZE).
const enaMaxPage = 16 << 10

// enaMaxRing is the largest send ring with which ENA's zerocopy works.
const enaMaxRing = 1024

// checkDriver looks at what the driver is known, or tells, to ask for. What it asks for beyond that
// shows when the program is attached.
func (d *Decision) checkDriver(n *NIC, page int) {
	before := len(d.Refused)
	switch n.Driver {
	case "ena":
		d.checkENA(n, min(page, enaMaxPage))
	case "veth":
		d.checkPeer(n, page-vethOverhead)
	case "hv_netvsc":
		d.note("accelerated networking must stay off for %s: XDP would run on its VF, too, and AF_XDP would get none of those packets", n.Name)
	case "virtio_net":
		d.limitMTU(n, page-virtioOverhead)
		d.note("should the driver refuse XDP: `ethtool -K %s gro off lro off` takes off what the host may have to merge packets", n.Name)
	}
	if len(d.Refused) > before {
		return // some drivers offer less while a rule of theirs is broken
	}
	name := cmp.Or(strings.TrimSpace(n.Driver+" "+n.Version), "unknown")
	if n.Features != nil && !n.Features.native() {
		d.refuse(native, FactFeatures, "name a physical interface; --generic runs AF_XDP on the kernel's generic XDP, to try it out",
			"the driver (%s) has no XDP that redirects", name)
	} else if !n.zeroCopy() {
		remedy := "packets are copied once more"
		if n.Driver == "ena" {
			remedy = "Amazon's own driver can from 2.13 on; until then packets are copied once more"
		}
		d.refuse(onlyZeroCopy, FactFeatures, remedy, "the driver (%s) has no zerocopy", name)
	}
}

// zeroCopy tells whether the driver may be able to, by what the kernel says; before Linux 6.3 that is
// nothing, and of drivers that are not known here trying tells.
func (n *NIC) zeroCopy() bool {
	if n.Features != nil {
		return n.Features.ZeroCopy
	}
	switch n.Driver {
	case "veth", "virtio_net": // where the latter can, the kernel is new enough to say so
		return false
	case "ena":
		return amazons(n.Version, 2, 13)
	}
	return true
}

func (d *Decision) limitMTU(n *NIC, limit int) {
	if n.MTU > limit {
		d.refuse(native, FactMTU, fmt.Sprintf("`ip link set dev %s mtu 1500`, at most %d", n.Name, limit),
			"MTU %d is too large for XDP on %s", n.MTU, n.Driver)
	}
}

// checkENA knows the rules of Amazon's Elastic Network Adapter. An XDP program takes a send queue for
// each receive queue out of the same maximum.
func (d *Decision) checkENA(n *NIC, page int) {
	d.limitMTU(n, page-enaOverhead)
	if q := n.Queues; q.MaxRX > 0 && 2*q.RX > q.MaxRX && !amazons(n.Version, 2, 17) {
		remedy := fmt.Sprintf("`ethtool -L %s combined %d`", n.Name, q.MaxRX/2)
		if q.MaxRX < 2 {
			remedy = "an instance type with more queues"
		}
		d.refuse(native, FactQueues, remedy, "%d of %d channels are in use, XDP on ena takes at most half", q.RX, q.MaxRX)
	}
	if n.Rings.TX > enaMaxRing {
		d.refuse(onlyZeroCopy, FactRings, fmt.Sprintf("`ethtool -G %s tx %d`", n.Name, enaMaxRing),
			"a send ring of %d is too large for zerocopy on ena", n.Rings.TX)
	}
}

// checkPeer looks at a veth's other end, where it can be seen. The driver offers XDP unless the peer sends
// on more queues than this end receives on.
func (d *Decision) checkPeer(n *NIC, maxMTU int) {
	name, sends := "its peer", "more"
	if n.Peer != nil {
		name, sends = name+" "+n.Peer.Name, strconv.Itoa(n.Peer.TX)
	}
	if n.Peer != nil && n.Peer.MTU > maxMTU {
		d.refuse(native, FactPeer, fmt.Sprintf("`ip link set dev %s mtu 1500`, at most %d", n.Peer.Name, maxMTU),
			"MTU %d of %s is too large for XDP on veth", n.Peer.MTU, name)
	}
	if n.Peer != nil && n.Peer.TX > n.Queues.RX || n.Features != nil && !n.Features.native() {
		d.refuse(native, FactPeer, "make the pair anew with as many queues at both ends (numrxqueues, numtxqueues)",
			"%s receives on %s and %s sends on %s", n.Name, count(n.Queues.RX, "queue"), name, sends)
	}
}

// amazons tells whether a version of ena is that of Amazon's own driver, which ends in g, and at least
// as given. The one in the kernel has the kernel's version.
func amazons(version string, major, minor int) bool {
	numbers, own := strings.CutSuffix(version, "g")
	parts := strings.Split(numbers, ".")
	if !own || len(parts) < 2 {
		return false
	}
	a, err := strconv.Atoi(parts[0])
	if err != nil {
		return false
	}
	b, err := strconv.Atoi(parts[1])
	return err == nil && (a > major || a == major && b >= minor)
}
