package xsk

import (
	"log/slog"
	"math"
	"slices"

	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/xsk/frame"
	"ringcast/xsk/nexthop"
)

const (
	// retryAfter is when a queue that takes nothing is kicked again, doubled each time up to
	// retryAtMost. The completion or the free buffer that it lacks is announced by nobody.
	retryAfter  = 50 * port.Microsecond
	retryAtMost = port.Millisecond
	// retryDown is the same while the interface is down.
	retryDown = 10 * port.Millisecond

	// Of one Transmit and queue: dropsAtMost bounds the kicks that lost a frame each (no carrier),
	// repeatsAtMost those that got nowhere (interrupted, no buffers).
	dropsAtMost   = 16
	repeatsAtMost = 4

	// askEvery is the time between two questions for the kernel's counters. With the worker's own idle second it is
	// less than the engine waits before it believes that an interface is deaf.
	askEvery = port.Second / 2

	warnInterval = 60 * port.Second
)

// route is a path made ready. What its packets need is here, the path itself in transmitter.paths.
type route struct {
	template   frame.Template
	room       int16  // the largest payload that fits the path; noHop: it has no next hop
	sender     uint8  // the queue
	open       bool   // false: revoked
	admitted   bool   // the guard lets the peer pass
	generation uint32 // of the next hops when it was resolved

	verdict nexthop.Verdict // why it has no next hop
}

// noHop is the room of a route without next hop, less than any frame needs.
const noHop = -1

// sender is a queue's way out. The descriptors of its TX ring from head to tx.next are, in copy mode, still
// ours to take back: the kernel reads the ring within our own calls only. In zerocopy mode the NIC may read
// it at any time, and what was submitted is gone.
type sender struct {
	*queue
	counters *queueTally
	zeroCopy bool

	head  uint32 // the first descriptor that the kernel has not taken
	taken int    // so many of the sender's first frames in the queue were taken since they were last marked

	again port.Time // no kick before
	// backoff is how long the next kick was put off because the last one sent nothing; 0 if it did. Until it
	// is, the ring of copy mode gets one frame at a time, as what is there may have to be taken back.
	backoff port.Time
	// kicked is the end of the TX ring as of the last kick. A driver in zerocopy mode that has got there has run.
	kicked uint32
	// drained is false while the ring holds descriptors that were taken back; nothing is put behind
	// them, since they have to be passed by kicks.
	drained bool
}

// pending reports whether the TX ring holds something that a kick may move.
func (s *sender) pending() bool { return s.tx.consumed() != s.tx.next && s.tx.shared.needsWakeup() }

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

// attach sends through a bundle from now on. Nothing may be kept.
func (t *transmitter) attach(b *Bundle) {
	t.lender.use(b.memory, b.config.ChunkSize, b.config.TransmitFrames)
	t.shift = 11
	if b.config.ChunkSize == 4096 {
		t.shift = 12
	}
	for _, q := range b.queues {
		t.senders = append(t.senders, sender{
			queue: q, counters: t.counters.of(q.number), zeroCopy: b.info.ZeroCopy, head: q.tx.next, drained: true,
		})
	}
	for i := range t.routes {
		t.routes[i].sender = t.senderOf(port.Route(i))
	}
}

// detach sends nothing through the bundle any more. What is in the kernel's hands is counted as lost, what is
// on the rings is the lender's again.
func (t *transmitter) detach() {
	for i := range t.senders {
		t.collect(&t.senders[i])
	}
	t.markTaken(t.lender.frames[:t.lender.kept])
	for i := range t.senders {
		t.invalidate(&t.senders[i])
	}
	for i := range t.lender.chunks {
		if c := &t.lender.chunks[i]; c.offered {
			t.senders[c.sender].counters.Counts[QueueAbandoned]++
		}
	}
	for i := range t.senders {
		s := &t.senders[i]
		s.counters.close(s.fd)
	}
	t.senders = nil
}

// senderOf spreads the routes over the queues.
func (t *transmitter) senderOf(r port.Route) uint8 {
	if len(t.senders) == 0 {
		return 0
	}
	return uint8(int(r) % len(t.senders))
}

