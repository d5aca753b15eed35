package worker

import (
	"slices"

	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
)

const (
	// maxAgain bounds the rows of lost packets that wait for one follower, maxAgainPackets the packets of one row.
	maxAgain        = 64
	maxAgainPackets = 256
	// feedQuantum is how many packets a follower is fed in one turn of its stream. It is less than a lane holds, so
	// that priming one replica does not push out packets for others.
	feedQuantum = 64
	// feedBack is how many packets before the live edge prime a replica where no viewer could start at the keyframe.
	// The next keyframe may be on its way, with its first packet late.
	feedBack = 64
)

// A follower is another endpoint that is fed layers of a publication that this worker owns.
type follower struct {
	address bus.Address
	feeds   []feed
	again   []again
	left    int // packets that it may still be fed in this turn
}

// A feed brings packets of one track to a follower. It has a cursor into a layer, like a subscriber.
type feed struct {
	number uint32 // the follower's
	track  uint8
	want   uint8  // the layer that the follower asked for, or bus.BestLayer
	layer  *layer // nil before the first packet
	epoch  uint32
	cursor uint64
	start  uint64 // where the feed of this layer began
}

// again is a row of packets that the media lane lost.
type again struct {
	feed       uint32
	layer      *layer
	index, end uint64
}

// aim returns the layer that the feed is to bring, nil while there is none. A feed of the best layer moves with it.
func (x *feed) aim(t *track) *layer {
	if x.want == bus.BestLayer {
		return t.best
	}
	return t.layers[x.want]
}

// handleFollow begins a feed, and answers.
func (w *Worker) handleFollow(now port.Time, p *publication, m *bus.Control) {
	if p.owner != w.address() || !w.beginFeed(p, m) {
		w.drop(DropFollow)
		return
	}
	w.send(bus.Following(m.From, m.LayerID, m.Feed))
	for i := range p.tracks {
		if t := &p.tracks[i]; m.Track == bus.EveryTrack || int(m.Track) == i {
			rungs := t.describe(now)
			w.sendLadder(m.From, p, t, &rungs)
		}
	}
}

// beginFeed adds the feeds that a request names. It reports false where there is no such layer. A request that is
// repeated changes nothing.
func (w *Worker) beginFeed(p *publication, m *bus.Control) bool {
	var feeds []feed
	for i := range p.tracks {
		named := m.Track == bus.EveryTrack || int(m.Track) == i
		if named && (m.Layer == bus.BestLayer || int(m.Layer) < len(p.tracks[i].layers)) {
			feeds = append(feeds, feed{number: m.Feed, track: uint8(i), want: m.Layer})
		}
	}
	if len(feeds) == 0 {
		return false
	}
	f := p.follower(m.From)
	if f == nil {
		f = &follower{address: m.From, left: feedQuantum}
		p.followers = append(p.followers, f)
	}
	if slices.ContainsFunc(f.feeds, func(x feed) bool { return x.number == m.Feed }) {
		return true
	}
	f.feeds = append(f.feeds, feeds...)
	for i := range feeds {
		w.sendClocks(p, f, &feeds[i])
	}
	w.wake(p.stream, forReady)
	return true
}

// follower returns the follower with an address, or nil.
func (p *publication) follower(a bus.Address) *follower {
	for _, f := range p.followers {
		if f.address == a {
			return f
		}
	}
	return nil
}

// endFeed removes a follower's feed of a number, and the follower with its last feed.
func (p *publication) endFeed(a bus.Address, number uint32) {
	f := p.follower(a)
	if f == nil {
		return
	}
	f.feeds = slices.DeleteFunc(f.feeds, func(x feed) bool { return x.number == number })
	f.again = slices.DeleteFunc(f.again, func(a again) bool { return a.feed == number })
	if len(f.feeds) == 0 {
		p.followers = slices.DeleteFunc(p.followers, func(x *follower) bool { return x == f })
	}
}

// sendClocks sends a follower the clocks of the layers that a new feed may bring.
func (w *Worker) sendClocks(p *publication, f *follower, x *feed) {
	for _, l := range p.tracks[x.track].layers {
		if l.clock.Valid && (x.want == bus.BestLayer || x.want == l.index) {
			w.sendClock(l, f.address)
		}
	}
}

