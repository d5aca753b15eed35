package engine

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// candidates are the addresses at which the media port can be reached, the best first: those given,
// else the one that was bound, else those of the interfaces. IPv4 comes before IPv6 of the same kind,
// because some clients take the first only; loopback comes last, for peers on this machine.
func candidates(listen netip.AddrPort, public []netip.Addr) ([]netip.AddrPort, error) {
	addresses := slices.Clone(public)
	switch {
	case len(public) > 0:
	case listen.Addr().IsValid() && !listen.Addr().IsUnspecified():
		addresses = append(addresses, listen.Addr())
	default:
		all, err := net.InterfaceAddrs()
		if err != nil {
			return nil, fmt.Errorf("list the interfaces' addresses: %w", err)
		}
		only4 := listen.Addr().Is4()
		for _, a := range all {
			ip, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			addr, ok := netip.AddrFromSlice(ip.IP)
			if addr = addr.Unmap(); !ok || addr.IsLinkLocalUnicast() || addr.IsMulticast() || only4 && !addr.Is4() {
				continue
			}
			addresses = append(addresses, addr)
		}
		slices.SortStableFunc(addresses, func(a, b netip.Addr) int { return rank(a) - rank(b) })
	}
	if len(addresses) == 0 {
		return nil, errors.New("no address to offer as a candidate; give one with --public-ip")
	}
	var out []netip.AddrPort
	for _, a := range addresses {
		if c := netip.AddrPortFrom(a.Unmap(), listen.Port()); !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out, nil
}

func rank(a netip.Addr) int {
	n := 0
	if a.IsLoopback() {
		n += 2
	}
	if a.Is6() {
		n++
	}
	return n
}
