package history

import (
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
)

const (
	// headroom is the room in front of every stored packet, in bytes. A sealing kernel may read there, and a
	// retransmission's prefix may be written there.
	headroom = 16
	// tailroom is the room for a byte of padding after every stored packet.
	tailroom = 1
	// MaxStored is the longest packet that a log takes, in bytes of extensions and payload.
	MaxStored = pageSize - headroom - tailroom

	// Span is how long a packet stays while memory lasts. It is as long as a viewer may be late.
	Span = port.Second
	// Least is how long a packet stays at any rate: it is on its way to the viewers.
	Least = 100 * port.Millisecond

	// A log that nothing was added to for idleSpan is released. Its keyframe is too old to start from, and nobody
	// asks for its packets any more.
	idleSpan = 5 * port.Second
	// reach is how many packets reordering spreads a picture over at most.
	reach = 64
	// edgeReach is how many packets reordering spreads the live edge over at most.
	edgeReach = 16
)

// Entry is one packet in a log.
type Entry struct {
	bus.Packet
	page uint32 // number of the page that holds the packet
	at   uint16 // where its extensions begin in that page
	size uint16 // extensions and payload, in bytes
	// padded is set when subscribers get the payload with its byte of padding, see Even.
	padded bool
}

// Len is the length of the extensions and the payload in bytes.
func (e *Entry) Len() int { return int(e.size) }

// PayloadLen is the length of the payload in bytes, without padding.
func (e *Entry) PayloadLen() int { return int(e.size) - int(e.ExtensionLen) }

// Padded reports whether subscribers get the payload with a byte of padding.
func (e *Entry) Padded() bool { return e.padded }

// Keyframe is a place where a decoder can start.
type Keyframe struct {
	Valid     bool
	Number    uint64 // of the keyframe's first packet
	Index     uint64 // of the keyframe's packet that arrived first
	Timestamp uint32
	Arrival   port.Time
}

// A Log holds one layer's packets in the order of their arrival. It is the source of the fan-out (cursors are indices
// into it), the retransmission cache (Find, by number) and the keyframe cache (Key) at once.
//
// Indices First to Next-1 are held. Their bytes lie in pages of the worker's Memory, each packet in one piece after its
// headroom. The log keeps packets that are younger than its span, and takes pages for them up to its own bound and the
// worker's budget. Beyond these the oldest packets go. An older packet stays as long as it costs no page.
type Log struct {
	memory *Memory
	pages  pages
	index  index
	first  uint64
	next   uint64
	// span is Span, or less while the budget is tight.
	span     port.Time
	maxPages int
	key      Keyframe
	// cut counts the packets that went before their Span was over.
	cut uint64
}

// New makes a log that draws at most maxBytes of packets from a memory.
func New(m *Memory, maxBytes int) Log {
	return Log{memory: m, span: Span, maxPages: maxBytes / pageSize}
}

// First is the index of the oldest packet that is held.
func (h *Log) First() uint64 { return h.first }

// Next is the index of the next packet that will be stored.
func (h *Log) Next() uint64 { return h.next }

// Key is the latest keyframe. It is not to be changed, and holds until the next Append, Tidy or Release.
func (h *Log) Key() *Keyframe { return &h.key }

// Append stores a packet and returns its index. ext and payload together have at most MaxStored bytes.
func (h *Log) Append(p *bus.Packet, ext, payload []byte) uint64 {
	n := len(ext) + len(payload)
	h.reserveEntry(p.Arrival)
	if h.pages.held() == 0 || h.pages.used+headroom+n+tailroom > pageSize {
		h.turnPage(p.Arrival)
	}
	number := h.pages.next - 1
	at := h.pages.used + headroom
	b := h.pages.page(number)[at:]
	copy(b, ext)
	copy(b[len(ext):], payload)
	b[n] = 1 // the last byte of padding gives the number of its bytes (RFC 3550 section 5.1)
	h.pages.used = at + n + tailroom

	i := h.next
	h.next++
	e := h.At(i)
	e.Packet = *p
	e.ExtensionLen = uint8(len(ext))
	e.page, e.at, e.size = number, uint16(at), uint16(n)
	e.padded = false
	h.index.note(p.Number, i)
	if p.Flags&bus.KeyframeStart != 0 {
		h.startKeyframe(i, p)
	}
	return i
}

