package worker

import (
	"unsafe"

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
	// maxStored is the longest packet that a history takes, in bytes of extensions and payload.
	maxStored = pageSize - headroom - tailroom

	// historySpan is how long a packet stays, while memory lasts: as long as a viewer may fall behind. A
	// keyframe can be started from for half of that (joinAge).
	historySpan = port.Second
	// historyLeast is how long a packet stays whatever the budget says: it is on its way to the viewers.
	historyLeast = 100 * port.Millisecond

	// No layer may hold more than these, in bytes, however fast it sends.
	historyCapVideo = 8 << 20
	historyCapAudio = 256 << 10
	// entriesStart is how many packets a history has room for at first, pagesStart how many pages, numbersStart
	// how many numbers; all are doubled as needed.
	entriesStart = 16
	pagesStart   = 2
	numbersStart = 128
	// A history that nothing was added to for idleSpan is given back: its keyframe is too old to start
	// from, and nobody asks for its packets any more.
	idleSpan = 5 * port.Second
	// smallPacket is the average length, in bytes, below which the number of packets bounds a
	// history and not their bytes, so that tiny ones cannot make the index grow beyond the cap.
	smallPacket = 128
	// reach is how many packets reordering spreads a picture over at most.
	reach = 64
)

// entry is one packet in a history.
type entry struct {
	bus.Packet
	page uint32 // number of the page that holds the packet
	at   uint16 // where its extensions begin in that page
	len  uint16 // extensions and payload, in bytes
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
// Indices first to next-1 are held. Bytes lie in pages of the worker's memory, each packet in one piece
// behind its headroom. The history keeps what is younger than span, and takes pages for it up to its cap and
// the worker's budget; beyond these the oldest packets go. Older packets stay as long as they cost no page.
type history struct {
	memory *memory
	// pages are those numbered firstPage to nextPage-1, by number modulo their power of two.
	pages               []*page
	firstPage, nextPage uint32
	used                int // bytes of the newest page
	entries             []entry
	numbers             []uint32 // number & mask → index, modulo 2^32
	first               uint64
	next                uint64
	// span is historySpan, or less while the budget is tight.
	span port.Time
	cap  int // pages
	key  keyframe
	// cut counts the packets that went before their historySpan was over.
	cut uint64
}

func newHistory(m *memory, capBytes int) history {
	return history{memory: m, span: historySpan, cap: capBytes / pageSize}
}

// append stores a packet and returns its index. ext and payload together have at most maxStored bytes.
func (h *history) append(p *bus.Packet, ext, payload []byte) uint64 {
	n := len(ext) + len(payload)
	h.reserveEntry(p.Arrival)
	if h.firstPage == h.nextPage || h.used+headroom+n+tailroom > pageSize {
		h.turnPage(p.Arrival)
	}
	number := h.nextPage - 1
	b := h.page(number)[h.used+headroom:]
	copy(b, ext)
	copy(b[len(ext):], payload)
	b[n] = 1 // the last byte of padding tells how much it is (RFC 3550 section 5.1)

	i := h.next
	h.next++
	e := h.at(i)
	e.Packet = *p
	e.ExtensionLen = uint8(len(ext))
	e.page, e.at, e.len = number, uint16(h.used+headroom), uint16(n)
	e.padded = false
	h.used += headroom + n + tailroom
	h.numbers[p.Number&uint64(len(h.numbers)-1)] = uint32(i)
	if p.Flags&bus.KeyframeStart != 0 {
		h.startKeyframe(i, p)
	}
	return i
}

// startKeyframe moves the keyframe to packet i. A keyframe may begin with packets that tell nothing by
// themselves (parameter sets sent apart from the picture): its lowest number is the start. Where
// reordering brought later packets of the same picture first, joiners begin with those.
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
	for j := i; j > h.first && i-j < reach; j-- {
		if e := h.at(j - 1); e.Timestamp == p.Timestamp {
			h.key.index, h.key.number = j-1, min(h.key.number, e.Number)
		}
	}
}

// at returns the entry of an index that is held.
func (h *history) at(index uint64) *entry {
	return &h.entries[index&uint64(len(h.entries)-1)]
}

// page returns the page of a number that is held.
func (h *history) page(number uint32) *page {
	return h.pages[number&uint32(len(h.pages)-1)]
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
	back := uint64(uint32(h.next) - h.numbers[number&uint64(len(h.numbers)-1)])
	if back == 0 || back > h.next-h.first {
		return 0, false
	}
	return h.next - back, h.at(h.next-back).Number == number
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
	back := min(reach, h.next-h.first)
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
	end := e.at + e.len
	return h.page(e.page)[e.at:end:end]
}

// payload returns what the packet carried.
func (h *history) payload(e *entry) []byte { return h.data(e)[e.ExtensionLen:] }

// padded returns that with the padding behind it, if there is to be any.
func (h *history) padded(e *entry) []byte {
	if !e.padded {
		return h.payload(e)
	}
	end := e.at + e.len + tailroom
	return h.page(e.page)[e.at+uint16(e.ExtensionLen) : end : end]
}

// extensions returns the packet's header extensions in the form of forwardedExtensions.
func (h *history) extensions(e *entry) []byte { return h.data(e)[:e.ExtensionLen] }

