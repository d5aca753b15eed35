package worker

import (
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
)

const (
	// window is how far behind the newest a packet may come, in sequence numbers.
	window = 4096
	// maxGap is the largest hole that is asked for again; a larger one is a restart of the
	// numbering and costs a keyframe.
	maxGap = 512
	// missingKept is room for missing packets that is kept when none is missing any more.
	missingKept = 64
	// startRoom is how many packets may come behind the very first and still be earlier: a
	// stream whose first packets are reordered must not lose its first keyframe.
	startRoom = 64
	// maxShifts bounds the places of left-out padding and insertions that late packets are numbered
	// around.
	maxShifts = 16

	// A hole is asked for after nackDelay, so that reordering is not taken for loss, then again
	// with growing pauses, nackTries times in about a second.
	nackDelay = 10 * port.Millisecond
	nackPause = 40 * port.Millisecond
	nackTries = 8
)

// A receiver is what the owner of a layer keeps about the publisher's numbering of it: which packets
// came, which are missing, and how the dense numbers of the history follow from it. There is one per
// primary SSRC.
type receiver struct {
	ssrc, rtx uint32 // 0 while unknown
	clockRate uint32

	// offset is the number of the packet with extended sequence number base.
	offset  uint64
	started bool
	unwrap  rtp.Unwrapper
	base    uint64 // the earliest extended sequence number that is accepted
	lowest  uint64 // the first one received, in their order
	highest uint64
	seen    [window / 64]uint64 // bit per extended sequence number, modulo window

	// Padding-only packets take a sequence number but none in the history, and insertions the
	// reverse. Each shift is a place of them.
	shifts    [maxShifts]shift
	numShifts int

	missing []missing // at most maxGap

	// Receiver reports (RFC 3550 section 6.4.1 and appendix A.8).
	received      uint64 // as media; what a retransmission brought was lost all the same
	expectedPrior uint64
	receivedPrior uint64
	transit       int64
	jitter        int64 // in timestamp units, times 16
	lastSR        uint32
	lastSRArrival port.Time
}

// A shift raises the numbers of packets from an extended sequence number on.
type shift struct {
	from uint64
	by   int64 // with all shifts before it
}

type missing struct {
	ext   uint64
	at    port.Time // when to ask (again)
	tries uint8
}

// arrival is what became of a packet.
type arrival uint8

const (
	fresh arrival = iota
	duplicate
	tooOld
	// restarted: fresh, but the numbering jumped, so that what came before is lost for good.
	restarted
)

// accept notes sequence number seq and returns its extended form.
func (r *receiver) accept(seq uint16, now port.Time, nack bool) (ext uint64, a arrival) {
	ext = r.unwrap.Unwrap(seq)
	switch {
	case !r.started:
		r.started = true
		r.base, r.lowest, r.highest = ext-startRoom, ext, ext
	case ext > r.highest:
		gap := ext - r.highest - 1
		if gap > maxGap {
			a = restarted
			r.missing = r.missing[:0]
		}
		for i := uint64(1); i <= gap && i <= window; i++ {
			e := ext - i
			r.seen[e%window/64] &^= 1 << (e % 64)
		}
		if nack && a == fresh {
			r.miss(r.highest+1, ext, now)
		}
		r.highest = ext
	case r.highest-ext >= window || ext < r.base:
		return ext, tooOld
	case r.came(ext):
		return ext, duplicate
	}
	r.seen[ext%window/64] |= 1 << (ext % 64)
	if ext < r.lowest { // the very first packets, reordered
		if nack {
			r.miss(ext+1, r.lowest, now)
		}
		r.lowest = ext
	}
	r.received++
	return ext, a
}

// past reports whether seq is not ahead of what came: only that can be retransmitted. What says otherwise is
// of another numbering, before a change of the media's SSRC that its retransmissions outlive.
func (r *receiver) past(seq uint16) bool {
	return !r.started || int16(seq-uint16(r.highest)) <= 0
}

// miss notes that the packets from first up to end have not come yet.
func (r *receiver) miss(first, end uint64, now port.Time) {
	for e := first; e < end && len(r.missing) < maxGap; e++ {
		r.missing = append(r.missing, missing{ext: e, at: now + nackDelay})
	}
}

