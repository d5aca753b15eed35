package worker

import (
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/prefetch"
	"ringcast/engine/rtp"
)

// The scheduler divides a worker's outgoing frames among streams and subscribers. Streams with news or debts get turns
// of one quantum each, first come, first served. In a turn, these subscribers of the stream are visited, one by one:
//
//   - those in the circle of the ready, after a packet arrived that is news for them;
//   - those in the circle of the waiting, after sound arrived, or a keyframe that they may start from;
//   - those among the debts: they joined, NACKed packets, or may go on catching up.
//
// Debts take at most half of a turn while others wait for live media. A visit has a cost even if it fills no frame.
const (
	visitCost = 1
	frameCost = 4
	// quantum is the cost after which another stream has its turn: 64 frames.
	quantum = 64 * frameCost
)

// A circle holds subscribers of one stream, which are visited in a fixed order, from the last to the first. A visit
// brings all news since the visit before. The zero circle is empty.
type circle struct {
	members []*subscriber
	// walk is the index of the next member to visit, left how many are still to be visited.
	walk, left int
}

// add makes a subscriber a member. It need not be visited for the news so far.
func (c *circle) add(sub *subscriber) {
	sub.place = len(c.members)
	c.members = append(c.members, sub)
	if c.left > 0 {
		c.left++ // the circle's end may lie in the middle of the walk
	}
}

// remove removes a member and gives its place to the last one. It returns the last one if the walk might miss it
// there, else nil.
func (c *circle) remove(sub *subscriber) (moved *subscriber) {
	last := len(c.members) - 1
	if sub.place < last {
		moved = c.members[last]
		c.members[sub.place], moved.place = moved, sub.place
	}
	c.members[last] = nil
	c.members = c.members[:last]
	if c.left == 0 {
		moved = nil
	}
	c.left = min(c.left, last)
	return moved
}

// renew notes news for all members. After each idle spell, the walk begins one member further.
func (c *circle) renew() {
	if c.left == 0 {
		c.walk--
	}
	c.left = len(c.members)
}

// renewFromEnd is renew for a circle whose members leave it when they are visited. The last member can leave without
// another taking its place.
func (c *circle) renewFromEnd() {
	if c.left == 0 {
		c.walk = len(c.members) - 1
	}
	c.left = len(c.members)
}

// next returns the member to visit, nil after the last.
func (c *circle) next() *subscriber {
	if c.left == 0 {
		return nil
	}
	if n := len(c.members); c.walk < 0 || c.walk >= n {
		c.walk = (c.walk%n + n) % n
	}
	return c.members[c.walk]
}

// visited moves on to the next member.
func (c *circle) visited() {
	c.walk--
	c.left--
}

// debts lists subscribers to be visited beside the circles, in order, each at most once.
type debts struct {
	members []*subscriber // from head on
	head    int
}

// add lists a subscriber, unless it is listed already.
func (d *debts) add(sub *subscriber) {
	if sub.owed {
		return
	}
	if d.head > 32 && d.head > len(d.members)/2 {
		n := copy(d.members, d.members[d.head:])
		clear(d.members[n:])
		d.members, d.head = d.members[:n], 0
	}
	sub.owed = true
	d.members = append(d.members, sub)
}

// next returns the subscriber that has waited longest, nil if there is none.
func (d *debts) next() *subscriber {
	if d.head == len(d.members) {
		return nil
	}
	return d.members[d.head]
}

// visited removes the subscriber that next returned.
func (d *debts) visited() {
	d.members[d.head].owed = false
	d.members[d.head] = nil
	d.head++
	if d.head == len(d.members) {
		d.members, d.head = d.members[:0], 0
	}
}

// turns lists the streams with something to do, first come, first served.
type turns struct{ first, last *stream }

// add gives a stream, which must not be listed, the last turn.
func (l *turns) add(st *stream) {
	st.awaitsTurn, st.next = true, nil
	if l.last == nil {
		l.first = st
	} else {
		l.last.next = st
	}
	l.last = st
}

// removeFirst takes the first stream off the list, which must not be empty.
func (l *turns) removeFirst() {
	st := l.first
	l.first = st.next
	if l.first == nil {
		l.last = nil
	}
	st.awaitsTurn, st.next = false, nil
}

// wake gives a stream with news a turn.
func (w *Worker) wake(st *stream, n news) {
	st.ready.renew()
	if n == forAll {
		st.waiting.renewFromEnd()
	}
	if !st.awaitsTurn {
		w.turns.add(st)
	}
}

// news is the set of subscribers that a packet is for.
type news uint8

const (
	// forReady: those that play already. Nobody can start with the packet.
	forReady news = iota
	// forAll: also those that wait for a keyframe. The packet is sound, or part of a keyframe.
	forAll
)

