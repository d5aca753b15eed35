package bus

import "sync/atomic"

// visit is how many messages of one lane an endpoint takes before it looks at the others.
const visit = 32

// An Endpoint sends and receives for one goroutine.
type Endpoint struct {
	bus     *Bus
	address Address

	controlTo outbox[Control]
	mediaTo   outbox[Media]

	// controller is the lane of the controller's messages, nil before the first.
	controller atomic.Pointer[lane[Control]]
	control    inbox[Control]
	media      inbox[Media]
	// first is set while the message of NextControl is the controller's.
	first bool
}

// SendControl passes a message to m.To. It reports false when m.To is no other endpoint's address.
func (e *Endpoint) SendControl(m *Control) bool {
	l := e.controlTo.lane(m.To)
	if l == nil {
		if l = e.openControl(m.To); l == nil {
			return false
		}
	}
	slot, _ := l.reserve(0)
	*slot = *m
	slot.From = e.address
	l.submit()
	return true
}

// SendMedia passes a message to m.To, with a copy of its bytes. It reports false when the lane is full, and when m.To
// is no other endpoint's address. The controller neither sends nor receives media.
func (e *Endpoint) SendMedia(m *Media) bool {
	l := e.mediaTo.lane(m.To)
	if l == nil {
		if l = e.openMedia(m.To); l == nil {
			return false
		}
	}
	slot, data := l.reserve(len(m.Data))
	if slot == nil {
		return false
	}
	*slot = *m
	slot.From, slot.Data = e.address, data
	copy(data, m.Data)
	l.submit()
	return true
}

// openControl makes the lane to an address, nil where there is to be none.
func (e *Endpoint) openControl(to Address) *lane[Control] {
	r := e.bus.find(to)
	if r == nil || r == e {
		return nil
	}
	l := newControlLane()
	if e.address == Controller {
		r.controller.Store(l)
	} else {
		r.control.lanes.add(l)
	}
	e.controlTo.add(to, l)
	return l
}

// openMedia makes the lane to an address, nil where there is to be none.
func (e *Endpoint) openMedia(to Address) *lane[Media] {
	r := e.bus.find(to)
	if r == nil || r == e || to == Controller || e.address == Controller {
		return nil
	}
	l := newMediaLane()
	r.media.lanes.add(l)
	e.mediaTo.add(to, l)
	return l
}

// NextControl returns the next control message, nil when there is none. It is valid until ControlDone, which must
// follow.
//
// The controller's come first, and causes before effects: a worker's message is never handed out before one
// of the controller's that was sent earlier. So a worker that acts on the controller's word may rely on the receiver
// to have heard the same.
func (e *Endpoint) NextControl() *Control {
	m := e.control.next()
	// Looked at after the others, the controller's lane holds all that their senders can have acted on.
	first := e.ofController()
	if e.first = first != nil; e.first {
		return first
	}
	return m
}

// ControlDone gives the message of the last NextControl back.
func (e *Endpoint) ControlDone() {
	if e.first {
		e.controller.Load().release()
	} else {
		e.control.done()
	}
}

// NextMedia returns the next media message, nil when there is none. It is valid until MediaDone, which must follow.
func (e *Endpoint) NextMedia() *Media { return e.media.next() }

// MediaDone gives the message of the last NextMedia back.
func (e *Endpoint) MediaDone() { e.media.done() }

// Lags reports whether a message of the controller waits to be received.
func (e *Endpoint) Lags() bool { return e.ofController() != nil }

// Empty reports whether nothing waits to be received.
func (e *Endpoint) Empty() bool { return !e.Lags() && e.control.empty() && e.media.empty() }

// ofController is the controller's oldest message, or nil.
func (e *Endpoint) ofController() *Control {
	if l := e.controller.Load(); l != nil {
		return l.peek()
	}
	return nil
}

// An outbox is an endpoint's lanes of one kind to others, by address. Only the endpoint's goroutine uses it.
type outbox[M any] struct{ lanes []*lane[M] }

// lane returns the lane to an address, nil while there is none.
func (o *outbox[M]) lane(to Address) *lane[M] {
	if i := to.index(); uint(i) < uint(len(o.lanes)) {
		return o.lanes[i]
	}
	return nil
}

func (o *outbox[M]) add(to Address, l *lane[M]) {
	i := to.index()
	if n := i + 1 - len(o.lanes); n > 0 {
		o.lanes = append(o.lanes, make([]*lane[M], n)...)
	}
	o.lanes[i] = l
}

// An inbox is the lanes of one kind that lead to an endpoint. Their senders add them. They take turns.
type inbox[M any] struct {
	lanes list[*lane[M]]
	// at is the lane whose turn it is, left how many messages it may still hand out in this turn.
	at, left int
}

// next is the oldest message of the lane whose turn it is, or of the next lane that has one; nil when none has.
func (in *inbox[M]) next() *M {
	lanes := in.lanes.all()
	for range len(lanes) + 1 { // once more to the first, whose turn may be over
		if in.at < len(lanes) && in.left > 0 {
			if m := lanes[in.at].peek(); m != nil {
				return m
			}
		}
		if in.at++; in.at >= len(lanes) {
			in.at = 0
		}
		in.left = visit
	}
	return nil
}

// done gives the message of the last next back.
func (in *inbox[M]) done() {
	in.lanes.all()[in.at].release()
	in.left--
}

func (in *inbox[M]) empty() bool {
	for _, l := range in.lanes.all() {
		if l.peek() != nil {
			return false
		}
	}
	return true
}
