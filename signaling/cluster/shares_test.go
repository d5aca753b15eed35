package cluster

import (
	"net/netip"
	"testing"
	"time"
)

// A source has a share of the requests to other nodes, and all together have a share of each node's.
func TestForwardShares(t *testing.T) {
	f := NewForwards("here", nil, nil)
	now := time.Unix(1_800_000_000, 0)
	count := func(source func(i int) netip.Addr) (taken int) {
		for i := range 2000 {
			if f.take(now, "there", source(i)) {
				taken++
			}
		}
		return taken
	}
	one := func(int) netip.Addr { return netip.MustParseAddr("192.0.2.1") }
	many := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}) }
	for _, row := range []struct {
		name   string
		source func(i int) netip.Addr
		want   int
	}{{"one", one, forwardRate}, {"others", many, forwardNodeRate - forwardRate}, {"too many", many, 0}} {
		if got := count(row.source); got != row.want {
			t.Errorf("%s: got %d requests, want %d", row.name, got, row.want)
		}
	}
	if now = now.Add(time.Second); count(one) != forwardRate || !f.take(now, "third", many(0)) {
		t.Errorf("got fewer requests a second later, want %d again, and others to a third node", forwardRate)
	}
}
