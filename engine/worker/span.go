package worker

import "ringcast/engine/rtp"

// A span is a subscriber's stretch of one layer, from the packet numbered first on. It maps numbers, timestamps and
// picture IDs of the layer to those of the subscriber. So a packet can be made again from the history, byte for byte.
type span struct {
	layer *layer
	epoch uint32 // of the layer's numbering
	// bump is the part of timestamp that only keeps timestamps growing. The next span is without it.
	bump      uint32
	first     uint64 // number of the first packet
	sequence  uint64 // its extended sequence number: rollover counter and 16 bits
	timestamp uint32 // added to the publisher's, modulo 2^32
	// picture and tl0 are added to the picture ID and TL0PICIDX of VP8 and VP9, modulo their ranges. If both
	// are 0, payloads are sent as they are.
	picture uint16
	tl0     uint8
	before  *span // nil for the oldest that is kept
}

// sequenceOf returns the extended sequence number of the packet with a number of the layer, from first on.
func (s *span) sequenceOf(number uint64) uint64 { return s.sequence + (number - s.first) }

// numberOf returns the number in the layer of an extended sequence number, which sequenceOf gave.
func (s *span) numberOf(sequence uint64) uint64 { return s.first + (sequence - s.sequence) }

// timestampOf returns the subscriber's timestamp for one of the publisher's.
func (s *span) timestampOf(timestamp uint32) uint32 { return timestamp + s.timestamp }

// offset returns the part of timestamp that the next span of the layer inherits.
func (s *span) offset() uint32 { return s.timestamp - s.bump }

// pictureOf returns the subscriber's picture ID and TL0PICIDX for the publisher's.
func (s *span) pictureOf(id uint16, tl0 uint8) (uint16, uint8) { return id + s.picture, tl0 + s.tl0 }

// renumbers reports whether pictureOf changes anything.
func (s *span) renumbers() bool { return s.picture|uint16(s.tl0) != 0 }

// broken reports whether the layer's numbering broke since the span began.
func (s *span) broken() bool { return s.epoch != s.layer.epoch }

// patch replaces the picture IDs of a payload that was copied out of the history.
func (s *span) patch(payload []byte, payloadType uint8) {
	f := s.layer.pub.tracks[s.layer.track].format(payloadType)
	if f == nil {
		return
	}
	if p, ok := rtp.ParsePictureID(f.Codec, payload); ok {
		id, tl0 := s.pictureOf(p.ID, p.TL0)
		p.Patch(payload, id, tl0)
	}
}
