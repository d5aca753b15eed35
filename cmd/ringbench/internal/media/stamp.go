package media

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"ringcast/engine/rtp"
)

// StampLen is the length of a stamp: a layer and a count, a time, a checksum and a mark for recognition.
const StampLen = 8 + 8 + 4 + 4

const (
	stampMark = 0x72626E63
	countMask = 1<<56 - 1
)

// A Stamp is a publisher's own record of a packet.
type Stamp struct {
	// Layer is the packet's layer of a simulcast, 0 for the largest.
	Layer uint8
	// Count numbers the layer's packets from 0, modulo 2^56.
	Count uint64
	// Due is the planned time of the packet. The delay thus includes the publisher's own lateness.
	Due time.Time
}

// PutStamp writes a stamp over the end of a generated payload of codec c. A payload that is too short stays as it is.
func PutStamp(c rtp.Codec, payload []byte, s Stamp) {
	start := guarded(c)
	at := len(payload) - StampLen
	if at < start {
		return
	}
	binary.BigEndian.PutUint64(payload[at:], uint64(s.Layer)<<56|s.Count&countMask)
	binary.BigEndian.PutUint64(payload[at+8:], uint64(s.Due.UnixNano()))
	binary.BigEndian.PutUint32(payload[at+16:], crc32.ChecksumIEEE(payload[start:at+16]))
	binary.BigEndian.PutUint32(payload[at+20:], stampMark)
}

// ReadStamp reads a payload's stamp. found is false for a payload without one; intact is false if the checksum does not
// match.
func ReadStamp(c rtp.Codec, payload []byte) (s Stamp, found, intact bool) {
	start := guarded(c)
	at := len(payload) - StampLen
	if at < start || binary.BigEndian.Uint32(payload[at+20:]) != stampMark {
		return s, false, false
	}
	s.Layer, s.Count = payload[at], binary.BigEndian.Uint64(payload[at:])&countMask
	s.Due = time.Unix(0, int64(binary.BigEndian.Uint64(payload[at+8:])))
	return s, true, binary.BigEndian.Uint32(payload[at+16:]) == crc32.ChecksumIEEE(payload[start:at+16])
}

// guarded returns the offset in a payload at which the checksum begins: a server may renumber pictures in the
// descriptor before it.
func guarded(c rtp.Codec) int {
	if c == rtp.VP8 {
		return vp8Descriptor
	}
	return 0
}