// sendClock sends a follower the clock of a layer.
func (w *Worker) sendClock(l *layer, follower bus.Address) {
	w.send(bus.SenderReport(follower, l.id(), l.clock))
}

// sendAgain notes packets that a follower lost.
func (w *Worker) sendAgain(l *layer, m *bus.Control) {
	f := l.pub.follower(m.From)
	if f == nil || len(f.again) == maxAgain || m.Epoch != l.epoch {
		return
	}
	if end := m.Index + uint64(min(m.Count, maxAgainPackets)); !f.resends(l, m.Index, end) {
		f.again = append(f.again, again{m.Feed, l, m.Index, end})
		w.wake(l.pub.stream, forReady)
	}
}

// switches reports whether a follower is fed another layer than l, the best of its track.
func (f *follower) switches(l *layer) bool {
	return slices.ContainsFunc(f.feeds, func(x feed) bool {
		return x.track == l.track && x.want == bus.BestLayer && x.layer != nil && x.layer != l
	})
}

// feed emits the packets that followers have not got yet, a bounded number for each; false when the batch of
// messages is full.
func (p *publication) feed(w *Worker, now port.Time, out *Outgoing) bool {
	for _, f := range p.followers {
		for i := range f.feeds {
			x := &f.feeds[i]
			if !f.run(w, now, x, &p.tracks[x.track], out) {
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

// resend emits packets that a follower lost; false when the batch of messages is full.
func (f *follower) resend(w *Worker, out *Outgoing) bool {
	for len(f.again) > 0 {
		a := &f.again[0]
		h := &a.layer.history
		for a.index = max(a.index, h.First()); a.index < min(a.end, h.Next()); a.index++ {
			if f.left == 0 {
				return true
			}
			if !w.emit(out, f, a.layer, bus.Place{Index: a.index, Feed: a.feed}) {
				return false
			}
		}
		f.again = f.again[:copy(f.again, f.again[1:])]
	}
	return true
}

// run emits one feed's news to one follower; false when the batch of messages is full. The feed moves to another layer
// at a fresh keyframe, as subscribers do, and brings the old one until then.
func (f *follower) run(w *Worker, now port.Time, x *feed, t *track, out *Outgoing) bool {
	aim := x.aim(t)
	if aim == nil {
		return true
	}
	k := aim.history.Key()
	fresh := t.spec.Kind == rtp.Audio || k.Valid && now-k.Arrival <= joinAge && x.goesOn(now, k, aim)
	if x.layer != nil && x.layer != aim && !fresh {
		w.wantKeyframe(now, aim)
	}
	if x.layer == nil || x.layer != aim && fresh || x.epoch != x.layer.epoch {
		x.turn(aim, t.spec.Kind, fresh)
	}
	h := &x.layer.history
	for x.cursor = max(x.cursor, h.First()); x.cursor < h.Next() && f.left > 0; x.cursor++ {
		if !w.emit(out, f, x.layer, bus.Place{Index: x.cursor, Start: x.start, Feed: x.number}) {
			return false
		}
	}
	return true
}

// turn makes a feed begin with a layer: where a replica can start, fresh, or else a little before the live edge.
func (x *feed) turn(l *layer, k rtp.Kind, fresh bool) {
	h := &l.history
	x.layer, x.epoch = l, l.epoch
	x.cursor = h.Start(k)
	if !fresh { // from the keyframe on is more than a viewer can use
		x.cursor = max(x.cursor, h.Next()-min(feedBack, h.Next()-h.First()))
	}
	x.start = x.cursor
}

// emit makes one message of a packet at a place; its Data lies in the history. False when the batch is full.
func (w *Worker) emit(out *Outgoing, f *follower, l *layer, at bus.Place) bool {
	if out.room() == 0 {
		return false
	}
	e := l.history.At(at.Index)
	at.Epoch = l.epoch
	out.Media = append(out.Media, bus.PacketTo(f.address, l.id(), at, &e.Packet, l.history.Data(e)))
	w.count(Replicated)
	f.left--
	return true
}
