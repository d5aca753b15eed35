package xsk

import (
	"log/slog"

	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/xsk/frame"
	"ringcast/xsk/nexthop"
)

const (
	// askEvery is the time between two questions for the kernel's counters. With the worker's own idle second it is
	// less than the engine waits before it believes that an interface is deaf.
	askEvery = port.Second / 2

	warnInterval = 60 * port.Second
)

// sender is a socket's way out. In copy mode the kernel reads the TX ring only within our own calls. So the chunks of
// the descriptors from head to tx.next can be reclaimed. In zerocopy mode the NIC may read the ring at any time, so
// submitted descriptors count as consumed.
type sender struct {
	*socket
	counters *queueTally
	zeroCopy bool

	head      uint32 // the first descriptor that the kernel has not consumed
	uncounted int    // how many of the sender's first pending frames were consumed and are not counted yet

	again port.Time // no kick before
	// backoff is the pause before the next kick, 0 if the last one sent something. In copy mode the ring gets one frame
	// at a time during the pause, because frames on the ring may have to be reclaimed.
	backoff port.Time
	// kicked is the end of the TX ring as of the last kick. A driver in zerocopy mode that has got there has run.
	kicked uint32
	// drained is false while the ring holds invalid descriptors. No frame follows them: each takes a kick to be
	// skipped.
	drained bool
}

// kickable reports whether the TX ring holds descriptors that a kick may move.
func (s *sender) kickable() bool { return s.tx.consumed() != s.tx.next && s.tx.shared.needsWakeup() }

// transmitter is the way out. It belongs to the worker's thread.
type transmitter struct {
	hops      NextHops
	companion Companion
	guard     Guard
	localPort uint16
	options   frame.Options
	counters  *portTally
	log       *slog.Logger
	kick      func(fd int) unix.Errno

	lender  lender
	routes  []route
	paths   []port.Path
	ways    []nexthop.Way // nil where there is no path
	senders []sender      // none while suspended
	shift   uint          // log2 of the chunk size
	id      uint32        // IPv4's

	generation uint32    // of the next hops, as of this Transmit
	asked      port.Time // when the kernel's counters were read last
	now        port.Time // of this Transmit
	quiet      port.Time // no warning about sending before
	quietGuard port.Time // no warning about the guard before
}

// attach makes the transmitter send through a bundle. No frame may be kept.
func (t *transmitter) attach(b *Bundle) {
	t.lender.use(b.memory, b.config.ChunkSize, b.config.TransmitFrames)
	t.shift = 11
	if b.config.ChunkSize == 4096 {
		t.shift = 12
	}
	for _, s := range b.sockets {
		t.senders = append(t.senders, sender{
			socket: s, counters: t.counters.of(s.queue), zeroCopy: b.info.ZeroCopy, head: s.tx.next, drained: true,
		})
	}
	for i := range t.routes {
		t.routes[i].sender = t.senderOf(port.Route(i))
	}
}

// detach ends the sending through the bundle. Chunks on the TX rings are reclaimed; frames in flight count as
// abandoned.
func (t *transmitter) detach() {
	for i := range t.senders {
		t.collect(&t.senders[i])
	}
	t.countConsumed(t.lender.frames[:t.lender.kept])
	for i := range t.senders {
		t.invalidate(&t.senders[i])
	}
	for i := range t.lender.chunks {
		if c := &t.lender.chunks[i]; c.withKernel() {
			t.senders[c.sender].counters.Counts[QueueAbandoned]++
		}
	}
	for i := range t.senders {
		s := &t.senders[i]
		s.counters.close(s.socket)
	}
	t.senders = nil
}

// senderOf spreads the routes over the senders.
func (t *transmitter) senderOf(r port.Route) uint8 {
	if len(t.senders) == 0 {
		return 0
	}
	return uint8(int(r) % len(t.senders))
}

// transmit is stages 1 to 5 of the way out (package comment); lender.settle is the last stage. It returns the pending
// frames, of which those that still have memory are to be kept.
func (t *transmitter) transmit(now port.Time, out *port.Outgoing) (pending []port.Frame) {
	t.now = now
	for i := range t.senders {
		s := &t.senders[i]
		t.collect(s)
		if !s.drained && now >= s.again {
			t.drain(s)
		}
	}
	pending = t.lender.pending(out)
	generation := t.hops.Generation()
	if kept := pending[:t.lender.kept]; len(kept) > 0 {
		t.countConsumed(kept)
		if len(out.Routes) > 0 || generation != t.generation {
			for i := range t.senders {
				t.reclaim(&t.senders[i])
			}
		} else {
			t.reclaimStale(kept)
		}
	}
	t.generation = generation
	t.setRoutes(out.Routes)
	// Once more for frames that were held back or reclaimed, and so on while there is progress.
	for again := true; again; {
		left := t.offer(pending)
		again = t.send() && left
		t.countConsumed(pending)
	}
	if now-t.asked >= askEvery || now < t.asked {
		t.asked = now
		for i := range t.senders {
			t.senders[i].counters.askKernel(t.senders[i].socket)
		}
	}
	return pending
}

