package rtcp

import "encoding/binary"

// Transport-wide feedback, draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1. Times are in ticks of
// 250 µs; the reference time of a packet is a multiple of 256 of them.
const (
	tick           = 250_000 // in nanoseconds
	referenceTicks = 256
	transportLen   = 20   // header, sources, base, count, reference time and packet count
	maxRun         = 8191 // numbers in a run-length chunk
	oneBitVector   = 14   // numbers in a status vector of one bit each
	twoBitVector   = 7
)

// The status of a packet in a chunk.
const (
	notReceived = iota
	smallDelta  // one byte
	largeDelta  // two bytes, signed
)

const (
	minArrivals = 64
	// maxArrivals bounds the numbers between the last feedback and the newest packet. A larger jump is a new start.
	maxArrivals = 8192
)

// Arrivals is a receiver's record of transport-wide sequence numbers: which packets came, and when. The zero value is
// ready to use. It grows with the numbers between two feedbacks, up to 32 KiB.
type Arrivals struct {
	// times are the arrivals of numbers below end, in ticks modulo 2^32, by number modulo the room. It has as many of
	// them as there is room for; 0 is a packet that did not come.
	times []uint32
	// told is the first number that is still to be reported.
	told, end uint64
	count     uint8 // feedbacks so far
}

// Note records that a packet arrived, at nanoseconds on the receiver's clock. The first of several with one number
// counts. A packet that comes after later ones were reported is reported with these again.
func (a *Arrivals) Note(seq uint16, at int64) {
	if a.times == nil {
		a.times = make([]uint32, minArrivals)
		a.start(1<<16 + uint64(seq))
	}
	ext := a.end + uint64(int64(int16(seq-uint16(a.end))))
	switch {
	case ext >= a.end+maxArrivals:
		a.start(ext)
	case ext < a.end && a.end-ext > uint64(len(a.times)):
		return // too late
	}
	if ext >= a.end {
		a.told = max(a.told, ext+1-min(ext+1, maxArrivals))
		for ext+1-min(a.told, a.end) > uint64(len(a.times)) {
			a.grow()
		}
		for i := a.end; i < ext; i++ {
			*a.at(i) = 0
		}
		a.end = ext + 1
	} else if *a.at(ext) != 0 {
		return
	}
	a.told = min(a.told, ext)
	*a.at(ext) = max(uint32(at/tick), 1)
}

// start begins again with a number.
func (a *Arrivals) start(ext uint64) {
	clear(a.times)
	a.told, a.end = ext, ext
}

func (a *Arrivals) at(ext uint64) *uint32 { return &a.times[ext&uint64(len(a.times)-1)] }

// grow doubles the room.
func (a *Arrivals) grow() {
	old := a.times
	a.times = make([]uint32, 2*len(old))
	for i := a.end - min(a.end, uint64(len(old))); i < a.end; i++ {
		*a.at(i) = old[i&uint64(len(old)-1)]
	}
}

// AppendFeedback appends one packet of feedback about arrivals that are still to be reported, or nothing where there
// are none. The packet has at most room bytes, which should be at least 32. more reports that another packet is needed.
func (a *Arrivals) AppendFeedback(dst []byte, room int, sender, media uint32) (out []byte, more bool) {
	first := a.told
	for first < a.end && *a.at(first) == 0 {
		first++
	}
	if first == a.end {
		return dst, false
	}
	reference := *a.at(first) / referenceTicks
	start := len(dst)
	dst = appendFeedback(dst, formatTransportCC, wireRTPFB, sender, media, transportLen-feedbackLen)
	dst = binary.BigEndian.AppendUint16(dst, uint16(a.told))
	dst = append(dst, 0, 0, byte(reference>>16), byte(reference>>8), byte(reference), a.count)

	var c chunk
	last, deltas := reference*referenceTicks, 0
	next := a.told
	for ; next < a.end; next++ {
		status, size := notReceived, 0
		if t := *a.at(next); t != 0 {
			switch d := int32(t - last); {
			case 0 <= d && d <= 255:
				status, size = smallDelta, 1
			case -1<<15 <= d && d < 1<<15:
				status, size = largeDelta, 2
			}
			if size == 0 {
				break // too long after the last one
			}
			last = t
		}
		// The chunk in hand and, if this ends it, the next; up to 3 bytes of padding.
		if len(dst)-start+2*2+deltas+size+3 > room {
			break
		}
		if !c.add(uint8(status)) {
			dst = c.appendTo(dst)
			c.add(uint8(status))
		}
		deltas += size
	}
	for c.n > 0 {
		dst = c.appendTo(dst)
	}
	binary.BigEndian.PutUint16(dst[start+14:], uint16(next-a.told))
	dst = a.appendDeltas(dst, next, reference*referenceTicks)
	if pad := -(len(dst) - start) & 3; pad > 0 {
		dst = append(dst, make([]byte, pad)...)
		dst[len(dst)-1] = byte(pad)
		dst[start] |= 0x20
	}
	binary.BigEndian.PutUint16(dst[start+2:], uint16((len(dst)-start)/4-1))
	a.told = next
	a.count++
	return dst, next < a.end
}

// appendDeltas appends the time of each packet received, up to the number next, after the one before.
func (a *Arrivals) appendDeltas(dst []byte, next uint64, last uint32) []byte {
	for i := a.told; i < next; i++ {
		t := *a.at(i)
		if t == 0 {
			continue
		}
		if d := int32(t - last); 0 <= d && d <= 255 {
			dst = append(dst, byte(d))
		} else {
			dst = binary.BigEndian.AppendUint16(dst, uint16(d))
		}
		last = t
	}
	return dst
}

// A chunk gathers the statuses of packets in a row until it fills 16 bits.
type chunk struct {
	status [oneBitVector]uint8
	n      int  // with more than oneBitVector all are alike
	mixed  bool // they are not alike
	large  bool // one is a largeDelta
}

// add takes one more packet in; false when the chunk has to be appended first.
func (c *chunk) add(status uint8) bool {
	alike := !c.mixed && (c.n == 0 || c.status[0] == status)
	switch {
	case c.n < twoBitVector:
	case c.n < oneBitVector && !c.large && status != largeDelta:
	case c.n < maxRun && alike:
	default:
		return false
	}
	if c.n < oneBitVector {
		c.status[c.n] = status
	}
	c.n++
	c.mixed = c.mixed || !alike
	c.large = c.large || status == largeDelta
	return true
}

// appendTo appends 16 bits, and keeps the packets that these do not cover.
func (c *chunk) appendTo(dst []byte) []byte {
	switch {
	case !c.mixed:
		dst = binary.BigEndian.AppendUint16(dst, uint16(c.status[0])<<13|uint16(c.n))
		*c = chunk{}
		return dst
	case !c.large && c.n == oneBitVector:
		v := uint16(1 << 15)
		for i, s := range c.status {
			v |= uint16(s) << (oneBitVector - 1 - i)
		}
		*c = chunk{}
		return binary.BigEndian.AppendUint16(dst, v)
	}
	v := uint16(3 << 14)
	n := min(c.n, twoBitVector)
	for i, s := range c.status[:n] {
		v |= uint16(s) << (2 * (twoBitVector - 1 - i))
	}
	rest := *c
	*c = chunk{}
	for _, s := range rest.status[n:rest.n] {
		c.add(s)
	}
	return binary.BigEndian.AppendUint16(dst, v)
}