// transmit is stages 1 to 5 of the package's way out; lender.settle is the last. What it returns with memory is kept.
func (t *transmitter) transmit(now port.Time, out *port.Outgoing) (queue []port.Frame) {
	t.now = now
	for i := range t.senders {
		s := &t.senders[i]
		t.collect(s)
		if !s.drained && now >= s.again {
			t.drain(s)
		}
	}
	queue = t.lender.queue(out)
	generation := t.hops.Generation()
	if kept := queue[:t.lender.kept]; len(kept) > 0 {
		t.markTaken(kept)
		if len(out.Routes) > 0 || generation != t.generation {
			for i := range t.senders {
				t.takeBack(&t.senders[i])
			}
		} else {
			t.takeBackStale(kept)
		}
	}
	t.generation = generation
	t.setRoutes(out.Routes)
	// A second time for what the first one held back or took back, and so on while there is progress.
	for again := true; again; {
		left := t.offer(queue)
		again = t.send() && left
		t.markTaken(queue)
	}
	if now-t.asked >= askEvery || now < t.asked {
		t.asked = now
		for i := range t.senders {
			t.senders[i].counters.askKernel(t.senders[i].fd)
		}
	}
	return queue
}

// waits reports whether a sender depends on the next frame that comes back from the kernel.
func (t *transmitter) waits(sender int) bool {
	s := &t.senders[sender]
	if s.zeroCopy && s.tx.consumed() != s.tx.next {
		return true
	}
	return t.lender.lent == 0 && slices.ContainsFunc(t.lender.chunks, func(c chunk) bool {
		return c.offered && int(c.sender) == sender
	})
}

// collect takes back the memory of what was sent and learns what the kernel has taken since. Its index tells,
// but it is not stored after a call in which nothing but dropped frames left the ring (EBUSY); the memory
// of those has come back by then.
func (t *transmitter) collect(s *sender) {
	if n := s.completion.peek(); n > 0 {
		for i := range n {
			number := uint32(s.completion.at(i) >> t.shift)
			if int(number) < len(t.lender.chunks) && t.lender.chunks[number].offered {
				t.lender.chunks[number].offered = false
				t.lender.free = append(t.lender.free, number)
			}
		}
		s.completion.release(n)
		s.counters.Counts[QueueCompleted] += uint64(n)
	}
	if s.zeroCopy {
		if s.backoff > 0 && int32(s.tx.consumed()-s.kicked) >= 0 {
			s.backoff, s.again = 0, 0
		}
		return
	}
	if n := s.tx.consumed() - s.head; int32(n) > 0 {
		s.head += n
		s.taken += int(n)
	}
	for s.head != s.tx.next && !t.chunkAt(s, s.head).offered {
		s.head++
		s.taken++
	}
}

// chunkAt is what the lender knows of a descriptor's memory.
func (t *transmitter) chunkAt(s *sender, index uint32) *chunk {
	return &t.lender.chunks[s.tx.reserve(index).Addr>>t.shift]
}

// markTaken counts the frames that the kernel has taken, and parts them from their memory. Every sender took
// its first ones.
func (t *transmitter) markTaken(queue []port.Frame) {
	for i := range queue {
		f := &queue[i]
		if f.Handle == noChunk || len(t.senders) == 0 {
			continue
		}
		c := &t.lender.chunks[f.Handle]
		if !c.queued {
			continue
		}
		s := &t.senders[c.sender]
		if s.taken == 0 {
			continue
		}
		s.taken--
		c.queued = false
		f.Handle = noChunk
		if c.lost {
			t.counters.Stats[port.Rejected]++
			continue
		}
		s.counters.Counts[QueueSent]++
		t.counters.Stats[port.Sent]++
		t.counters.Stats[port.SentBytes] += uint64(len(f.Data))
	}
}

// takeBackStale takes back what senders that may kick now would send too late.
func (t *transmitter) takeBackStale(kept []port.Frame) {
	for i := range kept {
		f := &kept[i]
		if f.Handle == noChunk || t.now-f.Born <= port.StaleAfter {
			continue
		}
		c := &t.lender.chunks[f.Handle]
		if c.queued && t.now >= t.senders[c.sender].again {
			t.takeBack(&t.senders[c.sender])
		}
	}
}

// takeBack makes descriptors that the kernel has not taken ours again. Their places on the ring cannot be
// taken back too, as the kernel may have seen the index; so they are made invalid, and passed over.
func (t *transmitter) takeBack(s *sender) {
	if s.head == s.tx.next {
		return
	}
	t.invalidate(s)
	t.drain(s)
}

