package port

import (
	"math"
	"net/netip"
)

// Time is monotonic time in nanoseconds. Its zero is the driver's choice; the core never asks for
// the time, it is told.
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

// MaxDatagram is the largest UDP payload, in bytes, that a port carries in either direction: an
// Ethernet frame of 1,500 bytes less the smaller of the IP headers and UDP's. Senders that must also
// fit IPv6 stay 20 bytes below it.
const MaxDatagram = 1472

// FrameSize is the room, in bytes, that every Frame offers behind the headers: the largest datagram
// and one authentication tag.
const FrameSize = MaxDatagram + 16

// A Path is a pair of addresses between which datagrams travel. It is comparable. Addresses are
// unmapped (an IPv4 peer of an IPv6 socket is an IPv4 address here).
type Path struct {
	// Remote is the peer's address and port.
	Remote netip.AddrPort
	// Local is the address that the peer sent to, and from which it must be answered. IPv6
	// link-local addresses carry their zone.
	Local netip.Addr
}

// A Route names a path to the port. The worker hands routes out (small, dense, reused after a
// while), so that sending looks nothing up: the port keeps what it needs of each in a slice.
type Route uint32

// RouteChange tells a port what a Route means from now on.
type RouteChange struct {
	Route Route
	// Path is where the route leads; the zero Path revokes the route.
	Path Path
	// Rate is the most datagrams of RTP a second that the peer may send by the path, and a second's worth of them at
	// once; of RTCP it is the same again, of DTLS a sixteenth. A port that has a guard drops more. 0 is any number.
	Rate uint32
}

// Inbound is one received datagram.
type Inbound struct {
	Path Path
	// Data is borrowed from the port until HandlePacket returns. Its reader may change it in
	// place (SRTP is opened where it lies).
	Data []byte
	// Arrival is when the kernel or the NIC saw the datagram, at most a little before now.
	Arrival Time
}

// A Batch is what one Receive yields. Packets[:n] of the last Receive is valid until the next.
type Batch struct {
	Packets []Inbound
}

// A Frame is a datagram on its way out. The port lends it; Data starts behind the room that the
// port needs for its headers.
type Frame struct {
	// Data is what to send. Its capacity is FrameSize.
	Data []byte
	// Route is where to send it.
	Route Route
	// Born is when it was filled. A port that could not send it drops it, counted, when it is
	// older than StaleAfter.
	Born Time
	// Handle is the port's own name for the frame's memory.
	Handle uint32
}

// StaleAfter is the age at which a kept frame is dropped instead of sent: late media is worse than
// lost media, and a queue must not outlive a stall.
const StaleAfter = 100 * Millisecond

// Outgoing is a batch of frames between a worker, that fills them, and the port, that lent them.
//
// The worker calls Reserve and Submit; frames for one route that follow each other with equal sizes
// (the last may be shorter) form a run, which a port may send as one segmented message. The port's
// Transmit first carries out Routes, in order, then takes Frames[:Filled], and hands back a batch in
// which every frame of Frames is free again, Filled is 0 and Routes is empty.
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

// Free is how many frames Reserve can still return.
func (o *Outgoing) Free() int { return len(o.Frames) - o.Filled }

// Submit adds the frame that Reserve returned last to the batch.
func (o *Outgoing) Submit() { o.Filled++ }

// A Port is one way in which packets enter and leave a worker: AF_XDP queues or a UDP socket.
// All methods but Wake and Stats belong to the worker's thread.
type Port interface {
	// Receive fills in.Packets with what has arrived and returns how many. It never blocks.
	Receive(now Time, in *Batch) int
	// Transmit carries out the route changes and sends the frames, in order. What the kernel
	// does not take now is kept and sent first next time. Called with nothing filled it retries
	// what was kept and lends free frames.
	Transmit(now Time, out *Outgoing)
	// Wait returns when something can be received, when kept frames can be sent, after Wake,
	// or at until (in the port's clock), whichever comes first.
	Wait(until Time)
	// Rest is Wait for who is in no hurry: it costs less, and may end some milliseconds late while the
	// process has other work.
	Rest(until Time)
	// Wake makes the present or the next Wait return. Safe from any thread.
	Wake()
	// Stats returns the counts as of the last Transmit. Safe from any thread.
	Stats() Stats
	// Close frees everything. Wait must have returned; no other method may follow but Stats.
	Close() error
}
