package media

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"ringcast/engine/rtp"
)

// StampLen is how many bytes at a payload's end a stamp takes: a count, a time, a checksum and a mark
// by which a stamp is known.
const StampLen = 8 + 8 + 4 + 4

const stampMark = 0x72626E63

// A Stamp says of a packet what its publisher knew.
type Stamp struct {
	// Count numbers the track's packets from 0.
	Count uint64
	// Due is when the packet should have been sent: what kept the publisher from being on time is
	// part of the delay.
	Due time.Time
}

// PutStamp writes a stamp over the end of a generated payload of codec c; payloads too short stay as
// they are.
func PutStamp(c rtp.Codec, payload []byte, s Stamp) {
	start := guarded(c)
	at := len(payload) - StampLen
	if at < start {
		return
	}
	binary.BigEndian.PutUint64(payload[at:], s.Count)
	binary.BigEndian.PutUint64(payload[at+8:], uint64(s.Due.UnixNano()))
	binary.BigEndian.PutUint32(payload[at+16:], crc32.ChecksumIEEE(payload[start:at+16]))
	binary.BigEndian.PutUint32(payload[at+20:], stampMark)
}

// ReadStamp reads a payload's stamp. found is false for payloads without one; intact is false where the
// checksum does not fit what it covers.
func ReadStamp(c rtp.Codec, payload []byte) (s Stamp, found, intact bool) {
	start := guarded(c)
	at := len(payload) - StampLen
	if at < start || binary.BigEndian.Uint32(payload[at+20:]) != stampMark {
		return s, false, false
	}
	s.Count = binary.BigEndian.Uint64(payload[at:])
	s.Due = time.Unix(0, int64(binary.BigEndian.Uint64(payload[at+8:])))
	return s, true, binary.BigEndian.Uint32(payload[at+16:]) == crc32.ChecksumIEEE(payload[start:at+16])
}

// guarded is where in a payload the checksum begins: a server may count pictures anew in the
// descriptor before.
func guarded(c rtp.Codec) int {
	if c == rtp.VP8 {
		return vp8Descriptor
	}
	return 0
}
