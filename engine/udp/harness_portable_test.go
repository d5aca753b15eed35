package udp

import "net/netip"

func (p *portable) interpose(verdict func(segments int) error) {
	p.write = func(c *conn, data, control []byte, to netip.AddrPort) error {
		if err := verdict(1); err != nil {
			return err
		}
		return c.write(data, control, to)
	}
}

func (p *portable) shrink() {
	for _, c := range p.conns {
		_ = c.SetWriteBuffer(1)
	}
}
