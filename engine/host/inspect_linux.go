package host

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Inspect reports on this machine and the named interface. Without a name, or with one that no interface has, it
// reports on the machine and lists the interfaces.
func Inspect(name string) Report {
	r := Report{OS: "linux", Kernel: inspectKernel(), Process: inspectProcess(), Links: []Link{}}
	if err := r.inspectLinks(name); err != nil {
		r.Failure = err.Error()
	}
	return r
}

func (r *Report) inspectLinks(name string) error {
	// A handle of our own: the package's shared one opens sockets in the namespace of the calling thread.
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	addresses, err := h.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	r.Links = describeAll(links, addresses)
	for i, link := range links {
		if r.Links[i].Name != name {
			continue
		}
		r.NIC = &NIC{Link: r.Links[i], Gateways: []Gateway{}}
		if err := r.NIC.inspect(h, link, links); err != nil {
			return fmt.Errorf("inspect %s: %w", name, err)
		}
	}
	return nil
}

// describeAll sorts the kernel's links and describes each.
func describeAll(links []netlink.Link, addresses []netlink.Addr) []Link {
	slices.SortFunc(links, func(a, b netlink.Link) int { return cmp.Compare(a.Attrs().Index, b.Attrs().Index) })
	all := make([]Link, len(links))
	for i, link := range links {
		all[i] = describe(link, addresses)
		all[i].stack(link, links)
	}
	return all
}

// CountQueues counts the queues of an interface that both receive and send now. Where the driver answers, it takes
// microseconds, so it may be called often.
func CountQueues(name string) (int, error) {
	var q Queues
	if err := q.askDriver(name); err != nil {
		return 0, err
	}
	if q != (Queues{}) {
		return min(q.RX, q.TX), nil
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return 0, fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	link, err := h.LinkByName(name)
	if err != nil {
		return 0, fmt.Errorf("look up %s: %w", name, err)
	}
	return min(link.Attrs().NumRxQueues, link.Attrs().NumTxQueues), nil
}

func describe(link netlink.Link, addresses []netlink.Addr) Link {
	a := link.Attrs()
	l := Link{
		Name: a.Name, Loopback: a.Flags&net.FlagLoopback != 0, Up: a.Flags&net.FlagUp != 0,
		Carrier: a.RawFlags&unix.IFF_LOWER_UP != 0, MAC: a.HardwareAddr.String(), MTU: a.MTU,
		Addresses: []netip.Prefix{},
	}
	for _, address := range addresses {
		if address.LinkIndex != a.Index {
			continue
		}
		ones, _ := address.Mask.Size()
		if ip, ok := netip.AddrFromSlice(address.IP); ok {
			l.Addresses = append(l.Addresses, netip.PrefixFrom(ip.Unmap(), ones))
		}
	}
	return l
}

// stack fills in how the interface relates to others.
func (l *Link) stack(link netlink.Link, links []netlink.Link) {
	a := link.Attrs()
	if kind := link.Type(); kind != "device" {
		l.Kind = kind
	}
	if tun, ok := link.(*netlink.Tuntap); ok {
		l.Kind = map[netlink.TuntapMode]string{netlink.TUNTAP_MODE_TUN: "tun", netlink.TUNTAP_MODE_TAP: "tap"}[tun.Mode]
	}
	l.NoEthernet = a.EncapType != "ether" && a.EncapType != "loopback"
	for _, other := range links {
		o := other.Attrs()
		// The link of a pair is the peer. With a namespace's number, the index belongs to another namespace.
		pair := l.Kind == "veth" || l.Kind == "netkit"
		under := a.ParentIndex == o.Index && o.Index != a.Index && a.NetNsID < 0 && !pair
		if under || o.MasterIndex == a.Index {
			l.Lower = append(l.Lower, o.Name)
		}
		if a.MasterIndex == o.Index {
			l.Master = o.Name
		}
	}
}

func (n *NIC) inspect(h *netlink.Handle, link netlink.Link, links []netlink.Link) error {
	a := link.Attrs()
	n.Driver, n.Version = driver(n.Name)
	if a.Xdp != nil && a.Xdp.Attached {
		n.Program = &Program{ID: a.Xdp.ProgId, Mode: mode(a.Xdp.AttachMode), Name: programName(a.Xdp.ProgId)}
	}
	n.Queues = Queues{RX: a.NumRxQueues, TX: a.NumTxQueues}
	e, err := openEthtool()
	if err != nil {
		return err
	}
	defer e.close()
	if err := errors.Join(n.Queues.askDriver(n.Name), e.inspect(n, a.Index)); err != nil {
		return err
	}
	// The index of a veth's peer is valid only if the peer is in this namespace.
	if link.Type() == "veth" && a.NetNsID < 0 {
		if i := slices.IndexFunc(links, func(l netlink.Link) bool { return l.Attrs().Index == a.ParentIndex }); i >= 0 {
			p := links[i].Attrs()
			other := Queues{TX: p.NumTxQueues}
			if err := other.askDriver(p.Name); err != nil {
				return err
			}
			n.Peer = &Peer{Name: p.Name, MTU: p.MTU, TX: other.TX}
		}
	}
	return n.inspectGateways(h, a.Index)
}

func programName(id uint32) string {
	program, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
	if err != nil {
		return ""
	}
	defer program.Close()
	info, err := program.Info()
	if err != nil {
		return ""
	}
	return info.Name
}

// mode names a value of IFLA_XDP_ATTACHED (include/uapi/linux/if_link.h).
func mode(attached uint32) string {
	switch attached {
	case nl.XDP_ATTACHED_SKB:
		return "generic"
	case nl.XDP_ATTACHED_HW:
		return "offloaded"
	case xdpAttachedMulti:
		return "several modes"
	}
	return "native"
}

// xdpAttachedMulti is XDP_ATTACHED_MULTI, which the netlink package lacks.
const xdpAttachedMulti = 4

// driver asks by ioctl, since ethtool's netlink family has no such request. Interfaces of software may not answer.
func driver(name string) (driver, version string) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", ""
	}
	defer unix.Close(fd)
	info, err := unix.IoctlGetEthtoolDrvinfo(fd, name)
	if err != nil {
		return "", ""
	}
	return unix.ByteSliceToString(info.Driver[:]), unix.ByteSliceToString(info.Version[:])
}

