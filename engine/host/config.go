package host

import (
	"net/netip"
	"slices"
)

// IO is how packets are to enter and leave.
type IO string

const (
	// Auto takes AF_XDP where an interface, or an address that identifies one, requests it and nothing
	// refuses it; else sockets.
	Auto IO = "auto"
	// OnlySockets does not look at AF_XDP.
	OnlySockets IO = "udp"
	// OnlyXDP takes AF_XDP or nothing.
	OnlyXDP IO = "xdp"
)

// Config holds the settings that decide which rung is taken. Start from DefaultConfig.
type Config struct {
	IO IO
	// Interfaces are the network interfaces for AF_XDP. Without any, AF_XDP uses those that carry the Addresses.
	Interfaces []string
	// Addresses are those at which peers reach the UDP port, as far as they are configured. Unspecified addresses do
	// not count.
	Addresses []netip.Addr
	// Zerocopy permits the zerocopy rung.
	Zerocopy bool
	// Generic lets AF_XDP run where the driver has no XDP of its own.
	Generic bool
	// QueueMemory is how many bytes of packet memory AF_XDP registers with the kernel for each queue where it
	// copies. Zerocopy takes 4 KiB a frame, twice as much.
	QueueMemory uint64
	// Locked is how many bytes of packet memory other interfaces register: one limit counts for all.
	Locked uint64
	// CPUs are the cores that worker i is pinned to, CPUs[i%len(CPUs)]; without any the kernel places the workers.
	// Here they count for advice only.
	CPUs []int
	// BusyPoll keeps workers awake: each takes a whole core. Here it counts for advice only.
	BusyPoll bool
}

// DefaultConfig returns the defaults. QueueMemory is enough for 2,048 frames to receive and 1,024 to send, of 2 KiB
// each.
func DefaultConfig() Config { return Config{IO: Auto, Zerocopy: true, QueueMemory: 6 << 20} }

// A Rung is one way in which packets enter and leave. Logs and metrics show its text.
type Rung string

const (
	// ZeroCopy is AF_XDP on the driver's own XDP: the NIC reads and writes our packet memory itself.
	ZeroCopy Rung = "xdp-zerocopy"
	// Copy is AF_XDP on the driver's own XDP: the kernel copies each packet.
	Copy Rung = "xdp-copy"
	// Generic is AF_XDP on the kernel's generic XDP, which works with any driver.
	Generic Rung = "xdp-generic"
	// Sockets is the kernel's UDP.
	Sockets Rung = "udp"
)

// Ladder lists all rungs, the best first.
var Ladder = []Rung{ZeroCopy, Copy, Generic, Sockets}

// XDP reports whether the rung is one of AF_XDP.
func (r Rung) XDP() bool { return slices.Contains(allXDP, r) }
