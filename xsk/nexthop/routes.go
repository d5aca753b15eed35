package nexthop

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
)

// A reach is where the addresses of a route are.
type reach uint8

const (
	elsewhere  reach = iota // behind another interface, refused, unknown: the kernel's business
	onLink                  // on our link
	viaGateway              // behind a gateway on our link
	ourOwn                  // this host
)

// A way is what a route says about its addresses.
type way struct {
	reach   reach
	gateway address // of viaGateway
	mtu     int     // 0: the link's
}

// An address is an IPv6 address or an IPv4-mapped one. Both families share one table: the mapped range
// is no IPv6 destination.
type address [16]byte

// A route is a way for a prefix.
type route struct {
	first address
	bits  int // of 128
	// rank and metric say which of the routes that cover an address counts: the highest rank, then
	// the lowest metric, then the first.
	rank   int
	metric uint32
	way
}

// rankLocal lifts the table local over any route of the table main: it is consulted first.
const rankLocal = 200

// mapped is what covers all of IPv4. It keeps routes of IPv6 away from it where IPv4 has none, and gives
// way to IPv4's default route.
var mapped = route{first: address{10: 0xff, 11: 0xff}, bits: 96, rank: 95}

// last is the last address of the route's prefix.
func (r *route) last() address {
	last := r.first
	for i := range last {
		last[i] |= byte(0xff >> min(8, max(0, r.bits-8*i)))
	}
	return last
}

// before reports whether r counts before other where both cover an address.
func (r *route) before(other *route) bool {
	if r.rank != other.rank {
		return r.rank > other.rank
	}
	return r.metric < other.metric
}

// A key is an address that compares quickly.
type key struct{ high, low uint64 }

func keyOf(a address) key {
	return key{binary.BigEndian.Uint64(a[:]), binary.BigEndian.Uint64(a[8:])}
}

func (k key) less(other key) bool {
	return k.high < other.high || k.high == other.high && k.low < other.low
}

// next is the address behind k; ok is false behind the last.
func (k key) next() (next key, ok bool) {
	next = key{k.high, k.low + 1}
	if next.low == 0 {
		next.high++
	}
	return next, next != key{}
}

// ranges is a table of routes flattened: prefixes that lie in each other have been cut into ranges that
// do not overlap, so that the longest prefix is found by one binary search.
type ranges struct {
	starts []key // ascending, the first is 0; each range ends where the next begins
	ways   []way // of each range
}

// flatten makes ranges of routes.
//
// Two prefixes are either disjoint or one lies in the other. So, walking over them in the order of their
// first addresses, those that cover the present address form a stack.
func flatten(routes []route) ranges {
	sorted := append([]route{mapped}, routes...)
	slices.SortStableFunc(sorted, func(a, b route) int {
		return cmp.Or(bytes.Compare(a.first[:], b.first[:]), cmp.Compare(a.bits, b.bits))
	})

	table := ranges{starts: []key{{}}, ways: []way{{}}}
	var open []*route
	// cut begins a range with what is open.
	cut := func(at key) {
		var w way
		if len(open) > 0 {
			best := open[0]
			for _, r := range open[1:] {
				if r.before(best) {
					best = r
				}
			}
			w = best.way
		}
		if n := len(table.starts) - 1; table.starts[n] == at {
			table.ways[n] = w
		} else if table.ways[n] != w {
			table.starts, table.ways = append(table.starts, at), append(table.ways, w)
		}
	}
	// shut ends those that do not cover at, the innermost first.
	shut := func(covers func(last address) bool) {
		for len(open) > 0 {
			last := open[len(open)-1].last()
			if covers(last) {
				return
			}
			open = open[:len(open)-1]
			if after, ok := keyOf(last).next(); ok {
				cut(after)
			}
		}
	}
	for i := range sorted {
		r := &sorted[i]
		shut(func(last address) bool { return bytes.Compare(r.first[:], last[:]) <= 0 })
		open = append(open, r)
		cut(keyOf(r.first))
	}
	shut(func(address) bool { return false })
	return table
}

// find returns the way to an address.
func (t *ranges) find(a address) *way {
	k := keyOf(a)
	low, high := 0, len(t.starts) // starts[low] <= k < starts[high]
	for high-low > 1 {
		middle := int(uint(low+high) / 2)
		if k.less(t.starts[middle]) {
			high = middle
		} else {
			low = middle
		}
	}
	return &t.ways[low]
}
