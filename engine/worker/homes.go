package worker

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"

	"ringcast/engine/adapt"
	"ringcast/engine/port"
)

// maxIdleHomes bounds the homes that are remembered although nobody watches from them, for viewers who come back.
const maxIdleHomes = 1024

// A home is an address that viewers watch from at this worker: one of IPv4, or a /64 of IPv6.
type home struct {
	key uint64
	// shared is nil while there is one viewer, who shares the address with nobody.
	*shared
}

// A shared is the state of a home that has, or had, other viewers.
type shared struct {
	source adapt.Source
	users  int32
	left   uint32 // how often the last viewer left
}

// homes are the homes of a worker's viewers, by their keys. Those that nobody watches from are forgotten after
// adapt.SourceSpan, the oldest first, or when there are too many.
type homes struct {
	known []*home    // by key; a map would take twice the memory of a home
	idle  []idleHome // from first on; a ring would save nothing
	late  port.Time  // when the worker last was late, in which no home had a part; 0 for never
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

// find returns the place of a key among the known homes, and whether it is known.
func (hs *homes) find(key uint64) (at int, ok bool) {
	return slices.BinarySearchFunc(hs.known, key, func(h *home, key uint64) int { return cmp.Compare(h.key, key) })
}

// join adds a viewer to the home of an address.
func (hs *homes) join(now port.Time, a netip.Addr) *home {
	hs.forget(now)
	key := homeKey(a)
	at, ok := hs.find(key)
	if !ok {
		h := &home{key: key}
		hs.known = slices.Insert(hs.known, at, h)
		return h
	}
	h := hs.known[at]
	h.share()
	h.users++
	return h
}

// share makes room for other viewers.
func (h *home) share() {
	if h.shared == nil {
		h.shared = &shared{users: 1}
	}
}

// leave takes a viewer from its home.
func (hs *homes) leave(now port.Time, h *home) {
	h.share()
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
			if at, ok := hs.find(x.home.key); ok {
				hs.known = slices.Delete(hs.known, at, at+1)
			}
		}
	}
	hs.idle = without(hs.idle, n)
}
