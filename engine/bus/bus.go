package bus

import "sync/atomic"

// visit is how many messages of one lane an endpoint takes before it looks at the others.
const visit = 32

// A Bus connects the workers with each other and with the controller. A lane is made when its sender first
// uses it: most pairs of many workers never talk.
type Bus struct {
	workers int
	// control and media are by receiver and sender: those of one receiver lie in a row. The controller is
	// the last. Only its sender stores a lane. There are none to oneself, and no media of the controller.
	control, media []atomic.Pointer[Lane]
}

// New makes the bus of a number of workers.
func New(workers int) *Bus {
	n := workers + 1
	return &Bus{
		workers: workers,
		control: make([]atomic.Pointer[Lane], n*n), media: make([]atomic.Pointer[Lane], n*n),
	}
}

// Occupancy is how full the fullest media lane is, 0 to 1. Safe from anywhere.
func (b *Bus) Occupancy() float64 {
	most := 0
	for i := range b.media {
		if l := b.media[i].Load(); l != nil {
			most = max(most, l.Len())
		}
	}
	return float64(most) / mediaSlots
}

// Endpoint returns the bus as one worker, or ControllerAddress, sees it. Each endpoint belongs to one
// goroutine.
func (b *Bus) Endpoint(address int) *Endpoint {
	n, slot := b.workers+1, b.slot(address)
	return &Endpoint{
		bus: b, slot: slot,
		control: inbound{lanes: b.control[slot*n:][:n]}, media: inbound{lanes: b.media[slot*n:][:b.workers]},
	}
}

func (b *Bus) slot(address int) int {
	if address == ControllerAddress {
		return b.workers
	}
	return address
}

func (b *Bus) address(slot int) int {
	if slot == b.workers {
		return ControllerAddress
	}
	return slot
}

// An Endpoint sends and receives for one goroutine.
type Endpoint struct {
	bus     *Bus
	slot    int
	control inbound
	media   inbound
	reading *Lane // of the last message that was handed out
}

// inbound is the lanes of one kind that lead to an endpoint, by sender. They take turns.
type inbound struct {
	lanes    []atomic.Pointer[Lane]
	at, left int
}

// Send passes a message to m.To. A lossy one is refused when its lane is full; others always find room.
// A message to oneself is refused.
func (e *Endpoint) Send(m *Message) bool {
	to := e.bus.slot(m.To)
	lossy := m.Kind.Lossy()
	if to == e.slot || lossy && max(to, e.slot) == e.bus.workers {
		return false
	}
	lanes := e.bus.control
	if lossy {
		lanes = e.bus.media
	}
	p := &lanes[to*(e.bus.workers+1)+e.slot]
	l := p.Load()
	if l == nil {
		if l = newControl(); lossy {
			l = newMedia()
		}
		p.Store(l)
	}
	return l.Push(m)
}

// NextControl returns the next control message, nil when there is none. It is valid until Done, which must
// follow. From is set.
//
// The controller's come first, and causes before effects: a worker's message is never handed out before one
// of the controller's that was sent earlier. So whoever acts on the controller's word may take it that the
// receiver has heard the same.
func (e *Endpoint) NextControl() *Message {
	m, l := e.control.next(e.bus)
	if c := e.controllers(); c != nil && c != l {
		// Looked at after the worker's, it holds all that the worker can have acted on.
		if first := c.Peek(); first != nil {
			if m != nil {
				e.control.left++ // it was not handed out
			}
			m, l = first, c
			m.From = ControllerAddress
		}
	}
	e.reading = l
	return m
}

// NextMedia returns the next lossy message as NextControl does.
func (e *Endpoint) NextMedia() *Message {
	m, l := e.media.next(e.bus)
	e.reading = l
	return m
}

// Done gives the message of the last NextControl or NextMedia back.
func (e *Endpoint) Done() { e.reading.Release() }

// Behind reports whether something of the controller's waits to be received.
func (e *Endpoint) Behind() bool {
	c := e.controllers()
	return c != nil && c.Peek() != nil
}

// Empty reports whether nothing waits to be received.
func (e *Endpoint) Empty() bool { return e.control.empty() && e.media.empty() }

// controllers is the lane of the controller's messages, nil before the first and for the controller.
func (e *Endpoint) controllers() *Lane { return e.control.lanes[e.bus.workers].Load() }

// next is the oldest message of the lane whose turn it is, and that lane.
func (in *inbound) next(b *Bus) (*Message, *Lane) {
	for range len(in.lanes) + 1 { // once more to the first, whose turn may be over
		if l := in.lanes[in.at].Load(); l != nil && in.left > 0 {
			if m := l.Peek(); m != nil {
				in.left--
				m.From = b.address(in.at)
				return m, l
			}
		}
		if in.at++; in.at == len(in.lanes) {
			in.at = 0
		}
		in.left = visit
	}
	return nil, nil
}

func (in *inbound) empty() bool {
	for i := range in.lanes {
		if l := in.lanes[i].Load(); l != nil && l.Peek() != nil {
			return false
		}
	}
	return true
}
