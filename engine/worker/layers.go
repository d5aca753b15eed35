package worker

import (
	"ringcast/engine/bus"
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

// begin notes that a frame of a layer began to arrive, and settles which rungs are sent.
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
	if t.settle(now) {
		w.wake(l.pub.stream) // the keyframe of the layer that they want now may be there
		w.tellLadder(l.pub, t)
	}
	if s.area() > 0 || t.top().upstream.area() == 0 || s.queries == maxQueries || now-s.queried <= port.Second {
		return
	}
	if l.pub.stream.subscribers() > 0 || len(l.pub.followers) > 0 {
		s.queries++
		s.queried = now
		w.lostKeyframe(now, l)
	}
}

// silent reports whether a layer is not sent while others are.
func (t *track) silent(now port.Time, l *layer) bool {
	s := &l.upstream.sending
	return s.frame == 0 || s.ended || now-max(s.frame, t.since) > s.patience()
}

// startLayer returns the layer whose keyframe new subscriptions need, also before its first packet. It is nil at the
// owner while no layer's SSRC is known.
func (t *track) startLayer() *layer {
	if l := t.top(); l != nil {
		return l
	}
	for _, l := range t.layers {
		if l.upstream == nil || l.upstream.receiver.SSRC != 0 {
			return l
		}
	}
	return nil
}

// aim sets the layer that a subscription wants: that of its rung, or another while that one is silent. It is nil for
// sound alone, and before the first packet.
func (w *Worker) aim(now port.Time, t *subscription, src *track) {
	var want *layer
	if n := int8(len(src.rungs)); n > 0 && t.rung >= 0 {
		want = src.rungs[min(t.rung, n-1)].aim
	}
	if want == t.want {
		return
	}
	t.desire(want)
	t.turned = uint32(now / port.Millisecond)
	if want != nil && want.pub.owner != w.address() {
		w.demand(now, want)
	}
}

// desire changes the layer that the subscription wants.
func (t *subscription) desire(l *layer) {
	t.stopNeeding()
	if t.want != nil {
		t.want.wanted--
	}
	if l != nil {
		l.wanted++
	}
	t.want = l
	if l == nil {
		t.why = bus.NeedRise // for pictures again, later
	}
	t.tally()
}

// tally counts the subscription among those who are sent a layer, and among those who need a keyframe of one. Before
// have or want change, stopPlaying and stopNeeding end that.
func (t *subscription) tally() {
	have := t.have()
	if plays := have != nil && !t.waiting; plays != t.playing {
		t.stopPlaying()
		if plays {
			t.playing = true
			have.users++
		}
	}
	if t.want == nil || t.playing && have == t.want {
		t.stopNeeding()
		return
	}
	t.need(t.reason())
}

func (t *subscription) stopPlaying() {
	if t.playing {
		t.have().users--
	}
	t.playing = false
}

// need counts the subscription among those who need a keyframe of the wanted layer.
func (c *choice) need(why bus.Need) {
	if c.needing && c.why == why {
		return
	}
	c.stopNeeding()
	c.needing, c.why = true, why
	c.want.request.waiting[why]++
}

func (c *choice) stopNeeding() {
	if c.needing {
		c.want.request.waiting[c.why]--
	}
	c.needing = false
}

// reason is why the subscription needs a keyframe of the layer that it wants.
func (t *subscription) reason() bus.Need {
	have := t.have()
	if have == nil || have.pub != t.want.pub || t.waiting && !t.halted {
		return bus.NeedJoin
	}
	src := &have.pub.tracks[have.track]
	from := src.place(have)
	switch {
	case t.waiting && (t.stopped || t.why == bus.NeedLost): // also if it may be sent the stopped layer again
		return bus.NeedLost
	case t.waiting: // it comes back from sound alone
		return bus.NeedRise
	case !src.rungs[from].sent: // by the publisher's choice
		return bus.NeedJoin
	case from < src.place(t.want):
		return bus.NeedRise
	}
	return bus.NeedLost
}

// leave ends what the subscription counts for.
func (t *subscription) leave() {
	t.waiting = true
	t.desire(nil)
}

// offsetFor returns the offset for the timestamps of another layer, or of the same, with which one moment has one
// timestamp before and after. It may be a layer of another publication. So sender reports of before stay true, and
// picture and sound stay together. ok is false if the layers' clocks are not known.
func (t *subscription) offsetFor(now port.Time, l *layer) (offset uint32, ok bool) {
	s := t.present()
	switch {
	case s.layer == l && s.epoch == l.epoch:
		return s.offset(), true
	case s.layer.knowsTime(s.epoch) && l.knowsTime(l.epoch) && s.layer.clockRate() == l.clockRate():
		rate := l.clockRate()
		return s.offset() + timestampAt(&s.layer.clock, now, rate) - timestampAt(&l.clock, now, rate), true
	}
	return 0, false
}

// goesOn reports whether the subscription can go on, or begin, with a keyframe. It must be of a later moment than the
// last packet that was sent. After an older one, all packets would be late for good. A keyframe that arrived after that
// packet may be of the same moment, or a little older. Another publication has pictures of its own, so any will do.
func (t *subscription) goesOn(now port.Time, k *history.Keyframe, l *layer) bool {
	if t.highest == 0 || t.have().pub != l.pub {
		return true
	}
	offset, ok := t.offsetFor(now, l)
	if !ok {
		return true
	}
	ahead := int32(k.Timestamp + offset - t.lastTimestamp)
	older := clocksApart
	if uint32(now/port.Millisecond)-t.turned > uint32(switchSpan/port.Millisecond) {
		older = layersApart
	}
	return ahead > 0 || ahead >= -int32(rtp.Ticks(int64(older), l.clockRate())) && k.Arrival >= t.reached()
}

// reached is when the last packet that was sent arrived from the publisher.
func (t *subscription) reached() port.Time {
	if h := &t.have().history; t.cursor > h.First() && t.cursor <= h.Next() {
		return h.At(t.cursor - 1).Arrival
	}
	return t.lastSent
}
