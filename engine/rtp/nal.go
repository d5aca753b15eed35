package rtp

import "encoding/binary"

// H.264 NAL unit and packet types (RFC 6184 section 5.2).
const (
	h264Slice = 1
	h264IDR   = 5
	h264SEI   = 6
	h264SPS   = 7
	h264PPS   = 8
	h264STAPA = 24
	h264STAPB = 25
	h264FUA   = 28
	h264FUB   = 29
)

// H.265 NAL unit and packet types (RFC 7798 section 4.4; H.265 table 7-1).
const (
	h265FirstIRAP = 16
	h265LastIRAP  = 21
	h265VPS       = 32
	h265SPS       = 33
	h265PPS       = 34
	h265PrefixSEI = 39
	h265AP        = 48
	h265FU        = 49
)

// recoveryPoint is the type of the SEI message that marks where decoding may start without an IDR
// (H.264 and H.265 annexes D).
const recoveryPoint = 6

// A nalUnit is one NAL unit in a payload.
type nalUnit struct {
	kind uint8
	// whole is the unit with its header; nil for a fragment.
	whole []byte
	// body follows the header; of a fragment it is the part that came.
	body []byte
}

// A nalReader yields the NAL units of a payload. A payload holds one unit, or the first fragment of one, or an
// aggregate: those up to the first that does not fit. Later fragments yield none.
type nalReader struct {
	codec Codec
	rest  []byte
	// aggregate is set where each unit of rest is preceded by 16 bits of length.
	aggregate bool
	first     nalUnit // of a fragmented unit
}

func readNAL(c Codec, p []byte) (r nalReader) {
	r.codec = c
	if c == H265 {
		r.readH265(p)
	} else {
		r.readH264(p)
	}
	return r
}

func (r *nalReader) readH264(p []byte) {
	if len(p) < 2 {
		return
	}
	switch p[0] & 0x1F {
	case h264STAPA:
		r.rest, r.aggregate = p[1:], true
	case h264STAPB: // a decoding order number precedes the units
		if len(p) > 3 {
			r.rest, r.aggregate = p[3:], true
		}
	case h264FUA:
		r.fragment(p[1], 0x1F, p[2:])
	case h264FUB:
		if len(p) > 4 {
			r.fragment(p[1], 0x1F, p[4:])
		}
	default:
		r.rest = p
	}
}

func (r *nalReader) readH265(p []byte) {
	if len(p) < 3 {
		return
	}
	switch p[0] >> 1 & 0x3F {
	case h265AP:
		r.rest, r.aggregate = p[2:], true
	case h265FU:
		r.fragment(p[2], 0x3F, p[3:])
	default:
		r.rest = p
	}
}

// fragment notes the first fragment of a unit, which the highest bit of its header marks.
func (r *nalReader) fragment(header, kind byte, body []byte) {
	if header&0x80 != 0 {
		r.first = nalUnit{kind: header & kind, body: body}
	}
}

// next yields a unit with at least a byte of body, false when there is none.
func (r *nalReader) next() (u nalUnit, ok bool) {
	if len(r.first.body) > 0 {
		u, r.first = r.first, u
		return u, true
	}
	header := 1
	if r.codec == H265 {
		header = 2
	}
	for len(r.rest) > 0 {
		p := r.rest
		r.rest = nil
		if r.aggregate {
			if len(p) < 2 {
				break
			}
			n := int(binary.BigEndian.Uint16(p))
			if n == 0 || n > len(p)-2 {
				break
			}
			p, r.rest = p[2:2+n], p[2+n:]
		}
		if len(p) <= header {
			continue
		}
		kind := p[0] & 0x1F
		if r.codec == H265 {
			kind = p[0] >> 1 & 0x3F
		}
		return nalUnit{kind: kind, whole: p, body: p[header:]}, true
	}
	return u, false
}

