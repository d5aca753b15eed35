package worker

import (
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
)

const (
	// headroom is the room in front of every stored packet, so that a sealing kernel may read
	// (and a retransmission prefix may be written) before the payload.
	headroom = 16
	// tailroom is the byte of padding behind every stored packet.
	tailroom = 1

	// historySpan is how long a packet stays at least, unless the cap is reached.
	historySpan = port.Second

	historyStart    = 16 << 10 // bytes; doubled as the bitrate asks for it
	historyCapVideo = 8 << 20
	historyCapAudio = 256 << 10
	entriesStart    = 64
	// A history that nothing was added to for idleSpan is given back: its keyframe is too old to start
	// from, and nobody asks for its packets any more.
	idleSpan = 5 * port.Second
	// smallPacket is the average length, in bytes, below which the number of packets bounds a
	// history and not their bytes, so that tiny ones cannot make the index grow beyond the cap.
	smallPacket = 128
)

// entry is one packet in a history.
type entry struct {
	bus.Packet
	off uint64 // where its headroom begins, counted from the history's start
	len uint16 // extensions and payload, in bytes
	// padded is set when subscribers get the payload with its byte of padding, see layer.even.
	padded bool
}

// keyframe is where a decoder can start.
type keyframe struct {
	valid     bool
	number    uint64 // of the keyframe's first packet
	index     uint64 // of the keyframe's packet that arrived first
	timestamp uint32
	arrival   port.Time
}

// A history is the log of one layer's packets in the order of their arrival: the source of the
// fan-out (cursors are indices into it), the retransmission cache (find, by number) and the keyframe
// cache (key) at once.
//
// Indices first to next-1 are held. Bytes lie in one ring, each packet in one piece behind its
// headroom. The history keeps what is younger than historySpan and what came since the last
// keyframe, and grows for it up to its cap; beyond the cap the oldest go. tidy lets it shrink again.
type history struct {
	buf     []byte
	head    uint64 // where the next packet's headroom may begin, counted from the start
	entries []entry
	numbers []uint64 // number & mask → index + 1
	first   uint64
	next    uint64
	cap     int
	key     keyframe
}

func newHistory(capBytes int) history { return history{cap: capBytes} }

// append stores a packet and returns its index. data is the extensions and the payload.
func (h *history) append(p *bus.Packet, ext, payload []byte) uint64 {
	n := len(ext) + len(payload)
	off := h.reserve(headroom+n+tailroom, p.Arrival)
	at := int(off%uint64(len(h.buf))) + headroom
	copy(h.buf[at:], ext)
	copy(h.buf[at+len(ext):], payload)
	h.buf[at+n] = 1 // the last byte of padding tells how much it is (RFC 3550 section 5.1)
	h.head = off + uint64(headroom+n+tailroom)

	i := h.next
	h.next++
	e := h.at(i)
	e.Packet = *p
	e.ExtensionLen = uint8(len(ext))
	e.off = off
	e.len = uint16(n)
	e.padded = false
	h.numbers[p.Number&uint64(len(h.numbers)-1)] = i + 1
	if p.Flags&bus.KeyframeStart != 0 {
		h.startKeyframe(i, p)
	}
	return i
}

// startKeyframe moves the keyframe to packet i. A keyframe may begin with several packets that each
// count as its start (parameter sets sent apart from the picture): the lowest number is the start.
// Where reordering brought later packets of the same picture first, joiners begin with those.
func (h *history) startKeyframe(i uint64, p *bus.Packet) {
	if h.key.valid && h.key.timestamp == p.Timestamp {
		if p.Number < h.key.number {
			h.key.number = p.Number
		}
		return
	}
	if h.key.valid && p.Number < h.key.number {
		return // an older keyframe, come late
	}
	h.key = keyframe{valid: true, number: p.Number, index: i, timestamp: p.Timestamp, arrival: p.Arrival}
	for j := i; j > h.first && i-j < entriesStart; j-- {
		if e := h.at(j - 1); e.Timestamp == p.Timestamp {
			h.key.index = j - 1
		}
	}
}

// at returns the entry of an index that is held.
func (h *history) at(index uint64) *entry {
	return &h.entries[index&uint64(len(h.entries)-1)]
}

// find returns the entry of a number.
func (h *history) find(number uint64) (*entry, bool) {
	i, ok := h.index(number)
	if !ok {
		return nil, false
	}
	return h.at(i), true
}

// index returns the index of a number.
func (h *history) index(number uint64) (index uint64, ok bool) {
	if len(h.numbers) == 0 {
		return 0, false
	}
	i := h.numbers[number&uint64(len(h.numbers)-1)]
	if i == 0 || i-1 < h.first || i-1 >= h.next {
		return 0, false
	}
	return i - 1, h.at(i-1).Number == number
}

