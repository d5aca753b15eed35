package media

import (
	"encoding/binary"

	"github.com/pion/rtp/codecs"

	"ringcast/engine/rtp"
)

const (
	// vp8Descriptor is the length of the payload descriptor with a 15-bit picture ID (RFC 7741 section 4.2). libwebrtc
	// sends it for a stream without temporal layers.
	vp8Descriptor = 4
	// fragmentHeader is the length of an FU-A's indicator and header (RFC 6184 section 5.8).
	fragmentHeader = 2

	naluFragment  = 28
	naluDelimiter = 9
)

// A Packetizer splits frames into payloads.
type Packetizer struct {
	codec rtp.Codec
	most  int // the most bytes of a payload
	vp9   codecs.VP9Payloader
	av1   codecs.AV1Payloader

	picture  uint16
	parts    []int
	payloads [][]byte
	memory   []byte
}

// NewPacketizer returns a packetizer whose payloads have most bytes at most, and at least 100.
func NewPacketizer(c rtp.Codec, most int) *Packetizer {
	return &Packetizer{codec: c, most: most}
}

// Packets splits a frame.
func (p *Packetizer) Packets(f Frame) [][]byte {
	p.payloads, p.memory = p.payloads[:0], p.memory[:0]
	switch p.codec {
	case rtp.VP8:
		p.splitVP8(f.Units[0])
	case rtp.H264:
		for _, unit := range f.Units {
			p.splitH264(unit)
		}
	case rtp.VP9:
		p.payloads = append(p.payloads, p.vp9.Payload(uint16(p.most), f.Units[0])...)
	case rtp.AV1:
		p.payloads = append(p.payloads, p.av1.Payload(uint16(p.most), f.Units[0])...)
	default:
		p.payloads = append(p.payloads, p.claim(f.Units[0]))
	}
	return p.payloads
}

// splitVP8 puts a descriptor before each part: extended, with a picture ID. The first one also marks the start of the
// partition.
func (p *Packetizer) splitVP8(frame []byte) {
	p.picture = (p.picture + 1) & 0x7FFF
	p.parts = Split(p.parts[:0], len(frame), p.most-vp8Descriptor)
	for i, n := range p.parts {
		descriptor := [vp8Descriptor]byte{0x80, 0x80}
		if i == 0 {
			descriptor[0] |= 0x10
		}
		binary.BigEndian.PutUint16(descriptor[2:], 0x8000|p.picture)
		p.payloads = append(p.payloads, p.claim(descriptor[:], frame[:n]))
		frame = frame[n:]
	}
}

// splitH264 sends a NAL unit whole or as fragments. It leaves out delimiters, as RFC 6184 allows.
func (p *Packetizer) splitH264(unit []byte) {
	if len(unit) == 0 || unit[0]&0x1F == naluDelimiter {
		return
	}
	if len(unit) <= p.most {
		p.payloads = append(p.payloads, p.claim(unit))
		return
	}
	head, rest := unit[0], unit[1:]
	p.parts = Split(p.parts[:0], len(rest), p.most-fragmentHeader)
	for i, n := range p.parts {
		fragment := [fragmentHeader]byte{head&0xE0 | naluFragment, head & 0x1F}
		if i == 0 {
			fragment[1] |= 0x80
		}
		if i == len(p.parts)-1 {
			fragment[1] |= 0x40
		}
		p.payloads = append(p.payloads, p.claim(fragment[:], rest[:n]))
		rest = rest[n:]
	}
}

// claim copies parts to the packetizer's memory. Earlier payloads keep their array when it grows.
func (p *Packetizer) claim(parts ...[]byte) []byte {
	start := len(p.memory)
	for _, part := range parts {
		p.memory = append(p.memory, part...)
	}
	return p.memory[start:len(p.memory):len(p.memory)]
}

// Split appends the lengths of the parts that libwebrtc's RtpPacketizer::SplitAboutEqually makes of size bytes. They
// are as few as fit most. All are equal, except that the last ones are a byte longer where the division leaves a
// remainder. A sender of one UDP_SEGMENT message a frame has to deal with such longer packets at the end of equal ones.
func Split(parts []int, size, most int) []int {
	if size <= 0 || most <= 0 {
		return parts
	}
	n := (size + most - 1) / most
	longer := size % n
	for i := range n {
		part := size / n
		if i >= n-longer {
			part++
		}
		parts = append(parts, part)
	}
	return parts
}
