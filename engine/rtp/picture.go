package rtp

import "encoding/binary"

// PictureID has the fields of a VP8 or VP9 payload that count frames, and their places (RFC 7741 section 4.2, RFC 9628
// section 4.2). A receiver expects both to go on without a jump when its stream switches to another source.
type PictureID struct {
	// Off is where the picture ID lies in the payload, in bytes.
	Off uint8
	// Bits is the picture ID's width: 7 or 15, or 0 where there is none.
	Bits uint8
	// TL0Off is where the temporal base layer's counter TL0PICIDX lies; 0 where there is none.
	TL0Off uint8
	// TL0 is that counter.
	TL0 uint8
	// ID is the picture ID.
	ID uint16
}

// ParsePictureID finds the counters in the payload descriptor of VP8 or VP9; false when payload has
// neither, is cut short, or c is another codec.
func ParsePictureID(c Codec, payload []byte) (PictureID, bool) {
	var d descriptor
	var ok bool
	switch c {
	case VP8:
		d, ok = parseVP8(payload)
	case VP9:
		d, ok = parseVP9(payload)
	}
	return d.picture, ok && (d.picture.Bits != 0 || d.picture.TL0Off != 0)
}

// Patch writes id and tl0 over the fields that payload has, cut to the fields' widths.
func (p PictureID) Patch(payload []byte, id uint16, tl0 uint8) {
	switch p.Bits {
	case 7:
		payload[p.Off] = byte(id & 0x7F)
	case 15:
		binary.BigEndian.PutUint16(payload[p.Off:], id|0x8000)
	}
	if p.TL0Off != 0 {
		payload[p.TL0Off] = tl0
	}
}

// A descriptor holds the fields of a payload descriptor that we use.
type descriptor struct {
	picture PictureID
	// spatial is the spatial layer, 0 where a VP9 payload names none.
	spatial uint8
	// size is where the payload proper starts: at least one byte of it follows (VP8 only).
	size int
}

// parseVP8 reads the descriptor of RFC 7741 section 4.2; false when p ends before a byte of the
// frame.
func parseVP8(p []byte) (d descriptor, ok bool) {
	if len(p) < 2 {
		return d, false
	}
	d.size = 1
	if p[0]&0x80 == 0 {
		return d, true
	}
	flags := p[1]
	d.size = 2
	if flags&0x80 != 0 && !d.readPicture(p) {
		return d, false
	}
	if flags&0x40 != 0 && !d.readTL0(p) {
		return d, false
	}
	if flags&0x30 != 0 { // TID and KEYIDX share a byte
		d.size++
	}
	return d, d.size < len(p)
}

// parseVP9 reads the descriptor of RFC 9628 section 4.2 up to the layer indices. The reference differences and the
// scalability structure after them are not needed.
func parseVP9(p []byte) (d descriptor, ok bool) {
	if len(p) < 2 {
		return d, false
	}
	d.size = 1
	if p[0]&0x80 != 0 && !d.readPicture(p) {
		return d, false
	}
	if p[0]&0x20 != 0 {
		if d.size >= len(p) {
			return d, false
		}
		d.spatial = p[d.size] >> 1 & 0x07
		d.size++
		// The flexible mode (F) refers to pictures by difference and has no such counter.
		if p[0]&0x10 == 0 && !d.readTL0(p) {
			return d, false
		}
	}
	return d, d.size < len(p)
}

// readPicture reads a picture ID at d.size: 7 bits, or 15 where the first bit is set.
func (d *descriptor) readPicture(p []byte) bool {
	if d.size >= len(p) {
		return false
	}
	d.picture.Off = uint8(d.size)
	if p[d.size]&0x80 == 0 {
		d.picture.Bits = 7
		d.picture.ID = uint16(p[d.size])
		d.size++
		return true
	}
	if d.size+2 > len(p) {
		return false
	}
	d.picture.Bits = 15
	d.picture.ID = binary.BigEndian.Uint16(p[d.size:]) & 0x7FFF
	d.size += 2
	return true
}

func (d *descriptor) readTL0(p []byte) bool {
	if d.size >= len(p) {
		return false
	}
	d.picture.TL0Off = uint8(d.size)
	d.picture.TL0 = p[d.size]
	d.size++
	return true
}
