package xsk

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A ring has a power of two of entries, and two indices that only grow, modulo 2^32. The producer's index is the number
// of entries that were ever written, the consumer's the number that were ever read. Each has one writer. Entries are
// written before the producer's index is stored (release), and read after it was loaded (acquire). For the consumer's
// index it is the other way round. On amd64 the barriers cost nothing, on arm64 they are necessary (net/xdp/xsk_queue.h
// has the pairs of barriers).

// indices are the words that a ring shares with the kernel beside its entries. The side that writes each index depends
// on the ring: see producer and consumer.
type indices struct {
	producer *uint32
	consumer *uint32
	flags    *uint32 // the kernel writes: XDP_RING_NEED_WAKEUP
}

// needsWakeup reports whether the kernel sleeps until it is called, though the ring has entries. Copy mode
// leaves it set on the TX ring.
func (x *indices) needsWakeup() bool {
	return atomic.LoadUint32(x.flags)&unix.XDP_RING_NEED_WAKEUP != 0
}

// A producer is our end of the fill and TX rings: we write *shared.producer and the entries, the kernel
// writes *shared.consumer.
type producer[E any] struct {
	shared  indices
	entries []E    // we write those from next on
	next    uint32 // we write: where the next entry goes; *shared.producer as of the next submit
}

func newProducer[E any](shared indices, entries []E) producer[E] {
	return producer[E]{shared: shared, entries: entries, next: atomic.LoadUint32(shared.producer)}
}

// consumed is the kernel's index: the entries before it are ours again.
func (r *producer[E]) consumed() uint32 { return atomic.LoadUint32(r.shared.consumer) }

// reserve is the entry of index i, of those that are ours.
func (r *producer[E]) reserve(i uint32) *E { return &r.entries[int(i)&(len(r.entries)-1)] }

// put writes the next entry. The caller knows that the ring has room.
func (r *producer[E]) put(e E) {
	r.entries[int(r.next)&(len(r.entries)-1)] = e
	r.next++
}

// submit shows the kernel the entries that were put. Without any it stores nothing: a store is a locked instruction on
// amd64.
func (r *producer[E]) submit() {
	if atomic.LoadUint32(r.shared.producer) != r.next {
		atomic.StoreUint32(r.shared.producer, r.next)
	}
}

// A consumer is our end of the RX and completion rings: we write *shared.consumer, the kernel writes
// *shared.producer and the entries.
type consumer[E any] struct {
	shared  indices
	entries []E    // the kernel writes
	next    uint32 // we write: the next entry to read, *shared.consumer as of the last release
}

func newConsumer[E any](shared indices, entries []E) consumer[E] {
	return consumer[E]{shared: shared, entries: entries, next: atomic.LoadUint32(shared.consumer)}
}

// peek is how many entries can be read.
func (r *consumer[E]) peek() uint32 { return atomic.LoadUint32(r.shared.producer) - r.next }

// at is the i-th of the entries that peek counted.
func (r *consumer[E]) at(i uint32) E { return r.entries[int(r.next+i)&(len(r.entries)-1)] }

// release gives the first n entries back to the kernel.
func (r *consumer[E]) release(n uint32) {
	r.next += n
	atomic.StoreUint32(r.shared.consumer, r.next)
}
