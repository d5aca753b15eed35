package engine

import (
	"net/netip"
	"slices"

	"ringcast/engine/host"
)

// Host is the part of the configuration that decides between AF_XDP and sockets.
func (c *Config) Host() host.Config {
	addresses := slices.Clone(c.PublicIPs)
	if len(addresses) == 0 {
		addresses = []netip.Addr{c.Listen.Addr()}
	}
	return host.Config{IO: c.IO, Interface: c.Interface, Addresses: addresses, CopyOnly: c.CopyOnly, Generic: c.Generic}
}

// Rung is the way in which packets enter and leave.
func (e *Engine) Rung() host.Rung { return e.media.rung }
