package history

const (
	// pageSize is how many bytes of packets logs take and give back at a time. That is three full datagrams, or a
	// second of an ordinary audio track.
	pageSize = 4 << 10
	// pagesStart is how many pages a log has room for at first; doubled as needed.
	pagesStart = 2
)

// A page holds packets of one log, each in one piece.
type page [pageSize]byte

// pages are those of one log, numbered first to next-1 in the order in which they were filled.
type pages struct {
	ring        []*page // by number modulo its power of two
	first, next uint32
	used        int // bytes of the newest page
}

// room is how many pages there is room for, held how many there are.
func (x *pages) room() int { return len(x.ring) }
func (x *pages) held() int { return int(x.next - x.first) }

// page returns the page of a number that is held.
func (x *pages) page(number uint32) *page { return x.ring[number&uint32(len(x.ring)-1)] }

// add makes p the newest page, with nothing used of it.
func (x *pages) add(p *page) {
	if x.held() == len(x.ring) {
		x.resize(max(2*len(x.ring), pagesStart))
	}
	x.ring[x.next&uint32(len(x.ring)-1)] = p
	x.next++
	x.used = 0
}

// drop removes the oldest page and returns it.
func (x *pages) drop() *page {
	at := &x.ring[x.first&uint32(len(x.ring)-1)]
	p := *at
	*at = nil
	x.first++
	return p
}

// resize changes the number of pages that there is room for to n, a power of two.
func (x *pages) resize(n int) {
	old := *x
	x.ring = make([]*page, n)
	for i := x.first; i != x.next; i++ {
		x.ring[i&uint32(n-1)] = old.page(i)
	}
}
