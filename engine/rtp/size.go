package rtp

import "encoding/binary"

// PictureSize reads the width and height in pixels from a payload of the start of a keyframe (ContentOf). Both are 0
// where payload does not have them: with H.264 and H.265 only the packet with the parameter sets does.
func PictureSize(c Codec, payload []byte) (width, height int) {
	switch c {
	case VP8:
		return sizeVP8(payload)
	case VP9:
		return sizeVP9(payload)
	case H264, H265:
		return sizeInUnits(c, payload)
	case AV1:
		return sizeAV1(payload)
	}
	return 0, 0
}

// sizeVP8 reads the frame header of a keyframe (RFC 6386 section 9.1).
func sizeVP8(p []byte) (width, height int) {
	d, ok := parseVP8(p)
	if !ok || len(p) < d.size+10 {
		return 0, 0
	}
	f := p[d.size:]
	if f[0]&1 != 0 || f[3] != 0x9D || f[4] != 0x01 || f[5] != 0x2A {
		return 0, 0
	}
	const mask = 0x3FFF // above are two bits of scaling
	return valid(int(binary.LittleEndian.Uint16(f[6:]))&mask, int(binary.LittleEndian.Uint16(f[8:]))&mask)
}

// sizeVP9 reads the highest layer of the scalability structure (RFC 9628 section 4.2.1). Without one it reads the
// uncompressed header of the frame (VP9 bitstream specification, section 6.2).
func sizeVP9(p []byte) (width, height int) {
	d, ok := parseVP9(p)
	if !ok {
		return 0, 0
	}
	off := d.size
	if p[0]&0x02 != 0 { // V: the structure follows
		layers := int(p[off]>>5) + 1
		if top := off + 1 + 4*(layers-1); p[off]&0x10 != 0 {
			if len(p) < top+4 {
				return 0, 0
			}
			return valid(int(binary.BigEndian.Uint16(p[top:])), int(binary.BigEndian.Uint16(p[top+2:])))
		}
		off = endOfStructureVP9(p, off)
	}
	r := bitReader{rest: p[off:], plain: true}
	if r.bits(2) != 2 {
		return 0, 0
	}
	profile := r.bits(1) | r.bits(1)<<1
	if profile == 3 {
		r.bits(1)
	}
	if shown, inter := r.bits(1), r.bits(1); shown|inter != 0 {
		return 0, 0
	}
	r.bits(2) // show_frame, error_resilient_mode
	if r.bits(24) != 0x498342 {
		return 0, 0
	}
	if profile >= 2 {
		r.bits(1)
	}
	const rgb = 7
	if r.bits(3) != rgb {
		r.bits(1)
		if profile&1 != 0 {
			r.bits(3)
		}
	} else if profile&1 != 0 {
		r.bits(1)
	}
	return r.size(int(r.bits(16))+1, int(r.bits(16))+1)
}

// sizeInUnits finds the first sequence parameter set in a packet of H.264 or H.265.
func sizeInUnits(c Codec, p []byte) (width, height int) {
	for r := readNAL(c, p); ; {
		u, ok := r.next()
		switch {
		case !ok:
			return 0, 0
		case c == H264 && u.kind == h264SPS:
			return sizeH264(&bitReader{rest: u.body})
		case c == H265 && u.kind == h265SPS:
			return sizeH265(&bitReader{rest: u.body})
		}
	}
}

// sizeH264 reads a sequence parameter set (H.264 section 7.3.2.1.1).
func sizeH264(r *bitReader) (width, height int) {
	profile := r.bits(8)
	r.bits(16)
	r.golomb() // seq_parameter_set_id
	chroma := uint32(1)
	switch profile {
	case 100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135:
		chroma = r.golomb()
		if chroma == 3 {
			r.bits(1)
		}
		r.golomb()
		r.golomb()
		r.bits(1)
		if r.bits(1) != 0 {
			skipScaling(r, chroma)
		}
	}
	r.golomb() // log2_max_frame_num_minus4
	switch r.golomb() {
	case 0:
		r.golomb()
	case 1:
		r.bits(1)
		r.golomb()
		r.golomb()
		const most = 255 // num_ref_frames_in_pic_order_cnt_cycle
		for n := min(r.golomb(), most); n > 0 && !r.bad; n-- {
			r.golomb()
		}
	}
	r.golomb() // max_num_ref_frames
	r.bits(1)
	width, height = 16*(int(r.golomb())+1), 16*(int(r.golomb())+1)
	fields := 2 - int(r.bits(1))
	if fields == 2 {
		r.bits(1)
	}
	r.bits(1)
	return r.cropped(width, height*fields, chroma, fields)
}

