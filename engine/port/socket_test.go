package port_test

import (
	"math"
	"net/netip"
	"testing"

	"ringcast/engine/port"
)

// Each session's socket has a name of its own, which is no address that a datagram comes to.
func TestSocket(t *testing.T) {
	seen := map[netip.Addr]uint64{}
	for _, session := range []uint64{0, 1, 2, 255, 256, 1 << 32, math.MaxUint64} {
		name := port.Socket(session)
		if other, taken := seen[name]; taken {
			t.Errorf("sessions %d and %d have the socket %s both", other, session, name)
		}
		seen[name] = session
		if !port.IsSocket(name) || !name.IsValid() || name.IsUnspecified() || name.Zone() != "" {
			t.Errorf("%s is no name of a socket", name)
		}
	}
	for _, text := range []string{"::", "::1", "127.0.0.1", "1.0.0.0", "100:0:0:1::", "fe80::1%2", "2001:db8::1"} {
		if port.IsSocket(netip.MustParseAddr(text)) {
			t.Errorf("the address %s passes for a socket", text)
		}
	}
	if port.IsSocket(netip.Addr{}) {
		t.Error("no address passes for a socket")
	}
}
