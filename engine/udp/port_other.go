//go:build !linux

package udp

import "ringcast/engine/port"

// Balances reports whether this platform spreads one UDP port over the sockets of several workers.
func Balances() bool { return false }

// Port is the worker's sockets, one for each IP version.
type Port struct {
	portable
}

var _ port.Port = (*Port)(nil)

// Open binds the address and returns the one port.
func Open(cfg Config) ([]*Port, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	p := new(Port)
	if err := p.open(cfg); err != nil {
		return nil, err
	}
	return []*Port{p}, nil
}
