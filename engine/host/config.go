package host

import "net/netip"

// IO is the choice that an operator has of how packets enter and leave.
type IO string

const (
	// Auto, which the zero value means too, takes AF_XDP where it is asked for by an interface, or by
	// an address that tells one, and nothing refuses it; else sockets.
	Auto IO = "auto"
	// Sockets never looks at AF_XDP.
	Sockets IO = "udp"
	// XDP takes AF_XDP or fails.
	XDP IO = "xdp"
)

// Config is what an operator asked for, as far as it decides which rung of the ladder is taken.
type Config struct {
	IO IO
	// Interface is the one that AF_XDP is to use. If it is empty, the one that carries the Addresses
	// is meant.
	Interface string
	// Addresses are those at which peers reach the media port, as far as they are configured.
	Addresses []netip.Addr
	// CopyOnly leaves the zerocopy rung out.
	CopyOnly bool
	// Generic lets AF_XDP run where the driver has no XDP of its own.
	Generic bool
	// Memory is how many bytes of packet memory will be registered with the kernel.
	Memory int64
}
