//go:build !linux

package udp

import "ringcast/engine/port"

// Dialled is the port of dialled sessions, with a socket for each session. A path's Local is the name of its session's
// socket, see port.Socket.
//
// Routes own the sockets: the first that names one opens it, and the last closes it. A socket that does not open is
// tried again with the next route that names it. Frames on a route without a socket count as rejected.
type Dialled struct {
	portableDialled
}

var _ port.Port = (*Dialled)(nil)

// OpenDialled makes the port, without a socket yet. It checks that cfg's address can be bound. The UDP port and Workers
// have no meaning, and neither has Batching.
func OpenDialled(cfg Config) (*Dialled, error) {
	d := new(Dialled)
	if err := d.open(cfg); err != nil {
		return nil, err
	}
	return d, nil
}