// skip leaves ext, which carried nothing, out of the numbering. Only the newest packet can be left
// out: a late one has its number reserved already and must be passed on, empty.
func (r *receiver) skip(ext uint64) bool {
	if ext != r.highest {
		return false
	}
	if n := r.numShifts; n > 0 && r.shifts[(n-1)%maxShifts].from == ext {
		r.shifts[(n-1)%maxShifts].from++ // a row of them
	}
	r.shift(ext+1, -1)
	return true
}

// insert makes room for count numbers before ext, the newest packet: what follows it has none yet.
func (r *receiver) insert(ext uint64, count int) { r.shift(ext, int64(count)) }

// shift changes the numbers from an extended sequence number on, of which none was given away yet.
func (r *receiver) shift(from uint64, by int64) {
	if n := r.numShifts; n > 0 {
		last := &r.shifts[(n-1)%maxShifts]
		if last.from == from {
			last.by += by
			return
		}
		by += last.by
	}
	r.shifts[r.numShifts%maxShifts] = shift{from, by}
	r.numShifts++
}

// number is ext's place among all packets of the layer that carry something. ok is false when so many
// shifts came since that it cannot be computed any more.
func (r *receiver) number(ext uint64) (number uint64, ok bool) {
	by := int64(0)
	for i := r.numShifts - 1; ; i-- {
		if i < 0 {
			break
		}
		if i <= r.numShifts-1-maxShifts {
			return 0, false
		}
		if s := &r.shifts[i%maxShifts]; s.from <= ext {
			by = s.by
			break
		}
	}
	return r.offset + ext - r.base + uint64(by), true
}

// came reports whether ext, which is at most window below the highest, has been received.
func (r *receiver) came(ext uint64) bool {
	return r.seen[ext%window/64]&(1<<(ext%64)) != 0
}

// measure takes a packet into the interarrival jitter (RFC 3550 appendix A.8).
func (r *receiver) measure(timestamp uint32, at port.Time) {
	transit := int64(int32(ticks(int64(at), r.clockRate) - timestamp))
	if r.received > 1 {
		d := int64(int32(transit - r.transit))
		if d < 0 {
			d = -d
		}
		r.jitter += d - (r.jitter+8)>>4
	}
	r.transit = transit
}

// due appends the sequence numbers to ask for now, at most as many as fit, and returns when to look
// again.
func (r *receiver) due(now port.Time, seqs []uint16) ([]uint16, port.Time) {
	next := port.Never
	keep := r.missing[:0]
	for _, m := range r.missing {
		if r.came(m.ext) || r.highest-m.ext >= window {
			continue
		}
		if m.at <= now && len(seqs) < cap(seqs) {
			seqs = append(seqs, uint16(m.ext))
			m.tries++
			if m.tries >= nackTries {
				continue
			}
			m.at = now + nackPause*port.Time(m.tries)
		}
		next = min(next, m.at)
		keep = append(keep, m)
	}
	if r.missing = keep; len(keep) == 0 && cap(keep) > missingKept {
		r.missing = nil // a burst's memory
	}
	return seqs, next
}

// report makes the report block about this source (RFC 3550 section 6.4.1).
func (r *receiver) report(now port.Time) rtcp.ReportBlock {
	expected := r.highest - r.lowest + 1
	lost := int64(expected) - int64(r.received)
	b := rtcp.ReportBlock{
		SSRC:    r.ssrc,
		Lost:    int32(max(min(lost, 1<<23-1), -1<<23)),
		Highest: uint32(r.highest - 1<<16), // cycles count from 0; the unwrapper starts at 1
		Jitter:  uint32(r.jitter >> 4),
		LastSR:  r.lastSR,
	}
	interval := expected - r.expectedPrior
	if l := int64(interval) - int64(r.received-r.receivedPrior); l > 0 {
		b.FractionLost = uint8(min(l<<8/int64(interval), 255))
	}
	r.expectedPrior, r.receivedPrior = expected, r.received
	if r.lastSR != 0 {
		b.Delay = ticks(int64(now-r.lastSRArrival), 1<<16)
	}
	return b
}

// restart continues the numbering behind what there was, for a layer whose SSRC changed.
func (r *receiver) restart() {
	next, _ := r.number(r.highest + 1)
	ssrc, rtx, rate, miss := r.ssrc, r.rtx, r.clockRate, r.missing[:0]
	*r = receiver{ssrc: ssrc, rtx: rtx, clockRate: rate, missing: miss, offset: next}
}

func newReceiver(clockRate uint32) *receiver {
	return &receiver{clockRate: clockRate}
}
