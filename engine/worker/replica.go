package worker

import (
	"slices"

	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/worker/history"
)

const (
	// followRetry is how soon a request to be fed is repeated that the owner did not answer.
	followRetry = port.Second
	// A hole is asked for again after holeRetry, up to holeTries times, since the answer can be lost as well.
	maxHoles  = 256
	holeRetry = 20 * port.Millisecond
	holeTries = 10
	// spareSpan is how long a layer is followed that nobody watches: subscribers come back.
	spareSpan = 2 * port.Second
)

// A follow is a layer that this worker asked the owner of a publication for, or the publication, see bus.EveryTrack.
type follow struct {
	pub      *publication
	id       bus.LayerID
	number   uint32
	promised bool // the owner answered
	next     *follow
	idle     port.Time // when its layer was first seen to be watched by nobody, 0 while it is
}

// followed returns the publication's follow of a number, or nil.
func (p *publication) followed(number uint32) *follow {
	for f := p.follows; f != nil; f = f.next {
		if f.number == number {
			return f
		}
	}
	return nil
}

// brings reports whether the owner may feed a layer for the follow.
func (f *follow) brings(l *layer) bool {
	if f.id.Track == bus.EveryTrack {
		return len(l.pub.tracks[l.track].layers) == 1
	}
	return f.id.Track == l.track && f.id.Layer == l.index
}

// asking is the follows that the owner has not answered yet.
type asking struct {
	follows []*follow
	at      port.Time // when the requests are repeated
	number  uint32    // of the last follow
}

func (a *asking) add(now port.Time, f *follow) {
	if len(a.follows) == 0 {
		a.at = now + followRetry
	}
	a.follows = append(a.follows, f)
}

func (a *asking) remove(f *follow) {
	a.follows = slices.DeleteFunc(a.follows, func(x *follow) bool { return x == f })
}

// again returns the follows to ask for again, and forgets the others.
func (a *asking) again(now port.Time) []*follow {
	a.follows = slices.DeleteFunc(a.follows, func(f *follow) bool {
		return f.promised || f.pub.stream.pub != f.pub
	})
	a.at = now + followRetry
	return a.follows
}

// next is when to ask again.
func (a *asking) next() port.Time {
	if len(a.follows) == 0 {
		return port.Never
	}
	return a.at
}

// follow asks the owner of a publication for it. Of tracks with several layers it asks for the ladder: only then it is
// known which of them the subscribers want.
func (w *Worker) follow(now port.Time, p *publication) {
	if p.follows == nil {
		w.followLayer(now, p, bus.EveryTrack, 0)
	}
}

// demand follows a layer that a subscription wants.
func (w *Worker) demand(now port.Time, l *layer) {
	if !l.pub.brings(l) {
		w.followLayer(now, l.pub, l.track, l.index)
		w.chores.add(now, l.pub.stream)
	}
}

// spare ends the follows of layers that nobody here has watched for a while. It reports whether any follow is of a
// single layer.
func (w *Worker) spare(now port.Time, p *publication) (some bool) {
	var next *follow
	for f := p.follows; f != nil; f = next {
		next = f.next
		if f.id.Track == bus.EveryTrack {
			continue
		}
		some = true
		switch l := p.tracks[f.id.Track].layers[f.id.Layer]; {
		case l.users+l.wanted > 0:
			f.idle = 0
		case f.idle == 0:
			f.idle = now
		case now-f.idle >= spareSpan:
			w.endFollow(f)
		}
	}
	return some
}

// followLayer asks the owner of a publication for a layer.
func (w *Worker) followLayer(now port.Time, p *publication, track, layer uint8) {
	w.asking.number++
	id := bus.LayerID{Stream: p.stream.id, Generation: p.generation, Track: track, Layer: layer}
	f := &follow{pub: p, id: id, number: w.asking.number, next: p.follows}
	p.follows = f
	w.asking.add(now, f)
	w.send(bus.Follow(p.owner, f.id, f.number))
}

// askAgain repeats the requests that were not answered. The owner hears of its publication before anybody can
// ask for it, so there should be none.
func (w *Worker) askAgain(now port.Time) {
	for _, f := range w.asking.again(now) {
		w.send(bus.Follow(f.pub.owner, f.id, f.number))
	}
}

// unfollow ends all follows of a publication, which has no subscriber here.
func (w *Worker) unfollow(p *publication) {
	for p.follows != nil {
		w.endFollow(p.follows)
	}
	for i := range p.tracks {
		for _, l := range p.tracks[i].layers {
			l.replica = replica{}
			l.restart()
		}
	}
}

