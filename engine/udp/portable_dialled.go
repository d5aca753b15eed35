package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"

	"golang.org/x/net/ipv4"

	"ringcast/engine/port"
)

// portableDialled is the port of dialled sessions over package net. Each socket has a goroutine that reads ahead into
// datagrams which all of them share.
type portableDialled struct {
	portable
	cfg   Config
	quiet port.Time // no warning about a socket before
	named map[netip.Addr]*conn
	count atomic.Int64 // of named
}

// open fills in an empty portableDialled. It checks that cfg's address can be bound.
func (d *portableDialled) open(cfg Config) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	cfg.Address = netip.AddrPortFrom(cfg.Address.Addr(), 0)
	d.cfg, d.named, d.bound = cfg, make(map[netip.Addr]*conn), cfg.Address
	d.init(cfg)
	d.find = d.socketOf
	probe, err := d.listen(netip.Addr{})
	if err != nil {
		return err
	}
	return probe.Close()
}

// listen opens the socket of a name. A wildcard of IPv6 takes IPv4 too, where the system has both.
func (d *portableDialled) listen(name netip.Addr) (*conn, error) {
	network := "udp" // a wildcard of IPv4 would become one of both versions
	if d.cfg.Address.Addr().Is4() {
		network = "udp4"
	}
	udp, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(d.cfg.Address))
	if err != nil {
		var reason syscall.Errno
		if errors.As(err, &reason) {
			err = reason
		}
		return nil, fmt.Errorf("bind UDP %s: %w", d.cfg.Address, err)
	}
	c := &conn{UDPConn: udp, local: name, closed: make(chan struct{})}
	bound := udp.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
	c.v6 = bound.Is6() && !bound.Is4In6()
	if err := c.mark(d.cfg.DSCP); err != nil {
		return nil, errors.Join(fmt.Errorf("set DSCP %d on UDP %s: %w", d.cfg.DSCP, d.bound, err), udp.Close())
	}
	if d.cfg.DSCP != 0 && c.v6 {
		_ = ipv4.NewPacketConn(udp).SetTOS(int(d.cfg.DSCP) << 2) // it may be of both versions
	}
	c.buffer()
	return c, nil
}

// socketOf is the socket of a path, which it opens if need be. It is nil if it does not open.
func (d *portableDialled) socketOf(path port.Path) *conn {
	name := path.Local
	if c := d.named[name]; c != nil || !port.IsSocket(name) {
		return c
	}
	c, err := d.listen(name)
	if err != nil {
		if now := Now(); now >= d.quiet {
			d.quiet = now + warnInterval
			d.cfg.Log.Warn("a dialled session gets no socket", "error", err)
		}
		return nil
	}
	d.named[name] = c
	d.count.Add(1)
	d.readers.Go(func() { d.read(c) })
	return c
}

// Transmit implements port.Port. Sockets that no route names any more are closed.
func (d *portableDialled) Transmit(now port.Time, out *port.Outgoing) {
	changed := len(out.Routes) > 0
	d.portable.Transmit(now, out)
	if !changed {
		return
	}
	used := make(map[*conn]struct{}, len(d.named))
	for i := range d.routes {
		used[d.routes[i].conn] = struct{}{}
	}
	for name, c := range d.named {
		if _, ok := used[c]; !ok {
			delete(d.named, name)
			d.count.Add(-1)
			close(c.closed)
			_ = c.Close()
		}
	}
}

// Sockets is how many sockets are open. Safe from any thread.
func (d *portableDialled) Sockets() int { return int(d.count.Load()) }

// Close implements port.Port. A second call does nothing.
func (d *portableDialled) Close() error {
	for _, c := range d.named {
		d.conns = append(d.conns, c)
	}
	clear(d.named)
	d.count.Store(0)
	return d.portable.Close()
}
