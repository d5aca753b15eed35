package bus

import "sync/atomic"

const (
	// A control lane begins with controlStart slots and goes on in pieces of up to controlSlots.
	controlStart = 8
	controlSlots = 32
	// A media lane begins with mediaStart slots and arenaStart bytes for Data, and doubles both up to
	// mediaSlots and mediaArena while its receiver lags.
	mediaStart = 8
	arenaStart = 8 << 10
	mediaSlots = 1024
	mediaArena = 1 << 20
)

// A Lane carries messages from one goroutine to one other, in order, without locks. It is a chain of rings:
// a sender that finds its ring full links the next one, to which the receiver moves when it has emptied the
// one before. A ring that was left is garbage.
type Lane struct {
	in    atomic.Pointer[Ring] // written by the sender
	slots int                  // of the largest ring
	arena int                  // bytes of the largest ring; 0 for a control lane
	_     [64]byte
	out   *Ring // the receiver's own
	_     [64]byte
}

// newControl makes a lane that loses nothing and always has room.
func newControl() *Lane { return newLane(NewRing(controlStart, 0), controlSlots, 0) }

// newMedia makes a lane that copies Data and refuses messages when it is full.
func newMedia() *Lane { return newLane(NewRing(mediaStart, arenaStart), mediaSlots, mediaArena) }

func newLane(r *Ring, slots, arena int) *Lane {
	l := &Lane{slots: slots, arena: arena, out: r}
	l.in.Store(r)
	return l
}

// Push adds a message; false when a media lane is full. Sender only.
func (l *Lane) Push(m *Message) bool {
	r := l.in.Load()
	if r.Push(m) {
		return true
	}
	if l.arena > 0 && r.Cap() == l.slots {
		return false
	}
	next := NewRing(min(2*r.Cap(), l.slots), min(2*len(r.arena), l.arena))
	if !next.Push(m) {
		return false // longer than an arena
	}
	l.in.Store(next)
	r.next.Store(next) // the last thing that the sender does to r
	return true
}

// Peek returns the oldest message, nil when there is none. It is valid until Release. Receiver only.
func (l *Lane) Peek() *Message {
	for {
		next := l.out.next.Load() // before the ring: once it is set, nothing is added to the ring
		if m := l.out.Peek(); m != nil || next == nil {
			return m
		}
		l.out = next
	}
}

// Release gives the message of the last Peek back. Receiver only.
func (l *Lane) Release() { l.out.Release() }

// Len is how many messages wait in the newest ring, which are all but those of a lane that grows. Safe from
// anywhere; a moment's truth.
func (l *Lane) Len() int { return l.in.Load().Len() }
