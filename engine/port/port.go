package port

import (
	"encoding/binary"
	"math"
	"net/netip"
)

// Time is monotonic time in nanoseconds. Its zero is the driver's choice. The core never asks for the time: every call
// into it brings the time along.
type Time int64

// Never is later than every other Time.
const Never Time = math.MaxInt64

// Durations in Time's unit, so that the core needs no package time.
const (
	Microsecond Time = 1000
	Millisecond      = 1000 * Microsecond
	Second           = 1000 * Millisecond
)

// Seconds is t in seconds.
func (t Time) Seconds() float64 { return float64(t) / float64(Second) }

// MaxDatagram is the largest UDP payload in bytes, in either direction: a packet of 1,500 bytes less the headers of
// IPv4 and UDP. Senders that must also fit IPv6 stay 20 bytes below it.
const MaxDatagram = 1472

// FrameSize is the room, in bytes, that every Frame offers after the headers: the largest datagram and one
// authentication tag.
const FrameSize = MaxDatagram + 16

// A Path is a pair of addresses between which datagrams travel. It is comparable. Addresses are
// unmapped (an IPv4 peer of an IPv6 socket is an IPv4 address here).
type Path struct {
	// Remote is the peer's address and port.
	Remote netip.AddrPort
	// Local is the address that the peer sent to, and that it must be answered from. IPv6 link-local addresses carry
	// their zone. In paths of a dialled session it is the name of the session's socket, see Socket.
	Local netip.Addr
}

// socketPrefix is where the names of sockets lie: 100::/64, which no host has addresses of (RFC 6666).
var socketPrefix = [8]byte{0: 0x01}

// Socket names the UDP socket that a dialled session has for itself. It takes the place of a path's Local, so that
// paths of several sessions to one peer differ. Numbers of sessions are never reused, so neither are names.
//
// Only the port of dialled sessions has such sockets. It opens one with the first route that names it, on a UDP port of
// the kernel's choice. It closes the socket when the last of these routes is revoked. The kernel chooses the source
// address of the datagrams.
func Socket(session uint64) netip.Addr {
	var a [16]byte
	copy(a[:], socketPrefix[:])
	binary.BigEndian.PutUint64(a[8:], session)
	return netip.AddrFrom16(a)
}

// IsSocket reports whether a path's Local is the name of a socket.
func IsSocket(local netip.Addr) bool {
	a := local.As16()
	return [8]byte(a[:8]) == socketPrefix
}

// A Route names a path to the port. The worker chooses small and dense numbers, and uses them again after a while. So
// the port keeps its data of each route in a slice, and sending looks nothing up.
type Route uint32

// RouteChange changes the meaning of a Route.
type RouteChange struct {
	Route Route
	// Path is the new path; the zero Path revokes the route.
	Path Path
	// Rate is the most datagrams of RTP a second that the peer may send by the path, with bursts of a second's worth.
	// The same limit holds for RTCP, a sixteenth of it for DTLS. A port with a guard drops the excess. 0 means no
	// limit.
	Rate uint32
}

// Inbound is one received datagram.
type Inbound struct {
	Path Path
	// Data is borrowed from the port until the next Receive. Its reader may change it in place (SRTP is opened there).
	Data []byte
	// Arrival is when the kernel or the NIC saw the datagram, a little before now.
	Arrival Time
}

// A Batch is the datagrams of one Receive. Packets[:n] of the last Receive is valid until the next.
type Batch struct {
	Packets []Inbound
}

// A Frame is a datagram on its way out, in memory that the port lends. The port's headers have their room before Data.
type Frame struct {
	// Data is the payload. Its capacity is FrameSize when the frame is lent.
	Data []byte
	// Route is the route to send it on.
	Route Route
	// Born is when the worker filled it. The port drops a kept frame that is older than StaleAfter.
	Born Time
	// Handle is the port's own name for the frame's memory.
	Handle uint32
}

// StaleAfter is the age beyond which a kept frame is dropped. Late media is worse than lost media, and kept frames must
// not outlive a stall.
const StaleAfter = 100 * Millisecond

// Outgoing is a batch of frames, which the port lends and the worker fills.
//
// The worker calls Reserve and Submit. A run is frames of one route that follow each other with equal sizes; the last
// may be shorter. A port may send a run as one segmented message. Transmit carries out Routes in order and sends
// Frames[:Filled]. It hands back a batch in which every frame is free, Filled is 0 and Routes is empty.
type Outgoing struct {
	Frames []Frame
	Filled int
	Routes []RouteChange
}

// Reserve returns the next free frame, Data emptied, or nil when the batch is full.
func (o *Outgoing) Reserve() *Frame {
	if o.Filled == len(o.Frames) {
		return nil
	}
	f := &o.Frames[o.Filled]
	f.Data = f.Data[:0]
	return f
}

// Free is the number of frames that Reserve can still return.
func (o *Outgoing) Free() int { return len(o.Frames) - o.Filled }

// Submit adds the frame that Reserve returned last to the batch.
func (o *Outgoing) Submit() { o.Filled++ }

// A Port is one way in which packets enter and leave a worker: AF_XDP sockets or a UDP socket. The package comment has
// its contract. All methods but Wake and Stats belong to the worker's thread.
type Port interface {
	// Receive points in.Packets at the datagrams that have arrived and returns their number. It never blocks.
	Receive(now Time, in *Batch) int
	// Transmit carries out the route changes, sends the kept frames and the filled ones, and lends free frames.
	Transmit(now Time, out *Outgoing)
	// Wait returns when something can be received or kept frames can be sent, after Wake, or at until (in the port's
	// clock), whichever comes first.
	Wait(until Time)
	// Rest is a Wait that costs less. It may end some milliseconds late while the process has other work.
	Rest(until Time)
	// Wake makes the present or the next Wait return. Safe from any thread.
	Wake()
	// Stats returns the counts as of the last Transmit. Safe from any thread.
	Stats() Stats
	// Close frees everything. Wait must have returned; no other method may follow but Stats and Wake.
	Close() error
}