// invalidate is takeBack without the kicks.
func (t *transmitter) invalidate(s *sender) {
	for ; s.head != s.tx.next; s.head++ {
		c := t.chunkAt(s, s.head)
		c.queued, c.offered = false, false
		// Beyond the UMEM, whatever the kernel's version checks.
		*s.tx.reserve(s.head) = unix.XDPDesc{Addr: math.MaxUint64 &^ (1<<t.shift - 1), Len: 1}
	}
	s.drained = false
}

// drain kicks until the kernel has passed what was taken back: one descriptor a call, and it may say so only after
// the last. A driver in zerocopy mode is kicked once, as it may run later.
func (t *transmitter) drain(s *sender) {
	for range s.tx.next - s.tx.consumed() + 2 {
		if s.drained = s.tx.consumed() == s.tx.next; s.drained {
			return
		}
		if errno := t.count(s, t.kick(s.fd)); errno != 0 || s.zeroCopy {
			break
		}
	}
	if s.drained = s.tx.consumed() == s.tx.next; !s.drained {
		s.again = t.now + retryDown
	}
}

// count counts a kick and what it returned.
func (t *transmitter) count(s *sender, errno unix.Errno) unix.Errno {
	t.counters.Stats[port.Calls]++
	switch errno {
	case 0:
		s.counters.Counts[QueueOK]++
	case unix.EAGAIN:
		s.counters.Counts[QueueAgain]++
	case unix.EBUSY:
		s.counters.Counts[QueueBusy]++
	case unix.ENOBUFS, unix.ENOMEM:
		s.counters.Counts[QueueNoBuffers]++
	case unix.ENETDOWN:
		s.counters.Counts[QueueDown]++
	default:
		s.counters.Counts[QueueFailed]++
	}
	return errno
}

// setRoutes carries out route changes.
func (t *transmitter) setRoutes(changes []port.RouteChange) {
	for i := range changes {
		c := &changes[i]
		if missing := int(c.Route) + 1 - len(t.routes); missing > 0 {
			t.routes = append(t.routes, make([]route, missing)...)
			t.paths = append(t.paths, make([]port.Path, missing)...)
			t.ways = append(t.ways, make([]nexthop.Way, missing)...)
		}
		r := &t.routes[c.Route]
		before, admitted := t.paths[c.Route], r.admitted
		*r = route{}
		t.paths[c.Route] = c.Path
		t.unfollow(c.Route)
		if c.Path.Remote.IsValid() {
			*r = route{open: true, room: noHop, sender: t.senderOf(c.Route), admitted: t.admit(c)}
			t.ways[c.Route] = t.hops.Follow(c.Path)
			t.resolve(r, c.Route)
		} else {
			t.forget(c.Route)
		}
		if admitted {
			t.dismiss(before)
		}
	}
}

// admit asks the guard to let a peer pass, before anything is sent to it: its answer comes at once.
func (t *transmitter) admit(c *port.RouteChange) bool {
	if t.guard == nil {
		return false
	}
	if err := t.guard.Allow(c.Path, c.Rate); err != nil {
		t.counters.own[GuardRejections]++
		t.warn(&t.quietGuard, "the guard refuses a path", "error", err)
		return false
	}
	return true
}

// dismiss takes back one admit.
func (t *transmitter) dismiss(p port.Path) {
	if err := t.guard.Revoke(p); err != nil {
		t.warn(&t.quietGuard, "the guard keeps a path", "error", err)
	}
}

// unfollow has the next hops of a route's path not followed any more.
func (t *transmitter) unfollow(r port.Route) {
	if way := t.ways[r]; way != nil {
		way.Forget()
		t.ways[r] = nil
	}
}

// dismissAll takes back all of them, and follows no path any more.
func (t *transmitter) dismissAll() {
	for i := range t.routes {
		t.unfollow(port.Route(i))
		if t.routes[i].admitted {
			t.routes[i].admitted = false
			t.dismiss(t.paths[i])
		}
	}
}

// forget makes the kept frames of a route unroutable, so that they do not leave on a path which the route
// is given later.
func (t *transmitter) forget(r port.Route) {
	for i := range t.lender.frames[:t.lender.kept] {
		if f := &t.lender.frames[i]; f.Route == r {
			f.Route = noRoute
		}
	}
}

