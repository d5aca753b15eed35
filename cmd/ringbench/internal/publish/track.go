package publish

import (
	"encoding/binary"
	"time"

	"ringcast/cmd/ringbench/internal/media"
	"ringcast/engine/rtp"
)

// kept is the number of video packets that can be sent again: eight seconds of 2 Mbit/s.
const kept = 2048

// A track is one media line of a stream.
type track struct {
	source     media.Source
	packetizer *media.Packetizer
	format     rtp.Format
	extensions rtp.ExtensionMap
	mid        string

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
	var fixed [rtp.HeaderLen]byte
	mid, cc := t.extensions[rtp.MID], t.extensions[rtp.TransportSequence]
	if mid > 14 || len(t.mid) == 0 || len(t.mid) > 16 {
		mid = 0 // it does not fit the one-byte form
	}
	if cc > 14 {
		cc = 0
	}
	h.Extension = mid != 0 || cc != 0
	h.Put(fixed[:])
	dst = append(dst, fixed[:]...)
	if mid == 0 && cc == 0 {
		return dst
	}
	dst = append(dst, 0xBE, 0xDE, 0, 0) // RFC 8285 section 4.2
	at := len(dst)
	if mid != 0 {
		dst = append(dst, mid<<4|byte(len(t.mid)-1))
		dst = append(dst, t.mid...)
	}
	if cc != 0 {
		dst = append(dst, cc<<4|1)
		dst = binary.BigEndian.AppendUint16(dst, transport)
	}
	for (len(dst)-at)%4 != 0 {
		dst = append(dst, 0)
	}
	binary.BigEndian.PutUint16(dst[at-2:], uint16((len(dst)-at)/4))
	return dst
}
