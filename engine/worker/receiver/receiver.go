package receiver

import (
	"ringcast/engine/port"
	"ringcast/engine/rtp"
)

const (
	// window is how late a packet may come, in sequence numbers before the highest.
	window = 4096
	// MaxGap is the largest number of consecutive missing packets that are asked for. A larger gap is a restart of the
	// numbering and costs a keyframe.
	MaxGap = 512
	// startRoom is how far before the very first packet others may lie that come later. A stream whose first packets
	// are reordered must not lose its first keyframe.
	startRoom = 64
)

// A Receiver follows the numbering of one layer's media, under one SSRC at a time.
type Receiver struct {
	// SSRC is the present source of the layer's media and RTX that of its retransmissions, 0 while unknown. The caller
	// sets them.
	SSRC, RTX uint32
	clockRate uint32 // in Hz

	// These are extended sequence numbers: base the earliest that is accepted, lowest the first of those that came.
	started               bool
	unwrap                rtp.Unwrapper
	base, lowest, highest uint64
	seen                  [window / 64]uint64 // a bit for each, modulo window

	numbering  numbering
	missing    missing
	statistics statistics
}

// New makes a receiver of media with a clock rate in Hz. trip is that of the publisher.
func New(clockRate uint32, trip *RoundTrip) Receiver {
	return Receiver{clockRate: clockRate, missing: missing{trip: trip}}
}

// A Packet is the part of an RTP packet that a receiver reads.
type Packet struct {
	Sequence  uint16
	Timestamp uint32
	Arrival   port.Time
	// Resent is set when a retransmission brought the packet: for the statistics it was lost.
	Resent bool
	// NACK is set when the publisher can be asked for missing packets.
	NACK bool
}

// An Arrival is a receiver's answer to a packet.
type Arrival struct {
	// Ext is the packet's extended sequence number.
	Ext     uint64
	Verdict Verdict
	// AskAt is when to ask for the packets that this one showed to be missing, port.Never if it showed none.
	AskAt port.Time
}

// A Verdict is how a packet fits those before it.
type Verdict uint8

const (
	// Fresh: the packet had not come before.
	Fresh Verdict = iota
	// Duplicate: the packet had come before.
	Duplicate
	// TooOld: the packet is from before the window.
	TooOld
	// Restarted: the packet is fresh, but the numbering jumped, so that the packets between are lost for good.
	Restarted
)

// Accept notes a packet.
func (r *Receiver) Accept(now port.Time, p *Packet) Arrival {
	ext := r.unwrap.Unwrap(p.Sequence)
	a := Arrival{Ext: ext, AskAt: port.Never}
	switch {
	case !r.started:
		r.start(ext)
	case ext > r.highest:
		gap := ext - r.highest - 1
		if gap > MaxGap {
			a.Verdict = Restarted
			r.missing.clear()
		}
		for i := uint64(1); i <= gap && i <= window; i++ {
			e := ext - i
			r.seen[e%window/64] &^= 1 << (e % 64)
		}
		if p.NACK && gap > 0 && a.Verdict == Fresh {
			a.AskAt = r.missing.add(r.highest+1, ext, now)
		}
		r.highest = ext
	case r.highest-ext >= window || ext < r.base:
		a.Verdict = TooOld
		return a
	case r.Came(ext):
		a.Verdict = Duplicate
		return a
	}
	if p.Resent {
		r.missing.answered(ext, p.Arrival)
	}
	r.seen[ext%window/64] |= 1 << (ext % 64)
	if ext < r.lowest { // the very first packets, reordered
		if p.NACK {
			a.AskAt = r.missing.add(ext+1, r.lowest, now)
		}
		r.lowest = ext
	}
	if !p.Resent {
		r.statistics.count(p, r.clockRate, ext == r.highest)
	}
	return a
}

// start begins the numbering with the first packet.
func (r *Receiver) start(ext uint64) {
	r.started = true
	r.base, r.lowest, r.highest = ext-startRoom, ext, ext
	r.numbering.start(r.base)
}

// Started reports whether any packet came under the present SSRC.
func (r *Receiver) Started() bool { return r.started }

// Newest reports whether ext is the highest extended sequence number that came.
func (r *Receiver) Newest(ext uint64) bool { return ext == r.highest }

// Came reports whether ext came. It is at most window below the highest.
func (r *Receiver) Came(ext uint64) bool {
	return r.seen[ext%window/64]&(1<<(ext%64)) != 0
}

// Past reports whether seq is not ahead of the packets that came: only those can be retransmitted. A retransmission of
// a packet ahead is of another numbering, before a change of the media's SSRC.
func (r *Receiver) Past(seq uint16) bool {
	return !r.started || int16(seq-uint16(r.highest)) <= 0
}

// Skip leaves ext, which carries nothing, out of the numbering and reports whether it could. Only the newest packet can
// be left out. The number of a late one is reserved already, so it must be passed on, empty.
func (r *Receiver) Skip(ext uint64) bool {
	if ext != r.highest {
		return false
	}
	r.numbering.skip(ext)
	return true
}

// Insert makes room for count numbers before ext, the newest packet: the packets from it on have none yet.
func (r *Receiver) Insert(ext uint64, count int) { r.numbering.shift(ext, int64(count)) }

// Number is ext's place among all packets of the layer that carry something. ok is false when so many shifts came since
// that it cannot be computed any more.
func (r *Receiver) Number(ext uint64) (number uint64, ok bool) { return r.numbering.number(ext) }

// AppendMissing appends the sequence numbers to ask for now, as many as fit the capacity of seqs. next is when to look
// again, port.Never when nothing is missing.
func (r *Receiver) AppendMissing(now port.Time, seqs []uint16) (_ []uint16, next port.Time) {
	return r.missing.appendDue(now, seqs, r)
}

// Excuse puts off the first request for a missing packet, which the publisher says it lacks itself. The packet comes by
// itself once the publisher has it.
func (r *Receiver) Excuse(now port.Time, seq uint16) { r.missing.excuse(now, seq) }

// RoundTrip is the publisher's mean time from a request for a packet to its retransmission, 0 while unknown. Only
// retransmissions with an SSRC of their own count, and only packets that were asked for once.
func (r *Receiver) RoundTrip() port.Time { return r.missing.trip.smoothed }

// Restart goes on with the numbers under another SSRC, which has sequence numbers and a clock of its own.
func (r *Receiver) Restart() {
	next, _ := r.Number(r.highest + 1)
	r.missing.clear()
	*r = Receiver{
		SSRC: r.SSRC, RTX: r.RTX, clockRate: r.clockRate, missing: r.missing, numbering: numbering{offset: next},
	}
}