// resolve finds where a route's frames go.
func (t *transmitter) resolve(r *route, number port.Route) {
	r.generation = t.generation
	var hop nexthop.Hop
	if hop, r.verdict = t.ways[number].Resolve(); r.verdict != nexthop.Usable {
		r.room = noHop
		return
	}
	options := t.options
	options.HopLimit = hop.HopLimit
	r.template = frame.Make(hop.Source, hop.Destination, t.paths[number], t.localPort, options)
	r.room = int16(min(max(r.template.Room(hop.MTU), 0), math.MaxInt16))
}

// offer puts the frames that are not there yet on the TX rings, or does away with them. It reports whether
// there is something on the rings, or held back.
func (t *transmitter) offer(queue []port.Frame) (left bool) {
	for i := range queue {
		f := &queue[i]
		if f.Handle == noChunk {
			continue
		}
		if t.lender.chunks[f.Handle].queued {
			left = true
			continue
		}
		size := len(f.Data)
		switch {
		case i < t.lender.kept && t.now-f.Born > port.StaleAfter:
			t.counters.Stats[port.Stale]++
			t.lender.drop(f)
			continue
		case uint64(f.Route) >= uint64(len(t.routes)) || !t.routes[f.Route].open:
			t.counters.Stats[port.Unroutable]++
			t.lender.drop(f)
			continue
		case size > port.MaxDatagram:
			t.counters.Stats[port.Rejected]++
			t.lender.drop(f)
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
		t.lender.chunks[f.Handle] = chunk{sender: r.sender, queued: true, offered: true}
		if s.zeroCopy {
			s.head = s.tx.next
			s.taken++
		}
	}
	return left
}

// send shows the kernel what was offered, and kicks. It reports whether another offer could lead on: what a sender
// took back has to go another way, and one that makes progress again takes what it was spared.
func (t *transmitter) send() (onward bool) {
	for i := range t.senders {
		s := &t.senders[i]
		s.tx.submit()
		if t.now < s.again || !s.drained || !s.pending() {
			continue
		}
		stalled := s.backoff > 0
		t.drive(s)
		onward = onward || !s.drained || stalled && s.backoff == 0
	}
	return onward
}

// sendByCompanion sends what AF_XDP cannot through the kernel, which finds the next hop, fragments, or knows
// why it does neither.
func (t *transmitter) sendByCompanion(f *port.Frame, r *route) {
	if r.verdict == nexthop.Down {
		t.counters.Stats[port.Rejected]++
		t.lender.drop(f)
		return
	}
	switch {
	case len(t.senders) == 0 || !t.senders[r.sender].drained: // all go there
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

// drive kicks until the kernel has taken what is on the TX ring, or takes no more for now. If it does not even
// look, what is there is taken back, and the sender is not drained.
func (t *transmitter) drive(s *sender) {
	drops, repeats := 0, 0
	sent := false
	for {
		before := s.head
		errno := t.count(s, t.kick(s.fd))
		s.kicked = s.tx.next
		t.collect(s)
		moved := s.head != before
		if moved && errno != unix.EBUSY {
			sent = true
			s.backoff = 0
		}
		repeat := moved
		switch errno {
		case 0:
			// Most drivers of zerocopy mode raise an interrupt, and have not run yet. What they left on the ring
			// is no reason to kick again before a pause is over.
			sent = sent || s.zeroCopy
		case unix.EAGAIN:
		case unix.EBUSY:
			if moved {
				t.chunkAt(s, s.head-1).lost = true
			}
			drops++
			repeat = drops < dropsAtMost
		case unix.EINTR, unix.ENOBUFS, unix.ENOMEM:
			repeats++
			repeat = repeats < repeatsAtMost
		default:
			// ENETDOWN, or ENXIO for good: the kernel does not look at the ring. Only it can
			// know another way now.
			t.fail(s, errno)
			return
		}
		if s.pending() && repeat {
			continue
		}
		if s.pending() || !sent {
			s.backoff = min(max(2*s.backoff, retryAfter), retryAtMost)
			s.again = t.now + s.backoff
		}
		return
	}
}

// fail takes the ring's frames back from a socket that does not send, until it does again.
func (t *transmitter) fail(s *sender, errno unix.Errno) {
	t.invalidate(s)
	s.again = t.now + retryDown
	t.warn(&t.quiet, "AF_XDP does not send, frames go through the companion", "queue", s.number, "error", errno)
}

// warn logs now and then.
func (t *transmitter) warn(quiet *port.Time, message string, attributes ...any) {
	if t.now >= *quiet {
		*quiet = t.now + warnInterval
		t.log.Warn(message, attributes...)
	}
}
