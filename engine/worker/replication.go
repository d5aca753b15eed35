package worker

import (
	"slices"

	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/worker/history"
)

// A follower is another worker with subscribers of a publication that this worker owns. It is fed
// like a subscriber: a cursor into the best layer of each track.
type follower struct {
	address bus.Address
	feeds   []feed // by track
	again   []again
	left    int // packets that it may still be fed in this turn
}

type feed struct {
	layer  *layer
	epoch  uint32
	cursor uint64
	start  uint64 // where the feed of this layer began
}

// again is a row of packets that the lossy lane lost.
type again struct {
	layer      *layer
	index, end uint64
}

// maxAgain bounds the rows of lost packets that wait for one follower, maxAgainPackets those of one
// row.
const (
	maxAgain        = 64
	maxAgainPackets = 256
)

const (
	// followRetry is how soon a request to be fed is repeated that the owner did not answer.
	followRetry = port.Second
	// feedQuantum is how many packets a follower is fed in one turn of its stream: less than a lane holds,
	// so that priming one does not push out what others are sent.
	feedQuantum = 64
	// feedBack is how many packets before the live edge a replica is primed with where no viewer could start
	// at the keyframe: the next keyframe may be on its way, its first packet late.
	feedBack = 64
)

// asking is the publications whose owner has not answered this worker's Follow yet.
type asking struct {
	publications []*publication
	at           port.Time // when the requests are repeated
}

func (a *asking) add(now port.Time, p *publication) {
	if len(a.publications) == 0 {
		a.at = now + followRetry
	}
	a.publications = append(a.publications, p)
}

func (a *asking) remove(p *publication) {
	a.publications = slices.DeleteFunc(a.publications, func(x *publication) bool { return x == p })
}

// again returns the publications to ask for again, and forgets the others.
func (a *asking) again(now port.Time) []*publication {
	a.publications = slices.DeleteFunc(a.publications, func(p *publication) bool {
		return !p.following || p.promised || p.stream.pub != p
	})
	a.at = now + followRetry
	return a.publications
}

// next is when to ask again.
func (a *asking) next() port.Time {
	if len(a.publications) == 0 {
		return port.Never
	}
	return a.at
}

// follow asks the owner of a publication to feed this worker.
func (w *Worker) follow(now port.Time, p *publication) {
	if p.following {
		return
	}
	p.following, p.promised = true, false
	w.asking.add(now, p)
	w.sendFollow(p)
}

func (w *Worker) sendFollow(p *publication) {
	w.send(bus.Follow(p.owner, p.id()))
}

// askAgain repeats the requests that were not answered. The owner hears of its publication before anybody can
// ask for it, so there should be none.
func (w *Worker) askAgain(now port.Time) {
	for _, p := range w.asking.again(now) {
		w.sendFollow(p)
	}
}

func (w *Worker) unfollow(p *publication) {
	p.following = false
	w.asking.remove(p)
	w.send(bus.Unfollow(p.owner, p.id()))
	for i := range p.tracks {
		for _, l := range p.tracks[i].layers {
			l.replica.fed = false
			l.restart()
		}
	}
}

// id names the publication.
func (p *publication) id() bus.LayerID {
	return bus.LayerID{Stream: p.stream.id, Generation: p.generation}
}

// id names the layer.
func (l *layer) id() bus.LayerID {
	return bus.LayerID{Stream: l.pub.stream.id, Generation: l.pub.generation, Track: l.track, Layer: l.index}
}

// publication returns the present publication that a layer belongs to, nil where the layer is an older one's.
func (w *Worker) publication(l *bus.LayerID) *publication {
	st := w.streams[l.Stream]
	if st == nil || st.pub == nil || st.pub.generation != l.Generation {
		return nil
	}
	return st.pub
}

// layer returns a layer of the publication; ok is false where there is none.
func (p *publication) layer(id *bus.LayerID) (l *layer, ok bool) {
	if int(id.Track) >= len(p.tracks) || int(id.Layer) >= len(p.tracks[id.Track].layers) {
		return nil, false
	}
	return p.tracks[id.Track].layers[id.Layer], true
}