// startKeyframe moves the keyframe to packet i. A keyframe may begin with packets that show nothing by themselves,
// such as parameter sets. So its lowest number is the start. Where reordering brought later packets of the same picture
// first, joiners begin with those.
func (h *Log) startKeyframe(i uint64, p *bus.Packet) {
	if h.key.Valid && h.key.Timestamp == p.Timestamp {
		h.key.Number = min(h.key.Number, p.Number)
		return
	}
	if h.key.Valid && p.Number < h.key.Number {
		return // an older keyframe, come late
	}
	h.key = Keyframe{Valid: true, Number: p.Number, Index: i, Timestamp: p.Timestamp, Arrival: p.Arrival}
	for j := i; j > h.first && i-j < reach; j-- {
		if e := h.At(j - 1); e.Timestamp == p.Timestamp {
			h.key.Index, h.key.Number = j-1, min(h.key.Number, e.Number)
		}
	}
}

// At returns the entry of an index that is held.
func (h *Log) At(i uint64) *Entry { return h.index.at(i) }

// Find returns the entry of a number. ok is false when no packet of that number is held.
func (h *Log) Find(number uint64) (e *Entry, ok bool) {
	i, ok := h.Index(number)
	if !ok {
		return nil, false
	}
	return h.At(i), true
}

// Index returns the index of a number. ok is false when no packet of that number is held.
func (h *Log) Index(number uint64) (i uint64, ok bool) {
	if len(h.index.numbers) == 0 {
		return 0, false
	}
	back := uint64(uint32(h.next) - h.index.low(number))
	if back == 0 || back > h.next-h.first {
		return 0, false
	}
	return h.next - back, h.At(h.next-back).Number == number
}

// LiveEdge is the index of the packet with the highest number: the newest arrival may be a late packet. The log must
// hold a packet.
func (h *Log) LiveEdge() uint64 {
	edge := h.next - 1
	for i := edge; i > h.first && edge-i < edgeReach; i-- {
		if h.At(i-1).Number > h.At(edge).Number {
			edge = i - 1
		}
	}
	return edge
}

// Start is the index from which a replica is primed. For audio it is the newest packet. For video it is the last
// keyframe, or, where its first packet is late, as far back as that packet can be spread.
func (h *Log) Start(k rtp.Kind) uint64 {
	back := min(reach, h.next-h.first)
	switch {
	case back == 0:
	case k == rtp.Audio:
		return h.LiveEdge()
	case h.key.Valid:
		return h.key.Index
	}
	return h.next - back
}

// Data returns the extensions and the payload of an entry that is held.
func (h *Log) Data(e *Entry) []byte {
	end := e.at + e.size
	return h.pages.page(e.page)[e.at:end:end]
}

// Payload returns the payload of an entry that is held, without padding.
func (h *Log) Payload(e *Entry) []byte { return h.Data(e)[e.ExtensionLen:] }

// PaddedPayload returns the payload with its byte of padding, or without where it has none.
func (h *Log) PaddedPayload(e *Entry) []byte {
	if !e.padded {
		return h.Payload(e)
	}
	end := e.at + e.size + tailroom
	return h.pages.page(e.page)[e.at+uint16(e.ExtensionLen) : end : end]
}

// Extensions returns the header extensions of an entry that is held, as Append got them.
func (h *Log) Extensions(e *Entry) []byte { return h.Data(e)[:e.ExtensionLen] }

// Even decides which packets are padded by a byte, from an index on and as far as they are alike. It returns the index
// after the last packet that it decided about. libwebrtc cuts a frame into parts of two lengths, the longer ones by a
// byte and last. UDP_SEGMENT takes datagrams of one length, so padding makes the shorter ones as long.
func (h *Log) Even(from uint64) (end uint64) {
	first := h.At(from)
	short := first.PayloadLen()
	longer := false
	for end = from + 1; end < h.next; end++ {
		e := h.At(end)
		n := e.PayloadLen()
		if e.Timestamp != first.Timestamp || n != short && n != short+1 {
			break
		}
		longer = longer || n != short
	}
	for i := from; longer && i < end; i++ {
		e := h.At(i)
		e.padded = e.PayloadLen() == short
	}
	return end
}

