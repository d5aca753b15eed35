package publish

import (
	"encoding/binary"
	"time"

	"ringcast/cmd/ringbench/internal/media"
	"ringcast/engine/rtp"
)

// kept is the number of video packets that can be sent again: eight seconds of 2 Mbit/s.
const kept = 2048

// A track is one media line of a stream, or one layer of it.
type track struct {
	source     media.Source
	packetizer *media.Packetizer
	format     rtp.Format
	extensions rtp.ExtensionMap
	mid        string
	rid        string // of a layer of a simulcast; empty for others
	layer      uint8  // its place, 0 for the largest

	ssrc, rtxSSRC uint32
	// index is the next packet's: the rollover counter above the sequence number.
	index, rtxIndex uint64
	// clock is the timestamp of the stream's start.
	clock uint32
	due   time.Time     // of the next frame
	beat  time.Duration // of the last one
	count uint64        // of the next stamp

	packets, octets uint32 // for sender reports
	history         []stored
}

// stored is a packet before it was sealed.
type stored struct {
	index     uint64
	headerLen int
	packet    []byte
}

func (t *track) keep(packet []byte, headerLen int) {
	if t.history == nil {
		return
	}
	s := &t.history[t.index%kept]
	s.index, s.headerLen = t.index, headerLen
	s.packet = append(s.packet[:0], packet...)
}

// find returns a packet that was sent, or nil.
func (t *track) find(seq uint16) *stored {
	if t.history == nil {
		return nil
	}
	index := t.index - 1 - uint64(uint16(t.index-1)-seq)
	if s := &t.history[index%kept]; s.index == index && len(s.packet) > 0 {
		return s
	}
	return nil
}

// timestamp is the RTP time of a moment.
func (t *track) timestamp(start, at time.Time) uint32 {
	return t.clock + uint32(int64(at.Sub(start).Seconds()*float64(t.format.Codec.ClockRate())+0.5))
}

// appendHeader appends a header with the extensions that were negotiated; transport is the number that feedback names
// the packet by.
func (t *track) appendHeader(dst []byte, h rtp.FixedHeader, transport uint16) []byte {
	rid := rtp.RID
	if h.SSRC == t.rtxSSRC {
		rid = rtp.RepairedRID
	}
	var extensions [16]byte
	b := appendExtension(extensions[:0], t.extensions[rtp.MID], t.mid)
	b = appendExtension(b, t.extensions[rid], t.rid)
	if cc := t.extensions[rtp.TransportSequence]; cc != 0 && cc <= maxShortID {
		b = append(b, cc<<4|1)
		b = binary.BigEndian.AppendUint16(b, transport)
	}
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	h.Extension = len(b) > 0
	var fixed [rtp.HeaderLen]byte
	h.Put(fixed[:])
	dst = append(dst, fixed[:]...)
	if len(b) == 0 {
		return dst
	}
	dst = append(dst, 0xBE, 0xDE) // RFC 8285 section 4.2
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(b)/4))
	return append(dst, b...)
}

// The one-byte form has ids up to 14 and values up to 16 bytes.
const maxShortID, maxShortValue = 14, 16

// appendExtension appends a text, unless it is empty or does not fit the one-byte form.
func appendExtension(dst []byte, id uint8, value string) []byte {
	if id == 0 || id > maxShortID || value == "" || len(value) > maxShortValue {
		return dst
	}
	return append(append(dst, id<<4|byte(len(value)-1)), value...)
}
