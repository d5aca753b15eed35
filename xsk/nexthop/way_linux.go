package nexthop

import (
	"net/netip"
	"sync/atomic"

	"ringcast/engine/port"
)

// A Link is the interface at one moment.
type Link struct {
	// Index is the kernel's number for it, 0 while there is none of the name.
	Index int
	// Address is its hardware address.
	Address [6]byte
	// MTU is the largest IP datagram that it sends, in bytes.
	MTU int
	// Up reports whether it can send: it is switched on, and has carrier.
	Up bool

	// life differs between links of one index, of which the earlier has gone.
	life uint32
	// hops are the hop limits of datagrams that leave by the link on a route without one. 0: not known.
	hops hopLimits
	// domain is the VRF that the link belongs to, the zero vrf if none.
	domain vrf
}

// hopLimits are those of IPv4 (time to live) and of IPv6.
type hopLimits struct{ four, six uint8 }

func (h hopLimits) of(remote netip.Addr) uint8 {
	if remote.Is4() {
		return h.four
	}
	return h.six
}

// A vrf is a routing domain of its own.
type vrf struct {
	index int    // of its interface, which stands for it in questions
	table uint32 // its routes, our own addresses among them
}

// A neighbour is a host on the link with a usable hardware address. A new address is a new neighbour.
type neighbour struct {
	address [6]byte // written before it is shared
	state   int     // NUD_*; follow alone reads and writes it
}

// Resolve answers from a snapshot and the way's own answer. A snapshot is never changed.
type snapshot struct {
	link       Link
	own        addressSet
	neighbours map[address]*neighbour
}

// A reach is the peer's place by the kernel's answer.
type reach uint8

const (
	nowhere  reach = iota // the kernel does not send there
	byLink                // by an interface
	thisHost              // here
)

// An answer is the kernel's to the question how a path leaves.
type answer struct {
	reach reach
	index int     // of the interface, for byLink
	next  address // of the next hop, for byLink: a gateway or the peer
	mtu   int     // the largest datagram known to pass, 0: the interface's
	hops  uint8   // the hop limit, 0: the interface's
}

// A way is one path that a port sends on.
type way struct {
	table  *Table
	path   port.Path
	answer atomic.Pointer[answer] // follow writes it; nil: none yet
	gone   atomic.Bool            // its user writes it: the way is not used any more
}

// Resolve implements Way.
func (w *way) Resolve() (Hop, Verdict) {
	s, a := w.table.current.Load(), w.answer.Load()
	switch {
	case a == nil || a.reach == nowhere || s.link.Index == 0:
		return Hop{}, Unresolved
	case a.reach == thisHost:
		return Hop{}, Ourselves
	case a.index != s.link.Index:
		return Hop{}, Elsewhere
	case !s.own.holds(w.path.Local): // the kernel does not always look
		return Hop{}, Unresolved
	case !s.link.Up:
		return Hop{}, Down
	}
	n := s.neighbours[a.next]
	if n == nil {
		return Hop{}, Unresolved
	}
	hop := Hop{Source: s.link.Address, Destination: n.address, MTU: s.link.MTU}
	if a.mtu != 0 {
		hop.MTU = min(hop.MTU, a.mtu)
	}
	if hop.HopLimit = a.hops; a.hops == 0 {
		hop.HopLimit = s.link.hops.of(w.path.Remote.Addr())
	}
	return hop, Usable
}

// Forget implements Way.
func (w *way) Forget() { w.gone.Store(true) }
