package rtp

import "encoding/binary"

// StartsKeyframe reports whether a decoder can start with this payload: it is the first packet of a
// keyframe. payload is decrypted and without padding.
//
// H.264 and H.265 may spread one keyframe's start over several packets (parameter sets, then the
// first slice); each of them answers true, and of those with one timestamp the first is the start.
// Later slices of the picture answer false. Audio has no keyframes: always false.
func StartsKeyframe(c Codec, payload []byte) bool {
	switch c {
	case VP8:
		return startsVP8(payload)
	case VP9:
		return startsVP9(payload)
	case H264:
		return startsH264(payload)
	case H265:
		return startsH265(payload)
	case AV1:
		return startsAV1(payload)
	}
	return false
}

// startsVP8 looks for the start (S) of partition 0 (PID) and behind the descriptor for the frame
// header's clear P bit (RFC 7741 sections 4.2 and 4.3).
func startsVP8(p []byte) bool {
	d, ok := parseVP8(p)
	return ok && p[0]&0x10 != 0 && p[0]&0x07 == 0 && p[d.size]&0x01 == 0
}

// startsVP9 looks for the beginning (B) of a frame that is not predicted from other pictures (P)
// and, where layers are told, belongs to the lowest spatial one: those above have P clear in a
// keyframe too (RFC 9628 section 4.2).
func startsVP9(p []byte) bool {
	d, ok := parseVP9(p)
	return ok && p[0]&0x08 != 0 && p[0]&0x40 == 0 && d.spatial == 0
}

// H.264 NAL unit and packet types (RFC 6184 section 5.2).
const (
	h264IDR   = 5
	h264SPS   = 7
	h264STAPA = 24
	h264STAPB = 25
	h264FUA   = 28
	h264FUB   = 29
)

func startsH264(p []byte) bool {
	if len(p) < 2 {
		return false
	}
	switch p[0] & 0x1F {
	case h264STAPA:
		return aggregates(p[1:], startsH264Unit)
	case h264STAPB: // a decoding order number precedes the units
		return len(p) > 3 && aggregates(p[3:], startsH264Unit)
	case h264FUA:
		return len(p) > 2 && p[1]&0x80 != 0 && startsH264Slice(p[1]&0x1F, p[2])
	case h264FUB:
		return len(p) > 4 && p[1]&0x80 != 0 && startsH264Slice(p[1]&0x1F, p[4])
	}
	return startsH264Unit(p)
}

func startsH264Unit(unit []byte) bool {
	return len(unit) > 1 && startsH264Slice(unit[0]&0x1F, unit[1])
}

// startsH264Slice judges a NAL unit by its type and the byte behind its header. A slice starts its
// picture if first_mb_in_slice is 0, whose Exp-Golomb code is a single set bit.
func startsH264Slice(kind, first byte) bool {
	return kind == h264SPS || kind == h264IDR && first&0x80 != 0
}

// H.265 NAL unit and packet types (RFC 7798 section 4.4; H.265 table 7-1).
const (
	h265FirstIRAP = 16
	h265LastIRAP  = 21
	h265VPS       = 32
	h265PPS       = 34
	h265AP        = 48
	h265FU        = 49
)

func startsH265(p []byte) bool {
	if len(p) < 3 {
		return false
	}
	switch kind := p[0] >> 1 & 0x3F; kind {
	case h265AP:
		return aggregates(p[2:], startsH265Unit)
	case h265FU:
		return len(p) > 3 && p[2]&0x80 != 0 && startsH265Slice(p[2]&0x3F, p[3])
	default:
		return startsH265Unit(p)
	}
}

func startsH265Unit(unit []byte) bool {
	return len(unit) > 2 && startsH265Slice(unit[0]>>1&0x3F, unit[2])
}

// startsH265Slice judges a NAL unit by its type and the byte behind its header, of which the first
// bit is first_slice_segment_in_pic_flag in slices of intra random access pictures.
func startsH265Slice(kind, first byte) bool {
	if kind >= h265FirstIRAP && kind <= h265LastIRAP {
		return first&0x80 != 0
	}
	return kind >= h265VPS && kind <= h265PPS
}

// aggregates walks units that are each preceded by 16 bits of length, up to the first that starts a
// keyframe or does not fit.
func aggregates(p []byte, starts func(unit []byte) bool) bool {
	for len(p) > 2 {
		n := int(binary.BigEndian.Uint16(p))
		p = p[2:]
		if n == 0 || n > len(p) {
			return false
		}
		if starts(p[:n]) {
			return true
		}
		p = p[n:]
	}
	return false
}

// startsAV1 looks for the aggregation header's N bit, which marks the first packet of a coded video
// sequence, and that its first element is no continuation (Z) (RTP Payload Format for AV1, section
// 4.4).
func startsAV1(p []byte) bool {
	return len(p) > 1 && p[0]&0x08 != 0 && p[0]&0x80 == 0
}
