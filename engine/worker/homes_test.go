package worker

import (
	"net/netip"
	"testing"

	"ringcast/engine/adapt"
	"ringcast/engine/port"
)

func TestHomeKeys(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"198.18.0.1", "198.18.0.1", true},
		{"198.18.0.1", "198.18.0.2", false},
		{"198.18.0.1", "::ffff:198.18.0.1", true},
		{"fd00::1", "fd00::2", true},
		{"fd00::1", "fd00:0:0:1::1", false},
		{"fe80::1%eth0", "fe80::1", true},
	} {
		got := homeKey(netip.MustParseAddr(c.a)) == homeKey(netip.MustParseAddr(c.b))
		if got != c.same {
			t.Errorf("%s and %s are one home: %t, want %t", c.a, c.b, got, c.same)
		}
	}
}

// Viewers of one address share a Source, which is kept for two minutes after the last. A viewer alone has none.
func TestHomes(t *testing.T) {
	var hs homes
	a := netip.MustParseAddr("198.18.0.1")
	first := hs.join(1, a)
	if first.shared != nil {
		t.Error("a viewer alone has a Source, want none")
	}
	second := hs.join(2, a)
	if second != first || first.shared == nil {
		t.Fatal("two viewers of one address share no Source")
	}
	hs.leave(3, first)
	hs.leave(4, first)
	source := first.shared
	if got := hs.join(3+adapt.SourceSpan, a); got.shared != source {
		t.Error("a viewer that comes back in time has another Source, want the same")
	}
	hs.leave(3+adapt.SourceSpan, first)
	hs.forget(2 + 2*adapt.SourceSpan)
	if len(hs.known) != 1 {
		t.Errorf("%d homes are known before their time is over, want 1", len(hs.known))
	}
	hs.forget(3 + 2*adapt.SourceSpan)
	if len(hs.known) != 0 || len(hs.idle) != 0 {
		t.Errorf("%d homes are known and %d listed after their time, want none", len(hs.known), len(hs.idle))
	}
}

// Many addresses do not make the worker remember ever more of them, and push no home out that is watched from.
func TestHomesAreBounded(t *testing.T) {
	var hs homes
	watched := hs.join(0, netip.MustParseAddr("198.19.0.1"))
	for i := range 4 * maxIdleHomes {
		now := port.Time(i)
		hs.leave(now, hs.join(now, netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})))
		if i%3 == 0 { // a viewer that comes and goes
			hs.leave(now, hs.join(now, netip.MustParseAddr("198.19.0.2")))
		}
	}
	if n := len(hs.known); n > maxIdleHomes+1 || len(hs.idle) > maxIdleHomes {
		t.Errorf("%d homes are known and %d listed, want at most %d", n, len(hs.idle), maxIdleHomes)
	}
	if at, ok := hs.find(watched.key); !ok || hs.known[at] != watched {
		t.Error("a home that is watched from was forgotten")
	}
}
