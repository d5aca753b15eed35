package bus

const (
	controlSlots = 256
	mediaSlots   = 1024
	mediaArena   = 1 << 20 // bytes; touched as far as bursts reach
)

// A Bus connects the workers with each other and with the controller.
type Bus struct {
	workers int
	// control and media are by sender and receiver; the controller is the last. The diagonal and
	// the controller's media lanes are nil.
	control, media [][]*Ring
}

// New makes the bus of a number of workers.
func New(workers int) *Bus {
	b := &Bus{workers: workers}
	n := workers + 1
	b.control, b.media = make([][]*Ring, n), make([][]*Ring, n)
	for from := range n {
		b.control[from], b.media[from] = make([]*Ring, n), make([]*Ring, n)
		for to := range n {
			if from == to {
				continue
			}
			b.control[from][to] = NewRing(controlSlots, 0)
			if from < workers && to < workers {
				b.media[from][to] = NewRing(mediaSlots, mediaArena)
			}
		}
	}
	return b
}

// Occupancy is how full the fullest media lane is, 0 to 1. Safe from anywhere.
func (b *Bus) Occupancy() float64 {
	most := 0.0
	for _, row := range b.media {
		for _, r := range row {
			if r != nil {
				most = max(most, float64(r.Len())/float64(r.Cap()))
			}
		}
	}
	return most
}

// Endpoint returns the bus as one worker, or ControllerAddress, sees it. Each endpoint belongs to one
// goroutine.
func (b *Bus) Endpoint(address int) *Endpoint {
	e := &Endpoint{bus: b, slot: b.slot(address), address: address}
	e.waiting = make([][]Message, b.workers+1)
	for from := range b.workers + 1 {
		if r := b.control[from][e.slot]; r != nil {
			e.in = append(e.in, inLane{r, b.address(from)})
		}
	}
	for from := range b.workers {
		if r := b.media[from][e.slot]; r != nil {
			e.in = append(e.in, inLane{r, from})
		}
	}
	return e
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
	address int
	in      []inLane
	waiting [][]Message // control messages that did not fit, by receiver
	stuck   int         // how many wait
	reading int         // lane of the last Next
}

type inLane struct {
	*Ring
	from int
}

// Send passes a message to m.To. A lossy one is refused when its lane is full; all others are kept
// until there is room. A message to oneself is refused.
func (e *Endpoint) Send(m *Message) bool {
	to := e.bus.slot(m.To)
	if m.Kind.Lossy() {
		r := e.bus.media[e.slot][to]
		return r != nil && r.Push(m)
	}
	r := e.bus.control[e.slot][to]
	if r == nil {
		return false
	}
	if len(e.waiting[to]) > 0 || !r.Push(m) {
		e.waiting[to] = append(e.waiting[to], *m)
		e.stuck++
	}
	return true
}

// Flush tries again to pass what had no room, and reports whether all of it is gone. It calls passed for
// each receiver that got something, to be woken.
func (e *Endpoint) Flush(passed func(to int)) bool {
	if e.stuck == 0 {
		return true
	}
	for to, q := range e.waiting {
		n := 0
		for n < len(q) && e.bus.control[e.slot][to].Push(&q[n]) {
			n++
		}
		if n == 0 {
			continue
		}
		rest := copy(q, q[n:])
		clear(q[rest:])
		e.waiting[to] = q[:rest]
		if rest == 0 {
			e.waiting[to] = nil // a burst's memory
		}
		e.stuck -= n
		passed(e.bus.address(to))
	}
	return e.stuck == 0
}

// Next returns the next message, control before media, nil when there is none. It is valid until
// Done, which must follow. From is set.
func (e *Endpoint) Next() *Message {
	for i := range e.in {
		if m := e.in[i].Peek(); m != nil {
			m.From = e.in[i].from
			e.reading = i
			return m
		}
	}
	return nil
}

// Done gives the message of the last Next back.
func (e *Endpoint) Done() { e.in[e.reading].Release() }

// Empty reports whether nothing waits to be received.
func (e *Endpoint) Empty() bool {
	for i := range e.in {
		if e.in[i].Len() > 0 {
			return false
		}
	}
	return true
}