// liveEdge is the index of the packet with the highest number, of a history that holds some: what
// came last may be a late one.
func (h *history) liveEdge() uint64 {
	edge := h.next - 1
	for i := edge; i > h.first && edge-i < 16; i-- {
		if h.at(i-1).Number > h.at(edge).Number {
			edge = i - 1
		}
	}
	return edge
}

// start is the index from which a replica is primed: the last keyframe, or as far back as one can
// reach whose first packet is late; of audio the newest packet.
func (h *history) start(k rtp.Kind) uint64 {
	back := min(uint64(entriesStart), h.next-h.first)
	switch {
	case back == 0:
	case k == rtp.Audio:
		return h.liveEdge()
	case h.key.valid:
		return h.key.index
	}
	return h.next - back
}

// data returns the extensions and the payload of an entry that is held.
func (h *history) data(e *entry) []byte {
	at := int(e.off%uint64(len(h.buf))) + headroom
	return h.buf[at : at+int(e.len) : at+int(e.len)]
}

// payload returns what the packet carried.
func (h *history) payload(e *entry) []byte { return h.data(e)[e.ExtensionLen:] }

// padded returns that with the padding behind it, if there is to be any.
func (h *history) padded(e *entry) []byte {
	if !e.padded {
		return h.payload(e)
	}
	at := int(e.off%uint64(len(h.buf))) + headroom
	end := at + int(e.len) + tailroom
	return h.buf[at+int(e.ExtensionLen) : end : end]
}

// extensions returns the packet's header extensions in the form of forwardedExtensions.
func (h *history) extensions(e *entry) []byte { return h.data(e)[:e.ExtensionLen] }

// size is how many bytes the history's rings take.
func (h *history) size() int { return len(h.buf) }

// release gives the memory back. Cursors into the history find nothing any more.
func (h *history) release() {
	*h = history{first: h.next, next: h.next, cap: h.cap}
}

// reserve makes room for need bytes in one piece and for one entry, and returns where.
func (h *history) reserve(need int, now port.Time) uint64 {
	if h.buf == nil {
		h.buf = make([]byte, historyStart)
		h.entries = make([]entry, entriesStart)
		h.numbers = make([]uint64, 2*entriesStart)
	}
	for {
		size := uint64(len(h.buf))
		off := h.head
		if rest := size - off%size; rest < uint64(need) {
			off += rest
		}
		if h.first == h.next {
			return off
		}
		bytesFit := off+uint64(need)-h.at(h.first).off <= size
		entryFits := h.next-h.first < uint64(len(h.entries))
		switch {
		case bytesFit && entryFits:
			return off
		case h.expendable(now):
			h.evict()
		case !entryFits && len(h.entries) < h.cap/smallPacket:
			h.resizeEntries(2 * len(h.entries))
		case !entryFits:
			h.evict()
		case len(h.buf) < h.cap:
			h.resizeBytes(2 * len(h.buf))
		default:
			h.evict()
		}
	}
}

// expendable reports whether nothing asks for the oldest packet any more.
func (h *history) expendable(now port.Time) bool {
	return now-h.at(h.first).Arrival > historySpan && (!h.key.valid || h.first < h.key.index)
}

func (h *history) evict() {
	h.first++
	if h.key.valid && h.key.index < h.first {
		h.key.valid = false
	}
}

// tidy drops what nothing asks for any more and gives back memory that a burst needed. To be called a few
// times a second: it may copy what is left.
func (h *history) tidy(now port.Time) {
	if h.buf == nil {
		return
	}
	if h.first == h.next || now-h.at(h.next-1).Arrival > idleSpan {
		h.release()
		return
	}
	for h.first < h.next && h.expendable(now) {
		h.evict()
	}
	if h.first == h.next {
		return
	}
	// A quarter, or the next packet would let it grow again.
	if used := h.head - h.at(h.first).off; len(h.buf) > historyStart && used <= uint64(len(h.buf)/4) {
		h.resizeBytes(len(h.buf) / 2)
	}
	if n := len(h.entries); n > entriesStart && h.next-h.first <= uint64(n/4) {
		h.resizeEntries(n / 2)
	}
}

// resizeEntries changes the number of packets that can be held to n, a power of two.
func (h *history) resizeEntries(n int) {
	old := h.entries
	h.entries = make([]entry, n)
	h.numbers = make([]uint64, 2*n)
	for i := h.first; i < h.next; i++ {
		e := old[i&uint64(len(old)-1)]
		*h.at(i) = e
		h.numbers[e.Number&uint64(len(h.numbers)-1)] = i + 1
	}
}

// resizeBytes changes the ring to n bytes and lays the packets out anew.
func (h *history) resizeBytes(n int) {
	old := h.buf
	h.buf = make([]byte, n)
	var off uint64
	for i := h.first; i < h.next; i++ {
		e := h.at(i)
		at := int(e.off % uint64(len(old)))
		size := headroom + int(e.len) + tailroom
		copy(h.buf[off:], old[at:at+size])
		e.off = off
		off += uint64(size)
	}
	h.head = off
}
