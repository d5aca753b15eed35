package nexthop

import (
	"strconv"
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
	// Up is whether it can send: switched on, and with carrier.
	Up bool

	// life tells links of one index apart, of which the earlier has gone.
	life uint32
}

// A neighbour is a host on the link with a usable hardware address. A new address is a new neighbour.
type neighbour struct {
	address [6]byte // written before it is shared
	state   int     // NUD_*; follow alone reads and writes it
	// used is the tick of the last Resolve that found it, 0 before the first. Any worker writes it.
	used atomic.Uint32
}

// newNeighbour is a neighbour with a new address; it counts as used when its predecessor was.
func newNeighbour(before *neighbour, hardware [6]byte, state int) *neighbour {
	n := &neighbour{address: hardware, state: state}
	if before != nil {
		n.used.Store(before.used.Load())
	}
	return n
}

// inUse reports whether the neighbour was found by a Resolve in this tick or the linger ones before.
func (n *neighbour) inUse(tick, linger uint32) bool {
	used := n.used.Load()
	return used != 0 && tick-used <= linger
}

// A snapshot is what Resolve answers from. It is never changed, but for the neighbours' stamps.
type snapshot struct {
	generation uint32
	link       Link
	name, zone string // the interface's name, and its index in decimal: how a zone may name it
	routes     ranges
	neighbours map[address]*neighbour
}

func newSnapshot(generation uint32, name string, link Link, routes ranges, neighbours map[address]*neighbour) *snapshot {
	return &snapshot{generation, link, name, strconv.Itoa(link.Index), routes, neighbours}
}

// resolve finds the next hop of a path and stamps it with the tick.
func (s *snapshot) resolve(p port.Path, tick uint32) (Hop, bool) {
	if s.routes.find(p.Local.As16()).reach != ourOwn {
		return Hop{}, false
	}
	remote := p.Remote.Addr()
	next, mtu := address(remote.As16()), s.link.MTU
	if remote.Is6() && remote.IsLinkLocalUnicast() {
		// On every link there are such addresses; the zone says which is meant, not a route.
		if zone := remote.Zone(); zone != s.zone && zone != s.name && zone != "" {
			return Hop{}, false
		}
	} else {
		way := s.routes.find(next)
		switch way.reach {
		case onLink:
		case viaGateway:
			next = way.gateway
		default:
			return Hop{}, false
		}
		if way.mtu != 0 {
			mtu = min(mtu, way.mtu)
		}
	}
	if !s.link.Up {
		return Hop{Down: true}, false
	}
	n := s.neighbours[next]
	if n == nil {
		return Hop{}, false
	}
	if n.used.Load() != tick { // not written more often than needed: workers share it
		n.used.Store(tick)
	}
	return Hop{Source: s.link.Address, Destination: n.address, MTU: mtu}, true
}
