package rtp

import "encoding/binary"

// HeaderLen is the length in bytes of an RTP header without contributing sources and extensions
// (RFC 3550 section 5.1).
const HeaderLen = 12

// The first 16 bits of an extension block name its form (RFC 8285 section 4). The low four bits of the two-byte form
// are the application's.
const (
	oneByteProfile     = 0xBEDE
	twoByteProfile     = 0x1000
	twoByteProfileMask = 0xFFF0
)

// maxPacket is the longest packet that can be parsed, in bytes: a UDP payload cannot be longer, and
// within it every offset fits a Span.
const maxPacket = 1<<16 - 1

// A Span is a piece of a packet. Off 0 means that there is none: no extension lies there. Len may be
// 0 for an extension that is there, because the two-byte form allows empty ones.
type Span struct {
	Off uint16
	Len uint8
}

// PaddingBit is the P bit in the first byte of a header: the packet ends in padding.
const PaddingBit = 0x20

// ExtensionBit is the X bit in the first byte of a header: a block of extensions follows the contributing sources.
const ExtensionBit = 0x10

// Header is an RTP header parsed to values and offsets (RFC 3550 section 5.1, RFC 8285).
type Header struct {
	Marker bool
	// Padding is the P bit. The padding itself can be read only from a packet that is not
	// encrypted; see PaddingLen.
	Padding bool
	// PayloadType is 0 to 127.
	PayloadType uint8
	Sequence    uint16
	Timestamp   uint32
	SSRC        uint32
	// HeaderLen is where the payload starts, in bytes: after the contributing sources and the extension block.
	HeaderLen int
	// Extensions are the places of the known extensions' values.
	Extensions [NumExtensions]Span
}

// Parse reads the header at the start of data, which may be the whole packet, encrypted or not:
// SRTP leaves the header in the clear. m gives the extensions' numbers and may be nil. When an
// extension appears twice, its first value counts. False means that data does not start with a
// well-formed header of RTP version 2; h is then not to be used.
func (h *Header) Parse(data []byte, m *ExtensionMap) bool {
	if len(data) < HeaderLen || len(data) > maxPacket || data[0]>>6 != 2 {
		return false
	}
	h.Padding = data[0]&PaddingBit != 0
	h.Marker = data[1]&0x80 != 0
	h.PayloadType = data[1] & 0x7F
	h.Sequence = binary.BigEndian.Uint16(data[2:])
	h.Timestamp = binary.BigEndian.Uint32(data[4:])
	h.SSRC = binary.BigEndian.Uint32(data[8:])
	h.Extensions = [NumExtensions]Span{}

	start := HeaderLen + 4*int(data[0]&0x0F)
	h.HeaderLen = start
	if start > len(data) {
		return false
	}
	if data[0]&ExtensionBit == 0 {
		return true
	}
	if start+4 > len(data) {
		return false
	}
	profile := binary.BigEndian.Uint16(data[start:])
	end := start + 4 + 4*int(binary.BigEndian.Uint16(data[start+2:]))
	if end > len(data) {
		return false
	}
	h.HeaderLen = end
	switch {
	case profile == oneByteProfile:
		return h.parseOneByte(data[:end], start+4, m)
	case profile&twoByteProfileMask == twoByteProfile:
		return h.parseTwoByte(data[:end], start+4, m)
	}
	return true // some other profile's block, opaque to us
}

// parseOneByte reads the elements from off to the end of head (RFC 8285 section 4.2).
func (h *Header) parseOneByte(head []byte, off int, m *ExtensionMap) bool {
	for off < len(head) {
		b := head[off]
		if b == 0 { // a byte of padding
			off++
			continue
		}
		id, n := b>>4, int(b&0x0F)+1
		// 15 is reserved to end the list, and so does a padding byte that claims a length. The elements before it
		// count.
		if id == 0 || id == 15 {
			return true
		}
		off++
		if off+n > len(head) {
			return false
		}
		h.note(m, id, off, n)
		off += n
	}
	return true
}

// parseTwoByte reads the elements from off to the end of head (RFC 8285 section 4.3).
func (h *Header) parseTwoByte(head []byte, off int, m *ExtensionMap) bool {
	for off < len(head) {
		id := head[off]
		if id == 0 { // a byte of padding, which has no length
			off++
			continue
		}
		if off+2 > len(head) {
			return false
		}
		n := int(head[off+1])
		off += 2
		if off+n > len(head) {
			return false
		}
		h.note(m, id, off, n)
		off += n
	}
	return true
}

func (h *Header) note(m *ExtensionMap, id uint8, off, n int) {
	if m == nil {
		return
	}
	for e := range m {
		if m[e] == id && h.Extensions[e].Off == 0 {
			h.Extensions[e] = Span{Off: uint16(off), Len: uint8(n)}
			return
		}
	}
}

// Value returns the bytes of extension e in data, the packet that was parsed; false when it has none.
// The value may be empty.
func (h *Header) Value(data []byte, e Extension) ([]byte, bool) {
	s := h.Extensions[e]
	end := int(s.Off) + int(s.Len)
	if s.Off == 0 || end > len(data) {
		return nil, false
	}
	return data[s.Off:end:end], true
}

// PaddingLen returns the number of bytes of padding that end packet, which must be decrypted (RFC 3550 section 5.1). It
// is 0 when the P bit is clear. False means that the count is 0 or exceeds the bytes after the header.
func (h *Header) PaddingLen(packet []byte) (int, bool) {
	if !h.Padding {
		return 0, true
	}
	if len(packet) <= h.HeaderLen {
		return 0, false
	}
	n := int(packet[len(packet)-1])
	if n == 0 || n > len(packet)-h.HeaderLen {
		return 0, false
	}
	return n, true
}

// IsRTCP reports whether data is RTCP. The caller knows from the first byte that data is RTP or RTCP. RTCP has a second
// byte of 192 to 223 (RFC 5761 section 4), and at least the 8 bytes that SRTCP leaves in the clear.
func IsRTCP(data []byte) bool {
	return len(data) >= 8 && data[0]>>6 == 2 && 192 <= data[1] && data[1] <= 223
}

// A FixedHeader is an RTP header of HeaderLen bytes: version 2, no padding, no contributing sources (RFC 3550 section
// 5.1). With Extension an extension block must follow it.
type FixedHeader struct {
	Marker, Extension bool
	// PayloadType is 0 to 127.
	PayloadType uint8
	Sequence    uint16
	Timestamp   uint32
	SSRC        uint32
}

// Put writes the header to the start of b.
func (h FixedHeader) Put(b []byte) {
	_ = b[HeaderLen-1]
	b[0] = 2 << 6
	if h.Extension {
		b[0] |= ExtensionBit
	}
	b[1] = h.PayloadType & 0x7F
	if h.Marker {
		b[1] |= 0x80
	}
	binary.BigEndian.PutUint16(b[2:], h.Sequence)
	binary.BigEndian.PutUint32(b[4:], h.Timestamp)
	binary.BigEndian.PutUint32(b[8:], h.SSRC)
}
