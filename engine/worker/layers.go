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
	// returnSpan is how long a layer that was silent must send before it can replace another again.
	returnSpan = 2 * port.Second
	// clocksApart is the most by which the clocks of two layers of a track differ.
	clocksApart = 10 * port.Millisecond
	// Some encoders send a picture in one layer after the next picture in another. A subscriber that could not
	// switch within switchSpan takes a keyframe that is up to layersApart older than its last packet.
	layersApart = 50 * port.Millisecond
	switchSpan  = 3 * port.Second
	// maxQueries bounds the keyframes that are requested to learn the size of a layer's pictures, where the first
	// was lost.
	maxQueries = 3
)

// A sending describes how the publisher sends one layer of several. The owner keeps it.
type sending struct {
	meter meter
	// width and height are those of the layer's pictures, in pixels, 0 while unknown.
	width, height uint16
	// frame is when the newest frame began to arrive, 0 before the first.
	frame port.Time
	// pace is the mean time from frame to frame, 0 before the second.
	pace port.Time
	// since is when the layer came back after it was silent, 0 before that.
	since port.Time
	// queries counts the keyframes that were requested to learn the area. queried is the time of the last request.
	queries uint8
	queried port.Time
	// ended is set by the publisher's goodbye, until the layer is sent again.
	ended bool
}

// patience returns how long the layer may send nothing, while others send, before it counts as silent.
func (s *sending) patience() port.Time {
	return max(minSilence, min(silenceFrames*s.pace, maxSilence))
}

// area is the number of pixels of the layer's pictures, 0 while unknown.
func (s *sending) area() int { return int(s.width) * int(s.height) }

// begin notes that a frame of a layer began to arrive, and chooses the best layer of its track again.
func (w *Worker) begin(now port.Time, t *track, l *layer) {
	s := &l.upstream.sending
	if now-t.frame > s.patience() {
		t.since = now // all layers paused: those that have not sent since are not silent yet
	}
	t.frame = now
	if s.frame > 0 {
		if t.silent(now, l) {
			s.since, s.meter = now, meter{}
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
	if s.area() == 0 && best.upstream.area() > 0 && watched && s.queries < maxQueries && now-s.queried > port.Second {
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

// choose returns the best layer that is sent: the one with the largest pictures. Among equals, and while no size is
// known, it is the first that the publisher lists, in its order of preference (RFC 8853 section 5). A layer
// that came back less than returnSpan ago counts after the others. The present one stays while all are silent.
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
		case settled && !stays, u.area() <= best.upstream.area():
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

// startLayer returns the layer that new subscriptions are going to want, also before its first packet. It is nil at the
// owner while no layer's SSRC is known.
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

// A progress is the point in a layer that a receiver of it, a subscriber or a follower, has reached.
type progress struct {
	layer *layer
	epoch uint32
	// offset was added to the layer's timestamps. timestamp is the latest that was sent, offset included.
	offset, timestamp uint32
	// arrival is when the last packet that was sent arrived from the publisher.
	arrival port.Time
}

// offsetFor returns the offset for the timestamps of another layer, or of the same, with which one moment has one
// timestamp before and after. ok is false if the layers' clocks are not known.
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

// goesOn reports whether a receiver can go on with a keyframe of another layer. It must be of a later moment than
// the last packet that was sent. After an older one, all packets would be late for good. A keyframe that arrived after
// that packet may be of the same moment, or a little older.
func (x *progress) goesOn(now port.Time, l *layer, k *history.Keyframe) bool {
	offset, ok := x.offsetFor(now, l)
	if !ok {
		return true
	}
	ahead := int32(k.Timestamp + offset - x.timestamp)
	older := clocksApart
	if now-l.pub.tracks[l.track].chosen > switchSpan {
		older = layersApart
	}
	return ahead > 0 || ahead >= -int32(rtp.Ticks(int64(older), l.clockRate())) && k.Arrival >= x.arrival
}

// goesOn reports whether the subscription can go on, or begin, with a keyframe.
func (t *subscription) goesOn(now port.Time, k *history.Keyframe, l *layer) bool {
	if t.highest == 0 {
		return true
	}
	x := t.progress()
	return x.goesOn(now, l, k)
}

// progress returns the point that the subscription has reached in its present span.
func (t *subscription) progress() progress {
	s := t.present()
	x := progress{layer: s.layer, epoch: s.epoch, offset: s.offset(), timestamp: t.lastTimestamp, arrival: t.lastSent}
	if h := &s.layer.history; t.cursor > h.First() && t.cursor <= h.Next() {
		x.arrival = h.At(t.cursor - 1).Arrival
	}
	return x
}

// goesOn reports whether a follower can go on with a keyframe. Its subscribers have reached no later point than it has.
func (f *feed) goesOn(now port.Time, k *history.Keyframe, l *layer) bool {
	if f.layer == nil {
		return true
	}
	x := f.progress()
	return x.goesOn(now, l, k)
}

// progress returns the point up to which the follower was fed.
func (f *feed) progress() progress {
	x := progress{layer: f.layer, epoch: f.epoch}
	if h := &f.layer.history; f.cursor > h.First() && f.cursor <= h.Next() {
		e := h.At(f.cursor - 1)
		x.timestamp, x.arrival = e.Timestamp, e.Arrival
	}
	return x
}