// handleReplication takes in a control message about a layer. A message about an older publication is out of date.
func (w *Worker) handleReplication(now port.Time, m *bus.Control) {
	p := w.publication(&m.LayerID)
	if p == nil && m.Kind == bus.KindFollow {
		w.drop(DropFollow)
	}
	if p == nil || !w.blame(p) {
		return
	}
	l, ok := p.layer(&m.LayerID)
	if !ok {
		return
	}
	owner := p.owner == w.address()
	switch m.Kind {
	case bus.KindFollow:
		if !owner {
			w.drop(DropFollow)
			return
		}
		p.addFollower(w, m.From)
		w.send(bus.Following(m.From, p.id()))
	case bus.KindFollowing:
		p.promised = true
	case bus.KindUnfollow:
		for i, f := range p.followers {
			if f.address == m.From {
				p.followers = append(p.followers[:i], p.followers[i+1:]...)
				break
			}
		}
	case bus.KindKeyframeWanted:
		if owner {
			w.keyframeWanted(now, l, m.Join)
		}
	case bus.KindResendWanted:
		if owner {
			p.sendAgain(w, m, l)
		}
	case bus.KindSenderReport:
		if !owner {
			l.clock = m.Clock
		}
	}
}

// handleFed takes in a packet of a layer that this worker follows.
func (w *Worker) handleFed(now port.Time, m *bus.Media) {
	p := w.publication(&m.LayerID)
	if p == nil || !w.blame(p) || p.owner == w.address() || !p.following {
		return
	}
	if l, ok := p.layer(&m.LayerID); ok {
		w.replicate(now, l, m)
	}
}

func (p *publication) addFollower(w *Worker, worker bus.Address) {
	for _, f := range p.followers {
		if f.address == worker {
			return
		}
	}
	p.followers = append(p.followers, &follower{address: worker, feeds: make([]feed, len(p.tracks)), left: feedQuantum})
	for i := range p.tracks {
		for _, l := range p.tracks[i].layers {
			if l.clock.Valid {
				w.sendClock(l, worker)
			}
		}
	}
	w.wake(p.stream, forReady)
}

func (w *Worker) sendClock(l *layer, worker bus.Address) {
	w.send(bus.SenderReport(worker, l.id(), l.clock))
}

func (p *publication) sendAgain(w *Worker, m *bus.Control, l *layer) {
	for _, f := range p.followers {
		if f.address != m.From || len(f.again) == maxAgain || m.Epoch != l.epoch {
			continue
		}
		if end := m.Index + uint64(min(m.Count, maxAgainPackets)); !f.resends(l, m.Index, end) {
			f.again = append(f.again, again{l, m.Index, end})
			w.wake(p.stream, forReady)
		}
	}
}

// feed emits what followers have not got yet, a bounded number of packets for each; false when the batch of
// messages is full.
func (p *publication) feed(w *Worker, now port.Time, out *Outgoing) bool {
	for _, f := range p.followers {
		for i := range f.feeds {
			if !f.run(w, now, &f.feeds[i], &p.tracks[i], out) {
				return false
			}
		}
		if !f.resend(w, out) {
			return false
		}
	}
	p.unfed = false
	for _, f := range p.followers {
		p.unfed = p.unfed || f.left == 0
		f.left = feedQuantum
	}
	return true
}

// resends reports whether a row of packets waits to be resent already.
func (f *follower) resends(l *layer, index, end uint64) bool {
	return slices.ContainsFunc(f.again, func(a again) bool {
		return a.layer == l && a.index <= index && end <= a.end
	})
}

// resend emits what a follower lost.
func (f *follower) resend(w *Worker, out *Outgoing) bool {
	for len(f.again) > 0 {
		a := &f.again[0]
		for a.index = max(a.index, a.layer.history.First()); a.index < min(a.end, a.layer.history.Next()); a.index++ {
			if f.left == 0 {
				return true
			}
			if !w.emit(out, f, a.layer, a.index, 0) {
				return false
			}
		}
		f.again = f.again[:copy(f.again, f.again[1:])]
	}
	return true
}

// run emits one track's news to one follower. It moves to another layer at a fresh keyframe, as
// subscribers do, and feeds the old one until then.
func (f *follower) run(w *Worker, now port.Time, x *feed, t *track, out *Outgoing) bool {
	best := t.best
	if best == nil {
		return true
	}
	k := best.history.Key()
	fresh := t.spec.Kind == rtp.Audio || k.Valid && now-k.Arrival <= joinAge && x.goesOn(now, k, best)
	if x.layer != nil && x.layer != best && !fresh {
		w.wantKeyframe(now, best)
	}
	if x.layer == nil || x.layer != best && fresh || x.epoch != x.layer.epoch {
		h := &best.history
		x.layer, x.epoch = best, best.epoch
		x.cursor = h.Start(t.spec.Kind)
		if !fresh { // from the keyframe on is more than a viewer can use
			x.cursor = max(x.cursor, h.Next()-min(feedBack, h.Next()-h.First()))
		}
		x.start = x.cursor
	}
	h := &x.layer.history
	for x.cursor = max(x.cursor, h.First()); x.cursor < h.Next() && f.left > 0; x.cursor++ {
		if !w.emit(out, f, x.layer, x.cursor, x.start) {
			return false
		}
	}
	return true
}

