package bus

import "sync/atomic"

// A ring carries messages from one goroutine to one other, in order, without locks.
//
// With an arena the bytes that go with a message lie in the ring's own memory and are valid until release. Without
// one the message hands them over.
type ring[M any] struct {
	slots []M
	ends  []uint64 // where each slot's bytes end in the arena, counted from the start
	arena []byte
	// next is the ring that follows in a lane; nothing is added to this one once it is set.
	next atomic.Pointer[ring[M]]

	_         [64]byte
	taken     atomic.Uint64 // written by the receiver
	arenaTail atomic.Uint64 // written by the receiver
	_         [64]byte
	sent      atomic.Uint64 // written by the sender
	arenaHead uint64        // the sender's own
	_         [64]byte
}

// newRing makes a ring of slots messages, a power of two, and arena bytes, 0 for none.
func newRing[M any](slots, arena int) *ring[M] {
	r := &ring[M]{slots: make([]M, slots), arena: make([]byte, arena)}
	if arena > 0 {
		r.ends = make([]uint64, slots)
	}
	return r
}

// reserve lends the slot of the next message, and n bytes of the arena to go with it. The slot is nil when there is no
// room. Sender only.
func (r *ring[M]) reserve(n int) (slot *M, data []byte) {
	at := r.sent.Load()
	if at-r.taken.Load() == uint64(len(r.slots)) {
		return nil, nil
	}
	i := at & uint64(len(r.slots)-1)
	if len(r.arena) == 0 {
		return &r.slots[i], nil
	}
	size, need := uint64(len(r.arena)), uint64(n)
	off := r.arenaHead
	if rest := size - off%size; rest < need {
		off += rest // in one piece
	}
	if off+need-r.arenaTail.Load() > size {
		return nil, nil
	}
	r.ends[i] = off + need
	return &r.slots[i], r.arena[off%size:][:need:need]
}

// submit adds the message that was written to the slot of the last reserve. Sender only.
func (r *ring[M]) submit() {
	at := r.sent.Load()
	if len(r.arena) > 0 {
		r.arenaHead = r.ends[at&uint64(len(r.slots)-1)]
	}
	r.sent.Store(at + 1)
}

// peek returns the oldest message, nil when there is none. It is valid until release. Receiver only.
func (r *ring[M]) peek() *M {
	at := r.taken.Load()
	if at == r.sent.Load() {
		return nil
	}
	return &r.slots[at&uint64(len(r.slots)-1)]
}

// release gives the message of the last peek back. Receiver only.
func (r *ring[M]) release() {
	at := r.taken.Load()
	i := at & uint64(len(r.slots)-1)
	if len(r.arena) > 0 {
		r.arenaTail.Store(r.ends[i])
	} else {
		clear(r.slots[i : i+1]) // the receiver has the message's bytes now
	}
	r.taken.Store(at + 1)
}

// len is how many messages wait. Safe from anywhere; a moment's truth.
func (r *ring[M]) len() int { return int(r.sent.Load() - r.taken.Load()) }
