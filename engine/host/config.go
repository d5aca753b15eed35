package host

import (
	"net/netip"
	"slices"
)

// IO is what an operator wants of how packets enter and leave.
type IO string

const (
	// Auto, which the zero value means too, takes AF_XDP where it is asked for by an interface, or by
	// an address that tells one, and nothing refuses it; else sockets.
	Auto IO = "auto"
	// OnlySockets does not look at AF_XDP.
	OnlySockets IO = "udp"
	// OnlyXDP takes AF_XDP or nothing.
	OnlyXDP IO = "xdp"
)

// Config is what an operator asked for, as far as it decides which rung is taken.
type Config struct {
	IO IO
	// Interfaces are those that AF_XDP is to use. Without any, those are meant that carry the Addresses.
	Interfaces []string
	// Addresses are those at which peers reach the media port, as far as they are configured.
	// Unspecified ones do not count.
	Addresses []netip.Addr
	// CopyOnly leaves the zerocopy rung out.
	CopyOnly bool
	// Generic lets AF_XDP run where the driver has no XDP of its own.
	Generic bool
	// QueueMemory is how many bytes of packet memory AF_XDP registers with the kernel for each queue where it copies; 0
	// is 6 MiB: 2,048 frames to receive and 1,024 to send, of 2 KiB each. Zero-copy takes 4 KiB a frame, twice as much.
	QueueMemory uint64
	// Locked is how many bytes of packet memory other interfaces register: one limit counts for all.
	Locked uint64
	// CPUs are those that workers are pinned to; BusyPoll keeps workers awake. Both count for advice only.
	CPUs     []int
	BusyPoll bool
}

const defaultQueueMemory = 6 << 20

// A Rung is one way in which packets enter and leave. Its text is what logs and metrics show.
type Rung string

const (
	// ZeroCopy is AF_XDP on the driver's own XDP, where the NIC uses our packet memory itself.
	ZeroCopy Rung = "xdp-zerocopy"
	// Copy is AF_XDP on the driver's own XDP, where the kernel copies each packet.
	Copy Rung = "xdp-copy"
	// Generic is AF_XDP behind the kernel's generic XDP, which any driver has.
	Generic Rung = "xdp-generic"
	// Sockets is the kernel's UDP.
	Sockets Rung = "udp"
)

// Ladder is all rungs, best first.
var Ladder = []Rung{ZeroCopy, Copy, Generic, Sockets}

// XDP tells whether the rung is one of AF_XDP.
func (r Rung) XDP() bool { return slices.Contains(allXDP, r) }
