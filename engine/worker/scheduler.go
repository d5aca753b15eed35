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
//   - those in a layer's circle, after a packet of the layer arrived, or sound;
//   - those in the circle of the ready, who may turn to another layer, after any packet;
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
	// rank is the circle's place among those of its stream. The circle that is due first is visited first: due counts
	// the stream's visits. lap is how many visits are left of the round.
	rank, lap int32
	due       uint64
}

// add makes a subscriber a member. It need not be visited for the news so far.
func (c *circle) add(sub *subscriber) {
	sub.circle, sub.place = c, int32(len(c.members))
	c.members = append(c.members, sub)
	if c.left > 0 {
		c.left++ // the circle's end may lie in the middle of the walk
	}
}

// remove removes a member and gives its place to the last one. It returns the last one if the walk might miss it
// there, else nil.
func (c *circle) remove(sub *subscriber) (moved *subscriber) {
	last := len(c.members) - 1
	if int(sub.place) < last {
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
	c.lap--
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

// wake gives a stream a turn, with news for all.
func (w *Worker) wake(st *stream) {
	for _, c := range st.circles {
		st.renew(c)
	}
	w.giveTurn(st)
}

// wakeFor gives a stream with a new packet a turn.
func (w *Worker) wakeFor(l *layer, n news) {
	st := l.pub.stream
	if n == forAll {
		w.wake(st)
		return
	}
	st.renew(&st.ready)
	st.renew(&l.circle)
	w.giveTurn(st)
}

// giveTurn gives a stream a turn.
func (w *Worker) giveTurn(st *stream) {
	if !st.awaitsTurn {
		w.turns.add(st)
	}
}

// news is the set of subscribers that a packet is for.
type news uint8

const (
	// forReady: those that play the layer already, or may turn to it. Nobody can start with the packet.
	forReady news = iota
	// forAll: all of the stream. The packet is sound, or part of a keyframe.
	forAll
)

// arrange lists the stream's circles by rank, the layers by their rungs, the highest first.
func (st *stream) arrange() {
	st.circles = append(st.circles[:0], &st.ready)
	if p := st.pub; p != nil {
		if t := p.track(rtp.Video); t != nil {
			for i := len(t.rungs) - 1; i >= 0; i-- {
				st.circles = append(st.circles, &t.rungs[i].layer.circle)
			}
		}
	}
	st.circles = append(st.circles, &st.waiting)
	for i, c := range st.circles {
		c.rank = int32(i)
	}
}

// renew notes news for a circle. After an idle spell a round begins.
func (st *stream) renew(c *circle) {
	if c.left == 0 {
		st.beginRound(c)
	}
	if c == &st.waiting {
		c.renewFromEnd()
	} else {
		c.renew()
	}
}

// beginRound sets when a round of a circle is due. A lower rank may wait for as many visits as there are subscribers.
func (st *stream) beginRound(c *circle) {
	c.lap = int32(len(c.members))
	c.due = st.visits + uint64(c.rank)*uint64(st.subscribers())
}

// finishVisit moves on to the next member of a circle. After its last one another round begins.
func (st *stream) finishVisit(c *circle) {
	if c.visited(); c.lap <= 0 {
		st.beginRound(c)
	}
}

// choose returns the circle with news that is due first, nil without news. So those on lower rungs wait for those on
// higher ones, but no longer than that while there is too much to do.
func (st *stream) choose() (next *circle) {
	for _, c := range st.circles {
		if c.left > 0 && (next == nil || c.due < next.due) {
			next = c
		}
	}
	return next
}

// serve gives one subscriber a visit of its own.
func (w *Worker) serve(sub *subscriber) {
	sub.stream.debts.add(sub)
	w.giveTurn(sub.stream)
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
	return st.choose() != nil || st.debts.next() != nil
}

// visitNext visits the next subscriber of a stream. It is false if there was no room to finish the visit.
func (w *Worker) visitNext(now port.Time, st *stream, out *Outgoing) bool {
	c, sub := st.choose(), st.debts.next()
	indebted := sub != nil && (c == nil || 2*st.repaid <= st.spent)
	if !indebted {
		sub = c.next()
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
	st.visits++
	if indebted {
		st.debts.visited()
	} else {
		st.finishVisit(c)
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

// seat moves a subscriber to its circle: a visit may have changed what it waits for.
func (w *Worker) seat(sub *subscriber) {
	c := sub.stream.circleFor(sub)
	if sub.session == nil || c == sub.circle {
		return
	}
	w.unseat(sub)
	c.add(sub)
}

// unseat takes a subscriber out of its circle.
func (w *Worker) unseat(sub *subscriber) {
	if moved := sub.circle.remove(sub); moved != nil {
		w.serve(moved)
	}
}

// circleFor returns the circle where a subscriber belongs, by its first video line: others are sent the same rung. A
// relay has news whenever any layer has.
func (st *stream) circleFor(sub *subscriber) *circle {
	t := sub.video()
	switch {
	case t == nil || sub.relay:
		return &st.ready
	case t.waiting:
		return &st.waiting
	}
	if l := t.have(); l == t.want && l.pub == st.pub {
		return &l.circle
	}
	return &st.ready
}

// subscribers returns how many subscribers a stream has at this worker.
func (st *stream) subscribers() (n int) {
	for _, c := range st.circles {
		n += len(c.members)
	}
	return n
}

// foresee prefetches data of the next three members, following one more pointer for each step closer.
func (c *circle) foresee() {
	if i := c.walk - 3; i >= 0 {
		prefetch.Of(c.members[i])
	}
	if i := c.walk - 2; i >= 0 {
		sub := c.members[i]
		prefetch.Of(sub.session)
		if sub.selector != nil {
			sub.selector.Prefetch()
			prefetch.Of(sub.home)
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
