//go:build nocluster

package natsdir

import "ringcast/signaling/cluster/directory"

// A Transport is nothing in a program without NATS.
type Transport struct{ directory.Transport }

// New fails with ErrLeftOut, or with a fault of the configuration.
func New(config Config) (*Transport, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	return nil, ErrLeftOut
}

// Address is empty.
func (t *Transport) Address() string { return "" }