// size is how many bytes the history takes, its index included.
func (h *history) size() int { return h.held()*pageSize + indexSize(len(h.entries)) }

// held is how many pages are held.
func (h *history) held() int { return int(h.nextPage - h.firstPage) }

// release gives the memory back. Cursors into the history find nothing any more.
func (h *history) release() {
	for h.firstPage != h.nextPage {
		h.givePage()
	}
	h.memory.giveIndex(indexSize(len(h.entries)))
	*h = history{
		memory: h.memory, span: h.span, cap: h.cap, cut: h.cut,
		first: h.next, next: h.next, firstPage: h.nextPage, nextPage: h.nextPage,
	}
}

// reserveEntry makes room for one entry.
func (h *history) reserveEntry(now port.Time) {
	for h.next-h.first == uint64(len(h.entries)) {
		n := len(h.entries)
		grow := max(n, entriesStart)
		switch {
		case n > 0 && h.expendable(now):
			h.evict(now)
		case n >= h.cap*(pageSize/smallPacket):
			h.evict(now)
		case h.memory.drawIndex(indexSize(n+grow) - indexSize(n)):
			h.resizeEntries(n + grow)
		case n > 0 && h.age(now) > historyLeast:
			h.evict(now)
		default:
			h.memory.overdrawIndex(indexSize(n+grow) - indexSize(n))
			h.resizeEntries(n + grow)
		}
	}
}

// turnPage begins a new page.
func (h *history) turnPage(now port.Time) {
	h.shed(now)
	var p *page
	for p == nil {
		if h.held() < h.cap {
			if p = h.memory.take(); p != nil {
				break
			}
			if h.first == h.next || h.age(now) <= historyLeast {
				p = h.memory.overdraw()
				break
			}
		}
		h.evict(now)
	}
	if h.held() == len(h.pages) {
		h.resizePages(max(2*len(h.pages), pagesStart))
	}
	h.pages[h.nextPage&uint32(len(h.pages)-1)] = p
	h.nextPage++
	h.used = 0
}

// age is how old the oldest packet is.
func (h *history) age(now port.Time) port.Time { return now - h.at(h.first).Arrival }

// expendable reports whether nothing asks for the oldest packet any more.
func (h *history) expendable(now port.Time) bool { return h.age(now) > h.span }

// shed drops what nothing asks for any more, but for the newest page.
func (h *history) shed(now port.Time) {
	for h.held() > 1 && h.expendable(now) {
		h.evict(now)
	}
}

// evict drops the oldest packet, and gives back its page if it was the last in it.
func (h *history) evict(now port.Time) {
	if h.age(now) <= historySpan {
		h.cut++
	}
	h.first++
	if h.key.valid && h.key.index < h.first {
		h.key.valid = false
	}
	last := h.nextPage
	if h.first < h.next {
		last = h.at(h.first).page
	}
	for h.firstPage != last {
		h.givePage()
	}
}

// givePage gives the oldest page back.
func (h *history) givePage() {
	p := &h.pages[h.firstPage&uint32(len(h.pages)-1)]
	h.memory.give(*p)
	*p = nil
	h.firstPage++
}

// tidy drops what nothing asks for any more and gives back memory that a burst needed. To be called a few
// times a second: it may copy the index of what is left.
func (h *history) tidy(now port.Time) {
	if len(h.entries) == 0 {
		return
	}
	if h.first == h.next || now-h.at(h.next-1).Arrival > idleSpan {
		h.release()
		return
	}
	h.shed(now)
	// A quarter, or the next packet would let it grow again.
	if n := len(h.entries); n > entriesStart && h.next-h.first <= uint64(n/4) {
		h.resizeEntries(n / 2)
		h.memory.giveIndex(indexSize(n) - indexSize(n/2))
	}
	if n := len(h.pages); n > pagesStart && h.held() <= n/4 {
		h.resizePages(n / 2)
	}
}

// numbersOf is how many numbers the index of n packets has room for: more than packets, since those that are
// missing leave gaps.
func numbersOf(n int) int { return max(2*n, numbersStart) }

// indexSize is how many bytes the index of n packets takes.
func indexSize(n int) int {
	if n == 0 {
		return 0
	}
	return n*int(unsafe.Sizeof(entry{})) + numbersOf(n)*int(unsafe.Sizeof(uint32(0)))
}

// resizeEntries changes the number of packets that can be held to n, a power of two.
func (h *history) resizeEntries(n int) {
	old := h.entries
	h.entries = make([]entry, n)
	h.numbers = make([]uint32, numbersOf(n))
	for i := h.first; i < h.next; i++ {
		e := old[i&uint64(len(old)-1)]
		*h.at(i) = e
		h.numbers[e.Number&uint64(len(h.numbers)-1)] = uint32(i)
	}
}

// resizePages changes the number of pages that can be held to n, a power of two.
func (h *history) resizePages(n int) {
	old := h.pages
	h.pages = make([]*page, n)
	for i := h.firstPage; i != h.nextPage; i++ {
		h.pages[i&uint32(n-1)] = old[i&uint32(len(old)-1)]
	}
}
