package candidate

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
)

// An Address is an address that the machine has on an interface.
type Address struct {
	Addr netip.Addr
	// Network is the network that the interface reaches by the address without a router.
	Network netip.Prefix
	// Link is the interface's name.
	Link   string
	Traits Traits
}

// Traits are properties of an address and its interface, as the kernel reports them.
type Traits uint8

const (
	// Down: the interface was switched off.
	Down Traits = 1 << iota
	// Silent: the interface has no carrier. The carrier may be back soon: drivers reset a NIC for AF_XDP.
	Silent
	// Tentative: another host may have the address, or is known to have it (RFC 4862 section 5.4).
	Tentative
	// Deprecated: new communication should not use the address (RFC 4862 section 5.5.4).
	Deprecated
	// Temporary: a privacy address, which changes each day or so (RFC 8981).
	Temporary
	// Loopback: the interface is a loopback.
	Loopback
	// Inner: the interface is a bridge that joins only containers and virtual machines. It leads to no network, neither
	// by a port nor by the default route.
	Inner
	// PointToPoint: the link has one peer, as tunnels and modems have.
	PointToPoint
)

func (t Traits) has(some Traits) bool { return t&some != 0 }

// A set holds all addresses at one moment.
type set struct {
	// fixed are the operator's, in the operator's order. They replace all others.
	fixed []netip.Addr
	// own are all addresses of the machine: a peer that signals from one of them is on the machine.
	own []netip.Addr
	// open are for any peer, confined for peers of the same network.
	open, confined []Address
}

// deprecatedSites is the network of site-local addresses (RFC 3879).
var deprecatedSites = netip.MustParsePrefix("fec0::/10")

// choose sorts the interfaces' addresses. only4 is set where the UDP port has no IPv6.
func choose(all []Address, only4 bool) (s set) {
	var usable []Address
	for _, a := range all {
		addr := a.Addr
		s.own = append(s.own, addr)
		switch {
		case a.Traits.has(Down | Tentative): // it does not answer
		case addr.Is6() && addr.IsLinkLocalUnicast(): // a candidate cannot carry the required zone
		case !addr.IsValid() || addr.IsUnspecified() || addr.IsMulticast():
		case deprecatedSites.Contains(addr): // RFC 8445 section 5.1.1.1
		case only4 && addr.Is6():
		default:
			usable = append(usable, a)
		}
	}
	if !slices.ContainsFunc(usable, func(a Address) bool { return !a.confined() }) {
		// A bridge is the machine's only network: the host is a container with a bridge inside.
		for i := range usable {
			usable[i].Traits &^= Inner
		}
	}
	for _, a := range usable {
		switch {
		case slices.ContainsFunc(usable, func(b Address) bool { return b.replaces(a) }):
		case a.confined():
			s.confined = append(s.confined, a)
		default:
			s.open = append(s.open, a)
		}
	}
	return s
}

// replaces reports whether b is useless beside a. RFC 8445 section 5.1.1.1 puts temporary addresses first, for the
// privacy of people who move. A server should be found, and sessions outlive the day.
func (a Address) replaces(b Address) bool {
	switch {
	case a.Addr.Is4() != b.Addr.Is4() || private(a.Addr) != private(b.Addr) || a.confined() != b.confined():
		return false
	case b.Traits.has(Deprecated):
		return !a.Traits.has(Deprecated)
	case b.Traits.has(Temporary):
		return !a.Traits.has(Temporary|Deprecated) && a.Link == b.Link && a.Network == b.Network
	}
	return false
}

// confined reports whether only peers of the same network can reach the address. A bridge that joins containers leads
// nowhere else, and the containers also reach the machine's other addresses. Public addresses on a loopback interface
// are routed to the machine, as anycast is.
func (a Address) confined() bool {
	return a.loopback() || a.Traits.has(Inner) || a.Addr.Is4() && a.Addr.IsLinkLocalUnicast()
}

func (a Address) loopback() bool {
	return a.Addr.IsLoopback() || a.Traits.has(Loopback) && private(a.Addr)
}

// carriers is the network that carriers share among their customers (RFC 6598). Some VPNs use it, too.
var carriers = netip.MustParsePrefix("100.64.0.0/10")

// private reports whether an address is valid within a site only.
func private(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsLoopback() || carriers.Contains(a)
}

// forSource lists the addresses for a peer that signals from source, the best first. The zero Addr stands for an
// unknown source, the unspecified address for one that is not on this machine. Where nothing else is left, confined
// addresses are for everybody, loopback last of all.
//
// IPv4 comes before IPv6, because some clients use the first candidate only. Within a family, addresses of the peer's
// network come first, then those that are private if its address is, or public if it is. Those without a carrier come
// last. Loopback comes after all others: a proxy on this machine makes all peers look local.
func (s *set) forSource(source netip.Addr) []netip.Addr {
	if len(s.fixed) > 0 {
		return s.fixed
	}
	source = source.Unmap().WithZone("")
	// RFC 8445 section 5.1.1.1: no loopback candidates, but a peer on this machine may have nothing else.
	here := !source.IsValid() || source.IsLoopback() || slices.Contains(s.own, source)
	list := slices.Clone(s.open)
	for _, a := range s.confined {
		if here && a.loopback() || a.Network.Contains(source) {
			list = append(list, a)
		}
	}
	if len(list) == 0 {
		list = slices.DeleteFunc(slices.Clone(s.confined), Address.loopback)
	}
	if len(list) == 0 {
		list = slices.Clone(s.confined)
	}
	distance := func(a Address) int {
		switch {
		case a.Network.Contains(source):
			return 0
		case private(a.Addr) == private(source):
			return 1
		}
		return 2
	}
	slices.SortStableFunc(list, func(a, b Address) int {
		return cmp.Or(
			before(!a.loopback(), !b.loopback()),
			before(a.Addr.Is4(), b.Addr.Is4()),
			before(!a.Traits.has(Silent), !b.Traits.has(Silent)),
			cmp.Compare(distance(a), distance(b)),
			before(!a.Traits.has(PointToPoint), !b.Traits.has(PointToPoint)),
		)
	})
	var out []netip.Addr
	for _, a := range list {
		if !slices.Contains(out, a.Addr) {
			out = append(out, a.Addr)
		}
	}
	return out
}

// before compares by a property: those that have it come first.
func before(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// all lists every address that may be offered to a peer.
func (s *set) all() []netip.Addr {
	everything := set{fixed: s.fixed, open: slices.Concat(s.open, s.confined)}
	return everything.forSource(netip.Addr{})
}

// prefix converts a network of package net.
func prefix(n *net.IPNet) netip.Prefix {
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, size := n.Mask.Size()
	if !ok || size == 0 {
		return netip.Prefix{}
	}
	if addr = addr.Unmap(); addr.Is4() && size == 128 {
		ones -= 96
	}
	return netip.PrefixFrom(addr, ones).Masked()
}