// inspectGateways finds the gateways of the default routes through the interface, and the kernel's neighbour entries
// for them. It searches every routing table: policies may lead to any.
func (n *NIC) inspectGateways(h *netlink.Handle, index int) error {
	neighbours, err := h.NeighList(index, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list neighbours: %w", err)
	}
	add := func(hop net.IP) {
		address, ok := netip.AddrFromSlice(hop)
		if !ok {
			return
		}
		g := Gateway{Address: address.Unmap(), State: "none"}
		for _, entry := range neighbours {
			if entry.IP.Equal(hop) {
				g.State, g.MAC = state(entry.State), entry.HardwareAddr.String()
			}
		}
		if !slices.Contains(n.Gateways, g) {
			n.Gateways = append(n.Gateways, g)
		}
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := h.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
			continue // IPv6 is switched off
		}
		if err != nil {
			return fmt.Errorf("list routes: %w", err)
		}
		for _, route := range routes {
			if route.Dst != nil {
				if ones, _ := route.Dst.Mask.Size(); ones > 0 {
					continue
				}
			}
			if route.LinkIndex == index {
				add(route.Gw)
			}
			for _, hop := range route.MultiPath {
				if hop.LinkIndex == index {
					add(hop.Gw)
				}
			}
		}
	}
	return nil
}

// state names the state of a neighbour (include/uapi/linux/neighbour.h) as ip neigh does.
func state(bits int) string {
	for _, s := range []struct {
		bit  int
		name string
	}{
		{netlink.NUD_REACHABLE, "reachable"},
		{netlink.NUD_STALE, "stale"},
		{netlink.NUD_DELAY, "delay"},
		{netlink.NUD_PROBE, "probe"},
		{netlink.NUD_PERMANENT, "permanent"},
		{netlink.NUD_NOARP, "noarp"},
		{netlink.NUD_FAILED, "failed"},
		{netlink.NUD_INCOMPLETE, "incomplete"},
	} {
		if bits&s.bit != 0 {
			return s.name
		}
	}
	return "none"
}
