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

// A feed brings packets of one layer to a follower. It has a cursor into the layer, like a subscriber.
type feed struct {
	number uint32 // the follower's
	track  uint8
	layer  *layer // nil where the follower asked for the ladder alone
	began  bool
	epoch  uint32
	cursor uint64
	start  uint64 // where the feed of this epoch began
}

// again is a row of packets that the media lane lost.
type again struct {
	feed       uint32
	layer      *layer
	index, end uint64
}

// handleFollow begins a feed, and answers.
func (w *Worker) handleFollow(p *publication, m *bus.Control) {
	if p.owner != w.address() || !w.beginFeed(p, m) {
		w.drop(DropFollow)
		return
	}
	w.send(bus.Following(m.From, m.LayerID, m.Feed))
	for i := range p.tracks {
		if t := &p.tracks[i]; m.Track == bus.EveryTrack || int(m.Track) == i {
			rungs := t.describe()
			w.sendLadder(m.From, p, t, &rungs)
		}
	}
}

// beginFeed adds the feeds that a request names. It reports false where there is no such layer. A request that is
// repeated changes nothing.
func (w *Worker) beginFeed(p *publication, m *bus.Control) bool {
	var feeds []feed
	for i := range p.tracks {
		layers := p.tracks[i].layers
		x := feed{number: m.Feed, track: uint8(i)}
		switch {
		case m.Track == bus.EveryTrack && len(layers) == 1:
			x.layer = layers[0]
		case m.Track == bus.EveryTrack && len(layers) > 1:
		case int(m.Track) == i && int(m.Layer) < len(layers):
			x.layer = layers[m.Layer]
		default:
			continue
		}
		feeds = append(feeds, x)
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
		if l := feeds[i].layer; l != nil {
			l.feeds++
		}
		w.sendClocks(p, f, &feeds[i])
	}
	w.giveTurn(p.stream)
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
	f.feeds = slices.DeleteFunc(f.feeds, func(x feed) bool {
		if x.number == number && x.layer != nil {
			x.layer.feeds--
		}
		return x.number == number
	})
	f.again = slices.DeleteFunc(f.again, func(a again) bool { return a.feed == number })
	if len(f.feeds) == 0 {
		p.followers = slices.DeleteFunc(p.followers, func(x *follower) bool { return x == f })
	}
}

// sendClocks sends a follower the clocks of the layers that a new feed may bring.
func (w *Worker) sendClocks(p *publication, f *follower, x *feed) {
	for _, l := range p.tracks[x.track].layers {
		if l.clock.Valid && (x.layer == nil || x.layer == l) {
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
		w.giveTurn(l.pub.stream)
	}
}

// feed emits the packets that followers have not got yet, a bounded number for each; false when the batch of
// messages is full.
func (p *publication) feed(w *Worker, now port.Time, out *Outgoing) bool {
	for _, f := range p.followers {
		for i := range f.feeds {
			x := &f.feeds[i]
			if !f.run(w, now, x, p.tracks[x.track].spec.Kind, out) {
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

// run emits one feed's news to one follower; false when the batch of messages is full.
func (f *follower) run(w *Worker, now port.Time, x *feed, k rtp.Kind, out *Outgoing) bool {
	if x.layer == nil {
		return true
	}
	h := &x.layer.history
	if !x.began && h.Next() == 0 {
		return true
	}
	if !x.began || x.epoch != x.layer.epoch {
		x.begin(x.layer.primeFrom(now, k))
	}
	for x.cursor = max(x.cursor, h.First()); x.cursor < h.Next() && f.left > 0; x.cursor++ {
		if !w.emit(out, f, x.layer, bus.Place{Index: x.cursor, Start: x.start, Feed: x.number}) {
			return false
		}
	}
	return true
}

// begin makes a feed begin at an index.
func (x *feed) begin(from uint64) {
	x.began, x.epoch = true, x.layer.epoch
	x.cursor, x.start = from, from
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
