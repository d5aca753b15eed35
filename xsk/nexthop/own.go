package nexthop

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
)

// An address is an IPv6 address or an IPv4-mapped one, without a zone.
type address [16]byte

// A key is an address that compares quickly.
type key struct{ high, low uint64 }

func keyOf(a address) key {
	return key{binary.BigEndian.Uint64(a[:]), binary.BigEndian.Uint64(a[8:])}
}

func (k key) before(other key) bool {
	return k.high < other.high || k.high == other.high && k.low < other.low
}

func (k key) compare(other key) int {
	return cmp.Or(cmp.Compare(k.high, other.high), cmp.Compare(k.low, other.low))
}

// A span is the addresses from first to last.
type span struct{ first, last key }

// An addressSet holds the addresses of one host: a few, or whole prefixes. The families are kept apart, since a
// prefix of IPv6 may cover the mapped addresses. It is never changed.
type addressSet struct {
	four, six []span // ascending, and none begins within the one before
}

func newAddressSet(prefixes []netip.Prefix) (s addressSet) {
	for _, p := range prefixes {
		first := p.Masked().Addr()
		last := address(first.As16())
		bits := p.Bits()
		if first.Is4() {
			bits += 96
		}
		for i := range last {
			last[i] |= byte(0xff >> min(8, max(0, bits-8*i)))
		}
		family := s.of(first)
		*family = append(*family, span{keyOf(first.As16()), keyOf(last)})
	}
	s.four, s.six = outermost(s.four), outermost(s.six)
	return s
}

// outermost sorts spans of prefixes and leaves out those that lie in others. Two prefixes are either disjoint or
// one lies in the other.
func outermost(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Or(a.first.compare(b.first), b.last.compare(a.last)) })
	out := spans[:0]
	for _, s := range spans {
		if n := len(out); n == 0 || out[n-1].last.compare(s.first) < 0 {
			out = append(out, s)
		}
	}
	return out
}

func (s *addressSet) of(a netip.Addr) *[]span {
	if a.Is4() {
		return &s.four
	}
	return &s.six
}

// holds reports whether the address, without regard to its zone, is in the set.
func (s *addressSet) holds(a netip.Addr) bool {
	spans, k := *s.of(a), keyOf(a.As16())
	low, high := 0, len(spans) // the spans before low begin at k or before, those from high on after it
	for low < high {
		middle := int(uint(low+high) / 2)
		if k.before(spans[middle].first) {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low > 0 && !spans[low-1].last.before(k)
}

func (s *addressSet) equal(other *addressSet) bool {
	return slices.Equal(s.four, other.four) && slices.Equal(s.six, other.six)
}
