package engine

import (
	"net/netip"

	"ringcast/engine/api"
)

// candidates lists the addresses at which a peer that signals from source reaches the UDP port now, the best first.
func (e *Engine) candidates(source netip.Addr) ([]netip.AddrPort, error) {
	addresses := e.addresses.For(source)
	if len(addresses) == 0 {
		return nil, api.ErrNoAddress
	}
	return withPort(addresses, e.ports.number), nil
}

func withPort(addresses []netip.Addr, port uint16) []netip.AddrPort {
	out := make([]netip.AddrPort, len(addresses))
	for i, a := range addresses {
		out[i] = netip.AddrPortFrom(a, port)
	}
	return out
}
