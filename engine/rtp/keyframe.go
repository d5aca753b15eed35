package rtp

// Content says which parts of a keyframe a payload holds. The contents of the packets of one frame add
// up by OR.
type Content uint8

const (
	// HasSets: parameter sets (H.264, H.265) or a sequence header (AV1), without which no decoder starts.
	HasSets Content = 1 << iota
	// HasKey: the start of a picture from which decoders that have the sets decode all that follows.
	HasKey
	// HasIntra: the start of a picture with which decoders start only if sets came with it. It is an AV1 keyframe, or
	// an H.264 picture that begins with an intra slice and is no IDR.
	HasIntra
	// HasFrame: the header of any frame (AV1 only).
	HasFrame
)

// Starts reports whether a decoder can start with a frame of this content.
func (c Content) Starts() bool {
	return c&HasKey != 0 || c&(HasIntra|HasSets) == HasIntra|HasSets
}

// ContentOf reads a payload, which is decrypted and without padding. It is 0 for audio, which has no
// keyframes.
func ContentOf(c Codec, payload []byte) Content {
	switch c {
	case VP8:
		return keyIf(startsVP8(payload))
	case VP9:
		return keyIf(startsVP9(payload))
	case H264, H265:
		return contentNAL(c, payload)
	case AV1:
		return contentAV1(payload)
	}
	return 0
}

func keyIf(is bool) Content {
	if is {
		return HasKey
	}
	return 0
}

// startsVP8 reports whether a payload is the start (S) of partition 0 (PID) and its frame header's P bit is clear (RFC
// 7741 section 4).
func startsVP8(p []byte) bool {
	d, ok := parseVP8(p)
	return ok && p[0]&0x10 != 0 && p[0]&0x07 == 0 && p[d.size]&0x01 == 0
}

// startsVP9 looks for the beginning (B) of a frame that is not predicted from other pictures (P). Where the descriptor
// has layers, only the lowest spatial one counts: those above have P clear in a keyframe too (RFC 9628 section 4.2).
// Some payloaders never set P, FFmpeg's among them, so the frame's own header must name a keyframe as well.
func startsVP9(p []byte) bool {
	d, ok := parseVP9(p)
	if !ok || p[0]&0x48 != 0x08 || d.spatial != 0 {
		return false
	}
	off := d.size
	if p[0]&0x02 != 0 {
		off = endOfStructureVP9(p, off)
	}
	return off < len(p) && keyVP9(p[off])
}

// endOfStructureVP9 is where the scalability structure (V) at off ends, or len(p) if it is cut short
// (RFC 9628 section 4.2.1).
func endOfStructureVP9(p []byte, off int) int {
	flags := p[off]
	off++
	if flags&0x10 != 0 { // width and height of each spatial layer
		off += 4 * (int(flags>>5) + 1)
	}
	if flags&0x08 == 0 || off >= len(p) {
		return min(off, len(p))
	}
	pictures := int(p[off])
	for off++; pictures > 0 && off < len(p); pictures-- {
		off += 1 + int(p[off]>>2&3) // and as many reference indices
	}
	return min(off, len(p))
}

// keyVP9 reads the first byte of a VP9 frame (VP9 bitstream specification section 6.2). The fields are frame_marker,
// two bits of profile, a reserved bit in profile 3 only, show_existing_frame and frame_type. frame_type is 0 in
// keyframes.
func keyVP9(first byte) bool {
	if first&0xC0 != 0x80 {
		return false
	}
	if first&0x30 == 0x30 {
		first <<= 1
	}
	return first&0x0C == 0
}
