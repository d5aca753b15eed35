package rtcp

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// Type is a packet's type, for feedback together with its format.
type Type uint8

const (
	// Unknown is every packet that is well-formed and none of those below.
	Unknown       Type = iota
	SR                 // sender report, RFC 3550 section 6.4.1
	RR                 // receiver report, RFC 3550 section 6.4.2
	SDES               // source description, RFC 3550 section 6.5
	BYE                // goodbye, RFC 3550 section 6.6
	APP                // application-defined, RFC 3550 section 6.7
	NACK               // generic NACK, RFC 4585 section 6.2.1
	TransportCC        // transport-wide congestion control, draft-holmer-rmcat-transport-wide-cc-extensions-01
	PLI                // picture loss indication, RFC 4585 section 6.3.1
	FIR                // full intra request, RFC 5104 section 4.3.1
	REMB               // receiver estimated maximum bitrate, draft-alvestrand-rmcat-remb-03
	XR                 // extended report, RFC 3611
	LossElsewhere      // third-party loss early indication, RFC 6642
)

var typeNames = [...]string{
	"unknown", "SR", "RR", "SDES", "BYE", "APP", "NACK", "TWCC", "PLI", "FIR", "REMB", "XR", "LossElsewhere",
}

func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return typeNames[Unknown]
}

// Packet types on the wire.
const (
	wireSR    = 200
	wireRR    = 201
	wireSDES  = 202
	wireBYE   = 203
	wireAPP   = 204
	wireRTPFB = 205
	wirePSFB  = 206
	wireXR    = 207
)

// Feedback formats on the wire, by packet type.
const (
	formatNACK          = 1  // RTPFB
	formatLossElsewhere = 7  // RTPFB
	formatTransportCC   = 15 // RTPFB
	formatPLI           = 1  // PSFB
	formatFIR           = 4  // PSFB
	formatREMB          = 15 // PSFB; any application's, told apart by the identifier
)

// Lengths in bytes.
const (
	headerLen     = 4
	senderInfoLen = 20
	blockLen      = 24
	feedbackLen   = 12 // header, sender and media source
	nackLen       = 4  // one PID and BLP
	firLen        = 8  // one FIR entry
	rembLen       = 8  // identifier, count and bitrate
)

const rembIdentifier = "REMB"

// A Reader walks the packets of a compound.
type Reader struct {
	rest      []byte
	malformed bool
}

// NewReader starts at the first packet of compound, which is decrypted.
func NewReader(compound []byte) Reader { return Reader{rest: compound} }

// Malformed reports whether Next ended the walk at bytes that are no well-formed packet.
func (r *Reader) Malformed() bool { return r.malformed }

// Next reads the next packet into p; false at the end, or before something malformed.
func (r *Reader) Next(p *Packet) bool {
	if len(r.rest) == 0 || r.malformed {
		return false
	}
	n, ok := p.parse(r.rest)
	if !ok {
		r.malformed = true
		return false
	}
	r.rest = r.rest[n:]
	return true
}

// A Packet is one RTCP packet of a compound, which it borrows.
type Packet struct {
	Type Type
	// SSRC is the packet's sender; of BYE and SDES it is the first source, 0 where there is none.
	SSRC uint32
	// Media is the source that feedback is about, 0 for other packets. FIR and REMB leave it 0 and
	// name their sources in the entries.
	Media uint32
	// Count is the header's 5-bit field: the number of blocks or sources, or the format.
	Count uint8

	body []byte // after the header, without padding
}

// Body returns the bytes after the packet's first 4, without padding.
func (p *Packet) Body() []byte { return p.body }

// parse reads the packet at the start of data and returns its length in bytes.
func (p *Packet) parse(data []byte) (int, bool) {
	if len(data) < headerLen || data[0]>>6 != 2 {
		return 0, false
	}
	n := headerLen + 4*int(binary.BigEndian.Uint16(data[2:]))
	if n > len(data) {
		return 0, false
	}
	body := data[headerLen:n]
	if data[0]&0x20 != 0 {
		// Padding counts itself (RFC 3550 section 6.4.1). It should come in words, but libwebrtc
		// pads transport-wide feedback by single bytes.
		if len(body) == 0 {
			return 0, false
		}
		pad := int(body[len(body)-1])
		if pad == 0 || pad > len(body) {
			return 0, false
		}
		body = body[:len(body)-pad]
	}
	*p = Packet{Count: data[0] & 0x1F, body: body}
	if len(body) >= 4 {
		p.SSRC = binary.BigEndian.Uint32(body)
	}
	return n, p.classify(data[1])
}