// contentNAL reads H.264 or H.265.
func contentNAL(c Codec, p []byte) (all Content) {
	for r := readNAL(c, p); ; {
		u, ok := r.next()
		if !ok {
			return all
		}
		if c == H264 {
			all |= u.contentH264()
		} else {
			all |= u.contentH265()
		}
	}
}

// contentH264 judges a NAL unit (H.264 section 7.3.3). A slice starts its picture if first_mb_in_slice is 0, whose
// Exp-Golomb code is a single set bit. In slice_type, which follows, 2 and 7 are intra.
func (u *nalUnit) contentH264() Content {
	switch first := u.body[0]; u.kind {
	case h264SPS, h264PPS:
		return HasSets
	case h264IDR:
		return keyIf(first&0x80 != 0)
	case h264SEI:
		return keyIf(hasRecoveryPoint(u.body))
	case h264Slice:
		if first&0xF0 == 0xB0 || first == 0x88 {
			return HasIntra
		}
	}
	return 0
}

// contentH265 judges a NAL unit. In slices of intra random access pictures the first bit is
// first_slice_segment_in_pic_flag (H.265 section 7.3.6.1).
func (u *nalUnit) contentH265() Content {
	switch {
	case u.kind >= h265FirstIRAP && u.kind <= h265LastIRAP:
		return keyIf(u.body[0]&0x80 != 0)
	case u.kind >= h265VPS && u.kind <= h265PPS:
		return HasSets
	case u.kind == h265PrefixSEI:
		return keyIf(hasRecoveryPoint(u.body))
	}
	return 0
}

// maxSEI bounds how much of an SEI unit is read, in bytes. The messages that encoders put before a recovery point
// have about ten each.
const maxSEI = 128

// hasRecoveryPoint walks the messages of an SEI unit (H.264 section 7.3.2.3, H.265 section 7.3.5).
func hasRecoveryPoint(body []byte) bool {
	r := bitReader{rest: body[:min(len(body), maxSEI)]}
	for len(r.rest) > 2 { // a message has a type and a size; a byte ends them all
		kind, size := r.number(), r.number()
		if kind == recoveryPoint {
			return !r.bad
		}
		for ; size > 0 && !r.bad; size-- {
			r.load()
		}
	}
	return false
}

// A bitReader reads a NAL unit without its emulation prevention bytes (H.264 section 7.4.1). At the end it turns bad:
// no value read from then on means anything, and reading on costs nothing.
type bitReader struct {
	rest []byte
	// plain is set where there are none of those bytes: in VP9 and AV1.
	plain bool
	zeros uint8 // bytes of zeros just read
	bit   uint8 // bits of the present byte that are left
	byte  byte
	bad   bool
}

func (r *bitReader) bits(n int) (v uint32) {
	for ; n > 0 && !r.bad; n-- {
		if r.bit == 0 {
			r.load()
		}
		r.bit--
		v = v<<1 | uint32(r.byte>>r.bit&1)
	}
	return v
}

func (r *bitReader) load() {
	r.bit, r.byte = 8, 0
	if r.zeros >= 2 && !r.plain && len(r.rest) > 0 && r.rest[0] == 3 {
		r.rest, r.zeros = r.rest[1:], 0
	}
	if len(r.rest) == 0 {
		r.bad = true
		return
	}
	r.byte, r.rest = r.rest[0], r.rest[1:]
	if r.byte == 0 {
		r.zeros++
	} else {
		r.zeros = 0
	}
}

// golomb reads an unsigned Exp-Golomb code of at most 16 leading zeros (H.264 section 9.1).
func (r *bitReader) golomb() uint32 {
	zeros := 0
	for r.bits(1) == 0 {
		if zeros++; zeros > 16 || r.bad {
			r.bad = true
			return 0
		}
	}
	return 1<<zeros - 1 + r.bits(zeros)
}

// number reads an SEI message's type or size from whole bytes: some of 255 and one more add up.
func (r *bitReader) number() (n int) {
	for !r.bad {
		r.load()
		n += int(r.byte)
		if r.byte != 255 {
			break
		}
	}
	return n
}