// emit makes one Media message; its Data lies in the history.
func (w *Worker) emit(out *Outgoing, f *follower, l *layer, index, start uint64) bool {
	if out.room() == 0 {
		return false
	}
	e := l.history.At(index)
	at := bus.Place{Index: index, Start: start, Epoch: l.epoch}
	out.Media = append(out.Media, bus.PacketTo(f.address, l.id(), at, &e.Packet, l.history.Data(e)))
	w.count(Replicated)
	f.left--
	return true
}

// replicate takes one packet of the owner's into this worker's replica of the layer.
func (w *Worker) replicate(now port.Time, l *layer, m *bus.Media) {
	n := int(m.Packet.ExtensionLen)
	if n > len(m.Data) || len(m.Data) > history.MaxStored {
		return
	}
	if l.replica.fed && int32(m.Epoch-l.epoch) < 0 {
		return // of before a break in the numbering
	}
	if !l.replica.fed || m.Epoch != l.epoch {
		l.history.Release()
		l.replica.fed, l.epoch, l.replica.next = true, m.Epoch, m.Start
		l.replica.holes = l.replica.holes[:0]
	}
	if m.Start > l.replica.next { // the feed left and came back
		l.replica.next = m.Start
	}
	news, ok := w.noteHoles(now, l, m)
	if !ok {
		return // it has come before
	}
	l.history.Append(&m.Packet, m.Data[:n], m.Data[n:])
	w.chores.add(now, l.pub.stream)
	t := &l.pub.tracks[l.track]
	if news {
		t.fed = l
	}
	// Subscribers follow the layer that is fed, once they can start there: the packet that begins
	// its keyframe may have been lost on the way and come behind others.
	best := t.best
	if f := t.fed; t.best == nil {
		t.best = l
	} else if f != nil && (f.history.Key().Valid || t.spec.Kind == rtp.Audio) {
		t.best = f
	}
	if m.Packet.Flags&bus.KeyframeStart != 0 {
		l.request.answer(now)
	}
	who := newsOf(&m.Packet, t.spec.Kind)
	if t.best != best {
		who = forAll
	}
	w.wake(l.pub.stream, who)
}

// A replica is how far the owner fed a layer to this worker.
type replica struct {
	// fed is set once the owner fed the layer, next the index of the owner's history that it should feed next.
	fed  bool
	next uint64
	// holes are the packets before next that did not come, at most maxHoles.
	holes []hole
}

// A hole is a packet that the lossy lane to this worker lost.
type hole struct {
	index uint64
	asked port.Time // last
	tries uint8
}

// A hole is asked for again, since the answer can be lost as well.
const (
	maxHoles  = 256
	holeRetry = 20 * port.Millisecond
	holeTries = 10
)

// noteHoles compares what came with what should have, and asks the owner for what is missing. ok is
// false for a packet that has come before: an answer can come twice. news is true for one that was not
// asked for.
func (w *Worker) noteHoles(now port.Time, l *layer, m *bus.Media) (news, ok bool) {
	news = m.Index >= l.replica.next
	ok = news
	for i := range l.replica.holes {
		if l.replica.holes[i].index == m.Index {
			l.replica.holes = append(l.replica.holes[:i], l.replica.holes[i+1:]...)
			ok = true
			break
		}
	}
	if m.Index > maxHoles {
		l.replica.next = max(l.replica.next, m.Index-maxHoles)
	}
	for ; l.replica.next < m.Index; l.replica.next++ {
		if len(l.replica.holes) < maxHoles {
			l.replica.holes = append(l.replica.holes, hole{index: l.replica.next, asked: now - holeRetry})
		}
	}
	if m.Index == l.replica.next {
		l.replica.next++
	}
	keep := l.replica.holes[:0]
	var ask bus.Row
	for _, h := range l.replica.holes {
		if now-h.asked >= holeRetry {
			if h.tries++; h.tries > holeTries {
				continue
			}
			h.asked = now
			if ask.Count > 0 && h.index == ask.Index+uint64(ask.Count) {
				ask.Count++
			} else {
				w.ask(l, ask)
				ask = bus.Row{Index: h.index, Count: 1}
			}
		}
		keep = append(keep, h)
	}
	l.replica.holes = keep
	w.ask(l, ask)
	return news, ok
}

func (w *Worker) ask(l *layer, r bus.Row) {
	if r.Count == 0 {
		return
	}
	r.Epoch = l.epoch
	w.send(bus.ResendWanted(l.pub.owner, l.id(), r))
}
