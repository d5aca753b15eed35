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

// A lane carries messages from one goroutine to one other, in order, without locks. It is a chain of rings.
// A sender that finds its ring full links the next one. The receiver moves there when it has emptied the one before. A
// ring that was left is garbage.
type lane[M any] struct {
	in    atomic.Pointer[ring[M]] // written by the sender
	slots int                     // of the largest ring
	arena int                     // bytes of the largest ring; 0 for a control lane
	_     [64]byte
	out   *ring[M] // the receiver's own
	_     [64]byte
}

// newControlLane makes a lane that loses nothing and always has room.
func newControlLane() *lane[Control] {
	return newLane(newRing[Control](controlStart, 0), controlSlots, 0)
}

// newMediaLane makes a lane that copies Data and refuses messages when it is full.
func newMediaLane() *lane[Media] {
	return newLane(newRing[Media](mediaStart, arenaStart), mediaSlots, mediaArena)
}

func newLane[M any](r *ring[M], slots, arena int) *lane[M] {
	l := &lane[M]{slots: slots, arena: arena, out: r}
	l.in.Store(r)
	return l
}

// reserve lends a slot for a message, and n bytes of the arena. The slot is nil when a media lane is full, or when n
// bytes are more than any arena. Sender only.
func (l *lane[M]) reserve(n int) (slot *M, data []byte) {
	r := l.in.Load()
	if slot, data = r.reserve(n); slot != nil || l.arena > 0 && len(r.slots) == l.slots {
		return slot, data
	}
	next := newRing[M](min(2*len(r.slots), l.slots), min(2*len(r.arena), l.arena))
	if slot, data = next.reserve(n); slot != nil {
		l.in.Store(next)
		r.next.Store(next) // the last thing that the sender does to r
	}
	return slot, data
}

// submit adds the message that was written to the slot of the last reserve. Sender only.
func (l *lane[M]) submit() { l.in.Load().submit() }

// peek returns the oldest message, nil when there is none. It is valid until release. Receiver only.
func (l *lane[M]) peek() *M {
	for {
		next := l.out.next.Load() // before the ring: once it is set, nothing is added to the ring
		if m := l.out.peek(); m != nil || next == nil {
			return m
		}
		l.out = next
	}
}

// release gives the message of the last peek back. Receiver only.
func (l *lane[M]) release() { l.out.release() }

// len is how many messages wait in the newest ring, which are all but those of a lane that grows. Safe from
// anywhere; a moment's truth.
func (l *lane[M]) len() int { return l.in.Load().len() }