// Size is how many bytes the log takes, its index included.
func (h *Log) Size() int { return h.pages.held()*pageSize + h.index.size() }

// TakeCut returns how many packets went before their Span was over, since the last call.
func (h *Log) TakeCut() uint64 {
	n := h.cut
	h.cut = 0
	return n
}

// Age is how old the oldest packet is. The log must hold a packet.
func (h *Log) Age(now port.Time) port.Time { return now - h.At(h.first).Arrival }

// Span is how long the log keeps a packet at present: Span, or less while the budget is tight.
func (h *Log) Span() port.Time { return h.span }

// Release gives the memory back. Cursors into the log find nothing any more.
func (h *Log) Release() {
	for h.pages.held() > 0 {
		h.memory.give(h.pages.drop())
	}
	h.memory.giveIndex(h.index.size())
	*h = Log{
		memory: h.memory, span: h.span, maxPages: h.maxPages, cut: h.cut,
		first: h.next, next: h.next, pages: pages{first: h.pages.next, next: h.pages.next},
	}
}

// Tidy drops packets that are older than the log's span, and gives back memory that a burst needed. It is called a few
// times a second, because it may copy the index of the packets that are left.
func (h *Log) Tidy(now port.Time) {
	if h.index.room() == 0 {
		return
	}
	if h.first == h.next || now-h.At(h.next-1).Arrival > idleSpan {
		h.Release()
		return
	}
	h.shed(now)
	// A quarter, or the next packet would let it grow again.
	if n := h.index.room(); n > entriesStart && h.next-h.first <= uint64(n/4) {
		h.index.resize(n/2, h.first, h.next)
		h.memory.giveIndex(indexSize(n) - indexSize(n/2))
	}
	if n := h.pages.room(); n > pagesStart && h.pages.held() <= n/4 {
		h.pages.resize(n / 2)
	}
}

// reserveEntry makes room for one entry.
func (h *Log) reserveEntry(now port.Time) {
	for h.next-h.first == uint64(h.index.room()) {
		n := h.index.room()
		grown := max(2*n, entriesStart)
		switch {
		case n > 0 && h.expendable(now), n >= h.maxPages*(pageSize/smallPacket):
			h.evict(now)
		case h.memory.drawIndex(indexSize(grown) - indexSize(n)):
			h.index.resize(grown, h.first, h.next)
		case n > 0 && h.Age(now) > Least:
			h.evict(now)
		default:
			h.memory.overdrawIndex(indexSize(grown) - indexSize(n))
			h.index.resize(grown, h.first, h.next)
		}
	}
}

// turnPage begins a new page.
func (h *Log) turnPage(now port.Time) {
	h.shed(now)
	for {
		if h.pages.held() < h.maxPages {
			if p := h.memory.take(); p != nil {
				h.pages.add(p)
				return
			}
			if h.first == h.next || h.Age(now) <= Least {
				h.pages.add(h.memory.overdraw())
				return
			}
		}
		h.evict(now)
	}
}

// expendable reports whether nothing asks for the oldest packet any more.
func (h *Log) expendable(now port.Time) bool { return h.Age(now) > h.span }

// shed drops packets that nothing asks for any more, except those in the newest page.
func (h *Log) shed(now port.Time) {
	for h.pages.held() > 1 && h.expendable(now) {
		h.evict(now)
	}
}

// evict drops the oldest packet, and gives back its page if it was the last in it.
func (h *Log) evict(now port.Time) {
	if h.Age(now) <= Span {
		h.cut++
	}
	h.first++
	if h.key.Valid && h.key.Index < h.first {
		h.key.Valid = false
	}
	last := h.pages.next
	if h.first < h.next {
		last = h.At(h.first).page
	}
	for h.pages.first != last {
		h.memory.give(h.pages.drop())
	}
}
