package host

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// A driver takes these bytes off a page where an XDP program needs packets in one piece. They are 256 of headroom, 320
// for struct skb_shared_info at the page's end, and the headers and checksum around the IP packet. A page of 4,096
// bytes leaves an MTU of 3,498 or 3,506. Our program accepts packets in several pieces, where kernel and driver hand
// them over (pieces).
const (
	enaOverhead    = 256 + 320 + 14 + 4 + 4 // Ethernet, VLAN tag, checksum: ENA_XDP_MAX_MTU in ena_netdev.h
	vethOverhead   = 256 + 320 + 14         // Ethernet: veth_xdp_set in drivers/net/veth.c; of the peer's MTU
	virtioOverhead = 256 + 320 + 14         // Ethernet: virtnet_xdp_set in drivers/net/virtio_net.c
)

// With zerocopy a packet has to fit one chunk of packet memory. XDP's headroom leaves 3,840 bytes of it, which igb, igc
// and ixgbe round down to 3,072 (SRRCTL.BSIZEPKT counts in KB). Ethernet, VLAN tag and checksum surround the IP packet.
// ENA's own limit is the chunk, too.
const (
	chunk       = 4096
	zeroCopyMTU = 3072 - 14 - 4 - 4
)

// enaMaxPage is the largest page that ENA uses (ENA_PAGE_SIZE).
const enaMaxPage = 16 << 10

// enaMaxRing is the largest send ring with which ENA's zerocopy works.
const enaMaxRing = 1024

// checkDriver checks the rules that the driver is known to have, or reports. Further rules show when the program is
// attached.
func (d *Decision) checkDriver(n *NIC, k *Kernel) {
	before := len(d.Refused)
	onePiece := zeroCopyMTU
	switch n.Driver {
	case "ena":
		onePiece = chunk - enaOverhead
		d.checkENA(n, k)
	case "veth":
		d.checkPeer(n, k)
	case "hv_netvsc":
		d.note("accelerated networking must stay off for %s: XDP would run on its VF, too, and AF_XDP would get "+
			"none of those packets", n.Name)
	case "virtio_net":
		d.limitMTU(n, k, k.PageSize-virtioOverhead, "")
		d.note("if the driver refuses XDP: `ethtool -K %s gro off lro off` stops the merging of packets that the "+
			"host may have begun", n.Name)
	}
	if len(d.Refused) > before {
		return // some drivers offer fewer features while one of their rules is broken
	}
	name := cmp.Or(strings.TrimSpace(n.Driver+" "+n.Version), "unknown")
	if n.Features != nil && !n.Features.native() {
		d.refuse(native, FactFeatures, "name a physical interface; --generic runs AF_XDP on the kernel's generic "+
			"XDP, to try it",
			"the driver (%s) has no XDP that redirects", name)
	} else if !n.zeroCopy() {
		remedy := "packets are copied once more"
		if n.Driver == "ena" {
			remedy = "Amazon's own driver can from 2.13 on; until then packets are copied once more"
		}
		d.refuse(onlyZeroCopy, FactFeatures, remedy, "the driver (%s) has no zerocopy", name)
	} else if n.MTU > onePiece {
		d.refuse(onlyZeroCopy, FactMTU, setMTU(n.Name, onePiece)+"; until then packets are copied once more",
			"MTU %d is too large for zerocopy, which wants packets in one piece", n.MTU)
	}
}

// zeroCopy reports whether the driver may support zerocopy. Before Linux 6.3 the kernel does not report it. For drivers
// that are not known here, only an attempt will show it.
func (n *NIC) zeroCopy() bool {
	if n.Features != nil {
		return n.Features.ZeroCopy
	}
	switch n.Driver {
	case "veth", "virtio_net": // where virtio_net can, the kernel is new enough to report it
		return false
	case "ena":
		return amazons(n.Version, 2, 13)
	}
	return true
}

// pieces reports whether the driver hands packets over in several pieces. Then any MTU is allowed.
func (n *NIC) pieces(k *Kernel) bool {
	switch n.Driver {
	case "veth":
		return k.Frags
	case "virtio_net":
		return k.Frags && n.Features != nil // both are from Linux 6.3 there
	case "ena":
		return k.Frags && amazons(n.Version, 2, 14)
	}
	return false
}

// limitMTU refuses an MTU that is too large for packets in one piece, if the driver supports no others. remedy is added
// to the command that lowers the MTU.
func (d *Decision) limitMTU(n *NIC, k *Kernel, limit int, remedy string) {
	if n.MTU > limit && !n.pieces(k) {
		d.refuse(native, FactMTU, setMTU(n.Name, limit)+remedy, "MTU %d is too large for XDP on %s", n.MTU, n.Driver)
	}
}

// setMTU returns the command that lowers an MTU.
func setMTU(name string, limit int) string {
	return fmt.Sprintf("`ip link set dev %s mtu 1500`, at most %d", name, limit)
}

// checkENA applies the rules of Amazon's Elastic Network Adapter. An XDP program needs one more send queue for each
// receive queue, within the same maximum.
func (d *Decision) checkENA(n *NIC, k *Kernel) {
	limit, remedy := min(k.PageSize, enaMaxPage)-enaOverhead, ""
	if k.Frags {
		remedy = ", or Amazon's own driver from 2.14 on"
	}
	d.limitMTU(n, k, limit, remedy)
	if n.MTU > limit && n.pieces(k) {
		d.note("if the driver refuses XDP for the MTU of %d: it was built without XDP in several pieces, and "+
			"accepts at most %d", n.MTU, limit)
	}
	if q := n.Queues; q.MaxRX > 0 && 2*q.RX > q.MaxRX && !amazons(n.Version, 2, 17) {
		remedy := fmt.Sprintf("`ethtool -L %s combined %d`", n.Name, q.MaxRX/2)
		if q.MaxRX < 2 {
			remedy = "an instance type with more queues"
		}
		d.refuse(native, FactQueues, remedy, "%d of %d channels are in use, XDP on ena takes at most half", q.RX,
			q.MaxRX)
	}
	if n.Rings.TX > enaMaxRing {
		d.refuse(onlyZeroCopy, FactRings, fmt.Sprintf("`ethtool -G %s tx %d`", n.Name, enaMaxRing),
			"a send ring of %d is too large for zerocopy on ena", n.Rings.TX)
	}
}

// checkPeer checks the other end of a veth, where it can be seen. The driver offers XDP unless the peer sends on more
// queues than this end receives on.
func (d *Decision) checkPeer(n *NIC, k *Kernel) {
	limit := k.PageSize - vethOverhead
	name, sends := "its peer", "more"
	if n.Peer != nil {
		name, sends = name+" "+n.Peer.Name, strconv.Itoa(n.Peer.TX)
	}
	if n.Peer != nil && n.Peer.MTU > limit && !n.pieces(k) {
		d.refuse(native, FactPeer, setMTU(n.Peer.Name, limit),
			"MTU %d of %s is too large for XDP on veth", n.Peer.MTU, name)
	}
	if n.Peer != nil && n.Peer.TX > n.Queues.RX || n.Features != nil && !n.Features.native() {
		d.refuse(native, FactPeer, "make the pair again with as many queues at both ends (numrxqueues, numtxqueues)",
			"%s receives on %s and %s sends on %s", n.Name, count(n.Queues.RX, "queue"), name, sends)
	}
}

// amazons reports whether a version of ena is one of Amazon's own driver, which ends in g, and at least the given one.
// The driver in the kernel has the kernel's version.
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
