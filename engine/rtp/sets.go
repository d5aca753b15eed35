package rtp

import "bytes"

const (
	// maxSets and maxSetBytes bound the sets that are kept of one layer. A stream has two or three sets of at most some
	// hundred bytes together.
	maxSets     = 16
	maxSetBytes = 1024
	// maxUnits is how many NAL units of one packet are read: a thousand tiny ones would cost much time. Beside the
	// sets that are kept there may be a delimiter, some SEI and a slice.
	maxUnits = maxSets + 8
	// MaxSetsPayload is the longest payload that Aggregate makes, in bytes.
	MaxSetsPayload = 2 + 2*maxSets + maxSetBytes
)

// ParameterSets keeps the latest parameter sets of one H.264 or H.265 layer by their ids. Encoders may send them once,
// or only announce them in SDP, and later keyframes need them.
//
// Begin starts an access unit, Take takes in its packets. Missing and Aggregate give the sets that did not come with
// it, in the order in which decoders want them. Sent notes that they were put there.
type ParameterSets struct {
	codec Codec
	sets  [maxSets]parameterSet // by rank
	num   int
	data  [maxSetBytes]byte
	used  int
}

// A parameterSet is one set in ParameterSets.data.
type parameterSet struct {
	setID
	// number is of the packet that brought it, 0 if it was announced.
	number   uint64
	off, len uint16
	// current is set if it came with the present access unit.
	current bool
}

// A setID identifies a set among those of its rank: video sets are 0, sequence sets 1, picture sets 2.
// parent is the id of the set of the rank before that it refers to.
type setID struct {
	rank, id, parent uint8
}

// Reset forgets all sets. announced are those that SDP gave, each preceded by 16 bits of length.
// It allocates a copy of them.
func (s *ParameterSets) Reset(c Codec, announced string) {
	s.codec, s.num, s.used = c, 0, 0
	s.take(nalReader{codec: c, rest: []byte(announced), aggregate: true}, 0, true)
	s.Begin()
}

// Begin starts an access unit, with which no set has come.
func (s *ParameterSets) Begin() {
	for i := range s.num {
		s.sets[i].current = false
	}
}

// Take keeps the sets in a packet of the present access unit. number is the packet's place in the stream: a packet
// older than the known sets changes nothing.
func (s *ParameterSets) Take(payload []byte, number uint64) {
	s.take(readNAL(s.codec, payload), number, true)
}

// TakeStray keeps the sets in a packet of another access unit.
func (s *ParameterSets) TakeStray(payload []byte, number uint64) {
	s.take(readNAL(s.codec, payload), number, false)
}

func (s *ParameterSets) take(r nalReader, number uint64, current bool) {
	for range maxUnits {
		u, ok := r.next()
		if !ok {
			return
		}
		if id, ok := u.set(s.codec); ok {
			s.keep(id, u.whole, number, current)
		}
	}
}

func (s *ParameterSets) keep(id setID, unit []byte, number uint64, current bool) {
	if i := s.find(id); i >= 0 {
		x := &s.sets[i]
		if number < x.number {
			return
		}
		if bytes.Equal(s.unit(i), unit) {
			x.number, x.current = number, x.current || current
			return
		}
		s.remove(i)
		s.removeChildren(id)
	}
	if len(unit) > maxSetBytes {
		return
	}
	for s.num == maxSets || s.used+len(unit) > maxSetBytes {
		s.remove(s.oldest())
	}
	i := s.num
	for ; i > 0 && s.sets[i-1].rank > id.rank; i-- {
		s.sets[i] = s.sets[i-1]
	}
	s.num++
	s.sets[i] = parameterSet{setID: id, number: number, off: uint16(s.used), len: uint16(len(unit)), current: current}
	s.used += copy(s.data[s.used:], unit)
}

func (s *ParameterSets) find(id setID) int {
	for i := range s.num {
		if x := &s.sets[i]; x.rank == id.rank && x.id == id.id {
			return i
		}
	}
	return -1
}

// removeChildren drops the sets that refer to one that changed: they were made for the old one. Those of
// the present access unit came with the change.
func (s *ParameterSets) removeChildren(parent setID) {
	for i := 0; i < s.num; i++ {
		if x := s.sets[i]; x.rank == parent.rank+1 && x.parent == parent.id && !x.current {
			s.remove(i)
			s.removeChildren(x.setID)
			i = -1 // from the start again: the others moved
		}
	}
}

