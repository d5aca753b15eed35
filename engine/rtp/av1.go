package rtp

// OBU types (AV1 specification section 6.2.2).
const (
	obuSequenceHeader = 1
	obuFrameHeader    = 3
	obuFrame          = 6
)

// newSequence is the N bit of the aggregation header: the packet is the first of a coded video sequence (AV1's RTP
// payload format, section 4.4).
const newSequence = 0x08

// contentAV1 reads the OBU elements of a payload. The aggregation header's N bit is no witness: encoders
// set it once, at each sequence header or in every packet.
func contentAV1(p []byte) Content {
	r := readAV1(p)
	return r.content
}

func readAV1(p []byte) (r obuReader) {
	if len(p) < 2 {
		return r
	}
	header, rest := p[0], p[1:]
	count := int(header >> 4 & 3) // the number of elements, the last of which has no length; 0 if all have one
	for n := 1; len(rest) > 0 && (count == 0 || n <= count); n++ {
		size := len(rest)
		if n != count {
			var ok bool
			if size, rest, ok = leb128(rest); !ok {
				return r
			}
		}
		element := rest[:size]
		rest = rest[size:]
		if n == 1 && header&0x80 != 0 { // it continues an OBU (Z)
			continue
		}
		r.cut = header&0x40 != 0 && len(rest) == 0 // it goes on in the next packet (Y)
		r.read(element)
	}
	return r
}

// An obuReader adds up the contents of OBUs.
type obuReader struct {
	content Content
	// still is set after a sequence header whose frames are single pictures and have no header of
	// their own (reduced_still_picture_header).
	still bool
	// sequence is the sequence header with its own header, if all of it came.
	sequence []byte
	// cut is set if the end of the element in hand is missing.
	cut bool
}

// read reads an element: one OBU, or its beginning. An OBU that has a size may be followed by another, against the
// specification.
func (r *obuReader) read(p []byte) {
	for len(p) > 0 {
		header, unit := p[0], p
		body := p[1:]
		spatial := byte(0)
		if header&0x04 != 0 {
			if len(body) == 0 {
				return
			}
			spatial, body = body[0]>>3&3, body[1:]
		}
		p = nil
		if header&0x02 != 0 {
			size, rest, ok := leb128(body)
			if !ok {
				body = rest // a fragment
			} else {
				body, p = rest[:size], rest[size:]
			}
		}
		if kind := header >> 3 & 0x0F; kind != obuSequenceHeader {
			r.judge(kind, spatial, body)
		} else {
			r.content |= HasSets
			r.still = len(body) > 0 && body[0]&0x08 != 0
			if !r.cut || len(p) > 0 {
				r.sequence = unit[:len(unit)-len(p)]
			}
		}
	}
}

// judge takes one OBU. A keyframe that is shown begins with show_existing_frame 0, frame_type 0 and
// show_frame 1 (AV1 specification section 5.9.2). Only the lowest spatial layer counts: those above are
// predicted from it.
func (r *obuReader) judge(kind, spatial byte, body []byte) {
	if kind != obuFrame && kind != obuFrameHeader {
		return
	}
	r.content |= HasFrame
	if spatial == 0 && len(body) > 0 && (r.still || body[0]&0xF0 == 0x10) {
		r.content |= HasIntra
	}
}

// leb128 reads a length of at most 4 bytes and the bytes that follow it. It is false if fewer follow than the length
// says. rest is empty if the length itself is malformed.
func leb128(p []byte) (n int, rest []byte, ok bool) {
	for i := range min(len(p), 4) {
		n |= int(p[i]&0x7F) << (7 * i)
		if p[i]&0x80 == 0 {
			rest = p[i+1:]
			return n, rest, n <= len(rest)
		}
	}
	return 0, nil, false
}

// SettleAV1 sets an AV1 payload's N bit if a coded video sequence starts with the payload, and clears it otherwise.
// content is the payload's. Receivers believe the bit: libwebrtc takes it for a keyframe, and drops a packet that has
// it and continues an OBU. Where a sequence header came without a frame, the sender's bit stays.
func SettleAV1(payload []byte, content Content) {
	if len(payload) == 0 {
		return
	}
	starts := payload[0]&newSequence != 0
	switch {
	case payload[0]&0x80 != 0 || content&HasSets == 0:
		starts = false
	case content&HasFrame != 0:
		starts = content.Starts()
	}
	payload[0] &^= newSequence
	if starts {
		payload[0] |= newSequence
	}
}

// SequenceAV1 returns the sequence header OBU in an AV1 payload; nil if there is none, or not all of it.
func SequenceAV1(payload []byte) []byte {
	r := readAV1(payload)
	return r.sequence
}

// AppendSequenceAV1 appends to b an AV1 payload with a sequence header put before its first element. It
// is empty if the payload continues an OBU or counts as many elements as it can.
func AppendSequenceAV1(b, payload, sequence []byte) []byte {
	const one, most = 0x10, 0x30
	if len(payload) < 2 || payload[0]&0x80 != 0 || payload[0]&most == most || len(sequence) > 127 {
		return b
	}
	header := payload[0]
	if header&most != 0 {
		header += one
	}
	b = append(b, header, byte(len(sequence)))
	b = append(b, sequence...)
	return append(b, payload[1:]...)
}
