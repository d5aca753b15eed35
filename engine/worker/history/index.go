package history

import "unsafe"

const (
	// entriesStart is how many packets an index has room for at first, numbersStart how many numbers. Both are
	// doubled as needed.
	entriesStart = 16
	numbersStart = 128
	// smallPacket is an average length in bytes. Below it, the number of packets bounds a log and not their bytes.
	// Otherwise tiny packets would make the index outgrow the pages.
	smallPacket = 128
)

// An index is a log's table of entries, by index and by number. The log knows which of its indices are held.
type index struct {
	entries []Entry  // by index modulo their power of two
	numbers []uint32 // number modulo their power of two → index modulo 2^32
}

// room is how many packets the index has room for.
func (x *index) room() int { return len(x.entries) }

// size is how many bytes the index takes.
func (x *index) size() int { return indexSize(len(x.entries)) }

func (x *index) at(i uint64) *Entry { return &x.entries[i&uint64(len(x.entries)-1)] }

// note makes a number known by its packet's index.
func (x *index) note(number, i uint64) { x.numbers[number&uint64(len(x.numbers)-1)] = uint32(i) }

// low is the index of a number, modulo 2^32. It is that of another packet where the number is not held.
func (x *index) low(number uint64) uint32 { return x.numbers[number&uint64(len(x.numbers)-1)] }

// resize changes the number of packets that can be held to n, a power of two. Indices first to next-1 are kept.
func (x *index) resize(n int, first, next uint64) {
	old := *x
	x.entries = make([]Entry, n)
	x.numbers = make([]uint32, numbersOf(n))
	for i := first; i < next; i++ {
		e := old.at(i)
		*x.at(i) = *e
		x.note(e.Number, i)
	}
}

// numbersOf is how many numbers the index of n packets has room for. That is more than n, because missing packets
// leave gaps.
func numbersOf(n int) int { return max(2*n, numbersStart) }

// indexSize is how many bytes the index of n packets takes.
func indexSize(n int) int {
	if n == 0 {
		return 0
	}
	return n*int(unsafe.Sizeof(Entry{})) + numbersOf(n)*int(unsafe.Sizeof(uint32(0)))
}