// oldest is the set that came longest ago, of at least one.
func (s *ParameterSets) oldest() (oldest int) {
	for i := range s.num {
		if s.sets[i].number < s.sets[oldest].number {
			oldest = i
		}
	}
	return oldest
}

func (s *ParameterSets) remove(i int) {
	gone := s.sets[i]
	copy(s.data[gone.off:s.used], s.data[int(gone.off)+int(gone.len):s.used])
	s.used -= int(gone.len)
	s.num--
	copy(s.sets[i:s.num], s.sets[i+1:s.num+1])
	for j := range s.num {
		if x := &s.sets[j]; x.off > gone.off {
			x.off -= gone.len
		}
	}
}

func (s *ParameterSets) unit(i int) []byte {
	x := &s.sets[i]
	return s.data[x.off : x.off+x.len]
}

// Complete reports whether a set of each rank is known. If not, no decoder can start.
func (s *ParameterSets) Complete() bool {
	var ranks [3]bool
	ranks[0] = s.codec == H264
	for i := range s.num {
		ranks[s.sets[i].rank] = true
	}
	return ranks == [3]bool{true, true, true}
}

// Missing returns the first set from index i on that did not come with the access unit, and the index after it. It is
// nil if there is none. The set is valid until the next call of another method.
func (s *ParameterSets) Missing(i int) (unit []byte, next int) {
	for ; i < s.num; i++ {
		if !s.sets[i].current {
			return s.unit(i), i + 1
		}
	}
	return nil, i
}

// Aggregate appends a payload of all missing sets, at most MaxSetsPayload bytes. It is a STAP-A (RFC 6184 section
// 5.7.1), an AP (RFC 7798 section 4.4.2), or a single NAL unit.
func (s *ParameterSets) Aggregate(b []byte) []byte {
	first, next := s.Missing(0)
	if second, _ := s.Missing(next); second == nil {
		return append(b, first...)
	}
	start := len(b)
	if s.codec == H265 {
		b = append(b, h265AP<<1, 1)
	} else {
		b = append(b, h264STAPA)
	}
	for unit, next := s.Missing(0); unit != nil; unit, next = s.Missing(next) {
		if s.codec == H264 {
			b[start] = max(b[start], unit[0]&0x60|h264STAPA) // the highest NRI
		}
		b = append(b, byte(len(unit)>>8), byte(len(unit)))
		b = append(b, unit...)
	}
	return b
}

// Sent notes that all sets stand in the access unit now.
func (s *ParameterSets) Sent() {
	for i := range s.num {
		s.sets[i].current = true
	}
}

// set reads a parameter set's identity; false for another unit, a fragment or a malformed one.
func (u *nalUnit) set(c Codec) (id setID, ok bool) {
	if u.whole == nil {
		return id, false
	}
	r := bitReader{rest: u.body}
	switch {
	case c == H264 && u.kind == h264SPS: // H.264 section 7.3.2.1.1
		r.bits(24)
		id, ok = r.identity(1, 31, r.golomb(), 0)
	case c == H264 && u.kind == h264PPS: // section 7.3.2.2
		id, ok = r.identity(2, 255, r.golomb(), r.golomb())
	case c != H265 || u.whole[0]&1 != 0 || u.whole[1]>>3 != 0: // of another layer
	case u.kind == h265VPS: // H.265 section 7.3.2.1
		id, ok = r.identity(0, 15, r.bits(4), 0)
	case u.kind == h265SPS: // section 7.3.2.2
		video := r.bits(4)
		r.skipProfile()
		id, ok = r.identity(1, 15, r.golomb(), video)
	case u.kind == h265PPS: // section 7.3.2.3
		id, ok = r.identity(2, 63, r.golomb(), r.golomb())
	}
	return id, ok
}

// identity makes a setID if all was read and is in range.
func (r *bitReader) identity(rank uint8, most, id, parent uint32) (setID, bool) {
	const mostParent = 31
	if r.bad || id > most || parent > mostParent {
		return setID{}, false
	}
	return setID{rank, uint8(id), uint8(parent)}, true
}

// skipProfile skips sps_max_sub_layers_minus1, sps_temporal_id_nesting_flag and profile_tier_level (H.265
// section 7.3.3).
func (r *bitReader) skipProfile() {
	const profile, level = 88, 8 // bits
	layers := r.bits(3)
	r.bits(1)
	r.skip(profile + level)
	if layers == 0 {
		return
	}
	n := 0
	for i := range uint32(8) {
		flags := r.bits(2)
		if i < layers {
			n += int(flags>>1)*profile + int(flags&1)*level
		}
	}
	r.skip(n)
}
