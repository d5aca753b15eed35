package udp

import "net/netip"

func (d *portableDialled) number(name netip.Addr) uint16 {
	if c := d.named[name]; c != nil {
		return c.port()
	}
	return 0
}

func openPortableDialled(cfg Config) (dialledSubject, error) {
	d := new(portableDialled)
	return d, d.open(cfg)
}
