package worker

import (
	"encoding/binary"
	"net/netip"

	"ringcast/engine/adapt"
	"ringcast/engine/port"
)

// maxIdleHomes bounds the homes that are remembered although nobody watches from them, for viewers who come back.
const maxIdleHomes = 1024

// A home is an address that viewers watch from at this worker: one of IPv4, or a /64 of IPv6.
type home struct {
	key   uint64
	users int32
	// left counts the times that the last viewer left.
	left uint32
	// source is nil while there is one viewer, who shares the address with nobody.
	source *adapt.Source
}

// homes are the homes of a worker's viewers, by their keys. Those that nobody watches from are forgotten after
// adapt.SourceSpan, the oldest first, or when there are too many.
type homes struct {
	known map[uint64]*home
	idle  []idleHome // from first on; a ring would save nothing
}

// An idleHome is a home that the last viewer left at a time. It is out of date if others came meanwhile.
type idleHome struct {
	home *home
	left uint32
	at   port.Time
}

// homeKey is the key of an address.
func homeKey(a netip.Addr) uint64 {
	if a = a.Unmap(); a.Is4() {
		b := a.As4()
		return uint64(binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[:]) // no unicast address has 32 zeros here
}

// join adds a viewer to the home of an address.
func (hs *homes) join(now port.Time, a netip.Addr) *home {
	hs.forget(now)
	key := homeKey(a)
	h := hs.known[key]
	if h == nil {
		h = &home{key: key}
		if hs.known == nil {
			hs.known = make(map[uint64]*home)
		}
		hs.known[key] = h
	}
	if h.users++; h.users > 1 && h.source == nil {
		h.source = new(adapt.Source)
	}
	return h
}

// leave takes a viewer from its home.
func (hs *homes) leave(now port.Time, h *home) {
	if h.users--; h.users > 0 {
		return
	}
	h.left++
	hs.idle = append(hs.idle, idleHome{h, h.left, now})
	hs.forget(now)
}

// forget drops the homes that nobody came back to.
func (hs *homes) forget(now port.Time) {
	n := 0
	for ; n < len(hs.idle); n++ {
		x := &hs.idle[n]
		if now < x.at+adapt.SourceSpan && len(hs.idle)-n <= maxIdleHomes {
			break
		}
		if x.home.users == 0 && x.home.left == x.left {
			delete(hs.known, x.home.key)
		}
	}
	hs.idle = without(hs.idle, n)
}
