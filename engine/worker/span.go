package worker

// A span is a stretch of one layer as one subscriber got it: numbers from first on became sequence
// numbers from seq on. Everything else of a packet is computed from the layer's history, so that a
// resend gives the same packet again.
type span struct {
	layer *layer
	epoch uint32
	// bump is the part of timestamp that only keeps timestamps growing; the next span is without.
	bump      uint32
	first     uint64 // number of the first packet
	seq       uint64 // its extended sequence number: rollover counter and 16 bits
	timestamp uint32 // added to the publisher's, modulo 2^32
	// picture and tl0 are added to the picture ID and TL0PICIDX of VP8 and VP9, so that a layer
	// goes on where another ended; both 0 leaves the payload as it is.
	picture uint16
	tl0     uint8
}
