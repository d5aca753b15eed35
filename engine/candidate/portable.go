package candidate

import (
	"net"
	"net/netip"
	"time"
)

// A portable reads the interfaces by package net, which has no notifications and few traits.
type portable struct {
	stopped chan struct{}
	// why is the error for which there is nothing better, nil on platforms that have nothing better.
	why error
}

func newPortable(why error) interfaces { return &portable{make(chan struct{}), why} }

func (*portable) interval() time.Duration { return 5 * time.Second }

func (p *portable) stop() { close(p.stopped) }
func (*portable) close()  {}

func (p *portable) listen(func()) error {
	if p.why == nil {
		<-p.stopped
	}
	return p.why
}

func (*portable) read() ([]Address, error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var out []Address
	for _, l := range links {
		var t Traits
		if l.Flags&net.FlagUp == 0 {
			t |= Down
		}
		if l.Flags&net.FlagRunning == 0 {
			t |= Silent
		}
		if l.Flags&net.FlagLoopback != 0 {
			t |= Loopback
		}
		if l.Flags&net.FlagPointToPoint != 0 {
			t |= PointToPoint
		}
		addresses, err := l.Addrs()
		if err != nil {
			continue // the interface has just gone
		}
		for _, a := range addresses {
			n, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			if addr, ok := netip.AddrFromSlice(n.IP); ok {
				out = append(out, Address{Addr: addr.Unmap(), Network: prefix(n), Link: l.Name, Traits: t})
			}
		}
	}
	return out, nil
}