// classify sets the type and reports whether the body is long enough for it.
func (p *Packet) classify(wire byte) bool {
	n := int(p.Count)
	switch wire {
	case wireSR:
		p.Type = SR
		return len(p.body) >= 4+senderInfoLen+n*blockLen
	case wireRR:
		p.Type = RR
		return len(p.body) >= 4+n*blockLen
	case wireSDES:
		p.Type = SDES
		return len(p.body) >= 4*n
	case wireBYE:
		p.Type = BYE
		return len(p.body) >= 4*n
	case wireAPP:
		p.Type = APP
		return len(p.body) >= 8
	case wireXR:
		p.Type = XR
		return len(p.body) >= 4
	case wireRTPFB, wirePSFB:
		if len(p.body) < feedbackLen-headerLen {
			return false
		}
		p.Media = binary.BigEndian.Uint32(p.body[4:])
		return p.classifyFeedback(wire, p.body[feedbackLen-headerLen:])
	}
	return true
}

func (p *Packet) classifyFeedback(wire byte, fci []byte) bool {
	switch {
	case wire == wireRTPFB && p.Count == formatNACK:
		p.Type = NACK
		return len(fci)%nackLen == 0
	case wire == wireRTPFB && p.Count == formatLossElsewhere:
		p.Type = LossElsewhere
		return len(fci)%nackLen == 0
	case wire == wireRTPFB && p.Count == formatTransportCC:
		p.Type = TransportCC
		return len(fci) >= 8
	case wire == wirePSFB && p.Count == formatPLI:
		p.Type = PLI
	case wire == wirePSFB && p.Count == formatFIR:
		p.Type = FIR
		return len(fci)%firLen == 0
	case wire == wirePSFB && p.Count == formatREMB && len(fci) >= rembLen && string(fci[:4]) == rembIdentifier:
		p.Type = REMB
		return len(fci) >= rembLen+4*int(fci[4])
	}
	return true
}

// SenderInfo is the sender's part of a sender report (RFC 3550 section 6.4.1).
type SenderInfo struct {
	// NTP is the wall clock: seconds since 1900 in the upper 32 bits, their fraction below.
	NTP uint64
	// RTP is the same moment in units and offset of the RTP timestamps.
	RTP uint32
	// Packets and Octets count packets sent so far, and octets of their payload.
	Packets, Octets uint32
}

// SenderInfo reads a sender report's own part; false for other packets.
func (p *Packet) SenderInfo() (SenderInfo, bool) {
	if p.Type != SR {
		return SenderInfo{}, false
	}
	b := p.body[4 : 4+senderInfoLen]
	return SenderInfo{
		NTP:     binary.BigEndian.Uint64(b),
		RTP:     binary.BigEndian.Uint32(b[8:]),
		Packets: binary.BigEndian.Uint32(b[12:]),
		Octets:  binary.BigEndian.Uint32(b[16:]),
	}, true
}

// ReportBlock is a receiver's report on one source (RFC 3550 section 6.4.1).
type ReportBlock struct {
	SSRC uint32
	// FractionLost is the share of packets lost since the last report, in 1/256.
	FractionLost uint8
	// Lost is the packets lost in all, -2^23 to 2^23-1: duplicates can make it negative.
	Lost int32
	// Highest is the highest sequence number received, with the count of its cycles above it.
	Highest uint32
	// Jitter is the variation of the arrival times in units of the RTP timestamps.
	Jitter uint32
	// LastSR is the middle 32 bits of the NTP time in the last sender report, 0 before any.
	LastSR uint32
	// Delay is the time since that report, in 1/65536 s.
	Delay uint32
}

// Blocks iterates over report blocks.
type Blocks struct{ rest []byte }

// Blocks returns the report blocks of a sender or receiver report; of other packets none.
func (p *Packet) Blocks() Blocks {
	var b []byte
	switch p.Type {
	case SR:
		b = p.body[4+senderInfoLen:]
	case RR:
		b = p.body[4:]
	default:
		return Blocks{}
	}
	return Blocks{rest: b[:int(p.Count)*blockLen]}
}