// offer puts the pending frames on the TX rings, discards those that cannot be sent, and sends those by the companion
// that AF_XDP cannot send. It reports whether frames are on the rings, or held back.
func (t *transmitter) offer(pending []port.Frame) (left bool) {
	for i := range pending {
		f := &pending[i]
		if f.Handle == noChunk {
			continue
		}
		if t.lender.chunks[f.Handle].uncounted() {
			left = true
			continue
		}
		size := len(f.Data)
		switch {
		case i < t.lender.kept && t.now-f.Born > port.StaleAfter:
			t.discard(f, port.Stale)
			continue
		case uint64(f.Route) >= uint64(len(t.routes)) || !t.routes[f.Route].open:
			t.discard(f, port.Unroutable)
			continue
		case size > port.MaxDatagram:
			t.discard(f, port.Rejected)
			continue
		}
		r := &t.routes[f.Route]
		if r.generation != t.generation || r.room == noHop {
			t.resolve(r, f.Route)
		}
		if size > int(r.room) || len(t.senders) == 0 || !t.senders[r.sender].drained {
			t.sendByCompanion(f, r)
			continue
		}
		left = true
		s := &t.senders[r.sender]
		if s.backoff > 0 && s.head != s.tx.next {
			continue
		}
		room := t.lender.room(f.Handle)
		if size > 0 && &f.Data[0] != &room[frame.Headroom] {
			copy(room[frame.Headroom:], f.Data) // it was resliced
		}
		start := r.template.Put(room, size, t.id)
		t.id++
		s.tx.put(unix.XDPDesc{
			Addr: uint64(f.Handle)<<t.shift + uint64(start),
			Len:  uint32(frame.Headroom - start + size),
		})
		t.lender.chunks[f.Handle] = chunk{state: chunkOffered, sender: r.sender}
		if s.zeroCopy {
			s.head = s.tx.next
			s.uncounted++
		}
	}
	return left
}

// discard drops a frame and counts it.
func (t *transmitter) discard(f *port.Frame, reason port.Counter) {
	t.counters.Stats[reason]++
	t.lender.drop(f)
}

// send shows the kernel the offered frames, and kicks. It reports whether another offer makes sense. It does if frames
// were reclaimed, which go another way, or if a sender makes progress again: frames were held back from it.
func (t *transmitter) send() (onward bool) {
	for i := range t.senders {
		s := &t.senders[i]
		s.tx.submit()
		if t.now < s.again || !s.drained || !s.kickable() {
			continue
		}
		stalled := s.backoff > 0
		t.drive(s)
		onward = onward || !s.drained || stalled && s.backoff == 0
	}
	return onward
}

// sendByCompanion sends a frame that AF_XDP cannot send through the kernel. The kernel finds the next hop, or
// fragments, or reports why it does neither.
func (t *transmitter) sendByCompanion(f *port.Frame, r *route) {
	if r.verdict == nexthop.Down {
		t.discard(f, port.Rejected)
		return
	}
	switch {
	case len(t.senders) == 0 || !t.senders[r.sender].drained: // all frames go there
	case r.verdict == nexthop.Elsewhere:
		t.counters.own[Elsewhere]++
	case r.verdict == nexthop.Ourselves:
		t.counters.own[Ourselves]++
	case r.room == noHop:
		t.counters.own[Unresolved]++
	default:
		t.counters.own[TooLong]++
	}
	if err := t.companion.Send(t.paths[f.Route], f.Data); err != nil {
		t.counters.own[CompanionRejected]++
		t.counters.Stats[port.Rejected]++
	} else {
		t.counters.own[CompanionSent]++
		t.counters.Stats[port.Sent]++
		t.counters.Stats[port.SentBytes] += uint64(len(f.Data))
	}
	t.lender.drop(f)
}

// warn logs a warning, at most one in warnInterval for each quiet.
func (t *transmitter) warn(quiet *port.Time, message string, attributes ...any) {
	if t.now >= *quiet {
		*quiet = t.now + warnInterval
		t.log.Warn(message, attributes...)
	}
}
