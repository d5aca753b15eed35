package xsk

import (
	"strconv"

	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/xsk/frame"
)

// companionEvery is the time between two reads of the companion without a poll: each costs a system call.
const companionEvery = port.Millisecond

// refillAtLeast is how many chunks are worth a kick. Some drivers ask for a kick after each poll that found fewer
// packets than its budget (ena_xdp_clean_rx_irq_zc), which would be a system call a turn.
const refillAtLeast = 64

// reportSpan is how long reports wait at most for a turn that has another reason. For so long after some were received,
// reports do not wake the worker. Shorter spans save less: the end of each wait is a wake itself.
const reportSpan = 20 * port.Millisecond

// reportsShare is the divisor for the part of a batch that reports have while there is media.
const reportsShare = 4

// receiver is the way in. It belongs to the worker's thread.
type receiver struct {
	counters  *portTally
	hops      NextHops
	companion Companion // nil if another port reads it
	batch     int
	kick      func(fd int)

	memory  []byte
	chunk   int
	zone    string // of link-local addresses
	intakes []intake
	turn    int // which intake is read first
	inbound []port.Inbound

	patience patience

	strays port.Batch // of the companion
	due    port.Time  // when the companion is read next
}

// patience decides how long reports wait.
type patience struct {
	until port.Time
	span  port.Time // of the next wait
	since port.Time // the reports from then on are counted in taken
	taken int
}

// took notes the reports of a turn, which found room for all or not.
func (p *patience) took(now port.Time, reports int, room bool, ring int) {
	p.taken += reports
	if passed := now - p.since; passed >= reportSpan {
		// As many as came lately fill half of the ring at most.
		p.span = min(reportSpan, passed*port.Time(ring/2)/port.Time(max(1, p.taken)))
		p.since, p.taken = now, 0
	}
	switch {
	case !room:
		p.until = now
	case reports > 0:
		p.until = now + p.span
	}
}

// intake is a socket's way in.
type intake struct {
	*socket
	counters *queueTally
	borrowed []uint64 // chunks of the last Receive
	refilled int      // chunks that went to the fill ring since the last kick
}

// attach makes the receiver receive from a bundle too.
func (r *receiver) attach(b *Bundle) {
	r.memory, r.chunk = b.memory, b.config.ChunkSize
	r.zone = strconv.Itoa(b.config.Interface)
	for _, s := range b.sockets {
		r.intakes = append(r.intakes, intake{
			socket: s, counters: r.counters.of(s.queue), borrowed: make([]uint64, 0, r.batch),
		})
	}
	r.turn = 0
}

// detach ends the receiving from the bundle. The worker must not use received frames any more.
func (r *receiver) detach() {
	r.memory, r.intakes = nil, nil
	clear(r.inbound[:cap(r.inbound)])
}

// pending reports whether an RX ring holds frames that wait no longer.
func (r *receiver) pending(now port.Time) bool {
	for i := range r.intakes {
		s := &r.intakes[i]
		if s.rx.peek() > 0 || s.reports.rx.peek() > 0 && now >= r.patience.until {
			return true
		}
	}
	return false
}

// receive fills inbound and returns the number of datagrams. The queues take turns in being first. The companion has a
// batch of its own, and a part of the batch is the reports', so none starves another.
func (r *receiver) receive(now port.Time) int {
	r.inbound = r.inbound[:0]
	if r.companion != nil && now >= r.due {
		r.receiveStrays(now)
	}
	left, taken, room, ring := r.batch, 0, true, 0
	for i := range r.intakes {
		s := &r.intakes[(r.turn+i)%len(r.intakes)]
		r.refill(s)
		media, waiting := min(int(s.rx.peek()), left), int(s.reports.rx.peek())
		most := left
		if media > 0 { // it does not wait for many reports
			most /= reportsShare
		}
		reports := min(waiting, most)
		media = min(media, left-reports)
		r.read(now, s, &s.rx, media)
		r.read(now, s, &s.reports.rx, reports)
		left -= media + reports
		taken, room, ring = taken+reports, room && reports == waiting, len(s.reports.rx.entries)
	}
	r.patience.took(now, taken, room, ring)
	if r.turn++; r.turn >= len(r.intakes) {
		r.turn = 0
	}
	return len(r.inbound)
}

// refill gives the kernel the chunks of the last Receive again. The fill ring has room for all RX chunks of a socket.
func (r *receiver) refill(s *intake) {
	if len(s.borrowed) > 0 {
		for _, address := range s.borrowed {
			s.fill.put(address)
		}
		s.fill.submit()
		s.refilled += len(s.borrowed)
		s.borrowed = s.borrowed[:0]
	}
	if s.busyPoll || s.fill.shared.needsWakeup() && (s.refilled >= refillAtLeast || s.starving()) {
		s.refilled = 0
		r.kick(s.fd)
	}
}

// starving reports whether the driver holds so few chunks that it needs those on the fill ring now. The driver holds
// the chunks that it consumed from the fill ring and has not put on an RX ring. The indices of the fill ring and of the
// first RX ring begin at the same number, those of the reports' at 0.
func (s *intake) starving() bool {
	consumed := s.fill.consumed()
	full := s.rx.next + s.rx.peek() + s.reports.rx.next + s.reports.rx.peek()
	return consumed != s.fill.next && consumed-full < refillAtLeast
}

// read hands out n frames of one of a queue's RX rings. Of none it stores nothing.
func (r *receiver) read(now port.Time, s *intake, rx *consumer[unix.XDPDesc], n int) {
	if n == 0 {
		return
	}
	for i := range n {
		d := rx.at(uint32(i))
		s.borrowed = append(s.borrowed, d.Addr&^uint64(r.chunk-1))
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
		// The kernel drops these frames itself when it sees them (a martian source). A forged one would make us send to
		// this host's own services.
		if r.hops.Own(path.Remote.Addr()) {
			r.counters.own[OwnSources]++
			continue
		}
		r.inbound = append(r.inbound, port.Inbound{Path: path, Data: payload, Arrival: now})
		r.counters.Stats[port.Received]++
		r.counters.Stats[port.ReceivedBytes] += uint64(len(payload))
	}
	rx.release(uint32(n))
	s.counters.Counts[QueueReceived] += uint64(n)
}

// receiveStrays reads the companion, which is read again soon if it had datagrams.
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