// Next reads the next block; false after the last.
func (b *Blocks) Next(r *ReportBlock) bool {
	if len(b.rest) < blockLen {
		return false
	}
	d := b.rest[:blockLen]
	b.rest = b.rest[blockLen:]
	loss := binary.BigEndian.Uint32(d[4:])
	*r = ReportBlock{
		SSRC:         binary.BigEndian.Uint32(d),
		FractionLost: uint8(loss >> 24),
		Lost:         int32(loss<<8) >> 8, // 24 bits, signed
		Highest:      binary.BigEndian.Uint32(d[8:]),
		Jitter:       binary.BigEndian.Uint32(d[12:]),
		LastSR:       binary.BigEndian.Uint32(d[16:]),
		Delay:        binary.BigEndian.Uint32(d[20:]),
	}
	return true
}

// NACKs iterates over sequence numbers asked for again.
type NACKs struct {
	rest []byte
	seq  uint16
	mask uint16 // bit i set: seq+1+i is still to come
}

// NACKs returns the sequence numbers of a generic NACK or of a LossElsewhere, each PID and its BLP in turn; of other
// packets none.
func (p *Packet) NACKs() NACKs {
	if p.Type != NACK && p.Type != LossElsewhere {
		return NACKs{}
	}
	return NACKs{rest: p.body[feedbackLen-headerLen:]}
}

// Next returns the next sequence number; false after the last.
func (n *NACKs) Next() (seq uint16, ok bool) {
	if n.mask != 0 {
		i := bits.TrailingZeros16(n.mask)
		n.mask &= n.mask - 1
		return n.seq + 1 + uint16(i), true
	}
	if len(n.rest) < nackLen {
		return 0, false
	}
	n.seq = binary.BigEndian.Uint16(n.rest)
	n.mask = binary.BigEndian.Uint16(n.rest[2:])
	n.rest = n.rest[nackLen:]
	return n.seq, true
}

// FIRs iterates over the entries of a full intra request.
type FIRs struct{ rest []byte }

// FIRs returns the entries of a full intra request; of other packets none.
func (p *Packet) FIRs() FIRs {
	if p.Type != FIR {
		return FIRs{}
	}
	return FIRs{rest: p.body[feedbackLen-headerLen:]}
}

// Next returns the source that is asked and the request's sequence number, by which repetitions are
// known (RFC 5104 section 4.3.1.1); false after the last.
func (f *FIRs) Next() (ssrc uint32, command uint8, ok bool) {
	if len(f.rest) < firLen {
		return 0, 0, false
	}
	ssrc, command = binary.BigEndian.Uint32(f.rest), f.rest[4]
	f.rest = f.rest[firLen:]
	return ssrc, command, true
}

// Bitrate is a REMB's estimate in bits per second, the largest number where it exceeds 64 bits;
// false for other packets.
func (p *Packet) Bitrate() (bps uint64, ok bool) {
	if p.Type != REMB {
		return 0, false
	}
	v := binary.BigEndian.Uint32(p.body[feedbackLen-headerLen+4:]) & 0xFFFFFF
	exponent, mantissa := int(v>>18), uint64(v&0x3FFFF)
	if bits.Len64(mantissa)+exponent > 64 {
		return math.MaxUint64, true
	}
	return mantissa << exponent, true
}

// Sources iterates over SSRCs.
type Sources struct{ rest []byte }

// Sources returns the sources that a BYE says are leaving, or that a REMB is about; of other packets
// none.
func (p *Packet) Sources() Sources {
	switch p.Type {
	case BYE:
		return Sources{rest: p.body[:4*int(p.Count)]}
	case REMB:
		b := p.body[feedbackLen-headerLen:]
		return Sources{rest: b[rembLen : rembLen+4*int(b[4])]}
	}
	return Sources{}
}

// Next returns the next source; false after the last.
func (s *Sources) Next() (ssrc uint32, ok bool) {
	if len(s.rest) < 4 {
		return 0, false
	}
	ssrc = binary.BigEndian.Uint32(s.rest)
	s.rest = s.rest[4:]
	return ssrc, true
}
