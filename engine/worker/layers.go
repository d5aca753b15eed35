package worker

import (
	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/worker/history"
)

const (
	// A layer is silent after silenceFrames times its mean distance of frames, held within minSilence and maxSilence.
	minSilence    = 300 * port.Millisecond
	maxSilence    = 2 * port.Second
	silenceFrames = 4
	// returnSpan is how long a layer that was silent has to send before it is taken again in place of another.
	returnSpan = 2 * port.Second
	// clocksApart is how far two layers' clocks may be off each other.
	clocksApart = 10 * port.Millisecond
	// Some encoders bring the same picture later in one layer than the next picture in another. After switchSpan
	// without a switch, a keyframe that is layersApart behind is better than none.
	layersApart = 50 * port.Millisecond
	switchSpan  = 3 * port.Second
	// A layer whose keyframe was lost before its size was read is asked for another, at most maxQueries times.
	maxQueries = 3
)

// A sending is what the owner knows of how a layer of several is sent.
type sending struct {
	// area is width times height of the layer's pictures, 0 while unknown.
	area int
	// frame is when the newest frame began to arrive, 0 before the first.
	frame port.Time
	// pace is the mean distance of frames, 0 before the second.
	pace port.Time
	// since is when the layer came back after it was silent, 0 before that.
	since port.Time
	// queries counts the keyframes that were asked for to learn the area, queried is when one last was.
	queries uint8
	queried port.Time
	// ended is set by the publisher's goodbye, until the layer is sent again.
	ended bool
}

// patience is how long the layer may send nothing, while others send, and not be silent.
func (s *sending) patience() port.Time {
	return max(minSilence, min(silenceFrames*s.pace, maxSilence))
}

// measure takes a packet of the start of a keyframe into what is known of the layer.
func (s *sending) measure(c rtp.Codec, payload []byte) {
	if width, height := rtp.PictureSize(c, payload); width > 0 {
		s.area = width * height
	}
}

// begin takes the first packet of a frame into what is known of the track's layers, and chooses among them.
func (w *Worker) begin(now port.Time, t *track, l *layer) {
	s := &l.upstream.sending
	if now-t.frame > s.patience() {
		t.since = now // all were silent: what others do not send yet says nothing about them
	}
	t.frame = now
	if s.frame > 0 {
		if t.silent(now, l) {
			s.since = now
		}
		gap := min(now-s.frame, maxSilence)
		if s.pace == 0 {
			s.pace = gap
		}
		s.pace += (gap - s.pace) / 8
	}
	s.ended = false
	s.frame = now
	watched := l.pub.stream.subscribers() > 0 || len(l.pub.followers) > 0
	best := t.choose(now)
	if s.area == 0 && best.upstream.area > 0 && watched && s.queries < maxQueries && now-s.queried > port.Second {
		s.queries++
		s.queried = now
		w.lostKeyframe(now, l)
	}
	if best == t.best {
		return
	}
	left := t.best
	t.best, t.chosen = best, now
	w.wake(l.pub.stream, forAll) // its keyframe may be there
	if left != nil && t.silent(now, left) && watched {
		w.lostKeyframe(now, best) // they see nothing until it comes
	}
}

// silent reports whether a layer is not sent while others are.
func (t *track) silent(now port.Time, l *layer) bool {
	s := &l.upstream.sending
	return s.frame == 0 || s.ended || now-max(s.frame, t.since) > s.patience()
}

// choose finds the best layer that is sent: the one with the largest pictures, or of equals, and while none is known,
// the one that the publisher named first: it lists them in the order of its preference (RFC 8853 section 5). One
// that came back late counts after the others. The present one stays while all are silent.
func (t *track) choose(now port.Time) *layer {
	var best *layer
	settled := false
	for _, l := range t.layers {
		if t.silent(now, l) {
			continue
		}
		u := l.upstream
		stays := l == t.best || u.since == 0 || now-u.since >= returnSpan
		switch {
		case best == nil, stays && !settled:
		case settled && !stays, u.area <= best.upstream.area:
			continue
		}
		best, settled = l, stays
	}
	if best == nil {
		return t.best
	}
	return best
}

// aim sets the layer that a subscription wants. Today's policy: everybody wants the best layer of the track.
func (t *subscription) aim(src *track) { t.want = src.best }

// startLayer is the layer that subscriptions are going to want, also before the first packet. It is nil while the
// publisher has announced no SSRC.
func (t *track) startLayer() *layer {
	if t.best != nil {
		return t.best
	}
	for _, l := range t.layers {
		if l.upstream == nil || l.upstream.receiver.SSRC != 0 {
			return l
		}
	}
	return nil
}

// A progress is how far a receiver, a subscriber or a follower, got in a layer.
type progress struct {
	layer *layer
	epoch uint32
	// offset is what was added to the layer's timestamps, timestamp the latest that was sent, with the offset.
	offset, timestamp uint32
	// arrival is when the newest packet that was sent came in.
	arrival port.Time
}

// offsetFor is what is added to the timestamps of another layer, or of the same, so that they go on from there: the
// same moment has the same timestamp. ok is false where that is not known.
func (x *progress) offsetFor(now port.Time, l *layer) (offset uint32, ok bool) {
	switch {
	case x.layer == l && x.epoch == l.epoch:
		return x.offset, true
	case x.layer.pub == l.pub && x.layer.knowsTime(x.epoch) && l.knowsTime(l.epoch):
		rate := l.clockRate()
		return x.offset + timestampAt(&x.layer.clock, now, rate) - timestampAt(&l.clock, now, rate), true
	}
	return 0, false
}

// goesOn reports whether a receiver can go on with the keyframe of another layer: only with one that shows what it has
// not seen yet. From an older one, all that follows would be late for good. One that came after all that was sent may
// show the same moment, or be a little behind.
func (x *progress) goesOn(now port.Time, l *layer, k *history.Keyframe) bool {
	offset, ok := x.offsetFor(now, l)
	if !ok {
		return true
	}
	ahead := int32(k.Timestamp + offset - x.timestamp)
	behind := clocksApart
	if now-l.pub.tracks[l.track].chosen > switchSpan {
		behind = layersApart
	}
	return ahead > 0 || ahead >= -int32(rtp.Ticks(int64(behind), l.clockRate())) && k.Arrival >= x.arrival
}

// goesOn reports whether the subscription can go on, or begin, with a keyframe.
func (t *subscription) goesOn(now port.Time, k *history.Keyframe, l *layer) bool {
	if t.highest == 0 {
		return true
	}
	x := t.progress()
	return x.goesOn(now, l, k)
}

// progress is how far the subscription got in its last span.
func (t *subscription) progress() progress {
	s := t.present()
	x := progress{layer: s.layer, epoch: s.epoch, offset: s.offset(), timestamp: t.lastTimestamp, arrival: t.lastSent}
	if h := &s.layer.history; t.cursor > h.First() && t.cursor <= h.Next() {
		x.arrival = h.At(t.cursor - 1).Arrival
	}
	return x
}

// goesOn is that of a follower, whose subscribers got no further than it was fed.
func (f *feed) goesOn(now port.Time, k *history.Keyframe, l *layer) bool {
	if f.layer == nil {
		return true
	}
	x := f.progress()
	return x.goesOn(now, l, k)
}

// progress is how far a follower was fed.
func (f *feed) progress() progress {
	x := progress{layer: f.layer, epoch: f.epoch}
	if h := &f.layer.history; f.cursor > h.First() && f.cursor <= h.Next() {
		e := h.At(f.cursor - 1)
		x.timestamp, x.arrival = e.Timestamp, e.Arrival
	}
	return x
}