// endFollow ends a follow, and drops the replicas that no other brings. Subscribers may still have spans on them.
func (w *Worker) endFollow(f *follow) {
	p := f.pub
	for at := &p.follows; *at != nil; at = &(*at).next {
		if *at == f {
			*at = f.next
			break
		}
	}
	w.asking.remove(f)
	w.send(bus.Unfollow(p.owner, f.id, f.number))
	for i := range p.tracks {
		for _, l := range p.tracks[i].layers {
			if f.brings(l) && !p.brings(l) {
				l.replica.fed = false
				l.history.Release()
			}
		}
	}
}

// brings reports whether any follow brings a layer.
func (p *publication) brings(l *layer) bool {
	for f := p.follows; f != nil; f = f.next {
		if f.brings(l) {
			return true
		}
	}
	return false
}

// replicate takes one packet of the owner's into this worker's replica of the layer.
func (w *Worker) replicate(now port.Time, l *layer, m *bus.Media) {
	n := int(m.Packet.ExtensionLen)
	if n > len(m.Data) || len(m.Data) > history.MaxStored {
		return
	}
	r := &l.replica
	if r.fed && int32(m.Epoch-l.epoch) < 0 {
		return // of before a break in the numbering
	}
	first := !r.fed
	switch {
	case m.Epoch != l.epoch:
		l.history.Release()
		l.epoch = m.Epoch
		*r = replica{fed: true, next: m.Start, holes: r.holes[:0]}
	case first:
		// Packets of a feed before may have been sent. They are not taken again: the padding could differ.
		*r = replica{fed: true, next: max(r.next, m.Start), holes: r.holes[:0]}
	}
	ok := r.take(now, m.Index)
	w.askForHoles(now, l, m.Feed)
	if !ok {
		return // it has come before
	}
	l.history.Append(&m.Packet, m.Data[:n], m.Data[n:])
	w.chores.add(now, l.pub.stream)
	if m.Packet.Flags&bus.KeyframeStart != 0 {
		l.request.answer(now)
	}
	t := &l.pub.tracks[l.track]
	who := newsOf(&m.Packet, t.spec.Kind)
	if several := len(t.layers) > 1; several && first || !several && t.start(l) {
		who = forAll
	}
	w.wakeFor(l, who)
}

// A replica is how far the owner fed a layer to this worker.
type replica struct {
	// fed is set once the owner fed the layer, next the index of the owner's history that it should feed next.
	fed  bool
	next uint64
	// holes are the packets before next that did not come, at most maxHoles.
	holes []hole
}

// A hole is a packet that the media lane to this worker lost.
type hole struct {
	index uint64
	asked port.Time // last
	tries uint8
}

// take notes that a packet came, and the holes that it leaves. ok is false for a packet that has come before: the owner
// may answer twice.
func (r *replica) take(now port.Time, index uint64) (ok bool) {
	ok = index >= r.next
	if i := slices.IndexFunc(r.holes, func(h hole) bool { return h.index == index }); i >= 0 {
		r.holes = slices.Delete(r.holes, i, i+1)
		ok = true
	}
	if index > maxHoles {
		r.next = max(r.next, index-maxHoles)
	}
	for ; r.next < index; r.next++ {
		if len(r.holes) < maxHoles {
			r.holes = append(r.holes, hole{index: r.next, asked: now - holeRetry})
		}
	}
	if index == r.next {
		r.next++
	}
	return ok
}

// askForHoles asks the owner for holes that are due, in rows, and forgets those that it was asked for often.
func (w *Worker) askForHoles(now port.Time, l *layer, feed uint32) {
	keep := l.replica.holes[:0]
	var row bus.Row
	for _, h := range l.replica.holes {
		if now-h.asked >= holeRetry {
			if h.tries++; h.tries > holeTries {
				continue
			}
			h.asked = now
			if row.Count > 0 && h.index == row.Index+uint64(row.Count) {
				row.Count++
			} else {
				w.ask(l, feed, row)
				row = bus.Row{Index: h.index, Count: 1}
			}
		}
		keep = append(keep, h)
	}
	l.replica.holes = keep
	w.ask(l, feed, row)
}

// ask asks the owner for a row of packets again.
func (w *Worker) ask(l *layer, feed uint32, r bus.Row) {
	if r.Count > 0 {
		r.Epoch = l.epoch
		w.send(bus.ResendWanted(l.pub.owner, l.id(), feed, r))
	}
}