// skipScaling skips the scaling lists of H.264 (section 7.3.2.1.1.1).
func skipScaling(r *bitReader, chroma uint32) {
	lists := 8
	if chroma == 3 {
		lists = 12
	}
	for i := range lists {
		if r.bits(1) == 0 {
			continue
		}
		size := 16
		if i >= 6 {
			size = 64
		}
		last, next := int32(8), int32(8)
		for range size {
			if next != 0 {
				next = (last + r.signed()) & 0xFF
			}
			if next != 0 {
				last = next
			}
		}
	}
}

// sizeH265 reads a sequence parameter set (H.265 section 7.3.2.2).
func sizeH265(r *bitReader) (width, height int) {
	r.bits(4)
	r.skipProfile()
	r.golomb() // sps_seq_parameter_set_id
	chroma := r.golomb()
	if chroma == 3 {
		r.bits(1)
	}
	width, height = int(r.golomb()), int(r.golomb())
	return r.cropped(width, height, chroma, 1)
}

// sizeAV1 looks for a sequence header among the elements of a packet (AV1's RTP payload format, section 4.4). It reads
// the header's size (AV1 bitstream specification, section 5.5).
func sizeAV1(p []byte) (width, height int) {
	if len(p) < 2 || p[0]&0x80 != 0 { // Z: it begins with the rest of an element
		return 0, 0
	}
	count := int(p[0] >> 4 & 3)
	p = p[1:]
	for i := 1; len(p) > 0; i++ {
		n := len(p)
		if i != count {
			var ok bool
			if n, p, ok = leb128(p); !ok {
				return 0, 0
			}
		}
		if unit := p[:n]; n > 1 && unit[0]>>3&0xF == obuSequenceHeader {
			body := unit[1+int(unit[0]>>2&1):]
			if unit[0]&0x02 != 0 { // a size of its own
				_, body, _ = leb128(body)
			}
			return sizeOfSequence(&bitReader{rest: body, plain: true})
		}
		p = p[n:]
	}
	return 0, 0
}

func sizeOfSequence(r *bitReader) (width, height int) {
	r.bits(4) // seq_profile, still_picture
	if r.bits(1) != 0 {
		r.bits(5) // reduced_still_picture_header: seq_level_idx alone
	} else {
		skipOperatingPoints(r)
	}
	w, h := int(r.bits(4))+1, int(r.bits(4))+1
	return r.size(int(r.bits(w))+1, int(r.bits(h))+1)
}

func skipOperatingPoints(r *bitReader) {
	model, delay := false, 0
	if r.bits(1) != 0 { // timing_info_present_flag
		r.skip(64)
		if r.bits(1) != 0 {
			r.golomb() // uvlc has the same form
		}
		if model = r.bits(1) != 0; model {
			delay = int(r.bits(5)) + 1
			r.skip(32 + 5 + 5)
		}
	}
	display := r.bits(1) != 0
	for n := r.bits(5) + 1; n > 0; n-- {
		r.bits(12)
		if r.bits(5) > 7 {
			r.bits(1)
		}
		if model && r.bits(1) != 0 {
			r.skip(2*delay + 1)
		}
		if display && r.bits(1) != 0 {
			r.bits(4)
		}
	}
}

// signed reads a signed Exp-Golomb code (H.264 section 9.1.1).
func (r *bitReader) signed() int32 {
	v := r.golomb()
	if v&1 != 0 {
		return int32(v/2 + 1)
	}
	return -int32(v / 2)
}

// cropped reads by how much the picture is cut, in units of its chroma (H.264 section 7.4.2.1.1).
func (r *bitReader) cropped(width, height int, chroma uint32, fields int) (int, int) {
	if r.bits(1) == 0 {
		return r.size(width, height)
	}
	x, y := 1, fields
	if chroma == 1 || chroma == 2 {
		x = 2
	}
	if chroma == 1 {
		y *= 2
	}
	left, right, top, bottom := r.golomb(), r.golomb(), r.golomb(), r.golomb()
	return r.size(width-x*int(left)-x*int(right), height-y*int(top)-y*int(bottom))
}

// size returns a size that was read, or 0, 0 where the bits ended before.
func (r *bitReader) size(width, height int) (int, int) {
	if r.bad {
		return 0, 0
	}
	return valid(width, height)
}

// skip leaves out n bits, byte by byte as far as it can.
func (r *bitReader) skip(n int) {
	for left := r.bit; n >= 8 && !r.bad; n -= 8 {
		r.load()
		r.bit = left
	}
	r.bits(n)
}

// valid returns a size, or 0, 0 for one that no picture has.
func valid(width, height int) (int, int) {
	const most = 1 << 16
	if width <= 0 || height <= 0 || width > most || height > most {
		return 0, 0
	}
	return width, height
}