// serve gives one subscriber a visit of its own.
func (w *Worker) serve(sub *subscriber) {
	st := sub.stream
	st.debts.add(sub)
	if !st.awaitsTurn {
		w.turns.add(st)
	}
}

// pollStreams gives turns until nothing is left to do. It is false if there was no room for all.
func (w *Worker) pollStreams(now port.Time, out *Outgoing) bool {
	for w.turns.first != nil {
		st := w.turns.first
		fed := st.pub == nil || !w.blame(st.pub) || st.pub.feed(w, now, out)
		for st.spent < quantum && st.busy() {
			if !w.visitNext(now, st, out) {
				return false
			}
		}
		if !fed {
			return false // the turn goes on once the driver has passed the messages on
		}
		w.turns.removeFirst()
		st.spent, st.repaid = 0, 0
		if st.busy() || st.pub != nil && st.pub.unfed {
			w.turns.add(st)
		} else {
			w.release(st)
		}
	}
	return true
}

// busy reports whether any subscriber is to be visited.
func (st *stream) busy() bool {
	return st.ready.left > 0 || st.waiting.left > 0 || st.debts.next() != nil
}

// visitNext visits the next subscriber of a stream. It is false if there was no room to finish the visit.
func (w *Worker) visitNext(now port.Time, st *stream, out *Outgoing) bool {
	c := &st.ready
	if c.left == 0 {
		c = &st.waiting
	}
	sub, owed := c.next(), st.debts.next()
	indebted := owed != nil && (sub == nil || 2*st.repaid <= st.spent)
	if indebted {
		sub = owed
	} else {
		c.foresee()
	}
	start := out.Filled
	done := w.visit(now, sub, indebted, out)
	cost := visitCost + (out.Filled-start)*frameCost
	st.spent += cost
	if indebted {
		st.repaid += cost
	}
	if !done {
		return false
	}
	if indebted {
		st.debts.visited()
	} else {
		c.visited()
	}
	w.seat(sub)
	if out.Filled > start && sub.awaitsRepair() {
		w.serve(sub)
	}
	return true
}

// visit writes all pending packets of one subscriber, in a row. It is false if out is full before. Resends are debts.
func (w *Worker) visit(now port.Time, sub *subscriber, indebted bool, out *Outgoing) bool {
	w.current = sub.session
	if sub.session == nil {
		return true
	}
	route, ok := w.route(sub.session)
	if !ok || sub.session.ending {
		return true // a new path serves the subscriber again
	}
	if indebted && !w.repair(now, sub, route, out) {
		return false
	}
	return w.fill(now, sub, route, out)
}

// seat moves a subscriber to its circle: a visit may have changed whether it waits for a keyframe.
func (w *Worker) seat(sub *subscriber) {
	waits := sub.waitsForKeyframe()
	if sub.session == nil || waits == sub.waits {
		return
	}
	st := sub.stream
	if moved := st.circleOf(sub).remove(sub); moved != nil {
		w.serve(moved)
	}
	sub.waits = waits
	st.circleOf(sub).add(sub)
}

// waitsForKeyframe reports whether the subscriber's video needs a keyframe to go on.
func (sub *subscriber) waitsForKeyframe() bool {
	for i := range sub.tracks {
		if t := &sub.tracks[i]; t.waiting && t.spec.Kind == rtp.Video {
			return true
		}
	}
	return false
}

// circleOf returns the circle that a subscriber is in.
func (st *stream) circleOf(sub *subscriber) *circle {
	if sub.waits {
		return &st.waiting
	}
	return &st.ready
}

// subscribers returns how many subscribers a stream has at this worker.
func (st *stream) subscribers() int { return len(st.ready.members) + len(st.waiting.members) }

// foresee prefetches data of the next three members, following one more pointer for each step closer.
func (c *circle) foresee() {
	if i := c.walk - 3; i >= 0 {
		prefetch.Of(c.members[i])
	}
	if i := c.walk - 2; i >= 0 {
		sub := c.members[i]
		prefetch.Of(sub.session)
		if sub.selector != nil {
			prefetch.Of(sub.selector)
		}
		sub.sealer.Prefetch()
		for t := range sub.tracks {
			prefetch.Of(&sub.tracks[t])
		}
	}
	if i := c.walk - 1; i >= 0 {
		sub := c.members[i]
		if s := sub.session; s.live != nil && s.selected >= 0 {
			prefetch.Of(&s.paths[s.selected])
			prefetch.Of(&s.timers)
		}
		for t := range sub.tracks {
			t := &sub.tracks[t]
			prefetch.Of(t.spec)
			if s := t.present(); s != nil {
				prefetch.Of(s)
			}
		}
	}
}

// newsOf returns the set of subscribers that a packet is news for.
func newsOf(p *bus.Packet, k rtp.Kind) news {
	if k == rtp.Audio || p.Flags&bus.KeyframeStart != 0 {
		return forAll
	}
	return forReady
}
