package xsk

import (
	"strconv"

	"ringcast/engine/port"
	"ringcast/xsk/frame"
)

// companionEvery is how often the companion is asked when no poll does: a system call each time.
const companionEvery = port.Millisecond

// refillAtLeast is how many chunks are worth a kick. Some drivers ask for one after each poll that found fewer packets
// than it may take (ena_xdp_clean_rx_irq_zc), which would be a system call a turn.
const refillAtLeast = 64

// receiver is the way in. It belongs to the worker's thread.
type receiver struct {
	counters  *portTally
	hops      NextHops
	companion Companion // nil: not ours to read
	batch     int
	kick      func(fd int)

	memory  []byte
	chunk   int
	zone    string // of link-local addresses
	queues  []intake
	turn    int // which queue is read first
	inbound []port.Inbound

	strays port.Batch // of the companion
	due    port.Time  // when the companion is asked next
}

// intake is a queue's way in.
type intake struct {
	*queue
	counters *queueTally
	borrowed []uint64 // chunks that the last Receive handed out
	refilled int      // chunks that were given back since the last kick
}

// attach receives from a bundle too, from now on.
func (r *receiver) attach(b *Bundle) {
	r.memory, r.chunk = b.memory, b.config.ChunkSize
	r.zone = strconv.Itoa(b.config.Interface)
	for _, q := range b.queues {
		r.queues = append(r.queues, intake{queue: q, counters: r.counters.of(q.number), borrowed: make([]uint64, 0, r.batch)})
	}
	r.turn = 0
}

// detach does not, any more. What was handed out must not be in use.
func (r *receiver) detach() {
	r.memory, r.queues = nil, nil
	clear(r.inbound[:cap(r.inbound)])
}

// pending reports whether an RX ring holds something.
func (r *receiver) pending() bool {
	for i := range r.queues {
		if r.queues[i].rx.peek() > 0 {
			return true
		}
	}
	return false
}

// receive fills inbound and returns how many. The queues take turns in being first; the companion has a
// batch of its own, so neither starves the other.
func (r *receiver) receive(now port.Time) int {
	r.inbound = r.inbound[:0]
	if r.companion != nil && now >= r.due {
		r.receiveStrays(now)
	}
	left := r.batch
	for i := range r.queues {
		q := &r.queues[(r.turn+i)%len(r.queues)]
		r.refill(q)
		if n := min(int(q.rx.peek()), left); n > 0 {
			r.take(now, q, n)
			left -= n
		}
	}
	if r.turn++; r.turn >= len(r.queues) {
		r.turn = 0
	}
	return len(r.inbound)
}

// refill gives the kernel back what the last Receive handed out. The fill ring has room for all of a queue's
// chunks.
func (r *receiver) refill(q *intake) {
	if len(q.borrowed) > 0 {
		for _, address := range q.borrowed {
			q.fill.put(address)
		}
		q.fill.submit()
		q.refilled += len(q.borrowed)
		q.borrowed = q.borrowed[:0]
	}
	if q.busyPoll || q.fill.shared.needsWakeup() && (q.refilled >= refillAtLeast || q.starving()) {
		q.refilled = 0
		r.kick(q.fd)
	}
}

// starving reports whether the driver holds so few chunks that it needs those on the fill ring now. It holds those that
// it took from there and has not passed on to the RX ring; both rings' indices begin at the same number.
func (q *intake) starving() bool {
	taken := q.fill.consumed()
	return taken != q.fill.next && taken-(q.rx.next+q.rx.peek()) < refillAtLeast
}

// take hands out n frames of a queue.
func (r *receiver) take(now port.Time, q *intake, n int) {
	for i := range n {
		d := q.rx.at(uint32(i))
		q.borrowed = append(q.borrowed, d.Addr&^uint64(r.chunk-1))
		end := d.Addr + uint64(d.Len)
		if end > uint64(len(r.memory)) {
			r.counters.Stats[port.Malformed]++
			continue
		}
		path, payload, ok := frame.Parse(r.memory[d.Addr:end], r.zone)
		if !ok || len(payload) > port.MaxDatagram {
			r.counters.Stats[port.Malformed]++
			continue
		}
		// The kernel drops these (a martian source) as long as it sees them. Whoever forged one would have us send
		// to this host's own services.
		if r.hops.Own(path.Remote.Addr()) {
			r.counters.own[OwnSources]++
			continue
		}
		r.inbound = append(r.inbound, port.Inbound{Path: path, Data: payload, Arrival: now})
		r.counters.Stats[port.Received]++
		r.counters.Stats[port.ReceivedBytes] += uint64(len(payload))
	}
	q.rx.release(uint32(n))
	q.counters.Counts[QueueReceived] += uint64(n)
}

// receiveStrays reads the companion, and soon again if there was something.
func (r *receiver) receiveStrays(now port.Time) {
	n := r.companion.Receive(now, &r.strays)
	if n == 0 {
		r.due = now + companionEvery
		return
	}
	for i := range r.strays.Packets[:n] {
		in := &r.strays.Packets[i]
		r.inbound = append(r.inbound, *in)
		r.counters.Stats[port.ReceivedBytes] += uint64(len(in.Data))
	}
	r.counters.Stats[port.Received] += uint64(n)
	r.counters.own[CompanionReceived] += uint64(n)
}
