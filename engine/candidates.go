package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"ringcast/engine/api"
	"ringcast/engine/candidate"
	"ringcast/engine/host"
)

// watchAddresses follows the addresses that peers are offered as candidates.
func watchAddresses(cfg *Config) (*candidate.Watcher, error) {
	return candidate.Watch(candidate.Config{
		Log: cfg.Log, Listen: cfg.Listen.Addr(), Public: cfg.PublicIPs, Names: cfg.PublicNames, Lookup: cfg.Lookup,
	})
}

// candidates are where a peer that signals from source reaches the media port now, the best first.
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

// Host is the part of the configuration that decides between AF_XDP and sockets. It looks PublicNames up.
// Beside an error, about names that are not found, the result holds for the others.
func (c *Config) Host(ctx context.Context) (host.Config, error) {
	public := slices.Clone(c.PublicIPs)
	var failed error
	for _, name := range c.PublicNames {
		found, err := candidate.Resolve(ctx, name, c.Lookup, c.Listen.Addr())
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("public-ip: %w", err))
		}
		public = append(public, found...)
	}
	return c.host(public), failed
}

// host is Host with the public addresses, however they were given.
func (c *Config) host(public []netip.Addr) host.Config {
	if len(public) == 0 {
		public = []netip.Addr{c.Listen.Addr()}
	}
	return host.Config{
		IO: c.IO, Interfaces: c.Interfaces, Addresses: public, CopyOnly: c.CopyOnly, Generic: c.Generic,
		CPUs: c.CPUs, BusyPoll: c.BusyPoll,
	}
}
