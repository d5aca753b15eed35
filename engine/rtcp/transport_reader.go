package rtcp

import "encoding/binary"

// A TransportReport walks the packets that one piece of transport-wide feedback reports on, in the order of their
// numbers. Numbers that the receiver never saw are reported as not received only if a later one arrived.
type TransportReport struct {
	chunks, deltas []byte
	number         uint16
	left           int    // numbers still to be reported
	time           uint32 // of the last packet that arrived, in ticks modulo 2^32
	chunk          uint16 // the statuses in hand
	inChunk        int    // how many there are
	malformed      bool
}

// A Status is a receiver's report on one packet.
type Status struct {
	// Number is the packet's transport-wide sequence number.
	Number uint16
	// Received is set when it arrived, at At: ticks of 250 µs on the receiver's clock, modulo 2^32.
	Received bool
	At       uint32
}

// TransportReport starts at the first packet that feedback of type TransportCC reports on. It is false for other types
// and for feedback that is too short.
func (p *Packet) TransportReport() (r TransportReport, ok bool) {
	const fixed = transportLen - headerLen
	if p.Type != TransportCC || len(p.body) < fixed {
		return r, false
	}
	b := p.body
	r.number = binary.BigEndian.Uint16(b[8:])
	r.left = int(binary.BigEndian.Uint16(b[10:]))
	r.time = (uint32(b[12])<<16 | uint32(b[13])<<8 | uint32(b[14])) * referenceTicks
	r.chunks = b[fixed:]
	// Deltas come after the chunks that cover all numbers.
	for n, c := 0, r.chunks; n < r.left; c = c[2:] {
		if len(c) < 2 {
			return r, false
		}
		n += covered(binary.BigEndian.Uint16(c))
		r.deltas = c[2:]
	}
	return r, true
}

// covered is how many numbers a chunk reports on.
func covered(chunk uint16) int {
	switch chunk >> 14 {
	case 2:
		return oneBitVector
	case 3:
		return twoBitVector
	}
	return int(chunk & maxRun)
}

// Malformed reports whether Next ended the walk before the last number: the feedback holds fewer times than it
// promises, or a reserved status.
func (r *TransportReport) Malformed() bool { return r.malformed }

// Number is the number of the packet that Next reports on next.
func (r *TransportReport) Number() uint16 { return r.number }

// Left is the number of packets that Next has not reported yet.
func (r *TransportReport) Left() int { return r.left }

// Next reports on the next packet; false at the end, or before anything malformed.
func (r *TransportReport) Next(s *Status) bool {
	if r.left == 0 || r.malformed {
		return false
	}
	for r.inChunk == 0 {
		r.chunk = binary.BigEndian.Uint16(r.chunks)
		r.chunks = r.chunks[2:]
		r.inChunk = covered(r.chunk)
	}
	*s = Status{Number: r.number}
	if !r.arrival(r.status(), s) {
		r.malformed = true
		return false
	}
	r.number++
	r.left--
	r.inChunk--
	return true
}

// status is that of the number in hand.
func (r *TransportReport) status() int {
	switch r.chunk >> 14 {
	case 2:
		return int(r.chunk>>(r.inChunk-1)) & 1
	case 3:
		return int(r.chunk>>(2*(r.inChunk-1))) & 3
	}
	return int(r.chunk>>13) & 3
}

// arrival reads the time of a packet that arrived.
func (r *TransportReport) arrival(status int, s *Status) bool {
	switch status {
	case notReceived:
		return true
	case smallDelta:
		if len(r.deltas) < 1 {
			return false
		}
		r.time += uint32(r.deltas[0])
		r.deltas = r.deltas[1:]
	case largeDelta:
		if len(r.deltas) < 2 {
			return false
		}
		r.time += uint32(int16(binary.BigEndian.Uint16(r.deltas)))
		r.deltas = r.deltas[2:]
	default:
		return false
	}
	s.Received, s.At = true, r.time
	return true
}
