package worker

import (
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
)

const (
	// joinAge is the greatest age of a keyframe that a subscriber starts from.
	joinAge = 500 * port.Millisecond
	// stallAge is the greatest age of the next packet. A subscriber that is later than that jumps to a keyframe.
	stallAge = port.Second
	// feedStart is how many packets a feed must bring before sound starts although the feed has holes.
	feedStart = 4
)

// steer makes sure that the subscription has a span: on the layer that it wants, as soon as a span can begin there.
// Until then the present one goes on, unless it was stopped. steer returns the index up to which the present span's
// packets are to be sent.
func (w *Worker) steer(now port.Time, t *subscription) (end uint64) {
	want := t.want
	if want != nil {
		t.shape.match(want.pub)
	}
	if s := t.present(); s != nil && !t.waiting {
		l := s.layer
		h := &l.history
		for t.cursor >= h.First() && t.cursor < h.Next() && h.At(t.cursor).Number < s.first {
			t.cursor++ // the packet is from before the span, so its age does not count
		}
		switch {
		case want != nil && l.pub != want.pub || s.broken():
			t.waiting = true
		case t.cursor < h.First() || t.cursor < h.Next() && now-h.At(t.cursor).Arrival > stallAge:
			w.counters.Drops[DropStalled] += h.Next() - t.cursor
			t.waiting = true
		case l == want:
			return h.Next()
		}
	}
	if want != nil && w.turn(now, t) {
		return want.history.Next()
	}
	if !t.waiting && (want == nil || t.stopped) {
		end = t.halt()
	} else if !t.waiting {
		end = t.have().history.Next()
	}
	t.tally()
	if want != nil && t.spec.Kind == rtp.Video {
		w.wantKeyframe(now, want)
	}
	return end
}

// turn begins a span on the layer that the subscription wants, and reports whether that was possible.
func (w *Worker) turn(now port.Time, t *subscription) bool {
	want := t.want
	h := &want.history
	if t.spec.Kind == rtp.Video {
		k := h.Key()
		if !want.startable(now) || !t.goesOn(now, k, want) {
			return false
		}
		w.startSpan(now, t, want, k.Number, k.Index, k.Timestamp)
		return true
	}
	// A feed's first packet may be one that the publisher sent long before, and that came late. The packets between it
	// and the newest never come here.
	if !t.waiting || h.Next() == h.First() || h.Next()-h.First() < feedStart && len(want.replica.holes) > 0 {
		return false
	}
	i := h.LiveEdge()
	if e := h.At(i); now-e.Arrival <= stallAge {
		w.startSpan(now, t, want, e.Number, i, e.Timestamp)
	}
	return !t.waiting
}

// halt returns the index up to which the picture in hand goes. Once that was sent, the subscription waits.
func (t *subscription) halt() (end uint64) {
	s := t.present()
	h := &s.layer.history
	timestamp := t.lastTimestamp - s.timestamp
	for end = t.cursor; end < h.Next() && h.At(end).Timestamp == timestamp; end++ {
	}
	if end > t.cursor {
		return end
	}
	if end < h.Next() || end == h.First() || h.At(end-1).Flags&bus.Marker != 0 {
		t.waiting, t.halted = true, true
	}
	return end
}

// startSpan begins a span at a packet of a layer. After a layer that was stopped, none of its packets is sent again.
func (w *Worker) startSpan(now port.Time, t *subscription, l *layer, number, index uint64, timestamp uint32) {
	s := span{layer: l, epoch: l.epoch, first: number}
	if t.highest == 0 {
		// Below 2^15, so that a loss at the start cannot be taken for a rollover; above 0.
		s.sequence = w.cfg.Rand()&0x7FFF | 1
		s.timestamp = uint32(w.cfg.Rand())
	} else {
		t.goOn(now, &s, index, timestamp)
	}
	t.stopPlaying()
	t.stopNeeding()
	if t.stopped {
		t.span.forget()
	}
	t.begin(s)
	t.cursor = index
	t.waiting, t.halted, t.stopped = false, false, false
	t.tally()
}

// goOn gives a span the offsets with which it follows the present one. index and timestamp are those of its first
// packet. Sequence numbers go on without a gap, timestamps as time did, and picture IDs by one.
func (t *subscription) goOn(now port.Time, s *span, index uint64, timestamp uint32) {
	l, old := s.layer, t.present()
	s.sequence = t.highest + 1
	var known bool
	if s.timestamp, known = t.offsetFor(now, l); !known {
		s.timestamp = t.lastTimestamp + rtp.Ticks(int64(now-t.lastSent), l.clockRate()) - timestamp
	}
	if d := int32(s.timestampOf(timestamp) - t.lastTimestamp); d <= 0 {
		s.bump = uint32(1 - d)
		s.timestamp += s.bump
	}
	if old.layer == l && !old.broken() {
		s.picture, s.tl0 = old.picture, old.tl0
	} else if e := l.history.At(index); e.Flags&bus.HasPicture != 0 {
		s.picture, s.tl0 = t.lastPicture+1-e.Picture, t.lastTL0+1-e.TL0
	}
}
