package bus

import "sync/atomic"

// A Ring carries messages from one goroutine to one other, in order, without locks.
//
// With an arena the bytes of Data are copied into the ring's own memory and valid until Release; a
// message that does not fit is refused. Without one Data is handed over.
type Ring struct {
	slots []Message
	ends  []uint64 // where each slot's bytes end in the arena, counted from the start
	arena []byte
	// next is the ring that follows in a Lane; nothing is added to this one once it is set.
	next atomic.Pointer[Ring]

	_         [64]byte
	taken     atomic.Uint64 // written by the receiver
	arenaTail atomic.Uint64 // written by the receiver
	_         [64]byte
	sent      atomic.Uint64 // written by the sender
	arenaHead uint64        // the sender's own
	_         [64]byte
}

// NewRing makes a ring of slots messages, a power of two, and arena bytes, 0 for none.
func NewRing(slots, arena int) *Ring {
	return &Ring{slots: make([]Message, slots), ends: make([]uint64, slots), arena: make([]byte, arena)}
}

// Push adds a message; false when there is no room. Sender only.
func (r *Ring) Push(m *Message) bool {
	at := r.sent.Load()
	if at-r.taken.Load() == uint64(len(r.slots)) {
		return false
	}
	i := at & uint64(len(r.slots)-1)
	if len(r.arena) == 0 {
		r.slots[i] = *m
		r.sent.Store(at + 1)
		return true
	}
	size, need := uint64(len(r.arena)), uint64(len(m.Data))
	off := r.arenaHead
	if rest := size - off%size; rest < need {
		off += rest // in one piece
	}
	if off+need-r.arenaTail.Load() > size {
		return false
	}
	b := r.arena[off%size:][:need:need]
	copy(b, m.Data)
	r.slots[i] = *m
	r.slots[i].Data = b
	r.arenaHead = off + need
	r.ends[i] = r.arenaHead
	r.sent.Store(at + 1)
	return true
}

// Peek returns the oldest message, nil when there is none. It is valid until Release. Receiver only.
func (r *Ring) Peek() *Message {
	at := r.taken.Load()
	if at == r.sent.Load() {
		return nil
	}
	return &r.slots[at&uint64(len(r.slots)-1)]
}

// Release gives the message of the last Peek back. Receiver only.
func (r *Ring) Release() {
	at := r.taken.Load()
	i := at & uint64(len(r.slots)-1)
	r.slots[i] = Message{} // keep nothing alive
	if len(r.arena) > 0 {
		r.arenaTail.Store(r.ends[i])
	}
	r.taken.Store(at + 1)
}

// Len is how many messages wait. Safe from anywhere; a moment's truth.
func (r *Ring) Len() int { return int(r.sent.Load() - r.taken.Load()) }

// Cap is how many messages fit.
func (r *Ring) Cap() int { return len(r.slots) }
