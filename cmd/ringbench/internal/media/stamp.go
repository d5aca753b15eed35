package media

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"ringcast/engine/rtp"
)

// StampLen is the length of a stamp: a layer and a count, a time, a length, a checksum and a mark for recognition.
const StampLen = 8 + 8 + 2 + 4 + 4

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
	binary.BigEndian.PutUint16(payload[at+16:], uint16(at+18-start))
	binary.BigEndian.PutUint32(payload[at+18:], crc32.ChecksumIEEE(payload[start:at+18]))
	binary.BigEndian.PutUint32(payload[at+22:], stampMark)
}

// A Finding is the state of a payload by its stamp.
type Finding uint8

const (
	// Unstamped is a payload that does not end with a stamp.
	Unstamped Finding = iota
	// Intact is a payload as it was published, but for a descriptor.
	Intact
	// Recut is a payload that the server made: it put frames together and split them at other places. Its content was
	// checked only as far as the stamp's payload is whole in it.
	Recut
	// Damaged is a payload that does not match its checksum.
	Damaged
)

// ReadStamp reads the stamp at a payload's end. The stamp is valid if the finding is Intact or Recut.
func ReadStamp(c rtp.Codec, payload []byte) (s Stamp, f Finding) {
	start := guarded(c)
	at := len(payload) - StampLen
	if at < 0 || binary.BigEndian.Uint32(payload[at+22:]) != stampMark {
		return s, Unstamped
	}
	s.Layer, s.Count = payload[at], binary.BigEndian.Uint64(payload[at:])&countMask
	s.Due = time.Unix(0, int64(binary.BigEndian.Uint64(payload[at+8:])))
	begin := at + 18 - int(binary.BigEndian.Uint16(payload[at+16:]))
	switch {
	case begin < 0:
		return s, Recut // it began in the payload before
	case begin > at || binary.BigEndian.Uint32(payload[at+18:]) != crc32.ChecksumIEEE(payload[begin:at+18]):
		return s, Damaged
	case begin != start:
		return s, Recut
	}
	return s, Intact
}

// guarded returns the offset in a payload at which the checksum begins: a server may renumber pictures in the
// descriptor before it.
func guarded(c rtp.Codec) int {
	if c == rtp.VP8 {
		return vp8Descriptor
	}
	return 0
}
