package media

import (
	"encoding/binary"
	"math/bits"
)

// keyVP8 is the header of a keyframe (RFC 6386 section 9.1). It has a clear P bit, version 0, a length of the first
// partition, the start code and the size.
func keyVP8(width, height int) []byte {
	b := []byte{0x10, 0x02, 0x00, 0x9D, 0x01, 0x2A}
	b = binary.LittleEndian.AppendUint16(b, uint16(width))
	return binary.LittleEndian.AppendUint16(b, uint16(height))
}

// The first byte of H.264's NAL units, and the next of slices, which have first_mb_in_slice 0 and a slice_type (H.264
// sections 7.3.1 and 7.3.3).
const (
	slice, idrSlice            = 0x41, 0x65
	firstPredicted, firstIntra = 0x9A, 0x88
)

// pictureSet is a picture parameter set of id 0, of the sequence set 0, with CAVLC.
var pictureSet = []byte{0x68, 0xCE, 0x3C, 0x80}

// sequenceSet is a sequence parameter set of id 0, of the constrained baseline profile at level 3.1 (H.264 section
// 7.3.2.1.1).
func sequenceSet(width, height int) []byte {
	const macroblock = 16
	across, down := (width+macroblock-1)/macroblock, (height+macroblock-1)/macroblock
	w := bitWriter{bytes: []byte{0x67, 66, 0xE0, 31}}
	for _, v := range []int{
		0, // seq_parameter_set_id
		0, // log2_max_frame_num_minus4
		2, // pic_order_cnt_type
		1, // max_num_ref_frames
	} {
		w.golomb(uint32(v))
	}
	w.put(0, 1) // gaps_in_frame_num_value_allowed_flag
	w.golomb(uint32(across - 1))
	w.golomb(uint32(down - 1))
	w.put(3, 2) // frame_mbs_only_flag, direct_8x8_inference_flag
	right, bottom := across*macroblock-width, down*macroblock-height
	if right|bottom == 0 {
		w.put(0, 1)
	} else {
		w.put(1, 1)
		for _, v := range []int{0, right / 2, 0, bottom / 2} { // in units of two pixels
			w.golomb(uint32(v))
		}
	}
	w.put(0, 1) // vui_parameters_present_flag
	w.put(1, 1) // the stop bit
	return w.bytes
}

// A bitWriter appends bits, the highest first. Its bytes hold no emulation prevention, which short sets do not need.
type bitWriter struct {
	bytes []byte
	free  int // bits of the last byte
}

func (w *bitWriter) put(v uint32, n int) {
	for n--; n >= 0; n-- {
		if w.free == 0 {
			w.bytes, w.free = append(w.bytes, 0), 8
		}
		w.free--
		w.bytes[len(w.bytes)-1] |= byte(v>>n&1) << w.free
	}
}

// golomb writes ue(v) (H.264 section 9.1).
func (w *bitWriter) golomb(v uint32) {
	n := bits.Len32(v + 1)
	w.put(0, n-1)
	w.put(v+1, n)
}
